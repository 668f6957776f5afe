//! Timers: retransmission, the user time-out, keep-alives; and a device that takes nothing.

use super::*;
use crate::tcp::config::KeepAlive;

/// RFC 6298 §5.5, §5.6; "data retransmission for ever".
#[test]
fn data_are_retransmitted_with_back_off_until_the_user_time_out() {
    let mut pair = Pair::new();
    let (a, _b) = pair.connect();
    pair.link = cut();
    let start = pair.now;
    pair.write(A, a, b"is anybody there?");
    pair.run(secs(299));
    assert_eq!(pair.state(A, a), Some(TcpState::Established));
    let sent = pair.sent.iter().filter(|(at, _)| *at > start).count();
    assert!((8..=16).contains(&sent), "{sent}");
    pair.run(secs(2));
    assert_eq!(pair.error(A, a), Some(TcpError::TimedOut));
    assert_eq!(pair.engine(A).poll_timeout(), None);
    assert_eq!(pair.engine(A).segments_free().0, SIZES.segments);
    let news = &pair.hosts[A].events;
    assert!(
        news.iter()
            .any(|(of, events)| *of == a && events.contains(TcpEvents::CLOSED))
    );
}

#[test]
fn an_idle_connection_has_no_timer_and_never_ends() {
    let mut pair = Pair::new();
    let (a, b) = pair.connect();
    assert_eq!(pair.engine(A).poll_timeout(), None);
    assert_eq!(pair.engine(B).poll_timeout(), None);
    pair.run(secs(1_000_000));
    pair.write(A, a, b"still there");
    pair.run(secs(1));
    assert_eq!(pair.read(B, b), b"still there");
}

/// The user time-out counts from when something waits, not from when the connection was last used.
#[test]
fn a_long_silence_is_not_counted_against_what_is_sent_after_it() {
    let mut pair = Pair::new();
    let (a, b) = pair.connect();
    pair.run(secs(10_000));
    pair.link = cut();
    pair.write(A, a, b"hello");
    pair.run(secs(100));
    assert_eq!(pair.state(A, a), Some(TcpState::Established));
    pair.link = perfect();
    pair.run(secs(100));
    assert_eq!(pair.read(B, b), b"hello");
}

/// RFC 9293 §3.8.4: off by default, two hours by default, SEG.SEQ = SND.NXT - 1, and without data outstanding only.
#[test]
fn keep_alives_find_out_that_the_peer_is_gone() {
    let mut pair = Pair::new();
    let careful = ConnectionOptions {
        keep_alive: Some(KeepAlive::default()),
        ..ConnectionOptions::DEFAULT
    };
    let (a, _b) = pair.connect_with(careful, ConnectionOptions::DEFAULT);
    pair.sent_by(A);
    pair.run(secs(7_100));
    assert!(pair.sent_by(A).is_empty());
    let step = |pair: &mut Pair, until| {
        // Up to a sixteenth later: see `keep_alives_of_many_do_not_go_out_at_once`.
        let end = pair.now + until;
        pair.sent.clear();
        while pair.sent.is_empty() && pair.step(end) {
            pair.settle();
        }
    };
    step(&mut pair, secs(100 + 450));
    let asked = pair.sent_by(A);
    assert_eq!(asked.len(), 1);
    assert_eq!(asked[0].repr.sequence, pair.numbers(A, a).1 - 1);
    assert!(asked[0].bytes.is_empty());
    pair.run(secs(1));
    pair.sent.clear();
    // It is there, so nothing more for two hours.
    pair.run(secs(7_000));
    assert!(pair.sent_by(A).is_empty());
    pair.link = cut();
    step(&mut pair, secs(200 + 450));
    pair.run(secs(75 * 9 - 5));
    assert_eq!(pair.state(A, a), Some(TcpState::Established));
    pair.run(secs(10));
    assert_eq!(pair.error(A, a), Some(TcpError::TimedOut));
    // Nine questions, and a reset for a peer that may be there after all.
    let asked = pair.sent_by(A);
    assert_eq!(asked.len(), 10);
    assert!(asked[9].has(TcpFlags::RST));
}

