//! The other end: this system's TCP, by the standard library's sockets.

use std::fs;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use bench_common::processes::process_time;
use bench_common::report::Error;
use bench_common::rounds::alternate;
use bench_common::statistics::Spread;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::TapRow;
use super::guest::PORT;

/// Octets of a question, and of its answer.
const OCTETS: usize = 100;
/// How long a connection or an answer may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// Descriptors beside those of the connections.
const OTHERS: u64 = 64;

/// A stack on a tap, in a process of its own, which ends when this is dropped.
struct Guest {
    child: Child,
    connections: Vec<TcpStream>,
}

impl Drop for Guest {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Calls `ip`, which has to succeed.
fn ip(arguments: &[&str]) -> Result<(), Error> {
    let output = Command::new("ip").args(arguments).output();
    let output = output.map_err(|error| format!("ip (Debian's package iproute2): {error}"))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        return Err(format!("ip {}: {said}", arguments.join(" ")).into());
    }
    Ok(())
}

impl Guest {
    /// Starts one that has room for so many connections, and opens them.
    fn start(number: u8, connections: usize) -> Result<Self, Error> {
        let (interface, own) = (format!("idle{number}"), Ipv4Addr::new(10, 79, number, 1));
        let address = Ipv4Addr::new(10, 79, number, 2);
        ip(&["tuntap", "add", "dev", &interface, "mode", "tap"])?;
        ip(&["address", "add", &format!("{own}/24"), "dev", &interface])?;
        ip(&["link", "set", &interface, "up"])?;
        let child = Command::new(std::env::current_exe()?)
            .args(["guest", &interface, &address.to_string()])
            .arg(connections.to_string())
            .stdin(Stdio::null())
            .spawn()?;
        let mut guest = Guest {
            child,
            connections: Vec::with_capacity(connections),
        };
        let address = (address, PORT).into();
        let first = guest.first(address)?;
        guest.connections.push(first);
        while guest.connections.len() < connections {
            guest.connections.push(connect(address)?);
        }
        // Each of them serves.
        for number in 0..connections {
            guest.ask(number)?;
        }
        Ok(guest)
    }

    /// The first connection, when it takes one.
    fn first(&mut self, address: SocketAddr) -> Result<TcpStream, Error> {
        let end = Instant::now() + PATIENCE;
        loop {
            match connect(address) {
                Ok(stream) => return Ok(stream),
                Err(error) if Instant::now() > end => return Err(error),
                Err(_) => thread::sleep(Duration::from_millis(20)),
            }
            if let Some(status) = self.child.try_wait()? {
                return Err(format!("the guest has ended: {status}").into());
            }
        }
    }

    /// A question on one of them, and its answer.
    fn ask(&mut self, number: usize) -> Result<(), Error> {
        let connection = self.connections.get_mut(number);
        let connection = connection.ok_or("a connection that is not there")?;
        let mut answer = [0; OCTETS];
        connection.write_all(&[number as u8; OCTETS])?;
        connection.read_exact(&mut answer)?;
        if answer != [number as u8; OCTETS] {
            return Err("an answer that is none of ours".into());
        }
        Ok(())
    }

    /// Bytes of memory that its process has.
    fn resident(&self) -> Result<u64, Error> {
        let text = fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kibibytes = line.and_then(|rest| rest.split_whitespace().next()?.parse::<u64>().ok());
        Ok(kibibytes.ok_or("no VmRSS in its status")? * 1_024)
    }
}

fn connect(address: SocketAddr) -> Result<TcpStream, Error> {
    let stream = TcpStream::connect_timeout(&address, PATIENCE)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    Ok(stream)
}

/// Opens them all, and asks on some, in turns.
pub(super) fn measure(
    counts: &[usize],
    rounds: usize,
    questions: usize,
) -> Result<Vec<TapRow>, Error> {
    let wanted = counts.iter().sum::<usize>() as u64 + OTHERS;
    let limit = getrlimit(Resource::Nofile);
    let maximum = limit.maximum.map(|maximum| maximum.max(wanted));
    let current = limit.current.map(|current| current.max(wanted));
    setrlimit(Resource::Nofile, Rlimit { current, maximum })
        .map_err(|error| format!("{wanted} descriptors: {error}"))?;
    ip(&["link", "set", "lo", "up"])?;
    let mut guests = Vec::new();
    for (number, &count) in (0..).zip(counts) {
        guests.push(Guest::start(number, count)?);
    }
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    let mut found = vec![Vec::new(); guests.len()];
    let places: Vec<usize> = (0..guests.len()).collect();
    for (_, place) in alternate(rounds, &places) {
        let guest = &mut guests[place];
        let before = process_time(guest.child.id())?;
        for _ in 0..questions {
            let number = rng.next_u64() as usize % guest.connections.len();
            guest.ask(number)?;
        }
        let seconds = process_time(guest.child.id())? - before;
        found[place].push(seconds * 1e6 / questions as f64);
    }
    let mut rows = Vec::new();
    for (guest, runs) in guests.iter().zip(found) {
        rows.push(TapRow {
            connections: guest.connections.len(),
            resident: guest.resident()?,
            microseconds: Spread::of(runs.iter().copied()).ok_or("no rounds")?,
            runs,
        });
    }
    Ok(rows)
}
