use std::format;
use std::string::String;
use std::vec::Vec;

use proptest::prelude::*;

use super::*;
use crate::field::FieldSlot;

const SLOTS: usize = 8;

const LIMITS: HeadLimits = HeadLimits {
    head: 400,
    target: 100,
};

/// A head as text, for comparisons: method, target, version, fields, and its length.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Read {
    start: String,
    fields: Vec<(String, String)>,
    length: usize,
}

fn latin(octets: &[u8]) -> String {
    octets.iter().map(|octet| char::from(*octet)).collect()
}

fn read_fields(fields: Fields<'_>) -> Vec<(String, String)> {
    fields
        .iter()
        .map(|field| (field.name().into(), latin(field.value())))
        .collect()
}

/// What comes of octets that come in pieces, the ends of which are given.
fn parse_pieces(
    mut parser: HeadParser,
    octets: &[u8],
    ends: impl IntoIterator<Item = usize>,
) -> Result<Option<Read>, HeadError> {
    let mut slots = [FieldSlot::EMPTY; SLOTS];
    for end in ends.into_iter().chain([octets.len()]) {
        let there = &octets[..end];
        let Some(length) = parser.parse(there, &mut slots, &LIMITS)? else {
            continue;
        };
        assert!(length <= there.len());
        if let Some(head) = parser.request_head(there, &slots) {
            let (method, target) = (head.method(), head.target());
            return Ok(Some(Read {
                start: format!("{method} {target} {}", head.version()),
                fields: read_fields(head.fields()),
                length,
            }));
        }
        let head = parser.response_head(there, &slots).unwrap();
        return Ok(Some(Read {
            start: format!(
                "{} {} {}",
                head.version(),
                head.status().code(),
                latin(head.reason())
            ),
            fields: read_fields(head.fields()),
            length,
        }));
    }
    Ok(None)
}

fn parse(parser: HeadParser, octets: &[u8]) -> Result<Option<Read>, HeadError> {
    let whole = parse_pieces(parser.clone(), octets, []);
    let single = parse_pieces(parser, octets, 0..octets.len());
    assert_eq!(single, whole, "in single octets: {:?}", latin(octets));
    whole
}

fn request(text: &str) -> Result<Option<Read>, HeadError> {
    parse(HeadParser::request(), text.as_bytes())
}

fn response(text: &str) -> Result<Option<Read>, HeadError> {
    parse(HeadParser::response(), text.as_bytes())
}

fn ok(start: &str, fields: &[(&str, &str)], length: usize) -> Result<Option<Read>, HeadError> {
    Ok(Some(Read {
        start: start.into(),
        fields: fields
            .iter()
            .map(|(name, value)| ((*name).into(), (*value).into()))
            .collect(),
        length,
    }))
}

/// With a field line in an otherwise good head.
fn with_line(line: &str) -> Result<Option<Read>, HeadError> {
    request(&format!("GET / HTTP/1.1\r\nA: b\r\n{line}\r\n\r\n"))
}

#[test]
fn a_request_is_read() {
    let text = "GET /a?b HTTP/1.1\r\nHost: x\r\nEmpty:\r\nBlanks: \t a \t b\t \r\n\r\nbody";
    let fields = [("Host", "x"), ("Empty", ""), ("Blanks", "a \t b")];
    assert_eq!(
        request(text),
        ok("GET /a?b HTTP/1.1", &fields, text.len() - 4)
    );
    assert_eq!(
        request("PURGE * HTTP/1.0\r\n\r\n"),
        ok("PURGE * HTTP/1.0", &[], 20)
    );
    let octets = b"GET / HTTP/1.1\r\nA: \xe4\xff\r\n\r\n";
    let read = parse(HeadParser::request(), octets).unwrap().unwrap();
    assert_eq!(read.fields, [("A".into(), "\u{e4}\u{ff}".into())]);
}

