//! From the first message to a lease: what is asked, and which offer is taken.

use super::*;

#[test]
fn hazard_no_exponential_back_off_and_jitter() {
    let mut fractions = Vec::new();
    for seed in 0..40 {
        let mut machine = Machine::new(seed);
        let sent = machine.run(Duration::from_secs(600));
        assert!(sent[0].at <= Instant::from_secs(1));
        fractions.push(sent[0].at.as_nanos());
        let expected = [4.0, 8.0, 16.0, 32.0, 64.0, 64.0, 64.0];
        for (pair, base) in sent.windows(2).zip(expected) {
            let gap = seconds(pair[1].at - pair[0].at);
            assert!((gap - base).abs() <= 1.0, "{gap} for {base}");
            fractions.push((pair[1].at - pair[0].at).as_nanos() as u64);
        }
        // One transaction, and honest seconds.
        for message in &sent {
            assert_eq!(message.kind(), DhcpMessageType::Discover);
            assert_eq!(
                message.packet().transaction(),
                sent[0].packet().transaction()
            );
            let elapsed = (message.at - sent[0].at).as_secs();
            assert_eq!(u64::from(message.packet().seconds()), elapsed);
            assert_eq!(message.to.source, Ipv4Addr::UNSPECIFIED);
            assert_eq!(message.to.destination, Ipv4Addr::BROADCAST);
        }
        assert!(sent.len() <= 14, "{}", sent.len());
    }
    fractions.sort_unstable();
    fractions.dedup();
    assert!(
        fractions.len() > 300,
        "jitter that is the same again and again"
    );
}

#[test]
fn a_client_says_what_rfc_2131_wants_it_to_say() {
    let mut config = DhcpClientConfig::new(MAC);
    config.host_name = Some("host".try_into().unwrap());
    config.vendor_class = Some("mirage".try_into().unwrap());
    config.identifier = Some(heapless::Vec::from_slice(&[0, 1, 2, 3]).unwrap());
    config.lease_time = Some(Duration::from_secs(7_200));
    config.broadcast = true;
    let mut machine = Machine::of(config, 1);
    let discover = machine.next();
    let packet = discover.packet();
    assert!(packet.broadcast());
    assert_eq!(packet.hardware(), DhcpHardware::ethernet(MAC));
    assert_eq!(packet.client_address(), Ipv4Addr::UNSPECIFIED);
    assert_eq!(packet.u16(option::MAX_MESSAGE_SIZE), Some(576));
    assert_eq!(packet.u32(option::LEASE_TIME), Some(7_200));
    assert_eq!(packet.address(option::SERVER_IDENTIFIER), None);
    assert_eq!(packet.address(option::REQUESTED_ADDRESS), None);
    let text = |code| packet.option(code).unwrap().contiguous().unwrap().to_vec();
    assert_eq!(text(option::HOST_NAME), b"host");
    assert_eq!(text(option::VENDOR_CLASS), b"mirage");
    assert_eq!(text(option::CLIENT_IDENTIFIER), [0, 1, 2, 3]);
    // Routes before routers (RFC 3442), the mask among them.
    let list = text(option::PARAMETER_LIST);
    let place = |code| list.iter().position(|other| *other == code).unwrap();
    assert!(place(option::CLASSLESS_ROUTES) < place(option::ROUTER));
    assert!(place(option::SUBNET_MASK) < place(option::ROUTER));
    assert_eq!(discover.bytes.len(), 300);

    machine.run(Duration::from_secs(3));
    machine.hear(&Says::offer());
    let request = machine.next();
    let packet = request.packet();
    assert_eq!(request.kind(), DhcpMessageType::Request);
    assert_eq!(packet.transaction(), discover.packet().transaction());
    assert_eq!(packet.seconds(), discover.packet().seconds(), "§3.1 (3)");
    assert_eq!(packet.client_address(), Ipv4Addr::UNSPECIFIED);
    assert_eq!(packet.address(option::SERVER_IDENTIFIER), Some(SERVER));
    assert_eq!(packet.address(option::REQUESTED_ADDRESS), Some(OURS));
    assert_eq!(request.to.destination, Ipv4Addr::BROADCAST);
    assert_eq!(request.to.source, Ipv4Addr::UNSPECIFIED);
}

