//! Which pages the kernel has: those that it may write, and those that it reads.
//!
//! The kernel names a page by the place of its bytes in the region. What it names is looked up here, and is taken for a page
//! only if that is lent; so no descriptor, however wrong, reaches a page that is not the kernel's to give back.

use mirage_core::pool::{Access, BlockId, LendError, Lender, Lent, LentMut, StillInUse};
use mirage_core::{Page, PageMut, Pool};

/// The kernel at the other end of the rings, as a lender: it reaches a page from when its descriptor is put into the fill or
/// the transmit ring until it is back, in the receive or the completion ring.
struct Kernel;

/// The one that there is.
static KERNEL: Kernel = Kernel;

// SAFETY: `KERNEL` is private to this module. Who lends here, or ends a lending, are `Posted` and `Sent` alone.
// - A block's bytes are written by the kernel only while its number is in the fill ring or under way from there to the receive
//   ring; `Posted::lend` lends it before the number goes into the ring, and `Posted::take` ends the lending when the receive
//   ring gave it back (read with acquire). Each number is lent at most once at a time.
// - It reads them only from when a descriptor is in the transmit ring until its address is in the completion ring; `Sent`
//   ends one lending for each address there, and none otherwise.
// - What is still posted when the device goes is ended by `Drop`, after the socket and its rings were closed (`Xdp`'s fields
//   are dropped in that order), and only where the kernel is who writes: it takes the socket out of the map and waits for
//   everybody who is still in it before close(2) returns (`xsk_release` of net/xdp/xsk.c). The descriptor is closed on
//   execve(2) and given to nobody. A device that writes by itself (zero-copy) is stopped later: those are not ended.
// - No method makes a reference to the bytes.
unsafe impl Lender for Kernel {
    #[inline]
    unsafe fn lend(&self, _: BlockId, _: Access) -> Result<(), LendError> {
        Ok(())
    }

    #[inline]
    unsafe fn end(&self, _: BlockId, _: Access) -> Result<(), StillInUse> {
        Ok(())
    }
}

/// The pages that the kernel may write: in the fill ring, or on their way to the receive ring.
pub(super) struct Posted {
    /// By the block's number.
    pages: Box<[Option<LentMut>]>,
    count: usize,
    /// The device writes the pages by itself, until somewhat after the socket was closed.
    zero_copy: bool,
}

impl Posted {
    pub(super) fn new(pool: &'static Pool, zero_copy: bool) -> Self {
        Self {
            pages: std::iter::repeat_with(|| None)
                .take(pool.blocks())
                .collect(),
            count: 0,
            zero_copy,
        }
    }

    /// Lends a page, and gives the number of its block, which is to be put into the fill ring.
    #[inline]
    pub(super) fn lend(&mut self, page: PageMut) -> Option<usize> {
        let index = page.block().index();
        // A page that was just taken from the pool has no other handle.
        let lent = page.lend(&KERNEL).ok()?;
        let place = self.pages.get_mut(index)?;
        debug_assert!(place.is_none());
        *place = Some(lent);
        self.count += 1;
        Some(index)
    }

    /// A page that the kernel gave back; `None`: it doesn't have it.
    #[inline]
    pub(super) fn take(&mut self, index: usize) -> Option<PageMut> {
        let lent = self.pages.get_mut(index)?.take()?;
        self.count -= 1;
        lent.reclaim().ok()
    }

    /// How many there are.
    #[inline]
    pub(super) fn count(&self) -> usize {
        self.count
    }
}

impl Drop for Posted {
    fn drop(&mut self) {
        if self.zero_copy {
            // Out of use for good, and counted: a lending that is dropped is.
            return;
        }
        for page in &mut self.pages {
            drop(page.take().map(LentMut::reclaim));
        }
    }
}

/// No lending follows.
const NONE: u32 = u32::MAX;

/// The pages that the kernel reads: one lending for each descriptor that it has not answered. A page may be lent several times.
/// One that has no answer when the device goes stays out of use: packets of the kernel's may still refer to it.
pub(super) struct Sent {
    lendings: Box<[Lending]>,
    /// By the block's number: the first of its lendings.
    first: Box<[u32]>,
    /// The first place that is free.
    free: u32,
    count: usize,
}

struct Lending {
    page: Option<Lent>,
    /// The next of the same block, or the next free place.
    next: u32,
}

impl Sent {
    /// With places for `places` lendings at once.
    pub(super) fn new(pool: &'static Pool, places: u32) -> Self {
        let next = |place| if place + 1 == places { NONE } else { place + 1 };
        Self {
            lendings: (0..places)
                .map(|place| Lending {
                    page: None,
                    next: next(place),
                })
                .collect(),
            first: vec![NONE; pool.blocks()].into(),
            free: if places == 0 { NONE } else { 0 },
            count: 0,
        }
    }

