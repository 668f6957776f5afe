//! TCP of the stack: segments to connections, and from them; the owners' calls.

use core::net::{IpAddr, SocketAddr};
use core::time::Duration;

use mirage_core::{
    Checksum as ChecksumState, Frame, Instant, OffloadFlags, Offloads, PageMut, Segment,
    Segmentation, SegmentationKind,
};

use super::icmp::TransportError;
use super::receive::Received;
use super::send::{Outgoing as Datagram, sum_frame};
use super::{HEADROOM, SendError, Stack, is_host};
use crate::arp::Origin;
use crate::tcp::four_tuple::FourTuple;
use crate::tcp::{
    ConnectionOptions, Cutting, Incoming, ListenOptions, ListenerHandle, Outgoing,
    Received as Data, TcpError, TcpEvents, TcpHandle, TcpState,
};
use crate::udp::{BindError, Fragmentation};
use crate::wire::Checksum;
use crate::wire::ethernet;
use crate::wire::ipv4::{self, IpProtocol, Ipv4Packet};
use crate::wire::tcp::{
    CHECKSUM_OFFSET, MAX_HEADER_LEN, TcpPacket, TcpQuote, TcpRepr, segment_checksum,
};

/// A payload of at most so many octets is copied behind its header: that costs a device less than to take it from another page.
const COPIED: usize = 256;

/// How long a segment waits when there is no page or no room for it.
const STARVED: Duration = Duration::from_millis(10);

/// Octets of payload in one frame that the device cuts: with the longest headers, a VLAN tag among them, no more than a length of 16
/// bits states.
const MOST_CUT: u32 =
    (ipv4::MAX_DATAGRAM_LEN - ethernet::HEADER_LEN - 4 - 40 - MAX_HEADER_LEN) as u32;

/// RFC 3168 §5: the low two bits of the type of service.
const ECN_MASK: u8 = 3;
/// RFC 3168 §5: the sender's transport understands marks.
const ECN_CAPABLE: u8 = 2;
/// RFC 3168 §5: a router marked the packet.
const CONGESTION_EXPERIENCED: u8 = 3;

/// Host Unreachable (RFC 792): what our own link's silence amounts to.
const HOST_UNREACHABLE: u8 = 1;

/// What a device with these offloads cuts for us, with room for a frame's headers before its payload.
pub(super) fn cutting(offloads: Offloads) -> Option<Cutting> {
    let wanted = OffloadFlags::TRANSMIT_SEGMENTED_V4 | OffloadFlags::TRANSMIT_PARTIAL_V4;
    let pieces = usize::from(offloads.fragments).min(Frame::MAX_SEGMENTS);
    // One is the headers'.
    let pieces = pieces.checked_sub(1).filter(|pieces| *pieces > 0)?;
    offloads.flags.contains(wanted).then_some(Cutting {
        octets: MOST_CUT,
        pieces,
    })
}

