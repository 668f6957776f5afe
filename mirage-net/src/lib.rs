//! A zero-copy network stack of pure state machines: Ethernet, ARP, IPv4, ICMP and UDP, no_std and without allocation
#![no_std]
#![forbid(unsafe_code)]
