//! A device that is suspended, resumed and migrated at every step, on the simulated hypervisor: event channel, grants, ring,
//! clock and randomness together, the way that a driver uses them.
//!
//! The device sums bytes: a request names a page that is lent for reading, the response is the sum of its bytes. What xenstore
//! is for, to tell the backend the ring's reference and the port, two cells do here.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use mirage_core::executor::{Executor, JoinHandle, Platform, Turn, yield_now};
use mirage_core::pool::Lent;
use mirage_core::{Clock, Instant, Pool};
use mirage_xen::abi::shutdown::Suspended;
use mirage_xen::clock::XenClock;
use mirage_xen::entropy::XenRng;
use mirage_xen::event_channel::{EventChannels, EventError, EventPort};
use mirage_xen::grant_table::{GrantLender, GrantTable, PoolGrants};
use mirage_xen::platform::{XenPlatform, XenUnparker};
use mirage_xen::ring::{FrontRing, RingPage};
use mirage_xen::simulated::{
    Resumption, SimulatedHypervisor, SimulatedPeer, Simulation, SuspendScript,
};
use mirage_xen::suspend::{SuspendError, Suspender};
use mirage_xen::{DomainId, GrantReference, PortNumber, XenError};
use rand_core::TryRng;
use zerocopy::{FromBytes, Immutable, IntoBytes};

type Simulated = SimulatedHypervisor;

/// Requests of a run.
const REQUESTS: u32 = 12;
/// Of these, in flight at most.
const IN_FLIGHT: usize = 3;
const SLOTS: u32 = 256;

#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable)]
#[repr(C)]
struct Request {
    id: u32,
    reference: u32,
}

#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable)]
#[repr(C)]
struct Response {
    id: u32,
    sum: u32,
}

/// What the frontend tells whoever is its backend.
type Published = Rc<Cell<Option<(GrantReference, PortNumber)>>>;

struct Domain {
    simulation: Simulation,
    channels: &'static EventChannels<Simulated>,
    clock: &'static XenClock<Simulated>,
    grants: &'static PoolGrants<Simulated>,
    lender: &'static GrantLender<Simulated>,
    rng: &'static XenRng<Simulated>,
    suspender: &'static Suspender<Simulated>,
    pool: &'static Pool,
    published: Published,
}

impl Domain {
    fn new(seed: u64) -> Rc<Self> {
        let simulation = Simulation::new(seed);
        let hypervisor = simulation.hypervisor();
        let pool = Pool::leak(16, 4_096).unwrap();
        simulation.add_memory(pool);
        let table = GrantTable::leak(hypervisor, 16).unwrap();
        let grants = table.leak_pool(pool).unwrap();
        let domain = Self {
            simulation,
            channels: EventChannels::leak(hypervisor),
            clock: XenClock::leak(hypervisor),
            grants,
            lender: grants.leak_lender(simulation.backend_domain()).unwrap(),
            rng: XenRng::leak(hypervisor, None).unwrap(),
            suspender: Suspender::leak(hypervisor),
            pool,
            published: Published::default(),
        };
        // In another order than that of their turns.
        domain.suspender.add(table).unwrap();
        domain.suspender.add(domain.rng).unwrap();
        domain.suspender.add(domain.clock).unwrap();
        domain.suspender.add(domain.channels).unwrap();
        Rc::new(domain)
    }
}

/// The driver.
struct Frontend {
    domain: Rc<Domain>,
    ring: FrontRing<Request, Response>,
    port: EventPort<Simulated>,
    in_flight: Vec<(u32, u32, Lent)>,
    latest: Instant,
}

impl Frontend {
    fn new(domain: Rc<Domain>) -> Self {
        let page = domain.pool.alloc().unwrap();
        let page = RingPage::lend(page, domain.lender).unwrap();
        let port = domain.channels.offer(domain.lender.domain()).unwrap();
        let frontend = Self {
            ring: FrontRing::new(page),
            port,
            in_flight: Vec::new(),
            latest: domain.clock.now(),
            domain,
        };
        frontend.publish_device();
        frontend
    }

    fn publish_device(&self) {
        let block = self.ring.page().block().unwrap();
        let reference = self.domain.grants.reference(block).unwrap();
        let device = (reference, self.port.number());
        self.domain.published.set(Some(device));
    }

    /// In a new domain: everything again, and what is in flight once more.
    fn reconnect(&mut self) {
        let backend = self.domain.simulation.backend_domain();
        self.domain.lender.set_domain(backend).unwrap();
        assert_eq!(self.port.notify(), Err(EventError::Stale));
        self.port = self.domain.channels.offer(backend).unwrap();
        self.ring.reset();
        for (id, _, lent) in &self.in_flight {
            self.ring.push(self.request(*id, lent)).unwrap();
        }
        self.publish_device();
    }

