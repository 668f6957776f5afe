//! Lines that wait for room in the ring.

use core::fmt::{self, Write};

/// A bounded queue of bytes, to which a line is added whole or not at all.
pub(super) struct OutputQueue<'m> {
    bytes: &'m mut [u8],
    start: usize,
    /// Bytes of whole lines.
    whole: usize,
    /// Bytes of the line that is being added.
    open: usize,
    /// The open line did not fit.
    overrun: bool,
    /// Lines dropped since the last that said so.
    dropped: u64,
}

impl<'m> OutputQueue<'m> {
    pub(super) fn new(bytes: &'m mut [u8]) -> Self {
        Self {
            bytes,
            start: 0,
            whole: 0,
            open: 0,
            overrun: false,
            dropped: 0,
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.whole == 0
    }

    /// Says in the open line how many were dropped before it, if any.
    pub(super) fn say_dropped(&mut self) -> fmt::Result {
        match self.dropped {
            0 => Ok(()),
            dropped => write!(self, "[lines dropped: {dropped}]\r\n"),
        }
    }

    /// Begins a line; what there was of another is gone.
    pub(super) fn begin(&mut self) {
        self.open = 0;
        self.overrun = false;
    }

    /// The line is whole.
    pub(super) fn commit(&mut self) {
        self.whole += self.open;
        self.open = 0;
        self.dropped = 0;
    }

    /// The line did not fit, or can't be had.
    pub(super) fn drop_line(&mut self) {
        self.open = 0;
        self.dropped += 1;
    }

    pub(super) fn is_overrun(&self) -> bool {
        self.overrun
    }

    /// Takes bytes of whole lines out. How many.
    pub(super) fn pop(&mut self, room: &mut [u8]) -> usize {
        let length = room.len().min(self.whole);
        for (place, byte) in room.iter_mut().enumerate().take(length) {
            *byte = self.bytes[(self.start + place) % self.bytes.len()];
        }
        if length != 0 {
            self.start = (self.start + length) % self.bytes.len();
            self.whole -= length;
        }
        length
    }
}

impl fmt::Write for OutputQueue<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        if text.len() > self.bytes.len() - self.whole - self.open {
            self.overrun = true;
            return Err(fmt::Error);
        }
        for byte in text.bytes() {
            let end = (self.start + self.whole + self.open) % self.bytes.len();
            self.bytes[end] = byte;
            self.open += 1;
        }
        Ok(())
    }
}
