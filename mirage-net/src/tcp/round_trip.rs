//! The round-trip time and the retransmission time-out (RFC 6298, RFC 7323 §4 and appendix G).

use core::time::Duration;

/// The bounds of the retransmission time-out. All are taken in whole milliseconds, at most 49 days.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RoundTripConfig {
    /// The time-out is never shorter. RFC 6298 §2.4 has one second, for clocks and delayed acknowledgements of its time.
    pub floor: Duration,
    /// Nor is it less than the smoothed round-trip time and this: "G" of RFC 6298 §2, for a peer that delays its
    /// acknowledgement on a path whose round-trip time hardly varies.
    pub margin: Duration,
    /// The time-out is never longer, however often it is backed off (RFC 6298 §2.5: at least 60 seconds).
    pub ceiling: Duration,
    /// The time-out before anything was measured (RFC 6298 §2.1).
    pub initial: Duration,
}

impl RoundTripConfig {
    /// 200 ms at least, 40 ms above the round-trip time, 60 s at most; 1 s at first.
    pub const DEFAULT: Self = RoundTripConfig {
        floor: Duration::from_millis(200),
        margin: Duration::from_millis(40),
        ceiling: Duration::from_secs(60),
        initial: Duration::from_secs(1),
    };
}

impl Default for RoundTripConfig {
    fn default() -> Self {
        Self::DEFAULT
    }
}

/// [`RoundTripConfig`] in milliseconds: a connection that is idle shall be small.
#[derive(Debug, Clone, Copy)]
struct Bounds {
    floor: u32,
    margin: u32,
    ceiling: u32,
    initial: u32,
}

/// The estimate of one connection.
///
/// What is sampled was sent once (Karn), or is told apart by its timestamp: that is the caller's to see to.
#[derive(Debug, Clone)]
pub struct RoundTrip {
    bounds: Bounds,
    /// In nanoseconds; zero before the first sample.
    smoothed: u64,
    /// In nanoseconds.
    variation: u64,
    /// In nanoseconds; the largest number before the first sample.
    minimum: u64,
    /// How often the time-out was doubled since anything new was acknowledged.
    doubled: u8,
    /// Nothing was sampled, and RFC 6298 §5.7 asks for three seconds.
    handshake_timed_out: bool,
}

impl RoundTrip {
    /// Nothing is known.
    pub const fn new(config: RoundTripConfig) -> Self {
        RoundTrip {
            bounds: Bounds {
                floor: milliseconds(config.floor),
                margin: milliseconds(config.margin),
                ceiling: milliseconds(config.ceiling),
                initial: milliseconds(config.initial),
            },
            smoothed: 0,
            variation: 0,
            minimum: u64::MAX,
            doubled: 0,
            handshake_timed_out: false,
        }
    }

    /// Takes a measurement, one of `expected` in a round trip (RFC 7323 appendix G: as many samples as this weigh as one of
    /// RFC 6298's; zero counts as one). The time-out is not backed off any more.
    pub fn sample(&mut self, round_trip: Duration, expected: u32) {
        // Zero says "nothing known"; a minute is beyond any path, and keeps a clock that jumped from the sums.
        let sample = (round_trip.as_nanos()).clamp(1, MAX_SAMPLE) as u64;
        let expected = u64::from(expected.max(1));
        self.minimum = self.minimum.min(sample);
        if self.smoothed == 0 {
            // (2.2)
            self.smoothed = sample;
            self.variation = sample / 2;
        } else {
            // (2.3), with α = 1/8 and β = 1/4 divided by the samples of a round trip.
            let deviation = self.smoothed.abs_diff(sample);
            self.variation = approach(self.variation, deviation, 4 * expected);
            self.smoothed = approach(self.smoothed, sample, 8 * expected).max(1);
        }
        self.doubled = 0;
    }

    /// Takes a measurement for the minimum alone: of a segment that the peer acknowledged at once, it may be.
    pub fn observe_minimum(&mut self, round_trip: Duration) {
        let sample = (round_trip.as_nanos()).clamp(1, MAX_SAMPLE) as u64;
        self.minimum = self.minimum.min(sample);
    }

