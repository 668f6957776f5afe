//! DHCP over whole stacks: clients and a server on a virtual Ethernet, on the executor, in virtual time.

use std::cell::{Cell, RefCell};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::rc::Rc;
use std::time::Duration;

use mirage_core::doubles::{
    Chance, Faults, MemoryStore, PortConfig, PortControl, VirtualEthernet, VirtualPlatform,
};
use mirage_core::executor::Executor;
use mirage_core::kv::{Key, Kv};
use mirage_core::{Clock, Instant, Pool};
use mirage_net::wire::dhcp::{self, DhcpMessageType, DhcpPacket, DhcpRepr, DhcpWriter};
use mirage_net::*;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;

use crate::common::{Ip, at, bytes, drain, frame, ip, lone_stack, mac, stack, udp};

/// The server's machine is 1, clients are 11 and on, and the pool is 10.0.0.100 to 10.0.0.119.
struct World {
    executor: &'static Executor,
    platform: &'static VirtualPlatform,
    ethernet: VirtualEthernet,
    store: &'static MemoryStore,
}

struct Machine {
    shared: &'static SharedStack<'static>,
    control: PortControl,
}

struct Client {
    machine: Machine,
    client: &'static SharedDhcpClient,
    notices: Rc<RefCell<Vec<DhcpNotice>>>,
}

const RESOLVER: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 3);
const DICTIONARY: &str = "dhcp/leases";

impl World {
    fn new() -> Self {
        let platform: &'static VirtualPlatform = Box::leak(Box::default());
        let executor = Executor::leak(platform);
        let ethernet = VirtualEthernet::new(1);
        platform.connect(&ethernet);
        World {
            executor,
            platform,
            ethernet,
            store: Box::leak(Box::new(MemoryStore::new())),
        }
    }

    fn machine(&self, number: u8, faults: Faults) -> Machine {
        let pool = Pool::leak(512, 2048).unwrap();
        let mut config = PortConfig::new(mac(number));
        config.faults = faults;
        let mut netif = self.ethernet.attach(config, pool.reserve(128).unwrap());
        let control = netif.control();
        let config = StackConfig::for_netif(&netif);
        let stack = stack(config, pool, number.into());
        let wakers = Box::leak(Box::new([const { WakerSlot::EMPTY }; 8]));
        let shared = SharedStack::new(stack, self.platform, &mut wakers[..]);
        let shared: &'static SharedStack<'static> = Box::leak(Box::new(shared));
        let executor = self.executor;
        let driver = async move { shared.run(&mut netif, executor).await };
        executor.spawn(driver).unwrap().detach();
        Machine { shared, control }
    }

    /// A machine with a server; the leases are in the world's store.
    fn server(&self, number: u8, lease: u64) -> (Machine, &'static RefCell<DhcpServer<'static>>) {
        self.server_with(number, lease, 0)
    }

    /// One that pings so many addresses at a time before it offers them.
    fn server_with(
        &self,
        number: u8,
        lease: u64,
        probes: usize,
    ) -> (Machine, &'static RefCell<DhcpServer<'static>>) {
        let machine = self.machine(number, Faults::default());
        let shared = machine.shared;
        shared.with(|stack, now| {
            let cidr = Cidr::new(ip(number).into(), 24).unwrap();
            stack
                .add_address(now, cidr, ConflictConfig::assigned())
                .unwrap();
        });
        let routers = Box::leak(Box::new([ip(number)]));
        let subnets = Box::leak(Box::new([DhcpSubnet {
            routers: &routers[..],
            resolvers: &[RESOLVER],
            domain: Some("example.org"),
            mtu: Some(1_400),
            ..DhcpSubnet::new("10.0.0.0/24".parse().unwrap(), ip(100), ip(119))
        }]));
        let mut config = DhcpServerConfig::new(ip(number), &subnets[..]);
        config.lease_time = Duration::from_secs(lease);
        let slots = Box::leak(Box::new([const { DhcpLeaseSlot::EMPTY }; 20]));
        let probes: Vec<_> = (0..probes).map(|_| DhcpProbeSlot::EMPTY).collect();
        let probes = Box::leak(probes.into_boxed_slice());
        let server = DhcpServer::new(config, &mut slots[..]).unwrap();
        let server = RefCell::new(server.with_probes(&mut probes[..]));
        let server: &'static RefCell<DhcpServer<'static>> = Box::leak(Box::new(server));
        let (store, executor) = (self.store, self.executor);
        let serve = async move {
            let key = Key::new(DICTIONARY).unwrap();
            let error = serve_dhcp(shared, executor, server, store, key, |_| {}).await;
            panic!("the server ended: {error:?}");
        };
        self.executor.spawn(serve).unwrap().detach();
        (machine, server)
    }

