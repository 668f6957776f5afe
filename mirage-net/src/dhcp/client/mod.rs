//! The client (RFC 2131 §4.4), a pure state machine.

mod config;
mod counters;
mod inform;
pub(crate) mod lease;
mod message;
#[cfg(test)]
mod tests;

pub use config::DhcpClientConfig;
pub use counters::DhcpClientCounters;
pub use inform::{DhcpInform, DhcpUnanswered};
pub use lease::{DhcpLease, DhcpParameters};

use core::fmt;
use core::net::Ipv4Addr;
use core::time::Duration;

use mirage_core::Instant;
use rand_core::CryptoRng;

use self::lease::LeaseProblem;
use self::message::Due;
use crate::random::Random;
use crate::wire::dhcp::{
    DhcpHardware, DhcpMessageType, DhcpOperation, DhcpPacket, MESSAGE_LEN, option,
};

/// RFC 2131 §4.1: "The delay between retransmissions SHOULD be … 4 seconds randomized by the value of a uniform random
/// number chosen from the range -1 to +1", doubled "up to a maximum of 64 seconds".
const FIRST_DELAY: Duration = Duration::from_secs(4);
const LONGEST_DELAY: Duration = Duration::from_secs(64);
const JITTER: Duration = Duration::from_secs(1);
/// Messages that looked for servers before the owner is told that there are none.
const UNANSWERED: u8 = 2;
/// RFC 2131 §4.4.5: "down to a minimum of 60 seconds".
const SHORTEST_RENEWAL: Duration = Duration::from_secs(60);

/// How far a client is (RFC 2131 figure 5).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum DhcpClientState {
    /// Nothing is asked for: before [`start`](DhcpClient::start), after [`release`](DhcpClient::release).
    Stopped,
    /// It will look for servers: at its beginning, or after a pause.
    Init,
    /// It looks for servers, and collects offers.
    Selecting,
    /// It has asked for what one of them offered.
    Requesting,
    /// It will ask for the address of an earlier life.
    InitReboot,
    /// It has asked for it.
    Rebooting,
    /// The address was given; the owner looks whether another station has it.
    Checking,
    /// The address is ours.
    Bound,
    /// It asks the server for more time.
    Renewing,
    /// It asks any server for more time.
    Rebinding,
}

/// What the owner of a client has to act upon.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum DhcpClientEvent {
    /// There is a [lease](DhcpClient::lease): the host is to be configured as it says, and where
    /// [`check`](DhcpClientConfig::check) is set, only after a look for other stations with the address.
    Acquired,
    /// The lease goes on.
    Renewed {
        /// It says something else than before, its times apart. The address is the same.
        changed: bool,
    },
    /// The lease is over; the address must not be used any more.
    Lost(DhcpLoss),
    /// Nobody has offered an address after two messages, in about twelve seconds. The client goes on asking; it says this once, and
    /// not again before there was an offer.
    Unanswered,
}

/// Why a lease is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum DhcpLoss {
    /// No server renewed it in time.
    Expired,
    /// A server refused it (DHCPNAK).
    Refused,
    /// Another station has the address.
    Conflict,
    /// The owner gave it back, or stopped the client.
    Released,
}

impl fmt::Display for DhcpLoss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            DhcpLoss::Expired => "no server renewed it in time",
            DhcpLoss::Refused => "a server refused it",
            DhcpLoss::Conflict => "another station has the address",
            DhcpLoss::Released => "it was given back",
        })
    }
}

/// A message to be sent by UDP, from port 68 to port 67.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DhcpTransmit {
    /// Bytes of the message, at the beginning of the buffer.
    pub length: usize,
    /// The address to send from: the unspecified one as long as there is no lease.
    pub source: Ipv4Addr,
    /// The server, or 255.255.255.255.
    pub destination: Ipv4Addr,
}

/// A lease and its times.
#[derive(Debug, Clone)]
struct Held {
    lease: DhcpLease,
    renew: Instant,
    rebind: Instant,
    expire: Instant,
    /// Nobody else has the address, said the owner; or it was never to look.
    checked: bool,
}

/// Whether the owner knows that nobody answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Silence {
    None,
    Noticed,
    Told,
}

/// The best offer so far.
#[derive(Debug, Clone, Copy)]
struct Offer {
    address: Ipv4Addr,
    server: Ipv4Addr,
    rank: (bool, bool, bool),
    decide: Instant,
}

