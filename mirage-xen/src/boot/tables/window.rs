//! The real tables, reached through their window in the address space.

use core::ptr;

use x86_64::structures::paging::page_table::PageTableEntry;

use super::TableMemory;
use crate::abi::FrameNumber;
use crate::boot::frames::FrameRange;
use crate::boot::layout::PAGE;

/// Where tables are mapped: 2 MiB of address space, one page a table, in the order in which frames were added.
pub(crate) struct Window {
    address: u64,
    runs: heapless::Vec<FrameRange, 4>,
}

impl Window {
    /// The window at `address`, which shows `first` from its beginning.
    ///
    /// # Safety
    ///
    /// The frames of `first` are mapped there, writable and nowhere else, hold page tables or zeros, and this is the
    /// only thing that reaches them. `address` is 2 MiB-aligned.
    pub(crate) unsafe fn new(address: u64, first: FrameRange) -> Self {
        let mut runs = heapless::Vec::new();
        let pushed = runs.push(first);
        debug_assert!(pushed.is_ok());
        Self { address, runs }
    }

    fn pointer(&self, table: FrameNumber, index: usize) -> *mut PageTableEntry {
        let mut place = 0;
        for run in &self.runs {
            if run.contains(table) {
                place += table.0 - run.start().0;
                let address = self.place(place) + index as u64 * size_of::<PageTableEntry>() as u64;
                return ptr::with_exposed_provenance_mut(address as usize);
            }
            place += run.count();
        }
        unreachable!("a table is a frame that was given for tables")
    }
}

impl TableMemory for Window {
    fn place(&self, place: u64) -> u64 {
        self.address + place * PAGE
    }

    fn count(&self) -> u64 {
        self.runs.iter().map(|run| run.count()).sum()
    }

    unsafe fn add(&mut self, frames: FrameRange) -> bool {
        frames.count() <= self.room() && self.runs.push(frames).is_ok()
    }

    fn clear(&mut self, table: FrameNumber) {
        // SAFETY: the page shows `table` (promised to `new` and `add`) and holds 512 entries. The processor doesn't
        // look at it: it isn't in use.
        unsafe { self.pointer(table, 0).write_bytes(0, 512) };
    }

    fn entry(&self, table: FrameNumber, index: usize) -> PageTableEntry {
        assert!(index < 512);
        // SAFETY: the pointer is into the page that shows `table`, which is mapped (promised to `new` and `add`) and
        // holds 512 entries; `index` was checked. The processor may set bits of the entry meanwhile: the read is
        // volatile.
        unsafe { self.pointer(table, index).read_volatile() }
    }

    fn set_entries(
        &mut self,
        table: FrameNumber,
        index: usize,
        entries: impl IntoIterator<Item = PageTableEntry>,
    ) {
        let pointer = self.pointer(table, 0);
        for (place, entry) in (index..512).zip(entries) {
            // SAFETY: as above, and `place` is below 512. The page is writable until the tables are sealed, after which
            // this type is gone.
            unsafe { pointer.add(place).write_volatile(entry) }
        }
    }
}
