//! Stacks on a virtual Ethernet, and a clock that jumps from event to event.
#![allow(dead_code, unreachable_pub)]

pub mod lone;
pub mod tcp;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use mirage_core::doubles::{PortConfig, VirtualEthernet, VirtualNetif};
use mirage_core::{Frame, Instant, MacAddress, Netif, Pool};
use mirage_net::wire::checksum::checksum;
use mirage_net::*;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;

pub type Memory = StackMemory<16, 8, 64, 8, 64>;

/// One machine: a pool, a stack, an interface.
pub struct Node {
    pub pool: &'static Pool,
    pub stack: Stack<'static>,
    pub netif: VirtualNetif,
    pub events: Vec<Event>,
}

pub fn mac(number: u8) -> MacAddress {
    MacAddress([2, 0, 0, 0, 0, number])
}

pub fn ip(number: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 0, 0, number)
}

pub fn at(number: u8, port: u16) -> SocketAddr {
    (ip(number), port).into()
}

/// A stack with its memory, which lives as long as the test's process.
pub fn stack(config: StackConfig, pool: &'static Pool, seed: u64) -> Stack<'static> {
    let memory = Box::leak(Box::new(Memory::new()));
    let services = Box::leak(Box::new([const { ServiceSlot::EMPTY }; 4]));
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let storage = memory.storage(services);
    Stack::new(config, storage, pool, Instant::ZERO, &mut rng).unwrap()
}

/// A stack that has an address at once, and whose announcements are over, without an Ethernet.
pub fn lone_stack(pool: &'static Pool) -> Stack<'static> {
    let offloads = mirage_core::Offloads {
        fragments: 18,
        ..mirage_core::Offloads::NONE
    };
    let mut stack = stack(StackConfig::new(mac(1), 1500, offloads), pool, 1);
    let cidr = Cidr::new(ip(1).into(), 24).unwrap();
    stack
        .add_address(Instant::ZERO, cidr, ConflictConfig::assigned())
        .unwrap();
    while stack.poll_event().is_some() {}
    for secs in 0..10 {
        drain(&mut stack, Instant::from_secs(secs));
    }
    stack
}

/// What a stack transmits now.
pub fn drain(stack: &mut Stack<'_>, now: Instant) -> Vec<Vec<u8>> {
    stack.handle_timeout(now);
    let mut frames = Vec::new();
    while let Some(frame) = stack.poll_transmit(now) {
        frames.push(bytes(&frame));
    }
    frames
}

pub fn bytes(frame: &Frame) -> Vec<u8> {
    let mut bytes = vec![0; frame.len()];
    frame.copy_to_slice(0, &mut bytes);
    bytes
}

/// A frame of pages of at most `segment` bytes.
pub fn frame(pool: &'static Pool, bytes: &[u8], segment: usize) -> Frame {
    let mut frame = Frame::new();
    for part in bytes.chunks(segment) {
        let mut page = pool.alloc().expect("the test's pool is too small");
        page.extend_from_slice(part).unwrap();
        frame.push(page).unwrap();
    }
    frame
}

pub fn ethernet(destination: MacAddress, source: MacAddress, kind: u16, payload: &[u8]) -> Vec<u8> {
    [
        &destination.0[..],
        &source.0[..],
        &kind.to_be_bytes()[..],
        payload,
    ]
    .concat()
}

/// An ARP packet in a frame.
pub fn arp(
    operation: u8,
    to: MacAddress,
    sender: (MacAddress, Ipv4Addr),
    target: (MacAddress, Ipv4Addr),
) -> Vec<u8> {
    let mut payload = vec![0, 1, 8, 0, 6, 4, 0, operation];
    payload.extend(sender.0.0);
    payload.extend(sender.1.octets());
    payload.extend(target.0.0);
    payload.extend(target.1.octets());
    ethernet(to, sender.0, 0x0806, &payload)
}

/// A datagram's header with its checksum, and a payload.
pub struct Ip {
    pub source: Ipv4Addr,
    pub destination: Ipv4Addr,
    pub protocol: u8,
    pub identification: u16,
    pub flags_offset: u16,
    pub options: Vec<u8>,
}

impl Ip {
    pub fn new(source: Ipv4Addr, destination: Ipv4Addr, protocol: u8) -> Self {
        Ip {
            source,
            destination,
            protocol,
            identification: 7,
            flags_offset: 0,
            options: vec![],
        }
    }

    pub fn packet(&self, payload: &[u8]) -> Vec<u8> {
        let header_len = 20 + self.options.len();
        let total = (header_len + payload.len()) as u16;
        let mut header = vec![0x40 | (header_len / 4) as u8, 0];
        header.extend(total.to_be_bytes());
        header.extend(self.identification.to_be_bytes());
        header.extend(self.flags_offset.to_be_bytes());
        header.extend([64, self.protocol, 0, 0]);
        header.extend(self.source.octets());
        header.extend(self.destination.octets());
        header.extend(&self.options);
        let sum = checksum(&header);
        header[10..12].copy_from_slice(&sum.to_be_bytes());
        header.extend(payload);
        header
    }

    pub fn frame(&self, payload: &[u8]) -> Vec<u8> {
        ethernet(mac(1), mac(2), 0x0800, &self.packet(payload))
    }
}

/// A UDP datagram with its checksum.
pub fn udp(source: SocketAddr, destination: SocketAddr, payload: &[u8]) -> Vec<u8> {
    let length = 8 + payload.len() as u16;
    let mut datagram = Vec::new();
    datagram.extend(source.port().to_be_bytes());
    datagram.extend(destination.port().to_be_bytes());
    datagram.extend(length.to_be_bytes());
    datagram.extend([0, 0]);
    datagram.extend(payload);
    let mut sum = wire::Checksum::new();
    sum.add_pseudo_header(source.ip(), destination.ip(), 17, length.into());
    sum.add_bytes(&datagram);
    datagram[6..8].copy_from_slice(&sum.finish().to_be_bytes());
    datagram
}

pub fn udp_frame(source: SocketAddr, destination: SocketAddr, payload: &[u8]) -> Vec<u8> {
    let (IpAddr::V4(from), IpAddr::V4(to)) = (source.ip(), destination.ip()) else {
        panic!("IPv4 only");
    };
    Ip::new(from, to, 17).frame(&udp(source, destination, payload))
}

/// An ICMP message with its checksum.
pub fn icmp(kind: u8, code: u8, rest: [u8; 4], payload: &[u8]) -> Vec<u8> {
    let mut message = vec![kind, code, 0, 0];
    message.extend(rest);
    message.extend(payload);
    let sum = checksum(&message);
    message[2..4].copy_from_slice(&sum.to_be_bytes());
    message
}

/// Machines on one Ethernet.
pub struct Net {
    pub now: Instant,
    pub ethernet: VirtualEthernet,
    pub nodes: Vec<Node>,
}

impl Net {
    /// `count` machines 10.0.0.1, 10.0.0.2 … whose addresses are assigned at once.
    pub fn new(seed: u64, count: u8, change: impl Fn(u8, &mut PortConfig)) -> Self {
        let ethernet = VirtualEthernet::new(seed);
        let nodes = (1..=count)
            .map(|number| {
                let pool = Pool::leak(256, 2048).unwrap();
                let mut config = PortConfig::new(mac(number));
                change(number, &mut config);
                let netif = ethernet.attach(config, pool.reserve(64).unwrap());
                let config = StackConfig::for_netif(&netif);
                let mut stack = stack(config, pool, seed ^ u64::from(number) << 32);
                let cidr = Cidr::new(ip(number).into(), 24).unwrap();
                stack
                    .add_address(Instant::ZERO, cidr, ConflictConfig::assigned())
                    .unwrap();
                Node {
                    pool,
                    stack,
                    netif,
                    events: vec![],
                }
            })
            .collect();
        Net {
            now: Instant::ZERO,
            ethernet,
            nodes,
        }
    }

    /// Everything that happens at this instant.
    pub fn settle(&mut self) {
        let context = &mut Context::from_waker(Waker::noop());
        for _ in 0..10_000 {
            let mut busy = self.ethernet.deliver(self.now) > 0;
            for node in &mut self.nodes {
                while let Poll::Ready(Ok(frame)) = node.netif.poll_receive(context) {
                    node.stack.handle_frame(self.now, frame);
                    busy = true;
                }
                node.stack.handle_timeout(self.now);
                while let Poll::Ready(Ok(())) = node.netif.poll_ready(context) {
                    let Some(frame) = node.stack.poll_transmit(self.now) else {
                        break;
                    };
                    node.netif.transmit(frame).unwrap();
                    busy = true;
                }
                node.netif.flush().unwrap();
                while let Some(event) = node.stack.poll_event() {
                    node.events.push(event);
                }
                while node.stack.poll_udp().is_some() {}
            }
            let due = self.ethernet.next_event().is_some_and(|at| at <= self.now);
            if !busy && !due {
                for node in &self.nodes {
                    let next = node.stack.poll_timeout();
                    assert!(
                        next.is_none_or(|at| at > self.now),
                        "a deadline in the past"
                    );
                }
                return;
            }
        }
        panic!("the stacks do not come to rest");
    }

    /// Jumps to the next event, if it is not after `until`.
    pub fn step(&mut self, until: Instant) -> bool {
        self.settle();
        let next = self
            .nodes
            .iter()
            .filter_map(|node| node.stack.poll_timeout())
            .chain(self.ethernet.next_event())
            .min();
        match next {
            Some(next) if next <= until => {
                self.now = next;
                true
            }
            _ => {
                self.now = until;
                false
            }
        }
    }

    /// Lets time pass.
    pub fn run(&mut self, duration: Duration) {
        let until = self.now + duration;
        while self.step(until) {}
        self.settle();
    }

    /// Lets everything time out; every page must be back.
    pub fn assert_whole(mut self) {
        self.run(Duration::from_secs(600));
        for node in &mut self.nodes {
            assert_eq!(node.stack.pending(), 0);
            assert_eq!(node.stack.reassembly_pages(), 0);
        }
        for node in self.nodes {
            let pool = node.pool;
            drop((node.stack, node.netif));
            // What the machine's slots still held is leaked with its memory; nothing may be there.
            assert_eq!(pool.free_in_all(), pool.blocks());
        }
    }

    pub fn bind(&mut self, node: usize, port: u16) -> UdpHandle {
        let mut options = UdpOptions::bind((Ipv4Addr::UNSPECIFIED, port).into());
        options.queue = 32;
        options.pages = 64;
        self.nodes[node].stack.udp_bind(options).unwrap()
    }

    /// All that a socket has received.
    pub fn received(&mut self, node: usize, handle: UdpHandle) -> Vec<(SocketAddr, Vec<u8>)> {
        let mut all = Vec::new();
        while let Ok(Some(datagram)) = self.nodes[node].stack.udp_receive(handle) {
            all.push((datagram.source, bytes(&datagram.payload)));
        }
        all
    }
}

pub fn pattern(length: usize, salt: usize) -> Vec<u8> {
    (0..length)
        .map(|i| (i * 7 + i / 251 + salt) as u8)
        .collect()
}