/// A DHCP client for one interface: a pure state machine.
///
/// Its methods are of four kinds:
///
/// - *getters*: [`state`](Self::state), [`lease`](Self::lease), [`expires`](Self::expires), [`counters`](Self::counters);
/// - *inputs*: [`handle_message`](Self::handle_message), [`handle_timeout`](Self::handle_timeout),
///   [`handle_link`](Self::handle_link), [`handle_resume`](Self::handle_resume), [`handle_address_acquired`](Self::handle_address_acquired),
///   [`handle_address_conflict`](Self::handle_address_conflict);
/// - *mutators*: [`start`](Self::start), [`ask_for`](Self::ask_for), [`release`](Self::release), [`stop`](Self::stop), [`reseed`](Self::reseed);
/// - *outputs*: [`poll_transmit`](Self::poll_transmit), [`poll_event`](Self::poll_event), and last
///   [`poll_timeout`](Self::poll_timeout).
///
/// After any input or mutator, send what `poll_transmit` gives, then act on the events, then sleep until the deadline of
/// `poll_timeout`, and call `handle_timeout`. An early call does no harm. (Messages first: a DHCPRELEASE is sent from the
/// address that the event takes away.)
///
/// # Which offer is taken
///
/// Offers are collected for [`offer_wait`](DhcpClientConfig::offer_wait) after the first. Of these, one from a server that
/// did not just refuse or ignore a request of ours comes before others; then one of the address that was asked for; then
/// one with a router or routes; then the first that came. Only the best is kept: the number of servers costs nothing.
///
/// # What is believed
///
/// A message counts if it is a reply, well-formed, of the transaction that is under way (32 random bits), for our hardware
/// address, and, if it has a client identifier, for ours (RFC 6842). A refusal counts only of the server that was asked;
/// while any may answer (INIT-REBOOT, REBINDING), of any. DHCP has no more security than that.
pub struct DhcpClient {
    config: DhcpClientConfig,
    random: Random,
    state: DhcpClientState,
    transaction: u32,
    /// When this attempt to get an address began, and what `secs` said last.
    began: Instant,
    seconds: u16,
    /// When the first message of this transaction was sent: leases begin then (§4.4.1).
    asked: Instant,
    /// Repetitions of the message so far.
    attempt: u8,
    /// When the next step of this state is due, the lease's times apart.
    next: Instant,
    due: Option<Due>,
    offer: Option<Offer>,
    held: Option<Held>,
    /// The address to ask for again.
    last_address: Option<Ipv4Addr>,
    /// A server that refused or ignored our last request.
    failed_server: Option<Ipv4Addr>,
    /// Requests that came to nothing, and conflicts, in a row.
    failures: u8,
    conflicts: u8,
    lost: Option<DhcpLoss>,
    gained: Option<DhcpClientEvent>,
    /// That nobody offers anything: to be told, or told.
    silence: Silence,
    counters: DhcpClientCounters,
}

impl fmt::Debug for DhcpClient {
    /// Without the secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DhcpClient")
            .field("state", &self.state)
            .field("lease", &self.lease())
            .field("deadline", &self.poll_timeout())
            .finish_non_exhaustive()
    }
}

impl DhcpClient {
    /// A client that is stopped.
    pub fn new(config: DhcpClientConfig, rng: &mut (impl CryptoRng + ?Sized)) -> Self {
        Self::with_random(config, Random::new(rng))
    }

    pub(super) fn with_random(config: DhcpClientConfig, random: Random) -> Self {
        DhcpClient {
            last_address: config.last_address,
            config,
            random,
            state: DhcpClientState::Stopped,
            transaction: 0,
            began: Instant::ZERO,
            seconds: 0,
            asked: Instant::ZERO,
            attempt: 0,
            next: Instant::FAR_FUTURE,
            due: None,
            offer: None,
            held: None,
            failed_server: None,
            failures: 0,
            conflicts: 0,
            lost: None,
            gained: None,
            silence: Silence::None,
            counters: DhcpClientCounters::default(),
        }
    }

    /// How far it is (getter).
    pub fn state(&self) -> DhcpClientState {
        self.state
    }

    /// The lease, from [`DhcpClientEvent::Acquired`] until [`DhcpClientEvent::Lost`] (getter).
    pub fn lease(&self) -> Option<&DhcpLease> {
        self.held.as_ref().map(|held| &held.lease)
    }

