//! The appliance as a guest of Xen: our own stack on the domain's first network device.
#![no_std]
#![no_main]
#![forbid(unsafe_code)]

extern crate alloc;

mod network;
mod settings;

use alloc::boxed::Box;
use core::error::Error;

use mirage_net::ServiceOptions;
use mirage_xen::abi::shutdown::ShutdownReason;
use mirage_xen::boot::Boot;
use mirage_xen::machine::Machine;
use mirage_xen::native::NativeHypervisor;

use appliance_name::{PORT, Service};
use network::Network;
use settings::Settings;

mirage_xen::entry!(main);

/// Why the appliance can't serve: ends the domain, with the crash reason.
pub(crate) type Failure = Box<dyn Error>;

fn main(boot: Boot) -> ShutdownReason {
    match start(boot) {
        Ok(reason) => reason,
        Err(failure) => {
            log::error!("{failure}");
            ShutdownReason::Crash
        }
    }
}

fn start(boot: Boot) -> Result<ShutdownReason, Failure> {
    let settings = Settings::parse(boot.command_line())?;
    let machine = Machine::start(boot)?;
    let service: &'static Service = Box::leak(Box::new(Service::new()));
    let reason = machine
        .executor()
        .run_until(serve(machine, settings, service));
    log::info!("{:?}", service.counters());
    reason
}

async fn serve(
    machine: &'static Machine<NativeHypervisor>,
    settings: Settings,
    service: &'static Service,
) -> Result<ShutdownReason, Failure> {
    let mut network = Network::open(machine, settings).await?;
    let bound: &'static mut &'static Service = Box::leak(Box::new(service));
    network
        .stack()
        .bind_service(ServiceOptions::port(PORT), bound)?;
    network.run().await
}
