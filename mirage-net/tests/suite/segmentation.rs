//! Segmentation offload both ways, over a virtual Ethernet whose port cuts what it is given, and checks it.

use std::time::Duration;

use mirage_core::doubles::{Chance, Faults, PortConfig};
use mirage_core::pool::PoolStorage;
use mirage_core::{Frame, Netif, OffloadFlags, Offloads, Pool};
use mirage_net::tcp::*;

use crate::common::tcp::{connect, finish, net_of, transfer};
use crate::common::*;

const CUTS: OffloadFlags = OffloadFlags::TRANSMIT_SEGMENTED_V4
    .union(OffloadFlags::TRANSMIT_PARTIAL_V4)
    .union(OffloadFlags::RECEIVE_PARTIAL);
const TAKES: OffloadFlags = OffloadFlags::RECEIVE_SEGMENTED_V4.union(OffloadFlags::RECEIVE_PARTIAL);
const ALL: OffloadFlags = CUTS.union(TAKES);

fn options(octets: u32, pages: u16) -> ConnectionOptions {
    ConnectionOptions {
        receive_window: octets,
        receive_pages: pages,
        send_octets: octets,
        send_pages: pages,
        ..ConnectionOptions::DEFAULT
    }
}

/// Two machines whose receive reserves take what a whole window is cut into.
fn net(seed: u64, change: impl Fn(u8, &mut PortConfig)) -> Net {
    net_of(seed, change, 300, || Pool::leak(1_024, 2048).unwrap())
}

const LARGE: (u32, u16) = (262_144, 260);

fn offloads(flags: OffloadFlags, fragments: u8) -> Offloads {
    Offloads { flags, fragments }
}

#[test]
fn frames_of_several_segments_are_cut_and_the_bytes_are_the_same() {
    // Both whole, cut on the way, in few pieces, and in one beside the headers: what doesn't fit is sent as one segment.
    for (sender, receiver, fragments) in [
        (ALL, ALL, 18),
        (CUTS, OffloadFlags::empty(), 18),
        (CUTS, OffloadFlags::RECEIVE_VERIFIED, 4),
        (CUTS, OffloadFlags::empty(), 2),
        (CUTS, OffloadFlags::empty(), 1),
    ] {
        let mut net = net(1, |number, config| {
            let flags = if number == 1 { sender } else { receiver };
            config.offloads = offloads(flags, fragments);
        });
        let (client, server) = connect(&mut net, options(LARGE.0, LARGE.1));
        let bytes = pattern(1_000_000, 3);
        let patience = Duration::from_secs(60);
        transfer(&mut net, (0, client), (1, server), &bytes, patience);
        transfer(&mut net, (1, server), (0, client), &bytes, patience);
        let sent = net.nodes[0].stack.counters().tcp;
        let received = net.nodes[1].stack.counters().tcp;
        // On a link without delay the tail is probed (RFC 8985 §7) before its acknowledgement comes, which waits.
        assert!(sent.retransmitted <= 2 && sent.time_outs == 0, "{sent:?}");
        assert_eq!(
            received.bad_checksum + received.malformed + received.no_room,
            0
        );
        assert_eq!(net.nodes[1].netif.counters().segmented, 0);
        assert_eq!(net.nodes[0].netif.counters().refused, 0);
        let uncut = sent.sent_uncut > 0;
        assert_eq!(uncut, fragments > 1, "{fragments}: {sent:?}");
        if fragments == 18 {
            let frames = net.nodes[0].netif.counters().transmitted;
            assert!(frames < sent.sent / 2, "{frames} {}", sent.sent);
        }
        assert_eq!(received.received_merged > 0, receiver == ALL);
        finish(net, client, server);
    }
}

/// Recovery counts octets, so that what was sent as one frame is lost, reported and repaired in parts of it.
#[test]
fn with_every_fault_the_bytes_are_the_same() {
    for seed in 1..6 {
        for receiver in [OffloadFlags::empty(), TAKES] {
            let mut net = net(seed, |number, config| {
                config.offloads = offloads(if number == 1 { ALL } else { receiver }, 18);
                config.faults = Faults {
                    loss: Chance::per_million(20_000),
                    duplication: Chance::per_million(10_000),
                    reordering: Chance::per_million(20_000),
                    delay: Duration::from_millis(5),
                    jitter: Duration::from_millis(1),
                    reordering_delay: Duration::from_millis(7),
                    ..Faults::NONE
                };
            });
            let (client, server) = connect(&mut net, options(LARGE.0, LARGE.1));
            let bytes = pattern(1_000_000, seed as usize);
            let patience = Duration::from_secs(600);
            transfer(&mut net, (0, client), (1, server), &bytes, patience);
            transfer(&mut net, (1, server), (0, client), &bytes, patience);
            let sent = net.nodes[0].stack.counters().tcp;
            // Whole frames are so few that none may be lost.
            assert!(sent.retransmitted > 0 || receiver == TAKES, "{sent:?}");
            assert!(sent.sent_uncut > 0, "{sent:?}");
            assert_eq!(net.nodes[1].netif.counters().segmented, 0);
            finish(net, client, server);
        }
    }
}

