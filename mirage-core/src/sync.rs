//! The atomics of the executor and the event token: `core`'s, or loom's under `cfg(loom)`.

#[cfg(not(loom))]
pub(crate) use core::sync::atomic::{AtomicBool, AtomicPtr, AtomicUsize, Ordering};
#[cfg(loom)]
pub(crate) use loom::sync::atomic::{AtomicBool, AtomicPtr, AtomicUsize, Ordering};

/// Lets another thread go on, inside a loop that waits for it.
pub(crate) fn spin() {
    #[cfg(not(loom))]
    core::hint::spin_loop();
    #[cfg(loom)]
    loom::thread::yield_now();
}

/// A cell that loom watches for two threads at once.
#[cfg(loom)]
pub(crate) use loom::cell::UnsafeCell as WatchedCell;

/// A cell that loom watches for two threads at once; elsewhere, an `UnsafeCell` with loom's way in.
#[cfg(not(loom))]
pub(crate) struct WatchedCell<T>(core::cell::UnsafeCell<T>);

#[cfg(not(loom))]
impl<T> WatchedCell<T> {
    pub(crate) const fn new(value: T) -> Self {
        Self(core::cell::UnsafeCell::new(value))
    }

    /// Calls `f` with a pointer for exclusive use. That nobody else has one is the caller's to see to.
    pub(crate) fn with_mut<R>(&self, f: impl FnOnce(*mut T) -> R) -> R {
        f(self.0.get())
    }
}
