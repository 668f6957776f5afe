mod property;

use alloc::vec::Vec;

use mirage_core::OffloadFlags;
use mirage_core::doubles::Violation;

use super::*;
use crate::abi::PAGE_SIZE;
use crate::abi::netif::{ExtraInfo, NETIF_RSP_ERROR, ReceiveFlags, SegmentationType};
use crate::netfront::testing::{ReceiveBack, TestPages, attach, bytes_of, ethernet, udp};

const ALL: OffloadFlags = OffloadFlags::RECEIVE_VERIFIED.union(OffloadFlags::RECEIVE_PARTIAL);

/// A receiver, and its backend.
struct Pair {
    pages: TestPages,
    receiver: Receiver,
    back: ReceiveBack,
    limits: Limits,
}

impl Pair {
    fn new(reserve: usize) -> Self {
        Self::with(reserve, 64, ALL)
    }

    fn with(reserve: usize, others: usize, offloads: OffloadFlags) -> Self {
        let pages = TestPages::new(1 + reserve + others);
        let page = pages.ring_page();
        let mut places = Vec::new();
        places.resize_with(reserve, || None);
        let reserve = pages.pool.reserve(reserve).unwrap();
        let mut receiver = Receiver::new(page, reserve, places.leak());
        receiver.connect(&pages);
        let _ = receiver.publish();
        let back = attach(receiver.block().unwrap());
        Self {
            pages,
            receiver,
            back,
            limits: Limits {
                mtu: 1_500,
                offloads,
            },
        }
    }

    /// The backend puts bytes into the next page, and answers.
    fn put(&mut self, offset: usize, bytes: &[u8], flags: ReceiveFlags) -> ReceiveRequest {
        let request = self.back.take_request().unwrap().expect("a page is posted");
        let block = TestPages::block(request.reference);
        self.pages.peer.write(block, offset, bytes).unwrap();
        self.answer(ReceiveResponse {
            id: request.id,
            offset: offset as u16,
            flags: flags.bits(),
            status: bytes.len() as i16,
        });
        request
    }

    /// The backend answers the next request so, whatever it is.
    fn respond(&mut self, change: impl FnOnce(&mut ReceiveResponse)) -> ReceiveRequest {
        let request = self.back.take_request().unwrap().expect("a page is posted");
        let mut response = ReceiveResponse {
            id: request.id,
            offset: 0,
            flags: 0,
            status: 60,
        };
        change(&mut response);
        self.answer(response);
        request
    }

    fn answer(&mut self, response: ReceiveResponse) {
        self.back.push(response).unwrap();
        let _ = self.back.publish();
    }

    fn extra(&mut self, info: ExtraInfo, more: bool) {
        self.back.take_request().unwrap().expect("a page is posted");
        self.answer(info.encode(more).into_response());
    }

    /// One frame, and its pages posted again.
    fn poll(&mut self) -> Option<Frame> {
        let received = self.receiver.poll(&self.pages, &self.limits).unwrap();
        self.receiver.refill(&self.pages);
        let _ = self.receiver.publish();
        match received {
            Received::Frame(frame) => Some(frame),
            Received::Nothing => None,
            Received::Enough => panic!("more than the budget"),
        }
    }

    fn counters(&self) -> ReceiveCounters {
        self.receiver.counters
    }

    /// All pages are posted, or their slots taken.
    fn check(&self) {
        assert_eq!(
            self.receiver.posted(),
            self.receiver.ring.in_flight() as usize
        );
    }
}

#[test]
fn a_frame_arrives_in_the_page_that_it_was_put_into() {
    let mut pair = Pair::new(4);
    let bytes = ethernet(1, 60);
    for offset in [0, 64, PAGE_SIZE - 60] {
        let request = pair.put(offset, &bytes, ReceiveFlags::empty());
        let frame = pair.poll().unwrap();
        assert_eq!(bytes_of(&frame), bytes);
        let Some(mirage_core::Segment::Unique(page)) = frame.first() else {
            panic!("a received page is nobody else's")
        };
        assert_eq!(page.block().index(), TestPages::block(request.reference));
        assert_eq!(page.offset(), offset);
        assert_eq!(frame.metadata, mirage_core::FrameMetadata::NONE);
    }
    assert_eq!((pair.counters().frames, pair.counters().bytes), (3, 180));
    assert_eq!(pair.pages.peer.violations(), 0);
}

