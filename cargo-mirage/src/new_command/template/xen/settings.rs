//! What the toolstack may say at the start: words of the command line (`extra=` in xl's configuration).

use core::fmt;
use core::net::Ipv4Addr;

use log::LevelFilter;
use mirage_net::Cidr;
use mirage_xen::boot::CommandLine;
use mirage_xen::store::parse_decimal;

/// `ip=10.0.0.2/24 gateway=10.0.0.254 log=info`, or `ip=dhcp`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Settings {
    /// Our address.
    pub(crate) ip: Ip,
    /// Where packets to other networks go, whatever a DHCP server says.
    pub(crate) gateway: Option<Ipv4Addr>,
    /// What is said on the console.
    pub(crate) log: LevelFilter,
}

/// Where our address comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ip {
    /// It is this one, with the length of its prefix.
    Address(Cidr),
    /// A DHCP server gives it.
    Dhcp,
}

impl Settings {
    /// Reads the words. One that isn't known is refused: it may be a known one with a slip of the pen.
    pub(crate) fn parse(line: CommandLine<'static>) -> Result<Self, SettingsError> {
        let mut ip = None;
        let mut gateway = None;
        let mut log = LevelFilter::Info;
        for word in line.words() {
            let wrong = || SettingsError::Wrong {
                key: word.key,
                value: word.value.unwrap_or_default(),
            };
            let value = word.value.ok_or_else(wrong)?;
            match word.key {
                "ip" if value == "dhcp" => ip = Some(Ip::Dhcp),
                "ip" => ip = Some(Ip::Address(cidr(value.as_bytes()).ok_or_else(wrong)?)),
                "gateway" => gateway = Some(address(value.as_bytes()).ok_or_else(wrong)?),
                "log" => log = value.parse().map_err(|_| wrong())?,
                _ => return Err(SettingsError::Unknown(word.key)),
            }
        }
        let ip = ip.ok_or(SettingsError::NoAddress)?;
        Ok(Self { ip, gateway, log })
    }
}

/// Four numbers with dots between. The library's parser takes IPv6's addresses, too, and a hundred times the room.
fn address(text: &[u8]) -> Option<Ipv4Addr> {
    let mut bytes = [0; 4];
    let mut numbers = text.split(|byte| *byte == b'.');
    for byte in &mut bytes {
        *byte = number(numbers.next()?)?;
    }
    numbers.next().is_none().then(|| Ipv4Addr::from(bytes))
}

/// An address and the length of its prefix.
fn cidr(text: &[u8]) -> Option<Cidr> {
    let slash = text.iter().position(|byte| *byte == b'/')?;
    let (network, length) = (&text[..slash], &text[slash + 1..]);
    Cidr::new(address(network)?.into(), number(length)?).ok()
}

/// One to three digits, the first of which is no zero unless it is the only one.
fn number(digits: &[u8]) -> Option<u8> {
    if digits.len() > 1 && digits.first() == Some(&b'0') {
        return None;
    }
    u8::try_from(parse_decimal(digits)?).ok()
}

/// What is wrong with the command line: the toolstack's configuration.
#[derive(Clone, Copy)]
pub(crate) enum SettingsError {
    NoAddress,
    Unknown(&'static str),
    Wrong {
        key: &'static str,
        value: &'static str,
    },
}

impl fmt::Display for SettingsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the command line: ")?;
        match self {
            Self::NoAddress => {
                f.write_str("no address: ip=10.0.0.2/24, for example, or ip=dhcp is missing")
            }
            Self::Unknown(key) => write!(f, "`{key}` is not known: ip, gateway and log are"),
            Self::Wrong { key, value } => write!(f, "`{key}` can't be `{value}`"),
        }
    }
}
