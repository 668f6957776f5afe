//! TCP of whole stacks over a virtual Ethernet, in virtual time, with every fault.

use std::net::SocketAddr;
use std::time::Duration;

use mirage_core::doubles::{Chance, Faults};
use mirage_core::{Instant, MacAddress, OffloadFlags, Offloads, Pool};
use mirage_net::tcp::*;
use mirage_net::wire::checksum::checksum;
use mirage_net::wire::tcp::{
    MAX_HEADER_LEN, TcpFlags, TcpOptions, TcpPacket, TcpRepr, segment_checksum,
};
use mirage_net::*;

use crate::common::tcp::*;
use crate::common::*;

#[test]
fn both_ways_with_and_without_offloads() {
    let partial = OffloadFlags::TRANSMIT_PARTIAL_V4 | OffloadFlags::RECEIVE_PARTIAL;
    for (flags, fragments, segment) in [
        (OffloadFlags::empty(), 18, usize::MAX),
        (OffloadFlags::empty(), 1, usize::MAX),
        (OffloadFlags::empty(), 2, 300),
        (partial, 18, usize::MAX),
        (partial, 1, 200),
        (OffloadFlags::RECEIVE_VERIFIED, 18, usize::MAX),
    ] {
        let mut net = net(1, |_, config| {
            config.offloads = Offloads { flags, fragments };
            config.segment_len = segment;
        });
        let (client, server) = connect(&mut net, ConnectionOptions::DEFAULT);
        let bytes = pattern(300_000, 1);
        transfer(
            &mut net,
            (0, client),
            (1, server),
            &bytes,
            Duration::from_secs(60),
        );
        transfer(
            &mut net,
            (1, server),
            (0, client),
            &bytes,
            Duration::from_secs(60),
        );
        for node in &net.nodes {
            let counters = node.stack.counters();
            let tcp = counters.tcp;
            assert_eq!(tcp.bad_checksum + tcp.malformed + tcp.no_room, 0, "{tcp:?}");
            let checked = tcp.verified_here + tcp.verified_by_device + tcp.partial;
            assert_eq!(checked, tcp.received);
            assert_eq!(
                tcp.partial > 0,
                flags.contains(OffloadFlags::RECEIVE_PARTIAL)
            );
        }
        finish(net, client, server);
    }
}

/// Loss, reordering, duplication and corruption at once, in both directions; the bytes are compared at the end.
#[test]
fn every_fault_at_once() {
    for seed in 1..6 {
        let mut net = net(seed, |_, config| {
            config.faults = Faults {
                loss: Chance::per_million(20_000),
                duplication: Chance::per_million(20_000),
                reordering: Chance::per_million(50_000),
                corruption: Chance::per_million(20_000),
                truncation: Chance::per_million(5_000),
                trailing: Chance::per_million(5_000),
                delay: Duration::from_millis(5),
                jitter: Duration::from_millis(1),
                reordering_delay: Duration::from_millis(7),
                ..Faults::NONE
            };
        });
        let (client, server) = connect(&mut net, ConnectionOptions::DEFAULT);
        let bytes = pattern(500_000, seed as usize);
        transfer(
            &mut net,
            (0, client),
            (1, server),
            &bytes,
            Duration::from_secs(600),
        );
        transfer(
            &mut net,
            (1, server),
            (0, client),
            &bytes,
            Duration::from_secs(600),
        );
        let counters = net.nodes[0].stack.counters();
        assert!(counters.tcp.retransmitted > 0);
        finish(net, client, server);
    }
}

