//! Requests and responses over one connection.

use super::*;
use crate::head::WriteError;
use proptest::prelude::*;

const GET: &str = "GET / HTTP/1.1\r\nHost: x\r\n\r\n";

#[test]
fn requests_that_were_sent_ahead_are_answered_in_turn() {
    let stream =
        format!("{GET}POST /b HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc\r\n{GET}");
    let (requests, ending) = served(stream);
    assert_eq!(requests, ["GET / ", "POST /b abc", "GET / "]);
    assert_eq!(ending, Some(Ending::ByClient));
}

#[test]
fn what_the_client_says_of_the_connection_counts() {
    for (version, field, count) in [
        ("1.1", "X: y", 2),
        ("1.1", "Connection: close", 1),
        ("1.0", "X: y", 1),
        ("1.0", "Connection: keep-alive", 2),
    ] {
        let stream = format!("GET / HTTP/{version}\r\nHost: x\r\n{field}\r\n\r\n{GET}");
        let (requests, ending) = served(stream);
        assert_eq!(requests.len(), count, "{version} {field}");
        let closes = count == 1;
        assert_eq!(ending == Some(Ending::AsAsked), closes);
        let (head, _) = response_to(
            &format!("GET / HTTP/{version}\r\nHost: x\r\n{field}\r\n\r\n"),
            Status::OK,
            ContentLength::Known(0),
        );
        assert_eq!(has(&head, "connection: close"), closes, "{head}");
        assert_eq!(
            has(&head, "connection: keep-alive"),
            version == "1.0" && !closes
        );
    }
}

#[test]
fn a_last_request_that_did_not_come_whole_is_not_the_end_of_what_the_client_sends() {
    let head = "POST / HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 5\r\n\r\n";
    for (body, ending) in [("hel", Ending::Complete), ("hello", Ending::AsAsked)] {
        let server = Server::new(Limits::DEFAULT);
        let (mut slots, mut out) = ([FieldSlot::EMPTY; 8], [0; 256]);
        let mut connection = server.connect(Instant::ZERO);
        let event = connection.handle_input(head.as_bytes(), &mut slots, Instant::ZERO);
        assert!(matches!(event, ServerEvent::Request { .. }));
        let step = connection.handle_body(body.as_bytes(), &mut slots, Instant::ZERO);
        assert_eq!(step, Ok((0, BodyStep::Content(body.len()))));
        connection.consume_body(body.len());
        let response = connection.respond(&mut out, Status::OK).unwrap();
        response
            .finish(ContentLength::Known(0), Instant::ZERO)
            .unwrap();
        assert_eq!(connection.ending(), Some(ending), "{body}");
        assert_eq!(ending.lingers(), body != "hello");
    }
}

#[test]
fn content_is_delimited_as_the_client_understands() {
    let (head, connection) = response_to(GET, Status::OK, ContentLength::Known(5));
    assert!(has(&head, "content-length: 5") && connection.wants_content());
    let (head, connection) = response_to(GET, Status::OK, ContentLength::Unknown);
    assert!(has(&head, "transfer-encoding: chunked") && connection.is_chunked());
    let (head, mut connection) = response_to(
        "GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
        Status::OK,
        ContentLength::Unknown,
    );
    assert!(!has(&head, "transfer-encoding: chunked") && has(&head, "connection: close"));
    assert!(connection.wants_content() && connection.chunk(3).is_none());
    connection.handle_sent(1 << 40, Instant::ZERO).unwrap();
    assert_eq!(connection.end_content(Instant::ZERO), Ok(&b""[..]));
    assert_eq!(connection.ending(), Some(Ending::Complete));
}

#[test]
fn head_has_the_fields_of_get_and_no_content() {
    let head_request = "HEAD / HTTP/1.1\r\nHost: x\r\n\r\n";
    for length in [ContentLength::Known(5), ContentLength::Unknown] {
        let (with, _) = response_to(GET, Status::OK, length);
        let (without, connection) = response_to(head_request, Status::OK, length);
        assert_eq!(with, without);
        assert!(!connection.wants_content() && connection.is_answered());
    }
}

