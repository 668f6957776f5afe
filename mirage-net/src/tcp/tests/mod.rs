//! Two machines, a link between them that loses, delays and repeats on command, and a clock that jumps to the next event.

mod closing;
mod data;
mod hostile;
mod listening;
mod loss;
mod opening;
mod resets;
mod shortage;
mod silence;
mod windows;

use core::net::{IpAddr, SocketAddr};
use core::time::Duration;
use std::boxed::Box;
use std::vec::Vec;

use managed::ManagedSlice;
use mirage_core::{Frame, Instant, Pool, Reserve};

use super::config::{ConnectionOptions, TcpConfig};
use super::connection::{Incoming, Received, TcpEvents, TcpState};
use super::engine::{Engine, TcpHandle};
use super::four_tuple::FourTuple;
use super::listen::{ListenOptions, ListenerHandle};
use super::storage::TcpStorage;
use super::{SequenceNumber, TcpError};
use crate::random::Random;
use crate::wire::tcp::{MAX_HEADER_LEN, TcpFlags, TcpPacket, TcpRepr, Timestamps};

/// The client, by convention.
pub(super) const A: usize = 0;
/// The server.
pub(super) const B: usize = 1;
/// The server's port.
pub(super) const PORT: u16 = 80;

pub(super) const MTU: u16 = 1_500;

/// What becomes of a segment on the link: after which times it arrives; never, if there are none.
pub(super) type Fate = Vec<Duration>;

/// What the link is asked about.
#[derive(Debug, Clone)]
pub(super) struct Flying {
    pub(super) from: usize,
    pub(super) tuple: FourTuple,
    pub(super) repr: TcpRepr,
    pub(super) bytes: Vec<u8>,
    pub(super) markable: bool,
    pub(super) marked: bool,
}

impl Flying {
    pub(super) fn has(&self, flags: TcpFlags) -> bool {
        self.repr.flags.contains(flags)
    }

    /// Bytes of the IP packet.
    pub(super) fn packet_len(&self) -> usize {
        20 + self.repr.header_len() + self.bytes.len()
    }

    /// SEG.LEN.
    pub(super) fn length(&self) -> u32 {
        super::connection::segment_length(&self.repr, self.bytes.len())
    }
}

type Link = Box<dyn FnMut(Instant, &mut Flying) -> Fate>;

pub(super) struct Host {
    pub(super) engine: Engine<'static>,
    pub(super) pool: &'static Pool,
    /// What the device receives into; the pool's general part, where there is none.
    pub(super) ring: Option<Reserve>,
    pub(super) address: IpAddr,
    pub(super) path_mtu: u16,
    pub(super) events: Vec<(TcpHandle, TcpEvents)>,
    /// The device takes nothing.
    pub(super) blocked: bool,
}

pub(super) struct Pair {
    pub(super) now: Instant,
    pub(super) hosts: [Host; 2],
    pub(super) link: Link,
    flying: Vec<(Instant, u64, Flying)>,
    /// Everything that was sent, with its time.
    pub(super) sent: Vec<(Instant, Flying)>,
    count: u64,
}

pub(super) const DELAY: Duration = Duration::from_millis(10);

pub(super) fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

pub(super) fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// Everything arrives, after ten milliseconds.
pub(super) fn perfect() -> Link {
    Box::new(|_, _| std::vec![DELAY])
}

/// Nothing arrives.
pub(super) fn cut() -> Link {
    Box::new(|_, _| Vec::new())
}

/// A generator for the links' whims: the same for each run.
#[derive(Clone)]
pub(super) struct Whim(pub(super) u64);

impl Whim {
    pub(super) fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound
    }
}

/// How large the tables of a test's machine are.
#[derive(Clone, Copy)]
pub(super) struct Sizes {
    pub(super) connections: usize,
    pub(super) half_open: usize,
    pub(super) time_waits: usize,
    pub(super) segments: usize,
}

pub(super) const SIZES: Sizes = Sizes {
    connections: 8,
    half_open: 8,
    time_waits: 8,
    segments: 512,
};

fn leak<T>(count: usize, empty: impl Fn() -> T) -> ManagedSlice<'static, T> {
    let slots: Vec<T> = (0..count).map(|_| empty()).collect();
    ManagedSlice::Borrowed(slots.leak())
}

