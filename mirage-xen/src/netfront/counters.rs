//! What a device counts.

pub use super::receive::ReceiveCounters;
pub use super::transmit::TransmitCounters;

/// What happened at a device since it was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct NetfrontCounters {
    /// On the receive ring.
    pub receive: ReceiveCounters,
    /// On the transmit ring.
    pub transmit: TransmitCounters,
    /// Times that a backend connected.
    pub connections: u64,
    /// Times that a connection ended, for whatever reason.
    pub disconnections: u64,
    /// Connections that ended since the backend broke the rings' protocol.
    pub faults: u64,
    /// Events sent to the backend.
    pub notifications: u64,
    /// Events that could not be sent.
    pub notify_errors: u64,
    /// Times that the device, as the toolstack and the backend describe it, was none that can be used.
    pub unusable: u64,
    /// Times that no connection could be offered: no port was left, or the old backend had not let go.
    pub offers_failed: u64,
    /// Requests to xenstore that failed.
    pub store_errors: u64,
}
