//! What was received, in order and out of it, until the application reads it.
//!
//! Data stay in the pages that they came in, exchanged for pages of the pool's general part, so that a device's receive
//! reserve is never held by a queue. What came out of order is kept in *ranges*, each a chain of slots without a gap; there
//! are at most [`MAX_RANGES`] of them, so that finding the place of a segment is a bounded search, whatever a peer sends.

use mirage_core::{Frame, Pool, Segment};

use super::SequenceNumber;
use super::segments::{END, SegmentList, SegmentTable, SlotState};
use crate::wire::tcp::{SackBlock, SackBlocks};

/// The most ranges of data out of order that a connection keeps: a queue on the way that overflows takes every other segment
/// out of hundreds. A segment that would make one more is dropped; the peer sends it again.
pub const MAX_RANGES: u16 = 256;

/// The bounds of one queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReceiveLimits {
    /// Pages, of all that is in the queue. From half of it on, or when the pool runs low, a segment that fills less than
    /// half of its page is copied behind the one before it, where there is room.
    pub pages: u32,
}

/// What became of a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Arrival {
    /// How far RCV.NXT moved, the FIN included.
    pub advanced: u32,
    /// RCV.NXT moved over the FIN: the peer sends no more, and all was received.
    pub fin: bool,
    /// It is to be acknowledged at once: it was out of order, or a duplicate, or it filled a gap or a part of one
    /// (RFC 5681 §4.2), or something of it was refused.
    pub acknowledge_now: bool,
    /// Octets that were received before.
    pub duplicate: u32,
    /// Octets that lay beyond the window, or behind the FIN, and were cut off.
    pub outside: u32,
    /// Octets that were copied, into a page that another segment is in.
    pub copied: u32,
    /// Octets that waited out of order, and were dropped to make room for what comes before them. The peer sends them
    /// again.
    pub dropped: u32,
    /// Why the rest was dropped, if it was.
    pub refused: Option<Refused>,
}

/// Why something that was in the window was dropped. It was not acknowledged: the peer sends it again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Refused {
    /// No slot is free for data.
    NoSlots,
    /// The queue has as many pages as it may.
    PageLimit,
    /// The pool's general part has no page to exchange.
    NoPages,
    /// There are [`MAX_RANGES`] ranges out of order already.
    TooManyRanges,
}

/// Received data of one connection, and its FIN.
///
/// Slots and pages are the stack's: whoever drops a queue that isn't empty calls [`clear`](Self::clear) before.
#[derive(Debug)]
pub struct ReceiveQueue {
    /// In order, unread.
    ready: SegmentList,
    /// The ranges out of order: the first slot of each is chained to that of the next.
    first: u32,
    /// The first slot of the last range.
    last: u32,
    ranges: u16,
    /// Octets and pages out of order.
    waiting: u32,
    waiting_pages: u32,
    /// RCV.NXT.
    next: SequenceNumber,
    /// The peer's FIN, once it was seen.
    fin: Option<SequenceNumber>,
    finished: bool,
    /// What was received twice, and was not reported yet (RFC 2883).
    duplicate: Option<SackBlock>,
    /// Counts what was added to ranges: which is the most recent.
    additions: u32,
}

impl ReceiveQueue {
    /// An empty queue; the first octet has the number `next`: the one behind the peer's SYN.
    pub const fn new(next: SequenceNumber) -> Self {
        ReceiveQueue {
            ready: SegmentList::EMPTY,
            first: END,
            last: END,
            ranges: 0,
            waiting: 0,
            waiting_pages: 0,
            next,
            fin: None,
            finished: false,
            duplicate: None,
            additions: 0,
        }
    }

    /// RCV.NXT: the first sequence number that was not received.
    #[inline]
    pub fn next(&self) -> SequenceNumber {
        self.next
    }

    /// Octets that can be read.
    #[inline]
    pub fn readable(&self) -> u32 {
        self.ready.octets
    }

    /// Octets that wait for what is missing before them.
    pub fn out_of_order(&self) -> u32 {
        self.waiting
    }

    /// Ranges that wait, at most [`MAX_RANGES`].
    pub fn ranges(&self) -> u16 {
        self.ranges
    }

