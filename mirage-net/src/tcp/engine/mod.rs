//! All of TCP above the network layer: connections, listeners, half-open connections and TIME-WAITs, found by four-tuple.
//!
//! A pure state machine like each of its parts: segments and the time in, segments, news and the next deadline out.
//!
//! | | |
//! |---|---|
//! | `arrival` | whom a segment is for, and what becomes of one that is for nobody |
//! | `handshake` | SYNs, cookies, and the acknowledgement that makes a connection |
//! | `user` | the owners' calls, by handle |

mod arrival;
mod handshake;
mod user;

use core::net::IpAddr;
use core::time::Duration;

use heapless::Deque;
use managed::ManagedSlice;
use mirage_core::{Frame, Instant, Pool};

use super::config::{CongestionAlgorithm, TcpConfig};
use super::connection::{Connection, Context, Cutting, Outgoing, TcpEvents, TcpState};
use super::counters::TcpCounters;
use super::four_tuple::FourTuple;
use super::initial_sequence::InitialSequence;
use super::listen::{Cookies, Due, ListenerHandle, Listeners, SynCache};
use super::port::EphemeralPorts;
use super::schedule::Schedule;
use super::storage::TcpStorage;
use super::table::{Chained, Chains, END};
use super::time_wait::{TimeWait, TimeWaits};
use super::{AnyCongestion, Cubic, NewReno, SegmentTable};
use crate::limit::TokenBucket;
use crate::random::{HashKey, Random};
use crate::wire::tcp::TcpRepr;

/// Answers to segments that belong to no connection, that wait for the device. More are dropped, as the wire may drop them.
const REPLIES: usize = 16;

/// The shortest time from one look at a connection's deadlines to the next.
const SOON: Duration = Duration::from_micros(1);

/// Names a connection of a stack; after it was closed it names nothing, even when the slot is used again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct TcpHandle {
    index: u32,
    generation: u32,
}

impl TcpHandle {
    /// The number of the connection's slot, below the size of the table: an index for what an owner keeps beside it (wakers).
    pub const fn index(self) -> usize {
        self.index as usize
    }
}

/// Storage for one connection.
#[derive(Debug)]
pub struct TcpSlot {
    connection: Option<Connection>,
    generation: u32,
    /// The next one in the hash chain, or on the free list.
    next: u32,
    /// The next one that may have something to send; means something while `ready`.
    next_ready: u32,
    /// The next one with news; means something while `signalled`.
    next_news: u32,
    /// The next one to be accepted.
    next_accept: u32,
    /// The next one that waits for a slot of the segment table; means something while `starved`.
    next_starved: u32,
    events: TcpEvents,
    ready: bool,
    signalled: bool,
    starved: bool,
    /// Segments find it.
    hashed: bool,
    /// It waits in a listener's queue, and nobody has its handle.
    waiting: bool,
}

// An idle connection costs this, 16 bytes of its timer and 4 of its chain, and nothing else.
#[cfg(target_pointer_width = "64")]
const _: () = assert!(size_of::<TcpSlot>() <= 1_000);

impl TcpSlot {
    /// An empty slot.
    pub const EMPTY: Self = TcpSlot {
        connection: None,
        generation: 0,
        next: END,
        next_ready: END,
        next_news: END,
        next_accept: END,
        next_starved: END,
        events: TcpEvents::empty(),
        ready: false,
        signalled: false,
        starved: false,
        hashed: false,
        waiting: false,
    };
}

impl TcpSlot {
    /// Whether its connection has this four-tuple.
    #[inline]
    fn is_of(&self, tuple: &FourTuple) -> bool {
        self.connection
            .as_ref()
            .is_some_and(|connection| connection.tuple() == tuple)
    }
}

impl Default for TcpSlot {
    fn default() -> Self {
        Self::EMPTY
    }
}

impl Chained for TcpSlot {
    fn next(&self) -> u32 {
        self.next
    }

    fn set_next(&mut self, next: u32) {
        self.next = next;
    }
}

/// A queue of slots that is linked through them.
#[derive(Debug, Clone, Copy)]
struct Queue {
    head: u32,
    tail: u32,
}

impl Queue {
    const EMPTY: Self = Queue {
        head: END,
        tail: END,
    };
}

