//! What goes out, and when: retransmissions, new data, probes, acknowledgements.

use mirage_core::{Frame, Instant};

use super::options::Synchronise;
use super::{Connection, Context, TcpState};
use crate::tcp::four_tuple::FourTuple;
use crate::tcp::{CongestionControl, SequenceNumber, Transmission};
use crate::wire::tcp::{SackBlocks, TcpFlags, TcpOptions, TcpRepr};

/// A segment to be sent.
#[derive(Debug)]
pub(crate) struct Outgoing {
    pub(crate) tuple: FourTuple,
    pub(crate) repr: TcpRepr,
    /// The data, in the pages that they are queued in.
    pub(crate) payload: Frame,
    /// Octets of payload in each segment, where they are more than one: the device cuts them. Zero: it is one segment.
    pub(crate) segment: u16,
    /// Routers may mark it (RFC 3168: ECT(0)).
    pub(crate) markable: bool,
    pub(crate) time_to_live: u8,
}

impl<C: CongestionControl> Connection<C> {
    /// The next segment (output). To be called while there is a page for its header and room for it in the queue to the
    /// device: what was given counts as sent.
    pub(crate) fn poll_transmit(&mut self, cx: &mut Context<'_, '_>) -> Option<Outgoing> {
        let outgoing = self.next_segment(cx);
        if outgoing.is_some() {
            cx.counters.sent += 1;
        }
        self.watch(cx);
        outgoing
    }

    fn next_segment(&mut self, cx: &mut Context<'_, '_>) -> Option<Outgoing> {
        if let Some(sequence) = self.reset_due.take() {
            return Some(self.reset(cx.now, sequence));
        }
        match self.state {
            TcpState::Closed => return None,
            TcpState::SynSent | TcpState::SynReceived => {
                if let Some(outgoing) = self.synchronise(cx) {
                    return Some(outgoing);
                }
            }
            _ if self.state.transmits() => {
                if let Some(outgoing) = self.data(cx) {
                    return Some(outgoing);
                }
            }
            _ => {}
        }
        if core::mem::take(&mut self.keep_alive.due) {
            // RFC 9293 §3.8.4: an octet that the peer has, so that it says what it expects.
            cx.counters.keep_alives += 1;
            let sequence = self.send_next() - 1;
            return Some(self.bare(cx, sequence));
        }
        if self.state != TcpState::SynSent && self.acknowledging.is_due(cx.now) {
            let sequence = self.acknowledgement_sequence();
            return Some(self.bare(cx, sequence));
        }
        None
    }

    /// The sequence number of a segment without data: SND.NXT, but never beyond the peer's window, where it would not be
    /// acceptable; and never set back to what a time-out sends again.
    fn acknowledgement_sequence(&self) -> SequenceNumber {
        let next = self.send_next();
        if self.state == TcpState::SynReceived {
            return next;
        }
        let edge = self.unacknowledged() + self.send_window.window();
        if self.state.transmits() {
            next.earliest(edge)
        } else {
            next
        }
    }

    /// The SYN, or the SYN,ACK.
    fn synchronise(&mut self, cx: &mut Context<'_, '_>) -> Option<Outgoing> {
        let time_out = self.sender.round_trip().timeout();
        let handshake = self.handshake.as_mut().filter(|handshake| handshake.due)?;
        handshake.transmitted(cx.now, time_out);
        let repeated = handshake.repeated;
        cx.counters.retransmitted += u64::from(repeated);
        let answers = self.state == TcpState::SynReceived;
        let scale = Some(self.options.window_scale());
        let synchronise = Synchronise {
            tuple: self.tuple,
            sequence: self.initial_sequence,
            acknowledges: answers.then_some(self.peer_sequence),
            window: self.synchronise_window(),
            maximum_segment: self.size.announced(),
            window_scale: if answers {
                scale.filter(|_| self.peer_scales)
            } else {
                scale
            },
            sack: !answers || self.sack,
            timestamps: match &self.timestamps {
                Some(state) => Some(state.option(cx.now)),
                None if answers => None,
                None => Some(crate::wire::tcp::Timestamps {
                    value: self.clock.value(cx.now),
                    echo: 0,
                }),
            },
            congestion_notification: if answers {
                self.notification.is_agreed()
            } else {
                // RFC 3168 §6.1.1.1: a host that can't bear the flags gets a SYN without them.
                self.options.congestion_notification && !repeated
            },
        };
        if answers {
            self.acknowledging.sent(self.receive.next());
        }
        Some(self.outgoing(synchronise.repr(), Frame::new(), false))
    }

    /// The window that our SYN states: unscaled (RFC 7323 §2.2).
    pub(super) fn synchronise_window(&self) -> u16 {
        self.options.window().min(65_535) as u16
    }