    /// SRTT; `None` before the first sample.
    pub fn smoothed(&self) -> Option<Duration> {
        (self.smoothed != 0).then(|| Duration::from_nanos(self.smoothed))
    }

    /// RTTVAR.
    pub fn variation(&self) -> Duration {
        Duration::from_nanos(self.variation)
    }

    /// The shortest that was ever measured; `None` before anything was.
    pub fn minimum(&self) -> Option<Duration> {
        (self.minimum != u64::MAX).then(|| Duration::from_nanos(self.minimum))
    }

    /// RTO, backed off as often as [`back_off`](Self::back_off) was called since the last sample.
    pub fn timeout(&self) -> Duration {
        let ceiling = nanos(self.bounds.ceiling);
        let base = if self.smoothed == 0 {
            let initial = nanos(self.bounds.initial);
            if self.handshake_timed_out {
                initial.max(HANDSHAKE_TIMEOUT)
            } else {
                initial
            }
        } else {
            let margin = nanos(self.bounds.margin).max(4 * self.variation);
            (self.smoothed + margin).max(nanos(self.bounds.floor))
        };
        // At most some minutes, doubled 16 times at most: no overflow of 64 bits, and saturating all the same.
        let timeout = base.saturating_mul(1 << self.doubled.min(16));
        Duration::from_nanos(timeout.min(ceiling))
    }

    /// Doubles the time-out, up to its ceiling (RFC 6298 §5.5).
    pub fn back_off(&mut self) {
        self.doubled = self.doubled.saturating_add(1);
    }

    /// Undoes all doubling: something new was acknowledged, though it could not be timed.
    pub fn reset_back_off(&mut self) {
        self.doubled = 0;
    }

    /// How often the time-out was doubled since the last sample.
    pub fn doubled(&self) -> u8 {
        self.doubled
    }

    /// The handshake took a time-out: until something is sampled, RTO is 3 s (RFC 6298 §5.7), and not backed off.
    pub fn after_handshake_timeout(&mut self) {
        self.handshake_timed_out = true;
        self.doubled = 0;
    }
}

impl Default for RoundTrip {
    fn default() -> Self {
        Self::new(RoundTripConfig::DEFAULT)
    }
}

/// One minute.
const MAX_SAMPLE: u128 = 60_000_000_000;
/// Three seconds.
const HANDSHAKE_TIMEOUT: u64 = 3_000_000_000;

/// `value`, moved a `parts`th of the way to `to`.
fn approach(value: u64, to: u64, parts: u64) -> u64 {
    if to >= value {
        value + (to - value) / parts
    } else {
        value - (value - to) / parts
    }
}

/// In whole milliseconds, at most 49 days.
const fn milliseconds(duration: Duration) -> u32 {
    let milliseconds = duration.as_millis();
    if milliseconds > u32::MAX as u128 {
        u32::MAX
    } else {
        milliseconds as u32
    }
}

