//! With a backend as Linux has it.

use std::future::poll_fn;
use std::task::{Context, Poll, Waker};
use std::time::Duration;
use std::vec::Vec;

use mirage_core::doubles::Packet;
use mirage_core::{
    Checksum, Frame, FrameMetadata, MacAddress, Netif, NetifError, Segmentation, SegmentationKind,
    TransmitReason,
};

use super::world::{LARGE_DEVICE, World};
use crate::netfront::NetfrontConfig;
use crate::netfront::testing::{bytes_of, ethernet, udp};
use crate::simulated::{Faults, SimulatedNetback, Simulation, VifConfig};

pub(super) const MAC: MacAddress = MacAddress([0, 0x16, 0x3e, 1, 2, 3]);

/// A domain whose interface is up, and its backend.
pub(super) struct Connected {
    pub(super) world: World,
    pub(super) netback: SimulatedNetback,
}

impl Connected {
    pub(super) fn new(seed: u64) -> Self {
        Self::with(seed, NetfrontConfig::new(), VifConfig::new(MAC))
    }

    /// The same, with faults from the start on.
    pub(super) fn among(seed: u64, faults: Faults) -> Self {
        let simulation = Simulation::new(seed);
        simulation.set_faults(faults);
        Self::on(simulation, NetfrontConfig::new(), VifConfig::new(MAC))
    }

    pub(super) fn with(seed: u64, config: NetfrontConfig, vif: VifConfig) -> Self {
        let connected = Self::on(Simulation::new(seed), config, vif);
        assert!(connected.world.until(|| connected.world.link_up()));
        connected
    }

    fn on(simulation: Simulation, config: NetfrontConfig, vif: VifConfig) -> Self {
        let netback = simulation.add_vif(vif);
        let world = World::on(simulation, config);
        Self { world, netback }
    }

    /// A frame for the domain.
    pub(super) fn give(&self, bytes: &[u8]) {
        self.give_with(bytes, FrameMetadata::NONE);
    }

    pub(super) fn give_with(&self, bytes: &[u8], metadata: FrameMetadata) {
        let bytes = bytes.to_vec();
        self.netback.send(Packet { bytes, metadata });
    }

    /// A frame from the domain, within a second.
    pub(super) fn take(&self) -> Option<Packet> {
        for _ in 0..100 {
            if let Some(packet) = self.netback.take() {
                return Some(packet);
            }
            self.world.run_for(Duration::from_millis(10));
        }
        None
    }
}

#[test]
fn frames_go_either_way_whatever_their_length() {
    let connected = Connected::new(1);
    for length in [14, 60, 1_000, 1_514, 1_518] {
        let bytes = ethernet(length as u8, length);
        connected.world.send(&bytes).unwrap();
        assert_eq!(connected.take().unwrap().bytes, bytes);
        connected.give(&bytes);
        assert_eq!(connected.world.receive(), Some(bytes));
    }
    let counters = connected.world.netfront.counters();
    assert_eq!((counters.transmit.frames, counters.receive.frames), (5, 5));
    assert_eq!(counters.transmit.coalesced, 0);
    connected.world.check();
}

#[test]
fn the_devices_address_and_mtu_are_the_toolstacks() {
    let mut vif = VifConfig::new(MAC);
    vif.mtu = Some(9_000);
    let connected = Connected::with(1, NetfrontConfig::new(), vif);
    let netif = connected.world.netfront;
    assert_eq!((netif.mac(), netif.mtu()), (MAC, 9_000));
    // In several pages, both ways.
    let bytes = ethernet(3, 9_014);
    connected.give(&bytes);
    let frame = connected.world.receive_frame().unwrap();
    assert_eq!(bytes_of(&frame), bytes);
    assert_eq!(frame.segments().len(), 3);
    connected.world.send_frame(frame).unwrap();
    assert_eq!(connected.take().unwrap().bytes, bytes);
    connected.world.check();
}

