//! What an acknowledgement says, and what follows from it.

use core::time::Duration;

use mirage_core::Instant;

use super::prr::{Progress, Prr};
use super::scoreboard::{Circumstances, Delivered, SACK_STEPS, TICK};
use super::tail_loss::ProbeOutcome;
use super::undo::{ForwardRto, Undo};
use super::{Permit, Phase, Sender};
use crate::tcp::SequenceNumber;
use crate::tcp::congestion::{AcknowledgedEvent, CongestionControl, CongestionSignal};
use crate::tcp::segments::SegmentTable;
use crate::wire::tcp::SackBlock;

/// Duplicate acknowledgements, or segments reported by SACK, that say that the segment before them is lost (RFC 5681 §3.2).
const DUPLICATE_THRESHOLD: u32 = 3;
/// How far below the acknowledgement a D-SACK is believed: the largest window.
const MAX_DUPLICATE_DISTANCE: u32 = 1 << 30;

/// What an acknowledgement says, as far as the sender is concerned. The segment has passed all checks of RFC 9293 §3.10.7.4:
/// an acknowledgement of something that was never sent, or that is older than SND.UNA, changes nothing here.
#[derive(Debug, Clone, Copy)]
pub struct Acknowledgement<'a> {
    /// SEG.ACK.
    pub acknowledgement: SequenceNumber,
    /// The peer's window from there on, scaled, in octets.
    pub window: u32,
    /// The SACK blocks, in their order.
    pub sack: &'a [SackBlock],
    /// When the segment was sent whose timestamp is echoed (RFC 7323 §3.2), rounded down to a tick of the timestamp clock,
    /// which is at most 1 ms. `None` without timestamps.
    pub timestamp_echo: Option<Instant>,
    /// It is a duplicate by RFC 5681 §2: no data, no SYN, no FIN, the window that was known, and something is outstanding.
    pub duplicate: bool,
    /// ECN-Echo was set, on a connection that negotiated ECN.
    pub ecn_echo: bool,
}

/// What an acknowledgement did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct AcknowledgementOutcome {
    /// Of sequence space, acknowledged now.
    pub acknowledged: u32,
    /// The FIN was among it.
    pub fin_acknowledged: bool,
    /// Pages that the queue is charged no more.
    pub pages_freed: u32,
    /// Of sequence space, that was not known to have arrived: acknowledged, or reported by SACK.
    pub delivered: u32,
    /// Of sequence space, marked lost now.
    pub lost: u32,
    /// The congestion window was reduced, for a loss or since the peer echoed a congestion mark: with ECN, CWR goes with the
    /// next new data (RFC 3168 §6.1.2), as it does after a retransmission time-out.
    pub congestion_reduced: bool,
    /// A retransmission turned out to have been needless, and the reduction of the window was undone.
    pub undone: bool,
    /// SACK blocks that report what was never sent, or are none.
    pub invalid_blocks: u8,
    /// The peer has reported that something arrived twice.
    pub duplicate_reported: bool,
}

