//! What is served: each service a few lines above `TcpStream`.

use alloc::rc::Rc;
use core::future::Future;
use core::net::{Ipv4Addr, SocketAddr};

use mirage_core::executor::Executor;
use mirage_net::tcp::{ConnectionOptions, ListenOptions, TcpCapacities, TcpError, TcpStorage};
use mirage_net::{SharedStack, TcpStream};
use tcp_probe::{SINK, SOURCE};

use crate::Failure;

type Stream = TcpStream<'static, 'static>;

/// Connections at a time.
const CONNECTIONS: usize = 64;

/// The buffers of a connection. As much is received as netback keeps for a domain, half a MiB: with less the peer waits, for what is under
/// way in the backend and what the sink has not read are of one window; what is beyond, netback drops. A page may be no more than half
/// full.
const CONNECTION: ConnectionOptions = ConnectionOptions {
    receive_window: 524_288,
    receive_pages: 256,
    send_octets: 262_144,
    send_pages: 256,
    no_delay: true,
    ..ConnectionOptions::DEFAULT
};

/// Tables for so many connections.
pub(crate) fn storage() -> TcpStorage<'static> {
    TcpStorage::allocate(&TcpCapacities {
        connections: CONNECTIONS,
        segments: 8_192,
        ..TcpCapacities::default()
    })
}

/// Listens on both ports.
pub(crate) fn serve(
    executor: &'static Executor,
    stack: &'static SharedStack<'static>,
) -> Result<(), Failure> {
    listen(executor, stack, SINK, |stream| async move {
        // A page goes back to the pool as soon as it was received.
        while stream.receive().await?.is_some() {}
        Ok(())
    })?;
    listen(executor, stack, SOURCE, |stream| async move {
        loop {
            let mut page = stream.page().await?;
            page.expand();
            stream.send(page).await?;
        }
    })
}

/// Listens on a port, with a task for each connection.
fn listen<F: Future<Output = Result<(), TcpError>> + 'static>(
    executor: &'static Executor,
    stack: &'static SharedStack<'static>,
    port: u16,
    service: impl Fn(Rc<Stream>) -> F + 'static,
) -> Result<(), Failure> {
    let options = ListenOptions {
        local: SocketAddr::from((Ipv4Addr::UNSPECIFIED, port)),
        backlog: CONNECTIONS as u16,
        connection: CONNECTION,
    };
    let listener = stack.tcp_listen(options)?;
    let accepting = async move {
        loop {
            let Ok((_, stream)) = listener.accept().await else {
                continue;
            };
            let serving = service(Rc::new(stream));
            let task = executor.spawn(async move {
                // How the peer ends it is no error of ours.
                let _ = serving.await;
            });
            if let Ok(task) = task {
                task.detach();
            }
        }
    };
    executor.spawn(accepting)?.detach();
    Ok(())
}
