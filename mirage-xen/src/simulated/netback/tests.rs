//! A frontend that is nothing but bytes in pages and keys in xenstore.

use std::string::ToString;
use std::sync::atomic::Ordering;

use mirage_core::frame::Segmentation;
use mirage_core::{FrameMetadata, MacAddress, Pool};

use super::*;
use crate::abi::grant::GrantFlags;
use crate::abi::{DomainId, PortNumber};
use crate::hypervisor::{Hypervisor, SharedPage};
use crate::simulated::page::Page;
use crate::simulated::{Simulation, SimulationConfig};

const MAC: MacAddress = MacAddress([0, 0x16, 0x3E, 1, 2, 3]);
/// The blocks of the rings; those after them are frames'.
const TX: usize = 0;
const RX: usize = 1;
/// Grant references are block numbers and this.
const FIRST: u32 = 100;

struct Frontend {
    simulation: Simulation,
    netback: SimulatedNetback,
    pool: &'static Pool,
    port: PortNumber,
}

impl Frontend {
    fn new(config: VifConfig) -> Self {
        Self::with_keys(config, &[])
    }

    fn with_keys(config: VifConfig, keys: &[(&str, &str)]) -> Self {
        let simulation = Simulation::with_config(SimulationConfig::new(1));
        let hypervisor = simulation.hypervisor();
        for word in &hypervisor.shared_info().event_mask {
            word.store(!0, Ordering::Relaxed);
        }
        let pool = Pool::leak(64, 4096).unwrap();
        simulation.add_memory(pool);
        let netback = simulation.add_vif(config);
        simulation.run_for(Duration::from_millis(1));
        let backend = simulation.backend_domain();
        let port = hypervisor.allocate_unbound_port(backend).unwrap();
        let front = Self {
            simulation,
            netback,
            pool,
            port,
        };
        for ring in [TX, RX] {
            front.permit(ring, GrantFlags::PERMIT_ACCESS);
            front.page(ring).write_u32(4, 1);
            front.page(ring).write_u32(12, 1);
        }
        let path = netback.frontend_path();
        let ours = [
            ("tx-ring-ref", &*(FIRST + TX as u32).to_string()),
            ("rx-ring-ref", &*(FIRST + RX as u32).to_string()),
            ("event-channel", &*port.0.to_string()),
            ("request-rx-copy", "1"),
            ("feature-sg", "1"),
            ("feature-gso-tcpv4", "1"),
        ];
        for (name, value) in ours.iter().chain(keys) {
            simulation.store().write(&format!("{path}/{name}"), value);
        }
        simulation.store().write(&format!("{path}/state"), "4");
        front.turn();
        front
    }

    fn turn(&self) {
        self.simulation.hypervisor().notify(self.port).unwrap();
        self.simulation.run_for(Duration::from_millis(1));
    }

    fn page(&self, block: usize) -> Page {
        let address = self.pool.block(block).unwrap().address();
        // SAFETY: a block of a leaked pool of page-sized blocks, of which no handle is ever taken: it is reached raw alone.
        Page::of(unsafe { SharedPage::new(address) })
    }

    fn permit(&self, block: usize, flags: GrantFlags) {
        let hypervisor = self.simulation.hypervisor();
        let address = self.pool.block(block).unwrap().address();
        let frame = hypervisor.frame_number(address).unwrap().0;
        // SAFETY: of the blocks no handle is ever taken (see `page`), and nothing else in these tests writes the table.
        let entries = unsafe { hypervisor.grant_entries(1) }.unwrap();
        let entry = &entries[FIRST as usize + block];
        entry.frame.store(frame as u32, Ordering::Relaxed);
        let backend = self.simulation.backend_domain();
        entry.domain.store(backend.0, Ordering::Relaxed);
        entry.flags.store(flags.bits(), Ordering::Release);
    }

    fn flags(&self, block: usize) -> GrantFlags {
        // SAFETY: they are only read.
        let entries = unsafe { self.simulation.hypervisor().grant_entries(1) }.unwrap();
        let flags = &entries[FIRST as usize + block].flags;
        GrantFlags::from_bits_truncate(flags.load(Ordering::Acquire))
    }

