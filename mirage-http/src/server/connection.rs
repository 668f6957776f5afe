//! One connection.

use core::fmt;

use mirage_core::Instant;

use super::counters::Counter;
use super::ending::{Ending, Rejection};
use super::response::ResponseWriter;
use super::{Limits, Server};
use crate::body::{BodyError, BodyReader, BodyStep};
use crate::chunked::{ChunkHead, LAST_CHUNK};
use crate::field::{FieldName, FieldSlot, Fields};
use crate::framing::Framing;
use crate::head::{HeadError, HeadParser, HeadWriter, RequestHead, Version, WriteError};
use crate::method::Method;
use crate::status::Status;
use crate::target::is_authority;

/// The response that tells a client to go on and send the content (RFC 9110 §15.2.1).
pub const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";

/// The server's side of one connection: a pure state machine, which has no buffer.
///
/// The owner keeps what came of the stream and was not yet taken in one slice, wherever that lies, and gives it with each
/// input; he lets go of what the machine says, and of nothing else. So a request's head is a view of his octets, and stays one while the
/// response is written. Requests are answered one after the other: what a client sends ahead (pipelining) waits in
/// the owner's slice, and beyond it in the stream.
///
/// - Getters: [`ending`](Self::ending), [`wants_content`](Self::wants_content), [`is_answered`](Self::is_answered),
///   [`send_deadline`](Self::send_deadline), [`trailers`](Self::trailers).
/// - Inputs: [`handle_input`](Self::handle_input) between responses; [`handle_body`](Self::handle_body) and
///   [`consume_body`](Self::consume_body) while a request is being answered; [`handle_end`](Self::handle_end) when the stream has no
///   more; [`handle_timeout`](Self::handle_timeout).
/// - Mutators: [`respond`](Self::respond), [`handle_sent`](Self::handle_sent), [`chunk`](Self::chunk),
///   [`end_content`](Self::end_content), [`abort`](Self::abort).
/// - Outputs: [`poll_continue`](Self::poll_continue), then [`poll_timeout`](Self::poll_timeout).
///
/// ```
/// use mirage_core::Instant;
/// use mirage_http::Status;
/// use mirage_http::field::FieldSlot;
/// use mirage_http::server::{ContentLength, Limits, Server, ServerEvent};
///
/// let (server, now) = (Server::new(Limits::DEFAULT), Instant::ZERO);
/// let mut connection = server.connect(now);
/// let (mut slots, mut out) = ([FieldSlot::EMPTY; 32], [0; 256]);
///
/// let input = b"GET / HTTP/1.1\r\nHost: example.org\r\n\r\n";
/// let ServerEvent::Request { head, length, .. } = connection.handle_input(input, &mut slots, now) else {
///     panic!("it is whole");
/// };
/// assert_eq!((head.target(), length), ("/", input.len()));
/// let mut response = connection.respond(&mut out, Status::OK).unwrap();
/// response.field("content-type", b"text/plain");
/// let length = response.finish(ContentLength::Known(5), now)?;
/// assert!(out[..length].ends_with(b"content-length: 5\r\n\r\n"));
/// connection.handle_sent(5, now)?; // "hello"
/// assert!(connection.is_answered());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct ServerConnection<'s> {
    server: &'s Server,
    parser: HeadParser,
    body: BodyReader,
    response: Response,
    version: Version,
    is_head: bool,
    /// Whether both sides wish the connection to go on.
    keeps: bool,
    /// Whether the client said that this request is its last.
    is_last: bool,
    /// Whether the client waits for a word before it sends the body.
    expects: bool,
    continue_due: bool,
    input_ended: bool,
    /// Why the current request is not read on.
    rejected: Option<Rejection>,
    requests: u32,
    /// Octets of unread bodies that were read for the connection's sake.
    drained: u64,
    /// When the body began to come.
    since: Instant,
    deadline: Option<Instant>,
    /// When the connection goes on to no new request any more.
    end: Instant,
    ending: Option<Ending>,
}

