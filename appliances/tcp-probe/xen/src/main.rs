//! A sink and a source over our own TCP, as a guest of Xen: our own stack on the domain's first network device.
#![no_std]
#![no_main]
#![forbid(unsafe_code)]

extern crate alloc;

// What is the same in every main for Xen.
#[path = "../../../dns/xen/src/address.rs"]
mod address;
#[path = "../../../dns/xen/src/network.rs"]
mod network;
#[path = "../../../dns/xen/src/settings.rs"]
mod settings;
mod tcp;

use alloc::string::String;
use core::fmt;

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
    let machine = Machine::start(boot, logging)?;
    machine.executor().run_until(async {
        let ended = serve(machine, logging, settings).await;
        let reason = ended.unwrap_or_else(|failure| {
            log::error!("{}", failure.0);
            ShutdownReason::Crash
        });
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
) -> Result<ShutdownReason, Failure> {
    let network = Network::open(machine, logging, settings, tcp::storage()).await?;
    tcp::serve(machine.executor(), network.stack())?;
    network.run().await
}
