//! Leases: renewed, refused, given back, recorded, and all that fit.

use super::*;

#[test]
fn hazard_the_server_naks_another_servers_lease() {
    let mut machine = Machine::new();
    machine.lease(1);
    let foreign = [
        // Of another network, of this one but no pool's, the server's own, the router's.
        Says::reboot(9, Ipv4Addr::new(192, 168, 1, 5)),
        Says::reboot(9, at(77)),
        Says::reboot(9, SERVER),
        Says::reboot(9, at(102)),
        Says::renew(9, at(77)),
        Says::renew(9, Ipv4Addr::new(192, 168, 1, 5)),
        // Of a pool, but nobody knows it.
        Says::reboot(9, at(101)),
        Says::renew(9, at(101)),
        // Chosen from another server.
        Says::reboot(9, at(100)).server(OTHER),
        Says::reboot(1, at(77)).server(OTHER),
        // A client that has a lease here, and one elsewhere.
        Says::renew(1, at(77)),
    ];
    for (number, says) in foreign.iter().enumerate() {
        assert_eq!(machine.ask(says), None, "{number}");
    }
    assert_eq!(machine.server.counters().refused, 0);
    // Ours, and known to be another's: that is refused.
    assert_eq!(machine.ask(&Says::reboot(9, at(100))), NAK);
    assert_eq!(machine.ask(&Says::renew(9, at(100))), NAK);
    // Ours, free, and the client has another one of ours.
    assert_eq!(machine.ask(&Says::reboot(1, at(101))), NAK);
}

#[test]
fn an_authoritative_server_refuses_what_no_other_can_have_given() {
    let mut config = DhcpServerConfig::new(SERVER, subnets());
    config.authoritative = true;
    let mut machine = Machine::of(config, 8);
    assert_eq!(
        machine.ask(&Says::reboot(9, Ipv4Addr::new(192, 168, 1, 5))),
        NAK
    );
    assert_eq!(machine.ask(&Says::reboot(9, at(77))), NAK);
    // A lease that a restart forgot.
    assert_eq!(machine.ask(&Says::renew(8, at(101))), ack(at(101)));
    assert_eq!(machine.ask(&Says::reboot(9, at(103))), ack(at(103)));
    // Another server that was chosen is respected all the same.
    assert_eq!(machine.ask(&Says::reboot(9, at(100)).server(OTHER)), None);
}

#[test]
fn leases_are_renewed_and_reboots_answered() {
    let mut machine = Machine::new();
    let address = machine.lease(1);
    machine.pass(1_800);
    let said = machine.hear(&Says::renew(1, address)).unwrap();
    assert_eq!(
        (said.kind(), said.address()),
        (DhcpMessageType::Ack, address)
    );
    assert_eq!(said.packet().client_address(), address);
    assert_eq!(said.to.destination, SocketAddrV4::new(address, CLIENT_PORT));
    machine.pass(3_599);
    assert_eq!(machine.ask(&Says::reboot(1, address)), ack(address));
    // After its end, as long as nobody else has it.
    machine.pass(10_000);
    assert_eq!(machine.ask(&Says::renew(1, address)), ack(address));
    // Clients that say both.
    let both = Says::renew(1, address).with(option::REQUESTED_ADDRESS, &address.octets());
    assert_eq!(machine.ask(&both), ack(address));
    assert_eq!(machine.ask(&Says::new(DhcpMessageType::Request, 1)), None);
    assert_eq!(machine.server.counters().malformed, 1);
}

#[test]
fn lease_times_stay_within_bounds() {
    let time = |asked: Option<u32>| {
        let mut says = Says::discover(1);
        if let Some(asked) = asked {
            says = says.with(option::LEASE_TIME, &asked.to_be_bytes());
        }
        let said = Machine::new().hear(&says).unwrap();
        said.packet().u32(option::LEASE_TIME).unwrap()
    };
    assert_eq!(time(None), 3_600);
    assert_eq!(time(Some(0)), 60);
    assert_eq!(time(Some(7_200)), 7_200);
    assert_eq!(time(Some(1_000_000)), 86_400);
    assert_eq!(time(Some(u32::MAX)), 86_400);
    // For ever, where the owner allows it.
    let mut config = DhcpServerConfig::new(SERVER, subnets());
    config.longest_lease = Duration::MAX;
    let mut machine = Machine::of(config, 8);
    let forever = u32::MAX.to_be_bytes();
    machine.ask(&Says::discover(1));
    let says = Says::select(1, at(100)).with(option::LEASE_TIME, &forever);
    let said = machine.hear(&says).unwrap();
    assert_eq!(said.packet().u32(option::LEASE_TIME), Some(u32::MAX));
    assert_eq!(said.packet().u32(option::RENEWAL_TIME), None);
    machine.pass(100 * 365 * 86_400);
    assert_eq!(machine.ask(&Says::reboot(9, at(100))), NAK);
    assert_eq!(machine.changes()[0].expires, Some(u64::MAX));
}

