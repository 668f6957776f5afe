//! The clock that is looked at once a turn.

use core::time::Duration;

use super::Executor;
use crate::time::{Clock, Instant};

/// An executor's clocks as they were in its [turn](Executor::turn_time): for parts that tasks share, and that ask for the time at each
/// call.
///
/// ```
/// use mirage_core::Clock;
/// use mirage_core::doubles::VirtualPlatform;
/// use mirage_core::executor::{Executor, TurnClock};
///
/// let executor = Executor::leak(Box::leak(Box::new(VirtualPlatform::new())));
/// let clock = TurnClock::new(executor);
/// assert_eq!(clock.now(), executor.now());
/// ```
#[derive(Clone, Copy, Debug)]
pub struct TurnClock(&'static Executor);

impl TurnClock {
    /// Of this executor.
    pub const fn new(executor: &'static Executor) -> Self {
        Self(executor)
    }
}

impl Clock for TurnClock {
    fn now(&self) -> Instant {
        self.0.turn_time()
    }

    fn wall(&self) -> Option<Duration> {
        self.0.turn_wall()
    }
}
