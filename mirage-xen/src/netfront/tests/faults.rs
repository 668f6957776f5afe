//! With a backend that is hostile, broken or merely unlucky.

use std::time::Duration;

use mirage_core::doubles::Chance;
use mirage_core::{Netif, NetifError};

use super::backend::{Connected, MAC};
use crate::netfront::NetfrontConfig;
use crate::netfront::testing::ethernet;
use crate::simulated::{Fault, Faults, Simulation, VifConfig, Violation};

/// Faults that cost no frame, only time.
const HARMLESS: &[Fault] = &[
    Fault::LateEvent,
    Fault::SpuriousEvent,
    Fault::Race,
    Fault::ClockUpdate,
    Fault::ClockBack,
    Fault::StoreFragments,
    Fault::StoreReordered,
    Fault::StoreEarlyWatch,
    Fault::StoreSpuriousWatch,
    Fault::StoreStorm,
    Fault::StoreUnknownToken,
    Fault::StoreConflict,
    Fault::RingReordered,
    Fault::RingThreshold,
    Fault::LateRead,
];

/// Faults that may cost frames, and connections.
const HARMFUL: &[Fault] = &[
    Fault::NoPort,
    Fault::StoreUnknownId,
    Fault::StoreRepeated,
    Fault::StoreNotANumber,
    Fault::StoreError,
    Fault::RingIndex,
    Fault::RingUnknownId,
    Fault::RingRepeated,
    Fault::RingGarbage,
    Fault::RingSlotChanged,
    Fault::RingReset,
    Fault::RingError,
    Fault::BytesChanged,
    Fault::BackendStops,
    Fault::BackendCloses,
    Fault::BackendVanishes,
    Fault::BackendState,
];

/// What the domain did wrong. A backend that resets a ring, or says that it isn't connected while it is, blames the domain for
/// what it finds there then; one whose response hits another request by chance, for ending that one's grant.
fn check(simulation: Simulation, about: &str) {
    let happened = |faults: &[Fault]| faults.iter().any(|fault| simulation.happened(*fault) > 0);
    let resets = happened(&[Fault::RingReset, Fault::BackendState]);
    let confusion = happened(&[Fault::RingUnknownId, Fault::RingGarbage]);
    let mut violations = simulation.violations();
    violations.retain(|violation| match violation {
        Violation::RingIndex { .. } => !resets,
        Violation::GrantNotPermitted { .. } => !confusion,
        _ => true,
    });
    assert_eq!(violations, [], "{about}");
}

/// Frames go both ways while a fault happens, then without it. Says how often it did.
fn survive(seed: u64, fault: Fault, percent: u32) -> u64 {
    let about = std::format!("{fault:?} at {percent} %");
    let faults = Faults::NONE.with(fault, Chance::percent(percent));
    let connected = Connected::among(seed, faults);
    let world = &connected.world;
    let harmless = HARMLESS.contains(&fault);
    for round in 0..30 {
        if round % 10 == 5 {
            connected.netback.close();
            world.until(|| !world.link_up());
        }
        world.until(|| world.link_up());
        let sent = [0, 1, 2].map(|more| world.queue(&ethernet(round + more, 60)));
        let flushed = world.flush();
        connected.give(&ethernet(round, 70));
        let received = world.receive();
        if harmless {
            assert_eq!((sent, flushed), ([Ok(()); 3], Ok(())), "{about}");
            for more in 0..3 {
                let packet = connected.take().expect(&about);
                assert_eq!(packet.bytes, ethernet(round + more, 60), "{about}");
            }
            assert_eq!(received, Some(ethernet(round, 70)), "{about}");
        } else {
            while let Some(packet) = connected.netback.take() {
                assert_eq!(packet.bytes.len(), 60, "{about}");
            }
        }
    }
    let happened = world.simulation.happened(fault);
    recover(&connected, &about);
    happened
}

