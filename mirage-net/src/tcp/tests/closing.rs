//! Closing connections (RFC 9293 §3.6, §3.10.4, §3.10.7.4 eighth; RFC 1122 §4.2.2.13).

use super::*;

#[test]
fn rfc9293_3_6_a_normal_close() {
    let mut pair = Pair::new();
    let (a, b) = pair.connect();
    pair.close(A, a);
    pair.run(ms(50));
    assert_eq!(pair.state(B, b), Some(TcpState::CloseWait));
    assert!(pair.is_finished(B, b));
    pair.close(B, b);
    pair.run(secs(1));
    assert_eq!(pair.engine(A).population(), (0, 0, 1));
    assert_eq!(pair.engine(B).population(), (0, 0, 0));
    pair.run(secs(60));
    assert_eq!(pair.engine(A).population(), (0, 0, 0));
    assert_eq!(pair.engine(A).poll_timeout(), None);
    assert_eq!(pair.engine(B).poll_timeout(), None);
}

/// "Half-close": one direction closes, the other goes on for as long as it likes.
#[test]
fn half_close() {
    let mut pair = Pair::new();
    let (a, b) = pair.connect();
    pair.write(A, a, b"request");
    pair.shutdown(A, a);
    pair.run(secs(1));
    assert_eq!(pair.state(A, a), Some(TcpState::FinWait2));
    assert_eq!(pair.read(B, b), b"request");
    assert!(pair.is_finished(B, b));
    let now = pair.now;
    assert_eq!(
        pair.engine(A).write(now, a, b"more"),
        Err(TcpError::Closing)
    );
    assert_eq!(pair.engine(A).shutdown(now, a), Err(TcpError::Closing));
    // Much later, and much: the owner of A is there, so nothing ends.
    pair.run(secs(600));
    let bytes = pattern(200_000);
    assert_eq!(pair.transfer((B, b), (A, a), &bytes, secs(60)), bytes);
    pair.shutdown(B, b);
    pair.run(secs(1));
    assert!(pair.is_finished(A, a));
    assert_eq!(pair.state(A, a), Some(TcpState::TimeWait));
    assert_eq!(pair.state(B, b), Some(TcpState::Closed));
    assert_eq!(pair.error(B, b), None);
}

#[test]
fn rfc9293_3_6_simultaneous_close() {
    let mut pair = Pair::new();
    let (a, b) = pair.connect();
    pair.shutdown(A, a);
    pair.shutdown(B, b);
    pair.run(ms(15));
    assert_eq!(pair.state(A, a), Some(TcpState::Closing));
    assert_eq!(pair.state(B, b), Some(TcpState::Closing));
    pair.run(secs(1));
    assert_eq!(pair.state(A, a), Some(TcpState::TimeWait));
    assert_eq!(pair.state(B, b), Some(TcpState::TimeWait));
    assert!(pair.is_finished(A, a) && pair.is_finished(B, b));
}

/// Whichever segment of a close is lost, once: it ends all the same, and in time. "Fast retransmit of a lone FIN."
#[test]
fn a_close_survives_the_loss_of_any_segment() {
    for simultaneous in [false, true] {
        for lost in 0..6 {
            let mut pair = Pair::new();
            let (a, b) = pair.connect();
            let mut count = 0;
            pair.link = Box::new(move |_, _| {
                count += 1;
                if count == lost + 1 {
                    Vec::new()
                } else {
                    std::vec![DELAY]
                }
            });
            pair.close(A, a);
            if !simultaneous {
                pair.run(secs(5));
            }
            pair.close(B, b);
            pair.run(secs(10));
            assert_eq!(pair.engine(A).population().0, 0, "{simultaneous} {lost}");
            assert_eq!(pair.engine(B).population().0, 0, "{simultaneous} {lost}");
            pair.run(secs(70));
            assert_eq!(pair.engine(A).population().2, 0);
        }
    }
}

/// "An out-of-order FIN forgotten."
#[test]
fn a_fin_that_overtakes_data_is_remembered() {
    let mut pair = Pair::new();
    let (a, b) = pair.connect();
    pair.link = Box::new(|_, flying| {
        // All data are late; the FIN isn't.
        if flying.from == A && !flying.bytes.is_empty() && !flying.has(TcpFlags::FIN) {
            std::vec![ms(100)]
        } else {
            std::vec![DELAY]
        }
    });
    let bytes = pattern(6_000);
    pair.write(A, a, &bytes);
    pair.settle();
    pair.shutdown(A, a);
    pair.run(ms(50));
    assert_eq!(pair.state(B, b), Some(TcpState::Established));
    // It does not come a second time.
    let late = pair.now + ms(60);
    pair.link = Box::new(|_, flying| {
        if flying.from == A && flying.has(TcpFlags::FIN) {
            Vec::new()
        } else {
            std::vec![DELAY]
        }
    });
    while pair.step(late) {}
    pair.settle();
    assert_eq!(pair.read(B, b), bytes);
    assert_eq!(pair.state(B, b), Some(TcpState::CloseWait));
    assert!(pair.is_finished(B, b));
}

