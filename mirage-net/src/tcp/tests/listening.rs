//! Listeners: the backlog, the SYN cache, cookies.

use super::*;

const OPTIONS: ConnectionOptions = ConnectionOptions::DEFAULT;

/// A SYN of a host that does not exist.
fn syn(pair: &Pair, number: u8, port: u16) -> Flying {
    let tuple = FourTuple::new(([10, 0, 1, number], port).into(), pair.at(B, PORT));
    let mut repr = TcpRepr {
        source_port: port,
        destination_port: PORT,
        sequence: SequenceNumber::new(u32::from(port) << 16),
        flags: TcpFlags::SYN,
        window: 10_000,
        ..TcpRepr::default()
    };
    repr.options.maximum_segment_size = Some(1_460);
    repr.options.window_scale = Some(4);
    repr.options.sack_permitted = true;
    repr.options.timestamps = Some(Timestamps {
        value: 7_000,
        echo: 0,
    });
    Flying {
        from: A,
        tuple,
        repr,
        bytes: Vec::new(),
        markable: false,
        marked: false,
    }
}

/// The acknowledgement of the answer to a SYN.
fn acknowledge(syn: &Flying, answer: &Flying) -> Flying {
    let mut acknowledgement = syn.clone();
    let repr = &mut acknowledgement.repr;
    repr.flags = TcpFlags::ACK;
    repr.sequence = syn.repr.sequence + 1;
    repr.acknowledgement = answer.repr.sequence + 1;
    repr.options = Default::default();
    if let (Some(own), Some(theirs)) = (syn.repr.options.timestamps, answer.repr.options.timestamps)
    {
        repr.options.timestamps = Some(Timestamps {
            value: own.value + 20,
            echo: theirs.value,
        });
    }
    acknowledgement
}

/// "No backlog bound."
#[test]
fn connections_that_nobody_accepts_are_bounded() {
    let mut pair = Pair::new();
    let listen = ListenOptions {
        backlog: 2,
        ..ListenOptions::bind(([0, 0, 0, 0], PORT).into())
    };
    let listener = pair.engine(B).listen(listen).unwrap();
    let handles: Vec<TcpHandle> = (0..4).map(|_| pair.open(A, OPTIONS)).collect();
    pair.run(secs(4));
    assert_eq!(pair.engine(B).waiting(listener), 2);
    assert_eq!(pair.engine(B).population().0, 2);
    // The others get in when there is room: they have repeated their SYNs, or the server its answers.
    let mut accepted = 0;
    for _ in 0..60 {
        while let Some(handle) = pair.engine(B).accept(listener).unwrap() {
            accepted += 1;
            assert_eq!(pair.state(B, handle), Some(TcpState::Established));
        }
        pair.run(secs(1));
    }
    assert_eq!(accepted, 4);
    for handle in handles {
        assert_eq!(pair.state(A, handle), Some(TcpState::Established));
    }
}

/// "No … SYN cookies": with the cache full of SYNs from nowhere, others still get in.
#[test]
fn a_flood_of_syns_does_not_shut_others_out() {
    let mut pair = Pair::new();
    let listener = pair.listen(OPTIONS);
    pair.hosts[B].blocked = true;
    for number in 0..200 {
        let forged = syn(&pair, number, 1_000 + u16::from(number));
        pair.inject(&forged);
        pair.take(B);
    }
    pair.hosts[B].blocked = false;
    let counters = pair.hosts[B].engine.counters();
    assert_eq!(counters.cookies_sent, 200 - SIZES.half_open as u64);
    assert_eq!(pair.engine(B).population(), (0, SIZES.half_open, 0));
    let wide = ConnectionOptions {
        receive_window: 1 << 20,
        ..OPTIONS
    };
    let a = pair.open(A, wide);
    pair.run(ms(100));
    let b = pair.engine(B).accept(listener).unwrap().unwrap();
    assert_eq!(pair.hosts[B].engine.counters().cookies_taken, 1);
    // What the SYN said was not forgotten: scale, SACK, timestamps.
    let server = pair.hosts[B].engine.get(b).unwrap();
    assert_eq!(server.peer_window(), 1 << 20);
    assert_eq!(server.segment_octets(), 1_448);
    assert!(server.timestamps().is_some());
    assert!(server.notifies_congestion());
    let bytes = pattern(300_000);
    assert_eq!(pair.transfer((B, b), (A, a), &bytes, secs(60)), bytes);
    assert_eq!(pair.transfer((A, a), (B, b), &bytes, secs(60)), bytes);
}

