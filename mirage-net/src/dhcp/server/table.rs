//! The table of leases: sorted by address, one for each.

use core::net::Ipv4Addr;

use managed::ManagedSlice;
use mirage_core::Instant;

use super::DhcpLeaseKind;
use super::client::ClientKey;
use crate::wire::dhcp::DhcpHardware;

/// Storage for one lease.
#[derive(Debug, Default)]
pub struct DhcpLeaseSlot(Option<Entry>);

impl DhcpLeaseSlot {
    /// An empty slot.
    pub const EMPTY: Self = DhcpLeaseSlot(None);
}

/// What is known of one address.
#[derive(Debug, Clone, Copy)]
pub(super) struct Entry {
    pub(super) address: Ipv4Addr,
    pub(super) client: ClientKey,
    pub(super) hardware: DhcpHardware,
    pub(super) kind: DhcpLeaseKind,
    /// Until when it counts; afterwards it is a memory of who had the address.
    pub(super) until: Instant,
    /// The store doesn't have it yet.
    pub(super) unsaved: bool,
}

impl Entry {
    /// Whether the address can't be another's now.
    pub(super) fn is_taken(&self, now: Instant) -> bool {
        self.kind != DhcpLeaseKind::Released && self.until > now
    }
}

/// The slots before `length` are full, and sorted by address.
pub(super) struct Table<'a> {
    slots: ManagedSlice<'a, DhcpLeaseSlot>,
    length: usize,
    unsaved: usize,
}

impl<'a> Table<'a> {
    pub(super) fn new(mut slots: ManagedSlice<'a, DhcpLeaseSlot>) -> Self {
        for slot in slots.iter_mut() {
            slot.0 = None;
        }
        Table {
            slots,
            length: 0,
            unsaved: 0,
        }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Entry> + '_ {
        self.slots.iter().take(self.length).flat_map(|slot| &slot.0)
    }

    fn position(&self, address: Ipv4Addr) -> Result<usize, usize> {
        let slots = self.slots.get(..self.length).unwrap_or_default();
        // A slot without an entry isn't among them.
        slots.binary_search_by(|slot| match &slot.0 {
            Some(entry) => entry.address.cmp(&address),
            None => core::cmp::Ordering::Greater,
        })
    }

    pub(super) fn get(&self, address: Ipv4Addr) -> Option<&Entry> {
        let at = self.position(address).ok()?;
        self.slots.get(at)?.0.as_ref()
    }

    /// Puts an entry in, in place of what its address had. Where there is no room the one that ended first makes it. Says
    /// whether there was any: entries that count make none.
    pub(super) fn put(&mut self, now: Instant, entry: Entry) -> bool {
        let mut place = self.position(entry.address);
        if place.is_err() && self.length == self.slots.len() {
            let over = |(at, slot): (usize, &DhcpLeaseSlot)| {
                let entry = slot.0.as_ref()?;
                (!entry.is_taken(now)).then_some((entry.until, at))
            };
            let Some((_, at)) = self.slots.iter().enumerate().filter_map(over).min() else {
                return false;
            };
            self.take(at);
            place = self.position(entry.address);
        }
        self.unsaved += usize::from(entry.unsaved);
        match place {
            Ok(at) => {
                if let Some(slot) = self.slots.get_mut(at) {
                    let old = slot.0.replace(entry);
                    self.unsaved -= usize::from(old.is_some_and(|old| old.unsaved));
                }
            }
            Err(at) => {
                self.length += 1;
                if let Some(slots) = self.slots.get_mut(at..self.length) {
                    slots.rotate_right(1);
                    slots[0].0 = Some(entry);
                }
            }
        }
        true
    }

    fn take(&mut self, at: usize) {
        if let Some(slots) = self.slots.get_mut(at..self.length)
            && let Some(slot) = slots.first_mut()
        {
            let old = slot.0.take();
            self.unsaved -= usize::from(old.is_some_and(|old| old.unsaved));
            slots.rotate_left(1);
            self.length -= 1;
        }
    }