    /// Whether there is a lease whose address nobody else has, as far as the owner looked (getter).
    pub fn is_configured(&self) -> bool {
        self.held.as_ref().is_some_and(|held| held.checked)
    }

    /// When the lease is over; none without one, or if it is for ever (getter).
    pub fn expires(&self) -> Option<Instant> {
        let expire = self.held.as_ref()?.expire;
        (expire != Instant::FAR_FUTURE).then_some(expire)
    }

    /// What happened so far (getter).
    pub fn counters(&self) -> DhcpClientCounters {
        self.counters
    }

    /// What the client was told (getter).
    pub fn config(&self) -> &DhcpClientConfig {
        &self.config
    }

    /// Draws a new secret, as after a restore (mutator).
    pub fn reseed(&mut self, rng: &mut (impl CryptoRng + ?Sized)) {
        self.random = Random::new(rng);
    }

    /// Begins to get an address (mutator); nothing if the client isn't stopped.
    pub fn start(&mut self, now: Instant) {
        if self.state == DhcpClientState::Stopped {
            let delay = self.part(self.config.start_delay);
            self.begin(now, delay);
        }
    }

    /// Has the next [`start`](Self::start) ask for an address of an earlier life (mutator), as
    /// [`last_address`](DhcpClientConfig::last_address) does; nothing if the client isn't stopped.
    pub fn ask_for(&mut self, address: Ipv4Addr) {
        if self.state == DhcpClientState::Stopped {
            self.last_address = Some(address);
        }
    }

    /// Gives the lease back, if there is one, and stops (mutator). A later [`start`](Self::start) asks for the same address.
    pub fn release(&mut self, now: Instant) {
        if let Some(held) = &self.held {
            self.due = Some(Due::Release {
                address: held.lease.address,
                server: held.lease.server,
            });
            self.asked = now;
            self.transaction = self.random.next_u64() as u32;
        }
        self.halt();
    }

    /// Stops without a word to the server, which keeps the address for us until the lease is over (mutator): as before a
    /// restart that will ask for it again.
    pub fn stop(&mut self) {
        self.due = None;
        self.halt();
    }

    fn halt(&mut self) {
        self.lose(DhcpLoss::Released, true);
        self.state = DhcpClientState::Stopped;
        self.next = Instant::FAR_FUTURE;
        self.offer = None;
        self.silence = Silence::None;
    }

    /// The link went up or down (input).
    ///
    /// When it comes up it may be another network's: a lease is asked for again (INIT-REBOOT, RFC 2131 §3.7), and is used
    /// meanwhile, and for the rest of its time if nobody answers (§3.2).
    pub fn handle_link(&mut self, now: Instant, up: bool) {
        if !up || self.state == DhcpClientState::Stopped {
            return;
        }
        match &self.held {
            Some(held) if held.checked => {
                self.last_address = Some(held.lease.address);
                self.state = DhcpClientState::InitReboot;
                self.due = None;
                self.next = now;
            }
            // The owner looks for other stations still; it will start again itself.
            Some(_) => {}
            None => self.begin(now, Duration::ZERO),
        }
    }

    /// The machine was suspended, or moved, and goes on (input): a lease is asked for again as when the link comes up, for the network
    /// may be another, and what was promised may be over. `away` is for how long `now` stood still meanwhile, where that is known:
    /// a lease's time goes on.
    pub fn handle_resume(&mut self, now: Instant, away: Option<Duration>) {
        if let (Some(held), Some(away)) = (&mut self.held, away) {
            for time in [&mut held.renew, &mut held.rebind, &mut held.expire] {
                if *time != Instant::FAR_FUTURE {
                    *time = time.saturating_sub(away);
                }
            }
        }
        self.handle_timeout(now);
        self.handle_link(now, true);
    }

    /// Nobody else has the address (input), as the owner found after [`DhcpClientEvent::Acquired`].
    pub fn handle_address_acquired(&mut self) {
        if let Some(held) = &mut self.held {
            held.checked = true;
            self.conflicts = 0;
            if self.state == DhcpClientState::Checking {
                self.state = DhcpClientState::Bound;
            }
        }
    }

