//! Our stack on a tap, and what it serves: each service a few lines above `TcpStream`.

use std::future::Future;
use std::rc::Rc;

use bench_common::report::Error;
use mirage_core::executor::Executor;
use mirage_core::{Clock, Pool};
use mirage_host::{HostPlatform, SystemRng, Tap, TapConfig};
use mirage_net::tcp::{ConnectionOptions, ListenOptions, TcpCapacities, TcpError, TcpStorage};
use mirage_net::{
    Capacities, Cidr, ConflictConfig, SharedStack, Stack, StackConfig, StackStorage, TcpStream,
    TcpWakers, WakerSlot,
};

use crate::guest::GuestArguments;
use crate::load::port;

/// Bytes of a page: 17 hold the longest frame.
const BLOCK: usize = 4_096;
/// Pages in all: 10 connections have their buffers in them, and the devices theirs.
const BLOCKS: usize = 6_144;

type Stream = TcpStream<'static, 'static>;

/// Runs it; it doesn't end by itself.
pub(crate) fn run(arguments: &GuestArguments, offloads: bool) -> Result<(), Error> {
    let platform = HostPlatform::leak()?;
    let executor = Executor::leak(platform);
    let pool = Pool::leak(BLOCKS, BLOCK)?;
    let mut config = TapConfig::new(&*arguments.interface);
    config.checksum_offload = offloads;
    config.receive_pages = 128;
    let mut tap = Tap::open(platform, pool, config)?;
    let mut rng = SystemRng::new()?;
    let now = platform.now();
    let capacities = TcpCapacities {
        connections: 256,
        segments: 16_384,
        ..TcpCapacities::default()
    };
    let storage =
        StackStorage::allocate(&Capacities::default()).with_tcp(TcpStorage::allocate(&capacities));
    let config = StackConfig::for_netif(&tap);
    let mut stack = Stack::new(config, storage, pool, now, &mut rng)?;
    let cidr = Cidr::new(arguments.address.into(), 24)?;
    stack.add_address(now, cidr, ConflictConfig::assigned())?;
    let wakers: Vec<WakerSlot> = (0..stack.udp_capacity())
        .map(|_| WakerSlot::EMPTY)
        .collect();
    let tcp = TcpWakers::allocate(&stack);
    let shared = SharedStack::new(stack, platform, &mut wakers.leak()[..]).with_tcp(tcp);
    let shared: &'static SharedStack<'static> = Box::leak(Box::new(shared));

    let buffer = arguments.buffer;
    // Each page of the queues may be no more than half full.
    let pages = (buffer as usize / BLOCK * 4).clamp(16, 4_096) as u16;
    let options = ConnectionOptions {
        receive_window: buffer,
        receive_pages: pages,
        send_octets: buffer,
        send_pages: pages,
        no_delay: true,
        ..ConnectionOptions::DEFAULT
    };
    serve(shared, executor, port::SINK, options, |stream| async move {
        // A page goes back to the pool as soon as it was received.
        while stream.receive().await?.is_some() {}
        Ok(())
    })?;
    serve(
        shared,
        executor,
        port::SOURCE,
        options,
        |stream| async move {
            loop {
                let mut page = stream.page().await?;
                page.expand();
                stream.send(page).await?;
            }
        },
    )?;
    serve(shared, executor, port::ECHO, options, |stream| async move {
        while let Some(segment) = stream.receive().await? {
            stream.send(segment).await?;
        }
        Ok(())
    })?;
    let error = executor.run_until(async move { shared.run(&mut tap, executor).await });
    Err(format!("the tap: {error}").into())
}

/// Listens on a port, with a task for each connection.
fn serve<F: Future<Output = Result<(), TcpError>> + 'static>(
    shared: &'static SharedStack<'static>,
    executor: &'static Executor,
    port: u16,
    options: ConnectionOptions,
    service: impl Fn(Rc<Stream>) -> F + 'static,
) -> Result<(), Error> {
    let mut listen = ListenOptions::bind(([0, 0, 0, 0], port).into());
    listen.connection = options;
    listen.backlog = 64;
    let listener = shared.tcp_listen(listen)?;
    let accepting = async move {
        loop {
            let Ok((_, stream)) = listener.accept().await else {
                continue;
            };
            let serving = service(Rc::new(stream));
            let task = executor.spawn(async move {
                // How the peer ends it, here by a reset, is no error of ours.
                let _ = serving.await;
            });
            if let Ok(task) = task {
                task.detach();
            }
        }
    };
    executor.spawn(accepting)?.detach();
    Ok(())
}
