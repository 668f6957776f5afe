//! The time, for the shells.

use core::time::Duration;

use mirage_core::Instant;
use mirage_core::executor::Executor;

/// The time, and futures that run until a deadline.
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

impl Timer for &'static Executor {
    fn now(&self) -> Instant {
        Executor::now(self)
    }

    fn wall(&self) -> Option<Duration> {
        Executor::wall(self)
    }

    async fn until<F: Future>(&self, deadline: Instant, future: F) -> Option<F::Output> {
        self.timeout_at(deadline, future).await.ok()
    }
}
