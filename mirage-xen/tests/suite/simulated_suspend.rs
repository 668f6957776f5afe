//! The whole domain is suspended at each of its steps, with traffic both ways, and goes on: in a new domain with other ports,
//! another backend and another clock, or where it was. Nothing is lost but what is explained.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use mirage_core::doubles::Chance;
use mirage_core::{Clock, Netif};
use mirage_xen::DomainId;
use mirage_xen::abi::shutdown::{ShutdownReason, Suspended};
use mirage_xen::control::ShutdownRequest;
use mirage_xen::simulated::{
    Fault, Faults, HardwareRandom, Resumption, Simulation, SimulationConfig, SuspendScript,
    VifConfig,
};
use rand_core::TryRng;

use crate::world::traffic::Ledger;
use crate::world::{MAC, World};

/// Frames each way.
const FRAMES: u32 = 60;

/// Where the domain goes on for the n-th time: each time elsewhere.
fn elsewhere(count: u64) -> SuspendScript {
    let mut to = Resumption::elsewhere(DomainId(20 + count as u16));
    to.backend = DomainId([0, 3, 0, 7][count as usize % 4]);
    to.first_port = 1 + (count as u32 * 13) % 60;
    to.hertz = [933_271_000, 2_100_000_000, 4_321_000_000][count as usize % 3];
    to.system_time = Duration::from_secs([3, 100_000, 0][count as usize % 3]);
    to.pause = Duration::from_millis(50 + count % 7 * 300);
    SuspendScript::Resumed(to)
}

/// Asks for a suspension at the domain's hypercall after so many others.
fn suspend_after(simulation: Simulation, steps: u64, script: SuspendScript) {
    simulation.after_steps(steps, move |simulation| {
        simulation.set_suspend_script(script);
        simulation.control("suspend");
    });
}

/// Ends a run.
fn finish(world: &World, ledger: &Ledger) {
    world.simulation.set_faults(Faults::NONE);
    ledger.stop(world);
    world.run_for(Duration::from_secs(3));
    world.until_link_up();
    let after = Ledger::start_from(world, 1_000_000, 20);
    after.wait(world);
    after.stop(world);
    assert_eq!((after.lost_out(), after.lost_in()), (0, 0), "{world:?}");
    let mut netif = world.netfront;
    netif.flush().unwrap();
    assert_eq!(world.netfront.in_flight(), 0, "{world:?}");
    world.check_pages(0);
    world.check_conduct();
}

/// A run with one suspension at this step. How many frames the domain had transmitted by then.
fn run(seed: u64, step: u64, script: SuspendScript) -> u64 {
    let mut config = SimulationConfig::new(seed);
    if seed % 2 == 1 {
        // Backends run in the middle of the domain's turns, too.
        config.faults = Faults::NONE.with(Fault::Race, Chance::percent(40));
    }
    let world = World::with(config, VifConfig::new(MAC));
    let transmitted = Rc::new(Cell::new(0));
    let (seen, netback) = (transmitted.clone(), world.netback);
    world.simulation.after_steps(step, move |simulation| {
        seen.set(netback.counters().transmitted);
        simulation.set_suspend_script(script);
        simulation.control("suspend");
    });
    let ledger = Ledger::start(&world, FRAMES);
    ledger.wait(&world);
    let came = world.until(Duration::from_secs(5), || {
        world.simulation.suspensions() == 1 && !world.suspended.borrow().is_empty()
    });
    assert!(
        came,
        "the domain was asked at step {step} and is not suspended: {world:?}"
    );
    // Frames that the domain had taken over go to the next backend, where the first had not answered: none is lost.
    assert_eq!(ledger.lost_out(), 0, "{world:?}");
    ledger.check(&world);
    assert_eq!(ledger.strangers_in.get(), 0);
    let expected = match script {
        SuspendScript::Resumed(_) => Suspended::Resumed,
        _ => Suspended::Cancelled,
    };
    assert_eq!(*world.suspended.borrow(), [expected]);
    if expected == Suspended::Cancelled {
        assert_eq!(
            world.netfront.counters().connections,
            1,
            "nothing is set up again"
        );
        assert_eq!((ledger.lost_in(), ledger.doubled_out()), (0, 0));
    }
    finish(&world, &ledger);
    transmitted.get()
}

