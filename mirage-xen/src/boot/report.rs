//! What an appliance says when it can't go on, and its end.
//!
//! Nothing here allocates, or calls what may fail again: text goes to Xen's log and, as far as it has room, to the
//! domain's console.

use core::fmt::{self, Write};
use core::panic::PanicInfo;
use core::ptr;
use core::sync::atomic::{AtomicU32, Ordering};

use x86_64::structures::idt::PageFaultErrorCode;

use super::exceptions::Frame;
use super::image::HYPERVISOR;
use super::layout::{AddressSpace, Region};
use crate::abi::shutdown::ShutdownReason;
use crate::native::emergency;

/// The vector of a page fault.
const PAGE_FAULT: u64 = 14;

/// Return addresses that the report of a terse panic has at most.
const MAXIMUM_RETURNS: usize = 24;

/// How many ends have begun: a fault in the report of a fault is not reported at the same length.
static ENDS: AtomicU32 = AtomicU32::new(0);

/// Exceptions by vector (AMD64 manual, volume 2, chapter 8).
const NAMES: [&str; 32] = [
    "#DE divide error",
    "#DB debug",
    "NMI",
    "#BP breakpoint",
    "#OF overflow",
    "#BR bound range",
    "#UD invalid opcode",
    "#NM device not available",
    "#DF double fault",
    "coprocessor segment overrun",
    "#TS invalid TSS",
    "#NP segment not present",
    "#SS stack",
    "#GP general protection",
    "#PF page fault",
    "reserved",
    "#MF x87",
    "#AC alignment check",
    "#MC machine check",
    "#XF SIMD",
    "#VE virtualization",
    "#CP control protection",
    "reserved",
    "reserved",
    "reserved",
    "reserved",
    "reserved",
    "reserved",
    "#HV hypervisor injection",
    "#VC VMM communication",
    "#SX security",
    "reserved",
];

/// What a page fault was, in words: `write to constants`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct PageFault {
    pub(crate) error_code: PageFaultErrorCode,
    pub(crate) region: Region,
}

impl fmt::Display for PageFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let code = self.error_code;
        let what = if code.contains(PageFaultErrorCode::INSTRUCTION_FETCH) {
            "execution of"
        } else if code.contains(PageFaultErrorCode::CAUSED_BY_WRITE) {
            "write to"
        } else {
            "read of"
        };
        write!(f, "{what} {}", self.region)?;
        if self.region == Region::StackGuard {
            f.write_str(": stack overflow")?;
        }
        Ok(())
    }
}

/// An exception: reports it and ends the domain.
pub(crate) fn exception(frame: &Frame, faulting_address: u64) -> ! {
    begin(|out| {
        let space = HYPERVISOR.get().map(|hypervisor| &hypervisor.space);
        let _ = describe(out, frame, faulting_address, space);
    })
}

fn describe(
    out: &mut impl Write,
    frame: &Frame,
    faulting_address: u64,
    space: Option<&AddressSpace>,
) -> fmt::Result {
    let region = |address| space.map_or(Region::Nothing, |space| space.region(address));
    let name = NAMES
        .get(frame.vector as usize)
        .copied()
        .unwrap_or("reserved");
    if frame.vector == PAGE_FAULT {
        let fault = PageFault {
            error_code: PageFaultErrorCode::from_bits_truncate(frame.error_code),
            region: region(faulting_address),
        };
        let present = if frame.error_code & 1 != 0 {
            "mapped"
        } else {
            "not mapped"
        };
        writeln!(out, "mirage: fault: {fault}")?;
        writeln!(out, "mirage: address {faulting_address:#x}, {present}")?;
    } else {
        writeln!(out, "mirage: fault: {name}")?;
    }
    let Frame {
        vector,
        error_code,
        rip,
        cs,
        rflags,
        rsp,
        ss,
        ..
    } = frame;
    writeln!(
        out,
        "mirage: exception {vector} ({name}), error code {error_code:#x}"
    )?;
    let base = space.map_or(0, |space| space.layout.text.start);
    writeln!(
        out,
        "mirage: rip {rip:#x} ({}, {:#x} from the image's base)",
        region(*rip),
        rip.wrapping_sub(base)
    )?;
    writeln!(out, "mirage: rsp {rsp:#x} ({})", region(*rsp))?;
    writeln!(out, "mirage: rflags {rflags:#x} cs {cs:#x} ss {ss:#x}")?;
    let registers = [
        ("rax", frame.rax),
        ("rbx", frame.rbx),
        ("rcx", frame.rcx),
        ("rdx", frame.rdx),
        ("rsi", frame.rsi),
        ("rdi", frame.rdi),
        ("rbp", frame.rbp),
        ("r8 ", frame.r8),
        ("r9 ", frame.r9),
        ("r10", frame.r10),
        ("r11", frame.r11),
        ("r12", frame.r12),
        ("r13", frame.r13),
        ("r14", frame.r14),
        ("r15", frame.r15),
    ];
    for line in registers.chunks(4) {
        out.write_str("mirage:")?;
        for (name, value) in line {
            write!(out, " {name} {value:016x}")?;
        }
        out.write_str("\n")?;
    }
    Ok(())
}

/// A panic: reports it and ends the domain. [`entry!`](crate::entry)'s panic handler.
pub fn panicked(info: &PanicInfo<'_>) -> ! {
    begin(|out| {
        let _ = writeln!(out, "mirage: {info}");
    })
}

/// A panic without a message: reports which code was running, and ends the domain. What [`entry!`](crate::entry) makes the
/// panic handler of if it is told to be `terse`.
///
/// What is on the stack and lies in the text is said, the innermost first: return addresses, and now and then one that a call
/// long ago has left. `addr2line` knows their lines in sources.
#[inline(never)]
pub fn panicked_tersely() -> ! {
    begin(|out| {
        let _ = out.write_str("mirage: panicked; from the image's base:");
        if let Some(hypervisor) = HYPERVISOR.get() {
            let layout = &hypervisor.space.layout;
            let here = 0_u64;
            let here = (&raw const here).expose_provenance() as u64;
            let stack = [layout.stack, layout.exception_stack]
                .into_iter()
                .find(|stack| stack.contains(here));
            let words = (here..stack.map_or(here, |stack| stack.end)).step_by(8);
            let values = words.map(|address| {
                // SAFETY: an aligned word of the stack that this runs on, between here and its end: mapped, and used by
                // nobody else meanwhile.
                unsafe { ptr::with_exposed_provenance::<u64>(address as usize).read_volatile() }
            });
            let in_text = values.filter(|value| layout.text.contains(*value));
            for value in in_text.take(MAXIMUM_RETURNS) {
                let _ = write!(out, " {:#x}", value - layout.text.start);
            }
        }
        let _ = out.write_str("\n");
    })
}

/// Reports why the domain can't start, and ends it.
pub(crate) fn refuse(why: &dyn fmt::Display) -> ! {
    begin(|out| {
        let _ = writeln!(out, "mirage: can't start: {why}");
    })
}

fn begin(report: impl FnOnce(&mut emergency::Console)) -> ! {
    match ENDS.fetch_add(1, Ordering::Relaxed) {
        0 => report(&mut emergency::Console::new(HYPERVISOR.get())),
        1 => {
            let _ = emergency::Console::new(None)
                .write_str("mirage: another fault in the report of the first\n");
        }
        2 => {}
        _ => emergency::end_without_xen(),
    }
    emergency::end(ShutdownReason::Crash)
}

#[cfg(test)]
mod tests;
