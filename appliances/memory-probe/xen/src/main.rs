//! Tries one thing that the memory of an image must forbid, and should not live to tell.
#![no_std]
#![no_main]

extern crate alloc;

use alloc::vec;
use core::arch::x86_64::{__cpuid, __cpuid_count};
use core::arch::{asm, global_asm};
use core::cell::UnsafeCell;
use core::fmt::{self, Write};
use core::hint::black_box;
use core::ptr;

use memory_probe::Probe;
use mirage_xen::abi::PAGE_SIZE;
use mirage_xen::abi::shutdown::ShutdownReason;
use mirage_xen::boot::Boot;
use mirage_xen::native::NativeHypervisor;
use mirage_xen::{Hypervisor, abi};

mirage_xen::entry!(main);

// Where the link script put things.
global_asm!(
    r#"
.section .rodata.memory_probe_places, "a", @progbits
.balign 8
.globl memory_probe_places
memory_probe_places:
    .quad mirage_tables, mirage_memory, mirage_first_tables, mirage_first_tables_physical, mirage_sealed_start
.text
"#
);

#[derive(Clone, Copy)]
#[repr(C)]
struct Places {
    tables: usize,
    memory: usize,
    first_tables: usize,
    first_tables_physical: usize,
    sealed: usize,
}

unsafe extern "C" {
    static memory_probe_places: Places;
}

fn places() -> Places {
    // SAFETY: the assembler above defines it so.
    unsafe { (&raw const memory_probe_places).read() }
}

/// `ret`.
const RETURN: u8 = 0xC3;
const IO_PAGES: usize = 16;

static CONSTANT: [u8; 64] = [7; 64];

struct Variable(UnsafeCell<[u8; 64]>);

// SAFETY: there is one thread.
unsafe impl Sync for Variable {}

static VARIABLE: Variable = Variable(UnsafeCell::new([RETURN; 64]));

fn main(mut boot: Boot) -> ShutdownReason {
    let hypervisor = boot.hypervisor();
    let mut log = Log(hypervisor);
    let entered = boot.time_stamp_at_entry();
    let now = hypervisor.time_stamp_counter();
    let sizes = boot.memory_sizes();
    let _ = writeln!(
        log,
        "memory-probe: {} ticks from entry to main",
        now - entered
    );
    let _ = writeln!(log, "memory-probe: {sizes:?}");
    let line = boot.command_line();
    for module in boot.modules() {
        let sum = module
            .iter()
            .fold(0_u32, |sum, byte| sum.rotate_left(1) ^ u32::from(*byte));
        let _ = writeln!(
            log,
            "memory-probe: a module of {} bytes, sum {sum:#010x}",
            module.len()
        );
    }
    let name = line.value("probe").unwrap_or(Probe::Allowed.name());
    let Some(probe) = Probe::from_name(name) else {
        let _ = writeln!(log, "memory-probe: there is no probe {name:?}");
        return ShutdownReason::Crash;
    };
    let io = match boot.take_io_pages(IO_PAGES) {
        Ok(io) => io,
        Err(error) => {
            let _ = writeln!(log, "memory-probe: {error}");
            return ShutdownReason::Crash;
        }
    };
    // Until then they are writable: else it would prove nothing that they aren't later.
    touch(places().tables);
    touch(places().sealed);
    boot.seal();
    let _ = writeln!(log, "memory-probe: tries {probe}");
    match attempt(probe, io, line.as_str(), hypervisor) {
        Ok(()) => ShutdownReason::PowerOff,
        Err(what) => {
            let _ = writeln!(log, "memory-probe: FAILED: {what}");
            ShutdownReason::Crash
        }
    }
}