#[test]
fn ids_and_references_are_those_of_posted_pages() {
    let mut pair = Pair::new(4);
    let mut seen = Vec::new();
    while let Some(request) = pair.back.take_request().unwrap() {
        assert_eq!(request.padding, 0);
        assert_eq!(usize::from(request.id), seen.len());
        assert!(!seen.contains(&request.reference));
        let block = TestPages::block(request.reference);
        let access = pair.pages.peer.access(block);
        assert_eq!(access, Some(mirage_core::pool::Access::Write));
        seen.push(request.reference);
    }
    assert_eq!(seen.len(), 4);
}

#[test]
fn bytes_can_not_be_changed_after_they_were_looked_at() {
    let mut pair = Pair::new(4);
    let bytes = ethernet(1, 60);
    let request = pair.put(0, &bytes, ReceiveFlags::empty());
    let block = TestPages::block(request.reference);
    // After the response, but before anybody looks: that is what is received.
    pair.pages.peer.write(block, 20, b"changed").unwrap();
    let frame = pair.poll().unwrap();
    let received = bytes_of(&frame);
    assert_eq!(&received[20..27], b"changed");
    let too_late = pair.pages.peer.write(block, 20, b"again");
    assert_eq!(too_late, Err(Violation::NotLent));
    assert_eq!(bytes_of(&frame), received);
}

#[test]
fn a_page_that_the_backend_does_not_let_go_is_out_of_use_and_counted() {
    let mut pair = Pair::new(4);
    let request = pair.put(0, &ethernet(1, 60), ReceiveFlags::empty());
    let block = TestPages::block(request.reference);
    pair.pages.peer.hold(block, true).unwrap();
    assert!(pair.poll().is_none());
    assert_eq!(pair.counters().quarantined, 1);
    assert_eq!(pair.counters().dropped_still_in_use, 1);
    assert_eq!(pair.pages.pool.counters().quarantined, 1);
    // The rest goes on, and that page never comes again.
    for _ in 0..8 {
        let request = pair.put(0, &ethernet(2, 60), ReceiveFlags::empty());
        assert_ne!(TestPages::block(request.reference), block);
        assert!(pair.poll().is_some());
    }
    assert_eq!(pair.receiver.pages(), 3);
}

#[test]
fn a_frame_in_up_to_eighteen_pieces_is_one_frame() {
    for count in [2, 3, 4, 18] {
        let mut pair = Pair::new(40);
        let bytes = ethernet(1, 14 + 50 * count);
        let cut: Vec<_> = bytes.chunks(bytes.len().div_ceil(count)).collect();
        assert_eq!(cut.len(), count);
        for (index, piece) in cut.iter().enumerate() {
            assert!(pair.poll().is_none());
            let last = index + 1 == count;
            let flags = if last {
                ReceiveFlags::empty()
            } else {
                ReceiveFlags::MORE_DATA
            };
            pair.put(index, piece, flags);
        }
        let frame = pair.poll().unwrap();
        assert_eq!(frame.segments().len(), count);
        assert_eq!(bytes_of(&frame), bytes);
    }
}

#[test]
fn a_frame_in_more_pieces_is_dropped_with_all_of_them() {
    let mut pair = Pair::new(64);
    for _ in 0..18 {
        pair.put(0, &ethernet(1, 60), ReceiveFlags::MORE_DATA);
    }
    assert!(pair.poll().is_none());
    assert_eq!(pair.receiver.reserve.in_use(), 64);
    pair.put(0, &ethernet(1, 60), ReceiveFlags::MORE_DATA);
    assert!(pair.poll().is_none());
    // A chain without an end takes no more.
    for _ in 0..100 {
        pair.put(0, &ethernet(1, 60), ReceiveFlags::MORE_DATA);
        assert!(pair.poll().is_none());
        assert_eq!(pair.receiver.posted(), 64);
    }
    pair.put(0, &ethernet(1, 60), ReceiveFlags::empty());
    assert!(pair.poll().is_none());
    assert_eq!(pair.counters().dropped_too_many_slots, 1);
    // And the next frame is a frame.
    pair.put(0, &ethernet(2, 60), ReceiveFlags::empty());
    assert_eq!(bytes_of(&pair.poll().unwrap()), ethernet(2, 60));
}

