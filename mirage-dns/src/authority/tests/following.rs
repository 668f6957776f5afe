//! Secondaries that follow their primaries: differences, refresh, notices, other primaries, conversations.

use super::*;
use crate::tsig::{AnswerError, TsigError};

#[test]
fn secondary_fetches_the_zone_and_follows_it_by_notices() {
    for key in [None, Some("k.example")] {
        let mut world = World::new();
        world.add(zones(1, "a A 192.0.2.2"), primary(key, &[1]));
        world.add(no_zones(), secondary(key, &[0]));
        assert_eq!(world.query(1, "a.o").0, Rcode::SERVFAIL);
        world.settle();
        assert_eq!(world.serial(1), Some(1));
        assert_eq!(world.query(1, "a.o"), (Rcode::NOERROR, 1));
        world.reload(0, zones(2, "b A 192.0.2.3"));
        world.run(1);
        assert_eq!(world.serial(1), Some(2), "{:?}", world.log);
        assert_eq!(world.query(1, "a.o").0, Rcode::NXDOMAIN);
        assert_eq!(world.query(1, "b.o"), (Rcode::NOERROR, 1));
        assert_eq!(world.log, ["0 gives 1 AXFR", "0 gives 1 IXFR"]);
    }
}

#[test]
fn secondary_of_a_secondary_gets_differences_too() {
    let mut world = World::new();
    world.add(zones(1, ""), primary(None, &[1]));
    let middle = ZoneConfig {
        primaries: std::vec![peer(0, None)],
        ..primary(None, &[2])
    };
    world.add(no_zones(), middle);
    world.add(no_zones(), secondary(None, &[1]));
    world.run(10);
    assert_eq!(world.serial(2), Some(1));
    world.reload(0, zones(2, "b A 192.0.2.3"));
    world.run(1);
    assert_eq!(world.serial(2), Some(2));
    assert_eq!(world.log.last().unwrap(), "1 gives 2 IXFR");
}

#[test]
fn lost_notices_are_sent_again_and_lost_for_good_are_made_up_for_by_the_refresh() {
    let mut world = World::new();
    world.add(zones(1, ""), primary(None, &[1]));
    world.add(no_zones(), secondary(None, &[0]));
    world.run(200);
    world.loss = 60;
    world.reload(0, zones(2, ""));
    world.run(60);
    assert_eq!(world.serial(1), Some(2));
    assert!(world.hosts[0].counters().notices_sent > 2);
    world.cut_off[1] = true;
    world.reload(0, zones(3, ""));
    world.run(150);
    assert_eq!(world.serial(1), Some(2));
    (world.cut_off[1], world.loss) = (false, 0);
    world.run(110);
    assert_eq!(world.serial(1), Some(3));
}

#[test]
fn secondary_goes_to_its_other_primary() {
    let mut world = World::new();
    world.add(zones(1, ""), primary(None, &[]));
    world.add(zones(1, ""), primary(None, &[]));
    world.add(no_zones(), secondary(None, &[0, 1]));
    world.cut_off[0] = true;
    world.run(5);
    assert_eq!(world.serial(2), Some(1));
    assert_eq!(world.log, ["1 gives 2 AXFR"]);
}

#[test]
fn zone_expires_and_comes_back() {
    let mut world = World::new();
    world.add(zones(1, "a A 192.0.2.2"), primary(None, &[]));
    world.add(no_zones(), secondary(None, &[0]));
    world.run(50);
    world.cut_off[0] = true;
    world.run(900);
    assert_eq!(world.query(1, "a.o"), (Rcode::NOERROR, 1));
    world.run(200);
    assert_eq!(world.query(1, "a.o").0, Rcode::SERVFAIL);
    assert_eq!(world.hosts[1].counters().zones_expired, 1);
    world.cut_off[0] = false;
    world.run(600);
    assert_eq!(world.query(1, "a.o"), (Rcode::NOERROR, 1));
}

#[test]
fn primary_that_gives_whole_zones_alone_is_asked_for_one() {
    let mut world = World::new();
    world.add(zones(1, ""), primary(None, &[1]));
    world.add(no_zones(), secondary(None, &[0]));
    world.run(1);
    // A journal that reaches nowhere.
    world.hosts[0].states[0].journal = Journal::new(0);
    world.reload(0, zones(2, "b A 192.0.2.3"));
    world.run(1);
    assert_eq!(world.serial(1), Some(2));
    assert_eq!(world.log, ["0 gives 1 AXFR", "0 gives 1 AXFR"]);
}

