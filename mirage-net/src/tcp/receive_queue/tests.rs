//! The queue against a stream of octets of which parts arrive in any order, and as often as they like.

use super::*;
use crate::tcp::testing::{block, page, stream, table};
use proptest::prelude::*;
use std::vec;
use std::vec::Vec;

const FIRST: SequenceNumber = SequenceNumber::new(u32::MAX - 99);
const LIMITS: ReceiveLimits = ReceiveLimits { pages: 1_000 };

struct Receiver {
    pool: &'static Pool,
    table: SegmentTable<'static>,
    queue: ReceiveQueue,
    limits: ReceiveLimits,
    window: u32,
}

impl Receiver {
    fn new() -> Self {
        Self::with_pages(64)
    }

    fn with_pages(pages: usize) -> Self {
        Receiver {
            pool: Pool::leak(pages, 64).unwrap(),
            table: table(64),
            queue: ReceiveQueue::new(FIRST),
            limits: LIMITS,
            window: 1_000,
        }
    }

    fn frame(&self, at: u32, length: u32) -> Frame {
        match length {
            0 => Frame::new(),
            _ => page(self.pool, 4, &stream(FIRST + at, length)).into(),
        }
    }

    fn give(&mut self, at: u32, length: u32, fin: bool) -> Arrival {
        let frame = self.frame(at, length);
        let arrival = self.queue.handle_segment(
            &mut self.table,
            self.pool,
            &self.limits,
            self.window,
            FIRST + at,
            frame,
            fin,
        );
        self.check();
        arrival
    }

    fn read(&mut self) -> Vec<u8> {
        let mut bytes = vec![0; self.queue.readable() as usize];
        let count = self.queue.copy_to_slice(&mut self.table, &mut bytes);
        assert_eq!(count, bytes.len());
        self.check();
        bytes
    }

    fn blocks(&mut self) -> Vec<SackBlock> {
        self.queue.sack_blocks(&self.table, 4).to_vec()
    }

    /// Everything that is counted, counted again; the ranges lie apart, in order.
    fn check(&self) {
        let (queue, table) = (&self.queue, &self.table);
        let (mut octets, mut pages, mut index) = (0, 0, queue.ready.head);
        while let Some(slot) = table.get(index) {
            octets += slot.length;
            pages += u32::from(slot.pages);
            if slot.next == END {
                assert_eq!(index, queue.ready.tail);
            }
            index = slot.next;
        }
        assert_eq!((octets, pages), (queue.ready.octets, queue.ready.pages));
        let (mut octets, mut pages, mut ranges) = (0, 0, 0);
        let mut end = queue.next;
        let (mut range, mut last) = (queue.first, END);
        while let Some(head) = table.get(range) {
            assert!(head.sequence.is_after(end), "ranges touch");
            ranges += 1;
            let mut index = range;
            end = head.sequence;
            while let Some(slot) = table.get(index) {
                assert_eq!(slot.sequence, end);
                assert!(slot.length > 0);
                end = slot.end();
                octets += slot.length;
                pages += u32::from(slot.pages);
                if slot.next == END {
                    assert_eq!(index, head.older, "a range's tail");
                }
                index = slot.next;
            }
            last = range;
            range = head.newer;
        }
        assert_eq!((octets, pages), (queue.waiting, queue.waiting_pages));
        assert_eq!((ranges, last), (queue.ranges, queue.last));
        assert!(queue.ranges <= MAX_RANGES);
        assert_eq!(queue.has_gap(), queue.ranges > 0);
    }

    fn finish(mut self) {
        self.queue.clear(&mut self.table);
        self.check();
        assert_eq!(self.pool.free_in_all(), self.pool.blocks());
        assert_eq!(self.table.free(), self.table.capacity());
    }
}

fn at(left: u32, right: u32) -> SackBlock {
    block((FIRST + left).get(), (FIRST + right).get())
}

