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
//! | [`Now`] | the time |
//!
//! A pure state machine: it owns no socket, no clock and no thread. Zones never change in place: a change is built into the
//! next [`OwnedZoneSet`] apart from the server, and then takes the place of the current one between two requests, so no
//! query is lost or sees half of it.
//!
//! - Inputs: [`Authority::handle_request`]; [`Authority::handle_soa`], [`Authority::handle_transfer`],
//!   [`Authority::handle_notified`], [`Authority::handle_built`] for what came of a task.
//! - Mutators: [`Authority::reload`].
//! - Outputs: [`Authority::poll_task`] and [`Authority::poll_reply`] until they give `None`, then
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
//! - **Other signed requests** are answered as unsigned ones are, and signed.

use alloc::boxed::Box;
use alloc::collections::{BTreeMap, VecDeque};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::net::IpAddr;
use core::time::Duration;

use rand_core::CryptoRng;

use crate::difference::RecordBuf;
use crate::journal::Journal;
use crate::message::{Flags, MAX_MESSAGE_LENGTH, MessageReader};
use crate::name::{Name, NameBuf};
use crate::notify::{Notifier, Notify};
use crate::record::{Opcode, Rcode};
use crate::secondary::{Action, Outcome, Secondary, SoaTimers};
use crate::serial::is_newer;
use crate::server::{Client, Server, Transport};
use crate::transfer::{OutgoingTransfer, TransferRequest, Transferred};
use crate::tsig::{Key, KeyRing, MAX_RECORD_LENGTH, RequestVerifier, Verified};
use crate::update::{PendingUpdates, UpdateRequest};
use crate::zone_set::{BuildError, OwnedZoneSet, SortKey, ZoneSetBuilder, sort_key};

mod access;
mod build;
mod config;
mod counters;
mod reply;
mod tasks;
#[cfg(test)]
mod tests;

pub use access::{AccessList, AccessRule};
pub use build::{BuildJob, Built, BuiltChange, Reload};
pub use config::{Bounds, Peer, ZoneConfig};
pub use counters::Counters;
pub use tasks::{NotifyRequest, SignedTransfer, SoaQuery, Task, ZoneTransfer, ZoneTransferError};

