//! What the command line says of our own stack.

use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::str::FromStr;

use clap::Args;
use mirage_core::MacAddress;
use mirage_host::XdpMode;

/// Our own network stack: the device that it is on, and its address. Flattened into an appliance's own arguments, whose `--listen`
/// conflicts with `net`.
#[derive(Clone, Debug, Default, Args)]
pub struct NetworkArguments {
    /// Our own network stack on this device instead of the system's sockets: a tap (tap=NAME), which is made if it is missing, or an
    /// interface by AF_XDP (xdp=NAME), which has to be up and to have one queue, and of which everything comes to us. Making
    /// a tap and AF_XDP need root.
    #[arg(long, value_name = "tap=NAME|xdp=NAME", requires = "ip")]
    pub net: Option<Net>,

    /// Our own address and the length of its prefix, as 10.0.0.2/24; or dhcp: a DHCP server on the network gives one, with routes and
    /// MTU, and it is given back at the end. A server knows us again by --mac.
    #[arg(long, value_name = "ADDRESS/LENGTH|dhcp", requires = "net")]
    pub ip: Option<Ip>,

    /// Keeps the address that a DHCP server gave in this folder, which must be there: it is asked for again at the next start, and isn't
    /// given back at the end. On a tap that takes --mac, too: of another MAC address a server has another client.
    #[arg(long, value_name = "DIR", requires = "ip")]
    pub lease: Option<PathBuf>,

    /// Where packets to other networks go, whatever a DHCP server says. If it lies in our prefix, the host's side of the tap gets
    /// this address.
    #[arg(long, value_name = "ADDRESS", requires = "net")]
    pub gateway: Option<Ipv4Addr>,

    /// Our own MAC address on a tap. Without it a random one, locally administered. By AF_XDP it is the interface's own.
    #[arg(long, value_name = "MAC", requires = "net")]
    pub mac: Option<MacAddress>,

    /// How the kernel hands an interface's frames over by AF_XDP: in the driver, or in its own receive path. Without it in the driver, if
    /// that can.
    #[arg(long, value_name = "native|generic", requires = "net", value_parser = xdp_mode)]
    pub xdp_mode: Option<XdpMode>,

    /// How long frames that come by AF_XDP in quick succession gather before they are looked at together, in microseconds: less
    /// processor time, for so much more delay at most. 0: none; by default 200.
    #[arg(long, value_name = "MICROSECONDS", requires = "net", value_parser = clap::value_parser!(u64).range(..=10_000))]
    pub xdp_gather_us: Option<u64>,

    /// Writes every frame to and from our own stack to this file, in pcap format.
    #[arg(long, value_name = "FILE", requires = "net")]
    pub capture: Option<PathBuf>,
}

fn xdp_mode(text: &str) -> Result<XdpMode, String> {
    [XdpMode::Native, XdpMode::Generic]
        .into_iter()
        .find(|mode| mode.to_string() == text)
        .ok_or_else(|| "expected native or generic".into())
}

/// A network device of the host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Net {
    /// A tap of this name.
    Tap(String),
    /// An interface of this name, by AF_XDP.
    Xdp(String),
}

impl FromStr for Net {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once('=') {
            Some(("tap", name)) if !name.is_empty() => Ok(Self::Tap(name.into())),
            Some(("xdp", name)) if !name.is_empty() => Ok(Self::Xdp(name.into())),
            _ => Err("expected tap=NAME or xdp=NAME, such as tap=mirage0 or xdp=eth1".into()),
        }
    }
}

/// Where our address comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ip {
    /// It is this one.
    Address(Prefix),
    /// A DHCP server gives it.
    Dhcp,
}

impl FromStr for Ip {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "dhcp" => Ok(Self::Dhcp),
            text => text.parse().map(Self::Address),
        }
    }
}

/// An address of IPv4 and the length of its network's prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Prefix {
    /// The address.
    pub address: Ipv4Addr,
    /// 1 to 30.
    pub length: u8,
}

impl Prefix {
    /// Whether an address belongs to the network, the network's own and the broadcast address excluded.
    pub fn holds_host(self, address: Ipv4Addr) -> bool {
        let mask = u32::MAX << (32 - u32::from(self.length));
        let (ours, other) = (u32::from(self.address), u32::from(address));
        ours & mask == other & mask && other & !mask != 0 && other & !mask != !mask
    }

    /// The first address of the network other than ours: for the host's side of a tap.
    pub fn other_host(self) -> Ipv4Addr {
        let mask = u32::MAX << (32 - u32::from(self.length));
        let first = Ipv4Addr::from((u32::from(self.address) & mask) + 1);
        if first == self.address {
            Ipv4Addr::from(u32::from(first) + 1)
        } else {
            first
        }
    }
}

impl FromStr for Prefix {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let expected = || {
            "expected an address of IPv4 and a prefix length, such as 10.0.0.2/24, or dhcp"
                .to_string()
        };
        let (address, length) = text.split_once('/').ok_or_else(expected)?;
        let address: IpAddr = address.parse().map_err(|_| expected())?;
        let IpAddr::V4(address) = address else {
            return Err("IPv6 is not there yet".into());
        };
        let length: u8 = length.parse().map_err(|_| expected())?;
        if !(1..=30).contains(&length) {
            return Err(
                "the prefix length is 1 to 30: the host's side of the tap needs an address, too"
                    .into(),
            );
        }
        let prefix = Self { address, length };
        if !prefix.holds_host(address) || address.is_loopback() || address.is_multicast() {
            return Err(format!(
                "{address} can't be the address of a host in that network"
            ));
        }
        Ok(prefix)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_is_a_tap_or_an_interface() {
        assert_eq!("tap=mirage0".parse(), Ok(Net::Tap("mirage0".into())));
        assert_eq!("xdp=eth1".parse(), Ok(Net::Xdp("eth1".into())));
        for text in ["", "mirage0", "tap", "tap=", "xdp=", "xdp:eth1"] {
            assert!(text.parse::<Net>().is_err(), "{text}");
        }
    }

    #[test]
    fn an_address_may_come_by_dhcp() {
        assert_eq!("dhcp".parse(), Ok(Ip::Dhcp));
        let prefix: Prefix = "10.0.0.2/24".parse().expect("a prefix");
        assert_eq!("10.0.0.2/24".parse(), Ok(Ip::Address(prefix)));
        for text in ["", "DHCP", "dhcp/24", "10.0.0.2"] {
            assert!(text.parse::<Ip>().is_err(), "{text}");
        }
    }

    #[test]
    fn the_host_gets_the_first_other_address() {
        for (ours, host) in [
            ("10.0.0.2/24", "10.0.0.1"),
            ("10.0.0.1/24", "10.0.0.2"),
            ("10.0.0.254/24", "10.0.0.1"),
            ("192.0.2.6/30", "192.0.2.5"),
            ("192.0.2.5/30", "192.0.2.6"),
        ] {
            let prefix: Prefix = ours.parse().expect("a prefix");
            assert_eq!(prefix.other_host().to_string(), host);
            assert!(prefix.holds_host(prefix.other_host()));
        }
    }

    #[test]
    fn an_address_that_no_host_has_is_refused() {
        for text in [
            "10.0.0.2",
            "10.0.0.0/24",
            "10.0.0.255/24",
            "10.0.0.2/31",
            "10.0.0.2/0",
            "127.0.0.1/8",
            "224.0.0.1/4",
            "::1/64",
            "x/24",
            "10.0.0.2/x",
        ] {
            assert!(text.parse::<Prefix>().is_err(), "{text}");
        }
    }
}