    /// Whether something waits for what is missing before it.
    #[inline]
    pub fn has_gap(&self) -> bool {
        self.first != END
    }

    /// Pages that are charged to the queue.
    #[inline]
    pub fn pages(&self) -> u32 {
        self.ready.pages + self.waiting_pages
    }

    /// Whether all was received, up to the peer's FIN.
    pub fn is_finished(&self) -> bool {
        self.finished
    }

    /// Whether all was received and read.
    pub fn is_drained(&self) -> bool {
        self.finished && self.ready.head == END
    }

    /// Gives all slots and pages back.
    pub fn clear(&mut self, table: &mut SegmentTable<'_>) {
        self.ready.clear(table);
        while self.first != END {
            let next = table.get(self.first).map_or(END, |slot| slot.newer);
            self.release_range(table, self.first);
            self.first = next;
        }
        self.last = END;
        self.ranges = 0;
        self.waiting = 0;
        self.waiting_pages = 0;
    }

    /// Takes a segment's payload, without its headers, and its FIN (input).
    ///
    /// `window` is RCV.WND: octets from [`next`](Self::next) on that the peer was allowed to send. What lies beyond is cut
    /// off, and a FIN with it. What was received before is cut off too.
    #[allow(clippy::too_many_arguments)]
    pub fn handle_segment(
        &mut self,
        table: &mut SegmentTable<'_>,
        pool: &'static Pool,
        limits: &ReceiveLimits,
        window: u32,
        sequence: SequenceNumber,
        payload: Frame,
        fin: bool,
    ) -> Arrival {
        let mut arrival = Arrival::default();
        let mut piece = Piece {
            sequence,
            length: payload.len() as u32,
            payload,
        };
        let fin = self.trim_right(table, &mut piece, window, fin, &mut arrival);
        if let Some(at) = fin
            && self.fin.is_none()
        {
            self.fin = Some(at);
        }
        let had_gap = self.has_gap();
        let is_before = piece.sequence.is_before(self.next);
        if is_before {
            let count = piece.length.min(self.next.distance_from(piece.sequence));
            self.note_duplicate(piece.sequence, count, &mut arrival);
            piece.advance(count);
        }
        if piece.length > 0 {
            let from = Store {
                pool,
                limits: *limits,
                // What comes next while nothing waits to be read goes on in any case, in one of the last slots if need be.
                any_slot: piece.sequence == self.next && self.ready.head == END,
            };
            if piece.sequence == self.next {
                self.take_in_order(table, from, piece, &mut arrival);
            } else {
                arrival.acknowledge_now = true;
                self.take_out_of_order(table, from, piece, &mut arrival);
            }
        } else if fin.is_some_and(|at| at != self.next || self.finished) {
            // A FIN without what is before it, or once more.
            arrival.acknowledge_now = true;
        }
        if !self.finished && self.fin == Some(self.next) {
            self.finished = true;
            self.next += 1;
            arrival.advanced += 1;
            arrival.fin = true;
        }
        arrival.acknowledge_now |= had_gap || arrival.refused.is_some() || arrival.outside > 0;
        arrival
    }

    /// Cuts off what lies beyond the window, and behind the FIN. Gives the number of the FIN, if it is to be believed.
    fn trim_right(
        &self,
        table: &SegmentTable<'_>,
        piece: &mut Piece,
        window: u32,
        fin: bool,
        arrival: &mut Arrival,
    ) -> Option<SequenceNumber> {
        let end = match self.fin {
            _ if self.finished => self.next,
            Some(known) => known.earliest(self.next + window),
            None => self.next + window,
        };
        let piece_end = piece.sequence + piece.length;
        if piece_end.is_after(end) {
            let excess = piece_end.distance_from(end).min(piece.length);
            piece.truncate(piece.length - excess);
            arrival.outside += excess;
            // What it ended is not here any more.
            return None;
        }
        if !fin {
            return None;
        }
        if self.fin == Some(piece_end) || self.is_behind(piece_end) {
            return Some(piece_end);
        }
        // A first one needs an octet of the window, and lies before nothing that was received.
        let is_first = self.fin.is_none()
            && piece_end.is_at_or_after(self.next)
            && piece_end.is_before(end)
            && self
                .range_end(table, self.last)
                .is_none_or(|received| received.is_at_or_before(piece_end));
        is_first.then_some(piece_end)
    }

