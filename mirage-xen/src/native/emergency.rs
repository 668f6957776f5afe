//! How a domain speaks and ends when nothing can be relied on: by hypercalls alone, whose instruction is looked up each time.

use core::arch::asm;
use core::fmt;

use super::cpu::{HypercallInstruction, is_xen};
use super::hypercall::{CONSOLEIO_WRITE, Hypercall, SCHEDOP_SHUTDOWN};
use crate::abi::shutdown::ShutdownReason;

/// `XEN_HVM_DEBUGCONS_IOPORT` (hvm/hvm_op.h): what is written there is in Xen's log, line by line.
const DEBUG_PORT: u16 = 0xE9;

/// Xen's log. Bytes are gathered into lines.
pub(crate) struct Console {
    line: [u8; 120],
    length: usize,
}

impl Console {
    pub(crate) fn new() -> Self {
        Self {
            line: [0; 120],
            length: 0,
        }
    }

    fn flush(&mut self) {
        write(&self.line[..self.length]);
        self.length = 0;
    }
}

impl fmt::Write for Console {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for byte in text.bytes() {
            self.line[self.length] = byte;
            self.length += 1;
            if byte == b'\n' || self.length == self.line.len() {
                self.flush();
            }
        }
        Ok(())
    }
}

impl Drop for Console {
    fn drop(&mut self) {
        self.flush();
    }
}

/// Writes to Xen's log, as far as there is a Xen.
pub(crate) fn write(bytes: &[u8]) {
    write_by(is_xen().then(HypercallInstruction::detect), bytes);
}

/// Writes to Xen's log by hypercall or, where Xen refuses that from such a domain (a build without `CONFIG_VERBOSE_DEBUG`),
/// by the port that it takes from all.
pub(super) fn write_by(call: Option<HypercallInstruction>, bytes: &[u8]) {
    if bytes.is_empty() {
        return;
    }
    let arguments = [CONSOLEIO_WRITE, bytes.len() as u64, bytes.as_ptr() as u64];
    // SAFETY: whoever gives the instruction runs on Xen, at privilege 0. Xen only reads the bytes.
    let written = call.map(|call| unsafe { call.call(Hypercall::ConsoleIo, arguments) });
    if !matches!(written, Some(Ok(_))) {
        for byte in bytes {
            // SAFETY: the port is nobody's but a hypervisor's log.
            unsafe {
                asm!("out dx, al", in("dx") DEBUG_PORT, in("al") *byte, options(nomem, nostack, preserves_flags));
            }
        }
    }
}

/// Ends the domain.
pub(crate) fn end(reason: ShutdownReason) -> ! {
    if is_xen() {
        let mut reason = reason as u32;
        let call = HypercallInstruction::detect();
        // SAFETY: on Xen, at privilege 0; `sched_shutdown` (sched.h) is one 32-bit reason.
        let _ = unsafe { call.operate(Hypercall::Scheduler, SCHEDOP_SHUTDOWN, &mut reason) };
        // Xen doesn't return from that.
    }
    end_without_xen()
}

/// Ends the domain where not even a hypercall can be relied on: by an exception that has no handler, on which each hypervisor
/// ends or restarts a machine.
pub(crate) fn end_without_xen() -> ! {
    // SAFETY: the table is empty, so the next instruction's exception has no handler, nor has that of its absence, and
    // the processor shuts down. Nothing runs after it.
    unsafe {
        asm!("lidt [{table}]", "ud2", table = in(reg) &[0_u8; 10], options(nostack, noreturn));
    }
}
