//! The shells over a pipe, in virtual time: pages, bodies, streams, slow and broken clients.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::convert::Infallible;
use std::fmt;
use std::rc::Rc;
use std::task::{Poll, Waker};
use std::time::Duration;

use embedded_io_async::{ErrorKind, ErrorType, Read, Write};
use mirage_core::Instant;
use mirage_core::doubles::VirtualPlatform;
use mirage_core::executor::{Executor, yield_now};
use mirage_core::kv::{CompiledEntry, CompiledStore, Digest};
use mirage_http::body::Content;
use mirage_http::client::ClientLimits;
use mirage_http::field::{FieldName, FieldSlot};
use mirage_http::files::Files;
use mirage_http::head::RequestHead;
use mirage_http::io::{
    Application, Client, Exchange, ServeError, Storage, Stream, Timer, Written, serve,
};
use mirage_http::server::{ContentLength, Ending, Limits, Server};
use mirage_http::{Method, Status};

static LONG: [u8; 50_000] = {
    let mut long = [0; 50_000];
    let mut at = 0;
    while at < long.len() {
        long[at] = b'a' + (at % 26) as u8;
        at += 1;
    }
    long
};

static SITE: CompiledStore = CompiledStore::new_const(&[
    entry("css/site.css", b"h1 { color: teal }", 1),
    entry("css/site.css.br", b"brotli", 2),
    entry("css/site.css.gz", b"gzip", 3),
    entry("index.html", b"<h1>It works</h1>", 4),
    entry("long.txt", &LONG, 5),
    entry("photos/index.html", b"photos", 6),
]);

const fn entry(key: &'static str, value: &'static [u8], number: u8) -> CompiledEntry {
    let Some(digest) = Digest::new(&[number; 4]) else {
        panic!("four octets are a digest");
    };
    let modified = Duration::from_secs(784_111_777);
    CompiledEntry::new(key, value)
        .with_digest(digest)
        .with_last_modified(modified)
}

struct Site;

impl Application for Site {
    async fn answer<S: Stream, T: Timer>(
        &self,
        head: RequestHead<'_>,
        exchange: &mut Exchange<'_, '_, S, T>,
    ) -> Result<(), ServeError<S::Error>> {
        let (mut decoded, mut key) = ([0; 256], [0; 280]);
        let target = head.parse_target().ok();
        let Some(path) = target.and_then(|target| target.path(&mut decoded).ok()) else {
            return exchange.reply_status(Status::BAD_REQUEST).await;
        };
        match path.as_str() {
            "/echo" => {
                let mut room = [0; 4_096];
                let length = exchange.read_all(&mut room).await?;
                let content = Content::from(&room[..length]);
                exchange
                    .reply(Status::OK, "application/octet-stream", content)
                    .await
            }
            // Content whose length is not known, in pieces over time.
            "/events" => {
                exchange
                    .begin(Status::OK, ContentLength::Unknown, |response| {
                        response.field("content-type", b"text/event-stream");
                    })
                    .await?;
                for number in 0..3 {
                    let event = format!("data: {number}\n\n");
                    exchange.send(event.as_bytes()).await?;
                    exchange.flush().await?;
                    let deadline = exchange.timer().now() + Duration::from_secs(1);
                    exchange
                        .timer()
                        .until(deadline, std::future::pending::<()>())
                        .await;
                }
                exchange.finish().await
            }
            "/nothing" => Ok(()),
            "/half" => {
                exchange
                    .begin(Status::OK, ContentLength::Known(10), |_| {})
                    .await?;
                exchange.send(b"half").await
            }
            "/static" => {
                exchange
                    .reply(Status::OK, "text/plain", Content::Static(&LONG))
                    .await
            }
            _ => {
                exchange
                    .reply_file(&head, &Files::new(&SITE), path, &mut key)
                    .await
            }
        }
    }
}

