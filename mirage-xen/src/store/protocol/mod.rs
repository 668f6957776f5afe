//! Xenstore's protocol, as the domain speaks it: a state machine that sees no ring, no event channel and no executor.
//!
//! Methods are of four kinds:
//!
//! - getters;
//! - inputs: `handle_bytes`, what came from xenstored; `handle_fault`, the ring is unusable; `handle_renewal`, the ring was set up
//!   again;
//! - mutators, called for the store's users: `request`, `watch`, `begin_transaction`, `hold` and their like;
//! - outputs: `poll_transmit`, bytes for xenstored; `poll_wake`, who has something to look at; `poll_freed`; `poll_reply`,
//!   `poll_watch`, … for the users.
//!
//! After each input or mutator, poll `poll_wake` until there is nothing left, then `poll_freed`.

mod exchange;
mod link;
mod receiver;
mod replies;
mod requests;
#[cfg(test)]
mod tests;
mod transactions;
mod users;
mod watches;

use core::task::{Context, Waker};

use heapless::Deque;
use zerocopy::IntoBytes;

pub(super) use exchange::{MAXIMUM_REQUESTS, MAXIMUM_TRANSACTIONS, MAXIMUM_WATCHES};
pub(super) use requests::RequestSlot;
pub(super) use transactions::TransactionSlot;
pub(super) use watches::{TakenEvent, WatchSlot};

use self::exchange::{Exchange, PLACES, Place, PlaceSet, Sequence, Stage};
use self::receiver::Receiver;
use self::replies::{Handled, Replies};
use self::requests::{RequestState, Requests};
use self::transactions::TransactionState;
use self::watches::{WatchState, Watches};
use super::counters::StoreCounters;
use super::error::{StoreError, StoreFault};
use crate::abi::xs_wire::{MessageHeader, MessageType, XENSTORE_PAYLOAD_MAX};

/// How often in a row the ring is set up again without a reply between.
const MAXIMUM_RECONNECTIONS: u32 = 3;

/// The memory that the machine stands on.
pub(super) struct Memory<'m> {
    pub(super) requests: &'m mut [RequestSlot],
    pub(super) request_bytes: &'m mut [u8],
    pub(super) large_bytes: &'m mut [u8; XENSTORE_PAYLOAD_MAX],
    pub(super) receive_bytes: &'m mut [u8; XENSTORE_PAYLOAD_MAX],
    pub(super) watches: &'m mut [WatchSlot],
    pub(super) watch_bytes: &'m mut [u8],
    pub(super) transactions: &'m mut [TransactionSlot],
}

/// The client's half of the protocol.
pub(super) struct Protocol<'m> {
    requests: Requests<'m>,
    watches: Watches<'m>,
    transactions: &'m mut [TransactionSlot],
    receiver: Receiver<'m>,
    /// The codes of the places whose messages wait to be sent; each is there once at most.
    queue: Deque<u8, PLACES>,
    sending: Option<Sending>,
    link: Link,
    /// What it will lead to.
    next_tree: Tree,
    /// How many want that no message is begun.
    holds: u32,
    quiet_waker: Option<Waker>,
    sequence: Sequence,
    /// The largest depth of what was answered.
    depth_answered: u64,
    reconnections_in_a_row: u32,
    wakes: PlaceSet,
    freed: Freed,
    counters: StoreCounters,
}

/// The message that is on its way into the ring.
struct Sending {
    place: Place,
    header: MessageHeader,
    sent: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Link {
    Up,
    /// The ring is being set up again; nothing goes either way.
    Reconnecting,
    Broken(StoreFault),
}

/// Requests' places that became free.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Freed {
    /// Small ones.
    pub(super) small: usize,
    /// Large ones.
    pub(super) large: usize,
}

/// What tree the ring leads to after it was set up again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tree {
    /// The same: a request that xenstored had seen may have been carried out there.
    Same,
    /// Another one, made for the domain that was resumed: nothing that was asked before was carried out there.
    New,
}

impl<'m> Protocol<'m> {
    /// Nothing asked, nothing watched; the ring is not set up ([`handle_renewal`](Self::handle_renewal)).
    pub(super) fn new(memory: Memory<'m>) -> Self {
        Self {
            requests: Requests::new(memory.requests, memory.request_bytes, memory.large_bytes),
            watches: Watches::new(memory.watches, memory.watch_bytes),
            transactions: memory.transactions,
            receiver: Receiver::new(memory.receive_bytes),
            queue: Deque::new(),
            sending: None,
            link: Link::Reconnecting,
            next_tree: Tree::New,
            holds: 0,
            quiet_waker: None,
            sequence: Sequence::new(),
            depth_answered: 0,
            reconnections_in_a_row: 0,
            wakes: PlaceSet::new(),
            freed: Freed::default(),
            counters: StoreCounters::default(),
        }
    }

