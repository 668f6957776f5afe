//! What losses in a row must not leave behind: a round-trip time that never was, small segments, delayed acknowledgements.

use super::*;

/// A connection over which some data went.
fn settled() -> (Pair, TcpHandle, TcpHandle) {
    let mut pair = Pair::new();
    let (a, b) = pair.connect();
    let bytes = pattern(60_000);
    pair.transfer((A, a), (B, b), &bytes, secs(10));
    pair.run(secs(1));
    (pair, a, b)
}

/// The largest packet with data that a host has sent since the last call.
fn largest_sent(pair: &mut Pair, host: usize) -> usize {
    let sent = pair.sent_by(host);
    let sizes = sent.iter().map(|flying| flying.packet_len());
    sizes.max().unwrap_or(0)
}

/// Nothing larger arrives.
fn narrow(limit: usize) -> Link {
    Box::new(move |_, flying| {
        if flying.packet_len() > limit {
            Vec::new()
        } else {
            std::vec![DELAY]
        }
    })
}

/// RFC 7323 §4.3 (2): the timestamp of what came before counts, when it ends where the last acknowledgement stood, which was lost.
#[test]
fn rfc7323_4_3_a_repetition_is_answered_with_its_own_timestamp() {
    let (mut pair, a, b) = settled();
    let smoothed = pair.round_trip(A, a);
    let heals = pair.now + secs(10);
    pair.link = Box::new(move |now, flying| {
        if flying.from == B && now < heals {
            Vec::new()
        } else {
            std::vec![DELAY]
        }
    });
    pair.write(A, a, &[7; 500]);
    pair.run(secs(40));
    assert_eq!(pair.read(B, b), [7; 500]);
    assert!(pair.hosts[A].engine.counters().time_outs >= 3);
    assert_eq!(pair.numbers(A, a).0, pair.numbers(A, a).1);
    let now = pair.round_trip(A, a);
    assert!(now <= smoothed + ms(5), "{now:?}");
}

/// A blind attacker's timestamp is not taken for the peer's: where a repetition ends is as hard to know as where the window is.
#[test]
fn a_timestamp_far_below_the_window_is_not_remembered() {
    let (mut pair, _a, b) = settled();
    let recent = |pair: &Pair| {
        let connection = pair.hosts[B].engine.get(b).unwrap();
        connection.timestamps().unwrap().recent
    };
    let before = recent(&pair);
    pair.link = cut();
    for (below, length) in [(10_000, 100), (101, 100), (50_000, 1_000)] {
        let mut forged = pair.forged(B, b, TcpFlags::ACK);
        forged.repr.sequence = forged.repr.sequence - below;
        forged.bytes = std::vec![1; length];
        forged.repr.options.timestamps.as_mut().unwrap().value = before.wrapping_add(1 << 30);
        pair.inject(&forged);
        assert_eq!(recent(&pair), before, "{below}");
    }
    let mut repetition = pair.forged(B, b, TcpFlags::ACK);
    repetition.repr.sequence = repetition.repr.sequence - 100;
    repetition.bytes = std::vec![1; 100];
    repetition.repr.options.timestamps.as_mut().unwrap().value = before.wrapping_add(9);
    pair.inject(&repetition);
    assert_eq!(recent(&pair), before.wrapping_add(9));
}

/// RFC 5681 §4.2: after a gap each segment is acknowledged at once for a while, for the sender's window is small.
#[test]
fn after_a_loss_each_segment_is_acknowledged_for_a_while() {
    let (mut pair, a, b) = settled();
    let mut dropped = false;
    pair.link = Box::new(move |_, flying| {
        if flying.from == A && !flying.bytes.is_empty() && !core::mem::replace(&mut dropped, true) {
            Vec::new()
        } else {
            std::vec![DELAY]
        }
    });
    let bytes = pattern(5_000);
    pair.transfer((A, a), (B, b), &bytes, secs(10));
    pair.run(secs(1));
    // A lone segment: without the loss its acknowledgement would wait for the timer.
    pair.sent.clear();
    let start = pair.now;
    pair.write(A, a, &[1; 100]);
    pair.run(secs(1));
    let answered = pair.sent.iter().find(|(_, flying)| flying.from == B);
    assert_eq!(answered.unwrap().0, start + DELAY);
}

