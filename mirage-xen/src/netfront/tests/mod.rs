//! The driver as a whole, on the simulated hypervisor.

mod connection;
#[allow(dead_code, reason = "for the tests with a backend")]
mod world;
