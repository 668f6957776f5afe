//! Chunked bodies of any octets in any pieces: the content is that of the whole, no more of it than came, and what was written as
//! chunks is read as it was.

#![no_main]

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use mirage_http::body::{BodyError, BodyLimits, BodyReader, BodyStep};
use mirage_http::chunked::{CHUNK_END, ChunkHead, LAST_CHUNK};
use mirage_http::field::FieldSlot;
use mirage_http::framing::Framing;

const LIMITS: BodyLimits = BodyLimits {
    content: 2_048,
    chunk_extensions: 64,
    trailers: 256,
};

#[derive(Arbitrary, Debug)]
struct Input<'a> {
    piece: u8,
    octets: &'a [u8],
    chunks: Vec<&'a [u8]>,
}

fuzz_target!(|input: Input<'_>| {
    let whole = read(input.octets, usize::MAX);
    assert_eq!(read(input.octets, usize::from(input.piece)), whole);

    let mut written = Vec::new();
    for chunk in &input.chunks {
        let Some(head) = ChunkHead::new(chunk.len() as u64) else {
            continue;
        };
        written.extend_from_slice(&head);
        written.extend_from_slice(chunk);
        written.extend_from_slice(CHUNK_END);
    }
    written.extend_from_slice(LAST_CHUNK);
    written.extend_from_slice(CHUNK_END);
    let content = input.chunks.concat();
    let expected = match content.len() as u64 > LIMITS.content {
        true => Err(BodyError::TooLarge),
        false => Ok((content, 0)),
    };
    assert_eq!(read(&written, usize::from(input.piece)), expected);
});

/// The content, and how many octets are left behind the body.
fn read(octets: &[u8], piece: usize) -> Result<(Vec<u8>, usize), BodyError> {
    let mut reader = BodyReader::new(Framing::Chunked, &LIMITS)?;
    let mut slots = [FieldSlot::EMPTY; 4];
    let mut content = Vec::new();
    let (mut start, mut end) = (0, 0);
    loop {
        let (skip, step) = reader.next(&octets[start..end], &mut slots)?;
        start += skip;
        assert!(start <= end);
        match step {
            BodyStep::Content(length) => {
                assert!(length > 0 && start + length <= end);
                content.extend_from_slice(&octets[start..start + length]);
                start += length;
                reader.consume(length);
            }
            BodyStep::Trailers(length) => {
                let fields = reader.trailers(&octets[start..end], &slots);
                assert!(fields.is_some_and(|fields| !fields.is_empty()));
                start += length;
                assert!(start <= end);
                reader.consume(length);
            }
            BodyStep::NeedInput if end == octets.len() => {
                reader.handle_end()?;
                panic!("a chunked body does not end with the stream");
            }
            BodyStep::NeedInput => end = end.saturating_add(piece.max(1)).min(octets.len()),
            BodyStep::Complete => {
                assert_eq!(reader.taken(), content.len() as u64);
                return Ok((content, octets.len() - start));
            }
        }
    }
}