    /// Puts slots on a ring: their bytes as they are.
    fn put(&self, ring: usize, slot: usize, slots: &[&[u8]]) {
        let page = self.page(ring);
        let mut producer = page.read_u32(0);
        for bytes in slots {
            page.write(64 + (producer as usize % 256) * slot, bytes);
            producer += 1;
        }
        page.write_u32(0, producer);
        self.turn();
    }

    fn response<const N: usize>(&self, ring: usize, slot: usize, index: u32) -> [u8; N] {
        let mut bytes = [0; N];
        let page = self.page(ring);
        assert!(page.read_u32(8) > index, "there is no response {index}");
        page.read(64 + (index as usize % 256) * slot, &mut bytes);
        bytes
    }

    fn tx_response(&self, index: u32) -> (u16, i16) {
        let [a, b, c, d] = self.response(TX, 12, index);
        (u16::from_le_bytes([a, b]), i16::from_le_bytes([c, d]))
    }

    /// Offset, flags, status, id.
    fn rx_response(&self, index: u32) -> (u16, u16, i16, u16) {
        let [a, b, c, d, e, f, g, h] = self.response(RX, 8, index);
        let number = |low, high| u16::from_le_bytes([low, high]);
        (
            number(c, d),
            number(e, f),
            number(g, h) as i16,
            number(a, b),
        )
    }

    fn post(&self, blocks: core::ops::Range<usize>) {
        for block in blocks {
            self.permit(block, GrantFlags::PERMIT_ACCESS);
            let [a, b, ..] = block.to_le_bytes();
            let [c, d, e, f] = (FIRST + block as u32).to_le_bytes();
            self.put(RX, 8, &[&[a, b, 0, 0, c, d, e, f]]);
        }
    }

    fn violations(&self) -> Vec<Violation> {
        self.simulation.violations()
    }
}

fn tx(block: usize, offset: u16, flags: u16, id: u16, size: u16) -> [u8; 12] {
    let mut bytes = [0; 12];
    bytes[..4].copy_from_slice(&(FIRST + block as u32).to_le_bytes());
    for (place, value) in [(4, offset), (6, flags), (8, id), (10, size)] {
        bytes[place..place + 2].copy_from_slice(&value.to_le_bytes());
    }
    bytes
}

fn packet(length: usize) -> Packet {
    Packet {
        bytes: (0..length).map(|number| number as u8).collect(),
        metadata: FrameMetadata::NONE,
    }
}

const READ: GrantFlags = GrantFlags::PERMIT_ACCESS.union(GrantFlags::READ_ONLY);

#[test]
fn the_two_ends_meet_by_their_states() {
    let front = Frontend::new(VifConfig::new(MAC));
    let store = front.simulation.store();
    let read = |name: &str| store.read(&format!("{}/{name}", front.netback.backend_path()));
    assert!(front.netback.is_connected());
    assert_eq!(read("state").unwrap(), "4");
    assert_eq!(read("mac").unwrap(), "00:16:3e:01:02:03");
    assert_eq!(read("feature-rx-copy").unwrap(), "1");
    assert_eq!(read("feature-no-csum-offload"), None);
    assert!(front.flags(TX).contains(GrantFlags::WRITING));
    let state = format!("{}/state", front.netback.frontend_path());
    store.write(&state, "5");
    front.simulation.run_for(Duration::from_millis(1));
    assert_eq!(read("state").unwrap(), "5");
    assert!(!front.netback.is_connected());
    assert_eq!(front.flags(TX), GrantFlags::PERMIT_ACCESS);
    store.write(&state, "6");
    front.simulation.run_for(Duration::from_millis(1));
    assert_eq!(read("state").unwrap(), "6");
    store.write(&state, "1");
    front.simulation.run_for(Duration::from_millis(1));
    assert_eq!(read("state").unwrap(), "2");
    store.write(&state, "4");
    front.simulation.run_for(Duration::from_millis(1));
    assert_eq!(read("state").unwrap(), "4");
    assert_eq!(front.netback.counters().connections, 2);
    assert_eq!(front.violations(), []);
}

