//! The command line.

use std::ffi::OsString;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use clap::Parser;
use clap::builder::TypedValueParser;
use dns_appliance::TcpLimits;
use mirage_core::MacAddress;
use mirage_dns::network::Network;
use mirage_dns::server::RateLimits;
use mirage_dns::zone_compiler::{ZoneFile, ZoneFileError};
use mirage_host::XdpMode;

use crate::changing::ChangingArguments;

/// Serves DNS zones from a process of this host: over the system's sockets, or on our own network stack over a tap or an
/// interface.
///
/// Without --zone it serves the zones that were compiled in. Ctrl-C ends it, and it says what it counted.
#[derive(Clone, Debug, Parser)]
#[command(name = "dns-host", version)]
pub(crate) struct Arguments {
    /// A zone to serve: its master file, and its name where the file does not state it ($ORIGIN). May be repeated.
    #[arg(long = "zone", value_name = "[ORIGIN=]FILE",
        value_parser = clap::builder::OsStringValueParser::new().try_map(zone_file))]
    pub(crate) zones: Vec<ZoneFile>,

    /// Where to listen with the system's sockets, UDP and TCP. Port 0: the system chooses one.
    #[arg(
        long,
        value_name = "ADDRESS:PORT",
        default_value = "127.0.0.1:5300",
        conflicts_with = "net"
    )]
    pub(crate) listen: SocketAddr,

    /// Our own network stack on this device instead, UDP alone, port 53: a tap (tap=NAME), which is made if it is missing, or an
    /// interface by AF_XDP (xdp=NAME), which has to be up and to have one queue, and of which everything comes to us. Making
    /// a tap and AF_XDP need root.
    #[arg(long, value_name = "tap=NAME|xdp=NAME", requires = "ip")]
    pub(crate) net: Option<Net>,

    /// Our own address and the length of its prefix, as 10.0.0.2/24.
    #[arg(long, value_name = "ADDRESS/LENGTH", requires = "net")]
    pub(crate) ip: Option<Prefix>,

    /// Where packets to other networks go. If it lies in our prefix, the host's side of the tap gets this address.
    #[arg(long, value_name = "ADDRESS", requires = "net")]
    pub(crate) gateway: Option<Ipv4Addr>,

    /// Our own MAC address on a tap. Without it a random one, locally administered. By AF_XDP it is the interface's own.
    #[arg(long, value_name = "MAC", requires = "net")]
    pub(crate) mac: Option<MacAddress>,

    /// How the kernel hands an interface's frames over by AF_XDP: in the driver, or in its own receive path. Without it in the driver, if
    /// that can.
    #[arg(long, value_name = "native|generic", requires = "net", value_parser = xdp_mode)]
    pub(crate) xdp_mode: Option<XdpMode>,

    /// How long frames that come by AF_XDP in quick succession gather before they are looked at together, in microseconds: less
    /// processor time, for so much more delay at most. 0: none; by default 200.
    #[arg(long, value_name = "MICROSECONDS", requires = "net", value_parser = clap::value_parser!(u64).range(..=10_000))]
    pub(crate) xdp_gather_us: Option<u64>,

    /// Writes every frame to and from our own stack to this file, in pcap format.
    #[arg(long, value_name = "FILE", requires = "net")]
    pub(crate) capture: Option<PathBuf>,

    /// How many TCP connections are served at once; others wait.
    #[arg(long, value_name = "NUMBER", default_value_t = 64,
        value_parser = clap::builder::RangedU64ValueParser::<usize>::new().range(1..=4096))]
    pub(crate) tcp_connections: usize,

    /// What the server is called by those who ask (NSID, RFC 5001): text of up to 128 octets.
    #[arg(long, value_name = "TEXT")]
    pub(crate) nsid: Option<String>,

    /// Gives no cookies (RFC 7873), and believes none. Without this each start draws a new secret for them.
    #[arg(long, conflicts_with = "cookie_secrets")]
    pub(crate) no_cookies: bool,

    /// A file with the secret that cookies are made with, for servers that share an address: 32 hexadecimal digits. A second
    /// secret, after white space, is believed as well.
    #[arg(long, value_name = "FILE")]
    pub(crate) cookie_secrets: Option<PathBuf>,

    /// Limits answers over UDP: so many a second of a kind to one network (/24, /56). Clients with a right cookie are not
    /// limited. Without this nobody is.
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) rate_limit: Option<u32>,

    /// Of the answers beyond the limit each so many-th is sent, truncated; 0: none.
    #[arg(long, value_name = "NUMBER", requires = "rate_limit", default_value_t = RateLimits::default().slip)]
    pub(crate) rate_limit_slip: u32,

    /// A network that is not limited. May be repeated.
    #[arg(long, value_name = "ADDRESS[/LENGTH]", requires = "rate_limit")]
    pub(crate) rate_limit_exempt: Vec<Network>,

    #[command(flatten)]
    pub(crate) changing: ChangingArguments,

    /// Keeps so many encoded answers, of 256 octets each, for when they are asked for again. Not where answers are limited: there
    /// each has to be counted.
    #[arg(long, value_name = "NUMBER", conflicts_with = "rate_limit",
        value_parser = clap::builder::RangedU64ValueParser::<usize>::new().range(1..=1 << 24))]
    pub(crate) memo: Option<usize>,

    /// Says more; -vv says most.
    #[arg(short, long, action = clap::ArgAction::Count)]
    pub(crate) verbose: u8,

    /// How long a TCP client may be idle, in milliseconds.
    #[arg(long, hide = true, value_name = "MS", default_value_t = milliseconds(TcpLimits::DEFAULT.idle))]
    pub(crate) tcp_idle_ms: u64,

    /// How long a TCP client may take for a message, in milliseconds.
    #[arg(long, hide = true, value_name = "MS", default_value_t = milliseconds(TcpLimits::DEFAULT.message))]
    pub(crate) tcp_message_ms: u64,

    /// How long a TCP connection may last, in milliseconds.
    #[arg(long, hide = true, value_name = "MS", default_value_t = milliseconds(TcpLimits::DEFAULT.connection))]
    pub(crate) tcp_connection_ms: u64,
}