    /// Another station has the address (input): while the owner looked for one, or later. It is declined, and after a
    /// pause another is looked for.
    pub fn handle_address_conflict(&mut self, now: Instant) {
        let Some(held) = &self.held else {
            return;
        };
        let decline = Due::Decline {
            address: held.lease.address,
            server: held.lease.server,
        };
        self.lose(DhcpLoss::Conflict, false);
        self.counters.declined += 1;
        self.transaction = self.random.next_u64() as u32;
        let wait = (self.config.conflict_wait).saturating_mul(1 << self.conflicts.min(5));
        self.conflicts = self.conflicts.saturating_add(1);
        self.begin(now, wait);
        self.due = Some(decline);
    }

    /// A message came to port 68 (input).
    pub fn handle_message(&mut self, now: Instant, bytes: &[u8]) {
        self.counters.received += 1;
        let Ok(packet) = DhcpPacket::new_checked(bytes) else {
            self.counters.malformed += 1;
            return;
        };
        let kind = packet.message_type();
        let (Some(kind), DhcpOperation::Reply) = (kind, packet.operation()) else {
            self.counters.not_a_reply += 1;
            return;
        };
        if !is_ours(&packet, &self.config, self.transaction) {
            self.counters.not_for_us += 1;
            return;
        }
        match (kind, self.state) {
            (DhcpMessageType::Offer, DhcpClientState::Selecting) => self.offered(now, &packet),
            (
                DhcpMessageType::Ack,
                DhcpClientState::Requesting
                | DhcpClientState::Rebooting
                | DhcpClientState::Renewing
                | DhcpClientState::Rebinding,
            ) => self.acknowledged(now, &packet),
            (
                DhcpMessageType::Nak,
                DhcpClientState::Requesting
                | DhcpClientState::Rebooting
                | DhcpClientState::Renewing
                | DhcpClientState::Rebinding,
            ) => self.refused(now, &packet),
            (DhcpMessageType::Offer | DhcpMessageType::Ack | DhcpMessageType::Nak, _) => {
                self.counters.unexpected += 1;
            }
            _ => self.counters.not_a_reply += 1,
        }
    }

    fn offered(&mut self, now: Instant, packet: &DhcpPacket<'_>) {
        let Some(lease) = self.read(packet) else {
            return;
        };
        self.counters.offers += 1;
        self.silence = Silence::None;
        let rank = (
            self.failed_server != Some(lease.server),
            self.last_address == Some(lease.address),
            lease.parameters.routes().next().is_some(),
        );
        if self.offer.is_none_or(|best| best.rank < rank) {
            let decide = match self.offer {
                Some(best) => best.decide,
                None => now.saturating_add(self.config.offer_wait),
            };
            self.offer = Some(Offer {
                address: lease.address,
                server: lease.server,
                rank,
                decide,
            });
        }
        self.handle_timeout(now);
    }

    fn read(&mut self, packet: &DhcpPacket<'_>) -> Option<DhcpLease> {
        match DhcpLease::parse(packet, self.config.shortest_lease) {
            Ok(lease) => Some(lease),
            Err(problem) => {
                *match problem {
                    LeaseProblem::Incomplete => &mut self.counters.incomplete,
                    LeaseProblem::BadAddress => &mut self.counters.bad_address,
                    LeaseProblem::TooShort => &mut self.counters.too_short,
                } += 1;
                None
            }
        }
    }

    fn acknowledged(&mut self, now: Instant, packet: &DhcpPacket<'_>) {
        let Some(lease) = self.read(packet) else {
            return;
        };
        let held = self.held.as_ref().map(|held| held.lease.address);
        let (address, server) = match (self.state, self.offer) {
            (DhcpClientState::Requesting, Some(offer)) => (Some(offer.address), Some(offer.server)),
            (DhcpClientState::Rebooting, _) => (self.last_address, None),
            _ => (held, None),
        };
        if address != Some(lease.address) {
            self.counters.bad_address += 1;
            return;
        }
        if server.is_some_and(|server| server != lease.server) {
            self.counters.other_server += 1;
            return;
        }
        let (renew, rebind, expire) = self.times(&lease);
        if expire <= now {
            self.counters.too_short += 1;
            return;
        }
        self.counters.acknowledged += 1;
        self.failures = 0;
        self.failed_server = None;
        self.offer = None;
        self.last_address = Some(lease.address);
        self.next = Instant::FAR_FUTURE;
        let checked = match &self.held {
            Some(held) => {
                let changed = !held.lease.configures_as(&lease);
                let before = matches!(
                    self.gained,
                    Some(DhcpClientEvent::Renewed { changed: true })
                );
                // Whoever hasn't heard of the lease at all hears of it once.
                if self.gained != Some(DhcpClientEvent::Acquired) {
                    self.gained = Some(DhcpClientEvent::Renewed {
                        changed: changed || before,
                    });
                }
                held.checked
            }
            None => {
                self.gained = Some(DhcpClientEvent::Acquired);
                !self.config.check
            }
        };
        self.held = Some(Held {
            lease,
            renew,
            rebind,
            expire,
            checked,
        });
        self.state = if checked {
            DhcpClientState::Bound
        } else {
            DhcpClientState::Checking
        };
        self.handle_timeout(now);
    }

