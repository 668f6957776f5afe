use super::*;
use crate::frame::{Checksum, FrameMetadata, Segmentation, SegmentationKind};

#[test]
fn a_frame_reaches_whom_it_is_addressed_to() {
    let net = Net::new();
    let (mut a, mut b, mut c) = (
        net.attach(1, |_| ()),
        net.attach(2, |_| ()),
        net.attach(3, |_| ()),
    );
    let mut tap = net.attach(4, |config| config.promiscuous = true);
    send(&mut a, net.frame(2, 1, b"to b"));
    send(
        &mut a,
        frame(net.pool, MacAddress::BROADCAST, mac(1), b"to all"),
    );
    settle(&net.ethernet, &net.clock);
    assert_eq!(&received(&mut b).unwrap()[14..], b"to b");
    assert_eq!(&received(&mut b).unwrap()[14..], b"to all");
    assert_eq!(&received(&mut c).unwrap()[14..], b"to all");
    assert_eq!(&received(&mut tap).unwrap()[14..], b"to b");
    assert_eq!(&received(&mut tap).unwrap()[14..], b"to all");
    for netif in [&mut a, &mut b, &mut c, &mut tap] {
        assert_eq!(received(netif), None);
    }
    assert_eq!(
        (
            a.counters().transmitted,
            c.counters().filtered,
            tap.counters().received
        ),
        (2, 1, 2)
    );
    assert_eq!(net.pool.free_in_all(), 64);
}

#[test]
fn what_is_not_flushed_does_not_go_out() {
    let net = Net::new();
    let (mut a, mut b) = (
        net.attach(1, |config| config.transmit_queue = 2),
        net.attach(2, |_| ()),
    );
    a.transmit(net.frame(2, 1, b"1")).unwrap();
    a.transmit(net.frame(2, 1, b"2")).unwrap();
    assert_eq!(net.ethernet.next_event(), None);
    let count = Arc::new(Count::default());
    let waker = Waker::from(count.clone());
    assert!(a.poll_ready(&mut Context::from_waker(&waker)).is_pending());
    let error = a.transmit(net.frame(2, 1, b"3")).unwrap_err();
    assert_eq!(
        (error.reason, &bytes(&error.frame)[14..]),
        (TransmitReason::Full, &b"3"[..])
    );
    a.flush().unwrap();
    assert_eq!(count.get(), 1);
    assert!(a.poll_ready(&mut Context::from_waker(&waker)).is_ready());
    settle(&net.ethernet, &net.clock);
    assert_eq!(
        (
            received(&mut b).is_some(),
            received(&mut b).is_some(),
            received(&mut b)
        ),
        (true, true, None)
    );
}

#[test]
fn arrival_wakes_the_receiver_when_it_is_due_and_not_before() {
    let net = Net::new();
    let delay = Duration::from_millis(5);
    let (mut a, mut b) = (
        net.attach(1, |_| ()),
        net.attach(2, |config| config.faults.delay = delay),
    );
    let count = Arc::new(Count::default());
    let waker = Waker::from(count.clone());
    assert!(
        b.poll_receive(&mut Context::from_waker(&waker))
            .is_pending()
    );
    send(&mut a, net.frame(2, 1, b"later"));
    assert_eq!(net.ethernet.next_event(), Some(Instant::from_millis(5)));
    net.ethernet.deliver(Instant::from_millis(4));
    assert_eq!((count.get(), received(&mut b)), (0, None));
    assert!(
        b.poll_receive(&mut Context::from_waker(&waker))
            .is_pending()
    );
    assert_eq!(net.ethernet.deliver(Instant::from_millis(5)), 1);
    assert_eq!(count.get(), 1);
    assert!(received(&mut b).is_some());
}

