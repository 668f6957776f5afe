//! Heads, written.

use core::fmt;

use super::Version;
use crate::field::FieldName;
use crate::method::Method;
use crate::scan::{is_value, is_whole_token, target_run, value_run, write_decimal};
use crate::status::Status;

/// Writes a head into the caller's buffer, octet by octet as it is sent.
///
/// The first error stays and is told by [`finish`](Self::finish): what comes after one is not written. A name or value
/// that could end a line early is an error, so nothing that an application puts into a field makes a second field, or a
/// second response (response splitting).
///
/// ```
/// use mirage_http::head::HeadWriter;
/// use mirage_http::Status;
///
/// let mut buffer = [0; 256];
/// let mut head = HeadWriter::response(&mut buffer, Status::NO_CONTENT);
/// head.field("server", b"example");
/// let length = head.finish()?;
/// assert_eq!(&buffer[..length], b"HTTP/1.1 204 No Content\r\nserver: example\r\n\r\n");
/// # Ok::<(), mirage_http::head::WriteError>(())
/// ```
#[derive(Debug)]
pub struct HeadWriter<'b> {
    buffer: &'b mut [u8],
    length: usize,
    error: Option<WriteError>,
}

impl<'b> HeadWriter<'b> {
    /// Begins a response. A status without a name in the registry has an empty reason phrase.
    pub fn response(buffer: &'b mut [u8], status: Status) -> Self {
        let mut head = Self::trailers(buffer);
        match status.line() {
            Some(line) => head.put(line.as_bytes()),
            None => {
                head.put(b"HTTP/1.1 ");
                head.put(&status.digits());
                head.put(b" \r\n");
            }
        }
        head
    }

    /// Begins a request.
    pub fn request(
        buffer: &'b mut [u8],
        method: Method<'_>,
        target: &str,
        version: Version,
    ) -> Self {
        let mut head = Self::trailers(buffer);
        let method = method.as_str().as_bytes();
        if !is_whole_token(method) || method.len() > Method::MAX_LENGTH {
            head.fail(WriteError::Method);
        }
        if target.is_empty() || target_run(target.as_bytes()) < target.len() {
            head.fail(WriteError::Target);
        }
        head.put(method);
        head.put(b" ");
        head.put(target.as_bytes());
        head.put(match version {
            Version::Http10 => b" HTTP/1.0\r\n",
            Version::Http11 => b" HTTP/1.1\r\n",
        });
        head
    }

    /// Begins with no start line, as trailers do.
    pub fn trailers(buffer: &'b mut [u8]) -> Self {
        Self {
            buffer,
            length: 0,
            error: None,
        }
    }

    /// Adds a field.
    pub fn field(&mut self, name: &str, value: &[u8]) -> &mut Self {
        if !is_whole_token(name.as_bytes()) {
            self.fail(WriteError::FieldName);
        }
        self.checked(name, value)
    }

    /// Adds a field of a known name: nothing has to be looked at but the value.
    pub fn known(&mut self, name: FieldName, value: &[u8]) -> &mut Self {
        self.checked(name.as_str(), value)
    }

    /// Adds a field whose value is known to be right.
    pub(crate) fn proper(&mut self, name: FieldName, value: &[u8]) -> &mut Self {
        self.line(name.as_str().as_bytes(), value);
        self
    }

    fn checked(&mut self, name: &str, value: &[u8]) -> &mut Self {
        // HTAB alone is a control that may be in a value.
        let run = value_run(value);
        if !value[run..].iter().all(|octet| is_value(*octet)) {
            self.fail(WriteError::FieldValue);
        }
        self.line(name.as_bytes(), value);
        self
    }

    /// Writes a field that is known to be right. Its parts have one place in the buffer.
    #[inline(never)]
    fn line(&mut self, name: &[u8], value: &[u8]) {
        let length = name.len().saturating_add(value.len()).saturating_add(4);
        let place = self.length..self.length.saturating_add(length);
        let Some(room) = self.buffer.get_mut(place) else {
            self.fail(WriteError::NoRoom);
            return;
        };
        if self.error.is_some() {
            return;
        }
        // As long as that.
        let (before, room) = room.split_at_mut(name.len());
        before.copy_from_slice(name);
        let (between, room) = room.split_at_mut(2);
        between.copy_from_slice(b": ");
        let (middle, end) = room.split_at_mut(value.len());
        middle.copy_from_slice(value);
        end.copy_from_slice(b"\r\n");
        self.length += length;
    }

    /// Adds a field whose value is a number.
    pub fn number(&mut self, name: FieldName, value: u64) -> &mut Self {
        let mut room = [0; 20];
        let at = write_decimal(value, &mut room);
        self.put(name.as_str().as_bytes());
        self.put(b": ");
        self.put(&room[at..]);
        self.put(b"\r\n");
        self
    }

    /// Adds a field whose value is what `value` displays.
    pub fn display(&mut self, name: FieldName, value: impl fmt::Display) -> &mut Self {
        self.put(name.as_str().as_bytes());
        self.put(b": ");
        let _ = fmt::Write::write_fmt(&mut Value(self), format_args!("{value}"));
        self.put(b"\r\n");
        self
    }

    /// Ends the head with an empty line. Its length.
    ///
    /// # Errors
    ///
    /// The first that there was; nothing of the buffer is to be sent then.
    pub fn finish(mut self) -> Result<usize, WriteError> {
        self.put(b"\r\n");
        match self.error {
            Some(error) => Err(error),
            None => Ok(self.length),
        }
    }

    /// Octets so far.
    pub fn len(&self) -> usize {
        self.length
    }

    /// Whether nothing was written so far.
    pub fn is_empty(&self) -> bool {
        self.length == 0
    }

    pub(crate) fn fail(&mut self, error: WriteError) {
        self.error.get_or_insert(error);
    }

    /// Writes octets that are known to be right where they come.
    #[inline]
    pub(crate) fn put(&mut self, octets: &[u8]) {
        if self.error.is_some() {
            return;
        }
        match self
            .buffer
            .get_mut(self.length..)
            .and_then(|rest| rest.get_mut(..octets.len()))
        {
            Some(room) => {
                room.copy_from_slice(octets);
                self.length += octets.len();
            }
            None => self.error = Some(WriteError::NoRoom),
        }
    }
}

/// Text that is written as a value: checked as it comes.
struct Value<'w, 'b>(&'w mut HeadWriter<'b>);

impl fmt::Write for Value<'_, '_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        if !text.bytes().all(is_value) {
            self.0.fail(WriteError::FieldValue);
        }
        self.0.put(text.as_bytes());
        Ok(())
    }
}

/// Why a head can't be written: the caller's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum WriteError {
    /// The buffer is too small.
    NoRoom,
    /// The method is no token, or too long.
    Method,
    /// The request target is empty, or has an octet that it can't have.
    Target,
    /// A field name is no token.
    FieldName,
    /// A field value has a control in it.
    FieldValue,
    /// A field that says how the message is delimited, or what becomes of the connection: the machine writes it.
    Framing,
    /// A length for a status that has never content.
    Content,
}

impl fmt::Display for WriteError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoRoom => "buffer is too small for the head",
            Self::Method => "method is no token",
            Self::Target => "request target has an octet that it can't have",
            Self::FieldName => "field name is no token",
            Self::FieldValue => "control in a field value",
            Self::Framing => "field is the machine's to write",
            Self::Content => "status has never content",
        })
    }
}

impl core::error::Error for WriteError {}
