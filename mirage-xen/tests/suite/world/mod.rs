//! A whole domain on a simulated machine: event channels, grants, clock, xenstore, console, control and a network device, with an
//! executor that runs their tasks; and traffic both ways that accounts for each frame.

#![allow(dead_code, reason = "each test uses a part of it")]

pub(crate) mod traffic;

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use mirage_core::executor::Executor;
use mirage_core::{MacAddress, Netif, Pool};
use mirage_xen::Hypervisor;
use mirage_xen::abi::shutdown::{ShutdownReason, Suspended};
use mirage_xen::clock::XenClock;
use mirage_xen::console::{Console, LineSink};
use mirage_xen::control::{Control, ShutdownRequest};
use mirage_xen::entropy::XenRng;
use mirage_xen::event_channel::EventChannels;
use mirage_xen::grant_table::GrantTable;
use mirage_xen::netfront::{Netfront, NetfrontConfig, NetfrontStorage};
use mirage_xen::platform::{XenPlatform, XenUnparker};
use mirage_xen::simulated::{
    SimulatedHypervisor, SimulatedNetback, Simulation, SimulationConfig, VifConfig,
};
use mirage_xen::store::Store;
use mirage_xen::suspend::Suspender;

pub(crate) const MAC: MacAddress = MacAddress([0x00, 0x16, 0x3E, 0x11, 0x22, 0x33]);
/// Blocks of the domain's pool.
pub(crate) const BLOCKS: usize = 192;
/// Of these, pages of the device's two rings.
pub(crate) const RINGS: usize = 2;

pub(crate) type Simulated = SimulatedHypervisor;

#[derive(Clone)]
pub(crate) struct World {
    pub(crate) simulation: Simulation,
    pub(crate) netback: SimulatedNetback,
    pub(crate) pool: &'static Pool,
    pub(crate) executor: &'static Executor,
    pub(crate) channels: &'static EventChannels<Simulated>,
    pub(crate) clock: &'static XenClock<Simulated>,
    pub(crate) store: &'static Store<Simulated>,
    pub(crate) console: &'static Console<Simulated>,
    pub(crate) netfront: &'static Netfront<Simulated>,
    pub(crate) suspender: &'static Suspender<Simulated>,
    pub(crate) rng: &'static XenRng<Simulated>,
    /// What was asked by `control/shutdown`, and what came of suspensions.
    pub(crate) commands: Rc<RefCell<Vec<ShutdownRequest>>>,
    pub(crate) suspended: Rc<RefCell<Vec<Suspended>>>,
    /// Requests of the control task's that failed.
    pub(crate) control_errors: Rc<Cell<u64>>,
}

impl World {
    pub(crate) fn new(seed: u64) -> Self {
        Self::with(SimulationConfig::new(seed), VifConfig::new(MAC))
    }

    pub(crate) fn with(config: SimulationConfig, vif: VifConfig) -> Self {
        Self::on(Simulation::with_config(config), vif)
    }

    pub(crate) fn on(simulation: Simulation, vif: VifConfig) -> Self {
        let netback = simulation.add_vif(vif);
        let hypervisor = simulation.hypervisor();
        let pool = Pool::leak(BLOCKS, 4_096).unwrap();
        simulation.add_memory(pool);
        traffic::register(pool);
        let channels = EventChannels::leak(hypervisor);
        let clock = XenClock::leak(hypervisor);
        let unparker: &'static XenUnparker = Box::leak(Box::new(XenUnparker::new()));
        let platform = Box::leak(Box::new(XenPlatform::new(channels, clock, unparker)));
        let executor = Executor::leak(platform);
        let rng = XenRng::leak(hypervisor, Some(&seed_bytes())).unwrap();
        let store = Store::leak(channels).unwrap();
        let console = Console::leak(channels).unwrap();
        let table = GrantTable::leak(hypervisor, 1_024).unwrap();
        let grants = table.leak_pool(pool).unwrap();
        let lender = grants.leak_lender(simulation.backend_domain()).unwrap();
        let storage: &'static mut NetfrontStorage<32, 64> =
            Box::leak(Box::new(NetfrontStorage::new()));
        let netfront = Netfront::new(0, channels, grants, lender, storage, NetfrontConfig::new());
        let netfront: &'static Netfront<_> = Box::leak(Box::new(netfront.unwrap()));
        let suspender = Suspender::leak(hypervisor);
        suspender.add(netfront).unwrap();
        suspender.add(console).unwrap();
        suspender.add(store).unwrap();
        suspender.add(table).unwrap();
        suspender.add(rng).unwrap();
        suspender.add(clock).unwrap();
        suspender.add(channels).unwrap();
        let world = Self {
            simulation,
            netback,
            pool,
            executor,
            channels,
            clock,
            store,
            console,
            netfront,
            suspender,
            rng,
            commands: Rc::default(),
            suspended: Rc::default(),
            control_errors: Rc::default(),
        };
        executor.spawn(store.run()).unwrap().detach();
        executor.spawn(console.run()).unwrap().detach();
        executor
            .spawn(netfront.run(store, executor))
            .unwrap()
            .detach();
        executor.spawn(world.clone().obey()).unwrap().detach();
        world
    }

