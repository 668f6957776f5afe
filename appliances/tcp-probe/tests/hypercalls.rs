//! What an answer costs a domain in hypercalls: our stack on netfront, on the simulated hypervisor.
//!
//! Each hypercall is an exit to Xen, and each event runs somebody in another domain. A request wakes the domain once, and its
//! answer wakes the backend once; requests that come together cost together what one does.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use mirage_core::doubles::Packet;
use mirage_core::executor::TurnClock;
use mirage_core::pool::Reserve;
use mirage_core::{Instant, MacAddress, Pool};
use mirage_net::tcp::{
    ConnectionOptions, ListenOptions, TcpCapacities, TcpConfig, TcpHandle, TcpStorage,
};
use mirage_net::{
    Capacities, Cidr, ConflictConfig, SharedStack, Stack, StackConfig, StackStorage, TcpWakers,
    UdpHandle, UdpOptions, WakerSlot,
};
use mirage_xen::machine::Machine;
use mirage_xen::platform::XenUnparker;
use mirage_xen::simulated::{SimulatedHypervisor, SimulatedNetback, Simulation, VifConfig};
use rand_core::CryptoRng;

const SERVER: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 2);
const CLIENT: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);
const PORT: u16 = 7;
/// Requests that come together.
const BURST: u64 = 16;
/// Longer than anything takes that is asked for, shorter than any timer of TCP's that stands for an answered request.
const WHILE: Duration = Duration::from_millis(5);
/// Requests, or bursts, one after the other.
const REQUESTS: u64 = 50;
/// Runs, each with other times between what a backend is told and what it does.
const SEEDS: u64 = 4;

/// A domain that gives back what it gets, over UDP and TCP, and a client on the other side of its backend.
struct World {
    simulation: Simulation,
    netback: SimulatedNetback,
    machine: &'static Machine<SimulatedHypervisor>,
    client: Stack<'static>,
    /// The client's pages to receive into.
    reserve: Reserve,
}

/// Hypercalls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Calls {
    /// Sleeps.
    polls: u64,
    /// Events sent.
    notifications: u64,
    /// These and any others.
    all: u64,
}

impl Calls {
    const NONE: Self = Self {
        polls: 0,
        notifications: 0,
        all: 0,
    };
    const ONE_OF_EACH: Self = Self {
        polls: 1,
        notifications: 1,
        all: 2,
    };

    fn and(self, other: Self) -> Self {
        Self {
            polls: self.polls + other.polls,
            notifications: self.notifications + other.notifications,
            all: self.all + other.all,
        }
    }

    /// The backend runs beside the domain: it may give the burst in two parts, and tells of what it has transmitted.
    fn are_of_a_burst(self, timers: u64) -> bool {
        self.notifications <= 2
            && self.polls <= 3 + timers
            && self.polls + self.notifications == self.all
    }
}

impl World {
    fn new(seed: u64) -> Self {
        let simulation = Simulation::new(seed);
        let netback = simulation.add_vif(VifConfig::new(MacAddress([0x00, 0x16, 0x3E, 0, 0, 7])));
        let pool = Pool::leak(512, 4_096).unwrap();
        simulation.add_memory(pool);
        let unparker: &'static XenUnparker = Box::leak(Box::new(XenUnparker::new()));
        let machine = Machine::leak(simulation.hypervisor(), pool, unparker, None).unwrap();
        let pool = Pool::leak(512, 4_096).unwrap();
        let reserve = pool.reserve(64).unwrap();
        let client = machine.executor().run_until(async {
            let mut netif = machine.network().await.unwrap();
            let mut rng = machine.rng().await.unwrap().generator().unwrap();
            let config = StackConfig::for_netif(&netif);
            let server = stack(machine, config, machine.pool(), SERVER, &mut rng);
            let wakers: Vec<_> = (0..server.udp_capacity())
                .map(|_| WakerSlot::default())
                .collect();
            let streams = TcpWakers::allocate(&server);
            let clock: &'static TurnClock = Box::leak(Box::new(TurnClock::new(machine.executor())));
            let shared = SharedStack::new(server, clock, wakers).with_tcp(streams);
            let shared: &'static SharedStack<'static> = Box::leak(Box::new(shared));
            serve(machine, shared);
            let executor = machine.executor();
            let driving = executor.spawn(async move {
                shared.run(&mut netif, executor).await;
            });
            driving.unwrap().detach();
            let config = StackConfig {
                mac: MacAddress([2, 0, 0, 0, 0, 1]),
                ..config
            };
            stack(machine, config, pool, CLIENT, &mut rng)
        });
        let mut world = Self {
            simulation,
            netback,
            machine,
            client,
            reserve,
        };
        // Both have announced their addresses.
        for _ in 0..200 {
            world.exchange(Duration::from_millis(50));
        }
        world
    }