/// One direction of a pipe of a given capacity.
#[derive(Default)]
struct Direction {
    octets: RefCell<VecDeque<u8>>,
    capacity: usize,
    /// The most octets of one read or write.
    piece: usize,
    closed: Cell<bool>,
    waker: RefCell<Option<Waker>>,
}

impl Direction {
    fn new(capacity: usize, piece: usize) -> Rc<Self> {
        Rc::new(Self {
            capacity,
            piece,
            ..Self::default()
        })
    }

    fn wake(&self) {
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }

    fn poll_read(&self, room: &mut [u8], waker: &Waker) -> Poll<usize> {
        let mut octets = self.octets.borrow_mut();
        if octets.is_empty() && !self.closed.get() {
            self.waker.replace(Some(waker.clone()));
            return Poll::Pending;
        }
        let length = room.len().min(octets.len()).min(self.piece);
        for (place, octet) in room.iter_mut().zip(octets.drain(..length)) {
            *place = octet;
        }
        drop(octets);
        self.wake();
        Poll::Ready(length)
    }

    fn poll_write(&self, from: &[u8], waker: &Waker) -> Poll<usize> {
        let mut octets = self.octets.borrow_mut();
        let room = self.capacity - octets.len();
        if room == 0 {
            self.waker.replace(Some(waker.clone()));
            return Poll::Pending;
        }
        let length = from.len().min(room).min(self.piece);
        octets.extend(&from[..length]);
        drop(octets);
        self.wake();
        Poll::Ready(length)
    }
}

/// One end of a pipe.
struct End {
    input: Rc<Direction>,
    output: Rc<Direction>,
}

fn pipe(capacity: usize, piece: usize) -> (End, End) {
    let (one, other) = (
        Direction::new(capacity, piece),
        Direction::new(capacity, piece),
    );
    let server = End {
        input: one.clone(),
        output: other.clone(),
    };
    let client = End {
        input: other,
        output: one,
    };
    (server, client)
}

impl Drop for End {
    fn drop(&mut self) {
        self.output.closed.set(true);
        self.output.wake();
    }
}

impl ErrorType for End {
    type Error = Infallible;
}

impl Read for End {
    async fn read(&mut self, room: &mut [u8]) -> Result<usize, Infallible> {
        std::future::poll_fn(|cx| self.input.poll_read(room, cx.waker()).map(Ok)).await
    }
}

impl Write for End {
    async fn write(&mut self, octets: &[u8]) -> Result<usize, Infallible> {
        std::future::poll_fn(|cx| self.output.poll_write(octets, cx.waker()).map(Ok)).await
    }

    async fn flush(&mut self) -> Result<(), Infallible> {
        Ok(())
    }
}

const LIMITS: Limits = Limits::DEFAULT;

fn executor() -> &'static Executor {
    Executor::leak(Box::leak(Box::new(VirtualPlatform::new())))
}

/// Serves one end; how it ended, once it has.
fn start(executor: &'static Executor, mut socket: End) -> Rc<Cell<Option<(Ending, Instant)>>> {
    let ended = Rc::new(Cell::new(None));
    let result = ended.clone();
    let serving = executor.spawn(async move {
        let server = Server::new(LIMITS);
        let (mut input, mut output) = ([0; 9_000], [0; 2_048]);
        let mut slots = [FieldSlot::EMPTY; 32];
        let storage = Storage {
            input: &mut input,
            output: &mut output,
            slots: &mut slots,
        };
        let ending = serve(
            &mut Written(&mut socket),
            &executor,
            &server,
            &Site,
            storage,
        )
        .await;
        result.set(Some((ending, executor.now())));
    });
    serving.expect("a task").detach();
    ended
}

