//! What one request costs in memory, octets to octets: its head read, a file looked up in a compiled-in store, the response's head written.
//!
//! ```text
//! cargo run --release -p mirage-http --example request_cost [REQUESTS]
//! ```
//!
//! Without `--release` it asks less, and the time means nothing. Each row is the best of five passes.

use std::error::Error;
use std::hint::black_box;
use std::pin::pin;
use std::task::{Context, Poll, Waker};
use std::time::Instant as Time;

use mirage_core::Instant;
use mirage_core::kv::{CompiledEntry, CompiledStore, Digest};
use mirage_http::HttpDate;
use mirage_http::field::FieldSlot;
use mirage_http::files::Files;
use mirage_http::head::{HeadLimits, HeadParser};
use mirage_http::server::{Limits, Server, ServerConnection, ServerEvent};

const PASSES: usize = 5;

static PAGE: [u8; 1_000] = [b'x'; 1_000];

static SITE: CompiledStore = CompiledStore::new_const(&[
    entry("css/site.css"),
    entry("index.html"),
    entry("index.html.gz"),
    entry("site.js"),
]);

const fn entry(key: &'static str) -> CompiledEntry {
    match Digest::new(&[0x5a; 16]) {
        Some(digest) => CompiledEntry::new(key, &PAGE).with_digest(digest),
        None => panic!("sixteen octets are a digest"),
    }
}

const LOAD: &str = "GET / HTTP/1.1\r\nHost: 127.0.0.1:8080\r\n\r\n";

const BROWSER: &str = "GET /index.html HTTP/1.1\r\nHost: www.example.org\r\n\
    User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/126.0.0.0 Safari/537.36\r\n\
    Accept: text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8\r\n\
    Accept-Language: en-GB,en;q=0.7,de;q=0.3\r\nAccept-Encoding: gzip, deflate, br, zstd\r\n\
    Connection: keep-alive\r\nCookie: theme=dark; session=0123456789abcdef0123456789abcdef\r\n\
    Upgrade-Insecure-Requests: 1\r\nSec-Fetch-Dest: document\r\nSec-Fetch-Mode: navigate\r\n\
    Sec-Fetch-Site: none\r\nSec-Fetch-User: ?1\r\nPriority: u=0, i\r\n\r\n";

fn main() -> Result<(), Box<dyn Error>> {
    let fallback = if cfg!(debug_assertions) {
        1_000
    } else {
        300_000
    };
    let count = std::env::args()
        .nth(1)
        .map_or(Ok(fallback), |text| text.parse())?;
    println!(
        "{:>8} {:>12} {:>14}  request",
        "octets", "ns/head", "ns/response"
    );
    for (title, request) in [("a load generator's", LOAD), ("a browser's", BROWSER)] {
        let head = best(count, || {
            let mut parser = HeadParser::request();
            let mut slots = [FieldSlot::EMPTY; 32];
            let parsed = parser.parse(
                black_box(request.as_bytes()),
                &mut slots,
                &HeadLimits::DEFAULT,
            );
            black_box((&slots, parsed)).1 == Ok(Some(request.len()))
        });
        let server = Server::new(Limits {
            requests: u32::MAX,
            ..Limits::DEFAULT
        });
        let mut connection = server.connect(Instant::ZERO);
        let mut out = [0; 512];
        let whole = best(count, || {
            answer(&mut connection, black_box(request.as_bytes()), &mut out).is_some()
        });
        println!("{:>8} {head:>12} {whole:>14}  {title}", request.len());
    }
    Ok(())
}

/// Answers a request: the length of the response's head.
fn answer(connection: &mut ServerConnection<'_>, request: &[u8], out: &mut [u8]) -> Option<usize> {
    let now = Instant::ZERO;
    let mut slots = [FieldSlot::EMPTY; 32];
    let ServerEvent::Request { head, .. } = connection.handle_input(request, &mut slots, now)
    else {
        return None;
    };
    let (mut decoded, mut key) = ([0; 128], [0; 160]);
    let path = head.parse_target().ok()?.path(&mut decoded).ok()?;
    let files = Files::new(&SITE);
    let date = HttpDate::from_unix(1_780_000_000);
    let answer = pin!(files.answer(&head, path, Some(date), &mut key));
    let Poll::Ready(Ok(answer)) = answer.poll(&mut Context::from_waker(Waker::noop())) else {
        return None;
    };
    let mut response = connection.respond(out, answer.status())?;
    response.date(date);
    answer.write_fields(&head, &mut response);
    let length = response.finish(answer.content_length(), now).ok()?;
    // The content goes from where it lies.
    connection.handle_sent(PAGE.len() as u64, now).ok()?;
    Some(length)
}

/// Nanoseconds a call, in the best pass.
fn best(count: u32, mut work: impl FnMut() -> bool) -> u128 {
    let mut best = u128::MAX;
    for _ in 0..PASSES {
        let start = Time::now();
        for _ in 0..count {
            assert!(work(), "each request is answered");
        }
        best = best.min(start.elapsed().as_nanos() / u128::from(count.max(1)));
    }
    best
}
