//! Defects that other stacks have had, each test named after what it keeps out.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use mirage_core::{MacAddress, Pool};
use mirage_net::*;

use crate::common::lone::*;
use crate::common::*;

fn echo_request(length: usize) -> Vec<u8> {
    icmp(8, 0, [1, 2, 3, 4], &pattern(length, 0))
}

#[test]
fn spoofed_pings_with_unresolvable_sources_do_not_empty_the_pool() {
    let pool = Pool::leak(64, 2048).unwrap();
    let ring = pool.reserve(16).unwrap();
    let mut stack = lone_stack(pool);
    for round in 0..10u32 {
        for number in 10..=200 {
            let bytes = Ip::new(ip(number), ip(1), 1).frame(&echo_request(56));
            // The pages are the ring's, and they always come back to it.
            let mut page = ring.alloc().expect("the receive ring ran dry");
            page.extend_from_slice(&bytes).unwrap();
            stack.handle_frame(
                NOW + Duration::from_millis(10 * u64::from(round)),
                page.into(),
            );
        }
        assert_eq!(ring.free(), 16);
    }
    // Answers hold at most half of what may wait, and the reply that frees them gets through.
    assert!(stack.pending() <= 4, "{}", stack.pending());
    // A datagram of our own still has its place, and so has the neighbour it is for.
    let handle = bind(&mut stack, 1000);
    for number in [220, 221] {
        let sent = stack.udp_send(NOW, handle, Some(at(number, 9)), b"?");
        assert_eq!(sent, Ok(()));
    }
    drain(&mut stack, NOW + Duration::from_millis(200));
    let reply = arp(2, mac(1), (mac(220), ip(220)), (mac(1), ip(1)));
    feed(&mut stack, NOW + Duration::from_millis(200), &reply);
    assert_eq!(drain(&mut stack, NOW + Duration::from_millis(200)).len(), 1);
    // After the silence everything is back.
    for secs in 0..20 {
        drain(&mut stack, NOW + Duration::from_secs(secs));
    }
    assert_eq!(stack.pending(), 0);
    drop(stack);
    assert_eq!(pool.free_in_all(), 64);
}

#[test]
fn pending_datagrams_are_bounded_below_the_pool() {
    let pool = Pool::leak(31, 2048).unwrap();
    let memory = Box::leak(Box::new(Memory::new()));
    let services = Box::leak(Box::new([ServiceSlot::EMPTY]));
    let config = StackConfig::new(mac(1), 1500, mirage_core::Offloads::NONE);
    let mut rng: rand_chacha::ChaCha8Rng = rand_chacha::rand_core::SeedableRng::seed_from_u64(1);
    let refused = Stack::new(config, memory.storage(services), pool, NOW, &mut rng);
    assert_eq!(refused.unwrap_err(), StackError::TooManyPending);
}

#[test]
fn a_datagram_to_an_unresolved_neighbour_is_not_lost_at_the_next_turn() {
    let pool = Pool::leak(64, 2048).unwrap();
    let mut stack = lone_stack(pool);
    let handle = bind(&mut stack, 1000);
    stack
        .udp_send(NOW, handle, Some(at(9, 9)), b"first")
        .unwrap();
    for ms in [0, 1, 500, 1000, 2999] {
        let now = NOW + Duration::from_millis(ms);
        for sent in drain(&mut stack, now) {
            assert_eq!(sent[12..14], [8, 6], "only requests go out meanwhile");
        }
    }
    let now = NOW + Duration::from_secs(3);
    feed(
        &mut stack,
        now,
        &arp(2, mac(1), (mac(9), ip(9)), (mac(1), ip(1))),
    );
    let sent = drain(&mut stack, now);
    assert_eq!(sent.len(), 1);
    assert_eq!(sent[0][..6], mac(9).0);
    assert!(sent[0].ends_with(b"first"));
}

