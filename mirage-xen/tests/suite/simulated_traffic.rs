//! Frames both ways between the network driver and a backend, on the simulated hypervisor: without faults, under each fault, and
//! under all of them. In every run each frame is there in the end or explained by a counter, each page is somewhere,
//! and the domain did nothing that it mustn't.

use std::time::Duration;

use mirage_core::Netif;
use mirage_core::doubles::Chance;
use mirage_xen::simulated::{Fault, Faults, SimulationConfig, VifConfig};

use crate::world::traffic::Ledger;
use crate::world::{MAC, World};

/// Frames each way in a run.
const FRAMES: u32 = 150;

/// Ends a run: without faults from now on everything works again, and nothing is missing.
fn finish(world: &World, ledger: &Ledger) {
    world.simulation.set_faults(Faults::NONE);
    ledger.stop(world);
    if !ledger.gone.get() {
        world.until_link_up();
        // What a backend never answered comes back with the next connection.
        world.netback.close();
        let down = world.until(Duration::from_secs(30), || !world.netfront.link_up());
        assert!(down, "the link stays up without a backend: {world:?}");
        world.until_link_up();
        let in_use = || world.netfront.counters().receive.dropped_still_in_use;
        let before = in_use();
        let after = Ledger::start_from(world, 1_000_000, 40);
        after.wait(world);
        after.stop(world);
        // Pages stay posted over a reconnection: one that the backend has kept since is found out by the frame that comes in it.
        let kept = in_use() - before;
        assert!(
            kept <= world.simulation.happened(Fault::GrantKept),
            "{world:?}"
        );
        assert_eq!((after.lost_out(), after.lost_in()), (0, kept), "{world:?}");
        let mut netif = world.netfront;
        netif.flush().unwrap();
        assert_eq!(world.netfront.in_flight(), 0, "{world:?}");
    }
    world.check_pages(0);
    world.check_conduct();
}

#[test]
fn boot_takes_few_round_trips_and_connects() {
    let world = World::new(1);
    world.executor.run_until(world.netfront.ready());
    assert!(world.netfront.link_up() && world.netback.is_connected());
    assert_eq!(world.netfront.mac(), MAC);
    let trips = world.store.counters().round_trips;
    assert!(trips <= 15, "{trips} round trips to xenstored");
    assert!(world.simulation.elapsed() < Duration::from_millis(20));
    world.check_conduct();
}

#[test]
fn without_faults_nothing_is_lost_doubled_or_changed() {
    for seed in 0..4 {
        let mut vif = VifConfig::new(MAC);
        // Frames in one slot, and in several.
        vif.receive_segment = [4_096, 600, 300, 4_096][seed as usize];
        vif.receive_offset = [0, 0, 128, 256][seed as usize];
        let mut config = SimulationConfig::new(seed);
        config.ring_start = 0_u32.wrapping_sub(100 * seed as u32);
        let world = World::with(config, vif);
        let ledger = Ledger::start(&world, 4 * FRAMES);
        ledger.wait(&world);
        ledger.stop(&world);
        assert_eq!((ledger.lost_out(), ledger.lost_in()), (0, 0));
        assert_eq!((ledger.doubled_out(), ledger.doubled_in()), (0, 0));
        assert_eq!(
            (ledger.strangers_out.get(), ledger.strangers_in.get()),
            (0, 0)
        );
        let back = world.netback.counters();
        assert_eq!(back.transmitted, u64::from(4 * FRAMES));
        // One notification for a batch: fewer than frames, both ways.
        assert!(back.notified < back.answered, "{back:?}");
        finish(&world, &ledger);
    }
}

/// A run under these faults.
fn run(seed: u64, faults: Faults) -> (World, std::rc::Rc<Ledger>) {
    let mut vif = VifConfig::new(MAC);
    if seed % 2 == 1 {
        vif.receive_segment = 500;
    }
    let world = World::with(SimulationConfig::new(seed), vif);
    world.executor.run_until(world.netfront.ready());
    world.simulation.set_faults(faults);
    let ledger = Ledger::start(&world, FRAMES);
    ledger.wait(&world);
    // What is only late comes by then.
    world.simulation.set_faults(Faults::NONE);
    world.run_for(Duration::from_secs(3));
    if !ledger.gone.get() {
        world.until_link_up();
        world.run_for(Duration::from_millis(50));
    }
    (world, ledger)
}

