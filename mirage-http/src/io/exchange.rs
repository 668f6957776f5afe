//! One request and its response, over a stream.

use core::fmt;

use mirage_core::kv::{Kv, Value};

use super::serve::break_off;
use super::{Inbox, Octets, Stream, Stuck, Timer, write_all};
use crate::body::{BodyError, BodyStep, Content};
use crate::chunked::CHUNK_END;
use crate::date::HttpDate;
use crate::field::{FieldName, FieldSlot};
use crate::files::{FileAnswer, FilePiece, Files};
use crate::head::{RequestHead, WriteError};
use crate::server::{ContentLength, Rejection, ResponseWriter, ServerConnection, WrongLength};
use crate::status::Status;

/// One request's body, and its response.
pub struct Exchange<'x, 's, S, T> {
    pub(super) socket: &'x mut S,
    pub(super) timer: &'x T,
    pub(super) connection: &'x mut ServerConnection<'s>,
    /// The body, behind the head.
    pub(super) inbox: Inbox<'x>,
    pub(super) output: &'x mut Output<'s>,
    pub(super) slots: [FieldSlot; TRAILERS],
}

/// The most trailers that a body may have.
pub(super) const TRAILERS: usize = 8;

impl<S, T> Exchange<'_, '_, S, T> {
    /// The most trailers that a request may have; they are read, and left out.
    pub const TRAILERS: usize = TRAILERS;
}

