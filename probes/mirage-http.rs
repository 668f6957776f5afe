//! Both state machines against each other, chunks, dates, files of a compiled-in store.

//@ mirage-core = { path = "ROOT/mirage-core", default-features = false }

use mirage_core::Instant;
use mirage_core::kv::{CompiledEntry, CompiledStore};
use mirage_http::body::BodyStep;
use mirage_http::client::{ClientConnection, ClientEvent, ClientLimits, RequestContent};
use mirage_http::field::{FieldName, FieldSlot};
use mirage_http::files::Files;
use mirage_http::server::{ContentLength, Limits, Server, ServerEvent};
use mirage_http::{HttpDate, Method, Status};

static SITE: CompiledStore = CompiledStore::new_const(&[
    CompiledEntry::new("index.html", b"<h1>It works</h1>"),
    CompiledEntry::new("index.html.gz", b"\x1f\x8b"),
]);

/// Whether all of it works.
pub fn run() -> bool {
    talks().is_some() && dates() && finds_files()
}

fn talks() -> Option<()> {
    let now = Instant::ZERO;
    let (mut request, mut response) = ([0; 256], [0; 256]);
    let limits = ClientLimits::DEFAULT;
    let mut client = ClientConnection::new(&limits);
    let head = client.request(&mut request, Method::Get, "/a", "example.org")?;
    let asked = head.finish(RequestContent::None, now).ok()?;

    let server = Server::new(Limits::DEFAULT);
    let mut connection = server.connect(now);
    let mut slots = [FieldSlot::EMPTY; 16];
    let event = connection.handle_input(&request[..asked], &mut slots, now);
    let ServerEvent::Request { head, .. } = event else {
        return None;
    };
    (head.target() == "/a" && head.fields().has(FieldName::Host)).then_some(())?;
    let head = connection.respond(&mut response, Status::OK)?;
    let mut answered = head.finish(ContentLength::Unknown, now).ok()?;
    let before = connection.chunk(5)?;
    for piece in [&before[..], b"hello\r\n", connection.end_content(now).ok()?] {
        response
            .get_mut(answered..answered + piece.len())?
            .copy_from_slice(piece);
        answered += piece.len();
    }

    let input = &response[..answered];
    let event = client.handle_input(input, &mut slots, now).ok()?;
    let ClientEvent::Response { head, length, .. } = event else {
        return None;
    };
    (head.status() == Status::OK).then_some(())?;
    let (skip, step) = client.handle_body(&input[length..], &mut slots, now).ok()?;
    (step == BodyStep::Content(5) && input[length + skip..].starts_with(b"hello")).then_some(())
}

fn dates() -> bool {
    let text = b"Sun, 06 Nov 1994 08:49:37 GMT";
    HttpDate::parse(text, None).is_some_and(|date| date.format() == *text)
}

fn finds_files() -> bool {
    use core::pin::pin;
    use core::task::{Context, Poll, Waker};
    let request = b"GET / HTTP/1.1\r\nHost: x\r\nAccept-Encoding: gzip\r\n\r\n";
    let (server, mut slots) = (Server::new(Limits::DEFAULT), [FieldSlot::EMPTY; 16]);
    let mut connection = server.connect(Instant::ZERO);
    let ServerEvent::Request { head, .. } =
        connection.handle_input(request, &mut slots, Instant::ZERO)
    else {
        return false;
    };
    let (mut decoded, mut key) = ([0; 64], [0; 64]);
    let Some(path) = head
        .parse_target()
        .ok()
        .and_then(|target| target.path(&mut decoded).ok())
    else {
        return false;
    };
    let files = Files::new(&SITE);
    let answer = pin!(files.answer(&head, path, None, &mut key));
    let Poll::Ready(Ok(answer)) = answer.poll(&mut Context::from_waker(Waker::noop())) else {
        return false;
    };
    answer.key().map(|key| key.as_str()) == Some("index.html.gz")
}
