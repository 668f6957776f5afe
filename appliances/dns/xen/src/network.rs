//! The network: our own stack on the domain's first network device, until the toolstack ends the domain.

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::convert::Infallible;
use core::future::{Future, poll_fn};
use core::pin::pin;
use core::task::Poll;

use mirage_core::Netif;
use mirage_core::executor::TurnClock;
use mirage_net::tcp::TcpStorage;
use mirage_net::{Capacities, SharedStack, Stack, StackConfig, StackStorage, TcpWakers, WakerSlot};
use mirage_xen::abi::shutdown::ShutdownReason;
use mirage_xen::console::logger::Logging;
use mirage_xen::machine::{Machine, News};
use mirage_xen::native::NativeHypervisor;
use mirage_xen::netfront::Netfront;
use mirage_xen::store::join2;

use crate::address::Address;
use crate::settings::Settings;
use crate::{Failure, say};

/// A stack on a network device.
pub(crate) struct Network {
    machine: &'static Machine<NativeHypervisor>,
    netif: &'static Netfront<NativeHypervisor>,
    shared: &'static SharedStack<'static>,
    address: Address,
}

impl Network {
    /// Waits until the device is connected, and makes a stack on it, with these tables for TCP.
    pub(crate) async fn open(
        machine: &'static Machine<NativeHypervisor>,
        logging: Option<Logging>,
        settings: Settings,
        tcp: TcpStorage<'static>,
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
        let mut rng = rng.generator()?;
        let storage = StackStorage::allocate(&Capacities::default()).with_tcp(tcp);
        let stack = Stack::new(
            StackConfig::for_netif(&netif),
            storage,
            machine.pool(),
            now,
            &mut rng,
        )?;
        let mut wakers = Vec::new();
        wakers.resize_with(stack.udp_capacity(), WakerSlot::default);
        let streams = TcpWakers::allocate(&stack);
        let clock: &'static TurnClock = Box::leak(Box::new(TurnClock::new(machine.executor())));
        let shared = SharedStack::new(stack, clock, wakers).with_tcp(streams);
        let shared: &'static SharedStack<'static> = Box::leak(Box::new(shared));
        let address = Address::open(shared, netif.mac(), &settings, logging, &mut rng)?;
        Ok(Self {
            machine,
            netif,
            shared,
            address,
        })
    }

    /// The stack, to bind services to.
    pub(crate) fn stack(&self) -> &'static SharedStack<'static> {
        self.shared
    }

    /// Moves frames, and keeps the address, until the domain is to end.
    pub(crate) async fn run(&self) -> Result<ShutdownReason, Failure> {
        let executor = self.machine.executor();
        let mut keeping = pin!(self.address.keep(self.shared, executor));
        loop {
            match self.drive(keeping.as_mut()).await? {
                News::End(reason) => {
                    return Ok(reason);
                }
                News::Resumed => {
                    // Whoever was restored twice must not repeat itself: nothing is sent before this.
                    let rng = self.machine.rng().await?;
                    let mut rng = rng.generator()?;
                    self.shared.with(|stack, now| {
                        stack.reseed(&mut rng);
                        stack.announce(now);
                    });
                    self.address.resume(self.shared, &mut rng);
                }
            }
        }
    }

    async fn drive(
        &self,
        keeping: impl Future<Output = Result<Infallible, Failure>> + Unpin,
    ) -> Result<News, Failure> {
        let machine = self.machine;
        let mut netif = self.netif;
        let mut driving = pin!(self.shared.run(&mut netif, machine.executor()));
        let mut keeping = pin!(keeping);
        poll_fn(|context| {
            // Before the frames: after a resume none is to be sent.
            if let Poll::Ready(news) = machine.poll_news(context) {
                return Poll::Ready(Ok(news));
            }
            if let Poll::Ready(Err(failure)) = keeping.as_mut().poll(context) {
                return Poll::Ready(Err(failure));
            }
            driving
                .as_mut()
                .poll(context)
                .map(|error| Err(error.into()))
        })
        .await
    }
}
