//! Dynamic updates.

use super::*;

#[test]
fn update_is_answered_when_it_is_seen_and_reaches_the_secondary() {
    let mut world = World::new();
    world.add(zones(1, ""), updatable("k.example"));
    world.add(no_zones(), secondary(None, &[0]));
    world.run(1);
    let ticket = world.later(&addition("new.o", 9));
    assert_eq!(world.replies(), []);
    assert_eq!(world.query(0, "new.o").0, Rcode::NXDOMAIN);
    world.settle();
    assert_eq!(world.replies(), [(ticket, Rcode::NOERROR)]);
    for host in [0, 1] {
        assert_eq!(world.query(host, "new.o"), (Rcode::NOERROR, 1));
        assert_eq!(world.serial(host), Some(2));
    }
    assert_eq!(world.log.last().unwrap(), "0 gives 1 IXFR");
}

#[test]
fn answer_to_an_update_is_signed_with_its_key() {
    let mut world = World::new();
    world.add(zones(1, ""), updatable("k.example"));
    let key = Key::from_text(KEY).unwrap();
    let mut request = addition("new.o", 9);
    let length = request.len();
    request.resize(1_024, 0);
    let (length, signed) = sign_request(&key, &mut request, length, world.now.unix).unwrap();
    let answers = world.ask(0, address(0), Transport::Udp, &request[..length]);
    assert!(answers.is_empty());
    world.settle();
    let mut reply = world.hosts[0].poll_reply().unwrap().octets;
    let length = signed.verify_answer(&mut reply, world.now.unix).unwrap();
    assert_eq!(rcode(&[reply[..length].to_vec()]), Rcode::NOERROR);
}

#[test]
fn updates_that_come_together_are_built_together_and_see_each_other() {
    let mut world = World::new();
    world.add(zones(1, ""), updatable("k.example"));
    let tickets: Vec<_> = (0..20)
        .map(|n| world.later(&addition(&format!("new{n}.o"), n)))
        .collect();
    // The same again changes nothing, and is answered when what it rests on is there.
    let again = world.later(&addition("new3.o", 3));
    world.settle();
    let replies = world.replies();
    assert_eq!(replies.len(), 21);
    assert!(replies.iter().all(|(_, rcode)| *rcode == Rcode::NOERROR));
    assert_eq!(replies.last().unwrap().0, again);
    assert_eq!(replies[0].0, tickets[0]);
    assert_eq!(
        (world.serial(0), world.hosts[0].generation()),
        (Some(21), 1)
    );
    assert_eq!(world.query(0, "new19.o"), (Rcode::NOERROR, 1));
}

#[test]
fn update_that_changes_nothing_is_answered_at_once() {
    let mut world = World::new();
    world.add(zones(1, "a A 192.0.2.9"), updatable("k.example"));
    let handled = world.update(&addition("a.o", 9), Some(KEY));
    assert!(matches!(handled, Handled::Answer(_)), "{handled:?}");
    assert_eq!(world.log, ["NOERROR"]);
}

#[test]
fn updates_of_who_may_not_are_refused_and_nothing_is_told() {
    let mut world = World::new();
    world.add(zones(1, ""), updatable("k.example"));
    world.update(&addition("new.o", 9), None);
    world.update(&addition("new.o", 9), Some(OTHER_KEY));
    let wrong = "hmac-sha256:k.example:d3Jvbmcgc2VjcmV0";
    world.update(&addition("new.o", 9), Some(wrong));
    assert_eq!(world.log, ["REFUSED", "REFUSED", "NOTAUTH"]);
    world.settle();
    assert_eq!(world.serial(0), Some(1));
}

#[test]
fn update_of_a_secondary_zone_is_not_implemented() {
    let mut world = World::new();
    let config = ZoneConfig {
        primaries: std::vec![peer(1, None)],
        ..updatable("k.example")
    };
    world.add(zones(1, ""), config);
    world.update(&addition("new.o", 9), Some(KEY));
    assert_eq!(world.log, ["NOTIMP"]);
}

#[test]
fn updates_that_were_not_stored_fail_and_later_ones_start_anew() {
    let mut world = World::new();
    world.add(zones(1, ""), updatable("k.example"));
    let first = world.later(&addition("first.o", 1));
    let job = loop {
        match world.hosts[0].poll_task(world.now, &mut world.rng) {
            Some(Task::Build(job)) => break job,
            Some(_) => {}
            None => panic!("nothing to build"),
        }
    };
    let second = world.later(&addition("second.o", 2));
    let base = job.base().clone();
    let mut built = job.run();
    built.discard(&base);
    drop(world.hosts[0].handle_built(built, world.now));
    world.settle();
    let failed = [(first, Rcode::SERVFAIL), (second, Rcode::SERVFAIL)];
    assert_eq!(world.replies(), failed);
    let third = world.later(&addition("third.o", 3));
    world.settle();
    assert_eq!(world.replies(), [(third, Rcode::NOERROR)]);
    assert_eq!(world.serial(0), Some(2));
    assert_eq!(world.query(0, "second.o").0, Rcode::NXDOMAIN);
}

#[test]
fn more_updates_than_may_wait_are_turned_away() {
    let mut world = World::new();
    world.add(zones(1, ""), updatable("k.example"));
    world.hosts[0].bounds.updates = 2;
    world.later(&addition("a.o", 1));
    world.later(&addition("b.o", 1));
    world.update(&addition("c.o", 1), Some(KEY));
    assert_eq!(world.log, ["SERVFAIL"]);
}

#[test]
fn file_of_an_updated_zone_counts_when_it_is_newer() {
    let mut world = World::new();
    world.add(zones(5, ""), updatable("k.example"));
    world.later(&addition("new.o", 9));
    world.settle();
    assert_eq!(world.serial(0), Some(6));
    for serial in [5, 6] {
        world.reload(0, zones(serial, "file A 192.0.2.1"));
        world.settle();
        assert_eq!(world.query(0, "new.o"), (Rcode::NOERROR, 1));
    }
    world.reload(0, zones(7, "file A 192.0.2.1"));
    // As long as it is not built, nobody can say what an update would change.
    world.update(&addition("late.o", 9), Some(KEY));
    assert_eq!(world.log.last().unwrap(), "SERVFAIL");
    world.settle();
    assert_eq!(world.query(0, "file.o"), (Rcode::NOERROR, 1));
    assert_eq!(world.query(0, "new.o").0, Rcode::NXDOMAIN);
    world.later(&addition("late.o", 9));
}