impl<C: CongestionControl> Sender<C> {
    /// Takes an acknowledgement (input).
    ///
    /// It costs as much as it says: a step for each slot that is acknowledged, reported, or found lost, and at most 1,024
    /// beside those, however long the queue is and whatever the SACK blocks are.
    pub fn handle_acknowledgement(
        &mut self,
        now: Instant,
        table: &mut SegmentTable<'_>,
        acknowledgement: &Acknowledgement<'_>,
    ) -> AcknowledgementOutcome {
        let mut outcome = AcknowledgementOutcome::default();
        let to = acknowledgement.acknowledgement;
        if to.is_before(self.queue.unacknowledged()) || to.is_after(self.queue.next()) {
            return outcome;
        }
        let outstanding = self.queue.outstanding();
        // Whoever only receives hears this with each segment.
        if outstanding == 0
            && self.phase == Phase::Open
            && acknowledgement.sack.is_empty()
            && !acknowledgement.ecn_echo
        {
            return outcome;
        }
        // RecoverFS of RFC 9937 §6, should recovery begin now.
        let flight = outstanding.saturating_sub(self.queue.sacked());
        let mut delivered = Delivered::new(Circumstances {
            now,
            echo: acknowledgement.timestamp_echo,
            minimum: self.round_trip.minimum(),
            forward: self.rack.forward,
            before_timeout: match self.phase {
                Phase::Loss => self.recovery_point,
                _ => self.queue.unacknowledged(),
            },
        });
        let freed = self.queue.deliver_acknowledged(table, to, &mut delivered);
        let advanced = freed.octets > 0;
        outcome.acknowledged = freed.octets;
        outcome.fin_acknowledged = freed.fin;
        outcome.pages_freed = freed.pages;
        let mut duplicate = None;
        if self.sack {
            duplicate = self.take_blocks(table, acknowledgement, &mut delivered, &mut outcome);
            outcome.duplicate_reported = duplicate.is_some();
        } else {
            self.count_duplicates(acknowledgement, advanced, outstanding, &mut delivered);
        }
        outcome.delivered = delivered.octets;
        let round_trip = self.measure(
            now,
            acknowledgement,
            advanced,
            duplicate.is_some(),
            outstanding,
            &delivered,
        );
        if advanced {
            self.timeouts = 0;
        }

        let probe = self.take_probe(acknowledgement, duplicate, advanced);
        let duplicate = duplicate.filter(|_| probe == ProbeOutcome::Pending);
        outcome.undone = self.undo_if_needless(now, table, acknowledgement, advanced, duplicate)
            || self.forward_rto(now, table, acknowledgement, advanced, &delivered);

        let (lost, deadline) = self.find_losses(now, table, advanced);
        outcome.lost = lost;
        if self.phase != Phase::Open && self.recovery_point.is_at_or_before(to) {
            self.end_recovery(advanced);
        }
        let congested = if lost > 0 {
            Some(CongestionSignal::Loss)
        } else if acknowledgement.ecn_echo && self.recovery_point.is_before(to) {
            Some(CongestionSignal::Ecn)
        } else {
            None
        };
        if let (Some(signal), Phase::Open) = (congested, self.phase) {
            self.begin_recovery(now, outstanding, flight, signal);
            outcome.congestion_reduced = true;
            if self.queue.outstanding() == 0 {
                self.end_recovery(advanced);
            }
        } else if probe == ProbeOutcome::Repaired && self.phase == Phase::Open {
            // RFC 8985 §7.4.1: a loss like any other, though there is nothing left to recover.
            self.congestion
                .on_congestion(now, outstanding, CongestionSignal::Loss);
            self.recovery_point = self.queue.next();
        }
        let safe = advanced && lost == 0;
        self.adjust_window(now, delivered.octets, round_trip, advanced, safe);
        self.rearm(now, advanced, delivered.octets > 0, deadline);
        outcome
    }

    /// RFC 2018, RFC 2883: what the blocks report. Gives the D-SACK, if there is one.
    fn take_blocks(
        &mut self,
        table: &mut SegmentTable<'_>,
        acknowledgement: &Acknowledgement<'_>,
        delivered: &mut Delivered,
        outcome: &mut AcknowledgementOutcome,
    ) -> Option<SackBlock> {
        let to = acknowledgement.acknowledgement;
        let (mut duplicate, mut steps) = (None, SACK_STEPS);
        for (number, block) in acknowledgement.sack.iter().enumerate() {
            let mut block = *block;
            if !block.left.is_before(block.right) || block.right.is_after(self.queue.next()) {
                outcome.invalid_blocks = outcome.invalid_blocks.saturating_add(1);
                continue;
            }
            // RFC 2883 §4: the first block is a D-SACK when it is acknowledged, or a part of the second one.
            let within = |other: &SackBlock| {
                other.left.is_at_or_before(block.left) && block.right.is_at_or_before(other.right)
            };
            let is_old = block.right.is_at_or_before(to);
            if number == 0 && (is_old || acknowledgement.sack.get(1).is_some_and(within)) {
                if to.distance_from(block.left) <= MAX_DUPLICATE_DISTANCE || !is_old {
                    duplicate = Some(block);
                }
                continue;
            }
            if is_old {
                continue;
            }
            block.left = block.left.latest(to);
            self.queue.mark_sacked(table, block, &mut steps, delivered);
        }
        duplicate
    }

