//! Which address whom: pools, reservations, those that are declined or in use.

use super::*;

#[test]
fn clients_get_addresses_of_their_own_until_there_is_none() {
    let mut machine = Machine::new();
    // .102 is the router's.
    let addresses: Vec<_> = (1..=3).map(|client| machine.lease(client)).collect();
    assert_eq!(addresses, [at(100), at(101), at(103)]);
    assert_eq!(machine.ask(&Says::discover(4)), None);
    assert_eq!(machine.server.counters().exhausted, 1);
    // The same again for the same, also after it is over.
    assert_eq!(machine.ask(&Says::discover(2)), offer(at(101)));
    machine.pass(3_601);
    assert_eq!(machine.ask(&Says::discover(3)), offer(at(103)));
    // Another gets what has been over for longest.
    assert_eq!(machine.ask(&Says::discover(4)), offer(at(100)));
    assert_eq!(machine.ask(&Says::select(4, at(100))), ack(at(100)));
    assert_eq!(machine.ask(&Says::renew(1, at(100))), NAK);
}

#[test]
fn an_offer_is_held_for_a_moment_and_withdrawn_for_another_servers() {
    let mut machine = Machine::new();
    assert_eq!(machine.ask(&Says::discover(1)), offer(at(100)));
    assert_eq!(machine.ask(&Says::discover(2)), offer(at(101)));
    assert_eq!(machine.ask(&Says::discover(3)), offer(at(103)));
    assert_eq!(machine.ask(&Says::discover(4)), None);
    machine.pass(1);
    // The first takes another server's.
    let other = Says::reboot(1, at(77)).server(OTHER);
    assert_eq!(machine.ask(&other), None);
    assert_eq!(machine.ask(&Says::discover(4)), offer(at(100)));
    machine.pass(31);
    assert_eq!(machine.ask(&Says::discover(5)), offer(at(101)));
    // Too late for the second, whose offer went to the fifth.
    assert_eq!(machine.ask(&Says::select(2, at(101))), NAK);
    assert_eq!(machine.ask(&Says::select(3, at(103))), ack(at(103)));
    // What was asked for, if it is free.
    let asks = Says::discover(6).with(option::REQUESTED_ADDRESS, &at(100).octets());
    assert_eq!(machine.ask(&asks), offer(at(100)));
    // A running lease isn't shortened by an offer of it.
    assert_eq!(machine.ask(&Says::discover(3)), offer(at(103)));
    machine.pass(100);
    assert_eq!(machine.ask(&Says::renew(3, at(103))), ack(at(103)));
}

#[test]
fn an_address_that_was_declined_is_left_alone_for_a_while() {
    let mut machine = Machine::new();
    machine.lease(1);
    machine.changes();
    // Only its own client can say so, of this server.
    machine.ask(&Says::decline(2, at(100)));
    machine.ask(&Says::decline(1, at(101)));
    let mut other = Says::decline(1, at(100));
    other.options[1].1 = OTHER.octets().to_vec();
    machine.ask(&other);
    assert_eq!(machine.server.counters().declined, 0);
    assert_eq!(machine.changes(), []);
    assert_eq!(machine.ask(&Says::decline(1, at(100))), None);
    let record = machine.changes()[0];
    assert_eq!(
        (record.address, record.kind),
        (at(100), DhcpLeaseKind::Declined)
    );
    assert_eq!(machine.ask(&Says::discover(1)), offer(at(101)));
    assert_eq!(machine.ask(&Says::discover(2)), offer(at(103)));
    // In despair: the client will look at it itself.
    assert_eq!(machine.ask(&Says::discover(3)), offer(at(100)));
    machine.ask(&Says::select(3, at(100)));
    machine.ask(&Says::decline(3, at(100)));
    machine.pass(601);
    let asks = Says::discover(5).with(option::REQUESTED_ADDRESS, &at(100).octets());
    assert_eq!(machine.ask(&asks), offer(at(100)));
}

#[test]
fn rfc2131_2_2_an_address_is_looked_at_before_it_is_offered() {
    let mut machine = Machine::probing(2);
    let began = machine.now;
    assert!(machine.hear(&Says::discover(1)).is_none());
    assert_eq!(machine.server.poll_probe(), Some(at(100)));
    assert_eq!(machine.server.poll_probe(), None);
    assert!(machine.reply().is_none(), "too early");
    // It asks again meanwhile: one answer, to the newest message.
    let mut again = Says::discover(1);
    again.repr.transaction = 77;
    assert!(machine.hear(&again).is_none());
    assert_eq!(machine.server.poll_probe(), None);
    let said = machine.wait().unwrap();
    assert_eq!(machine.now, began + Duration::from_millis(500));
    assert_eq!(
        (said.kind(), said.address()),
        (DhcpMessageType::Offer, at(100))
    );
    assert_eq!(said.packet().transaction(), 77);
    assert_eq!(
        (machine.server.poll_timeout(), machine.wait().is_some()),
        (None, false)
    );
    // What was looked at a moment ago is offered at once, and taken.
    assert_eq!(machine.ask(&Says::discover(1)), offer(at(100)));
    assert_eq!(machine.ask(&Says::select(1, at(100))), ack(at(100)));
    // So is what the client has.
    assert_eq!(machine.ask(&Says::discover(1)), offer(at(100)));
    // But not what it had, long ago.
    machine.pass(90_000);
    assert!(machine.hear(&Says::discover(1)).is_none());
    assert_eq!(machine.server.poll_probe(), Some(at(100)));
}

