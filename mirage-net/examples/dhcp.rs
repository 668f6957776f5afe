//! A DHCP server and a client on a virtual Ethernet that loses a tenth of all frames: a lease for a day, in virtual time.
//!
//! ```sh
//! cargo run -p mirage-net --example dhcp
//! ```

use core::cell::RefCell;
use core::net::Ipv4Addr;
use core::time::Duration;
use std::error::Error;

use mirage_core::doubles::{
    Chance, Faults, MemoryStore, PortConfig, VirtualEthernet, VirtualNetif, VirtualPlatform,
};
use mirage_core::executor::Executor;
use mirage_core::kv::Key;
use mirage_core::{Clock, MacAddress, Pool};
use mirage_net::{
    Cidr, ConflictConfig, DhcpClient, DhcpClientConfig, DhcpLeaseSlot, DhcpProbeSlot, DhcpServer,
    DhcpServerConfig, DhcpSubnet, ServiceSlot, SharedDhcpClient, SharedStack, Stack, StackConfig,
    StackMemory, WakerSlot, serve_dhcp,
};
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::SeedableRng;

const SERVER: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);

fn main() -> Result<(), Box<dyn Error>> {
    let platform: &'static VirtualPlatform = Box::leak(Box::default());
    let executor: &'static Executor = Executor::leak(platform);
    let ethernet = VirtualEthernet::new(2026);
    platform.connect(&ethernet);

    // The server: its address is assigned, its leases are in a store.
    let server_stack = machine(platform, executor, &ethernet, 1)?;
    let address = Cidr::new(SERVER.into(), 24)?;
    server_stack.with(|stack, now| stack.add_address(now, address, ConflictConfig::assigned()))?;
    let subnets = Box::leak(Box::new([DhcpSubnet {
        routers: &[SERVER],
        resolvers: &[SERVER],
        domain: Some("example.org"),
        ..DhcpSubnet::new(address, [10, 0, 0, 100].into(), [10, 0, 0, 199].into())
    }]));
    let slots = Box::leak(Box::new([const { DhcpLeaseSlot::EMPTY }; 100]));
    let config = DhcpServerConfig::new(SERVER, &subnets[..]);
    // Four addresses at a time are pinged before they are offered.
    let probes = Box::leak(Box::new([const { DhcpProbeSlot::EMPTY }; 4]));
    let server = DhcpServer::new(config, &mut slots[..])?.with_probes(&mut probes[..]);
    let server = RefCell::new(server);
    let server: &'static RefCell<DhcpServer<'static>> = Box::leak(Box::new(server));
    let store: &'static MemoryStore = Box::leak(Box::default());
    executor
        .spawn(async move {
            let notify = |notice| println!("{}: the server: {notice:?}", platform.now());
            let ended = serve_dhcp(server_stack, executor, server, store, Key::ROOT, notify).await;
            println!("the server ended: {ended:?}");
        })?
        .detach();

    // The client: a stack without an address.
    let stack = machine(platform, executor, &ethernet, 2)?;
    let config = DhcpClientConfig::new(MacAddress([2, 0, 0, 0, 0, 2]));
    let client = DhcpClient::new(config, &mut ChaCha20Rng::seed_from_u64(2));
    let client: &'static SharedDhcpClient = Box::leak(Box::new(SharedDhcpClient::new(client)));
    executor
        .spawn(async move {
            let notify = |notice| println!("{}: {notice:?}", platform.now());
            let conflict = ConflictConfig::default();
            let ended = client.run(stack, executor, conflict, notify).await;
            println!("the client ended: {ended:?}");
        })?
        .detach();

    executor.run_until(async {
        let lease = client.configured().await;
        println!("{}: {lease:#?}", platform.now());
        executor.sleep(Duration::from_secs(86_400)).await;
    });
    println!("{:#?}", server.borrow().counters());
    Ok(())
}

/// A machine with an interface, a stack and a task that drives them.
fn machine(
    platform: &'static VirtualPlatform,
    executor: &'static Executor,
    ethernet: &VirtualEthernet,
    number: u8,
) -> Result<&'static SharedStack<'static>, Box<dyn Error>> {
    let pool = Pool::leak(128, 2048)?;
    let mut config = PortConfig::new(MacAddress([2, 0, 0, 0, 0, number]));
    config.faults = Faults {
        loss: Chance::percent(10),
        delay: Duration::from_millis(10),
        ..Faults::NONE
    };
    let mut netif: VirtualNetif = ethernet.attach(config, pool.reserve(32)?);
    let memory = Box::leak(Box::new(StackMemory::<16, 8, 32, 4, 64>::new()));
    let services = Box::leak(Box::new([const { ServiceSlot::EMPTY }; 1]));
    let wakers = Box::leak(Box::new([const { WakerSlot::EMPTY }; 4]));
    // A real machine seeds this from its platform's entropy.
    let mut rng = ChaCha20Rng::seed_from_u64(number.into());
    let config = StackConfig::for_netif(&netif);
    let stack = Stack::new(
        config,
        memory.storage(services),
        pool,
        platform.now(),
        &mut rng,
    )?;
    let shared: &'static SharedStack<'static> =
        Box::leak(Box::new(SharedStack::new(stack, platform, &mut wakers[..])));
    executor
        .spawn(async move {
            let error = shared.run(&mut netif, executor).await;
            println!("the driver ended: {error}");
        })?
        .detach();
    Ok(shared)
}
