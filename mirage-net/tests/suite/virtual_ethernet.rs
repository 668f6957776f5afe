//! Whole stacks over a virtual Ethernet, in virtual time, with every fault.

use std::collections::HashMap;
use std::time::Duration;

use mirage_core::doubles::{Chance, Faults};
use mirage_core::{Instant, MacAddress, OffloadFlags};
use mirage_net::*;
use proptest::prelude::*;

use crate::common::*;

#[test]
fn two_stacks_resolve_each_other_and_ping() {
    let mut net = Net::new(1, 2, |_, _| {});
    net.run(Duration::from_secs(5));
    for length in [0, 1, 56, 1472] {
        let now = net.now;
        let sequence = net.nodes[0].stack.ping(now, ip(2).into(), length).unwrap();
        net.run(Duration::from_millis(10));
        let expected = Event::EchoReply {
            source: ip(2).into(),
            sequence,
            round_trip: Duration::ZERO,
            length,
        };
        assert_eq!(net.nodes[0].events.last(), Some(&expected));
    }
    assert_eq!(net.nodes[0].stack.neighbour(ip(2).into()), Some(mac(2)));
    // The peer learned us from our request, and asked nobody.
    assert_eq!(net.nodes[1].stack.counters().neighbours.requests, 0);
    net.assert_whole();
}

#[test]
fn a_ping_larger_than_the_mtu_goes_in_fragments_both_ways() {
    let mut net = Net::new(1, 2, |_, config| config.mtu = 576);
    let now = net.now;
    net.nodes[0].stack.ping(now, ip(2).into(), 1900).unwrap();
    net.run(Duration::from_millis(10));
    let reply = net.nodes[0].events.last().unwrap();
    assert!(
        matches!(reply, Event::EchoReply { length: 1900, .. }),
        "{reply:?}"
    );
    let counters = net.nodes[1].stack.counters();
    assert_eq!(counters.reassembly.completed, 1);
    assert_eq!(counters.send.fragmented, 1);
    net.assert_whole();
}

#[test]
fn large_datagrams_arrive_whole() {
    for (length, mtu, segment) in [
        (0, 1500, usize::MAX),
        (1, 1500, 1),
        (1472, 1500, 100),
        (1473, 1500, usize::MAX),
        (9000, 1500, 90),
        (9000, 9000, 1000),
        (30_000, 1500, usize::MAX),
    ] {
        let mut net = Net::new(1, 2, |_, config| {
            config.mtu = mtu;
            config.segment_len = segment.max(mtu as usize / 8 + 20);
        });
        let handle = net.bind(1, 53);
        let sender = net.bind(0, 1000);
        let payload = pattern(length, 3);
        let now = net.now;
        let sent = net.nodes[0]
            .stack
            .udp_send(now, sender, Some(at(2, 53)), &payload);
        sent.unwrap();
        net.run(Duration::from_millis(10));
        let received = net.received(1, handle);
        assert_eq!(
            received.len(),
            1,
            "{length} over {mtu}: {:?}",
            net.nodes[1].stack.counters()
        );
        assert_eq!(received[0].0, at(1, 1000));
        assert!(received[0].1 == payload);
        net.assert_whole();
    }
}

#[test]
fn offloaded_checksums_are_left_to_the_device_and_counted_apart() {
    for (transmit, receive) in [(false, true), (true, false), (true, true)] {
        let mut net = Net::new(1, 2, |number, config| {
            if number == 1 && transmit {
                config.offloads.flags = OffloadFlags::TRANSMIT_PARTIAL_V4;
            }
            if number == 2 && receive {
                config.offloads.flags =
                    OffloadFlags::RECEIVE_PARTIAL | OffloadFlags::RECEIVE_VERIFIED;
            }
        });
        let handle = net.bind(1, 53);
        let sender = net.bind(0, 1000);
        let now = net.now;
        // The second is fragmented: no device completes its checksum.
        for length in [100, 4000] {
            let payload = pattern(length, 1);
            let stack = &mut net.nodes[0].stack;
            stack
                .udp_send(now, sender, Some(at(2, 53)), &payload)
                .unwrap();
        }
        net.run(Duration::from_millis(10));
        let counters = net.nodes[1].stack.counters().udp;
        let seen = (
            counters.partial,
            counters.verified_by_device,
            counters.verified_here,
        );
        let expected = match (transmit, receive) {
            (true, true) => (1, 0, 1),
            (false, true) => (0, 1, 1),
            _ => (0, 0, 2),
        };
        assert_eq!(seen, expected);
        assert_eq!(net.received(1, handle)[1].1, pattern(4000, 1));
        net.assert_whole();
    }
}

