//! Runs co-threads: a cooperative, single-threaded executor with exact timers.
//!
//! Quick reference:
//!
//! | | |
//! |---|---|
//! | [`Executor`] | made once, lives for ever; `&'static Executor` is the handle that tasks get (`Copy`, stays on its thread) |
//! | `Executor::spawn`, `start` (feature `alloc`), [`Executor::spawn_in`] | a task from the allocator, run later or at once; or in a [`TaskArena`]; each gives a [`JoinHandle`] |
//! | [`Executor::sleep_until`], [`sleep`](Executor::sleep), [`timeout`](Executor::timeout), [`interval`](Executor::interval) | the clock |
//! | [`Executor::run`], [`run_until`](Executor::run_until) | run with the platform's `park` |
//! | [`Executor::turn`], [`run_until_idle`](Executor::run_until_idle), [`next_deadline`](Executor::next_deadline) | run under somebody else's clock, as in tests |
//! | [`Platform`], [`Unpark`] | what a platform implements |
//! | [`Scheduler`], [`ReadyQueue`] | another order than first come, first served |
//!
//! # One turn
//!
//! 1. Read the clock, once: the [turn's time](Executor::turn_time).
//! 2. Run ready tasks, at most [the budget](Executor::set_budget) of them; then the future of
//!    [`run_until`](Executor::run_until), if they woke it.
//! 3. Wake the tasks whose timers are due at the turn's time, at most the budget.
//! 4. Let the platform [look at its devices](Platform::poll_devices).
//!
//! If nothing is ready then, [`run`](Executor::run) parks until the next deadline, which may have passed since.
//!
//! A look at the clock is not cheap everywhere: where a hypervisor emulates the time stamp counter it costs as much as
//! the answer to a packet. So one turn, which is one wake-up where there is little to do, looks once.
//!
//! # Threads
//!
//! An executor stays on the thread that made it, as do its tasks and handles. A [`Waker`] may go anywhere, and
//! outlive its task. A wake-up on another thread puts the task on an atomic list and calls [`Unpark::unpark`];
//! [`Platform::park`] remembers a call that came before it, so none is lost. Wakers take no lock, but they are not for
//! signal handlers.
//!
//! # Panics in tasks
//!
//! A panic in a task's poll goes on through the turn to its caller. The task is over then ([`JoinError::Panicked`]),
//! the executor and all other tasks are unharmed and can be run further.
//!
//! # Example
//!
//! ```
//! # #[cfg(feature = "alloc")] {
//! use core::time::Duration;
//! # use core::cell::Cell;
//! # use mirage_core::executor::{Platform, Unpark};
//! # use mirage_core::time::{Clock, Instant};
//! use mirage_core::executor::Executor;
//!
//! # struct Virtual(Cell<Instant>);
//! # struct Nobody;
//! # impl Unpark for Nobody { fn unpark(&self) {} }
//! # impl Clock for Virtual {
//! #     fn now(&self) -> Instant { self.0.get() }
//! #     fn wall(&self) -> Option<Duration> { None }
//! # }
//! # impl Platform for Virtual {
//! #     fn park(&self, until: Option<Instant>) { self.0.set(until.expect("a deadlock")) }
//! #     fn unparker(&self) -> &'static dyn Unpark { &Nobody }
//! # }
//! # let platform = Box::leak(Box::new(Virtual(Cell::new(Instant::ZERO))));
//! let executor: &'static Executor = Executor::leak(platform);
//! let task = executor.spawn(async move {
//!     executor.sleep(Duration::from_secs(1)).await;
//!     executor.now()
//! })?;
//! let woken = executor.run_until(task)?;
//! assert_eq!(woken, Instant::from_secs(1));
//! # }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod arena;
mod counters;
mod heap;
mod join;
mod memory;
mod platform;
mod prefetch;
mod queue;
#[cfg(feature = "alloc")]
mod slab;
mod sleep;
mod task;
#[cfg(all(test, feature = "alloc", not(loom)))]
mod tests;
mod timers;
mod turn_clock;
mod wait;

