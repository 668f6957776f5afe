//! Received frames, put together from the receive ring's slots.

use mirage_core::{
    Checksum, Frame, FrameMetadata, OffloadFlags, PageMut, Segmentation, SegmentationKind,
};

use super::headers::{ETHERNET_HEADER, Family, Transport, VLAN_TAG};
use crate::abi::PAGE_SIZE;
use crate::abi::netif::{
    ExtraInfo, ExtraInfoSlot, ReceiveFlags, ReceiveResponse, SegmentationType,
    XEN_NETIF_EXTRA_TYPE_MAX,
};

/// What the stack takes: what it was offered, and so what the backend may send.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// Of an IP packet that no segmentation is said of.
    pub(super) mtu: u16,
    /// `RECEIVE_*`.
    pub(super) offloads: OffloadFlags,
}

/// Why a received frame was dropped. Counted, each apart: see [`NetfrontCounters`](super::NetfrontCounters).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// The backend's: an error in place of a length.
    Status,
    /// The backend's: another id than the slot's.
    Id,
    /// The backend's: bytes that aren't in the page.
    Bounds,
    /// The backend's: more pieces than a frame may have, or more extra information than there are types.
    TooManySlots,
    /// The backend's: it did not end its access to a page that it says it is done with.
    StillInUse,
    /// The backend's: longer than the MTU.
    TooLong,
    /// The backend's: shorter than an Ethernet header.
    TooShort,
    /// The backend's: a blank checksum, where headers have none, or nobody offered to take it.
    Checksum,
    /// The backend's: segmented, which nobody offered to take, or in a way that isn't known.
    Segmentation,
    /// Ours: no page to put in the received one's place.
    NoPage,
    /// Ours: the pool has no room for another long frame.
    NoChain,
}

/// What a slot of the ring has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Slot {
    /// Extra information; its page was not written.
    Extra,
    /// A piece of a frame.
    Data,
}

/// Where a piece lies in its page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Piece {
    offset: u16,
    length: u16,
}

impl Piece {
    /// What a response says, if that can be so. `id` is the slot's own: responses come in the order of the requests, or
    /// else nobody knows which requests extra information takes up (netif.h, "Guest receive").
    pub(super) fn check(response: ReceiveResponse, id: u16) -> Result<Self, Refusal> {
        if response.id != id {
            return Err(Refusal::Id);
        }
        let length = u16::try_from(response.status).map_err(|_| Refusal::Status)?;
        let offset = response.offset;
        if usize::from(offset) + usize::from(length) > PAGE_SIZE {
            return Err(Refusal::Bounds);
        }
        Ok(Self { offset, length })
    }

    /// Whether nothing is in it.
    pub(super) fn is_empty(self) -> bool {
        self.length == 0
    }

    /// The page's window of it.
    pub(super) fn cut(self, page: &mut PageMut) -> Result<(), Refusal> {
        let (offset, length) = (usize::from(self.offset), usize::from(self.length));
        let cut = page
            .set_len(offset + length)
            .and_then(|()| page.advance(offset));
        cut.map_err(|_| Refusal::Bounds)
    }
}

/// A frame in the making, and what the next slot is.
#[derive(Debug, Default)]
pub(super) struct Assembler {
    state: State,
    frame: Frame,
    refusal: Option<Refusal>,
    flags: ReceiveFlags,
    segmentation: Option<(u16, SegmentationType)>,
    extras: u8,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    /// A frame's first piece.
    #[default]
    First,
    /// Extra information; then, where there is more data, another piece.
    Extra,
    /// Another piece.
    More,
}

impl Assembler {
    /// What the next slot has.
    pub(super) fn next_slot(&self) -> Slot {
        match self.state {
            State::Extra => Slot::Extra,
            State::First | State::More => Slot::Data,
        }
    }

    /// Whether the frame in the making is dropped in any case: its pages need not be looked at.
    pub(super) fn is_refused(&self) -> bool {
        self.refusal.is_some()
    }

    /// Whether a frame is in the making.
    pub(super) fn is_idle(&self) -> bool {
        self.state == State::First
    }

    /// Forgets the frame in the making; its pages return.
    pub(super) fn reset(&mut self) {
        *self = Self::default();
    }