/// Lost segments of a frame that the device cut are sent again, and the others are not.
#[test]
fn what_is_lost_of_a_frame_is_sent_again_and_nothing_else() {
    let mut net = net(7, |number, config| {
        config.offloads = offloads(
            if number == 1 {
                CUTS
            } else {
                OffloadFlags::empty()
            },
            18,
        );
        config.faults.delay = Duration::from_millis(10);
        if number == 2 {
            config.faults.loss = Chance::per_million(10_000);
        }
    });
    let (client, server) = connect(&mut net, options(LARGE.0, LARGE.1));
    let bytes = pattern(4_000_000, 5);
    transfer(
        &mut net,
        (0, client),
        (1, server),
        &bytes,
        Duration::from_secs(600),
    );
    let sent = net.nodes[0].stack.counters().tcp;
    let lost = net.nodes[1].netif.counters().faults.lost;
    assert!(lost > 10, "{lost}");
    // A probe of the tail now and then repeats what was not lost.
    assert!(
        sent.retransmitted <= lost + lost / 2 + 5,
        "{} sent again for {lost} lost",
        sent.retransmitted
    );
    finish(net, client, server);
}

/// A pool without room for long frames: two pieces a frame, and none is lost for it.
#[test]
fn without_room_for_long_frames_short_ones_are_made() {
    static STORAGE: [PoolStorage<1024, 2048, 8, 8, 0>; 2] = [const { PoolStorage::new() }; 2];
    let mut net = net_of(
        2,
        |number, config| {
            config.offloads = offloads(
                if number == 1 {
                    CUTS
                } else {
                    OffloadFlags::empty()
                },
                18,
            );
        },
        300,
        || {
            STORAGE
                .iter()
                .find_map(|storage| storage.init().ok())
                .unwrap()
        },
    );
    assert!(!net.nodes[0].pool.has_chain());
    let (client, server) = connect(&mut net, options(LARGE.0, LARGE.1));
    let bytes = pattern(500_000, 3);
    transfer(
        &mut net,
        (0, client),
        (1, server),
        &bytes,
        Duration::from_secs(60),
    );
    let sent = net.nodes[0].stack.counters().tcp;
    assert!(sent.sent_uncut > 0 && sent.retransmitted <= 2, "{sent:?}");
    assert_eq!(net.nodes[0].stack.counters().send.no_pages, 0);
    assert_eq!(net.nodes[0].pool.counters().chains_exhausted, 0);
    finish(net, client, server);
}

#[test]
fn the_end_of_a_stream_and_its_flags_are_on_the_last_segment() {
    let mut net = net(3, |number, config| {
        config.offloads = offloads(
            if number == 1 {
                CUTS
            } else {
                OffloadFlags::empty()
            },
            18,
        );
    });
    let (client, server) = connect(&mut net, options(LARGE.0, LARGE.1));
    let bytes = pattern(10_001, 3);
    let now = net.now;
    let stack = &mut net.nodes[0].stack;
    assert_eq!(stack.tcp_write(now, client, &bytes), Ok(bytes.len()));
    stack.tcp_shutdown(now, client).unwrap();
    // One frame, with FIN and PSH: the tail that is no full segment goes with it.
    let frame: Frame = stack.poll_transmit(now).unwrap();
    assert!(frame.metadata.segmentation.is_some());
    let mut header = [0; 54];
    frame.copy_to_slice(0, &mut header);
    assert_eq!(header[47], 0x19, "FIN, PSH, ACK");
    assert_eq!(stack.counters().tcp.sent_uncut, 1);
    net.nodes[0].netif.transmit(frame).unwrap();
    net.run(Duration::from_millis(5));
    let mut read = vec![0; 20_000];
    let now = net.now;
    let stack = &mut net.nodes[1].stack;
    let count = stack.tcp_read(now, server, &mut read).unwrap();
    assert!(read[..count] == bytes);
    assert!(stack.tcp_is_drained(server));
    finish(net, client, server);
}

/// Another backend that doesn't cut: the stack is told, and goes on.
#[test]
fn a_device_that_cuts_no_more_gets_segments() {
    let mut net = net(3, |number, config| {
        config.offloads = offloads(
            if number == 1 {
                CUTS
            } else {
                OffloadFlags::empty()
            },
            18,
        );
    });
    let (client, server) = connect(&mut net, options(LARGE.0, LARGE.1));
    let bytes = pattern(200_000, 3);
    let patience = Duration::from_secs(60);
    transfer(&mut net, (0, client), (1, server), &bytes, patience);
    let before = net.nodes[0].stack.counters().tcp.sent_uncut;
    assert!(before > 0);
    let stack = &mut net.nodes[0].stack;
    let plain = offloads(OffloadFlags::empty(), 18);
    stack.set_offloads(plain);
    assert_eq!(stack.offloads(), plain);
    transfer(&mut net, (0, client), (1, server), &bytes, patience);
    assert_eq!(net.nodes[0].stack.counters().tcp.sent_uncut, before);
    finish(net, client, server);
}
