//! The appliance as a process of this machine, and the programs that ask it.

mod browser;
mod common;
mod sockets;
mod tap;
