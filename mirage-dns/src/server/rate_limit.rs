//! Response rate limiting: keeps the server from being used to flood somebody whose address is forged.
//!
//! Answers over UDP are counted by the network that they go to and by what they say, as in BIND, NSD and Knot: those about
//! one name together, denials by the zone, referrals by the delegation, errors by their code. Where too many of a kind go to a
//! network, a few are sent without content and with TC, so that a client that is there comes back over TCP, and the others
//! are not sent.
//!
//! **What is remembered, and what is forgotten.** A table of a size that the caller chose holds levels, without saying
//! whose: each kind of answer has two places in it, found by a hash with a secret key, and its level is the lesser of the
//! two (a count-min sketch with leaks). So nothing is ever evicted: whoever fills the table raises levels, and escapes from
//! none. The price is that others may share both places with somebody who is limited: with `n` places and `k` limited kinds
//! that befalls one kind in about (`n`/2`k`)², and costs it answers that say TC, not answers.

use core::cell::Cell;
use core::fmt;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use siphasher::sip::SipHasher13;

use super::request::Request;
use super::writer::Writer;
use super::{Answer, CookieState};
use crate::message::Flags;
use crate::record::Rcode;

use crate::network::Network;

/// How often the same may be said to the same network.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RateLimits {
    /// Answers of a kind to a network in a second; 0 counts as 1. As many may come at once.
    pub per_second: u32,
    /// For how many seconds of excess one pays: the level of a kind does not rise above what leaks away in this time,
    /// and the burst of one second.
    pub window: u32,
    /// Of the answers beyond, each so many-th is sent with TC and without content; 0: none, 1: all.
    pub slip: u32,
    /// Bits of an IPv4 address that make a network; more than 32 count as 32.
    pub ipv4_prefix: u8,
    /// Bits of an IPv6 address that make a network; more than 128 count as 128.
    pub ipv6_prefix: u8,
}

impl Default for RateLimits {
    /// 200 a second, a window of 15 seconds, each second one with TC; networks of /24 and /56.
    fn default() -> Self {
        Self {
            per_second: 200,
            window: 15,
            slip: 2,
            ipv4_prefix: 24,
            ipv6_prefix: 56,
        }
    }
}

/// One place of the table.
#[derive(Clone, Copy, Default, Debug)]
pub struct RateBucket {
    /// Answers that have not leaked away.
    level: u32,
    /// When that was looked at: Unix time, low 32 bits.
    time: u32,
    /// Answers beyond the limit since the last that was sent with TC.
    held_back: u32,
}

/// Says which answers are not to be sent. See the [module](self).
pub struct RateLimiter<'a> {
    limits: RateLimits,
    key: [u8; 16],
    buckets: &'a [Cell<RateBucket>],
    exempt: &'a [Network],
}

impl<'a> RateLimiter<'a> {
    /// Limits by a table in `buckets`, with a secret `key`: 128 random bits. Networks in `exempt` are not limited; each is
    /// compared with each client, so let there be few.
    ///
    /// There should be several times as many buckets as networks that may be limited at a time, and two at least: without
    /// one nothing is limited.
    pub fn new(
        limits: RateLimits,
        key: [u8; 16],
        buckets: &'a mut [RateBucket],
        exempt: &'a [Network],
    ) -> Self {
        Self {
            limits,
            key,
            buckets: Cell::from_mut(buckets).as_slice_of_cells(),
            exempt,
        }
    }

    /// The limits.
    pub fn limits(&self) -> &RateLimits {
        &self.limits
    }

    /// The two places of a kind.
    fn places(&self, address: IpAddr, kind: Kind) -> Option<[&Cell<RateBucket>; 2]> {
        let mut input = [0; 16 + 1 + 4 + 1];
        match masked(address, self.limits.ipv4_prefix, self.limits.ipv6_prefix) {
            IpAddr::V4(address) => input[..4].copy_from_slice(&address.octets()),
            IpAddr::V6(address) => {
                input[..16].copy_from_slice(&address.octets());
                input[21] = 6;
            }
        }
        input[16] = kind.class as u8;
        input[17..21].copy_from_slice(&kind.subject.to_le_bytes());
        let hash = SipHasher13::new_with_key(&self.key).hash(&input);
        let place = |half: u32| {
            // A multiplication in place of a division: the upper part of half × length.
            let at = (u64::from(half) * self.buckets.len() as u64) >> 32;
            self.buckets.get(at as usize)
        };
        Some([place(hash as u32)?, place((hash >> 32) as u32)?])
    }
}

