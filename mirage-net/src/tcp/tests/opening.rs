//! Opening connections (RFC 9293 §3.5, §3.10.1, §3.10.7.3).

use super::*;

const OPTIONS: ConnectionOptions = ConnectionOptions::DEFAULT;

#[test]
fn three_segments_open_a_connection() {
    let mut pair = Pair::new();
    let (a, b) = pair.connect();
    let flags: Vec<TcpFlags> = pair.sent.iter().map(|(_, sent)| sent.repr.flags).collect();
    use TcpFlags as F;
    assert_eq!(
        flags,
        [F::SYN | F::ECE | F::CWR, F::SYN | F::ACK | F::ECE, F::ACK]
    );
    let events = &pair.hosts[A].events;
    assert!(events[0].0 == a && events[0].1.contains(TcpEvents::CONNECTED));
    assert_eq!(pair.hosts[B].engine.counters().passive_opens, 1);
    assert_eq!(pair.hosts[A].engine.counters().active_opens, 1);
    assert_eq!(pair.numbers(A, a).1, pair.numbers(B, b).2);
    assert_eq!(pair.numbers(B, b).1, pair.numbers(A, a).2);
    let connection = pair.hosts[A].engine.get(a).unwrap();
    assert!(connection.notifies_congestion());
    assert_eq!(connection.segment_octets(), 1_448);
}

/// "The SYN's window is never scaled."
#[test]
fn the_window_of_a_syn_is_never_scaled() {
    let mut pair = Pair::new();
    let wide = ConnectionOptions {
        receive_window: 1 << 20,
        ..OPTIONS
    };
    let (a, b) = pair.connect_with(wide, wide);
    let windows: Vec<u16> = pair.sent.iter().map(|(_, sent)| sent.repr.window).collect();
    // 65,535 in both SYNs, 2¹⁶ of 2⁵ octets in what follows.
    assert_eq!(windows[..2], [65_535, 65_535]);
    assert_eq!(windows[2], 32_768);
    // The client knows the server's from a SYN, the server the client's from its acknowledgement.
    let window = |host: usize, handle| pair.hosts[host].engine.get(handle).unwrap().peer_window();
    assert_eq!(window(A, a), 65_535);
    assert_eq!(window(B, b), 1 << 20);
}

#[test]
fn an_option_that_one_end_lacks_is_used_by_neither() {
    let mut pair = Pair::new();
    pair.link = Box::new(|_, flying| {
        if flying.from == A && flying.has(TcpFlags::SYN) {
            flying.repr.options.window_scale = None;
            flying.repr.options.timestamps = None;
            flying.repr.options.sack_permitted = false;
            flying.repr.flags -= TcpFlags::ECE | TcpFlags::CWR;
            flying.repr.options.maximum_segment_size = None;
        }
        std::vec![DELAY]
    });
    let (a, b) = pair.connect();
    let answer = &pair.sent[1].1.repr;
    assert_eq!(answer.flags, TcpFlags::SYN | TcpFlags::ACK);
    assert_eq!(answer.options.window_scale, None);
    assert_eq!(answer.options.timestamps, None);
    assert!(!answer.options.sack_permitted);
    // RFC 9293, MUST-15: without the option the peer takes 536 octets.
    let server = pair.hosts[B].engine.get(b).unwrap();
    assert_eq!(server.segment_octets(), 536);
    let bytes = pattern(50_000);
    let read = pair.transfer((A, a), (B, b), &bytes, secs(60));
    assert_eq!(read, bytes);
    assert!(
        pair.sent
            .iter()
            .skip(2)
            .all(|(_, sent)| { sent.repr.options.timestamps.is_none() && !sent.markable })
    );
}

#[test]
fn rfc9293_3_5_simultaneous_open() {
    let mut pair = Pair::new();
    let (one, other) = (pair.at(A, 5_000), pair.at(B, 6_000));
    let a = pair.open_between(A, one, other, OPTIONS);
    let b = pair.open_between(B, other, one, OPTIONS);
    pair.run(ms(15));
    assert_eq!(pair.state(A, a), Some(TcpState::SynReceived));
    pair.run(secs(2));
    assert_eq!(pair.state(A, a), Some(TcpState::Established));
    assert_eq!(pair.state(B, b), Some(TcpState::Established));
    let bytes = pattern(30_000);
    assert_eq!(pair.transfer((A, a), (B, b), &bytes, secs(60)), bytes);
    assert_eq!(pair.transfer((B, b), (A, a), &bytes, secs(60)), bytes);
}

/// Each of the segments of a simultaneous open is lost once.
#[test]
fn a_simultaneous_open_survives_the_loss_of_any_segment() {
    for lost in 0..6 {
        let mut pair = Pair::new();
        let mut count = 0;
        pair.link = Box::new(move |_, _| {
            count += 1;
            if count == lost + 1 {
                Vec::new()
            } else {
                std::vec![DELAY]
            }
        });
        let (one, other) = (pair.at(A, 5_000), pair.at(B, 6_000));
        let a = pair.open_between(A, one, other, OPTIONS);
        let b = pair.open_between(B, other, one, OPTIONS);
        pair.run(secs(20));
        assert_eq!(pair.state(A, a), Some(TcpState::Established), "{lost}");
        assert_eq!(pair.state(B, b), Some(TcpState::Established), "{lost}");
    }
}

