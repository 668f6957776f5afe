//! Memory for tasks without an allocator.

use core::cell::{Cell, UnsafeCell};
use core::fmt;
use core::future::Future;
use core::mem::{MaybeUninit, align_of, size_of};
use core::ptr::{self, NonNull};

use super::task::{Header, Start, Task};
use crate::sync::{AtomicBool, Ordering, spin};

/// `BYTES` of static memory for tasks, for [`Executor::spawn_in`](super::Executor::spawn_in).
///
/// A task takes its future's size and some 100 bytes; [`TaskArena::cost_of`] tells. The place of a task that has ended,
/// and whose last waker and handle are gone, is taken by a later task that fits in it. A full arena refuses.
///
/// ```
/// use mirage_core::executor::TaskArena;
///
/// static TASKS: TaskArena<4096> = TaskArena::new();
/// assert_eq!(TASKS.used(), 0);
/// ```
pub struct TaskArena<const BYTES: usize> {
    busy: AtomicBool,
    slots: UnsafeCell<Slots>,
    memory: UnsafeCell<Memory<BYTES>>,
}

#[repr(C, align(64))]
struct Memory<const BYTES: usize>([MaybeUninit<u8>; BYTES]);

/// The list of slots, by offsets into the memory.
struct Slots {
    /// Bytes of memory that belong to a slot.
    used: usize,
    first: Option<NonNull<Slot>>,
}

/// What precedes a task in the arena. All but the links is the arena's, under its lock.
#[repr(C)]
struct Slot {
    next: Option<NonNull<Slot>>,
    task: NonNull<Header>,
    /// Bytes from `task` on.
    size: usize,
    links: Links,
}

/// A place in an executor's list of open tasks in arenas; belongs to that executor's thread while the task is open.
struct Links {
    next: Cell<*mut Header>,
    previous: Cell<*mut Header>,
}

/// The first of an executor's open tasks in arenas.
pub(super) type ArenaTasks = Cell<*mut Header>;

/// # Safety
///
/// The task lies in an arena, and is open.
unsafe fn links<'a>(task: NonNull<Header>) -> &'a Links {
    // SAFETY: `task` was made from a pointer to the whole arena, and its slot precedes it immediately.
    unsafe {
        let slot = task.cast::<u8>().sub(size_of::<Slot>()).cast::<Slot>();
        &*ptr::addr_of!((*slot.as_ptr()).links)
    }
}

/// Puts a task at the head of its executor's list.
///
/// # Safety
///
/// The task lies in an arena, is new, and this is its executor's thread.
pub(super) unsafe fn register(task: NonNull<Header>, list: &ArenaTasks) {
    // SAFETY: the caller's promise; tasks in the list are open.
    unsafe {
        let first = list.get();
        links(task).next.set(first);
        links(task).previous.set(ptr::null_mut());
        if let Some(first) = NonNull::new(first) {
            links(first).previous.set(task.as_ptr());
        }
    }
    list.set(task.as_ptr());
}

/// Takes a task out of its executor's list.
///
/// # Safety
///
/// The task is in the list, and this is its executor's thread.
pub(super) unsafe fn unregister(task: NonNull<Header>, list: &ArenaTasks) {
    // SAFETY: the caller's promise; tasks in the list are open.
    unsafe {
        let Links { next, previous } = links(task);
        let (next, previous) = (next.get(), previous.get());
        match NonNull::new(previous) {
            Some(previous) => links(previous).next.set(next),
            None => list.set(next),
        }
        if let Some(next) = NonNull::new(next) {
            links(next).previous.set(previous);
        }
    }
}

/// The task after this one in its executor's list.
///
/// # Safety
///
/// As for [`unregister`].
pub(super) unsafe fn next(task: NonNull<Header>) -> Option<NonNull<Header>> {
    // SAFETY: the caller's promise.
    NonNull::new(unsafe { links(task) }.next.get())
}

// SAFETY: `busy` makes everything in the cells the business of one thread at a time; the pointers in there lead to the
// arena itself. Tasks in it are reached through their own references, whose rules the task module states.
unsafe impl<const BYTES: usize> Sync for TaskArena<BYTES> {}

