//! Sockets for what a service asks others, from the address at which it is asked itself.

use std::io;
use std::net::{IpAddr, SocketAddr, TcpStream};

use async_io::Async;
use edge_nal::{TcpConnect, UdpBind};
use edge_nal_std::TcpSocket;
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, connect, socket_with};

use super::{Sockets, UdpSocket};

/// The system's sockets, for connections and datagrams that go out from one address.
///
/// Peers know a server by its address: on a host with several, what it asks must come from the one at which it listens.
/// Towards peers of the other family, and from a loopback address towards other hosts, the system chooses the address.
#[derive(Clone, Copy, Debug)]
pub struct OutgoingSockets {
    source: Option<IpAddr>,
}

impl OutgoingSockets {
    /// Sockets of this address; of the unspecified one the system chooses.
    pub fn new(source: IpAddr) -> Self {
        Self {
            source: Some(source).filter(|source| !source.is_unspecified()),
        }
    }

    /// The address to bind to where `local` was asked for.
    fn instead_of(self, local: IpAddr) -> IpAddr {
        let source = self.source.filter(|source| {
            let same_family = source.is_ipv4() == local.is_ipv4();
            let any_peer = local.is_unspecified() && !source.is_loopback();
            same_family && (any_peer || local.is_loopback())
        });
        source.unwrap_or(local)
    }

    /// The address to be used towards a peer, if one is.
    fn towards(self, peer: IpAddr) -> Option<IpAddr> {
        self.source.filter(|source| {
            let same_family = source.is_ipv4() == peer.is_ipv4();
            same_family && (!source.is_loopback() || peer.is_loopback())
        })
    }
}

impl UdpBind for OutgoingSockets {
    type Error = io::Error;
    type Socket<'a> = UdpSocket;

    /// As [`Sockets`], from the address that was chosen. Datagrams of a socket that is bound to the unspecified address go to any
    /// peer, so a loopback address is not put in its place; one that is bound to a loopback address has loopback peers alone, and is.
    async fn bind(&self, local: SocketAddr) -> Result<UdpSocket, io::Error> {
        let address = self.instead_of(local.ip());
        UdpBind::bind(&Sockets, SocketAddr::new(address, local.port())).await
    }
}

impl TcpConnect for OutgoingSockets {
    type Error = io::Error;
    type Socket<'a> = TcpSocket;

    async fn connect(&self, remote: SocketAddr) -> Result<TcpSocket, io::Error> {
        let Some(source) = self.towards(remote.ip()) else {
            return TcpConnect::connect(&Sockets, remote).await;
        };
        let family = match remote {
            SocketAddr::V4(_) => AddressFamily::INET,
            SocketAddr::V6(_) => AddressFamily::INET6,
        };
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket = socket_with(family, SocketType::STREAM, flags, None)?;
        bind(&socket, &SocketAddr::new(source, 0))?;
        match connect(&socket, &remote) {
            Ok(()) | Err(Errno::INPROGRESS) => {}
            Err(error) => return Err(error.into()),
        }
        let stream = Async::new_nonblocking(TcpStream::from(socket))?;
        // connect(2): it is writable when the connection is there or has failed.
        stream.writable().await?;
        match stream.get_ref().take_error()? {
            None => Ok(TcpSocket::new(stream)),
            Some(error) => Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::HostPlatform;
    use edge_nal::{TcpShutdown as _, UdpSend as _};
    use embedded_io_async::{Read as _, Write as _};
    use mirage_core::executor::Executor;
    use std::io::{Read as _, Write as _};
    use std::net::{Ipv4Addr, TcpListener};

    fn executor() -> &'static Executor {
        Executor::leak(HostPlatform::leak().unwrap())
    }

    fn address(last: u8) -> IpAddr {
        Ipv4Addr::new(127, 0, 0, last).into()
    }

    #[test]
    fn connection_comes_from_the_address_that_was_chosen() {
        let listener = TcpListener::bind((address(1), 0)).unwrap();
        let remote = listener.local_addr().unwrap();
        let peer = std::thread::spawn(move || {
            let (mut stream, from) = listener.accept().unwrap();
            let mut octets = [0; 2];
            stream.read_exact(&mut octets).unwrap();
            stream.write_all(&octets).unwrap();
            from
        });
        let sockets = OutgoingSockets::new(address(9));
        executor().run_until(async {
            let mut socket = sockets.connect(remote).await.unwrap();
            socket.write_all(b"ab").await.unwrap();
            let mut octets = [0; 2];
            socket.read_exact(&mut octets).await.unwrap();
            assert_eq!(&octets, b"ab");
            socket.abort().await.unwrap();
        });
        assert_eq!(peer.join().unwrap().ip(), address(9));
    }

    #[test]
    fn connection_that_is_refused_is_an_error() {
        let closed = TcpListener::bind((address(1), 0)).unwrap();
        let remote = closed.local_addr().unwrap();
        drop(closed);
        let connecting = async { OutgoingSockets::new(address(9)).connect(remote).await };
        assert!(executor().run_until(connecting).is_err());
    }

    #[test]
    fn address_is_used_where_it_can_be() {
        let towards = |source: &str, peer: &str| {
            OutgoingSockets::new(source.parse().unwrap()).towards(peer.parse().unwrap())
        };
        let given = |source: &str| Some(source.parse().unwrap());
        assert_eq!(towards("192.0.2.1", "198.51.100.1"), given("192.0.2.1"));
        assert_eq!(towards("192.0.2.1", "2001:db8::1"), None);
        assert_eq!(towards("127.0.0.2", "127.0.0.1"), given("127.0.0.2"));
        assert_eq!(towards("127.0.0.1", "198.51.100.1"), None);
        assert_eq!(towards("0.0.0.0", "198.51.100.1"), None);
    }

    #[test]
    fn datagrams_to_loopback_peers_come_from_the_loopback_address_that_was_chosen() {
        let instead = |source: &str, local: &str| {
            OutgoingSockets::new(source.parse().unwrap()).instead_of(local.parse().unwrap())
        };
        let given = |address: &str| -> IpAddr { address.parse().unwrap() };
        assert_eq!(instead("127.0.0.2", "127.0.0.1"), given("127.0.0.2"));
        assert_eq!(instead("127.0.0.2", "0.0.0.0"), given("0.0.0.0"));
        assert_eq!(instead("192.0.2.1", "127.0.0.1"), given("192.0.2.1"));
        assert_eq!(instead("192.0.2.1", "0.0.0.0"), given("192.0.2.1"));
        assert_eq!(instead("0.0.0.0", "127.0.0.1"), given("127.0.0.1"));
        assert_eq!(instead("127.0.0.2", "::1"), given("::1"));
        assert_eq!(instead("192.0.2.1", "192.0.2.7"), given("192.0.2.7"));
        let sockets = OutgoingSockets::new(address(9));
        let socket = executor().run_until(sockets.bind((address(1), 0).into()));
        let peer = std::net::UdpSocket::bind((address(1), 0)).unwrap();
        let to = peer.local_addr().unwrap();
        let sent = async { socket.unwrap().send(to, b"a").await };
        executor().run_until(sent).unwrap();
        assert_eq!(peer.recv_from(&mut [0; 1]).unwrap().1.ip(), address(9));
    }
}
