//! A server's connection over a stream.

use core::future::poll_fn;
use core::pin::pin;

use mirage_core::executor::yield_now;

use super::exchange::{Exchange, Output, ServeError, TRAILERS};
use super::{Inbox, Stream, Timer};
use crate::field::FieldSlot;
use crate::framing::Framing;
use crate::head::RequestHead;
use crate::server::{Ending, Server, ServerConnection, ServerEvent};

/// What answers requests.
pub trait Application {
    /// Answers one request through `exchange`: reads as much of the body as it likes, and sends one response.
    ///
    /// A request that was not answered when this returns without an error is answered 500; a response that is not complete then, or with
    /// an error, is broken off.
    ///
    /// # Errors
    ///
    /// Those of `exchange`, passed on. A [`ServeError::Rejected`] before the response has begun is answered with its status.
    fn answer<S: Stream, T: Timer>(
        &self,
        head: RequestHead<'_>,
        exchange: &mut Exchange<'_, '_, S, T>,
    ) -> impl Future<Output = Result<(), ServeError<S::Error>>>;
}

/// Memory for one connection.
#[derive(Debug)]
pub struct Storage<'b> {
    /// What comes in: a head, and behind it some of the body. Larger than the limit of a head.
    pub input: &'b mut [u8],
    /// What goes out: heads of responses, and content that is small enough to go with them. At least as large as the largest head.
    pub output: &'b mut [u8],
    /// As many as a head may have fields.
    pub slots: &'b mut [FieldSlot],
}

/// Serves one connection until it is over. What the owner has to do with the stream then is said by
/// [`Ending::lingers`] and [`Ending::aborts`]; both futures of the stream may be dropped while they wait.
///
/// Responses to requests that were sent ahead go out together, when nothing more is to be answered. What was written with
/// [`Stream::write_last`] may wait for our side's end: except where it is to be reset, the owner ends it at once.
pub async fn serve<S: Stream, T: Timer, A: Application>(
    socket: &mut S,
    timer: &T,
    server: &Server,
    application: &A,
    storage: Storage<'_>,
) -> Ending {
    let Storage {
        input,
        output,
        slots,
    } = storage;
    let mut inbox = Inbox {
        buffer: input,
        start: 0,
        end: 0,
    };
    let mut output = Output {
        buffer: output,
        filled: 0,
    };
    let mut connection = server.connect(timer.now());
    // Whether other tasks ran since the last request.
    let mut has_waited = true;
    loop {
        match connection.handle_input(inbox.octets(), slots, timer.now()) {
            ServerEvent::NeedInput => {
                if let Err(error) = output.flush(socket, timer, &connection).await {
                    break_off(&mut connection, error);
                    continue;
                }
                has_waited |=
                    receive(socket, timer, &mut connection, &mut inbox, &mut output).await;
            }
            ServerEvent::Discard(length) => inbox.consume(length),
            ServerEvent::Request {
                length, framing, ..
            } => {
                // A client whose requests are always there must not keep other tasks from running.
                if !core::mem::take(&mut has_waited) {
                    yield_now().await;
                }
                if framing != Framing::None {
                    // Else there may be no room for a body behind a head that ends where the slice does.
                    inbox.move_to_front();
                }
                let Inbox { buffer, start, end } = &mut inbox;
                // The head stays where it is, and the body comes in behind it.
                let (head, rest) = buffer[*start..].split_at_mut(length);
                let Some(head) = connection.request_head(head, slots) else {
                    connection.abort(Ending::Broken);
                    continue;
                };
                let mut exchange = Exchange {
                    socket: &mut *socket,
                    timer,
                    connection: &mut connection,
                    inbox: Inbox {
                        buffer: rest,
                        start: 0,
                        end: *end - *start - length,
                    },
                    output: &mut output,
                    slots: [FieldSlot::EMPTY; TRAILERS],
                };
                let answered = application.answer(head, &mut exchange).await;
                let (from, to) = (exchange.inbox.start, exchange.inbox.end);
                (*start, *end) = (*start + length + from, *start + length + to);
                settle(socket, timer, &mut connection, &mut output, answered).await;
            }
            ServerEvent::Rejected(rejection) => {
                output
                    .error(socket, timer, &mut connection, rejection.status())
                    .await;
            }
            // The application left its response unfinished, and `settle` has seen to it.
            ServerEvent::Busy => connection.abort(Ending::Broken),
            ServerEvent::Ended(ending) => {
                if !ending.aborts() {
                    let _ = output.flush_last(socket, timer, &connection).await;
                }
                // A client that has sent more than it said: what still comes of it must not cost it the response.
                if ending == Ending::AsAsked && !inbox.octets().is_empty() {
                    return Ending::Complete;
                }
                return ending;
            }
        }
    }
}

/// Reads more, by the connection's deadline. Whether that was waited for.
async fn receive<S: Stream, T: Timer>(
    socket: &mut S,
    timer: &T,
    connection: &mut ServerConnection<'_>,
    inbox: &mut Inbox<'_>,
    output: &mut Output<'_>,
) -> bool {
    let space = inbox.space();
    if space.is_empty() {
        let status = connection.handle_full().status();
        output.error(socket, timer, connection, status).await;
        return false;
    }
    // A connection that waits for input has a deadline.
    let deadline = connection.poll_timeout().unwrap_or(timer.now());
    let mut has_waited = false;
    let received = {
        let mut reading = pin!(socket.read(space));
        let reading = poll_fn(|context| {
            let received = reading.as_mut().poll(context);
            has_waited |= received.is_pending();
            received
        });
        timer.until(deadline, reading).await
    };
    match received {
        Some(Ok(0)) => connection.handle_end(),
        Some(Ok(length)) => inbox.handle_received(length),
        Some(Err(_)) => connection.abort(Ending::Truncated),
        None => {
            if let Err(rejection) = connection.handle_timeout(timer.now()) {
                let status = rejection.status();
                output.error(socket, timer, connection, status).await;
            }
        }
    }
    has_waited
}

/// Sees to it that a request is answered, whatever the application did.
async fn settle<S: Stream, T: Timer>(
    socket: &mut S,
    timer: &T,
    connection: &mut ServerConnection<'_>,
    output: &mut Output<'_>,
    answered: Result<(), ServeError<S::Error>>,
) {
    let status = match answered {
        Ok(()) if connection.is_answered() => return,
        Ok(()) => crate::Status::INTERNAL_SERVER_ERROR,
        Err(ServeError::Rejected(rejection)) => rejection.status(),
        Err(ServeError::Head(_)) => crate::Status::INTERNAL_SERVER_ERROR,
        Err(error) => {
            break_off(connection, error);
            return;
        }
    };
    if connection.is_awaited() {
        output.error(socket, timer, connection, status).await;
    } else {
        connection.abort(Ending::Broken);
    }
}

pub(super) fn break_off<E>(connection: &mut ServerConnection<'_>, error: ServeError<E>) {
    connection.abort(match error {
        ServeError::TooSlow => Ending::TooSlow,
        ServeError::Stream(_) => Ending::Truncated,
        _ => Ending::Broken,
    });
}