impl<S: Stream, T: Timer> Exchange<'_, '_, S, T> {
    /// The connection, for its getters.
    pub fn connection(&self) -> &ServerConnection<'_> {
        self.connection
    }

    /// The timer.
    pub fn timer(&self) -> &T {
        self.timer
    }

    /// Content of the request's body, as it lies: none when it is over. What was taken of it is told to [`consume`](Self::consume).
    ///
    /// # Errors
    ///
    /// [`ServeError`]: no more of the body is to be had.
    pub async fn fill(&mut self) -> Result<&[u8], ServeError<S::Error>> {
        let length = loop {
            let now = self.timer.now();
            let next = self
                .connection
                .handle_body(self.inbox.octets(), &mut self.slots, now);
            let (skip, step) = next.map_err(ServeError::Rejected)?;
            self.inbox.consume(skip);
            match step {
                BodyStep::Content(length) => break length,
                BodyStep::Complete => break 0,
                BodyStep::Trailers(length) => {
                    self.connection.consume_body(length);
                    self.inbox.consume(length);
                }
                BodyStep::NeedInput => self.receive().await?,
            }
        };
        Ok(&self.inbox.octets()[..length])
    }

    /// Says that so many octets of the content were taken.
    pub fn consume(&mut self, length: usize) {
        self.connection.consume_body(length);
        self.inbox.consume(length);
    }

    /// Reads the whole body into `room`: how long it is.
    ///
    /// # Errors
    ///
    /// [`ServeError`]; a body that is longer than the room is rejected with 413.
    pub async fn read_all(&mut self, room: &mut [u8]) -> Result<usize, ServeError<S::Error>> {
        let mut length = 0;
        loop {
            let content = self.fill().await?;
            if content.is_empty() {
                return Ok(length);
            }
            let Some(place) = room.get_mut(length..length + content.len()) else {
                return Err(ServeError::Rejected(Rejection::Body(BodyError::TooLarge)));
            };
            place.copy_from_slice(content);
            let taken = content.len();
            length += taken;
            self.consume(taken);
        }
    }

    async fn receive(&mut self) -> Result<(), ServeError<S::Error>> {
        if let Some(octets) = self.connection.poll_continue() {
            self.put(Octets::Static(octets)).await?;
        }
        self.flush().await?;
        let space = self.inbox.space();
        if space.is_empty() {
            // Trailers, or no room at all behind the head.
            return Err(ServeError::Rejected(Rejection::Body(BodyError::TooLarge)));
        }
        let now = self.timer.now();
        let deadline = self.connection.poll_timeout().unwrap_or(now);
        match self.timer.until(deadline, self.socket.read(space)).await {
            Some(Ok(0)) => self.connection.handle_end(),
            Some(Ok(length)) => self.inbox.handle_received(length),
            Some(Err(error)) => return Err(ServeError::Stream(error)),
            None => {
                let timeout = self.connection.handle_timeout(self.timer.now());
                timeout.map_err(ServeError::Rejected)?;
            }
        }
        Ok(())
    }

    /// Sends the response's head: a status, the fields that `fields` writes, Date where the time is known, and how the content is
    /// delimited. `fields` may be called twice.
    ///
    /// # Errors
    ///
    /// [`ServeError`]; of the head's own errors the request is still to be answered.
    pub async fn begin(
        &mut self,
        status: Status,
        length: ContentLength,
        fields: impl Fn(&mut ResponseWriter<'_, '_, '_>),
    ) -> Result<(), ServeError<S::Error>> {
        self.begin_with(status, length, &fields).await
    }

    /// As [`begin`](Self::begin), once for all callers.
    async fn begin_with(
        &mut self,
        status: Status,
        length: ContentLength,
        fields: WriteFields<'_>,
    ) -> Result<(), ServeError<S::Error>> {
        loop {
            let date = self.timer.wall().map(HttpDate::from_wall);
            let now = self.timer.now();
            let written =
                self.output
                    .write_head(self.connection, status, length, date, now, fields);
            match written {
                // Behind what waits to be sent there may be too little room.
                Err(WriteError::NoRoom) if self.output.filled > 0 => self.flush().await?,
                result => return result.map_err(ServeError::Head),
            }
        }
    }

    /// Sends content of the response. Small pieces are gathered behind the head; [`flush`](Self::flush) sends them now. Nothing, where only
    /// a head is asked for.
    ///
    /// # Errors
    ///
    /// [`ServeError`]: the response is broken.
    pub fn send(
        &mut self,
        content: &[u8],
    ) -> impl Future<Output = Result<(), ServeError<S::Error>>> {
        self.deliver(Octets::Passing(content))
    }

    /// As [`send`](Self::send), for content that lies in the program for as long as it runs: it is sent from there, where the
    /// [stream](Stream::sends_static) can; but for what is small.
    ///
    /// # Errors
    ///
    /// As [`send`](Self::send).
    pub fn send_static(
        &mut self,
        content: &'static [u8],
    ) -> impl Future<Output = Result<(), ServeError<S::Error>>> {
        self.deliver(Octets::Static(content))
    }

    async fn deliver(&mut self, content: Octets<'_>) -> Result<(), ServeError<S::Error>> {
        let length = content.as_slice().len() as u64;
        if length == 0 || !self.connection.wants_content() {
            return Ok(());
        }
        let chunk = self.connection.chunk(length);
        let (head, end) = match &chunk {
            Some(head) => (&head[..], CHUNK_END),
            None => {
                let sent = self.connection.handle_sent(length, self.timer.now());
                sent.map_err(|WrongLength| ServeError::WrongLength)?;
                (&[][..], &[][..])
            }
        };
        // One after the other, in one place: each place that waits is code.
        for octets in [Octets::Passing(head), content, Octets::Passing(end)] {
            if !octets.as_slice().is_empty() {
                self.put(octets).await?;
            }
        }
        Ok(())
    }

    /// Ends the content.
    ///
    /// # Errors
    ///
    /// [`ServeError`]: fewer octets were sent than the head said.
    pub async fn finish(&mut self) -> Result<(), ServeError<S::Error>> {
        let end = self.connection.end_content(self.timer.now());
        let end = end.map_err(|WrongLength| ServeError::WrongLength)?;
        match end {
            [] => Ok(()),
            end => self.put(Octets::Passing(end)).await,
        }
    }

    /// Sends a whole response: a status, a media type where there is content, and the content.
    ///
    /// # Errors
    ///
    /// [`ServeError`].
    pub async fn reply(
        &mut self,
        status: Status,
        media_type: &str,
        content: Content<'_>,
    ) -> Result<(), ServeError<S::Error>> {
        let length = ContentLength::Known(content.len() as u64);
        self.begin_with(status, length, &|response| {
            if !media_type.is_empty() {
                response.known(FieldName::ContentType, media_type.as_bytes());
            }
        })
        .await?;
        for piece in content.pieces() {
            let octets = match content {
                Content::Static(octets) => Octets::Static(octets),
                _ => Octets::Passing(piece),
            };
            self.deliver(octets).await?;
        }
        self.finish().await
    }

    /// Sends a whole response that says no more than its status.
    ///
    /// # Errors
    ///
    /// [`ServeError`].
    pub fn reply_status(
        &mut self,
        status: Status,
    ) -> impl Future<Output = Result<(), ServeError<S::Error>>> {
        self.reply_status_with(status, &|_| {})
    }

    async fn reply_status_with(
        &mut self,
        status: Status,
        fields: WriteFields<'_>,
    ) -> Result<(), ServeError<S::Error>> {
        let text = StatusText::new(status);
        let length = ContentLength::Known(text.len() as u64);
        self.begin_with(status, length, &|response| {
            fields(response);
            if !text.is_empty() {
                response.known(FieldName::ContentType, StatusText::MEDIA_TYPE);
            }
        })
        .await?;
        self.send(&text).await?;
        self.finish().await
    }

    /// Answers a request for a file.
    ///
    /// # Errors
    ///
    /// [`ServeError`]. A store's error before the head is answered 500; behind it the response is broken.
    pub async fn reply_file<K: Kv>(
        &mut self,
        head: &RequestHead<'_>,
        files: &Files<'_, K>,
        path: crate::Path<'_>,
        room: &mut [u8],
    ) -> Result<(), ServeError<S::Error>> {
        let now = self.timer.wall().map(HttpDate::from_wall);
        let answer = match files.answer(head, path, now, room).await {
            Ok(answer) => answer,
            Err(_) => FileAnswer::without(Status::INTERNAL_SERVER_ERROR),
        };
        let status = answer.status();
        let fields: WriteFields<'_> = &|response| answer.write_fields(head, response);
        if !answer.has_content() {
            return self.reply_status_with(status, fields).await;
        }
        self.begin_with(status, answer.content_length(), fields)
            .await?;
        for piece in answer.pieces() {
            match piece {
                FilePiece::Octets(range) => {
                    self.send_range(files.store(), &answer, range.start, range.length)
                        .await?;
                }
                text => {
                    let text = PieceText::new(&text).ok_or(ServeError::Head(WriteError::NoRoom))?;
                    self.send(&text).await?;
                }
            }
        }
        self.finish().await
    }

    /// Octets of a value, as the store gives them.
    async fn send_range<K: Kv>(
        &mut self,
        store: &K,
        answer: &FileAnswer<'_>,
        mut offset: u64,
        mut left: u64,
    ) -> Result<(), ServeError<S::Error>> {
        let Some(key) = answer.key() else {
            return Ok(());
        };
        while left > 0 && self.connection.wants_content() {
            let most = usize::try_from(left).unwrap_or(usize::MAX);
            let value = match store.get_partial(key, offset, most).await {
                Ok(value) => value,
                Err(_) => return Err(ServeError::Store),
            };
            let mut sent = 0;
            for piece in value.pieces() {
                // All of it, then: it is in one piece.
                let octets = match value.as_static() {
                    Some(octets) => Octets::Static(octets),
                    None => Octets::Passing(piece),
                };
                self.deliver(octets).await?;
                sent += octets.as_slice().len() as u64;
            }
            // A value that became shorter meanwhile.
            if sent == 0 || sent > left {
                return Err(ServeError::Store);
            }
            offset += sent;
            left -= sent;
        }
        Ok(())
    }

    /// Sends what was gathered so far.
    ///
    /// # Errors
    ///
    /// [`ServeError`]: the stream failed, or the client took too little.
    pub fn flush(&mut self) -> impl Future<Output = Result<(), ServeError<S::Error>>> {
        self.output.flush(self.socket, self.timer, self.connection)
    }

    /// Puts octets behind what waits to be sent, or sends all of it.
    fn put(
        &mut self,
        octets: Octets<'_>,
    ) -> impl Future<Output = Result<(), ServeError<S::Error>>> {
        self.output
            .put(self.socket, self.timer, self.connection, octets)
    }
}