/// A run for each step, those of the boot and those of the traffic.
fn run_at_each_step(script: impl Fn(u64) -> SuspendScript) {
    for seed in 0..4 {
        let (mut boot, mut traffic, mut step) = (0, 0, 0);
        loop {
            match run(seed, step, script(step)) {
                0 => boot += 1,
                transmitted if transmitted < u64::from(FRAMES) => traffic += 1,
                _ => break,
            }
            step += 1;
        }
        assert!(boot > 10 && traffic > 10, "{boot} and {traffic} steps");
    }
}

#[test]
fn a_domain_that_is_resumed_elsewhere_at_any_step_loses_nothing_that_it_sent() {
    run_at_each_step(elsewhere);
}

#[test]
fn a_suspension_that_is_cancelled_at_any_step_changes_nothing() {
    run_at_each_step(|_| SuspendScript::Cancelled);
}

#[test]
fn a_domain_that_is_migrated_again_and_again_goes_on() {
    for seed in 0..6 {
        let world = World::new(seed);
        let count = Rc::new(Cell::new(0));
        again(world.simulation, count.clone(), 40 + seed * 17);
        let ledger = Ledger::start(&world, 8 * FRAMES);
        ledger.wait(&world);
        assert!(count.get() > 5, "{} suspensions", count.get());
        assert_eq!(ledger.lost_out(), 0, "{world:?}");
        ledger.check(&world);
        // No more from now on.
        count.set(u64::MAX);
        finish(&world, &ledger);
    }
}

/// Suspends the domain each so many steps.
fn again(simulation: Simulation, count: Rc<Cell<u64>>, steps: u64) {
    simulation.after_steps(steps, move |simulation| {
        let before = count.get();
        if before == u64::MAX {
            return;
        }
        count.set(before + 1);
        simulation.set_suspend_script(elsewhere(before));
        simulation.control("suspend");
        again(simulation, count, steps);
    });
}

#[test]
fn suspensions_in_the_middle_of_faults_are_survived() {
    let mut faults = Faults::NONE;
    for fault in [
        Fault::LateEvent,
        Fault::SpuriousEvent,
        Fault::Race,
        Fault::ClockUpdate,
        Fault::ClockBack,
        Fault::StoreFragments,
        Fault::StoreReordered,
        Fault::StoreConflict,
        Fault::StoreSpuriousWatch,
        Fault::StoreEarlyWatch,
        Fault::StoreRepeated,
        Fault::StoreUnknownId,
        Fault::StoreUnknownToken,
        Fault::RingReordered,
        Fault::RingThreshold,
        Fault::RingError,
        Fault::BytesChanged,
        Fault::LateRead,
        Fault::BackendStops,
    ] {
        faults = faults.with(fault, Chance::percent(5));
    }
    for seed in 0..20 {
        let mut config = SimulationConfig::new(seed);
        config.faults = faults;
        let world = World::with(config, VifConfig::new(MAC));
        suspend_after(world.simulation, 30 + seed * 7, elsewhere(seed));
        let ledger = Ledger::start(&world, FRAMES);
        ledger.wait(&world);
        let resumed = world.until(Duration::from_secs(20), || {
            world.simulation.suspensions() == 1
        });
        assert!(resumed, "{world:?}");
        ledger.check(&world);
        finish(&world, &ledger);
    }
}

