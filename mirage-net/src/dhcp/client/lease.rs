//! What a server gives: an address for a time, and the options that go with it.

use core::fmt;
use core::net::{IpAddr, Ipv4Addr};
use core::time::Duration;

use heapless::{String, Vec};

use crate::ip::{Cidr, Route};
use crate::stack::is_host;
use crate::wire::dhcp::{ClasslessRoute, ClasslessRoutes, DhcpPacket, option};

/// Seconds that stand for a lease without an end (RFC 2131 §3.3).
pub(crate) const INFINITE: u32 = u32::MAX;
/// MTUs below are ignored: RFC 2132 §5.1.
const SMALLEST_MTU: u16 = 68;

/// A lease as a server gave it, checked: every field is one that a host can use.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct DhcpLease {
    /// The address: a host's, and neither its network's own nor its broadcast address.
    pub address: Ipv4Addr,
    /// Bits of its network's prefix, 1 to 32: of the option Subnet Mask, or of the address's class where that is missing or
    /// is no mask.
    pub prefix_len: u8,
    /// The server's identifier, to which renewals go.
    pub server: Ipv4Addr,
    /// For how long; none is for ever.
    pub duration: Option<Duration>,
    /// When to renew, as the server wants it (T1), from the beginning.
    pub renewal: Option<Duration>,
    /// When to ask any server (T2).
    pub rebinding: Option<Duration>,
    /// How the host is to be configured beside its address.
    pub parameters: DhcpParameters,
}

/// What a server says of the network, checked: routes, resolvers, MTU …
///
/// Lists are bounded; [`clipped`](Self::clipped) says that a server gave more. Options that are malformed, and domains and
/// names that are none, are left out.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct DhcpParameters {
    /// Routers, the preferred first.
    pub routers: Vec<Ipv4Addr, 4>,
    /// Classless static routes. Where there are any the routers don't count (RFC 3442).
    pub classless_routes: Vec<ClasslessRoute, 8>,
    /// Domain name servers, the preferred first.
    pub resolvers: Vec<Ipv4Addr, 4>,
    /// NTP servers, the preferred first.
    pub ntp_servers: Vec<Ipv4Addr, 4>,
    /// The domain in which names are completed.
    pub domain: Option<String<253>>,
    /// The client's name.
    pub host_name: Option<String<64>>,
    /// The interface's MTU in bytes: at least 68.
    pub mtu: Option<u16>,
    /// Some list was longer than its bound here; its first entries were kept.
    pub clipped: bool,
}

/// Why what a server gives is no lease.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LeaseProblem {
    /// No server identifier, or no lease time.
    Incomplete,
    /// An address that no host can have.
    BadAddress,
    /// Shorter than the client takes.
    TooShort,
}

impl DhcpLease {
    pub(crate) fn parse(packet: &DhcpPacket<'_>, shortest: Duration) -> Result<Self, LeaseProblem> {
        let server = packet
            .address(option::SERVER_IDENTIFIER)
            .filter(|server| is_host(*server))
            .ok_or(LeaseProblem::Incomplete)?;
        let seconds = packet
            .u32(option::LEASE_TIME)
            .ok_or(LeaseProblem::Incomplete)?;
        let time = |seconds: u32| Duration::from_secs(seconds.into());
        let duration = (seconds != INFINITE).then(|| time(seconds));
        if duration.is_some_and(|duration| duration < shortest) {
            return Err(LeaseProblem::TooShort);
        }
        let address = packet.your_address();
        let mask = packet.address(option::SUBNET_MASK);
        let prefix_len = mask.and_then(prefix_of_mask).unwrap_or(class(address));
        if !is_host_in(address, prefix_len) || address == server {
            return Err(LeaseProblem::BadAddress);
        }
        Ok(DhcpLease {
            address,
            prefix_len,
            server,
            duration,
            renewal: packet.u32(option::RENEWAL_TIME).map(time),
            rebinding: packet.u32(option::REBINDING_TIME).map(time),
            parameters: DhcpParameters::parse(packet),
        })
    }

    /// Address and prefix, as [`Stack::add_address`](crate::Stack::add_address) takes them. None if an owner has put a
    /// prefix above 32 bits into the field.
    pub fn cidr(&self) -> Option<Cidr> {
        Cidr::new(self.address.into(), self.prefix_len).ok()
    }

