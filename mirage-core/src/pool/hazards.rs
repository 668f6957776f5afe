//! One test for each defect that others have had, named after what it keeps out.

extern crate std;

use super::*;
use crate::doubles::{CheckedLender, Violation};
use std::vec::Vec;

fn pool() -> &'static Pool {
    storage::leak(4, 256).unwrap()
}

#[test]
fn a_length_that_wraps_is_refused_by_every_setter() {
    let mut page = pool().alloc().unwrap();
    page.reset(16).unwrap();
    page.extend_from_slice(&[7; 8]).unwrap();
    for absurd in [
        257,
        65_536,
        65_536 + 8,
        u32::MAX as usize + 1,
        usize::MAX - 15,
        usize::MAX,
    ] {
        assert_eq!(page.set_len(absurd), Err(NoRoom));
        assert_eq!(page.advance(absurd), Err(NoRoom));
        assert_eq!(page.reset(absurd), Err(NoRoom));
        assert!(page.append(absurd).is_none());
        assert!(page.prepend(absurd).is_none());
        page.truncate(absurd);
        page = page.split_at(absurd).unwrap_err();
        assert_eq!((page.headroom(), page.len(), page.tailroom()), (16, 8, 232));
    }
    let mut page = page.freeze();
    for absurd in [9, 65_536, usize::MAX] {
        assert_eq!(page.advance(absurd), Err(NoRoom));
        assert!(page.slice(absurd..).is_none());
        assert!(page.slice(..absurd).is_none());
        assert!(page.slice(..=absurd).is_none());
        page.truncate(absurd);
        assert_eq!(page[..], [7; 8]);
    }
    assert!(
        page.slice((
            core::ops::Bound::Excluded(usize::MAX),
            core::ops::Bound::Unbounded
        ))
        .is_none()
    );
    #[expect(clippy::reversed_empty_ranges)]
    let reversed = 5..3;
    assert!(page.slice(reversed).is_none());
}

#[test]
fn received_pages_in_queues_do_not_starve_the_ring() {
    let pool = pool();
    let ring = pool.reserve(2).unwrap();
    // A peer that never lets the queue drain: two pages are exchanged, then the general part is empty.
    let queue: Vec<PageMut> = (0..2)
        .map(|_| ring.alloc().unwrap().keep().unwrap())
        .collect();
    assert_eq!((pool.free(), ring.free()), (0, 2));
    let third = ring.alloc().unwrap();
    let dropped = third.keep().unwrap_err();
    drop(dropped);
    assert_eq!(pool.counters().keep_refused, 1);
    // The ring still posts all it has.
    assert_eq!(ring.free(), 2);
    drop(queue);
    assert_eq!((pool.free(), ring.free()), (2, 2));
}

#[test]
fn a_count_of_handles_that_would_wrap_saturates() {
    let pool = pool();
    let page = pool.alloc().unwrap().freeze();
    pool.state(page.block().index).handles.set(SATURATED - 1);
    let clone = page.clone();
    assert_eq!(pool.counters().saturated, 1);
    let more = clone.clone();
    drop((clone, more));
    // 2³² - 1 handles might exist: never free again, never writable again.
    let page = page.try_unique().unwrap_err();
    drop(page);
    assert_eq!(pool.free(), 3);
    assert_eq!(pool.counters().saturated, 1);
}

#[test]
fn a_count_of_handles_that_would_wrap_refuses_to_split() {
    let pool = pool();
    let page = pool.alloc().unwrap();
    let handles = &pool.state(page.block().index).handles;
    handles.set(SATURATED - 1);
    let page = page.split_at(0).unwrap_err();
    let handles = &pool.state(page.block().index).handles;
    assert_eq!(handles.get(), SATURATED - 1);
    handles.set(1);
    drop(page);
    assert_eq!(pool.free(), 4);
}