#[test]
fn a_response_that_was_never_asked_for_or_came_before_drops_its_frame_alone() {
    let mut pair = Pair::new(4);
    let first = pair.put(0, &ethernet(1, 60), ReceiveFlags::empty());
    // Answered twice, in the place of the next.
    pair.respond(|response| response.id = first.id);
    pair.respond(|response| response.id = 0xffff);
    pair.put(0, &ethernet(2, 60), ReceiveFlags::empty());
    assert_eq!(bytes_of(&pair.poll().unwrap()), ethernet(1, 60));
    assert_eq!(bytes_of(&pair.poll().unwrap()), ethernet(2, 60));
    assert!(pair.poll().is_none());
    assert_eq!(pair.counters().dropped_id, 2);
    assert_eq!(pair.receiver.posted(), 4);
    assert_eq!(pair.receiver.pages(), 4);
    pair.check();
}

#[test]
fn bytes_that_are_not_in_the_page_are_not_looked_at() {
    let mut pair = Pair::new(4);
    for (offset, status) in [
        (PAGE_SIZE as u16, 1),
        (PAGE_SIZE as u16 - 59, 60),
        (u16::MAX, 60),
        (u16::MAX, i16::MAX),
        (0, PAGE_SIZE as i16 + 1),
    ] {
        pair.respond(|response| (response.offset, response.status) = (offset, status));
        assert!(pair.poll().is_none());
    }
    assert_eq!(pair.counters().dropped_bounds, 5);
    // They are still posted, as they were.
    assert_eq!(pair.receiver.posted(), 4);
}

#[test]
fn an_error_in_place_of_a_length_drops_the_frame() {
    let mut pair = Pair::new(4);
    for status in [NETIF_RSP_ERROR, -2, i16::MIN] {
        pair.respond(|response| response.status = status);
        assert!(pair.poll().is_none());
    }
    // Of a frame's later piece, too.
    pair.put(0, &ethernet(1, 60), ReceiveFlags::MORE_DATA);
    pair.respond(|response| response.status = NETIF_RSP_ERROR);
    assert!(pair.poll().is_none());
    assert_eq!(pair.counters().dropped_status, 4);
    assert_eq!(pair.receiver.posted(), 4);
}

#[test]
fn frames_shorter_than_a_header_or_longer_than_the_mtu_are_dropped() {
    let mut pair = Pair::new(4);
    pair.put(0, &ethernet(1, 14)[..13], ReceiveFlags::empty());
    pair.respond(|response| response.status = 0);
    pair.put(0, &ethernet(1, 1_519), ReceiveFlags::empty());
    pair.put(0, &ethernet(1, 1_518), ReceiveFlags::empty());
    assert_eq!(pair.poll().map(|frame| frame.len()), Some(1_518));
    assert_eq!(pair.counters().dropped_too_short, 2);
    assert_eq!(pair.counters().dropped_too_long, 1);
}

#[test]
fn what_the_backend_says_of_the_checksum_is_believed_where_it_was_negotiated() {
    let mut pair = Pair::new(4);
    let bytes = udp(b"payload");
    let both = ReceiveFlags::CSUM_BLANK | ReceiveFlags::DATA_VALIDATED;
    for (flags, expected) in [
        (ReceiveFlags::empty(), Checksum::Unverified),
        (ReceiveFlags::DATA_VALIDATED, Checksum::Verified),
        (
            ReceiveFlags::CSUM_BLANK,
            Checksum::Partial {
                start: 34,
                offset: 6,
            },
        ),
        (
            both,
            Checksum::Partial {
                start: 34,
                offset: 6,
            },
        ),
    ] {
        pair.put(0, &bytes, flags);
        let frame = pair.poll().unwrap();
        assert_eq!(frame.metadata.checksum, expected);
    }
    // Headers that have no checksum.
    pair.put(0, &ethernet(1, 60), ReceiveFlags::CSUM_BLANK);
    assert!(pair.poll().is_none());
    assert_eq!(pair.counters().dropped_checksum, 1);

    let mut pair = Pair::with(4, 64, OffloadFlags::empty());
    pair.put(0, &bytes, ReceiveFlags::DATA_VALIDATED);
    let frame = pair.poll().unwrap();
    assert_eq!(frame.metadata.checksum, Checksum::Unverified);
    pair.put(0, &bytes, both);
    assert!(pair.poll().is_none());
    assert_eq!(pair.counters().dropped_checksum, 1);
}

