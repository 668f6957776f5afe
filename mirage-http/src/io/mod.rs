//! Asynchronous shells over streams of `embedded-io-async`: sockets of any stack, TLS above them, pipes.
//!
//! | item | what it is |
//! | --- | --- |
//! | [`serve`] | serves one connection with an [`Application`] |
//! | [`Exchange`] | one request's body, and its response |
//! | [`Client`] | asks a server over one connection |
//! | [`Stream`] | what a server may be told of a stream beyond reading and writing: what is static, what is last |
//! | [`Written`] | any stream as one |
//! | [`Timer`] | the time, and deadlines; implemented by mirage-core's executor |
//!
//! They are thin: what they do is said by [`ServerConnection`](crate::server::ServerConnection) and
//! [`ClientConnection`](crate::client::ClientConnection). Reading and writing futures are dropped at deadlines.

mod client;
mod exchange;
mod serve;
mod stream;
mod timer;

pub use client::{Client, FetchError};
pub use exchange::{Exchange, ServeError};
pub use serve::{Application, Storage, serve};
pub use stream::{Stream, Written};
pub use timer::Timer;

use mirage_core::Instant;

/// Why octets couldn't be written.
pub(crate) enum Stuck<E> {
    Stream(E),
    /// The stream took nothing, or nothing in time.
    TooSlow,
}

/// Octets that are to be sent, and how.
#[derive(Clone, Copy)]
pub(crate) enum Octets<'o> {
    /// They may change, or go, once they are written.
    Passing(&'o [u8]),
    /// They lie in the program, and are sent from there if the stream can.
    Static(&'static [u8]),
    /// They are the last of all.
    Last(&'o [u8]),
}

impl<'o> Octets<'o> {
    pub(crate) fn as_slice(self) -> &'o [u8] {
        match self {
            Self::Passing(octets) | Self::Static(octets) | Self::Last(octets) => octets,
        }
    }

    /// The first `length` of them, or all.
    fn first(self, length: usize) -> Self {
        match self {
            Self::Passing(octets) => Self::Passing(octets.get(..length).unwrap_or(octets)),
            Self::Static(octets) => Self::Static(octets.get(..length).unwrap_or(octets)),
            Self::Last(octets) => Self::Last(octets.get(..length).unwrap_or(octets)),
        }
    }

    /// Those behind the first `length`.
    fn behind(self, length: usize) -> Self {
        match self {
            Self::Passing(octets) => Self::Passing(octets.get(length..).unwrap_or_default()),
            Self::Static(octets) => Self::Static(octets.get(length..).unwrap_or_default()),
            Self::Last(octets) => Self::Last(octets.get(length..).unwrap_or_default()),
        }
    }

    async fn write<S: Stream>(self, socket: &mut S) -> Result<usize, S::Error> {
        match self {
            Self::Passing(octets) => socket.write(octets).await,
            Self::Static(octets) => socket.write_static(octets).await,
            Self::Last(octets) => socket.write_last(octets).await,
        }
    }
}

/// Writes all of `octets` by a deadline. For each way to send: each would else be in the program with a timer of its own.
pub(crate) async fn write_all<S: Stream, T: Timer>(
    socket: &mut S,
    timer: &T,
    deadline: Instant,
    mut octets: Octets<'_>,
) -> Result<(), Stuck<S::Error>> {
    while !octets.as_slice().is_empty() {
        let written = timer.until(deadline, octets.write(socket)).await;
        match written.ok_or(Stuck::TooSlow)?.map_err(Stuck::Stream)? {
            0 => return Err(Stuck::TooSlow),
            written => octets = octets.behind(written),
        }
    }
    Ok(())
}

/// Octets of a stream that came and were not yet taken, at the end of a slice of the caller's.
pub(crate) struct Inbox<'b> {
    pub(crate) buffer: &'b mut [u8],
    pub(crate) start: usize,
    pub(crate) end: usize,
}

impl Inbox<'_> {
    pub(crate) fn octets(&self) -> &[u8] {
        &self.buffer[self.start..self.end]
    }

    pub(crate) fn consume(&mut self, length: usize) {
        self.start = (self.start + length).min(self.end);
    }

    /// Where to read to; empty where all of the slice is taken.
    pub(crate) fn space(&mut self) -> &mut [u8] {
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
        } else if self.end == self.buffer.len() {
            self.move_to_front();
        }
        &mut self.buffer[self.end..]
    }

    /// Moves what is there to the slice's beginning, so that all of the room is behind it.
    pub(crate) fn move_to_front(&mut self) {
        if self.start > 0 {
            self.buffer.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, self.end - self.start);
        }
    }

    pub(crate) fn handle_received(&mut self, length: usize) {
        self.end = (self.end + length).min(self.buffer.len());
    }
}