    fn client(&self, number: u8, faults: Faults) -> Client {
        self.client_with(number, faults, |_| {})
    }

    fn client_with(
        &self,
        number: u8,
        faults: Faults,
        change: impl FnOnce(&mut DhcpClientConfig),
    ) -> Client {
        let machine = self.machine(number, faults);
        let mut config = DhcpClientConfig::new(mac(number));
        change(&mut config);
        let mut rng = ChaCha8Rng::seed_from_u64(number.into());
        let client = SharedDhcpClient::new(DhcpClient::new(config, &mut rng));
        self.run(machine, Box::leak(Box::new(client)))
    }

    /// One that recalls what an earlier one has remembered.
    fn client_recalling(&self, number: u8, store: &MemoryStore, key: Key<'_>) -> Client {
        let config = DhcpClientConfig::new(mac(number));
        let mut rng = ChaCha8Rng::seed_from_u64(number.into());
        let client = SharedDhcpClient::new(DhcpClient::new(config, &mut rng));
        let recalled = self.executor.run_until(client.recall(store, key));
        assert!(recalled.is_ok());
        let machine = self.machine(number, Faults::default());
        self.run(machine, Box::leak(Box::new(client)))
    }

    fn run(&self, machine: Machine, client: &'static SharedDhcpClient) -> Client {
        let notices = Rc::new(RefCell::new(Vec::new()));
        let (shared, executor, told) = (machine.shared, self.executor, notices.clone());
        let run = async move {
            let conflict = ConflictConfig::default();
            let notify = |notice| told.borrow_mut().push(notice);
            let error = client.run(shared, executor, conflict, notify).await;
            panic!("the client ended: {error:?}");
        };
        self.executor.spawn(run).unwrap().detach();
        Client {
            machine,
            client,
            notices,
        }
    }

    fn pass(&self, seconds: u64) {
        self.executor
            .run_until(self.executor.sleep(Duration::from_secs(seconds)));
    }
}

impl Client {
    fn addresses(&self) -> Vec<IpAddr> {
        self.machine
            .shared
            .with(|stack, _| stack.addresses().map(|cidr| cidr.address()).collect())
    }

    fn state(&self) -> DhcpClientState {
        self.client.with(|client| client.state()).unwrap()
    }

    fn events(&self) -> Vec<DhcpClientEvent> {
        let notices = self.notices.borrow();
        let events = notices.iter().filter_map(|notice| match notice {
            DhcpNotice::Client(event) => Some(*event),
            _ => None,
        });
        events.collect()
    }
}