pub(super) fn storage(sizes: Sizes) -> TcpStorage<'static> {
    use super::{ListenerSlot, SegmentSlot, SynSlot, TcpBucket, TcpSlot, TimeWaitSlot, TimerSlot};
    TcpStorage {
        connections: leak(sizes.connections, || TcpSlot::EMPTY),
        timers: leak(sizes.connections, || TimerSlot::EMPTY),
        buckets: leak(sizes.connections, || TcpBucket::EMPTY),
        listeners: leak(4, || ListenerSlot::EMPTY),
        half_open: leak(sizes.half_open, || SynSlot::EMPTY),
        half_open_buckets: leak(sizes.half_open, || TcpBucket::EMPTY),
        time_waits: leak(sizes.time_waits, || TimeWaitSlot::EMPTY),
        time_wait_buckets: leak(sizes.time_waits, || TcpBucket::EMPTY),
        segments: leak(sizes.segments, || SegmentSlot::EMPTY),
    }
}

impl Host {
    fn new(number: u8, pool: &'static Pool, config: TcpConfig, sizes: Sizes, at: Instant) -> Self {
        let mut random = Random::fixed(u64::from(number) * 977);
        let engine = Engine::new(storage(sizes), config, pool, MTU, at, &mut random);
        Host {
            engine,
            pool,
            ring: None,
            address: IpAddr::from([10, 0, 0, number]),
            path_mtu: MTU,
            events: Vec::new(),
            blocked: false,
        }
    }

    fn deliver(&mut self, now: Instant, flying: &Flying) {
        let tuple = flying.tuple;
        let tuple = FourTuple::new(tuple.remote(), tuple.local());
        // Through the codec, as on a wire.
        let mut header = [0; MAX_HEADER_LEN];
        let length = flying.repr.emit(&mut header);
        let packet = TcpPacket::new_checked(&header[..length], length + flying.bytes.len());
        let repr = TcpRepr::parse(&packet.unwrap());
        let mut payload = Frame::new();
        for part in flying.bytes.chunks(self.pool.block_size()) {
            let page = match &self.ring {
                Some(ring) => ring.alloc(),
                None => self.pool.alloc(),
            };
            let Some(mut page) = page else {
                return;
            };
            page.extend_from_slice(part).unwrap();
            payload.push(page).unwrap();
        }
        let mut incoming = Incoming {
            repr,
            payload,
            segment: 0,
            marked: flying.marked,
        };
        let path_mtu = self.path_mtu;
        self.engine
            .handle_segment(now, tuple, &mut incoming, &|_| path_mtu);
    }
}

impl Pair {
    pub(super) fn new() -> Self {
        Self::with(TcpConfig::default(), SIZES)
    }

    pub(super) fn with(config: TcpConfig, sizes: Sizes) -> Self {
        Self::on(
            [
                Pool::leak(512, 2048).unwrap(),
                Pool::leak(512, 2048).unwrap(),
            ],
            config,
            sizes,
        )
    }

    pub(super) fn on(pools: [&'static Pool; 2], config: TcpConfig, sizes: Sizes) -> Self {
        let now = Instant::from_secs(1_000);
        Pair {
            now,
            hosts: [
                Host::new(1, pools[0], config, sizes, now),
                Host::new(2, pools[1], config, sizes, now),
            ],
            link: perfect(),
            flying: Vec::new(),
            sent: Vec::new(),
            count: 0,
        }
    }

    pub(super) fn at(&self, host: usize, port: u16) -> SocketAddr {
        (self.hosts[host].address, port).into()
    }

    pub(super) fn engine(&mut self, host: usize) -> &mut Engine<'static> {
        &mut self.hosts[host].engine
    }

    pub(super) fn listen(&mut self, options: ConnectionOptions) -> ListenerHandle {
        let local = ([0, 0, 0, 0], PORT).into();
        let listen = ListenOptions {
            connection: options,
            ..ListenOptions::bind(local)
        };
        self.engine(B).listen(listen).unwrap()
    }

    /// Opens a connection from one host to the other's port; the segments stay where they are.
    pub(super) fn open(&mut self, host: usize, options: ConnectionOptions) -> TcpHandle {
        let local = self.at(host, 0);
        let remote = self.at(1 - host, PORT);
        self.open_between(host, local, remote, options)
    }

    pub(super) fn open_between(
        &mut self,
        host: usize,
        local: SocketAddr,
        remote: SocketAddr,
        options: ConnectionOptions,
    ) -> TcpHandle {
        let (now, path_mtu) = (self.now, self.hosts[host].path_mtu);
        self.engine(host)
            .connect(now, local, remote, options, &|_| path_mtu)
            .unwrap()
    }

