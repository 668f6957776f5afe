//! Heads of requests, of responses and trailers, of any octets in any pieces: the outcome is that of the whole, each part of a head
//! lies in it, and a head that is written anew from what was read is read the same.

#![no_main]

use libfuzzer_sys::fuzz_target;
use mirage_http::field::{FieldName, FieldSlot};
use mirage_http::head::{HeadError, HeadLimits, HeadParser, HeadWriter};
use mirage_http::target::Target;

const LIMITS: HeadLimits = HeadLimits {
    head: 1_024,
    target: 256,
};

fuzz_target!(|input: &[u8]| {
    let Some((piece, octets)) = input.split_first() else {
        return;
    };
    for parser in [
        HeadParser::request(),
        HeadParser::response(),
        HeadParser::trailers(),
    ] {
        let mut slots = [FieldSlot::EMPTY; 16];
        let mut whole = parser.clone();
        let outcome = whole.parse(octets, &mut slots, &LIMITS);
        assert_eq!(
            in_pieces(parser, octets, usize::from(*piece)),
            outcome,
            "in pieces of {piece}"
        );
        if let Ok(Some(length)) = outcome {
            check(&whole, octets, &slots, length);
        }
    }
});

fn in_pieces(
    mut parser: HeadParser,
    octets: &[u8],
    piece: usize,
) -> Result<Option<usize>, HeadError> {
    let mut slots = [FieldSlot::EMPTY; 16];
    let mut end = 0;
    while end < octets.len() {
        end = (end + piece.max(1)).min(octets.len());
        let outcome = parser.parse(&octets[..end], &mut slots, &LIMITS)?;
        if outcome.is_some() {
            return Ok(outcome);
        }
    }
    parser.parse(octets, &mut slots, &LIMITS)
}

fn check(parser: &HeadParser, octets: &[u8], slots: &[FieldSlot], length: usize) {
    assert!(length <= octets.len().min(LIMITS.head));
    assert!(octets[..length].ends_with(b"\r\n"));
    let fields = parser.fields(octets, slots).expect("the head is whole");
    for field in fields.iter() {
        assert!(!field.name().is_empty());
        let value = field.value();
        assert!(
            !value
                .iter()
                .any(|octet| *octet < 0x20 && *octet != b'\t' || *octet == 0x7f)
        );
        assert!(
            !value
                .first()
                .is_some_and(|octet| matches!(octet, b' ' | b'\t'))
        );
        assert!(
            !value
                .last()
                .is_some_and(|octet| matches!(octet, b' ' | b'\t'))
        );
        if let Some(name) = FieldName::of(field.name().as_bytes()) {
            assert!(fields.has(name));
            assert!(fields.all(name).any(|other| other == value));
        }
    }
    let mut room = [0; 4_096];
    let writer = if let Some(head) = parser.request_head(octets, slots) {
        let _ = head.framing();
        if let Ok(target) = head.parse_target() {
            check_target(&target);
        }
        HeadWriter::request(&mut room, head.method(), head.target(), head.version())
    } else if let Some(head) = parser.response_head(octets, slots) {
        HeadWriter::response(&mut room, head.status())
    } else {
        HeadWriter::trailers(&mut room)
    };
    let mut writer = writer;
    for field in fields.iter() {
        writer.field(field.name(), field.value());
    }
    let length = writer.finish().expect("what was read can be written");
    let mut again = if parser.request_head(octets, slots).is_some() {
        HeadParser::request()
    } else if parser.response_head(octets, slots).is_some() {
        HeadParser::response()
    } else {
        HeadParser::trailers()
    };
    let mut slots = [FieldSlot::EMPTY; 16];
    let limits = HeadLimits {
        head: room.len(),
        target: room.len(),
    };
    let octets = &room[..length];
    assert_eq!(again.parse(octets, &mut slots, &limits), Ok(Some(length)));
    let second = again.fields(octets, &slots).expect("the head is whole");
    assert!(fields.iter().eq(second.iter()));
}

fn check_target(target: &Target<'_>) {
    let mut room = [0; 256];
    if let Ok(path) = target.path(&mut room) {
        assert!(path.as_str().starts_with('/'));
        assert!(
            path.segments()
                .all(|segment| segment != ".." && segment != ".")
        );
        assert!(!path.as_str().bytes().any(|octet| octet < 0x20));
        let slashes = |text: &str| text.bytes().filter(|octet| *octet == b'/').count();
        assert_eq!(slashes(path.as_str()), slashes(target.raw_path()));
    }
}