#[test]
fn a_machine_without_an_address_gets_one_and_uses_it() {
    let world = World::new();
    let (server, _) = world.server(1, 3_600);
    let client = world.client(11, Faults::default());
    let lease = world.executor.run_until(client.client.configured());
    // It was probed for: three probes take at least that.
    assert!(world.platform.now() > Instant::from_secs(4));
    assert_eq!(
        (lease.address, lease.prefix_len, lease.server),
        (ip(100), 24, ip(1))
    );
    assert_eq!(lease.parameters.resolvers[..], [RESOLVER]);
    assert_eq!(lease.parameters.domain.as_deref(), Some("example.org"));
    assert_eq!(client.addresses(), [IpAddr::from(ip(100))]);
    assert_eq!(client.state(), DhcpClientState::Bound);
    client.machine.shared.with(|stack, _| {
        assert_eq!(stack.mtu(), 1_400);
        let default = stack.routes().next().unwrap();
        assert_eq!(default.destination.prefix_len(), 0);
        assert_eq!(default.gateway, Some(ip(1).into()));
    });
    // A datagram there and back.
    let answer = world.executor.run_until(async {
        let any = SocketAddr::from((Ipv4Addr::UNSPECIFIED, 7));
        let there = server.shared.udp_bind(UdpOptions::bind(any)).unwrap();
        let here = client
            .machine
            .shared
            .udp_bind(UdpOptions::bind(any))
            .unwrap();
        here.send(Some(at(1, 7)), b"hello").await.unwrap();
        let heard = there.receive().await.unwrap();
        assert_eq!(heard.source, at(100, 7));
        there.send(Some(heard.source), b"world").await.unwrap();
        here.receive().await.unwrap()
    });
    assert_eq!(bytes(&answer.payload), b"world");
    // For a week it stays so, by unicast.
    world.pass(7 * 86_400);
    assert_eq!(client.addresses(), [IpAddr::from(ip(100))]);
    let renewed = DhcpClientEvent::Renewed { changed: false };
    let events = client.events();
    assert_eq!(events[0], DhcpClientEvent::Acquired);
    assert!(
        events[1..].iter().all(|event| *event == renewed),
        "{events:?}"
    );
    assert!(events.len() > 300);
}

/// The server answers by unicast to an address that the client hasn't got yet, as many do.
#[test]
fn unicast_answers_reach_a_machine_that_has_no_address_yet_and_nothing_else_does() {
    let pool = Pool::leak(64, 2048).unwrap();
    let config = StackConfig::new(mac(1), 1_500, mirage_core::Offloads::NONE);
    let mut stack = stack(config, pool, 1);
    let mut options = DhcpBinding::udp_options();
    let now = Instant::ZERO;
    let socket = stack.udp_bind(options).unwrap();
    let offered = ip(77);
    let datagram = |to: Ipv4Addr, port| {
        Ip::new(ip(2), to, 17).frame(&udp(at(2, 67), (to, port).into(), b"offer"))
    };
    stack.handle_frame(now, frame(pool, &datagram(offered, 68), 2_048));
    let heard = stack.udp_receive(socket).unwrap().unwrap();
    assert_eq!(bytes(&heard.payload), b"offer");
    assert_eq!(heard.destination, (offered, 68).into());
    drop(heard);
    // Another port, another protocol, a group, a fragment, a frame to all: not for us, and no word about it.
    let mut to_all = datagram(offered, 68);
    to_all[..6].fill(0xff);
    let mut fragment = Ip::new(ip(2), offered, 17);
    fragment.flags_offset = 0x2000;
    let others = [
        datagram(offered, 69),
        Ip::new(ip(2), offered, 1).frame(&[8, 0, 0, 0, 0, 0, 0, 0]),
        datagram(Ipv4Addr::new(224, 0, 0, 1), 68),
        datagram(Ipv4Addr::new(127, 0, 0, 1), 68),
        fragment.frame(&udp(at(2, 67), (offered, 68).into(), b"offer")),
        Ip::new(ip(2), offered, 17).frame(&[0, 67]),
        to_all,
    ];
    for other in &others {
        stack.handle_frame(now, frame(pool, other, 2_048));
    }
    assert!(stack.udp_receive(socket).unwrap().is_none());
    assert!(drain(&mut stack, now).is_empty(), "nothing is answered");
    let ipv4 = stack.counters().ipv4;
    assert_eq!((ipv4.not_for_us, ipv4.bad_destination), (6, 1));
    // A broken checksum is one here, too.
    let mut broken = datagram(offered, 68);
    let last = broken.len() - 1;
    broken[last] ^= 1;
    stack.handle_frame(now, frame(pool, &broken, 2_048));
    assert_eq!(stack.counters().udp.bad_checksum, 1);
    // An ordinary socket hears nothing of it.
    stack.udp_close(socket);
    options.unconfigured = false;
    let socket = stack.udp_bind(options).unwrap();
    stack.handle_frame(now, frame(pool, &datagram(offered, 68), 2_048));
    assert!(stack.udp_receive(socket).unwrap().is_none());
    drop(stack);
    assert_eq!(pool.free_in_all(), pool.blocks());
}