    /// T1, T2 and the end of a lease that was asked for at `self.asked` (§4.4.5).
    fn times(&mut self, lease: &DhcpLease) -> (Instant, Instant, Instant) {
        let Some(duration) = lease.duration else {
            let never = Instant::FAR_FUTURE;
            return (never, never, never);
        };
        let in_order = |(renewal, rebinding): (Duration, Duration)| {
            !renewal.is_zero() && renewal < rebinding && rebinding < duration
        };
        let said = lease.renewal.zip(lease.rebinding);
        let (renewal, rebinding) = said.filter(|said| in_order(*said)).unwrap_or_else(|| {
            // "T1 defaults to (0.5 * duration_of_lease). T2 defaults to (0.875 * duration_of_lease). Times T1 and T2 SHOULD be
            // chosen with some random "fuzz" around a fixed value".
            let (half, seven_eighths) = (duration / 2, duration / 8 * 7);
            let (fuzz, less) = (self.part(half / 16), self.part(duration / 64));
            let (half, seven_eighths) = (half - fuzz, seven_eighths - less);
            // The server may have said one of them alone.
            let mixed = (
                lease.renewal.unwrap_or(half),
                lease.rebinding.unwrap_or(seven_eighths),
            );
            if in_order(mixed) {
                mixed
            } else {
                (half, seven_eighths)
            }
        });
        let from = self.asked;
        (
            from.saturating_add(renewal),
            from.saturating_add(rebinding),
            from.saturating_add(duration),
        )
    }

    fn refused(&mut self, now: Instant, packet: &DhcpPacket<'_>) {
        let asked = match (self.state, &self.held, self.offer) {
            (DhcpClientState::Requesting, _, Some(offer)) => Some(offer.server),
            (DhcpClientState::Renewing, Some(held), _) => Some(held.lease.server),
            _ => None,
        };
        let server = packet.address(option::SERVER_IDENTIFIER);
        let Some(server) = server else {
            self.counters.incomplete += 1;
            return;
        };
        if asked.is_some_and(|asked| asked != server) {
            self.counters.other_server += 1;
            return;
        }
        self.counters.refused += 1;
        let selecting = self.state == DhcpClientState::Requesting;
        self.lose(DhcpLoss::Refused, false);
        if selecting {
            self.fail(now, server);
        } else {
            self.begin(now, Duration::ZERO);
        }
    }

    /// A server refused or ignored what it had offered: begin anew, each time in a row after a longer pause, so that two
    /// machines don't play ping-pong.
    fn fail(&mut self, now: Instant, server: Ipv4Addr) {
        self.failed_server = Some(server);
        self.last_address = None;
        let wait = match self.failures.checked_sub(1) {
            None => Duration::ZERO,
            Some(more) => self.delay(more),
        };
        self.failures = self.failures.saturating_add(1);
        self.begin(now, wait);
    }

    /// The lease is over.
    fn lose(&mut self, loss: DhcpLoss, remember: bool) {
        if let Some(held) = self.held.take() {
            self.last_address = remember.then_some(held.lease.address);
            // One who hasn't heard of the lease hears that it is lost; that does no harm.
            self.gained = None;
            self.lost = Some(loss);
        } else if !remember {
            self.last_address = None;
        }
    }

    /// To INIT, or INIT-REBOOT if there is an address to ask for, after a pause.
    fn begin(&mut self, now: Instant, wait: Duration) {
        self.state = match self.last_address {
            Some(_) => DhcpClientState::InitReboot,
            None => DhcpClientState::Init,
        };
        self.offer = None;
        self.due = None;
        self.attempt = 0;
        self.next = now.saturating_add(wait);
    }

