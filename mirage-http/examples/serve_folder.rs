//! Serves the files of a folder over TCP, one thread a connection: each reads and writes, and the state machine decides.
//!
//! `cargo run --example serve_folder` serves a page of its own to itself, and ends. With a folder and an address it serves that
//! until it is ended: `cargo run --release --example serve_folder -- FOLDER 127.0.0.1:8080`.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::convert::Infallible;
use std::error::Error;
use std::fs;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::ops::ControlFlow;
use std::path::Path as FilePath;
use std::pin::pin;
use std::task::{Context, Poll, Waker};
use std::thread;
use std::time::{self, Duration, SystemTime};

use mirage_core::Instant;
use mirage_core::kv::{Digest, Entry, EntryKind, Key, Kv, KvError, Value};
use mirage_http::field::FieldSlot;
use mirage_http::files::{FilePiece, Files};
use mirage_http::head::RequestHead;
use mirage_http::server::{ContentLength, Ending, Limits, Server, ServerConnection, ServerEvent};
use mirage_http::{HttpDate, Status};

type Failure = Box<dyn Error + Send + Sync>;

fn main() -> Result<(), Failure> {
    let mut arguments = std::env::args().skip(1);
    let (Some(folder), Some(address)) = (arguments.next(), arguments.next()) else {
        return serve_oneself();
    };
    let mut site = Site::default();
    site.load(FilePath::new(&folder), String::new())?;
    let site: &'static Site = Box::leak(Box::new(site));
    let listener = TcpListener::bind(&address)?;
    println!(
        "{} files on http://{}/",
        site.0.len(),
        listener.local_addr()?
    );
    loop {
        let (stream, _) = listener.accept()?;
        thread::spawn(move || serve(&stream, site));
    }
}

fn serve_oneself() -> Result<(), Failure> {
    let mut site = Site::default();
    site.add("index.html".into(), b"<h1>It works</h1>\n".to_vec(), None);
    let site: &'static Site = Box::leak(Box::new(site));
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    let serving = thread::spawn(move || match listener.accept() {
        Ok((stream, _)) => serve(&stream, site),
        Err(error) => Err(error.into()),
    });
    let mut stream = TcpStream::connect(address)?;
    stream.write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    print!("{answer}");
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n") && answer.ends_with("It works</h1>\n"));
    serving.join().map_err(|_| "the server panicked")?
}

/// Files in memory.
#[derive(Default)]
struct Site(BTreeMap<String, File>);

struct File {
    octets: Vec<u8>,
    digest: Digest,
    modified: Option<Duration>,
}

impl Site {
    fn load(&mut self, folder: &FilePath, prefix: String) -> Result<(), Failure> {
        for entry in fs::read_dir(folder)? {
            let entry = entry?;
            let Ok(name) = entry.file_name().into_string() else {
                continue;
            };
            let key = format!("{prefix}{name}");
            if entry.file_type()?.is_dir() {
                self.load(&entry.path(), key + "/")?;
            } else {
                let modified = entry.metadata()?.modified()?;
                let modified = modified.duration_since(SystemTime::UNIX_EPOCH).ok();
                self.add(key, fs::read(entry.path())?, modified);
            }
        }
        Ok(())
    }

    fn add(&mut self, key: String, octets: Vec<u8>, modified: Option<Duration>) {
        // FNV-1a: enough to tell one version from the next.
        let hash = octets
            .iter()
            .fold(0xcbf2_9ce4_8422_2325_u64, |hash, octet| {
                (hash ^ u64::from(*octet)).wrapping_mul(0x100_0000_01b3)
            });
        let digest = Digest::new(&hash.to_be_bytes()).expect("eight octets are a digest");
        let file = File {
            octets,
            digest,
            modified,
        };
        self.0.insert(key, file);
    }

    fn file(&self, key: Key<'_>) -> Result<&File, KvError<Infallible>> {
        if let Some(file) = self.0.get(key.as_str()) {
            return Ok(file);
        }
        let below = format!("{}/", key.as_str());
        let next = self.0.range(below.clone()..).next();
        match key.is_root() || next.is_some_and(|(name, _)| name.starts_with(&below)) {
            true => Err(KvError::IsDictionary),
            false => Err(KvError::NotFound),
        }
    }
}