#[test]
fn an_empty_receive_reserve_drops_and_counts() {
    let net = Net::new();
    let (mut a, mut b) = (net.attach(1, |_| ()), net.attach(2, |_| ()));
    for _ in 0..10 {
        send(&mut a, net.frame(2, 1, b"flood"));
    }
    settle(&net.ethernet, &net.clock);
    let held: Vec<_> = core::iter::from_fn(|| match receive(&mut b) {
        Poll::Ready(frame) => frame.ok(),
        Poll::Pending => None,
    })
    .collect();
    assert_eq!((held.len(), b.counters().no_page), (8, 2));
    drop(held);
    send(&mut a, net.frame(2, 1, b"again"));
    settle(&net.ethernet, &net.clock);
    assert!(received(&mut b).is_some());
}

#[test]
fn bounded_queues_drop_the_newest_and_count() {
    let net = Net::new();
    let mut a = net.attach(1, |_| ());
    let b = net.attach(2, |config| config.receive_queue = 3);
    let c = net.attach(3, |config| config.line = 2);
    for _ in 0..5 {
        send(
            &mut a,
            frame(net.pool, MacAddress::BROADCAST, mac(1), b"flood"),
        );
    }
    settle(&net.ethernet, &net.clock);
    assert_eq!((b.counters().received, b.counters().queue_full), (3, 2));
    assert_eq!(
        (c.counters().received, c.counters().faults.overflowed),
        (2, 3)
    );
}

#[test]
fn transmit_refuses_what_the_device_cannot_do() {
    let net = Net::new();
    let mut a = net.attach(1, |config| {
        config.mtu = 300;
        config.offloads = Offloads {
            flags: OffloadFlags::TRANSMIT_PARTIAL_V4,
            fragments: 2,
        };
    });
    let mut refuse = |frame: Frame| a.transmit(frame).unwrap_err().reason;
    let mut short = net.frame(2, 1, b"");
    short.truncate(13);
    assert_eq!(refuse(short), TransmitReason::TooShort);
    assert_eq!(refuse(net.frame(2, 1, &[0; 305])), TransmitReason::TooLong);
    let mut pieces = net.frame(2, 1, b"");
    for _ in 0..2 {
        pieces.push(net.pool.alloc().unwrap()).unwrap();
    }
    assert_eq!(refuse(pieces), TransmitReason::TooManySegments);
    let mut outside = net.frame(2, 1, &[0; 20]);
    outside.metadata.checksum = Checksum::Partial {
        start: 20,
        offset: 13,
    };
    assert_eq!(refuse(outside), TransmitReason::Unsupported);
    let mut segmented = net.frame(2, 1, &[0; 20]);
    segmented.metadata.segmentation = Some(Segmentation {
        size: 10,
        kind: SegmentationKind::TcpV4,
        header_len: 14,
    });
    assert_eq!(refuse(segmented), TransmitReason::Unsupported);
    assert_eq!(a.counters().refused, 5);
    a.transmit(net.frame(2, 1, &[0; 304])).unwrap();
    assert_eq!(net.pool.free_in_all(), 64);
}

#[test]
fn a_partial_checksum_is_completed_for_a_wire_and_kept_for_who_negotiated_it() {
    let net = Net::new();
    let mut a = net.attach(1, |config| {
        config.offloads.flags = OffloadFlags::TRANSMIT_PARTIAL_V4
    });
    let mut wire = net.attach(2, |_| ());
    let mut local = net.attach(3, |config| {
        config.offloads.flags = OffloadFlags::RECEIVE_PARTIAL
    });
    let mut vouching = net.attach(4, |config| {
        config.offloads.flags = OffloadFlags::RECEIVE_VERIFIED
    });
    let checksum = Checksum::Partial {
        start: 14,
        offset: 2,
    };
    // The pseudo-header's sum is 0x0102: 0x0102 + 0xf0f0 + 0x2000 = 0x111f2, folded 0x11f3.
    let mut partial = frame(
        net.pool,
        MacAddress::BROADCAST,
        mac(1),
        &[0xf0, 0xf0, 0x01, 0x02, 0x20, 0x00],
    );
    partial.metadata.checksum = checksum;
    send(&mut a, partial);
    settle(&net.ethernet, &net.clock);
    let expected = |netif: &mut VirtualNetif| {
        let Poll::Ready(Ok(frame)) = receive(netif) else {
            panic!("nothing received")
        };
        (frame.metadata.checksum, bytes(&frame)[14..].to_vec())
    };
    let complete = std::vec![0xf0, 0xf0, 0xee, 0x0c, 0x20, 0x00];
    assert_eq!(
        expected(&mut wire),
        (Checksum::Unverified, complete.clone())
    );
    assert_eq!(
        expected(&mut local),
        (checksum, std::vec![0xf0, 0xf0, 0x01, 0x02, 0x20, 0x00])
    );
    assert_eq!(expected(&mut vouching), (Checksum::Verified, complete));
}

