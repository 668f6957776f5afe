//! What the benchmarks on a real Xen have in common.
//!
//! | module | what it is |
//! | --- | --- |
//! | [`arguments`] | the options that each takes |
//! | [`laboratory`] | a lab with the appliance and its peer, and what goes on in it |
//! | [`linux_guest`] | the peer: Debian's kernel with NSD, nginx or another program, as a PV guest |
//! | [`pair`] | an appliance and a Linux guest side by side, under loads over TCP |
//! | [`comparison`] | what such loads come to: results, figure, goals |
//! | [`meter`] | Xen's own accounting of processor time, and a domain's way from `xl create` to its first answer |
//! | [`console`] | what guests say of themselves |
//! | [`dnsperf`] | load from the host, and what became of it |
//! | [`echo`] | a server that sends each query back: what the client itself can do |
//! | [`queries`] | what is asked: the example zone's names |

#![forbid(unsafe_code)]

pub mod arguments;
pub mod comparison;
pub mod console;
pub mod dnsperf;
pub mod echo;
pub mod laboratory;
pub mod linux_guest;
pub mod meter;
pub mod pair;
pub mod queries;
