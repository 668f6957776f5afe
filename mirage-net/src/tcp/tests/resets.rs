//! Resets, SYNs and acknowledgements that a stranger might have sent (RFC 5961), old ones (PAWS), and ICMP (RFC 5927).

use super::*;
use crate::tcp::KeepAlive;

/// RFC 5961 §3.2: "an in-window RST that isn't exact resets".
#[test]
fn rfc5961_3_2_only_the_exact_number_resets() {
    let mut pair = Pair::new();
    let (a, _b) = pair.connect();
    pair.link = cut();
    let expected = pair.numbers(A, a).2;
    let window = pair.hosts[A].engine.get(a).unwrap().offered_window();
    let mut forged = pair.forged(A, a, TcpFlags::RST);
    // In the window: challenged.
    for offset in [1, 2, window / 2, window - 1] {
        forged.repr.sequence = expected + offset;
        pair.inject(&forged);
        let answers = pair.take(A);
        assert_eq!(answers.len(), 1, "{offset}");
        assert_eq!(answers[0].repr.flags, TcpFlags::ACK);
        assert_eq!(answers[0].repr.acknowledgement, expected);
        assert_eq!(pair.state(A, a), Some(TcpState::Established));
    }
    // Outside: not a word.
    for sequence in [
        expected - 1,
        expected + window,
        expected + (1 << 31),
        expected - 70_000,
    ] {
        forged.repr.sequence = sequence;
        pair.inject(&forged);
        assert!(pair.take(A).is_empty());
        assert_eq!(pair.state(A, a), Some(TcpState::Established));
    }
    forged.repr.sequence = expected;
    pair.inject(&forged);
    assert_eq!(pair.error(A, a), Some(TcpError::Reset));
    assert!(pair.take(A).is_empty());
}

/// RFC 5961 §4.2: "a SYN in a synchronised state dropped instead of challenged"; whatever its number.
#[test]
fn rfc5961_4_2_a_syn_is_challenged() {
    let mut pair = Pair::new();
    let (a, _b) = pair.connect();
    pair.link = cut();
    let expected = pair.numbers(A, a).2;
    for flags in [TcpFlags::SYN, TcpFlags::SYN | TcpFlags::ACK] {
        for offset in [0, 1, 1 << 20, 1 << 31, u32::MAX] {
            let mut forged = pair.forged(A, a, flags);
            forged.repr.sequence = expected + offset;
            pair.inject(&forged);
            let answers = pair.take(A);
            assert_eq!(answers.len(), 1, "{offset}");
            assert_eq!(answers[0].repr.flags, TcpFlags::ACK);
            assert_eq!(answers[0].repr.acknowledgement, expected);
            assert_eq!(pair.state(A, a), Some(TcpState::Established));
        }
    }
}

/// A peer that began anew finds out, and can connect: the challenge makes it reset the old connection (RFC 9293 §3.5.1).
#[test]
fn a_peer_that_began_anew_gets_through() {
    let mut pair = Pair::new();
    let listener = pair.listen(ConnectionOptions::DEFAULT);
    let (local, remote) = (pair.at(A, 5_000), pair.at(B, PORT));
    let a = pair.open_between(A, local, remote, ConnectionOptions::DEFAULT);
    pair.run(secs(1));
    let b = pair.engine(B).accept(listener).unwrap().unwrap();
    // Its memory is gone, and it says nothing.
    pair.link = cut();
    let now = pair.now;
    pair.engine(A).abort(now, a);
    pair.settle();
    pair.link = perfect();
    let a = pair.open_between(A, local, remote, ConnectionOptions::DEFAULT);
    pair.run(secs(5));
    assert_eq!(pair.state(A, a), Some(TcpState::Established));
    assert_eq!(pair.error(B, b), Some(TcpError::Reset));
}

/// RFC 5961 §5.2, and "an ACK for data never sent is accepted".
#[test]
fn rfc5961_5_2_acknowledgements_out_of_range_are_challenged() {
    let mut pair = Pair::new();
    let (a, b) = pair.connect();
    let bytes = pattern(200_000);
    pair.transfer((A, a), (B, b), &bytes, secs(60));
    pair.run(secs(1));
    pair.link = cut();
    let (una, nxt, expected) = pair.numbers(A, a);
    let largest = 65_536;
    for (acknowledgement, taken) in [
        (nxt + 1, false),
        (nxt + (1 << 30), false),
        (una - largest - 1, false),
        (una - (1 << 30), false),
        (una, true),
        (una - 1, true),
        (una - largest + 2, true),
    ] {
        let mut forged = pair.forged(A, a, TcpFlags::ACK);
        forged.repr.acknowledgement = acknowledgement;
        forged.repr.sequence = pair.numbers(A, a).2;
        forged.bytes = b"x".to_vec();
        pair.inject(&forged);
        let answers = pair.take(A);
        let read = !pair.read(A, a).is_empty();
        assert_eq!(read, taken, "{acknowledgement} {una}");
        if !taken {
            assert_eq!(answers.len(), 1);
            assert_eq!(answers[0].repr.acknowledgement, pair.numbers(A, a).2);
        }
    }
    assert!(pair.numbers(A, a).2.is_after(expected));
    assert_eq!(pair.state(A, a), Some(TcpState::Established));
}

