//! The whole stack under whatever comes: any bytes, and packets that are nearly right, between time, link changes, pings
//! and datagrams of our own. No page is lost, the device's reserve is whole after every frame, and every frame that is sent
//! is a right one.

#![no_main]

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use mirage_core::{Frame, Instant, MacAddress, Offloads, PageMut, Pool, Reserve};
use mirage_net::wire::{
    ArpPacket, EtherType, EthernetPacket, Icmpv4Packet, IpProtocol, Ipv4Packet, Ipv4Repr,
    UdpPacket, checksum, ipv4,
};
use mirage_net::{
    Capacities, Cidr, ConflictConfig, Event, HEADROOM, ServiceOptions, Stack, StackConfig,
    StackStorage, UdpHandle, UdpOptions, UdpRequest, UdpService,
};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;

const OUR_MAC: MacAddress = MacAddress([2, 0, 0, 0, 0, 1]);
const OURS: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 2);
const MTU: u16 = 1500;
const BLOCKS: usize = 128;
const BLOCK_SIZE: usize = 2048;
const RECEIVE: usize = 16;

#[derive(Arbitrary, Debug)]
enum Action {
    /// A frame of any bytes.
    Raw(Vec<u8>),
    /// A packet that is right but for what is asked to be wrong.
    Packet(Packet),
    Wait {
        milliseconds: u16,
    },
    WaitLong {
        minutes: u8,
    },
    Link(bool),
    Send {
        to: Host,
        port: u8,
        length: u16,
    },
    Receive,
    Ping {
        to: Host,
    },
    /// Frames that the device did not take yet.
    Transmit {
        most: u8,
    },
}

#[derive(Arbitrary, Debug)]
struct Packet {
    from_mac: u8,
    broadcast: bool,
    source: Host,
    destination: Host,
    content: Content,
    /// Where a byte is changed, from the frame's beginning, and to what; and where the frame ends.
    damage: Option<(u16, u8)>,
    cut: Option<u16>,
    /// Zeroes behind the packet, as Ethernet pads.
    padding: u8,
    /// The frame in two segments, cut here.
    segments: Option<u8>,
}

/// Addresses that mean something to the stack.
#[derive(Arbitrary, Debug, Clone, Copy)]
enum Host {
    Us,
    Neighbour(u8),
    Far(u8),
    Gateway,
    Broadcast,
    SubnetBroadcast,
    Multicast,
    Loopback,
    Unspecified,
    Any(u32),
}

#[derive(Arbitrary, Debug)]
enum Content {
    Arp {
        reply: bool,
        target_mac: u8,
    },
    Udp {
        port: u8,
        from: u8,
        no_checksum: bool,
        payload: Vec<u8>,
        ip: IpOptions,
    },
    Echo {
        reply: bool,
        payload: Vec<u8>,
        ip: IpOptions,
    },
    /// An error that quotes a packet of ours, more or less.
    Error {
        kind: u8,
        code: u8,
        mtu: u16,
        quoted: Host,
        port: u8,
        cut: u8,
    },
    Fragment {
        protocol: u8,
        identification: u8,
        offset: u16,
        more: bool,
        payload: Vec<u8>,
    },
    Other {
        protocol: u8,
        payload: Vec<u8>,
    },
}

#[derive(Arbitrary, Debug, Default)]
struct IpOptions {
    words: u8,
    fill: u8,
    time_to_live: u8,
}

impl Host {
    fn address(self) -> Ipv4Addr {
        match self {
            Self::Us => OURS,
            Self::Neighbour(n) => Ipv4Addr::new(10, 0, 0, n),
            Self::Far(n) => Ipv4Addr::new(192, 0, 2, n),
            Self::Gateway => Ipv4Addr::new(10, 0, 0, 1),
            Self::Broadcast => Ipv4Addr::BROADCAST,
            Self::SubnetBroadcast => Ipv4Addr::new(10, 0, 0, 255),
            Self::Multicast => Ipv4Addr::new(224, 0, 0, 1),
            Self::Loopback => Ipv4Addr::LOCALHOST,
            Self::Unspecified => Ipv4Addr::UNSPECIFIED,
            Self::Any(bits) => Ipv4Addr::from_bits(bits),
        }
    }
}

/// Answers with what it was asked, as far as there is room, unless the first byte says not to.
struct Echo;

impl UdpService for Echo {
    fn respond(&mut self, request: &UdpRequest<'_>, answer: &mut [u8]) -> Option<usize> {
        if request.payload.first() == Some(&0) {
            return None;
        }
        let length = request.payload.len().min(answer.len());
        answer[..length].copy_from_slice(&request.payload[..length]);
        Some(length)
    }
}

