//! Messages on xenstore's ring (io/xs_wire.h), as xenstored reads and writes them.
//!
//! The numbers are written down here a second time, from the header, so that a mistake in the client's doesn't agree with
//! itself.

use std::string::String;
use std::vec::Vec;

use crate::abi::{DomainId, XenError};

pub(super) const XS_CONTROL: u32 = 0;
pub(super) const XS_DIRECTORY: u32 = 1;
pub(super) const XS_READ: u32 = 2;
pub(super) const XS_GET_PERMS: u32 = 3;
pub(super) const XS_WATCH: u32 = 4;
pub(super) const XS_UNWATCH: u32 = 5;
pub(super) const XS_TRANSACTION_START: u32 = 6;
pub(super) const XS_TRANSACTION_END: u32 = 7;
pub(super) const XS_INTRODUCE: u32 = 8;
pub(super) const XS_RELEASE: u32 = 9;
pub(super) const XS_GET_DOMAIN_PATH: u32 = 10;
pub(super) const XS_WRITE: u32 = 11;
pub(super) const XS_MKDIR: u32 = 12;
pub(super) const XS_RM: u32 = 13;
pub(super) const XS_SET_PERMS: u32 = 14;
pub(super) const XS_WATCH_EVENT: u32 = 15;
pub(super) const XS_ERROR: u32 = 16;
pub(super) const XS_IS_DOMAIN_INTRODUCED: u32 = 17;
pub(super) const XS_RESUME: u32 = 18;
pub(super) const XS_SET_TARGET: u32 = 19;
pub(super) const XS_RESET_WATCHES: u32 = 21;
pub(super) const XS_DIRECTORY_PART: u32 = 22;
/// How many types there are.
pub(super) const XS_TYPE_COUNT: u32 = 27;

pub(super) const XENSTORE_PAYLOAD_MAX: usize = 4_096;
pub(super) const XENSTORE_ABS_PATH_MAX: usize = 3_072;
pub(super) const XENSTORE_REL_PATH_MAX: usize = 2_048;

/// `struct xsd_sockmsg`: four 32-bit numbers.
pub(super) const HEADER: usize = 16;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Message {
    pub(super) kind: u32,
    pub(super) id: u32,
    pub(super) transaction: u32,
    pub(super) payload: Vec<u8>,
}

impl Message {
    pub(super) fn bytes(&self) -> Vec<u8> {
        let length = self.payload.len() as u32;
        let mut bytes = Vec::with_capacity(HEADER + self.payload.len());
        for field in [self.kind, self.id, self.transaction, length] {
            bytes.extend_from_slice(&field.to_le_bytes());
        }
        bytes.extend_from_slice(&self.payload);
        bytes
    }

    /// The first message of a stream, if all of it is there, and how many bytes it took.
    ///
    /// # Errors
    ///
    /// The length, when it is more than a payload may have.
    pub(super) fn parse(stream: &[u8]) -> Result<Option<(Self, usize)>, u32> {
        let Some((header, rest)) = stream.split_first_chunk::<HEADER>() else {
            return Ok(None);
        };
        let field = |index: usize| {
            let bytes = header[index * 4..index * 4 + 4].try_into();
            bytes.map_or(0, u32::from_le_bytes)
        };
        let length = field(3);
        if length as usize > XENSTORE_PAYLOAD_MAX {
            return Err(length);
        }
        let Some(payload) = rest.get(..length as usize) else {
            return Ok(None);
        };
        let message = Self {
            kind: field(0),
            id: field(1),
            transaction: field(2),
            payload: payload.to_vec(),
        };
        Ok(Some((message, HEADER + payload.len())))
    }

    /// What answers this request.
    pub(super) fn reply(&self, payload: Vec<u8>) -> Self {
        Self {
            payload,
            ..self.clone()
        }
    }

    /// What refuses it.
    pub(super) fn error(&self, error: XenError) -> Self {
        let name = error.name().unwrap_or("EINVAL");
        Self {
            kind: XS_ERROR,
            payload: [name.as_bytes(), b"\0"].concat(),
            ..self.clone()
        }
    }
}