    /// Whether `fin` is the number of the FIN that RCV.NXT is behind.
    fn is_behind(&self, fin: SequenceNumber) -> bool {
        self.finished && fin + 1 == self.next
    }

    /// What comes next: it can be read at once, and so can the ranges that it reaches.
    fn take_in_order(
        &mut self,
        table: &mut SegmentTable<'_>,
        from: Store,
        piece: Piece,
        arrival: &mut Arrival,
    ) {
        let start = self.next;
        self.make_room(table, from, &piece, arrival);
        let pages = self.waiting_pages;
        let mut target = self.ready;
        let stored = from.store(table, &mut target, pages, piece, arrival);
        self.ready = target;
        self.next += stored;
        self.reach_ranges(table, arrival);
        arrival.advanced += self.next.distance_from(start);
    }

    /// Drops what lies farthest out of order, where that has the room that what comes next needs: else the queue could be
    /// full, with nothing to read, for ever. What is dropped was reported, and may be (RFC 2018 §8).
    fn make_room(
        &mut self,
        table: &mut SegmentTable<'_>,
        from: Store,
        piece: &Piece,
        arrival: &mut Arrival,
    ) {
        let needed = piece.payload.segments().len();
        while self.last != END
            && (self.pages() as usize + needed > from.limits.pages as usize
                || table.free_for_data() < needed
                || from.pool.free() < needed)
        {
            let (mut before, mut index) = (END, self.first);
            while index != self.last {
                before = index;
                index = table.get(index).map_or(self.last, |range| range.newer);
            }
            let waiting = self.waiting;
            self.unlink_range(table, before, index);
            arrival.dropped += waiting - self.waiting;
        }
    }

    /// Makes readable what is not out of order any more.
    fn reach_ranges(&mut self, table: &mut SegmentTable<'_>, arrival: &mut Arrival) {
        while let Some(head) = table.get(self.first)
            && head.sequence.is_at_or_before(self.next)
        {
            let index = self.first;
            let (next_range, tail) = (head.newer, head.older);
            let overlap = self.next.distance_from(head.sequence);
            let range = self.measure_range(table, index, tail);
            self.waiting -= range.octets;
            self.waiting_pages -= range.pages;
            self.ranges -= 1;
            self.first = next_range;
            if next_range == END {
                self.last = END;
            }
            self.splice(table, range, overlap, arrival);
        }
    }

    /// Appends a range to what can be read, without its first `overlap` octets.
    fn splice(
        &mut self,
        table: &mut SegmentTable<'_>,
        mut range: SegmentList,
        overlap: u32,
        arrival: &mut Arrival,
    ) {
        arrival.duplicate += overlap.min(range.octets);
        let mut overlap = overlap;
        while let Some(head) = table.get_mut(range.head)
            && overlap > 0
        {
            if head.length > overlap {
                head.advance(overlap);
                range.octets -= overlap;
                break;
            }
            overlap -= head.length;
            drop(range.pop_front(table));
        }
        if range.head == END {
            return;
        }
        self.next += range.octets;
        match table.get_mut(self.ready.tail) {
            Some(tail) => tail.next = range.head,
            None => self.ready.head = range.head,
        }
        self.ready.tail = range.tail;
        self.ready.octets += range.octets;
        self.ready.pages += range.pages;
    }

