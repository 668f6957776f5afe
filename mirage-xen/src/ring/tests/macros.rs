//! A model of io/ring.h: what its macros do, on a page of plain numbers. No check that they don't make.

use std::vec::Vec;

/// The page of the model: `req_prod`, `req_event`, `rsp_prod`, `rsp_event`, and the slots.
#[derive(Clone, Debug)]
pub(super) struct Shared {
    pub(super) req_prod: u32,
    pub(super) req_event: u32,
    pub(super) rsp_prod: u32,
    pub(super) rsp_event: u32,
    slots: Vec<[u8; 12]>,
}

/// `RING_SIZE` of slots of 12 bytes: (4096 - 64) / 12 = 336, rounded down.
const RING_SIZE: u32 = 256;

impl Shared {
    /// `SHARED_RING_INIT`, with the indices at `start` instead of zero.
    pub(super) fn init(start: u32) -> Self {
        Self {
            req_prod: start,
            rsp_prod: start,
            req_event: start.wrapping_add(1),
            rsp_event: start.wrapping_add(1),
            slots: std::vec![[0; 12]; RING_SIZE as usize],
        }
    }

    /// The page's bytes.
    pub(super) fn bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        for index in [self.req_prod, self.req_event, self.rsp_prod, self.rsp_event] {
            bytes.extend(index.to_le_bytes());
        }
        bytes.resize(64, 0);
        bytes.extend(self.slots.iter().flatten());
        bytes.resize(4_096, 0);
        bytes
    }

    fn slot(&mut self, index: u32) -> &mut [u8; 12] {
        &mut self.slots[(index & (RING_SIZE - 1)) as usize]
    }
}

pub(super) struct FrontMacros {
    req_prod_pvt: u32,
    rsp_cons: u32,
}

impl FrontMacros {
    /// `FRONT_RING_ATTACH`.
    pub(super) fn attach(start: u32) -> Self {
        Self {
            req_prod_pvt: start,
            rsp_cons: start,
        }
    }

    /// `RING_FREE_REQUESTS`.
    pub(super) fn free_requests(&self) -> u32 {
        RING_SIZE.wrapping_sub(self.req_prod_pvt.wrapping_sub(self.rsp_cons))
    }

    /// `RING_FULL`, then `*RING_GET_REQUEST(req_prod_pvt++) = request`.
    pub(super) fn push(&mut self, shared: &mut Shared, request: &[u8; 12]) -> bool {
        if self.free_requests() == 0 {
            return false;
        }
        *shared.slot(self.req_prod_pvt) = *request;
        self.req_prod_pvt = self.req_prod_pvt.wrapping_add(1);
        true
    }

    /// `RING_PUSH_REQUESTS_AND_CHECK_NOTIFY`.
    pub(super) fn push_and_check_notify(&mut self, shared: &mut Shared) -> bool {
        let old = shared.req_prod;
        let new = self.req_prod_pvt;
        shared.req_prod = new;
        new.wrapping_sub(shared.req_event) < new.wrapping_sub(old)
    }

    /// `XEN_RING_NR_UNCONSUMED_RESPONSES`.
    pub(super) fn unconsumed(&self, shared: &Shared) -> u32 {
        shared.rsp_prod.wrapping_sub(self.rsp_cons)
    }

    /// `RING_COPY_RESPONSE(rsp_cons++)`, if there is one.
    pub(super) fn take(&mut self, shared: &mut Shared) -> Option<[u8; 4]> {
        if self.unconsumed(shared) == 0 {
            return None;
        }
        let slot = *shared.slot(self.rsp_cons);
        self.rsp_cons = self.rsp_cons.wrapping_add(1);
        slot.first_chunk().copied()
    }

    /// `RING_FINAL_CHECK_FOR_RESPONSES`.
    pub(super) fn final_check(&self, shared: &mut Shared) -> bool {
        if self.unconsumed(shared) != 0 {
            return true;
        }
        shared.rsp_event = self.rsp_cons.wrapping_add(1);
        self.unconsumed(shared) != 0
    }
}

pub(super) struct BackMacros {
    rsp_prod_pvt: u32,
    req_cons: u32,
}

impl BackMacros {
    /// `BACK_RING_ATTACH`.
    pub(super) fn attach(start: u32) -> Self {
        Self {
            rsp_prod_pvt: start,
            req_cons: start,
        }
    }

    /// `XEN_RING_NR_UNCONSUMED_REQUESTS`.
    pub(super) fn unconsumed(&self, shared: &Shared) -> u32 {
        let req = shared.req_prod.wrapping_sub(self.req_cons);
        let rsp = RING_SIZE.wrapping_sub(self.req_cons.wrapping_sub(self.rsp_prod_pvt));
        req.min(rsp)
    }

    /// `RING_COPY_REQUEST(req_cons++)`, if there is one.
    pub(super) fn take(&mut self, shared: &mut Shared) -> Option<[u8; 12]> {
        if self.unconsumed(shared) == 0 {
            return None;
        }
        let slot = *shared.slot(self.req_cons);
        self.req_cons = self.req_cons.wrapping_add(1);
        Some(slot)
    }

    /// `*RING_GET_RESPONSE(rsp_prod_pvt++) = response`, for a request that was taken.
    pub(super) fn push(&mut self, shared: &mut Shared, response: [u8; 4]) -> bool {
        if self.req_cons == self.rsp_prod_pvt {
            return false;
        }
        shared.slot(self.rsp_prod_pvt)[..4].copy_from_slice(&response);
        self.rsp_prod_pvt = self.rsp_prod_pvt.wrapping_add(1);
        true
    }

    /// `RING_PUSH_RESPONSES_AND_CHECK_NOTIFY`.
    pub(super) fn push_and_check_notify(&mut self, shared: &mut Shared) -> bool {
        let old = shared.rsp_prod;
        let new = self.rsp_prod_pvt;
        shared.rsp_prod = new;
        new.wrapping_sub(shared.rsp_event) < new.wrapping_sub(old)
    }

    /// `RING_FINAL_CHECK_FOR_REQUESTS`.
    pub(super) fn final_check(&self, shared: &mut Shared) -> bool {
        if self.unconsumed(shared) != 0 {
            return true;
        }
        shared.req_event = self.req_cons.wrapping_add(1);
        self.unconsumed(shared) != 0
    }
}
