//! Tests against this machine's kernel, each in a network namespace of its own thread: nothing is left behind.

mod merging;
mod together;

use std::cell::Cell;
use std::net::{Ipv4Addr, UdpSocket};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixDatagram;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Wake, Waker};

use mirage_core::executor::Platform;
use mirage_core::{Clock, TransmitReason};

use rustix::thread::CapabilitySet;

use super::*;
use crate::testing::{GUEST, Guest, HOST, drop_the_right, receive_text, route, udp_sum};
use merging::verifying;

const GUEST_MAC: MacAddress = MacAddress([2, 0, 0, 0, 0, 2]);
const NAME: &str = "mirage-test";

/// With io_uring, and without.
const WAYS: [bool; 2] = [true, false];

thread_local! {
    /// Whether the taps of this thread may use io_uring.
    static IO_URING: Cell<bool> = const { Cell::new(true) };
}

#[test]
fn a_frame_of_the_mtu_fits_with_a_byte_to_spare() {
    assert_eq!(pages_a_frame(1500, 2048, 0), Ok(1));
    assert_eq!(pages_a_frame(1500, 1519, 0), Ok(1));
    assert_eq!(pages_a_frame(1500, 1518, 0), Ok(2));
    assert_eq!(pages_a_frame(9000, 4096, 64), Ok(3));
    assert_eq!(pages_a_frame(1500, 64, 0).ok(), None);
    assert_eq!(pages_a_frame(1500, 64, 64).ok(), None);
}

#[test]
fn a_random_address_is_unicast_and_local() {
    for _ in 0..64 {
        let mac = random_mac().expect("randomness");
        assert!(mac.is_unicast() && mac.is_local(), "{mac}");
    }
}

#[test]
fn a_tap_is_made_with_an_address_and_taken_away() {
    in_own_network("a_tap_is_made_with_an_address_and_taken_away", || {
        let tap = open(config()).netif;
        assert!(tap.was_made() && tap.link_up());
        assert_eq!((tap.mtu(), tap.mac(), tap.name()), (1500, GUEST_MAC, NAME));
        let found = route().interface(NAME).expect("the interface");
        assert!(found.up);
        assert_ne!(
            found.mac,
            GUEST_MAC.octets(),
            "the two ends have an address each"
        );
        UdpSocket::bind((HOST, 0)).expect("the host has the address");
        drop(tap);
        assert_eq!(route().interface(NAME), Err(Errno::NODEV));
    });
}

#[test]
fn a_second_tap_of_the_name_is_busy_and_another_device_is_not_a_tap() {
    in_own_network(
        "a_second_tap_of_the_name_is_busy_and_another_device_is_not_a_tap",
        || {
            let guest = open(config());
            let again = Tap::open(guest.platform, guest.pool, config());
            assert_eq!(again.err(), Some(TapError::Busy(NAME.into())));
            let lo = Tap::open(guest.platform, guest.pool, TapConfig::new("lo"));
            assert_eq!(lo.err(), Some(TapError::NotATap("lo".into())));
        },
    );
}

#[test]
fn without_the_right_to_make_it_the_error_says_what_to_run() {
    in_own_network(
        "without_the_right_to_make_it_the_error_says_what_to_run",
        || {
            drop_the_right(CapabilitySet::NET_ADMIN);
            let refused = try_open(config()).err().expect("a refusal");
            assert!(
                refused
                    .to_string()
                    .contains("sudo ip tuntap add dev mirage-test mode tap user $USER"),
                "{refused}"
            );
        },
    );
}

#[test]
fn a_prepared_tap_needs_no_right_and_stays() {
    in_own_network("a_prepared_tap_needs_no_right_and_stays", || {
        let guest = open(config());
        super::open::tests::set_persistent(&guest.netif.source, true);
        drop(guest);
        drop_the_right(CapabilitySet::NET_ADMIN);
        let guest = open(config());
        assert!(!guest.netif.was_made());
        drop(guest);
        assert!(route().interface(NAME).is_ok());
        // Another address than the prepared one can't be added.
        let mut other = config();
        other.host_address = Some((Ipv4Addr::new(10, 9, 9, 1), 24));
        let refused = try_open(other).err().expect("a refusal");
        assert!(
            refused.to_string().contains("give an address to"),
            "{refused}"
        );
    });
}

