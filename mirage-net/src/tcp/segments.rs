//! The slots of all queued data of a stack's connections, in one table.
//!
//! A connection that has nothing queued has no slot: a queue is a chain through the table, and the connection holds its
//! ends. So the memory of all connections together is bounded by the table's length, and that of one by what its owner
//! allows it.

use core::fmt;

use managed::ManagedSlice;
use mirage_core::{Instant, PageMut, Segment};

use super::SequenceNumber;

/// "None" among the numbers of slots.
pub(super) const END: u32 = u32::MAX;

/// Storage for one piece of data: to be sent, to be acknowledged, received out of order, or received and unread.
#[derive(Debug)]
pub struct SegmentSlot {
    /// What it holds; nothing in a free slot, and in that of a FIN.
    pub(super) segment: Option<Segment>,
    /// Of what was sent: when, the last time. Of the first slot of an out-of-order range: when something was added to it
    /// last, as a count of such additions.
    pub(super) stamp: u64,
    /// Sequence number of the first octet.
    pub(super) sequence: SequenceNumber,
    /// How much of sequence space it is: octets of the segment, or 1 for a FIN.
    pub(super) length: u32,
    /// The slot that follows in sequence space, or on the free list.
    pub(super) next: u32,
    /// In a [`StateList`]: the one that was put in before. Of the first slot of a range: the range's last slot.
    pub(super) older: u32,
    /// In a [`StateList`]: the one that was put in after. Of the first slot of a range: the next range's first slot.
    pub(super) newer: u32,
    pub(super) state: SlotState,
    /// How often it was sent, at most 255.
    pub(super) transmissions: u8,
    /// Pages of the queue's that are free when this slot leaves it. Of those that share a page, the last one pays.
    pub(super) pages: u8,
    /// It ends a segment as it was sent the first time.
    pub(super) ends_segment: bool,
}

#[cfg(target_pointer_width = "64")]
const _: () = assert!(size_of::<SegmentSlot>() == 56);

/// What became of a slot's data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum SlotState {
    /// Received, or not sent yet.
    Waiting,
    /// Sent, and as far as is known still in the network.
    InFlight,
    /// Sent, and marked lost: to be sent again.
    Lost,
    /// Sent, and reported as received out of order.
    Sacked,
}

impl SegmentSlot {
    /// An empty slot.
    pub const EMPTY: Self = SegmentSlot {
        segment: None,
        stamp: 0,
        sequence: SequenceNumber::new(0),
        length: 0,
        next: END,
        older: END,
        newer: END,
        state: SlotState::Waiting,
        transmissions: 0,
        pages: 0,
        ends_segment: false,
    };

    /// The sequence number behind the last octet.
    #[inline]
    pub(super) fn end(&self) -> SequenceNumber {
        self.sequence + self.length
    }

    /// When it was sent last.
    #[inline]
    pub(super) fn sent_at(&self) -> Instant {
        Instant::from_nanos(self.stamp)
    }

    /// Whether it was sent more than once.
    #[inline]
    pub(super) fn is_retransmitted(&self) -> bool {
        self.transmissions > 1
    }

    /// Whether it is a FIN.
    #[inline]
    pub(super) fn is_fin(&self) -> bool {
        self.segment.is_none()
    }

    /// Whether it was sent, and the peer has not reported it.
    #[inline]
    pub(super) fn is_outstanding(&self) -> bool {
        matches!(self.state, SlotState::InFlight | SlotState::Lost)
    }

    /// Another handle of the bytes, which nobody writes from now on. `None` of a FIN.
    #[inline(always)]
    pub(super) fn share(&mut self) -> Option<Segment> {
        let segment = self.segment.take()?.freeze();
        let shared = segment.share();
        self.segment = Some(segment);
        shared
    }

    /// The page, while nothing was sent of it and no other handle reaches its window.
    #[inline]
    pub(super) fn writable(&mut self) -> Option<&mut PageMut> {
        match self.state {
            SlotState::Waiting => self.segment.as_mut()?.as_page_mut(),
            _ => None,
        }
    }

    /// Cuts `count` octets off the front, at most all.
    pub(super) fn advance(&mut self, count: u32) {
        let count = count.min(self.length);
        if let Some(segment) = &mut self.segment {
            // `length` is the segment's: it can't be shorter.
            let _ = segment.advance(count as usize);
        }
        self.sequence += count;
        self.length -= count;
    }
}

impl Default for SegmentSlot {
    fn default() -> Self {
        Self::EMPTY
    }
}

/// The slots of all connections of a stack.
///
/// One slot of eight is set aside for what must not fail for want of a slot that another connection's data took: cutting a
/// piece in two (to send a part of it, or to mark one) and the FIN. What the application gives to be sent, and what is
/// received, finds the table full before that.
///
/// Another one of eight is set aside for what is received, against what is to be sent, and the pieces that a small MSS cuts it into. Two
/// machines that send each other all that they have slots for would else wait for each other's acknowledgements for ever: neither
/// could take what it is to acknowledge.
pub struct SegmentTable<'a> {
    slots: ManagedSlice<'a, SegmentSlot>,
    free_head: u32,
    free: u32,
    /// Slots that were given back, the last 2³² of them.
    released: u32,
    /// Slots that queues of data leave free.
    reserve: u32,
    /// Slots that what is to be sent leaves free beside these.
    for_received: u32,
}

