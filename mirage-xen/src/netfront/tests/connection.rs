//! The way that both ends come together, with a backend that the test plays.

use std::format;
use std::string::{String, ToString};
use std::time::Duration;

use mirage_core::{MacAddress, Netif, OffloadFlags};

use super::world::{LARGE_DEVICE, World};
use crate::abi::PortNumber;
use crate::netfront::{NetfrontConfig, discover};
use crate::simulated::Permission;

/// A device whose backend is this test.
struct Played {
    world: World,
    frontend: String,
    backend: String,
}

impl Played {
    fn new(config: NetfrontConfig) -> Self {
        let played = Self::without_device(config);
        played.make("2");
        played
    }

    fn without_device(config: NetfrontConfig) -> Self {
        let world = World::with(1, config);
        let home = world.simulation.store().domain_path();
        let domain = world.simulation.domain().0;
        Self {
            world,
            frontend: format!("{home}/device/vif/0"),
            backend: format!("/local/domain/0/backend/vif/{domain}/0"),
        }
    }

    /// What the toolstack writes, and the backend.
    fn make(&self, state: &str) {
        let domain = self.world.simulation.domain();
        let store = self.world.simulation.store();
        store.write(&self.backend, "");
        store.set_permissions(
            &self.backend,
            &[
                Permission::none(crate::DomainId::DOM0),
                Permission::read(domain),
            ],
        );
        for (key, value) in [
            ("feature-rx-copy", "1"),
            ("feature-sg", "1"),
            ("state", state),
        ] {
            self.set(key, value);
        }
        store.write(&self.frontend, "");
        store.set_permissions(
            &self.frontend,
            &[
                Permission::none(domain),
                Permission::read(crate::DomainId::DOM0),
            ],
        );
        for (key, value) in [
            ("backend-id", "0"),
            ("mac", "00:16:3e:01:02:03"),
            ("mtu", "1400"),
            ("state", "1"),
            ("backend", &self.backend),
        ] {
            store.write(&format!("{}/{key}", self.frontend), value);
        }
    }

    fn set(&self, key: &str, value: &str) {
        let store = self.world.simulation.store();
        store.write(&format!("{}/{key}", self.backend), value);
    }

    fn ours(&self) -> Option<String> {
        self.world.key("state")
    }

    fn until_ours(&self, state: &str) {
        let reached = self.world.until(|| self.ours().as_deref() == Some(state));
        assert!(reached, "{:?} instead of {state}", self.ours());
    }

    fn until_link(&self, up: bool) {
        assert!(self.world.until(|| self.world.link_up() == up));
    }

    /// The other end binds to the port that it was told.
    fn bind(&self) {
        let port = self.world.key("event-channel").unwrap().parse().unwrap();
        let peer = self.world.simulation.peer(crate::DomainId::DOM0);
        peer.bind(PortNumber(port)).unwrap();
    }
}

#[test]
fn the_backend_is_told_what_it_needs_and_the_link_is_up_when_it_connects() {
    let played = Played::new(NetfrontConfig::new());
    played.until_ours("4");
    played.bind();
    let world = &played.world;
    assert!(!world.link_up());
    for (key, value) in [
        ("request-rx-copy", Some("1")),
        ("feature-rx-notify", Some("1")),
        ("feature-sg", Some("1")),
        ("feature-no-csum-offload", None),
        ("feature-gso-tcpv4", None),
        ("feature-gso-tcpv6", None),
        ("feature-ipv6-csum-offload", None),
        ("multi-queue-num-queues", None),
    ] {
        assert_eq!(world.key(key).as_deref(), value, "{key}");
    }
    assert_ne!(world.key("tx-ring-ref"), world.key("rx-ring-ref"));
    played.set("state", "4");
    played.until_link(true);
    world.executor.run_until(world.netfront.ready());
    let netif = world.netfront;
    assert_eq!(netif.mac(), MacAddress([0, 0x16, 0x3e, 1, 2, 3]));
    assert_eq!(netif.mtu(), 1_400);
    let expected = OffloadFlags::RECEIVE_VERIFIED
        | OffloadFlags::RECEIVE_PARTIAL
        | OffloadFlags::TRANSMIT_PARTIAL_V4;
    assert_eq!(netif.offloads().flags, expected);
    assert_eq!(netif.offloads().fragments, 18);
    assert_eq!(netif.posted(), 16);
    world.check();
}

