//! Serving over the system's sockets.

use std::net::SocketAddr;

use dns_appliance::{Service, TcpLimits, serve_tcp, serve_udp};
use mirage_core::executor::Executor;
use mirage_host::Sockets;

use crate::error::Failure;

/// Octets of the longest message with its length (RFC 1035 §4.2.2).
pub(crate) const TCP_BUFFER: usize = 65_537;

/// Octets of the longest datagram that IPv4 or IPv6 without jumbograms carries.
pub(crate) const UDP_BUFFER: usize = 65_535;

/// Listens, and spawns the tasks that serve. Gives the address with its actual port.
pub(crate) fn serve(
    executor: &'static Executor,
    service: &'static Service<'static>,
    listen: SocketAddr,
    limits: TcpLimits,
    connections: usize,
) -> Result<SocketAddr, Failure> {
    let (mut udp, tcp, bound) = executor
        .run_until(Sockets.bind_udp_and_tcp(listen))
        .map_err(|error| appliance_host::Failure::Listen(listen, error))?;
    let task = executor.spawn(async move {
        let mut request = vec![0; UDP_BUFFER];
        let mut response = vec![0; UDP_BUFFER];
        serve_udp(&mut udp, service, executor, &mut request, &mut response).await
    });
    task?.detach();
    let tcp: &'static _ = Box::leak(Box::new(tcp));
    for _ in 0..connections {
        let task = executor.spawn(async move {
            // Zeroed memory that nobody has touched yet costs no page.
            let mut request = vec![0; TCP_BUFFER];
            let mut response = vec![0; TCP_BUFFER];
            serve_tcp(tcp, service, executor, limits, &mut request, &mut response).await
        });
        task?.detach();
    }
    Ok(bound)
}
