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
mod receiver;
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
use self::requests::{RequestState, Requests, survives};
use self::transactions::TransactionState;
use self::watches::{Pushed, WatchState, Watches};
use super::counters::StoreCounters;
use super::error::{StoreError, StoreFault};
use super::text::{parse_decimal, single_string};
use crate::abi::XenError;
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

    /// An input: the ring can't be used. `true`: ask xenstored to set it up again, which it offers if `offered`. Else
    /// all that is outstanding has failed.
    pub(super) fn handle_fault(&mut self, fault: StoreFault, offered: bool) -> bool {
        self.counters.faults += 1;
        self.receiver.reset();
        if offered && self.reconnections_in_a_row < MAXIMUM_RECONNECTIONS {
            self.reconnections_in_a_row += 1;
            self.counters.reconnections += 1;
            self.handle_disconnection(Tree::Same);
            return true;
        }
        self.link = Link::Broken(fault);
        self.sending = None;
        self.queue.clear();
        for index in 0..self.requests.len() {
            self.end_request(index, StoreError::Broken(fault));
        }
        for index in 0..self.watches.slots.len() {
            let slot = &mut self.watches.slots[index];
            slot.exchange.stage = Stage::Idle;
            slot.established = false;
            if slot.state == WatchState::Unwanted {
                slot.state = WatchState::Free;
            }
            self.wakes.insert(Place::Watch(index));
        }
        for index in 0..self.transactions.len() {
            self.lose_transaction(index, StoreError::Broken(fault));
        }
        false
    }

    /// An input: the ring is being set up again. It will lead to `tree`, or to another one than now if it was to before.
    pub(super) fn handle_disconnection(&mut self, tree: Tree) {
        if self.link != Link::Reconnecting || tree == Tree::New {
            self.next_tree = tree;
        }
        self.link = Link::Reconnecting;
        self.receiver.reset();
        self.sending = None;
    }

    /// An input: the ring was set up again, and leads to `tree`. Watches are set again with their tokens, and each fires once;
    /// open transactions end in [`XenError::TryAgain`], with what was asked in them.
    ///
    /// What was outstanding is sent again: all of it where the tree is another one, since it was not carried out there; where it is
    /// the same, what only reads, and what xenstored has seen nothing of. The rest ends in [`StoreError::Interrupted`].
    pub(super) fn handle_renewal(&mut self, tree: Tree) {
        self.receiver.reset();
        self.sending = None;
        self.link = Link::Up;
        if tree == Tree::New {
            self.reconnections_in_a_row = 0;
        }
        for index in 0..self.requests.len() {
            let Some(slot) = self.requests.slot(index) else {
                continue;
            };
            match (slot.state, survives(slot, tree == Tree::Same)) {
                (RequestState::Waiting, Err(error)) => self.end_request(index, error),
                (RequestState::Abandoned, _) => self.free_request(index),
                _ => {}
            }
        }
        for index in 0..self.transactions.len() {
            if self.transactions[index].state != TransactionState::Starting
                || self.transactions[index].abandoned
            {
                self.lose_transaction(index, StoreError::Refused(XenError::TryAgain));
            }
        }
        let mut again = Deque::<u8, PLACES>::new();
        let mut push = |place: Place, exchange: &mut Exchange| {
            exchange.stage = Stage::Queued;
            // Each place is there once.
            let _ = again.push_back(place.code());
        };
        for (index, slot) in self.watches.slots.iter_mut().enumerate() {
            if slot.state == WatchState::Unwanted {
                slot.state = WatchState::Free;
                slot.exchange.stage = Stage::Idle;
            } else if slot.state == WatchState::Wanted {
                slot.established = false;
                push(Place::Watch(index), &mut slot.exchange);
            }
        }
        // What xenstored had seen comes first, in the order that it had been sent in; then what it had not.
        while let Some(place) = self.oldest_in_flight() {
            if let Some(exchange) = self.exchange_mut(place) {
                push(place, exchange);
            }
        }
        while let Some(code) = self.queue.pop_front() {
            let place = Place::from_code(code);
            let is_watch = matches!(place, Place::Watch(_));
            if let Some(exchange) = self.exchange_mut(place)
                && exchange.stage == Stage::Queued
                && !is_watch
            {
                push(place, exchange);
            }
        }
        self.queue = again;
    }

    /// An output: the next bytes for xenstored, up to `room.len()`. How many.
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

    /// The place whose message was begun first of those that xenstored may know.
    fn oldest_in_flight(&self) -> Option<Place> {
        let requests = (0..self.requests.len()).map(Place::Request);
        let watches = (0..self.watches.slots.len()).map(Place::Watch);
        let transactions = (0..self.transactions.len()).map(Place::Transaction);
        requests
            .chain(watches)
            .chain(transactions)
            .filter_map(|place| Some((place, self.exchange(place)?)))
            .filter(|(_, exchange)| exchange.is_in_flight())
            .max_by_key(|(_, exchange)| self.sequence.age(exchange.id))
            .map(|(place, _)| place)
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

    /// Xenstored has forgotten which watches it had taken, and the open transactions.
    fn set_again(&mut self) {
        for index in 0..self.watches.slots.len() {
            let slot = &mut self.watches.slots[index];
            if slot.established && slot.state == WatchState::Wanted {
                slot.established = false;
                self.enqueue(Place::Watch(index));
            }
        }
        for index in 0..self.transactions.len() {
            if let TransactionState::Open(_) = self.transactions[index].state {
                self.lose_transaction(index, StoreError::Refused(XenError::TryAgain));
            }
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

    /// Xenstored does not know the transaction any more.
    fn lose_transaction(&mut self, index: usize, error: StoreError) {
        let slot = &mut self.transactions[index];
        let queued = slot.exchange.stage == Stage::Queued;
        slot.exchange.stage = Stage::Idle;
        slot.state = match slot.state {
            TransactionState::Free => TransactionState::Free,
            _ if slot.abandoned => TransactionState::Free,
            TransactionState::Starting | TransactionState::Ending { .. } => {
                TransactionState::Ended(Err(error))
            }
            TransactionState::Open(_) | TransactionState::Lost => TransactionState::Lost,
            TransactionState::Ended(result) => TransactionState::Ended(result),
        };
        if queued {
            self.dequeue(Place::Transaction(index));
        }
        self.wakes.insert(Place::Transaction(index));
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

/// What became of a message from xenstored.
enum Handled {
    /// Nobody asked for it.
    Dropped,
    /// It is where it belongs.
    Replied,
    /// It led to another message, of this place.
    Queue(Place),
    /// Xenstored has forgotten our watches and transactions.
    Reset,
}

/// All that a message from xenstored may change.
struct Replies<'a, 'm> {
    requests: &'a mut Requests<'m>,
    watches: &'a mut Watches<'m>,
    transactions: &'a mut [TransactionSlot],
    wakes: &'a mut PlaceSet,
    freed: &'a mut Freed,
    depth_answered: &'a mut u64,
    counters: &'a mut StoreCounters,
}

impl Replies<'_, '_> {
    fn handle(&mut self, header: MessageHeader, payload: &[u8]) -> Handled {
        let kind = MessageType::from_number(header.kind.get());
        if kind == Some(MessageType::WatchEvent) {
            self.handle_event(payload);
            return Handled::Dropped;
        }
        let id = header.request.get();
        let place = Sequence::place(id);
        let exchange = match place {
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
        };
        let Some(exchange) = exchange.filter(|exchange| exchange.id == id && id != 0) else {
            self.counters.unknown_replies += 1;
            return Handled::Dropped;
        };
        match exchange.stage {
            Stage::Sent => {}
            // The id was the place's last.
            Stage::Idle | Stage::Queued => {
                self.counters.duplicate_replies += 1;
                return Handled::Dropped;
            }
            // Before the request was whole: xenstored can't know yet what it says.
            Stage::Sending => {
                self.counters.unknown_replies += 1;
                return Handled::Dropped;
            }
        }
        exchange.stage = Stage::Idle;
        *self.depth_answered = (*self.depth_answered).max(exchange.depth);
        self.counters.replies += 1;
        match place {
            Place::Request(index) => self.handle_reply(index, kind, payload),
            Place::Watch(index) => self.handle_watch_reply(index, kind, payload),
            Place::Transaction(index) => self.handle_transaction_reply(index, kind, payload),
        }
    }

    /// Whether a reply is the one that was asked for, or the error that it brings.
    fn check(
        &mut self,
        kind: Option<MessageType>,
        asked: MessageType,
        payload: &[u8],
    ) -> Result<(), StoreError> {
        if kind == Some(asked) {
            return Ok(());
        }
        if kind != Some(MessageType::Error) {
            self.counters.wrong_type += 1;
            return Err(StoreError::Malformed);
        }
        self.counters.errors += 1;
        let name = single_string(payload).ok_or_else(|| self.malformed())?;
        let known = XenError::from_name(name).map(StoreError::Refused);
        Err(known.unwrap_or(StoreError::RefusedOtherwise))
    }

    fn malformed(&mut self) -> StoreError {
        self.counters.malformed_replies += 1;
        StoreError::Malformed
    }

    fn handle_reply(&mut self, index: usize, kind: Option<MessageType>, payload: &[u8]) -> Handled {
        let large = self.requests.is_large(index);
        let Some(asked) = self.requests.slot(index).map(|slot| slot.kind) else {
            return Handled::Dropped;
        };
        let mut result = self.check(kind, asked, payload);
        let Some((slot, bytes)) = self.requests.get_mut(index) else {
            return Handled::Dropped;
        };
        let handled = if asked == MessageType::ResetWatches && result.is_ok() {
            Handled::Reset
        } else {
            Handled::Replied
        };
        if slot.state == RequestState::Abandoned {
            self.counters.abandoned_replies += 1;
            slot.state = RequestState::Free;
            self.freed.add(large);
            return handled;
        }
        if result.is_ok() {
            slot.length = payload.len();
            match bytes.get_mut(..payload.len()) {
                Some(room) => room.copy_from_slice(payload),
                None => {
                    self.counters.too_long_replies += 1;
                    result = Err(StoreError::ReplyTooLong {
                        length: payload.len(),
                    });
                }
            }
        }
        slot.state = RequestState::Answered(result);
        self.wakes.insert(Place::Request(index));
        handled
    }

    fn handle_watch_reply(
        &mut self,
        index: usize,
        kind: Option<MessageType>,
        payload: &[u8],
    ) -> Handled {
        let place = Place::Watch(index);
        let unwatched = self.watches.slots[index].established;
        let asked = if unwatched {
            MessageType::Unwatch
        } else {
            MessageType::Watch
        };
        let result = self.check(kind, asked, payload);
        let slot = &mut self.watches.slots[index];
        let unwanted = slot.state == WatchState::Unwanted;
        if unwatched {
            // Whatever it says: there is nothing that could be done about it.
            slot.established = false;
            slot.state = WatchState::Free;
            return Handled::Replied;
        }
        match result {
            Ok(()) => slot.established = true,
            Err(_) if unwanted => slot.state = WatchState::Free,
            Err(error) => slot.state = WatchState::Refused(error),
        }
        if unwanted && slot.established {
            return Handled::Queue(place);
        }
        self.wakes.insert(place);
        Handled::Replied
    }

    fn handle_transaction_reply(
        &mut self,
        index: usize,
        kind: Option<MessageType>,
        payload: &[u8],
    ) -> Handled {
        let place = Place::Transaction(index);
        let ending = matches!(
            self.transactions[index].state,
            TransactionState::Ending { .. }
        );
        let asked = if ending {
            MessageType::TransactionEnd
        } else {
            MessageType::TransactionStart
        };
        let result = self.check(kind, asked, payload);
        let state = if ending {
            TransactionState::Ended(result)
        } else {
            let number = result.and_then(|()| {
                let number = single_string(payload).and_then(parse_decimal);
                let number = number.and_then(|number| u32::try_from(number).ok());
                // Zero would be no transaction at all.
                let number = number.filter(|number| *number != 0);
                number.ok_or_else(|| self.malformed())
            });
            match number {
                Ok(number) => TransactionState::Open(number),
                Err(error) => TransactionState::Ended(Err(error)),
            }
        };
        let slot = &mut self.transactions[index];
        slot.state = state;
        if !slot.abandoned {
            self.wakes.insert(place);
            return Handled::Replied;
        }
        if let TransactionState::Open(number) = state {
            slot.state = TransactionState::Ending {
                number,
                commit: false,
            };
            return Handled::Queue(place);
        }
        slot.state = TransactionState::Free;
        Handled::Replied
    }

    /// `XS_WATCH_EVENT`: a path and a token, with a NUL behind each.
    fn handle_event(&mut self, payload: &[u8]) {
        let mut parts = payload.split(|byte| *byte == 0);
        let (Some(path), Some(token), Some([]), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            self.counters.malformed_events += 1;
            return;
        };
        let Some(index) = self.watches.find(token) else {
            self.counters.unknown_tokens += 1;
            return;
        };
        match self.watches.push(index, path) {
            Pushed::Queued => self.counters.watch_events += 1,
            Pushed::Coalesced => self.counters.watch_events_coalesced += 1,
            Pushed::Overflow => self.counters.watch_overflows += 1,
        }
        self.wakes.insert(Place::Watch(index));
    }
}

/// Has the task woken later.
fn register(place: &mut Option<Waker>, context: &Context<'_>) {
    match place {
        Some(waker) => waker.clone_from(context.waker()),
        None => *place = Some(context.waker().clone()),
    }
}

impl TransactionSlot {
    /// The payload of its message.
    fn payload(&self) -> &'static [u8] {
        match self.state {
            TransactionState::Ending { commit: true, .. } => b"T\0",
            TransactionState::Ending { commit: false, .. } => b"F\0",
            _ => b"\0",
        }
    }
}
