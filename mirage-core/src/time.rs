//! Time as every state machine of the family sees it: nanoseconds since an arbitrary start.
//!
//! Cores take `now: Instant` as an argument; only platforms implement [`Clock`].
//!
//! ```
//! use core::time::Duration;
//! use mirage_core::time::Instant;
//!
//! let start = Instant::from_nanos(1_000);
//! let later = start + Duration::from_micros(2);
//! assert_eq!(later.as_nanos(), 3_000);
//! assert_eq!(later.saturating_duration_since(start), Duration::from_nanos(2_000));
//! assert_eq!(start.saturating_duration_since(later), Duration::ZERO);
//! ```

use core::fmt;
use core::ops::{Add, AddAssign, Sub};
use core::time::Duration;

/// A point of a monotonic clock, in nanoseconds since an arbitrary start.
///
/// Instants of different clocks are not comparable. The range is 584 years.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Instant(u64);

impl Instant {
    /// The clock's start.
    pub const ZERO: Self = Self(0);

    /// The latest instant that can be told, 584 years after the start: "never" for a deadline.
    pub const FAR_FUTURE: Self = Self(u64::MAX);

    /// The instant `nanos` nanoseconds after the clock's start.
    pub const fn from_nanos(nanos: u64) -> Self {
        Self(nanos)
    }

    /// The instant `micros` microseconds after the clock's start; [`Instant::FAR_FUTURE`] when that is out of range.
    pub const fn from_micros(micros: u64) -> Self {
        Self(micros.saturating_mul(1_000))
    }

    /// The instant `millis` milliseconds after the clock's start; [`Instant::FAR_FUTURE`] when that is out of range.
    pub const fn from_millis(millis: u64) -> Self {
        Self(millis.saturating_mul(1_000_000))
    }

    /// The instant `secs` seconds after the clock's start; [`Instant::FAR_FUTURE`] when that is out of range.
    pub const fn from_secs(secs: u64) -> Self {
        Self(secs.saturating_mul(1_000_000_000))
    }

    /// Nanoseconds since the clock's start.
    pub const fn as_nanos(self) -> u64 {
        self.0
    }

    /// Whole microseconds since the clock's start.
    pub const fn as_micros(self) -> u64 {
        self.0 / 1_000
    }

    /// Whole milliseconds since the clock's start.
    pub const fn as_millis(self) -> u64 {
        self.0 / 1_000_000
    }

    /// Whole seconds since the clock's start.
    pub const fn as_secs(self) -> u64 {
        self.0 / 1_000_000_000
    }

    /// `self + duration`, or `None` when that is past [`Instant::FAR_FUTURE`].
    #[inline(always)]
    pub const fn checked_add(self, duration: Duration) -> Option<Self> {
        let nanos = duration.as_nanos();
        if nanos > u64::MAX as u128 {
            return None;
        }
        match self.0.checked_add(nanos as u64) {
            Some(sum) => Some(Self(sum)),
            None => None,
        }
    }

    /// `self - duration`, or `None` when that is before the clock's start.
    pub const fn checked_sub(self, duration: Duration) -> Option<Self> {
        let nanos = duration.as_nanos();
        if nanos > u64::MAX as u128 {
            return None;
        }
        match self.0.checked_sub(nanos as u64) {
            Some(difference) => Some(Self(difference)),
            None => None,
        }
    }

    /// `self + duration`, at most [`Instant::FAR_FUTURE`].
    pub const fn saturating_add(self, duration: Duration) -> Self {
        match self.checked_add(duration) {
            Some(sum) => sum,
            None => Self::FAR_FUTURE,
        }
    }

    /// `self - duration`, at least the clock's start.
    pub const fn saturating_sub(self, duration: Duration) -> Self {
        match self.checked_sub(duration) {
            Some(difference) => difference,
            None => Self::ZERO,
        }
    }

