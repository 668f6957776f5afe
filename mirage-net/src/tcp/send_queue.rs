//! What the application gave to be sent, until it is acknowledged.
//!
//! The queue is a chain of slots in sequence order: first what was sent, then what was not. A slot that was sent is also in
//! one of two lists, or in none when the peer has reported it (SACK):
//!
//! - *in flight*, in the order in which it was sent last. Its octets are the "pipe" of RFC 6675, and its oldest slot is the
//!   first that RACK looks at, so that an acknowledgement costs as much as what it says, however much is outstanding;
//! - *lost*: to be sent again.
//!
//! The SYN is not in the queue, which begins behind it. The FIN is: it is one of sequence space, and lies in no page.

use core::cmp::min;

use mirage_core::{Frame, Instant, Pool, Segment};

use super::SequenceNumber;
use super::segments::{END, SegmentList, SegmentSlot, SegmentTable, SlotState, StateList};

/// What was put into a frame to be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Transmission {
    /// Sequence number of the first octet, or of the FIN.
    pub sequence: SequenceNumber,
    /// Octets of payload.
    pub octets: u32,
    /// The FIN follows the payload.
    pub fin: bool,
    /// It was sent before.
    pub retransmission: bool,
    /// Nothing unsent is left behind it: the segment is to be pushed (RFC 9293 §3.9.1.2, SHLD-27).
    pub last: bool,
}

/// Where the FIN is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fin {
    /// The application may still send.
    Open,
    /// To be sent behind all data; it has no slot yet.
    Wanted,
    /// In the queue, sent.
    Sent,
    /// Acknowledged.
    Acknowledged,
    /// There will be none: the queue was cleared.
    Cleared,
}

/// Data of one connection, unsent or unacknowledged, and its FIN.
///
/// Slots and pages are the stack's: whoever drops a queue that isn't empty calls [`clear`](Self::clear) before.
#[derive(Debug)]
pub struct SendQueue {
    pub(super) list: SegmentList,
    pub(super) flight: StateList,
    pub(super) lost: StateList,
    /// The first slot that was never sent.
    pub(super) unsent: u32,
    /// The last slot that was sent; means something while anything is unacknowledged.
    pub(super) last_sent: u32,
    /// The last data that were sent before the FIN, while they are unacknowledged.
    last_data: u32,
    /// The first slot of the run of slots that was reported by SACK last: the next block is likely to begin there or behind.
    pub(super) finger: u32,
    /// When the last slot was sent, in nanoseconds: no two have the same, so that their order is told by it.
    sent_at: u64,
    unacknowledged: SequenceNumber,
    next: SequenceNumber,
    /// Of sequence space, reported by SACK.
    pub(super) sacked: u32,
    /// Segments that are reported by SACK, as they were sent first.
    pub(super) sacked_segments: u32,
    /// Slots that were sent.
    sent_slots: u32,
    fin: Fin,
}

impl SendQueue {
    /// An empty queue; the first octet will have the number `first`: the one behind the SYN.
    pub const fn new(first: SequenceNumber) -> Self {
        SendQueue {
            list: SegmentList::EMPTY,
            flight: StateList::EMPTY,
            lost: StateList::EMPTY,
            unsent: END,
            last_sent: END,
            last_data: END,
            finger: END,
            sent_at: 0,
            unacknowledged: first,
            next: first,
            sacked: 0,
            sacked_segments: 0,
            sent_slots: 0,
            fin: Fin::Open,
        }
    }

