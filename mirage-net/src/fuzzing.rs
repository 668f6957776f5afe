//! A small stack that is fed arbitrary frames, and the queues of a TCP connection: for fuzz targets and property tests.

mod tcp;

pub use tcp::tcp_queues;

use core::convert::Infallible;
use core::net::{IpAddr, Ipv4Addr};
use core::time::Duration;

use mirage_core::{Frame, Instant, MacAddress, OffloadFlags, Offloads, Pool};
use rand_core::{TryCryptoRng, TryRng};

use crate::tcp::{ConnectionOptions, ListenOptions, TcpHandle, TcpMemory};
use crate::wire::checksum::{Checksum, checksum};
use crate::{
    Cidr, ConflictConfig, Counters, Fragmentation, ServiceOptions, ServiceSlot, Stack, StackConfig,
    StackMemory, UdpOptions, UdpRequest, UdpService,
};

/// The stack's hardware address.
pub const MAC: MacAddress = MacAddress([2, 0, 0, 0, 0, 1]);
/// The stack's address, in a /24.
pub const ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);
/// A service echoes what comes to this port by UDP, and so does a listener by TCP; a socket listens on the next one.
pub const PORT: u16 = 53;

/// Feeds a stack with the frames that `input` describes, and lets it answer, send and time out.
///
/// Each frame is: one byte of flags, two of length (big-endian, taken modulo 2,048), its bytes.
/// Flags 1: the address, version and header checksum are made right, so that the frame gets
/// beyond IPv4's checks; 2: the checksum of UDP, TCP or ICMP too; 4: it comes in small segments; 8: half a second
/// passes before; 16: a datagram is sent to its source; 32: the socket is read; 64: the device vouches
/// for the checksum; 128: the queue is transmitted; 16 and 32 without 1: a connection is opened.
///
/// So that a conversation comes of it: in a segment whose checksum is made right, sequence and acknowledgement number are distances
/// from what the stack's last segment acknowledged, and from its end; and with a destination port of 0 it is for the connection
/// which that one was of.
///
/// The pool has at least 64 pages of 512 bytes or more, and room for two reserves. Returns what the stack counted.
///
/// # Panics
/// When a page of the pool is missing at the end, which is what this is to find; and when the
/// pool is too small.
pub fn ingress(pool: &'static Pool, input: &[u8]) -> Counters {
    let whole = pool.free_in_all();
    let counters = {
        let mut memory = StackMemory::<8, 8, 16, 2, 8>::new();
        let mut echo = Echo;
        let mut services = [const { ServiceSlot::EMPTY }; 1];
        let mut tcp = TcpMemory::<4, 64, 2, 2>::new();
        let storage = memory.storage(&mut services).with_tcp(tcp.storage());
        let flags = OffloadFlags::RECEIVE_VERIFIED | OffloadFlags::RECEIVE_PARTIAL;
        let offloads = Offloads {
            flags,
            fragments: 2,
        };
        let config = StackConfig::new(MAC, 1_500, offloads);
        let stack = Stack::new(config, storage, pool, Instant::ZERO, &mut Generator(1));
        let mut stack = stack.expect("the pool has room for a reserve");
        let reserve = pool
            .reserve(20)
            .expect("the pool has room for another reserve");
        let cidr = Cidr::new(ADDRESS.into(), 24).expect("24 is at most 32");
        let added = stack.add_address(Instant::ZERO, cidr, ConflictConfig::assigned());
        added.expect("it is the first");
        let _ = stack.add_default_route(IpAddr::V4(Ipv4Addr::new(10, 0, 0, 254)));
        let mut options = ServiceOptions::port(PORT);
        options.max_answer = 1_900;
        let _ = stack.bind_service(options, &mut echo);
        let mut options = UdpOptions::bind((Ipv4Addr::UNSPECIFIED, PORT + 1).into());
        options.fragmentation = Fragmentation::Refused;
        let socket = stack.udp_bind(options).ok();
        let listen = ListenOptions {
            connection: ConnectionOptions {
                receive_pages: 8,
                send_pages: 8,
                ..ConnectionOptions::DEFAULT
            },
            ..ListenOptions::bind((Ipv4Addr::UNSPECIFIED, PORT).into())
        };
        let listener = stack.tcp_listen(listen).ok();
        let mut connections: [Option<TcpHandle>; 4] = [None; 4];
        let mut last = LastSegment::default();
        let mut now = Instant::from_secs(1);
        let mut input = input;
        let mut buffer = [0; 2_048];
        while let Some(([flags, high, low], rest)) = input.split_first_chunk() {
            let length = usize::from(u16::from_be_bytes([*high, *low])) % buffer.len();
            let (bytes, rest) = rest.split_at(length.min(rest.len()));
            input = rest;
            let bytes = {
                let room = &mut buffer[..bytes.len()];
                room.copy_from_slice(bytes);
                room
            };
            let has = |flag: u8| flags & flag != 0;
            if has(8) {
                now = now.saturating_add(Duration::from_millis(500));
                stack.handle_timeout(now);
            }
            if has(1) {
                make_right(bytes, has(2), &last);
            }
            let segment = if has(4) {
                bytes.len().div_ceil(17).max(1)
            } else {
                pool.block_size()
            };
            let mut frame = Frame::new();
            for part in bytes.chunks(segment) {
                // As a device: what does not fit into its reserve is lost.
                let Some(mut page) = reserve.alloc() else {
                    break;
                };
                let fits = page.extend_from_slice(part).is_ok() && frame.push(page).is_ok();
                assert!(fits, "parts are pages at most, 18 of them at most");
            }
            if has(64) {
                frame.metadata.checksum = mirage_core::Checksum::Verified;
            }
            stack.handle_frame(now, frame);
            if let Some(socket) = socket {
                if has(16) {
                    let source = bytes.get(26..30).and_then(|bytes| bytes.first_chunk());
                    let source = Ipv4Addr::from(*source.unwrap_or(&[10, 0, 0, 2]));
                    let remote = Some((source, 9).into());
                    let _ = stack.udp_send(now, socket, remote, bytes);
                }
                if has(32) {
                    while let Ok(Some(datagram)) = stack.udp_receive(socket) {
                        let remote = Some(datagram.source);
                        let from = Some(datagram.destination.ip());
                        let _ = stack.udp_send_frame(now, socket, remote, from, datagram.payload);
                    }
                }
            }
            if let Some(listener) = listener
                && let Some(free) = connections.iter_mut().find(|place| place.is_none())
            {
                *free = stack.tcp_accept(listener).ok().flatten();
            }
            if has(16)
                && has(32)
                && !has(1)
                && let Some(free) = connections.iter_mut().find(|place| place.is_none())
            {
                let any = (Ipv4Addr::UNSPECIFIED, 0).into();
                let remote = (Ipv4Addr::new(10, 0, 0, 2), PORT).into();
                *free = stack.tcp_connect(now, any, remote, listen.connection).ok();
            }
            for place in &mut connections {
                let Some(handle) = *place else { continue };
                if has(32) {
                    // As much as there is room for of what there is to read comes back.
                    let mut echo = [0; 300];
                    match stack.tcp_read(now, handle, &mut echo) {
                        Ok(count) => drop(stack.tcp_write(now, handle, &echo[..count])),
                        Err(_) => drop(stack.tcp_close(now, handle)),
                    }
                }
                if stack.tcp_is_drained(handle) {
                    let _ = stack.tcp_shutdown(now, handle);
                }
                if stack.tcp_state(handle).is_none() || has(16) && has(64) {
                    stack.tcp_close(now, handle);
                    *place = None;
                }
            }
            if has(128) {
                while let Some(frame) = stack.poll_transmit(now) {
                    last.look(&frame);
                }
            }
            while stack.poll_udp().is_some() || stack.poll_event().is_some() {}
            while stack.poll_tcp().is_some() || stack.poll_tcp_listener().is_some() {}
        }
        if let Some(listener) = listener {
            stack.tcp_close_listener(now, listener);
        }
        for handle in connections.into_iter().flatten() {
            stack.tcp_close(now, handle);
        }
        // Whatever it was: after a while nothing is held but what sockets have received.
        for _ in 0..300 {
            now = now.saturating_add(Duration::from_secs(3));
            stack.handle_timeout(now);
            while stack.poll_transmit(now).is_some() {}
        }
        assert_eq!(stack.pending(), 0, "a datagram waits for ever");
        assert_eq!(stack.reassembly_pages(), 0, "a fragment waits for ever");
        assert_eq!(
            stack.tcp_population(),
            (0, 0, 0),
            "a connection waits for ever"
        );
        stack.counters()
    };
    assert_eq!(pool.free_in_all(), whole, "a page is missing");
    counters
}