/// The last acknowledgement of a handshake by cookie is lost: the first data bring it.
#[test]
fn a_cookie_comes_back_with_data_too() {
    let mut pair = Pair::with(
        TcpConfig::default(),
        Sizes {
            half_open: 0,
            ..SIZES
        },
    );
    let listener = pair.listen(OPTIONS);
    let mut dropped = false;
    pair.link = Box::new(move |_, flying| {
        if flying.from == A
            && flying.repr.flags == TcpFlags::ACK
            && !core::mem::replace(&mut dropped, true)
        {
            Vec::new()
        } else {
            std::vec![DELAY]
        }
    });
    let a = pair.open(A, OPTIONS);
    pair.run(secs(1));
    assert!(pair.engine(B).accept(listener).unwrap().is_none());
    pair.write(A, a, b"first words");
    pair.run(secs(1));
    let b = pair.engine(B).accept(listener).unwrap().unwrap();
    assert_eq!(pair.read(B, b), b"first words");
}

#[test]
fn an_acknowledgement_out_of_the_blue_is_reset() {
    let mut pair = Pair::new();
    pair.listen(OPTIONS);
    let opening = syn(&pair, 1, 1_000);
    let mut forged = acknowledge(&opening, &opening);
    forged.repr.acknowledgement = SequenceNumber::new(12_345);
    pair.inject(&forged);
    let answers = pair.take(B);
    assert_eq!(answers.len(), 1);
    assert_eq!(answers[0].repr.flags, TcpFlags::RST);
    assert_eq!(pair.engine(B).population(), (0, 0, 0));
}

/// RFC 9293 §3.10.7.2: what a listener answers.
#[test]
fn rfc9293_3_10_7_2_in_listen() {
    let mut pair = Pair::new();
    pair.listen(OPTIONS);
    use TcpFlags as F;
    for (flags, answer) in [
        (F::RST, None),
        (F::RST | F::SYN, None),
        (F::RST | F::ACK, None),
        (F::ACK, Some(F::RST)),
        (F::SYN | F::ACK, Some(F::RST)),
        (F::FIN | F::ACK, Some(F::RST)),
        (F::FIN, None),
        (F::empty(), None),
        (F::URG | F::PSH, None),
        (F::SYN, Some(F::SYN | F::ACK)),
        (F::SYN | F::FIN | F::URG, Some(F::SYN | F::ACK)),
    ] {
        let mut forged = syn(&pair, 1, 1_000);
        forged.repr.flags = flags;
        pair.inject(&forged);
        let answers: Vec<F> = pair.take(B).iter().map(|sent| sent.repr.flags).collect();
        assert_eq!(answers, answer.into_iter().collect::<Vec<_>>(), "{flags:?}");
        assert!(pair.engine(B).poll_listener().is_none());
        // The half-open connection goes before the next.
        pair.run(secs(100));
        pair.take(B);
    }
}

/// SYN-RECEIVED after a passive OPEN (RFC 9293 §3.10.7.4), RFC 5961.
#[test]
fn a_half_open_connection_is_as_careful_as_an_open_one() {
    let mut pair = Pair::new();
    let listener = pair.listen(OPTIONS);
    let opening = syn(&pair, 1, 1_000);
    pair.inject(&opening);
    let answer = pair.take(B).remove(0);
    let good = acknowledge(&opening, &answer);
    // Resets: outside, inexact, exact.
    let mut reset = good.clone();
    reset.repr.flags = TcpFlags::RST;
    reset.repr.sequence = good.repr.sequence - 1;
    pair.inject(&reset);
    assert!(pair.take(B).is_empty());
    reset.repr.sequence = good.repr.sequence + 1;
    pair.inject(&reset);
    assert_eq!(pair.take(B).len(), 1);
    assert_eq!(pair.engine(B).population(), (0, 1, 0));
    // An acknowledgement of something else: a reset that refers to it.
    let mut wrong = good.clone();
    wrong.repr.acknowledgement += 1;
    pair.inject(&wrong);
    let answers = pair.take(B);
    assert_eq!(answers[0].repr.flags, TcpFlags::RST);
    assert_eq!(answers[0].repr.sequence, wrong.repr.acknowledgement);
    // An old timestamp.
    let mut old = good.clone();
    old.repr.options.timestamps.as_mut().unwrap().value = 6_999;
    pair.inject(&old);
    assert_eq!(pair.engine(B).population(), (0, 1, 0));
    pair.take(B);
    pair.inject(&good);
    assert_eq!(pair.engine(B).population(), (1, 0, 0));
    assert!(pair.engine(B).accept(listener).unwrap().is_some());
}

