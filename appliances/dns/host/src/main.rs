//! The DNS appliance as a process of a host.
#![forbid(unsafe_code)]

mod arguments;
mod changing;
mod error;
mod extensions;
mod own_stack;
mod sockets;
mod zones;

use std::net::{Ipv4Addr, Ipv6Addr};
use std::process::ExitCode;

use appliance_host::{Ended, OwnStack, say, start_logging};
use clap::Parser;
use dns_appliance::Service;
use mirage_core::Instant;
use mirage_core::executor::Executor;
use mirage_dns::authority::Now;
use mirage_dns::server::{Limits, Server};
use mirage_host::{EndSignals, HangupSignal, HostPlatform, OutgoingSockets};
use mirage_net::Capacities;

use arguments::Arguments;
use error::Failure;
use zones::Zones;

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
    let platform = HostPlatform::leak()?;
    let executor = Executor::leak(platform);
    // Before the zones are read, which may take seconds: by itself the signal ends the process.
    let hangup = HangupSignal::new(platform)?;
    let changing = &arguments.changing;
    let zones = Zones::load(&arguments.zones, !changing.secondary.is_empty())?;
    let mut end = EndSignals::new(platform)?;
    let now = Now {
        elapsed: executor.now().saturating_duration_since(Instant::ZERO),
        unix: executor.wall().map_or(0, |wall| wall.as_secs()),
    };
    let connections = arguments.tcp_connections;
    let (authority, state) = changing::authority(zones.set.clone(), changing, connections, now)?;
    let served = authority.zones().clone();
    let mut service = Service::with_authority(
        authority,
        Server::with_extensions(Limits::default(), extensions::leak(arguments)?),
    );
    let memo = arguments.memo.map(extensions::leak_memo);
    if let Some(memo) = memo {
        service = service.with_memo(memo);
    }
    let service: &'static Service<'static> = Box::leak(Box::new(service));
    service.set_time(executor.now(), executor.wall());

    let files = arguments.zones.clone();
    let mut said = zones.describe(&served);
    let result = match &arguments.network.net {
        None => {
            // Primaries and secondaries know this server by the address at which it listens.
            let network = Box::leak(Box::new(OutgoingSockets::new(arguments.listen.ip())));
            changing::start(executor, service, state, hangup, files, network)?;
            let bound = sockets::serve(
                executor,
                service,
                arguments.listen,
                arguments.tcp_limits(),
                arguments.tcp_connections,
            )?;
            said.push(format!("serving on {bound}, UDP and TCP"));
            said.extend(zones::name_to_try(&served).map(|name| {
                let asked = match bound.ip() {
                    any if any.is_unspecified() && any.is_ipv4() => Ipv4Addr::LOCALHOST.into(),
                    any if any.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
                    address => address,
                };
                format!("try: dig @{asked} -p {} {name}", bound.port())
            }));
            say(&said);
            executor.run_until(end.wait());
            Ok(())
        }
        Some(net) => {
            let tcp = own_stack::capacities(arguments.tcp_connections);
            let (network, capacities) = (&arguments.network, Capacities::default());
            let mut own = OwnStack::open(executor, platform, net, network, &capacities, &tcp)?;
            own_stack::serve(executor, own.stack(), service, arguments)?;
            said.extend(own.describe());
            say(&said);
            let acquired = own.acquire(executor, &mut end).map_err(Failure::from);
            let result = acquired.and_then(|acquired| {
                if acquired == Ended::ByUser {
                    return Ok(());
                }
                // What is asked of others is asked from the address that we have by now.
                changing::start(executor, service, state, hangup, files, own.stack())?;
                let (address, port) = (own.address(), own_stack::PORT);
                let mut said = vec![format!("serving on {address}:{port}, UDP and TCP")];
                let name = zones::name_to_try(&served);
                said.extend(name.map(|name| format!("try: dig @{} {name}", own.address())));
                say(&said);
                Ok(own.run(executor, &mut end)?)
            });
            say(&own.counters());
            result
        }
    };
    say(&["ended; counted:".into(), service.counters().to_string()]);
    let hits = memo.map(|memo| format!("{:<22}{:>12}", "memo-hits", memo.borrow().hits()));
    say(&Vec::from_iter(hits));
    say(&service
        .authority(|authority| changing::describe(&authority.counters()))
        .unwrap_or_default());
    result
}
