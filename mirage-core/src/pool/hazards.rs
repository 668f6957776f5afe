//! One test for each defect that others have had, named after what it keeps out.

extern crate std;

use super::*;
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