fn attempt(
    probe: Probe,
    io: &'static mut [u8],
    command_line: &'static str,
    hypervisor: &'static NativeHypervisor,
) -> Result<(), &'static str> {
    let places = places();
    let physical = places.first_tables_physical;
    let io_frame = hypervisor
        .frame_number(ptr::NonNull::from(&io[0]))
        .ok_or("an I/O page has no frame")?;
    match probe {
        Probe::Allowed => return allowed(io, hypervisor),
        Probe::WriteText => write(attempt as fn(_, _, _, _) -> _ as usize),
        Probe::WriteConstants => write(CONSTANT.as_ptr().addr()),
        Probe::WriteCommandLine => write(command_line.as_ptr().addr()),
        Probe::RunHeap => {
            let code = vec![RETURN; 64];
            run(black_box(&code).as_ptr().addr());
        }
        Probe::RunIo => {
            io[0] = RETURN;
            run(io.as_ptr().addr());
        }
        Probe::RunStack => {
            let code = [RETURN; 64];
            run(black_box(&code).as_ptr().addr());
        }
        Probe::RunData => run(VARIABLE.0.get().addr()),
        Probe::ReadPageZero => read(8),
        Probe::WritePageZero => write(8),
        Probe::RunPageZero => run(0),
        Probe::OverflowStack => {
            overflow(&[0; 512], black_box(usize::MAX));
        }
        Probe::WritePageTable => write(places.tables),
        Probe::WritePageTableInMemory => write(places.memory + physical),
        Probe::WritePageTableInImage => write(places.first_tables),
        Probe::WriteDescriptors => write(places.sealed),
        Probe::WriteBehindIo => write(io.as_ptr_range().end.addr()),
        Probe::WriteIoInMemory => write(places.memory + io_frame.0 as usize * PAGE_SIZE),
        Probe::ReadTrampoline => read(0x10_0000),
        // SAFETY: the handler doesn't return.
        Probe::InvalidOpcode => unsafe { asm!("ud2") },
        Probe::NonCanonical => read(1 << 63),
        // SAFETY: the handler doesn't return.
        Probe::LoseStack => unsafe { asm!("mov rsp, 64", "push rax", options(noreturn)) },
        Probe::Panic => panic!("as it was told"),
        Probe::FaultInReport => panic!("{}", Faulty),
        _ => return Err("the main doesn't know this probe"),
    }
    Err("it was not stopped")
}

fn write(address: usize) {
    // SAFETY: it is meant to fail.
    unsafe {
        asm!("mov byte ptr [{0}], 0", in(reg) address);
    }
}

/// Writes the byte that is there.
fn touch(address: usize) {
    // SAFETY: the byte is mapped for reading and writing and stays the same.
    unsafe {
        asm!("mov {1}, [{0}]", "mov [{0}], {1}", in(reg) address, out(reg_byte) _);
    }
}

fn read(address: usize) {
    // SAFETY: it is meant to fail, and what it reads isn't used.
    unsafe {
        asm!("mov al, [{0}]", in(reg) address, out("al") _);
    }
}

fn run(address: usize) {
    // SAFETY: it is meant to fail. The bytes there are an instruction that returns.
    unsafe {
        asm!("call {0}", in(reg) address, clobber_abi("C"));
    }
}

fn overflow(outer: &[u8; 512], depth: usize) -> u8 {
    if depth == 0 {
        return outer[0];
    }
    let inner = black_box([outer[0].wrapping_add(1); 512]);
    let place = overflow(&inner, depth - 1);
    black_box(inner)[usize::from(place)]
}

/// Can't be displayed.
struct Faulty;

impl fmt::Display for Faulty {
    fn fmt(&self, _: &mut fmt::Formatter<'_>) -> fmt::Result {
        write(8);
        Ok(())
    }
}

