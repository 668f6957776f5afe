//! UDP of the stack: datagrams to services and sockets, and from them.

use core::net::{IpAddr, Ipv4Addr, SocketAddr};

use mirage_core::{Checksum as ChecksumState, Frame, Instant, OffloadFlags, PageMut};

use super::receive::Received;
use super::send::{Outgoing, sum_frame};
use super::{HEADROOM, SendError, Stack, is_host};
use crate::arp::Origin;
use crate::udp::{
    BindError, Datagram, Deliver, Fragmentation, ServiceOptions, SocketError, UdpHandle,
    UdpOptions, UdpRequest,
};
use crate::wire::Checksum;
use crate::wire::ethernet;
use crate::wire::icmpv4::{Icmpv4Message, Unreachable};
use crate::wire::ipv4::{self, IpProtocol, MAX_DATAGRAM_LEN};
use crate::wire::udp::{CHECKSUM_OFFSET, HEADER_LEN, UdpPacket, UdpRepr};

impl<'a> Stack<'a> {
    /// Opens a UDP socket (mutator).
    ///
    /// # Errors
    /// [`BindError`].
    pub fn udp_bind(&mut self, options: UdpOptions) -> Result<UdpHandle, BindError> {
        let IpAddr::V4(local) = options.local.ip() else {
            return Err(BindError::UnsupportedFamily);
        };
        if !local.is_unspecified() && !self.is_own(local) {
            return Err(BindError::AddressNotAvailable);
        }
        match options.remote {
            Some(SocketAddr::V4(remote)) => {
                let broadcast = options.broadcast && self.is_broadcast(*remote.ip());
                if remote.port() == 0 || !(is_host(*remote.ip()) || broadcast) {
                    return Err(BindError::BadRemote);
                }
            }
            Some(SocketAddr::V6(_)) => return Err(BindError::UnsupportedFamily),
            None => {}
        }
        let address = (!local.is_unspecified()).then_some(IpAddr::V4(local));
        let services = &self.services;
        let random = &mut self.random;
        self.sockets
            .bind(options, random, |port| services.collides(address, port))
    }

    /// Closes a socket, and drops what it has received; says whether it was open (mutator).
    pub fn udp_close(&mut self, handle: UdpHandle) -> bool {
        self.sockets.close(handle)
    }

    /// Local address and port of a socket (getter).
    pub fn udp_local(&self, handle: UdpHandle) -> Option<SocketAddr> {
        Some(self.sockets.options(handle)?.local)
    }

    /// The peer of a connected socket (getter).
    pub fn udp_remote(&self, handle: UdpHandle) -> Option<SocketAddr> {
        self.sockets.options(handle)?.remote
    }

    /// Whether a socket has a datagram or an error for its owner, or is closed (getter).
    pub fn udp_readable(&self, handle: UdpHandle) -> bool {
        self.sockets.peek(handle).is_some()
            || self.sockets.has_error(handle)
            || !self.sockets.is_open(handle)
    }

    /// The oldest datagram of a socket, in the pages that it was received in: no copy (mutator).
    ///
    /// # Errors
    /// What ICMP or ARP said of a datagram that a connected socket has sent; the next call goes
    /// on with what was received.
    pub fn udp_receive(&mut self, handle: UdpHandle) -> Result<Option<Datagram>, SocketError> {
        match self.sockets.take_error(handle) {
            Some(error) => Err(error),
            None => Ok(self.sockets.receive(handle)),
        }
    }

    /// Sends a copy of `payload` (mutator): the one copy is from there into the pages that are
    /// sent. `remote` may be left out for a connected socket, and is ignored by it.
    ///
    /// # Errors
    /// [`SendError`]; nothing was sent then.
    pub fn udp_send(
        &mut self,
        now: Instant,
        handle: UdpHandle,
        remote: Option<SocketAddr>,
        payload: &[u8],
    ) -> Result<(), SendError> {
        self.udp_send_from(now, handle, remote, None, payload)
    }

