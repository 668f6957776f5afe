//! The start of an image, from its first Rust line to its main function.

use core::cell::Cell;
use core::fmt;
use core::ptr;
use core::slice;
use core::str;

use heapless::Vec;
use x86_64::VirtAddr;
use x86_64::instructions::tlb;

use super::exceptions;
use super::frames::FrameRange;
use super::heap::MEMORY;
use super::layout::{AddressSpace, Layout, MAXIMUM_TABLES, PAGE, Span};
use super::memory::{self, MemoryError};
use super::report::refuse;
use super::sealed::Sealed;
use super::start_info::{self, MAXIMUM_MODULES, PhysicalBytes, PhysicalMemory, StartInfoError};
use super::tables::{Access, OutOfTables, TableMemory, Tables, Window as TableWindow};
use super::{Boot, CommandLine, MemorySizes};
use crate::abi::parameter::Parameter;
use crate::abi::shutdown::ShutdownReason;
use crate::abi::{FrameNumber, XenError};
use crate::native::cpu::is_xen;
use crate::native::{Cpu, NativeHypervisor, Window};
use crate::{Hypervisor, native};

unsafe extern "C" {
    /// What the link script decided (`entry.rs`).
    static mirage_layout: Layout;
}

unsafe extern "Rust" {
    /// The appliance's main function, as [`entry!`](crate::entry) defines it.
    fn mirage_main(boot: Boot) -> ShutdownReason;
}

/// The hypervisor, and what is known of the address space.
#[cfg_attr(mirage_image, unsafe(link_section = ".bss.mirage_sealed"))]
pub(crate) static HYPERVISOR: Sealed<NativeHypervisor> = Sealed::new();

/// Tables that the trampoline's own page took: they are free again.
const TRAMPOLINE_TABLES: u64 = 3;

/// Why the domain can't start.
#[derive(Debug)]
enum StartError {
    NoXen,
    StartInfo(StartInfoError),
    Memory(MemoryError),
    OutOfTables,
    Xen(&'static str, XenError),
    CommandLineNotText,
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoXen => f.write_str("this is not Xen"),
            Self::StartInfo(error) => error.fmt(f),
            Self::Memory(error) => error.fmt(f),
            Self::OutOfTables => f.write_str("memory: too few page tables were planned"),
            Self::Xen(what, error) => write!(f, "{what}: {error}"),
            Self::CommandLineNotText => f.write_str("the command line is not UTF-8"),
        }
    }
}

impl From<OutOfTables> for StartError {
    fn from(_: OutOfTables) -> Self {
        Self::OutOfTables
    }
}

/// The first Rust line. The trampoline passes the physical address of the start info, the time stamp counter at its
/// first instruction, and how many of the first tables it used.
#[cfg_attr(
    not(mirage_image),
    expect(dead_code, reason = "an image's entry calls it")
)]
pub(super) extern "C" fn start(start_info: u32, time_stamp: u64, tables: u32) -> ! {
    // SAFETY: `entry.rs` defines it with the fields of `Layout`, all of them numbers.
    let layout = unsafe { (&raw const mirage_layout).read() };
    // SAFETY: the trampoline calls this once.
    unsafe { exceptions::init(&layout) };
    // SAFETY: the trampoline set up what `layout` says.
    match unsafe { begin(layout, start_info, time_stamp, tables) } {
        Ok(boot) => {
            let hypervisor = boot.hypervisor();
            // SAFETY: `entry!` defines it, with this type.
            let reason = unsafe { mirage_main(boot) };
            hypervisor.shutdown(reason);
            native::emergency::end(reason)
        }
        Err(error) => refuse(&error),
    }
}