#[test]
fn without_scatter_gather_a_frame_is_at_most_a_page() {
    let mut vif = VifConfig::new(MAC);
    vif.mtu = Some(9_000);
    vif.scatter_gather = false;
    let connected = Connected::with(1, NetfrontConfig::new(), vif);
    let netif = connected.world.netfront;
    assert_eq!(netif.mtu(), 4_078);
    let bytes = ethernet(3, 4_092);
    connected.world.send(&bytes).unwrap();
    assert_eq!(connected.take().unwrap().bytes, bytes);
    connected.world.check();
}

#[test]
fn checksums_are_left_to_the_other_end_either_way() {
    let connected = Connected::new(1);
    let bytes = udp(b"payload");
    let partial = Checksum::Partial {
        start: 34,
        offset: 6,
    };
    let metadata = FrameMetadata {
        checksum: partial,
        segmentation: None,
    };
    connected.give_with(&bytes, metadata);
    let frame = connected.world.receive_frame().unwrap();
    assert_eq!(frame.metadata.checksum, partial);
    // And back, as it came.
    connected.world.send_frame(frame).unwrap();
    let packet = connected.take().unwrap();
    assert!(matches!(packet.metadata.checksum, Checksum::Partial { .. }));
    let verified = FrameMetadata {
        checksum: Checksum::Verified,
        segmentation: None,
    };
    connected.give_with(&bytes, verified);
    let frame = connected.world.receive_frame().unwrap();
    assert_eq!(frame.metadata, verified);
    connected.world.check();
}

#[test]
fn segmented_frames_go_either_way() {
    let mut config = NetfrontConfig::new();
    config.transmit_pages = LARGE_DEVICE;
    let connected = Connected::with(1, config, VifConfig::new(MAC));
    // TCP in IPv4, of several pages.
    let mut bytes = udp(&[7; 10_000]);
    bytes[23] = 6;
    let metadata = FrameMetadata {
        checksum: Checksum::Partial {
            start: 34,
            offset: 16,
        },
        segmentation: Some(Segmentation {
            size: 1_448,
            kind: SegmentationKind::TcpV4,
            header_len: 0,
        }),
    };
    connected.give_with(&bytes, metadata);
    let frame = connected.world.receive_frame().unwrap();
    assert_eq!(
        (bytes_of(&frame), frame.metadata),
        (bytes.clone(), metadata)
    );
    connected.world.send_frame(frame).unwrap();
    let packet = connected.take().unwrap();
    assert_eq!(packet.bytes, bytes);
    assert_eq!(packet.metadata.segmentation, metadata.segmentation);
    // The longest that there may be.
    let connected = Connected::with(2, config, VifConfig::new(MAC));
    let mut bytes = udp(&[7; 65_535 - 42]);
    bytes[23] = 6;
    connected.give_with(&bytes, metadata);
    let frame = connected.world.receive_frame().unwrap();
    assert_eq!(bytes_of(&frame), bytes);
    connected.world.send_frame(frame).unwrap();
    assert_eq!(connected.take().unwrap().bytes, bytes);
    // A device with few pages tells nobody that it can be done, and nothing of the kind comes.
    let connected = Connected::new(1);
    connected.give_with(&bytes, metadata);
    assert_eq!(connected.world.receive(), None);
    assert_eq!(connected.netback.counters().receive_dropped, 1);
    connected.world.check();
}

#[test]
fn one_event_tells_of_a_batch() {
    let connected = Connected::new(1);
    let mut netif = connected.world.netfront;
    connected.world.run_for(Duration::from_millis(10));
    let before = connected.world.netfront.counters().notifications;
    for seed in 0..10 {
        let mut page = connected.world.pool.alloc().unwrap();
        page.extend_from_slice(&ethernet(seed, 60)).unwrap();
        netif.transmit(page.into()).unwrap();
    }
    netif.flush().unwrap();
    for seed in 0..10 {
        assert_eq!(connected.take().unwrap().bytes, ethernet(seed, 60));
    }
    let after = connected.world.netfront.counters().notifications;
    assert_eq!(after - before, 1);
}

