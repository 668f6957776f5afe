//! What the peer said of each slot that was sent: acknowledged, reported by SACK (RFC 2018, RFC 6675), or not.

use core::time::Duration;

use mirage_core::Instant;

use super::rack::Rack;
use crate::tcp::SequenceNumber;
use crate::tcp::segments::{END, SegmentSlot, SegmentTable, SlotState};
use crate::tcp::send_queue::SendQueue;
use crate::wire::tcp::SackBlock;

/// How many slots one acknowledgement's SACK blocks may pass over, beside those that they mark: a peer that reports what is
/// far apart can't make each acknowledgement cost as much as the queue is long. What lies farther is reported again, in
/// later acknowledgements, and SACK is advice in any case (RFC 2018 §8).
pub(super) const SACK_STEPS: u32 = 1_024;

/// What an acknowledgement arrives at.
#[derive(Debug, Clone, Copy)]
pub(super) struct Circumstances {
    pub(super) now: Instant,
    /// When the segment was sent that the echoed timestamp is of, rounded down to a tick.
    pub(super) echo: Option<Instant>,
    /// The shortest round-trip time so far.
    pub(super) minimum: Option<Duration>,
    /// RACK.fack: behind the highest octet that was delivered before.
    pub(super) forward: SequenceNumber,
    /// SND.NXT when the retransmission timer ran out last.
    pub(super) before_timeout: SequenceNumber,
}

/// What an acknowledgement and its SACK blocks said to be delivered.
#[derive(Debug, Clone, Copy)]
pub(super) struct Delivered {
    circumstances: Circumstances,
    /// Of sequence space, not known to be delivered before: "DeliveredData" of RFC 9937.
    pub(super) octets: u32,
    /// Of those, what is reported by SACK.
    pub(super) sacked: u32,
    /// What was sent last among it, and what RACK may take the time of (RFC 8985 §6.2, step 2).
    pub(super) newest: Option<Newest>,
    /// When the first of what is acknowledged, and was sent once, was sent.
    pub(super) oldest: Option<Instant>,
    /// Something that is acknowledged was sent more than once: what follows it may have waited for it for long, and `oldest`
    /// measures nothing.
    pub(super) ambiguous: bool,
    /// When that was sent again last.
    pub(super) repeated_at: Option<Instant>,
    /// Behind the highest octet that is delivered.
    pub(super) forward: SequenceNumber,
    /// Something below `forward` that was sent once was delivered later (RFC 8985 §6.2, step 3).
    pub(super) reordered: bool,
    /// Something was delivered that was sent once, before the last time-out.
    pub(super) original: bool,
}

/// The segment that was sent last among those delivered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Newest {
    pub(super) sent_at: Instant,
    pub(super) end: SequenceNumber,
    pub(super) retransmitted: bool,
}

impl Delivered {
    pub(super) fn new(circumstances: Circumstances) -> Self {
        Delivered {
            circumstances,
            octets: 0,
            sacked: 0,
            newest: None,
            oldest: None,
            ambiguous: false,
            repeated_at: None,
            forward: circumstances.forward,
            reordered: false,
            original: false,
        }
    }

    /// `octets` of a slot are acknowledged.
    #[inline]
    fn acknowledged(&mut self, octets: u32, slot: &SegmentSlot) {
        if slot.is_retransmitted() {
            self.ambiguous = true;
            self.repeated_at = self.repeated_at.max(Some(slot.sent_at()));
        }
        if slot.state == SlotState::Sacked {
            return;
        }
        if !slot.is_retransmitted() {
            let sent_at = slot.sent_at();
            self.oldest = Some(self.oldest.map_or(sent_at, |oldest| oldest.min(sent_at)));
        }
        self.deliver(octets, slot, self.circumstances.echo);
    }

    /// A slot is delivered that was not known to be. `echo` is what the timestamp says of it: of what is acknowledged
    /// alone, for what came out of order is not what the peer echoes (RFC 7323 §4.3).
    fn deliver(&mut self, octets: u32, slot: &SegmentSlot, echo: Option<Instant>) {
        let Circumstances {
            now,
            minimum,
            before_timeout,
            forward,
            ..
        } = self.circumstances;
        let (end, sent_at, retransmitted) = (slot.end(), slot.sent_at(), slot.is_retransmitted());
        self.octets += octets;
        self.forward = self.forward.latest(end);
        // What one acknowledgement says has no order: it is compared with what was said before.
        self.reordered |= end.is_before(forward) && !retransmitted;
        if !retransmitted && end.is_at_or_before(before_timeout) {
            self.original = true;
        }
        // Which of its transmissions arrived is in doubt: not the last one, when the timestamp is older, or when it would
        // have been faster than any before.
        if retransmitted
            && (echo.is_some_and(|echo| echo + TICK <= sent_at)
                || minimum.is_some_and(|minimum| now - sent_at < minimum))
        {
            return;
        }
        let later = match self.newest {
            None => true,
            Some(newest) => {
                sent_at > newest.sent_at || (sent_at == newest.sent_at && end.is_after(newest.end))
            }
        };
        if later {
            self.newest = Some(Newest {
                sent_at,
                end,
                retransmitted,
            });
        }
    }
}

