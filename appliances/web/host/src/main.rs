//! The web appliance as a process of a host.
#![forbid(unsafe_code)]

mod arguments;
mod error;
mod instruments;
mod site;
mod system;

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::process::ExitCode;
use std::time::Duration;

use appliance_host::{Ended, OwnStack, say, start_logging};
use clap::Parser;
use edge_nal::TcpBind;
use mirage_core::executor::Executor;
use mirage_core::kv::CompiledStore;
use mirage_host::{EndSignals, HostPlatform, HostPlatformConfig, WatchedSockets};
use mirage_net::Capacities;
use mirage_net::tcp::{ConnectionOptions, ListenOptions, TcpCapacities};
use web_appliance::tcp::OwnTcp;
use web_appliance::{Buffers, Listener, Service, serve_slot, turn_away};

use arguments::Arguments;
use error::Failure;
use instruments::HostInstruments;
use site::Site;
use system::SystemTcp;

/// The port of HTTP (RFC 9110 §4.2.1).
const PORT: u16 = 80;

/// More than a head may have; the rest of a request comes in behind it.
const INPUT: usize = 10_240;
/// Heads of responses, and content that is small enough to go with them.
const OUTPUT: usize = 8_192;
/// How many connections may wait to be accepted on our own stack, which takes as many by itself.
const BACKLOG: usize = 64;
/// Who has sent nothing for so long takes a slot, and the time for a head begins.
const SILENCE: Duration = Duration::from_secs(1);
/// Fields that a head may have.
const FIELDS: usize = 64;

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    start_logging(arguments.verbose);
    match run(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("{failure}");
            failure.status()
        }
    }
}

fn run(arguments: &Arguments) -> Result<(), Failure> {
    let mut config = HostPlatformConfig::default();
    // Each connection is one, and so are the listener, the device and the signals.
    config.sources += arguments.connections;
    let platform = HostPlatform::leak_with(config)?;
    let executor = Executor::leak(platform);
    let started = executor.now();
    let site = Site::load(arguments.site.as_deref(), !arguments.no_live_page)?;
    let mut end = EndSignals::new(platform)?;
    let service = |instruments: HostInstruments| {
        let service = leak(arguments, site.store, instruments);
        service.set_started(started);
        service
    };
    let mut said = vec![site.describe()];
    let (service, result) = match &arguments.network.net {
        None => {
            let service = service(HostInstruments::new(None));
            let sockets = WatchedSockets::new(platform).with_deferred_accept(SILENCE);
            let bound = listen(executor, sockets, service, arguments.listen)?;
            said.push(format!("serving on {bound}"));
            said.push(format!("try: curl http://{}/", reachable(bound)));
            say(&said);
            executor.run_until(end.wait());
            (service, Ok(()))
        }
        Some(net) => {
            let (udp, tcp) = (Capacities::default(), capacities(arguments.connections));
            let network = &arguments.network;
            let mut own = OwnStack::open(executor, platform, net, network, &udp, &tcp)?;
            let service = service(HostInstruments::new(Some((own.stack(), own.pool()))));
            let copied = site
                .register(own.pool())
                .map_err(|error| appliance_host::Failure::System(error.to_string()))?;
            if copied > 0 {
                log::info!(
                    "{copied} of the site's files and variants are copied when they are sent"
                );
            }
            said.extend(own.describe());
            say(&said);
            let result = own.acquire(executor, &mut end).and_then(|acquired| {
                if acquired == Ended::ByUser {
                    return Ok(());
                }
                let listener = own
                    .stack()
                    .tcp_listen(listening(arguments.connections))
                    .map_err(|error| appliance_host::Failure::Stack(error.to_string()))?;
                let listener = OwnTcp::new(listener, own.pool());
                spawn(executor, service, Box::leak(Box::new(listener)))?;
                let address = own.address();
                say(&[
                    format!("serving on {address}:{PORT}"),
                    format!("try: curl http://{address}/"),
                ]);
                own.run(executor, &mut end)
            });
            say(&own.counters());
            (service, result.map_err(Failure::from))
        }
    };
    say(&["ended; counted:".into()]);
    say(&counted(service));
    result
}

