//! What leaves: retransmissions, new data, probes.

use core::cmp::min;

use mirage_core::{Frame, Instant};

use super::tail_loss::Probe;
use super::timer::TimerKind;
use super::undo::ForwardRto;
use super::{Permit, Phase, Sender, Usage};
use crate::tcp::congestion::CongestionControl;
use crate::tcp::segments::SegmentTable;
use crate::tcp::send_queue::Transmission;

impl<C: CongestionControl> Sender<C> {
    /// How many octets congestion control lets out now. The peer's window is another matter.
    ///
    /// After an idle time of more than a retransmission time-out the window is reduced first (RFC 5681 §4.1).
    pub fn allowance(&mut self, now: Instant) -> u32 {
        if self.queue.outstanding() == 0
            && self.sent_at != Instant::ZERO
            && now - self.sent_at > self.round_trip.timeout()
        {
            self.congestion.on_idle(now);
            // Once for an idle time.
            self.sent_at = now;
        }
        let allowance = self.window().saturating_sub(self.in_flight());
        match self.permit {
            Permit::New => allowance.max(self.maximum_segment),
            _ => allowance,
        }
    }

    /// Whether [`retransmit`](Self::retransmit) has something to give.
    pub fn has_retransmission(&self) -> bool {
        match self.permit {
            Permit::Again => true,
            Permit::Lost => self.queue.lost() > 0,
            Permit::None | Permit::New => self.may_retransmit(),
        }
    }

    /// Whether the window has room for the first segment that is marked lost.
    fn may_retransmit(&self) -> bool {
        let lost = self.queue.lost();
        lost > 0
            && self.forward_rto != ForwardRto::Probing
            && self.window().saturating_sub(self.in_flight()) >= min(lost, self.maximum_segment)
    }

    /// Puts a segment of at most `limit` octets of payload into `frame` that is sent again (output): what is marked lost,
    /// as far as the window lets it, or a probe.
    pub fn retransmit(
        &mut self,
        now: Instant,
        table: &mut SegmentTable<'_>,
        limit: u32,
        frame: &mut Frame,
    ) -> Option<Transmission> {
        if !self.has_retransmission() {
            return None;
        }
        let limit = min(limit, self.maximum_segment);
        let permit = self.permit;
        if permit == Permit::Again {
            self.permit = Permit::None;
            let sent = self.queue.retransmit_last(now, table, limit, frame)?;
            self.probe = Some(Probe {
                end: self.queue.next(),
                retransmission: true,
            });
            self.sent_at = now;
            return Some(sent);
        }
        let sent = self.queue.retransmit_lost(now, table, limit, frame)?;
        if permit == Permit::Lost {
            self.permit = Permit::None;
        }
        if let Some(undo) = &mut self.undo {
            undo.retransmitted_at.get_or_insert(now);
            undo.unreported = undo.unreported.saturating_add(1);
        }
        self.sent(now, &sent);
        // RFC 6298 §5.3 starts the timer anew when the first segment is sent again, as it does when it is acknowledged.
        if sent.sequence == self.queue.unacknowledged() {
            self.started = now;
        }
        if self.timer != TimerKind::Reordering {
            self.arm_retransmission();
        }
        Some(sent)
    }

    /// Puts a segment of at most `limit` octets of unsent data into `frame`, and the FIN when it follows (output).
    ///
    /// `window` is what the peer's window has room for from SND.NXT on, in octets of sequence space; that `limit` is within
    /// the [`allowance`](Self::allowance) is the caller's to see to, as are Nagle's algorithm and silly windows.
    pub fn transmit(
        &mut self,
        now: Instant,
        table: &mut SegmentTable<'_>,
        limit: u32,
        window: u32,
        frame: &mut Frame,
    ) -> Option<Transmission> {
        let was_idle = self.queue.outstanding() == 0;
        let sent = self.queue.transmit(now, table, limit, window, frame)?;
        if was_idle {
            self.started = now;
        }
        if self.permit == Permit::New {
            self.permit = Permit::None;
            self.probe = Some(Probe {
                end: self.queue.next(),
                retransmission: false,
            });
        }
        self.sent(now, &sent);
        match self.timer {
            TimerKind::Reordering => {}
            _ if self.may_probe() => self.arm_probe(now),
            TimerKind::Off => self.arm_retransmission(),
            TimerKind::TailProbe | TimerKind::Retransmission => {}
        }
        Some(sent)
    }

    /// Puts one octet into `frame` to learn whether the peer's window has opened (RFC 9293 §3.8.6.1, output): the first one
    /// that isn't acknowledged, or the first one that was never sent; or the FIN. Congestion control has no say, and no
    /// timer is started: the caller has one of its own for probes.
    pub fn probe_window(
        &mut self,
        now: Instant,
        table: &mut SegmentTable<'_>,
        frame: &mut Frame,
    ) -> Option<Transmission> {
        let sent = if self.queue.outstanding() > 0 {
            self.queue.retransmit_first(now, table, 1, frame)?
        } else {
            self.started = now;
            self.queue.transmit(now, table, 1, 1, frame)?
        };
        self.sent_at = now;
        Some(sent)
    }

    /// The peer's window has opened again: the retransmission timer starts anew, for what is outstanding. While it was
    /// closed the caller's probes had taken its place.
    pub fn window_opened(&mut self, now: Instant) {
        self.permit = Permit::None;
        self.rearm(now, true, true, None);
    }

    pub(super) fn sent(&mut self, now: Instant, sent: &Transmission) {
        self.sent_at = now;
        if self.phase == Phase::Recovery {
            self.prr.sent(sent.octets + u32::from(sent.fin));
        }
        let flight = self.in_flight();
        let full = flight.saturating_add(self.maximum_segment) > self.window();
        if self.usage.end.is_at_or_before(self.queue.unacknowledged()) {
            self.usage = Usage {
                end: self.queue.next(),
                flight,
                full,
            };
        } else {
            self.usage.flight = self.usage.flight.max(flight);
            self.usage.full |= full;
        }
    }

    /// Whether it was the congestion window that kept back what could have been sent. In slow start the window may be twice
    /// what is used, since it doubles in a round trip.
    pub(super) fn is_window_limited(&self) -> bool {
        let window = self.congestion.window();
        self.usage.full
            || (window < self.congestion.slow_start_threshold() && window / 2 < self.usage.flight)
    }
}