#[test]
fn answers_that_are_not_signed_as_they_must_be_are_not_used() {
    let mut world = World::new();
    world.add(zones(1, ""), primary(None, &[]));
    world.add(no_zones(), secondary(Some("k.example"), &[0]));
    // The primary does not know the key: it answers, and says so.
    world.hosts[0].verifier = RequestVerifier::new(KeyRing::EMPTY);
    world.run(30);
    assert_eq!(world.serial(1), None);
    assert!(world.hosts[1].counters().transfers_failed > 1);
}

#[test]
fn serial_whose_answer_is_truncated_is_asked_for_over_tcp() {
    let long = |first: &str| {
        let label = "x".repeat(63);
        format!("{first}.{label}.{label}.{label}.{}", "y".repeat(57))
    };
    let names = format!("{} {}", long("m"), long("r"));
    for key in [None, Some("k.example")] {
        let mut world = World::new();
        // It tells nobody: what is new is found when the zone is refreshed.
        world.add(zones_with(&names, 1, ""), primary(key, &[]));
        world.add(no_zones(), secondary(key, &[0]));
        world.run(10);
        assert_eq!(world.serial(1), Some(1));
        world.reload(0, zones_with(&names, 2, ""));
        world.run(110);
        assert_eq!(world.serial(1), Some(2), "{:?}", world.log);
        // Nor does the zone expire.
        world.run(2_000);
        assert_eq!(world.hosts[1].counters().zones_expired, 0);
    }
}

/// The question of host 1 for the serial of its zone, which host 0 has, some time after the last one.
fn question(world: &mut World) -> SoaQuery<'static> {
    world.now.elapsed += Duration::from_secs(100);
    world.now.unix += 100;
    match world.hosts[1].poll_task(world.now, &mut world.rng) {
        Some(Task::QuerySoa(query)) => query,
        other => panic!("{other:?}"),
    }
}

#[test]
fn answer_about_the_serial_says_what_is_wrong_with_it() {
    let key = Some("k.example");
    let mut world = World::new();
    world.add(zones(1, ""), primary(key, &[]));
    world.add(no_zones(), secondary(key, &[0]));
    world.settle();
    let ask = |world: &mut World, query: &SoaQuery<'_>| {
        let request = query.message().to_vec();
        let answers = world.ask(1, query.server(), Transport::Udp, &request);
        answers.into_iter().next().unwrap()
    };

    let query = question(&mut world);
    let mut answer = ask(&mut world, &query);
    let unix = world.now.unix;
    let accepted = query.accept(&mut answer.clone(), unix);
    assert_eq!(accepted, Ok(SoaAnswer::Serial(1)));
    // It was signed, but not now.
    let accepted = query.accept(&mut answer.clone(), unix + 1_000);
    assert_eq!(accepted, Ok(SoaAnswer::Rejected(AnswerError::BadTime)));
    // It was changed on its way: another one may come.
    answer[20] ^= 1;
    let accepted = query.accept(&mut answer, unix);
    let refused = NoAnswer::Signature(AnswerError::BadSignature);
    assert_eq!(accepted, Err(refused));
    world.hosts[1].handle_soa(&query, None, world.now);

    // The primary's clock is wrong, and it says so.
    let query = question(&mut world);
    let unix = world.now.unix;
    world.now.unix += 1_000;
    let mut answer = ask(&mut world, &query);
    world.now.unix = unix;
    let accepted = query.accept(&mut answer, unix);
    let rejected = AnswerError::ServerTime(unix + 1_000);
    assert_eq!(accepted, Ok(SoaAnswer::Rejected(rejected)));
    world.hosts[1].handle_soa(&query, None, world.now);

    // It does not know the key, and says so without a signature, as anybody could.
    let query = question(&mut world);
    world.hosts[0].verifier = RequestVerifier::new(KeyRing::EMPTY);
    let mut answer = ask(&mut world, &query);
    let alleged = NoAnswer::Signature(AnswerError::Alleged(TsigError::BADKEY));
    assert_eq!(query.accept(&mut answer, unix), Err(alleged));
}

