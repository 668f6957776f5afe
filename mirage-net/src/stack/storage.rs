//! The memory of a stack, which its owner hands in.

use managed::ManagedSlice;

use super::echo::EchoSlot;
use super::event::EventSlot;
use super::transmit::TransmitSlot;
use crate::arp::{AddressSlot, NeighbourSlot, PendingSlot};
use crate::ip::{PathMtuSlot, ReassemblySlot, RouteSlot, SentSlot};
use crate::tcp::TcpStorage;
use crate::udp::{DatagramSlot, PortBucket, ServiceSlot, UdpSlot};

/// All tables of a stack: the length of each is the bound of what it holds.
///
/// Each field is a borrowed slice, or, with the feature `alloc`, a vector of slots. A table may
/// be empty; what it would hold is then refused. [`StackMemory`] makes all of them at once.
#[derive(Debug)]
pub struct StackStorage<'a> {
    /// Addresses of ours. Full: no more are added.
    pub addresses: ManagedSlice<'a, AddressSlot>,
    /// Routes. Full: no more are added.
    pub routes: ManagedSlice<'a, RouteSlot>,
    /// Neighbours. Full: the one least missed makes room.
    pub neighbours: ManagedSlice<'a, NeighbourSlot>,
    /// Datagrams that wait for a neighbour's address; at most a quarter as many as the pool has
    /// pages. Full: refused, but a neighbour's oldest makes room for its newest.
    pub pending: ManagedSlice<'a, PendingSlot>,
    /// Datagrams of which some fragments are missing. Full: the oldest makes room.
    pub reassembly: ManagedSlice<'a, ReassemblySlot>,
    /// Paths that take less than the interface. Full: the one that expires first makes room.
    pub path_mtu: ManagedSlice<'a, PathMtuSlot>,
    /// What was sent lately with Don't Fragment. Full: the oldest is forgotten.
    pub sent: ManagedSlice<'a, SentSlot>,
    /// Frames for the device. Full: a socket's datagram is refused, an answer dropped.
    pub transmit: ManagedSlice<'a, TransmitSlot>,
    /// UDP sockets. Full: no more are opened.
    pub udp_sockets: ManagedSlice<'a, UdpSlot>,
    /// Received datagrams of all sockets, set aside when a socket is opened.
    pub udp_datagrams: ManagedSlice<'a, DatagramSlot>,
    /// Chains that find sockets by port; half as many as sockets is plenty, at least one.
    pub udp_buckets: ManagedSlice<'a, PortBucket>,
    /// UDP services. Full: no more are bound. Each datagram is looked up in all of them before the
    /// sockets: a handful, not hundreds.
    pub services: ManagedSlice<'a, ServiceSlot<'a>>,
    /// Pings that wait for an answer. Full: the oldest is forgotten.
    pub echoes: ManagedSlice<'a, EchoSlot>,
    /// Events that the owner has not taken. Full: the oldest is lost and counted.
    pub events: ManagedSlice<'a, EventSlot>,
    /// TCP; none in what [`StackMemory`] and `StackStorage::allocate` make, see [`with_tcp`](StackStorage::with_tcp).
    pub tcp: TcpStorage<'a>,
}

impl<'a> StackStorage<'a> {
    /// The same, with TCP.
    pub fn with_tcp(mut self, tcp: TcpStorage<'a>) -> Self {
        self.tcp = tcp;
        self
    }
}

/// Memory for a stack of one interface, sized by what varies most.
///
/// It holds 4 addresses, 8 routes, 4 datagrams in reassembly, 16 path MTUs, 32 sent datagrams,
/// 4 services, 8 pings and 16 events; whoever wants other numbers fills a [`StackStorage`].
///
/// ```
/// use mirage_net::{ServiceSlot, StackMemory};
/// let mut memory = StackMemory::<16, 16, 64, 4, 32>::new();
/// let mut services = [const { ServiceSlot::EMPTY }; 2];
/// let storage = memory.storage(&mut services);
/// assert_eq!(storage.neighbours.len(), 16);
/// ```
#[derive(Debug)]
pub struct StackMemory<
    const NEIGHBOURS: usize,
    const PENDING: usize,
    const TRANSMIT: usize,
    const SOCKETS: usize,
    const DATAGRAMS: usize,
> {
    addresses: [AddressSlot; 4],
    routes: [RouteSlot; 8],
    neighbours: [NeighbourSlot; NEIGHBOURS],
    pending: [PendingSlot; PENDING],
    reassembly: [ReassemblySlot; 4],
    path_mtu: [PathMtuSlot; 16],
    sent: [SentSlot; 32],
    transmit: [TransmitSlot; TRANSMIT],
    udp_sockets: [UdpSlot; SOCKETS],
    udp_datagrams: [DatagramSlot; DATAGRAMS],
    udp_buckets: [PortBucket; 16],
    echoes: [EchoSlot; 8],
    events: [EventSlot; 16],
}

impl<
    const NEIGHBOURS: usize,
    const PENDING: usize,
    const TRANSMIT: usize,
    const SOCKETS: usize,
    const DATAGRAMS: usize,