    /// Time has passed (input): to be called at the deadline of [`poll_timeout`](Self::poll_timeout).
    pub fn handle_timeout(&mut self, now: Instant) {
        // Each step puts its deadline behind now, or goes one state on: three suffice, from the end of a lease to INIT to
        // SELECTING.
        for _ in 0..4 {
            if self.deadline() > now {
                return;
            }
            self.step(now);
        }
    }

    fn step(&mut self, now: Instant) {
        if let Some(held) = &self.held {
            if held.expire <= now {
                self.counters.expired += 1;
                self.lose(DhcpLoss::Expired, true);
                // The address is asked for again, but as a new one: it may have become another's.
                self.state = DhcpClientState::Init;
                self.due = None;
                self.next = now;
                return;
            }
            let renewing = matches!(
                self.state,
                DhcpClientState::Bound | DhcpClientState::Renewing
            );
            if renewing && held.rebind <= now {
                self.state = DhcpClientState::Rebinding;
                self.attempt = 0;
                self.next = now;
            } else if self.state == DhcpClientState::Bound {
                self.state = DhcpClientState::Renewing;
                self.attempt = 0;
                self.next = now;
            }
        }
        match self.state {
            DhcpClientState::Init => {
                self.state = DhcpClientState::Selecting;
                self.began = now;
                self.attempt = 0;
                self.open(now);
                self.discover(now);
            }
            DhcpClientState::Selecting => match self.offer {
                Some(offer) if offer.decide <= now => {
                    self.state = DhcpClientState::Requesting;
                    self.attempt = 0;
                    self.asked = now;
                    self.select(now, offer);
                }
                _ => {
                    self.attempt = self.attempt.saturating_add(1);
                    if self.attempt >= UNANSWERED && self.silence == Silence::None {
                        self.silence = Silence::Noticed;
                    }
                    self.discover(now);
                }
            },
            DhcpClientState::Requesting => {
                let Some(offer) = self.offer else {
                    self.begin(now, Duration::ZERO);
                    return;
                };
                self.attempt = self.attempt.saturating_add(1);
                if self.attempt < self.config.request_attempts {
                    self.select(now, offer);
                } else {
                    self.fail(now, offer.server);
                }
            }
            DhcpClientState::InitReboot => {
                self.state = DhcpClientState::Rebooting;
                self.began = now;
                self.attempt = 0;
                self.open(now);
                self.reboot(now);
            }
            DhcpClientState::Rebooting => {
                self.attempt = self.attempt.saturating_add(1);
                if self.attempt < self.config.reboot_attempts {
                    self.reboot(now);
                } else if self.held.is_some() {
                    // "the client MAY choose to use the previously allocated network address and configuration parameters
                    // for the remainder of the unexpired lease" (§3.2).
                    self.state = DhcpClientState::Bound;
                    self.next = Instant::FAR_FUTURE;
                } else {
                    self.state = DhcpClientState::Init;
                    self.next = now;
                }
            }
            DhcpClientState::Renewing | DhcpClientState::Rebinding => self.prolong(now),
            DhcpClientState::Stopped | DhcpClientState::Checking | DhcpClientState::Bound => {
                self.next = Instant::FAR_FUTURE;
            }
        }
    }

    /// A new transaction.
    fn open(&mut self, now: Instant) {
        self.transaction = self.random.next_u64() as u32;
        self.asked = now;
    }

    fn discover(&mut self, now: Instant) {
        let hint = self.last_address;
        self.say(Due::Discover { hint });
        let elapsed = now.saturating_duration_since(self.began).as_secs();
        self.seconds = u16::try_from(elapsed).unwrap_or(u16::MAX);
        self.next = now.saturating_add(self.delay(self.attempt));
    }

    /// "secs" stays what the DHCPDISCOVER said (§3.1 (3)), and so does the transaction (§4.4.1).
    fn select(&mut self, now: Instant, offer: Offer) {
        let (address, server) = (offer.address, offer.server);
        self.say(Due::Select { address, server });
        self.next = now.saturating_add(self.delay(self.attempt));
    }

    fn reboot(&mut self, now: Instant) {
        let Some(address) = self.last_address else {
            self.state = DhcpClientState::Init;
            self.next = now;
            return;
        };
        self.say(Due::Reboot { address });
        let elapsed = now.saturating_duration_since(self.began).as_secs();
        self.seconds = u16::try_from(elapsed).unwrap_or(u16::MAX);
        self.next = now.saturating_add(self.delay(self.attempt));
    }

