//! The queue against a stream of octets, and its lists against what it says of them.

use super::*;
use crate::tcp::segments::SegmentSlot;
use crate::tcp::testing::{bytes, page, stream, table};
use proptest::prelude::*;
use std::vec::Vec;

const FIRST: SequenceNumber = SequenceNumber::new(u32::MAX - 20);
const NOW: Instant = Instant::from_secs(1);

/// Everything that is counted, counted again.
pub(in crate::tcp) fn check(queue: &SendQueue, table: &SegmentTable<'_>) {
    let (mut octets, mut pages, mut flight, mut lost, mut sacked) = (0, 0, 0, 0, 0);
    let mut run = END;
    let mut sequence = queue.unacknowledged();
    let mut index = queue.list.head;
    let mut unsent = END;
    while let Some(slot) = table.get(index) {
        assert_eq!(slot.sequence, sequence);
        assert!(slot.length > 0);
        sequence = slot.end();
        octets += slot.length;
        pages += u32::from(slot.pages);
        match slot.state {
            SlotState::Waiting if unsent == END => unsent = index,
            SlotState::Waiting => {}
            SlotState::InFlight => flight += slot.length,
            SlotState::Lost => lost += slot.length,
            SlotState::Sacked => sacked += slot.length,
        }
        assert_eq!(slot.state == SlotState::Waiting, unsent != END);
        // The runs of reported slots know their ends.
        if slot.state != SlotState::Sacked {
            run = END;
        } else {
            if run == END {
                run = index;
            }
            let following = table.get(slot.next);
            if following.is_none_or(|next| next.state != SlotState::Sacked) {
                assert_eq!((slot.older, table.get(run).unwrap().newer), (run, index));
            }
        }
        if slot.next == END {
            assert_eq!(queue.list.tail, index);
        }
        index = slot.next;
    }
    assert_eq!((octets, pages), (queue.list.octets, queue.list.pages));
    assert_eq!(unsent, queue.unsent);
    assert_eq!(flight, queue.in_flight());
    assert_eq!(lost, queue.lost());
    assert_eq!(sacked, queue.sacked());
    assert_eq!(queue.outstanding(), flight + lost + sacked);
}

fn send(
    queue: &mut SendQueue,
    table: &mut SegmentTable<'_>,
    limit: u32,
    window: u32,
) -> Option<(Transmission, Vec<u8>)> {
    let mut frame = Frame::new();
    let sent = queue.transmit(NOW, table, limit, window, &mut frame)?;
    check(queue, table);
    Some((sent, bytes(&frame)))
}

fn acknowledge(queue: &mut SendQueue, table: &mut SegmentTable<'_>, to: u32) -> Acknowledged {
    let acknowledged = queue.acknowledge(table, FIRST + to, |_, _| {});
    check(queue, table);
    acknowledged
}

#[test]
fn data_are_sent_in_segments_from_where_they_lie() {
    let pool = Pool::leak(8, 64).unwrap();
    let range = pool.register_static(b"static data").unwrap();
    let mut table = table(16);
    let mut queue = SendQueue::new(FIRST);
    queue
        .push(&mut table, page(pool, 8, b"the first page"))
        .unwrap();
    queue.push(&mut table, range.slice(..).unwrap()).unwrap();
    assert_eq!(
        (queue.octets(), queue.pages(), queue.unsent_octets()),
        (25, 1, 25)
    );
    let (sent, bytes) = send(&mut queue, &mut table, 10, 100).unwrap();
    assert_eq!(bytes, b"the first ");
    assert_eq!(
        sent,
        Transmission {
            sequence: FIRST,
            octets: 10,
            fin: false,
            retransmission: false,
            last: false
        }
    );
    // One segment of two pieces.
    let (sent, bytes) = send(&mut queue, &mut table, 10, 100).unwrap();
    assert_eq!((sent.sequence, bytes), (FIRST + 10, b"pagestatic".to_vec()));
    // The peer's window is less.
    let (sent, bytes) = send(&mut queue, &mut table, 10, 2).unwrap();
    assert_eq!((sent.octets, sent.last, bytes), (2, false, b" d".to_vec()));
    let (sent, _) = send(&mut queue, &mut table, 10, 100).unwrap();
    assert_eq!((sent.octets, sent.last), (3, true));
    assert_eq!(send(&mut queue, &mut table, 10, 100), None);
    assert_eq!((queue.in_flight(), queue.next()), (25, FIRST + 25));
    // A part of a piece is acknowledged: its page stays.
    let acknowledged = acknowledge(&mut queue, &mut table, 12);
    assert_eq!(
        acknowledged,
        Acknowledged {
            octets: 12,
            pages: 0,
            fin: false
        }
    );
    assert_eq!(pool.free(), 7);
    let acknowledged = acknowledge(&mut queue, &mut table, 25);
    assert_eq!(
        acknowledged,
        Acknowledged {
            octets: 13,
            pages: 1,
            fin: false
        }
    );
    assert_eq!((pool.free(), table.free(), queue.octets()), (8, 16, 0));
}

