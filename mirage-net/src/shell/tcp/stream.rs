//! A connection of a shared stack.

use core::cell::Cell;
use core::fmt;
use core::future::poll_fn;
use core::net::SocketAddr;
use core::task::{Context, Poll, Waker};

use mirage_core::{PageMut, Segment};

use super::wakers::{Dropped, StreamWakerSlot};
use crate::Stack;
use crate::shell::{SharedStack, again_later, later};
use crate::tcp::{ConnectionOptions, Received, TcpError, TcpHandle, TcpState};

impl<'a> SharedStack<'a> {
    /// Opens a connection and waits until it is established. `local` may have the unspecified address, then the route
    /// chooses, and port 0, then RFC 6056 does. How long it is tried says
    /// [`TcpConfig::connect`](crate::tcp::TcpConfig::connect); dropping the future gives it up.
    ///
    /// # Errors
    /// [`TcpError`]: why there is no connection; [`TcpError::TableFull`] also beyond the slots of
    /// [`TcpWakers`](crate::TcpWakers).
    pub async fn tcp_connect(
        &self,
        local: SocketAddr,
        remote: SocketAddr,
        options: ConnectionOptions,
    ) -> Result<TcpStream<'_, 'a>, TcpError> {
        let stream = loop {
            match self.tcp_open(local, remote, options) {
                Err(TcpError::Busy) => again_later().await,
                result => break result?,
            }
        };
        let connection = &stream.connection;
        poll_fn(|context| {
            connection.poll(context, send, |stack, handle| {
                match stack.tcp_state(handle) {
                    Some(TcpState::SynSent | TcpState::SynReceived) => Ok(None),
                    Some(TcpState::Closed) => {
                        Err(stack.tcp_error(handle).unwrap_or(TcpError::NotOpen))
                    }
                    Some(_) => Ok(Some(())),
                    None => Err(TcpError::NotOpen),
                }
            })
        })
        .await?;
        Ok(stream)
    }

    /// Begins to open a connection, and does not wait: what is written goes out when it is established, and reading
    /// waits for that.
    ///
    /// # Errors
    /// [`TcpError`]: nothing was opened; [`TcpError::Busy`].
    pub fn tcp_open(
        &self,
        local: SocketAddr,
        remote: SocketAddr,
        options: ConnectionOptions,
    ) -> Result<TcpStream<'_, 'a>, TcpError> {
        let now = self.clock.now();
        let mut stack = self.stack.try_borrow_mut().map_err(|_| TcpError::Busy)?;
        self.close_dropped(&mut stack, now);
        let handle = stack.tcp_connect(now, local, remote, options)?;
        let stream = self.tcp_stream(&mut stack, handle);
        self.changed.set();
        stream
    }

    /// The owner of a connection; without a slot for it there is none.
    pub(super) fn tcp_stream(
        &self,
        stack: &mut Stack<'a>,
        handle: TcpHandle,
    ) -> Result<TcpStream<'_, 'a>, TcpError> {
        if self.tcp.streams.get(handle.index()).is_none() {
            stack.tcp_abort(self.clock.now(), handle);
            self.changed.set();
            return Err(TcpError::TableFull);
        }
        Ok(TcpStream {
            connection: Connection {
                shared: self,
                handle,
                open: Cell::new(true),
            },
            held: Cell::new(None),
        })
    }
}

/// A connection of a [`SharedStack`].
///
/// Dropped, it is closed: what was written still goes out, and the peer is told that no more comes; but if something was
/// received that nobody read, the peer is reset (RFC 1122 §4.2.2.13).
///
/// One task may read and one write at a time, through a reference that both have or through [halves](Self::split).
pub struct TcpStream<'s, 'a> {
    pub(super) connection: Connection<'s, 'a>,
    /// A piece that is read in place, byte by byte.
    pub(super) held: Cell<Option<Segment>>,
}

impl fmt::Debug for TcpStream<'_, '_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TcpStream")
            .field("handle", &self.connection.handle)
            .finish_non_exhaustive()
    }
}

impl<'s, 'a> TcpStream<'s, 'a> {
    /// Local address and port; none while the stack is in use (see [`SharedStack::with`]).
    pub fn local(&self) -> Option<SocketAddr> {
        let stack = self.connection.shared.stack.try_borrow().ok()?;
        stack.tcp_local(self.connection.handle)
    }

