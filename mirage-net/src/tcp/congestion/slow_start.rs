//! What all window-based algorithms share: the window itself, slow start (RFC 5681 §3.1), and its earlier, softer end when
//! the round-trip time grows (HyStart++, RFC 9406).

use core::time::Duration;

use super::{AcknowledgedEvent, MAX_WINDOW, initial_window};
use crate::tcp::SequenceNumber;

/// RFC 9406 §4.3.
const MIN_RTT_THRESH: u64 = 4_000_000;
const MAX_RTT_THRESH: u64 = 16_000_000;
const MIN_RTT_DIVISOR: u64 = 8;
const N_RTT_SAMPLE: u8 = 8;
const CSS_GROWTH_DIVISOR: u32 = 4;
const CSS_ROUNDS: u8 = 5;
/// "L" for a sender that does not pace: segments by which the window grows for one acknowledgement at most.
const L: u32 = 8;

/// The segment size before anything is known of the peer (RFC 9293 §3.7.1).
const DEFAULT_SEGMENT: u32 = 536;

/// The congestion window and the slow-start threshold of a connection.
#[derive(Debug, Clone)]
pub(super) struct Window {
    pub(super) octets: u32,
    pub(super) threshold: u32,
    pub(super) maximum_segment: u32,
    /// Nothing was acknowledged: the window is the initial one.
    fresh: bool,
    rounds: Rounds,
}

impl Window {
    pub(super) const fn new() -> Self {
        Window {
            octets: initial_window(DEFAULT_SEGMENT),
            threshold: u32::MAX,
            maximum_segment: DEFAULT_SEGMENT,
            fresh: true,
            rounds: Rounds::NEW,
        }
    }

    pub(super) fn set_maximum_segment(&mut self, octets: u32) {
        let fresh_window = initial_window(self.maximum_segment);
        self.maximum_segment = octets.clamp(1, MAX_SEGMENT);
        if self.fresh && self.octets == fresh_window {
            self.octets = initial_window(self.maximum_segment);
        }
        self.octets = self.octets.max(self.maximum_segment);
    }

    pub(super) fn one_segment(&mut self) {
        self.octets = self.maximum_segment;
    }

    #[inline]
    pub(super) fn in_slow_start(&self) -> bool {
        self.octets < self.threshold
    }

    /// Grows by what was acknowledged, in slow start or its softer end.
    pub(super) fn slow_start(&mut self, event: &AcknowledgedEvent) {
        self.fresh = false;
        let mut growth = event.octets.min(L * self.maximum_segment);
        // Only the first slow start is in the dark (RFC 9406 §4.3): a later one has a threshold that was measured.
        if self.threshold == u32::MAX {
            match self.rounds.observe(event) {
                Pace::Slow => {}
                Pace::Conservative => growth /= CSS_GROWTH_DIVISOR,
                Pace::Over => {
                    self.threshold = self.octets;
                    return;
                }
            }
        }
        self.grow(growth.min(self.threshold - self.octets));
    }

    /// Any acknowledgement: the window is not the initial one any more.
    #[inline]
    pub(super) fn touch(&mut self) {
        self.fresh = false;
    }

    #[inline]
    pub(super) fn grow(&mut self, octets: u32) {
        self.octets = self.octets.saturating_add(octets).min(MAX_WINDOW);
    }

    /// The window and the threshold after a loss that needed no time-out.
    pub(super) fn reduce(&mut self, threshold: u32) {
        self.fresh = false;
        self.threshold = threshold.clamp(2 * self.maximum_segment, MAX_WINDOW);
        self.octets = self.octets.min(self.threshold);
    }

    /// As [`reduce`](Self::reduce), to the loss window of one segment (RFC 5681 §3.1). A repeated time-out keeps the
    /// threshold.
    pub(super) fn collapse(&mut self, threshold: u32, repeated: bool) {
        if !repeated {
            self.reduce(threshold);
        }
        self.one_segment();
    }

    /// After an idle time the window is at most the initial one (RFC 5681 §4.1: the restart window).
    pub(super) fn restart(&mut self) {
        self.octets = self.octets.min(initial_window(self.maximum_segment));
        self.rounds = Rounds::NEW;
    }
}

/// The largest segment: what IP carries.
const MAX_SEGMENT: u32 = 65_535;

/// How fast slow start may go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Pace {
    Slow,
    /// Conservative Slow Start.
    Conservative,
    /// The path is full: congestion avoidance begins.
    Over,
}

/// The rounds of HyStart++: the least round-trip time of each. Nanoseconds; the largest number for "none".
#[derive(Debug, Clone)]
struct Rounds {
    last: u64,
    current: u64,
    /// The least one when Conservative Slow Start began; zero outside of it.
    baseline: u64,
    /// What ends the round when it is acknowledged.
    end: SequenceNumber,
    samples: u8,
    /// Rounds of Conservative Slow Start that are left.
    left: u8,
    begun: bool,
}

impl Rounds {
    const NEW: Self = Rounds {
        last: u64::MAX,
        current: u64::MAX,
        baseline: 0,
        end: SequenceNumber::new(0),
        samples: 0,
        left: CSS_ROUNDS,
        begun: false,
    };

    fn observe(&mut self, event: &AcknowledgedEvent) -> Pace {
        if !self.begun || self.end.is_at_or_before(event.acknowledged) {
            let ended = self.begun;
            self.begun = true;
            self.end = event.next;
            self.last = self.current;
            self.current = u64::MAX;
            self.samples = 0;
            if ended && self.baseline != 0 {
                self.left = self.left.saturating_sub(1);
                if self.left == 0 {
                    return Pace::Over;
                }
            }
        }
        if let Some(sample) = event.round_trip.map(nanos) {
            self.current = self.current.min(sample);
            self.samples = self.samples.saturating_add(1);
        }
        if self.samples < N_RTT_SAMPLE {
            return self.pace();
        }
        if self.baseline != 0 {
            if self.current < self.baseline {
                // The delay was no queue of ours: slow start goes on.
                self.baseline = 0;
                self.left = CSS_ROUNDS;
            }
        } else if self.last != u64::MAX {
            let threshold = (self.last / MIN_RTT_DIVISOR).clamp(MIN_RTT_THRESH, MAX_RTT_THRESH);
            if self.current >= self.last.saturating_add(threshold) {
                self.baseline = self.current;
                self.left = CSS_ROUNDS;
            }
        }
        self.pace()
    }

    fn pace(&self) -> Pace {
        if self.baseline == 0 {
            Pace::Slow
        } else {
            Pace::Conservative
        }
    }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