#[test]
fn one_neighbours_only_packet_is_not_evicted_by_anothers() {
    let pool = Pool::leak(64, 2048).unwrap();
    let mut stack = lone_stack(pool);
    let handle = bind(&mut stack, 1000);
    stack
        .udp_send(NOW, handle, Some(at(9, 9)), b"only")
        .unwrap();
    for neighbour in 10..100 {
        for _ in 0..10 {
            let _ = stack.udp_send(NOW, handle, Some(at(neighbour, 9)), b"flood");
        }
    }
    assert_eq!(stack.pending(), 8);
    feed(
        &mut stack,
        NOW,
        &arp(2, mac(1), (mac(9), ip(9)), (mac(1), ip(1))),
    );
    let sent = drain(&mut stack, NOW);
    assert!(sent.iter().any(|frame| frame.ends_with(b"only")));
}

#[test]
fn a_reply_that_nobody_asked_for_creates_nothing_and_overwrites_nothing() {
    let pool = Pool::leak(64, 2048).unwrap();
    let mut stack = lone_stack(pool);
    let claim = |operation, from: u8, address: u8| {
        arp(operation, mac(1), (mac(from), ip(address)), (mac(1), ip(1)))
    };
    feed(&mut stack, NOW, &claim(2, 66, 9));
    assert_eq!(stack.neighbour(ip(9).into()), None);
    assert_eq!(stack.counters().neighbours.unsolicited, 1);
    // A broadcast announcement of a stranger, neither.
    let announcement = arp(
        1,
        MacAddress::BROADCAST,
        (mac(66), ip(9)),
        (MacAddress::UNSPECIFIED, ip(9)),
    );
    feed(&mut stack, NOW, &announcement);
    assert_eq!(stack.neighbour(ip(9).into()), None);
    introduce(&mut stack, 9);
    for now in [NOW, NOW + Duration::from_secs(20)] {
        feed(&mut stack, now, &claim(2, 66, 9));
        feed(&mut stack, now, &claim(1, 66, 9));
        assert_eq!(stack.neighbour(ip(9).into()), Some(mac(9)));
    }
    // It was asked, alone, whether it is still there; its answer ends the matter.
    let now = NOW + Duration::from_secs(20);
    let asked: Vec<_> = drain(&mut stack, now)
        .into_iter()
        .filter(|frame| frame[..6] == mac(9).0 && frame[21] == 1)
        .collect();
    assert_eq!(asked.len(), 1);
    feed(&mut stack, now, &claim(2, 9, 9));
    for secs in 20..40 {
        drain(&mut stack, NOW + Duration::from_secs(secs));
    }
    assert_eq!(stack.neighbour(ip(9).into()), Some(mac(9)));
}

#[test]
fn a_neighbour_that_moved_is_found_at_its_new_place() {
    let pool = Pool::leak(64, 2048).unwrap();
    let mut stack = lone_stack(pool);
    introduce(&mut stack, 9);
    let mut moved = None;
    for secs in 10..20 {
        let now = NOW + Duration::from_secs(secs);
        feed(
            &mut stack,
            now,
            &arp(1, mac(1), (mac(66), ip(9)), (mac(1), ip(1))),
        );
        for frame in drain(&mut stack, now) {
            // The old station is silent; the new one answers whoever asks all.
            if frame[..6] == [0xff; 6] {
                feed(
                    &mut stack,
                    now,
                    &arp(2, mac(1), (mac(66), ip(9)), (mac(1), ip(1))),
                );
            }
        }
        moved = moved.or((stack.neighbour(ip(9).into()) == Some(mac(66))).then_some(secs));
    }
    assert!(moved.is_some_and(|secs| secs <= 13), "{moved:?}");
}

#[test]
fn the_neighbour_table_does_not_grow_and_keeps_who_is_in_use() {
    let pool = Pool::leak(64, 2048).unwrap();
    let mut stack = lone_stack(pool);
    introduce(&mut stack, 9);
    let handle = bind(&mut stack, 1000);
    stack
        .udp_send(NOW, handle, Some(at(9, 9)), b"used")
        .unwrap();
    drain(&mut stack, NOW);
    for number in 10..=250 {
        introduce(&mut stack, number);
    }
    assert_eq!(stack.neighbour(ip(9).into()), Some(mac(9)));
    let known = (10..=250).filter(|n| stack.neighbour(ip(*n).into()).is_some());
    assert_eq!(known.count(), 15);
}

