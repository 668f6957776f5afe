//! Xenstore's client and the console against a xenstored and a console that misbehave, on the simulated hypervisor.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use mirage_core::doubles::Chance;
use mirage_xen::simulated::{Fault, Faults, SimulationConfig, VifConfig};
use mirage_xen::store::{StoreError, WatchEvent, join};

use crate::world::{MAC, World};

/// What a task that works with xenstore came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Outcome {
    right: u32,
    failed: u32,
    /// Answers that are neither an error nor right.
    wrong: u32,
}

/// Writes, reads, lists and watches keys of its own, and says what came of it.
async fn work(world: World, rounds: u32) -> Outcome {
    let store = world.store;
    let mut outcome = Outcome::default();
    let mut note = |result: Result<bool, StoreError>| match result {
        Ok(true) => outcome.right += 1,
        Ok(false) => outcome.wrong += 1,
        Err(_) => outcome.failed += 1,
    };
    for round in 0..rounds {
        let keys = [0, 1, 2, 3].map(|key| format!("data/work-{}", round % 3 * 4 + key));
        let value = format!("{round}");
        let written = join(
            keys.each_ref()
                .map(|key| store.write(&**key, value.as_bytes())),
        )
        .await;
        let was_written: Vec<bool> = written.iter().map(Result::is_ok).collect();
        written
            .into_iter()
            .for_each(|result| note(result.map(|()| true)));
        let read = join(keys.each_ref().map(|key| store.read_decimal(&**key))).await;
        for (result, written) in read.into_iter().zip(was_written) {
            // What could not be written, as far as is known, may be what it was before.
            let junk = 1 << 32;
            note(result.map(|number| !written || number == u64::from(round) || number == junk));
        }
        let mut watch = store.watch("data/work-0").await;
        let fired = match &mut watch {
            Ok(watch) => watch.changed().await,
            Err(error) => Err(*error),
        };
        note(fired.map(|()| true));
        drop(watch);
        let mut buffer = [0; 512];
        let names = store.directory("data", &mut buffer).await;
        note(names.map(|names| names.filter(|name| name.starts_with("work-")).count() > 0));
        let key = "data/counter";
        let added = store
            .transact(8, async |transaction| {
                let before = match transaction.read_decimal(key).await {
                    Ok(before) => before,
                    Err(error) if error.is_not_found() => 0,
                    Err(error) => return Err(error),
                };
                transaction.write_decimal(key, before + 1).await
            })
            .await;
        note(added.map(|()| true));
        world.executor.sleep(Duration::from_micros(100)).await;
    }
    outcome
}

/// Work under these faults; then, without them, everything is right again.
fn under(seed: u64, faults: Faults) -> (World, Outcome) {
    let mut config = SimulationConfig::new(seed);
    config.ring_start = 0_u32.wrapping_sub(700);
    config.store_reconnection = true;
    let world = World::with(config, VifConfig::new(MAC));
    world.executor.run_until(world.netfront.ready());
    world.simulation.set_faults(faults);
    let outcome = world.executor.run_until(
        world
            .executor
            .timeout(Duration::from_secs(600), work(world.clone(), 40)),
    );
    let outcome = outcome.unwrap_or_else(|_| panic!("xenstore's client waits for ever: {world:?}"));
    world.simulation.set_faults(Faults::NONE);
    world.run_for(Duration::from_secs(2));
    let after = world.executor.run_until(work(world.clone(), 5));
    assert_eq!((after.failed, after.wrong), (0, 0), "{world:?}");
    // Nothing is forgotten on the other side, but for a transaction whose number never came.
    let open = world.simulation.store().transactions() as u64;
    assert!(
        open <= world.simulation.happened(Fault::StoreWrongType),
        "{world:?}"
    );
    world.check_conduct();
    (world, outcome)
}

/// Faults under which requests may fail, but no answer is taken for another's.
fn fails_cleanly(fault: Fault, chance: u32) {
    let mut happened = 0;
    for seed in 0..5 {
        let faults = Faults::NONE.with(fault, Chance::per_million(chance));
        let (world, outcome) = under(seed, faults);
        assert_eq!(outcome.wrong, 0, "{outcome:?} {world:?}");
        assert!(outcome.right > 200, "{outcome:?} {world:?}");
        happened += world.simulation.happened(fault);
    }
    assert!(happened > 0, "{fault:?} never happened");
}

/// Faults that harm nothing at all.
fn harms_nothing(fault: Fault, chance: u32) {
    let mut happened = 0;
    for seed in 0..5 {
        let faults = Faults::NONE.with(fault, Chance::per_million(chance));
        let (world, outcome) = under(seed, faults);
        assert_eq!(
            (outcome.failed, outcome.wrong),
            (0, 0),
            "{outcome:?} {world:?}"
        );
        happened += world.simulation.happened(fault);
    }
    assert!(happened > 0, "{fault:?} never happened");
}

