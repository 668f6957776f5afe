//! Futures that wait for the clock.

use core::fmt;
use core::future::Future;
use core::pin::Pin;
use core::task::{Context, Poll};
use core::time::Duration;

use super::Executor;
use super::timers::Node;
use crate::time::Instant;

/// Waits until a deadline, from [`Executor::sleep_until`]. Ready at once when the deadline has passed.
///
/// The timer is a part of this future: making one allocates nothing and can't fail, dropping one cancels it, both in
/// constant time. Sleepers of one deadline are woken in the order in which they were first polled.
#[must_use = "futures do nothing unless polled"]
pub struct Sleep {
    executor: &'static Executor,
    /// Makes this `!Unpin`: once registered, the timer queue points here.
    node: Node,
}

impl Sleep {
    pub(super) const fn new(executor: &'static Executor, deadline: Instant) -> Self {
        Self {
            executor,
            node: Node::new(deadline),
        }
    }

    /// When it's ready.
    pub fn deadline(&self) -> Instant {
        self.node.deadline()
    }

    /// Whether it has been ready, or was polled after its deadline.
    pub fn is_elapsed(&self) -> bool {
        self.node.has_fired()
    }

    /// Moves the deadline, whether it has passed or not. To be polled again after.
    pub fn reset(self: Pin<&mut Self>, deadline: Instant) {
        self.cancel();
        self.node.rearm(deadline);
    }

    fn cancel(&self) {
        // SAFETY: a registered node was registered by `poll`, with this executor's timers.
        unsafe { self.executor.timers().remove(&self.node) };
    }
}

impl Future for Sleep {
    type Output = ();

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let this = self.as_ref().get_ref();
        if this.node.has_fired() {
            return Poll::Ready(());
        }
        let timers = this.executor.timers();
        if !this.node.is_registered() {
            // The turn's time is enough: a deadline between it and the clock's time fires in the next turn, at once.
            if this.node.deadline() <= timers.now() {
                this.node.set_fired();
                return Poll::Ready(());
            }
            // SAFETY: `self` is pinned, so the node stays where it is until `drop`, which removes it. It's only accessed
            // through shared references from here on: `Sleep` is not `Unpin`, so no `&mut Sleep` asserts uniqueness.
            unsafe { timers.insert(&this.node) };
        }
        this.node.set_waker(context.waker());
        Poll::Pending
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        self.cancel();
    }
}

impl fmt::Debug for Sleep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sleep")
            .field("deadline", &self.deadline())
            .field("elapsed", &self.is_elapsed())
            .finish()
    }
}

/// Runs a future until a deadline, from [`Executor::timeout_at`].
#[must_use = "futures do nothing unless polled"]
#[derive(Debug)]
pub struct Timeout<F> {
    sleep: Sleep,
    future: F,
}

impl<F> Timeout<F> {
    pub(super) const fn new(sleep: Sleep, future: F) -> Self {
        Self { sleep, future }
    }
}

/// The future's output if it's ready by the deadline. When both are, the output wins.
impl<F: Future> Future for Timeout<F> {
    type Output = Result<F::Output, Elapsed>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        // SAFETY: both fields are pinned with the whole: neither is moved out of, `Timeout` has no destructor of its
        // own, and it is `Unpin` only if both are, so never.
        let (sleep, future) = unsafe {
            let this = self.get_unchecked_mut();
            (
                Pin::new_unchecked(&mut this.sleep),
                Pin::new_unchecked(&mut this.future),
            )
        };
        if let Poll::Ready(output) = future.poll(context) {
            return Poll::Ready(Ok(output));
        }
        sleep.poll(context).map(|()| Err(Elapsed))
    }
}

/// The deadline came first.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Elapsed;

impl fmt::Display for Elapsed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the deadline has passed")
    }
}

impl core::error::Error for Elapsed {}

/// A series of instants at one distance, from [`Executor::interval`].
#[derive(Debug)]
pub struct Interval {
    executor: &'static Executor,
    next: Instant,
    period: Duration,
}

impl Interval {
    pub(super) const fn new(executor: &'static Executor, first: Instant, period: Duration) -> Self {
        Self {
            executor,
            next: first,
            period,
        }
    }

    /// Waits for the next instant of the series, and returns it.
    ///
    /// The series doesn't drift: an instant is the one before plus the period, however late a tick was seen. Instants
    /// that passed altogether are given one by one, without a wait. Dropping the future loses no tick.
    pub async fn tick(&mut self) -> Instant {
        let instant = self.next;
        self.executor.sleep_until(instant).await;
        self.next = instant + self.period;
        instant
    }
}

/// Lets all other ready tasks run once, from [`yield_now`].
#[must_use = "futures do nothing unless polled"]
#[derive(Debug)]
pub struct YieldNow {
    yielded: bool,
}

/// Lets the other ready tasks run first: for long work, which nothing interrupts.
pub const fn yield_now() -> YieldNow {
    YieldNow { yielded: false }
}

impl Future for YieldNow {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        if self.yielded {
            return Poll::Ready(());
        }
        self.yielded = true;
        context.waker().wake_by_ref();
        Poll::Pending
    }
}
