//! The neighbour cache: who is where on the link, and what waits to be told.
//!
//! An entry lives through these states:
//!
//! ```text
//!            resolve                  reply                     unused, or old
//!   (empty) ────────▶ Incomplete ────────────▶ Reachable ◀──────────────┐
//!                      │   ▲                     │   ▲                   │
//!             no reply │   │ no answer           │   │ it answers        │
//!                      ▼   └────────── Probing ◀─┘───┘                   │
//!                    Failed              used when old, or contradicted ─┘
//! ```
//!
//! What a received ARP packet can do is limited, because anyone on the link can send one: a
//! reply that nobody asked for creates nothing and overwrites nothing; a packet that contradicts
//! a known neighbour makes the cache *ask the known one*, and only its silence lets another in.

use core::net::IpAddr;
use core::time::Duration;

use managed::ManagedSlice;
use mirage_core::Frame;
use mirage_core::Instant;
use mirage_core::MacAddress;

/// Times and bounds of the neighbour cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NeighbourConfig {
    /// Wait for the first answer; each further wait is twice as long (RFC 1122 §2.3.2.1 wants
    /// at most one request a second).
    pub retransmit: Duration,
    /// Requests by broadcast before the neighbour is given up.
    pub requests: u8,
    /// Requests to the known address alone before it is given up.
    pub probes: u8,
    /// How long an answer is good before the neighbour is asked again, if it is still used.
    pub reachable: Duration,
    /// How long a neighbour that did not answer counts as unreachable.
    pub failed: Duration,
    /// At most once in this time does a contradiction make the cache ask the known neighbour.
    pub verify: Duration,
    /// Datagrams that wait for one neighbour; the oldest of *this* neighbour's makes room.
    pub pending_per_neighbour: usize,
}

impl Default for NeighbourConfig {
    fn default() -> Self {
        NeighbourConfig {
            retransmit: Duration::from_secs(1),
            requests: 3,
            probes: 2,
            reachable: Duration::from_secs(30),
            failed: Duration::from_secs(3),
            verify: Duration::from_secs(5),
            pending_per_neighbour: 4,
        }
    }
}

/// Storage for one neighbour.
#[derive(Debug)]
pub struct NeighbourSlot(Option<Entry>);

impl NeighbourSlot {
    /// An empty slot.
    pub const EMPTY: Self = NeighbourSlot(None);
}

impl Default for NeighbourSlot {
    fn default() -> Self {
        Self::EMPTY
    }
}

/// Storage for one frame that waits for its neighbour's address.
#[derive(Debug)]
pub struct PendingSlot(Option<Pending>);

impl PendingSlot {
    /// An empty slot.
    pub const EMPTY: Self = PendingSlot(None);
}

impl Default for PendingSlot {
    fn default() -> Self {
        Self::EMPTY
    }
}

#[derive(Debug)]
struct Pending {
    neighbour: usize,
    /// Orders the frames of a neighbour.
    order: u64,
    origin: Origin,
    frame: Frame,
}

/// Who wants a neighbour: a peer can make us answer, and must not be able to make us forget.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Origin {
    /// A socket or a ping of ours.
    Own,
    /// An answer to a received packet, whose source may be forged.
    Answer,
}

#[derive(Debug, Clone, Copy)]
struct Entry {
    address: IpAddr,
    state: State,
    origin: Origin,
    /// Something was sent to it; an entry learned from a request starts unused.
    used: bool,
    last_used: Instant,
}

#[derive(Debug, Clone, Copy)]
enum State {
    Incomplete {
        sent: u8,
        next: Instant,
    },
    Reachable {
        mac: MacAddress,
        confirmed: Instant,
    },
    Probing {
        mac: MacAddress,
        sent: u8,
        next: Instant,
    },
    Failed {
        until: Instant,
    },
}

/// Where a neighbour is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Resolution {
    /// Send it there.
    Known(MacAddress),
    /// It is being asked: give the frame to [`NeighbourCache::hold`] with this index.
    Pending(usize),
    /// It was asked, and did not answer.
    Failed,
    /// The table is full of neighbours that are being asked.
    Full,
}

