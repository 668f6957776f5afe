//! Xenstore's client, the toolstack's commands and the console on the simulated hypervisor, whose xenstored and
//! xenconsoled know nothing of them: with faults, and across suspensions.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use mirage_core::doubles::Chance;
use mirage_core::executor::Executor;
use mirage_xen::abi::shutdown::Suspended;
use mirage_xen::clock::XenClock;
use mirage_xen::console::{Console, LineSink};
use mirage_xen::control::{Control, ControlFeatures, ShutdownRequest};
use mirage_xen::event_channel::EventChannels;
use mirage_xen::platform::{XenPlatform, XenUnparker};
use mirage_xen::simulated::{
    Fault, Faults, Resumption, SimulatedHypervisor, Simulation, SuspendScript,
};
use mirage_xen::store::{
    Access, Permission, Store, StoreError, Transaction, WatchEvent, join, join2,
};
use mirage_xen::suspend::Suspender;
use mirage_xen::{DomainId, XenError};

static UNPARKER: XenUnparker = XenUnparker::new();

struct World {
    simulation: Simulation,
    executor: &'static Executor,
    store: &'static Store<SimulatedHypervisor>,
    console: &'static Console<SimulatedHypervisor>,
    suspender: &'static Suspender<SimulatedHypervisor>,
}

impl World {
    fn new(seed: u64) -> Self {
        let simulation = Simulation::new(seed);
        let hypervisor = simulation.hypervisor();
        let channels = EventChannels::leak(hypervisor);
        let clock = XenClock::leak(hypervisor);
        let platform = Box::leak(Box::new(XenPlatform::new(channels, clock, &UNPARKER)));
        let executor = Executor::leak(platform);
        let store = Store::leak(channels).unwrap();
        let console = Console::leak(channels).unwrap();
        let suspender = Suspender::leak(hypervisor);
        suspender.add(channels).unwrap();
        suspender.add(clock).unwrap();
        suspender.add(store).unwrap();
        suspender.add(console).unwrap();
        executor.spawn(store.run()).unwrap().detach();
        executor.spawn(console.run()).unwrap().detach();
        Self {
            simulation,
            executor,
            store,
            console,
            suspender,
        }
    }

    /// Runs a future, which takes less than a minute of virtual time.
    fn run<F: Future>(&self, future: F) -> F::Output {
        let minute = Duration::from_secs(60);
        self.executor
            .run_until(self.executor.timeout(minute, future))
            .expect("it takes too long")
    }

    fn sleep(&self, milliseconds: u64) {
        let duration = Duration::from_millis(milliseconds);
        self.executor.run_until(self.executor.sleep(duration));
    }

    /// Suspends the domain as one should.
    async fn suspend(&self) -> Suspended {
        let second = Duration::from_secs(1);
        let quiet = self.executor.timeout(second, self.store.quiesce()).await;
        let suspended = self.suspender.suspend().unwrap();
        drop(quiet);
        suspended
    }

    fn go_elsewhere(&self, domain: u16) {
        let resumption = Resumption::elsewhere(DomainId(domain));
        let script = SuspendScript::Resumed(resumption);
        self.simulation.set_suspend_script(script);
    }
}

/// What xenstored does now and then in a hostile world, and must not matter.
fn harmless_faults(percent: u32) -> Faults {
    [
        Fault::StoreFragments,
        Fault::StoreReordered,
        Fault::StoreUnknownId,
        Fault::StoreRepeated,
        Fault::StoreEarlyWatch,
        Fault::StoreConflict,
        Fault::StoreSpuriousWatch,
        Fault::StoreUnknownToken,
        Fault::LateEvent,
        Fault::SpuriousEvent,
        Fault::Race,
    ]
    .into_iter()
    .fold(Faults::NONE, |faults, fault| {
        faults.with(fault, Chance::percent(percent))
    })
}

