//! What the appliances' mains for a host share.
//!
//! | item | what it is |
//! | --- | --- |
//! | [`NetworkArguments`] | what the command line says of our own stack: its device, its address |
//! | [`OwnStack`] | our own stack on a device of the host, to which the main binds its services |
//! | [`Device`] | a tap, or an interface by AF_XDP |
//! | [`Failure`] | what keeps an appliance from serving, and what to do about it |
//! | [`start_logging`], [`say`] | what it says |
//!
//! A library of the checkout, not published: an author's own main (`cargo mirage new`) has what it needs of it in itself.
#![forbid(unsafe_code)]

mod address;
mod arguments;
mod device;
mod failure;
mod own_stack;

use std::io::{self, Write};

use log::LevelFilter;

pub use arguments::{Ip, Net, NetworkArguments, Prefix};
pub use device::Device;
pub use failure::Failure;
pub use own_stack::{Ended, OwnStack};

/// Starts the log, on the standard error: warnings, and more for each `-v`. `RUST_LOG` says it more finely.
pub fn start_logging(verbose: u8) {
    let level = match verbose {
        0 => LevelFilter::Warn,
        1 => LevelFilter::Info,
        2 => LevelFilter::Debug,
        _ => LevelFilter::Trace,
    };
    env_logger::Builder::new()
        .filter_level(level)
        .parse_default_env()
        .init();
}

/// Writes to the standard output; that nobody reads it is no reason to stop serving.
pub fn say(lines: &[String]) {
    let mut out = io::stdout().lock();
    for line in lines {
        let _ = writeln!(out, "{line}");
    }
    let _ = out.flush();
}
