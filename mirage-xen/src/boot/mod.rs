//! The start of an image: from Xen's entry to the appliance's main function.
//!
//! ```ignore
//! #![no_std]
//! #![no_main]
//! #![forbid(unsafe_code)]
//!
//! use mirage_xen::abi::shutdown::ShutdownReason;
//! use mirage_xen::boot::Boot;
//!
//! mirage_xen::entry!(main);
//!
//! fn main(boot: Boot) -> ShutdownReason {
//!     // …
//!     ShutdownReason::PowerOff
//! }
//! ```
//!
//! # What the memory looks like
//!
//! | what | access | where |
//! | --- | --- | --- |
//! | text | execute, read | the image: at the virtual base that the build drew |
//! | constants | read | the image |
//! | data, stacks | read, write | the image; below each stack is a page that is never mapped |
//! | descriptors, the facts of the machine | read, write; read only after [`Boot::seal`] | the image |
//! | heap | read, write | a range of its own, in which all RAM is at its physical address |
//! | command line, boot modules | read | the same range |
//! | I/O pages | read, write | a range of their own |
//! | Xen's and other domains' pages | read, write | a range of their own |
//! | page tables | read, write; read only after [`Boot::seal`] | a range of their own, and nowhere else |
//!
//! Nothing is ever writable and executable, and nothing else is mapped: not the page at zero, nor the code that
//! entered. Each range lies in slots of the top-level table (512 GiB) of its own. Where, follows from the virtual base:
//! who knows that knows the rest.
//!
//! `CR0.WP`, `EFER.NXE`, and `CR4.SMEP` and `CR4.SMAP` where the processor has them, are set before the first Rust
//! line. `RFLAGS.IF` is never set.
//!
//! # Cost
//!
//! All RAM is mapped at the start, by 2 MiB pages: one more entry for each 2 MiB, one more table for each GiB. The
//! allocator takes it piece by piece, and touches none that it doesn't give out. 4 MiB of RAM are enough for a start
//! (Xen's toolstack must be told to give such a domain's own page tables more than it does by itself:
//! `shadow_memory=4`).
//!
//! # Suspension
//!
//! After a resume in a new domain nothing here is done again but [`Hypervisor::restore`](crate::Hypervisor::restore):
//! the memory, the tables and the frames of the window are as they were.

mod command_line;
mod frames;
#[cfg(any(feature = "fuzzing", test))]
pub(crate) mod fuzzing;
mod heap;
mod layout;
mod memory;
mod report;
mod sealed;
mod start_info;
mod tables;

#[cfg(mirage_image)]
mod entry;
mod exceptions;
mod image;

use core::fmt;
use core::ptr;
use core::slice;

use heapless::Vec;
use x86_64::instructions::tlb;

use crate::native::{ForeignPages, NativeHypervisor};
use layout::PAGE;
use start_info::MAXIMUM_MODULES;
use tables::{Access, TableMemory, Tables, Window};

pub(crate) use frames::FrameRange;
pub(crate) use layout::{AddressSpace, WINDOW_PAGES};

pub use command_line::{CommandLine, Word, Words};
pub use heap::Heap;
pub use report::{panicked, panicked_tersely};

/// Makes a function the appliance's main function: `fn(Boot) -> ShutdownReason`, or `fn(Boot) -> !`.
///
/// Called once, in the binary of an image, which is `#![no_std]` and `#![no_main]`. It also makes the global allocator
/// ([`Heap`](crate::boot::Heap)) and the panic handler, which says what happened and ends the domain with the crash
/// reason. The binary may forbid unsafe code.
///
/// `entry!(main, terse)` has the panic handler leave out the message: a panic says the return addresses on the stack,
/// of which `addr2line` makes lines of sources. The messages of all panics and the names of their files are left out
/// of the image with it: a tenth of a small one.
#[macro_export]
macro_rules! entry {
    ($main:path) => {
        $crate::entry!(@ $main, info, $crate::boot::panicked(info));
    };
    ($main:path, terse) => {
        $crate::entry!(@ $main, _info, $crate::boot::panicked_tersely());
    };
    (@ $main:path, $info:ident, $panicked:expr) => {
        #[global_allocator]
        static MIRAGE_HEAP: $crate::boot::Heap = $crate::boot::Heap::new();

        #[panic_handler]
        fn mirage_panic($info: &::core::panic::PanicInfo<'_>) -> ! {
            $panicked
        }

        #[unsafe(no_mangle)]
        fn mirage_main(boot: $crate::boot::Boot) -> $crate::abi::shutdown::ShutdownReason {
            $main(boot)
        }
    };
}

/// How much memory there is, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct MemorySizes {
    /// RAM, by the toolstack's memory map.
    pub ram: u64,
    /// What the heap may have, before I/O pages are taken from it.
    pub heap: u64,
    /// RAM that lies too high to be used.
    pub unused: u64,
}

