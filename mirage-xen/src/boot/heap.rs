//! The global allocator: `talc` over the RAM that is left.

use core::alloc::{GlobalAlloc, Layout};
use core::cell::RefCell;
use core::fmt;
use core::ptr::{self, NonNull};

use heapless::Vec;
use talc::base::Talc;
use talc::base::binning::{Binning, DefaultBinning};
use talc::cell::TalcCell;
use talc::source::Source;

use super::frames::MAXIMUM_RANGES;
use super::layout::Span;

/// Memory that the allocator has not been given yet, in ascending order.
///
/// It takes piece by piece from the front, so that what is at the end can still become I/O pages, and so that a start
/// costs the same whatever the size of the memory.
#[derive(Debug)]
pub(crate) struct Extents {
    extents: Vec<Span, MAXIMUM_RANGES>,
    /// The extent that the newest piece came from, and where the allocator's heap ends there.
    current: Option<(usize, NonNull<u8>)>,
}

/// A piece is at least this long, if there is so much.
const PIECE: u64 = 256 * 1024;
/// What an allocation needs in addition: the allocator's marks, and in the first piece its table of free chunks.
const OVERHEAD: u64 = 4_096;

impl Extents {
    pub(crate) const fn new() -> Self {
        Self {
            extents: Vec::new(),
            current: None,
        }
    }

    /// Adds memory.
    ///
    /// # Safety
    ///
    /// The bytes are mapped for reading and writing for the rest of the program, and nothing else reaches them.
    pub(crate) unsafe fn add(&mut self, span: Span) -> bool {
        self.extents.push(span).is_ok()
    }

    /// Cuts `length` bytes off the end of the extent that has most left. Both ends of the cut are multiples of
    /// `length`'s alignment if all extents' are. `None`: no extent has so much.
    pub(crate) fn take_back(&mut self, length: u64) -> Option<Span> {
        let longest = self
            .extents
            .iter_mut()
            .max_by_key(|span| span.end - span.start)?;
        if longest.end - longest.start < length {
            return None;
        }
        let end = longest.end;
        longest.end -= length;
        Some(Span {
            start: longest.end,
            end,
        })
    }
}

/// Where `talc` gets its memory: the extents that the start of the domain left.
#[derive(Debug)]
struct Rest;

/// The extents of the one heap.
pub(crate) struct HeapMemory(RefCell<Extents>);

// SAFETY: an image has one virtual processor and takes no interrupt: there is no second thread.
unsafe impl Sync for HeapMemory {}

/// What is left of the memory.
pub(crate) static MEMORY: HeapMemory = HeapMemory(RefCell::new(Extents::new()));

impl HeapMemory {
    pub(crate) fn with<T>(&self, action: impl FnOnce(&mut Extents) -> T) -> T {
        action(&mut self.0.borrow_mut())
    }
}

// SAFETY: `acquire` doesn't allocate, so it never comes back to the allocator that calls it.
unsafe impl Source for Rest {
    fn acquire<B: Binning>(talc: &mut Talc<Self, B>, layout: Layout) -> Result<(), ()> {
        MEMORY.with(|memory| acquire(memory, talc, layout))
    }
}

/// Gives the allocator more memory, at least what `layout` needs if one extent has it.
fn acquire<S: Source, B: Binning>(
    memory: &mut Extents,
    talc: &mut Talc<S, B>,
    layout: Layout,
) -> Result<(), ()> {
    let needed = (layout.size() as u64)
        .saturating_add(layout.align() as u64)
        .saturating_add(OVERHEAD);
    let piece = needed.max(PIECE);
    let mut grown = false;
    if let Some((number, end)) = memory.current {
        let extent = &mut memory.extents[number];
        let left = extent.end - extent.start;
        if left > 0 {
            let cut = left.min(piece);
            extent.start += cut;
            // SAFETY: `end` is where the heap of this extent ends; the bytes behind it up to the new `start` were
            // promised to `add` and are given out here, once.
            let end = unsafe { talc.extend(end, pointer(extent.start)) };
            memory.current = Some((number, end));
            grown = true;
            if cut >= needed {
                return Ok(());
            }
        }
    }
    let next = memory
        .extents
        .iter_mut()
        .enumerate()
        .find(|(_, extent)| extent.end - extent.start >= needed);
    let Some((number, extent)) = next else {
        return if grown { Ok(()) } else { Err(()) };
    };
    let start = extent.start;
    let cut = (extent.end - start).min(piece);
    extent.start += cut;
    // SAFETY: the bytes were promised to `add` and are given out here, once.
    let end = unsafe { talc.claim(pointer(start), cut as usize) };
    // Nothing of it was taken if it can't hold even the allocator's own table, which `OVERHEAD` rules out.
    let end = end.ok_or(())?;
    memory.current = Some((number, end));
    Ok(())
}

fn pointer(address: u64) -> *mut u8 {
    ptr::with_exposed_provenance_mut(address as usize)
}

/// The global allocator of an image. [`entry!`](crate::entry) makes it.
pub struct Heap(TalcCell<Rest, DefaultBinning>);

impl fmt::Debug for Heap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Heap")
    }
}

// SAFETY: as for `HeapMemory`. A host's program has threads, but no memory is ever added there: each allocation fails
// before anything is written.
unsafe impl Sync for Heap {}

impl Heap {
    /// The allocator, which takes its memory as it needs it.
    #[expect(
        clippy::new_without_default,
        reason = "an image has one, which entry! makes"
    )]
    pub const fn new() -> Self {
        Self(TalcCell::new(Rest))
    }

    /// Octets of memory that the allocator has not taken yet. It takes more as it needs it, by at least 256 KiB, and gives none back.
    pub fn untouched() -> u64 {
        MEMORY.with(|memory| {
            let left = memory.extents.iter().map(|span| span.end - span.start);
            left.sum()
        })
    }
}

// SAFETY: `TalcCell` is an allocator; nothing is added here.
unsafe impl GlobalAlloc for Heap {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's promises are `TalcCell`'s.
        unsafe { self.0.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller's promises are `TalcCell`'s.
        unsafe { self.0.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: the caller's promises are `TalcCell`'s.
        unsafe { self.0.realloc(pointer, layout, size) }
    }
}

#[cfg(test)]
mod tests;