    /// A segment with data or the FIN: what is lost first, then what is new, then a probe.
    fn data(&mut self, cx: &mut Context<'_, '_>) -> Option<Outgoing> {
        let mut payload = Frame::new();
        if self.send_window.window() == 0 {
            if core::mem::take(&mut self.persist.probe_due) {
                let sent = self
                    .sender
                    .probe_window(cx.now, cx.segments, &mut payload)?;
                cx.counters.window_probes += 1;
                return Some(self.data_segment(cx, &sent, payload, SackBlocks::EMPTY, false, true));
            }
            return None;
        }
        if self.sender.has_retransmission() {
            let (blocks, room) = self.blocks(cx);
            if let Some(sent) = self
                .sender
                .retransmit(cx.now, cx.segments, room, &mut payload)
            {
                cx.counters.retransmitted += 1;
                self.path_probe_lost(cx, sent.sequence);
                return Some(self.data_segment(cx, &sent, payload, blocks, false, true));
            }
        }
        let limit = self.sendable(cx)?;
        let (blocks, mut room) = self.blocks(cx);
        let probe = self.path_probe(cx).filter(|_| blocks.is_empty());
        let limit = match probe {
            Some((octets, _)) => {
                room = octets;
                octets
            }
            None => self.whole_segments(cx, limit, room),
        };
        let window = self.room_in_window();
        let idle = self.outstanding() == 0;
        let sent = self
            .sender
            .transmit(cx.now, cx.segments, limit, window, &mut payload)?;
        if idle {
            self.stalled_since = cx.now;
        }
        self.persist.small_due = false;
        if let Some((octets, mtu)) = probe
            && sent.octets == octets
        {
            self.path_probe_sent(sent.sequence, octets, mtu);
        } else {
            self.full_segment_sent(cx, sent.sequence, sent.octets, room);
        }
        if sent.octets % room != 0 {
            self.small = Some(sent.sequence + sent.octets);
        }
        cx.counters.sent_octets += u64::from(sent.octets);
        let push = sent.last || self.sendable(cx).is_none();
        let mut outgoing =
            self.data_segment(cx, &sent, payload, blocks, !sent.retransmission, push);
        if sent.octets > room {
            // At most 65,535 less the headers.
            outgoing.segment = room as u16;
            cx.counters.sent += u64::from(sent.octets.div_ceil(room) - 1);
            cx.counters.sent_uncut += 1;
        }
        Some(outgoing)
    }

    /// How much of `limit` octets goes into one frame, in segments of `segment` octets: one segment, or as many whole ones as
    /// the device cuts; and what follows them, if it is the last that there is and Nagle's algorithm lets it go.
    fn whole_segments(&self, cx: &Context<'_, '_>, limit: u32, segment: u32) -> u32 {
        let one = limit.min(segment);
        let Some(cutting) = cx.cutting.filter(|_| limit > segment) else {
            return one;
        };
        // CWR is one segment's (RFC 3168 §6.1.2), and what cuts repeats the flags in each. A probe is one segment, too.
        if self.notification.is_reduced() || self.sender.is_probing() {
            return one;
        }
        let queue = self.sender.queue();
        let most = limit.min(cutting.octets);
        let pieces = if cx.pool.has_chain() {
            cutting.pieces
        } else {
            // One is the headers'.
            cutting.pieces.min(Frame::INLINE_SEGMENTS - 1)
        };
        let most = queue.octets_in_pieces(cx.segments, most, pieces);
        let rest = most % segment;
        if most < segment {
            // In more pieces than the device takes: a copy of one segment.
            one
        } else if most == queue.unsent_octets() && !self.nagle_waits() {
            most
        } else {
            most - rest
        }
    }

    /// How many octets of new data, if any, are worth sending now, be it in one segment or in several: RFC 9293 §3.8.6.2.1 (the silly window) and §3.7.4 (Nagle,
    /// in the form that waits only for another small segment). Zero for a lone FIN.
    fn sendable(&mut self, cx: &Context<'_, '_>) -> Option<u32> {
        if !self.has_unsent() {
            return None;
        }
        let allowance = self.sender.allowance(cx.now);
        let usable = self.room_in_window();
        let queue = self.sender.queue();
        let unsent = queue.unsent_octets();
        if unsent == 0 {
            return (usable > 0).then_some(0);
        }
        let segment = self.segment_size();
        let size = unsent.min(usable).min(allowance);
        if size == 0 {
            return None;
        }
        if size >= segment || self.sender.is_probing() {
            return Some(size);
        }
        let idle = queue.outstanding() == 0;
        if size == unsent {
            return (!self.nagle_waits()).then_some(size);
        }
        // Cut short by a window: the acknowledgement of what is outstanding may open it.
        let largest_half = self.send_window.largest() / 2;
        let worth_it =
            idle && (size == allowance || size >= largest_half.max(1) || self.persist.small_due);
        worth_it.then_some(size)
    }

