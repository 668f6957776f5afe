//! A client's connection over any octets in any pieces: the responses are those of the whole, and it always ends.

#![no_main]

use libfuzzer_sys::fuzz_target;
use mirage_core::Instant;
use mirage_http::Method;
use mirage_http::body::{BodyLimits, BodyStep};
use mirage_http::client::{
    ClientConnection, ClientError, ClientEvent, ClientLimits, RequestContent,
};
use mirage_http::field::FieldSlot;
use mirage_http::head::HeadLimits;

const LIMITS: ClientLimits = ClientLimits {
    head: HeadLimits {
        head: 512,
        target: 0,
    },
    body: BodyLimits {
        content: 512,
        chunk_extensions: 32,
        trailers: 128,
    },
    ..ClientLimits::DEFAULT
};

fuzz_target!(|input: &[u8]| {
    let Some(([piece, methods], octets)) = input.split_first_chunk::<2>() else {
        return;
    };
    let whole = fetch(*methods, octets, usize::MAX);
    assert_eq!(fetch(*methods, octets, usize::from(*piece)), whole);
});

/// The status and body of each response, and what ended the connection.
fn fetch(methods: u8, octets: &[u8], piece: usize) -> (Vec<(u16, Vec<u8>)>, Option<ClientError>) {
    let now = Instant::ZERO;
    let mut connection = ClientConnection::new(&LIMITS);
    // Three requests that wait, of GET or HEAD each.
    for number in 0..3 {
        let method = match methods >> number & 1 {
            0 => Method::Get,
            _ => Method::Head,
        };
        let mut out = [0; 64];
        let request = connection
            .request(&mut out, method, "/", "x")
            .expect("it may be sent");
        request.finish(RequestContent::None, now).expect("room");
    }
    let mut responses = Vec::new();
    let error = read(&mut connection, octets, piece, &mut responses).err();
    assert!(responses.len() <= 3);
    (responses, error)
}

fn read(
    connection: &mut ClientConnection<'_>,
    octets: &[u8],
    piece: usize,
    responses: &mut Vec<(u16, Vec<u8>)>,
) -> Result<(), ClientError> {
    let now = Instant::ZERO;
    let mut slots = [FieldSlot::EMPTY; 16];
    let (mut start, mut end) = (0, 0);
    loop {
        match connection.handle_input(&octets[start..end], &mut slots, now)? {
            ClientEvent::NeedInput if end == octets.len() => match connection.unanswered() {
                0 => return Ok(()),
                _ => connection.handle_end(),
            },
            ClientEvent::NeedInput => end = end.saturating_add(piece.max(1)).min(octets.len()),
            ClientEvent::Informational { length, .. } => start += length,
            ClientEvent::Response { head, length, .. } => {
                start += length;
                responses.push((head.status().code(), Vec::new()));
            }
            ClientEvent::Ended => return Ok(()),
            ClientEvent::Busy => {
                let (skip, step) = connection.handle_body(&octets[start..end], &mut slots, now)?;
                start += skip;
                match step {
                    BodyStep::Content(length) => {
                        let content = &octets[start..start + length];
                        if let Some((_, body)) = responses.last_mut() {
                            body.extend_from_slice(content);
                        }
                        start += length;
                        connection.consume_body(length, now);
                    }
                    BodyStep::Trailers(length) => {
                        start += length;
                        connection.consume_body(length, now);
                    }
                    BodyStep::NeedInput if end == octets.len() => connection.handle_end(),
                    BodyStep::NeedInput => {
                        end = end.saturating_add(piece.max(1)).min(octets.len());
                    }
                    BodyStep::Complete => {}
                }
            }
        }
    }
}