    /// The time from `earlier` to `self`, or `None` when `earlier` is later.
    pub const fn checked_duration_since(self, earlier: Self) -> Option<Duration> {
        match self.0.checked_sub(earlier.0) {
            Some(nanos) => Some(Duration::from_nanos(nanos)),
            None => None,
        }
    }

    /// The time from `earlier` to `self`, zero when `earlier` is later.
    pub const fn saturating_duration_since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

/// Saturates at [`Instant::FAR_FUTURE`]: a deadline too far to be told is "never", not a panic.
impl Add<Duration> for Instant {
    type Output = Self;

    fn add(self, duration: Duration) -> Self {
        self.saturating_add(duration)
    }
}

impl AddAssign<Duration> for Instant {
    fn add_assign(&mut self, duration: Duration) {
        *self = self.saturating_add(duration);
    }
}

/// Saturates at the clock's start.
impl Sub<Duration> for Instant {
    type Output = Self;

    fn sub(self, duration: Duration) -> Self {
        self.saturating_sub(duration)
    }
}

/// Saturates at zero, as [`Instant::saturating_duration_since`] does.
impl Sub for Instant {
    type Output = Duration;

    fn sub(self, earlier: Self) -> Duration {
        self.saturating_duration_since(earlier)
    }
}

/// Seconds with nine decimals, as `12.000000345s`.
impl fmt::Display for Instant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}.{:09}s",
            self.0 / 1_000_000_000,
            self.0 % 1_000_000_000
        )
    }
}

impl fmt::Debug for Instant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A source of time.
pub trait Clock {
    /// The monotonic clock: never goes back, and does not stop while the platform waits.
    fn now(&self) -> Instant;

    /// The time since the Unix epoch (1970-01-01T00:00:00Z), or `None` where no wall clock is known.
    ///
    /// It may jump in either direction when the platform's clock is set.
    fn wall(&self) -> Option<Duration>;
}

impl<C: Clock + ?Sized> Clock for &C {
    fn now(&self) -> Instant {
        (**self).now()
    }

    fn wall(&self) -> Option<Duration> {
        (**self).wall()
    }
}

#[cfg(test)]
mod tests {
    extern crate std;

    use super::*;
    use std::format;

    #[test]
    fn arithmetic_saturates_instead_of_wrapping() {
        let late = Instant::from_nanos(u64::MAX - 1);
        assert_eq!(late + Duration::from_secs(1), Instant::FAR_FUTURE);
        assert_eq!(late.checked_add(Duration::from_nanos(2)), None);
        assert_eq!(
            late.checked_add(Duration::from_nanos(1)),
            Some(Instant::FAR_FUTURE)
        );
        assert_eq!(Instant::ZERO.checked_add(Duration::MAX), None);
        assert_eq!(Instant::ZERO.checked_sub(Duration::from_nanos(1)), None);
        assert_eq!(late.saturating_sub(Duration::MAX), Instant::ZERO);
        assert_eq!(Instant::ZERO - late, Duration::ZERO);
        assert_eq!(Instant::from_secs(u64::MAX), Instant::FAR_FUTURE);
        assert_eq!(Instant::from_millis(u64::MAX), Instant::FAR_FUTURE);
        assert_eq!(Instant::from_micros(u64::MAX), Instant::FAR_FUTURE);
    }

    #[test]
    fn units_agree() {
        let instant = Instant::from_millis(1_500);
        assert_eq!(instant.as_nanos(), 1_500_000_000);
        assert_eq!(instant.as_micros(), 1_500_000);
        assert_eq!(instant.as_millis(), 1_500);
        assert_eq!(format!("{instant}"), "1.500000000s");
        assert_eq!(format!("{:?}", Instant::from_nanos(345)), "0.000000345s");
        assert_eq!(
            instant.checked_duration_since(Instant::from_secs(1)),
            Some(Duration::from_millis(500))
        );
        assert_eq!(Instant::from_secs(1).checked_duration_since(instant), None);
    }
}
