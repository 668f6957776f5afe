//! The network: our own stack on the domain's first network device, until the toolstack ends the domain.

use core::future::{Future, poll_fn};
use core::net::IpAddr;
use core::pin::pin;
use core::task::Poll;

use mirage_core::Netif;
use mirage_net::{
    Capacities, Cidr, ConflictConfig, Defence, Event, Stack, StackConfig, StackStorage, drive,
};
use mirage_xen::abi::shutdown::ShutdownReason;
use mirage_xen::console::logger::Logging;
use mirage_xen::machine::{Machine, News};
use mirage_xen::native::NativeHypervisor;
use mirage_xen::netfront::Netfront;
use mirage_xen::store::join2;

use crate::settings::Settings;
use crate::{Failure, say};

/// A stack on a network device.
pub(crate) struct Network {
    machine: &'static Machine<NativeHypervisor>,
    netif: &'static Netfront<NativeHypervisor>,
    stack: Stack<'static>,
    logging: Option<Logging>,
    ip: Cidr,
}

impl Network {
    /// Waits until the device is connected, and gives the stack on it its address.
    pub(crate) async fn open(
        machine: &'static Machine<NativeHypervisor>,
        logging: Option<Logging>,
        settings: Settings,
    ) -> Result<Self, Failure> {
        // Together: what they ask xenstore goes there at a time.
        let (netif, rng) = join2(machine.network(), machine.rng()).await;
        let (netif, rng) = (netif?, rng?);
        say(
            logging,
            &format_args!(
                "mirage: network up in {} us, {} xenstore round trips",
                // Half a million years.
                machine.uptime().as_micros() as u64,
                machine.store().counters().round_trips
            ),
        );
        log::debug!("{} with an MTU of {}", netif.mac(), netif.mtu());
        let now = machine.executor().now();
        let mut stack = Stack::new(
            StackConfig::for_netif(&netif),
            StackStorage::allocate(&Capacities::default()),
            machine.pool(),
            now,
            &mut rng.generator()?,
        )?;
        // The toolstack gave us the address: it is taken at once, and defended.
        let conflict = ConflictConfig {
            probe_num: 0,
            defence: Defence::Always,
            ..ConflictConfig::default()
        };
        stack.add_address(now, settings.ip, conflict)?;
        if let Some(gateway) = settings.gateway {
            stack.add_default_route(gateway.into())?;
        }
        Ok(Self {
            machine,
            netif,
            stack,
            logging,
            ip: settings.ip,
        })
    }

    /// The stack, to bind services to.
    pub(crate) fn stack(&mut self) -> &mut Stack<'static> {
        &mut self.stack
    }

    /// Moves frames until the domain is to end.
    pub(crate) async fn run(&mut self) -> Result<ShutdownReason, Failure> {
        loop {
            match self.drive().await? {
                News::End(reason) => {
                    return Ok(reason);
                }
                News::Resumed => {
                    // Whoever was restored twice must not repeat itself: nothing is sent before this.
                    let rng = self.machine.rng().await?;
                    self.stack.reseed(&mut rng.generator()?);
                    self.stack.announce(self.machine.executor().now());
                }
            }
        }
    }

    async fn drive(&mut self) -> Result<News, Failure> {
        let (address, logging) = (self.ip.address(), self.logging);
        let (machine, executor) = (self.machine, self.machine.executor());
        let mut netif = self.netif;
        let mut driving = pin!(drive(&mut netif, &mut self.stack, executor, |event| tell(
            event, address, logging
        )));
        poll_fn(|context| {
            // Before the frames: after a resume none is to be sent.
            if let Poll::Ready(news) = machine.poll_news(context) {
                return Poll::Ready(Ok(news));
            }
            driving
                .as_mut()
                .poll(context)
                .map(|error| Err(error.into()))
        })
        .await
    }
}

fn tell(event: Event, own: IpAddr, logging: Option<Logging>) {
    // IPv4's alone: the text of the others is two kilobytes.
    match event {
        Event::AddressAcquired(address @ IpAddr::V4(shown)) if address == own => {
            say(logging, &format_args!("mirage: ready {shown}"));
        }
        Event::AddressDefended {
            address: IpAddr::V4(address),
            other,
        } => {
            log::warn!("{other} uses our address {address}: it was told that it is ours");
        }
        Event::AddressLost {
            address: IpAddr::V4(address),
            other,
        } => log::error!("{other} has our address {address}"),
        _ => {}
    }
}
