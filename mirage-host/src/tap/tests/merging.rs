//! Segments of TCP that are put together: by Linux, and by the tap.

use super::*;

/// Segments to a port of the host's that nobody listens on are answered with a reset each, unless they were merged before.
#[test]
fn segments_that_follow_each_other_are_one_to_linux_and_the_last_of_them_does_not_wait() {
    in_own_network(
        "segments_that_follow_each_other_are_one_to_linux_and_the_last_of_them_does_not_wait",
        || {
            let mut separate = open(verifying(false));
            assert!(!separate.netif.merges());
            drop(separate.ping_pong_arp());
            let mac = host_mac(&mut separate);
            assert_eq!(resets_of_four(&mut separate, &mac), 4);
            drop(separate);
            let mut merged = open(verifying(true));
            assert!(merged.netif.merges());
            drop(merged.ping_pong_arp());
            let mac = host_mac(&mut merged);
            // Where this process stands still for a hundredth of a second between two of them, Linux waits for the second no longer.
            let counts: Vec<_> = std::iter::repeat_with(|| resets_of_four(&mut merged, &mac))
                .take(64)
                .scan(false, |found, count| {
                    (!std::mem::replace(found, count == 1)).then_some(count)
                })
                .collect();
            assert_eq!(counts.last(), Some(&1), "{counts:?}");
        },
    );
}

/// Nothing is lost that no other follows: it waits for a hundredth of a second.
#[test]
fn a_segment_that_is_not_pushed_is_held_for_a_moment_only() {
    in_own_network(
        "a_segment_that_is_not_pushed_is_held_for_a_moment_only",
        || {
            let mut guest = open(verifying(true));
            drop(guest.ping_pong_arp());
            let host_mac = host_mac(&mut guest);
            let segment = segment(&guest, &host_mac, 4_000, 0, false);
            let sent = guest.platform.now();
            send(&mut guest.netif, segment).expect("transmitted");
            reset(&mut guest);
            let waited = guest.platform.now() - sent;
            // The rest is for a machine that does other things.
            assert!(waited < std::time::Duration::from_secs(5), "{waited:?}");
        },
    );
}

#[test]
fn where_linux_can_t_be_told_to_merge_the_tap_is_as_before() {
    in_own_network(
        "where_linux_can_t_be_told_to_merge_the_tap_is_as_before",
        || {
            let guest = open(verifying(false));
            super::open::tests::set_persistent(&guest.netif.source, true);
            drop(guest);
            drop_the_right(CapabilitySet::NET_ADMIN);
            let mut guest = open(verifying(true));
            assert!(!guest.netif.was_made() && !guest.netif.merges());
            let host = guest.ping_pong_arp();
            let received = guest.udp();
            let answer = guest.answer(&received, false);
            send(&mut guest.netif, answer).expect("transmitted");
            assert_eq!(receive_text(&host), b"pong");
        },
    );
}

#[test]
fn an_interface_that_was_told_once_merges_without_the_right() {
    in_own_network(
        "an_interface_that_was_told_once_merges_without_the_right",
        || {
            let guest = open(verifying(true));
            super::open::tests::set_persistent(&guest.netif.source, true);
            drop(guest);
            drop_the_right(CapabilitySet::NET_ADMIN);
            assert!(open(verifying(true)).netif.merges());
            assert!(!open(verifying(false)).netif.merges());
        },
    );
}

#[test]
fn what_is_handed_over_uncut_is_not_merged_as_well() {
    in_own_network("what_is_handed_over_uncut_is_not_merged_as_well", || {
        assert!(!open(config()).netif.merges());
        let mut config = config();
        config.segmentation_offload = false;
        assert!(open(config).netif.merges());
    });
}

