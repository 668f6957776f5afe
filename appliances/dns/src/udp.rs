//! DNS over UDP, over any stack's sockets.

#[cfg(feature = "authority")]
use core::future::{Future, poll_fn};
#[cfg(feature = "authority")]
use core::pin::pin;
#[cfg(feature = "authority")]
use core::task::Poll;
use core::time::Duration;

use edge_nal::{UdpReceive, UdpSend};
use mirage_core::executor::{Executor, yield_now};

use crate::counters::Counter;
use crate::service::{Client, Service, Transport};

/// How many datagrams are answered before other tasks get a turn.
const BUDGET: usize = 64;

/// After a failed receive nothing is tried for this long.
const RECEIVE_PAUSE: Duration = Duration::from_millis(10);

/// Answers datagrams, for ever.
///
/// `request` bounds the length of a query: a longer one is dropped, and counted. `response` bounds that of an answer,
/// beside what the query and the service allow.
///
/// Each datagram is answered before the next one is received: a socket that sends from the address which the last
/// datagram had asked answers every query from the right one.
///
/// With zones that change (feature `authority`) the answer to an update comes later, and goes out from the address that the
/// stack chooses; and a receive that has nothing yet is dropped and begun again, which must lose no datagram.
pub async fn serve_udp<S: UdpReceive + UdpSend>(
    socket: &mut S,
    service: &Service<'_>,
    executor: &'static Executor,
    request: &mut [u8],
    response: &mut [u8],
) -> ! {
    loop {
        service.set_time(executor.now(), executor.wall());
        for _ in 0..BUDGET {
            #[cfg(feature = "authority")]
            let received = {
                // Answers that came late have waited: what can always be received must not keep them.
                let late = first(service.late_answers(), socket.receive(request));
                match late.await {
                    Err(received) => received,
                    Ok(()) => {
                        while let Some((remote, answer)) = service.next_late_answer() {
                            if socket.send(remote, &answer).await.is_err() {
                                service.count(Counter::UdpSendErrors);
                            }
                        }
                        continue;
                    }
                }
            };
            #[cfg(not(feature = "authority"))]
            let received = socket.receive(request).await;
            let (length, remote) = match received {
                Ok(received) => received,
                Err(_) => {
                    service.count(Counter::UdpReceiveErrors);
                    executor.sleep(RECEIVE_PAUSE).await;
                    continue;
                }
            };
            let Some(query) = request.get(..length) else {
                service.count(Counter::UdpTooLong);
                continue;
            };
            if remote.port() == 0 {
                // RFC 768: no port to answer to.
                service.count(Counter::UdpNoPort);
                continue;
            }
            let client = Client {
                address: remote.ip().to_canonical(),
                transport: Transport::Udp,
                now: service.unix_time(executor.turn_time()),
            };
            #[cfg(feature = "authority")]
            let answered = service.answer_datagram(&client, remote, query, response);
            #[cfg(not(feature = "authority"))]
            let answered = service.answer(&client, query, response);
            let Some(length) = answered else {
                continue;
            };
            if socket.send(remote, &response[..length]).await.is_err() {
                service.count(Counter::UdpSendErrors);
            }
        }
        yield_now().await;
    }
}

/// Waits for the first of two futures; the other is dropped.
#[cfg(feature = "authority")]
async fn first<A: Future, B: Future>(a: A, b: B) -> Result<A::Output, B::Output> {
    let (mut a, mut b) = (pin!(a), pin!(b));
    poll_fn(|context| {
        if let Poll::Ready(output) = a.as_mut().poll(context) {
            return Poll::Ready(Ok(output));
        }
        b.as_mut().poll(context).map(Err)
    })
    .await
}
