//! Our own network stack, over a tap or an interface.

use std::cell::Cell;
use std::fmt;
use std::fs::File;
use std::future::{Future, poll_fn};
use std::net::{IpAddr, Ipv4Addr};
use std::pin::{Pin, pin};
use std::task::Poll;
use std::time::Duration;

use mirage_core::doubles::{Capture, IoSink};
use mirage_core::executor::Executor;
use mirage_core::{Clock, Netif, NetifError, Pool};
use mirage_host::{EndSignals, HostPlatform, SystemRng};
use mirage_net::tcp::{TcpCapacities, TcpStorage};
use mirage_net::{
    Capacities, Cidr, ConflictConfig, Defence, Event, SharedStack, Stack, StackConfig,
    StackStorage, TcpWakers, WakerSlot,
};

use crate::{Device, Failure, Net, NetworkArguments, Prefix};

/// Pages of the pool: what is being received, sent, put together and waited for.
const PAGES: usize = 1_024;
/// As on Xen. With 17 of them, as many as a frame has beside its headers, the longest datagram is put together.
const PAGE_SIZE: usize = 4_096;

/// Our own stack on a device of the host.
pub struct OwnStack {
    prefix: Prefix,
    host: (Ipv4Addr, u8),
    port: Port,
    pool: &'static Pool,
    stack: &'static SharedStack<'static>,
}

impl fmt::Debug for OwnStack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OwnStack")
            .field("device", self.port.device())
            .field("prefix", &self.prefix)
            .finish_non_exhaustive()
    }
}

enum Port {
    Plain(Device),
    Captured(Capture<Device, IoSink<File>, &'static HostPlatform>),
}

/// Why serving ended, or did not begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// It did not: the address is ours.
    NotYet,
    /// Ctrl-C.
    ByUser,
}

impl OwnStack {
    /// Opens the device, and makes a stack on it, as large as `capacities` and, for TCP, `tcp` say, to which the caller binds what
    /// serves ([`stack`](Self::stack)).
    ///
    /// # Errors
    ///
    /// The device can't be had, or the arguments are wrong.
    pub fn open(
        platform: &'static HostPlatform,
        net: &Net,
        arguments: &NetworkArguments,
        capacities: &Capacities,
        tcp: &TcpCapacities,
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
        let storage = StackStorage::allocate(capacities).with_tcp(TcpStorage::allocate(tcp));
        let stack = stack(platform, pool, &device, prefix, conflict, gateway, storage)?;
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
            pool,
            stack,
        })
    }

    /// What was opened.
    pub fn describe(&self) -> Vec<String> {
        let device = self.port.device();
        vec![
            device.describe(self.host),
            format!("taking {} with MAC {}", self.prefix.address, device.mac()),
        ]
    }

    /// The stack, to bind services and sockets to.
    pub fn stack(&self) -> &'static SharedStack<'static> {
        self.stack
    }

    /// The pool that its pages are from.
    pub fn pool(&self) -> &'static Pool {
        self.pool
    }

    /// Our address.
    pub fn address(&self) -> Ipv4Addr {
        self.prefix.address
    }

    /// Runs until the address is ours (RFC 5227), or Ctrl-C.
    ///
    /// # Errors
    ///
    /// The address is another station's; the device is gone.
    pub fn acquire(
        &mut self,
        executor: &'static Executor,
        end: &mut EndSignals,
    ) -> Result<Ended, Failure> {
        self.run_until(executor, end, true)
    }

    /// Serves until Ctrl-C.
    ///
    /// # Errors
    ///
    /// The address was lost to another station; the device is gone.
    pub fn run(
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
            let stack = self.stack;
            // One driver for each, so that what it calls for each frame is known when it is compiled.
            let mut driving: Pin<Box<dyn Future<Output = NetifError>>> = match &mut self.port {
                Port::Plain(device) => Box::pin(stack.run(device, executor)),
                Port::Captured(capture) => Box::pin(stack.run(capture, executor)),
            };
            let mut telling = pin!(async {
                loop {
                    on_event(stack.event().await);
                }
            });
            let mut ending = pin!(end.wait());
            executor.run_until(poll_fn(|cx| {
                if let Poll::Ready(error) = driving.as_mut().poll(cx) {
                    return Poll::Ready(Err(error));
                }
                let Poll::Pending = telling.as_mut().poll(cx);
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
    pub fn counters(&self) -> Vec<String> {
        self.stack
            .with(|stack, _| log::info!("{:#?}", stack.counters()));
        let pool = self.pool;
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
    pool: &'static Pool,
    netif: &Device,
    prefix: Prefix,
    conflict: ConflictConfig,
    gateway: Option<Ipv4Addr>,
    storage: StackStorage<'static>,
) -> Result<&'static SharedStack<'static>, Failure> {
    let wrong = |error: &dyn std::fmt::Display| Failure::Stack(error.to_string());
    let mut rng = SystemRng::new()?;
    let now = platform.now();
    let config = StackConfig::for_netif(netif);
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
    let wakers: &'static mut [WakerSlot] =
        Vec::from_iter(std::iter::repeat_with(WakerSlot::default).take(stack.udp_capacity()))
            .leak();
    let streams = TcpWakers::allocate(&stack);
    let shared = SharedStack::new(stack, platform, wakers).with_tcp(streams);
    Ok(Box::leak(Box::new(shared)))
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