#[test]
fn a_page_that_the_peer_does_not_give_back_stays_out_of_use() {
    let pool = pool();
    let peer = CheckedLender::leak(pool, 4);
    let lent = pool.alloc().unwrap().lend(peer).unwrap();
    let block = lent.block().index();
    peer.hold(block, true).unwrap();
    let lent = lent.reclaim().unwrap_err();
    assert_eq!(pool.counters().still_in_use, 1);
    lent.quarantine();
    // Whatever is given out from now on, it isn't that block.
    let all: Vec<PageMut> = core::iter::from_fn(|| pool.alloc()).collect();
    assert_eq!((all.len(), pool.counters().quarantined), (3, 1));
    assert!(all.iter().all(|page| page.block().index() != block));
    // It goes on writing, into nobody's bytes.
    peer.write(block, 0, &[0xff; 256]).unwrap();
    assert!(all.iter().all(|page| page.iter().all(|&byte| byte == 0)));
    drop(all);
    assert_eq!(pool.free(), 3);
}

#[test]
fn a_block_that_is_still_read_is_never_written_again() {
    let pool = pool();
    let peer = CheckedLender::leak(pool, 4);
    let mut page = pool.alloc().unwrap();
    page.extend_from_slice(b"in flight").unwrap();
    let page = page.freeze();
    let (first, again) = (page.lend(peer).unwrap(), page.lend(peer).unwrap());
    let block = page.block().index();
    drop(first.end().unwrap());
    // A retransmission is still with the peer: neither the last handle nor the first ending frees the block.
    let page = page.try_unique().unwrap_err();
    drop(page);
    assert_eq!(pool.free(), 3);
    let mut seen = [0; 9];
    peer.read(block, 0, &mut seen).unwrap();
    assert_eq!(&seen, b"in flight");
    let page = again.end().unwrap().try_unique().unwrap();
    drop(page);
    assert_eq!(pool.free(), 4);
}

#[test]
fn a_dropped_lending_is_not_a_returned_page() {
    let pool = pool();
    let peer = CheckedLender::leak(pool, 4);
    drop(pool.alloc().unwrap().lend(peer).unwrap());
    let page = pool.alloc().unwrap().freeze();
    drop(page.lend(peer).unwrap());
    // The page may be read, never written, never free; a second lending that is dropped doesn't count it again.
    drop(page.lend(peer).unwrap());
    let page = page.try_unique().unwrap_err();
    drop(page);
    assert_eq!((pool.free(), pool.counters().quarantined), (2, 2));
}

#[test]
fn a_block_with_other_handles_is_not_lent_for_writing() {
    let pool = pool();
    let peer = CheckedLender::leak(pool, 4);
    let mut page = pool.alloc().unwrap();
    page.expand();
    let (front, back) = page.split_at(100).unwrap();
    let (front, error) = front.lend(peer).unwrap_err();
    assert_eq!(error, LendError::Shared);
    // Nor for reading, while a window of it can be written.
    let front = front.freeze();
    assert_eq!(front.lend(peer).unwrap_err(), LendError::Writable);
    drop(back);
    let lent = front.lend(peer).unwrap();
    assert_eq!((pool.counters().lend_refused, peer.lent()), (2, 1));
    drop(lent.end().unwrap());
}

#[test]
fn a_refused_lending_gives_the_page_back_as_it_was() {
    let pool = pool();
    let other = Pool::leak(1, 256).unwrap();
    let peer = CheckedLender::leak(other, 1);
    let mut page = pool.alloc().unwrap();
    page.extend_from_slice(b"mine").unwrap();
    let (page, error) = page.lend(peer).unwrap_err();
    assert_eq!((&page[..], error), (&b"mine"[..], LendError::OtherPool));
    let page = page.freeze();
    assert_eq!(page.lend(peer).unwrap_err(), LendError::OtherPool);
    let page = page.try_unique().unwrap();
    drop(page);
    assert_eq!((pool.free(), pool.counters().quarantined), (4, 0));
}

