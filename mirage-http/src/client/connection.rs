//! One connection.

use core::time::Duration;

use mirage_core::Instant;

use super::request::RequestWriter;
use super::{ClientError, ClientLimits};
use crate::body::{BodyReader, BodyStep};
use crate::chunked::ChunkHead;
use crate::field::{FieldSlot, Fields};
use crate::framing::Framing;
use crate::head::{HeadParser, HeadWriter, ResponseHead, Version};
use crate::method::Method;
use crate::status::Status;
use crate::target::is_authority;

/// The most requests that wait for their responses at once.
const PIPELINE: usize = 8;

/// The client's side of one connection: a pure state machine, which has no buffer.
///
/// As with [`ServerConnection`](crate::server::ServerConnection) the owner keeps what came and was not yet taken in one slice, and lets go of
/// what the machine says. Up to 8 requests may wait for their responses, if all can be asked again ([`Method::is_idempotent`]).
///
/// - Getters: [`is_reusable`](Self::is_reusable), [`unanswered`](Self::unanswered),
///   [`may_send_content`](Self::may_send_content), [`trailers`](Self::trailers).
/// - Inputs: [`handle_input`](Self::handle_input) for a response's head; [`handle_body`](Self::handle_body) and
///   [`consume_body`](Self::consume_body) for its body; [`handle_end`](Self::handle_end) when the stream has no more;
///   [`handle_timeout`](Self::handle_timeout).
/// - Mutators: [`request`](Self::request), [`handle_sent`](Self::handle_sent), [`chunk`](Self::chunk),
///   [`end_content`](Self::end_content).
/// - Output: [`poll_timeout`](Self::poll_timeout).
///
/// ```
/// use mirage_core::Instant;
/// use mirage_http::client::{ClientConnection, ClientEvent, ClientLimits, RequestContent};
/// use mirage_http::field::FieldSlot;
/// use mirage_http::{Method, Status};
///
/// let (limits, now) = (ClientLimits::DEFAULT, Instant::ZERO);
/// let mut connection = ClientConnection::new(&limits);
/// let (mut slots, mut out) = ([FieldSlot::EMPTY; 32], [0; 256]);
///
/// let request = connection.request(&mut out, Method::Get, "/", "example.org").unwrap();
/// let length = request.finish(RequestContent::None, now)?;
/// assert_eq!(&out[..length], b"GET / HTTP/1.1\r\nhost: example.org\r\n\r\n");
///
/// let input = b"HTTP/1.1 204 No Content\r\n\r\n";
/// let ClientEvent::Response { head, .. } = connection.handle_input(input, &mut slots, now)? else {
///     panic!("it is whole");
/// };
/// assert_eq!(head.status(), Status::NO_CONTENT);
/// assert!(connection.is_reusable());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct ClientConnection<'l> {
    limits: &'l ClientLimits,
    parser: HeadParser,
    body: BodyReader,
    /// Requests that wait, the oldest first.
    pending: [Pending; PIPELINE],
    waiting: usize,
    sending: Sending,
    /// Until when the content waits for the server's word.
    held: Option<Instant>,
    /// Whether a response's body is being read.
    in_body: bool,
    keeps: bool,
    informational: u8,
    input_ended: bool,
    since: Instant,
    deadline: Option<Instant>,
    failed: Option<ClientError>,
}

/// A request that waits, as far as its response depends on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Pending {
    pub(super) is_head: bool,
    pub(super) is_idempotent: bool,
}

/// What of a request's content is still to be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sending {
    Nothing,
    Length(u64),
    Chunks,
}

/// What is in the input.
#[derive(Clone, Copy, Debug)]
pub enum ClientEvent<'i> {
    /// Nothing yet: read more, and give it behind what is there.
    NeedInput,
    /// A response that others follow (1xx); nothing needs to be done about it.
    Informational {
        /// Its head.
        head: ResponseHead<'i>,
        /// Octets of the head, to let go of.
        length: usize,
    },
    /// The response to the oldest request. The body begins behind the head.
    Response {
        /// Its head: a view of the input and the slots.
        head: ResponseHead<'i>,
        /// Octets of the head, to let go of.
        length: usize,
        /// How the body is delimited.
        framing: Framing,
    },
    /// A response's body is being read: [`ClientConnection::handle_body`] has it.
    Busy,
    /// The server has closed the stream, and no request waits.
    Ended,
}