#[test]
fn few_round_trips_lead_to_a_connection() {
    let played = Played::new(NetfrontConfig::new());
    played.until_ours("4");
    played.bind();
    played.set("state", "4");
    played.until_link(true);
    // One for the device, one for the backend, three for the offer, which is a transaction, and one for its state when it
    // connected; each watch fires once more when it is set.
    let trips = played.world.store.counters().round_trips;
    assert!(trips <= 8, "{trips}");
}

#[test]
fn what_the_configuration_turns_off_is_not_negotiated() {
    let mut config = NetfrontConfig::new();
    config.checksum_offload = false;
    let played = Played::new(config);
    played.until_ours("4");
    played.bind();
    let key = played.world.key("feature-no-csum-offload");
    assert_eq!(key.as_deref(), Some("1"));
    played.set("state", "4");
    played.until_link(true);
    let netif = played.world.netfront;
    assert_eq!(netif.offloads().flags, OffloadFlags::empty());
}

#[test]
fn a_device_with_few_pages_is_sent_no_long_frames_and_sends_them_all_the_same() {
    let played = Played::without_device(NetfrontConfig::new());
    played.make("1");
    played.set("feature-gso-tcpv4", "1");
    played.set("state", "2");
    played.until_ours("4");
    played.bind();
    assert_eq!(played.world.key("feature-gso-tcpv4"), None);
    played.set("state", "4");
    played.until_link(true);
    let flags = played.world.netfront.offloads().flags;
    assert!(flags.contains(OffloadFlags::TRANSMIT_SEGMENTED_V4));
    assert!(!flags.contains(OffloadFlags::RECEIVE_SEGMENTED_V4));
}

#[test]
fn segmentation_is_not_negotiated_where_it_is_not_wanted() {
    for change in [
        (|config| config.segmentation_offload = false) as fn(&mut NetfrontConfig),
        |config| config.checksum_offload = false,
    ] {
        let mut config = NetfrontConfig::new();
        config.transmit_pages = LARGE_DEVICE;
        change(&mut config);
        let played = Played::without_device(config);
        played.make("1");
        played.set("feature-gso-tcpv4", "1");
        played.set("state", "2");
        played.until_ours("4");
        played.bind();
        assert_eq!(played.world.key("feature-gso-tcpv4"), None);
        played.set("state", "4");
        played.until_link(true);
        let flags = played.world.netfront.offloads().flags;
        assert!(
            !flags.intersects(
                OffloadFlags::TRANSMIT_SEGMENTED_V4 | OffloadFlags::RECEIVE_SEGMENTED_V4
            )
        );
    }
}

#[test]
fn segmentation_is_negotiated_by_default() {
    let mut config = NetfrontConfig::new();
    config.transmit_pages = LARGE_DEVICE;
    let played = Played::without_device(config);
    played.make("1");
    played.set("feature-gso-tcpv4", "1");
    played.set("feature-ipv6-csum-offload", "1");
    played.set("state", "2");
    played.until_ours("4");
    played.bind();
    let key = played.world.key("feature-gso-tcpv4");
    assert_eq!(key.as_deref(), Some("1"));
    played.set("state", "4");
    played.until_link(true);
    let flags = played.world.netfront.offloads().flags;
    assert!(flags.contains(OffloadFlags::TRANSMIT_SEGMENTED_V4));
    assert!(flags.contains(OffloadFlags::RECEIVE_SEGMENTED_V4));
    assert!(flags.contains(OffloadFlags::TRANSMIT_PARTIAL_V6));
    assert!(!flags.contains(OffloadFlags::TRANSMIT_SEGMENTED_V6));
}