/// A keep-alive of a peer's is answered, however often the throttle for others has been used.
#[test]
fn a_keep_alive_is_answered() {
    let mut pair = Pair::new();
    let (_a, b) = pair.connect();
    pair.link = cut();
    pair.run(secs(1));
    let mut forged = pair.forged(B, b, TcpFlags::ACK);
    forged.repr.sequence = pair.numbers(B, b).2 - 1;
    pair.inject(&forged);
    assert_eq!(pair.take(B).len(), 1);
    // With the octet that old implementations need (MUST-27's footnote).
    forged.bytes = std::vec![0];
    pair.inject(&forged);
    assert_eq!(pair.take(B).len(), 1);
    assert_eq!(pair.hosts[B].engine.get(b).unwrap().readable(), 0);
}

/// "Receive loop without a budget", from the other side: while the device takes nothing no time is lost in circles.
#[test]
fn a_device_that_takes_nothing_for_a_while() {
    let mut pair = Pair::new();
    let (a, b) = pair.connect();
    pair.hosts[A].blocked = true;
    pair.write(A, a, &pattern(5_000));
    pair.run(secs(10));
    pair.hosts[A].blocked = false;
    pair.run(secs(10));
    assert_eq!(pair.read(B, b), pattern(5_000));
}

/// RFC 6298 §5.7, Karn: what was repeated measures nothing; the first time-out after a lost SYN is not that of a lost path.
#[test]
fn a_lost_syn_does_not_spoil_the_estimate() {
    let mut pair = Pair::new();
    let mut lost = false;
    pair.link = Box::new(move |_, _| {
        if core::mem::replace(&mut lost, true) {
            std::vec![DELAY]
        } else {
            Vec::new()
        }
    });
    let listener = pair.listen(ConnectionOptions::DEFAULT);
    let a = pair.open(A, ConnectionOptions::DEFAULT);
    pair.run(secs(5));
    let b = pair.engine(B).accept(listener).unwrap().unwrap();
    let bytes = pattern(20_000);
    assert_eq!(pair.transfer((A, a), (B, b), &bytes, secs(5)), bytes);
    assert_eq!(pair.hosts[A].engine.counters().time_outs, 1);
}

/// A lost last segment is found by a probe of the tail (RFC 8985 §7), well before a second has passed.
#[test]
fn a_lost_tail_is_repaired_quickly() {
    let mut pair = Pair::new();
    let (a, b) = pair.connect();
    let bytes = pattern(50_000);
    pair.transfer((A, a), (B, b), &bytes, secs(10));
    pair.run(secs(1));
    let mut dropped = false;
    pair.link = Box::new(move |_, flying| {
        if flying.from == A && flying.has(TcpFlags::PSH) && !core::mem::replace(&mut dropped, true)
        {
            Vec::new()
        } else {
            std::vec![DELAY]
        }
    });
    let start = pair.now;
    pair.write(A, a, &bytes[..10_000]);
    let until = pair.now + secs(10);
    let mut read = 0;
    while read < 10_000 {
        assert!(pair.step(until));
        read += pair.read(B, b).len();
    }
    assert!(pair.now - start < ms(400), "{:?}", pair.now - start);
}

/// Connections that fall silent at the same instant, as when a link is cut, ask one after the other.
#[test]
fn keep_alives_of_many_do_not_go_out_at_once() {
    let sizes = Sizes {
        connections: 64,
        ..SIZES
    };
    let mut pair = Pair::with(TcpConfig::default(), sizes);
    let careful = ConnectionOptions {
        keep_alive: Some(KeepAlive::default()),
        ..ConnectionOptions::DEFAULT
    };
    let listener = pair.listen(ConnectionOptions::DEFAULT);
    for _ in 0..8 {
        for _ in 0..8 {
            pair.open(A, careful);
        }
        pair.run(ms(100));
    }
    while pair.engine(B).accept(listener).unwrap().is_some() {}
    assert_eq!(pair.engine(A).population().0, 64);
    let start = pair.now;
    pair.sent.clear();
    pair.run(secs(7_200 + 7_200 / 16));
    let mut times: Vec<_> = pair
        .sent
        .iter()
        .filter(|(_, flying)| flying.from == A)
        .map(|(at, _)| at.saturating_duration_since(start))
        .collect();
    assert_eq!(times.len(), 64);
    assert!(times[0] >= secs(7_199), "{:?}", times[0]);
    times.dedup();
    assert!(times.len() > 40, "{}", times.len());
    let spread = times[times.len() - 1] - times[0];
    assert!(spread >= secs(300), "{spread:?}");
}
