//! Tests of the machine itself; those of its backends are beside them.

use std::rc::Rc;
use std::string::ToString;
use std::sync::atomic::Ordering;
use std::vec;

use mirage_core::doubles::Chance;

use super::*;
use crate::abi::grant::{ENTRIES_PER_FRAME, GrantFlags};
use crate::abi::parameter::Parameter;
use crate::abi::shutdown::Suspended;
use crate::{GrantReference, Hypervisor, PortNumber, XenError};

fn mask_all(hypervisor: &SimulatedHypervisor) {
    for word in &hypervisor.shared_info().event_mask {
        word.store(!0, Ordering::Relaxed);
    }
}

fn nanos(duration: Duration) -> u64 {
    duration.as_nanos() as u64
}

/// Writes an entry as a grant table does.
fn grant(simulation: Simulation, reference: u32, frame: u64, flags: GrantFlags, domain: DomainId) {
    // SAFETY: the frames of these tests are of leaked pools' blocks that no handle is taken of, of a constant that the simulated
    // domains write under no entry, or of no memory at all; nothing else in a test writes the table.
    let entries = unsafe { simulation.hypervisor().grant_entries(1) };
    let entry = &entries.unwrap()[reference as usize];
    entry.frame.store(frame as u32, Ordering::Relaxed);
    entry.domain.store(domain.0, Ordering::Relaxed);
    entry.flags.store(flags.bits(), Ordering::Release);
}

fn flags(simulation: Simulation, reference: u32) -> GrantFlags {
    // SAFETY: they are only read.
    let entries = unsafe { simulation.hypervisor().grant_entries(1) }.unwrap();
    GrantFlags::from_bits_truncate(entries[reference as usize].flags.load(Ordering::Acquire))
}

#[test]
fn a_pending_event_ends_a_poll_at_once() {
    let simulation = Simulation::new(1);
    let hypervisor = simulation.hypervisor();
    mask_all(hypervisor);
    let port = hypervisor.allocate_unbound_port(DomainId::DOM0).unwrap();
    simulation.machine.send(port);
    let before = simulation.elapsed();
    hypervisor.poll(&[port], None).unwrap();
    assert_eq!(simulation.elapsed(), before);
    // A poll for a port without an event goes on to the deadline.
    let until = nanos(simulation.system_time()) + 5_000;
    let other = hypervisor.allocate_unbound_port(DomainId::DOM0).unwrap();
    hypervisor.poll(&[other], Some(until)).unwrap();
    assert_eq!(nanos(simulation.system_time()), until);
    // One whose deadline has passed is a look.
    hypervisor.poll(&[other], Some(1)).unwrap();
    assert_eq!(nanos(simulation.system_time()), until);
    assert_eq!(simulation.violations(), []);
}

#[test]
#[should_panic(expected = "nothing will happen")]
fn a_sleep_that_never_ends_is_said_not_slept() {
    let simulation = Simulation::new(1);
    while simulation.step() {}
    let _ = simulation.hypervisor().poll(&[], None);
}

#[test]
fn what_a_domain_may_not_do_is_refused_and_kept() {
    let simulation = Simulation::new(1);
    let hypervisor = simulation.hypervisor();
    let stranger = PortNumber(900);
    assert_eq!(hypervisor.notify(stranger), Err(XenError::Invalid));
    assert_eq!(hypervisor.close_port(stranger), Err(XenError::Invalid));
    let many = vec![PortNumber(1); 129];
    assert_eq!(hypervisor.poll(&many, Some(1)), Err(XenError::Invalid));
    let no_port = [PortNumber(4_096)];
    assert_eq!(hypervisor.poll(&no_port, Some(1)), Err(XenError::Invalid));
    hypervisor.restore().unwrap();
    assert_eq!(
        simulation.violations(),
        [
            Violation::Port("notify", stranger),
            Violation::Port("close_port", stranger),
            Violation::TooManyPorts(129),
            Violation::Port("poll", PortNumber(4_096)),
            Violation::RestoreWithoutResume,
        ]
    );
}

