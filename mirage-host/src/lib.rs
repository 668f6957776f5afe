//! The devices of a library operating system inside a Unix process: tap, sockets, clocks, entropy, parking.
//!
//! | type | what it is |
//! | --- | --- |
//! | [`HostPlatform`] | clock and sleep of an executor: `CLOCK_MONOTONIC`, ppoll(2), an eventfd |
//! | [`Source`] | a descriptor that is watched while the process sleeps |
//! | [`Tap`] | a network interface on `/dev/net/tun`, with virtio headers, on the I/O page pool |
//! | [`Xdp`] | a queue of a network interface by AF_XDP, whose UMEM is the I/O page pool |
//! | [`Sockets`] | the system's UDP and TCP as `edge-nal` traits; UDP answers from the address that was asked |
//! | [`OutgoingSockets`] | the same for what goes out from one address |
//! | [`DirectoryStore`] | a key/value store in a directory: a crash at any point leaves its changes whole |
//! | [`SystemRng`] | the system's randomness as `rand_core` traits |
//! | [`EndSignals`], [`HangupSignal`] | Ctrl-C and `SIGTERM`, and `SIGHUP`, as futures |
//! | [`run_apart`] | long work in a thread of its own, awaited |
//!
//! The executor, the pool and the traits are those of [`mirage_core`]: an application that is written against them runs
//! here as a process, with a debugger and a profiler, and elsewhere as a virtual machine.
#![doc = concat!("```no_run\n", include_str!("../examples/sleep.rs"), "```")]

mod apart;
mod directory;
mod edges;
mod entropy;
mod interface;
mod platform;
mod reactor;
mod signals;
mod sockets;
mod tap;
#[cfg(test)]
mod testing;
mod xdp;

pub use apart::{ApartError, run_apart};
pub use directory::{DirectoryError, DirectoryStore};
pub use entropy::{EntropyError, SystemRng};
pub use platform::{HostPlatform, HostPlatformConfig, PlatformCounters, PlatformError};
pub use reactor::{Source, TooManySources};
pub use signals::{EndSignals, HangupSignal, SignalError};
pub use sockets::{
    OutgoingSockets, Sockets, TcpAcceptor, TcpSocket, UdpSocket, WatchedAcceptor, WatchedSockets,
    WatchedStream,
};
pub use tap::{Tap, TapConfig, TapCounters, TapError};
pub use xdp::{Xdp, XdpConfig, XdpCounters, XdpError, XdpMode};

/// Has the README's example compiled.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