/// "Receive checksums never verified."
#[test]
fn a_segment_with_a_wrong_checksum_is_dropped() {
    let pool = Pool::leak(128, 2048).unwrap();
    let offloads = Offloads {
        fragments: 18,
        ..Offloads::NONE
    };
    let mut stack = tcp_stack(StackConfig::new(mac(1), 1_500, offloads), pool, 1, 1);
    let listen = ListenOptions::bind(([0, 0, 0, 0], 80).into());
    stack.tcp_listen(listen).unwrap();
    let now = Instant::from_secs(10);
    let good = syn_frame(at(2, 4_000), at(1, 80));
    for byte in 34..good.len() {
        let mut bad = good.clone();
        bad[byte] ^= 0x10;
        stack.handle_frame(now, frame(pool, &bad, 2_048));
    }
    assert_eq!(stack.tcp_population().1, 0);
    let counters = stack.counters().tcp;
    assert_eq!(
        counters.bad_checksum + counters.malformed,
        (good.len() - 34) as u64
    );
    stack.handle_frame(now, frame(pool, &good, 2_048));
    assert_eq!(stack.tcp_population().1, 1);
}

/// A SYN in an Ethernet frame for machine 1.
fn syn_frame(source: SocketAddr, destination: SocketAddr) -> Vec<u8> {
    let repr = TcpRepr {
        source_port: source.port(),
        destination_port: destination.port(),
        flags: TcpFlags::SYN,
        window: 1_000,
        options: TcpOptions {
            maximum_segment_size: Some(1_460),
            ..TcpOptions::NONE
        },
        ..TcpRepr::default()
    };
    segment_frame(source, destination, repr)
}

fn segment_frame(source: SocketAddr, destination: SocketAddr, mut repr: TcpRepr) -> Vec<u8> {
    let (std::net::IpAddr::V4(from), std::net::IpAddr::V4(to)) = (source.ip(), destination.ip())
    else {
        panic!("IPv4 only");
    };
    let mut header = [0; MAX_HEADER_LEN];
    let length = repr.emit(&mut header);
    repr.checksum = segment_checksum(
        from.into(),
        to.into(),
        &header[..length],
        &Default::default(),
    );
    repr.emit(&mut header);
    Ip::new(from, to, 6).frame(&header[..length])
}

/// "Segments to broadcast or multicast answered"; and those from or to port 0.
#[test]
fn segments_that_cannot_be_are_not_answered() {
    let pool = Pool::leak(128, 2048).unwrap();
    let mut stack = tcp_stack(StackConfig::new(mac(1), 1_500, Offloads::NONE), pool, 1, 1);
    stack
        .tcp_listen(ListenOptions::bind(([0, 0, 0, 0], 80).into()))
        .unwrap();
    let now = Instant::from_secs(10);
    drain(&mut stack, now);
    for (source, destination) in [
        (at(2, 4_000), at(255, 80)),
        (at(2, 4_000), ([255, 255, 255, 255], 80).into()),
        (at(2, 0), at(1, 80)),
        (at(2, 4_000), at(1, 0)),
        (([224, 0, 0, 1], 4_000).into(), at(1, 80)),
        (at(255, 4_000), at(1, 80)),
        (at(1, 4_000), at(1, 80)),
    ] {
        stack.handle_frame(now, frame(pool, &syn_frame(source, destination), 2_048));
        assert!(drain(&mut stack, now).is_empty(), "{source} {destination}");
        assert_eq!(stack.tcp_population(), (0, 0, 0));
    }
    assert_eq!(stack.counters().icmp.errors_sent, 0);
    // What can be is.
    stack.handle_frame(now, frame(pool, &syn_frame(at(2, 4_000), at(1, 80)), 2_048));
    assert_eq!(stack.tcp_population(), (0, 1, 0));
}

/// A stack without tables for TCP says that it has none.
#[test]
fn without_tables_the_protocol_is_unreachable() {
    let pool = Pool::leak(128, 2048).unwrap();
    let mut stack = lone_stack(pool);
    let now = Instant::from_secs(10);
    stack.handle_frame(now, frame(pool, &syn_frame(at(2, 4_000), at(1, 80)), 2_048));
    assert_eq!(stack.counters().ipv4.unknown_protocol, 1);
    assert_eq!(stack.counters().icmp.errors_sent, 1);
    let listen = ListenOptions::bind(([0, 0, 0, 0], 80).into());
    assert_eq!(stack.tcp_listen(listen), Err(BindError::TableFull));
}