/// The longest tick of our timestamp clock, by which an echoed instant may be too early.
pub(super) const TICK: Duration = Duration::from_millis(1);

impl SendQueue {
    /// Takes an acknowledgement of all before `to`; see [`SendQueue::acknowledge`].
    pub(super) fn deliver_acknowledged(
        &mut self,
        table: &mut SegmentTable<'_>,
        to: SequenceNumber,
        delivered: &mut Delivered,
    ) -> crate::tcp::send_queue::Acknowledged {
        self.acknowledge(table, to, |octets, slot| {
            delivered.acknowledged(octets, slot)
        })
    }

    /// Marks what a block reports: `block` lies between SND.UNA and SND.NXT. Slots are cut at its edges. Says whether the
    /// block was taken whole: not when `steps` ran out, or the queue's share of the slots.
    ///
    /// Slots that are reported one after the other are a *run*, which is passed over in one step, for a block grows by a
    /// segment with each acknowledgement: the first slot of a run has its last in `newer`, the last its first in `older`.
    pub(super) fn mark_sacked(
        &mut self,
        table: &mut SegmentTable<'_>,
        block: SackBlock,
        steps: &mut u32,
        delivered: &mut Delivered,
    ) -> bool {
        let mut index = match table.get(self.finger) {
            Some(slot) if slot.sequence.is_at_or_before(block.left) => self.finger,
            _ => self.list.head,
        };
        // The slot before `index`, once one was passed over.
        let mut before = END;
        while let Some(slot) = table.get(index) {
            let is_sacked = slot.state == SlotState::Sacked;
            if slot.sequence.is_at_or_after(block.right) || slot.state == SlotState::Waiting {
                break;
            }
            if is_sacked || slot.end().is_at_or_before(block.left) {
                if !step(steps) {
                    return false;
                }
                before = if is_sacked { slot.newer } else { index };
                index = table.next(before);
                continue;
            }
            if slot.sequence.is_before(block.left) {
                let at = block.left.distance_from(slot.sequence);
                let Some(back) = self.cut_reported(table, index, at) else {
                    return false;
                };
                before = index;
                index = back;
                continue;
            }
            if slot.end().is_after(block.right) {
                let at = block.right.distance_from(slot.sequence);
                if self.cut_reported(table, index, at).is_none() {
                    return false;
                }
            }
            self.mark_one_sacked(table, index, delivered);
            // What is reported next begins near what was new now, not near what is reported again.
            self.finger = join_runs(table, before, index);
            before = index;
            index = table.next(index);
            // It may have been joined to a run that follows.
            if let Some(run) = table.get(self.finger)
                && run.newer != before
            {
                before = run.newer;
                index = table.next(before);
            }
        }
        true
    }

    /// Cuts a slot at the edge of a block. Not for whoever has cut too many: SACK is advice (RFC 2018 §8).
    fn cut_reported(&mut self, table: &mut SegmentTable<'_>, index: u32, at: u32) -> Option<u32> {
        if !self.may_cut(table) {
            return None;
        }
        self.split_sent(table, index, at)
    }

    fn mark_one_sacked(
        &mut self,
        table: &mut SegmentTable<'_>,
        index: u32,
        delivered: &mut Delivered,
    ) {
        self.leave_state(table, index);
        let Some(slot) = table.get_mut(index) else {
            return;
        };
        slot.state = SlotState::Sacked;
        self.sacked += slot.length;
        self.sacked_segments += u32::from(slot.ends_segment);
        delivered.sacked += slot.length;
        let length = slot.length;
        delivered.deliver(length, slot, None);
    }

    /// Marks lost what RACK says is lost now (RFC 8985 §6.2, step 5). Gives the octets, and when the next one will be lost,
    /// if nothing is heard of it.
    pub(super) fn detect_losses(
        &mut self,
        now: Instant,
        table: &mut SegmentTable<'_>,
        rack: &Rack,
        reordering_window: Duration,
    ) -> (u32, Option<Instant>) {
        let before = self.lost.octets;
        let mut deadline = None;
        // The oldest first: where one is still to wait for, so are all behind it.
        while let Some(slot) = table.get(self.flight.head) {
            if !rack.was_sent_after(slot.sent_at(), slot.end()) {
                break;
            }
            let due = slot.sent_at() + rack.round_trip() + reordering_window;
            if due > now {
                deadline = Some(due);
                break;
            }
            self.mark_lost(table, self.flight.head);
        }
        (self.lost.octets - before, deadline)
    }

