//! The machine: what all parts of a simulation share, and the order in which things happen.

use std::boxed::Box;
use std::cell::{Cell, OnceCell, RefCell};
use std::sync::atomic::Ordering;
use std::time::Duration;
use std::vec::Vec;

use mirage_core::Instant;
use mirage_core::doubles::{SplitMix64, VirtualEthernet};

use super::Simulation;
use super::backend::{Backend, BackendId, Backends};
use super::config::{HardwareRandom, SimulationConfig};
use super::console::ConsoleBackend;
use super::events::{self, Events};
use super::faults::{Fault, FaultPlan};
use super::grants::{Grants, Reach};
use super::hypervisor::SimulatedHypervisor;
use super::memory::Memory;
use super::netback::{Netback, SimulatedNetback, VifConfig};
use super::store::StoreBackend;
use super::suspend::{Resumption, SuspendScript};
use super::time::Time;
use super::violations::{Violation, Violations};
use crate::abi::grant::{GrantFlags, RESERVED_CONSOLE, RESERVED_XENSTORE};
use crate::abi::shutdown::ShutdownReason;
use crate::abi::{DomainId, PortNumber};

/// The frames of the pages that the toolstack gives: as of PVH domains, near the end of the first 4 GiB.
pub(super) const STORE_FRAME: u32 = 0xF_EFFC;
pub(super) const CONSOLE_FRAME: u32 = 0xF_EFFF;

/// Everything that a simulation consists of.
pub(super) struct Machine {
    pub(super) hypervisor: OnceCell<SimulatedHypervisor>,
    pub(super) config: SimulationConfig,
    pub(super) time: Time,
    pub(super) memory: Memory,
    pub(super) events: Events,
    pub(super) grants: Grants,
    pub(super) faults: FaultPlan,
    pub(super) violations: Violations,
    rng: RefCell<SplitMix64>,
    /// Its own, so that a look at the counter doesn't change what else is drawn.
    looks: RefCell<SplitMix64>,
    pub(super) domain: Cell<DomainId>,
    pub(super) backend_domain: Cell<DomainId>,
    pub(super) store_port: Cell<PortNumber>,
    pub(super) console_port: Cell<PortNumber>,
    pub(super) hardware_random: Cell<HardwareRandom>,
    backends: Backends,
    ethernets: RefCell<Vec<VirtualEthernet>>,
    pub(super) netbacks: RefCell<Vec<&'static Netback>>,
    pub(super) store: StoreBackend,
    pub(super) console: ConsoleBackend,
    pub(super) suspend: Suspend,
    pub(super) shutdown: Cell<Option<ShutdownReason>>,
    pub(super) emergency: RefCell<Vec<u8>>,
    steps: Cell<u64>,
    /// Of the steps, those that sleep, and those that send an event.
    pub(super) polls: Cell<u64>,
    pub(super) notifications: Cell<u64>,
    hook: RefCell<Option<Hook>>,
}

/// Where a suspension stands.
pub(super) struct Suspend {
    pub(super) script: Cell<SuspendScript>,
    /// It ended in a new domain, which has not restored anything yet.
    pub(super) restoring: Cell<bool>,
    pub(super) count: Cell<u32>,
}

struct Hook {
    at: u64,
    action: Box<dyn FnOnce(Simulation)>,
}

