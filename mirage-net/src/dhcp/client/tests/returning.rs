//! An earlier address: after a restart, a link that was down, a suspension, a release.

use super::*;

#[test]
fn an_earlier_address_is_asked_for_first() {
    let mut config = DhcpClientConfig::new(MAC);
    config.last_address = Some(OURS);
    let mut machine = Machine::of(config.clone(), 15);
    assert_eq!(machine.client.state(), DhcpClientState::InitReboot);
    let request = machine.next();
    let packet = request.packet();
    assert_eq!(request.kind(), DhcpMessageType::Request);
    assert_eq!(packet.address(option::REQUESTED_ADDRESS), Some(OURS));
    assert_eq!(packet.address(option::SERVER_IDENTIFIER), None, "§4.3.2");
    assert_eq!(packet.client_address(), Ipv4Addr::UNSPECIFIED);
    assert_eq!(request.to.destination, Ipv4Addr::BROADCAST);
    machine.hear(&Says::ack().of(Ipv4Addr::new(10, 0, 0, 9)));
    assert_eq!(machine.client.state(), DhcpClientState::Rebooting);
    machine.hear(&Says::ack().from(OTHER));
    assert_eq!(machine.events(), [DhcpClientEvent::Acquired]);

    // Refused: another, at once.
    let mut machine = Machine::of(config.clone(), 16);
    machine.next();
    let refused = machine.now;
    machine.hear(&Says::nak().from(OTHER));
    let discover = machine.next();
    assert_eq!(
        (discover.at, discover.kind()),
        (refused, DhcpMessageType::Discover)
    );
    assert_eq!(discover.packet().address(option::REQUESTED_ADDRESS), None);

    // Nobody answers: two questions, then another, or the same.
    let mut machine = Machine::of(config, 17);
    let sent = machine.run(Duration::from_secs(15));
    let kinds: Vec<_> = sent.iter().map(Sent::kind).collect();
    let (request, discover) = (DhcpMessageType::Request, DhcpMessageType::Discover);
    assert_eq!(kinds, [request, request, discover]);
    assert_eq!(
        sent[2].packet().address(option::REQUESTED_ADDRESS),
        Some(OURS)
    );
}

#[test]
fn a_link_that_comes_up_again_has_the_lease_asked_for_and_used_meanwhile() {
    let mut machine = Machine::new(18);
    machine.bind(&Says::ack());
    machine.run(Duration::from_secs(100));
    let expires = machine.client.expires();
    machine.client.handle_link(machine.now, false);
    machine.client.handle_link(machine.now, true);
    machine.client.handle_timeout(machine.now);
    let request = machine.next();
    assert_eq!(
        request.packet().address(option::REQUESTED_ADDRESS),
        Some(OURS)
    );
    assert_eq!(request.packet().address(option::SERVER_IDENTIFIER), None);
    assert!(machine.client.is_configured());
    // Nobody answers: on with the rest of the lease.
    machine.run(Duration::from_secs(20));
    assert_eq!(machine.client.state(), DhcpClientState::Bound);
    assert_eq!(
        (machine.events(), machine.client.expires()),
        (vec![], expires)
    );
    // The old network: on with more.
    machine.client.handle_link(machine.now, true);
    let asked = machine.next().at;
    machine.hear(&Says::ack());
    assert_eq!(
        machine.events(),
        [DhcpClientEvent::Renewed { changed: false }]
    );
    assert_eq!(machine.client.state(), DhcpClientState::Bound);
    assert_eq!(
        machine.client.expires(),
        Some(asked + Duration::from_secs(3_600))
    );
    // Another network.
    machine.client.handle_link(machine.now, true);
    machine.next();
    machine.hear(&Says::nak().from(OTHER));
    assert_eq!(machine.events(), [DhcpClientEvent::Lost(DhcpLoss::Refused)]);
    assert_eq!(machine.next().kind(), DhcpMessageType::Discover);
}

#[test]
fn a_machine_that_was_suspended_has_its_lease_verified_and_less_of_it_left() {
    let mut machine = Machine::new(18);
    machine.bind(&Says::ack());
    machine.run(Duration::from_secs(100));
    let expires = machine.client.expires().unwrap();
    // The clock of the machine stood still for ten minutes.
    let away = Duration::from_secs(600);
    machine.client.handle_resume(machine.now, Some(away));
    assert_eq!(machine.client.expires(), Some(expires - away));
    assert!(machine.client.is_configured());
    machine.client.handle_timeout(machine.now);
    let request = machine.next();
    assert_eq!(request.kind(), DhcpMessageType::Request);
    let packet = request.packet();
    assert_eq!(packet.address(option::REQUESTED_ADDRESS), Some(OURS));
    assert!(packet.client_address().is_unspecified());
    // Nobody answers: used until its end, which comes earlier.
    machine.run(Duration::from_secs(3_600 - 600 - 100 - 1));
    assert!(machine.client.is_configured());
    machine.run(Duration::from_secs(2));
    assert_eq!(machine.events(), [DhcpClientEvent::Lost(DhcpLoss::Expired)]);
    // Away for longer than any lease, by a clock that may be wrong; and a lease for ever.
    for (ack, away, lost) in [
        (Says::ack(), Duration::from_secs(3_600), true),
        (Says::ack(), Duration::MAX, true),
        (Says::ack(), Duration::ZERO, false),
        (Says::ack().lasting(u32::MAX), Duration::MAX, false),
    ] {
        let mut machine = Machine::new(18);
        machine.bind(&ack);
        machine.run(Duration::from_secs(20));
        machine.client.handle_resume(machine.now, Some(away));
        assert_eq!(machine.client.lease().is_none(), lost);
        let request = machine.next();
        assert_eq!(
            request.packet().address(option::REQUESTED_ADDRESS),
            Some(OURS)
        );
    }
}

#[test]
fn a_lease_that_is_given_back_is_asked_for_again_later() {
    let mut machine = Machine::new(19);
    machine.bind(&Says::ack());
    machine.client.release(machine.now);
    let release = machine.next();
    let packet = release.packet();
    assert_eq!(release.kind(), DhcpMessageType::Release);
    assert_eq!((release.to.source, release.to.destination), (OURS, SERVER));
    assert_eq!(packet.client_address(), OURS);
    assert_eq!(packet.address(option::SERVER_IDENTIFIER), Some(SERVER));
    assert_eq!(packet.address(option::REQUESTED_ADDRESS), None);
    assert_eq!(
        machine.events(),
        [DhcpClientEvent::Lost(DhcpLoss::Released)]
    );
    assert_eq!(machine.client.state(), DhcpClientState::Stopped);
    assert!(machine.run(Duration::from_secs(100_000)).is_empty());
    machine.client.start(machine.now);
    assert_eq!(
        machine.next().packet().address(option::REQUESTED_ADDRESS),
        Some(OURS)
    );
    // Without a lease there is nothing to give back.
    machine.client.release(machine.now);
    assert!(machine.sent().is_none());
    assert_eq!(machine.events(), []);
}
