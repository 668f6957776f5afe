//! The ready queue: which task runs next.

use core::cell::Cell;
use core::fmt;
use core::marker::PhantomData;
use core::ptr::{self, NonNull};

use super::prefetch::prefetch;
use super::task::{self, Header};
use crate::sync::{AtomicPtr, Ordering};

/// Tasks by which the memory is asked for ahead of its use.
const AHEAD: usize = 10;

/// The order in which ready tasks run.
///
/// Without one, tasks run first come, first served. An implementation needs no allocation: a [`ReadyQueue`] links the
/// tasks through themselves. Every task that is pushed should be popped after finitely many pops of others (a task
/// that never is, starves); one that is dropped instead sleeps until it is woken again.
///
/// ```
/// use mirage_core::executor::{ReadyQueue, ReadyTask, Scheduler};
///
/// /// Two classes, by the tag given at spawn.
/// struct UrgentFirst {
///     urgent: ReadyQueue,
///     other: ReadyQueue,
/// }
///
/// impl Scheduler for UrgentFirst {
///     fn push(&mut self, task: ReadyTask) {
///         match task.tag() {
///             0 => self.other.push(task),
///             _ => self.urgent.push(task),
///         }
///     }
///
///     fn pop(&mut self) -> Option<ReadyTask> {
///         self.urgent.pop().or_else(|| self.other.pop())
///     }
/// }
/// ```
pub trait Scheduler {
    /// Takes a task that became ready.
    fn push(&mut self, task: ReadyTask);

    /// The task to run next, `None` when there is none.
    fn pop(&mut self) -> Option<ReadyTask>;
}

/// A task that is ready to run. It is in one queue at a time, so there is at most one for each task.
pub struct ReadyTask {
    task: NonNull<Header>,
    not_send: PhantomData<*const ()>,
}

impl ReadyTask {
    /// # Safety
    ///
    /// The caller holds the task's ticket, gives it up, and is on its executor's thread.
    pub(super) unsafe fn from_ticket(task: NonNull<Header>) -> Self {
        Self {
            task,
            not_send: PhantomData,
        }
    }

    pub(super) fn into_ticket(self) -> NonNull<Header> {
        let task = self.task;
        core::mem::forget(self);
        task
    }

    /// The number given at spawn, 0 without one. What it means is the scheduler's business.
    pub fn tag(&self) -> u32 {
        // SAFETY: the ticket keeps the task alive.
        unsafe { self.task.as_ref() }.tag()
    }
}

/// The task goes back to sleep; the next wake-up makes it ready again.
impl Drop for ReadyTask {
    fn drop(&mut self) {
        task::surrender(self.task);
    }
}

impl fmt::Debug for ReadyTask {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReadyTask")
            .field("task", &self.task)
            .field("tag", &self.tag())
            .finish()
    }
}

/// A first-in, first-out queue of ready tasks, linked through the tasks themselves: no memory, no bound, no failure.
#[derive(Debug)]
pub struct ReadyQueue {
    first: Cell<*mut Header>,
    last: Cell<*mut Header>,
}

impl ReadyQueue {
    /// An empty queue.
    pub const fn new() -> Self {
        Self {
            first: Cell::new(ptr::null_mut()),
            last: Cell::new(ptr::null_mut()),
        }
    }

    /// Whether no task is in the queue.
    pub fn is_empty(&self) -> bool {
        self.first.get().is_null()
    }

    /// Appends a task.
    pub fn push(&self, task: ReadyTask) {
        let task = task.into_ticket();
        // SAFETY: the ticket keeps the task alive, and `next` is the ticket's.
        unsafe { task.as_ref() }
            .next
            .store(ptr::null_mut(), Ordering::Relaxed);
        let task = task.as_ptr();
        // SAFETY: the queue holds the last task's ticket, so that one is alive and its link is the queue's.
        match unsafe { self.last.get().as_ref() } {
            Some(last) => last.next.store(task, Ordering::Relaxed),
            None => self.first.set(task),
        }
        self.last.set(task);
    }

    /// Takes the oldest task.
    pub fn pop(&self) -> Option<ReadyTask> {
        let task = NonNull::new(self.first.get())?;
        // SAFETY: the queue holds the task's ticket, which keeps it alive, and its link.
        let next = unsafe { task.as_ref() }.next.load(Ordering::Relaxed);
        self.first.set(next);
        if next.is_null() {
            self.last.set(ptr::null_mut());
        } else {
            // The next task arrives while this one runs. Those after it lie most likely as far from each other as these
            // two: tasks that were made in a row do.
            let stride = next.addr().wrapping_sub(task.addr().get());
            prefetch(
                next.cast::<u8>().wrapping_add(stride.wrapping_mul(AHEAD)),
                192,
            );
        }
        // SAFETY: the queue's ticket goes to the caller. The queue is neither `Send` nor `Sync` (raw pointers), so
        // this is the thread of the one who pushed.
        Some(unsafe { ReadyTask::from_ticket(task) })
    }
}

impl Default for ReadyQueue {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for ReadyQueue {
    fn drop(&mut self) {
        while self.pop().is_some() {}
    }
}

impl Scheduler for ReadyQueue {
    fn push(&mut self, task: ReadyTask) {
        ReadyQueue::push(self, task);
    }

    fn pop(&mut self) -> Option<ReadyTask> {
        ReadyQueue::pop(self)
    }
}

/// Tasks woken by other threads: any number of pushers, one taker who takes all at once.
pub(super) struct RemoteList {
    last: AtomicPtr<Header>,
}

impl RemoteList {
    #[cfg(not(loom))]
    pub(super) const fn new() -> Self {
        Self {
            last: AtomicPtr::new(ptr::null_mut()),
        }
    }

    #[cfg(loom)]
    pub(super) fn new() -> Self {
        Self {
            last: AtomicPtr::new(ptr::null_mut()),
        }
    }

    /// Hands a ticket over. Returns whether the list was empty, so that the taker has to be told.
    pub(super) fn push(&self, task: NonNull<Header>) -> bool {
        let mut last = self.last.load(Ordering::Relaxed);
        loop {
            // SAFETY: the caller's ticket keeps the task alive, and `next` is the ticket's.
            unsafe { task.as_ref() }.next.store(last, Ordering::Relaxed);
            // Release: the link is visible to the taker. The list is only ever taken whole, so there is no ABA.
            match self.last.compare_exchange_weak(
                last,
                task.as_ptr(),
                Ordering::AcqRel,
                Ordering::Relaxed,
            ) {
                Ok(_) => return last.is_null(),
                Err(now) => last = now,
            }
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.last.load(Ordering::Relaxed).is_null()
    }

    /// Takes all tickets, and calls `each` in the order of their pushes.
    pub(super) fn take(&self, mut each: impl FnMut(NonNull<Header>)) {
        let mut newest = self.last.swap(ptr::null_mut(), Ordering::AcqRel);
        let mut oldest = ptr::null_mut();
        while let Some(task) = NonNull::new(newest) {
            // SAFETY: the list's tickets are ours now; each keeps its task alive, and its link ours.
            let next = &unsafe { task.as_ref() }.next;
            newest = next.load(Ordering::Relaxed);
            next.store(oldest, Ordering::Relaxed);
            oldest = task.as_ptr();
        }
        while let Some(task) = NonNull::new(oldest) {
            // SAFETY: as above; the link is read before the ticket is passed on.
            oldest = unsafe { task.as_ref() }.next.load(Ordering::Relaxed);
            each(task);
        }
    }
}