    /// A slot of data, with its page (`None`: nothing is in it that is wanted), or why the frame is dropped. A frame when it
    /// was the last of one.
    pub(super) fn data(
        &mut self,
        flags: u16,
        page: Result<Option<PageMut>, Refusal>,
        limits: &Limits,
    ) -> Option<Result<Frame, Refusal>> {
        let flags = ReceiveFlags::from_bits_truncate(flags);
        let first = self.state == State::First;
        if first {
            self.flags = flags;
        }
        match page {
            Ok(Some(page)) if !self.is_refused() => self.push(page),
            Ok(_) => {}
            Err(refusal) => self.refuse(refusal),
        }
        if first && flags.contains(ReceiveFlags::GSO_PREFIX) {
            self.refuse(Refusal::Segmentation);
        }
        // Only a frame's first piece has extra information behind it.
        if first && flags.contains(ReceiveFlags::EXTRA_INFO) {
            self.state = State::Extra;
            return None;
        }
        if flags.contains(ReceiveFlags::MORE_DATA) {
            self.state = State::More;
            return None;
        }
        Some(self.finish(limits))
    }

    /// A slot of extra information: whether it is of a type that we take, and a frame when it was the last of one.
    pub(super) fn extra(
        &mut self,
        slot: ExtraInfoSlot,
        limits: &Limits,
    ) -> (bool, Option<Result<Frame, Refusal>>) {
        let (info, more) = slot.decode();
        self.extras = self.extras.saturating_add(1);
        if self.extras >= XEN_NETIF_EXTRA_TYPE_MAX {
            self.refuse(Refusal::TooManySlots);
        }
        // The others are not for a receiver, or of what nobody asked for: they change nothing of the frame.
        let known = match info {
            ExtraInfo::Segmentation { size, kind, .. } => {
                self.segmentation = Some((size, kind));
                true
            }
            _ => false,
        };
        if more {
            return (known, None);
        }
        if self.flags.contains(ReceiveFlags::MORE_DATA) {
            self.state = State::More;
            return (known, None);
        }
        (known, Some(self.finish(limits)))
    }

    fn push(&mut self, page: PageMut) {
        let full = self.frame.segments().len() >= Frame::MAX_SEGMENTS;
        if self.frame.push(page).is_err() {
            self.refuse(if full {
                Refusal::TooManySlots
            } else {
                Refusal::NoChain
            });
        }
    }

    /// The first reason counts. The pages return at once.
    fn refuse(&mut self, refusal: Refusal) {
        self.refusal.get_or_insert(refusal);
        self.frame = Frame::new();
    }

    fn finish(&mut self, limits: &Limits) -> Result<Frame, Refusal> {
        let Self {
            mut frame,
            refusal,
            flags,
            segmentation,
            ..
        } = core::mem::take(self);
        if let Some(refusal) = refusal {
            return Err(refusal);
        }
        let length = frame.len();
        if length < ETHERNET_HEADER {
            return Err(Refusal::TooShort);
        }
        let segmentation = match segmentation {
            None | Some((_, SegmentationType::None)) => None,
            Some((size, kind)) => Some(check_segmentation(size, kind, limits.offloads)?),
        };
        if segmentation.is_none() && length > ETHERNET_HEADER + VLAN_TAG + usize::from(limits.mtu) {
            return Err(Refusal::TooLong);
        }
        frame.metadata = FrameMetadata {
            checksum: checksum(&frame, flags, limits.offloads)?,
            segmentation,
        };
        Ok(frame)
    }
}

fn check_segmentation(
    size: u16,
    kind: SegmentationType,
    offloads: OffloadFlags,
) -> Result<Segmentation, Refusal> {
    let (kind, offered) = match kind {
        SegmentationType::TcpV4 => (SegmentationKind::TcpV4, OffloadFlags::RECEIVE_SEGMENTED_V4),
        SegmentationType::TcpV6 => (SegmentationKind::TcpV6, OffloadFlags::RECEIVE_SEGMENTED_V6),
        SegmentationType::None | SegmentationType::Unknown(_) => {
            return Err(Refusal::Segmentation);
        }
    };
    if size == 0 || !offloads.contains(offered) {
        return Err(Refusal::Segmentation);
    }
    Ok(Segmentation {
        size,
        kind,
        header_len: 0,
    })
}

/// What the backend's flags say of the transport's checksum.
fn checksum(
    frame: &Frame,
    flags: ReceiveFlags,
    offloads: OffloadFlags,
) -> Result<Checksum, Refusal> {
    if flags.contains(ReceiveFlags::CSUM_BLANK) {
        if !offloads.contains(OffloadFlags::RECEIVE_PARTIAL) {
            return Err(Refusal::Checksum);
        }
        let transport = Transport::find(frame).ok_or(Refusal::Checksum)?;
        // No backend was told that it may leave IPv6's blank.
        if transport.family == Family::V6 {
            return Err(Refusal::Checksum);
        }
        return Ok(Checksum::Partial {
            start: transport.start,
            offset: transport.offset,
        });
    }
    let verified = flags.contains(ReceiveFlags::DATA_VALIDATED)
        && offloads.contains(OffloadFlags::RECEIVE_VERIFIED);
    Ok(if verified {
        Checksum::Verified
    } else {
        Checksum::Unverified
    })
}