/// Octets that lie in memory as long as the program runs.
struct Octets(&'static [u8]);

impl Value for Octets {
    fn pieces(&self) -> impl Iterator<Item = &[u8]> {
        std::iter::once(self.0)
    }
}

impl Kv for &'static Site {
    type Error = Infallible;
    type Value = Octets;

    async fn get(&self, key: Key<'_>) -> Result<Octets, KvError<Infallible>> {
        self.get_partial(key, 0, usize::MAX).await
    }

    async fn get_partial(
        &self,
        key: Key<'_>,
        offset: u64,
        length: usize,
    ) -> Result<Octets, KvError<Infallible>> {
        let site: &'static Site = self;
        let octets = &site.file(key)?.octets[..];
        let offset = usize::try_from(offset).unwrap_or(usize::MAX);
        let rest = octets.get(offset..).unwrap_or_default();
        Ok(Octets(&rest[..rest.len().min(length)]))
    }

    async fn size(&self, key: Key<'_>) -> Result<u64, KvError<Infallible>> {
        Ok(self.file(key)?.octets.len() as u64)
    }

    async fn exists(&self, key: Key<'_>) -> Result<Option<EntryKind>, KvError<Infallible>> {
        match self.file(key) {
            Ok(_) => Ok(Some(EntryKind::Value)),
            Err(KvError::IsDictionary) => Ok(Some(EntryKind::Dictionary)),
            Err(_) => Ok(None),
        }
    }

    async fn list(
        &self,
        _: Key<'_>,
        _: impl FnMut(Entry<'_>) -> ControlFlow<()>,
    ) -> Result<(), KvError<Infallible>> {
        Err(KvError::NotFound)
    }

    async fn digest(&self, key: Key<'_>) -> Result<Digest, KvError<Infallible>> {
        Ok(self.file(key)?.digest)
    }

    async fn last_modified(&self, key: Key<'_>) -> Result<Option<Duration>, KvError<Infallible>> {
        Ok(self.file(key)?.modified)
    }
}

/// A future of a store that is never pending.
fn now_or_never<T>(future: impl Future<Output = T>) -> T {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(output) => output,
        Poll::Pending => unreachable!("all files are in memory"),
    }
}

thread_local! {
    static STARTED: Cell<time::Instant> = Cell::new(time::Instant::now());
}

fn now() -> Instant {
    Instant::ZERO + STARTED.get().elapsed()
}

/// Serves one connection.
fn serve(stream: &TcpStream, site: &'static Site) -> Result<(), Failure> {
    stream.set_nodelay(true)?;
    let server = Server::new(Limits::DEFAULT);
    let mut connection = server.connect(now());
    let (mut input, mut start, mut end) = (vec![0; 16_384], 0, 0);
    let mut output = Vec::with_capacity(16_384);
    let mut slots = [FieldSlot::EMPTY; 64];
    loop {
        let event = connection.handle_input(&input[start..end], &mut slots, now());
        match event {
            ServerEvent::NeedInput => {
                send(stream, &mut output)?;
                input.copy_within(start..end, 0);
                (start, end) = (0, end - start);
                if end == input.len() {
                    let status = connection.handle_full().status();
                    answer_status(&mut connection, status, &mut output)?;
                    continue;
                }
                end += receive(stream, &mut connection, &mut input[end..], &mut output)?;
            }
            ServerEvent::Discard(length) => start += length,
            ServerEvent::Request { head, length, .. } => {
                answer(&mut connection, &head, site, stream, &mut output)?;
                start += length;
            }
            ServerEvent::Rejected(rejection) => {
                answer_status(&mut connection, rejection.status(), &mut output)?;
            }
            ServerEvent::Busy => return Err("each request was answered".into()),
            ServerEvent::Ended(ending) => {
                send(stream, &mut output)?;
                if ending.lingers() {
                    linger(stream)?;
                }
                return Ok(());
            }
        }
    }
}

