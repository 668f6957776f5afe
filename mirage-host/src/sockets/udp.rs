//! A UDP socket that answers from the address that was asked.

use std::cell::Cell;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use edge_nal::{
    MulticastV4, MulticastV6, Readable, UdpReceive, UdpSend, UdpSplit, UdpSplitMulticast,
};
use embedded_io_async::ErrorType;

use super::packet_info::{self, Local};

/// A UDP socket of the system.
///
/// Through `edge-nal`'s traits a datagram to whoever sent the last one that was received goes out from the address which
/// that one was sent to; any other goes out from the address that the system chooses. [`UdpSocket::receive_from`] and
/// [`UdpSocket::send_from`] say it explicitly.
pub struct UdpSocket {
    socket: edge_nal_std::UdpSocket,
    last: Cell<Option<(SocketAddr, Local)>>,
}

impl UdpSocket {
    /// Wraps a bound socket, and has the system say to which address each datagram was sent.
    pub(super) fn new(socket: edge_nal_std::UdpSocket) -> io::Result<Self> {
        packet_info::enable(socket.get_ref(), socket.get_ref().local_addr()?.is_ipv6())?;
        Ok(Self {
            socket,
            last: Cell::new(None),
        })
    }

    /// The address that it is bound to, with its actual port.
    ///
    /// # Errors
    ///
    /// The system's, as from getsockname(2).
    pub fn local_address(&self) -> io::Result<SocketAddr> {
        self.socket.get_ref().local_addr()
    }

    /// Receives a datagram: its length in bytes, who sent it, and the address of ours that it asked.
    ///
    /// The length may be larger than the buffer: then the rest is lost. The address is one to answer from, so for a
    /// datagram to a broadcast address it is the interface's own.
    ///
    /// # Errors
    ///
    /// The system's, as from recvmsg(2).
    pub async fn receive_from(
        &self,
        buffer: &mut [u8],
    ) -> io::Result<(usize, SocketAddr, Option<IpAddr>)> {
        let (length, remote, local) = self.receive_local(buffer).await?;
        Ok((length, remote, local.map(|local| local.address)))
    }

    /// Sends a datagram from an address of ours.
    ///
    /// # Errors
    ///
    /// The system's, as from sendmsg(2): `EINVAL` or `EADDRNOTAVAIL` where the address isn't ours.
    pub async fn send_from(
        &self,
        local: IpAddr,
        remote: SocketAddr,
        data: &[u8],
    ) -> io::Result<()> {
        let local = Local {
            address: local,
            interface: 0,
        };
        self.send_local(Some(local), remote, data).await
    }

    async fn receive_local(
        &self,
        buffer: &mut [u8],
    ) -> io::Result<(usize, SocketAddr, Option<Local>)> {
        let received = self
            .socket
            .read_with(|socket| packet_info::receive(socket, buffer))
            .await?;
        self.last.set(received.2.map(|local| (received.1, local)));
        Ok(received)
    }

    async fn send_local(
        &self,
        local: Option<Local>,
        remote: SocketAddr,
        data: &[u8],
    ) -> io::Result<()> {
        self.socket
            .write_with(|socket| packet_info::send(socket, local, remote, data))
            .await
    }
}

impl ErrorType for UdpSocket {
    type Error = io::Error;
}

impl ErrorType for &UdpSocket {
    type Error = io::Error;
}

impl UdpReceive for &UdpSocket {
    async fn receive(&mut self, buffer: &mut [u8]) -> Result<(usize, SocketAddr), io::Error> {
        let (length, remote, _) = self.receive_local(buffer).await?;
        Ok((length, remote))
    }
}

impl UdpSend for &UdpSocket {
    async fn send(&mut self, remote: SocketAddr, data: &[u8]) -> Result<(), io::Error> {
        let local = match self.last.get() {
            Some((last, local)) if last == remote => Some(local),
            _ => None,
        };
        self.send_local(local, remote, data).await
    }
}

impl Readable for &UdpSocket {
    async fn readable(&mut self) -> Result<(), io::Error> {
        let mut socket = &self.socket;
        Readable::readable(&mut socket).await
    }
}

impl MulticastV4 for &UdpSocket {
    async fn join_v4(&mut self, group: Ipv4Addr, interface: Ipv4Addr) -> Result<(), io::Error> {
        self.socket.join_multicast_v4(&group, &interface)
    }

    async fn leave_v4(&mut self, group: Ipv4Addr, interface: Ipv4Addr) -> Result<(), io::Error> {
        self.socket.leave_multicast_v4(&group, &interface)
    }
}

impl MulticastV6 for &UdpSocket {
    async fn join_v6(&mut self, group: Ipv6Addr, interface: u32) -> Result<(), io::Error> {
        self.socket.get_ref().join_multicast_v6(&group, interface)
    }

    async fn leave_v6(&mut self, group: Ipv6Addr, interface: u32) -> Result<(), io::Error> {
        self.socket.get_ref().leave_multicast_v6(&group, interface)
    }
}

impl UdpReceive for UdpSocket {
    async fn receive(&mut self, buffer: &mut [u8]) -> Result<(usize, SocketAddr), io::Error> {
        (&*self).receive(buffer).await
    }
}

impl UdpSend for UdpSocket {
    async fn send(&mut self, remote: SocketAddr, data: &[u8]) -> Result<(), io::Error> {
        (&*self).send(remote, data).await
    }
}

impl Readable for UdpSocket {
    async fn readable(&mut self) -> Result<(), io::Error> {
        (&*self).readable().await
    }
}

impl MulticastV4 for UdpSocket {
    async fn join_v4(&mut self, group: Ipv4Addr, interface: Ipv4Addr) -> Result<(), io::Error> {
        (&*self).join_v4(group, interface).await
    }

    async fn leave_v4(&mut self, group: Ipv4Addr, interface: Ipv4Addr) -> Result<(), io::Error> {
        (&*self).leave_v4(group, interface).await
    }
}

impl MulticastV6 for UdpSocket {
    async fn join_v6(&mut self, group: Ipv6Addr, interface: u32) -> Result<(), io::Error> {
        (&*self).join_v6(group, interface).await
    }

    async fn leave_v6(&mut self, group: Ipv6Addr, interface: u32) -> Result<(), io::Error> {
        (&*self).leave_v6(group, interface).await
    }
}

impl UdpSplit for UdpSocket {
    type Receive<'a> = &'a Self;
    type Send<'a> = &'a Self;

    fn split(&mut self) -> (&Self, &Self) {
        (self, self)
    }
}

impl UdpSplitMulticast for UdpSocket {
    type MulticastV4<'a> = &'a Self;
    type MulticastV6<'a> = &'a Self;

    fn split_multicast(&mut self) -> (&Self, &Self, &Self, &Self) {
        (self, self, self, self)
    }
}