#[test]
fn an_unmasked_event_is_a_violation_as_it_would_interrupt() {
    let simulation = Simulation::new(1);
    let port = simulation
        .hypervisor()
        .allocate_unbound_port(DomainId::DOM0)
        .unwrap();
    simulation.machine.send(port);
    assert_eq!(simulation.violations(), [Violation::Unmasked(port)]);
}

#[test]
fn late_events_come_and_are_never_lost() {
    let simulation = Simulation::new(3);
    let hypervisor = simulation.hypervisor();
    mask_all(hypervisor);
    simulation.set_faults(Faults::NONE.with(Fault::LateEvent, Chance::ALWAYS));
    let port = hypervisor.allocate_unbound_port(DomainId::DOM0).unwrap();
    for _ in 0..50 {
        let word = &hypervisor.shared_info().event_pending[0];
        word.store(0, Ordering::Relaxed);
        let before = simulation.elapsed();
        simulation.machine.send(port);
        hypervisor.poll(&[port], None).unwrap();
        assert_ne!(word.load(Ordering::Relaxed), 0);
        assert!(simulation.elapsed() - before < Duration::from_millis(1));
    }
    assert_eq!(simulation.happened(Fault::LateEvent), 50);
}

#[test]
fn the_clock_that_a_domain_reads_goes_on_by_itself_and_tells_the_time() {
    let simulation = Simulation::new(1);
    let hypervisor = simulation.hypervisor();
    let ticks: Vec<u64> = (0..100).map(|_| hypervisor.time_stamp_counter()).collect();
    assert!(ticks.is_sorted() && ticks[0] < ticks[99]);
    let mut config = SimulationConfig::new(1);
    config.look = Duration::ZERO;
    let hypervisor = Simulation::with_config(config).hypervisor();
    assert_eq!(
        hypervisor.time_stamp_counter(),
        hypervisor.time_stamp_counter()
    );
    // The fault changes the version between a domain's two looks.
    let time = &simulation.hypervisor().shared_info().vcpu_info[0].time;
    let version = time.version.load(Ordering::Acquire);
    simulation.force(Fault::ClockUpdate);
    simulation.hypervisor().time_stamp_counter();
    assert_eq!(time.version.load(Ordering::Acquire), version + 2);
}

#[test]
fn a_mapped_grant_shows_in_its_flags_until_the_last_is_unmapped() {
    let simulation = Simulation::new(1);
    let pool = Pool::leak(4, 4096).unwrap();
    simulation.add_memory(pool);
    let block = pool.block(2).unwrap().address();
    let frame = simulation.hypervisor().frame_number(block).unwrap();
    let reach = simulation.machine.reach();
    grant(
        simulation,
        9,
        frame.0,
        GrantFlags::PERMIT_ACCESS,
        DomainId(0),
    );
    let one = reach.map(DomainId(0), 9, false).unwrap();
    let permitted = GrantFlags::PERMIT_ACCESS;
    assert_eq!(flags(simulation, 9), permitted | GrantFlags::READING);
    let two = reach.map(DomainId(0), 9, true).unwrap();
    reach.write(&two, 4_090, b"abcdef").unwrap();
    assert!(flags(simulation, 9).contains(GrantFlags::WRITING));
    reach.unmap(two);
    assert_eq!(flags(simulation, 9), permitted | GrantFlags::READING);
    let mut bytes = [0; 6];
    reach.read(&one, 4_090, &mut bytes).unwrap();
    assert_eq!(&bytes, b"abcdef");
    assert_eq!(simulation.mapped_grants(), 1);
    reach.unmap(one);
    assert_eq!(
        (flags(simulation, 9), simulation.mapped_grants()),
        (permitted, 0)
    );
    assert_eq!(simulation.violations(), []);
}

