//! Xen's own log.

use core::fmt::{self, Write};

use super::line::{Escape, LineSink};
use crate::hypervisor::Hypervisor;

/// Bytes that go to Xen at a time.
const PIECE: usize = 128;

/// Xen's own log ([`Hypervisor::write_emergency_console`]), by lines: works before the console is found and after a
/// fault, costs a hypercall for each line, and is lost where Xen does not take it.
pub struct EmergencyConsole<H: Hypervisor>(&'static H);

impl<H: Hypervisor> EmergencyConsole<H> {
    /// The log of the Xen that this domain runs on.
    pub const fn new(hypervisor: &'static H) -> Self {
        Self(hypervisor)
    }
}

impl<H: Hypervisor> LineSink for EmergencyConsole<H> {
    fn line(&self, line: fmt::Arguments<'_>) {
        let mut pieces = Pieces {
            hypervisor: self.0,
            bytes: [0; PIECE],
            filled: 0,
        };
        // What fails to show itself is shown as far as it does.
        let _ = Escape(&mut pieces).write_fmt(line);
        let _ = pieces.write_str("\n");
        pieces.flush();
    }
}

impl<H: Hypervisor> fmt::Debug for EmergencyConsole<H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EmergencyConsole").finish_non_exhaustive()
    }
}

/// Few calls for many small strings.
struct Pieces<H: Hypervisor> {
    hypervisor: &'static H,
    bytes: [u8; PIECE],
    filled: usize,
}

impl<H: Hypervisor> Pieces<H> {
    fn flush(&mut self) {
        if self.filled != 0 {
            self.hypervisor
                .write_emergency_console(&self.bytes[..self.filled]);
            self.filled = 0;
        }
    }
}

impl<H: Hypervisor> Write for Pieces<H> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for byte in text.bytes() {
            if self.filled == PIECE {
                self.flush();
            }
            self.bytes[self.filled] = byte;
            self.filled += 1;
        }
        Ok(())
    }
}
