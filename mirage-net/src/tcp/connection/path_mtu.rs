//! The size of segments (RFC 9293 §3.7.1, RFC 6691), path MTU discovery (RFC 1191, RFC 4821) and what else
//! ICMP says of a connection (RFC 5927).

use core::net::IpAddr;
use core::time::Duration;

use mirage_core::Instant;

use super::{Connection, Context, TcpState};
use crate::tcp::error::TcpError;
use crate::tcp::four_tuple::FourTuple;
use crate::tcp::{CongestionControl, SequenceNumber};

/// Bytes of a TCP header without options.
const TCP_HEADER: u16 = 20;

/// Packets that a path is taken to let through when nothing of a larger size arrives: RFC 8200 §5 for the one, RFC
/// 4821 §7.2 and RFC 1122 §3.3.2 for the other.
const STEPS: [u16; 2] = [1_280, 576];

/// Retransmission time-outs in a row after which a path is suspected to swallow large packets (RFC 4821 §7.7).
const SUSPICIOUS: u8 = 3;

/// How long a suspicion lasts (RFC 1191 §6.3).
const SUSPECTED: Duration = Duration::from_secs(600);

/// The size of the segments that a connection sends.
#[derive(Debug, Clone, Copy)]
pub(crate) struct SegmentSize {
    /// Bytes of the IP header.
    ip_header: u16,
    /// Bytes that the interface takes, IP header included.
    interface: u16,
    /// Bytes that the path takes, as routers said.
    path: u16,
    /// Bytes that it is suspected to take, and until when.
    suspected: Option<(u16, Instant)>,
    /// Octets of payload that the peer takes.
    peer: u16,
}

impl SegmentSize {
    pub(crate) fn new(tuple: &FourTuple, path: u16, interface: u16) -> Self {
        SegmentSize {
            ip_header: ip_header_len(tuple.local_address),
            interface,
            path: path.min(interface),
            suspected: None,
            peer: u16::MAX,
        }
    }

    /// The peer's MSS.
    pub(super) fn set_peer(&mut self, peer: u16) {
        self.peer = peer;
    }

    /// The MSS that we announce: RFC 6691, the interface's MTU less the fixed headers, whatever options there will be.
    pub(crate) fn announced(&self) -> u16 {
        announced_segment(self.ip_header, self.interface)
    }

    /// Octets of payload of a full-sized segment with `options` bytes of options: at least 8.
    pub(crate) fn payload(&self, options: u16) -> u16 {
        let path = match self.suspected {
            Some((suspected, _)) => self.path.min(suspected),
            None => self.path,
        };
        path.saturating_sub(self.ip_header + TCP_HEADER)
            .min(self.peer)
            .saturating_sub(options)
            .max(8)
    }

    /// Takes the next lower step; says whether there was one.
    fn suspect(&mut self, now: Instant) -> bool {
        let current = match self.suspected {
            Some((suspected, _)) => self.path.min(suspected),
            None => self.path,
        };
        let used = current.min(self.peer.saturating_add(self.ip_header + TCP_HEADER));
        let Some(step) = STEPS.into_iter().find(|step| *step < used) else {
            return false;
        };
        self.suspected = Some((step, now.saturating_add(SUSPECTED)));
        true
    }
}

/// Bytes of an IP header of ours.
pub(crate) fn ip_header_len(address: IpAddr) -> u16 {
    match address {
        IpAddr::V4(_) => 20,
        IpAddr::V6(_) => 40,
    }
}

/// The MSS that is announced on an interface.
pub(crate) fn announced_segment(ip_header: u16, interface: u16) -> u16 {
    interface.saturating_sub(ip_header + TCP_HEADER).max(8)
}