/// RFC 4821 §7.7: time-outs in a row may be a black hole. When they were not, segments are large again soon.
#[test]
fn rfc4821_7_a_wrong_suspicion_is_taken_back_within_seconds() {
    let (mut pair, a, b) = settled();
    let heals = pair.now + secs(20);
    pair.link = Box::new(move |now, _| {
        if now < heals {
            Vec::new()
        } else {
            std::vec![DELAY]
        }
    });
    let bytes = pattern(60_000);
    pair.transfer((A, a), (B, b), &bytes, secs(60));
    assert!(pair.hosts[A].engine.counters().path_mtu_reduced >= 2);
    pair.run(secs(2));
    pair.transfer((A, a), (B, b), &bytes, secs(10));
    pair.run(secs(2));
    pair.sent.clear();
    pair.transfer((A, a), (B, b), &bytes, secs(10));
    assert_eq!(largest_sent(&mut pair, A), 1_500);
    assert!(pair.hosts[A].engine.counters().path_mtu_raised >= 1);
    // All of them, not one now and then.
    assert_eq!(pair.hosts[A].engine.get(a).unwrap().segment_octets(), 1_448);
}

/// Where large segments have got through, time-outs in a row are rather losses; where none has, a black hole.
#[test]
fn a_path_that_has_shown_what_it_takes_is_suspected_later() {
    let bytes = pattern(20_000);
    let time_outs_until_suspected = |pair: &mut Pair, a| {
        pair.link = cut();
        let before = pair.hosts[A].engine.counters().time_outs;
        pair.write(A, a, &bytes);
        let until = pair.now + secs(120);
        while pair.hosts[A].engine.counters().path_mtu_reduced == 0 {
            assert!(pair.step(until));
        }
        pair.hosts[A].engine.counters().time_outs - before
    };
    let mut pair = Pair::new();
    let (a, _) = pair.connect();
    assert_eq!(time_outs_until_suspected(&mut pair, a), 3);
    let (mut pair, a, _) = settled();
    assert_eq!(time_outs_until_suspected(&mut pair, a), 6);
    // Small segments prove nothing.
    let mut pair = Pair::new();
    let (a, b) = pair.connect();
    for _ in 0..20 {
        pair.write(A, a, &[1; 900]);
        pair.run(secs(1));
    }
    assert_eq!(pair.read(B, b).len(), 18_000);
    assert_eq!(time_outs_until_suspected(&mut pair, a), 3);
}

/// RFC 4821 §7: a black hole that stays is tested ever less often, and no time-out more comes of it.
#[test]
fn rfc4821_7_a_path_that_stays_narrow_costs_few_segments() {
    for limit in [1_300, 600] {
        let (mut pair, a, b) = settled();
        pair.link = narrow(limit);
        let bytes = pattern(30_000);
        pair.transfer((A, a), (B, b), &bytes, secs(300));
        let time_outs = pair.hosts[A].engine.counters().time_outs;
        let before = pair.sent.len();
        let start = pair.now;
        let mut moved = 0;
        while pair.now < start + secs(600) {
            pair.transfer((A, a), (B, b), &bytes, secs(100));
            moved += bytes.len();
            pair.run(secs(1));
        }
        let sent = &pair.sent[before..];
        let tests = sent
            .iter()
            .filter(|(_, flying)| flying.packet_len() > limit);
        let tests = tests.count();
        assert!((3..=12).contains(&tests), "{limit}: {tests}");
        let time_outs = pair.hosts[A].engine.counters().time_outs - time_outs;
        assert!(time_outs <= 1, "{limit}: {time_outs}");
        assert!(moved > 1_000_000);
    }
}

/// RFC 1191 §6.3: what a router said is tested after ten minutes, not before.
#[test]
fn rfc1191_6_3_a_path_that_became_wider_is_found_after_ten_minutes() {
    let (mut pair, a, b) = settled();
    let bytes = pattern(30_000);
    pair.write(A, a, &bytes);
    pair.settle();
    let now = pair.now;
    let (tuple, una) = (
        *pair.hosts[A].engine.get(a).unwrap().tuple(),
        pair.numbers(A, a).0,
    );
    assert!(pair.engine(A).handle_path_mtu(now, &tuple, una, 1_000));
    pair.run(secs(1));
    assert_eq!(pair.read(B, b).len(), bytes.len());
    for (seconds, largest) in [(1, 1_000), (590, 1_000), (10, 1_500), (1, 1_500)] {
        pair.run(secs(seconds));
        pair.sent.clear();
        pair.transfer((A, a), (B, b), &bytes, secs(10));
        assert_eq!(largest_sent(&mut pair, A), largest, "after {seconds} s");
    }
    assert_eq!(pair.hosts[A].engine.counters().path_mtu_raised, 1);
}