#[test]
fn an_acknowledgement_of_what_was_never_sent_frees_nothing() {
    let pool = Pool::leak(8, 64).unwrap();
    let mut table = table(16);
    let mut queue = SendQueue::new(FIRST);
    queue.push(&mut table, page(pool, 0, b"abcdef")).unwrap();
    send(&mut queue, &mut table, 3, 100).unwrap();
    for to in [0, 4, 6, 7, 1 << 31, u32::MAX] {
        assert_eq!(
            acknowledge(&mut queue, &mut table, to),
            Acknowledged::default()
        );
    }
    assert_eq!(acknowledge(&mut queue, &mut table, 3).octets, 3);
    queue.clear(&mut table);
}

#[test]
fn a_fin_counts_in_sequence_space_and_lies_in_no_page() {
    let pool = Pool::leak(8, 64).unwrap();
    let mut table = table(16);
    let mut queue = SendQueue::new(FIRST);
    queue.push(&mut table, page(pool, 0, b"end")).unwrap();
    queue.finish();
    assert!(queue.push(&mut table, page(pool, 0, b"more")).is_err());
    assert_eq!(queue.write(&mut table, pool, b"more", 8), 0);
    assert_eq!(
        (queue.end(), queue.octets(), queue.unsent_octets()),
        (FIRST + 4, 3, 3)
    );
    // No octet of the window is left for it.
    let (sent, _) = send(&mut queue, &mut table, 100, 3).unwrap();
    assert_eq!((sent.octets, sent.fin, sent.last), (3, false, false));
    assert!(!queue.fin_sent() && queue.has_unsent());
    assert_eq!(send(&mut queue, &mut table, 100, 0), None);
    let (sent, bytes) = send(&mut queue, &mut table, 100, 1).unwrap();
    assert_eq!(
        (sent.sequence, sent.octets, sent.fin, sent.last),
        (FIRST + 3, 0, true, true)
    );
    assert!(bytes.is_empty() && queue.fin_sent() && !queue.has_unsent());
    assert_eq!(
        (queue.next(), queue.end(), queue.octets()),
        (FIRST + 4, FIRST + 4, 3)
    );
    assert_eq!((queue.in_flight(), queue.pages()), (4, 1));
    assert!(!acknowledge(&mut queue, &mut table, 3).fin);
    assert!(acknowledge(&mut queue, &mut table, 4).fin && queue.fin_acknowledged());
    assert_eq!((pool.free(), table.free(), queue.octets()), (8, 16, 0));
}

#[test]
fn a_lone_fin_is_sent_again() {
    let mut table = table(16);
    let mut queue = SendQueue::new(FIRST);
    queue.finish();
    assert!(send(&mut queue, &mut table, 100, 100).unwrap().0.fin);
    queue.mark_head_lost(&mut table, 1);
    assert_eq!((queue.lost(), queue.in_flight()), (1, 0));
    let mut frame = Frame::new();
    let sent = queue
        .retransmit_lost(NOW, &mut table, 100, &mut frame)
        .unwrap();
    assert_eq!((sent.fin, sent.octets, sent.sequence), (true, 0, FIRST));
    let sent = queue
        .retransmit_last(NOW, &mut table, 100, &mut frame)
        .unwrap();
    assert!(sent.fin && frame.is_empty());
    check(&queue, &table);
}

#[test]
fn a_lost_fin_is_not_sent_before_the_data_that_it_follows() {
    let pool = Pool::leak(8, 64).unwrap();
    let mut table = table(16);
    let mut queue = SendQueue::new(FIRST);
    queue.push(&mut table, page(pool, 0, b"abcdefgh")).unwrap();
    queue.finish();
    assert!(send(&mut queue, &mut table, 100, 100).unwrap().0.fin);
    queue.mark_all_lost(&mut table);
    // Smaller segments than the first time: the path's MTU has shrunk.
    for (octets, fin) in [(3, false), (3, false), (2, true)] {
        let mut frame = Frame::new();
        let sent = queue
            .retransmit_lost(NOW, &mut table, 3, &mut frame)
            .unwrap();
        assert_eq!((sent.octets, sent.fin), (octets, fin));
        check(&queue, &table);
    }
    queue.clear(&mut table);
    assert_eq!((pool.free(), table.free()), (8, 16));
}