#[test]
fn keys_that_make_no_sense_connect_nothing() {
    for (name, value, what) in [
        ("tx-ring-ref", "x", "tx-ring-ref is no number"),
        ("rx-ring-ref", "99", "a ring's page is not granted"),
        ("request-rx-copy", "0", "request-rx-copy is not 1"),
        ("event-channel", "", "event-channel is no number"),
        (
            "event-channel",
            "77",
            "event-channel is no port for this domain",
        ),
        ("multi-queue-num-queues", "2", "more than one queue"),
        ("feature-sg", "0", "segmentation without feature-sg"),
    ] {
        let front = Frontend::with_keys(VifConfig::new(MAC), &[(name, value)]);
        assert!(!front.netback.is_connected(), "{name} is {value:?}");
        assert_eq!(front.violations().last(), Some(&Violation::Handshake(what)));
        assert_eq!(front.flags(TX), GrantFlags::PERMIT_ACCESS);
    }
}

#[test]
fn a_transmitted_frame_reaches_the_wire_and_each_slot_is_answered() {
    let front = Frontend::new(VifConfig::new(MAC));
    for block in 2..6 {
        front.permit(block, READ);
        front.page(block).write(0, &[block as u8; 4096]);
    }
    front.put(TX, 12, &[&tx(2, 100, 0, 7, 60)]);
    assert_eq!(front.netback.take().unwrap().bytes, [2; 60]);
    assert_eq!(front.tx_response(0), (7, 0));
    // Three pieces: the first's size is the frame's.
    front.put(
        TX,
        12,
        &[
            &tx(3, 0, 4, 8, 5_000),
            &tx(4, 96, 4, 9, 4_000),
            &tx(5, 0, 0, 10, 900),
        ],
    );
    let frame = front.netback.take().unwrap().bytes;
    assert_eq!(
        (frame.len(), frame[99], frame[100], frame[4_100]),
        (5_000, 3, 4, 5)
    );
    assert_eq!(
        [1, 2, 3].map(|index| front.tx_response(index)),
        [(8, 0), (9, 0), (10, 0)]
    );
    // Segmentation: the extra slot's answer has no id.
    let mut tcp = [0; 60];
    tcp[12] = 8;
    tcp[14] = 0x45;
    tcp[23] = 6;
    front.page(2).write(0, &tcp);
    let gso = [1, 0, 0xB4, 0x05, 1, 0, 0, 0, 0xAA, 0xAA, 0xAA, 0xAA];
    front.put(TX, 12, &[&tx(2, 0, 1 | 8, 11, 60), &gso]);
    let metadata = front.netback.take().unwrap().metadata;
    assert_eq!(
        metadata,
        FrameMetadata {
            checksum: Checksum::Partial {
                start: 34,
                offset: 16
            },
            segmentation: Some(Segmentation {
                size: 1_460,
                kind: SegmentationKind::TcpV4,
                header_len: 0
            }),
        }
    );
    assert_eq!(front.tx_response(4), (11, 0));
    assert_eq!(front.tx_response(5).1, 1);
    assert_eq!(front.flags(2), READ);
    assert_eq!(front.violations(), []);
}