#[test]
fn forged_questions_do_not_push_out_a_neighbour_in_use() {
    let pool = Pool::leak(64, 2048).unwrap();
    let mut stack = lone_stack(pool);
    let handle = bind(&mut stack, 1000);
    for number in 2..=17 {
        introduce(&mut stack, number);
        let sent = stack.udp_send(NOW, handle, Some(at(number, 9)), b"used");
        sent.unwrap();
        drain(&mut stack, NOW);
    }
    for number in 100..200 {
        let forged = Ip::new(ip(number), ip(1), 1).frame(&echo_request(8));
        feed(&mut stack, NOW, &forged);
    }
    for number in 2..=17 {
        assert_eq!(stack.neighbour(ip(number).into()), Some(mac(number)));
    }
    // Our own wish does: the least recently used one makes room.
    let sent = stack.udp_send(NOW, handle, Some(at(99, 9)), b"new");
    assert_eq!((sent, stack.pending()), (Ok(()), 1));
}

#[test]
fn sources_that_cannot_be_are_dropped() {
    let pool = Pool::leak(64, 2048).unwrap();
    let mut stack = lone_stack(pool);
    let bad = [
        Ipv4Addr::LOCALHOST,
        Ipv4Addr::new(127, 9, 9, 9),
        Ipv4Addr::new(224, 0, 0, 1),
        Ipv4Addr::new(239, 255, 255, 255),
        Ipv4Addr::BROADCAST,
        ip(255),
        Ipv4Addr::new(240, 0, 0, 1),
        ip(0),
        ip(1),
        Ipv4Addr::new(0, 0, 0, 0),
        Ipv4Addr::new(0, 1, 2, 3),
    ];
    for source in bad {
        feed(
            &mut stack,
            NOW,
            &Ip::new(source, ip(1), 1).frame(&echo_request(8)),
        );
    }
    assert_eq!(stack.counters().ipv4.bad_source, bad.len() as u64);
    let loopback = Ip::new(ip(2), Ipv4Addr::LOCALHOST, 1);
    feed(&mut stack, NOW, &loopback.frame(&echo_request(8)));
    assert_eq!(stack.counters().ipv4.bad_destination, 1);
    assert_eq!(drain(&mut stack, NOW).len(), 0);
    assert_eq!(stack.pending(), 0);
}

#[test]
fn frames_from_groups_and_from_our_own_address_are_dropped() {
    let pool = Pool::leak(64, 2048).unwrap();
    let mut stack = lone_stack(pool);
    introduce(&mut stack, 2);
    let packet = Ip::new(ip(2), ip(1), 1).packet(&echo_request(8));
    let group = MacAddress([1, 0, 0x5e, 0, 0, 1]);
    for source in [
        MacAddress::BROADCAST,
        group,
        MacAddress::UNSPECIFIED,
        mac(1),
    ] {
        feed(&mut stack, NOW, &ethernet(mac(1), source, 0x0800, &packet));
    }
    let counters = stack.counters().ethernet;
    assert_eq!((counters.bad_source, counters.own), (3, 1));
    assert_eq!(drain(&mut stack, NOW).len(), 0);
    assert_eq!(stack.counters().icmp.echo_answered, 0);
}

#[test]
fn receive_checksums_are_verified_of_every_protocol() {
    let pool = Pool::leak(64, 2048).unwrap();
    let mut stack = lone_stack(pool);
    introduce(&mut stack, 2);
    let handle = bind(&mut stack, 53);
    let datagram = udp_frame(at(2, 9), at(1, 53), b"payload");
    let echo = Ip::new(ip(2), ip(1), 1).frame(&echo_request(9));
    // The checksum in the header of IPv4; that of UDP and what follows it; the message of ICMP.
    for (bytes, first) in [(datagram, 40), (echo, 34)] {
        for byte in (24..26).chain(first..bytes.len()) {
            for bit in 0..8 {
                let mut bytes = bytes.clone();
                bytes[byte] ^= 1 << bit;
                feed(&mut stack, NOW, &bytes);
            }
        }
    }
    assert!(matches!(stack.udp_receive(handle), Ok(None)));
    assert_eq!(drain(&mut stack, NOW).len(), 0);
    let counters = stack.counters();
    assert_eq!(counters.ipv4.bad_checksum, 2 * 2 * 8);
    assert_eq!(counters.icmp.bad_checksum, (8 + 9) * 8);
    assert_eq!(counters.udp.bad_checksum, (2 + 7) * 8);
}

