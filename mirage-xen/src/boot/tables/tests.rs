use std::collections::BTreeMap;
use std::vec::Vec;

use proptest::prelude::*;

use super::simulated::{Mapping, SimulatedTables};
use super::*;

/// Where the window of tables is here.
const WINDOW: u64 = 225 << 39;
/// Where memory is mapped here.
const MEMORY: u64 = 129 << 39;

fn frames(start: u64, end: u64) -> FrameRange {
    FrameRange::new(FrameNumber(start), FrameNumber(end))
}

fn ranges(list: &[(u64, u64)]) -> Ranges {
    let mut ranges = Ranges::new();
    for (start, end) in list {
        ranges.insert(frames(*start, *end)).unwrap();
    }
    ranges
}

fn span(start: u64, pages: u64) -> Span {
    Span {
        start,
        end: start + pages * PAGE,
    }
}

/// Tables of which `count` can still be taken.
fn with_spare(count: u64) -> Tables<SimulatedTables> {
    // The top-level one, and the window's own three.
    SimulatedTables::trampoline(WINDOW, frames(1, 5 + count))
}

fn walk(tables: &Tables<SimulatedTables>) -> Vec<Mapping> {
    let mappings = tables.memory.walk(FrameNumber(1));
    mappings
        .into_iter()
        .filter(|mapping| mapping.address < WINDOW || mapping.address >= WINDOW + LARGE_PAGE)
        .collect()
}

#[test]
fn pages_have_the_rights_that_were_asked_for_and_are_never_executable() {
    let mut tables = with_spare(3);
    tables
        .map(MEMORY, frames(16, 18), Access::ReadOnly)
        .unwrap();
    tables
        .map(MEMORY + 2 * PAGE, frames(7, 8), Access::ReadWrite)
        .unwrap();
    let expected = [(0, 16, false), (1, 17, false), (2, 7, true)];
    let expected = expected.map(|(page, frame, writable)| Mapping {
        address: MEMORY + page * PAGE,
        frame,
        writable,
        executable: false,
    });
    assert_eq!(walk(&tables), expected);
}

#[test]
fn large_pages_are_used_where_both_sides_are_aligned_and_nowhere_else() {
    // A table for each end, one directory, one above it.
    let mut tables = with_spare(4);
    tables
        .map(
            MEMORY + 511 * PAGE,
            frames(511, 512 * 3 + 1),
            Access::ReadWrite,
        )
        .unwrap();
    assert_eq!(tables.spare(), 0);
    assert_eq!(walk(&tables).len(), 1 + 1024 + 1);
    // Frames that are not aligned as the address is take small pages.
    let mut tables = with_spare(3);
    tables
        .map(MEMORY, frames(513, 1025), Access::ReadWrite)
        .unwrap();
    assert_eq!(tables.spare(), 0);
    assert!(
        tables
            .map(MEMORY + LARGE_PAGE, frames(1, 2), Access::ReadOnly)
            .is_err()
    );
}

#[test]
fn a_large_page_that_is_cut_keeps_its_rights_and_frames_on_both_sides() {
    let mut tables = with_spare(2 + 1);
    tables
        .map(MEMORY, frames(1024, 1536), Access::ReadWrite)
        .unwrap();
    tables.unmap(span(MEMORY + 100 * PAGE, 10)).unwrap();
    let mappings = walk(&tables);
    assert_eq!(mappings.len(), 502);
    assert!(
        mappings
            .iter()
            .all(|page| page.writable && !page.executable)
    );
    assert!(
        mappings
            .iter()
            .all(|page| page.frame - 1024 == (page.address - MEMORY) / PAGE)
    );
    assert!(
        !mappings
            .iter()
            .any(|page| (1124..1134).contains(&page.frame))
    );
}

#[test]
fn running_out_of_tables_is_an_error_not_a_panic() {
    let mut tables = with_spare(2);
    assert_eq!(
        tables.map(MEMORY, frames(1, 2), Access::ReadOnly),
        Err(OutOfTables)
    );
}

#[test]
fn unmapping_what_is_not_mapped_takes_no_table() {
    let mut tables = with_spare(0);
    tables.unmap(span(MEMORY, 1000)).unwrap();
    tables.forbid_writing(span(MEMORY, 1000)).unwrap();
    assert_eq!(walk(&tables), []);
}

#[test]
fn after_sealing_no_table_has_a_writable_alias() {
    let mut tables = with_spare(8);
    tables
        .map(MEMORY, frames(1024, 2048), Access::ReadWrite)
        .unwrap();
    // SAFETY: there is no memory to reach.
    unsafe { tables.add_run(frames(4096, 4100)) }.unwrap();
    tables
        .map(MEMORY + (1 << 30), frames(512, 515), Access::ReadWrite)
        .unwrap();
    let sealed = span(MEMORY + (1 << 30), 2);
    let root = FrameNumber(1);
    let before = tables.memory.walk(root);
    assert!(
        before
            .iter()
            .any(|page| page.writable && tables.memory.is_table(page.frame))
    );
    let memory = tables.seal(sealed).unwrap();
    let after = memory.walk(root);
    assert_eq!(before.len(), after.len());
    for (before, after) in before.iter().zip(&after) {
        let stays =
            before.writable && !memory.is_table(before.frame) && !sealed.contains(before.address);
        assert_eq!(after.writable, stays, "{after:x?}");
        assert_eq!((before.address, before.frame), (after.address, after.frame));
    }
}

