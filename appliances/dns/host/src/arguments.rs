//! The command line.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use appliance_host::NetworkArguments;
use clap::Parser;
use clap::builder::TypedValueParser;
use dns_appliance::TcpLimits;
use mirage_dns::network::Network;
use mirage_dns::server::RateLimits;
use mirage_dns::zone_compiler::{ZoneFile, ZoneFileError};

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

    /// Where to listen with the system's sockets, UDP and TCP. Port 0: the system chooses one. With --net our own stack serves instead,
    /// at port 53.
    #[arg(
        long,
        value_name = "ADDRESS:PORT",
        default_value = "127.0.0.1:5300",
        conflicts_with = "net"
    )]
    pub(crate) listen: SocketAddr,

    #[command(flatten)]
    pub(crate) network: NetworkArguments,

    /// How many TCP connections are served at once; others wait. On a fourth of them zones may be transferred.
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

fn zone_file(text: OsString) -> Result<ZoneFile, ZoneFileError> {
    ZoneFile::parse(&text)
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
}
