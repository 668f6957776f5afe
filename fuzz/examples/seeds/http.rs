//! HTTP: requests, responses, chunks, values of fields.

use std::io;

use crate::Corpora;

pub fn write(corpora: &Corpora) -> io::Result<()> {
    for (name, text) in HTTP_REQUESTS {
        // Pieces of three octets; the application reads bodies.
        corpora.write("http_heads", name, &[b"\x03", text.as_bytes()].concat())?;
        corpora.write("http_server", name, &[b"\x03\0", text.as_bytes()].concat())?;
    }
    for (name, text) in HTTP_RESPONSES {
        corpora.write("http_heads", name, &[b"\x03", text.as_bytes()].concat())?;
        corpora.write("http_client", name, &[b"\x03\0", text.as_bytes()].concat())?;
    }
    for (name, text) in HTTP_CHUNKS {
        corpora.write("http_chunks", name, &[b"\x03", text.as_bytes()].concat())?;
    }
    for (number, text) in HTTP_VALUES.iter().enumerate() {
        let name = format!("value-{number:02}");
        // The first octet chooses a field; each value is tried as one that it is meant for.
        corpora.write(
            "http_values",
            &name,
            &[&[text.0], text.1.as_bytes()].concat(),
        )?;
    }
    Ok(())
}

const HTTP_REQUESTS: &[(&str, &str)] = &[
    (
        "get",
        "GET /a/b%20c?d=e HTTP/1.1\r\nHost: example.org:80\r\nAccept: */*\r\nEmpty:\r\n\r\n",
    ),
    (
        "two-in-a-row",
        "GET / HTTP/1.1\r\nHost: a\r\n\r\n\r\nHEAD /b HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
    ),
    (
        "post-length",
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhelloGET / HTTP/1.0\r\n\r\n",
    ),
    (
        "post-chunked",
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5;x=y\r\nhello\r\n0\r\nA: b\r\n\r\n",
    ),
    (
        "expect",
        "PUT /x HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 1\r\n\r\nx",
    ),
    (
        "absolute",
        "GET http://b.example/c HTTP/1.1\r\nHost: a\r\n\r\nOPTIONS * HTTP/1.1\r\nHost: [::1]:8\r\n\r\n",
    ),
    (
        "length-and-coding",
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    ),
    (
        "folded",
        "GET / HTTP/1.1\r\nHost: a\r\n b\r\nTransfer-Encoding : chunked\r\n\r\n",
    ),
];

const HTTP_RESPONSES: &[(&str, &str)] = &[
    (
        "response-length",
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nETag: \"a\"\r\n\r\nabHTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n",
    ),
    (
        "response-chunked",
        "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n0\r\nA: b\r\n\r\n",
    ),
    ("response-until-close", "HTTP/1.0 200\r\n\r\nall of it"),
    (
        "response-none",
        "HTTP/1.1 204 No Content\r\n\r\nHTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\n\r\n",
    ),
];

const HTTP_CHUNKS: &[(&str, &str)] = &[
    ("plain", "5\r\nhello\r\n0\r\n\r\nrest"),
    ("extensions", "5;a;b=\"c;d\" ; e\r\nhello\r\n0;z\r\n\r\n"),
    (
        "trailers",
        "1\r\na\r\nA\r\n0123456789\r\n000\r\nA: b\r\nC: d\r\n\r\n",
    ),
    ("overflow", "FFFFFFFFFFFFFFFF\r\na\r\n10000000000000000\r\n"),
];

const HTTP_VALUES: &[(u8, &str)] = &[
    (0, "gzip, br;q=0.5, *;q=0"),
    (1, "\"a\", W/\"b,c\", *"),
    (2, "W/\"a\""),
    (3, "Sun, 06 Nov 1994 08:49:37 GMT"),
    (4, "Sunday, 06-Nov-94 08:49:37 GMT"),
    (5, "Sun Nov  6 08:49:37 1994"),
    (6, "bytes=0-1, 5-, -3, 7-9"),
    (6, "/a/%2e%2e/%20b/..%2f"),
];
