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
/// The same, when one of that size has got through before: then it is rather that the path loses much.
const SUSPICIOUS_IF_PROVEN: u8 = 6;

/// The time from a suspicion to the first larger segment that tests it; it doubles with each that is lost, for a path that loses
/// much is suspected wrongly, and often.
const FIRST_TEST: Duration = Duration::from_secs(1);
/// The longest time to the next such test, and the time after what a router said (RFC 1191 §6.3: ten minutes).
const NEXT_TEST: Duration = Duration::from_secs(600);
/// So often doubled the first time is longer than the longest. Even: what is tested first then is the highest.
const MOST_DOUBLED: u8 = 10;

/// The size of the segments that a connection sends.
#[derive(Debug, Clone, Copy)]
pub(crate) struct SegmentSize {
    /// Bytes of the IP header.
    ip_header: u16,
    /// Bytes that the interface takes, IP header included.
    interface: u16,
    /// Bytes that the path takes if no suspicion is right: the interface's, or what routers said, which is tested when it is old.
    highest: u16,
    /// Bytes that the path is taken to take: `highest`, or less, as is suspected.
    path: u16,
    /// Octets of payload that the peer takes.
    peer: u16,
    /// Of a larger size, while `path` is below the interface's; before it is proven, of that very size.
    search: Option<Search>,
    /// A segment of the largest size that `path` ever was got through.
    proven: bool,
}

/// The search for a larger packet that the path takes: RFC 4821 §7.
#[derive(Debug, Clone, Copy)]
struct Search {
    /// How often the time to the next test was doubled; from [`MOST_DOUBLED`] on, where that makes it no longer, this and one more by
    /// turns, since every other test is of another size.
    doubled: u8,
    /// When the next test may be made.
    again: Instant,
    probe: Option<Probe>,
}

/// A segment that is larger than the others, and in the network.
#[derive(Debug, Clone, Copy)]
struct Probe {
    first: SequenceNumber,
    octets: u16,
    /// Bytes of its packet.
    mtu: u16,
}

impl Search {
    fn new(now: Instant, doubled: u8) -> Self {
        let mut search = Search {
            doubled,
            again: now,
            probe: None,
        };
        search.wait(now);
        search
    }

    fn wait(&mut self, now: Instant) {
        let wait = FIRST_TEST.saturating_mul(1 << self.doubled.min(MOST_DOUBLED));
        self.again = now.saturating_add(wait.min(NEXT_TEST));
    }

    fn failed(&mut self, now: Instant) {
        self.probe = None;
        self.doubled = if self.doubled > MOST_DOUBLED {
            MOST_DOUBLED
        } else {
            self.doubled + 1
        };
        self.wait(now);
    }
}