/// The service for the rest of the process.
fn leak(
    arguments: &Arguments,
    site: CompiledStore,
    instruments: HostInstruments,
) -> &'static Service<'static> {
    let instruments: &'static HostInstruments = Box::leak(Box::new(instruments));
    let mut service = Service::new(site, arguments.limits()).with_instruments(instruments);
    if arguments.no_live_page {
        service = service.without_live_page();
    }
    Box::leak(Box::new(service))
}

/// Listens with the system's sockets, and spawns the tasks that serve. Gives the address with its actual port.
fn listen(
    executor: &'static Executor,
    sockets: WatchedSockets,
    service: &'static Service<'static>,
    address: SocketAddr,
) -> Result<SocketAddr, Failure> {
    let failed = |error| appliance_host::Failure::Listen(address, error);
    let acceptor = executor.run_until(sockets.bind(address)).map_err(failed)?;
    let bound = acceptor.local_address();
    spawn(executor, service, Box::leak(Box::new(SystemTcp(acceptor))))?;
    Ok(bound)
}

/// Spawns the tasks that serve.
fn spawn<L: Listener>(
    executor: &'static Executor,
    service: &'static Service<'static>,
    listener: &'static L,
) -> Result<(), appliance_host::Failure> {
    for _ in 0..service.limits().slots {
        let task = executor.spawn(async move {
            let mut buffers = Box::new(Buffers::<INPUT, OUTPUT, FIELDS>::new());
            serve_slot(listener, service, executor, &mut *buffers).await
        });
        task?.detach();
    }
    let task = executor.spawn(async move {
        let mut buffers = Box::new(Buffers::<INPUT, OUTPUT, FIELDS>::new());
        turn_away(listener, service, executor, &mut *buffers).await
    });
    task?.detach();
    Ok(())
}

/// TCP for so many connections, and for some that wait to be accepted or are being closed.
fn capacities(connections: usize) -> TcpCapacities {
    let standard = TcpCapacities::default();
    let connections = connections + connections / 4 + BACKLOG;
    TcpCapacities {
        connections: standard.connections.max(connections),
        segments: standard.segments.max(8 * connections),
        ..standard
    }
}

/// How our own stack listens: at whatever address it has, for a server that writes at once what belongs together.
fn listening(connections: usize) -> ListenOptions {
    ListenOptions {
        local: SocketAddr::from((Ipv4Addr::UNSPECIFIED, PORT)),
        backlog: u16::try_from(connections / 4 + BACKLOG).unwrap_or(u16::MAX),
        connection: ConnectionOptions {
            no_delay: true,
            ..ConnectionOptions::DEFAULT
        },
    }
}

/// The address by which a client on this machine reaches a listener.
fn reachable(bound: SocketAddr) -> SocketAddr {
    let ip = match bound.ip() {
        any if any.is_unspecified() && any.is_ipv4() => Ipv4Addr::LOCALHOST.into(),
        any if any.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        address => address,
    };
    SocketAddr::new(ip, bound.port())
}

/// A line for the requests, and one for each other counter that is not zero.
fn counted(service: &Service<'_>) -> Vec<String> {
    let line = |name: &str, value: u64| format!("{:<22}{value:>12}", name.replace('_', "-"));
    let counters = service.counters();
    let own = [
        ("turned_away", service.turned_away()),
        ("accept_errors", service.accept_errors()),
    ];
    let others = counters.iter().filter(|(name, _)| *name != "requests");
    let others = others.chain(own).filter(|(_, value)| *value != 0);
    let others = others.map(|(name, value)| line(name, value));
    std::iter::once(line("requests", counters.requests))
        .chain(others)
        .collect()
}
