//! The spine of a library operating system: I/O pages, device traits, executor.
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