    /// Queues a segment: a page, or static data, to be sent from where it lies. An empty one is dropped. A page of a device's
    /// receive reserve is exchanged for one of the pool's general part.
    ///
    /// # Errors
    /// The segment itself, after [`finish`](Self::finish), when no slot is free for sending, when the general part has no page
    /// to exchange, or when the queue would exceed 2³⁰ octets.
    pub fn push(&mut self, table: &mut SegmentTable<'_>, segment: Segment) -> Result<(), Segment> {
        let length = match u32::try_from(segment.len()) {
            Ok(0) => return Ok(()),
            Ok(length) if length <= MAX_OCTETS - min(self.list.octets, MAX_OCTETS) => length,
            _ => return Err(segment),
        };
        if self.fin != Fin::Open {
            return Err(segment);
        }
        if table.free_for_sending() == 0 {
            return Err(segment);
        }
        let segment = segment.keep()?;
        let Some(index) = table.take_for_data() else {
            return Err(segment);
        };
        let sequence = self.data_end();
        if let Some(slot) = table.get_mut(index) {
            slot.sequence = sequence;
            slot.length = length;
            slot.pages = u8::from(!matches!(segment, Segment::Static(_)));
            slot.segment = Some(segment);
        }
        self.list.push_back(table, index);
        if self.unsent == END {
            self.unsent = index;
        }
        Ok(())
    }

    /// Queues a copy of `bytes`, as much as there is room for, and says how much that was: behind what is unsent in the
    /// last page, then in new pages of the pool's general part, while the queue has fewer than `pages`.
    pub fn write(
        &mut self,
        table: &mut SegmentTable<'_>,
        pool: &'static Pool,
        bytes: &[u8],
        pages: u32,
    ) -> usize {
        let mut rest = bytes;
        while !rest.is_empty() && self.fin == Fin::Open {
            let room = (MAX_OCTETS - min(self.list.octets, MAX_OCTETS)) as usize;
            let now = &rest[..min(rest.len(), room)];
            let mut count = self.write_to_tail(table, now);
            if count == 0 {
                count = self.write_to_new_page(table, pool, now, pages);
            }
            if count == 0 {
                break;
            }
            rest = &rest[count..];
        }
        bytes.len() - rest.len()
    }

    fn write_to_new_page(
        &mut self,
        table: &mut SegmentTable<'_>,
        pool: &'static Pool,
        bytes: &[u8],
        pages: u32,
    ) -> usize {
        if self.list.pages >= pages || table.free_for_sending() == 0 {
            return 0;
        }
        let Some(mut page) = pool.alloc() else {
            return 0;
        };
        let count = min(page.tailroom(), bytes.len());
        let filled = page.extend_from_slice(&bytes[..count]);
        if filled.is_err() || self.push(table, page.into()).is_err() {
            return 0;
        }
        count
    }

    /// Copies what fits behind the last slot's octets, in its page, while nothing of it was sent.
    fn write_to_tail(&mut self, table: &mut SegmentTable<'_>, bytes: &[u8]) -> usize {
        let Some(slot) = table.get_mut(self.list.tail) else {
            return 0;
        };
        let Some(page) = slot.writable() else {
            return 0;
        };
        let count = min(page.tailroom(), bytes.len());
        if page.extend_from_slice(&bytes[..count]).is_err() {
            return 0;
        }
        slot.length += count as u32;
        self.list.octets += count as u32;
        count
    }

    /// Queues the FIN behind all data: nothing more is taken.
    pub fn finish(&mut self) {
        if self.fin == Fin::Open {
            self.fin = Fin::Wanted;
        }
    }

    /// SND.UNA: the oldest sequence number that is not acknowledged.
    #[inline]
    pub fn unacknowledged(&self) -> SequenceNumber {
        self.unacknowledged
    }

    /// SND.NXT: the first sequence number that was never sent. It is not set back by a time-out.
    #[inline]
    pub fn next(&self) -> SequenceNumber {
        self.next
    }

    /// The sequence number behind all that is queued, and behind the FIN once [`finish`](Self::finish) was called.
    pub fn end(&self) -> SequenceNumber {
        self.data_end() + u32::from(self.fin == Fin::Wanted)
    }

    /// Behind all that has a slot.
    fn data_end(&self) -> SequenceNumber {
        self.unacknowledged + self.list.octets
    }

    /// Octets of data in the queue, sent or not.
    pub fn octets(&self) -> u32 {
        self.list.octets - u32::from(self.fin == Fin::Sent)
    }