/// "A FIN on a segment trimmed at the right edge is processed: truncated stream, clean end of file."
#[test]
fn a_fin_beyond_the_window_is_not_taken() {
    let mut pair = Pair::new();
    let small = ConnectionOptions {
        receive_window: 1_000,
        ..ConnectionOptions::DEFAULT
    };
    let (_a, b) = pair.connect_with(ConnectionOptions::DEFAULT, small);
    let mut forged = pair.forged(B, b, TcpFlags::ACK | TcpFlags::FIN);
    forged.bytes = pattern(1_200);
    pair.inject(&forged);
    assert_eq!(pair.state(B, b), Some(TcpState::Established));
    assert_eq!(pair.read(B, b), pattern(1_200)[..1_000]);
    assert!(!pair.is_finished(B, b));
    pair.take(B);
    // Exactly at the edge there is no room for it either.
    let mut forged = pair.forged(B, b, TcpFlags::ACK | TcpFlags::FIN);
    let window = pair.hosts[B].engine.get(b).unwrap().offered_window();
    forged.bytes = pattern(window as usize);
    pair.inject(&forged);
    assert_eq!(pair.state(B, b), Some(TcpState::Established));
    pair.link = cut();
}

/// "Data after the peer's FIN accepted."
#[test]
fn nothing_is_taken_behind_the_fin() {
    let mut pair = Pair::new();
    let (_a, b) = pair.connect();
    let mut fin = pair.forged(B, b, TcpFlags::ACK | TcpFlags::FIN);
    fin.bytes = b"end".to_vec();
    pair.inject(&fin);
    assert_eq!(pair.state(B, b), Some(TcpState::CloseWait));
    let mut more = pair.forged(B, b, TcpFlags::ACK);
    more.bytes = b"more".to_vec();
    pair.inject(&more);
    let mut again = pair.forged(B, b, TcpFlags::ACK | TcpFlags::FIN);
    again.bytes = b"x".to_vec();
    pair.inject(&again);
    assert_eq!(pair.read(B, b), b"end");
    assert!(pair.is_finished(B, b));
    assert_eq!(pair.state(B, b), Some(TcpState::CloseWait));
    assert_eq!(pair.hosts[B].engine.counters().after_fin, 2);
    pair.link = cut();
}

/// RFC 1122 §4.2.2.13, RFC 2525 §2.17.
#[test]
fn a_close_with_unread_data_resets() {
    let mut pair = Pair::new();
    let (a, b) = pair.connect();
    pair.write(A, a, b"nobody reads this");
    pair.run(secs(1));
    pair.close(B, b);
    pair.run(secs(1));
    assert_eq!(pair.error(A, a), Some(TcpError::Reset));
    assert_eq!(pair.engine(B).population(), (0, 0, 0));
}

#[test]
fn data_for_a_closed_connection_resets() {
    let mut pair = Pair::new();
    let (a, b) = pair.connect();
    pair.close(B, b);
    pair.run(secs(1));
    assert_eq!(pair.state(A, a), Some(TcpState::CloseWait));
    pair.write(A, a, b"too late");
    pair.run(secs(1));
    assert_eq!(pair.error(A, a), Some(TcpError::Reset));
    assert_eq!(pair.hosts[B].engine.counters().data_after_close, 1);
    assert_eq!(pair.engine(B).population(), (0, 0, 0));
}

/// What is queued when the owner lets go still arrives.
#[test]
fn a_close_sends_what_is_queued() {
    let mut pair = Pair::new();
    let (a, b) = pair.connect();
    let bytes = pattern(60_000);
    assert_eq!(pair.write(A, a, &bytes), 60_000);
    pair.close(A, a);
    let mut read = Vec::new();
    let until = pair.now + secs(20);
    while pair.step(until) {
        read.extend(pair.read(B, b));
    }
    assert_eq!(read, bytes);
    assert!(pair.is_finished(B, b));
}

