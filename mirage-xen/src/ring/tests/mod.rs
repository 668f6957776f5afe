mod macros;
mod model;

use super::*;
use crate::hypervisor::SharedPage;
use core::ptr::NonNull;
use core::sync::atomic::{AtomicU32, Ordering};
use mirage_core::Pool;
use mirage_core::doubles::CheckedLender;
use mirage_core::pool::LendError;
use proptest::prelude::*;
use std::boxed::Box;
use std::format;
use std::vec::Vec;
use zerocopy::{FromBytes, Immutable, IntoBytes};

/// As netif's transmit request: 12 bytes, with an id by which the response is matched.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable)]
#[repr(C)]
struct Request {
    reference: u32,
    offset: u16,
    flags: u16,
    id: u16,
    size: u16,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable)]
#[repr(C)]
struct Response {
    id: u16,
    status: i16,
}

type Front = FrontRing<Request, Response>;
type Back = BackRing<Request, Response>;

fn request(id: u16) -> Request {
    Request {
        reference: 0x0403_0201,
        offset: 0x0605,
        flags: 0x0807,
        id,
        size: 0x0c0b,
    }
}

fn response(id: u16) -> Response {
    Response { id, status: -1 }
}

fn lent() -> RingPage {
    let pool = Pool::leak(1, PAGE_SIZE).unwrap();
    let lender = CheckedLender::leak(pool, 1);
    RingPage::lend(pool.alloc().unwrap(), lender).unwrap()
}

/// The page as the other end sees it.
fn peer(page: &RingPage) -> SharedPage {
    // SAFETY: the block is a page of a pool that is never freed. These tests lend it for good, so that the ring's atomics and
    // volatile accesses, and the same in here, are all that reach it.
    unsafe { SharedPage::new(page.block().unwrap().address()) }
}

fn both(start: u32) -> (Front, Back) {
    let front = Front::new_at(lent(), start);
    let back = Back::attach(peer(front.page()).into());
    (front, back)
}

/// One of the four indices.
fn index(page: SharedPage, number: usize) -> &'static AtomicU32 {
    // SAFETY: the page is shared; the first four words are in it, reached by atomics alone.
    unsafe { page.cast::<[AtomicU32; 4]>() }
        .get(number)
        .unwrap()
}

fn bytes(page: SharedPage) -> Vec<u8> {
    let byte = |offset| {
        // SAFETY: `offset` is below the page's size; a volatile read.
        unsafe { page.address().add(offset).read_volatile() }
    };
    (0..PAGE_SIZE).map(byte).collect()
}

#[test]
fn a_ring_has_as_many_slots_as_the_headers_say() {
    // netif: 12 and 4 bytes, 8 and 8; blkif: 112 and 16.
    assert_eq!(Front::SIZE, 256);
    assert_eq!(FrontRing::<u64, u64>::SIZE, 256);
    assert_eq!(FrontRing::<[u64; 14], [u64; 2]>::SIZE, 32);
    assert_eq!(FrontRing::<u8, [u8; 4_032]>::SIZE, 1);
    assert_eq!(FrontRing::<u8, u8>::SIZE, 2_048);
    // A union's size is a multiple of its alignment.
    assert_eq!(slot_size::<[u8; 9], u64>(), 16);
    assert_eq!(BackRing::<Request, Response>::SIZE, 256);
}

#[test]
fn golden_bytes_of_a_new_ring_and_a_request() {
    let (mut front, mut back) = both(0);
    let page = peer(front.page());
    let mut expected = std::vec![0; PAGE_SIZE];
    // req_prod, req_event, rsp_prod, rsp_event.
    expected[4] = 1;
    expected[12] = 1;
    assert_eq!(bytes(page), expected);
    assert_eq!(front.push(request(0x0a09)), Ok(0));
    assert!(front.publish());
    expected[0] = 1;
    let slot = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12];
    expected[64..76].copy_from_slice(&slot);
    assert_eq!(bytes(page), expected);
    assert_eq!(back.take_request(), Ok(Some(request(0x0a09))));
    assert_eq!(back.push(response(0x0a09)), Ok(0));
    assert!(back.publish());
    expected[8] = 1;
    expected[64..68].copy_from_slice(&[9, 10, 0xff, 0xff]);
    assert_eq!(bytes(page), expected);
    assert_eq!(front.take_response(), Ok(Some(response(0x0a09))));
}

