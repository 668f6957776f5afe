use std::vec::Vec;

use proptest::prelude::*;

use super::*;

/// What a body is, and what is left behind it; `None` while it is not complete.
type Outcome = Result<Option<(Vec<u8>, Vec<u8>)>, ChunkError>;

/// Decodes a body in pieces.
fn decode(pieces: &[&[u8]]) -> Outcome {
    let mut decoder = ChunkDecoder::new(64);
    let (mut input, mut data) = (Vec::new(), Vec::new());
    for piece in pieces {
        input.extend_from_slice(piece);
        loop {
            let (skip, step) = decoder.next(&input)?;
            input.drain(..skip);
            match step {
                ChunkStep::Data(length) => {
                    assert!(length > 0 && length <= input.len());
                    data.extend(input.drain(..length));
                    decoder.consume(length);
                }
                ChunkStep::NeedInput => {
                    assert!(input.is_empty(), "what is not wanted yet stays");
                    break;
                }
                ChunkStep::Trailers => break,
            }
        }
    }
    Ok(decoder.is_complete().then_some((data, input)))
}

fn decoded(body: &str) -> Outcome {
    let whole = decode(&[body.as_bytes()]);
    let octets: Vec<&[u8]> = body.as_bytes().chunks(1).collect();
    assert_eq!(decode(&octets), whole, "{body:?} in single octets");
    whole
}

fn complete(data: &str, rest: &str) -> Outcome {
    Ok(Some((data.into(), rest.into())))
}

#[test]
fn chunks_are_data() {
    assert_eq!(
        decoded("5\r\nhello\r\n0\r\n\r\n"),
        complete("hello", "\r\n")
    );
    assert_eq!(decoded("0\r\nA: b\r\n\r\nx"), complete("", "A: b\r\n\r\nx"));
    assert_eq!(
        decoded("1\r\na\r\n0000000000000003\r\nbcd\r\n00\r\n"),
        complete("abcd", "")
    );
    assert_eq!(
        decoded("B\r\n01234567890\r\n0\r\n"),
        complete("01234567890", "")
    );
    assert_eq!(
        decoded("b\r\n01234567890\r\n0\r\n"),
        complete("01234567890", "")
    );
}

#[test]
fn a_chunk_that_is_not_whole_is_waited_for() {
    let body = "5;a=b\r\nhello\r\n0\r\n";
    for end in 0..body.len() {
        assert_eq!(decoded(&body[..end]), Ok(None), "{end}");
    }
}

#[test]
fn chunk_size_overflow() {
    for size in [
        "10000000000000005",
        "00000000000000005",
        "FFFFFFFFFFFFFFFFF",
        "fffffffffffffffffffffffff",
    ] {
        let body = std::format!("{size}\r\nhello\r\n0\r\n");
        assert_eq!(decoded(&body), Err(ChunkError::SizeOverflow), "{size}");
    }
    // The largest there is does not end, and overflows nothing.
    assert_eq!(decoded("FFFFFFFFFFFFFFFF\r\nhello\r\n0\r\n"), Ok(None));
}

#[test]
fn chunk_size_with_sign_prefix_or_blank() {
    for size in [
        "+5", "-5", "0x5", "5h", "5_0", " 5", "\t5", "5 ", "5\t ", "", "5,5", "5.", "\u{b}5",
        "5\u{c}", "\u{ff15}",
    ] {
        let body = std::format!("{size}\r\nhello\r\n0\r\n");
        assert_eq!(decoded(&body), Err(ChunkError::Size), "{size:?}");
    }
}

#[test]
fn chunk_data_longer_or_shorter_than_its_size() {
    assert_eq!(decoded("5\r\nhelloX\r\n0\r\n"), Err(ChunkError::End));
    assert_eq!(decoded("7\r\nhello\r\n0\r\n"), Err(ChunkError::End));
    assert_eq!(decoded("5\r\nhello0\r\n"), Err(ChunkError::End));
    // Two octets that are skipped whatever they are would let a front end and a back end disagree.
    assert_eq!(decoded("5\r\nhelloXX0\r\n"), Err(ChunkError::End));
}

