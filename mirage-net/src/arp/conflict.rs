//! IPv4 address conflict detection (RFC 5227): probe, announce, defend.

use core::net::Ipv4Addr;
use core::time::Duration;

use mirage_core::Instant;

use crate::ip::Cidr;
use crate::random::Random;

/// RFC 5227 §1.1: the protocol's constants, here as defaults of a configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ConflictConfig {
    /// PROBE_WAIT: the first probe is sent after a random part of this.
    pub probe_wait: Duration,
    /// PROBE_NUM; 0 takes the address at once and only announces it.
    pub probe_num: u8,
    /// PROBE_MIN: least time between two probes.
    pub probe_min: Duration,
    /// PROBE_MAX: most time between two probes.
    pub probe_max: Duration,
    /// ANNOUNCE_WAIT: silence after the last probe.
    pub announce_wait: Duration,
    /// ANNOUNCE_NUM.
    pub announce_num: u8,
    /// ANNOUNCE_INTERVAL.
    pub announce_interval: Duration,
    /// DEFEND_INTERVAL: least time between two defences.
    pub defend_interval: Duration,
    /// What to do when another station uses an address that we use.
    pub defence: Defence,
}

impl Default for ConflictConfig {
    fn default() -> Self {
        ConflictConfig {
            probe_wait: Duration::from_secs(1),
            probe_num: 3,
            probe_min: Duration::from_secs(1),
            probe_max: Duration::from_secs(2),
            announce_wait: Duration::from_secs(2),
            announce_num: 2,
            announce_interval: Duration::from_secs(2),
            defend_interval: Duration::from_secs(10),
            defence: Defence::Once,
        }
    }
}

impl ConflictConfig {
    /// No probes: the address is ours at once, for a network whose owner has assigned it.
    ///
    /// It is still announced, and defended without end.
    pub fn assigned() -> Self {
        ConflictConfig {
            probe_wait: Duration::ZERO,
            probe_num: 0,
            announce_wait: Duration::ZERO,
            defence: Defence::Always,
            ..ConflictConfig::default()
        }
    }

    /// Probes that take a second in all, where the standard's take up to nine: for a link whose stations answer at once and whose
    /// bridges are awake, as those of one host.
    pub fn quick() -> Self {
        ConflictConfig {
            probe_wait: Duration::from_millis(50),
            probe_min: Duration::from_millis(100),
            probe_max: Duration::from_millis(200),
            announce_wait: Duration::from_millis(300),
            ..ConflictConfig::default()
        }
    }
}

/// How to meet a conflict over an address in use (RFC 5227 §2.4).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Defence {
    /// (a): give the address up at once.
    Never,
    /// (b): defend it once; give it up at a second conflict within DEFEND_INTERVAL.
    Once,
    /// (c): defend it without end, at most once each DEFEND_INTERVAL: for a server whose
    /// address is known to others.
    Always,
}

/// How far an address of ours is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum AddressState {
    /// Being probed; not used yet.
    Tentative,
    /// Ours.
    Preferred,
    /// Another station has it; not used. The owner removes it, or adds it again to retry.
    Conflicted,
}

/// Storage for one address of ours.
#[derive(Debug, Default)]
pub struct AddressSlot(pub(crate) Option<OwnAddress>);

impl AddressSlot {
    /// An empty slot.
    pub const EMPTY: Self = AddressSlot(None);
}

/// One address of ours and its life.
#[derive(Debug)]
pub(crate) struct OwnAddress {
    pub(crate) cidr: Cidr,
    pub(crate) address: Ipv4Addr,
    config: ConflictConfig,
    phase: Phase,
}

#[derive(Debug, Clone, Copy)]
enum Phase {
    Probing {
        left: u8,
        next: Instant,
    },
    Announcing {
        left: u8,
        next: Instant,
        defended: Option<Instant>,
    },
    Held {
        defended: Option<Instant>,
    },
    Conflicted,
}

/// An ARP packet that an address wants to be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Claim {
    /// "ARP Probe": a request for the address from the unspecified one.
    Probe(Ipv4Addr),
    /// "ARP Announcement": a request for the address from itself.
    Announcement(Ipv4Addr),
}

/// What a timer or a packet did to an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ConflictEvent {
    /// It is ours from now on.
    Acquired,
    /// Another station has it or wants it; ours no more.
    Lost,
    /// Another station used it; we keep it.
    Defended,
}

impl OwnAddress {
    pub(crate) fn new(
        now: Instant,
        cidr: Cidr,
        address: Ipv4Addr,
        config: ConflictConfig,
        random: &mut Random,
    ) -> Self {
        let phase = if config.probe_num == 0 {
            Phase::Announcing {
                left: config.announce_num,
                next: now,
                defended: None,
            }
        } else {
            Phase::Probing {
                left: config.probe_num,
                next: now.saturating_add(part(random, Duration::ZERO, config.probe_wait)),
            }
        };
        OwnAddress {
            cidr,
            address,
            config,
            phase,
        }
    }

