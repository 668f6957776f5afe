//! Which addresses a lab has, and how the host reaches them.
//!
//! A lab is one /24 network: dom0's bridge is `.1`, the appliances are `.2` and up, the host is `.254`. With root the
//! host has a tap on it; without, QEMU's user network forwards ports of the loopback address to the appliances.

use core::fmt;
use core::net::Ipv4Addr;
use core::str::FromStr;
use std::io;
use std::net::{TcpListener, UdpSocket};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener};

use crate::error::Error;

/// How many appliances fit: from `.2` to `.252`.
pub const MAXIMUM_GUESTS: usize = 251;

/// How many labs one machine, or network namespace, can run at once.
const MAXIMUM_LABS: u8 = 200;

/// A /24 network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Subnet([u8; 3]);

impl Subnet {
    /// The network that the lab of that number has if none is chosen.
    pub const fn of_lab(number: u8) -> Self {
        Self([10, 98, number])
    }

    /// The host.
    pub const fn host(self) -> Ipv4Addr {
        self.at(254)
    }

    /// dom0.
    pub const fn dom0(self) -> Ipv4Addr {
        self.at(1)
    }

    /// QEMU's own name server, which answers nobody: the user network wants an address for it.
    pub const fn name_server(self) -> Ipv4Addr {
        self.at(253)
    }

    /// The appliance of that index, if it has one.
    pub fn guest(self, index: usize) -> Option<Ipv4Addr> {
        let last = u8::try_from(index).ok()?.checked_add(2)?;
        (index < MAXIMUM_GUESTS).then(|| self.at(last))
    }

    const fn at(self, last: u8) -> Ipv4Addr {
        Ipv4Addr::new(self.0[0], self.0[1], self.0[2], last)
    }

    fn overlaps(self, route: &Route) -> bool {
        let mask = route.mask & 0xffff_ff00;
        self.at(0).to_bits() & mask == route.destination & mask
    }
}

impl fmt::Display for Subnet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/24", self.at(0))
    }
}

impl FromStr for Subnet {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let expected = || format!("`{text}` is not a /24 network, for example 10.98.0.0/24");
        let address = text.strip_suffix("/24").ok_or_else(expected)?;
        let address: Ipv4Addr = address.parse().map_err(|_| expected())?;
        let [a, b, c, 0] = address.octets() else {
            return Err(expected());
        };
        if !address.is_private() {
            return Err(format!(
                "{text} is not a private network (RFC 1918): a lab would take its addresses from their owner"
            ));
        }
        Ok(Self([a, b, c]))
    }
}

/// An entry of the kernel's routing table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    interface: String,
    destination: u32,
    mask: u32,
}

/// Reads `/proc/net/route`: words in columns, addresses in hexadecimal as they lie in the memory of this machine.
///
/// The default route overlaps with everything and with nothing: it is left out.
pub fn parse_routes(text: &str) -> Vec<Route> {
    let number = |word: &str| Some(u32::from_be(u32::from_str_radix(word, 16).ok()?));
    let route = |line: &str| {
        let words: Vec<&str> = line.split_whitespace().collect();
        Some(Route {
            interface: (*words.first()?).to_owned(),
            destination: number(words.get(1)?)?,
            mask: number(words.get(7)?).filter(|mask| *mask != 0)?,
        })
    };
    text.lines().skip(1).filter_map(route).collect()
}

/// A number for a lab that no other has in this network namespace, for as long as this lives.
#[derive(Debug)]
pub struct Reservation {
    number: u8,
    // An abstract socket's name belongs to the network namespace, as interfaces and routes do, and is free again as soon
    // as its process is gone, however that ended.
    _name: UnixListener,
}

impl Reservation {
    /// Takes that number, if it is free.
    fn take(number: u8) -> io::Result<Option<Self>> {
        let name = SocketAddr::from_abstract_name(format!("cargo-mirage lab {number}"))?;
        match UnixListener::bind_addr(&name) {
            Ok(listener) => Ok(Some(Self {
                number,
                _name: listener,
            })),
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The name for the lab's tap.
    pub fn interface(&self) -> String {
        format!("mirage-lab{}", self.number)
    }

    /// The number.
    pub fn number(&self) -> u8 {
        self.number
    }
}

/// Chooses a number, and a network that this machine has no route to: the one that was asked for, or a free one.
///
/// # Errors
///
/// [`Error::Unsupported`] if the network that was asked for is taken, or all are.
pub fn choose(asked: Option<Subnet>, routes: &[Route]) -> Result<(Reservation, Subnet), Error> {
    let taken = |subnet: Subnet| routes.iter().find(|route| subnet.overlaps(route));
    if let Some(subnet) = asked
        && let Some(route) = taken(subnet)
    {
        return Err(Error::Unsupported {
            reason: format!(
                "--network {subnet}: this machine has a route to {}/{} through {} already; choose another network",
                Ipv4Addr::from_bits(route.destination),
                route.mask.count_ones(),
                route.interface
            ),
        });
    }
    for number in 0..MAXIMUM_LABS {
        let subnet = asked.unwrap_or(Subnet::of_lab(number));
        if taken(subnet).is_some() {
            continue;
        }
        let reservation = Reservation::take(number).map_err(|error| Error::Unsupported {
            reason: format!("no number for the lab: {error}"),
        })?;
        if let Some(reservation) = reservation {
            return Ok((reservation, subnet));
        }
    }
    Err(Error::Unsupported {
        reason: "every network from 10.98.0.0/24 on is taken; choose another with --network".into(),
    })
}

/// A port that an appliance serves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Port {
    /// Which protocol.
    pub protocol: Protocol,
    /// Its number there.
    pub number: u16,
}

/// A transport protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Protocol {
    /// UDP.
    Udp,
    /// TCP.
    Tcp,
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Udp => "udp",
            Self::Tcp => "tcp",
        })
    }
}

