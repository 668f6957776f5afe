//! The clock and the random source on the simulated hypervisor: other machines, updates in the middle of a reading, corrections,
//! processors without random numbers.

use std::time::Duration;

use mirage_core::doubles::Chance;
use mirage_core::{Clock, Instant};
use mirage_xen::clock::XenClock;
use mirage_xen::entropy::{EntropyError, XenRng};
use mirage_xen::simulated::{
    Fault, Faults, HardwareRandom, Resumption, Simulation, SimulationConfig, SuspendScript,
};
use mirage_xen::suspend::Suspender;
use mirage_xen::{DomainId, Hypervisor};
use proptest::prelude::*;
use rand_core::TryRng;

/// What Xen's corrections make of the difference of two readings, and the scale's rounding, in nanoseconds.
const ERROR: i128 = 2_200;

fn nanos(duration: Duration) -> i128 {
    i128::try_from(duration.as_nanos()).unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn time_is_right_and_never_goes_back(
        seed in any::<u64>(),
        frequencies in proptest::collection::vec(200_000_000u64..6_000_000_000, 1..5),
        system_time in 0u64..1 << 45,
        readings in 1u32..100,
    ) {
        let mut config = SimulationConfig::new(seed);
        config.hertz = frequencies[0];
        config.faults = Faults::NONE
            .with(Fault::ClockUpdate, Chance::percent(40))
            .with(Fault::ClockBack, Chance::percent(40));
        let simulation = Simulation::with_config(config);
        let hypervisor = simulation.hypervisor();
        let clock = XenClock::leak(hypervisor);
        let suspender = Suspender::leak(hypervisor);
        suspender.add(clock).unwrap();
        let mut latest = Instant::ZERO;
        // By how much our time is ahead of the machine's.
        let mut ahead = 0;
        for (life, hertz) in (1u16..).zip(&frequencies) {
            for reading in 0..readings {
                let before = nanos(simulation.system_time()) + ahead;
                let now = clock.now();
                let after = nanos(simulation.system_time()) + ahead;
                prop_assert!(now >= latest);
                latest = now;
                let now = i128::from(now.as_nanos());
                prop_assert!((before - ERROR..=after + ERROR).contains(&now), "{before} {now} {after}");
                let wall = clock.wall().unwrap();
                prop_assert!(nanos(wall.abs_diff(simulation.wall_clock())) <= ERROR);
                // The deadline is told in this machine's system time.
                let due = latest + Duration::from_nanos(u64::from(reading) * 1_234_567);
                hypervisor.poll(&[], Some(clock.deadline(due))).unwrap();
                let late = nanos(simulation.system_time()) + ahead - i128::from(due.as_nanos());
                prop_assert!((-ERROR..=ERROR).contains(&late), "{late}");
            }
            let before = clock.now();
            let mut to = Resumption::elsewhere(DomainId(10 + life));
            to.hertz = *hertz;
            to.system_time = Duration::from_nanos(system_time / u64::from(life));
            to.time_stamp_counter = seed >> 20;
            simulation.set_suspend_script(SuspendScript::Resumed(to));
            suspender.suspend().unwrap();
            ahead = i128::from(clock.now().as_nanos()) - nanos(simulation.system_time());
            // A second passed outside, and nothing of it inside.
            let passed = clock.now() - before;
            prop_assert!(nanos(passed) <= ERROR, "{passed:?}");
        }
        prop_assert_eq!(simulation.violations(), []);
    }
}

#[test]
fn a_processor_that_gives_nothing_now_and_then_is_a_source() {
    let mut config = SimulationConfig::new(3);
    config.faults = Faults::NONE.with(Fault::NoRandomNow, Chance::percent(50));
    for seed in 0..50 {
        config.seed = seed;
        let simulation = Simulation::with_config(config.clone());
        let mut rng: &XenRng<_> = XenRng::leak(simulation.hypervisor(), None).unwrap();
        assert!(rng.try_next_u64().is_ok());
    }
}

#[test]
fn without_a_source_a_resumed_domain_draws_nothing_before_it_has_a_seed() {
    let mut config = SimulationConfig::new(3);
    config.hardware_random = HardwareRandom::Absent;
    let simulation = Simulation::with_config(config);
    let hypervisor = simulation.hypervisor();
    let refused = XenRng::leak(hypervisor, None).unwrap_err();
    assert_eq!(refused, EntropyError::NoSource);
    let seed = b"a seed of 32 bytes or more, given";
    let mut rng: &XenRng<_> = XenRng::leak(hypervisor, Some(seed)).unwrap();
    let suspender = Suspender::leak(hypervisor);
    suspender.add(rng).unwrap();
    suspender.suspend().unwrap();
    assert_eq!(rng.try_next_u32(), Err(EntropyError::NotReseeded));
    // On a machine whose processor repeats itself it has to wait, too.
    simulation.set_hardware_random(HardwareRandom::Broken);
    suspender.suspend().unwrap();
    assert_eq!(rng.try_next_u32(), Err(EntropyError::NotReseeded));
    assert_eq!(rng.reseed(None), Err(EntropyError::Repeating));
    rng.reseed(Some(seed)).unwrap();
    assert!(rng.try_next_u32().is_ok());
    // On a good one it has not.
    simulation.set_hardware_random(HardwareRandom::Present);
    suspender.suspend().unwrap();
    assert!(rng.try_next_u32().is_ok());
    assert_eq!(simulation.violations(), []);
}
