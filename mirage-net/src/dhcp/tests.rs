//! Several clients and servers on one link, over a medium that loses, repeats and delays, in virtual time.

use std::boxed::Box;
use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::vec;
use std::vec::Vec;

use core::net::Ipv4Addr;
use core::time::Duration;

use mirage_core::doubles::SplitMix64;
use mirage_core::{Instant, MacAddress};
use proptest::prelude::*;

use super::*;
use crate::wire::dhcp::{DhcpMessageType, DhcpPacket, MESSAGE_LEN};

/// What may become of a message on its way, in percent.
#[derive(Debug, Clone, Copy)]
struct Medium {
    loss: u64,
    repeated: u64,
    /// Each message takes up to this many milliseconds: they overtake each other.
    delay: u64,
}

/// A message on its way.
struct Flight {
    to: End,
    bytes: Vec<u8>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Clients,
    Servers,
    /// The server with this address.
    Server(Ipv4Addr),
    /// A server, by its number: a station answered its echo request for this address.
    Echo(usize, Ipv4Addr),
}

struct Node {
    client: DhcpClient,
    /// When the owner will have looked for other stations.
    looks_until: Option<Instant>,
    /// The address, and since when it is used.
    uses: Option<Ipv4Addr>,
    acquired: u64,
    lost: Vec<DhcpLoss>,
}

struct Link {
    now: Instant,
    rng: SplitMix64,
    medium: Medium,
    flights: BTreeMap<(Instant, u64), Flight>,
    number: u64,
    clients: Vec<Node>,
    servers: Vec<DhcpServer<'static>>,
    /// Addresses that stations have by hand.
    squatters: BTreeSet<Ipv4Addr>,
    messages: u64,
}

fn server_address(number: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 0, 0, 1 + number)
}

/// Servers with pools of their own of one network, of `pool` addresses each.
fn servers(count: u8, pool: u8, lease: u64) -> Vec<DhcpServer<'static>> {
    (0..count)
        .map(|number| server(number, pool, lease))
        .collect()
}

fn server(number: u8, pool: u8, lease: u64) -> DhcpServer<'static> {
    let first = 20 + number * 60;
    let subnets: &'static [DhcpSubnet<'static>] = Box::leak(Box::new([DhcpSubnet::new(
        "10.0.0.0/24".parse().unwrap(),
        Ipv4Addr::new(10, 0, 0, first),
        Ipv4Addr::new(10, 0, 0, first + pool - 1),
    )]));
    let mut config = DhcpServerConfig::new(server_address(number), subnets);
    config.lease_time = Duration::from_secs(lease);
    let slots: Vec<_> = (0..pool).map(|_| DhcpLeaseSlot::EMPTY).collect();
    DhcpServer::new(config, &mut Box::leak(slots.into_boxed_slice())[..]).unwrap()
}

/// The same, which look at so many addresses at a time before they offer them.
fn probing(count: u8, pool: u8, lease: u64, probes: usize) -> Vec<DhcpServer<'static>> {
    let servers = servers(count, pool, lease).into_iter();
    servers
        .map(|server| {
            let slots: Vec<_> = (0..probes).map(|_| DhcpProbeSlot::EMPTY).collect();
            server.with_probes(&mut Box::leak(slots.into_boxed_slice())[..])
        })
        .collect()
}

impl Link {
    fn new(seed: u64, medium: Medium, clients: u8, servers: Vec<DhcpServer<'static>>) -> Self {
        let mut rng = SplitMix64::new(seed);
        let clients = (0..clients)
            .map(|number| {
                let config = DhcpClientConfig::new(MacAddress([2, 0, 0, 0, 1, number]));
                let random = crate::random::Random::fixed(rng.below(u64::MAX));
                let mut client = DhcpClient::with_random(config, random);
                client.start(Instant::ZERO);
                Node {
                    client,
                    looks_until: None,
                    uses: None,
                    acquired: 0,
                    lost: vec![],
                }
            })
            .collect();
        Link {
            now: Instant::ZERO,
            rng,
            medium,
            flights: BTreeMap::new(),
            number: 0,
            clients,
            servers,
            squatters: BTreeSet::new(),
            messages: 0,
        }
    }

