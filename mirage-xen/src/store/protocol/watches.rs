//! Watches, and the events that wait for their watchers.

use core::task::Waker;

use super::exchange::Exchange;
use crate::store::error::StoreError;

/// One watch.
pub(in crate::store) struct WatchSlot {
    pub(super) state: WatchState,
    /// `XS_WATCH` while it is [`Wanted`](WatchState::Wanted) and not established, `XS_UNWATCH` while it is
    /// [`Unwanted`](WatchState::Unwanted) and established.
    pub(super) exchange: Exchange,
    /// Xenstored has said that it watches.
    pub(super) established: bool,
    /// Tells the watches apart that had this place one after the other.
    pub(super) generation: u32,
    path_length: usize,
    queue: Queue,
    pub(super) waker: Option<Waker>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum WatchState {
    Free,
    /// Somebody has it.
    Wanted,
    /// Somebody has it, and xenstored does not want it.
    Refused(StoreError),
    /// Nobody has it any more, and xenstored may still know it.
    Unwanted,
}

/// Where events lie behind the path: each as two bytes of length and the path.
#[derive(Clone, Copy, Debug, Default)]
struct Queue {
    start: usize,
    end: usize,
    /// Where the newest begins, if there is one.
    newest: usize,
    /// Events were lost: the watcher has to look at everything.
    resync: bool,
}

/// What became of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pushed {
    Queued,
    Coalesced,
    Overflow,
}

/// An event that was taken out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::store) enum TakenEvent {
    /// The path's length; it lies in the caller's buffer.
    Path(usize),
    /// Events were lost.
    Resync,
}

impl WatchSlot {
    pub(in crate::store) const fn new() -> Self {
        Self {
            state: WatchState::Free,
            exchange: Exchange::NONE,
            established: false,
            generation: 0,
            path_length: 0,
            queue: Queue {
                start: 0,
                end: 0,
                newest: 0,
                resync: false,
            },
            waker: None,
        }
    }

    /// Eight hexadecimal digits: the generation, then the place.
    pub(super) fn token(&self, index: usize) -> [u8; 8] {
        let mut value = self.generation << 8 | index as u32;
        let mut token = [0; 8];
        for digit in token.iter_mut().rev() {
            *digit = b"0123456789abcdef"[(value & 15) as usize];
            value >>= 4;
        }
        token
    }
}

/// All places for watches.
pub(super) struct Watches<'m> {
    pub(super) slots: &'m mut [WatchSlot],
    bytes: &'m mut [u8],
}

impl<'m> Watches<'m> {
    pub(super) fn new(slots: &'m mut [WatchSlot], bytes: &'m mut [u8]) -> Self {
        Self { slots, bytes }
    }

    fn room(&self) -> usize {
        self.bytes.len() / self.slots.len().max(1)
    }

    fn get_mut(&mut self, index: usize) -> Option<(&mut WatchSlot, &mut [u8])> {
        let room = self.room();
        let bytes = self.bytes.get_mut(index * room..(index + 1) * room)?;
        Some((self.slots.get_mut(index)?, bytes))
    }

    /// Takes a free place for a path.
    pub(super) fn claim(&mut self, path: &[&[u8]]) -> Result<usize, StoreError> {
        let length: usize = path.iter().map(|part| part.len()).sum();
        let free = |slot: &WatchSlot| slot.state == WatchState::Free;
        let index = self.slots.iter().position(free);
        let index = index.ok_or(StoreError::TooManyWatches)?;
        let (slot, bytes) = self.get_mut(index).ok_or(StoreError::TooManyWatches)?;
        if length > bytes.len() {
            return Err(StoreError::WatchTooLong { length });
        }
        let mut end = 0;
        for part in path {
            bytes[end..end + part.len()].copy_from_slice(part);
            end += part.len();
        }
        slot.path_length = length;
        slot.queue = Queue::default();
        slot.established = false;
        slot.generation = (slot.generation + 1) & 0x00FF_FFFF;
        slot.state = WatchState::Wanted;
        Ok(index)
    }

    pub(super) fn path(&self, index: usize) -> &[u8] {
        let length = self.slots.get(index).map_or(0, |slot| slot.path_length);
        let start = index * self.room();
        self.bytes.get(start..start + length).unwrap_or_default()
    }

    /// The watch that somebody has with this token.
    pub(super) fn find(&self, token: &[u8]) -> Option<usize> {
        let text = core::str::from_utf8(token).ok()?;
        let index = usize::from(u8::from_str_radix(text.get(6..)?, 16).ok()?);
        let slot = self.slots.get(index)?;
        (slot.state == WatchState::Wanted && slot.token(index) == token).then_some(index)
    }

    /// Puts an event behind the others.
    pub(super) fn push(&mut self, index: usize, path: &[u8]) -> Pushed {
        let Some((slot, bytes)) = self.get_mut(index) else {
            return Pushed::Overflow;
        };
        let queue = &mut slot.queue;
        let room = &mut bytes[slot.path_length..];
        if queue.resync {
            return Pushed::Coalesced;
        }
        if queue.start != queue.end && entry(room, queue.newest) == path {
            return Pushed::Coalesced;
        }
        let needed = 2 + path.len();
        if room.len() - queue.end < needed && queue.start != 0 {
            room.copy_within(queue.start..queue.end, 0);
            queue.end -= queue.start;
            queue.start = 0;
        }
        if room.len() - queue.end < needed {
            *queue = Queue {
                resync: true,
                ..Queue::default()
            };
            return Pushed::Overflow;
        }
        queue.newest = queue.end;
        let place = &mut room[queue.end..queue.end + needed];
        // At most `XENSTORE_PAYLOAD_MAX`.
        place[..2].copy_from_slice(&(path.len() as u16).to_ne_bytes());
        place[2..].copy_from_slice(path);
        queue.end += needed;
        Pushed::Queued
    }

    /// Takes the oldest event, or the mark that some were lost. One that does not fit the buffer is the mark, too.
    pub(super) fn pop(&mut self, index: usize, buffer: &mut [u8]) -> Option<TakenEvent> {
        let (slot, bytes) = self.get_mut(index)?;
        let queue = &mut slot.queue;
        if core::mem::take(&mut queue.resync) {
            return Some(TakenEvent::Resync);
        }
        if queue.start == queue.end {
            return None;
        }
        let path = entry(&bytes[slot.path_length..], queue.start);
        queue.start += 2 + path.len();
        if queue.start == queue.end {
            queue.start = 0;
            queue.end = 0;
        }
        let Some(place) = buffer.get_mut(..path.len()) else {
            return Some(TakenEvent::Resync);
        };
        place.copy_from_slice(path);
        Some(TakenEvent::Path(path.len()))
    }

    /// Takes all events; whether there were any.
    pub(super) fn clear(&mut self, index: usize) -> bool {
        let Some(slot) = self.slots.get_mut(index) else {
            return false;
        };
        let queue = core::mem::take(&mut slot.queue);
        queue.resync || queue.start != queue.end
    }
}

/// The path of the event that begins there.
fn entry(room: &[u8], start: usize) -> &[u8] {
    let (length, rest) = room[start..].split_at(2);
    &rest[..usize::from(u16::from_ne_bytes([length[0], length[1]]))]
}