macro_rules! faults {
    ($($name:ident: $check:ident $fault:ident $chance:expr;)*) => {
        $(#[test]
        fn $name() {
            $check(Fault::$fault, $chance);
        })*
    };
}

faults! {
    a_stream_in_small_pieces_harms_nothing: harms_nothing StoreFragments 900_000;
    replies_in_another_order_reach_who_asked: harms_nothing StoreReordered 400_000;
    replies_with_the_id_of_no_request_are_dropped: harms_nothing StoreUnknownId 200_000;
    replies_that_come_twice_are_dropped: harms_nothing StoreRepeated 200_000;
    watches_that_fire_before_their_reply_harm_nothing: harms_nothing StoreEarlyWatch 900_000;
    watches_that_fire_without_a_change_harm_nothing: harms_nothing StoreSpuriousWatch 300_000;
    watch_events_with_a_token_that_nobody_gave_are_dropped: harms_nothing StoreUnknownToken 300_000;
    transactions_that_something_came_between_are_done_again: harms_nothing StoreConflict 200_000;
    events_that_come_late_are_waited_for: harms_nothing LateEvent 300_000;
    a_xenstored_that_runs_at_any_moment_harms_nothing: harms_nothing Race 300_000;
    replies_of_another_type_fail_their_requests_alone: fails_cleanly StoreWrongType 30_000;
    requests_that_are_refused_fail_alone: fails_cleanly StoreError 50_000;
    strings_that_are_no_numbers_are_none: fails_cleanly StoreNotANumber 100_000;
    a_length_that_cannot_be_costs_the_connection_which_is_set_up_again: fails_cleanly StoreWrongLength 10_000;
    indices_that_cannot_be_cost_the_connection_which_is_set_up_again: fails_cleanly StoreIndices 10_000;
}

#[test]
fn a_connection_that_breaks_for_good_fails_every_request_and_blocks_nobody() {
    let world = World::new(1);
    world.executor.run_until(world.netfront.ready());
    world.simulation.force(Fault::StoreWrongLength);
    let outcome = world.executor.run_until(work(world.clone(), 4));
    assert_eq!(outcome.wrong, 0);
    let outcome = world.executor.run_until(work(world.clone(), 4));
    assert_eq!((outcome.right, outcome.wrong), (0, 0), "{outcome:?}");
    // The device goes on: it needs xenstore for changes alone.
    let ledger = crate::world::traffic::Ledger::start(&world, 20);
    ledger.wait(&world);
    ledger.stop(&world);
    assert_eq!((ledger.lost_out(), ledger.lost_in()), (0, 0));
    world.check_conduct();
}

#[test]
fn a_storm_of_watch_events_takes_no_more_room_than_one() {
    let world = World::new(1);
    world.executor.run_until(world.netfront.ready());
    let seen = Rc::new(Cell::new(0));
    let (counting, store) = (seen.clone(), world.store);
    let task = world.executor.spawn(async move {
        let mut watch = store.watch("data").await.unwrap();
        let mut buffer = [0; 128];
        loop {
            match watch.next(&mut buffer).await.unwrap() {
                WatchEvent::Changed(path) => assert!(path.starts_with("data"), "{path}"),
                WatchEvent::Resync => {}
            }
            counting.set(counting.get() + 1);
        }
    });
    task.unwrap().detach();
    world
        .simulation
        .set_faults(Faults::NONE.with(Fault::StoreStorm, Chance::percent(50)));
    let home = world.simulation.store().domain_path();
    for round in 0..50 {
        for key in 0..20 {
            world
                .simulation
                .store()
                .write(&format!("{home}/data/{key}"), format!("{round}"));
        }
        world.run_for(Duration::from_millis(1));
    }
    world.run_for(Duration::from_secs(1));
    let counters = store_counters(&world);
    assert!(world.simulation.happened(Fault::StoreStorm) > 100);
    assert!(seen.get() > 50, "{} events seen", seen.get());
    assert!(
        counters.watch_events_coalesced + counters.watch_overflows > 1_000,
        "{counters:?}"
    );
    // Everybody else has had its turn.
    let outcome = world.executor.run_until(work(world.clone(), 5));
    assert_eq!((outcome.failed, outcome.wrong), (0, 0));
    world.check_conduct();
}

fn store_counters(world: &World) -> mirage_xen::store::StoreCounters {
    world.store.counters()
}