    pub(super) fn remove(&mut self, address: Ipv4Addr) {
        if let Ok(at) = self.position(address) {
            self.take(at);
        }
    }

    /// The first entry that the store doesn't have; it does from now on.
    pub(super) fn poll_unsaved(&mut self) -> Option<Entry> {
        if self.unsaved == 0 {
            return None;
        }
        let mut entries = self.slots.iter_mut().flat_map(|slot| &mut slot.0);
        let entry = entries.find(|entry| entry.unsaved)?;
        entry.unsaved = false;
        self.unsaved -= 1;
        Some(*entry)
    }

    /// It doesn't, after all.
    pub(super) fn mark_unsaved(&mut self, address: Ipv4Addr) {
        if let Ok(at) = self.position(address)
            && let Some(entry) = self.slots.get_mut(at).and_then(|slot| slot.0.as_mut())
            && !entry.unsaved
        {
            entry.unsaved = true;
            self.unsaved += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;
    use std::vec::Vec;

    fn entry(address: u8, until: u64, unsaved: bool) -> Entry {
        Entry {
            address: Ipv4Addr::new(10, 0, 0, address),
            client: ClientKey::NOBODY,
            hardware: DhcpHardware::default(),
            kind: DhcpLeaseKind::Bound,
            until: Instant::from_secs(until),
            unsaved,
        }
    }

    proptest! {
        /// Against a map: sorted, one entry an address, the count of what is unsaved right, and nothing that counts is lost.
        #[test]
        fn the_table_is_a_bounded_sorted_map(
            steps in prop::collection::vec((0u8..12, 0u64..8, any::<bool>(), 0u8..8), 0..200),
        ) {
            let mut slots = [const { DhcpLeaseSlot::EMPTY }; 6];
            let mut table = Table::new((&mut slots[..]).into());
            let mut map: BTreeMap<Ipv4Addr, (Instant, bool)> = BTreeMap::new();
            let mut now = Instant::ZERO;
            for (address, until, unsaved, action) in steps {
                let entry = entry(address, now.as_secs() + until, unsaved);
                match action {
                    0 => {
                        table.remove(entry.address);
                        map.remove(&entry.address);
                    }
                    1 => now += core::time::Duration::from_secs(1),
                    2 => {
                        if let Some(saved) = table.poll_unsaved() {
                            prop_assert!(map.get_mut(&saved.address).is_some_and(|(_, unsaved)| core::mem::take(unsaved)));
                        } else {
                            prop_assert!(map.values().all(|(_, unsaved)| !unsaved));
                        }
                    }
                    3 => {
                        table.mark_unsaved(entry.address);
                        if let Some((_, unsaved)) = map.get_mut(&entry.address) {
                            *unsaved = true;
                        }
                    }
                    _ => {
                        let full = map.len() == 6 && !map.contains_key(&entry.address);
                        let counting = map.values().all(|(until, _)| *until > now);
                        prop_assert_eq!(table.put(now, entry), !(full && counting));
                        if full {
                            // Who makes room is the one that ended first.
                            let left: Vec<_> = table.iter().map(|entry| entry.address).collect();
                            let gone: Vec<_> = map.keys().copied().filter(|a| !left.contains(a)).collect();
                            let first = map.values().map(|(until, _)| *until).min();
                            for gone in gone {
                                prop_assert_eq!(map.remove(&gone).map(|(until, _)| until), first);
                            }
                        }
                        if !(full && counting) {
                            map.insert(entry.address, (entry.until, unsaved));
                        }
                    }
                }
                let entries: Vec<_> = table.iter().map(|e| (e.address, (e.until, e.unsaved))).collect();
                let expected: Vec<_> = map.iter().map(|(a, e)| (*a, *e)).collect();
                prop_assert_eq!(entries, expected);
            }
        }
    }
}
