//! An authoritative DNS server as a pure function: zero-copy codec, master-file parser and compiled zones, no_std
#![no_std]
#![forbid(unsafe_code)]

#[cfg(feature = "alloc")]
extern crate alloc;
#[cfg(any(test, feature = "std"))]
extern crate std;

pub mod master_file;
pub mod name;
pub mod record;

pub mod zone_set;