    /// Marks lost, at a time-out, the first slot that is not acknowledged, and all that were sent longer ago than `age`
    /// (RFC 8985 §6.3).
    pub(super) fn mark_timed_out(
        &mut self,
        now: Instant,
        table: &mut SegmentTable<'_>,
        age: Duration,
    ) {
        while let Some(slot) = table.get(self.flight.head) {
            if slot.sent_at() + age > now {
                break;
            }
            self.mark_lost(table, self.flight.head);
        }
        self.mark_head_lost(table, 1);
    }

    /// Marks lost what is in flight of the first `octets` that are not acknowledged; says how much that was.
    pub(in crate::tcp) fn mark_head_lost(
        &mut self,
        table: &mut SegmentTable<'_>,
        octets: u32,
    ) -> u32 {
        let before = self.lost.octets;
        let end = self.unacknowledged() + octets;
        let mut index = self.list.head;
        while let Some(slot) = table.get(index) {
            if slot.sequence.is_at_or_after(end) || slot.state == SlotState::Waiting {
                break;
            }
            let next = slot.next;
            if slot.state == SlotState::InFlight {
                self.mark_lost(table, index);
            }
            index = next;
        }
        self.lost.octets - before
    }

    /// Marks lost what is in flight of `octets` from `first` on. Every slot before is passed over: for what is rare.
    pub(super) fn mark_range_lost(
        &mut self,
        table: &mut SegmentTable<'_>,
        first: SequenceNumber,
        octets: u32,
    ) {
        let end = first + octets;
        let mut index = self.list.head;
        while let Some(slot) = table.get(index) {
            if slot.sequence.is_at_or_after(end) || slot.state == SlotState::Waiting {
                break;
            }
            let next = slot.next;
            if slot.state == SlotState::InFlight && slot.sequence.is_at_or_after(first) {
                self.mark_lost(table, index);
            }
            index = next;
        }
    }

    /// Marks lost all that is in flight.
    pub(in crate::tcp) fn mark_all_lost(&mut self, table: &mut SegmentTable<'_>) {
        while self.flight.head != END {
            self.mark_lost(table, self.flight.head);
        }
    }

    fn mark_lost(&mut self, table: &mut SegmentTable<'_>, index: u32) {
        self.flight.remove(table, index);
        if let Some(slot) = table.get_mut(index) {
            slot.state = SlotState::Lost;
        }
        self.lost.push_back(table, index);
    }

    /// Takes back all marks of loss: nothing was. In flight it is older than all that is there.
    pub(super) fn unmark_lost(&mut self, table: &mut SegmentTable<'_>) {
        while let Some(slot) = table.get_mut(self.lost.tail) {
            let index = self.lost.tail;
            slot.state = SlotState::InFlight;
            self.lost.remove(table, index);
            self.flight.push_front(table, index);
        }
    }

    /// Whether the peer has reported the first octet that it has not acknowledged: it has dropped what it had reported
    /// (RFC 2018 §8).
    pub(in crate::tcp) fn is_reneged(&self, table: &SegmentTable<'_>) -> bool {
        table
            .get(self.list.head)
            .is_some_and(|slot| slot.state == SlotState::Sacked)
    }

    /// Forgets all that SACK had reported: it is lost (RFC 2018 §8).
    pub(in crate::tcp) fn forget_sacked(&mut self, table: &mut SegmentTable<'_>) {
        let mut index = self.list.head;
        while self.sacked > 0
            && let Some(slot) = table.get(index)
        {
            let next = slot.next;
            if slot.state == SlotState::Sacked {
                self.leave_state(table, index);
                if let Some(slot) = table.get_mut(index) {
                    slot.state = SlotState::Lost;
                }
                self.lost.push_back(table, index);
            }
            index = next;
        }
        self.finger = END;
    }
}

/// Makes a run of a slot that is reported now, with the run that ends with the slot before it, and the one that begins with
/// the slot behind it. Gives the first slot of the run.
fn join_runs(table: &mut SegmentTable<'_>, before: u32, index: u32) -> u32 {
    let is_sacked = |slot: &&SegmentSlot| slot.state == SlotState::Sacked;
    let first = table.get(before).filter(is_sacked);
    let first = first.map_or(index, |slot| slot.older);
    let last = table.get(table.next(index)).filter(is_sacked);
    let last = last.map_or(index, |slot| slot.newer);
    if let Some(slot) = table.get_mut(first) {
        slot.newer = last;
    }
    if let Some(slot) = table.get_mut(last) {
        slot.older = first;
    }
    first
}

/// One step less; whether there was one.
fn step(steps: &mut u32) -> bool {
    let left = steps.checked_sub(1);
    *steps = left.unwrap_or(0);
    left.is_some()
}