#[test]
fn a_datagram_without_a_checksum_is_taken_and_counted() {
    let pool = Pool::leak(64, 2048).unwrap();
    let mut stack = lone_stack(pool);
    let handle = bind(&mut stack, 53);
    let mut datagram = udp(at(2, 9), at(1, 53), b"unsummed");
    datagram[6..8].fill(0);
    feed(&mut stack, NOW, &Ip::new(ip(2), ip(1), 17).frame(&datagram));
    assert_eq!(stack.counters().udp.without_checksum, 1);
    assert!(stack.udp_receive(handle).unwrap().is_some());
}

#[test]
fn options_are_skipped_and_do_not_come_back() {
    let pool = Pool::leak(64, 2048).unwrap();
    let mut stack = lone_stack(pool);
    introduce(&mut stack, 2);
    let mut header = Ip::new(ip(2), ip(1), 1);
    header.options = vec![1; 40];
    feed(&mut stack, NOW, &header.frame(&echo_request(5)));
    let sent = drain(&mut stack, NOW);
    assert_eq!(sent.len(), 1);
    assert_eq!(sent[0].len(), 14 + 20 + 8 + 5);
    assert_eq!(sent[0][34], 0, "an echo reply");
}

#[test]
fn icmp_errors_never_answer_errors_groups_later_fragments_or_bad_sources() {
    let pool = Pool::leak(64, 2048).unwrap();
    let mut stack = lone_stack(pool);
    introduce(&mut stack, 2);
    let closed = udp(at(2, 9), at(1, 99), b"?");
    // Link-layer broadcast, and a broadcast address.
    let packet = Ip::new(ip(2), ip(1), 17).packet(&closed);
    let frame = ethernet(MacAddress::BROADCAST, mac(2), 0x0800, &packet);
    feed(&mut stack, NOW, &frame);
    for destination in [Ipv4Addr::BROADCAST, ip(255)] {
        let closed = udp(at(2, 9), (destination, 99).into(), b"?");
        let packet = Ip::new(ip(2), destination, 17).packet(&closed);
        let frame = ethernet(MacAddress::BROADCAST, mac(2), 0x0800, &packet);
        feed(&mut stack, NOW, &frame);
    }
    // A link-layer multicast.
    let group = MacAddress([1, 0, 0x5e, 0, 0, 1]);
    feed(&mut stack, NOW, &ethernet(group, mac(2), 0x0800, &packet));
    // Errors, and what nobody knows, in ICMP.
    for kind in [3, 4, 5, 11, 12, 99] {
        let error = icmp(kind, 0, [0; 4], &packet[..28]);
        feed(&mut stack, NOW, &Ip::new(ip(2), ip(1), 1).frame(&error));
    }
    // A stray later fragment that times out.
    let mut fragment = Ip::new(ip(2), ip(1), 17);
    fragment.flags_offset = 100;
    feed(&mut stack, NOW, &fragment.frame(&[0; 16]));
    let later = NOW + Duration::from_secs(31);
    assert_eq!(drain(&mut stack, later).len(), 0);
    assert_eq!(stack.counters().icmp.errors_sent, 0);
    // And the one that may be answered is.
    feed(&mut stack, later, &Ip::new(ip(2), ip(1), 17).frame(&closed));
    feed(
        &mut stack,
        later,
        &Ip::new(ip(2), ip(1), 200).frame(&[0; 8]),
    );
    let mut sent = drain(&mut stack, later);
    sent.retain(|frame| frame[12..14] == [8, 0]);
    let errors: Vec<_> = sent.iter().map(|frame| (frame[34], frame[35])).collect();
    assert_eq!(&errors[..2], [(3, 3), (3, 2)]);
    assert_eq!(
        sent[0][14 + 20 + 8..][..20],
        packet[..20],
        "it quotes the datagram"
    );
}

