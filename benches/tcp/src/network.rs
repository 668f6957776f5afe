//! A network namespace of our own, with taps in it. All of it goes with this process, however that ends.

use bench_common::report::Error;
use network_namespace::ip;

/// Gives the calling thread a network namespace of its own.
pub(crate) fn enter() -> Result<(), Error> {
    network_namespace::enter()
        .map_err(|error| format!("no network namespace ({error}): run this as root"))?;
    Ok(ip(&["link", "set", "lo", "up"])?)
}

/// Makes a tap, with an address of the host's.
pub(crate) fn make_tap(name: &str, address: &str) -> Result<(), Error> {
    ip(&["tuntap", "add", "dev", name, "mode", "tap"])?;
    ip(&["address", "add", &format!("{address}/24"), "dev", name])?;
    Ok(ip(&["link", "set", name, "up"])?)
}
