//! A clock that goes when it is told to.

use core::cell::Cell;
use core::time::Duration;

use crate::time::{Clock, Instant};

/// A monotonic clock that stands still until somebody advances it. Starts at zero, without a time of day.
///
/// ```
/// use core::time::Duration;
/// use mirage_core::doubles::VirtualClock;
/// use mirage_core::{Clock, Instant};
///
/// let clock = VirtualClock::new();
/// clock.advance(Duration::from_secs(2));
/// assert_eq!(clock.now(), Instant::from_secs(2));
/// ```
#[derive(Debug, Default)]
pub struct VirtualClock {
    now: Cell<Instant>,
    /// The time of day at the clock's start.
    epoch: Cell<Option<Duration>>,
}

impl VirtualClock {
    /// A clock at zero that knows no time of day.
    pub const fn new() -> Self {
        Self {
            now: Cell::new(Instant::ZERO),
            epoch: Cell::new(None),
        }
    }

    /// Lets `duration` pass.
    pub fn advance(&self, duration: Duration) {
        self.now.set(self.now.get().saturating_add(duration));
    }

    /// Jumps to `instant`, if that is later: a monotonic clock doesn't go back.
    pub fn advance_to(&self, instant: Instant) {
        self.now.set(self.now.get().max(instant));
    }

    /// Sets the time of day, since the Unix epoch; it goes on with the clock. It may be set back.
    pub fn set_wall(&self, wall: Option<Duration>) {
        let since_start = self.now.get().saturating_duration_since(Instant::ZERO);
        self.epoch
            .set(wall.map(|wall| wall.saturating_sub(since_start)));
    }
}

impl Clock for VirtualClock {
    fn now(&self) -> Instant {
        self.now.get()
    }

    fn wall(&self) -> Option<Duration> {
        let since_start = self.now.get().saturating_duration_since(Instant::ZERO);
        self.epoch
            .get()
            .map(|epoch| epoch.saturating_add(since_start))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn never_goes_back() {
        let clock = VirtualClock::new();
        clock.advance(Duration::from_secs(5));
        clock.advance_to(Instant::from_secs(3));
        assert_eq!(clock.now(), Instant::from_secs(5));
        clock.advance(Duration::MAX);
        assert_eq!(clock.now(), Instant::FAR_FUTURE);
    }

    #[test]
    fn the_time_of_day_goes_on_and_steps() {
        let clock = VirtualClock::new();
        assert_eq!(clock.wall(), None);
        clock.advance(Duration::from_secs(1));
        clock.set_wall(Some(Duration::from_secs(1_000)));
        clock.advance(Duration::from_secs(2));
        assert_eq!(clock.wall(), Some(Duration::from_secs(1_002)));
        clock.set_wall(Some(Duration::from_secs(900)));
        assert_eq!(clock.wall(), Some(Duration::from_secs(900)));
        assert_eq!(clock.now(), Instant::from_secs(3));
    }
}
