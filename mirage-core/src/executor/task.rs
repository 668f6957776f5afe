//! A task in memory: its header, its life cycle and its waker.
//!
//! # Who may touch what
//!
//! - `state` and `next` are atomics: any thread that holds a reference.
//! - All else in the header, and the stage (future or output), belongs to the executor's thread.
//!
//! # References
//!
//! The upper bits of `state` count references: one of the executor's thread, one for each [`Waker`]. Whoever drops
//! the last one gives the memory back, on any thread: nothing is left to drop by then. The executor's thread drops its
//! reference once the task is closed (so the future was dropped there), has no [`JoinHandle`](super::JoinHandle) any
//! more (so the output was, too), and is in no list.
//!
//! # Tickets
//!
//! Who turns `SCHEDULED` on in a task that is not `CLOSED` holds its *ticket*: the right to use `next`, hence to put the
//! task in one list. The one who takes it out turns the bit off.

use core::alloc::Layout;
use core::cell::{Cell, UnsafeCell};
use core::future::Future;
use core::mem::{ManuallyDrop, MaybeUninit};
use core::pin::Pin;
use core::ptr::{self, NonNull};
use core::task::{Context, Poll, RawWaker, RawWakerVTable, Waker};

use super::join::JoinError;
use super::queue::ReadyTask;
use super::wait::WakerCell;
use super::{Executor, arena};
use crate::sync::{AtomicPtr, AtomicUsize, Ordering};

const SCHEDULED: usize = 1;
const CLOSED: usize = 2;
const REFERENCE: usize = 4;
const FLAGS: usize = SCHEDULED | CLOSED;
const REFERENCES_MAX: usize = usize::MAX / 2;

/// Where a task is, as its executor's thread sees it.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// Waits to be polled.
    Idle,
    /// Its future is being polled or dropped, further up this thread's stack.
    Running,
    /// As `Running`, and to be cancelled after.
    RunningAborted,
    /// Its future is gone.
    Closed,
}

/// The part of a task that does not depend on its future's type.
pub(super) struct Header {
    state: AtomicUsize,
    /// The link of the list that the task is in; belongs to the ticket's holder.
    pub(super) next: AtomicPtr<Header>,
    vtable: &'static TaskVtable,
    executor: &'static Executor,
    join_waker: WakerCell,
    tag: u32,
    phase: Cell<Phase>,
    holds: Cell<Holds>,
    /// There is a join handle.
    joinable: Cell<bool>,
    /// The task closed while its ticket was out, and still is.
    ticket_out: Cell<bool>,
}

struct TaskVtable {
    /// Polls the future; on `Ready` stores the output. Returns whether it was ready.
    poll: unsafe fn(NonNull<Header>, &mut Context<'_>) -> bool,
    /// Replaces what the stage holds (future, output) by `Failed`, or by nothing.
    clear: unsafe fn(NonNull<Header>, Option<JoinError>),
    /// Moves the result out to a `MaybeUninit<Result<Output, JoinError>>`.
    take: unsafe fn(NonNull<Header>, *mut ()),
    layout: Layout,
    /// In an arena: the memory is free as soon as the count is zero. Otherwise it's the executor's slab's.
    in_arena: bool,
}

/// What a task's stage holds.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Holds {
    Future,
    Output,
    /// Nothing; the task ended without an output.
    Failure(JoinError),
    /// Nothing any more.
    Nothing,
}

/// The future, then its output. [`Header::holds`] says which.
union Stage<F: Future> {
    future: ManuallyDrop<F>,
    output: ManuallyDrop<F::Output>,
}

/// A task of a known type. The header is first, so that a pointer to it is a pointer to the task.
#[repr(C)]
pub(super) struct Task<F: Future> {
    header: Header,
    stage: UnsafeCell<Stage<F>>,
}

struct Vtables<F>(F);

impl<F: Future + 'static> Vtables<F> {
    #[cfg(feature = "alloc")]
    const SLAB: &'static TaskVtable = &Self::with(false);
    const ARENA: &'static TaskVtable = &Self::with(true);

    const fn with(in_arena: bool) -> TaskVtable {
        TaskVtable {
            poll: poll::<F>,
            clear: clear::<F>,
            take: take::<F>,
            layout: Layout::new::<Task<F>>(),
            in_arena,
        }
    }
}