    fn request(&self, id: u32, lent: &Lent) -> Request {
        let reference = self.domain.grants.reference(lent.block()).unwrap();
        let reference = reference.0;
        Request { id, reference }
    }

    async fn run(mut self) -> Instant {
        let mut rng = self.domain.rng;
        let mut asked = 0;
        let mut answered = 0;
        while answered < REQUESTS {
            if !self.port.is_current() {
                self.reconnect();
            }
            let now = self.domain.clock.now();
            assert!(now >= self.latest, "time went back");
            self.latest = now;
            while asked < REQUESTS && self.in_flight.len() < IN_FLIGHT {
                let mut content = [0; 64];
                rng.try_fill_bytes(&mut content).unwrap();
                let mut page = self.domain.pool.alloc().unwrap();
                page.extend_from_slice(&content).unwrap();
                let lent = page.freeze().lend(self.domain.lender).unwrap();
                self.ring.push(self.request(asked, &lent)).unwrap();
                let sum = content.iter().map(|byte| u32::from(*byte)).sum();
                self.in_flight.push((asked, sum, lent));
                asked += 1;
            }
            if self.ring.publish() {
                self.port.notify().unwrap();
            }
            yield_now().await;
            while self.port.is_current()
                && let Some(response) = self.ring.take_response().unwrap()
            {
                let found = self.in_flight.iter().position(|of| of.0 == response.id);
                let (_, sum, lent) = self.in_flight.swap_remove(found.unwrap());
                assert_eq!(response.sum, sum);
                drop(lent.end().unwrap());
                answered += 1;
            }
            yield_now().await;
            let nothing_to_ask = self.in_flight.len() == IN_FLIGHT || asked == REQUESTS;
            if self.port.is_current()
                && nothing_to_ask
                && answered < REQUESTS
                && !self.ring.final_check()
            {
                self.port.event().wait().await;
            }
        }
        let page = self.ring.into_page().reclaim();
        drop(page.unwrap());
        self.domain.clock.now()
    }
}

/// The other end, by copies through grants.
struct Backend {
    peer: SimulatedPeer,
    ring: GrantReference,
    port: PortNumber,
    consumer: u32,
    producer: u32,
}

impl Backend {
    fn attach(peer: SimulatedPeer, (ring, port): (GrantReference, PortNumber)) -> Self {
        peer.bind(port).unwrap();
        Self {
            peer,
            ring,
            port,
            consumer: 0,
            producer: 0,
        }
    }

    fn index(&self, offset: usize) -> u32 {
        let mut bytes = [0; 4];
        self.peer.read(self.ring, offset, &mut bytes).unwrap();
        u32::from_le_bytes(bytes)
    }

    fn set_index(&self, offset: usize, index: u32) {
        self.peer
            .write(self.ring, offset, &index.to_le_bytes())
            .unwrap();
    }

    fn run(&mut self) {
        loop {
            let old = self.producer;
            while self.consumer != self.index(0) {
                let offset = 64 + (self.consumer % SLOTS) as usize * 8;
                let mut bytes = [0; 8];
                self.peer.read(self.ring, offset, &mut bytes).unwrap();
                let request = Request::read_from_bytes(&bytes).unwrap();
                let mut content = [0; 64];
                let reference = GrantReference(request.reference);
                self.peer.read(reference, 0, &mut content).unwrap();
                let response = Response {
                    id: request.id,
                    sum: content.iter().map(|byte| u32::from(*byte)).sum(),
                };
                let offset = 64 + (self.producer % SLOTS) as usize * 8;
                let bytes = response.as_bytes();
                self.peer.write(self.ring, offset, bytes).unwrap();
                self.consumer = self.consumer.wrapping_add(1);
                self.producer = self.producer.wrapping_add(1);
            }
            self.set_index(8, self.producer);
            let passed = self.producer.wrapping_sub(self.index(12));
            if passed < self.producer.wrapping_sub(old) {
                self.peer.notify(self.port);
            }
            self.set_index(4, self.consumer.wrapping_add(1));
            if self.consumer == self.index(0) {
                return;
            }
        }
    }
}

/// How a suspension ends.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Ending {
    Resumed,
    /// And the backend is in another domain from then on.
    Elsewhere,
    Cancelled,
    Refused,
}