#[test]
fn a_checksum_that_the_kernel_left_out_is_partial_and_completed_on_the_way_back() {
    in_own_network(
        "a_checksum_that_the_kernel_left_out_is_partial_and_completed_on_the_way_back",
        || {
            let mut guest = open(config());
            let host = guest.ping_pong_arp();
            let received = guest.udp();
            assert_eq!(
                received.metadata.checksum,
                Checksum::Partial {
                    start: 34,
                    offset: 6
                }
            );
            assert_eq!(guest.netif.counters().received_partial, 1);
            // In two segments, with the pseudo-header's sum where the checksum goes.
            let answer = guest.answer(&received, true);
            assert_eq!(answer.segments().len(), 2);
            send(&mut guest.netif, answer).expect("transmitted");
            assert_eq!(receive_text(&host), b"pong");
        },
    );
}

#[test]
fn without_offload_every_checksum_is_computed() {
    in_own_network("without_offload_every_checksum_is_computed", || {
        let mut config = config();
        config.checksum_offload = false;
        config.merge_received = false;
        let mut guest = open(config);
        // Not even that a device has verified it, which is what a header would say.
        assert_eq!(guest.netif.offloads().flags, OffloadFlags::empty());
        let host = guest.ping_pong_arp();
        let received = guest.udp();
        assert_eq!(received.metadata.checksum, Checksum::Unverified);
        let bytes = received.contiguous().expect("one page");
        assert_eq!(udp_sum(bytes), 0xffff, "the sum over a right checksum");
        let answer = guest.answer(&received, false);
        send(&mut guest.netif, answer).expect("transmitted");
        assert_eq!(receive_text(&host), b"pong");
    });
}

#[test]
fn a_frame_of_several_pages_arrives_whole() {
    in_own_network("a_frame_of_several_pages_arrives_whole", || {
        let mut guest = with_pool(config(), 512).expect("a tap");
        let host = guest.ping_pong_arp();
        guest.udp();
        let text: Vec<u8> = (0..1472u32).map(|i| i as u8).collect();
        host.send_to(&text, (GUEST, 53)).expect("sent");
        let received = guest.udp();
        assert_eq!(received.segments().len(), 3);
        assert_eq!(received.len(), 1514);
        let mut bytes = vec![0; 1514];
        received.copy_to_slice(0, &mut bytes);
        assert_eq!(bytes[42..], text);
    });
}

#[test]
fn an_interface_that_goes_down_and_up_is_an_error_and_no_panic() {
    in_own_network(
        "an_interface_that_goes_down_and_up_is_an_error_and_no_panic",
        || {
            let mut guest = open(config());
            let index = route().interface(NAME).expect("the interface").index;
            route().set_down(index).expect("down");
            let frame = guest.arp_frame();
            let refused = send(&mut guest.netif, frame).expect_err("the link is down");
            assert_eq!(refused, TransmitReason::Netif(NetifError::LinkDown));
            assert!(!guest.netif.link_up());
            assert!(guest.poll_ready().is_pending());
            // It comes up from another thread, while this one sleeps in the platform.
            std::thread::scope(|scope| {
                scope.spawn(|| route().set_up(index).expect("up"));
                while guest.poll_ready().is_pending() {
                    guest.platform.park(Some(guest.deadline));
                    assert!(
                        guest.platform.now() < guest.deadline,
                        "nobody was told that the link is up"
                    );
                }
            });
            assert!(guest.netif.link_up());
            let frame = guest.arp_frame();
            send(&mut guest.netif, frame).expect("transmitted");
            let counters = guest.netif.counters();
            assert_eq!((counters.transmit_link_down, counters.transmitted), (1, 1));
        },
    );
}

#[test]
fn an_interface_that_is_deleted_is_gone_and_no_panic() {
    in_own_network("an_interface_that_is_deleted_is_gone_and_no_panic", || {
        let mut guest = open(config());
        let index = route().interface(NAME).expect("the interface").index;
        route().delete(index).expect("deleted");
        let error = loop {
            match guest.poll_receive() {
                Poll::Ready(Ok(_)) => {} // what was in the queue
                Poll::Ready(Err(error)) => break error,
                Poll::Pending => guest.sleep(),
            }
        };
        assert_eq!(error, NetifError::Gone);
        let frame = guest.arp_frame();
        let refused = send(&mut guest.netif, frame).expect_err("there is no device");
        assert_eq!(refused, TransmitReason::Netif(NetifError::Gone));
    });
}