    /// The peer; none while the stack is in use.
    pub fn remote(&self) -> Option<SocketAddr> {
        let stack = self.connection.shared.stack.try_borrow().ok()?;
        stack.tcp_remote(self.connection.handle)
    }

    /// The connection's state; none while the stack is in use, and once it was [aborted](Self::abort).
    pub fn state(&self) -> Option<TcpState> {
        let stack = self.connection.shared.stack.try_borrow().ok()?;
        stack.tcp_state(self.connection.handle)
    }

    /// Receives the next piece in the page that it came in: no copy. None when the peer has closed its direction and all
    /// was read. Dropping the future loses nothing.
    ///
    /// # Errors
    /// [`TcpError`]: the connection ended, and nothing is left to read.
    pub async fn receive(&self) -> Result<Option<Segment>, TcpError> {
        poll_fn(|context| {
            let mut held = self.held.take();
            self.connection.poll_receive(context, &mut held)
        })
        .await
    }

    /// Copies what was received into `buffer`, once, and says how much that was: 0 when the peer has closed its direction
    /// and all was read. Dropping the future loses nothing.
    ///
    /// # Errors
    /// As [`receive`](Self::receive).
    pub async fn read(&self, buffer: &mut [u8]) -> Result<usize, TcpError> {
        poll_fn(|context| {
            let mut held = self.held.take();
            let result = self.connection.poll_read(context, &mut held, buffer);
            self.held.set(held);
            result
        })
        .await
    }

    /// Waits until reading would not wait: there is something, the end, or an error.
    pub async fn readable(&self) {
        let held = self.held.take();
        let is_readable = held.is_some();
        self.held.set(held);
        if !is_readable {
            poll_fn(|context| self.connection.poll_readable(context)).await;
        }
    }

    /// Sends a segment from where it lies, a page or a part of a registered static range, without a copy; waits while the
    /// queue is full. It stays there until the peer has acknowledged it. If the future is dropped first, it is not sent. A page to
    /// be filled comes from [`page`](Self::page).
    ///
    /// # Errors
    /// [`TcpError`]: nothing can be sent any more; the segment is gone.
    pub async fn send(&self, segment: impl Into<Segment>) -> Result<(), TcpError> {
        let mut segment = Some(segment.into());
        poll_fn(|context| self.connection.poll_send(context, &mut segment)).await
    }

    /// A page of the stack's pool to be filled and given to [`send`](Self::send), empty; waits while the queue is full, and while
    /// the pages that are left are kept for what is received ([`Stack::tcp_page`]).
    ///
    /// # Errors
    /// [`TcpError`]: nothing can be sent any more.
    pub async fn page(&self) -> Result<PageMut, TcpError> {
        poll_fn(|context| self.connection.poll_page(context)).await
    }

    /// Queues a copy of as much of `bytes` as there is room for, made in the pages that are sent, and says how much that was;
    /// waits while there is no room at all. Dropping the future queues nothing.
    ///
    /// # Errors
    /// [`TcpError`]: nothing can be sent any more.
    pub async fn write(&self, bytes: &[u8]) -> Result<usize, TcpError> {
        poll_fn(|context| self.connection.poll_write(context, bytes)).await
    }

    /// Queues a copy of all of `bytes`, waiting for room. Of a future that is dropped a part may have been queued.
    ///
    /// # Errors
    /// As [`write`](Self::write).
    pub async fn write_all(&self, mut bytes: &[u8]) -> Result<(), TcpError> {
        while !bytes.is_empty() {
            let written = self.write(bytes).await?;
            bytes = bytes.get(written..).unwrap_or_default();
        }
        Ok(())
    }

    /// Waits until something can be queued, or nothing any more.
    pub async fn writable(&self) {
        poll_fn(|context| self.connection.poll_writable(context)).await;
    }

    /// Waits until the peer has acknowledged all that was queued, and that there will be no more if
    /// [`shutdown`](Self::shutdown) said so. That it has it says nothing of whether it has read it.
    ///
    /// # Errors
    /// [`TcpError`]: why it never will.
    pub async fn delivered(&self) -> Result<(), TcpError> {
        poll_fn(|context| self.connection.poll_delivered(context)).await
    }