#[test]
fn nobody_reaches_memory_that_no_entry_permits() {
    let simulation = Simulation::new(1);
    let pool = Pool::leak(2, 4096).unwrap();
    simulation.add_memory(pool);
    let hypervisor = simulation.hypervisor();
    let frame = hypervisor.frame_number(pool.base()).unwrap().0;
    let (reach, zero) = (simulation.machine.reach(), DomainId(0));
    let readable = GrantFlags::PERMIT_ACCESS | GrantFlags::READ_ONLY;
    grant(simulation, 10, frame, readable, zero);
    grant(
        simulation,
        11,
        frame,
        GrantFlags::PERMIT_ACCESS,
        DomainId(3),
    );
    grant(simulation, 12, frame, GrantFlags::empty(), zero);
    grant(simulation, 13, 0xDEAD_BEEF, GrantFlags::PERMIT_ACCESS, zero);
    let mut byte = [0];
    assert!(reach.copy_from(zero, 10, 4_095, &mut byte).is_ok());
    assert!(reach.copy_from(zero, 10, 4_096, &mut byte).is_err());
    assert!(reach.copy_to(zero, 10, 0, &byte).is_err());
    assert!(reach.copy_from(zero, 11, 0, &mut byte).is_err());
    assert!(reach.copy_from(zero, 12, 0, &mut byte).is_err());
    assert!(reach.copy_from(zero, 13, 0, &mut byte).is_err());
    let beyond = 64 * ENTRIES_PER_FRAME as u32;
    assert!(reach.copy_from(zero, beyond, 0, &mut byte).is_err());
    assert_eq!(flags(simulation, 10), readable);
    assert_eq!(flags(simulation, 13), GrantFlags::PERMIT_ACCESS);
    let domain = zero;
    assert_eq!(
        simulation.violations(),
        [
            Violation::BeyondPage {
                reference: 10,
                offset: 4_096,
                length: 1
            },
            Violation::GrantReadOnly(10),
            Violation::GrantNotPermitted {
                reference: 11,
                domain
            },
            Violation::GrantNotPermitted {
                reference: 12,
                domain
            },
            Violation::GrantFrame {
                reference: 13,
                frame: 0xDEAD_BEEF
            },
            Violation::GrantReference(beyond),
        ]
    );
    // Memory that the simulation was not given has no frame.
    let outside = Pool::leak(1, 4096).unwrap();
    assert_eq!(hypervisor.frame_number(outside.base()), None);
    assert_eq!(hypervisor.frame_number(std::ptr::NonNull::dangling()), None);
}

#[test]
fn static_ranges_are_read_within_their_bytes_and_never_written() {
    static TEXT: [u8; 5_000] = [7; 5_000];
    let simulation = Simulation::new(1);
    let pool = Pool::leak(2, 4096).unwrap();
    simulation.add_memory(pool);
    let hypervisor = simulation.hypervisor();
    let start = std::ptr::NonNull::from(&TEXT).cast::<u8>();
    assert_eq!(hypervisor.frame_number(start), None);
    pool.register_static(&TEXT).unwrap();
    let frame = hypervisor.frame_number(start).unwrap().0;
    grant(simulation, 9, frame, GrantFlags::PERMIT_ACCESS, DomainId(0));
    let reach = simulation.machine.reach();
    let offset = start.addr().get() % 4096;
    let mut bytes = [0; 8];
    let length = bytes.len().min(4096 - offset);
    reach
        .copy_from(DomainId(0), 9, offset, &mut bytes[..length])
        .unwrap();
    assert_eq!(bytes[..length], [7; 8][..length]);
    assert_eq!(simulation.violations(), []);
    assert!(reach.copy_to(DomainId(0), 9, offset, &[1]).is_err());
    assert_eq!(simulation.violations(), [Violation::GrantReadOnly(9)]);
}