#[test]
fn with_every_page_held_the_kernel_s_queue_still_moves_and_frames_are_counted() {
    in_own_network(
        "with_every_page_held_the_kernel_s_queue_still_moves_and_frames_are_counted",
        || with_every_page_held(true),
    );
}

#[test]
fn without_a_header_too_the_kernel_s_queue_still_moves_with_every_page_held() {
    in_own_network(
        "without_a_header_too_the_kernel_s_queue_still_moves_with_every_page_held",
        || with_every_page_held(false),
    );
}

fn with_every_page_held(checksum_offload: bool) {
    let mut config = config();
    config.receive_pages = 2;
    config.checksum_offload = checksum_offload;
    let mut guest = open(config);
    let host = guest.ping_pong_arp();
    guest.udp();
    let mut hoard = Vec::new();
    while let Some(page) = guest.pool.alloc() {
        hoard.push(page);
    }
    let held: Vec<Frame> = (0..2)
        .map(|_| {
            host.send_to(b"held", (GUEST, 53)).expect("sent");
            guest.udp()
        })
        .collect();
    host.send_to(b"lost", (GUEST, 53)).expect("sent");
    while guest.netif.counters().dropped_no_page == 0 {
        assert!(guest.poll_receive().is_pending());
        guest.sleep();
    }
    drop(held);
    host.send_to(b"last", (GUEST, 53)).expect("sent");
    let received = guest.udp();
    assert_eq!(&received.contiguous().expect("one page")[42..], b"last");
}

#[test]
fn without_a_header_frames_are_as_long_as_they_were_sent() {
    for io_uring in WAYS {
        IO_URING.set(io_uring);
        frames_without_a_header();
    }
}

fn frames_without_a_header() {
    let (mut tap, kernel) = on_a_socket(1500);
    tap.checksum_offload = false;
    tap.segmentation = Segmenting {
        transmit: false,
        receive: false,
    };
    let longest = 1500 + ETHERNET_HEADER + VLAN_TAG;
    for pages in [1, 4] {
        tap.pages_a_frame = pages;
        for length in [longest + 1, 9_000] {
            kernel.send(&vec![0; length]).expect("sent");
        }
        for length in [1, 60, longest] {
            kernel.send(&vec![9; length]).expect("sent");
        }
        for length in [1, 60, longest] {
            let (received, _) = poll_receive(&mut tap);
            let Poll::Ready(Ok(frame)) = received else {
                panic!("{received:?}");
            };
            assert_eq!(frame.contiguous(), Some(&vec![9; length][..]));
            assert_eq!(frame.metadata.checksum, Checksum::Unverified);
        }
    }
    assert_eq!(tap.counters().dropped_too_long, 4);
    // And back: in one piece, two, three and more.
    for pieces in 1..=5 {
        let mut frame = Frame::new();
        for piece in 0..pieces {
            let mut page = tap.reserve.pool().alloc().expect("a page");
            page.extend_from_slice(&[piece; 20]).expect("room");
            frame.push(page).expect("room");
        }
        tap.transmit(frame).expect("transmitted");
    }
    tap.flush().expect("flushed");
    for pieces in 1..=5 {
        let bytes: Vec<u8> = (0..pieces).flat_map(|piece| [piece; 20]).collect();
        let mut sent = [0; 200];
        let length = kernel.recv(&mut sent).expect("a frame");
        assert_eq!(&sent[..length], bytes);
    }
}

#[test]
fn what_the_device_can_t_do_is_refused_with_the_frame() {
    in_own_network("what_the_device_can_t_do_is_refused_with_the_frame", || {
        let mut guest = open(config());
        let mut short = guest.pool.alloc().expect("a page");
        short.append(13);
        let refused = guest.netif.transmit(short.into()).expect_err("too short");
        assert_eq!(refused.reason, TransmitReason::TooShort);
        let mut long = guest.pool.alloc().expect("a page");
        long.append(1519);
        let refused = guest.netif.transmit(long.into()).expect_err("too long");
        assert_eq!(
            (refused.reason, refused.frame.len()),
            (TransmitReason::TooLong, 1519)
        );
        // A checksum beyond the frame: the kernel's to refuse, not ours to crash on.
        let mut frame = guest.arp_frame();
        frame.metadata.checksum = Checksum::Partial {
            start: 60_000,
            offset: 60_000,
        };
        let refused = send(&mut guest.netif, frame).expect_err("no such byte");
        assert!(matches!(refused, TransmitReason::Netif(NetifError::Os(_))));
        assert_eq!(guest.netif.counters().transmit_refused, 3);
    });
}