#[test]
fn bare_line_feed_or_return_in_chunked_coding() {
    for body in [
        "5\nhello\r\n0\r\n",
        "5\r\nhello\n0\r\n",
        "5;a\nhello\r\n0\r\n",
        "5\r\nhello\r\n0\n",
        "5 \nhello",
        "\n5\r\nhello",
    ] {
        assert_eq!(decoded(body), Err(ChunkError::BareLineFeed), "{body:?}");
    }
    for body in [
        "5\rXhello\r\n0\r\n",
        "5\r\nhello\rX0\r\n",
        "5;a\rb\r\nhello\r\n",
        "5\r\rhello",
        "5\r\nhello\r\r\n0\r\n",
    ] {
        assert_eq!(
            decoded(body),
            Err(ChunkError::BareCarriageReturn),
            "{body:?}"
        );
    }
}

#[test]
fn chunk_extensions_are_left_out() {
    for extension in [
        ";",
        ";a",
        ";a=b",
        ";a=\"b;c\"",
        " ;a",
        " \t; a = b",
        ";a;b=\"\u{e4}\"",
    ] {
        let body = std::format!("5{extension}\r\nhello\r\n0{extension}\r\n");
        assert_eq!(decoded(&body), complete("hello", ""), "{extension:?}");
    }
}

#[test]
fn chunk_extensions_are_bounded_over_all_chunks() {
    let body = |extension: &str, chunks: usize| {
        let mut body = std::format!("1;{extension}\r\nx\r\n").repeat(chunks);
        body.push_str("0\r\n");
        body
    };
    assert!(matches!(decoded(&body(&"a".repeat(64), 1)), Ok(Some(_))));
    assert!(matches!(decoded(&body("abcdefgh", 8)), Ok(Some(_))));
    for body in [
        body(&"a".repeat(65), 1),
        body("abcdefgh", 9),
        std::format!("1{}", " ".repeat(65)),
    ] {
        assert_eq!(decoded(&body), Err(ChunkError::TooManyExtensions));
    }
}

#[test]
fn controls_in_chunk_extensions() {
    for octet in (0..0x20u8).chain([0x7f]) {
        let body = [b"5;a", &[octet][..], b"b\r\nhello\r\n0\r\n"].concat();
        let expected = match octet {
            b'\t' => continue,
            b'\n' => ChunkError::BareLineFeed,
            b'\r' => ChunkError::BareCarriageReturn,
            _ => ChunkError::Extension,
        };
        assert_eq!(decode(&[&body]), Err(expected), "{octet}");
    }
}

#[test]
fn sizes_are_written_without_zeros_before_them() {
    for (size, head) in [
        (1, "1\r\n"),
        (15, "f\r\n"),
        (16, "10\r\n"),
        (0xabcdef, "abcdef\r\n"),
        (u64::MAX, "ffffffffffffffff\r\n"),
    ] {
        assert_eq!(&ChunkHead::new(size).unwrap()[..], head.as_bytes());
    }
    assert!(ChunkHead::new(0).is_none());
}

proptest! {
    #[test]
    fn what_was_written_is_read_whatever_the_pieces(
        chunks in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..300), 0..8),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..20),
    ) {
        let mut body = Vec::new();
        for chunk in &chunks {
            body.extend_from_slice(&ChunkHead::new(chunk.len() as u64).unwrap());
            body.extend_from_slice(chunk);
            body.extend_from_slice(CHUNK_END);
        }
        body.extend_from_slice(LAST_CHUNK);
        body.extend_from_slice(CHUNK_END);
        let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(body.len())).collect();
        cuts.extend([0, body.len()]);
        cuts.sort();
        let pieces: Vec<&[u8]> = cuts.windows(2).map(|ends| &body[ends[0]..ends[1]]).collect();
        prop_assert_eq!(decode(&pieces), Ok(Some((chunks.concat(), b"\r\n".to_vec()))));
    }

    #[test]
    fn any_octets_in_any_pieces_give_the_same(
        body in "[0-9a-f+;x \r\n]{0,40}|[0-3]\r\n[ab]{0,3}\r\n[0-3 ;]{1,3}\r\n[ab]{0,3}\r\n0\r\n",
        cut in any::<prop::sample::Index>(),
    ) {
        let whole = decoded(&body);
        let cut = cut.index(body.len() + 1);
        prop_assert_eq!(decode(&[&body.as_bytes()[..cut], &body.as_bytes()[cut..]]), whole);
    }
}
