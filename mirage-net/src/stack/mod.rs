//! The stack: all state machines of one interface behind one pure interface.

mod counters;
mod echo;
mod event;
mod icmp;
mod receive;
mod send;
mod storage;
mod tcp;
mod transmit;
mod udp;

pub use counters::{
    ArpCounters, Counters, EthernetCounters, IcmpCounters, Ipv4Counters, SendCounters, UdpCounters,
};
pub use echo::EchoSlot;
pub use event::{Event, EventSlot};
pub use send::SendError;
#[cfg(feature = "alloc")]
pub use storage::Capacities;
pub use storage::{StackMemory, StackStorage};
pub use transmit::TransmitSlot;

use core::fmt;
use core::net::{IpAddr, Ipv4Addr};
use core::time::Duration;

use mirage_core::{Frame, Instant, MacAddress, Netif, Offloads, Pool, PoolError, Reserve};
use rand_core::CryptoRng;

use crate::arp::{
    AddressState, Claim, ConflictConfig, ConflictEvent, NeighbourCache, NeighbourConfig, Origin,
    OwnAddress,
};
use crate::ip::{
    Cidr, Identifications, PathMtuCache, PathMtuConfig, Reassembly, ReassemblyConfig, Route,
    RouteError, RouteTable, SentRing,
};
use crate::limit::{RateLimit, TokenBucket};
use crate::random::Random;
use crate::tcp::TcpConfig;
use crate::tcp::engine::Engine;
use crate::udp::{BindError, ServiceOptions, Services, Sockets, UdpHandle, UdpService};
use crate::wire::arp::{ArpOperation, ArpRepr};
use crate::wire::ethernet::{EtherType, EthernetRepr};

/// Where a payload starts in a page that will be sent: behind it there is room for the headers
/// of Ethernet, IPv4 and UDP (42 bytes) and what a device puts before them.
pub const HEADROOM: usize = 64;

/// How long ARP waits when there is no page for a request.
const STARVED: Duration = Duration::from_millis(10);

/// What a stack is told about its interface, and its times and rates.
#[derive(Debug, Clone, Copy)]
pub struct StackConfig {
    /// The interface's address.
    pub mac: MacAddress,
    /// Bytes of the largest IP packet that the interface takes: at least 68.
    pub mtu: u16,
    /// What the device does for us.
    pub offloads: Offloads,
    /// The neighbour cache.
    pub neighbours: NeighbourConfig,
    /// Path MTU discovery.
    pub path_mtu: PathMtuConfig,
    /// Reassembly.
    pub reassembly: ReassemblyConfig,
    /// ICMP errors that we send (RFC 1812 §4.3.2.8 demands a limit).
    pub icmp_errors: RateLimit,
    /// Echo requests that we answer.
    pub echo_replies: RateLimit,
    /// Pages set aside for what must be sent in any case: ARP, ICMP errors, acknowledgements.
    pub reserve: usize,
    /// TCP.
    pub tcp: TcpConfig,
}

impl StackConfig {
    /// The usual times and rates: 100 ICMP errors a second, 1,000 echo replies, a reserve of 8
    /// pages.
    pub fn new(mac: MacAddress, mtu: u16, offloads: Offloads) -> Self {
        StackConfig {
            mac,
            mtu,
            offloads,
            neighbours: NeighbourConfig::default(),
            path_mtu: PathMtuConfig::default(),
            reassembly: ReassemblyConfig::default(),
            icmp_errors: RateLimit::per_second(100, 20),
            echo_replies: RateLimit::per_second(1_000, 100),
            reserve: 8,
            tcp: TcpConfig::default(),
        }
    }

    /// The same, for a device.
    pub fn for_netif(netif: &(impl Netif + ?Sized)) -> Self {
        Self::new(netif.mac(), netif.mtu(), netif.offloads())
    }
}

/// Why a stack can't be made. Always the caller's configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum StackError {
    /// The MTU is below 68 (RFC 791).
    MtuTooSmall,
    /// The pool's blocks are below 256 bytes: no header fits with its payload.
    BlockTooSmall,
    /// Datagrams that wait for neighbours could hold more than a quarter of the pool.
    TooManyPending,
    /// The reserve: the pool has too few pages, or no room for another reserve.
    Pool(PoolError),
}

