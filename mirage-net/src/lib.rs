//! A zero-copy network stack of pure state machines, without allocation.
#![no_std]
#![forbid(unsafe_code)]

#[cfg(feature = "alloc")]
extern crate alloc;
#[cfg(test)]
extern crate std;

mod arp;
#[cfg(feature = "edge-nal")]
mod edge;
#[cfg(any(test, feature = "fuzzing"))]
pub mod fuzzing;
mod ip;
mod limit;
mod random;
mod shell;
mod stack;
mod udp;
pub mod wire;

pub use arp::{
    AddressSlot, AddressState, ConflictConfig, Defence, NeighbourConfig, NeighbourCounters,
    NeighbourSlot, PendingSlot,
};
#[cfg(feature = "edge-nal")]
pub use edge::NalError;
pub use ip::{
    Cidr, PathMtuConfig, PathMtuSlot, PrefixError, ReassemblyConfig, ReassemblyCounters,
    ReassemblySlot, Route, RouteError, RouteSlot, SentSlot,
};
pub use limit::RateLimit;
pub use shell::{DriverCounters, RECEIVE_BUDGET, SharedStack, UdpSocket, WakerSlot};
#[cfg(feature = "alloc")]
pub use stack::Capacities;
pub use stack::{
    AddressError, ArpCounters, Counters, EchoSlot, EthernetCounters, Event, EventSlot, HEADROOM,
    IcmpCounters, Ipv4Counters, SendCounters, SendError, Stack, StackConfig, StackError,
    StackMemory, StackStorage, TransmitSlot, UdpCounters,
};
pub use udp::{
    BindError, Datagram, DatagramSlot, Fragmentation, PortBucket, ServiceOptions, ServiceSlot,
    SocketError, UdpHandle, UdpOptions, UdpRequest, UdpService, UdpSlot,
};