thread_local! {
    static POOL: (&'static Pool, Reserve) = {
        let pool = Pool::leak(BLOCKS, BLOCK_SIZE).expect("a small pool");
        let reserve = pool.reserve(RECEIVE).expect("room for the reserve");
        (pool, reserve)
    };
}

fuzz_target!(|actions: Vec<Action>| {
    POOL.with(|(pool, receive)| {
        let before = pool.free();
        run(pool, receive, actions);
        assert_eq!(pool.free(), before, "pages were lost");
        assert_eq!(receive.free(), RECEIVE, "pages of the device were lost");
    });
});

fn run(pool: &'static Pool, receive: &Reserve, actions: Vec<Action>) {
    let mut now = Instant::from_secs(1);
    let mut echo = Echo;
    let capacities = Capacities {
        pending: 8,
        transmit: 16,
        udp_datagrams: 16,
        neighbours: 8,
        ..Capacities::default()
    };
    let storage = StackStorage::allocate(&capacities);
    let config = StackConfig::new(OUR_MAC, MTU, Offloads::default());
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    let mut stack = Stack::new(config, storage, pool, now, &mut rng).expect("a stack");
    stack
        .bind_service(ServiceOptions::port(53), &mut echo)
        .expect("a free port");
    let local = SocketAddr::from((Ipv4Addr::UNSPECIFIED, 7));
    let socket = stack
        .udp_bind(UdpOptions {
            broadcast: true,
            ..UdpOptions::bind(local)
        })
        .expect("a free port");
    let cidr = Cidr::new(IpAddr::V4(OURS), 24).expect("a prefix");
    stack
        .add_address(now, cidr, ConflictConfig::default())
        .expect("an address");
    stack
        .add_default_route(Host::Gateway.address().into())
        .expect("a route");
    // The address is ours once nobody defended it.
    for _ in 0..20 {
        now = now.saturating_add(Duration::from_secs(1));
        settle(&mut stack, now, usize::MAX);
    }
    for action in actions {
        act(&mut stack, pool, receive, socket, &mut now, action);
        assert_eq!(
            receive.free(),
            RECEIVE,
            "the stack kept a page of the device's reserve"
        );
    }
    // Reassembly, neighbours, probes: all end by themselves.
    for _ in 0..64 {
        settle(&mut stack, now, usize::MAX);
        let Some(deadline) = stack.poll_timeout() else {
            break;
        };
        now = now.max(deadline);
    }
    while let Ok(Some(_)) = stack.udp_receive(socket) {}
}

fn act(
    stack: &mut Stack<'_>,
    pool: &'static Pool,
    receive: &Reserve,
    socket: UdpHandle,
    now: &mut Instant,
    action: Action,
) {
    match action {
        Action::Raw(bytes) => deliver(stack, receive, *now, &bytes, None),
        Action::Packet(packet) => {
            let bytes = build(&packet);
            deliver(
                stack,
                receive,
                *now,
                &bytes,
                packet.segments.map(usize::from),
            );
        }
        Action::Wait { milliseconds } => {
            pass(stack, now, Duration::from_millis(u64::from(milliseconds)))
        }
        Action::WaitLong { minutes } => {
            pass(stack, now, Duration::from_secs(60 * u64::from(minutes)))
        }
        Action::Link(up) => stack.handle_link(*now, up),
        Action::Send { to, port, length } => {
            let payload = vec![port; usize::from(length)];
            let remote = SocketAddr::from((to.address(), u16::from(port)));
            // Refused or sent; a page that was taken for it comes back either way.
            let _ = stack.udp_send(*now, socket, Some(remote), &payload);
        }
        Action::Receive => {
            if let Ok(Some(datagram)) = stack.udp_receive(socket) {
                assert!(datagram.source.port() == 0 || datagram.source.is_ipv4());
            }
        }
        Action::Ping { to } => {
            let _ = stack.ping(*now, to.address().into(), 40);
        }
        Action::Transmit { most } => settle(stack, *now, usize::from(most)),
    }
    while let Some(handle) = stack.poll_udp() {
        assert_eq!(handle, socket);
    }
    while let Some(event) = stack.poll_event() {
        let _: Event = event;
    }
    assert!(stack.pending() <= 8 && stack.transmit_len() <= 16);
    let _ = pool.counters();
}

/// Time passes, with a look at each deadline on the way, but not at more than some.
fn pass(stack: &mut Stack<'_>, now: &mut Instant, duration: Duration) {
    let end = now.saturating_add(duration);
    for _ in 0..32 {
        match stack.poll_timeout() {
            Some(deadline) if deadline < end => *now = (*now).max(deadline),
            _ => break,
        }
        settle(stack, *now, 8);
    }
    *now = end;
    settle(stack, *now, 8);
}

fn settle(stack: &mut Stack<'_>, now: Instant, most: usize) {
    stack.handle_timeout(now);
    for _ in 0..most {
        let Some(frame) = stack.poll_transmit(now) else {
            break;
        };
        check(&frame);
    }
}

