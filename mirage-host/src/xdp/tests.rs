//! Tests against this machine's kernel, each with a veth pair in a network namespace of its own thread: nothing is left behind.

use std::net::UdpSocket;
use std::time::Duration;

use mirage_core::Clock;
use mirage_core::executor::Platform;
use rustix::thread::CapabilitySet;

use super::*;
use crate::testing::{GUEST, Guest, HOST, drop_the_right, receive_text, route, udp_sum};

/// Our end, and the kernel's.
const NAME: &str = "mirage-x0";
const PEER: &str = "mirage-x1";
const PAGES: usize = 32;

#[test]
fn frames_go_both_ways_natively_and_every_page_returns() {
    in_own_network(
        "frames_go_both_ways_natively_and_every_page_returns",
        || {
            both_ways(XdpMode::Native, 2048);
            both_ways(XdpMode::Native, 4096);
        },
    );
}

#[test]
fn frames_go_both_ways_generically_and_every_page_returns() {
    in_own_network(
        "frames_go_both_ways_generically_and_every_page_returns",
        || {
            both_ways(XdpMode::Generic, 2048);
            both_ways(XdpMode::Generic, 4096);
        },
    );
}

fn both_ways(mode: XdpMode, block_size: usize) {
    let mut config = config();
    config.mode = Some(mode);
    let mut guest = open_with(config, block_size);
    let xdp = &guest.netif;
    assert_eq!(
        (xdp.mode(), xdp.zero_copy(), xdp.name()),
        (mode, false, NAME)
    );
    assert_eq!((xdp.mtu(), xdp.link_up()), (1500, true));
    let interface = route().interface(NAME).expect("the interface");
    assert_eq!(xdp.mac().octets(), interface.mac);
    assert_eq!(xdp.lent(), (PAGES, 0));

    let host = guest.ping_pong_arp();
    guest.netif.flush().expect("flushed");
    let received = guest.udp();
    let bytes = received.contiguous().expect("one page");
    assert_eq!(udp_sum(bytes), 0xffff, "the sum over a right checksum");
    assert_eq!(received.metadata.checksum, Checksum::Unverified);
    // Headers and text in a page each.
    let answer = guest.answer(&received, false);
    assert_eq!(answer.segments().len(), 2);
    guest.netif.transmit(answer).expect("transmitted");
    guest.netif.flush().expect("flushed");
    assert_eq!(receive_text(&host), b"pong");
    drop(received);

    // The longest frame, and back.
    let text: Vec<u8> = (0..1472u32).map(|i| i as u8).collect();
    host.send_to(&text, (GUEST, 53)).expect("sent");
    let received = guest.udp();
    assert_eq!(received.len(), 1514);
    assert_eq!(&received.contiguous().expect("one page")[42..], text);
    drop(received);

    all_pages_return(guest);
    delete();
}

/// Nothing is charged to anybody once the kernel has answered, nor after the device has gone.
fn all_pages_return(mut guest: Guest<Xdp>) {
    let pool = guest.pool;
    while guest.netif.lent() != (PAGES, 0) {
        // What still comes (neighbour solicitations of IPv6, say) is dropped.
        if guest.poll_receive().is_pending() {
            guest
                .platform
                .park(Some(guest.platform.now() + Duration::from_millis(20)));
        }
        assert!(
            guest.platform.now() < guest.deadline,
            "{:?}",
            guest.netif.lent()
        );
    }
    assert_eq!(pool.free_in_all(), pool.blocks() - PAGES);
    let counters = guest.netif.counters();
    assert_eq!(
        (counters.bad_descriptors, counters.kernel_invalid),
        (0, 0),
        "{counters:?}"
    );
    drop(guest);
    assert_eq!(pool.free(), pool.blocks());
    assert_eq!(pool.counters().quarantined, 0);
}

/// Takes the pair of interfaces away, and what the kernel has learnt of it.
fn delete() {
    let index = route().interface(NAME).expect("the interface").index;
    route().delete(index).expect("deleted");
}

#[test]
fn the_kernel_has_the_interface_back_when_the_device_goes() {
    in_own_network(
        "the_kernel_has_the_interface_back_when_the_device_goes",
        || {
            for _ in 0..3 {
                drop(open(config()));
            }
            // A datagram to the interface's own address reaches the kernel again.
            let index = route().interface(NAME).expect("the interface").index;
            route().add_address(index, GUEST, 24).expect("added");
            let socket = UdpSocket::bind((GUEST, 0)).expect("a port");
            drop(socket);
            let again = open(config());
            assert_eq!(again.netif.mode(), XdpMode::Native);
        },
    );
}