#[test]
fn frames_of_neighbouring_pages_say_nothing_of_each_other() {
    let simulation = Simulation::new(1);
    let pool = Pool::leak(8, 4096).unwrap();
    simulation.add_memory(pool);
    let frame = |index: usize| {
        let address = pool.block(index).unwrap().address();
        simulation.hypervisor().frame_number(address).unwrap().0
    };
    assert!((0..8).all(|index| frame(index) == frame(index) && frame(index) < 1 << 32));
    assert!((0..7).any(|index| frame(index + 1) != frame(index) + 1));
}

#[test]
fn a_resumed_domain_finds_nothing_that_it_had_but_its_memory() {
    let simulation = Simulation::new(1);
    let hypervisor = simulation.hypervisor();
    mask_all(hypervisor);
    let pool = Pool::leak(1, 4096).unwrap();
    simulation.add_memory(pool);
    let frame = hypervisor.frame_number(pool.base()).unwrap().0;
    grant(
        simulation,
        20,
        frame,
        GrantFlags::PERMIT_ACCESS,
        DomainId(0),
    );
    let mapping = simulation
        .machine
        .reach()
        .map(DomainId(0), 20, true)
        .unwrap();
    let port = hypervisor.allocate_unbound_port(DomainId::DOM0).unwrap();
    let console = hypervisor.parameter(Parameter::ConsolePort).unwrap();
    let (wall, system) = (simulation.wall_clock(), simulation.system_time());

    let to = Resumption {
        backend: DomainId(2),
        ..Resumption::elsewhere(DomainId(31))
    };
    simulation.set_suspend_script(SuspendScript::Resumed(to));
    assert_eq!(hypervisor.suspend(), Ok(Suspended::Resumed));
    hypervisor.restore().unwrap();
    assert_eq!(
        (simulation.domain(), simulation.backend_domain()),
        (DomainId(31), DomainId(2))
    );
    assert_eq!(flags(simulation, 20), GrantFlags::empty());
    assert!(!simulation.machine.events.is_open(port));
    assert_ne!(
        hypervisor.parameter(Parameter::ConsolePort).unwrap(),
        console
    );
    assert_eq!(
        hypervisor.shared_info().event_mask[0].load(Ordering::Relaxed),
        0
    );
    assert!(simulation.system_time() < system);
    assert_eq!(
        simulation.wall_clock() - wall,
        to.pause + to.wall_clock_ahead
    );
    // The old backend has nothing of the new domain's.
    assert!(simulation.machine.reach().write(&mapping, 0, b"x").is_err());
    assert_eq!(simulation.violations(), []);
    assert_eq!(simulation.suspensions(), 1);
}

#[test]
fn calls_before_restore_are_violations() {
    let simulation = Simulation::new(1);
    let hypervisor = simulation.hypervisor();
    hypervisor.suspend().unwrap();
    let _ = hypervisor.time_stamp_counter();
    let _ = hypervisor.allocate_unbound_port(DomainId::DOM0);
    let _ = hypervisor.shared_info();
    hypervisor.restore().unwrap();
    assert_eq!(
        simulation.violations(),
        ["time_stamp_counter", "allocate_unbound_port", "shared_info"]
            .map(Violation::CallBeforeRestore)
    );
}

#[test]
fn a_cancelled_suspension_changes_nothing() {
    let simulation = Simulation::new(1);
    let hypervisor = simulation.hypervisor();
    simulation.set_suspend_script(SuspendScript::Refused);
    assert_eq!(hypervisor.suspend(), Err(XenError::Invalid));
    simulation.set_suspend_script(SuspendScript::Cancelled);
    let port = hypervisor.allocate_unbound_port(DomainId::DOM0).unwrap();
    let elapsed = simulation.elapsed();
    assert_eq!(hypervisor.suspend(), Ok(Suspended::Cancelled));
    assert!(simulation.machine.events.is_open(port));
    assert_eq!(simulation.elapsed(), elapsed);
    assert_eq!(simulation.suspensions(), 1);
}

