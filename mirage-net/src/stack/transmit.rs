//! Frames that are ready for the device.

use managed::ManagedSlice;
use mirage_core::Frame;

use crate::arp::Origin;

/// Storage for one frame to transmit.
#[derive(Debug, Default)]
pub struct TransmitSlot(Option<Frame>);

impl TransmitSlot {
    /// An empty slot.
    pub const EMPTY: Self = TransmitSlot(None);
}

/// A ring of frames. Answers to received packets leave a quarter of it to our own datagrams, so
/// that a flood of questions does not silence us.
pub(super) struct TransmitQueue<'a> {
    slots: ManagedSlice<'a, TransmitSlot>,
    start: usize,
    length: usize,
}

impl<'a> TransmitQueue<'a> {
    pub(super) fn new(slots: ManagedSlice<'a, TransmitSlot>) -> Self {
        TransmitQueue {
            slots,
            start: 0,
            length: 0,
        }
    }

    /// Frames that fit in all.
    pub(super) fn capacity(&self) -> usize {
        self.slots.len()
    }

    pub(super) fn len(&self) -> usize {
        self.length
    }

    /// How many more frames of this origin fit.
    #[inline]
    pub(super) fn room(&self, origin: Origin) -> usize {
        let free = self.slots.len() - self.length;
        match origin {
            Origin::Own => free,
            Origin::Answer => free.saturating_sub(self.slots.len() / 4),
        }
    }

    /// Appends a frame; the caller has asked for room.
    #[inline]
    pub(super) fn push(&mut self, frame: Frame) {
        let capacity = self.slots.len();
        if self.length < capacity {
            let mut index = self.start + self.length;
            if index >= capacity {
                index -= capacity;
            }
            self.slots[index].0 = Some(frame);
            self.length += 1;
        }
    }

    /// The oldest frame.
    #[inline]
    pub(super) fn pop(&mut self) -> Option<Frame> {
        if self.length == 0 {
            return None;
        }
        let frame = self.slots[self.start].0.take();
        self.start += 1;
        if self.start == self.slots.len() {
            self.start = 0;
        }
        self.length -= 1;
        frame
    }
}