    #[inline(always)]
    pub(crate) fn state(&self) -> AddressState {
        match self.phase {
            Phase::Probing { .. } => AddressState::Tentative,
            Phase::Announcing { .. } | Phase::Held { .. } => AddressState::Preferred,
            Phase::Conflicted => AddressState::Conflicted,
        }
    }

    #[inline(always)]
    pub(crate) fn is_usable(&self) -> bool {
        self.state() == AddressState::Preferred
    }

    /// An ARP packet came from another station (input).
    ///
    /// `sender` is its sender protocol address; `probed` is set for a probe (sender unspecified)
    /// and names its target.
    pub(crate) fn handle_arp(
        &mut self,
        now: Instant,
        sender: Ipv4Addr,
        probed: Option<Ipv4Addr>,
    ) -> Option<ConflictEvent> {
        match self.phase {
            // RFC 5227 §2.1.1: any packet from the address, or another's probe for it.
            Phase::Probing { .. } if sender == self.address || probed == Some(self.address) => {
                self.phase = Phase::Conflicted;
                Some(ConflictEvent::Lost)
            }
            // §2.4: "the sender IP address is (one of) the host's own … and the sender hardware
            // address does not match".
            Phase::Announcing { defended, .. } | Phase::Held { defended }
                if sender == self.address =>
            {
                let recently = defended.is_some_and(|at| {
                    now.saturating_duration_since(at) < self.config.defend_interval
                });
                match (self.config.defence, recently) {
                    (Defence::Never, _) | (Defence::Once, true) => {
                        self.phase = Phase::Conflicted;
                        Some(ConflictEvent::Lost)
                    }
                    (Defence::Always, true) => None,
                    (Defence::Once | Defence::Always, false) => {
                        self.phase = Phase::Announcing {
                            left: 1,
                            next: now,
                            defended: Some(now),
                        };
                        Some(ConflictEvent::Defended)
                    }
                }
            }
            _ => None,
        }
    }

    /// Announce again, as after a migration (mutator).
    pub(crate) fn announce(&mut self, now: Instant) {
        if let Phase::Announcing { defended, .. } | Phase::Held { defended } = self.phase {
            self.phase = Phase::Announcing {
                left: self.config.announce_num,
                next: now,
                defended,
            };
        }
    }

    /// Time has passed (input).
    pub(crate) fn handle_timeout(&mut self, now: Instant) -> Option<ConflictEvent> {
        match self.phase {
            Phase::Probing { left: 0, next } if now >= next => {
                self.phase = Phase::Announcing {
                    left: self.config.announce_num,
                    next: now,
                    defended: None,
                };
                Some(ConflictEvent::Acquired)
            }
            _ => None,
        }
    }

    /// The next packet to send (output).
    pub(crate) fn poll_claim(&mut self, now: Instant, random: &mut Random) -> Option<Claim> {
        match self.phase {
            Phase::Probing { left, next } if left > 0 && now >= next => {
                let left = left - 1;
                let wait = if left == 0 {
                    self.config.announce_wait
                } else {
                    part(random, self.config.probe_min, self.config.probe_max)
                };
                self.phase = Phase::Probing {
                    left,
                    next: now.saturating_add(wait),
                };
                Some(Claim::Probe(self.address))
            }
            Phase::Announcing {
                left,
                next,
                defended,
            } if now >= next => {
                self.phase = match left.checked_sub(1) {
                    None | Some(0) => Phase::Held { defended },
                    Some(left) => Phase::Announcing {
                        left,
                        next: now.saturating_add(self.config.announce_interval),
                        defended,
                    },
                };
                (left > 0).then_some(Claim::Announcement(self.address))
            }
            _ => None,
        }
    }

    /// When this address wants to be called again (output).
    #[inline(always)]
    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        match self.phase {
            Phase::Probing { next, .. } | Phase::Announcing { next, .. } => Some(next),
            _ => None,
        }
    }
}

