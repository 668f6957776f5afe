//! Places to wait in: a slot for one waker that any thread may call, and a queue of waiters on one thread.

use core::cell::Cell;
use core::fmt;
use core::marker::PhantomPinned;
use core::mem::ManuallyDrop;
use core::pin::Pin;
use core::ptr;
use core::task::{Poll, RawWakerVTable, Waker};

use super::prefetch::prefetch;
use super::task::clone_for;
use crate::sync::{AtomicUsize, Ordering, WatchedCell, spin};

/// Nobody is at the slot.
const WAITING: usize = 0;
/// A waker is being stored.
const REGISTERING: usize = 1;
/// The waker is being taken; set on top of `REGISTERING`, it tells the one who stores to wake instead.
const WAKING: usize = 2;

/// Room for one waker. One task waits; any thread wakes.
pub(crate) struct WakerSlot {
    state: AtomicUsize,
    waker: WatchedCell<Option<Waker>>,
}

// SAFETY: `state` lets one thread at a time into the cell, and a `Waker` is `Send`.
unsafe impl Send for WakerSlot {}
// SAFETY: as above.
unsafe impl Sync for WakerSlot {}

impl WakerSlot {
    #[cfg(not(loom))]
    pub(crate) const fn new() -> Self {
        Self {
            state: AtomicUsize::new(WAITING),
            waker: WatchedCell::new(None),
        }
    }

    #[cfg(loom)]
    pub(crate) fn new() -> Self {
        Self {
            state: AtomicUsize::new(WAITING),
            waker: WatchedCell::new(None),
        }
    }

    /// Stores `waker`, so that a later [`wake`](Self::wake) calls it; wakes it at once if one happens meanwhile.
    ///
    /// A different waker that was there is woken: its task has to register again, and isn't forgotten.
    pub(crate) fn register(&self, waker: &Waker) {
        // Acquire: the last one at the cell is done with it.
        if self
            .state
            .compare_exchange(WAITING, REGISTERING, Ordering::Acquire, Ordering::Relaxed)
            .is_err()
        {
            // Somebody is waking, or (two tasks on two threads) registering: come again.
            spin();
            waker.wake_by_ref();
            return;
        }
        // Cloned before, since that runs another's code.
        let new = waker.clone();
        let replaced = self.waker.with_mut(|slot| {
            // SAFETY: `REGISTERING` was set by us, so the cell is ours until we take it back.
            unsafe { (*slot).replace(new) }
        });
        let replaced = replaced.filter(|old| !old.will_wake(waker));
        // Release: whoever wakes sees the waker.
        if self
            .state
            .compare_exchange(REGISTERING, WAITING, Ordering::AcqRel, Ordering::Acquire)
            .is_err()
        {
            // A wake-up came meanwhile, and left the waking to us.
            let waker = self.waker.with_mut(|slot| {
                // SAFETY: the state is REGISTERING | WAKING: still ours, until the swap.
                unsafe { (*slot).take() }
            });
            self.state.swap(WAITING, Ordering::AcqRel);
            if let Some(waker) = waker {
                waker.wake();
            }
        }
        if let Some(replaced) = replaced {
            replaced.wake();
        }
    }

    /// Wakes the task that registered, if one did.
    pub(crate) fn wake(&self) {
        // AcqRel: sees the waker; and what was written before is visible to the one who sees WAKING.
        if self.state.fetch_or(WAKING, Ordering::AcqRel) != WAITING {
            // Whoever is registering sees WAKING and wakes; whoever is waking already does so.
            return;
        }
        let waker = self.waker.with_mut(|slot| {
            // SAFETY: the state was WAITING and is WAKING by our doing, so the cell is ours until we take that back.
            unsafe { (*slot).take() }
        });
        self.state.fetch_and(!WAKING, Ordering::Release);
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

/// Room for one waker, on one thread. Two plain words, so that a future which holds one is cheap to make and to move.
pub(crate) struct WakerCell {
    data: Cell<*const ()>,
    /// `None`: no waker.
    vtable: Cell<Option<&'static RawWakerVTable>>,
}

impl WakerCell {
    pub(crate) const fn new() -> Self {
        Self {
            data: Cell::new(ptr::null()),
            vtable: Cell::new(None),
        }
    }

    /// Has a clone of `waker` there, unless one that does the same is there already.
    #[inline]
    pub(crate) fn register(&self, waker: &Waker) {
        if let Some(vtable) = self.vtable.get()
            && ptr::eq(vtable, waker.vtable())
            && ptr::eq(self.data.get(), waker.data())
        {
            return;
        }
        self.replace(waker.clone());
    }

    /// As `register`, without a reference to the task in whose future the cell is, if it is.
    ///
    /// # Safety
    ///
    /// The cell is pinned, and what is taken out of it is woken or dropped at once.
    #[inline]
    pub(crate) unsafe fn register_pinned(&self, waker: &Waker) {
        // SAFETY: the waker is dropped with the cell, or taken out.
        self.replace(unsafe { clone_for(waker, ptr::from_ref(self).cast()) });
    }

    #[inline]
    fn replace(&self, waker: Waker) {
        let waker = ManuallyDrop::new(waker);
        let old = self.take();
        self.data.set(waker.data());
        self.vtable.set(Some(waker.vtable()));
        drop(old);
    }

    /// Has the processor fetch what the waker points to: a task, if it's one of ours.
    #[inline]
    pub(crate) fn prefetch(&self) {
        prefetch(self.data.get().cast_mut().cast(), 64);
    }

    #[inline]
    pub(crate) fn take(&self) -> Option<Waker> {
        let vtable = self.vtable.take()?;
        // SAFETY: both words are those of a waker that was not dropped; this is the one time that it's made again.
        Some(unsafe { Waker::new(self.data.get(), vtable) })
    }
}

impl Drop for WakerCell {
    fn drop(&mut self) {
        drop(self.take());
    }
}

/// Where a waiter is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Idle,
    Queued,
    Notified,
}

/// Waiters on one thread, first come first served. Linked through the waiters: no memory, no bound.
pub(crate) struct WaitQueue {
    first: Cell<*const Waiter>,
    last: Cell<*const Waiter>,
}

/// One place in a [`WaitQueue`].
struct Waiter {
    next: Cell<*const Waiter>,
    previous: Cell<*const Waiter>,
    state: Cell<State>,
    waker: WakerCell,
    _pinned: PhantomPinned,
}

/// A waiter with its queue. Leaves the queue when it's dropped; `lost` is called then, if it was notified in vain.
pub(crate) struct Waiting<'a, L: Fn()> {
    queue: &'a WaitQueue,
    waiter: Waiter,
    lost: L,
}