#[test]
fn what_lay_in_the_page_is_not_shown_to_the_peer() {
    let pool = Pool::leak(1, PAGE_SIZE).unwrap();
    let lender = CheckedLender::leak(pool, 1);
    let mut page = pool.alloc().unwrap();
    page.extend_from_slice(&[0x5a; PAGE_SIZE]).unwrap();
    let page = RingPage::lend(page, lender).unwrap();
    let mut seen = [1; PAGE_SIZE];
    lender.read(0, 0, &mut seen).unwrap();
    assert_eq!(seen, [0; PAGE_SIZE]);
    let front = Front::new(page);
    drop(front.into_page().reclaim().unwrap().unwrap());
    assert_eq!(pool.free(), 1);
}

#[test]
fn a_page_that_cant_be_lent_comes_back() {
    let pool = Pool::leak(2, 2_048).unwrap();
    let lender = CheckedLender::leak(pool, 1);
    let (_, error) = RingPage::lend(pool.alloc().unwrap(), lender).unwrap_err();
    assert_eq!(error, RingPageError::BlockSize(2_048));
    let pool = Pool::leak(2, PAGE_SIZE).unwrap();
    let lender = CheckedLender::leak(pool, 1);
    let (page, rest) = pool.alloc().unwrap().split_at(0).unwrap();
    let (page, error) = RingPage::lend(page, lender).unwrap_err();
    assert_eq!(error, RingPageError::Lend(LendError::Shared));
    drop(rest);
    lender.refuse(Some(LendError::Gone));
    let (page, error) = RingPage::lend(page, lender).unwrap_err();
    assert_eq!(format!("{error}"), "the other agent is gone");
    lender.refuse(None);
    let page = RingPage::lend(page, lender).unwrap();
    lender.hold(0, true).unwrap();
    let page = page.reclaim().unwrap_err();
    drop(page);
    assert_eq!(pool.counters().quarantined, 1);
    assert!(peer_of_nothing().reclaim().unwrap().is_none());
}

fn peer_of_nothing() -> RingPage {
    #[repr(align(4096))]
    struct Page([AtomicU32; 1_024]);
    let page = Box::leak(Box::new(Page([const { AtomicU32::new(0) }; 1_024])));
    // SAFETY: a page of atomics that lives for ever.
    unsafe { SharedPage::new(NonNull::from(&page.0).cast()) }.into()
}

#[test]
fn a_full_ring_refuses_and_a_response_without_a_request_too() {
    let (mut front, mut back) = both(u32::MAX - 3);
    for id in 0..256 {
        assert_eq!(front.free(), 256 - u32::from(id));
        assert_eq!(front.push(request(id)), Ok((u32::from(id) + 252) % 256));
    }
    assert_eq!(front.push(request(0)), Err(RingFull));
    assert!(front.publish());
    assert_eq!(back.push(response(0)), Err(NoRequest));
    assert_eq!(back.unconsumed(), Ok(256));
    for id in 0..256 {
        assert_eq!(back.take_request(), Ok(Some(request(id))));
    }
    assert_eq!(back.take_request(), Ok(None));
    for id in 0..256 {
        back.push(response(id)).unwrap();
    }
    assert_eq!(back.push(response(0)), Err(NoRequest));
    assert!(back.publish());
    assert_eq!((front.unconsumed(), front.in_flight()), (Ok(256), 256));
    for id in 0..256 {
        assert_eq!(front.take_response(), Ok(Some(response(id))));
    }
    assert_eq!(front.take_response(), Ok(None));
    assert_eq!(front.free(), 256);
}

#[test]
fn a_producer_that_cant_be_is_the_peers_fault_and_harms_nobody() {
    let (mut front, _) = both(0);
    let page = peer(front.page());
    for id in 0..3 {
        front.push(request(id)).unwrap();
    }
    let _ = front.publish();
    // Not published: a response to it can't be.
    front.push(request(3)).unwrap();
    for producer in [4, 5, 257, 1 << 31, u32::MAX] {
        index(page, 2).store(producer, Ordering::Relaxed);
        let expected = RingError {
            producer,
            consumer: 0,
            most: 3,
        };
        assert_eq!(front.take_response(), Err(expected));
        assert_eq!(front.unconsumed(), Err(expected));
        assert!(front.final_check(), "or nobody would hear of it");
        assert_eq!(front.free(), 252);
    }
    // Back, but not behind what was taken.
    index(page, 2).store(3, Ordering::Relaxed);
    for _ in 0..3 {
        assert!(front.take_response().unwrap().is_some());
    }
    index(page, 2).store(2, Ordering::Relaxed);
    let error = front.take_response().unwrap_err();
    assert_eq!(
        format!("{error}"),
        "the peer's ring index is 2, which is not at most 0 after 3"
    );
    let (front, mut back) = both(0);
    index(peer(front.page()), 0).store(257, Ordering::Relaxed);
    assert_eq!(back.take_request().unwrap_err().most, 256);
    assert!(back.final_check());
}