#[test]
fn a_client_asks_from_the_unspecified_address_whatever_others_there_are() {
    let pool = Pool::leak(64, 2048).unwrap();
    let mut stack = lone_stack(pool);
    let now = Instant::from_secs(20);
    let everyone = SocketAddr::from((Ipv4Addr::BROADCAST, 67));
    let unspecified = Some(IpAddr::from(Ipv4Addr::UNSPECIFIED));
    let mut source_of = |options: UdpOptions, remote: SocketAddr| {
        let socket = stack.udp_bind(options).unwrap();
        let sent = stack.udp_send_from(now, socket, Some(remote), unspecified, b"?");
        let frames = drain(&mut stack, now);
        stack.udp_close(socket);
        sent.map(|()| Ipv4Addr::from(<[u8; 4]>::try_from(&frames[0][26..30]).unwrap()))
    };
    let options = DhcpBinding::udp_options();
    assert_eq!(source_of(options, everyone), Ok(Ipv4Addr::UNSPECIFIED));
    // Not to a subnet's broadcast address, and not by an ordinary socket.
    assert_eq!(source_of(options, at(255, 67)), Ok(ip(1)));
    let mut ordinary = options;
    ordinary.unconfigured = false;
    assert_eq!(source_of(ordinary, everyone), Ok(ip(1)));
}

#[test]
fn hazard_lease_lost_when_an_address_is_set_by_hand() {
    let world = World::new();
    let (_server, _) = world.server(1, 600);
    let client = world.client(11, Faults::default());
    world.pass(20);
    let leased = IpAddr::from(ip(100));
    assert_eq!(client.addresses(), [leased]);
    let by_hand = Cidr::new(ip(200).into(), 24).unwrap();
    let shared = client.machine.shared;
    shared.with(|stack, now| {
        let assigned = ConflictConfig::assigned();
        stack.add_address(now, by_hand, assigned).unwrap();
        let host = Route {
            destination: "192.0.2.0/24".parse().unwrap(),
            gateway: Some(ip(9).into()),
        };
        stack.add_route(host).unwrap();
    });
    // Both stay, and the lease goes on.
    world.pass(5_000);
    assert_eq!(client.addresses(), [leased, ip(200).into()]);
    assert_eq!(client.state(), DhcpClientState::Bound);
    // The lease ends: what was set by hand stays.
    let now = world.platform.now();
    client.client.with(|client| client.release(now)).unwrap();
    world.pass(5);
    assert_eq!(client.addresses(), [IpAddr::from(ip(200))]);
    shared.with(|stack, _| {
        assert_eq!(stack.routes().count(), 1);
        assert_eq!(stack.mtu(), 1_500);
    });
    // The lease's own address set by hand, and a default route: they are taken as they are, and left.
    shared.with(|stack, now| {
        let cidr = Cidr::new(ip(100).into(), 24).unwrap();
        stack
            .add_address(now, cidr, ConflictConfig::assigned())
            .unwrap();
        stack.add_default_route(ip(8).into()).unwrap();
    });
    let now = world.platform.now();
    client.client.with(|client| client.start(now)).unwrap();
    world.pass(30);
    assert_eq!(client.state(), DhcpClientState::Bound);
    let now = world.platform.now();
    client.client.with(|client| client.release(now)).unwrap();
    world.pass(5);
    assert_eq!(client.addresses().len(), 2);
    shared.with(|stack, _| {
        let default = stack
            .routes()
            .find(|route| route.destination.prefix_len() == 0);
        assert_eq!(default.unwrap().gateway, Some(ip(8).into()));
    });
}