/// RFC 5927 on the wire: Port Unreachable that quotes our SYN ends the attempt; one that quotes something else does not.
#[test]
fn an_icmp_error_must_quote_what_we_sent() {
    let pool = Pool::leak(128, 2048).unwrap();
    let mut stack = tcp_stack(StackConfig::new(mac(1), 1_500, Offloads::NONE), pool, 1, 1);
    let now = Instant::from_secs(10);
    drain(&mut stack, now);
    let arp = arp(2, mac(1), (mac(2), ip(2)), (mac(1), ip(1)));
    let client = stack
        .tcp_connect(
            now,
            ([0, 0, 0, 0], 0).into(),
            at(2, 80),
            ConnectionOptions::DEFAULT,
        )
        .unwrap();
    drain(&mut stack, now);
    stack.handle_frame(now, frame(pool, &arp, 2_048));
    let sent = drain(&mut stack, now);
    let syn = &sent[0][14..];
    let unreachable = |quoted: &[u8]| {
        let icmp = icmp(3, 3, [0; 4], &quoted[..28]);
        Ip::new(ip(2), ip(1), 1).frame(&icmp)
    };
    for byte in [12, 16, 20, 22, 24, 27] {
        let mut forged = syn.to_vec();
        forged[byte] ^= 1;
        forged[10..12].fill(0);
        let sum = checksum(&forged[..20]);
        forged[10..12].copy_from_slice(&sum.to_be_bytes());
        stack.handle_frame(now, frame(pool, &unreachable(&forged), 2_048));
        assert_eq!(stack.tcp_error(client), None, "{byte}");
    }
    stack.handle_frame(now, frame(pool, &unreachable(syn), 2_048));
    assert_eq!(stack.tcp_error(client), Some(TcpError::Unreachable(3)));
    assert_eq!(stack.counters().icmp.errors_taken, 1);
}

/// RFC 1191: Fragmentation Needed for a segment in flight makes the next ones smaller, with Don't Fragment on all of them.
#[test]
fn fragmentation_needed_makes_segments_smaller() {
    let mut net = net(3, |_, _| {});
    let (client, server) = connect(&mut net, ConnectionOptions::DEFAULT);
    // The peer's machine is cut off, so that data stay in flight.
    let now = net.now;
    let bytes = pattern(20_000, 5);
    net.nodes[0].stack.tcp_write(now, client, &bytes).unwrap();
    let node = &mut net.nodes[0];
    let sent = crate::common::bytes(&node.stack.poll_transmit(now).unwrap());
    assert_eq!(sent.len(), 14 + 1_500);
    assert_eq!(sent[20] & 0x40, 0x40, "Don't Fragment");
    let icmp = icmp(
        3,
        4,
        [0, 0, 1_000u16.to_be_bytes()[0], 1_000u16.to_be_bytes()[1]],
        &sent[14..14 + 28],
    );
    let report = Ip::new(ip(9), ip(1), 1).frame(&icmp);
    node.stack
        .handle_frame(now, frame(node.pool, &report, 2_048));
    while let Some(next) = node.stack.poll_transmit(now) {
        assert!(next.len() <= 14 + 1_000, "{}", next.len());
    }
    assert_eq!(node.stack.counters().tcp.path_mtu_reduced, 1);
    net.run(Duration::from_secs(60));
    let now = net.now;
    let mut read = vec![0; 30_000];
    let count = net.nodes[1].stack.tcp_read(now, server, &mut read).unwrap();
    assert!(read[..count] == bytes);
    finish(net, client, server);
}

/// The next frame that is no ARP packet, and its protocol.
fn next_packet(stack: &mut Stack<'_>, now: Instant) -> Option<(u8, Vec<u8>)> {
    loop {
        let frame = bytes(&stack.poll_transmit(now)?);
        if frame[12..14] == [8, 0] {
            return Some((frame[23], frame));
        }
    }
}