#[test]
fn in_order_data_are_read_in_the_pages_that_they_came_in() {
    let mut receiver = Receiver::new();
    let arrival = receiver.give(0, 20, false);
    assert_eq!(
        arrival,
        Arrival {
            advanced: 20,
            ..Arrival::default()
        }
    );
    assert_eq!(receiver.give(20, 5, false).advanced, 5);
    assert_eq!((receiver.queue.readable(), receiver.queue.pages()), (25, 2));
    assert_eq!(receiver.queue.peek(&receiver.table), stream(FIRST, 20));
    assert_eq!(receiver.queue.consume(&mut receiver.table, 3), 3);
    let segment = receiver.queue.receive(&mut receiver.table).unwrap();
    assert_eq!(&segment[..], &stream(FIRST + 3, 17)[..]);
    drop(segment);
    assert_eq!(receiver.read(), stream(FIRST + 20, 5));
    assert!(receiver.queue.receive(&mut receiver.table).is_none());
    assert_eq!(receiver.queue.consume(&mut receiver.table, 9), 0);
    assert!(receiver.queue.peek(&receiver.table).is_empty());
    receiver.finish();
}

#[test]
fn rfc5681_4_2_out_of_order_and_what_fills_a_gap_are_acknowledged_at_once() {
    let mut receiver = Receiver::new();
    let arrival = receiver.give(10, 10, false);
    assert!(arrival.acknowledge_now && arrival.advanced == 0);
    assert_eq!(
        (receiver.queue.out_of_order(), receiver.queue.readable()),
        (10, 0)
    );
    // A part of the gap.
    assert!(receiver.give(0, 5, false).acknowledge_now);
    let arrival = receiver.give(5, 5, false);
    assert!(arrival.acknowledge_now);
    assert_eq!((arrival.advanced, receiver.queue.has_gap()), (15, false));
    assert!(!receiver.give(20, 5, false).acknowledge_now);
    assert_eq!(receiver.read(), stream(FIRST, 25));
    receiver.finish();
}

#[test]
fn rfc2018_4_the_most_recent_range_is_reported_first() {
    let mut receiver = Receiver::new();
    for start in [10, 30, 50, 70, 90] {
        receiver.give(start, 5, false);
    }
    assert_eq!(
        receiver.blocks(),
        [at(90, 95), at(70, 75), at(50, 55), at(30, 35)]
    );
    // The block that holds what came now is first, whole.
    receiver.give(35, 5, false);
    assert_eq!(receiver.blocks()[..2], [at(30, 40), at(90, 95)]);
    receiver.give(40, 10, false);
    assert_eq!(receiver.blocks()[..2], [at(30, 55), at(90, 95)]);
    let blocks = receiver.queue.sack_blocks(&receiver.table, 3);
    assert_eq!(blocks.len(), 3);
    assert!(receiver.queue.sack_blocks(&receiver.table, 0).is_empty());
    receiver.give(0, 10, false);
    assert_eq!(receiver.blocks(), [at(30, 55), at(90, 95), at(70, 75)]);
    receiver.finish();
}

#[test]
fn rfc2018_4_the_order_holds_when_the_count_wraps() {
    let mut receiver = Receiver::new();
    receiver.queue.additions = u32::MAX - 2;
    for start in [10, 30, 50, 70] {
        receiver.give(start, 5, false);
    }
    assert_eq!(
        receiver.blocks(),
        [at(70, 75), at(50, 55), at(30, 35), at(10, 15)]
    );
    receiver.finish();
}

#[test]
fn rfc2883_4_1_a_duplicate_is_reported_once() {
    let mut receiver = Receiver::new();
    receiver.give(0, 20, false);
    let arrival = receiver.give(5, 10, false);
    assert_eq!(
        (arrival.advanced, arrival.duplicate, arrival.acknowledge_now),
        (0, 10, true)
    );
    assert_eq!(receiver.blocks(), [at(5, 15)]);
    assert!(receiver.blocks().is_empty());
    // What is new of a partial duplicate is taken.
    let arrival = receiver.give(15, 10, false);
    assert_eq!((arrival.advanced, arrival.duplicate), (5, 5));
    assert_eq!(receiver.blocks(), [at(15, 20)]);
    receiver.finish();
}