#[test]
fn a_hook_runs_at_the_step_that_was_asked_for() {
    let simulation = Simulation::new(1);
    let hypervisor = simulation.hypervisor();
    let at = Rc::new(std::cell::Cell::new(0));
    let seen = at.clone();
    simulation.after_steps(2, move |simulation| seen.set(simulation.steps()));
    for _ in 0..5 {
        let _ = hypervisor.maximum_grant_frames();
    }
    assert_eq!(at.get(), 2);
}

#[test]
fn the_console_takes_what_the_ring_holds_and_gives_what_is_typed() {
    let simulation = Simulation::new(1);
    let hypervisor = simulation.hypervisor();
    mask_all(hypervisor);
    let page = simulation.machine.memory.console_page;
    let port = PortNumber(hypervisor.parameter(Parameter::ConsolePort).unwrap() as u32);
    let mut producer = 0;
    for line in ["one\n", &"x".repeat(2_040), "two\n"] {
        page.write_ring(1_024, 2_048, producer, line.as_bytes());
        producer += line.len() as u32;
        page.write_u32(3_084, producer);
        hypervisor.notify(port).unwrap();
        hypervisor.poll(&[port], None).unwrap();
        hypervisor.shared_info().event_pending[0].store(0, Ordering::Relaxed);
        assert_eq!(page.read_u32(3_080), producer);
    }
    assert_eq!(
        simulation.console().output(),
        ["one\n", &"x".repeat(2_040), "two\n"].concat()
    );

    simulation.console().type_in(&"y".repeat(1_500));
    hypervisor.poll(&[port], None).unwrap();
    assert_eq!(page.read_u32(3_076), 1_024);
    page.write_u32(3_072, 1_000);
    hypervisor.notify(port).unwrap();
    simulation.run_for(Duration::from_millis(1));
    assert_eq!(page.read_u32(3_076), 1_500);

    page.write_u32(3_084, producer + 2_049);
    hypervisor.notify(port).unwrap();
    simulation.run_for(Duration::from_millis(1));
    assert_eq!(
        simulation.violations(),
        [Violation::ConsoleIndices {
            domain: producer + 2_049,
            console: producer
        }]
    );
}

#[test]
fn a_stalled_console_takes_nothing_until_it_goes_again() {
    let simulation = Simulation::new(1);
    let hypervisor = simulation.hypervisor();
    mask_all(hypervisor);
    let page = simulation.machine.memory.console_page;
    let port = simulation.machine.console_port.get();
    simulation.console().set_stalled(true);
    page.write_ring(1_024, 2_048, 0, b"hello");
    page.write_u32(3_084, 5);
    hypervisor.notify(port).unwrap();
    simulation.run_for(Duration::from_secs(1));
    assert_eq!(simulation.console().output(), "");
    simulation.console().set_stalled(false);
    simulation.run_for(Duration::from_secs(1));
    assert_eq!(simulation.console().output(), "hello".to_string());
}

#[test]
fn random_numbers_are_there_absent_or_broken() {
    let simulation = Simulation::new(1);
    let hypervisor = simulation.hypervisor();
    assert_ne!(hypervisor.hardware_random(), hypervisor.hardware_random());
    simulation.force(Fault::NoRandomNow);
    assert_eq!(hypervisor.hardware_random(), None);
    assert!(hypervisor.hardware_random().is_some());
    simulation.set_hardware_random(HardwareRandom::Absent);
    assert_eq!(hypervisor.hardware_random(), None);
    simulation.set_hardware_random(HardwareRandom::Broken);
    assert_eq!(hypervisor.hardware_random(), Some(u64::MAX));
}

