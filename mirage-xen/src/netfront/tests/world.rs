//! A domain with a network device, on a simulated machine.

use std::boxed::Box;
use std::future::poll_fn;
use std::string::String;
use std::task::{Context, Poll, Waker};
use std::time::Duration;
use std::vec::Vec;

use mirage_core::executor::Executor;
use mirage_core::{Frame, Netif, NetifError, Pool, TransmitReason};

use crate::abi::PAGE_SIZE;
use crate::clock::XenClock;
use crate::event_channel::EventChannels;
use crate::grant_table::GrantTable;
use crate::netfront::testing::bytes_of;
use crate::netfront::{Netfront, NetfrontConfig, NetfrontStorage};
use crate::platform::{XenPlatform, XenUnparker};
use crate::simulated::{SimulatedHypervisor, Simulation};
use crate::store::Store;
use crate::suspend::Suspender;

/// Room for a device with few pages, so that tests reach its limits.
pub(super) type SmallStorage = NetfrontStorage<16, 32>;

/// A device with so many pages to transmit from has more of all: enough for the longest frames.
pub(super) const LARGE_DEVICE: usize = 8;

pub(super) struct World {
    pub(super) simulation: Simulation,
    pub(super) pool: &'static Pool,
    pub(super) executor: &'static Executor,
    pub(super) store: &'static Store<SimulatedHypervisor>,
    pub(super) suspender: &'static Suspender<SimulatedHypervisor>,
    pub(super) netfront: &'static Netfront<SimulatedHypervisor>,
}

static UNPARKER: XenUnparker = XenUnparker::new();

impl World {
    pub(super) fn with(seed: u64, config: NetfrontConfig) -> Self {
        Self::on(Simulation::new(seed), config)
    }

    pub(super) fn on(simulation: Simulation, config: NetfrontConfig) -> Self {
        let hypervisor = simulation.hypervisor();
        let pool = Pool::leak(128, PAGE_SIZE).unwrap();
        simulation.add_memory(pool);
        let channels = EventChannels::leak(hypervisor);
        let clock = XenClock::leak(hypervisor);
        let platform = Box::leak(Box::new(XenPlatform::new(channels, clock, &UNPARKER)));
        let executor = Executor::leak(platform);
        let store = Store::leak(channels).unwrap();
        let table = GrantTable::leak(hypervisor, 1_024).unwrap();
        let grants = table.leak_pool(pool).unwrap();
        let lender = grants.leak_lender(simulation.backend_domain()).unwrap();
        let netfront = if config.transmit_pages == LARGE_DEVICE {
            let storage: &'static mut _ = Box::leak(Box::new(NetfrontStorage::<64, 64>::new()));
            Netfront::new(0, channels, grants, lender, storage, config)
        } else {
            let storage: &'static mut SmallStorage = Box::leak(Box::new(NetfrontStorage::new()));
            Netfront::new(0, channels, grants, lender, storage, config)
        };
        let netfront = netfront.unwrap();
        let netfront: &'static _ = Box::leak(Box::new(netfront));
        let suspender = Suspender::leak(hypervisor);
        suspender.add(channels).unwrap();
        suspender.add(clock).unwrap();
        suspender.add(store).unwrap();
        suspender.add(table).unwrap();
        suspender.add(netfront).unwrap();
        executor.spawn(store.run()).unwrap().detach();
        executor
            .spawn(netfront.run(store, executor))
            .unwrap()
            .detach();
        Self {
            simulation,
            pool,
            executor,
            store,
            suspender,
            netfront,
        }
    }

    /// Lets virtual time pass until `done`, at most a minute. Whether it came to that.
    pub(super) fn until(&self, mut done: impl FnMut() -> bool) -> bool {
        // What happens at all happens soon, or after somebody's pause.
        for turn in 0..800 {
            if done() {
                return true;
            }
            let step = if turn < 200 { 1 } else { 100 };
            self.run_for(Duration::from_millis(step));
        }
        false
    }

    /// Lets virtual time pass.
    pub(super) fn run_for(&self, duration: Duration) {
        self.executor.run_until(self.executor.sleep(duration));
    }

    /// Waits for a frame, at most a second.
    pub(super) fn receive(&self) -> Option<Vec<u8>> {
        let frame = self.receive_frame()?;
        Some(bytes_of(&frame))
    }

    pub(super) fn receive_frame(&self) -> Option<Frame> {
        let mut netif = self.netfront;
        let received = poll_fn(|context| {
            loop {
                match netif.poll_receive(context) {
                    Poll::Ready(Ok(frame)) => return Poll::Ready(Some(frame)),
                    Poll::Ready(Err(NetifError::Gone)) => return Poll::Ready(None),
                    Poll::Ready(Err(_)) => {}
                    Poll::Pending => return Poll::Pending,
                }
            }
        });
        let timeout = self.executor.timeout(Duration::from_secs(1), received);
        self.executor.run_until(timeout).ok().flatten()
    }

    /// Sends a frame when there is room, within a minute.
    pub(super) fn send(&self, bytes: &[u8]) -> Result<(), TransmitReason> {
        let mut page = self.pool.alloc().unwrap();
        page.extend_from_slice(bytes).unwrap();
        self.send_frame(page.into())
    }

    pub(super) fn send_frame(&self, frame: Frame) -> Result<(), TransmitReason> {
        self.queue_frame(frame)?;
        Ok(self.flush()?)
    }

    /// As [`send`](Self::send), without telling the backend.
    pub(super) fn queue(&self, bytes: &[u8]) -> Result<(), TransmitReason> {
        let mut page = self.pool.alloc().unwrap();
        page.extend_from_slice(bytes).unwrap();
        self.queue_frame(page.into())
    }

    fn queue_frame(&self, frame: Frame) -> Result<(), TransmitReason> {
        let mut netif = self.netfront;
        let ready = poll_fn(|context| netif.poll_ready(context));
        let timeout = self.executor.timeout(Duration::from_secs(60), ready);
        match self.executor.run_until(timeout) {
            Ok(ready) => ready?,
            Err(_) => return Err(TransmitReason::Full),
        }
        netif.transmit(frame).map_err(|error| error.reason)
    }

    pub(super) fn flush(&self) -> Result<(), NetifError> {
        let mut netif = self.netfront;
        netif.flush()
    }

    /// Has the device look at both rings, as a stack's driver does after each frame.
    pub(super) fn settle(&self) {
        self.run_for(Duration::from_millis(10));
        let mut netif = self.netfront;
        let mut context = Context::from_waker(Waker::noop());
        assert!(netif.poll_receive(&mut context).is_pending());
        netif.flush().unwrap();
    }

    pub(super) fn link_up(&self) -> bool {
        self.netfront.link_up()
    }

    /// One of our keys.
    pub(super) fn key(&self, name: &str) -> Option<String> {
        let home = self.simulation.store().domain_path();
        self.simulation
            .store()
            .read(&std::format!("{home}/device/vif/0/{name}"))
    }

    /// The domain did nothing wrong.
    pub(super) fn check(&self) {
        assert_eq!(self.simulation.violations(), []);
    }
}