fn deliver(
    stack: &mut Stack<'_>,
    receive: &Reserve,
    now: Instant,
    bytes: &[u8],
    cut: Option<usize>,
) {
    let mut frame = Frame::new();
    let (first, second) = bytes.split_at(cut.unwrap_or(bytes.len()).min(bytes.len()));
    for part in [first, second] {
        for piece in part.chunks(BLOCK_SIZE - HEADROOM) {
            let Some(page) = filled(receive, piece) else {
                return;
            };
            if frame.push(page).is_err() {
                return;
            }
        }
    }
    stack.handle_frame(now, frame);
}

fn filled(receive: &Reserve, bytes: &[u8]) -> Option<PageMut> {
    let mut page = receive.alloc()?;
    page.reset(HEADROOM).ok()?;
    page.extend_from_slice(bytes).ok()?;
    Some(page)
}

/// What we send must be what any receiver would take.
fn check(frame: &Frame) {
    let mut bytes = vec![0; frame.len()];
    assert_eq!(frame.copy_to_slice(0, &mut bytes), bytes.len());
    let ethernet = EthernetPacket::new_checked(&bytes).expect("a frame with a header");
    assert_eq!(ethernet.source(), OUR_MAC);
    assert!(
        ethernet.payload().len() <= usize::from(MTU),
        "longer than the MTU"
    );
    match ethernet.ethertype() {
        EtherType::Arp => {
            let arp = ArpPacket::new_checked(ethernet.payload()).expect("an ARP packet");
            assert_eq!(arp.sender_hardware(), OUR_MAC);
        }
        EtherType::Ipv4 => {
            let payload = ethernet.payload();
            let packet = Ipv4Packet::new_checked(payload, payload.len()).expect("an IPv4 packet");
            // Who has lost its address, and asks all for another, has none to ask from.
            let nobody = packet.source().is_unspecified() && packet.destination().is_broadcast();
            assert!(
                packet.source() == OURS || nobody,
                "from an address that is not ours: {}",
                packet.source()
            );
            assert!(!packet.destination().is_loopback() && !packet.destination().is_unspecified());
            if !packet.is_fragment() {
                check_checksum(&packet);
            }
        }
        other => panic!("we never send {other:?}"),
    }
}

fn check_checksum(packet: &Ipv4Packet<'_>) {
    let payload = packet.payload();
    match packet.protocol() {
        IpProtocol::Udp => {
            let udp = UdpPacket::new_checked(payload, payload.len()).expect("a UDP header");
            if udp.checksum() != 0 {
                let mut pseudo = Vec::new();
                pseudo.extend_from_slice(&packet.source().octets());
                pseudo.extend_from_slice(&packet.destination().octets());
                pseudo.extend_from_slice(&[0, 17]);
                pseudo.extend_from_slice(&(udp.len() as u16).to_be_bytes());
                pseudo.extend_from_slice(&payload[..udp.len()]);
                assert_eq!(
                    checksum::checksum(&pseudo),
                    0,
                    "a wrong UDP checksum was sent"
                );
            }
        }
        IpProtocol::Icmp => {
            Icmpv4Packet::new_checked(payload).expect("an ICMP header");
            assert_eq!(
                checksum::checksum(payload),
                0,
                "a wrong ICMP checksum was sent"
            );
        }
        other => panic!("we never send {other:?}"),
    }
}

