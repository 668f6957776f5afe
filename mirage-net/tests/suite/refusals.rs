//! What must be neither believed nor answered, where a single missing check would go unnoticed.

use std::net::Ipv4Addr;
use std::time::Duration;

use mirage_core::{Instant, MacAddress, Pool};
use mirage_net::*;

use crate::common::lone::*;
use crate::common::*;

/// The IPv4 packets of what a stack transmits.
fn datagrams(stack: &mut Stack<'_>, now: Instant) -> Vec<Vec<u8>> {
    let mut sent = drain(stack, now);
    sent.retain(|frame| frame[12..14] == [8, 0]);
    sent
}

#[test]
fn arp_packets_that_contradict_their_frame_or_name_no_host_are_not_learned_from() {
    let pool = Pool::leak(64, 2048).unwrap();
    let mut stack = lone_stack(pool);
    let us = (MacAddress::UNSPECIFIED, ip(1));
    // Who sends the frame is not who the packet says.
    let mut lie = arp(1, MacAddress::BROADCAST, (mac(9), ip(9)), us);
    lie[6..12].copy_from_slice(&mac(66).0);
    feed(&mut stack, NOW, &lie);
    // Nobody has these addresses.
    let nobody = [
        ip(255),
        Ipv4Addr::BROADCAST,
        Ipv4Addr::LOCALHOST,
        Ipv4Addr::new(224, 0, 0, 1),
    ];
    for address in nobody {
        feed(
            &mut stack,
            NOW,
            &arp(1, MacAddress::BROADCAST, (mac(9), address), us),
        );
        assert_eq!(stack.neighbour(address.into()), None);
    }
    assert_eq!(stack.neighbour(ip(9).into()), None);
    assert_eq!(stack.counters().arp.bad_sender, 5);
    assert_eq!(drain(&mut stack, NOW).len(), 0);
    // A reply to another station, which we happen to see while we ask.
    let handle = bind(&mut stack, 1000);
    stack.udp_send(NOW, handle, Some(at(9, 9)), b"?").unwrap();
    assert_eq!(drain(&mut stack, NOW).len(), 1);
    let overheard = arp(2, mac(1), (mac(66), ip(9)), (mac(3), ip(3)));
    feed(&mut stack, NOW, &overheard);
    assert_eq!(stack.neighbour(ip(9).into()), None);
    assert_eq!(stack.counters().arp.bad_sender, 6);
}

#[test]
fn the_padding_of_a_short_frame_does_not_come_back() {
    let pool = Pool::leak(64, 2048).unwrap();
    let mut stack = acquainted(pool);
    let mut echo = Ip::new(ip(2), ip(1), 1).frame(&icmp(8, 0, [1, 2, 3, 4], &[5; 3]));
    echo.resize(60, 0xee);
    feed(&mut stack, NOW, &echo);
    let sent = datagrams(&mut stack, NOW);
    assert_eq!(sent[0].len(), 14 + 20 + 8 + 3);
    assert_eq!(sent[0][34..], icmp(0, 0, [1, 2, 3, 4], &[5; 3]));
}

#[test]
fn a_ping_to_all_is_not_answered() {
    let pool = Pool::leak(64, 2048).unwrap();
    let mut stack = acquainted(pool);
    for destination in [ip(255), Ipv4Addr::BROADCAST] {
        let echo = Ip::new(ip(2), destination, 1).packet(&icmp(8, 0, [0; 4], b"smurf"));
        for to in [MacAddress::BROADCAST, mac(1)] {
            feed(&mut stack, NOW, &ethernet(to, mac(2), 0x0800, &echo));
        }
    }
    assert_eq!(stack.counters().icmp.echo_broadcast, 4);
    assert_eq!(datagrams(&mut stack, NOW).len(), 0);
}

