//! The front end of a ring.

use core::fmt;
use core::marker::PhantomData;
use core::sync::atomic::{Ordering, fence};

use zerocopy::{FromBytes, Immutable, IntoBytes};

use super::{RingError, RingPage, check, passes, ring_size, slot_size};

/// The end of a ring that makes it, pushes requests and takes responses.
pub struct FrontRing<Request, Response> {
    page: RingPage,
    /// Requests pushed (`req_prod_pvt`).
    request_producer: u32,
    /// Of these, the ones that the other end was shown: what `req_prod` in the page was set to.
    published: u32,
    /// Responses taken (`rsp_cons`).
    response_consumer: u32,
    /// The other end's producer when it was last looked at: from the consumer up to it there are responses.
    response_producer: u32,
    types: PhantomData<fn(Request) -> Response>,
}

impl<Request, Response> FrontRing<Request, Response>
where
    Request: IntoBytes + Immutable + Copy,
    Response: FromBytes + Copy,
{
    /// Slots of the ring: a power of two.
    pub const SIZE: u32 = ring_size::<Request, Response>();
    const SLOT_SIZE: usize = slot_size::<Request, Response>();

    /// Makes the page an empty ring (`XEN_FRONT_RING_INIT`). The other end is told of it afterwards.
    pub fn new(page: RingPage) -> Self {
        Self::new_at(page, 0)
    }

    /// As [`new`](Self::new), with all indices at `start`, for tests of what happens when they wrap. A back end that doesn't
    /// look where the ring begins takes it to be at zero.
    pub fn new_at(mut page: RingPage, start: u32) -> Self {
        page.initialise(start);
        Self {
            page,
            request_producer: start,
            published: start,
            response_consumer: start,
            response_producer: start,
            types: PhantomData,
        }
    }

    /// Makes it an empty ring again, in the same page, for another back end. What was in flight is forgotten.
    pub fn reset(&mut self) {
        self.page.initialise(0);
        self.request_producer = 0;
        self.published = 0;
        self.response_consumer = 0;
        self.response_producer = 0;
    }

    /// The page.
    pub fn page(&self) -> &RingPage {
        &self.page
    }

    /// The page, which is no ring any more.
    pub fn into_page(self) -> RingPage {
        self.page
    }

    /// Requests that can be pushed (`RING_FREE_REQUESTS`).
    pub fn free(&self) -> u32 {
        Self::SIZE - self.in_flight()
    }

    /// Requests pushed whose responses were not taken yet, at most [`SIZE`](Self::SIZE).
    pub fn in_flight(&self) -> u32 {
        self.request_producer.wrapping_sub(self.response_consumer)
    }

    /// Puts a request into the next slot, whose number it gives. The other end sees it with the next
    /// [`publish`](Self::publish).
    ///
    /// # Errors
    ///
    /// [`RingFull`]: no slot is free.
    pub fn push(&mut self, request: Request) -> Result<u32, RingFull> {
        if self.free() == 0 {
            return Err(RingFull);
        }
        let slot = self.request_producer & (Self::SIZE - 1);
        self.page.write(slot, Self::SLOT_SIZE, request);
        self.request_producer = self.request_producer.wrapping_add(1);
        Ok(slot)
    }

    /// Shows the other end what was pushed (`RING_PUSH_REQUESTS_AND_CHECK_NOTIFY`). Whether it has to be notified.
    #[must_use = "the other end may wait for the notification"]
    pub fn publish(&mut self) -> bool {
        let (old, new) = (self.published, self.request_producer);
        self.published = new;
        let indices = self.page.indices();
        // Release (`xen_wmb`): who sees the index sees the requests.
        indices.request_producer.store(new, Ordering::Release);
        // `xen_mb`: either the other end sees the index in its final check, or we see that it wants to be woken.
        fence(Ordering::SeqCst);
        passes(indices.request_event.load(Ordering::Relaxed), old, new)
    }

    /// Copies the next response out. `None` when there is none now.
    ///
    /// # Errors
    ///
    /// [`RingError`]: the other end claims more responses than there are requests that it was shown.
    pub fn take_response(&mut self) -> Result<Option<Response>, RingError> {
        if self.response_consumer == self.response_producer {
            self.look()?;
            if self.response_consumer == self.response_producer {
                return Ok(None);
            }
        }
        let slot = self.response_consumer & (Self::SIZE - 1);
        let response = self.page.read(slot, Self::SLOT_SIZE);
        self.response_consumer = self.response_consumer.wrapping_add(1);
        Ok(Some(response))
    }

    /// Responses that can be taken now (`XEN_RING_NR_UNCONSUMED_RESPONSES`).
    ///
    /// # Errors
    ///
    /// As of [`take_response`](Self::take_response).
    #[inline(always)]
    pub fn unconsumed(&mut self) -> Result<u32, RingError> {
        self.look()?;
        Ok(self.response_producer.wrapping_sub(self.response_consumer))
    }

    /// Asks the other end for a notification of its next response, then looks once more
    /// (`RING_FINAL_CHECK_FOR_RESPONSES`). `true`: there is something to take (or an error to hear of), so it's no time to
    /// sleep yet.
    #[must_use = "nobody notifies of what came before the check"]
    pub fn final_check(&mut self) -> bool {
        self.unconsumed() != Ok(0) || self.final_check_after(1)
    }

    /// As [`final_check`](Self::final_check), for the time when `responses` more have come (at least one, at most as many as
    /// are in flight): what comes before isn't reason enough to be woken. `true`: that many are there already.
    #[must_use = "nobody notifies of what came before the check"]
    pub fn final_check_after(&mut self, responses: u32) -> bool {
        let in_flight = self.published.wrapping_sub(self.response_consumer);
        self.hold_off(responses.min(in_flight))
    }

    /// Asks the other end for no notification before `responses` more have come (at least one), though fewer may be in
    /// flight: for who looks at the ring anyway when it has something to push, and waits for nothing. `true`: that many
    /// are there already.
    #[must_use = "nobody notifies of what came before the check"]
    pub fn hold_off(&mut self, responses: u32) -> bool {
        let responses = responses.max(1);
        let event = self.response_consumer.wrapping_add(responses);
        let indices = self.page.indices();
        indices.response_event.store(event, Ordering::Relaxed);
        // `xen_mb`: as in `publish`, seen from the other side.
        fence(Ordering::SeqCst);
        self.unconsumed().map_or(true, |count| count >= responses)
    }

    /// Looks how far the other end is.
    fn look(&mut self) -> Result<(), RingError> {
        // Acquire: the responses before the index are there. More than there are requests can't be.
        let producer = self
            .page
            .indices()
            .response_producer
            .load(Ordering::Acquire);
        let in_flight = self.published.wrapping_sub(self.response_consumer);
        self.response_producer = check(producer, self.response_consumer, in_flight)?;
        Ok(())
    }
}

impl<Request, Response> fmt::Debug for FrontRing<Request, Response> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FrontRing")
            .field("page", &self.page)
            .field("request_producer", &self.request_producer)
            .field("published", &self.published)
            .field("response_consumer", &self.response_consumer)
            .field("response_producer", &self.response_producer)
            .finish()
    }
}

/// No slot of the ring is free.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RingFull;

impl fmt::Display for RingFull {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the ring is full")
    }
}

impl core::error::Error for RingFull {}
