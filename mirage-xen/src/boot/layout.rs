//! Where things lie: the link script's ranges, and what an address is.

use core::cell::Cell;
use core::fmt;

use super::frames::{FrameRange, Ranges};
use crate::abi::{FrameNumber, PAGE_SIZE};

/// [`PAGE_SIZE`], as addresses are.
pub(crate) const PAGE: u64 = PAGE_SIZE as u64;
/// Bytes that one entry of a page directory covers.
pub(crate) const LARGE_PAGE: u64 = 512 * PAGE;
/// Frames from this one (256 GiB) on are not used: the window of page tables has no room for more directories.
pub(crate) const MAXIMUM_FRAME: FrameNumber = FrameNumber(1 << 26);
/// Pages in the window of foreign pages.
pub(crate) const WINDOW_PAGES: u64 = 256;
/// Tables that the window of page tables has room for; the last place is kept for looking at memory that isn't mapped.
pub(crate) const MAXIMUM_TABLES: u64 = 511;

/// Addresses from `start` up to, not including, `end`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub(crate) struct Span {
    pub(crate) start: u64,
    pub(crate) end: u64,
}

impl Span {
    pub(crate) const fn contains(self, address: u64) -> bool {
        self.start <= address && address < self.end
    }
}

/// What the link script decided: `mirage_layout` in `entry.rs` has the same order.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub(crate) struct Layout {
    /// What an address of the image is more than its physical address.
    pub(crate) image_offset: u64,
    pub(crate) text: Span,
    pub(crate) constants: Span,
    /// `.data` and `.bss`, with `sealed` in it.
    pub(crate) data: Span,
    /// Descriptors and the machine's facts: read-only after `seal`.
    pub(crate) sealed: Span,
    pub(crate) stack: Span,
    pub(crate) exception_stack: Span,
    pub(crate) double_fault_stack: Span,
    /// The page tables that the trampoline takes from. They are mapped in the window at `tables`, not here.
    pub(crate) first_tables: Span,
    /// Physical address zero, in the range that all memory is mapped in.
    pub(crate) memory: u64,
    /// The I/O pages.
    pub(crate) io_pages: u64,
    /// The window of foreign pages.
    pub(crate) io_window: u64,
    /// The window of page tables.
    pub(crate) tables: u64,
}

impl Layout {
    /// The frames of the image, its guard pages and first tables among them.
    pub(crate) fn image_frames(&self) -> FrameRange {
        FrameRange::new(
            self.physical_frame(self.text.start),
            self.physical_frame(self.first_tables.end),
        )
    }

    /// The frames of the first page tables.
    pub(crate) fn first_table_frames(&self) -> FrameRange {
        FrameRange::new(
            self.physical_frame(self.first_tables.start),
            self.physical_frame(self.first_tables.end),
        )
    }

    /// The frame that an address of the image lies in.
    pub(crate) fn physical_frame(&self, address: u64) -> FrameNumber {
        FrameNumber((address - self.image_offset) / PAGE)
    }

    /// The address at which a frame of RAM is mapped, if it is.
    pub(crate) fn memory_address(&self, frame: FrameNumber) -> u64 {
        self.memory + frame.0 * PAGE
    }

    /// The frames that are mapped at these addresses of the range of all memory.
    pub(crate) fn memory_frames(&self, span: Span) -> FrameRange {
        FrameRange::within(span.start - self.memory, span.end - self.memory)
    }

    /// The range that all memory is mapped in.
    pub(crate) fn memory_span(&self) -> Span {
        Span {
            start: self.memory,
            end: self.memory + MAXIMUM_FRAME.0 * PAGE,
        }
    }

    fn is_guard(&self, address: u64, above: Span) -> bool {
        Span {
            start: above.start - PAGE,
            end: above.start,
        }
        .contains(address)
    }
}

/// What an address is, for the report of a fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Region {
    PageZero,
    Text,
    Constants,
    Sealed,
    Data,
    Stack,
    StackGuard,
    ExceptionStack,
    ExceptionStackGuard,
    PageTable,
    Heap,
    Module,
    UnusedMemory,
    IoPage,
    UnusedIo,
    ForeignPage,
    NonCanonical,
    Nothing,
}