/// Writes fields of a response.
type WriteFields<'f> = &'f dyn Fn(&mut ResponseWriter<'_, '_, '_>);

/// What waits to be sent.
pub(super) struct Output<'b> {
    pub(super) buffer: &'b mut [u8],
    pub(super) filled: usize,
}

impl Output<'_> {
    /// Puts octets behind what waits, or sends all of it: what fits goes together, but for what the stream sends from where it lies
    /// and is not small.
    async fn put<S: Stream, T: Timer>(
        &mut self,
        socket: &mut S,
        timer: &T,
        connection: &ServerConnection<'_>,
        octets: Octets<'_>,
    ) -> Result<(), ServeError<S::Error>> {
        let is_small = octets.as_slice().len() <= SMALL;
        let is_copied = match octets {
            Octets::Static(_) => is_small || !socket.sends_static(),
            _ => true,
        };
        if is_copied && self.gather(octets) {
            return Ok(());
        }
        self.flush(socket, timer, connection).await?;
        if is_small && self.gather(octets) {
            return Ok(());
        }
        let mut left = octets;
        while !left.as_slice().is_empty() {
            let piece = left.first(PIECE);
            left = left.behind(PIECE);
            let length = piece.as_slice().len() as u64;
            let deadline = connection.send_deadline(length, timer.now());
            write_all(socket, timer, deadline, piece).await?;
        }
        Ok(())
    }

    /// Puts octets behind what waits, if there is room.
    fn gather(&mut self, octets: Octets<'_>) -> bool {
        let octets = octets.as_slice();
        let end = self.filled + octets.len();
        let Some(place) = self.buffer.get_mut(self.filled..end) else {
            return false;
        };
        place.copy_from_slice(octets);
        self.filled = end;
        true
    }

    pub(super) async fn flush<S: Stream, T: Timer>(
        &mut self,
        socket: &mut S,
        timer: &T,
        connection: &ServerConnection<'_>,
    ) -> Result<(), ServeError<S::Error>> {
        let filled = core::mem::take(&mut self.filled);
        if filled == 0 {
            return Ok(());
        }
        let deadline = connection.send_deadline(filled as u64, timer.now());
        let octets = Octets::Passing(self.buffer.get(..filled).unwrap_or_default());
        write_all(socket, timer, deadline, octets).await?;
        match timer.until(deadline, socket.flush()).await {
            Some(Ok(())) => Ok(()),
            Some(Err(error)) => Err(ServeError::Stream(error)),
            None => Err(ServeError::TooSlow),
        }
    }

    /// As [`flush`](Self::flush), behind which the stream's end follows at once.
    pub(super) async fn flush_last<S: Stream, T: Timer>(
        &mut self,
        socket: &mut S,
        timer: &T,
        connection: &ServerConnection<'_>,
    ) -> Result<(), ServeError<S::Error>> {
        let filled = core::mem::take(&mut self.filled);
        let deadline = connection.send_deadline(filled as u64, timer.now());
        let octets = Octets::Last(self.buffer.get(..filled).unwrap_or_default());
        Ok(write_all(socket, timer, deadline, octets).await?)
    }

    fn write_head(
        &mut self,
        connection: &mut ServerConnection<'_>,
        status: Status,
        length: ContentLength,
        date: Option<HttpDate>,
        now: mirage_core::Instant,
        fields: WriteFields<'_>,
    ) -> Result<(), WriteError> {
        let room = self.buffer.get_mut(self.filled..).unwrap_or_default();
        // Answered twice, say: the caller's mistake.
        let mut response = connection
            .respond(room, status)
            .ok_or(WriteError::Framing)?;
        if let Some(date) = date {
            response.date(date);
        }
        fields(&mut response);
        self.filled += response.finish(length, now)?;
        Ok(())
    }

    /// A whole response that says no more than its status, for a request that is none of the application's.
    pub(super) async fn error<S: Stream, T: Timer>(
        &mut self,
        socket: &mut S,
        timer: &T,
        connection: &mut ServerConnection<'_>,
        status: Status,
    ) {
        if let Err(error) = self.flush(socket, timer, connection).await {
            break_off(connection, error);
            return;
        }
        let text = StatusText::new(status);
        let length = ContentLength::Known(text.len() as u64);
        let date = timer.wall().map(HttpDate::from_wall);
        let now = timer.now();
        let fields: WriteFields<'_> = &|response| {
            response.known(FieldName::ContentType, StatusText::MEDIA_TYPE);
        };
        if self
            .write_head(connection, status, length, date, now, fields)
            .is_err()
        {
            connection.abort(crate::server::Ending::Broken);
            return;
        }
        if connection.wants_content() {
            let sent = connection.handle_sent(text.len() as u64, now);
            if sent.is_ok()
                && let Err(error) = self
                    .put(socket, timer, connection, Octets::Passing(&text))
                    .await
            {
                break_off(connection, error);
            }
        }
    }
}