#[test]
fn the_table_of_the_window_gives_up_its_own_right_last() {
    /// Refuses a write to a table that lost its right.
    struct Strict(SimulatedTables);

    impl TableMemory for Strict {
        fn place(&self, place: u64) -> u64 {
            self.0.place(place)
        }
        fn count(&self) -> u64 {
            self.0.count()
        }
        unsafe fn add(&mut self, frames: FrameRange) -> bool {
            // SAFETY: the caller's promise.
            unsafe { self.0.add(frames) }
        }
        fn clear(&mut self, table: FrameNumber) {
            self.0.clear(table);
        }
        fn entry(&self, table: FrameNumber, index: usize) -> PageTableEntry {
            self.0.entry(table, index)
        }
        fn set_entries(
            &mut self,
            table: FrameNumber,
            index: usize,
            entries: impl IntoIterator<Item = PageTableEntry>,
        ) {
            let mappings = self.0.walk(FrameNumber(1));
            let page = mappings.iter().find(|page| page.frame == table.0).unwrap();
            assert!(
                page.writable,
                "a write to the table in frame {}, which is sealed",
                table.0
            );
            self.0.set_entries(table, index, entries);
        }
    }

    let tables = with_spare(5);
    let tables = Tables {
        memory: Strict(tables.memory),
        root: tables.root,
        spare: tables.spare,
    };
    tables.seal(span(0, 0)).unwrap();
}

#[test]
fn tables_are_counted_by_what_they_cover() {
    let none = Ranges::new();
    assert_eq!(tables_for(&none, &none), 0);
    // Large pages alone: a directory and the one above.
    assert_eq!(tables_for(&ranges(&[(0, 512)]), &none), 2);
    // One page: a table as well.
    assert_eq!(tables_for(&ranges(&[(5, 6)]), &none), 3);
    // Two in the same 2 MiB share it, whatever they are.
    assert_eq!(tables_for(&ranges(&[(5, 6)]), &ranges(&[(8, 9)])), 3);
    // Over the end of a gibibyte: another directory.
    let crossing = ranges(&[(512 * 512 - 1, 512 * 512 + 1)]);
    assert_eq!(tables_for(&crossing, &none), 5);
    // 1 GiB but for its first page.
    assert_eq!(tables_for(&ranges(&[(1, 512 * 512)]), &none), 3);
}

/// Some ranges of frames below 3 GiB that don't touch, with their ends often where large pages end.
fn some_ranges() -> impl Strategy<Value = Vec<(u64, u64, bool)>> {
    let place = prop_oneof![
        0_u64..512 * 4,
        (0_u64..1536).prop_map(|large| large * 512),
        (0_u64..1536, 0_u64..3).prop_map(|(large, more)| (large * 512 + more).saturating_sub(1)),
    ];
    prop::collection::vec((place, any::<bool>()), 2..16).prop_map(|mut places| {
        places.sort_unstable();
        places.dedup_by_key(|(place, _)| *place);
        places
            .chunks_exact(2)
            // Of a long one its beginning: a test takes seconds else.
            .map(|pair| (pair[0].0, pair[1].0.min(pair[0].0 + 1300), pair[0].1))
            .collect()
    })
}

proptest! {
    #[test]
    fn as_many_tables_are_planned_as_mapping_takes(list in some_ranges()) {
        let mut heap = Ranges::new();
        let mut kept = Ranges::new();
        for (start, end, writable) in &list {
            let ranges = if *writable { &mut heap } else { &mut kept };
            ranges.insert(frames(*start, *end)).unwrap();
        }
        let planned = tables_for(&heap, &kept);
        let mut tables = with_spare(planned);
        for (ranges, access) in [(&heap, Access::ReadWrite), (&kept, Access::ReadOnly)] {
            for range in ranges.iter() {
                prop_assert_eq!(tables.map(MEMORY + range.start().0 * PAGE, range, access), Ok(()));
            }
        }
        prop_assert_eq!(tables.spare(), 0);
        for page in walk(&tables) {
            let frame = FrameNumber(page.frame);
            prop_assert_eq!(page.address, MEMORY + page.frame * PAGE);
            prop_assert_eq!(page.writable, heap.contains(frame));
            prop_assert_eq!(!page.writable, kept.contains(frame));
            prop_assert!(!page.executable);
        }
        prop_assert_eq!(walk(&tables).len() as u64, heap.count() + kept.count());
    }

    #[test]
    fn mapping_and_unmapping_agree_with_a_model(
        steps in prop::collection::vec((0_u64..3, 0_u64..1600, 1_u64..700, any::<bool>()), 1..12)
    ) {
        let mut tables = with_spare(40);
        let mut model = BTreeMap::new();
        for (kind, page, count, aligned) in steps {
            let page = if aligned { page / 512 * 512 } else { page };
            let at = MEMORY + page * PAGE;
            let covered = page..page + count;
            match kind {
                0 => {
                    // Each page is mapped once: what is there goes first.
                    tables.unmap(span(at, count)).unwrap();
                    // A table that was made there stays, so large pages can't come back: don't ask for them.
                    for page in covered {
                        let one = frames(page + 512, page + 513);
                        tables.map(MEMORY + page * PAGE, one, Access::ReadWrite).unwrap();
                        model.insert(page, (page + 512, true));
                    }
                }
                1 => {
                    tables.unmap(span(at, count)).unwrap();
                    model.retain(|page, _| !covered.contains(page));
                }
                _ => {
                    tables.forbid_writing(span(at, count)).unwrap();
                    for (_, writable) in model.range_mut(covered).map(|(_, value)| value) {
                        *writable = false;
                    }
                }
            }
        }
        let walked: BTreeMap<_, _> = walk(&tables)
            .into_iter()
            .map(|page| ((page.address - MEMORY) / PAGE, (page.frame, page.writable)))
            .collect();
        prop_assert_eq!(walked, model);
    }
}
