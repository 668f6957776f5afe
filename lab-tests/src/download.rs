//! A download whose client reads slowly until it is told to hurry, and every octet of it.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crate::{Failure, site};

/// What a slow client reads at a time.
const SIP: usize = 16_384;

/// The same once it has had half: it will not have all before it is told to hurry.
const SMALL_SIP: usize = 512;

/// Between two of those.
const PAUSE: Duration = Duration::from_millis(200);

/// How long nothing may come: xl and a busy machine take their time.
const PATIENCE: Duration = Duration::from_secs(120);

/// A client, and its thread.
pub(crate) struct Download {
    shared: Arc<Shared>,
    reading: JoinHandle<io::Result<Vec<u8>>>,
}

#[derive(Default)]
struct Shared {
    /// What has arrived at this machine: what was read, and what waits to be.
    arrived: AtomicUsize,
    hurry: AtomicBool,
}

impl Download {
    /// Asks for the file.
    pub(crate) fn start(address: Ipv4Addr) -> Result<Self, Failure> {
        let address = SocketAddr::from((address, 80));
        let mut stream = TcpStream::connect_timeout(&address, PATIENCE)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        let path = site::PATH;
        write!(
            stream,
            "GET {path} HTTP/1.1\r\nHost: web\r\nConnection: close\r\n\r\n"
        )?;
        let shared = Arc::new(Shared::default());
        let seen = Arc::clone(&shared);
        Ok(Self {
            shared,
            reading: thread::spawn(move || read(stream, &seen)),
        })
    }

    /// How much of the response has arrived.
    pub(crate) fn arrived(&self) -> usize {
        self.shared.arrived.load(Ordering::Relaxed)
    }

    /// How much of the response has arrived, and not a look ago.
    pub(crate) fn arrived_by_now(&self) -> usize {
        // Another look begins meanwhile, and ends.
        thread::sleep(3 * PAUSE);
        self.arrived()
    }

    /// Reads the rest as fast as it comes; all of it must be what the site has.
    pub(crate) fn finish(self, expected: &[u8]) -> Result<(), Failure> {
        self.shared.hurry.store(true, Ordering::Relaxed);
        let response = self.reading.join();
        let response = response.map_err(|_| "the client panicked")??;
        let end = response.windows(4).position(|four| four == b"\r\n\r\n");
        let end = end.ok_or("no head of a response")?;
        let (head, content) = (&response[..end], &response[end + 4..]);
        if !head.starts_with(b"HTTP/1.1 200 ") {
            return Err(String::from_utf8_lossy(head).into());
        }
        let mut pairs = content.iter().zip(expected);
        if let Some(at) = pairs.position(|(got, expected)| got != expected) {
            return Err(format!("octet {at} is another").into());
        }
        if content.len() != expected.len() {
            let (got, expected) = (content.len(), expected.len());
            return Err(format!("{got} of {expected} octets").into());
        }
        Ok(())
    }
}

fn read(mut stream: TcpStream, shared: &Shared) -> io::Result<Vec<u8>> {
    let mut response = Vec::new();
    let mut buffer = vec![0; site::LENGTH];
    loop {
        let hurries = shared.hurry.load(Ordering::Relaxed);
        if !hurries {
            let waiting = stream.peek(&mut buffer)?;
            let arrived = response.len() + waiting;
            shared.arrived.store(arrived, Ordering::Relaxed);
        }
        let size = match hurries {
            true => buffer.len(),
            false if response.len() < site::LENGTH / 2 => SIP,
            false => SMALL_SIP,
        };
        match stream.read(&mut buffer[..size])? {
            0 => return Ok(response),
            count => response.extend_from_slice(&buffer[..count]),
        }
        if !hurries {
            thread::sleep(PAUSE);
        }
    }
}