impl Arguments {
    /// How long a TCP client may take.
    pub(crate) fn tcp_limits(&self) -> TcpLimits {
        TcpLimits {
            idle: Duration::from_millis(self.tcp_idle_ms),
            message: Duration::from_millis(self.tcp_message_ms),
            connection: Duration::from_millis(self.tcp_connection_ms),
            crowd: (self.tcp_connections / 2).max(1),
            ..TcpLimits::DEFAULT
        }
    }
}

fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

fn xdp_mode(text: &str) -> Result<XdpMode, String> {
    [XdpMode::Native, XdpMode::Generic]
        .into_iter()
        .find(|mode| mode.to_string() == text)
        .ok_or_else(|| "expected native or generic".into())
}

fn zone_file(text: OsString) -> Result<ZoneFile, ZoneFileError> {
    ZoneFile::parse(&text)
}

/// A network device of the host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Net {
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

/// An address of IPv4 and the length of its network's prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Prefix {
    /// The address.
    pub(crate) address: Ipv4Addr,
    /// 1 to 30.
    pub(crate) length: u8,
}

impl Prefix {
    /// Whether an address belongs to the network, the network's own and the broadcast address excluded.
    pub(crate) fn holds_host(self, address: Ipv4Addr) -> bool {
        let mask = u32::MAX << (32 - u32::from(self.length));
        let (ours, other) = (u32::from(self.address), u32::from(address));
        ours & mask == other & mask && other & !mask != 0 && other & !mask != !mask
    }

    /// The first address of the network other than ours: for the host's side of a tap.
    pub(crate) fn other_host(self) -> Ipv4Addr {
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
        let expected =
            || "expected an address of IPv4 and a prefix length, such as 10.0.0.2/24".to_string();
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
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        Arguments::command().debug_assert();
        let arguments = Arguments::parse_from(["dns-host"]);
        assert_eq!(arguments.listen.to_string(), "127.0.0.1:5300");
        assert_eq!(arguments.tcp_limits(), TcpLimits::DEFAULT);
    }

    #[test]
    fn a_device_is_a_tap_or_an_interface() {
        assert_eq!("tap=mirage0".parse(), Ok(Net::Tap("mirage0".into())));
        assert_eq!("xdp=eth1".parse(), Ok(Net::Xdp("eth1".into())));
        for text in ["", "mirage0", "tap", "tap=", "xdp=", "xdp:eth1"] {
            assert!(text.parse::<Net>().is_err(), "{text}");
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
