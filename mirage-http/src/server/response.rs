//! A response's head, with what the connection adds to it.

use core::fmt;

use mirage_core::Instant;

use super::ServerConnection;
use super::connection::Response;
use crate::date::HttpDate;
use crate::field::FieldName;
use crate::head::{HeadWriter, Version, WriteError};
use crate::status::Status;

/// How long a response's content is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ContentLength {
    /// So many octets.
    Known(u64),
    /// Not known: chunks to a client of HTTP/1.1, all until the stream's end to one of HTTP/1.0.
    Unknown,
}

/// Writes a response's head into the caller's buffer, from [`ServerConnection::respond`].
///
/// Content-Length, Transfer-Encoding, Connection and their like are the connection's to write. Fields are written as they are
/// given; the first error stays, and [`finish`](Self::finish) tells it.
#[derive(Debug)]
pub struct ResponseWriter<'c, 's, 'b> {
    pub(super) connection: &'c mut ServerConnection<'s>,
    pub(super) head: HeadWriter<'b>,
    pub(super) status: Status,
}

impl ResponseWriter<'_, '_, '_> {
    /// Adds a field.
    pub fn field(&mut self, name: &str, value: &[u8]) -> &mut Self {
        if FieldName::of(name.as_bytes()).is_some_and(is_framing) {
            self.head.fail(WriteError::Framing);
        }
        self.head.field(name, value);
        self
    }

    /// Adds a field of a known name.
    pub fn known(&mut self, name: FieldName, value: &[u8]) -> &mut Self {
        if is_framing(name) {
            self.head.fail(WriteError::Framing);
        }
        self.head.known(name, value);
        self
    }

    /// Adds a field that is none of the connection's, and whose value is known to be right.
    pub(crate) fn proper(&mut self, name: FieldName, value: &[u8]) -> &mut Self {
        self.head.proper(name, value);
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

    /// Adds the field Date, which a server with a clock must send (RFC 9110 §6.6.1).
    pub fn date(&mut self, date: HttpDate) -> &mut Self {
        let text = self.connection.server().date(date);
        self.head.proper(FieldName::Date, &text);
        self
    }

    /// Ends the head. How many octets of the buffer are to be sent; behind them the content, if
    /// [`ServerConnection::wants_content`] says so.
    ///
    /// # Errors
    ///
    /// [`WriteError`]: nothing is to be sent then, and the request still waits for its response.
    pub fn finish(self, length: ContentLength, now: Instant) -> Result<usize, WriteError> {
        let Self {
            connection,
            mut head,
            status,
        } = self;
        let has_content = !status.is_without_content();
        if !has_content && !matches!(length, ContentLength::Known(0)) {
            return Err(WriteError::Content);
        }
        let mut keeps = connection.may_persist(now);
        let response = match length {
            _ if !has_content => Response::Length(0),
            ContentLength::Known(length) => {
                head.number(FieldName::ContentLength, length);
                Response::Length(length)
            }
            ContentLength::Unknown if connection.version() == Version::Http11 => {
                head.put(b"transfer-encoding: chunked\r\n");
                Response::Chunks
            }
            ContentLength::Unknown => {
                // The content's end is the stream's.
                keeps = false;
                Response::UntilClose
            }
        };
        match (keeps, connection.version()) {
            (false, _) => head.put(b"connection: close\r\n"),
            (true, Version::Http10) => head.put(b"connection: keep-alive\r\n"),
            (true, Version::Http11) => {}
        }
        let octets = head.finish()?;
        connection.begin_response(status, response, keeps, now);
        Ok(octets)
    }
}

/// Whether a field says how the message is delimited, or what becomes of the connection.
fn is_framing(name: FieldName) -> bool {
    matches!(
        name,
        FieldName::ContentLength
            | FieldName::TransferEncoding
            | FieldName::Connection
            | FieldName::KeepAlive
            | FieldName::Upgrade
    )
}