    /// What was counted.
    pub(super) fn counters(&self) -> StoreCounters {
        self.counters
    }

    /// What the ring's keeper counts.
    pub(super) fn counters_mut(&mut self) -> &mut StoreCounters {
        &mut self.counters
    }

    /// Whether bytes can go either way.
    pub(super) fn is_up(&self) -> bool {
        self.link == Link::Up
    }

    /// While the ring is being set up again: what it will lead to.
    pub(super) fn reconnecting(&self) -> Option<Tree> {
        (self.link == Link::Reconnecting).then_some(self.next_tree)
    }

    /// Whether there is anything to send now.
    pub(super) fn has_output(&self) -> bool {
        self.is_up() && (self.sending.is_some() || self.holds == 0 && !self.queue.is_empty())
    }

    /// An input: bytes from xenstored, in pieces of any length. Takes them up to the end of a message; how many.
    // Apart from its caller: see "What an image weighs" in CONTRIBUTING.md.
    #[inline(never)]
    pub(super) fn handle_bytes(&mut self, bytes: &[u8]) -> Result<usize, StoreFault> {
        let (taken, message) = self.receiver.take(bytes)?;
        let Some((header, payload)) = message else {
            return Ok(taken);
        };
        // Each is a field of its own, so that the payload can stay where it is.
        let mut replies = Replies {
            requests: &mut self.requests,
            watches: &mut self.watches,
            transactions: self.transactions,
            wakes: &mut self.wakes,
            freed: &mut self.freed,
            depth_answered: &mut self.depth_answered,
            counters: &mut self.counters,
        };
        match replies.handle(header, payload) {
            Handled::Dropped => {}
            Handled::Replied => self.reconnections_in_a_row = 0,
            Handled::Queue(place) => {
                self.reconnections_in_a_row = 0;
                self.enqueue(place);
            }
            Handled::Reset => self.set_again(),
        }
        Ok(taken)
    }

    /// An output: the next bytes for xenstored, up to `room.len()`. How many.
    // Apart from its caller: see "What an image weighs" in CONTRIBUTING.md.
    #[inline(never)]
    pub(super) fn poll_transmit(&mut self, room: &mut [u8]) -> usize {
        let mut filled = 0;
        while filled < room.len() && self.is_up() {
            let Some(mut sending) = self.sending.take().or_else(|| self.begin_next()) else {
                break;
            };
            let place = sending.place;
            let token;
            let header = sending.header.as_bytes();
            let payload: [&[u8]; 4] = match place {
                Place::Request(index) => [self.requests.payload(index), b"", b"", b""],
                Place::Watch(index) => {
                    token = self.watches.slots[index].token(index);
                    [self.watches.path(index), b"\0", &token, b"\0"]
                }
                Place::Transaction(index) => [self.transactions[index].payload(), b"", b"", b""],
            };
            let mut skip = sending.sent;
            for part in [header].into_iter().chain(payload) {
                let rest = part.get(skip..).unwrap_or_default();
                skip = skip.saturating_sub(part.len());
                let length = rest.len().min(room.len() - filled);
                room[filled..filled + length].copy_from_slice(&rest[..length]);
                filled += length;
                sending.sent += length;
            }
            let whole = MessageHeader::LENGTH + sending.header.length.get() as usize;
            if sending.sent < whole {
                self.sending = Some(sending);
            } else if let Some(exchange) = self.exchange_mut(place) {
                exchange.stage = Stage::Sent;
            }
        }
        filled
    }

    /// An output: the next one who has something to look at.
    pub(super) fn poll_wake(&mut self) -> Option<Waker> {
        while let Some(place) = self.wakes.pop() {
            let waker = match place {
                Place::Request(index) => self
                    .requests
                    .get_mut(index)
                    .and_then(|(slot, _)| slot.waker.take()),
                Place::Watch(index) => self
                    .watches
                    .slots
                    .get_mut(index)
                    .and_then(|slot| slot.waker.take()),
                Place::Transaction(index) => self
                    .transactions
                    .get_mut(index)
                    .and_then(|slot| slot.waker.take()),
            };
            if waker.is_some() {
                return waker;
            }
        }
        if self.is_quiet() {
            return self.quiet_waker.take();
        }
        None
    }

    /// An output: the requests' places that became free since the last call.
    pub(super) fn poll_freed(&mut self) -> Freed {
        core::mem::take(&mut self.freed)
    }

