//! How a device is made, and why it can't be.

use core::fmt;

use mirage_core::PoolError;

use super::receive::PostedPage;
use super::transmit::{MAXIMUM_SLOTS, SLOTS_A_FRAME, TransmitSlot};
use crate::abi::netif::XEN_NETIF_NR_SLOTS_MIN;
use crate::grant_table::GrantError;
use crate::ring::RingPageError;

/// Pages to receive into, where nobody says how many.
pub(super) const RECEIVE_PAGES: usize = 64;

/// Pieces of frames that are sent, where nobody says how many.
pub(super) const TRANSMIT_SLOTS: usize = 64;

/// How a [`Netfront`](super::Netfront) is made. Start from [`NetfrontConfig::new`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct NetfrontConfig {
    /// Whether checksums may be left to the other end, in either direction. By default they may.
    pub checksum_offload: bool,
    /// Whether frames may stand for several segments of TCP, in either direction, where the backend does that. By default
    /// they may. Towards us only where half of the receive reserve holds the longest of them, 18 pages: else the backend isn't told of
    /// it, and cuts them itself.
    pub segmentation_offload: bool,
    /// Pages to receive into, of a device that [`Netfront::leak`](super::Netfront::leak) makes: 2 to 256, as many as the ring has slots,
    /// and what is beyond is taken as that. By default 64. One of a storage of its own has those that there is room for.
    ///
    /// Half of them is what can be received and not yet dropped or kept. A frame of 64 KiB takes 17: with 64 pages the backend has
    /// three of them under way and then waits until we have run, while it and we could both be at work.
    pub receive_pages: usize,
    /// Pages that frames are copied into before they are sent, where they have to be, before the pool's general part is asked.
    /// By default 4.
    pub transmit_pages: usize,
    /// Pages that the backend may refuse to give back. After one more the device is given up: else a backend could
    /// have all of the pool. By default 32.
    pub quarantine_limit: u64,
}

impl NetfrontConfig {
    /// The default configuration.
    pub const fn new() -> Self {
        Self {
            checksum_offload: true,
            segmentation_offload: true,
            receive_pages: RECEIVE_PAGES,
            transmit_pages: 4,
            quarantine_limit: 32,
        }
    }

    /// Whether frames may stand for several segments: their checksums are partial.
    pub(super) const fn segments(&self) -> bool {
        self.checksum_offload && self.segmentation_offload
    }

    /// Whether the backend is told that it may send such frames, to a device with so many pages of its own. A backend waits until
    /// the ring has room for a whole frame: for one of which it never has, it would wait for ever.
    pub(super) const fn takes_segments(&self, receive_pages: usize) -> bool {
        self.segments() && receive_pages / 2 >= XEN_NETIF_NR_SLOTS_MIN
    }
}

impl Default for NetfrontConfig {
    fn default() -> Self {
        Self::new()
    }
}

/// Room for what a device has with its backend: `RECEIVE` pages to receive into, and `TRANSMIT` pieces of frames that are
/// sent. At most 256 each, as many as a ring has slots.
///
/// `RECEIVE` pages of the pool are the device's own. Half of them is what can be received and not yet dropped or kept; the
/// others stay posted. `TRANSMIT` is at least 19, for the largest frame.
pub struct NetfrontStorage<
    const RECEIVE: usize = RECEIVE_PAGES,
    const TRANSMIT: usize = TRANSMIT_SLOTS,
> {
    posted: [Option<PostedPage>; RECEIVE],
    slots: [TransmitSlot; TRANSMIT],
}

impl<const RECEIVE: usize, const TRANSMIT: usize> NetfrontStorage<RECEIVE, TRANSMIT> {
    /// Empty room. Numbers out of bounds don't compile.
    pub const fn new() -> Self {
        const {
            assert!(2 <= RECEIVE && RECEIVE <= MAXIMUM_SLOTS);
            assert!(SLOTS_A_FRAME <= TRANSMIT && TRANSMIT <= MAXIMUM_SLOTS);
        }
        Self {
            posted: [const { None }; RECEIVE],
            slots: [const { TransmitSlot::FREE }; TRANSMIT],
        }
    }

    pub(super) fn parts(&mut self) -> (&mut [Option<PostedPage>], &mut [TransmitSlot]) {
        (&mut self.posted, &mut self.slots)
    }
}

impl<const RECEIVE: usize, const TRANSMIT: usize> Default for NetfrontStorage<RECEIVE, TRANSMIT> {
    fn default() -> Self {
        Self::new()
    }
}

impl<const RECEIVE: usize, const TRANSMIT: usize> fmt::Debug
    for NetfrontStorage<RECEIVE, TRANSMIT>
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NetfrontStorage").finish_non_exhaustive()
    }
}

/// Why a device can't be made. Always the caller's configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum NetfrontError {
    /// The pool has too few pages, or no place for another reserve.
    Pool(PoolError),
    /// The general part of the pool has no page for the rings.
    NoRingPage,
    /// A page of the pool can't be a ring's.
    RingPage(RingPageError),
    /// The pool's pages can't be granted.
    Grant(GrantError),
}

impl From<PoolError> for NetfrontError {
    fn from(error: PoolError) -> Self {
        Self::Pool(error)
    }
}

impl From<RingPageError> for NetfrontError {
    fn from(error: RingPageError) -> Self {
        Self::RingPage(error)
    }
}

impl From<GrantError> for NetfrontError {
    fn from(error: GrantError) -> Self {
        Self::Grant(error)
    }
}

impl fmt::Display for NetfrontError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pool(error) => error.fmt(f),
            Self::NoRingPage => f.write_str("the pool has no page for the device's rings"),
            Self::RingPage(error) => error.fmt(f),
            Self::Grant(error) => error.fmt(f),
        }
    }
}

impl core::error::Error for NetfrontError {}
