//! The server (RFC 2131 §4.3), a pure state machine.

mod choice;
mod client;
mod config;
mod counters;
mod probe;
mod record;
mod reply;
mod table;
#[cfg(test)]
mod tests;

pub use config::{DhcpReservation, DhcpServerConfig, DhcpSubnet};
pub use counters::DhcpServerCounters;
pub use probe::DhcpProbeSlot;
pub use record::{DhcpLeaseKind, DhcpRecord, DhcpRecordError};
pub use table::DhcpLeaseSlot;

use core::fmt;
use core::net::{Ipv4Addr, SocketAddrV4};
use core::time::Duration;

use managed::ManagedSlice;
use mirage_core::{Instant, MacAddress};

use self::client::ClientKey;
use self::probe::Probes;
use self::table::{Entry, Table};
use super::client::lease::{INFINITE, is_host_in};
use crate::stack::is_host;
use crate::wire::dhcp::{DhcpHardware, DhcpMessageType, DhcpOperation, DhcpPacket, option};

/// A reply, and whom it is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DhcpReply {
    /// Bytes of the message, at the beginning of the buffer.
    pub length: usize,
    /// Where it is sent: from the server's address and port 67.
    pub destination: SocketAddrV4,
    /// The station whose frame it goes in, for a client that doesn't answer ARP yet: only with
    /// [`link_unicast`](DhcpServerConfig::link_unicast).
    pub link: Option<MacAddress>,
}

/// A server can't be made so. Always the caller's configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum DhcpServerError {
    /// The server's address can't be a host's.
    BadAddress,
    /// A pool's ends are not hosts of its network in this order, or it is larger than 65,536 addresses; the subnet's number.
    BadPool(usize),
    /// A reserved address is a host's of no subnet, or it is the server's, or it has neither identifier nor hardware address;
    /// the reservation's number.
    BadReservation(usize),
    /// The shortest lease is longer than the longest, or one of a time is zero.
    BadTimes,
}

impl fmt::Display for DhcpServerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            DhcpServerError::BadAddress => {
                f.write_str("the DHCP server's address can't be a host's")
            }
            DhcpServerError::BadPool(number) => {
                write!(
                    f,
                    "subnet {number}: the pool is not a row of hosts of its network, or too large"
                )
            }
            DhcpServerError::BadReservation(number) => {
                write!(f, "reservation {number} is of no subnet, or for no client")
            }
            DhcpServerError::BadTimes => f.write_str("the lease times contradict each other"),
        }
    }
}

impl core::error::Error for DhcpServerError {}

/// A DHCP server: a pure state machine.
///
/// Its methods are of four kinds:
///
/// - *getters*: [`leases`](Self::leases), [`counters`](Self::counters);
/// - *inputs*: [`handle_message`](Self::handle_message), which gives the reply; [`handle_address_in_use`](Self::handle_address_in_use);
/// - *mutators*: [`with_probes`](Self::with_probes), [`restore`](Self::restore), [`not_saved`](Self::not_saved);
/// - *outputs*: [`poll_probe`](Self::poll_probe), [`poll_reply`](Self::poll_reply), [`poll_change`](Self::poll_change), and last
///   [`poll_timeout`](Self::poll_timeout). Only probes have a deadline: what else is over is found to be so when it matters.
///
/// After each message, and at the deadline, write what `poll_change` gives, durably, and only then send the reply: a client must
/// not have a lease that a restart forgets. If a record can't be written, say so by `not_saved` and don't send; the client will ask
/// again.
///
/// # Which address is given
///
/// To a client whose address is reserved, that one. Else, as RFC 2131 §4.3.1 has it, what it has or had; else what it asks
/// for, if that is free; else the first of the pool that nobody ever had; else the one whose lease has been over for longest;
/// else, in despair, the one that was found in conflict longest ago, for the client will look at it itself. An address that
/// was offered is held for a moment, and withdrawn when the client takes another server's offer.
///
/// With [probes](Self::with_probes) an address is looked at before it is offered, and the client hears of it a moment later.
///
/// # When it is silent
///
/// To messages for other servers, from links that it has no subnet for, and about addresses that it has no record of: these
/// may be another server's, and are never refused, unless the server is [authoritative](DhcpServerConfig::authoritative).
///
/// # Bounds
///
/// One slot an address, of the table that the caller hands in. When it is full what is over makes room, longest over first;
/// leases, offers and conflicts that still count are never dropped: then nothing more is offered, and counted. A message costs
/// a look at each slot: tables of thousands, not of millions.
pub struct DhcpServer<'a> {
    config: DhcpServerConfig<'a>,
    table: Table<'a>,
    probes: Probes<'a>,
    counters: DhcpServerCounters,
}

