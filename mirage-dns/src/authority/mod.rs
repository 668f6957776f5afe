//! Zones that change while they are served: transfers, notices, secondary zones, updates, reload (feature `alloc`).
//!
//! | item | what it is |
//! |------|------------|
//! | [`Authority`] | the zones, who may do what with them, and what is under way |
//! | [`ZoneConfig`], [`Peer`], [`Bounds`] | what it is told of them |
//! | [`AccessList`], [`AccessRule`] | who may |
//! | [`Handled`], [`Reply`] | what becomes of a request, at once or later |
//! | [`Task`] | what it wants done: a [`SoaQuery`], a [`ZoneTransfer`], a [`NotifyRequest`], a [`BuildJob`] |
//! | [`Reload`] | zones that were read again |
//! | [`SignedTransfer`] | a transfer that goes out |
//! | [`Rejection`], [`Why`] | a request that was turned away, to be told |
//! | [`Now`] | the time |
//!
//! A pure state machine: it owns no socket, no clock and no thread. Zones never change in place: a change is built into the
//! next [`OwnedZoneSet`] apart from the server, and then takes the place of the current one between two requests, so no
//! query is lost or sees half of it.
//!
//! - Inputs: [`Authority::handle_request`]; [`Authority::handle_soa`], [`Authority::handle_transfer`],
//!   [`Authority::handle_notified`], [`Authority::handle_built`] for what came of a task.
//! - Mutators: [`Authority::reload`].
//! - Outputs: [`Authority::poll_task`], [`Authority::poll_reply`] and [`Authority::poll_rejection`] until they give `None`, then
//!   [`Authority::poll_timeout`].
//! - Getters: [`Authority::zones`], [`Authority::generation`], [`Authority::counters`].
//!
//! # Where the specifications leave a choice
//!
//! - **Who may not** is answered with REFUSED, whatever the zone: as who may is said zone by zone, also about zones that are
//!   not ours, where RFC 5936 §2.2.1 and RFC 2136 §3.1 have NOTAUTH; a notice about such a zone gets that. A zone that is not
//!   there: SERVFAIL.
//! - **AXFR over UDP** is refused. IXFR over UDP is answered with the differences if they fit, else with the SOA alone.
//! - **A notice** is heard from the addresses of the primaries, with the primary's key if it has one, and from who else is
//!   allowed to (RFC 1996 §3.11); from others it is refused. The serial in it is a hint.
//! - **An update of a secondary zone** is not forwarded: NOTIMP (RFC 2136 §6 leaves that to the server). Who may not change a
//!   zone is refused before the prerequisites are looked at: an update that does nothing would else tell what there is.
//! - **An update is answered** when queries see what it did, and when it is stored, if anything is. Many that come together
//!   are built together.
//! - **The file of a zone that is updated**, read again, takes the zone's place only if its serial is newer; while it is
//!   built, updates are answered with SERVFAIL.
//! - **Transfers that go out** are so many at once; more are answered with SERVFAIL, which a secondary tries again.
//! - **Cookies** and other EDNS options are answered as by the server, and who has a right cookie is not limited; what a signature is
//!   rejected with has no options.
//! - **Other signed requests** are answered as unsigned ones are, and signed.

use alloc::boxed::Box;
use alloc::collections::{BTreeMap, VecDeque};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::time::Duration;

use rand_core::CryptoRng;

use crate::journal::Journal;
use crate::message::{MAX_MESSAGE_LENGTH, MessageReader};
use crate::name::{Name, NameBuf};
use crate::notify::Notifier;
use crate::secondary::{Secondary, SoaTimers};
use crate::server::{Client, CookieState, Server};
use crate::tsig::{Key, KeyRing, RequestVerifier, Verified};
use crate::update::PendingUpdates;
use crate::zone_set::{BuildError, OwnedZoneSet, SortKey, ZoneSetBuilder, sort_key};

mod access;
mod build;
mod config;
mod conversations;
mod counters;
mod rejected;
mod reply;
mod requests;
mod tasks;
#[cfg(test)]
mod tests;
mod updates;
mod versions;

