//! Where an executor lies without an allocator.

use core::cell::UnsafeCell;
use core::fmt;
use core::mem::MaybeUninit;

use super::Executor;
use crate::sync::{AtomicBool, Ordering};

/// Static memory for one executor.
///
/// ```
/// use mirage_core::executor::ExecutorMemory;
///
/// static EXECUTOR: ExecutorMemory = ExecutorMemory::new();
/// ```
pub struct ExecutorMemory {
    claimed: AtomicBool,
    executor: UnsafeCell<MaybeUninit<Executor>>,
}

// SAFETY: only the one who turned `claimed` on gets to the executor, and it does not leave that one's thread.
unsafe impl Sync for ExecutorMemory {}

impl ExecutorMemory {
    /// Memory without an executor yet.
    #[cfg(not(loom))]
    #[expect(
        clippy::new_without_default,
        reason = "for statics, which can't call default"
    )]
    pub const fn new() -> Self {
        Self {
            claimed: AtomicBool::new(false),
            executor: UnsafeCell::new(MaybeUninit::uninit()),
        }
    }
}

impl ExecutorMemory {
    /// Puts an executor there, for the one who asks first.
    pub(super) fn claim(
        &'static self,
        make: impl FnOnce() -> Executor,
    ) -> Option<&'static Executor> {
        if self.claimed.swap(true, Ordering::Relaxed) {
            return None;
        }
        // SAFETY: the swap above succeeds once, so this is the only reference ever made to the cell's inside.
        let place = unsafe { &mut *self.executor.get() };
        Some(place.write(make()))
    }
}

impl fmt::Debug for ExecutorMemory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ExecutorMemory")
            .field("claimed", &self.claimed)
            .finish()
    }
}
