//! The appliance over sockets, and over our own stack in virtual time.

mod common;
mod own_stack;
mod tcp_in_virtual_time;
mod udp;