/// What connections borrow for the time of a call.
struct Shared<'a> {
    segments: SegmentTable<'a>,
    pool: &'static Pool,
    config: TcpConfig,
    counters: TcpCounters,
    /// Connections that there are.
    connections: usize,
    cutting: Option<Cutting>,
}

impl<'a> Shared<'a> {
    fn context(&mut self, now: Instant) -> Context<'_, 'a> {
        let fair_pages = self.fair_pages();
        let is_short = fair_pages < u16::MAX
            && (self.pool.free() < self.pool.blocks() / 8
                || self.segments.free_for_data() < self.segments.capacity() / 8);
        Context {
            now,
            segments: &mut self.segments,
            pool: self.pool,
            config: &self.config,
            counters: &mut self.counters,
            fair_pages,
            is_short,
            cutting: self.cutting,
        }
    }

    /// While a quarter of the pool or of the slots is free each queue may take what its owner allowed. Below that none may
    /// have more than its share of the whole; four pages always, so that each goes on.
    fn fair_pages(&self) -> u16 {
        let blocks = self.pool.blocks();
        let scarce = self.pool.free() < blocks / 4
            || self.segments.free_for_data() < self.segments.capacity() / 4;
        if !scarce {
            return u16::MAX;
        }
        let share = blocks.min(self.segments.capacity()) / (2 * self.connections.max(1));
        share.clamp(4, usize::from(u16::MAX)) as u16
    }
}

/// Octets that a connection sends in a row while others wait: a train of segments costs both ends less than as many single ones, for
/// each end then looks a connection up once, and a receiver that merges segments has some to merge. It delays the others by no more
/// than a frame that a device cuts would.
const TURN: usize = 24 * 1_024;

/// How many of those that wait for a slot and can't use the one that was given back are passed over for one that may.
const MOST_PASSED: usize = 16;

/// A segment that is no connection's.
struct Reply {
    tuple: FourTuple,
    repr: TcpRepr,
}

/// All of TCP. See the [module](self).
pub(crate) struct Engine<'a> {
    slots: ManagedSlice<'a, TcpSlot>,
    chains: Chains<'a>,
    /// Of the hash that connections, half-open ones and those in TIME-WAIT are found by.
    key: HashKey,
    free: u32,
    ready: Queue,
    news: Queue,
    /// Connections that found no slot for what they have to send, and have nothing in the network: in the order in which they came. A
    /// slot that is given back lets the first one try.
    starved: Queue,
    /// Up to which of the slots that were given back one was let try.
    tried: u32,
    schedule: Schedule<'a>,
    listeners: Listeners<'a>,
    half_open: SynCache<'a>,
    time_waits: TimeWaits<'a>,
    cookies: Cookies,
    numbers: InitialSequence,
    ports: EphemeralPorts,
    resets: TokenBucket,
    replies: Deque<Reply, REPLIES>,
    /// A connection had something to say that should not wait, when something was received last.
    urgent: bool,
    /// Some connection's peer has sent half of what it may, and hears of it once the owner has read.
    pressing: bool,
    /// The connection that a segment was found to be for last.
    last: usize,
    /// Octets that the connection that is first in line may still send before the next has its turn.
    turn: usize,
    shared: Shared<'a>,
    interface_mtu: u16,
}

/// How many bytes the path to an address takes, IP header included.
pub(crate) type PathMtu<'p> = &'p dyn Fn(IpAddr) -> u16;

