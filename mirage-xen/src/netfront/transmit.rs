//! The transmit ring: frames that the backend is given, until it has answered.

mod counters;
mod slots;
#[cfg(test)]
mod tests;
mod wishes;

use core::fmt;

use heapless::Vec;
use mirage_core::pool::{BlockId, Reserve};
use mirage_core::{Frame, Page, Segment, TransmitReason};

use super::chain::{Shape, pieces};
use super::keys::BackendFeatures;
use super::pages::Pages;
use crate::abi::PAGE_SIZE;
use crate::abi::netif::{
    NETIF_RSP_DROPPED, NETIF_RSP_NULL, NETIF_RSP_OKAY, TransmitFlags, TransmitRequest,
    TransmitResponse, XEN_NETIF_NR_SLOTS_MIN,
};
use crate::ring::{FrontRing, RingError, RingPage};

pub use counters::TransmitCounters;
pub(super) use slots::TransmitSlot;
pub(super) use wishes::Limits;

use slots::{Age, Bytes, InFlight, Slots};
use wishes::Wishes;

/// The most requests that can be in flight: as many as the ring has slots.
pub(super) const MAXIMUM_SLOTS: usize = 256;
const _: () = assert!(TransmitRing::SIZE as usize == MAXIMUM_SLOTS);

pub(super) type TransmitRing = FrontRing<TransmitRequest, TransmitResponse>;

/// Slots that there have to be free for any frame: its pieces, and its extra information.
pub(super) const SLOTS_A_FRAME: usize = XEN_NETIF_NR_SLOTS_MIN + 1;
/// Responses to requests that were never made, or answered before, that a connection outlives: each stands in the place of
/// one that will never come.
const MISSING_RESPONSES_TOLERATED: u32 = 16;
/// Answered pages that may lie in the ring while nothing else happens. An event for each would wake the domain twice as often.
const LAZY_RESPONSES: u32 = 16;

/// The transmit half of a device.
///
/// Identifiers of requests are the numbers of places in `slots`. A place is free again, and its page ended, with the
/// response that names it. What is in flight when the other end goes is sent again to the next, in order.
pub(super) struct Transmitter {
    ring: TransmitRing,
    reserve: Reserve,
    slots: Slots,
    /// The places of the frame that is being queued.
    staged: Vec<u16, XEN_NETIF_NR_SLOTS_MIN>,
    /// Of the next frame.
    sequence: u32,
    /// Slots with extra information that were not answered.
    extras: u32,
    /// Responses that named no request.
    missing: u32,
    unpublished: bool,
    pub(super) counters: TransmitCounters,
}

/// Why the other end can't be gone on with. Its fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TransmitFault {
    /// An index that can't be.
    Ring,
    /// Too many requests will never be answered.
    Missing,
}

impl From<RingError> for TransmitFault {
    fn from(_: RingError) -> Self {
        Self::Ring
    }
}

impl Transmitter {
    /// A ring in `page`, of which nothing is known to a backend yet. Frames are copied, where they have to be, into pages of
    /// `reserve`.
    pub(super) fn new(
        page: RingPage,
        reserve: Reserve,
        slots: &'static mut [TransmitSlot],
    ) -> Self {
        Self {
            ring: FrontRing::new(page),
            reserve,
            slots: Slots::new(slots),
            staged: Vec::new(),
            sequence: 0,
            extras: 0,
            missing: 0,
            unpublished: false,
            counters: TransmitCounters::default(),
        }
    }

    /// The block that the ring is in.
    pub(super) fn block(&self) -> Option<BlockId> {
        self.ring.page().block()
    }

    /// Requests that were not answered.
    pub(super) fn in_flight(&self) -> usize {
        self.slots.used()
    }

    /// Whether there is room for any frame.
    pub(super) fn has_room(&self) -> bool {
        self.ring.free() as usize >= SLOTS_A_FRAME && self.slots.free() >= SLOTS_A_FRAME
    }