#[test]
fn offers_are_collected_and_the_best_is_taken() {
    let choose = |offers: &[Says], last: Option<Ipv4Addr>| {
        let mut machine = Machine::new(3);
        machine.next();
        machine.client.last_address = last;
        let first = machine.now;
        for offer in offers {
            machine.hear(offer);
            machine.run(Duration::from_millis(10));
        }
        let request = machine.next();
        assert_eq!(request.at, first + Duration::from_millis(500));
        request.packet().address(option::SERVER_IDENTIFIER)
    };
    let plain = Says::offer().without(option::ROUTER);
    let routed = Says::offer().from(OTHER);
    // The first of equals; one with a router before one without; the address that was asked for before both.
    assert_eq!(choose(&[Says::offer(), routed.clone()], None), Some(SERVER));
    assert_eq!(choose(&[plain.clone(), routed.clone()], None), Some(OTHER));
    let asked = Ipv4Addr::new(10, 0, 0, 55);
    let same = plain.clone().of(asked);
    assert_eq!(choose(&[routed, same], Some(asked)), Some(SERVER));

    let mut config = DhcpClientConfig::new(MAC);
    config.offer_wait = Duration::ZERO;
    let mut machine = Machine::of(config, 1);
    machine.next();
    machine.hear(&Says::offer());
    let at = machine.now;
    assert_eq!(
        (machine.next().at, machine.client.state()),
        (at, DhcpClientState::Requesting)
    );
}

#[test]
fn an_offer_that_comes_to_nothing_is_asked_for_four_times_then_another_servers_is_preferred() {
    let mut machine = Machine::new(4);
    machine.next();
    machine.hear(&Says::offer());
    let sent = machine.run(Duration::from_secs(66));
    let kinds: Vec<_> = sent.iter().map(Sent::kind).collect();
    let (request, discover) = (DhcpMessageType::Request, DhcpMessageType::Discover);
    assert_eq!(kinds[..5], [request, request, request, request, discover]);
    let minute = seconds(sent[4].at - sent[0].at);
    assert!((56.0..=64.0).contains(&minute), "{minute}");
    assert_ne!(
        sent[4].packet().transaction(),
        sent[0].packet().transaction()
    );
    // The same server is quicker, the other is tried.
    machine.hear(&Says::offer());
    machine.hear(&Says::offer().from(OTHER).without(option::ROUTER));
    let again = machine.next();
    assert_eq!(
        again.packet().address(option::SERVER_IDENTIFIER),
        Some(OTHER)
    );
}

#[test]
fn a_lease_is_believed_only_of_the_server_and_address_that_were_asked_for() {
    let mut machine = Machine::new(5);
    machine.next();
    machine.hear(&Says::offer());
    machine.next();
    machine.hear(&Says::ack().from(OTHER));
    machine.hear(&Says::ack().of(Ipv4Addr::new(10, 0, 0, 9)));
    machine.hear(&Says::nak().from(OTHER));
    let mut nameless = Says::nak();
    nameless.server = None;
    machine.hear(&nameless);
    let foreign = Says::ack().bytes(machine.client.transaction.wrapping_add(1), MAC);
    machine.client.handle_message(machine.now, &foreign);
    let foreign = Says::ack().bytes(machine.client.transaction, MacAddress([2, 0, 0, 0, 0, 8]));
    machine.client.handle_message(machine.now, &foreign);
    machine.hear(&Says::ack().with(option::CLIENT_IDENTIFIER, &[1, 2, 3]));
    machine.hear(&Says::offer());
    machine.client.handle_message(machine.now, &[1; 100]);
    let mut request = Says::ack().bytes(machine.client.transaction, MAC);
    request[0] = 1;
    machine.client.handle_message(machine.now, &request);
    assert_eq!(machine.client.state(), DhcpClientState::Requesting);
    assert_eq!(machine.events(), []);
    let counters = machine.client.counters();
    assert_eq!((counters.other_server, counters.bad_address), (2, 1));
    assert_eq!((counters.not_for_us, counters.unexpected), (3, 1));
    assert_eq!((counters.malformed, counters.not_a_reply), (1, 1));
    assert_eq!(counters.incomplete, 1);
    machine.hear(&Says::ack());
    assert_eq!(machine.events(), [DhcpClientEvent::Acquired]);
}

#[test]
fn leases_that_no_host_can_use_are_not_taken() {
    let bad = [
        Says::offer().of(Ipv4Addr::UNSPECIFIED),
        Says::offer().of(Ipv4Addr::BROADCAST),
        Says::offer().of(Ipv4Addr::new(127, 0, 0, 1)),
        Says::offer().of(Ipv4Addr::new(224, 0, 0, 1)),
        Says::offer().of(Ipv4Addr::new(10, 0, 0, 255)),
        Says::offer().of(Ipv4Addr::new(10, 0, 0, 0)),
        Says::offer().of(SERVER),
        Says::offer().lasting(0),
        Says::offer().lasting(9),
        Says::offer().from(Ipv4Addr::UNSPECIFIED),
        Says {
            seconds: None,
            ..Says::offer()
        },
        Says {
            server: None,
            ..Says::offer()
        },
    ];
    let mut machine = Machine::new(6);
    machine.next();
    for offer in &bad {
        machine.hear(offer);
    }
    assert!(machine.client.offer.is_none());
    let counters = machine.client.counters();
    assert_eq!((counters.bad_address, counters.too_short), (7, 2));
    assert_eq!((counters.incomplete, counters.offers), (3, 0));
}

