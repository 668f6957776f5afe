//! From a frame to a transport: Ethernet, ARP, IPv4.

use core::net::Ipv4Addr;

use mirage_core::{Frame, Instant};

use super::{Event, HEADROOM, Relation, Stack};
use crate::arp::{ConflictEvent, Origin};
use crate::ip::{Fragment, FragmentKey, Reassembled};
use crate::wire::ethernet::{self, EtherType, EthernetPacket, EthernetRepr};
use crate::wire::icmpv4::{Icmpv4Message, Unreachable};
use crate::wire::ipv4::{self, IpProtocol, Ipv4Packet, Ipv4Repr};
use crate::wire::{ArpOperation, ArpPacket, ArpRepr, UdpPacket, WireError};

/// Bytes that any header chain needs at most: Ethernet, IPv4, ICMP and the datagram it quotes.
const HEADERS: usize = ethernet::HEADER_LEN + ipv4::MAX_HEADER_LEN + 8 + ipv4::MAX_HEADER_LEN + 8;

/// A datagram whose IP header has been checked.
#[derive(Debug)]
pub(super) struct Received<'f> {
    /// Starts at the IP header; ends with the datagram. Borrowed, not moved.
    pub(super) frame: &'f mut Frame,
    pub(super) repr: Ipv4Repr,
    /// Bytes of the IP header, options included.
    pub(super) header_len: usize,
    /// It was sent to all, on the link or by its address.
    pub(super) broadcast: bool,
}

impl Received<'_> {
    pub(super) fn payload_len(&self) -> usize {
        usize::from(self.repr.payload_len)
    }
}