/// Where the response to the current request is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Response {
    /// There is no request.
    Idle,
    /// Part of a head has come.
    Head,
    /// It is the application's turn.
    Awaited,
    /// So many octets of content are to come.
    Length(u64),
    Chunks,
    UntilClose,
    /// It is complete, and what is left of the request's body comes in.
    Draining,
}

/// What is in the input.
#[derive(Clone, Copy, Debug)]
pub enum ServerEvent<'i> {
    /// Nothing yet: read more, and give it behind what is there.
    NeedInput,
    /// So many octets at the beginning that nobody wants: let go of them, and call again.
    Discard(usize),
    /// A request, to be answered. The body begins behind the head.
    Request {
        /// Its head: a view of the input and the slots.
        head: RequestHead<'i>,
        /// Octets of the head. The owner lets go of them when he needs the head no longer, and gives none of them again.
        length: usize,
        /// How the body is delimited.
        framing: Framing,
    },
    /// A request that is not the application's to answer: [`respond`](ServerConnection::respond) with its status. All input is
    /// void from here on.
    Rejected(Rejection),
    /// A request is being answered: its body is had from [`handle_body`](ServerConnection::handle_body).
    Busy,
    /// The connection is over.
    Ended(Ending),
}

impl<'s> ServerConnection<'s> {
    pub(super) fn new(server: &'s Server, now: Instant) -> Self {
        let end = now + server.limits().connection;
        Self {
            server,
            parser: HeadParser::request(),
            body: BodyReader::complete(),
            response: Response::Idle,
            version: Version::Http11,
            is_head: false,
            keeps: true,
            is_last: false,
            expects: false,
            continue_due: false,
            input_ended: false,
            rejected: None,
            requests: 0,
            drained: 0,
            since: now,
            deadline: Some((now + server.limits().idle).min(end)),
            end,
            ending: None,
        }
    }