#[test]
fn nobody_vouches_for_a_damaged_frame() {
    let net = Net::new();
    let mut a = net.attach(1, |config| {
        config.offloads.flags = OffloadFlags::TRANSMIT_PARTIAL_V4
    });
    let mut b = net.attach(2, |config| {
        config.offloads.flags = OffloadFlags::RECEIVE_VERIFIED | OffloadFlags::RECEIVE_PARTIAL;
        config.promiscuous = true;
        config.faults.corruption = Chance::ALWAYS;
    });
    for _ in 0..50 {
        let mut partial = net.frame(2, 1, &[0xf0, 0xf0, 0x01, 0x02, 0x20, 0x00]);
        partial.metadata.checksum = Checksum::Partial {
            start: 14,
            offset: 2,
        };
        send(&mut a, partial);
        settle(&net.ethernet, &net.clock);
        let Poll::Ready(Ok(frame)) = receive(&mut b) else {
            panic!("nothing received")
        };
        assert_eq!(frame.metadata, FrameMetadata::NONE);
    }
    assert_eq!(b.counters().faults.corrupted, 50);
}

#[test]
fn a_segmented_frame_reaches_only_who_takes_such() {
    let net = Net::new();
    let mut a = net.attach(1, |config| {
        config.offloads.flags = OffloadFlags::TRANSMIT_SEGMENTED_V4
    });
    let mut b = net.attach(2, |config| {
        config.offloads.flags = OffloadFlags::RECEIVE_SEGMENTED_V4
    });
    let c = net.attach(3, |_| ());
    let segmentation = Some(Segmentation {
        size: 400,
        kind: SegmentationKind::TcpV4,
        header_len: 14,
    });
    let mut long = frame(net.pool, MacAddress::BROADCAST, mac(1), &[1; 400]);
    for _ in 0..4 {
        let mut page = net.pool.alloc().unwrap();
        page.extend_from_slice(&[2; 500]).unwrap();
        long.push(page).unwrap();
    }
    long.metadata.segmentation = segmentation;
    send(&mut a, long);
    settle(&net.ethernet, &net.clock);
    let Poll::Ready(Ok(frame)) = receive(&mut b) else {
        panic!("nothing received")
    };
    assert_eq!(
        (
            frame.len(),
            frame.segments().len(),
            frame.metadata.segmentation
        ),
        (2_414, 5, segmentation)
    );
    assert_eq!(c.counters().segmented, 1);
}

#[test]
fn received_frames_come_with_headroom_and_in_the_pieces_asked_for() {
    let net = Net::new();
    let mut a = net.attach(1, |_| ());
    let mut b = net.attach(2, |config| {
        config.headroom = 32;
        config.segment_len = 10;
    });
    send(&mut a, net.frame(2, 1, b"0123456789abcdef"));
    settle(&net.ethernet, &net.clock);
    let Poll::Ready(Ok(mut frame)) = receive(&mut b) else {
        panic!("nothing received")
    };
    assert_eq!(
        frame
            .segments()
            .iter()
            .map(|segment| segment.len())
            .collect::<Vec<_>>(),
        [10, 10, 10]
    );
    assert!(
        frame
            .segments_mut()
            .iter_mut()
            .all(|segment| segment.as_page_mut().unwrap().headroom() == 32)
    );
    assert_eq!(&bytes(&frame)[14..], b"0123456789abcdef");
}