#[test]
fn a_short_read_is_dropped_and_counted_and_no_panic() {
    let (mut tap, kernel) = on_a_socket(1500);
    for length in 0..virtio_header::LENGTH {
        kernel.send(&[0; 64][..length]).expect("sent");
    }
    kernel.send(&framed(&[7; 60])).expect("sent");
    let (received, _) = poll_receive(&mut tap);
    let Poll::Ready(Ok(frame)) = received else {
        panic!("{received:?}");
    };
    assert_eq!(frame.contiguous(), Some(&[7; 60][..]));
    let counters = tap.counters();
    let short = virtio_header::LENGTH as u64;
    assert_eq!((counters.dropped_short_read, counters.received), (short, 1));
}

#[test]
fn a_frame_that_is_cut_off_too_long_or_segmented_is_dropped_and_counted() {
    let (mut tap, kernel) = on_a_socket(1500);
    tap.segmentation.receive = false;
    let longest = 1500 + ETHERNET_HEADER + VLAN_TAG;
    // One byte too many, and far more than the pages hold.
    for length in [longest + 1, 9000] {
        kernel.send(&framed(&vec![0; length])).expect("sent");
    }
    let mut segmented = framed(&[0; 1400]);
    segmented[1] = 1; // VIRTIO_NET_HDR_GSO_TCPV4 (virtio 1.2, clause 5.1.6)
    kernel.send(&segmented).expect("sent");
    kernel.send(&framed(&vec![9; longest])).expect("sent");
    let (received, _) = poll_receive(&mut tap);
    let Poll::Ready(Ok(frame)) = received else {
        panic!("{received:?}");
    };
    assert_eq!(frame.len(), longest);
    let counters = tap.counters();
    assert_eq!(
        (counters.dropped_too_long, counters.dropped_segmented),
        (2, 1)
    );
}

#[test]
fn a_flood_that_is_dropped_lets_others_run_and_is_taken_up_again() {
    let (mut tap, kernel) = on_a_socket(1500);
    for _ in 0..DROP_BUDGET + 1 {
        kernel.send(&[0]).expect("sent");
    }
    kernel.send(&framed(&[7; 60])).expect("sent");
    let (received, woken) = poll_receive(&mut tap);
    assert!(received.is_pending(), "{received:?}");
    assert!(woken, "it asks for another turn: no event will");
    assert_eq!(tap.counters().dropped_short_read, DROP_BUDGET as u64);
    assert!(poll_receive(&mut tap).0.is_ready());
    // With nothing there it waits for the descriptor, and does not spin.
    let (received, woken) = poll_receive(&mut tap);
    assert!(received.is_pending() && !woken);
}

#[test]
fn a_frame_of_several_segments_arrives_in_as_many_pages_as_it_needs() {
    let (mut tap, kernel) = on_a_socket(1500);
    // Without a size, of another kind, and longer than any packet can be.
    let mut wrong = framed(&[7; 9_000]);
    wrong[1] = 1;
    kernel.send(&wrong).expect("sent");
    (wrong[1], wrong[4]) = (0x81, 100);
    kernel.send(&wrong).expect("sent");
    let mut long = framed(&vec![7; 65_535 + ETHERNET_HEADER + VLAN_TAG + 1]);
    (long[1], long[4]) = (1, 100);
    kernel.send(&long).expect("sent");
    // As long as one may be.
    let mut bytes: Vec<u8> = (0..65_535 + ETHERNET_HEADER).map(|i| i as u8).collect();
    let mut right = framed(&bytes);
    right[..8].copy_from_slice(&[1, 1, 255, 255, 0xa8, 5, 34, 0]);
    right[8] = 16;
    kernel.send(&right).expect("sent");
    let (Poll::Ready(Ok(frame)), _) = poll_receive(&mut tap) else {
        panic!("no frame");
    };
    let segmentation = frame.metadata.segmentation.expect("several segments");
    assert_eq!(segmentation.size.to_ne_bytes(), [0xa8, 5]);
    assert_eq!(frame.segments().len(), 17);
    let mut received = vec![0; frame.len()];
    frame.copy_to_slice(0, &mut received);
    assert!(received == bytes);
    drop(frame);
    // A short one after it takes one page.
    bytes.truncate(60);
    kernel.send(&framed(&bytes)).expect("sent");
    let (Poll::Ready(Ok(frame)), _) = poll_receive(&mut tap) else {
        panic!("no frame");
    };
    assert_eq!(frame.segments().len(), 1);
    let counters = tap.counters();
    assert_eq!(
        (counters.dropped_segmented, counters.dropped_too_long),
        (2, 1)
    );
    assert_eq!((counters.received, counters.received_segmented), (2, 1));
}