/// # Safety
///
/// Called once, by `start`, with what the trampoline gave it: the tables map the image as `layout` says and nothing
/// else.
unsafe fn begin(
    layout: Layout,
    start_info: u32,
    time_stamp: u64,
    used_tables: u32,
) -> Result<Boot, StartError> {
    if !is_xen() {
        return Err(StartError::NoXen);
    }
    let cpu = Cpu::detect();
    let first = layout.first_table_frames();
    // SAFETY: the trampoline mapped the first tables in the window at `layout.tables`, and them alone.
    let window = unsafe { TableWindow::new(layout.tables, first) };
    let root = first.start();
    let mut tables = Tables::new(window, root);
    let [trampoline, rest] = {
        let mut frames = FrameRange::new(FrameNumber(root.0 + 1), first.end());
        let trampoline = frames.take_front(TRAMPOLINE_TABLES);
        let used = frames.take_front(u64::from(used_tables) - 1 - TRAMPOLINE_TABLES);
        debug_assert!(used.is_some());
        [trampoline.unwrap_or_default(), frames]
    };
    tables.add_spare(trampoline)?;
    tables.add_spare(rest)?;

    let info = start_info::parse(
        &mut Peek {
            tables: &mut tables,
            shown: None,
        },
        u64::from(start_info),
    )
    .map_err(StartError::StartInfo)?;
    let plan = memory::plan(
        &info,
        layout.image_frames(),
        tables.spare(),
        cpu.physical_address_bits,
    )
    .map_err(StartError::Memory)?;

    // SAFETY: the plan took these frames from RAM for this alone, and they are mapped nowhere.
    unsafe { tables.add_run(plan.tables) }?;
    for range in plan.heap.iter() {
        tables.map(
            layout.memory_address(range.start()),
            range,
            Access::ReadWrite,
        )?;
    }
    for range in plan.kept.iter() {
        tables.map(
            layout.memory_address(range.start()),
            range,
            Access::ReadOnly,
        )?;
    }
    MEMORY.with(|memory| {
        for range in plan.heap.iter() {
            let span = Span {
                start: layout.memory_address(range.start()),
                end: layout.memory_address(range.end()),
            };
            // SAFETY: it was mapped just now, and these frames are nobody else's.
            let added = unsafe { memory.add(span) };
            debug_assert!(added, "both have room for as many ranges");
        }
    });

    let sizes = MemorySizes {
        ram: info.ram.count() * PAGE,
        heap: plan.heap.count() * PAGE,
        unused: plan.unused * PAGE,
    };
    let window = Window::new(
        layout.io_window,
        plan.window.start(),
        toolstack_frame(cpu, Parameter::StoreFrame)?,
        toolstack_frame(cpu, Parameter::ConsoleFrame)?,
    );
    for (address, frames) in window.runs() {
        tables.map(address, frames, Access::ReadWrite)?;
    }
    let command_line = info.command_line.map_or(Ok(""), |bytes| {
        // SAFETY: its frames are mapped for reading, for good, and nobody writes them.
        str::from_utf8(unsafe { kept_bytes(&layout, bytes) })
            .map_err(|_| StartError::CommandLineNotText)
    })?;
    let mut modules = Vec::<_, MAXIMUM_MODULES>::new();
    for bytes in &info.modules {
        // SAFETY: as above.
        let pushed = modules.push(unsafe { kept_bytes(&layout, *bytes) });
        debug_assert!(pushed.is_ok(), "both have room for as many");
    }
    let space = AddressSpace {
        layout,
        heap: plan.heap,
        kept: plan.kept,
        io: Cell::new(FrameRange::default()),
        taken: Cell::new(FrameRange::default()),
    };
    // SAFETY: this is an image on Xen, and the window was mapped just now.
    let hypervisor = unsafe { NativeHypervisor::new(cpu, space, window) }
        .map_err(|error| StartError::Xen("shared info", error))?;
    // SAFETY: called once, and nothing is sealed yet.
    let hypervisor = unsafe { HYPERVISOR.set(hypervisor) };
    Ok(Boot {
        hypervisor,
        foreign_pages: Some(hypervisor.window.free_pages()),
        tables: Some(tables),
        command_line: CommandLine::new(command_line),
        modules,
        sizes,
        time_stamp,
    })
}

/// The frame of a ring that the toolstack made. Zero and all ones: it made none.
fn toolstack_frame(cpu: Cpu, parameter: Parameter) -> Result<Option<FrameNumber>, StartError> {
    let frame = native::parameter(cpu, parameter)
        .map_err(|error| StartError::Xen("the toolstack's parameters", error))?;
    let bits = cpu.physical_address_bits.min(52) - PAGE.trailing_zeros();
    Ok((frame != 0 && frame < 1 << bits).then_some(FrameNumber(frame)))
}

/// # Safety
///
/// The frames of `bytes` are mapped for reading in the range of all memory, for the rest of the program, and never
/// written.
unsafe fn kept_bytes(layout: &Layout, bytes: PhysicalBytes) -> &'static [u8] {
    let address = layout.memory + bytes.address;
    // SAFETY: the bytes are mapped (the caller's promise), initialised by the toolstack, and don't change.
    unsafe {
        slice::from_raw_parts(
            ptr::with_exposed_provenance(address as usize),
            bytes.length as usize,
        )
    }
}

/// Memory that isn't mapped, through the last place of the window of tables.
struct Peek<'a> {
    tables: &'a mut Tables<TableWindow>,
    /// What is mapped there.
    shown: Option<FrameNumber>,
}

impl Peek<'_> {
    /// Maps `frame`. The page's address.
    fn show(&mut self, frame: FrameNumber) -> u64 {
        let address = self.tables.memory.place(MAXIMUM_TABLES);
        if self.shown != Some(frame) {
            let frames = FrameRange::new(frame, FrameNumber(frame.0 + 1));
            // The table for this place has been there since the trampoline.
            let mapped = self.tables.map(address, frames, Access::ReadOnly);
            debug_assert_eq!(mapped, Ok(()));
            tlb::flush(VirtAddr::new(address));
            self.shown = Some(frame);
        }
        address
    }
}

impl PhysicalMemory for Peek<'_> {
    fn read(&mut self, address: u64, into: &mut [u8]) {
        let mut address = address;
        let mut into = into;
        while !into.is_empty() {
            let frame = FrameNumber(address / PAGE);
            let offset = address % PAGE;
            let (piece, rest) = into.split_at_mut(into.len().min((PAGE - offset) as usize));
            // Beyond what an entry can name, there is no memory.
            if frame.0 < 1 << 40 {
                let page = self.show(frame);
                for (byte, at) in piece.iter_mut().zip(page + offset..) {
                    // SAFETY: the page is mapped for reading; reads of a frame where nothing is give ones.
                    *byte =
                        unsafe { ptr::with_exposed_provenance::<u8>(at as usize).read_volatile() };
                }
            }
            address = address.wrapping_add(piece.len() as u64);
            into = rest;
        }
    }
}

impl Drop for Peek<'_> {
    fn drop(&mut self) {
        let start = self.tables.memory.place(MAXIMUM_TABLES);
        let unmapped = self.tables.unmap(Span {
            start,
            end: start + PAGE,
        });
        debug_assert_eq!(unmapped, Ok(()));
        tlb::flush(VirtAddr::new(start));
    }
}
