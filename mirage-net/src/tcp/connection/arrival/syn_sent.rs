//! A segment arrives in SYN-SENT (RFC 9293 §3.10.7.3).

use super::{Answer, Incoming};
use crate::tcp::CongestionControl;
use crate::tcp::connection::options::Offer;
use crate::tcp::connection::{Connection, Context, TcpState};
use crate::tcp::error::TcpError;
use crate::wire::tcp::TcpFlags;

impl<C: CongestionControl> Connection<C> {
    pub(super) fn arrives_in_syn_sent(
        &mut self,
        cx: &mut Context<'_, '_>,
        incoming: &mut Incoming,
    ) -> Answer {
        let repr = incoming.repr;
        // First: ACK. Our SYN is all that there is to acknowledge.
        let acknowledges = incoming.has(TcpFlags::ACK);
        if acknowledges && repr.acknowledgement != self.initial_sequence + 1 {
            cx.counters.acknowledges_unsent += 1;
            return Answer::Reset;
        }
        // Second: RST, which counts only when it acknowledges our SYN (RFC 5961 §3.2).
        if incoming.has(TcpFlags::RST) {
            if acknowledges {
                cx.counters.resets_received += 1;
                self.fail(cx, TcpError::Refused);
            }
            return Answer::None;
        }
        // Third: security. Fourth: SYN.
        if !incoming.has(TcpFlags::SYN) {
            cx.counters.without_acknowledgement += u64::from(!acknowledges);
            return Answer::None;
        }
        let offer = Offer::of(&repr, cx.config);
        let window = self.synchronise_window();
        self.agree(cx, &offer, window);
        self.heard_at = cx.now;
        if !acknowledges {
            // Simultaneous open: our SYN again, with the acknowledgement of theirs. What data it carries comes again.
            self.enter(cx, TcpState::SynReceived);
            if let Some(handshake) = &mut self.handshake {
                handshake.due = true;
            }
            // RFC 3168 §6.1.1 has no word on this case: the SYN,ACK will say whether both do it.
            return Answer::None;
        }
        self.establish(cx, &repr);
        self.acknowledging.at_once();
        // The text, and the FIN, follow the SYN.
        incoming.repr.flags.remove(TcpFlags::SYN);
        incoming.repr.sequence += 1;
        self.take_urgent(incoming);
        self.take_text(cx, incoming);
        Answer::None
    }
}
