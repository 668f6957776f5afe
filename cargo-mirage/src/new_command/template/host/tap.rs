//! Serving on our own network stack, over a tap device.

use std::error::Error;
use std::future::Future;
use std::net::{IpAddr, Ipv4Addr};

use mirage_core::executor::Executor;
use mirage_core::{Clock, Pool};
use mirage_host::{HostPlatform, SystemRng, Tap, TapConfig};
use mirage_net::{
    Capacities, Cidr, ConflictConfig, Event, ServiceOptions, Stack, StackConfig, StackStorage,
    drive,
};

use appliance_name::{PORT, Service};

/// Pages of the pool, and the bytes of each: as on Xen.
const PAGES: usize = 1_024;
const PAGE_SIZE: usize = 4_096;

/// Opens the device, and gives the task that serves.
pub fn serve(
    executor: &'static Executor,
    platform: &'static HostPlatform,
    service: &'static Service,
    name: &str,
    ip: Cidr,
    host: Ipv4Addr,
) -> Result<impl Future<Output = ()> + 'static, Box<dyn Error>> {
    let pool = Pool::leak(PAGES, PAGE_SIZE)?;
    let mut config = TapConfig::new(name);
    config.host_address = Some((host, ip.prefix_len()));
    let mut tap = Tap::open(platform, pool, config)?;

    let now = platform.now();
    let storage = StackStorage::allocate(&Capacities::default());
    let mut stack = Stack::new(
        StackConfig::for_netif(&tap),
        storage,
        pool,
        now,
        &mut SystemRng::new()?,
    )?;
    stack.add_address(now, ip, ConflictConfig::default())?;
    let bound: &'static mut &'static Service = Box::leak(Box::new(service));
    stack.bind_service(ServiceOptions::port(PORT), bound)?;

    let address: IpAddr = ip.address();
    println!("taking {address} on the tap {}", tap.name());
    Ok(async move {
        let gone = drive(&mut tap, &mut stack, executor, |event| match event {
            Event::AddressAcquired(own) => println!("serving on {own}:{PORT}, UDP"),
            Event::AddressLost { address, other } => {
                eprintln!(
                    "{address} is in use by another station, {other}: choose another with --ip"
                );
            }
            _ => {}
        })
        .await;
        eprintln!("the tap is gone: {gone}");
    })
}
