//! What is common to all algorithms, and Reno's.

use super::*;
use core::time::Duration;

const SEGMENT: u32 = 1_000;
const NOW: Instant = Instant::from_secs(1);

fn all() -> [AnyCongestion; 2] {
    [
        AnyCongestion::default(),
        AnyCongestion::NewReno(NewReno::new()),
    ]
}

/// Rounds of a connection whose window is always full.
struct Rounds {
    sent: SequenceNumber,
    acknowledged: SequenceNumber,
    now: Instant,
}

impl Rounds {
    fn new() -> Self {
        let start = SequenceNumber::new(u32::MAX - 3);
        Rounds {
            sent: start,
            acknowledged: start,
            now: NOW,
        }
    }

    /// A window is sent, and acknowledged segment by segment after a round trip of this length.
    fn round(&mut self, congestion: &mut impl CongestionControl, round_trip: Duration) {
        let count = congestion.window() / SEGMENT;
        self.sent = self.acknowledged + count * SEGMENT;
        self.now += round_trip;
        for _ in 0..count {
            self.acknowledged += SEGMENT;
            congestion.on_acknowledged(&AcknowledgedEvent {
                now: self.now,
                octets: SEGMENT,
                round_trip: Some(round_trip),
                smoothed: round_trip,
                acknowledged: self.acknowledged,
                // What is acknowledged has let more out.
                next: self.acknowledged + congestion.window(),
                window_limited: true,
            });
        }
    }
}

#[test]
fn rfc6928_2_the_first_window_is_ten_segments() {
    for (segment, window) in [
        (536, 5_360),
        (1_000, 10_000),
        (1_460, 14_600),
        (4_000, 14_600),
        (8_960, 17_920),
        (65_535, 131_070),
    ] {
        for mut congestion in all() {
            congestion.set_maximum_segment(segment);
            assert_eq!(congestion.window(), window);
            assert_eq!(congestion.slow_start_threshold(), u32::MAX);
        }
    }
}

#[test]
fn rfc5681_3_1_after_a_lost_syn_the_first_window_is_one_segment() {
    for mut congestion in all() {
        congestion.set_maximum_segment(SEGMENT);
        congestion.on_handshake_timeout();
        assert_eq!(congestion.window(), SEGMENT);
    }
}

#[test]
fn rfc5681_3_1_slow_start_doubles_the_window_in_a_round_trip() {
    for mut congestion in all() {
        congestion.set_maximum_segment(SEGMENT);
        let mut rounds = Rounds::new();
        for expected in [20, 40, 80, 160] {
            rounds.round(&mut congestion, Duration::from_millis(50));
            assert_eq!(congestion.window(), expected * SEGMENT);
        }
        // One acknowledgement is eight segments at most, whatever it covers.
        congestion.on_acknowledged(&AcknowledgedEvent {
            now: rounds.now,
            octets: 1_000_000,
            round_trip: None,
            smoothed: Duration::ZERO,
            acknowledged: rounds.acknowledged,
            next: rounds.sent,
            window_limited: true,
        });
        assert_eq!(congestion.window(), 168 * SEGMENT);
    }
}

#[test]
fn a_window_that_is_not_used_does_not_grow() {
    for mut congestion in all() {
        congestion.set_maximum_segment(SEGMENT);
        for _ in 0..100 {
            congestion.on_acknowledged(&AcknowledgedEvent {
                now: NOW,
                octets: SEGMENT,
                round_trip: None,
                smoothed: Duration::ZERO,
                acknowledged: SequenceNumber::new(0),
                next: SequenceNumber::new(0),
                window_limited: false,
            });
        }
        assert_eq!(congestion.window(), 10 * SEGMENT);
    }
}

#[test]
fn rfc9406_4_3_slow_start_ends_when_the_delay_grows() {
    for mut congestion in all() {
        congestion.set_maximum_segment(SEGMENT);
        let mut rounds = Rounds::new();
        rounds.round(&mut congestion, Duration::from_millis(80));
        rounds.round(&mut congestion, Duration::from_millis(80));
        assert_eq!(congestion.window(), 40 * SEGMENT);
        // An eighth more: the growth is a quarter from the eighth sample on, for five rounds.
        rounds.round(&mut congestion, Duration::from_millis(91));
        let window = congestion.window();
        assert!(window > 50 * SEGMENT && window < 60 * SEGMENT, "{window}");
        for _ in 0..5 {
            assert_eq!(congestion.slow_start_threshold(), u32::MAX);
            rounds.round(&mut congestion, Duration::from_millis(92));
        }
        let window = congestion.window();
        assert!(congestion.slow_start_threshold() <= window);
        assert!(window < 180 * SEGMENT, "{window}");
    }
}