    /// Asks for more time: in a transaction of its own each time, so that the lease begins when this message was sent. Again
    /// after half of what is left until T2 or the end, "down to a minimum of 60 seconds" (§4.4.5).
    fn prolong(&mut self, now: Instant) {
        let Some(held) = &self.held else {
            self.begin(now, Duration::ZERO);
            return;
        };
        let (address, server) = (held.lease.address, held.lease.server);
        let (due, end) = match self.state {
            DhcpClientState::Renewing => (Due::Renew { address, server }, held.rebind),
            _ => (Due::Rebind { address }, held.expire),
        };
        let wait = end.saturating_duration_since(now) / 2;
        let next = now.saturating_add(wait.max(SHORTEST_RENEWAL));
        self.seconds = 0;
        self.open(now);
        self.say(due);
        self.attempt = self.attempt.saturating_add(1);
        self.next = next;
    }

    fn say(&mut self, due: Due) {
        self.counters.repeated += u64::from(self.attempt > 0);
        self.due = Some(due);
    }

    fn delay(&mut self, attempt: u8) -> Duration {
        delay(&mut self.random, attempt)
    }

    fn part(&mut self, of: Duration) -> Duration {
        part(&mut self.random, of)
    }

    /// Writes the message that is due, and says how it is to be sent (output).
    pub fn poll_transmit(&mut self, buffer: &mut [u8; MESSAGE_LEN]) -> Option<DhcpTransmit> {
        let due = self.due.take()?;
        // Nothing that the configuration can hold is too long for the buffer.
        let transmit = due
            .write(&self.config, self.transaction, self.seconds, buffer)
            .ok()?;
        self.counters.sent += 1;
        Some(transmit)
    }

    /// The next event (output). What is lost is told before what is gained.
    pub fn poll_event(&mut self) -> Option<DhcpClientEvent> {
        if let Some(loss) = self.lost.take() {
            return Some(DhcpClientEvent::Lost(loss));
        }
        if self.silence == Silence::Noticed {
            self.silence = Silence::Told;
            return Some(DhcpClientEvent::Unanswered);
        }
        self.gained.take()
    }

    /// When [`handle_timeout`](Self::handle_timeout) is to be called again at the latest; none for never (output, the last).
    pub fn poll_timeout(&self) -> Option<Instant> {
        let deadline = self.deadline();
        (deadline != Instant::FAR_FUTURE).then_some(deadline)
    }

    fn deadline(&self) -> Instant {
        let next = match self.offer {
            Some(offer) if self.state == DhcpClientState::Selecting => offer.decide.min(self.next),
            _ => self.next,
        };
        let Some(held) = &self.held else {
            return next;
        };
        match self.state {
            DhcpClientState::Bound => held.renew,
            DhcpClientState::Renewing => next.min(held.rebind),
            // An address that was not looked for yet can't ask for itself.
            _ => next.min(held.expire),
        }
    }
}

/// Whether a reply is of this transaction, for this station.
fn is_ours(packet: &DhcpPacket<'_>, config: &DhcpClientConfig, transaction: u32) -> bool {
    // RFC 6842 §3: a server that returns an identifier returns ours, and none where we sent none.
    let is_our_identifier = match (packet.option(option::CLIENT_IDENTIFIER), &config.identifier) {
        (Some(theirs), Some(ours)) => theirs.bytes().eq(ours.iter().copied()),
        (Some(_), None) => false,
        (None, _) => true,
    };
    packet.transaction() == transaction
        && packet.hardware() == DhcpHardware::ethernet(config.mac)
        && is_our_identifier
}

/// The delay after a message that was repeated `attempt` times before (§4.1).
fn delay(random: &mut Random, attempt: u8) -> Duration {
    let base = (FIRST_DELAY * (1 << attempt.min(4))).min(LONGEST_DELAY);
    base - JITTER + part(random, JITTER * 2)
}

/// A random part of a time.
fn part(random: &mut Random, of: Duration) -> Duration {
    let nanos = u64::try_from(of.as_nanos()).unwrap_or(u64::MAX - 1);
    Duration::from_nanos(random.below(nanos.saturating_add(1).max(1)))
}
