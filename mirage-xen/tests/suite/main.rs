//! A domain on the simulated hypervisor. One program: each of these as one of its own would be linked with all of the crate.

mod machine;
mod simulated_store;
mod simulated_suspend;
mod simulated_traffic;
mod store;
mod suspend;
mod time_and_entropy;
mod world;
