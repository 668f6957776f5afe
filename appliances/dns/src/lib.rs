//! The DNS appliance.
#![no_std]
#![forbid(unsafe_code)]
