//! An authoritative DNS server as a pure function: zero-copy codec, master-file parser and compiled zones, no_std
#![no_std]
#![forbid(unsafe_code)]
