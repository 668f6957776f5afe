//! A zero-copy network stack of pure state machines, without allocation.
//!
//! Ethernet, ARP, IPv4, ICMP, UDP, TCP and DHCP for one interface. The whole of it is [`Stack`]: frames and
//! the time go in, frames, events and the next deadline come out; it touches no device, no
//! clock, no executor and no lock. A thin shell ([`SharedStack`]) lets a driver task and
//! sockets share it.
//!
//! # Quick reference
//!
//! | | |
//! |---|---|
//! | [`Stack`], [`StackConfig`] | the state machine of an interface, its times and rates |
//! | [`StackStorage`], [`StackMemory`] | its memory, which the caller hands in: each length is a bound |
//! | [`Stack::handle_frame`], [`handle_timeout`](Stack::handle_timeout), [`handle_link`](Stack::handle_link) | inputs |
//! | [`Stack::poll_transmit`], [`poll_event`](Stack::poll_event), [`poll_udp`](Stack::poll_udp), [`poll_timeout`](Stack::poll_timeout) | outputs |
//! | [`Stack::add_address`], [`ConflictConfig`], [`Event`] | addresses: probed for, announced, defended (RFC 5227) |
//! | [`Stack::add_route`], [`Route`], [`Cidr`] | routes |
//! | [`UdpService`], [`ServiceOptions`], [`Stack::bind_service`] | a server that answers in place |
//! | [`UdpOptions`], [`Stack::udp_bind`], [`udp_send`](Stack::udp_send), [`udp_receive`](Stack::udp_receive) | sockets with bounded queues |
//! | [`tcp`], [`Stack::tcp_listen`], [`tcp_accept`](Stack::tcp_accept), [`tcp_connect`](Stack::tcp_connect), [`tcp_write`](Stack::tcp_write), [`tcp_receive`](Stack::tcp_receive) … | connections |
//! | [`Stack::ping`] | echo requests |
//! | [`DhcpClient`], [`DhcpBinding`], [`SharedDhcpClient`] | a DHCP client, a stack that is configured as it says, and both in a task |
//! | [`DhcpInform`], [`dhcp_inform`] | asks a DHCP server for all but the address |
//! | [`DhcpServer`], [`serve_dhcp`] | a DHCP server, and a task that runs it with its leases in any [`KvMut`](mirage_core::kv::KvMut) |
//! | [`drive`] | the task that moves frames between a device and a stack whose services answer in place |
//! | [`SharedStack`], [`UdpSocket`], [`TcpListener`], [`TcpStream`] | the asynchronous shell that tasks share; with the feature `io` its connections implement `embedded-io-async`'s traits, with `edge-nal` all of them `edge-nal`'s |
//! | [`Counters`] | one number for each reason to drop |
//! | [`wire`] | the codecs |
//!
//! # Memory
//!
//! All tables are slices that the caller hands in, `managed::ManagedSlice`s of opaque slots:
//! [`StackMemory`] is a structure of arrays for whoever wants the usual ones, `StackStorage::allocate`
//! (feature `alloc`) makes them in the global allocator, once. No table ever grows; what happens
//! when one is full is said at its field in [`StackStorage`].
//!
//! Frames lie in pages of `mirage-core`'s pool. What a queue keeps of a device's receive reserve
//! is exchanged for a page of the general part, or dropped and counted, so a receive ring is
//! never starved; a small reserve of its own lets the stack always ask and answer ARP.
//!
//! # Which copy happens where
//!
//! | | copies |
//! |---|---|
//! | A service's request and answer | none: it reads the received page, and writes into the page that is sent |
//! | An echo reply, an ARP reply | none: made in the page of the request |
//! | [`Stack::udp_receive`], [`UdpSocket::receive`] | none: the payload in the page that it was received in |
//! | [`Stack::tcp_send`], [`tcp_receive`](Stack::tcp_receive), [`tcp_peek`](Stack::tcp_peek) | none: data stay in their pages; one where the device takes fewer segments |
//! | [`Stack::tcp_write`], [`tcp_read`](Stack::tcp_read) | one, between the slice and the pages |
//! | [`Stack::tcp_page`], [`TcpStream::page`] | none: a page to be filled and sent, of those that are not kept for what is received |
//! | [`TcpStream::send`], [`receive`](TcpStream::receive), `embedded_io_async::BufRead` | as `tcp_send` and `tcp_receive`: none |
//! | [`TcpStream::write`], [`read`](TcpStream::read), `embedded_io_async::Write` and `Read` | one, as `tcp_write` and `tcp_read` |
//! | [`Stack::udp_send_page`], [`udp_send_frame`](Stack::udp_send_frame) | none; one where the device takes fewer segments |
//! | [`Stack::udp_send`], [`udp_send_from`](Stack::udp_send_from), [`UdpSocket::send`], [`send_from`](UdpSocket::send_from), `edge_nal::UdpSend` | one, from the slice into the pages that are sent |
//! | `edge_nal::UdpReceive` | one, from the received page into the caller's buffer |
//! | A datagram that goes out in fragments | one more, into a page for each fragment |
//! | A datagram that came in fragments | one, into pages of the pool's general part |
//! | A service's request that came in several segments | one, into a page |
//! | A datagram below half a page, in a queue with half of its pages or in a pool that runs low | one, behind others in a page that they share |
//! | Headers that lie in several segments | the first 150 bytes at most |
//!
//! # Checksums
//!
//! The checksums of IPv4 and ICMP are always verified here, UDP's and TCP's here or by a device that
//! negotiated it and says so for the frame ([`Checksum::Verified`](mirage_core::Checksum)); a
//! partial one, of a frame that never crossed a wire, is taken from a device that negotiated it and
//! counted apart. Reassembled datagrams are verified here in any case.
//!
//! # Example
//!
//! ```
//! use mirage_core::{Instant, MacAddress, Offloads, Pool};
//! use mirage_net::*;
//! # use rand_chacha::{ChaCha20Rng, rand_core::SeedableRng};
//! # let mut rng = ChaCha20Rng::seed_from_u64(1);
//!
//! struct Echo;
//! impl UdpService for Echo {
//!     fn respond(&mut self, request: &UdpRequest<'_>, answer: &mut [u8]) -> Option<usize> {
//!         let answer = answer.get_mut(..request.payload.len())?;
//!         answer.copy_from_slice(request.payload);
//!         Some(answer.len())
//!     }
//! }
//!
//! let pool = Pool::leak(128, 2048).unwrap();
//! let mut memory = StackMemory::<16, 16, 64, 4, 32>::new();
//! let mut echo = Echo;
//! let mut services = [const { ServiceSlot::EMPTY }; 1];
//! let config = StackConfig::new(MacAddress([2, 0, 0, 0, 0, 1]), 1_500, Offloads::NONE);
//! let now = Instant::ZERO;
//! let storage = memory.storage(&mut services);
//! let mut stack = Stack::new(config, storage, pool, now, &mut rng).unwrap();
//! stack.bind_service(ServiceOptions::port(7), &mut echo).unwrap();
//! let address = "192.0.2.1/24".parse().unwrap();
//! stack.add_address(now, address, ConflictConfig::default()).unwrap();
//!
//! // The driver's loop: frames in, time, frames out, then sleep until the deadline.
//! # let received: Option<mirage_core::Frame> = None;
//! if let Some(frame) = received {
//!     stack.handle_frame(now, frame);
//! }
//! stack.handle_timeout(now);
//! while let Some(frame) = stack.poll_transmit(now) {
//!     // … to the device
//!     # drop(frame);
//! }
//! // The address is probed for within a second.
//! assert!(stack.poll_timeout().unwrap() <= Instant::from_secs(1));
//! ```
//!
//! # What is not implemented
//!
//! - Of TCP: urgent data to send (RFC 6093 advises against it; received ones stay
//!   in line, and [`Stack::tcp_urgent`] tells where they end), Fast Open.
//! - IPv6 (counted and dropped in one match arm; public addresses
//!   are of either family already), multicast reception (IGMP), VLAN tags.
//! - Forwarding between interfaces; a loopback interface: nothing can be sent to oneself.
//! - IPv4 options: skipped on receive, never sent. Type of service: zero, ignored, but for TCP's ECN.
//! - ICMP Redirect, Source Quench, Timestamp, Router Discovery: counted and ignored.
//! - With pages of 4,096 bytes a reassembled datagram may have all 65,515 bytes; with smaller ones
//!   at most 17 pages' worth.
#![no_std]
#![forbid(unsafe_code)]