    /// Octets of data that were never sent.
    #[inline]
    pub fn unsent_octets(&self) -> u32 {
        self.data_end().distance_from(self.next)
    }

    /// Octets of unsent data, at most `limit`, that lie in no more than so many pieces.
    pub(super) fn octets_in_pieces(
        &self,
        table: &SegmentTable<'_>,
        limit: u32,
        pieces: usize,
    ) -> u32 {
        let mut octets = 0;
        let mut index = self.unsent;
        for _ in 0..pieces {
            let Some(slot) = table.get(index).filter(|_| octets < limit) else {
                break;
            };
            octets += slot.length;
            index = slot.next;
        }
        min(octets, limit)
    }

    /// Whether data or the FIN were never sent.
    #[inline]
    pub fn has_unsent(&self) -> bool {
        self.unsent != END || self.fin == Fin::Wanted
    }

    /// Pages that are charged to the queue.
    pub fn pages(&self) -> u32 {
        self.list.pages
    }

    /// Sequence space that was sent and is not acknowledged: SND.NXT - SND.UNA, "FlightSize" of RFC 5681.
    #[inline]
    pub fn outstanding(&self) -> u32 {
        self.next.distance_from(self.unacknowledged)
    }

    /// Sequence space that is thought to be in the network: neither acknowledged, nor reported by SACK, nor marked lost
    /// since it was sent last. "Pipe" of RFC 6675.
    #[inline]
    pub fn in_flight(&self) -> u32 {
        self.flight.octets
    }

    /// Sequence space that is marked lost, and was not sent again yet.
    #[inline]
    pub fn lost(&self) -> u32 {
        self.lost.octets
    }

    /// Sequence space that the peer has reported by SACK, above what is acknowledged.
    #[inline]
    pub fn sacked(&self) -> u32 {
        self.sacked
    }

    /// Whether [`finish`](Self::finish) was called.
    pub fn is_finished(&self) -> bool {
        self.fin != Fin::Open
    }

    /// Whether the FIN was sent.
    pub fn fin_sent(&self) -> bool {
        matches!(self.fin, Fin::Sent | Fin::Acknowledged)
    }

    /// Whether the FIN was acknowledged, and so all before it.
    pub fn fin_acknowledged(&self) -> bool {
        self.fin == Fin::Acknowledged
    }

    /// Gives all slots and pages back. The queue takes nothing after this.
    pub fn clear(&mut self, table: &mut SegmentTable<'_>) {
        self.list.clear(table);
        let fin = match self.fin {
            Fin::Acknowledged => Fin::Acknowledged,
            _ => Fin::Cleared,
        };
        *self = SendQueue::new(self.next);
        self.fin = fin;
    }

    /// Puts unsent data into `frame`, at most `limit` octets of payload, and marks them sent. The FIN follows the last of
    /// them. No more of sequence space than `window` is taken.
    ///
    /// `None`, when there is nothing to send, no room in the frame, or no slot to cut a piece in two, or when the queue has
    /// its share of them until something is acknowledged.
    pub(super) fn transmit(
        &mut self,
        now: Instant,
        table: &mut SegmentTable<'_>,
        limit: u32,
        window: u32,
        frame: &mut Frame,
    ) -> Option<Transmission> {
        let sequence = self.next;
        let limit = min(limit, window);
        let mut octets = 0;
        while octets < limit
            && let Some(slot) = table.get(self.unsent)
        {
            let room = limit - octets;
            if slot.length > room {
                // One segment goes out in any case, as long as there are slots for those of others to arrive.
                let may_cut = match self.outstanding() {
                    0 => !table.is_spent(),
                    _ => self.may_cut(table),
                };
                if !may_cut || self.list.split(table, self.unsent, room).is_none() {
                    break;
                }
            }
            let Some(slot) = table.get_mut(self.unsent) else {
                break;
            };
            let Some(shared) = slot.share() else {
                break;
            };
            if frame.push(shared).is_err() {
                break;
            }
            octets += slot.length;
            self.mark_sent(now, table);
        }
        let fin = self.unsent == END && octets < window && self.transmit_fin(now, table);
        if octets == 0 && !fin {
            return None;
        }
        if let Some(slot) = table.get_mut(self.last_sent) {
            slot.ends_segment = true;
        }
        Some(Transmission {
            sequence,
            octets,
            fin,
            retransmission: false,
            last: !self.has_unsent(),
        })
    }

