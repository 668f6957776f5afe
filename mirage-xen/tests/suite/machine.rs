//! A domain that is put together as an image's is, on the simulated hypervisor.

use std::time::Duration;

use mirage_core::doubles::Packet;
use mirage_core::{
    Checksum, FrameMetadata, MacAddress, Netif, Pool, Segmentation, SegmentationKind,
};
use mirage_xen::abi::shutdown::ShutdownReason;
use mirage_xen::entropy::{EntropyError, SEED_KEY};
use mirage_xen::machine::{Machine, MachineError, News};
use mirage_xen::platform::XenUnparker;
use mirage_xen::simulated::{
    HardwareRandom, Resumption, SimulatedHypervisor, Simulation, SimulationConfig, SuspendScript,
    VifConfig,
};
use mirage_xen::{DomainId, Hypervisor};

const MAC: MacAddress = MacAddress([0x00, 0x16, 0x3E, 0, 0, 7]);

type Domain = &'static Machine<SimulatedHypervisor>;

fn domain(simulation: Simulation) -> Domain {
    domain_with(simulation, 256)
}

/// A domain with so many I/O pages.
fn domain_with(simulation: Simulation, pages: usize) -> Domain {
    let pool = Pool::leak(pages, 4_096).unwrap();
    simulation.add_memory(pool);
    let unparker: &'static XenUnparker = Box::leak(Box::new(XenUnparker::new()));
    Machine::leak(simulation.hypervisor(), pool, unparker, None).unwrap()
}

fn without_hardware(seed: u64) -> Simulation {
    let mut config = SimulationConfig::new(seed);
    config.hardware_random = HardwareRandom::Absent;
    Simulation::with_config(config)
}

fn seed_path(simulation: Simulation) -> String {
    format!("{}/{SEED_KEY}", simulation.store().domain_path())
}

#[test]
fn the_network_is_up_within_15_round_trips_and_the_toolstack_ends_it() {
    let simulation = Simulation::new(1);
    let netback = simulation.add_vif(VifConfig::new(MAC));
    let machine = domain(simulation);
    machine.executor().run_until(async {
        let netfront = machine.network().await.unwrap();
        machine.rng().await.unwrap();
        assert_eq!(netfront.mac(), MAC);
        assert!(netback.is_connected());
        let trips = machine.store().counters().round_trips;
        assert!(trips <= 15, "{trips} round trips");
        // Once: the same device, whoever asks.
        let again = machine.network().await.unwrap();
        assert!(core::ptr::eq(netfront, again));
        for (command, reason) in [
            ("reboot", ShutdownReason::Reboot),
            ("halt", ShutdownReason::PowerOff),
            ("poweroff", ShutdownReason::PowerOff),
        ] {
            simulation.control(command);
            assert_eq!(machine.news().await, News::End(reason), "{command}");
        }
        // One that isn't known is read and nothing more; a crash is one.
        simulation.control("fly");
        simulation.control("crash");
        machine.executor().sleep(Duration::from_secs(1)).await;
        assert_eq!(simulation.shutdown_reason(), Some(ShutdownReason::Crash));
    });
    assert_eq!(simulation.violations(), []);
}

/// A backend whose ring has no room for more of them waits until the domain has run, and then the domain for it.
#[test]
fn fifteen_long_frames_are_under_way_to_a_domain_with_pages_for_them() {
    for (pages, posted, frames) in [
        (160, 64, 3),
        (512, 128, 7),
        (1_024, 256, 15),
        (2_048, 256, 15),
    ] {
        let simulation = Simulation::new(6);
        let netback = simulation.add_vif(VifConfig::new(MAC));
        let machine = domain_with(simulation, pages);
        let netfront = machine.executor().run_until(machine.network()).unwrap();
        assert_eq!(netfront.posted(), posted);
        for _ in 0..20 {
            netback.send(long_frame());
        }
        // Nobody takes any.
        simulation.run_for(Duration::from_millis(10));
        assert_eq!(20 - netback.waiting(), frames, "with {pages} pages");
        assert_eq!(simulation.violations(), []);
    }
}

