//! What went wrong with a connection, and whose doing it was.

use core::fmt;

/// Why a connection ended, or why a call could not be carried out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum TcpError {
    /// The handle names no connection or listener. The caller's doing.
    NotOpen,
    /// Not connected yet. The caller's doing: try again when it is.
    NotConnected,
    /// The send queue has no room now: try again when [`TcpEvents::WRITABLE`](crate::tcp::TcpEvents::WRITABLE) comes.
    Full,
    /// The owner has closed this direction already. The caller's doing.
    Closing,
    /// The peer refused the connection: nobody listens there.
    Refused,
    /// The peer reset the connection.
    Reset,
    /// The peer did not answer: to the SYN, to data within the user time-out, or to keep-alives.
    TimedOut,
    /// The network said that the peer can't be reached: ICMP Unreachable with this code, before the connection was there.
    Unreachable(u8),
    /// The address can't be a peer's, or ours is not there. The caller's doing.
    BadAddress,
    /// The address family is not implemented.
    UnsupportedFamily,
    /// Another connection has these addresses and ports. The caller's doing.
    InUse,
    /// All ephemeral ports towards this peer are taken.
    NoPort,
    /// The table of connections, whose size the caller chose, is full.
    TableFull,
    /// No route to the peer.
    NoRoute,
    /// The stack is in use: called inside of [`SharedStack::with`](crate::SharedStack::with), or
    /// by a service.
    Busy,
}

impl fmt::Display for TcpError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            TcpError::NotOpen => f.write_str("the connection is closed"),
            TcpError::NotConnected => f.write_str("the connection is not established yet"),
            TcpError::Full => f.write_str("the send queue has no room now"),
            TcpError::Closing => f.write_str("this direction of the connection was closed before"),
            TcpError::Refused => f.write_str("the peer refused the connection"),
            TcpError::Reset => f.write_str("the peer reset the connection"),
            TcpError::TimedOut => f.write_str("the peer does not answer"),
            TcpError::Unreachable(code) => {
                write!(
                    f,
                    "the peer can't be reached (ICMP unreachable, code {code})"
                )
            }
            TcpError::BadAddress => {
                f.write_str("no connection is possible between these addresses")
            }
            TcpError::UnsupportedFamily => f.write_str("the address family is not implemented"),
            TcpError::InUse => f.write_str("another connection has these addresses and ports"),
            TcpError::NoPort => f.write_str("no ephemeral port is free"),
            TcpError::TableFull => f.write_str("the table of connections is full"),
            TcpError::NoRoute => f.write_str("no route to the peer"),
            TcpError::Busy => f.write_str("the stack is in use by the caller itself"),
        }
    }
}

impl core::error::Error for TcpError {}
