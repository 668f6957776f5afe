//! A segment arrives (RFC 9293 §3.10.7), in the order of the specification.

mod acceptance;
mod acknowledgement;
mod syn_sent;
mod text;

use mirage_core::Frame;

use super::{Connection, Context, TcpState};
use crate::tcp::{CongestionControl, SequenceNumber};
use crate::wire::tcp::{TcpFlags, TcpRepr};

/// A received segment whose checksum is right, without its headers.
pub(crate) struct Incoming {
    pub(crate) repr: TcpRepr,
    /// The data; its pages may still be of the device's receive reserve.
    pub(crate) payload: Frame,
    /// Octets of payload in each segment, where the device has merged several. Zero: it is one segment.
    pub(crate) segment: u16,
    /// A router marked it (RFC 3168: Congestion Experienced).
    pub(crate) marked: bool,
}

impl Incoming {
    /// SEG.LEN: octets of data, and one for each of SYN and FIN.
    pub(crate) fn length(&self) -> u32 {
        segment_length(&self.repr, self.payload.len())
    }

    fn has(&self, flags: TcpFlags) -> bool {
        self.repr.flags.contains(flags)
    }
}

/// SEG.LEN of a segment with so many octets of data.
pub(crate) fn segment_length(repr: &TcpRepr, octets: usize) -> u32 {
    octets as u32
        + u32::from(repr.flags.contains(TcpFlags::SYN))
        + u32::from(repr.flags.contains(TcpFlags::FIN))
}

/// What the segment itself is to be answered with, beside what `poll_transmit` will give.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub(crate) enum Answer {
    /// Nothing.
    None,
    /// A reset that refers to the segment, not to the connection (RFC 9293 §3.5.2, groups 1 and 2).
    Reset,
}

impl Answer {
    /// The reset for a segment: one that the sender will find acceptable (RFC 9293 §3.10.7.1). None for a reset.
    pub(crate) fn reset(repr: &TcpRepr, octets: usize) -> Option<TcpRepr> {
        if repr.flags.contains(TcpFlags::RST) {
            return None;
        }
        let mut reset = TcpRepr {
            source_port: repr.destination_port,
            destination_port: repr.source_port,
            flags: TcpFlags::RST,
            ..TcpRepr::default()
        };
        if repr.flags.contains(TcpFlags::ACK) {
            reset.sequence = repr.acknowledgement;
        } else {
            reset.flags |= TcpFlags::ACK;
            reset.sequence = SequenceNumber::new(0);
            reset.acknowledgement = repr.sequence + segment_length(repr, octets);
        }
        Some(reset)
    }
}

impl<C: CongestionControl> Connection<C> {
    /// A segment of this connection arrived (input). Borrowed, not moved: what was taken of it is gone from it.
    pub(crate) fn handle_segment(
        &mut self,
        cx: &mut Context<'_, '_>,
        incoming: &mut Incoming,
    ) -> Answer {
        let answer = match self.state {
            // The four-tuple is TIME-WAIT's by now, or nobody's.
            TcpState::Closed | TcpState::TimeWait => Answer::None,
            TcpState::SynSent => self.arrives_in_syn_sent(cx, incoming),
            _ => self.arrives(cx, incoming),
        };
        self.watch(cx);
        answer
    }

    /// RFC 9293 §3.10.7.4.
    fn arrives(&mut self, cx: &mut Context<'_, '_>, incoming: &mut Incoming) -> Answer {
        self.take_repeated_syn(incoming);
        // First: the sequence number; second: RST; third: security, which nobody has; fourth: SYN.
        if !self.accept(cx, incoming) {
            return Answer::None;
        }
        // Fifth: ACK.
        if let Err(answer) = self.take_acknowledgement(cx, incoming) {
            return answer;
        }
        self.take_signs(cx, incoming);
        if !matches!(
            self.state,
            TcpState::Closed | TcpState::TimeWait | TcpState::SynReceived
        ) {
            // Sixth: URG; seventh: the text; eighth: FIN.
            self.take_urgent(incoming);
            self.take_text(cx, incoming);
        }
        Answer::None
    }

    /// After a simultaneous open the peer's SYN comes a second time, with the acknowledgement of ours: it begins where the
    /// first did, so it is before the window; what it acknowledges counts all the same (RFC 9293 §3.5, figure 8).
    fn take_repeated_syn(&mut self, incoming: &mut Incoming) {
        if self.state == TcpState::SynReceived
            && incoming.has(TcpFlags::SYN | TcpFlags::ACK)
            && !incoming.has(TcpFlags::RST)
            && incoming.repr.sequence == self.peer_sequence
        {
            // With the SYN go the flags that offer ECN: on what is left they would mean something else.
            let offer = TcpFlags::SYN | TcpFlags::ECE | TcpFlags::CWR;
            incoming.repr.flags.remove(offer);
            incoming.repr.sequence += 1;
            // The window of a SYN is not scaled (RFC 7323 §2.2); that of what it is now is.
            incoming.repr.window >>= self.send_window.scale();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 9293 §3.10.7.1.
    #[test]
    fn rfc9293_3_10_7_1_a_reset_is_acceptable_to_its_receiver() {
        let mut repr = TcpRepr {
            source_port: 1,
            destination_port: 2,
            sequence: SequenceNumber::new(u32::MAX),
            acknowledgement: SequenceNumber::new(77),
            flags: TcpFlags::SYN | TcpFlags::FIN,
            ..TcpRepr::default()
        };
        let reset = Answer::reset(&repr, 10).unwrap();
        assert_eq!((reset.source_port, reset.destination_port), (2, 1));
        assert_eq!(reset.flags, TcpFlags::RST | TcpFlags::ACK);
        assert_eq!(reset.sequence, SequenceNumber::new(0));
        assert_eq!(reset.acknowledgement, SequenceNumber::new(11));
        repr.flags |= TcpFlags::ACK;
        let reset = Answer::reset(&repr, 10).unwrap();
        assert_eq!(reset.flags, TcpFlags::RST);
        assert_eq!(reset.sequence, SequenceNumber::new(77));
        repr.flags |= TcpFlags::RST;
        assert_eq!(Answer::reset(&repr, 10), None);
    }
}