/// What an appliance's main function gets: what the toolstack passed, and what can be done once, at the start.
pub struct Boot {
    hypervisor: &'static NativeHypervisor,
    foreign_pages: Option<ForeignPages>,
    tables: Option<Tables<Window>>,
    command_line: CommandLine<'static>,
    modules: Vec<&'static [u8], MAXIMUM_MODULES>,
    sizes: MemorySizes,
    time_stamp: u64,
}

impl Boot {
    /// The hypervisor.
    pub fn hypervisor(&self) -> &'static NativeHypervisor {
        self.hypervisor
    }

    /// The command line. Empty, where the toolstack passed none. At most 4,096 bytes.
    pub fn command_line(&self) -> CommandLine<'static> {
        self.command_line
    }

    /// The boot modules, in the toolstack's order: at most four.
    pub fn modules(&self) -> &[&'static [u8]] {
        &self.modules
    }

    /// How much memory there is.
    pub fn memory_sizes(&self) -> MemorySizes {
        self.sizes
    }

    /// The time stamp counter at the image's first instruction.
    pub fn time_stamp_at_entry(&self) -> u64 {
        self.time_stamp
    }

    /// The window's pages that have no purpose of their own: for grants that are mapped later. `None`, if they were
    /// taken before.
    pub fn take_foreign_pages(&mut self) -> Option<ForeignPages> {
        self.foreign_pages.take()
    }

    /// Takes `count` pages of 4 KiB from the heap: one region, zeroed, in the range of I/O pages. Can be done once.
    ///
    /// # Errors
    ///
    /// See [`TakeError`].
    pub fn take_io_pages(&mut self, count: usize) -> Result<&'static mut [u8], TakeError> {
        let tables = self.tables.as_mut().ok_or(TakeError::Sealed)?;
        let space = &self.hypervisor.space;
        if !space.io.get().is_empty() {
            return Err(TakeError::Taken);
        }
        let layout = &space.layout;
        let pages = count as u64;
        // A table for each 2 MiB, directories and what is above them, and two for large pages of the heap that are
        // broken up.
        let table_count = pages.div_ceil(512) + pages.div_ceil(512 * 512) + 1 + 1 + 2;
        if table_count > tables.memory.room() {
            return Err(TakeError::TooMany);
        }
        let length = pages
            .checked_add(table_count)
            .and_then(|pages| pages.checked_mul(PAGE))
            .ok_or(TakeError::OutOfMemory)?;
        let taken = heap::MEMORY
            .with(|memory| memory.take_back(length))
            .ok_or(TakeError::OutOfMemory)?;
        let mut io = layout.memory_frames(taken);
        space.taken.set(io);
        let for_tables = io.take_front(table_count).unwrap_or_default();
        // SAFETY: the frames were just taken from the heap, which had not given them out. They are still mapped there,
        // and nothing uses that until it is taken out below.
        let mapped = unsafe { tables.add_run(for_tables) }
            .and_then(|()| tables.unmap(taken))
            .and_then(|()| tables.map(layout.io_pages, io, Access::ReadWrite));
        tlb::flush_all();
        mapped.map_err(|_| TakeError::OutOfMemory)?;
        space.io.set(io);
        let address = ptr::with_exposed_provenance_mut::<u8>(layout.io_pages as usize);
        let bytes = count * PAGE as usize;
        // SAFETY: the pages are mapped for reading and writing, for the rest of the program, at an address that nothing
        // else has, and their frames are mapped nowhere else.
        unsafe {
            address.write_bytes(0, bytes);
            Ok(slice::from_raw_parts_mut(address, bytes))
        }
    }

    /// Makes the page tables, the descriptor tables and what is known of the machine read-only, and leaves no way to
    /// write to them. After it nothing can be mapped; Xen's and other domains' pages still appear in their window.
    ///
    /// It stops stray writes, and those of an attacker who controls only data. It doesn't stop code that already
    /// runs privileged instructions of its choice: that can turn `CR0.WP` off or load another `CR3`.
    ///
    /// Calling it again does nothing.
    pub fn seal(&mut self) {
        let Some(tables) = self.tables.take() else {
            return;
        };
        let sealed = tables.seal(self.hypervisor.space.layout.sealed);
        debug_assert!(sealed.is_ok());
        tlb::flush_all();
    }
}

impl fmt::Debug for Boot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Boot")
            .field("command_line", &self.command_line)
            .field("modules", &self.modules.len())
            .field("sizes", &self.sizes)
            .field("sealed", &self.tables.is_none())
            .finish_non_exhaustive()
    }
}

/// Why no I/O pages were given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum TakeError {
    /// They were taken before.
    Taken,
    /// Nothing can be mapped any more.
    Sealed,
    /// More than there are page tables for: about a hundred thousand.
    TooMany,
    /// No range of free memory is so long.
    OutOfMemory,
}

impl fmt::Display for TakeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Taken => "the I/O pages were taken before",
            Self::Sealed => "the page tables are sealed",
            Self::TooMany => "more I/O pages than there are page tables for",
            Self::OutOfMemory => "no range of free memory is long enough for the I/O pages",
        })
    }
}

impl core::error::Error for TakeError {}
