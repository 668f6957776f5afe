//! Two machines with TCP, and what passes between them.

use std::time::Duration;

use super::*;
use mirage_net::tcp::*;

pub type Tcp = TcpMemory<64, 1024, 32, 64>;

/// A stack with TCP whose address is assigned, and whose announcements are over when it comes to that.
pub fn tcp_stack(
    config: StackConfig,
    pool: &'static Pool,
    seed: u64,
    number: u8,
) -> Stack<'static> {
    let memory = Box::leak(Box::new(Memory::new()));
    let tcp = Box::leak(Box::new(Tcp::new()));
    let services = Box::leak(Box::new([const { ServiceSlot::EMPTY }; 1]));
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let storage = memory.storage(services).with_tcp(tcp.storage());
    let mut stack = Stack::new(config, storage, pool, Instant::ZERO, &mut rng).unwrap();
    let cidr = Cidr::new(ip(number).into(), 24).unwrap();
    stack
        .add_address(Instant::ZERO, cidr, ConflictConfig::assigned())
        .unwrap();
    stack
}

/// Two machines with TCP.
pub fn net(seed: u64, change: impl Fn(u8, &mut PortConfig)) -> Net {
    net_of(seed, change, 64, || Pool::leak(1_024, 2048).unwrap())
}

/// Two machines with TCP, on pools that are made for them, with `reserve` pages of each for what is received.
pub fn net_of(
    seed: u64,
    change: impl Fn(u8, &mut PortConfig),
    reserve: usize,
    pool: impl Fn() -> &'static Pool,
) -> Net {
    let ethernet = VirtualEthernet::new(seed);
    let nodes = (1..=2)
        .map(|number| {
            let pool = pool();
            let mut config = PortConfig::new(mac(number));
            change(number, &mut config);
            let netif = ethernet.attach(config, pool.reserve(reserve).unwrap());
            let config = StackConfig::for_netif(&netif);
            Node {
                pool,
                stack: tcp_stack(config, pool, seed ^ u64::from(number) << 32, number),
                netif,
                events: vec![],
            }
        })
        .collect();
    let mut net = Net {
        now: Instant::ZERO,
        ethernet,
        nodes,
    };
    net.run(Duration::from_secs(5));
    net
}

pub fn connect(net: &mut Net, options: ConnectionOptions) -> (TcpHandle, TcpHandle) {
    let mut listen = ListenOptions::bind(([0, 0, 0, 0], 80).into());
    listen.connection = options;
    let listener = net.nodes[1].stack.tcp_listen(listen).unwrap();
    let now = net.now;
    let client = net.nodes[0]
        .stack
        .tcp_connect(now, ([0, 0, 0, 0], 0).into(), at(2, 80), options)
        .unwrap();
    net.run(Duration::from_secs(30));
    assert_eq!(net.nodes[1].stack.poll_tcp_listener(), Some(listener));
    let server = net.nodes[1].stack.tcp_accept(listener).unwrap().unwrap();
    assert_eq!(
        net.nodes[0].stack.tcp_state(client),
        Some(TcpState::Established)
    );
    assert_eq!(
        net.nodes[1].stack.tcp_remote(server),
        net.nodes[0].stack.tcp_local(client)
    );
    assert!(net.nodes[1].stack.tcp_close_listener(now, listener));
    (client, server)
}

/// Sends from one node to the other, reading as it comes.
pub fn transfer(
    net: &mut Net,
    (from, sender): (usize, TcpHandle),
    (to, receiver): (usize, TcpHandle),
    bytes: &[u8],
    patience: Duration,
) {
    let until = net.now + patience;
    let (mut written, mut read) = (0, Vec::new());
    let mut buffer = vec![0; 65_536];
    while read.len() < bytes.len() {
        let now = net.now;
        written += net.nodes[from]
            .stack
            .tcp_write(now, sender, &bytes[written..])
            .unwrap();
        let more = net.step(until);
        loop {
            let now = net.now;
            let count = net.nodes[to]
                .stack
                .tcp_read(now, receiver, &mut buffer)
                .unwrap();
            if count == 0 {
                break;
            }
            read.extend_from_slice(&buffer[..count]);
        }
        assert!(more, "{} of {}", read.len(), bytes.len());
    }
    assert!(read == bytes, "the bytes are others");
}

/// Closes both ends; every page and slot is back after a while.
pub fn finish(mut net: Net, client: TcpHandle, server: TcpHandle) {
    let now = net.now;
    net.nodes[0].stack.tcp_close(now, client);
    net.nodes[1].stack.tcp_close(now, server);
    net.run(Duration::from_secs(700));
    for node in &net.nodes {
        assert_eq!(node.stack.tcp_population(), (0, 0, 0));
    }
    net.assert_whole();
}
