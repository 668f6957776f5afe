//! The receive ring: pages that are posted to the backend, and what it put into them.

#[cfg(test)]
mod tests;

use core::fmt;

use mirage_core::pool::{BlockId, LentMut, Reserve};
use mirage_core::{Checksum, Frame, PageMut};

use super::assembler::{Assembler, Limits, Piece, Refusal, Slot};
use super::pages::Pages;
use crate::abi::netif::{ExtraInfoSlot, ReceiveRequest, ReceiveResponse};
use crate::ring::{FrontRing, RingError, RingPage};

pub(super) type ReceiveRing = FrontRing<ReceiveRequest, ReceiveResponse>;

/// Slots that one call may take without a frame coming of them, before it lets others run.
const SLOT_BUDGET: u32 = 64;
/// Slots of the ring.
const SLOTS: u16 = ReceiveRing::SIZE as u16;
const _: () = assert!(ReceiveRing::SIZE == 256);

/// A page that the backend has, until the response to its request came.
#[derive(Debug)]
pub(super) struct PostedPage {
    lent: LentMut,
    /// The request's.
    id: u16,
}

/// The receive half of a device.
///
/// Responses come in the order of the requests, so the pages are a queue: the first in it is that of the next response. As
/// many as there are in the ring; what was posted stays posted when the other end goes, and is posted again to the next.
///
/// **It never stops posting.** A page goes up with its frame while another one of the reserve can take its place or half of
/// the reserve's pages are posted. Otherwise somebody holds them without [`keep`](Frame::keep): then the frame is
/// dropped, and its pages are posted again as they are.
pub(super) struct Receiver {
    ring: ReceiveRing,
    reserve: Reserve,
    /// A ring buffer: `length` pages from `first` on.
    posted: &'static mut [Option<PostedPage>],
    first: usize,
    length: usize,
    assembler: Assembler,
    /// Requests that the backend was not shown.
    unpublished: u32,
    /// The next request's: the number of its slot, as others' frontends have it.
    next_id: u16,
    pub(super) counters: ReceiveCounters,
}

/// What happened on the receive ring.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ReceiveCounters {
    /// Frames handed up.
    pub frames: u64,
    /// Bytes of them.
    pub bytes: u64,
    /// Of the frames, those whose checksum is [`Partial`](mirage_core::Checksum::Partial).
    pub partial: u64,
    /// Of the frames, those whose checksum is [`Verified`](mirage_core::Checksum::Verified).
    pub verified: u64,
    /// Of the frames, those that stand for several segments.
    pub segmented: u64,
    /// Frames dropped for the backend's errors in place of a length.
    pub dropped_status: u64,
    /// Frames dropped for a response with another id than its slot's: never asked for, or answered before.
    pub dropped_id: u64,
    /// Frames dropped for bytes that aren't in the page.
    pub dropped_bounds: u64,
    /// Frames dropped for too many pieces, or too much extra information.
    pub dropped_too_many_slots: u64,
    /// Frames dropped since the backend did not end its access to a page of theirs.
    pub dropped_still_in_use: u64,
    /// Frames dropped for being longer than the MTU and its headers.
    pub dropped_too_long: u64,
    /// Frames dropped for being shorter than an Ethernet header.
    pub dropped_too_short: u64,
    /// Frames dropped for a blank checksum that headers don't have, or that was not negotiated.
    pub dropped_checksum: u64,
    /// Frames dropped for a segmentation that was not negotiated, or isn't known.
    pub dropped_segmentation: u64,
    /// Frames dropped since half of the reserve's pages are with holders who did not keep them.
    pub dropped_no_page: u64,
    /// Frames dropped since the pool has no room for another long frame.
    pub dropped_no_chain: u64,
    /// Frames dropped since the backend went before all of them had come, and slots that nobody had looked at when it went.
    pub dropped_disconnected: u64,
    /// Slots with extra information of a type that isn't known or was not asked for: skipped.
    pub extra_skipped: u64,
    /// Pages put out of use for good, since the backend may still write them.
    pub quarantined: u64,
    /// Pages that could not be lent.
    pub lend_refused: u64,
    /// Requests, each a page.
    pub posted: u64,
}

impl ReceiveCounters {
    fn count(&mut self, frame: &Frame) {
        self.frames += 1;
        self.bytes += frame.len() as u64;
        match frame.metadata.checksum {
            Checksum::Partial { .. } => self.partial += 1,
            Checksum::Verified => self.verified += 1,
            Checksum::Unverified => {}
        }
        self.segmented += u64::from(frame.metadata.segmentation.is_some());
    }