/// A random time between two.
fn part(random: &mut Random, least: Duration, most: Duration) -> Duration {
    let spread = most
        .saturating_sub(least)
        .as_nanos()
        .min(u128::from(u64::MAX - 1)) as u64;
    least.saturating_add(Duration::from_nanos(random.below(spread + 1)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec::Vec;

    const OURS: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 2);
    const THEIRS: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 9);

    fn address(config: ConflictConfig, random: &mut Random) -> OwnAddress {
        let cidr = Cidr::new(OURS.into(), 24).unwrap();
        OwnAddress::new(Instant::ZERO, cidr, OURS, config, random)
    }

    /// Runs from deadline to deadline; gives the claims with their times and the event.
    fn run(
        address: &mut OwnAddress,
        random: &mut Random,
        mut now: Instant,
    ) -> (Vec<(Instant, Claim)>, Option<Instant>) {
        let mut claims = Vec::new();
        let mut acquired = None;
        loop {
            if address.handle_timeout(now) == Some(ConflictEvent::Acquired) {
                acquired = Some(now);
            }
            while let Some(claim) = address.poll_claim(now, random) {
                claims.push((now, claim));
            }
            match address.poll_timeout() {
                Some(next) => {
                    assert!(next > now, "a deadline in the past");
                    now = next;
                }
                None => return (claims, acquired),
            }
        }
    }

    #[test]
    fn an_address_is_probed_three_times_then_announced_twice() {
        for seed in 0..50 {
            let mut random = Random::fixed(seed);
            let mut address = address(ConflictConfig::default(), &mut random);
            assert_eq!(address.state(), AddressState::Tentative);
            let (claims, acquired) = run(&mut address, &mut random, Instant::ZERO);
            let kinds: Vec<_> = claims.iter().map(|(_, claim)| *claim).collect();
            let (probe, announcement) = (Claim::Probe(OURS), Claim::Announcement(OURS));
            assert_eq!(kinds, [probe, probe, probe, announcement, announcement]);
            let at: Vec<_> = claims.iter().map(|(at, _)| *at).collect();
            assert!(at[0] <= Instant::from_secs(1));
            for pair in at[..3].windows(2) {
                let gap = pair[1].saturating_duration_since(pair[0]);
                assert!(gap >= Duration::from_secs(1) && gap <= Duration::from_secs(2));
            }
            assert_eq!(at[3], at[2] + Duration::from_secs(2));
            assert_eq!(at[4], at[3] + Duration::from_secs(2));
            assert_eq!(acquired, Some(at[3]));
            assert_eq!(address.state(), AddressState::Preferred);
        }
    }

    #[test]
    fn a_conflict_while_probing_gives_the_address_up() {
        for (sender, probed) in [(OURS, None), (Ipv4Addr::UNSPECIFIED, Some(OURS))] {
            let mut random = Random::fixed(1);
            let mut address = address(ConflictConfig::default(), &mut random);
            let event = address.handle_arp(Instant::ZERO, sender, probed);
            assert_eq!(event, Some(ConflictEvent::Lost));
            assert_eq!(address.state(), AddressState::Conflicted);
            assert_eq!(run(&mut address, &mut random, Instant::ZERO).0, []);
        }
    }

    #[test]
    fn another_address_is_no_conflict() {
        let mut random = Random::fixed(1);
        let mut address = address(ConflictConfig::default(), &mut random);
        assert_eq!(address.handle_arp(Instant::ZERO, THEIRS, None), None);
        let probe = Some(THEIRS);
        assert_eq!(
            address.handle_arp(Instant::ZERO, Ipv4Addr::UNSPECIFIED, probe),
            None
        );
        assert!(run(&mut address, &mut random, Instant::ZERO).1.is_some());
        // A probe for an address in use is answered as any request; it is no conflict.
        let probe = Some(OURS);
        assert_eq!(
            address.handle_arp(Instant::from_secs(99), Ipv4Addr::UNSPECIFIED, probe),
            None
        );
    }

    #[test]
    fn an_address_in_use_is_defended_once_in_ten_seconds() {
        let mut random = Random::fixed(3);
        let mut address = address(ConflictConfig::default(), &mut random);
        run(&mut address, &mut random, Instant::ZERO);
        let at = Instant::from_secs(100);
        let event = address.handle_arp(at, OURS, None);
        assert_eq!(event, Some(ConflictEvent::Defended));
        let (claims, _) = run(&mut address, &mut random, at);
        assert_eq!(claims, [(at, Claim::Announcement(OURS))]);
        let at = Instant::from_secs(110);
        let event = address.handle_arp(at, OURS, None);
        assert_eq!(event, Some(ConflictEvent::Defended));
        let at = Instant::from_millis(119_999);
        assert_eq!(
            address.handle_arp(at, OURS, None),
            Some(ConflictEvent::Lost)
        );
        assert_eq!(address.state(), AddressState::Conflicted);
    }

    #[test]
    fn a_server_defends_without_end_but_not_without_a_pause() {
        let mut random = Random::fixed(3);
        let mut address = address(ConflictConfig::assigned(), &mut random);
        assert_eq!(address.state(), AddressState::Preferred);
        let (claims, _) = run(&mut address, &mut random, Instant::ZERO);
        assert_eq!(claims.len(), 2);
        let mut defences = 0;
        for ms in (20_000..60_000).step_by(100) {
            let now = Instant::from_millis(ms);
            address.handle_arp(now, OURS, None);
            defences += run(&mut address, &mut random, now).0.len();
        }
        assert_eq!(defences, 4);
        assert_eq!(address.state(), AddressState::Preferred);
    }
}
