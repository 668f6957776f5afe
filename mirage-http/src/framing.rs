//! How a body is delimited (RFC 9112 §6).
//!
//! | item | what it is |
//! | --- | --- |
//! | [`Framing`] | what a head says of the body behind it |
//! | [`FramingError`] | why it can't be told beyond doubt |
//!
//! The rules are stricter than the specification must have them. Where two parsers could read one message in two ways, what
//! one takes for a body is the other's next request; so there is one way here, and the rest is refused.

use core::fmt;

use crate::field::{FieldName, Fields};
use crate::head::Version;
use crate::method::Method;
use crate::scan::decimal;
use crate::status::Status;

/// How the body behind a head is delimited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// There is none.
    None,
    /// So many octets: at least one.
    Length(u64),
    /// Chunks, and trailers behind them (RFC 9112 §7.1).
    Chunked,
    /// All that comes until the stream ends; responses alone.
    UntilClose,
}

/// Why it can't be told how a body is delimited: the sender's fault, or that of somebody between.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum FramingError {
    /// Both Content-Length and Transfer-Encoding (RFC 9112 §6.1: may be an attempt at smuggling, and is handled as one).
    LengthAndEncoding,
    /// More than one Content-Length, on lines or in a list, alike or not (RFC 9110 §8.6).
    RepeatedLength,
    /// A Content-Length with a sign, a blank within, a leading zero, or that is no number of 64 bits.
    Length,
    /// More than one Transfer-Encoding.
    RepeatedEncoding,
    /// A Transfer-Encoding that isn't `chunked` alone: another coding before it, behind it, or parameters.
    Encoding,
    /// A Transfer-Encoding in a message of HTTP/1.0 (RFC 9112 §6.1).
    EncodingInHttp10,
    /// Content-Length or Transfer-Encoding in a response that can't have a body, in a way that promises one (1xx or 204;
    /// RFC 9110 §8.6, RFC 9112 §6.1).
    BodyWhereNone,
}

impl FramingError {
    /// What to answer to a request with such a head.
    pub const fn status(self) -> Status {
        match self {
            // RFC 9112 §6.1: a coding that the server does not understand.
            Self::Encoding => Status::NOT_IMPLEMENTED,
            _ => Status::BAD_REQUEST,
        }
    }
}

impl fmt::Display for FramingError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::LengthAndEncoding => "both Content-Length and Transfer-Encoding",
            Self::RepeatedLength => "more than one Content-Length",
            Self::Length => "Content-Length is no plain number",
            Self::RepeatedEncoding => "more than one Transfer-Encoding",
            Self::Encoding => "transfer coding other than chunked",
            Self::EncodingInHttp10 => "Transfer-Encoding in HTTP/1.0",
            Self::BodyWhereNone => "body announced where none can be",
        })
    }
}

impl core::error::Error for FramingError {}

/// A request without a length has no body (RFC 9112 §6.3, 7).
pub(crate) fn request_framing(
    version: Version,
    fields: &Fields<'_>,
) -> Result<Framing, FramingError> {
    Ok(announced(version, fields)?.unwrap_or(Framing::None))
}

/// A response without a length ends with the stream (RFC 9112 §6.3, 8).
pub(crate) fn response_framing(
    version: Version,
    status: Status,
    method: Method<'_>,
    fields: &Fields<'_>,
) -> Result<Framing, FramingError> {
    let announced = announced(version, fields)?;
    // RFC 9112 §6.3, 1.
    if status.is_without_content() {
        // In 304 they say what a 200 would have had. Elsewhere "MUST NOT send"; a length of zero promises nothing.
        let promises = !matches!(announced, None | Some(Framing::None));
        if promises && status != Status::NOT_MODIFIED {
            return Err(FramingError::BodyWhereNone);
        }
        return Ok(Framing::None);
    }
    if method == Method::Head {
        return Ok(Framing::None);
    }
    Ok(announced.unwrap_or(Framing::UntilClose))
}

/// What the fields say.
fn announced(version: Version, fields: &Fields<'_>) -> Result<Option<Framing>, FramingError> {
    let encoding = fields.has(FieldName::TransferEncoding);
    let length = fields.has(FieldName::ContentLength);
    match (encoding, length) {
        (false, false) => Ok(None),
        (true, true) => Err(FramingError::LengthAndEncoding),
        (true, false) => {
            if version < Version::Http11 {
                return Err(FramingError::EncodingInHttp10);
            }
            let value = fields
                .single(FieldName::TransferEncoding)
                .ok_or(FramingError::RepeatedEncoding)?;
            if !value.eq_ignore_ascii_case(b"chunked") {
                return Err(FramingError::Encoding);
            }
            Ok(Some(Framing::Chunked))
        }
        (false, true) => {
            let value = fields
                .single(FieldName::ContentLength)
                .ok_or(FramingError::RepeatedLength)?;
            if value.contains(&b',') {
                return Err(FramingError::RepeatedLength);
            }
            match value {
                // Some read a leading zero as octal.
                [b'0', _, ..] => Err(FramingError::Length),
                value => match decimal(value).ok_or(FramingError::Length)? {
                    0 => Ok(Some(Framing::None)),
                    length => Ok(Some(Framing::Length(length))),
                },
            }
        }
    }
}