/// The strings of a payload, each of which ends with a nul.
///
/// # Errors
///
/// [`XenError::Invalid`]: the last doesn't.
pub(super) fn strings(payload: &[u8]) -> Result<Vec<&[u8]>, XenError> {
    let Some((0, before)) = payload.split_last() else {
        return Err(XenError::Invalid);
    };
    Ok(before.split(|byte| *byte == 0).collect())
}

/// A payload's only string.
pub(super) fn string(payload: &[u8]) -> Result<&[u8], XenError> {
    match strings(payload)?[..] {
        [only] => Ok(only),
        _ => Err(XenError::Invalid),
    }
}

/// The absolute path of a path that a domain gives.
///
/// # Errors
///
/// [`XenError::Invalid`]: it isn't a path.
pub(super) fn absolute(path: &[u8], domain: DomainId) -> Result<String, XenError> {
    let text = core::str::from_utf8(path).map_err(|_| XenError::Invalid)?;
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"-/_@".contains(&byte);
    if !text.bytes().all(fits) || text.is_empty() {
        return Err(XenError::Invalid);
    }
    let longest = if text.starts_with('/') {
        XENSTORE_ABS_PATH_MAX
    } else {
        XENSTORE_REL_PATH_MAX
    };
    if text.len() > longest {
        return Err(XenError::Invalid);
    }
    let whole = if text.starts_with('/') {
        text.into()
    } else {
        std::format!("/local/domain/{}/{text}", domain.0)
    };
    let broken = whole.contains("//") || (whole.len() > 1 && whole.ends_with('/'));
    if broken {
        Err(XenError::Invalid)
    } else {
        Ok(whole)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_of_a_request_are_as_in_the_header() {
        let golden = [
            11, 0, 0, 0, 0x78, 0x56, 0x34, 0x12, 9, 0, 0, 0, 5, 0, 0, 0, b'a', b'/', b'b', 0, b'1',
        ];
        let (message, length) = Message::parse(&golden).unwrap().unwrap();
        assert_eq!((message.kind, message.id), (XS_WRITE, 0x1234_5678));
        assert_eq!((message.transaction, length), (9, 21));
        assert_eq!(message.payload, b"a/b\x001");
        assert_eq!(message.bytes(), golden);
        for cut in 0..golden.len() {
            assert_eq!(Message::parse(&golden[..cut]), Ok(None), "at {cut}");
        }
        let mut long = golden;
        long[12..16].copy_from_slice(&4_097_u32.to_le_bytes());
        assert_eq!(Message::parse(&long), Err(4_097));
        assert_eq!(message.error(XenError::NotFound).payload, b"ENOENT\0");
    }

    #[test]
    fn paths_that_are_none_are_refused() {
        let five = DomainId(5);
        assert_eq!(absolute(b"a/b", five).unwrap(), "/local/domain/5/a/b");
        assert_eq!(absolute(b"/a/b", five).unwrap(), "/a/b");
        assert_eq!(absolute(b"/", five).unwrap(), "/");
        for path in [&b""[..], b"a/", b"/a//b", b"a b", b"a\xFF", b"a.b"] {
            assert_eq!(absolute(path, five), Err(XenError::Invalid), "{path:?}");
        }
        assert!(absolute(&[b'a'; 2_048], five).is_ok());
        assert!(absolute(&[b'a'; 2_049], five).is_err());
        assert!(absolute(&[&b"/"[..], &[b'a'; 3_071]].concat(), five).is_ok());
        assert!(absolute(&[&b"/"[..], &[b'a'; 3_072]].concat(), five).is_err());
    }

    #[test]
    fn strings_end_with_a_nul() {
        assert_eq!(strings(b"a\0b\0").unwrap(), [b"a", b"b"]);
        assert_eq!(strings(b"\0").unwrap(), [b""]);
        assert_eq!(strings(b"a"), Err(XenError::Invalid));
        assert_eq!(strings(b""), Err(XenError::Invalid));
        assert_eq!(string(b"a\0b\0"), Err(XenError::Invalid));
    }
}