impl<'a> Engine<'a> {
    // Not inlined: its caller would move it field by field.
    #[inline(never)]
    pub(crate) fn new(
        storage: TcpStorage<'a>,
        config: TcpConfig,
        pool: &'static Pool,
        interface_mtu: u16,
        now: Instant,
        random: &mut Random,
    ) -> Self {
        let mut slots = storage.connections;
        let schedule = Schedule::new(storage.timers);
        let chains = Chains::new(storage.buckets);
        let usable = if chains.is_usable() {
            slots.len().min(schedule.capacity()).min(END as usize)
        } else {
            0
        };
        let mut free = END;
        for (index, slot) in slots.iter_mut().enumerate().rev() {
            let generation = slot.generation;
            *slot = TcpSlot {
                generation,
                ..TcpSlot::EMPTY
            };
            if index < usable {
                slot.next = free;
                free = index as u32;
            }
        }
        Engine {
            slots,
            chains,
            key: HashKey::new(random),
            free,
            ready: Queue::EMPTY,
            news: Queue::EMPTY,
            starved: Queue::EMPTY,
            tried: 0,
            schedule,
            listeners: Listeners::new(storage.listeners),
            half_open: SynCache::new(
                storage.half_open,
                storage.half_open_buckets,
                config.synchronise_retries,
            ),
            time_waits: TimeWaits::new(
                storage.time_waits,
                storage.time_wait_buckets,
                config.time_wait,
            ),
            cookies: Cookies::new(random),
            numbers: InitialSequence::new(random),
            ports: EphemeralPorts::new(random),
            resets: TokenBucket::new(config.resets, now),
            replies: Deque::new(),
            urgent: false,
            pressing: false,
            last: usize::MAX,
            turn: TURN,
            shared: Shared {
                segments: SegmentTable::new(storage.segments),
                pool,
                config,
                counters: TcpCounters::default(),
                connections: 0,
                cutting: None,
            },
            interface_mtu,
        }
    }

    /// What the interface takes in one packet from now on, in bytes: connections that are opened later announce it (mutator).
    pub(crate) fn set_interface_mtu(&mut self, mtu: u16) {
        self.interface_mtu = mtu;
    }

    /// What the device cuts into segments, if it does (mutator).
    pub(crate) fn set_cutting(&mut self, cutting: Option<Cutting>) {
        self.shared.cutting = cutting;
    }

    /// Whether there is anything that a segment could be for: tables were handed in (getter).
    pub(crate) fn is_there(&self) -> bool {
        !self.slots.is_empty()
    }

    /// How many connections there can be (getter).
    pub(crate) fn capacity(&self) -> usize {
        self.slots.len()
    }

    /// How many listeners there can be (getter).
    pub(crate) fn listener_capacity(&self) -> usize {
        self.listeners.capacity()
    }

    /// Connections that there are, half-open ones, and those in TIME-WAIT (getter).
    pub(crate) fn population(&self) -> (usize, usize, usize) {
        (
            self.shared.connections,
            self.half_open.len(),
            self.time_waits.len(),
        )
    }

    /// What was counted (getter).
    pub(crate) fn counters(&self) -> TcpCounters {
        self.shared.counters
    }

    /// What was counted, to count what happens to segments before they get here.
    pub(crate) fn counters_mut(&mut self) -> &mut TcpCounters {
        &mut self.shared.counters
    }

    /// Draws new secrets for initial sequence numbers, cookies and ports (mutator).
    pub(crate) fn reseed(&mut self, random: &mut Random) {
        self.cookies = Cookies::new(random);
        self.numbers = InitialSequence::new(random);
        self.ports = EphemeralPorts::new(random);
    }

    /// Time has passed (input).
    pub(crate) fn handle_timeout(&mut self, now: Instant) {
        self.time_waits.handle_timeout(now);
        while let Some(due) = self.half_open.poll(now) {
            match due {
                Due::Repeat(half_open, listener) => {
                    self.shared.counters.time_outs += 1;
                    self.shared.counters.retransmitted += 1;
                    self.answer_synchronise(now, &half_open, listener);
                }
                Due::GivenUp => self.shared.counters.half_open_dropped += 1,
            }
        }
        while let Some(index) = self.schedule.poll(now) {
            let cx = &mut self.shared.context(now);
            if let Some(connection) = connection(&mut self.slots, index) {
                connection.handle_timeout(cx);
                self.touched(now, index);
            }
        }
    }

    /// The next segment (output). To be called while there is a page for its header and room in the queue to the device.
    pub(crate) fn poll_transmit(&mut self, now: Instant) -> Option<Outgoing> {
        let outgoing = self.next_outgoing(now);
        self.urgent &= outgoing.is_some();
        self.pressing &= outgoing.is_some();
        outgoing
    }