#[test]
fn rfc2131_2_2_an_address_that_answers_is_left_alone_and_another_offered() {
    let mut machine = Machine::probing(1);
    assert!(machine.hear(&Says::discover(1)).is_none());
    // Nobody asked yet, and nobody asked for this one.
    machine.server.handle_address_in_use(machine.now, at(100));
    assert_eq!(machine.server.poll_probe(), Some(at(100)));
    machine.server.handle_address_in_use(machine.now, at(101));
    assert_eq!(machine.server.counters().in_use, 0);
    machine.server.handle_address_in_use(machine.now, at(100));
    assert_eq!(machine.server.counters().in_use, 1);
    // Due at once: another is looked at.
    assert_eq!(machine.server.poll_timeout(), Some(machine.now));
    assert!(machine.reply().is_none());
    let record = machine.changes()[0];
    assert_eq!(
        (record.address, record.kind),
        (at(100), DhcpLeaseKind::Declined)
    );
    assert_eq!(machine.server.poll_probe(), Some(at(101)));
    let said = machine.wait().unwrap();
    assert_eq!(said.address(), at(101));
    // Too late.
    machine.server.handle_address_in_use(machine.now, at(101));
    assert_eq!(machine.ask(&Says::select(1, at(101))), ack(at(101)));
    // Four are looked at for one message, of a pool that is full of strangers; then the client has to ask again.
    let mut machine = Machine::probing(1);
    assert!(machine.hear(&Says::discover(1)).is_none());
    let mut seen = 0;
    while let Some(address) = machine.server.poll_probe() {
        seen += 1;
        machine.server.handle_address_in_use(machine.now, address);
        assert!(machine.reply().is_none());
    }
    assert_eq!((seen, machine.server.poll_timeout()), (4, None));
}

#[test]
fn addresses_are_not_looked_at_when_reserved_or_when_nobody_has_room_to_wait() {
    let mut machine = Machine::probing(1);
    assert!(machine.hear(&Says::discover(1)).is_none());
    // No slot: as it is, and counted.
    assert_eq!(machine.ask(&Says::discover(2)), offer(at(101)));
    assert_eq!(machine.server.counters().not_probed, 1);
    // Another server's offer was taken: nothing is said, and the slot is free again.
    assert_eq!(machine.server.poll_probe(), Some(at(100)));
    machine.ask(&Says::reboot(1, at(9)).server(OTHER));
    assert!(machine.wait().is_none());
    assert_eq!(machine.server.poll_timeout(), None);
    assert!(machine.hear(&Says::discover(4)).is_none());
    assert_eq!(machine.server.poll_probe(), Some(at(100)));
    // A reserved address is its client's, who may answer from it.
    let reservations = Box::leak(Box::new([DhcpReservation {
        identifier: None,
        hardware: Some(DhcpHardware::ethernet(mac(9))),
        address: at(50),
        host_name: None,
    }]));
    let mut config = DhcpServerConfig::new(SERVER, subnets());
    config.reservations = reservations;
    let Machine { server, now } = Machine::of(config, 300);
    let probes = Box::leak(Box::new([DhcpProbeSlot::EMPTY]));
    let server = server.with_probes(&mut probes[..]);
    let mut machine = Machine { server, now };
    assert_eq!(machine.ask(&Says::discover(9)), offer(at(50)));
}

#[test]
fn reserved_addresses_are_for_their_clients_alone() {
    let reservations = Box::leak(Box::new([
        DhcpReservation {
            identifier: None,
            hardware: Some(DhcpHardware::ethernet(mac(7))),
            address: at(50),
            host_name: Some("seven"),
        },
        DhcpReservation {
            identifier: Some(b"\0eight"),
            hardware: None,
            address: at(101),
            host_name: None,
        },
    ]));
    let mut config = DhcpServerConfig::new(SERVER, subnets());
    config.reservations = reservations;
    let mut machine = Machine::of(config, 16);
    let said = machine.hear(&Says::discover(7)).unwrap();
    assert_eq!(said.address(), at(50));
    let name = said.packet().option(option::HOST_NAME).unwrap();
    assert_eq!(name.contiguous(), Some(&b"seven"[..]));
    assert_eq!(
        machine.ask(&Says::reboot(7, at(50))),
        ack(at(50)),
        "without any record"
    );
    assert_eq!(
        machine.ask(&Says::reboot(7, at(103))),
        NAK,
        "it has one of its own"
    );
    assert_eq!(machine.ask(&Says::select(6, at(50))), NAK);
    let eight = |says: Says| says.with(option::CLIENT_IDENTIFIER, b"\0eight");
    let asks = Says::discover(1).with(option::REQUESTED_ADDRESS, &at(101).octets());
    assert_eq!(machine.ask(&asks), offer(at(100)));
    assert_eq!(machine.ask(&Says::discover(2)), offer(at(103)));
    assert_eq!(machine.ask(&Says::discover(3)), None);
    assert_eq!(machine.ask(&eight(Says::discover(3))), offer(at(101)));
    assert_eq!(machine.ask(&eight(Says::select(3, at(101)))), ack(at(101)));
    assert_eq!(
        machine.ask(&Says::renew(3, at(101))),
        NAK,
        "the same station without the name"
    );
}