/// What a client receives that sends these octets and then waits until the connection is closed.
fn send(octets: &[u8], piece: usize) -> (String, Ending, Instant) {
    let executor = executor();
    let (server, mut client) = pipe(1 << 16, piece);
    let ended = start(executor, server);
    let octets = octets.to_vec();
    let answer = executor.run_until(async move {
        let mut rest = &octets[..];
        let mut answer = Vec::new();
        while !rest.is_empty() {
            let length = client
                .write(rest)
                .await
                .unwrap_or_else(|never| match never {});
            rest = &rest[length..];
        }
        let mut room = [0; 4_096];
        loop {
            match client
                .read(&mut room)
                .await
                .unwrap_or_else(|never| match never {})
            {
                0 => return answer,
                length => answer.extend_from_slice(&room[..length]),
            }
        }
    });
    let (ending, at) = ended.get().expect("it has ended");
    (String::from_utf8(answer).expect("text"), ending, at)
}

fn get(path: &str, fields: &str) -> String {
    let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{fields}\r\n");
    let (answer, ending, _) = send(request.as_bytes(), 1 << 16);
    assert_eq!(ending, Ending::AsAsked);
    for piece in [1, 100] {
        assert_eq!(
            send(request.as_bytes(), piece).0,
            answer,
            "in pieces of {piece}"
        );
    }
    answer
}

fn body(answer: &str) -> &str {
    answer.split_once("\r\n\r\n").expect("a head").1
}

fn has(answer: &str, field: &str) -> bool {
    answer.contains(&format!("\r\n{field}\r\n"))
}

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

#[test]
fn requests_that_were_sent_ahead_are_answered_in_turn() {
    let mut stream = String::new();
    for number in 0..20 {
        let content = format!("{number}").repeat(number);
        stream += &format!(
            "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n{content}",
            content.len()
        );
        stream += "HEAD / HTTP/1.1\r\nHost: x\r\n\r\n";
    }
    stream += "GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    let (answer, ending, _) = send(stream.as_bytes(), 1 << 16);
    assert_eq!(ending, Ending::AsAsked);
    assert_eq!(answer.matches("HTTP/1.1 200 OK").count(), 41);
    for number in 0..20 {
        assert!(answer.contains(&format!(
            "\r\n\r\n{}HTTP/1.1",
            format!("{number}").repeat(number)
        )));
    }
    assert_eq!(send(stream.as_bytes(), 1).0, answer);
    assert_eq!(send(stream.as_bytes(), 333).0, answer);
}

/// The buffer has 9,000 octets: whatever requests came before it, and wherever they end, there is room for a body and for trailers.
#[test]
fn a_head_that_ends_where_the_buffer_does_has_room_for_its_body() {
    let before = "GET /none HTTP/1.1\r\nHost: x\r\nX-Filler: ";
    let head =
        "POST /echo HTTP/1.1\r\nHost: x\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n";
    let chunks = "4\r\nbody\r\n0\r\nX-Trailer: of more than a few octets\r\n\r\n";
    for short in [0, 1, 2, 9, 10, 20, 60] {
        let filler = 9_000 - before.len() - 4 - head.len() - short;
        let (many, last) = (filler / 3_000, filler % 3_000);
        let mut stream = String::new();
        for _ in 0..many {
            let rest = 3_000 - before.len() - 4;
            stream += &format!("{before}{}\r\n\r\n", "f".repeat(rest));
        }
        let rest = last + before.len() + 4;
        let rest = rest - before.len() - 4;
        stream += &format!("{before}{}\r\n\r\n{head}", "f".repeat(rest));
        assert_eq!(stream.len(), 9_000 - short);
        stream += chunks;
        let (answer, ending, _) = send(stream.as_bytes(), 1 << 16);
        assert!(answer.ends_with("\r\n\r\nbody"), "{short}: {answer}");
        assert_eq!(ending, Ending::AsAsked);
    }
}

