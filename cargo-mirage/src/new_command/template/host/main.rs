//! The appliance as a process of a host: over the system's sockets, or on our own network stack over a tap.
#![forbid(unsafe_code)]

mod sockets;
mod tap;

use std::error::Error;
use std::net::{Ipv4Addr, SocketAddr};
use std::process::ExitCode;

use clap::Parser;
use mirage_core::executor::Executor;
use mirage_host::{EndSignals, HostPlatform};
use mirage_net::Cidr;

use appliance_name::Service;

/// Sends every datagram back. Ctrl-C ends it, and it says what it counted.
#[derive(Debug, Parser)]
#[command(name = "appliance-name-host", version)]
struct Arguments {
    /// Where to listen with the system's sockets.
    #[arg(
        long,
        value_name = "ADDRESS:PORT",
        default_value = "127.0.0.1:7007",
        conflicts_with = "net"
    )]
    listen: SocketAddr,

    /// Our own network stack on this tap device instead. A missing one is made, which needs root.
    #[arg(long, value_name = "tap=NAME", requires = "ip", value_parser = tap_name)]
    net: Option<String>,

    /// Our own address and the length of its prefix, as 10.0.0.2/24.
    #[arg(long, value_name = "ADDRESS/LENGTH", requires = "net")]
    ip: Option<Cidr>,

    /// The address of the tap's other side, the host's, in the same prefix.
    #[arg(
        long,
        value_name = "ADDRESS",
        requires = "net",
        default_value = "10.0.0.1"
    )]
    host_ip: Ipv4Addr,
}

fn tap_name(text: &str) -> Result<String, String> {
    match text.split_once('=') {
        Some(("tap", name)) if !name.is_empty() => Ok(name.into()),
        _ => Err("expected tap=NAME, such as tap=mirage0".into()),
    }
}

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> Result<(), Box<dyn Error>> {
    let platform = HostPlatform::leak()?;
    let executor = Executor::leak(platform);
    let mut end = EndSignals::new(platform)?;
    let service: &'static Service = Box::leak(Box::new(Service::new()));
    match (&arguments.net, arguments.ip) {
        (Some(name), Some(ip)) => {
            let served = tap::serve(executor, platform, service, name, ip, arguments.host_ip)?;
            executor.spawn(served)?.detach();
        }
        _ => {
            let served = sockets::serve(executor, service, arguments.listen)?;
            executor.spawn(served)?.detach();
        }
    }
    executor.run_until(end.wait());
    println!("ended; counted: {:?}", service.counters());
    Ok(())
}