impl WaitQueue {
    pub(crate) const fn new() -> Self {
        Self {
            first: Cell::new(ptr::null()),
            last: Cell::new(ptr::null()),
        }
    }

    /// Whether nobody waits who was not notified.
    pub(crate) fn is_empty(&self) -> bool {
        self.first.get().is_null()
    }

    /// Makes a place; it's in the queue from its first poll on.
    pub(crate) const fn wait<L: Fn()>(&self, lost: L) -> Waiting<'_, L> {
        Waiting {
            queue: self,
            waiter: Waiter {
                next: Cell::new(ptr::null()),
                previous: Cell::new(ptr::null()),
                state: Cell::new(State::Idle),
                waker: WakerCell::new(),
                _pinned: PhantomPinned,
            },
            lost,
        }
    }

    /// Takes the first waiter out and wakes it. Returns whether there was one.
    pub(crate) fn notify_first(&self) -> bool {
        // SAFETY: waiters in the queue are pinned and alive: they leave it when they are dropped.
        let Some(waiter) = (unsafe { self.first.get().as_ref() }) else {
            return false;
        };
        self.unlink(waiter);
        waiter.state.set(State::Notified);
        if let Some(waker) = waiter.waker.take() {
            waker.wake();
        }
        true
    }

    /// Takes all out and wakes them.
    pub(crate) fn notify_all(&self) {
        while self.notify_first() {}
    }

    fn link(&self, waiter: &Waiter) {
        let last = self.last.get();
        waiter.next.set(ptr::null());
        waiter.previous.set(last);
        // SAFETY: waiters in the queue are alive.
        match unsafe { last.as_ref() } {
            Some(last) => last.next.set(waiter),
            None => self.first.set(waiter),
        }
        self.last.set(waiter);
    }

    fn unlink(&self, waiter: &Waiter) {
        let (previous, next) = (waiter.previous.get(), waiter.next.get());
        // SAFETY: neighbours in the queue are alive.
        unsafe {
            match previous.as_ref() {
                Some(previous) => previous.next.set(next),
                None => self.first.set(next),
            }
            match next.as_ref() {
                Some(next) => next.previous.set(previous),
                None => self.last.set(previous),
            }
        }
    }
}

impl<L: Fn()> Waiting<'_, L> {
    /// Waits in the queue. Ready once after each notification.
    pub(crate) fn poll(self: Pin<&mut Self>, waker: &Waker) -> Poll<()> {
        let this = self.as_ref().get_ref();
        let waiter = &this.waiter;
        match waiter.state.get() {
            State::Notified => {
                waiter.state.set(State::Idle);
                return Poll::Ready(());
            }
            State::Queued => {}
            State::Idle => {
                // The waiter is pinned, and stays linked until it's notified or dropped, which unlinks it. From here
                // on it's used through shared references alone (`Waiting` is not `Unpin`).
                this.queue.link(waiter);
                waiter.state.set(State::Queued);
            }
        }
        // SAFETY: pinned with the whole; `notify_first` wakes what it takes at once.
        unsafe { waiter.waker.register_pinned(waker) };
        Poll::Pending
    }
}

impl<L: Fn()> Drop for Waiting<'_, L> {
    fn drop(&mut self) {
        match self.waiter.state.get() {
            State::Idle => {}
            State::Queued => self.queue.unlink(&self.waiter),
            State::Notified => (self.lost)(),
        }
    }
}

impl fmt::Debug for WaitQueue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WaitQueue").finish_non_exhaustive()
    }
}
