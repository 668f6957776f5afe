//! Who gets a zone, and how the answers are signed.

use super::*;

/// What host 0, whose zone may be fetched with the key `k.example` alone, answers to a request for it.
fn transfer_with(key: Option<&str>, transport: Transport, serial: Option<u32>) -> Vec<Vec<u8>> {
    let mut world = World::new();
    world.add(zones(1, ""), primary(Some("k.example"), &[]));
    world.add(no_zones(), secondary(None, &[0]));
    let soa = serial.map(|serial| {
        let set = zones(serial, "");
        RecordBuf::from(set.as_zone_set().zones().next().unwrap().soa().unwrap())
    });
    let mut request = std::vec![0; 1_024];
    let apex = name("o");
    let length = TransferRequest::write(7, apex.as_name(), soa.as_ref(), &mut request).unwrap();
    let mut length = length;
    if let Some(key) = key {
        let key = Key::from_text(key).unwrap();
        (length, _) = sign_request(&key, &mut request, length, world.now.unix).unwrap();
    }
    world.ask(1, address(0), transport, &request[..length])
}

#[test]
fn transfer_is_refused_to_who_has_not_the_key() {
    let wrong = "hmac-sha256:k.example:d3Jvbmcgc2VjcmV0";
    let unknown = "hmac-sha256:unknown.example:d3Jvbmcgc2VjcmV0";
    for (key, expected) in [
        (None, Rcode::REFUSED),
        (Some(OTHER_KEY), Rcode::REFUSED),
        (Some(wrong), Rcode::NOTAUTH),
        (Some(unknown), Rcode::NOTAUTH),
        (Some(KEY), Rcode::NOERROR),
    ] {
        for transport in [Transport::Udp, Transport::Tcp] {
            let messages = transfer_with(key, transport, Some(0));
            assert_eq!(rcode(&messages), expected, "{key:?} {transport:?}");
        }
        assert_eq!(rcode(&transfer_with(key, Transport::Tcp, None)), expected);
    }
}

#[test]
fn whole_zone_does_not_go_over_datagrams() {
    let messages = transfer_with(Some(KEY), Transport::Udp, None);
    assert_eq!(rcode(&messages), Rcode::REFUSED);
}

#[test]
fn transfer_is_refused_to_other_addresses_and_for_other_zones() {
    let mut world = World::new();
    let config = ZoneConfig {
        transfer: AccessList(alloc::vec![AccessRule {
            network: "192.0.2.0/24".parse().unwrap(),
            key: None,
        }]),
        ..ZoneConfig::new(name("o"))
    };
    world.add(zones(1, "a A 192.0.2.2"), config);
    world.add(no_zones(), secondary(None, &[0]));
    for apex in ["o", "a.o", "p"] {
        let mut request = [0; 512];
        let length = TransferRequest::write(7, name(apex).as_name(), None, &mut request).unwrap();
        let messages = world.ask(1, address(0), Transport::Tcp, &request[..length]);
        assert_eq!(rcode(&messages), Rcode::REFUSED, "{apex}");
    }
    assert_eq!(world.hosts[0].counters().transfers_refused, 3);
}

#[test]
fn signed_query_is_answered_and_the_answer_signed() {
    let mut world = World::new();
    world.add(zones(1, "a A 192.0.2.2"), primary(None, &[]));
    let key = Key::from_text(KEY).unwrap();
    let mut request = std::vec![0; 1_024];
    let name = name("a.o");
    let query = Query::new(9, name.as_name(), RecordType::A);
    let length = query.write(&mut request).unwrap();
    assert!(Authority::is_plain(&request[..length]));
    let (length, signed) = sign_request(&key, &mut request, length, world.now.unix).unwrap();
    assert!(!Authority::is_plain(&request[..length]));
    let mut answer = world
        .ask(0, address(0), Transport::Udp, &request[..length])
        .remove(0);
    let length = signed.verify_answer(&mut answer, world.now.unix).unwrap();
    let reader = query.accept(&answer[..length]).unwrap();
    assert_eq!(reader.section(Section::Answer).count(), 1);
}