/// An ARP request to send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Request {
    pub(crate) target: IpAddr,
    /// The station to ask alone; none to ask all.
    pub(crate) mac: Option<MacAddress>,
}

/// What happened in the neighbour cache.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct NeighbourCounters {
    /// Requests sent.
    pub requests: u64,
    /// Replies that nobody had asked for, ignored.
    pub unsolicited: u64,
    /// Packets that contradicted a known neighbour and were not believed.
    pub contradicted: u64,
    /// Neighbours learned from their own requests.
    pub learned: u64,
    /// Neighbours not learned because the table had no room to spare.
    pub not_learned: u64,
    /// Neighbours forgotten to make room.
    pub evicted: u64,
    /// Neighbours that did not answer.
    pub failed: u64,
    /// Neighbours not asked because the table was full of ones being asked.
    pub table_full: u64,
    /// Frames dropped for a newer one to the same neighbour.
    pub pending_replaced: u64,
    /// Frames dropped because no room was left to wait.
    pub pending_refused: u64,
    /// Frames dropped because the neighbour did not answer.
    pub pending_failed: u64,
}

/// The cache.
///
/// A lookup starts at a slot that a keyed hash names and ends at the first match; the table has
/// the size that the caller chose, so a miss costs one look at each slot and no more.
pub(crate) struct NeighbourCache<'a> {
    entries: ManagedSlice<'a, NeighbourSlot>,
    pending: ManagedSlice<'a, PendingSlot>,
    config: NeighbourConfig,
    key: u32,
    order: u64,
    waiting: usize,
    /// Some entry has both an address and frames that wait for it.
    flush: bool,
    /// Nothing is due before this.
    deadline: Instant,
    pub(crate) counters: NeighbourCounters,
}

impl<'a> NeighbourCache<'a> {
    pub(crate) fn new(
        entries: ManagedSlice<'a, NeighbourSlot>,
        pending: ManagedSlice<'a, PendingSlot>,
        config: NeighbourConfig,
        key: u32,
    ) -> Self {
        NeighbourCache {
            entries,
            pending,
            config: NeighbourConfig {
                requests: config.requests.max(1),
                ..config
            },
            key,
            order: 0,
            waiting: 0,
            flush: false,
            deadline: Instant::FAR_FUTURE,
            counters: NeighbourCounters::default(),
        }
    }

    /// Where `address` is; starts to ask if that is not known (mutator).
    pub(crate) fn resolve(&mut self, now: Instant, address: IpAddr, origin: Origin) -> Resolution {
        if let Some(index) = self.find(address) {
            let Some(entry) = self.entries[index].0.as_mut() else {
                return Resolution::Full;
            };
            entry.used = true;
            entry.last_used = now;
            if origin == Origin::Own {
                entry.origin = Origin::Own;
            }
            match entry.state {
                State::Reachable { mac, confirmed } => {
                    if now.saturating_duration_since(confirmed) >= self.config.reachable {
                        self.probe(index, now, mac);
                    }
                    return Resolution::Known(mac);
                }
                State::Probing { mac, .. } => return Resolution::Known(mac),
                State::Incomplete { .. } => return Resolution::Pending(index),
                State::Failed { until } if now < until => return Resolution::Failed,
                State::Failed { .. } => {
                    self.ask(index, address, now, origin);
                    return Resolution::Pending(index);
                }
            }
        }
        // Forged sources may not take more than half of the table while they are asked for.
        if origin == Origin::Answer {
            let asked_for_others = self
                .entries
                .iter()
                .flat_map(|slot| &slot.0)
                .filter(|entry| {
                    entry.origin == Origin::Answer
                        && matches!(entry.state, State::Incomplete { .. })
                })
                .count();
            if asked_for_others >= self.entries.len().div_ceil(2) {
                self.counters.table_full += 1;
                return Resolution::Full;
            }
        }
        let Some(index) = self.make_room(now, address, origin == Origin::Own) else {
            self.counters.table_full += 1;
            return Resolution::Full;
        };
        self.ask(index, address, now, origin);
        Resolution::Pending(index)
    }