#[test]
fn some_statuses_have_never_content() {
    for status in [Status::NO_CONTENT, Status::NOT_MODIFIED] {
        let (head, connection) = response_to(GET, status, ContentLength::Known(0));
        assert!(!head.contains("content-length") && connection.is_answered());
        let server = Server::new(LIMITS);
        let mut connection = server.connect(Instant::ZERO);
        let mut slots = [FieldSlot::EMPTY; SLOTS];
        connection.handle_input(GET.as_bytes(), &mut slots, Instant::ZERO);
        let mut out = [0; 100];
        for length in [ContentLength::Known(1), ContentLength::Unknown] {
            let response = connection.respond(&mut out, status).unwrap();
            assert_eq!(
                response.finish(length, Instant::ZERO),
                Err(WriteError::Content)
            );
        }
        assert!(connection.respond(&mut out, Status::CONTINUE).is_none());
        assert!(connection.is_awaited(), "it can still be answered");
    }
}

#[test]
fn content_of_another_length_than_the_head_said_breaks_the_connection() {
    let now = Instant::ZERO;
    let (_, mut connection) = response_to(GET, Status::OK, ContentLength::Known(5));
    assert_eq!(connection.handle_sent(3, now), Ok(()));
    assert_eq!(connection.handle_sent(3, now), Err(WrongLength));
    assert_eq!(connection.ending(), Some(Ending::Broken));
    assert!(Ending::Broken.aborts());
    let (_, mut connection) = response_to(GET, Status::OK, ContentLength::Known(5));
    connection.handle_sent(4, now).unwrap();
    assert_eq!(connection.end_content(now), Err(WrongLength));
    let (_, mut connection) = response_to(GET, Status::OK, ContentLength::Known(5));
    connection.handle_sent(2, now).unwrap();
    connection.handle_sent(3, now).unwrap();
    assert!(connection.is_answered());
    assert_eq!(
        connection.end_content(now),
        Ok(&b""[..]),
        "it is over already"
    );
    assert_eq!(connection.handle_sent(1, now), Err(WrongLength));
}

#[test]
fn chunks_end_with_trailers_or_without() {
    let now = Instant::ZERO;
    let (_, mut connection) = response_to(GET, Status::OK, ContentLength::Unknown);
    assert_eq!(&connection.chunk(20).unwrap()[..], b"14\r\n");
    assert!(connection.chunk(0).is_none(), "that would be the last");
    assert_eq!(connection.end_content(now), Ok(&b"0\r\n\r\n"[..]));
    assert!(connection.is_answered());

    let (_, mut connection) = response_to(GET, Status::OK, ContentLength::Unknown);
    let mut out = [0; 100];
    for name in ["content-length", "Transfer-Encoding", "trailer"] {
        let ended = connection.end_content_with(&mut out, &[(name, b"1")], now);
        assert_eq!(ended, Err(WriteError::Framing), "{name}");
    }
    let length = connection
        .end_content_with(&mut out, &[("etag", b"\"a\"")], now)
        .unwrap();
    assert_eq!(&out[..length], b"0\r\netag: \"a\"\r\n\r\n");
    assert!(connection.is_answered());
}

#[test]
fn fields_of_framing_are_the_connections() {
    let server = Server::new(LIMITS);
    let mut connection = server.connect(Instant::ZERO);
    let mut slots = [FieldSlot::EMPTY; SLOTS];
    connection.handle_input(GET.as_bytes(), &mut slots, Instant::ZERO);
    let mut out = [0; 200];
    for name in [
        "Content-Length",
        "transfer-encoding",
        "Connection",
        "keep-alive",
        "upgrade",
    ] {
        let mut response = connection.respond(&mut out, Status::OK).unwrap();
        response.field(name, b"1");
        let finished = response.finish(ContentLength::Known(0), Instant::ZERO);
        assert_eq!(finished, Err(WriteError::Framing), "{name}");
    }
    let mut response = connection.respond(&mut out, Status::OK).unwrap();
    response.display(FieldName::ContentLength, 1);
    assert_eq!(
        response.finish(ContentLength::Known(0), Instant::ZERO),
        Err(WriteError::Framing)
    );
}

