//! The integers against the specification's formulas, in floating point.

use super::*;
use crate::tcp::SequenceNumber;
use core::time::Duration;
use proptest::prelude::*;

const SEGMENT: u32 = 1_448;
const ROUND_TRIP: Duration = Duration::from_millis(100);

/// W_cubic of RFC 9438 §4.2, figure 1, in octets.
fn curve(seconds: f64, k: f64, maximum: f64, segment: f64) -> f64 {
    0.4 * (seconds - k).powi(3) * segment + maximum
}

fn event(now: Instant, octets: u32) -> AcknowledgedEvent {
    AcknowledgedEvent {
        now,
        octets,
        round_trip: Some(ROUND_TRIP),
        smoothed: ROUND_TRIP,
        acknowledged: SequenceNumber::new(0),
        next: SequenceNumber::new(0),
        window_limited: true,
    }
}

/// CUBIC in congestion avoidance, reduced from `window`.
fn reduced_from(window: u32) -> Cubic {
    let mut cubic = Cubic::new();
    cubic.set_maximum_segment(SEGMENT);
    cubic.window.octets = window;
    cubic.on_congestion(Instant::from_secs(1), window, CongestionSignal::Loss);
    cubic
}

/// A round trip in which a whole window is acknowledged, segment by segment.
fn round(cubic: &mut Cubic, now: &mut Instant, round_trip: Duration) {
    let count = cubic.window() / SEGMENT;
    for _ in 0..count {
        *now += round_trip / count.max(1);
        let mut event = event(*now, SEGMENT);
        event.smoothed = round_trip;
        cubic.on_acknowledged(&event);
    }
}

proptest! {
    #[test]
    fn the_cube_root_is_the_largest_whose_cube_fits(value: u64) {
        for value in [value, value >> 20, value >> 45] {
            let root = u128::from(cube_root(value));
            prop_assert!(root.pow(3) <= u128::from(value));
            prop_assert!((root + 1).pow(3) > u128::from(value));
        }
    }

    #[test]
    fn rfc9438_4_2_the_curve_is_the_specification_s(
        maximum in 2_000u32..MAX_WINDOW, percent in 1u32..100, segment in 500u32..9_000,
        elapsed in 0u64..100_000,
    ) {
        let window = (u64::from(maximum) * u64::from(percent) / 100) as u32;
        let mut cubic = Cubic::new();
        cubic.set_maximum_segment(segment);
        cubic.maximum = maximum;
        cubic.window.octets = window;
        let epoch = cubic.begin_epoch(Instant::ZERO);
        let (low, high) = (f64::from(window), f64::from(maximum));
        let k = ((high - low) / f64::from(segment) / 0.4).cbrt();
        prop_assert!((epoch.plateau_after as f64 - k * 1e3).abs() <= 1.0, "{} {k}", epoch.plateau_after);
        let expected = curve(elapsed as f64 / 1e3, k, high, f64::from(segment));
        let expected = expected.clamp(0.0, f64::from(MAX_WINDOW));
        let got = f64::from(epoch.at(elapsed, segment));
        // K is whole milliseconds: what the curve's slope makes of one is allowed, and the rounding of the product.
        let slope = 1.2 * (elapsed as f64 / 1e3 - k).powi(2) * f64::from(segment) / 1e3;
        let allowed = 2.0 * slope + f64::from(segment) / 100.0 + 2.0;
        prop_assert!((got - expected).abs() <= allowed, "{got} {expected} {allowed}");
    }

    #[test]
    fn nothing_overflows(
        events in proptest::collection::vec((any::<u32>(), any::<u32>(), 0u8..6), 1..60),
        segment: u32,
    ) {
        let mut cubic = Cubic::new();
        cubic.set_maximum_segment(segment);
        let mut now = Instant::ZERO;
        for (octets, wait, kind) in events {
            now += Duration::from_millis(u64::from(wait));
            match kind {
                0 => cubic.on_congestion(now, octets, CongestionSignal::Loss),
                1 => cubic.on_retransmission_timeout(now, octets, wait % 2 == 0),
                2 => cubic.on_spurious(now),
                3 => cubic.on_idle(now),
                _ => {
                    let mut event = event(now, octets);
                    event.smoothed = Duration::from_micros(u64::from(wait));
                    cubic.on_acknowledged(&event);
                }
            }
            let window = cubic.window();
            prop_assert!(window >= segment.clamp(1, 65_535) && window <= MAX_WINDOW, "{window}");
        }
    }
}

#[test]
fn the_largest_windows_and_times_are_no_trouble() {
    let mut cubic = reduced_from(MAX_WINDOW);
    for now in [2, 100, 10_000, u64::MAX / 2_000_000_000] {
        cubic.on_acknowledged(&event(Instant::from_secs(now), u32::MAX));
    }
    assert_eq!(cubic.window(), MAX_WINDOW);
    let epoch = Epoch {
        start: Instant::ZERO,
        plateau_after: u64::MAX,
        plateau: MAX_WINDOW,
        estimate: 0,
        estimate_rest: 0,
        rest: 0,
    };
    assert_eq!(epoch.at(0, u32::from(u16::MAX)), 0);
    assert_eq!(epoch.at(u64::MAX, u32::from(u16::MAX)), MAX_WINDOW);
}

