//! The codecs of Ethernet, ARP, IPv4, ICMP, UDP and TCP on any bytes: no accessor of a checked view panics, its parts lie within
//! the bytes, and a representation that is written reads as itself.

#![no_main]

use libfuzzer_sys::fuzz_target;
use mirage_net::wire::{
    ArpPacket, ArpRepr, EthernetPacket, EthernetRepr, Icmpv4Packet, Icmpv4Repr, Ipv4Packet,
    Ipv4Repr, TcpPacket, TcpQuote, TcpRepr, UdpPacket, UdpRepr, arp, checksum, ethernet, icmpv4,
    ipv4, tcp, udp,
};

fuzz_target!(|bytes: &[u8]| {
    if let Ok(packet) = EthernetPacket::new_checked(bytes) {
        let repr = EthernetRepr::parse(&packet);
        assert_eq!(packet.payload().len() + ethernet::HEADER_LEN, bytes.len());
        let mut written = [0; ethernet::HEADER_LEN];
        repr.emit(&mut written);
        assert_eq!(written, bytes[..ethernet::HEADER_LEN]);
        said(&packet);
    }
    if let Ok(packet) = ArpPacket::new_checked(bytes) {
        let repr = ArpRepr::parse(&packet);
        let mut written = [0; arp::PACKET_LEN];
        repr.emit(&mut written);
        assert_eq!(written, bytes[..arp::PACKET_LEN]);
        said(&packet);
    }
    // The first bytes say how much lies behind the first segment.
    let beyond = bytes.first().map_or(0, |byte| usize::from(*byte) * 256);
    for available in [bytes.len(), bytes.len() + beyond] {
        if let Ok(packet) = Ipv4Packet::new_checked(bytes, available) {
            assert!(
                packet.header_len() <= bytes.len() && packet.header_len() <= packet.total_len()
            );
            assert!(packet.total_len() <= available);
            assert_eq!(
                packet.header_len() + packet.payload_len(),
                packet.total_len()
            );
            assert_eq!(
                packet.options().len() + ipv4::HEADER_LEN,
                packet.header_len()
            );
            assert!(packet.payload().len() <= packet.payload_len());
            assert_eq!(
                checksum::checksum(&bytes[..packet.header_len()]),
                0,
                "a wrong header checksum was taken"
            );
            ipv4_again(&packet);
        }
        if let Ok(packet) = UdpPacket::new_checked(bytes, available) {
            assert!(
                packet.len() <= available && packet.payload_len() + udp::HEADER_LEN == packet.len()
            );
            let repr = UdpRepr::parse(&packet);
            let mut written = [0; udp::HEADER_LEN];
            repr.emit(&mut written);
            assert_eq!(written, bytes[..udp::HEADER_LEN]);
            said(&packet);
        }
        if let Ok(packet) = TcpPacket::new_checked(bytes, available) {
            assert!(packet.header_len() <= bytes.len() && packet.header_len() <= available);
            tcp_again(&packet);
        }
    }
    assert_eq!(TcpQuote::new(bytes).is_ok(), bytes.len() >= 8);
    if let Ok(packet) = Ipv4Packet::new_quoted(bytes) {
        let _ = (packet.payload(), packet.options(), packet.payload_len());
        said(&packet);
    }
    if let Ok(packet) = UdpPacket::new_quoted(bytes) {
        let _ = (
            packet.source_port(),
            packet.destination_port(),
            packet.payload_len(),
        );
        said(&packet);
    }
    if let Ok(packet) = Icmpv4Packet::new_checked(bytes) {
        let repr = Icmpv4Repr::parse(&packet);
        let mut written = [0; icmpv4::HEADER_LEN];
        repr.emit(&mut written);
        let again = Icmpv4Packet::new_checked(&written).expect("a written header is one");
        assert_eq!(Icmpv4Repr::parse(&again), repr);
        said(&packet);
    }
    checksums(bytes);
});

fn ipv4_again(packet: &Ipv4Packet<'_>) {
    let repr = Ipv4Repr::parse(packet);
    let mut written = [0; ipv4::HEADER_LEN];
    repr.emit(&mut written);
    let length = ipv4::HEADER_LEN + packet.payload_len();
    let again = Ipv4Packet::new_checked(&written, length).expect("a written header is one");
    assert_eq!(Ipv4Repr::parse(&again), repr);
    said(packet);
}

fn tcp_again(packet: &TcpPacket<'_>) {
    assert!(packet.options().count() <= tcp::MAX_OPTIONS_LEN);
    let repr = TcpRepr::parse(packet);
    let mut written = [0; tcp::MAX_HEADER_LEN];
    let length = repr.emit(&mut written);
    assert_eq!(length, repr.header_len());
    let again =
        TcpPacket::new_checked(&written[..length], length).expect("a written header is one");
    let again = TcpRepr::parse(&again);
    // SACK blocks may be left out for want of room: the same option twice was read as one.
    let kept = again.options.sack.len();
    assert_eq!(again.options.sack[..], repr.options.sack[..kept]);
    let options = tcp::TcpOptions {
        sack: repr.options.sack,
        ..again.options
    };
    assert_eq!(TcpRepr { options, ..again }, repr);
    said(packet);
}

/// The sum of the whole is that of the parts, at whatever byte it is cut.
fn checksums(bytes: &[u8]) {
    let whole = checksum::checksum(bytes);
    let cut = bytes
        .first()
        .map_or(0, |byte| usize::from(*byte))
        .min(bytes.len());
    let mut parts = mirage_net::wire::Checksum::default();
    parts.add_bytes(&bytes[..cut]);
    parts.add_bytes(&bytes[cut..]);
    assert_eq!(parts.finish(), whole);
}

fn said(packet: &impl std::fmt::Display) {
    assert!(!packet.to_string().is_empty());
}
