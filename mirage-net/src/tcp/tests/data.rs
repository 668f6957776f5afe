//! Data: both ways, over links that lose, reorder and repeat; when segments leave, and when they are acknowledged.

use super::*;

/// Loses, delays and repeats at random, in both directions.
fn bad(seed: u64, loss: u64, reorder: u64, duplicate: u64) -> Link {
    let mut whim = Whim(seed);
    Box::new(move |_, _| {
        if whim.below(1_000) < loss {
            return Vec::new();
        }
        let mut fate = std::vec![DELAY];
        if whim.below(1_000) < reorder {
            fate[0] += ms(whim.below(30));
        }
        if whim.below(1_000) < duplicate {
            fate.push(DELAY + ms(whim.below(50)));
        }
        fate
    })
}

#[test]
fn bulk_both_ways_over_a_perfect_link() {
    let mut pair = Pair::new();
    let (a, b) = pair.connect();
    let bytes = pattern(1_000_000);
    assert_eq!(pair.transfer((A, a), (B, b), &bytes, secs(100)), bytes);
    assert_eq!(pair.transfer((B, b), (A, a), &bytes, secs(100)), bytes);
    let counters = pair.hosts[A].engine.counters();
    assert_eq!(counters.time_outs, 0);
    // At most a probe of each tail, whose acknowledgement the receiver delayed.
    assert!(counters.retransmitted <= 2, "{}", counters.retransmitted);
    assert_eq!(pair.hosts[B].engine.counters().out_of_window, 0);
}

/// Whatever the link does: each byte arrives once, in order, and the end too.
#[test]
fn bytes_survive_loss_reordering_and_duplication() {
    for (seed, loss, reorder, duplicate) in [
        (1, 10, 0, 0),
        (2, 50, 0, 0),
        (3, 0, 200, 0),
        (4, 0, 0, 200),
        (5, 20, 200, 50),
        (6, 100, 300, 100),
        // With this one a segment that had waited minutes for a hole was once taken for a round trip.
        (7, 300, 0, 0),
    ] {
        let mut pair = Pair::new();
        let (a, b) = pair.connect();
        pair.link = bad(seed, loss, reorder, duplicate);
        let bytes = pattern(200_000);
        let read = pair.transfer((A, a), (B, b), &bytes, secs(3_600));
        assert!(read == bytes, "seed {seed}");
        let read = pair.transfer((B, b), (A, a), &bytes, secs(3_600));
        assert!(read == bytes, "seed {seed}");
        pair.shutdown(A, a);
        pair.shutdown(B, b);
        pair.run(secs(200));
        assert!(
            pair.is_finished(A, a) && pair.is_finished(B, b),
            "seed {seed}"
        );
    }
}

/// The same, for peers that know no SACK and no timestamps.
#[test]
fn bytes_survive_without_options() {
    for seed in 1..5 {
        let mut pair = Pair::new();
        let mut whim = Whim(seed);
        pair.link = Box::new(move |_, flying| {
            if flying.has(TcpFlags::SYN) {
                flying.repr.options.sack_permitted = false;
                flying.repr.options.timestamps = None;
                flying.repr.options.window_scale = None;
                return std::vec![DELAY];
            }
            match whim.below(20) {
                0 => Vec::new(),
                1 => std::vec![DELAY + ms(15)],
                2 => std::vec![DELAY, DELAY + ms(3)],
                _ => std::vec![DELAY],
            }
        });
        let (a, b) = pair.connect();
        let bytes = pattern(200_000);
        let read = pair.transfer((A, a), (B, b), &bytes, secs(3_600));
        assert!(read == bytes, "seed {seed}");
    }
}

#[test]
fn sequence_numbers_wrap() {
    let mut pair = Pair::new();
    let listener = pair.listen(ConnectionOptions::DEFAULT);
    let (local, remote) = (pair.at(A, 5_000), pair.at(B, PORT));
    let first = pair.open_between(A, local, remote, ConnectionOptions::DEFAULT);
    let number = pair.numbers(A, first).0.get();
    pair.close(A, first);
    // The clock of initial sequence numbers goes on by one in four microseconds: until shortly before the wrap.
    let ahead = u64::from(u32::MAX - number).saturating_sub(50_000);
    pair.run(Duration::from_micros(4 * ahead));
    let a = pair.open_between(A, local, remote, ConnectionOptions::DEFAULT);
    pair.run(secs(1));
    let b = pair.engine(B).accept(listener).unwrap().unwrap();
    let before = pair.numbers(A, a).1.get();
    let bytes = pattern(400_000);
    assert_eq!(pair.transfer((A, a), (B, b), &bytes, secs(60)), bytes);
    assert!(pair.numbers(A, a).1.get() < before);
}