    /// Whether Nagle's algorithm lets no small segment go: another one is not acknowledged yet, and more may be written.
    fn nagle_waits(&self) -> bool {
        let queue = self.sender.queue();
        let (unacknowledged, next) = (queue.unacknowledged(), queue.next());
        !self.options.no_delay
            && !queue.is_finished()
            && self
                .small
                .is_some_and(|end| unacknowledged.is_before(end) && end.is_at_or_before(next))
    }

    /// Octets that the peer's window has room for from SND.NXT on.
    pub(super) fn room_in_window(&self) -> u32 {
        let queue = self.sender.queue();
        self.send_window
            .usable(queue.unacknowledged(), queue.next())
    }

    /// The SACK blocks of the next segment, and the octets of payload that fit beside them.
    fn blocks(&mut self, cx: &mut Context<'_, '_>) -> (SackBlocks, u32) {
        let segment = self.segment_size();
        if !self.sack || !self.acknowledging.is_owed() {
            return (SackBlocks::EMPTY, segment);
        }
        let blocks = self.receive.sack_blocks(cx.segments, self.most_blocks());
        let options = TcpOptions {
            sack: blocks,
            ..TcpOptions::NONE
        };
        (blocks, segment.saturating_sub(options.len() as u32).max(8))
    }

    fn most_blocks(&self) -> usize {
        SackBlocks::MAX - usize::from(self.timestamps.is_some())
    }

    /// `push`: nothing of the connection's follows at once. RFC 9293 §3.9.1 asks for PSH behind the last of the queue; it is set as well
    /// where a window lets no more go, and on what is sent again: a receiver that merges segments before it looks at them hears by it
    /// that it need not wait for another.
    fn data_segment(
        &mut self,
        cx: &mut Context<'_, '_>,
        sent: &Transmission,
        payload: Frame,
        blocks: SackBlocks,
        new_data: bool,
        push: bool,
    ) -> Outgoing {
        let mut flags = TcpFlags::empty();
        if sent.fin {
            flags |= TcpFlags::FIN;
        }
        if push && sent.octets > 0 {
            flags |= TcpFlags::PSH;
        }
        self.segment(
            cx,
            sent.sequence,
            flags,
            payload,
            blocks,
            new_data && sent.octets > 0,
        )
    }

    /// A segment without data.
    fn bare(&mut self, cx: &mut Context<'_, '_>, sequence: SequenceNumber) -> Outgoing {
        let blocks = if self.sack {
            self.receive.sack_blocks(cx.segments, self.most_blocks())
        } else {
            SackBlocks::EMPTY
        };
        self.segment(cx, sequence, TcpFlags::empty(), Frame::new(), blocks, false)
    }

    /// A segment with all that each has: acknowledgement, window, timestamps, ECN's flags.
    fn segment(
        &mut self,
        cx: &mut Context<'_, '_>,
        sequence: SequenceNumber,
        flags: TcpFlags,
        payload: Frame,
        sack: SackBlocks,
        new_data: bool,
    ) -> Outgoing {
        let next = self.receive.next();
        let (notified, markable) = self.notification.flags(new_data);
        let step = self.window_step();
        let window = self
            .receive_window
            .tell(next, self.receive.readable(), step);
        self.acknowledging.sent(next);
        let repr = TcpRepr {
            source_port: self.tuple.local_port,
            destination_port: self.tuple.remote_port,
            sequence,
            acknowledgement: next,
            flags: flags | TcpFlags::ACK | notified,
            window,
            options: TcpOptions {
                sack,
                timestamps: self.timestamps.map(|state| state.option(cx.now)),
                ..TcpOptions::NONE
            },
            ..TcpRepr::default()
        };
        self.outgoing(repr, payload, markable)
    }

    /// How far the receive window moves at least: what a segment of the peer's is like.
    pub(super) fn window_step(&self) -> u32 {
        match self.acknowledging.peer_segment() {
            0 => u32::from(self.size.announced()),
            segment => segment,
        }
    }

    /// RFC 9293 §3.10.5: <SEQ=SND.NXT><CTL=RST>, with an acknowledgement where there is something to acknowledge.
    fn reset(&self, now: Instant, sequence: SequenceNumber) -> Outgoing {
        let repr = TcpRepr {
            source_port: self.tuple.local_port,
            destination_port: self.tuple.remote_port,
            sequence,
            acknowledgement: self.receive.next(),
            flags: TcpFlags::RST | TcpFlags::ACK,
            options: TcpOptions {
                // RFC 7323 §3.2: "SHOULD be sent in an <RST> segment", too.
                timestamps: self.timestamps.map(|state| state.option(now)),
                ..TcpOptions::NONE
            },
            ..TcpRepr::default()
        };
        self.outgoing(repr, Frame::new(), false)
    }

    fn outgoing(&self, repr: TcpRepr, payload: Frame, markable: bool) -> Outgoing {
        Outgoing {
            tuple: self.tuple,
            repr,
            payload,
            segment: 0,
            markable,
            time_to_live: self.options.time_to_live,
        }
    }
}
