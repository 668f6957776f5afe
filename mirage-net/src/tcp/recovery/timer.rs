//! The one timer of a sender, and what it is for: RFC 6298 §5, RFC 8985 §7.2 and §8.

use mirage_core::Instant;

use super::prr::Progress;
use super::tail_loss::probe_timeout;
use super::undo::{ForwardRto, Undo};
use super::{Permit, Phase, Sender};
use crate::tcp::congestion::{CongestionControl, CongestionSignal};
use crate::tcp::segments::SegmentTable;

/// What [`Sender::handle_timeout`] found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LossTimeout {
    /// The deadline is not reached.
    None,
    /// RACK's reordering timer: this much of sequence space was marked lost.
    Reordering {
        /// Octets.
        lost: u32,
    },
    /// A probe of the tail is to be sent: [`retransmit`](Sender::retransmit), or [`transmit`](Sender::transmit), gives it.
    TailProbe,
    /// The retransmission time-out: what is lost is sent again, one segment at once.
    Retransmission {
        /// How many there were since anything was acknowledged, this one included.
        consecutive: u8,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum TimerKind {
    Off,
    Reordering,
    TailProbe,
    Retransmission,
}

impl<C: CongestionControl> Sender<C> {
    /// Says that the deadline of [`poll_timeout`](Self::poll_timeout) may be reached (input). `window` is what the peer's
    /// window has room for from SND.NXT on: whether a probe may be new data.
    pub fn handle_timeout(
        &mut self,
        now: Instant,
        table: &mut SegmentTable<'_>,
        window: u32,
    ) -> LossTimeout {
        if self.timer == TimerKind::Off || now < self.timer_at {
            return LossTimeout::None;
        }
        match self.timer {
            TimerKind::Off => LossTimeout::None,
            TimerKind::Reordering => self.reordering_timeout(now, table),
            TimerKind::TailProbe => {
                self.permit = if self.queue.has_unsent() && window > 0 {
                    Permit::New
                } else {
                    Permit::Again
                };
                // RFC 8985 §7.3: whether or not the probe can be sent, the retransmission timer is next.
                self.started = now;
                self.arm_retransmission();
                LossTimeout::TailProbe
            }
            TimerKind::Retransmission => self.retransmission_timeout(now, table),
        }
    }

    fn reordering_timeout(&mut self, now: Instant, table: &mut SegmentTable<'_>) -> LossTimeout {
        let outstanding = self.queue.outstanding();
        let flight = outstanding.saturating_sub(self.queue.sacked());
        let (lost, deadline) = self.find_losses(now, table, false);
        if lost > 0 && self.phase == Phase::Open {
            self.begin_recovery(now, outstanding, flight, CongestionSignal::Loss);
        }
        if lost > 0 {
            // No acknowledgement lets this one out.
            self.adjust_window_by_timer();
        }
        self.rearm(now, false, true, deadline);
        LossTimeout::Reordering { lost }
    }

    /// What was found lost by the timer lets one segment out, as if that had been delivered.
    fn adjust_window_by_timer(&mut self) {
        if self.phase == Phase::Recovery {
            self.prr.acknowledged(Progress {
                delivered: self.maximum_segment,
                in_flight: self.in_flight(),
                threshold: self.congestion.slow_start_threshold(),
                maximum_segment: self.maximum_segment,
                safe: false,
            });
        }
    }

    fn retransmission_timeout(
        &mut self,
        now: Instant,
        table: &mut SegmentTable<'_>,
    ) -> LossTimeout {
        let outstanding = self.queue.outstanding();
        if outstanding == 0 {
            self.timer = TimerKind::Off;
            return LossTimeout::None;
        }
        let repeated = self.timeouts > 0;
        if self.queue.is_reneged(table) {
            self.queue.forget_sacked(table);
        }
        if self.sack && self.rack.has_sample() {
            let age = self.rack.round_trip() + self.reordering_window();
            self.queue.mark_timed_out(now, table, age);
        } else {
            self.queue.mark_all_lost(table);
        }
        self.congestion
            .on_retransmission_timeout(now, outstanding, repeated);
        // RFC 5682 §3.1, step 1: not after a recovery, nor after another time-out.
        self.forward_rto = if self.sack && self.phase == Phase::Open && !repeated {
            ForwardRto::Retransmitted
        } else {
            ForwardRto::Off
        };
        if !repeated {
            self.undo = Some(Undo {
                first: self.queue.unacknowledged(),
                retransmitted_at: None,
                unreported: 0,
            });
        }
        self.phase = Phase::Loss;
        self.recovery_point = self.queue.next();
        self.probe = None;
        self.duplicates = 0;
        self.timeouts = self.timeouts.saturating_add(1);
        self.permit = Permit::Lost;
        self.round_trip.back_off();
        self.started = now;
        self.arm_retransmission();
        LossTimeout::Retransmission {
            consecutive: self.timeouts,
        }
    }

    /// When [`handle_timeout`](Self::handle_timeout) is to be called next (output).
    pub fn poll_timeout(&self) -> Option<Instant> {
        (self.timer != TimerKind::Off).then_some(self.timer_at)
    }

    /// After an acknowledgement: `advanced`, it acknowledged new data; `progress`, it told of anything new; `deadline`, of
    /// RACK's reordering timer.
    pub(super) fn rearm(
        &mut self,
        now: Instant,
        advanced: bool,
        progress: bool,
        deadline: Option<Instant>,
    ) {
        if self.queue.outstanding() == 0 {
            self.timer = TimerKind::Off;
            self.permit = Permit::None;
            return;
        }
        if advanced {
            // RFC 6298 §5.3.
            self.started = now;
        }
        let timeout = self.started + self.round_trip.timeout();
        match deadline.filter(|deadline| *deadline < timeout) {
            Some(deadline) => {
                self.timer = TimerKind::Reordering;
                self.timer_at = deadline;
            }
            None if self.may_probe() => {
                if progress || self.timer != TimerKind::TailProbe {
                    self.arm_probe(now);
                }
            }
            None => self.arm_retransmission(),
        }
    }

    /// RFC 8985 §7.2: outside of recovery, with nothing reported by SACK, and no other probe under way.
    pub(super) fn may_probe(&self) -> bool {
        self.sack
            && self.phase == Phase::Open
            && self.probe.is_none()
            && !self.is_probing()
            && self.queue.sacked() == 0
            && self.queue.lost() == 0
            && self.queue.in_flight() > 0
    }

    pub(super) fn arm_probe(&mut self, now: Instant) {
        let single = self.queue.in_flight() <= self.maximum_segment;
        let timeout = probe_timeout(self.round_trip.smoothed(), single);
        // Not later than the retransmission time-out, which it is sent instead of then.
        let retransmission = self.started + self.round_trip.timeout();
        self.timer = TimerKind::TailProbe;
        self.timer_at = (now + timeout).min(retransmission);
    }

    pub(super) fn arm_retransmission(&mut self) {
        self.timer = TimerKind::Retransmission;
        self.timer_at = self.started + self.round_trip.timeout();
    }
}
