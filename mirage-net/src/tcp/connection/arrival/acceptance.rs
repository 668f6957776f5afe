//! Whether a segment is acceptable: sequence number, timestamp, RST and SYN (RFC 9293 §3.10.7.4, first to fourth;
//! RFC 7323 §5; RFC 5961 §3 and §4).

use super::Incoming;
use crate::tcp::connection::{Connection, Context, Role, TcpState};
use crate::tcp::error::TcpError;
use crate::tcp::{CongestionControl, SequenceNumber};
use crate::wire::tcp::TcpFlags;

impl<C: CongestionControl> Connection<C> {
    /// Whether the segment goes further: to its acknowledgement and its text.
    pub(super) fn accept(&mut self, cx: &mut Context<'_, '_>, incoming: &mut Incoming) -> bool {
        if !self.is_recent(cx, incoming) {
            return false;
        }
        let sequence = incoming.repr.sequence;
        // Of a reset the number alone counts, whatever data it explains itself with (RFC 9293 §3.5.3, SHLD-2), and
        // whatever room there is for them (MUST-66).
        let length = match incoming.has(TcpFlags::RST) {
            true => 0,
            false => incoming.length(),
        };
        if !self.is_acceptable(sequence, length) {
            self.take_unacceptable(cx, incoming);
            return false;
        }
        if incoming.has(TcpFlags::RST) {
            self.take_reset(cx, sequence);
            return false;
        }
        if incoming.has(TcpFlags::SYN) {
            cx.counters.syn_in_connection += 1;
            if self.state == TcpState::SynReceived && self.role == Role::Passive {
                // Back to LISTEN, without a word: the listener was never told of it.
                self.enter(cx, TcpState::Closed);
            } else {
                self.challenge(cx);
            }
            return false;
        }
        if !incoming.has(TcpFlags::ACK) {
            cx.counters.without_acknowledgement += 1;
            return false;
        }
        true
    }

    /// Takes what an acceptable segment says of the peer beside its text, once its acknowledgement was found to be in range: who
    /// guesses a sequence number alone must neither set TS.Recent, which would shut the peer's own segments out, nor
    /// pass for it (RFC 5961 §5.2).
    pub(super) fn take_signs(&mut self, cx: &Context<'_, '_>, incoming: &Incoming) {
        self.heard(cx);
        if let (Some(state), Some(timestamps)) =
            (&mut self.timestamps, incoming.repr.options.timestamps)
        {
            let covers = incoming
                .repr
                .sequence
                .is_at_or_before(self.acknowledging.last());
            state.observe(timestamps.value, covers, cx.now);
        }
    }

    /// The acceptability test of RFC 9293 §3.10.7.4, table 6.
    pub(super) fn is_acceptable(&self, sequence: SequenceNumber, length: u32) -> bool {
        let next = self.receive.next();
        let window = self.receive_window.offered(next);
        match (length, window) {
            (0, 0) => sequence == next,
            (0, _) => sequence.is_within(next, window),
            (_, 0) => false,
            _ => {
                sequence.is_within(next, window)
                    || (sequence + (length - 1)).is_within(next, window)
            }
        }
    }

    /// PAWS (RFC 7323 §5.3, R1), and §3.2: where timestamps were agreed on, every segment but a reset has one.
    fn is_recent(&mut self, cx: &mut Context<'_, '_>, incoming: &Incoming) -> bool {
        let Some(state) = &self.timestamps else {
            return true;
        };
        if incoming.has(TcpFlags::RST) {
            return true;
        }
        match incoming.repr.options.timestamps {
            Some(timestamps) if !state.is_old(timestamps.value, cx.now) => true,
            // A SYN of a host that began anew need not have one: it is challenged.
            None if incoming.has(TcpFlags::SYN) => true,
            None => {
                cx.counters.paws += 1;
                false
            }
            Some(_) => {
                cx.counters.paws += 1;
                if incoming.has(TcpFlags::SYN) {
                    cx.counters.syn_in_connection += 1;
                    self.challenge(cx);
                } else {
                    self.correct(cx, !incoming.payload.is_empty());
                }
                false
            }
        }
    }

