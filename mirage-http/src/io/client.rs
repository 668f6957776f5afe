//! A client's connection over a stream.

use core::fmt;

use embedded_io_async::{Read, Write};

use super::{Inbox, Octets, Storage, Stuck, Timer, Written, write_all};
use crate::body::{BodyStep, Content};
use crate::client::{
    ClientConnection, ClientError, ClientEvent, ClientLimits, RequestContent, RequestWriter,
};
use crate::field::FieldSlot;
use crate::head::{ResponseHead, WriteError};
use crate::method::Method;

/// Asks a server over one connection, one request after the other.
pub struct Client<'c, S, T> {
    socket: &'c mut S,
    timer: &'c T,
    connection: ClientConnection<'c>,
    limits: &'c ClientLimits,
    inbox: Inbox<'c>,
    output: &'c mut [u8],
    slots: &'c mut [FieldSlot],
}

impl<'c, S: Read + Write, T: Timer> Client<'c, S, T> {
    /// A client over a stream that is connected. `storage` holds a request's head, and a response's with some of the body.
    pub fn new(
        socket: &'c mut S,
        timer: &'c T,
        limits: &'c ClientLimits,
        storage: Storage<'c>,
    ) -> Self {
        Self {
            socket,
            timer,
            connection: ClientConnection::new(limits),
            limits,
            inbox: Inbox {
                buffer: storage.input,
                start: 0,
                end: 0,
            },
            output: storage.output,
            slots: storage.slots,
        }
    }

    /// Whether another request may be sent, once this response's body was read to its end.
    pub fn is_reusable(&self) -> bool {
        self.connection.is_reusable()
    }

    /// Sends a request, and waits for its response: `look` sees the head. The body is had from [`fill`](Self::fill); it is to be read to its
    /// end before the next request. What is left of one response is read then, too.
    ///
    /// # Errors
    ///
    /// [`FetchError`]: the connection is of no more use.
    pub async fn fetch<R>(
        &mut self,
        method: Method<'_>,
        target: &str,
        host: &str,
        fields: impl FnOnce(&mut RequestWriter<'_, '_, '_>),
        content: Option<Content<'_>>,
        look: impl FnOnce(&ResponseHead<'_>) -> R,
    ) -> Result<R, FetchError<S::Error>> {
        loop {
            let left = self.fill().await?.len();
            if left == 0 {
                break;
            }
            self.consume(left);
        }
        let length = match content {
            None => RequestContent::None,
            Some(content) => RequestContent::Known(content.len() as u64),
        };
        let now = self.timer.now();
        let mut request = self
            .connection
            .request(self.output, method, target, host)
            .ok_or(FetchError::NotReusable)?;
        fields(&mut request);
        let head = request.finish(length, now).map_err(FetchError::Head)?;
        let head = self.output.get(..head).unwrap_or_default();
        let deadline = now + self.limits.response;
        let mut socket = Written(&mut *self.socket);
        write_all(&mut socket, self.timer, deadline, Octets::Passing(head)).await?;
        for piece in content.unwrap_or_default().pieces() {
            let now = self.timer.now();
            let deadline = now + self.limits.response;
            let octets = Octets::Passing(piece);
            write_all(&mut socket, self.timer, deadline, octets).await?;
            let sent = self.connection.handle_sent(piece.len() as u64, now);
            sent.map_err(FetchError::Server)?;
        }
        match self.timer.until(deadline, self.socket.flush()).await {
            Some(result) => result.map_err(FetchError::Stream)?,
            None => return Err(FetchError::Server(ClientError::Timeout)),
        }
        self.response(look).await
    }

    async fn response<R>(
        &mut self,
        look: impl FnOnce(&ResponseHead<'_>) -> R,
    ) -> Result<R, FetchError<S::Error>> {
        loop {
            let now = self.timer.now();
            let octets = &self.inbox.buffer[self.inbox.start..self.inbox.end];
            let event = self.connection.handle_input(octets, self.slots, now);
            let length = match event.map_err(FetchError::Server)? {
                ClientEvent::Response { head, length, .. } => {
                    let seen = look(&head);
                    self.inbox.consume(length);
                    return Ok(seen);
                }
                ClientEvent::Informational { length, .. } => length,
                ClientEvent::NeedInput => 0,
                // A request waits, and its response's body isn't being read.
                ClientEvent::Busy | ClientEvent::Ended => return Err(FetchError::NotReusable),
            };
            self.inbox.consume(length);
            if length == 0 {
                self.receive().await?;
            }
        }
    }

    /// Content of the response's body, as it lies: none when it is over. What was taken of it is told to [`consume`](Self::consume).
    ///
    /// # Errors
    ///
    /// [`FetchError`]: no more of the body is to be had.
    pub async fn fill(&mut self) -> Result<&[u8], FetchError<S::Error>> {
        let length = loop {
            let now = self.timer.now();
            let next = self
                .connection
                .handle_body(self.inbox.octets(), self.slots, now);
            let (skip, step) = next.map_err(FetchError::Server)?;
            self.inbox.consume(skip);
            match step {
                BodyStep::Content(length) => break length,
                BodyStep::Complete => break 0,
                BodyStep::Trailers(length) => self.consume(length),
                BodyStep::NeedInput => self.receive().await?,
            }
        };
        Ok(&self.inbox.octets()[..length])
    }

    /// Says that so many octets of the content were taken.
    pub fn consume(&mut self, length: usize) {
        self.connection.consume_body(length, self.timer.now());
        self.inbox.consume(length);
    }

    async fn receive(&mut self) -> Result<(), FetchError<S::Error>> {
        let space = self.inbox.space();
        if space.is_empty() {
            return Err(FetchError::Head(WriteError::NoRoom));
        }
        let now = self.timer.now();
        let deadline = self.connection.poll_timeout().unwrap_or(now);
        match self.timer.until(deadline, self.socket.read(space)).await {
            Some(Ok(0)) => self.connection.handle_end(),
            Some(Ok(length)) => self.inbox.handle_received(length),
            Some(Err(error)) => return Err(FetchError::Stream(error)),
            None => {
                let timeout = self.connection.handle_timeout(self.timer.now());
                timeout.map_err(FetchError::Server)?;
            }
        }
        Ok(())
    }
}

/// Why a server was asked in vain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum FetchError<E> {
    /// The stream's.
    Stream(E),
    /// The server's.
    Server(ClientError),
    /// The caller's: the request can't be written, or a head has no room.
    Head(WriteError),
    /// The connection can't be used again, or not for this request.
    NotReusable,
}

impl<E> From<Stuck<E>> for FetchError<E> {
    fn from(error: Stuck<E>) -> Self {
        match error {
            Stuck::Stream(error) => Self::Stream(error),
            Stuck::TooSlow => Self::Server(ClientError::Timeout),
        }
    }
}

impl<E: fmt::Display> fmt::Display for FetchError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Stream(error) => error.fmt(f),
            Self::Server(error) => error.fmt(f),
            Self::Head(error) => error.fmt(f),
            Self::NotReusable => f.write_str("connection can't be used for this request"),
        }
    }
}

impl<E: fmt::Debug + fmt::Display> core::error::Error for FetchError<E> {}