#[test]
fn icmp_errors_have_a_rate_limit() {
    let pool = Pool::leak(256, 2048).unwrap();
    let mut stack = lone_stack(pool);
    introduce(&mut stack, 2);
    let mut sent = 0;
    for ms in 0..1000 {
        let now = NOW + Duration::from_millis(ms);
        feed(&mut stack, now, &udp_frame(at(2, 9), at(1, 99), b"?"));
        sent += drain(&mut stack, now).len();
    }
    assert!((100..=125).contains(&sent), "{sent}");
    let counters = stack.counters().icmp;
    assert_eq!(counters.errors_sent + counters.errors_limited, 1000);
}

#[test]
fn echo_replies_have_a_rate_limit() {
    let pool = Pool::leak(64, 2048).unwrap();
    let mut stack = lone_stack(pool);
    introduce(&mut stack, 2);
    let echo = Ip::new(ip(2), ip(1), 1).frame(&echo_request(8));
    let mut sent = 0;
    for _ in 0..1000 {
        feed(&mut stack, NOW, &echo);
        sent += drain(&mut stack, NOW).len();
    }
    assert_eq!(sent, 100);
    assert_eq!(stack.counters().icmp.echo_limited, 900);
}

#[test]
fn time_exceeded_is_sent_when_the_first_fragment_waited_too_long() {
    let pool = Pool::leak(64, 2048).unwrap();
    let mut stack = lone_stack(pool);
    introduce(&mut stack, 2);
    let mut header = Ip::new(ip(2), ip(1), 17);
    header.flags_offset = 0x2000;
    feed(&mut stack, NOW, &header.frame(&[7; 64]));
    assert_eq!(stack.poll_timeout(), Some(NOW + Duration::from_secs(30)));
    let sent = drain(&mut stack, NOW + Duration::from_secs(30));
    let error = sent.iter().find(|frame| frame[12..14] == [8, 0]).unwrap();
    assert_eq!(error[34..36], [11, 1]);
    assert_eq!(error[14 + 28 + 20..], [7; 8]);
}

#[test]
fn icmp_errors_are_believed_only_when_they_quote_what_we_sent() {
    let pool = Pool::leak(64, 2048).unwrap();
    let (mut stack, handle, sent) = connected(pool);
    // Each field of the quotation that a forger would have to guess: addresses, ports; and for
    // the path's MTU identification and length too.
    for (at, kinds) in [(26, 2), (30, 2), (34, 2), (37, 2), (18, 1), (16, 1)] {
        let mut forged = sent.clone();
        forged[at] ^= 1;
        let mut errors = vec![error_about(3, 4, 1000, &forged)];
        if kinds == 2 {
            errors.push(error_about(3, 3, 0, &forged));
        }
        for error in errors {
            feed(&mut stack, NOW, &error);
            assert!(matches!(stack.udp_receive(handle), Ok(None)), "byte {at}");
        }
    }
    assert_eq!(stack.counters().icmp.errors_taken, 0);
    assert_eq!(stack.counters().icmp.errors_unmatched, 10);
    // A quotation that is cut short says nothing.
    let cut = icmp(3, 3, [0; 4], &sent[14..14 + 27]);
    feed(&mut stack, NOW, &Ip::new(ip(254), ip(1), 1).frame(&cut));
    assert!(matches!(stack.udp_receive(handle), Ok(None)));
    feed(&mut stack, NOW, &error_about(3, 3, 0, &sent));
    assert_eq!(stack.udp_receive(handle).unwrap_err(), SocketError::Refused);
    assert_eq!(stack.udp_send(NOW, handle, None, b"again"), Ok(()));
}

#[test]
fn source_quench_and_redirects_change_nothing() {
    let pool = Pool::leak(64, 2048).unwrap();
    let (mut stack, handle, sent) = connected(pool);
    for kind in [4, 5] {
        feed(&mut stack, NOW, &error_about(kind, 0, 0, &sent));
    }
    assert!(matches!(stack.udp_receive(handle), Ok(None)));
    assert_eq!(stack.counters().icmp.ignored, 2);
    assert_eq!(stack.routes().count(), 0);
}

