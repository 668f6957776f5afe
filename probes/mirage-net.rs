//! A stack on static memory that answers an ARP request and a datagram; with `alloc` its tables come from a heap.
//@ mirage-core = { path = "ROOT/mirage-core", default-features = false }
//@ rand_core = { version = "0.10", default-features = false }

use core::convert::Infallible;
use core::net::{IpAddr, Ipv4Addr};
use core::time::Duration;

use mirage_core::pool::PoolStorage;
use mirage_core::{Frame, Instant, MacAddress, Offloads, Pool};
use mirage_net::wire::{
    ArpOperation, ArpRepr, EtherType, EthernetRepr, IpProtocol, Ipv4Repr, UdpRepr,
};
use mirage_net::{
    Cidr, ConflictConfig, HEADROOM, ServiceOptions, ServiceSlot, Stack, StackConfig, StackMemory,
    StackStorage, UdpRequest, UdpService,
};

static STORAGE: PoolStorage<64, 2048> = PoolStorage::new();

const US: MacAddress = MacAddress([2, 0, 0, 0, 0, 1]);
const PEER: MacAddress = MacAddress([2, 0, 0, 0, 0, 2]);
const OUR_ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 2);
const PEER_ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);

/// Not random at all.
struct Counting(u64);

impl rand_core::TryRng for Counting {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        self.try_next_u64().map(|number| number as u32)
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        Ok(self.0)
    }

    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), Infallible> {
        for byte in bytes {
            *byte = (self.try_next_u64()? >> 56) as u8;
        }
        Ok(())
    }
}

impl rand_core::TryCryptoRng for Counting {}

struct Twice;

impl UdpService for Twice {
    fn respond(&mut self, request: &UdpRequest<'_>, answer: &mut [u8]) -> Option<usize> {
        let length = request.payload.len();
        answer.get_mut(..length)?.copy_from_slice(request.payload);
        answer
            .get_mut(length..2 * length)?
            .copy_from_slice(request.payload);
        Some(2 * length)
    }
}

/// Whether all of it works.
pub fn run() -> bool {
    let Ok(pool) = STORAGE.init() else {
        return false;
    };
    let mut memory = StackMemory::<8, 8, 16, 4, 16>::new();
    let mut services = [const { ServiceSlot::EMPTY }; 2];
    let mut twice = Twice;
    served(pool, memory.storage(&mut services), &mut twice) && with_a_heap(pool)
}

#[cfg(not(feature = "alloc"))]
fn with_a_heap(_: &'static Pool) -> bool {
    true
}

#[cfg(feature = "alloc")]
fn with_a_heap(pool: &'static Pool) -> bool {
    let capacities = mirage_net::Capacities {
        pending: 8,
        ..mirage_net::Capacities::default()
    };
    let mut twice = Twice;
    served(pool, StackStorage::allocate(&capacities), &mut twice)
}

fn served<'a>(pool: &'static Pool, storage: StackStorage<'a>, twice: &'a mut Twice) -> bool {
    let mut now = Instant::from_secs(1);
    let config = StackConfig::new(US, 1500, Offloads::default());
    let Ok(mut stack) = Stack::new(config, storage, pool, now, &mut Counting(1)) else {
        return false;
    };
    let Ok(own) = Cidr::new(IpAddr::V4(OUR_ADDRESS), 24) else {
        return false;
    };
    if stack.bind_service(ServiceOptions::port(9), twice).is_err()
        || stack
            .add_address(now, own, ConflictConfig::default())
            .is_err()
    {
        return false;
    }
    // Probes and announcements.
    for _ in 0..30 {
        now = now.saturating_add(Duration::from_millis(500));
        stack.handle_timeout(now);
        while stack.poll_transmit(now).is_some() {}
    }
    let Some(asked) = arp_request(pool).zip(datagram(pool)) else {
        return false;
    };
    stack.handle_frame(now, asked.0);
    let resolved = stack.poll_transmit(now).is_some();
    stack.handle_frame(now, asked.1);
    let answer = stack.poll_transmit(now);
    resolved && answer.is_some_and(|frame| frame.len() == 14 + 20 + 8 + 8)
}

fn arp_request(pool: &'static Pool) -> Option<Frame> {
    let mut packet = [0; 28];
    let request = ArpRepr {
        operation: ArpOperation::Request,
        sender_hardware: PEER,
        sender_protocol: PEER_ADDRESS,
        target_hardware: MacAddress([0; 6]),
        target_protocol: OUR_ADDRESS,
    };
    request.emit(&mut packet);
    frame(pool, MacAddress::BROADCAST, EtherType::Arp, &[&packet])
}

fn datagram(pool: &'static Pool) -> Option<Frame> {
    let mut udp = [0; 8];
    let header = UdpRepr {
        source_port: 4000,
        destination_port: 9,
        payload_len: 4,
        checksum: 0,
    };
    header.emit(&mut udp);
    let mut ip = [0; 20];
    let header = Ipv4Repr {
        source: PEER_ADDRESS,
        destination: OUR_ADDRESS,
        protocol: IpProtocol::Udp,
        payload_len: 12,
        type_of_service: 0,
        time_to_live: 64,
        identification: 1,
        dont_fragment: false,
        more_fragments: false,
        fragment_offset: 0,
    };
    header.emit(&mut ip);
    frame(pool, US, EtherType::Ipv4, &[&ip, &udp, b"ping"])
}

fn frame(
    pool: &'static Pool,
    destination: MacAddress,
    ethertype: EtherType,
    parts: &[&[u8]],
) -> Option<Frame> {
    let mut ethernet = [0; 14];
    let header = EthernetRepr {
        destination,
        source: PEER,
        ethertype,
    };
    header.emit(&mut ethernet);
    let mut page = pool.alloc()?;
    page.reset(HEADROOM).ok()?;
    page.extend_from_slice(&ethernet).ok()?;
    for part in parts {
        page.extend_from_slice(part).ok()?;
    }
    let mut frame = Frame::new();
    frame.push(page).ok()?;
    Some(frame)
}
