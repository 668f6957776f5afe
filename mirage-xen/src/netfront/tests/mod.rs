//! The driver as a whole, on the simulated hypervisor.

mod backend;
mod connection;
mod faults;
mod suspension;
mod world;
