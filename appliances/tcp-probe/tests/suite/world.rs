//! A domain with our stack on netfront, on the simulated hypervisor, and who talks to it.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use mirage_core::doubles::Packet;
use mirage_core::executor::TurnClock;
use mirage_core::pool::Reserve;
use mirage_core::{Instant, MacAddress, Pool};
use mirage_net::tcp::{ConnectionOptions, ListenOptions, TcpCapacities, TcpHandle, TcpStorage};
use mirage_net::{
    Capacities, Cidr, ConflictConfig, SharedStack, Stack, StackConfig, StackStorage, TcpWakers,
    UdpHandle, UdpOptions, WakerSlot,
};
use mirage_xen::machine::Machine;
use mirage_xen::platform::XenUnparker;
use mirage_xen::simulated::{SimulatedHypervisor, SimulatedNetback, Simulation, VifConfig};
use rand_core::CryptoRng;

use crate::hypercalls::Calls;

const SERVER: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 2);
const CLIENT: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);
/// Gives back what comes.
pub(crate) const ECHO: u16 = 7;
/// Takes what comes.
pub(crate) const SINK: u16 = 9;
/// The sink's receive window.
pub(crate) const WINDOW: u32 = 262_144;
/// Requests that come together.
pub(crate) const BURST: u64 = 16;
/// Longer than anything takes that is asked for, shorter than any timer of TCP's that stands for an answered request.
pub(crate) const WHILE: Duration = Duration::from_millis(5);

/// A domain that gives back what it gets, over UDP and TCP, or takes it, and a client on the other side of its backend.
pub(crate) struct World {
    simulation: Simulation,
    netback: SimulatedNetback,
    machine: &'static Machine<SimulatedHypervisor>,
    pub(crate) client: Stack<'static>,
    /// The client's pages to receive into.
    reserve: Reserve,
}

impl World {
    pub(crate) fn new(seed: u64) -> Self {
        let simulation = Simulation::new(seed);
        let netback = simulation.add_vif(VifConfig::new(MacAddress([0x00, 0x16, 0x3E, 0, 0, 7])));
        let pool = Pool::leak(1_024, 4_096).unwrap();
        simulation.add_memory(pool);
        let unparker: &'static XenUnparker = Box::leak(Box::new(XenUnparker::new()));
        let machine = Machine::leak(simulation.hypervisor(), pool, unparker, None).unwrap();
        let pool = Pool::leak(1_024, 4_096).unwrap();
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

    pub(crate) fn now(&self) -> Instant {
        self.machine.executor().now()
    }

    /// The client's frames go to the domain, all at once, and the domain has so long; what it sends then is the client's.
    pub(crate) fn exchange(&mut self, duration: Duration) -> Vec<Vec<u8>> {
        let now = self.now();
        self.client.handle_timeout(now);
        while let Some(frame) = self.client.poll_transmit(now) {
            self.netback.send(Packet::of(&frame));
        }
        let executor = self.machine.executor();
        executor.run_until(executor.sleep(duration));
        let now = self.now();
        let mut sent = Vec::new();
        while let Some(packet) = self.netback.take() {
            sent.push(packet.bytes.clone());
            let frame = packet.into_frame(&self.reserve, 0, usize::MAX).unwrap();
            self.client.handle_frame(now, frame);
        }
        sent
    }

    /// What the domain calls meanwhile, without the sleep that nothing but the test's own deadline ends.
    pub(crate) fn calls_during(&mut self) -> Calls {
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

    pub(crate) fn bind(&mut self) -> UdpHandle {
        let mut options = UdpOptions::connect((CLIENT, 0).into(), (SERVER, ECHO).into());
        options.queue = BURST as u16;
        let handle = self.client.udp_bind(options).unwrap();
        // Each knows the other's link address then.
        self.ask(handle, 1);
        self.exchange(WHILE);
        self.exchange(WHILE);
        assert_eq!(self.answers(handle), 1);
        handle
    }

    pub(crate) fn ask(&mut self, handle: UdpHandle, count: u64) {
        let now = self.now();
        for _ in 0..count {
            self.client
                .udp_send(now, handle, None, b"question")
                .unwrap();
        }
    }

    pub(crate) fn answers(&mut self, handle: UdpHandle) -> u64 {
        let mut count = 0;
        while let Some(datagram) = self.client.udp_receive(handle).unwrap() {
            assert_eq!(datagram.payload.len(), 8);
            count += 1;
        }
        count
    }

    pub(crate) fn connect(&mut self, port: u16) -> TcpHandle {
        let options = ConnectionOptions {
            no_delay: true,
            send_octets: 2 * WINDOW,
            send_pages: 256,
            ..ConnectionOptions::DEFAULT
        };
        let now = self.now();
        let (local, remote) = ((CLIENT, 0).into(), (SERVER, port).into());
        let handle = self
            .client
            .tcp_connect(now, local, remote, options)
            .unwrap();
        for _ in 0..4 {
            self.exchange(WHILE);
        }
        handle
    }

    pub(crate) fn write(&mut self, handle: TcpHandle) {
        let now = self.now();
        assert_eq!(self.client.tcp_write(now, handle, b"question").unwrap(), 8);
    }

    pub(crate) fn read(&mut self, handle: TcpHandle) -> usize {
        let now = self.now();
        let mut octets = [0; 512];
        self.client.tcp_read(now, handle, &mut octets).unwrap()
    }

    /// Nothing is asked, and nothing is done.
    pub(crate) fn check_idle(&mut self) {
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
        segments: 2_048,
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

/// Gives back what comes, or takes it.
fn serve(machine: &'static Machine<SimulatedHypervisor>, shared: &'static SharedStack<'static>) {
    let executor = machine.executor();
    let local = SocketAddr::from((Ipv4Addr::UNSPECIFIED, ECHO));
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
    for port in [ECHO, SINK] {
        let listener = shared.tcp_listen(ListenOptions {
            local: (Ipv4Addr::UNSPECIFIED, port).into(),
            backlog: 32,
            connection: ConnectionOptions {
                receive_window: WINDOW,
                receive_pages: 256,
                no_delay: true,
                ..ConnectionOptions::DEFAULT
            },
        });
        let listener = listener.unwrap();
        let accepting = executor.spawn(async move {
            loop {
                let (_, stream) = listener.accept().await.unwrap();
                let serving = executor.spawn(async move {
                    while let Ok(Some(segment)) = stream.receive().await {
                        if port == ECHO {
                            stream.send(segment).await.unwrap();
                        }
                    }
                });
                serving.unwrap().detach();
            }
        });
        accepting.unwrap().detach();
    }
}