    /// Both ends of an established connection.
    pub(super) fn connect(&mut self) -> (TcpHandle, TcpHandle) {
        self.connect_with(ConnectionOptions::DEFAULT, ConnectionOptions::DEFAULT)
    }

    pub(super) fn connect_with(
        &mut self,
        client: ConnectionOptions,
        server: ConnectionOptions,
    ) -> (TcpHandle, TcpHandle) {
        let listener = self.listen(server);
        let a = self.open(A, client);
        self.run(secs(1));
        let b = self.engine(B).accept(listener).unwrap();
        let b = b.expect("the connection is established");
        assert_eq!(self.state(A, a), Some(TcpState::Established));
        assert_eq!(self.state(B, b), Some(TcpState::Established));
        let now = self.now;
        self.engine(B).close_listener(now, listener);
        (a, b)
    }

    pub(super) fn state(&self, host: usize, handle: TcpHandle) -> Option<TcpState> {
        self.hosts[host].engine.state(handle)
    }

    /// SRTT.
    pub(super) fn round_trip(&self, host: usize, handle: TcpHandle) -> Duration {
        self.hosts[host].engine.get(handle).unwrap().smoothed()
    }

    pub(super) fn error(&self, host: usize, handle: TcpHandle) -> Option<TcpError> {
        self.hosts[host].engine.get(handle)?.error()
    }

    pub(super) fn write(&mut self, host: usize, handle: TcpHandle, bytes: &[u8]) -> usize {
        let now = self.now;
        self.engine(host).write(now, handle, bytes).unwrap()
    }

    /// Reads all that there is.
    pub(super) fn read(&mut self, host: usize, handle: TcpHandle) -> Vec<u8> {
        let now = self.now;
        let mut all = Vec::new();
        while let Ok(Received::Data(segment)) = self.engine(host).receive(now, handle) {
            all.extend_from_slice(&segment);
        }
        all
    }

    pub(super) fn is_finished(&mut self, host: usize, handle: TcpHandle) -> bool {
        let now = self.now;
        matches!(
            self.engine(host).receive(now, handle),
            Ok(Received::Finished)
        )
    }

    pub(super) fn shutdown(&mut self, host: usize, handle: TcpHandle) {
        let now = self.now;
        self.engine(host).shutdown(now, handle).unwrap();
    }

    pub(super) fn close(&mut self, host: usize, handle: TcpHandle) {
        let now = self.now;
        assert!(self.engine(host).close(now, handle));
    }

    /// What the connection of a handle would find in the window: SND.UNA, SND.NXT, RCV.NXT.
    pub(super) fn numbers(
        &self,
        host: usize,
        handle: TcpHandle,
    ) -> (SequenceNumber, SequenceNumber, SequenceNumber) {
        let connection = self.hosts[host].engine.get(handle).unwrap();
        (
            connection.unacknowledged(),
            connection.send_next(),
            connection.receive_next(),
        )
    }

    /// A segment that the peer of a connection might have sent, with the right numbers, timestamps and a large window.
    pub(super) fn forged(&self, host: usize, handle: TcpHandle, flags: TcpFlags) -> Flying {
        let (_, next, expected) = self.numbers(host, handle);
        let connection = self.hosts[host].engine.get(handle).unwrap();
        let tuple = *connection.tuple();
        let mut repr = TcpRepr {
            source_port: tuple.remote_port,
            destination_port: tuple.local_port,
            sequence: expected,
            acknowledgement: next,
            flags,
            window: 1_000,
            ..TcpRepr::default()
        };
        repr.options.timestamps = connection.timestamps().map(|state| Timestamps {
            value: state.recent,
            echo: state.clock.value(self.now),
        });
        Flying {
            from: 1 - host,
            tuple: FourTuple::new(tuple.remote(), tuple.local()),
            repr,
            bytes: Vec::new(),
            markable: false,
            marked: false,
        }
    }

    /// Gives a host a segment that nobody sent.
    pub(super) fn inject(&mut self, flying: &Flying) {
        let now = self.now;
        self.hosts[1 - flying.from].deliver(now, flying);
    }

    /// What a host has to send now, taken off before it reaches the link.
    pub(super) fn take(&mut self, host: usize) -> Vec<Flying> {
        let mut taken = Vec::new();
        let now = self.now;
        while let Some(outgoing) = self.engine(host).poll_transmit(now) {
            let mut bytes = std::vec![0; outgoing.payload.len()];
            outgoing.payload.copy_to_slice(0, &mut bytes);
            taken.push(Flying {
                from: host,
                tuple: outgoing.tuple,
                repr: outgoing.repr,
                bytes,
                markable: outgoing.markable,
                marked: false,
            });
        }
        taken
    }

