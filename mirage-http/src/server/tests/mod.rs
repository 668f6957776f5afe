//! One connection with requests that come in pieces, in a time that stands still or jumps.

mod exchange;
mod smuggling;
mod time;

use std::format;
use std::string::String;
use std::vec::Vec;

use mirage_core::Instant;

use super::*;
use crate::Status;
use crate::body::{BodyLimits, BodyStep};
use crate::field::{FieldName, FieldSlot};
use crate::head::HeadLimits;

const LIMITS: Limits = Limits {
    head: HeadLimits {
        head: 1_000,
        target: 200,
    },
    body: BodyLimits {
        content: 1_000,
        chunk_extensions: 100,
        trailers: 100,
    },
    drain: 100,
    ..Limits::DEFAULT
};

const SLOTS: usize = 16;

/// What became of a stream of requests: what the application saw, what was answered, and how the connection ended.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Log {
    /// Of each request method, target and body, separated by blanks.
    requests: Vec<String>,
    /// Status codes.
    responses: Vec<u16>,
    rejections: Vec<Rejection>,
    ending: Option<Ending>,
}

/// Serves a stream that comes in pieces; an application that reads each body answers 200, one that does not read answers 204.
fn serve_pieces(stream: &[u8], piece: usize, reads: bool) -> Log {
    let server = Server::new(LIMITS);
    let now = Instant::ZERO;
    let mut connection = server.connect(now);
    let mut log = Log::default();
    let mut pieces = stream.chunks(piece.max(1));
    let mut input = Vec::new();
    let mut slots = [FieldSlot::EMPTY; SLOTS];
    let mut trailer_slots = [FieldSlot::EMPTY; 4];
    loop {
        let (consumed, answer) = match connection.handle_input(&input, &mut slots, now) {
            ServerEvent::NeedInput => {
                match pieces.next() {
                    Some(piece) => input.extend_from_slice(piece),
                    None => connection.handle_end(),
                }
                continue;
            }
            ServerEvent::Discard(length) => {
                assert!(length > 0);
                (length, None)
            }
            ServerEvent::Request { head, length, .. } => {
                log.requests
                    .push(format!("{} {}", head.method(), head.target()));
                (
                    length,
                    Some(if reads {
                        Status::OK
                    } else {
                        Status::NO_CONTENT
                    }),
                )
            }
            ServerEvent::Rejected(rejection) => {
                log.rejections.push(rejection);
                (0, Some(rejection.status()))
            }
            ServerEvent::Busy => panic!("each request was answered"),
            ServerEvent::Ended(ending) => {
                log.ending = Some(ending);
                let counters = server.counters();
                assert_eq!(counters.requests, log.requests.len() as u64);
                return log;
            }
        };
        input.drain(..consumed);
        let Some(mut status) = answer else { continue };
        if reads && log.rejections.is_empty() {
            let body = read_body(
                &mut connection,
                &mut input,
                &mut pieces,
                &mut trailer_slots,
                now,
            );
            match body {
                Ok(body) => {
                    let request = log.requests.last_mut().expect("one");
                    *request += &format!(" {}", String::from_utf8_lossy(&body));
                }
                Err(rejection) => {
                    log.rejections.push(rejection);
                    status = rejection.status();
                }
            }
        }
        let mut out = [0; 200];
        let response = connection
            .respond(&mut out, status)
            .expect("a request waits");
        let length = response.finish(ContentLength::Known(0), now).expect("room");
        assert!(out[..length].starts_with(status.line().unwrap_or_default().as_bytes()));
        log.responses.push(status.code());
    }
}

fn read_body<'p>(
    connection: &mut ServerConnection<'_>,
    input: &mut Vec<u8>,
    pieces: &mut impl Iterator<Item = &'p [u8]>,
    slots: &mut [FieldSlot],
    now: Instant,
) -> Result<Vec<u8>, Rejection> {
    let mut body = Vec::new();
    loop {
        let (skip, step) = connection.handle_body(input, slots, now)?;
        input.drain(..skip);
        match step {
            BodyStep::Content(length) => {
                body.extend(input.drain(..length));
                connection.consume_body(length);
            }
            BodyStep::Trailers(length) => {
                assert!(connection.trailers(input, slots).is_some());
                input.drain(..length);
                connection.consume_body(length);
            }
            BodyStep::NeedInput => match pieces.next() {
                Some(piece) => input.extend_from_slice(piece),
                None => connection.handle_end(),
            },
            BodyStep::Complete => return Ok(body),
        }
    }
}

/// Serves a stream whole and in pieces: what becomes of it is the same.
fn serve(stream: impl AsRef<[u8]>) -> Log {
    let stream = stream.as_ref();
    let whole = serve_pieces(stream, stream.len(), true);
    for piece in [1, 2, 3, 5, 16] {
        assert_eq!(
            serve_pieces(stream, piece, true),
            whole,
            "in pieces of {piece}"
        );
    }
    whole
}

/// What was requested, and how the connection ended.
fn served(stream: impl AsRef<[u8]>) -> (Vec<String>, Option<Ending>) {
    let log = serve(stream);
    assert!(log.rejections.is_empty(), "{log:?}");
    (log.requests, log.ending)
}

/// That nothing but a rejection comes of a stream: no request is smuggled in behind.
fn rejected(stream: impl AsRef<[u8]>) -> Rejection {
    let log = serve(stream);
    assert_eq!(
        log.requests,
        Vec::<String>::new(),
        "nothing reaches the application"
    );
    assert_eq!(log.responses.len(), 1, "{log:?}");
    assert_eq!(log.ending, Some(Ending::Rejected), "{log:?}");
    log.rejections[0]
}

/// A request with these fields, and another one behind it which an attacker would like to see served.
fn smuggle(fields: &str, body: &str) -> Vec<u8> {
    format!(
        "POST /a HTTP/1.1\r\nHost: x\r\n{fields}\r\n\r\n{body}GET /smuggled HTTP/1.1\r\nHost: x\r\n\r\n"
    )
    .into_bytes()
}

/// The head of a response to a request, with a content of so many octets.
fn response_to(
    request: &str,
    status: Status,
    length: ContentLength,
) -> (String, ServerConnection<'static>) {
    let server: &'static Server = std::boxed::Box::leak(std::boxed::Box::new(Server::new(LIMITS)));
    let mut connection = server.connect(Instant::ZERO);
    let mut slots = [FieldSlot::EMPTY; SLOTS];
    let event = connection.handle_input(request.as_bytes(), &mut slots, Instant::ZERO);
    assert!(matches!(event, ServerEvent::Request { .. }), "{event:?}");
    let mut out = [0; 300];
    let response = connection
        .respond(&mut out, status)
        .expect("a request waits");
    let written = response.finish(length, Instant::ZERO).expect("room");
    let text = core::str::from_utf8(&out[..written]).expect("text");
    (text.into(), connection)
}

fn has(head: &str, field: &str) -> bool {
    head.contains(&format!("\r\n{field}\r\n"))
}

#[test]
fn a_name_is_known() {
    // What tests below write in fields is what the machine looks for.
    assert_eq!(
        FieldName::of(b"Transfer-Encoding"),
        Some(FieldName::TransferEncoding)
    );
}
