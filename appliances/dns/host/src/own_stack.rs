//! Serving on our own network stack, over a tap or an interface.

use std::cell::Cell;
use std::fs::File;
use std::future::{Future, poll_fn};
use std::net::{IpAddr, Ipv4Addr};
use std::pin::{Pin, pin};
use std::task::Poll;
use std::time::Duration;

use dns_appliance::Service;
use mirage_core::doubles::{Capture, IoSink};
use mirage_core::executor::Executor;
use mirage_core::{Clock, Netif, NetifError, Pool};
use mirage_host::{EndSignals, HostPlatform, SystemRng};
use mirage_net::{
    Capacities, Cidr, ConflictConfig, Defence, Event, ServiceOptions, Stack, StackConfig,
    StackStorage, drive,
};

use crate::arguments::{Arguments, Net, Prefix};
use crate::device::Device;
use crate::error::Failure;

/// The port of DNS (RFC 1035 §4.2).
pub(crate) const PORT: u16 = 53;
/// Pages of the pool: what is being received, sent, put together and waited for.
const PAGES: usize = 1_024;
/// As on Xen. With 17 of them, as many as a frame has beside its headers, the longest datagram is put together.
const PAGE_SIZE: usize = 4_096;

/// Our own stack on a device of the host.
pub(crate) struct OwnStack {
    prefix: Prefix,
    host: (Ipv4Addr, u8),
    port: Port,
    stack: Stack<'static>,
}

enum Port {
    Plain(Device),
    Captured(Capture<Device, IoSink<File>, &'static HostPlatform>),
}

/// Why serving ended, or did not begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ended {
    /// It did not: the address is ours.
    NotYet,
    /// Ctrl-C.
    ByUser,
}

impl OwnStack {
    /// Opens the device, and binds the service to a stack on it.
    pub(crate) fn open(
        platform: &'static HostPlatform,
        service: &'static Service<'static>,
        net: &Net,
        arguments: &Arguments,
    ) -> Result<Self, Failure> {
        // clap demands --ip with --net.
        let prefix = arguments
            .ip
            .ok_or_else(|| Failure::Stack("--net needs --ip".into()))?;
        let host = match arguments.gateway {
            Some(gateway) if gateway == prefix.address => {
                return Err(Failure::Stack(
                    "the gateway can't be our own address".into(),
                ));
            }
            Some(gateway) if prefix.holds_host(gateway) => gateway,
            _ => prefix.other_host(),
        };
        let pool = Pool::leak(PAGES, PAGE_SIZE)
            .map_err(|error| Failure::System(format!("no memory for pages: {error}")))?;
        let host = (host, prefix.length);
        let device = Device::open(platform, pool, net, host, arguments)?;
        let conflict = conflict(net);
        let gateway = arguments.gateway;
        let stack = stack(platform, service, pool, &device, prefix, conflict, gateway)?;
        let port = match &arguments.capture {
            None => Port::Plain(device),
            Some(path) => {
                let file =
                    File::create(path).map_err(|error| Failure::Capture(path.clone(), error))?;
                Port::Captured(Capture::new(device, IoSink(file), platform))
            }
        };
        Ok(Self {
            prefix,
            host,
            port,
            stack,
        })
    }

    /// What was opened.
    pub(crate) fn describe(&self) -> Vec<String> {
        let device = self.port.device();
        vec![
            device.describe(self.host),
            format!("taking {} with MAC {}", self.prefix.address, device.mac()),
        ]
    }

    /// Our address.
    pub(crate) fn address(&self) -> Ipv4Addr {
        self.prefix.address
    }

    /// Runs until the address is ours (RFC 5227), or Ctrl-C.
    pub(crate) fn acquire(
        &mut self,
        executor: &'static Executor,
        end: &mut EndSignals,
    ) -> Result<Ended, Failure> {
        self.run_until(executor, end, true)
    }

    /// Serves until Ctrl-C, or until the device is gone.
    pub(crate) fn run(
        &mut self,
        executor: &'static Executor,
        end: &mut EndSignals,
    ) -> Result<(), Failure> {
        self.run_until(executor, end, false).map(drop)
    }