#[test]
fn a_head_that_is_not_whole_is_waited_for() {
    let text = "\r\nGET /a HTTP/1.1\r\nHost: x\r\nA: b\r\n\r\n";
    for end in 0..text.len() {
        assert_eq!(request(&text[..end]), Ok(None), "{end}");
    }
    assert_eq!(
        request(text),
        ok("GET /a HTTP/1.1", &[("Host", "x"), ("A", "b")], text.len())
    );
    let text = "HTTP/1.1 200 All Right\r\nA: b\r\n\r\n";
    for end in 0..text.len() {
        assert_eq!(response(&text[..end]), Ok(None), "{end}");
    }
}

#[test]
fn one_empty_line_before_a_request_is_left_out_and_no_more() {
    assert!(request("\r\nGET / HTTP/1.1\r\n\r\n").unwrap().is_some());
    assert_eq!(
        request("\r\n\r\nGET / HTTP/1.1\r\n\r\n"),
        Err(HeadError::Method)
    );
    assert_eq!(request("\nGET / HTTP/1.1\r\n\r\n"), Err(HeadError::Method));
    assert_eq!(
        request("\rGET / HTTP/1.1\r\n\r\n"),
        Err(HeadError::BareCarriageReturn)
    );
}

#[test]
fn method_is_a_token_before_one_space() {
    for text in [
        " / HTTP/1.1\r\n\r\n",
        "G(T / HTTP/1.1",
        "GET\t/ HTTP/1.1",
        "GET\r\n",
        "G\u{e4}T / ",
        "\0",
    ] {
        assert_eq!(request(text), Err(HeadError::Method), "{text:?}");
    }
    let long = "A".repeat(33);
    assert_eq!(request(&long), Err(HeadError::MethodTooLong));
    assert!(
        request(&format!("{} / HTTP/1.1\r\n\r\n", &long[1..]))
            .unwrap()
            .is_some()
    );
}

#[test]
fn whitespace_in_the_request_line() {
    // RFC 9112 §3.2: no whitespace in a target; a lenient split at blanks is how two servers see two targets.
    for text in [
        "GET  / HTTP/1.1\r\n\r\n",
        "GET \t/ HTTP/1.1\r\n\r\n",
        "GET /\tHTTP/1.1\r\n\r\n",
        "GET /\u{b}HTTP/1.1\r\n\r\n",
        "GET /a\0b HTTP/1.1\r\n\r\n",
        "GET /a#b HTTP/1.1\r\n\r\n",
        "GET /\u{e4} HTTP/1.1\r\n\r\n",
        "GET /\u{7f} HTTP/1.1\r\n\r\n",
        "GET /\n HTTP/1.1\r\n\r\n",
    ] {
        assert_eq!(request(text), Err(HeadError::Target), "{text:?}");
    }
    for text in [
        "GET / a HTTP/1.1\r\n\r\n",
        "GET /  HTTP/1.1\r\n\r\n",
        "GET / HTTP/1.1 \r\n\r\n",
        "GET / HTTP/1.1\t\r\n\r\n",
    ] {
        assert_eq!(request(text), Err(HeadError::Version), "{text:?}");
    }
}