#[test]
fn a_transmission_that_makes_no_sense_is_a_violation() {
    let refused = |slots: &[&[u8]]| {
        let front = Frontend::new(VifConfig::new(MAC));
        (2..40).for_each(|block| front.permit(block, READ));
        front.put(TX, 12, slots);
        assert_eq!(front.netback.take(), None);
        assert_eq!(front.netback.counters().refused, 1);
        front.violations()[0]
    };
    let wrong = |slots: &[&[u8]], what| assert_eq!(refused(slots), Violation::NetRequest(what));
    wrong(&[&tx(2, 4_000, 0, 1, 97)], "a slot crosses a page");
    wrong(
        &[&tx(2, 0, 0, 1, 13)],
        "the first slot does not hold the Ethernet header",
    );
    wrong(
        &[&tx(2, 0, 4, 1, 60), &tx(3, 0, 0, 2, 50)],
        "the first slot does not hold the Ethernet header",
    );
    wrong(
        &[&tx(2, 0, 4, 1, 60), &tx(3, 0, 0, 2, 61)],
        "pieces are longer than their frame",
    );
    wrong(&[&tx(2, 0, 4, 1, 60)], "a frame's next request is missing");
    wrong(&[&tx(2, 0, 8, 1, 60)], "the extra information is missing");
    wrong(
        &[&tx(2, 0, 1, 1, 60)],
        "a blank checksum in a frame that has none",
    );
    let many: Vec<[u8; 12]> = (0..19)
        .map(|id| tx(2 + id, 0, if id < 18 { 4 } else { 0 }, id as u16, 1_900))
        .collect();
    let many: Vec<&[u8]> = many.iter().map(|slot| &slot[..]).collect();
    wrong(&many, "a frame has more than 18 slots");
    let hash = [4, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    wrong(
        &[&tx(2, 0, 8, 1, 60), &hash],
        "the extra information is missing",
    );
    wrong(
        &[&tx(2, 0, 8, 1, 60), &[4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]],
        "extra information of a type that was not offered",
    );
    wrong(
        &[&tx(2, 0, 8, 1, 60), &[1, 0, 5, 5, 1, 0, 0, 0, 0, 0, 0, 0]],
        "segmentation with a checksum that isn't blank",
    );
    let Violation::GrantNotPermitted { reference, .. } = refused(&[&tx(50, 0, 0, 1, 60)]) else {
        panic!("not granted");
    };
    assert_eq!(reference, 150);

    let front = Frontend::new(VifConfig::new(MAC));
    front.page(TX).write_u32(0, 257);
    front.turn();
    let (producer, consumer) = (257, 0);
    assert_eq!(
        front.violations(),
        [Violation::RingIndex { producer, consumer }]
    );
}

#[test]
fn a_received_frame_lands_in_posted_pages() {
    let mut config = VifConfig::new(MAC);
    config.receive_offset = 64;
    let front = Frontend::new(config);
    front.netback.send(packet(100));
    front.turn();
    assert_eq!(front.netback.waiting(), 1, "no page is posted");
    front.post(10..16);
    assert_eq!(front.rx_response(0), (64, 0, 100, 10));
    let mut bytes = [0; 100];
    front.page(10).read(64, &mut bytes);
    assert_eq!(bytes, packet(100).bytes[..]);
    assert_eq!(front.flags(10), GrantFlags::PERMIT_ACCESS);
    // Two pages and a segment size between them, whose slot answers no request.
    let mut large = packet(5_000);
    large.metadata = FrameMetadata {
        checksum: Checksum::Partial {
            start: 34,
            offset: 16,
        },
        segmentation: Some(Segmentation {
            size: 1_400,
            kind: SegmentationKind::TcpV4,
            header_len: 54,
        }),
    };
    front.netback.send(large.clone());
    front.turn();
    assert_eq!(front.rx_response(1), (64, 1 | 2 | 4 | 8, 4_032, 11));
    assert_eq!(
        front.response::<8>(RX, 8, 2),
        [1, 0, 0x78, 0x05, 1, 0, 0, 0]
    );
    assert_eq!(front.rx_response(3), (64, 0, 968, 13));
    // A frame of a kind that the frontend didn't ask for is lost, as is one that fits no ring.
    large.metadata.segmentation = large.metadata.segmentation.map(|of| Segmentation {
        kind: SegmentationKind::TcpV6,
        ..of
    });
    front.netback.send(large);
    front.netback.send(packet(18 * 4_032 + 1));
    front.turn();
    assert_eq!(front.netback.counters().receive_dropped, 2);
    let mut verified = packet(60);
    verified.metadata.checksum = Checksum::Verified;
    front.netback.send(verified);
    front.turn();
    assert_eq!(front.rx_response(4), (64, 1, 60, 14));
    assert_eq!(front.violations(), []);
}

#[test]
fn a_page_that_may_not_be_written_is_the_domains_fault() {
    let front = Frontend::new(VifConfig::new(MAC));
    front.post(10..11);
    front.permit(10, READ);
    front.netback.send(packet(60));
    front.turn();
    assert_eq!(front.rx_response(0).2, -1);
    assert_eq!(front.violations(), [Violation::GrantReadOnly(110)]);
}

#[test]
fn who_takes_no_blank_checksums_gets_none() {
    let front = Frontend::with_keys(
        VifConfig::new(MAC),
        &[
            ("feature-no-csum-offload", "1"),
            ("feature-sg", "0"),
            ("feature-gso-tcpv4", "0"),
        ],
    );
    front.post(10..13);
    let mut blank = packet(60);
    blank.metadata.checksum = Checksum::Partial {
        start: 34,
        offset: 6,
    };
    front.netback.send(blank.clone());
    front.netback.send(packet(4_097));
    front.turn();
    assert_eq!(front.rx_response(0), (0, 0, 60, 10));
    blank.complete_checksum();
    let mut bytes = [0; 60];
    front.page(10).read(0, &mut bytes);
    assert_eq!(bytes, blank.bytes[..]);
    assert_eq!(front.netback.counters().receive_dropped, 1);
}

#[test]
fn faults_of_the_rings_are_as_asked() {
    let front = Frontend::new(VifConfig::new(MAC));
    let simulation = front.simulation;
    (2..10).for_each(|block| front.permit(block, READ));
    simulation.force(Fault::RingUnknownId);
    front.put(TX, 12, &[&tx(2, 0, 0, 7, 60)]);
    assert!(front.tx_response(0).0 >= 0x8000);
    front.put(TX, 12, &[&tx(2, 0, 0, 8, 60)]);
    simulation.force(Fault::RingRepeated);
    front.put(TX, 12, &[&tx(2, 0, 0, 9, 60)]);
    assert_eq!(front.tx_response(2), (8, 0));
    simulation.force(Fault::RingError);
    front.put(TX, 12, &[&tx(2, 0, 0, 10, 60)]);
    assert!(front.tx_response(3).1 < 0);
    simulation.force(Fault::GrantKept);
    front.put(TX, 12, &[&tx(3, 0, 0, 11, 60)]);
    assert!(front.flags(3).contains(GrantFlags::READING));
    assert_eq!(front.netback.counters().transmitted, 4);
    assert_eq!(front.netback.counters().unanswered, 2);

    front.page(TX).write_u32(12, front.page(TX).read_u32(8) + 1);
    simulation.force(Fault::RingIndex);
    front.netback.wake();
    let wrong = |front: &Frontend| {
        front
            .page(TX)
            .read_u32(8)
            .wrapping_sub(front.page(TX).read_u32(0)) as i32
    };
    simulation.step();
    assert!(wrong(&front) > 0);
    simulation.run_for(Duration::from_millis(1));
    assert_eq!(wrong(&front), 0, "it was for a moment");

    front.post(20..23);
    simulation.force(Fault::BytesChanged);
    front.netback.send(packet(60));
    simulation.run_for(Duration::from_millis(1));
    let read = |block: usize| {
        let mut bytes = [0; 60];
        front.page(block).read(0, &mut bytes);
        bytes
    };
    assert_eq!(read(20), packet(60).bytes[..]);
    let _ = simulation.hypervisor().maximum_grant_frames();
    assert_ne!(read(20), packet(60).bytes[..]);
    // Who ends the grant before reading sees no change.
    simulation.force(Fault::BytesChanged);
    front.netback.send(packet(60));
    simulation.run_for(Duration::from_millis(1));
    front.permit(21, GrantFlags::empty());
    let _ = simulation.hypervisor().maximum_grant_frames();
    assert_eq!(read(21), packet(60).bytes[..]);

    simulation.force(Fault::RingReset);
    front.turn();
    assert_eq!(front.page(TX).read_u32(0), 0);
    assert_eq!(front.violations(), []);
}

#[test]
fn a_backend_that_reset_its_ring_closes_and_begins_anew_once_the_frontend_has_closed() {
    let front = Frontend::new(VifConfig::new(MAC));
    let (simulation, store) = (front.simulation, front.simulation.store());
    let state = || store.read(&format!("{}/state", front.netback.backend_path()));
    simulation.force(Fault::RingReset);
    front.turn();
    // Whoever looks at the ring finds nothing to do: that the backend looks is its own business.
    simulation.run_for(Duration::from_millis(50));
    assert_eq!(state().unwrap(), "5");
    assert!(!front.netback.is_connected());
    assert_eq!(front.flags(TX), GrantFlags::PERMIT_ACCESS);
    // For as long as the frontend says that it is connected, and means the rings that are gone.
    simulation.run_for(Duration::from_secs(1));
    assert_eq!(state().unwrap(), "5");
    store.write(&format!("{}/state", front.netback.frontend_path()), "6");
    simulation.run_for(Duration::from_millis(20));
    assert_eq!(state().unwrap(), "2");
    assert_eq!(front.violations(), []);
}

#[test]
fn only_slots_that_were_read_change() {
    let front = Frontend::new(VifConfig::new(MAC));
    (2..10).for_each(|block| front.permit(block, READ));
    for id in 0..100 {
        front.put(TX, 12, &[&tx(2, 0, 0, id, 60)]);
    }
    // All were taken, but for the last 64 nobody knows; and one slot holds a request that isn't shown yet.
    front.page(TX).write_u32(12, 101);
    front.page(TX).write(64 + 5 * 12, &tx(3, 0, 0, 7_777, 60));
    front.simulation.force(Fault::RingSlotChanged);
    front.simulation.force(Fault::RingSlotChanged);
    front.put(TX, 12, &[&tx(4, 0, 0, 900, 60)]);
    assert_eq!(front.tx_response(100), (900, 0));
    let changed = |index: u32| front.tx_response(index) != (index as u16, 0);
    assert!((0..37).filter(|index| *index != 5).all(changed));
    assert!((37..100).all(|index| !changed(index)));
    assert_eq!(front.response::<12>(TX, 12, 5), tx(3, 0, 0, 7_777, 60));
    assert_eq!(front.netback.counters().transmitted, 101);
    assert_eq!(front.violations(), []);
}

#[test]
fn a_backend_closes_vanishes_stops_and_comes_back() {
    let front = Frontend::new(VifConfig::new(MAC));
    let (simulation, store) = (front.simulation, front.simulation.store());
    let state = || store.read(&format!("{}/state", front.netback.backend_path()));
    let front_state = format!("{}/state", front.netback.frontend_path());
    front.netback.close();
    assert_eq!(state().unwrap(), "5");
    assert_eq!(front.flags(TX), GrantFlags::PERMIT_ACCESS);
    store.write(&front_state, "6");
    simulation.run_for(Duration::from_millis(1));
    assert_eq!(state().unwrap(), "6");
    simulation.run_for(Duration::from_millis(20));
    assert_eq!(state().unwrap(), "2");
    front.netback.vanish();
    assert_eq!(state(), None);
    simulation.run_for(Duration::from_millis(20));
    assert_eq!(state().unwrap(), "2");
    assert_eq!(store.read(&front_state).unwrap(), "1");
    store.write(&front_state, "4");
    simulation.run_for(Duration::from_millis(1));
    assert!(front.netback.is_connected());
    front.permit(2, READ);
    front.netback.set_stopped(true);
    front.put(TX, 12, &[&tx(2, 0, 0, 7, 60)]);
    assert_eq!(front.netback.take(), None);
    front.netback.set_stopped(false);
    front.turn();
    assert!(front.netback.take().is_some());
    simulation.force(Fault::BackendState);
    front.turn();
    simulation.run_for(Duration::from_millis(2));
    assert_eq!(state().unwrap(), "4");
    front.netback.set_away(true);
    front.netback.close();
    simulation.run_for(Duration::from_secs(1));
    assert_eq!(state().unwrap(), "5");
    assert_eq!(front.violations(), []);
}

#[test]
fn a_carrier_that_is_down_loses_frames_both_ways() {
    let front = Frontend::new(VifConfig::new(MAC));
    front.permit(2, READ);
    front.netback.set_carrier(false);
    let path = format!("{}/carrier", front.netback.backend_path());
    assert_eq!(front.simulation.store().read(&path).unwrap(), "0");
    front.put(TX, 12, &[&tx(2, 0, 0, 7, 60)]);
    front.netback.send(packet(60));
    assert_eq!(front.netback.take(), None);
    let counters = front.netback.counters();
    assert_eq!(
        (counters.transmit_dropped, counters.receive_dropped),
        (1, 1)
    );
    front.netback.set_carrier(true);
    front.put(TX, 12, &[&tx(2, 0, 0, 8, 60)]);
    assert!(front.netback.take().is_some());
}

#[test]
fn a_resumed_domain_finds_its_interface_with_the_new_backend() {
    use crate::simulated::{Resumption, SuspendScript};

    let front = Frontend::new(VifConfig::new(MAC));
    let simulation = front.simulation;
    let to = Resumption {
        backend: DomainId(3),
        ..Resumption::elsewhere(DomainId(8))
    };
    simulation.set_suspend_script(SuspendScript::Resumed(to));
    simulation.hypervisor().suspend().unwrap();
    simulation.hypervisor().restore().unwrap();
    simulation.run_for(Duration::from_millis(1));
    assert!(!front.netback.is_connected());
    let store = simulation.store();
    assert_eq!(
        front.netback.backend_path(),
        "/local/domain/3/backend/vif/8/0"
    );
    assert_eq!(
        store.read("/local/domain/3/backend/vif/8/0/state").unwrap(),
        "2"
    );
    assert_eq!(
        store.read("/local/domain/8/device/vif/0/state").unwrap(),
        "1"
    );
    assert_eq!(
        store
            .read("/local/domain/8/device/vif/0/backend-id")
            .unwrap(),
        "3"
    );
    assert_eq!(store.read("/local/domain/0/backend/vif/5/0/state"), None);
    assert_eq!(front.violations(), []);
}

#[test]
fn a_bridged_interface_takes_and_gives_by_the_segment() {
    use mirage_core::doubles::{PortConfig, VirtualEthernet};

    let front = Frontend::new(VifConfig::new(MAC));
    let pool = Pool::leak(32, 2_048).unwrap();
    let ethernet = VirtualEthernet::new(1);
    front.simulation.connect(&ethernet);
    let mut port = PortConfig::new(MacAddress([2, 0, 0, 0, 0, 9]));
    port.promiscuous = true;
    front.netback.bridge(
        ethernet.attach(port, pool.reserve(8).unwrap()),
        pool.reserve(8).unwrap(),
    );
    let peer = PortConfig::new(MacAddress([2, 0, 0, 0, 0, 1]));
    let mut peer = ethernet.attach(peer, pool.reserve(8).unwrap());
    front.permit(2, READ);
    front.page(2).write(
        0,
        &[2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 9, 0x88, 0xB5, 1, 2, 3],
    );
    front.put(TX, 12, &[&tx(2, 0, 0, 7, 60)]);
    let mut context = Context::from_waker(Waker::noop());
    let Poll::Ready(Ok(frame)) = peer.poll_receive(&mut context) else {
        panic!("nothing came");
    };
    assert_eq!(frame.len(), 60);
    front.post(10..12);
    let mut page = pool.alloc().unwrap();
    page.extend_from_slice(&[&MAC.0[..], &[2, 0, 0, 0, 0, 1, 0x88, 0xB5, 9]].concat())
        .unwrap();
    peer.transmit(page.into()).unwrap();
    peer.flush().unwrap();
    front.simulation.run_for(Duration::from_millis(1));
    assert_eq!(front.rx_response(0), (0, 0, 15, 10));
    assert_eq!(front.violations(), []);
}
