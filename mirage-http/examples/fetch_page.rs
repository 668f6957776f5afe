//! Server and client of this crate over TCP of the standard library, driven by hand: one thread serves a page, the other fetches it.
//!
//! `cargo run --example fetch_page`

use std::error::Error;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::thread;
use std::time;

use mirage_core::Instant;
use mirage_http::body::BodyStep;
use mirage_http::client::{ClientConnection, ClientEvent, ClientLimits, RequestContent};
use mirage_http::field::{FieldName, FieldSlot};
use mirage_http::server::{ContentLength, Limits, Server, ServerEvent};
use mirage_http::{Method, Status};

static PAGE: &[u8] = b"<!doctype html><title>A page</title><h1>It works</h1>\n";

type Failure = Box<dyn Error + Send + Sync>;

fn main() -> Result<(), Failure> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    let serving = thread::spawn(move || serve(&listener.accept()?.0));
    fetch(&TcpStream::connect(address)?, &address.to_string())?;
    serving.join().map_err(|_| "the server panicked")?
}

/// Answers requests until the client ends the connection.
fn serve(mut stream: &TcpStream) -> Result<(), Failure> {
    let clock = Clock::start();
    let server = Server::new(Limits::DEFAULT);
    let mut connection = server.connect(clock.now());
    let (mut input, mut slots) = (Vec::new(), [FieldSlot::EMPTY; 32]);
    let mut out = [0; 512];
    loop {
        let now = clock.now();
        let taken = match connection.handle_input(&input, &mut slots, now) {
            ServerEvent::NeedInput => {
                let deadline = connection.poll_timeout();
                if read(stream, &mut input, deadline.map(|at| at - now))? == 0 {
                    connection.handle_end();
                }
                continue;
            }
            ServerEvent::Discard(length) => length,
            ServerEvent::Request { head, length, .. } => {
                println!("server: {} {}", head.method(), head.target());
                let mut response = connection
                    .respond(&mut out, Status::OK)
                    .ok_or("no request")?;
                response.field("content-type", b"text/html; charset=utf-8");
                let size = PAGE.len() as u64;
                let head = response.finish(ContentLength::Known(size), now)?;
                stream.write_all(&out[..head])?;
                if connection.wants_content() {
                    connection.handle_sent(size, now)?;
                    stream.write_all(PAGE)?;
                }
                length
            }
            ServerEvent::Rejected(rejection) => return Err(rejection.into()),
            ServerEvent::Busy => return Err("each request was answered".into()),
            ServerEvent::Ended(ending) => {
                println!("server: {ending:?}");
                return Ok(());
            }
        };
        input.drain(..taken);
    }
}

/// Fetches the page.
fn fetch(mut stream: &TcpStream, host: &str) -> Result<(), Failure> {
    let clock = Clock::start();
    let limits = ClientLimits::DEFAULT;
    let mut connection = ClientConnection::new(&limits);
    let (mut input, mut slots) = (Vec::new(), [FieldSlot::EMPTY; 32]);
    let mut out = [0; 512];
    let request = connection
        .request(&mut out, Method::Get, "/", host)
        .ok_or("not possible")?;
    let length = request.finish(RequestContent::None, clock.now())?;
    stream.write_all(&out[..length])?;
    let mut page = Vec::new();
    loop {
        let now = clock.now();
        let (taken, content) = match connection.handle_input(&input, &mut slots, now)? {
            ClientEvent::NeedInput if connection.is_reusable() => break,
            ClientEvent::NeedInput => (0, None),
            ClientEvent::Informational { length, .. } => (length, Some(0)),
            ClientEvent::Response { head, length, .. } => {
                let kind = head.fields().text(FieldName::ContentType);
                println!(
                    "client: {}, {}",
                    head.status(),
                    kind.unwrap_or("of no type")
                );
                (length, Some(0))
            }
            ClientEvent::Busy => match connection.handle_body(&input, &mut slots, now)? {
                (skip, BodyStep::Content(length)) => (skip, Some(length)),
                (skip, BodyStep::Trailers(length)) => {
                    connection.consume_body(length, now);
                    (skip + length, Some(0))
                }
                (skip, BodyStep::NeedInput) => (skip, None),
                (skip, BodyStep::Complete) => (skip, Some(0)),
            },
            ClientEvent::Ended => break,
        };
        input.drain(..taken);
        match content {
            Some(length) => {
                page.extend(input.drain(..length));
                connection.consume_body(length, now);
            }
            None => {
                let deadline = connection.poll_timeout();
                if read(stream, &mut input, deadline.map(|at| at - now))? == 0 {
                    connection.handle_end();
                }
            }
        }
    }
    print!("client: {}", String::from_utf8_lossy(&page));
    assert_eq!(page, PAGE);
    Ok(())
}

/// Reads what is there, behind what was; waits no longer than that.
fn read(
    mut stream: &TcpStream,
    input: &mut Vec<u8>,
    most: Option<time::Duration>,
) -> Result<usize, Failure> {
    let mut buffer = [0; 4_096];
    stream.set_read_timeout(most.map(|most| most.max(time::Duration::from_millis(1))))?;
    let length = stream.read(&mut buffer)?;
    input.extend_from_slice(&buffer[..length]);
    Ok(length)
}

struct Clock(time::Instant);

impl Clock {
    fn start() -> Self {
        Self(time::Instant::now())
    }

    fn now(&self) -> Instant {
        Instant::ZERO + self.0.elapsed()
    }
}