#[test]
fn fragments_of_errors_and_of_broadcasts_time_out_in_silence() {
    let pool = Pool::leak(64, 2048).unwrap();
    let mut stack = acquainted(pool);
    // The first fragment of a long ICMP error; those of an echo request, which may be answered,
    // and of a datagram to all, which may not.
    let first = |destination: Ipv4Addr, identification, payload: &[u8]| {
        let mut header = Ip::new(ip(2), destination, if payload[0] == 0 { 17 } else { 1 });
        header.flags_offset = 0x2000;
        header.identification = identification;
        let to = if destination == ip(1) {
            mac(1)
        } else {
            MacAddress::BROADCAST
        };
        ethernet(to, mac(2), 0x0800, &header.packet(payload))
    };
    feed(
        &mut stack,
        NOW,
        &first(ip(1), 1, &icmp(3, 3, [0; 4], &[9; 24])),
    );
    feed(&mut stack, NOW, &first(ip(255), 2, &[0; 32]));
    let later = NOW + Duration::from_secs(30);
    assert_eq!(datagrams(&mut stack, later).len(), 0);
    assert_eq!(stack.counters().reassembly.timed_out, 2);
    assert_eq!(stack.counters().icmp.errors_forbidden, 2);
    feed(
        &mut stack,
        later,
        &first(ip(1), 3, &icmp(8, 0, [0; 4], &[9; 24])),
    );
    let later = later + Duration::from_secs(30);
    stack.handle_timeout(later);
    assert_eq!(stack.counters().icmp.errors_sent, 1);
}

#[test]
fn a_forged_report_lowers_no_path() {
    let pool = Pool::leak(64, 2048).unwrap();
    // Each alone, on a stack of its own: an earlier forgery must not hide a later one's effect.
    // Length, identification, Don't Fragment, a fragment's offset, protocol, addresses, ports.
    for (byte, bit) in [
        (16, 1),
        (17, 1),
        (18, 1),
        (19, 1),
        (20, 0x40),
        (21, 1),
        (23, 1),
        (26, 1),
        (29, 1),
        (33, 1),
        (34, 1),
        (35, 1),
        (36, 1),
        (37, 1),
    ] {
        let (mut stack, handle, sent) = connected(pool);
        let mut forged = sent.clone();
        forged[byte] ^= bit;
        feed(&mut stack, NOW, &error_about(3, 4, 600, &forged));
        assert_eq!(stack.counters().icmp.errors_unmatched, 1, "byte {byte}");
        assert!(matches!(stack.udp_receive(handle), Ok(None)), "byte {byte}");
        assert_eq!(stack.poll_event(), None, "byte {byte}");
        let again = stack.udp_send(NOW, handle, None, &[7; 1400]);
        assert_eq!(again, Ok(()), "byte {byte}");
        // The true one is believed: what failed above was the forgery alone.
        feed(&mut stack, NOW, &error_about(3, 4, 600, &sent));
        assert!(stack.udp_receive(handle).is_err());
    }
}

#[test]
fn a_quoted_later_fragment_tells_no_socket() {
    let pool = Pool::leak(64, 2048).unwrap();
    let (mut stack, handle, mut sent) = connected(pool);
    sent[21] |= 1;
    feed(&mut stack, NOW, &error_about(3, 3, 0, &sent));
    assert!(matches!(stack.udp_receive(handle), Ok(None)));
    assert_eq!(stack.counters().icmp.errors_unmatched, 1);
}

#[test]
fn only_errors_about_our_own_pings_end_them() {
    let pool = Pool::leak(64, 2048).unwrap();
    let mut stack = acquainted(pool);
    let sequence = stack.ping(NOW, ip(2).into(), 8).unwrap();
    let sent = datagrams(&mut stack, NOW).remove(0);
    // Identifier, sequence number, type; and another destination.
    for byte in [38, 41, 34, 33] {
        let mut forged = sent.clone();
        forged[byte] ^= 1;
        feed(&mut stack, NOW, &error_about(3, 1, 0, &forged));
        assert_eq!(stack.poll_event(), None, "byte {byte}");
    }
    // A reply with another's identifier is not ours either.
    let mut reply = sent[34..].to_vec();
    reply[0] = 0;
    let (identifier, data) = ([reply[4] ^ 1, reply[5], reply[6], reply[7]], &reply[8..]);
    feed(
        &mut stack,
        NOW,
        &Ip::new(ip(2), ip(1), 1).frame(&icmp(0, 0, identifier, data)),
    );
    assert_eq!(stack.poll_event(), None);
    assert_eq!(stack.counters().icmp.echo_unexpected, 1);
    feed(&mut stack, NOW, &error_about(3, 1, 0, &sent));
    let failed = Event::EchoFailed {
        destination: ip(2).into(),
        sequence,
    };
    assert_eq!(stack.poll_event(), Some(failed));
}

