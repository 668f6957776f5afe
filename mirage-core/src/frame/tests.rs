//! Frames against the bytes that they are.

extern crate std;
use super::*;
use crate::pool::Pool;
use proptest::prelude::*;
use std::vec;
use std::vec::Vec;

static ZONE: [u8; 64] = [b'z'; 64];

/// A frame of these segments: (kind, length), and its bytes.
fn build(pool: &'static Pool, segments: &[(u8, usize)]) -> (Frame, Vec<u8>) {
    let range = pool.register_static(&ZONE).unwrap();
    let mut frame = Frame::new();
    let mut bytes = Vec::new();
    for (number, &(kind, len)) in (1..).zip(segments) {
        let segment = if kind == 2 {
            bytes.extend_from_slice(&ZONE[..len]);
            range.slice(..len).unwrap()
        } else {
            let mut page = pool.alloc().unwrap();
            page.append(len).unwrap().fill(number);
            bytes.extend(core::iter::repeat_n(number, len));
            if kind == 0 {
                page.into()
            } else {
                page.freeze().into()
            }
        };
        frame.push(segment).unwrap();
    }
    (frame, bytes)
}

fn bytes(frame: &Frame) -> Vec<u8> {
    frame
        .segments()
        .iter()
        .flat_map(|segment| segment.iter().copied())
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_frame_is_its_bytes_however_it_is_cut(
        segments in proptest::collection::vec((0..3u8, 0..=64usize), 0..=Frame::MAX_SEGMENTS),
        front in 0..1_200usize,
        back in 0..1_200usize,
        offset in 0..1_200usize,
        room in 0..1_200usize,
    ) {
        let pool = Pool::leak(20, 64).unwrap();
        let (mut frame, mut expected) = build(pool, &segments);
        prop_assert_eq!(bytes(&frame), expected.clone());
        prop_assert_eq!(frame.len(), expected.len());
        prop_assert_eq!(frame.is_empty(), expected.is_empty());

        let mut copied = vec![0; room];
        let count = frame.copy_to_slice(offset, &mut copied);
        let from = expected.get(offset..).unwrap_or_default();
        prop_assert_eq!(&copied[..count], &from[..from.len().min(room)]);

        frame.truncate(back);
        expected.truncate(back);
        prop_assert_eq!(bytes(&frame), expected.clone());
        prop_assert_eq!(frame.advance(front).is_ok(), front <= expected.len());
        if front <= expected.len() {
            expected.drain(..front);
        }
        prop_assert_eq!(bytes(&frame), expected);

        drop(frame);
        prop_assert_eq!(pool.free(), 20);
    }
}

#[test]
fn pieces_that_are_cut_off_return_at_once() {
    let pool = Pool::leak(20, 64).unwrap();
    let (mut frame, _) = build(pool, &[(0, 10), (1, 10), (0, 10), (1, 10)]);
    assert_eq!(pool.free(), 16);
    frame.advance(10).unwrap();
    assert_eq!((frame.segments().len(), pool.free()), (3, 17));
    frame.truncate(10);
    assert_eq!((frame.segments().len(), pool.free()), (1, 19));
    // The last one stays, empty, with its room.
    frame.advance(10).unwrap();
    assert_eq!(
        (frame.segments().len(), frame.len(), pool.free()),
        (1, 0, 19)
    );
    assert_eq!(frame.advance(1), Err(NoRoom));
}

#[test]
fn a_frame_takes_eighteen_segments_and_gives_the_next_back() {
    let pool = Pool::leak(20, 64).unwrap();
    let (mut frame, _) = build(pool, &[(0, 1); Frame::MAX_SEGMENTS]);
    let Err(Segment::Unique(page)) = frame.push(pool.alloc().unwrap()) else {
        panic!("taken")
    };
    let Err(Segment::Frozen(_)) = frame.push_front(page.freeze()) else {
        panic!("taken")
    };
    let frame = frame.into_single().unwrap_err();
    assert_eq!(
        (frame.segments().len(), frame.into_segments().len()),
        (18, 18)
    );
    assert_eq!(pool.free(), 20);
}

