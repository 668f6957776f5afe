//! A task in memory: its header, its life cycle and its waker.
//!
//! # Who may touch what
//!
//! - `state` and `next` are atomics: any thread that holds a reference.
//! - All else in the header, and the stage (future or output), belongs to the executor's thread.
//!
//! # References
//!
//! The upper bits of `state` count references: one for the executor while the task is not closed, one for each
//! [`Waker`], one for the [`JoinHandle`](super::JoinHandle). Whoever drops the last one frees the memory, on
//! any thread: nothing is left to drop by then, since the future and the output are dropped on the executor's thread
//! before the executor's and the handle's references go.
//!
//! # Tickets
//!
//! Who turns `SCHEDULED` on in a task that is not `CLOSED` holds its *ticket*: the right to use `next`, hence to put the
//! task in one list. The one who takes it out turns the bit off. When a task closes while a ticket is out, the
//! executor's reference passes to the ticket, so a task in a list is never freed.

use core::cell::{Cell, UnsafeCell};
use core::future::Future;
use core::mem::{ManuallyDrop, MaybeUninit};
use core::pin::Pin;
use core::ptr::{self, NonNull};
use core::task::{Context, Poll, RawWaker, RawWakerVTable, Waker};

use super::Executor;
use super::join::JoinError;
use super::queue::ReadyTask;
use crate::sync::{AtomicPtr, AtomicUsize, Ordering};

const SCHEDULED: usize = 1;
const CLOSED: usize = 2;
const REFERENCE: usize = 4;
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
    /// Links of the executor's list of tasks that are not closed.
    registry_next: Cell<*const Header>,
    registry_previous: Cell<*const Header>,
    join_waker: Cell<Option<Waker>>,
    tag: u32,
    phase: Cell<Phase>,
    joinable: Cell<bool>,
}

struct TaskVtable {
    /// Polls the future; on `Ready` stores the output. Returns whether it was ready.
    poll: unsafe fn(NonNull<Header>, &mut Context<'_>) -> bool,
    /// Replaces what the stage holds (future, output) by `Failed`, or by nothing.
    clear: unsafe fn(NonNull<Header>, Option<JoinError>),
    /// Moves the result out to a `MaybeUninit<Result<Output, JoinError>>`.
    take: unsafe fn(NonNull<Header>, *mut ()),
    /// Frees the memory; `None` for a static task, whose memory is free as soon as the count is zero.
    free: Option<unsafe fn(NonNull<Header>)>,
}

enum Stage<F: Future> {
    Future(F),
    Output(F::Output),
    Failed(JoinError),
    Empty,
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
    const HEAP: &'static TaskVtable = &Self::with(Some(free_heap::<F>));
    const STATIC: &'static TaskVtable = &Self::with(None);

    const fn with(free: Option<unsafe fn(NonNull<Header>)>) -> TaskVtable {
        TaskVtable {
            poll: poll::<F>,
            clear: clear::<F>,
            take: take::<F>,
            free,
        }
    }
}

impl<F: Future + 'static> Task<F> {
    /// A task with two references, the executor's and the ticket's handle, and with a ticket out.
    fn new(
        future: F,
        vtable: &'static TaskVtable,
        executor: &'static Executor,
        tag: u32,
        joinable: bool,
    ) -> Self {
        let references = if joinable { 2 } else { 1 };
        Self {
            header: Header {
                state: AtomicUsize::new(SCHEDULED | (references * REFERENCE)),
                next: AtomicPtr::new(ptr::null_mut()),
                vtable,
                executor,
                registry_next: Cell::new(ptr::null()),
                registry_previous: Cell::new(ptr::null()),
                join_waker: Cell::new(None),
                tag,
                phase: Cell::new(Phase::Idle),
                joinable: Cell::new(joinable),
            },
            stage: UnsafeCell::new(Stage::Future(future)),
        }
    }

    /// Puts a task in memory from the global allocator; `None` when it has none.
    #[cfg(feature = "alloc")]
    pub(super) fn allocate(
        future: F,
        executor: &'static Executor,
        tag: u32,
        joinable: bool,
    ) -> Option<NonNull<Header>> {
        // SAFETY: a task is never zero-sized, its header isn't.
        let memory = unsafe { alloc::alloc::alloc(core::alloc::Layout::new::<Self>()) };
        let task = NonNull::new(memory.cast::<Self>())?;
        let value = Self::new(future, Vtables::<F>::HEAP, executor, tag, joinable);
        // SAFETY: freshly allocated with this type's layout.
        unsafe { task.write(value) };
        Some(task.cast())
    }

