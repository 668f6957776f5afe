//! Network interfaces.

use core::fmt;
use core::task::{Context, Poll};

use bitflags::bitflags;

use crate::frame::Frame;
use crate::mac::MacAddress;

/// A network interface that moves Ethernet frames, in pages of the I/O pool.
///
/// Received frames come in pages that are charged to the interface's receive reserve; whoever holds on to one calls
/// [`Frame::keep`]. Frames to transmit are given with their pages, which return when the device is done with them.
///
/// The methods don't block. The two `poll_*` methods keep the waker of their last call until there is news; each has its
/// own. A receiver takes a bounded number of frames a turn, so that a flood doesn't keep timers from running.
///
/// The trait is object-safe.
pub trait Netif {
    /// The interface's address.
    fn mac(&self) -> MacAddress;

    /// The most bytes of an IP packet that a frame carries: without the Ethernet header. 1,500 on Ethernet. A frame with
    /// [`FrameMetadata::segmentation`](crate::FrameMetadata::segmentation) may be longer.
    fn mtu(&self) -> u16;

    /// What the device does for the stack, as negotiated.
    fn offloads(&self) -> Offloads;

    /// Whether the link is up. Frames are not transmitted while it is down.
    fn link_up(&self) -> bool;

    /// The next received frame. Pending: wakes when there may be one.
    ///
    /// # Errors
    ///
    /// [`NetifError::Gone`] is final. After others the interface may be polled again; an error is reported once.
    fn poll_receive(&mut self, cx: &mut Context<'_>) -> Poll<Result<Frame, NetifError>>;

    /// Ready when there is room for one more frame to transmit. Pending: wakes when there may be.
    ///
    /// # Errors
    ///
    /// As [`poll_receive`](Self::poll_receive).
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), NetifError>>;

    /// Queues a frame to be transmitted; it may stay with the interface until [`flush`](Self::flush).
    ///
    /// # Errors
    ///
    /// Why not, with the frame.
    fn transmit(&mut self, frame: Frame) -> Result<(), TransmitError>;

    /// Tells the device of all that was queued: one notification for a batch.
    ///
    /// # Errors
    ///
    /// As [`poll_receive`](Self::poll_receive).
    fn flush(&mut self) -> Result<(), NetifError>;
}

impl<N: Netif + ?Sized> Netif for &mut N {
    fn mac(&self) -> MacAddress {
        (**self).mac()
    }

    fn mtu(&self) -> u16 {
        (**self).mtu()
    }

    fn offloads(&self) -> Offloads {
        (**self).offloads()
    }

    fn link_up(&self) -> bool {
        (**self).link_up()
    }

    fn poll_receive(&mut self, cx: &mut Context<'_>) -> Poll<Result<Frame, NetifError>> {
        (**self).poll_receive(cx)
    }

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), NetifError>> {
        (**self).poll_ready(cx)
    }

    fn transmit(&mut self, frame: Frame) -> Result<(), TransmitError> {
        (**self).transmit(frame)
    }

    fn flush(&mut self) -> Result<(), NetifError> {
        (**self).flush()
    }
}

bitflags! {
    /// What a device does for the stack. On receive a flag says what metadata frames may come with, on transmit what
    /// they may ask for.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
    pub struct OffloadFlags: u32 {
        /// Received: TCP and UDP checksums may be [`Verified`](crate::Checksum::Verified).
        const RECEIVE_VERIFIED = 1 << 0;
        /// Received: TCP and UDP checksums may be [`Partial`](crate::Checksum::Partial).
        const RECEIVE_PARTIAL = 1 << 1;
        /// Received: frames may stand for several segments of TCP over IPv4.
        const RECEIVE_SEGMENTED_V4 = 1 << 2;
        /// Received: frames may stand for several segments of TCP over IPv6.
        const RECEIVE_SEGMENTED_V6 = 1 << 3;
        /// Transmitted: [`Partial`](crate::Checksum::Partial) checksums over IPv4 are completed.
        const TRANSMIT_PARTIAL_V4 = 1 << 8;
        /// Transmitted: [`Partial`](crate::Checksum::Partial) checksums over IPv6 are completed.
        const TRANSMIT_PARTIAL_V6 = 1 << 9;
        /// Transmitted: TCP over IPv4 is cut into segments. Implies `TRANSMIT_PARTIAL_V4`.
        const TRANSMIT_SEGMENTED_V4 = 1 << 10;
        /// Transmitted: TCP over IPv6 is cut into segments. Implies `TRANSMIT_PARTIAL_V6`.
        const TRANSMIT_SEGMENTED_V6 = 1 << 11;
    }
}

/// What a device does for the stack, and how many pieces a frame may be in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Offloads {
    /// What it does.
    pub flags: OffloadFlags,
    /// The most segments that a frame to transmit may have: 1 to [`Frame::MAX_SEGMENTS`].
    pub fragments: u8,
}

impl Offloads {
    /// A device that does nothing for the stack and takes frames in one piece.
    pub const NONE: Self = Self {
        flags: OffloadFlags::empty(),
        fragments: 1,
    };
}

impl Default for Offloads {
    fn default() -> Self {
        Self::NONE
    }
}

/// What is wrong with an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum NetifError {
    /// The link is down; it may come up again.
    LinkDown,
    /// The device was taken away, for good.
    Gone,
    /// The device's fault: it broke its protocol, or reported an error of its own.
    DeviceFault,
    /// The operating system's answer, by its error number.
    Os(i32),
}

impl fmt::Display for NetifError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::LinkDown => f.write_str("link is down"),
            Self::Gone => f.write_str("device is gone"),
            Self::DeviceFault => f.write_str("device broke its protocol"),
            Self::Os(number) => write!(f, "operating system error {number}"),
        }
    }
}

impl core::error::Error for NetifError {}

/// A frame that was not transmitted, and why.
#[derive(Debug)]
pub struct TransmitError {
    /// The frame, as it was given.
    pub frame: Frame,
    /// Why.
    pub reason: TransmitReason,
}

impl fmt::Display for TransmitError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.reason.fmt(f)
    }
}

impl core::error::Error for TransmitError {}

/// Why a frame was not transmitted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum TransmitReason {
    /// The device's queue is full: [`Netif::poll_ready`] says when to try again.
    Full,
    /// The caller's: shorter than an Ethernet header.
    TooShort,
    /// The caller's: longer than the MTU and an Ethernet header with one VLAN tag.
    TooLong,
    /// The caller's: more segments than [`Offloads::fragments`].
    TooManySegments,
    /// The caller's: the metadata ask for what the device doesn't do.
    Unsupported,
    /// The interface's.
    Netif(NetifError),
}

impl fmt::Display for TransmitReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Full => f.write_str("transmit queue is full"),
            Self::TooShort => f.write_str("frame is shorter than its header"),
            Self::TooLong => f.write_str("frame is longer than the MTU"),
            Self::TooManySegments => f.write_str("frame has more segments than the device takes"),
            Self::Unsupported => {
                f.write_str("frame asks for an offload that the device does not have")
            }
            Self::Netif(error) => error.fmt(f),
        }
    }
}

impl From<NetifError> for TransmitReason {
    fn from(error: NetifError) -> Self {
        Self::Netif(error)
    }
}