    /// Keeps a frame whose destination is being asked for (mutator).
    ///
    /// Per neighbour the oldest makes room; a neighbour's only frame never makes room for
    /// another neighbour's; answers use at most half of the slots. Says whether the frame waits;
    /// one that does not is dropped.
    pub(crate) fn hold(&mut self, neighbour: usize, origin: Origin, frame: Frame) -> bool {
        let mut own = 0;
        let mut answers = 0;
        let mut oldest: Option<(u64, usize)> = None;
        let mut free = None;
        for (index, slot) in self.pending.iter().enumerate() {
            match &slot.0 {
                None => free = free.or(Some(index)),
                Some(pending) => {
                    answers += usize::from(pending.origin == Origin::Answer);
                    if pending.neighbour == neighbour {
                        own += 1;
                        if oldest.is_none_or(|(order, _)| pending.order < order) {
                            oldest = Some((pending.order, index));
                        }
                    }
                }
            }
        }
        let crowded = origin == Origin::Answer && answers >= self.pending.len().div_ceil(2);
        let slot = if own >= self.config.pending_per_neighbour || free.is_none() || crowded {
            oldest.map(|(_, index)| index)
        } else {
            free
        };
        let Some(slot) = slot.filter(|_| self.config.pending_per_neighbour > 0) else {
            self.counters.pending_refused += 1;
            return false;
        };
        self.order += 1;
        let replaced = self.pending[slot].0.replace(Pending {
            neighbour,
            order: self.order,
            origin,
            frame,
        });
        if replaced.is_some() {
            self.counters.pending_replaced += 1;
        } else {
            self.waiting += 1;
        }
        true
    }

    /// A valid ARP packet came from `mac`, which says that it has `address` (input).
    ///
    /// `asked_us` is set for a request whose target is an address of ours.
    pub(crate) fn handle_claim(
        &mut self,
        now: Instant,
        address: IpAddr,
        mac: MacAddress,
        request: bool,
        asked_us: bool,
    ) {
        let Some(index) = self.find(address) else {
            if asked_us {
                self.learn(now, address, mac);
            } else {
                self.counters.unsolicited += u64::from(!request);
            }
            return;
        };
        let Some(entry) = self.entries[index].0.as_mut() else {
            return;
        };
        match entry.state {
            State::Incomplete { .. } => {
                entry.state = State::Reachable {
                    mac,
                    confirmed: now,
                };
                self.flush = true;
            }
            State::Failed { .. } if asked_us => {
                entry.state = State::Reachable {
                    mac,
                    confirmed: now,
                };
            }
            State::Failed { .. } => self.counters.unsolicited += u64::from(!request),
            State::Probing { mac: known, .. } if known == mac => {
                entry.state = State::Reachable {
                    mac,
                    confirmed: now,
                };
            }
            State::Probing { .. } => self.counters.contradicted += 1,
            State::Reachable {
                mac: known,
                confirmed,
            } => {
                if known == mac {
                    // It is alive. A reply that nobody asked for doesn't make it younger.
                    if asked_us {
                        entry.state = State::Reachable {
                            mac,
                            confirmed: now,
                        };
                    } else {
                        self.counters.unsolicited += u64::from(!request);
                    }
                } else {
                    self.counters.contradicted += 1;
                    if now.saturating_duration_since(confirmed) >= self.config.verify {
                        self.probe(index, now, known);
                    }
                }
            }
        }
    }

    /// Time has passed (input): gives up neighbours that stay silent.
    pub(crate) fn handle_timeout(&mut self, now: Instant) {
        if now < self.deadline {
            return;
        }
        for index in 0..self.entries.len() {
            let Some(entry) = self.entries[index].0.as_mut() else {
                continue;
            };
            match entry.state {
                State::Incomplete { sent, next } if now >= next && sent >= self.config.requests => {
                    entry.state = State::Failed {
                        until: now.saturating_add(self.config.failed),
                    };
                    self.counters.failed += 1;
                }
                State::Probing { sent, next, .. } if now >= next && sent >= self.config.probes => {
                    // It moved, or is gone: ask all.
                    entry.state = State::Incomplete { sent: 0, next: now };
                }
                _ => {}
            }
        }
        self.find_deadline();
    }

