//! Simulated devices, to test drivers, stacks and services on: exact, seeded, in virtual time.
//!
//! | type | what it is |
//! | --- | --- |
//! | [`VirtualClock`] | a clock that goes when it is told to |
//! | [`VirtualPlatform`] | what an executor stands on, in virtual time |
//! | [`VirtualEthernet`] | a segment with any number of interfaces ([`VirtualNetif`]), and [`Faults`] on the way to each |
//! | [`FaultInjector`] | the same faults around any other [`Netif`](crate::Netif) |
//! | [`Capture`] | any `Netif`, with a pcap file of what passes |
//! | [`CheckedLender`] | the other domain: reaches pages only while they are lent to it |
//! | [`MemoryStore`] | a key/value store in memory, whose writes can be made to fail |
//! | [`Packet`] | a frame outside any page |
//! | [`SplitMix64`] | the small generator that all of them draw from |
//!
//! Nothing here knows the time of day, and the same seed gives the same run.

mod capture;
mod clock;
mod ethernet;
mod faults;
mod injector;
mod lender;
mod packet;
mod platform;
mod rng;
mod store;

#[cfg(test)]
mod tests;

#[cfg(any(feature = "std", test))]
pub use capture::IoSink;
pub use capture::{Capture, CaptureCounters, CaptureSink};
pub use clock::VirtualClock;
pub use ethernet::{PortConfig, PortControl, PortCounters, VirtualEthernet, VirtualNetif};
pub use faults::{Chance, FaultCounters, Faults};
pub use injector::{FaultControl, FaultInjector, Injection, InjectorCounters};
pub use lender::{CheckedLender, Violation};
pub use packet::Packet;
pub use platform::VirtualPlatform;
pub use rng::SplitMix64;
pub use store::{InjectedFailure, MemoryStore};
