//! Room for the segments of frames that have more than fit into a [`Frame`](crate::Frame) itself.

use core::cell::{Cell, UnsafeCell};
use core::fmt;
use core::ops::{Deref, DerefMut};

use heapless::Vec;

use super::block::NONE;
use super::{Pool, add};
use crate::frame::{Frame, Segment};

type Segments = Vec<Segment, { Frame::MAX_SEGMENTS }>;

/// A place for all segments of one frame.
pub(super) struct ChainSlot {
    /// Empty while the slot is on the free list, and reached by nobody then; else by its [`Chain`] alone.
    segments: UnsafeCell<Segments>,
    /// The next free slot; [`NONE`] at the end.
    next: Cell<u32>,
}

impl ChainSlot {
    pub(super) const fn new() -> Self {
        Self {
            segments: UnsafeCell::new(Vec::new()),
            // The list is made with the pool. Zeros, so that storage in a `static` takes no room in the image.
            next: Cell::new(0),
        }
    }

    #[cfg(test)]
    pub(super) fn next_for_test(&self) -> u32 {
        self.next.get()
    }

    /// Puts all `slots` on a free list; gives its head.
    pub(super) fn link(slots: &[Self]) -> u32 {
        let mut head = NONE;
        for (index, slot) in (0..NONE).zip(slots) {
            slot.next.set(head);
            head = index;
        }
        head
    }
}

/// The only handle of a slot: an empty list of segments when it is made; with it the segments fall, and the slot is free.
pub(crate) struct Chain {
    pool: &'static Pool,
    index: u32,
}

impl Chain {
    /// A chain without segments. `None`, and counted, when the pool has none left.
    pub(crate) fn take(pool: &'static Pool) -> Option<Self> {
        let index = pool.chain_head.get();
        // `NONE` is no slot's number.
        let Some(slot) = pool.chains.get(index as usize) else {
            add(&pool.counters.chains_exhausted);
            return None;
        };
        pool.chain_head.set(slot.next.get());
        let chain = Self { pool, index };
        debug_assert!(chain.is_empty());
        Some(chain)
    }

    fn slot(&self) -> &'static ChainSlot {
        let slots: &'static [ChainSlot] = self.pool.chains;
        &slots[self.index as usize]
    }
}

impl Deref for Chain {
    type Target = Segments;

    fn deref(&self) -> &Segments {
        // SAFETY: a slot's number leaves the free list when its `Chain` is made and enters it when that one is dropped, a
        // `Chain` doesn't clone, and each pool has slots of its own: so no other `Chain` of this slot exists, and nothing
        // else reaches the cell. The reference borrows `self`, shared; `deref_mut` borrows it mutably. `Chain` is not
        // `Send`, since `Pool` isn't `Sync`.
        unsafe { &*self.slot().segments.get() }
    }
}

impl DerefMut for Chain {
    fn deref_mut(&mut self) -> &mut Segments {
        // SAFETY: as in `deref`; `self` is borrowed mutably, so no other reference to the content exists.
        unsafe { &mut *self.slot().segments.get() }
    }
}

impl Drop for Chain {
    fn drop(&mut self) {
        // The segments fall while the slot is still this handle's: none of them can reach it.
        self.clear();
        self.slot()
            .next
            .set(self.pool.chain_head.replace(self.index));
    }
}

impl fmt::Debug for Chain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}