#[test]
fn what_else_lies_in_a_page_that_is_lent_is_not_shown() {
    let pool = Pool::leak(1, 256).unwrap();
    let peer = CheckedLender::leak(pool, 1);
    let leave_a_secret = || {
        let mut page = pool.alloc().unwrap();
        page.expand();
        page.fill(b'S');
    };
    let shown = |scrub: bool| {
        let mut page = pool.alloc().unwrap();
        page.reset(100).unwrap();
        page.extend_from_slice(b"frame").unwrap();
        if scrub {
            page.scrub();
        }
        let lent = page.freeze().lend(peer).unwrap();
        let mut seen = [0; 256];
        peer.read(0, 0, &mut seen).unwrap();
        drop(lent.end().unwrap());
        assert_eq!(&seen[100..105], b"frame");
        seen.contains(&b'S')
    };
    leave_a_secret();
    assert!(shown(false), "the test shows nothing");
    leave_a_secret();
    assert!(!shown(true));
    pool.set_scrub(true);
    leave_a_secret();
    assert!(!shown(false));
}

#[test]
fn bytes_are_read_only_after_the_lending_ended() {
    // A type, not a check: `LentMut` has no way to its bytes. What the peer writes is seen by who reclaimed it.
    let pool = pool();
    let peer = CheckedLender::leak(pool, 4);
    let lent = pool.alloc().unwrap().lend(peer).unwrap();
    let block = lent.block().index();
    peer.write(block, 0, b"first").unwrap();
    peer.write(block, 0, b"other").unwrap();
    let mut page = lent.reclaim().unwrap();
    // The length is the peer's word.
    assert_eq!(page.set_len(257), Err(NoRoom));
    page.set_len(5).unwrap();
    assert_eq!(&page[..], b"other");
    assert_eq!(
        peer.write(block, 0, b"verified, then changed"),
        Err(Violation::NotLent)
    );
    assert_eq!(&page[..], b"other");
}

#[test]
fn a_lender_that_panics_costs_a_page_and_no_more() {
    struct Panics;
    // SAFETY: lends nothing.
    unsafe impl Lender for Panics {
        unsafe fn lend(&self, _: BlockId, _: Access) -> Result<(), LendError> {
            panic!("lender");
        }
        unsafe fn end(&self, _: BlockId, _: Access) -> Result<(), StillInUse> {
            unreachable!();
        }
    }
    let pool = pool();
    let attempt = |lend: &dyn Fn()| {
        std::panic::catch_unwind(std::panic::AssertUnwindSafe(lend)).unwrap_err();
    };
    attempt(&|| drop(pool.alloc().unwrap().lend(&Panics)));
    assert_eq!((pool.free(), pool.counters().quarantined), (3, 1));
    let page = pool.alloc().unwrap().freeze();
    attempt(&|| drop(page.lend(&Panics)));
    drop(page);
    assert_eq!((pool.free(), pool.counters().quarantined), (2, 2));
}

#[test]
fn a_panic_returns_the_pages_that_it_passes() {
    let pool = pool();
    let held = || {
        let page = pool.alloc().unwrap();
        let frozen = pool.alloc().unwrap().freeze();
        let _clone = frozen.clone();
        assert_eq!(page.len() + frozen.len(), 1, "unwinds");
    };
    std::panic::catch_unwind(std::panic::AssertUnwindSafe(held)).unwrap_err();
    assert_eq!(pool.free(), 4);
}

