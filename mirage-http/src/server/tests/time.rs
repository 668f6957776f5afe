//! Slow clients: each is ended at its time, to the nanosecond.

use core::time::Duration;

use super::*;
use crate::body::BodyError;

fn at(millis: u64) -> Instant {
    Instant::from_millis(millis)
}

fn after(duration: Duration) -> Instant {
    Instant::ZERO + duration
}

/// A nanosecond before.
fn before(instant: Instant) -> Instant {
    instant - Duration::from_nanos(1)
}

fn answer(connection: &mut ServerConnection<'_>, now: Instant) {
    let mut out = [0; 200];
    let response = connection
        .respond(&mut out, Status::OK)
        .expect("a request waits");
    response.finish(ContentLength::Known(0), now).expect("room");
}

#[test]
fn a_connection_that_nothing_comes_on_ends() {
    let server = Server::new(LIMITS);
    let mut connection = server.connect(Instant::ZERO);
    let deadline = after(LIMITS.idle);
    assert_eq!(connection.poll_timeout(), Some(deadline));
    assert_eq!(connection.handle_timeout(before(deadline)), Ok(()));
    assert_eq!(connection.ending(), None);
    assert_eq!(connection.handle_timeout(deadline), Ok(()));
    assert_eq!(connection.ending(), Some(Ending::Idle));
    assert_eq!(connection.poll_timeout(), None);
    assert_eq!(server.counters().ended_idle, 1);
}

#[test]
fn slow_client_that_sends_a_head_octet_by_octet() {
    let server = Server::new(LIMITS);
    let mut connection = server.connect(Instant::ZERO);
    let head = b"GET / HTTP/1.1\r\nHost: x\r\nA: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
    // Each octet comes well before the idle time is over, and that does not help it.
    let deadline = at(1_000) + LIMITS.head_time;
    for end in 1..20 {
        let mut slots = [FieldSlot::EMPTY; SLOTS];
        let now = at(1_000 + 200 * (end as u64 - 1));
        let event = connection.handle_input(&head[..end], &mut slots, now);
        assert!(matches!(event, ServerEvent::NeedInput));
        assert_eq!(connection.poll_timeout(), Some(deadline));
    }
    assert_eq!(connection.handle_timeout(before(deadline)), Ok(()));
    assert_eq!(connection.handle_timeout(deadline), Err(Rejection::Timeout));
    assert_eq!(Rejection::Timeout.status(), Status::REQUEST_TIMEOUT);
    answer(&mut connection, deadline);
    assert_eq!(connection.ending(), Some(Ending::Rejected));
}

#[test]
fn slow_client_that_sends_a_body_below_the_least_rate() {
    let server = Server::new(Limits {
        rate: 100,
        ..LIMITS
    });
    let mut connection = server.connect(Instant::ZERO);
    let head = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n";
    let mut slots = [FieldSlot::EMPTY; SLOTS];
    let event = connection.handle_input(head, &mut slots, Instant::ZERO);
    assert!(matches!(event, ServerEvent::Request { .. }));
    assert_eq!(connection.poll_timeout(), Some(after(LIMITS.grace)));
    // 200 octets are worth two seconds.
    connection
        .handle_body(&[b'x'; 200], &mut [], at(100))
        .unwrap();
    connection.consume_body(200);
    let deadline = after(LIMITS.grace) + Duration::from_secs(2);
    assert_eq!(connection.poll_timeout(), Some(deadline));
    assert_eq!(connection.handle_timeout(deadline), Err(Rejection::Timeout));
    answer(&mut connection, deadline);
    assert_eq!(connection.ending(), Some(Ending::Rejected));
    assert_eq!(server.counters().rejected_timeout, 1);
}

#[test]
fn slow_client_that_sends_a_body_nobody_reads() {
    let server = Server::new(LIMITS);
    let mut connection = server.connect(Instant::ZERO);
    let head = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 50\r\n\r\n";
    let mut slots = [FieldSlot::EMPTY; SLOTS];
    connection.handle_input(head, &mut slots, Instant::ZERO);
    answer(&mut connection, at(10));
    assert!(connection.is_answered());
    let event = connection.handle_input(b"x", &mut slots, at(20));
    assert!(matches!(event, ServerEvent::Discard(1)));
    let deadline = connection.poll_timeout().expect("a deadline");
    assert!(deadline < at(20) + LIMITS.grace + Duration::from_secs(1));
    connection.handle_timeout(deadline).unwrap();
    assert_eq!(connection.ending(), Some(Ending::TooSlow));
}