#[test]
fn an_address_that_another_station_has_is_found_out_and_declined() {
    let world = World::new();
    let (_server, server) = world.server(1, 3_600);
    let squatter = world.machine(50, Faults::default());
    squatter.shared.with(|stack, now| {
        let cidr = Cidr::new(ip(100).into(), 24).unwrap();
        stack
            .add_address(now, cidr, ConflictConfig::assigned())
            .unwrap();
    });
    let client = world.client(11, Faults::default());
    let lease = world.executor.run_until(client.client.configured());
    assert_eq!(lease.address, ip(101));
    assert_eq!(
        client.events()[..2],
        [
            DhcpClientEvent::Acquired,
            DhcpClientEvent::Lost(DhcpLoss::Conflict)
        ]
    );
    assert_eq!(server.borrow().counters().declined, 1);
    assert!(
        world.platform.now() > Instant::from_secs(10),
        "a pause of ten seconds"
    );
    // Later, too: another takes ours, and insists.
    squatter.shared.with(|stack, now| {
        let cidr = Cidr::new(ip(101).into(), 24).unwrap();
        stack
            .add_address(now, cidr, ConflictConfig::assigned())
            .unwrap();
    });
    world.pass(3);
    squatter.shared.with(|stack, now| stack.announce(now));
    world.pass(60);
    assert_eq!(client.addresses(), [IpAddr::from(ip(102))]);
}

#[test]
fn rfc2131_2_2_an_address_that_answers_a_ping_is_not_offered() {
    let world = World::new();
    let (_server, server) = world.server_with(1, 3_600, 2);
    let squatter = world.machine(50, Faults::default());
    squatter.shared.with(|stack, now| {
        for number in [100, 101] {
            let cidr = Cidr::new(ip(number).into(), 24).unwrap();
            stack
                .add_address(now, cidr, ConflictConfig::assigned())
                .unwrap();
        }
    });
    // Three at once: one of them finds no slot, and looks for itself.
    let clients: Vec<_> = (11..14)
        .map(|number| world.client(number, Faults::default()))
        .collect();
    world.pass(60);
    let mut seen: Vec<_> = clients.iter().flat_map(Client::addresses).collect();
    seen.sort();
    assert_eq!(seen, [102, 103, 104].map(|last| IpAddr::from(ip(last))));
    let counters = server.borrow().counters();
    assert_eq!(counters.in_use + counters.declined, 2, "{counters:?}");
    assert!(counters.in_use >= 1, "{counters:?}");
    // What is in use is known after a restart.
    let path = format!("{DICTIONARY}/10.0.0.100");
    let value = world.store.get(Key::new(&path).unwrap());
    let value = world.executor.run_until(value).unwrap();
    let record = DhcpRecord::from_bytes(&value).unwrap();
    assert_eq!(record.kind, DhcpLeaseKind::Declined);
}

#[test]
fn rfc2131_3_4_a_host_with_an_address_of_its_own_asks_for_the_rest() {
    let world = World::new();
    let host = world.machine(40, Faults::default());
    host.shared.with(|stack, now| {
        let cidr = Cidr::new(ip(40).into(), 24).unwrap();
        stack
            .add_address(now, cidr, ConflictConfig::assigned())
            .unwrap();
    });
    let ask = || {
        let config = DhcpClientConfig::new(mac(40));
        let mut rng = ChaCha8Rng::seed_from_u64(40);
        world.executor.run_until(async {
            dhcp_inform(host.shared, world.executor, config, ip(40), &mut rng).await
        })
    };
    assert_eq!(ask(), Err(DhcpInformError::Unanswered));
    let before = world.platform.now();
    assert!((56..65).contains(&before.as_secs()), "{before}");
    let (_server, server) = world.server(1, 3_600);
    let parameters = ask().unwrap();
    assert!(world.platform.now() - before < Duration::from_secs(1));
    assert_eq!(parameters.resolvers[..], [RESOLVER]);
    assert_eq!(parameters.routers[..], [ip(1)]);
    assert_eq!(parameters.mtu, Some(1_400));
    let counters = server.borrow().counters();
    assert_eq!((counters.informed, counters.acknowledged), (1, 0));
    assert_eq!(server.borrow().leases(before, None).count(), 0);
}

