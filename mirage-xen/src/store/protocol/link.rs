//! What happens when the ring can't be used, is set up again, or leads elsewhere.

use heapless::Deque;

use super::exchange::{Exchange, PLACES, Place, Stage};
use super::requests::{RequestState, survives};
use super::transactions::TransactionState;
use super::watches::WatchState;
use super::{Link, MAXIMUM_RECONNECTIONS, Protocol, Tree};
use crate::abi::XenError;
use crate::store::error::{StoreError, StoreFault};

impl Protocol<'_> {
    /// An input: the ring can't be used. `true`: ask xenstored to set it up again, which it offers if `offered`. Else
    /// all that is outstanding has failed.
    pub(in crate::store) fn handle_fault(&mut self, fault: StoreFault, offered: bool) -> bool {
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

    /// An input: the ring is being set up again. It will lead to `tree`, or to another one than now if it was to
    /// before.
    pub(in crate::store) fn handle_disconnection(&mut self, tree: Tree) {
        if self.link != Link::Reconnecting || tree == Tree::New {
            self.next_tree = tree;
        }
        self.link = Link::Reconnecting;
        self.receiver.reset();
        self.sending = None;
    }

    /// An input: the ring was set up again, and leads to `tree`. Watches are set again with their tokens, and each
    /// fires once; open transactions end in [`XenError::TryAgain`], with what was asked in them.
    ///
    /// What was outstanding is sent again: all of it where the tree is another one, since it was not carried out
    /// there; where it is the same, what only reads, and what xenstored has seen nothing of. The rest ends in
    /// [`StoreError::Interrupted`].
    pub(in crate::store) fn handle_renewal(&mut self, tree: Tree) {
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

    /// Xenstored has forgotten which watches it had taken, and the open transactions.
    pub(super) fn set_again(&mut self) {
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

    /// The place whose message was begun first of those that xenstored may know.
    pub(super) fn oldest_in_flight(&self) -> Option<Place> {
        let mut oldest = None;
        for code in 0..=u8::MAX {
            let place = Place::from_code(code);
            let Some(exchange) = self.exchange(place) else {
                continue;
            };
            let age = self.sequence.age(exchange.id);
            if exchange.is_in_flight() && oldest.is_none_or(|(_, oldest)| age > oldest) {
                oldest = Some((place, age));
            }
        }
        oldest.map(|(place, _)| place)
    }
}
