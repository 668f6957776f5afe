//! A Xen PVH guest in Rust: from the first instruction to a running netfront.
//!
//! Everything here is generic over a [`Hypervisor`], the crate's one type parameter.
//!
//! | module | what it has |
//! | --- | --- |
//! | `boot` | with the feature `boot`: the start of an image, its memory, its end |
//! | `native` | with the feature `boot`: the real hypervisor |
//! | [`abi`] | structures and numbers of Xen's public headers |
//! | `simulated` | with the feature of that name: a second `Hypervisor`, for tests on a host |
//! | `fuzzing` | with the feature of that name: rings and grants driven by arbitrary input |
//! | [`hypervisor`] | [`Hypervisor`]: what a domain asks of Xen, one method a hypercall |
//! | [`event_channel`] | [`EventChannels`](event_channel::EventChannels): ports, their tokens, the sleep |
//! | [`grant_table`] | [`GrantTable`](grant_table::GrantTable): which domain may reach which page; lends a pool's blocks |
//! | [`ring`] | [`FrontRing`](ring::FrontRing): the shared ring of requests and responses |
//! | [`suspend`] | [`Suspender`](suspend::Suspender): takes the domain through suspension, resumption, migration |
//! | [`store`] | [`Store`](store::Store): xenstore's client, asynchronous, with many requests outstanding |
//! | [`clock`] | [`XenClock`](clock::XenClock): monotonic time over suspensions, the wall clock, deadlines |
//! | [`netfront`] | [`Netfront`](netfront::Netfront): network interfaces |
//! | `machine` | with the feature `alloc`: all of these put together, as an appliance's main function needs them |
//! | [`platform`] | [`XenPlatform`](platform::XenPlatform): the machine below an executor |
//! | [`entropy`] | [`XenRng`](entropy::XenRng): the processor's random words or the toolstack's seed, into ChaCha20 |
//! | [`static_cell`] | [`StaticCell`](static_cell::StaticCell): room in a `static` for what is made once |
//! | [`xenbus`] | [`Frontend`](xenbus::Frontend): a device's states and keys in xenstore |
//! | [`control`] | [`Control`](control::Control): what the toolstack wants of the domain |
//! | [`console`] | [`Console`](console::Console): lines out and in; the crate `log`'s macros |
#![no_std]

#[cfg(any(feature = "alloc", test))]
extern crate alloc;
#[cfg(any(feature = "std", test))]
extern crate std;

pub mod abi;
#[cfg(all(feature = "boot", target_arch = "x86_64"))]
pub mod boot;
mod byte_ring;
pub mod clock;
mod connection;
pub mod console;
pub mod control;
pub mod entropy;
pub mod event_channel;
#[cfg(feature = "fuzzing")]
pub mod fuzzing;
pub mod grant_table;
pub mod hypervisor;
#[cfg(feature = "alloc")]
pub mod machine;
#[cfg(all(feature = "boot", target_arch = "x86_64"))]
pub mod native;
pub mod netfront;
pub mod platform;
pub mod ring;
#[cfg(feature = "simulated")]
pub mod simulated;
mod sort;
pub mod static_cell;
pub mod store;
pub mod suspend;
#[cfg(test)]
mod testing;
pub mod xenbus;

pub use abi::{DomainId, GrantReference, PortNumber, XenError};
pub use connection::ConnectError;
pub use hypervisor::Hypervisor;

/// The README's examples are tests, too.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
