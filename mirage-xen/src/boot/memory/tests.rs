use std::vec::Vec;

use proptest::prelude::*;

use super::*;
use crate::boot::layout::MAXIMUM_TABLES;
use crate::boot::tables::{Access, SimulatedTables, TableMemory};

/// Where memory, the window of tables and the window of foreign pages are here.
const MEMORY: u64 = 129 << 39;
const TABLES: u64 = 225 << 39;
const WINDOW: u64 = (193 << 39) + (1 << 38);
const PAGE: u64 = 4096;

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

/// A domain as the toolstack makes it, with this many bytes of RAM.
fn domain(ram: u64) -> StartInfo {
    const MMIO: u64 = 0xFC00_0000;
    let low = (0, ram.min(MMIO) / PAGE);
    let high = (1 << 20, (1 << 20) + ram.saturating_sub(MMIO) / PAGE);
    let ram = ranges(&[low, high]);
    StartInfo {
        claimed: ranges(&[low, high, (0xF_C000, 0xF_C009), (0xF_EFF8, 0xF_F000)]),
        ram,
        command_line: Some(PhysicalBytes {
            address: 0x13_5038,
            length: 20,
        }),
        modules: heapless::Vec::new(),
    }
}

/// 200 KiB at 1 MiB, behind the trampoline's page.
const IMAGE: (u64, u64) = (0x101, 0x133);

fn image() -> FrameRange {
    frames(IMAGE.0, IMAGE.1)
}

const MIB: u64 = 1 << 20;

#[test]
fn four_mebibytes_are_enough() {
    let plan = plan(&domain(4 * MIB), image(), 5, 40).unwrap();
    // The heap has all but the first page, the image, the page of the command line and a few tables.
    let rest = 1024 - 1 - (IMAGE.1 - IMAGE.0) - 1 - plan.tables.count();
    assert_eq!(plan.heap.count(), rest);
    assert!(plan.tables.count() <= 2, "{:?}", plan.tables);
    assert_eq!(plan.window.start(), FrameNumber(1024));
    assert_eq!(plan.unused, 0);
}

#[test]
fn a_thousand_times_the_memory_takes_a_table_a_gibibyte_more() {
    let small = plan(&domain(64 * MIB), image(), 0, 40).unwrap();
    let large = plan(&domain(1024 * MIB), image(), 0, 40).unwrap();
    let huge = plan(&domain(65_536 * MIB), image(), 0, 40).unwrap();
    assert_eq!(large.tables.count(), small.tables.count());
    // The hole below 4 GiB begins within a large page's worth of directories.
    assert!(huge.tables.count() <= small.tables.count() + 64 + 1);
}

#[test]
fn the_window_is_where_the_memory_map_has_nothing() {
    for (ram, first) in [
        (64 * MIB, 0x4000),
        (0xFC00_0000, 1 << 20),
        (5 << 30, (1 << 20) + (5 << 18) - 0xF_C000),
    ] {
        let domain = domain(ram);
        let plan = plan(&domain, image(), 0, 40).unwrap();
        assert!(plan.window.start().0 >= first, "{:x?}", plan.window);
        assert!(plan.window.start().0 < first + 512, "{:x?}", plan.window);
        assert_eq!(plan.window.count(), WINDOW_PAGES);
        assert!(
            !domain
                .claimed
                .iter()
                .any(|range| range.overlaps(plan.window))
        );
    }
    // Physical addresses that end at 4 GiB leave no room.
    let full = plan(&domain(0xFC00_0000), image(), 0, 32);
    assert_eq!(full, Err(MemoryError::NoWindow));
}

#[test]
fn what_lies_in_the_image_is_refused() {
    let mut domain = domain(64 * MIB);
    let bytes = PhysicalBytes {
        address: IMAGE.0 * PAGE,
        length: 1,
    };
    domain.command_line = Some(bytes);
    assert_eq!(
        plan(&domain, image(), 0, 40),
        Err(MemoryError::InImage(bytes))
    );
    let outside = frames(0x101, 0x5000);
    assert_eq!(
        plan(&domain, outside, 0, 40),
        Err(MemoryError::ImageOutside)
    );
}

#[test]
fn memory_that_no_directory_is_left_for_is_counted_not_used() {
    let plan = plan(&domain(300 << 30), image(), 0, 46).unwrap();
    let over = 300 * (1 << 18) + (1 << 20) - 0xF_C000 - MAXIMUM_FRAME.0;
    assert_eq!(plan.unused, over);
    assert!(plan.tables.count() <= MAXIMUM_TABLES - 64);
}

#[test]
fn a_domain_without_room_for_tables_is_refused() {
    let mut domain = domain(64 * MIB);
    domain.ram = ranges(&[IMAGE]);
    domain.command_line = None;
    assert_eq!(plan(&domain, image(), 0, 40), Err(MemoryError::TooLittle));
}

proptest! {
    /// The whole start on simulated tables: the plan's tables suffice, and nothing is mapped but what should be.
    #[test]
    fn each_frame_is_mapped_as_the_plan_says(
        pages in 0x140_u64..0x8000,
        spare in 0_u64..12,
        modules in prop::collection::vec((0x136_u64..0x8000, 1_u64..2000), 0..4),
        hole in prop::option::of((0x140_u64..0x8000, 1_u64..600)),
    ) {
        let mut domain = domain(pages * PAGE);
        if let Some((start, count)) = hole {
            domain.ram.remove(frames(start, start + count)).unwrap();
        }
        domain.modules = modules
            .iter()
            .map(|(start, count)| PhysicalBytes { address: start * PAGE, length: count * PAGE })
            .filter(|bytes| domain.ram.iter().any(|range| range.covers(bytes.frames())))
            .collect();
        let Ok(plan) = plan(&domain, image(), spare, 40) else {
            // Modules may leave nothing.
            return Ok(());
        };
        let first = frames(1 << 30, (1 << 30) + 4 + spare);
        let mut tables = SimulatedTables::trampoline(TABLES, first);
        prop_assert_eq!(tables.spare(), spare);
        // SAFETY: there is no memory to reach.
        prop_assert_eq!(unsafe { tables.add_run(plan.tables) }, Ok(()));
        for (ranges, access) in [(&plan.heap, Access::ReadWrite), (&plan.kept, Access::ReadOnly)] {
            for range in ranges.iter() {
                prop_assert_eq!(tables.map(MEMORY + range.start().0 * PAGE, range, access), Ok(()));
            }
        }
        prop_assert_eq!(tables.map(WINDOW, plan.window, Access::ReadWrite), Ok(()));
        let mappings: Vec<_> = tables.memory.walk(first.start());
        let mut mapped = 0;
        for page in mappings {
            prop_assert!(!page.executable);
            let frame = FrameNumber(page.frame);
            let table = tables.memory.is_table(page.frame);
            prop_assert_eq!(table, (TABLES..TABLES + (1 << 21)).contains(&page.address));
            if page.address < WINDOW {
                mapped += 1;
                prop_assert!(domain.ram.contains(frame) && !image().contains(frame) && page.frame != 0);
                prop_assert_eq!(page.writable, plan.heap.contains(frame));
                prop_assert_eq!(page.writable, !plan.kept.contains(frame));
            }
        }
        prop_assert_eq!(mapped, plan.heap.count() + plan.kept.count());
        let rest = domain.ram.count() - 1 - image().count() - plan.tables.count();
        prop_assert_eq!(mapped, rest);
        prop_assert!(tables.memory.count() <= MAXIMUM_TABLES);
    }
}