> StackMemory<NEIGHBOURS, PENDING, TRANSMIT, SOCKETS, DATAGRAMS>
{
    /// Empty memory.
    pub const fn new() -> Self {
        StackMemory {
            addresses: [const { AddressSlot::EMPTY }; 4],
            routes: [const { RouteSlot::EMPTY }; 8],
            neighbours: [const { NeighbourSlot::EMPTY }; NEIGHBOURS],
            pending: [const { PendingSlot::EMPTY }; PENDING],
            reassembly: [const { ReassemblySlot::EMPTY }; 4],
            path_mtu: [const { PathMtuSlot::EMPTY }; 16],
            sent: [const { SentSlot::EMPTY }; 32],
            transmit: [const { TransmitSlot::EMPTY }; TRANSMIT],
            udp_sockets: [const { UdpSlot::EMPTY }; SOCKETS],
            udp_datagrams: [const { DatagramSlot::EMPTY }; DATAGRAMS],
            udp_buckets: [const { PortBucket::EMPTY }; 16],
            echoes: [const { EchoSlot::EMPTY }; 8],
            events: [const { EventSlot::EMPTY }; 16],
        }
    }

    /// The storage for [`Stack::new`](crate::Stack::new).
    ///
    /// The slots of services are apart: they borrow the services themselves.
    pub fn storage<'a>(&'a mut self, services: &'a mut [ServiceSlot<'a>]) -> StackStorage<'a> {
        StackStorage {
            addresses: (&mut self.addresses[..]).into(),
            routes: (&mut self.routes[..]).into(),
            neighbours: (&mut self.neighbours[..]).into(),
            pending: (&mut self.pending[..]).into(),
            reassembly: (&mut self.reassembly[..]).into(),
            path_mtu: (&mut self.path_mtu[..]).into(),
            sent: (&mut self.sent[..]).into(),
            transmit: (&mut self.transmit[..]).into(),
            udp_sockets: (&mut self.udp_sockets[..]).into(),
            udp_datagrams: (&mut self.udp_datagrams[..]).into(),
            udp_buckets: (&mut self.udp_buckets[..]).into(),
            services: services.into(),
            echoes: (&mut self.echoes[..]).into(),
            events: (&mut self.events[..]).into(),
            tcp: TcpStorage::none(),
        }
    }
}

impl<
    const NEIGHBOURS: usize,
    const PENDING: usize,
    const TRANSMIT: usize,
    const SOCKETS: usize,
    const DATAGRAMS: usize,
> Default for StackMemory<NEIGHBOURS, PENDING, TRANSMIT, SOCKETS, DATAGRAMS>
{
    fn default() -> Self {
        Self::new()
    }
}

/// How large the tables are that [`StackStorage::allocate`] makes.
#[cfg(feature = "alloc")]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Capacities {
    /// Addresses of ours.
    pub addresses: usize,
    /// Routes.
    pub routes: usize,
    /// Neighbours.
    pub neighbours: usize,
    /// Datagrams that wait for a neighbour.
    pub pending: usize,
    /// Datagrams in reassembly.
    pub reassembly: usize,
    /// Paths with an MTU of their own.
    pub path_mtu: usize,
    /// Remembered datagrams with Don't Fragment.
    pub sent: usize,
    /// Frames for the device.
    pub transmit: usize,
    /// UDP sockets.
    pub udp_sockets: usize,
    /// Received datagrams of all sockets.
    pub udp_datagrams: usize,
    /// UDP services.
    pub services: usize,
    /// Pings that wait.
    pub echoes: usize,
    /// Events that wait.
    pub events: usize,
}

#[cfg(feature = "alloc")]
impl Default for Capacities {
    /// For a server on one interface with a pool of 256 pages or more.
    fn default() -> Self {
        Capacities {
            addresses: 4,
            routes: 8,
            neighbours: 64,
            pending: 32,
            reassembly: 8,
            path_mtu: 64,
            sent: 64,
            transmit: 128,
            udp_sockets: 32,
            udp_datagrams: 256,
            services: 8,
            echoes: 8,
            events: 32,
        }
    }
}

#[cfg(feature = "alloc")]
impl<'a> StackStorage<'a> {
    /// Tables from the global allocator, allocated once, here; they never grow.
    // Apart from its caller: see "What an image weighs" in CONTRIBUTING.md.
    #[inline(never)]
    pub fn allocate(capacities: &Capacities) -> Self {
        fn slots<'a, T: Default>(count: usize) -> ManagedSlice<'a, T> {
            let mut slots = alloc::vec::Vec::new();
            slots.resize_with(count, T::default);
            slots.into()
        }
        StackStorage {
            addresses: slots(capacities.addresses),
            routes: slots(capacities.routes),
            neighbours: slots(capacities.neighbours),
            pending: slots(capacities.pending),
            reassembly: slots(capacities.reassembly),
            path_mtu: slots(capacities.path_mtu),
            sent: slots(capacities.sent),
            transmit: slots(capacities.transmit),
            udp_sockets: slots(capacities.udp_sockets),
            udp_datagrams: slots(capacities.udp_datagrams),
            udp_buckets: slots(capacities.udp_sockets.div_ceil(2).max(1)),
            services: slots(capacities.services),
            echoes: slots(capacities.echoes),
            events: slots(capacities.events),
            tcp: TcpStorage::none(),
        }
    }
}
