//! Who is listened to, and who is told.

use super::*;

#[test]
fn notices_of_strangers_are_refused() {
    let mut world = World::new();
    world.add(zones(1, ""), primary(None, &[]));
    world.add(no_zones(), secondary(Some("k.example"), &[0]));
    world.add(no_zones(), secondary(None, &[0]));
    let soa = {
        let set = zones(9, "");
        RecordBuf::from(set.as_zone_set().zones().next().unwrap().soa().unwrap())
    };
    let notice = |world: &mut World, from, to: u8, apex: &str, key: Option<&str>| {
        let mut request = std::vec![0; 1_024];
        let length = Notify::write(5, name(apex).as_name(), &soa, &mut request).unwrap();
        let mut length = length;
        if let Some(key) = key {
            let key = Key::from_text(key).unwrap();
            (length, _) = sign_request(&key, &mut request, length, world.now.unix).unwrap();
        }
        rcode(&world.ask(from, address(to), Transport::Udp, &request[..length]))
    };
    // Its primary, but not signed; then signed.
    assert_eq!(notice(&mut world, 0, 1, "o", None), Rcode::REFUSED);
    assert_eq!(notice(&mut world, 0, 1, "o", Some(KEY)), Rcode::NOERROR);
    // No primary.
    assert_eq!(notice(&mut world, 1, 2, "o", None), Rcode::REFUSED);
    assert_eq!(notice(&mut world, 0, 2, "o", None), Rcode::NOERROR);
    // Not a secondary zone, or none at all.
    assert_eq!(notice(&mut world, 1, 0, "o", None), Rcode::NOTAUTH);
    assert_eq!(notice(&mut world, 0, 2, "p", None), Rcode::NOTAUTH);
    let counters = world.hosts[1].counters();
    assert_eq!((counters.notices_heard, counters.notices_refused), (1, 1));
}

#[test]
fn what_only_the_server_has_to_see_is_told_at_once() {
    let octets = |record_type: RecordType, edns: bool| {
        let mut request = [0; 512];
        let name = name("a.o");
        let mut query = Query::new(9, name.as_name(), record_type);
        if !edns {
            query.edns = None;
        }
        let length = query.write(&mut request).unwrap();
        request[..length].to_vec()
    };
    for edns in [false, true] {
        assert!(Authority::is_plain(&octets(RecordType::A, edns)));
        assert!(!Authority::is_plain(&octets(RecordType::AXFR, edns)));
        assert!(!Authority::is_plain(&octets(RecordType::IXFR, edns)));
    }
    let mut notify = octets(RecordType::SOA, false);
    notify[2] |= Opcode::NOTIFY.0 << 3;
    assert!(!Authority::is_plain(&notify));
    assert!(Authority::is_plain(b"short"));
}

#[test]
fn notices_that_are_not_answered_keep_others_waiting_until_their_time_is_over() {
    let mut world = World::new();
    let config = primary(None, &[1, 2, 3, 4, 5]);
    let bounds = Bounds {
        conversations: 2,
        ..Bounds::default()
    };
    let configs = alloc::vec![config];
    let zones = zones(1, "");
    let authority = Authority::new(zones, configs, &[], bounds, world.now, &mut world.rng);
    let mut authority = authority.unwrap();
    let mut notice = || match authority.poll_task(world.now, &mut world.rng) {
        Some(Task::Notify(notice)) => Some(notice),
        None => None,
        Some(other) => panic!("{other:?}"),
    };
    let (first, second) = (notice().unwrap(), notice().unwrap());
    assert!(notice().is_none());
    assert_ne!(first.server(), second.server());
    authority.handle_notified(&first, false);
    let third = match authority.poll_task(world.now, &mut world.rng) {
        Some(Task::Notify(notice)) => notice,
        other => panic!("{other:?}"),
    };
    assert!(third.server() != first.server() && third.server() != second.server());
    assert!(authority.poll_task(world.now, &mut world.rng).is_none());
    assert_eq!(authority.poll_timeout(), None);
}