#[test]
fn a_batch_takes_one_system_call_and_none_where_nothing_was_queued() {
    in_own_network(
        "a_batch_takes_one_system_call_and_none_where_nothing_was_queued",
        || {
            let mut guest = open(config());
            guest.netif.flush().expect("flushed");
            assert_eq!(guest.netif.counters().kicks, 0);
            for _ in 0..20 {
                let frame = guest.arp_frame();
                guest.netif.transmit(frame).expect("transmitted");
            }
            assert_eq!(guest.netif.counters().kicks, 0, "nothing before the flush");
            guest.netif.flush().expect("flushed");
            guest.netif.flush().expect("flushed");
            let counters = guest.netif.counters();
            assert_eq!(
                (
                    counters.kicks,
                    counters.kicks_unfinished,
                    counters.transmitted
                ),
                (1, 0, 20)
            );
            all_pages_return(guest);
        },
    );
}

#[test]
fn more_frames_than_the_ring_has_are_all_sent() {
    in_own_network("more_frames_than_the_ring_has_are_all_sent", || {
        let mut config = config();
        config.transmit_slots = 32;
        let mut guest = open(config);
        let mut refused = 0;
        for _ in 0..500 {
            while guest.poll_ready().is_pending() {
                refused += 1;
                guest.sleep();
            }
            let frame = guest.arp_frame();
            guest.netif.transmit(frame).expect("there was room");
        }
        guest.netif.flush().expect("flushed");
        let counters = guest.netif.counters();
        assert_eq!(
            (counters.transmitted, counters.transmit_full),
            (500, 0),
            "{refused}"
        );
        assert!(counters.kicks >= 500 / 32, "{counters:?}");
        all_pages_return(guest);
    });
}

#[test]
fn what_lies_outside_of_the_pool_is_copied_and_counted() {
    in_own_network(
        "what_lies_outside_of_the_pool_is_copied_and_counted",
        || {
            let mut guest = open(config());
            let host = guest.ping_pong_arp();
            guest.netif.flush().expect("flushed");
            let request = guest.udp();
            let answer = guest.answer(&request, false);
            let before = guest.netif.counters().transmit_copied;
            let range = guest.pool.register_static(b"-pong-").expect("registered");
            let mut segments = answer.into_segments();
            let mut frame = Frame::from(segments.next().expect("headers"));
            frame
                .push(range.slice(1..5).expect("in the range"))
                .expect("room");
            guest.netif.transmit(frame).expect("transmitted");
            guest.netif.flush().expect("flushed");
            assert_eq!(receive_text(&host), b"pong");
            assert_eq!(guest.netif.counters().transmit_copied, before + 1);

            // A page of another pool, and one that somebody else may still write.
            let other = Pool::leak(4, 2048).expect("a pool");
            let answer = guest.answer(&request, false);
            let mut page = other.alloc().expect("a page");
            answer.copy_into(&mut page).expect("room");
            guest.netif.transmit(page.into()).expect("transmitted");
            let mut page = guest.pool.alloc().expect("a page");
            answer.copy_into(&mut page).expect("room");
            page.append(1).expect("room");
            let length = page.len() - 1;
            let (page, written) = page.split_at(length).expect("two windows");
            guest.netif.transmit(page.into()).expect("transmitted");
            guest.netif.flush().expect("flushed");
            assert_eq!(receive_text(&host), b"pong");
            assert_eq!(receive_text(&host), b"pong");
            assert_eq!(guest.netif.counters().transmit_copied, before + 3);
            assert_eq!(other.free(), 4);
            drop((answer, written, request, segments));
            all_pages_return(guest);
        },
    );
}

#[test]
fn a_checksum_that_the_sender_left_out_is_seen_and_not_believed() {
    in_own_network(
        "a_checksum_that_the_sender_left_out_is_seen_and_not_believed",
        || {
            for accept in [false, true] {
                let mut config = config();
                config.accept_partial_checksums = accept;
                let mut guest = open(config);
                link::set_transmit_checksum_offload(PEER, true).expect("veth has it");
                guest.ping_pong_arp();
                guest.netif.flush().expect("flushed");
                let received = guest.udp();
                assert_ne!(udp_sum(received.contiguous().expect("one page")), 0xffff);
                assert_eq!(guest.netif.counters().received_partial, 1);
                let expected = if accept {
                    Checksum::Partial {
                        start: 34,
                        offset: 6,
                    }
                } else {
                    Checksum::Unverified
                };
                assert_eq!(received.metadata.checksum, expected);
                drop(guest);
                delete();
            }
        },
    );
}