impl Stack<'_> {
    /// Opens a listener (mutator).
    ///
    /// # Errors
    /// [`BindError`]; [`BindError::NoPort`] for port 0.
    pub fn tcp_listen(&mut self, options: ListenOptions) -> Result<ListenerHandle, BindError> {
        let IpAddr::V4(local) = options.local.ip() else {
            return Err(BindError::UnsupportedFamily);
        };
        if !local.is_unspecified() && !self.is_own(local) {
            return Err(BindError::AddressNotAvailable);
        }
        self.tcp.listen(options)
    }

    /// Closes a listener; says whether it was open (mutator). Connections that nobody accepted are reset.
    pub fn tcp_close_listener(&mut self, now: Instant, handle: ListenerHandle) -> bool {
        self.tcp.close_listener(now, handle)
    }

    /// Address and port of a listener (getter).
    pub fn tcp_listener_local(&self, handle: ListenerHandle) -> Option<SocketAddr> {
        Some(self.tcp.listener_options(handle)?.local)
    }

    /// Connections of a listener that wait to be accepted (getter).
    pub fn tcp_waiting(&self, handle: ListenerHandle) -> usize {
        self.tcp.waiting(handle)
    }

    /// The oldest connection that waits to be accepted, if there is one (mutator). It may have ended already: then its first use says
    /// so, and what it had received can still be read.
    ///
    /// # Errors
    /// [`TcpError::NotOpen`].
    pub fn tcp_accept(&mut self, handle: ListenerHandle) -> Result<Option<TcpHandle>, TcpError> {
        self.tcp.accept(handle)
    }

    /// Opens a connection (mutator): [`TcpEvents::CONNECTED`] says that it is there, [`TcpEvents::CLOSED`] that it failed. What is sent
    /// before waits.
    ///
    /// `local` may have the unspecified address, then the route chooses, and port 0, then RFC 6056 does.
    ///
    /// # Errors
    /// [`TcpError`]: nothing was opened.
    pub fn tcp_connect(
        &mut self,
        now: Instant,
        local: SocketAddr,
        remote: SocketAddr,
        options: ConnectionOptions,
    ) -> Result<TcpHandle, TcpError> {
        let (IpAddr::V4(mut own), IpAddr::V4(peer)) = (local.ip(), remote.ip()) else {
            return Err(TcpError::UnsupportedFamily);
        };
        if remote.port() == 0 || !is_host(peer) || self.is_own(peer) || self.is_broadcast(peer) {
            return Err(TcpError::BadAddress);
        }
        if own.is_unspecified() {
            own = self.source_for(peer).ok_or(TcpError::NoRoute)?;
        } else if !self.is_own(own) {
            return Err(TcpError::BadAddress);
        }
        let (path_mtu, mtu) = (&self.path_mtu, self.mtu);
        self.tcp.connect(
            now,
            (own, local.port()).into(),
            remote,
            options,
            &|address| path_mtu.lookup(now, address, mtu).mtu,
        )
    }

    /// The state of a connection (getter). None of a handle that names none.
    pub fn tcp_state(&self, handle: TcpHandle) -> Option<TcpState> {
        self.tcp.state(handle)
    }

    /// Why a connection ended, if that was not in order (getter).
    pub fn tcp_error(&self, handle: TcpHandle) -> Option<TcpError> {
        self.tcp.get(handle)?.error()
    }

    /// Local address and port of a connection (getter).
    pub fn tcp_local(&self, handle: TcpHandle) -> Option<SocketAddr> {
        Some(self.tcp.get(handle)?.tuple().local())
    }

    /// The peer of a connection (getter).
    pub fn tcp_remote(&self, handle: TcpHandle) -> Option<SocketAddr> {
        Some(self.tcp.get(handle)?.tuple().remote())
    }

    /// Octets that a connection has received and nobody has read (getter).
    pub fn tcp_readable(&self, handle: TcpHandle) -> u32 {
        self.tcp
            .get(handle)
            .map_or(0, |connection| connection.readable())
    }

    /// Whether the peer has closed its direction, and all that it sent was read (getter).
    pub fn tcp_is_drained(&self, handle: TcpHandle) -> bool {
        self.tcp
            .get(handle)
            .is_some_and(|connection| connection.is_drained())
    }

    /// Octets that can be queued to be sent now (getter).
    pub fn tcp_writable(&self, handle: TcpHandle) -> u32 {
        self.tcp
            .get(handle)
            .map_or(0, |connection| connection.writable())
    }

    /// Whether the peer has acknowledged all that was queued, and the end of it if there is one (getter). Of a handle that names no
    /// connection nothing is outstanding.
    pub fn tcp_is_delivered(&self, handle: TcpHandle) -> bool {
        self.tcp
            .get(handle)
            .is_none_or(|connection| connection.is_delivered())
    }

    /// Octets up to the end of the peer's urgent data (getter; RFC 9293 §3.8.5). They stay in line (RFC 6093).
    pub fn tcp_urgent(&self, handle: TcpHandle) -> Option<u32> {
        self.tcp.get(handle)?.urgent()
    }

    /// Queues a segment to be sent from where it lies: a page, or a part of a registered static range (mutator). It stays there until
    /// the peer has acknowledged it. Who fills pages to send them takes them from [`tcp_page`](Self::tcp_page), which leaves some to what
    /// is received.
    ///
    /// # Errors
    /// Why not, with the segment. [`TcpError::Full`]: try again after [`TcpEvents::WRITABLE`].
    pub fn tcp_send(
        &mut self,
        now: Instant,
        handle: TcpHandle,
        segment: Segment,
    ) -> Result<(), (TcpError, Segment)> {
        // What comes straight from a receive ring is exchanged first.
        match segment.keep() {
            Ok(segment) => self.tcp.send(now, handle, segment),
            Err(segment) => {
                self.tcp.try_again(now, handle);
                Err((TcpError::Full, segment))
            }
        }
    }

    /// A page of the pool to be filled and given to [`tcp_send`](Self::tcp_send) (mutator), as
    /// [`Pool::alloc`](mirage_core::Pool::alloc) gives it. None while the queue is full, and while no more than one of sixteen pages of
    /// the pool's general part ([`Pool::general`](mirage_core::Pool::general)) is free, one at least: those are kept for what is
    /// received, as [`tcp_write`](Self::tcp_write) keeps them. Try again after [`TcpEvents::WRITABLE`].
    ///
    /// # Errors
    /// [`TcpError`]: nothing can be sent any more.
    pub fn tcp_page(
        &mut self,
        now: Instant,
        handle: TcpHandle,
    ) -> Result<Option<PageMut>, TcpError> {
        self.tcp.page(now, handle)
    }

    /// Queues a copy of as much of `bytes` as there is room for, and says how much that was (mutator). Zero: try again after
    /// [`TcpEvents::WRITABLE`]. One of sixteen pages of the pool's general part is kept for what is received, so that two that write all
    /// they can don't wait for each other for ever.
    ///
    /// # Errors
    /// [`TcpError`]: nothing can be sent any more.
    pub fn tcp_write(
        &mut self,
        now: Instant,
        handle: TcpHandle,
        bytes: &[u8],
    ) -> Result<usize, TcpError> {
        self.tcp.write(now, handle, bytes)
    }

    /// The next piece of what was received, in the page that it was received in (mutator).
    ///
    /// # Errors
    /// [`TcpError`]: the connection ended, and nothing is left to read.
    pub fn tcp_receive(&mut self, now: Instant, handle: TcpHandle) -> Result<Data, TcpError> {
        self.tcp.receive(now, handle)
    }

    /// Copies what was received into `bytes`, and says how much that was (mutator). Zero: nothing for now, or nothing any more
    /// ([`tcp_is_drained`](Self::tcp_is_drained)).
    ///
    /// # Errors
    /// [`TcpError`]: the connection ended, and nothing is left to read.
    pub fn tcp_read(
        &mut self,
        now: Instant,
        handle: TcpHandle,
        bytes: &mut [u8],
    ) -> Result<usize, TcpError> {
        self.tcp.read(now, handle, bytes)
    }

    /// The next bytes of what was received, where they lie; empty when there are none (getter).
    pub fn tcp_peek(&self, handle: TcpHandle) -> &[u8] {
        self.tcp.peek(handle)
    }

    /// So many of the bytes that [`tcp_peek`](Self::tcp_peek) gave have been read (mutator).
    pub fn tcp_consume(&mut self, now: Instant, handle: TcpHandle, count: usize) {
        self.tcp.consume(now, handle, count);
    }

    /// Closes our direction, behind all that is queued; the other one stays open (mutator; RFC 9293 §3.10.4, CLOSE). A connection whose
    /// SYN nobody has answered ends at once, and what was queued with it: [`tcp_error`](Self::tcp_error) is [`TcpError::Closing`] then.
    ///
    /// # Errors
    /// [`TcpError::Closing`] when it was closed before, [`TcpError::NotOpen`].
    pub fn tcp_shutdown(&mut self, now: Instant, handle: TcpHandle) -> Result<(), TcpError> {
        self.tcp.shutdown(now, handle)
    }

    /// Gives a connection up: what is queued still goes out, and then it ends, without its owner (mutator). Says whether the handle named
    /// one. If something was received that nobody read, the peer is reset (RFC 1122 §4.2.2.13).
    pub fn tcp_close(&mut self, now: Instant, handle: TcpHandle) -> bool {
        self.tcp.close(now, handle)
    }

    /// Gives a connection up at once, and resets the peer (mutator; RFC 9293 §3.10.5, ABORT). Says whether the handle named one.
    pub fn tcp_abort(&mut self, now: Instant, handle: TcpHandle) -> bool {
        self.tcp.abort(now, handle)
    }

    /// A connection to which something happened since it was last named here, and what (output).
    pub fn poll_tcp(&mut self) -> Option<(TcpHandle, TcpEvents)> {
        self.tcp.poll_news()
    }

    /// A listener that has got a connection since it was last named here (output).
    pub fn poll_tcp_listener(&mut self) -> Option<ListenerHandle> {
        self.tcp.poll_listener()
    }

    /// How many connections there can be (getter).
    pub fn tcp_capacity(&self) -> usize {
        self.tcp.capacity()
    }

    /// How many listeners there can be (getter).
    pub fn tcp_listener_capacity(&self) -> usize {
        self.tcp.listener_capacity()
    }

    /// Connections that there are, half-open ones, and those in TIME-WAIT (getter).
    pub fn tcp_population(&self) -> (usize, usize, usize) {
        self.tcp.population()
    }

    // Apart from its caller: see "What an image weighs" in CONTRIBUTING.md.
    #[inline(never)]
    pub(super) fn handle_tcp(&mut self, now: Instant, received: Received<'_>) {
        self.tcp.counters_mut().received += 1;
        if received.broadcast || received.repr.source.is_unspecified() {
            self.tcp.counters_mut().broadcast += 1;
            return;
        }
        let available = received.payload_len();
        let bytes = received.frame.first();
        let bytes = bytes.and_then(|first| first.get(received.header_len..));
        let (repr, tcp_header_len) =
            match bytes.map(|bytes| TcpPacket::new_checked(bytes, available)) {
                Some(Ok(packet)) => (TcpRepr::parse(&packet), packet.header_len()),
                _ => {
                    self.tcp.counters_mut().malformed += 1;
                    return;
                }
            };
        if !self.verify_tcp(&received) {
            self.tcp.counters_mut().bad_checksum += 1;
            return;
        }
        if repr.source_port == 0 || repr.destination_port == 0 {
            self.tcp.counters_mut().port_zero += 1;
            return;
        }
        let tuple = FourTuple {
            local_address: received.repr.destination.into(),
            remote_address: received.repr.source.into(),
            local_port: repr.destination_port,
            remote_port: repr.source_port,
        };
        let mut payload = Frame::new();
        let mut segment = 0;
        if available > tcp_header_len {
            payload = core::mem::take(received.frame);
            if payload
                .advance(received.header_len + tcp_header_len)
                .is_err()
            {
                self.tcp.counters_mut().malformed += 1;
                return;
            }
            let metadata = core::mem::take(&mut payload.metadata);
            segment = self.merged_segment(metadata.segmentation, payload.len());
        }
        let marked = received.repr.type_of_service & ECN_MASK == CONGESTION_EXPERIENCED;
        let mut incoming = Incoming {
            repr,
            payload,
            segment,
            marked,
        };
        let (path_mtu, mtu) = (&self.path_mtu, self.mtu);
        self.tcp
            .handle_segment(now, tuple, &mut incoming, &|address| {
                path_mtu.lookup(now, address, mtu).mtu
            });
    }

    /// Octets in each of the segments that the device has merged; zero where it is one. What the device says was negotiated, and
    /// is believed for no more than when to acknowledge.
    #[inline(always)]
    fn merged_segment(&mut self, segmentation: Option<Segmentation>, octets: usize) -> u16 {
        match segmentation {
            Some(Segmentation { size, kind, .. })
                if kind == SegmentationKind::TcpV4
                    && self
                        .offloads
                        .flags
                        .contains(OffloadFlags::RECEIVE_SEGMENTED_V4)
                    && octets > usize::from(size) =>
            {
                self.tcp.counters_mut().received_merged += 1;
                size
            }
            _ => 0,
        }
    }

    /// Whether the checksum is right, by the device's word or by our own sum.
    fn verify_tcp(&mut self, received: &Received<'_>) -> bool {
        let flags = self.offloads.flags;
        // Where the device says that the sum begins, in bytes of the frame that it gave.
        let transport = ethernet::HEADER_LEN + received.header_len;
        match received.frame.metadata.checksum {
            ChecksumState::Verified if flags.contains(OffloadFlags::RECEIVE_VERIFIED) => {
                self.tcp.counters_mut().verified_by_device += 1;
                return true;
            }
            ChecksumState::Partial { start, offset }
                if flags.contains(OffloadFlags::RECEIVE_PARTIAL)
                    && usize::from(start) == transport
                    && usize::from(offset) == CHECKSUM_OFFSET =>
            {
                self.tcp.counters_mut().partial += 1;
                return true;
            }
            _ => {}
        }
        let length = received.payload_len();
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
        self.tcp.counters_mut().verified_here += u64::from(right);
        right
    }

    /// When segments that found no page or no room are tried again.
    #[inline(always)]
    pub(super) fn tcp_retry(&self) -> Option<Instant> {
        (self.tcp.wants_transmit() && self.tcp_starved != Instant::ZERO).then_some(self.tcp_starved)
    }

    /// The next frame of TCP or of the queue of all else. While both have something, whichever has had less of the device, in bytes, is
    /// next: datagrams that are always there don't silence connections, nor these them.
    // Apart from its caller: see "What an image weighs" in CONTRIBUTING.md.
    #[inline(never)]
    pub(super) fn poll_by_turns(&mut self, now: Instant) -> Option<Frame> {
        if self.transmit.len() == 0 {
            self.tcp_lead = 0;
            return self.poll_tcp_segment(now);
        }
        if self.tcp_lead <= 0
            && let Some(segment) = self.poll_tcp_segment(now)
        {
            self.tcp_lead = self.tcp_lead.saturating_add(segment.len() as i32);
            return Some(segment);
        }
        let frame = self.transmit.pop()?;
        self.tcp_lead = match self.tcp.wants_transmit() && self.tcp_retry().is_none() {
            true => self.tcp_lead.saturating_sub(frame.len() as i32),
            // Who had nothing is owed nothing.
            false => 0,
        };
        Some(frame)
    }

    /// The next segment of a connection, if there is one that can be sent now. What a connection gives out counts as sent, so page and
    /// room are there before it is asked.
    fn poll_tcp_segment(&mut self, now: Instant) -> Option<Frame> {
        // A queue that others keep full is no reason to wait.
        let first = match self.transmit.room(Origin::Own) {
            0 => self.transmit.pop(),
            _ => None,
        };
        let queued = self.transmit.len();
        self.queue_tcp_segment(now, queued);
        let segment = match self.transmit.len() > queued {
            true => self.transmit.pop_last(),
            false => None,
        };
        if let Some(first) = first {
            self.transmit.push_front(first);
        }
        segment
    }

    /// Puts a segment at the end of the transmit queue, which has so many frames.
    fn queue_tcp_segment(&mut self, now: Instant, queued: usize) {
        while self.transmit.len() == queued && self.tcp.wants_transmit() && now >= self.tcp_starved
        {
            // Half of the reserve is left for ARP.
            let page = match self.pool.alloc() {
                Some(page) => Some(page),
                None if self.reserve.free() > self.reserve_size / 2 => self.reserve.alloc(),
                None => None,
            };
            let Some(page) = page.filter(|_| self.transmit.room(Origin::Own) > 0) else {
                self.tcp_starved = now.saturating_add(STARVED);
                return;
            };
            self.tcp_starved = Instant::ZERO;
            let Some(outgoing) = self.tcp.poll_transmit(now) else {
                return;
            };
            let (tuple, sequence) = (outgoing.tuple, outgoing.repr.sequence);
            match self.send_tcp(now, page, outgoing) {
                Ok(()) => {}
                Err(SendError::TooLong { maximum }) => {
                    let mtu = (maximum + ipv4::HEADER_LEN) as u16;
                    self.tcp.handle_path_mtu(now, &tuple, sequence, mtu);
                }
                Err(error) if error.is_temporary() => {
                    self.tcp.handle_refused(now, &tuple);
                    self.tcp_starved = now.saturating_add(STARVED);
                }
                Err(_) => {
                    // Its own time-outs end the connection; this is why.
                    self.tcp
                        .handle_unreachable(now, &tuple, sequence, HOST_UNREACHABLE);
                }
            }
        }
    }

    /// Makes a datagram of a segment: its header in `page`, behind it what it carries.
    fn send_tcp(
        &mut self,
        now: Instant,
        mut page: PageMut,
        outgoing: Outgoing,
    ) -> Result<(), SendError> {
        let Outgoing {
            tuple,
            repr,
            mut payload,
            segment,
            markable,
            time_to_live,
        } = outgoing;
        let (IpAddr::V4(source), IpAddr::V4(destination)) =
            (tuple.local_address, tuple.remote_address)
        else {
            return Err(SendError::UnsupportedFamily);
        };
        let offloaded = self
            .offloads
            .flags
            .contains(OffloadFlags::TRANSMIT_PARTIAL_V4);
        let mut header = [0; MAX_HEADER_LEN];
        let length = repr.emit(&mut header);
        let checksum = if offloaded {
            let mut pseudo = Checksum::new();
            let whole = (length + payload.len()) as u32;
            pseudo.add_pseudo_header(source.into(), destination.into(), 6, whole);
            pseudo.sum()
        } else {
            let header = header.get(..length).unwrap_or(&header);
            segment_checksum(source.into(), destination.into(), header, &payload)
        };
        if let Some(field) = header.get_mut(CHECKSUM_OFFSET..CHECKSUM_OFFSET + 2) {
            field.copy_from_slice(&checksum.to_be_bytes());
        }
        page.reset(HEADROOM).map_err(|_| SendError::NoPages)?;
        let room = page.append(length).ok_or(SendError::NoPages)?;
        room.copy_from_slice(header.get(..length).unwrap_or(&header));
        // A device that takes fewer segments would make it a copy of all later on.
        let segments = payload.segments().len() + 1;
        if segment > 0 {
            payload.push_front(page).map_err(|_| SendError::NoPages)?;
            payload.metadata.segmentation = Some(Segmentation {
                size: segment,
                kind: SegmentationKind::TcpV4,
                header_len: length as u16,
            });
            let frame = payload;
            return self.send_tcp_frame(now, tuple, frame, offloaded, markable, time_to_live);
        }
        let copies = payload.len() <= COPIED
            || segments > usize::from(self.offloads.fragments.max(1))
            || segments > Frame::INLINE_SEGMENTS;
        if copies && let Some(room) = page.append(payload.len()) {
            payload.copy_to_slice(0, room);
            return self.send_tcp_frame(now, tuple, page.into(), offloaded, markable, time_to_live);
        }
        let mut frame = Frame::from(page);
        for segment in payload.into_segments() {
            frame.push(segment).map_err(|_| SendError::NoPages)?;
        }
        self.send_tcp_frame(now, tuple, frame, offloaded, markable, time_to_live)
    }

    fn send_tcp_frame(
        &mut self,
        now: Instant,
        tuple: FourTuple,
        mut frame: Frame,
        offloaded: bool,
        markable: bool,
        time_to_live: u8,
    ) -> Result<(), SendError> {
        let (IpAddr::V4(source), IpAddr::V4(destination)) =
            (tuple.local_address, tuple.remote_address)
        else {
            return Err(SendError::UnsupportedFamily);
        };
        if offloaded {
            frame.metadata.checksum = ChecksumState::Partial {
                start: 0,
                offset: CHECKSUM_OFFSET as u16,
            };
        }
        let out = Datagram {
            source,
            destination,
            protocol: IpProtocol::Tcp,
            type_of_service: if markable { ECN_CAPABLE } else { 0 },
            time_to_live,
            fragmentation: Fragmentation::Refused,
            origin: Origin::Own,
        };
        self.send_datagram(now, out, &mut frame)
    }

    /// What ICMP says of a segment of ours (RFC 5927). Says whether it is believed.
    pub(super) fn handle_quoted_tcp(
        &mut self,
        now: Instant,
        quoted: &Ipv4Packet<'_>,
        error: TransportError,
    ) -> bool {
        let Ok(quote) = TcpQuote::new(quoted.payload()) else {
            return false;
        };
        let tuple = FourTuple {
            local_address: quoted.source().into(),
            remote_address: quoted.destination().into(),
            local_port: quote.source_port,
            remote_port: quote.destination_port,
        };
        match error {
            TransportError::Unreachable(code) => {
                self.tcp
                    .handle_unreachable(now, &tuple, quote.sequence, code.code())
            }
            // The path may have a loop for a moment.
            TransportError::TimeExceeded => self.tcp.is_in_flight(&tuple, quote.sequence),
            TransportError::PathMtu(mtu) => {
                if !quoted.dont_fragment()
                    || !self.tcp.is_in_flight(&tuple, quote.sequence)
                    || usize::from(mtu) >= quoted.total_len()
                {
                    return false;
                }
                // The path's size may be no news, since a report about another connection told it; that this segment was too large is. The
                // size is what is known of the path, whatever less this report claims.
                let learned = self.learn_path_mtu(now, quoted, mtu);
                let path = self.path_mtu.lookup(now, tuple.remote_address, self.mtu);
                let believed = self
                    .tcp
                    .handle_path_mtu(now, &tuple, quote.sequence, path.mtu);
                learned || believed
            }
        }
    }
}
