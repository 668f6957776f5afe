//! What a reply says, where it goes, who gets none.

use super::*;

#[test]
fn an_offer_says_what_the_subnet_says() {
    let mut machine = Machine::new();
    let said = machine.hear(&Says::discover(1)).unwrap();
    let packet = said.packet();
    assert_eq!(
        (said.kind(), said.address()),
        (DhcpMessageType::Offer, at(100))
    );
    assert_eq!(
        packet.address(option::SUBNET_MASK),
        Some(Ipv4Addr::new(255, 255, 255, 0))
    );
    assert_eq!(packet.u32(option::LEASE_TIME), Some(3_600));
    assert_eq!(packet.u32(option::RENEWAL_TIME), Some(1_800));
    assert_eq!(packet.u32(option::REBINDING_TIME), Some(3_150));
    assert_eq!(
        packet.addresses(option::ROUTER).collect::<Vec<_>>(),
        [at(102)]
    );
    assert_eq!(packet.addresses(option::DOMAIN_NAME_SERVER).count(), 2);
    assert_eq!(packet.addresses(option::NTP_SERVERS).count(), 2);
    let domain = packet.option(option::DOMAIN_NAME).unwrap();
    assert_eq!(domain.contiguous(), Some(&b"example.org"[..]));
    assert_eq!(packet.u16(option::INTERFACE_MTU), Some(1_400));
    assert_eq!(packet.address(option::BROADCAST_ADDRESS), Some(at(255)));
    let routes = packet.option(option::CLASSLESS_ROUTES).unwrap();
    assert_eq!(ClasslessRoutes::new_checked(&routes).unwrap().count(), 1);
    // RFC 2132 §3.3: the mask before the router.
    let place = |code: u8| {
        said.bytes
            .windows(2)
            .skip(240)
            .position(|two| two == [code, 4])
    };
    assert!(place(option::SUBNET_MASK) < place(option::ROUTER));
    assert_eq!(
        said.to.destination,
        SocketAddrV4::new(Ipv4Addr::BROADCAST, CLIENT_PORT)
    );
    assert_eq!(said.to.link, None);
    // Only what was asked for.
    let list = [option::ROUTER, option::DOMAIN_NAME];
    let said = machine
        .hear(&Says::discover(1).with(option::PARAMETER_LIST, &list))
        .unwrap();
    let packet = said.packet();
    assert!(
        packet.option(option::ROUTER).is_some() && packet.option(option::DOMAIN_NAME).is_some()
    );
    for code in [
        option::SUBNET_MASK,
        option::DOMAIN_NAME_SERVER,
        option::CLASSLESS_ROUTES,
    ] {
        assert!(packet.option(code).is_none());
    }
    assert_eq!(packet.u32(option::LEASE_TIME), Some(3_600));
}

#[test]
fn clients_behind_a_relay_agent_get_addresses_of_its_network_and_its_information_back() {
    let mut machine = Machine::new();
    let information = [1, 4, 0, 1, 2, 3, 2, 2, 9, 9];
    let relayed = |says: Says| {
        says.through(RELAY)
            .with(option::RELAY_AGENT, &information)
            .with(option::CLIENT_IDENTIFIER, &[1, 2, 3])
    };
    let address = Ipv4Addr::new(10, 9, 0, 10);
    for says in [Says::discover(1), Says::select(1, address)] {
        let said = machine.hear(&relayed(says)).unwrap();
        let packet = said.packet();
        assert_eq!(said.address(), address);
        assert_eq!(packet.relay_address(), RELAY);
        let back = packet.option(option::RELAY_AGENT).unwrap();
        assert_eq!(back.contiguous(), Some(&information[..]));
        let back = packet.option(option::CLIENT_IDENTIFIER).unwrap();
        assert_eq!(back.contiguous(), Some(&[1, 2, 3][..]), "RFC 6842");
        assert_eq!(said.to.destination, SocketAddrV4::new(RELAY, SERVER_PORT));
        // It is the last option.
        let end = said
            .bytes
            .iter()
            .rposition(|byte| *byte == option::END)
            .unwrap();
        assert_eq!(said.bytes[end - 12..end - 10], [option::RELAY_AGENT, 10]);
    }
    // Renewed by unicast, without the agent.
    let renew = Says::renew(1, address).with(option::CLIENT_IDENTIFIER, &[1, 2, 3]);
    assert_eq!(machine.ask(&renew), ack(address));
    // A refusal is to be broadcast by the agent (§4.3.2).
    let said = machine
        .hear(&Says::select(2, address).through(RELAY))
        .unwrap();
    assert_eq!(
        (said.kind(), said.packet().broadcast()),
        (DhcpMessageType::Nak, true)
    );
    // Agents of networks that are none of ours, or that can't be one.
    for relay in [
        Ipv4Addr::new(192, 0, 2, 1),
        Ipv4Addr::new(10, 9, 0, 255),
        Ipv4Addr::BROADCAST,
    ] {
        assert_eq!(machine.ask(&Says::discover(3).through(relay)), None);
    }
    assert_eq!(machine.server.counters().no_subnet, 3);
}