#[test]
fn with_few_pages_a_long_frame_is_dropped_and_a_short_one_is_not() {
    let (mut tap, kernel) = on_a_socket(1500);
    let mut hoard: Vec<_> = std::iter::from_fn(|| tap.reserve.alloc()).collect();
    hoard.extend(std::iter::from_fn(|| tap.reserve.pool().alloc()));
    hoard.truncate(hoard.len() - 3);
    let mut long = framed(&[7; 20_000]);
    (long[1], long[4]) = (1, 100);
    kernel.send(&long).expect("sent");
    kernel.send(&framed(&[7; 1_000])).expect("sent");
    let (Poll::Ready(Ok(frame)), _) = poll_receive(&mut tap) else {
        panic!("no frame");
    };
    assert_eq!(frame.len(), 1_000);
    assert_eq!(tap.counters().dropped_no_page, 1);
}

#[test]
fn what_is_to_be_cut_is_checked_before_the_kernel_has_it() {
    let (mut tap, kernel) = on_a_socket(1500);
    let pool = tap.reserve.pool();
    let mut ask = |change: fn(&mut Frame)| {
        let mut page = pool.alloc().expect("a page");
        page.append(3_000).expect("room");
        let mut frame = Frame::from(page);
        frame.metadata.checksum = Checksum::Partial {
            start: 34,
            offset: 16,
        };
        frame.metadata.segmentation = Some(Segmentation {
            size: 1_448,
            kind: SegmentationKind::TcpV4,
            header_len: 66,
        });
        change(&mut frame);
        send(&mut tap, frame).err()
    };
    fn of(frame: &mut Frame) -> &mut Segmentation {
        frame.metadata.segmentation.as_mut().expect("segmented")
    }
    let unsupported = Some(TransmitReason::Unsupported);
    assert_eq!(ask(|frame| of(frame).size = 0), unsupported);
    assert_eq!(ask(|frame| of(frame).header_len = 0), unsupported);
    assert_eq!(
        ask(|frame| of(frame).kind = SegmentationKind::TcpV6),
        unsupported
    );
    assert_eq!(
        ask(|frame| frame.metadata.checksum = Checksum::Unverified),
        unsupported
    );
    let too_long = Some(TransmitReason::TooLong);
    assert_eq!(ask(|frame| of(frame).size = 1_453), too_long);
    assert_eq!(ask(|_| ()), None);
    assert_eq!(tap.counters().transmitted_segmented, 1);
    let mut bytes = [0; 4_000];
    assert_eq!(kernel.recv(&mut bytes).expect("the frame"), 3_010);
    let header = VirtioHeader::parse(bytes.first_chunk().expect("a header"));
    assert_eq!(
        header.segmentation,
        SegmentationState::TcpV4 {
            size: 1_448,
            header_len: 66
        }
    );
}

#[test]
fn blocks_too_small_for_long_frames_are_told_apart() {
    in_own_network("blocks_too_small_for_long_frames_are_told_apart", || {
        let both = OffloadFlags::TRANSMIT_SEGMENTED_V4 | OffloadFlags::RECEIVE_SEGMENTED_V4;
        let flags = |config, block_size| {
            let guest = with_pool(config, block_size).expect("a tap");
            guest.netif.offloads().flags & both
        };
        assert_eq!(flags(config(), 4_096), both);
        assert_eq!(
            flags(config(), 2_048),
            OffloadFlags::TRANSMIT_SEGMENTED_V4,
            "18 pages of these don't hold a frame"
        );
        let mut few = config();
        few.receive_pages = 16;
        assert_eq!(flags(few, 4_096), OffloadFlags::TRANSMIT_SEGMENTED_V4);
        let mut off = config();
        off.segmentation_offload = false;
        assert_eq!(flags(off, 4_096), OffloadFlags::empty());
        // What is put together here is something else.
        let mut off = config();
        off.checksum_offload = false;
        let merged = OffloadFlags::RECEIVE_SEGMENTED_V4;
        assert_eq!(flags(off.clone(), 4_096), merged);
        off.merge_received = false;
        assert_eq!(flags(off, 4_096), OffloadFlags::empty());
    });
}

