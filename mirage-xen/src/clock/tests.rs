use super::*;
use crate::abi::shared_info::SharedInfo;
use crate::testing::TestHypervisor;

/// A counter of 1 GHz, at the system time.
fn clock(system: u64) -> (&'static TestHypervisor, &'static XenClock<TestHypervisor>) {
    let hypervisor = TestHypervisor::leak();
    set(hypervisor, system);
    (hypervisor, XenClock::leak(hypervisor))
}

fn set(hypervisor: &TestHypervisor, system: u64) {
    let time = &hypervisor.shared_info().vcpu_info[0].time;
    time.tsc_timestamp
        .store(hypervisor.tsc.get(), Ordering::Relaxed);
    time.system_time.store(system, Ordering::Relaxed);
    time.tsc_to_system_multiplier
        .store(1 << 31, Ordering::Relaxed);
    time.tsc_shift.store(1, Ordering::Relaxed);
    time.version.store(2, Ordering::Relaxed);
}

fn pass(hypervisor: &TestHypervisor, nanos: u64) {
    hypervisor.tsc.set(hypervisor.tsc.get() + nanos);
}

fn set_wall(page: &SharedInfo, seconds: u64, nanoseconds: u32) {
    page.wall_clock_seconds
        .store(seconds as u32, Ordering::Relaxed);
    let high = (seconds >> 32) as u32;
    page.wall_clock_seconds_high.store(high, Ordering::Relaxed);
    page.wall_clock_nanoseconds
        .store(nanoseconds, Ordering::Relaxed);
}

#[test]
fn the_clock_goes_on_with_the_counter() {
    let (hypervisor, clock) = clock(5_000);
    assert_eq!(clock.now(), Instant::from_nanos(5_000));
    pass(hypervisor, 1_234);
    assert_eq!(clock.now(), Instant::from_nanos(6_234));
    assert_eq!(clock.system_time(), Some(6_234));
}

#[test]
fn time_never_goes_back() {
    let (hypervisor, clock) = clock(5_000);
    pass(hypervisor, 1_000);
    let before = clock.now();
    // Xen corrects itself by 300 ns; the counter is read ahead of it.
    set(hypervisor, 5_700);
    assert_eq!(clock.now(), before);
    pass(hypervisor, 299);
    assert_eq!(clock.now(), before);
    pass(hypervisor, 2);
    assert_eq!(clock.now(), Instant::from_nanos(6_001));
    assert_eq!(clock.counters().set_back, 2);
}

#[test]
fn a_reading_during_a_write_begins_again() {
    let version = AtomicU32::new(6);
    let tries = Cell::new(0);
    let found = read(&version, || {
        tries.set(tries.get() + 1);
        if tries.get() < 3 {
            // Xen writes once more while we look.
            version.fetch_add(2, Ordering::Relaxed);
        }
        tries.get()
    });
    assert_eq!(found, Some(3));
    version.store(7, Ordering::Relaxed);
    assert_eq!(read(&version, || ()), None);
    version.store(u32::MAX - 1, Ordering::Relaxed);
    assert_eq!(read(&version, || ()), Some(()));
}

#[test]
fn a_xen_that_shows_no_time_stops_the_clock_but_not_the_program() {
    let (hypervisor, clock) = clock(5_000);
    let before = clock.now();
    pass(hypervisor, 1_000);
    let time = &hypervisor.shared_info().vcpu_info[0].time;
    time.version.store(3, Ordering::Relaxed);
    assert_eq!(clock.now(), before);
    time.version.store(4, Ordering::Relaxed);
    time.tsc_to_system_multiplier.store(0, Ordering::Relaxed);
    assert_eq!((clock.now(), clock.system_time()), (before, None));
    assert_eq!(clock.counters().unreadable, 2);
    assert!(clock.resumed().is_err());
}

#[test]
fn the_time_goes_on_from_where_it_was_whatever_the_new_machines_is() {
    for (old, new) in [
        (1_000_000_000_000, 77),
        (77, 1_000_000_000_000),
        (5_000, 5_000),
        (u64::MAX / 4, 1),
    ] {
        let (hypervisor, clock) = clock(old);
        pass(hypervisor, 10);
        clock.prepare();
        let before = clock.now();
        // Another counter, too.
        hypervisor.tsc.set(1 << 40);
        set(hypervisor, new);
        pass(hypervisor, 30);
        clock.resumed().unwrap();
        assert_eq!(clock.now(), before);
        pass(hypervisor, 500);
        assert_eq!(clock.now(), Instant::from_nanos(old + 510));
        // A timer that had 2 µs left has them still.
        let due = Instant::from_nanos(old + 2_510);
        assert_eq!(clock.deadline(due), new + 2_530);
        // And once more.
        clock.prepare();
        hypervisor.tsc.set(3);
        set(hypervisor, 1_000);
        clock.resumed().unwrap();
        assert_eq!(clock.now(), Instant::from_nanos(old + 510));
        assert_eq!(clock.deadline(due), 3_000);
    }
}

#[test]
fn a_deadline_is_never_none_and_never_past_for_being_far() {
    let (hypervisor, clock) = clock(1_000_000);
    let far = i64::MAX as u64;
    assert_eq!(clock.deadline(Instant::ZERO), 1);
    assert_eq!(clock.deadline(Instant::FAR_FUTURE), far);
    assert_eq!(clock.deadline(Instant::from_nanos(5)), 5);
    clock.prepare();
    set(hypervisor, 1_000);
    clock.resumed().unwrap();
    assert_eq!(clock.deadline(Instant::from_nanos(5)), 1);
    assert_eq!(clock.deadline(Instant::from_nanos(1_000_000)), 1_000);
    assert_eq!(clock.deadline(Instant::FAR_FUTURE), far);
    clock.prepare();
    set(hypervisor, far / 2);
    clock.resumed().unwrap();
    assert_eq!(clock.deadline(Instant::FAR_FUTURE), far);
}

#[test]
fn the_wall_clock_is_the_machines() {
    let (hypervisor, clock) = clock(2_500_000_000);
    assert_eq!(clock.wall(), None, "nobody set it");
    let page = hypervisor.shared_info();
    // After 2106 the seconds need their high half.
    set_wall(page, (1 << 32) + 10, 600_000_000);
    let expected = Duration::new((1 << 32) + 13, 100_000_000);
    assert_eq!(clock.wall(), Some(expected));
    page.wall_clock_version.store(1, Ordering::Relaxed);
    assert_eq!(clock.wall(), None);
    page.wall_clock_version.store(2, Ordering::Relaxed);
    // The new machine's, though our own time goes on.
    clock.prepare();
    set(hypervisor, 1_000_000_000);
    set_wall(page, 99, 0);
    clock.resumed().unwrap();
    assert_eq!(clock.wall(), Some(Duration::from_secs(100)));
    set_wall(page, u64::MAX, u32::MAX);
    assert_eq!(clock.wall(), None);
}
