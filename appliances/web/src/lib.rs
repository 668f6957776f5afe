//! A web server as an appliance: a site that is compiled in, and a page that shows the appliance alive, over any stack.
//!
//! | item | what it is |
//! | --- | --- |
//! | [`SITE`] | the site that was compiled in, checked when the appliance was built |
//! | [`Service`] | a site, the pure server of [`mirage_http`], counters; shared by all connections |
//! | [`serve_slot`], [`turn_away`] | shells over any stack's connections |
//! | [`Listener`], [`AnyTcp`] | where connections come from; a listener of any stack ([`edge_nal`]) as one |
//! | [`Sent`], [`Way`], [`ByWriting`] | streams, and how each sends best what lies in the program and what is last |
//! | [`Instruments`], [`Metric`], [`Sample`] | what can be read of the appliance, for `/_mirage/` and `/_mirage/metrics` |
//! | `tcp` | our own TCP: its metrics, and the site sent from where it lies (feature `tcp`) |
//!
//! | path | what is there |
//! | --- | --- |
//! | `/_mirage/` | a page that shows the appliance alive; it brings its own script and style, and nothing comes from elsewhere |
//! | `/_mirage/events` | what the page shows, as server-sent events: one each second |
//! | `/_mirage/metrics` | all metrics as text, for Prometheus |
//! | anything else | the site |
//!
//! The library knows no platform and allocates nothing: a main of its own chooses stack, clock and memory. Which site is compiled in
//! says the environment at build time: `MIRAGE_WEB_SITE`, a folder.
//!
//! ```
//! use mirage_core::kv::Key;
//! use web_appliance::{SITE, Service, ServiceLimits};
//!
//! let service = Service::new(SITE, ServiceLimits::new(16));
//! assert!(service.site().value(Key::new("index.html")?).is_some());
//! assert_eq!(service.counters().requests, 0);
//! # Ok::<(), mirage_core::kv::KeyError>(())
//! ```
#![no_std]
#![forbid(unsafe_code)]

mod application;
mod connections;
mod live;
mod metric;
mod service;
mod streams;
#[cfg(feature = "tcp")]
pub mod tcp;

pub use connections::{Buffers, serve_slot, turn_away};
pub use metric::{Instruments, Kind, Metric, Sample, Value};
pub use service::{Service, ServiceLimits};
pub use streams::{AnyTcp, ByWriting, Listener, Sent, Way};

use mirage_core::kv::CompiledStore;

/// The site that was compiled in.
pub static SITE: CompiledStore = include!(concat!(env!("OUT_DIR"), "/site.rs"));

/// The page that shows the appliance alive, with its script and style.
static LIVE: CompiledStore = include!(concat!(env!("OUT_DIR"), "/live.rs"));