impl fmt::Display for StackError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            StackError::MtuTooSmall => f.write_str("the interface's MTU is below 68 bytes"),
            StackError::BlockTooSmall => f.write_str("the pool's blocks are below 256 bytes"),
            StackError::TooManyPending => {
                f.write_str("datagrams that wait could hold over a quarter of the pool")
            }
            StackError::Pool(error) => write!(f, "no reserve for ARP and ICMP: {error}"),
        }
    }
}

impl core::error::Error for StackError {}

/// Why an address was not added. Always the caller's configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum AddressError {
    /// It can't be a host's: unspecified, loopback, multicast, class E, a subnet's broadcast or
    /// network address.
    NotAHost,
    /// The table, whose size the caller chose, is full.
    TableFull,
    /// IPv6 is not implemented.
    UnsupportedFamily,
}

impl fmt::Display for AddressError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            AddressError::NotAHost => "the address can't be a host's",
            AddressError::TableFull => "the table of addresses is full",
            AddressError::UnsupportedFamily => "the address family is not implemented",
        })
    }
}

impl core::error::Error for AddressError {}

/// One interface with ARP, IPv4, ICMP, UDP and TCP above it: a pure state machine.
///
/// It touches no device, no clock and no executor. Its methods are of four kinds:
///
/// - *getters*: `mac`, `mtu`, `counters`, `address_state`, `neighbour`, `udp_local` …;
/// - *inputs*: [`handle_frame`](Self::handle_frame), [`handle_timeout`](Self::handle_timeout),
///   [`handle_link`](Self::handle_link);
/// - *mutators*, which the owner calls: `add_address`, `add_route`, `udp_bind`, `udp_send`,
///   `udp_receive`, `tcp_listen`, `tcp_connect`, `tcp_write`, `ping` …;
/// - *outputs*: [`poll_transmit`](Self::poll_transmit), [`poll_event`](Self::poll_event),
///   [`poll_udp`](Self::poll_udp), [`poll_tcp`](Self::poll_tcp),
///   [`poll_tcp_listener`](Self::poll_tcp_listener), and last [`poll_timeout`](Self::poll_timeout).
///
/// After any input or mutator, call the outputs until they give nothing; then sleep until the
/// deadline of `poll_timeout`, call `handle_timeout`, and go on. An early call does no harm.
///
/// Time is an argument and must not run backwards; randomness is drawn from a secret that the
/// caller's generator gave once (see [`reseed`](Self::reseed)).
pub struct Stack<'a> {
    pool: &'static Pool,
    reserve: Reserve,
    reserve_size: usize,
    mac: MacAddress,
    mtu: u16,
    /// What the device and the pool take.
    largest_mtu: u16,
    offloads: Offloads,
    link_up: bool,
    random: Random,
    addresses: managed::ManagedSlice<'a, crate::arp::AddressSlot>,
    neighbours: NeighbourCache<'a>,
    routes: RouteTable<'a>,
    path_mtu: PathMtuCache<'a>,
    sent: SentRing<'a>,
    reassembly: Reassembly<'a>,
    identifications: Identifications,
    transmit: transmit::TransmitQueue<'a>,
    sockets: Sockets<'a>,
    services: Services<'a>,
    tcp: Engine<'a>,
    echoes: echo::Echoes<'a>,
    echo_identifier: u16,
    icmp_errors: TokenBucket,
    echo_replies: TokenBucket,
    events: event::Events<'a>,
    /// No page was there for ARP: not before this again.
    starved: Instant,
    /// No page or no room was there for a segment: not before this again.
    tcp_starved: Instant,
    /// Bytes by which TCP is ahead of all else, while both have something to transmit.
    tcp_lead: i32,
    counters: Counters,
}

impl fmt::Debug for Stack<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stack")
            .field("mac", &self.mac)
            .field("mtu", &self.mtu)
            .field("link_up", &self.link_up)
            .finish_non_exhaustive()
    }
}