#[cfg(feature = "alloc")]
extern crate alloc;
#[cfg(test)]
extern crate std;

mod arp;
mod dhcp;
#[cfg(feature = "edge-nal")]
mod edge;
#[cfg(any(test, feature = "fuzzing"))]
pub mod fuzzing;
mod ip;
mod limit;
mod random;
mod shell;
mod stack;
pub mod tcp;
mod udp;
pub mod wire;

pub use arp::{
    AddressSlot, AddressState, ConflictConfig, Defence, NeighbourConfig, NeighbourCounters,
    NeighbourSlot, PendingSlot,
};
pub use dhcp::{
    DhcpBinding, DhcpClient, DhcpClientConfig, DhcpClientCounters, DhcpClientEvent,
    DhcpClientState, DhcpInform, DhcpLease, DhcpLeaseKind, DhcpLeaseSlot, DhcpLoss, DhcpParameters,
    DhcpProbeSlot, DhcpRecord, DhcpRecordError, DhcpReply, DhcpReservation, DhcpServer,
    DhcpServerConfig, DhcpServerCounters, DhcpServerError, DhcpSubnet, DhcpTransmit,
    DhcpUnanswered,
};
#[cfg(feature = "edge-nal")]
pub use edge::NalError;
pub use ip::{
    Cidr, PathMtuConfig, PathMtuSlot, PrefixError, ReassemblyConfig, ReassemblyCounters,
    ReassemblySlot, Route, RouteError, RouteSlot, SentSlot,
};
pub use limit::RateLimit;
pub use shell::{
    DhcpInformError, DhcpNotice, DhcpServerNotice, DriverCounters, ListenerWakerSlot,
    RECEIVE_BUDGET, ServeDhcpError, SharedDhcpClient, SharedStack, StreamWakerSlot, TcpListener,
    TcpReader, TcpStream, TcpWakers, TcpWriter, UdpSocket, WakerSlot, dhcp_inform, drive,
    serve_dhcp,
};
#[cfg(feature = "alloc")]
pub use stack::Capacities;
pub use stack::{
    AddressError, ArpCounters, Counters, EchoSlot, EthernetCounters, Event, EventSlot, HEADROOM,
    IcmpCounters, Ipv4Counters, SendCounters, SendError, Stack, StackConfig, StackError,
    StackMemory, StackStorage, TransmitSlot, UdpCounters,
};
pub use udp::{
    BindError, Datagram, DatagramSlot, Fragmentation, PortBucket, ServiceOptions, ServiceSlot,
    SocketError, UdpHandle, UdpOptions, UdpRequest, UdpService, UdpSlot,
};
