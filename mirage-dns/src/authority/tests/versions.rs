//! How one version of the zones takes the place of another; what is configured.

use super::*;

#[test]
fn reload_of_the_same_zone_changes_nothing_and_a_change_without_a_new_serial_is_seen() {
    let mut world = World::new();
    world.add(zones(1, ""), primary(None, &[]));
    world.reload(0, zones(1, ""));
    world.settle();
    assert_eq!(world.hosts[0].generation(), 0);
    world.reload(0, zones(1, "a A 192.0.2.2"));
    world.settle();
    assert_eq!(world.hosts[0].generation(), 1);
    assert_eq!(world.query(0, "a.o"), (Rcode::NOERROR, 1));
    assert!(world.hosts[0].states[0].journal.is_empty());
}

#[test]
fn what_no_journal_keeps_is_given_back() {
    let mut world = World::new();
    world.add(zones(1, ""), primary(None, &[]));
    let install = |world: &mut World, zones| {
        world.reload(0, zones);
        let built = build_job(world, 0).run();
        world.hosts[0].handle_built(built, world.now)
    };
    // The same serial: no secondary can ask for what led to it.
    let left = install(&mut world, zones(1, "a A 192.0.2.2"));
    assert_eq!(left.record_count(), 1);
    let left = install(&mut world, zones(2, "b A 192.0.2.3"));
    assert_eq!(left.record_count(), 0);
    assert_eq!(world.hosts[0].states[0].journal.len(), 1);
    // The step before leads nowhere any more.
    let left = install(&mut world, zones(2, ""));
    assert_eq!(left.record_count(), 1 + 2);
}

#[test]
fn reload_leaves_secondary_zones_alone() {
    let mut world = World::new();
    world.add(zones(5, "a A 192.0.2.2"), primary(None, &[]));
    world.add(no_zones(), secondary(None, &[0]));
    world.run(1);
    world.reload(1, zones(9, ""));
    world.settle();
    assert_eq!(world.serial(1), Some(5));
}

/// Of an address with three octets no zone can be made.
fn broken() -> Change {
    let owner = name("a.o");
    let record = RecordBuf::new(owner.as_name(), RecordType::A, 60, &[1, 2, 3]);
    Change::Replace(Arc::new(std::vec![record]))
}

#[test]
fn change_that_cannot_be_made_is_found_with_few_attempts() {
    let mut world = World::new();
    world.add(zones(1, ""), primary(None, &[]));
    let read = Arc::new(zones(2, ""));
    for number in 0..64 {
        let change = match number {
            37 => broken(),
            _ => Change::ReplaceFrom(read.clone()),
        };
        world.hosts[0].change(name("o"), change);
    }
    let built = build_job(&mut world, 0).run();
    let failed = built.changes().iter().map(|change| change.result.is_err());
    let failed: Vec<usize> = failed
        .enumerate()
        .filter_map(|(place, failed)| failed.then_some(place))
        .collect();
    assert_eq!((built.changes().len(), failed), (64, std::vec![37]));
    // All of them, then two halves six times.
    assert_eq!(built.attempts, 13);
}

#[test]
fn change_that_cannot_be_made_fails_alone() {
    let mut world = World::new();
    world.add(zones(1, ""), primary(None, &[]));
    let host = &mut world.hosts[0];
    host.change(name("o"), broken());
    host.change(name("o"), Change::ReplaceFrom(Arc::new(zones(2, ""))));
    world.settle();
    assert_eq!(world.serial(0), Some(2));
    assert_eq!(world.hosts[0].counters().changes_failed, 1);
}

#[test]
fn version_that_could_not_be_stored_is_not_seen() {
    let mut world = World::new();
    world.add(zones(1, ""), primary(None, &[]));
    world.reload(0, zones(2, ""));
    let task = loop {
        match world.hosts[0].poll_task(world.now, &mut world.rng) {
            Some(Task::Build(job)) => break job,
            Some(_) => {}
            None => panic!("nothing to build"),
        }
    };
    let mut built = task.run();
    assert_eq!(built.changes().len(), 1);
    built.discard(&world.hosts[0].zones().clone());
    drop(world.hosts[0].handle_built(built, world.now));
    assert_eq!((world.serial(0), world.hosts[0].generation()), (Some(1), 0));
    assert_eq!(world.hosts[0].counters().changes_failed, 1);
}

