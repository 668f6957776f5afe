//! Addresses that are looked at before they are offered (RFC 2131 §2.2), and the messages that wait meanwhile.

use core::net::Ipv4Addr;
use core::time::Duration;

use managed::ManagedSlice;
use mirage_core::Instant;

use super::client::ClientKey;
use super::{DhcpLeaseKind, DhcpReply, DhcpServer};
use crate::wire::dhcp::MESSAGE_LEN;

/// Bytes of the longest DHCPDISCOVER that waits: what everyone takes, and a relay agent's longest option behind it.
const LONGEST: usize = MESSAGE_LEN + 257;
/// Addresses that are looked at for one message, if each is found to be in use.
const ROUNDS: u8 = 4;

/// Storage for one address that is being looked at, and the message that waits for it: about 900 bytes.
#[derive(Debug, Default)]
pub struct DhcpProbeSlot(Option<Probe>);

impl DhcpProbeSlot {
    /// An empty slot.
    pub const EMPTY: Self = DhcpProbeSlot(None);
}

#[derive(Debug, Clone, Copy)]
struct Probe {
    /// What is looked at; unspecified after it was found in use: another is chosen.
    address: Ipv4Addr,
    client: ClientKey,
    /// The owner has sent the request.
    asked: bool,
    until: Instant,
    /// Addresses that were in use so far.
    rounds: u8,
    length: usize,
    message: [u8; LONGEST],
}

/// All of them.
pub(super) struct Probes<'a>(ManagedSlice<'a, DhcpProbeSlot>);

impl<'a> Probes<'a> {
    pub(super) fn new(mut slots: ManagedSlice<'a, DhcpProbeSlot>) -> Self {
        for slot in slots.iter_mut() {
            slot.0 = None;
        }
        Probes(slots)
    }

    /// Whether nothing is ever looked at.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn iter_mut(&mut self) -> impl Iterator<Item = &mut Probe> {
        self.0.iter_mut().flat_map(|slot| &mut slot.0)
    }

    /// Whether an address is being looked at for a client. The answer will be to its newest message.
    pub(super) fn wait_on(&mut self, address: Ipv4Addr, client: &ClientKey, bytes: &[u8]) -> bool {
        let mut probes = self.iter_mut();
        let probe = probes.find(|probe| probe.address == address && probe.client == *client);
        let Some(probe) = probe else {
            return false;
        };
        if let Some(message) = probe.message.get_mut(..bytes.len()) {
            message.copy_from_slice(bytes);
            probe.length = bytes.len();
        }
        true
    }

    /// Begins to look at an address, in place of what was looked at for this client before. Says whether there was room.
    pub(super) fn begin(
        &mut self,
        address: Ipv4Addr,
        client: ClientKey,
        until: Instant,
        rounds: u8,
        bytes: &[u8],
    ) -> bool {
        let mut message = [0; LONGEST];
        let Some(to) = message.get_mut(..bytes.len()) else {
            return false;
        };
        to.copy_from_slice(bytes);
        let is_same = |slot: &DhcpProbeSlot| slot.0.is_some_and(|probe| probe.client == client);
        let same = self.0.iter().position(is_same);
        let free = same.or_else(|| self.0.iter().position(|slot| slot.0.is_none()));
        let Some(slot) = free.and_then(|at| self.0.get_mut(at)) else {
            return false;
        };
        slot.0 = Some(Probe {
            address,
            client,
            asked: false,
            until,
            rounds,
            length: bytes.len(),
            message,
        });
        true
    }

    fn take_due(&mut self, now: Instant) -> Option<Probe> {
        let is_due = |slot: &&mut DhcpProbeSlot| slot.0.is_some_and(|probe| probe.until <= now);
        self.0.iter_mut().find(is_due)?.0.take()
    }
}

impl<'a> DhcpServer<'a> {
    /// Has each address looked at before it is offered, "e.g., with an ICMP echo request" (RFC 2131 §2.2), but those that are reserved
    /// and those that the client has a lease of (mutator): as many at a time as there are slots. Beyond that addresses are offered as
    /// they are, and counted; clients look for themselves.
    #[must_use]
    pub fn with_probes(mut self, slots: impl Into<ManagedSlice<'a, DhcpProbeSlot>>) -> Self {
        self.probes = Probes::new(slots.into());
        self
    }

    /// An address that is to be sent an echo request (output). If anyone answers, say so by
    /// [`handle_address_in_use`](Self::handle_address_in_use); silence until the deadline is enough for the address to be offered.
    pub fn poll_probe(&mut self) -> Option<Ipv4Addr> {
        let mut probes = self.probes.iter_mut();
        let probe = probes.find(|probe| !probe.asked && !probe.address.is_unspecified())?;
        probe.asked = true;
        Some(probe.address)
    }

    /// A station answered for an address that [`poll_probe`](Self::poll_probe) gave (input). It is left alone as one that a client
    /// declined, and another is looked at, of at most four for one message. What was not asked for is ignored.
    pub fn handle_address_in_use(&mut self, now: Instant, address: Ipv4Addr) {
        let until = now.saturating_add(self.config.conflict_time);
        for slot in self.probes.0.iter_mut() {
            let Some(probe) = slot
                .0
                .as_mut()
                .filter(|probe| probe.asked && probe.address == address)
            else {
                continue;
            };
            self.counters.in_use += 1;
            let entry = self.table.get(address).copied();
            let offered = entry.filter(|entry| {
                entry.kind == DhcpLeaseKind::Offered && entry.client == probe.client
            });
            if let Some(mut entry) = offered {
                entry.client = ClientKey::NOBODY;
                entry.kind = DhcpLeaseKind::Declined;
                entry.until = until;
                entry.unsaved = true;
                self.table.put(now, entry);
            }
            probe.rounds += 1;
            if probe.rounds >= ROUNDS || offered.is_none() {
                slot.0 = None;
            } else {
                probe.address = Ipv4Addr::UNSPECIFIED;
                probe.until = now;
            }
        }
    }

    /// The reply to a message that waited, once its time has come (output), as
    /// [`handle_message`](Self::handle_message) gives one: to be sent after what [`poll_change`](Self::poll_change) gives is written.
    pub fn poll_reply(&mut self, now: Instant, buffer: &mut [u8]) -> Option<DhcpReply> {
        // Each turn takes a message out; one that waits once more does so for a later time, or is in its last round but three.
        while let Some(probe) = self.probes.take_due(now) {
            let entry = self.table.get(probe.address);
            let waits = entry.is_some_and(|entry| {
                entry.kind == DhcpLeaseKind::Offered && entry.client == probe.client
            });
            // Whoever took another server's offer meanwhile waits no more.
            if !waits && !probe.address.is_unspecified() {
                continue;
            }
            let message = probe.message.get(..probe.length).unwrap_or_default();
            let reply = self.answer(now, message, probe.rounds, buffer);
            if reply.is_some() {
                return reply;
            }
        }
        None
    }

    /// When [`poll_reply`](Self::poll_reply) will have something to give; none for never (output, the last).
    pub fn poll_timeout(&self) -> Option<Instant> {
        let probes = self.probes.0.iter().flat_map(|slot| &slot.0);
        probes.map(|probe| probe.until).min()
    }

    /// For how long answers are waited for.
    pub(super) fn probe_end(&self, now: Instant) -> Instant {
        // Not none at all: a message that waits must not be due in the turn in which it begins to.
        now.saturating_add(self.config.probe_wait.max(Duration::from_millis(1)))
    }
}