    /// Whether another lease configures a host in another way: times apart.
    pub(crate) fn configures_as(&self, other: &DhcpLease) -> bool {
        let timeless = |lease: &DhcpLease| DhcpLease {
            duration: None,
            renewal: None,
            rebinding: None,
            server: Ipv4Addr::UNSPECIFIED,
            ..lease.clone()
        };
        timeless(self) == timeless(other)
    }
}

impl fmt::Display for DhcpLease {
    /// In words, as for a log: the address, whose it was and for how long, and the gateway.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (address, server) = (self.address, self.server);
        write!(f, "{address}/{} from {server} for ", self.prefix_len)?;
        match self.duration {
            Some(duration) => write!(f, "{} s", duration.as_secs())?,
            None => f.write_str("ever")?,
        }
        let routes = self.parameters.routes();
        let default = routes
            .filter(|route| route.destination.prefix_len() == 0)
            .find_map(|route| route.gateway);
        match default {
            Some(IpAddr::V4(gateway)) => write!(f, ", gateway {gateway}"),
            _ => Ok(()),
        }
    }
}

impl DhcpParameters {
    pub(crate) fn parse(packet: &DhcpPacket<'_>) -> Self {
        let mut clipped = false;
        let mut hosts = |code: u8| {
            let mut list = Vec::new();
            for host in packet.addresses(code).filter(|host| is_host(*host)) {
                clipped |= list.push(host).is_err();
            }
            list
        };
        let routers = hosts(option::ROUTER);
        let resolvers = hosts(option::DOMAIN_NAME_SERVER);
        let ntp_servers = hosts(option::NTP_SERVERS);
        let mut classless_routes = Vec::new();
        let routes = packet.option(option::CLASSLESS_ROUTES);
        for route in routes
            .iter()
            .filter_map(ClasslessRoutes::new_checked)
            .flatten()
        {
            if route.gateway.is_unspecified() || is_host(route.gateway) {
                clipped |= classless_routes.push(route).is_err();
            }
        }
        DhcpParameters {
            routers,
            classless_routes,
            resolvers,
            ntp_servers,
            domain: name(packet, option::DOMAIN_NAME),
            host_name: name(packet, option::HOST_NAME),
            mtu: packet
                .u16(option::INTERFACE_MTU)
                .filter(|mtu| *mtu >= SMALLEST_MTU),
            clipped,
        }
    }

    /// The routes that are asked for: the classless ones, else the default route through the first router.
    pub fn routes(&self) -> impl Iterator<Item = Route> + '_ {
        let default = self.routers.first().map(|router| ClasslessRoute {
            network: Ipv4Addr::UNSPECIFIED,
            prefix_len: 0,
            gateway: *router,
        });
        let default = default.filter(|_| self.classless_routes.is_empty());
        let routes = self.classless_routes.iter().copied().chain(default);
        routes.filter_map(|route| {
            Some(Route {
                destination: Cidr::new(route.network.into(), route.prefix_len).ok()?,
                gateway: (!route.gateway.is_unspecified()).then_some(route.gateway.into()),
            })
        })
    }
}

/// Whether a host can have an address in a network of this prefix.
pub(crate) fn is_host_in(address: Ipv4Addr, prefix_len: u8) -> bool {
    let Ok(cidr) = Cidr::new(address.into(), prefix_len) else {
        return false;
    };
    prefix_len > 0
        && is_host(address)
        && cidr.broadcast() != Some(address)
        && cidr.network() != Some(address)
}

/// The prefix length of a subnet mask; none if its ones are not in a row, or there are none.
pub(crate) fn prefix_of_mask(mask: Ipv4Addr) -> Option<u8> {
    let bits = mask.to_bits();
    let ones = bits.leading_ones();
    (ones > 0 && bits.count_ones() == ones).then_some(ones as u8)
}

/// The prefix of an address's class (RFC 791 §2.3), where nobody says more.
fn class(address: Ipv4Addr) -> u8 {
    match address.octets()[0] {
        0..=127 => 8,
        128..=191 => 16,
        _ => 24,
    }
}

/// An option that is a name: of letters, digits, hyphens, underscores and dots. Trailing NULs are dropped (RFC 2132 §2).
fn name<const LENGTH: usize>(packet: &DhcpPacket<'_>, code: u8) -> Option<String<LENGTH>> {
    let mut name = String::new();
    let mut ended = false;
    for byte in packet.option(code)?.bytes() {
        match byte {
            0 => ended = true,
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' if !ended => {
                name.push(byte.into()).ok()?;
            }
            _ => return None,
        }
    }
    (!name.is_empty()).then_some(name)
}