    /// RFC 9937 §6: without SACK, each duplicate says that one segment was delivered, and what is acknowledged after them
    /// was counted already.
    fn count_duplicates(
        &mut self,
        acknowledgement: &Acknowledgement<'_>,
        advanced: bool,
        outstanding: u32,
        delivered: &mut Delivered,
    ) {
        let partial = self.phase == Phase::Recovery
            && acknowledgement
                .acknowledgement
                .is_before(self.recovery_point);
        if advanced {
            // A partial one covers what was sent again, and duplicates of what follows (RFC 6582 §3.2, step 5).
            let covered = if partial {
                let segments = delivered.octets.div_ceil(self.maximum_segment);
                self.duplicates.min(segments.saturating_sub(1))
            } else {
                self.duplicates
            };
            let counted = covered.saturating_mul(self.maximum_segment);
            delivered.octets = delivered.octets.saturating_sub(counted);
            self.duplicates -= covered;
        } else if acknowledgement.duplicate && outstanding > 0 && self.phase != Phase::Loss {
            // No more than are outstanding: the rest is made up.
            if self.duplicates < outstanding.div_ceil(self.maximum_segment) {
                self.duplicates += 1;
                delivered.octets += self.maximum_segment;
            }
        }
    }

    /// Takes the time of what was delivered; gives that of the segment that was sent last.
    fn measure(
        &mut self,
        now: Instant,
        acknowledgement: &Acknowledgement<'_>,
        advanced: bool,
        arrived_twice: bool,
        outstanding: u32,
        delivered: &Delivered,
    ) -> Option<Duration> {
        if self.sack {
            if let Some(newest) = delivered.newest {
                self.rack.update(now, newest);
            }
            self.rack.forward = delivered.forward;
            if delivered.reordered {
                self.rack.reordered();
            }
            self.rack.end_round(acknowledgement.acknowledgement);
        }
        let newest = delivered.newest.filter(|newest| !newest.retransmitted);
        let newest = newest.map(|newest| now - newest.sent_at);
        // RFC 6298 §3 (Karn): what was sent once, the oldest of it, so that the peer's delay is in the time-out. Else what
        // timestamps say, of an acknowledgement of new data (RFC 7323 §4.1).
        let echoed = acknowledgement.timestamp_echo.filter(|_| advanced);
        // What arrived twice is acknowledged for the second copy, since the acknowledgement of the first was lost: an echo of
        // the first measures how long that was waited for.
        let stale = |echo: &Instant| {
            arrived_twice
                && (delivered.repeated_at).is_some_and(|repeated_at| *echo + TICK <= repeated_at)
        };
        let echoed = echoed.filter(|echo| !stale(echo));
        // The first acknowledgement of the oldest was lost when the echo is of a later one.
        let oldest = delivered
            .oldest
            .filter(|oldest| !delivered.ambiguous && echoed.is_none_or(|echo| echo <= *oldest));
        let sample = if delivered.sacked > 0 {
            // What came out of order is answered at once, whenever what is acknowledged with it had arrived.
            newest
        } else {
            let echo = oldest.or(echoed).map(|sent_at| now - sent_at);
            echo.or(newest.filter(|_| !delivered.ambiguous))
        };
        if let Some(sample) = sample {
            let expected = outstanding.div_ceil(2 * self.maximum_segment);
            self.round_trip.sample(sample, expected);
        }
        if let Some(newest) = newest {
            self.round_trip.observe_minimum(newest);
        }
        newest
    }

