//! What became of a request (RFC 9110 §15).

use core::fmt;

/// A status code, 100 to 599.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Status(u16);

macro_rules! statuses {
    ($($(#[$attribute:meta])* $name:ident $code:literal $reason:literal,)*) => {
        impl Status {
            $($(#[$attribute])* pub const $name: Self = Self($code);)*

            /// The reason phrase of the registry, empty for others.
            pub const fn reason(self) -> &'static str {
                match self.0 {
                    $($code => $reason,)*
                    _ => "",
                }
            }

            /// Code and reason as they stand in a status line, for those with a name.
            pub(crate) const fn line(self) -> Option<&'static str> {
                match self.0 {
                    $($code => Some(concat!("HTTP/1.1 ", stringify!($code), " ", $reason, "\r\n")),)*
                    _ => None,
                }
            }
        }
    };
}

statuses! {
    /// Go on and send the content (RFC 9110 §15.2.1).
    CONTINUE 100 "Continue",
    /// Another protocol from here on (§15.2.2).
    SWITCHING_PROTOCOLS 101 "Switching Protocols",
    /// Fields that the final response will have (RFC 8297).
    EARLY_HINTS 103 "Early Hints",
    /// (§15.3.1)
    OK 200 "OK",
    /// (§15.3.2)
    CREATED 201 "Created",
    /// (§15.3.3)
    ACCEPTED 202 "Accepted",
    /// Without content (§15.3.5).
    NO_CONTENT 204 "No Content",
    /// Without content (§15.3.6).
    RESET_CONTENT 205 "Reset Content",
    /// Ranges of the content (§15.3.7).
    PARTIAL_CONTENT 206 "Partial Content",
    /// (§15.4.2)
    MOVED_PERMANENTLY 301 "Moved Permanently",
    /// (§15.4.3)
    FOUND 302 "Found",
    /// (§15.4.4)
    SEE_OTHER 303 "See Other",
    /// What the client has is current; without content (§15.4.5).
    NOT_MODIFIED 304 "Not Modified",
    /// (§15.4.8)
    TEMPORARY_REDIRECT 307 "Temporary Redirect",
    /// (§15.4.9)
    PERMANENT_REDIRECT 308 "Permanent Redirect",
    /// (§15.5.1)
    BAD_REQUEST 400 "Bad Request",
    /// (§15.5.2)
    UNAUTHORIZED 401 "Unauthorized",
    /// (§15.5.4)
    FORBIDDEN 403 "Forbidden",
    /// (§15.5.5)
    NOT_FOUND 404 "Not Found",
    /// With the field Allow (§15.5.6).
    METHOD_NOT_ALLOWED 405 "Method Not Allowed",
    /// (§15.5.7)
    NOT_ACCEPTABLE 406 "Not Acceptable",
    /// The request did not come in time (§15.5.9).
    REQUEST_TIMEOUT 408 "Request Timeout",
    /// (§15.5.10)
    CONFLICT 409 "Conflict",
    /// (§15.5.11)
    GONE 410 "Gone",
    /// (§15.5.12)
    LENGTH_REQUIRED 411 "Length Required",
    /// A condition of the request is false (§15.5.13).
    PRECONDITION_FAILED 412 "Precondition Failed",
    /// (§15.5.14)
    CONTENT_TOO_LARGE 413 "Content Too Large",
    /// (§15.5.15)
    URI_TOO_LONG 414 "URI Too Long",
    /// (§15.5.16)
    UNSUPPORTED_MEDIA_TYPE 415 "Unsupported Media Type",
    /// None of the ranges is of the content (§15.5.17).
    RANGE_NOT_SATISFIABLE 416 "Range Not Satisfiable",
    /// (§15.5.18)
    EXPECTATION_FAILED 417 "Expectation Failed",
    /// (§15.5.20)
    MISDIRECTED_REQUEST 421 "Misdirected Request",
    /// (§15.5.21)
    UNPROCESSABLE_CONTENT 422 "Unprocessable Content",
    /// (RFC 6585 §4)
    TOO_MANY_REQUESTS 429 "Too Many Requests",
    /// (RFC 6585 §5)
    REQUEST_HEADER_FIELDS_TOO_LARGE 431 "Request Header Fields Too Large",
    /// (§15.6.1)
    INTERNAL_SERVER_ERROR 500 "Internal Server Error",
    /// (§15.6.2)
    NOT_IMPLEMENTED 501 "Not Implemented",
    /// (§15.6.3)
    BAD_GATEWAY 502 "Bad Gateway",
    /// (§15.6.4)
    SERVICE_UNAVAILABLE 503 "Service Unavailable",
    /// (§15.6.5)
    GATEWAY_TIMEOUT 504 "Gateway Timeout",
    /// (§15.6.6)
    HTTP_VERSION_NOT_SUPPORTED 505 "HTTP Version Not Supported",
}

impl Status {
    /// The status of this code; `None` outside 100 to 599 (RFC 9110 §15).
    pub const fn new(code: u16) -> Option<Self> {
        match code {
            100..=599 => Some(Self(code)),
            _ => None,
        }
    }

    /// The code.
    pub const fn code(self) -> u16 {
        self.0
    }

    /// Whether more responses to the same request follow (1xx).
    pub const fn is_informational(self) -> bool {
        self.0 < 200
    }

    /// Whether the request was understood and done (2xx).
    pub const fn is_success(self) -> bool {
        matches!(self.0, 200..=299)
    }

    /// Whether a response with this status has never content: 1xx, 204 and 304 (RFC 9112 §6.3).
    pub const fn is_without_content(self) -> bool {
        self.is_informational() || matches!(self.0, 204 | 304)
    }

    /// The three digits.
    pub(crate) const fn digits(self) -> [u8; 3] {
        [
            b'0' + (self.0 / 100) as u8,
            b'0' + (self.0 / 10 % 10) as u8,
            b'0' + (self.0 % 10) as u8,
        ]
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.reason() {
            "" => write!(f, "{}", self.0),
            reason => write!(f, "{} {reason}", self.0),
        }
    }
}

impl fmt::Debug for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::string::ToString;

    #[test]
    fn codes_are_100_to_599() {
        assert_eq!(Status::new(99), None);
        assert_eq!(Status::new(600), None);
        assert_eq!(Status::new(204), Some(Status::NO_CONTENT));
        assert_eq!(Status::new(299).unwrap().to_string(), "299");
        assert_eq!(Status::NOT_FOUND.to_string(), "404 Not Found");
        assert_eq!(Status::OK.line(), Some("HTTP/1.1 200 OK\r\n"));
        assert_eq!(Status::new(507).unwrap().digits(), *b"507");
    }

    #[test]
    fn some_have_never_content() {
        for code in [100, 103, 199, 204, 304] {
            assert!(Status::new(code).unwrap().is_without_content(), "{code}");
        }
        for code in [200, 205, 206, 301, 404] {
            assert!(!Status::new(code).unwrap().is_without_content(), "{code}");
        }
    }
}