impl<'a> Stack<'a> {
    /// A stack without addresses on an interface whose link is up.
    ///
    /// Pages for what it sends come from `pool`, which should be the device's. The effective MTU
    /// is the interface's, or less where a frame of so many pages has more segments than the
    /// device takes.
    ///
    /// # Errors
    /// [`StackError`]: a configuration that can't work.
    // Not inlined: its caller would move it field by field, and there are two hundred.
    #[inline(never)]
    pub fn new(
        config: StackConfig,
        storage: StackStorage<'a>,
        pool: &'static Pool,
        now: Instant,
        rng: &mut (impl CryptoRng + ?Sized),
    ) -> Result<Self, StackError> {
        if config.mtu < 68 {
            return Err(StackError::MtuTooSmall);
        }
        if pool.block_size() < 256 {
            return Err(StackError::BlockTooSmall);
        }
        if storage.pending.len() > pool.blocks() / 4 {
            return Err(StackError::TooManyPending);
        }
        let reserve = pool.reserve(config.reserve).map_err(StackError::Pool)?;
        let mut random = Random::new(rng);
        let segments = usize::from(config.offloads.fragments.max(1));
        let most = (pool.block_size() - HEADROOM) * segments;
        let largest_mtu = config.mtu.min(u16::try_from(most).unwrap_or(u16::MAX));
        let identifications = Identifications::new(&mut random);
        let key = random.next_u64() as u32;
        let mut tcp = Engine::new(storage.tcp, config.tcp, pool, largest_mtu, now, &mut random);
        tcp.set_cutting(tcp::cutting(config.offloads));
        Ok(Stack {
            pool,
            reserve,
            reserve_size: config.reserve,
            mac: config.mac,
            mtu: largest_mtu,
            largest_mtu,
            offloads: config.offloads,
            link_up: true,
            addresses: storage.addresses,
            neighbours: NeighbourCache::new(
                storage.neighbours,
                storage.pending,
                config.neighbours,
                key,
            ),
            routes: RouteTable::new(storage.routes),
            path_mtu: PathMtuCache::new(storage.path_mtu, config.path_mtu),
            sent: SentRing::new(storage.sent),
            reassembly: Reassembly::new(storage.reassembly, config.reassembly, pool),
            identifications,
            transmit: transmit::TransmitQueue::new(storage.transmit),
            sockets: Sockets::new(
                storage.udp_sockets,
                storage.udp_datagrams,
                storage.udp_buckets,
                pool,
            ),
            services: Services::new(storage.services),
            tcp,
            echoes: echo::Echoes::new(storage.echoes, random.next_u64() as u16),
            echo_identifier: random.next_u64() as u16,
            icmp_errors: TokenBucket::new(config.icmp_errors, now),
            echo_replies: TokenBucket::new(config.echo_replies, now),
            events: event::Events::new(storage.events),
            starved: Instant::ZERO,
            tcp_starved: Instant::ZERO,
            tcp_lead: 0,
            counters: Counters::default(),
            random,
        })
    }

    /// The interface's address (getter).
    pub fn mac(&self) -> MacAddress {
        self.mac
    }

    /// Bytes of the largest IP packet that is sent in one frame (getter).
    pub fn mtu(&self) -> u16 {
        self.mtu
    }