/// A tap whose kernel is the other end of a pair of sockets, which can say what the real one never does.
fn on_a_socket(mtu: u16) -> (Tap, UnixDatagram) {
    let (ours, kernel) = UnixDatagram::pair().expect("a pair of sockets");
    ours.set_nonblocking(true).expect("not blocking");
    kernel.set_nonblocking(true).expect("not blocking");
    (on_a_descriptor(ours.into(), mtu), kernel)
}

fn on_a_descriptor(descriptor: OwnedFd, mtu: u16) -> Tap {
    let platform = HostPlatform::leak().expect("a platform");
    let pool = Pool::leak(64, 4_096).expect("a pool");
    Tap {
        source: platform.source(descriptor).expect("a slot"),
        name: NAME.into(),
        made: false,
        mac: GUEST_MAC,
        mtu,
        checksum_offload: true,
        segmentation: Segmenting {
            transmit: true,
            receive: true,
        },
        merges: false,
        merge_received: false,
        carried: None,
        drained: false,
        reserve: pool.reserve(20).expect("pages"),
        headroom: 0,
        posted: Vec::new(),
        pages_a_frame: pages_a_frame(u16::MAX, 4_096, 0).expect("pages"),
        pages_an_mtu: pages_a_frame(mtu, 4_096, 0).expect("a page"),
        ring: IO_URING.get().then(open_ring).flatten(),
        queued: Vec::with_capacity(ring::MOST),
        link_up: true,
        counters: TapCounters::default(),
    }
}

/// A frame as the kernel hands it over, with an empty virtio header.
fn framed(frame: &[u8]) -> Vec<u8> {
    [&[0; virtio_header::LENGTH], frame].concat()
}

/// What a poll gives, and whether it woke its own task.
fn poll_receive(tap: &mut Tap) -> (Poll<Result<Frame, NetifError>>, bool) {
    struct Woken(AtomicBool);
    impl Wake for Woken {
        fn wake(self: Arc<Self>) {
            self.0.store(true, Ordering::Relaxed);
        }
    }
    let woken = Arc::new(Woken(AtomicBool::new(false)));
    let waker = Waker::from(Arc::clone(&woken));
    let result = tap.poll_receive(&mut Context::from_waker(&waker));
    (result, woken.0.load(Ordering::Relaxed))
}

fn config() -> TapConfig {
    let mut config = TapConfig::new(NAME);
    config.host_address = Some((HOST, 24));
    config.mac = Some(GUEST_MAC);
    config.io_uring = IO_URING.get();
    config
}

/// Transmits one frame, and says why it was not.
fn send(tap: &mut Tap, frame: Frame) -> Result<(), TransmitReason> {
    tap.transmit(frame).map_err(|error| error.reason)?;
    tap.flush().map_err(TransmitReason::Netif)
}

/// Runs `test` in a network of its own, where there are taps: once with io_uring, where the kernel offers it, and once without.
fn in_own_network(name: &str, test: impl Fn() + Clone + Send + 'static) {
    for io_uring in WAYS {
        let test = test.clone();
        network_namespace::run_test(name, network_namespace::what_a_tap_lacks, move || {
            IO_URING.set(io_uring);
            test();
        });
    }
}

fn open(config: TapConfig) -> Guest<Tap> {
    try_open(config).expect("a tap")
}

fn try_open(config: TapConfig) -> Result<Guest<Tap>, TapError> {
    with_pool(config, 2048)
}

fn with_pool(config: TapConfig, block_size: usize) -> Result<Guest<Tap>, TapError> {
    Guest::with_pool(block_size, |platform, pool| {
        Tap::open(platform, pool, config)
    })
}