/// "TIME-WAIT discards unread data."
#[test]
fn what_was_received_before_time_wait_can_be_read_in_it_and_after_it() {
    let mut pair = Pair::new();
    let (a, b) = pair.connect();
    pair.shutdown(A, a);
    pair.run(secs(1));
    pair.write(B, b, b"parting words");
    pair.shutdown(B, b);
    pair.run(secs(1));
    assert_eq!(pair.state(A, a), Some(TcpState::TimeWait));
    pair.run(secs(100));
    assert_eq!(pair.engine(A).population(), (1, 0, 0));
    assert_eq!(pair.read(A, a), b"parting words");
    assert!(pair.is_finished(A, a));
    pair.close(A, a);
    assert_eq!(pair.engine(A).population(), (0, 0, 0));
}

/// "FIN-WAIT-2 … for ever."
#[test]
fn fin_wait_2_without_an_owner_ends() {
    let mut pair = Pair::new();
    let (a, _b) = pair.connect();
    pair.close(A, a);
    pair.run(secs(30));
    assert_eq!(pair.engine(A).population().0, 1);
    pair.run(secs(31));
    assert_eq!(pair.engine(A).population(), (0, 0, 0));
}

/// A peer that vanishes while our FIN is under way.
#[test]
fn fin_wait_1_ends_by_the_user_time_out() {
    let mut pair = Pair::new();
    let (a, _b) = pair.connect();
    pair.link = cut();
    pair.close(A, a);
    pair.run(secs(299));
    assert_eq!(pair.engine(A).population().0, 1);
    pair.run(secs(2));
    assert_eq!(pair.engine(A).population(), (0, 0, 0));
    assert_eq!(pair.engine(A).poll_timeout(), None);
}

/// RFC 9293 §3.10.5.
#[test]
fn an_abort_resets_and_drops_what_is_queued() {
    let mut pair = Pair::new();
    let (a, b) = pair.connect();
    pair.write(A, a, &pattern(60_000));
    let now = pair.now;
    assert!(pair.engine(A).abort(now, a));
    pair.run(secs(1));
    assert_eq!(pair.error(B, b), Some(TcpError::Reset));
    assert_eq!(pair.engine(A).population(), (0, 0, 0));
    assert_eq!(pair.engine(A).segments_free().0, SIZES.segments);
}

#[test]
fn a_handle_names_nothing_after_the_close() {
    let mut pair = Pair::new();
    let (a, _b) = pair.connect();
    pair.close(A, a);
    let now = pair.now;
    assert!(!pair.engine(A).close(now, a));
    assert_eq!(pair.engine(A).write(now, a, b"x"), Err(TcpError::NotOpen));
    assert!(matches!(
        pair.engine(A).receive(now, a),
        Err(TcpError::NotOpen)
    ));
    assert_eq!(pair.state(A, a), None);
}

/// "Reused for the same four-tuple too early": RFC 6191, RFC 1122 §4.2.2.13.
#[test]
fn a_new_connection_takes_the_place_of_time_wait_with_higher_numbers() {
    let mut pair = Pair::new();
    let listener = pair.listen(ConnectionOptions::DEFAULT);
    let (local, remote) = (pair.at(A, 5_000), pair.at(B, PORT));
    let a = pair.open_between(A, local, remote, ConnectionOptions::DEFAULT);
    pair.run(ms(100));
    let b = pair.engine(B).accept(listener).unwrap().unwrap();
    // More than the clock of initial numbers goes on in this time.
    let bytes = pattern(300_000);
    assert_eq!(pair.transfer((B, b), (A, a), &bytes, secs(60)), bytes);
    let last = pair.numbers(B, b).1;
    // The server closes first: it has the TIME-WAIT.
    pair.close(B, b);
    pair.run(ms(100));
    pair.close(A, a);
    pair.run(ms(100));
    assert_eq!(pair.engine(B).population(), (0, 0, 1));
    let a = pair.open_between(A, local, remote, ConnectionOptions::DEFAULT);
    pair.run(ms(100));
    assert_eq!(pair.state(A, a), Some(TcpState::Established));
    assert_eq!(pair.hosts[B].engine.counters().time_waits_reused, 1);
    let b = pair.engine(B).accept(listener).unwrap().unwrap();
    assert!(pair.numbers(B, b).1.is_after(last));
}

/// We don't take the four-tuple of our own TIME-WAIT for a connection of ours.
#[test]
fn our_own_time_wait_is_not_reused_by_us() {
    let mut pair = Pair::new();
    let (a, b) = pair.connect();
    let local = pair.hosts[A].engine.get(a).unwrap().tuple().local();
    pair.close(A, a);
    pair.run(ms(100));
    pair.close(B, b);
    pair.run(ms(100));
    let (now, remote) = (pair.now, pair.at(B, PORT));
    let again = pair
        .engine(A)
        .connect(now, local, remote, ConnectionOptions::DEFAULT, &|_| MTU);
    assert_eq!(again, Err(TcpError::InUse));
}
