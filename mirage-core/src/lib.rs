//! The spine of a library operating system: I/O pages, device traits, executor.
//!
//! What a network stack, a driver and a service of a single-purpose virtual machine share, and nothing more. A platform
//! (a Xen guest, a Unix process) implements [`Netif`], [`Clock`] and [`executor::Platform`]; a protocol is a state machine
//! over the bytes of [`Page`]s; an appliance puts them together. Everything is `no_std`, single-threaded, and works
//! without an allocator.
//!
//! # Quick reference
//!
//! | module | what it has |
//! | --- | --- |
//! | [`pool`] | [`Pool`], [`PageMut`], [`Page`], [`Reserve`]: one region of I/O pages from the ring to the application and back; lending to other domains |
//! | [`frame`] | [`Frame`], [`Segment`]: a short chain of page windows, and the device's word on it |
//! | [`Netif`] | a network interface, with [`MacAddress`], [`Offloads`], [`NetifError`] |
//! | [`time`] | [`Instant`], [`Clock`] |
//! | [`kv`] | read-only key/value stores, and the one that is compiled in |
//! | [`executor`] | tasks, timers, wakers that any thread may use |
//! | [`channel`], [`event`] | bounded channels; a token that can't lose a wake-up |
#![cfg_attr(
    feature = "doubles",
    doc = "| [`doubles`] | virtual Ethernet with faults, virtual clock and platform, packet capture, a lender that checks |"
)]
#![cfg_attr(
    not(feature = "doubles"),
    doc = "| `doubles` | (feature) virtual Ethernet with faults, virtual clock and platform, packet capture, a lender that checks |"
)]
//!
//! # Features
//!
//! None is on by default.
//!
//! | feature | what it adds |
//! | --- | --- |
//! | `alloc` | constructors that take their memory from the global allocator |
//! | `std` | `alloc`, and what hosts and their tests need of the standard library |
//! | `doubles` | `alloc`, and the simulated devices |
//!
//! # Example
//!
//! A received page is answered in place, and goes back to the ring it came from:
//!
//! ```
//! use mirage_core::pool::PoolStorage;
//!
//! static STORAGE: PoolStorage<64, 2048> = PoolStorage::new();
//!
//! let pool = STORAGE.init()?;
//! let ring = pool.reserve(16)?; // what a device posts: nobody else can take it
//!
//! let mut page = ring.alloc().ok_or("empty")?;
//! page.extend_from_slice(b"ping")?; // the device's part
//! page[1] = b'o';
//! let frame = mirage_core::Frame::from(page);
//! assert_eq!(frame.contiguous(), Some(&b"pong"[..]));
//!
//! assert_eq!(ring.free(), 15);
//! drop(frame);
//! assert_eq!(ring.free(), 16);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
#![no_std]

#[cfg(any(feature = "alloc", test))]
extern crate alloc;
#[cfg(any(feature = "std", test))]
extern crate std;

pub mod channel;
#[cfg(any(feature = "doubles", test))]
pub mod doubles;
pub mod event;
pub mod executor;
pub mod frame;
pub mod kv;
mod mac;
mod netif;
pub mod pool;
mod sync;
pub mod time;

pub use frame::{Checksum, Frame, FrameMetadata, Segment, Segmentation, SegmentationKind};
pub use mac::{MacAddress, ParseMacAddressError};
pub use netif::{Netif, NetifError, OffloadFlags, Offloads, TransmitError, TransmitReason};
pub use pool::{Page, PageMut, Pool, PoolError, Reserve};
pub use time::{Clock, Instant};

/// The README's examples are tests, too.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
