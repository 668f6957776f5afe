//! A server with many connections, and the machine that all of them lead to, on a virtual Ethernet, in virtual time.

use std::hint::black_box;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bench_common::report::Error;
use mirage_core::doubles::{PortConfig, VirtualEthernet, VirtualNetif};
use mirage_core::{Frame, Instant, MacAddress, Netif, Pool};
use mirage_net::tcp::{
    ConnectionOptions, KeepAlive, ListenOptions, ListenerHandle, TcpCapacities, TcpEvents,
    TcpHandle, TcpState, TcpStorage,
};
use mirage_net::{Capacities, Cidr, ConflictConfig, Stack, StackConfig, StackStorage};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

use crate::allocated;

/// Segments that are timed together: each is of another connection.
pub(crate) const BATCH: usize = 10;
/// Octets of a request, and of its answer.
const OCTETS: usize = 100;
/// Connections that are opened at once.
const AT_ONCE: usize = 32;
/// Connections that one address of the client's has.
const PER_ADDRESS: usize = 50_000;
const _: () = assert!(FIRST_PORT as usize + PER_ADDRESS <= 65_536);
const FIRST_PORT: u16 = 10_000;
const PORT: u16 = 80;
/// From one batch to the next: longer than any timer of a connection with nothing to say, but a keep-alive.
const PAUSE: Duration = Duration::from_secs(2);

/// A machine.
struct Machine {
    stack: Stack<'static>,
    netif: VirtualNetif,
    pool: &'static Pool,
    /// Bytes that the stack's tables allocated.
    bytes: usize,
}

/// Both, and the connections.
pub(crate) struct World {
    now: Instant,
    ethernet: VirtualEthernet,
    client: Machine,
    server: Machine,
    /// The client's ends.
    connections: Vec<TcpHandle>,
    /// By slot of the server's.
    accepted: Vec<Option<TcpHandle>>,
    rng: ChaCha8Rng,
    /// Where in the list the next batch begins, when it is all that there is.
    turn: usize,
    requests: Vec<Frame>,
    answers: Vec<Frame>,
}

fn mac(number: u8) -> MacAddress {
    MacAddress([2, 0, 0, 0, 0, number])
}

fn address(number: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 0, 0, number)
}

impl Machine {
    fn new(
        ethernet: &VirtualEthernet,
        number: u8,
        addresses: usize,
        connections: usize,
    ) -> Result<Self, Error> {
        let pool = Pool::leak(2_048, 2_048)?;
        let netif = ethernet.attach(PortConfig::new(mac(number)), pool.reserve(256)?);
        let before = allocated::bytes();
        let tcp = TcpStorage::allocate(&TcpCapacities {
            connections,
            segments: 4_096,
            listeners: 1,
            half_open: 256,
            time_waits: 16,
        });
        let storage = StackStorage::allocate(&Capacities::default()).with_tcp(tcp);
        let bytes = allocated::bytes() - before;
        let mut rng = ChaCha8Rng::seed_from_u64(number.into());
        let config = StackConfig::for_netif(&netif);
        let mut stack = Stack::new(config, storage, pool, Instant::ZERO, &mut rng)?;
        for last in (number..).take(addresses) {
            let cidr = Cidr::new(address(last).into(), 24)?;
            stack.add_address(Instant::ZERO, cidr, ConflictConfig::assigned())?;
        }
        Ok(Machine {
            stack,
            netif,
            pool,
            bytes,
        })
    }

    /// Sends all that it has to send. Says whether that was anything.
    fn flush(&mut self, now: Instant) -> Result<bool, Error> {
        let context = &mut Context::from_waker(Waker::noop());
        let mut busy = false;
        while let Poll::Ready(Ok(())) = self.netif.poll_ready(context) {
            let Some(frame) = self.stack.poll_transmit(now) else {
                break;
            };
            self.netif
                .transmit(frame)
                .map_err(|error| error.to_string())?;
            busy = true;
        }
        self.netif.flush().map_err(|error| format!("{error:?}"))?;
        Ok(busy)
    }

    fn receive(&mut self) -> Option<Frame> {
        let context = &mut Context::from_waker(Waker::noop());
        match self.netif.poll_receive(context) {
            Poll::Ready(Ok(frame)) => Some(frame),
            _ => None,
        }
    }
}