const SEGMENTED: ExtraInfo = ExtraInfo::Segmentation {
    size: 1_448,
    kind: SegmentationType::TcpV4,
    features: 0,
};

#[test]
fn a_segmented_frame_is_taken_where_it_was_negotiated_and_dropped_elsewhere() {
    let flags = ReceiveFlags::EXTRA_INFO | ReceiveFlags::DATA_VALIDATED;
    let mut pair = Pair::with(8, 64, ALL | OffloadFlags::RECEIVE_SEGMENTED_V4);
    let bytes = ethernet(1, 6_000);
    pair.put(0, &bytes[..4_000], flags | ReceiveFlags::MORE_DATA);
    pair.extra(SEGMENTED, false);
    pair.put(0, &bytes[4_000..], ReceiveFlags::empty());
    let frame = pair.poll().unwrap();
    assert_eq!(bytes_of(&frame), bytes);
    let expected = mirage_core::Segmentation {
        size: 1_448,
        kind: mirage_core::SegmentationKind::TcpV4,
        header_len: 0,
    };
    assert_eq!(frame.metadata.segmentation, Some(expected));
    // In one piece.
    pair.put(0, &ethernet(2, 60), flags);
    pair.extra(SEGMENTED, false);
    assert!(pair.poll().unwrap().metadata.segmentation.is_some());
    // Of a kind that isn't known, of no size, or nobody's.
    for (size, kind) in [
        (0, SegmentationType::TcpV4),
        (1, SegmentationType::TcpV6),
        (1, SegmentationType::Unknown(9)),
    ] {
        pair.put(0, &bytes[..60], flags);
        let features = 0;
        pair.extra(
            ExtraInfo::Segmentation {
                size,
                kind,
                features,
            },
            false,
        );
        assert!(pair.poll().is_none());
    }
    pair.put(0, &bytes[..60], ReceiveFlags::GSO_PREFIX);
    assert!(pair.poll().is_none());
    assert_eq!(pair.counters().dropped_segmentation, 4);

    let mut pair = Pair::new(4);
    pair.put(0, &bytes[..60], flags);
    pair.extra(SEGMENTED, false);
    assert!(pair.poll().is_none());
    assert_eq!(pair.counters().dropped_segmentation, 1);
    assert_eq!(pair.receiver.posted(), 4);
}

#[test]
fn extra_information_that_nobody_asked_for_is_skipped() {
    let mut pair = Pair::new(8);
    let hash = ExtraInfo::Hash {
        kind: 0,
        algorithm: 1,
        value: 2,
    };
    let flags = ReceiveFlags::EXTRA_INFO | ReceiveFlags::MORE_DATA;
    pair.put(0, &ethernet(1, 60)[..30], flags);
    pair.extra(hash, true);
    pair.extra(ExtraInfo::Unknown(77), false);
    pair.put(0, &ethernet(1, 60)[30..], ReceiveFlags::empty());
    assert_eq!(bytes_of(&pair.poll().unwrap()), ethernet(1, 60));
    assert_eq!(pair.counters().extra_skipped, 2);
    assert_eq!(pair.receiver.posted() + 2, 8);
    // Without an end it is too much.
    pair.put(0, &ethernet(1, 60), ReceiveFlags::EXTRA_INFO);
    for _ in 0..20 {
        pair.extra(hash, true);
        assert!(pair.poll().is_none());
    }
    pair.extra(hash, false);
    assert!(pair.poll().is_none());
    assert_eq!(pair.counters().dropped_too_many_slots, 1);
}