/// Numbers that look random, the same each time.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 16) as usize % end
    }

    /// A request that is well-formed, and asks for no end of the connection.
    fn request(&mut self) -> String {
        let octets = self.below(3) * self.below(900);
        let content = "x".repeat(octets);
        let host = "Host: x\r\n";
        match self.below(8) {
            0 => format!("GET / HTTP/1.1\r\n{host}\r\n"),
            1 => format!("HEAD /long.txt HTTP/1.1\r\n{host}\r\n"),
            2 => format!(
                "\r\nGET /long.txt HTTP/1.1\r\n{host}Range: bytes={octets}-{}\r\n\r\n",
                octets + 9
            ),
            3 => format!(
                "GET http://y/css/site.css HTTP/1.1\r\n{host}Accept-Encoding: br\r\nX: {content}\r\n\r\n"
            ),
            4 => format!("POST /echo HTTP/1.1\r\n{host}Content-Length: {octets}\r\n\r\n{content}"),
            // A body that nobody reads.
            5 => format!("POST / HTTP/1.1\r\n{host}Content-Length: {octets}\r\n\r\n{content}"),
            kind => {
                let (path, mut chunks) = (["/echo", "/nowhere"][kind - 6], String::new());
                let mut rest = &content[..];
                while !rest.is_empty() {
                    let (chunk, behind) = rest.split_at(1 + self.below(rest.len()));
                    let extension = ["", ";a", " ;b=\"c\""][self.below(3)];
                    chunks += &format!("{:x}{extension}\r\n{chunk}\r\n", chunk.len());
                    rest = behind;
                }
                let trailers = ["", "A: b\r\n", "Content-Length: 5\r\nHost: z\r\n"][self.below(3)];
                format!(
                    "POST {path} HTTP/1.1\r\n{host}Transfer-Encoding: chunked\r\n\r\n{chunks}0\r\n{trailers}\r\n"
                )
            }
        }
    }
}

/// The model: each request alone, and their answers one behind the other.
#[test]
fn whatever_was_sent_ahead_in_whatever_pieces_is_answered_as_each_alone() {
    for seed in 1..=60 {
        let mut numbers = Numbers(0x9e37_79b9_7f4a_7c15 + seed * 0x1_0001);
        let (mut stream, mut expected) = (String::new(), String::new());
        for _ in 0..1 + numbers.below(30) {
            let request = numbers.request();
            let (answer, ending, _) = send(request.as_bytes(), 1 << 16);
            assert_eq!(ending, Ending::Idle, "{request}");
            stream += &request;
            expected += &answer;
        }
        let wrong = [
            "GET / HTTP/1.1\r\n\r\n",
            "GET / HTTP/1.1\nHost: x\n\n",
            "\r\n\r\nGET / HTTP/1.1\r\n\r\n",
        ];
        let last = wrong[numbers.below(3)];
        stream += last;
        expected += &send(last.as_bytes(), 1 << 16).0;
        for piece in [1, 2 + numbers.below(50), 1 + numbers.below(9_000), 1 << 16] {
            let (answer, ending, _) = send(stream.as_bytes(), piece);
            assert_eq!(ending, Ending::Rejected, "{seed}");
            assert_eq!(answer, expected, "{seed}, in pieces of {piece}: {stream}");
        }
    }
}

/// Writes all of it, and reads as many octets.
async fn exchange(client: &mut End, octets: &[u8], mut expected: usize) {
    let mut rest = octets;
    while !rest.is_empty() {
        let Ok(length) = client.write(rest).await;
        rest = &rest[length..];
    }
    let mut room = [0; 4_096];
    while expected > 0 {
        let Ok(length) = client.read(&mut room).await;
        assert_ne!(length, 0, "the connection is over");
        expected = expected.checked_sub(length).expect("no more than that");
    }
}

const HEAD: &[u8] = b"HEAD /css/site.css HTTP/1.1\r\nHost: x\r\n\r\n";

/// Octets of the answer to it.
fn head_answer() -> usize {
    let close = "Connection: close\r\n";
    let request = format!("HEAD /css/site.css HTTP/1.1\r\nHost: x\r\n{close}\r\n");
    send(request.as_bytes(), 1 << 16).0.len() - close.len()
}