impl World {
    /// With so many connections, all established, and nothing under way.
    pub(crate) fn new(connections: usize, keep_alive: bool) -> Result<Self, Error> {
        if connections < BATCH {
            return Err(format!("at least {BATCH} connections").into());
        }
        let addresses = connections.div_ceil(PER_ADDRESS);
        let ethernet = VirtualEthernet::new(1);
        let server = Machine::new(&ethernet, 1, 1, connections)?;
        let client = Machine::new(&ethernet, 2, addresses, connections)?;
        let mut world = World {
            now: Instant::ZERO,
            ethernet,
            client,
            server,
            connections: Vec::with_capacity(connections),
            accepted: vec![None; connections],
            rng: ChaCha8Rng::seed_from_u64(3),
            turn: 0,
            requests: Vec::with_capacity(BATCH),
            answers: Vec::with_capacity(2 * BATCH),
        };
        world.connect(connections, keep_alive)?;
        Ok(world)
    }

    fn connect(&mut self, count: usize, keep_alive: bool) -> Result<(), Error> {
        let options = ConnectionOptions {
            no_delay: true,
            // None of them is due while it is measured: it is the deadlines that are to be there.
            keep_alive: keep_alive.then(|| KeepAlive {
                idle: Duration::from_secs(10 * 86_400),
                ..KeepAlive::default()
            }),
            ..ConnectionOptions::DEFAULT
        };
        let listener = self.server.stack.tcp_listen(ListenOptions {
            connection: options,
            ..ListenOptions::bind((Ipv4Addr::UNSPECIFIED, PORT).into())
        })?;
        // Until the announcements of the addresses are over.
        self.run(Duration::from_secs(10), Some(listener))?;
        let remote: SocketAddr = (address(1), PORT).into();
        for number in 0..count {
            let own: IpAddr = address(2 + u8::try_from(number / PER_ADDRESS)?).into();
            let port = FIRST_PORT + u16::try_from(number % PER_ADDRESS)?;
            // The client's ends ask for nothing by themselves.
            let options = ConnectionOptions {
                keep_alive: None,
                ..options
            };
            let local = (own, port).into();
            let handle = self
                .client
                .stack
                .tcp_connect(self.now, local, remote, options)?;
            self.connections.push(handle);
            if number % AT_ONCE == AT_ONCE - 1 || number + 1 == count {
                self.settle(Some(listener))?;
            }
        }
        self.run(PAUSE, Some(listener))?;
        let established = |handle: &&TcpHandle| {
            self.client.stack.tcp_state(**handle) == Some(TcpState::Established)
        };
        let there = self.connections.iter().filter(established).count();
        let accepted = self.accepted.iter().flatten().count();
        if (there, accepted) != (count, count) {
            return Err(format!("of {count} connections {there} and {accepted} are there").into());
        }
        Ok(())
    }

    /// Bytes that the tables of the server's stack allocated.
    pub(crate) fn server_bytes(&self) -> usize {
        self.server.bytes
    }

    /// Pages of the server's that are in use.
    pub(crate) fn server_pages(&self) -> usize {
        self.server.pool.blocks() - self.server.pool.free_in_all()
    }

    /// Everything that happens at this instant.
    fn settle(&mut self, listener: Option<ListenerHandle>) -> Result<(), Error> {
        loop {
            let mut busy = self.ethernet.deliver(self.now) > 0;
            for machine in [&mut self.client, &mut self.server] {
                machine.stack.handle_timeout(self.now);
                while let Some(frame) = machine.receive() {
                    machine.stack.handle_frame(self.now, frame);
                    busy = true;
                    machine.flush(self.now)?;
                }
                busy |= machine.flush(self.now)?;
                while machine.stack.poll_event().is_some() {}
                while machine.stack.poll_tcp_listener().is_some() {}
            }
            if let Some(listener) = listener {
                while let Some(handle) = self.server.stack.tcp_accept(listener)? {
                    let place = self.accepted.get_mut(handle.index());
                    *place.ok_or("a slot beyond the table")? = Some(handle);
                }
            }
            while self.server.stack.poll_tcp().is_some() {}
            self.read_answers()?;
            if !busy {
                return Ok(());
            }
        }
    }

    /// The client's application.
    fn read_answers(&mut self) -> Result<(), Error> {
        let mut octets = [0; 1_024];
        while let Some((handle, events)) = self.client.stack.poll_tcp() {
            if events.contains(TcpEvents::READABLE) {
                while self.client.stack.tcp_read(self.now, handle, &mut octets)? > 0 {}
            }
            if events.contains(TcpEvents::CLOSED) {
                return Err("a connection ended".into());
            }
        }
        Ok(())
    }

