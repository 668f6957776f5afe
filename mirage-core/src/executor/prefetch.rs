//! A hint to the processor: millions of tasks don't fit in its caches.

/// Tells the processor that memory will be written to. Has no effect but on time, wherever it points.
#[inline]
pub(super) fn prefetch(place: *mut u8, size: usize) {
    #[cfg(target_arch = "x86_64")]
    for line in (0..size).step_by(64) {
        use core::arch::x86_64::{_MM_HINT_ET0, _mm_prefetch};
        // SAFETY: a prefetch is a hint that faults nowhere, and every x86-64 processor takes the instruction.
        unsafe { _mm_prefetch::<_MM_HINT_ET0>(place.wrapping_add(line).cast()) };
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = (place, size);
}
