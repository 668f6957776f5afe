//! Writes a message: header, then options where there is room for them.

use core::fmt;
use core::net::Ipv4Addr;

use super::option::{END, MESSAGE_TYPE, OVERLOAD};
use super::{DhcpMessageType, DhcpRepr, HEADER_LEN, SHORTEST_LEN};

/// Where `sname` and `file` lie in the header (RFC 2131 §2).
const SNAME: (usize, usize) = (44, 108);
const FILE: (usize, usize) = (108, 236);
/// What is kept free at the end of the options field: option 52 and the End.
const KEPT: usize = 4;

/// Writes a message into a buffer, whose length is the longest that it may become.
///
/// An option goes into the options field; when that is full into `file`, and then into `sname`, and option 52 says so
/// (RFC 2131 §4.1). A value above 255 bytes is written in parts, one behind the other (RFC 3396 §5). What fits nowhere
/// is refused, and the message is as before.
#[derive(Debug)]
pub struct DhcpWriter<'b> {
    buffer: &'b mut [u8],
    /// Where the next option goes, in each field.
    options: usize,
    file: usize,
    sname: usize,
    overload: bool,
    /// Bytes at the end that are kept for later.
    kept: usize,
}

/// An option, or the header itself, doesn't fit into the message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DhcpFull;

impl fmt::Display for DhcpFull {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the DHCP message has no room left")
    }
}

impl core::error::Error for DhcpFull {}

impl<'b> DhcpWriter<'b> {
    /// Writes the header.
    ///
    /// # Errors
    /// [`DhcpFull`] if the buffer is shorter than 244 bytes.
    pub fn new(buffer: &'b mut [u8], repr: &DhcpRepr) -> Result<Self, DhcpFull> {
        if buffer.len() < HEADER_LEN + KEPT {
            return Err(DhcpFull);
        }
        repr.emit(buffer.first_chunk_mut().ok_or(DhcpFull)?);
        Ok(DhcpWriter {
            buffer,
            options: HEADER_LEN,
            file: FILE.0,
            sname: SNAME.0,
            overload: false,
            kept: 0,
        })
    }

    /// Allows that options go into `file` and `sname` when the options field is full. All clients and servers must
    /// understand that, and some don't: off at first.
    pub fn allow_overload(&mut self) {
        self.overload = true;
    }

    /// Keeps so many bytes of the options field free, for an option that has to be there and comes later: until this is called
    /// with another number.
    pub fn keep_free(&mut self, bytes: usize) {
        self.kept = bytes;
    }

    /// Appends an option.
    ///
    /// # Errors
    /// [`DhcpFull`]; nothing was written then. An option of all codes but Pad, End and Option Overload, which are the
    /// writer's own and refused in the same way.
    pub fn option(&mut self, code: u8, value: &[u8]) -> Result<(), DhcpFull> {
        if matches!(code, super::option::PAD | END | OVERLOAD) {
            return Err(DhcpFull);
        }
        // An empty value has one part, too.
        let parts = value.len().div_ceil(255).max(1);
        let length = value.len() + 2 * parts;
        let end = (self.buffer.len() - KEPT).saturating_sub(self.kept);
        let fields = [
            (&mut self.options, end, true),
            (&mut self.file, FILE.1 - 1, self.overload),
            (&mut self.sname, SNAME.1 - 1, self.overload),
        ];
        for (at, end, allowed) in fields {
            let room = self.buffer.get_mut(*at..end).unwrap_or_default();
            if !allowed || room.len() < length {
                continue;
            }
            let mut rest = value;
            let mut room = room.iter_mut();
            for _ in 0..parts {
                let (part, after) = rest.split_at(rest.len().min(255));
                rest = after;
                let head = [code, part.len() as u8];
                for (byte, to) in head.iter().chain(part).zip(room.by_ref()) {
                    *to = *byte;
                }
            }
            *at += length;
            return Ok(());
        }
        Err(DhcpFull)
    }

    /// Appends option 53.
    ///
    /// # Errors
    /// As [`option`](Self::option).
    pub fn message_type(&mut self, kind: DhcpMessageType) -> Result<(), DhcpFull> {
        self.option(MESSAGE_TYPE, &[kind.to_u8()])
    }

    /// Appends an option that is one number of four bytes.
    ///
    /// # Errors
    /// As [`option`](Self::option).
    pub fn u32(&mut self, code: u8, value: u32) -> Result<(), DhcpFull> {
        self.option(code, &value.to_be_bytes())
    }

    /// Appends an option that is one number of two bytes.
    ///
    /// # Errors
    /// As [`option`](Self::option).
    pub fn u16(&mut self, code: u8, value: u16) -> Result<(), DhcpFull> {
        self.option(code, &value.to_be_bytes())
    }

    /// Appends an option that is one address.
    ///
    /// # Errors
    /// As [`option`](Self::option).
    pub fn address(&mut self, code: u8, address: Ipv4Addr) -> Result<(), DhcpFull> {
        self.option(code, &address.octets())
    }

    /// Appends an option that is a list of addresses, of which the first 63 are taken; nothing for an empty list.
    ///
    /// # Errors
    /// As [`option`](Self::option).
    pub fn addresses(&mut self, code: u8, addresses: &[Ipv4Addr]) -> Result<(), DhcpFull> {
        let mut bytes = [0; 63 * 4];
        let mut length = 0;
        for (to, address) in bytes.chunks_exact_mut(4).zip(addresses) {
            to.copy_from_slice(&address.octets());
            length += 4;
        }
        if length == 0 {
            return Ok(());
        }
        self.option(code, bytes.get(..length).unwrap_or_default())
    }

    /// Ends the message, and gives its length: at least 300 bytes, with padding, if the buffer has so many.
    pub fn finish(self) -> usize {
        let file = self.file > FILE.0;
        let sname = self.sname > SNAME.0;
        let mut at = self.options;
        if file || sname {
            let value = u8::from(file) | u8::from(sname) << 1;
            for byte in [OVERLOAD, 1, value] {
                if let Some(to) = self.buffer.get_mut(at) {
                    *to = byte;
                }
                at += 1;
            }
        }
        let ends = [(true, at), (file, self.file), (sname, self.sname)];
        for (used, at) in ends {
            if let Some(to) = self.buffer.get_mut(at)
                && used
            {
                *to = END;
            }
        }
        let end = at + 1;
        let length = end.max(SHORTEST_LEN.min(self.buffer.len()));
        if let Some(padding) = self.buffer.get_mut(end..length) {
            padding.fill(0);
        }
        length
    }
}
