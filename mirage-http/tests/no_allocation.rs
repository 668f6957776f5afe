//! Nothing is allocated to serve a request or to ask one.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use mirage_core::Instant;
use mirage_core::kv::{CompiledEntry, CompiledStore, Digest};
use mirage_http::body::BodyStep;
use mirage_http::client::{ClientConnection, ClientEvent, ClientLimits, RequestContent};
use mirage_http::field::FieldSlot;
use mirage_http::files::{FilePiece, Files};
use mirage_http::server::{Limits, Server, ServerConnection, ServerEvent};
use mirage_http::{HttpDate, Method};

/// The system's allocator, which counts what each thread asks it for.
struct Counting;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

thread_local! {
    // Initialised at compile time and without a destructor: counting allocates nothing.
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

fn count() {
    ALLOCATIONS.with(|count| count.set(count.get() + 1));
}

// SAFETY: every call goes to `System` with the arguments that it came with, so `System` keeps the contract.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: the caller keeps the contract of `GlobalAlloc::alloc`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: the caller keeps the contract of `GlobalAlloc::dealloc`.
        unsafe { System.dealloc(block, layout) }
    }
}

/// How often this thread asks for memory in `work`.
fn allocations<T>(work: impl FnOnce() -> T) -> (u64, T) {
    let before = ALLOCATIONS.with(Cell::get);
    let result = work();
    (ALLOCATIONS.with(Cell::get) - before, result)
}

static SITE: CompiledStore = CompiledStore::new_const(&[
    CompiledEntry::new("index.html", b"<h1>It works</h1>").with_digest(digest(1)),
    CompiledEntry::new("index.html.gz", b"compressed").with_digest(digest(2)),
]);

const fn digest(number: u8) -> Digest {
    match Digest::new(&[number; 16]) {
        Some(digest) => digest,
        None => panic!("sixteen octets are a digest"),
    }
}

#[test]
fn allocations_are_seen() {
    assert_eq!(allocations(|| drop(Box::new([0u8; 100]))).0, 1);
}

#[test]
fn an_idle_connection_is_small() {
    let size = size_of::<ServerConnection<'_>>();
    assert!(size <= 512, "{size} octets");
}

#[test]
fn serving_a_file_and_asking_for_it_allocates_nothing() {
    let mut statuses = [0; 4];
    let (asked, ()) = allocations(|| {
        let fields: [&[(&str, &[u8])]; 4] = [
            &[],
            &[("accept-encoding", b"br, gzip;q=0.5")],
            &[("range", b"bytes=0-1,-2")],
            &[("if-none-match", b"\"01010101010101010101010101010101\"")],
        ];
        for (fields, status) in fields.into_iter().zip(&mut statuses) {
            *status = ask(fields);
        }
    });
    assert_eq!(asked, 0);
    assert_eq!(statuses, [200, 200, 206, 304]);
}

/// Asks for the page with these fields: the status.
fn ask(fields: &[(&str, &[u8])]) -> u16 {
    let now = Instant::ZERO;
    let limits = ClientLimits::DEFAULT;
    let mut client = ClientConnection::new(&limits);
    let (mut wire, mut answer) = ([0; 512], [0; 1_024]);
    let mut request = client
        .request(&mut wire, Method::Get, "/", "x")
        .expect("possible");
    for (name, value) in fields {
        request.field(name, value);
    }
    let length = request.finish(RequestContent::None, now).expect("room");
    let length = serve(&wire[..length], &mut answer);

    let mut slots = [FieldSlot::EMPTY; 16];
    let input = &answer[..length];
    let event = client
        .handle_input(input, &mut slots, now)
        .expect("a response");
    let ClientEvent::Response { head, length, .. } = event else {
        panic!("it is whole");
    };
    let status = head.status().code();
    let mut rest = &input[length..];
    loop {
        let (skip, step) = client.handle_body(rest, &mut slots, now).expect("a body");
        rest = &rest[skip..];
        match step {
            BodyStep::Content(length) => {
                rest = &rest[length..];
                client.consume_body(length, now);
            }
            BodyStep::Complete => break,
            other => panic!("{other:?}"),
        }
    }
    assert!(rest.is_empty() && client.is_reusable());
    status
}

/// Answers a request: how many octets.
fn serve(request: &[u8], out: &mut [u8]) -> usize {
    let now = Instant::ZERO;
    let server = Server::new(Limits::DEFAULT);
    let mut connection = server.connect(now);
    let mut slots = [FieldSlot::EMPTY; 16];
    let event = connection.handle_input(request, &mut slots, now);
    let ServerEvent::Request { head, .. } = event else {
        panic!("it is whole");
    };
    let (mut decoded, mut key) = ([0; 64], [0; 64]);
    let target = head.parse_target().expect("it was checked");
    let path = target.path(&mut decoded).expect("a path");
    let files = Files::new(&SITE);
    let date = HttpDate::from_unix(1_780_000_000);
    let answer = pin!(files.answer(&head, path, Some(date), &mut key));
    let Poll::Ready(Ok(answer)) = answer.poll(&mut Context::from_waker(Waker::noop())) else {
        panic!("it is compiled in");
    };
    let mut response = connection
        .respond(out, answer.status())
        .expect("a request waits");
    response.date(date);
    answer.write_fields(&head, &mut response);
    let mut length = response.finish(answer.content_length(), now).expect("room");
    for piece in answer.pieces() {
        let mut room = Text {
            text: [0; 256],
            length: 0,
        };
        let octets = match (piece, answer.key()) {
            (FilePiece::Octets(range), Some(key)) => {
                let value = SITE.value(key).expect("it was found");
                &value[range.start as usize..][..range.length as usize]
            }
            (text, _) => {
                std::fmt::Write::write_fmt(&mut room, format_args!("{text}")).expect("room");
                &room.text[..room.length]
            }
        };
        connection
            .handle_sent(octets.len() as u64, now)
            .expect("as the head said");
        out[length..length + octets.len()].copy_from_slice(octets);
        length += octets.len();
    }
    assert!(connection.is_answered());
    length
}

struct Text {
    text: [u8; 256],
    length: usize,
}

impl std::fmt::Write for Text {
    fn write_str(&mut self, text: &str) -> std::fmt::Result {
        let end = self.length + text.len();
        let place = self.text.get_mut(self.length..end).ok_or(std::fmt::Error)?;
        place.copy_from_slice(text.as_bytes());
        self.length = end;
        Ok(())
    }
}
