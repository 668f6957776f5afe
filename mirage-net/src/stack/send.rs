//! From a transport's payload to a frame: route, header, fragments, neighbour.

use core::fmt;
use core::net::{IpAddr, Ipv4Addr};

use mirage_core::{Checksum as ChecksumState, Frame, Instant, MacAddress};

use super::{HEADROOM, Stack, is_host};
use crate::arp::{Origin, Resolution};
use crate::ip::{Sent, fragments};
use crate::udp::Fragmentation;
use crate::wire::ethernet::{self, EtherType, EthernetRepr};
use crate::wire::ipv4::{self, IpProtocol, Ipv4Packet, Ipv4Repr, MAX_DATAGRAM_LEN};
use crate::wire::{Checksum, UdpPacket};

/// Why a datagram was not sent. Nothing of it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum SendError {
    /// Longer than the path takes, and fragments are refused; or than any datagram, or all
    /// pages of the queue. `maximum` bytes of payload fit.
    TooLong {
        /// Bytes of payload that would fit.
        maximum: usize,
    },
    /// No route to the destination.
    NoRoute,
    /// No address of ours to send from.
    NoAddress,
    /// Nothing can be sent there: unspecified, loopback, class E, our own address, port 0.
    BadDestination,
    /// A broadcast address, and the socket has no permission.
    BroadcastNotPermitted,
    /// The next hop does not answer ARP.
    Unreachable,
    /// Too many datagrams wait for neighbours. Try later.
    NoRoomToWait,
    /// The transmit queue is full. Try when it has been transmitted.
    QueueFull,
    /// The pool has no page. Try later.
    NoPages,
    /// The address family is not implemented.
    UnsupportedFamily,
    /// The handle names no open socket.
    NotOpen,
    /// No destination was given, and the socket is not connected.
    NotConnected,
    /// The stack is in use: called inside of [`SharedStack::with`](crate::SharedStack::with), or
    /// by a service.
    InUse,
}

impl SendError {
    /// Whether the same datagram may be sent later, when pages and queues are free again.
    pub const fn is_temporary(self) -> bool {
        matches!(
            self,
            SendError::QueueFull | SendError::NoPages | SendError::NoRoomToWait
        )
    }
}

impl fmt::Display for SendError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SendError::TooLong { maximum } => {
                write!(f, "the datagram is too long: {maximum} bytes would fit")
            }
            SendError::NoRoute => f.write_str("no route to the destination"),
            SendError::NoAddress => f.write_str("no address to send from"),
            SendError::BadDestination => f.write_str("nothing can be sent to this destination"),
            SendError::BroadcastNotPermitted => f.write_str("the socket may not broadcast"),
            SendError::Unreachable => f.write_str("the next hop does not answer"),
            SendError::NoRoomToWait => f.write_str("too many datagrams wait for neighbours"),
            SendError::QueueFull => f.write_str("the transmit queue is full"),
            SendError::NoPages => f.write_str("the pool has no page"),
            SendError::UnsupportedFamily => f.write_str("the address family is not implemented"),
            SendError::NotOpen => f.write_str("the socket is closed"),
            SendError::NotConnected => f.write_str("the socket has no peer"),
            SendError::InUse => f.write_str("the stack is in use by the caller itself"),
        }
    }
}

impl core::error::Error for SendError {}

/// What a datagram's header says, and why it is sent.
#[derive(Debug, Clone, Copy)]
pub(super) struct Outgoing {
    pub(super) source: Ipv4Addr,
    pub(super) destination: Ipv4Addr,
    pub(super) protocol: IpProtocol,
    pub(super) type_of_service: u8,
    pub(super) time_to_live: u8,
    pub(super) fragmentation: Fragmentation,
    pub(super) origin: Origin,
}

/// Who takes the frame on the link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum NextHop {
    Group(MacAddress),
    Neighbour(IpAddr),
}

