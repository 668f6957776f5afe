//! Two stacks on a virtual Ethernet that loses a tenth of all frames: one pings the other, then asks a service there.
//!
//! Everything runs in virtual time on the real executor, so each run is the same and takes no time.
//!
//! ```sh
//! cargo run -p mirage-net --example ping
//! ```

use core::time::Duration;
use std::error::Error;

use mirage_core::doubles::{
    Chance, Faults, PortConfig, VirtualEthernet, VirtualNetif, VirtualPlatform,
};
use mirage_core::executor::Executor;
use mirage_core::{Clock, MacAddress, Pool};
use mirage_net::{
    Cidr, ConflictConfig, Event, ServiceOptions, ServiceSlot, SharedStack, Stack, StackConfig,
    StackMemory, UdpOptions, UdpRequest, UdpService, WakerSlot,
};
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::SeedableRng;

/// Answers in capital letters, in the page that is sent.
struct Shout;

impl UdpService for Shout {
    fn respond(&mut self, request: &UdpRequest<'_>, answer: &mut [u8]) -> Option<usize> {
        let answer = answer.get_mut(..request.payload.len())?;
        answer.copy_from_slice(request.payload);
        answer.make_ascii_uppercase();
        Some(answer.len())
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let platform: &'static VirtualPlatform = Box::leak(Box::default());
    let executor: &'static Executor = Executor::leak(platform);
    let ethernet = VirtualEthernet::new(2026);
    platform.connect(&ethernet);

    let client = machine(platform, executor, &ethernet, 1)?;
    let server = machine(platform, executor, &ethernet, 2)?;
    let service = Box::leak(Box::new(Shout));
    server.with(|stack, _| stack.bind_service(ServiceOptions::port(7), service))?;

    executor.run_until(async {
        // The addresses are probed for (RFC 5227) before they are used.
        while !matches!(client.event().await, Event::AddressAcquired(_)) {}
        while !matches!(server.event().await, Event::AddressAcquired(_)) {}
        println!("{}: both have their addresses", executor.now());
        for _ in 0..5 {
            client.with(|stack, now| stack.ping(now, [10, 0, 0, 2].into(), 56))?;
            match executor
                .timeout(Duration::from_secs(1), client.event())
                .await
            {
                Ok(event) => println!("{}: {event:?}", executor.now()),
                Err(_) => println!("{}: no answer", executor.now()),
            }
        }
        let socket = client.udp_bind(UdpOptions::connect(
            "0.0.0.0:0".parse()?,
            "10.0.0.2:7".parse()?,
        ))?;
        loop {
            socket.send(None, b"is anybody there?").await?;
            let answer = executor.timeout(Duration::from_secs(1), socket.receive());
            if let Ok(answer) = answer.await {
                let payload = answer?.payload;
                let text = String::from_utf8_lossy(payload.contiguous().unwrap_or_default());
                println!("{}: {text}", executor.now());
                break;
            }
        }
        Ok::<(), Box<dyn Error>>(())
    })?;
    server.with(|stack, _| println!("{:#?}", stack.counters().udp));
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
    let memory = Box::leak(Box::new(StackMemory::<16, 8, 32, 4, 32>::new()));
    let services = Box::leak(Box::new([const { ServiceSlot::EMPTY }; 1]));
    let wakers = Box::leak(Box::new([const { WakerSlot::EMPTY }; 4]));
    // A real machine seeds this from its platform's entropy.
    let mut rng = ChaCha20Rng::seed_from_u64(number.into());
    let config = StackConfig::for_netif(&netif);
    let now = platform.now();
    let mut stack = Stack::new(config, memory.storage(services), pool, now, &mut rng)?;
    let address = Cidr::new([10, 0, 0, number].into(), 24)?;
    stack.add_address(now, address, ConflictConfig::default())?;
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