impl Stack<'_> {
    /// A frame was received (input).
    ///
    /// Its pages may be of a receive reserve: what keeps one here exchanges it for one of the
    /// general part, and everything else gives it back before this returns.
    #[inline]
    pub fn handle_frame(&mut self, now: Instant, mut frame: Frame) {
        self.counters.received += 1;
        if !self.pull_up(&mut frame, HEADERS) {
            self.counters.ethernet.no_pages += 1;
            return;
        }
        let header = match frame
            .first()
            .map(|first| EthernetPacket::new_checked(first))
        {
            Some(Ok(packet)) => EthernetRepr::parse(&packet),
            _ => {
                self.counters.ethernet.truncated += 1;
                return;
            }
        };
        if !header.source.is_unicast() {
            self.counters.ethernet.bad_source += 1;
            return;
        }
        if header.source == self.mac {
            self.counters.ethernet.own += 1;
            return;
        }
        if header.destination != self.mac && !header.destination.is_broadcast() {
            self.counters.ethernet.not_for_us += 1;
            return;
        }
        if frame.advance(ethernet::HEADER_LEN).is_err() {
            self.counters.ethernet.truncated += 1;
            return;
        }
        match header.ethertype {
            EtherType::Ipv4 => self.handle_ipv4(now, header, &mut frame),
            EtherType::Arp => self.handle_arp(now, header, &mut frame),
            EtherType::Ipv6 => self.counters.ethernet.ipv6 += 1,
            EtherType::Other(_) => self.counters.ethernet.unknown_type += 1,
        }
    }

    /// Makes the first `count` bytes of a frame contiguous, as far as it has them.
    fn pull_up(&mut self, frame: &mut Frame, count: usize) -> bool {
        if frame.segments().len() <= 1 {
            return true;
        }
        let count = count.min(frame.len());
        if frame.first().is_some_and(|first| first.len() >= count) {
            return true;
        }
        let copied = (|| {
            let mut page = self.pool.alloc()?;
            page.reset(HEADROOM).ok()?;
            frame.copy_to_slice(0, page.append(count)?);
            frame.advance(count).ok()?;
            if frame.is_empty() {
                *frame = page.into();
            } else {
                frame.push_front(page).ok()?;
            }
            Some(())
        })();
        self.counters.pulled_up += u64::from(copied.is_some());
        copied.is_some()
    }

    // Apart from its caller: see "What an image weighs" in CONTRIBUTING.md.
    #[inline(never)]
    fn handle_arp(&mut self, now: Instant, ethernet: EthernetRepr, frame: &mut Frame) {
        self.counters.arp.received += 1;
        let repr = match frame.first().map(|first| ArpPacket::new_checked(first)) {
            Some(Ok(packet)) => ArpRepr::parse(&packet),
            Some(Err(WireError::Unsupported)) => {
                self.counters.arp.unsupported += 1;
                return;
            }
            _ => {
                self.counters.arp.truncated += 1;
                return;
            }
        };
        let sender = repr.sender_protocol;
        let probe = sender.is_unspecified();
        // A station that speaks for another's hardware address is misconfigured, or lies.
        if repr.sender_hardware != ethernet.source
            || !(probe || super::is_host(sender))
            || (!probe && self.is_broadcast(sender))
        {
            self.counters.arp.bad_sender += 1;
            return;
        }
        let request = repr.operation == ArpOperation::Request;
        let probed = (probe && request).then_some(repr.target_protocol);
        if self.detect_conflict(now, sender, probed, repr) {
            return;
        }
        let asked_us = request && self.is_own(repr.target_protocol);
        if !probe {
            let for_us = request || repr.target_hardware == self.mac;
            if for_us {
                self.neighbours.handle_claim(
                    now,
                    sender.into(),
                    repr.sender_hardware,
                    request,
                    asked_us,
                );
                self.flush_resolved(now);
            } else {
                self.counters.arp.bad_sender += 1;
            }
        }
        if asked_us {
            self.answer_arp(repr, core::mem::take(frame));
        }
    }

    /// RFC 5227: looks for another station that has, or wants, an address of ours. Says whether
    /// the packet claims one of ours, and so must not be learned from.
    fn detect_conflict(
        &mut self,
        now: Instant,
        sender: Ipv4Addr,
        probed: Option<Ipv4Addr>,
        repr: ArpRepr,
    ) -> bool {
        let mut claims_ours = false;
        for slot in self.addresses.iter_mut() {
            let Some(own) = &mut slot.0 else { continue };
            claims_ours |= own.address == sender;
            let event = own.handle_arp(now, sender, probed);
            self.counters.arp.conflicts += u64::from(event.is_some());
            let (address, other) = (own.address.into(), repr.sender_hardware);
            match event {
                Some(ConflictEvent::Lost) => {
                    self.events.push(Event::AddressLost { address, other });
                }
                Some(ConflictEvent::Defended) => {
                    self.events.push(Event::AddressDefended { address, other });
                }
                Some(ConflictEvent::Acquired) | None => {}
            }
        }
        claims_ours
    }

    /// Answers a request in the page that it came in.
    fn answer_arp(&mut self, request: ArpRepr, frame: Frame) {
        self.counters.arp.requests_for_us += 1;
        let reply = ArpRepr {
            operation: ArpOperation::Reply,
            sender_hardware: self.mac,
            sender_protocol: request.target_protocol,
            target_hardware: request.sender_hardware,
            target_protocol: request.sender_protocol,
        };
        let ethernet = EthernetRepr {
            destination: request.sender_hardware,
            source: self.mac,
            ethertype: EtherType::Arp,
        };
        let answered = (|| {
            if self.transmit.room(Origin::Answer) == 0 {
                return None;
            }
            let segment = frame.into_segments().next()?;
            let mut page = segment.keep().ok()?.into_page_mut().ok()?;
            page.truncate(crate::wire::arp::PACKET_LEN);
            reply.emit(page.first_chunk_mut()?);
            ethernet.emit(page.prepend(ethernet::HEADER_LEN)?.first_chunk_mut()?);
            self.transmit.push(page.into());
            Some(())
        })();
        self.counters.arp.not_answered += u64::from(answered.is_none());
    }

    // Apart from its caller: see "What an image weighs" in CONTRIBUTING.md.
    #[inline(never)]
    fn handle_ipv4(&mut self, now: Instant, ethernet: EthernetRepr, frame: &mut Frame) {
        let length = frame.len();
        let (repr, header_len) = match frame
            .first()
            .map(|first| Ipv4Packet::new_checked(first, length))
        {
            Some(Ok(packet)) => (Ipv4Repr::parse(&packet), packet.header_len()),
            error => {
                let counter = match error {
                    Some(Err(WireError::Checksum)) => &mut self.counters.ipv4.bad_checksum,
                    Some(Err(WireError::Malformed)) => &mut self.counters.ipv4.malformed,
                    _ => &mut self.counters.ipv4.truncated,
                };
                *counter += 1;
                return;
            }
        };
        let [destination, source] = self.relations([repr.destination, repr.source]);
        let broadcast = destination.broadcast;
        if !destination.own
            && !broadcast
            && !self.is_for_unconfigured(ethernet, &repr, header_len, frame)
        {
            if repr.destination.is_loopback() {
                self.counters.ipv4.bad_destination += 1;
            } else {
                self.counters.ipv4.not_for_us += 1;
            }
            return;
        }
        // RFC 1122 §3.3.6: a link-layer broadcast must carry a broadcast datagram.
        if ethernet.destination.is_broadcast() && !broadcast {
            self.counters.ipv4.broadcast_mismatch += 1;
            return;
        }
        if is_bad_source(repr.source, source, repr.destination) {
            self.counters.ipv4.bad_source += 1;
            return;
        }
        // What follows the datagram is padding (RFC 894), or worse.
        frame.truncate(header_len + usize::from(repr.payload_len));
        let received = Received {
            frame,
            repr,
            header_len,
            broadcast,
        };
        if repr.more_fragments || repr.fragment_offset != 0 {
            self.handle_fragment(now, received);
        } else {
            self.handle_datagram(now, received);
        }
    }

    /// Whether a datagram is for the socket of a DHCP client: to an address that a server wants to give us (RFC 2131 §4.1),
    /// in a frame to this interface alone, and whole.
    // Apart from its caller: see "What an image weighs" in CONTRIBUTING.md.
    #[inline(never)]
    fn is_for_unconfigured(
        &self,
        ethernet: EthernetRepr,
        repr: &Ipv4Repr,
        header_len: usize,
        frame: &Frame,
    ) -> bool {
        if repr.protocol != IpProtocol::Udp
            || ethernet.destination != self.mac
            || !super::is_host(repr.destination)
            || repr.more_fragments
            || repr.fragment_offset != 0
        {
            return false;
        }
        let bytes = frame.first().and_then(|first| first.get(header_len..));
        let Some(Ok(udp)) = bytes.map(UdpPacket::new_quoted) else {
            return false;
        };
        let source = (repr.source, udp.source_port()).into();
        let destination = (repr.destination, udp.destination_port()).into();
        self.sockets.is_for_unconfigured(source, destination)
    }

    // Apart from its caller: see "What an image weighs" in CONTRIBUTING.md.
    #[inline(never)]
    fn handle_fragment(&mut self, now: Instant, received: Received<'_>) {
        let repr = received.repr;
        let fragment = Fragment {
            key: FragmentKey {
                source: repr.source,
                destination: repr.destination,
                protocol: repr.protocol.into(),
                identification: repr.identification,
            },
            header_len: received.header_len,
            offset: usize::from(repr.fragment_offset),
            payload_len: received.payload_len(),
            more: repr.more_fragments,
        };
        let whole = self
            .reassembly
            .handle_fragment(now, fragment, received.frame);
        let Reassembled::Complete(mut frame) = whole else {
            return;
        };
        let repr = Ipv4Repr {
            payload_len: frame.len() as u16,
            more_fragments: false,
            fragment_offset: 0,
            ..repr
        };
        // A header for what quotes it; the first page has no room before its bytes.
        let mut header = [0; ipv4::HEADER_LEN];
        repr.emit(&mut header);
        if self.prepend(&mut frame, &header).is_err() || !self.pull_up(&mut frame, HEADERS) {
            self.reassembly.counters.no_pages += 1;
            return;
        }
        self.handle_datagram(
            now,
            Received {
                frame: &mut frame,
                repr,
                header_len: ipv4::HEADER_LEN,
                broadcast: received.broadcast,
            },
        );
    }

    fn handle_datagram(&mut self, now: Instant, received: Received<'_>) {
        match received.repr.protocol {
            IpProtocol::Udp => self.handle_udp(now, received),
            IpProtocol::Icmp => self.handle_icmp(now, received),
            IpProtocol::Tcp if self.tcp.is_there() => self.handle_tcp(now, received),
            IpProtocol::Tcp | IpProtocol::Other(_) => {
                self.counters.ipv4.unknown_protocol += 1;
                let message = Icmpv4Message::Unreachable(Unreachable::Protocol);
                self.send_icmp_error(now, message, &received);
            }
        }
    }

    /// An address of ours to answer from: the one that was asked, never a broadcast address.
    pub(super) fn answer_source(&self, received: &Received<'_>) -> Option<Ipv4Addr> {
        if received.broadcast {
            self.source_for(received.repr.source)
        } else {
            Some(received.repr.destination)
        }
    }
}

/// Sources that no datagram from the wire can have (RFC 1122 §3.2.1.3, RFC 1812 §5.3.7).
fn is_bad_source(source: Ipv4Addr, relation: Relation, destination: Ipv4Addr) -> bool {
    if source.is_unspecified() {
        // A host that has no address yet asks all.
        return !destination.is_broadcast();
    }
    !super::is_host(source) || relation.network || relation.own || relation.broadcast
}