fn under(fault: Fault, chance: Chance) {
    let mut happened = 0;
    for seed in 0..6 {
        let (world, ledger) = run(seed, Faults::NONE.with(fault, chance));
        ledger.check(&world);
        let strangers = ledger.strangers_in.get();
        let may_garble = matches!(fault, Fault::BytesChanged | Fault::RingGarbage);
        assert!(
            strangers == 0 || may_garble,
            "{strangers} frames that nobody sent"
        );
        finish(&world, &ledger);
        happened += world.simulation.happened(fault);
    }
    assert!(happened > 0, "{fault:?} never happened");
}

macro_rules! under {
    ($($name:ident: $fault:ident, $chance:expr;)*) => {
        $(#[test]
        fn $name() {
            under(Fault::$fault, Chance::per_million($chance));
        })*
    };
}

under! {
    late_events_lose_nothing: LateEvent, 200_000;
    spurious_events_harm_nothing: SpuriousEvent, 300_000;
    a_backend_that_runs_at_any_moment_harms_nothing: Race, 200_000;
    time_that_is_written_during_a_read_harms_nothing: ClockUpdate, 200_000;
    time_that_steps_back_harms_nothing: ClockBack, 200_000;
    a_producer_index_out_of_range_costs_the_connection_alone: RingIndex, 10_000;
    ids_never_asked_for_cost_their_frames_alone: RingUnknownId, 20_000;
    responses_that_come_twice_free_nothing_twice: RingRepeated, 20_000;
    answers_in_another_order_harm_nothing: RingReordered, 300_000;
    responses_of_random_bits_cost_their_frames_alone: RingGarbage, 30_000;
    slots_that_change_after_they_were_read_harm_nothing: RingSlotChanged, 500_000;
    a_ring_that_the_backend_resets_costs_the_connection_alone: RingReset, 10_000;
    a_threshold_of_random_bits_stops_nothing: RingThreshold, 200_000;
    requests_that_are_refused_are_counted: RingError, 50_000;
    bytes_that_change_after_the_response_never_change_in_use: BytesChanged, 300_000;
    a_page_that_is_read_late_is_not_shown: LateRead, 300_000;
    grants_never_ended_are_quarantined_and_counted: GrantKept, 5_000;
    a_backend_that_stops_loses_nothing: BackendStops, 20_000;
    a_backend_that_closes_and_comes_back_loses_what_is_counted: BackendCloses, 5_000;
    a_backend_that_vanishes_and_comes_back_loses_what_is_counted: BackendVanishes, 5_000;
    a_state_that_there_isnt_ends_nothing_for_good: BackendState, 5_000;
    xenstored_in_small_pieces_harms_nothing: StoreFragments, 900_000;
    xenstored_in_another_order_harms_nothing: StoreReordered, 300_000;
}

fn survive(seed: u64, faults: Faults) {
    let (world, ledger) = run(seed, faults);
    ledger.check(&world);
    finish(&world, &ledger);
}

/// All that the rings, the grants, the events and the backend can be made to do, each now and then.
fn all_faults() -> Faults {
    let mut faults = Faults::NONE;
    for &fault in Fault::ALL {
        let chance = match fault {
            Fault::GrantKept => 500,
            Fault::BackendCloses | Fault::BackendVanishes | Fault::BackendState => 1_000,
            Fault::RingIndex | Fault::RingReset => 1_000,
            // They end the connection to xenstored, or have it answer wrongly: tests of their own.
            Fault::StoreIndices | Fault::StoreWrongLength => 0,
            _ => 10_000,
        };
        faults = faults.with(fault, Chance::per_million(chance));
    }
    faults
}

#[test]
fn all_faults_of_rings_grants_and_events_at_once_are_survived() {
    for seed in 0..12 {
        survive(seed, all_faults());
    }
}

/// Where a backend that had reset its ring stood still, or went on with a frontend that had not seen that it went; where
/// xenstored told wrongly whether an offer was written; and where a page was kept over a reconnection.
#[test]
fn seeds_that_stood_still_or_lost_frames_do_not_any_more() {
    let reset = Faults::NONE.with(Fault::RingReset, Chance::per_million(10_000));
    let all = all_faults();
    for (seed, faults) in [
        (21, reset),
        (26, reset),
        (235, all),
        (840, all),
        (863, all),
        (1_485, all),
    ] {
        survive(seed, faults);
    }
}

#[test]
fn a_backend_that_keeps_every_page_does_not_get_the_whole_pool() {
    let (world, ledger) = run(3, Faults::NONE.with(Fault::GrantKept, Chance::percent(30)));
    assert!(ledger.gone.get(), "the device is given up: {world:?}");
    let quarantined = world.pool.counters().quarantined;
    assert!((32..48).contains(&quarantined), "{quarantined}");
    ledger.stop(&world);
    world.check_conduct();
}