    /// The next request to send (output).
    pub(crate) fn poll_request(&mut self, now: Instant) -> Option<Request> {
        if now < self.deadline {
            return None;
        }
        let config = self.config;
        let mut found = None;
        for slot in self.entries.iter_mut() {
            let Some(entry) = slot.0.as_mut() else {
                continue;
            };
            match &mut entry.state {
                State::Incomplete { sent, next } if now >= *next && *sent < config.requests => {
                    // Doubled each time: 1, 2, 4 … of the first wait.
                    let wait = config.retransmit.saturating_mul(1 << (*sent).min(16));
                    *next = now.saturating_add(wait);
                    *sent += 1;
                    found = Some(Request {
                        target: entry.address,
                        mac: None,
                    });
                }
                State::Probing { mac, sent, next } if now >= *next && *sent < config.probes => {
                    *next = now.saturating_add(config.retransmit);
                    *sent += 1;
                    found = Some(Request {
                        target: entry.address,
                        mac: Some(*mac),
                    });
                }
                _ => {}
            }
            if found.is_some() {
                self.counters.requests += 1;
                return found;
            }
        }
        self.find_deadline();
        None
    }

    /// A frame whose neighbour is now known, oldest first (output).
    pub(crate) fn poll_resolved(&mut self) -> Option<(MacAddress, Frame)> {
        if !self.flush {
            return None;
        }
        let found = self.take_oldest(|entry| match entry.state {
            State::Reachable { mac, .. } | State::Probing { mac, .. } => Some(mac),
            _ => None,
        });
        self.flush = found.is_some();
        found
    }

    /// A frame whose neighbour was given up (output).
    pub(crate) fn poll_failed(&mut self) -> Option<Frame> {
        if self.waiting == 0 {
            return None;
        }
        let (_, frame) =
            self.take_oldest(|entry| matches!(entry.state, State::Failed { .. }).then_some(()))?;
        self.counters.pending_failed += 1;
        Some(frame)
    }