#[test]
fn rfc2883_4_2_a_duplicate_out_of_order_is_followed_by_its_block() {
    let mut receiver = Receiver::new();
    receiver.give(10, 30, false);
    receiver.give(60, 10, false);
    let arrival = receiver.give(20, 10, false);
    assert_eq!((arrival.duplicate, arrival.acknowledge_now), (10, true));
    assert_eq!(receiver.blocks(), [at(20, 30), at(10, 40), at(60, 70)]);
    receiver.finish();
}

#[test]
fn overlaps_are_stored_once() {
    let mut receiver = Receiver::new();
    receiver.give(10, 10, false);
    receiver.give(30, 10, false);
    receiver.give(50, 10, false);
    // Over the end of one, all of the next, and the beginning of the last.
    let arrival = receiver.give(15, 40, false);
    assert_eq!(arrival.duplicate, 5 + 10 + 5);
    assert_eq!(
        (receiver.queue.ranges(), receiver.queue.out_of_order()),
        (1, 50)
    );
    // In order, over the beginning of what waits.
    assert_eq!(receiver.give(0, 25, false).advanced, 60);
    assert_eq!(receiver.read(), stream(FIRST, 60));
    receiver.finish();
}

#[test]
fn a_range_that_is_covered_by_what_comes_in_order_goes() {
    let mut receiver = Receiver::new();
    receiver.give(10, 5, false);
    receiver.give(20, 5, false);
    receiver.give(28, 5, false);
    assert_eq!(receiver.give(0, 30, false).advanced, 33);
    assert_eq!((receiver.queue.ranges(), receiver.queue.pages()), (0, 2));
    assert_eq!(receiver.read(), stream(FIRST, 33));
    receiver.finish();
}

#[test]
fn a_fin_on_a_segment_trimmed_at_the_right_edge_is_not_processed() {
    let mut receiver = Receiver::new();
    receiver.window = 10;
    let arrival = receiver.give(0, 15, true);
    assert_eq!(
        (arrival.advanced, arrival.outside, arrival.fin),
        (10, 5, false)
    );
    assert!(arrival.acknowledge_now && !receiver.queue.is_finished());
    receiver.window = 20;
    let arrival = receiver.give(10, 5, true);
    assert_eq!((arrival.advanced, arrival.fin), (6, true));
    assert_eq!(receiver.queue.next(), FIRST + 16);
    receiver.finish();
}

#[test]
fn a_fin_beyond_the_window_is_not_processed() {
    let mut receiver = Receiver::new();
    receiver.window = 10;
    let arrival = receiver.give(0, 10, true);
    assert_eq!((arrival.advanced, arrival.fin), (10, false));
    receiver.window = 0;
    assert!(!receiver.give(10, 0, true).fin);
    receiver.window = 1;
    assert!(receiver.give(10, 0, true).fin);
    receiver.finish();
}

#[test]
fn an_out_of_order_fin_is_remembered() {
    let mut receiver = Receiver::new();
    let arrival = receiver.give(10, 10, true);
    assert!(arrival.acknowledge_now && !arrival.fin);
    // It is reported with what is before it.
    assert_eq!(receiver.blocks(), [at(10, 21)]);
    let arrival = receiver.give(0, 10, false);
    assert_eq!((arrival.advanced, arrival.fin), (21, true));
    assert!(receiver.queue.is_finished() && !receiver.queue.is_drained());
    assert_eq!(receiver.read(), stream(FIRST, 20));
    assert!(receiver.queue.is_drained());
    // Again: nothing new, but it is acknowledged.
    let arrival = receiver.give(10, 10, true);
    assert_eq!(
        (arrival.advanced, arrival.fin, arrival.acknowledge_now),
        (0, false, true)
    );
    assert_eq!(receiver.queue.next(), FIRST + 21);
    receiver.finish();
}