#[test]
fn replies_go_where_the_client_can_hear_them() {
    let mut config = DhcpServerConfig::new(SERVER, subnets());
    config.link_unicast = true;
    let mut machine = Machine::of(config, 16);
    let everyone = SocketAddrV4::new(Ipv4Addr::BROADCAST, CLIENT_PORT);
    let said = machine.hear(&Says::discover(1)).unwrap();
    assert_eq!(said.to.destination, SocketAddrV4::new(at(100), CLIENT_PORT));
    assert_eq!(said.to.link, Some(mac(1)));
    let mut broadcast = Says::discover(1);
    broadcast.repr.broadcast = true;
    let said = machine.hear(&broadcast).unwrap();
    assert_eq!((said.to.destination, said.to.link), (everyone, None));
    assert!(said.packet().broadcast());
    machine.ask(&Says::select(1, at(100)));
    let said = machine.hear(&Says::reboot(2, at(100))).unwrap();
    assert_eq!(
        (said.kind(), said.to.destination),
        (DhcpMessageType::Nak, everyone)
    );
    // A stranger that has not asked, or all of a network, is sent nothing by who names it.
    for claimed in [Ipv4Addr::new(192, 0, 2, 1), at(255), at(0)] {
        let said = machine.hear(&Says::discover(4).has(claimed)).unwrap();
        assert!(
            [everyone.ip(), &said.address()].contains(&said.to.destination.ip()),
            "{claimed}: {}",
            said.to.destination
        );
    }
    // A station that has no Ethernet address, or a group's.
    let mut group = Says::discover(3);
    group.repr.hardware = DhcpHardware::new(1, &[255; 6]).unwrap();
    let said = machine.hear(&group).unwrap();
    assert_eq!((said.to.destination, said.to.link), (everyone, None));
}

#[test]
fn options_alone_are_given_to_hosts_of_the_network_and_nobody_else_is_sent_anything() {
    let mut machine = Machine::new();
    let inform = |address| Says::new(DhcpMessageType::Inform, 1).has(address);
    let said = machine.hear(&inform(at(66))).unwrap();
    let packet = said.packet();
    assert_eq!((said.kind(), said.address()), (DhcpMessageType::Ack, NONE));
    assert_eq!(packet.u32(option::LEASE_TIME), None, "§4.3.5");
    assert_eq!(packet.addresses(option::DOMAIN_NAME_SERVER).count(), 2);
    assert_eq!(said.to.destination, SocketAddrV4::new(at(66), CLIENT_PORT));
    for address in [
        NONE,
        at(0),
        at(255),
        Ipv4Addr::BROADCAST,
        Ipv4Addr::new(192, 0, 2, 1),
    ] {
        assert_eq!(machine.ask(&inform(address)), None, "{address}");
    }
    assert_eq!(machine.changes(), []);
}

