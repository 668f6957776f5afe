//! The urgent pointer, the text and the FIN (RFC 9293 §3.10.7.4, sixth to eighth).

use super::Incoming;
use crate::tcp::connection::{Connection, Context, TcpEvents, TcpState};
use crate::tcp::error::TcpError;
use crate::tcp::{Arrival, CongestionControl, ReceiveLimits};
use crate::wire::tcp::TcpFlags;

impl<C: CongestionControl> Connection<C> {
    /// RFC 9293 §3.8.5, RFC 6093: urgent data stay in line; where they end is remembered for the owner.
    pub(super) fn take_urgent(&mut self, incoming: &Incoming) {
        if !incoming.has(TcpFlags::URG) || !self.state.takes_data() {
            return;
        }
        // RFC 6093 §3.2: the pointer names the octet behind the urgent data.
        let end = incoming.repr.sequence + u32::from(incoming.repr.urgent);
        let later = match self.urgent {
            Some(known) => known.is_before(end),
            None => self.receive.next().is_before(end),
        };
        if later {
            self.urgent = Some(end);
        }
    }

    pub(super) fn take_text(&mut self, cx: &mut Context<'_, '_>, incoming: &mut Incoming) {
        let octets = incoming.payload.len();
        let fin = incoming.has(TcpFlags::FIN);
        if octets == 0 && !fin {
            return;
        }
        if !self.state.takes_data() {
            // The peer has said that nothing more will come.
            cx.counters.after_fin += 1;
            self.acknowledging.at_once();
            return;
        }
        let next = self.receive.next();
        let end = incoming.repr.sequence + octets as u32;
        if octets > 0 && self.is_orphan() && end.is_after(next) {
            // RFC 1122 §4.2.2.13, RFC 9293 §3.10.4: nobody will read it, and the peer shall know.
            cx.counters.data_after_close += 1;
            self.reset_due = Some(self.send_next());
            self.fail(cx, TcpError::Reset);
            return;
        }
        let mut limits = self.receive_limits(cx);
        if incoming.repr.sequence.is_after(next) && cx.is_short {
            // It is sent again once what is missing before it is there.
            limits.pages = 0;
        }
        let window = self.receive_window.offered(next);
        let ranges = self.receive.ranges();
        let arrival = self.receive.handle_segment(
            cx.segments,
            cx.pool,
            &limits,
            window,
            incoming.repr.sequence,
            core::mem::take(&mut incoming.payload),
            fin,
        );
        cx.counters.duplicates += u64::from(arrival.duplicate > 0);
        cx.counters.no_room += u64::from(arrival.refused.is_some());
        let data = arrival.advanced.saturating_sub(u32::from(arrival.fin));
        if data > 0 {
            cx.counters.received_octets += u64::from(data);
            self.events |= TcpEvents::READABLE;
            self.owe_acknowledgement(cx, octets as u32, incoming.segment);
        } else if octets > 0 && arrival.duplicate == 0 && arrival.refused.is_none() {
            cx.counters.out_of_order += 1;
        }
        let extends = self.sack
            && ranges > 0
            && arrival
                == Arrival {
                    acknowledge_now: true,
                    copied: arrival.copied,
                    ..Arrival::default()
                }
            && self.receive.ranges() == ranges;
        if extends {
            self.acknowledging.extended();
        } else if arrival.acknowledge_now || arrival.refused.is_some() || arrival.advanced == 0 {
            self.acknowledging.disturbed();
        }
        if arrival.fin {
            self.take_fin(cx);
        }
    }

    /// Text that came before; its FIN, if it has one, did too.
    pub(super) fn take_duplicate(&mut self, cx: &mut Context<'_, '_>, incoming: &mut Incoming) {
        let limits = self.receive_limits(cx);
        let window = self.receive_window.offered(self.receive.next());
        let arrival = self.receive.handle_segment(
            cx.segments,
            cx.pool,
            &limits,
            window,
            incoming.repr.sequence,
            core::mem::take(&mut incoming.payload),
            false,
        );
        cx.counters.duplicates += u64::from(arrival.duplicate > 0);
    }

    fn receive_limits(&self, cx: &Context<'_, '_>) -> ReceiveLimits {
        ReceiveLimits {
            pages: self.options.receive_pages.min(cx.fair_pages).into(),
        }
    }

    /// RCV.NXT moved over the peer's FIN.
    fn take_fin(&mut self, cx: &mut Context<'_, '_>) {
        // Its owner may have something to say to it, and close too.
        self.acknowledging.soon();
        self.events |= TcpEvents::FINISHED | TcpEvents::READABLE;
        match self.state {
            TcpState::SynReceived | TcpState::Established => self.enter(cx, TcpState::CloseWait),
            TcpState::FinWait1 if self.sender.queue().fin_acknowledged() => {
                self.enter(cx, TcpState::TimeWait);
            }
            TcpState::FinWait1 => self.enter(cx, TcpState::Closing),
            TcpState::FinWait2 => self.enter(cx, TcpState::TimeWait),
            _ => {}
        }
    }
}
