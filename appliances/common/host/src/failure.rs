//! What keeps an appliance from serving, and what to do about it.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use mirage_core::executor::SpawnError;
use mirage_host::{EntropyError, PlatformError, SignalError, TapError, XdpError};

/// What keeps an appliance from serving.
#[derive(Debug)]
#[non_exhaustive]
pub enum Failure {
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
    /// The system refuses something else that is needed.
    System(String),
}

impl Failure {
    /// The exit status: 2 where the command line is wrong, 1 where the system refused.
    pub fn status(&self) -> ExitCode {
        match self {
            Self::Stack(_) => ExitCode::from(2),
            _ => ExitCode::FAILURE,
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
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

impl From<SpawnError> for Failure {
    fn from(error: SpawnError) -> Self {
        Self::System(format!("a task can't be started: {error}"))
    }
}

impl From<EntropyError> for Failure {
    fn from(error: EntropyError) -> Self {
        Self::System(error.to_string())
    }
}
