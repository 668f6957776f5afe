use std::alloc::{GlobalAlloc, alloc, dealloc};
use std::cell::RefCell;
use std::vec::Vec;

use proptest::prelude::*;

use super::*;

std::thread_local! {
    /// What the heap of this thread's test takes from.
    static LEFT: RefCell<Extents> = const { RefCell::new(Extents::new()) };
}

#[derive(Debug)]
struct TestSource;

// SAFETY: `acquire` doesn't come back to the allocator that calls it.
unsafe impl Source for TestSource {
    fn acquire<B: Binning>(
        talc: &mut Talc<Self, B>,
        layout: core::alloc::Layout,
    ) -> Result<(), ()> {
        LEFT.with_borrow_mut(|memory| acquire(memory, talc, layout))
    }
}

/// Memory of the host's for extents, given back at the end.
struct Region(*mut u8, Layout);

impl Region {
    fn new(bytes: usize) -> Self {
        let layout = Layout::from_size_align(bytes, 4096).unwrap();
        // SAFETY: the layout isn't empty.
        Self(unsafe { alloc(layout) }, layout)
    }

    fn span(&self, start: usize, length: usize) -> Span {
        assert!(start + length <= self.1.size());
        let base = self.0.expose_provenance() as u64;
        Span {
            start: base + start as u64,
            end: base + (start + length) as u64,
        }
    }
}

impl Drop for Region {
    fn drop(&mut self) {
        // SAFETY: allocated with this layout in `new`.
        unsafe { dealloc(self.0, self.1) };
    }
}

const KIB: usize = 1024;

/// A heap over extents of these lengths, with gaps between them.
fn heap(lengths: &[usize]) -> (TalcCell<TestSource, DefaultBinning>, Region) {
    const GAP: usize = 16 * KIB;
    let region = Region::new(lengths.iter().map(|length| length + GAP).sum());
    let mut start = 0;
    LEFT.set(Extents::new());
    for length in lengths {
        let span = region.span(start, *length);
        // SAFETY: the bytes are the region's, which outlives the heap in each test.
        assert!(LEFT.with_borrow_mut(|memory| unsafe { memory.add(span) }));
        start += length + GAP;
    }
    (TalcCell::new(TestSource), region)
}

fn left() -> usize {
    LEFT.with_borrow(|memory| {
        memory
            .extents
            .iter()
            .map(|span| span.end - span.start)
            .sum::<u64>()
    }) as usize
}

fn bytes(size: usize) -> Layout {
    Layout::from_size_align(size, 16).unwrap()
}

#[test]
fn memory_is_taken_piece_by_piece_as_it_is_needed() {
    let (heap, _region) = heap(&[4096 * KIB]);
    // SAFETY: no layout here is empty, and what is freed was allocated so.
    unsafe {
        let first = heap.alloc(bytes(100));
        assert!(!first.is_null());
        assert_eq!(left(), 4096 * KIB - PIECE as usize);
        heap.dealloc(first, bytes(100));
        assert!(!heap.alloc(bytes(1000 * KIB)).is_null());
        assert!(left() >= 4096 * KIB - 2 * PIECE as usize - 1000 * KIB - OVERHEAD as usize);
        assert!(heap.alloc(bytes(8192 * KIB)).is_null());
        assert!(!heap.alloc(bytes(100)).is_null());
    }
}

#[test]
fn an_allocation_over_the_front_and_the_end_of_an_extent_skips_to_the_next() {
    let (heap, region) = heap(&[300 * KIB, 800 * KIB]);
    // SAFETY: as above.
    unsafe {
        assert!(!heap.alloc(bytes(100)).is_null());
        let large = heap.alloc(bytes(500 * KIB));
        assert!(
            region
                .span(316 * KIB, 800 * KIB)
                .contains(large.addr() as u64)
        );
        // The rest of the first is not lost.
        let rest = heap.alloc(bytes(250 * KIB));
        assert!(region.span(0, 300 * KIB).contains(rest.addr() as u64));
    }
}

#[test]
fn all_memory_can_be_used_up_and_that_is_no_panic() {
    let (heap, _region) = heap(&[64 * KIB, 1024 * KIB, 8 * KIB]);
    let mut count = 0;
    // SAFETY: as above.
    while !unsafe { heap.alloc(bytes(1000)) }.is_null() {
        count += 1;
    }
    // Each takes a few bytes more; a piece that is shorter than the overhead is not looked at.
    assert!((1080..1113).contains(&count), "{count}");
    // SAFETY: as above.
    assert!(unsafe { heap.alloc(bytes(usize::MAX >> 2)) }.is_null());
}

#[test]
fn pages_are_cut_off_the_end_of_the_longest_extent() {
    let mut memory = Extents::new();
    let spans = [(0x1000, 0x3000), (0x8000, 0xF000)].map(|(start, end)| Span { start, end });
    for span in spans {
        // SAFETY: nothing is allocated from it.
        assert!(unsafe { memory.add(span) });
    }
    let cut = memory.take_back(0x2000);
    let expected = Span {
        start: 0xD000,
        end: 0xF000,
    };
    assert_eq!(cut, Some(expected));
    assert_eq!(memory.take_back(0x5001), None);
    assert!(memory.take_back(0x5000).is_some());
    assert!(memory.take_back(0x2000).is_some());
    assert_eq!(memory.take_back(1), None);
}

proptest! {
    #[test]
    fn allocations_keep_their_bytes_and_don_t_overlap(
        lengths in prop::collection::vec(1_usize..200, 1..5),
        steps in prop::collection::vec((1_usize..60_000, 0_u32..13, any::<bool>()), 1..60),
    ) {
        let lengths: Vec<_> = lengths.iter().map(|pages| pages * 4096).collect();
        let (heap, region) = heap(&lengths);
        let all = region.span(0, region.1.size());
        let mut live: Vec<(*mut u8, Layout, u8)> = Vec::new();
        for (number, (size, shift, free)) in (0_u8..).zip(steps) {
            if free && !live.is_empty() {
                let (pointer, layout, mark) = live.swap_remove(size % live.len());
                // SAFETY: it was allocated with this layout, and is freed once.
                unsafe {
                    let bytes = core::slice::from_raw_parts(pointer, layout.size());
                    prop_assert!(bytes.iter().all(|byte| *byte == mark));
                    heap.dealloc(pointer, layout);
                }
                continue;
            }
            let layout = Layout::from_size_align(size, 1 << shift).unwrap();
            // SAFETY: the layout isn't empty.
            let pointer = unsafe { heap.alloc(layout) };
            if pointer.is_null() {
                continue;
            }
            prop_assert!(pointer.addr().is_multiple_of(layout.align()));
            prop_assert!(all.contains(pointer.addr() as u64));
            // SAFETY: it is of that size.
            unsafe { pointer.write_bytes(number, size) };
            live.push((pointer, layout, number));
        }
        for (pointer, layout, mark) in live {
            // SAFETY: as above.
            let bytes = unsafe { core::slice::from_raw_parts(pointer, layout.size()) };
            prop_assert!(bytes.iter().all(|byte| *byte == mark));
        }
    }
}
