//! A DNS server as an appliance: one zone set, served over any stack.
//!
//! | item | what it is |
//! | --- | --- |
//! | [`ZONES_IMAGE`] | the zones that were compiled in, checked when the appliance was built |
//! | [`Service`] | zones, the pure server of [`mirage_dns`], counters; shared by all shells |
//! | [`serve_udp`], [`serve_tcp`] | shells over any stack's sockets ([`edge_nal`]) |
//! | `impl UdpService for &Service` | the service on our own stack, answering in place ([`mirage_net::drive`] moves the frames) |
//! | `maintain`, `Surroundings` | does what zones that change want done (feature `authority`) |
//! | [`Counters`], [`Counter`] | what was counted, and what for |
//!
//! The library knows no platform and allocates nothing: a main of its own chooses device, clock and memory. Which zones are
//! compiled in says the environment at build time: `MIRAGE_DNS_ZONES`, master files separated by colons,
//! each as `[ORIGIN=]FILE`.
//!
//! ```
//! use dns_appliance::{Client, Service, Transport, ZONES_IMAGE};
//! use mirage_dns::zone_set::ZoneSet;
//!
//! let service = Service::new(ZoneSet::from_bytes(ZONES_IMAGE)?);
//! let client = Client { address: [192, 0, 2, 1].into(), transport: Transport::Udp, now: 0 };
//! let mut out = [0; 512];
//! // Nothing but a header's beginning: no answer.
//! assert_eq!(service.answer(&client, &[0; 5], &mut out), None);
//! assert_eq!(service.counters().server.ignored_too_short, 1);
//! # Ok::<(), mirage_dns::zone_set::ImageError>(())
//! ```
#![no_std]
#![forbid(unsafe_code)]

#[cfg(feature = "authority")]
extern crate alloc;

mod counters;
#[cfg(feature = "authority")]
mod maintenance;
mod service;
mod tcp;
mod udp;

pub use counters::{Counter, Counters};
#[cfg(feature = "authority")]
pub use maintenance::{Surroundings, maintain};
pub use service::{Client, Service, Transport};
pub use tcp::{TcpLimits, serve_tcp};
pub use udp::serve_udp;

/// The zones that were compiled in, as [`ZoneSet::from_bytes`](mirage_dns::zone_set::ZoneSet::from_bytes) takes them.
pub static ZONES_IMAGE: &[u8] = &ZONES;

/// Their bytes, by value: so they have a symbol, by which `cargo mirage build` says how much of an image they are.
static ZONES: [u8; include_bytes!(concat!(env!("OUT_DIR"), "/zones.image")).len()] =
    *include_bytes!(concat!(env!("OUT_DIR"), "/zones.image"));