#[test]
fn fragmentation_needed_lowers_the_path_and_the_sender_is_told() {
    let pool = Pool::leak(64, 2048).unwrap();
    let (mut stack, handle, sent) = connected(pool);
    feed(&mut stack, NOW, &error_about(3, 4, 1000, &sent));
    let error = stack.udp_receive(handle).unwrap_err();
    assert_eq!(error, SocketError::PathMtu(1000));
    let too_long = stack.udp_send(NOW, handle, None, &[7; 1400]);
    assert_eq!(too_long, Err(SendError::TooLong { maximum: 972 }));
    assert_eq!(stack.udp_send(NOW, handle, None, &[7; 972]), Ok(()));
    let path = Event::PathMtu {
        destination: ip(2).into(),
        mtu: 1000,
    };
    assert_eq!(stack.poll_event(), Some(path));
    // A socket that allows fragments sends them at the path's size, from the start.
    drain(&mut stack, NOW);
    let other = bind(&mut stack, 77);
    stack
        .udp_send(NOW, other, Some(at(2, 9)), &[7; 1400])
        .unwrap();
    let sent = drain(&mut stack, NOW);
    assert_eq!(sent.len(), 2);
    assert!(
        sent.iter()
            .all(|frame| frame.len() <= 14 + 1000 && frame[20] & 0x40 == 0)
    );
    // After ten minutes the full size is tried again.
    let later = NOW + Duration::from_secs(600);
    feed(
        &mut stack,
        later,
        &arp(1, mac(1), (mac(2), ip(2)), (mac(1), ip(1))),
    );
    assert_eq!(stack.udp_send(later, handle, None, &[7; 1400]), Ok(()));
}

#[test]
fn a_datagram_larger_than_the_path_never_returns_ok_and_vanishes() {
    let pool = Pool::leak(64, 2048).unwrap();
    let (mut stack, handle, _) = connected(pool);
    let maximum = 1500 - 28;
    assert_eq!(
        stack.udp_send(NOW, handle, None, &vec![0; maximum + 1]),
        Err(SendError::TooLong { maximum })
    );
    let allowed = bind(&mut stack, 77);
    let to = Some(at(2, 9));
    assert_eq!(
        stack.udp_send(NOW, allowed, to, &vec![0; maximum + 1]),
        Ok(())
    );
    assert_eq!(drain(&mut stack, NOW).len(), 2);
    let error = stack.udp_send(NOW, allowed, to, &vec![0; 65_508]);
    assert!(
        matches!(error, Err(SendError::TooLong { .. } | SendError::NoPages)),
        "{error:?}"
    );
    // No room for all fragments: none is sent, and the sender knows.
    let (mut fragments, mut all) = (0, 0);
    loop {
        match stack.udp_send(NOW, allowed, to, &vec![0; 12_000]) {
            Ok(()) => all += 1,
            Err(error) => {
                assert!(error.is_temporary(), "{error:?}");
                break;
            }
        }
    }
    fragments += drain(&mut stack, NOW).len();
    assert_eq!(fragments, all * 9);
}

#[test]
fn a_reply_does_not_come_from_the_broadcast_address() {
    struct Echo;
    impl UdpService for Echo {
        fn respond(&mut self, request: &UdpRequest<'_>, answer: &mut [u8]) -> Option<usize> {
            assert!(
                request.destination.ip() == Ipv4Addr::BROADCAST
                    || request.destination.ip() == ip(255)
            );
            answer[..request.payload.len()].copy_from_slice(request.payload);
            Some(request.payload.len())
        }
    }
    let pool = Pool::leak(64, 2048).unwrap();
    let mut stack = lone_stack(pool);
    introduce(&mut stack, 2);
    let service = Box::leak(Box::new(Echo));
    stack
        .bind_service(ServiceOptions::port(53), service)
        .unwrap();
    for destination in [Ipv4Addr::BROADCAST, ip(255)] {
        let datagram = udp(at(2, 9), (destination, 53).into(), b"who?");
        let packet = Ip::new(ip(2), destination, 17).packet(&datagram);
        let frame = ethernet(MacAddress::BROADCAST, mac(2), 0x0800, &packet);
        feed(&mut stack, NOW, &frame);
        let sent = drain(&mut stack, NOW);
        assert_eq!(sent.len(), 1);
        assert_eq!(sent[0][26..30], ip(1).octets());
    }
}