pub use arena::TaskArena;
pub use counters::ExecutorCounters;
pub use join::{JoinError, JoinHandle, SpawnError};
pub use memory::ExecutorMemory;
pub use platform::{Platform, ThreadToken, Unpark};
pub use queue::{ReadyQueue, ReadyTask, Scheduler};
pub use sleep::{Elapsed, Interval, Sleep, Timeout, YieldNow, yield_now};
pub use turn_clock::TurnClock;

use core::alloc::Layout;
use core::cell::{Cell, RefCell};
use core::fmt;
use core::future::Future;
use core::mem::ManuallyDrop;
use core::pin::pin;
use core::ptr::{self, NonNull};
use core::task::{Context, Poll, RawWaker, RawWakerVTable, Waker};
use core::time::Duration;

pub(crate) use self::wait::{WaitQueue, WakerSlot};

use self::arena::ArenaTasks;
use self::counters::{CounterCells, count};
use self::queue::RemoteList;
#[cfg(feature = "alloc")]
use self::slab::Slab;
#[cfg(feature = "alloc")]
use self::task::Task;
use self::task::{Header, Start};
use self::timers::Timers;
use crate::sync::{AtomicBool, Ordering};
use crate::time::Instant;

/// Tasks polled and timers fired in one turn, unless told otherwise.
const DEFAULT_BUDGET: usize = 128;

/// Timers moved at once ahead of their time: each turn, and while there is nothing else to do.
const PREPARE_LIMIT: usize = 64;

/// Of these, how many when nothing fired: few, since a timer may be due right after.
const PREPARE_LEAST: usize = 8;

/// With more timers due at once the executor is behind: to catch up comes first.
const BEHIND: usize = 16;

/// Timers moved in one turn because they may be due.
const MOVE_LIMIT: usize = 512;

/// Runs tasks on the thread that made it. Lives for ever, so that wakers and handles can't outlive it.
pub struct Executor {
    remote: Remote,
    platform: &'static dyn Platform,
    ready: ReadyQueue,
    scheduler: RefCell<Option<&'static mut dyn Scheduler>>,
    has_scheduler: Cell<bool>,
    /// A task was queued since the queue was last seen empty.
    maybe_ready: Cell<bool>,
    timers: Timers,
    #[cfg(feature = "alloc")]
    slab: Slab,
    arena_tasks: ArenaTasks,
    task_count: Cell<usize>,
    task_limit: Cell<usize>,
    budget: Cell<usize>,
    entered: Cell<bool>,
    /// What the wall clock showed in this turn, if it was looked at.
    turn_wall: Cell<Option<Option<Duration>>>,
    shut_down: Cell<bool>,
    counters: CounterCells,
}

/// What other threads may touch.
struct Remote {
    list: RemoteList,
    /// Places of the slab's that other threads gave back.
    #[cfg(feature = "alloc")]
    freed: RemoteList,
    unparker: &'static dyn Unpark,
    /// The token of the executor's thread, 0 without one.
    owner: usize,
    /// The future of `run_until` was woken.
    root_woken: AtomicBool,
}

impl Remote {
    #[inline(always)]
    fn is_here(&self) -> bool {
        self.owner != 0
            && self
                .unparker
                .current_thread()
                .is_some_and(|thread| thread.value() == self.owner)
    }
}

/// Whether a turn left work.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[must_use]
pub enum Turn {
    /// A task is ready or a timer is due: take another turn before waiting.
    Ready,
    /// Nothing to do until [`Executor::next_deadline`], a device, or a wake-up from elsewhere.
    Idle,
}