/// RFC 4821 §7.6.2: a router that answers the test has said that it failed, and no congestion.
#[test]
fn rfc4821_7_6_2_a_test_that_a_router_refuses_is_no_congestion() {
    let (mut pair, a, b) = settled();
    let bytes = pattern(30_000);
    pair.write(A, a, &bytes);
    pair.settle();
    let now = pair.now;
    let tuple = *pair.hosts[A].engine.get(a).unwrap().tuple();
    let una = pair.numbers(A, a).0;
    assert!(pair.engine(A).handle_path_mtu(now, &tuple, una, 1_000));
    pair.run(secs(601));
    pair.read(B, b);
    pair.sent.clear();
    pair.link = narrow(1_000);
    pair.write(A, a, &bytes);
    pair.settle();
    let test = pair
        .sent
        .iter()
        .find(|(_, flying)| flying.packet_len() > 1_000);
    let sequence = test.unwrap().1.repr.sequence;
    let now = pair.now;
    // Larger than what is tested: not believed. The size that the path is known to take: believed.
    assert!(!pair.engine(A).handle_path_mtu(now, &tuple, sequence, 1_500));
    assert!(pair.engine(A).handle_path_mtu(now, &tuple, sequence, 1_000));
    pair.run(secs(1));
    assert_eq!(pair.read(B, b), bytes);
    assert_eq!(pair.hosts[A].engine.counters().time_outs, 0);
    assert_eq!(pair.hosts[A].engine.counters().path_mtu_raised, 0);
}

/// A path was narrow, and takes more now, though not what the interface does, and no router says so: of the tests every other one is
/// of a size between.
#[test]
fn rfc4821_7_a_path_that_became_somewhat_wider_is_found_without_routers() {
    for known in [true, false] {
        let mut pair = Pair::new();
        let bytes = pattern(30_000);
        let (a, b) = if known {
            pair.hosts[A].path_mtu = 576;
            pair.connect()
        } else {
            let (a, b) = pair.connect();
            pair.link = narrow(576);
            for _ in 0..90 {
                assert_eq!(pair.transfer((A, a), (B, b), &bytes, secs(300)), bytes);
                pair.run(secs(20));
            }
            (a, b)
        };
        assert_eq!(pair.hosts[A].engine.get(a).unwrap().segment_octets(), 524);
        pair.link = narrow(1_400);
        pair.sent.clear();
        let time_outs = pair.hosts[A].engine.counters().time_outs;
        for _ in 0..90 {
            assert_eq!(pair.transfer((A, a), (B, b), &bytes, secs(10)), bytes);
            pair.run(secs(20));
        }
        assert_eq!(pair.hosts[A].engine.get(a).unwrap().segment_octets(), 1_228);
        let counters = pair.hosts[A].engine.counters();
        assert_eq!(counters.path_mtu_raised, 1);
        assert_eq!(counters.time_outs, time_outs);
        // In half an hour. What was only suspected is tested soon again, once more than that has got through.
        let most = if known { 3 } else { 14 };
        let sent = pair.sent.iter();
        let lost = sent.filter(|(_, flying)| flying.packet_len() > 1_400);
        let lost = lost.count();
        assert!((1..=most).contains(&lost), "{known}: {lost}");
    }
}

/// RFC 1191 §6.3, RFC 4821 §7.3: what was known of the path when a connection began is tested after ten minutes, in each that lives so
/// long, and not before; where it still holds, such a test is one segment.
#[test]
fn rfc4821_7_3_a_path_that_was_narrow_at_the_beginning_is_tested_after_ten_minutes() {
    for widens in [true, false] {
        let mut pair = Pair::new();
        pair.hosts[A].path_mtu = 1_000;
        pair.link = narrow(1_000);
        let (a, b) = pair.connect();
        let bytes = pattern(30_000);
        for _ in 0..29 {
            assert_eq!(pair.transfer((A, a), (B, b), &bytes, secs(10)), bytes);
            pair.run(secs(20));
        }
        assert_eq!(largest_sent(&mut pair, A), 1_000);
        if widens {
            pair.link = perfect();
        }
        pair.sent.clear();
        for _ in 0..29 {
            assert_eq!(pair.transfer((A, a), (B, b), &bytes, secs(10)), bytes);
            pair.run(secs(20));
        }
        let larger = pair.sent.iter();
        let larger = larger.filter(|(_, flying)| flying.packet_len() > 1_000);
        let larger = larger.count();
        let counters = pair.hosts[A].engine.counters();
        if widens {
            assert!(larger > 100, "{larger}");
            assert_eq!(pair.hosts[A].engine.get(a).unwrap().segment_octets(), 1_448);
        } else {
            assert_eq!(larger, 1);
            assert_eq!(pair.hosts[A].engine.get(a).unwrap().segment_octets(), 948);
            assert_eq!(counters.time_outs, 0);
        }
        assert_eq!(counters.path_mtu_raised, u64::from(widens));
    }
}
