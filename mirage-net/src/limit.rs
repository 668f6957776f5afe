//! A token bucket.

use core::time::Duration;

use mirage_core::Instant;

/// How often something may happen: `burst` times at once, then once every `interval`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RateLimit {
    /// Tokens that can be saved up; 0 forbids the thing.
    pub burst: u32,
    /// Time in which one token comes back; zero sets no limit.
    pub interval: Duration,
}

impl RateLimit {
    /// `per_second` times a second (at least once), in bursts of up to `burst`.
    pub const fn per_second(per_second: u32, burst: u32) -> Self {
        let per_second = if per_second == 0 { 1 } else { per_second };
        RateLimit {
            burst,
            interval: Duration::from_nanos(1_000_000_000 / per_second as u64),
        }
    }
}

/// A bucket of tokens that come back with time.
#[derive(Debug)]
pub(crate) struct TokenBucket {
    limit: RateLimit,
    tokens: u32,
    /// Up to when tokens have been given back.
    counted: Instant,
}

impl TokenBucket {
    pub(crate) fn new(limit: RateLimit, now: Instant) -> Self {
        TokenBucket {
            limit,
            tokens: limit.burst,
            counted: now,
        }
    }

    /// Takes a token if there is one.
    pub(crate) fn take(&mut self, now: Instant) -> bool {
        let interval = self.limit.interval.as_nanos() as u64;
        if interval == 0 {
            return self.limit.burst != 0;
        }
        let elapsed = now
            .saturating_duration_since(self.counted)
            .as_nanos()
            .min(u128::from(u64::MAX)) as u64;
        let earned = elapsed / interval;
        if earned >= u64::from(self.limit.burst - self.tokens) {
            self.tokens = self.limit.burst;
            self.counted = now.max(self.counted);
        } else {
            self.tokens += earned as u32;
            self.counted = self
                .counted
                .saturating_add(Duration::from_nanos(earned * interval));
        }
        if self.tokens == 0 {
            return false;
        }
        self.tokens -= 1;
        true
    }
}

/// How often something happened lately, in one word: for what there are many of. The limit is told with each call.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pace {
    /// When as many intervals are over as the thing has happened.
    paid_until: Instant,
}

impl Pace {
    /// It did not happen yet.
    pub(crate) const NEW: Self = Pace {
        paid_until: Instant::ZERO,
    };

    /// Whether it may happen now, as by a [`TokenBucket`] that was full at the beginning; if so, it did.
    pub(crate) fn take(&mut self, limit: &RateLimit, now: Instant) -> bool {
        let from = self.paid_until.max(now);
        let Some(saved) = limit.burst.checked_sub(1) else {
            return false;
        };
        if from - now > limit.interval.saturating_mul(saved) {
            return false;
        }
        self.paid_until = from.saturating_add(limit.interval);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pace_gives_the_burst_then_the_rate() {
        let limit = RateLimit::per_second(10, 3);
        let mut pace = Pace::NEW;
        let taken = |pace: &mut Pace, ms| {
            (0..100)
                .filter(|_| pace.take(&limit, Instant::from_millis(ms)))
                .count()
        };
        assert_eq!(taken(&mut pace, 0), 3);
        assert_eq!(taken(&mut pace, 99), 0);
        assert_eq!(taken(&mut pace, 100), 1);
        assert_eq!(taken(&mut pace, 350), 2);
        assert_eq!(taken(&mut pace, 400), 1);
        assert_eq!(taken(&mut pace, 1_000_000), 3);
        // A clock that goes back gives nothing.
        assert_eq!(taken(&mut pace, 1_000), 0);
        let mut pace = Pace::NEW;
        assert!(!pace.take(&RateLimit::per_second(1, 0), Instant::from_secs(9)));
        let unlimited = RateLimit {
            burst: 1,
            interval: Duration::ZERO,
        };
        let mut pace = Pace::NEW;
        assert!((0..100).all(|_| pace.take(&unlimited, Instant::from_secs(1))));
    }

    #[test]
    fn gives_the_burst_then_the_rate() {
        let mut bucket = TokenBucket::new(RateLimit::per_second(10, 3), Instant::ZERO);
        let taken = |bucket: &mut TokenBucket, ms| {
            (0..100)
                .filter(|_| bucket.take(Instant::from_millis(ms)))
                .count()
        };
        assert_eq!(taken(&mut bucket, 0), 3);
        assert_eq!(taken(&mut bucket, 99), 0);
        assert_eq!(taken(&mut bucket, 100), 1);
        assert_eq!(taken(&mut bucket, 350), 2);
        // The half interval that was left over is not lost.
        assert_eq!(taken(&mut bucket, 400), 1);
        assert_eq!(taken(&mut bucket, 1_000_000), 3);
    }

    #[test]
    fn a_burst_of_zero_forbids() {
        let limit = RateLimit {
            burst: 0,
            interval: Duration::ZERO,
        };
        assert!(!TokenBucket::new(limit, Instant::ZERO).take(Instant::from_secs(9)));
        let mut bucket = TokenBucket::new(RateLimit::per_second(1, 0), Instant::ZERO);
        assert!(!bucket.take(Instant::from_secs(9)));
    }

    #[test]
    fn a_clock_that_stands_or_jumps_gives_nothing_twice() {
        let mut bucket = TokenBucket::new(RateLimit::per_second(1, 1), Instant::from_secs(5));
        assert!(bucket.take(Instant::from_secs(5)));
        assert!(!bucket.take(Instant::from_secs(5)));
        assert!(!bucket.take(Instant::from_secs(1)));
        assert!(bucket.take(Instant::FAR_FUTURE));
        assert!(!bucket.take(Instant::FAR_FUTURE));
    }
}