#[test]
fn invalid_versions() {
    for version in [
        "http/1.1",
        "HTTP/1",
        "HTTP/1.",
        "HTTP/.1",
        "HTTP/1,1",
        "HTTP /1.1",
        "HTTP/ 1.1",
        "HTTP/1.1.1",
        "HTTP/01.1",
        "HTTP/1.10",
        "HTTP/11.1",
        "HTTP/+1.1",
        "HTTP/1.-1",
        "HTTP/#.#",
        "XTTP/1.1",
        "",
        "HTTP/1.x",
        "ICY",
    ] {
        let text = format!("GET / {version}\r\n\r\n");
        assert_eq!(request(&text), Err(HeadError::Version), "{text:?}");
    }
    for version in ["HTTP/0.9", "HTTP/2.0", "HTTP/3.1", "HTTP/9.9"] {
        let text = format!("GET / {version}\r\n\r\n");
        assert_eq!(
            request(&text),
            Err(HeadError::UnsupportedVersion),
            "{text:?}"
        );
        assert_eq!(HeadError::UnsupportedVersion.status().code(), 505);
    }
    // HTTP/0.9 has no version at all.
    assert_eq!(request("GET /\r\n"), Err(HeadError::Version));
    // HTTP/2's preface.
    assert_eq!(
        request("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
        Err(HeadError::UnsupportedVersion)
    );
    // A higher minor version is read as the highest that is known (RFC 9110 §2.5).
    assert_eq!(
        request("GET / HTTP/1.9\r\n\r\n"),
        ok("GET / HTTP/1.1", &[], 18)
    );
}

#[test]
fn bare_carriage_return() {
    for line in [
        "A: b\rC: d",
        "A: b\r",
        "A: \rb",
        "\rA: b",
        "A: b\r\rC: d",
        "A: b\r C: d",
    ] {
        assert_eq!(
            with_line(line),
            Err(HeadError::BareCarriageReturn),
            "{line:?}"
        );
    }
    assert_eq!(
        request("GET / HTTP/1.1\rA: b\r\n\r\n"),
        Err(HeadError::BareCarriageReturn)
    );
    assert_eq!(with_line("A\r: b"), Err(HeadError::FieldName));
}

#[test]
fn bare_line_feed() {
    for line in [
        "A: b\nC: d",
        "A: b\n",
        "A: \nb",
        "\nA: b",
        "A\n: b",
        "A: b\n\n",
    ] {
        assert_eq!(with_line(line), Err(HeadError::BareLineFeed), "{line:?}");
    }
    assert_eq!(
        request("GET / HTTP/1.1\nA: b\r\n\r\n"),
        Err(HeadError::BareLineFeed)
    );
    assert_eq!(
        request("GET / HTTP/1.1\r\nA: b\r\n\n"),
        Err(HeadError::BareLineFeed)
    );
}

#[test]
fn obs_fold() {
    for line in [
        " b",
        "\tb",
        " ",
        "\t",
        " C: d",
        " \tTransfer-Encoding: chunked",
    ] {
        assert_eq!(with_line(line), Err(HeadError::FoldedLine), "{line:?}");
    }
}

#[test]
fn whitespace_before_the_first_field() {
    for blank in [" ", "\t"] {
        let text = format!("GET / HTTP/1.1\r\n{blank}Host: x\r\n\r\n");
        assert_eq!(request(&text), Err(HeadError::BlankBeforeFields));
    }
}

#[test]
fn whitespace_before_the_colon() {
    for line in [
        "Content-Length : 5",
        "Transfer-Encoding\t: chunked",
        "A : b",
        "A b: c",
        "A ",
    ] {
        assert_eq!(
            with_line(line),
            Err(HeadError::BlankBeforeColon),
            "{line:?}"
        );
    }
}

#[test]
fn header_name_characters() {
    for octet in 0..=255u8 {
        let line = [b"GET / HTTP/1.1\r\nx", &[octet][..], b"y: z\r\n\r\n"].concat();
        let result = parse(HeadParser::request(), &line);
        let expected = match octet {
            b' ' | b'\t' => Err(HeadError::BlankBeforeColon),
            b'\n' => Err(HeadError::BareLineFeed),
            b':' => {
                assert_eq!(
                    result.unwrap().unwrap().fields,
                    [("x".into(), "y: z".into())]
                );
                continue;
            }
            octet if crate::scan::is_token(octet) => {
                assert!(result.unwrap().is_some(), "{octet}");
                continue;
            }
            _ => Err(HeadError::FieldName),
        };
        assert_eq!(result, expected, "{octet}");
    }
    for line in [": b", ":", "A", "A;b", "(A): b"] {
        assert_eq!(with_line(line), Err(HeadError::FieldName), "{line:?}");
    }
}

#[test]
fn field_value_characters() {
    for octet in 0..=255u8 {
        let line = [b"GET / HTTP/1.1\r\nx: a", &[octet][..], b"b\r\n\r\n"].concat();
        let result = parse(HeadParser::request(), &line);
        match octet {
            b'\r' => assert_eq!(result, Err(HeadError::BareCarriageReturn)),
            b'\n' => assert_eq!(result, Err(HeadError::BareLineFeed)),
            octet if crate::scan::is_value(octet) => assert!(result.unwrap().is_some(), "{octet}"),
            _ => assert_eq!(result, Err(HeadError::FieldValue), "{octet}"),
        }
    }
}

#[test]
fn header_count_and_size_are_bounded() {
    let fields = |count: usize| format!("GET / HTTP/1.1\r\n{}\r\n", "a: b\r\n".repeat(count));
    assert!(request(&fields(SLOTS)).unwrap().is_some());
    assert_eq!(request(&fields(SLOTS + 1)), Err(HeadError::TooManyFields));
    let size = |length: usize| {
        let rest = "GET / HTTP/1.1\r\na: \r\n\r\n".len();
        format!("GET / HTTP/1.1\r\na: {}\r\n\r\n", "b".repeat(length - rest))
    };
    assert!(request(&size(LIMITS.head)).unwrap().is_some());
    assert_eq!(request(&size(LIMITS.head + 1)), Err(HeadError::TooLarge));
    assert_eq!(request(&size(100_000)), Err(HeadError::TooLarge));
    let target = |length: usize| format!("GET /{} HTTP/1.1\r\n\r\n", "a".repeat(length - 1));
    assert!(request(&target(LIMITS.target)).unwrap().is_some());
    assert_eq!(
        request(&target(LIMITS.target + 1)),
        Err(HeadError::TargetTooLong)
    );
    assert_eq!(request(&target(10_000)), Err(HeadError::TargetTooLong));
    assert_eq!(HeadError::TargetTooLong.status().code(), 414);
    let name = |length: usize| with_line(&format!("{}: b", "a".repeat(length)));
    assert!(name(255).unwrap().is_some());
    assert_eq!(name(256), Err(HeadError::FieldNameTooLong));
}

#[test]
fn a_head_that_never_ends_costs_its_octets_once() {
    // A parser that begins anew with each octet would look at 2⁴⁴ of them here.
    let limits = HeadLimits {
        head: usize::MAX,
        target: usize::MAX,
    };
    let octets = [b"GET / HTTP/1.1\r\na: ".as_slice(), &[b'b'; 1 << 16]].concat();
    let mut parser = HeadParser::request();
    let mut result = Ok(None);
    for end in 0..octets.len() {
        result = parser.parse(&octets[..end], &mut [FieldSlot::EMPTY; 2], &limits);
        if result != Ok(None) {
            assert_eq!(
                end,
                usize::from(u16::MAX),
                "offsets are of 16 bits, whatever the limit"
            );
            break;
        }
    }
    assert_eq!(result, Err(HeadError::TooLarge));
}

#[test]
fn status_lines() {
    assert_eq!(
        response("HTTP/1.1 200 All Right\r\nA: b\r\n\r\n"),
        ok("HTTP/1.1 200 All Right", &[("A", "b")], 32)
    );
    assert_eq!(
        response("HTTP/1.0 404 \r\n\r\n"),
        ok("HTTP/1.0 404 ", &[], 17)
    );
    assert_eq!(
        response("HTTP/1.1 599\r\n\r\n"),
        ok("HTTP/1.1 599 ", &[], 16)
    );
    for text in [
        "HTTP/1.1 20 OK\r\n\r\n",
        "HTTP/1.1 2000 OK\r\n\r\n",
        "HTTP/1.1  200 OK\r\n\r\n",
        "HTTP/1.1 +20 OK\r\n\r\n",
        "HTTP/1.1 099 Low\r\n\r\n",
        "HTTP/1.1 600 High\r\n\r\n",
        "HTTP/1.1 200\tOK\r\n\r\n",
        "HTTP/1.1 200 O\0K\r\n\r\n",
    ] {
        assert_eq!(response(text), Err(HeadError::StatusLine), "{text:?}");
    }
    for text in [
        "HTTP/1.1\t200 OK",
        "HTTP/1.1\r\n",
        "http/1.1 200 OK",
        "\r\nHTTP/1.1 200 OK",
    ] {
        assert_eq!(response(text), Err(HeadError::Version), "{text:?}");
    }
    assert_eq!(
        response("HTTP/2.0 200 OK\r\n\r\n"),
        Err(HeadError::UnsupportedVersion)
    );
    assert_eq!(
        response("HTTP/1.1 200 OK\n\r\n"),
        Err(HeadError::BareLineFeed)
    );
    assert_eq!(response("HTTP/1.1 200\n\r\n"), Err(HeadError::BareLineFeed));
    assert_eq!(
        response("HTTP/1.1 200 OK\rx\r\n"),
        Err(HeadError::BareCarriageReturn)
    );
}

#[test]
fn names_are_found_in_any_case() {
    let text =
        "GET / HTTP/1.1\r\nHOST: a\r\nx-Own: 1\r\naccept: b\r\nX-OWN: 2\r\nAccept: c, d\r\n\r\n";
    let (mut parser, mut slots) = (HeadParser::request(), [FieldSlot::EMPTY; SLOTS]);
    parser.parse(text.as_bytes(), &mut slots, &LIMITS).unwrap();
    let fields = parser.fields(text.as_bytes(), &slots).unwrap();
    assert_eq!(fields.get(FieldName::Host), Some(&b"a"[..]));
    assert_eq!(fields.single(FieldName::Accept), None);
    assert!(fields.is_repeated(FieldName::Accept) && !fields.is_repeated(FieldName::Host));
    assert!(fields.list(FieldName::Accept).eq([b"b", b"c", b"d"]));
    assert!(fields.by_name("x-own").eq([b"1", b"2"]));
    assert_eq!(fields.get(FieldName::Cookie), None);
    assert_eq!(fields.len(), 5);
}

#[test]
fn a_connection_is_persistent_or_not() {
    let persistent = |text: &str| {
        let text = format!("GET / HTTP/{text}\r\n\r\n");
        let (mut parser, mut slots) = (HeadParser::request(), [FieldSlot::EMPTY; SLOTS]);
        parser.parse(text.as_bytes(), &mut slots, &LIMITS).unwrap();
        parser
            .request_head(text.as_bytes(), &slots)
            .unwrap()
            .is_persistent()
    };
    for text in [
        "1.1",
        "1.1\r\nConnection: keep-alive",
        "1.1\r\nConnection: x",
        "1.0\r\nConnection: x, Keep-Alive",
    ] {
        assert!(persistent(text), "{text:?}");
    }
    for text in [
        "1.0",
        "1.0\r\nConnection: x",
        "1.1\r\nConnection: Close",
        "1.1\r\nConnection: keep-alive, close",
        "1.0\r\nConnection: keep-alive\r\nConnection: close",
    ] {
        assert!(!persistent(text), "{text:?}");
    }
}

#[test]
fn response_splitting() {
    let write = |name: &str, value: &[u8]| {
        let mut buffer = [0; 100];
        let mut head = HeadWriter::response(&mut buffer, Status::OK);
        head.field(name, value).field("a", b"b");
        head.finish()
    };
    for value in [&b"a\r\nb: c"[..], b"a\nb", b"a\rb", b"a\0b", b"\x7f"] {
        assert_eq!(
            write("location", value),
            Err(WriteError::FieldValue),
            "{value:?}"
        );
    }
    for name in ["", "a b", "a:", "a\r\nb", "\u{e4}", " a"] {
        assert_eq!(write(name, b"c"), Err(WriteError::FieldName), "{name:?}");
    }
    let mut buffer = [0; 100];
    let mut head = HeadWriter::response(&mut buffer, Status::OK);
    head.display(FieldName::Location, "/\r\nset-cookie: a");
    assert_eq!(head.finish(), Err(WriteError::FieldValue));
    for target in ["", "/ HTTP/1.1\r\nA: b", "/a b", "/#"] {
        let head = HeadWriter::request(&mut buffer, Method::Get, target, Version::Http11);
        assert_eq!(head.finish(), Err(WriteError::Target), "{target:?}");
    }
    let head = HeadWriter::request(&mut buffer, Method::Other("A B"), "/", Version::Http11);
    assert_eq!(head.finish(), Err(WriteError::Method));
}

#[test]
fn a_buffer_that_is_too_small_is_told() {
    let text = b"HTTP/1.1 507 \r\na: b\r\ncontent-length: 12\r\n\r\n";
    for room in 0..=text.len() {
        let mut buffer = std::vec![0; room];
        let mut head = HeadWriter::response(&mut buffer, Status::new(507).unwrap());
        head.field("a", b"b").number(FieldName::ContentLength, 12);
        match head.finish() {
            Ok(length) => assert_eq!(&buffer[..length], text),
            Err(error) => assert_eq!((error, room < text.len()), (WriteError::NoRoom, true)),
        }
    }
}

proptest! {
    #[test]
    fn arbitrary_pieces_give_the_same(
        octets in "(\r\n)?[A-Z]{0,3} {0,2}/[a-z#]{0,9} ?(HTTP/1.[01]|HTTP/2.0|HTT)?(\r\n|\n|\r)\
                   ([a-zA-Z-]{0,12}[: \t]{1,2}[a-z\t \u{0}\u{80}]{0,20}(\r\n|\n|\r)){0,10}(\r\n)?.{0,5}",
        ends in prop::collection::vec(any::<prop::sample::Index>(), 0..10),
    ) {
        let octets = octets.as_bytes();
        let mut ends: Vec<usize> = ends.iter().map(|end| end.index(octets.len() + 1)).collect();
        ends.sort();
        for parser in [HeadParser::request(), HeadParser::response()] {
            let whole = parse_pieces(parser.clone(), octets, []);
            prop_assert_eq!(parse_pieces(parser, octets, ends.clone()), whole);
        }
    }

    #[test]
    fn what_was_written_is_read(
        code in 100u16..600,
        fields in prop::collection::vec(("[a-zA-Z0-9!#$%&'*+.^_`|~-]{1,20}", "([!-~]([ -~\t]{0,20}[!-~])?)?"), 0..SLOTS),
    ) {
        let mut buffer = [0; 1024];
        let status = Status::new(code).unwrap();
        let mut head = HeadWriter::response(&mut buffer, status);
        for (name, value) in &fields {
            head.field(name, value.as_bytes());
        }
        let length = head.finish().unwrap();
        let (mut parser, mut slots) = (HeadParser::response(), [FieldSlot::EMPTY; SLOTS]);
        let limits = HeadLimits { head: 1024, target: 0 };
        let octets = &buffer[..length];
        prop_assert_eq!(parser.parse(octets, &mut slots, &limits), Ok(Some(length)));
        let head = parser.response_head(octets, &slots).unwrap();
        prop_assert_eq!(head.status(), status);
        prop_assert_eq!(read_fields(head.fields()), fields);
    }

    #[test]
    fn any_octets_end_in_a_head_an_error_or_a_wish_for_more(octets in prop::collection::vec(any::<u8>(), 0..500)) {
        let result = parse_pieces(HeadParser::request(), &octets, []);
        prop_assert!(octets.len() < LIMITS.head || result != Ok(None));
    }
}
