//! DNS messages in a stream, cut anywhere: what comes out is what went in, whatever the pieces; and a stream of any octets
//! never stalls.

#![no_main]

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use mirage_dns::tcp::{FrameReader, LENGTH_PREFIX, length_prefix};

#[derive(Arbitrary, Debug)]
struct Input {
    capacity: u16,
    pieces: Vec<u8>,
    messages: Vec<Vec<u8>>,
    tail: Vec<u8>,
}

fuzz_target!(|input: Input| {
    let capacity = usize::from(input.capacity) + LENGTH_PREFIX + 1;
    let mut stream = Vec::new();
    for message in &input.messages {
        let Some(prefix) = length_prefix(message.len()) else {
            return;
        };
        stream.extend_from_slice(&prefix);
        stream.extend_from_slice(message);
    }
    stream.extend_from_slice(&input.tail);
    let mut buffer = vec![0; capacity];
    let mut frames = FrameReader::new(&mut buffer);
    let mut got = Vec::new();
    let mut rest = &stream[..];
    let mut pieces = input.pieces.iter().cycle();
    let mut failed = false;
    while !rest.is_empty() && !failed {
        let piece = usize::from(*pieces.next().unwrap_or(&1))
            .max(1)
            .min(rest.len());
        let taken = frames.handle(&rest[..piece]);
        assert!(taken > 0, "a stream that is read to its end always goes on");
        rest = &rest[taken..];
        loop {
            match frames.message() {
                Ok(Some(message)) => got.push(message.to_vec()),
                Ok(None) => break,
                Err(_) => {
                    failed = true;
                    break;
                }
            }
            frames.consume();
        }
    }
    // All that fit into the buffer, up to the first that does not; an empty message ends a stream too.
    let fit = input
        .messages
        .iter()
        .take_while(|message| !message.is_empty() && message.len() + LENGTH_PREFIX <= capacity)
        .count();
    assert!(got.len() >= fit, "{} of {fit} messages", got.len());
    assert_eq!(got[..fit], input.messages[..fit]);
    if fit < input.messages.len() {
        assert!(
            failed && got.len() == fit,
            "nothing comes after a message that does not fit"
        );
    } else if input.tail.is_empty() {
        assert!(frames.is_between_messages(), "the stream ended cleanly");
    }
});