/// "close() in SYN-RECEIVED."
#[test]
fn close_in_syn_received_sends_the_fin_when_the_connection_is_there() {
    let mut pair = Pair::new();
    let (one, other) = (pair.at(A, 5_000), pair.at(B, 6_000));
    let a = pair.open_between(A, one, other, OPTIONS);
    let b = pair.open_between(B, other, one, OPTIONS);
    pair.run(ms(15));
    assert_eq!(pair.state(A, a), Some(TcpState::SynReceived));
    pair.write(A, a, b"last words");
    pair.shutdown(A, a);
    pair.run(secs(5));
    assert_eq!(pair.state(A, a), Some(TcpState::FinWait2));
    assert_eq!(pair.state(B, b), Some(TcpState::CloseWait));
    assert_eq!(pair.read(B, b), b"last words");
    assert!(pair.is_finished(B, b));
}

#[test]
fn close_in_syn_sent_leaves_nothing() {
    let mut pair = Pair::new();
    pair.link = cut();
    let a = pair.open(A, OPTIONS);
    pair.run(secs(2));
    pair.close(A, a);
    pair.run(secs(1));
    assert_eq!(pair.state(A, a), None);
    assert_eq!(pair.engine(A).population().0, 0);
    assert_eq!(pair.engine(A).poll_timeout(), None);
}

#[test]
fn rfc9293_3_10_4_a_close_in_syn_sent_tells_that_what_was_queued_is_lost() {
    let mut pair = Pair::new();
    pair.link = cut();
    let a = pair.open(A, OPTIONS);
    pair.write(A, a, b"never sent");
    pair.run(secs(2));
    pair.shutdown(A, a);
    pair.run(secs(1));
    assert_eq!(pair.state(A, a), Some(TcpState::Closed));
    assert_eq!(pair.error(A, a), Some(TcpError::Closing));
    assert_eq!(pair.engine(A).segments_free().0, SIZES.segments);
    // Of one where nothing was queued nothing is lost.
    let a = pair.open(A, OPTIONS);
    pair.run(secs(2));
    pair.shutdown(A, a);
    assert_eq!(pair.error(A, a), None);
    assert_eq!(pair.engine(A).poll_timeout(), None);
}

/// "A retransmitted SYN makes a second connection."
#[test]
fn a_retransmitted_syn_makes_one_connection() {
    let mut pair = Pair::new();
    pair.link = Box::new(|_, flying| {
        if flying.has(TcpFlags::SYN) {
            std::vec![DELAY, ms(12), ms(500)]
        } else {
            std::vec![DELAY]
        }
    });
    let (a, b) = pair.connect();
    pair.run(secs(5));
    assert_eq!(pair.engine(B).population(), (1, 0, 0));
    assert_eq!(pair.state(A, a), Some(TcpState::Established));
    assert_eq!(pair.state(B, b), Some(TcpState::Established));
}

#[test]
fn rfc6298_5_5_the_syn_is_repeated_with_back_off_for_three_minutes() {
    let mut pair = Pair::new();
    pair.link = cut();
    let start = pair.now;
    let a = pair.open(A, OPTIONS);
    pair.run(secs(400));
    let times: Vec<u64> = pair
        .sent
        .iter()
        .map(|(at, _)| (*at - start).as_secs())
        .collect();
    assert_eq!(times, [0, 1, 3, 7, 15, 31, 63, 123]);
    // RFC 3168 §6.1.1.1: only the first one offers ECN.
    let offers = |index: usize| pair.sent[index].1.has(TcpFlags::ECE);
    assert!(offers(0) && !offers(1));
    assert_eq!(pair.error(A, a), Some(TcpError::TimedOut));
    assert_eq!(pair.engine(A).poll_timeout(), None);
}

#[test]
fn each_segment_of_the_handshake_may_be_lost() {
    for lost in 0..3 {
        let mut pair = Pair::new();
        let mut count = 0;
        pair.link = Box::new(move |_, _| {
            count += 1;
            if count == lost + 1 {
                Vec::new()
            } else {
                std::vec![DELAY]
            }
        });
        let listener = pair.listen(OPTIONS);
        let a = pair.open(A, OPTIONS);
        pair.write(A, a, b"hello");
        pair.run(secs(5));
        let b = pair.engine(B).accept(listener).unwrap().unwrap();
        assert_eq!(pair.read(B, b), b"hello", "{lost}");
    }
}

#[test]
fn nobody_listens() {
    let mut pair = Pair::new();
    let a = pair.open(A, OPTIONS);
    pair.run(secs(1));
    assert_eq!(pair.error(A, a), Some(TcpError::Refused));
    let now = pair.now;
    assert!(matches!(
        pair.engine(A).receive(now, a),
        Err(TcpError::Refused)
    ));
    assert!(matches!(
        pair.engine(A).write(now, a, b"x"),
        Err(TcpError::Refused)
    ));
    assert_eq!(pair.hosts[B].engine.counters().resets_sent, 1);
    pair.close(A, a);
    assert_eq!(pair.engine(A).population().0, 0);
}