impl SegmentSize {
    pub(crate) fn new(now: Instant, tuple: &FourTuple, path: u16, interface: u16) -> Self {
        let path = path.min(interface);
        SegmentSize {
            ip_header: ip_header_len(tuple.local_address),
            interface,
            highest: path,
            path,
            peer: u16::MAX,
            // What is known of the path is what a router once said to somebody.
            search: (path < interface).then(|| Search::new(now, MOST_DOUBLED)),
            proven: false,
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
        self.payload_of(self.path, options)
    }

    fn payload_of(&self, mtu: u16, options: u16) -> u16 {
        mtu.saturating_sub(self.ip_header + TCP_HEADER)
            .min(self.peer)
            .saturating_sub(options)
            .max(8)
    }

    /// What is of use of a packet's size: the peer's MSS is a bound of it.
    fn useful(&self, mtu: u16) -> u16 {
        mtu.min(self.peer.saturating_add(self.ip_header + TCP_HEADER))
    }

    /// Takes the next lower step; says whether there was one.
    fn suspect(&mut self, now: Instant) -> bool {
        let used = self.useful(self.path);
        let Some(step) = STEPS.into_iter().find(|step| *step < used) else {
            return false;
        };
        let doubled = match self.search {
            Some(search) if self.path < self.highest => search.doubled,
            // The first suspicion.
            _ => 0,
        };
        self.path = step;
        self.search = Some(Search::new(now, doubled));
        true
    }

    /// A router said that the path takes no more than this.
    fn reduce(&mut self, now: Instant, mtu: u16) {
        self.path = mtu;
        self.highest = mtu;
        self.search = Some(Search::new(now, MOST_DOUBLED));
    }

    /// A router said, in answer to a test, that the path takes no more than this, which is no less than it is taken to take.
    fn refused(&mut self, now: Instant, mtu: u16) {
        self.highest = mtu;
        let doubled = if self.path < self.useful(mtu) {
            0
        } else {
            MOST_DOUBLED
        };
        self.search = Some(Search::new(now, doubled));
    }

    /// The size to test now: the highest where a smaller one is suspected, else the interface's; every other time the next step, if that
    /// is below.
    fn candidate(&self, now: Instant) -> Option<u16> {
        let search =
            (self.search).filter(|search| search.probe.is_none() && now >= search.again)?;
        let mut highest = self.useful(self.highest);
        if self.path >= highest {
            highest = self.useful(self.interface);
        }
        let mut steps = STEPS.into_iter().rev();
        let step = steps.find(|step| *step > self.path && *step < highest);
        let candidate = match step {
            Some(step) if search.doubled % 2 == 1 => step,
            _ => highest,
        };
        (candidate > self.path).then_some(candidate)
    }

    /// The segment whose size is tested is acknowledged: the path takes such. Says whether that was not known.
    fn passed(&mut self, now: Instant, probe: &Probe) -> bool {
        let raised = probe.mtu > self.path;
        self.path = self.path.max(probe.mtu);
        self.highest = self.highest.max(self.path);
        let more = self.path < self.useful(self.highest);
        self.proven |= !more;
        self.search = match self.search {
            _ if more => Some(Search::new(now, 0)),
            _ if self.path >= self.useful(self.interface) => None,
            // The time to the next test goes on.
            Some(search) if !raised => Some(Search {
                probe: None,
                ..search
            }),
            _ => Some(Search::new(now, MOST_DOUBLED)),
        };
        raised
    }

    /// A full-sized segment was sent: what becomes of it shows whether the path takes such, if that is not known.
    fn prove(&mut self, now: Instant, first: SequenceNumber, octets: u16) {
        if self.proven || self.path < self.useful(self.highest) {
            return;
        }
        let mut search = self.search.unwrap_or_else(|| Search::new(now, 0));
        let mtu = self.path;
        search.probe.get_or_insert(Probe { first, octets, mtu });
        self.search = Some(search);
    }

    /// The segment whose size is tested was lost, or was sent again without need.
    fn lost(&mut self, now: Instant) {
        match &mut self.search {
            Some(search) if search.probe.is_some_and(|probe| probe.mtu > self.path) => {
                search.failed(now);
            }
            // It may have been like any other loss, and the next one of that size will show it.
            Some(search) if self.path < self.interface => search.probe = None,
            _ => self.search = None,
        }
    }

    /// Time-outs in a row that are suspicious.
    fn suspicious(&self) -> u8 {
        if self.proven {
            SUSPICIOUS_IF_PROVEN
        } else {
            SUSPICIOUS
        }
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
        if let Some(search) = self.size.search
            && let Some(probe) = search.probe
            && mtu >= self.size.path
            && mtu < probe.mtu
            && sequence.is_within(probe.first, probe.octets.into())
        {
            // RFC 4821 §7.6.2: the answer to the test. Such a loss is no sign of congestion.
            self.size.refused(cx.now, mtu);
            self.sender
                .segment_too_large(cx.segments, probe.first, probe.octets.into());
            return true;
        }
        if mtu >= self.size.path {
            return false;
        }
        self.size.reduce(cx.now, mtu);
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
        if consecutive >= self.size.suspicious()
            && self.send_window.window() > 0
            && self.outstanding() > u32::from(STEPS[1])
            && self.size.suspect(cx.now)
        {
            self.segment_size_changed(cx);
        }
    }

    /// Octets of payload of a segment that is sent to learn whether the path takes such, if it is time for one (RFC 4821 §7.4): there
    /// are that many to send, both windows have room, and nothing is being recovered from.
    pub(super) fn path_probe(&mut self, cx: &Context<'_, '_>) -> Option<(u32, u16)> {
        let mtu = self.size.candidate(cx.now)?;
        if self.sender.is_recovering() || self.sender.is_probing() {
            return None;
        }
        let octets = self.size.payload_of(mtu, self.fixed_options());
        let room = self
            .sender
            .allowance(cx.now)
            .min(self.room_in_window())
            .min(self.sender.queue().unsent_octets());
        (u32::from(octets) <= room).then_some((octets.into(), mtu))
    }

    /// One was sent.
    pub(super) fn path_probe_sent(&mut self, first: SequenceNumber, octets: u32, mtu: u16) {
        if let Some(search) = &mut self.size.search {
            let octets = octets as u16;
            search.probe = Some(Probe { first, octets, mtu });
        }
    }

    /// Something is sent again: if it is of the segment whose size is tested, that did not get through.
    pub(super) fn path_probe_lost(&mut self, cx: &Context<'_, '_>, sequence: SequenceNumber) {
        if let Some(probe) = self.size.search.and_then(|search| search.probe)
            && sequence.is_within(probe.first, probe.octets.into())
        {
            self.size.lost(cx.now);
        }
    }

    /// `octets` of new data were sent from `first` on, in segments of `segment` octets.
    pub(super) fn full_segment_sent(
        &mut self,
        cx: &Context<'_, '_>,
        first: SequenceNumber,
        octets: u32,
        segment: u32,
    ) {
        if octets >= segment && segment == self.segment_size() {
            self.size.prove(cx.now, first, segment as u16);
        }
    }

    /// Something is acknowledged: if it is all of the segment whose size is tested, the path takes such.
    pub(super) fn path_probe_acknowledged(&mut self, cx: &mut Context<'_, '_>) {
        if let Some(probe) = self.size.search.and_then(|search| search.probe)
            && (probe.first + u32::from(probe.octets)).is_at_or_before(self.unacknowledged())
            && self.size.passed(cx.now, &probe)
        {
            cx.counters.path_mtu_raised += 1;
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
        SegmentSize::new(Instant::ZERO, &tuple(80, [10, 0, 0, 2], 9), path, 1_500)
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
    fn rfc4821_7_larger_sizes_are_tested_ever_less_often() {
        let mut size = size(1_500);
        let mut now = Instant::from_secs(1);
        assert_eq!(size.candidate(now), None);
        size.suspect(now);
        size.suspect(now);
        let mut waits = std::vec![];
        for number in 0..14 {
            let start = now;
            while size.candidate(now).is_none() {
                now += Duration::from_secs(1);
            }
            waits.push((now - start).as_secs());
            // The whole, and every other time less.
            let expected = if number % 2 == 1 { 1_280 } else { 1_500 };
            assert_eq!(size.candidate(now), Some(expected), "{number}");
            size.search.as_mut().unwrap().failed(now);
        }
        let expected = [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 600, 600, 600, 600];
        assert_eq!(waits, expected);
    }

    #[test]
    fn rfc4821_7_what_gets_through_is_what_the_path_takes() {
        let mut size = size(1_500);
        let now = Instant::from_secs(1);
        size.suspect(now);
        size.suspect(now);
        let probe = |mtu| Probe {
            first: SequenceNumber::new(7),
            octets: 100,
            mtu,
        };
        assert!(size.passed(now, &probe(1_280)));
        assert_eq!(size.suspicious(), SUSPICIOUS);
        assert_eq!((size.path, size.candidate(now)), (1_280, None));
        let later = now + Duration::from_secs(1);
        assert_eq!(size.candidate(later), Some(1_500));
        assert!(size.passed(later, &probe(1_500)));
        assert_eq!(
            (size.path, size.suspicious()),
            (1_500, SUSPICIOUS_IF_PROVEN)
        );
        assert_eq!(size.candidate(later + Duration::from_secs(9_999)), None);
        // The peer takes no more than this in any case.
        size.suspect(now);
        size.set_peer(1_240);
        assert_eq!(size.candidate(now + Duration::from_secs(9_999)), None);
    }

    /// RFC 1191 §6.3: what was known when the connection began is old after ten minutes.
    #[test]
    fn rfc4821_7_what_was_known_at_the_beginning_is_tested_when_it_is_old() {
        let mut size = size(1_400);
        let old = Instant::from_secs(600);
        assert_eq!(size.candidate(old - Duration::from_nanos(1)), None);
        assert_eq!(size.candidate(old), Some(1_500));
        // A suspicion is another matter, and so is its test; what was known is known again then.
        let now = Instant::from_secs(10);
        assert!(size.suspect(now));
        let later = now + Duration::from_secs(1);
        assert_eq!((size.path, size.candidate(later)), (1_280, Some(1_400)));
        let probe = |mtu| Probe {
            first: SequenceNumber::new(7),
            octets: 100,
            mtu,
        };
        assert!(size.passed(later, &probe(1_400)));
        assert!(size.proven);
        assert_eq!(size.candidate(Instant::from_secs(610)), None);
        assert_eq!(size.candidate(Instant::from_secs(611)), Some(1_500));
        // A router that answers the test with a size between the two is believed, and tried soon.
        size.refused(Instant::from_secs(611), 1_450);
        assert_eq!(size.candidate(Instant::from_secs(612)), Some(1_450));
        assert!(size.passed(Instant::from_secs(612), &probe(1_450)));
        assert_eq!(size.candidate(Instant::from_secs(1_211)), None);
        assert_eq!(size.candidate(Instant::from_secs(1_212)), Some(1_500));
        assert!(size.passed(Instant::from_secs(1_212), &probe(1_500)));
        assert_eq!(size.search.map(|search| search.again), None);
    }

    /// When the interface's size is lost in silence, less than that may get through all the same.
    #[test]
    fn rfc4821_7_what_was_known_at_the_beginning_may_have_become_a_size_between() {
        let mut size = size(576);
        for (seconds, tested) in [(600, 1_500), (1_200, 1_280), (1_800, 1_500)] {
            let now = Instant::from_secs(seconds);
            assert_eq!(size.candidate(now - Duration::from_secs(1)), None);
            assert_eq!(size.candidate(now), Some(tested));
            size.search.as_mut().unwrap().failed(now);
        }
    }

    #[test]
    fn proving_what_is_known_does_not_put_off_the_test_for_more() {
        let mut size = size(1_400);
        for seconds in 1..600 {
            let now = Instant::from_secs(seconds);
            size.prove(now, SequenceNumber::new(7), 100);
            if seconds % 2 == 0 {
                size.lost(now);
            } else if let Some(probe) = size.search.and_then(|search| search.probe) {
                assert!(!size.passed(now, &probe));
            }
        }
        assert!(size.proven);
        assert_eq!(size.candidate(Instant::from_secs(600)), Some(1_500));
    }

    #[test]
    fn segments_never_vanish() {
        let mut size = size(68);
        size.set_peer(1);
        assert_eq!(size.payload(40), 8);
    }
}