/// Octets that have a deadline of their own: who takes nothing is known by that, however long the content is.
const PIECE: usize = 16_384;

/// Content up to so many octets is gathered rather than sent alone.
const SMALL: usize = 2_048;

/// What a response says that has nothing else to say: its status, as text.
struct StatusText {
    text: [u8; 64],
    length: usize,
}

impl StatusText {
    const MEDIA_TYPE: &'static [u8] = b"text/plain; charset=utf-8";

    fn new(status: Status) -> Self {
        let mut text = Text {
            room: [0; 64],
            length: 0,
        };
        if !status.is_without_content() {
            // The longest reason has half of that.
            let _ = fmt::Write::write_fmt(&mut text, format_args!("{status}\n"));
        }
        Self {
            text: text.room,
            length: text.length,
        }
    }
}

/// The text between the parts of a response with several ranges.
struct PieceText(Text<256>);

impl PieceText {
    /// None of a text that is longer than any.
    #[inline(never)]
    fn new(piece: &FilePiece<'_>) -> Option<Self> {
        let mut text = Text {
            room: [0; 256],
            length: 0,
        };
        let written = fmt::Write::write_fmt(&mut text, format_args!("{piece}"));
        written.is_ok().then_some(Self(text))
    }
}

impl core::ops::Deref for PieceText {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0.room[..self.0.length]
    }
}