#[test]
fn with_every_page_held_the_kernel_keeps_its_share_and_frames_are_counted() {
    in_own_network(
        "with_every_page_held_the_kernel_keeps_its_share_and_frames_are_counted",
        || {
            let mut guest = open(config());
            let host = guest.ping_pong_arp();
            guest.netif.flush().expect("flushed");
            guest.udp();
            while guest.netif.lent().1 > 0 {
                guest.netif.reap();
            }
            let mut hoard = Vec::new();
            while let Some(page) = guest.pool.alloc() {
                hoard.push(page);
            }
            let mut held = Vec::new();
            while guest.netif.counters().dropped_no_page == 0 {
                host.send_to(b"held", (GUEST, 53)).expect("sent");
                match guest.poll_receive() {
                    Poll::Ready(frame) => held.push(frame.expect("a frame")),
                    Poll::Pending => guest.sleep(),
                }
            }
            assert!(held.len() <= PAGES - PAGES / 4, "{}", held.len());
            assert!(guest.netif.lent().0 >= PAGES / 4);
            drop((hoard, held));
            host.send_to(b"last", (GUEST, 53)).expect("sent");
            guest.receive(|head| head[12..14] == [8, 0]);
            all_pages_return(guest);
        },
    );
}

#[test]
fn an_interface_that_goes_down_and_up_is_an_error_and_no_hang() {
    in_own_network(
        "an_interface_that_goes_down_and_up_is_an_error_and_no_hang",
        || {
            let mut guest = open(config());
            let index = route().interface(NAME).expect("the interface").index;
            route().set_down(index).expect("down");
            let until_down = guest.platform.now() + Duration::from_secs(60);
            while guest.netif.link_up() {
                if guest.poll_receive().is_pending() && guest.netif.link_up() {
                    guest.platform.park(Some(until_down));
                }
                assert!(
                    guest.platform.now() < until_down,
                    "nobody told that it is down"
                );
            }
            let frame = guest.arp_frame();
            let refused = guest.netif.transmit(frame).expect_err("the link is down");
            assert_eq!(refused.reason, TransmitReason::Netif(NetifError::LinkDown));
            assert_eq!(refused.frame.len(), 42, "the frame comes back");
            assert!(guest.poll_ready().is_pending());
            // It comes up from another thread, while this one sleeps in the platform.
            std::thread::scope(|scope| {
                scope.spawn(|| route().set_up(index).expect("up"));
                while guest.poll_ready().is_pending() {
                    guest.sleep();
                }
            });
            assert!(guest.netif.link_up());
            guest.netif.transmit(refused.frame).expect("transmitted");
            guest.netif.flush().expect("flushed");
            let host = guest.ping_pong_arp();
            guest.netif.flush().expect("flushed");
            guest.udp();
            drop(host);
        },
    );
}

#[test]
fn an_interface_that_is_deleted_is_gone_and_no_hang() {
    in_own_network("an_interface_that_is_deleted_is_gone_and_no_hang", || {
        for mode in [XdpMode::Native, XdpMode::Generic] {
            let mut config = config();
            config.mode = Some(mode);
            let mut guest = open(config);
            let pool = guest.pool;
            let index = route().interface(NAME).expect("the interface").index;
            // From another thread, while this one sleeps in the platform.
            let error = std::thread::scope(|scope| {
                scope.spawn(|| route().delete(index).expect("deleted"));
                loop {
                    match guest.poll_receive() {
                        Poll::Ready(Ok(_)) => {}
                        Poll::Ready(Err(error)) => break error,
                        Poll::Pending => guest.sleep(),
                    }
                }
            });
            assert_eq!(error, NetifError::Gone);
            let frame = guest.arp_frame();
            let refused = guest.netif.transmit(frame).expect_err("there is no device");
            assert_eq!(refused.reason, TransmitReason::Netif(NetifError::Gone));
            assert_eq!(guest.poll_ready(), Poll::Ready(Err(NetifError::Gone)));
            drop((guest, refused));
            assert_eq!(pool.free(), pool.blocks());
        }
    });
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
        let mut frame = guest.arp_frame();
        frame.metadata.checksum = Checksum::Partial {
            start: 34,
            offset: 6,
        };
        let refused = guest.netif.transmit(frame).expect_err("no such offload");
        assert_eq!(refused.reason, TransmitReason::Unsupported);
        assert_eq!(guest.netif.counters().transmit_refused, 3);
    });
}