#[test]
fn operations_are_what_another_xenstored_understands() {
    let world = World::new(1);
    let store = world.store;
    world.run(async {
        let mut buffer = [0; 128];
        store.write("data/a", b"one").await.unwrap();
        assert_eq!(store.read("data/a", &mut buffer).await, Ok(&b"one"[..]));
        store.make_directory("data/b/c").await.unwrap();
        let names = store.directory("data", &mut buffer).await.unwrap();
        assert_eq!(names.collect::<Vec<_>>(), ["a", "b"]);
        let permissions = [
            Permission {
                domain: DomainId(5),
                access: Access::None,
            },
            Permission {
                domain: DomainId(9),
                access: Access::Both,
            },
        ];
        store.set_permissions("data/a", &permissions).await.unwrap();
        let read = store.permissions("data/a", &mut buffer).await.unwrap();
        assert_eq!(read.collect::<Vec<_>>(), permissions);
        store.remove("data/b").await.unwrap();
        let gone = store.read("data/b/c", &mut buffer).await.unwrap_err();
        assert!(gone.is_not_found());
        let path = store.domain_path::<32>(DomainId(5)).await.unwrap();
        assert_eq!(path, "/local/domain/5");
        assert_eq!(store.is_introduced(DomainId(5)).await, Ok(true));
        let refused = store.write("/local/domain/0/name", b"mine").await;
        assert_eq!(refused, Err(StoreError::Refused(XenError::AccessDenied)));
        store.reset_watches().await.unwrap();
    });
    let there = world.simulation.store().read("/local/domain/5/data/a");
    assert_eq!(there.as_deref(), Some("one"));
    assert_eq!(world.simulation.violations(), []);
}

#[test]
fn what_nobody_asked_for_changes_nothing() {
    for seed in 0..40 {
        let world = World::new(seed);
        world.simulation.set_faults(harmless_faults(15));
        let store = world.store;
        let changes = Rc::new(Cell::new(0));
        let seen = Rc::clone(&changes);
        world
            .executor
            .spawn(async move {
                let mut watch = store.watch("data").await.unwrap();
                loop {
                    watch.changed().await.unwrap();
                    seen.set(seen.get() + 1);
                }
            })
            .unwrap()
            .detach();
        world.run(async {
            for round in 0..20_u64 {
                let keys = ["data/a", "data/b", "data/c", "data/d"];
                let written = join(keys.map(|key| store.write_decimal(key, round))).await;
                assert_eq!(written, [Ok(()); 4]);
                let read = join(keys.map(|key| store.read_decimal(key))).await;
                assert_eq!(read, [Ok(round); 4]);
                let add = async |transaction: &Transaction<'_, _>| {
                    let value = transaction.read_decimal("data/sum").await.unwrap_or(0);
                    transaction.write_decimal("data/sum", value + round).await?;
                    Ok(())
                };
                assert_eq!(store.transact(100, add).await, Ok(()));
            }
            assert_eq!(store.read_decimal("data/sum").await, Ok(190));
        });
        world.sleep(10);
        assert!(changes.get() > 20, "seed {seed}");
        assert_eq!(world.simulation.violations(), [], "seed {seed}");
        let counters = store.counters();
        assert!(counters.duplicate_replies + counters.unknown_replies > 0);
        assert_eq!(counters.faults, 0);
        assert_eq!(world.simulation.store().transactions(), 0);
    }
}

#[test]
fn a_storm_of_events_ends_in_one_look() {
    let world = World::new(3);
    let store = world.store;
    let mut watch = world.run(store.watch("data")).unwrap();
    world.run(watch.changed()).unwrap();
    world.simulation.force(Fault::StoreStorm);
    world
        .simulation
        .store()
        .write("/local/domain/5/data/a", "1");
    world.sleep(10);
    let mut buffer = [0; 64];
    let event = world.run(watch.next(&mut buffer)).unwrap();
    assert_eq!(event, WatchEvent::Changed("data/a"));
    let more = world
        .executor
        .timeout(Duration::from_secs(1), watch.changed());
    assert!(world.run(more).is_err());
    assert!(store.counters().watch_events_coalesced >= 99);
}

#[test]
fn a_request_ends_with_an_error_whatever_the_reply_is_like() {
    for (fault, seed) in [
        Fault::StoreWrongType,
        Fault::StoreError,
        Fault::StoreWrongLength,
    ]
    .into_iter()
    .flat_map(|fault| (0..10).map(move |seed| (fault, seed)))
    {
        let world = World::new(seed);
        let store = world.store;
        world.run(store.write("data/a", b"1")).unwrap();
        world.simulation.force(fault);
        let (first, second) = world.run(join2(
            store.read_decimal("data/a"),
            store.read_decimal("data/a"),
        ));
        if fault == Fault::StoreWrongLength {
            // The stream makes no sense any more.
            assert!(matches!(first, Err(StoreError::Broken(_))), "{first:?}");
            assert!(matches!(second, Err(StoreError::Broken(_))), "{second:?}");
            // Until there is another.
            world.run(world.suspend());
            assert_eq!(world.run(store.write("data/a", b"1")), Ok(()));
        } else {
            // One in 31 wrong types is the right one.
            assert!(first.is_err() || fault == Fault::StoreWrongType);
            assert_eq!(second, Ok(1));
        }
        assert_eq!(world.simulation.violations(), []);
    }
}

