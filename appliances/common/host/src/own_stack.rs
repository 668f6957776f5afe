//! Our own network stack, over a tap or an interface.

use std::convert::Infallible;
use std::fmt;
use std::fs::File;
use std::future::{Future, poll_fn};
use std::net::Ipv4Addr;
use std::pin::{Pin, pin};
use std::task::Poll;

use mirage_core::doubles::{Capture, IoSink};
use mirage_core::executor::{Executor, TurnClock};
use mirage_core::{Netif, NetifError, Pool};
use mirage_host::{EndSignals, HostPlatform, SystemRng};
use mirage_net::tcp::{TcpCapacities, TcpStorage};
use mirage_net::{Capacities, SharedStack, Stack, StackConfig, StackStorage, TcpWakers, WakerSlot};

use crate::address::Address;
use crate::{Device, Failure, Ip, Net, NetworkArguments};

/// Pages of the pool: what is being received, sent, put together and waited for.
const PAGES: usize = 1_024;
/// As on Xen. With 17 of them, as many as a frame has beside its headers, the longest datagram is put together.
const PAGE_SIZE: usize = 4_096;

/// Our own stack on a device of the host.
pub struct OwnStack {
    platform: &'static HostPlatform,
    address: &'static Address,
    /// What keeps the address, from the first run on.
    keeping: Option<Keeping>,
    host: Option<(Ipv4Addr, u8)>,
    port: Port,
    pool: &'static Pool,
    stack: &'static SharedStack<'static>,
}

impl fmt::Debug for OwnStack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OwnStack")
            .field("device", self.port.device())
            .field("address", &self.address.current())
            .finish_non_exhaustive()
    }
}

enum Port {
    Plain(Device),
    Captured(Capture<Device, IoSink<File>, &'static HostPlatform>),
}

type Keeping = Pin<Box<dyn Future<Output = Result<Infallible, Failure>>>>;

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
        executor: &'static Executor,
        platform: &'static HostPlatform,
        net: &Net,
        arguments: &NetworkArguments,
        capacities: &Capacities,
        tcp: &TcpCapacities,
    ) -> Result<Self, Failure> {
        // clap demands --ip with --net.
        let ip = arguments
            .ip
            .ok_or_else(|| Failure::Stack("--net needs --ip".into()))?;
        let host = host(ip, arguments.gateway)?;
        let pool = Pool::leak(PAGES, PAGE_SIZE)
            .map_err(|error| Failure::System(format!("no memory for pages: {error}")))?;
        let device = Device::open(platform, pool, net, host, arguments)?;
        let mut rng = SystemRng::new()?;
        let gateway = arguments.gateway;
        let storage = StackStorage::allocate(capacities).with_tcp(TcpStorage::allocate(tcp));
        let stack = stack(executor, pool, &device, gateway, storage, &mut rng)?;
        let address = Address::open(stack, net, arguments, ip, device.mac(), &mut rng)?;
        let port = match &arguments.capture {
            None => Port::Plain(device),
            Some(path) => {
                let file =
                    File::create(path).map_err(|error| Failure::Capture(path.clone(), error))?;
                Port::Captured(Capture::new(device, IoSink(file), platform))
            }
        };
        Ok(Self {
            platform,
            address,
            keeping: None,
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
            self.address.describe(device.mac()),
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

    /// Our address; the unspecified one while there is none.
    pub fn address(&self) -> Ipv4Addr {
        self.address.current().unwrap_or(Ipv4Addr::UNSPECIFIED)
    }

    /// Runs until there is an address and it is ours (RFC 5227), or Ctrl-C.
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

    /// Serves until Ctrl-C; a lease is given back then. An address of a DHCP server's may go meanwhile, and another come: that is said.
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
        let (stack, address, platform) = (self.stack, self.address, self.platform);
        let keeping = self
            .keeping
            .get_or_insert_with(|| Box::pin(address.keep(stack, executor)));
        let ended = {
            // One driver for each, so that what it calls for each frame is known when it is compiled.
            let mut driving: Pin<Box<dyn Future<Output = NetifError>>> = match &mut self.port {
                Port::Plain(device) => Box::pin(stack.run(device, executor)),
                Port::Captured(capture) => Box::pin(stack.run(capture, executor)),
            };
            let mut ending = pin!(async {
                end.wait().await;
                address.release(stack, executor, platform).await;
            });
            executor.run_until(poll_fn(|cx| {
                if let Poll::Ready(error) = driving.as_mut().poll(cx) {
                    return Poll::Ready(Err(Gone::Device(error)));
                }
                if let Poll::Ready(Err(failure)) = keeping.as_mut().poll(cx) {
                    return Poll::Ready(Err(Gone::Address(failure)));
                }
                if let Some(failure) = address.failure() {
                    return Poll::Ready(Err(Gone::Address(failure)));
                }
                if acquiring && address.current().is_some() {
                    return Poll::Ready(Ok(Ended::NotYet));
                }
                ending.as_mut().poll(cx).map(|()| Ok(Ended::ByUser))
            }))
        };
        ended.map_err(|gone| match gone {
            Gone::Device(error) => self.gone(error),
            Gone::Address(failure) => failure,
        })
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

/// What we can't go on without.
enum Gone {
    Device(NetifError),
    Address(Failure),
}

/// The address for the host's side of a tap, if we know the network.
fn host(ip: Ip, gateway: Option<Ipv4Addr>) -> Result<Option<(Ipv4Addr, u8)>, Failure> {
    let Ip::Address(prefix) = ip else {
        return Ok(None);
    };
    let host = match gateway {
        Some(gateway) if gateway == prefix.address => {
            return Err(Failure::Stack(
                "the gateway can't be our own address".into(),
            ));
        }
        Some(gateway) if prefix.holds_host(gateway) => gateway,
        _ => prefix.other_host(),
    };
    Ok(Some((host, prefix.length)))
}

fn stack(
    executor: &'static Executor,
    pool: &'static Pool,
    netif: &Device,
    gateway: Option<Ipv4Addr>,
    storage: StackStorage<'static>,
    rng: &mut SystemRng,
) -> Result<&'static SharedStack<'static>, Failure> {
    let wrong = |error: &dyn std::fmt::Display| Failure::Stack(error.to_string());
    let now = executor.now();
    let config = StackConfig::for_netif(netif);
    let mut stack = Stack::new(config, storage, pool, now, rng).map_err(|error| wrong(&error))?;
    if let Some(gateway) = gateway {
        stack
            .add_default_route(gateway.into())
            .map_err(|error| wrong(&error))?;
    }
    let wakers: &'static mut [WakerSlot] =
        Vec::from_iter(std::iter::repeat_with(WakerSlot::default).take(stack.udp_capacity()))
            .leak();
    let streams = TcpWakers::allocate(&stack);
    let clock: &'static TurnClock = Box::leak(Box::new(TurnClock::new(executor)));
    let shared = SharedStack::new(stack, clock, wakers).with_tcp(streams);
    Ok(Box::leak(Box::new(shared)))
}

impl Port {
    fn device(&self) -> &Device {
        match self {
            Self::Plain(device) => device,
            Self::Captured(capture) => capture.get_ref(),
        }
    }
}