/// RFC 1191 §6.2: what one connection learns of a path is known to all others: none of theirs is sent larger.
#[test]
fn another_connection_s_next_segment_is_as_small_as_the_path() {
    let mut net = net(3, |_, _| {});
    let (client, server) = connect(&mut net, ConnectionOptions::DEFAULT);
    let (other_client, other_server) = connect(&mut net, ConnectionOptions::DEFAULT);
    let now = net.now;
    let bytes = pattern(20_000, 5);
    net.nodes[0].stack.tcp_write(now, client, &bytes).unwrap();
    let node = &mut net.nodes[0];
    let sent = crate::common::bytes(&node.stack.poll_transmit(now).unwrap());
    let mtu = 1_000u16.to_be_bytes();
    let icmp = icmp(3, 4, [0, 0, mtu[0], mtu[1]], &sent[14..14 + 28]);
    let report = Ip::new(ip(9), ip(1), 1).frame(&icmp);
    node.stack
        .handle_frame(now, frame(node.pool, &report, 2_048));
    node.stack.tcp_write(now, other_client, &bytes).unwrap();
    let mut ports = std::collections::BTreeSet::new();
    while let Some((_, next)) = next_packet(&mut node.stack, now) {
        assert!(next.len() <= 14 + 1_000, "{}", next.len());
        ports.insert([next[34], next[35]]);
    }
    assert_eq!(ports.len(), 2, "both have sent");
    // Each found out once, and the second without a router's help.
    let counters = node.stack.counters();
    assert_eq!(counters.tcp.path_mtu_reduced, 2);
    assert_eq!(counters.send.too_long, 1);
    assert_eq!(counters.icmp.errors_taken, 1);
    net.run(Duration::from_secs(60));
    let now = net.now;
    for server in [server, other_server] {
        let mut read = vec![0; 30_000];
        let count = net.nodes[1].stack.tcp_read(now, server, &mut read).unwrap();
        assert!(read[..count] == bytes);
    }
}

/// Takes all that a machine has to send; what is too large for a path of `mtu` bytes comes back, the rest goes to the other machine.
fn through_a_narrow_path(net: &mut Net, mtu: usize) -> Vec<Vec<u8>> {
    let (now, mut large) = (net.now, Vec::new());
    while let Some((_, sent)) = next_packet(&mut net.nodes[0].stack, now) {
        if sent.len() > 14 + mtu {
            large.push(sent);
        } else {
            let node = &mut net.nodes[1];
            node.stack.handle_frame(now, frame(node.pool, &sent, 2_048));
        }
    }
    large
}

/// RFC 1191 §6.3, RFC 4821 §7.6.2: connections that began together test the path together when what was known of it is old. A router
/// answers each test, and each connection hears it: none of their losses is congestion, though the path's size is news only once.
#[test]
fn each_of_several_connections_hears_that_its_test_was_too_large() {
    let mut net = net(3, |_, _| {});
    let ends = [0; 3].map(|_| connect(&mut net, ConnectionOptions::DEFAULT));
    let bytes = pattern(20_000, 5);
    let report = |sent: &[u8], mtu: u16| {
        let [high, low] = mtu.to_be_bytes();
        let icmp = icmp(3, 4, [0, 0, high, low], &sent[14..14 + 28]);
        Ip::new(ip(9), ip(1), 1).frame(&icmp)
    };
    let mut read = vec![0; 30_000];
    for round in 1..=2 {
        let now = net.now;
        for (client, _) in ends {
            net.nodes[0].stack.tcp_write(now, client, &bytes).unwrap();
        }
        let large = through_a_narrow_path(&mut net, 1_000);
        let mut ports = std::collections::BTreeSet::new();
        for sent in &large {
            ports.insert([sent[34], sent[35]]);
        }
        assert_eq!(ports.len(), 3, "all have sent larger segments");
        let node = &mut net.nodes[0];
        for port in &ports {
            let of_port = |sent: &&Vec<u8>| sent[34..36] == *port;
            let first = large.iter().find(of_port).unwrap();
            // That 1,500 bytes are too many for 1,500 no router says, whatever is known of the path.
            for (claimed, more) in [(1_500, 0), (1_000, 1)] {
                let taken = node.stack.counters().icmp.errors_taken;
                node.stack
                    .handle_frame(now, frame(node.pool, &report(first, claimed), 2_048));
                let counters = node.stack.counters();
                assert_eq!(counters.icmp.errors_taken, taken + more, "round {round}");
            }
        }
        let counters = node.stack.counters();
        assert_eq!(counters.tcp.path_mtu_reduced, 3);
        assert_eq!(counters.send.too_long, 0, "none had to be told by its own");
        assert!(through_a_narrow_path(&mut net, 1_000).is_empty());
        net.run(Duration::from_secs(10));
        let now = net.now;
        for (_, server) in ends {
            let count = net.nodes[1].stack.tcp_read(now, server, &mut read).unwrap();
            assert!(read[..count] == bytes);
        }
        net.run(Duration::from_secs(595));
    }
    let tcp = net.nodes[0].stack.counters().tcp;
    assert_eq!((tcp.time_outs, tcp.path_mtu_raised), (0, 0));
}