impl fmt::Debug for RateLimiter<'_> {
    /// Without the key.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RateLimiter")
            .field("limits", &self.limits)
            .field("buckets", &self.buckets.len())
            .finish_non_exhaustive()
    }
}

/// What an answer is about, as far as limits go.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Kind {
    pub(super) class: Class,
    /// The number in the image of the name that the records come from, the delegation or the zone; of errors the code.
    pub(super) subject: u32,
}

/// What sort of answer it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Class {
    /// Records of a name, or of the wildcard that covers it.
    Data,
    /// No such name or type.
    Denial,
    /// Who knows.
    Referral,
    /// Another code than NOERROR and NXDOMAIN.
    Error,
}

/// What is to be done with an answer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Ruling {
    /// Send it.
    Send,
    /// Send it with TC, and without content.
    Slip,
    /// Don't send it.
    Hold,
}

/// What the server asks of [`RateLimiter`]: as a trait, so that an image in which nobody limits has nothing of it.
pub(super) trait Referee: fmt::Debug {
    /// Counts an answer, and says what is to be done with it.
    fn rule(&self, address: IpAddr, kind: Kind, now: u64) -> Ruling;

    /// Writes what is sent in the place of an answer that is one too many: BADCOOKIE to one who knows cookies and can thus
    /// show that its address is its own (RFC 7873 §5.2.3), TC to all others, who can show it over TCP.
    fn slip(&self, request: &Request<'_>, writer: Writer<'_>, answer: &mut Answer) -> Option<()>;
}

impl Referee for RateLimiter<'_> {
    fn rule(&self, address: IpAddr, kind: Kind, now: u64) -> Ruling {
        if self.exempt.iter().any(|network| network.contains(address)) {
            return Ruling::Send;
        }
        let Some(places) = self.places(address, kind) else {
            return Ruling::Send;
        };
        let now = now as u32;
        let rate = self.limits.per_second.max(1);
        let most = rate.saturating_mul(self.limits.window.max(1).saturating_add(1));
        let levels = places.map(|place| leak(place.get(), now, rate));
        let level = levels[0].min(levels[1]);
        let limited = level >= rate;
        let next = level.saturating_add(1).min(most);
        for (place, old) in places.iter().zip(levels) {
            // Conservative: a place that others have filled higher stays as it is.
            let bucket = RateBucket {
                level: old.max(next),
                time: now,
                ..place.get()
            };
            place.set(bucket);
        }
        if !limited {
            return Ruling::Send;
        }
        let held_back = places[0].get().held_back.saturating_add(1);
        let slips = self.limits.slip != 0 && held_back >= self.limits.slip;
        let bucket = RateBucket {
            held_back: if slips { 0 } else { held_back },
            ..places[0].get()
        };
        places[0].set(bucket);
        if slips { Ruling::Slip } else { Ruling::Hold }
    }

    fn slip(
        &self,
        request: &Request<'_>,
        mut writer: Writer<'_>,
        answer: &mut Answer,
    ) -> Option<()> {
        answer.is_limited = true;
        answer.flags.set(Flags::AA, false);
        answer.flags.set(Flags::TC, false);
        match (answer.cookie, &request.verdict) {
            (CookieState::Client | CookieState::Wrong, Ok(_)) => answer.rcode = Rcode::BADCOOKIE,
            // What is wrong with a request is short, and TC would have it sent again.
            (_, Err(_)) => {}
            _ => {
                answer.rcode = Rcode::NOERROR;
                answer.flags.insert(Flags::TC);
            }
        }
        if let Some(question) = &request.question
            && (request.verdict.is_ok() || request.edns.is_some())
        {
            writer.question(question.octets)?;
        }
        answer.length = writer.finish(request.reply_header(answer));
        Some(())
    }
}