/// How a task begins.
#[derive(Clone, Copy)]
pub(super) struct Start {
    pub(super) executor: &'static Executor,
    pub(super) tag: u32,
    /// With its ticket out, which goes to the caller.
    pub(super) scheduled: bool,
}

impl<F: Future + 'static> Task<F> {
    /// Puts a task in a place of its executor's slab.
    ///
    /// # Safety
    ///
    /// `place` was allocated there for this type, and nothing refers to it.
    #[cfg(feature = "alloc")]
    #[inline(always)]
    pub(super) unsafe fn write_in_slab(
        place: NonNull<u8>,
        future: F,
        start: Start,
    ) -> NonNull<Header> {
        // SAFETY: the caller's promise.
        unsafe { Self::write(place, future, Vtables::<F>::SLAB, start) }
    }

    /// Puts a task in an arena's slot.
    ///
    /// # Safety
    ///
    /// `memory` is a slot's, fits this type in size and alignment, lives for ever, and is not used for anything else
    /// until [`Header::is_free`] says so.
    pub(super) unsafe fn place(memory: NonNull<u8>, future: F, start: Start) -> NonNull<Header> {
        // SAFETY: the caller's promise.
        unsafe { Self::write(memory, future, Vtables::<F>::ARENA, start) }
    }

    /// Writes an idle task with the executor's reference and a join handle.
    ///
    /// # Safety
    ///
    /// `memory` fits this type in size and alignment, and nothing refers to it.
    #[inline(always)]
    unsafe fn write(
        memory: NonNull<u8>,
        future: F,
        vtable: &'static TaskVtable,
        start: Start,
    ) -> NonNull<Header> {
        let task = memory.cast::<Self>().as_ptr();
        let scheduled = if start.scheduled { SCHEDULED } else { 0 };
        // Field by field: a whole task would be put together elsewhere and then copied.
        // SAFETY: the caller's promise. A union's fields lie at its beginning.
        unsafe {
            ptr::addr_of_mut!((*task).stage)
                .cast::<ManuallyDrop<F>>()
                .write(ManuallyDrop::new(future));
            ptr::addr_of_mut!((*task).header).write(Header {
                state: AtomicUsize::new(REFERENCE | scheduled),
                next: AtomicPtr::new(ptr::null_mut()),
                vtable,
                executor: start.executor,
                join_waker: WakerCell::new(),
                tag: start.tag,
                phase: Cell::new(Phase::Idle),
                holds: Cell::new(Holds::Future),
                joinable: Cell::new(true),
                ticket_out: Cell::new(false),
            });
        }
        memory.cast()
    }

    /// The stage of a task.
    ///
    /// # Safety
    ///
    /// `task` is a `Task<F>` that is alive, made from a pointer to the whole of it.
    unsafe fn stage(task: NonNull<Header>) -> *mut Stage<F> {
        // SAFETY: the header is the first field of a `repr(C)` task.
        unsafe { UnsafeCell::raw_get(ptr::addr_of!((*task.cast::<Self>().as_ptr()).stage)) }
    }
}

impl Header {
    pub(super) fn tag(&self) -> u32 {
        self.tag
    }

    /// Whether the last reference is gone, so that the memory may be used again.
    pub(super) fn is_free(&self) -> bool {
        // Acquire: what the last owner did to the memory happened before.
        self.state.load(Ordering::Acquire) < REFERENCE
    }

    pub(super) fn is_closed(&self) -> bool {
        self.phase.get() == Phase::Closed
    }

    pub(super) fn is_idle(&self) -> bool {
        self.phase.get() == Phase::Idle
    }

    /// Memory layout of the whole task.
    #[cfg(feature = "alloc")]
    pub(super) fn layout(&self) -> Layout {
        self.vtable.layout
    }

    pub(super) fn set_join_waker(&self, waker: &Waker) {
        self.join_waker.register(waker);
    }
}

/// Polls a task once; consumes its ticket.
pub(super) fn run(ready: ReadyTask) {
    let task = ready.into_ticket();
    // SAFETY: a ticket keeps its task alive (module documentation).
    let header = unsafe { task.as_ref() };
    if matches!(header.phase.get(), Phase::Running | Phase::RunningAborted) {
        // Only a scheduler that hands one executor's tasks to another gets here, from inside the task's own poll:
        // the future is borrowed further up the stack. The ticket goes back to the task's own executor.
        header.executor.enqueue_remote(task);
        return;
    }
    // Acquire: as in `surrender`, whose shorter form this is.
    let alone = header.state.load(Ordering::Acquire) == REFERENCE | SCHEDULED;
    if alone && header.is_idle() {
        // No waker: those with references have gone, and no poll is going on whose context lends one. So nobody else can
        // touch the word.
        header.state.store(REFERENCE, Ordering::Relaxed);
    } else if !surrender(task) {
        return;
    }
    // SAFETY: the task is open and idle, and this is its executor's thread, where ready tasks stay.
    unsafe { poll_once(task) };
}