#[test]
fn small_writes_share_a_page() {
    let pool = Pool::leak(8, 64).unwrap();
    let mut table = table(16);
    let mut queue = SendQueue::new(FIRST);
    for _ in 0..10 {
        assert_eq!(queue.write(&mut table, pool, b"eleven byte", 8), 11);
    }
    check(&queue, &table);
    assert_eq!((queue.octets(), queue.pages(), pool.free()), (110, 2, 6));
    // What was sent is written behind no more.
    let (_, bytes) = send(&mut queue, &mut table, 200, 200).unwrap();
    assert_eq!(bytes, b"eleven byte".repeat(10));
    assert_eq!(queue.write(&mut table, pool, b"more", 8), 4);
    assert_eq!(queue.pages(), 3);
    // No more pages than allowed, nor than there are.
    assert_eq!(queue.write(&mut table, pool, &[7; 200], 4), 60 + 64);
    assert_eq!(queue.write(&mut table, pool, &[7; 1_000], 100), 4 * 64);
    assert_eq!(pool.free(), 0);
    queue.clear(&mut table);
    assert_eq!((pool.free(), table.free()), (8, 16));
    assert_eq!(queue.write(&mut table, pool, b"after", 8), 0);
}

#[test]
fn the_table_s_last_slots_are_for_cutting() {
    let pool = Pool::leak(16, 64).unwrap();
    let mut table = table(8);
    let mut queue = SendQueue::new(FIRST);
    let pushed = (0..8).take_while(|_| queue.push(&mut table, page(pool, 0, &[1; 60])).is_ok());
    // One is kept for what is received.
    assert_eq!(pushed.count(), 6);
    assert_eq!((table.free_for_sending(), table.free_for_data()), (0, 1));
    table.take_for_data().unwrap();
    // One cut, for which a slot is kept; then whole pieces alone.
    let (sent, _) = send(&mut queue, &mut table, 50, 1_000).unwrap();
    assert_eq!(sent.octets, 50);
    let (sent, _) = send(&mut queue, &mut table, 50, 1_000).unwrap();
    assert_eq!(sent.octets, 10);
    assert_eq!(send(&mut queue, &mut table, 50, 1_000), None);
    acknowledge(&mut queue, &mut table, 60);
    assert!(send(&mut queue, &mut table, 50, 1_000).is_some());
    queue.clear(&mut table);
}

#[test]
fn a_frame_that_is_full_takes_the_rest_later() {
    let pool = Pool::leak(32, 64).unwrap();
    let mut table = table(64);
    let mut queue = SendQueue::new(FIRST);
    for _ in 0..24 {
        queue.push(&mut table, page(pool, 0, b"x")).unwrap();
    }
    let mut frame = Frame::new();
    let sent = queue
        .transmit(NOW, &mut table, 100, 100, &mut frame)
        .unwrap();
    assert_eq!(sent.octets as usize, frame.len());
    assert!(sent.octets <= Frame::MAX_SEGMENTS as u32 && !sent.last);
    check(&queue, &table);
    drop(frame);
    queue.clear(&mut table);
}

#[test]
fn an_empty_segment_is_none() {
    let pool = Pool::leak(2, 64).unwrap();
    let mut table = table(8);
    let mut queue = SendQueue::new(FIRST);
    queue.push(&mut table, page(pool, 0, b"")).unwrap();
    assert_eq!((queue.octets(), pool.free(), table.free()), (0, 2, 8));
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// Pushes, writes, sends, losses, repeated sends, reports and acknowledgements in any order: what is sent is always the
    /// stream, the counts hold, and at the end nothing is missing.
    #[test]
    fn whatever_happens_the_stream_is_sent_as_it_was_given(
        actions in proptest::collection::vec((0u8..9, 1u32..90), 1..150), first: u32,
    ) {
        let pool = Pool::leak(64, 64).unwrap();
        let mut table = table(48);
        let first = SequenceNumber::new(first);
        let mut queue = SendQueue::new(first);
        let mut now = NOW;
        for (action, size) in actions {
            now += core::time::Duration::from_millis(1);
            let mut frame = Frame::new();
            let mut sent = None;
            match action {
                0 => {
                    let data = stream(queue.end(), size.min(64));
                    if pool.free() > 0 {
                        let _ = queue.push(&mut table, page(pool, 0, &data));
                    }
                }
                1 => {
                    let data = stream(queue.end(), size);
                    queue.write(&mut table, pool, &data, 30);
                }
                2 | 3 => sent = queue.transmit(now, &mut table, size, 2 * size, &mut frame),
                4 => {
                    let to = queue.unacknowledged() + size.min(queue.outstanding());
                    queue.acknowledge(&mut table, to, |_, slot: &SegmentSlot| assert!(slot.length > 0));
                }
                5 => {
                    queue.mark_head_lost(&mut table, size);
                }
                6 => sent = queue.retransmit_lost(now, &mut table, size, &mut frame),
                7 => sent = queue.retransmit_last(now, &mut table, size, &mut frame),
                _ => sent = queue.retransmit_first(now, &mut table, size, &mut frame),
            }
            if let Some(sent) = sent {
                prop_assert_eq!(sent.octets as usize, frame.len());
                prop_assert!(sent.octets <= size);
                prop_assert_eq!(bytes(&frame), stream(sent.sequence, sent.octets));
            }
            check(&queue, &table);
        }
        queue.clear(&mut table);
        prop_assert_eq!((pool.free(), table.free()), (64, 48));
    }
}
