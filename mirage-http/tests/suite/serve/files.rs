//! Files of a store: their fields, folders, variants, conditions and ranges.

use super::*;

#[test]
fn files_are_served_with_their_fields() {
    let answer = get("/", "");
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    assert!(has(&answer, "content-type: text/html; charset=utf-8"));
    assert!(has(&answer, "content-length: 17"));
    assert!(has(&answer, "etag: \"04040404\""));
    assert!(has(&answer, "last-modified: Sun, 06 Nov 1994 08:49:37 GMT"));
    assert!(has(&answer, "accept-ranges: bytes"));
    assert!(!answer.contains("vary"));
    assert_eq!(body(&answer), "<h1>It works</h1>");
    let long = get("/long.txt", "");
    assert_eq!(body(&long).as_bytes(), LONG);
    assert_eq!(body(&get("/static", "")).as_bytes(), LONG);
}

#[test]
fn folders_have_pages_and_a_slash() {
    assert_eq!(body(&get("/photos/", "")), "photos");
    let answer = get("/photos?a=b", "");
    assert!(answer.starts_with("HTTP/1.1 308 "), "{answer}");
    assert!(has(&answer, "location: /photos/?a=b"), "{answer}");
    let answer = get("http://x/photos", "");
    assert!(has(&answer, "location: /photos/"), "{answer}");
    for path in [
        "/css/",
        "/none",
        "/index.html/",
        "//photos",
        "/photos//",
        "/css/site.css/x",
        "/%2520",
    ] {
        let answer = get(path, "");
        assert!(answer.starts_with("HTTP/1.1 404 "), "{path}: {answer}");
        assert_eq!(body(&answer), "404 Not Found\n");
    }
    for path in [
        "/..",
        "/css/..%2findex.html",
        "/%00",
        "/photos/../index.html",
        "/%c0%ae",
    ] {
        assert!(get(path, "").starts_with("HTTP/1.1 400 "), "{path}");
    }
}

#[test]
fn variants_go_to_those_who_take_them() {
    for (accept, content, coding) in [
        ("gzip, br", "brotli", Some("br")),
        ("gzip", "gzip", Some("gzip")),
        ("br;q=0, gzip;q=0.1", "gzip", Some("gzip")),
        ("identity", "h1 { color: teal }", None),
        ("", "h1 { color: teal }", None),
    ] {
        let answer = get("/css/site.css", &format!("Accept-Encoding: {accept}\r\n"));
        assert_eq!(body(&answer), content, "{accept}");
        assert!(has(&answer, "content-type: text/css; charset=utf-8"));
        assert!(
            has(&answer, "vary: accept-encoding"),
            "for caches, whichever is sent"
        );
        match coding {
            Some(coding) => assert!(has(&answer, &format!("content-encoding: {coding}"))),
            None => assert!(!answer.contains("content-encoding")),
        }
    }
    // Each has a tag of its own.
    let tagged = "Accept-Encoding: gzip\r\nIf-None-Match: \"02020202\"\r\n";
    assert!(get("/css/site.css", tagged).starts_with("HTTP/1.1 200 "));
    let tagged = "Accept-Encoding: br\r\nIf-None-Match: \"02020202\"\r\n";
    let answer = get("/css/site.css", tagged);
    assert!(
        answer.starts_with("HTTP/1.1 304 ") && body(&answer).is_empty(),
        "{answer}"
    );
    assert!(has(&answer, "vary: accept-encoding") && has(&answer, "etag: \"02020202\""));
    assert!(!answer.contains("content-"), "{answer}");
}

#[test]
fn conditions_and_ranges_of_files() {
    let answer = get("/long.txt", "Range: bytes=26-28\r\n");
    assert!(answer.starts_with("HTTP/1.1 206 "), "{answer}");
    assert!(has(&answer, "content-range: bytes 26-28/50000") && has(&answer, "content-length: 3"));
    assert_eq!(body(&answer), "abc");
    let answer = get("/long.txt", "Range: bytes=0-1,49999-\r\n");
    assert!(has(
        &answer,
        "content-type: multipart/byteranges; boundary=part-05050505"
    ));
    assert_eq!(
        body(&answer),
        "\r\n--part-05050505\r\ncontent-type: text/plain; charset=utf-8\r\ncontent-range: bytes 0-1/50000\r\n\r\nab\
         \r\n--part-05050505\r\ncontent-type: text/plain; charset=utf-8\r\ncontent-range: bytes 49999-49999/50000\r\n\r\nb\
         \r\n--part-05050505--\r\n"
    );
    let answer = get("/long.txt", "Range: bytes=50000-\r\n");
    assert!(answer.starts_with("HTTP/1.1 416 ") && has(&answer, "content-range: bytes */50000"));
    let answer = get("/long.txt", "Range: bytes=0-1\r\nIf-Range: \"x\"\r\n");
    assert!(answer.starts_with("HTTP/1.1 200 "));
    let answer = get("/", "If-Modified-Since: Sun, 06 Nov 1994 08:49:37 GMT\r\n");
    assert!(answer.starts_with("HTTP/1.1 304 "));
    let answer = get("/", "If-Match: \"x\"\r\n");
    assert!(answer.starts_with("HTTP/1.1 412 "));
    let request = "PUT / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    let answer = send(request.as_bytes(), 100).0;
    assert!(
        answer.starts_with("HTTP/1.1 405 ") && has(&answer, "allow: GET, HEAD"),
        "{answer}"
    );
    let request =
        "HEAD /long.txt HTTP/1.1\r\nHost: x\r\nConnection: close\r\nRange: bytes=0-1\r\n\r\n";
    let answer = send(request.as_bytes(), 100).0;
    assert!(answer.starts_with("HTTP/1.1 200 ") && has(&answer, "content-length: 50000"));
    assert_eq!(body(&answer), "");
}