/// Reads more, by the connection's deadline.
fn receive(
    mut stream: &TcpStream,
    connection: &mut ServerConnection<'_>,
    space: &mut [u8],
    output: &mut Vec<u8>,
) -> Result<usize, Failure> {
    let deadline = connection.poll_timeout().unwrap_or(now());
    let most = (deadline - now()).max(Duration::from_millis(1));
    stream.set_read_timeout(Some(most))?;
    match stream.read(space) {
        Ok(0) => connection.handle_end(),
        Ok(length) => return Ok(length),
        Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
            if let Err(rejection) = connection.handle_timeout(now()) {
                answer_status(connection, rejection.status(), output)?;
            }
        }
        Err(_) => connection.abort(Ending::Truncated),
    }
    Ok(0)
}

/// Answers a request for a file.
fn answer(
    connection: &mut ServerConnection<'_>,
    head: &RequestHead<'_>,
    site: &'static Site,
    stream: &TcpStream,
    output: &mut Vec<u8>,
) -> Result<(), Failure> {
    let (mut decoded, mut key) = ([0; 4_096], [0; 4_200]);
    let path = head
        .parse_target()
        .ok()
        .and_then(|target| target.path(&mut decoded).ok());
    let Some(path) = path else {
        return answer_status(connection, Status::BAD_REQUEST, output);
    };
    let files = Files::new(&site);
    let date = date();
    let answer = now_or_never(files.answer(head, path, date, &mut key))?;
    let text = match answer.has_content() || answer.status().is_without_content() {
        true => String::new(),
        false => format!("{}\n", answer.status()),
    };
    let mut room = [0; 1_024];
    let mut response = connection
        .respond(&mut room, answer.status())
        .ok_or("no request")?;
    if let Some(date) = date {
        response.date(date);
    }
    answer.write_fields(head, &mut response);
    let length = match answer.has_content() {
        true => answer.content_length(),
        false => ContentLength::Known(text.len() as u64),
    };
    let length = response.finish(length, now())?;
    output.extend_from_slice(&room[..length]);
    let mut put = |octets: &[u8]| -> Result<(), Failure> {
        if !connection.wants_content() {
            return Ok(());
        }
        connection.handle_sent(octets.len() as u64, now())?;
        if octets.len() > 8_192 {
            send(stream, output)?;
            let mut stream = stream;
            return Ok(stream.write_all(octets)?);
        }
        output.extend_from_slice(octets);
        Ok(())
    };
    put(text.as_bytes())?;
    for piece in answer.pieces() {
        match (piece, answer.key()) {
            (FilePiece::Octets(range), Some(key)) => {
                let length = usize::try_from(range.length)?;
                let value = now_or_never(files.store().get_partial(key, range.start, length))?;
                put(value.0)?;
            }
            (text, _) => put(text.to_string().as_bytes())?,
        }
    }
    Ok(())
}

fn answer_status(
    connection: &mut ServerConnection<'_>,
    status: Status,
    output: &mut Vec<u8>,
) -> Result<(), Failure> {
    let text = format!("{status}\n");
    let mut room = [0; 512];
    let mut response = connection.respond(&mut room, status).ok_or("no request")?;
    response.field("content-type", b"text/plain; charset=utf-8");
    let length = response.finish(ContentLength::Known(text.len() as u64), now())?;
    output.extend_from_slice(&room[..length]);
    if connection.wants_content() {
        connection.handle_sent(text.len() as u64, now())?;
        output.extend_from_slice(text.as_bytes());
    }
    Ok(())
}

fn send(mut stream: &TcpStream, output: &mut Vec<u8>) -> Result<(), Failure> {
    if !output.is_empty() {
        stream.write_all(output)?;
        output.clear();
    }
    Ok(())
}

/// Lets the client take the last answer before the connection is gone.
fn linger(mut stream: &TcpStream) -> Result<(), Failure> {
    stream.shutdown(Shutdown::Write)?;
    stream.set_read_timeout(Some(Limits::DEFAULT.linger))?;
    let mut left = [0; 4_096];
    for _ in 0..64 {
        if !matches!(stream.read(&mut left), Ok(1..)) {
            break;
        }
    }
    Ok(())
}

fn date() -> Option<HttpDate> {
    let wall = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    wall.ok().map(HttpDate::from_wall)
}