#[test]
fn a_request_is_answered_in_the_poll_that_reads_it() {
    let (executor, answer) = (executor(), head_answer());
    let (server, mut client) = pipe(1 << 16, 1 << 16);
    let _ended = start(executor, server);
    executor.run_until(async {
        exchange(&mut client, HEAD, answer).await;
        let before = executor.counters().polls;
        for _ in 0..50 {
            exchange(&mut client, HEAD, answer).await;
        }
        assert_eq!(executor.counters().polls - before, 50);
    });
}

#[test]
fn requests_that_are_always_there_keep_nobody_else_from_running() {
    // All of them at once, and one with each read.
    for piece in [1 << 16, HEAD.len()] {
        let (executor, answer) = (executor(), head_answer());
        let (server, mut client) = pipe(1 << 16, piece);
        let _ended = start(executor, server);
        let ran = Rc::new(Cell::new(0));
        let running = ran.clone();
        let other = executor.spawn(async move {
            loop {
                running.set(running.get() + 1);
                yield_now().await;
            }
        });
        other.expect("a task").detach();
        executor.run_until(exchange(&mut client, &HEAD.repeat(100), 100 * answer));
        assert!(ran.get() >= 100, "{}", ran.get());
    }
}

#[test]
fn who_sends_more_than_it_said_is_lingered_for() {
    let request = "GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    let (answer, ending, _) = send(request.as_bytes(), 1 << 16);
    assert_eq!(ending, Ending::AsAsked);
    let twice = send(request.repeat(2).as_bytes(), 1 << 16);
    assert_eq!((twice.0, twice.1), (answer, Ending::Complete));
}

#[test]
fn bodies_larger_than_the_buffer_come_in_pieces() {
    let chunk = "x".repeat(500);
    let body_text: String = (0..8).map(|_| format!("1f4;e\r\n{chunk}\r\n")).collect();
    let head =
        "POST /echo HTTP/1.1\r\nHost: x\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n";
    let stream = format!("{head}{body_text}0\r\nA: b\r\n\r\n");
    for piece in [1, 7, 5_000] {
        let (answer, ending, _) = send(stream.as_bytes(), piece);
        assert_eq!(ending, Ending::AsAsked);
        assert_eq!(body(&answer), "x".repeat(4_000), "{piece}");
    }
    // One octet more than the application has room for.
    let head = "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 4097\r\n";
    let large = format!("{head}Connection: close\r\n\r\n{}", "x".repeat(4_097));
    let (answer, ending, _) = send(large.as_bytes(), 5_000);
    assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");
    assert_eq!(ending, Ending::Complete);
}

#[test]
fn a_client_that_expects_is_told_to_go_on() {
    let executor = executor();
    let (server, mut client) = pipe(1_000, 1_000);
    start(executor, server);
    let answer = executor.run_until(async move {
        let never = |never: Infallible| match never {};
        let head =
            b"POST /echo HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n";
        client.write(head).await.unwrap_or_else(never);
        let mut room = [0; 500];
        let length = client.read(&mut room).await.unwrap_or_else(never);
        assert_eq!(&room[..length], b"HTTP/1.1 100 Continue\r\n\r\n");
        client.write(b"hello").await.unwrap_or_else(never);
        let length = client.read(&mut room).await.unwrap_or_else(never);
        String::from_utf8(room[..length].to_vec()).unwrap()
    });
    assert!(
        answer.starts_with("HTTP/1.1 200 OK") && body(&answer) == "hello",
        "{answer}"
    );
}

#[test]
fn events_go_out_when_they_happen() {
    let answer = get("/events", "");
    assert!(has(&answer, "transfer-encoding: chunked"));
    assert_eq!(
        body(&answer),
        "9\r\ndata: 0\n\n\r\n9\r\ndata: 1\n\n\r\n9\r\ndata: 2\n\n\r\n0\r\n\r\n"
    );
    let request = "GET /events HTTP/1.0\r\n\r\n";
    let (answer, ending, at) = send(request.as_bytes(), 100);
    assert_eq!(body(&answer), "data: 0\n\ndata: 1\n\ndata: 2\n\n");
    assert_eq!((ending, at), (Ending::AsAsked, Instant::from_secs(3)));
}