#[test]
fn headers_go_before_a_payload_that_stays_where_it_is() {
    let pool = Pool::leak(2, 64).unwrap();
    let payload = pool.register_static(&ZONE).unwrap().slice(..).unwrap();
    let mut frame = Frame::from(payload);
    let mut header = pool.alloc().unwrap();
    header.extend_from_slice(b"header").unwrap();
    frame.push_front(header).unwrap();
    let at = frame.segments()[1].as_ptr();
    assert!(core::ptr::eq(at, ZONE.as_ptr()));
    assert_eq!(frame.contiguous(), None);
    let mut whole = pool.alloc().unwrap();
    assert_eq!(frame.copy_into(&mut whole), Err(NoRoom));
    frame.truncate(20);
    frame.copy_into(&mut whole).unwrap();
    assert_eq!(&whole[..], b"headerzzzzzzzzzzzzzz");
}

#[test]
fn a_frame_is_kept_whole_or_given_back() {
    let pool = Pool::leak(5, 64).unwrap();
    let ring = pool.reserve(3).unwrap();
    let receive = || {
        let mut frame = Frame::new();
        frame.metadata.checksum = Checksum::Verified;
        for _ in 0..3 {
            frame.push(ring.alloc().unwrap()).unwrap();
        }
        frame
    };
    // One page in the general part, three to exchange: back it goes, nothing more is tried, and all are the ring's.
    let taken = pool.alloc();
    let refused = receive().keep().unwrap_err();
    assert_eq!(refused.segments().len(), 3);
    assert_eq!((pool.counters().kept, pool.counters().keep_refused), (1, 1));
    drop(refused);
    assert_eq!((pool.free(), ring.free()), (1, 3));
    drop(taken);
    let mut frame = receive();
    frame.truncate(0);
    let frame = frame.keep().unwrap();
    assert_eq!(frame.metadata.checksum, Checksum::Verified);
    assert_eq!((pool.free(), ring.free()), (1, 3));
}

#[test]
fn only_frozen_and_static_segments_are_shared() {
    let pool = Pool::leak(2, 64).unwrap();
    let mut page = pool.alloc().unwrap();
    page.extend_from_slice(b"data").unwrap();
    let segment = Segment::from(page);
    assert!(segment.share().is_none());
    let segment = segment.freeze();
    let shared = segment.share().unwrap();
    let segment = segment.into_page_mut().unwrap_err();
    drop(shared);
    assert_eq!(&segment.into_page_mut().unwrap()[..], b"data");
}

/// Two places for long frames.
fn few_chains() -> &'static Pool {
    let pool = Pool::leak(8, 64).unwrap();
    pool.register_static(&ZONE).unwrap();
    pool
}

fn static_segment(pool: &'static Pool, at: usize) -> Segment {
    pool.static_segment(&ZONE[at..at + 1]).unwrap()
}

fn long(pool: &'static Pool, count: usize) -> Frame {
    let mut frame = Frame::new();
    for at in 0..count {
        frame.push(static_segment(pool, at)).unwrap();
    }
    frame
}

#[test]
fn a_frame_that_finds_no_room_for_a_fourth_segment_gives_it_back_and_is_counted() {
    let pool = few_chains();
    let held = [
        long(pool, Frame::INLINE_SEGMENTS + 1),
        long(pool, Frame::MAX_SEGMENTS),
    ];
    let mut short = long(pool, Frame::INLINE_SEGMENTS);
    assert_eq!(pool.counters().chains_exhausted, 0);
    let page = pool.alloc().unwrap();
    let Err(Segment::Unique(page)) = short.push(page) else {
        panic!("taken")
    };
    let Err(Segment::Unique(page)) = short.push_front(page) else {
        panic!("taken")
    };
    assert_eq!(pool.counters().chains_exhausted, 2);
    assert_eq!(short.segments().len(), Frame::INLINE_SEGMENTS);
    // A full frame is no lack of room.
    let [four, mut full] = held;
    let Err(Segment::Unique(page)) = full.push(page) else {
        panic!("taken")
    };
    assert_eq!(pool.counters().chains_exhausted, 2);
    drop(four);
    short.push_front(page).unwrap();
    assert_eq!(short.segments().len(), 4);
    assert_eq!(pool.free(), 7);
    drop(short);
    assert_eq!(pool.free(), 8);
}

