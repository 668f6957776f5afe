//! Our stack on a tap, with a task for each connection that sends back what comes.

use std::net::Ipv4Addr;

use bench_common::report::Error;
use clap::Args;
use mirage_core::executor::Executor;
use mirage_core::{Clock, Pool};
use mirage_host::{HostPlatform, SystemRng, Tap, TapConfig};
use mirage_net::tcp::{ConnectionOptions, ListenOptions, TcpCapacities, TcpStorage};
use mirage_net::{
    Capacities, Cidr, ConflictConfig, SharedStack, Stack, StackConfig, StackStorage, TcpWakers,
    WakerSlot,
};

/// Where it listens.
pub(crate) const PORT: u16 = 7;

/// Pages, of the size of a frame: none is an idle connection's.
const BLOCKS: usize = 1_024;
const BLOCK: usize = 2_048;

/// A stack on a tap.
#[derive(Args)]
pub(crate) struct Guest {
    /// Its tap.
    interface: String,
    /// Its address.
    address: Ipv4Addr,
    /// How many connections there is room for.
    connections: usize,
}

impl Guest {
    /// Serves; it doesn't end by itself.
    pub(crate) fn run(&self) -> Result<(), Error> {
        let platform = HostPlatform::leak()?;
        let executor = Executor::leak(platform);
        let pool = Pool::leak(BLOCKS, BLOCK)?;
        let mut tap = Tap::open(platform, pool, TapConfig::new(&*self.interface))?;
        let now = platform.now();
        let tcp = TcpStorage::allocate(&TcpCapacities {
            connections: self.connections,
            ..TcpCapacities::default()
        });
        let storage = StackStorage::allocate(&Capacities::default()).with_tcp(tcp);
        let config = StackConfig::for_netif(&tap);
        let mut stack = Stack::new(config, storage, pool, now, &mut SystemRng::new()?)?;
        let cidr = Cidr::new(self.address.into(), 24)?;
        stack.add_address(now, cidr, ConflictConfig::assigned())?;
        let wakers: Vec<WakerSlot> = (0..stack.udp_capacity())
            .map(|_| WakerSlot::EMPTY)
            .collect();
        let tcp = TcpWakers::allocate(&stack);
        let shared = SharedStack::new(stack, platform, wakers.leak()).with_tcp(tcp);
        let shared: &'static SharedStack<'static> = Box::leak(Box::new(shared));
        let listener = shared.tcp_listen(ListenOptions {
            connection: ConnectionOptions {
                no_delay: true,
                ..ConnectionOptions::DEFAULT
            },
            ..ListenOptions::bind((Ipv4Addr::UNSPECIFIED, PORT).into())
        })?;
        let accepting = async move {
            loop {
                let Ok((_, stream)) = listener.accept().await else {
                    continue;
                };
                let serving = async move {
                    while let Ok(Some(segment)) = stream.receive().await {
                        if stream.send(segment).await.is_err() {
                            break;
                        }
                    }
                };
                if let Ok(task) = executor.spawn(serving) {
                    task.detach();
                }
            }
        };
        executor.spawn(accepting)?.detach();
        let error = executor.run_until(async move { shared.run(&mut tap, executor).await });
        Err(format!("the tap: {error}").into())
    }
}