impl Machine {
    pub(super) fn leak(config: SimulationConfig) -> &'static Self {
        let mut rng = SplitMix64::new(config.seed);
        let time = Time::new(config.hertz, config.system_time, config.wall_clock);
        let faults = FaultPlan::new(rng.split());
        faults.set(config.faults);
        let machine: &'static Self = Box::leak(Box::new(Self {
            hypervisor: OnceCell::new(),
            time,
            memory: Memory::new(config.grant_frames, rng.split()),
            events: Events::new(config.ports),
            grants: Grants::default(),
            faults,
            violations: Violations::default(),
            looks: RefCell::new(rng.split()),
            rng: RefCell::new(rng),
            domain: Cell::new(config.domain),
            backend_domain: Cell::new(DomainId::DOM0),
            store_port: Cell::new(PortNumber(0)),
            console_port: Cell::new(PortNumber(0)),
            hardware_random: Cell::new(config.hardware_random),
            backends: Backends::default(),
            ethernets: RefCell::default(),
            netbacks: RefCell::default(),
            store: StoreBackend::new(config.domain, config.store_quota),
            console: ConsoleBackend::new(),
            suspend: Suspend {
                script: Cell::new(SuspendScript::Resumed(Resumption::elsewhere(DomainId(
                    config.domain.0 + 1,
                )))),
                restoring: Cell::new(false),
                count: Cell::new(0),
            },
            shutdown: Cell::new(None),
            emergency: RefCell::default(),
            steps: Cell::new(0),
            polls: Cell::new(0),
            notifications: Cell::new(0),
            hook: RefCell::default(),
            config,
        }));
        machine.store.id.set(machine.add_backend(&machine.store));
        let console = machine.add_backend(&machine.console);
        machine.console.id.set(console);
        let start = machine.config.ring_start;
        machine.store.start_at(machine, start);
        machine.console.start_at(machine, start);
        machine.build(machine.config.first_port);
        machine.time.write(machine.memory.shared_info, 0);
        machine.time.write_wall(machine.memory.shared_info);
        machine.seed_grants();
        machine
    }

    pub(super) fn simulation(&'static self) -> Simulation {
        Simulation { machine: self }
    }

    pub(super) fn add_backend(&self, backend: &'static dyn Backend) -> BackendId {
        self.backends.add(backend)
    }

    pub(super) fn add_vif(&'static self, config: VifConfig) -> SimulatedNetback {
        let index = self.netbacks.borrow().len();
        let netback = Netback::leak(self, index, config);
        self.netbacks.borrow_mut().push(netback);
        self.netback(netback)
    }

    pub(super) fn netback(&'static self, netback: &'static Netback) -> SimulatedNetback {
        SimulatedNetback {
            machine: self,
            netback,
        }
    }

    pub(super) fn connect(&self, ethernet: VirtualEthernet) {
        self.ethernets.borrow_mut().push(ethernet);
    }

    /// What the toolstack prepares for a domain before it runs.
    fn build(&'static self, first_port: u32) {
        let give = |backend| {
            let port = self.events.give(first_port, DomainId::DOM0, backend);
            port.unwrap_or(PortNumber(0))
        };
        self.store_port.set(give(self.store.id.get()));
        if self.config.console {
            self.console_port.set(give(self.console.id.get()));
        }
        self.store.build(self);
    }

    /// The two entries that the toolstack writes.
    fn seed_grants(&self) {
        let seeds = [
            (RESERVED_CONSOLE, CONSOLE_FRAME),
            (RESERVED_XENSTORE, STORE_FRAME),
        ];
        for (reference, frame) in seeds {
            if let Some(entry) = self.memory.all_entries().get(reference as usize) {
                entry.frame.store(frame, Ordering::SeqCst);
                entry.domain.store(DomainId::DOM0.0, Ordering::SeqCst);
                entry
                    .flags
                    .store(GrantFlags::PERMIT_ACCESS.bits(), Ordering::SeqCst);
            }
        }
    }

    pub(super) fn reach(&self) -> Reach<'_> {
        Reach {
            grants: &self.grants,
            memory: &self.memory,
            violations: &self.violations,
        }
    }

    pub(super) fn happens(&self, fault: Fault) -> bool {
        self.faults.happens(fault)
    }

    /// A number less than `bound`.
    pub(super) fn draw(&self, bound: u64) -> u64 {
        self.rng.borrow_mut().below(bound)
    }

    pub(super) fn draw_u64(&self) -> u64 {
        self.draw(1 << 32) << 32 | self.draw(1 << 32)
    }

    /// A backend runs soon: it was told that there is work.
    pub(super) fn wake(&self, backend: BackendId) {
        let (least, most) = self.config.latency;
        let least = least.as_nanos() as u64;
        let range = (most.as_nanos() as u64).saturating_sub(least);
        self.backends
            .schedule(backend, self.time.now() + least + self.draw(range + 1));
    }

    /// A backend runs in a while.
    pub(super) fn wake_after(&self, backend: BackendId, delay: Duration) {
        let delay = u64::try_from(delay.as_nanos()).unwrap_or(u64::MAX);
        self.backends
            .schedule(backend, self.time.now().saturating_add(delay));
    }

    /// An event for the domain.
    pub(super) fn send(&self, port: PortNumber) {
        if self.happens(Fault::LateEvent) {
            let delay = self.draw(1_000_000);
            self.events.send_later(self.time.now() + delay, port);
        } else {
            self.deliver(port);
        }
        if self.happens(Fault::SpuriousEvent) {
            let open = self.events.open() as u64;
            if let Some(port) = self.events.nth_open(self.draw(open) as usize) {
                self.deliver(port);
            }
        }
    }

    fn deliver(&self, port: PortNumber) {
        if self.events.is_open(port) && events::set_pending(self.memory.shared_info, port) {
            self.violations.add(Violation::Unmasked(port));
        }
    }

    /// When something happens next, in nanoseconds since the simulation's start.
    pub(super) fn next_event(&self) -> Option<u64> {
        let ethernets = self.ethernets.borrow();
        let frames = ethernets.iter().filter_map(VirtualEthernet::next_event);
        [
            self.backends.next().map(|(due, _)| due),
            self.events.next_late(),
            frames.min().map(Instant::as_nanos),
        ]
        .into_iter()
        .flatten()
        .min()
    }

    /// Lets the next thing happen, at its time: the clock jumps there. Says whether somebody outside of the domain's ports may
    /// have been woken; `None` when nothing will happen any more.
    pub(super) fn step(&'static self) -> Option<bool> {
        let due = self.next_event()?;
        self.time.advance_to(due);
        let now = self.time.now();
        // Those that are woken may connect another: the list isn't borrowed meanwhile.
        let ethernets = self.ethernets.borrow().clone();
        let mut delivered = 0;
        for ethernet in ethernets {
            delivered += ethernet.deliver(Instant::from_nanos(now));
        }
        if delivered > 0 {
            self.netbacks
                .borrow()
                .iter()
                .for_each(|netback| self.wake(netback.id()));
        }
        while let Some(port) = self.events.arrive(now) {
            self.deliver(port);
        }
        if let Some((due, id)) = self.backends.next()
            && due <= now
        {
            self.backends.take(id).run(self);
        }
        Some(delivered > 0)
    }

    /// A hypercall begins: counts it, and lets happen what happens at one.
    pub(super) fn enter(&'static self, call: &'static str) {
        self.check_restored(call);
        self.steps.set(self.steps.get() + 1);
        let is_due = |hook: &Hook| hook.at <= self.steps.get();
        let due = self.hook.borrow().as_ref().is_some_and(is_due);
        if due && let Some(hook) = self.hook.take() {
            (hook.action)(self.simulation());
        }
        self.backends.for_each(|backend| backend.meddle(self));
        if self.happens(Fault::Race)
            && let Some((_, id)) = self.backends.next()
        {
            self.backends.take(id).run(self);
        }
    }

    pub(super) fn check_restored(&self, call: &'static str) {
        if self.suspend.restoring.get() {
            self.violations.add(Violation::CallBeforeRestore(call));
        }
    }

    pub(super) fn steps(&self) -> u64 {
        self.steps.get()
    }

    pub(super) fn set_hook(&self, after: u64, action: Box<dyn FnOnce(Simulation)>) {
        let at = self.steps.get().saturating_add(after);
        *self.hook.borrow_mut() = Some(Hook { at, action });
    }

    /// A little time passes, as between two instructions.
    pub(super) fn look(&self) {
        let most = self.config.look.as_nanos() as u64;
        if most > 0 {
            let passed = 1 + self.looks.borrow_mut().below(most);
            self.time.advance_to(self.time.now() + passed);
        }
    }

    /// The virtual processor runs again: its time is written.
    pub(super) fn write_time(&self) {
        let back = if self.happens(Fault::ClockBack) {
            self.draw(1_000)
        } else {
            0
        };
        self.time.write(self.memory.shared_info, back);
    }

    /// The domain goes on in a new one, of which nothing is set up yet.
    pub(super) fn resume(&'static self, to: Resumption) {
        // The backends let go of the old domain; the toolstack builds the new one before it runs.
        self.backends.reset(self);
        let pause = to.pause.as_nanos() as u64;
        self.time.advance_to(self.time.now().saturating_add(pause));
        let wall = self.time.wall() + to.wall_clock_ahead;
        self.time
            .migrate(to.hertz, to.system_time, to.time_stamp_counter, wall);
        self.events.reset();
        self.grants.reset();
        self.memory.store_page.clear();
        self.memory.console_page.clear();
        self.poison();
        let before = self.domain.replace(to.domain);
        self.store.reconnect(self, before);
        self.backend_domain.set(to.backend);
        self.build(to.first_port);
        self.backends.for_each(|backend| backend.rebuild(self));
        self.suspend.restoring.set(true);
    }

    /// Where shared info and grant entries were is plain memory now, whatever is in it.
    fn poison(&self) {
        let page = self.memory.shared_info;
        for word in page.event_pending.iter().chain(&page.event_mask) {
            word.store(0x5555_5555_5555_5555, Ordering::SeqCst);
        }
        for entry in self.memory.all_entries() {
            entry.flags.store(0, Ordering::SeqCst);
            entry.frame.store(0x5555_5555, Ordering::SeqCst);
        }
    }

    /// Shared info and the grant entries are where they were.
    pub(super) fn restore(&self) {
        let page = self.memory.shared_info;
        for word in page.event_pending.iter().chain(&page.event_mask) {
            word.store(0, Ordering::SeqCst);
        }
        let vcpu = &page.vcpu_info[0];
        vcpu.pending_selector.store(0, Ordering::SeqCst);
        vcpu.upcall_pending.store(0, Ordering::SeqCst);
        vcpu.time.version.store(0, Ordering::SeqCst);
        for entry in self.memory.all_entries() {
            entry.flags.store(0, Ordering::SeqCst);
            entry.domain.store(0, Ordering::SeqCst);
            entry.frame.store(0, Ordering::SeqCst);
        }
        self.seed_grants();
        self.time.write(page, 0);
        self.time.write_wall(page);
        self.suspend.restoring.set(false);
    }
}