    /// Whether what is sent may be cut into more pieces. A peer decides how small they are, by its MSS and by what it reports, so
    /// each queue has at most twice as many as are left for the data of all others: that leaves some to the next one, however many
    /// do so. Where data has taken all that is for it, a few more, of half of what is set aside for cuts; none of what is set aside for
    /// what is received.
    #[inline(always)]
    pub(super) fn may_cut(&self, table: &SegmentTable<'_>) -> bool {
        let sent = self.sent_slots as usize;
        sent < 2 * table.free_for_sending()
            || (sent < FEW && table.free() > table.for_received() + (table.capacity() / 16).max(1))
    }

    /// The first unsent slot is in flight.
    fn mark_sent(&mut self, now: Instant, table: &mut SegmentTable<'_>) {
        let index = self.unsent;
        let stamp = self.stamp(now);
        let Some(slot) = table.get_mut(index) else {
            return;
        };
        slot.stamp = stamp;
        slot.transmissions = 1;
        slot.state = SlotState::InFlight;
        self.next = slot.end();
        self.unsent = slot.next;
        self.last_sent = index;
        self.sent_slots += 1;
        self.flight.push_back(table, index);
    }

    /// The time, or a little more: later than all that was sent before.
    fn stamp(&mut self, now: Instant) -> u64 {
        self.sent_at = now.as_nanos().max(self.sent_at.saturating_add(1));
        self.sent_at
    }

    /// Queues the FIN and marks it sent, if it is wanted and there is a slot for it.
    fn transmit_fin(&mut self, now: Instant, table: &mut SegmentTable<'_>) -> bool {
        if self.fin != Fin::Wanted {
            return false;
        }
        let Some(index) = table.take() else {
            return false;
        };
        if let Some(slot) = table.get_mut(index) {
            slot.sequence = self.next;
            slot.length = 1;
        }
        self.last_data = if self.outstanding() > 0 {
            self.last_sent
        } else {
            END
        };
        self.list.push_back(table, index);
        self.unsent = index;
        self.fin = Fin::Sent;
        self.mark_sent(now, table);
        true
    }

    /// Puts what is marked lost into `frame`, as far as it is contiguous, at most `limit` octets; it is in flight again then.
    /// What the peer waits for, the first that is not acknowledged, goes first; the rest in the order in which it was lost.
    pub(super) fn retransmit_lost(
        &mut self,
        now: Instant,
        table: &mut SegmentTable<'_>,
        limit: u32,
        frame: &mut Frame,
    ) -> Option<Transmission> {
        let mut index = match table.get(self.list.head) {
            Some(slot) if slot.state == SlotState::Lost => self.list.head,
            _ => self.lost.head,
        };
        let sequence = table.get(index)?.sequence;
        let mut sent = Transmission {
            sequence,
            octets: 0,
            fin: false,
            retransmission: true,
            last: false,
        };
        while table
            .get(index)
            .is_some_and(|slot| slot.state == SlotState::Lost)
        {
            if !self.retransmit_slot(now, table, index, limit - sent.octets, frame, &mut sent) {
                break;
            }
            // Looked at now: where the slot was cut, it is the rest that follows.
            index = table.next(index);
        }
        (sent.octets > 0 || sent.fin).then_some(sent)
    }