impl<'a> SegmentTable<'a> {
    /// A table of these slots, all free; at most 2³² - 1 of them are used.
    pub fn new(mut slots: ManagedSlice<'a, SegmentSlot>) -> Self {
        let mut free_head = END;
        let count = u32::try_from(slots.len()).unwrap_or(END);
        for (index, slot) in (0..count).zip(slots.iter_mut()) {
            *slot = SegmentSlot::EMPTY;
            slot.next = free_head;
            free_head = index;
        }
        SegmentTable {
            slots,
            free_head,
            free: count,
            released: 0,
            reserve: count / 8,
            for_received: count / 8,
        }
    }

    /// How many slots there are.
    pub fn capacity(&self) -> usize {
        self.slots.len()
    }

    /// How many slots are free, those set aside included.
    pub fn free(&self) -> usize {
        self.free as usize
    }

    /// How many slots are free for data: what the application gives, and what is received.
    pub fn free_for_data(&self) -> usize {
        self.free.saturating_sub(self.reserve) as usize
    }

    /// How many slots are set aside for what is received.
    pub(super) fn for_received(&self) -> usize {
        self.for_received as usize
    }

    /// How many of these are free for what the application gives, and for cuts of it.
    pub fn free_for_sending(&self) -> usize {
        self.free
            .saturating_sub(self.reserve)
            .saturating_sub(self.for_received) as usize
    }

    /// A slot for data, empty.
    #[inline(always)]
    pub(super) fn take_for_data(&mut self) -> Option<u32> {
        if self.free <= self.reserve {
            return None;
        }
        self.take()
    }

    /// A slot for what the reserve is for, empty.
    #[inline]
    pub(super) fn take(&mut self) -> Option<u32> {
        let index = self.free_head;
        let slot = self.slots.get_mut(index as usize)?;
        self.free_head = slot.next;
        slot.next = END;
        self.free -= 1;
        Some(index)
    }

    /// Gives a slot back; its segment falls.
    #[inline(always)]
    pub(super) fn release(&mut self, index: u32) {
        if let Some(slot) = self.slots.get_mut(index as usize) {
            *slot = SegmentSlot::EMPTY;
            slot.next = self.free_head;
            self.free_head = index;
            self.free += 1;
            self.released = self.released.wrapping_add(1);
        }
    }

    /// A number that is another one whenever a slot was given back since.
    #[inline]
    pub(super) fn released(&self) -> u32 {
        self.released
    }

    /// So few slots are free that a connection with nothing in the network may find none: for its FIN, or for the pieces that what it
    /// has to send must be cut into.
    #[inline]
    pub(super) fn is_spent(&self) -> bool {
        self.free as usize <= self.for_received() / 2
    }

    /// The slot with this number; `None` of [`END`].
    #[inline]
    pub(super) fn get(&self, index: u32) -> Option<&SegmentSlot> {
        self.slots.get(index as usize)
    }

    /// The slot with this number, to be changed; `None` of [`END`].
    #[inline]
    pub(super) fn get_mut(&mut self, index: u32) -> Option<&mut SegmentSlot> {
        self.slots.get_mut(index as usize)
    }

    /// The slot that follows in sequence space.
    #[inline]
    pub(super) fn next(&self, index: u32) -> u32 {
        self.get(index).map_or(END, |slot| slot.next)
    }

    /// Cuts the slot at `at` octets: it keeps the front, and the slot whose number is given has the back, in the same
    /// state, behind it in sequence space. Lists of states are the caller's to mend.
    ///
    /// `None`, and nothing is changed, when there is no slot, or nothing on one side of the cut.
    pub(super) fn split(&mut self, index: u32, at: u32) -> Option<u32> {
        let slot = self.get(index)?;
        if at == 0 || at >= slot.length {
            return None;
        }
        let new = self.take()?;
        let front = self.get_mut(index)?;
        let Some((first, second)) =
            front
                .segment
                .take()
                .and_then(|segment| match cut(segment, at as usize) {
                    Ok(halves) => Some(halves),
                    Err(whole) => {
                        front.segment = Some(whole);
                        None
                    }
                })
        else {
            self.release(new);
            return None;
        };
        front.segment = Some(first);
        let back = SegmentSlot {
            segment: Some(second),
            stamp: front.stamp,
            sequence: front.sequence + at,
            length: front.length - at,
            next: front.next,
            older: END,
            newer: END,
            state: front.state,
            transmissions: front.transmissions,
            pages: front.pages,
            ends_segment: front.ends_segment,
        };
        front.length = at;
        front.next = new;
        front.pages = 0;
        front.ends_segment = false;
        if let Some(slot) = self.get_mut(new) {
            *slot = back;
        }
        Some(new)
    }
}

impl fmt::Debug for SegmentTable<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SegmentTable")
            .field("capacity", &self.capacity())
            .field("free", &self.free)
            .finish()
    }
}