/// Polls an open task.
///
/// # Safety
///
/// The task is open and idle, and this is its executor's thread.
unsafe fn poll_once(task: NonNull<Header>) {
    // SAFETY: an open task is alive, and its vtable belongs to its type.
    unsafe { poll_once_with(task, task.as_ref().vtable.poll) };
}

/// As `poll_once`, where the type is known.
///
/// # Safety
///
/// As for `poll_once`, and `poll` is for the task's type.
#[inline(always)]
pub(super) unsafe fn poll_once_with(
    task: NonNull<Header>,
    poll: unsafe fn(NonNull<Header>, &mut Context<'_>) -> bool,
) {
    /// Closes the task if its future panics, so that it is never polled again.
    struct OnPanic<'a>(&'a Header, NonNull<Header>);
    impl Drop for OnPanic<'_> {
        fn drop(&mut self) {
            self.0.phase.set(Phase::Running);
            // SAFETY: the executor's reference is still held, the poll is over, this is the executor's thread.
            unsafe { close(self.1, Some(JoinError::Panicked)) };
        }
    }

    // SAFETY: an open task is alive.
    let header = unsafe { task.as_ref() };
    header.phase.set(Phase::Running);
    // SAFETY: the vtable is TASK_WAKER's and `task` is alive while this borrowed waker is, by the executor's reference,
    // which only `close` gives up; it's never dropped, so it needs no reference of its own.
    let waker = ManuallyDrop::new(unsafe { Waker::from_raw(raw_waker(task)) });
    let mut context = Context::from_waker(&waker);
    let guard = OnPanic(header, task);
    // SAFETY: the vtable belongs to this task's type; `Running` makes this the only access to the stage.
    let finished = unsafe { poll(task, &mut context) };
    core::mem::forget(guard);
    if finished {
        // SAFETY: as in `OnPanic`.
        unsafe { close(task, None) };
    } else if header.phase.get() == Phase::RunningAborted {
        // SAFETY: as in `OnPanic`.
        unsafe { close(task, Some(JoinError::Aborted)) };
    } else {
        header.phase.set(Phase::Idle);
    }
}

/// Gives a ticket up without polling. Returns whether the task is still open.
pub(super) fn surrender(task: NonNull<Header>) -> bool {
    // SAFETY: a ticket keeps its task alive.
    let header = unsafe { task.as_ref() };
    // Acquire: what was written before any of the wake-ups that this poll answers is visible to it.
    let state = header.state.fetch_and(!SCHEDULED, Ordering::AcqRel);
    if state & CLOSED == 0 {
        return true;
    }
    header.ticket_out.set(false);
    // SAFETY: closed, on its executor's thread, where tickets stay; not used after.
    unsafe { release_if_done(task) };
    false
}

/// Cancels a task: its future is dropped now, or at the end of its poll if that is what called.
///
/// # Safety
///
/// `task` is alive and this is its executor's thread.
pub(super) unsafe fn abort(task: NonNull<Header>) {
    // SAFETY: the caller's promise.
    let header = unsafe { task.as_ref() };
    match header.phase.get() {
        Phase::Closed => {}
        Phase::Running | Phase::RunningAborted => header.phase.set(Phase::RunningAborted),
        Phase::Idle => {
            header.phase.set(Phase::Running);
            // SAFETY: not closed, so the executor's reference is there; not in a poll; the caller's thread promise.
            unsafe { close(task, Some(JoinError::Aborted)) };
        }
    }
}