#[test]
fn an_exact_reset_returns_to_listen() {
    let mut pair = Pair::new();
    pair.listen(OPTIONS);
    let opening = syn(&pair, 1, 1_000);
    pair.inject(&opening);
    let answer = pair.take(B).remove(0);
    let mut reset = acknowledge(&opening, &answer);
    reset.repr.flags = TcpFlags::RST;
    pair.inject(&reset);
    assert_eq!(pair.engine(B).population(), (0, 0, 0));
    assert!(pair.take(B).is_empty());
    assert_eq!(pair.engine(B).poll_timeout(), None);
}

#[test]
fn a_half_open_connection_is_given_up_in_time() {
    let mut pair = Pair::new();
    pair.listen(OPTIONS);
    pair.link = cut();
    let opening = syn(&pair, 1, 1_000);
    pair.inject(&opening);
    pair.run(secs(62));
    assert_eq!(pair.engine(B).population().1, 1);
    pair.run(secs(2));
    assert_eq!(pair.engine(B).population().1, 0);
    assert_eq!(pair.sent_by(B).len(), 6);
}

#[test]
fn a_full_table_of_connections_lets_peers_wait_half_open() {
    let mut pair = Pair::with(
        TcpConfig::default(),
        Sizes {
            connections: 2,
            ..SIZES
        },
    );
    let listener = pair.listen(OPTIONS);
    let tuples: Vec<Flying> = (1..4).map(|number| syn(&pair, number, 1_000)).collect();
    let mut last = Vec::new();
    for opening in &tuples {
        pair.inject(opening);
        let answer = pair.take(B).remove(0);
        let good = acknowledge(opening, &answer);
        pair.inject(&good);
        last.push(good);
    }
    assert_eq!(pair.engine(B).population(), (2, 1, 0));
    assert_eq!(pair.hosts[B].engine.counters().accept_full, 1);
    let first = pair.engine(B).accept(listener).unwrap().unwrap();
    let now = pair.now;
    pair.engine(B).abort(now, first);
    pair.take(B);
    let third = last.remove(2);
    pair.inject(&third);
    assert_eq!(pair.engine(B).population(), (2, 0, 0));
}

#[test]
fn a_listener_that_closes_resets_what_nobody_accepted() {
    let mut pair = Pair::new();
    let listener = pair.listen(OPTIONS);
    let a = pair.open(A, OPTIONS);
    pair.run(secs(1));
    let opening = syn(&pair, 9, 1_000);
    pair.inject(&opening);
    let now = pair.now;
    assert!(pair.engine(B).close_listener(now, listener));
    pair.run(secs(1));
    assert_eq!(pair.error(A, a), Some(TcpError::Reset));
    assert_eq!(pair.engine(B).population(), (0, 0, 0));
    assert!(!pair.engine(B).close_listener(now, listener));
}

/// A connection that is reset before it is accepted is accepted all the same, and says so.
#[test]
fn a_connection_that_is_reset_while_it_waits() {
    let mut pair = Pair::new();
    let listener = pair.listen(OPTIONS);
    let a = pair.open(A, OPTIONS);
    pair.run(ms(100));
    let now = pair.now;
    pair.engine(A).abort(now, a);
    pair.run(secs(1));
    let b = pair.engine(B).accept(listener).unwrap().unwrap();
    assert_eq!(pair.error(B, b), Some(TcpError::Reset));
    pair.close(B, b);
    assert_eq!(pair.engine(B).population(), (0, 0, 0));
}