impl fmt::Debug for DhcpServer<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DhcpServer")
            .field("config", &self.config)
            .field("leases", &self.table.iter().count())
            .field("counters", &self.counters)
            .finish()
    }
}

/// Who asks, where, and what is kept of it.
#[derive(Debug, Clone, Copy)]
struct Asker<'c> {
    subnet: &'c DhcpSubnet<'c>,
    key: ClientKey,
    hardware: DhcpHardware,
}

/// What is said.
#[derive(Debug, Clone, Copy)]
enum Verdict {
    Offer(Ipv4Addr, Duration),
    Ack(Ipv4Addr, Duration),
    /// Options alone.
    Informed,
    Nak,
    Silence,
}

impl<'a> DhcpServer<'a> {
    /// A server without leases.
    ///
    /// # Errors
    /// [`DhcpServerError`]: a configuration that can't work.
    pub fn new(
        config: DhcpServerConfig<'a>,
        leases: impl Into<ManagedSlice<'a, DhcpLeaseSlot>>,
    ) -> Result<Self, DhcpServerError> {
        if !is_host(config.address) {
            return Err(DhcpServerError::BadAddress);
        }
        for (number, subnet) in config.subnets.iter().enumerate() {
            let host = |address: Ipv4Addr| {
                subnet.network.contains(address.into())
                    && is_host_in(address, subnet.network.prefix_len())
            };
            let size = subnet.last.to_bits().checked_sub(subnet.first.to_bits());
            let in_order = size.is_some_and(|size| size < 65_536);
            if !(host(subnet.first) && host(subnet.last) && in_order) {
                return Err(DhcpServerError::BadPool(number));
            }
        }
        for (number, reservation) in config.reservations.iter().enumerate() {
            let known = config.subnets.iter().any(|subnet| {
                subnet.network.contains(reservation.address.into())
                    && is_host_in(reservation.address, subnet.network.prefix_len())
            });
            let nobody = reservation.identifier.is_none() && reservation.hardware.is_none();
            if !known || nobody || reservation.address == config.address {
                return Err(DhcpServerError::BadReservation(number));
            }
        }
        if config.shortest_lease > config.longest_lease
            || config.shortest_lease.is_zero()
            || config.lease_time.is_zero()
        {
            return Err(DhcpServerError::BadTimes);
        }
        Ok(DhcpServer {
            config,
            table: Table::new(leases.into()),
            probes: Probes::new(ManagedSlice::Borrowed(&mut [])),
            counters: DhcpServerCounters::default(),
        })
    }