/// The level of a place by now. When the clock has gone back, nothing has leaked, and it goes on from there.
fn leak(bucket: RateBucket, now: u32, rate: u32) -> u32 {
    let elapsed = now.wrapping_sub(bucket.time) as i32;
    let elapsed = u32::try_from(elapsed).unwrap_or(0);
    bucket.level.saturating_sub(elapsed.saturating_mul(rate))
}

/// The network of an address.
fn masked(address: IpAddr, ipv4_prefix: u8, ipv6_prefix: u8) -> IpAddr {
    match address {
        IpAddr::V4(address) => {
            let mask = u32::MAX.checked_shl(32u32.saturating_sub(ipv4_prefix.into()));
            Ipv4Addr::from_bits(address.to_bits() & mask.unwrap_or(0)).into()
        }
        IpAddr::V6(address) => {
            let mask = u128::MAX.checked_shl(128u32.saturating_sub(ipv6_prefix.into()));
            Ipv6Addr::from_bits(address.to_bits() & mask.unwrap_or(0)).into()
        }
    }
}

#[cfg(test)]
mod tests {
    use std::vec;
    use std::vec::Vec;

    use super::*;

    const KEY: [u8; 16] = [7; 16];
    const DATA: Kind = Kind {
        class: Class::Data,
        subject: 3,
    };

    fn limits() -> RateLimits {
        RateLimits {
            per_second: 5,
            window: 3,
            slip: 2,
            ..RateLimits::default()
        }
    }

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    /// How many of `count` answers are sent whole, with TC, and not.
    fn ask(
        limiter: &RateLimiter<'_>,
        from: &str,
        kind: Kind,
        now: u64,
        count: usize,
    ) -> [usize; 3] {
        let mut seen = [0; 3];
        for _ in 0..count {
            seen[limiter.rule(address(from), kind, now) as usize] += 1;
        }
        seen
    }

    #[test]
    fn so_many_a_second_are_sent_then_every_second_with_tc() {
        let mut table = vec![RateBucket::default(); 64];
        let limiter = RateLimiter::new(limits(), KEY, &mut table, &[]);
        assert_eq!(ask(&limiter, "192.0.2.1", DATA, 100, 25), [5, 10, 10]);
        for (slip, expected) in [(0, [5, 0, 20]), (1, [5, 20, 0]), (5, [5, 4, 16])] {
            let mut table = vec![RateBucket::default(); 64];
            let limits = RateLimits { slip, ..limits() };
            let limiter = RateLimiter::new(limits, KEY, &mut table, &[]);
            assert_eq!(ask(&limiter, "192.0.2.1", DATA, 100, 25), expected);
        }
    }

    #[test]
    fn excess_is_paid_for_during_the_window_and_no_longer() {
        let mut table = vec![RateBucket::default(); 64];
        let limiter = RateLimiter::new(limits(), KEY, &mut table, &[]);
        ask(&limiter, "192.0.2.1", DATA, 100, 1_000);
        // The level is 20: five leak in a second.
        assert_eq!(ask(&limiter, "192.0.2.1", DATA, 102, 2)[0], 0);
        assert_eq!(ask(&limiter, "192.0.2.1", DATA, 104, 9)[0], 3);
        // All of it has leaked after four seconds, and no more than all: no credit.
        assert_eq!(ask(&limiter, "192.0.2.1", DATA, 1_000, 100)[0], 5);
    }

    #[test]
    fn rate_that_is_kept_is_never_limited() {
        let mut table = vec![RateBucket::default(); 2];
        let limiter = RateLimiter::new(limits(), KEY, &mut table, &[]);
        for now in 0..10_000 {
            assert_eq!(ask(&limiter, "192.0.2.1", DATA, now, 5), [5, 0, 0]);
        }
    }