    fn now(&self) -> Instant {
        self.machine.executor().now()
    }

    /// The client's frames go to the domain, and the domain has so long; what it sends is the client's.
    fn exchange(&mut self, duration: Duration) {
        let now = self.now();
        self.client.handle_timeout(now);
        while let Some(frame) = self.client.poll_transmit(now) {
            self.netback.send(Packet::of(&frame));
        }
        let executor = self.machine.executor();
        executor.run_until(executor.sleep(duration));
        let now = self.now();
        while let Some(packet) = self.netback.take() {
            let frame = packet.into_frame(&self.reserve, 0, usize::MAX).unwrap();
            self.client.handle_frame(now, frame);
        }
    }

    /// What the domain calls meanwhile, without the sleep that nothing but the test's own deadline ends.
    fn calls_during(&mut self) -> Calls {
        let of = |simulation: Simulation| {
            (
                simulation.polls(),
                simulation.notifications(),
                simulation.steps(),
            )
        };
        let before = of(self.simulation);
        self.exchange(WHILE);
        let after = of(self.simulation);
        Calls {
            polls: after.0 - before.0 - 1,
            notifications: after.1 - before.1,
            all: after.2 - before.2 - 1,
        }
    }

    fn bind(&mut self) -> UdpHandle {
        let mut options = UdpOptions::connect((CLIENT, 0).into(), (SERVER, PORT).into());
        options.queue = BURST as u16;
        let handle = self.client.udp_bind(options).unwrap();
        // Each knows the other's link address then.
        self.ask(handle, 1);
        self.exchange(WHILE);
        self.exchange(WHILE);
        assert_eq!(self.answers(handle), 1);
        handle
    }

    fn ask(&mut self, handle: UdpHandle, count: u64) {
        let now = self.now();
        for _ in 0..count {
            self.client
                .udp_send(now, handle, None, b"question")
                .unwrap();
        }
    }

    fn answers(&mut self, handle: UdpHandle) -> u64 {
        let mut count = 0;
        while let Some(datagram) = self.client.udp_receive(handle).unwrap() {
            assert_eq!(datagram.payload.len(), 8);
            count += 1;
        }
        count
    }

    fn connect(&mut self) -> TcpHandle {
        let options = ConnectionOptions {
            no_delay: true,
            ..ConnectionOptions::DEFAULT
        };
        let now = self.now();
        let (local, remote) = ((CLIENT, 0).into(), (SERVER, PORT).into());
        let handle = self
            .client
            .tcp_connect(now, local, remote, options)
            .unwrap();
        for _ in 0..4 {
            self.exchange(WHILE);
        }
        handle
    }

    fn write(&mut self, handle: TcpHandle) {
        let now = self.now();
        assert_eq!(self.client.tcp_write(now, handle, b"question").unwrap(), 8);
    }

    fn read(&mut self, handle: TcpHandle) -> usize {
        let now = self.now();
        let mut octets = [0; 512];
        self.client.tcp_read(now, handle, &mut octets).unwrap()
    }

    /// Nothing is asked, and nothing is done.
    fn check_idle(&mut self) {
        self.exchange(WHILE);
        assert_eq!(self.calls_during(), Calls::NONE);
    }
}

impl Drop for World {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            assert_eq!(self.simulation.violations(), []);
        }
    }
}

fn stack(
    machine: &Machine<SimulatedHypervisor>,
    config: StackConfig,
    pool: &'static Pool,
    address: Ipv4Addr,
    rng: &mut impl CryptoRng,
) -> Stack<'static> {
    let capacities = TcpCapacities {
        connections: 32,
        segments: 512,
        ..TcpCapacities::default()
    };
    let storage =
        StackStorage::allocate(&Capacities::default()).with_tcp(TcpStorage::allocate(&capacities));
    let now = machine.executor().now();
    let mut stack = Stack::new(config, storage, pool, now, rng).unwrap();
    let address = Cidr::new(IpAddr::V4(address), 24).unwrap();
    stack
        .add_address(now, address, ConflictConfig::assigned())
        .unwrap();
    stack
}