    /// As [`udp_send`](Self::udp_send), from a chosen address of ours (mutator): an answer comes
    /// from the address that was asked, [`Datagram::destination`]. Without one, or with a
    /// broadcast address, the route chooses.
    ///
    /// # Errors
    /// [`SendError`]; nothing was sent then. [`SendError::NoAddress`] if `source` is not ours.
    pub fn udp_send_from(
        &mut self,
        now: Instant,
        handle: UdpHandle,
        remote: Option<SocketAddr>,
        source: Option<IpAddr>,
        payload: &[u8],
    ) -> Result<(), SendError> {
        let first = self.pool.block_size() - HEADROOM;
        let mut frame = Frame::new();
        let mut rest = payload;
        loop {
            let most = if frame.is_empty() {
                first
            } else {
                self.pool.block_size()
            };
            let (bytes, after) = rest.split_at(rest.len().min(most));
            let mut page = self.pool.alloc().ok_or(SendError::NoPages)?;
            if frame.segments().is_empty() {
                page.reset(HEADROOM).map_err(|_| SendError::NoPages)?;
            }
            page.extend_from_slice(bytes)
                .map_err(|_| SendError::NoPages)?;
            if frame.push(page).is_err() {
                if frame.segments().len() < Frame::MAX_SEGMENTS {
                    return Err(SendError::NoPages);
                }
                let maximum = first + (Frame::MAX_SEGMENTS - 1) * self.pool.block_size();
                return Err(SendError::TooLong { maximum });
            }
            rest = after;
            if rest.is_empty() {
                break;
            }
        }
        self.udp_send_frame(now, handle, remote, source, frame)
    }

    /// Sends a page (mutator): without a copy when it has 42 bytes of headroom
    /// ([`HEADROOM`] leaves that), is not larger than the path takes, and the device takes it.
    ///
    /// # Errors
    /// [`SendError`]; nothing was sent then.
    pub fn udp_send_page(
        &mut self,
        now: Instant,
        handle: UdpHandle,
        remote: Option<SocketAddr>,
        payload: PageMut,
    ) -> Result<(), SendError> {
        self.udp_send_frame(now, handle, remote, None, payload.into())
    }

    /// Sends a chain of segments, static ones among them, from a chosen address of ours
    /// (mutator): an answer comes from the address that was asked, [`Datagram::destination`].
    ///
    /// Headers go into the first page's headroom, else into a page of their own. A device that
    /// takes fewer segments makes it one copy.
    ///
    /// # Errors
    /// [`SendError`]; nothing was sent then.
    pub fn udp_send_frame(
        &mut self,
        now: Instant,
        handle: UdpHandle,
        remote: Option<SocketAddr>,
        source: Option<IpAddr>,
        payload: Frame,
    ) -> Result<(), SendError> {
        let options = *self.sockets.options(handle).ok_or(SendError::NotOpen)?;
        let remote = options.remote.or(remote).ok_or(SendError::NotConnected)?;
        let SocketAddr::V4(remote) = remote else {
            return Err(SendError::UnsupportedFamily);
        };
        let destination = *remote.ip();
        if remote.port() == 0 {
            return Err(SendError::BadDestination);
        }
        let broadcast = self.is_broadcast(destination);
        if broadcast && !options.broadcast {
            return Err(SendError::BroadcastNotPermitted);
        }
        let bound = match (source, options.local.ip()) {
            (Some(IpAddr::V6(_)), _) | (None, IpAddr::V6(_)) => {
                return Err(SendError::UnsupportedFamily);
            }
            (Some(IpAddr::V4(source)), _) | (None, IpAddr::V4(source)) => source,
        };
        let unconfigured = options.unconfigured
            && source == Some(IpAddr::V4(Ipv4Addr::UNSPECIFIED))
            && destination.is_broadcast();
        let source = if unconfigured {
            // Asked for, whatever other addresses there are (RFC 2131 §4.1).
            Ipv4Addr::UNSPECIFIED
        } else if !bound.is_unspecified() && self.is_own(bound) {
            bound
        } else if bound.is_unspecified() || self.is_broadcast(bound) {
            match self.source_for(destination) {
                Some(source) => source,
                // A host that asks for its address has none to ask from (RFC 2131 §4.1).
                None if destination.is_broadcast() => Ipv4Addr::UNSPECIFIED,
                None => return Err(SendError::NoAddress),
            }
        } else {
            return Err(SendError::NoAddress);
        };
        // Datagrams that come straight from a receive ring are exchanged first.
        let mut payload = payload.keep().map_err(|_| SendError::NoPages)?;
        let out = Outgoing {
            source,
            destination,
            protocol: IpProtocol::Udp,
            type_of_service: 0,
            time_to_live: options.time_to_live,
            fragmentation: options.fragmentation,
            origin: Origin::Own,
        };
        self.send_udp(now, out, options.local.port(), remote.port(), &mut payload)
            .map_err(less_header)
    }