    fn next_outgoing(&mut self, now: Instant) -> Option<Outgoing> {
        if let Some(Reply { tuple, repr }) = self.replies.pop_front() {
            self.shared.counters.sent += 1;
            return Some(Outgoing {
                tuple,
                repr,
                payload: Frame::new(),
                segment: 0,
                markable: false,
                time_to_live: 64,
            });
        }
        loop {
            if self.starved.head != END {
                self.feed();
            }
            let index = self.ready.head as usize;
            let slot = self.slots.get_mut(index)?;
            self.ready.head = slot.next_ready;
            if self.ready.head == END {
                self.ready.tail = END;
            }
            slot.ready = false;
            let cx = &mut self.shared.context(now);
            let Some(connection) = &mut slot.connection else {
                continue;
            };
            let outgoing = connection.poll_transmit(cx);
            let octets = outgoing.as_ref().map(|outgoing| outgoing.payload.len());
            match octets.and_then(|octets| self.turn.checked_sub(octets)) {
                Some(rest) if rest > 0 => {
                    self.turn = rest;
                    self.line_up_first(index);
                }
                // It goes to the end of the line, behind all others that have something.
                _ => self.turn = TURN,
            }
            self.watch(now, index, outgoing.is_some());
            if outgoing.is_some() {
                return outgoing;
            }
            if self.shared.segments.is_spent() {
                self.starve(index);
            }
        }
    }

    /// A connection had nothing to send: if it waits for a slot it joins the line of those that do.
    // Apart from its caller: see "What an image weighs" in CONTRIBUTING.md.
    #[inline(never)]
    fn starve(&mut self, index: usize) {
        let Some(slot) = self.slots.get_mut(index) else {
            return;
        };
        if slot.starved || !slot.connection.as_ref().is_some_and(Connection::is_stuck) {
            return;
        }
        self.shared.counters.slots_awaited += 1;
        slot.starved = true;
        if self.starved.head == END {
            // What was given back before is no news.
            self.tried = self.shared.segments.released();
        }
        self.join_starved(index);
    }

    /// As many of those that wait for a slot as were given back go to the head of the line to send, where nobody takes it away. Who waits
    /// no more costs none. While so few are free that nothing may be cut, who has to cut stays in line, and a FIN behind goes first.
    // Apart from its caller: see "What an image weighs" in CONTRIBUTING.md.
    #[inline(never)]
    fn feed(&mut self) {
        while self.is_fed() {
            self.tried = self.tried.wrapping_add(1);
            let mut passed = 0;
            while let Some(index) = self.first_starved() {
                let slot = &mut self.slots[index];
                let Some(connection) = slot.connection.as_ref().filter(|it| it.is_stuck()) else {
                    slot.starved = false;
                    continue;
                };
                if connection.has_unsent_data() && self.shared.segments.is_spent() {
                    self.join_starved(index);
                    passed += 1;
                    if passed < MOST_PASSED {
                        continue;
                    }
                    break;
                }
                slot.starved = false;
                self.line_up_first(index);
                break;
            }
        }
    }

    /// Takes the first one out of the line of those that wait for a slot; it is still marked as one of them.
    fn first_starved(&mut self) -> Option<usize> {
        let index = self.starved.head as usize;
        self.starved.head = self.slots.get(index)?.next_starved;
        if self.starved.head == END {
            self.starved.tail = END;
        }
        Some(index)
    }

    /// Puts a connection at the end of the line of those that wait for a slot. It is not in it.
    fn join_starved(&mut self, index: usize) {
        self.slots[index].next_starved = END;
        let before = core::mem::replace(&mut self.starved.tail, index as u32);
        match self.slots.get_mut(before as usize) {
            Some(before) => before.next_starved = index as u32,
            None => self.starved.head = index as u32,
        }
    }

    /// Whether one that waits for a slot may try again.
    fn is_fed(&self) -> bool {
        self.starved.head != END && self.tried != self.shared.segments.released()
    }

    /// Puts a connection at the head of the line of those that may have something to send, if it isn't in it.
    #[inline(always)]
    fn line_up_first(&mut self, index: usize) {
        let slot = &mut self.slots[index];
        if slot.ready {
            return;
        }
        slot.ready = true;
        slot.next_ready = self.ready.head;
        self.ready.head = index as u32;
        if self.ready.tail == END {
            self.ready.tail = index as u32;
        }
    }

    /// Puts a connection at the end of the line of those that may have something to send, if it isn't there.
    fn line_up(&mut self, index: usize) {
        let slot = &mut self.slots[index];
        if slot.ready {
            return;
        }
        slot.ready = true;
        slot.next_ready = END;
        let before = core::mem::replace(&mut self.ready.tail, index as u32);
        match self.slots.get_mut(before as usize) {
            Some(before) => before.next_ready = index as u32,
            None => self.ready.head = index as u32,
        }
    }

