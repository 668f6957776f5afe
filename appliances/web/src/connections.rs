//! Connections of any stack, served within bounds.

use core::future::{Future, poll_fn};
use core::pin::pin;
use core::task::Poll;
use core::time::Duration;

use edge_nal::{Close, Readable, TcpShutdown};
use embedded_io_async::Read;
use mirage_core::executor::{Executor, yield_now};
use mirage_http::field::FieldSlot;
use mirage_http::io::{Storage, Stream, serve};
use mirage_http::server::{Ending, Server};

use crate::application::Answering;
use crate::service::Service;
use crate::streams::Listener;

/// After a failed accept (too many descriptors, say) nothing is tried for this long.
const ACCEPT_PAUSE: Duration = Duration::from_millis(10);
/// How long a stream may take to be reset.
const CLOSING: Duration = Duration::from_secs(2);
/// How often what a client still sends is read behind the last response: with [`Buffers`] of the usual size, some hundred thousand octets.
const LINGERING_READS: usize = 32;

/// A slot's memory: what comes in and goes out, and where the fields of a head are noted.
#[derive(Debug)]
pub struct Buffers<const INPUT: usize, const OUTPUT: usize, const FIELDS: usize> {
    input: [u8; INPUT],
    output: [u8; OUTPUT],
    slots: [FieldSlot; FIELDS],
}

impl<const INPUT: usize, const OUTPUT: usize, const FIELDS: usize> Buffers<INPUT, OUTPUT, FIELDS> {
    /// Empty. `INPUT` is more than the limit of a head ([`HeadLimits`](mirage_http::head::HeadLimits)), `OUTPUT` at least 1,024.
    pub const fn new() -> Self {
        const { assert!(INPUT >= 1_024 && OUTPUT >= 1_024 && FIELDS >= 8) };
        Self {
            input: [0; INPUT],
            output: [0; OUTPUT],
            slots: [FieldSlot::EMPTY; FIELDS],
        }
    }

    fn storage(&mut self) -> Storage<'_> {
        Storage {
            input: &mut self.input,
            output: &mut self.output,
            slots: &mut self.slots,
        }
    }
}

impl<const INPUT: usize, const OUTPUT: usize, const FIELDS: usize> Default
    for Buffers<INPUT, OUTPUT, FIELDS>
{
    fn default() -> Self {
        Self::new()
    }
}

/// Serves connections, one after the other, for ever: one *slot*. As many connections are served at once as slots run
/// ([`ServiceLimits::slots`](crate::ServiceLimits::slots)), each a task with its own buffers; further ones wait in the listener's
/// backlog, and are told so by [`turn_away`].
pub async fn serve_slot<
    L: Listener,
    const INPUT: usize,
    const OUTPUT: usize,
    const FIELDS: usize,
>(
    listener: &L,
    service: &Service<'_>,
    executor: &'static Executor,
    buffers: &mut Buffers<INPUT, OUTPUT, FIELDS>,
) -> ! {
    loop {
        match listener.accept().await {
            Ok(mut socket) => {
                let (slot, server) = service.take_slot();
                let answering = Answering::Service(service);
                attend(&mut socket, executor, server, answering, buffers).await;
                drop(slot);
            }
            Err(_) => {
                service.count_accept_error();
                executor.sleep(ACCEPT_PAUSE).await;
            }
        }
        // A flood of connections that end at once must not keep other tasks from running.
        yield_now().await;
    }
}

/// Tells those who come while all slots are taken that they are (503, with Retry-After), one after the other, for ever. It takes its time:
/// who waits in the backlog while a slot becomes free is served.
pub async fn turn_away<
    L: Listener,
    const INPUT: usize,
    const OUTPUT: usize,
    const FIELDS: usize,
>(
    listener: &L,
    service: &Service<'_>,
    executor: &'static Executor,
    buffers: &mut Buffers<INPUT, OUTPUT, FIELDS>,
) -> ! {
    let patience = service.limits().patience;
    loop {
        service.full.wait().await;
        executor.sleep(patience).await;
        while service.is_full() {
            // By itself this would wait for the next connection long after a slot became free.
            match executor.timeout(patience, listener.accept()).await {
                Ok(Ok(mut socket)) => {
                    service.count_turned_away();
                    let server = service.full_up();
                    attend(&mut socket, executor, server, Answering::Full, buffers).await;
                }
                Ok(Err(_)) => {
                    service.count_accept_error();
                    executor.sleep(ACCEPT_PAUSE).await;
                }
                Err(_) => {}
            }
            yield_now().await;
        }
    }
}

/// Serves one connection to its end, and sees to it that the client gets the last response.
async fn attend<
    S: Stream + Readable + TcpShutdown,
    const INPUT: usize,
    const OUTPUT: usize,
    const FIELDS: usize,
>(
    socket: &mut S,
    executor: &'static Executor,
    server: &Server,
    answering: Answering<'_>,
    buffers: &mut Buffers<INPUT, OUTPUT, FIELDS>,
) {
    let ending = serve(socket, &executor, server, &answering, buffers.storage()).await;
    if ending.aborts() {
        let _ = executor.timeout(CLOSING, socket.abort()).await;
        return;
    }
    // Else it is closed at once: the client has ended it, or is to have it ended, and everything is answered.
    if ending.lingers() || (ending == Ending::AsAsked && has_more(socket).await) {
        let linger = server.limits().linger;
        let lingering = linger_on(socket, &mut buffers.input);
        let _ = executor.timeout(linger, lingering).await;
    }
}

/// Whether there is something to read, or an end.
async fn has_more<S: Readable>(socket: &mut S) -> bool {
    let mut readable = pin!(socket.readable());
    poll_fn(|cx| Poll::Ready(readable.as_mut().poll(cx).is_ready())).await
}

/// Half-closes, and reads what still comes: to close a stream with octets unread would reset it, and take from the client what it has not
/// read yet (RFC 9112 §9.6).
async fn linger_on<S: Read + TcpShutdown>(socket: &mut S, room: &mut [u8]) {
    if socket.close(Close::Write).await.is_err() {
        return;
    }
    for _ in 0..LINGERING_READS {
        if !matches!(socket.read(room).await, Ok(1..)) {
            break;
        }
    }
}
