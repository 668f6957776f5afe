//! An authoritative DNS server as a pure function: zero-copy codec, master-file parser and compiled zones, no_std
#![no_std]
#![forbid(unsafe_code)]

#[cfg(feature = "alloc")]
extern crate alloc;
#[cfg(any(test, feature = "std"))]
extern crate std;

#[cfg(feature = "std")]
pub mod build;
pub mod client;
pub mod master_file;
pub mod message;
pub mod name;
pub mod record;
pub mod server;
pub mod tcp;

#[cfg(feature = "alloc")]
pub mod zone_compiler;
pub mod zone_set;