/// What came in a row is handed up together, what came behind it next, and when nothing is left nobody is woken for nothing.
#[test]
fn received_segments_are_put_together_and_nothing_changes_places() {
    let (mut tap, kernel) = on_a_socket(1500);
    tap.checksum_offload = false;
    tap.segmentation = Segmenting {
        transmit: false,
        receive: false,
    };
    tap.pages_a_frame = 1;
    tap.merge_received = true;
    let both = OffloadFlags::RECEIVE_VERIFIED | OffloadFlags::RECEIVE_SEGMENTED_V4;
    assert_eq!(tap.offloads().flags, both);
    let text = |sequence, push| segment_bytes(&HOST.octets(), 4_000, sequence, push);
    let other = vec![9; 60];
    for frame in [
        text(0, false),
        text(1_000, false),
        other.clone(),
        text(2_000, false),
        text(3_000, true),
        text(4_000, false),
        text(9_000, false),
    ] {
        kernel.send(&frame).expect("sent");
    }
    let mut lengths = Vec::new();
    let mut checksums = Vec::new();
    while let (Poll::Ready(Ok(frame)), woken) = poll_receive(&mut tap) {
        assert!(!woken);
        lengths.push(frame.len());
        checksums.push(frame.metadata.checksum);
    }
    assert_eq!(lengths, [2_054, 60, 2_054, 1_054, 1_054]);
    let (verified, not) = (Checksum::Verified, Checksum::Unverified);
    assert_eq!(checksums, [verified, not, verified, verified, verified]);
    let counters = tap.counters();
    assert_eq!(
        (
            counters.received,
            counters.received_merged,
            counters.received_segmented
        ),
        (7, 2, 2)
    );
    // It waits for the descriptor, and does not spin; and what comes then is read.
    let (received, woken) = poll_receive(&mut tap);
    assert!(received.is_pending() && !woken);
    kernel.send(&other).expect("sent");
    assert!(poll_receive(&mut tap).0.is_ready());
    // An error behind segments is told behind them, once.
    kernel.send(&text(0, false)).expect("sent");
    drop(kernel);
    assert!(matches!(poll_receive(&mut tap), (Poll::Ready(Ok(frame)), _) if frame.len() == 1_054));
}

/// Without offloads.
pub(super) fn verifying(merge: bool) -> TapConfig {
    let mut config = config();
    config.checksum_offload = false;
    config.merge_transmitted = merge;
    config
}

/// The address of the host's end.
fn host_mac(guest: &mut Guest<Tap>) -> [u8; 6] {
    let received = guest.udp();
    let mut mac = [0; 6];
    received.copy_to_slice(6, &mut mac);
    mac
}

/// How many resets four segments in a row are answered with, of which the last is pushed.
fn resets_of_four(guest: &mut Guest<Tap>, host_mac: &[u8; 6]) -> usize {
    const PORT: u16 = 4_000;
    const PORT_AFTER: u16 = 4_001;
    for number in 0..4 {
        let segment = segment(guest, host_mac, PORT, number * 1_000, number == 3);
        send(&mut guest.netif, segment).expect("transmitted");
    }
    // What was sent after them, from another port, is answered after them.
    let after = segment(guest, host_mac, PORT_AFTER, 0, true);
    send(&mut guest.netif, after).expect("transmitted");
    let mut count = 0;
    loop {
        let frame = reset(guest);
        assert_eq!(frame.len(), 54);
        let mut port = [0; 2];
        frame.copy_to_slice(36, &mut port);
        match u16::from_be_bytes(port) {
            PORT => count += 1,
            PORT_AFTER => return count,
            port => panic!("a segment to port {port}"),
        }
    }
}

/// A thousand octets on a connection that there is not.
fn segment(
    guest: &Guest<Tap>,
    host_mac: &[u8; 6],
    source_port: u16,
    sequence: u32,
    push: bool,
) -> Frame {
    let mut page = guest.pool.alloc().expect("a page");
    let mut bytes = segment_bytes(&HOST.octets(), source_port, sequence, push);
    bytes[..6].copy_from_slice(host_mac);
    page.extend_from_slice(&bytes).expect("room");
    page.into()
}

fn segment_bytes(destination: &[u8; 4], source_port: u16, sequence: u32, push: bool) -> Vec<u8> {
    let mut tcp = Vec::new();
    tcp.extend(source_port.to_be_bytes());
    tcp.extend(9u16.to_be_bytes());
    tcp.extend(sequence.to_be_bytes());
    let flags = if push { 0x18 } else { 0x10 };
    tcp.extend([0, 0, 0, 77, 0x50, flags, 4, 0, 0, 0, 0, 0]);
    tcp.extend([7; 1_000]);
    let length = tcp.len() as u16;
    let addresses = [GUEST.octets(), *destination].concat();
    let mut pseudo = addresses.clone();
    pseudo.extend([0, 6]);
    pseudo.extend(length.to_be_bytes());
    let checksum = !crate::testing::sum(&[&pseudo[..], &tcp].concat());
    tcp[16..18].copy_from_slice(&checksum.to_be_bytes());
    let mut ip = vec![0x45, 0];
    ip.extend((20 + length).to_be_bytes());
    ip.extend([0, 0, 0x40, 0, 64, 6, 0, 0]);
    ip.extend(addresses);
    let checksum = !crate::testing::sum(&ip);
    ip[10..12].copy_from_slice(&checksum.to_be_bytes());
    [&[2; 6][..], &GUEST_MAC.octets(), &[8, 0], &ip, &tcp].concat()
}

/// The next reset from the host.
fn reset(guest: &mut Guest<Tap>) -> Frame {
    guest.receive(is_tcp)
}

fn is_tcp(head: &[u8]) -> bool {
    head[12..14] == [8, 0] && head[23] == 6
}