    /// Finds the place of a piece among the ranges: at most [`MAX_RANGES`] steps, and one when it is the last.
    fn take_out_of_order(
        &mut self,
        table: &mut SegmentTable<'_>,
        from: Store,
        mut piece: Piece,
        arrival: &mut Arrival,
    ) {
        // The last range that begins at or before the piece.
        let mut before = END;
        let mut after = self.first;
        if let Some(last) = table.get(self.last)
            && last.sequence.is_at_or_before(piece.sequence)
        {
            (before, after) = (self.last, END);
        } else {
            while let Some(range) = table.get(after)
                && range.sequence.is_at_or_before(piece.sequence)
            {
                before = after;
                after = range.newer;
            }
        }
        let before_end = self.range_end(table, before);
        if let Some(end) = before_end
            && end.is_after(piece.sequence)
        {
            let count = piece.length.min(end.distance_from(piece.sequence));
            self.note_duplicate(piece.sequence, count, arrival);
            piece.advance(count);
            if piece.length == 0 {
                // The most recent report is of the range that it is in (RFC 2018 §4).
                self.stamp(table, before);
                return;
            }
        }
        // What follows and is covered whole goes; of what is covered in part the piece is cut.
        let piece_end = piece.sequence + piece.length;
        while let Some(range) = table.get(after)
            && range.sequence.is_before(piece_end)
        {
            let start = range.sequence;
            let next = range.newer;
            let end = self.range_end(table, after).unwrap_or(start);
            if end.is_after(piece_end) {
                let count = piece_end.distance_from(start);
                self.note_duplicate(start, count, arrival);
                piece.truncate(piece.length - count);
                break;
            }
            self.note_duplicate(start, end.distance_from(start), arrival);
            self.unlink_range(table, before, after);
            after = next;
        }
        self.add_to_ranges(table, from, piece, before, after, arrival);
    }

    /// Stores a piece that overlaps no range, between two of them.
    fn add_to_ranges(
        &mut self,
        table: &mut SegmentTable<'_>,
        from: Store,
        piece: Piece,
        before: u32,
        after: u32,
        arrival: &mut Arrival,
    ) {
        let touches_before = self.range_end(table, before) == Some(piece.sequence);
        if !touches_before && self.ranges >= MAX_RANGES {
            arrival.refused = Some(Refused::TooManyRanges);
            return;
        }
        let mut list = SegmentList::EMPTY;
        if touches_before && let Some(head) = table.get(before) {
            // Behind the tail: what is counted is what comes to it.
            (list.head, list.tail) = (before, head.older);
        }
        let pages = self.pages();
        let octets = from.store(table, &mut list, pages, piece, arrival);
        if octets == 0 {
            return;
        }
        self.waiting += octets;
        self.waiting_pages += list.pages;
        let head = list.head;
        if let Some(slot) = table.get_mut(head) {
            slot.older = list.tail;
        }
        if !touches_before {
            self.link_range(table, before, head, after);
        }
        self.join_ranges(table, head, after);
        self.stamp(table, head);
    }

    /// Puts a range of its own between two others.
    fn link_range(&mut self, table: &mut SegmentTable<'_>, before: u32, head: u32, after: u32) {
        match table.get_mut(before) {
            Some(before) => before.newer = head,
            None => self.first = head,
        }
        if let Some(slot) = table.get_mut(head) {
            slot.newer = after;
        }
        if after == END {
            self.last = head;
        }
        self.ranges += 1;
    }

    /// Makes one range of two, when they touch.
    fn join_ranges(&mut self, table: &mut SegmentTable<'_>, head: u32, after: u32) {
        let Some(follower) = table.get(after) else {
            return;
        };
        if self.range_end(table, head) != Some(follower.sequence) {
            return;
        }
        let (tail, next) = (follower.older, follower.newer);
        if let Some(slot) = table.get_mut(after) {
            (slot.older, slot.newer) = (END, END);
        }
        let Some(slot) = table.get_mut(head) else {
            return;
        };
        let own_tail = core::mem::replace(&mut slot.older, tail);
        slot.newer = next;
        if let Some(slot) = table.get_mut(own_tail) {
            slot.next = after;
        }
        if self.last == after {
            self.last = head;
        }
        self.ranges -= 1;
    }

    /// Takes a range out, with all that it holds.
    fn unlink_range(&mut self, table: &mut SegmentTable<'_>, before: u32, index: u32) {
        let Some(range) = table.get(index) else {
            return;
        };
        let (next, tail) = (range.newer, range.older);
        let measured = self.measure_range(table, index, tail);
        self.waiting -= measured.octets;
        self.waiting_pages -= measured.pages;
        self.ranges -= 1;
        match table.get_mut(before) {
            Some(before) => before.newer = next,
            None => self.first = next,
        }
        if self.last == index {
            self.last = before;
        }
        self.release_range(table, index);
    }

    /// Frees the slots of a range.
    fn release_range(&self, table: &mut SegmentTable<'_>, index: u32) {
        let mut index = index;
        while index != END {
            let next = table.next(index);
            table.release(index);
            index = next;
        }
    }

