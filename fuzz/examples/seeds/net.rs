//! The stack: packets of each kind, and conversations in whole frames.

use std::io;
use std::net::Ipv4Addr;

use mirage_core::MacAddress;
use mirage_net::wire::{
    ArpOperation, ArpRepr, EtherType, EthernetRepr, IpProtocol, Ipv4Repr, UdpRepr, arp, checksum,
    ethernet, ipv4, udp,
};

use crate::{Corpora, as_list, dns};

pub fn write(corpora: &Corpora) -> io::Result<()> {
    for (name, bytes) in packets() {
        corpora.write("net_wire", name, &bytes)?;
    }
    // The two targets that take frames have different addresses.
    let (one, two) = (Ipv4Addr::new(10, 0, 0, 1), Ipv4Addr::new(10, 0, 0, 2));
    for (name, frames) in conversations(two, one) {
        corpora.write("net_ingress", name, &as_actions(&frames))?;
    }
    for (name, frames) in conversations(one, two) {
        corpora.write("net_frames", name, &as_flagged(&frames, 0))?;
        // Each in small segments, half a second after the last, and what is queued is transmitted.
        corpora.write(
            "net_frames",
            &format!("{name}-slowly"),
            &as_flagged(&frames, 4 | 8 | 128),
        )?;
    }
    Ok(())
}

/// A packet of each kind, as the codecs write it; each begins with its own header, as the target reads it.
fn packets() -> Vec<(&'static str, Vec<u8>)> {
    let (us, other) = (
        MacAddress([2, 0, 0, 0, 0, 1]),
        MacAddress([2, 0, 0, 0, 0, 2]),
    );
    let (ours, others) = (Ipv4Addr::new(10, 0, 0, 2), Ipv4Addr::new(10, 0, 0, 1));
    let mut arp = [0; arp::PACKET_LEN];
    ArpRepr {
        operation: ArpOperation::Request,
        sender_hardware: other,
        sender_protocol: others,
        target_hardware: MacAddress([0; 6]),
        target_protocol: ours,
    }
    .emit(&mut arp);
    let payload = *b"0123456789abcdef";
    let mut udp = [0; udp::HEADER_LEN];
    UdpRepr {
        source_port: 4000,
        destination_port: 53,
        payload_len: 16,
        checksum: 0,
    }
    .emit(&mut udp);
    let udp = [&udp[..], &payload].concat();
    let ip = |more_fragments: bool, fragment_offset: u16| {
        let mut header = [0; ipv4::HEADER_LEN];
        Ipv4Repr {
            source: others,
            destination: ours,
            protocol: IpProtocol::Udp,
            payload_len: udp.len() as u16,
            type_of_service: 0,
            time_to_live: 64,
            identification: 7,
            dont_fragment: false,
            more_fragments,
            fragment_offset,
        }
        .emit(&mut header);
        [&header[..], &udp].concat()
    };
    let mut ethernet = [0; ethernet::HEADER_LEN];
    EthernetRepr {
        destination: us,
        source: other,
        ethertype: EtherType::Ipv4,
    }
    .emit(&mut ethernet);
    let echo = [&[8, 0, 0x44, 0xe1, 0, 1, 0, 1], &payload[..]].concat();
    let unreachable = [&[3, 4, 0, 0, 0, 0, 5, 0], &ip(false, 0)[..28]].concat();
    vec![
        ("arp", arp.to_vec()),
        ("ethernet", [&ethernet[..], &ip(false, 0)].concat()),
        ("ipv4", ip(false, 0)),
        ("ipv4-first-fragment", ip(true, 0)),
        ("ipv4-last-fragment", ip(false, 1480)),
        ("udp", udp.clone()),
        ("echo", echo),
        ("unreachable", unreachable),
    ]
}

/// What stations say to each other, as whole frames with right checksums: `ours` is the target's address.
fn conversations(ours: Ipv4Addr, other: Ipv4Addr) -> Vec<(&'static str, Vec<Vec<u8>>)> {
    let question = dns::queries().swap_remove(0).1;
    let answer = dns::responses().swap_remove(0).1;
    let ip = |protocol, payload: &[u8]| ip_frame(other, ours, protocol, payload, None);
    let echo = |length: usize| icmp(8, 0, [0, 1, 0, 1], &pattern(length));
    let port_unreachable = {
        let quoted = ip_packet(
            ours,
            other,
            IpProtocol::Udp,
            &udp(ours, other, 7, 9, b"x"),
            None,
        );
        icmp(3, 3, [0; 4], &quoted)
    };
    let too_big = {
        let quoted = ip_packet(
            ours,
            other,
            IpProtocol::Udp,
            &udp(ours, other, 7, 9, b"x"),
            None,
        );
        icmp(3, 4, [0, 0, 2, 64], &quoted)
    };
    let fragments = |payload: &[u8], protocol| -> Vec<Vec<u8>> {
        let pieces: Vec<&[u8]> = payload.chunks(480).collect();
        let last = pieces.len() - 1;
        let frame = |(index, piece): (usize, &&[u8])| {
            let fragment = Some((index as u16 * 480, index < last));
            ip_frame(other, ours, protocol, piece, fragment)
        };
        pieces.iter().enumerate().map(frame).collect()
    };
    let large = fragments(&udp(other, ours, 4000, 53, &pattern(1400)), IpProtocol::Udp);
    let reordered = large.iter().rev().cloned().collect();
    let overlapping = large
        .iter()
        .flat_map(|frame| [frame.clone(), frame.clone()])
        .collect();
    let ask = arp_frame(ArpOperation::Request, other, ours);
    let tell = arp_frame(ArpOperation::Reply, other, ours);
    let query = ip(IpProtocol::Udp, &udp(other, ours, 4000, 53, &question));
    vec![
        (
            "arp",
            vec![
                ask.clone(),
                tell.clone(),
                arp_frame(ArpOperation::Request, ours, ours),
            ],
        ),
        ("dns", vec![ask.clone(), query.clone(), query.clone(), tell]),
        (
            "dns-answer",
            vec![ip(IpProtocol::Udp, &udp(other, ours, 53, 7, &answer))],
        ),
        (
            "echo",
            vec![
                ask,
                ip(IpProtocol::Icmp, &echo(0)),
                ip(IpProtocol::Icmp, &echo(56)),
            ],
        ),
        ("echo-fragments", fragments(&echo(1100), IpProtocol::Icmp)),
        ("udp-fragments", large),
        ("udp-fragments-reordered", reordered),
        ("udp-fragments-twice", overlapping),
        (
            "errors",
            vec![
                ip(IpProtocol::Icmp, &port_unreachable),
                ip(IpProtocol::Icmp, &too_big),
            ],
        ),
        (
            "closed-port",
            vec![query, ip(IpProtocol::Udp, &udp(other, ours, 4000, 9, b"x"))],
        ),
    ]
}