#[test]
fn icmp_errors_leave_half_of_the_reserve_to_arp() {
    let pool = Pool::leak(64, 2048).unwrap();
    let mut stack = acquainted(pool);
    let question = udp_frame(at(2, 9), at(1, 99), b"?");
    let mut incoming: Vec<_> = (0..20).map(|_| frame(pool, &question, 2048)).collect();
    let mut all = Vec::new();
    while let Some(page) = pool.alloc() {
        all.push(page);
    }
    // The frames come from a ring: what they give back is not the general part's.
    while let Some(frame) = incoming.pop() {
        stack.handle_frame(NOW, frame);
        all.extend(pool.alloc());
    }
    // Eight pages are set aside; errors took four of them.
    assert_eq!(stack.counters().icmp.errors_sent, 4);
    assert_eq!(stack.counters().icmp.errors_failed, 16);
}

#[test]
fn what_is_answered_in_its_own_page_is_exchanged_for_one_of_the_general_part() {
    let pool = Pool::leak(64, 2048).unwrap();
    let ring = pool.reserve(2).unwrap();
    let mut stack = acquainted(pool);
    let asked = arp(
        1,
        MacAddress::BROADCAST,
        (mac(2), ip(2)),
        (MacAddress::UNSPECIFIED, ip(1)),
    );
    let echo = Ip::new(ip(2), ip(1), 1).frame(&icmp(8, 0, [0; 4], b"ping"));
    let give = |stack: &mut Stack<'_>, bytes: &[u8]| {
        let mut page = ring.alloc().expect("the ring ran dry");
        page.extend_from_slice(bytes).unwrap();
        stack.handle_frame(NOW, page.into());
        assert_eq!(ring.free(), 2);
    };
    for bytes in [&asked, &echo] {
        give(&mut stack, bytes);
    }
    assert_eq!(drain(&mut stack, NOW).len(), 2);
    // Without one the question is dropped, and counted.
    let _all: Vec<_> = std::iter::from_fn(|| pool.alloc()).collect();
    for bytes in [&asked, &echo] {
        give(&mut stack, bytes);
    }
    assert_eq!(drain(&mut stack, NOW).len(), 0);
    assert_eq!(stack.counters().arp.not_answered, 1);
    assert_eq!(stack.counters().icmp.echo_failed, 1);
}

#[test]
fn contradictions_make_the_known_neighbour_asked_at_most_once_in_five_seconds() {
    let pool = Pool::leak(64, 2048).unwrap();
    let mut stack = acquainted(pool);
    let lie = arp(2, mac(1), (mac(66), ip(2)), (mac(1), ip(1)));
    let truth = arp(2, mac(1), (mac(2), ip(2)), (mac(1), ip(1)));
    let mut asked = 0;
    for ms in 0..20_000 {
        let now = NOW + Duration::from_millis(ms);
        feed(&mut stack, now, &lie);
        for frame in drain(&mut stack, now) {
            assert_eq!(frame[..6], mac(2).0, "the known one alone is asked");
            asked += 1;
            feed(&mut stack, now, &truth);
        }
    }
    assert_eq!(asked, 3);
    assert_eq!(stack.neighbour(ip(2).into()), Some(mac(2)));
}

#[test]
fn an_address_that_is_still_probed_for_answers_nothing() {
    let pool = Pool::leak(64, 2048).unwrap();
    let config = StackConfig::new(mac(1), 1500, mirage_core::Offloads::NONE);
    let mut stack = stack(config, pool, 1);
    let cidr = Cidr::new(ip(1).into(), 24).unwrap();
    let probing = ConflictConfig::default();
    stack.add_address(NOW, cidr, probing).unwrap();
    let question = (MacAddress::UNSPECIFIED, ip(1));
    feed(
        &mut stack,
        NOW,
        &arp(1, MacAddress::BROADCAST, (mac(2), ip(2)), question),
    );
    let echo = Ip::new(ip(2), ip(1), 1).frame(&icmp(8, 0, [0; 4], b"ping"));
    feed(&mut stack, NOW, &echo);
    feed(&mut stack, NOW, &udp_frame(at(2, 9), at(1, 99), b"?"));
    assert_eq!(stack.counters().ipv4.not_for_us, 2);
    assert_eq!(stack.counters().arp.requests_for_us, 0);
    let local = (ip(1), 53).into();
    let refused = stack.udp_bind(UdpOptions::bind(local));
    assert_eq!(refused, Err(BindError::AddressNotAvailable));
    let later = NOW + Duration::from_secs(20);
    for secs in 0..20 {
        drain(&mut stack, NOW + Duration::from_secs(secs));
    }
    feed(&mut stack, later, &echo);
    assert_eq!(stack.counters().ipv4.not_for_us, 2);
}

