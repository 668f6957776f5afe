//! Why a tap could not be opened, and what to do about it.

use std::fmt;
use std::net::Ipv4Addr;

use mirage_core::PoolError;
use rustix::io::Errno;

/// Why a tap could not be opened. The text of each says what to do.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum TapError {
    /// The caller's fault: an interface's name has 1 to 15 bytes, none of them a space, `/`, `:` or `%`.
    Name(String),
    /// The caller's fault: a setting that can't be, with the reason.
    Config(&'static str),
    /// The system's: `/dev/net/tun` can't be opened.
    NoTunDevice(Errno),
    /// The caller has no right to make, or to use, this interface.
    NotPermitted {
        /// The interface.
        name: String,
        /// The address that its host side was to have.
        host_address: Option<(Ipv4Addr, u8)>,
        /// What was refused.
        step: &'static str,
        /// Whether it was to open `/dev/net/tun` itself.
        device: bool,
    },
    /// Another process has it open.
    Busy(String),
    /// There is an interface of this name, and it is no tap, or one with several queues.
    NotATap(String),
    /// The pool has no pages for the receive reserve, or too small ones.
    Pool(PoolError),
    /// The reactor can watch no more descriptors.
    TooManySources,
    /// Any other refusal of the system.
    Os {
        /// What was being done.
        step: &'static str,
        /// The system's error.
        errno: Errno,
    },
}

impl fmt::Display for TapError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => write!(
                f,
                "`{name}` can't be the name of an interface: 1 to 15 bytes, without space, '/', ':' and '%'"
            ),
            Self::Config(reason) => write!(f, "the tap's configuration: {reason}"),
            Self::NoTunDevice(errno) if *errno == Errno::NOENT || *errno == Errno::NODEV => f
                .write_str(
                    "this system has no /dev/net/tun: load the driver with `sudo modprobe tun`",
                ),
            Self::NoTunDevice(errno) => write!(f, "/dev/net/tun can't be opened: {errno}"),
            Self::NotPermitted {
                name,
                host_address,
                step,
                device,
            } => {
                write!(
                    f,
                    "you have no right to {step} {name}: run this as root, or prepare the interface once:\n    "
                )?;
                if *device {
                    f.write_str("sudo chmod 0666 /dev/net/tun && ")?;
                }
                write!(f, "sudo ip tuntap add dev {name} mode tap user $USER")?;
                if let Some((address, prefix)) = host_address {
                    write!(f, " && sudo ip addr add {address}/{prefix} dev {name}")?;
                }
                write!(f, " && sudo ip link set {name} up")
            }
            Self::Busy(name) => write!(
                f,
                "the interface {name} is in use by another process: end it, or choose another name"
            ),
            Self::NotATap(name) => write!(
                f,
                "the interface {name} exists and is not a tap with one queue: choose another name"
            ),
            Self::Pool(error) => write!(f, "the tap's receive pages: {error}"),
            Self::TooManySources => f.write_str(
                "the platform watches as many descriptors as it was made for: give it more sources",
            ),
            Self::Os { step, errno } => write!(f, "could not {step}: {errno}"),
        }
    }
}

impl std::error::Error for TapError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_the_right_the_error_says_exactly_what_to_run() {
        let error = |step, device| TapError::NotPermitted {
            name: "mirage0".into(),
            host_address: Some((Ipv4Addr::new(10, 0, 0, 1), 24)),
            step,
            device,
        };
        let prepare = "sudo ip tuntap add dev mirage0 mode tap user $USER && \
                       sudo ip addr add 10.0.0.1/24 dev mirage0 && sudo ip link set mirage0 up";
        assert_eq!(
            error("make", false).to_string(),
            format!(
                "you have no right to make mirage0: run this as root, or prepare the interface once:\n    {prepare}"
            )
        );
        assert_eq!(
            error("open /dev/net/tun for", true).to_string(),
            format!(
                "you have no right to open /dev/net/tun for mirage0: run this as root, or prepare the interface \
                 once:\n    sudo chmod 0666 /dev/net/tun && {prepare}"
            )
        );
    }
}
