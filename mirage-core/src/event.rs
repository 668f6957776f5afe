//! An event token: it remembers an event that fired while nobody looked, so that no wake-up is lost.
//!
//! ```
//! use mirage_core::event::Event;
//!
//! static LINK_CHANGED: Event = Event::new();
//!
//! LINK_CHANGED.set(); // nobody waits yet
//! assert!(LINK_CHANGED.take()); // and it's still known
//! assert!(!LINK_CHANGED.take()); // once
//! ```

use core::fmt;
use core::future::{Future, poll_fn};
use core::task::{Context, Poll};

use crate::executor::WakerSlot;
use crate::sync::{AtomicBool, Ordering};

/// Something that happens now and then. Any thread sets it; one task waits for it.
///
/// Events don't count: several before a look are one. Look at what the event is about *after* it was taken, and an
/// event that comes during the look leads to another look. If more than one task waits, each wake-up reaches one of
/// them, and they keep waking each other: give each its own event.
pub struct Event {
    fired: AtomicBool,
    waker: WakerSlot,
}

impl Event {
    /// An event that has not happened.
    #[cfg(not(loom))]
    pub const fn new() -> Self {
        Self {
            fired: AtomicBool::new(false),
            waker: WakerSlot::new(),
        }
    }

    /// An event that has not happened.
    #[cfg(loom)]
    pub fn new() -> Self {
        Self {
            fired: AtomicBool::new(false),
            waker: WakerSlot::new(),
        }
    }

    /// Notes that it happened, and wakes the task that waits.
    #[inline(always)]
    pub fn set(&self) {
        // Release: what was written before is visible to the one who takes the event.
        if !self.fired.swap(true, Ordering::AcqRel) {
            self.waker.wake();
        }
    }

    /// Whether it has happened and was not taken yet. Takes nothing.
    pub fn is_set(&self) -> bool {
        self.fired.load(Ordering::Acquire)
    }

    /// Takes the event: whether it happened since it was taken last.
    pub fn take(&self) -> bool {
        self.fired.swap(false, Ordering::AcqRel)
    }

    /// Takes the event, or registers the task to be woken when it happens.
    pub fn poll_wait(&self, context: &mut Context<'_>) -> Poll<()> {
        if self.take() {
            return Poll::Ready(());
        }
        self.waker.register(context.waker());
        // It may have been set between the look and the registration, when there was no one to wake.
        if self.take() {
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    }

    /// Waits for the event and takes it. Dropping the future loses no event.
    pub fn wait(&self) -> impl Future<Output = ()> + '_ {
        poll_fn(|context| self.poll_wait(context))
    }
}

impl Default for Event {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Event")
            .field("set", &self.is_set())
            .finish()
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    extern crate std;

    use super::*;
    use core::pin::pin;
    use core::task::Waker;
    use std::sync::Arc;
    use std::sync::atomic::AtomicUsize;
    use std::task::Wake;

    struct Count(AtomicUsize);

    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }

    fn counter() -> (Arc<Count>, Waker) {
        let count = Arc::new(Count(AtomicUsize::new(0)));
        (count.clone(), Waker::from(count))
    }

    #[test]
    fn an_event_before_the_wait_is_remembered() {
        let event = Event::new();
        event.set();
        event.set();
        let mut context = Context::from_waker(Waker::noop());
        assert_eq!(event.poll_wait(&mut context), Poll::Ready(()));
        assert_eq!(event.poll_wait(&mut context), Poll::Pending);
    }

    #[test]
    fn an_event_during_the_wait_wakes_once() {
        let event = Event::new();
        let (count, waker) = counter();
        let mut context = Context::from_waker(&waker);
        let mut wait = pin!(event.wait());
        assert!(wait.as_mut().poll(&mut context).is_pending());
        event.set();
        event.set();
        assert_eq!(count.0.load(Ordering::SeqCst), 1);
        assert!(wait.as_mut().poll(&mut context).is_ready());
        assert!(!event.is_set());
    }

    #[test]
    fn a_waiter_that_is_replaced_is_woken_and_not_forgotten() {
        let event = Event::new();
        let (first, first_waker) = counter();
        let (second, second_waker) = counter();
        assert!(
            event
                .poll_wait(&mut Context::from_waker(&first_waker))
                .is_pending()
        );
        assert!(
            event
                .poll_wait(&mut Context::from_waker(&second_waker))
                .is_pending()
        );
        assert_eq!(first.0.load(Ordering::SeqCst), 1);
        event.set();
        assert_eq!(second.0.load(Ordering::SeqCst), 1);
    }

    #[test]
    fn an_event_from_another_thread_arrives() {
        static EVENT: Event = Event::new();
        let thread = std::thread::spawn(|| EVENT.set());
        let (count, waker) = counter();
        let mut context = Context::from_waker(&waker);
        if EVENT.poll_wait(&mut context).is_pending() {
            while count.0.load(Ordering::SeqCst) == 0 {
                std::thread::yield_now();
            }
            assert!(EVENT.poll_wait(&mut context).is_ready());
        }
        thread.join().unwrap();
    }
}
