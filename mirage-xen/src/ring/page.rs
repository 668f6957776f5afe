//! The page of a ring.

use core::fmt;
use core::ptr::NonNull;
use core::sync::atomic::{AtomicU32, Ordering};

use mirage_core::PageMut;
use mirage_core::pool::{BlockId, LendError, Lender, LentMut};
use volatile::VolatilePtr;
use zerocopy::{FromBytes, Immutable, IntoBytes};

use super::SLOTS_OFFSET;
use crate::abi::PAGE_SIZE;
use crate::hypervisor::SharedPage;

/// The indices at the page's beginning (`struct __name##_sring`). The other end may change any of them at any time.
#[derive(Debug)]
#[repr(C)]
pub(super) struct Indices {
    /// `req_prod`: written by the front.
    pub(super) request_producer: AtomicU32,
    /// `req_event`: written by the back, which wants to be woken when the producer passes it.
    pub(super) request_event: AtomicU32,
    /// `rsp_prod`: written by the back.
    pub(super) response_producer: AtomicU32,
    /// `rsp_event`: written by the front.
    pub(super) response_event: AtomicU32,
}

const _: () = {
    use core::mem::offset_of;
    assert!(size_of::<Indices>() == 16 && size_of::<Indices>() <= SLOTS_OFFSET);
    assert!(offset_of!(Indices, request_event) == 4);
    assert!(offset_of!(Indices, response_producer) == 8);
    assert!(offset_of!(Indices, response_event) == 12);
};

/// A page that two domains share for a ring: a block that is lent writable, or a page that is shared by other means.
///
/// Nothing but the ring's indices and slots is read or written in it, by atomics and volatile copies.
#[derive(Debug)]
pub struct RingPage(Memory);

#[derive(Debug)]
enum Memory {
    /// Ours, and out of everybody's reach for as long as this is here.
    Lent(LentMut),
    Shared(SharedPage),
}

impl RingPage {
    /// Lends a page of the pool, after filling it with zeros: the other end sees all of it.
    ///
    /// # Errors
    ///
    /// The page itself, when its block isn't of [`PAGE_SIZE`] bytes, or can't be lent.
    pub fn lend(
        mut page: PageMut,
        lender: &'static dyn Lender,
    ) -> Result<Self, (PageMut, RingPageError)> {
        let size = page.pool().block_size();
        if size != PAGE_SIZE {
            return Err((page, RingPageError::BlockSize(size)));
        }
        if !page.widen() || page.reset(0).is_err() {
            return Err((page, RingPageError::Lend(LendError::Shared)));
        }
        page.scrub();
        let lent = page.lend(lender);
        let lent = lent.map_err(|(page, error)| (page, RingPageError::Lend(error)))?;
        Ok(Self(Memory::Lent(lent)))
    }

    /// The block that is lent, whose reference the other end is told. `None` where the page is shared otherwise.
    pub fn block(&self) -> Option<BlockId> {
        match &self.0 {
            Memory::Lent(lent) => Some(lent.block()),
            Memory::Shared(_) => None,
        }
    }

    /// Takes the page back. `None` where it wasn't lent from a pool.
    ///
    /// # Errors
    ///
    /// The page itself, when the other end still uses it. Dropped, it is quarantined.
    pub fn reclaim(self) -> Result<Option<PageMut>, Self> {
        match self.0 {
            Memory::Lent(lent) => lent
                .reclaim()
                .map(Some)
                .map_err(|lent| Self(Memory::Lent(lent))),
            Memory::Shared(_) => Ok(None),
        }
    }

    /// Makes it a ring whose indices all begin at `start` (`SHARED_RING_INIT`, where that is zero).
    pub(super) fn initialise(&mut self, start: u32) {
        let address = self.address().cast::<u64>();
        for word in 0..PAGE_SIZE / size_of::<u64>() {
            // SAFETY: as of `address`: the page's bytes are valid for writes and its beginning is aligned to its size, so
            // `word`, which is below its number of `u64`s, is one of them; and nothing refers to them but by atomics,
            // none of which is being accessed here.
            let word = unsafe { VolatilePtr::new(address.add(word)) };
            word.write(0);
        }
        let indices = self.indices();
        indices.request_producer.store(start, Ordering::Relaxed);
        indices.response_producer.store(start, Ordering::Relaxed);
        let first = start.wrapping_add(1);
        indices.request_event.store(first, Ordering::Relaxed);
        indices.response_event.store(first, Ordering::Release);
    }

    pub(super) fn indices(&self) -> &Indices {
        // SAFETY: as of `address`: valid for reads and writes of `PAGE_SIZE` bytes for as long as `self` is borrowed, and
        // aligned. `Indices` consists of atomics, so that every bit pattern is valid and others may write them meanwhile.
        unsafe { self.address().cast::<Indices>().as_ref() }
    }

    /// Copies a slot out, once.
    pub(super) fn read<T: FromBytes + Copy>(&self, slot: u32, slot_size: usize) -> T {
        // SAFETY: `slot` gives an address in the page that is aligned for `T`, valid for reads as of `address`. Every bit
        // pattern is a `T`, so it doesn't matter what the other end writes meanwhile: it ends up in the copy or not.
        let slot = unsafe { VolatilePtr::new(self.slot::<T>(slot, slot_size)) };
        slot.read()
    }

    /// Writes a slot.
    pub(super) fn write<T: IntoBytes + Immutable + Copy>(
        &mut self,
        slot: u32,
        slot_size: usize,
        value: T,
    ) {
        // SAFETY: as in `read`, valid for writes. `T` has no padding that would show uninitialised bytes to the other end.
        let slot = unsafe { VolatilePtr::new(self.slot::<T>(slot, slot_size)) };
        slot.write(value);
    }

    /// Where a slot lies. `slot` is less than the ring's size, `slot_size` at least `T`'s size and a multiple of its
    /// alignment.
    fn slot<T>(&self, slot: u32, slot_size: usize) -> NonNull<T> {
        let offset = SLOTS_OFFSET + slot as usize * slot_size;
        debug_assert!(
            offset + size_of::<T>() <= PAGE_SIZE && offset.is_multiple_of(align_of::<T>())
        );
        // SAFETY: the ring's size times `slot_size`, behind `SLOTS_OFFSET`, is at most a page (`ring_size`).
        unsafe { self.address().add(offset) }.cast()
    }

    /// Where the page begins, aligned to its size. Its [`PAGE_SIZE`] bytes are valid for reads and writes, by atomics and
    /// volatile accesses, for as long as `self` is borrowed: they are shared (the invariant of [`SharedPage`]), or
    /// lent writable, and until this [`LentMut`] is reclaimed nothing in this program refers to them.
    fn address(&self) -> NonNull<u8> {
        match &self.0 {
            Memory::Lent(lent) => lent.block().address(),
            Memory::Shared(page) => page.address(),
        }
    }
}

impl From<SharedPage> for RingPage {
    fn from(page: SharedPage) -> Self {
        Self(Memory::Shared(page))
    }
}

/// Why a page can't be a ring's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum RingPageError {
    /// The caller's configuration: the pool's blocks are not pages, but of this size.
    BlockSize(usize),
    /// It can't be lent.
    Lend(LendError),
}

impl fmt::Display for RingPageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BlockSize(size) => write!(f, "a ring wants a page, not a block of {size} bytes"),
            Self::Lend(error) => error.fmt(f),
        }
    }
}

impl core::error::Error for RingPageError {}
