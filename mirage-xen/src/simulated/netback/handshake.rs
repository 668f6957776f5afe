//! The device's states and keys in xenstore (io/xenbus.h, io/netif.h): what the toolstack and the backend write, and what the
//! backend reads of the frontend's.

use std::format;
use std::string::{String, ToString};

use super::super::machine::Machine;
use super::super::store::{Permission, of_domain};
use super::super::violations::Violation;
use super::connection::{Connection, Takes};
use super::ring::MappedRing;
use super::{Netback, NetbackState};
use crate::abi::{DomainId, PortNumber};

// `enum xenbus_state`.
pub(super) const INITIALISING: u32 = 1;
pub(super) const INIT_WAIT: u32 = 2;
pub(super) const CONNECTED: u32 = 4;
pub(super) const CLOSING: u32 = 5;
pub(super) const CLOSED: u32 = 6;

/// Bytes of a slot of either ring.
const TX_SLOT: usize = 12;
const RX_SLOT: usize = 8;

/// Where the keys of an interface are.
pub(super) struct Paths {
    pub(super) frontend: String,
    pub(super) backend: String,
    pub(super) backend_domain: DomainId,
}

impl Paths {
    pub(super) fn of(machine: &Machine, netback: &Netback) -> Self {
        let domain = machine.domain.get();
        let config = netback.state.config.borrow();
        let backend_domain = config.backend.unwrap_or(machine.backend_domain.get());
        let index = netback.index;
        let below = format!("backend/vif/{}/{index}", domain.0);
        Self {
            frontend: of_domain(domain, &format!("device/vif/{index}")),
            backend: of_domain(backend_domain, &below),
            backend_domain,
        }
    }
}

/// The toolstack attaches the interface: keys of both ends, as libxl writes them.
pub(super) fn build(machine: &Machine, netback: &Netback) {
    let paths = Paths::of(machine, netback);
    let (domain, store) = (machine.domain.get(), &machine.store);
    let config = netback.state.config.borrow().clone();
    // Those of the domain that went on in this one, or of another backend.
    if let Some(before) = netback.built.take()
        && before.backend != paths.backend
    {
        store.remove(machine, &before.backend);
    }
    let ends = [
        (&paths.frontend, domain, paths.backend_domain),
        (&paths.backend, paths.backend_domain, domain),
    ];
    let write = |path: &str, name: &str, value: &str| {
        store.write(machine, &format!("{path}/{name}"), value);
    };
    for (path, owner, other) in ends {
        store.write(machine, path, "");
        let permissions = [Permission::none(owner), Permission::read(other)];
        store.set_permissions(machine, path, &permissions);
        write(path, "handle", &netback.index.to_string());
        write(path, "mac", &config.mac.to_string());
    }
    let (front, back) = (&*paths.frontend, &*paths.backend);
    write(front, "backend", back);
    write(front, "backend-id", &paths.backend_domain.0.to_string());
    if let Some(mtu) = config.mtu {
        write(front, "mtu", &mtu.to_string());
    }
    write(back, "frontend", front);
    write(back, "frontend-id", &domain.0.to_string());
    write(back, "online", "1");
    write(back, "script", "/etc/xen/scripts/vif-bridge");
    write(back, "bridge", "xenbr0");
    write(back, "type", "vif");
    // What the toolstack writes with the rest, last: this is what either end waits for.
    write(front, "state", &INITIALISING.to_string());
    write(back, "state", &INITIALISING.to_string());
    netback.own.set(INITIALISING);
    store.forget(netback.state.id.get());
    store.observe(front, netback.state.id.get());
    *netback.built.borrow_mut() = Some(paths);
    machine.wake(netback.id());
}

/// The backend says what it can do, and waits for the frontend.
pub(super) fn offer(machine: &Machine, netback: &Netback) {
    let (paths, store) = (Paths::of(machine, netback), &machine.store);
    let config = netback.state.config.borrow().clone();
    let write = |name: &str, value: &str| {
        store.write(machine, &format!("{}/{name}", paths.backend), value);
    };
    let flag = |value: bool| if value { "1" } else { "0" };
    write("feature-sg", flag(config.scatter_gather));
    write("feature-gso-tcpv4", flag(config.gso_tcpv4));
    write("feature-gso-tcpv6", flag(config.gso_tcpv6));
    write(
        "feature-ipv6-csum-offload",
        flag(config.checksum_offload_v6),
    );
    write("feature-rx-copy", flag(config.rx_copy));
    write("feature-rx-flip", "0");
    write("feature-multicast-control", flag(config.multicast_control));
    write(
        "feature-split-event-channels",
        flag(config.split_event_channels),
    );
    if !config.checksum_offload {
        write("feature-no-csum-offload", "1");
    }
    if let Some(most) = config.max_queues {
        write("multi-queue-max-queues", &most.to_string());
    }
    if let Some(carrier) = config.carrier {
        write("carrier", flag(carrier));
    }
    write("hotplug-status", "connected");
    say(machine, netback, INIT_WAIT);
}