#[test]
fn the_carrier_is_the_backends() {
    let played = Played::new(NetfrontConfig::new());
    played.set("carrier", "0");
    played.until_ours("4");
    played.bind();
    played.set("state", "4");
    played.world.run_for(Duration::from_secs(1));
    assert!(!played.world.link_up());
    played.set("carrier", "1");
    played.until_link(true);
    played.set("carrier", "0");
    played.until_link(false);
    assert_eq!(played.world.netfront.counters().disconnections, 0);
}

#[test]
fn a_device_that_is_plugged_in_later_is_found_and_one_that_is_pulled_out_is_not_made_anew() {
    let played = Played::without_device(NetfrontConfig::new());
    played.world.run_for(Duration::from_secs(5));
    played.make("1");
    played.world.run_for(Duration::from_secs(1));
    assert_eq!(played.ours().as_deref(), Some("1"));
    for _ in 0..2 {
        played.set("state", "2");
        played.until_ours("4");
        played.bind();
        played.set("state", "4");
        played.until_link(true);
        let store = played.world.simulation.store();
        store.remove(&played.backend);
        store.remove(&played.frontend);
        played.until_link(false);
        played.world.run_for(Duration::from_secs(100));
        assert_eq!(played.ours(), None);
        assert_eq!(played.world.key("backend"), None);
        played.make("1");
    }
    played.world.check();
}

#[test]
fn a_device_that_is_detached_is_let_go() {
    let played = Played::new(NetfrontConfig::new());
    played.until_ours("4");
    played.bind();
    played.set("state", "4");
    played.until_link(true);
    // As the toolstack does it: it waits for both to be closed, and only then removes the keys.
    played.set("online", "0");
    played.set("state", "5");
    played.until_ours("6");
    assert!(!played.world.link_up());
    played.set("state", "6");
    played.world.run_for(Duration::from_secs(100));
    assert_eq!(played.ours().as_deref(), Some("6"));
    played.world.check();
}

#[test]
fn a_device_that_makes_no_sense_is_not_used_until_it_does() {
    let played = Played::without_device(NetfrontConfig::new());
    for (key, wrong, right) in [
        ("mac", "01:16:3e:01:02:03", "00:16:3e:01:02:03"),
        ("mtu", "18446744073709551617", "1500"),
        ("backend-id", "zero", "0"),
    ] {
        let path = format!("{}/{key}", played.frontend);
        played.make("2");
        played.world.simulation.store().write(&path, wrong);
        let unusable = played.world.netfront.counters().unusable;
        let counted = || played.world.netfront.counters().unusable > unusable;
        assert!(played.world.until(counted), "{key}");
        assert_eq!(played.ours().as_deref(), Some("1"), "{key}");
        // It is looked at again by and by.
        played.world.simulation.store().write(&path, right);
        played.until_ours("4");
        let store = played.world.simulation.store();
        store.remove(&played.frontend);
        played.world.run_for(Duration::from_secs(1));
    }
}

#[test]
fn a_backend_that_does_not_copy_is_not_offered_rings() {
    let played = Played::without_device(NetfrontConfig::new());
    played.make("2");
    played.set("feature-rx-copy", "0");
    let counted = || played.world.netfront.counters().unusable > 0;
    assert!(played.world.until(counted));
    assert_eq!(played.world.key("tx-ring-ref"), None);
    played.set("feature-rx-copy", "1");
    played.until_ours("4");
}

#[test]
fn devices_are_found_in_their_order() {
    let played = Played::new(NetfrontConfig::new());
    let home = played.world.simulation.store().domain_path();
    for name in ["10", "2", "x", "4294967296"] {
        let store = played.world.simulation.store();
        store.write(&format!("{home}/device/vif/{name}"), "");
    }
    let world = &played.world;
    let found = world.executor.run_until(discover::<_, 8>(world.store));
    assert_eq!(found.unwrap(), [0, 2, 10]);
    let few = world.executor.run_until(discover::<_, 1>(world.store));
    assert_eq!(few.unwrap().len(), 1);
    assert_eq!("device/vif/0".to_string(), world.netfront.directory());
}
