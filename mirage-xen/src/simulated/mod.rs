//! A hypervisor for tests: a second implementation of [`Hypervisor`](crate::Hypervisor), for a host, with the programs of
//! other domains that a domain talks to.
//!
//! | type | what it is |
//! | --- | --- |
//! | [`Simulation`] | a machine with the domain under test, and everything around it |
//! | [`SimulatedHypervisor`] | what the domain's drivers stand on |
//! | [`SimulatedStore`] | xenstore, with dom0's rights |
//! | [`SimulatedNetback`] | a network interface's backend, and the wire behind it |
//! | [`SimulatedConsole`] | the console's other end |
//! | [`SimulatedPeer`] | another domain, that the test plays |
//! | [`Fault`], [`Faults`] | what goes wrong on the other side |
//! | [`SuspendScript`], [`Resumption`] | how a suspension goes |
//! | [`Violation`] | what the domain did wrong |
//!
//! Time is virtual: it stands still while the domain runs (but for a few nanoseconds at each look at the time stamp counter),
//! and jumps when the domain sleeps. Everything is drawn from one seed: the same seed and the same calls give the same run.
//! All of it is on one thread.
//!
//! The other domains reach the domain's memory through its grant entries alone, and the domain's memory is what was
//! [given](Simulation::add_memory) to the simulation: pools, with their static ranges. What the domain does wrong (a
//! reference of an entry that permits nothing, a request that makes no sense, a port that isn't open) is kept as
//! [`Violation`]s: a driver's tests end with a look that there are none.
//!
//! ```
//! use mirage_xen::simulated::Simulation;
//! use mirage_xen::{Hypervisor, PortNumber};
//!
//! let simulation = Simulation::new(1);
//! let hypervisor = simulation.hypervisor();
//! let port = hypervisor.allocate_unbound_port(simulation.backend_domain()).unwrap();
//!
//! // Nobody will send an event: the domain sleeps until its deadline, which takes no time.
//! let deadline = simulation.system_time().as_nanos() as u64 + 3_600_000_000_000;
//! hypervisor.poll(&[port], Some(deadline)).unwrap();
//! assert_eq!(simulation.system_time().as_nanos() as u64, deadline);
//! assert_eq!(simulation.violations(), []);
//! ```

mod backend;
mod config;
mod console;
mod events;
mod faults;
mod grants;
mod hypervisor;
mod machine;
mod memory;
mod netback;
mod page;
mod peer;
mod store;
mod suspend;
mod time;
mod violations;

#[cfg(test)]
mod tests;

use std::boxed::Box;
use std::fmt;
use std::string::String;
use std::time::Duration;
use std::vec::Vec;

use mirage_core::Pool;
use mirage_core::doubles::VirtualEthernet;

pub use config::{HardwareRandom, SimulationConfig};
pub use console::SimulatedConsole;
pub use faults::{Fault, Faults};
pub use hypervisor::SimulatedHypervisor;
pub use netback::{NetbackCounters, SimulatedNetback, VifConfig};
pub use peer::{AccessRefused, SimulatedPeer};
pub use store::{Permission, SimulatedStore, StoreQuota};
pub use suspend::{Resumption, SuspendScript};
pub use violations::Violation;

use machine::Machine;

use crate::abi::DomainId;
use crate::abi::shutdown::ShutdownReason;

/// A machine with the domain under test: the test's hand on everything.
///
/// A cheap handle; its memory is never given back.
#[derive(Clone, Copy)]
pub struct Simulation {
    machine: &'static Machine,
}

impl Simulation {
    /// A machine without faults, with everything random drawn from `seed`.
    pub fn new(seed: u64) -> Self {
        Self::with_config(SimulationConfig::new(seed))
    }

    /// A machine as configured.
    pub fn with_config(config: SimulationConfig) -> Self {
        Machine::leak(config).simulation()
    }