    /// Closes our direction, behind all that is queued; the other one stays open. It does not wait.
    ///
    /// # Errors
    /// [`TcpError::Closing`] when it was closed before; why there is no connection; [`TcpError::Busy`].
    pub fn shutdown(&self) -> Result<(), TcpError> {
        let (shared, handle) = (self.connection.shared, self.connection.handle);
        let call = |stack: &mut Stack<'a>, now| match stack.tcp_shutdown(now, handle) {
            // It has ended in order, since both directions are closed.
            Err(TcpError::NotOpen) if stack.tcp_state(handle).is_some() => Err(TcpError::Closing),
            result => result,
        };
        shared.try_with(call).unwrap_or(Err(TcpError::Busy))
    }

    /// Gives the connection up at once, and resets the peer. Whoever waits for it is woken, and gets
    /// [`TcpError::NotOpen`].
    pub fn abort(&self) {
        self.held.take();
        self.connection.give_up(true);
        if let Some(slot) = self.connection.slot() {
            slot.wake();
        }
    }

    /// Two halves, for two tasks: one that reads, in place too, and one that writes.
    pub fn split(&mut self) -> (TcpReader<'_, 's, 'a>, TcpWriter<'_, 's, 'a>) {
        let reader = TcpReader {
            connection: &self.connection,
            held: self.held.get_mut(),
        };
        let writer = TcpWriter {
            connection: &self.connection,
        };
        (reader, writer)
    }
}

impl Drop for TcpStream<'_, '_> {
    fn drop(&mut self) {
        // What lies here was not read, though the stack has given it out.
        let unread = self.held.get_mut().is_some();
        if let Some(slot) = self
            .connection
            .slot()
            .filter(|_| self.connection.open.get())
        {
            slot.clear();
        }
        self.connection.give_up(unread);
    }
}

/// The half of a [`TcpStream`] that reads.
pub struct TcpReader<'r, 's, 'a> {
    pub(super) connection: &'r Connection<'s, 'a>,
    pub(super) held: &'r mut Option<Segment>,
}

impl TcpReader<'_, '_, '_> {
    /// As [`TcpStream::receive`].
    ///
    /// # Errors
    /// As there.
    pub async fn receive(&mut self) -> Result<Option<Segment>, TcpError> {
        poll_fn(|context| self.connection.poll_receive(context, self.held)).await
    }

    /// As [`TcpStream::read`].
    ///
    /// # Errors
    /// As there.
    pub async fn read(&mut self, buffer: &mut [u8]) -> Result<usize, TcpError> {
        poll_fn(|context| self.connection.poll_read(context, self.held, buffer)).await
    }

    /// As [`TcpStream::readable`].
    pub async fn readable(&mut self) {
        if self.held.is_none() {
            poll_fn(|context| self.connection.poll_readable(context)).await;
        }
    }
}

impl fmt::Debug for TcpReader<'_, '_, '_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TcpReader").finish_non_exhaustive()
    }
}

/// The half of a [`TcpStream`] that writes.
pub struct TcpWriter<'r, 's, 'a> {
    pub(super) connection: &'r Connection<'s, 'a>,
}

impl TcpWriter<'_, '_, '_> {
    /// As [`TcpStream::send`].
    ///
    /// # Errors
    /// As there.
    pub async fn send(&mut self, segment: impl Into<Segment>) -> Result<(), TcpError> {
        let mut segment = Some(segment.into());
        poll_fn(|context| self.connection.poll_send(context, &mut segment)).await
    }

    /// As [`TcpStream::page`].
    ///
    /// # Errors
    /// As there.
    pub async fn page(&mut self) -> Result<PageMut, TcpError> {
        poll_fn(|context| self.connection.poll_page(context)).await
    }

    /// As [`TcpStream::write`].
    ///
    /// # Errors
    /// As there.
    pub async fn write(&mut self, bytes: &[u8]) -> Result<usize, TcpError> {
        poll_fn(|context| self.connection.poll_write(context, bytes)).await
    }

    /// As [`TcpStream::delivered`].
    ///
    /// # Errors
    /// As there.
    pub async fn delivered(&mut self) -> Result<(), TcpError> {
        poll_fn(|context| self.connection.poll_delivered(context)).await
    }
}

impl fmt::Debug for TcpWriter<'_, '_, '_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TcpWriter").finish_non_exhaustive()
    }
}

