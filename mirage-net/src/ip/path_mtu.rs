//! What path MTU discovery has learned (RFC 1191), in a table of the caller's size.

use core::net::IpAddr;
use core::time::Duration;

use managed::ManagedSlice;
use mirage_core::Instant;

/// RFC 1191 §7.1, table 7-1: the sizes of common links, for routers that tell no next-hop MTU.
const PLATEAUS: [u16; 11] = [
    65_535, 32_000, 17_914, 8_166, 4_352, 2_002, 1_492, 1_006, 508, 296, 68,
];

/// How path MTUs are believed and forgotten.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PathMtuConfig {
    /// No report lowers a path below this many bytes (at least 68, RFC 791's minimum).
    ///
    /// A path that claims less is used at this size without Don't Fragment, so that its routers
    /// may cut: a forged report of 68 would otherwise turn every answer into a burst of tiny
    /// fragments.
    pub minimum: u16,
    /// After this time a path is tried at full size again (RFC 1191 §6.3: ten minutes, and not
    /// below five).
    pub lifetime: Duration,
}

impl Default for PathMtuConfig {
    fn default() -> Self {
        PathMtuConfig {
            minimum: 552,
            lifetime: Duration::from_secs(600),
        }
    }
}

/// Storage for what is known of one path.
#[derive(Debug, Default)]
pub struct PathMtuSlot(Option<Entry>);

impl PathMtuSlot {
    /// An empty slot.
    pub const EMPTY: Self = PathMtuSlot(None);
}

#[derive(Debug, Clone, Copy)]
struct Entry {
    destination: IpAddr,
    mtu: u16,
    /// The path is narrower than the minimum: its routers must be allowed to cut.
    below_minimum: bool,
    expires: Instant,
}

/// What to send at most, and how.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct PathMtu {
    pub(crate) mtu: u16,
    pub(crate) may_forbid_fragments: bool,
}

pub(crate) struct PathMtuCache<'a> {
    slots: ManagedSlice<'a, PathMtuSlot>,
    config: PathMtuConfig,
    /// None of the slots is in use: the lookup of every datagram ends here.
    empty: bool,
}

impl<'a> PathMtuCache<'a> {
    pub(crate) fn new(slots: ManagedSlice<'a, PathMtuSlot>, config: PathMtuConfig) -> Self {
        PathMtuCache {
            slots,
            config: PathMtuConfig {
                minimum: config.minimum.max(68),
                ..config
            },
            empty: true,
        }
    }

    /// What a path takes, on an interface of `interface_mtu` bytes.
    pub(crate) fn lookup(&self, now: Instant, destination: IpAddr, interface_mtu: u16) -> PathMtu {
        let full = PathMtu {
            mtu: interface_mtu,
            may_forbid_fragments: true,
        };
        if self.empty {
            return full;
        }
        self.slots
            .iter()
            .filter_map(|slot| slot.0)
            .find(|entry| entry.destination == destination && now < entry.expires)
            .map_or(full, |entry| PathMtu {
                mtu: entry.mtu.min(interface_mtu),
                may_forbid_fragments: !entry.below_minimum,
            })
    }