/// "Demultiplexing linear in sockets": one connection is found among thousands as quickly as among ten.
#[test]
fn many_connections_are_found() {
    let pools = [Pool::leak(64, 2048).unwrap(), Pool::leak(64, 2048).unwrap()];
    let sizes = Sizes {
        connections: 3_000,
        ..SIZES
    };
    let mut pair = Pair::on(pools, TcpConfig::default(), sizes);
    let listener = pair.listen(OPTIONS);
    let mut last = None;
    for number in 0..3_000u16 {
        let opening = syn(&pair, (number % 200) as u8, 1_000 + number);
        pair.inject(&opening);
        let answer = pair.take(B).remove(0);
        let good = acknowledge(&opening, &answer);
        pair.inject(&good);
        let b = pair.engine(B).accept(listener).unwrap().unwrap();
        last = Some((b, good));
    }
    assert_eq!(pair.engine(B).population(), (3_000, 0, 0));
    let (b, mut good) = last.unwrap();
    good.bytes = b"hello".to_vec();
    pair.inject(&good);
    assert_eq!(pair.read(B, b), b"hello");
}

/// "TIME-WAIT reused too early": a SYN that finds the backlog full ends no TIME-WAIT.
#[test]
fn a_syn_that_is_dropped_ends_no_time_wait() {
    let mut pair = Pair::new();
    let local = ([0, 0, 0, 0], PORT).into();
    let options = ListenOptions {
        backlog: 1,
        ..ListenOptions::bind(local)
    };
    let listener = pair.engine(B).listen(options).unwrap();
    let (from, to) = (pair.at(A, 5_000), pair.at(B, PORT));
    let a = pair.open_between(A, from, to, ConnectionOptions::DEFAULT);
    pair.run(secs(1));
    let b = pair.engine(B).accept(listener).unwrap().unwrap();
    // B closes first, so that TIME-WAIT is there.
    pair.close(B, b);
    pair.run(secs(1));
    pair.close(A, a);
    pair.run(secs(1));
    assert_eq!(pair.engine(B).population(), (0, 0, 1));
    // Another one waits to be accepted.
    let other = pair.open(A, ConnectionOptions::DEFAULT);
    pair.run(secs(1));
    let again = pair.open_between(A, from, to, ConnectionOptions::DEFAULT);
    pair.run(ms(100));
    assert_eq!(pair.engine(B).population(), (1, 0, 1));
    assert_eq!(pair.hosts[B].engine.counters().backlog_full, 1);
    // Once there is room it is taken.
    let waiting = pair.engine(B).accept(listener).unwrap();
    pair.run(secs(5));
    assert_eq!(pair.state(A, again), Some(TcpState::Established));
    assert_eq!(pair.hosts[B].engine.counters().time_waits_reused, 1);
    let _ = (other, waiting);
}

/// RFC 1122 §4.2.2.13 (2), RFC 6191: the successor of a TIME-WAIT has a number behind its predecessor's, or timestamps.
#[test]
fn rfc1122_4_2_2_13_a_cookie_without_timestamps_takes_no_place_of_a_time_wait() {
    for timestamps in [false, true] {
        let mut pair = Pair::new();
        let without: Link = Box::new(|_, flying| {
            flying.repr.options.timestamps = None;
            std::vec![DELAY]
        });
        if !timestamps {
            pair.link = without;
        }
        let listener = pair.listen(OPTIONS);
        let (from, to) = (pair.at(A, 5_000), pair.at(B, PORT));
        let a = pair.open_between(A, from, to, OPTIONS);
        pair.run(secs(1));
        let b = pair.engine(B).accept(listener).unwrap().unwrap();
        pair.close(B, b);
        pair.run(secs(1));
        pair.close(A, a);
        pair.run(secs(1));
        assert_eq!(pair.engine(B).population(), (0, 0, 1));
        for number in 0..SIZES.half_open as u8 {
            let forged = syn(&pair, number, 1_000 + u16::from(number));
            pair.inject(&forged);
            pair.take(B);
        }
        let again = pair.open_between(A, from, to, OPTIONS);
        pair.run(ms(100));
        let counters = pair.hosts[B].engine.counters();
        assert_eq!(counters.cookies_sent, u64::from(timestamps));
        assert_eq!(counters.backlog_full, u64::from(!timestamps));
        assert_eq!(pair.engine(B).population().2, usize::from(!timestamps));
        // With room in the cache, or without a TIME-WAIT, it is taken.
        pair.run(secs(120));
        assert_eq!(pair.state(A, again), Some(TcpState::Established));
    }
}