impl Stack<'_> {
    /// The address of ours to send from to a destination: the one in its network, or in its
    /// gateway's, else the first.
    pub(super) fn source_for(&self, destination: Ipv4Addr) -> Option<Ipv4Addr> {
        let usable = || self.own().filter(|own| own.is_usable());
        let on_link = |address: IpAddr| usable().find(move |own| own.cidr.contains(address));
        on_link(destination.into())
            .or_else(|| on_link(self.routes.lookup(destination.into())?.gateway?))
            .or_else(|| usable().next())
            .map(|own| own.address)
    }

    fn next_hop(&self, destination: Ipv4Addr) -> Result<NextHop, SendError> {
        let [relation] = self.relations([destination]);
        if relation.broadcast {
            return Ok(NextHop::Group(MacAddress::BROADCAST));
        }
        if destination.is_multicast() {
            // RFC 1112 §6.4: the low 23 bits.
            let [_, b, c, d] = destination.octets();
            return Ok(NextHop::Group(MacAddress([0x01, 0, 0x5e, b & 0x7f, c, d])));
        }
        if !is_host(destination) || relation.own {
            return Err(SendError::BadDestination);
        }
        let destination = IpAddr::V4(destination);
        let link = self
            .own()
            .filter(|own| own.is_usable() && own.cidr.contains(destination))
            .map(|own| own.cidr.prefix_len())
            .max();
        match self.routes.lookup(destination) {
            Some(route) if link.is_none_or(|link| route.destination.prefix_len() > link) => {
                Ok(NextHop::Neighbour(route.gateway.unwrap_or(destination)))
            }
            _ if link.is_some() => Ok(NextHop::Neighbour(destination)),
            _ => Err(SendError::NoRoute),
        }
    }

    /// Sends a transport's header and payload, and takes them out of `payload`, whose pages are not
    /// of a receive reserve. Borrowed, not moved.
    pub(super) fn send_datagram(
        &mut self,
        now: Instant,
        out: Outgoing,
        payload: &mut Frame,
    ) -> Result<(), SendError> {
        let result = self.try_send(now, out, payload);
        let counters = &mut self.counters.send;
        let counter = match result {
            Ok(()) => &mut counters.datagrams,
            Err(SendError::TooLong { .. }) => &mut counters.too_long,
            Err(SendError::NoRoute | SendError::NoAddress) => &mut counters.no_route,
            Err(SendError::Unreachable) => &mut counters.unreachable,
            Err(SendError::NoRoomToWait) => &mut counters.no_room_to_wait,
            Err(SendError::QueueFull) => &mut counters.queue_full,
            Err(SendError::NoPages) => &mut counters.no_pages,
            Err(_) => &mut counters.bad_destination,
        };
        *counter += 1;
        result
    }

    fn try_send(
        &mut self,
        now: Instant,
        out: Outgoing,
        payload: &mut Frame,
    ) -> Result<(), SendError> {
        let hop = self.next_hop(out.destination)?;
        let path = self.path_mtu.lookup(now, out.destination.into(), self.mtu);
        let mtu = usize::from(path.mtu);
        let length = ipv4::HEADER_LEN + packet_len(payload);
        let longest = match out.fragmentation {
            Fragmentation::Refused => mtu,
            Fragmentation::Allowed => {
                // All fragments at once, or none.
                let room = mtu.saturating_sub(ipv4::HEADER_LEN) / 8 * 8;
                let capacity = match out.origin {
                    Origin::Own => self.transmit.capacity(),
                    Origin::Answer => self.transmit.capacity() - self.transmit.capacity() / 4,
                };
                let all = room.saturating_mul(capacity) + ipv4::HEADER_LEN;
                all.clamp(mtu.min(MAX_DATAGRAM_LEN), MAX_DATAGRAM_LEN)
            }
        };
        if length > longest || ipv4::HEADER_LEN + payload.len() > MAX_DATAGRAM_LEN {
            return Err(SendError::TooLong {
                maximum: longest - ipv4::HEADER_LEN,
            });
        }
        let identification = self.identifications.next(
            &self.random,
            out.source.into(),
            out.destination.into(),
            out.protocol.into(),
        );
        let dont_fragment =
            out.fragmentation == Fragmentation::Refused && path.may_forbid_fragments;
        if let Some(segmentation) = payload.metadata.segmentation
            && !dont_fragment
        {
            // The device gives each segment the number after that of the one before.
            for _ in 1..payload
                .len()
                .div_ceil(usize::from(segmentation.size.max(1)))
            {
                let (source, destination) = (out.source.into(), out.destination.into());
                let protocol = out.protocol.into();
                let random = &self.random;
                self.identifications
                    .next(random, source, destination, protocol);
            }
        }
        let repr = Ipv4Repr {
            source: out.source,
            destination: out.destination,
            protocol: out.protocol,
            type_of_service: out.type_of_service,
            payload_len: payload.len() as u16,
            time_to_live: out.time_to_live,
            identification,
            dont_fragment,
            more_fragments: false,
            fragment_offset: 0,
        };
        let mut header = [0; ipv4::HEADER_LEN];
        repr.emit(&mut header);
        let mut ports = [0; 4];
        if dont_fragment {
            payload.copy_to_slice(0, &mut ports);
        }
        self.prepend(payload, &header)?;
        shift_metadata(payload, ipv4::HEADER_LEN);
        match hop {
            NextHop::Group(mac) => self.transmit_datagram(now, mac, payload, out.origin)?,
            NextHop::Neighbour(address) => {
                match self.neighbours.resolve(now, address, out.origin) {
                    Resolution::Known(mac) => {
                        self.transmit_datagram(now, mac, payload, out.origin)?;
                    }
                    Resolution::Pending(index) => {
                        if !self
                            .neighbours
                            .hold(index, out.origin, core::mem::take(payload))
                        {
                            return Err(SendError::NoRoomToWait);
                        }
                    }
                    Resolution::Failed => return Err(SendError::Unreachable),
                    Resolution::Full => return Err(SendError::NoRoomToWait),
                }
            }
        }
        // TCP knows by its sequence numbers what it has sent.
        if dont_fragment && out.protocol != IpProtocol::Tcp {
            self.sent.record(Sent {
                source: out.source.into(),
                destination: out.destination.into(),
                protocol: out.protocol.into(),
                identification,
                ports,
                length: length as u16,
            });
        }
        Ok(())
    }

    /// Puts a datagram whose next hop is known into the transmit queue, in fragments if need be.
    fn transmit_datagram(
        &mut self,
        now: Instant,
        mac: MacAddress,
        datagram: &mut Frame,
        origin: Origin,
    ) -> Result<(), SendError> {
        let (repr, mtu) = match datagram.first().map(|first| Ipv4Packet::new_quoted(first)) {
            Some(Ok(packet)) => {
                let destination = packet.destination().into();
                let path = self.path_mtu.lookup(now, destination, self.mtu);
                (Ipv4Repr::parse(&packet), usize::from(path.mtu))
            }
            _ => return Err(SendError::BadDestination),
        };
        if packet_len(datagram) > mtu {
            // A segmented one is refused as a whole: its segments are TCP's, and of another size then.
            if repr.dont_fragment || datagram.metadata.segmentation.is_some() {
                return Err(SendError::TooLong {
                    maximum: mtu.saturating_sub(ipv4::HEADER_LEN),
                });
            }
            return self.transmit_fragments(mac, repr, mtu, datagram, origin);
        }
        if self.transmit.room(origin) == 0 {
            return Err(SendError::QueueFull);
        }
        let mut header = [0; ethernet::HEADER_LEN];
        self.ethernet_header(mac).emit(&mut header);
        self.prepend(datagram, &header)?;
        shift_metadata(datagram, ethernet::HEADER_LEN);
        if datagram.segments().len() > usize::from(self.offloads.fragments.max(1)) {
            *datagram = self.compact(datagram)?;
            self.counters.compacted += 1;
        }
        self.transmit.push(core::mem::take(datagram));
        Ok(())
    }

    /// Cuts a datagram: each fragment is copied into a page of its own, behind its headers.
    fn transmit_fragments(
        &mut self,
        mac: MacAddress,
        repr: Ipv4Repr,
        mtu: usize,
        datagram: &mut Frame,
        origin: Origin,
    ) -> Result<(), SendError> {
        // No device completes a checksum that is spread over fragments.
        complete_checksum(datagram)?;
        let mtu = mtu.min(self.pool.block_size() - HEADROOM + ipv4::HEADER_LEN);
        let payload_len = usize::from(repr.payload_len);
        let count = fragments(payload_len, ipv4::HEADER_LEN, mtu).count();
        if count > self.transmit.room(origin) {
            return Err(SendError::QueueFull);
        }
        if count > self.pool.free() {
            return Err(SendError::NoPages);
        }
        let ethernet = self.ethernet_header(mac);
        for piece in fragments(payload_len, ipv4::HEADER_LEN, mtu) {
            let repr = Ipv4Repr {
                payload_len: piece.length as u16,
                more_fragments: piece.more,
                fragment_offset: piece.offset as u16,
                ..repr
            };
            let mut page = self.pool.alloc().ok_or(SendError::NoPages)?;
            page.reset(HEADROOM).map_err(|_| SendError::NoPages)?;
            let room = page.append(piece.length).ok_or(SendError::NoPages)?;
            datagram.copy_to_slice(ipv4::HEADER_LEN + piece.offset, room);
            let mut frame = Frame::from(page);
            let mut header = [0; ipv4::HEADER_LEN];
            repr.emit(&mut header);
            self.prepend(&mut frame, &header)?;
            let mut header = [0; ethernet::HEADER_LEN];
            ethernet.emit(&mut header);
            self.prepend(&mut frame, &header)?;
            self.transmit.push(frame);
            self.counters.send.fragments += 1;
        }
        self.counters.send.fragmented += 1;
        Ok(())
    }

    /// Moves datagrams whose neighbour answered into the transmit queue.
    pub(super) fn flush_resolved(&mut self, now: Instant) {
        // One datagram may become many fragments: an empty queue takes what was let wait.
        while self.neighbours.has_resolved()
            && (self.transmit.len() == 0 || self.transmit.room(Origin::Own) >= 46)
        {
            let Some((mac, mut frame)) = self.neighbours.poll_resolved() else {
                return;
            };
            let addresses = connected_pair(&frame);
            if let Err(error) = self.transmit_datagram(now, mac, &mut frame, Origin::Own) {
                self.counters.send.dropped_late += 1;
                if let SendError::TooLong { maximum } = error {
                    let mtu = (maximum + ipv4::HEADER_LEN) as u16;
                    self.report(addresses, crate::SocketError::PathMtu(mtu));
                }
            }
        }
    }

    /// A datagram was dropped because its next hop does not answer: tells a connected socket.
    pub(super) fn report_unreachable(&mut self, datagram: &Frame) {
        let addresses = connected_pair(datagram);
        self.report(addresses, crate::SocketError::NeighbourUnreachable);
    }

    fn report(
        &mut self,
        addresses: Option<(core::net::SocketAddr, core::net::SocketAddr)>,
        error: crate::SocketError,
    ) {
        if let Some((local, remote)) = addresses
            && let Some(handle) = self.sockets.find_connected(local, remote)
        {
            self.sockets.fail(handle, error);
        }
    }

    pub(super) fn ethernet_header(&self, destination: MacAddress) -> EthernetRepr {
        EthernetRepr {
            destination,
            source: self.mac,
            ethertype: EtherType::Ipv4,
        }
    }

    /// Puts a header before a frame: into the first page's headroom, else into a page of its own.
    #[inline]
    pub(super) fn prepend(&self, frame: &mut Frame, header: &[u8]) -> Result<(), SendError> {
        if let Some(page) = frame.first_mut().and_then(|first| first.as_page_mut())
            && let Some(room) = page.prepend(header.len())
        {
            room.copy_from_slice(header);
            return Ok(());
        }
        let mut page = self.pool.alloc().ok_or(SendError::NoPages)?;
        page.reset(HEADROOM).map_err(|_| SendError::NoPages)?;
        page.extend_from_slice(header)
            .map_err(|_| SendError::NoPages)?;
        if frame.push_front(page).is_ok() {
            return Ok(());
        }
        // No segment left: all behind one another, once.
        let mut whole = self.compact(frame)?;
        let mut page = self.pool.alloc().ok_or(SendError::NoPages)?;
        page.reset(HEADROOM).map_err(|_| SendError::NoPages)?;
        page.extend_from_slice(header)
            .map_err(|_| SendError::NoPages)?;
        whole.push_front(page).map_err(|_| SendError::NoPages)?;
        *frame = whole;
        Ok(())
    }

    /// Copies a frame into as few pages as it needs.
    fn compact(&self, frame: &Frame) -> Result<Frame, SendError> {
        let mut whole = Frame::new();
        whole.metadata = frame.metadata;
        let mut done = 0;
        let length = frame.len();
        while done < length {
            let mut page = self.pool.alloc().ok_or(SendError::NoPages)?;
            let headroom = if done == 0 && length <= page.tailroom() - HEADROOM {
                HEADROOM
            } else {
                0
            };
            page.reset(headroom).map_err(|_| SendError::NoPages)?;
            let count = page.tailroom().min(length - done);
            let room = page.append(count).ok_or(SendError::NoPages)?;
            done += frame.copy_to_slice(done, room);
            whole.push(page).map_err(|_| SendError::NoPages)?;
        }
        Ok(whole)
    }
}

