//! The sender of a connection: what leaves, what was lost, what is sent again, and when.
//!
//! [`Sender`] holds the send queue, the round-trip estimate and the congestion control, and what connects them:
//!
//! | | |
//! |---|---|
//! | the scoreboard | RFC 2018, RFC 6675: what the peer has reported, with a bound on what one acknowledgement costs |
//! | RACK | RFC 8985 §6: what was sent before something that has arrived is lost, some time later |
//! | tail loss probes | RFC 8985 §7 |
//! | PRR | RFC 9937: what leaves during recovery |
//! | without SACK | RFC 5681 §3.2, RFC 3042, RFC 6582: three duplicates, partial acknowledgements |
//! | undoing | by timestamps (Eifel, RFC 3522 and 4015), by D-SACK (RFC 2883, RFC 3708), by F-RTO (RFC 5682) |
//!
//! It has one timer, [`poll_timeout`](Sender::poll_timeout), of three kinds: RACK's reordering timer, the probe time-out and
//! the retransmission time-out.
//!
//! # Order of calls
//!
//! 1. [`handle_acknowledgement`](Sender::handle_acknowledgement) and [`handle_timeout`](Sender::handle_timeout), the inputs;
//! 2. [`retransmit`](Sender::retransmit), until it gives nothing;
//! 3. [`transmit`](Sender::transmit), while [`allowance`](Sender::allowance) and the peer's window let it;
//! 4. [`poll_timeout`](Sender::poll_timeout), last.

mod acknowledgement;
mod prr;
mod rack;
mod scoreboard;
mod tail_loss;
mod timer;
mod transmit;
mod undo;

pub use acknowledgement::{Acknowledgement, AcknowledgementOutcome};
pub use timer::LossTimeout;

use mirage_core::Instant;

use super::SequenceNumber;
use super::congestion::{AnyCongestion, CongestionControl};
use super::round_trip::{RoundTrip, RoundTripConfig};
use super::segments::SegmentTable;
use super::send_queue::SendQueue;

use prr::Prr;
use rack::Rack;
use tail_loss::Probe;
use timer::TimerKind;
use undo::{ForwardRto, Undo};

/// Whether something is being recovered from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Open,
    /// A loss was detected without a time-out, or a congestion mark was echoed: until all is acknowledged that was
    /// outstanding then.
    Recovery,
    /// The retransmission timer ran out: until all is acknowledged that was outstanding then.
    Loss,
}

/// What may leave once beyond the window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Permit {
    None,
    /// A segment that is marked lost.
    Lost,
    /// A probe: the last segment again.
    Again,
    /// A probe: a new segment.
    New,
}

/// How full the window was in the last round: whether it may grow (RFC 9438 §5.8).
#[derive(Debug, Clone, Copy)]
struct Usage {
    /// What ends the round when it is acknowledged.
    end: SequenceNumber,
    /// The most that was in flight.
    flight: u32,
    /// The window had no room for another segment.
    full: bool,
}

/// The send queue of a connection, with loss recovery, round-trip estimate and congestion control.
///
/// Everything is counted in octets of sequence space, the FIN as one. Of what an acknowledgement costs see
/// [`handle_acknowledgement`](Self::handle_acknowledgement).
#[derive(Debug)]
pub struct Sender<C = AnyCongestion> {
    queue: SendQueue,
    round_trip: RoundTrip,
    congestion: C,
    maximum_segment: u32,
    phase: Phase,
    /// SND.NXT when the phase began. In [`Phase::Open`]: when the last one did.
    recovery_point: SequenceNumber,
    prr: Prr,
    rack: Rack,
    probe: Option<Probe>,
    undo: Option<Undo>,
    usage: Usage,
    timer: TimerKind,
    timer_at: Instant,
    /// When the retransmission timer was started last.
    started: Instant,
    /// When something was sent last.
    sent_at: Instant,
    /// Duplicate acknowledgements since SND.UNA moved, from a peer without SACK.
    duplicates: u32,
    /// Retransmission time-outs since SND.UNA moved.
    timeouts: u8,
    permit: Permit,
    forward_rto: ForwardRto,
    sack: bool,
}

// A hundred thousand idle connections have as many of these.
#[cfg(target_pointer_width = "64")]
const _: () = assert!(size_of::<Sender>() <= 480 && size_of::<super::ReceiveQueue>() <= 64);