impl fmt::Display for Port {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.protocol, self.number)
    }
}

impl FromStr for Port {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let problem = || format!("`{text}` is not a port, for example udp/53");
        let (protocol, number) = text.split_once('/').ok_or_else(problem)?;
        let protocol = match protocol {
            "udp" => Protocol::Udp,
            "tcp" => Protocol::Tcp,
            _ => return Err(problem()),
        };
        let number = number.parse().map_err(|_| problem())?;
        if number == 0 {
            return Err(problem());
        }
        Ok(Self { protocol, number })
    }
}

/// A port of the loopback address that leads to an appliance's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Forward {
    /// The appliance's address.
    pub address: Ipv4Addr,
    /// The appliance's port.
    pub port: Port,
    /// The loopback address's port.
    pub local: u16,
}

impl Forward {
    /// Finds a free port on the loopback address. Another program may take it until QEMU does, which then says so.
    ///
    /// # Errors
    ///
    /// [`Error::Unsupported`] if there is none.
    pub fn find(address: Ipv4Addr, port: Port) -> Result<Self, Error> {
        let any = (Ipv4Addr::LOCALHOST, 0);
        let local = match port.protocol {
            Protocol::Udp => UdpSocket::bind(any).and_then(|socket| socket.local_addr()),
            Protocol::Tcp => TcpListener::bind(any).and_then(|socket| socket.local_addr()),
        };
        let local = local
            .map_err(|error| Error::Unsupported {
                reason: format!(
                    "no free port on {} for {port}: {error}",
                    Ipv4Addr::LOCALHOST
                ),
            })?
            .port();
        Ok(Self {
            address,
            port,
            local,
        })
    }

    /// QEMU's option for it.
    pub fn option(&self) -> String {
        format!(
            "hostfwd={}:{}:{}-{}:{}",
            self.port.protocol,
            Ipv4Addr::LOCALHOST,
            self.local,
            self.address,
            self.port.number
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_as_documented() {
        let subnet: Subnet = "192.168.7.0/24".parse().unwrap();
        assert_eq!(subnet.to_string(), "192.168.7.0/24");
        assert_eq!(subnet.dom0().to_string(), "192.168.7.1");
        assert_eq!(subnet.host().to_string(), "192.168.7.254");
        assert_eq!(subnet.guest(0).unwrap().to_string(), "192.168.7.2");
        assert_eq!(subnet.guest(250).unwrap().to_string(), "192.168.7.252");
        assert_eq!(subnet.guest(251), None);
        assert_eq!(subnet.guest(1 << 40), None);
    }

    #[test]
    fn other_networks_are_refused() {
        for text in [
            "10.0.0.0",
            "10.0.0.0/16",
            "10.0.0.1/24",
            "10.0.0/24",
            "fd00::/24",
            "8.8.8.0/24",
            "",
        ] {
            assert!(text.parse::<Subnet>().is_err(), "{text}");
        }
    }

    const ROUTES: &str = "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT\n\
        eth0\t00000000\t010200C0\t0003\t0\t0\t0\t00000000\t0\t0\t0\n\
        eth0\t0000620A\t00000000\t0001\t0\t0\t0\t00FEFFFF\t0\t0\t0\n\
        tun0\tnonsense\n\
        tun0\t0503620A\t00000000\t0005\t0\t0\t0\tFFFFFFFF\t0\t0\t0\n";

    #[test]
    fn a_network_with_a_route_is_not_taken() {
        // 10.98.0.0/23 through eth0 and 10.98.3.5/32 through tun0; the default route does not count.
        let routes = parse_routes(ROUTES);
        assert_eq!(routes.len(), 2);
        let (first, subnet) = choose(None, &routes).unwrap();
        assert_eq!(subnet, Subnet::of_lab(first.number()));
        assert!(first.number() >= 2 && first.number() != 3);
        let error = choose(Some(Subnet::of_lab(3)), &routes).unwrap_err();
        let text = error.to_string();
        assert!(
            text.contains("10.98.3.5/32") && text.contains("tun0"),
            "{text}"
        );
    }

    #[test]
    fn two_labs_have_different_numbers() {
        let (first, one) = choose(None, &[]).unwrap();
        let (second, two) = choose(None, &[]).unwrap();
        assert_ne!(first.number(), second.number());
        assert_ne!(one, two);
        assert_ne!(first.interface(), second.interface());
        // IFNAMSIZ, with the zero byte.
        assert!(first.interface().len() < 16);
    }

    #[test]
    fn ports() {
        let port: Port = "udp/53".parse().unwrap();
        assert_eq!((port.protocol, port.number), (Protocol::Udp, 53));
        assert_eq!(port.to_string(), "udp/53");
        for text in [
            "udp",
            "53",
            "udp/",
            "udp/0",
            "udp/65536",
            "sctp/1",
            "tcp/-1",
        ] {
            assert!(text.parse::<Port>().is_err(), "{text}");
        }
        let forward = Forward {
            address: Ipv4Addr::new(10, 98, 0, 2),
            port,
            local: 40000,
        };
        assert_eq!(forward.option(), "hostfwd=udp:127.0.0.1:40000-10.98.0.2:53");
        assert_ne!(Forward::find(forward.address, port).unwrap().local, 0);
    }
}