/// The two parts of a segment.
///
/// # Errors
/// The segment itself, when it is shorter than `at`, or its block has too many handles.
fn cut(segment: Segment, at: usize) -> Result<(Segment, Segment), Segment> {
    match segment {
        Segment::Unique(page) => match page.split_at(at) {
            Ok((front, back)) => Ok((front.into(), back.into())),
            Err(page) => Err(page.into()),
        },
        mut front => {
            let Some(mut back) = front.share() else {
                return Err(front);
            };
            if back.advance(at).is_err() {
                return Err(front);
            }
            front.truncate(at);
            Ok((front, back))
        }
    }
}

/// A chain of slots in sequence order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct SegmentList {
    pub(super) head: u32,
    pub(super) tail: u32,
    /// Of sequence space, in all.
    pub(super) octets: u32,
    /// Pages that are charged to it.
    pub(super) pages: u32,
}

impl SegmentList {
    pub(super) const EMPTY: Self = SegmentList {
        head: END,
        tail: END,
        octets: 0,
        pages: 0,
    };

    /// Puts a slot at the end.
    #[inline]
    pub(super) fn push_back(&mut self, table: &mut SegmentTable<'_>, index: u32) {
        let Some(slot) = table.get_mut(index) else {
            return;
        };
        slot.next = END;
        self.octets += slot.length;
        self.pages += u32::from(slot.pages);
        match table.get_mut(self.tail) {
            Some(tail) => tail.next = index,
            None => self.head = index,
        }
        self.tail = index;
    }

    /// Takes the first slot out, and frees it; its segment is the caller's.
    #[inline(always)]
    pub(super) fn pop_front(&mut self, table: &mut SegmentTable<'_>) -> Option<Segment> {
        let index = self.head;
        let slot = table.get_mut(index)?;
        let segment = slot.segment.take();
        self.head = slot.next;
        if self.head == END {
            self.tail = END;
        }
        self.octets -= slot.length;
        self.pages -= u32::from(slot.pages);
        table.release(index);
        segment
    }

    /// As [`SegmentTable::split`], of one of its slots: gives the number of the back.
    pub(super) fn split(
        &mut self,
        table: &mut SegmentTable<'_>,
        index: u32,
        at: u32,
    ) -> Option<u32> {
        let new = table.split(index, at)?;
        if self.tail == index {
            self.tail = new;
        }
        Some(new)
    }

    /// Frees all its slots, and what they hold.
    pub(super) fn clear(&mut self, table: &mut SegmentTable<'_>) {
        while self.head != END {
            let next = table.next(self.head);
            table.release(self.head);
            self.head = next;
        }
        *self = Self::EMPTY;
    }
}

/// A chain of sent slots of one [`SlotState`], in the order in which they came to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct StateList {
    pub(super) head: u32,
    pub(super) tail: u32,
    /// Of sequence space, in all.
    pub(super) octets: u32,
}

impl StateList {
    pub(super) const EMPTY: Self = StateList {
        head: END,
        tail: END,
        octets: 0,
    };

    /// Puts a slot at the end: the newest.
    #[inline]
    pub(super) fn push_back(&mut self, table: &mut SegmentTable<'_>, index: u32) {
        let Some(slot) = table.get_mut(index) else {
            return;
        };
        (slot.older, slot.newer) = (self.tail, END);
        self.octets += slot.length;
        match table.get_mut(self.tail) {
            Some(tail) => tail.newer = index,
            None => self.head = index,
        }
        self.tail = index;
    }

    /// Puts a slot at the beginning: the oldest.
    #[inline]
    pub(super) fn push_front(&mut self, table: &mut SegmentTable<'_>, index: u32) {
        let Some(slot) = table.get_mut(index) else {
            return;
        };
        (slot.older, slot.newer) = (END, self.head);
        self.octets += slot.length;
        match table.get_mut(self.head) {
            Some(head) => head.older = index,
            None => self.tail = index,
        }
        self.head = index;
    }

    /// Takes a slot out, wherever it is.
    #[inline]
    pub(super) fn remove(&mut self, table: &mut SegmentTable<'_>, index: u32) {
        let Some(slot) = table.get_mut(index) else {
            return;
        };
        let (older, newer) = (slot.older, slot.newer);
        (slot.older, slot.newer) = (END, END);
        self.octets -= slot.length;
        match table.get_mut(older) {
            Some(older) => older.newer = newer,
            None => self.head = newer,
        }
        match table.get_mut(newer) {
            Some(newer) => newer.older = older,
            None => self.tail = older,
        }
    }

    /// Puts `back`, which was split off `front`, behind it; the octets of both are counted already.
    #[inline]
    pub(super) fn insert_split(&mut self, table: &mut SegmentTable<'_>, front: u32, back: u32) {
        let Some(slot) = table.get_mut(front) else {
            return;
        };
        let newer = core::mem::replace(&mut slot.newer, back);
        if let Some(slot) = table.get_mut(back) {
            (slot.older, slot.newer) = (front, newer);
        }
        match table.get_mut(newer) {
            Some(newer) => newer.older = back,
            None => self.tail = back,
        }
    }
}

#[cfg(test)]
mod tests;
