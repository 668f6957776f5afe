//! What xenstored sends: replies to those who asked, and events to those who watch.

use super::Freed;
use super::exchange::{Place, PlaceSet, Sequence, Stage};
use super::requests::{RequestState, Requests};
use super::transactions::{TransactionSlot, TransactionState};
use super::watches::{Pushed, WatchState, Watches};
use crate::abi::XenError;
use crate::abi::xs_wire::{MessageHeader, MessageType};
use crate::store::counters::StoreCounters;
use crate::store::error::StoreError;
use crate::store::text::{parse_decimal, single_string};

/// What became of a message from xenstored.
pub(super) enum Handled {
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
pub(super) struct Replies<'a, 'm> {
    pub(super) requests: &'a mut Requests<'m>,
    pub(super) watches: &'a mut Watches<'m>,
    pub(super) transactions: &'a mut [TransactionSlot],
    pub(super) wakes: &'a mut PlaceSet,
    pub(super) freed: &'a mut Freed,
    pub(super) depth_answered: &'a mut u64,
    pub(super) counters: &'a mut StoreCounters,
}

impl Replies<'_, '_> {
    pub(super) fn handle(&mut self, header: MessageHeader, payload: &[u8]) -> Handled {
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