/// In nanoseconds.
fn nanos(milliseconds: u32) -> u64 {
    u64::from(milliseconds) * 1_000_000
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const fn ms(milliseconds: u64) -> Duration {
        Duration::from_millis(milliseconds)
    }

    fn bare() -> RoundTrip {
        RoundTrip::new(RoundTripConfig {
            floor: Duration::ZERO,
            margin: Duration::ZERO,
            ..RoundTripConfig::DEFAULT
        })
    }

    #[test]
    fn rfc6298_2_1_the_first_timeout_is_one_second() {
        assert_eq!(RoundTrip::default().timeout(), ms(1_000));
        assert_eq!(RoundTrip::default().smoothed(), None);
        assert_eq!(RoundTrip::default().minimum(), None);
    }

    #[test]
    fn rfc6298_2_2_the_first_sample_is_the_estimate() {
        let mut estimate = bare();
        estimate.sample(ms(400), 1);
        assert_eq!(estimate.smoothed(), Some(ms(400)));
        assert_eq!(estimate.variation(), ms(200));
        assert_eq!(estimate.timeout(), ms(400 + 4 * 200));
    }

    #[test]
    fn rfc6298_2_3_later_samples_weigh_an_eighth_and_a_quarter() {
        let mut estimate = bare();
        estimate.sample(ms(400), 1);
        estimate.sample(ms(480), 1);
        // RTTVAR is updated first, with the old SRTT.
        assert_eq!(estimate.variation(), ms(200 - 200 / 4 + 80 / 4));
        assert_eq!(estimate.smoothed(), Some(ms(400 + 80 / 8)));
        assert_eq!(estimate.timeout(), ms(410 + 4 * 170));
        assert_eq!(estimate.minimum(), Some(ms(400)));
    }

    #[test]
    fn rfc7323_g_many_samples_of_one_round_trip_weigh_as_one() {
        let mut each = bare();
        each.sample(ms(100), 10);
        for _ in 0..10 {
            each.sample(ms(180), 10);
        }
        let mut one = bare();
        one.sample(ms(100), 1);
        one.sample(ms(180), 1);
        let (each, one) = (each.smoothed().unwrap(), one.smoothed().unwrap());
        assert!(
            each > one.mul_f64(0.99) && each < one.mul_f64(1.01),
            "{each:?} {one:?}"
        );
    }

    #[test]
    fn rfc6298_2_4_the_timeout_has_a_floor_and_a_margin() {
        let mut estimate = RoundTrip::default();
        for _ in 0..200 {
            estimate.sample(ms(1), 1);
        }
        assert_eq!(estimate.timeout(), ms(200));
        for _ in 0..2_000 {
            estimate.sample(ms(190), 1);
        }
        let timeout = estimate.timeout();
        assert!(timeout >= ms(229) && timeout <= ms(232), "{timeout:?}");
    }

    #[test]
    fn rfc6298_5_5_the_timeout_doubles_up_to_the_ceiling() {
        let mut estimate = RoundTrip::default();
        for seconds in [1, 2, 4, 8, 16, 32, 60, 60] {
            assert_eq!(estimate.timeout(), Duration::from_secs(seconds));
            estimate.back_off();
        }
        for _ in 0..1_000 {
            estimate.back_off();
        }
        assert_eq!(estimate.timeout(), Duration::from_secs(60));
        estimate.sample(ms(100), 1);
        assert_eq!((estimate.timeout(), estimate.doubled()), (ms(300), 0));
    }

    #[test]
    fn rfc6298_5_7_after_a_lost_syn_the_timeout_is_three_seconds() {
        let mut estimate = RoundTrip::default();
        estimate.back_off();
        estimate.after_handshake_timeout();
        assert_eq!(estimate.timeout(), Duration::from_secs(3));
        estimate.sample(ms(100), 1);
        assert_eq!(estimate.timeout(), ms(300));
    }

    proptest! {
        #[test]
        fn the_estimate_stays_between_the_samples(
            samples in proptest::collection::vec((0u64..200_000_000_000, 0u32..2_000), 1..60)
        ) {
            let mut estimate = RoundTrip::default();
            for (sample, expected) in &samples {
                estimate.sample(Duration::from_nanos(*sample), *expected);
            }
            let clamp = |nanos: u64| nanos.clamp(1, 60_000_000_000);
            let least = samples.iter().map(|(sample, _)| clamp(*sample)).min().unwrap();
            let most = samples.iter().map(|(sample, _)| clamp(*sample)).max().unwrap();
            let smoothed = estimate.smoothed().unwrap().as_nanos() as u64;
            prop_assert!(least <= smoothed && smoothed <= most);
            prop_assert_eq!(estimate.minimum().unwrap().as_nanos() as u64, least);
            let timeout = estimate.timeout();
            prop_assert!(timeout >= ms(200) && timeout <= Duration::from_secs(60));
        }
    }
}
