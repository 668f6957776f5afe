//! Requests that two servers could read in two ways. Each is refused, and nothing behind it is served.

use super::*;
use crate::body::BodyError;
use crate::chunked::ChunkError;
use crate::framing::FramingError;
use crate::head::HeadError;
use crate::target::TargetError;

const CHUNKED: &str = "Transfer-Encoding: chunked";

#[test]
fn content_length_and_transfer_encoding_together() {
    for fields in [
        "Content-Length: 4\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding: chunked\r\nContent-Length: 4",
        "Content-Length: 0\r\nTransfer-Encoding: chunked",
        "content-length: 4\r\nTRANSFER-ENCODING: chunked",
        "Content-Length: 4\r\nTransfer-Encoding: identity",
        "Content-Length: 4\r\nTransfer-Encoding:",
        "Content-Length:\r\nTransfer-Encoding: chunked",
        "Content-Length: 4\r\nX: y\r\nTransfer-Encoding: x",
    ] {
        let stream = smuggle(fields, "0\r\n\r\n");
        assert_eq!(
            rejected(stream),
            Rejection::Framing(FramingError::LengthAndEncoding),
            "{fields:?}"
        );
    }
}

#[test]
fn content_length_repeated() {
    for fields in [
        "Content-Length: 4\r\nContent-Length: 4",
        "Content-Length: 4\r\nContent-Length: 5",
        "Content-Length: 0\r\nContent-Length: 44",
        "Content-Length: 4, 4",
        "Content-Length: 4,5",
        "Content-Length: 4,",
        "Content-Length: ,4",
        "Content-Length: 4\r\ncontent-length: 4",
    ] {
        let stream = smuggle(fields, "body");
        assert_eq!(
            rejected(stream),
            Rejection::Framing(FramingError::RepeatedLength),
            "{fields:?}"
        );
    }
}

#[test]
fn content_length_signed_padded_or_no_number() {
    for length in [
        "+4", "-4", "-0", "4 4", "4\t4", "04", "00", "0x4", "4;", "4.0", "4e0", "4_0", "\"4\"", "",
        "four", "\u{ff14}", "4\u{a0}", "4 x",
    ] {
        let stream = smuggle(&format!("Content-Length: {length}"), "body");
        assert_eq!(
            rejected(stream),
            Rejection::Framing(FramingError::Length),
            "{length:?}"
        );
    }
    // Blanks around a value are none of it (RFC 9110 §5.5), and so are no padding.
    let stream = smuggle("Content-Length: \t 4 \t", "body");
    assert_eq!(served(stream).0, ["POST /a body", "GET /smuggled "]);
}

#[test]
fn content_length_that_overflows() {
    for length in [
        "18446744073709551616",
        "18446744073709551620",
        "99999999999999999999999999999999",
        "340282366920938463463374607431768211460",
    ] {
        let stream = smuggle(&format!("Content-Length: {length}"), "body");
        assert_eq!(
            rejected(stream),
            Rejection::Framing(FramingError::Length),
            "{length}"
        );
    }
    for length in [
        "18446744073709551615",
        "9223372036854775808",
        "4294967300",
        "1001",
    ] {
        let stream = smuggle(&format!("Content-Length: {length}"), "body");
        assert_eq!(
            rejected(stream),
            Rejection::Body(BodyError::TooLarge),
            "{length}"
        );
    }
}

#[test]
fn transfer_encoding_that_is_not_chunked_alone() {
    for value in [
        "",
        "identity",
        "gzip",
        "gzip, chunked",
        "chunked, gzip",
        "chunked, chunked",
        "chunked, identity",
        "identity, chunked",
        "chunked;q=1",
        "chunked ; x",
        "xchunked",
        "chunkedx",
        "x-chunked",
        "\"chunked\"",
        "'chunked'",
        "chunked,",
        ", chunked",
        "chunk",
        "cow",
        "chunked\u{a0}",
        "ch\tunked",
        "chu\u{301}nked",
        "chunked chunked",
    ] {
        let stream = smuggle(&format!("Transfer-Encoding: {value}"), "0\r\n\r\n");
        assert_eq!(
            rejected(stream),
            Rejection::Framing(FramingError::Encoding),
            "{value:?}"
        );
    }
    assert_eq!(FramingError::Encoding.status(), Status::NOT_IMPLEMENTED);
    for value in ["chunked", "CHUNKED", " \tchunked\t ", "Chunked"] {
        let stream = smuggle(
            &format!("Transfer-Encoding:{value}"),
            "4\r\nbody\r\n0\r\n\r\n",
        );
        assert_eq!(
            served(stream).0,
            ["POST /a body", "GET /smuggled "],
            "{value:?}"
        );
    }
}