    /// Does what the toolstack asks, for ever.
    async fn obey(self) {
        loop {
            let Ok(mut control) = Control::new(self.store).await else {
                self.control_failed().await;
                continue;
            };
            while let Ok(request) = control.next().await {
                self.commands.borrow_mut().push(request.clone());
                match request {
                    ShutdownRequest::Suspend => {
                        let suspended = self.suspender.suspend().unwrap();
                        self.suspended.borrow_mut().push(suspended);
                    }
                    ShutdownRequest::PowerOff => {
                        self.console.drain().await;
                        let hypervisor = self.simulation.hypervisor();
                        hypervisor.shutdown(ShutdownReason::PowerOff);
                    }
                    _ => {}
                }
            }
            drop(control);
            self.control_failed().await;
        }
    }

    async fn control_failed(&self) {
        self.control_errors.set(self.control_errors.get() + 1);
        self.executor.sleep(Duration::from_millis(10)).await;
    }

    pub(crate) fn say(&self, line: &str) {
        self.console.line(format_args!("{line}"));
    }

    /// Lets time pass.
    pub(crate) fn run_for(&self, duration: Duration) {
        self.executor.run_until(self.executor.sleep(duration));
    }

    /// Lets time pass until `done`, at most so long. Whether it came to that.
    pub(crate) fn until(&self, most: Duration, mut done: impl FnMut() -> bool) -> bool {
        let step = Duration::from_millis(1);
        for _ in 0..most.as_millis() {
            if done() {
                return true;
            }
            self.run_for(step);
        }
        done()
    }

    /// Waits until the device is up: after faults, that may take a pause that was doubled.
    pub(crate) fn until_link_up(&self) {
        let up = self.until(Duration::from_secs(200), || {
            self.netfront.link_up() && self.netback.is_connected()
        });
        assert!(up, "the link stays down: {self:?}");
    }

    /// Every page is somewhere: free, posted to the backend, in a ring, in flight, or out of use for good and counted.
    pub(crate) fn check_pages(&self, held: usize) {
        let free = self.pool.free_in_all();
        let (posted, in_flight) = (self.netfront.posted(), self.netfront.in_flight());
        let quarantined = self.pool.counters().quarantined as usize;
        assert_eq!(
            free + posted + RINGS + in_flight + quarantined + held,
            BLOCKS,
            "{free} free, {posted} posted, {in_flight} in flight, {quarantined} quarantined, {held} held"
        );
        let counters = self.netfront.counters();
        let by_device = counters.receive.quarantined + counters.transmit.quarantined;
        assert_eq!(by_device as usize, quarantined);
    }

    /// What the domain did was right in the eyes of everybody else.
    pub(crate) fn check_conduct(&self) {
        assert_eq!(self.simulation.violations(), [], "{self:?}");
    }
}

impl std::fmt::Debug for World {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("World")
            .field("simulation", &self.simulation)
            .field("netback", &self.netback)
            .field("netfront", self.netfront)
            .field("store", &self.store.counters())
            .finish()
    }
}

/// A toolstack's seed, for processors without random numbers.
fn seed_bytes() -> [u8; 32] {
    std::array::from_fn(|index| index as u8 ^ 0x5A)
}