#[test]
fn a_pulled_cable_loses_frames_and_wakes_the_owner() {
    let net = Net::new();
    let (mut a, mut b) = (net.attach(1, |_| ()), net.attach(2, |_| ()));
    let count = Arc::new(Count::default());
    let waker = Waker::from(count.clone());
    assert!(
        b.poll_receive(&mut Context::from_waker(&waker))
            .is_pending()
    );
    b.control().set_link(false);
    assert_eq!((count.get(), b.link_up()), (1, false));
    send(&mut a, net.frame(2, 1, b"lost"));
    settle(&net.ethernet, &net.clock);
    assert_eq!(b.counters().link_down, 1);
    let reason = b.transmit(net.frame(1, 2, b"no")).unwrap_err().reason;
    assert_eq!(reason, TransmitReason::Netif(NetifError::LinkDown));
    b.control().set_link(true);
    send(&mut a, net.frame(2, 1, b"here"));
    settle(&net.ethernet, &net.clock);
    assert!(received(&mut b).is_some());
}

#[test]
fn a_device_that_is_taken_away_gives_what_it_has_and_then_an_error() {
    let net = Net::new();
    let (mut a, mut b) = (net.attach(1, |_| ()), net.attach(2, |_| ()));
    send(&mut a, net.frame(2, 1, b"last"));
    settle(&net.ethernet, &net.clock);
    b.control().remove();
    assert!(received(&mut b).is_some());
    assert!(matches!(
        receive(&mut b),
        Poll::Ready(Err(NetifError::Gone))
    ));
    assert_eq!(b.flush(), Err(NetifError::Gone));
    drop(b);
    send(&mut a, net.frame(2, 1, b"nobody"));
    assert_eq!(net.ethernet.next_event(), None);
}

#[test]
fn a_stalled_device_pushes_back_and_goes_on() {
    let net = Net::new();
    let (mut a, mut b) = (
        net.attach(1, |config| config.transmit_queue = 1),
        net.attach(2, |_| ()),
    );
    a.control().set_stalled(true);
    send(&mut a, net.frame(2, 1, b"waits"));
    assert_eq!(net.ethernet.next_event(), None);
    let count = Arc::new(Count::default());
    let waker = Waker::from(count.clone());
    assert!(a.poll_ready(&mut Context::from_waker(&waker)).is_pending());
    a.control().set_stalled(false);
    assert_eq!(count.get(), 1);
    settle(&net.ethernet, &net.clock);
    assert!(received(&mut b).is_some());
}

#[test]
fn the_same_seed_gives_the_same_run_over_a_whole_segment() {
    let run = |seed| {
        let pool = Pool::leak(64, 512).unwrap();
        let ethernet = VirtualEthernet::new(seed);
        let chance = Chance::percent(30);
        let faults = Faults {
            loss: chance,
            duplication: chance,
            reordering: chance,
            corruption: chance,
            truncation: chance,
            trailing: chance,
            jitter: Duration::from_millis(1),
            ..Faults::NONE
        };
        let mut config = PortConfig::new(mac(1));
        (config.faults, config.promiscuous) = (faults, true);
        let mut a = ethernet.attach(config, pool.reserve(8).unwrap());
        config.mac = mac(2);
        let mut b = ethernet.attach(config, pool.reserve(8).unwrap());
        let mut log = Vec::new();
        for number in 0..100u8 {
            send(&mut a, frame(pool, mac(2), mac(1), &[number; 50]));
            send(&mut b, frame(pool, mac(1), mac(2), &[number; 50]));
            ethernet.deliver(Instant::from_micros(u64::from(number) * 300));
            log.push((received(&mut a), received(&mut b)));
        }
        (log, a.counters(), b.counters())
    };
    assert_eq!(run(1), run(1));
    assert_ne!(run(1), run(2));
}

#[test]
fn a_dropped_interface_gives_its_reserve_and_what_it_received_back() {
    let net = Net::new();
    let mut a = net.attach(1, |_| ());
    // More often than a pool has places for reserves.
    for _ in 0..40 {
        let free = net.pool.free();
        let b = net.attach(2, |_| ());
        send(&mut a, net.frame(2, 1, b"never looked at"));
        settle(&net.ethernet, &net.clock);
        drop(b);
        assert_eq!(net.pool.free(), free);
    }
}
