//! What is in flight when a backend goes.

use std::vec::Vec;

use super::{EVERYTHING, NOTHING, Pair, attach, ethernet, partial, segmented, tcp, udp};
use crate::abi::netif::ExtraInfoSlot;

#[test]
fn what_was_not_answered_is_sent_again_in_order() {
    let mut pair = Pair::new();
    // Identifiers that come back out of order.
    for seed in 0..6 {
        pair.send_bytes(&ethernet(seed, 60)).unwrap();
    }
    let mut sent: Vec<_> = core::iter::from_fn(|| pair.take()).collect();
    for index in [4, 1, 0] {
        let frame = sent.remove(index);
        pair.answer(&frame, 0);
    }
    pair.reap();
    for seed in 6..9 {
        let bytes = ethernet(seed, 200);
        let frame = pair.frame(&bytes, &[50, 50]);
        pair.send(frame).unwrap();
    }
    let expected: Vec<_> = [2, 3, 5]
        .map(|seed| ethernet(seed, 60))
        .into_iter()
        .chain([6, 7, 8].map(|seed| ethernet(seed, 200)))
        .collect();
    // None of the last was shown to the first backend.
    assert_eq!(pair.reconnect(EVERYTHING), expected);
    assert_eq!(pair.counters().replayed, 6);
    // And again, by way of wrapping numbers.
    assert_eq!(pair.reconnect(EVERYTHING), expected);
    pair.transmitter.sequence = 3;
    assert_eq!(pair.transmitter.in_flight(), 12);
}

#[test]
fn a_frame_that_was_answered_in_part_is_not_sent_again() {
    let mut pair = Pair::new();
    for _ in 0..3 {
        let frame = pair.frame(&ethernet(1, 200), &[50, 50, 50]);
        pair.send(frame).unwrap();
    }
    pair.send_bytes(&ethernet(2, 60)).unwrap();
    let sent: Vec<_> = core::iter::from_fn(|| pair.take()).collect();
    pair.respond(sent[0].ids[0], 0);
    pair.respond(sent[1].ids[2], 0);
    pair.respond(sent[2].ids[3], 0);
    pair.reap();
    assert_eq!(pair.reconnect(EVERYTHING), [ethernet(2, 60)]);
    assert_eq!(pair.counters().partly_answered, 3);
    assert_eq!(pair.transmitter.in_flight(), 1);
}

#[test]
fn frames_that_ask_too_much_of_the_next_backend_are_dropped_and_counted() {
    let mut pair = Pair::new();
    let frame = pair.frame(&ethernet(1, 200), &[50]);
    pair.send(frame).unwrap();
    let frame = partial(&pair, &udp(b"payload"), 34, 6);
    pair.send(frame).unwrap();
    let frame = segmented(&pair, &tcp(4_000));
    pair.send(frame).unwrap();
    pair.send_bytes(&ethernet(2, 60)).unwrap();
    assert_eq!(pair.reconnect(NOTHING), [ethernet(2, 60)]);
    assert_eq!(pair.counters().dropped_replay, 3);
    // A segmented one goes with its extra information.
    let mut pair = Pair::new();
    let frame = segmented(&pair, &tcp(4_000));
    pair.send(frame).unwrap();
    pair.transmitter.connect(EVERYTHING);
    pair.back = attach(pair.transmitter.block().unwrap());
    let sent = pair.take().unwrap();
    assert_eq!((sent.bytes, sent.extras.len()), (tcp(4_000), 1));
    assert_eq!(
        sent.extras[0],
        ExtraInfoSlot {
            kind: 1,
            flags: 0,
            data: [0xa8, 5, 1, 0, 0, 0]
        }
    );
}