#[test]
fn leases_are_kept_in_a_store_and_outlive_the_server() {
    let world = World::new();
    let (server, _) = world.server(1, 3_600);
    let clients: Vec<_> = (11..16)
        .map(|number| world.client(number, Faults::default()))
        .collect();
    world.pass(30);
    let before: Vec<_> = clients.iter().map(Client::addresses).collect();
    assert!(before.iter().all(|addresses| addresses.len() == 1));
    let names = Cell::new(0);
    world.executor.run_until(async {
        let key = Key::new(DICTIONARY).unwrap();
        let count = |_: mirage_core::kv::Entry<'_>| {
            names.set(names.get() + 1);
            std::ops::ControlFlow::Continue(())
        };
        world.store.list(key, count).await.unwrap();
        let path = format!("{DICTIONARY}/10.0.0.100");
        let value = world.store.get(Key::new(&path).unwrap()).await.unwrap();
        let record = DhcpRecord::from_bytes(&value).unwrap();
        assert_eq!(
            (record.address, record.kind),
            (ip(100), DhcpLeaseKind::Bound)
        );
    });
    assert_eq!(names.get(), 5);
    // It is gone, and another has its address and its store: everyone's lease is known there.
    server.control.set_link(false);
    let (_second, again) = world.server(2, 3_600);
    world.pass(1);
    let now = world.platform.now();
    assert_eq!(again.borrow().leases(now, None).count(), 5);
    let newcomer = world.client(30, Faults::default());
    world.pass(30);
    assert_eq!(newcomer.addresses(), [IpAddr::from(ip(105))]);
}

#[test]
fn a_lease_that_cannot_be_written_down_is_not_given() {
    let world = World::new();
    let (_server, server) = world.server(1, 3_600);
    world.store.fail_after(0);
    let client = world.client(11, Faults::default());
    world.pass(50);
    assert!(client.addresses().is_empty());
    assert!(server.borrow().counters().not_saved > 2);
    assert_eq!(client.state(), DhcpClientState::Requesting);
    world.store.mend();
    world.pass(60);
    assert_eq!(client.addresses(), [IpAddr::from(ip(100))]);
}

#[test]
fn a_link_that_loses_and_repeats_half_of_all_frames_is_survived() {
    let world = World::new();
    let (_server, _) = world.server(1, 1_200);
    let faults = Faults {
        loss: Chance::percent(30),
        duplication: Chance::percent(30),
        reordering: Chance::percent(20),
        ..Faults::default()
    };
    let clients: Vec<_> = (11..21)
        .map(|number| world.client(number, faults))
        .collect();
    world.pass(400);
    for client in &clients {
        assert_eq!(client.addresses().len(), 1, "{:?}", client.client);
    }
    world.pass(20_000);
    let mut seen = Vec::new();
    for client in &clients {
        seen.extend(client.addresses());
    }
    let count = seen.len();
    seen.sort();
    seen.dedup();
    assert!(seen.len() == count && count >= 8, "{seen:?}");
}

#[test]
fn a_cable_that_is_pulled_and_plugged_in_again_has_the_lease_verified() {
    let world = World::new();
    let (_server, server) = world.server(1, 3_600);
    let client = world.client(11, Faults::default());
    world.pass(30);
    let given = server.borrow().counters().acknowledged;
    client.machine.control.set_link(false);
    world.pass(5);
    assert_eq!(client.addresses().len(), 1);
    client.machine.control.set_link(true);
    world.pass(5);
    assert_eq!(server.borrow().counters().acknowledged, given + 1);
    assert_eq!(client.state(), DhcpClientState::Bound);
    let link = DhcpNotice::Stack(Event::Link { up: true });
    assert!(client.notices.borrow().contains(&link));
}

#[test]
fn a_machine_that_was_suspended_has_its_lease_verified_and_keeps_its_address() {
    let world = World::new();
    let (_server, server) = world.server(1, 3_600);
    let client = world.client(11, Faults::default());
    world.pass(30);
    let given = server.borrow().counters().acknowledged;
    let mut rng = ChaCha8Rng::seed_from_u64(77);
    assert!(client.client.resume(client.machine.shared, &mut rng));
    assert_eq!(client.addresses(), [IpAddr::from(ip(100))]);
    world.pass(1);
    assert_eq!(server.borrow().counters().acknowledged, given + 1);
    assert_eq!(client.state(), DhcpClientState::Bound);
    assert_eq!(client.events().len(), 2, "acquired and renewed");
    // For longer than the lease.
    let now = world.platform.now();
    let away = Duration::from_secs(4_000);
    client
        .client
        .with(|client| client.handle_resume(now, Some(away)));
    world.pass(30);
    assert_eq!(
        client.events()[2..],
        [
            DhcpClientEvent::Lost(DhcpLoss::Expired),
            DhcpClientEvent::Acquired
        ]
    );
    assert_eq!(client.addresses(), [IpAddr::from(ip(100))]);
}

