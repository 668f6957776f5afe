//! Page tables in a map, and a walk that tells everything they map.

use std::collections::BTreeMap;
use std::vec;
use std::vec::Vec;

use x86_64::PhysAddr;
use x86_64::structures::paging::PageTableFlags;
use x86_64::structures::paging::page_table::PageTableEntry;

use super::{TableMemory, Tables, frame_of, index};
use crate::abi::FrameNumber;
use crate::boot::frames::FrameRange;
use crate::boot::layout::PAGE;

/// Tables by their frames. One that was never given for tables is not reached: that is a panic, as in an image.
#[derive(Debug, Default)]
pub(crate) struct SimulatedTables {
    tables: BTreeMap<u64, Vec<PageTableEntry>>,
    shown: Vec<FrameRange>,
    window: u64,
}

/// A page of 4 KiB that is mapped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Mapping {
    pub(crate) address: u64,
    pub(crate) frame: u64,
    pub(crate) writable: bool,
    pub(crate) executable: bool,
}

impl SimulatedTables {
    /// Tables in `first`, shown in the window at `window` as the trampoline maps them, the first of them the top-level
    /// one. Returns them with what is left of `first`.
    pub(crate) fn trampoline(window: u64, first: FrameRange) -> Tables<Self> {
        let mut memory = Self {
            window,
            ..Self::default()
        };
        // SAFETY: there is no memory to reach.
        assert!(unsafe { memory.add(first) });
        let mut tables = Tables::new(memory, first.start());
        let rest = FrameRange::new(FrameNumber(first.start().0 + 1), first.end());
        tables.memory.clear(first.start());
        tables.add_spare(rest).unwrap();
        tables.map(window, first, super::Access::ReadWrite).unwrap();
        tables
    }

    /// Everything that is mapped, in ascending order.
    pub(crate) fn walk(&self, root: FrameNumber) -> Vec<Mapping> {
        let mut mappings = Vec::new();
        self.descend(root, 4, 0, (true, true), &mut mappings);
        mappings
    }

    fn descend(
        &self,
        table: FrameNumber,
        level: u32,
        base: u64,
        (writable, executable): (bool, bool),
        mappings: &mut Vec<Mapping>,
    ) {
        let size = PAGE << (9 * (level - 1));
        for place in 0..512 {
            let entry = self.entry(table, place);
            let flags = entry.flags();
            if !flags.contains(PageTableFlags::PRESENT) {
                continue;
            }
            let address = base + place as u64 * size;
            assert_eq!(index(address, level), place);
            let rights = (
                writable && flags.contains(PageTableFlags::WRITABLE),
                executable && !flags.contains(PageTableFlags::NO_EXECUTE),
            );
            let page = level == 1 || flags.contains(PageTableFlags::HUGE_PAGE);
            if !page {
                self.descend(frame_of(&entry), level - 1, address, rights, mappings);
                continue;
            }
            assert!(level <= 2, "pages of 1 GiB are not used");
            let frame = entry.addr().as_u64() / PAGE;
            assert!(
                frame.is_multiple_of(size / PAGE),
                "a large page's frame is not aligned"
            );
            mappings.extend((0..size / PAGE).map(|page| Mapping {
                address: address + page * PAGE,
                frame: frame + page,
                writable: rights.0,
                executable: rights.1,
            }));
        }
    }

    /// Whether the frame was given for tables.
    pub(crate) fn is_table(&self, frame: u64) -> bool {
        self.shown
            .iter()
            .any(|range| range.contains(FrameNumber(frame)))
    }
}

impl TableMemory for SimulatedTables {
    fn place(&self, place: u64) -> u64 {
        self.window + place * PAGE
    }

    fn count(&self) -> u64 {
        self.shown.iter().map(|range| range.count()).sum()
    }

    unsafe fn add(&mut self, frames: FrameRange) -> bool {
        if frames.count() > self.room() {
            return false;
        }
        // What a frame held before is anything.
        for frame in frames.iter() {
            let mut garbage = PageTableEntry::new();
            garbage.set_addr(PhysAddr::new(0xABC_D000), PageTableFlags::all());
            self.tables.insert(frame.0, vec![garbage; 512]);
        }
        self.shown.push(frames);
        true
    }

    fn clear(&mut self, table: FrameNumber) {
        self.tables
            .insert(table.0, vec![PageTableEntry::new(); 512]);
    }

    fn entry(&self, table: FrameNumber, index: usize) -> PageTableEntry {
        self.tables[&table.0][index].clone()
    }

    fn set_entries(
        &mut self,
        table: FrameNumber,
        index: usize,
        entries: impl IntoIterator<Item = PageTableEntry>,
    ) {
        let table = self.tables.get_mut(&table.0).expect("a frame for tables");
        for (place, entry) in (index..).zip(entries) {
            table[place] = entry;
        }
    }
}
