//! What the store's users do: the machine's mutators, and its outputs for them.

use core::task::{Context, Poll};

use super::exchange::{Place, Stage};
use super::requests::RequestState;
use super::transactions::TransactionState;
use super::watches::WatchState;
use super::{Link, Protocol, TakenEvent, register};
use crate::abi::XenError;
use crate::abi::xs_wire::{MessageType, XENSTORE_PAYLOAD_MAX};
use crate::store::error::StoreError;

impl Protocol<'_> {
    /// A getter: whether a request of that length, whose reply may have that length, needs the large place.
    pub(in crate::store) fn is_large(&self, request: usize, reply: usize) -> bool {
        request.max(reply) > self.requests.small_room()
    }

    /// A getter: watches' places in use, and transactions'.
    pub(in crate::store) fn in_use(&self) -> (usize, usize) {
        let watches = self.watches.slots.iter();
        let watches = watches.filter(|slot| slot.state != WatchState::Free);
        let transactions = self.transactions.iter();
        let transactions = transactions.filter(|slot| slot.state != TransactionState::Free);
        (watches.count(), transactions.count())
    }

    /// A getter: those of them that nobody has any more, and that will be free when xenstored has answered.
    pub(in crate::store) fn leaving(&self) -> (usize, usize) {
        let watches = self.watches.slots.iter();
        let watches = watches.filter(|slot| slot.state == WatchState::Unwanted);
        let transactions = self.transactions.iter();
        let transactions =
            transactions.filter(|slot| slot.abandoned && slot.state != TransactionState::Free);
        (watches.count(), transactions.count())
    }

    /// Queues a request, in a place that is free: the caller has counted. Its number, for
    /// [`poll_reply`](Self::poll_reply).
    pub(in crate::store) fn request(
        &mut self,
        kind: MessageType,
        transaction: u32,
        parts: &[&[u8]],
        large: bool,
    ) -> Result<usize, StoreError> {
        self.check_link()?;
        let length = parts.iter().map(|part| part.len()).sum();
        let too_long = StoreError::RequestTooLong { length };
        if length > XENSTORE_PAYLOAD_MAX {
            return Err(too_long);
        }
        // A place is free: the caller holds a permit for it.
        let index = self.requests.find_free(large).ok_or(too_long)?;
        let (slot, bytes) = self.requests.get_mut(index).ok_or(too_long)?;
        let room = bytes.get_mut(..length).ok_or(too_long)?;
        let mut filled = 0;
        for part in parts {
            room[filled..filled + part.len()].copy_from_slice(part);
            filled += part.len();
        }
        slot.state = RequestState::Waiting;
        slot.kind = kind;
        slot.transaction = transaction;
        slot.length = length;
        slot.waker = None;
        self.enqueue(Place::Request(index));
        Ok(index)
    }

    /// The reply to a request: its bytes are copied into `buffer`, and its place is free.
    pub(in crate::store) fn poll_reply(
        &mut self,
        index: usize,
        buffer: &mut [u8],
        context: &mut Context<'_>,
    ) -> Poll<Result<usize, StoreError>> {
        let Some((slot, bytes)) = self.requests.get_mut(index) else {
            return Poll::Ready(Err(StoreError::Malformed));
        };
        let RequestState::Answered(result) = slot.state else {
            register(&mut slot.waker, context);
            return Poll::Pending;
        };
        let length = slot.length;
        let result = result.and_then(|()| {
            let reply = bytes.get(..length).unwrap_or_default();
            let room = buffer.get_mut(..length).ok_or_else(|| {
                self.counters.too_long_replies += 1;
                StoreError::ReplyTooLong { length }
            })?;
            room.copy_from_slice(reply);
            Ok(length)
        });
        self.free_request(index);
        Poll::Ready(result)
    }

    /// Nobody waits for the reply any more. What xenstored has not seen is taken back.
    pub(in crate::store) fn abandon_request(&mut self, index: usize) {
        let Some((slot, _)) = self.requests.get_mut(index) else {
            return;
        };
        match slot.exchange.stage {
            Stage::Sending | Stage::Sent if slot.state == RequestState::Waiting => {
                slot.state = RequestState::Abandoned;
                slot.waker = None;
            }
            Stage::Queued => {
                self.dequeue(Place::Request(index));
                self.free_request(index);
            }
            _ => self.free_request(index),
        }
    }

    /// Queues a watch of a path; its place.
    pub(in crate::store) fn watch(&mut self, path: &[&[u8]]) -> Result<usize, StoreError> {
        self.check_link()?;
        let index = self.watches.claim(path)?;
        self.enqueue(Place::Watch(index));
        Ok(index)
    }

    /// Whether xenstored watches, or why not.
    pub(in crate::store) fn poll_watching(
        &mut self,
        index: usize,
        context: &mut Context<'_>,
    ) -> Poll<Result<(), StoreError>> {
        let link = self.check_link();
        let Some(slot) = self.watches.slots.get_mut(index) else {
            return Poll::Ready(Err(StoreError::TooManyWatches));
        };
        match (slot.state, link) {
            (WatchState::Refused(error), _) | (_, Err(error)) => Poll::Ready(Err(error)),
            _ if slot.established => Poll::Ready(Ok(())),
            _ => {
                register(&mut slot.waker, context);
                Poll::Pending
            }
        }
    }

    /// The next event of a watch, its path in `buffer`.
    pub(in crate::store) fn poll_event(
        &mut self,
        index: usize,
        buffer: &mut [u8],
        context: &mut Context<'_>,
    ) -> Poll<Result<TakenEvent, StoreError>> {
        if let Some(event) = self.watches.pop(index, buffer) {
            return Poll::Ready(Ok(event));
        }
        self.poll_no_event(index, context)
    }

    /// Takes all events of a watch, at least one.
    pub(in crate::store) fn poll_changed(
        &mut self,
        index: usize,
        context: &mut Context<'_>,
    ) -> Poll<Result<(), StoreError>> {
        if self.watches.clear(index) {
            return Poll::Ready(Ok(()));
        }
        self.poll_no_event(index, context).map_ok(|_| ())
    }

    fn poll_no_event(
        &mut self,
        index: usize,
        context: &mut Context<'_>,
    ) -> Poll<Result<TakenEvent, StoreError>> {
        if let Err(error) = self.check_link() {
            return Poll::Ready(Err(error));
        }
        let Some(slot) = self.watches.slots.get_mut(index) else {
            return Poll::Ready(Err(StoreError::TooManyWatches));
        };
        if let WatchState::Refused(error) = slot.state {
            return Poll::Ready(Err(error));
        }
        register(&mut slot.waker, context);
        Poll::Pending
    }

    /// Nobody has the watch any more: xenstored is told, if it knows of it.
    pub(in crate::store) fn unwatch(&mut self, index: usize) {
        let place = Place::Watch(index);
        let Some(slot) = self.watches.slots.get_mut(index) else {
            return;
        };
        slot.waker = None;
        slot.state = WatchState::Unwanted;
        match slot.exchange.stage {
            Stage::Queued => {
                self.dequeue(place);
                self.watches.slots[index].state = WatchState::Free;
            }
            // The reply to `XS_WATCH` leads to `XS_UNWATCH`.
            Stage::Sending | Stage::Sent => {}
            Stage::Idle if slot.established => self.enqueue(place),
            Stage::Idle => slot.state = WatchState::Free,
        }
    }

    /// Queues the start of a transaction; its place.
    pub(in crate::store) fn begin_transaction(&mut self) -> Result<usize, StoreError> {
        self.check_link()?;
        let mut slots = self.transactions.iter();
        let free = slots.position(|slot| slot.state == TransactionState::Free);
        let index = free.ok_or(StoreError::TooManyTransactions)?;
        let slot = &mut self.transactions[index];
        slot.state = TransactionState::Starting;
        slot.abandoned = false;
        slot.waker = None;
        self.enqueue(Place::Transaction(index));
        Ok(index)
    }

    /// Whether a transaction has begun.
    pub(in crate::store) fn poll_begun(
        &mut self,
        index: usize,
        context: &mut Context<'_>,
    ) -> Poll<Result<(), StoreError>> {
        let slot = &mut self.transactions[index];
        match slot.state {
            TransactionState::Starting => {
                register(&mut slot.waker, context);
                Poll::Pending
            }
            TransactionState::Ended(result) => Poll::Ready(result),
            _ => Poll::Ready(Ok(())),
        }
    }

    /// A transaction's number at xenstored. Where that has lost it, [`XenError::TryAgain`].
    pub(in crate::store) fn transaction_number(&self, index: usize) -> Result<u32, StoreError> {
        self.check_link()?;
        match self.transactions[index].state {
            TransactionState::Open(number) => Ok(number),
            _ => Err(StoreError::Refused(XenError::TryAgain)),
        }
    }

    /// Ends a transaction that has begun: with all that was done in it, or nothing.
    pub(in crate::store) fn end_transaction(&mut self, index: usize, commit: bool) {
        let link = self.check_link();
        let slot = &mut self.transactions[index];
        match (slot.state, link) {
            (TransactionState::Open(_) | TransactionState::Lost, Err(error)) => {
                slot.state = TransactionState::Ended(Err(error));
            }
            (TransactionState::Open(number), Ok(())) => {
                slot.state = TransactionState::Ending { number, commit };
                self.enqueue(Place::Transaction(index));
            }
            (TransactionState::Lost, Ok(())) => {
                let again = StoreError::Refused(XenError::TryAgain);
                slot.state = TransactionState::Ended(Err(again));
            }
            _ => {}
        }
    }

    /// How a transaction ended.
    pub(in crate::store) fn poll_ended(
        &mut self,
        index: usize,
        context: &mut Context<'_>,
    ) -> Poll<Result<(), StoreError>> {
        let slot = &mut self.transactions[index];
        if let TransactionState::Ended(result) = slot.state {
            return Poll::Ready(result);
        }
        register(&mut slot.waker, context);
        Poll::Pending
    }

    /// Nobody has the transaction any more: it is aborted unless its end is under way.
    pub(in crate::store) fn abandon_transaction(&mut self, index: usize) {
        if let TransactionState::Open(_) = self.transactions[index].state {
            self.end_transaction(index, false);
        }
        let slot = &mut self.transactions[index];
        slot.waker = None;
        slot.abandoned = true;
        match slot.state {
            TransactionState::Starting if slot.exchange.stage == Stage::Queued => {
                slot.state = TransactionState::Free;
                self.dequeue(Place::Transaction(index));
            }
            TransactionState::Lost | TransactionState::Ended(_) => {
                slot.state = TransactionState::Free;
            }
            _ => {}
        }
    }

    /// No message may be begun until [`release`](Self::release) was called as often. One that was is finished.
    pub(in crate::store) fn hold(&mut self) {
        self.holds += 1;
    }

    /// Undoes a [`hold`](Self::hold).
    pub(in crate::store) fn release(&mut self) {
        self.holds = self.holds.saturating_sub(1);
    }

    /// Ready when no message may be begun, and xenstored owes no reply.
    pub(in crate::store) fn poll_quiet(&mut self, context: &mut Context<'_>) -> Poll<()> {
        if self.is_quiet() {
            return Poll::Ready(());
        }
        register(&mut self.quiet_waker, context);
        Poll::Pending
    }

    fn check_link(&self) -> Result<(), StoreError> {
        match self.link {
            Link::Up | Link::Reconnecting => Ok(()),
            Link::Broken(fault) => Err(StoreError::Broken(fault)),
        }
    }
}
