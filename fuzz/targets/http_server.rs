//! A server's connection over any octets in any pieces, with an application that reads bodies or does not: what it sees and what it
//! answers is that of the whole, the connection always ends, and nothing comes behind what was rejected.

#![no_main]

use libfuzzer_sys::fuzz_target;
use mirage_core::Instant;
use mirage_http::Status;
use mirage_http::body::{BodyLimits, BodyStep};
use mirage_http::field::FieldSlot;
use mirage_http::head::HeadLimits;
use mirage_http::server::{
    ContentLength, Limits, Rejection, Server, ServerConnection, ServerEvent,
};

const LIMITS: Limits = Limits {
    head: HeadLimits {
        head: 512,
        target: 128,
    },
    body: BodyLimits {
        content: 512,
        chunk_extensions: 32,
        trailers: 128,
    },
    requests: 16,
    drain: 64,
    ..Limits::DEFAULT
};

fuzz_target!(|input: &[u8]| {
    let Some(([piece, flags], octets)) = input.split_first_chunk::<2>() else {
        return;
    };
    let reads = flags & 1 == 0;
    let whole = serve(octets, usize::MAX, reads);
    assert_eq!(serve(octets, usize::from(*piece), reads), whole);
});

/// What became of a request: its head and body, or why it was rejected.
type Seen = Result<(Vec<u8>, Vec<u8>), Rejection>;

fn serve(octets: &[u8], piece: usize, reads: bool) -> Vec<Seen> {
    let (server, now) = (Server::new(LIMITS), Instant::ZERO);
    let mut connection = server.connect(now);
    let mut seen: Vec<Seen> = Vec::new();
    let (mut slots, mut out) = ([FieldSlot::EMPTY; 16], [0; 256]);
    let (mut start, mut end) = (0, 0);
    loop {
        let status = match connection.handle_input(&octets[start..end], &mut slots, now) {
            ServerEvent::NeedInput => {
                more(&mut connection, octets, &mut end, piece);
                continue;
            }
            ServerEvent::Discard(length) => {
                assert!(length > 0 && start + length <= end);
                start += length;
                continue;
            }
            ServerEvent::Request { head, length, .. } => {
                assert!(start + length <= end);
                assert!(octets[start..start + length].ends_with(b"\r\n\r\n"));
                let _ = (head.host(), head.parse_target().expect("it was checked"));
                seen.push(Ok((octets[start..start + length].to_vec(), Vec::new())));
                start += length;
                Status::OK
            }
            ServerEvent::Rejected(rejection) => {
                seen.push(Err(rejection));
                rejection.status()
            }
            ServerEvent::Busy => panic!("each request is answered"),
            ServerEvent::Ended(_) => {
                let rejected = seen.iter().position(Result::is_err);
                assert!(rejected.is_none_or(|at| at + 1 == seen.len()), "{seen:?}");
                assert!(seen.len() <= LIMITS.requests as usize + 1);
                return seen;
            }
        };
        let mut status = status;
        if reads && seen.last().is_some_and(Result::is_ok) {
            match read(&mut connection, octets, &mut start, &mut end, piece) {
                Ok(body) => {
                    if let Some(Ok((_, place))) = seen.last_mut() {
                        *place = body;
                    }
                }
                Err(rejection) => {
                    status = rejection.status();
                    seen.push(Err(rejection));
                }
            }
        }
        let response = connection
            .respond(&mut out, status)
            .expect("a request waits");
        response.finish(ContentLength::Known(0), now).expect("room");
    }
}

fn more(connection: &mut ServerConnection<'_>, octets: &[u8], end: &mut usize, piece: usize) {
    match *end == octets.len() {
        true => connection.handle_end(),
        false => *end = end.saturating_add(piece.max(1)).min(octets.len()),
    }
}

fn read(
    connection: &mut ServerConnection<'_>,
    octets: &[u8],
    start: &mut usize,
    end: &mut usize,
    piece: usize,
) -> Result<Vec<u8>, Rejection> {
    let mut body = Vec::new();
    let mut slots = [FieldSlot::EMPTY; 4];
    loop {
        let (skip, step) =
            connection.handle_body(&octets[*start..*end], &mut slots, Instant::ZERO)?;
        *start += skip;
        match step {
            BodyStep::Content(length) => {
                body.extend_from_slice(&octets[*start..*start + length]);
                *start += length;
                connection.consume_body(length);
            }
            BodyStep::Trailers(length) => {
                *start += length;
                connection.consume_body(length);
            }
            BodyStep::NeedInput => more(connection, octets, end, piece),
            BodyStep::Complete => return Ok(body),
        }
    }
}
