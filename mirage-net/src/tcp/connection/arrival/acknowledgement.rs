//! What a segment acknowledges, and the window that it states (RFC 9293 §3.10.7.4, fifth; RFC 5961 §5).

use super::{Answer, Incoming};
use crate::tcp::connection::window::SendWindow;
use crate::tcp::connection::{Connection, Context, TcpEvents, TcpState};
use crate::tcp::{Acknowledgement, CongestionControl};
use crate::wire::tcp::{TcpFlags, TcpRepr};

impl<C: CongestionControl> Connection<C> {
    /// An error is the answer of a segment that goes no further.
    pub(super) fn take_acknowledgement(
        &mut self,
        cx: &mut Context<'_, '_>,
        incoming: &Incoming,
    ) -> Result<(), Answer> {
        let repr = &incoming.repr;
        if self.state == TcpState::SynReceived {
            if repr.acknowledgement != self.initial_sequence + 1 {
                cx.counters.acknowledges_unsent += 1;
                return Err(Answer::Reset);
            }
            self.establish(cx, repr);
        }
        let acknowledgement = repr.acknowledgement;
        let (unacknowledged, next) = (self.unacknowledged(), self.send_next());
        if acknowledgement.is_after(next) {
            // "If the ACK acks something not yet sent, then send an ACK, drop the segment, and return."
            cx.counters.acknowledges_unsent += 1;
            self.challenge(cx);
            return Err(Answer::None);
        }
        if acknowledgement.is_before(unacknowledged) {
            // RFC 5961 §5.2: SND.UNA - MAX.SND.WND <= SEG.ACK.
            let oldest = unacknowledged - self.send_window.largest();
            if acknowledgement.is_before(oldest) {
                cx.counters.acknowledges_too_old += 1;
                self.challenge(cx);
                return Err(Answer::None);
            }
            // A duplicate: its data and its FIN may be new all the same.
            self.notification.received(repr.flags, incoming.marked);
            return Ok(());
        }
        cx.counters.congestion_marks += u64::from(incoming.marked);
        self.notification.received(repr.flags, incoming.marked);
        let was_closed = self.send_window.window() == 0;
        let changed = self
            .send_window
            .update(repr.sequence, acknowledgement, repr.window);
        let echo = self.timestamps.and_then(|state| {
            let echo = repr.options.timestamps?.echo;
            state.clock.instant(cx.now, echo)
        });
        let congestion_echo = self.notification.is_echo(repr.flags);
        let facts = Acknowledgement {
            acknowledgement,
            window: self.send_window.window(),
            sack: if self.sack { &repr.options.sack } else { &[] },
            timestamp_echo: echo,
            // RFC 5681 §2; but what answers a probe of a closed window tells of no loss.
            duplicate: acknowledgement == unacknowledged
                && incoming.length() == 0
                && !changed
                && next != unacknowledged
                && self.send_window.window() > 0,
            ecn_echo: congestion_echo,
        };
        let outcome = self
            .sender
            .handle_acknowledgement(cx.now, cx.segments, &facts);
        if outcome.congestion_reduced {
            cx.counters.congestion_echoes += u64::from(congestion_echo);
            self.notification.reduce();
        }
        cx.counters.spurious += u64::from(outcome.undone);
        if outcome.acknowledged > 0 {
            self.stalled_since = cx.now;
            self.soft_error = None;
            self.path_probe_acknowledged(cx);
            self.events |= TcpEvents::WRITABLE;
        }
        if was_closed && self.send_window.window() > 0 {
            // What was shut out for so long waits for an answer only from now on.
            self.stalled_since = cx.now;
            self.persist.stop();
            self.sender.window_opened(cx.now);
        }
        if outcome.fin_acknowledged {
            self.take_fin_acknowledgement(cx);
        }
        Ok(())
    }

    /// Both SYNs are acknowledged.
    pub(super) fn establish(&mut self, cx: &mut Context<'_, '_>, repr: &TcpRepr) {
        if let Some(handshake) = self.handshake.take() {
            if handshake.repeated {
                self.sender.after_handshake_timeout();
            } else {
                let round_trip = cx.now.saturating_duration_since(handshake.sent_at);
                self.sender.round_trip_mut().sample(round_trip, 1);
            }
        }
        if !repr.flags.contains(TcpFlags::SYN) {
            // That of a SYN was taken with its options, unscaled (RFC 7323 §2.2).
            self.send_window = SendWindow::of_acknowledgement(
                repr.window,
                self.send_window.scale(),
                repr.sequence,
                repr.acknowledgement,
            );
        }
        self.stalled_since = cx.now;
        self.enter(cx, TcpState::Established);
        if self.close_pending {
            // CLOSE came in SYN-RECEIVED (RFC 9293 §3.10.4).
            self.close_pending = false;
            self.finish_sending(cx, TcpState::FinWait1);
        }
    }

    /// Our FIN is acknowledged, and with it all that was sent.
    fn take_fin_acknowledgement(&mut self, cx: &mut Context<'_, '_>) {
        match self.state {
            TcpState::FinWait1 => self.enter(cx, TcpState::FinWait2),
            TcpState::Closing => self.enter(cx, TcpState::TimeWait),
            TcpState::LastAck => self.enter(cx, TcpState::Closed),
            _ => {}
        }
    }
}
