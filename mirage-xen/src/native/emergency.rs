//! How a domain speaks and ends when nothing can be relied on: by hypercalls alone, whose instruction is looked up each
//! time.

use core::arch::asm;
use core::fmt;
use core::sync::atomic::Ordering;

use super::NativeHypervisor;
use super::cpu::{HypercallInstruction, is_xen};
use super::hypercall::{CONSOLEIO_WRITE, Hypercall, SCHEDOP_SHUTDOWN};
use crate::Hypervisor;
use crate::abi::PortNumber;
use crate::abi::console::{ConsoleInterface, OUTPUT_SIZE};
use crate::abi::parameter::Parameter;
use crate::abi::shutdown::ShutdownReason;

/// `XEN_HVM_DEBUGCONS_IOPORT` (hvm/hvm_op.h): what is written there is in Xen's log, line by line.
const DEBUG_PORT: u16 = 0xE9;

/// Xen's log and, as far as its ring has room, the domain's own console. Bytes are gathered into lines.
pub(crate) struct Console {
    line: [u8; 120],
    length: usize,
    hypervisor: Option<&'static NativeHypervisor>,
}

impl Console {
    /// `hypervisor`: `None`, if the domain ends before there is one.
    pub(crate) fn new(hypervisor: Option<&'static NativeHypervisor>) -> Self {
        Self {
            line: [0; 120],
            length: 0,
            hypervisor,
        }
    }

    fn flush(&mut self) {
        let line = &self.line[..self.length];
        write(line);
        if let Some(page) = self.hypervisor.and_then(|xen| xen.console_page().ok()) {
            // SAFETY: the structure is made of atomics.
            append(unsafe { page.cast() }, line);
        }
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
        if let Some(xen) = self.hypervisor {
            let port = xen.parameter(Parameter::ConsolePort).ok();
            if let Some(port) = port.and_then(|port| u32::try_from(port).ok()) {
                // It is said already; whether anybody comes for it makes no difference.
                let _ = xen.notify(PortNumber(port));
            }
        }
    }
}

/// Puts as much into the console's ring as there is room for. Whoever else of this domain used the ring doesn't come
/// back.
fn append(ring: &ConsoleInterface, bytes: &[u8]) {
    let consumer = ring.output_consumer.load(Ordering::Acquire);
    let mut producer = ring.output_producer.load(Ordering::Relaxed);
    let bytes = bytes
        .split_inclusive(|byte| *byte == b'\n')
        .flat_map(|line| {
            let (text, end): (_, &[u8]) = match line {
                [text @ .., b'\n'] => (text, b"\r\n"),
                text => (text, b""),
            };
            text.iter().chain(end)
        });
    for byte in bytes {
        // Also where the console's own index makes no sense.
        if producer.wrapping_sub(consumer) as usize >= OUTPUT_SIZE {
            break;
        }
        ring.output[producer as usize % OUTPUT_SIZE].store(*byte, Ordering::Relaxed);
        producer = producer.wrapping_add(1);
    }
    ring.output_producer.store(producer, Ordering::Release);
}

/// Writes to Xen's log, as far as there is a Xen.
pub(crate) fn write(bytes: &[u8]) {
    write_by(is_xen().then(HypercallInstruction::detect), bytes);
}

/// Writes to Xen's log by hypercall or, where Xen refuses that from such a domain (a build without
/// `CONFIG_VERBOSE_DEBUG`), by the port that it takes from all.
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

/// Ends the domain where not even a hypercall can be relied on: by an exception that has no handler, on which each
/// hypervisor ends or restarts a machine.
pub(crate) fn end_without_xen() -> ! {
    // SAFETY: the table is empty, so the next instruction's exception has no handler, nor has that of its absence, and
    // the processor shuts down. Nothing runs after it.
    unsafe {
        asm!("lidt [{table}]", "ud2", table = in(reg) &[0_u8; 10], options(nostack, noreturn));
    }
}

#[cfg(test)]
mod tests {
    use std::vec::Vec;

    use super::*;

    /// An empty ring whose indices are at `start`.
    fn ring(start: u32) -> std::boxed::Box<ConsoleInterface> {
        let mut ring = std::boxed::Box::new(new());
        *ring.output_consumer.get_mut() = start;
        *ring.output_producer.get_mut() = start;
        ring
    }

    fn new() -> ConsoleInterface {
        use core::array::from_fn;
        use core::sync::atomic::{AtomicU8, AtomicU32};
        ConsoleInterface {
            input: from_fn(|_| AtomicU8::new(0)),
            output: from_fn(|_| AtomicU8::new(0)),
            input_consumer: AtomicU32::new(0),
            input_producer: AtomicU32::new(0),
            output_consumer: AtomicU32::new(0),
            output_producer: AtomicU32::new(0),
        }
    }

    fn taken(ring: &ConsoleInterface, from: u32) -> Vec<u8> {
        let end = ring.output_producer.load(Ordering::Relaxed);
        let count = end.wrapping_sub(from);
        let place = |offset| from.wrapping_add(offset) as usize % OUTPUT_SIZE;
        let byte = |offset| ring.output[place(offset)].load(Ordering::Relaxed);
        (0..count).map(byte).collect()
    }

    #[test]
    fn a_report_goes_behind_what_waits_and_over_the_end_of_the_indices() {
        let start = u32::MAX - 3;
        let ring = ring(start);
        append(&ring, b"ab\n");
        append(&ring, b"c\n\nd");
        assert_eq!(taken(&ring, start), b"ab\r\nc\r\n\r\nd");
    }

    #[test]
    fn what_waits_is_not_overwritten() {
        let ring = ring(7);
        append(&ring, &[b'x'; OUTPUT_SIZE - 1]);
        append(&ring, b"yz");
        let taken = taken(&ring, 7);
        assert_eq!(taken.len(), OUTPUT_SIZE);
        assert_eq!(taken[OUTPUT_SIZE - 2..], *b"xy");
    }

    #[test]
    fn a_consumer_that_makes_no_sense_gets_nothing() {
        let mut ring = ring(7);
        *ring.output_consumer.get_mut() = 8;
        append(&ring, b"abc");
        assert_eq!(ring.output_producer.load(Ordering::Relaxed), 7);
    }
}
