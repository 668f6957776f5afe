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
        let request = Request::new(MessageType::Directory, key).with_room(buffer);
        let length = match self.ask(request, length).await {
            Err(StoreError::Refused(XenError::TooBig)) => self.long_directory(key, buffer).await?,
            length => length?,
        };
        Names::new(&buffer[..length]).ok_or(StoreError::Malformed)
    }

    /// `XS_DIRECTORY_PART`: each part begins with the generation of the list, and the last ends with an empty name.
    async fn long_directory(self, key: Key<'_>, buffer: &mut [u8]) -> Result<usize, StoreError> {
        for _ in 0..ATTEMPTS {
            let mut filled = 0;
            let mut first = None;
            loop {
                let room = &mut buffer[filled..];
                let request = Request::new(MessageType::DirectoryPart, key)
                    .with_rest(Rest::DecimalString(filled as u64))
                    .with_room(room);
                let length = self
                    .ask(request, length)
                    .await
                    .map_err(|error| match error {
                        // What the caller has to have room for is at least that.
                        StoreError::ReplyTooLong { length } => StoreError::ReplyTooLong {
                            length: filled + length,
                        },
                        other => other,
                    })?;
                let part = Part::parse(&room[..length]).ok_or(StoreError::Malformed)?;
                if *first.get_or_insert(part.generation) != part.generation {
                    break;
                }
                let (start, last) = (part.start, part.last);
                let end = if last { length - 1 } else { length };
                room.copy_within(start..end, 0);
                filled += end - start;
                if last {
                    return Ok(filled);
                }
            }
        }
        Err(StoreError::Refused(XenError::TryAgain))
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