    /// Puts a task in static memory.
    ///
    /// # Safety
    ///
    /// `memory` fits this type in size and alignment, lives for ever, and is not used for anything else until
    /// [`Header::is_free`] says so.
    pub(super) unsafe fn place(
        memory: NonNull<u8>,
        future: F,
        executor: &'static Executor,
        tag: u32,
        joinable: bool,
    ) -> NonNull<Header> {
        let task = memory.cast::<Self>();
        let value = Self::new(future, Vtables::<F>::STATIC, executor, tag, joinable);
        // SAFETY: the caller's promise.
        unsafe { task.write(value) };
        task.cast()
    }
}

impl Header {
    pub(super) fn tag(&self) -> u32 {
        self.tag
    }

    /// Whether the last reference of a static task is gone, so that its memory may be used again.
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

    pub(super) fn registry_next(&self) -> *const Header {
        self.registry_next.get()
    }

    pub(super) fn set_join_waker(&self, waker: &Waker) {
        let old = self.join_waker.take();
        match old {
            Some(old) if old.will_wake(waker) => self.join_waker.set(Some(old)),
            _ => self.join_waker.set(Some(waker.clone())),
        }
    }

    fn unregister(&self, list: &Cell<*const Header>) {
        let (previous, next) = (self.registry_previous.get(), self.registry_next.get());
        // SAFETY: as in `register`: neighbours in the registry are alive, and this is the executor's thread.
        unsafe {
            match previous.as_ref() {
                Some(previous) => previous.registry_next.set(next),
                None => list.set(next),
            }
            if let Some(next) = next.as_ref() {
                next.registry_previous.set(previous);
            }
        }
    }
}