    /// Whether something is to be sent that should not wait for what has come and was not looked at (getter).
    pub(crate) fn is_urgent(&self) -> bool {
        self.urgent || !self.replies.is_empty()
    }

    /// Whether nothing further should be received before owners have read, and their peers have heard of it (getter).
    pub(crate) fn is_pressing(&self) -> bool {
        self.pressing
    }

    /// How many turns it takes until owners have acted on what there is to tell (getter). See `Stack::tcp_owners_run`.
    pub(crate) fn owners_run(&self) -> u8 {
        if self.listeners.has_news() {
            2
        } else {
            u8::from(self.news.head != END)
        }
    }

    /// Whether something may be there to be sent (getter).
    pub(crate) fn wants_transmit(&self) -> bool {
        !self.replies.is_empty() || self.ready.head != END || self.is_fed()
    }

    /// The network layer could not send what `poll_transmit` gave, for want of pages or room (input).
    pub(crate) fn handle_refused(&mut self, now: Instant, tuple: &FourTuple) {
        if let Some(index) = self.find(tuple) {
            if let Some(connection) = connection(&mut self.slots, index) {
                connection.handle_refused();
            }
            self.touched(now, index);
        }
    }

    /// A connection whose owner has to be told something, and what (output).
    pub(crate) fn poll_news(&mut self) -> Option<(TcpHandle, TcpEvents)> {
        loop {
            let index = self.news.head;
            let slot = self.slots.get_mut(index as usize)?;
            self.news.head = slot.next_news;
            if self.news.head == END {
                self.news.tail = END;
            }
            slot.signalled = false;
            let events = core::mem::take(&mut slot.events);
            if slot.connection.is_some() && !events.is_empty() {
                let generation = slot.generation;
                return Some((TcpHandle { index, generation }, events));
            }
        }
    }

    /// A listener with a connection to accept that was not named here since (output).
    pub(crate) fn poll_listener(&mut self) -> Option<ListenerHandle> {
        self.listeners.poll_news()
    }