/// What a stream and its halves have in common.
pub(super) struct Connection<'s, 'a> {
    pub(super) shared: &'s SharedStack<'a>,
    handle: TcpHandle,
    /// Its slot is its own: it was neither dropped nor aborted.
    open: Cell<bool>,
}

/// One of the two places of a slot.
type Place = fn(&StreamWakerSlot) -> &Cell<Option<Waker>>;

fn receive(slot: &StreamWakerSlot) -> &Cell<Option<Waker>> {
    &slot.receive
}

fn send(slot: &StreamWakerSlot) -> &Cell<Option<Waker>> {
    &slot.send
}

impl<'s, 'a> Connection<'s, 'a> {
    /// Calls the stack; `None` of the call's waits in `place`.
    fn poll<R>(
        &self,
        context: &mut Context<'_>,
        place: Place,
        call: impl FnOnce(&mut Stack<'a>, TcpHandle) -> Result<Option<R>, TcpError>,
    ) -> Poll<Result<R, TcpError>> {
        if !self.open.get() {
            return Poll::Ready(Err(TcpError::NotOpen));
        }
        let Ok(mut stack) = self.shared.stack.try_borrow_mut() else {
            return later(context);
        };
        let result = call(&mut stack, self.handle);
        drop(stack);
        match result.transpose() {
            Some(result) => Poll::Ready(result),
            None => {
                self.wait(context, place);
                Poll::Pending
            }
        }
    }

    fn wait(&self, context: &Context<'_>, place: Place) {
        let Some(place) = self.slot().map(place) else {
            return;
        };
        let waker = match place.take() {
            Some(mut waker) => {
                waker.clone_from(context.waker());
                waker
            }
            None => context.waker().clone(),
        };
        place.set(Some(waker));
    }

    // Apart from its callers: see "What an image weighs" in CONTRIBUTING.md.
    #[inline(never)]
    pub(super) fn poll_receive(
        &self,
        context: &mut Context<'_>,
        held: &mut Option<Segment>,
    ) -> Poll<Result<Option<Segment>, TcpError>> {
        if let Some(held) = held.take() {
            return Poll::Ready(Ok(Some(held)));
        }
        // What reading brings about is told in the driver's next turn: the time of its last one is near enough, and costs nothing.
        let now = self.shared.turned.get();
        let result = self.poll(context, receive, |stack, handle| {
            Ok(match stack.tcp_receive(now, handle)? {
                Received::Data(segment) => Some(Some(segment)),
                Received::Finished => Some(None),
                Received::Nothing => None,
            })
        });
        self.have_read(&result);
        result
    }

    #[inline(never)]
    pub(super) fn poll_read(
        &self,
        context: &mut Context<'_>,
        held: &mut Option<Segment>,
        buffer: &mut [u8],
    ) -> Poll<Result<usize, TcpError>> {
        if buffer.is_empty() {
            return Poll::Ready(Ok(0));
        }
        if let Some(piece) = held {
            let count = piece.len().min(buffer.len());
            if let (Some(to), Some(from)) = (buffer.get_mut(..count), piece.get(..count)) {
                to.copy_from_slice(from);
            }
            consume(held, count);
            return Poll::Ready(Ok(count));
        }
        let now = self.shared.turned.get();
        let result = self.poll(context, receive, |stack, handle| {
            let count = stack.tcp_read(now, handle, buffer)?;
            Ok((count > 0 || stack.tcp_is_drained(handle)).then_some(count))
        });
        self.have_read(&result);
        result
    }

    /// Has a piece held, unless there will be none any more.
    #[cfg(feature = "io")]
    pub(super) fn poll_fill(
        &self,
        context: &mut Context<'_>,
        held: &mut Option<Segment>,
    ) -> Poll<Result<(), TcpError>> {
        if held.is_some() {
            return Poll::Ready(Ok(()));
        }
        self.poll_receive(context, held)
            .map_ok(|segment| *held = segment.filter(|segment| !segment.is_empty()))
    }

    /// The peer's window may move on: the driver sends that.
    fn have_read<R>(&self, result: &Poll<Result<R, TcpError>>) {
        if matches!(result, Poll::Ready(Ok(_))) {
            self.shared.changed.set();
        }
    }

    pub(super) fn poll_readable(&self, context: &mut Context<'_>) -> Poll<()> {
        self.poll(context, receive, |stack, handle| {
            let over = match stack.tcp_state(handle) {
                Some(state) => state == TcpState::Closed,
                None => true,
            };
            let ready = over || stack.tcp_readable(handle) > 0 || stack.tcp_is_drained(handle);
            Ok(ready.then_some(()))
        })
        .map(drop)
    }

    pub(super) fn poll_send(
        &self,
        context: &mut Context<'_>,
        segment: &mut Option<Segment>,
    ) -> Poll<Result<(), TcpError>> {
        let now = self.shared.clock.now();
        let result = self.poll(context, send, |stack, handle| {
            let Some(given) = segment.take() else {
                return Ok(Some(()));
            };
            match stack.tcp_send(now, handle, given) {
                Ok(()) => Ok(Some(())),
                Err((TcpError::Full, given)) => {
                    *segment = Some(given);
                    Ok(None)
                }
                Err((error, _)) => Err(error),
            }
        });
        self.shared.changed.set();
        result
    }

    fn poll_page(&self, context: &mut Context<'_>) -> Poll<Result<PageMut, TcpError>> {
        let now = self.shared.clock.now();
        let result = self.poll(context, send, |stack, handle| stack.tcp_page(now, handle));
        if result.is_pending() {
            // There may be a new deadline.
            self.shared.changed.set();
        }
        result
    }

    #[inline(never)]
    pub(super) fn poll_write(
        &self,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<Result<usize, TcpError>> {
        if bytes.is_empty() {
            return Poll::Ready(Ok(0));
        }
        let now = self.shared.clock.now();
        let result = self.poll(context, send, |stack, handle| {
            let count = stack.tcp_write(now, handle, bytes)?;
            Ok((count > 0).then_some(count))
        });
        // What was queued is to be sent; and of what found no page there is a new deadline.
        self.shared.changed.set();
        result
    }

    pub(super) fn poll_writable(&self, context: &mut Context<'_>) -> Poll<()> {
        self.poll(context, send, |stack, handle| {
            let waits = match stack.tcp_state(handle) {
                Some(
                    TcpState::SynSent
                    | TcpState::SynReceived
                    | TcpState::Established
                    | TcpState::CloseWait,
                ) => stack.tcp_writable(handle) == 0,
                _ => false,
            };
            Ok((!waits).then_some(()))
        })
        .map(drop)
    }

    #[inline(never)]
    pub(super) fn poll_delivered(&self, context: &mut Context<'_>) -> Poll<Result<(), TcpError>> {
        self.poll(context, send, |stack, handle| {
            if let Some(error) = stack.tcp_error(handle) {
                return Err(error);
            }
            match stack.tcp_state(handle) {
                Some(_) => Ok(stack.tcp_is_delivered(handle).then_some(())),
                None => Err(TcpError::NotOpen),
            }
        })
    }

    /// Says why nothing more will arrive, if that is known by now.
    #[cfg(feature = "io")]
    pub(super) fn poll_error(&self, context: &mut Context<'_>) -> Poll<Result<(), TcpError>> {
        self.poll(context, send, |stack, handle| {
            stack.tcp_error(handle).map_or(Ok(Some(())), Err)
        })
    }

    /// Gives the connection back to the stack.
    #[inline(never)]
    fn give_up(&self, abort: bool) {
        if !self.open.replace(false) {
            return;
        }
        let (now, handle) = (self.shared.clock.now(), self.handle);
        match self.shared.stack.try_borrow_mut() {
            Ok(mut stack) if abort => {
                stack.tcp_abort(now, handle);
            }
            Ok(mut stack) => {
                stack.tcp_close(now, handle);
            }
            // Given up inside of `with`: the next turn does it.
            Err(_) => {
                if let Some(slot) = self.slot() {
                    slot.dropped.set(Some(match abort {
                        true => Dropped::Aborted(handle),
                        false => Dropped::Closed(handle),
                    }));
                    self.shared.dropped.set(true);
                }
            }
        }
        self.shared.changed.set();
    }

    fn slot(&self) -> Option<&'s StreamWakerSlot> {
        self.shared.tcp.streams.get(self.handle.index())
    }
}

/// Cuts what was read off the piece that is held.
pub(super) fn consume(held: &mut Option<Segment>, count: usize) {
    if let Some(piece) = held
        && (piece.advance(count).is_err() || piece.is_empty())
    {
        *held = None;
    }
}