    fn send(&mut self, to: End, bytes: &[u8]) {
        self.messages += 1;
        let copies = 1 + u64::from(self.rng.below(100) < self.medium.repeated);
        for _ in 0..copies {
            if self.rng.below(100) < self.medium.loss {
                continue;
            }
            let delay = Duration::from_millis(1 + self.rng.below(self.medium.delay + 1));
            self.number += 1;
            let bytes = bytes.to_vec();
            self.flights
                .insert((self.now + delay, self.number), Flight { to, bytes });
        }
    }

    /// Everything that clients have to say and to tell, now.
    fn settle(&mut self) {
        for index in 0..self.clients.len() {
            loop {
                let now = self.now;
                let node = &mut self.clients[index];
                if node.looks_until.is_some_and(|until| until <= now) {
                    node.looks_until = None;
                    let address = node.client.lease().unwrap().address;
                    if self.squatters.contains(&address) {
                        node.client.handle_address_conflict(now);
                    } else {
                        node.client.handle_address_acquired();
                        node.uses = Some(address);
                    }
                }
                node.client.handle_timeout(now);
                let mut buffer = [0; MESSAGE_LEN];
                let transmit = node.client.poll_transmit(&mut buffer);
                if let Some(transmit) = transmit {
                    let to = if transmit.destination.is_broadcast() {
                        End::Servers
                    } else {
                        End::Server(transmit.destination)
                    };
                    self.send(to, &buffer[..transmit.length]);
                    continue;
                }
                match node.client.poll_event() {
                    Some(DhcpClientEvent::Acquired) => {
                        node.acquired += 1;
                        node.looks_until = Some(now + Duration::from_secs(5));
                    }
                    Some(DhcpClientEvent::Lost(loss)) => {
                        node.lost.push(loss);
                        node.looks_until = None;
                        node.uses = None;
                    }
                    Some(DhcpClientEvent::Renewed { .. } | DhcpClientEvent::Unanswered) => {}
                    None => break,
                }
            }
        }
        self.assert_no_address_is_used_twice();
    }

    fn assert_no_address_is_used_twice(&self) {
        let mut used = BTreeSet::new();
        for address in self.clients.iter().filter_map(|node| node.uses) {
            assert!(
                used.insert(address),
                "{address} is used twice at {}",
                self.now
            );
            assert!(!self.squatters.contains(&address));
        }
    }

    fn deliver(&mut self, flight: &Flight) {
        match flight.to {
            End::Clients => {
                for node in &mut self.clients {
                    node.client.handle_message(self.now, &flight.bytes);
                }
            }
            End::Servers | End::Server(_) => {
                for index in 0..self.servers.len() {
                    let server = &mut self.servers[index];
                    if !matches!(flight.to, End::Server(one) if one != server.config().address) {
                        let mut buffer = [0; MESSAGE_LEN];
                        let reply = server.handle_message(self.now, &flight.bytes, &mut buffer);
                        if let Some(reply) = reply {
                            self.send(End::Clients, &buffer[..reply.length]);
                        }
                    }
                }
            }
            End::Echo(index, address) => {
                self.servers[index].handle_address_in_use(self.now, address);
            }
        }
    }

    /// What the servers have to say by themselves, and the pings that they want sent.
    fn serve(&mut self) {
        for index in 0..self.servers.len() {
            let mut buffer = [0; MESSAGE_LEN];
            while let Some(reply) = self.servers[index].poll_reply(self.now, &mut buffer) {
                self.send(End::Clients, &buffer[..reply.length]);
            }
            while let Some(address) = self.servers[index].poll_probe() {
                let used = self.clients.iter().any(|node| node.uses == Some(address));
                if used || self.squatters.contains(&address) {
                    self.send(End::Echo(index, address), &[]);
                }
            }
        }
    }

    fn run(&mut self, time: Duration) {
        let until = self.now + time;
        loop {
            self.settle();
            self.serve();
            let looks = self.clients.iter().filter_map(|node| node.looks_until);
            let timers = self
                .clients
                .iter()
                .filter_map(|node| node.client.poll_timeout());
            let flight = self.flights.keys().next().map(|(at, _)| *at);
            let Some(next) = looks
                .chain(timers)
                .chain(self.servers.iter().filter_map(DhcpServer::poll_timeout))
                .chain(flight)
                .min()
                .filter(|at| *at <= until)
            else {
                self.now = until;
                return;
            };
            self.now = self.now.max(next);
            while let Some(entry) = self.flights.first_entry()
                && entry.key().0 <= self.now
            {
                let flight = entry.remove();
                self.deliver(&flight);
            }
        }
    }

