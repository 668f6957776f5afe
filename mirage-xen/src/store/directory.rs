//! Names below a key: lists of them, and the way to get a long one.

use super::error::StoreError;
use super::key::Key;
use super::request::{Request, Rest, Scope};
use super::text::parse_decimal;
use crate::abi::XenError;
use crate::abi::xs_wire::MessageType;
use crate::hypervisor::Hypervisor;

/// How often a long list is begun again because it changed meanwhile.
const ATTEMPTS: u32 = 8;

/// The names of the keys right below one, in no order: one or more printable characters each, no slash.
#[derive(Clone, Debug)]
pub struct Names<'a>(&'a [u8]);

impl<'a> Names<'a> {
    /// `None` if one of them is no name.
    pub(super) fn new(payload: &'a [u8]) -> Option<Self> {
        if !payload.is_empty() {
            let names = payload.strip_suffix(b"\0")?;
            let mut names = names.split(|byte| *byte == 0);
            if !names.all(is_name) {
                return None;
            }
        }
        Some(Self(payload))
    }
}

impl<'a> Iterator for Names<'a> {
    type Item = &'a str;

    fn next(&mut self) -> Option<&'a str> {
        let end = self.0.iter().position(|byte| *byte == 0)?;
        let name = &self.0[..end];
        self.0 = &self.0[end + 1..];
        core::str::from_utf8(name).ok()
    }
}

fn is_name(name: &[u8]) -> bool {
    let fits = |byte: &u8| byte.is_ascii_graphic() && *byte != b'/';
    !name.is_empty() && name.iter().all(fits)
}

impl<'s, H: Hypervisor> Scope<'s, H> {
    /// All names below a key. A list longer than a message is fetched in parts, and begun again if it changes
    /// meanwhile.
    pub(super) async fn directory<'b>(
        self,
        key: Key<'_>,
        buffer: &'b mut [u8],
    ) -> Result<Names<'b>, StoreError> {
        let mut list = List {
            long: false,
            filled: 0,
            generation: None,
            changes: 0,
        };
        let length = loop {
            let answer = self.ask(list.next(key, buffer), length).await;
            if let Some(length) = list.take(answer, buffer)? {
                break length;
            }
        };
        Names::new(&buffer[..length]).ok_or(StoreError::Malformed)
    }
}

/// A list as it comes.
struct List {
    /// In parts.
    long: bool,
    /// Bytes that are there.
    filled: usize,
    /// Of the parts that are there.
    generation: Option<u64>,
    /// How often it has changed meanwhile.
    changes: u32,
}

impl List {
    /// What is to be asked next. `XS_DIRECTORY_PART`: each part begins with the generation of the list, and the last ends with an
    /// empty name.
    fn next<'k, 'b>(&self, key: Key<'k>, buffer: &'b mut [u8]) -> Request<'k, 'b> {
        let room = &mut buffer[self.filled..];
        if self.long {
            Request::new(MessageType::DirectoryPart, key)
                .with_rest(Rest::DecimalString(self.filled as u64))
                .with_room(room)
        } else {
            Request::new(MessageType::Directory, key).with_room(room)
        }
    }

    /// Takes an answer, of so many bytes. If it is the last: how long the list is.
    fn take(
        &mut self,
        answer: Result<usize, StoreError>,
        buffer: &mut [u8],
    ) -> Result<Option<usize>, StoreError> {
        let length = match answer {
            Ok(length) if !self.long => return Ok(Some(length)),
            Ok(length) => length,
            Err(StoreError::Refused(XenError::TooBig)) if !self.long => {
                self.long = true;
                return Ok(None);
            }
            // What the caller has to have room for is at least that.
            Err(StoreError::ReplyTooLong { length }) => {
                let length = self.filled + length;
                return Err(StoreError::ReplyTooLong { length });
            }
            Err(error) => return Err(error),
        };
        let room = &mut buffer[self.filled..];
        let part = Part::parse(&room[..length]).ok_or(StoreError::Malformed)?;
        if *self.generation.get_or_insert(part.generation) != part.generation {
            self.changes += 1;
            if self.changes == ATTEMPTS {
                return Err(StoreError::Refused(XenError::TryAgain));
            }
            self.filled = 0;
            self.generation = None;
            return Ok(None);
        }
        let end = if part.last { length - 1 } else { length };
        room.copy_within(part.start..end, 0);
        self.filled += end - part.start;
        Ok(part.last.then_some(self.filled))
    }
}

fn length(result: Result<&[u8], StoreError>) -> Result<usize, StoreError> {
    result.map(<[u8]>::len)
}

/// A part of a long list.
#[derive(Debug, PartialEq, Eq)]
struct Part {
    generation: u64,
    /// Where its names begin.
    start: usize,
    /// Nothing follows it. It ends with an empty name then.
    last: bool,
}

impl Part {
    fn parse(payload: &[u8]) -> Option<Self> {
        let end = payload.iter().position(|byte| *byte == 0)?;
        let generation = parse_decimal(&payload[..end])?;
        let names = &payload[end + 1..];
        // A part without a name that isn't the last would go on for ever.
        let last = names == b"\0" || names.ends_with(b"\0\0");
        (last || names.len() > 1 && names.ends_with(b"\0")).then_some(Self {
            generation,
            start: end + 1,
            last,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;

    #[test]
    fn a_list_is_names_with_a_nul_behind_each() {
        let names = |payload| Names::new(payload).map(|names| names.collect::<Vec<_>>());
        assert_eq!(names(b""), Some([].into()));
        assert_eq!(names(b"mac\0state\0"), Some(["mac", "state"].into()));
        for payload in [
            &b"mac"[..],
            b"\0",
            b"a\0\0b\0",
            b"a/b\0",
            b"a b\0",
            b"\xFF\0",
        ] {
            assert_eq!(names(payload), None, "{payload:?}");
        }
    }

    #[test]
    fn a_part_has_a_generation_and_may_be_the_last() {
        let part = |generation, start, last| {
            Some(Part {
                generation,
                start,
                last,
            })
        };
        assert_eq!(Part::parse(b"17\0a\0bc\0"), part(17, 3, false));
        assert_eq!(Part::parse(b"17\0a\0\0"), part(17, 3, true));
        assert_eq!(Part::parse(b"5\0\0"), part(5, 2, true));
        for payload in [&b""[..], b"17", b"17\0", b"x\0a\0", b"17\0a", b"\0a\0"] {
            assert_eq!(Part::parse(payload), None, "{payload:?}");
        }
    }
}
