//! Congestion control: how much a connection may have in the network.
//!
//! | | |
//! |---|---|
//! | [`CongestionControl`] | the trait: a window, and what happens to it |
//! | [`Cubic`] | RFC 9438, with HyStart++ (RFC 9406) |
//! | [`NewReno`] | RFC 5681, with HyStart++ too |
//! | [`AnyCongestion`] | one of these, chosen at run time |
//!
//! What leaves when, within the window, is [`Sender`](super::Sender)'s: during recovery from a loss it is RFC 9937's
//! proportional rate reduction that lets segments out, and the window here waits at the slow-start threshold.

mod cubic;
mod new_reno;
mod slow_start;

pub use cubic::Cubic;
pub use new_reno::NewReno;

use core::time::Duration;

use mirage_core::Instant;

use super::SequenceNumber;

/// The largest congestion window, in octets: the largest window of a peer (RFC 7323 §2.3).
pub const MAX_WINDOW: u32 = 1 << 30;

/// An algorithm that says how many octets may be in the network.
///
/// All sizes are in octets of sequence space. The methods `on_…` are inputs, and come in the order of the events.
pub trait CongestionControl {
    /// The congestion window, at least one segment, at most [`MAX_WINDOW`].
    fn window(&self) -> u32;

    /// The slow-start threshold; `u32::MAX` before the first congestion.
    fn slow_start_threshold(&self) -> u32;

    /// The path takes segments of `octets` of payload (at least 1) from now on. Before anything was acknowledged the window
    /// is the initial one for that size (RFC 6928).
    fn set_maximum_segment(&mut self, octets: u32);

    /// The handshake was repeated, so the first window is one segment (RFC 5681 §3.1).
    fn on_handshake_timeout(&mut self);

    /// Something was acknowledged, outside of recovery.
    fn on_acknowledged(&mut self, event: &AcknowledgedEvent);

    /// A loss was detected without a time-out, or the peer echoes a congestion mark: at most once for what was in the
    /// network then. `in_flight` is what was sent and not acknowledged before this was known.
    fn on_congestion(&mut self, now: Instant, in_flight: u32, signal: CongestionSignal);

    /// The retransmission timer ran out, with `in_flight` octets unacknowledged. `repeated`: it did so before for the same
    /// data, and the slow-start threshold stays (RFC 5681 §3.1, equation 4).
    fn on_retransmission_timeout(&mut self, now: Instant, in_flight: u32, repeated: bool);

    /// The last congestion event, or time-out, was none: what was thought lost had only been late.
    fn on_spurious(&mut self, now: Instant);

    /// The connection is about to send after it was idle for longer than a retransmission time-out, with nothing
    /// outstanding (RFC 5681 §4.1).
    fn on_idle(&mut self, now: Instant);
}

/// What an acknowledgement said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AcknowledgedEvent {
    /// When it arrived.
    pub now: Instant,
    /// How much arrived at the peer that was not known to have: acknowledged or reported by SACK.
    pub octets: u32,
    /// What it measured of the round-trip time, on the segment that was sent last among those.
    pub round_trip: Option<Duration>,
    /// The smoothed round-trip time; zero before anything was measured.
    pub smoothed: Duration,
    /// SND.UNA now.
    pub acknowledged: SequenceNumber,
    /// SND.NXT now: the next round begins when this is acknowledged.
    pub next: SequenceNumber,
    /// The window was what kept the sender from sending more. Where it was the application or the peer, the window must not
    /// grow (RFC 9438 §5.8, RFC 7661).
    pub window_limited: bool,
}

/// What congestion was seen by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum CongestionSignal {
    /// A segment was lost.
    Loss,
    /// A router marked a packet (RFC 3168).
    Ecn,
}

/// [`Cubic`] or [`NewReno`], chosen at run time.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum AnyCongestion {
    /// CUBIC.
    Cubic(Cubic),
    /// NewReno.
    NewReno(NewReno),
}

impl Default for AnyCongestion {
    /// CUBIC, which Linux has as its default too.
    fn default() -> Self {
        AnyCongestion::Cubic(Cubic::new())
    }
}

macro_rules! either {
    ($this:expr, $inner:ident => $call:expr) => {
        match $this {
            AnyCongestion::Cubic($inner) => $call,
            AnyCongestion::NewReno($inner) => $call,
        }
    };
}

impl CongestionControl for AnyCongestion {
    fn window(&self) -> u32 {
        either!(self, inner => inner.window())
    }

    fn slow_start_threshold(&self) -> u32 {
        either!(self, inner => inner.slow_start_threshold())
    }

    fn set_maximum_segment(&mut self, octets: u32) {
        either!(self, inner => inner.set_maximum_segment(octets))
    }

    fn on_handshake_timeout(&mut self) {
        either!(self, inner => inner.on_handshake_timeout())
    }

    fn on_acknowledged(&mut self, event: &AcknowledgedEvent) {
        either!(self, inner => inner.on_acknowledged(event))
    }

    fn on_congestion(&mut self, now: Instant, in_flight: u32, signal: CongestionSignal) {
        either!(self, inner => inner.on_congestion(now, in_flight, signal))
    }

    fn on_retransmission_timeout(&mut self, now: Instant, in_flight: u32, repeated: bool) {
        either!(self, inner => inner.on_retransmission_timeout(now, in_flight, repeated))
    }

    fn on_spurious(&mut self, now: Instant) {
        either!(self, inner => inner.on_spurious(now))
    }

    fn on_idle(&mut self, now: Instant) {
        either!(self, inner => inner.on_idle(now))
    }
}

/// The initial window: ten segments, or 14,600 octets of large ones, but two in any case (RFC 6928 §2).
const fn initial_window(maximum_segment: u32) -> u32 {
    let two = 2 * maximum_segment;
    let bound = if two > 14_600 { two } else { 14_600 };
    let ten = 10 * maximum_segment;
    if ten < bound { ten } else { bound }
}

#[cfg(test)]
mod tests;
