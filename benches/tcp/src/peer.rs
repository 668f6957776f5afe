//! The other end: this system's TCP, by the standard library's sockets.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, ScopedJoinHandle};
use std::time::{Duration, Instant};

use bench_common::processes::{idle_and_stolen_time, process_time};
use bench_common::report::Error;
use rustix::net::sockopt::{set_socket_linger, set_tcp_congestion};
use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with};
use serde::{Deserialize, Serialize};

use crate::guest::Guest;
use crate::load::{Load, OPENERS, QUESTION, port};

/// Octets of a call that sends or receives.
const CHUNK: usize = 131_072;

/// Linux's congestion control unless somebody chose another: one that paces what it sends would be measured by its own estimate of
/// the tap, which it has of the stack's acknowledgements. It is chosen before a connection opens: a socket that a pacing one has had
/// is paced for as long as it lives, whichever comes after.
const CONGESTION_CONTROL: &str = "cubic";

/// How long nothing may happen.
const PATIENCE: Duration = Duration::from_secs(10);

/// What a load came to.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Outcome {
    /// How long was measured.
    pub(crate) seconds: f64,
    /// Octets, answers or connections in that time.
    pub(crate) count: u64,
    /// The median of the time from a question to its answer, in microseconds, where that was measured.
    pub(crate) latency_us: Option<f64>,
    /// That which 99 of 100 are below.
    pub(crate) latency_99_us: Option<f64>,
    /// What the guest's process ran in that time.
    pub(crate) guest_seconds: f64,
    /// What the host took away of all processors in that time.
    pub(crate) stolen_seconds: f64,
}

/// Puts a load on a guest.
pub(crate) fn measure(
    guest: &Guest,
    load: Load,
    warm_up: Duration,
    duration: Duration,
) -> Result<Outcome, Error> {
    let counted = AtomicU64::new(0);
    let over = AtomicBool::new(false);
    let (counted, over) = (&counted, &over);
    thread::scope(|scope| {
        let mut streams = Vec::new();
        let mut workers: Vec<ScopedJoinHandle<'_, Result<Vec<u64>, String>>> = Vec::new();
        match load {
            Load::In { flows } | Load::Out { flows } => {
                let sends = matches!(load, Load::In { .. });
                let address = guest.at(if sends { port::SINK } else { port::SOURCE });
                for _ in 0..flows {
                    let stream = connect(address)?;
                    streams.push(stream.try_clone()?);
                    workers.push(scope.spawn(move || transfer(stream, sends, counted, over)));
                }
            }
            Load::PingPong => {
                let stream = connect(guest.at(port::ECHO))?;
                workers.push(scope.spawn(move || ask(stream, counted, over)));
            }
            Load::Connections => {
                let address = guest.at(port::ECHO);
                for _ in 0..OPENERS {
                    workers.push(scope.spawn(move || open(address, counted, over)));
                }
            }
        }
        thread::sleep(warm_up);
        let before = Reading::now(guest, counted);
        thread::sleep(duration);
        let after = Reading::now(guest, counted);
        // Whatever came of it: the scope waits for its threads.
        over.store(true, Ordering::Relaxed);
        for stream in streams {
            // Whoever waits in a call comes out of it.
            let _ = stream.shutdown(Shutdown::Both);
        }
        let mut latencies = Vec::new();
        for worker in workers {
            let result = worker
                .join()
                .map_err(|_| "a thread of the peer's panicked")?;
            latencies.extend(result?);
        }
        latencies.sort_unstable();
        let at = |share: f64| {
            let index = (latencies.len() as f64 * share) as usize;
            latencies
                .get(index.min(latencies.len().saturating_sub(1)))
                .map(|nanoseconds| *nanoseconds as f64 / 1e3)
        };
        let (before, after) = (before?, after?);
        let count = after.count - before.count;
        if count == 0 {
            return Err("nothing came through".into());
        }
        Ok(Outcome {
            seconds: after.at.duration_since(before.at).as_secs_f64(),
            count,
            latency_us: at(0.5),
            latency_99_us: at(0.99),
            guest_seconds: after.guest - before.guest,
            stolen_seconds: after.stolen - before.stolen,
        })
    })
}

/// A moment, and what there was by then: octets or answers, the guest's processor time and what the host took away, in seconds.
struct Reading {
    at: Instant,
    count: u64,
    guest: f64,
    stolen: f64,
}

impl Reading {
    fn now(guest: &Guest, counted: &AtomicU64) -> Result<Self, Error> {
        Ok(Self {
            at: Instant::now(),
            count: counted.load(Ordering::Relaxed),
            guest: process_time(guest.process())?,
            stolen: idle_and_stolen_time()?.1,
        })
    }
}

/// A connection whose end is a reset, so that no TIME-WAIT is left of it on either side.
fn connect(address: SocketAddr) -> Result<TcpStream, String> {
    let (family, kind) = (AddressFamily::INET, SocketType::STREAM);
    let socket = socket_with(family, kind, SocketFlags::CLOEXEC, None);
    let stream = TcpStream::from(socket.map_err(|errno| format!("socket: {errno}"))?);
    let settings = || {
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        // connect(2) waits no longer either (socket(7), SO_SNDTIMEO).
        stream.set_write_timeout(Some(PATIENCE))?;
        set_tcp_congestion(&stream, CONGESTION_CONTROL)?;
        // Its end is a reset.
        Ok(set_socket_linger(&stream, Some(Duration::ZERO))?)
    };
    settings().map_err(|error: std::io::Error| format!("a socket: {error}"))?;
    rustix::net::connect(&stream, &address).map_err(|errno| format!("connect: {errno}"))?;
    Ok(stream)
}

/// Sends, or receives, until it is over.
fn transfer(
    mut stream: TcpStream,
    sends: bool,
    counted: &AtomicU64,
    over: &AtomicBool,
) -> Result<Vec<u64>, String> {
    let mut buffer = vec![0; CHUNK];
    loop {
        let result = if sends {
            stream.write(&buffer)
        } else {
            stream.read(&mut buffer)
        };
        match result {
            _ if over.load(Ordering::Relaxed) => return Ok(Vec::new()),
            Ok(0) => return Err("the connection was closed".into()),
            Ok(count) => {
                counted.fetch_add(count as u64, Ordering::Relaxed);
            }
            Err(error) => return Err(error.to_string()),
        }
    }
}

/// A question and its answer.
fn exchange(stream: &mut TcpStream) -> std::io::Result<()> {
    let mut answer = [0; QUESTION];
    stream.write_all(&[7; QUESTION])?;
    stream.read_exact(&mut answer)
}

/// One question after the other; gives the times to their answers in nanoseconds.
fn ask(mut stream: TcpStream, counted: &AtomicU64, over: &AtomicBool) -> Result<Vec<u64>, String> {
    let mut latencies = Vec::new();
    while !over.load(Ordering::Relaxed) {
        let begin = Instant::now();
        exchange(&mut stream).map_err(|error| error.to_string())?;
        latencies.push(begin.elapsed().as_nanos() as u64);
        counted.fetch_add(1, Ordering::Relaxed);
    }
    Ok(latencies)
}

/// One connection after the other, each with a question and its answer.
fn open(address: SocketAddr, counted: &AtomicU64, over: &AtomicBool) -> Result<Vec<u64>, String> {
    while !over.load(Ordering::Relaxed) {
        let mut stream = connect(address)?;
        exchange(&mut stream).map_err(|error| error.to_string())?;
        counted.fetch_add(1, Ordering::Relaxed);
    }
    Ok(Vec::new())
}
