//! Windows that close, open, shrink, and are silly (RFC 9293 §3.8.6).

use super::*;

fn narrow(receive_window: u32) -> ConnectionOptions {
    ConnectionOptions {
        receive_window,
        ..ConnectionOptions::DEFAULT
    }
}

/// Fills the receiver's buffer until its window is closed.
fn shut(window: u32) -> (Pair, TcpHandle, TcpHandle) {
    let mut pair = Pair::new();
    let (a, b) = pair.connect_with(ConnectionOptions::DEFAULT, narrow(window));
    pair.write(A, a, &pattern(60_000));
    pair.run(secs(5));
    assert_eq!(pair.hosts[A].engine.get(a).unwrap().peer_window(), 0);
    assert_eq!(pair.hosts[B].engine.get(b).unwrap().readable(), window);
    (pair, a, b)
}

/// "A window that closes and never opens again."
#[test]
fn a_closed_window_opens_when_the_data_are_read() {
    let (mut pair, _a, b) = shut(10_000);
    pair.run(secs(100));
    let mut read = pair.read(B, b);
    let until = pair.now + secs(5);
    while pair.step(until) {
        read.extend(pair.read(B, b));
    }
    assert_eq!(read, pattern(60_000));
}

/// The same, though the news of it is lost: the probe finds out.
#[test]
fn a_lost_window_update_is_found_by_a_probe() {
    let (mut pair, _a, b) = shut(10_000);
    pair.link = cut();
    let mut read = pair.read(B, b);
    pair.settle();
    pair.link = perfect();
    let until = pair.now + secs(70);
    while pair.step(until) {
        read.extend(pair.read(B, b));
    }
    assert_eq!(read, pattern(60_000));
}

/// RFC 9293 §3.8.6.1 (MUST-36, SHLD-29, SHLD-30, MUST-37): probes with back-off, and no end while they are answered.
#[test]
fn a_closed_window_is_probed_for_as_long_as_the_peer_answers() {
    let (mut pair, a, b) = shut(10_000);
    pair.sent_by(A);
    let start = pair.now;
    pair.run(secs(4_000));
    assert_eq!(pair.state(A, a), Some(TcpState::Established));
    let probes: Vec<u64> = core::mem::take(&mut pair.sent)
        .iter()
        .filter(|(_, sent)| sent.from == A)
        .map(|(at, sent)| {
            assert!(sent.bytes.len() <= 1);
            (*at - start).as_secs()
        })
        .collect();
    assert!((60..90).contains(&probes.len()), "{probes:?}");
    // At last one a minute.
    let count = probes.len();
    assert!((59..=60).contains(&(probes[count - 1] - probes[count - 2])));
    assert_eq!(pair.hosts[A].engine.counters().time_outs, 0);
    let mut read = pair.read(B, b);
    let until = pair.now + secs(5);
    while pair.step(until) {
        read.extend(pair.read(B, b));
    }
    assert!(read == pattern(60_000));
}

/// … but not for ever when it does not.
#[test]
fn a_closed_window_of_a_peer_that_is_gone_ends_by_the_user_time_out() {
    let (mut pair, a, _b) = shut(10_000);
    pair.link = cut();
    pair.run(secs(400));
    assert_eq!(pair.error(A, a), Some(TcpError::TimedOut));
}

/// … nor for a connection that nobody owns.
#[test]
fn a_closed_window_does_not_hold_a_connection_without_an_owner() {
    let (mut pair, a, _b) = shut(10_000);
    pair.close(A, a);
    pair.run(secs(400));
    assert_eq!(pair.engine(A).population().0, 0);
}

/// "Two zero-window probes at once drop each other's ACKs."
#[test]
fn both_windows_closed_at_once() {
    let mut pair = Pair::new();
    let (a, b) = pair.connect_with(narrow(10_000), narrow(10_000));
    pair.write(A, a, &pattern(30_000));
    pair.write(B, b, &pattern(30_000));
    pair.run(secs(10));
    // The news of both is lost.
    pair.link = cut();
    let (mut at_a, mut at_b) = (pair.read(A, a), pair.read(B, b));
    pair.settle();
    pair.link = perfect();
    let until = pair.now + secs(100);
    while pair.step(until) {
        at_a.extend(pair.read(A, a));
        at_b.extend(pair.read(B, b));
    }
    assert_eq!(at_a, pattern(30_000));
    assert_eq!(at_b, pattern(30_000));
}

/// "After a time-out on both sides pure ACKs carry the rewound SND.NXT and the connection hangs."
#[test]
fn time_outs_on_both_sides_at_once() {
    let mut pair = Pair::new();
    let (a, b) = pair.connect();
    pair.link = cut();
    pair.write(A, a, &pattern(30_000));
    pair.write(B, b, &pattern(30_000));
    pair.run(secs(20));
    pair.link = perfect();
    let (mut at_a, mut at_b) = (Vec::new(), Vec::new());
    let until = pair.now + secs(100);
    while pair.step(until) {
        at_a.extend(pair.read(A, a));
        at_b.extend(pair.read(B, b));
    }
    assert_eq!(at_a, pattern(30_000));
    assert_eq!(at_b, pattern(30_000));
}