/// Nagle's algorithm (RFC 9293 §3.7.4): one small segment in the network at a time; full ones go.
#[test]
fn nagle_holds_small_segments_back() {
    let mut pair = Pair::new();
    let (a, b) = pair.connect();
    pair.sent_by(A);
    for part in 0..10u8 {
        pair.write(A, a, &[part; 10]);
        pair.settle();
    }
    let sizes: Vec<usize> = pair
        .sent_by(A)
        .iter()
        .map(|sent| sent.bytes.len())
        .collect();
    assert_eq!(sizes, [10]);
    pair.run(secs(1));
    let sizes: Vec<usize> = pair
        .sent_by(A)
        .iter()
        .map(|sent| sent.bytes.len())
        .filter(|size| *size > 0)
        .collect();
    assert_eq!(sizes, [90]);
    assert_eq!(pair.read(B, b).len(), 100);
}

/// RFC 9293, MUST-17: it can be turned off.
/// Segments that come in one batch, in order, are acknowledged together; one that is out of order, by itself.
#[test]
fn rfc5681_4_2_only_what_is_in_order_waits_for_the_end_of_a_batch() {
    let mut pair = Pair::new();
    let (_, b) = pair.connect();
    let give = |pair: &mut Pair, skip: u32| {
        let mut segment = pair.forged(B, b, TcpFlags::ACK);
        segment.repr.sequence += skip;
        segment.bytes = std::vec![7; 100];
        pair.inject(&segment);
    };
    // At the beginning too.
    for _ in 0..5 {
        for _ in 0..5 {
            give(&mut pair, 0);
            assert!(!pair.engine(B).is_urgent());
        }
        let sent = pair.take(B);
        assert_eq!(sent.len(), 1);
        let (_, _, expected) = pair.numbers(B, b);
        assert_eq!(sent[0].repr.acknowledgement, expected);
    }
    give(&mut pair, 100);
    assert!(pair.engine(B).is_urgent());
    assert_eq!(pair.take(B).len(), 1);
    assert!(!pair.engine(B).is_urgent());
    // What only makes the range longer that SACK reports is reported together, after a few.
    let mut skip = 200;
    while {
        give(&mut pair, skip);
        skip += 100;
        pair.engine(B).is_urgent()
    } {
        assert_eq!(pair.take(B).len(), 1);
        assert!(skip < 1_000);
    }
    assert!(skip >= 600);
    for _ in 0..5 {
        give(&mut pair, skip);
        skip += 100;
        assert!(!pair.engine(B).is_urgent());
    }
    let sent = pair.take(B);
    assert_eq!(sent.len(), 1);
    let [block] = sent[0].repr.options.sack[..] else {
        panic!("{:?}", sent[0].repr);
    };
    assert_eq!(block.right.distance_from(block.left), skip - 100);
    // Another gap, and what fills a part of one, is told at once.
    for skip in [skip + 100, 0] {
        give(&mut pair, skip);
        assert!(pair.engine(B).is_urgent());
        assert_eq!(pair.take(B).len(), 1);
    }
}

#[test]
fn no_delay_sends_at_once() {
    let mut pair = Pair::new();
    let hasty = ConnectionOptions {
        no_delay: true,
        ..ConnectionOptions::DEFAULT
    };
    let (a, _b) = pair.connect_with(hasty, ConnectionOptions::DEFAULT);
    pair.sent_by(A);
    for part in 0..10u8 {
        pair.write(A, a, &[part; 10]);
        pair.settle();
    }
    assert_eq!(pair.sent_by(A).len(), 10);
}

/// "Nagle with delayed ACK": a request in two writes does not wait for a delayed acknowledgement twice.
#[test]
fn nagle_and_delayed_acknowledgements_do_not_wait_for_each_other() {
    let mut pair = Pair::new();
    let (a, b) = pair.connect();
    // Past the acknowledgements that are sent at once.
    let bytes = pattern(100_000);
    assert_eq!(pair.transfer((A, a), (B, b), &bytes, secs(10)), bytes);
    pair.run(secs(1));
    let start = pair.now;
    pair.write(A, a, &pattern(1_448 + 100));
    pair.settle();
    pair.write(A, a, &pattern(50));
    let until = pair.now + secs(5);
    let mut read = 0;
    while read < 1_598 {
        assert!(pair.step(until));
        read += pair.read(B, b).len();
    }
    // Half a round trip, and once the delay and a round trip.
    assert!(pair.now - start <= ms(80), "{:?}", pair.now - start);
}

