//! Taking back what was done for a loss that was none (RFC 4015, RFC 3708, RFC 5682).

use mirage_core::Instant;

use super::acknowledgement::Acknowledgement;
use super::scoreboard::{Delivered, TICK};
use super::{Permit, Phase, Sender};
use crate::tcp::SequenceNumber;
use crate::tcp::congestion::CongestionControl;
use crate::tcp::segments::SegmentTable;
use crate::wire::tcp::SackBlock;

/// What is known of the last recovery, to find out whether it was needless.
#[derive(Debug, Clone, Copy)]
pub(super) struct Undo {
    /// SND.UNA when it began.
    pub(super) first: SequenceNumber,
    /// When something was sent again first.
    pub(super) retransmitted_at: Option<Instant>,
    /// Segments that were sent again, and that the peer did not report to have received twice.
    pub(super) unreported: u32,
}

/// Forward RTO recovery (RFC 5682), for peers without timestamps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ForwardRto {
    Off,
    /// Step 1 is done: the first segment was sent again.
    Retransmitted,
    /// Step 2 is done: instead of more that is marked lost, new data was sent.
    Probing,
}

impl<C: CongestionControl> Sender<C> {
    /// RFC 4015, RFC 3708: undoes the reduction when what was thought lost had only been late.
    pub(super) fn undo_if_needless(
        &mut self,
        now: Instant,
        table: &mut SegmentTable<'_>,
        acknowledgement: &Acknowledgement<'_>,
        advanced: bool,
        duplicate: Option<SackBlock>,
    ) -> bool {
        if duplicate.is_some() {
            let to = acknowledgement.acknowledgement;
            self.rack.duplicate_reported(to, self.queue.next());
        }
        let Some(undo) = &mut self.undo else {
            return false;
        };
        let Some(retransmitted_at) = undo.retransmitted_at else {
            return false;
        };
        // RFC 3522 §3.2: the acknowledgement is of a segment that was sent before the first retransmission.
        let late = advanced
            && acknowledgement.acknowledgement.is_after(undo.first)
            && acknowledgement
                .timestamp_echo
                .is_some_and(|echo| echo + TICK <= retransmitted_at);
        // RFC 3708: all that was sent again arrived twice: then it was late, not lost.
        let reported = duplicate.is_some_and(|block| block.left.is_at_or_after(undo.first));
        if reported {
            undo.unreported = undo.unreported.saturating_sub(1);
        }
        let needless = late || (reported && undo.unreported == 0);
        if needless {
            self.undo(now, table);
        }
        needless
    }

    fn undo(&mut self, now: Instant, table: &mut SegmentTable<'_>) {
        self.congestion.on_spurious(now);
        self.queue.unmark_lost(table);
        if self.phase == Phase::Recovery {
            // It was reordered, by more than was waited for.
            self.rack.reordered();
        }
        self.phase = Phase::Open;
        self.forward_rto = ForwardRto::Off;
        self.undo = None;
        self.permit = Permit::None;
    }

    /// RFC 5682 §3.1, the version with SACK: a time-out was spurious when, after the first acknowledgement, more arrives of
    /// what was sent before it, and was not sent again.
    pub(super) fn forward_rto(
        &mut self,
        now: Instant,
        table: &mut SegmentTable<'_>,
        acknowledgement: &Acknowledgement<'_>,
        advanced: bool,
        delivered: &Delivered,
    ) -> bool {
        let to = acknowledgement.acknowledgement;
        match self.forward_rto {
            ForwardRto::Off => false,
            // They have said what there is to say.
            _ if acknowledgement.timestamp_echo.is_some() => {
                self.forward_rto = ForwardRto::Off;
                false
            }
            ForwardRto::Retransmitted => {
                // Step 2: new data instead, if there are any that the peer has room for.
                let room = (to + acknowledgement.window).distance_from(self.queue.next());
                let possible = advanced
                    && to.is_before(self.recovery_point)
                    && self.queue.unsent_octets() > 0
                    && room >= self.maximum_segment
                    && room <= acknowledgement.window;
                self.forward_rto = if possible {
                    ForwardRto::Probing
                } else {
                    ForwardRto::Off
                };
                false
            }
            ForwardRto::Probing => {
                // Step 3.
                self.forward_rto = ForwardRto::Off;
                if delivered.original {
                    self.undo(now, table);
                }
                delivered.original
            }
        }
    }
}
