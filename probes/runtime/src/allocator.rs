//! A heap that only grows: a bump allocator over a static region.

use core::alloc::{GlobalAlloc, Layout};
use core::cell::UnsafeCell;
use core::ptr;
use core::sync::atomic::{AtomicUsize, Ordering};

/// Bytes of the heap.
const SIZE: usize = 32 << 20;

#[repr(C, align(4096))]
struct Region(UnsafeCell<[u8; SIZE]>);

// SAFETY: the bytes are only reached through pointers that the allocator hands out, each range once.
unsafe impl Sync for Region {}

static REGION: Region = Region(UnsafeCell::new([0; SIZE]));
static USED: AtomicUsize = AtomicUsize::new(0);

struct Bump;

#[global_allocator]
static ALLOCATOR: Bump = Bump;

// SAFETY: each call gets a range of the region that no other call gets, inside it and aligned; nothing is ever freed.
unsafe impl GlobalAlloc for Bump {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let base = REGION.0.get().cast::<u8>();
        let mut used = USED.load(Ordering::Relaxed);
        loop {
            let Some(start) = base
                .addr()
                .wrapping_add(used)
                .checked_next_multiple_of(layout.align())
            else {
                return ptr::null_mut();
            };
            let offset = start - base.addr();
            let Some(end) = offset.checked_add(layout.size()).filter(|end| *end <= SIZE) else {
                return ptr::null_mut();
            };
            match USED.compare_exchange_weak(used, end, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => return base.wrapping_add(offset),
                Err(now) => used = now,
            }
        }
    }

    unsafe fn dealloc(&self, _: *mut u8, _: Layout) {}
}
