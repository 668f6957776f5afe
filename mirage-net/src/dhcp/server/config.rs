//! What a server is told: its subnets, reservations and times.

use core::net::Ipv4Addr;
use core::time::Duration;

use crate::ip::Cidr;
use crate::wire::dhcp::{ClasslessRoute, DhcpHardware};

/// What a server is told, and its times.
#[derive(Debug, Clone, Copy)]
pub struct DhcpServerConfig<'a> {
    /// The server's address: its identifier, and the link that clients without a relay agent are on.
    pub address: Ipv4Addr,
    /// The networks that it has addresses of. The first that contains the relay agent's address, or else the server's own, is
    /// a client's.
    pub subnets: &'a [DhcpSubnet<'a>],
    /// Addresses that are kept for certain clients: the first entry that names one counts.
    pub reservations: &'a [DhcpReservation<'a>],
    /// For how long an address is given to a client that asks for no time. 4,294,967,295 s and more is for ever.
    pub lease_time: Duration,
    /// The least that a client can ask for.
    pub shortest_lease: Duration,
    /// The most that a client can ask for.
    pub longest_lease: Duration,
    /// For how long an address that was offered is not offered to others.
    pub offer_time: Duration,
    /// How long an answer to an echo request is waited for before an address is offered, if the server has
    /// [probes](super::DhcpServer::with_probes).
    pub probe_wait: Duration,
    /// For how long an address is not given after a client, or an echo request, found another station with it.
    pub conflict_time: Duration,
    /// There is no other server for these networks: who asks for an address of another network is refused, and who asks for a
    /// free one that the server has no record of is given it. Without this the server is silent to both (RFC 2131 §4.3.2):
    /// the lease may be another server's.
    pub authoritative: bool,
    /// The owner can send a datagram in a frame to a station that doesn't answer ARP yet, as RFC 2131 §4.1 wants it for
    /// clients that don't set the flag BROADCAST. Without this they are answered by broadcast, as the same section allows.
    pub link_unicast: bool,
}

impl<'a> DhcpServerConfig<'a> {
    /// Leases of an hour, up to a day; offers of half a minute; half a second for a probe; ten minutes after a conflict; other servers are respected.
    pub const fn new(address: Ipv4Addr, subnets: &'a [DhcpSubnet<'a>]) -> Self {
        DhcpServerConfig {
            address,
            subnets,
            reservations: &[],
            lease_time: Duration::from_secs(3_600),
            shortest_lease: Duration::from_secs(60),
            longest_lease: Duration::from_secs(86_400),
            offer_time: Duration::from_secs(30),
            probe_wait: Duration::from_millis(500),
            conflict_time: Duration::from_secs(600),
            authoritative: false,
            link_unicast: false,
        }
    }
}

/// A network, its pool of addresses, and what its clients are told.
#[derive(Debug, Clone, Copy)]
pub struct DhcpSubnet<'a> {
    /// The network.
    pub network: Cidr,
    /// The pool's first address.
    pub first: Ipv4Addr,
    /// The pool's last address. The network's own and its broadcast address, the server, the routers and what is reserved are
    /// never given, even if they lie between.
    pub last: Ipv4Addr,
    /// Routers, the preferred first.
    pub routers: &'a [Ipv4Addr],
    /// Further routes (RFC 3442). A client that takes these ignores `routers`: a default route must be among them.
    pub routes: &'a [ClasslessRoute],
    /// Domain name servers, the preferred first.
    pub resolvers: &'a [Ipv4Addr],
    /// NTP servers.
    pub ntp_servers: &'a [Ipv4Addr],
    /// The domain in which clients complete names.
    pub domain: Option<&'a str>,
    /// The link's MTU.
    pub mtu: Option<u16>,
}

impl DhcpSubnet<'_> {
    /// A network with a pool, and nothing else that clients are told.
    pub const fn new(network: Cidr, first: Ipv4Addr, last: Ipv4Addr) -> Self {
        DhcpSubnet {
            network,
            first,
            last,
            routers: &[],
            routes: &[],
            resolvers: &[],
            ntp_servers: &[],
            domain: None,
            mtu: None,
        }
    }
}

/// An address that is kept for one client, within or outside of a pool.
#[derive(Debug, Clone, Copy)]
pub struct DhcpReservation<'a> {
    /// The client's identifier (option 61); none if it is known by its hardware address.
    pub identifier: Option<&'a [u8]>,
    /// The client's hardware address; none if it is known by its identifier. With both, either will do.
    pub hardware: Option<DhcpHardware>,
    /// The address.
    pub address: Ipv4Addr,
    /// The name that the client is told.
    pub host_name: Option<&'a str>,
}
