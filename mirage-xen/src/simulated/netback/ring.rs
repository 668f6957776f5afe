//! The back end of a ring, by hand: it shares no code with the crate's rings, whose mistakes it must not share, and it can do
//! what a ring must not.

use std::collections::BTreeMap;
use std::vec::Vec;

use super::super::grants::{Mapping, Reach, Refused};
use crate::abi::{DomainId, PAGE_SIZE};

// `struct __name##_sring` (io/ring.h).
const REQ_PROD: usize = 0;
const REQ_EVENT: usize = 4;
const RSP_PROD: usize = 8;
const RSP_EVENT: usize = 12;
const SLOTS: usize = 64;

/// How far ahead of what it has taken a frontend's `rsp_event` may be, for all that is known: by more than one where it
/// wants to be told of several at a time.
const HOLD_OFF: u32 = 64;

pub(super) struct MappedRing {
    mapping: Mapping,
    slot: usize,
    /// How many slots it has.
    pub(super) size: u32,
    pub(super) req_cons: u32,
    pub(super) rsp_prod: u32,
    /// What the frontend was shown of `rsp_prod`.
    published: u32,
    /// The indices in the page were reset by this side.
    was_reset: bool,
    /// The responses that it put, by their slots, until their slots are seen to hold something else.
    answered: BTreeMap<u32, Vec<u8>>,
}

/// Why nothing can be taken off a ring.
#[derive(Debug)]
pub(super) enum Broken {
    /// The frontend's producer is further than the ring has slots.
    Producer {
        /// `req_prod`.
        producer: u32,
        /// `req_cons`.
        consumer: u32,
    },
    /// This side has reset it, and nobody knows any more where it stands.
    Reset,
    /// The page is gone.
    Gone,
}

impl From<Refused> for Broken {
    fn from(_: Refused) -> Self {
        Self::Gone
    }
}

impl MappedRing {
    /// Maps the ring whose page has this reference; its slots have `slot` bytes.
    pub(super) fn map(
        reach: Reach<'_>,
        domain: DomainId,
        reference: u32,
        slot: usize,
    ) -> Result<Self, Refused> {
        let mut ring = Self {
            mapping: reach.map(domain, reference, true)?,
            slot,
            size: 1 << ((PAGE_SIZE - SLOTS) / slot).ilog2(),
            req_cons: 0,
            rsp_prod: 0,
            published: 0,
            was_reset: false,
            answered: BTreeMap::new(),
        };
        // Where it begins is what the responses' index says (`BACK_RING_ATTACH`): zero, if the frontend made it anew.
        match ring.get(reach, RSP_PROD) {
            Ok(start) => {
                (ring.req_cons, ring.rsp_prod, ring.published) = (start, start, start);
                Ok(ring)
            }
            Err(refused) => {
                ring.unmap(reach);
                Err(refused)
            }
        }
    }

    pub(super) fn unmap(self, reach: Reach<'_>) {
        reach.unmap(self.mapping);
    }

    pub(super) fn into_mapping(self) -> Mapping {
        self.mapping
    }

    fn get(&self, reach: Reach<'_>, offset: usize) -> Result<u32, Refused> {
        let mut bytes = [0; 4];
        reach.read(&self.mapping, offset, &mut bytes)?;
        Ok(u32::from_le_bytes(bytes))
    }

    fn set(&self, reach: Reach<'_>, offset: usize, value: u32) {
        // A page that is gone is found out at the next reading.
        let _ = reach.write(&self.mapping, offset, &value.to_le_bytes());
    }

    fn place(&self, index: u32) -> usize {
        SLOTS + (index & (self.size - 1)) as usize * self.slot
    }

    /// How many requests there are to be taken.
    pub(super) fn waiting(&self, reach: Reach<'_>) -> Result<u32, Broken> {
        if self.was_reset {
            return Err(Broken::Reset);
        }
        let producer = self.get(reach, REQ_PROD)?;
        let waiting = producer.wrapping_sub(self.req_cons);
        if waiting > self.size - self.in_hand() {
            let consumer = self.req_cons;
            return Err(Broken::Producer { producer, consumer });
        }
        Ok(waiting)
    }

    /// Requests that were taken and not answered.
    pub(super) fn in_hand(&self) -> u32 {
        self.req_cons.wrapping_sub(self.rsp_prod)
    }