    /// What the domain's drivers stand on.
    pub fn hypervisor(self) -> &'static SimulatedHypervisor {
        let machine = self.machine;
        machine
            .hypervisor
            .get_or_init(|| SimulatedHypervisor(machine))
    }

    /// Makes a pool, its block region and whatever static ranges are registered with it (also later), the domain's memory:
    /// what [`frame_number`](crate::Hypervisor::frame_number) knows, and other domains can be given.
    pub fn add_memory(self, pool: &'static Pool) {
        self.machine.memory.add(pool);
    }

    /// Lets frames move on `ethernet`, too, as time passes.
    pub fn connect(self, ethernet: &VirtualEthernet) {
        self.machine.connect(ethernet.clone());
    }

    /// Gives the domain a network interface: the next index of `device/vif`.
    pub fn add_vif(self, config: VifConfig) -> SimulatedNetback {
        self.machine.add_vif(config)
    }

    /// The backend of the network interface with this index.
    pub fn netback(self, index: usize) -> Option<SimulatedNetback> {
        let netback = self.machine.netbacks.borrow().get(index).copied()?;
        Some(self.machine.netback(netback))
    }

    /// Xenstore.
    pub fn store(self) -> SimulatedStore {
        SimulatedStore(self.machine)
    }

    /// Asks the domain to do something: writes `control/shutdown` (`poweroff`, `reboot`, `halt`, `suspend`, `crash`).
    pub fn control(self, command: &str) {
        let path = store::of_domain(self.domain(), "control/shutdown");
        self.store().write(&path, command);
    }

    /// The console's other end.
    pub fn console(self) -> SimulatedConsole {
        SimulatedConsole(self.machine)
    }

    /// Another domain, that the test plays. Each call makes one.
    pub fn peer(self, domain: DomainId) -> SimulatedPeer {
        SimulatedPeer::new(self.machine, domain)
    }

    /// The number of the domain under test, which changes when it is resumed.
    pub fn domain(self) -> DomainId {
        self.machine.domain.get()
    }

    /// The domain of the devices' backends.
    pub fn backend_domain(self) -> DomainId {
        self.machine.backend_domain.get()
    }

    /// The domain's system time.
    pub fn system_time(self) -> Duration {
        Duration::from_nanos(self.machine.time.system())
    }

    /// How long the simulation has been going on.
    pub fn elapsed(self) -> Duration {
        Duration::from_nanos(self.machine.time.now())
    }

    /// The time of day, since 1970.
    pub fn wall_clock(self) -> Duration {
        self.machine.time.wall()
    }

    /// Lets the next thing happen, outside of the domain's sleep: a backend's turn, a frame's or a late event's arrival. The
    /// clock jumps there. `false`: nothing will.
    pub fn step(self) -> bool {
        self.machine.step().is_some()
    }

    /// Lets everything happen that does within `duration`, which passes.
    pub fn run_for(self, duration: Duration) {
        let nanos = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        let end = self.machine.time.now().saturating_add(nanos);
        while self.machine.next_event().is_some_and(|next| next <= end) {
            self.machine.step();
        }
        self.machine.time.advance_to(end);
        self.machine.write_time();
    }

    /// What goes wrong from now on.
    pub fn set_faults(self, faults: Faults) {
        self.machine.faults.set(faults);
    }

    /// Lets a fault happen the next time that it can; as often as this is called.
    pub fn force(self, fault: Fault) {
        self.machine.faults.force(fault);
    }

    /// How often a fault has happened.
    pub fn happened(self, fault: Fault) -> u64 {
        self.machine.faults.happened(fault)
    }

    /// What the domain did wrong so far: the first 64.
    pub fn violations(self) -> Vec<Violation> {
        self.machine.violations.list()
    }

    /// How often the domain did something wrong.
    pub fn violation_count(self) -> u64 {
        self.machine.violations.count()
    }

    /// Hypercalls of the domain so far.
    pub fn steps(self) -> u64 {
        self.machine.steps()
    }

    /// Of these, the sleeps (`SCHEDOP_poll`).
    pub fn polls(self) -> u64 {
        self.machine.polls.get()
    }

    /// Of these, the events that it sent (`EVTCHNOP_send`).
    pub fn notifications(self) -> u64 {
        self.machine.notifications.get()
    }

    /// Does something at the domain's hypercall after so many others: with zero at the next one. A later call takes an earlier one's place.
    pub fn after_steps(self, count: u64, action: impl FnOnce(Self) + 'static) {
        self.machine.set_hook(count, Box::new(action));
    }

    /// How suspensions end from now on. At first: in a new domain [elsewhere](Resumption::elsewhere).
    pub fn set_suspend_script(self, script: SuspendScript) {
        self.machine.suspend.script.set(script);
    }

    /// How often the domain was suspended.
    pub fn suspensions(self) -> u32 {
        self.machine.suspend.count.get()
    }

    /// Why the domain ended itself, if it did.
    pub fn shutdown_reason(self) -> Option<ShutdownReason> {
        self.machine.shutdown.get()
    }

    /// What the domain wrote to Xen's own log: the first 64 KiB.
    pub fn emergency_console(self) -> String {
        String::from_utf8_lossy(&self.machine.emergency.borrow()).into_owned()
    }

    /// Whether the processor has random numbers, from now on.
    pub fn set_hardware_random(self, hardware: HardwareRandom) {
        self.machine.hardware_random.set(hardware);
    }

    /// How many grants the other domains have mapped.
    pub fn mapped_grants(self) -> usize {
        self.machine.grants.mapped()
    }

    /// How many of its ports the domain has open.
    pub fn open_ports(self) -> usize {
        self.machine.events.open()
    }
}

impl fmt::Debug for Simulation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Simulation")
            .field("domain", &self.domain())
            .field("elapsed", &self.elapsed())
            .field("violations", &self.violation_count())
            .finish_non_exhaustive()
    }
}
