//! Connections and listeners of shared stacks, on the executor in virtual time.

mod connecting;
mod data;
#[cfg(feature = "edge-nal")]
mod edge;
#[cfg(feature = "io")]
mod io;
mod resets;
mod waiting;

use std::cell::Cell;
use std::future::Future;
use std::net::{Ipv4Addr, SocketAddr};
use std::pin::pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use mirage_core::Pool;
use mirage_core::doubles::{
    Chance, Faults, PortConfig, SplitMix64, VirtualEthernet, VirtualPlatform,
};
use mirage_core::executor::Executor;
use mirage_net::tcp::*;
use mirage_net::*;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;

use crate::common::{Memory, at, ip, mac, pattern};

const CONNECTIONS: usize = 32;

/// Longer than anything here may take.
const LONG: Duration = Duration::from_secs(60);

struct Machine {
    shared: &'static SharedStack<'static>,
    pool: &'static Pool,
}

struct World {
    executor: &'static Executor,
    client: Machine,
    server: Machine,
}

impl World {
    fn new() -> Self {
        Self::with(Faults::NONE, CONNECTIONS, 8)
    }

    /// With these faults on the way to each, and slots for so many connections and listeners.
    fn with(faults: Faults, streams: usize, listeners: usize) -> Self {
        let platform: &'static VirtualPlatform = Box::leak(Box::default());
        let executor = Executor::leak(platform);
        let ethernet = VirtualEthernet::new(1);
        platform.connect(&ethernet);
        let machine = |number: u8| {
            let pool = Pool::leak(1_024, 2_048).unwrap();
            let mut port = PortConfig::new(mac(number));
            port.faults = faults;
            let mut netif = ethernet.attach(port, pool.reserve(200).unwrap());
            let memory = Box::leak(Box::new(Memory::new()));
            let tcp = Box::leak(Box::new(TcpMemory::<CONNECTIONS, 1_024, 16, 64>::new()));
            let services = Box::leak(Box::new([const { ServiceSlot::EMPTY }; 1]));
            let storage = memory.storage(services).with_tcp(tcp.storage());
            let config = StackConfig::for_netif(&netif);
            let mut rng = ChaCha8Rng::seed_from_u64(number.into());
            let now = executor.now();
            let mut stack = Stack::new(config, storage, pool, now, &mut rng).unwrap();
            let cidr = Cidr::new(ip(number).into(), 24).unwrap();
            stack
                .add_address(now, cidr, ConflictConfig::assigned())
                .unwrap();
            let datagrams = Box::leak(Box::new([const { WakerSlot::EMPTY }; 8]));
            let streams: Vec<_> = (0..streams).map(|_| StreamWakerSlot::new()).collect();
            let listeners: Vec<_> = (0..listeners).map(|_| ListenerWakerSlot::new()).collect();
            let wakers = TcpWakers::new(streams.leak(), listeners.leak());
            let shared = SharedStack::new(stack, platform, &mut datagrams[..]).with_tcp(wakers);
            let shared: &'static SharedStack<'static> = Box::leak(Box::new(shared));
            let driver = async move { shared.run(&mut netif, executor).await };
            executor.spawn(driver).unwrap().detach();
            Machine { shared, pool }
        };
        World {
            executor,
            client: machine(1),
            server: machine(2),
        }
    }

    fn listen(&self, port: u16) -> TcpListener<'static, 'static> {
        let options = ListenOptions::bind(any(port));
        self.server.shared.tcp_listen(options).unwrap()
    }

    async fn connect(&self, port: u16) -> TcpStream<'static, 'static> {
        self.connect_with(port, ConnectionOptions::DEFAULT).await
    }

    async fn connect_with(
        &self,
        port: u16,
        options: ConnectionOptions,
    ) -> TcpStream<'static, 'static> {
        let connecting = self.client.shared.tcp_connect(any(0), at(2, port), options);
        connecting.await.unwrap()
    }

    /// A connection, as both see it.
    async fn pair(&self) -> (TcpStream<'static, 'static>, TcpStream<'static, 'static>) {
        let listener = self.listen(80);
        let client = self.connect(80).await;
        let (remote, server) = listener.accept().await.unwrap();
        assert_eq!(Some(remote), client.local());
        assert_eq!(server.local(), Some(at(2, 80)));
        (client, server)
    }

    async fn sleep(&self, duration: Duration) {
        self.executor.sleep(duration).await;
    }

    /// Everything times out; no connection and no page is left.
    fn end(self) {
        self.executor
            .run_until(self.executor.sleep(Duration::from_secs(600)));
        for machine in [&self.client, &self.server] {
            let population = machine.shared.with(|stack, _| stack.tcp_population());
            assert_eq!(population, (0, 0, 0));
            let pool = machine.pool;
            assert_eq!(pool.free_in_all(), pool.blocks());
        }
    }
}

fn any(port: u16) -> SocketAddr {
    (Ipv4Addr::UNSPECIFIED, port).into()
}

/// Polls a future once.
fn poll_once<F: Future>(future: F) -> Poll<F::Output> {
    pin!(future).poll(&mut Context::from_waker(Waker::noop()))
}

/// Reads to the end.
async fn read_to_end(stream: &TcpStream<'_, '_>) -> Result<Vec<u8>, TcpError> {
    let mut all = Vec::new();
    let mut buffer = [0; 3_000];
    loop {
        match stream.read(&mut buffer).await? {
            0 => return Ok(all),
            count => all.extend_from_slice(&buffer[..count]),
        }
    }
}