#[test]
fn receive_never_stops_posting() {
    let mut pair = Pair::new(8);
    let mut held = Vec::new();
    for _ in 0..8 {
        pair.put(0, &ethernet(1, 60), ReceiveFlags::empty());
        held.extend(pair.poll());
    }
    // Half of the reserve is with somebody who did not keep it; half stays in the ring.
    assert_eq!((held.len(), pair.receiver.posted()), (4, 4));
    assert_eq!(pair.counters().dropped_no_page, 4);
    // What is kept is exchanged.
    let kept: Vec<_> = held.drain(..).map(|frame| frame.keep().unwrap()).collect();
    for _ in 0..100 {
        pair.put(0, &ethernet(1, 60), ReceiveFlags::empty());
        assert!(pair.poll().is_some());
        assert!(pair.receiver.posted() >= 7);
    }
    drop(kept);
    assert_eq!(pair.counters().dropped_no_page, 4);
}

#[test]
fn a_frame_without_room_for_its_pieces_returns_them() {
    let mut pair = Pair::new(32);
    // Others have all the room that the pool has for long frames.
    let page = pair.pages.pool.alloc().unwrap().freeze();
    let long = || {
        let mut frame = Frame::new();
        let whole = (0..4).all(|_| frame.push(page.clone()).is_ok());
        whole.then_some(frame)
    };
    let _others: Vec<_> = core::iter::from_fn(long).collect();
    for piece in 0..4 {
        let more = if piece < 3 {
            ReceiveFlags::MORE_DATA
        } else {
            ReceiveFlags::empty()
        };
        pair.put(0, &ethernet(1, 60), more);
    }
    assert!(pair.poll().is_none());
    assert_eq!(pair.counters().dropped_no_chain, 1);
    assert_eq!(pair.receiver.posted(), 32);
}

#[test]
fn an_index_that_can_not_be_is_refused() {
    let mut pair = Pair::new(4);
    let block = pair.receiver.block().unwrap();
    // The producer of responses is the third word of the page.
    for claim in [5_u32, 257, u32::MAX] {
        // SAFETY: the page is shared: reached by atomics alone; the address is aligned and in it.
        let producer = unsafe {
            block
                .address()
                .cast::<core::sync::atomic::AtomicU32>()
                .add(2)
                .as_ref()
        };
        producer.store(claim, core::sync::atomic::Ordering::Relaxed);
        let polled = pair.receiver.poll(&pair.pages, &pair.limits);
        assert!(polled.is_err(), "{claim}");
    }
}

#[test]
fn what_is_posted_is_posted_again_to_the_next_backend() {
    let mut pair = Pair::new(8);
    pair.put(0, &ethernet(1, 60), ReceiveFlags::empty());
    assert!(pair.poll().is_some());
    pair.put(0, &ethernet(1, 60), ReceiveFlags::MORE_DATA);
    assert!(pair.poll().is_none());
    pair.receiver.disconnect();
    assert_eq!(pair.counters().dropped_disconnected, 1);
    pair.receiver.connect(&pair.pages);
    assert!(pair.receiver.publish());
    pair.back = attach(pair.receiver.block().unwrap());
    assert_eq!(pair.receiver.posted(), 8);
    for index in 0..20 {
        pair.put(0, &ethernet(index, 60), ReceiveFlags::empty());
        assert_eq!(bytes_of(&pair.poll().unwrap()), ethernet(index, 60));
    }
    assert_eq!(pair.pages.peer.violations(), 0);
}

#[test]
fn a_flood_of_nonsense_does_not_keep_others_from_running() {
    let mut pair = Pair::new(128);
    for _ in 0..128 {
        pair.respond(|response| response.status = -1);
    }
    let received = pair.receiver.poll(&pair.pages, &pair.limits).unwrap();
    assert!(matches!(received, Received::Enough));
    assert_eq!(pair.counters().dropped_status, u64::from(SLOT_BUDGET));
}