fn pattern(length: usize) -> Vec<u8> {
    (0..length).map(|index| index as u8).collect()
}

fn ethernet_frame(ethertype: EtherType, payload: &[u8]) -> Vec<u8> {
    let mut header = [0; ethernet::HEADER_LEN];
    EthernetRepr {
        destination: MacAddress([2, 0, 0, 0, 0, 1]),
        source: MacAddress([2, 0, 0, 0, 0, 2]),
        ethertype,
    }
    .emit(&mut header);
    [&header[..], payload].concat()
}

fn arp_frame(operation: ArpOperation, sender: Ipv4Addr, target: Ipv4Addr) -> Vec<u8> {
    let mut packet = [0; arp::PACKET_LEN];
    ArpRepr {
        operation,
        sender_hardware: MacAddress([2, 0, 0, 0, 0, 2]),
        sender_protocol: sender,
        target_hardware: MacAddress([0; 6]),
        target_protocol: target,
    }
    .emit(&mut packet);
    ethernet_frame(EtherType::Arp, &packet)
}

/// `fragment` is the offset in octets, and whether more follow.
fn ip_packet(
    source: Ipv4Addr,
    destination: Ipv4Addr,
    protocol: IpProtocol,
    payload: &[u8],
    fragment: Option<(u16, bool)>,
) -> Vec<u8> {
    let mut header = [0; ipv4::HEADER_LEN];
    Ipv4Repr {
        source,
        destination,
        protocol,
        payload_len: payload.len() as u16,
        type_of_service: 0,
        time_to_live: 64,
        identification: 7,
        dont_fragment: false,
        more_fragments: fragment.is_some_and(|(_, more)| more),
        fragment_offset: fragment.map_or(0, |(offset, _)| offset),
    }
    .emit(&mut header);
    [&header[..], payload].concat()
}

fn ip_frame(
    source: Ipv4Addr,
    destination: Ipv4Addr,
    protocol: IpProtocol,
    payload: &[u8],
    fragment: Option<(u16, bool)>,
) -> Vec<u8> {
    let packet = ip_packet(source, destination, protocol, payload, fragment);
    ethernet_frame(EtherType::Ipv4, &packet)
}

fn udp(
    source: Ipv4Addr,
    destination: Ipv4Addr,
    source_port: u16,
    destination_port: u16,
    payload: &[u8],
) -> Vec<u8> {
    let mut header = [0; udp::HEADER_LEN];
    UdpRepr {
        source_port,
        destination_port,
        payload_len: payload.len() as u16,
        checksum: 0,
    }
    .emit(&mut header);
    let mut datagram = [&header[..], payload].concat();
    let length = (datagram.len() as u16).to_be_bytes();
    // The pseudo-header (RFC 768).
    let sum = checksum::checksum(
        &[
            &source.octets()[..],
            &destination.octets(),
            &[0, 17],
            &length,
            &datagram,
        ]
        .concat(),
    );
    datagram[6..8].copy_from_slice(&sum.to_be_bytes());
    datagram
}

fn icmp(kind: u8, code: u8, rest: [u8; 4], payload: &[u8]) -> Vec<u8> {
    let mut message = [&[kind, code, 0, 0], &rest[..], payload].concat();
    let sum = checksum::checksum(&message);
    message[2..4].copy_from_slice(&sum.to_be_bytes());
    message
}

/// As `mirage_net::fuzzing` takes frames: flags, length, bytes.
fn as_flagged(frames: &[Vec<u8>], flags: u8) -> Vec<u8> {
    let mut octets = Vec::new();
    for frame in frames {
        octets.push(flags);
        octets.extend_from_slice(&(frame.len() as u16).to_be_bytes());
        octets.extend_from_slice(frame);
    }
    octets
}

/// As `net_ingress` takes its actions, of which the first is a frame of any bytes.
fn as_actions(frames: &[Vec<u8>]) -> Vec<u8> {
    let mut octets = Vec::new();
    for frame in frames {
        octets.extend_from_slice(&[1, 0, 0, 0, 0]);
        octets.extend_from_slice(&as_list(frame));
    }
    octets.push(0);
    octets
}