/// The last segment that the stack sent, without which nobody could talk to it.
#[derive(Default)]
struct LastSegment {
    peer: [u8; 4],
    local_port: [u8; 2],
    remote_port: [u8; 2],
    /// Behind what it holds.
    end: u32,
    acknowledged: u32,
}

impl LastSegment {
    /// Looks at a frame that the stack sends.
    fn look(&mut self, frame: &Frame) {
        // The stack sends no options of IPv4.
        let mut bytes = [0; 54];
        frame.copy_to_slice(0, &mut bytes);
        let (packet, segment) = bytes[14..].split_at(20);
        if bytes[12..14] != [8, 0] || packet[9] != 6 {
            return;
        }
        let word = |at: usize| {
            segment[at..]
                .first_chunk()
                .map_or(0, |b| u32::from_be_bytes(*b))
        };
        let total = usize::from(u16::from_be_bytes([packet[2], packet[3]]));
        let header_len = 20 + usize::from(segment[12] >> 4) * 4;
        let marks = u32::from(segment[13] & 2 != 0) + u32::from(segment[13] & 1 != 0);
        let length = total.saturating_sub(header_len) as u32 + marks;
        self.peer.copy_from_slice(&packet[16..20]);
        self.local_port.copy_from_slice(&segment[..2]);
        self.remote_port.copy_from_slice(&segment[2..4]);
        self.end = word(4).wrapping_add(length);
        self.acknowledged = word(8);
    }