#[test]
fn broadcasts_need_permission() {
    let pool = Pool::leak(64, 2048).unwrap();
    let mut stack = lone_stack(pool);
    let handle = bind(&mut stack, 1000);
    let to: SocketAddr = (Ipv4Addr::BROADCAST, 9).into();
    let refused = stack.udp_send(NOW, handle, Some(to), b"all");
    assert_eq!(refused, Err(SendError::BroadcastNotPermitted));
    let mut options = UdpOptions::bind((Ipv4Addr::UNSPECIFIED, 1001).into());
    options.broadcast = true;
    let handle = stack.udp_bind(options).unwrap();
    for to in [to, at(255, 9)] {
        stack.udp_send(NOW, handle, Some(to), b"all").unwrap();
        assert_eq!(drain(&mut stack, NOW)[0][..6], [0xff; 6]);
    }
}

#[test]
fn a_flood_of_questions_leaves_room_for_what_we_send_ourselves() {
    let pool = Pool::leak(256, 2048).unwrap();
    let mut stack = lone_stack(pool);
    introduce(&mut stack, 2);
    let handle = bind(&mut stack, 1000);
    let echo = Ip::new(ip(2), ip(1), 1).frame(&echo_request(8));
    for _ in 0..200 {
        feed(&mut stack, NOW, &echo);
    }
    assert_eq!(stack.transmit_len(), 48);
    for _ in 0..16 {
        stack.udp_send(NOW, handle, Some(at(2, 9)), b"own").unwrap();
    }
    let full = stack.udp_send(NOW, handle, Some(at(2, 9)), b"own");
    assert_eq!(full, Err(SendError::QueueFull));
}

#[test]
fn arp_is_answered_from_the_reserve_when_the_pool_is_empty() {
    let pool = Pool::leak(64, 2048).unwrap();
    let mut stack = lone_stack(pool);
    let handle = bind(&mut stack, 1000);
    stack
        .udp_send(NOW, handle, Some(at(2, 9)), b"waits")
        .unwrap();
    let hoard: Vec<_> = std::iter::from_fn(|| pool.alloc()).collect();
    let sent = drain(&mut stack, NOW);
    assert_eq!(sent.len(), 1);
    assert_eq!(sent[0][12..14], [8, 6]);
    drop(hoard);
}

#[test]
fn ipv6_reaches_one_arm_that_counts() {
    let pool = Pool::leak(64, 2048).unwrap();
    let mut stack = lone_stack(pool);
    feed(
        &mut stack,
        NOW,
        &ethernet(mac(1), mac(2), 0x86dd, &[0x60; 40]),
    );
    assert_eq!(stack.counters().ethernet.ipv6, 1);
    let local = (std::net::Ipv6Addr::UNSPECIFIED, 1).into();
    let refused = stack.udp_bind(UdpOptions::bind(local));
    assert_eq!(refused, Err(BindError::UnsupportedFamily));
}

#[test]
fn a_conflict_over_an_address_in_use_is_met_with_one_announcement() {
    let pool = Pool::leak(64, 2048).unwrap();
    let mut stack = lone_stack(pool);
    let claim = arp(
        1,
        MacAddress::BROADCAST,
        (mac(66), ip(1)),
        (MacAddress::UNSPECIFIED, ip(1)),
    );
    for ms in 0..9_000 {
        let now = NOW + Duration::from_millis(ms);
        feed(&mut stack, now, &claim);
        assert!(drain(&mut stack, now).len() <= usize::from(ms == 0));
    }
    assert_eq!(stack.neighbour(ip(1).into()), None);
}