use build::{Change, ZoneChange};

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
                return self.send(server, client, None, rejected.reason().rcode(), written);
            }
        };
        let Some(verified) = verified else {
            return self.handle_verified(server, request, client, None, now, out);
        };
        let request = &mut request[..verified.length()];
        // What the answer may have, less what its signature takes.
        let limit = match client.transport {
            Transport::Udp => reply::datagram_limit(request, server.limits()),
            Transport::Tcp => MAX_MESSAGE_LENGTH,
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

    fn handle_verified(
        &mut self,
        server: &Server,
        request: &[u8],
        client: &Client,
        verified: Option<&Verified<'k>>,
        now: Now,
        out: &mut [u8],
    ) -> Handled<'k> {
        let Ok(reader) = MessageReader::new(request) else {
            return self.answer(server, request, client, out);
        };
        let header = *reader.header();
        if header.flags.contains(Flags::QR) {
            return self.answer(server, request, client, out);
        }
        let (rcode, replied) = match header.opcode {
            Opcode::QUERY => match TransferRequest::parse(&reader) {
                Ok(Some(transfer)) => {
                    return self.handle_transfer_request(
                        server, &reader, &transfer, client, verified, out,
                    );
                }
                // What is malformed, and everything else, is the server's.
                Ok(None) | Err(_) => return self.answer(server, request, client, out),
            },
            Opcode::NOTIFY => {
                let rcode = match (reply::check_edns(&reader), Notify::parse(&reader)) {
                    (Err(rcode), _) => rcode,
                    (_, Ok(Some(notify))) => self.hear(&notify, client.address, verified, now),
                    (_, Ok(None)) => Rcode::NOTIMP,
                    (_, Err(_)) => Rcode::FORMERR,
                };
                (rcode, reply::write(request, rcode, Flags::AA, out))
            }
            Opcode::UPDATE => match self.update(&reader, client, verified) {
                Ok(Decided::Later(ticket)) => return Handled::Later(ticket),
                Ok(Decided::Nothing) => {
                    let rcode = Rcode::NOERROR;
                    (rcode, reply::write(request, rcode, Flags::empty(), out))
                }
                Err(rcode) => {
                    self.counters.updates_refused += 1;
                    (rcode, reply::write(request, rcode, Flags::empty(), out))
                }
            },
            _ => return self.answer(server, request, client, out),
        };
        self.send(server, client, verified, rcode, replied)
    }

    /// Sends an answer of our own, unless it is one too many to an address that anybody may have written: who signs has not.
    fn send(
        &mut self,
        server: &Server,
        client: &Client,
        verified: Option<&Verified<'k>>,
        rcode: Rcode,
        written: Option<usize>,
    ) -> Handled<'k> {
        if verified.is_none() && server.holds_back(client, rcode) {
            self.counters.rate_limited += 1;
            return Handled::Ignored;
        }
        written.map_or(Handled::Ignored, Handled::Answer)
    }

    fn answer(
        &self,
        server: &Server,
        request: &[u8],
        client: &Client,
        out: &mut [u8],
    ) -> Handled<'k> {
        let zones = self.zones.as_zone_set();
        match server.answer(&zones, request, client, out) {
            Some(length) => Handled::Answer(length),
            None => Handled::Ignored,
        }
    }

    fn handle_transfer_request(
        &mut self,
        server: &Server,
        reader: &MessageReader<'_>,
        asked: &TransferRequest,
        client: &Client,
        verified: Option<&Verified<'k>>,
        out: &mut [u8],
    ) -> Handled<'k> {
        let transfer = self.may_transfer(reader, asked, client, verified);
        match (&transfer, client.transport) {
            (Err(_), _) => self.counters.transfers_refused += 1,
            (Ok(transfer), _) if transfer.is_incremental() => {
                self.counters.incremental_transfers_out += 1;
            }
            (Ok(_), _) => self.counters.whole_transfers_out += 1,
        }
        let request = reader.octets();
        let (rcode, written) = match (transfer, client.transport) {
            (Err(rcode), _) => (rcode, reply::write(request, rcode, Flags::empty(), out)),
            (Ok(transfer), Transport::Udp) => {
                let limit = reply::datagram_limit(request, server.limits()).min(out.len());
                let written = transfer.write_datagram(&mut out[..limit]);
                (Rcode::NOERROR, written.ok())
            }
            (Ok(transfer), Transport::Tcp) => {
                let signer = verified.map(Verified::stream);
                return Handled::Transfer(Box::new(SignedTransfer::new(transfer, signer)));
            }
        };
        self.send(server, client, verified, rcode, written)
    }

    fn may_transfer(
        &self,
        reader: &MessageReader<'_>,
        asked: &TransferRequest,
        client: &Client,
        verified: Option<&Verified<'k>>,
    ) -> Result<OutgoingTransfer, Rcode> {
        reply::check_edns(reader)?;
        let apex = asked.apex.as_name();
        let key = verified.map(|verified| verified.key().name());
        let state = self.state_of(apex).ok_or(Rcode::REFUSED)?;
        if !state.config.transfer.allows(client.address, key) {
            return Err(Rcode::REFUSED);
        }
        if client.transport == Transport::Udp && asked.serial.is_none() {
            return Err(Rcode::REFUSED);
        }
        let transfer = match client.transport {
            Transport::Udp => OutgoingTransfer::for_datagram(asked, &self.zones, &state.journal),
            Transport::Tcp => OutgoingTransfer::new(asked, &self.zones, &state.journal),
        };
        transfer.ok_or(Rcode::SERVFAIL)
    }

    /// RFC 1996 §3.11: a notice that is not from one of the zone's primaries is not heard.
    fn hear(
        &mut self,
        notify: &Notify,
        from: IpAddr,
        verified: Option<&Verified<'k>>,
        now: Now,
    ) -> Rcode {
        let key = verified.map(|verified| verified.key().name());
        let rcode = self.heard_by(notify, from, key, now);
        match rcode {
            Rcode::NOERROR => self.counters.notices_heard += 1,
            _ => self.counters.notices_refused += 1,
        }
        rcode
    }

    fn heard_by(
        &mut self,
        notify: &Notify,
        from: IpAddr,
        key: Option<Name<'_>>,
        now: Now,
    ) -> Rcode {
        let Some(&place) = self.places.get(&sort_key(notify.apex.as_name())) else {
            return Rcode::NOTAUTH;
        };
        let state = &mut self.states[place];
        let Some(secondary) = &mut state.secondary else {
            return Rcode::NOTAUTH;
        };
        let primary = state.config.primaries.iter().position(|peer| {
            let signed = match &peer.key {
                None => true,
                Some(wanted) => key == Some(wanted.as_name()),
            };
            signed && peer.address.ip().to_canonical() == from.to_canonical()
        });
        match primary {
            Some(primary) => secondary.handle_notify(now.elapsed, primary, notify.serial),
            None if state.config.hear.allows(from, key) => {
                secondary.handle_notify(now.elapsed, 0, notify.serial);
            }
            None => return Rcode::REFUSED,
        }
        Rcode::NOERROR
    }

    /// Does an update on what the ones before it left, and has it built (RFC 2136 §3).
    fn update(
        &mut self,
        reader: &MessageReader<'_>,
        client: &Client,
        verified: Option<&Verified<'k>>,
    ) -> Result<Decided, Rcode> {
        reply::check_edns(reader)?;
        let request = UpdateRequest::parse(reader).map_err(|error| error.rcode())?;
        let apex = request.apex().to_owned();
        let key = verified.map(|verified| verified.key().name());
        let place = self.places.get(&sort_key(apex.as_name())).copied();
        let state = place.and_then(|place| self.states.get_mut(place));
        // Who may not change anything is told nothing of what there is.
        let state = state.ok_or(Rcode::REFUSED)?;
        if state.secondary.is_some() {
            return Err(Rcode::NOTIMP);
        }
        if !state.config.update.allows(client.address, key) {
            return Err(Rcode::REFUSED);
        }
        let zones = self.zones.as_zone_set();
        let zone = request.zone(&zones).map_err(|error| error.rcode())?;
        if state.waiting.len() >= self.bounds.updates || state.replacing {
            return Err(Rcode::SERVFAIL);
        }
        let decided = state.pending.apply(zone, &request);
        let difference = decided.map_err(|error| error.rcode())?;
        let (change, version) = match (difference, state.waiting.back()) {
            (Some(difference), _) => {
                let version = state.pending.version();
                let change = Change::Apply(alloc::vec![Arc::new(difference)]);
                (self.change(apex, change), version)
            }
            // It rests on what the ones before it do: it is answered when they are.
            (None, Some(last)) => (last.change, last.version),
            (None, None) => return Ok(Decided::Nothing),
        };
        let mut reply = alloc::vec![0; 512 + MAX_RECORD_LENGTH];
        let written = reply::write(reader.octets(), Rcode::NOERROR, Flags::empty(), &mut reply);
        reply.truncate(written.ok_or(Rcode::SERVFAIL)?);
        let ticket = Ticket(self.next_ticket);
        self.next_ticket += 1;
        if let Some(state) = place.and_then(|place| self.states.get_mut(place)) {
            state.waiting.push_back(WaitingUpdate {
                ticket,
                change,
                version,
                reply,
                verified: verified.cloned(),
            });
        }
        Ok(Decided::Later(ticket))
    }

    /// The next answer that was announced with [`Handled::Later`], if there is one.
    pub fn poll_reply(&mut self) -> Option<Reply> {
        self.replies.pop_front()
    }

    /// Answers the updates of a zone up to one that waits for this change.
    fn answer_updates(&mut self, place: usize, change: u64, done: bool, now: Now) {
        let state = &mut self.states[place];
        while let Some(waiting) = state.waiting.front()
            && (!done || waiting.change <= change)
        {
            let Some(mut waiting) = state.waiting.pop_front() else {
                return;
            };
            if done {
                state.pending.forget(waiting.version);
                self.counters.updates_done += 1;
            } else {
                reply::set_rcode(&mut waiting.reply, Rcode::SERVFAIL);
                self.counters.updates_failed += 1;
            }
            let mut octets = waiting.reply;
            if let Some(verified) = waiting.verified {
                let length = octets.len();
                octets.resize(length + verified.record_length(), 0);
                match verified.sign(&mut octets, length, now.unix) {
                    Ok(signed) => octets.truncate(signed.length),
                    // There is room, and the message is ours.
                    Err(_) => continue,
                }
            }
            self.replies.push_back(Reply {
                ticket: waiting.ticket,
                octets,
            });
        }
        if !done {
            // Whatever else was decided rests on what was not done.
            state.pending.clear();
            let apex = state.config.apex.as_name();
            self.changes.retain(|change| {
                change.apex.as_name() != apex || !matches!(change.change, Change::Apply(_))
            });
        }
    }

    /// Zones were read again: those that are ours and differ take the place of the current ones; those that are fetched from
    /// primaries stay. Nothing is seen of it before [`Task::Build`] is done.
    pub fn reload(&mut self, reload: Reload) {
        for apex in reload.changed {
            let serial_of = |zones: &OwnedZoneSet| {
                let zone = zones.as_zone_set().zone_at(apex.as_name());
                zone.map_or(0, |zone| zone.serial())
            };
            let (read, current) = (serial_of(&reload.zones), serial_of(&self.zones));
            let place = self.places.get(&sort_key(apex.as_name())).copied();
            if let Some(state) = place.and_then(|place| self.states.get_mut(place)) {
                // What updates did counts, be it built or not.
                let current = state.pending.serial(apex.as_name()).unwrap_or(current);
                let is_newer = is_newer(read, current);
                // The file of a zone that is updated has not what the updates did: it counts when its author says so.
                let is_updated = !state.config.update.0.is_empty();
                if state.secondary.is_some() || (is_updated && !is_newer) {
                    continue;
                }
                state.replacing = true;
            }
            self.change(apex, Change::ReplaceFrom(reload.zones.clone()));
        }
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
        let (turn, zones) = (self.turn, self.states.len());
        // One zone after the other, so that those whose primaries are silent keep no other one waiting for ever.
        for place in (0..zones).map(|step| (turn + step) % zones) {
            if !self.may_converse() {
                break;
            }
            let task = self.ask_or_tell(place, now, rng);
            if task.is_some() {
                self.turn = place + 1;
                return task;
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

    /// What came of [`Task::QuerySoa`]: the primary's serial, or nothing.
    pub fn handle_soa(&mut self, query: &SoaQuery<'_>, serial: Option<u32>, now: Now) {
        if let Some(secondary) = self.secondary(query.zone) {
            secondary.handle_soa(now.elapsed, serial);
        }
    }

    /// What came of [`Task::Transfer`]: the last message's result, or `None` where the connection failed or was no transfer.
    pub fn handle_transfer(
        &mut self,
        transfer: &ZoneTransfer<'_>,
        result: Option<Transferred>,
        now: Now,
    ) {
        let place = transfer.zone;
        let change = match result {
            Some(Transferred::Whole(records)) => Change::Replace(Arc::new(records)),
            Some(Transferred::Differences(differences)) => {
                Change::Apply(differences.into_iter().map(Arc::new).collect())
            }
            Some(Transferred::UpToDate) => {
                if let Some(secondary) = self.secondary(place) {
                    secondary.handle_transfer(now.elapsed, Outcome::UpToDate);
                }
                return;
            }
            Some(Transferred::AskOverTcp) | None => {
                self.counters.transfers_failed += 1;
                if let Some(secondary) = self.secondary(place) {
                    secondary.handle_transfer(now.elapsed, Outcome::Failed);
                }
                return;
            }
        };
        let apex = transfer.apex().to_owned();
        let number = self.change(apex, change);
        if let Some(state) = self.states.get_mut(place) {
            state.installing = Some(number);
        }
    }

    /// What came of [`Task::Notify`]: whether the secondary has answered.
    pub fn handle_notified(&mut self, notice: &NotifyRequest<'_>, is_answered: bool) {
        self.notices = self.notices.saturating_sub(1);
        if is_answered && let Some(state) = self.states.get_mut(notice.zone) {
            let told = notice.notice;
            state.notifier.handle_answer(told.secondary, told.change);
        }
    }

    /// [`Task::Build`] is done: from now on answers are from this version.
    pub fn handle_built(&mut self, built: Built, now: Now) {
        self.building = false;
        if !Arc::ptr_eq(&built.zones, &self.zones) {
            self.generation += 1;
            self.zones = built.zones;
        }
        for change in built.changes {
            let Some(&place) = self.places.get(&sort_key(change.apex.as_name())) else {
                continue;
            };
            let installed = self.states[place].installing == Some(change.number);
            if installed {
                self.states[place].installing = None;
            }
            self.states[place].replacing &= self.is_replacing(&change.apex);
            let done = change.result.is_ok();
            let outcome = match change.result {
                Ok(differences) => self.version_changed(place, &differences, now),
                Err(_) => {
                    self.counters.changes_failed += 1;
                    Outcome::Failed
                }
            };
            self.answer_updates(place, change.number, done, now);
            if installed && let Some(secondary) = self.secondary(place) {
                secondary.handle_transfer(now.elapsed, outcome);
                if !secondary.is_expired() {
                    // It expired while it was built, and is current again.
                    self.changes.retain(|other| {
                        other.apex != change.apex || !matches!(other.change, Change::Clear)
                    });
                }
            }
        }
    }

    /// Whether a zone that was read again still waits to be built.
    fn is_replacing(&self, apex: &NameBuf) -> bool {
        self.changes
            .iter()
            .any(|change| matches!(change.change, Change::ReplaceFrom(_)) && change.apex == *apex)
    }

    /// A zone is at another version, to which these differences lead.
    fn version_changed(
        &mut self,
        place: usize,
        differences: &[Arc<crate::difference::Difference>],
        now: Now,
    ) -> Outcome {
        let state = &mut self.states[place];
        let set = self.zones.as_zone_set();
        let soa = set
            .zone_at(state.config.apex.as_name())
            .and_then(|zone| zone.soa());
        if differences.is_empty() {
            state.journal.clear();
        }
        for difference in differences {
            // A zone that was read again and has the same serial leads nowhere: no secondary could ask for what came after.
            if difference.new_serial() == difference.old_serial() {
                state.journal.clear();
            } else {
                state.journal.push(difference.clone());
            }
        }
        match soa.and_then(|soa| SoaTimers::from_rdata(soa.rdata)) {
            Some(timers) => {
                state.notifier.handle_change(now.elapsed);
                self.counters.versions += 1;
                Outcome::Installed(timers)
            }
            None => Outcome::Failed,
        }
    }

    /// Whether another question, transfer or notice may begin.
    fn may_converse(&self) -> bool {
        let is_asking = |state: &&ZoneState<'_>| {
            let secondary = state.secondary.as_ref();
            state.installing.is_none() && secondary.is_some_and(Secondary::is_busy)
        };
        let asking = self.states.iter().filter(is_asking).count();
        asking + self.notices < self.bounds.conversations
    }

    fn ask_or_tell(
        &mut self,
        place: usize,
        now: Now,
        rng: &mut impl CryptoRng,
    ) -> Option<Task<'k>> {
        while let Some(action) = self.next_action(place, now) {
            self.clear_expired(place);
            if let Some(task) = self.ask_primary(place, action, now, rng) {
                return Some(task);
            }
            // It can't be written: as if nobody had answered.
            self.fail(place, action, now);
        }
        self.tell_secondary(place, now, rng)
    }

    fn next_action(&mut self, place: usize, now: Now) -> Option<Action> {
        let secondary = self.secondary(place)?;
        secondary.poll_action(now.elapsed)
    }

    /// Has a zone go that expired and could not be taken away then.
    fn clear_expired(&mut self, place: usize) {
        let state = &self.states[place];
        let is_expired = state.secondary.as_ref().is_some_and(Secondary::is_expired);
        let apex = &state.config.apex;
        let set = self.zones.as_zone_set();
        let zone = set.zone_at(apex.as_name());
        let is_asked_for = self
            .changes
            .iter()
            .any(|change| matches!(change.change, Change::Clear) && change.apex == *apex);
        if is_expired
            && zone.is_some_and(|zone| zone.is_present())
            && !is_asked_for
            && !self.building
        {
            self.change(apex.clone(), Change::Clear);
        }
    }

    fn ask_primary(
        &self,
        place: usize,
        action: Action,
        now: Now,
        rng: &mut impl CryptoRng,
    ) -> Option<Task<'k>> {
        let config = &self.states[place].config;
        let (Action::QuerySoa(primary)
        | Action::TransferDifferences(primary)
        | Action::TransferWhole(primary)) = action
        else {
            return None;
        };
        let peer = config.primaries.get(primary)?;
        let (server, key) = (peer.address, self.key(peer));
        let (apex, unix) = (config.apex.as_name(), now.unix);
        let id = rng.next_u32() as u16;
        if let Action::QuerySoa(_) = action {
            return SoaQuery::new(place, apex, server, key, id, unix).map(Task::QuerySoa);
        }
        let set = self.zones.as_zone_set();
        let soa = set.zone_at(apex).and_then(|zone| zone.soa());
        let soa = soa
            .filter(|_| matches!(action, Action::TransferDifferences(_)))
            .map(RecordBuf::from);
        let (soa, limits) = (soa.as_ref(), self.bounds.transfer);
        let transfer = ZoneTransfer::new(place, apex, server, key, id, soa, limits, unix)?;
        Some(Task::Transfer(Box::new(transfer)))
    }

    fn tell_secondary(
        &mut self,
        place: usize,
        now: Now,
        rng: &mut impl CryptoRng,
    ) -> Option<Task<'k>> {
        loop {
            let notice = self.states[place].notifier.poll_notice(now.elapsed)?;
            let config = &self.states[place].config;
            let set = self.zones.as_zone_set();
            let soa = set
                .zone_at(config.apex.as_name())
                .and_then(|zone| zone.soa());
            let (Some(peer), Some(soa)) = (config.notify.get(notice.secondary), soa) else {
                continue;
            };
            let request = NotifyRequest::new(
                place,
                notice,
                config.apex.as_name(),
                peer.address,
                self.key(peer),
                rng.next_u32() as u16,
                &soa.into(),
                now.unix,
            );
            if let Some(request) = request {
                self.counters.notices_sent += 1;
                self.notices += 1;
                return Some(Task::Notify(request));
            }
        }
    }

    fn fail(&mut self, place: usize, action: Action, now: Now) {
        if let Some(secondary) = self.secondary(place) {
            match action {
                Action::QuerySoa(_) => secondary.handle_soa(now.elapsed, None),
                _ => secondary.handle_transfer(now.elapsed, Outcome::Failed),
            }
        }
    }

    /// Asks for a change, and gives the number under which its outcome will be told.
    fn change(&mut self, apex: NameBuf, change: Change) -> u64 {
        let number = self.next_number;
        self.next_number += 1;
        self.changes.push(ZoneChange {
            apex,
            change,
            number,
        });
        number
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

/// What becomes of an update.
enum Decided {
    /// It changes nothing.
    Nothing,
    Later(Ticket),
}

/// The keys that a configuration names.
fn key_names(config: &ZoneConfig) -> impl Iterator<Item = &NameBuf> {
    let lists = [&config.transfer, &config.update, &config.hear];
    let rules = lists.into_iter().flat_map(|list| &list.0);
    let peers = config.notify.iter().chain(&config.primaries);
    let keys = rules.filter_map(|rule| rule.key.as_ref());
    keys.chain(peers.filter_map(|peer| peer.key.as_ref()))
}

/// What is wrong with the configuration of an authority: the fault of who wrote it.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum ConfigError {
    /// A key of this name is used and not there.
    UnknownKey(Box<NameBuf>),
    /// A zone of this name is not in the set, and has no primaries that it could be fetched from.
    UnknownZone(Box<NameBuf>),
    /// A zone of this name is configured twice.
    RepeatedZone(Box<NameBuf>),
    /// The zones can't be laid out.
    Build(BuildError),
}

impl core::fmt::Display for ConfigError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::UnknownKey(name) => write!(f, "there is no key {name}"),
            Self::UnknownZone(name) => write!(
                f,
                "the zone {name} is neither served nor fetched from a primary"
            ),
            Self::RepeatedZone(name) => write!(f, "the zone {name} is configured twice"),
            Self::Build(error) => error.fmt(f),
        }
    }
}

impl core::error::Error for ConfigError {}