    /// Makes the numbers of a segment what they are distances from.
    fn make_absolute(&self, source: &mut [u8; 4], segment: &mut [u8]) {
        if segment[2..4] == [0, 0] {
            *source = self.peer;
            segment[..2].copy_from_slice(&self.remote_port);
            segment[2..4].copy_from_slice(&self.local_port);
        }
        for (at, base) in [(4, self.acknowledged), (8, self.end)] {
            if let Some(field) = segment[at..].first_chunk_mut() {
                *field = u32::from_be_bytes(*field).wrapping_add(base).to_be_bytes();
            }
        }
    }
}

/// Makes a frame one for us, with a good IPv4 header, and if asked a good transport checksum.
fn make_right(bytes: &mut [u8], transport: bool, last: &LastSegment) {
    if bytes.len() < 34 {
        return;
    }
    bytes[..6].copy_from_slice(&MAC.0);
    bytes[6] &= 0xfe;
    bytes[12..14].copy_from_slice(&[8, 0]);
    let packet = &mut bytes[14..];
    let header_len = (usize::from(packet[0] & 0x0f).max(5) * 4).min(packet.len() / 4 * 4);
    packet[0] = 0x40 | (header_len / 4) as u8;
    let total = usize::from(u16::from_be_bytes([packet[2], packet[3]]));
    if total < header_len || total > packet.len() {
        let total = packet.len() as u16;
        packet[2..4].copy_from_slice(&total.to_be_bytes());
    }
    if packet[16] != 255 {
        packet[16..20].copy_from_slice(&ADDRESS.octets());
    }
    let total = usize::from(u16::from_be_bytes([packet[2], packet[3]]));
    let protocol = packet[9];
    let mut addresses = [[0; 4]; 2];
    addresses[0].copy_from_slice(&packet[12..16]);
    addresses[1].copy_from_slice(&packet[16..20]);
    let [mut source, destination] = addresses;
    let payload = &mut packet[header_len..total];
    if transport && protocol == 6 && payload.len() >= 20 {
        last.make_absolute(&mut source, payload);
        packet[12..16].copy_from_slice(&source);
    }
    packet[10..12].fill(0);
    let sum = checksum(&packet[..header_len]);
    packet[10..12].copy_from_slice(&sum.to_be_bytes());
    let payload = &mut packet[header_len..total];
    if !transport || payload.len() < 8 {
        return;
    }
    if protocol == 1 {
        payload[2..4].fill(0);
        let sum = checksum(payload);
        payload[2..4].copy_from_slice(&sum.to_be_bytes());
    } else if protocol == 6 && payload.len() >= 20 {
        payload[16..18].fill(0);
        let length = payload.len() as u32;
        let mut sum = Checksum::new();
        let (source, destination) = (Ipv4Addr::from(source), Ipv4Addr::from(destination));
        sum.add_pseudo_header(source.into(), destination.into(), 6, length);
        sum.add_bytes(payload);
        payload[16..18].copy_from_slice(&sum.finish().to_be_bytes());
    } else if protocol == 17 {
        // None is a valid checksum.
        payload[6..8].fill(0);
    }
}