    fn dropped(&mut self, refusal: Refusal) {
        let counter = match refusal {
            Refusal::Status => &mut self.dropped_status,
            Refusal::Id => &mut self.dropped_id,
            Refusal::Bounds => &mut self.dropped_bounds,
            Refusal::TooManySlots => &mut self.dropped_too_many_slots,
            Refusal::StillInUse => &mut self.dropped_still_in_use,
            Refusal::TooLong => &mut self.dropped_too_long,
            Refusal::TooShort => &mut self.dropped_too_short,
            Refusal::Checksum => &mut self.dropped_checksum,
            Refusal::Segmentation => &mut self.dropped_segmentation,
            Refusal::NoPage => &mut self.dropped_no_page,
            Refusal::NoChain => &mut self.dropped_no_chain,
        };
        *counter += 1;
    }
}

/// What a look at the ring gave.
#[derive(Debug)]
pub(super) enum Received {
    Frame(Frame),
    /// Nothing now.
    Nothing,
    /// Nothing yet, and the budget is spent: look again later.
    Enough,
}

impl Receiver {
    /// A ring in `page`, of which nothing is known to a backend yet. `posted` has room for all pages of the reserve; what is
    /// beyond the ring's size is not used.
    pub(super) fn new(
        page: RingPage,
        reserve: Reserve,
        posted: &'static mut [Option<PostedPage>],
    ) -> Self {
        Self {
            ring: FrontRing::new(page),
            reserve,
            posted,
            first: 0,
            length: 0,
            assembler: Assembler::default(),
            unpublished: 0,
            next_id: 0,
            counters: ReceiveCounters::default(),
        }
    }

    /// The block that the ring is in.
    pub(super) fn block(&self) -> Option<BlockId> {
        self.ring.page().block()
    }

    /// Pages that are posted.
    pub(super) fn posted(&self) -> usize {
        self.length
    }

    /// Pages of the reserve, wherever they are.
    pub(super) fn pages(&self) -> usize {
        self.reserve.free() + self.reserve.in_use()
    }

    /// Makes the ring anew for another backend, or for the same one that begins anew, and posts the pages that are posted
    /// again.
    pub(super) fn connect(&mut self, pages: &impl Pages) {
        self.assembler.reset();
        self.ring.reset();
        self.unpublished = 0;
        self.next_id = 0;
        // As many requests as there were in the ring before, so they fit. A page whose block has no reference was never lent.
        for _ in 0..self.length {
            if let Some(posted) = self.pop() {
                self.post(posted.lent, pages);
            }
        }
        self.refill(pages);
    }

    /// The backend is gone: what it did not finish is dropped, and what nobody has looked at.
    pub(super) fn disconnect(&mut self) {
        self.counters.dropped_disconnected += u64::from(!self.assembler.is_idle());
        self.counters.dropped_disconnected += u64::from(self.ring.unconsumed().unwrap_or(0));
        self.assembler.reset();
    }

    /// Posts what pages of the reserve are free.
    pub(super) fn refill(&mut self, pages: &impl Pages) {
        while self.length < self.posted.len() && self.ring.free() > 0 && self.reserve.free() > 0 {
            let Some(page) = self.reserve.alloc() else {
                return;
            };
            match page.lend(pages.lender()) {
                Ok(lent) => self.post(lent, pages),
                Err(_) => {
                    self.counters.lend_refused += 1;
                    return;
                }
            }
        }
    }

    /// The next frame.
    ///
    /// # Errors
    ///
    /// The backend's: an index that can't be. The ring is of no use any more.
    // Apart from its caller: see "What an image weighs" in CONTRIBUTING.md.
    #[inline(never)]
    pub(super) fn poll(
        &mut self,
        pages: &impl Pages,
        limits: &Limits,
    ) -> Result<Received, RingError> {
        for _ in 0..SLOT_BUDGET {
            let Some(response) = self.ring.take_response()? else {
                return Ok(Received::Nothing);
            };
            // The ring has as many requests as the queue has pages.
            let Some(posted) = self.pop() else {
                return Ok(Received::Nothing);
            };
            let done = match self.assembler.next_slot() {
                Slot::Extra => self.extra(response, posted, pages, limits),
                Slot::Data => self.data(response, posted, pages, limits),
            };
            match done {
                None => {}
                Some(Ok(frame)) => {
                    self.counters.count(&frame);
                    return Ok(Received::Frame(frame));
                }
                Some(Err(refusal)) => {
                    self.counters.dropped(refusal);
                    // Pages of pieces that came before have returned.
                    self.refill(pages);
                }
            }
        }
        Ok(Received::Enough)
    }