/// The device is slow, and whoever has datagrams to send refills the queue after each frame: connections get half of the bytes, and
/// datagrams the other half, whatever the size of either.
#[test]
fn connections_and_datagrams_share_a_slow_device() {
    for payload in [1_400, 1_000, 100] {
        let mut net = net(6, |_, _| {});
        let (client, server) = connect(&mut net, ConnectionOptions::DEFAULT);
        let socket = net.bind(0, 9);
        let bytes = pattern(60_000, 3);
        let now = net.now;
        let stack = &mut net.nodes[0].stack;
        stack.tcp_write(now, client, &bytes).unwrap();
        // Segments of 1,460 bytes, ten of them until there are acknowledgements (RFC 6928).
        let (mut segments, mut datagrams) = (0, 0);
        let datagram = vec![7; payload];
        while segments < 10 * 1_460 {
            while stack
                .udp_send(now, socket, Some(at(2, 9)), &datagram)
                .is_ok()
            {}
            assert!(stack.transmit_full());
            let (protocol, frame) = next_packet(stack, now).unwrap();
            match protocol {
                6 => segments += frame.len(),
                17 => datagrams += frame.len(),
                other => panic!("protocol {other}"),
            }
            assert!(
                segments.abs_diff(datagrams) <= 1_514,
                "{segments} {datagrams}"
            );
        }
        // The queue is as it was: all that was taken in goes out.
        let queued = stack.transmit_len();
        assert_eq!(drain(stack, now).len(), queued);
        net.run(Duration::from_secs(60));
        let now = net.now;
        let mut read = vec![0; 70_000];
        let count = net.nodes[1].stack.tcp_read(now, server, &mut read).unwrap();
        assert!(read[..count] == bytes);
        assert_eq!(net.nodes[0].stack.counters().tcp.path_mtu_reduced, 0);
    }
}

/// The reverse: a datagram does not wait behind all that connections have to send.
#[test]
fn a_datagram_goes_out_between_segments() {
    let mut net = net(7, |_, _| {});
    let (client, _) = connect(&mut net, ConnectionOptions::DEFAULT);
    let socket = net.bind(0, 9);
    let now = net.now;
    let stack = &mut net.nodes[0].stack;
    stack.tcp_write(now, client, &pattern(60_000, 3)).unwrap();
    for _ in 0..4 {
        assert_eq!(next_packet(stack, now).unwrap().0, 6);
        stack.udp_send(now, socket, Some(at(2, 9)), b"?").unwrap();
        let two = [0; 2].map(|_| next_packet(stack, now).unwrap().0);
        assert!(two.contains(&17), "{two:?}");
    }
}

/// A narrow interface: both ends announce what they take (RFC 6691), and nothing is cut.
#[test]
fn different_interfaces_agree_on_the_size() {
    let mut net = net(4, |number, config| {
        config.mtu = if number == 1 { 1_500 } else { 576 }
    });
    let (client, server) = connect(&mut net, ConnectionOptions::DEFAULT);
    let bytes = pattern(100_000, 6);
    transfer(
        &mut net,
        (0, client),
        (1, server),
        &bytes,
        Duration::from_secs(60),
    );
    transfer(
        &mut net,
        (1, server),
        (0, client),
        &bytes,
        Duration::from_secs(60),
    );
    assert_eq!(net.nodes[0].stack.counters().send.too_long, 0);
    assert_eq!(net.nodes[1].stack.counters().reassembly.completed, 0);
    finish(net, client, server);
}