/// How long what goes out is: of a frame that the device cuts, the longest piece.
fn packet_len(frame: &Frame) -> usize {
    match frame.metadata.segmentation {
        Some(segmentation) => usize::from(segmentation.header_len) + usize::from(segmentation.size),
        None => frame.len(),
    }
}

/// A header came before the frame: moves the place of a partial checksum, and the end of all headers.
#[inline(always)]
fn shift_metadata(frame: &mut Frame, count: usize) {
    if let Some(segmentation) = &mut frame.metadata.segmentation {
        segmentation.header_len = segmentation.header_len.saturating_add(count as u16);
    }
    if let ChecksumState::Partial { start, .. } = &mut frame.metadata.checksum {
        *start = start.saturating_add(count as u16);
    }
}

/// Completes a partial checksum in software.
fn complete_checksum(frame: &mut Frame) -> Result<(), SendError> {
    let ChecksumState::Partial { start, offset } = frame.metadata.checksum else {
        return Ok(());
    };
    frame.metadata.checksum = ChecksumState::Unverified;
    let start = usize::from(start);
    let sum = sum_frame(frame, start, frame.len().saturating_sub(start)).finish();
    // Zero says that there is no checksum (RFC 768); 0xffff is the same sum.
    let sum = if sum == 0 { 0xffff } else { sum };
    let at = start + usize::from(offset);
    let field = frame
        .first_mut()
        .and_then(|first| first.as_page_mut())
        .and_then(|page| page.get_mut(at..at + 2))
        .ok_or(SendError::NoPages)?;
    field.copy_from_slice(&sum.to_be_bytes());
    Ok(())
}

/// The sum of `length` bytes of a frame from `offset` on.
pub(super) fn sum_frame(frame: &Frame, offset: usize, length: usize) -> Checksum {
    let mut sum = Checksum::new();
    let mut skip = offset;
    let mut rest = length;
    for segment in frame.segments() {
        let bytes = segment.get(skip..).unwrap_or_default();
        skip = skip.saturating_sub(segment.len());
        let bytes = bytes.get(..rest).unwrap_or(bytes);
        sum.add_bytes(bytes);
        rest -= bytes.len();
    }
    sum
}

/// Local and remote address of a UDP datagram of ours.
fn connected_pair(datagram: &Frame) -> Option<(core::net::SocketAddr, core::net::SocketAddr)> {
    let mut bytes = [0; ipv4::HEADER_LEN + 8];
    datagram.copy_to_slice(0, &mut bytes);
    let packet = Ipv4Packet::new_quoted(&bytes).ok()?;
    if packet.protocol() != IpProtocol::Udp {
        return None;
    }
    let udp = UdpPacket::new_quoted(packet.payload()).ok()?;
    Some((
        (packet.source(), udp.source_port()).into(),
        (packet.destination(), udp.destination_port()).into(),
    ))
}