#[test]
fn time_never_goes_back_and_waits_take_as_long_as_they_should() {
    for seed in 0..9 {
        let world = World::new(seed);
        world.executor.run_until(world.netfront.ready());
        let started = world.clock.now();
        let elapsed = world.simulation.elapsed();
        suspend_after(world.simulation, 3, elsewhere(seed));
        let mut latest = started;
        for _ in 0..200 {
            world.run_for(Duration::from_millis(5));
            let now = world.clock.now();
            assert!(now > latest);
            latest = now;
        }
        assert_eq!(world.simulation.suspensions(), 1);
        // The pause doesn't count.
        let SuspendScript::Resumed(to) = elsewhere(seed) else {
            unreachable!("it is always elsewhere");
        };
        let passed = world.simulation.elapsed() - elapsed - to.pause;
        let seen = latest.saturating_duration_since(started);
        let apart = passed.abs_diff(seen);
        assert!(apart < Duration::from_micros(50), "{passed:?} and {seen:?}");
        let wall = world.clock.wall().unwrap();
        let apart = wall.abs_diff(world.simulation.wall_clock());
        assert!(apart < Duration::from_micros(50), "{apart:?}");
    }
}

#[test]
fn a_domain_that_is_restored_twice_does_not_repeat_its_random_numbers() {
    // The same run up to the suspension; then another machine with other numbers.
    let draw = |hardware: HardwareRandom, script: SuspendScript| {
        let world = World::new(7);
        world.executor.run_until(world.netfront.ready());
        suspend_after(world.simulation, 0, script);
        world.simulation.set_hardware_random(hardware);
        let resumed = world.until(Duration::from_secs(5), || {
            world.simulation.suspensions() == 1
        });
        assert!(resumed);
        let mut rng = world.rng;
        rng.try_next_u64()
    };
    let one = draw(HardwareRandom::Present, elsewhere(0)).unwrap();
    let two = draw(HardwareRandom::Present, elsewhere(1)).unwrap();
    assert_ne!(one, two);
    // With no new entropy nothing is drawn at all.
    draw(HardwareRandom::Absent, elsewhere(0)).unwrap_err();
    draw(HardwareRandom::Broken, elsewhere(0)).unwrap_err();
    // Where it was not resumed, it goes on.
    draw(HardwareRandom::Absent, SuspendScript::Cancelled).unwrap();
}

#[test]
fn the_toolstacks_commands_are_heard_before_and_after_a_resumption() {
    let world = World::new(1);
    world.executor.run_until(world.netfront.ready());
    world.say("before");
    suspend_after(world.simulation, 0, elsewhere(5));
    assert!(
        world.until(Duration::from_secs(5), || world.suspended.borrow().len()
            == 1)
    );
    world.say("after");
    world.simulation.control("poweroff");
    assert!(world.until(Duration::from_secs(5), || {
        world.simulation.shutdown_reason() == Some(ShutdownReason::PowerOff)
    }));
    let commands = world.commands.borrow().clone();
    assert_eq!(
        commands,
        [ShutdownRequest::Suspend, ShutdownRequest::PowerOff]
    );
    let output = world.simulation.console().output();
    assert!(
        output.contains("before") && output.contains("after"),
        "{output}"
    );
    let store = world.simulation.store();
    // Acknowledged, and the new domain's features are there.
    let home = store.domain_path();
    assert_eq!(store.read(&format!("{home}/control/shutdown")).unwrap(), "");
    assert_eq!(
        store
            .read(&format!("{home}/control/feature-suspend"))
            .unwrap(),
        "1"
    );
    world.check_conduct();
}

#[test]
fn a_suspension_that_xen_refuses_leaves_everything_as_it_was() {
    let world = World::new(1);
    world.executor.run_until(world.netfront.ready());
    world.simulation.set_suspend_script(SuspendScript::Refused);
    world.suspender.suspend().unwrap_err();
    let ledger = Ledger::start(&world, FRAMES);
    ledger.wait(&world);
    ledger.check(&world);
    assert_eq!((ledger.lost_out(), ledger.lost_in()), (0, 0));
    assert_eq!(world.netfront.counters().connections, 1);
    finish(&world, &ledger);
}