impl<C: CongestionControl> Sender<C> {
    /// A sender whose first octet will have the number `first`, in segments of at most `maximum_segment` octets. The peer
    /// is taken not to speak SACK.
    pub fn new(
        first: SequenceNumber,
        maximum_segment: u32,
        mut congestion: C,
        round_trip: RoundTripConfig,
    ) -> Self {
        congestion.set_maximum_segment(maximum_segment.max(1));
        Sender {
            queue: SendQueue::new(first),
            round_trip: RoundTrip::new(round_trip),
            congestion,
            maximum_segment: maximum_segment.max(1),
            phase: Phase::Open,
            recovery_point: first - 1,
            prr: Prr::default(),
            rack: Rack::new(first),
            probe: None,
            undo: None,
            usage: Usage {
                end: first,
                flight: 0,
                full: false,
            },
            timer: TimerKind::Off,
            timer_at: Instant::FAR_FUTURE,
            started: Instant::ZERO,
            sent_at: Instant::ZERO,
            duplicates: 0,
            timeouts: 0,
            permit: Permit::None,
            forward_rto: ForwardRto::Off,
            sack: false,
        }
    }

    /// The queue.
    pub fn queue(&self) -> &SendQueue {
        &self.queue
    }

    /// The queue, for the application to put data into.
    pub fn queue_mut(&mut self) -> &mut SendQueue {
        &mut self.queue
    }

    /// The round-trip estimate.
    pub fn round_trip(&self) -> &RoundTrip {
        &self.round_trip
    }

    /// The round-trip estimate, for what the handshake measures.
    pub fn round_trip_mut(&mut self) -> &mut RoundTrip {
        &mut self.round_trip
    }

    /// The congestion control.
    pub fn congestion(&self) -> &C {
        &self.congestion
    }

    /// The congestion window in octets: PRR's during recovery.
    pub fn congestion_window(&self) -> u32 {
        self.window()
    }

    /// The largest payload of a segment.
    pub fn maximum_segment(&self) -> u32 {
        self.maximum_segment
    }

    /// Whether the peer speaks SACK (it sent SACK-permitted): decided by the handshake, before anything is sent.
    pub fn set_sack(&mut self, sack: bool) {
        self.sack = sack;
    }

    /// The largest payload of a segment, from now on: the smaller one of what the peer and the path take, less the options
    /// that each segment has.
    pub fn set_maximum_segment(&mut self, octets: u32) {
        self.maximum_segment = octets.max(1);
        self.congestion.set_maximum_segment(self.maximum_segment);
    }

    /// The SYN had to be repeated: the first window is one segment (RFC 5681 §3.1), the time-out three seconds until a
    /// round trip was measured (RFC 6298 §5.7).
    pub fn after_handshake_timeout(&mut self) {
        self.congestion.on_handshake_timeout();
        self.round_trip.after_handshake_timeout();
    }

    /// The path takes no segments of more than `octets` of payload (RFC 1191 §6.5): all that is in flight is sent again, in
    /// such segments, without a congestion event, for what was too long can't have arrived.
    pub fn path_mtu_reduced(&mut self, table: &mut SegmentTable<'_>, octets: u32) {
        if octets >= self.maximum_segment {
            return;
        }
        self.set_maximum_segment(octets);
        self.queue.mark_all_lost(table);
        self.probe = None;
        self.undo = None;
    }

    /// The path takes no packet as large as that of the segment of `octets` from `first` on, as a router said: it is sent again in
    /// smaller ones, without a congestion event (RFC 4821 §7.6.2).
    pub fn segment_too_large(
        &mut self,
        table: &mut SegmentTable<'_>,
        first: SequenceNumber,
        octets: u32,
    ) {
        self.queue.mark_range_lost(table, first, octets);
    }

    /// Gives all slots and pages back; nothing is sent any more.
    pub fn clear(&mut self, table: &mut SegmentTable<'_>) {
        self.queue.clear(table);
        self.timer = TimerKind::Off;
        self.permit = Permit::None;
        self.probe = None;
        self.undo = None;
    }

    /// Whether a loss, or an echoed congestion mark, is being recovered from.
    pub fn is_recovering(&self) -> bool {
        self.phase != Phase::Open
    }

    /// Whether the next segment is a probe of the tail (RFC 8985 §7), which neither Nagle's algorithm nor the avoidance of
    /// silly windows should hold back.
    pub fn is_probing(&self) -> bool {
        matches!(self.permit, Permit::Again | Permit::New)
    }

    /// The window of octets that may be in flight.
    fn window(&self) -> u32 {
        match self.phase {
            Phase::Recovery => self.prr.window(),
            Phase::Open | Phase::Loss => self.congestion.window(),
        }
    }

    /// What is in flight. Each duplicate acknowledgement of a peer without SACK says that a segment has left the network.
    fn in_flight(&self) -> u32 {
        let left = self.duplicates.saturating_mul(self.maximum_segment);
        self.queue.in_flight().saturating_sub(left)
    }
}

#[cfg(test)]
mod tests;