/// Every fault at once: what arrives is what was sent, and what doesn't is counted by somebody.
fn under_faults(seed: u64, faults: Faults, datagrams: usize, largest: usize) {
    let mut net = Net::new(seed, 2, |_, config| {
        config.faults = faults;
        config.receive_queue = 4096;
    });
    let handle = net.bind(1, 53);
    let sender = net.bind(0, 1000);
    // Requests and replies may be lost many times over; that is not what is counted below.
    for _ in 0..100 {
        if net.nodes[0].stack.neighbour(ip(2).into()).is_none() {
            let now = net.now;
            let _ = net.nodes[0].stack.ping(now, ip(2).into(), 8);
            net.run(Duration::from_secs(5));
        }
    }
    let mut sent: HashMap<Vec<u8>, usize> = HashMap::new();
    let mut accepted = 0;
    let mut received = 0;
    for number in 0..datagrams {
        let length = 8 + (number * 977) % largest;
        let mut payload = pattern(length, number);
        payload[..8].copy_from_slice(&(number as u64).to_be_bytes());
        let now = net.now;
        let stack = &mut net.nodes[0].stack;
        if stack
            .udp_send(now, sender, Some(at(2, 53)), &payload)
            .is_ok()
        {
            accepted += 1;
        }
        sent.insert(payload, number);
        net.run(Duration::from_millis(7));
        for (source, payload) in net.received(1, handle) {
            assert_eq!(source, at(1, 1000));
            assert!(sent.contains_key(&payload), "bytes that nobody sent");
            received += 1;
        }
    }
    net.run(Duration::from_secs(60));
    received += net.received(1, handle).len();
    let counters = net.nodes[1].stack.counters();
    assert_eq!(counters.udp.delivered, received as u64);
    let line = net.nodes[1].netif.counters();
    // Each frame that the device gave is accounted for, under one name.
    assert_eq!(counters.received, accounted(&counters), "{counters:#?}");
    if faults == Faults::NONE {
        assert_eq!(received, accepted);
        assert_eq!(accepted, datagrams);
    } else {
        assert!(received > 0, "nothing came through: {line:?}");
    }
    net.assert_whole();
}

/// The frames that a stack's counters explain.
fn accounted(c: &Counters) -> u64 {
    let ethernet = c.ethernet.truncated
        + c.ethernet.bad_source
        + c.ethernet.not_for_us
        + c.ethernet.own
        + c.ethernet.ipv6
        + c.ethernet.unknown_type
        + c.ethernet.no_pages;
    let ipv4 = c.ipv4.truncated
        + c.ipv4.malformed
        + c.ipv4.bad_checksum
        + c.ipv4.bad_source
        + c.ipv4.bad_destination
        + c.ipv4.not_for_us
        + c.ipv4.broadcast_mismatch
        + c.ipv4.unknown_protocol;
    let udp = c.udp.truncated
        + c.udp.malformed
        + c.udp.bad_checksum
        + c.udp.no_port
        + c.udp.queue_full
        + c.udp.no_pages
        + c.udp.delivered
        + c.udp.served;
    let icmp = c.icmp.truncated
        + c.icmp.bad_checksum
        + c.icmp.echo_answered
        + c.icmp.echo_broadcast
        + c.icmp.echo_limited
        + c.icmp.echo_failed
        + c.icmp.echo_unexpected
        + c.icmp.errors_taken
        + c.icmp.errors_unmatched
        + c.icmp.ignored
        + c.icmp.unknown_type;
    // ARP packets are counted as a whole; a completed datagram is counted above as well.
    let arp = c.arp.received;
    let fragments = c.reassembly.fragments - c.reassembly.completed;
    ethernet + ipv4 + udp + icmp + arp + fragments
}

#[test]
fn a_perfect_wire_loses_nothing() {
    under_faults(1, Faults::NONE, 300, 4000);
}

#[test]
fn each_fault_alone() {
    let some = Chance::percent(20);
    let none = Faults::NONE;
    let all = [
        Faults { loss: some, ..none },
        Faults {
            duplication: some,
            ..none
        },
        Faults {
            reordering: some,
            ..none
        },
        Faults {
            corruption: some,
            ..none
        },
        Faults {
            truncation: some,
            ..none
        },
        Faults {
            trailing: some,
            ..none
        },
        Faults {
            delay: Duration::from_millis(30),
            jitter: Duration::from_millis(20),
            ..none
        },
    ];
    for (seed, faults) in all.into_iter().enumerate() {
        under_faults(seed as u64 + 10, faults, 200, 3000);
    }
}