    /// Queues a frame; on success it is empty.
    ///
    /// # Errors
    ///
    /// Why not. The frame is as it was, but for its segments, which may be frozen.
    pub(super) fn transmit(
        &mut self,
        frame: &mut Frame,
        pages: &impl Pages,
        limits: &Limits,
    ) -> Result<(), TransmitReason> {
        let queued = self.queue(frame, pages, limits);
        match queued {
            Ok(()) => *frame = Frame::new(),
            Err(TransmitReason::Full) => self.counters.refused_full += 1,
            Err(_) => self.counters.refused += 1,
        }
        queued
    }

    // Apart from its caller: see "What an image weighs" in CONTRIBUTING.md.
    #[inline(never)]
    fn queue(
        &mut self,
        frame: &mut Frame,
        pages: &impl Pages,
        limits: &Limits,
    ) -> Result<(), TransmitReason> {
        let length = frame.len();
        let wishes = Wishes::of(frame, length, limits)?;
        frame.freeze();
        let shape = Shape::of(frame);
        let direct = wishes.checksum.is_none() && shape.fits(limits.features.scatter_gather);
        if direct {
            self.check_room(shape.slots, &wishes)?;
        }
        if !(direct && self.stage(frame, pages)) {
            self.stage_copy(frame, length, pages, limits, &wishes)?;
            self.counters.coalesced += 1;
        }
        self.counters.frames += 1;
        self.counters.bytes += length as u64;
        self.counters.completed += u64::from(wishes.checksum.is_some());
        // At most `XEN_NETIF_MAX_TX_SIZE`.
        self.commit(length as u16, &wishes);
        Ok(())
    }

    /// Shows the backend what was queued, if anything was. Whether it has to be notified.
    #[must_use = "the backend may wait for requests"]
    pub(super) fn publish(&mut self) -> bool {
        core::mem::take(&mut self.unpublished) && self.ring.publish()
    }

    /// Takes the responses that are there; their pages return.
    ///
    /// # Errors
    ///
    /// The backend's: it broke the protocol so that the ring is of no use any more.
    pub(super) fn reap(&mut self) -> Result<(), TransmitFault> {
        while let Some(response) = self.ring.take_response()? {
            self.answered(response);
        }
        if self.missing > MISSING_RESPONSES_TOLERATED {
            return Err(TransmitFault::Missing);
        }
        Ok(())
    }

    /// Asks for an event when a slot becomes free. `true`: one is.
    #[must_use = "nobody notifies of what came before the check"]
    pub(super) fn final_check(&mut self) -> bool {
        self.ring.final_check()
    }

    /// Asks for an event when so much was answered that it is worth looking; `scarce`: pages are. `true`: it is now.
    #[must_use = "nobody notifies of what came before the check"]
    pub(super) fn lazy_check(&mut self, scarce: bool) -> bool {
        self.ring.hold_off(if scarce { 1 } else { LAZY_RESPONSES })
    }

    /// Makes the ring anew for another backend, or for the same one that begins anew, and queues again what was in flight.
    // Apart from its caller: see "What an image weighs" in CONTRIBUTING.md.
    #[inline(never)]
    pub(super) fn connect(&mut self, features: BackendFeatures) {
        self.ring.reset();
        self.extras = 0;
        self.missing = 0;
        self.unpublished = false;
        let pieces = self.slots.by_age(self.sequence);
        for frame in pieces.chunk_by(|(a, _), (b, _)| a.frame == b.frame) {
            let Some((_, id)) = frame.first() else {
                continue;
            };
            let first = self.slots.get_mut(*id);
            let (whole, covered) = first.map_or((false, false), |first| {
                let whole = usize::from(first.pieces) == frame.len();
                (whole, features.cover(first.needs))
            });
            if whole && covered && self.requeue(frame) {
                self.counters.replayed += 1;
                continue;
            }
            // Of a frame that the backend has taken in part it has seen the rest, too.
            let counter = if whole {
                &mut self.counters.dropped_replay
            } else {
                &mut self.counters.partly_answered
            };
            *counter += 1;
            for (_, id) in frame {
                self.release(*id);
            }
        }
    }