    /// Begins the message that waits longest.
    fn begin_next(&mut self) -> Option<Sending> {
        if self.holds != 0 {
            return None;
        }
        let place = Place::from_code(self.queue.pop_front()?);
        let (kind, transaction, length) = match place {
            Place::Request(index) => {
                let slot = self.requests.slot(index)?;
                (slot.kind, slot.transaction, slot.length)
            }
            Place::Watch(index) => {
                let slot = self.watches.slots.get(index)?;
                let kind = if slot.state == WatchState::Unwanted {
                    MessageType::Unwatch
                } else {
                    MessageType::Watch
                };
                let length = self.watches.path(index).len() + slot.token(index).len() + 2;
                (kind, 0, length)
            }
            Place::Transaction(index) => {
                let slot = self.transactions.get(index)?;
                let (kind, number) = match slot.state {
                    TransactionState::Ending { number, .. } => {
                        (MessageType::TransactionEnd, number)
                    }
                    _ => (MessageType::TransactionStart, 0),
                };
                (kind, number, slot.payload().len())
            }
        };
        let id = self.sequence.next(place);
        let depth = self.depth_answered + 1;
        self.counters.requests += 1;
        self.counters.round_trips = self.counters.round_trips.max(depth);
        let exchange = self.exchange_mut(place)?;
        *exchange = Exchange {
            stage: Stage::Sending,
            id,
            depth,
        };
        Some(Sending {
            place,
            header: MessageHeader {
                kind: (kind as u32).into(),
                request: id.into(),
                transaction: transaction.into(),
                // At most `XENSTORE_PAYLOAD_MAX`.
                length: (length as u32).into(),
            },
            sent: 0,
        })
    }

    fn exchange(&self, place: Place) -> Option<Exchange> {
        match place {
            Place::Request(index) => self.requests.slot(index).map(|slot| slot.exchange),
            Place::Watch(index) => self.watches.slots.get(index).map(|slot| slot.exchange),
            Place::Transaction(index) => self.transactions.get(index).map(|slot| slot.exchange),
        }
    }

    fn exchange_mut(&mut self, place: Place) -> Option<&mut Exchange> {
        match place {
            Place::Request(index) => self
                .requests
                .get_mut(index)
                .map(|(slot, _)| &mut slot.exchange),
            Place::Watch(index) => self
                .watches
                .slots
                .get_mut(index)
                .map(|slot| &mut slot.exchange),
            Place::Transaction(index) => self
                .transactions
                .get_mut(index)
                .map(|slot| &mut slot.exchange),
        }
    }

    /// Puts a place's message behind those that wait.
    fn enqueue(&mut self, place: Place) {
        if let Some(exchange) = self.exchange_mut(place) {
            exchange.stage = Stage::Queued;
            // A place has one message at a time, so it's there once.
            let _ = self.queue.push_back(place.code());
        }
    }

    /// Takes a place's message out of the queue, of which xenstored has seen nothing.
    fn dequeue(&mut self, place: Place) {
        for _ in 0..self.queue.len() {
            if let Some(code) = self.queue.pop_front()
                && code != place.code()
            {
                let _ = self.queue.push_back(code);
            }
        }
        if let Some(exchange) = self.exchange_mut(place) {
            exchange.stage = Stage::Idle;
        }
    }

    /// Answers a request with an error of ours, or frees its place if nobody waits.
    fn end_request(&mut self, index: usize, error: StoreError) {
        let Some((slot, _)) = self.requests.get_mut(index) else {
            return;
        };
        match slot.state {
            RequestState::Waiting => {
                let queued = slot.exchange.stage == Stage::Queued;
                slot.state = RequestState::Answered(Err(error));
                slot.exchange.stage = Stage::Idle;
                if queued {
                    self.dequeue(Place::Request(index));
                }
                self.wakes.insert(Place::Request(index));
            }
            RequestState::Abandoned => self.free_request(index),
            RequestState::Free | RequestState::Answered(_) => {}
        }
    }

    fn free_request(&mut self, index: usize) {
        let large = self.requests.is_large(index);
        if let Some((slot, _)) = self.requests.get_mut(index) {
            slot.state = RequestState::Free;
            slot.exchange.stage = Stage::Idle;
            slot.waker = None;
            self.freed.add(large);
        }
    }

    /// Held, and xenstored owes no reply.
    fn is_quiet(&self) -> bool {
        self.holds != 0 && self.sending.is_none() && self.oldest_in_flight().is_none()
    }
}

impl Freed {
    fn add(&mut self, large: bool) {
        if large {
            self.large += 1;
        } else {
            self.small += 1;
        }
    }
}

/// Has the task woken later.
fn register(place: &mut Option<Waker>, context: &Context<'_>) {
    match place {
        Some(waker) => waker.clone_from(context.waker()),
        None => *place = Some(context.waker().clone()),
    }
}