/// After a while without faults everything is as it was.
fn recover(connected: &Connected, about: &str) {
    let world = &connected.world;
    world.simulation.set_faults(Faults::NONE);
    if world.simulation.happened(Fault::RingReset) > 0 {
        // As Linux's, the backend has turned off an interface whose ring makes no sense: until it connects anew.
        connected.netback.close();
        world.until(|| !world.link_up());
    }
    world.until(|| world.link_up());
    world.run_for(Duration::from_secs(70));
    assert!(
        world.until(|| world.link_up()),
        "{about}: {:?}",
        world.netfront
    );
    // A frame that was said to go on goes on with what comes next.
    for _ in 0..4 {
        connected.give(&ethernet(0, 70));
        while world.receive().is_some() {}
    }
    while connected.netback.take().is_some() {}
    for seed in 0..20 {
        world.send(&ethernet(seed, 60)).expect(about);
        let Some(packet) = connected.take() else {
            panic!("{about}: {:?} {:?}", world.netfront, connected.netback);
        };
        assert_eq!(packet.bytes, ethernet(seed, 60), "{about}");
        connected.give(&ethernet(seed, 70));
        assert_eq!(world.receive(), Some(ethernet(seed, 70)), "{about}");
    }
    world.settle();
    let counters = world.netfront.counters();
    let lost = counters.receive.quarantined + counters.transmit.quarantined;
    // Requests whose answers went astray are with the backend until it goes; so are the rings' pages.
    let with_backend = world.netfront.posted() + world.netfront.in_flight() + 2;
    assert_eq!(
        world.pool.free_in_all() + with_backend + lost as usize,
        world.pool.blocks(),
        "{about}: {counters:?}"
    );
    check(world.simulation, about);
}

#[test]
fn what_costs_no_frame_costs_none() {
    for (seed, fault) in (1..).zip(HARMLESS) {
        let happened = survive(seed, *fault, 50);
        assert!(happened > 0, "{fault:?} did not happen");
    }
}

#[test]
fn what_costs_frames_or_connections_costs_nothing_more() {
    for (seed, fault) in (1..).zip(HARMFUL) {
        for percent in [3, 30] {
            let happened = survive(seed, *fault, percent);
            assert!(
                happened > 0 || percent < 10,
                "{fault:?} did not happen at {percent} %"
            );
        }
    }
}

#[test]
fn everything_at_once_is_survived() {
    let mut faults = Faults::NONE;
    for fault in HARMLESS.iter().chain(HARMFUL) {
        faults = faults.with(*fault, Chance::percent(2));
    }
    for seed in 1..6 {
        let connected = Connected::among(seed, faults);
        let world = &connected.world;
        for round in 0..60 {
            let _ = world.send(&ethernet(round, 60));
            connected.give(&ethernet(round, 70));
            let _ = world.receive();
            while connected.netback.take().is_some() {}
        }
        recover(&connected, &std::format!("seed {seed}"));
    }
}

#[test]
fn bytes_that_change_after_the_response_are_not_seen_to() {
    let connected = Connected::new(1);
    let world = &connected.world;
    world
        .simulation
        .set_faults(Faults::NONE.with(Fault::BytesChanged, Chance::ALWAYS));
    for seed in 0..100 {
        connected.give(&ethernet(seed, 1_000));
        let Some(frame) = world.receive_frame() else {
            continue;
        };
        // Whatever they were when the grant ended, they are still.
        let before = crate::netfront::testing::bytes_of(&frame);
        world.run_for(Duration::from_millis(10));
        assert_eq!(crate::netfront::testing::bytes_of(&frame), before);
    }
    world.check();
}

#[test]
fn a_backend_that_keeps_pages_costs_a_bounded_number_and_then_the_device() {
    let mut config = NetfrontConfig::new();
    config.quarantine_limit = 5;
    let connected = Connected::with(1, config, VifConfig::new(MAC));
    let world = &connected.world;
    world
        .simulation
        .set_faults(Faults::NONE.with(Fault::GrantKept, Chance::ALWAYS));
    let gone = world.until(|| {
        connected.give(&ethernet(1, 60));
        let mut netif = world.netfront;
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        matches!(
            netif.poll_receive(&mut context),
            std::task::Poll::Ready(Err(NetifError::Gone))
        )
    });
    assert!(gone);
    assert_eq!(world.pool.counters().quarantined, 6);
    assert!(!world.link_up());
    // For good, and the backend is told.
    let closed = || world.key("state").as_deref() == Some("6");
    assert!(world.until(closed));
    assert_eq!(world.send(&ethernet(1, 60)), Err(NetifError::Gone.into()));
    world.run_for(Duration::from_secs(300));
    assert!(!world.link_up());
    assert_eq!(world.netfront.counters().connections, 1);
    world.check();
}