    /// Shows the backend the requests that it was not shown, if there are any. Whether it has to be notified.
    #[must_use = "the backend may wait for pages"]
    pub(super) fn publish(&mut self) -> bool {
        if self.unpublished == 0 {
            return false;
        }
        self.unpublished = 0;
        self.ring.publish()
    }

    /// Requests that the backend was not shown.
    pub(super) fn unpublished(&self) -> u32 {
        self.unpublished
    }

    /// Asks for an event when something comes. `true`: something is there.
    #[must_use = "nobody notifies of what came before the check"]
    pub(super) fn final_check(&mut self) -> bool {
        self.ring.final_check()
    }

    fn extra(
        &mut self,
        response: ReceiveResponse,
        posted: PostedPage,
        pages: &impl Pages,
        limits: &Limits,
    ) -> Option<Result<Frame, Refusal>> {
        // The slot took up a request whose page is as it was.
        self.post(posted.lent, pages);
        let slot = ExtraInfoSlot::from_response(response);
        let (known, done) = self.assembler.extra(slot, limits);
        self.counters.extra_skipped += u64::from(!known);
        done
    }

    fn data(
        &mut self,
        response: ReceiveResponse,
        posted: PostedPage,
        pages: &impl Pages,
        limits: &Limits,
    ) -> Option<Result<Frame, Refusal>> {
        let piece = Piece::check(response, posted.id).and_then(|piece| {
            if self.may_give() || self.assembler.is_refused() {
                Ok(piece)
            } else {
                Err(Refusal::NoPage)
            }
        });
        let page = match piece {
            Ok(piece) if !self.assembler.is_refused() && !piece.is_empty() => {
                self.take_back(posted.lent, piece)
            }
            // Nothing in it is wanted.
            Ok(_) => {
                self.post(posted.lent, pages);
                Ok(None)
            }
            Err(refusal) => {
                self.post(posted.lent, pages);
                Err(refusal)
            }
        };
        self.assembler.data(response.flags, page, limits)
    }

    /// The page with what the backend put into it: only after its access has ended.
    fn take_back(&mut self, lent: LentMut, piece: Piece) -> Result<Option<PageMut>, Refusal> {
        match lent.reclaim() {
            Ok(mut page) => {
                piece.cut(&mut page)?;
                Ok(Some(page))
            }
            Err(lent) => {
                lent.quarantine();
                self.counters.quarantined += 1;
                Err(Refusal::StillInUse)
            }
        }
    }

    /// Whether a page may go up.
    fn may_give(&self) -> bool {
        self.reserve.free() > 0 || self.length >= self.pages() / 2
    }

    fn post(&mut self, lent: LentMut, pages: &impl Pages) {
        let reference = pages.reference(lent.block());
        let end = self.first + self.length;
        let place = end.checked_rem(self.posted.len());
        let place = place.and_then(|place| self.posted.get_mut(place));
        // All of these are there: what the lender has lent has a reference, and a page is posted where one was taken out or
        // there was room for one.
        let (Some(reference), Some(place)) = (reference, place) else {
            return withdraw(lent, &mut self.counters);
        };
        let request = ReceiveRequest {
            id: self.next_id,
            padding: 0,
            reference: reference.0,
        };
        if self.ring.push(request).is_err() {
            return withdraw(lent, &mut self.counters);
        }
        let id = self.next_id;
        *place = Some(PostedPage { lent, id });
        self.length += 1;
        self.next_id = (id + 1) % SLOTS;
        self.unpublished += 1;
        self.counters.posted += 1;
    }

    fn pop(&mut self) -> Option<PostedPage> {
        let posted = self.posted.get_mut(self.first)?.take()?;
        self.first = (self.first + 1) % self.posted.len();
        self.length -= 1;
        Some(posted)
    }
}

impl fmt::Debug for Receiver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Receiver")
            .field("ring", &self.ring)
            .field("reserve", &self.reserve)
            .field("posted", &self.length)
            .field("assembler", &self.assembler)
            .field("counters", &self.counters)
            .finish_non_exhaustive()
    }
}

/// Takes a page back that can't be posted.
fn withdraw(lent: LentMut, counters: &mut ReceiveCounters) {
    if let Err(lent) = lent.reclaim() {
        lent.quarantine();
        counters.quarantined += 1;
    }
}
