//! Hostile segments: every combination of flags, in every state, around every edge of both windows. Nothing panics, no state follows
//! another that can't (which `enter` asserts), and no page, slot or timer is lost.

use std::cell::RefCell;
use std::rc::Rc;

use super::*;
use crate::wire::tcp::SackBlock;

/// Every state that a connection can be in.
const STATES: [TcpState; 10] = [
    TcpState::Closed,
    TcpState::SynSent,
    TcpState::SynReceived,
    TcpState::Established,
    TcpState::FinWait1,
    TcpState::FinWait2,
    TcpState::CloseWait,
    TcpState::Closing,
    TcpState::LastAck,
    TcpState::TimeWait,
];

/// A connection of host A in a state, with some data in flight where that is possible.
fn in_state(pools: [&'static Pool; 2], state: TcpState) -> (Pair, TcpHandle) {
    let sizes = Sizes {
        connections: 2,
        half_open: 2,
        time_waits: 2,
        segments: 64,
    };
    let mut pair = Pair::on(pools, TcpConfig::default(), sizes);
    let a = match state {
        TcpState::SynSent | TcpState::Closed => {
            pair.link = cut();
            let a = pair.open(A, ConnectionOptions::DEFAULT);
            pair.settle();
            if state == TcpState::Closed {
                pair.shutdown(A, a);
            }
            a
        }
        TcpState::SynReceived => {
            pair.link = cut();
            let a = pair.open(A, ConnectionOptions::DEFAULT);
            pair.settle();
            let syn = pair.forged(A, a, TcpFlags::SYN);
            pair.inject(&syn);
            a
        }
        _ => {
            let (a, b) = pair.connect();
            match state {
                TcpState::Established => {
                    pair.link = cut();
                    pair.write(A, a, &pattern(3_000));
                }
                TcpState::FinWait1 => {
                    pair.link = cut();
                    pair.write(A, a, &pattern(3_000));
                    pair.shutdown(A, a);
                }
                TcpState::FinWait2 => pair.shutdown(A, a),
                TcpState::CloseWait => {
                    pair.shutdown(B, b);
                    pair.run(secs(1));
                    pair.link = cut();
                    pair.write(A, a, &pattern(3_000));
                }
                TcpState::Closing => {
                    pair.link = Box::new(|_, flying| {
                        if flying.from == A {
                            Vec::new()
                        } else {
                            std::vec![DELAY]
                        }
                    });
                    pair.write(A, a, &pattern(3_000));
                    pair.shutdown(A, a);
                    pair.shutdown(B, b);
                }
                TcpState::LastAck => {
                    pair.shutdown(B, b);
                    pair.run(secs(1));
                    pair.link = cut();
                    pair.write(A, a, &pattern(3_000));
                    pair.shutdown(A, a);
                }
                _ => {
                    pair.shutdown(A, a);
                    pair.run(secs(1));
                    pair.shutdown(B, b);
                }
            }
            pair.run(ms(100));
            a
        }
    };
    pair.link = cut();
    pair.settle();
    assert_eq!(pair.state(A, a), Some(state));
    (pair, a)
}

#[test]
fn every_combination_of_flags_in_every_state_around_every_edge() {
    let pools = [Pool::leak(64, 2048).unwrap(), Pool::leak(64, 2048).unwrap()];
    let mut segments = 0;
    for state in STATES {
        let (mut pair, mut a) = in_state(pools, state);
        for flags in 0..=255u8 {
            let flags = TcpFlags::from_bits_retain(flags);
            let window = pair.hosts[A].engine.get(a).unwrap().offered_window();
            for offset in [
                0,
                1,
                2,
                window / 2,
                window.wrapping_sub(1),
                window,
                window.wrapping_add(1),
                u32::MAX,
                u32::MAX - 1,
                u32::MAX - 70_000,
                1 << 31,
                (1 << 31) - 1,
            ] {
                for acknowledged in [0, 1, 2_999, 3_000, 3_001, u32::MAX, 1 << 31, 1 << 30] {
                    let fresh = pair.state(A, a) == Some(state);
                    if !fresh {
                        drop(pair);
                        (pair, a) = in_state(pools, state);
                    }
                    let mut forged = pair.forged(A, a, flags);
                    let (una, _, expected) = pair.numbers(A, a);
                    forged.repr.sequence = expected + offset;
                    forged.repr.acknowledgement = una + acknowledged;
                    segments += 1;
                    // Of every kind: with and without data, timestamps, urgent pointers and windows.
                    forged.bytes = pattern([0, 1, 0, 1_000, 0][segments % 5]);
                    forged.repr.urgent = [0, 1, 65_535][segments % 3];
                    forged.repr.window = [0, 1, 1_000, 65_535][segments % 4];
                    if segments % 11 == 0 {
                        forged.repr.options.timestamps = None;
                    }
                    forged.marked = segments % 7 == 0;
                    pair.inject(&forged);
                    let answers = pair.take(A);
                    assert!(answers.len() <= 12, "{state} {flags:?}: {answers:?}");
                    if flags.contains(TcpFlags::RST) {
                        assert!(
                            answers.iter().all(|answer| !answer.has(TcpFlags::RST)),
                            "a reset is answered by a reset"
                        );
                    }
                    for answer in &answers {
                        assert!(answer.length() <= 1_500);
                    }
                }
            }
        }
        // Whatever it is in by now: with a peer that never answers it comes to an end.
        let now = pair.now;
        pair.engine(A).close(now, a);
        pair.run(secs(1_000));
        assert_eq!(pair.engine(A).population(), (0, 0, 0), "{state}");
        assert_eq!(pair.engine(A).poll_timeout(), None, "{state}");
    }
    assert!(segments > 200_000);
}

/// The same at random, without a new beginning at each change of state: long conversations with a peer that knows the numbers, and
/// lies about everything.
#[test]
fn a_peer_that_lies_at_random() {
    let pools = [
        Pool::leak(128, 2048).unwrap(),
        Pool::leak(128, 2048).unwrap(),
    ];
    let mut whim = Whim(77);
    for _ in 0..60 {
        let state = STATES[whim.below(10) as usize];
        let (mut pair, a) = in_state(pools, state);
        for _ in 0..300 {
            if pair.state(A, a).is_none() {
                break;
            }
            let flags = match whim.below(4) {
                0 => TcpFlags::from_bits_retain(whim.below(256) as u8),
                1 => TcpFlags::ACK | TcpFlags::FIN,
                _ => TcpFlags::ACK,
            };
            let mut forged = pair.forged(A, a, flags);
            let (una, nxt, expected) = pair.numbers(A, a);
            forged.repr.sequence =
                expected + whim.below(4) as u32 * 700 - whim.below(2) as u32 * 500;
            let flight = u64::from(nxt.distance_from(una)) + 1;
            forged.repr.acknowledgement = una + whim.below(flight) as u32;
            forged.bytes = pattern(whim.below(1_400) as usize);
            forged.repr.window = whim.below(65_536) as u16 >> whim.below(17).min(15);
            for _ in 0..whim.below(4) {
                let left = una + whim.below(5_000) as u32;
                let block = crate::wire::tcp::SackBlock {
                    left,
                    right: left + (whim.below(3_000) as u32).wrapping_sub(500),
                };
                forged.repr.options.sack.push(block);
            }
            forged.marked = whim.below(5) == 0;
            pair.inject(&forged);
            let now = pair.now;
            match whim.below(12) {
                0 => {
                    let _ = pair.engine(A).write(now, a, &pattern(2_000));
                }
                1 => {
                    pair.read(A, a);
                }
                2 if whim.below(10) == 0 => {
                    let _ = pair.engine(A).shutdown(now, a);
                }
                3 => pair.run(ms(whim.below(2_000))),
                4 => {
                    let tuple = FourTuple::new(forged.tuple.remote(), forged.tuple.local());
                    let mtu = whim.below(2_000) as u16;
                    pair.engine(A).handle_path_mtu(now, &tuple, una, mtu);
                }
                _ => {}
            }
            pair.settle();
        }
        let now = pair.now;
        pair.engine(A).close(now, a);
        pair.run(secs(1_000));
        assert_eq!(pair.engine(A).population(), (0, 0, 0));
        let (free, capacity) = pair.engine(A).segments_free();
        assert_eq!(free, capacity);
    }
}

/// A peer that reports every other octet has what was sent cut into pieces of one octet: no more of them than leave room for
/// all others.
#[test]
fn sack_blocks_do_not_use_up_the_slots_of_all() {
    let mut pair = Pair::new();
    let listener = pair.listen(ConnectionOptions::DEFAULT);
    let (first, second) = (
        pair.open(A, ConnectionOptions::DEFAULT),
        pair.open(A, ConnectionOptions::DEFAULT),
    );
    pair.run(secs(1));
    let _first_b = pair.engine(B).accept(listener).unwrap().unwrap();
    let second_b = pair.engine(B).accept(listener).unwrap().unwrap();
    let port = pair.hosts[A].engine.get(first).unwrap().tuple().local_port;
    pair.link = Box::new(move |_, flying| {
        let mine = flying.tuple.local_port == port || flying.tuple.remote_port == port;
        if mine { Vec::new() } else { std::vec![DELAY] }
    });
    pair.write(A, first, &pattern(60_000));
    pair.settle();
    for number in 0..1_000 {
        let (una, next, _) = pair.numbers(A, first);
        let mut forged = pair.forged(A, first, TcpFlags::ACK);
        forged.repr.acknowledgement = una;
        let left = una + 2 * number + 1;
        if left.is_at_or_after(next) {
            break;
        }
        forged.repr.options.sack.push(SackBlock {
            left,
            right: left + 1,
        });
        pair.inject(&forged);
        pair.take(A);
    }
    let (free, capacity) = pair.hosts[A].engine.segments_free();
    assert!(free >= capacity / 4, "{free} of {capacity}");
    let bytes = pattern(100_000);
    let read = pair.transfer((A, second), (B, second_b), &bytes, secs(300));
    assert_eq!(read, bytes);
}

/// Peers that take small segments alone, and acknowledge nothing any more, leave slots for the others.
#[test]
fn small_segments_do_not_use_up_the_slots_of_all() {
    let mut pair = Pair::new();
    let listener = pair.listen(ConnectionOptions::DEFAULT);
    let silent = Rc::new(RefCell::new(Vec::new()));
    let is_silent = Rc::clone(&silent);
    pair.link = Box::new(move |_, flying| {
        if flying.from == B && flying.has(TcpFlags::SYN) {
            flying.repr.options.maximum_segment_size = Some(1);
        }
        let ports = [flying.tuple.local_port, flying.tuple.remote_port];
        match ports.iter().any(|port| is_silent.borrow().contains(port)) {
            true => Vec::new(),
            false => std::vec![DELAY],
        }
    });
    for _ in 0..3 {
        let a = pair.open(A, ConnectionOptions::DEFAULT);
        pair.run(secs(1));
        let b = pair.engine(B).accept(listener).unwrap().unwrap();
        // The window grows, and is full when nothing is heard any more.
        for _ in 0..200 {
            pair.write(A, a, &pattern(65_536));
            pair.run(ms(2));
            pair.read(B, b);
        }
        let port = pair.hosts[A].engine.get(a).unwrap().tuple().local_port;
        silent.borrow_mut().push(port);
    }
    pair.settle();
    let (free, capacity) = pair.hosts[A].engine.segments_free();
    assert!(free > capacity / 8, "{free} of {capacity}");
    let a = pair.open(A, ConnectionOptions::DEFAULT);
    pair.run(ms(100));
    let b = pair.engine(B).accept(listener).unwrap().unwrap();
    let bytes = pattern(20_000);
    assert!(pair.transfer((A, a), (B, b), &bytes, secs(100)) == bytes);
    pair.shutdown(A, a);
    pair.run(secs(1));
    assert!(pair.is_finished(B, b));
}
