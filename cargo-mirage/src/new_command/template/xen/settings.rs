//! What the toolstack may say at the start: words of the command line (`extra=` in xl's configuration).

use core::fmt;
use core::net::{IpAddr, Ipv4Addr};

use log::LevelFilter;
use mirage_net::Cidr;
use mirage_xen::boot::CommandLine;

/// `ip=10.0.0.2/24 gateway=10.0.0.254 log=info`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Settings {
    /// Our address, and the length of its prefix.
    pub(crate) ip: Cidr,
    /// Where packets to other networks go.
    pub(crate) gateway: Option<Ipv4Addr>,
    /// What is said on the console.
    pub(crate) log: LevelFilter,
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
                "ip" => ip = Some(value.parse::<Cidr>().map_err(|_| wrong())?),
                "gateway" => gateway = Some(value.parse().map_err(|_| wrong())?),
                "log" => log = value.parse().map_err(|_| wrong())?,
                _ => return Err(SettingsError::Unknown(word.key)),
            }
        }
        let ip = ip.ok_or(SettingsError::NoAddress)?;
        if !matches!(ip.address(), IpAddr::V4(_)) {
            return Err(SettingsError::NoAddress);
        }
        Ok(Self { ip, gateway, log })
    }
}

/// What is wrong with the command line: the toolstack's configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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
            Self::NoAddress => f.write_str("no address: ip=10.0.0.2/24, for example, is missing"),
            Self::Unknown(key) => write!(f, "`{key}` is not known: ip, gateway and log are"),
            Self::Wrong { key, value } => write!(f, "`{key}` can't be `{value}`"),
        }
    }
}

impl core::error::Error for SettingsError {}