#[test]
fn a_client_that_expects_is_told_to_go_on_when_the_body_is_wanted() {
    let now = Instant::ZERO;
    let server = Server::new(LIMITS);
    let request = "POST / HTTP/1.1\r\nHost: x\r\nExpect: 100-Continue\r\nContent-Length: 4\r\n\r\n";
    let begin = || {
        let mut connection = server.connect(now);
        let mut slots = [FieldSlot::EMPTY; SLOTS];
        let event = connection.handle_input(request.as_bytes(), &mut slots, now);
        assert!(matches!(event, ServerEvent::Request { .. }));
        assert_eq!(connection.poll_continue(), None);
        connection
    };
    let slots = &mut [FieldSlot::EMPTY; 1];
    let mut connection = begin();
    assert_eq!(
        connection.handle_body(b"", slots, now),
        Ok((0, BodyStep::NeedInput))
    );
    assert_eq!(connection.poll_continue(), Some(CONTINUE));
    assert_eq!(connection.poll_continue(), None, "once");
    assert_eq!(
        connection.handle_body(b"body", slots, now),
        Ok((0, BodyStep::Content(4)))
    );
    // One that has begun to send need not be told.
    let mut connection = begin();
    assert_eq!(
        connection.handle_body(b"b", slots, now),
        Ok((0, BodyStep::Content(1)))
    );
    assert_eq!(connection.poll_continue(), None);
    // Nor one that sends no body, nor one of HTTP/1.0.
    for request in [
        "POST / HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\n\r\n",
        "POST / HTTP/1.0\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n",
        "POST / HTTP/1.0\r\nExpect: anything\r\nContent-Length: 4\r\n\r\n",
    ] {
        let mut connection = server.connect(now);
        let mut request_slots = [FieldSlot::EMPTY; SLOTS];
        let event = connection.handle_input(request.as_bytes(), &mut request_slots, now);
        assert!(matches!(event, ServerEvent::Request { .. }), "{request:?}");
        connection.handle_body(b"", slots, now).unwrap();
        assert_eq!(connection.poll_continue(), None, "{request:?}");
    }
    assert_eq!(server.counters().continued, 1);
}

#[test]
fn total_requests_of_a_connection_are_bounded() {
    let server = Server::new(Limits {
        requests: 3,
        ..LIMITS
    });
    let mut connection = server.connect(Instant::ZERO);
    let mut out = [0; 200];
    for number in 1..=3 {
        let mut slots = [FieldSlot::EMPTY; SLOTS];
        let event = connection.handle_input(GET.as_bytes(), &mut slots, Instant::ZERO);
        assert!(matches!(event, ServerEvent::Request { .. }));
        let response = connection.respond(&mut out, Status::OK).unwrap();
        let length = response
            .finish(ContentLength::Known(0), Instant::ZERO)
            .unwrap();
        let head = core::str::from_utf8(&out[..length]).unwrap();
        assert_eq!(has(head, "connection: close"), number == 3);
    }
    assert_eq!(connection.ending(), Some(Ending::Complete));
}

#[test]
fn a_stream_that_ends_within_a_request_is_told_from_one_that_ends_between() {
    let whole = format!("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc{GET}");
    let first = whole.len() - GET.len();
    for end in 0..=whole.len() {
        let log = serve(&whole[..end]);
        if end == 0 || end == first || end == whole.len() {
            assert_eq!(log.ending, Some(Ending::ByClient), "{end}");
            continue;
        }
        let ending = match end < first && !log.requests.is_empty() {
            true => Ending::Rejected,
            false => Ending::Incomplete,
        };
        assert_eq!(log.ending, Some(ending), "{end}: {log:?}");
    }
}

/// By a reset the last answer could be lost to a client that says no more (RFC 9112 §9.6); and an empty line is not the beginning of
/// a request (§2.2).
#[test]
fn what_was_answered_before_half_a_request_or_an_empty_line_is_not_reset() {
    for (more, ending) in [
        ("\r\n", Ending::ByClient),
        ("\r", Ending::Incomplete),
        ("GET / HT", Ending::Incomplete),
        (
            "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nabc",
            Ending::Rejected,
        ),
    ] {
        let log = serve(format!("{GET}{more}"));
        assert_eq!(log.ending, Some(ending), "{more:?}");
        assert!(!ending.aborts());
        assert!(!log.requests.is_empty());
    }
}

