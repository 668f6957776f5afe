//! T1 and T2, renewal and rebinding, and the end of a lease.

use super::*;

#[test]
fn hazard_no_t1_t2_renew_and_rebind() {
    for seed in 0..20 {
        let mut machine = Machine::new(seed);
        machine.bind(&Says::ack().lasting(4_000));
        // The lease began when the request was sent.
        let began = machine.client.asked;
        let sent = machine.run(Duration::from_secs(4_000));
        let renews: Vec<_> = sent.iter().filter(|s| s.to.destination == SERVER).collect();
        let rebinds: Vec<_> = sent
            .iter()
            .filter(|s| {
                s.to.destination == Ipv4Addr::BROADCAST && s.kind() == DhcpMessageType::Request
            })
            .collect();
        let t1 = seconds(renews[0].at - began);
        assert!((1_875.0..=2_000.0).contains(&t1), "{t1}");
        let t2 = seconds(rebinds[0].at - began);
        assert!((3_437.0..=3_500.0).contains(&t2), "{t2}");
        for message in renews.iter().chain(&rebinds) {
            let packet = message.packet();
            assert_eq!(packet.client_address(), OURS);
            assert_eq!(packet.address(option::SERVER_IDENTIFIER), None);
            assert_eq!(packet.address(option::REQUESTED_ADDRESS), None);
            assert!(!packet.broadcast());
            assert_eq!(message.to.source, OURS);
        }
        // Half of what is left, but not below a minute.
        for (messages, end) in [(&renews, t2), (&rebinds, 4_000.0)] {
            for pair in messages.windows(2) {
                let (one, two) = (seconds(pair[0].at - began), seconds(pair[1].at - began));
                let expected = ((end - one) / 2.0).max(60.0);
                assert!((two - one - expected).abs() < 0.001, "{one} {two}");
            }
        }
        assert!(renews.len() >= 4 && rebinds.len() >= 3);
        // At the end the address is lost, at once, and a new one is looked for: the same, if it is still there.
        let discover = sent.last().unwrap();
        assert_eq!(discover.kind(), DhcpMessageType::Discover);
        assert_eq!(discover.at, began + Duration::from_secs(4_000));
        assert_eq!(
            discover.packet().address(option::REQUESTED_ADDRESS),
            Some(OURS)
        );
        assert_eq!(machine.events(), [DhcpClientEvent::Lost(DhcpLoss::Expired)]);
        assert!(machine.client.lease().is_none());
    }
}

#[test]
fn a_renewal_begins_when_it_was_asked_for() {
    let mut machine = Machine::new(8);
    machine.bind(&Says::ack());
    let renew = machine.next();
    assert_eq!(machine.client.state(), DhcpClientState::Renewing);
    machine.run(Duration::from_secs(7));
    machine.hear(&Says::ack());
    assert_eq!(machine.client.state(), DhcpClientState::Bound);
    assert_eq!(
        machine.client.expires(),
        Some(renew.at + Duration::from_secs(3_600))
    );
    assert_eq!(
        machine.events(),
        [DhcpClientEvent::Renewed { changed: false }]
    );
    // An answer that comes twice is none to a question that is over.
    machine.hear(&Says::ack());
    assert_eq!(machine.events(), []);
    // The other router is news; a server that another's failed.
    machine.next();
    machine.hear(
        &Says::ack()
            .from(OTHER)
            .without(option::ROUTER)
            .with(option::ROUTER, &[10, 0, 0, 2]),
    );
    assert_eq!(
        machine.events(),
        [DhcpClientEvent::Renewed { changed: true }]
    );
    assert_eq!(machine.next().to.destination, OTHER);
}

#[test]
fn the_servers_times_are_taken_if_they_make_sense() {
    for (t1, t2, sensible) in [
        (100, 200, true),
        (0, 200, false),
        (200, 200, false),
        (300, 200, false),
        (100, 3_600, false),
    ] {
        let mut machine = Machine::new(9);
        let time = |seconds: u32| seconds.to_be_bytes();
        machine.bind(
            &Says::ack()
                .with(option::RENEWAL_TIME, &time(t1))
                .with(option::REBINDING_TIME, &time(t2)),
        );
        let began = machine.client.asked;
        let renew = machine.next().at - began;
        assert_eq!(renew == Duration::from_secs(100), sensible, "{t1} {t2}");
        assert!(sensible || renew > Duration::from_secs(1_600));
    }
}

/// RFC 2132 §9.11, §9.12: either may be there without the other.
#[test]
fn rfc2131_4_4_5_a_server_may_say_one_of_the_times_alone() {
    let bound = |says: Says| {
        let mut machine = Machine::new(9);
        machine.bind(&says);
        let began = machine.client.asked;
        let held = machine.client.held.clone().unwrap();
        (
            (held.renew - began).as_secs(),
            (held.rebind - began).as_secs(),
        )
    };
    let time = |seconds: u32| seconds.to_be_bytes();
    let (renew, rebind) = bound(Says::ack().with(option::RENEWAL_TIME, &time(300)));
    assert_eq!(renew, 300);
    assert!((3_000..=3_150).contains(&rebind), "{rebind}");
    let (renew, rebind) = bound(Says::ack().with(option::REBINDING_TIME, &time(2_000)));
    assert!((1_600..=1_800).contains(&renew), "{renew}");
    assert_eq!(rebind, 2_000);
    // Behind the other, or behind the end.
    for (code, wrong) in [
        (option::RENEWAL_TIME, 0),
        (option::RENEWAL_TIME, 3_300),
        (option::REBINDING_TIME, 1_000),
        (option::REBINDING_TIME, 3_600),
        (option::REBINDING_TIME, u32::MAX),
    ] {
        let (renew, rebind) = bound(Says::ack().with(code, &time(wrong)));
        assert!((1_600..=1_800).contains(&renew), "{code} {wrong}: {renew}");
        assert!(
            (3_000..=3_150).contains(&rebind),
            "{code} {wrong}: {rebind}"
        );
    }
}

#[test]
fn a_lease_for_ever_is_never_renewed() {
    let mut machine = Machine::new(10);
    machine.bind(&Says::ack().lasting(u32::MAX));
    assert_eq!(
        (machine.client.poll_timeout(), machine.client.expires()),
        (None, None)
    );
    let century = Duration::from_secs(100 * 365 * 86_400);
    assert!(machine.run(century).is_empty());
    assert_eq!(machine.client.state(), DhcpClientState::Bound);
}

#[test]
fn a_clock_that_jumps_over_a_whole_lease_loses_it_once() {
    let mut machine = Machine::new(20);
    machine.bind(&Says::ack());
    machine.now += Duration::from_secs(10_000_000);
    machine.client.handle_timeout(machine.now);
    assert_eq!(machine.events(), [DhcpClientEvent::Lost(DhcpLoss::Expired)]);
    assert_eq!(machine.next().kind(), DhcpMessageType::Discover);
}

#[test]
fn an_answer_that_comes_after_its_lease_is_over_is_none() {
    let mut machine = Machine::new(21);
    machine.next();
    machine.hear(&Says::offer().lasting(20));
    machine.next();
    machine.now += Duration::from_secs(30);
    let bytes = Says::ack()
        .lasting(20)
        .bytes(machine.client.transaction, MAC);
    machine.client.handle_message(machine.now, &bytes);
    assert_eq!(
        (machine.events(), machine.client.counters().too_short),
        (vec![], 1)
    );
}