/// RFC 5681 §4.2, RFC 9293 (SHLD-18, MUST-59).
#[test]
fn every_second_segment_is_acknowledged_and_none_waits_longer_than_the_delay() {
    let mut pair = Pair::new();
    let (a, b) = pair.connect();
    let bytes = pattern(100_000);
    pair.transfer((A, a), (B, b), &bytes, secs(10));
    pair.run(secs(1));
    pair.sent_by(B);
    pair.write(A, a, b"x");
    pair.run(ms(49));
    assert!(pair.sent_by(B).is_empty());
    pair.run(ms(2));
    assert_eq!(pair.sent_by(B).len(), 1);
    pair.read(B, b);
    pair.run(secs(1));
    pair.sent_by(B);
    pair.write(A, a, &pattern(2 * 1_448));
    pair.run(ms(11));
    assert_eq!(pair.sent_by(B).len(), 1);
}

/// RFC 5681 §4.2: out of order, or filling a gap: at once.
#[test]
fn a_gap_is_acknowledged_at_once_with_what_is_behind_it() {
    let mut pair = Pair::new();
    let (_a, b) = pair.connect();
    pair.link = cut();
    let first = pair.numbers(B, b).2;
    let mut forged = pair.forged(B, b, TcpFlags::ACK);
    forged.repr.sequence = first + 100;
    forged.bytes = pattern(50);
    pair.inject(&forged);
    let answers = pair.take(B);
    assert_eq!(answers.len(), 1);
    assert_eq!(answers[0].repr.acknowledgement, first);
    let blocks = answers[0].repr.options.sack;
    assert_eq!(blocks.len(), 1);
    assert_eq!(
        (blocks[0].left, blocks[0].right),
        (first + 100, first + 150)
    );
    forged.repr.sequence = first;
    forged.bytes = pattern(100);
    pair.inject(&forged);
    let answers = pair.take(B);
    assert_eq!(answers.len(), 1);
    assert_eq!(answers[0].repr.acknowledgement, first + 150);
    assert!(answers[0].repr.options.sack.is_empty());
}

/// RFC 2883: what comes twice is reported.
#[test]
fn a_duplicate_is_reported_by_d_sack() {
    let mut pair = Pair::new();
    let (_a, b) = pair.connect();
    pair.link = cut();
    let first = pair.numbers(B, b).2;
    let mut forged = pair.forged(B, b, TcpFlags::ACK);
    forged.bytes = pattern(50);
    pair.inject(&forged);
    pair.take(B);
    pair.inject(&forged);
    let answers = pair.take(B);
    assert_eq!(answers.len(), 1);
    let blocks = answers[0].repr.options.sack;
    assert_eq!((blocks[0].left, blocks[0].right), (first, first + 50));
    assert_eq!(pair.read(B, b), pattern(50));
}

/// "An ACK counted as sent that the device refused."
#[test]
fn an_acknowledgement_that_was_refused_is_sent_again() {
    let mut pair = Pair::new();
    let (_a, b) = pair.connect();
    pair.link = cut();
    let mut forged = pair.forged(B, b, TcpFlags::ACK);
    forged.bytes = pattern(50);
    pair.inject(&forged);
    let answers = pair.take(B);
    assert_eq!(answers.len(), 1);
    let (now, tuple) = (pair.now, answers[0].tuple);
    pair.engine(B).handle_refused(now, &tuple);
    let answers = pair.take(B);
    assert_eq!(answers.len(), 1);
    assert_eq!(answers[0].repr.acknowledgement, pair.numbers(B, b).2);
    assert!(pair.take(B).is_empty());
}