/// TCP of 64 KiB over IPv4, which the backend doesn't cut.
fn long_frame() -> Packet {
    let mut bytes = vec![0; 65_226];
    bytes[..6].copy_from_slice(&MAC.0);
    bytes[12] = 8;
    bytes[14] = 0x45;
    bytes[16..18].copy_from_slice(&(65_226_u16 - 14).to_be_bytes());
    bytes[23] = 6;
    bytes[46] = 0x50;
    Packet {
        bytes,
        metadata: FrameMetadata {
            checksum: Checksum::Partial {
                start: 34,
                offset: 16,
            },
            segmentation: Some(Segmentation {
                size: 1_448,
                kind: SegmentationKind::TcpV4,
                header_len: 0,
            }),
        },
    }
}

#[test]
fn a_domain_without_a_network_device_says_so() {
    let simulation = Simulation::new(2);
    let machine = domain(simulation);
    let result = machine
        .executor()
        .run_until(async { machine.network().await.map(|_| ()) });
    assert_eq!(result, Err(MachineError::NoNetwork));
    assert_eq!(simulation.violations(), []);
}

#[test]
fn it_is_told_of_a_resume_and_not_of_a_cancelled_suspension() {
    let simulation = Simulation::new(3);
    let netback = simulation.add_vif(VifConfig::new(MAC));
    let machine = domain(simulation);
    machine.executor().run_until(async {
        let netfront = machine.network().await.unwrap();
        machine.rng().await.unwrap();
        simulation.set_suspend_script(SuspendScript::Cancelled);
        simulation.control("suspend");
        machine.executor().sleep(Duration::from_secs(1)).await;
        assert_eq!(machine.suspender().counters().cancelled, 1);
        assert!(netfront.link_up());

        for number in 20..23 {
            let resumption = Resumption::elsewhere(DomainId(number));
            simulation.set_suspend_script(SuspendScript::Resumed(resumption));
            let before = machine.uptime();
            let was = simulation.domain();
            simulation.control("suspend");
            assert_eq!(machine.news().await, News::Resumed);
            assert_ne!(simulation.domain(), was);
            assert!(machine.uptime() >= before);
            machine.rng().await.unwrap();
            machine.executor().sleep(Duration::from_secs(1)).await;
            assert!(netfront.link_up() && netback.is_connected());
        }
        assert_eq!(machine.suspender().counters().resumed, 3);
    });
    assert_eq!(simulation.violations(), []);
}

#[test]
fn without_hardware_a_seed_is_taken_once_and_a_restored_domain_waits_for_another() {
    let simulation = without_hardware(4);
    let machine = domain(simulation);
    machine.executor().run_until(async {
        let none = machine.rng().await.map(|_| ());
        assert_eq!(none, Err(MachineError::Entropy(EntropyError::NoSource)));

        simulation
            .store()
            .write(&seed_path(simulation), "0123456789abcdef".repeat(4));
        machine.rng().await.unwrap();
        // It is nobody else's.
        assert_eq!(simulation.store().read(&seed_path(simulation)), None);

        let resumption = Resumption::elsewhere(DomainId(20));
        simulation.set_suspend_script(SuspendScript::Resumed(resumption));
        simulation.control("suspend");
        assert_eq!(machine.news().await, News::Resumed);
        let waited = machine
            .executor()
            .timeout(Duration::from_secs(60), machine.rng())
            .await;
        assert!(waited.is_err(), "numbers without new entropy");
        simulation
            .store()
            .write(&seed_path(simulation), "fedcba9876543210".repeat(4));
        machine.rng().await.unwrap();
    });
    assert_eq!(simulation.violations(), []);
}

#[test]
fn a_suspension_that_is_refused_leaves_the_domain_as_it_was() {
    let simulation = Simulation::new(5);
    simulation.add_vif(VifConfig::new(MAC));
    let machine = domain(simulation);
    machine.executor().run_until(async {
        let netfront = machine.network().await.unwrap();
        simulation.set_suspend_script(SuspendScript::Refused);
        simulation.control("suspend");
        machine.executor().sleep(Duration::from_secs(1)).await;
        assert_eq!(machine.suspender().counters().refused, 1);
        assert!(netfront.link_up());
        assert_eq!(simulation.shutdown_reason(), None);
        assert!(machine.hypervisor().time_stamp_counter() > 0);
    });
    assert_eq!(simulation.violations(), []);
}