/// RFC 5961 §7: "challenge ACKs unthrottled".
#[test]
fn rfc5961_7_challenges_are_throttled() {
    let mut pair = Pair::new();
    let (a, _b) = pair.connect();
    pair.link = cut();
    let mut answers = 0;
    for _ in 0..1_000 {
        let mut forged = pair.forged(A, a, TcpFlags::SYN);
        forged.repr.sequence = SequenceNumber::new(1);
        pair.inject(&forged);
        answers += pair.take(A).len();
    }
    assert!(answers <= 25, "{answers}");
    let counters = pair.hosts[A].engine.counters();
    assert!(counters.challenges_limited >= 970);
    // A second later there are new ones.
    pair.run(secs(1));
    let forged = pair.forged(A, a, TcpFlags::SYN);
    pair.inject(&forged);
    assert_eq!(pair.take(A).len(), 1);
}

/// Two ends that have lost each other's numbers don't answer each other for ever.
#[test]
fn out_of_window_acknowledgements_are_answered_twice_a_second() {
    let mut pair = Pair::new();
    let (a, _b) = pair.connect();
    pair.link = cut();
    let mut answers = 0;
    for _ in 0..100 {
        let mut forged = pair.forged(A, a, TcpFlags::ACK);
        forged.repr.sequence += 1 << 30;
        pair.inject(&forged);
        answers += pair.take(A).len();
        pair.run(ms(10));
    }
    assert!((2..=3).contains(&answers), "{answers}");
}

/// PAWS (RFC 7323 §5.3).
#[test]
fn rfc7323_5_3_an_old_segment_is_not_taken() {
    let mut pair = Pair::new();
    let (a, b) = pair.connect();
    pair.run(secs(10));
    pair.write(A, a, b"newer");
    pair.run(secs(1));
    pair.read(B, b);
    pair.link = cut();
    let mut forged = pair.forged(B, b, TcpFlags::ACK);
    forged.bytes = b"older".to_vec();
    let timestamps = forged.repr.options.timestamps.as_mut().unwrap();
    timestamps.value = timestamps.value.wrapping_sub(1);
    pair.inject(&forged);
    assert_eq!(pair.take(B).len(), 1);
    assert_eq!(pair.hosts[B].engine.counters().paws, 1);
    assert!(pair.read(B, b).is_empty());
    // §3.2: without a timestamp, not a word.
    forged.repr.options.timestamps = None;
    pair.inject(&forged);
    assert!(pair.take(B).is_empty());
    assert!(pair.read(B, b).is_empty());
    // §5.2: a reset needs none.
    let mut reset = pair.forged(B, b, TcpFlags::RST);
    reset.repr.options.timestamps = None;
    pair.inject(&reset);
    assert_eq!(pair.error(B, b), Some(TcpError::Reset));
}

/// RFC 7323 §4.3: with delayed acknowledgements the echo is that of the first segment which is acknowledged.
#[test]
fn rfc7323_4_3_the_echo_is_of_the_earliest_segment_that_is_acknowledged() {
    let mut pair = Pair::new();
    let (a, b) = pair.connect();
    let bytes = pattern(50_000);
    pair.transfer((A, a), (B, b), &bytes, secs(10));
    pair.run(secs(1));
    pair.link = cut();
    let mut forged = pair.forged(B, b, TcpFlags::ACK);
    forged.bytes = pattern(1_448);
    let first = forged.repr.options.timestamps.unwrap().value + 5;
    forged.repr.options.timestamps.as_mut().unwrap().value = first;
    pair.inject(&forged);
    assert!(pair.take(B).is_empty());
    forged.repr.sequence += 1_448;
    forged.repr.options.timestamps.as_mut().unwrap().value = first + 7;
    pair.inject(&forged);
    let answers = pair.take(B);
    assert_eq!(answers.len(), 1);
    assert_eq!(answers[0].repr.options.timestamps.unwrap().echo, first);
}