#[test]
fn a_toolstacks_commands_take_the_domain_elsewhere_and_end_it() {
    let world = World::new(5);
    let mut control = world.run(Control::new(world.store)).unwrap();
    // Its key for halt is not the domain's to make.
    let taken = ControlFeatures::POWEROFF | ControlFeatures::REBOOT | ControlFeatures::SUSPEND;
    assert_eq!(control.features(), taken);
    for domain in 6..12 {
        world.go_elsewhere(domain);
        world.simulation.control("suspend");
        let request = world.run(control.next());
        assert_eq!(request, Ok(ShutdownRequest::Suspend));
        assert_eq!(world.run(world.suspend()), Suspended::Resumed);
    }
    world.simulation.control("poweroff");
    assert_eq!(world.run(control.next()), Ok(ShutdownRequest::PowerOff));
    let feature = "/local/domain/11/control/feature-suspend";
    assert_eq!(world.simulation.store().read(feature).as_deref(), Some("1"));
    assert_eq!(world.simulation.violations(), []);
}

#[test]
fn users_notice_nothing_of_suspensions() {
    for seed in 0..20 {
        let world = World::new(seed);
        world.simulation.set_faults(harmless_faults(5));
        let store = world.store;
        let results = Rc::new(RefCell::new(Vec::new()));
        for task in 0..4_u64 {
            let results = Rc::clone(&results);
            let user = async move {
                for round in 0..30 {
                    let key = ["data/a", "data/b", "data/c", "data/d"][task as usize];
                    // A read that follows a write may be in another tree: the write is done again then, by whoever
                    // uses it.
                    let value = loop {
                        store.write_decimal(key, round).await.unwrap();
                        match store.read_decimal(key).await {
                            Err(error) if error.is_not_found() => {}
                            value => break value,
                        }
                    };
                    assert_eq!(value, Ok(round));
                    let all = store.transact(100, async |transaction| {
                        transaction.write_decimal(key, round + 100).await?;
                        transaction.read_decimal(key).await
                    });
                    assert_eq!(all.await, Ok(round + 100));
                }
                results.borrow_mut().push(task);
            };
            world.executor.spawn(user).unwrap().detach();
        }
        world.run(async {
            for domain in 6..10 {
                let pause = Duration::from_micros(300 + 170 * seed);
                world.executor.sleep(pause).await;
                world.go_elsewhere(domain);
                if domain % 2 == 0 {
                    world
                        .simulation
                        .set_suspend_script(SuspendScript::Cancelled);
                }
                world.suspend().await;
            }
        });
        world.sleep(1_000);
        assert_eq!(results.borrow().len(), 4, "seed {seed}");
        assert_eq!(world.simulation.violations(), [], "seed {seed}");
        assert_eq!(world.simulation.store().transactions(), 0);
    }
}

#[test]
fn a_suspension_that_xenstored_does_not_let_be_quiet_loses_no_request() {
    let world = World::new(8);
    let store = world.store;
    world.simulation.store().set_stalled(true);
    let suspension = async {
        let suspended = world.suspend().await;
        // Another one.
        world.simulation.store().set_stalled(false);
        suspended
    };
    let written = join2(store.write("data/a", b"1"), store.read_decimal("data/a"));
    let (written, suspended) = world.run(join2(written, suspension));
    assert_eq!(suspended, Suspended::Resumed);
    assert_eq!(written, (Ok(()), Ok(1)));
    assert_eq!(world.simulation.violations(), []);
}

#[test]
fn the_console_speaks_hears_and_moves_with_the_domain() {
    let world = World::new(6);
    let faults = Faults::NONE
        .with(Fault::ConsoleIndices, Chance::percent(20))
        .with(Fault::ConsoleStalled, Chance::percent(20))
        .with(Fault::LateEvent, Chance::percent(20));
    world.simulation.set_faults(faults);
    let console = world.console;
    let mut expected = String::new();
    for round in 0..300 {
        console.line(format_args!("line {round} of many"));
        expected += &format!("line {round} of many\r\n");
        if round % 20 == 0 {
            world.sleep(20);
        }
    }
    world.run(console.drain());
    assert_eq!(world.simulation.console().output(), expected);
    world.simulation.console().type_in("hello\rwörld\r");
    let mut buffer = [0; 32];
    assert_eq!(world.run(console.read_line(&mut buffer)), Ok("hello"));
    assert_eq!(world.run(console.read_line(&mut buffer)), Ok("wörld"));
    world.run(world.suspend());
    console.line(format_args!("elsewhere"));
    world.run(console.drain());
    let output = world.simulation.console().output();
    assert_eq!(output.lines().last(), Some("elsewhere"));
    assert_eq!(console.counters().dropped_full, 0);
    assert_eq!(world.simulation.violations(), []);
}