    /// Puts the last slot that was sent into `frame`, or its last `limit` octets: a probe of the tail. A FIN has the data
    /// before it with it, for a peer may report no lone one.
    pub(super) fn retransmit_last(
        &mut self,
        now: Instant,
        table: &mut SegmentTable<'_>,
        limit: u32,
        frame: &mut Frame,
    ) -> Option<Transmission> {
        let last = self.last_sent;
        let is_fin = table.get(last)?.is_fin();
        let data = if is_fin { self.last_data } else { last };
        let mut sent = Transmission {
            sequence: table.get(last)?.sequence,
            octets: 0,
            fin: false,
            retransmission: true,
            last: true,
        };
        if let Some(index) = self.tail_of(table, data, limit)
            && let Some(sequence) = table.get(index).map(|slot| slot.sequence)
            && self.retransmit_slot(now, table, index, limit, frame, &mut sent)
        {
            sent.sequence = sequence;
        }
        if is_fin && table.get(last).is_some_and(|slot| slot.is_outstanding()) {
            self.retransmit_slot(now, table, last, limit, frame, &mut sent);
        }
        (sent.octets > 0 || sent.fin).then_some(sent)
    }

    /// The slot of the last `limit` octets of one that was sent and is not reported, which is cut for it if it is longer.
    fn tail_of(&mut self, table: &mut SegmentTable<'_>, index: u32, limit: u32) -> Option<u32> {
        let slot = table.get(index).filter(|slot| slot.is_outstanding())?;
        if slot.length <= limit {
            return Some(index);
        }
        let at = slot.length - limit;
        self.split_sent(table, index, at)
    }

    /// Puts the first slot that is not acknowledged into `frame`, at most `limit` octets of it.
    pub(super) fn retransmit_first(
        &mut self,
        now: Instant,
        table: &mut SegmentTable<'_>,
        limit: u32,
        frame: &mut Frame,
    ) -> Option<Transmission> {
        if self.outstanding() == 0 {
            return None;
        }
        if self.is_reneged(table) {
            self.forget_sacked(table);
        }
        let mut sent = Transmission {
            sequence: self.unacknowledged,
            octets: 0,
            fin: false,
            retransmission: true,
            last: false,
        };
        self.retransmit_slot(now, table, self.list.head, limit, frame, &mut sent)
            .then_some(sent)
    }

    /// Puts one slot that was sent, at most `limit` octets of it, into `frame`, and adds it to `sent`. Says whether it did.
    fn retransmit_slot(
        &mut self,
        now: Instant,
        table: &mut SegmentTable<'_>,
        index: u32,
        limit: u32,
        frame: &mut Frame,
        sent: &mut Transmission,
    ) -> bool {
        let Some(slot) = table.get(index) else {
            return false;
        };
        if slot.is_fin() {
            sent.fin = true;
        } else {
            if limit == 0 || (slot.length > limit && self.split_sent(table, index, limit).is_none())
            {
                return false;
            }
            let Some(shared) = table.get_mut(index).and_then(|slot| slot.share()) else {
                return false;
            };
            let octets = shared.len() as u32;
            if frame.push(shared).is_err() {
                return false;
            }
            sent.octets += octets;
        }
        self.leave_state(table, index);
        let stamp = self.stamp(now);
        if let Some(slot) = table.get_mut(index) {
            slot.stamp = stamp;
            slot.transmissions = slot.transmissions.saturating_add(1);
            slot.state = SlotState::InFlight;
        }
        self.flight.push_back(table, index);
        true
    }

    /// Takes a sent slot out of the list of its state, or out of what is counted as SACKed.
    pub(super) fn leave_state(&mut self, table: &mut SegmentTable<'_>, index: u32) {
        let Some(slot) = table.get(index) else {
            return;
        };
        match slot.state {
            SlotState::Waiting => {}
            SlotState::InFlight => self.flight.remove(table, index),
            SlotState::Lost => self.lost.remove(table, index),
            SlotState::Sacked => {
                self.sacked -= slot.length;
                self.sacked_segments -= u32::from(slot.ends_segment);
            }
        }
    }

