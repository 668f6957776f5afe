//! The appliance as a process of this machine, and the programs that ask it.

mod common;
mod dhcp;
mod sockets;
mod tap;
mod transfers;
mod xdp;
