use core::time::Duration;
use std::format;
use std::string::String;
use std::vec::Vec;

use mirage_core::Instant;
use proptest::prelude::*;

use super::*;
use crate::Method;
use crate::Status;
use crate::body::BodyStep;
use crate::chunked::ChunkError;
use crate::field::FieldSlot;
use crate::head::WriteError;

const NOW: Instant = Instant::ZERO;

const LIMITS: ClientLimits = ClientLimits {
    body: BodyLimits {
        content: 100,
        ..BodyLimits::DEFAULT
    },
    ..ClientLimits::DEFAULT
};

fn ask(
    connection: &mut ClientConnection<'_>,
    method: Method<'_>,
    content: RequestContent,
) -> String {
    let mut out = [0; 300];
    let request = connection
        .request(&mut out, method, "/", "x")
        .expect("it may be sent");
    let length = request.finish(content, NOW).expect("room");
    String::from_utf8(out[..length].to_vec()).unwrap()
}

/// The responses to requests with these methods: status and body of each, and whether the connection can be used again.
type Outcome = Result<(Vec<(u16, String)>, bool), ClientError>;

fn fetch_pieces(methods: &[Method<'_>], stream: &[u8], piece: usize) -> Outcome {
    let mut connection = ClientConnection::new(&LIMITS);
    for method in methods {
        ask(&mut connection, *method, RequestContent::None);
    }
    let mut slots = [FieldSlot::EMPTY; 16];
    let mut pieces = stream.chunks(piece.max(1));
    let (mut input, mut responses) = (Vec::new(), Vec::new());
    let mut more = |connection: &mut ClientConnection<'_>, input: &mut Vec<u8>| match pieces.next()
    {
        Some(piece) => input.extend_from_slice(piece),
        None => connection.handle_end(),
    };
    loop {
        let (length, status) = match connection.handle_input(&input, &mut slots, NOW)? {
            ClientEvent::NeedInput if connection.unanswered() == 0 => {
                // All is answered; what else would come is looked at, too.
                let reusable = connection.is_reusable();
                more(&mut connection, &mut input);
                match connection.handle_input(&input, &mut slots, NOW)? {
                    ClientEvent::NeedInput | ClientEvent::Ended => {}
                    other => panic!("{other:?}"),
                }
                return Ok((responses, reusable));
            }
            ClientEvent::NeedInput => {
                more(&mut connection, &mut input);
                continue;
            }
            ClientEvent::Informational { length, .. } => (length, None),
            ClientEvent::Response { head, length, .. } => (length, Some(head.status().code())),
            ClientEvent::Busy => panic!("each body is read"),
            ClientEvent::Ended => return Ok((responses, false)),
        };
        input.drain(..length);
        let Some(status) = status else { continue };
        let mut body = Vec::new();
        loop {
            let (skip, step) = connection.handle_body(&input, &mut slots, NOW)?;
            input.drain(..skip);
            match step {
                BodyStep::Content(length) => {
                    body.extend(input.drain(..length));
                    connection.consume_body(length, NOW);
                }
                BodyStep::Trailers(length) => {
                    input.drain(..length);
                    connection.consume_body(length, NOW);
                }
                BodyStep::NeedInput => more(&mut connection, &mut input),
                BodyStep::Complete => break,
            }
        }
        responses.push((status, String::from_utf8(body).unwrap()));
    }
}

fn fetch(methods: &[Method<'_>], stream: &str) -> Outcome {
    let whole = fetch_pieces(methods, stream.as_bytes(), stream.len());
    for piece in [1, 2, 7] {
        let pieces = fetch_pieces(methods, stream.as_bytes(), piece);
        assert_eq!(pieces, whole, "in pieces of {piece}: {stream:?}");
    }
    whole
}

fn get(stream: &str) -> Outcome {
    fetch(&[Method::Get], stream)
}

fn one(status: u16, body: &str, reusable: bool) -> Outcome {
    Ok(([(status, body.into())].into(), reusable))
}

#[test]
fn requests_are_written() {
    let mut connection = ClientConnection::new(&LIMITS);
    assert_eq!(
        ask(&mut connection, Method::Get, RequestContent::None),
        "GET / HTTP/1.1\r\nhost: x\r\n\r\n"
    );
    let mut connection = ClientConnection::new(&LIMITS);
    let mut out = [0; 300];
    let mut request = connection
        .request(&mut out, Method::Post, "/a?b", "[::1]:80")
        .unwrap();
    request.field("accept", b"*/*").expect_continue().close();
    let length = request.finish(RequestContent::Known(4), NOW).unwrap();
    assert_eq!(
        core::str::from_utf8(&out[..length]),
        Ok(
            "POST /a?b HTTP/1.1\r\nhost: [::1]:80\r\naccept: */*\r\ncontent-length: 4\r\nexpect: 100-continue\r\n\
            connection: close\r\n\r\n"
        )
    );
}

#[test]
fn what_the_connection_writes_the_caller_does_not() {
    let mut connection = ClientConnection::new(&LIMITS);
    let mut out = [0; 300];
    for name in [
        "host",
        "Content-Length",
        "transfer-encoding",
        "connection",
        "expect",
        "upgrade",
    ] {
        let mut request = connection.request(&mut out, Method::Get, "/", "x").unwrap();
        request.field(name, b"1");
        assert_eq!(
            request.finish(RequestContent::None, NOW),
            Err(WriteError::Framing),
            "{name}"
        );
    }
    for host in ["a b", "a\r\nb: c", "u@a", "http://a"] {
        assert!(
            connection
                .request(&mut out, Method::Get, "/", host)
                .is_none(),
            "{host}"
        );
    }
    assert!(
        connection
            .request(&mut out, Method::Connect, "a:1", "a")
            .is_none()
    );
    let request = connection
        .request(&mut out, Method::Get, "/a b", "a")
        .unwrap();
    assert_eq!(
        request.finish(RequestContent::None, NOW),
        Err(WriteError::Target)
    );
    assert!(connection.is_reusable(), "nothing was sent");
}

#[test]
fn bodies_are_delimited_by_length_by_chunks_or_by_the_end() {
    assert_eq!(
        get("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc"),
        one(200, "abc", true)
    );
    assert_eq!(
        get("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nA: b\r\n\r\n"),
        one(200, "abc", true)
    );
    assert_eq!(get("HTTP/1.1 200 OK\r\n\r\nabc"), one(200, "abc", false));
    assert_eq!(get("HTTP/1.0 200 OK\r\n\r\n"), one(200, "", false));
    let closes = "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 3\r\n\r\nabc";
    assert_eq!(get(closes), one(200, "abc", false));
}

#[test]
fn head_and_some_statuses_have_no_body_whatever_they_say() {
    let head = "HTTP/1.1 200 OK\r\nContent-Length: 30\r\n\r\n";
    assert_eq!(fetch(&[Method::Head], head), one(200, "", true));
    let head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
    assert_eq!(fetch(&[Method::Head], head), one(200, "", true));
    assert_eq!(
        get("HTTP/1.1 304 Not Modified\r\nContent-Length: 30\r\n\r\n"),
        one(304, "", true)
    );
    assert_eq!(get("HTTP/1.1 204 No Content\r\n\r\n"), one(204, "", true));
    assert_eq!(
        get("HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n"),
        one(204, "", true)
    );
    for fields in ["Content-Length: 1", "Transfer-Encoding: chunked"] {
        for status in ["204 No Content", "103 Early Hints"] {
            let stream = format!("HTTP/1.1 {status}\r\n{fields}\r\n\r\n");
            assert_eq!(
                get(&stream),
                Err(ClientError::Framing(FramingError::BodyWhereNone))
            );
        }
    }
}

#[test]
fn responses_in_a_row_answer_requests_in_a_row() {
    let stream = "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\naHTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 404 Not Found\r\n\
                  Content-Length: 9\r\n\r\nHTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nc\r\n0\r\n\r\n";
    let methods = [Method::Get, Method::Head, Method::Get];
    let expected = [(200, "a".into()), (404, String::new()), (200, "c".into())];
    assert_eq!(fetch(&methods, stream), Ok((expected.into(), true)));
}

#[test]
fn a_response_without_a_request_is_nobodys() {
    // Else it would be taken for the next request's: a poisoned queue of responses.
    let stream = "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\naHTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison";
    let whole = fetch_pieces(&[Method::Get], stream.as_bytes(), stream.len());
    assert_eq!(whole, Err(ClientError::Unsolicited));
    let mut connection = ClientConnection::new(&LIMITS);
    let mut slots = [FieldSlot::EMPTY; 4];
    let early = connection.handle_input(b"H", &mut slots, NOW);
    assert!(matches!(early, Err(ClientError::Unsolicited)));
    assert!(
        connection
            .request(&mut [0; 100], Method::Get, "/", "x")
            .is_none()
    );
}

#[test]
fn responses_whose_length_is_in_doubt() {
    for (fields, error) in [
        (
            "Content-Length: 1\r\nTransfer-Encoding: chunked",
            FramingError::LengthAndEncoding,
        ),
        (
            "Content-Length: 1\r\nContent-Length: 1",
            FramingError::RepeatedLength,
        ),
        ("Content-Length: 1, 1", FramingError::RepeatedLength),
        ("Content-Length: +1", FramingError::Length),
        ("Transfer-Encoding: gzip, chunked", FramingError::Encoding),
        (
            "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
            FramingError::RepeatedEncoding,
        ),
    ] {
        let stream = format!("HTTP/1.1 200 OK\r\n{fields}\r\n\r\n0\r\n\r\n");
        assert_eq!(get(&stream), Err(ClientError::Framing(error)), "{fields:?}");
    }
    let stream = "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n";
    assert_eq!(
        get(stream),
        Err(ClientError::Framing(FramingError::EncodingInHttp10))
    );
    let stream = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0x1\r\na";
    assert_eq!(
        get(stream),
        Err(ClientError::Body(BodyError::Chunk(ChunkError::Size)))
    );
}

#[test]
fn a_body_that_is_cut_is_not_whole() {
    for stream in [
        "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nab",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n",
    ] {
        assert_eq!(
            get(stream),
            Err(ClientError::Body(BodyError::Truncated)),
            "{stream:?}"
        );
    }
    assert_eq!(get(""), Err(ClientError::Truncated));
    assert_eq!(get("HTTP/1.1 200 OK\r\n"), Err(ClientError::Truncated));
}

#[test]
fn a_server_takes_no_more_than_it_is_given() {
    let large = format!("HTTP/1.1 200 OK\r\n\r\n{}", "x".repeat(101));
    assert_eq!(get(&large), Err(ClientError::Body(BodyError::TooLarge)));
    let stream = "HTTP/1.1 200 OK\r\nContent-Length: 101\r\n\r\n";
    assert_eq!(get(stream), Err(ClientError::Body(BodyError::TooLarge)));
    let endless = "HTTP/1.1 103 Early Hints\r\n\r\n".repeat(9);
    assert_eq!(get(&endless), Err(ClientError::Informational));
    let fields = format!("HTTP/1.1 200 OK\r\n{}\r\n", "a: b\r\n".repeat(17));
    assert_eq!(
        get(&fields),
        Err(ClientError::Head(HeadError::TooManyFields))
    );
    let upgrade = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n";
    assert_eq!(get(upgrade), Err(ClientError::Upgrade));
}

#[test]
fn only_what_can_be_asked_twice_is_sent_ahead() {
    let mut out = [0; 100];
    let mut connection = ClientConnection::new(&LIMITS);
    for _ in 0..8 {
        ask(&mut connection, Method::Get, RequestContent::None);
    }
    assert!(
        connection
            .request(&mut out, Method::Get, "/", "x")
            .is_none(),
        "8 wait"
    );
    assert_eq!(connection.unanswered(), 8);
    let mut connection = ClientConnection::new(&LIMITS);
    ask(&mut connection, Method::Get, RequestContent::None);
    assert!(
        connection
            .request(&mut out, Method::Post, "/", "x")
            .is_none()
    );
    let mut connection = ClientConnection::new(&LIMITS);
    ask(&mut connection, Method::Post, RequestContent::Known(0));
    assert!(
        connection
            .request(&mut out, Method::Get, "/", "x")
            .is_none()
    );
}

#[test]
fn content_waits_for_the_word_to_go_on_and_not_for_ever() {
    let begin = |connection: &mut ClientConnection<'_>| {
        let mut out = [0; 300];
        let mut request = connection
            .request(&mut out, Method::Post, "/", "x")
            .unwrap();
        request.expect_continue();
        request.finish(RequestContent::Known(4), NOW).unwrap();
        assert!(!connection.may_send_content());
    };
    let mut slots = [FieldSlot::EMPTY; 4];
    let mut connection = ClientConnection::new(&LIMITS);
    begin(&mut connection);
    let event = connection.handle_input(b"HTTP/1.1 100 Continue\r\n\r\n", &mut slots, NOW);
    assert!(matches!(event, Ok(ClientEvent::Informational { .. })));
    assert!(connection.may_send_content());

    let mut connection = ClientConnection::new(&LIMITS);
    begin(&mut connection);
    let unasked = NOW + LIMITS.wait_for_continue;
    assert_eq!(connection.poll_timeout(), Some(unasked));
    assert_eq!(connection.handle_timeout(unasked), Ok(()));
    assert!(connection.may_send_content());
    assert_eq!(connection.handle_sent(4, unasked), Ok(()));
    assert!(!connection.may_send_content());

    // A final answer instead: the content stays, and the connection with it.
    let mut connection = ClientConnection::new(&LIMITS);
    begin(&mut connection);
    let event = connection.handle_input(
        b"HTTP/1.1 417 No\r\nContent-Length: 0\r\n\r\n",
        &mut slots,
        NOW,
    );
    assert!(matches!(event, Ok(ClientEvent::Response { .. })));
    assert!(!connection.may_send_content() && !connection.is_reusable());
}

#[test]
fn content_has_the_length_that_the_head_said() {
    let mut connection = ClientConnection::new(&LIMITS);
    ask(&mut connection, Method::Put, RequestContent::Known(4));
    assert!(
        connection
            .request(&mut [0; 100], Method::Get, "/", "x")
            .is_none(),
        "it is not sent"
    );
    assert_eq!(
        connection.handle_sent(5, NOW),
        Err(ClientError::WrongLength)
    );
    let mut connection = ClientConnection::new(&LIMITS);
    ask(&mut connection, Method::Put, RequestContent::Known(4));
    assert_eq!(connection.end_content(NOW), Err(ClientError::WrongLength));
    let mut connection = ClientConnection::new(&LIMITS);
    let head = ask(&mut connection, Method::Put, RequestContent::Unknown);
    assert!(head.contains("transfer-encoding: chunked"));
    assert_eq!(&connection.chunk(10, NOW).unwrap()[..], b"a\r\n");
    assert_eq!(connection.end_content(NOW), Ok(&b"0\r\n\r\n"[..]));
    assert_eq!(connection.end_content(NOW), Ok(&b""[..]));
}

#[test]
fn a_slow_server_is_given_up() {
    let limits = ClientLimits { rate: 10, ..LIMITS };
    let mut connection = ClientConnection::new(&limits);
    assert_eq!(connection.poll_timeout(), None);
    ask(&mut connection, Method::Get, RequestContent::None);
    let deadline = NOW + LIMITS.response;
    assert_eq!(connection.poll_timeout(), Some(deadline));
    let mut slots = [FieldSlot::EMPTY; 4];
    let head = b"HTTP/1.1 200 OK\r\nContent-Length: 40\r\n\r\n";
    let now = NOW + Duration::from_secs(1);
    assert!(connection.handle_input(head, &mut slots, now).is_ok());
    connection
        .handle_body(&[b'x'; 20], &mut slots, now)
        .unwrap();
    connection.consume_body(20, now);
    // 20 octets are worth two seconds.
    let deadline = now + LIMITS.grace + Duration::from_secs(2);
    assert_eq!(connection.poll_timeout(), Some(deadline));
    assert_eq!(
        connection.handle_timeout(deadline),
        Err(ClientError::Timeout)
    );
    assert_eq!(connection.error(), Some(ClientError::Timeout));
    assert!(
        connection
            .handle_body(&[b'x'; 20], &mut slots, deadline)
            .is_err()
    );
    assert_eq!(Status::OK.code(), 200);
}

proptest! {
    #[test]
    fn arbitrary_pieces_of_responses_give_the_same(
        responses in prop::collection::vec(
            prop_oneof![
                Just("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n0123456789"),
                Just("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n"),
                Just("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3;x\r\nabc\r\n0\r\nA: b\r\n\r\n"),
                Just("HTTP/1.1 200\r\n\r\nall of it"),
                Just("HTTP/1.1 304 Not Modified\r\nContent-Length: 3\r\n\r\n"),
                Just("HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\nx"),
            ],
            4,
        ),
        piece in 1usize..60,
    ) {
        let stream = responses.concat();
        let methods = [Method::Get; 4];
        let whole = fetch_pieces(&methods, stream.as_bytes(), stream.len());
        prop_assert_eq!(fetch_pieces(&methods, stream.as_bytes(), piece), whole);
    }
}
