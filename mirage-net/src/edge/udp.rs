//! UDP.
//!
//! `UdpSend::send` copies its slice once, into the pages that are sent; `UdpReceive::receive`
//! copies once, from the received page into the caller's buffer. Whoever wants neither copy uses
//! [`UdpSocket`]'s own methods, or a [`UdpService`](crate::UdpService).
//!
//! # The source of an answer
//! `edge-nal` tells no one to which of our addresses a datagram came. A socket that is bound to
//! no address remembers it of the last datagram that `UdpReceive::receive` gave, and
//! `UdpSend::send` to that one's sender, address and port, leaves from there. This is exact for
//! whoever receives and then answers. Whoever receives more before the answer, or sends to
//! somebody else, sends from the address that the route chooses; and who asked two addresses of
//! ours from one port gets both answers from the later one. The route chooses as well when the
//! datagram came to a broadcast address, or to one that is no longer ours. Exact in every case:
//! [`UdpSocket::receive`] and [`UdpSocket::send_from`].

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use edge_nal::{
    MulticastV4, MulticastV6, Readable, UdpBind, UdpConnect, UdpReceive, UdpSend, UdpSplit,
    UdpSplitMulticast,
};
use embedded_io_async::ErrorType;

use super::NalError;
use crate::{SharedStack, UdpOptions, UdpSocket};

impl<'a> UdpBind for SharedStack<'a> {
    type Error = NalError;
    type Socket<'s>
        = UdpSocket<'s, 'a>
    where
        Self: 's;

    /// A socket with the bounds of [`UdpOptions::bind`] that may broadcast, as `edge-nal` has no
    /// way to ask for it. Another bound: [`SharedStack::udp_bind`].
    async fn bind(&self, local: SocketAddr) -> Result<Self::Socket<'_>, NalError> {
        let mut options = UdpOptions::bind(local);
        options.broadcast = true;
        self.udp_bind(options).map_err(NalError::Bind)
    }
}

impl<'a> UdpConnect for SharedStack<'a> {
    type Error = NalError;
    type Socket<'s>
        = UdpSocket<'s, 'a>
    where
        Self: 's;

    async fn connect(
        &self,
        local: SocketAddr,
        remote: SocketAddr,
    ) -> Result<Self::Socket<'_>, NalError> {
        let mut options = UdpOptions::connect(local, remote);
        options.broadcast = true;
        self.udp_bind(options).map_err(NalError::Bind)
    }
}

impl ErrorType for UdpSocket<'_, '_> {
    type Error = NalError;
}

impl ErrorType for &UdpSocket<'_, '_> {
    type Error = NalError;
}

impl UdpReceive for &UdpSocket<'_, '_> {
    async fn receive(&mut self, buffer: &mut [u8]) -> Result<(usize, SocketAddr), NalError> {
        let datagram = UdpSocket::receive(self).await.map_err(NalError::Socket)?;
        datagram.payload.copy_to_slice(0, buffer);
        self.asked
            .set(Some((datagram.source, datagram.destination.ip())));
        Ok((datagram.payload.len(), datagram.source))
    }
}

impl UdpSend for &UdpSocket<'_, '_> {
    async fn send(&mut self, remote: SocketAddr, data: &[u8]) -> Result<(), NalError> {
        // A task that receives meanwhile does not change who is answered from where.
        let asked = self.asked.get().filter(|(from, _)| *from == remote);
        self.send_chosen(Some(remote), data, |stack| match asked {
            Some((_, IpAddr::V4(address))) if stack.is_own(address) => Some(address.into()),
            _ => None,
        })
        .await
        .map_err(NalError::Send)
    }
}

impl Readable for &UdpSocket<'_, '_> {
    async fn readable(&mut self) -> Result<(), NalError> {
        UdpSocket::readable(self).await;
        Ok(())
    }
}

impl UdpReceive for UdpSocket<'_, '_> {
    async fn receive(&mut self, buffer: &mut [u8]) -> Result<(usize, SocketAddr), NalError> {
        UdpReceive::receive(&mut &*self, buffer).await
    }
}

impl UdpSend for UdpSocket<'_, '_> {
    async fn send(&mut self, remote: SocketAddr, data: &[u8]) -> Result<(), NalError> {
        UdpSend::send(&mut &*self, remote, data).await
    }
}

impl Readable for UdpSocket<'_, '_> {
    async fn readable(&mut self) -> Result<(), NalError> {
        Readable::readable(&mut &*self).await
    }
}

impl<'h, 'a> UdpSplit for UdpSocket<'h, 'a> {
    type Receive<'s>
        = &'s UdpSocket<'h, 'a>
    where
        Self: 's;
    type Send<'s>
        = &'s UdpSocket<'h, 'a>
    where
        Self: 's;

    fn split(&mut self) -> (Self::Receive<'_>, Self::Send<'_>) {
        (self, self)
    }
}

impl<'h, 'a> UdpSplitMulticast for UdpSocket<'h, 'a> {
    type MulticastV4<'s>
        = &'s UdpSocket<'h, 'a>
    where
        Self: 's;
    type MulticastV6<'s>
        = &'s UdpSocket<'h, 'a>
    where
        Self: 's;

    fn split_multicast(
        &mut self,
    ) -> (
        Self::Receive<'_>,
        Self::Send<'_>,
        Self::MulticastV4<'_>,
        Self::MulticastV6<'_>,
    ) {
        (self, self, self, self)
    }
}

macro_rules! no_multicast {
    ($($socket:ty),*) => { $(
        impl MulticastV4 for $socket {
            async fn join_v4(&mut self, _: Ipv4Addr, _: Ipv4Addr) -> Result<(), NalError> {
                Err(NalError::Multicast)
            }

            async fn leave_v4(&mut self, _: Ipv4Addr, _: Ipv4Addr) -> Result<(), NalError> {
                Err(NalError::Multicast)
            }
        }

        impl MulticastV6 for $socket {
            async fn join_v6(&mut self, _: Ipv6Addr, _: u32) -> Result<(), NalError> {
                Err(NalError::Multicast)
            }

            async fn leave_v6(&mut self, _: Ipv6Addr, _: u32) -> Result<(), NalError> {
                Err(NalError::Multicast)
            }
        }
    )* };
}

no_multicast!(UdpSocket<'_, '_>, &UdpSocket<'_, '_>);
