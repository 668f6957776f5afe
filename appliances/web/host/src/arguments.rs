//! The command line.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use appliance_host::NetworkArguments;
use clap::Parser;
use web_appliance::ServiceLimits;

/// Serves a site from a process of this host: over the system's sockets, or on our own network stack over a tap or an interface.
///
/// Without --site it serves the site that was compiled in. Below /_mirage/ it shows itself. Ctrl-C ends it, and it says what it counted.
#[derive(Clone, Debug, Parser)]
#[command(name = "web-host", version)]
pub(crate) struct Arguments {
    /// The folder of another site, with an index.html in it. It is read and compressed once, now.
    #[arg(long, value_name = "FOLDER")]
    pub(crate) site: Option<PathBuf>,

    /// Where to listen with the system's sockets. Port 0: the system chooses one. With --net our own stack serves instead, at port 80.
    #[arg(
        long,
        value_name = "ADDRESS:PORT",
        default_value = "127.0.0.1:8080",
        conflicts_with = "net"
    )]
    pub(crate) listen: SocketAddr,

    #[command(flatten)]
    pub(crate) network: NetworkArguments,

    /// How many connections are served at once; a quarter of them may be streams of events. Further ones are turned away.
    #[arg(long, value_name = "NUMBER", default_value_t = 256,
        value_parser = clap::builder::RangedU64ValueParser::<usize>::new().range(4..=4096))]
    pub(crate) connections: usize,

    /// Serves the site alone: nothing below /_mirage/ shows what the appliance does.
    #[arg(long)]
    pub(crate) no_live_page: bool,

    /// Says more; -vv says most.
    #[arg(short, long, action = clap::ArgAction::Count)]
    pub(crate) verbose: u8,

    /// How long a client may be idle, in milliseconds.
    #[arg(long, hide = true, value_name = "MS")]
    pub(crate) idle_ms: Option<u64>,

    /// How long a client may take for a request's head, in milliseconds.
    #[arg(long, hide = true, value_name = "MS")]
    pub(crate) head_ms: Option<u64>,

    /// How many requests a connection may have.
    #[arg(long, hide = true, value_name = "NUMBER", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) requests: Option<u32>,
}

impl Arguments {
    /// What clients may take.
    pub(crate) fn limits(&self) -> ServiceLimits {
        let mut limits = ServiceLimits::new(self.connections);
        for limits in [&mut limits.connection, &mut limits.crowded] {
            if let Some(idle) = self.idle_ms {
                limits.idle = Duration::from_millis(idle);
            }
            if let Some(head) = self.head_ms {
                limits.head_time = Duration::from_millis(head);
            }
            if let Some(requests) = self.requests {
                limits.requests = requests;
            }
        }
        limits
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        Arguments::command().debug_assert();
        let arguments = Arguments::parse_from(["web-host"]);
        assert_eq!(arguments.listen.to_string(), "127.0.0.1:8080");
        assert_eq!(arguments.limits(), ServiceLimits::new(256));
    }
}