#[test]
fn what_the_caller_or_the_system_lacks_is_said() {
    in_own_network("what_the_caller_or_the_system_lacks_is_said", || {
        veth(4);
        let refused = |config, block_size| {
            let guest = Guest::with_pool(block_size, |platform, pool| {
                Xdp::open(platform, pool, config)
            });
            guest.err().expect("a refusal")
        };
        let many = refused(config(), 2048);
        assert_eq!(
            many,
            XdpError::ManyQueues {
                name: NAME.into(),
                queues: 4
            }
        );
        assert!(
            many.to_string().contains("ethtool -L mirage-x0 combined 1"),
            "{many}"
        );
        let index = route().interface(NAME).expect("the interface").index;
        route().delete(index).expect("deleted");
        assert_eq!(refused(config(), 2048), XdpError::NoInterface(NAME.into()));
        veth(1);

        assert!(matches!(refused(config(), 1024), XdpError::Config(_)));
        assert!(matches!(refused(config(), 8192), XdpError::Config(_)));
        for (receive_pages, transmit_slots) in [(8, 256), (256, 33), (32, 16)] {
            let mut config = config();
            (config.receive_pages, config.transmit_slots) = (receive_pages, transmit_slots);
            assert!(matches!(refused(config, 2048), XdpError::Config(_)));
        }
        let mut more = config();
        more.receive_pages = 128;
        assert!(matches!(refused(more, 2048), XdpError::Pool(_)));

        let index = route().interface(NAME).expect("the interface").index;
        route().set_mtu(index, 2000).expect("set");
        let too_large = refused(config(), 2048);
        assert_eq!(
            too_large,
            XdpError::Mtu {
                name: NAME.into(),
                mtu: 2000,
                most: 1774
            }
        );
        route().set_mtu(index, 1500).expect("set");

        let first = open_there(config(), 2048);
        assert_eq!(refused(config(), 2048), XdpError::Busy(NAME.into()));
        drop(first);
        route().set_down(index).expect("down");
        let down = refused(config(), 2048);
        assert_eq!(down, XdpError::Down(NAME.into()));
        assert!(
            down.to_string().contains("ip link set mirage-x0 up"),
            "{down}"
        );
        route().set_up(index).expect("up");
    });
}

#[test]
fn without_the_right_the_error_says_which() {
    for (right, what) in [
        (CapabilitySet::NET_RAW, "open a socket of AF_XDP"),
        (
            // Who may administer the system may do this, too.
            CapabilitySet::NET_ADMIN | CapabilitySet::SYS_ADMIN,
            "attach an XDP program",
        ),
    ] {
        in_own_network("without_the_right_the_error_says_which", move || {
            veth(1);
            drop_the_right(right);
            let refused =
                Guest::with_pool(2048, |platform, pool| Xdp::open(platform, pool, config()));
            let error = refused.err().expect("a refusal");
            assert_eq!(error, XdpError::NotPermitted { step: what });
            assert!(error.to_string().contains("CAP_NET_ADMIN"), "{error}");
        });
    }
}

fn config() -> XdpConfig {
    let mut config = XdpConfig::new(NAME);
    config.receive_pages = PAGES;
    config
}

/// A pair of interfaces, both up; the kernel's end has the host's address, and computes checksums.
fn veth(queues: u32) {
    let mut route = route();
    route.add_veth(NAME, PEER, queues).expect("made");
    let peer = route.interface(PEER).expect("the other end").index;
    route.add_address(peer, HOST, 24).expect("an address");
    link::set_transmit_checksum_offload(PEER, false).expect("veth has it");
    for name in [PEER, NAME] {
        let index = route.interface(name).expect("the interface").index;
        route.set_up(index).expect("up");
    }
}

fn open(config: XdpConfig) -> Guest<Xdp> {
    open_with(config, 2048)
}

/// On a pair of interfaces, which is made unless it is there.
fn open_with(config: XdpConfig, block_size: usize) -> Guest<Xdp> {
    if route().interface(NAME).is_err() {
        veth(1);
    }
    open_there(config, block_size)
}

fn open_there(config: XdpConfig, block_size: usize) -> Guest<Xdp> {
    let guest = Guest::with_pool(block_size, |platform, pool| {
        Xdp::open(platform, pool, config)
    });
    let mut guest = guest.unwrap_or_else(|error| panic!("{error}"));
    // Both ends are up before the carrier is told.
    while !guest.netif.link_up() {
        if guest.poll_receive().is_pending() && !guest.netif.link_up() {
            guest.sleep();
        }
    }
    guest
}

/// Runs `test` in a network of its own, where there is AF_XDP and the right to use it.
fn in_own_network(name: &str, test: impl FnOnce() + Send + 'static) {
    let missing = || {
        if let Err(error) = route().add_veth(NAME, PEER, 1) {
            return Some(format!("no pair of interfaces: {error}"));
        }
        let index = route().interface(NAME).expect("the interface").index;
        let pool = Pool::leak(64, 2048).expect("a pool");
        let options = SocketOptions {
            interface: index,
            receive_slots: 16,
            transmit_slots: 16,
            headroom: 0,
        };
        // The one thing that is tried first: the rest is what the tests are about.
        let socket = XdpSocket::is_possible(pool, options);
        let map = SocketMap::new();
        route().delete(index).expect("deleted");
        match (socket, map) {
            (Err(error), _) => Some(error.to_string()),
            (_, Err(error)) => Some(format!("bpf(2): {error}")),
            _ => None,
        }
    };
    network_namespace::run_test(name, missing, test);
}