/// Ends a task, with its output in place (`None`), or dropping its future or what is left of it (`Some`).
///
/// # Safety
///
/// The phase is `Running` (so no one else comes here while the future is dropped) or `RunningAborted`, its poll is
/// over, and this is the executor's thread. The task may be gone after.
unsafe fn close(task: NonNull<Header>, failure: Option<JoinError>) {
    /// The part that has to happen even if a destructor of the future's panics.
    struct Finish(NonNull<Header>);
    impl Drop for Finish {
        fn drop(&mut self) {
            // SAFETY: open until here, so alive.
            let header = unsafe { self.0.as_ref() };
            header.phase.set(Phase::Closed);
            if header.vtable.in_arena {
                // SAFETY: a task in an arena is in its executor's list until it closes, which is once.
                unsafe { arena::unregister(self.0, header.executor.arena_tasks()) };
            }
            header.executor.forget_task();
            let waker = header.join_waker.take();
            // Acquire: as the only owner, we come after all others.
            if header.state.load(Ordering::Acquire) == REFERENCE {
                // No waker and no ticket, so nobody else will ever look at the word.
                header.state.store(REFERENCE | CLOSED, Ordering::Relaxed);
            } else {
                let state = header.state.fetch_or(CLOSED, Ordering::AcqRel);
                header.ticket_out.set(state & SCHEDULED != 0);
            }
            // SAFETY: closed, on the executor's thread, not used after.
            unsafe { release_if_done(self.0) };
            if let Some(waker) = waker {
                waker.wake();
            }
        }
    }

    let finish = Finish(task);
    // SAFETY: alive by the executor's reference.
    let header = unsafe { task.as_ref() };
    // SAFETY: the phase keeps everyone else from the stage; the vtable belongs to this task's type.
    unsafe {
        if failure.is_some() {
            (header.vtable.clear)(task, failure);
        } else if !header.joinable.get() {
            (header.vtable.clear)(task, None);
        }
    }
    drop(finish);
}

/// Moves the result of a closed task out.
///
/// # Safety
///
/// The task is alive and closed, `T` is its future's output, this is the executor's thread.
pub(super) unsafe fn take_result<T>(task: NonNull<Header>) -> Result<T, JoinError> {
    let mut result = MaybeUninit::<Result<T, JoinError>>::uninit();
    // SAFETY: the caller's promise; `take` writes a `Result<Output, JoinError>`.
    unsafe {
        (task.as_ref().vtable.take)(task, result.as_mut_ptr().cast());
        result.assume_init()
    }
}

/// Gives a join handle's interest up.
///
/// # Safety
///
/// Called once by the handle's owner, on the executor's thread.
#[inline]
pub(super) unsafe fn drop_join(task: NonNull<Header>) {
    /// The reference goes even if the output's destructor panics.
    struct Finish(NonNull<Header>);
    impl Drop for Finish {
        fn drop(&mut self) {
            // SAFETY: closed, on the executor's thread, not used after.
            unsafe { release_if_done(self.0) };
        }
    }
    // SAFETY: a task with a handle is alive.
    let header = unsafe { task.as_ref() };
    let waker = header.join_waker.take();
    header.joinable.set(false);
    if header.is_closed() {
        let _finish = Finish(task);
        // SAFETY: a closed task's stage belongs to its handle.
        unsafe { (header.vtable.clear)(task, None) };
    }
    drop(waker);
}

/// Drops the executor's reference if nothing on its thread needs the task any more.
///
/// # Safety
///
/// The task is closed, this is its executor's thread, and what called this was one of the needs.
unsafe fn release_if_done(task: NonNull<Header>) {
    // SAFETY: the executor's reference is there until all needs are gone.
    let header = unsafe { task.as_ref() };
    if header.joinable.get() || header.ticket_out.get() {
        return;
    }
    // Acquire: what the others did to the task happened before it's freed.
    if header.state.load(Ordering::Acquire) & !FLAGS == REFERENCE {
        // Ours is the last reference, and there is nobody to make another.
        // Release: for an arena, whose memory is free from here on.
        header.state.store(CLOSED, Ordering::Release);
        // SAFETY: the last reference is gone; on the executor's thread.
        unsafe { give_back(task, header.vtable, header.executor, true) };
    } else {
        // SAFETY: the executor's reference, dropped once: the needs are gone.
        unsafe { drop_reference(task) };
    }
}

