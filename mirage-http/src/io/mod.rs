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

use embedded_io_async::Write;
use mirage_core::Instant;

/// Why octets couldn't be written.
pub(crate) enum Stuck<E> {
    Stream(E),
    /// The stream took nothing, or nothing in time.
    TooSlow,
}

/// Writes all of `octets` by a deadline.
pub(crate) async fn write_all<S: Write, T: Timer>(
    socket: &mut S,
    timer: &T,
    deadline: Instant,
    mut octets: &[u8],
) -> Result<(), Stuck<S::Error>> {
    while !octets.is_empty() {
        let written = timer.until(deadline, socket.write(octets)).await;
        match written.ok_or(Stuck::TooSlow)?.map_err(Stuck::Stream)? {
            0 => return Err(Stuck::TooSlow),
            written => octets = octets.get(written..).unwrap_or_default(),
        }
    }
    Ok(())
}

/// The same of octets of the program, sent from where they lie if the stream can.
pub(crate) async fn write_all_static<S: Stream, T: Timer>(
    socket: &mut S,
    timer: &T,
    deadline: Instant,
    mut octets: &'static [u8],
) -> Result<(), Stuck<S::Error>> {
    while !octets.is_empty() {
        let written = timer.until(deadline, socket.write_static(octets)).await;
        match written.ok_or(Stuck::TooSlow)?.map_err(Stuck::Stream)? {
            0 => return Err(Stuck::TooSlow),
            written => octets = octets.get(written..).unwrap_or_default(),
        }
    }
    Ok(())
}

/// The same of the last octets of all.
pub(crate) async fn write_all_last<S: Stream, T: Timer>(
    socket: &mut S,
    timer: &T,
    deadline: Instant,
    mut octets: &[u8],
) -> Result<(), Stuck<S::Error>> {
    while !octets.is_empty() {
        let written = timer.until(deadline, socket.write_last(octets)).await;
        match written.ok_or(Stuck::TooSlow)?.map_err(Stuck::Stream)? {
            0 => return Err(Stuck::TooSlow),
            written => octets = octets.get(written..).unwrap_or_default(),
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