#[test]
fn an_application_that_answers_nothing_or_half() {
    let (answer, ending, _) = send(
        b"GET /nothing HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
        100,
    );
    assert!(answer.starts_with("HTTP/1.1 500 "), "{answer}");
    assert_eq!(ending, Ending::AsAsked);
    let (answer, ending, _) = send(b"GET /half HTTP/1.1\r\nHost: x\r\n\r\n", 100);
    assert_eq!(ending, Ending::Broken);
    assert!(
        !answer.contains("half") || !answer.ends_with("\r\n\r\n"),
        "{answer}"
    );
}

#[test]
fn what_is_no_request_is_answered_and_ends() {
    for (stream, status) in [
        ("GET / HTTP/1.1\r\n\r\n", 400),
        ("GET / HTTP/3.0\r\n\r\n", 505),
        ("CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\n\r\n", 501),
        (
            "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 9999999\r\n\r\n",
            413,
        ),
        (
            "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip\r\n\r\n",
            501,
        ),
        (
            "POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0x1\r\n",
            400,
        ),
        ("GET / HTTP/1.1\r\nHost: x\r\nExpect: miracles\r\n\r\n", 417),
    ] {
        let (answer, ending, _) = send(
            format!("{stream}GET /smuggled HTTP/1.1\r\nHost: x\r\n\r\n").as_bytes(),
            100,
        );
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status} ")),
            "{stream:?}: {answer}"
        );
        assert!(has(&answer, "connection: close"));
        assert_eq!(answer.matches("HTTP/1.1 ").count(), 1, "{answer}");
        assert_eq!(ending, Ending::Rejected);
        assert!(ending.lingers());
    }
    let large = format!(
        "GET / HTTP/1.1\r\nHost: x\r\nA: {}\r\n\r\n",
        "a".repeat(10_000)
    );
    assert!(send(large.as_bytes(), 100).0.starts_with("HTTP/1.1 431 "));
}

#[test]
fn slow_client_that_holds_a_connection() {
    // Nothing at all; part of a head; part of a body.
    let (answer, ending, at) = send(b"", 100);
    assert_eq!(
        (answer.as_str(), ending, at),
        ("", Ending::Idle, Instant::ZERO + LIMITS.idle)
    );
    let (answer, ending, at) = send(b"GET / HT", 100);
    assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
    assert_eq!(
        (ending, at),
        (Ending::Rejected, Instant::ZERO + LIMITS.head_time)
    );
    let (answer, ending, at) = send(
        b"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nab",
        100,
    );
    assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
    assert_eq!(ending, Ending::Rejected);
    assert_eq!(at, Instant::ZERO + LIMITS.grace + Duration::from_millis(2));
}

#[test]
fn slow_client_that_takes_nothing() {
    let executor = executor();
    let (server, mut client) = pipe(1_000, 1_000);
    let ended = start(executor, server);
    executor.run_until(async {
        let request = b"GET /long.txt HTTP/1.1\r\nHost: x\r\n\r\n";
        client
            .write(request)
            .await
            .unwrap_or_else(|never| match never {});
        executor.sleep(Duration::from_secs(200)).await;
    });
    let (ending, at) = ended.get().expect("it has ended");
    assert_eq!(ending, Ending::TooSlow);
    assert!(
        at <= Instant::ZERO + LIMITS.grace + Duration::from_secs(51),
        "{at}"
    );
    drop(client);
}

/// A stream that fails.
struct Failing(End, usize);

#[derive(Debug)]
struct Failure;

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("failed")
    }
}

impl core::error::Error for Failure {}