    /// When `handle_timeout` is to be called at the latest (output, the last).
    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        [
            self.schedule.next(),
            self.half_open.poll_timeout(),
            self.time_waits.poll_timeout(),
        ]
        .into_iter()
        .flatten()
        .min()
    }

    fn hash(&self, tuple: &FourTuple) -> u32 {
        tuple.place(&self.key)
    }

    /// The connection with a four-tuple.
    fn find(&self, tuple: &FourTuple) -> Option<usize> {
        self.find_last(tuple)
            .or_else(|| self.find_hashed(self.hash(tuple), tuple))
    }

    /// The connection that a segment was for last, if it has this four-tuple. Segments come in trains, and a hash is dearer than a look.
    #[inline(always)]
    fn find_last(&self, tuple: &FourTuple) -> Option<usize> {
        let slot = self.slots.get(self.last)?;
        (slot.hashed && slot.is_of(tuple)).then_some(self.last)
    }

    /// The connection with a four-tuple, whose hash this is.
    fn find_hashed(&self, hash: u32, tuple: &FourTuple) -> Option<usize> {
        self.chains
            .find(&self.slots, hash, |slot| slot.is_of(tuple))
    }

    /// Puts a connection into a slot, where segments find it by the hash of its four-tuple; none when the table is full.
    fn place(&mut self, connection: Connection, hash: u32) -> Option<usize> {
        let index = self.free as usize;
        let slot = self.slots.get_mut(index)?;
        self.free = slot.next;
        slot.connection = Some(connection);
        slot.generation = slot.generation.wrapping_add(1);
        slot.events = TcpEvents::empty();
        slot.hashed = true;
        slot.waiting = false;
        slot.next_accept = END;
        self.chains.insert(&mut self.slots, hash, index);
        self.shared.connections += 1;
        Some(index)
    }

    /// After an input or a mutator: the owner is told, the deadline noted, the line joined, and what ended is put away.
    fn touched(&mut self, now: Instant, index: usize) {
        self.watch(now, index, true);
    }

    fn watch(&mut self, now: Instant, index: usize, may_send: bool) {
        let Some(slot) = self.slots.get_mut(index) else {
            return;
        };
        let Some(connection) = &mut slot.connection else {
            return;
        };
        let events = connection.take_events();
        slot.events |= events;
        if !events.is_empty() && !slot.waiting && !connection.is_orphan() && !slot.signalled {
            slot.signalled = true;
            slot.next_news = END;
            let before = core::mem::replace(&mut self.news.tail, index as u32);
            match self.slots.get_mut(before as usize) {
                Some(before) => before.next_news = index as u32,
                None => self.news.head = index as u32,
            }
        }
        if may_send {
            self.line_up(index);
        }
        let Some(connection) = &self.slots[index].connection else {
            return;
        };
        if connection.is_over() {
            self.put_away(now, index);
        } else if let Some(at) = connection.poll_timeout(&self.shared.config) {
            // Never at once again: whatever an interval of zero asks for, time goes on.
            self.schedule.ask(index, at.max(now.saturating_add(SOON)));
        }
    }

    /// A connection ended: its four-tuple is free, or TIME-WAIT's. Its slot is free too, when nobody has its handle.
    fn put_away(&mut self, now: Instant, index: usize) {
        let slot = &mut self.slots[index];
        let Some(connection) = &slot.connection else {
            return;
        };
        self.schedule.remove(index);
        let tuple = *connection.tuple();
        if core::mem::take(&mut slot.hashed) {
            let time_wait = (connection.state() == TcpState::TimeWait).then(|| TimeWait {
                tuple,
                send_next: connection.send_next(),
                receive_next: connection.receive_next(),
                timestamps: connection.timestamps(),
            });
            let hash = self.hash(&tuple);
            self.chains.remove(&mut self.slots, hash, index);
            if let Some(time_wait) = time_wait {
                let evicted = self.time_waits.insert(now, hash, time_wait);
                self.shared.counters.time_waits_evicted += u64::from(evicted);
            }
        }
        let orphan = connection_ref(&self.slots, index).is_some_and(Connection::is_orphan);
        if orphan {
            self.release(index);
        }
    }

    /// Frees a slot.
    fn release(&mut self, index: usize) {
        let slot = &mut self.slots[index];
        // Cleared where it is: it is large.
        let Some(connection) = &mut slot.connection else {
            return;
        };
        connection.clear(&mut self.shared.segments);
        let hash = core::mem::take(&mut slot.hashed).then(|| connection.tuple().place(&self.key));
        slot.connection = None;
        self.schedule.remove(index);
        if let Some(hash) = hash {
            self.chains.remove(&mut self.slots, hash, index);
        }
        let slot = &mut self.slots[index];
        slot.events = TcpEvents::empty();
        slot.waiting = false;
        slot.next = self.free;
        self.free = index as u32;
        self.shared.connections -= 1;
    }

    fn reply(&mut self, tuple: FourTuple, repr: TcpRepr) -> bool {
        self.replies.push_back(Reply { tuple, repr }).is_ok()
    }
}

impl CongestionAlgorithm {
    fn start(self) -> AnyCongestion {
        match self {
            CongestionAlgorithm::Cubic => AnyCongestion::Cubic(Cubic::new()),
            CongestionAlgorithm::NewReno => AnyCongestion::NewReno(NewReno::new()),
        }
    }
}

fn connection(slots: &mut [TcpSlot], index: usize) -> Option<&mut Connection> {
    slots.get_mut(index)?.connection.as_mut()
}

fn connection_ref(slots: &[TcpSlot], index: usize) -> Option<&Connection> {
    slots.get(index)?.connection.as_ref()
}

#[cfg(test)]
impl Engine<'_> {
    pub(crate) fn connections(&self) -> impl Iterator<Item = &Connection> {
        self.slots
            .iter()
            .filter_map(|slot| slot.connection.as_ref())
    }

    /// Gives everything back, as the end of a machine does.
    pub(crate) fn release_all(&mut self) {
        for index in 0..self.slots.len() {
            self.release(index);
        }
    }

    /// All slots that are free, taken.
    pub(crate) fn take_segments(&mut self) -> std::vec::Vec<u32> {
        core::iter::from_fn(|| self.shared.segments.take()).collect()
    }

    /// One of them, given back.
    pub(crate) fn give_segment(&mut self, index: u32) {
        self.shared.segments.release(index);
    }

    pub(crate) fn segments_free(&self) -> (usize, usize) {
        (self.shared.segments.free(), self.shared.segments.capacity())
    }
}