    /// When the cache wants to be called again (output).
    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        (self.deadline != Instant::FAR_FUTURE).then_some(self.deadline)
    }

    /// Whether frames wait for an address that is known by now.
    pub(crate) fn has_resolved(&self) -> bool {
        self.flush
    }

    /// Frames that wait.
    pub(crate) fn waiting(&self) -> usize {
        self.waiting
    }

    /// The hardware address of a neighbour, if it is known (getter).
    pub(crate) fn get(&self, address: IpAddr) -> Option<MacAddress> {
        let entry = self.entries[self.find(address)?].0.as_ref()?;
        match entry.state {
            State::Reachable { mac, .. } | State::Probing { mac, .. } => Some(mac),
            _ => None,
        }
    }

    /// Forgets everything: the link went away (mutator). Frames that wait are dropped.
    pub(crate) fn clear(&mut self) {
        for slot in self.entries.iter_mut() {
            slot.0 = None;
        }
        for slot in self.pending.iter_mut() {
            if slot.0.take().is_some() {
                self.counters.pending_failed += 1;
            }
        }
        self.waiting = 0;
        self.flush = false;
        self.deadline = Instant::FAR_FUTURE;
    }

    fn take_oldest<T>(&mut self, wanted: impl Fn(&Entry) -> Option<T>) -> Option<(T, Frame)> {
        let mut oldest: Option<(u64, usize, T)> = None;
        for (index, slot) in self.pending.iter().enumerate() {
            let Some(pending) = &slot.0 else { continue };
            if oldest
                .as_ref()
                .is_some_and(|(order, ..)| *order < pending.order)
            {
                continue;
            }
            let entry = self.entries.get(pending.neighbour);
            if let Some(value) = entry.and_then(|entry| entry.0.as_ref()).and_then(&wanted) {
                oldest = Some((pending.order, index, value));
            }
        }
        let (_, index, value) = oldest?;
        let pending = self.pending[index].0.take()?;
        self.waiting -= 1;
        Some((value, pending.frame))
    }

    fn find(&self, address: IpAddr) -> Option<usize> {
        let length = self.entries.len();
        let start = self.start(address);
        (start..length).chain(0..start).find(|index| {
            self.entries[*index]
                .0
                .as_ref()
                .is_some_and(|entry| entry.address == address)
        })
    }

    /// Where the search for an address starts.
    fn start(&self, address: IpAddr) -> usize {
        let bits = match address {
            IpAddr::V4(address) => address.to_bits(),
            IpAddr::V6(address) => {
                let bits = address.to_bits();
                (bits ^ (bits >> 32) ^ (bits >> 64) ^ (bits >> 96)) as u32
            }
        };
        // Fibonacci hashing under a key; a collision costs a step, never an entry.
        let hash = (bits ^ self.key).wrapping_mul(0x9e37_79b1);
        ((u64::from(hash) * self.entries.len() as u64) >> 32) as usize
    }

    /// A request from a neighbour that wants to talk to us tells where it is (RFC 826).
    fn learn(&mut self, now: Instant, address: IpAddr, mac: MacAddress) {
        let Some(index) = self.make_room(now, address, false) else {
            self.counters.not_learned += 1;
            return;
        };
        self.counters.learned += 1;
        self.entries[index].0 = Some(Entry {
            address,
            state: State::Reachable {
                mac,
                confirmed: now,
            },
            origin: Origin::Answer,
            used: false,
            last_used: now,
        });
    }

    /// A slot for a new entry: a free one, else that of the neighbour we miss least.
    ///
    /// A neighbour that is being asked keeps its slot, for frames wait for it. What a received
    /// packet causes (`wanted` unset) does not push out a neighbour that is in use.
    fn make_room(&mut self, now: Instant, address: IpAddr, wanted: bool) -> Option<usize> {
        let length = self.entries.len();
        let start = self.start(address);
        let mut best: Option<((u8, Instant), usize)> = None;
        for index in (start..length).chain(0..start) {
            let Some(entry) = &self.entries[index].0 else {
                return Some(index);
            };
            let rank = match entry.state {
                State::Incomplete { .. } => continue,
                State::Failed { .. } => 0,
                _ if !entry.used => 1,
                State::Reachable { confirmed, .. }
                    if now.saturating_duration_since(confirmed) >= self.config.reachable
                        && now.saturating_duration_since(entry.last_used)
                            >= self.config.reachable =>
                {
                    2
                }
                _ if !wanted => continue,
                _ => 3,
            };
            // Frames that wait name their neighbour by its slot: it must not change hands.
            if self.waiting > 0 && self.is_awaited(index) {
                continue;
            }
            let key = (rank, entry.last_used);
            if best.is_none_or(|(known, _)| key < known) {
                best = Some((key, index));
            }
        }
        let (_, index) = best?;
        self.counters.evicted += 1;
        self.entries[index].0 = None;
        Some(index)
    }

    fn is_awaited(&self, neighbour: usize) -> bool {
        self.pending
            .iter()
            .flat_map(|slot| &slot.0)
            .any(|pending| pending.neighbour == neighbour)
    }

    fn ask(&mut self, index: usize, address: IpAddr, now: Instant, origin: Origin) {
        self.entries[index].0 = Some(Entry {
            address,
            state: State::Incomplete { sent: 0, next: now },
            origin,
            used: true,
            last_used: now,
        });
        self.deadline = self.deadline.min(now);
    }

    fn probe(&mut self, index: usize, now: Instant, mac: MacAddress) {
        if let Some(entry) = self.entries[index].0.as_mut() {
            entry.state = if self.config.probes == 0 {
                State::Incomplete { sent: 0, next: now }
            } else {
                State::Probing {
                    mac,
                    sent: 0,
                    next: now,
                }
            };
        }
        self.deadline = self.deadline.min(now);
    }

    fn find_deadline(&mut self) {
        self.deadline = self
            .entries
            .iter()
            .flat_map(|slot| &slot.0)
            .filter_map(|entry| match entry.state {
                State::Incomplete { next, .. } | State::Probing { next, .. } => Some(next),
                _ => None,
            })
            .min()
            .unwrap_or(Instant::FAR_FUTURE);
    }
}
