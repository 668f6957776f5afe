//! The spine of a library operating system: I/O page pool, device traits, executor and simulated devices, no_std
#![no_std]

pub mod time;