#[test]
fn a_xenstored_that_stops_holds_up_its_requests_alone() {
    let world = World::new(1);
    world.executor.run_until(world.netfront.ready());
    world.simulation.store().set_stalled(true);
    let waiting = world.executor.spawn(work(world.clone(), 3)).unwrap();
    let ledger = crate::world::traffic::Ledger::start(&world, 30);
    ledger.wait(&world);
    assert_eq!((ledger.lost_out(), ledger.lost_in()), (0, 0));
    ledger.stop(&world);
    assert!(!waiting.is_finished());
    world.simulation.store().set_stalled(false);
    let outcome = world.executor.run_until(waiting).unwrap();
    assert_eq!((outcome.failed, outcome.wrong), (0, 0));
    world.check_conduct();
}

#[test]
fn a_directory_larger_than_a_message_is_read_whole_though_it_changes_meanwhile() {
    let world = World::new(1);
    world.executor.run_until(world.netfront.ready());
    let home = world.simulation.store().domain_path();
    let store = world.simulation.store();
    let count = 400;
    for key in 0..count {
        store.write(&format!("{home}/data/a-rather-long-name-{key:06}"), "");
    }
    let mut buffer = vec![0; 16_384];
    let listed = world.store.directory("data", &mut buffer);
    // A change between the parts: the client begins again, and sees all of it or the new one.
    world.simulation.after_steps(2, move |simulation| {
        let home = simulation.store().domain_path();
        simulation
            .store()
            .write(&format!("{home}/data/a-rather-long-name-999999"), "");
    });
    let names = world.executor.run_until(listed).unwrap();
    assert_eq!(names.count(), count + 1);
    world.check_conduct();
}

/// What the domain said, as the console has it.
fn lines(world: &World) -> Vec<String> {
    let output = world.simulation.console().output();
    output
        .lines()
        .map(|line| line.trim_end_matches('\r').to_owned())
        .collect()
}

#[test]
fn console_lines_come_whole_and_in_order_under_each_of_its_faults() {
    for (fault, chance) in [
        (Fault::ConsoleStalled, 200_000),
        (Fault::ConsoleIndices, 100_000),
        (Fault::LateEvent, 300_000),
        (Fault::SpuriousEvent, 300_000),
        (Fault::Race, 300_000),
    ] {
        for seed in 0..4 {
            let mut config = SimulationConfig::new(seed);
            config.ring_start = 0_u32.wrapping_sub(3_000);
            config.faults = Faults::NONE.with(fault, Chance::per_million(chance));
            let world = World::with(config, VifConfig::new(MAC));
            let said: Vec<String> = (0..200)
                .map(|number| format!("{number}: {}", "x".repeat(number * 7 % 60)))
                .collect();
            for line in &said {
                world.say(line);
                world.run_for(Duration::from_micros(300));
            }
            world.simulation.set_faults(Faults::NONE);
            world.run_for(Duration::from_millis(100));
            let counters = world.console.counters();
            let dropped = counters.dropped_full as usize;
            let came = lines(&world);
            // Whole, in order, none that was not said but the console's own word on those that are missing.
            let mut rest = said.iter();
            let mut found = 0;
            for line in &came {
                if rest.by_ref().any(|of| of == line) {
                    found += 1;
                } else {
                    rest = said[..0].iter();
                }
            }
            assert!(
                found + dropped >= said.len(),
                "{fault:?}: {found}, {counters:?}"
            );
            world.check_conduct();
        }
    }
}

#[test]
fn a_console_that_nobody_serves_costs_its_buffer_alone() {
    let world = World::new(1);
    world.simulation.console().set_stalled(true);
    world.executor.run_until(world.netfront.ready());
    for number in 0..2_000 {
        world.say(&format!("line {number}"));
    }
    let dropped = world.console.counters().dropped_full;
    assert!(dropped > 1_000, "{dropped}");
    let ledger = crate::world::traffic::Ledger::start(&world, 30);
    ledger.wait(&world);
    assert_eq!((ledger.lost_out(), ledger.lost_in()), (0, 0));
    world.simulation.console().set_stalled(false);
    world.run_for(Duration::from_millis(10));
    world.say("again");
    world.run_for(Duration::from_millis(10));
    assert_eq!(lines(&world).first().unwrap(), "line 0");
    assert_eq!(lines(&world).last().unwrap(), "again");
    world.check_conduct();
}

#[test]
fn what_is_typed_is_read_line_by_line() {
    let world = World::new(1);
    world.simulation.console().type_in("first\nsec");
    let mut buffer = [0; 80];
    let line = world
        .executor
        .run_until(world.console.read_line(&mut buffer));
    assert_eq!(line.unwrap(), "first");
    world.simulation.console().type_in("ond\r");
    let line = world
        .executor
        .run_until(world.console.read_line(&mut buffer));
    assert_eq!(line.unwrap(), "second");
    world.check_conduct();
}
