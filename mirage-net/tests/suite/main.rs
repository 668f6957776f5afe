//! Whole stacks over a virtual Ethernet. One program: each of these as one of its own would be linked with all of the crate.

mod common;
mod dhcp;
mod driver;
mod hazards;
mod refusals;
mod segmentation;
mod service;
mod shell;
mod tcp;
mod tcp_millions;
mod tcp_shell;
mod virtual_ethernet;