#[test]
fn the_toolstack_wrote_the_reserved_entries() {
    let simulation = Simulation::new(1);
    for reference in [GrantReference(0), GrantReference(1)] {
        assert_eq!(flags(simulation, reference.0), GrantFlags::PERMIT_ACCESS);
    }
    assert_eq!(simulation.hypervisor().maximum_grant_frames(), Ok(64));
    // SAFETY: nobody looks at them.
    let entries = |frames| unsafe { simulation.hypervisor().grant_entries(frames) };
    assert!(entries(64).is_ok());
    assert_eq!(entries(65).unwrap_err(), XenError::NoSpace);
}

#[test]
fn a_peer_that_holds_a_page_keeps_its_grant_from_ending() {
    let simulation = Simulation::new(1);
    let pool = Pool::leak(1, 4096).unwrap();
    simulation.add_memory(pool);
    let frame = simulation.hypervisor().frame_number(pool.base()).unwrap().0;
    let (peer, reference) = (simulation.peer(DomainId(9)), GrantReference(30));
    assert!(!peer.can_reach(reference, false));
    grant(
        simulation,
        30,
        frame,
        GrantFlags::PERMIT_ACCESS,
        DomainId(9),
    );
    assert!(peer.can_reach(reference, true));
    peer.hold(reference, true).unwrap();
    peer.hold(reference, false).unwrap();
    assert!(flags(simulation, 30).contains(GrantFlags::READING));
    assert!(!flags(simulation, 30).contains(GrantFlags::WRITING));
    peer.release(reference);
    assert_eq!(flags(simulation, 30), GrantFlags::PERMIT_ACCESS);
    assert_eq!(simulation.violations(), []);
}

#[test]
fn events_go_both_ways_over_either_kind_of_port() {
    let simulation = Simulation::new(1);
    let hypervisor = simulation.hypervisor();
    mask_all(hypervisor);
    let peer = simulation.peer(DomainId(9));
    let allocated = hypervisor.allocate_unbound_port(DomainId(9)).unwrap();
    // Nobody is at the other end yet: an event goes nowhere.
    hypervisor.notify(allocated).unwrap();
    peer.bind(allocated).unwrap();
    peer.offer(PortNumber(77));
    assert_eq!(
        hypervisor.bind_interdomain(DomainId(8), PortNumber(77)),
        Err(XenError::Invalid)
    );
    let bound = hypervisor
        .bind_interdomain(DomainId(9), PortNumber(77))
        .unwrap();
    assert_eq!(
        hypervisor.bind_interdomain(DomainId(9), PortNumber(77)),
        Err(XenError::Invalid)
    );
    for port in [allocated, bound] {
        hypervisor.notify(port).unwrap();
        simulation.run_for(Duration::from_millis(1));
        assert_eq!(peer.take_notified(), 1);
        peer.notify(port);
        hypervisor.poll(&[port], None).unwrap();
        peer.unbind(port);
        hypervisor.notify(port).unwrap();
        simulation.run_for(Duration::from_millis(1));
        assert_eq!(peer.take_notified(), 0);
    }
    assert_eq!(simulation.violations(), []);
}

#[test]
fn a_peer_has_a_turn_when_what_it_watches_changes() {
    let simulation = Simulation::new(1);
    let (peer, store) = (simulation.peer(DomainId(9)), simulation.store());
    peer.watch("/local/domain/5/data/state");
    for path in ["/local/domain/5/data/state", "/local/domain/5/data/state/x"] {
        store.write(path, "1");
        simulation.run_for(Duration::from_millis(1));
        assert_eq!(peer.take_notified(), 1, "{path}");
    }
    store.write("/local/domain/5/data/other", "1");
    simulation.run_for(Duration::from_millis(1));
    assert_eq!(peer.take_notified(), 0);
    store.remove("/local/domain/5/data");
    simulation.run_for(Duration::from_millis(1));
    assert_eq!(peer.take_notified(), 1);
    peer.unwatch();
    store.write("/local/domain/5/data/state", "1");
    simulation.run_for(Duration::from_millis(1));
    assert_eq!(peer.take_notified(), 0);
}