impl embedded_io_async::Error for Failure {
    fn kind(&self) -> ErrorKind {
        ErrorKind::ConnectionReset
    }
}

impl ErrorType for Failing {
    type Error = Failure;
}

impl Read for Failing {
    async fn read(&mut self, room: &mut [u8]) -> Result<usize, Failure> {
        self.0.read(room).await.map_err(|never| match never {})
    }
}

impl Write for Failing {
    async fn write(&mut self, octets: &[u8]) -> Result<usize, Failure> {
        let most = octets.len().min(self.1);
        self.1 -= most;
        match most {
            0 => Err(Failure),
            most => self
                .0
                .write(&octets[..most])
                .await
                .map_err(|never| match never {}),
        }
    }

    async fn flush(&mut self) -> Result<(), Failure> {
        Ok(())
    }
}

#[test]
fn a_stream_that_fails_ends_the_connection() {
    for octets in [0, 1, 300, 5_000] {
        let executor = executor();
        let (server, mut client) = pipe(1 << 16, 1 << 16);
        let mut socket = Failing(server, octets);
        let request = b"GET /long.txt HTTP/1.1\r\nHost: x\r\n\r\n";
        let ending = executor.run_until(async {
            client
                .write(request)
                .await
                .unwrap_or_else(|never| match never {});
            let server = Server::new(LIMITS);
            let (mut input, mut output) = ([0; 9_000], [0; 2_048]);
            let mut slots = [FieldSlot::EMPTY; 32];
            let storage = Storage {
                input: &mut input,
                output: &mut output,
                slots: &mut slots,
            };
            serve(
                &mut Written(&mut socket),
                &executor,
                &server,
                &Site,
                storage,
            )
            .await
        });
        assert_eq!(ending, Ending::Truncated, "{octets}");
    }
}

#[test]
fn the_client_s_shell_asks_and_asks_again() {
    let executor = executor();
    let (server, mut socket) = pipe(3_000, 500);
    let ended = start(executor, server);
    executor.run_until(async {
        let limits = ClientLimits::DEFAULT;
        let (mut input, mut output) = ([0; 4_000], [0; 500]);
        let mut slots = [FieldSlot::EMPTY; 32];
        let storage = Storage {
            input: &mut input,
            output: &mut output,
            slots: &mut slots,
        };
        let mut client = Client::new(&mut socket, &executor, &limits, storage);
        for (path, content) in [
            ("/long.txt", None),
            ("/echo", Some(Content::from("hello"))),
            ("/events", None),
            ("/none", None),
            ("/", None),
        ] {
            let method = if content.is_some() {
                Method::Post
            } else {
                Method::Get
            };
            let fetched = client.fetch(
                method,
                path,
                "x",
                |request| {
                    request.field("accept", b"*/*");
                },
                content,
                |head| (head.status(), head.fields().has(FieldName::ContentType)),
            );
            let (status, has_type) = fetched.await.expect("a response");
            assert!(has_type);
            assert_eq!(status == Status::NOT_FOUND, path == "/none");
            if path == "/none" {
                // What is left unread is read before the next request.
                continue;
            }
            let mut body = Vec::new();
            loop {
                let piece = client.fill().await.expect("a body");
                let length = piece.len();
                if length == 0 {
                    break;
                }
                body.extend_from_slice(piece);
                client.consume(length);
            }
            match path {
                "/long.txt" => assert_eq!(body, LONG),
                "/echo" => assert_eq!(body, b"hello"),
                "/events" => assert_eq!(body, b"data: 0\n\ndata: 1\n\ndata: 2\n\n"),
                _ => assert_eq!(body, b"<h1>It works</h1>"),
            }
            assert!(client.is_reusable());
        }
    });
    drop(socket);
    executor.run_until(executor.sleep(Duration::from_secs(1)));
    assert_eq!(
        ended.get().map(|(ending, _)| ending),
        Some(Ending::ByClient)
    );
}
