//! The client's side of a connection.
//!
//! | item | what it is |
//! | --- | --- |
//! | [`ClientConnection`] | one connection, a pure state machine |
//! | [`ClientEvent`] | what is in its input |
//! | [`RequestWriter`] | writes a request's head |
//! | [`ClientLimits`] | what a server may take |
//! | [`ClientError`] | why a connection is over |

mod connection;
mod request;

#[cfg(test)]
mod tests;

use core::fmt;
use core::time::Duration;

use crate::body::{BodyError, BodyLimits};
use crate::framing::FramingError;
use crate::head::{HeadError, HeadLimits};

pub use connection::{ClientConnection, ClientEvent};
pub use request::{RequestContent, RequestWriter};

/// What a server may take of a client: octets and time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClientLimits {
    /// The size of a response's head.
    pub head: HeadLimits,
    /// The size of a response's body.
    pub body: BodyLimits,
    /// From a request, or the response before, to the end of the response's head.
    pub response: Duration,
    /// How long a body may take beyond the time that it needs at the least rate.
    pub grace: Duration,
    /// The least rate at which a server must send a body, in octets a second; 0 counts as 1.
    pub rate: u32,
    /// How long the content of a request waits for the server's word to send it, where that was asked for. Then it is sent unasked
    /// (RFC 9110 §10.1.1).
    pub wait_for_continue: Duration,
    /// How many informational responses may come before a final one.
    pub informational: u8,
}

impl ClientLimits {
    /// Heads of 16 KiB, bodies of 16 MiB; 30 s for a response, and 10 s and a second for each 1,000 octets for its body; 1 s for the word
    /// to go on; 8 informational responses.
    pub const DEFAULT: Self = Self {
        head: HeadLimits {
            head: 16 << 10,
            target: 0,
        },
        body: BodyLimits {
            content: 16 << 20,
            ..BodyLimits::DEFAULT
        },
        response: Duration::from_secs(30),
        grace: Duration::from_secs(10),
        rate: 1_000,
        wait_for_continue: Duration::from_secs(1),
        informational: 8,
    };
}

impl Default for ClientLimits {
    fn default() -> Self {
        Self::DEFAULT
    }
}

/// Why a connection is over before its time: the server's fault, all but the last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ClientError {
    /// A response's head is wrong, or too large.
    Head(HeadError),
    /// How long a response's body is can't be told beyond doubt.
    Framing(FramingError),
    /// A response's body is wrong, or too large.
    Body(BodyError),
    /// Octets without a request that they could answer: what would be taken for the next one's response.
    Unsolicited,
    /// Another protocol, which nobody asked for.
    Upgrade,
    /// Informational responses without end.
    Informational,
    /// Response or body did not come in time.
    Timeout,
    /// The stream ended before the response.
    Truncated,
    /// The caller's: a request's content has not the length that its head said.
    WrongLength,
}

impl fmt::Display for ClientError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Head(error) => error.fmt(f),
            Self::Framing(error) => error.fmt(f),
            Self::Body(error) => error.fmt(f),
            Self::Unsolicited => f.write_str("response without a request"),
            Self::Upgrade => f.write_str("another protocol that nobody asked for"),
            Self::Informational => f.write_str("too many informational responses"),
            Self::Timeout => f.write_str("response did not come in time"),
            Self::Truncated => f.write_str("stream ended before the response"),
            Self::WrongLength => f.write_str("content has not the length that the head said"),
        }
    }
}

impl core::error::Error for ClientError {}