#[test]
fn an_empty_line_alone_is_no_request_that_came_too_late() {
    let server = Server::new(LIMITS);
    let mut connection = server.connect(Instant::ZERO);
    let mut slots = [FieldSlot::EMPTY; 8];
    let event = connection.handle_input(b"\r\n", &mut slots, Instant::ZERO);
    assert!(matches!(event, ServerEvent::NeedInput));
    let late = Instant::ZERO + LIMITS.idle.max(LIMITS.head_time);
    assert_eq!(connection.handle_timeout(late), Ok(()));
    assert_eq!(connection.ending(), Some(Ending::Idle));
}

#[test]
fn a_rejection_behind_head_is_answered_with_content() {
    let now = Instant::ZERO;
    let server = Server::new(LIMITS);
    let mut connection = server.connect(now);
    let mut slots = [FieldSlot::EMPTY; SLOTS];
    let mut out = [0; 200];
    connection.handle_input(b"HEAD / HTTP/1.1\r\nHost: x\r\n\r\n", &mut slots, now);
    let response = connection.respond(&mut out, Status::OK).unwrap();
    response.finish(ContentLength::Known(9), now).unwrap();
    let event = connection.handle_input(b"\0", &mut slots, now);
    assert!(matches!(event, ServerEvent::Rejected(_)));
    let response = connection.respond(&mut out, Status::BAD_REQUEST).unwrap();
    response.finish(ContentLength::Known(9), now).unwrap();
    assert!(
        connection.wants_content(),
        "what was asked before does not count"
    );
    connection.handle_sent(9, now).unwrap();
    assert_eq!(connection.ending(), Some(Ending::Rejected));
    assert!(connection.respond(&mut out, Status::OK).is_none());
}

#[test]
fn counters_say_what_became_of_requests() {
    let server = Server::new(LIMITS);
    let mut out = [0; 200];
    for request in [GET, "GET / HTTP/1.1\r\n\r\n", "x\r\n"] {
        let mut connection = server.connect(Instant::ZERO);
        let mut slots = [FieldSlot::EMPTY; SLOTS];
        let status = match connection.handle_input(request.as_bytes(), &mut slots, Instant::ZERO) {
            ServerEvent::Rejected(rejection) => rejection.status(),
            _ => Status::OK,
        };
        let response = connection.respond(&mut out, status).unwrap();
        response
            .finish(ContentLength::Known(0), Instant::ZERO)
            .unwrap();
    }
    let counters = server.counters();
    assert_eq!((counters.connections, counters.requests), (3, 1));
    assert_eq!((counters.rejected_host, counters.rejected_head), (1, 1));
    assert_eq!((counters.responses_2xx, counters.responses_4xx), (1, 2));
    assert_eq!(counters.ended_rejected, 2);
}

proptest! {
    #[test]
    fn arbitrary_pieces_of_requests_give_the_same(
        requests in prop::collection::vec(
            prop_oneof![
                Just("GET /a HTTP/1.1\r\nHost: x\r\n\r\n"),
                Just("HEAD /b HTTP/1.0\r\nConnection: keep-alive\r\n\r\n"),
                Just("POST /c HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n0123456789"),
                Just("POST /d HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3;x\r\nabc\r\n0\r\nA: b\r\n\r\n"),
                Just("PUT /e HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n00\r\n\r\n"),
                Just("\r\nGET /f HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"),
                Just("GET /g HTTP/1.1\r\nHost: x\r\nContent-Length: +1\r\n\r\nx"),
                Just("POST /h HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabcd"),
            ],
            0..6,
        ),
        piece in 1usize..60,
        reads: bool,
    ) {
        let stream = requests.concat();
        let whole = serve_pieces(stream.as_bytes(), stream.len(), reads);
        prop_assert_eq!(serve_pieces(stream.as_bytes(), piece, reads), whole);
    }

    #[test]
    fn any_octets_come_to_an_end(stream in prop::collection::vec(any::<u8>(), 0..300), piece in 1usize..50) {
        let log = serve_pieces(&stream, piece, true);
        prop_assert!(log.ending.is_some());
    }
}