impl<'l> ClientConnection<'l> {
    /// A new connection.
    pub fn new(limits: &'l ClientLimits) -> Self {
        Self {
            limits,
            parser: HeadParser::response(),
            body: BodyReader::complete(),
            pending: [Pending {
                is_head: false,
                is_idempotent: true,
            }; PIPELINE],
            waiting: 0,
            sending: Sending::Nothing,
            held: None,
            in_body: false,
            keeps: true,
            informational: 0,
            input_ended: false,
            since: Instant::ZERO,
            deadline: None,
            failed: None,
        }
    }

    // Getters.

    /// Whether another request may go over this connection once nothing of an earlier one is left.
    pub fn is_reusable(&self) -> bool {
        self.keeps
            && self.waiting == 0
            && self.sending == Sending::Nothing
            && self.failed.is_none()
            && !self.input_ended
    }

    /// How many requests wait for their responses. When the connection is over, these were not answered; whether they were done
    /// is not known.
    pub fn unanswered(&self) -> usize {
        self.waiting
    }

    /// Whether content of the request is to be sent, and may be by now.
    pub fn may_send_content(&self) -> bool {
        self.failed.is_none() && self.held.is_none() && self.sending != Sending::Nothing
    }

    /// Why the connection has failed, if it has.
    pub fn error(&self) -> Option<ClientError> {
        self.failed
    }

    // Mutators.

