//! The other end: this system's TCP, by the standard library's sockets.

use core::net::SocketAddr;
use std::fmt;
use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use bench_common::report::Error;
use bench_lab::comparison::Counted;

/// Octets of a call that sends or receives.
const CHUNK: usize = 131_072;

/// How long nothing may happen.
const PATIENCE: Duration = Duration::from_secs(30);

const MIB: f64 = 1_048_576.0;

/// One kind of work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Load {
    /// Whether this side sends.
    pub(crate) sends: bool,
    /// Connections at once.
    flows: usize,
}

impl Load {
    pub(crate) const ALL: [Self; 4] = [
        Self::new(true, 1),
        Self::new(true, 10),
        Self::new(false, 1),
        Self::new(false, 10),
    ];

    const fn new(sends: bool, flows: usize) -> Self {
        Self { sends, flows }
    }

    /// Sends for so long, and until the guest has taken all; or receives for so long, and leaves what is under way.
    pub(crate) fn transfer(self, server: SocketAddr, duration: Duration) -> Result<Counted, Error> {
        let begun = Instant::now();
        let end = begun + duration;
        let octets = thread::scope(|scope| {
            let flows = (0..self.flows).map(|_| {
                scope.spawn(move || match self.sends {
                    true => send(server, end),
                    false => receive(server, end),
                })
            });
            let flows: Vec<_> = flows.collect();
            let mut octets = 0;
            for flow in flows {
                let sent = flow.join();
                octets += sent.map_err(|_| io::Error::other("a thread panicked"))??;
            }
            Ok::<u64, io::Error>(octets)
        })?;
        Ok(Counted {
            count: octets as f64 / MIB,
            seconds: begun.elapsed().as_secs_f64(),
            errors: 0,
        })
    }
}

impl fmt::Display for Load {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let way = if self.sends { "in" } else { "out" };
        let plural = if self.flows == 1 { "" } else { "s" };
        write!(f, "{way}, {} flow{plural}", self.flows)
    }
}

fn connect(server: SocketAddr) -> io::Result<TcpStream> {
    let stream = TcpStream::connect_timeout(&server, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    Ok(stream)
}

/// Gives how many octets the other side has taken: it ends its direction behind the last.
fn send(server: SocketAddr, end: Instant) -> io::Result<u64> {
    let mut stream = connect(server)?;
    let buffer = vec![0; CHUNK];
    let mut octets = 0;
    while Instant::now() < end {
        octets += stream.write(&buffer)? as u64;
    }
    stream.shutdown(Shutdown::Write)?;
    match stream.read(&mut [0])? {
        0 => Ok(octets),
        _ => Err(io::Error::other("the sink has said something")),
    }
}

/// Gives how many octets came.
fn receive(server: SocketAddr, end: Instant) -> io::Result<u64> {
    let mut stream = connect(server)?;
    let mut buffer = vec![0; CHUNK];
    let mut octets = 0;
    while Instant::now() < end {
        match stream.read(&mut buffer)? {
            0 => return Err(io::Error::other("the source has ended")),
            count => octets += count as u64,
        }
    }
    Ok(octets)
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn what_is_counted_is_what_was_taken_and_what_came() {
        let sink = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let address = sink.local_addr().unwrap();
        let taken = thread::spawn(move || {
            let (stream, _) = sink.accept().unwrap();
            io::copy(&mut &stream, &mut io::sink()).unwrap()
        });
        let load = Load::new(true, 1);
        let counted = load.transfer(address, Duration::from_millis(20)).unwrap();
        assert_eq!(counted.count * MIB, taken.join().unwrap() as f64);

        let source = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let address = source.local_addr().unwrap();
        thread::spawn(move || {
            let (mut stream, _) = source.accept().unwrap();
            while stream.write(&[0; 1_000]).is_ok() {}
        });
        let load = Load::new(false, 1);
        let counted = load.transfer(address, Duration::from_millis(20)).unwrap();
        assert!(counted.count > 0.0);
        assert!(counted.seconds >= 0.02);
    }

    /// Octets after which the other side's direction doesn't end were not all taken.
    #[test]
    fn a_sink_that_goes_away_is_an_error() {
        let sink = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let address = sink.local_addr().unwrap();
        thread::spawn(move || drop(sink.accept().unwrap()));
        let load = Load::new(true, 1);
        assert!(load.transfer(address, Duration::from_secs(5)).is_err());
    }
}
