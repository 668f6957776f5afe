//! The time, for the shells.

use core::time::Duration;

use mirage_core::Instant;
use mirage_core::executor::Executor;

/// The time, and futures that run until a deadline.
///
/// The time is asked for several times a request, and what is asked in one poll of a task may all be answered with what the clocks
/// showed at its beginning: limits are then kept to within that poll.
pub trait Timer {
    /// The monotonic clock.
    fn now(&self) -> Instant;

    /// The time since the Unix epoch, where it is known.
    fn wall(&self) -> Option<Duration>;

    /// The future's output if it is ready by the deadline; else it is dropped.
    fn until<F: Future>(
        &self,
        deadline: Instant,
        future: F,
    ) -> impl Future<Output = Option<F::Output>>;
}

/// The clocks are looked at once a turn.
impl Timer for &'static Executor {
    fn now(&self) -> Instant {
        self.turn_time()
    }

    fn wall(&self) -> Option<Duration> {
        self.turn_wall()
    }

    async fn until<F: Future>(&self, deadline: Instant, future: F) -> Option<F::Output> {
        self.timeout_at(deadline, future).await.ok()
    }
}
