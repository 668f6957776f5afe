//! Statics that are written at the start of an image and are read-only memory after `seal`.

use core::cell::{Cell, UnsafeCell};
use core::mem::MaybeUninit;

/// A place for one value, which is put in once. It belongs in the link script's sealed section.
pub(crate) struct Sealed<T> {
    value: UnsafeCell<MaybeUninit<T>>,
    is_set: Cell<bool>,
}

// SAFETY: an image has one virtual processor and takes no interrupt: there is no second thread. On a host, nothing is
// ever put in.
unsafe impl<T> Sync for Sealed<T> {}

impl<T> Sealed<T> {
    /// Zeros, so that it takes no room in the file.
    pub(crate) const fn new() -> Self {
        Self {
            value: UnsafeCell::new(MaybeUninit::zeroed()),
            is_set: Cell::new(false),
        }
    }

    /// Puts the value in.
    ///
    /// # Safety
    ///
    /// Called once, before the tables are sealed, and there is one thread. Through the reference nothing is changed
    /// after they are, nor once [`get`](Self::get) was called.
    #[expect(
        clippy::mut_from_ref,
        reason = "the caller promises that there is no other"
    )]
    pub(crate) unsafe fn set(&'static self, value: T) -> &'static mut T {
        self.is_set.set(true);
        // SAFETY: the caller promises that there is no other reference, and that the memory is writable.
        unsafe { (*self.value.get()).write(value) }
    }

    /// The value, once it is there.
    pub(crate) fn get(&'static self) -> Option<&'static T> {
        // SAFETY: it was written before `is_set` was, and whoever put it in doesn't change it any more.
        self.is_set
            .get()
            .then(|| unsafe { (*self.value.get()).assume_init_ref() })
    }
}
