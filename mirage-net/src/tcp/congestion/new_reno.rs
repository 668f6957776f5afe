//! Reno's window (RFC 5681), to which NewReno's recovery (RFC 6582) and its successors belong.

use mirage_core::Instant;

use super::slow_start::Window;
use super::{AcknowledgedEvent, CongestionControl, CongestionSignal};

/// RFC 5681: half of what was in flight after a loss, and one segment more each round trip.
#[derive(Debug, Clone)]
pub struct NewReno {
    window: Window,
    /// Octets acknowledged in congestion avoidance that the window did not grow by yet (RFC 3465 §2.1).
    acknowledged: u32,
    /// Window and threshold before the last congestion event.
    prior: Option<(u32, u32)>,
}

impl NewReno {
    /// With the initial window of ten segments.
    pub const fn new() -> Self {
        NewReno {
            window: Window::new(),
            acknowledged: 0,
            prior: None,
        }
    }

    fn remember(&mut self) {
        self.prior = Some((self.window.octets, self.window.threshold));
        self.acknowledged = 0;
    }
}

impl Default for NewReno {
    fn default() -> Self {
        Self::new()
    }
}

impl CongestionControl for NewReno {
    fn window(&self) -> u32 {
        self.window.octets
    }

    fn slow_start_threshold(&self) -> u32 {
        self.window.threshold
    }

    fn set_maximum_segment(&mut self, octets: u32) {
        self.window.set_maximum_segment(octets);
    }

    fn on_handshake_timeout(&mut self) {
        self.window.one_segment();
    }

    fn on_acknowledged(&mut self, event: &AcknowledgedEvent) {
        if !event.window_limited {
            self.window.touch();
            return;
        }
        if self.window.in_slow_start() {
            self.window.slow_start(event);
            return;
        }
        self.window.touch();
        // One segment for each window acknowledged: RFC 5681 §3.1, by counted octets.
        self.acknowledged = self.acknowledged.saturating_add(event.octets);
        if self.acknowledged >= self.window.octets {
            self.acknowledged -= self.window.octets;
            self.window.grow(self.window.maximum_segment);
        }
    }

    fn on_congestion(&mut self, _now: Instant, in_flight: u32, _signal: CongestionSignal) {
        self.remember();
        self.window.reduce(in_flight / 2);
    }

    fn on_retransmission_timeout(&mut self, _now: Instant, in_flight: u32, repeated: bool) {
        if !repeated {
            self.remember();
        }
        self.window.collapse(in_flight / 2, repeated);
    }

    fn on_spurious(&mut self, _now: Instant) {
        if let Some((octets, threshold)) = self.prior.take() {
            self.window.octets = self.window.octets.max(octets);
            self.window.threshold = self.window.threshold.max(threshold);
        }
    }

    fn on_idle(&mut self, _now: Instant) {
        self.window.restart();
    }
}
