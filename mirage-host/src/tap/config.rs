//! How a tap is made, and what it counts.

use std::net::Ipv4Addr;

use mirage_core::MacAddress;
#[cfg(doc)]
use mirage_core::{Checksum, Netif};

#[cfg(doc)]
use super::Tap;

/// How a [`Tap`] is made. Start from [`TapConfig::new`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct TapConfig {
    /// The interface: an existing tap is used, a missing one is made, and taken away when the [`Tap`] goes.
    pub name: String,
    /// An address and a prefix length for the *host's* side, added unless it is there. `None`: none is.
    pub host_address: Option<(Ipv4Addr, u8)>,
    /// *Our* side's address. `None`: a random one, locally administered.
    pub mac: Option<MacAddress>,
    /// The interface's MTU in bytes of IP packet. `None`: as it is (1,500 for a new one).
    pub mtu: Option<u16>,
    /// Whether the kernel may hand over frames whose checksum it did not compute, as they never cross a wire
    /// ([`Checksum::Partial`]). By default it may. Where it may not, no virtio header goes before a frame either, and each checksum is
    /// left to whoever receives it, also one that a device of the kernel's has verified.
    pub checksum_offload: bool,
    /// Whether frames may stand for several segments of TCP over IPv4, up to 64 KiB, both ways. By default they may; only with
    /// `checksum_offload`, and towards us only where 18 pages, and `receive_pages`, hold such a frame: blocks of 4,096 bytes do,
    /// those of 2,048 don't. [`Netif::offloads`] says what came of it.
    pub segmentation_offload: bool,
    /// Whether Linux may merge segments of TCP that follow each other on a connection before its own TCP, or whoever else receives them,
    /// looks at them, as it does behind a network card (GRO); what it forwards it cuts again. Each was a frame of its own no longer than the
    /// MTU, and its checksums are verified. By default it may, where frames are not handed over uncut anyway (`segmentation_offload`), and
    /// where it can be told to: with the right to change the interface, or once `gro_flush_timeout` is set in its directory of sysfs, in
    /// nanoseconds. It holds a segment without PSH back for up to 10 ms, or that time, until others follow it: a stack pushes what it sends last, as
    /// ours does. [`Tap::merges`] says what came of it.
    pub merge_transmitted: bool,
    /// Whether segments of TCP over IPv4 that come one after the other are put together before they are handed up, once each was verified: up to
    /// 18 of a connection that differ in nothing but their place and their length, as a device's driver does it. By default they are, where
    /// the kernel hands frames over as they would be on a wire (without `checksum_offload`), and each lies in one page. [`Netif::offloads`] says
    /// so: frames may stand for several segments, and their checksums are verified.
    pub merge_received: bool,
    /// Whether frames that are transmitted together may go to the kernel by one system call, of io_uring(7), instead of one each. By default they
    /// may; where the kernel doesn't offer it, or does not let this process use it, they go one by one. [`Tap::uses_io_uring`] says what came
    /// of it.
    pub io_uring: bool,
    /// Pages of the receive reserve: what can be received and not yet dropped or kept. By default 32; at least what one
    /// frame of the MTU needs.
    pub receive_pages: usize,
    /// Bytes that stay free in front of a received frame, in each of its pages. By default none.
    pub receive_headroom: usize,
}

impl TapConfig {
    /// The default configuration for the interface `name`.
    pub fn new(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            host_address: None,
            mac: None,
            mtu: None,
            checksum_offload: true,
            segmentation_offload: true,
            merge_transmitted: true,
            merge_received: true,
            io_uring: true,
            receive_pages: 32,
            receive_headroom: 0,
        }
    }
}

/// What a [`Tap`] counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct TapCounters {
    /// Frames received and handed up.
    pub received: u64,
    /// Bytes of them.
    pub received_bytes: u64,
    /// Received frames whose checksum is [`Checksum::Partial`].
    pub received_partial: u64,
    /// Received frames that stand for several segments.
    pub received_segmented: u64,
    /// Received frames that were put together with the one before: see [`TapConfig::merge_received`].
    pub received_merged: u64,
    /// Received and dropped: no page was free, neither in the receive reserve nor in the pool, or the pool had no room for
    /// another frame of more than three pages.
    pub dropped_no_page: u64,
    /// Received and dropped: longer than the MTU and its headers.
    pub dropped_too_long: u64,
    /// Received and dropped: shorter than the header that the kernel puts before each frame.
    pub dropped_short_read: u64,
    /// Received and dropped: segmented in a way that was not asked for, or without a size.
    pub dropped_segmented: u64,
    /// Reads that failed with another error than "nothing there".
    pub receive_errors: u64,
    /// Frames that the kernel took.
    pub transmitted: u64,
    /// Bytes of them.
    pub transmitted_bytes: u64,
    /// Transmitted frames that stand for several segments.
    pub transmitted_segmented: u64,
    /// Frames of them that went with others, by a system call for all of these: see [`TapConfig::io_uring`].
    pub transmitted_together: u64,
    /// Frames that the kernel refused since its queue or its memory was full.
    pub transmit_full: u64,
    /// Frames that the kernel refused since the interface is down.
    pub transmit_link_down: u64,
    /// Frames refused for another reason: too long, too short, or an error of the kernel's.
    pub transmit_refused: u64,
}
