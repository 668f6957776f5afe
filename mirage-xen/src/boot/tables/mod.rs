//! Page tables: four levels, 4 KiB and 2 MiB pages, nothing that is writable and executable.

#[cfg(test)]
mod simulated;
#[cfg(test)]
mod tests;
mod window;

use x86_64::PhysAddr;
use x86_64::structures::paging::PageTableFlags;
use x86_64::structures::paging::page_table::PageTableEntry;

use super::frames::{FrameRange, Ranges};
use super::layout::{LARGE_PAGE, MAXIMUM_TABLES, PAGE, Span};
use crate::abi::FrameNumber;

#[cfg(test)]
pub(crate) use simulated::SimulatedTables;
pub(crate) use window::Window;

/// How tables are reached: each of them through one page of a window, in the order in which their frames were added. An
/// entry is read and written whole: the processor sets bits in it.
pub(crate) trait TableMemory {
    /// The address of a place in the window.
    fn place(&self, place: u64) -> u64;

    /// How many tables the window shows.
    fn count(&self) -> u64;

    /// How many more it has room for.
    fn room(&self) -> u64 {
        MAXIMUM_TABLES - self.count()
    }

    /// Says that `frames` are shown from the first free place on. `false`: there is no room for them.
    ///
    /// # Safety
    ///
    /// They are, writable, and nothing else reaches them any more.
    unsafe fn add(&mut self, frames: FrameRange) -> bool;

    /// Writes zeros over a table that is not in use.
    fn clear(&mut self, table: FrameNumber);

    fn entry(&self, table: FrameNumber, index: usize) -> PageTableEntry;
    fn set_entry(&mut self, table: FrameNumber, index: usize, entry: PageTableEntry) {
        self.set_entries(table, index, [entry]);
    }
    /// As many as there are, from `index` on.
    fn set_entries(
        &mut self,
        table: FrameNumber,
        index: usize,
        entries: impl IntoIterator<Item = PageTableEntry>,
    );
}

/// What a page may be used for. None that is made here is executable: text is mapped by the trampoline.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Access {
    ReadOnly,
    ReadWrite,
}

impl Access {
    fn flags(self) -> PageTableFlags {
        let read = PageTableFlags::PRESENT | PageTableFlags::NO_EXECUTE;
        match self {
            Self::ReadOnly => read,
            Self::ReadWrite => read | PageTableFlags::WRITABLE,
        }
    }
}

/// No frame is left for another table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct OutOfTables;

/// The tables, and the frames for more of them.
pub(crate) struct Tables<M> {
    pub(crate) memory: M,
    root: FrameNumber,
    /// Frames for tables, zeroed, that the window shows.
    spare: heapless::Vec<FrameRange, 4>,
}

/// The bit of an address at which the index into a page table of the first level begins.
const PAGE_SHIFT: u32 = 12;
/// Bits that an index has.
const INDEX_BITS: u32 = 9;

fn index(address: u64, level: u32) -> usize {
    (address >> (PAGE_SHIFT + INDEX_BITS * (level - 1))) as usize & 511
}

impl<M: TableMemory> Tables<M> {
    /// The tables below the top-level table `root`.
    pub(crate) fn new(memory: M, root: FrameNumber) -> Self {
        Self {
            memory,
            root,
            spare: heapless::Vec::new(),
        }
    }

    /// Gives frames for more tables. The window shows them, and they are not in use.
    pub(crate) fn add_spare(&mut self, frames: FrameRange) -> Result<(), OutOfTables> {
        for table in frames.iter() {
            self.memory.clear(table);
        }
        self.spare.retain(|range| !range.is_empty());
        self.spare.push(frames).map_err(|_| OutOfTables)
    }

    /// Shows `frames` in the window and gives them to the tables.
    ///
    /// # Safety
    ///
    /// Nothing reaches them any more through another address.
    pub(crate) unsafe fn add_run(&mut self, frames: FrameRange) -> Result<(), OutOfTables> {
        let place = self.memory.count();
        if frames.count() > self.memory.room() {
            return Err(OutOfTables);
        }
        // The window's own table has been there since the trampoline.
        self.map(self.memory.place(place), frames, Access::ReadWrite)?;
        // SAFETY: they were mapped just now; the rest is the caller's promise.
        if !unsafe { self.memory.add(frames) } {
            return Err(OutOfTables);
        }
        self.add_spare(frames)
    }

