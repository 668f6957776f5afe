//! A machine with this project's stack.

use std::cell::RefCell;
use std::net::Ipv4Addr;
use std::time::Duration;

use bench_common::report::Error;
use mirage_core::pool::Reserve;
use mirage_core::{Frame, Instant, MacAddress, Offloads, Pool};
use mirage_net::tcp::{
    CongestionAlgorithm, ConnectionOptions, ListenOptions, ListenerHandle, TcpCapacities,
    TcpHandle, TcpStorage,
};
use mirage_net::{Capacities, Cidr, ConflictConfig, Stack, StackConfig, StackStorage};
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::SeedableRng;

use crate::link::Wire;
use crate::machine::{Machine, Role, is_stream, stream};

/// Bytes of a page.
const BLOCK: usize = 2_048;
/// Pages that the device receives into.
const RESERVE: usize = 64;
const PORT: u16 = 1;

thread_local! {
    /// Pools that machines have given back: a pool lives as long as the process.
    static POOLS: RefCell<Vec<&'static Pool>> = const { RefCell::new(Vec::new()) };
}

/// A pool for the time of one machine.
struct Lease(&'static Pool);

impl Lease {
    fn of(blocks: usize) -> Result<Self, Error> {
        let kept = POOLS.with_borrow_mut(|pools| {
            let place = pools.iter().position(|pool| pool.blocks() == blocks)?;
            Some(pools.swap_remove(place))
        });
        match kept {
            Some(pool) => Ok(Lease(pool)),
            None => Ok(Lease(Pool::leak(blocks, BLOCK)?)),
        }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        // One that lacks pages would make the next run another one.
        if self.0.free_in_all() == self.0.blocks() {
            POOLS.with_borrow_mut(|pools| pools.push(self.0));
        }
    }
}

/// What the connection of a machine is like.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Connection {
    /// Octets of the receive window, and of what may be queued to be sent.
    pub(crate) buffer: usize,
    pub(crate) congestion: CongestionAlgorithm,
    /// Explicit congestion notification.
    pub(crate) notification: bool,
}

/// A machine.
pub(crate) struct Mirage {
    stack: Stack<'static>,
    reserve: Reserve,
    listener: Option<ListenerHandle>,
    connection: Option<TcpHandle>,
    role: Role,
    /// Octets written, or read.
    done: u64,
    wrong: bool,
    /// Frames for which there was no page.
    dropped: u64,
    // After what has its pages.
    pool: Lease,
}

impl Mirage {
    /// `number` is the last one of its address; the peer's is the next one, or the one before it.
    pub(crate) fn new(
        role: Role,
        connection: Connection,
        seed: u64,
        now: Instant,
    ) -> Result<Self, Error> {
        let (own, peer) = match role {
            Role::Receiver => (1, 2),
            Role::Sender => (2, 1),
        };
        // A page holds one segment that was received, or is full of what is to be sent; and a quarter of all stays free, so
        // that nobody is held to a share of what is scarce.
        let pages = connection.buffer / 1_024 + 64;
        let pool = Lease::of(3 * pages + 2 * RESERVE)?;
        let address = |last| Ipv4Addr::new(10, 0, 0, last);
        let offloads = Offloads {
            fragments: Frame::MAX_SEGMENTS as u8,
            ..Offloads::NONE
        };
        let config = StackConfig::new(MacAddress([2, 0, 0, 0, 0, own]), 1_500, offloads);
        let storage = StackStorage::allocate(&Capacities::default()).with_tcp(
            TcpStorage::allocate(&TcpCapacities {
                connections: 4,
                segments: 4 * pages,
                listeners: 1,
                half_open: 4,
                time_waits: 4,
            }),
        );
        let mut rng = ChaCha20Rng::seed_from_u64(seed);
        let mut stack = Stack::new(config, storage, pool.0, now, &mut rng)?;
        let cidr = Cidr::new(address(own).into(), 24)?;
        stack.add_address(now, cidr, ConflictConfig::assigned())?;
        let options = ConnectionOptions {
            receive_window: u32::try_from(connection.buffer)?,
            receive_pages: u16::try_from(pages)?,
            // smoltcp does not give a silent peer up either.
            user_timeout: Duration::from_secs(1 << 30),
            send_octets: u32::try_from(connection.buffer)?,
            send_pages: u16::try_from(pages)?,
            congestion: connection.congestion,
            congestion_notification: connection.notification,
            ..ConnectionOptions::DEFAULT
        };
        let (mut listener, mut handle) = (None, None);
        match role {
            Role::Receiver => {
                listener = Some(stack.tcp_listen(ListenOptions {
                    connection: options,
                    ..ListenOptions::bind((address(own), PORT).into())
                })?);
            }
            Role::Sender => {
                let remote = (address(peer), PORT).into();
                let local = (Ipv4Addr::UNSPECIFIED, 0).into();
                handle = Some(stack.tcp_connect(now, local, remote, options)?);
            }
        }
        Ok(Mirage {
            reserve: pool.0.reserve(RESERVE)?,
            stack,
            listener,
            connection: handle,
            role,
            done: 0,
            wrong: false,
            dropped: 0,
            pool,
        })
    }