#[test]
fn a_lone_fin_out_of_order_is_remembered() {
    let mut receiver = Receiver::new();
    assert!(receiver.give(10, 0, true).acknowledge_now);
    let arrival = receiver.give(0, 10, false);
    assert_eq!((arrival.advanced, arrival.fin), (11, true));
    receiver.finish();
}

#[test]
fn data_after_the_fin_are_not_accepted() {
    let mut receiver = Receiver::new();
    receiver.give(10, 5, true);
    // Before the FIN is reached, and after.
    let arrival = receiver.give(12, 10, false);
    assert_eq!((arrival.outside, arrival.duplicate), (7, 3));
    assert_eq!(receiver.give(0, 10, false).advanced, 16);
    let arrival = receiver.give(16, 10, false);
    assert_eq!((arrival.outside, arrival.advanced), (10, 0));
    assert_eq!(receiver.read(), stream(FIRST, 15));
    receiver.finish();
}

#[test]
fn a_fin_before_what_was_received_is_not_believed() {
    let mut receiver = Receiver::new();
    receiver.give(20, 10, false);
    receiver.give(5, 5, true);
    receiver.give(0, 5, true);
    assert!(!receiver.queue.is_finished());
    assert_eq!(receiver.queue.next(), FIRST + 10);
    // Nor is one before RCV.NXT, which would keep all else out.
    receiver.give(2, 3, true);
    assert_eq!(receiver.give(10, 10, false).advanced, 20);
    receiver.finish();
}

#[test]
fn the_number_of_ranges_is_bounded() {
    let mut receiver = Receiver::with_pages(512);
    receiver.table = table(512);
    receiver.window = 10_000;
    for range in 0..u32::from(MAX_RANGES) {
        assert_eq!(receiver.give(10 + 10 * range, 1, false).refused, None);
    }
    let arrival = receiver.give(9_000, 1, false);
    assert_eq!(arrival.refused, Some(Refused::TooManyRanges));
    // What touches one, or comes in order, finds room.
    assert_eq!(receiver.give(11, 1, false).refused, None);
    assert_eq!(receiver.give(0, 10, false).advanced, 12);
    assert_eq!(receiver.give(9_000, 1, false).refused, None);
    receiver.finish();
}

#[test]
fn a_queue_keeps_a_received_page_only_in_exchange() {
    let pool = Pool::leak(8, 64).unwrap();
    let reserve = pool.reserve(4).unwrap();
    let mut table = table(64);
    let mut queue = ReceiveQueue::new(FIRST);
    for number in 0..8u32 {
        let mut page = reserve.alloc().expect("the reserve is whole");
        let start = FIRST + 40 * number;
        page.extend_from_slice(&stream(start, 40)).unwrap();
        let arrival =
            queue.handle_segment(&mut table, pool, &LIMITS, 1_000, start, page.into(), false);
        let expected = if number < 4 {
            None
        } else {
            Some(Refused::NoPages)
        };
        // Five to eight are out of order as well, once one was refused.
        assert_eq!(arrival.refused, expected, "{number}");
        assert_eq!(reserve.free(), 4, "the device's reserve is short");
    }
    assert_eq!(queue.readable(), 160);
    queue.clear(&mut table);
    assert_eq!(pool.free(), 4);
}

#[test]
fn a_queue_that_is_full_of_pages_refuses_more() {
    let mut receiver = Receiver::new();
    receiver.limits = ReceiveLimits { pages: 4 };
    for number in 0..4 {
        assert_eq!(receiver.give(40 * number, 40, false).refused, None);
    }
    let arrival = receiver.give(160, 40, false);
    assert_eq!(
        (arrival.advanced, arrival.refused),
        (0, Some(Refused::PageLimit))
    );
    assert!(arrival.acknowledge_now);
    receiver.finish();
}

