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

    /// Puts a frame before all others; the caller has taken one out.
    pub(super) fn push_front(&mut self, frame: Frame) {
        let capacity = self.slots.len();
        if self.length < capacity {
            self.start = self.start.checked_sub(1).unwrap_or(capacity - 1);
            self.slots[self.start].0 = Some(frame);
            self.length += 1;
        }
    }

    /// The newest frame.
    pub(super) fn pop_last(&mut self) -> Option<Frame> {
        self.length = self.length.checked_sub(1)?;
        let mut index = self.start + self.length;
        if index >= self.slots.len() {
            index -= self.slots.len();
        }
        self.slots[index].0.take()
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

#[cfg(test)]
mod tests {
    use super::*;
    use core::array;
    use mirage_core::Pool;

    #[test]
    fn frames_come_out_in_order_from_both_ends_across_the_edge() {
        let pool = Pool::leak(8, 256).unwrap();
        let mut slots: [TransmitSlot; 3] = array::from_fn(|_| TransmitSlot::EMPTY);
        let mut queue = TransmitQueue::new((&mut slots[..]).into());
        let frame = |byte: u8| {
            let mut page = pool.alloc().unwrap();
            page.extend_from_slice(&[byte]).unwrap();
            Frame::from(page)
        };
        let byte = |frame: Option<Frame>| frame.map(|frame| frame.first().unwrap()[0]);
        for round in 0..7 {
            queue.push(frame(1));
            queue.push(frame(2));
            queue.push(frame(3));
            queue.push(frame(4));
            assert_eq!(queue.len(), 3, "full is full");
            assert_eq!(byte(queue.pop_last()), Some(3));
            queue.push_front(frame(0));
            queue.push_front(frame(9));
            assert_eq!(queue.len(), 3);
            let all = [queue.pop(), queue.pop(), queue.pop(), queue.pop()].map(byte);
            assert_eq!(all, [Some(0), Some(1), Some(2), None]);
            assert_eq!(byte(queue.pop_last()), None);
            // Begins one place further on each time.
            queue.push(frame(round));
            queue.pop();
        }
        assert_eq!(pool.free(), 8);
    }
}
