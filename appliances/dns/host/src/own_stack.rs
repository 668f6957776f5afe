//! Serving on our own stack.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use dns_appliance::{Service, serve_tcp, serve_udp};
use mirage_core::executor::Executor;
use mirage_net::tcp::{ConnectionOptions, ListenOptions, TcpCapacities};
use mirage_net::{ServiceOptions, SharedStack, UdpOptions};

use crate::arguments::Arguments;
use crate::error::Failure;
use crate::sockets::{TCP_BUFFER, UDP_BUFFER};

/// The port of DNS (RFC 1035 §4.2).
pub(crate) const PORT: u16 = 53;

/// Received datagrams that wait while another task runs.
const UDP_QUEUE: u16 = 128;

/// What a connection may hold: questions are short, and answers may be as long as a message. Each answer is written at once, and is not
/// to wait for the acknowledgement of the one before. A client that acknowledges nothing is gone long before the usual time.
const CONNECTION: ConnectionOptions = ConnectionOptions {
    receive_window: 16_384,
    receive_pages: 16,
    send_octets: 65_537,
    send_pages: 20,
    no_delay: true,
    user_timeout: Duration::from_secs(30),
    ..ConnectionOptions::DEFAULT
};

/// How many connections may wait to be served, where so many are served at once: a few dozen clients that come at the same moment
/// need not try again.
fn backlog(connections: usize) -> u16 {
    u16::try_from(connections.max(128)).unwrap_or(u16::MAX)
}

/// Tables for so many connections that are served at once, for those that wait, and as many that are being closed. What they hold
/// in all has a bound in the pool's pages, of which each has its share.
pub(crate) fn capacities(connections: usize) -> TcpCapacities {
    TcpCapacities {
        connections: 2 * connections + usize::from(backlog(connections)),
        segments: 2_048,
        listeners: 4,
        half_open: 256,
        time_waits: 1_024,
    }
}

/// Binds the service, and spawns the tasks that serve.
pub(crate) fn serve(
    executor: &'static Executor,
    stack: &'static SharedStack<'static>,
    service: &'static Service<'static>,
    arguments: &Arguments,
) -> Result<(), Failure> {
    let local = SocketAddr::from((Ipv4Addr::UNSPECIFIED, PORT));
    if arguments.changing.is_any() {
        // Some answers come later, which what answers in place can't.
        let options = UdpOptions {
            queue: UDP_QUEUE,
            pages: UDP_QUEUE,
            ..UdpOptions::bind(local)
        };
        let mut socket = stack.udp_bind(options).map_err(wrong)?;
        let task = executor.spawn(async move {
            let mut request = vec![0; UDP_BUFFER];
            let mut response = vec![0; UDP_BUFFER];
            serve_udp(&mut socket, service, executor, &mut request, &mut response).await
        });
        task?.detach();
    } else {
        let options = ServiceOptions {
            max_answer: usize::from(service.limits().udp_payload_size.max(512)),
            ..ServiceOptions::port(PORT)
        };
        let bound: &'static mut &'static Service<'static> = Box::leak(Box::new(service));
        stack
            .with(|stack, _| stack.bind_service(options, bound))
            .map_err(wrong)?;
    }
    let (limits, connections) = (arguments.tcp_limits(), arguments.tcp_connections);
    let options = ListenOptions {
        backlog: backlog(connections),
        connection: CONNECTION,
        ..ListenOptions::bind(local)
    };
    let listener = stack.tcp_listen(options).map_err(wrong)?;
    let listener: &'static _ = Box::leak(Box::new(listener));
    for _ in 0..connections {
        let task = executor.spawn(async move {
            // Zeroed memory that nobody has touched yet costs no page.
            let mut request = vec![0; TCP_BUFFER];
            let mut response = vec![0; TCP_BUFFER];
            let (request, response) = (&mut request[..], &mut response[..]);
            serve_tcp(listener, service, executor, limits, request, response).await
        });
        task?.detach();
    }
    Ok(())
}

fn wrong(error: mirage_net::BindError) -> Failure {
    Failure::Arguments(error.to_string())
}