impl core::ops::Deref for StatusText {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.text[..self.length]
    }
}

struct Text<const ROOM: usize> {
    room: [u8; ROOM],
    length: usize,
}

impl<const ROOM: usize> fmt::Write for Text<ROOM> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let end = self.length + text.len();
        let place = self.room.get_mut(self.length..end).ok_or(fmt::Error)?;
        place.copy_from_slice(text.as_bytes());
        self.length = end;
        Ok(())
    }
}

/// Why a request can't be answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ServeError<E> {
    /// The stream's.
    Stream(E),
    /// The client's: it took too little in time.
    TooSlow,
    /// The client's: its body can't be read.
    Rejected(Rejection),
    /// The application's: a head that can't be written, or a second one.
    Head(WriteError),
    /// The application's: content of another length than the head said.
    WrongLength,
    /// The store's: a value that could not be read to its end.
    Store,
}

impl<E> From<Stuck<E>> for ServeError<E> {
    fn from(error: Stuck<E>) -> Self {
        match error {
            Stuck::Stream(error) => Self::Stream(error),
            Stuck::TooSlow => Self::TooSlow,
        }
    }
}

impl<E: fmt::Display> fmt::Display for ServeError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Stream(error) => error.fmt(f),
            Self::TooSlow => f.write_str("client took too little in time"),
            Self::Rejected(rejection) => rejection.fmt(f),
            Self::Head(error) => error.fmt(f),
            Self::WrongLength => WrongLength.fmt(f),
            Self::Store => f.write_str("value could not be read"),
        }
    }
}

impl<E: fmt::Debug + fmt::Display> core::error::Error for ServeError<E> {}
