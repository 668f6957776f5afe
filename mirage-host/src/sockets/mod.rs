//! The system's own sockets, as `edge-nal` traits.
//!
//! TCP's streams are [`edge_nal_std`]'s as they are, its listener is ours: it knows its address, and what it accepts sends at once. UDP is wrapped, so that a host with several addresses answers from the one that was
//! asked. Both wait in a thread of `async-io`, which wakes our tasks through the platform's
//! [`Unpark`](mirage_core::executor::Unpark).

pub(crate) mod option;
mod packet_info;
mod source;
mod tcp;
mod udp;
mod watched;

use std::io;
use std::net::SocketAddr;

use edge_nal::{TcpBind, TcpConnect, UdpBind, UdpConnect};

pub use edge_nal_std::TcpSocket;
pub use source::OutgoingSockets;
pub use tcp::TcpAcceptor;
pub use udp::UdpSocket;
pub use watched::{WatchedAcceptor, WatchedSockets, WatchedStream};

/// The system's sockets.
///
/// ```no_run
/// # async fn f() -> std::io::Result<()> {
/// use edge_nal::{UdpBind, UdpReceive, UdpSend};
///
/// let mut socket = mirage_host::Sockets.bind("0.0.0.0:5300".parse().unwrap()).await?;
/// let mut buffer = [0; 512];
/// let (length, remote) = socket.receive(&mut buffer).await?;
/// // Goes out from the address that `remote` had sent to.
/// socket.send(remote, &buffer[..length.min(512)]).await?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct Sockets;

/// How many free ports are tried for a pair of sockets when the system chooses the port.
const PORT_ATTEMPTS: usize = 64;

impl Sockets {
    /// Binds a UDP socket and a TCP listener to the same address and port.
    ///
    /// With port 0 the system chooses one that is free for both; the address returned has it.
    ///
    /// # Errors
    ///
    /// The system's, as from bind(2): the port is in use, below 1,024 without the right to it, or the address isn't ours.
    pub async fn bind_udp_and_tcp(
        self,
        local: SocketAddr,
    ) -> io::Result<(UdpSocket, TcpAcceptor, SocketAddr)> {
        let mut attempts = if local.port() == 0 { PORT_ATTEMPTS } else { 1 };
        loop {
            let udp = <Self as UdpBind>::bind(&self, local).await?;
            let bound = udp.local_address()?;
            attempts -= 1;
            match <Self as TcpBind>::bind(&self, bound).await {
                Ok(tcp) => return Ok((udp, tcp, bound)),
                Err(error) if error.kind() == io::ErrorKind::AddrInUse && attempts > 0 => {}
                Err(error) => return Err(error),
            }
        }
    }
}

impl UdpBind for Sockets {
    type Error = io::Error;
    type Socket<'a> = UdpSocket;

    async fn bind(&self, local: SocketAddr) -> Result<UdpSocket, io::Error> {
        UdpSocket::new(UdpBind::bind(&edge_nal_std::Stack::new(), local).await?)
    }
}

impl UdpConnect for Sockets {
    type Error = io::Error;
    type Socket<'a> = edge_nal_std::UdpSocket;

    async fn connect(
        &self,
        local: SocketAddr,
        remote: SocketAddr,
    ) -> Result<edge_nal_std::UdpSocket, io::Error> {
        UdpConnect::connect(&edge_nal_std::Stack::new(), local, remote).await
    }
}

impl TcpBind for Sockets {
    type Error = io::Error;
    type Accept<'a> = TcpAcceptor;

    async fn bind(&self, local: SocketAddr) -> Result<TcpAcceptor, io::Error> {
        TcpAcceptor::bind(local)
    }
}

impl TcpConnect for Sockets {
    type Error = io::Error;
    type Socket<'a> = TcpSocket;

    async fn connect(&self, remote: SocketAddr) -> Result<TcpSocket, io::Error> {
        TcpConnect::connect(&edge_nal_std::Stack::new(), remote).await
    }
}