    /// Whether there is room for a frame of so many pieces.
    fn check_room(&self, pieces: usize, wishes: &Wishes) -> Result<(), TransmitReason> {
        let slots = pieces + usize::from(wishes.extra.is_some());
        if self.ring.free() as usize >= slots && self.slots.free() >= pieces {
            Ok(())
        } else {
            Err(TransmitReason::Full)
        }
    }

    /// Lends the frame's pieces from where they lie. `false`, and nothing is lent: one can't be.
    fn stage(&mut self, frame: &Frame, pages: &impl Pages) -> bool {
        for segment in frame.segments() {
            for (offset, length) in pieces(segment) {
                let lent = match segment {
                    Segment::Frozen(page) => lend(page, offset, pages),
                    Segment::Static(slice) => pages
                        .static_reference(slice, offset)
                        .map(|(reference, offset)| (reference.0, offset, Bytes::Static)),
                    Segment::Unique(_) => None,
                };
                if !lent.is_some_and(|lent| self.put(lent, length)) {
                    self.unstage();
                    return false;
                }
            }
        }
        true
    }

    /// Copies the frame into pages of our own, and lends those.
    fn stage_copy(
        &mut self,
        frame: &Frame,
        length: usize,
        pages: &impl Pages,
        limits: &Limits,
        wishes: &Wishes,
    ) -> Result<(), TransmitReason> {
        let count = length.div_ceil(PAGE_SIZE);
        if count > 1 && !limits.features.scatter_gather {
            return Err(TransmitReason::Unsupported);
        }
        self.check_room(count, wishes)?;
        for index in 0..count {
            let from = index * PAGE_SIZE;
            let length = PAGE_SIZE.min(length - from);
            let page = self.copy(frame, from, length, wishes.checksum);
            let lent = page.and_then(|page| lend(&page, 0, pages));
            if !lent.is_some_and(|lent| self.put(lent, length)) {
                self.unstage();
                return Err(TransmitReason::Full);
            }
        }
        Ok(())
    }

    /// A page with a part of the frame, and with what of the checksum lies in it.
    fn copy(
        &self,
        frame: &Frame,
        from: usize,
        length: usize,
        checksum: Option<(usize, [u8; 2])>,
    ) -> Option<Page> {
        // The reserve is there so that what frees pages can always be sent; larger loads take others.
        let page = self.reserve.alloc();
        let mut page = page.or_else(|| self.reserve.pool().alloc())?;
        let room = page.append(length)?;
        frame.copy_to_slice(from, room);
        if let Some((at, checksum)) = checksum {
            for (at, byte) in (at..).zip(checksum) {
                if let Some(place) = at.checked_sub(from).and_then(|at| room.get_mut(at)) {
                    *place = byte;
                }
            }
        }
        Some(page.freeze())
    }

    /// A place for a piece of the frame that is being queued.
    fn put(&mut self, (reference, offset, bytes): (u32, u16, Bytes), length: usize) -> bool {
        let request = TransmitRequest {
            reference,
            offset,
            flags: 0,
            id: 0,
            // Of a piece: at most a page.
            size: length as u16,
        };
        let piece = InFlight {
            request,
            bytes,
            frame: self.sequence,
            index: self.staged.len() as u8,
            pieces: 0,
            extra: None,
            needs: BackendFeatures::default(),
        };
        match self.slots.put(piece) {
            Ok(id) => {
                // As many as a frame may have pieces, by its shape or its length.
                self.staged.push(id).is_ok()
            }
            Err(piece) => {
                end(piece.bytes, &mut self.counters);
                false
            }
        }
    }

    fn unstage(&mut self) {
        while let Some(id) = self.staged.pop() {
            self.release(id);
        }
    }