    fn run_until(
        &mut self,
        executor: &'static Executor,
        end: &mut EndSignals,
        acquiring: bool,
    ) -> Result<Ended, Failure> {
        let address = IpAddr::V4(self.prefix.address);
        let acquired = Cell::new(false);
        let lost = Cell::new(None);
        let on_event = |event| {
            log::info!("{event:?}");
            match event {
                Event::AddressAcquired(own) if own == address => acquired.set(true),
                Event::AddressLost {
                    address: own,
                    other,
                } if own == address => {
                    lost.set(Some(other));
                }
                Event::AddressDefended { address, other } => {
                    log::warn!("{other} uses our address {address}: it was told that it is ours");
                }
                _ => {}
            }
        };
        let ended = {
            let stack = &mut self.stack;
            // One driver for each, so that what it calls for each frame is known when it is compiled.
            let mut driving: Pin<Box<dyn Future<Output = NetifError>>> = match &mut self.port {
                Port::Plain(device) => Box::pin(drive(device, stack, executor, on_event)),
                Port::Captured(capture) => Box::pin(drive(capture, stack, executor, on_event)),
            };
            let mut ending = pin!(end.wait());
            executor.run_until(poll_fn(|cx| {
                if let Poll::Ready(error) = driving.as_mut().poll(cx) {
                    return Poll::Ready(Err(error));
                }
                if lost.get().is_some() || (acquiring && acquired.get()) {
                    return Poll::Ready(Ok(Ended::NotYet));
                }
                ending.as_mut().poll(cx).map(|()| Ok(Ended::ByUser))
            }))
        };
        if let Some(other) = lost.get() {
            return Err(Failure::Stack(format!(
                "{address} is in use by another station, {other}: choose another address with --ip"
            )));
        }
        ended.map_err(|error| self.gone(error))
    }

    fn gone(&self, error: NetifError) -> Failure {
        let name = self.port.device().name();
        match error {
            NetifError::Gone => Failure::System(format!("the interface {name} was taken away")),
            error => Failure::System(format!("the interface {name} failed: {error}")),
        }
    }

    /// What the device counted; what the stack did is told with -v.
    pub(crate) fn counters(&self) -> Vec<String> {
        log::info!("{:#?}", self.stack.counters());
        let pool = self.stack.pool();
        log::info!(
            "{} of {} pages free; {:#?}",
            pool.free_in_all(),
            pool.blocks(),
            pool.counters()
        );
        let (received, transmitted) = self.port.device().counters();
        vec![format!("{received} frames received, {transmitted} sent")]
    }
}

fn stack(
    platform: &'static HostPlatform,
    service: &'static Service<'static>,
    pool: &'static Pool,
    netif: &Device,
    prefix: Prefix,
    conflict: ConflictConfig,
    gateway: Option<Ipv4Addr>,
) -> Result<Stack<'static>, Failure> {
    let wrong = |error: &dyn std::fmt::Display| Failure::Stack(error.to_string());
    let mut rng = SystemRng::new().map_err(|error| Failure::System(error.to_string()))?;
    let now = platform.now();
    let config = StackConfig::for_netif(netif);
    let storage = StackStorage::allocate(&Capacities::default());
    let mut stack =
        Stack::new(config, storage, pool, now, &mut rng).map_err(|error| wrong(&error))?;
    let cidr =
        Cidr::new(IpAddr::V4(prefix.address), prefix.length).map_err(|error| wrong(&error))?;
    stack
        .add_address(now, cidr, conflict)
        .map_err(|error| wrong(&error))?;
    if let Some(gateway) = gateway {
        stack
            .add_default_route(gateway.into())
            .map_err(|error| wrong(&error))?;
    }
    let options = ServiceOptions {
        max_answer: usize::from(service.limits().udp_payload_size.max(512)),
        ..ServiceOptions::port(PORT)
    };
    let bound: &'static mut &'static Service<'static> = Box::leak(Box::new(service));
    stack
        .bind_service(options, bound)
        .map_err(|error| wrong(&error))?;
    Ok(stack)
}

/// How our address is found to be free, and kept (RFC 5227).
fn conflict(net: &Net) -> ConflictConfig {
    let standard = ConflictConfig {
        defence: Defence::Always,
        ..ConflictConfig::default()
    };
    match net {
        // The standard's times are for networks whose bridges wake slowly; a tap's other end is a kernel that answers at once.
        Net::Tap(_) => ConflictConfig {
            probe_wait: Duration::from_millis(50),
            probe_min: Duration::from_millis(100),
            probe_max: Duration::from_millis(200),
            announce_wait: Duration::from_millis(300),
            ..standard
        },
        Net::Xdp(_) => standard,
    }
}

impl Port {
    fn device(&self) -> &Device {
        match self {
            Self::Plain(device) => device,
            Self::Captured(capture) => capture.get_ref(),
        }
    }
}
