//! Options as they are read: from up to three fields, in any number of parts.

use core::fmt;

use super::option::{END, PAD};

/// Whether every option before the End lies within the field.
pub(super) fn is_whole(field: &[u8]) -> bool {
    let mut rest = field;
    loop {
        match rest {
            [] | [END, ..] => return true,
            [PAD, after @ ..] => rest = after,
            [_, length, after @ ..] => match after.get(usize::from(*length)..) {
                Some(after) => rest = after,
                None => return false,
            },
            [_] => return false,
        }
    }
}

/// An option's value, which may lie in several parts (RFC 3396) in several fields.
#[derive(Clone, Copy)]
pub struct DhcpOption<'a> {
    code: u8,
    length: usize,
    parts: Parts<'a>,
}

impl<'a> DhcpOption<'a> {
    pub(super) fn find(fields: [&'a [u8]; 3], code: u8) -> Option<Self> {
        if matches!(code, PAD | END) {
            return None;
        }
        let [now, next, last] = fields;
        let parts = Parts {
            code,
            rest: now,
            later: [next, last],
        };
        let mut length = 0;
        let mut found = false;
        for part in parts {
            length += part.len();
            found = true;
        }
        found.then_some(DhcpOption {
            code,
            length,
            parts,
        })
    }

    /// Its code.
    pub fn code(&self) -> u8 {
        self.code
    }

    /// Bytes of the value, all parts together; an option may have none.
    pub fn len(&self) -> usize {
        self.length
    }

    /// Whether the value has no bytes.
    pub fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// The value, byte by byte.
    pub fn bytes(&self) -> DhcpOptionBytes<'a> {
        DhcpOptionBytes {
            part: &[],
            parts: self.parts,
        }
    }

    /// The value, if it came in one part.
    pub fn contiguous(&self) -> Option<&'a [u8]> {
        let mut parts = self.parts;
        let first = parts.next()?;
        parts.next().is_none().then_some(first)
    }

    /// Copies the value to the beginning of `buffer`, and gives that; none if it is longer.
    pub fn copy_to<'b>(&self, buffer: &'b mut [u8]) -> Option<&'b [u8]> {
        let buffer = buffer.get_mut(..self.length)?;
        for (to, byte) in buffer.iter_mut().zip(self.bytes()) {
            *to = byte;
        }
        Some(buffer)
    }
}

impl fmt::Debug for DhcpOption<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "option {} ", self.code)?;
        f.debug_list().entries(self.bytes()).finish()
    }
}

/// The bytes of an option's value.
#[derive(Clone)]
pub struct DhcpOptionBytes<'a> {
    part: &'a [u8],
    parts: Parts<'a>,
}

impl Iterator for DhcpOptionBytes<'_> {
    type Item = u8;

    fn next(&mut self) -> Option<u8> {
        loop {
            if let [first, rest @ ..] = self.part {
                self.part = rest;
                return Some(*first);
            }
            self.part = self.parts.next()?;
        }
    }
}

impl fmt::Debug for DhcpOptionBytes<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.clone()).finish()
    }
}

/// The parts of one option.
#[derive(Clone, Copy)]
struct Parts<'a> {
    code: u8,
    rest: &'a [u8],
    later: [&'a [u8]; 2],
}

impl<'a> Iterator for Parts<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        loop {
            match self.rest {
                [PAD, after @ ..] => self.rest = after,
                [code, length, after @ ..] if *code != END => {
                    let value = after.split_at_checked(usize::from(*length));
                    let (value, after) = value.unwrap_or((&[], &[]));
                    self.rest = after;
                    if *code == self.code {
                        return Some(value);
                    }
                }
                _ => {
                    // The field is at its end.
                    let [next, last] = self.later;
                    if next.is_empty() && last.is_empty() {
                        self.rest = &[];
                        return None;
                    }
                    self.rest = next;
                    self.later = [last, &[]];
                }
            }
        }
    }
}
