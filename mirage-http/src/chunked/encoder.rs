//! Chunks, written: data goes from where it lies, between octets from here.

use core::ops::Deref;

/// What is written behind a chunk's data.
pub const CHUNK_END: &[u8] = b"\r\n";

/// The last chunk. Behind it come trailers, where there are any, and an empty line.
pub const LAST_CHUNK: &[u8] = b"0\r\n";

/// What is written before a chunk's data: its size in hexadecimal, and a line's end.
///
/// ```
/// use mirage_http::chunked::ChunkHead;
///
/// assert_eq!(&ChunkHead::new(4_711).unwrap()[..], b"1267\r\n");
/// assert!(ChunkHead::new(0).is_none(), "that would be the last");
/// ```
#[derive(Clone, Copy, Debug)]
pub struct ChunkHead {
    octets: [u8; Self::MAX_LENGTH],
    length: u8,
}

impl ChunkHead {
    /// The longest, in octets.
    pub const MAX_LENGTH: usize = 18;

    /// What goes before `size` octets; `None` for none, because an empty chunk is the last.
    pub const fn new(size: u64) -> Option<Self> {
        if size == 0 {
            return None;
        }
        let mut octets = [0; Self::MAX_LENGTH];
        let digits = (u64::BITS - size.leading_zeros()).div_ceil(4) as usize;
        let mut at = 0;
        while at < digits {
            let digit = (size >> (4 * (digits - 1 - at))) & 15;
            octets[at] = b"0123456789abcdef"[digit as usize];
            at += 1;
        }
        octets[at] = b'\r';
        octets[at + 1] = b'\n';
        Some(Self {
            octets,
            length: digits as u8 + 2,
        })
    }
}

impl Deref for ChunkHead {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.octets[..usize::from(self.length)]
    }
}
