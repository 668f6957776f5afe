//! Heads: a start line and fields, read and written (RFC 9112 §2 to §5).
//!
//! | item | what it is |
//! | --- | --- |
//! | [`HeadParser`] | reads a head from octets that come in pieces |
//! | [`RequestHead`], [`ResponseHead`] | what was read: views of the caller's octets |
//! | [`HeadWriter`] | writes a head into the caller's buffer |
//! | [`HeadError`], [`WriteError`] | what is wrong |

mod error;
mod parser;
mod writer;

#[cfg(test)]
mod tests;

use core::fmt;

use crate::field::{FieldName, Fields};
use crate::framing::{Framing, FramingError, request_framing, response_framing};
use crate::method::Method;
use crate::status::Status;
use crate::target::{Target, TargetError};

pub use error::HeadError;
pub use parser::{HeadLimits, HeadParser};
pub use writer::{HeadWriter, WriteError};

/// A version of HTTP/1 (RFC 9112 §2.3). Minor versions above 1 are read as 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Version {
    /// HTTP/1.0 (RFC 1945).
    Http10,
    /// HTTP/1.1.
    Http11,
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Http10 => "HTTP/1.0",
            Self::Http11 => "HTTP/1.1",
        })
    }
}

/// A request's head. Copied freely.
#[derive(Clone, Copy, Debug)]
pub struct RequestHead<'a> {
    method: Method<'a>,
    target: &'a str,
    version: Version,
    fields: Fields<'a>,
}

impl<'a> RequestHead<'a> {
    pub(crate) fn new(
        method: Method<'a>,
        target: &'a str,
        version: Version,
        fields: Fields<'a>,
    ) -> Self {
        Self {
            method,
            target,
            version,
            fields,
        }
    }

    /// What is asked for.
    pub fn method(&self) -> Method<'a> {
        self.method
    }

    /// The request target as it was sent: visible US-ASCII, not empty, nothing decoded.
    pub fn target(&self) -> &'a str {
        self.target
    }

    /// The request target by its form (RFC 9112 §3.2).
    ///
    /// # Errors
    ///
    /// It has none of the forms, or not the one that goes with the method.
    pub fn parse_target(&self) -> Result<Target<'a>, TargetError> {
        Target::new(self.method, self.target)
    }

    /// The version that the client speaks.
    pub fn version(&self) -> Version {
        self.version
    }

    /// The fields.
    pub fn fields(&self) -> Fields<'a> {
        self.fields
    }

    /// The host, with a port where one is, that the request is for: the target's where that has one, for then the field Host
    /// counts for nothing (RFC 9112 §3.2.2); else Host's. Empty where there is none.
    pub fn host(&self) -> &'a str {
        match self.parse_target() {
            Ok(Target::Absolute { authority, .. } | Target::Authority(authority)) => authority,
            _ => self.fields.text(FieldName::Host).unwrap_or_default(),
        }
    }

    /// How the body behind this head is delimited (RFC 9112 §6.3).
    ///
    /// # Errors
    ///
    /// It can't be told beyond doubt: the connection ends with the answer.
    pub fn framing(&self) -> Result<Framing, FramingError> {
        request_framing(self.version, &self.fields)
    }

    /// Whether the connection may be used again when this request is answered (RFC 9112 §9.3).
    pub fn is_persistent(&self) -> bool {
        is_persistent(self.version, &self.fields)
    }
}

/// A response's head. Copied freely.
#[derive(Clone, Copy, Debug)]
pub struct ResponseHead<'a> {
    status: Status,
    reason: &'a [u8],
    version: Version,
    fields: Fields<'a>,
}

impl<'a> ResponseHead<'a> {
    pub(crate) fn new(
        status: Status,
        reason: &'a [u8],
        version: Version,
        fields: Fields<'a>,
    ) -> Self {
        Self {
            status,
            reason,
            version,
            fields,
        }
    }

    /// What became of the request.
    pub fn status(&self) -> Status {
        self.status
    }

    /// The reason phrase, which means nothing (RFC 9112 §4).
    pub fn reason(&self) -> &'a [u8] {
        self.reason
    }

    /// The version that the server speaks.
    pub fn version(&self) -> Version {
        self.version
    }

    /// The fields.
    pub fn fields(&self) -> Fields<'a> {
        self.fields
    }

    /// How the body behind this head is delimited, as the answer to a request with `method` (RFC 9112 §6.3).
    ///
    /// # Errors
    ///
    /// It can't be told beyond doubt: the connection ends here.
    pub fn framing(&self, method: Method<'_>) -> Result<Framing, FramingError> {
        response_framing(self.version, self.status, method, &self.fields)
    }

    /// Whether the connection may be used again behind this response (RFC 9112 §9.3).
    pub fn is_persistent(&self) -> bool {
        is_persistent(self.version, &self.fields)
    }
}

fn is_persistent(version: Version, fields: &Fields<'_>) -> bool {
    if !fields.has(FieldName::Connection) {
        return version == Version::Http11;
    }
    let mut keeps = version == Version::Http11;
    for option in fields.list(FieldName::Connection) {
        if option.eq_ignore_ascii_case(b"close") {
            return false;
        }
        keeps |= option.eq_ignore_ascii_case(b"keep-alive");
    }
    keeps
}