/// While the pool has no page nothing is sent, and nothing is lost.
#[test]
fn an_empty_pool_stops_nothing_for_ever() {
    let mut net = net(5, |_, _| {});
    let (client, server) = connect(&mut net, ConnectionOptions::DEFAULT);
    let now = net.now;
    let bytes = pattern(10_000, 7);
    net.nodes[0].stack.tcp_write(now, client, &bytes).unwrap();
    let pool = net.nodes[0].pool;
    let mut held = Vec::new();
    while let Some(page) = pool.alloc() {
        held.push(page);
    }
    net.run(Duration::from_secs(3));
    held.clear();
    net.run(Duration::from_secs(10));
    let mut buffer = vec![0; 20_000];
    let now = net.now;
    let count = net.nodes[1]
        .stack
        .tcp_read(now, server, &mut buffer)
        .unwrap();
    assert!(buffer[..count] == bytes);
    finish(net, client, server);
}

/// What a segment says goes through the codec and back on the wire: one of each kind, looked at with the crate's own view.
#[test]
fn a_conversation_on_the_wire() {
    let pool = Pool::leak(128, 2048).unwrap();
    let mut stack = tcp_stack(StackConfig::new(mac(1), 1_500, Offloads::NONE), pool, 1, 1);
    let now = Instant::from_secs(10);
    drain(&mut stack, now);
    stack.handle_frame(
        now,
        frame(
            pool,
            &arp(
                1,
                MacAddress::BROADCAST,
                (mac(2), ip(2)),
                (MacAddress::UNSPECIFIED, ip(1)),
            ),
            2_048,
        ),
    );
    drain(&mut stack, now);
    let listener = stack
        .tcp_listen(ListenOptions::bind(([0, 0, 0, 0], 80).into()))
        .unwrap();
    stack.handle_frame(now, frame(pool, &syn_frame(at(2, 4_000), at(1, 80)), 2_048));
    let sent = drain(&mut stack, now);
    assert_eq!(sent.len(), 1);
    let segment = &sent[0][34..];
    let packet = TcpPacket::new_checked(segment, segment.len()).unwrap();
    let answer = TcpRepr::parse(&packet);
    assert_eq!(answer.flags, TcpFlags::SYN | TcpFlags::ACK);
    assert_eq!(answer.acknowledgement, SequenceNumber::new(1));
    assert_eq!(answer.options.maximum_segment_size, Some(1_460));
    // No option that the SYN did not have.
    assert_eq!(answer.options.timestamps, None);
    assert_eq!(answer.options.window_scale, None);
    let repr = TcpRepr {
        source_port: 4_000,
        destination_port: 80,
        sequence: SequenceNumber::new(1),
        acknowledgement: answer.sequence + 1,
        flags: TcpFlags::ACK,
        window: 1_000,
        ..TcpRepr::default()
    };
    stack.handle_frame(
        now,
        frame(pool, &segment_frame(at(2, 4_000), at(1, 80), repr), 2_048),
    );
    assert_eq!(stack.poll_tcp_listener(), Some(listener));
    let server = stack.tcp_accept(listener).unwrap().unwrap();
    assert_eq!(stack.tcp_remote(server), Some(at(2, 4_000)));
    stack.tcp_write(now, server, b"hello").unwrap();
    stack.tcp_close(now, server);
    let sent = drain(&mut stack, now);
    assert_eq!(sent.len(), 1);
    assert!(sent[0].ends_with(b"hello"));
    let segment = &sent[0][34..];
    let packet = TcpPacket::new_checked(segment, segment.len()).unwrap();
    assert_eq!(
        packet.flags(),
        TcpFlags::ACK | TcpFlags::PSH | TcpFlags::FIN
    );
}