/// RFC 9293 §3.10.7.3, first; and "an ACK for data never sent is accepted".
#[test]
fn in_syn_sent_an_acknowledgement_of_anything_else_is_reset() {
    for offset in [0u32, 2, 1 << 31, u32::MAX] {
        let mut pair = Pair::new();
        pair.link = cut();
        let a = pair.open(A, OPTIONS);
        pair.settle();
        let mut forged = pair.forged(A, a, TcpFlags::SYN | TcpFlags::ACK);
        forged.repr.acknowledgement = pair.numbers(A, a).0 + offset;
        pair.inject(&forged);
        let answers = pair.take(A);
        assert_eq!(answers.len(), 1, "{offset}");
        assert_eq!(answers[0].repr.flags, TcpFlags::RST);
        assert_eq!(answers[0].repr.sequence, forged.repr.acknowledgement);
        assert_eq!(pair.state(A, a), Some(TcpState::SynSent));
        // No reset answers a reset.
        forged.repr.flags = TcpFlags::RST | TcpFlags::ACK;
        pair.inject(&forged);
        assert!(pair.take(A).is_empty());
        assert_eq!(pair.state(A, a), Some(TcpState::SynSent));
    }
}

/// RFC 5961 §3.2: in SYN-SENT a reset counts when it acknowledges the SYN.
#[test]
fn in_syn_sent_a_reset_without_acknowledgement_is_ignored() {
    let mut pair = Pair::new();
    pair.link = cut();
    let a = pair.open(A, OPTIONS);
    pair.settle();
    let forged = pair.forged(A, a, TcpFlags::RST);
    pair.inject(&forged);
    assert_eq!(pair.state(A, a), Some(TcpState::SynSent));
    let forged = pair.forged(A, a, TcpFlags::RST | TcpFlags::ACK);
    pair.inject(&forged);
    assert_eq!(pair.error(A, a), Some(TcpError::Refused));
}

#[test]
fn what_is_written_before_the_connection_is_there_goes_out_with_it() {
    let mut pair = Pair::new();
    let listener = pair.listen(OPTIONS);
    let a = pair.open(A, OPTIONS);
    let bytes = pattern(5_000);
    assert_eq!(pair.write(A, a, &bytes), 5_000);
    pair.shutdown_fails_in_syn_sent();
    pair.run(secs(1));
    let b = pair.engine(B).accept(listener).unwrap().unwrap();
    assert_eq!(pair.read(B, b), bytes);
}

impl Pair {
    /// RFC 9293 §3.10.4: CLOSE in SYN-SENT deletes the connection. Of another one than the test's.
    fn shutdown_fails_in_syn_sent(&mut self) {
        let other = self.open(A, OPTIONS);
        self.shutdown(A, other);
        assert_eq!(self.state(A, other), Some(TcpState::Closed));
        self.close(A, other);
    }
}

#[test]
fn data_and_a_fin_in_the_answer_to_the_syn_are_taken() {
    let mut pair = Pair::new();
    pair.link = cut();
    let a = pair.open(A, OPTIONS);
    pair.settle();
    let mut forged = pair.forged(A, a, TcpFlags::SYN | TcpFlags::ACK | TcpFlags::FIN);
    forged.repr.sequence = SequenceNumber::new(u32::MAX);
    forged.bytes = b"early".to_vec();
    pair.inject(&forged);
    assert_eq!(pair.state(A, a), Some(TcpState::CloseWait));
    let answers = pair.take(A);
    // The SYN is number 2³² - 1, the data 0 to 4, the FIN 5.
    let last = answers.last().unwrap();
    assert_eq!(last.repr.acknowledgement, SequenceNumber::new(6));
    assert_eq!(pair.read(A, a), b"early");
    assert!(pair.is_finished(A, a));
}

#[test]
fn the_same_four_tuple_is_not_opened_twice() {
    let mut pair = Pair::new();
    pair.link = cut();
    let (local, remote) = (pair.at(A, 5_000), pair.at(B, PORT));
    let _first = pair.open_between(A, local, remote, OPTIONS);
    let now = pair.now;
    let second = pair
        .engine(A)
        .connect(now, local, remote, OPTIONS, &|_| MTU);
    assert_eq!(second, Err(TcpError::InUse));
}

#[test]
fn a_full_table_refuses() {
    let mut pair = Pair::new();
    pair.link = cut();
    for _ in 0..SIZES.connections {
        pair.open(A, OPTIONS);
    }
    let (now, local, remote) = (pair.now, pair.at(A, 0), pair.at(B, PORT));
    let next = pair
        .engine(A)
        .connect(now, local, remote, OPTIONS, &|_| MTU);
    assert_eq!(next, Err(TcpError::TableFull));
}
