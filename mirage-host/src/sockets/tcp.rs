//! A listener of the system's TCP.

use std::io;
use std::net::{SocketAddr, TcpListener};

use async_io::Async;
use edge_nal::TcpAccept;
use edge_nal_std::TcpSocket;

/// How many connections may wait to be accepted; the system may take fewer (`net.core.somaxconn`).
pub(super) const BACKLOG: i32 = 1_024;

/// A listener of the system's TCP. Any number of tasks may accept from it.
///
/// What it accepts has TCP_NODELAY: a service writes what belongs together at once, and what it writes is to be sent.
#[derive(Debug)]
pub struct TcpAcceptor(Async<TcpListener>);

impl TcpAcceptor {
    pub(super) fn bind(local: SocketAddr) -> io::Result<Self> {
        let listener = TcpListener::bind(local)?;
        // Once more, with a longer queue than the standard library's: listen(2) allows it.
        rustix::net::listen(&listener, BACKLOG)?;
        Ok(Self(Async::new(listener)?))
    }

    /// Where it listens; with the actual port, where the system chose one.
    ///
    /// # Errors
    ///
    /// The system's.
    pub fn local_address(&self) -> io::Result<SocketAddr> {
        self.0.get_ref().local_addr()
    }
}

impl TcpAccept for TcpAcceptor {
    type Error = io::Error;
    type Socket<'a> = TcpSocket;

    async fn accept(&self) -> io::Result<(SocketAddr, TcpSocket)> {
        let (stream, remote) = self.0.accept().await?;
        // Of a connection that is over already the option can't be set, nor does it matter.
        let _ = stream.get_ref().set_nodelay(true);
        Ok((remote, TcpSocket::new(stream)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{HostPlatform, Sockets};
    use edge_nal::TcpBind;
    use mirage_core::executor::Executor;
    use std::net::{Ipv4Addr, TcpStream};

    #[test]
    fn listener_knows_its_port_and_what_it_accepts_sends_at_once() {
        let executor = Executor::leak(HostPlatform::leak().unwrap());
        executor.run_until(async {
            let any = SocketAddr::new(Ipv4Addr::LOCALHOST.into(), 0);
            let acceptor = Sockets.bind(any).await.unwrap();
            let address = acceptor.local_address().unwrap();
            let client = TcpStream::connect(address).unwrap();
            let (remote, socket) = acceptor.accept().await.unwrap();
            assert_eq!(remote, client.local_addr().unwrap());
            assert!(socket.get_ref().nodelay().unwrap());
        });
    }
}