impl<C: CongestionControl> Connection<C> {
    /// A router said that the path takes only `mtu` bytes, in an error that quotes the segment at `sequence` (input). Says
    /// whether it is believed: the segment must be in flight, and larger than that (RFC 5927 §7).
    pub(crate) fn handle_path_mtu(
        &mut self,
        cx: &mut Context<'_, '_>,
        sequence: SequenceNumber,
        mtu: u16,
    ) -> bool {
        if !self.is_in_flight(sequence) {
            cx.counters.icmp_out_of_window += 1;
            return false;
        }
        if mtu >= self.size.path {
            return false;
        }
        self.size.path = mtu;
        self.segment_size_changed(cx);
        true
    }

    /// ICMP Unreachable quotes the segment at `sequence` (input). RFC 5927 §5.2: a connection that is established goes on, for
    /// its own time-outs say better when to give up; an attempt to connect ends when host or port say so themselves.
    pub(crate) fn handle_unreachable(
        &mut self,
        cx: &mut Context<'_, '_>,
        sequence: SequenceNumber,
        code: u8,
    ) -> bool {
        if !self.is_in_flight(sequence) {
            cx.counters.icmp_out_of_window += 1;
            return false;
        }
        // RFC 1122 §4.2.3.9: protocol and port unreachable are hard.
        let hard = matches!(code, 2 | 3);
        if hard && self.state == TcpState::SynSent {
            cx.counters.hard_errors += 1;
            self.fail(cx, TcpError::Unreachable(code));
        } else {
            cx.counters.soft_errors += 1;
            self.soft_error = Some(code);
        }
        true
    }

    /// Whether an octet with this number is sent and not acknowledged.
    pub(crate) fn is_in_flight(&self, sequence: SequenceNumber) -> bool {
        let first = self.unacknowledged();
        let length = match self.state {
            TcpState::Closed | TcpState::TimeWait => 0,
            _ => self.send_next().distance_from(first),
        };
        sequence.is_within(first, length)
    }

    /// RFC 4821 §7.7: large segments time out, again and again, and no router says why.
    pub(super) fn suspect_path(&mut self, cx: &mut Context<'_, '_>, consecutive: u8) {
        if consecutive >= SUSPICIOUS
            && self.send_window.window() > 0
            && self.outstanding() > u32::from(STEPS[1])
            && self.size.suspect(cx.now)
        {
            self.segment_size_changed(cx);
        }
    }

    /// Forgets a suspicion that is old.
    pub(super) fn trust_path(&mut self, cx: &Context<'_, '_>) {
        if self
            .size
            .suspected
            .is_some_and(|(_, until)| cx.now >= until)
        {
            self.size.suspected = None;
            self.sender.set_maximum_segment(self.segment_size());
        }
    }

    fn segment_size_changed(&mut self, cx: &mut Context<'_, '_>) {
        cx.counters.path_mtu_reduced += 1;
        let segment = self.segment_size();
        self.sender.path_mtu_reduced(cx.segments, segment);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tcp::four_tuple::tests::tuple;

    fn size(path: u16) -> SegmentSize {
        SegmentSize::new(&tuple(80, [10, 0, 0, 2], 9), path, 1_500)
    }

    #[test]
    fn rfc6691_the_sender_takes_the_options_off() {
        let mut size = size(1_500);
        assert_eq!(size.announced(), 1_460);
        assert_eq!(size.payload(12), 1_448);
        size.set_peer(536);
        assert_eq!(size.payload(12), 524);
        // The path is no reason to announce less: it may be another one in the other direction.
        assert_eq!(self::size(600).announced(), 1_460);
    }

    #[test]
    fn rfc4821_7_7_a_black_hole_is_approached_in_steps() {
        let mut size = size(1_500);
        assert!(size.suspect(Instant::ZERO));
        assert_eq!(size.payload(0), 1_240);
        assert!(size.suspect(Instant::ZERO));
        assert_eq!(size.payload(0), 536);
        assert!(!size.suspect(Instant::ZERO));
    }

    #[test]
    fn segments_never_vanish() {
        let mut size = size(68);
        size.set_peer(1);
        assert_eq!(size.payload(40), 8);
    }
}