    /// RFC 8985 §7.4: what became of the probe.
    fn take_probe(
        &mut self,
        acknowledgement: &Acknowledgement<'_>,
        duplicate: Option<SackBlock>,
        advanced: bool,
    ) -> ProbeOutcome {
        let Some(probe) = self.probe else {
            return ProbeOutcome::Pending;
        };
        let of_probe = duplicate.is_some_and(|block| block.right == probe.end);
        let plain = acknowledgement.duplicate && !advanced && acknowledgement.sack.is_empty();
        let outcome = probe.acknowledged(acknowledgement.acknowledgement, of_probe, plain);
        if outcome != ProbeOutcome::Pending {
            self.probe = None;
        }
        outcome
    }

    /// Marks what is lost now. Gives how much, and when more will be.
    pub(super) fn find_losses(
        &mut self,
        now: Instant,
        table: &mut SegmentTable<'_>,
        advanced: bool,
    ) -> (u32, Option<Instant>) {
        if self.sack {
            let window = self.reordering_window();
            return self.queue.detect_losses(now, table, &self.rack, window);
        }
        let partial = advanced
            && self.phase == Phase::Recovery
            && self.queue.unacknowledged().is_before(self.recovery_point);
        // RFC 6582 §3.2, step 2: what is acknowledged covers more than the last recovery did.
        let third = self.phase == Phase::Open
            && self.duplicates >= DUPLICATE_THRESHOLD
            && self.recovery_point.is_before(self.queue.unacknowledged());
        if partial {
            // RFC 6582 §3.2, step 5: the next one that is missing is sent again at once.
            self.permit = Permit::Lost;
        }
        if partial || third {
            return (self.queue.mark_head_lost(table, self.maximum_segment), None);
        }
        (0, None)
    }

    pub(super) fn reordering_window(&self) -> Duration {
        let at_once = self.phase != Phase::Open
            || self.queue.sacked_segments >= DUPLICATE_THRESHOLD
            || self.queue.sacked() > (DUPLICATE_THRESHOLD - 1) * self.maximum_segment;
        let smoothed = self.round_trip.smoothed().unwrap_or_default();
        let minimum = self.round_trip.minimum().unwrap_or_default();
        self.rack.reordering_window(at_once, minimum, smoothed)
    }

    pub(super) fn begin_recovery(
        &mut self,
        now: Instant,
        outstanding: u32,
        flight: u32,
        signal: CongestionSignal,
    ) {
        self.congestion.on_congestion(now, outstanding, signal);
        self.phase = Phase::Recovery;
        self.recovery_point = self.queue.next();
        self.prr = Prr::begin(flight);
        self.probe = None;
        self.undo = match signal {
            // What a router has marked was congestion.
            CongestionSignal::Ecn => None,
            CongestionSignal::Loss => Some(Undo {
                first: self.queue.unacknowledged(),
                retransmitted_at: None,
                unreported: 0,
            }),
        };
    }

    fn end_recovery(&mut self, advanced: bool) {
        if self.phase == Phase::Recovery {
            self.rack.recovery_ended();
        }
        self.phase = Phase::Open;
        self.forward_rto = ForwardRto::Off;
        if advanced {
            self.duplicates = 0;
        }
    }

    fn adjust_window(
        &mut self,
        now: Instant,
        octets: u32,
        round_trip: Option<Duration>,
        advanced: bool,
        safe: bool,
    ) {
        if self.phase == Phase::Recovery {
            self.prr.acknowledged(Progress {
                delivered: octets,
                in_flight: self.in_flight(),
                threshold: self.congestion.slow_start_threshold(),
                maximum_segment: self.maximum_segment,
                safe: safe && octets > 0,
            });
            return;
        }
        // RFC 5681 §3.1: the window grows when new data are acknowledged, not by duplicates.
        if octets == 0 || !advanced {
            return;
        }
        self.congestion.on_acknowledged(&AcknowledgedEvent {
            now,
            octets,
            round_trip,
            smoothed: self.round_trip.smoothed().unwrap_or_default(),
            acknowledged: self.queue.unacknowledged(),
            next: self.queue.next(),
            window_limited: self.phase == Phase::Loss || self.is_window_limited(),
        });
    }
}