#[test]
fn a_lender_may_use_the_pool_while_it_lends() {
    struct Reenters(&'static Pool);
    // SAFETY: lends nothing; there is no other agent.
    unsafe impl Lender for Reenters {
        unsafe fn lend(&self, block: BlockId, _: Access) -> Result<(), LendError> {
            let pages: Vec<PageMut> = core::iter::from_fn(|| self.0.alloc()).collect();
            assert_eq!(pages.len(), 3);
            assert!(pages.iter().all(|page| page.block() != block));
            Ok(())
        }
        unsafe fn end(&self, _: BlockId, _: Access) -> Result<(), StillInUse> {
            assert_eq!(self.0.free(), 3);
            let _page = self.0.alloc();
            Ok(())
        }
    }
    let pool = pool();
    let lender: &'static Reenters = std::boxed::Box::leak(std::boxed::Box::new(Reenters(pool)));
    let lent = pool.alloc().unwrap().lend(lender).unwrap();
    let page = lent.reclaim().unwrap().freeze();
    let lent = page.lend(lender).unwrap();
    drop(page);
    drop(lent.end().unwrap());
    assert_eq!(pool.free(), 4);
}

#[test]
fn pages_of_a_reserve_that_is_gone_return_to_the_general_part() {
    let pool = pool();
    let reserve = pool.reserve(3).unwrap();
    let (first, second) = (reserve.alloc().unwrap(), reserve.alloc().unwrap());
    drop(reserve);
    assert_eq!(pool.free(), 2);
    let second = second.keep().unwrap();
    drop(first);
    drop(second);
    assert_eq!((pool.free(), pool.free_in_all()), (4, 4));
}

/// Whoever divides the general part among others counts on its size: it is the same whatever is in use.
#[test]
fn the_general_part_is_as_large_as_the_reserves_leave_it() {
    let pool = pool();
    let reserve = pool.reserve(2).unwrap();
    assert_eq!((pool.general(), pool.blocks()), (2, 4));
    let page = pool.alloc().unwrap();
    let received = reserve.alloc().unwrap();
    let other = reserve.alloc().unwrap();
    assert_eq!(pool.general(), 2);
    let kept = received.keep().unwrap();
    assert_eq!((pool.general(), pool.free()), (2, 0));
    drop((page, kept));
    assert_eq!((pool.general(), pool.free()), (2, 2));
    reserve.grow(1).unwrap();
    assert_eq!(pool.general(), 1);
    drop(reserve);
    drop(other);
    assert_eq!((pool.general(), pool.free()), (4, 4));
}

#[test]
fn a_place_for_a_reserve_is_not_given_to_another_while_its_pages_are_out() {
    let pool = storage::leak(20, 64).unwrap();
    let first = pool.reserve(1).unwrap();
    let page = first.alloc().unwrap();
    drop(first);
    let others: Vec<Reserve> = core::iter::from_fn(|| pool.reserve(0).ok()).collect();
    assert_eq!(others.len(), 15);
    assert_eq!(pool.reserve(0).unwrap_err(), PoolError::OutOfReserves);
    drop(page);
    assert!(others.iter().all(|reserve| reserve.free() == 0));
    assert_eq!(pool.free(), 20);
    assert_eq!(pool.reserve(21).unwrap_err(), PoolError::OutOfPages);
    assert!(pool.reserve(20).is_ok());
}

#[test]
fn a_region_that_does_not_fit_is_refused() {
    fn region(len: usize) -> &'static mut [u8] {
        let all: &'static mut [u8] = std::vec![0; len + Pool::PAGE_SIZE].leak();
        let skip = all.as_ptr().align_offset(Pool::PAGE_SIZE);
        &mut all[skip..skip + len]
    }
    fn metadata() -> &'static mut PoolMetadata<2, 1, 1> {
        std::boxed::Box::leak(std::boxed::Box::default())
    }
    let new = |region, size| Pool::new(region, metadata(), size).map(Pool::blocks);
    assert_eq!(new(region(512), 256), Ok(2));
    assert_eq!(new(region(256), 256), Ok(1));
    for size in [0, 1, 32, 100, 65_536, usize::MAX] {
        assert_eq!(new(region(512), size), Err(PoolError::BlockSize));
    }
    for len in [0, 255, 300, 768] {
        assert_eq!(new(region(len), 256), Err(PoolError::RegionLength));
    }
    assert_eq!(new(&mut region(513)[1..], 256), Err(PoolError::Unaligned));
    assert_eq!(
        Pool::leak(usize::MAX, 4_096).map(Pool::blocks),
        Err(PoolError::RegionLength)
    );
    assert_eq!(
        Pool::leak(0, 4_096).map(Pool::blocks),
        Err(PoolError::RegionLength)
    );
    assert_eq!(
        Pool::leak(1, 3_000).map(Pool::blocks),
        Err(PoolError::BlockSize)
    );
}