struct Echo;

impl UdpService for Echo {
    fn respond(&mut self, request: &UdpRequest<'_>, answer: &mut [u8]) -> Option<usize> {
        let (first, rest) = request.payload.split_first()?;
        // Longer, shorter, too long: whatever the first byte asks for.
        let length = rest.len() * usize::from(first % 4);
        for (to, from) in answer.iter_mut().zip(rest.iter().cycle()) {
            *to = *from;
        }
        Some(length)
    }
}

/// Not secret, and not random: the same for each run.
struct Generator(u64);

impl TryRng for Generator {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        self.try_next_u64().map(|number| (number >> 32) as u32)
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
            *byte = self.try_next_u64()? as u8;
        }
        Ok(())
    }
}

// Only where nothing is at stake, as in this module.
impl TryCryptoRng for Generator {}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::vec::Vec;

    /// Frames that are nearly right: Ethernet, IPv4 with a transport, or ARP.
    fn frames() -> impl Strategy<Value = Vec<u8>> {
        let address = prop_oneof![
            3 => (2u8..6).prop_map(|last| [10, 0, 0, last]),
            1 => any::<[u8; 4]>(),
        ];
        let ipv4 = (
            any::<u8>(),
            address,
            prop_oneof![Just(1u8), Just(17), Just(6), any::<u8>()],
            prop_oneof![3 => Just(0u16), 2 => 0u16..200, 2 => 0x2000u16..0x2080, 1 => any::<u16>()],
            0u8..4,
            proptest::collection::vec(any::<u8>(), 0..700),
            prop_oneof![4 => Just(5u8), 1 => 0u8..16],
        )
            .prop_map(|(flags, source, protocol, offset, id, mut payload, ihl)| {
                if protocol == 17 && payload.len() >= 8 {
                    payload[2..4].copy_from_slice(&[0, PORT as u8 + id % 3]);
                    let length = payload.len() as u16;
                    payload[4..6].copy_from_slice(&length.to_be_bytes());
                }
                if protocol == 6 && payload.len() >= 20 {
                    payload[..4].copy_from_slice(&[4, id, 0, PORT as u8 * (id % 2)]);
                    // Few sequence numbers and flags, so that something comes of it.
                    payload[4..12].copy_from_slice(&[0, 0, 0, offset as u8 % 4, 0, 0, 0, 0]);
                    payload[12] = 0x50;
                    payload[13] &= 0x17;
                }
                if protocol == 1 && payload.len() >= 8 {
                    payload[0] = [8, 0, 3, 11][usize::from(id)];
                    payload[1] %= 6;
                }
                let mut bytes = vec_of(&[&MAC.0, &[2, 0, 0, 0, 0, source[3]], &[8, 0]]);
                let total = (20 + payload.len()) as u16;
                bytes.extend([0x40 | ihl, 0]);
                bytes.extend(total.to_be_bytes());
                bytes.extend([0, id]);
                bytes.extend(offset.to_be_bytes());
                bytes.extend([64, protocol, 0, 0]);
                bytes.extend(source);
                bytes.extend(ADDRESS.octets());
                bytes.extend(payload);
                record(flags | 1, &bytes)
            });
        let arp = (any::<u8>(), any::<bool>(), 1u8..8, 1u8..8, 0u8..3).prop_map(
            |(flags, broadcast, sender, station, operation)| {
                let to = if broadcast { [0xff; 6] } else { MAC.0 };
                let station = [2, 0, 0, 0, 0, station];
                let mut bytes = vec_of(&[&to, &station, &[8, 6, 0, 1, 8, 0, 6, 4, 0, operation]]);
                bytes.extend(station);
                bytes.extend([10, 0, 0, sender]);
                bytes.extend(MAC.0);
                bytes.extend(ADDRESS.octets());
                record(flags & !1, &bytes)
            },
        );
        let any = (any::<u8>(), proptest::collection::vec(any::<u8>(), 0..200))
            .prop_map(|(flags, bytes)| record(flags, &bytes));
        prop_oneof![6 => ipv4, 2 => arp, 1 => any]
    }

    fn vec_of(parts: &[&[u8]]) -> Vec<u8> {
        parts.concat()
    }

    fn record(flags: u8, bytes: &[u8]) -> Vec<u8> {
        let mut record = std::vec![flags];
        record.extend((bytes.len() as u16).to_be_bytes());
        record.extend(bytes);
        record
    }

    /// A segment from 10.0.0.2 with these flags, numbers as distances, and a payload.
    fn segment(ports: [u8; 4], flags: u8, payload: &[u8]) -> Vec<u8> {
        let mut bytes = vec_of(&[&MAC.0, &[2, 0, 0, 0, 0, 2], &[8, 0]]);
        let total = (40 + payload.len()) as u16;
        bytes.extend([0x45, 0]);
        bytes.extend(total.to_be_bytes());
        bytes.extend([0, 1, 0, 0, 64, 6, 0, 0]);
        bytes.extend([10, 0, 0, 2]);
        bytes.extend(ADDRESS.octets());
        bytes.extend(ports);
        bytes.extend([0; 8]);
        bytes.extend([0x50, flags, 4, 0, 0, 0, 0, 0]);
        bytes.extend(payload);
        // Right, with its checksum; then all is transmitted, and what can be read comes back.
        record(1 | 2 | 32 | 128, &bytes)
    }

    fn arp_reply() -> Vec<u8> {
        let mut bytes = vec_of(&[&MAC.0, &[2, 0, 0, 0, 0, 2], &[8, 6, 0, 1, 8, 0, 6, 4, 0, 2]]);
        bytes.extend([2, 0, 0, 0, 0, 2, 10, 0, 0, 2]);
        bytes.extend(MAC.0);
        bytes.extend(ADDRESS.octets());
        record(128, &bytes)
    }

    #[test]
    fn an_input_can_be_a_conversation() {
        let listener = [4, 1, 0, PORT as u8];
        let heard = [
            segment(listener, 2, b""),
            arp_reply(),
            segment(listener, 16, b""),
            segment(listener, 24, b"hello"),
            segment([0; 4], 17, b""),
        ];
        let counters = ingress(Pool::leak(64, 2048).unwrap(), &heard.concat());
        assert_eq!(counters.tcp.passive_opens, 1, "{:?}", counters.tcp);
        assert_eq!(counters.tcp.received_octets, 5);
        let asked = [
            record(16 | 32 | 128, b""),
            arp_reply(),
            segment([0; 4], 18, b""),
            segment([0; 4], 24, b"hello"),
        ];
        let counters = ingress(Pool::leak(64, 2048).unwrap(), &asked.concat());
        assert_eq!(counters.tcp.active_opens, 1);
        assert_eq!(counters.tcp.received_octets, 5, "{:?}", counters.tcp);
    }

    proptest! {
        #[test]
        fn ingress_never_panics_and_the_pool_is_whole_again(
            frames in proptest::collection::vec(frames(), 0..60), blocks in 64usize..128
        ) {
            let pool = Pool::leak(blocks, 512).unwrap();
            ingress(pool, &frames.concat());
        }

        #[test]
        fn arbitrary_input_does_no_harm(
            input in proptest::collection::vec(any::<u8>(), 0..3000)
        ) {
            ingress(Pool::leak(64, 2048).unwrap(), &input);
        }
    }
}