/// "Partial ACK with zero window", "window shrunk to zero with data in flight": a timer runs all the same.
#[test]
fn a_window_that_is_taken_back_stops_nothing_for_ever() {
    for partial in [0, 1_000] {
        let mut pair = Pair::new();
        let (a, b) = pair.connect();
        pair.link = cut();
        pair.write(A, a, &pattern(10_000));
        pair.settle();
        let (una, _, _) = pair.numbers(A, a);
        let mut forged = pair.forged(A, a, TcpFlags::ACK);
        forged.repr.acknowledgement = una + partial;
        forged.repr.window = 0;
        pair.inject(&forged);
        assert_eq!(pair.hosts[A].engine.get(a).unwrap().peer_window(), 0);
        pair.run(secs(30));
        if partial > 0 {
            // The peer does not really have them, and never will: that is all that can be seen here.
            let probes = pair.hosts[A].engine.counters().window_probes;
            assert!(probes >= 3, "{probes}");
            continue;
        }
        pair.link = perfect();
        pair.run(secs(100));
        assert_eq!(pair.read(B, b), pattern(10_000));
    }
}

/// "Silly window, both sides": a slow reader does not make small segments.
#[test]
fn a_slow_reader_gets_large_segments() {
    let (mut pair, _a, b) = shut(10_000);
    pair.sent_by(A);
    let mut read = 0;
    let until = pair.now + secs(1_000);
    while read < 60_000 && pair.now < until {
        let now = pair.now;
        let mut some = [0; 100];
        read += pair.engine(B).read(now, b, &mut some).unwrap();
        pair.run(ms(5));
    }
    assert_eq!(read, 60_000);
    let sizes: Vec<usize> = pair
        .sent_by(A)
        .iter()
        .map(|sent| sent.bytes.len())
        .filter(|size| *size > 0)
        .collect();
    let small = sizes.iter().filter(|size| **size < 1_448).count();
    assert!(sizes.len() < 60 && small <= 6, "{sizes:?}");
}

/// RFC 9293 §3.8.6.2.1: a window below a segment is used when it is half of what it ever was, or after a while.
#[test]
fn a_window_below_a_segment_is_used() {
    for window in [1, 100, 700, 1_000] {
        let mut pair = Pair::new();
        let (a, b) = pair.connect_with(ConnectionOptions::DEFAULT, narrow(window));
        let bytes = pattern(3_000.min(window as usize * 20));
        assert_eq!(
            pair.transfer((A, a), (B, b), &bytes, secs(600)),
            bytes,
            "{window}"
        );
    }
}

/// RFC 7323 §2.4, on the wire: whatever arrives and is read, the right edge that the peer sees never moves back by more than
/// the unit of the scale, and with full-sized segments not at all.
#[test]
fn the_right_edge_does_not_move_back() {
    let mut pair = Pair::new();
    let wide = narrow(1 << 20);
    let (a, b) = pair.connect_with(ConnectionOptions::DEFAULT, wide);
    let bytes = pattern(500_000);
    assert_eq!(pair.transfer((A, a), (B, b), &bytes, secs(60)), bytes);
    let mut edge: Option<SequenceNumber> = None;
    for (_, sent) in pair.sent.iter().skip(3).filter(|(_, sent)| sent.from == B) {
        let now = sent.repr.acknowledgement + (u32::from(sent.repr.window) << 5);
        if let Some(edge) = edge {
            assert!(now.is_at_or_after(edge), "{now} {edge}");
        }
        edge = Some(now);
    }
}

/// RFC 9293 §3.8.6.2.1: a sender without a limit by the window sends full segments.
#[test]
fn large_writes_make_full_segments() {
    let mut pair = Pair::new();
    let (a, b) = pair.connect();
    pair.sent_by(A);
    let bytes = pattern(100 * 1_448);
    assert_eq!(pair.transfer((A, a), (B, b), &bytes, secs(60)), bytes);
    let sizes: Vec<usize> = pair
        .sent_by(A)
        .iter()
        .map(|sent| sent.bytes.len())
        .filter(|size| *size > 0)
        .collect();
    assert!(sizes.len() <= 106, "{}", sizes.len());
}

/// RFC 9293 §3.8.6.1, MUST-66: "process the RST and URG fields of all incoming segments, even when the receive window is zero".
#[test]
fn rfc9293_3_8_6_a_closed_window_keeps_neither_urgent_nor_reset_out() {
    let (mut pair, _a, b) = shut(10_000);
    pair.link = cut();
    let mut urgent = pair.forged(B, b, TcpFlags::ACK | TcpFlags::URG);
    urgent.bytes = b"now".to_vec();
    urgent.repr.urgent = 3;
    pair.inject(&urgent);
    assert_eq!(pair.hosts[B].engine.get(b).unwrap().urgent(), Some(10_003));
    assert_eq!(pair.hosts[B].engine.get(b).unwrap().readable(), 10_000);
    // Not what an acknowledgement out of range comes with.
    urgent.repr.acknowledgement += 1 << 20;
    urgent.repr.urgent = 300;
    pair.inject(&urgent);
    assert_eq!(pair.hosts[B].engine.get(b).unwrap().urgent(), Some(10_003));
    // SHLD-2: with data, too.
    let mut reset = pair.forged(B, b, TcpFlags::RST);
    reset.bytes = b"no room".to_vec();
    pair.inject(&reset);
    assert_eq!(pair.error(B, b), Some(TcpError::Reset));
}