    /// Lets time pass.
    fn run(&mut self, duration: Duration, listener: Option<ListenerHandle>) -> Result<(), Error> {
        let until = self.now + duration;
        loop {
            self.settle(listener)?;
            let next = [
                self.client.stack.poll_timeout(),
                self.server.stack.poll_timeout(),
                self.ethernet.next_event(),
            ];
            match next.into_iter().flatten().min() {
                Some(next) if next <= until => self.now = self.now.max(next),
                _ => break,
            }
        }
        self.now = until;
        self.settle(listener)
    }

    /// The client sends a request on each of [`BATCH`] connections, which arrive at the server's device.
    pub(crate) fn ask(&mut self) -> Result<(), Error> {
        self.run(PAUSE, None)?;
        let request = [7; OCTETS];
        let count = self.connections.len();
        for number in 0..BATCH {
            // Of few each in turn; of many, one somewhere.
            let at = if count < 10 * BATCH {
                (self.turn + number) % count
            } else {
                self.rng.next_u64() as usize % (count / BATCH) * BATCH + number
            };
            let handle = self.connections[at];
            if self.client.stack.tcp_write(self.now, handle, &request)? != OCTETS {
                return Err("a request found no room".into());
            }
        }
        self.turn += BATCH;
        self.client.flush(self.now)?;
        self.ethernet.deliver(self.now);
        while let Some(frame) = self.server.receive() {
            if frame.len() >= OCTETS {
                self.requests.push(frame);
            } else {
                // A neighbour that asks if we are still there.
                self.server.stack.handle_frame(self.now, frame);
                self.server.flush(self.now)?;
            }
        }
        if self.requests.len() != BATCH {
            return Err(format!("{} requests of {BATCH} arrived", self.requests.len()).into());
        }
        Ok(())
    }

    /// What is measured: the server takes each segment, its application reads the request and writes the answer, the answer goes
    /// out, and the next deadline is asked for, as a driver does it.
    #[inline(never)]
    pub(crate) fn answer(&mut self) {
        let (now, stack) = (self.now, &mut self.server.stack);
        let mut octets = [0; 1_024];
        for frame in self.requests.drain(..) {
            stack.handle_frame(now, frame);
            while let Some((handle, events)) = stack.poll_tcp() {
                if events.contains(TcpEvents::READABLE)
                    && let Ok(count) = stack.tcp_read(now, handle, &mut octets)
                {
                    let _ = black_box(stack.tcp_write(now, handle, &octets[..count]));
                }
            }
            while let Some(frame) = stack.poll_transmit(now) {
                self.answers.push(frame);
            }
            black_box(stack.poll_timeout());
        }
    }

    /// The answers reach the client.
    ///
    /// # Errors
    ///
    /// Not each request was answered.
    pub(crate) fn finish(&mut self) -> Result<(), Error> {
        // Beside them there may be a question for the neighbour's address.
        let answers = self.answers.iter().filter(|frame| frame.len() >= OCTETS);
        let count = answers.count();
        if count != BATCH {
            return Err(format!("{count} answers to {BATCH} requests").into());
        }
        for frame in self.answers.drain(..) {
            self.server
                .netif
                .transmit(frame)
                .map_err(|error| error.to_string())?;
        }
        self.server
            .netif
            .flush()
            .map_err(|error| format!("{error:?}"))?;
        self.settle(None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_request_is_answered_and_idle_connections_hold_no_page() {
        for (connections, keep_alive) in [(BATCH, false), (300, true)] {
            let mut world = World::new(connections, keep_alive).unwrap();
            assert_eq!(world.server_pages(), 0);
            for _ in 0..20 {
                world.ask().unwrap();
                world.answer();
                world.finish().unwrap();
            }
            world.run(Duration::from_secs(5), None).unwrap();
            assert_eq!(world.server_pages(), 0);
            let counters = world.server.stack.counters().tcp;
            assert_eq!(counters.received_octets, 20 * (BATCH * OCTETS) as u64);
            assert_eq!((counters.retransmitted, counters.time_outs), (0, 0));
        }
    }

    #[test]
    fn too_few_for_a_batch_are_refused() {
        assert!(World::new(BATCH - 1, false).is_err());
    }
}