#[test]
fn a_client_that_waits_for_the_word_to_go_on_has_its_time_from_then() {
    let server = Server::new(LIMITS);
    let mut connection = server.connect(Instant::ZERO);
    let head = b"POST / HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 50\r\n\r\n";
    let mut slots = [FieldSlot::EMPTY; SLOTS];
    connection.handle_input(head, &mut slots, Instant::ZERO);
    assert_eq!(connection.poll_timeout(), None, "it is our turn");
    connection.handle_body(b"", &mut slots, at(60_000)).unwrap();
    assert_eq!(connection.poll_timeout(), Some(at(60_000) + LIMITS.grace));
}

#[test]
fn an_application_takes_the_time_it_needs() {
    let server = Server::new(LIMITS);
    let mut connection = server.connect(Instant::ZERO);
    let mut slots = [FieldSlot::EMPTY; SLOTS];
    connection.handle_input(
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
        &mut slots,
        Instant::ZERO,
    );
    assert_eq!(connection.poll_timeout(), None);
    answer(&mut connection, at(60_000));
    assert_eq!(connection.poll_timeout(), Some(at(60_000) + LIMITS.idle));
}

#[test]
fn a_connection_has_its_time_in_all() {
    let server = Server::new(LIMITS);
    let mut connection = server.connect(Instant::ZERO);
    let end = after(LIMITS.connection);
    let mut slots = [FieldSlot::EMPTY; SLOTS];
    let mut now = Instant::ZERO;
    let mut answered = 0;
    while connection.ending().is_none() {
        now = (now + Duration::from_secs(10)).min(before(end));
        let event = connection.handle_input(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", &mut slots, now);
        assert!(matches!(event, ServerEvent::Request { .. }));
        answered += 1;
        if now == before(end) {
            // What came in time is answered, and says that it is the last.
            answer(&mut connection, end);
        } else {
            answer(&mut connection, now);
            assert!(
                connection
                    .poll_timeout()
                    .is_some_and(|deadline| deadline <= end)
            );
        }
    }
    assert_eq!(answered, 30);
    assert_eq!(connection.ending(), Some(Ending::Complete));
}

#[test]
fn a_client_must_take_what_it_asked_for() {
    let server = Server::new(Limits {
        rate: 1_000,
        ..LIMITS
    });
    let connection = server.connect(Instant::ZERO);
    let deadline = connection.send_deadline(10_000, at(500));
    assert_eq!(deadline, at(500) + LIMITS.grace + Duration::from_secs(10));
    // No rate and no length overflow.
    let server = Server::new(Limits {
        rate: 0,
        grace: Duration::MAX,
        ..LIMITS
    });
    let connection = server.connect(Instant::ZERO);
    assert_eq!(
        connection.send_deadline(u64::MAX, at(500)),
        Instant::FAR_FUTURE
    );
}

#[test]
fn a_body_that_comes_too_late_while_the_response_is_sent_ends_the_connection_behind_it() {
    let server = Server::new(LIMITS);
    let mut connection = server.connect(Instant::ZERO);
    let head = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 50\r\n\r\n";
    let mut slots = [FieldSlot::EMPTY; SLOTS];
    connection.handle_input(head, &mut slots, Instant::ZERO);
    let mut out = [0; 200];
    let response = connection.respond(&mut out, Status::OK).unwrap();
    response
        .finish(ContentLength::Known(5), Instant::ZERO)
        .unwrap();
    let deadline = connection.poll_timeout().expect("a deadline");
    assert_eq!(connection.handle_timeout(deadline), Ok(()));
    assert_eq!(connection.ending(), None);
    // What did not come does not look like a body that is over.
    let read = connection.handle_body(b"", &mut slots, deadline);
    assert_eq!(read, Err(Rejection::Timeout));
    connection.handle_sent(5, deadline).unwrap();
    assert_eq!(connection.ending(), Some(Ending::Rejected));
    assert_eq!(
        Rejection::Body(BodyError::Truncated).status(),
        Status::BAD_REQUEST
    );
}