/// Gives back what comes.
fn serve(machine: &'static Machine<SimulatedHypervisor>, shared: &'static SharedStack<'static>) {
    let executor = machine.executor();
    let local = SocketAddr::from((Ipv4Addr::UNSPECIFIED, PORT));
    let mut options = UdpOptions::bind(local);
    options.queue = BURST as u16;
    let socket = shared.udp_bind(options).unwrap();
    let echoing = executor.spawn(async move {
        loop {
            let datagram = socket.receive().await.unwrap();
            let source = Some(datagram.destination.ip());
            let sent = socket.try_send_frame(Some(datagram.source), source, datagram.payload);
            sent.unwrap();
        }
    });
    echoing.unwrap().detach();
    let listener = shared.tcp_listen(ListenOptions {
        local,
        backlog: 32,
        connection: ConnectionOptions {
            no_delay: true,
            ..ConnectionOptions::DEFAULT
        },
    });
    let listener = listener.unwrap();
    let accepting = executor.spawn(async move {
        loop {
            let (_, stream) = listener.accept().await.unwrap();
            let echoing = executor.spawn(async move {
                while let Ok(Some(segment)) = stream.receive().await {
                    stream.send(segment).await.unwrap();
                }
            });
            echoing.unwrap().detach();
        }
    });
    accepting.unwrap().detach();
}

#[test]
fn an_answer_over_udp_costs_one_sleep_and_one_event() {
    for seed in 0..SEEDS {
        let mut world = World::new(seed);
        let socket = world.bind();
        world.check_idle();
        for _ in 0..REQUESTS {
            world.ask(socket, 1);
            assert_eq!(world.calls_during(), Calls::ONE_OF_EACH, "seed {seed}");
            assert_eq!(world.answers(socket), 1);
        }
    }
}

#[test]
fn answers_over_udp_that_are_asked_for_together_cost_what_few_do() {
    for seed in 0..SEEDS {
        let mut world = World::new(seed);
        let socket = world.bind();
        for _ in 0..REQUESTS {
            world.ask(socket, BURST);
            let calls = world.calls_during();
            assert!(calls.are_of_a_burst(0), "seed {seed}: {calls:?}");
            assert_eq!(world.answers(socket), BURST);
        }
    }
}

#[test]
fn an_answer_over_tcp_costs_one_sleep_and_one_event() {
    for seed in 0..SEEDS {
        let mut world = World::new(seed);
        let stream = world.connect();
        let mut all = Calls::NONE;
        for _ in 0..REQUESTS {
            world.write(stream);
            let calls = world.calls_during();
            // The answer takes the acknowledgement of its question with it.
            assert_eq!(calls.notifications, 1, "seed {seed}: {calls:?}");
            all = all.and(calls);
            assert_eq!(world.read(stream), 8);
        }
        // A deadline of a connection that has moved on ends a sleep, too, once in the time that an acknowledgement may wait.
        let delayed = TcpConfig::default().delayed_acknowledgement;
        let timers = 1 + (WHILE * REQUESTS as u32).as_nanos() / delayed.as_nanos();
        let most = REQUESTS + 2 * timers as u64;
        assert!(all.polls <= most, "seed {seed}: {all:?}, {most}");
        assert_eq!(all.polls + all.notifications, all.all);
    }
}

#[test]
fn answers_over_tcp_that_are_asked_for_together_cost_what_few_do() {
    for seed in 0..SEEDS {
        let mut world = World::new(seed);
        let streams: Vec<_> = (0..BURST).map(|_| world.connect()).collect();
        for _ in 0..REQUESTS {
            for &stream in &streams {
                world.write(stream);
            }
            let calls = world.calls_during();
            // Deadlines of connections that have moved on.
            assert!(calls.are_of_a_burst(3), "seed {seed}: {calls:?}");
            for &stream in &streams {
                assert_eq!(world.read(stream), 8);
            }
        }
    }
}