    /// Puts the UDP header before a payload and sends it.
    fn send_udp(
        &mut self,
        now: Instant,
        out: Outgoing,
        source_port: u16,
        destination_port: u16,
        payload: &mut Frame,
    ) -> Result<(), SendError> {
        let length = payload.len() + HEADER_LEN;
        if length > MAX_DATAGRAM_LEN - ipv4::HEADER_LEN {
            self.counters.send.too_long += 1;
            return Err(SendError::TooLong {
                maximum: MAX_DATAGRAM_LEN - ipv4::HEADER_LEN,
            });
        }
        let mut repr = UdpRepr {
            source_port,
            destination_port,
            payload_len: payload.len() as u16,
            checksum: 0,
        };
        let mut pseudo = Checksum::new();
        pseudo.add_pseudo_header(
            out.source.into(),
            out.destination.into(),
            out.protocol.into(),
            length as u32,
        );
        let path = self.path_mtu.lookup(now, out.destination.into(), self.mtu);
        let whole = length + ipv4::HEADER_LEN <= usize::from(path.mtu);
        let offloaded = self
            .offloads
            .flags
            .contains(OffloadFlags::TRANSMIT_PARTIAL_V4);
        let mut header = [0; HEADER_LEN];
        payload.metadata = Default::default();
        if offloaded && whole {
            repr.checksum = pseudo.sum();
            payload.metadata.checksum = ChecksumState::Partial {
                start: 0,
                offset: CHECKSUM_OFFSET as u16,
            };
        } else {
            repr.emit(&mut header);
            pseudo.add_bytes(&header);
            for segment in payload.segments() {
                pseudo.add_bytes(segment);
            }
            // RFC 768: zero says that there is none; 0xffff is the same sum.
            let sum = pseudo.finish();
            repr.checksum = if sum == 0 { 0xffff } else { sum };
        }
        repr.emit(&mut header);
        self.prepend(payload, &header)?;
        self.send_datagram(now, out, payload)
    }

    pub(super) fn handle_udp(&mut self, now: Instant, received: Received<'_>) {
        let available = received.payload_len();
        let bytes = received.frame.first();
        let bytes = bytes.and_then(|first| first.get(received.header_len..));
        let (repr, length) = match bytes.map(|bytes| UdpPacket::new_checked(bytes, available)) {
            Some(Ok(packet)) if packet.destination_port() != 0 => {
                (UdpRepr::parse(&packet), packet.len())
            }
            Some(Ok(_) | Err(crate::wire::WireError::Malformed)) => {
                self.counters.udp.malformed += 1;
                return;
            }
            _ => {
                self.counters.udp.truncated += 1;
                return;
            }
        };
        if !self.verify_udp(&received, &repr, length) {
            self.counters.udp.bad_checksum += 1;
            return;
        }
        let source = SocketAddr::from((received.repr.source, repr.source_port));
        let destination = SocketAddr::from((received.repr.destination, repr.destination_port));
        if let Some((options, _)) = self.services.find(destination.ip(), destination.port()) {
            received.frame.truncate(received.header_len + length);
            self.serve(now, received, options, source, destination);
            return;
        }
        let Some(handle) = self.sockets.find(source, destination) else {
            self.counters.udp.no_port += 1;
            let message = Icmpv4Message::Unreachable(Unreachable::Port);
            self.send_icmp_error(now, message, &received);
            return;
        };
        let mut payload = core::mem::take(received.frame);
        payload.truncate(received.header_len + length);
        if payload.advance(received.header_len + HEADER_LEN).is_err() {
            self.counters.udp.truncated += 1;
            return;
        }
        payload.metadata = Default::default();
        let counter = match self.sockets.deliver(handle, source, destination, payload) {
            Deliver::Coalesced => {
                self.counters.udp.coalesced += 1;
                &mut self.counters.udp.delivered
            }
            Deliver::Queued => &mut self.counters.udp.delivered,
            Deliver::QueueFull => &mut self.counters.udp.queue_full,
            Deliver::NoPages => &mut self.counters.udp.no_pages,
        };
        *counter += 1;
    }