/// Runs the device, and suspends the domain before the `at`-th turn and each `every`-th after. How many turns it took.
fn run(seed: u64, at: usize, every: usize, ending: Ending) -> usize {
    let domain = Domain::new(seed);
    let simulation = domain.simulation;
    let unparker = Box::leak(Box::new(XenUnparker::new()));
    let platform = XenPlatform::new(domain.channels, domain.clock, unparker);
    let platform: &'static XenPlatform<_> = Box::leak(Box::new(platform));
    let executor = Executor::leak(platform);
    // One task a turn, so that each of its steps is one.
    executor.set_budget(1);
    let task: JoinHandle<Instant> = executor.spawn(Frontend::new(domain.clone()).run()).unwrap();
    // A timer, which must neither be lost nor be early.
    let timer = executor
        .spawn(async move {
            let due = executor.now() + Duration::from_micros(700);
            executor.sleep_until(due).await;
            executor.now() - due
        })
        .unwrap();
    let backend: RefCell<Option<Backend>> = RefCell::default();
    let mut turns = 0;
    while !(task.is_finished() && timer.is_finished()) {
        if turns >= at && (turns - at).is_multiple_of(every) {
            suspend(&domain, ending, turns);
            if matches!(ending, Ending::Resumed | Ending::Elsewhere) {
                // The old one is no more, and what was published is of the old domain.
                backend.take();
                domain.published.take();
            }
        }
        turns += 1;
        assert!(turns < 10_000, "it hangs: {simulation:?}");
        let turn = executor.turn();
        if task.is_finished() {
            // The device is closed.
            backend.take();
        }
        if let Some(device) = domain.published.take() {
            let peer = simulation.peer(simulation.backend_domain());
            // As the toolstack's hotplug would: the new backend looks at once.
            let mut new = Backend::attach(peer, device);
            new.run();
            backend.replace(Some(new));
        }
        if let Some(backend) = &mut *backend.borrow_mut()
            && backend.peer.take_notified() > 0
        {
            backend.run();
        }
        if turn == Turn::Idle && !(task.is_finished() && timer.is_finished()) {
            // As `Executor::run` would; but the backend, which is the test, has to have its turn meanwhile.
            if !simulation.step() {
                platform.park(executor.next_deadline());
            }
            domain.channels.scan();
        }
    }
    let late = executor.run_until(timer).unwrap();
    assert!(
        late < Duration::from_millis(50),
        "the timer was {late:?} late"
    );
    executor.run_until(task).unwrap();
    assert_eq!(simulation.violations(), []);
    assert_eq!(domain.pool.free(), 16, "a page is missing");
    assert_eq!(domain.pool.counters().quarantined, 0);
    turns
}

fn suspend(domain: &Domain, ending: Ending, turn: usize) {
    let number = DomainId(domain.simulation.domain().0 + 1);
    let mut to = Resumption::elsewhere(number);
    // Sometimes a machine that has been up for longer, sometimes for less.
    to.system_time = Duration::from_secs(if turn.is_multiple_of(2) { 5 } else { 50_000 });
    if ending == Ending::Elsewhere {
        to.backend = DomainId(100 + domain.simulation.backend_domain().0 % 7);
    }
    domain.simulation.set_suspend_script(match ending {
        Ending::Resumed | Ending::Elsewhere => SuspendScript::Resumed(to),
        Ending::Cancelled => SuspendScript::Cancelled,
        Ending::Refused => SuspendScript::Refused,
    });
    let before = domain.clock.now();
    let generation = domain.channels.generation();
    let result = domain.suspender.suspend();
    let after = domain.clock.now();
    assert!(after >= before);
    let again = domain.channels.generation() - generation;
    match ending {
        Ending::Resumed | Ending::Elsewhere => {
            assert_eq!((result, again), (Ok(Suspended::Resumed), 1));
            // A second passed outside, and nothing of it inside.
            assert!(after - before < Duration::from_millis(1));
            assert!(!domain.lender.is_attached());
        }
        Ending::Cancelled => assert_eq!((result, again), (Ok(Suspended::Cancelled), 0)),
        Ending::Refused => {
            let refused = Err(SuspendError::Refused(XenError::Invalid));
            assert_eq!((result, again), (refused, 0));
        }
    }
    assert!(domain.rng.is_ready());
}

#[test]
fn a_device_goes_on_wherever_the_domain_is_suspended() {
    let undisturbed = run(1, usize::MAX, 1, Ending::Cancelled);
    assert!(undisturbed > 20, "{undisturbed} turns");
    for ending in [
        Ending::Resumed,
        Ending::Elsewhere,
        Ending::Cancelled,
        Ending::Refused,
    ] {
        for at in 0..undisturbed {
            run(at as u64, at, usize::MAX, ending);
        }
    }
}

#[test]
fn a_device_goes_on_however_often_the_domain_is_suspended() {
    for every in 7..40 {
        for ending in [Ending::Resumed, Ending::Elsewhere, Ending::Cancelled] {
            run(every as u64, every / 2, every, ending);
        }
    }
}