impl Region {
    fn name(self) -> &'static str {
        match self {
            Self::PageZero => "page zero",
            Self::Text => "text",
            Self::Constants => "constants",
            Self::Sealed => "sealed data",
            Self::Data => "data",
            Self::Stack => "the stack",
            Self::StackGuard => "the guard page below the stack",
            Self::ExceptionStack => "an exception's stack",
            Self::ExceptionStackGuard => "the guard page below an exception's stack",
            Self::PageTable => "a page table",
            Self::Heap => "heap",
            Self::Module => "a boot module or the command line",
            Self::UnusedMemory => "memory that isn't mapped",
            Self::IoPage => "an I/O page",
            Self::UnusedIo => "the range of I/O pages, where none is",
            Self::ForeignPage => "the window of foreign pages",
            Self::NonCanonical => "no address that this processor has",
            Self::Nothing => "nothing",
        }
    }
}

impl fmt::Display for Region {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The layout, and what the start of the domain added to it.
#[derive(Debug)]
pub(crate) struct AddressSpace {
    pub(crate) layout: Layout,
    /// RAM that is mapped for reading and writing: the heap.
    pub(crate) heap: Ranges,
    /// RAM that is mapped for reading: modules and the command line.
    pub(crate) kept: Ranges,
    /// The frames of the I/O pages, once they were taken from the heap.
    pub(crate) io: Cell<FrameRange>,
    /// All frames that were taken from the heap with them: also those of the tables that map them.
    pub(crate) taken: Cell<FrameRange>,
}

impl AddressSpace {
    /// What lies at `address`.
    pub(crate) fn region(&self, address: u64) -> Region {
        let layout = &self.layout;
        let spans = [
            (layout.text, Region::Text),
            (layout.constants, Region::Constants),
            (layout.sealed, Region::Sealed),
            (layout.data, Region::Data),
            (layout.stack, Region::Stack),
            (layout.exception_stack, Region::ExceptionStack),
            (layout.double_fault_stack, Region::ExceptionStack),
        ];
        if let Some((_, region)) = spans.iter().find(|(span, _)| span.contains(address)) {
            return *region;
        }
        let slot = |start: u64| Span {
            start,
            end: start + (1 << 38),
        };
        if address < PAGE {
            Region::PageZero
        } else if layout.is_guard(address, layout.stack) {
            Region::StackGuard
        } else if layout.is_guard(address, layout.exception_stack)
            || layout.is_guard(address, layout.double_fault_stack)
        {
            Region::ExceptionStackGuard
        } else if layout.memory_span().contains(address) {
            self.region_of_memory(FrameNumber((address - layout.memory) / PAGE))
        } else if (Span {
            start: layout.tables,
            end: layout.tables + LARGE_PAGE,
        })
        .contains(address)
        {
            Region::PageTable
        } else if (Span {
            start: layout.io_window,
            end: layout.io_window + WINDOW_PAGES * PAGE,
        })
        .contains(address)
        {
            Region::ForeignPage
        } else if slot(layout.io_pages).contains(address) {
            if (address - layout.io_pages) / PAGE < self.io.get().count() {
                Region::IoPage
            } else {
                Region::UnusedIo
            }
        } else if (1 << 47..=u64::MAX - (1 << 47)).contains(&address) {
            Region::NonCanonical
        } else {
            Region::Nothing
        }
    }

    fn region_of_memory(&self, frame: FrameNumber) -> Region {
        if self.taken.get().contains(frame) {
            Region::UnusedMemory
        } else if self.heap.contains(frame) {
            Region::Heap
        } else if self.kept.contains(frame) {
            Region::Module
        } else {
            Region::UnusedMemory
        }
    }

    /// The frame that holds the byte at `address`, if that is a byte of ours that another domain may be let at: not one
    /// of a page table, of sealed data or of a stack for exceptions.
    pub(crate) fn frame_number(&self, address: u64) -> Option<FrameNumber> {
        match self.region(address) {
            Region::Text | Region::Constants | Region::Data | Region::Stack => {
                Some(self.layout.physical_frame(address))
            }
            Region::Heap | Region::Module => {
                Some(FrameNumber((address - self.layout.memory) / PAGE))
            }
            Region::IoPage => Some(FrameNumber(
                self.io.get().start().0 + (address - self.layout.io_pages) / PAGE,
            )),
            _ => None,
        }
    }
}

#[cfg(test)]
pub(crate) mod tests;
