//! Memory for tasks from the allocator, in large pieces.
//!
//! Tasks of about one size lie side by side in chunks, without a head of the allocator's, and a freed place is taken by
//! the next task of that size. Chunks are never given back: like their executor, they live for ever. So the memory is
//! that of the most tasks there ever were at once, and a place can be given back from any thread.

use core::alloc::Layout;
use core::cell::{Cell, RefCell};
use core::ptr::{self, NonNull};

use alloc::vec::Vec;

use super::platform::Platform;
use super::prefetch::prefetch;
use super::task::Header;
use crate::sync::Ordering;

/// Sizes up to `SMALL` are rounded up to a multiple of this.
const STEP: usize = 32;
const SMALL: usize = 2048;
const SMALL_CLASSES: usize = SMALL / STEP;
/// Sizes above are rounded up to a power of two.
const LARGE_CLASSES: usize = 32;
const CLASSES: usize = SMALL_CLASSES + LARGE_CLASSES;

/// Chunks of a class double in size, from the first to the last of these.
const FIRST_CHUNK: usize = 4096;
/// Many of a processor's large pages (2 MiB), so that few are cut at a chunk's ends; less than a power of two, with room
/// for an allocator's own head.
const LAST_CHUNK: usize = (32 << 20) - 64;

/// Places by which the memory is asked for ahead of its use, when tasks are made one after the other.
const AHEAD: usize = 6;

/// All task memory of an executor.
pub(super) struct Slab {
    classes: [Class; CLASSES],
    chunks: RefCell<Vec<Chunk>>,
}

/// Places of one size.
struct Class {
    /// Places that were given back, linked through the headers in them.
    free: Cell<*mut Header>,
    /// The part of the newest chunk that was never used.
    fresh: Cell<*mut u8>,
    fresh_end: Cell<*mut u8>,
    chunk_size: Cell<usize>,
}

#[derive(Clone, Copy)]
struct Chunk {
    start: NonNull<u8>,
    size: usize,
    class: usize,
}

#[inline]
fn class_of(layout: Layout) -> Option<usize> {
    if layout.size() <= SMALL && layout.align() <= STEP {
        return Some((layout.size().max(1) - 1) / STEP);
    }
    let size = layout
        .size()
        .max(layout.align())
        .checked_next_power_of_two()?;
    // At least 64, so that there is no overlap in meaning: these classes are aligned to their size.
    let class = size.max(2 * STEP).trailing_zeros() as usize - 6;
    (class < LARGE_CLASSES).then_some(SMALL_CLASSES + class)
}

#[inline]
fn size_of_class(class: usize) -> usize {
    match class.checked_sub(SMALL_CLASSES) {
        None => (class + 1) * STEP,
        Some(large) => 64 << large,
    }
}

impl Slab {
    pub(super) const fn new() -> Self {
        Self {
            classes: [const {
                Class {
                    free: Cell::new(ptr::null_mut()),
                    fresh: Cell::new(ptr::null_mut()),
                    fresh_end: Cell::new(ptr::null_mut()),
                    chunk_size: Cell::new(FIRST_CHUNK),
                }
            }; CLASSES],
            chunks: RefCell::new(Vec::new()),
        }
    }

    /// A place for a task; `None` when the allocator has no memory. The place is the caller's, and looks free until a
    /// header is written to it.
    #[inline]
    pub(super) fn allocate(&self, layout: Layout, platform: &dyn Platform) -> Option<NonNull<u8>> {
        let class = class_of(layout)?;
        let places = &self.classes[class];
        if let Some(place) = NonNull::new(places.free.get()) {
            // SAFETY: a place in the list holds the header of its last task, whose link belongs to the list.
            let next = unsafe { place.as_ref() }.next.load(Ordering::Relaxed);
            places.free.set(next);
            return Some(place.cast());
        }
        let place = places.fresh.get();
        if place == places.fresh_end.get() {
            return self.grow(class, platform);
        }
        let size = size_of_class(class);
        // SAFETY: the fresh part is a whole number of places long, and not empty.
        places.fresh.set(unsafe { place.add(size) });
        prefetch(place.wrapping_add(AHEAD * size), size);
        NonNull::new(place)
    }

    #[cold]
    fn grow(&self, class: usize, platform: &dyn Platform) -> Option<NonNull<u8>> {
        let places = &self.classes[class];
        let place_size = size_of_class(class);
        let align = if class < SMALL_CLASSES {
            64
        } else {
            place_size
        };
        let mut chunks = self.chunks.borrow_mut();
        chunks.try_reserve(1).ok()?;
        let mut wanted = places.chunk_size.get();
        let (start, size) = loop {
            let size = wanted.max(place_size) / place_size * place_size;
            let layout = Layout::from_size_align(size, align).ok()?;
            // SAFETY: the size is at least a place's, so not zero.
            match NonNull::new(unsafe { alloc::alloc::alloc(layout) }) {
                Some(start) => break (start, size),
                // Where memory is scarce, less will do.
                None if size > place_size => wanted /= 2,
                None => return None,
            }
        };
        chunks.push(Chunk { start, size, class });
        drop(chunks);
        places.chunk_size.set((wanted * 2).min(LAST_CHUNK));
        // SAFETY: both within the chunk, or at its end.
        unsafe {
            places.fresh.set(start.add(place_size).as_ptr());
            places.fresh_end.set(start.add(size).as_ptr());
        }
        let address = start.addr().get();
        platform.advise_memory(address..address + size);
        Some(start)
    }

    /// Takes a place back.
    ///
    /// # Safety
    ///
    /// `place` came from `allocate` with this layout, and nothing refers to the task in it, whose header stays there.
    pub(super) unsafe fn free(&self, place: NonNull<Header>, layout: Layout) {
        let Some(class) = class_of(layout) else {
            return;
        };
        let free = &self.classes[class].free;
        // SAFETY: the header stays readable in a free place, and its link is ours now.
        unsafe { place.as_ref() }
            .next
            .store(free.get(), Ordering::Relaxed);
        free.set(place.as_ptr());
    }

    /// Calls `each` for every place that holds a task or held one, with a pointer that may reach the whole place.
    pub(super) fn for_each(&self, mut each: impl FnMut(NonNull<Header>)) {
        let mut index = 0;
        loop {
            // Not borrowed during the calls, which run code of users'.
            let Some(chunk) = self.chunks.borrow().get(index).copied() else {
                return;
            };
            let places = &self.classes[chunk.class];
            let place_size = size_of_class(chunk.class);
            for offset in (0..chunk.size).step_by(place_size) {
                // SAFETY: within the chunk.
                let place = unsafe { chunk.start.add(offset) };
                let (fresh, end) = (places.fresh.get(), places.fresh_end.get());
                if place.as_ptr() == fresh && fresh != end {
                    // The rest of the newest chunk was never used.
                    break;
                }
                each(place.cast());
            }
            index += 1;
        }
    }
}
