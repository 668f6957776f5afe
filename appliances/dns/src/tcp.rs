//! DNS over TCP (RFC 7766), over any stack's sockets.

use core::future::Future;
use core::net::IpAddr;
use core::time::Duration;

use edge_nal::{Close, TcpAccept, TcpShutdown};
use embedded_io_async::{Read, Write};
use mirage_core::Instant;
use mirage_core::executor::{Executor, yield_now};
#[cfg(feature = "authority")]
use mirage_dns::authority::{Handled, SignedTransfer};
use mirage_dns::tcp::{FrameReader, LENGTH_PREFIX, length_prefix};

use crate::counters::Counter;
use crate::service::{Client, Service, Transport};

/// How long a client may take. Times run on the executor's clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TcpLimits {
    /// Between an answer and the first octet of the next message (RFC 7766 §6.2.3).
    pub idle: Duration,
    /// From the first octet of a message to its last, and for the client to take an answer.
    pub message: Duration,
    /// From the connection's beginning to its end, whatever it does: no client holds a slot for ever.
    pub connection: Duration,
    /// How many connections may be served at once before [`TcpLimits::crowded`] counts: well below the number of slots.
    pub crowd: usize,
    /// How long a client may be idle, and may take for a message, while more are served than that (RFC 7766 §6.2.3): else few
    /// clients that say nothing keep all others waiting.
    pub crowded: Duration,
}

impl TcpLimits {
    /// 10 s idle, 5 s a message, 120 s a connection; half a second beyond 32 connections.
    pub const DEFAULT: Self = Self {
        idle: Duration::from_secs(10),
        message: Duration::from_secs(5),
        connection: Duration::from_secs(120),
        crowd: 32,
        crowded: Duration::from_millis(500),
    };
}

impl Default for TcpLimits {
    fn default() -> Self {
        Self::DEFAULT
    }
}

/// After a failed accept (too many descriptors, say) nothing is tried for this long.
const ACCEPT_PAUSE: Duration = Duration::from_millis(10);

/// Serves connections, one after the other, for ever: one *slot*.
///
/// As many connections are served at once as slots run, each a task with its own buffers; further ones wait in the
/// listener's backlog. `request` bounds the length of a message with its two octets of length: a longer one ends its
/// connection. `response` is the most that is sent in one message; 65,537 octets hold any.
pub async fn serve_tcp<A: TcpAccept>(
    acceptor: &A,
    service: &Service<'_>,
    executor: &'static Executor,
    limits: TcpLimits,
    request: &mut [u8],
    response: &mut [u8],
) -> ! {
    loop {
        match acceptor.accept().await {
            Ok((remote, mut socket)) => {
                service.set_time(executor.now(), executor.wall());
                service.count(Counter::TcpConnections);
                let connection = Connection {
                    service,
                    executor,
                    limits,
                    address: remote.ip().to_canonical(),
                    end: executor.now() + limits.connection,
                };
                let slot = service.take_slot();
                let closed = connection.serve(&mut socket, request, response).await;
                drop(slot);
                service.count(closed.counter());
                if closed == Closed::ByClient {
                    // Everything that was received is answered: tell so, and don't wait for the client.
                    let closing = socket.close(Close::Write);
                    let _ = executor.timeout(limits.message, closing).await;
                } else {
                    let _ = executor.timeout(limits.message, socket.abort()).await;
                }
            }
            Err(_) => {
                service.count(Counter::TcpAcceptErrors);
                executor.sleep(ACCEPT_PAUSE).await;
            }
        }
        // A flood of connections that end at once must not keep other tasks from running.
        yield_now().await;
    }
}

/// Why a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Closed {
    ByClient,
    Idle,
    /// In the middle of a message, or of taking an answer, or for too long in all.
    Stalled,
    /// A message longer than the buffer, or of length zero.
    BadFrame,
    /// The socket's error.
    Failed,
}

impl Closed {
    fn counter(self) -> Counter {
        match self {
            Self::ByClient => Counter::TcpClosedByClient,
            Self::Idle => Counter::TcpClosedIdle,
            Self::Stalled => Counter::TcpClosedStalled,
            Self::BadFrame => Counter::TcpClosedBadFrame,
            Self::Failed => Counter::TcpClosedFailed,
        }
    }
}

struct Connection<'s, 'z> {
    service: &'s Service<'z>,
    executor: &'static Executor,
    limits: TcpLimits,
    address: IpAddr,
    /// When the connection ends at the latest.
    end: Instant,
}