/// The UDP checksum field that 10.0.0.1:1000 would put on a payload to 10.0.0.`to`:9.
fn checksum_of(to: u8, payload: &[u8]) -> [u8; 2] {
    let datagram = udp(at(1, 1000), at(to, 9), payload);
    [datagram[6], datagram[7]]
}

/// A payload whose sum is zero: its first two bytes take back what the rest adds up to.
fn payload_of_zero_sum(to: u8, length: usize) -> Vec<u8> {
    let mut payload = pattern(length, 3);
    payload[..2].fill(0);
    let rest = checksum_of(to, &payload);
    payload[..2].copy_from_slice(&rest);
    assert_eq!(
        checksum_of(to, &payload),
        [0, 0],
        "the helper does not mend it"
    );
    payload
}

#[test]
fn a_sum_of_zero_is_sent_as_ones_and_the_time_to_live_is_the_sockets() {
    let pool = Pool::leak(64, 2048).unwrap();
    let mut stack = acquainted(pool);
    let mut options = UdpOptions::bind((Ipv4Addr::UNSPECIFIED, 1000).into());
    options.time_to_live = 3;
    let handle = stack.udp_bind(options).unwrap();
    let payload = payload_of_zero_sum(2, 10);
    stack
        .udp_send(NOW, handle, Some(at(2, 9)), &payload)
        .unwrap();
    let sent = datagrams(&mut stack, NOW).remove(0);
    // Zero would say that there is none (RFC 768).
    assert_eq!(sent[40..42], [0xff, 0xff]);
    assert_eq!(sent[22], 3);
}

#[test]
fn an_offloaded_checksum_is_completed_when_the_path_became_narrower_meanwhile() {
    let pool = Pool::leak(64, 2048).unwrap();
    let offloads = mirage_core::Offloads {
        flags: mirage_core::OffloadFlags::TRANSMIT_PARTIAL_V4,
        fragments: 18,
    };
    let mut stack = stack(StackConfig::new(mac(1), 1500, offloads), pool, 1);
    let cidr = Cidr::new(ip(1).into(), 24).unwrap();
    let assigned = ConflictConfig::assigned();
    stack.add_address(NOW, cidr, assigned).unwrap();
    let introduction = arp(
        1,
        MacAddress::BROADCAST,
        (mac(9), ip(9)),
        (MacAddress::UNSPECIFIED, ip(1)),
    );
    feed(&mut stack, NOW, &introduction);
    let mut options = UdpOptions::connect((Ipv4Addr::UNSPECIFIED, 77).into(), at(9, 9));
    options.fragmentation = Fragmentation::Refused;
    let discovering = stack.udp_bind(options).unwrap();
    stack.udp_send(NOW, discovering, None, &[7; 1400]).unwrap();
    let large = datagrams(&mut stack, NOW).remove(0);
    // Another datagram waits for its neighbour, with its checksum left to the device.
    stack.handle_link(NOW, false);
    stack.handle_link(NOW, true);
    let handle = bind(&mut stack, 1000);
    let payload = payload_of_zero_sum(9, 1400);
    stack
        .udp_send(NOW, handle, Some(at(9, 9)), &payload)
        .unwrap();
    assert_eq!(stack.pending(), 1);
    feed(&mut stack, NOW, &error_about(3, 4, 1000, &large));
    feed(&mut stack, NOW, &introduction);
    let sent = datagrams(&mut stack, NOW);
    assert_eq!(sent.len(), 2, "in fragments, which no device completes");
    assert_eq!(sent[0][40..42], [0xff, 0xff]);
    assert_eq!([&sent[0][42..], &sent[1][34..]].concat(), payload);
}