#[test]
fn rfc9438_4_6_the_window_is_reduced_to_seven_tenths() {
    let cubic = reduced_from(1_000_000);
    assert_eq!(cubic.window(), 700_000);
    assert_eq!(cubic.slow_start_threshold(), 700_000);
    // Two segments at least.
    assert_eq!(
        reduced_from(2 * SEGMENT).slow_start_threshold(),
        2 * SEGMENT
    );
}

#[test]
fn rfc9438_4_7_fast_convergence_leaves_room_to_others() {
    let mut cubic = reduced_from(1_000_000);
    assert_eq!(cubic.maximum, 1_000_000);
    cubic.on_congestion(Instant::from_secs(2), 700_000, CongestionSignal::Loss);
    assert_eq!(cubic.maximum, 595_000);
    assert_eq!(cubic.window(), 490_000);
}

#[test]
fn rfc9438_4_8_after_a_time_out_the_curve_begins_on_its_plateau() {
    let mut cubic = reduced_from(1_000_000);
    cubic.on_retransmission_timeout(Instant::from_secs(2), 700_000, false);
    assert_eq!(
        (cubic.window(), cubic.slow_start_threshold()),
        (SEGMENT, 490_000)
    );
    // Another one for the same data keeps the threshold.
    cubic.on_retransmission_timeout(Instant::from_secs(3), SEGMENT, true);
    assert_eq!(
        (cubic.window(), cubic.slow_start_threshold()),
        (SEGMENT, 490_000)
    );
    let mut now = Instant::from_secs(4);
    while cubic.window.in_slow_start() {
        round(&mut cubic, &mut now, ROUND_TRIP);
    }
    cubic.on_acknowledged(&event(now, SEGMENT));
    assert_eq!(cubic.epoch.as_ref().unwrap().plateau_after, 0);
}

#[test]
fn rfc9438_4_9_a_spurious_reduction_is_undone() {
    let mut cubic = reduced_from(1_000_000);
    cubic.on_spurious(Instant::from_secs(2));
    assert_eq!(
        (cubic.window(), cubic.slow_start_threshold()),
        (1_000_000, u32::MAX)
    );
    // Once.
    cubic.on_congestion(Instant::from_secs(3), 1_000_000, CongestionSignal::Loss);
    cubic.on_spurious(Instant::from_secs(4));
    cubic.on_congestion(Instant::from_secs(5), 1_000_000, CongestionSignal::Loss);
    assert_eq!(cubic.maximum, 1_000_000);
}

#[test]
fn rfc9438_4_4_the_window_is_back_where_it_was_after_k() {
    // 700 segments, K is ∛(300/0.4), 9.1 s: long after Reno would be slower.
    let before = 1_000 * SEGMENT;
    let mut cubic = reduced_from(before);
    let mut now = Instant::from_secs(1);
    let start = now;
    while now - start < Duration::from_millis(9_086) {
        round(&mut cubic, &mut now, ROUND_TRIP);
    }
    let window = cubic.window();
    assert!(
        window > before / 100 * 98 && window < before / 100 * 103,
        "{window} of {before}"
    );
}

#[test]
fn rfc9438_4_3_where_reno_is_faster_the_window_is_reno_s() {
    // A short round trip: Reno's 0.53 segments for each of 4,000 round trips of 1 ms are more than the curve's.
    let short = Duration::from_millis(1);
    let mut cubic = reduced_from(100 * SEGMENT);
    let mut now = Instant::from_secs(1);
    for _ in 0..50 {
        round(&mut cubic, &mut now, short);
    }
    let gained = f64::from(cubic.window() - 70 * SEGMENT) / f64::from(SEGMENT);
    assert!(
        gained > 0.95 * 50.0 * 9.0 / 17.0 && gained < 1.05 * 50.0 * 9.0 / 17.0,
        "{gained}"
    );
}

#[test]
fn rfc9438_5_8_what_is_not_used_does_not_grow_nor_count() {
    let mut cubic = reduced_from(100 * SEGMENT);
    let mut now = Instant::from_secs(1);
    round(&mut cubic, &mut now, ROUND_TRIP);
    let window = cubic.window();
    let mut unused = event(now, SEGMENT);
    unused.window_limited = false;
    for _ in 0..1_000 {
        now += ROUND_TRIP;
        unused.now = now;
        cubic.on_acknowledged(&unused);
    }
    assert_eq!(cubic.window(), window);
    // The curve goes on where it was: a hundred seconds later it would be at its end.
    round(&mut cubic, &mut now, ROUND_TRIP);
    assert!(cubic.window() < window + 2 * SEGMENT);
}