#[test]
fn configuration_that_cannot_be_meant_is_refused() {
    let mut rng = Numbers(1);
    let now = World::new().now;
    let mut new = |configs: Vec<ZoneConfig>| {
        let bounds = Bounds::default();
        Authority::new(zones(1, ""), configs, keys(), bounds, now, &mut rng).map(drop)
    };
    let o = || ZoneConfig::new(name("o"));
    assert_eq!(new(std::vec![o()]), Ok(()));
    let unknown = ZoneConfig::new(name("p"));
    assert_eq!(
        new(std::vec![unknown]),
        Err(ConfigError::UnknownZone(Box::new(name("p"))))
    );
    assert_eq!(
        new(std::vec![o(), o()]),
        Err(ConfigError::RepeatedZone(Box::new(name("o"))))
    );
    let config = primary(Some("nobody.example"), &[]);
    let error = ConfigError::UnknownKey(Box::new(name("nobody.example")));
    assert_eq!(new(std::vec![config]), Err(error));
    let twice = std::vec![
        ZoneConfig {
            apex: name("p"),
            ..secondary(None, &[0])
        },
        ZoneConfig {
            apex: name("p"),
            ..secondary(None, &[0])
        },
    ];
    assert_eq!(
        new(twice),
        Err(ConfigError::RepeatedZone(Box::new(name("p"))))
    );
}

/// A secondary with version 1 of the zone, whose primary is cut off until it expires.
fn expiring() -> World {
    let mut world = World::new();
    world.add(zones(1, ""), primary(None, &[1]));
    world.add(no_zones(), secondary(None, &[0]));
    world.settle();
    assert_eq!(world.serial(1), Some(1));
    world
}

/// The next version that a host wants to be made, the other tasks done.
fn build_job(world: &mut World, host: usize) -> BuildJob {
    loop {
        match world.hosts[host].poll_task(world.now, &mut world.rng) {
            Some(Task::Build(job)) => return job,
            Some(task) => world.work(host, task),
            None => panic!("nothing is to be built"),
        }
    }
}

#[test]
fn zone_that_expires_while_its_next_version_is_built_stays() {
    let mut world = expiring();
    world.reload(0, zones(2, ""));
    let job = build_job(&mut world, 0);
    drop(world.hosts[0].handle_built(job.run(), world.now));
    // The notice, the question, the transfer; and then the build takes until the zone has expired.
    while world.hosts[1].states[0].installing.is_none() {
        for host in [0, 1] {
            if let Some(task) = world.hosts[host].poll_task(world.now, &mut world.rng) {
                assert!(!matches!(task, Task::Build(_)));
                world.work(host, task);
            }
        }
        world.now.elapsed += Duration::from_secs(1);
    }
    let job = build_job(&mut world, 1);
    world.now.elapsed += Duration::from_secs(2_000);
    assert!(
        world.hosts[1]
            .poll_task(world.now, &mut world.rng)
            .is_none()
    );
    assert_eq!(world.hosts[1].counters().zones_expired, 1);
    drop(world.hosts[1].handle_built(job.run(), world.now));
    world.settle();
    assert_eq!(world.serial(1), Some(2));
}

#[test]
fn zone_that_expired_goes_although_the_first_attempt_to_take_it_away_failed() {
    let mut world = expiring();
    world.cut_off[0] = true;
    // Not to its end: the zone expires 1,000 seconds after it came.
    world.run(990);
    world.now.elapsed += Duration::from_secs(20);
    let job = build_job(&mut world, 1);
    drop(world.hosts[1].handle_built(job.abandoned(), world.now));
    assert_eq!(world.serial(1), Some(1));
    world.run(60);
    assert_eq!(world.serial(1), None);
}

#[test]
fn file_that_is_read_while_updates_wait_must_be_newer_than_what_they_make() {
    let mut world = World::new();
    world.add(zones(1, ""), updatable("k.example"));
    let ticket = world.later(&addition("new.o", 7));
    world.reload(0, zones(2, "other A 192.0.2.9"));
    world.settle();
    assert_eq!(world.replies(), [(ticket, Rcode::NOERROR)]);
    assert_eq!(world.query(0, "new.o").0, Rcode::NOERROR);
    assert_eq!(world.query(0, "other.o").0, Rcode::NXDOMAIN);
    // One that is newer counts.
    let ticket = world.later(&addition("more.o", 7));
    world.reload(0, zones(4, "other A 192.0.2.9"));
    world.settle();
    assert_eq!(world.replies(), [(ticket, Rcode::NOERROR)]);
    assert_eq!(world.serial(0), Some(4));
}