#[test]
fn all_faults_together() {
    let some = Chance::percent(8);
    let faults = Faults {
        loss: some,
        duplication: some,
        reordering: some,
        corruption: some,
        truncation: some,
        trailing: some,
        delay: Duration::from_millis(3),
        jitter: Duration::from_millis(3),
        ..Faults::NONE
    };
    for seed in 0..5 {
        under_faults(seed, faults, 300, 3000);
    }
}

#[test]
fn trailing_bytes_change_nothing() {
    let faults = Faults {
        trailing: Chance::ALWAYS,
        ..Faults::NONE
    };
    let mut net = Net::new(3, 2, |_, config| config.faults = faults);
    let handle = net.bind(1, 53);
    let sender = net.bind(0, 1000);
    for length in [0, 5, 1472, 3000] {
        let now = net.now;
        let payload = pattern(length, 0);
        let stack = &mut net.nodes[0].stack;
        stack
            .udp_send(now, sender, Some(at(2, 53)), &payload)
            .unwrap();
        net.run(Duration::from_millis(10));
        assert_eq!(net.received(1, handle), [(at(1, 1000), payload)]);
    }
    net.assert_whole();
}

#[test]
fn a_second_machine_with_the_same_address_is_noticed_by_probes() {
    let mut net = Net::new(5, 2, |_, _| {});
    net.run(Duration::from_secs(5));
    let now = net.now;
    let cidr = Cidr::new(ip(1).into(), 24).unwrap();
    let stack = &mut net.nodes[1].stack;
    stack
        .add_address(now, cidr, ConflictConfig::default())
        .unwrap();
    net.run(Duration::from_secs(10));
    let state = net.nodes[1].stack.address_state(ip(1).into());
    assert_eq!(state, Some(AddressState::Conflicted));
    let lost = Event::AddressLost {
        address: ip(1).into(),
        other: mac(1),
    };
    assert!(net.nodes[1].events.contains(&lost));
    // The first keeps it, and wasn't even disturbed: a probe claims nothing.
    let state = net.nodes[0].stack.address_state(ip(1).into());
    assert_eq!(state, Some(AddressState::Preferred));
    assert_eq!(net.nodes[0].stack.counters().arp.conflicts, 0);
}

#[test]
fn a_free_address_is_acquired_after_the_probes() {
    let mut net = Net::new(6, 2, |_, _| {});
    let cidr = Cidr::new(ip(77).into(), 24).unwrap();
    let stack = &mut net.nodes[1].stack;
    stack
        .add_address(Instant::ZERO, cidr, ConflictConfig::default())
        .unwrap();
    net.run(Duration::from_secs(2));
    let stack = &net.nodes[1].stack;
    assert_eq!(
        stack.address_state(ip(77).into()),
        Some(AddressState::Tentative)
    );
    net.run(Duration::from_secs(6));
    assert!(
        net.nodes[1]
            .events
            .contains(&Event::AddressAcquired(ip(77).into()))
    );
    let now = net.now;
    net.nodes[0].stack.ping(now, ip(77).into(), 8).unwrap();
    net.run(Duration::from_secs(1));
    let reply = net.nodes[0].events.last();
    assert!(matches!(reply, Some(Event::EchoReply { .. })), "{reply:?}");
    net.assert_whole();
}

#[test]
fn a_closed_port_is_reported_to_a_connected_socket() {
    let mut net = Net::new(7, 2, |_, _| {});
    let local = (std::net::Ipv4Addr::UNSPECIFIED, 0).into();
    let options = UdpOptions::connect(local, at(2, 9));
    let handle = net.nodes[0].stack.udp_bind(options).unwrap();
    let now = net.now;
    net.nodes[0]
        .stack
        .udp_send(now, handle, None, b"?")
        .unwrap();
    net.run(Duration::from_millis(10));
    let result = net.nodes[0].stack.udp_receive(handle);
    assert_eq!(result.unwrap_err(), SocketError::Refused);
    assert!(matches!(net.nodes[0].stack.udp_receive(handle), Ok(None)));
    net.assert_whole();
}

#[test]
fn a_neighbour_that_does_not_answer_is_reported_and_its_datagrams_are_counted() {
    let mut net = Net::new(8, 2, |_, _| {});
    let local = (std::net::Ipv4Addr::UNSPECIFIED, 0).into();
    let options = UdpOptions::connect(local, at(99, 9));
    let handle = net.nodes[0].stack.udp_bind(options).unwrap();
    let now = net.now;
    let stack = &mut net.nodes[0].stack;
    for _ in 0..6 {
        stack.udp_send(now, handle, None, b"?").unwrap();
    }
    assert_eq!(stack.pending(), 4);
    net.run(Duration::from_secs(7));
    let stack = &mut net.nodes[0].stack;
    assert_eq!(
        stack.udp_receive(handle).unwrap_err(),
        SocketError::NeighbourUnreachable
    );
    let counters = stack.counters().neighbours;
    assert_eq!((counters.pending_replaced, counters.pending_failed), (2, 4));
    assert_eq!(counters.requests, 3);
    assert_eq!(
        stack.udp_send(net.now, handle, None, b"?"),
        Err(SendError::Unreachable)
    );
    net.run(Duration::from_secs(4));
    let now = net.now;
    assert_eq!(net.nodes[0].stack.udp_send(now, handle, None, b"?"), Ok(()));
    net.assert_whole();
}