/// RFC 5927: "ICMP errors believed without a look at what they quote", "Source Quench aborting a connection".
#[test]
fn rfc5927_an_established_connection_outlives_unreachable() {
    let mut pair = Pair::new();
    let (a, b) = pair.connect();
    let tuple = *pair.hosts[A].engine.get(a).unwrap().tuple();
    pair.link = cut();
    pair.write(A, a, b"hello");
    pair.settle();
    let (una, nxt, _) = pair.numbers(A, a);
    let now = pair.now;
    assert!(!pair.engine(A).handle_unreachable(now, &tuple, una - 1, 3));
    assert!(!pair.engine(A).handle_unreachable(now, &tuple, nxt, 3));
    for code in 0..16 {
        assert!(pair.engine(A).handle_unreachable(now, &tuple, una, code));
    }
    assert_eq!(pair.state(A, a), Some(TcpState::Established));
    assert_eq!(pair.hosts[A].engine.counters().icmp_out_of_window, 2);
    pair.link = perfect();
    pair.run(secs(5));
    assert_eq!(pair.read(B, b), b"hello");
}

#[test]
fn rfc1122_4_2_3_9_an_attempt_to_connect_ends_at_a_hard_error() {
    for (code, ends) in [(0, false), (1, false), (2, true), (3, true), (5, false)] {
        let mut pair = Pair::new();
        pair.link = cut();
        let a = pair.open(A, ConnectionOptions::DEFAULT);
        pair.settle();
        let tuple = *pair.hosts[A].engine.get(a).unwrap().tuple();
        let (iss, _, _) = pair.numbers(A, a);
        let now = pair.now;
        assert!(
            !pair
                .engine(A)
                .handle_unreachable(now, &tuple, iss + 1, code)
        );
        assert!(pair.engine(A).handle_unreachable(now, &tuple, iss, code));
        let error = pair.error(A, a);
        assert_eq!(error, ends.then_some(TcpError::Unreachable(code)), "{code}");
        pair.run(secs(200));
        // A soft one is the reason in the end.
        assert_eq!(pair.error(A, a), Some(TcpError::Unreachable(code)));
    }
}

#[test]
fn segments_for_nobody_are_reset_within_a_limit() {
    let mut pair = Pair::new();
    let (a, _b) = pair.connect();
    let mut forged = pair.forged(A, a, TcpFlags::ACK);
    pair.link = cut();
    let mut answers = 0;
    for port in 1..2_000 {
        forged.tuple.remote_port = port;
        forged.repr.destination_port = port;
        pair.inject(&forged);
        answers += pair.take(A).len();
    }
    assert!((40..=60).contains(&answers), "{answers}");
    assert!(pair.hosts[A].engine.counters().resets_limited > 1_900);
}

/// RFC 7323 §5.3 with RFC 5961 §5.2: who knows no acknowledgement of ours can't make us take the peer's own segments for old ones.
#[test]
fn a_segment_whose_acknowledgement_is_refused_leaves_no_timestamp() {
    let mut pair = Pair::new();
    let (a, b) = pair.connect();
    pair.write(A, a, b"first");
    pair.run(secs(1));
    for (back, flags) in [(0, TcpFlags::ACK), (5, TcpFlags::ACK)] {
        let mut forged = pair.forged(B, b, flags);
        forged.repr.sequence = forged.repr.sequence - back;
        forged.repr.acknowledgement = forged.repr.acknowledgement - (1 << 30);
        forged.bytes = b"wrong".to_vec();
        let timestamps = forged.repr.options.timestamps.as_mut().unwrap();
        timestamps.value = timestamps.value.wrapping_add(1 << 30);
        pair.inject(&forged);
    }
    assert_eq!(pair.hosts[B].engine.counters().acknowledges_too_old, 2);
    pair.write(A, a, b"then");
    pair.run(secs(1));
    assert_eq!(pair.read(B, b), b"firstthen");
    assert_eq!(pair.hosts[B].engine.counters().paws, 0);
}

/// … nor keep a connection alive whose peer is gone.
#[test]
fn a_segment_whose_acknowledgement_is_refused_is_no_sign_of_life() {
    let mut pair = Pair::new();
    let options = ConnectionOptions {
        keep_alive: Some(KeepAlive {
            idle: secs(10),
            interval: secs(1),
            probes: 2,
        }),
        ..ConnectionOptions::DEFAULT
    };
    let (a, _b) = pair.connect_with(options, ConnectionOptions::DEFAULT);
    pair.link = cut();
    for _ in 0..30 {
        if pair.state(A, a) == Some(TcpState::Established) {
            let mut forged = pair.forged(A, a, TcpFlags::ACK);
            forged.repr.acknowledgement += 1 << 20;
            pair.inject(&forged);
        }
        pair.run(secs(1));
    }
    assert_eq!(pair.error(A, a), Some(TcpError::TimedOut));
}

