//! Work that would keep the executor's tasks waiting, in a thread of its own.

use std::future::poll_fn;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Poll, Waker};
use std::thread;

/// Runs a closure in a thread of its own; the future gives what it gave.
///
/// The thread is not ended when the future is dropped: it runs to its end, and the outcome is dropped there.
///
/// ```no_run
/// # async fn f() -> Result<(), mirage_host::ApartError> {
/// let sum = mirage_host::run_apart("sums", || (1..=1_000_000_u64).sum::<u64>()).await?;
/// # Ok(())
/// # }
/// ```
///
/// # Errors
///
/// The system starts no thread, or the closure panicked.
pub async fn run_apart<T: Send + 'static>(
    name: &str,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, ApartError> {
    let (theirs, outcome) = place();
    let builder = thread::Builder::new().name(name.into());
    let spawned = builder.spawn(move || {
        let outbox = theirs;
        let outcome = work();
        outbox.put(Ok(outcome));
    });
    // Dropped, it is detached.
    let _thread = spawned.map_err(ApartError::Start)?;
    outcome.await
}

/// Where another thread puts an outcome, and a future that takes it from there.
pub(crate) fn place<T>() -> (Outbox<T>, impl Future<Output = Result<T, ApartError>>) {
    let place = Arc::new(Mutex::new(Place {
        outcome: None,
        waker: None,
    }));
    let outbox = Outbox(Arc::clone(&place));
    let outcome = poll_fn(move |context| {
        let mut place = lock(&place);
        match place.outcome.take() {
            Some(outcome) => Poll::Ready(outcome),
            None => {
                place.waker = Some(context.waker().clone());
                Poll::Pending
            }
        }
    });
    (outbox, outcome)
}

struct Place<T> {
    outcome: Option<Result<T, ApartError>>,
    waker: Option<Waker>,
}

fn lock<T>(place: &Mutex<Place<T>>) -> std::sync::MutexGuard<'_, Place<T>> {
    // Nothing in here panics with the lock held.
    place.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The thread's end: whoever waits hears of it even if the closure panics.
pub(crate) struct Outbox<T>(Arc<Mutex<Place<T>>>);

impl<T> Outbox<T> {
    pub(crate) fn put(&self, outcome: Result<T, ApartError>) {
        let mut place = lock(&self.0);
        if place.outcome.is_none() {
            place.outcome = Some(outcome);
        }
        let waker = place.waker.take();
        drop(place);
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

impl<T> Drop for Outbox<T> {
    fn drop(&mut self) {
        if thread::panicking() {
            self.put(Err(ApartError::Panicked));
        }
    }
}

/// Work was not done apart.
#[derive(Debug)]
#[non_exhaustive]
pub enum ApartError {
    /// The system starts no thread.
    Start(io::Error),
    /// The closure panicked: a fault in it.
    Panicked,
}

impl std::fmt::Display for ApartError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Start(error) => write!(f, "no thread can be started: {error}"),
            Self::Panicked => f.write_str("the thread panicked"),
        }
    }
}

impl std::error::Error for ApartError {}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::HostPlatform;
    use mirage_core::executor::Executor;
    use std::sync::mpsc;

    fn executor() -> &'static Executor {
        Executor::leak(HostPlatform::leak().unwrap())
    }

    #[test]
    fn outcome_comes_from_the_other_thread_while_tasks_go_on() {
        let executor = executor();
        let (sender, receiver) = mpsc::channel();
        // The thread ends only after a task of the executor has run meanwhile.
        let work = run_apart("test", move || receiver.recv().unwrap());
        let task = executor.spawn(async move { sender.send(42).unwrap() });
        task.unwrap().detach();
        assert_eq!(executor.run_until(work).unwrap(), 42);
    }

    #[test]
    fn panic_in_the_thread_is_an_error_and_not_a_wait_for_ever() {
        let work = run_apart("test", || -> u8 { panic!("as the test wants it") });
        let outcome = executor().run_until(work);
        assert!(matches!(outcome, Err(ApartError::Panicked)));
    }

    #[test]
    fn future_that_is_dropped_leaves_the_thread_to_itself() {
        let (sender, receiver) = mpsc::channel();
        let (done, wait) = mpsc::channel();
        {
            let executor = executor();
            let work = run_apart("test", move || {
                receiver.recv().unwrap();
                done.send(()).unwrap();
            });
            let timeout = executor.timeout(std::time::Duration::from_millis(1), work);
            assert!(executor.run_until(timeout).is_err());
        }
        sender.send(()).unwrap();
        wait.recv().unwrap();
    }
}
