//! The back end of a ring.

use core::fmt;
use core::marker::PhantomData;
use core::sync::atomic::{Ordering, fence};

use zerocopy::{FromBytes, Immutable, IntoBytes};

use super::{RingError, RingPage, check, passes, ring_size, slot_size};

/// The end of a ring that takes requests and pushes responses. It doesn't make the ring: the front does, once.
pub struct BackRing<Request, Response> {
    page: RingPage,
    /// Responses pushed (`rsp_prod_pvt`).
    response_producer: u32,
    /// Of these, the ones that the other end was shown: what `rsp_prod` in the page was set to.
    published: u32,
    /// Requests taken (`req_cons`).
    request_consumer: u32,
    /// The other end's producer when it was last looked at: from the consumer up to it there are requests.
    request_producer: u32,
    types: PhantomData<fn(Response) -> Request>,
}

impl<Request, Response> BackRing<Request, Response>
where
    Request: FromBytes + Copy,
    Response: IntoBytes + Immutable + Copy,
{
    /// Slots of the ring: a power of two.
    pub const SIZE: u32 = ring_size::<Request, Response>();
    const SLOT_SIZE: usize = slot_size::<Request, Response>();

    /// The back end of the ring in this page, from where its responses stand (`BACK_RING_ATTACH`): in a new ring, zero.
    pub fn attach(page: RingPage) -> Self {
        let start = page.indices().response_producer.load(Ordering::Acquire);
        Self {
            page,
            response_producer: start,
            published: start,
            request_consumer: start,
            request_producer: start,
            types: PhantomData,
        }
    }

    /// The page.
    pub fn page(&self) -> &RingPage {
        &self.page
    }

    /// Requests taken whose responses were not pushed yet, at most [`SIZE`](Self::SIZE).
    pub fn in_hand(&self) -> u32 {
        self.request_consumer.wrapping_sub(self.response_producer)
    }

    /// Copies the next request out. `None` when there is none now.
    ///
    /// # Errors
    ///
    /// [`RingError`]: the other end claims more requests than the ring has slots that aren't in hand.
    pub fn take_request(&mut self) -> Result<Option<Request>, RingError> {
        if self.request_consumer == self.request_producer {
            self.look()?;
            if self.request_consumer == self.request_producer {
                return Ok(None);
            }
        }
        let slot = self.request_consumer & (Self::SIZE - 1);
        let request = self.page.read(slot, Self::SLOT_SIZE);
        self.request_consumer = self.request_consumer.wrapping_add(1);
        Ok(Some(request))
    }

    /// Puts a response into the next slot, whose number it gives. The other end sees it with the next
    /// [`publish`](Self::publish).
    ///
    /// # Errors
    ///
    /// [`NoRequest`]: there is none in hand, whose slot it could take.
    pub fn push(&mut self, response: Response) -> Result<u32, NoRequest> {
        if self.in_hand() == 0 {
            return Err(NoRequest);
        }
        let slot = self.response_producer & (Self::SIZE - 1);
        self.page.write(slot, Self::SLOT_SIZE, response);
        self.response_producer = self.response_producer.wrapping_add(1);
        Ok(slot)
    }

    /// Shows the other end what was pushed (`RING_PUSH_RESPONSES_AND_CHECK_NOTIFY`). Whether it has to be notified.
    #[must_use = "the other end may wait for the notification"]
    pub fn publish(&mut self) -> bool {
        let (old, new) = (self.published, self.response_producer);
        self.published = new;
        let indices = self.page.indices();
        // Release (`xen_wmb`): who sees the index sees the responses.
        indices.response_producer.store(new, Ordering::Release);
        // `xen_mb`: either the other end sees the index in its final check, or we see that it wants to be woken.
        fence(Ordering::SeqCst);
        passes(indices.response_event.load(Ordering::Relaxed), old, new)
    }

    /// Requests that can be taken now (`XEN_RING_NR_UNCONSUMED_REQUESTS`).
    ///
    /// # Errors
    ///
    /// As of [`take_request`](Self::take_request).
    pub fn unconsumed(&mut self) -> Result<u32, RingError> {
        self.look()?;
        Ok(self.request_producer.wrapping_sub(self.request_consumer))
    }

    /// Asks the other end for a notification of its next request, then looks once more
    /// (`RING_FINAL_CHECK_FOR_REQUESTS`). `true`: there is something to take (or an error to hear of).
    #[must_use = "nobody notifies of what came before the check"]
    pub fn final_check(&mut self) -> bool {
        if self.unconsumed() != Ok(0) {
            return true;
        }
        let event = self.request_consumer.wrapping_add(1);
        let indices = self.page.indices();
        indices.request_event.store(event, Ordering::Relaxed);
        // `xen_mb`: as in `publish`, seen from the other side.
        fence(Ordering::SeqCst);
        self.unconsumed() != Ok(0)
    }

    /// Looks how far the other end is.
    fn look(&mut self) -> Result<(), RingError> {
        // Acquire: the requests before the index are there. More than there are slots can't be (`RING_REQUEST_PROD_OVERFLOW`).
        let producer = self.page.indices().request_producer.load(Ordering::Acquire);
        let most = Self::SIZE - self.in_hand();
        self.request_producer = check(producer, self.request_consumer, most)?;
        Ok(())
    }
}

impl<Request, Response> fmt::Debug for BackRing<Request, Response> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BackRing")
            .field("page", &self.page)
            .field("response_producer", &self.response_producer)
            .field("published", &self.published)
            .field("request_consumer", &self.request_consumer)
            .field("request_producer", &self.request_producer)
            .finish()
    }
}

/// A response without a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoRequest;

impl fmt::Display for NoRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("no request is in hand that this could answer")
    }
}

impl core::error::Error for NoRequest {}