#[test]
fn a_lease_that_is_given_back_is_free_and_remembered() {
    let mut machine = Machine::new();
    machine.lease(1);
    machine.ask(&Says::release(2, at(100)));
    assert_eq!(machine.server.counters().released, 0);
    assert_eq!(machine.ask(&Says::release(1, at(100))), None);
    let record = machine.changes()[0];
    assert_eq!(
        (record.address, record.kind),
        (at(100), DhcpLeaseKind::Released)
    );
    // Addresses that nobody had come first, so the first client finds its own again.
    assert_eq!(machine.ask(&Says::discover(2)), offer(at(101)));
    assert_eq!(machine.ask(&Says::discover(1)), offer(at(100)));
}

#[test]
fn a_full_table_drops_nothing_that_counts() {
    let mut machine = Machine::of(DhcpServerConfig::new(SERVER, subnets()), 2);
    machine.lease(1);
    machine.lease(2);
    assert_eq!(machine.ask(&Says::discover(3)), None);
    assert_eq!(machine.server.counters().table_full, 1);
    machine.ask(&Says::release(1, at(100)));
    assert_eq!(machine.ask(&Says::discover(3)), offer(at(103)));
    assert_eq!(machine.ask(&Says::renew(2, at(101))), ack(at(101)));
    let mut none = Machine::of(DhcpServerConfig::new(SERVER, subnets()), 0);
    assert_eq!(none.ask(&Says::discover(3)), None);
    assert_eq!(none.server.counters().table_full, 1);
}

#[test]
fn leases_outlive_a_restart() {
    let mut machine = Machine::new();
    for client in 1..=3 {
        machine.lease(client);
    }
    machine.ask(&Says::release(2, at(101)));
    machine.ask(&Says::decline(3, at(103)));
    let mut store: BTreeMap<Ipv4Addr, [u8; DhcpRecord::LEN]> = BTreeMap::new();
    for record in machine.changes() {
        store.insert(record.address, record.to_bytes());
    }
    assert_eq!(store.len(), 3);
    assert_eq!(machine.changes(), [], "once");
    // Another life, whose clock begins anew, ten minutes later.
    let wall = Duration::from_secs(1_700_000_000 + machine.now.as_secs() + 590);
    let mut later = Machine::new();
    later.now = Instant::ZERO;
    for bytes in store.values() {
        let record = DhcpRecord::from_bytes(bytes).unwrap();
        assert!(later.server.restore(later.now, Some(wall), &record));
        assert!(
            !later.server.restore(later.now, Some(wall), &record),
            "twice is once"
        );
    }
    assert_eq!(
        later.ask(&Says::reboot(9, at(100))),
        NAK,
        "it is still the first client's"
    );
    assert_eq!(later.ask(&Says::renew(1, at(100))), ack(at(100)));
    assert_eq!(later.ask(&Says::discover(2)), offer(at(101)));
    let asks = Says::discover(5).with(option::REQUESTED_ADDRESS, &at(103).octets());
    assert_eq!(later.ask(&asks), offer(at(103)), "in despair");
    // An hour later it is anybody's.
    let wall = wall + Duration::from_secs(3_600);
    let mut later = Machine::new();
    for bytes in store.values() {
        let record = DhcpRecord::from_bytes(bytes).unwrap();
        later.server.restore(later.now, Some(wall), &record);
    }
    let asks = Says::discover(5).with(option::REQUESTED_ADDRESS, &at(100).octets());
    assert_eq!(later.ask(&asks), offer(at(100)));
    // Without a wall clock: as if it had begun now, for it may have.
    let mut blind = Machine::new();
    let record = DhcpRecord::from_bytes(&store[&at(100)]).unwrap();
    blind.server.restore(blind.now, None, &record);
    blind.pass(86_399);
    assert_eq!(blind.ask(&Says::reboot(9, at(100))), NAK);
    blind.pass(2);
    assert_eq!(blind.ask(&Says::select(9, at(100))), ack(at(100)));
    // What is of no network of ours is nobody's.
    let mut foreign = record;
    foreign.address = Ipv4Addr::new(192, 0, 2, 1);
    assert!(!blind.server.restore(blind.now, None, &foreign));
}

#[test]
fn a_record_that_could_not_be_written_is_given_again() {
    let mut machine = Machine::new();
    machine.lease(1);
    let record = machine.changes()[0];
    assert_eq!(machine.changes(), []);
    machine.server.not_saved(record.address);
    assert_eq!(machine.changes(), [record]);
    assert_eq!(machine.server.counters().not_saved, 1);
    machine.server.not_saved(at(77));
    assert_eq!(machine.changes(), []);
}