    /// The pool that frames are made in (getter).
    pub fn pool(&self) -> &'static Pool {
        self.pool
    }

    /// What happened so far (getter).
    pub fn counters(&self) -> Counters {
        Counters {
            neighbours: self.neighbours.counters,
            reassembly: self.reassembly.counters,
            tcp: self.tcp.counters(),
            ..self.counters
        }
    }

    /// Events that were lost because nobody took them (getter).
    pub fn events_lost(&self) -> u64 {
        self.events.lost
    }

    /// Pages that incomplete datagrams hold (getter).
    pub fn reassembly_pages(&self) -> usize {
        self.reassembly.pages()
    }

    /// Datagrams that wait for a neighbour's address (getter).
    pub fn pending(&self) -> usize {
        self.neighbours.waiting()
    }

    /// How far an address is; none when it was never added (getter).
    pub fn address_state(&self, address: IpAddr) -> Option<AddressState> {
        let own = self.own().find(|own| IpAddr::V4(own.address) == address)?;
        Some(own.state())
    }

    /// The addresses that are ours by now, with their prefixes (getter).
    pub fn addresses(&self) -> impl Iterator<Item = Cidr> + '_ {
        self.own().filter(|own| own.is_usable()).map(|own| own.cidr)
    }

    /// Where a neighbour is, if that is known (getter).
    pub fn neighbour(&self, address: IpAddr) -> Option<MacAddress> {
        self.neighbours.get(address)
    }

    /// The routes (getter).
    pub fn routes(&self) -> impl Iterator<Item = Route> + '_ {
        self.routes.iter()
    }

    /// Sends no larger IP packets in one frame from now on: a server told us the network's MTU (RFC 2132 §5.1). What is below
    /// 68 bytes or above what the device takes is the nearest of these; [`mtu`](Self::mtu) says which (mutator).
    pub fn set_mtu(&mut self, mtu: u16) {
        self.mtu = mtu.max(68).min(self.largest_mtu);
        self.tcp.set_interface_mtu(self.mtu);
    }

    /// Draws a new secret: after a restore, before anything is sent, for an image that was
    /// restored twice must not repeat its numbers (mutator).
    pub fn reseed(&mut self, rng: &mut (impl CryptoRng + ?Sized)) {
        self.random = Random::new(rng);
        self.identifications = Identifications::new(&mut self.random);
        self.echo_identifier = self.random.next_u64() as u16;
        self.tcp.reseed(&mut self.random);
    }

    /// Starts to take an address: it is probed for as `config` says, and is ours when
    /// [`Event::AddressAcquired`] comes (mutator). An address that is there already starts anew.
    ///
    /// # Errors
    /// [`AddressError`].
    pub fn add_address(
        &mut self,
        now: Instant,
        cidr: Cidr,
        config: ConflictConfig,
    ) -> Result<(), AddressError> {
        let IpAddr::V4(address) = cidr.address() else {
            return Err(AddressError::UnsupportedFamily);
        };
        let not_a_host = !is_host(address)
            || cidr.broadcast() == Some(address)
            || cidr.network() == Some(address)
            || cidr.prefix_len() == 0;
        if not_a_host {
            return Err(AddressError::NotAHost);
        }
        let known = |own: &Option<OwnAddress>| own.as_ref().is_some_and(|o| o.address == address);
        let index = self
            .addresses
            .iter()
            .position(|slot| known(&slot.0))
            .or_else(|| self.addresses.iter().position(|slot| slot.0.is_none()))
            .ok_or(AddressError::TableFull)?;
        let own = OwnAddress::new(now, cidr, address, config, &mut self.random);
        if own.is_usable() {
            self.events.push(Event::AddressAcquired(address.into()));
        }
        self.addresses[index].0 = Some(own);
        Ok(())
    }

    /// Gives an address up; says whether it was there (mutator).
    pub fn remove_address(&mut self, address: IpAddr) -> bool {
        for slot in self.addresses.iter_mut() {
            if slot
                .0
                .as_ref()
                .is_some_and(|own| IpAddr::V4(own.address) == address)
            {
                slot.0 = None;
                return true;
            }
        }
        false
    }

    /// Announces our addresses again, as after a migration (mutator).
    pub fn announce(&mut self, now: Instant) {
        for slot in self.addresses.iter_mut() {
            if let Some(own) = &mut slot.0 {
                own.announce(now);
            }
        }
    }

    /// Adds a route, or replaces the one for the same prefix (mutator).
    ///
    /// # Errors
    /// [`RouteError`].
    pub fn add_route(&mut self, route: Route) -> Result<(), RouteError> {
        self.routes.add(route)
    }

    /// Adds the default route (mutator). The gateway may lie outside of every prefix of ours.
    ///
    /// # Errors
    /// [`RouteError`].
    pub fn add_default_route(&mut self, gateway: IpAddr) -> Result<(), RouteError> {
        let any: IpAddr = match gateway {
            IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
            IpAddr::V6(_) => core::net::Ipv6Addr::UNSPECIFIED.into(),
        };
        let destination = Cidr::new(any, 0).map_err(|_| RouteError::MixedFamilies)?;
        self.add_route(Route {
            destination,
            gateway: Some(gateway),
        })
    }

    /// Removes the route for a prefix; says whether there was one (mutator).
    pub fn remove_route(&mut self, destination: Cidr) -> bool {
        self.routes.remove(destination)
    }

    /// Binds a service that answers in place (mutator).
    ///
    /// # Errors
    /// [`BindError::AddressInUse`], [`BindError::TableFull`], [`BindError::UnsupportedFamily`].
    pub fn bind_service(
        &mut self,
        options: ServiceOptions,
        service: &'a mut dyn UdpService,
    ) -> Result<(), BindError> {
        if options.address.is_some_and(|address| address.is_ipv6()) {
            return Err(BindError::UnsupportedFamily);
        }
        let taken = self.services.collides(options.address, options.port)
            || self.sockets.has_port(options.port);
        if options.port == 0 || taken {
            return Err(BindError::AddressInUse);
        }
        if self.services.bind(options, service) {
            Ok(())
        } else {
            Err(BindError::TableFull)
        }
    }

    /// The link went up or down (input).
    ///
    /// When it comes up the neighbours are forgotten and our addresses announced: it may be
    /// another network's cable.
    pub fn handle_link(&mut self, now: Instant, up: bool) {
        if up && !self.link_up {
            self.neighbours.clear();
            self.announce(now);
        }
        if up != self.link_up {
            self.events.push(Event::Link { up });
        }
        self.link_up = up;
    }

    /// Time has passed (input): to be called at the deadline of [`poll_timeout`](Self::poll_timeout).
    pub fn handle_timeout(&mut self, now: Instant) {
        for index in 0..self.addresses.len() {
            let Some(own) = &mut self.addresses[index].0 else {
                continue;
            };
            if own.handle_timeout(now) == Some(ConflictEvent::Acquired) {
                self.events.push(Event::AddressAcquired(own.address.into()));
            }
        }
        self.neighbours.handle_timeout(now);
        while let Some(frame) = self.neighbours.poll_failed() {
            self.report_unreachable(&frame);
        }
        while let Some(timed_out) = self.reassembly.poll_timed_out(now) {
            self.send_time_exceeded(now, timed_out.quote());
        }
        self.tcp.handle_timeout(now);
    }

    /// The next frame for the device (output). To be called while the device has room.
    #[inline]
    pub fn poll_transmit(&mut self, now: Instant) -> Option<Frame> {
        let frame = self.poll_arp(now).or_else(|| {
            self.flush_resolved(now);
            if self.transmit.len() > 0 && !self.tcp.wants_transmit() {
                return self.transmit.pop();
            }
            // A segment to a neighbour that is not known asks for it.
            self.poll_by_turns(now).or_else(|| self.poll_arp(now))
        });
        self.counters.transmitted += u64::from(frame.is_some());
        frame
    }

    /// The next event (output).
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop()
    }

    /// A socket that got a datagram or an error since it was last named here (output).
    #[inline]
    pub fn poll_udp(&mut self) -> Option<UdpHandle> {
        self.sockets.poll_signal()
    }

    /// When [`handle_timeout`](Self::handle_timeout) and [`poll_transmit`](Self::poll_transmit)
    /// are to be called again at the latest (output, the last).
    pub fn poll_timeout(&self) -> Option<Instant> {
        let claims = self.own().filter_map(OwnAddress::poll_timeout);
        let arp = claims
            .chain(self.neighbours.poll_timeout())
            .min()
            .map(|deadline| deadline.max(self.starved));
        let tcp = [self.tcp.poll_timeout(), self.tcp_retry()];
        arp.into_iter()
            .chain(self.reassembly.poll_timeout())
            .chain(tcp.into_iter().flatten())
            .min()
    }

    /// Whether an event waits to be taken (getter).
    pub fn has_event(&self) -> bool {
        !self.events.is_empty()
    }

    /// Whether the link is up, as the stack was told last (getter).
    pub fn link_up(&self) -> bool {
        self.link_up
    }

    /// Whether the queue has no room for another datagram of a socket (getter).
    pub fn transmit_full(&self) -> bool {
        self.transmit.room(Origin::Own) == 0
    }

    /// Whether something is to be sent now, though more frames may have been received (getter): answers, and what TCP may not say
    /// of several segments together. What else there is may wait for the end of a batch.
    pub(crate) fn is_urgent(&self) -> bool {
        self.transmit.len() > 0 || self.tcp.is_urgent()
    }

    /// Whether nothing further should be received before owners of connections have read, and their peers have heard of it (getter): one of
    /// those has sent half of what it may.
    pub(crate) fn is_pressing(&self) -> bool {
        self.tcp.is_pressing()
    }

    /// How many turns it takes until the owners of connections have acted on what the stack has to tell them, once they are woken
    /// (getter): one, none where there is nothing to tell, and two where a new connection's owner is yet to be made.
    pub(crate) fn tcp_owners_run(&self) -> u8 {
        self.tcp.owners_run()
    }

    /// What the device does for us, as it was told last (getter).
    pub fn offloads(&self) -> Offloads {
        self.offloads
    }

    /// The device does something else for us from now on: another backend came, which has other offloads (mutator). The MTU
    /// stays.
    pub fn set_offloads(&mut self, offloads: Offloads) {
        self.offloads = offloads;
        self.tcp.set_cutting(tcp::cutting(offloads));
    }

    /// Frames that wait in the transmit queue (getter).
    pub fn transmit_len(&self) -> usize {
        self.transmit.len()
    }

    /// How many sockets there can be (getter).
    pub fn udp_capacity(&self) -> usize {
        self.sockets.capacity()
    }

    fn own(&self) -> impl Iterator<Item = &OwnAddress> + '_ {
        self.addresses.iter().filter_map(|slot| slot.0.as_ref())
    }

    /// Whether an address is ours and in use.
    #[inline]
    pub(crate) fn is_own(&self, address: Ipv4Addr) -> bool {
        self.own()
            .any(|own| own.address == address && own.is_usable())
    }

    /// Whether datagrams to this address go to all on the link.
    fn is_broadcast(&self, address: Ipv4Addr) -> bool {
        let [relation] = self.relations([address]);
        relation.broadcast
    }

    /// What addresses are to ours, found in one pass over these.
    #[inline]
    fn relations<const COUNT: usize>(&self, addresses: [Ipv4Addr; COUNT]) -> [Relation; COUNT] {
        let mut relations = addresses.map(|address| Relation {
            own: false,
            broadcast: address.is_broadcast(),
            network: false,
        });
        for own in self.own().filter(|own| own.is_usable()) {
            let ends = own.cidr.ends();
            for (relation, address) in relations.iter_mut().zip(addresses) {
                relation.own |= own.address == address;
                if let Some((network, broadcast)) = ends {
                    relation.broadcast |= broadcast == address;
                    relation.network |= network == address;
                }
            }
        }
        relations
    }

    /// The next ARP packet: probes, announcements, requests.
    fn poll_arp(&mut self, now: Instant) -> Option<Frame> {
        if now < self.starved {
            return None;
        }
        let due = |deadline: Option<Instant>| deadline.is_some_and(|at| at <= now);
        if !due(self.neighbours.poll_timeout()) && !self.own().any(|own| due(own.poll_timeout())) {
            return None;
        }
        // The page first: what a state machine gave out can't be given back.
        let Some(mut page) = self.reserve.alloc().or_else(|| self.pool.alloc()) else {
            self.starved = now.saturating_add(STARVED);
            return None;
        };
        let mut repr = ArpRepr {
            operation: ArpOperation::Request,
            sender_hardware: self.mac,
            sender_protocol: Ipv4Addr::UNSPECIFIED,
            target_hardware: MacAddress::UNSPECIFIED,
            target_protocol: Ipv4Addr::UNSPECIFIED,
        };
        let claim = self
            .addresses
            .iter_mut()
            .filter_map(|slot| slot.0.as_mut())
            .find_map(|own| own.poll_claim(now, &mut self.random));
        let destination = match claim {
            Some(Claim::Probe(address)) => {
                repr.target_protocol = address;
                MacAddress::BROADCAST
            }
            Some(Claim::Announcement(address)) => {
                repr.sender_protocol = address;
                repr.target_protocol = address;
                MacAddress::BROADCAST
            }
            None => loop {
                let request = self.neighbours.poll_request(now)?;
                let IpAddr::V4(target) = request.target else {
                    continue;
                };
                repr.target_protocol = target;
                repr.sender_protocol = self.source_for(target).unwrap_or(Ipv4Addr::UNSPECIFIED);
                break request.mac.unwrap_or(MacAddress::BROADCAST);
            },
        };
        let ethernet = EthernetRepr {
            destination,
            source: self.mac,
            ethertype: EtherType::Arp,
        };
        page.reset(HEADROOM).ok()?;
        ethernet.emit(page.append(14)?.first_chunk_mut()?);
        repr.emit(page.append(28)?.first_chunk_mut()?);
        Some(page.into())
    }
}

/// What an address is to those of ours that are in use.
#[derive(Clone, Copy)]
struct Relation {
    /// One of them.
    own: bool,
    /// Datagrams to it go to all on the link.
    broadcast: bool,
    /// The address of a network of ours itself, which is no host's.
    network: bool,
}

/// Whether an address can be one host's.
pub(crate) fn is_host(address: Ipv4Addr) -> bool {
    let [first, ..] = address.octets();
    first != 0 && first != 127 && first < 224
}