#[test]
fn transfer_encoding_repeated() {
    for fields in [
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity",
        "Transfer-Encoding: cow\r\ntransfer-encoding: chunked",
        "Transfer-Encoding:\r\nTransfer-Encoding: chunked",
    ] {
        let stream = smuggle(fields, "0\r\n\r\n");
        assert_eq!(
            rejected(stream),
            Rejection::Framing(FramingError::RepeatedEncoding),
            "{fields:?}"
        );
    }
}

#[test]
fn transfer_encoding_under_another_name() {
    // Names that somebody may take for it: here they are other fields, or none; what follows is what everybody sees.
    for name in [
        "Transfer_Encoding",
        "X-Transfer-Encoding",
        "Transfer-Encoding-",
        "Transfer-Encodin",
        "TransferEncoding",
    ] {
        let stream = smuggle(&format!("{name}: chunked"), "");
        assert_eq!(served(stream).0, ["POST /a ", "GET /smuggled "], "{name}");
    }
    for (line, error) in [
        ("Transfer-Encoding : chunked", HeadError::BlankBeforeColon),
        ("Transfer-Encoding\t: chunked", HeadError::BlankBeforeColon),
        (" Transfer-Encoding: chunked", HeadError::FoldedLine),
        ("\tTransfer-Encoding: chunked", HeadError::FoldedLine),
        ("X: y\r\n Transfer-Encoding: chunked", HeadError::FoldedLine),
        ("X: y\nTransfer-Encoding: chunked", HeadError::BareLineFeed),
        (
            "X: y\rTransfer-Encoding: chunked",
            HeadError::BareCarriageReturn,
        ),
        ("Transfer-Encoding:\n chunked", HeadError::BareLineFeed),
        ("Transfer-Encoding:\r\n chunked", HeadError::FoldedLine),
        ("Transfer-Encoding\0: chunked", HeadError::FieldName),
        ("Transfer-Encoding: chunked\0", HeadError::FieldValue),
        ("Transfer-Encoding: \u{b}chunked", HeadError::FieldValue),
        ("\u{0}Transfer-Encoding: chunked", HeadError::FieldName),
        ("\"Transfer-Encoding\": chunked", HeadError::FieldName),
        ("Transfer-Encoding", HeadError::FieldName),
        (
            "Transfer\u{2d}Encoding\u{ff1a} chunked",
            HeadError::FieldName,
        ),
    ] {
        let stream = smuggle(line, "0\r\n\r\n");
        assert_eq!(rejected(stream), Rejection::Head(error), "{line:?}");
    }
}

#[test]
fn http_1_0_with_transfer_encoding() {
    let stream = "POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: x\r\n\r\n";
    assert_eq!(
        rejected(stream),
        Rejection::Framing(FramingError::EncodingInHttp10)
    );
    let stream =
        "POST / HTTP/1.0\r\nConnection: keep-alive\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n";
    assert_eq!(
        rejected(stream),
        Rejection::Framing(FramingError::EncodingInHttp10)
    );
}

#[test]
fn connection_names_the_fields_of_framing() {
    // A proxy that takes out what Connection names must not change how the message is read: nobody here does.
    let stream = smuggle("Connection: Content-Length\r\nContent-Length: 4", "body");
    assert_eq!(served(stream).0, ["POST /a body", "GET /smuggled "]);
}

#[test]
fn a_body_with_get() {
    // What is announced is the body, whatever it looks like.
    let body = "GET /smuggled HTTP/1.1\r\nHost: x\r\n\r\n";
    let stream = |length: usize| {
        let get =
            |path: &str, field: &str| format!("GET {path} HTTP/1.1\r\nHost: x\r\n{field}\r\n");
        let length = format!("Content-Length: {length}\r\n");
        [
            get("/a", length.as_str()).as_str(),
            body,
            get("/b", "").as_str(),
        ]
        .concat()
    };
    let (requests, _) = served(stream(body.len()));
    assert_eq!(requests, [format!("GET /a {body}"), "GET /b ".into()]);
    // What is left of it is no request.
    let log = serve(stream(body.len() - 1));
    assert_eq!(log.requests.len(), 1);
    assert_eq!(log.rejections, [Rejection::Head(HeadError::Method)]);
}