#[test]
fn rfc9406_4_3_slow_start_goes_on_when_the_delay_was_another_s() {
    for mut congestion in all() {
        congestion.set_maximum_segment(SEGMENT);
        let mut rounds = Rounds::new();
        rounds.round(&mut congestion, Duration::from_millis(80));
        rounds.round(&mut congestion, Duration::from_millis(95));
        rounds.round(&mut congestion, Duration::from_millis(80));
        let before = congestion.window();
        rounds.round(&mut congestion, Duration::from_millis(80));
        assert!(congestion.window() > before / 10 * 19);
        assert_eq!(congestion.slow_start_threshold(), u32::MAX);
    }
}

#[test]
fn rfc9406_4_3_a_short_round_trip_that_varies_by_less_than_four_milliseconds_is_no_queue() {
    for mut congestion in all() {
        congestion.set_maximum_segment(SEGMENT);
        let mut rounds = Rounds::new();
        for number in 0..6 {
            let delay = Duration::from_micros(200 + 3_000 * (number % 2));
            rounds.round(&mut congestion, delay);
        }
        assert_eq!(congestion.window(), 640 * SEGMENT);
    }
}

#[test]
fn rfc5681_3_1_reno_halves_the_flight_and_grows_by_a_segment_a_round_trip() {
    let mut congestion = NewReno::new();
    congestion.set_maximum_segment(SEGMENT);
    congestion.on_congestion(NOW, 40 * SEGMENT, CongestionSignal::Loss);
    // The window was ten, and never grows by a loss.
    assert_eq!(congestion.slow_start_threshold(), 20 * SEGMENT);
    assert_eq!(congestion.window(), 10 * SEGMENT);
    congestion.on_congestion(NOW, 10 * SEGMENT, CongestionSignal::Ecn);
    assert_eq!(congestion.window(), 5 * SEGMENT);
    let mut rounds = Rounds::new();
    for expected in 6..20 {
        rounds.round(&mut congestion, Duration::from_millis(50));
        assert_eq!(congestion.window(), expected * SEGMENT);
    }
}

#[test]
fn rfc5681_3_1_a_time_out_leaves_one_segment_and_a_second_one_the_threshold() {
    for mut congestion in all() {
        congestion.set_maximum_segment(SEGMENT);
        congestion.on_retransmission_timeout(NOW, 10 * SEGMENT, false);
        let threshold = congestion.slow_start_threshold();
        assert_eq!(congestion.window(), SEGMENT);
        assert!((5 * SEGMENT..=7 * SEGMENT).contains(&threshold));
        congestion.on_retransmission_timeout(NOW, SEGMENT, true);
        assert_eq!(congestion.slow_start_threshold(), threshold);
        congestion.on_spurious(NOW);
        assert_eq!(congestion.window(), 10 * SEGMENT);
        assert_eq!(congestion.slow_start_threshold(), u32::MAX);
    }
}

#[test]
fn rfc5681_4_1_after_an_idle_time_the_window_is_the_initial_one() {
    for mut congestion in all() {
        congestion.set_maximum_segment(SEGMENT);
        let mut rounds = Rounds::new();
        for _ in 0..4 {
            rounds.round(&mut congestion, Duration::from_millis(50));
        }
        congestion.on_idle(rounds.now);
        assert_eq!(congestion.window(), 10 * SEGMENT);
    }
}

#[test]
fn the_window_is_counted_in_the_segments_that_are_sent() {
    for mut congestion in all() {
        congestion.set_maximum_segment(8_960);
        congestion.set_maximum_segment(SEGMENT);
        assert_eq!(congestion.window(), 10 * SEGMENT);
        let mut rounds = Rounds::new();
        rounds.round(&mut congestion, Duration::from_millis(50));
        // Later the window stays, but is never below a segment.
        congestion.set_maximum_segment(500);
        assert_eq!(congestion.window(), 20 * SEGMENT);
        congestion.on_retransmission_timeout(NOW, 20 * SEGMENT, false);
        assert_eq!(congestion.window(), 500);
        congestion.set_maximum_segment(9_000);
        assert_eq!(congestion.window(), 9_000);
    }
}