/// Puts a task at the head of the list of open tasks that starts at `list`.
///
/// # Safety
///
/// The task is new, and this is its executor's thread.
pub(super) unsafe fn register(task: NonNull<Header>, list: &Cell<*const Header>) {
    // The list holds `task` itself and no reference's address: a pointer to the header alone may not reach the future.
    let first = list.get();
    // SAFETY: a task in the registry is not closed, so the executor's reference keeps it alive; its links are touched
    // on the executor's thread alone.
    unsafe {
        task.as_ref().registry_next.set(first);
        if let Some(first) = first.as_ref() {
            first.registry_previous.set(task.as_ptr());
        }
    }
    list.set(task.as_ptr());
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
    if !surrender(task) {
        return;
    }
    /// Closes the task if its future panics, so that it is never polled again.
    struct OnPanic<'a>(&'a Header, NonNull<Header>);
    impl Drop for OnPanic<'_> {
        fn drop(&mut self) {
            self.0.phase.set(Phase::Running);
            // SAFETY: the executor's reference is still held, the poll is over, this is the executor's thread.
            unsafe { close(self.1, Some(JoinError::Panicked)) };
        }
    }

    header.phase.set(Phase::Running);
    // SAFETY: the vtable is TASK_WAKER's and `task` is alive while this borrowed waker is, by the executor's reference,
    // which only `close` gives up; it's never dropped, so it needs no reference of its own.
    let waker = ManuallyDrop::new(unsafe { Waker::from_raw(raw_waker(task)) });
    let mut context = Context::from_waker(&waker);
    let guard = OnPanic(header, task);
    // SAFETY: the vtable belongs to this task's type; `Running` makes this the only access to the stage.
    let finished = unsafe { (header.vtable.poll)(task, &mut context) };
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
    if state & CLOSED != 0 {
        // SAFETY: the task closed while this ticket was out, which passed the executor's reference on to it.
        unsafe { drop_reference(task) };
    }
    state & CLOSED == 0
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
/// over, and this is the executor's thread. Gives the executor's reference up.
unsafe fn close(task: NonNull<Header>, failure: Option<JoinError>) {
    /// The part that has to happen even if a destructor of the future's panics.
    struct Finish(NonNull<Header>);
    impl Drop for Finish {
        fn drop(&mut self) {
            // SAFETY: the executor's reference is given up at the end of this function only.
            let header = unsafe { self.0.as_ref() };
            header.phase.set(Phase::Closed);
            header.executor.forget_task(|list| header.unregister(list));
            let waker = header.join_waker.take();
            let state = header.state.fetch_or(CLOSED, Ordering::AcqRel);
            if state & SCHEDULED == 0 {
                // SAFETY: no ticket is out and none will be, so the executor's reference is ours to drop.
                unsafe { drop_reference(self.0) };
            }
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

/// Gives a join handle's interest and reference up.
///
/// # Safety
///
/// Called once by the handle's owner, on the executor's thread.
pub(super) unsafe fn drop_join(task: NonNull<Header>) {
    /// The reference goes even if the output's destructor panics.
    struct Finish(NonNull<Header>);
    impl Drop for Finish {
        fn drop(&mut self) {
            // SAFETY: the handle's reference, given up once.
            unsafe { drop_reference(self.0) };
        }
    }
    let finish = Finish(task);
    // SAFETY: alive by the handle's reference.
    let header = unsafe { task.as_ref() };
    header.joinable.set(false);
    drop(header.join_waker.take());
    if header.is_closed() {
        // SAFETY: a closed task's stage belongs to its handle.
        unsafe { (header.vtable.clear)(task, None) };
    }
    drop(finish);
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
unsafe fn drop_reference(task: NonNull<Header>) {
    // SAFETY: the caller's promise.
    let header = unsafe { task.as_ref() };
    // Read first: another thread may free the task as soon as the count is down.
    let vtable = header.vtable;
    // Release: our use of the task happened before it's freed; acquire: all others' did.
    let state = header.state.fetch_sub(REFERENCE, Ordering::AcqRel);
    if state & !(SCHEDULED | CLOSED) == REFERENCE
        && let Some(free) = vtable.free
    {
        // SAFETY: that was the last reference.
        unsafe { free(task) };
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

/// Wakes through `waker`, faster when it belongs to a task of `executor`, on whose thread this is called.
pub(super) fn wake_local(waker: Waker, executor: &Executor) {
    if ptr::eq(waker.vtable(), &TASK_WAKER) {
        let task = task_of(waker.data());
        // SAFETY: the waker holds a reference.
        if ptr::eq(unsafe { task.as_ref() }.executor, executor) {
            // SAFETY: as above. `executor` is `!Sync`, so a reference to it proves that this is its thread.
            unsafe { schedule(task, Executor::enqueue_local) };
            return drop(waker);
        }
    }
    waker.wake();
}

// --- Functions of the vtable ---

/// # Safety
///
/// `task` is a `Task<F>` in memory that its ticket or a reference keeps alive; the phase gives this call the stage.
unsafe fn poll<F: Future>(task: NonNull<Header>, context: &mut Context<'_>) -> bool {
    // SAFETY: the header is the first field of a `repr(C)` task, and the pointer was made from the whole task.
    let stage = unsafe { &mut *(*task.cast::<Task<F>>().as_ptr()).stage.get() };
    let Stage::Future(future) = stage else {
        // An open task has its future. Being wrong here must not be worse than a task that ends.
        return true;
    };
    // SAFETY: the stage is never moved while it holds the future, and the future is dropped in place.
    match unsafe { Pin::new_unchecked(future) }.poll(context) {
        Poll::Pending => false,
        Poll::Ready(output) => {
            // Assigning drops the future in place first, then writes, also if that drop panics.
            *stage = Stage::Output(output);
            true
        }
    }
}

/// # Safety
///
/// As for `poll`.
unsafe fn clear<F: Future>(task: NonNull<Header>, failure: Option<JoinError>) {
    // SAFETY: as in `poll`.
    let stage = unsafe { &mut *(*task.cast::<Task<F>>().as_ptr()).stage.get() };
    *stage = match failure {
        Some(failure) => Stage::Failed(failure),
        None => Stage::Empty,
    };
}

/// # Safety
///
/// As for `poll`, and `result` points to room for a `Result<F::Output, JoinError>`.
unsafe fn take<F: Future>(task: NonNull<Header>, result: *mut ()) {
    // SAFETY: as in `poll`.
    let stage = unsafe { &mut *(*task.cast::<Task<F>>().as_ptr()).stage.get() };
    let value = match core::mem::replace(stage, Stage::Empty) {
        Stage::Output(output) => Ok(output),
        Stage::Failed(failure) => Err(failure),
        // A closed task holds no future; a result that was taken before can't be taken again.
        Stage::Future(_) | Stage::Empty => Err(JoinError::Aborted),
    };
    // SAFETY: the caller's promise.
    unsafe { result.cast::<Result<F::Output, JoinError>>().write(value) };
}

/// # Safety
///
/// The last reference is gone, and the task came from `Task::allocate`.
#[cfg(feature = "alloc")]
unsafe fn free_heap<F: Future>(task: NonNull<Header>) {
    // The stage is `Empty` or `Failed` by now, and there is no join waker: nothing that needs the executor's thread.
    // SAFETY: allocated with this layout, and no one refers to it any more.
    unsafe {
        alloc::alloc::dealloc(task.as_ptr().cast(), core::alloc::Layout::new::<Task<F>>());
    }
}