/// The backend's state, from now on.
pub(super) fn say(machine: &Machine, netback: &Netback, state: u32) {
    netback.own.set(state);
    let path = format!("{}/state", Paths::of(machine, netback).backend);
    machine.store.write(machine, &path, state.to_string());
}

/// What the frontend says of itself: zero, where it says nothing that is a state.
pub(super) fn frontend_state(machine: &Machine, netback: &Netback) -> u32 {
    let path = format!("{}/state", Paths::of(machine, netback).frontend);
    let text = machine.store.read_text(&path);
    text.and_then(|text| text.parse().ok()).unwrap_or(0)
}

/// Connects to what the frontend's keys say.
///
/// # Errors
///
/// What is wrong with them: the domain's fault.
pub(super) fn connect(machine: &Machine, netback: &Netback) -> Result<Connection, Violation> {
    let paths = Paths::of(machine, netback);
    let config = netback.state.config.borrow().clone();
    let text = |name: &str| {
        let path = format!("{}/{name}", paths.frontend);
        machine.store.read_text(&path)
    };
    let number = |name: &str, what| -> Result<u32, Violation> {
        let text = text(name).ok_or(Violation::Handshake(what))?;
        text.parse().map_err(|_| Violation::Handshake(what))
    };
    let flag = |name: &str| text(name).is_some_and(|text| text == "1");
    if !flag("request-rx-copy") {
        return Err(Violation::Handshake("request-rx-copy is not 1"));
    }
    if text("multi-queue-num-queues").is_some_and(|queues| queues != "1") {
        return Err(Violation::Handshake("more than one queue"));
    }
    let tx = number("tx-ring-ref", "tx-ring-ref is no number")?;
    let rx = number("rx-ring-ref", "rx-ring-ref is no number")?;
    let ports = if config.split_event_channels && text("event-channel-tx").is_some() {
        let tx = number("event-channel-tx", "event-channel-tx is no number")?;
        let rx = number("event-channel-rx", "event-channel-rx is no number")?;
        (PortNumber(tx), PortNumber(rx))
    } else {
        let both = number("event-channel", "event-channel is no number")?;
        (PortNumber(both), PortNumber(both))
    };
    let takes = Takes {
        scatter_gather: flag("feature-sg"),
        gso_tcpv4: flag("feature-gso-tcpv4"),
        gso_tcpv6: flag("feature-gso-tcpv6"),
        checksum_offload: !flag("feature-no-csum-offload"),
        checksum_offload_v6: flag("feature-ipv6-csum-offload"),
    };
    if (takes.gso_tcpv4 || takes.gso_tcpv6) && !takes.scatter_gather {
        return Err(Violation::Handshake("segmentation without feature-sg"));
    }
    let (id, domain) = (netback.state.id.get(), paths.backend_domain);
    let bind = |port| {
        let bound = machine.events.bind_backend(port, domain, id);
        bound.map_err(|_| Violation::Handshake("event-channel is no port for this domain"))
    };
    bind(ports.0)?;
    if ports.1 != ports.0
        && let Err(violation) = bind(ports.1)
    {
        machine.events.unbind_backend(ports.0, id);
        return Err(violation);
    }
    let reach = machine.reach();
    let rings = MappedRing::map(reach, domain, tx, TX_SLOT).and_then(|tx| {
        match MappedRing::map(reach, domain, rx, RX_SLOT) {
            Ok(rx) => Ok((tx, rx)),
            Err(refused) => {
                tx.unmap(reach);
                Err(refused)
            }
        }
    });
    let rings = rings.map_err(|_| {
        machine.events.unbind_backend(ports.0, id);
        machine.events.unbind_backend(ports.1, id);
        Violation::Handshake("a ring's page is not granted")
    })?;
    Ok(Connection::new(domain, rings, ports, takes))
}

impl NetbackState {
    /// Whether the key `carrier`, where there is one, says that the link is up.
    pub(super) fn link_is_up(&self) -> bool {
        self.config.borrow().carrier != Some(false)
    }
}
