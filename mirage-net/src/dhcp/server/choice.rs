//! Which address a client gets, and which it may keep (RFC 2131 §4.3.1).

use core::net::Ipv4Addr;

use mirage_core::Instant;

use super::{Asker, DhcpLeaseKind, DhcpReservation, DhcpServer, DhcpSubnet};
use crate::dhcp::client::lease::is_host_in;

impl<'a> DhcpServer<'a> {
    /// The address to offer.
    pub(super) fn choose(
        &self,
        now: Instant,
        asker: &Asker<'_>,
        requested: Option<Ipv4Addr>,
    ) -> Option<Ipv4Addr> {
        let own = self.table.iter().filter(|entry| {
            entry.client == asker.key && asker.subnet.network.contains(entry.address.into())
        });
        let own = own
            .max_by_key(|entry| entry.until)
            .map(|entry| entry.address);
        [self.reserved_for(asker), own, requested]
            .into_iter()
            .flatten()
            .find(|address| self.may_have(now, *address, asker))
            .or_else(|| self.never_had(asker))
            .or_else(|| self.longest_over(now, asker))
            .or_else(|| self.oldest_conflict(asker))
    }

    /// Whether an address may be this client's: ours to give, reserved for no other, and nobody else's now.
    pub(super) fn may_have(&self, now: Instant, address: Ipv4Addr, asker: &Asker<'_>) -> bool {
        let allowed = match self.reservation(address) {
            Some(reservation) => self.is_for(reservation, asker),
            // Whoever has an address of its own gets no other, unless that one can't be had.
            None => {
                self.in_pool(address, asker.subnet)
                    && self
                        .reserved_for(asker)
                        .is_none_or(|reserved| self.is_taken(now, reserved, asker))
            }
        };
        allowed
            && asker.subnet.network.contains(address.into())
            && !self.is_taken(now, address, asker)
    }

    /// Whether an address is another's now, or in conflict.
    fn is_taken(&self, now: Instant, address: Ipv4Addr, asker: &Asker<'_>) -> bool {
        self.table
            .get(address)
            .is_some_and(|entry| entry.client != asker.key && entry.is_taken(now))
    }

    /// Whether it has a lease that runs.
    pub(super) fn is_held_by(&self, now: Instant, address: Ipv4Addr, asker: &Asker<'_>) -> bool {
        self.table.get(address).is_some_and(|entry| {
            entry.client == asker.key && entry.kind == DhcpLeaseKind::Bound && entry.is_taken(now)
        })
    }

    /// Whether it was offered, to this client, and that still counts.
    pub(super) fn is_offered_to(&self, now: Instant, address: Ipv4Addr, asker: &Asker<'_>) -> bool {
        self.table.get(address).is_some_and(|entry| {
            entry.client == asker.key && entry.kind == DhcpLeaseKind::Offered && entry.is_taken(now)
        })
    }

    /// Whether an address is this server's to give.
    pub(super) fn manages(&self, address: Ipv4Addr, subnet: &DhcpSubnet<'_>) -> bool {
        self.in_pool(address, subnet) || self.reservation(address).is_some()
    }

    /// Whether an address can be given from a pool, reservations apart.
    fn in_pool(&self, address: Ipv4Addr, subnet: &DhcpSubnet<'_>) -> bool {
        (subnet.first..=subnet.last).contains(&address)
            && is_host_in(address, subnet.network.prefix_len())
            && address != self.config.address
            && !subnet.routers.contains(&address)
    }

    pub(super) fn reservation(&self, address: Ipv4Addr) -> Option<&'a DhcpReservation<'a>> {
        let mut reservations = self.config.reservations.iter();
        reservations.find(|reservation| reservation.address == address)
    }

    /// The address that is kept for a client.
    pub(super) fn reserved_for(&self, asker: &Asker<'_>) -> Option<Ipv4Addr> {
        let mut reservations = self.config.reservations.iter();
        let own = reservations.find(|reservation| {
            asker.subnet.network.contains(reservation.address.into())
                && self.is_for(reservation, asker)
        });
        own.map(|reservation| reservation.address)
    }

    fn is_for(&self, reservation: &DhcpReservation<'_>, asker: &Asker<'_>) -> bool {
        let identified =
            reservation.identifier.is_some() && reservation.identifier == asker.key.identifier();
        identified || reservation.hardware == Some(asker.hardware)
    }

    /// The first address of the pool that nobody is known to have had. Addresses without an entry are looked at one by one: at
    /// most one of them is free, the others are reserved, or the server's and the routers'.
    fn never_had(&self, asker: &Asker<'_>) -> Option<Ipv4Addr> {
        let subnet = asker.subnet;
        let (first, last) = (subnet.first.to_bits(), subnet.last.to_bits());
        let mut next = first;
        let pool = self.table.iter().map(|entry| entry.address.to_bits());
        // Behind the last entry lies the end of the pool.
        let entries = pool
            .filter(|address| (first..=last).contains(address))
            .chain([last.saturating_add(1)]);
        for entry in entries {
            for candidate in next..entry.min(last.saturating_add(1)) {
                let candidate = Ipv4Addr::from_bits(candidate);
                if self.in_pool(candidate, subnet) && self.reservation(candidate).is_none() {
                    return Some(candidate);
                }
            }
            next = entry.saturating_add(1);
        }
        None
    }

    /// The address whose lease, offer or conflict has been over for longest.
    fn longest_over(&self, now: Instant, asker: &Asker<'_>) -> Option<Ipv4Addr> {
        let over = self.table.iter().filter(|entry| {
            !entry.is_taken(now)
                && self.in_pool(entry.address, asker.subnet)
                && self.reservation(entry.address).is_none()
        });
        over.min_by_key(|entry| entry.until)
            .map(|entry| entry.address)
    }

    /// The address that was found in conflict longest ago.
    fn oldest_conflict(&self, asker: &Asker<'_>) -> Option<Ipv4Addr> {
        let conflicts = self.table.iter().filter(|entry| {
            entry.kind == DhcpLeaseKind::Declined
                && self.in_pool(entry.address, asker.subnet)
                && self.reservation(entry.address).is_none()
        });
        conflicts
            .min_by_key(|entry| entry.until)
            .map(|entry| entry.address)
    }

    /// The client takes no offer of ours: none is held for it.
    pub(super) fn withdraw(&mut self, asker: &Asker<'_>) {
        let offer = self.table.iter().find(|entry| {
            entry.client == asker.key
                && entry.kind == DhcpLeaseKind::Offered
                && asker.subnet.network.contains(entry.address.into())
        });
        if let Some(address) = offer.map(|entry| entry.address) {
            self.table.remove(address);
        }
    }

    /// A client has one lease in a network: what it had there otherwise is over.
    pub(super) fn leave_others(&mut self, now: Instant, address: Ipv4Addr, asker: &Asker<'_>) {
        self.withdraw(asker);
        let other = self.table.iter().find(|entry| {
            entry.client == asker.key
                && entry.address != address
                && entry.kind == DhcpLeaseKind::Bound
                && entry.is_taken(now)
                && asker.subnet.network.contains(entry.address.into())
        });
        if let Some(mut other) = other.copied() {
            other.kind = DhcpLeaseKind::Released;
            other.until = now;
            other.unsaved = true;
            self.table.put(now, other);
        }
    }
}