    /// What the server was told (getter).
    pub fn config(&self) -> &DhcpServerConfig<'a> {
        &self.config
    }

    /// What happened so far (getter).
    pub fn counters(&self) -> DhcpServerCounters {
        self.counters
    }

    /// All that is known of addresses, sorted by these, what is over included (getter). `wall` is the time since the Unix
    /// epoch, where it is known.
    pub fn leases(
        &self,
        now: Instant,
        wall: Option<Duration>,
    ) -> impl Iterator<Item = DhcpRecord> + '_ {
        self.table.iter().map(move |entry| record(entry, now, wall))
    }

    /// Gives back a record of an earlier life, before the first message (mutator). Says whether it was of use: it isn't for an
    /// address of no subnet, or when the table is full. Of two of one address the one that lasts longer counts.
    pub fn restore(&mut self, now: Instant, wall: Option<Duration>, record: &DhcpRecord) -> bool {
        let known = |subnet: &DhcpSubnet<'_>| subnet.network.contains(record.address.into());
        if !self.config.subnets.iter().any(known) || record.kind == DhcpLeaseKind::Offered {
            return false;
        }
        let until = match (record.expires, wall) {
            (Some(u64::MAX), _) => Instant::FAR_FUTURE,
            (Some(expires), Some(wall)) => {
                now.saturating_add(Duration::from_secs(expires).saturating_sub(wall))
            }
            // When it began nobody knows: it may have begun right before the restart.
            _ => now.saturating_add(self.config.longest_lease.max(self.config.lease_time)),
        };
        if self
            .table
            .get(record.address)
            .is_some_and(|entry| entry.until >= until)
        {
            return false;
        }
        self.table.put(
            now,
            Entry {
                address: record.address,
                client: record.client,
                hardware: record.hardware,
                kind: record.kind,
                until,
                unsaved: false,
            },
        )
    }

    /// A record that is to be written, durably, in place of what its address had (output).
    pub fn poll_change(&mut self, now: Instant, wall: Option<Duration>) -> Option<DhcpRecord> {
        let entry = self.table.poll_unsaved()?;
        Some(record(&entry, now, wall))
    }

    /// A record that [`poll_change`](Self::poll_change) gave could not be written: it will be given again (mutator). The reply
    /// must not be sent.
    pub fn not_saved(&mut self, address: Ipv4Addr) {
        self.counters.not_saved += 1;
        self.table.mark_unsaved(address);
    }

    /// A message came to port 67 (input). The reply, if there is one, is written to the beginning of `buffer`, which bounds its
    /// length: at least [`MESSAGE_LEN`](crate::wire::dhcp::MESSAGE_LEN), or options are left out that others would see.
    pub fn handle_message(
        &mut self,
        now: Instant,
        bytes: &[u8],
        buffer: &mut [u8],
    ) -> Option<DhcpReply> {
        self.counters.received += 1;
        self.answer(now, bytes, 0, buffer)
    }

    /// The reply to a message, for which so many addresses were found in use already.
    fn answer(
        &mut self,
        now: Instant,
        bytes: &[u8],
        rounds: u8,
        buffer: &mut [u8],
    ) -> Option<DhcpReply> {
        let Ok(packet) = DhcpPacket::new_checked(bytes) else {
            self.counters.malformed += 1;
            return None;
        };
        let (Some(kind), DhcpOperation::Request) = (packet.message_type(), packet.operation())
        else {
            self.counters.not_a_request += 1;
            return None;
        };
        let relay = packet.option(option::RELAY_AGENT);
        let key = ClientKey::of(&packet).filter(|_| relay.is_none_or(|relay| relay.len() <= 255));
        let Some(key) = key else {
            self.counters.too_long += 1;
            return None;
        };
        let config = self.config;
        let Some(subnet) = subnet_of(&config, &packet) else {
            self.counters.no_subnet += 1;
            return None;
        };
        let asker = Asker {
            subnet,
            key,
            hardware: packet.hardware(),
        };
        let verdict = match kind {
            DhcpMessageType::Discover => self.discover(now, &packet, &asker, bytes, rounds),
            DhcpMessageType::Request => self.request(now, &packet, &asker),
            DhcpMessageType::Decline => self.decline(now, &packet, &asker),
            DhcpMessageType::Release => self.release(now, &packet, &asker),
            DhcpMessageType::Inform => self.inform(&packet, &asker),
            DhcpMessageType::Offer | DhcpMessageType::Ack | DhcpMessageType::Nak => {
                self.counters.not_a_request += 1;
                Verdict::Silence
            }
        };
        let reply = self.reply(&packet, &asker, verdict, buffer);
        let counter = match verdict {
            Verdict::Silence => return None,
            _ if reply.is_none() => &mut self.counters.no_room,
            Verdict::Offer(..) => &mut self.counters.offered,
            Verdict::Ack(..) => &mut self.counters.acknowledged,
            Verdict::Informed => &mut self.counters.informed,
            Verdict::Nak => &mut self.counters.refused,
        };
        *counter += 1;
        reply
    }

    fn discover(
        &mut self,
        now: Instant,
        packet: &DhcpPacket<'_>,
        asker: &Asker<'_>,
        bytes: &[u8],
        rounds: u8,
    ) -> Verdict {
        let requested = packet.address(option::REQUESTED_ADDRESS);
        let Some(address) = self.choose(now, asker, requested) else {
            self.counters.exhausted += 1;
            return Verdict::Silence;
        };
        let time = self.lease_time(packet);
        // A lease that runs is offered as it is: the offer must not shorten it.
        if self.is_held_by(now, address, asker) {
            return Verdict::Offer(address, time);
        }
        // What was offered to this client a moment ago was looked at then, or is being looked at.
        let offered = self.is_offered_to(now, address, asker);
        if offered && self.probes.wait_on(address, &asker.key, bytes) {
            return Verdict::Silence;
        }
        let entry = Entry {
            address,
            client: asker.key,
            hardware: asker.hardware,
            kind: DhcpLeaseKind::Offered,
            until: now.saturating_add(self.config.offer_time),
            unsaved: false,
        };
        self.withdraw(asker);
        if !self.table.put(now, entry) {
            self.counters.table_full += 1;
            return Verdict::Silence;
        }
        // A reserved address is its client's, even while that answers from it.
        if offered || self.probes.is_empty() || self.reserved_for(asker) == Some(address) {
            return Verdict::Offer(address, time);
        }
        let until = self.probe_end(now);
        if self.probes.begin(address, asker.key, until, rounds, bytes) {
            return Verdict::Silence;
        }
        self.counters.not_probed += 1;
        Verdict::Offer(address, time)
    }

    fn request(&mut self, now: Instant, packet: &DhcpPacket<'_>, asker: &Asker<'_>) -> Verdict {
        let server = packet.address(option::SERVER_IDENTIFIER);
        let requested = packet.address(option::REQUESTED_ADDRESS);
        let has = Some(packet.client_address()).filter(|address| !address.is_unspecified());
        match (server, requested, has) {
            // SELECTING: another server's offer was taken.
            (Some(server), _, _) if server != self.config.address => {
                self.counters.other_server += 1;
                self.withdraw(asker);
                Verdict::Silence
            }
            // SELECTING: ours was.
            (Some(_), Some(address), None) => {
                if self.may_have(now, address, asker) {
                    self.bind(now, packet, address, asker)
                } else {
                    Verdict::Nak
                }
            }
            // INIT-REBOOT; RENEWING and REBINDING. Some clients say both.
            (_, Some(address), None) | (_, None, Some(address)) => {
                self.verify(now, packet, address, asker)
            }
            (_, Some(address), Some(has)) if address == has => {
                self.verify(now, packet, address, asker)
            }
            _ => {
                self.counters.malformed += 1;
                Verdict::Silence
            }
        }
    }

    /// A client asks for an address that it says it had (RFC 2131 §4.3.2).
    fn verify(
        &mut self,
        now: Instant,
        packet: &DhcpPacket<'_>,
        address: Ipv4Addr,
        asker: &Asker<'_>,
    ) -> Verdict {
        let ours =
            asker.subnet.network.contains(address.into()) && self.manages(address, asker.subnet);
        if !ours {
            self.counters.not_ours += 1;
            // The wrong network, or an address that nobody but us could have given.
            return if self.config.authoritative {
                Verdict::Nak
            } else {
                Verdict::Silence
            };
        }
        if !self.may_have(now, address, asker) {
            return Verdict::Nak;
        }
        let own = self
            .table
            .get(address)
            .is_some_and(|entry| entry.client == asker.key && entry.kind != DhcpLeaseKind::Offered);
        let reserved = self.reserved_for(asker) == Some(address);
        if own || reserved {
            return self.bind(now, packet, address, asker);
        }
        // "If the DHCP server has no record of this client, then it MUST remain silent"; it has one if it gave another.
        let elsewhere = self.table.iter().any(|entry| {
            entry.client == asker.key
                && entry.kind == DhcpLeaseKind::Bound
                && entry.is_taken(now)
                && asker.subnet.network.contains(entry.address.into())
        });
        if elsewhere {
            Verdict::Nak
        } else if self.config.authoritative {
            self.bind(now, packet, address, asker)
        } else {
            self.counters.not_ours += 1;
            Verdict::Silence
        }
    }

    fn bind(
        &mut self,
        now: Instant,
        packet: &DhcpPacket<'_>,
        address: Ipv4Addr,
        asker: &Asker<'_>,
    ) -> Verdict {
        let time = self.lease_time(packet);
        let until = if is_infinite(time) {
            Instant::FAR_FUTURE
        } else {
            now.saturating_add(time)
        };
        self.leave_others(now, address, asker);
        let entry = Entry {
            address,
            client: asker.key,
            hardware: asker.hardware,
            kind: DhcpLeaseKind::Bound,
            until,
            unsaved: true,
        };
        if !self.table.put(now, entry) {
            self.counters.table_full += 1;
            return Verdict::Silence;
        }
        Verdict::Ack(address, time)
    }

    fn decline(&mut self, now: Instant, packet: &DhcpPacket<'_>, asker: &Asker<'_>) -> Verdict {
        let requested = packet.address(option::REQUESTED_ADDRESS);
        let until = now.saturating_add(self.config.conflict_time);
        if let Some(entry) = self.own_entry(packet, requested, asker) {
            self.counters.declined += 1;
            self.table.put(
                now,
                Entry {
                    client: ClientKey::NOBODY,
                    kind: DhcpLeaseKind::Declined,
                    until,
                    unsaved: true,
                    ..entry
                },
            );
        }
        Verdict::Silence
    }

    fn release(&mut self, now: Instant, packet: &DhcpPacket<'_>, asker: &Asker<'_>) -> Verdict {
        let address = Some(packet.client_address());
        if let Some(entry) = self.own_entry(packet, address, asker) {
            self.counters.released += 1;
            self.table.put(
                now,
                Entry {
                    kind: DhcpLeaseKind::Released,
                    until: now,
                    unsaved: true,
                    ..entry
                },
            );
        }
        Verdict::Silence
    }

    /// What DHCPDECLINE and DHCPRELEASE are about: an address of this server that this client has.
    fn own_entry(
        &mut self,
        packet: &DhcpPacket<'_>,
        address: Option<Ipv4Addr>,
        asker: &Asker<'_>,
    ) -> Option<Entry> {
        if packet.address(option::SERVER_IDENTIFIER) != Some(self.config.address) {
            self.counters.other_server += 1;
            return None;
        }
        let entry = self.table.get(address?).copied();
        let own = entry.filter(|entry| {
            entry.client == asker.key
                && matches!(entry.kind, DhcpLeaseKind::Bound | DhcpLeaseKind::Offered)
        });
        self.counters.not_ours += u64::from(own.is_none());
        own
    }

    /// RFC 2131 §4.3.5: options for a host that has its address from elsewhere.
    fn inform(&mut self, packet: &DhcpPacket<'_>, asker: &Asker<'_>) -> Verdict {
        let network = asker.subnet.network;
        let address = packet.client_address();
        // The reply goes there: to no one but a host of the client's own network.
        if network.contains(address.into()) && is_host_in(address, network.prefix_len()) {
            Verdict::Informed
        } else {
            self.counters.malformed += 1;
            Verdict::Silence
        }
    }

    /// For how long: what the client asks for, within our bounds (RFC 2131 §4.3.1).
    fn lease_time(&self, packet: &DhcpPacket<'_>) -> Duration {
        match packet.u32(option::LEASE_TIME) {
            None => self.config.lease_time,
            Some(INFINITE) => self.config.longest_lease,
            Some(seconds) => Duration::from_secs(seconds.into())
                .clamp(self.config.shortest_lease, self.config.longest_lease),
        }
    }
}