    /// Begins a request to `host` (a host, and a port where it isn't the scheme's own), whose head is written into `out`.
    ///
    /// `None` where it can't be sent on this connection: it is over, or to be closed; a request's content is not complete; 8 wait
    /// already; one of those that wait, or this, must not be asked twice. Nor with CONNECT, nor for a host that is none.
    pub fn request<'c, 'b>(
        &'c mut self,
        out: &'b mut [u8],
        method: Method<'_>,
        target: &str,
        host: &str,
    ) -> Option<RequestWriter<'c, 'l, 'b>> {
        let may = self.keeps
            && self.failed.is_none()
            && !self.input_ended
            && self.sending == Sending::Nothing
            && self.waiting < PIPELINE;
        let waiting = self.pending.get(..self.waiting)?;
        let repeatable = waiting.is_empty()
            || method.is_idempotent() && waiting.iter().all(|pending| pending.is_idempotent);
        if !may || !repeatable || method == Method::Connect || !is_authority(host) {
            return None;
        }
        let mut head = HeadWriter::request(out, method, target, Version::Http11);
        head.field("host", host.as_bytes());
        Some(RequestWriter {
            head,
            pending: Pending {
                is_head: method == Method::Head,
                is_idempotent: method.is_idempotent(),
            },
            expects: false,
            closes: false,
            connection: self,
        })
    }

    pub(super) fn begin_request(
        &mut self,
        pending: Pending,
        sending: Sending,
        expects: bool,
        closes: bool,
        now: Instant,
    ) {
        if let Some(place) = self.pending.get_mut(self.waiting) {
            *place = pending;
            self.waiting += 1;
        }
        self.sending = sending;
        self.held = expects.then(|| now + self.limits.wait_for_continue);
        self.keeps = !closes;
        if self.waiting == 1 {
            self.deadline = Some(now + self.limits.response);
        }
    }

    /// Says that so many octets of the request's content were given to the stream. Not for chunks. While content is sent, the server has
    /// its time for the response anew.
    ///
    /// # Errors
    ///
    /// [`ClientError::WrongLength`]: more than the head said. They must not have been sent.
    pub fn handle_sent(&mut self, octets: u64, now: Instant) -> Result<(), ClientError> {
        match self.sending {
            Sending::Length(left) if octets <= left => {
                self.sending = match left - octets {
                    0 => Sending::Nothing,
                    left => Sending::Length(left),
                };
                self.extend(now);
                Ok(())
            }
            Sending::Nothing | Sending::Chunks if octets == 0 => Ok(()),
            _ => Err(self.fail(ClientError::WrongLength)),
        }
    }

    /// What goes before a chunk of so many octets; [`CHUNK_END`](crate::chunked::CHUNK_END) goes behind it. `None` for none, and where
    /// the content is not chunked.
    pub fn chunk(&mut self, octets: u64, now: Instant) -> Option<ChunkHead> {
        if self.sending != Sending::Chunks {
            return None;
        }
        self.extend(now);
        ChunkHead::new(octets)
    }

    /// Ends a content in chunks. What is to be sent at last.
    ///
    /// # Errors
    ///
    /// [`ClientError::WrongLength`]: fewer octets came than the head said.
    pub fn end_content(&mut self, now: Instant) -> Result<&'static [u8], ClientError> {
        match self.sending {
            Sending::Nothing => Ok(b""),
            Sending::Chunks => {
                self.sending = Sending::Nothing;
                self.extend(now);
                Ok(b"0\r\n\r\n")
            }
            Sending::Length(_) => Err(self.fail(ClientError::WrongLength)),
        }
    }

    // Inputs.

    /// Looks for a response in `input`: all that came and was not yet taken.
    ///
    /// # Errors
    ///
    /// [`ClientError`]: the connection is over.
    pub fn handle_input<'i>(
        &mut self,
        input: &'i [u8],
        slots: &'i mut [FieldSlot],
        now: Instant,
    ) -> Result<ClientEvent<'i>, ClientError> {
        if let Some(error) = self.failed {
            return Err(error);
        }
        if self.in_body {
            return Ok(ClientEvent::Busy);
        }
        if self.waiting == 0 {
            return match (input.is_empty(), self.input_ended) {
                (true, true) => Ok(ClientEvent::Ended),
                (true, false) => Ok(ClientEvent::NeedInput),
                (false, _) => Err(self.fail(ClientError::Unsolicited)),
            };
        }
        let limits = self.limits;
        let length = match self.parser.parse(input, slots, &limits.head) {
            Ok(Some(length)) => length,
            Ok(None) if self.input_ended => return Err(self.fail(ClientError::Truncated)),
            Ok(None) => return Ok(ClientEvent::NeedInput),
            Err(error) => return Err(self.fail(ClientError::Head(error))),
        };
        let slots: &'i [FieldSlot] = slots;
        let Some(head) = self.parser.response_head(input, slots) else {
            return Ok(ClientEvent::NeedInput);
        };
        self.parser = HeadParser::response();
        if head.status() == Status::SWITCHING_PROTOCOLS {
            return Err(self.fail(ClientError::Upgrade));
        }
        // The oldest is there: one waits.
        let pending = self.pending[0];
        let method = match pending.is_head {
            true => Method::Head,
            false => Method::Get,
        };
        let framing = match head.framing(method) {
            Ok(framing) => framing,
            Err(error) => return Err(self.fail(ClientError::Framing(error))),
        };
        if head.status().is_informational() {
            self.informational = self.informational.saturating_add(1);
            if self.informational > limits.informational {
                return Err(self.fail(ClientError::Informational));
            }
            if head.status() == Status::CONTINUE {
                self.held = None;
            }
            return Ok(ClientEvent::Informational { head, length });
        }
        self.body = match BodyReader::new(framing, &limits.body) {
            Ok(body) => body,
            Err(error) => return Err(self.fail(ClientError::Body(error))),
        };
        if !head.is_persistent() || framing == Framing::UntilClose {
            self.keeps = false;
        }
        if self.sending != Sending::Nothing && self.waiting == 1 {
            // The server has enough of the content: what is left is not sent, and then no other request can be (RFC 9110 §10.1.1,
            // RFC 9112 §9.3).
            self.sending = Sending::Nothing;
            self.held = None;
            self.keeps = false;
        }
        self.in_body = true;
        self.since = now;
        self.informational = 0;
        self.set_body_deadline();
        if self.body.is_complete() {
            self.end_response(now);
        }
        Ok(ClientEvent::Response {
            head,
            length,
            framing,
        })
    }

    /// Says what is next of the response's body in `input`, which begins behind what was taken: see [`BodyReader::next`].
    ///
    /// # Errors
    ///
    /// [`ClientError`]: the connection is over.
    pub fn handle_body(
        &mut self,
        input: &[u8],
        slots: &mut [FieldSlot],
        now: Instant,
    ) -> Result<(usize, BodyStep), ClientError> {
        if let Some(error) = self.failed {
            return Err(error);
        }
        let (skip, mut step) = match self.body.next(input, slots) {
            Ok(next) => next,
            Err(error) => return Err(self.fail(ClientError::Body(error))),
        };
        if step == BodyStep::NeedInput && self.input_ended {
            if let Err(error) = self.body.handle_end() {
                return Err(self.fail(ClientError::Body(error)));
            }
            step = BodyStep::Complete;
        }
        if step == BodyStep::Complete {
            self.end_response(now);
        }
        Ok((skip, step))
    }

    /// Says that so many octets of content, or the trailers, were taken.
    pub fn consume_body(&mut self, length: usize, now: Instant) {
        if !self.in_body {
            return;
        }
        self.body.consume(length);
        self.set_body_deadline();
        if self.body.is_complete() {
            self.end_response(now);
        }
    }

    /// The trailers, between [`BodyStep::Trailers`] and [`consume_body`](Self::consume_body).
    pub fn trailers<'a>(&self, input: &'a [u8], slots: &'a [FieldSlot]) -> Option<Fields<'a>> {
        self.body.trailers(input, slots)
    }

    /// Says that the stream gives no more octets.
    pub fn handle_end(&mut self) {
        self.input_ended = true;
        self.keeps = false;
    }

    /// Says that it is `now`: content that waited for the server's word may be sent, or the server was too slow.
    ///
    /// # Errors
    ///
    /// [`ClientError::Timeout`]: the connection is over.
    pub fn handle_timeout(&mut self, now: Instant) -> Result<(), ClientError> {
        if self.held.is_some_and(|held| now >= held) {
            self.held = None;
        }
        if self.failed.is_none() && self.deadline.is_some_and(|deadline| now >= deadline) {
            return Err(self.fail(ClientError::Timeout));
        }
        Ok(())
    }

    // Output.

    /// When [`handle_timeout`](Self::handle_timeout) wants to be called.
    pub fn poll_timeout(&self) -> Option<Instant> {
        if self.failed.is_some() {
            return None;
        }
        match (self.held, self.deadline) {
            (Some(held), Some(deadline)) => Some(held.min(deadline)),
            (held, deadline) => held.or(deadline),
        }
    }

    // Within.

    fn extend(&mut self, now: Instant) {
        if !self.in_body && self.waiting > 0 {
            self.deadline = Some(now + self.limits.response);
        }
    }

    fn set_body_deadline(&mut self) {
        let rate = u64::from(self.limits.rate.max(1));
        let millis = self.body.taken().saturating_mul(1_000) / rate;
        let time = self
            .limits
            .grace
            .saturating_add(Duration::from_millis(millis));
        self.deadline = Some(self.since + time);
    }

    fn end_response(&mut self, now: Instant) {
        if !core::mem::take(&mut self.in_body) {
            return;
        }
        self.pending.copy_within(1.., 0);
        self.waiting = self.waiting.saturating_sub(1);
        self.deadline = match self.waiting {
            0 => None,
            _ => Some(now + self.limits.response),
        };
    }

    fn fail(&mut self, error: ClientError) -> ClientError {
        self.failed.get_or_insert(error);
        self.keeps = false;
        self.deadline = None;
        error
    }
}