#[test]
fn a_chain_returns_when_its_segments_fit_into_the_frame_again() {
    let pool = few_chains();
    let _other = long(pool, 4);
    for shorten in [
        |mut frame: Frame| {
            frame.advance(15).unwrap();
            frame
        },
        |mut frame: Frame| {
            frame.truncate(3);
            frame
        },
        |frame: Frame| {
            let mut parts = frame.into_segments();
            let mut frame = Frame::new();
            while parts.len() > 3 {
                parts.next();
            }
            for segment in parts {
                frame.push(segment).unwrap();
            }
            frame
        },
    ] {
        let mut frame = long(pool, 18);
        frame.metadata.checksum = Checksum::Verified;
        let frame = shorten(frame);
        assert_eq!(frame.segments().len(), 3);
        assert_eq!(frame.len(), 3);
        // Only two places, and one is taken for good: this fails unless the other is free.
        drop(long(pool, 18));
        drop(frame);
    }
    assert_eq!(pool.counters().chains_exhausted, 0);
}

#[test]
fn segments_keep_their_order_across_the_edge_of_the_frame() {
    let pool = few_chains();
    let mut frame = Frame::new();
    let mut order = std::collections::VecDeque::new();
    for at in 0..Frame::MAX_SEGMENTS {
        let segment = static_segment(pool, at);
        let address = segment.as_ptr();
        if at % 2 == 0 {
            frame.push(segment).unwrap();
            order.push_back(address);
        } else {
            frame.push_front(segment).unwrap();
            order.push_front(address);
        }
        let seen = frame.segments().iter().map(|segment| segment.as_ptr());
        assert!(seen.eq(order.iter().copied()));
    }
    let parts: Vec<_> = frame
        .into_segments()
        .map(|segment| segment.as_ptr())
        .collect();
    assert_eq!(parts, Vec::from(order));
}

#[test]
fn a_pool_without_chains_has_frames_of_three_segments() {
    use crate::pool::PoolStorage;
    static STORAGE: PoolStorage<4, 64, 1, 1, 0> = PoolStorage::new();
    let pool = STORAGE.init().unwrap();
    let mut frame = Frame::new();
    for _ in 0..3 {
        frame.push(pool.alloc().unwrap()).unwrap();
    }
    assert!(frame.push(pool.alloc().unwrap()).is_err());
    assert_eq!((pool.counters().chains_exhausted, pool.free()), (1, 1));
}

#[test]
fn a_frozen_segment_is_exchanged_as_a_writable_one() {
    let pool = Pool::leak(2, 64).unwrap();
    let ring = pool.reserve(2).unwrap();
    let frame = Frame::from(ring.alloc().unwrap().freeze());
    assert!(frame.keep().is_err());
    assert_eq!(pool.counters().keep_refused, 1);
}

#[test]
fn a_frame_that_is_frozen_in_place_has_the_same_bytes_and_counts_each_handle_once() {
    let pool = Pool::leak(32, 64).unwrap();
    let segments: Vec<_> = (0..6).map(|number| (number % 3, 9)).collect();
    let (mut frame, expected) = build(pool, &segments);
    frame.freeze();
    assert_eq!(bytes(&frame), expected);
    for segment in frame.segments() {
        match segment {
            Segment::Unique(_) => panic!("{segment:?} is writable"),
            Segment::Frozen(page) => assert!(page.is_sole()),
            Segment::Static(_) => {}
        }
    }
    // And back: the last handle may write again.
    let mut segments = frame.into_segments();
    assert!(segments.next().unwrap().into_page_mut().is_ok());
    drop(segments);
    assert_eq!(pool.free_in_all(), 32);
}
