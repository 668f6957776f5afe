//! The appliance's library serves the site that is compiled into it, over a connection that is an array.
//@ mirage-core = { path = "ROOT/mirage-core", default-features = false }
//@ edge-nal = { version = "0.7", default-features = false }
//@ embedded-io-async = { version = "0.7", default-features = false }

use core::cell::{Cell, RefCell};
use core::future::pending;
use core::net::SocketAddr;
use core::sync::atomic::{AtomicU64, Ordering};
use core::time::Duration;

use edge_nal::{Close, Readable, TcpAccept, TcpShutdown, TcpSplit};
use embedded_io_async::{ErrorKind, ErrorType, Read, Write};
use mirage_core::executor::{Executor, ExecutorMemory, Platform, Unpark};
use mirage_core::{Clock, Instant};
use web_appliance::{AnyTcp, Buffers, SITE, Service, ServiceLimits, serve_slot};

static EXECUTOR: ExecutorMemory = ExecutorMemory::new();
static MACHINE: VirtualMachine = VirtualMachine(AtomicU64::new(0));

/// Whether a client gets the site's page and the metrics.
pub fn run() -> bool {
    let Some(executor) = Executor::new(&EXECUTOR, &MACHINE) else {
        return false;
    };
    let service = Service::new(SITE, ServiceLimits::new(1));
    let asked = |request: &'static [u8], part: &[u8]| {
        let client = Client {
            is_new: Cell::new(true),
            request,
            output: RefCell::new(([0; 32_768], 0)),
        };
        let mut buffers = Buffers::<9_000, 2_048, 32>::new();
        let listener = AnyTcp(&client);
        let serving = serve_slot(&listener, &service, executor, &mut buffers);
        // It serves for ever; in virtual time nobody waits for that.
        let ended = executor.run_until(executor.timeout(Duration::from_secs(60), serving));
        let (octets, length) = &*client.output.borrow();
        let output = &octets[..*length];
        ended.is_err()
            && output.starts_with(b"HTTP/1.1 200 ")
            && output.windows(part.len()).any(|window| window == part)
    };
    asked(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", b"</html>")
        && asked(
            b"GET /_mirage/metrics HTTP/1.1\r\nHost: x\r\n\r\n",
            b"\nmirage_http_requests_total 2\n",
        )
}

/// One client, who asks and then has said all: its own listener, and its connection's other end.
struct Client {
    is_new: Cell<bool>,
    request: &'static [u8],
    output: RefCell<([u8; 32_768], usize)>,
}

impl TcpAccept for Client {
    type Error = ErrorKind;
    type Socket<'a> = Socket<'a>;

    async fn accept(&self) -> Result<(SocketAddr, Socket<'_>), ErrorKind> {
        if !self.is_new.replace(false) {
            return pending().await;
        }
        let socket = Socket {
            client: self,
            input: self.request,
        };
        Ok((SocketAddr::from(([192, 0, 2, 1], 1_234)), socket))
    }
}

struct Socket<'c> {
    client: &'c Client,
    input: &'static [u8],
}

impl ErrorType for Socket<'_> {
    type Error = ErrorKind;
}

impl Read for Socket<'_> {
    async fn read(&mut self, buffer: &mut [u8]) -> Result<usize, ErrorKind> {
        let length = buffer.len().min(self.input.len());
        let (now, later) = self.input.split_at(length);
        buffer[..length].copy_from_slice(now);
        self.input = later;
        Ok(length)
    }
}

impl Write for Socket<'_> {
    async fn write(&mut self, octets: &[u8]) -> Result<usize, ErrorKind> {
        let (output, length) = &mut *self.client.output.borrow_mut();
        let room = &mut output[*length..];
        let taken = octets.len().min(room.len());
        if taken == 0 {
            return Err(ErrorKind::OutOfMemory);
        }
        room[..taken].copy_from_slice(&octets[..taken]);
        *length += taken;
        Ok(taken)
    }

    async fn flush(&mut self) -> Result<(), ErrorKind> {
        Ok(())
    }
}

impl Readable for Socket<'_> {
    async fn readable(&mut self) -> Result<(), ErrorKind> {
        Ok(())
    }
}

impl TcpSplit for Socket<'_> {
    type Read<'a>
        = Socket<'a>
    where
        Self: 'a;
    type Write<'a>
        = Socket<'a>
    where
        Self: 'a;

    fn split(&mut self) -> (Socket<'_>, Socket<'_>) {
        let half = |input| Socket {
            client: self.client,
            input,
        };
        (half(self.input), half(&[]))
    }
}

impl TcpShutdown for Socket<'_> {
    async fn close(&mut self, _: Close) -> Result<(), ErrorKind> {
        Ok(())
    }

    async fn abort(&mut self) -> Result<(), ErrorKind> {
        Ok(())
    }
}

/// A machine whose time passes only while it is parked.
struct VirtualMachine(AtomicU64);

impl Clock for VirtualMachine {
    fn now(&self) -> Instant {
        Instant::from_nanos(self.0.load(Ordering::Relaxed))
    }

    fn wall(&self) -> Option<Duration> {
        None
    }
}

impl Platform for VirtualMachine {
    fn park(&self, until: Option<Instant>) {
        if let Some(until) = until {
            self.0.fetch_max(until.as_nanos(), Ordering::Relaxed);
        }
    }

    fn unparker(&self) -> &'static dyn Unpark {
        &MACHINE
    }
}

impl Unpark for VirtualMachine {
    fn unpark(&self) {}
}