    /// A router said that a datagram of `datagram_len` bytes did not fit; returns the path's new
    /// size, or none when the report says nothing new or can't be true.
    ///
    /// `next_hop_mtu` is 0 from a router older than RFC 1191. A report never raises a path.
    /// When all slots are in use the path that expires first makes room.
    pub(crate) fn handle_fragmentation_needed(
        &mut self,
        now: Instant,
        destination: IpAddr,
        next_hop_mtu: u16,
        datagram_len: u16,
        interface_mtu: u16,
    ) -> Option<u16> {
        let claimed = if next_hop_mtu == 0 {
            PLATEAUS
                .into_iter()
                .find(|plateau| *plateau < datagram_len)?
        } else if next_hop_mtu < datagram_len {
            next_hop_mtu
        } else {
            // It would have fitted.
            return None;
        };
        let mtu = claimed.max(self.config.minimum);
        let known = self.lookup(now, destination, interface_mtu);
        let below_minimum = claimed < self.config.minimum;
        if mtu >= known.mtu && !(below_minimum && known.may_forbid_fragments) {
            return None;
        }
        let same = |slot: &PathMtuSlot| slot.0.is_some_and(|e| e.destination == destination);
        let index = self.slots.iter().position(same).or_else(|| {
            let expires = |slot: &PathMtuSlot| slot.0.map(|entry| entry.expires);
            (0..self.slots.len()).min_by_key(|index| expires(&self.slots[*index]))
        })?;
        let mtu = mtu.min(known.mtu);
        self.slots[index].0 = Some(Entry {
            destination,
            mtu,
            below_minimum,
            expires: now.saturating_add(self.config.lifetime),
        });
        self.empty = false;
        Some(mtu)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Instant = Instant::from_secs(100);

    fn address(last: u8) -> IpAddr {
        core::net::Ipv4Addr::new(192, 0, 2, last).into()
    }

    #[test]
    fn a_reported_size_is_used_and_then_forgotten() {
        let mut slots = [const { PathMtuSlot::EMPTY }; 2];
        let mut cache = PathMtuCache::new((&mut slots[..]).into(), PathMtuConfig::default());
        let new = cache.handle_fragmentation_needed(NOW, address(1), 1400, 1500, 1500);
        assert_eq!(new, Some(1400));
        assert_eq!(cache.lookup(NOW, address(1), 1500).mtu, 1400);
        assert_eq!(cache.lookup(NOW, address(2), 1500).mtu, 1500);
        let later = NOW + Duration::from_secs(600);
        assert_eq!(cache.lookup(later, address(1), 1500).mtu, 1500);
    }

    #[test]
    fn an_old_router_moves_down_the_plateaus() {
        let mut slots = [const { PathMtuSlot::EMPTY }; 2];
        let mut cache = PathMtuCache::new((&mut slots[..]).into(), PathMtuConfig::default());
        let mut report =
            |length| cache.handle_fragmentation_needed(NOW, address(1), 0, length, 1500);
        assert_eq!(report(1500), Some(1492));
        assert_eq!(report(1492), Some(1006));
        assert_eq!(report(1006), Some(552));
        assert_eq!(report(552), None);
    }

    #[test]
    fn reports_that_cannot_be_true_change_nothing() {
        let mut slots = [const { PathMtuSlot::EMPTY }; 2];
        let mut cache = PathMtuCache::new((&mut slots[..]).into(), PathMtuConfig::default());
        let mut report =
            |mtu, length| cache.handle_fragmentation_needed(NOW, address(1), mtu, length, 1500);
        assert_eq!(report(1500, 1500), None);
        assert_eq!(report(9000, 1500), None);
        assert_eq!(report(1400, 1000), None);
        assert_eq!(report(1200, 1500), Some(1200));
        // A report never raises a path.
        assert_eq!(report(1300, 1500), None);
    }

    #[test]
    fn a_forged_tiny_mtu_stops_at_the_minimum_and_lets_routers_cut() {
        let mut slots = [const { PathMtuSlot::EMPTY }; 1];
        let mut cache = PathMtuCache::new((&mut slots[..]).into(), PathMtuConfig::default());
        let new = cache.handle_fragmentation_needed(NOW, address(1), 68, 1500, 1500);
        assert_eq!(new, Some(552));
        assert!(!cache.lookup(NOW, address(1), 1500).may_forbid_fragments);
        assert!(cache.lookup(NOW, address(2), 1500).may_forbid_fragments);
    }

    #[test]
    fn the_table_is_bounded() {
        let mut slots = [const { PathMtuSlot::EMPTY }; 2];
        let mut cache = PathMtuCache::new((&mut slots[..]).into(), PathMtuConfig::default());
        for last in 1..=3 {
            let at = NOW + Duration::from_secs(u64::from(last));
            cache.handle_fragmentation_needed(at, address(last), 1400, 1500, 1500);
        }
        assert_eq!(cache.lookup(NOW, address(1), 1500).mtu, 1500);
        assert_eq!(cache.lookup(NOW, address(2), 1500).mtu, 1400);
        assert_eq!(cache.lookup(NOW, address(3), 1500).mtu, 1400);
        let mut none: [PathMtuSlot; 0] = [];
        let mut cache = PathMtuCache::new((&mut none[..]).into(), PathMtuConfig::default());
        assert_eq!(
            cache.handle_fragmentation_needed(NOW, address(1), 1400, 1500, 1500),
            None
        );
    }
}