#[test]
fn a_device_is_believed_only_in_what_it_negotiated() {
    use mirage_core::{Checksum, OffloadFlags, Offloads};
    let right = Checksum::Partial {
        start: 34,
        offset: 6,
    };
    let elsewhere = Checksum::Partial {
        start: 34,
        offset: 4,
    };
    let before = Checksum::Partial {
        start: 30,
        offset: 6,
    };
    let none = OffloadFlags::empty();
    let (verified, partial) = (
        OffloadFlags::RECEIVE_VERIFIED,
        OffloadFlags::RECEIVE_PARTIAL,
    );
    for (flags, word, taken) in [
        (none, Checksum::Verified, false),
        (partial, Checksum::Verified, false),
        (verified, Checksum::Verified, true),
        (none, right, false),
        (verified, right, false),
        (partial, right, true),
        (partial, elsewhere, false),
        (partial, before, false),
        (verified | partial, Checksum::Unverified, false),
    ] {
        let pool = Pool::leak(32, 2048).unwrap();
        let offloads = Offloads {
            flags,
            ..Offloads::NONE
        };
        let mut stack = stack(StackConfig::new(mac(1), 1500, offloads), pool, 1);
        let cidr = Cidr::new(ip(1).into(), 24).unwrap();
        let assigned = ConflictConfig::assigned();
        stack.add_address(NOW, cidr, assigned).unwrap();
        let handle = bind(&mut stack, 53);
        let mut wrong = udp_frame(at(2, 9), at(1, 53), b"whatever");
        wrong[41] ^= 1;
        let mut frame = frame(pool, &wrong, 2048);
        frame.metadata.checksum = word;
        stack.handle_frame(NOW, frame);
        let received = stack.udp_receive(handle).unwrap().is_some();
        assert_eq!(received, taken, "{flags:?} {word:?}");
        assert_eq!(stack.counters().udp.bad_checksum, u64::from(!taken));
    }
}

#[test]
fn the_longest_prefix_wins_between_the_link_and_the_routes() {
    let pool = Pool::leak(64, 2048).unwrap();
    let mut stack = lone_stack(pool);
    let mut route = |network: [u8; 4], length, gateway| {
        let destination = Cidr::new(network.into(), length).unwrap();
        let gateway = Some(ip(gateway).into());
        stack.add_route(Route {
            destination,
            gateway,
        })
    };
    route([10, 0, 0, 0], 16, 3).unwrap();
    route([10, 0, 0, 128], 25, 4).unwrap();
    let handle = bind(&mut stack, 1000);
    for (to, asked) in [
        ([10, 0, 0, 9], ip(9)),
        ([10, 0, 0, 200], ip(4)),
        ([10, 0, 7, 7], ip(3)),
    ] {
        let remote = Some((Ipv4Addr::from(to), 9).into());
        stack.udp_send(NOW, handle, remote, b"?").unwrap();
        let request = drain(&mut stack, NOW).remove(0);
        assert_eq!(request[38..42], asked.octets(), "{to:?}");
    }
    let elsewhere = Some((Ipv4Addr::new(192, 0, 2, 1), 9).into());
    let nowhere = stack.udp_send(NOW, handle, elsewhere, b"?");
    assert_eq!(nowhere, Err(SendError::NoRoute));
}

#[test]
fn an_image_restored_twice_does_not_repeat_its_numbers() {
    use rand_chacha::rand_core::SeedableRng;
    let numbers = |seed: Option<u64>| {
        let mut stack = acquainted(Pool::leak(64, 2048).unwrap());
        if let Some(seed) = seed {
            stack.reseed(&mut rand_chacha::ChaCha8Rng::seed_from_u64(seed));
        }
        let handle = bind(&mut stack, 0);
        stack.udp_send(NOW, handle, Some(at(2, 9)), b"?").unwrap();
        stack.ping(NOW, ip(2).into(), 0).unwrap();
        let sent = datagrams(&mut stack, NOW);
        // Identification and ephemeral port, identification and echo identifier.
        [
            &sent[0][18..20],
            &sent[0][34..36],
            &sent[1][18..20],
            &sent[1][38..40],
        ]
        .concat()
    };
    assert_eq!(numbers(None), numbers(None), "the same image");
    let (one, other) = (numbers(Some(1)), numbers(Some(2)));
    for part in 0..4 {
        let part = 2 * part..2 * part + 2;
        assert_ne!(one[part.clone()], other[part]);
    }
}