    /// Everything that happens at this instant.
    pub(super) fn settle(&mut self) {
        for _ in 0..100_000 {
            let mut busy = false;
            while let Some(place) = self.next_arrival().filter(|(at, _)| *at <= self.now) {
                let (_, _, flying) = self.flying.remove(place.1);
                self.inject(&flying);
                busy = true;
            }
            for host in [A, B] {
                let now = self.now;
                self.engine(host).handle_timeout(now);
                if !self.hosts[host].blocked {
                    for mut flying in self.take(host) {
                        busy = true;
                        for delay in (self.link)(now, &mut flying) {
                            self.count += 1;
                            self.flying.push((now + delay, self.count, flying.clone()));
                        }
                        self.sent.push((now, flying));
                    }
                }
                while let Some(news) = self.engine(host).poll_news() {
                    self.hosts[host].events.push(news);
                }
            }
            if !busy {
                self.check();
                return;
            }
        }
        panic!("the machines do not come to rest");
    }

    /// The place of what arrives next, in the order in which it was sent.
    fn next_arrival(&self) -> Option<(Instant, usize)> {
        self.flying
            .iter()
            .enumerate()
            .min_by_key(|(_, (at, count, _))| (*at, *count))
            .map(|(place, (at, _, _))| (*at, place))
    }

    /// What always holds when nothing is left to do: no deadline is in the past, and whoever waits for the peer has one.
    fn check(&self) {
        for host in &self.hosts {
            let next = host.engine.poll_timeout();
            if !host.blocked {
                assert!(
                    next.is_none_or(|at| at > self.now),
                    "a deadline in the past"
                );
            }
            assert!(next.is_some() || !host.engine.waits(), "a timer is lost");
        }
    }

    /// Jumps to the next event, if it is not after `until`.
    pub(super) fn step(&mut self, until: Instant) -> bool {
        self.settle();
        let next = self
            .hosts
            .iter()
            .filter_map(|host| host.engine.poll_timeout())
            .chain(self.next_arrival().map(|(at, _)| at))
            .min();
        match next {
            Some(next) if next <= until => {
                self.now = self.now.max(next);
                true
            }
            _ => {
                self.now = until;
                false
            }
        }
    }

    /// Lets time pass.
    pub(super) fn run(&mut self, duration: Duration) {
        let until = self.now + duration;
        while self.step(until) {}
        self.settle();
    }

    /// What was sent by a host since the last call.
    pub(super) fn sent_by(&mut self, host: usize) -> Vec<Flying> {
        let (of_it, others): (Vec<_>, Vec<_>) = core::mem::take(&mut self.sent)
            .into_iter()
            .partition(|(_, flying)| flying.from == host);
        self.sent = others;
        of_it.into_iter().map(|(_, flying)| flying).collect()
    }

    /// Transfers `length` bytes from one end to the other, reading as they come.
    pub(super) fn transfer(
        &mut self,
        from: (usize, TcpHandle),
        to: (usize, TcpHandle),
        bytes: &[u8],
        patience: Duration,
    ) -> Vec<u8> {
        let until = self.now + patience;
        let mut written = 0;
        let mut read = Vec::new();
        while read.len() < bytes.len() {
            written += self.write(from.0, from.1, &bytes[written..]);
            let more = self.step(until);
            read.extend(self.read(to.0, to.1));
            assert!(
                more || self.now < until,
                "{} of {}",
                read.len(),
                bytes.len()
            );
        }
        read
    }
}

impl Drop for Pair {
    fn drop(&mut self) {
        if std::thread::panicking() {
            return;
        }
        // No page is lost, whatever the test did.
        for host in &mut self.hosts {
            host.engine.release_all();
            assert_eq!(
                host.pool.free_in_all(),
                host.pool.blocks(),
                "a page is missing"
            );
        }
    }
}

impl Engine<'_> {
    /// Whether a connection waits for something that only a timer can bring about.
    fn waits(&self) -> bool {
        self.connections()
            .any(|connection| connection.waits_for_peer())
    }
}

pub(super) fn pattern(length: usize) -> Vec<u8> {
    (0..length).map(|i| (i * 7 + i / 251) as u8).collect()
}
