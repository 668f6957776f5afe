//! A network namespace of our own, with taps in it. All of it goes with this process, however that ends.

use std::process::Command;

use bench_common::report::Error;

/// Gives the calling thread a network namespace of its own.
pub(crate) fn enter() -> Result<(), Error> {
    // SAFETY: unshare(2) with CLONE_NEWNET changes the calling thread's network namespace and nothing else.
    if unsafe { libc::unshare(libc::CLONE_NEWNET) } != 0 {
        let error = std::io::Error::last_os_error();
        return Err(format!("no network namespace ({error}): run this as root").into());
    }
    ip(&["link", "set", "lo", "up"])
}

/// Makes a tap, with an address of the host's.
pub(crate) fn make_tap(name: &str, address: &str) -> Result<(), Error> {
    ip(&["tuntap", "add", "dev", name, "mode", "tap"])?;
    ip(&["address", "add", &format!("{address}/24"), "dev", name])?;
    ip(&["link", "set", name, "up"])
}

/// Calls `ip`, which has to succeed.
fn ip(arguments: &[&str]) -> Result<(), Error> {
    let output = Command::new("ip").args(arguments).output();
    let output = output.map_err(|error| format!("ip (Debian's package iproute2): {error}"))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        return Err(format!("ip {}: {said}", arguments.join(" ")).into());
    }
    Ok(())
}