#[test]
fn a_slot_that_changes_after_it_was_taken_changes_nothing() {
    let (mut front, mut back) = both(0);
    front.push(request(1)).unwrap();
    let _ = front.publish();
    back.take_request().unwrap();
    back.push(response(1)).unwrap();
    let _ = back.publish();
    let taken = front.take_response().unwrap();
    let slot = peer(front.page()).address();
    // SAFETY: in the page, which nothing refers to; a volatile write.
    unsafe { slot.add(64).cast().write_volatile(response(77)) };
    assert_eq!(taken, Some(response(1)));
    assert_eq!(front.take_response(), Ok(None));
}

#[test]
fn a_notification_is_asked_for_only_when_somebody_sleeps() {
    let (mut front, mut back) = both(u32::MAX);
    front.push(request(0)).unwrap();
    assert!(front.publish(), "the back sleeps");
    front.push(request(1)).unwrap();
    assert!(!front.publish(), "it was notified and has not looked yet");
    assert!(!front.publish(), "nothing new");
    back.take_request().unwrap();
    assert!(back.final_check(), "one is left");
    back.take_request().unwrap();
    assert!(!back.final_check());
    front.push(request(2)).unwrap();
    assert!(front.publish(), "it sleeps again");
    // The front wants to be woken when two are there.
    back.take_request().unwrap();
    assert!(!front.final_check_after(2));
    back.push(response(0)).unwrap();
    assert!(!back.publish());
    back.push(response(1)).unwrap();
    assert!(back.publish());
    assert!(front.final_check_after(2), "they are there");
    assert!(!front.final_check_after(3));
    // More than are in flight would never come.
    assert!(!front.final_check_after(u32::MAX));
    back.push(response(2)).unwrap();
    assert!(back.publish());
    assert!(!Front::new(lent()).final_check_after(0));
}

#[test]
fn a_reset_ring_is_a_new_one_in_the_same_page() {
    let (mut front, mut back) = both(0);
    let page = peer(front.page());
    for id in 0..9 {
        front.push(request(id)).unwrap();
    }
    let _ = front.publish();
    back.take_request().unwrap();
    back.push(response(1)).unwrap();
    let _ = back.publish();
    front.reset();
    assert_eq!(bytes(page), bytes(peer(Front::new(lent()).page())));
    assert_eq!((front.free(), front.take_response()), (256, Ok(None)));
    let mut back = Back::attach(page.into());
    front.push(request(7)).unwrap();
    assert!(front.publish());
    assert_eq!(back.take_request(), Ok(Some(request(7))));
}

proptest! {
    /// Whatever the back end writes into the indices: no panic, and never more responses than requests.
    #[test]
    fn a_hostile_back_end_gets_errors_alone(
        start in any::<u32>(),
        steps in proptest::collection::vec((0u8..6, any::<u32>(), 0i64..3), 0..200),
    ) {
        let mut front = Front::new_at(lent(), start);
        let page = peer(front.page());
        let (mut pushed, mut taken) = (0u64, 0u64);
        for (action, any, near) in steps {
            match action {
                0 => pushed += u64::from(front.push(request(any as u16)).is_ok()),
                1 => {
                    let _ = front.publish();
                }
                2 => {
                    if let Ok(Some(_)) = front.take_response() {
                        taken += 1;
                    }
                }
                3 => {
                    let _ = front.final_check_after(any);
                }
                4 => index(page, any as usize % 4).store(any, Ordering::Relaxed),
                _ => {
                    // Near to what could be.
                    let producer = i64::from(start) + taken as i64 + near - 1;
                    index(page, 2).store(producer as u32, Ordering::Relaxed);
                }
            }
            prop_assert!(taken <= pushed && pushed - taken <= 256);
            prop_assert_eq!(u64::from(front.in_flight()), pushed - taken);
        }
    }

    /// The same the other way round.
    #[test]
    fn a_hostile_front_end_gets_errors_alone(
        steps in proptest::collection::vec((0u8..6, any::<u32>(), 0i64..3), 0..200),
    ) {
        let (front, mut back) = both(0);
        let page = peer(front.page());
        let (mut pushed, mut taken) = (0u64, 0u64);
        for (action, any, near) in steps {
            match action {
                0 => pushed += u64::from(back.push(response(any as u16)).is_ok()),
                1 => {
                    let _ = back.publish();
                }
                2 => {
                    if let Ok(Some(_)) = back.take_request() {
                        taken += 1;
                    }
                }
                3 => {
                    let _ = back.final_check();
                }
                4 => index(page, any as usize % 4).store(any, Ordering::Relaxed),
                _ => index(page, 0).store((taken as i64 + near - 1) as u32, Ordering::Relaxed),
            }
            prop_assert!(pushed <= taken && taken - pushed <= 256);
        }
    }
}