pub use access::{AccessList, AccessRule};
pub use build::{BuildJob, Built, BuiltChange, Leftovers, Reload};
pub use config::{Bounds, ConfigError, Peer, ZoneConfig};
pub use counters::Counters;
pub use rejected::{Rejection, Why};
pub use tasks::{
    NoAnswer, NotifyRequest, SignedTransfer, SoaAnswer, SoaQuery, Task, ZoneTransfer,
    ZoneTransferError,
};

use build::{Change, ZoneChange};
use rejected::Rejections;

/// The time.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Now {
    /// On a clock that never goes back, from any beginning: for intervals.
    pub elapsed: Duration,
    /// Seconds since 1970: for signatures.
    pub unix: u64,
}

/// What becomes of a request.
#[derive(Debug)]
pub enum Handled<'k> {
    /// Nothing is sent.
    Ignored,
    /// The answer has so many octets.
    Answer(usize),
    /// Over a stream: all messages of this transfer.
    Transfer(Box<SignedTransfer<'k>>),
    /// The answer comes with [`Authority::poll_reply`], under this ticket: an update that is being built.
    Later(Ticket),
}

/// Which answer it is that comes later.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Ticket(u64);

/// An answer that comes later.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Reply {
    /// The one that [`Handled::Later`] gave.
    pub ticket: Ticket,
    /// The message.
    pub octets: Vec<u8>,
}

/// The zones of a server as they change.
#[derive(Debug)]
pub struct Authority<'k> {
    zones: Arc<OwnedZoneSet>,
    generation: u64,
    verifier: RequestVerifier<'k>,
    bounds: Bounds,
    states: Vec<ZoneState<'k>>,
    /// From an apex to its state.
    places: BTreeMap<SortKey, usize>,
    /// What is to be built next.
    changes: Vec<ZoneChange>,
    next_number: u64,
    building: bool,
    /// Notices that were given out and whose outcome is awaited.
    notices: usize,
    /// The zone whose turn it is to ask and to tell.
    turn: usize,
    /// Answers that can go out.
    replies: VecDeque<Reply>,
    next_ticket: u64,
    /// Each transfer that goes out has another.
    outgoing: Arc<()>,
    rejections: Rejections,
    counters: Counters,
}

/// One zone.
#[derive(Debug)]
struct ZoneState<'k> {
    config: ZoneConfig,
    journal: Journal,
    secondary: Option<Secondary>,
    notifier: Notifier,
    /// The change that a transfer brought, as long as it is not built.
    installing: Option<u64>,
    /// Whether the zone was read again, and that is not built.
    replacing: bool,
    /// What updates changed and is not built.
    pending: PendingUpdates,
    /// The updates that wait for it, in their order.
    waiting: VecDeque<WaitingUpdate<'k>>,
}

/// An update that is answered when it was built.
#[derive(Debug)]
struct WaitingUpdate<'k> {
    ticket: Ticket,
    /// The change that it waits for, and the version of the pending updates that has it.
    change: u64,
    version: u64,
    /// The answer, as yet unsigned.
    reply: Vec<u8>,
    verified: Option<Verified<'k>>,
}