/// Schedules a task unless it already is, or is closed.
///
/// # Safety
///
/// The caller holds a reference.
unsafe fn schedule(
    task: NonNull<Header>,
    enqueue: impl FnOnce(&'static Executor, NonNull<Header>),
) {
    // SAFETY: the caller's promise.
    let header = unsafe { task.as_ref() };
    // Release: what the waking side wrote is visible to the poll, also when the bit was already on.
    let state = header.state.fetch_or(SCHEDULED, Ordering::AcqRel);
    if state & (SCHEDULED | CLOSED) == 0 {
        enqueue(header.executor, task);
    }
}

/// # Safety
///
/// The caller owns a reference, and gives it up.
#[inline(always)]
unsafe fn drop_reference(task: NonNull<Header>) {
    // SAFETY: the caller's promise.
    let header = unsafe { task.as_ref() };
    // Read first: another thread may free the task as soon as the count is down.
    let (vtable, executor) = (header.vtable, header.executor);
    // Release: our use of the task happened before it's freed; acquire: all others' did.
    let state = header.state.fetch_sub(REFERENCE, Ordering::AcqRel);
    if state & !FLAGS == REFERENCE {
        // SAFETY: that was the last reference.
        unsafe { give_back(task, vtable, executor, false) };
    }
}

/// Gives a task's memory back.
///
/// # Safety
///
/// Its last reference is gone, it had this vtable and executor, and `here` only on the executor's thread. A task in an
/// arena must not be touched any more.
unsafe fn give_back(
    task: NonNull<Header>,
    vtable: &'static TaskVtable,
    executor: &'static Executor,
    here: bool,
) {
    if !vtable.in_arena {
        // SAFETY: not in an arena, so from this executor's slab; the rest is the caller's promise.
        unsafe { executor.reclaim(task, vtable.layout, here) };
    }
}

// --- The waker ---

static TASK_WAKER: RawWakerVTable = RawWakerVTable::new(clone_waker, wake, wake_by_ref, drop_waker);

fn raw_waker(task: NonNull<Header>) -> RawWaker {
    RawWaker::new(task.as_ptr().cast_const().cast(), &TASK_WAKER)
}

fn task_of(data: *const ()) -> NonNull<Header> {
    // SAFETY: `data` came from `raw_waker`.
    unsafe { NonNull::new_unchecked(data.cast_mut().cast()) }
}

unsafe fn clone_waker(data: *const ()) -> RawWaker {
    let task = task_of(data);
    // SAFETY: a waker holds a reference. Relaxed is enough to make one from another.
    let before = unsafe { task.as_ref() }
        .state
        .fetch_add(REFERENCE, Ordering::Relaxed);
    // As `Arc` does: the count must not wrap, whoever forgets wakers in a loop.
    assert!(before < REFERENCES_MAX, "too many wakers of one task");
    raw_waker(task)
}

unsafe fn wake(data: *const ()) {
    // SAFETY: a waker holds a reference, given up here after its last use.
    unsafe {
        wake_by_ref(data);
        drop_waker(data);
    }
}

unsafe fn wake_by_ref(data: *const ()) {
    // SAFETY: a waker holds a reference.
    unsafe { schedule(task_of(data), Executor::enqueue) };
}

unsafe fn drop_waker(data: *const ()) {
    // SAFETY: a waker holds a reference, given up here.
    unsafe { drop_reference(task_of(data)) };
}

/// The waker of what lies inside a task's future: it owns no reference, since the future goes before the task does.
static INNER_WAKER: RawWakerVTable =
    RawWakerVTable::new(clone_waker, wake_by_ref, wake_by_ref, |_| {});

/// As `waker.clone()`, but without a reference if `place` lies in the future of the task that `waker` wakes.
///
/// # Safety
///
/// `place` is pinned, and the result is gone when its destructor has run.
#[inline]
pub(super) unsafe fn clone_for(waker: &Waker, place: *const ()) -> Waker {
    if ptr::eq(waker.vtable(), &TASK_WAKER) {
        let task = task_of(waker.data());
        // SAFETY: a waker's task is alive.
        let size = unsafe { task.as_ref() }.vtable.layout.size();
        let offset = place.addr().wrapping_sub(task.as_ptr().addr());
        // Behind the header there's the stage alone, and what's pinned in there belongs to the future.
        if (size_of::<Header>()..size).contains(&offset) {
            // SAFETY: the functions take a pointer to a task. It's alive while the place is: the place's destructor has run
            // when the future is gone, and until then the executor's reference stays.
            return unsafe { Waker::new(waker.data(), &INNER_WAKER) };
        }
    }
    waker.clone()
}

/// Wakes through `waker`, faster when it belongs to a task of `executor`, on whose thread this is called, in between
/// polls.
pub(super) fn wake_local(waker: Waker, executor: &Executor) {
    if ptr::eq(waker.vtable(), &INNER_WAKER) {
        let task = task_of(waker.data());
        // SAFETY: the task of an inner waker is alive while the waker's place is, and nothing ran since it was taken from
        // there.
        let header = unsafe { task.as_ref() };
        if ptr::eq(header.executor, executor)
            && header.is_idle()
            && header.state.load(Ordering::Relaxed) == REFERENCE
        {
            // As in `run`: there are no wakers, so nobody else can touch the word.
            header.state.store(REFERENCE | SCHEDULED, Ordering::Relaxed);
            executor.enqueue_local(task);
            return;
        }
    }
    if ptr::eq(waker.vtable(), &TASK_WAKER) {
        let task = task_of(waker.data());
        // SAFETY: the waker holds a reference.
        if ptr::eq(unsafe { task.as_ref() }.executor, executor) {
            // SAFETY: as above.
            let header = unsafe { task.as_ref() };
            let state = header.state.load(Ordering::Relaxed);
            // In one step: the waker's reference goes, the ticket comes. A task that's not closed keeps the executor's.
            if state & FLAGS == 0
                && header
                    .state
                    .compare_exchange(
                        state,
                        (state - REFERENCE) | SCHEDULED,
                        Ordering::AcqRel,
                        Ordering::Relaxed,
                    )
                    .is_ok()
            {
                core::mem::forget(waker);
                executor.enqueue_local(task);
                return;
            }
        }
    }
    waker.wake();
}

// --- Functions of the vtable ---

/// # Safety
///
/// `task` is a `Task<F>`, alive; the phase gives this call the stage.
#[inline]
pub(super) unsafe fn poll<F: Future + 'static>(
    task: NonNull<Header>,
    context: &mut Context<'_>,
) -> bool {
    // SAFETY: the caller's promise.
    let (holds, stage) = unsafe { (&task.as_ref().holds, Task::<F>::stage(task)) };
    if holds.get() != Holds::Future {
        // An open task has its future. Being wrong here must not be worse than a task that ends.
        return true;
    }
    // SAFETY: `holds` says that it's the future. It's never moved, and dropped in place.
    let future = unsafe { Pin::new_unchecked(&mut *(*stage).future) };
    match future.poll(context) {
        Poll::Pending => false,
        Poll::Ready(output) => {
            // Said first, in case the destructor panics.
            holds.set(Holds::Nothing);
            // SAFETY: the future is there, and not used after. The stage has room for the output.
            unsafe {
                ManuallyDrop::drop(&mut (*stage).future);
                ptr::addr_of_mut!((*stage).output).write(ManuallyDrop::new(output));
            }
            holds.set(Holds::Output);
            true
        }
    }
}