    /// Cuts a slot that was sent in two, both in its state; gives the number of the back.
    pub(super) fn split_sent(
        &mut self,
        table: &mut SegmentTable<'_>,
        index: u32,
        at: u32,
    ) -> Option<u32> {
        let back = self.list.split(table, index, at)?;
        self.sent_slots += 1;
        match table.get(index)?.state {
            SlotState::InFlight => self.flight.insert_split(table, index, back),
            SlotState::Lost => self.lost.insert_split(table, index, back),
            SlotState::Waiting | SlotState::Sacked => {}
        }
        for last in [&mut self.last_sent, &mut self.last_data] {
            if *last == index {
                *last = back;
            }
        }
        Some(back)
    }

    /// Frees what is acknowledged, up to `to`: at most SND.NXT. What becomes of each slot is told to `each` before: its
    /// number of octets that are acknowledged now, and the slot.
    pub(super) fn acknowledge(
        &mut self,
        table: &mut SegmentTable<'_>,
        to: SequenceNumber,
        mut each: impl FnMut(u32, &SegmentSlot),
    ) -> Acknowledged {
        let before = self.list.pages;
        let mut acknowledged = Acknowledged::default();
        if to.is_after(self.next) || to.is_at_or_before(self.unacknowledged) {
            return acknowledged;
        }
        acknowledged.octets = to.distance_from(self.unacknowledged);
        while let Some(slot) = table.get(self.list.head) {
            let index = self.list.head;
            if !slot.end().is_at_or_before(to) {
                if slot.sequence.is_before(to) {
                    self.acknowledge_part(table, index, to, &mut each);
                }
                break;
            }
            each(slot.length, slot);
            if slot.is_fin() {
                self.fin = Fin::Acknowledged;
                acknowledged.fin = true;
            }
            self.leave_state(table, index);
            if self.last_data == index {
                self.last_data = END;
            }
            self.shorten_run(table);
            self.sent_slots -= 1;
            drop(self.list.pop_front(table));
        }
        self.unacknowledged = to;
        acknowledged.pages = before - self.list.pages;
        acknowledged
    }

    /// The first slot leaves: where it begins a run of slots that are reported by SACK, the next one does.
    fn shorten_run(&mut self, table: &mut SegmentTable<'_>) {
        let index = self.list.head;
        let Some(slot) = table
            .get(index)
            .filter(|slot| slot.state == SlotState::Sacked)
        else {
            return;
        };
        let (last, mut next) = (slot.newer, slot.next);
        if last == index {
            next = END;
        } else {
            if let Some(slot) = table.get_mut(next) {
                slot.newer = last;
            }
            if let Some(slot) = table.get_mut(last) {
                slot.older = next;
            }
        }
        if self.finger == index {
            self.finger = next;
        }
    }

    /// Cuts what is acknowledged off the front of the first slot.
    fn acknowledge_part(
        &mut self,
        table: &mut SegmentTable<'_>,
        index: u32,
        to: SequenceNumber,
        each: &mut impl FnMut(u32, &SegmentSlot),
    ) {
        let Some(slot) = table.get_mut(index) else {
            return;
        };
        let count = to.distance_from(slot.sequence);
        each(count, slot);
        slot.advance(count);
        match slot.state {
            SlotState::Waiting => {}
            SlotState::InFlight => self.flight.octets -= count,
            SlotState::Lost => self.lost.octets -= count,
            SlotState::Sacked => self.sacked -= count,
        }
        self.list.octets -= count;
    }
}

/// Slots that each queue may have sent while few are left.
const FEW: usize = 16;

/// The largest queue: the largest window that RFC 7323 §2.3 allows.
const MAX_OCTETS: u32 = 1 << 30;

/// What an acknowledgement freed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Acknowledged {
    /// Of sequence space.
    pub(super) octets: u32,
    /// Pages that are charged to the queue no more.
    pub(super) pages: u32,
    /// The FIN was among it.
    pub(super) fin: bool,
}

#[cfg(test)]
pub(super) mod tests;