#[test]
fn answer_without_authority_is_no_sign_of_life() {
    let mut world = World::new();
    world.add(zones(1, ""), primary(None, &[]));
    world.add(no_zones(), secondary(None, &[0]));
    world.settle();
    let query = question(&mut world);
    let request = query.message().to_vec();
    let mut answer = world.ask(1, query.server(), Transport::Udp, &request);
    let unix = world.now.unix;
    let accepted = query.accept(&mut answer[0].clone(), unix);
    assert_eq!(accepted, Ok(SoaAnswer::Serial(1)));
    answer[0][2] &= !0x04; // AA, of RFC 1035 §4.1.1
    let accepted = query.accept(&mut answer[0], unix);
    assert_eq!(accepted, Ok(SoaAnswer::NotAuthoritative));
    // Another message's answer is none to this question.
    answer[0][1] ^= 1;
    let other = NoAnswer::Reply(crate::client::ReplyError::OtherId);
    assert_eq!(query.accept(&mut answer[0], unix), Err(other));
}

/// An authority for many secondary zones, `z0.` and so on, of which no primary answers.
fn many_zones(count: usize, conversations: usize) -> Authority<'static> {
    let configs = (0..count).map(|number| ZoneConfig {
        primaries: alloc::vec![peer(1, None)],
        ..ZoneConfig::new(name(&format!("z{number}")))
    });
    let bounds = Bounds {
        conversations,
        ..Bounds::default()
    };
    let (configs, world) = (configs.collect(), World::new());
    let (now, mut rng) = (world.now, world.rng);
    Authority::new(no_zones(), configs, &[], bounds, now, &mut rng).unwrap()
}

#[test]
fn zones_whose_primaries_are_silent_wait_for_each_other_and_all_have_their_turn() {
    let mut world = World::new();
    let mut authority = many_zones(10, 3);
    let mut asked = Vec::new();
    for _ in 0..4 {
        let mut transfers = Vec::new();
        while let Some(task) = authority.poll_task(world.now, &mut world.rng) {
            match task {
                Task::Transfer(transfer) => transfers.push(transfer),
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(transfers.len(), 3);
        // Nothing is due before one of them ends: who waits for this time does not turn round and round.
        assert_eq!(authority.poll_timeout(), None);
        world.now.elapsed += Duration::from_secs(20);
        for transfer in transfers {
            asked.push(transfer.apex().to_string());
            authority.handle_transfer(&transfer, None, world.now);
        }
    }
    asked.truncate(10);
    asked.sort();
    asked.dedup();
    assert_eq!(asked.len(), 10, "{asked:?}");
}

#[test]
fn signatures_of_answers_are_counted() {
    let key = Some("k.example");
    let mut world = World::new();
    world.add(zones(1, "a A 192.0.2.2"), primary(key, &[1]));
    world.add(no_zones(), secondary(key, &[0]));
    world.settle();
    world.reload(0, zones(2, "b A 192.0.2.3"));
    world.run(1);
    // The SOA was asked for and the zone fetched, whole and then by differences; the notices were answered.
    let counters = |world: &World, host: usize| world.hosts[host].counters().tsig;
    let (primary, secondary) = (counters(&world, 0), counters(&world, 1));
    assert!(primary.answers_verified >= 1 && secondary.answers_verified >= 3);
    assert_eq!(
        primary.answers_verified,
        world.hosts[0].counters().notices_sent
    );
    // With another secret on the other side nothing counts any more.
    let wrong = Key::from_text("hmac-sha256:k.example:d3Jvbmc=").unwrap();
    let wrong: &'static [Key] = Vec::leak(alloc::vec![wrong]);
    let configs = alloc::vec![super::primary(key, &[])];
    let bounds = Bounds::default();
    let other = Authority::new(
        zones(3, ""),
        configs,
        wrong,
        bounds,
        world.now,
        &mut world.rng,
    );
    world.hosts[0] = other.unwrap();
    world.run(200);
    let after = counters(&world, 1);
    assert_eq!(after.answers_verified, secondary.answers_verified);
    assert!(after.answers_rejected > 0, "{after:?}");
}