#[test]
fn a_body_that_is_not_read_is_not_the_next_request() {
    let body = "GET /smuggled HTTP/1.1\r\nHost: x\r\n\r\n";
    let fields = format!(
        "POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    let stream = format!("{fields}{body}GET /b HTTP/1.1\r\nHost: x\r\n\r\n");
    for piece in [1, 7, stream.len()] {
        let log = serve_pieces(stream.as_bytes(), piece, false);
        assert_eq!(log.requests, ["POST /a", "GET /b"]);
    }
    let chunked = format!(
        "POST /a HTTP/1.1\r\nHost: x\r\n{CHUNKED}\r\n\r\n{:x}\r\n{body}\r\n0\r\n\r\n",
        body.len()
    );
    let stream = format!("{chunked}GET /b HTTP/1.1\r\nHost: x\r\n\r\n");
    for piece in [1, 7, stream.len()] {
        let log = serve_pieces(stream.as_bytes(), piece, false);
        assert_eq!(log.requests, ["POST /a", "GET /b"]);
    }
    // More than is read for the connection's sake: it closes.
    let long = "x".repeat(LIMITS.drain as usize + 1);
    let stream = smuggle(&format!("Content-Length: {}", long.len()), &long);
    let log = serve_pieces(&stream, stream.len(), false);
    assert_eq!(
        (log.requests.len(), log.ending),
        (1, Some(Ending::Complete))
    );
    let stream = smuggle(CHUNKED, &format!("{:x}\r\n{long}\r\n0\r\n\r\n", long.len()));
    let log = serve_pieces(&stream, stream.len(), false);
    assert_eq!(
        (log.requests.len(), log.ending),
        (1, Some(Ending::Complete))
    );
}

#[test]
fn chunked_body_that_is_wrong_ends_the_connection() {
    for (body, error) in [
        ("+4\r\nbody\r\n0\r\n\r\n", ChunkError::Size),
        ("0x4\r\nbody\r\n0\r\n\r\n", ChunkError::Size),
        ("\r\n4\r\nbody\r\n0\r\n\r\n", ChunkError::Size),
        ("4 \r\nbody\r\n0\r\n\r\n", ChunkError::Size),
        ("6\r\nbody\r\n0\r\n\r\n", ChunkError::End),
        ("3\r\nbody\r\n0\r\n\r\n", ChunkError::End),
        ("4\nbody\r\n0\r\n\r\n", ChunkError::BareLineFeed),
        ("4\r\nbody\n0\r\n\r\n", ChunkError::BareLineFeed),
        ("4;a\nx\r\nbody\r\n0\r\n\r\n", ChunkError::BareLineFeed),
        ("4\rxbody", ChunkError::BareCarriageReturn),
        (
            "10000000000000004\r\nbody\r\n0\r\n\r\n",
            ChunkError::SizeOverflow,
        ),
    ] {
        let log = serve(smuggle(CHUNKED, body));
        assert_eq!(
            log.rejections,
            [Rejection::Body(BodyError::Chunk(error))],
            "{body:?}"
        );
        assert_eq!(
            (log.requests.len(), log.responses),
            (1, [400].into()),
            "{body:?}"
        );
        assert_eq!(log.ending, Some(Ending::Rejected));
    }
}

#[test]
fn trailers_do_not_smuggle() {
    let trailers = "Content-Length: 40\r\nTransfer-Encoding: x\r\nHost: y\r\n\r\n";
    let stream = smuggle(CHUNKED, &format!("4\r\nbody\r\n0\r\n{trailers}"));
    assert_eq!(served(stream).0, ["POST /a body", "GET /smuggled "]);
    // An attacker hopes that what isn't ended is taken for a trailer by one and for a request by the other.
    let log = serve(smuggle(CHUNKED, "4\r\nbody\r\n0\r\n"));
    assert_eq!(
        log.rejections,
        [Rejection::Body(BodyError::Trailers(
            HeadError::BlankBeforeColon
        ))]
    );
}

#[test]
fn multiple_hosts() {
    for fields in [
        "Host: x\r\nHost: x",
        "Host: x\r\nhost: y",
        "Host: x\r\nHost:",
    ] {
        let stream = format!("GET / HTTP/1.1\r\n{fields}\r\n\r\n");
        assert_eq!(rejected(stream), Rejection::Host, "{fields:?}");
        let stream = format!("GET / HTTP/1.0\r\n{fields}\r\n\r\n");
        assert_eq!(rejected(stream), Rejection::Host, "{fields:?}");
    }
    assert_eq!(rejected("GET / HTTP/1.1\r\n\r\n"), Rejection::Host);
    assert_eq!(served("GET / HTTP/1.0\r\n\r\n").0, ["GET / "]);
    assert_eq!(served("GET / HTTP/1.1\r\nHost:\r\n\r\n").0, ["GET / "]);
}

#[test]
fn a_host_that_is_none() {
    for host in [
        "a b", "a/b", "u@a", "a:b", "a:80:80", "http://a", "[::1", "a?b", "\u{e4}", "a\\b", "a%62",
    ] {
        let stream = format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n");
        assert_eq!(rejected(stream), Rejection::Host, "{host:?}");
    }
}

#[test]
fn absolute_form_against_host() {
    let server = Server::new(LIMITS);
    let mut connection = server.connect(Instant::ZERO);
    let mut slots = [FieldSlot::EMPTY; SLOTS];
    let request = b"GET http://target.example:80/a HTTP/1.1\r\nHost: field.example\r\n\r\n";
    let event = connection.handle_input(request, &mut slots, Instant::ZERO);
    let ServerEvent::Request { head, .. } = event else {
        panic!("{event:?}");
    };
    // RFC 9112 §3.2.2: the target's counts.
    assert_eq!(head.host(), "target.example:80");
    assert_eq!(
        head.parse_target().map(|target| target.raw_path()),
        Ok("/a")
    );
    // It needs a Host all the same, and a proper one.
    assert_eq!(rejected("GET http://a/ HTTP/1.1\r\n\r\n"), Rejection::Host);
    for (target, error) in [
        ("http://u@a/", TargetError::Authority),
        ("http://", TargetError::Authority),
        ("http:///a", TargetError::Authority),
        ("ftp://a/", TargetError::Scheme),
        ("a", TargetError::Form),
        ("*", TargetError::Form),
        ("a:80", TargetError::Form),
    ] {
        let stream = format!("GET {target} HTTP/1.1\r\nHost: a\r\n\r\n");
        assert_eq!(rejected(stream), Rejection::Target(error), "{target}");
    }
}

#[test]
fn tunnels_and_upgrades_are_refused() {
    let stream =
        "CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: x\r\n\r\n";
    assert_eq!(rejected(stream), Rejection::Tunnel);
    assert_eq!(Rejection::Tunnel.status(), Status::NOT_IMPLEMENTED);
    // A server may leave an Upgrade out (RFC 9110 §7.8): the answer is HTTP/1.1, and so is what comes behind.
    let upgrade = "Upgrade: h2c\r\nConnection: Upgrade, HTTP2-Settings\r\nHTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA";
    assert_eq!(
        served(smuggle(upgrade, "")).0,
        ["POST /a ", "GET /smuggled "]
    );
}

#[test]
fn invalid_versions_end_the_connection() {
    for (line, error) in [
        ("GET / HTTP/2.0", HeadError::UnsupportedVersion),
        ("GET / HTTP/0.9", HeadError::UnsupportedVersion),
        ("GET / HTTP/1.1 HTTP/1.0", HeadError::Version),
        ("GET / http/1.1", HeadError::Version),
        ("GET /", HeadError::Version),
    ] {
        let stream = format!("{line}\r\nHost: x\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: x\r\n\r\n");
        assert_eq!(rejected(stream), Rejection::Head(error), "{line}");
    }
}

#[test]
fn expectations_do_not_smuggle() {
    for value in [
        "100-continue, x",
        "x",
        "",
        "100-continue;a",
        "100 continue",
        "200-ok",
    ] {
        let stream = smuggle(&format!("Expect: {value}\r\nContent-Length: 4"), "body");
        assert_eq!(rejected(stream), Rejection::Expectation, "{value:?}");
    }
    let stream = smuggle(
        "Expect: 100-continue\r\nExpect: 100-continue\r\nContent-Length: 4",
        "body",
    );
    assert_eq!(rejected(stream), Rejection::Expectation);
    // A final answer instead of the word to go on: whether the body comes is in doubt, so nothing behind it is served.
    let stream = smuggle("Expect: 100-continue\r\nContent-Length: 4", "body");
    let log = serve_pieces(&stream, stream.len(), false);
    assert_eq!(
        (log.requests.len(), log.ending),
        (1, Some(Ending::Complete))
    );
    // Read, the same body is a body.
    assert_eq!(served(stream).0, ["POST /a body", "GET /smuggled "]);
}
