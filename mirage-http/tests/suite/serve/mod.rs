//! The shells over a pipe, in virtual time: pages, bodies, streams, slow and broken clients.

mod ahead;
mod bodies;
mod broken;
mod client;
mod files;

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