    /// Takes the right to write away from the pages of `also` and from all tables. The processor forgets what it
    /// remembers of that right when the caller flushes it.
    pub(crate) fn seal(mut self, also: Span) -> Result<M, OutOfTables> {
        self.forbid_writing(also)?;
        let start = self.memory.place(0);
        let end = self.memory.place(self.memory.count());
        let Some((own, _)) = self.find(start) else {
            return Err(OutOfTables);
        };
        // The table that holds these entries loses its own last: the right to write to it is needed until then.
        let mut own_page = None;
        for page in (start..end).step_by(PAGE as usize) {
            let shown = self.memory.entry(own, index(page, 1));
            if frame_of(&shown) == own {
                own_page = Some(page);
                continue;
            }
            self.forbid_writing(Span {
                start: page,
                end: page + PAGE,
            })?;
        }
        let page = own_page.ok_or(OutOfTables)?;
        self.forbid_writing(Span {
            start: page,
            end: page + PAGE,
        })?;
        Ok(self.memory)
    }

    /// How many frames for tables are left.
    pub(crate) fn spare(&self) -> u64 {
        self.spare.iter().map(|range| range.count()).sum()
    }

    /// Maps `frames` at `address`, by 2 MiB pages where both are aligned to it. What was mapped there is replaced.
    pub(crate) fn map(
        &mut self,
        address: u64,
        frames: FrameRange,
        access: Access,
    ) -> Result<(), OutOfTables> {
        let mut address = address;
        let mut frames = frames;
        while !frames.is_empty() {
            let physical = frames.start().0 * PAGE;
            let large = (address | physical).is_multiple_of(LARGE_PAGE)
                && frames.count() >= LARGE_PAGE / PAGE;
            let (level, size, flags) = if large {
                (2, LARGE_PAGE, access.flags() | PageTableFlags::HUGE_PAGE)
            } else {
                (1, PAGE, access.flags())
            };
            let table = self.table_for(address, level)?;
            let first = index(address, level);
            // All that are alike in this table: small pages up to where a large one may begin, which is its end.
            let pages = (512 - first as u64).min(frames.count() / (size / PAGE));
            let entries = (0..pages).map(|page| entry(physical + page * size, flags));
            self.memory.set_entries(table, first, entries);
            address += pages * size;
            let mapped = frames.take_front(pages * (size / PAGE));
            debug_assert!(mapped.is_some());
        }
        Ok(())
    }

    /// Takes the pages of `span` out. A 2 MiB page that reaches over its end is split.
    pub(crate) fn unmap(&mut self, span: Span) -> Result<(), OutOfTables> {
        self.change(span, |entry| entry.set_unused())
    }

    /// Takes the right to write away from the pages of `span`. A 2 MiB page that reaches over its end is split.
    pub(crate) fn forbid_writing(&mut self, span: Span) -> Result<(), OutOfTables> {
        self.change(span, |entry| {
            let flags = entry.flags();
            entry.set_flags(flags - PageTableFlags::WRITABLE);
        })
    }

    fn change(
        &mut self,
        span: Span,
        mut change: impl FnMut(&mut PageTableEntry),
    ) -> Result<(), OutOfTables> {
        let mut address = span.start;
        while address < span.end {
            let Some((table, level)) = self.find(address) else {
                // Nothing is mapped in this page.
                address = (address & !(PAGE - 1)) + PAGE;
                continue;
            };
            let whole = address.is_multiple_of(LARGE_PAGE) && span.end - address >= LARGE_PAGE;
            if level == 2 && !whole {
                self.table_for(address, 1)?;
                continue;
            }
            let place = index(address, level);
            let mut entry = self.memory.entry(table, place);
            change(&mut entry);
            self.memory.set_entry(table, place, entry);
            address += if level == 2 { LARGE_PAGE } else { PAGE };
        }
        Ok(())
    }