/// CVE-2016-5696: a limit that all connections share tells one peer what another was asked.
#[test]
fn challenges_of_one_connection_say_nothing_of_anothers() {
    let mut pair = Pair::new();
    let listener = pair.listen(ConnectionOptions::DEFAULT);
    let (own, others) = (
        pair.open(A, ConnectionOptions::DEFAULT),
        pair.open(A, ConnectionOptions::DEFAULT),
    );
    pair.run(secs(1));
    pair.link = cut();
    let challenged = |pair: &mut Pair, handle| {
        let mut answers = 0;
        for _ in 0..100 {
            let forged = pair.forged(A, handle, TcpFlags::SYN);
            pair.inject(&forged);
            answers += pair.take(A).len();
        }
        answers
    };
    let alone = challenged(&mut pair, own);
    pair.run(secs(10));
    assert!((10..=25).contains(&alone), "{alone}");
    // Whether or not somebody guesses at another connection.
    assert_eq!(challenged(&mut pair, others), alone);
    assert_eq!(challenged(&mut pair, own), alone);
    let now = pair.now;
    pair.engine(B).close_listener(now, listener);
}

/// As [`challenges_of_one_connection_say_nothing_of_anothers`], of what is half open or in TIME-WAIT.
#[test]
fn challenges_of_one_that_is_half_open_or_in_time_wait_say_nothing_of_anothers() {
    let mut pair = Pair::new();
    pair.listen(ConnectionOptions::DEFAULT);
    let syn = |pair: &Pair, port: u16, sequence: u32| {
        let (local, remote) = (pair.at(A, port), pair.at(B, PORT));
        Flying {
            from: A,
            tuple: FourTuple::new(local, remote),
            repr: TcpRepr {
                source_port: port,
                destination_port: PORT,
                sequence: SequenceNumber::new(sequence),
                flags: TcpFlags::SYN,
                window: 1_000,
                ..TcpRepr::default()
            },
            bytes: Vec::new(),
            markable: false,
            marked: false,
        }
    };
    pair.link = cut();
    // SYNs that are not the ones that made the entries.
    let challenged = |pair: &mut Pair, port| {
        let mut answers = 0;
        for _ in 0..100 {
            let forged = syn(pair, port, 1 << 30);
            pair.inject(&forged);
            let taken = pair.take(B);
            assert!(
                taken
                    .iter()
                    .all(|answer| answer.repr.flags == TcpFlags::ACK)
            );
            answers += taken.len();
        }
        answers
    };
    for port in [1_000, 1_001] {
        let first = syn(&pair, port, 1);
        pair.inject(&first);
        assert_eq!(pair.take(B).len(), 1);
    }
    let alone = challenged(&mut pair, 1_000);
    assert!((10..=25).contains(&alone), "{alone}");
    assert_eq!(challenged(&mut pair, 1_001), alone);

    let mut pair = Pair::new();
    let listener = pair.listen(ConnectionOptions::DEFAULT);
    for port in [1_000, 1_001] {
        let (local, remote) = (pair.at(A, port), pair.at(B, PORT));
        let a = pair.open_between(A, local, remote, ConnectionOptions::DEFAULT);
        pair.run(secs(1));
        let b = pair.engine(B).accept(listener).unwrap().unwrap();
        pair.close(B, b);
        pair.run(secs(1));
        pair.close(A, a);
        pair.run(secs(1));
    }
    assert_eq!(pair.engine(B).population().2, 2);
    pair.link = cut();
    let challenged = |pair: &mut Pair, port| {
        let mut answers = 0;
        for _ in 0..100 {
            let mut forged = syn(pair, port, 1 << 30);
            forged.repr.flags |= TcpFlags::ACK;
            pair.inject(&forged);
            answers += pair.take(B).len();
        }
        answers
    };
    assert_eq!(challenged(&mut pair, 1_000), alone);
    assert_eq!(challenged(&mut pair, 1_001), alone);
}

/// RFC 7323 §3.2: "SHOULD be sent in an <RST> segment", where both do timestamps.
#[test]
fn rfc7323_3_2_a_reset_of_a_connection_has_its_timestamps() {
    for timestamps in [true, false] {
        let mut pair = Pair::new();
        if !timestamps {
            pair.link = Box::new(|_, flying| {
                flying.repr.options.timestamps = None;
                std::vec![DELAY]
            });
        }
        let (a, _b) = pair.connect();
        pair.run(secs(1));
        let recent = pair.hosts[A].engine.get(a).unwrap().timestamps();
        let now = pair.now;
        pair.engine(A).abort(now, a);
        let sent = pair.take(A);
        assert_eq!(sent.len(), 1);
        assert!(sent[0].has(TcpFlags::RST));
        let expected = recent.map(|state| state.option(now));
        assert_eq!(expected.is_some(), timestamps);
        assert_eq!(sent[0].repr.options.timestamps, expected);
    }
}