    pub(super) fn server(&self) -> &'s Server {
        self.server
    }

    fn limits(&self) -> &'s Limits {
        self.server.limits()
    }

    // Getters.

    /// Why the connection is over, if it is.
    pub fn ending(&self) -> Option<Ending> {
        self.ending
    }

    /// Whether no request waits for its response, or for the rest of it.
    pub fn is_answered(&self) -> bool {
        self.ending.is_some()
            || matches!(
                self.response,
                Response::Idle | Response::Head | Response::Draining
            )
    }

    /// Whether a request waits for its response's head.
    pub fn is_awaited(&self) -> bool {
        self.ending.is_none() && self.response == Response::Awaited
    }

    /// Whether content of the response is to come: not behind a head that was asked for alone, nor where there is none.
    pub fn wants_content(&self) -> bool {
        self.ending.is_none()
            && matches!(
                self.response,
                Response::Length(_) | Response::Chunks | Response::UntilClose
            )
    }

    /// Whether the content is sent in chunks: [`chunk`](Self::chunk) says what goes around each.
    pub fn is_chunked(&self) -> bool {
        self.response == Response::Chunks
    }

    /// By when the stream must have taken so many octets that are given to it at `now`; else the client is too slow, and the owner
    /// calls [`abort`](Self::abort) with [`Ending::TooSlow`].
    pub fn send_deadline(&self, octets: u64, now: Instant) -> Instant {
        now + self.limits().time_for(octets)
    }

    pub(super) fn version(&self) -> Version {
        self.version
    }

    // Inputs.

    /// Looks for a request in `input`: all that came and was not yet taken. `slots` bounds the number of fields.
    pub fn handle_input<'i>(
        &mut self,
        input: &'i [u8],
        slots: &'i mut [FieldSlot],
        now: Instant,
    ) -> ServerEvent<'i> {
        if let Some(ending) = self.ending {
            return ServerEvent::Ended(ending);
        }
        match self.response {
            Response::Idle | Response::Head => {}
            Response::Draining => {
                if let Some(event) = self.drain(input, slots, now) {
                    return event;
                }
            }
            _ => return ServerEvent::Busy,
        }
        if self.response == Response::Idle {
            if input.is_empty() {
                return self.wait_for_input(Ending::ByClient);
            }
            self.response = Response::Head;
            self.deadline = Some((now + self.limits().head_time).min(self.end));
        }
        let limits = self.limits();
        let length = match self.parser.parse(input, slots, &limits.head) {
            Ok(Some(length)) => length,
            Ok(None) if self.parser.is_idle() => return self.wait_for_input(Ending::ByClient),
            Ok(None) => return self.wait_for_input(Ending::Incomplete),
            Err(error) => return ServerEvent::Rejected(self.reject(Rejection::Head(error))),
        };
        let slots: &'i [FieldSlot] = slots;
        let head = self.parser.request_head(input, slots);
        // The head is whole: there is one.
        let Some(head) = head else {
            return self.wait_for_input(Ending::Incomplete);
        };
        match self.take_request(&head, now) {
            Ok(framing) => ServerEvent::Request {
                head,
                length,
                framing,
            },
            Err(rejection) => ServerEvent::Rejected(self.reject(rejection)),
        }
    }

    /// The head of the request that waits for its response, once more, from the same octets and slots: for an owner who needs
    /// the rest of his slice meanwhile.
    pub fn request_head<'a>(
        &self,
        octets: &'a [u8],
        slots: &'a [FieldSlot],
    ) -> Option<RequestHead<'a>> {
        match self.rejected {
            Some(_) => None,
            None => self.parser.request_head(octets, slots),
        }
    }

    /// Says that the owner's slice is full, and no request whole in it: it is rejected.
    pub fn handle_full(&mut self) -> Rejection {
        self.reject(Rejection::Head(HeadError::TooLarge))
    }

    /// Says what is next of the request's body in `input`, which begins behind what was taken: see
    /// [`BodyReader::next`] for what comes out.
    ///
    /// Where a client waits to be told to go on (Expect), asking for what isn't there makes
    /// [`poll_continue`](Self::poll_continue) tell it.
    ///
    /// # Errors
    ///
    /// [`Rejection`]: nothing more of the body can be had. The request is still to be answered, best with the rejection's
    /// status; then the connection ends.
    pub fn handle_body(
        &mut self,
        input: &[u8],
        slots: &mut [FieldSlot],
        now: Instant,
    ) -> Result<(usize, BodyStep), Rejection> {
        // What was cut must not look whole to who asks again.
        if let Some(rejection) = self.rejected {
            return Err(rejection);
        }
        let (skip, step) = match self.body.next(input, slots) {
            Ok(next) => next,
            Err(error) => return Err(self.fail_body(Rejection::Body(error))),
        };
        match step {
            BodyStep::NeedInput => {
                if self.input_ended {
                    return Err(self.fail_body(Rejection::Body(BodyError::Truncated)));
                }
                if self.expects {
                    self.expects = false;
                    self.continue_due = true;
                    self.since = now;
                    self.set_body_deadline();
                }
            }
            // Who sends before he was told to, need not be told (RFC 9110 §10.1.1).
            BodyStep::Content(_) | BodyStep::Trailers(_) => self.expects = false,
            BodyStep::Complete if !self.is_answered() => self.deadline = None,
            BodyStep::Complete => {}
        }
        Ok((skip, step))
    }

    /// Says that so many octets of content, or the trailers, were taken.
    pub fn consume_body(&mut self, length: usize) {
        if self.is_answered() {
            return;
        }
        self.body.consume(length);
        match self.body.is_complete() {
            true => self.deadline = None,
            false => self.set_body_deadline(),
        }
    }

    /// The trailers, between [`BodyStep::Trailers`] and [`consume_body`](Self::consume_body).
    pub fn trailers<'a>(&self, input: &'a [u8], slots: &'a [FieldSlot]) -> Option<Fields<'a>> {
        self.body.trailers(input, slots)
    }

    /// Says that the stream gives no more octets: the client has closed its side. What has come is still answered.
    pub fn handle_end(&mut self) {
        self.input_ended = true;
    }

    /// Says that it is `now`. When a deadline has passed, a request whose head didn't come is rejected; where nothing of
    /// one has come, or a body that nobody waits for doesn't, the connection [ends](Self::ending).
    ///
    /// # Errors
    ///
    /// [`Rejection::Timeout`] for a request that is now to be answered so.
    pub fn handle_timeout(&mut self, now: Instant) -> Result<(), Rejection> {
        if self.ending.is_some() || self.deadline.is_none_or(|deadline| now < deadline) {
            return Ok(());
        }
        match self.response {
            Response::Idle => self.end(Ending::Idle),
            // An empty line is nothing that could be answered.
            Response::Head if self.parser.is_idle() => self.end(Ending::Idle),
            Response::Head => return Err(self.reject(Rejection::Timeout)),
            Response::Draining => self.end(Ending::TooSlow),
            Response::Awaited if self.rejected.is_none() => {
                return Err(self.fail_body(Rejection::Timeout));
            }
            // A response is on its way: that the body doesn't come ends the connection behind it.
            _ => {
                self.fail_body(Rejection::Timeout);
            }
        }
        Ok(())
    }

    // Mutators.

    /// Begins the response to the request, whose head is written into `out`. `None` where no request waits for one, and for an
    /// informational status.
    pub fn respond<'c, 'b>(
        &'c mut self,
        out: &'b mut [u8],
        status: Status,
    ) -> Option<ResponseWriter<'c, 's, 'b>> {
        if !self.is_awaited() || status.is_informational() {
            return None;
        }
        Some(ResponseWriter {
            head: HeadWriter::response(out, status),
            status,
            connection: self,
        })
    }

    /// Says that so many octets of the content were given to the stream. Not for chunks.
    ///
    /// # Errors
    ///
    /// [`WrongLength`]: more than the head said. They must not have been sent; the connection is broken.
    pub fn handle_sent(&mut self, octets: u64, now: Instant) -> Result<(), WrongLength> {
        match self.response {
            Response::Length(left) if octets < left => {
                self.response = Response::Length(left - octets)
            }
            Response::Length(left) if octets == left => self.end_response(now),
            Response::UntilClose => {}
            _ if octets == 0 => {}
            _ => {
                self.end(Ending::Broken);
                return Err(WrongLength);
            }
        }
        Ok(())
    }

    /// What goes before a chunk of so many octets; [`CHUNK_END`](crate::chunked::CHUNK_END) goes behind it. `None` for none, and where
    /// the content is not chunked.
    pub fn chunk(&self, octets: u64) -> Option<ChunkHead> {
        match self.response {
            Response::Chunks => ChunkHead::new(octets),
            _ => None,
        }
    }

    /// Ends a content whose length the head didn't say. What is to be sent at last: the last chunk and an empty line, or nothing.
    ///
    /// # Errors
    ///
    /// [`WrongLength`]: fewer octets came than the head said. The connection is broken.
    pub fn end_content(&mut self, now: Instant) -> Result<&'static [u8], WrongLength> {
        match self.response {
            Response::Chunks => {
                self.end_response(now);
                Ok(b"0\r\n\r\n")
            }
            Response::UntilClose => {
                self.end_response(now);
                Ok(b"")
            }
            Response::Length(_) => {
                self.end(Ending::Broken);
                Err(WrongLength)
            }
            _ => Ok(b""),
        }
    }

    /// Ends a chunked content with trailers, written into `out`: how many octets are to be sent.
    ///
    /// # Errors
    ///
    /// [`WriteError`], also where the content is not chunked.
    pub fn end_content_with(
        &mut self,
        out: &mut [u8],
        trailers: &[(&str, &[u8])],
        now: Instant,
    ) -> Result<usize, WriteError> {
        if self.response != Response::Chunks {
            return Err(WriteError::Content);
        }
        let mut writer = HeadWriter::trailers(out);
        writer.put(LAST_CHUNK);
        for (name, value) in trailers {
            // What must be known before the content can't be in trailers (RFC 9110 §6.5.1).
            let known = FieldName::of(name.as_bytes());
            if known.is_some_and(|name| {
                matches!(
                    name,
                    FieldName::ContentLength
                        | FieldName::TransferEncoding
                        | FieldName::Connection
                        | FieldName::ContentType
                        | FieldName::ContentEncoding
                        | FieldName::ContentRange
                        | FieldName::Trailer
                )
            }) {
                writer.fail(WriteError::Framing);
            }
            writer.field(name, value);
        }
        let length = writer.finish()?;
        self.end_response(now);
        Ok(length)
    }

    /// Ends the connection at once.
    pub fn abort(&mut self, ending: Ending) {
        self.end(ending);
    }

    // Outputs.

    /// What is to be sent before anything else: that the client may send the body it has announced.
    pub fn poll_continue(&mut self) -> Option<&'static [u8]> {
        if !core::mem::take(&mut self.continue_due) || !self.is_awaited() {
            return None;
        }
        self.server.count(Counter::Continued);
        Some(CONTINUE)
    }

    /// When [`handle_timeout`](Self::handle_timeout) wants to be called.
    pub fn poll_timeout(&self) -> Option<Instant> {
        match self.ending {
            Some(_) => None,
            None => self.deadline,
        }
    }

    // What the writer of the response's head asks and says.

    /// Whether the connection may go on behind a response that begins now.
    pub(super) fn may_persist(&self, now: Instant) -> bool {
        if !self.keeps || self.rejected.is_some() || now >= self.end {
            return false;
        }
        if self.body.is_complete() {
            return true;
        }
        // A client that was not told to go on may send the body, or not: where the next request begins is in doubt.
        if self.expects || self.continue_due {
            return false;
        }
        self.body
            .left()
            .is_none_or(|left| left <= self.limits().drain)
    }

    pub(super) fn begin_response(
        &mut self,
        status: Status,
        response: Response,
        keeps: bool,
        now: Instant,
    ) {
        self.server.count(match status.code() {
            200..=299 => Counter::Success,
            300..=399 => Counter::Redirection,
            400..=499 => Counter::ClientError,
            _ => Counter::ServerError,
        });
        self.keeps = keeps;
        self.continue_due = false;
        self.response = response;
        if response == Response::Length(0) || self.is_head {
            self.end_response(now);
        }
    }

    // Within.

    /// Checks what a head means beyond its syntax, and makes it the current request.
    fn take_request(&mut self, head: &RequestHead<'_>, now: Instant) -> Result<Framing, Rejection> {
        let fields = head.fields();
        self.version = head.version();
        self.is_head = head.method() == Method::Head;
        let framing = head.framing().map_err(Rejection::Framing)?;
        check_host(head.version(), &fields)?;
        head.parse_target().map_err(Rejection::Target)?;
        if head.method() == Method::Connect {
            return Err(Rejection::Tunnel);
        }
        // A server ignores what a client of HTTP/1.0 expects (RFC 9110 §10.1.1).
        let mut expects = false;
        if fields.has(FieldName::Expect) && head.version() == Version::Http11 {
            let value = fields.single(FieldName::Expect);
            if !value.is_some_and(|value| value.eq_ignore_ascii_case(b"100-continue")) {
                return Err(Rejection::Expectation);
            }
            expects = framing != Framing::None;
        }
        self.body = BodyReader::new(framing, &self.limits().body).map_err(Rejection::Body)?;
        self.expects = expects;
        self.requests = self.requests.saturating_add(1);
        self.is_last = !head.is_persistent();
        self.keeps = !self.is_last && self.requests < self.limits().requests;
        self.response = Response::Awaited;
        self.drained = 0;
        self.since = now;
        self.deadline = None;
        if !self.body.is_complete() && !expects {
            self.set_body_deadline();
        }
        self.server.count(Counter::Requests);
        Ok(framing)
    }

    fn set_body_deadline(&mut self) {
        let time = self.limits().time_for(self.body.taken());
        self.deadline = Some(self.since + time);
    }

    fn wait_for_input(&mut self, ending: Ending) -> ServerEvent<'static> {
        if !self.input_ended {
            return ServerEvent::NeedInput;
        }
        self.end(ending);
        ServerEvent::Ended(ending)
    }

    /// What is left of a body that the application did not read. `None` when it is over.
    fn drain(
        &mut self,
        input: &[u8],
        slots: &mut [FieldSlot],
        now: Instant,
    ) -> Option<ServerEvent<'static>> {
        let Ok((skip, step)) = self.body.next(input, slots) else {
            self.end(Ending::Complete);
            return Some(ServerEvent::Ended(Ending::Complete));
        };
        match step {
            BodyStep::NeedInput if skip == 0 => {
                return Some(self.wait_for_input(Ending::Incomplete));
            }
            BodyStep::NeedInput => return Some(ServerEvent::Discard(skip)),
            BodyStep::Content(length) | BodyStep::Trailers(length) => {
                self.drained = self.drained.saturating_add(length as u64);
                if self.drained > self.limits().drain {
                    self.end(Ending::Complete);
                    return Some(ServerEvent::Ended(Ending::Complete));
                }
                self.body.consume(length);
                if self.body.is_complete() {
                    self.wait_for_request(now);
                } else {
                    self.set_body_deadline();
                }
                return Some(ServerEvent::Discard(skip + length));
            }
            BodyStep::Complete => self.wait_for_request(now),
        }
        (skip > 0).then_some(ServerEvent::Discard(skip))
    }

    /// The request's body can't be read on.
    fn fail_body(&mut self, rejection: Rejection) -> Rejection {
        self.server.count(rejection.counter());
        self.rejected = Some(rejection);
        self.expects = false;
        self.continue_due = false;
        self.body = BodyReader::complete();
        self.deadline = None;
        rejection
    }

    /// What came is no request for the application.
    fn reject(&mut self, rejection: Rejection) -> Rejection {
        self.fail_body(rejection);
        self.response = Response::Awaited;
        rejection
    }

    /// The response is complete.
    fn end_response(&mut self, now: Instant) {
        if self.rejected.is_some() {
            self.end(Ending::Rejected);
        } else if !self.keeps {
            self.end(match self.is_last && self.body.is_complete() {
                true => Ending::AsAsked,
                false => Ending::Complete,
            });
        } else if self.body.is_complete() {
            self.wait_for_request(now);
        } else {
            self.response = Response::Draining;
            self.set_body_deadline();
        }
    }

    fn wait_for_request(&mut self, now: Instant) {
        self.response = Response::Idle;
        self.parser = HeadParser::request();
        // What is rejected without a head is answered as if it were this.
        self.version = Version::Http11;
        self.is_head = false;
        self.deadline = Some((now + self.limits().idle).min(self.end));
    }

    /// The first ending counts.
    fn end(&mut self, ending: Ending) {
        self.response = Response::Idle;
        self.deadline = None;
        if self.ending.is_none() {
            self.server.count(ending.counter());
            self.ending = Some(ending);
        }
    }
}

/// A request of HTTP/1.1 has one Host; one of HTTP/1.0 at most one (RFC 9112 §3.2).
fn check_host(version: Version, fields: &Fields<'_>) -> Result<(), Rejection> {
    if !fields.has(FieldName::Host) {
        return match version {
            Version::Http10 => Ok(()),
            Version::Http11 => Err(Rejection::Host),
        };
    }
    match fields.text(FieldName::Host) {
        Some(host) if is_authority(host) => Ok(()),
        _ => Err(Rejection::Host),
    }
}

/// The content has not the length that the head said: the caller's fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WrongLength;

impl fmt::Display for WrongLength {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("content has not the length that the head said")
    }
}

impl core::error::Error for WrongLength {}
