//! Waiting for a task's result, and cancelling it.

use core::fmt;
use core::future::Future;
use core::marker::PhantomData;
use core::pin::Pin;
use core::ptr::NonNull;
use core::task::{Context, Poll};

use super::task::{self, Header};

/// Owns the interest in a task's result: await it, [`abort`](JoinHandle::abort) the task, or drop it to let go.
///
/// Dropping the handle detaches the task, which goes on; its output is dropped when it ends.
#[must_use = "dropping a JoinHandle detaches its task; say so with `detach()`"]
pub struct JoinHandle<T> {
    task: NonNull<Header>,
    /// Has a `T` to give, and stays on the executor's thread (`NonNull` is neither `Send` nor `Sync`).
    output: PhantomData<T>,
}

impl<T> JoinHandle<T> {
    /// # Safety
    ///
    /// The caller passes one of the task's references on, the task was made joinable and its output is `T`, and this
    /// is its executor's thread.
    pub(super) unsafe fn new(task: NonNull<Header>) -> Self {
        Self {
            task,
            output: PhantomData,
        }
    }

    /// Lets the task go on by itself.
    pub fn detach(self) {}

    /// Cancels the task: its future is dropped before this returns, or, when the task calls this on itself, as soon as
    /// its current poll is over. A task that has ended keeps its result.
    pub fn abort(&self) {
        // SAFETY: alive by the handle's reference; a handle never leaves its executor's thread.
        unsafe { task::abort(self.task) };
    }

    /// Whether the task has ended, in whatever way.
    pub fn is_finished(&self) -> bool {
        // SAFETY: alive by the handle's reference.
        unsafe { self.task.as_ref() }.is_closed()
    }
}

// Nothing of `T` is pinned in the handle.
impl<T> Unpin for JoinHandle<T> {}

/// The task's output. Polled again after it was ready, it is [`JoinError::Aborted`].
impl<T> Future for JoinHandle<T> {
    type Output = Result<T, JoinError>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        // SAFETY: alive by the handle's reference.
        let header = unsafe { self.task.as_ref() };
        if header.is_closed() {
            // SAFETY: alive, closed, and `T` is its output by `new`'s contract; on the executor's thread.
            Poll::Ready(unsafe { task::take_result(self.task) })
        } else {
            header.set_join_waker(context.waker());
            Poll::Pending
        }
    }
}

impl<T> Drop for JoinHandle<T> {
    fn drop(&mut self) {
        // SAFETY: once, by the owner, on the executor's thread.
        unsafe { task::drop_join(self.task) };
    }
}

impl<T> fmt::Debug for JoinHandle<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JoinHandle")
            .field("finished", &self.is_finished())
            .finish()
    }
}

/// Why a task has no output.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum JoinError {
    /// It was cancelled, by its handle or with its executor; or the output was taken before.
    Aborted,
    /// Its future panicked. The panic went on through the executor's turn.
    Panicked,
}

impl fmt::Display for JoinError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            JoinError::Aborted => "the task was cancelled",
            JoinError::Panicked => "the task panicked",
        })
    }
}

impl core::error::Error for JoinError {}

/// Why a task was not made. Its future was dropped.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum SpawnError {
    /// The executor has as many tasks as its limit allows.
    LimitReached,
    /// The allocator or the arena has no room for this task.
    NoMemory,
    /// The executor was shut down.
    ShutDown,
}

impl fmt::Display for SpawnError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            SpawnError::LimitReached => "the executor's limit of tasks is reached",
            SpawnError::NoMemory => "no memory for the task",
            SpawnError::ShutDown => "the executor was shut down",
        })
    }
}

impl core::error::Error for SpawnError {}
