//! What both sides of the benchmark know: the ports.
#![no_std]
#![forbid(unsafe_code)]

/// Takes all that comes.
pub const SINK: u16 = 7_001;

/// Sends without end.
pub const SOURCE: u16 = 7_002;