impl<const BYTES: usize> TaskArena<BYTES> {
    /// An empty arena.
    #[cfg(not(loom))]
    #[expect(
        clippy::new_without_default,
        reason = "for statics, which can't call default"
    )]
    pub const fn new() -> Self {
        Self {
            busy: AtomicBool::new(false),
            slots: UnsafeCell::new(Slots {
                used: 0,
                first: None,
            }),
            memory: UnsafeCell::new(Memory([MaybeUninit::uninit(); BYTES])),
        }
    }

    /// Bytes that were ever given to a task, with what alignment wastes.
    pub fn used(&self) -> usize {
        self.locked(|slots, _| slots.used)
    }

    /// Bytes that a task with this future takes, alignment aside.
    pub const fn cost_of<F: Future + 'static>(_future: &F) -> usize {
        size_of::<Slot>() + size_of::<Task<F>>()
    }

    pub(super) fn place<F: Future + 'static>(
        &'static self,
        future: F,
        start: Start,
    ) -> Option<NonNull<Header>> {
        // A future that finds no room is dropped by its own code, so outside the lock.
        let mut future = Some(future);
        self.locked(|slots, memory| {
            let slot = slots
                .reuse(size_of::<Task<F>>(), align_of::<Task<F>>())
                .or_else(|| {
                    slots.extend(memory, BYTES, size_of::<Task<F>>(), align_of::<Task<F>>())
                })?;
            // The task is placed under the lock: until its state word is written, the slot looks free.
            // SAFETY: `reuse` and `extend` return a slot with room for this type, which no one else uses; it lies in
            // a `'static` arena.
            Some(unsafe { Task::place((*slot.as_ptr()).task.cast::<u8>(), future.take()?, start) })
        })
    }

    /// Calls `f` with the slots and the memory's address. No code of a user's runs in here, so one thread can't be
    /// here twice, and another's wait is short.
    fn locked<R>(&self, f: impl FnOnce(&mut Slots, NonNull<u8>) -> R) -> R {
        while self.busy.swap(true, Ordering::Acquire) {
            spin();
        }
        // SAFETY: `busy` was false, so no one else is between these two lines. The memory's address is not null.
        let result = unsafe {
            f(
                &mut *self.slots.get(),
                NonNull::new_unchecked(self.memory.get().cast()),
            )
        };
        self.busy.store(false, Ordering::Release);
        result
    }
}

impl Slots {
    /// The first slot that is free and large enough.
    fn reuse(&mut self, size: usize, align: usize) -> Option<NonNull<Slot>> {
        let mut next = self.first;
        while let Some(slot) = next {
            let slot_pointer = slot.as_ptr();
            // SAFETY: slots lie in the arena, are never taken back, and these fields are read and written under its
            // lock alone. The links aren't looked at: they may be another thread's.
            let (after, task, room) = unsafe {
                (
                    (*slot_pointer).next,
                    (*slot_pointer).task,
                    (*slot_pointer).size,
                )
            };
            // SAFETY: a slot was made for a task that was placed under the same lock, and a task's header stays
            // readable when the task has ended.
            let free = unsafe { task.as_ref() }.is_free();
            if free && room >= size && task.addr().get().is_multiple_of(align) {
                return Some(slot);
            }
            next = after;
        }
        None
    }

    /// A new slot from the memory that no slot had yet.
    fn extend(
        &mut self,
        memory: NonNull<u8>,
        bytes: usize,
        size: usize,
        align: usize,
    ) -> Option<NonNull<Slot>> {
        let align = align.max(align_of::<Slot>());
        let base = memory.addr().get();
        let start = base
            .checked_add(self.used)?
            .checked_add(size_of::<Slot>())?;
        let task_offset = start.checked_next_multiple_of(align)? - base;
        // The next slot's head follows the task.
        let end = task_offset
            .checked_add(size)?
            .checked_next_multiple_of(align_of::<Slot>())?;
        if end > bytes {
            return None;
        }
        // SAFETY: `task_offset + size <= end <= bytes`, and `task_offset >= size_of::<Slot>()`: both lie in the arena,
        // past all earlier slots, aligned (`align` is a multiple of the head's alignment, as is the head's size).
        unsafe {
            let task = memory.add(task_offset);
            let slot = task.sub(size_of::<Slot>()).cast::<Slot>();
            slot.write(Slot {
                next: self.first,
                task: task.cast(),
                size: end - task_offset,
                links: Links {
                    next: Cell::new(ptr::null_mut()),
                    previous: Cell::new(ptr::null_mut()),
                },
            });
            self.used = end;
            self.first = Some(slot);
            Some(slot)
        }
    }
}

impl<const BYTES: usize> fmt::Debug for TaskArena<BYTES> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TaskArena")
            .field("bytes", &BYTES)
            .field("used", &self.used())
            .finish()
    }
}
