//! UDP: sockets with bounded queues, and services that answer in place.

mod service;
mod socket;

pub use service::{ServiceOptions, ServiceSlot, UdpRequest, UdpService};
pub use socket::{
    BindError, Datagram, DatagramSlot, Fragmentation, PortBucket, SocketError, UdpHandle,
    UdpOptions, UdpSlot,
};

pub(crate) use service::Services;
pub(crate) use socket::{Deliver, Sockets};
