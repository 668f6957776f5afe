//! DNS over TCP (RFC 7766) on our own stack: how much of a small domain it may take, and its tasks.
//!
//! All sizes follow from the pool's pages, which follow from the domain's memory: a connection is served at once for each 16 pages,
//! 8 at least and 32 at most. Each has buffers for a question and the longest answer, and there are four places for connections that wait, are
//! served or being closed.

use alloc::boxed::Box;
use alloc::vec;
use core::net::{Ipv4Addr, SocketAddr};
use core::time::Duration;

use dns_appliance::{Service, TcpLimits, serve_tcp};
use mirage_core::executor::Executor;
use mirage_net::SharedStack;
use mirage_net::tcp::{ConnectionOptions, ListenOptions, TcpCapacities, TcpStorage};

use crate::{Failure, PORT};

/// Octets of the longest message with its length that is taken. Of all that this server understands no question is half as long.
const REQUEST: usize = 4_096;
/// Octets of the longest message with its length (RFC 1035 §4.2.2).
const RESPONSE: usize = 65_537;

/// What a connection may hold: a few questions, and an answer. Each answer is written at once, and is not to wait for the acknowledgement
/// of the one before. A client that acknowledges nothing is gone long before the usual time.
const CONNECTION: ConnectionOptions = ConnectionOptions {
    receive_window: 8_192,
    receive_pages: 6,
    send_octets: RESPONSE as u32,
    send_pages: 18,
    no_delay: true,
    user_timeout: Duration::from_secs(30),
    ..ConnectionOptions::DEFAULT
};

/// How many connections are served at once.
fn served(pages: usize) -> usize {
    (pages / 16).clamp(8, 32)
}

/// Tables for a pool of so many pages: twice as many connections may wait as are served, and some be closing.
pub(crate) fn storage(pages: usize) -> TcpStorage<'static> {
    TcpStorage::allocate(&TcpCapacities {
        connections: 4 * served(pages),
        segments: pages,
        listeners: 1,
        half_open: 64,
        time_waits: 128,
    })
}

/// Listens, and spawns the tasks that serve.
pub(crate) fn serve(
    executor: &'static Executor,
    stack: &'static SharedStack<'static>,
    service: &'static Service<'static>,
    pages: usize,
) -> Result<(), Failure> {
    let count = served(pages);
    let options = ListenOptions {
        local: SocketAddr::from((Ipv4Addr::UNSPECIFIED, PORT)),
        backlog: 2 * count as u16,
        connection: CONNECTION,
    };
    let listener: &'static _ = Box::leak(Box::new(stack.tcp_listen(options)?));
    let limits = TcpLimits {
        crowd: count / 2,
        ..TcpLimits::DEFAULT
    };
    for _ in 0..count {
        let task = executor.spawn(async move {
            let mut request = vec![0; REQUEST];
            let mut response = vec![0; RESPONSE];
            let (request, response) = (&mut request[..], &mut response[..]);
            serve_tcp(listener, service, executor, limits, request, response).await
        });
        task?.detach();
    }
    Ok(())
}
