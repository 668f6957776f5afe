//! `edge-nal`'s traits over a [`SharedStack`](crate::SharedStack).

mod tcp;
mod udp;

use core::fmt;

use embedded_io_async::{Error, ErrorKind};

use crate::{BindError, SendError, SocketError};

/// What can go wrong with a socket, as `edge-nal` wants it: one type for all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum NalError {
    /// The socket was not opened.
    Bind(BindError),
    /// The datagram was not sent.
    Send(SendError),
    /// An earlier datagram did not arrive.
    Socket(SocketError),
    /// Multicast groups are not implemented.
    Multicast,
}

impl fmt::Display for NalError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            NalError::Bind(error) => error.fmt(f),
            NalError::Send(error) => error.fmt(f),
            NalError::Socket(error) => error.fmt(f),
            NalError::Multicast => f.write_str("multicast groups are not implemented"),
        }
    }
}

impl core::error::Error for NalError {}

impl Error for NalError {
    fn kind(&self) -> ErrorKind {
        match self {
            NalError::Bind(error) => match error {
                BindError::AddressInUse => ErrorKind::AddrInUse,
                BindError::AddressNotAvailable | BindError::NoPort => ErrorKind::AddrNotAvailable,
                BindError::TableFull | BindError::NoQueue => ErrorKind::OutOfMemory,
                BindError::UnsupportedFamily => ErrorKind::Unsupported,
                BindError::BadRemote => ErrorKind::InvalidInput,
                BindError::InUse => ErrorKind::Other,
            },
            NalError::Send(error) => match error {
                SendError::TooLong { .. } | SendError::BadDestination => ErrorKind::InvalidInput,
                SendError::BroadcastNotPermitted => ErrorKind::PermissionDenied,
                SendError::NoAddress => ErrorKind::AddrNotAvailable,
                SendError::NoPages | SendError::QueueFull | SendError::NoRoomToWait => {
                    ErrorKind::OutOfMemory
                }
                SendError::UnsupportedFamily => ErrorKind::Unsupported,
                SendError::NotOpen | SendError::NotConnected => ErrorKind::NotConnected,
                SendError::NoRoute | SendError::Unreachable | SendError::InUse => ErrorKind::Other,
            },
            NalError::Socket(SocketError::Refused) => ErrorKind::ConnectionRefused,
            NalError::Socket(_) => ErrorKind::Other,
            NalError::Multicast => ErrorKind::Unsupported,
        }
    }
}