    /// The request that is `ahead` of the next one.
    pub(super) fn peek<const N: usize>(
        &self,
        reach: Reach<'_>,
        ahead: u32,
    ) -> Result<[u8; N], Refused> {
        let mut bytes = [0; N];
        let place = self.place(self.req_cons.wrapping_add(ahead));
        reach.read(&self.mapping, place, &mut bytes)?;
        Ok(bytes)
    }

    pub(super) fn skip(&mut self, count: u32) {
        self.req_cons = self.req_cons.wrapping_add(count);
    }

    /// Answers a request: in the next slot.
    pub(super) fn put(&mut self, reach: Reach<'_>, response: &[u8]) {
        let _ = reach.write(&self.mapping, self.place(self.rsp_prod), response);
        let slot = self.rsp_prod & (self.size - 1);
        self.answered.insert(slot, response.to_vec());
        self.rsp_prod = self.rsp_prod.wrapping_add(1);
    }

    /// Shows the frontend what was put. Whether it wants to be told.
    pub(super) fn publish(&mut self, reach: Reach<'_>) -> bool {
        let (old, new) = (self.published, self.rsp_prod);
        self.published = new;
        self.set(reach, RSP_PROD, new);
        let event = self.get(reach, RSP_EVENT).unwrap_or(old);
        new.wrapping_sub(event) < new.wrapping_sub(old)
    }

    /// How many responses the frontend has not taken, by its word: at most, where it wants to be told of the next one.
    pub(super) fn unread(&self, reach: Reach<'_>) -> u32 {
        let event = self.get(reach, RSP_EVENT).unwrap_or(self.published);
        let unread = self.published.wrapping_sub(event.wrapping_sub(1));
        unread.min(self.size)
    }

    /// Wants to be told of the next request. Whether one came meanwhile.
    pub(super) fn arm(&self, reach: Reach<'_>) -> bool {
        self.set(reach, REQ_EVENT, self.req_cons.wrapping_add(1));
        self.waiting(reach).is_ok_and(|waiting| waiting > 0)
    }

    /// Wants to be told of some request or other.
    pub(super) fn arm_at(&self, reach: Reach<'_>, index: u32) {
        self.set(reach, REQ_EVENT, index);
    }

    /// Claims to have produced that much; until the next [`publish`](Self::publish).
    pub(super) fn lie(&self, reach: Reach<'_>, producer: u32) {
        self.set(reach, RSP_PROD, producer);
    }

    /// Resets what isn't its own to reset.
    pub(super) fn zero(&mut self, reach: Reach<'_>) {
        self.was_reset = true;
        let _ = reach.write(&self.mapping, 0, &[0; SLOTS]);
        self.set(reach, REQ_EVENT, 1);
        self.set(reach, RSP_EVENT, 1);
    }

    /// Writes something else into slots that were read already: those of requests that this side has taken and not answered, and
    /// those of responses that the frontend has taken, by its word. Never into what is still to be read by somebody, nor into
    /// a slot in which there is a new request, shown or not.
    pub(super) fn scribble(&mut self, reach: Reach<'_>, mut random: impl FnMut() -> u8) {
        let mut answered = core::mem::take(&mut self.answered);
        let mut scribble = |index: u32| {
            let mut bytes = [0; 16];
            let bytes = &mut bytes[..self.slot];
            bytes.fill_with(&mut random);
            let _ = reach.write(&self.mapping, self.place(index), bytes);
        };
        for ahead in 0..self.in_hand() {
            scribble(self.rsp_prod.wrapping_add(ahead));
        }
        let Ok(event) = self.get(reach, RSP_EVENT) else {
            self.answered = answered;
            return;
        };
        let unread = self.published.wrapping_sub(event.wrapping_sub(HOLD_OFF));
        let first_unread = self.published.wrapping_sub(unread.min(self.size));
        answered.retain(|slot, response| {
            if slot.wrapping_sub(first_unread) & (self.size - 1) < unread {
                return true;
            }
            let mut bytes = [0; 16];
            let bytes = &mut bytes[..response.len()];
            let read = reach.read(&self.mapping, self.place(*slot), bytes);
            if read.is_ok() && bytes == response {
                scribble(*slot);
            }
            false
        });
        self.answered = answered;
    }
}