/// The network that a client is on (RFC 2131 §4.3.1): its relay agent's, or, of one that has an address, that; or ours.
fn subnet_of<'c>(
    config: &DhcpServerConfig<'c>,
    packet: &DhcpPacket<'_>,
) -> Option<&'c DhcpSubnet<'c>> {
    let (relay, client) = (packet.relay_address(), packet.client_address());
    let containing = |address: Ipv4Addr| {
        let mut subnets = config.subnets.iter();
        subnets.find(|subnet| subnet.network.contains(address.into()))
    };
    if !relay.is_unspecified() {
        let subnet = containing(relay)?;
        return is_host_in(relay, subnet.network.prefix_len()).then_some(subnet);
    }
    if client.is_unspecified() {
        return containing(config.address);
    }
    // A client behind a relay agent renews its lease by unicast, without it.
    containing(client).or_else(|| containing(config.address))
}

fn is_infinite(time: Duration) -> bool {
    time.as_secs() >= u64::from(INFINITE)
}

fn record(entry: &Entry, now: Instant, wall: Option<Duration>) -> DhcpRecord {
    let expires = if entry.until == Instant::FAR_FUTURE {
        Some(u64::MAX)
    } else {
        // Rounded up: never earlier than the client thinks.
        let left = entry.until.saturating_duration_since(now);
        wall.map(|wall| wall.saturating_add(left).as_secs().saturating_add(1))
    };
    DhcpRecord {
        address: entry.address,
        kind: entry.kind,
        expires,
        hardware: entry.hardware,
        client: entry.client,
    }
}