    /// What is done with a segment that is outside of the window: it is answered, unless it is a reset. Where it can only be a
    /// retransmission or a probe, what it acknowledges counts: "special allowance should be made" (RFC 9293 §3.10.7.4), for else
    /// two ends that probe each other's closed windows never learn that they opened.
    fn take_unacceptable(&mut self, cx: &mut Context<'_, '_>, incoming: &mut Incoming) {
        cx.counters.out_of_window += 1;
        if incoming.has(TcpFlags::RST) {
            return;
        }
        if incoming.has(TcpFlags::SYN) {
            // RFC 5961 §4.2: whatever its sequence number.
            cx.counters.syn_in_connection += 1;
            if self.state == TcpState::SynReceived
                && self.role == Role::Active
                && incoming.repr.sequence == self.peer_sequence
                && let Some(handshake) = &mut self.handshake
            {
                // The peer did not get our SYN,ACK.
                handshake.due = true;
            } else {
                self.challenge(cx);
            }
            return;
        }
        let next = self.receive.next();
        let window = self.receive_window.offered(next);
        let sequence = incoming.repr.sequence;
        let length = incoming.length();
        let near = sequence.is_at_or_before(next + window)
            && sequence.is_at_or_after(next - self.receive_window.limit());
        if near && incoming.has(TcpFlags::ACK) && self.state.is_synchronised() {
            if self.take_acknowledgement(cx, incoming).is_err() {
                return;
            }
            self.heard(cx);
            self.observe_repetition(cx, incoming);
            if !self.state.is_synchronised() {
                return;
            }
            if window == 0 && sequence == next {
                // RFC 9293 §3.8.6, MUST-66: "even when the receive window is zero".
                self.take_urgent(incoming);
            }
            if !incoming.payload.is_empty()
                && self.state.takes_data()
                && (sequence + length).is_at_or_before(next)
            {
                // All of it came before: the queue remembers to say so (RFC 2883).
                self.take_duplicate(cx, incoming);
            }
            if length == 0 && sequence == next + window {
                // At the right edge, where a sender stands whose segments were lost: nothing to correct.
                return;
            }
        }
        self.correct(cx, length > 0);
    }

    /// RFC 7323 §4.3 (2) holds for what came before, too: the peer repeats what ends where our last acknowledgement stood
    /// because that was lost, and the one that it gets now answers the repetition. With the echo of the first copy the peer
    /// would take the time that it has waited for a round trip.
    fn observe_repetition(&mut self, cx: &Context<'_, '_>, incoming: &Incoming) {
        let (sequence, last) = (incoming.repr.sequence, self.acknowledging.last());
        let end = sequence + incoming.length();
        if let (Some(state), Some(timestamps)) =
            (&mut self.timestamps, incoming.repr.options.timestamps)
            && incoming.length() > 0
            && sequence.is_at_or_before(last)
            && end.is_at_or_after(last)
        {
            state.observe(timestamps.value, true, cx.now);
        }
    }

    /// RFC 5961 §3.2: only the exact number resets; another one in the window is challenged.
    fn take_reset(&mut self, cx: &mut Context<'_, '_>, sequence: SequenceNumber) {
        if sequence != self.receive.next() {
            cx.counters.reset_inexact += 1;
            self.challenge(cx);
            return;
        }
        cx.counters.resets_received += 1;
        match self.state {
            TcpState::SynReceived => match self.role {
                Role::Passive => self.enter(cx, TcpState::Closed),
                Role::Active => self.fail(cx, TcpError::Refused),
            },
            // Everything was received, and only our FIN is open: the owner lost nothing.
            TcpState::Closing | TcpState::LastAck
                if self.outstanding() <= 1 && !self.has_unsent() =>
            {
                self.enter(cx, TcpState::Closed);
            }
            _ => self.fail(cx, TcpError::Reset),
        }
    }

    /// The peer is there.
    fn heard(&mut self, cx: &Context<'_, '_>) {
        self.heard_at = cx.now;
        self.keep_alive.heard();
    }
}