#[test]
fn a_gateway_outside_the_prefix_is_resolved() {
    let mut net = Net::new(9, 2, |_, _| {});
    let gateway = Cidr::new("192.0.2.1".parse().unwrap(), 32).unwrap();
    let now = net.now;
    let stack = &mut net.nodes[1].stack;
    stack
        .add_address(now, gateway, ConflictConfig::assigned())
        .unwrap();
    let stack = &mut net.nodes[0].stack;
    stack.remove_address(ip(1).into());
    let own = Cidr::new("203.0.113.9".parse().unwrap(), 32).unwrap();
    stack
        .add_address(now, own, ConflictConfig::assigned())
        .unwrap();
    assert_eq!(
        stack.ping(now, gateway.address(), 1),
        Err(SendError::NoRoute)
    );
    stack.add_default_route(gateway.address()).unwrap();
    net.nodes[1].stack.add_default_route(own.address()).unwrap();
    net.nodes[0].stack.ping(now, gateway.address(), 1).unwrap();
    net.run(Duration::from_secs(1));
    let reply = net.nodes[0].events.last();
    assert!(matches!(reply, Some(Event::EchoReply { .. })), "{reply:?}");
    net.assert_whole();
}

#[test]
fn a_link_that_comes_back_announces_and_resolves_again() {
    let mut net = Net::new(9, 2, |_, _| {});
    net.run(Duration::from_secs(5));
    let now = net.now;
    net.nodes[0].stack.ping(now, ip(2).into(), 1).unwrap();
    net.run(Duration::from_secs(1));
    let now = net.now;
    let stack = &mut net.nodes[0].stack;
    assert_eq!(stack.neighbour(ip(2).into()), Some(mac(2)));
    stack.handle_link(now, false);
    stack.handle_link(now, true);
    assert_eq!(stack.neighbour(ip(2).into()), None);
    // RFC 5227 §2.3: a broadcast request whose sender and target are the address.
    let announcement = arp(
        1,
        MacAddress::BROADCAST,
        (mac(1), ip(1)),
        (MacAddress::UNSPECIFIED, ip(1)),
    );
    let sent = drain(stack, now);
    assert!(
        sent.iter().any(|frame| frame.starts_with(&announcement)),
        "{sent:02x?}"
    );
    // The second announcement goes over the wire, and to nobody but the one peer.
    let before = net.nodes[1].stack.counters();
    net.run(Duration::from_secs(3));
    let after = net.nodes[1].stack.counters();
    assert_eq!(after.arp.received - before.arp.received, 1);
    // The peer is asked for again, and answers.
    let now = net.now;
    let sequence = net.nodes[0].stack.ping(now, ip(2).into(), 7).unwrap();
    net.run(Duration::from_secs(1));
    let expected = Event::EchoReply {
        source: ip(2).into(),
        sequence,
        round_trip: Duration::ZERO,
        length: 7,
    };
    assert_eq!(net.nodes[0].events.last(), Some(&expected));
    assert_eq!(net.nodes[0].stack.neighbour(ip(2).into()), Some(mac(2)));
    assert_eq!(net.nodes[0].stack.counters().neighbours.requests, 2);
    net.assert_whole();
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]
    #[test]
    fn any_mix_of_faults(
        seed: u64, loss in 0u32..30, duplication in 0u32..30, reordering in 0u32..30,
        corruption in prop_oneof![Just(0u32), 0u32..30],
        truncation in prop_oneof![Just(0u32), 0u32..30], trailing in 0u32..30
    ) {
        let faults = Faults {
            loss: Chance::percent(loss),
            duplication: Chance::percent(duplication),
            reordering: Chance::percent(reordering),
            corruption: Chance::percent(corruption),
            truncation: Chance::percent(truncation),
            trailing: Chance::percent(trailing),
            delay: Duration::from_millis(1),
            ..Faults::NONE
        };
        // What the Internet checksum can't notice is left out: random bytes put in the place of
        // lost ones, and two flips, in two fragments, that cancel.
        let trailing = if truncation == 0 { faults.trailing } else { Chance::NEVER };
        let largest = if corruption == 0 { 2500 } else { 1400 };
        under_faults(seed, Faults { trailing, ..faults }, 80, largest);
    }
}
