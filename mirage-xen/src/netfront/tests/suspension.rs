//! Suspended, resumed and migrated, whatever the device is at.

use std::cell::Cell;
use std::collections::BTreeSet;
use std::rc::Rc;
use std::time::Duration;
use std::vec::Vec;

use mirage_core::event::Event;

use super::backend::{Connected, MAC};
use super::world::World;
use crate::DomainId;
use crate::abi::shutdown::Suspended;
use crate::netfront::NetfrontConfig;
use crate::netfront::testing::ethernet;
use crate::simulated::{Resumption, Simulation, SuspendScript, VifConfig};

impl World {
    /// Suspends the domain now, from outside of any task.
    fn suspend(&self) -> Suspended {
        self.suspender.suspend().unwrap()
    }
}

#[test]
fn a_cancelled_suspension_changes_nothing() {
    let connected = Connected::new(1);
    let world = &connected.world;
    world
        .simulation
        .set_suspend_script(SuspendScript::Cancelled);
    let requests = world.simulation.store().requests();
    assert_eq!(world.suspend(), Suspended::Cancelled);
    assert!(world.link_up());
    world.send(&ethernet(1, 60)).unwrap();
    assert_eq!(connected.take().unwrap().bytes, ethernet(1, 60));
    assert_eq!(world.simulation.store().requests(), requests);
    assert_eq!(world.netfront.counters().connections, 1);
    world.check();
}

#[test]
fn a_resumed_domain_has_its_interface_again_with_whatever_backend() {
    let connected = Connected::new(1);
    let world = &connected.world;
    let free = world.pool.free_in_all();
    for domain in 2..6 {
        let mut resumption = Resumption::elsewhere(DomainId(domain));
        resumption.backend = DomainId(domain % 2 * 40);
        let script = SuspendScript::Resumed(resumption);
        world.simulation.set_suspend_script(script);
        assert_eq!(world.suspend(), Suspended::Resumed);
        assert!(!world.link_up());
        assert!(world.until(|| world.link_up()));
        for seed in 0..40 {
            world.send(&ethernet(seed, 60)).unwrap();
            assert_eq!(connected.take().unwrap().bytes, ethernet(seed, 60));
            connected.give(&ethernet(seed, 70));
            assert_eq!(world.receive(), Some(ethernet(seed, 70)));
        }
    }
    world.settle();
    assert_eq!(world.pool.free_in_all(), free);
    assert_eq!(world.netfront.posted(), 16);
    world.check();
}

#[test]
fn frames_that_nobody_answered_for_are_sent_in_the_new_domain() {
    let connected = Connected::new(1);
    let world = &connected.world;
    connected.netback.set_stopped(true);
    for seed in 0..10 {
        world.send(&ethernet(seed, 60)).unwrap();
    }
    connected.netback.set_stopped(false);
    assert_eq!(world.suspend(), Suspended::Resumed);
    for seed in 0..10 {
        assert_eq!(connected.take().unwrap().bytes, ethernet(seed, 60));
    }
    assert_eq!(world.netfront.counters().transmit.replayed, 10);
    world.check();
}

/// What a run came to.
#[derive(Debug, PartialEq, Eq)]
struct Run {
    /// Hypercalls that it took.
    steps: u64,
    suspensions: u32,
    sent_again: usize,
}

/// Sends and receives frames from the start on, suspended at the hypercall after `at` others and, if `twice`, again as soon as
/// something was sent in the new domain.
fn run(at: u64, twice: bool) -> Run {
    const FRAMES: u8 = 12;
    let simulation = Simulation::new(at);
    let netback = simulation.add_vif(VifConfig::new(MAC));
    let world = World::on(simulation, NetfrontConfig::new());
    let suspender = world.suspender;
    let wanted = &*std::boxed::Box::leak(std::boxed::Box::new(Event::new()));
    let suspending = world.executor.spawn(async move {
        loop {
            wanted.wait().await;
            suspender.suspend().unwrap();
        }
    });
    suspending.unwrap().detach();
    let began = simulation.steps();
    simulation.after_steps(at, move |_| wanted.set());
    let connected = Connected { world, netback };
    let world = &connected.world;
    let again = Rc::new(Cell::new(twice));
    // Each is sent once by the stack's reckoning; what the wire sees twice was in flight.
    let mut seen = Vec::new();
    for seed in 0..FRAMES {
        // A stack doesn't send while the link is down.
        loop {
            let up = world.until(|| world.link_up());
            assert!(up, "at {at}: {:?} {netback:?}", world.netfront);
            match world.send(&ethernet(seed, 60)) {
                Ok(()) => break,
                Err(mirage_core::TransmitReason::Netif(_)) => {}
                Err(reason) => panic!("at {at}: {reason}"),
            }
        }
        if again.take() && world.simulation.suspensions() == 1 {
            wanted.set();
        }
        world.run_for(Duration::from_millis(1));
        while let Some(packet) = netback.take() {
            seen.push(packet.bytes);
        }
    }
    world.run_for(Duration::from_secs(10));
    while let Some(packet) = netback.take() {
        seen.push(packet.bytes);
    }
    let sent: BTreeSet<_> = (0..FRAMES).map(|seed| ethernet(seed, 60)).collect();
    assert_eq!(sent, seen.iter().cloned().collect(), "at {at}");
    // After all of it the interface is as it was.
    let up = world.until(|| world.link_up());
    assert!(up, "at {at}");
    for seed in 0..20 {
        let suspensions = world.simulation.suspensions();
        connected.give(&ethernet(seed, 70));
        let mut received = world.receive();
        if world.simulation.suspensions() > suspensions && received.is_none() {
            // What the old backend had put into the old domain's ring went with it.
            connected.give(&ethernet(seed, 70));
            received = world.receive();
        }
        assert_eq!(received, Some(ethernet(seed, 70)), "at {at}");
    }
    world.settle();
    assert_eq!(world.netfront.posted(), 16, "at {at}");
    assert_eq!(world.netfront.in_flight(), 0, "at {at}");
    let counters = world.netfront.counters();
    assert_eq!((counters.faults, counters.offers_failed), (0, 0), "at {at}");
    world.check();
    Run {
        steps: simulation.steps() - began,
        suspensions: world.simulation.suspensions(),
        sent_again: seen.len() - usize::from(FRAMES),
    }
}

#[test]
fn suspended_at_every_step_no_frame_is_lost_and_no_page() {
    let whole = run(u64::MAX, false);
    assert_eq!((whole.suspensions, whole.sent_again), (0, 0));
    assert!(whole.steps > 20, "{whole:?}");
    for at in 0..whole.steps {
        let run = run(at, false);
        assert!(run.sent_again <= 12, "at {at}: {run:?}");
    }
}

#[test]
fn suspended_again_before_the_first_was_over_no_frame_is_lost() {
    for at in 0..40 {
        run(at, true);
    }
}
