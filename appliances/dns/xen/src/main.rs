//! The DNS appliance as a guest of Xen: our own stack on the domain's first network device.
#![no_std]
#![no_main]
#![forbid(unsafe_code)]

extern crate alloc;

mod address;
mod network;
mod settings;
mod tcp;

use alloc::boxed::Box;
use alloc::string::String;
use core::fmt;

use dns_appliance::{Service, ZONES_IMAGE};
use mirage_dns::zone_set::ZoneSet;
use mirage_net::ServiceOptions;
use mirage_xen::abi::shutdown::ShutdownReason;
use mirage_xen::boot::Boot;
use mirage_xen::console::logger::Logging;
use mirage_xen::machine::{Machine, start_logging};
use mirage_xen::native::NativeHypervisor;

use network::Network;
use settings::Settings;

// Terse: a panic is a bug of ours, and its addresses are lines in the sources that the image was built from.
mirage_xen::entry!(main, terse);

/// Why the appliance can't serve: ends the domain, with the crash reason. The text that the error is said by; an error as
/// such (`Box<dyn Error>`) would bring `Debug` of every kind of error into the image.
pub(crate) struct Failure(String);

impl<E: fmt::Display> From<E> for Failure {
    fn from(error: E) -> Self {
        Self(text(&error))
    }
}

// Once for all kinds of errors.
#[inline(never)]
fn text(text: &dyn fmt::Display) -> String {
    alloc::format!("{text}")
}

/// The port of DNS (RFC 1035 §4.2).
const PORT: u16 = 53;

fn main(boot: Boot) -> ShutdownReason {
    match start(boot) {
        Ok(reason) => reason,
        Err(failure) => {
            log::error!("{}", failure.0);
            ShutdownReason::Crash
        }
    }
}

fn start(boot: Boot) -> Result<ShutdownReason, Failure> {
    let logging = start_logging(&boot);
    let settings = Settings::parse(boot.command_line())?;
    if let Some(logging) = logging {
        logging.set_level(settings.log);
    }
    // Zones that the toolstack passes (`ramdisk=`) go before those that were compiled in. Either is checked whole, here.
    let image = boot.modules().first().copied().unwrap_or(ZONES_IMAGE);
    let machine = Machine::start(boot, logging)?;
    let zones = ZoneSet::from_bytes(image)?;
    for zone in zones.zones() {
        log::info!(
            "zone {}: {} records, serial {}",
            zone.apex(),
            zone.record_count(),
            zone.serial()
        );
    }
    let service: &'static Service<'static> = Box::leak(Box::new(Service::new(zones)));
    service.set_time(machine.executor().now(), machine.executor().wall());
    machine.executor().run_until(async {
        let ended = serve(machine, logging, settings, service).await;
        let reason = ended.unwrap_or_else(|failure| {
            log::error!("{}", failure.0);
            ShutdownReason::Crash
        });
        say(logging, &service.counters());
        machine.drain_console().await;
        Ok(reason)
    })
}

/// Says lines on the console.
fn say(logging: Option<Logging>, said: &dyn fmt::Display) {
    if let Some(logging) = logging {
        for line in text(said).lines() {
            logging.line(format_args!("{line}"));
        }
    }
}

async fn serve(
    machine: &'static Machine<NativeHypervisor>,
    logging: Option<Logging>,
    settings: Settings,
    service: &'static Service<'static>,
) -> Result<ShutdownReason, Failure> {
    let pages = machine.pool().blocks();
    let network = Network::open(machine, logging, settings, tcp::storage(pages)).await?;
    let options = ServiceOptions {
        max_answer: usize::from(service.limits().udp_payload_size.max(512)),
        ..ServiceOptions::port(PORT)
    };
    let bound: &'static mut &'static Service<'static> = Box::leak(Box::new(service));
    network
        .stack()
        .with(|stack, _| stack.bind_service(options, bound))?;
    tcp::serve(machine.executor(), network.stack(), service, pages)?;
    network.run().await
}