/// RFC 3168: marks are echoed until the sender has reduced its window, and says so.
#[test]
fn rfc3168_a_mark_is_echoed_and_answered() {
    let mut pair = Pair::new();
    let (a, b) = pair.connect();
    let mut marked = false;
    pair.link = Box::new(move |_, flying| {
        if flying.from == A && flying.markable && flying.bytes.len() == 1_448 && !marked {
            marked = true;
            flying.marked = true;
        }
        std::vec![DELAY]
    });
    let bytes = pattern(300_000);
    assert_eq!(pair.transfer((A, a), (B, b), &bytes, secs(60)), bytes);
    let a_counters = pair.hosts[A].engine.counters();
    assert_eq!(pair.hosts[B].engine.counters().congestion_marks, 1);
    assert_eq!(a_counters.congestion_echoes, 1);
    assert_eq!(a_counters.retransmitted, 0);
    let sent = &pair.sent;
    let reduced = sent
        .iter()
        .filter(|(_, sent)| sent.from == A && sent.has(TcpFlags::CWR) && !sent.has(TcpFlags::SYN))
        .count();
    assert_eq!(reduced, 1);
    // §6.1.4: what carries no new data can't be marked.
    assert!(
        sent.iter()
            .all(|(_, sent)| !sent.markable || !sent.bytes.is_empty())
    );
    let last = sent.iter().rev().find(|(_, sent)| sent.from == B).unwrap();
    assert!(!last.1.has(TcpFlags::ECE));
}

/// RFC 9293 §3.9.1.2 (SHLD-27): the last segment of what was written is pushed.
#[test]
fn the_last_segment_is_pushed() {
    let mut pair = Pair::new();
    let (a, _b) = pair.connect();
    pair.sent_by(A);
    pair.write(A, a, &pattern(1_448 * 2 + 10));
    pair.settle();
    let pushed: Vec<bool> = pair
        .sent_by(A)
        .iter()
        .map(|sent| sent.has(TcpFlags::PSH))
        .collect();
    assert_eq!(pushed, [false, false, true]);
}

/// A receiver that merges segments waits behind one that is not pushed: what a window keeps back, and what is sent again, is.
#[test]
fn the_last_segment_that_a_window_lets_go_is_pushed_and_so_is_what_is_sent_again() {
    let mut pair = Pair::new();
    let (a, _b) = pair.connect();
    pair.write(A, a, &pattern(1_448 * 20));
    let pushed = |sent: &[Flying]| -> Vec<bool> {
        let data = sent.iter().filter(|sent| !sent.bytes.is_empty());
        data.map(|sent| sent.has(TcpFlags::PSH)).collect()
    };
    // RFC 6928: ten segments.
    let first = pair.take(A);
    let mut expected = std::vec![false; 10];
    expected[9] = true;
    assert_eq!(pushed(&first), expected);
    // None of them arrives: a probe of the tail, then a time-out.
    pair.sent_by(A);
    pair.run(secs(3));
    let again = pushed(&pair.sent_by(A)[..2]);
    assert_eq!(again, [true, true]);
}

/// One connection after the other, each with a train of segments; none has to wait for more than that.
#[test]
fn connections_take_turns_of_more_than_one_segment() {
    let pools = [
        Pool::leak(1_024, 2048).unwrap(),
        Pool::leak(1_024, 2048).unwrap(),
    ];
    let mut pair = Pair::on(pools, TcpConfig::default(), SIZES);
    let options = ConnectionOptions {
        receive_window: 1 << 18,
        receive_pages: 200,
        send_octets: 1 << 18,
        send_pages: 200,
        ..ConnectionOptions::DEFAULT
    };
    let listener = pair.listen(options);
    let both = [A, A].map(|host| pair.open(host, options));
    pair.run(secs(1));
    let peers = [A, A].map(|_| pair.engine(B).accept(listener).unwrap().unwrap());
    // The windows grow, of both at the same time: an idle one would shrink again (RFC 5681 §4.1).
    for _ in 0..5 {
        for a in both {
            pair.write(A, a, &pattern(60_000));
        }
        for _ in 0..3 {
            pair.run(ms(25));
            for b in peers {
                pair.read(B, b);
            }
        }
    }
    for a in both {
        pair.write(A, a, &pattern(60_000));
    }
    let sent = pair.take(A);
    let ports: Vec<u16> = sent.iter().map(|sent| sent.repr.source_port).collect();
    let trains: Vec<usize> = ports.chunk_by(|a, b| a == b).map(<[u16]>::len).collect();
    // Segments of 1,448 octets: the last of a turn ends it.
    let most = (24 * 1_024usize).div_ceil(1_448);
    assert!(trains.len() >= 4, "{trains:?}");
    assert!(trains[..2].iter().all(|train| *train == most), "{trains:?}");
    assert!(trains.iter().all(|train| *train <= most), "{trains:?}");
}