impl<'k> Authority<'k> {
    /// An authority for the zones of a set, and for secondary zones that are not in it yet.
    ///
    /// A zone without configuration is answered from, and nobody may fetch or change it. `keys` are those that the
    /// configurations name, and all others whose signatures are understood.
    ///
    /// # Errors
    /// [`ConfigError`]: a configuration is wrong. [`ConfigError::Build`] cannot be met with names that exist.
    pub fn new(
        zones: OwnedZoneSet,
        configs: Vec<ZoneConfig>,
        keys: &'k [Key],
        bounds: Bounds,
        now: Now,
        rng: &mut impl CryptoRng,
    ) -> Result<Self, ConfigError> {
        let ring = KeyRing::new(keys);
        let mut zones = zones;
        let mut builder = None;
        let mut states = Vec::new();
        let mut places = BTreeMap::new();
        for config in configs {
            let apex = config.apex.clone();
            for key in key_names(&config) {
                if ring.find_by_name(key.as_name()).is_none() {
                    return Err(ConfigError::UnknownKey(Box::new(key.clone())));
                }
            }
            let set = zones.as_zone_set();
            let zone = set.zone_at(apex.as_name());
            if zone.is_none() && config.primaries.is_empty() {
                return Err(ConfigError::UnknownZone(Box::new(apex)));
            }
            let secondary = (!config.primaries.is_empty()).then(|| {
                let seed = rng.next_u64();
                let (count, intervals) = (config.primaries.len(), bounds.intervals);
                let secondary = Secondary::new(now.elapsed, count, intervals, seed);
                let soa = zone.and_then(|zone| zone.soa());
                match soa.and_then(|soa| SoaTimers::from_rdata(soa.rdata)) {
                    Some(timers) => secondary.with_data(now.elapsed, timers, config.age),
                    None => secondary,
                }
            });
            if zone.is_none() {
                if builder.is_none() {
                    builder =
                        Some(ZoneSetBuilder::from_zone_set(&set).map_err(ConfigError::Build)?);
                }
                if let Some(builder) = &mut builder {
                    let added = builder.add_absent_zone(apex.as_name());
                    added.map_err(|_| ConfigError::RepeatedZone(Box::new(apex.clone())))?;
                }
            }
            let place = states.len();
            if places.insert(sort_key(apex.as_name()), place).is_some() {
                return Err(ConfigError::RepeatedZone(Box::new(apex)));
            }
            let mut notifier = Notifier::new(config.notify.len(), bounds.schedule);
            if zone.is_some_and(|zone| zone.is_present()) && secondary.is_none() {
                // They may have missed what changed while we were away.
                notifier.handle_change(now.elapsed);
            }
            let mut journal = Journal::new(bounds.journal);
            for difference in &config.history {
                journal.push(difference.clone());
            }
            states.push(ZoneState {
                notifier,
                journal,
                secondary,
                installing: None,
                replacing: false,
                pending: PendingUpdates::new(bounds.update),
                waiting: VecDeque::new(),
                config,
            });
        }
        if let Some(builder) = builder {
            let image = builder.build().map_err(ConfigError::Build)?;
            zones = OwnedZoneSet::new(image)
                .map_err(|error| ConfigError::Build(BuildError::from(error)))?;
        }
        Ok(Self {
            zones: Arc::new(zones),
            generation: 0,
            verifier: RequestVerifier::new(ring),
            bounds,
            states,
            places,
            changes: Vec::new(),
            next_number: 0,
            building: false,
            notices: 0,
            turn: 0,
            replies: VecDeque::new(),
            next_ticket: 0,
            outgoing: Arc::new(()),
            rejections: Rejections::default(),
            counters: Counters::default(),
        })
    }

    /// The current version of the zones.
    pub fn zones(&self) -> &Arc<OwnedZoneSet> {
        &self.zones
    }

    /// How many versions there were before the current one.
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// What happened so far.
    pub fn counters(&self) -> Counters {
        Counters {
            tsig: self.verifier.counters(),
            ..self.counters
        }
    }

    /// Whether a request is for the server alone: an unsigned query for anything but a transfer. Of such the server's answer
    /// from the current zones is all there is to it, and [`Self::handle_request`] gives no other.
    ///
    /// It looks at a few octets: what else it may be is found out later.
    pub fn is_plain(request: &[u8]) -> bool {
        reply::is_plain(request)
    }