#[test]
fn answers_alone_do_not_wake_the_domain() {
    let connected = Connected::new(1);
    connected.world.run_for(Duration::from_millis(10));
    let before = connected.netback.counters().notified;
    for seed in 0..12 {
        connected.world.send(&ethernet(seed, 60)).unwrap();
        assert!(connected.take().is_some());
    }
    assert_eq!(connected.netback.counters().notified, before);
    // But they do where nothing else would free the pages.
    let _others: Vec<_> = (0..90)
        .map_while(|_| connected.world.pool.alloc())
        .collect();
    connected.world.send(&ethernet(1, 60)).unwrap();
    connected.world.run_for(Duration::from_millis(10));
    assert!(connected.netback.counters().notified > before);
}

#[test]
fn a_backend_that_does_not_serve_the_ring_is_waited_for_and_then_woken_to() {
    let connected = Connected::new(1);
    let mut netif = connected.world.netfront;
    connected.netback.set_stopped(true);
    let mut context = Context::from_waker(Waker::noop());
    let mut sent = 0;
    while netif.poll_ready(&mut context).is_ready() {
        connected.world.send(&ethernet(sent, 60)).unwrap();
        sent += 1;
    }
    assert!(sent >= 13);
    connected.world.run_for(Duration::from_secs(10));
    assert!(netif.poll_ready(&mut context).is_pending());
    connected.netback.set_stopped(false);
    let ready = poll_fn(|context| netif.poll_ready(context));
    let timeout = connected
        .world
        .executor
        .timeout(Duration::from_secs(1), ready);
    assert_eq!(connected.world.executor.run_until(timeout).unwrap(), Ok(()));
    for seed in 0..sent {
        assert_eq!(connected.take().unwrap().bytes, ethernet(seed, 60));
    }
    assert_eq!(connected.world.netfront.counters().transmit.refused_full, 0);
    connected.world.check();
}

#[test]
fn a_receiver_and_a_sender_that_wait_are_both_woken() {
    let connected = Connected::new(1);
    let netfront = connected.world.netfront;
    let executor = connected.world.executor;
    connected.netback.set_stopped(true);
    let mut context = Context::from_waker(Waker::noop());
    let mut netif = netfront;
    while netif.poll_ready(&mut context).is_ready() {
        connected.world.send(&ethernet(0, 60)).unwrap();
    }
    // Two tasks, of which the one that waits last is gone.
    let receiver = executor
        .spawn(async move {
            let mut netif = netfront;
            poll_fn(|context| netif.poll_receive(context))
                .await
                .map(|frame| frame.len())
        })
        .unwrap();
    let sender = executor
        .spawn(async move {
            let mut netif = netfront;
            poll_fn(|context| netif.poll_ready(context)).await
        })
        .unwrap();
    connected.world.run_for(Duration::from_millis(1));
    sender.abort();
    connected.give(&ethernet(7, 99));
    connected.netback.set_stopped(false);
    let received = executor.timeout(Duration::from_secs(1), receiver);
    assert_eq!(executor.run_until(received).unwrap(), Ok(Ok(99)));
}

#[test]
fn nothing_is_sent_while_the_cable_is_out() {
    let connected = Connected::new(1);
    connected.netback.set_carrier(false);
    assert!(connected.world.until(|| !connected.world.link_up()));
    let mut netif = connected.world.netfront;
    let mut page = connected.world.pool.alloc().unwrap();
    page.extend_from_slice(&ethernet(1, 60)).unwrap();
    let refused = netif.transmit(page.into()).unwrap_err();
    let reason = TransmitReason::Netif(NetifError::LinkDown);
    assert_eq!(refused.reason, reason);
    assert_eq!(bytes_of(&refused.frame), ethernet(1, 60));
    connected.netback.set_carrier(true);
    assert!(connected.world.until(|| connected.world.link_up()));
    connected.world.send_frame(refused.frame).unwrap();
    assert_eq!(connected.take().unwrap().bytes, ethernet(1, 60));
    connected.world.check();
}