#[test]
fn hazard_options_that_do_not_fit_panic() {
    let routers: &'static [Ipv4Addr] = Box::leak(Box::new([at(9); 70]));
    let domain: String = "d".repeat(253);
    let subnet = DhcpSubnet {
        routers,
        resolvers: routers,
        ntp_servers: routers,
        domain: Some(Box::leak(domain.into_boxed_str())),
        ..DhcpSubnet::new(network("10.0.0.0/24"), at(100), at(110))
    };
    let subnets: &'static [DhcpSubnet<'static>] = Box::leak(Box::new([subnet]));
    let mut machine = Machine::of(DhcpServerConfig::new(SERVER, subnets), 16);
    let says = Says::discover(1)
        .with(option::RELAY_AGENT, &[5; 60])
        .with(option::CLIENT_IDENTIFIER, &[6; 64]);
    for room in 0..1_500 {
        let Some(said) = machine.hear_bytes(&says.bytes(), room) else {
            assert!(room < 410, "no answer in {room}");
            continue;
        };
        assert!(said.bytes.len() <= room);
        let packet = said.packet();
        assert_eq!(packet.u32(option::LEASE_TIME), Some(3_600));
        assert_eq!(packet.option(option::RELAY_AGENT).unwrap().len(), 60);
        assert_eq!(packet.option(option::CLIENT_IDENTIFIER).unwrap().len(), 64);
        // A client that says nothing takes 548 bytes.
        assert!(said.bytes.len() <= MESSAGE_LEN);
    }
    assert!(machine.server.counters().options_left_out > 0);
    assert!(machine.server.counters().no_room > 0);
    // A client that takes more gets more.
    let most = says
        .clone()
        .with(option::MAX_MESSAGE_SIZE, &1_500u16.to_be_bytes());
    let said = machine.hear_bytes(&most.bytes(), 1_500).unwrap();
    assert!(said.bytes.len() > MESSAGE_LEN && said.bytes.len() <= 1_472);
    assert_eq!(said.packet().addresses(option::ROUTER).count(), 63);
    // One that says too little is taken at the least that is legal.
    let little = says.with(option::MAX_MESSAGE_SIZE, &10u16.to_be_bytes());
    assert!(machine.hear_bytes(&little.bytes(), 1_500).is_some());
}

#[test]
fn what_is_no_clients_message_is_counted_and_ignored() {
    let mut machine = Machine::new();
    let mut reply = Says::discover(1);
    reply.repr.operation = DhcpOperation::Reply;
    let offers = Says::new(DhcpMessageType::Offer, 1);
    let long = Says::discover(1).with(option::CLIENT_IDENTIFIER, &[1; 65]);
    let longer = Says::discover(1).with(option::RELAY_AGENT, &[1; 256]);
    for says in [&reply, &offers, &long, &longer] {
        assert_eq!(machine.ask(says), None);
    }
    assert_eq!(machine.hear_bytes(&[1; 239], 548), None);
    let counters = machine.server.counters();
    assert_eq!(
        (
            counters.not_a_request,
            counters.too_long,
            counters.malformed
        ),
        (2, 2, 1)
    );
    assert_eq!(machine.server.leases(machine.now, None).count(), 0);
}

#[test]
fn configurations_that_cannot_work_are_refused() {
    let refused = |change: &dyn Fn(&mut DhcpServerConfig<'static>)| {
        let mut config = DhcpServerConfig::new(SERVER, subnets());
        change(&mut config);
        let none: &mut [DhcpLeaseSlot] = &mut [];
        let error = DhcpServer::new(config, none).unwrap_err();
        assert!(!error.to_string().is_empty());
        error
    };
    let pool = |cidr: &str, first, last| -> &'static [DhcpSubnet<'static>] {
        Box::leak(Box::new([DhcpSubnet::new(network(cidr), first, last)]))
    };
    assert_eq!(refused(&|c| c.address = NONE), DhcpServerError::BadAddress);
    for (cidr, first, last) in [
        ("10.0.0.0/24", at(9), at(8)),
        ("10.0.0.0/24", at(0), at(8)),
        ("10.0.0.0/24", at(1), at(255)),
        ("10.0.0.0/24", at(1), Ipv4Addr::new(10, 0, 1, 8)),
        ("10.0.0.0/8", at(1), Ipv4Addr::new(10, 255, 0, 0)),
    ] {
        assert_eq!(
            refused(&|c| c.subnets = pool(cidr, first, last)),
            DhcpServerError::BadPool(0)
        );
    }
    let reservation = |address, hardware| -> &'static [DhcpReservation<'static>] {
        Box::leak(Box::new([DhcpReservation {
            identifier: None,
            hardware,
            address,
            host_name: None,
        }]))
    };
    let station = Some(DhcpHardware::ethernet(mac(1)));
    for (address, hardware) in [(at(5), None), (SERVER, station), (NONE, station)] {
        assert_eq!(
            refused(&|c| c.reservations = reservation(address, hardware)),
            DhcpServerError::BadReservation(0)
        );
    }
    assert_eq!(
        refused(&|c| c.shortest_lease = Duration::from_secs(100_000)),
        DhcpServerError::BadTimes
    );
    assert_eq!(
        refused(&|c| c.lease_time = Duration::ZERO),
        DhcpServerError::BadTimes
    );
}
