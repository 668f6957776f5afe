//! What reading messages costs, counted in tests: the labels and pointers that this thread looked at, be they read or skipped.

use core::cell::Cell;

std::thread_local! {
    static STEPS: Cell<u64> = const { Cell::new(0) };
}

pub(super) fn count() {
    STEPS.with(|steps| steps.set(steps.get() + 1));
}

/// What something gives, and how many steps it took.
pub(crate) fn counted<R>(work: impl FnOnce() -> R) -> (R, u64) {
    let before = STEPS.with(Cell::get);
    let result = work();
    (result, STEPS.with(Cell::get) - before)
}