fn build(packet: &Packet) -> Vec<u8> {
    let mut bytes = Vec::new();
    let destination = if packet.broadcast {
        [255; 6]
    } else {
        OUR_MAC.0
    };
    bytes.extend_from_slice(&destination);
    bytes.extend_from_slice(&[2, 0, 0, 0, 1, packet.from_mac]);
    let (source, destination) = (packet.source.address(), packet.destination.address());
    match &packet.content {
        Content::Arp { reply, target_mac } => {
            bytes.extend_from_slice(&[8, 6, 0, 1, 8, 0, 6, 4, 0, 1 + u8::from(*reply)]);
            bytes.extend_from_slice(&[2, 0, 0, 0, 1, packet.from_mac]);
            bytes.extend_from_slice(&source.octets());
            bytes.extend_from_slice(&[2, 0, 0, 0, 0, *target_mac]);
            bytes.extend_from_slice(&destination.octets());
        }
        Content::Udp {
            port,
            from,
            no_checksum,
            payload,
            ip,
        } => {
            let udp = udp(source, destination, *from, *port, *no_checksum, payload);
            ip_packet(&mut bytes, source, destination, 17, ip, &udp);
        }
        Content::Echo { reply, payload, ip } => {
            let mut icmp = vec![if *reply { 0 } else { 8 }, 0, 0, 0, 0, 1, 0, 1];
            icmp.extend_from_slice(payload);
            finish_checksum(&mut icmp, 2);
            ip_packet(&mut bytes, source, destination, 1, ip, &icmp);
        }
        Content::Error {
            kind,
            code,
            mtu,
            quoted,
            port,
            cut,
        } => {
            let mut inner = Vec::new();
            let datagram = udp(OURS, quoted.address(), 7, *port, false, &[9; 40]);
            ip_header(
                &mut inner,
                OURS,
                quoted.address(),
                17,
                &IpOptions {
                    time_to_live: 1,
                    ..IpOptions::default()
                },
                datagram.len(),
            );
            inner.extend_from_slice(&datagram);
            inner.truncate(usize::from(*cut));
            let mut icmp = vec![*kind, *code, 0, 0, 0, 0];
            icmp.extend_from_slice(&mtu.to_be_bytes());
            icmp.extend_from_slice(&inner);
            finish_checksum(&mut icmp, 2);
            ip_packet(
                &mut bytes,
                source,
                destination,
                1,
                &IpOptions::default(),
                &icmp,
            );
        }
        Content::Fragment {
            protocol,
            identification,
            offset,
            more,
            payload,
        } => {
            let repr = Ipv4Repr {
                source,
                destination,
                protocol: IpProtocol::from(*protocol),
                payload_len: payload.len() as u16,
                type_of_service: 0,
                time_to_live: 64,
                identification: u16::from(*identification),
                dont_fragment: false,
                more_fragments: *more,
                fragment_offset: *offset & 0xfff8,
            };
            let mut header = [0; ipv4::HEADER_LEN];
            repr.emit(&mut header);
            bytes.extend_from_slice(&[8, 0]);
            bytes.extend_from_slice(&header);
            bytes.extend_from_slice(payload);
        }
        Content::Other { protocol, payload } => {
            ip_packet(
                &mut bytes,
                source,
                destination,
                *protocol,
                &IpOptions::default(),
                payload,
            );
        }
    }
    bytes.extend(std::iter::repeat_n(0, usize::from(packet.padding)));
    if let Some((at, value)) = packet.damage
        && let Some(byte) = bytes.get_mut(usize::from(at))
    {
        *byte = value;
    }
    if let Some(cut) = packet.cut {
        bytes.truncate(usize::from(cut));
    }
    bytes
}

fn ip_packet(
    bytes: &mut Vec<u8>,
    from: Ipv4Addr,
    to: Ipv4Addr,
    protocol: u8,
    options: &IpOptions,
    payload: &[u8],
) {
    bytes.extend_from_slice(&[8, 0]);
    ip_header(bytes, from, to, protocol, options, payload.len());
    bytes.extend_from_slice(payload);
}

fn ip_header(
    bytes: &mut Vec<u8>,
    from: Ipv4Addr,
    to: Ipv4Addr,
    protocol: u8,
    options: &IpOptions,
    payload: usize,
) {
    let words = usize::from(options.words % 11);
    let start = bytes.len();
    let total = (20 + 4 * words + payload).min(65_535) as u16;
    bytes.extend_from_slice(&[0x45 + words as u8, 0]);
    bytes.extend_from_slice(&total.to_be_bytes());
    bytes.extend_from_slice(&[0, 1, 0, 0, options.time_to_live, protocol, 0, 0]);
    bytes.extend_from_slice(&from.octets());
    bytes.extend_from_slice(&to.octets());
    bytes.extend(std::iter::repeat_n(options.fill, 4 * words));
    let sum = checksum::checksum(&bytes[start..]);
    bytes[start + 10..start + 12].copy_from_slice(&sum.to_be_bytes());
}

fn udp(
    from: Ipv4Addr,
    to: Ipv4Addr,
    source: u8,
    destination: u8,
    no_checksum: bool,
    payload: &[u8],
) -> Vec<u8> {
    let length = (8 + payload.len()).min(65_535) as u16;
    let mut udp = vec![0, source, 0, destination];
    udp.extend_from_slice(&length.to_be_bytes());
    udp.extend_from_slice(&[0, 0]);
    udp.extend_from_slice(payload);
    if !no_checksum {
        let mut pseudo = [from.octets(), to.octets()].concat();
        pseudo.extend_from_slice(&[0, 17]);
        pseudo.extend_from_slice(&length.to_be_bytes());
        pseudo.extend_from_slice(&udp);
        // Zero means that there is none (RFC 768).
        let sum = match checksum::checksum(&pseudo) {
            0 => 0xffff,
            sum => sum,
        };
        udp[6..8].copy_from_slice(&sum.to_be_bytes());
    }
    udp
}

fn finish_checksum(bytes: &mut [u8], at: usize) {
    let sum = checksum::checksum(bytes);
    bytes[at..at + 2].copy_from_slice(&sum.to_be_bytes());
}