    /// A range as a list, its octets and pages counted: a step for each slot, once in the life of each.
    fn measure_range(&self, table: &SegmentTable<'_>, head: u32, tail: u32) -> SegmentList {
        let mut list = SegmentList {
            head,
            tail,
            ..SegmentList::EMPTY
        };
        let mut index = head;
        while let Some(slot) = table.get(index) {
            list.octets += slot.length;
            list.pages += u32::from(slot.pages);
            index = slot.next;
        }
        list
    }

    /// Behind the last octet of the range whose first slot this is.
    fn range_end(&self, table: &SegmentTable<'_>, head: u32) -> Option<SequenceNumber> {
        let tail = table.get(head)?.older;
        Some(table.get(tail)?.end())
    }

    /// Something was added to a range, or came again: it is the most recent one.
    fn stamp(&mut self, table: &mut SegmentTable<'_>, head: u32) {
        self.additions = self.additions.wrapping_add(1);
        if let Some(slot) = table.get_mut(head) {
            slot.stamp = u64::from(self.additions);
        }
    }

    fn note_duplicate(&mut self, left: SequenceNumber, count: u32, arrival: &mut Arrival) {
        if count > 0 {
            arrival.duplicate += count;
            arrival.acknowledge_now = true;
            // RFC 2883 §4: the first duplicate that was not reported; one block is all that an acknowledgement has.
            self.duplicate.get_or_insert(SackBlock {
                left,
                right: left + count,
            });
        }
    }

    /// What to report, at most `most` blocks (output): what was received twice first, once (RFC 2883); then what is out of
    /// order, the most recent first (RFC 2018 §4).
    pub fn sack_blocks(&mut self, table: &SegmentTable<'_>, most: usize) -> SackBlocks {
        let mut blocks = SackBlocks::EMPTY;
        if most == 0 {
            return blocks;
        }
        if let Some(duplicate) = self.duplicate.take() {
            blocks.push(duplicate);
            // RFC 2883 §4.2: a duplicate of what is out of order is followed by the block that it is in, which the stamp
            // has made the most recent.
        }
        let most = most.min(SackBlocks::MAX) - blocks.len();
        // The most recent ranges, most recent first.
        let mut recent = [(0, END); SackBlocks::MAX];
        let mut index = self.first;
        while let Some(range) = table.get(index) {
            let mut one = (self.recency(range.stamp), index);
            for known in &mut recent {
                if known.1 == END || known.0 < one.0 {
                    core::mem::swap(known, &mut one);
                }
            }
            index = range.newer;
        }
        for (_, index) in recent.into_iter().take(most) {
            let left = table.get(index).map(|slot| slot.sequence);
            if let (Some(left), Some(mut right)) = (left, self.range_end(table, index)) {
                // The FIN is one of sequence space.
                right += u32::from(self.fin == Some(right));
                blocks.push(SackBlock { left, right });
            }
        }
        blocks
    }

    /// The larger the more recent, also when the count has wrapped.
    fn recency(&self, stamp: u64) -> u64 {
        u64::from(u32::MAX) - u64::from(self.additions.wrapping_sub(stamp as u32))
    }

    /// The oldest piece that can be read, with its page (output).
    pub fn receive(&mut self, table: &mut SegmentTable<'_>) -> Option<Segment> {
        self.ready.pop_front(table)
    }

    /// The oldest piece that can be read, left where it is; empty when there is none.
    pub fn peek<'t>(&self, table: &'t SegmentTable<'_>) -> &'t [u8] {
        let slot = table.get(self.ready.head);
        slot.and_then(|slot| slot.segment.as_deref()).unwrap_or(&[])
    }

    /// Drops the first `count` octets that can be read, or all; says how many that were.
    pub fn consume(&mut self, table: &mut SegmentTable<'_>, count: usize) -> usize {
        let mut rest = count;
        while let Some(slot) = table.get_mut(self.ready.head)
            && rest > 0
        {
            if slot.length as usize > rest {
                slot.advance(rest as u32);
                self.ready.octets -= rest as u32;
                return count;
            }
            rest -= slot.length as usize;
            drop(self.ready.pop_front(table));
        }
        count - rest
    }