/// A page that is sent is the page that was given, and it is free when it is acknowledged.
#[test]
fn pages_are_sent_from_where_they_lie() {
    let mut pair = Pair::new();
    let (a, b) = pair.connect();
    let pool = pair.hosts[A].pool;
    let free = pool.free();
    let mut page = pool.alloc().unwrap();
    page.extend_from_slice(&pattern(1_000)).unwrap();
    let now = pair.now;
    pair.engine(A).send(now, a, page.into()).unwrap();
    assert_eq!(pool.free(), free - 1);
    pair.run(secs(1));
    assert_eq!(pool.free(), free);
    assert_eq!(pair.read(B, b), pattern(1_000));
}

#[test]
fn what_does_not_fit_is_refused_and_there_is_news_when_there_is_room() {
    let mut pair = Pair::new();
    let (a, b) = pair.connect();
    pair.hosts[A].events.clear();
    let bytes = pattern(100_000);
    let written = pair.write(A, a, &bytes);
    assert_eq!(written, 65_536);
    assert_eq!(pair.write(A, a, &bytes), 0);
    let pool = pair.hosts[A].pool;
    let mut page = pool.alloc().unwrap();
    page.extend_from_slice(b"x").unwrap();
    let now = pair.now;
    let refused = pair.engine(A).send(now, a, page.into());
    assert!(matches!(refused, Err((TcpError::Full, _))));
    drop(refused);
    pair.run(secs(2));
    let news = &pair.hosts[A].events;
    assert!(
        news.iter()
            .any(|(of, events)| *of == a && events.contains(TcpEvents::WRITABLE))
    );
    assert_eq!(pair.read(B, b), bytes[..65_536]);
}

/// RFC 9293 §3.8.5, RFC 6093: urgent data stay in line.
#[test]
fn urgent_data_stay_in_line_and_are_pointed_at() {
    let mut pair = Pair::new();
    let (_a, b) = pair.connect();
    pair.link = cut();
    let mut forged = pair.forged(B, b, TcpFlags::ACK | TcpFlags::URG);
    forged.repr.urgent = 6;
    forged.bytes = b"urgent, and not".to_vec();
    pair.inject(&forged);
    let urgent = |pair: &Pair| pair.hosts[B].engine.get(b).unwrap().urgent();
    assert_eq!(urgent(&pair), Some(6));
    let mut some = [0; 4];
    let now = pair.now;
    assert_eq!(pair.engine(B).read(now, b, &mut some), Ok(4));
    assert_eq!(urgent(&pair), Some(2));
    assert_eq!(pair.read(B, b), b"nt, and not");
    assert_eq!(urgent(&pair), None);
}

/// RFC 1191 §6.5, RFC 5927 §7: a report about a segment in flight makes segments smaller; another one doesn't.
#[test]
fn a_narrower_path_is_believed_for_what_is_in_flight() {
    let mut pair = Pair::new();
    let (a, b) = pair.connect();
    let tuple = *pair.hosts[A].engine.get(a).unwrap().tuple();
    pair.link = Box::new(|_, flying| {
        if flying.bytes.len() > 1_000 {
            Vec::new()
        } else {
            std::vec![DELAY]
        }
    });
    let (una, nxt, _) = pair.numbers(A, a);
    let now = pair.now;
    assert!(!pair.engine(A).handle_path_mtu(now, &tuple, nxt, 1_000));
    assert!(!pair.engine(A).handle_path_mtu(now, &tuple, una - 1, 1_000));
    let bytes = pattern(20_000);
    pair.write(A, a, &bytes);
    pair.settle();
    assert!(!pair.engine(A).handle_path_mtu(now, &tuple, una, 1_500));
    assert!(pair.engine(A).handle_path_mtu(now, &tuple, una, 1_000));
    pair.run(secs(1));
    assert_eq!(pair.read(B, b), bytes);
    assert_eq!(pair.hosts[A].engine.counters().time_outs, 0);
}

/// "DF on everything and Fragmentation Needed ignored: black hole"; RFC 4821 §7.7: here not even a report comes.
#[test]
fn a_path_that_swallows_large_segments_is_found() {
    for limit in [1_300, 600] {
        let mut pair = Pair::new();
        let (a, b) = pair.connect();
        pair.link = Box::new(move |_, flying| {
            if flying.bytes.len() + flying.repr.header_len() + 20 > limit {
                Vec::new()
            } else {
                std::vec![DELAY]
            }
        });
        let bytes = pattern(30_000);
        assert_eq!(pair.transfer((A, a), (B, b), &bytes, secs(300)), bytes);
        assert!(pair.hosts[A].engine.counters().path_mtu_reduced >= 1);
    }
}