    #[test]
    fn networks_and_kinds_are_counted_apart() {
        let mut table = vec![RateBucket::default(); 1_024];
        let limiter = RateLimiter::new(limits(), KEY, &mut table, &[]);
        ask(&limiter, "192.0.2.1", DATA, 100, 100);
        assert_eq!(ask(&limiter, "192.0.2.254", DATA, 100, 1)[0], 0);
        assert_eq!(ask(&limiter, "192.0.3.1", DATA, 100, 1)[0], 1);
        ask(&limiter, "2001:db8:0:11::1", DATA, 100, 100);
        assert_eq!(ask(&limiter, "2001:db8:0:12::1", DATA, 100, 1)[0], 0);
        assert_eq!(ask(&limiter, "2001:db8:0:111::1", DATA, 100, 1)[0], 1);
        // The same octets in the other family.
        assert_eq!(ask(&limiter, "c000:200::", DATA, 100, 1)[0], 1);
        for class in [Class::Denial, Class::Referral, Class::Error] {
            let kind = Kind { class, subject: 3 };
            assert_eq!(ask(&limiter, "192.0.2.1", kind, 100, 1)[0], 1);
        }
        let other = Kind { subject: 4, ..DATA };
        assert_eq!(ask(&limiter, "192.0.2.1", other, 100, 1)[0], 1);
    }

    #[test]
    fn exempt_networks_are_never_limited() {
        let mut table = vec![RateBucket::default(); 64];
        let exempt = ["192.0.2.128/25", "2001:db8::/32"].map(|text| text.parse().unwrap());
        let limiter = RateLimiter::new(limits(), KEY, &mut table, &exempt);
        assert_eq!(ask(&limiter, "192.0.2.200", DATA, 1, 50)[0], 50);
        assert_eq!(ask(&limiter, "2001:db8:1::1", DATA, 1, 50)[0], 50);
        assert_eq!(ask(&limiter, "192.0.2.1", DATA, 1, 50)[0], 5);
    }

    #[test]
    fn nobody_escapes_by_filling_the_table() {
        let mut table = vec![RateBucket::default(); 256];
        let limiter = RateLimiter::new(limits(), KEY, &mut table, &[]);
        ask(&limiter, "192.0.2.1", DATA, 100, 100);
        // A hundred times as many other networks as there are places.
        for network in 0..25_600u32 {
            let from = IpAddr::V4(Ipv4Addr::from_bits(0x0a00_0000 + (network << 8)));
            limiter.rule(from, DATA, 100);
        }
        assert_eq!(ask(&limiter, "192.0.2.1", DATA, 100, 10)[0], 0);
    }

    #[test]
    fn few_others_are_hit_by_what_is_limited() {
        let mut table = vec![RateBucket::default(); 4_096];
        let limiter = RateLimiter::new(limits(), KEY, &mut table, &[]);
        for network in 0..64u32 {
            let from = Ipv4Addr::from_bits(0x0a00_0000 + (network << 8));
            ask(
                &limiter,
                &std::string::ToString::to_string(&from),
                DATA,
                100,
                100,
            );
        }
        let hit: Vec<u32> = (0..4_096)
            .filter(|network| {
                let from = IpAddr::V4(Ipv4Addr::from_bits(0x1400_0000 + (network << 8)));
                limiter.rule(from, DATA, 100) != Ruling::Send
            })
            .collect();
        // 128 of 4,096 places are full: one in about 1,024 has both of its places among them.
        assert!(hit.len() < 40, "{}", hit.len());
    }

    #[test]
    fn clock_that_goes_back_frees_nobody_and_locks_nobody_out() {
        let mut table = vec![RateBucket::default(); 64];
        let limiter = RateLimiter::new(limits(), KEY, &mut table, &[]);
        ask(&limiter, "192.0.2.1", DATA, 1_000_000, 100);
        assert_eq!(ask(&limiter, "192.0.2.1", DATA, 900_000, 10)[0], 0);
        assert_eq!(ask(&limiter, "192.0.2.1", DATA, 900_004, 10)[0], 5);
    }

    #[test]
    fn without_a_table_nothing_is_limited() {
        let limiter = RateLimiter::new(limits(), KEY, &mut [], &[]);
        assert_eq!(ask(&limiter, "192.0.2.1", DATA, 1, 100), [100, 0, 0]);
    }
}
