//! HTTP on our own TCP: how much of a small domain it may take, and its tasks. All sizes follow from the pool's pages, which follow from
//! the domain's memory.

use alloc::boxed::Box;
use core::net::{Ipv4Addr, SocketAddr};
use core::time::Duration;

use mirage_core::executor::Executor;
use mirage_net::tcp::{ConnectionOptions, ListenOptions, TcpCapacities, TcpStorage};
use mirage_net::{SharedStack, TcpListener};
use web_appliance::tcp::OwnTcp;
use web_appliance::{Buffers, Service, serve_slot, turn_away};

use crate::Failure;

/// The port of HTTP (RFC 9110 §4.2.1).
const PORT: u16 = 80;

/// More than a head may have; the rest of a request comes in behind it.
const INPUT: usize = 8_704;
/// Heads of responses, and content that is small enough to go with them.
const OUTPUT: usize = 4_096;
/// Fields that a head may have.
const FIELDS: usize = 48;

/// What a connection may hold: a request's head, and some of a response. A client that acknowledges nothing is gone long before the
/// usual time.
const CONNECTION: ConnectionOptions = ConnectionOptions {
    receive_window: 16_384,
    receive_pages: 8,
    send_octets: 65_536,
    send_pages: 18,
    no_delay: true,
    user_timeout: Duration::from_secs(30),
    ..ConnectionOptions::DEFAULT
};

/// How many connections are served at once.
pub(crate) fn served(pages: usize) -> usize {
    (pages / 8).clamp(16, 256)
}

/// Tables for a pool of so many pages: some more connections may wait, or be closing, than are served.
pub(crate) fn storage(pages: usize) -> TcpStorage<'static> {
    TcpStorage::allocate(&TcpCapacities {
        connections: 2 * served(pages) + 16,
        segments: 2 * pages,
        listeners: 1,
        half_open: 64,
        time_waits: 256,
    })
}

/// Listens.
pub(crate) fn listen(
    stack: &'static SharedStack<'static>,
    service: &Service<'_>,
) -> Result<TcpListener<'static, 'static>, Failure> {
    Ok(stack.tcp_listen(ListenOptions {
        local: SocketAddr::from((Ipv4Addr::UNSPECIFIED, PORT)),
        backlog: service.limits().slots as u16,
        connection: CONNECTION,
    })?)
}

/// Spawns the tasks that serve.
pub(crate) fn serve(
    executor: &'static Executor,
    listener: &'static OwnTcp<'static, 'static>,
    service: &'static Service<'static>,
) -> Result<(), Failure> {
    let slots = service.limits().slots;
    for slot in 0..=slots {
        let task = executor.spawn(async move {
            let mut buffers = Box::new(Buffers::<INPUT, OUTPUT, FIELDS>::new());
            // The last one says that the others are taken.
            match slot == slots {
                true => turn_away(listener, service, executor, &mut *buffers).await,
                false => serve_slot(listener, service, executor, &mut *buffers).await,
            }
        });
        task?.detach();
    }
    Ok(())
}