/// # Safety
///
/// As for `poll`.
unsafe fn clear<F: Future + 'static>(task: NonNull<Header>, failure: Option<JoinError>) {
    // SAFETY: the caller's promise.
    let (holds, stage) = unsafe { (&task.as_ref().holds, Task::<F>::stage(task)) };
    let held = holds.replace(failure.map_or(Holds::Nothing, Holds::Failure));
    // SAFETY: `holds` said what is there, and says no more that it is.
    unsafe {
        match held {
            Holds::Future => ManuallyDrop::drop(&mut (*stage).future),
            Holds::Output => ManuallyDrop::drop(&mut (*stage).output),
            Holds::Failure(_) | Holds::Nothing => {}
        }
    }
}

/// # Safety
///
/// As for `poll`, and `result` points to room for a `Result<F::Output, JoinError>`.
unsafe fn take<F: Future + 'static>(task: NonNull<Header>, result: *mut ()) {
    // SAFETY: the caller's promise.
    let (holds, stage) = unsafe { (&task.as_ref().holds, Task::<F>::stage(task)) };
    let value = match holds.get() {
        Holds::Output => {
            holds.set(Holds::Nothing);
            // SAFETY: `holds` said that it's the output, and says no more that it is.
            Ok(unsafe { ManuallyDrop::take(&mut (*stage).output) })
        }
        Holds::Failure(failure) => Err(failure),
        // A closed task holds no future; a result that was taken before can't be taken again.
        Holds::Future | Holds::Nothing => Err(JoinError::Aborted),
    };
    // SAFETY: the caller's promise.
    unsafe { result.cast::<Result<F::Output, JoinError>>().write(value) };
}