    /// Whether the checksum is right, by the device's word or by our own sum.
    fn verify_udp(&mut self, received: &Received<'_>, repr: &UdpRepr, length: usize) -> bool {
        let flags = self.offloads.flags;
        // Where the device says that the sum begins, in bytes of the frame that it gave.
        let transport = ethernet::HEADER_LEN + received.header_len;
        match received.frame.metadata.checksum {
            ChecksumState::Verified if flags.contains(OffloadFlags::RECEIVE_VERIFIED) => {
                self.counters.udp.verified_by_device += 1;
                return true;
            }
            ChecksumState::Partial { start, offset }
                if flags.contains(OffloadFlags::RECEIVE_PARTIAL)
                    && usize::from(start) == transport
                    && usize::from(offset) == CHECKSUM_OFFSET =>
            {
                self.counters.udp.partial += 1;
                return true;
            }
            _ => {}
        }
        if repr.checksum == 0 {
            self.counters.udp.without_checksum += 1;
            return true;
        }
        let mut sum = sum_frame(received.frame, received.header_len, length);
        if length % 2 == 1 {
            // The sum is in the middle of a word; the pseudo header begins a new one.
            sum.add_bytes(&[0]);
        }
        sum.add_pseudo_header(
            received.repr.source.into(),
            received.repr.destination.into(),
            received.repr.protocol.into(),
            length as u32,
        );
        let right = sum.finish() == 0;
        self.counters.udp.verified_here += u64::from(right);
        right
    }

    /// Lets a service answer: it reads the received page and writes into the page to send.
    fn serve(
        &mut self,
        now: Instant,
        received: Received<'_>,
        options: ServiceOptions,
        source: SocketAddr,
        destination: SocketAddr,
    ) {
        self.counters.udp.served += 1;
        let peer = received.repr.source;
        if source.port() == 0 || peer.is_unspecified() {
            self.counters.udp.unanswerable += 1;
            return;
        }
        let Some(own) = self.answer_source(&received) else {
            self.counters.udp.unanswerable += 1;
            return;
        };
        let skip = received.header_len + HEADER_LEN;
        let mut copy = None;
        if received.frame.segments().len() > 1 {
            copy = self.contiguous(received.frame, skip);
            if copy.is_none() {
                return;
            }
        } else if received.frame.advance(skip).is_err() {
            self.counters.udp.truncated += 1;
            return;
        }
        let path = self.path_mtu.lookup(now, peer.into(), self.mtu);
        let fits = usize::from(path.mtu) - ipv4::HEADER_LEN - HEADER_LEN;
        let limit = match options.fragmentation {
            Fragmentation::Refused => options.max_answer.min(fits),
            Fragmentation::Allowed => options.max_answer,
        };
        let room = limit.min(self.pool.block_size() - HEADROOM);
        let answer = self.pool.alloc().and_then(|mut page| {
            page.reset(HEADROOM).ok()?;
            page.append(room)?;
            Some(page)
        });
        let Some(mut answer) = answer else {
            self.counters.udp.service_no_pages += 1;
            return;
        };
        let request = UdpRequest {
            now,
            source,
            destination,
            payload: match &copy {
                Some(copy) => copy,
                None => received.frame.contiguous().unwrap_or_default(),
            },
        };
        let Some((_, service)) = self.services.find(destination.ip(), destination.port()) else {
            return;
        };
        let length = service.respond(&request, &mut answer);
        let Some(length) = length else {
            self.counters.udp.unanswered += 1;
            return;
        };
        if length > room {
            self.counters.udp.service_overrun += 1;
            return;
        }
        answer.truncate(length);
        let out = Outgoing {
            source: own,
            destination: peer,
            protocol: IpProtocol::Udp,
            type_of_service: 0,
            time_to_live: options.time_to_live,
            fragmentation: options.fragmentation,
            origin: Origin::Answer,
        };
        let mut answer = Frame::from(answer);
        match self.send_udp(now, out, destination.port(), source.port(), &mut answer) {
            Ok(()) => self.counters.udp.answered += 1,
            Err(_) => self.counters.udp.answers_failed += 1,
        }
    }

    /// A request's payload in one page.
    fn contiguous(&mut self, frame: &Frame, skip: usize) -> Option<PageMut> {
        let length = frame.len().checked_sub(skip)?;
        if length > self.pool.block_size() {
            self.counters.udp.service_too_long += 1;
            return None;
        }
        let Some(mut page) = self.pool.alloc() else {
            self.counters.udp.service_no_pages += 1;
            return None;
        };
        frame.copy_to_slice(skip, page.append(length)?);
        self.counters.udp.service_copied += 1;
        Some(page)
    }
}

/// The limit of a payload, from that of a datagram's.
fn less_header(error: SendError) -> SendError {
    match error {
        SendError::TooLong { maximum } => SendError::TooLong {
            maximum: maximum.saturating_sub(HEADER_LEN),
        },
        other => other,
    }
}
