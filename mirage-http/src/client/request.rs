//! A request's head, with what the connection adds to it.

use core::fmt;

use mirage_core::Instant;

use super::ClientConnection;
use super::connection::{Pending, Sending};
use crate::field::FieldName;
use crate::head::{HeadWriter, WriteError};

/// How long a request's content is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RequestContent {
    /// There is none.
    None,
    /// So many octets; zero are sent as such, as POST and PUT do (RFC 9110 §8.6).
    Known(u64),
    /// Not known: it is sent in chunks.
    Unknown,
}

/// Writes a request's head into the caller's buffer, from [`ClientConnection::request`]. Host stands in it already.
#[derive(Debug)]
pub struct RequestWriter<'c, 'l, 'b> {
    pub(super) connection: &'c mut ClientConnection<'l>,
    pub(super) head: HeadWriter<'b>,
    pub(super) pending: Pending,
    pub(super) expects: bool,
    pub(super) closes: bool,
}

impl RequestWriter<'_, '_, '_> {
    /// Adds a field.
    pub fn field(&mut self, name: &str, value: &[u8]) -> &mut Self {
        if FieldName::of(name.as_bytes()).is_some_and(is_framing) {
            self.head.fail(WriteError::Framing);
        }
        self.head.field(name, value);
        self
    }

    /// Adds a field that displays so.
    pub fn display(&mut self, name: FieldName, value: impl fmt::Display) -> &mut Self {
        if is_framing(name) {
            self.head.fail(WriteError::Framing);
        }
        self.head.display(name, value);
        self
    }

    /// Asks the server for a word before the content is sent (RFC 9110 §10.1.1).
    pub fn expect_continue(&mut self) -> &mut Self {
        self.expects = true;
        self
    }

    /// Says that the connection ends behind the response.
    pub fn close(&mut self) -> &mut Self {
        self.closes = true;
        self
    }

    /// Ends the head. How many octets of the buffer are to be sent; behind them the content, as soon as
    /// [`ClientConnection::may_send_content`] says so.
    ///
    /// # Errors
    ///
    /// [`WriteError`]: nothing is to be sent then, and there is no request.
    pub fn finish(self, content: RequestContent, now: Instant) -> Result<usize, WriteError> {
        let Self {
            connection,
            mut head,
            pending,
            expects,
            closes,
        } = self;
        let sending = match content {
            RequestContent::None | RequestContent::Known(0) => Sending::Nothing,
            RequestContent::Known(length) => Sending::Length(length),
            RequestContent::Unknown => Sending::Chunks,
        };
        match content {
            RequestContent::None => {}
            RequestContent::Known(length) => {
                head.number(FieldName::ContentLength, length);
            }
            RequestContent::Unknown => head.put(b"transfer-encoding: chunked\r\n"),
        }
        let expects = expects && sending != Sending::Nothing;
        if expects {
            head.put(b"expect: 100-continue\r\n");
        }
        if closes {
            head.put(b"connection: close\r\n");
        }
        let octets = head.finish()?;
        connection.begin_request(pending, sending, expects, closes, now);
        Ok(octets)
    }
}

/// Whether a field is the connection's to write.
fn is_framing(name: FieldName) -> bool {
    matches!(
        name,
        FieldName::ContentLength
            | FieldName::TransferEncoding
            | FieldName::Connection
            | FieldName::KeepAlive
            | FieldName::Upgrade
            | FieldName::Expect
            | FieldName::Host
    )
}