/// What guards memory and keeps interrupts away is on (AMD64 manual, volume 2, chapters 3 and 5).
fn registers(log: &mut Log) -> Result<(), &'static str> {
    let (cr0, cr4, flags, efer): (u64, u64, u64, u32);
    // SAFETY: nothing but the registers and the stack below its pointer is touched.
    unsafe {
        asm!("mov {0}, cr0", "mov {1}, cr4", out(reg) cr0, out(reg) cr4);
        asm!("pushfq", "pop {0}", out(reg) flags);
        asm!("rdmsr", in("ecx") 0xC000_0080_u32, out("eax") efer, out("edx") _);
    }
    let features = if __cpuid(0).eax >= 7 {
        __cpuid_count(7, 0).ebx
    } else {
        0
    };
    let offered = |bit: u32| {
        if features & (1 << bit) == 0 {
            "not offered"
        } else {
            "offered"
        }
    };
    let _ = writeln!(
        log,
        "memory-probe: SMEP is {}, SMAP {}",
        offered(7),
        offered(20)
    );
    let smep = features & (1 << 7) == 0 || cr4 & (1 << 20) != 0;
    let smap = features & (1 << 20) == 0 || cr4 & (1 << 21) != 0;
    let wanted = [
        (cr0 & (1 << 16) != 0, "CR0.WP is not set"),
        (cr0 & (1 << 2) == 0, "CR0.EM is set"),
        (efer & (1 << 11) != 0, "EFER.NXE is not set"),
        (smep, "CR4.SMEP is offered and not set"),
        (smap, "CR4.SMAP is offered and not set"),
        (flags & (1 << 9) == 0, "RFLAGS.IF is set"),
    ];
    match wanted.iter().find(|(is, _)| !is) {
        Some((_, what)) => Err(what),
        None => Ok(()),
    }
}

/// Everything that must work, page tables sealed.
fn allowed(io: &mut [u8], hypervisor: &'static NativeHypervisor) -> Result<(), &'static str> {
    let mut log = Log(hypervisor);
    registers(&mut log)?;
    // The heap, in sizes up to half a mebibyte.
    let mut blocks = vec![];
    for shift in 0..20 {
        let mut block = vec![0_u8; 1 << shift];
        block.fill(shift);
        blocks.push(block);
    }
    for (shift, block) in (0..).zip(&blocks) {
        if !block.iter().all(|byte| *byte == shift) {
            return Err("the heap forgot");
        }
    }
    if !io.iter().all(|byte| *byte == 0) {
        return Err("an I/O page isn't zeroed");
    }
    io.fill(0x5A);
    if !io.iter().all(|byte| *byte == 0x5A) {
        return Err("an I/O page forgot");
    }
    // Frames of I/O pages follow each other.
    let frame = |page: usize| {
        let byte = ptr::NonNull::from(&io[page * PAGE_SIZE]);
        hypervisor.frame_number(byte).map(|frame| frame.0)
    };
    let first = frame(0).ok_or("an I/O page has no frame")?;
    for page in 0..IO_PAGES {
        if frame(page) != Some(first + page as u64) {
            return Err("an I/O page's frame isn't behind the one before it");
        }
    }
    // Xen's pages, which appear after the tables were sealed.
    let shared = hypervisor.shared_info();
    let version = &shared.vcpu_info[0].time.version;
    if version.load(core::sync::atomic::Ordering::Relaxed) == 0 {
        return Err("shared info has no time");
    }
    let maximum = hypervisor
        .maximum_grant_frames()
        .map_err(|_| "no grant table")?;
    if maximum == 0 {
        return Err("a grant table without frames");
    }
    for frames in [1, maximum.min(64)] {
        // SAFETY: no entry's flags are written.
        let entries = unsafe { hypervisor.grant_entries(frames) };
        let entries = entries.map_err(|_| "no grant frames")?;
        if entries.len() < frames as usize * abi::grant::ENTRIES_PER_FRAME {
            return Err("too few entries");
        }
        use core::sync::atomic::Ordering::Relaxed;
        let entry = entries.last().ok_or("no entries")?;
        entry.frame.store(1, Relaxed);
        if entry.frame.load(Relaxed) != 1 {
            return Err("a grant entry forgot");
        }
        entry.frame.store(0, Relaxed);
    }
    let random = hypervisor
        .hardware_random()
        .zip(hypervisor.hardware_random());
    if random.is_some_and(|(one, other)| one == other) {
        return Err("random numbers are the same");
    }
    hypervisor.store_page().map_err(|_| "no store page")?;
    hypervisor.console_page().map_err(|_| "no console page")?;
    let source = if random.is_some() { "has" } else { "has no" };
    let _ = writeln!(log, "memory-probe: the processor {source} random numbers");
    let _ = writeln!(log, "{}", Probe::Allowed.report());
    Ok(())
}

/// Xen's log.
struct Log(&'static NativeHypervisor);

impl fmt::Write for Log {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.0.write_emergency_console(text.as_bytes());
        Ok(())
    }
}