#[test]
fn a_part_of_a_static_range_is_cut_within_it() {
    let range = pool().register_static(b"0123456789").unwrap();
    let Some(Segment::Static(mut slice)) = range.slice(2..8) else {
        panic!("not a slice")
    };
    slice.advance(2).unwrap();
    assert_eq!(slice.bytes(), b"4567");
    slice.truncate(9);
    assert_eq!(slice.advance(5), Err(NoRoom));
    slice.truncate(3);
    assert_eq!(slice.bytes(), b"456");
    slice.advance(3).unwrap();
    assert_eq!(slice.bytes(), b"");
    assert_eq!(slice.advance(1), Err(NoRoom));
}

#[test]
fn a_static_pool_is_made_once() {
    static STORAGE: PoolStorage<3, 64, 1, 1> = PoolStorage::new();
    let pool = STORAGE.init().unwrap();
    assert_eq!(
        STORAGE.init().map(Pool::blocks),
        Err(PoolError::AlreadyInitialised)
    );
    assert!(pool.base().addr().get().is_multiple_of(Pool::PAGE_SIZE));
    let reserve = pool.reserve(2).unwrap();
    assert_eq!(pool.reserve(0).unwrap_err(), PoolError::OutOfReserves);
    let mut page = reserve.alloc().unwrap();
    page.extend_from_slice(b"static").unwrap();
    assert_eq!(
        (pool.free(), reserve.free(), &page[..]),
        (1, 1, &b"static"[..])
    );
    let range = pool.register_static(b"zone").unwrap();
    assert_eq!(
        pool.register_static(b"more").unwrap_err(),
        PoolError::OutOfStaticRanges
    );
    assert_eq!(
        (range.index(), pool.static_ranges().collect::<Vec<_>>()),
        (0, std::vec![&b"zone"[..]])
    );
    assert!(range.slice(3..5).is_none());
    assert_eq!(&range.slice(1..3).unwrap()[..], b"on");
    // Other octets: two statics of the same ones may be one.
    static OTHER: [u8; 4] = *b"none";
    assert!(pool.static_segment(&OTHER).is_none());
    static WHOLE: [u8; 4] = *b"abcd";
    let other = self::pool();
    other.register_static(&WHOLE[..2]).unwrap();
    assert!(other.static_segment(&WHOLE[1..3]).is_none());
    let Some(Segment::Static(slice)) = pool.static_segment(&range.bytes()[1..]) else {
        panic!("not found")
    };
    assert_eq!((slice.bytes(), slice.range()), (&b"one"[..], 0));
    // The same number names another range of another pool.
    assert!(slice.is_of(pool) && !slice.is_of(self::pool()));
}

#[test]
fn a_join_never_swallows_a_window_between() {
    let pool = pool();
    let mut page = pool.alloc().unwrap();
    page.expand();
    let (front, rest) = page.split_at(10).unwrap();
    let (middle, mut back) = rest.split_at(10).unwrap();
    back.truncate(0);
    // An empty window touches everything; the extents decide.
    let (mut front, back) = front.join(back).unwrap_err();
    front.truncate(0);
    let (front, back) = front.join(back).unwrap_err();
    // Nor does it go backwards, nor over the border of two blocks.
    let (middle, front) = middle.join(front).unwrap_err();
    let mut other = pool.alloc().unwrap();
    other.reset(10).unwrap();
    let (front, _other) = front.join(other).unwrap_err();
    let page = front.join(middle).unwrap().join(back).unwrap();
    assert_eq!(
        (page.capacity(), page.headroom(), page.len(), page.is_sole()),
        (256, 10, 10, true)
    );
}