#[test]
fn options_become_a_lease_and_what_is_malformed_is_left_out() {
    let mut machine = Machine::new(7);
    let mut routes = Vec::new();
    for last in 0..10u8 {
        let mut room = [0; 9];
        let route = ClasslessRoute {
            network: Ipv4Addr::new(172, 16, last, 0),
            prefix_len: 24,
            gateway: Ipv4Addr::new(10, 0, 0, 5),
        };
        let length = write_classless_route(&route, &mut room).unwrap();
        routes.extend(&room[..length]);
    }
    let ack = Says::ack()
        .with(
            option::DOMAIN_NAME_SERVER,
            &[10, 0, 0, 3, 0, 0, 0, 0, 255, 255, 255, 255, 10, 0, 0, 4],
        )
        .with(option::NTP_SERVERS, &[10, 0, 0, 3, 1])
        .with(option::DOMAIN_NAME, b"example.org\0")
        .with(option::HOST_NAME, b"rm -rf /")
        .with(option::INTERFACE_MTU, &[0x05, 0x78])
        .with(option::CLASSLESS_ROUTES, &routes);
    machine.bind(&ack);
    let lease = machine.client.lease().unwrap();
    assert_eq!(
        (lease.address, lease.prefix_len, lease.server),
        (OURS, 24, SERVER)
    );
    assert_eq!(lease.duration, Some(Duration::from_secs(3_600)));
    assert_eq!(
        lease.parameters.resolvers[..],
        [Ipv4Addr::new(10, 0, 0, 3), Ipv4Addr::new(10, 0, 0, 4)]
    );
    assert!(
        lease.parameters.ntp_servers.is_empty(),
        "no multiple of four"
    );
    assert_eq!(
        std::format!("{lease}"),
        "10.0.0.100/24 from 10.0.0.1 for 3600 s"
    );
    assert_eq!(lease.parameters.domain.as_deref(), Some("example.org"));
    assert_eq!(
        (lease.parameters.host_name.as_deref(), lease.parameters.mtu),
        (None, Some(1_400))
    );
    // RFC 3442: the router doesn't count where there are routes.
    assert_eq!(
        (
            lease.parameters.classless_routes.len(),
            lease.parameters.clipped
        ),
        (8, true)
    );
    assert_eq!(lease.parameters.routes().count(), 8);
    assert!(
        lease
            .parameters
            .routes()
            .all(|route| route.destination.prefix_len() == 24)
    );

    let mut machine = Machine::new(7);
    let ack = Says::ack()
        .without(option::SUBNET_MASK)
        .with(option::SUBNET_MASK, &[255, 0, 255, 0])
        .with(option::INTERFACE_MTU, &[0, 67])
        .with(option::CLASSLESS_ROUTES, &[33, 1, 2, 3, 4, 5]);
    machine.bind(&ack);
    let lease = machine.client.lease().unwrap();
    // No mask: the address's class. Routes that are malformed anywhere: the router.
    assert_eq!((lease.prefix_len, lease.parameters.mtu), (8, None));
    assert_eq!(
        std::format!("{lease}"),
        "10.0.0.100/8 from 10.0.0.1 for 3600 s, gateway 10.0.0.1"
    );
    let route = lease.parameters.routes().next().unwrap();
    assert_eq!(
        (route.destination.prefix_len(), route.gateway),
        (0, Some(SERVER.into()))
    );
}