    /// The table that holds the entry of the page at `address`, and its level: 1, or 2 for a 2 MiB page.
    fn find(&self, address: u64) -> Option<(FrameNumber, u32)> {
        let mut table = self.root;
        for level in (1..=4).rev() {
            let entry = self.memory.entry(table, index(address, level));
            let flags = entry.flags();
            if !flags.contains(PageTableFlags::PRESENT) {
                return None;
            }
            if level == 1 || flags.contains(PageTableFlags::HUGE_PAGE) {
                return Some((table, level));
            }
            table = frame_of(&entry);
        }
        None
    }

    /// The table of `level` for `address`. Those above it are made where they are missing, and a 2 MiB page in
    /// the way is split into pages with the same rights.
    fn table_for(&mut self, address: u64, level: u32) -> Result<FrameNumber, OutOfTables> {
        let mut table = self.root;
        for above in (level + 1..=4).rev() {
            let place = index(address, above);
            let held = self.memory.entry(table, place);
            let flags = held.flags();
            if flags.contains(PageTableFlags::PRESENT) && !flags.contains(PageTableFlags::HUGE_PAGE)
            {
                table = frame_of(&held);
                continue;
            }
            let below = self.take_spare()?;
            if flags.contains(PageTableFlags::HUGE_PAGE) {
                let rights = flags - PageTableFlags::HUGE_PAGE;
                let physical = held.addr().as_u64();
                let pages = (0..512).map(|page| entry(physical + page * PAGE, rights));
                self.memory.set_entries(below, 0, pages);
            }
            // The page's own entry decides.
            let pass = PageTableFlags::PRESENT | PageTableFlags::WRITABLE;
            self.memory
                .set_entry(table, place, entry(below.0 * PAGE, pass));
            table = below;
        }
        Ok(table)
    }

    fn take_spare(&mut self) -> Result<FrameNumber, OutOfTables> {
        let taken = self.spare.iter_mut().find_map(|range| range.take_front(1));
        taken.map(FrameRange::start).ok_or(OutOfTables)
    }
}

fn entry(physical: u64, flags: PageTableFlags) -> PageTableEntry {
    let mut entry = PageTableEntry::new();
    entry.set_addr(PhysAddr::new_truncate(physical), flags);
    entry
}

fn frame_of(entry: &PageTableEntry) -> FrameNumber {
    FrameNumber(entry.addr().as_u64() / PAGE)
}

/// How many tables below the top-level one [`Tables::map`] needs for all of `heap` and `kept`, each at its own physical
/// address in a range that begins at a slot of the top-level table: exactly as many.
pub(crate) fn tables_for(heap: &Ranges, kept: &Ranges) -> u64 {
    const FRAMES_OF_TABLE: u64 = 512;
    const FRAMES_OF_DIRECTORY: u64 = 512 * 512;
    let (mut heap, mut kept) = (heap.iter().peekable(), kept.iter().peekable());
    // In ascending order of both.
    let ranges = core::iter::from_fn(|| match (heap.peek(), kept.peek()) {
        (Some(first), Some(second)) if second.start().0 < first.start().0 => kept.next(),
        (None, _) => kept.next(),
        (Some(_), _) => heap.next(),
    });
    let mut count = 0;
    // The first directory and the first table that were not counted yet.
    let (mut next_directory, mut next_table) = (0, 0);
    for range in ranges {
        // The one above all directories.
        count = count.max(1);
        let (start, end) = (range.start().0, range.end().0);
        let first = (start / FRAMES_OF_DIRECTORY).max(next_directory);
        next_directory = end.div_ceil(FRAMES_OF_DIRECTORY);
        count += next_directory - first;
        // Only where a range covers a part of what a table maps is there a table.
        let (first, last) = (start / FRAMES_OF_TABLE, (end - 1) / FRAMES_OF_TABLE);
        let begins_within = !start.is_multiple_of(FRAMES_OF_TABLE);
        let ends_within = !end.is_multiple_of(FRAMES_OF_TABLE);
        for (partly, table) in [
            (begins_within || (ends_within && first == last), first),
            (ends_within, last),
        ] {
            if partly && table >= next_table {
                count += 1;
                next_table = table + 1;
            }
        }
    }
    count
}