impl Executor {
    /// Makes an executor for the calling thread in static memory; `None` when there is one in it already.
    pub fn new(
        memory: &'static ExecutorMemory,
        platform: &'static dyn Platform,
    ) -> Option<&'static Executor> {
        memory.claim(|| Self::with(platform))
    }

    /// Makes an executor for the calling thread, in memory from the allocator that is never given back.
    #[cfg(feature = "alloc")]
    pub fn leak(platform: &'static dyn Platform) -> &'static Executor {
        alloc::boxed::Box::leak(alloc::boxed::Box::new(Self::with(platform)))
    }

    fn with(platform: &'static dyn Platform) -> Self {
        let unparker = platform.unparker();
        let timers = Timers::new();
        timers.set_now(platform.now());
        Self {
            remote: Remote {
                list: RemoteList::new(),
                #[cfg(feature = "alloc")]
                freed: RemoteList::new(),
                unparker,
                owner: unparker.current_thread().map_or(0, ThreadToken::value),
                root_woken: AtomicBool::new(false),
            },
            platform,
            ready: ReadyQueue::new(),
            scheduler: RefCell::new(None),
            has_scheduler: Cell::new(false),
            maybe_ready: Cell::new(false),
            timers,
            #[cfg(feature = "alloc")]
            slab: Slab::new(),
            arena_tasks: Cell::new(ptr::null_mut()),
            task_count: Cell::new(0),
            task_limit: Cell::new(usize::MAX),
            budget: Cell::new(DEFAULT_BUDGET),
            entered: Cell::new(false),
            turn_wall: Cell::new(None),
            shut_down: Cell::new(false),
            counters: CounterCells::default(),
        }
    }

    // --- Settings ---

    /// Limits the number of tasks that have not ended: a spawn refuses more. Without, memory is the bound.
    pub fn set_task_limit(&self, limit: usize) {
        self.task_limit.set(limit);
    }

    /// Limits the tasks polled, and the timers fired, in one turn; at least 1, by default 128. More makes turns cheaper,
    /// less looks at the clock and the devices more often.
    pub fn set_budget(&self, budget: usize) {
        self.budget.set(budget.max(1));
    }

    /// Sets the order in which ready tasks run, from now on. Tasks that are ready already go over, in their order.
    ///
    /// # Panics
    ///
    /// When called by a scheduler.
    pub fn set_scheduler(&self, scheduler: &'static mut dyn Scheduler) {
        let before = self.scheduler.borrow_mut().take();
        self.has_scheduler.set(false);
        if let Some(before) = before {
            while let Some(task) = before.pop() {
                self.ready.push(task);
            }
        }
        while let Some(task) = self.ready.pop() {
            scheduler.push(task);
        }
        *self.scheduler.borrow_mut() = Some(scheduler);
        self.has_scheduler.set(true);
        self.maybe_ready.set(true);
    }

    // --- Getters ---

    /// The platform's clock, as it is now.
    pub fn now(&self) -> Instant {
        self.platform.now()
    }

    /// The time of the turn that is being taken: what the clock showed when it began. Between turns it is [`now`](Self::now).
    ///
    /// For those who look often and to whom a turn is a moment, as the drivers of devices: it costs nothing. Who measures
    /// how long something takes, or counts from the very moment, asks [`now`](Self::now).
    pub fn turn_time(&self) -> Instant {
        if self.entered.get() {
            self.timers.now()
        } else {
            self.now()
        }
    }

    /// The platform's wall clock: time since the Unix epoch, where it's known.
    pub fn wall(&self) -> Option<Duration> {
        self.platform.wall()
    }

    /// The wall clock as it was when it was first looked at in the turn that is being taken, which is the only time that it is looked at.
    /// Between turns it is [`wall`](Self::wall).
    pub fn turn_wall(&self) -> Option<Duration> {
        if !self.entered.get() {
            return self.wall();
        }
        let seen = self.turn_wall.get();
        seen.unwrap_or_else(|| {
            let wall = self.wall();
            self.turn_wall.set(Some(wall));
            wall
        })
    }

    /// The number of tasks that have not ended.
    pub fn task_count(&self) -> usize {
        self.task_count.get()
    }

    /// The number of timers that run.
    pub fn timer_count(&self) -> usize {
        self.timers.len()
    }

    /// The earliest deadline of all timers, exactly.
    pub fn next_deadline(&self) -> Option<Instant> {
        self.timers.next_deadline()
    }

    /// What the executor did so far.
    pub fn counters(&self) -> ExecutorCounters {
        self.counters.read()
    }

    // --- Tasks ---

    /// Makes a task, in memory from the allocator. It's polled for the first time in a later turn.
    ///
    /// # Errors
    ///
    /// The future is dropped when the executor is at its limit, was shut down, or the allocator has no memory.
    #[cfg(feature = "alloc")]
    #[inline]
    pub fn spawn<F>(&'static self, future: F) -> Result<JoinHandle<F::Output>, SpawnError>
    where
        F: Future + 'static,
    {
        self.spawn_tagged(0, future)
    }

    /// As [`spawn`](Self::spawn), with a number that the [`Scheduler`] may look at.
    #[cfg(feature = "alloc")]
    #[inline]
    pub fn spawn_tagged<F>(
        &'static self,
        tag: u32,
        future: F,
    ) -> Result<JoinHandle<F::Output>, SpawnError>
    where
        F: Future + 'static,
    {
        let place = self.place_for::<F>()?;
        let start = Start {
            executor: self,
            tag,
            scheduled: true,
        };
        // SAFETY: a place for this type, from this executor's slab. The future goes there in one move.
        let task = unsafe { Task::write_in_slab(place, future, start) };
        self.enqueue_local(task);
        // SAFETY: new, joinable, with this future.
        Ok(unsafe { JoinHandle::new(task) })
    }

    /// Makes a task, in memory from the allocator, and polls it for the first time at once, before this returns: it
    /// runs up to where it first waits. What begins as MirageOS's threads do costs less, since the task is still in the
    /// processor's cache.
    ///
    /// Called from a task, it polls inside that task's poll: a long chain of tasks that start the next takes stack.
    /// A panic in the first poll goes on to the caller.
    ///
    /// # Errors
    ///
    /// As for [`spawn`](Self::spawn).
    #[cfg(feature = "alloc")]
    #[inline]
    pub fn start<F>(&'static self, future: F) -> Result<JoinHandle<F::Output>, SpawnError>
    where
        F: Future + 'static,
    {
        self.start_tagged(0, future)
    }

    /// As [`start`](Self::start), with a number that the [`Scheduler`] may look at.
    #[cfg(feature = "alloc")]
    #[inline]
    pub fn start_tagged<F>(
        &'static self,
        tag: u32,
        future: F,
    ) -> Result<JoinHandle<F::Output>, SpawnError>
    where
        F: Future + 'static,
    {
        let place = self.place_for::<F>()?;
        let start = Start {
            executor: self,
            tag,
            scheduled: false,
        };
        // SAFETY: a place for this type, from this executor's slab. The future goes there in one move.
        let task = unsafe { Task::write_in_slab(place, future, start) };
        // SAFETY: new, joinable, with this future. Made before the poll: its destructor detaches if that panics.
        let handle = unsafe { JoinHandle::new(task) };
        count(&self.counters.polls, 1);
        // SAFETY: new, so open and idle; an executor's methods are called on its thread; of this type.
        unsafe { task::poll_once_with(task, task::poll::<F>) };
        Ok(handle)
    }

    /// Makes a task in static memory. It's polled for the first time in a later turn.
    ///
    /// # Errors
    ///
    /// The future is dropped when the executor is at its limit, was shut down, or the arena has no room for it.
    pub fn spawn_in<F, const BYTES: usize>(
        &'static self,
        arena: &'static TaskArena<BYTES>,
        future: F,
    ) -> Result<JoinHandle<F::Output>, SpawnError>
    where
        F: Future + 'static,
    {
        self.spawn_tagged_in(arena, 0, future)
    }

    /// As [`spawn_in`](Self::spawn_in), with a number that the [`Scheduler`] may look at.
    pub fn spawn_tagged_in<F, const BYTES: usize>(
        &'static self,
        arena: &'static TaskArena<BYTES>,
        tag: u32,
        future: F,
    ) -> Result<JoinHandle<F::Output>, SpawnError>
    where
        F: Future + 'static,
    {
        self.admit()?;
        let task = arena.place(
            future,
            Start {
                executor: self,
                tag,
                scheduled: true,
            },
        );
        let task = self.admitted(task)?;
        // SAFETY: new, in an arena; an executor's methods are called on its thread.
        unsafe { arena::register(task, &self.arena_tasks) };
        self.enqueue_local(task);
        // SAFETY: new, joinable, with this future.
        Ok(unsafe { JoinHandle::new(task) })
    }

    #[inline]
    fn admit(&self) -> Result<(), SpawnError> {
        if self.shut_down.get() {
            count(&self.counters.refused_shut_down, 1);
            return Err(SpawnError::ShutDown);
        }
        if self.task_count.get() >= self.task_limit.get() {
            count(&self.counters.refused_limit, 1);
            return Err(SpawnError::LimitReached);
        }
        Ok(())
    }

    /// A place in the slab for one more task.
    #[cfg(feature = "alloc")]
    #[inline]
    fn place_for<F: Future + 'static>(&self) -> Result<NonNull<u8>, SpawnError> {
        self.admit()?;
        self.reclaim_remote();
        let layout = Layout::new::<Task<F>>();
        self.admitted(self.slab.allocate(layout, self.platform))
    }

    #[inline]
    fn admitted<T>(&self, place: Option<NonNull<T>>) -> Result<NonNull<T>, SpawnError> {
        match place {
            Some(place) => {
                count(&self.counters.spawned, 1);
                self.task_count.set(self.task_count.get() + 1);
                Ok(place)
            }
            None => {
                count(&self.counters.refused_memory, 1);
                Err(SpawnError::NoMemory)
            }
        }
    }

    /// Cancels all tasks, and refuses new ones: a task that calls this is cancelled at the end of its poll, all others
    /// before this returns.
    pub fn shut_down(&self) {
        // From here on no task is made, so one look at each is enough.
        self.shut_down.set(true);
        #[cfg(feature = "alloc")]
        self.slab.for_each(|task| {
            // SAFETY: a place that has or had a task has its header. One that's free, or closed, has nothing to cancel:
            // only another thread's waker may still be there.
            let header = unsafe { task.as_ref() };
            if !header.is_free() && !header.is_closed() {
                // SAFETY: open, so alive; an executor's methods are called on its thread.
                unsafe { task::abort(task) };
            }
        });
        // Cancelling one may end others, in any place of the list: look from its beginning each time.
        while let Some(task) = self.first_idle_in_arenas() {
            // SAFETY: in the list, so open; an executor's methods are called on its thread.
            unsafe { task::abort(task) };
        }
    }

    /// The first task in an arena that is neither being polled nor being dropped; those are marked to be cancelled.
    fn first_idle_in_arenas(&self) -> Option<NonNull<Header>> {
        let mut next = NonNull::new(self.arena_tasks.get());
        while let Some(task) = next {
            // SAFETY: in the list, so open; an executor's methods are called on its thread.
            unsafe {
                if task.as_ref().is_idle() {
                    return Some(task);
                }
                task::abort(task);
                next = arena::next(task);
            }
        }
        None
    }

    /// Called by a task that ends.
    fn forget_task(&self) {
        self.task_count.set(self.task_count.get() - 1);
        count(&self.counters.ended, 1);
    }

    fn arena_tasks(&self) -> &ArenaTasks {
        &self.arena_tasks
    }

    /// Takes a task's place back, on any thread.
    ///
    /// # Safety
    ///
    /// The place is this executor's slab's, with this layout, its last reference is gone, and `here` only on the
    /// executor's thread.
    #[cfg(feature = "alloc")]
    unsafe fn reclaim(&self, task: NonNull<Header>, layout: Layout, here: bool) {
        if here || self.remote.is_here() {
            // SAFETY: the caller's promise.
            unsafe { self.slab.free(task, layout) };
        } else {
            self.remote.freed.push(task);
        }
    }

    #[cfg(not(feature = "alloc"))]
    unsafe fn reclaim(&self, _task: NonNull<Header>, _layout: Layout, _here: bool) {}

    /// Takes the places back that other threads gave up.
    #[cfg(feature = "alloc")]
    #[inline]
    fn reclaim_remote(&self) {
        if !self.remote.freed.is_empty() {
            self.remote.freed.take(|task| {
                // SAFETY: pushed by `reclaim`; the header of a free place stays readable.
                unsafe { self.slab.free(task, task.as_ref().layout()) };
            });
        }
    }

    // --- Time ---

    /// Waits until `deadline`.
    pub const fn sleep_until(&'static self, deadline: Instant) -> Sleep {
        Sleep::new(self, deadline)
    }

    /// Waits for `duration` from now (not from the first poll).
    pub fn sleep(&'static self, duration: Duration) -> Sleep {
        self.sleep_until(self.now() + duration)
    }

    /// Runs `future` until `deadline`, then drops it with the [`Timeout`].
    pub const fn timeout_at<F: Future>(&'static self, deadline: Instant, future: F) -> Timeout<F> {
        Timeout::new(self.sleep_until(deadline), future)
    }

    /// Runs `future` for at most `duration` from now.
    pub fn timeout<F: Future>(&'static self, duration: Duration, future: F) -> Timeout<F> {
        self.timeout_at(self.now() + duration, future)
    }

    /// Ticks at `first`, and each `period` after. A period of zero is taken as one nanosecond.
    pub const fn interval(&'static self, first: Instant, period: Duration) -> Interval {
        let period = if period.is_zero() {
            Duration::from_nanos(1)
        } else {
            period
        };
        Interval::new(self, first, period)
    }

    fn timers(&self) -> &Timers {
        &self.timers
    }

    // --- Running ---

    /// Runs until no task is left. An appliance whose tasks serve for ever never returns from here.
    ///
    /// # Panics
    ///
    /// When called from a task, or when a task panics.
    pub fn run(&self) {
        let _entered = self.enter();
        while self.task_count.get() > 0 {
            if self.take_turn() == Turn::Idle && self.task_count.get() > 0 {
                self.idle();
            }
        }
    }

    /// Runs `future`, and all tasks meanwhile, until `future` is ready. The future may borrow.
    ///
    /// # Panics
    ///
    /// When called from a task, or when the future or a task panics.
    pub fn run_until<F: Future>(&'static self, future: F) -> F::Output {
        let _entered = self.enter();
        let mut future = pin!(future);
        // SAFETY: ROOT_WAKER's functions take a `&'static Executor`; such a waker owns nothing.
        let waker = ManuallyDrop::new(unsafe { Waker::from_raw(root_waker(self)) });
        let mut context = Context::from_waker(&waker);
        let woken = &self.remote.root_woken;
        // Before the first turn's tasks, as if it had been woken between turns.
        woken.store(true, Ordering::Relaxed);
        self.begin_turn();
        loop {
            // Acquire: what was written before the wake-up is visible to the poll.
            if woken.swap(false, Ordering::AcqRel)
                && let Poll::Ready(output) = future.as_mut().poll(&mut context)
            {
                return output;
            }
            if self.end_turn() == Turn::Idle && !woken.load(Ordering::Acquire) {
                self.idle();
            }
            self.begin_turn();
            self.run_ready();
        }
    }

    /// Takes turns until nothing is ready and no timer is due. Does not wait: for tests that move the clock themselves.
    ///
    /// # Panics
    ///
    /// When called from a task, or when a task panics.
    pub fn run_until_idle(&self) {
        // A turn that took some time doesn't know what became due in it.
        let is_due = || self.next_deadline().is_some_and(|at| at <= self.now());
        while self.turn() == Turn::Ready || is_due() {}
    }

    /// Takes one turn, without waiting.
    ///
    /// # Panics
    ///
    /// When called from a task, or when a task panics.
    pub fn turn(&self) -> Turn {
        let _entered = self.enter();
        self.take_turn()
    }

    fn enter(&self) -> impl Drop + '_ {
        struct Entered<'a>(&'a Cell<bool>);
        impl Drop for Entered<'_> {
            fn drop(&mut self) {
                self.0.set(false);
            }
        }
        assert!(
            !self.entered.replace(true),
            "an executor can't be run by its own tasks"
        );
        Entered(&self.entered)
    }

    fn take_turn(&self) -> Turn {
        self.begin_turn();
        self.run_ready();
        self.end_turn()
    }

    fn begin_turn(&self) {
        self.timers.set_now(self.platform.now());
        self.turn_wall.set(None);
    }

    fn run_ready(&self) {
        let budget = self.budget.get();
        let mut polls = 0;
        while polls < budget {
            self.take_remote();
            let Some(task) = self.pop() else { break };
            count(&self.counters.polls, 1);
            polls += 1;
            task::run(task);
        }
    }

    /// Timers and devices.
    fn end_turn(&self) -> Turn {
        let budget = self.budget.get();
        let now = self.timers.now();
        let mut fired = 0;
        let mut moves = MOVE_LIMIT;
        while fired < budget {
            let Some(waker) = self.timers.fire(now, &mut moves) else {
                break;
            };
            count(&self.counters.timers_fired, 1);
            fired += 1;
            if let Some(waker) = waker {
                task::wake_local(waker, self);
            }
        }

        // Also when there is never nothing to do, timers have to be where they can fire by the time they are due.
        let limit = if fired > BEHIND {
            fired / 4
        } else {
            PREPARE_LEAST + 2 * fired
        };
        let prepared = self.timers.prepare(limit.min(PREPARE_LIMIT).min(moves));
        let moved = MOVE_LIMIT - moves + prepared;
        count(&self.counters.timers_moved, moved as u64);

        self.platform.poll_devices();

        self.take_remote();
        if self.maybe_ready.get() || fired == budget || moves == 0 {
            Turn::Ready
        } else {
            Turn::Idle
        }
    }

    /// Prepares timers, a little at a time, and waits once that was all there is to prepare.
    fn idle(&self) {
        let prepared = self.timers.prepare(PREPARE_LEAST);
        count(&self.counters.timers_moved, prepared as u64);
        if prepared < PREPARE_LEAST {
            count(&self.counters.parks, 1);
            self.platform.park(self.timers.next_look());
        }
    }

    fn pop(&self) -> Option<ReadyTask> {
        let task = if self.has_scheduler.get() {
            match self.scheduler.borrow_mut().as_mut() {
                Some(scheduler) => scheduler.pop(),
                None => None,
            }
        } else {
            self.ready.pop()
        };
        if task.is_none() {
            self.maybe_ready.set(false);
        }
        task
    }

    // --- Wake-ups ---

    /// Queues a task on any thread.
    fn enqueue(&self, task: NonNull<Header>) {
        if self.remote.is_here() {
            self.enqueue_local(task);
        } else {
            self.enqueue_remote(task);
        }
    }

    /// Queues a task on the executor's thread.
    #[inline]
    fn enqueue_local(&self, task: NonNull<Header>) {
        // SAFETY: the callers have the ticket, and are on the executor's thread.
        let ready = unsafe { ReadyTask::from_ticket(task) };
        self.maybe_ready.set(true);
        if !self.has_scheduler.get() {
            self.ready.push(ready);
            return;
        }
        match self.scheduler.try_borrow_mut().as_deref_mut() {
            Ok(Some(scheduler)) => scheduler.push(ready),
            // The scheduler itself woke a task.
            _ => self.enqueue_remote(ready.into_ticket()),
        }
    }

    /// Queues a task on any thread, through the atomic list.
    fn enqueue_remote(&self, task: NonNull<Header>) {
        // Whoever finds the list empty tells the executor, the others rely on that one. It's told after the push, so
        // it either sees the task before it parks, or its park returns.
        if self.remote.list.push(task) {
            self.remote.unparker.unpark();
        }
    }

    #[inline(always)]
    fn take_remote(&self) {
        if self.remote.list.is_empty() {
            return;
        }
        self.remote.list.take(|task| {
            count(&self.counters.remote_wakes, 1);
            self.enqueue_local(task);
        });
    }
}

impl fmt::Debug for Executor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Executor")
            .field("task_count", &self.task_count())
            .field("timer_count", &self.timer_count())
            .field("counters", &self.counters())
            .finish_non_exhaustive()
    }
}

// --- The waker of `run_until`'s future ---

static ROOT_WAKER: RawWakerVTable = RawWakerVTable::new(
    |executor| RawWaker::new(executor, &ROOT_WAKER),
    wake_root,
    wake_root,
    |_| {},
);

fn root_waker(executor: &'static Executor) -> RawWaker {
    RawWaker::new(ptr::from_ref(executor).cast(), &ROOT_WAKER)
}

unsafe fn wake_root(executor: *const ()) {
    // SAFETY: made by `root_waker`. On another thread, only `remote` is touched.
    let remote = unsafe { &(*executor.cast::<Executor>()).remote };
    // Release: what was written before is visible to the poll.
    if !remote.root_woken.swap(true, Ordering::AcqRel) && !remote.is_here() {
        remote.unparker.unpark();
    }
}