    /// Whether `count` more have a place.
    #[inline]
    pub(super) fn has_room(&self, count: usize) -> bool {
        self.lendings.len() - self.count >= count
    }

    /// Lends a page to be read; `false`: there is no place, or somebody may write it.
    #[inline]
    pub(super) fn lend(&mut self, page: &Page) -> bool {
        let index = page.block().index();
        let place = self.free;
        let (Some(lending), Some(first)) = (
            self.lendings.get_mut(place as usize),
            self.first.get_mut(index),
        ) else {
            return false;
        };
        let Ok(lent) = page.lend(&KERNEL) else {
            return false;
        };
        self.free = lending.next;
        lending.page = Some(lent);
        lending.next = *first;
        *first = place;
        self.count += 1;
        true
    }

    /// Ends one lending of a block, for the kernel is done with a descriptor of it; `false`: it has none.
    #[inline]
    pub(super) fn end(&mut self, index: usize) -> bool {
        let Some(first) = self.first.get_mut(index) else {
            return false;
        };
        let place = *first;
        let Some(lending) = self.lendings.get_mut(place as usize) else {
            return false;
        };
        *first = lending.next;
        lending.next = self.free;
        self.free = place;
        self.count -= 1;
        drop(lending.page.take().map(Lent::end));
        true
    }

    /// How many there are.
    #[inline]
    pub(super) fn count(&self) -> usize {
        self.count
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pool() -> &'static Pool {
        Pool::leak(4, 2048).expect("a pool")
    }

    #[test]
    fn a_posted_page_is_given_back_once_and_only_what_was_lent() {
        let pool = pool();
        let mut posted = Posted::new(pool, false);
        let index = posted.lend(pool.alloc().expect("a page")).expect("lent");
        assert_eq!((posted.count(), pool.free()), (1, 3));
        for other in (0..6).filter(|other| *other != index) {
            assert!(posted.take(other).is_none());
        }
        let page = posted.take(index).expect("ours again");
        assert!(posted.take(index).is_none());
        drop(page);
        assert_eq!((posted.count(), pool.free()), (0, 4));
    }

    #[test]
    fn a_page_that_is_sent_twice_is_free_after_two_answers() {
        let pool = pool();
        let mut sent = Sent::new(pool, 3);
        let page = pool.alloc().expect("a page").freeze();
        let other = pool.alloc().expect("a page").freeze();
        let (index, second) = (page.block().index(), other.block().index());
        assert!(sent.lend(&page) && sent.lend(&other) && sent.lend(&page));
        assert!(!sent.has_room(1) && !sent.lend(&other), "three places");
        drop((page, other));
        assert_eq!(pool.free(), 2);
        assert!(sent.end(index));
        assert_eq!((pool.free(), sent.count()), (2, 2));
        assert!(sent.end(index) && !sent.end(index), "an answer too many");
        assert!(sent.end(second) && !sent.end(second));
        assert!(!sent.end(4) && !sent.end(usize::MAX), "no such block");
        assert_eq!((pool.free(), sent.count()), (4, 0));
        assert!(sent.has_room(3));
    }

    #[test]
    fn a_page_that_somebody_writes_is_not_lent_to_be_read() {
        let pool = pool();
        let mut sent = Sent::new(pool, 2);
        let mut page = pool.alloc().expect("a page");
        page.extend_from_slice(b"headerpayload").expect("room");
        let (header, payload) = page.split_at(6).expect("two windows");
        let header = header.freeze();
        assert!(!sent.lend(&header));
        drop(payload);
        assert!(sent.lend(&header));
    }

    #[test]
    fn what_is_posted_returns_when_the_socket_has_closed_and_what_is_being_sent_does_not() {
        let pool = pool();
        let (mut posted, mut sent) = (Posted::new(pool, false), Sent::new(pool, 2));
        posted.lend(pool.alloc().expect("a page")).expect("lent");
        assert!(sent.lend(&pool.alloc().expect("a page").freeze()));
        assert_eq!(pool.free(), 2);
        drop((posted, sent));
        assert_eq!((pool.free(), pool.counters().quarantined), (3, 1));
        // A device may write it a little longer.
        let mut posted = Posted::new(pool, true);
        posted.lend(pool.alloc().expect("a page")).expect("lent");
        drop(posted);
        assert_eq!((pool.free(), pool.counters().quarantined), (2, 2));
    }
}