#[test]
fn an_earlier_address_is_had_again_in_one_exchange() {
    let world = World::new();
    let (_server, _) = world.server(1, 3_600);
    let first = world.client(11, Faults::default());
    world.pass(30);
    assert_eq!(first.addresses(), [IpAddr::from(ip(100))]);
    first.machine.control.set_link(false);
    // The same station after a restart, without probes.
    let again = world.client_with(11, Faults::default(), |config| {
        config.last_address = Some(ip(100));
        config.check = false;
        config.start_delay = Duration::ZERO;
    });
    let before = world.platform.now();
    world.executor.run_until(again.client.configured());
    assert!(world.platform.now() - before < Duration::from_millis(100));
    assert_eq!(again.addresses(), [IpAddr::from(ip(100))]);
}

#[test]
fn an_address_is_remembered_in_a_store_and_asked_for_after_a_restart() {
    let world = World::new();
    let (_server, server) = world.server(1, 3_600);
    let store: &'static MemoryStore = Box::leak(Box::new(MemoryStore::new()));
    let key = Key::new("network/address").unwrap();
    let remembering = |client: &'static SharedDhcpClient| {
        let run = async move {
            client.remember(store, key, |_| {}).await;
        };
        world.executor.spawn(run).unwrap().detach();
    };
    // Another has the first address of the pool.
    let other = world.client(12, Faults::default());
    world.pass(30);
    let first = world.client(11, Faults::default());
    store.fail_after(0);
    remembering(first.client);
    world.pass(30);
    assert_eq!(first.addresses(), [IpAddr::from(ip(101))]);
    let there = world.executor.run_until(store.exists(key)).unwrap();
    assert_eq!(there, None);
    // What could not be written is with the lease's next change.
    store.mend();
    world.pass(1_800);
    let value = world.executor.run_until(store.get(key)).unwrap();
    assert_eq!(value[..], b"10.0.0.101\n"[..]);
    first.machine.control.set_link(false);
    other.machine.control.set_link(false);
    world.pass(1);
    let counters = server.borrow().counters();
    let again = world.client_recalling(11, store, key);
    world.executor.run_until(again.client.configured());
    assert_eq!(again.addresses(), [IpAddr::from(ip(101))]);
    let later = server.borrow().counters();
    assert_eq!(
        (later.offered, later.acknowledged),
        (counters.offered, counters.acknowledged + 1)
    );
}

#[test]
fn a_server_hears_no_datagram_that_is_not_for_it_and_answers_by_broadcast() {
    let world = World::new();
    let (_server, server) = world.server(1, 3_600);
    let asker = world.machine(40, Faults::default());
    let heard = world.executor.run_until(async {
        let socket = asker.shared.udp_bind(DhcpBinding::udp_options()).unwrap();
        let mut buffer = [0; 548];
        let mut repr = DhcpRepr::new(dhcp::DhcpOperation::Request);
        repr.hardware = dhcp::DhcpHardware::ethernet(mac(40));
        repr.transaction = 9;
        let mut writer = DhcpWriter::new(&mut buffer, &repr).unwrap();
        writer.message_type(DhcpMessageType::Discover).unwrap();
        let length = writer.finish();
        let everyone = SocketAddr::from((Ipv4Addr::BROADCAST, 67));
        for message in [&b"nonsense"[..], &buffer[..length]] {
            socket.send(Some(everyone), message).await.unwrap();
        }
        socket.receive().await.unwrap()
    });
    assert_eq!(
        heard.destination,
        SocketAddr::from((Ipv4Addr::BROADCAST, 68))
    );
    assert_eq!(heard.source, at(1, 67));
    let payload = bytes(&heard.payload);
    let packet = DhcpPacket::new_checked(&payload).unwrap();
    assert_eq!(packet.message_type(), Some(DhcpMessageType::Offer));
    let counters = server.borrow().counters();
    assert_eq!((counters.malformed, counters.offered), (1, 1));
}
