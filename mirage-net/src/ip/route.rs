//! Routes: longest prefix first, in a table of the caller's size.

use core::fmt;
use core::net::IpAddr;

use managed::ManagedSlice;

use super::Cidr;

/// A route through a gateway.
///
/// A gateway need not lie in a prefix of ours: it is taken to be on the link, and resolved there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Route {
    /// The prefix that the route is for; `0.0.0.0/0` is the default route.
    pub destination: Cidr,
    /// Where to send it; none when the prefix itself is on the link.
    pub gateway: Option<IpAddr>,
}

/// Storage for one route.
#[derive(Debug, Default)]
pub struct RouteSlot(Option<Route>);

impl RouteSlot {
    /// An empty slot.
    pub const EMPTY: Self = RouteSlot(None);
}

/// Why a route was not added.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum RouteError {
    /// The table, whose size the caller chose, is full.
    TableFull,
    /// Gateway and destination are of different address families.
    MixedFamilies,
    /// The gateway is unspecified, a multicast, broadcast or loopback address.
    BadGateway,
}

impl fmt::Display for RouteError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            RouteError::TableFull => "the route table is full",
            RouteError::MixedFamilies => "gateway and destination are of different families",
            RouteError::BadGateway => "the gateway's address can't be a host's",
        })
    }
}

impl core::error::Error for RouteError {}

/// The table.
pub(crate) struct RouteTable<'a> {
    slots: ManagedSlice<'a, RouteSlot>,
}

impl<'a> RouteTable<'a> {
    pub(crate) fn new(slots: ManagedSlice<'a, RouteSlot>) -> Self {
        RouteTable { slots }
    }

    /// Adds a route, or replaces the one for the same prefix.
    pub(crate) fn add(&mut self, route: Route) -> Result<(), RouteError> {
        if let Some(gateway) = route.gateway {
            if gateway.is_ipv4() != route.destination.address().is_ipv4() {
                return Err(RouteError::MixedFamilies);
            }
            let broadcast = matches!(gateway, IpAddr::V4(gateway) if gateway.is_broadcast());
            if gateway.is_unspecified()
                || gateway.is_multicast()
                || gateway.is_loopback()
                || broadcast
            {
                return Err(RouteError::BadGateway);
            }
        }
        let same = |slot: &&mut RouteSlot| {
            slot.0
                .is_some_and(|old| same_prefix(old.destination, route.destination))
        };
        if let Some(slot) = self.slots.iter_mut().find(same) {
            slot.0 = Some(route);
            return Ok(());
        }
        match self.slots.iter_mut().find(|slot| slot.0.is_none()) {
            Some(slot) => {
                slot.0 = Some(route);
                Ok(())
            }
            None => Err(RouteError::TableFull),
        }
    }

    /// Removes the route for a prefix; says whether there was one.
    pub(crate) fn remove(&mut self, destination: Cidr) -> bool {
        for slot in self.slots.iter_mut() {
            if slot
                .0
                .is_some_and(|route| same_prefix(route.destination, destination))
            {
                slot.0 = None;
                return true;
            }
        }
        false
    }

    /// The route with the longest prefix.
    pub(crate) fn lookup(&self, destination: IpAddr) -> Option<Route> {
        let mut best: Option<&Route> = None;
        for route in self.slots.iter().flat_map(|slot| &slot.0) {
            let length = route.destination.prefix_len();
            if route.destination.contains(destination)
                && best.is_none_or(|best| best.destination.prefix_len() <= length)
            {
                best = Some(route);
            }
        }
        best.copied()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = Route> + '_ {
        self.slots.iter().filter_map(|slot| slot.0)
    }
}

fn same_prefix(one: Cidr, other: Cidr) -> bool {
    one.prefix_len() == other.prefix_len() && one.contains(other.address())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn route(destination: &str, gateway: &str) -> Route {
        Route {
            destination: destination.parse().unwrap(),
            gateway: Some(gateway.parse().unwrap()),
        }
    }

    #[test]
    fn the_longest_prefix_wins() {
        let mut slots = [const { RouteSlot::EMPTY }; 4];
        let mut table = RouteTable::new((&mut slots[..]).into());
        table.add(route("0.0.0.0/0", "10.0.0.1")).unwrap();
        table.add(route("192.0.2.0/24", "10.0.0.2")).unwrap();
        table.add(route("192.0.2.128/25", "10.0.0.3")).unwrap();
        let via = |table: &RouteTable<'_>, to: &str| {
            table
                .lookup(to.parse().unwrap())
                .and_then(|route| route.gateway)
                .map(|gateway| std::string::ToString::to_string(&gateway))
        };
        assert_eq!(via(&table, "8.8.8.8").as_deref(), Some("10.0.0.1"));
        assert_eq!(via(&table, "192.0.2.5").as_deref(), Some("10.0.0.2"));
        assert_eq!(via(&table, "192.0.2.200").as_deref(), Some("10.0.0.3"));
        assert_eq!(via(&table, "2001:db8::1"), None);
        assert!(table.remove("0.0.0.0/0".parse().unwrap()));
        assert!(!table.remove("0.0.0.0/0".parse().unwrap()));
        assert_eq!(via(&table, "8.8.8.8"), None);
    }

    #[test]
    fn a_prefix_has_one_route_and_the_table_a_bound() {
        let mut slots = [RouteSlot::EMPTY];
        let mut table = RouteTable::new((&mut slots[..]).into());
        table.add(route("10.9.0.0/16", "10.0.0.1")).unwrap();
        table.add(route("10.9.1.1/16", "10.0.0.2")).unwrap();
        assert_eq!(table.iter().count(), 1);
        assert_eq!(
            table.add(route("0.0.0.0/0", "10.0.0.1")),
            Err(RouteError::TableFull)
        );
    }

    #[test]
    fn gateways_that_cannot_be_are_refused() {
        let mut slots = [RouteSlot::EMPTY];
        let mut table = RouteTable::new((&mut slots[..]).into());
        for bad in ["0.0.0.0", "255.255.255.255", "224.0.0.1", "127.0.0.1"] {
            assert_eq!(
                table.add(route("0.0.0.0/0", bad)),
                Err(RouteError::BadGateway)
            );
        }
        assert_eq!(
            table.add(route("0.0.0.0/0", "fe80::1")),
            Err(RouteError::MixedFamilies)
        );
    }
}