/// A backend that goes, in either way, and comes back.
fn goes_and_comes_back(go: impl Fn(&Connected)) {
    let connected = Connected::new(1);
    let world = &connected.world;
    let free = world.pool.free_in_all();
    for round in 1..=3 {
        go(&connected);
        assert!(world.until(|| !world.link_up()));
        assert!(world.until(|| world.link_up()));
        for seed in 0..40 {
            world.send(&ethernet(seed, 60)).unwrap();
            assert_eq!(connected.take().unwrap().bytes, ethernet(seed, 60));
            connected.give(&ethernet(seed, 70));
            assert_eq!(world.receive(), Some(ethernet(seed, 70)));
        }
        world.settle();
        assert_eq!(world.netfront.counters().connections, round + 1);
        assert_eq!(world.netfront.posted(), 16);
    }
    assert_eq!(world.netfront.in_flight(), 0);
    assert_eq!(world.pool.free_in_all(), free);
    // Xenstore's, the console's and ours.
    assert_eq!(world.simulation.open_ports(), 3);
    world.check();
}

#[test]
fn a_backend_that_closes_and_comes_back_is_connected_again() {
    goes_and_comes_back(|connected| connected.netback.close());
}

#[test]
fn a_backend_that_vanishes_and_comes_back_is_connected_again() {
    goes_and_comes_back(|connected| connected.netback.vanish());
}

#[test]
fn frames_that_nobody_answered_for_go_to_the_next_backend_in_order() {
    let connected = Connected::new(1);
    let world = &connected.world;
    connected.netback.set_stopped(true);
    for seed in 0..10 {
        world.send(&ethernet(seed, 60)).unwrap();
    }
    assert!(connected.netback.take().is_none());
    connected.netback.close();
    connected.netback.set_stopped(false);
    assert!(world.until(|| world.netfront.counters().connections == 2));
    for seed in 0..10 {
        assert_eq!(connected.take().unwrap().bytes, ethernet(seed, 60));
    }
    assert_eq!(world.netfront.counters().transmit.replayed, 10);
    world.check();
}

#[test]
fn a_next_backend_that_does_less_is_made_up_for() {
    let connected = Connected::new(1);
    let world = &connected.world;
    connected.netback.configure(|config| {
        config.scatter_gather = false;
        config.checksum_offload = false;
    });
    connected.netback.close();
    assert!(world.until(|| world.netfront.counters().connections == 2 && world.link_up()));
    let bytes = udp(b"payload");
    let mut frame = Frame::new();
    for piece in [&bytes[..42], &bytes[42..]] {
        let mut page = world.pool.alloc().unwrap();
        page.extend_from_slice(piece).unwrap();
        frame.push(page).unwrap();
    }
    frame.metadata.checksum = Checksum::Partial {
        start: 34,
        offset: 6,
    };
    let mut expected = Packet::of(&frame);
    expected.complete_checksum();
    world.send_frame(frame).unwrap();
    assert_eq!(connected.take(), Some(expected));
    world.check();
}

#[test]
fn a_frame_of_a_pool_whose_pages_were_never_granted_is_copied() {
    let connected = Connected::new(1);
    let other = mirage_core::Pool::leak(4, 2_048).unwrap();
    let mut page = other.alloc().unwrap();
    page.extend_from_slice(&ethernet(1, 60)).unwrap();
    connected.world.send_frame(page.into()).unwrap();
    assert_eq!(connected.take().unwrap().bytes, ethernet(1, 60));
    assert_eq!(other.free(), 4);
    let counters = connected.world.netfront.counters();
    assert_eq!(counters.transmit.coalesced, 1);
    connected.world.check();
}

#[test]
fn polled_while_there_is_no_backend_nothing_happens() {
    let world = World::on(Simulation::new(1), NetfrontConfig::new());
    let mut netif = world.netfront;
    let mut context = Context::from_waker(Waker::noop());
    assert!(!netif.link_up());
    assert!(netif.poll_receive(&mut context).is_pending());
    assert!(matches!(netif.poll_ready(&mut context), Poll::Pending));
    assert_eq!(netif.flush(), Ok(()));
    assert_eq!(netif.mac(), MacAddress::UNSPECIFIED);
}
