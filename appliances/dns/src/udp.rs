//! DNS over UDP, over any stack's sockets.

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
            let (length, remote) = match socket.receive(request).await {
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
            let Some(length) = service.answer(&client, query, response) else {
                continue;
            };
            if socket.send(remote, &response[..length]).await.is_err() {
                service.count(Counter::UdpSendErrors);
            }
        }
        yield_now().await;
    }
}
