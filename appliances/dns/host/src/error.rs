//! What keeps the appliance from serving, and what to do about it.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use mirage_dns::zone_compiler::Diagnostics;
use mirage_host::{PlatformError, SignalError, TapError, XdpError};

/// What keeps the appliance from serving.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The zones are wrong, each with file, line and column.
    Zones(Diagnostics),
    /// The image of the zones does not pass its check: our fault.
    Image(mirage_dns::zone_set::ImageError),
    /// The address can't be had.
    Listen(SocketAddr, io::Error),
    /// The tap can't be had.
    Tap(TapError),
    /// The interface can't be had by AF_XDP.
    Xdp(XdpError),
    /// The configuration of our own stack is wrong.
    Stack(String),
    /// The file for the capture can't be written.
    Capture(PathBuf, io::Error),
    /// The command line asks for what can't be.
    Arguments(String),
    /// A file of keys can't be read, or is none.
    Keys(PathBuf, String),
    /// What is kept of the zones can't be used.
    State(PathBuf, String),
    /// The system refuses something else that is needed.
    System(String),
}

impl Failure {
    /// The exit status: 2 where the command line or a zone is wrong, 1 where the system refused.
    pub(crate) fn status(&self) -> ExitCode {
        match self {
            Self::Zones(_) | Self::Stack(_) | Self::Arguments(_) | Self::Keys(..) => {
                ExitCode::from(2)
            }
            _ => ExitCode::FAILURE,
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            // One line for each, as a compiler's; an editor can jump there.
            Self::Zones(diagnostics) => {
                write!(
                    f,
                    "{diagnostics}the zones can't be served: correct what is said above"
                )
            }
            Self::Image(error) => write!(f, "the compiled zones can't be read: {error}"),
            Self::Listen(address, error) => match error.kind() {
                io::ErrorKind::AddrInUse => write!(
                    f,
                    "{address} is in use by another process: end it, or choose another port with --listen {}:PORT (0: \
                     any that is free)",
                    host(address)
                ),
                io::ErrorKind::PermissionDenied => write!(
                    f,
                    "you have no right to port {}: run this as root, or choose one above 1023 with --listen {}:PORT",
                    address.port(),
                    host(address)
                ),
                io::ErrorKind::AddrNotAvailable => write!(
                    f,
                    "this machine does not have the address {}: choose one of its own with --listen ADDRESS:{}",
                    address.ip(),
                    address.port()
                ),
                _ => write!(f, "{address} can't be listened to: {error}"),
            },
            Self::Tap(error) => error.fmt(f),
            Self::Xdp(error) => error.fmt(f),
            Self::Stack(reason) => f.write_str(reason),
            Self::Capture(path, error) => {
                write!(
                    f,
                    "the capture can't be written to {}: {error}",
                    path.display()
                )
            }
            Self::Arguments(reason) => f.write_str(reason),
            Self::Keys(path, reason) => {
                write!(
                    f,
                    "the keys can't be read from {}: {reason}",
                    path.display()
                )
            }
            Self::State(path, reason) => {
                write!(f, "the zones can't be kept in {}: {reason}", path.display())
            }
            Self::System(reason) => f.write_str(reason),
        }
    }
}

impl std::error::Error for Failure {}

/// The address in the form in which a port is appended.
fn host(address: &SocketAddr) -> String {
    match address {
        SocketAddr::V4(address) => address.ip().to_string(),
        SocketAddr::V6(address) => format!("[{}]", address.ip()),
    }
}

impl From<PlatformError> for Failure {
    fn from(error: PlatformError) -> Self {
        Self::System(error.to_string())
    }
}

impl From<SignalError> for Failure {
    fn from(error: SignalError) -> Self {
        Self::System(error.to_string())
    }
}