    /// A frame, in pages of the device's.
    fn receive(&mut self, now: Instant, bytes: &[u8]) {
        let mut frame = Frame::new();
        for part in bytes.chunks(BLOCK) {
            let page = self.reserve.alloc().or_else(|| self.pool.0.alloc());
            let Some(mut page) = page else {
                self.dropped += 1;
                return;
            };
            if page.extend_from_slice(part).is_err() || frame.push(page).is_err() {
                self.dropped += 1;
                return;
            }
        }
        self.stack.handle_frame(now, frame);
    }

    fn application(&mut self, now: Instant) {
        if self.connection.is_none()
            && let Some(listener) = self.listener
        {
            self.connection = self.stack.tcp_accept(listener).ok().flatten();
        }
        let Some(connection) = self.connection else {
            return;
        };
        match self.role {
            Role::Sender => loop {
                let bytes = stream(self.done);
                match self.stack.tcp_write(now, connection, bytes) {
                    Ok(count) if count > 0 => self.done += count as u64,
                    _ => break,
                }
            },
            Role::Receiver => loop {
                let bytes = self.stack.tcp_peek(connection);
                let count = bytes.len();
                if count == 0 {
                    break;
                }
                self.wrong |= !is_stream(self.done, bytes);
                self.done += count as u64;
                self.stack.tcp_consume(now, connection, count);
            },
        }
    }
}

impl Machine for Mirage {
    fn turn(&mut self, now: Instant, wire: &mut Wire, send: &mut dyn FnMut(Vec<u8>)) {
        loop {
            // A frame at a time, as a device's driver does it: an answer doesn't wait for what has arrived behind.
            let arrived = wire.receive(now);
            if let Some(frame) = &arrived {
                self.receive(now, frame);
            }
            self.stack.handle_timeout(now);
            self.application(now);
            while let Some(frame) = self.stack.poll_transmit(now) {
                let mut bytes = vec![0; frame.len()];
                frame.copy_to_slice(0, &mut bytes);
                drop(frame);
                send(bytes);
            }
            while self.stack.poll_event().is_some() {}
            while self.stack.poll_tcp().is_some() {}
            while self.stack.poll_tcp_listener().is_some() {}
            if arrived.is_none() {
                return;
            }
        }
    }

    fn next(&mut self, _now: Instant) -> Option<Instant> {
        self.stack.poll_timeout()
    }

    fn received(&self) -> u64 {
        match self.role {
            Role::Sender => 0,
            Role::Receiver => self.done,
        }
    }

    fn complaint(&self) -> Option<String> {
        let tcp = self.stack.counters().tcp;
        if self.wrong {
            return Some("the bytes are others".into());
        }
        if self.dropped > 0 {
            return Some(format!("{} frames found no page", self.dropped));
        }
        if tcp.verified_here != tcp.received - tcp.bad_checksum - tcp.malformed - tcp.broadcast {
            return Some("not every checksum was verified".into());
        }
        if tcp.bad_checksum + tcp.malformed > 0 {
            return Some(format!("segments were taken for broken: {tcp:?}"));
        }
        let error = self
            .connection
            .and_then(|handle| self.stack.tcp_error(handle));
        error.map(|error| format!("the connection ended: {error}"))
    }
}