#[test]
fn a_table_without_slots_refuses_more() {
    let mut receiver = Receiver::new();
    receiver.table = table(8);
    for number in 0..7 {
        assert_eq!(receiver.give(40 * number, 40, false).refused, None);
    }
    assert_eq!(
        receiver.give(280, 40, false).refused,
        Some(Refused::NoSlots)
    );
    receiver.finish();
}

#[test]
fn what_is_out_of_order_does_not_keep_out_what_is_in_order() {
    let mut receiver = Receiver::new();
    receiver.limits = ReceiveLimits { pages: 4 };
    for number in 1..5 {
        assert_eq!(receiver.give(50 * number, 40, false).refused, None);
    }
    assert_eq!(
        receiver.give(300, 40, false).refused,
        Some(Refused::PageLimit)
    );
    let arrival = receiver.give(0, 50, false);
    // The farthest range made room.
    assert_eq!(
        (arrival.refused, arrival.dropped, arrival.advanced),
        (None, 40, 90)
    );
    assert_eq!(receiver.queue.ranges(), 2);
    receiver.finish();
}

#[test]
fn many_small_segments_hold_few_pages() {
    let mut receiver = Receiver::new();
    receiver.limits = ReceiveLimits { pages: 8 };
    let mut copied = 0;
    for number in 0..200 {
        let arrival = receiver.give(number, 1, false);
        assert_eq!((arrival.advanced, arrival.refused), (1, None), "{number}");
        copied += arrival.copied;
    }
    assert!(copied >= 190 && receiver.queue.pages() <= 8);
    assert_eq!(receiver.read(), stream(FIRST, 200));
    // Out of order too.
    for number in 0..200 {
        assert_eq!(receiver.give(300 + number, 1, false).refused, None);
    }
    assert!(receiver.queue.pages() <= 8 && receiver.queue.ranges() == 1);
    receiver.finish();
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// Parts of a stream in any order, repeated and overlapping, in several segments, with few pages and slots: what is
    /// read is the stream, and once all of it came again in order nothing is missing.
    #[test]
    fn whatever_arrives_the_stream_is_read(
        parts in proptest::collection::vec((0u32..600, 1u32..60, any::<bool>(), any::<bool>()), 0..150),
        pages in 2u32..40, slots in 8usize..64, window in 21u32..700,
    ) {
        const LENGTH: u32 = 500;
        let mut receiver = Receiver::new();
        receiver.table = table(slots);
        receiver.limits = ReceiveLimits { pages };
        receiver.window = window;
        let mut read = Vec::new();
        for (start, length, cut, reads) in parts {
            let length = (start + length).min(LENGTH).saturating_sub(start);
            let mut frame = receiver.frame(start, length);
            if cut && length > 1 {
                frame = receiver.frame(start, length / 2);
                let back = receiver.frame(start + length / 2, length - length / 2);
                for segment in back.into_segments() {
                    frame.push(segment).unwrap();
                }
            }
            let before = receiver.queue.next();
            let fin = start + length == LENGTH;
            let Receiver { pool, table, queue, limits, .. } = &mut receiver;
            let arrival = queue.handle_segment(table, pool, limits, window, FIRST + start, frame, fin);
            receiver.check();
            prop_assert_eq!(receiver.queue.next(), before + arrival.advanced);
            prop_assert!(receiver.queue.pages() <= pages);
            prop_assert!(receiver.queue.out_of_order() <= window);
            prop_assert!(receiver.blocks().iter().all(|block| block.left.is_before(block.right)));
            if reads {
                read.extend(receiver.read());
            }
        }
        read.extend(receiver.read());
        // What is out of order, and holds all pages and slots, must not keep out what comes in order.
        for start in (0..LENGTH).step_by(20) {
            let arrival = receiver.give(start, 20, start + 20 == LENGTH);
            prop_assert_eq!(arrival.refused, None);
            read.extend(receiver.read());
        }
        prop_assert_eq!(&read[..], &stream(FIRST, LENGTH)[..]);
        prop_assert!(receiver.queue.is_drained());
        receiver.finish();
    }
}