    /// Queues the pieces that are staged.
    fn commit(&mut self, length: u16, wishes: &Wishes) {
        let staged = core::mem::take(&mut self.staged);
        self.sequence = self.sequence.wrapping_add(1);
        self.counters.slots += staged.len() as u64 + u64::from(wishes.extra.is_some());
        self.counters.partial += u64::from(wishes.flags.contains(TransmitFlags::CSUM_BLANK));
        self.counters.segmented += u64::from(wishes.extra.is_some());
        for (index, id) in staged.iter().enumerate() {
            let Some(piece) = self.slots.get_mut(*id) else {
                continue;
            };
            let mut flags = TransmitFlags::empty();
            if index == 0 {
                flags = wishes.flags;
                piece.request.size = length;
                piece.pieces = staged.len() as u8;
                piece.extra = wishes.extra;
                piece.needs = wishes.needs;
                piece.needs.scatter_gather = staged.len() > 1;
            }
            flags.set(TransmitFlags::MORE_DATA, index + 1 < staged.len());
            piece.request.flags = flags.bits();
        }
        for id in staged {
            self.push(id);
        }
    }

    /// Queues what was in flight again. `false`: the ring has no room for it.
    fn requeue(&mut self, chain: &[(Age, u16)]) -> bool {
        let extra = chain
            .first()
            .and_then(|(_, id)| self.slots.get_mut(*id)?.extra);
        if (self.ring.free() as usize) < chain.len() + usize::from(extra.is_some()) {
            return false;
        }
        for (_, id) in chain {
            self.push(*id);
        }
        true
    }

    /// Puts a piece on the ring, and the extra information behind a first one. There is room.
    fn push(&mut self, id: u16) {
        let Some(piece) = self.slots.get_mut(id) else {
            return;
        };
        let pushed = self.ring.push(piece.request).is_ok();
        debug_assert!(pushed, "room was looked for before");
        if let Some(extra) = piece.extra {
            let slot = extra.encode(false).into_request();
            self.extras += u32::from(self.ring.push(slot).is_ok());
        }
        self.unpublished = true;
    }

    fn answered(&mut self, response: TransmitResponse) {
        let TransmitResponse { id, status } = response;
        if status == NETIF_RSP_NULL {
            match self.extras.checked_sub(1) {
                Some(extras) => self.extras = extras,
                None => self.bad_response(),
            }
            return;
        }
        let Some(piece) = self.slots.take(id) else {
            return self.bad_response();
        };
        if piece.pieces > 0 {
            match status {
                NETIF_RSP_OKAY => {}
                NETIF_RSP_DROPPED => self.counters.backend_dropped += 1,
                _ => self.counters.backend_errors += 1,
            }
        }
        end(piece.bytes, &mut self.counters);
    }

    fn bad_response(&mut self) {
        self.counters.bad_responses += 1;
        self.missing = self.missing.saturating_add(1);
    }

    /// Forgets a piece that is in no ring.
    fn release(&mut self, id: u16) {
        if let Some(piece) = self.slots.take(id) {
            end(piece.bytes, &mut self.counters);
        }
    }
}

/// Lends a page: what the backend is told of its byte at `offset`, and what keeps it lent.
fn lend(page: &Page, offset: usize, pages: &impl Pages) -> Option<(u32, u16, Bytes)> {
    let reference = pages.reference(page.block())?;
    let offset = u16::try_from(page.offset() + offset).ok()?;
    // Refused where a writable handle of the block exists besides: its bytes can't be shown to anybody.
    let lent = page.lend(pages.lender()).ok()?;
    Some((reference.0, offset, Bytes::Page(lent)))
}

fn end(bytes: Bytes, counters: &mut TransmitCounters) {
    if let Bytes::Page(lent) = bytes
        && let Err(lent) = lent.end()
    {
        lent.quarantine();
        counters.quarantined += 1;
    }
}

impl fmt::Debug for Transmitter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Transmitter")
            .field("ring", &self.ring)
            .field("slots", &self.slots)
            .field("extras", &self.extras)
            .field("missing", &self.missing)
            .field("counters", &self.counters)
            .finish_non_exhaustive()
    }
}