    /// Answers a request: queries from the current zones, by `server`; transfers, notices and updates by what is allowed.
    ///
    /// `request` is changed where it has a signature, which is taken off. The answer is written to the start of `out`.
    pub fn handle_request(
        &mut self,
        server: &Server,
        request: &mut [u8],
        client: &Client,
        now: Now,
        out: &mut [u8],
    ) -> Handled<'k> {
        let verified = match self.verifier.verify(request, now.unix) {
            Ok(verified) => verified,
            Err(rejected) => {
                let written = rejected.write_reply(request, now.unix, out).ok();
                let (reason, cookie) = (rejected.reason(), CookieState::None);
                let why = Why::Signature(reason);
                self.rejections
                    .note(request, client.address, why, now.elapsed);
                return self.send(server, client, None, cookie, reason.rcode(), written);
            }
        };
        let Some(verified) = verified else {
            return self.handle_verified(server, request, client, None, now, out);
        };
        let request = &mut request[..verified.length()];
        // What the answer may have, less what its signature takes.
        let limit = match MessageReader::new(request) {
            Ok(reader) => server.opt(&reader, client).length_limit(),
            Err(_) => MAX_MESSAGE_LENGTH,
        };
        let limit = limit.min(out.len());
        let room = limit.saturating_sub(verified.record_length());
        let handled = self.handle_verified(
            server,
            request,
            client,
            Some(&verified),
            now,
            &mut out[..room],
        );
        match handled {
            Handled::Answer(length) => match verified.sign(&mut out[..limit], length, now.unix) {
                Ok(signed) => Handled::Answer(signed.length),
                Err(_) => Handled::Ignored,
            },
            other => other,
        }
    }

    /// The next request that was turned away and is worth telling, if there is one: of each kind one in ten seconds, so that nobody
    /// floods a log.
    pub fn poll_rejection(&mut self) -> Option<Rejection> {
        self.rejections.next()
    }

    /// The next thing to do, if there is one. `rng` must be one that nobody can foresee: of it come the IDs of what is asked.
    pub fn poll_task(&mut self, now: Now, rng: &mut impl CryptoRng) -> Option<Task<'k>> {
        for place in 0..self.states.len() {
            let secondary = self.secondary(place);
            if secondary.is_some_and(|secondary| secondary.poll_expiry(now.elapsed)) {
                self.counters.zones_expired += 1;
                let apex = self.states[place].config.apex.clone();
                self.change(apex, Change::Clear);
            }
        }
        // Whether another conversation may begin changes with what is given out alone: it is looked at once, not for each zone.
        if self.may_converse() {
            let (turn, zones) = (self.turn, self.states.len());
            // One zone after the other, so that those whose primaries are silent keep no other one waiting for ever.
            for place in (0..zones).map(|step| (turn + step) % zones) {
                let task = self.ask_or_tell(place, now, rng);
                if task.is_some() {
                    self.turn = place + 1;
                    return task;
                }
            }
        }
        if self.building || self.changes.is_empty() {
            return None;
        }
        self.building = true;
        let changes = core::mem::take(&mut self.changes);
        Some(Task::Build(BuildJob::new(self.zones.clone(), changes)))
    }

    /// When [`Self::poll_task`] has something next, at the latest, if no input comes before.
    pub fn poll_timeout(&self) -> Option<Duration> {
        let may_converse = self.may_converse();
        let due = self.states.iter().flat_map(|state| {
            let secondary = state.secondary.as_ref();
            match may_converse {
                true => [
                    secondary.map(Secondary::poll_timeout),
                    state.notifier.poll_timeout(),
                ],
                // The end of a conversation comes first.
                false => [secondary.and_then(Secondary::expires), None],
            }
        });
        let due = due.flatten().min();
        match self.building || self.changes.is_empty() {
            true => due,
            false => Some(Duration::ZERO),
        }
    }

    fn key(&self, peer: &Peer) -> Option<&'k Key> {
        // Configurations name no key that is not there.
        let name = peer.key.as_ref()?;
        self.verifier.keys().find_by_name(name.as_name())
    }

    fn state_of(&self, apex: Name<'_>) -> Option<&ZoneState<'k>> {
        let place = *self.places.get(&sort_key(apex))?;
        self.states.get(place)
    }

    fn secondary(&mut self, place: usize) -> Option<&mut Secondary> {
        self.states.get_mut(place)?.secondary.as_mut()
    }
}

/// The keys that a configuration names.
fn key_names(config: &ZoneConfig) -> impl Iterator<Item = &NameBuf> {
    let lists = [&config.transfer, &config.update, &config.hear];
    let rules = lists.into_iter().flat_map(|list| &list.0);
    let peers = config.notify.iter().chain(&config.primaries);
    let keys = rules.filter_map(|rule| rule.key.as_ref());
    keys.chain(peers.filter_map(|peer| peer.key.as_ref()))
}