impl Connection<'_, '_> {
    async fn serve(
        &self,
        socket: &mut (impl Read + Write),
        request: &mut [u8],
        response: &mut [u8],
    ) -> Closed {
        let mut frames = FrameReader::new(request);
        let mut deadline = self.after(self.limits.idle);
        loop {
            loop {
                match frames.message() {
                    Ok(Some(message)) => {
                        if let Err(closed) = self.answer(socket, message, response).await {
                            return closed;
                        }
                        // The next message begins now, be it there already or not.
                        deadline = self.after(self.limits.message);
                    }
                    Ok(None) => break,
                    Err(_) => return Closed::BadFrame,
                }
                frames.consume();
            }
            let began = !frames.is_between_messages();
            if !began {
                deadline = self.after(self.limits.idle);
            }
            let read = match self.until(deadline, socket.read(frames.space())).await {
                Some(Ok(read)) => read,
                Some(Err(_)) => return Closed::Failed,
                None if began => return Closed::Stalled,
                None if deadline < self.end => return Closed::Idle,
                None => return Closed::Stalled,
            };
            if read == 0 {
                return if began {
                    Closed::Failed
                } else {
                    Closed::ByClient
                };
            }
            if !began {
                deadline = self.after(self.limits.message);
            }
            frames.handle_received(read);
            // A client whose next octets are always there must not keep other tasks from running.
            yield_now().await;
        }
    }

    async fn answer(
        &self,
        socket: &mut impl Write,
        message: &[u8],
        response: &mut [u8],
    ) -> Result<(), Closed> {
        let Some((prefix, room)) = response.split_first_chunk_mut::<LENGTH_PREFIX>() else {
            return Err(Closed::Failed);
        };
        let client = Client {
            address: self.address,
            transport: Transport::Tcp,
            now: self.service.unix_time(self.executor.turn_time()),
        };
        #[cfg(feature = "authority")]
        let answered = match self.service.changing() {
            None => self.service.answer(&client, message, room),
            Some(changing) => match self.service.handle(changing, &client, message, room) {
                Handled::Transfer(transfer) => {
                    return self.transfer(socket, *transfer, response).await;
                }
                Handled::Answer(length) => Some(length),
                Handled::Later(ticket) => {
                    let answer = self.service.wait_for(changing, ticket).await;
                    // The authority's answers are short.
                    let place = room.get_mut(..answer.len()).ok_or(Closed::Failed)?;
                    place.copy_from_slice(&answer);
                    Some(answer.len())
                }
                _ => None,
            },
        };
        #[cfg(not(feature = "authority"))]
        let answered = self.service.answer(&client, message, room);
        let Some(length) = answered else {
            return Ok(());
        };
        // The server gives no more than a message may have.
        *prefix = length_prefix(length).ok_or(Closed::Failed)?;
        // Length and message in one write (RFC 7766 §8).
        let deadline = self.after(self.limits.message);
        self.write(socket, &response[..LENGTH_PREFIX + length], deadline)
            .await
    }

    /// Writes all messages of a transfer. As long as the client takes one after the other, it may take them for longer than a
    /// connection otherwise lasts.
    #[cfg(feature = "authority")]
    async fn transfer(
        &self,
        socket: &mut impl Write,
        mut transfer: SignedTransfer<'_>,
        response: &mut [u8],
    ) -> Result<(), Closed> {
        let what = match transfer.is_incremental() {
            true => "what changed",
            false => "the whole zone",
        };
        log::info!("{}: {what} goes to {}", transfer.apex(), self.address);
        loop {
            let Some((prefix, room)) = response.split_first_chunk_mut::<LENGTH_PREFIX>() else {
                return Err(Closed::Failed);
            };
            let unix = self.service.unix_time(self.executor.turn_time());
            let length = match transfer.poll_message(room, unix) {
                Ok(Some(length)) => length,
                Ok(None) => return Ok(()),
                // Half a transfer must not look like a whole one.
                Err(_) => return Err(Closed::Failed),
            };
            *prefix = length_prefix(length).ok_or(Closed::Failed)?;
            let deadline = self.executor.now() + self.at_most(self.limits.message);
            self.write(socket, &response[..LENGTH_PREFIX + length], deadline)
                .await?;
            yield_now().await;
        }
    }

    async fn write(
        &self,
        socket: &mut impl Write,
        whole: &[u8],
        deadline: Instant,
    ) -> Result<(), Closed> {
        let writing = async {
            socket.write_all(whole).await?;
            socket.flush().await
        };
        match self.until(deadline, writing).await {
            Some(Ok(())) => Ok(()),
            Some(Err(_)) => Err(Closed::Failed),
            None => Err(Closed::Stalled),
        }
    }

    fn after(&self, duration: Duration) -> Instant {
        (self.executor.now() + self.at_most(duration)).min(self.end)
    }

    /// A duration as it counts with so many connections as there are.
    fn at_most(&self, duration: Duration) -> Duration {
        match self.service.slots() > self.limits.crowd {
            true => duration.min(self.limits.crowded),
            false => duration,
        }
    }

    /// The future's output, or `None` if it takes until the deadline.
    async fn until<F: Future>(&self, deadline: Instant, future: F) -> Option<F::Output> {
        self.executor.timeout_at(deadline, future).await.ok()
    }
}