#[test]
fn an_address_that_another_station_has_is_declined_and_the_pause_grows() {
    let mut machine = Machine::new(11);
    let mut pauses = Vec::new();
    for _ in 0..8 {
        machine.next();
        machine.hear(&Says::offer());
        machine.next();
        machine.hear(&Says::ack());
        assert_eq!(machine.events(), [DhcpClientEvent::Acquired]);
        assert!(!machine.client.is_configured());
        let conflict = machine.now;
        machine.client.handle_address_conflict(conflict);
        let decline = machine.next();
        assert_eq!(
            (decline.at, decline.kind()),
            (conflict, DhcpMessageType::Decline)
        );
        let packet = decline.packet();
        assert_eq!(packet.address(option::REQUESTED_ADDRESS), Some(OURS));
        assert_eq!(packet.address(option::SERVER_IDENTIFIER), Some(SERVER));
        assert_eq!(packet.client_address(), Ipv4Addr::UNSPECIFIED);
        assert!(packet.option(option::PARAMETER_LIST).is_none());
        assert_eq!(decline.to.destination, Ipv4Addr::BROADCAST);
        assert_eq!(decline.to.source, Ipv4Addr::UNSPECIFIED);
        assert_eq!(
            machine.events(),
            [DhcpClientEvent::Lost(DhcpLoss::Conflict)]
        );
        assert!(machine.client.lease().is_none());
        pauses.push((machine.client.poll_timeout().unwrap() - conflict).as_secs());
        // Nothing of that address again.
        assert_eq!(machine.client.last_address, None);
    }
    assert_eq!(pauses, [10, 20, 40, 80, 160, 320, 320, 320]);
    // One that holds ends the row.
    machine.bind(&Says::ack());
    machine.client.handle_address_conflict(machine.now);
    let next = machine.client.poll_timeout().unwrap();
    assert_eq!(next, machine.now + Duration::from_secs(10));
}

#[test]
fn a_refusal_ends_the_lease_and_begins_anew_without_ping_pong() {
    // While it is renewed: only of the server that has it.
    let mut machine = Machine::new(12);
    machine.bind(&Says::ack());
    machine.next();
    machine.hear(&Says::nak().from(OTHER));
    assert_eq!(machine.client.state(), DhcpClientState::Renewing);
    machine.hear(&Says::nak());
    assert_eq!(machine.events(), [DhcpClientEvent::Lost(DhcpLoss::Refused)]);
    let discover = machine.next();
    assert_eq!(discover.packet().address(option::REQUESTED_ADDRESS), None);
    // While any server is asked: of any.
    let mut machine = Machine::new(13);
    machine.bind(&Says::ack());
    while machine.client.state() != DhcpClientState::Rebinding {
        machine.next();
    }
    machine.hear(&Says::nak().from(OTHER));
    assert_eq!(machine.events(), [DhcpClientEvent::Lost(DhcpLoss::Refused)]);
    // A server that offers and refuses, again and again.
    let mut machine = Machine::new(14);
    let mut times = Vec::new();
    for _ in 0..8 {
        times.push(machine.next().at);
        machine.hear(&Says::offer());
        machine.next();
        machine.hear(&Says::nak());
        assert_eq!(machine.events(), []);
    }
    let gaps: Vec<_> = times
        .windows(2)
        .map(|pair| (pair[1] - pair[0]).as_secs())
        .collect();
    assert_eq!(gaps[0], 0);
    for (gap, base) in gaps[1..].iter().zip([4u64, 8, 16, 32, 64, 64]) {
        assert!(gap.abs_diff(base) <= 1, "{gaps:?}");
    }
}

#[test]
fn that_nobody_answers_is_told_once_and_again_after_an_offer() {
    let mut machine = Machine::new(20);
    machine.client.start(machine.now);
    machine.run(Duration::from_secs(8));
    assert_eq!(machine.events(), []);
    let sent = machine.run(Duration::from_secs(600)).len();
    assert!(sent > 9, "it goes on asking: {sent}");
    assert_eq!(machine.events(), [DhcpClientEvent::Unanswered]);
    machine.run(Duration::from_secs(600));
    assert_eq!(machine.events(), []);
    machine.next();
    machine.hear(&Says::offer());
    // The offer comes to nothing, and then nobody answers again.
    machine.run(Duration::from_secs(600));
    assert_eq!(machine.events(), [DhcpClientEvent::Unanswered]);
    machine.next();
    machine.hear(&Says::offer());
    machine.next();
    machine.hear(&Says::ack());
    assert_eq!(machine.events(), [DhcpClientEvent::Acquired]);
}

#[test]
fn the_largest_configuration_fits_into_every_message() {
    let mut config = DhcpClientConfig::new(MAC);
    config.identifier = Some(heapless::Vec::from_slice(&[9; 64]).unwrap());
    config.host_name = Some("h".repeat(63).as_str().try_into().unwrap());
    config.vendor_class = Some("v".repeat(63).as_str().try_into().unwrap());
    config.lease_time = Some(Duration::MAX);
    let mut buffer = [0; MESSAGE_LEN];
    let (address, server) = (OURS, SERVER);
    for due in [
        Due::Discover { hint: Some(OURS) },
        Due::Select { address, server },
        Due::Reboot { address },
        Due::Renew { address, server },
        Due::Rebind { address },
        Due::Decline { address, server },
        Due::Release { address, server },
    ] {
        due.write(&config, 1, 2, &mut buffer).unwrap();
    }
}
