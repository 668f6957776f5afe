//! ICMP: answers to echo requests, errors sent, errors taken.

use core::net::{IpAddr, Ipv4Addr};

use mirage_core::{Frame, Instant};

use super::receive::Received;
use super::send::{Outgoing, sum_frame};
use super::{Event, HEADROOM, SendError, Stack, is_host};
use crate::arp::Origin;
use crate::ip::Sent;
use crate::udp::{Fragmentation, SocketError};
use crate::wire::checksum::{checksum, update};
use crate::wire::icmpv4::{
    HEADER_LEN, Icmpv4Message, Icmpv4Packet, Icmpv4Repr, TimeExceeded, Unreachable,
};
use crate::wire::ipv4::{self, IpProtocol, Ipv4Packet};
use crate::wire::udp::UdpPacket;

/// RFC 1812 §4.3.2.3: as much of the datagram as makes an error of at most 576 bytes.
const MAX_QUOTE: usize = 576 - ipv4::HEADER_LEN - HEADER_LEN;

/// What ICMP said of a datagram of ours: for its transport.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum TransportError {
    Unreachable(Unreachable),
    TimeExceeded,
    /// The path takes this many bytes.
    PathMtu(u16),
}

impl Stack<'_> {
    /// Sends an echo request with `length` bytes of data and says its number (mutator).
    ///
    /// The answer is [`Event::EchoReply`] or [`Event::EchoFailed`]; if neither comes, nobody
    /// answered. The pings that wait are as many as the storage has slots.
    ///
    /// # Errors
    /// [`SendError`].
    pub fn ping(
        &mut self,
        now: Instant,
        destination: IpAddr,
        length: usize,
    ) -> Result<u16, SendError> {
        let IpAddr::V4(destination) = destination else {
            return Err(SendError::UnsupportedFamily);
        };
        let source = self.source_for(destination).ok_or(SendError::NoAddress)?;
        let sequence = self.echoes.next_sequence();
        let mut page = self.pool.alloc().ok_or(SendError::NoPages)?;
        page.reset(HEADROOM).map_err(|_| SendError::NoPages)?;
        let maximum = page.tailroom() - HEADER_LEN;
        let message = page
            .append(length.saturating_add(HEADER_LEN))
            .ok_or(SendError::TooLong { maximum })?;
        if let Some((header, data)) = message.split_first_chunk_mut() {
            for (index, byte) in data.iter_mut().enumerate() {
                *byte = index as u8;
            }
            let mut repr = Icmpv4Repr {
                message: Icmpv4Message::EchoRequest {
                    identifier: self.echo_identifier,
                    sequence,
                },
                checksum: 0,
            };
            repr.emit(header);
            repr.checksum = checksum(message);
            if let Some(header) = message.first_chunk_mut() {
                repr.emit(header);
            }
        }
        let out = Outgoing {
            source,
            destination,
            protocol: IpProtocol::Icmp,
            type_of_service: 0,
            time_to_live: 64,
            fragmentation: Fragmentation::Allowed,
            origin: Origin::Own,
        };
        self.send_datagram(now, out, &mut page.into())?;
        self.echoes.record(now, destination.into(), sequence);
        Ok(sequence)
    }

    pub(super) fn handle_icmp(&mut self, now: Instant, received: Received<'_>) {
        let bytes = received.frame.first();
        let bytes = bytes.and_then(|first| first.get(received.header_len..));
        let message = match bytes.map(Icmpv4Packet::new_checked) {
            Some(Ok(packet)) => packet.message(),
            _ => {
                self.counters.icmp.truncated += 1;
                return;
            }
        };
        // No device verifies ICMP.
        let sum = sum_frame(received.frame, received.header_len, received.payload_len());
        if sum.finish() != 0 {
            self.counters.icmp.bad_checksum += 1;
            return;
        }
        match message {
            Icmpv4Message::EchoRequest { .. } => self.answer_echo(now, received),
            Icmpv4Message::EchoReply {
                identifier,
                sequence,
            } => {
                let source = IpAddr::V4(received.repr.source);
                let round_trip = (identifier == self.echo_identifier && !received.broadcast)
                    .then(|| self.echoes.take(now, source, sequence))
                    .flatten();
                match round_trip {
                    Some(round_trip) => self.events.push(Event::EchoReply {
                        source,
                        sequence,
                        round_trip,
                        length: received.payload_len() - HEADER_LEN,
                    }),
                    None => self.counters.icmp.echo_unexpected += 1,
                }
            }
            Icmpv4Message::Unreachable(code) => {
                self.handle_icmp_error(now, &received, TransportError::Unreachable(code));
            }
            Icmpv4Message::TimeExceeded(_) => {
                self.handle_icmp_error(now, &received, TransportError::TimeExceeded);
            }
            Icmpv4Message::FragmentationNeeded { next_hop_mtu } => {
                self.handle_icmp_error(now, &received, TransportError::PathMtu(next_hop_mtu));
            }
            Icmpv4Message::SourceQuench
            | Icmpv4Message::Redirect
            | Icmpv4Message::ParameterProblem { .. } => self.counters.icmp.ignored += 1,
            Icmpv4Message::Other { .. } => self.counters.icmp.unknown_type += 1,
        }
    }

    /// RFC 1122 §3.2.2.6: the data come back, from the address that was asked.
    fn answer_echo(&mut self, now: Instant, received: Received<'_>) {
        if received.broadcast || received.repr.source.is_unspecified() {
            self.counters.icmp.echo_broadcast += 1;
            return;
        }
        if !self.echo_replies.take(now) {
            self.counters.icmp.echo_limited += 1;
            return;
        }
        let out = Outgoing {
            source: received.repr.destination,
            destination: received.repr.source,
            protocol: IpProtocol::Icmp,
            type_of_service: 0,
            time_to_live: 64,
            fragmentation: Fragmentation::Allowed,
            origin: Origin::Answer,
        };
        let answered = (|| {
            // The reply is made in the pages of the request.
            let mut frame = core::mem::take(received.frame).keep().ok()?;
            frame.advance(received.header_len).ok()?;
            let writable = frame
                .first_mut()
                .and_then(|first| first.as_page_mut())
                .is_some_and(|page| page.len() >= HEADER_LEN);
            if !writable {
                let mut page = self.pool.alloc()?;
                page.reset(HEADROOM).ok()?;
                frame.copy_to_slice(0, page.append(HEADER_LEN)?);
                frame.advance(HEADER_LEN).ok()?;
                frame.push_front(page).ok()?;
            }
            let header = frame.first_mut()?.as_page_mut()?.first_chunk_mut()?;
            let packet = Icmpv4Packet::new_checked(&header[..]).ok()?;
            let Icmpv4Message::EchoRequest {
                identifier,
                sequence,
            } = packet.message()
            else {
                return None;
            };
            let repr = Icmpv4Repr {
                message: Icmpv4Message::EchoReply {
                    identifier,
                    sequence,
                },
                // Only the type changes: from 8 to 0.
                checksum: update(packet.checksum(), 0x0800, 0x0000),
            };
            repr.emit(header);
            frame.metadata = Default::default();
            self.send_datagram(now, out, &mut frame).ok()
        })();
        match answered {
            Some(()) => self.counters.icmp.echo_answered += 1,
            None => self.counters.icmp.echo_failed += 1,
        }
    }

    /// Takes an error if it quotes what we sent, and tells the transport.
    fn handle_icmp_error(&mut self, now: Instant, received: &Received<'_>, error: TransportError) {
        let quoted = received
            .frame
            .first()
            .and_then(|first| first.get(received.header_len + HEADER_LEN..))
            .and_then(|bytes| Ipv4Packet::new_quoted(bytes).ok());
        let taken = quoted.is_some_and(|quoted| {
            // An error for one of our addresses about a datagram of another is a forgery.
            quoted.source() == received.repr.destination
                && quoted.fragment_offset() == 0
                && self.handle_quoted(now, &quoted, error)
        });
        if taken {
            self.counters.icmp.errors_taken += 1;
        } else {
            self.counters.icmp.errors_unmatched += 1;
        }
    }

    fn handle_quoted(
        &mut self,
        now: Instant,
        quoted: &Ipv4Packet<'_>,
        error: TransportError,
    ) -> bool {
        let destination = IpAddr::V4(quoted.destination());
        let sent = Sent {
            source: IpAddr::V4(quoted.source()),
            destination,
            protocol: quoted.protocol().into(),
            identification: quoted.identification(),
            ports: quoted.payload().first_chunk().copied().unwrap_or_default(),
            length: quoted.total_len() as u16,
        };
        let remembered = quoted.dont_fragment() && self.sent.contains(&sent);
        match quoted.protocol() {
            IpProtocol::Udp => {
                let Ok(udp) = UdpPacket::new_quoted(quoted.payload()) else {
                    return false;
                };
                let local = (quoted.source(), udp.source_port()).into();
                let remote = (quoted.destination(), udp.destination_port()).into();
                let socket = self.sockets.find_connected(local, remote);
                let error = match error {
                    TransportError::PathMtu(mtu) => {
                        if !remembered || !self.learn_path_mtu(now, quoted, mtu) {
                            return false;
                        }
                        let path = self.path_mtu.lookup(now, destination, self.mtu);
                        SocketError::PathMtu(path.mtu)
                    }
                    TransportError::Unreachable(Unreachable::Port) => SocketError::Refused,
                    TransportError::Unreachable(code) => SocketError::Unreachable(code.code()),
                    // The path may have a loop for a moment: no error of the peer's.
                    TransportError::TimeExceeded => return socket.is_some(),
                };
                match socket {
                    Some(handle) => {
                        self.sockets.fail(handle, error);
                        true
                    }
                    None => remembered,
                }
            }
            IpProtocol::Icmp => {
                let Ok(echo) = Icmpv4Packet::new_checked(quoted.payload()) else {
                    return false;
                };
                let Icmpv4Message::EchoRequest {
                    identifier,
                    sequence,
                } = echo.message()
                else {
                    return false;
                };
                let known = identifier == self.echo_identifier
                    && !matches!(error, TransportError::PathMtu(_))
                    && self.echoes.take(now, destination, sequence).is_some();
                if known {
                    self.events.push(Event::EchoFailed {
                        destination,
                        sequence,
                    });
                }
                known
            }
            IpProtocol::Tcp => self.handle_quoted_tcp(now, quoted, error),
            IpProtocol::Other(_) => false,
        }
    }

    /// RFC 1191: lowers what is sent to a destination; says whether the report was news.
    pub(super) fn learn_path_mtu(
        &mut self,
        now: Instant,
        quoted: &Ipv4Packet<'_>,
        mtu: u16,
    ) -> bool {
        let destination = IpAddr::V4(quoted.destination());
        let length = quoted.total_len() as u16;
        let learned =
            self.path_mtu
                .handle_fragmentation_needed(now, destination, mtu, length, self.mtu);
        if let Some(mtu) = learned {
            self.events.push(Event::PathMtu { destination, mtu });
        }
        learned.is_some()
    }

    /// Tells the sender that its datagram was not delivered, where RFC 1122 §3.2.2 and RFC 1812
    /// §4.3.2.7 allow it and the rate limit has a token left.
    pub(super) fn send_icmp_error(
        &mut self,
        now: Instant,
        message: Icmpv4Message,
        about: &Received<'_>,
    ) {
        let icmp_error = about.repr.protocol == IpProtocol::Icmp
            && about
                .frame
                .first()
                .and_then(|first| first.get(about.header_len..))
                .and_then(|bytes| Icmpv4Packet::new_checked(bytes).ok())
                .is_none_or(|packet| packet.message().is_error());
        let mut quote = [0; MAX_QUOTE];
        let length = about.frame.copy_to_slice(0, &mut quote);
        if icmp_error || about.broadcast {
            self.counters.icmp.errors_forbidden += 1;
            return;
        }
        self.emit_icmp_error(
            now,
            message,
            about.repr.destination,
            about.repr.source,
            &quote[..length],
        );
    }

    /// RFC 1122 §3.3.2: fragments waited too long; `quote` is the first one's beginning.
    pub(super) fn send_time_exceeded(&mut self, now: Instant, quote: &[u8]) {
        let Ok(packet) = Ipv4Packet::new_quoted(quote) else {
            return;
        };
        let icmp_error = packet.protocol() == IpProtocol::Icmp
            && Icmpv4Packet::new_checked(packet.payload())
                .is_ok_and(|packet| packet.message().is_error());
        if icmp_error || !self.is_own(packet.destination()) {
            self.counters.icmp.errors_forbidden += 1;
            return;
        }
        let message = Icmpv4Message::TimeExceeded(TimeExceeded::Reassembly);
        self.emit_icmp_error(now, message, packet.destination(), packet.source(), quote);
    }

    fn emit_icmp_error(
        &mut self,
        now: Instant,
        message: Icmpv4Message,
        source: Ipv4Addr,
        destination: Ipv4Addr,
        quote: &[u8],
    ) {
        if !is_host(destination) || self.is_broadcast(destination) {
            self.counters.icmp.errors_forbidden += 1;
            return;
        }
        if !self.icmp_errors.take(now) {
            self.counters.icmp.errors_limited += 1;
            return;
        }
        let sent = (|| {
            // Half of the reserve is left for ARP.
            let mut page = match self.pool.alloc() {
                Some(page) => page,
                None if self.reserve.free() > self.reserve_size / 2 => self.reserve.alloc()?,
                None => return None,
            };
            page.reset(HEADROOM).ok()?;
            let room = page.tailroom();
            let bytes = page.append((HEADER_LEN + quote.len()).min(room))?;
            let (header, data) = bytes.split_first_chunk_mut()?;
            data.copy_from_slice(quote.get(..data.len())?);
            let mut repr = Icmpv4Repr {
                message,
                checksum: 0,
            };
            repr.emit(header);
            repr.checksum = checksum(bytes);
            repr.emit(bytes.first_chunk_mut()?);
            let out = Outgoing {
                source,
                destination,
                protocol: IpProtocol::Icmp,
                type_of_service: 0,
                time_to_live: 64,
                fragmentation: Fragmentation::Allowed,
                origin: Origin::Answer,
            };
            self.send_datagram(now, out, &mut Frame::from(page)).ok()
        })();
        match sent {
            Some(()) => self.counters.icmp.errors_sent += 1,
            None => self.counters.icmp.errors_failed += 1,
        }
    }
}
