//! What is wrong with a head.

use core::fmt;

use crate::status::Status;

/// Why a head is refused: the sender's fault, or more than the owner takes.
///
/// Nothing that two parsers could read in two ways is repaired: that is how requests are smuggled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum HeadError {
    /// The method is no token, or followed by another octet than one SP (RFC 9112 §3).
    Method,
    /// A method of more than 32 octets.
    MethodTooLong,
    /// The request target is empty, or has an octet that can't be in one: a control, a second SP, `#`, or one above 0x7e
    /// (RFC 9112 §3.2).
    Target,
    /// The request target is longer than the owner takes.
    TargetTooLong,
    /// What stands where `HTTP/1.1` should (RFC 9112 §2.3): another name, HTTP/0.9's nothing, blanks.
    Version,
    /// A version of HTTP with another major number than 1.
    UnsupportedVersion,
    /// A status that is not three digits from 100 to 599 between SPs, or a control in the reason phrase (RFC 9112 §4).
    StatusLine,
    /// CR without LF behind it (RFC 9112 §2.2).
    BareCarriageReturn,
    /// LF without CR before it. (RFC 9112 §2.2 allows to take it for a line's end; others don't, so it isn't.)
    BareLineFeed,
    /// A blank before the first field (RFC 9112 §2.2).
    BlankBeforeFields,
    /// A field on two lines (obs-fold, RFC 9112 §5.2).
    FoldedLine,
    /// A blank between name and colon (RFC 9112 §5.1).
    BlankBeforeColon,
    /// A line without a colon, or with another octet in the name than those of a token.
    FieldName,
    /// A name of more than 255 octets.
    FieldNameTooLong,
    /// NUL or another control in a value (RFC 9110 §5.5).
    FieldValue,
    /// More fields than there are slots.
    TooManyFields,
    /// More octets than the owner takes.
    TooLarge,
    /// The stream ended before the head did.
    Truncated,
}

impl HeadError {
    /// What to answer to a request with such a head.
    pub const fn status(self) -> Status {
        match self {
            Self::MethodTooLong => Status::NOT_IMPLEMENTED,
            Self::TargetTooLong => Status::URI_TOO_LONG,
            Self::UnsupportedVersion => Status::HTTP_VERSION_NOT_SUPPORTED,
            Self::FieldNameTooLong | Self::TooManyFields | Self::TooLarge => {
                Status::REQUEST_HEADER_FIELDS_TOO_LARGE
            }
            _ => Status::BAD_REQUEST,
        }
    }
}

impl fmt::Display for HeadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Method => "method is no token before one space",
            Self::MethodTooLong => "method is too long",
            Self::Target => "request target has an octet that it can't have",
            Self::TargetTooLong => "request target is too long",
            Self::Version => "no version of HTTP where it should be",
            Self::UnsupportedVersion => "not HTTP/1",
            Self::StatusLine => "status line is wrong",
            Self::BareCarriageReturn => "CR without LF",
            Self::BareLineFeed => "LF without CR",
            Self::BlankBeforeFields => "blank before the first field",
            Self::FoldedLine => "folded line",
            Self::BlankBeforeColon => "blank between field name and colon",
            Self::FieldName => "field name is no token before a colon",
            Self::FieldNameTooLong => "field name is too long",
            Self::FieldValue => "control in a field value",
            Self::TooManyFields => "too many fields",
            Self::TooLarge => "head is too large",
            Self::Truncated => "stream ended within a head",
        })
    }
}

impl core::error::Error for HeadError {}
