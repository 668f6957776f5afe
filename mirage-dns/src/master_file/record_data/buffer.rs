//! Where the data goes.

use super::super::error::Fault;
use super::super::lexer::Text;
use super::super::parser::fault_at;

/// The most octets that a record's data can have: its length is sent in 16 bits (RFC 1035 §3.2.1).
pub(super) const MAX_DATA: usize = 65_535;

/// Data being written to the front of the caller's buffer.
pub(crate) struct DataBuffer<'b> {
    buffer: &'b mut [u8],
    length: usize,
}

impl<'b> DataBuffer<'b> {
    pub(crate) fn new(buffer: &'b mut [u8]) -> Self {
        let length = buffer.len().min(MAX_DATA);
        Self {
            buffer: &mut buffer[..length],
            length: 0,
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.length
    }

    /// How many octets there may be in all.
    pub(super) fn capacity(&self) -> usize {
        self.buffer.len()
    }

    pub(super) fn written(&self) -> &[u8] {
        &self.buffer[..self.length]
    }

    pub(super) fn written_mut(&mut self) -> &mut [u8] {
        &mut self.buffer[..self.length]
    }

    /// Adds octets at the end.
    ///
    /// # Errors
    /// A fault at `text` when there is no room.
    pub(super) fn put<'s>(&mut self, octets: &[u8], text: &Text<'s>) -> Result<(), Fault<'s>> {
        let end = self.length + octets.len();
        match self.buffer.get_mut(self.length..end) {
            Some(room) => {
                room.copy_from_slice(octets);
                self.length = end;
                Ok(())
            }
            None => Err(self.full(text)),
        }
    }

    /// Makes room for `count` zeroes at `at`, which is at most the length.
    ///
    /// # Errors
    /// A fault at `text` when there is no room.
    pub(super) fn insert_zeroes<'s>(
        &mut self,
        at: usize,
        count: usize,
        text: &Text<'s>,
    ) -> Result<(), Fault<'s>> {
        let end = self.length + count;
        if end > self.buffer.len() {
            return Err(self.full(text));
        }
        self.buffer.copy_within(at..self.length, at + count);
        self.buffer[at..at + count].fill(0);
        self.length = end;
        Ok(())
    }

    pub(super) fn full<'s>(&self, text: &Text<'s>) -> Fault<'s> {
        fault_at(
            text,
            if self.buffer.len() < MAX_DATA {
                "a record whose data fits into the buffer that was given"
            } else {
                "a record whose data has at most 65535 octets"
            },
        )
    }
}