    fn bound(&self) -> usize {
        self.clients
            .iter()
            .filter(|node| node.uses.is_some())
            .count()
    }
}

const GOOD: Medium = Medium {
    loss: 0,
    repeated: 0,
    delay: 5,
};

#[test]
fn everyone_has_an_address_within_seconds_and_keeps_it() {
    let mut link = Link::new(1, GOOD, 30, servers(2, 40, 3_600));
    link.run(Duration::from_secs(10));
    assert_eq!(link.bound(), 30);
    let before: Vec<_> = link.clients.iter().map(|node| node.uses).collect();
    let messages = link.messages;
    link.run(Duration::from_secs(7 * 86_400));
    let after: Vec<_> = link.clients.iter().map(|node| node.uses).collect();
    assert_eq!(before, after);
    assert!(
        link.clients
            .iter()
            .all(|node| node.acquired == 1 && node.lost.is_empty())
    );
    // A renewal is two messages each half an hour.
    let renewals = (link.messages - messages) / 30;
    assert!((670..=760).contains(&renewals), "{renewals}");
    // Nobody was refused, and no server was asked for another's leases by unicast.
    assert!(
        link.servers
            .iter()
            .all(|server| server.counters().refused == 0)
    );
}

#[test]
fn a_lossy_link_delays_and_loses_nobody() {
    for seed in 0..20 {
        let medium = Medium {
            loss: 30,
            repeated: 20,
            delay: 900,
        };
        let mut link = Link::new(seed, medium, 20, servers(3, 30, 1_200));
        link.run(Duration::from_secs(300));
        assert_eq!(link.bound(), 20, "seed {seed}");
        link.run(Duration::from_secs(86_400));
        assert!(link.bound() >= 18, "seed {seed}: {}", link.bound());
        for node in &link.clients {
            assert!(!node.lost.contains(&DhcpLoss::Conflict));
        }
    }
}

#[test]
fn a_server_that_goes_is_survived_by_another() {
    let mut link = Link::new(3, GOOD, 10, servers(2, 40, 1_200));
    link.run(Duration::from_secs(20));
    assert_eq!(link.bound(), 10);
    // Whoever had a lease of the first uses it to its end, and then has one of the second.
    link.servers.remove(0);
    link.run(Duration::from_secs(500));
    assert_eq!(link.bound(), 10);
    link.run(Duration::from_secs(1_000));
    assert_eq!(link.bound(), 10);
    let second = |node: &Node| node.client.lease().unwrap().server == server_address(1);
    assert!(link.clients.iter().all(second));
    // The first comes back without a memory, and refuses nobody.
    link.servers.push(server(0, 40, 1_200));
    let lost: usize = link.clients.iter().map(|node| node.lost.len()).sum();
    link.run(Duration::from_secs(10_000));
    assert_eq!(
        link.clients
            .iter()
            .map(|node| node.lost.len())
            .sum::<usize>(),
        lost
    );
    assert_eq!(link.servers[1].counters().refused, 0);
}

#[test]
fn a_server_that_restarts_with_its_records_goes_on_as_before() {
    let mut link = Link::new(4, GOOD, 12, servers(1, 12, 1_200));
    link.run(Duration::from_secs(30));
    assert_eq!(link.bound(), 12);
    for _ in 0..5 {
        let wall = |at: Instant| Some(Duration::from_secs(1_700_000_000 + at.as_secs()));
        let now = link.now;
        let records: Vec<_> = link.servers[0]
            .leases(now, wall(now))
            .map(|record| record.to_bytes())
            .collect();
        link.servers[0] = server(0, 12, 1_200);
        link.run(Duration::from_secs(400));
        let now = link.now;
        for bytes in records {
            let record = DhcpRecord::from_bytes(&bytes).unwrap();
            link.servers[0].restore(now, wall(now), &record);
        }
        link.run(Duration::from_secs(1_000));
        assert_eq!(link.bound(), 12);
    }
    assert!(link.clients.iter().all(|node| node.acquired == 1));
}