    /// Copies what can be read, as much as there is room for, and drops it; says how much.
    pub fn copy_to_slice(&mut self, table: &mut SegmentTable<'_>, to: &mut [u8]) -> usize {
        let mut copied = 0;
        while copied < to.len() {
            let piece = self.peek(table);
            let count = piece.len().min(to.len() - copied);
            if count == 0 {
                break;
            }
            to[copied..copied + count].copy_from_slice(&piece[..count]);
            self.consume(table, count);
            copied += count;
        }
        copied
    }
}

/// A part of a segment that is looked at.
struct Piece {
    sequence: SequenceNumber,
    length: u32,
    payload: Frame,
}

impl Piece {
    /// Cuts `count` octets off the front, at most all.
    fn advance(&mut self, count: u32) {
        let count = count.min(self.length);
        // `length` is the frame's: it can't be shorter.
        let _ = self.payload.advance(count as usize);
        self.sequence += count;
        self.length -= count;
    }

    fn truncate(&mut self, length: u32) {
        self.payload.truncate(length as usize);
        self.length = self.length.min(length);
    }
}

/// How pieces come into slots.
#[derive(Clone, Copy)]
struct Store {
    pool: &'static Pool,
    limits: ReceiveLimits,
    /// The first may have a slot that is set aside.
    any_slot: bool,
}

impl Store {
    /// Appends a piece to `list`, which has `pages` beside its own; gives how many octets found room, from the front.
    fn store(
        &self,
        table: &mut SegmentTable<'_>,
        list: &mut SegmentList,
        pages: u32,
        piece: Piece,
        arrival: &mut Arrival,
    ) -> u32 {
        let mut sequence = piece.sequence;
        let mut stored = 0;
        for segment in piece.payload.into_segments() {
            let length = segment.len() as u32;
            if length == 0 {
                continue;
            }
            let used = pages + list.pages;
            if self.is_crowded(used)
                && self.is_small(&segment)
                && append_copy(table, list, &segment)
            {
                arrival.copied += length;
            } else if let Err(refused) = self.keep(table, list, used, sequence, segment) {
                arrival.refused = Some(refused);
                break;
            }
            sequence += length;
            stored += length;
        }
        stored
    }

    /// Half of the pages are taken, or the pool runs low.
    fn is_crowded(&self, used: u32) -> bool {
        used >= self.limits.pages / 2 || self.pool.free() <= self.pool.blocks() / 16
    }

    fn is_small(&self, segment: &Segment) -> bool {
        2 * segment.len() < self.pool.block_size()
    }

    fn keep(
        &self,
        table: &mut SegmentTable<'_>,
        list: &mut SegmentList,
        used: u32,
        sequence: SequenceNumber,
        segment: Segment,
    ) -> Result<(), Refused> {
        let pages = u8::from(!matches!(segment, Segment::Static(_)));
        if used + u32::from(pages) > self.limits.pages {
            return Err(Refused::PageLimit);
        }
        let index = match self.any_slot && list.head == END {
            true => table.take(),
            false => table.take_for_data(),
        };
        let Some(index) = index else {
            return Err(Refused::NoSlots);
        };
        // A queue keeps a received page only in exchange for one of the general part.
        let Ok(segment) = segment.keep() else {
            table.release(index);
            return Err(Refused::NoPages);
        };
        if let Some(slot) = table.get_mut(index) {
            slot.sequence = sequence;
            slot.length = segment.len() as u32;
            slot.pages = pages;
            slot.state = SlotState::Waiting;
            slot.segment = Some(segment);
        }
        list.push_back(table, index);
        Ok(())
    }
}

/// Copies a segment behind the octets of the list's last slot, if there is room in its page that nobody else has.
fn append_copy(table: &mut SegmentTable<'_>, list: &mut SegmentList, segment: &Segment) -> bool {
    let Some(slot) = table.get_mut(list.tail) else {
        return false;
    };
    let Some(page) = slot.writable() else {
        return false;
    };
    if page.extend_from_slice(segment).is_err() {
        return false;
    }
    slot.length += segment.len() as u32;
    list.octets += segment.len() as u32;
    true
}

#[cfg(test)]
mod tests;
