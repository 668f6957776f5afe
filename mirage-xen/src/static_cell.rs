//! Room in a `static` for what a program makes once.

use core::cell::UnsafeCell;
use core::mem::MaybeUninit;
use core::sync::atomic::{AtomicBool, Ordering};

/// A place in a `static` for one value that is made while the program runs and lives to its end: what this crate hands out as
/// `&'static` without an allocator.
///
/// ```
/// use mirage_xen::static_cell::StaticCell;
///
/// static PLACE: StaticCell<u32> = StaticCell::new();
///
/// assert_eq!(PLACE.init(7), Ok(&mut 7));
/// assert_eq!(PLACE.init(8), Err(8)); // once
/// ```
pub struct StaticCell<T> {
    taken: AtomicBool,
    value: UnsafeCell<MaybeUninit<T>>,
}

// SAFETY: the value is moved in and lent out by the one call of `init` that finds `taken` false, on one thread; whether the
// reference may go to another is `T`'s business. Nothing is in the cell before, so nothing is tied to a thread.
unsafe impl<T> Sync for StaticCell<T> {}

impl<T> StaticCell<T> {
    /// An empty place; it takes no room in the image.
    pub const fn new() -> Self {
        Self {
            taken: AtomicBool::new(false),
            value: UnsafeCell::new(MaybeUninit::uninit()),
        }
    }

    /// Puts the value there.
    ///
    /// # Errors
    ///
    /// The value itself, from the second call on.
    #[expect(clippy::mut_from_ref, reason = "given out once")]
    pub fn init(&'static self, value: T) -> Result<&'static mut T, T> {
        if self.taken.swap(true, Ordering::Relaxed) {
            return Err(value);
        }
        // SAFETY: `taken` was false and never becomes so again: this is the only time that the cell is borrowed.
        let place = unsafe { &mut *self.value.get() };
        Ok(place.write(value))
    }
}

impl<T> Default for StaticCell<T> {
    fn default() -> Self {
        Self::new()
    }
}

/// A place in a `static` for one value that is there from the beginning, and given out once: for what is too large for a
/// stack.
///
/// ```
/// use mirage_xen::static_cell::StaticValue;
///
/// static PLACE: StaticValue<[u8; 1 << 20]> = StaticValue::new([0; 1 << 20]);
///
/// assert!(PLACE.take().is_some());
/// assert!(PLACE.take().is_none()); // once
/// ```
pub struct StaticValue<T> {
    taken: AtomicBool,
    value: UnsafeCell<T>,
}

// SAFETY: the value is lent out by the one call of `take` that finds `taken` false; what may not go to another thread than
// that which made it can't be in a `static` (`T: Send`).
unsafe impl<T: Send> Sync for StaticValue<T> {}

impl<T> StaticValue<T> {
    /// A place that holds the value. Zeros take no room in the image.
    pub const fn new(value: T) -> Self {
        Self {
            taken: AtomicBool::new(false),
            value: UnsafeCell::new(value),
        }
    }

    /// The value. `None` from the second call on.
    #[expect(clippy::mut_from_ref, reason = "given out once")]
    pub fn take(&'static self) -> Option<&'static mut T> {
        if self.taken.swap(true, Ordering::Relaxed) {
            return None;
        }
        // SAFETY: `taken` was false and never becomes so again: this is the only time that the cell is borrowed.
        Some(unsafe { &mut *self.value.get() })
    }
}
