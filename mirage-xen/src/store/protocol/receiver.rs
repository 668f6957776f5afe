//! Puts messages together from bytes.

use zerocopy::FromBytes;

use crate::abi::xs_wire::{MessageHeader, XENSTORE_PAYLOAD_MAX};
use crate::store::error::StoreFault;

/// A whole message: its header and payload.
pub(super) type Message<'a> = (MessageHeader, &'a [u8]);

/// The message that is being received.
pub(super) struct Receiver<'m> {
    header: [u8; MessageHeader::LENGTH],
    header_filled: usize,
    payload: &'m mut [u8; XENSTORE_PAYLOAD_MAX],
    filled: usize,
    /// Bytes of the payload, once the header is there; at most [`XENSTORE_PAYLOAD_MAX`].
    length: usize,
}

impl<'m> Receiver<'m> {
    pub(super) fn new(payload: &'m mut [u8; XENSTORE_PAYLOAD_MAX]) -> Self {
        Self {
            header: [0; MessageHeader::LENGTH],
            header_filled: 0,
            payload,
            filled: 0,
            length: 0,
        }
    }

    /// Forgets what there is of a message.
    pub(super) fn reset(&mut self) {
        self.header_filled = 0;
        self.filled = 0;
        self.length = 0;
    }

    /// Takes bytes up to the end of a message: how many it took, and the message, if it ended.
    pub(super) fn take(
        &mut self,
        bytes: &[u8],
    ) -> Result<(usize, Option<Message<'_>>), StoreFault> {
        let of_header = fill(&mut self.header, &mut self.header_filled, bytes);
        if self.header_filled < MessageHeader::LENGTH {
            return Ok((of_header, None));
        }
        let Ok(header) = MessageHeader::read_from_bytes(&self.header) else {
            return Ok((of_header, None));
        };
        let length = header.length.get();
        self.length = usize::try_from(length)
            .ok()
            .filter(|length| *length <= XENSTORE_PAYLOAD_MAX)
            .ok_or(StoreFault::PayloadTooLong { length })?;
        let rest = &bytes[of_header..];
        let of_payload = fill(&mut self.payload[..self.length], &mut self.filled, rest);
        let taken = of_header + of_payload;
        if self.filled < self.length {
            return Ok((taken, None));
        }
        let length = self.length;
        self.reset();
        Ok((taken, Some((header, &self.payload[..length]))))
    }
}

/// Copies as much as is there and fits behind what is filled already.
fn fill(room: &mut [u8], filled: &mut usize, bytes: &[u8]) -> usize {
    let room = &mut room[*filled..];
    let length = room.len().min(bytes.len());
    room[..length].copy_from_slice(&bytes[..length]);
    *filled += length;
    length
}