#[test]
fn addresses_that_stations_have_by_hand_are_declined_and_others_found() {
    let mut link = Link::new(5, GOOD, 8, servers(1, 20, 3_600));
    link.squatters = (20..26).map(|last| Ipv4Addr::new(10, 0, 0, last)).collect();
    link.run(Duration::from_secs(900));
    assert_eq!(link.bound(), 8);
    assert_eq!(link.servers[0].counters().declined, 6);
}

#[test]
fn addresses_that_stations_have_by_hand_are_not_offered_by_servers_that_look() {
    let mut link = Link::new(5, GOOD, 8, probing(1, 20, 3_600, 8));
    link.squatters = (20..26).map(|last| Ipv4Addr::new(10, 0, 0, last)).collect();
    link.run(Duration::from_secs(30));
    assert_eq!(link.bound(), 8);
    let counters = link.servers[0].counters();
    assert_eq!((counters.declined, counters.in_use), (0, 6));
}

#[test]
fn more_clients_than_addresses_take_turns_without_a_storm() {
    let mut link = Link::new(6, GOOD, 20, servers(1, 8, 600));
    link.run(Duration::from_secs(30));
    assert_eq!(link.bound(), 8);
    let before = link.messages;
    link.run(Duration::from_secs(3_600));
    assert_eq!(link.bound(), 8);
    // Each of the twelve asks once in 64 seconds; the others renew.
    assert!(
        link.messages - before < 12 * 70 + 8 * 2 * 20,
        "{}",
        link.messages - before
    );
    // Eight give their leases back: others have them within two minutes.
    let now = link.now;
    for node in &mut link.clients {
        if node.uses.is_some() {
            node.client.release(now);
        }
    }
    link.run(Duration::from_secs(120));
    assert_eq!(link.bound(), 8);
}

#[test]
fn a_message_of_each_kind_was_seen() {
    let mut link = Link::new(7, GOOD, 3, servers(1, 2, 60));
    let mut kinds = BTreeSet::new();
    link.squatters.insert(Ipv4Addr::new(10, 0, 0, 20));
    for second in 0..2_000u64 {
        link.run(Duration::from_secs(1));
        for flight in link.flights.values() {
            let packet = DhcpPacket::new_checked(&flight.bytes).unwrap();
            kinds.extend(packet.message_type().map(DhcpMessageType::to_u8));
        }
        link.medium.delay = 1_500;
        if second % 97 == 96 {
            let (now, index) = (link.now, second as usize % 3);
            link.clients[index].client.release(now);
            link.clients[index].client.poll_event();
            link.clients[index].uses = None;
            link.clients[index].looks_until = None;
            let mut buffer = [0; MESSAGE_LEN];
            if let Some(transmit) = link.clients[index].client.poll_transmit(&mut buffer) {
                link.send(End::Servers, &buffer[..transmit.length]);
            }
        }
        // A DHCPRELEASE that came after the same client's next request would free what it uses.
        if second % 97 == 9 {
            let now = link.now;
            link.clients
                .iter_mut()
                .for_each(|node| node.client.start(now));
        }
    }
    // All but DHCPINFORM, which this client doesn't say.
    assert!(
        kinds.is_superset(&[1, 2, 3, 4, 5, 6, 7].into()),
        "{kinds:?}"
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever the medium does: no address is used twice, and nobody refuses what another server gave.
    #[test]
    fn no_address_is_used_twice_on_any_medium(
        seed: u64,
        loss in 0u64..60,
        repeated in 0u64..50,
        delay in 0u64..5_000,
        clients in 1u8..12,
        count in 1u8..4,
        pool in 1u8..12,
        lease in 60u64..4_000,
        squatters in prop::collection::btree_set(20u8..32, 0..4),
        probes in 0usize..4,
    ) {
        let medium = Medium { loss, repeated, delay };
        let mut link = Link::new(seed, medium, clients, probing(count, pool, lease, probes));
        link.squatters = squatters.iter().map(|last| Ipv4Addr::new(10, 0, 0, *last)).collect();
        link.run(Duration::from_secs(20_000));
        // Nobody asks more often than the RFC's clocks allow.
        let most = u64::from(clients) * 20_000 / 3 * u64::from(count + 1);
        prop_assert!(link.messages < most, "{}", link.messages);
    }
}
