use super::*;
use crate::ip::Cidr;
use crate::wire::dhcp::{
    CLIENT_PORT, ClasslessRoute, ClasslessRoutes, DhcpRepr, DhcpWriter, MESSAGE_LEN, SERVER_PORT,
};
use proptest::prelude::*;
use std::boxed::Box;
use std::collections::BTreeMap;
use std::string::{String, ToString};
use std::vec;
use std::vec::Vec;

const SERVER: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);
const OTHER: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 2);
const RELAY: Ipv4Addr = Ipv4Addr::new(10, 9, 0, 1);
const NONE: Ipv4Addr = Ipv4Addr::UNSPECIFIED;

fn at(last: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 0, 0, last)
}

fn network(text: &str) -> Cidr {
    text.parse().unwrap()
}

/// 10.0.0.100 to .103 on the link, 10.9.0.10 to .250 behind a relay agent.
fn subnets() -> &'static [DhcpSubnet<'static>] {
    static ROUTERS: [Ipv4Addr; 1] = [Ipv4Addr::new(10, 0, 0, 102)];
    static RESOLVERS: [Ipv4Addr; 2] = [Ipv4Addr::new(10, 0, 0, 3), Ipv4Addr::new(10, 0, 0, 4)];
    static ROUTES: [ClasslessRoute; 1] = [ClasslessRoute {
        network: Ipv4Addr::UNSPECIFIED,
        prefix_len: 0,
        gateway: Ipv4Addr::new(10, 0, 0, 102),
    }];
    Box::leak(Box::new([
        DhcpSubnet {
            routers: &ROUTERS,
            resolvers: &RESOLVERS,
            routes: &ROUTES,
            ntp_servers: &RESOLVERS,
            domain: Some("example.org"),
            mtu: Some(1_400),
            ..DhcpSubnet::new(network("10.0.0.0/24"), at(100), at(103))
        },
        DhcpSubnet::new(
            network("10.9.0.0/24"),
            Ipv4Addr::new(10, 9, 0, 10),
            Ipv4Addr::new(10, 9, 0, 250),
        ),
    ]))
}

struct Machine {
    server: DhcpServer<'static>,
    now: Instant,
}

/// What a client says.
#[derive(Clone)]
struct Says {
    repr: DhcpRepr,
    kind: DhcpMessageType,
    options: Vec<(u8, Vec<u8>)>,
}

fn mac(number: u8) -> MacAddress {
    MacAddress([2, 0, 0, 0, 0, number])
}

impl Says {
    fn new(kind: DhcpMessageType, client: u8) -> Self {
        Says {
            repr: DhcpRepr {
                transaction: 0x1234_5678,
                hardware: DhcpHardware::ethernet(mac(client)),
                ..DhcpRepr::new(DhcpOperation::Request)
            },
            kind,
            options: vec![],
        }
    }

    fn discover(client: u8) -> Self {
        Self::new(DhcpMessageType::Discover, client)
    }

    /// Takes an offer.
    fn select(client: u8, address: Ipv4Addr) -> Self {
        Self::reboot(client, address).server(SERVER)
    }

    fn reboot(client: u8, address: Ipv4Addr) -> Self {
        Self::new(DhcpMessageType::Request, client)
            .with(option::REQUESTED_ADDRESS, &address.octets())
    }

    fn renew(client: u8, address: Ipv4Addr) -> Self {
        Self::new(DhcpMessageType::Request, client).has(address)
    }

    fn decline(client: u8, address: Ipv4Addr) -> Self {
        Self::new(DhcpMessageType::Decline, client)
            .with(option::REQUESTED_ADDRESS, &address.octets())
            .server(SERVER)
    }

    fn release(client: u8, address: Ipv4Addr) -> Self {
        Self::new(DhcpMessageType::Release, client)
            .has(address)
            .server(SERVER)
    }

    fn server(self, server: Ipv4Addr) -> Self {
        self.with(option::SERVER_IDENTIFIER, &server.octets())
    }

    fn has(mut self, address: Ipv4Addr) -> Self {
        self.repr.client_address = address;
        self
    }

    fn through(mut self, relay: Ipv4Addr) -> Self {
        self.repr.relay_address = relay;
        self
    }

    fn with(mut self, code: u8, value: &[u8]) -> Self {
        self.options.push((code, value.to_vec()));
        self
    }

    fn bytes(&self) -> Vec<u8> {
        let mut buffer = [0; 1_400];
        let mut writer = DhcpWriter::new(&mut buffer, &self.repr).unwrap();
        writer.message_type(self.kind).unwrap();
        for (code, value) in &self.options {
            writer.option(*code, value).unwrap();
        }
        let length = writer.finish();
        buffer[..length].to_vec()
    }
}

/// What the server said, in short.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Said {
    to: DhcpReply,
    bytes: Vec<u8>,
}

impl Said {
    fn packet(&self) -> DhcpPacket<'_> {
        DhcpPacket::new_checked(&self.bytes).unwrap()
    }

    fn kind(&self) -> DhcpMessageType {
        self.packet().message_type().unwrap()
    }

    fn address(&self) -> Ipv4Addr {
        self.packet().your_address()
    }
}

impl Machine {
    fn of(config: DhcpServerConfig<'static>, slots: usize) -> Self {
        let slots: Vec<_> = (0..slots).map(|_| DhcpLeaseSlot::EMPTY).collect();
        let slots = Box::leak(slots.into_boxed_slice());
        Machine {
            server: DhcpServer::new(config, &mut slots[..]).unwrap(),
            now: Instant::from_secs(1_000),
        }
    }

    fn new() -> Self {
        Self::of(DhcpServerConfig::new(SERVER, subnets()), 300)
    }

    /// One that looks at so many addresses at a time before it offers them.
    fn probing(probes: usize) -> Self {
        let probes: Vec<_> = (0..probes).map(|_| DhcpProbeSlot::EMPTY).collect();
        let probes = Box::leak(probes.into_boxed_slice());
        let Machine { server, now } = Self::new();
        let server = server.with_probes(&mut probes[..]);
        Machine { server, now }
    }

    /// Lets time pass until a message that waits is due, and gives the answer to it.
    fn wait(&mut self) -> Option<Said> {
        self.now = self.server.poll_timeout()?;
        self.reply()
    }

    fn reply(&mut self) -> Option<Said> {
        let mut bytes = vec![0xcc; MESSAGE_LEN];
        let to = self.server.poll_reply(self.now, &mut bytes)?;
        bytes.truncate(to.length);
        Some(Said { to, bytes })
    }

    fn hear(&mut self, says: &Says) -> Option<Said> {
        self.hear_bytes(&says.bytes(), MESSAGE_LEN)
    }

    fn hear_bytes(&mut self, bytes: &[u8], room: usize) -> Option<Said> {
        let mut buffer = vec![0xcc; room];
        let to = self.server.handle_message(self.now, bytes, &mut buffer)?;
        buffer.truncate(to.length);
        Some(Said { to, bytes: buffer })
    }

    /// The type of the answer, and the address in it.
    fn ask(&mut self, says: &Says) -> Option<(DhcpMessageType, Ipv4Addr)> {
        let said = self.hear(says)?;
        assert_eq!(said.packet().operation(), DhcpOperation::Reply);
        assert_eq!(said.packet().transaction(), says.repr.transaction);
        assert_eq!(said.packet().hardware(), says.repr.hardware);
        assert_eq!(
            said.packet().address(option::SERVER_IDENTIFIER),
            Some(SERVER)
        );
        Some((said.kind(), said.address()))
    }

    /// Gives a client a lease.
    fn lease(&mut self, client: u8) -> Ipv4Addr {
        let (kind, address) = self.ask(&Says::discover(client)).unwrap();
        assert_eq!(kind, DhcpMessageType::Offer);
        assert_eq!(self.ask(&Says::select(client, address)), ack(address));
        address
    }

    fn pass(&mut self, seconds: u64) {
        self.now += Duration::from_secs(seconds);
    }

    fn changes(&mut self) -> Vec<DhcpRecord> {
        let wall = Some(Duration::from_secs(1_700_000_000 + self.now.as_secs()));
        std::iter::from_fn(|| self.server.poll_change(self.now, wall)).collect()
    }
}

fn offer(address: Ipv4Addr) -> Option<(DhcpMessageType, Ipv4Addr)> {
    Some((DhcpMessageType::Offer, address))
}

fn ack(address: Ipv4Addr) -> Option<(DhcpMessageType, Ipv4Addr)> {
    Some((DhcpMessageType::Ack, address))
}

const NAK: Option<(DhcpMessageType, Ipv4Addr)> = Some((DhcpMessageType::Nak, NONE));

#[test]
fn an_offer_says_what_the_subnet_says() {
    let mut machine = Machine::new();
    let said = machine.hear(&Says::discover(1)).unwrap();
    let packet = said.packet();
    assert_eq!(
        (said.kind(), said.address()),
        (DhcpMessageType::Offer, at(100))
    );
    assert_eq!(
        packet.address(option::SUBNET_MASK),
        Some(Ipv4Addr::new(255, 255, 255, 0))
    );
    assert_eq!(packet.u32(option::LEASE_TIME), Some(3_600));
    assert_eq!(packet.u32(option::RENEWAL_TIME), Some(1_800));
    assert_eq!(packet.u32(option::REBINDING_TIME), Some(3_150));
    assert_eq!(
        packet.addresses(option::ROUTER).collect::<Vec<_>>(),
        [at(102)]
    );
    assert_eq!(packet.addresses(option::DOMAIN_NAME_SERVER).count(), 2);
    assert_eq!(packet.addresses(option::NTP_SERVERS).count(), 2);
    let domain = packet.option(option::DOMAIN_NAME).unwrap();
    assert_eq!(domain.contiguous(), Some(&b"example.org"[..]));
    assert_eq!(packet.u16(option::INTERFACE_MTU), Some(1_400));
    assert_eq!(packet.address(option::BROADCAST_ADDRESS), Some(at(255)));
    let routes = packet.option(option::CLASSLESS_ROUTES).unwrap();
    assert_eq!(ClasslessRoutes::new_checked(&routes).unwrap().count(), 1);
    // RFC 2132 §3.3: the mask before the router.
    let place = |code: u8| {
        said.bytes
            .windows(2)
            .skip(240)
            .position(|two| two == [code, 4])
    };
    assert!(place(option::SUBNET_MASK) < place(option::ROUTER));
    assert_eq!(
        said.to.destination,
        SocketAddrV4::new(Ipv4Addr::BROADCAST, CLIENT_PORT)
    );
    assert_eq!(said.to.link, None);
    // Only what was asked for.
    let list = [option::ROUTER, option::DOMAIN_NAME];
    let said = machine
        .hear(&Says::discover(1).with(option::PARAMETER_LIST, &list))
        .unwrap();
    let packet = said.packet();
    assert!(
        packet.option(option::ROUTER).is_some() && packet.option(option::DOMAIN_NAME).is_some()
    );
    for code in [
        option::SUBNET_MASK,
        option::DOMAIN_NAME_SERVER,
        option::CLASSLESS_ROUTES,
    ] {
        assert!(packet.option(code).is_none());
    }
    assert_eq!(packet.u32(option::LEASE_TIME), Some(3_600));
}

#[test]
fn clients_get_addresses_of_their_own_until_there_is_none() {
    let mut machine = Machine::new();
    // .102 is the router's.
    let addresses: Vec<_> = (1..=3).map(|client| machine.lease(client)).collect();
    assert_eq!(addresses, [at(100), at(101), at(103)]);
    assert_eq!(machine.ask(&Says::discover(4)), None);
    assert_eq!(machine.server.counters().exhausted, 1);
    // The same again for the same, also after it is over.
    assert_eq!(machine.ask(&Says::discover(2)), offer(at(101)));
    machine.pass(3_601);
    assert_eq!(machine.ask(&Says::discover(3)), offer(at(103)));
    // Another gets what has been over for longest.
    assert_eq!(machine.ask(&Says::discover(4)), offer(at(100)));
    assert_eq!(machine.ask(&Says::select(4, at(100))), ack(at(100)));
    assert_eq!(machine.ask(&Says::renew(1, at(100))), NAK);
}

#[test]
fn an_offer_is_held_for_a_moment_and_withdrawn_for_another_servers() {
    let mut machine = Machine::new();
    assert_eq!(machine.ask(&Says::discover(1)), offer(at(100)));
    assert_eq!(machine.ask(&Says::discover(2)), offer(at(101)));
    assert_eq!(machine.ask(&Says::discover(3)), offer(at(103)));
    assert_eq!(machine.ask(&Says::discover(4)), None);
    machine.pass(1);
    // The first takes another server's.
    let other = Says::reboot(1, at(77)).server(OTHER);
    assert_eq!(machine.ask(&other), None);
    assert_eq!(machine.ask(&Says::discover(4)), offer(at(100)));
    machine.pass(31);
    assert_eq!(machine.ask(&Says::discover(5)), offer(at(101)));
    // Too late for the second, whose offer went to the fifth.
    assert_eq!(machine.ask(&Says::select(2, at(101))), NAK);
    assert_eq!(machine.ask(&Says::select(3, at(103))), ack(at(103)));
    // What was asked for, if it is free.
    let asks = Says::discover(6).with(option::REQUESTED_ADDRESS, &at(100).octets());
    assert_eq!(machine.ask(&asks), offer(at(100)));
    // A running lease isn't shortened by an offer of it.
    assert_eq!(machine.ask(&Says::discover(3)), offer(at(103)));
    machine.pass(100);
    assert_eq!(machine.ask(&Says::renew(3, at(103))), ack(at(103)));
}

#[test]
fn hazard_the_server_naks_another_servers_lease() {
    let mut machine = Machine::new();
    machine.lease(1);
    let foreign = [
        // Of another network, of this one but no pool's, the server's own, the router's.
        Says::reboot(9, Ipv4Addr::new(192, 168, 1, 5)),
        Says::reboot(9, at(77)),
        Says::reboot(9, SERVER),
        Says::reboot(9, at(102)),
        Says::renew(9, at(77)),
        Says::renew(9, Ipv4Addr::new(192, 168, 1, 5)),
        // Of a pool, but nobody knows it.
        Says::reboot(9, at(101)),
        Says::renew(9, at(101)),
        // Chosen from another server.
        Says::reboot(9, at(100)).server(OTHER),
        Says::reboot(1, at(77)).server(OTHER),
        // A client that has a lease here, and one elsewhere.
        Says::renew(1, at(77)),
    ];
    for (number, says) in foreign.iter().enumerate() {
        assert_eq!(machine.ask(says), None, "{number}");
    }
    assert_eq!(machine.server.counters().refused, 0);
    // Ours, and known to be another's: that is refused.
    assert_eq!(machine.ask(&Says::reboot(9, at(100))), NAK);
    assert_eq!(machine.ask(&Says::renew(9, at(100))), NAK);
    // Ours, free, and the client has another one of ours.
    assert_eq!(machine.ask(&Says::reboot(1, at(101))), NAK);
}

#[test]
fn an_authoritative_server_refuses_what_no_other_can_have_given() {
    let mut config = DhcpServerConfig::new(SERVER, subnets());
    config.authoritative = true;
    let mut machine = Machine::of(config, 8);
    assert_eq!(
        machine.ask(&Says::reboot(9, Ipv4Addr::new(192, 168, 1, 5))),
        NAK
    );
    assert_eq!(machine.ask(&Says::reboot(9, at(77))), NAK);
    // A lease that a restart forgot.
    assert_eq!(machine.ask(&Says::renew(8, at(101))), ack(at(101)));
    assert_eq!(machine.ask(&Says::reboot(9, at(103))), ack(at(103)));
    // Another server that was chosen is respected all the same.
    assert_eq!(machine.ask(&Says::reboot(9, at(100)).server(OTHER)), None);
}

#[test]
fn leases_are_renewed_and_reboots_answered() {
    let mut machine = Machine::new();
    let address = machine.lease(1);
    machine.pass(1_800);
    let said = machine.hear(&Says::renew(1, address)).unwrap();
    assert_eq!(
        (said.kind(), said.address()),
        (DhcpMessageType::Ack, address)
    );
    assert_eq!(said.packet().client_address(), address);
    assert_eq!(said.to.destination, SocketAddrV4::new(address, CLIENT_PORT));
    machine.pass(3_599);
    assert_eq!(machine.ask(&Says::reboot(1, address)), ack(address));
    // After its end, as long as nobody else has it.
    machine.pass(10_000);
    assert_eq!(machine.ask(&Says::renew(1, address)), ack(address));
    // Clients that say both.
    let both = Says::renew(1, address).with(option::REQUESTED_ADDRESS, &address.octets());
    assert_eq!(machine.ask(&both), ack(address));
    assert_eq!(machine.ask(&Says::new(DhcpMessageType::Request, 1)), None);
    assert_eq!(machine.server.counters().malformed, 1);
}

#[test]
fn lease_times_stay_within_bounds() {
    let time = |asked: Option<u32>| {
        let mut says = Says::discover(1);
        if let Some(asked) = asked {
            says = says.with(option::LEASE_TIME, &asked.to_be_bytes());
        }
        let said = Machine::new().hear(&says).unwrap();
        said.packet().u32(option::LEASE_TIME).unwrap()
    };
    assert_eq!(time(None), 3_600);
    assert_eq!(time(Some(0)), 60);
    assert_eq!(time(Some(7_200)), 7_200);
    assert_eq!(time(Some(1_000_000)), 86_400);
    assert_eq!(time(Some(u32::MAX)), 86_400);
    // For ever, where the owner allows it.
    let mut config = DhcpServerConfig::new(SERVER, subnets());
    config.longest_lease = Duration::MAX;
    let mut machine = Machine::of(config, 8);
    let forever = u32::MAX.to_be_bytes();
    machine.ask(&Says::discover(1));
    let says = Says::select(1, at(100)).with(option::LEASE_TIME, &forever);
    let said = machine.hear(&says).unwrap();
    assert_eq!(said.packet().u32(option::LEASE_TIME), Some(u32::MAX));
    assert_eq!(said.packet().u32(option::RENEWAL_TIME), None);
    machine.pass(100 * 365 * 86_400);
    assert_eq!(machine.ask(&Says::reboot(9, at(100))), NAK);
    assert_eq!(machine.changes()[0].expires, Some(u64::MAX));
}

#[test]
fn an_address_that_was_declined_is_left_alone_for_a_while() {
    let mut machine = Machine::new();
    machine.lease(1);
    machine.changes();
    // Only its own client can say so, of this server.
    machine.ask(&Says::decline(2, at(100)));
    machine.ask(&Says::decline(1, at(101)));
    let mut other = Says::decline(1, at(100));
    other.options[1].1 = OTHER.octets().to_vec();
    machine.ask(&other);
    assert_eq!(machine.server.counters().declined, 0);
    assert_eq!(machine.changes(), []);
    assert_eq!(machine.ask(&Says::decline(1, at(100))), None);
    let record = machine.changes()[0];
    assert_eq!(
        (record.address, record.kind),
        (at(100), DhcpLeaseKind::Declined)
    );
    assert_eq!(machine.ask(&Says::discover(1)), offer(at(101)));
    assert_eq!(machine.ask(&Says::discover(2)), offer(at(103)));
    // In despair: the client will look at it itself.
    assert_eq!(machine.ask(&Says::discover(3)), offer(at(100)));
    machine.ask(&Says::select(3, at(100)));
    machine.ask(&Says::decline(3, at(100)));
    machine.pass(601);
    let asks = Says::discover(5).with(option::REQUESTED_ADDRESS, &at(100).octets());
    assert_eq!(machine.ask(&asks), offer(at(100)));
}

#[test]
fn rfc2131_2_2_an_address_is_looked_at_before_it_is_offered() {
    let mut machine = Machine::probing(2);
    let began = machine.now;
    assert!(machine.hear(&Says::discover(1)).is_none());
    assert_eq!(machine.server.poll_probe(), Some(at(100)));
    assert_eq!(machine.server.poll_probe(), None);
    assert!(machine.reply().is_none(), "too early");
    // It asks again meanwhile: one answer, to the newest message.
    let mut again = Says::discover(1);
    again.repr.transaction = 77;
    assert!(machine.hear(&again).is_none());
    assert_eq!(machine.server.poll_probe(), None);
    let said = machine.wait().unwrap();
    assert_eq!(machine.now, began + Duration::from_millis(500));
    assert_eq!(
        (said.kind(), said.address()),
        (DhcpMessageType::Offer, at(100))
    );
    assert_eq!(said.packet().transaction(), 77);
    assert_eq!(
        (machine.server.poll_timeout(), machine.wait().is_some()),
        (None, false)
    );
    // What was looked at a moment ago is offered at once, and taken.
    assert_eq!(machine.ask(&Says::discover(1)), offer(at(100)));
    assert_eq!(machine.ask(&Says::select(1, at(100))), ack(at(100)));
    // So is what the client has.
    assert_eq!(machine.ask(&Says::discover(1)), offer(at(100)));
    // But not what it had, long ago.
    machine.pass(90_000);
    assert!(machine.hear(&Says::discover(1)).is_none());
    assert_eq!(machine.server.poll_probe(), Some(at(100)));
}

#[test]
fn rfc2131_2_2_an_address_that_answers_is_left_alone_and_another_offered() {
    let mut machine = Machine::probing(1);
    assert!(machine.hear(&Says::discover(1)).is_none());
    // Nobody asked yet, and nobody asked for this one.
    machine.server.handle_address_in_use(machine.now, at(100));
    assert_eq!(machine.server.poll_probe(), Some(at(100)));
    machine.server.handle_address_in_use(machine.now, at(101));
    assert_eq!(machine.server.counters().in_use, 0);
    machine.server.handle_address_in_use(machine.now, at(100));
    assert_eq!(machine.server.counters().in_use, 1);
    // Due at once: another is looked at.
    assert_eq!(machine.server.poll_timeout(), Some(machine.now));
    assert!(machine.reply().is_none());
    let record = machine.changes()[0];
    assert_eq!(
        (record.address, record.kind),
        (at(100), DhcpLeaseKind::Declined)
    );
    assert_eq!(machine.server.poll_probe(), Some(at(101)));
    let said = machine.wait().unwrap();
    assert_eq!(said.address(), at(101));
    // Too late.
    machine.server.handle_address_in_use(machine.now, at(101));
    assert_eq!(machine.ask(&Says::select(1, at(101))), ack(at(101)));
    // Four are looked at for one message, of a pool that is full of strangers; then the client has to ask again.
    let mut machine = Machine::probing(1);
    assert!(machine.hear(&Says::discover(1)).is_none());
    let mut seen = 0;
    while let Some(address) = machine.server.poll_probe() {
        seen += 1;
        machine.server.handle_address_in_use(machine.now, address);
        assert!(machine.reply().is_none());
    }
    assert_eq!((seen, machine.server.poll_timeout()), (4, None));
}

#[test]
fn addresses_are_not_looked_at_when_reserved_or_when_nobody_has_room_to_wait() {
    let mut machine = Machine::probing(1);
    assert!(machine.hear(&Says::discover(1)).is_none());
    // No slot: as it is, and counted.
    assert_eq!(machine.ask(&Says::discover(2)), offer(at(101)));
    assert_eq!(machine.server.counters().not_probed, 1);
    // Another server's offer was taken: nothing is said, and the slot is free again.
    assert_eq!(machine.server.poll_probe(), Some(at(100)));
    machine.ask(&Says::reboot(1, at(9)).server(OTHER));
    assert!(machine.wait().is_none());
    assert_eq!(machine.server.poll_timeout(), None);
    assert!(machine.hear(&Says::discover(4)).is_none());
    assert_eq!(machine.server.poll_probe(), Some(at(100)));
    // A reserved address is its client's, who may answer from it.
    let reservations = Box::leak(Box::new([DhcpReservation {
        identifier: None,
        hardware: Some(DhcpHardware::ethernet(mac(9))),
        address: at(50),
        host_name: None,
    }]));
    let mut config = DhcpServerConfig::new(SERVER, subnets());
    config.reservations = reservations;
    let Machine { server, now } = Machine::of(config, 300);
    let probes = Box::leak(Box::new([DhcpProbeSlot::EMPTY]));
    let server = server.with_probes(&mut probes[..]);
    let mut machine = Machine { server, now };
    assert_eq!(machine.ask(&Says::discover(9)), offer(at(50)));
}

#[test]
fn a_lease_that_is_given_back_is_free_and_remembered() {
    let mut machine = Machine::new();
    machine.lease(1);
    machine.ask(&Says::release(2, at(100)));
    assert_eq!(machine.server.counters().released, 0);
    assert_eq!(machine.ask(&Says::release(1, at(100))), None);
    let record = machine.changes()[0];
    assert_eq!(
        (record.address, record.kind),
        (at(100), DhcpLeaseKind::Released)
    );
    // Addresses that nobody had come first, so the first client finds its own again.
    assert_eq!(machine.ask(&Says::discover(2)), offer(at(101)));
    assert_eq!(machine.ask(&Says::discover(1)), offer(at(100)));
}

#[test]
fn reserved_addresses_are_for_their_clients_alone() {
    let reservations = Box::leak(Box::new([
        DhcpReservation {
            identifier: None,
            hardware: Some(DhcpHardware::ethernet(mac(7))),
            address: at(50),
            host_name: Some("seven"),
        },
        DhcpReservation {
            identifier: Some(b"\0eight"),
            hardware: None,
            address: at(101),
            host_name: None,
        },
    ]));
    let mut config = DhcpServerConfig::new(SERVER, subnets());
    config.reservations = reservations;
    let mut machine = Machine::of(config, 16);
    let said = machine.hear(&Says::discover(7)).unwrap();
    assert_eq!(said.address(), at(50));
    let name = said.packet().option(option::HOST_NAME).unwrap();
    assert_eq!(name.contiguous(), Some(&b"seven"[..]));
    assert_eq!(
        machine.ask(&Says::reboot(7, at(50))),
        ack(at(50)),
        "without any record"
    );
    assert_eq!(
        machine.ask(&Says::reboot(7, at(103))),
        NAK,
        "it has one of its own"
    );
    assert_eq!(machine.ask(&Says::select(6, at(50))), NAK);
    let eight = |says: Says| says.with(option::CLIENT_IDENTIFIER, b"\0eight");
    let asks = Says::discover(1).with(option::REQUESTED_ADDRESS, &at(101).octets());
    assert_eq!(machine.ask(&asks), offer(at(100)));
    assert_eq!(machine.ask(&Says::discover(2)), offer(at(103)));
    assert_eq!(machine.ask(&Says::discover(3)), None);
    assert_eq!(machine.ask(&eight(Says::discover(3))), offer(at(101)));
    assert_eq!(machine.ask(&eight(Says::select(3, at(101)))), ack(at(101)));
    assert_eq!(
        machine.ask(&Says::renew(3, at(101))),
        NAK,
        "the same station without the name"
    );
}

#[test]
fn clients_behind_a_relay_agent_get_addresses_of_its_network_and_its_information_back() {
    let mut machine = Machine::new();
    let information = [1, 4, 0, 1, 2, 3, 2, 2, 9, 9];
    let relayed = |says: Says| {
        says.through(RELAY)
            .with(option::RELAY_AGENT, &information)
            .with(option::CLIENT_IDENTIFIER, &[1, 2, 3])
    };
    let address = Ipv4Addr::new(10, 9, 0, 10);
    for says in [Says::discover(1), Says::select(1, address)] {
        let said = machine.hear(&relayed(says)).unwrap();
        let packet = said.packet();
        assert_eq!(said.address(), address);
        assert_eq!(packet.relay_address(), RELAY);
        let back = packet.option(option::RELAY_AGENT).unwrap();
        assert_eq!(back.contiguous(), Some(&information[..]));
        let back = packet.option(option::CLIENT_IDENTIFIER).unwrap();
        assert_eq!(back.contiguous(), Some(&[1, 2, 3][..]), "RFC 6842");
        assert_eq!(said.to.destination, SocketAddrV4::new(RELAY, SERVER_PORT));
        // It is the last option.
        let end = said
            .bytes
            .iter()
            .rposition(|byte| *byte == option::END)
            .unwrap();
        assert_eq!(said.bytes[end - 12..end - 10], [option::RELAY_AGENT, 10]);
    }
    // Renewed by unicast, without the agent.
    let renew = Says::renew(1, address).with(option::CLIENT_IDENTIFIER, &[1, 2, 3]);
    assert_eq!(machine.ask(&renew), ack(address));
    // A refusal is to be broadcast by the agent (§4.3.2).
    let said = machine
        .hear(&Says::select(2, address).through(RELAY))
        .unwrap();
    assert_eq!(
        (said.kind(), said.packet().broadcast()),
        (DhcpMessageType::Nak, true)
    );
    // Agents of networks that are none of ours, or that can't be one.
    for relay in [
        Ipv4Addr::new(192, 0, 2, 1),
        Ipv4Addr::new(10, 9, 0, 255),
        Ipv4Addr::BROADCAST,
    ] {
        assert_eq!(machine.ask(&Says::discover(3).through(relay)), None);
    }
    assert_eq!(machine.server.counters().no_subnet, 3);
}

#[test]
fn replies_go_where_the_client_can_hear_them() {
    let mut config = DhcpServerConfig::new(SERVER, subnets());
    config.link_unicast = true;
    let mut machine = Machine::of(config, 16);
    let everyone = SocketAddrV4::new(Ipv4Addr::BROADCAST, CLIENT_PORT);
    let said = machine.hear(&Says::discover(1)).unwrap();
    assert_eq!(said.to.destination, SocketAddrV4::new(at(100), CLIENT_PORT));
    assert_eq!(said.to.link, Some(mac(1)));
    let mut broadcast = Says::discover(1);
    broadcast.repr.broadcast = true;
    let said = machine.hear(&broadcast).unwrap();
    assert_eq!((said.to.destination, said.to.link), (everyone, None));
    assert!(said.packet().broadcast());
    machine.ask(&Says::select(1, at(100)));
    let said = machine.hear(&Says::reboot(2, at(100))).unwrap();
    assert_eq!(
        (said.kind(), said.to.destination),
        (DhcpMessageType::Nak, everyone)
    );
    // A stranger that has not asked, or all of a network, is sent nothing by who names it.
    for claimed in [Ipv4Addr::new(192, 0, 2, 1), at(255), at(0)] {
        let said = machine.hear(&Says::discover(4).has(claimed)).unwrap();
        assert!(
            [everyone.ip(), &said.address()].contains(&said.to.destination.ip()),
            "{claimed}: {}",
            said.to.destination
        );
    }
    // A station that has no Ethernet address, or a group's.
    let mut group = Says::discover(3);
    group.repr.hardware = DhcpHardware::new(1, &[255; 6]).unwrap();
    let said = machine.hear(&group).unwrap();
    assert_eq!((said.to.destination, said.to.link), (everyone, None));
}

#[test]
fn options_alone_are_given_to_hosts_of_the_network_and_nobody_else_is_sent_anything() {
    let mut machine = Machine::new();
    let inform = |address| Says::new(DhcpMessageType::Inform, 1).has(address);
    let said = machine.hear(&inform(at(66))).unwrap();
    let packet = said.packet();
    assert_eq!((said.kind(), said.address()), (DhcpMessageType::Ack, NONE));
    assert_eq!(packet.u32(option::LEASE_TIME), None, "§4.3.5");
    assert_eq!(packet.addresses(option::DOMAIN_NAME_SERVER).count(), 2);
    assert_eq!(said.to.destination, SocketAddrV4::new(at(66), CLIENT_PORT));
    for address in [
        NONE,
        at(0),
        at(255),
        Ipv4Addr::BROADCAST,
        Ipv4Addr::new(192, 0, 2, 1),
    ] {
        assert_eq!(machine.ask(&inform(address)), None, "{address}");
    }
    assert_eq!(machine.changes(), []);
}

#[test]
fn hazard_options_that_do_not_fit_panic() {
    let routers: &'static [Ipv4Addr] = Box::leak(Box::new([at(9); 70]));
    let domain: String = "d".repeat(253);
    let subnet = DhcpSubnet {
        routers,
        resolvers: routers,
        ntp_servers: routers,
        domain: Some(Box::leak(domain.into_boxed_str())),
        ..DhcpSubnet::new(network("10.0.0.0/24"), at(100), at(110))
    };
    let subnets: &'static [DhcpSubnet<'static>] = Box::leak(Box::new([subnet]));
    let mut machine = Machine::of(DhcpServerConfig::new(SERVER, subnets), 16);
    let says = Says::discover(1)
        .with(option::RELAY_AGENT, &[5; 60])
        .with(option::CLIENT_IDENTIFIER, &[6; 64]);
    for room in 0..1_500 {
        let Some(said) = machine.hear_bytes(&says.bytes(), room) else {
            assert!(room < 410, "no answer in {room}");
            continue;
        };
        assert!(said.bytes.len() <= room);
        let packet = said.packet();
        assert_eq!(packet.u32(option::LEASE_TIME), Some(3_600));
        assert_eq!(packet.option(option::RELAY_AGENT).unwrap().len(), 60);
        assert_eq!(packet.option(option::CLIENT_IDENTIFIER).unwrap().len(), 64);
        // A client that says nothing takes 548 bytes.
        assert!(said.bytes.len() <= MESSAGE_LEN);
    }
    assert!(machine.server.counters().options_left_out > 0);
    assert!(machine.server.counters().no_room > 0);
    // A client that takes more gets more.
    let most = says
        .clone()
        .with(option::MAX_MESSAGE_SIZE, &1_500u16.to_be_bytes());
    let said = machine.hear_bytes(&most.bytes(), 1_500).unwrap();
    assert!(said.bytes.len() > MESSAGE_LEN && said.bytes.len() <= 1_472);
    assert_eq!(said.packet().addresses(option::ROUTER).count(), 63);
    // One that says too little is taken at the least that is legal.
    let little = says.with(option::MAX_MESSAGE_SIZE, &10u16.to_be_bytes());
    assert!(machine.hear_bytes(&little.bytes(), 1_500).is_some());
}

#[test]
fn a_full_table_drops_nothing_that_counts() {
    let mut machine = Machine::of(DhcpServerConfig::new(SERVER, subnets()), 2);
    machine.lease(1);
    machine.lease(2);
    assert_eq!(machine.ask(&Says::discover(3)), None);
    assert_eq!(machine.server.counters().table_full, 1);
    machine.ask(&Says::release(1, at(100)));
    assert_eq!(machine.ask(&Says::discover(3)), offer(at(103)));
    assert_eq!(machine.ask(&Says::renew(2, at(101))), ack(at(101)));
    let mut none = Machine::of(DhcpServerConfig::new(SERVER, subnets()), 0);
    assert_eq!(none.ask(&Says::discover(3)), None);
    assert_eq!(none.server.counters().table_full, 1);
}

#[test]
fn leases_outlive_a_restart() {
    let mut machine = Machine::new();
    for client in 1..=3 {
        machine.lease(client);
    }
    machine.ask(&Says::release(2, at(101)));
    machine.ask(&Says::decline(3, at(103)));
    let mut store: BTreeMap<Ipv4Addr, [u8; DhcpRecord::LEN]> = BTreeMap::new();
    for record in machine.changes() {
        store.insert(record.address, record.to_bytes());
    }
    assert_eq!(store.len(), 3);
    assert_eq!(machine.changes(), [], "once");
    // Another life, whose clock begins anew, ten minutes later.
    let wall = Duration::from_secs(1_700_000_000 + machine.now.as_secs() + 590);
    let mut later = Machine::new();
    later.now = Instant::ZERO;
    for bytes in store.values() {
        let record = DhcpRecord::from_bytes(bytes).unwrap();
        assert!(later.server.restore(later.now, Some(wall), &record));
        assert!(
            !later.server.restore(later.now, Some(wall), &record),
            "twice is once"
        );
    }
    assert_eq!(
        later.ask(&Says::reboot(9, at(100))),
        NAK,
        "it is still the first client's"
    );
    assert_eq!(later.ask(&Says::renew(1, at(100))), ack(at(100)));
    assert_eq!(later.ask(&Says::discover(2)), offer(at(101)));
    let asks = Says::discover(5).with(option::REQUESTED_ADDRESS, &at(103).octets());
    assert_eq!(later.ask(&asks), offer(at(103)), "in despair");
    // An hour later it is anybody's.
    let wall = wall + Duration::from_secs(3_600);
    let mut later = Machine::new();
    for bytes in store.values() {
        let record = DhcpRecord::from_bytes(bytes).unwrap();
        later.server.restore(later.now, Some(wall), &record);
    }
    let asks = Says::discover(5).with(option::REQUESTED_ADDRESS, &at(100).octets());
    assert_eq!(later.ask(&asks), offer(at(100)));
    // Without a wall clock: as if it had begun now, for it may have.
    let mut blind = Machine::new();
    let record = DhcpRecord::from_bytes(&store[&at(100)]).unwrap();
    blind.server.restore(blind.now, None, &record);
    blind.pass(86_399);
    assert_eq!(blind.ask(&Says::reboot(9, at(100))), NAK);
    blind.pass(2);
    assert_eq!(blind.ask(&Says::select(9, at(100))), ack(at(100)));
    // What is of no network of ours is nobody's.
    let mut foreign = record;
    foreign.address = Ipv4Addr::new(192, 0, 2, 1);
    assert!(!blind.server.restore(blind.now, None, &foreign));
}

#[test]
fn a_record_that_could_not_be_written_is_given_again() {
    let mut machine = Machine::new();
    machine.lease(1);
    let record = machine.changes()[0];
    assert_eq!(machine.changes(), []);
    machine.server.not_saved(record.address);
    assert_eq!(machine.changes(), [record]);
    assert_eq!(machine.server.counters().not_saved, 1);
    machine.server.not_saved(at(77));
    assert_eq!(machine.changes(), []);
}

#[test]
fn what_is_no_clients_message_is_counted_and_ignored() {
    let mut machine = Machine::new();
    let mut reply = Says::discover(1);
    reply.repr.operation = DhcpOperation::Reply;
    let offers = Says::new(DhcpMessageType::Offer, 1);
    let long = Says::discover(1).with(option::CLIENT_IDENTIFIER, &[1; 65]);
    let longer = Says::discover(1).with(option::RELAY_AGENT, &[1; 256]);
    for says in [&reply, &offers, &long, &longer] {
        assert_eq!(machine.ask(says), None);
    }
    assert_eq!(machine.hear_bytes(&[1; 239], 548), None);
    let counters = machine.server.counters();
    assert_eq!(
        (
            counters.not_a_request,
            counters.too_long,
            counters.malformed
        ),
        (2, 2, 1)
    );
    assert_eq!(machine.server.leases(machine.now, None).count(), 0);
}

#[test]
fn configurations_that_cannot_work_are_refused() {
    let refused = |change: &dyn Fn(&mut DhcpServerConfig<'static>)| {
        let mut config = DhcpServerConfig::new(SERVER, subnets());
        change(&mut config);
        let none: &mut [DhcpLeaseSlot] = &mut [];
        let error = DhcpServer::new(config, none).unwrap_err();
        assert!(!error.to_string().is_empty());
        error
    };
    let pool = |cidr: &str, first, last| -> &'static [DhcpSubnet<'static>] {
        Box::leak(Box::new([DhcpSubnet::new(network(cidr), first, last)]))
    };
    assert_eq!(refused(&|c| c.address = NONE), DhcpServerError::BadAddress);
    for (cidr, first, last) in [
        ("10.0.0.0/24", at(9), at(8)),
        ("10.0.0.0/24", at(0), at(8)),
        ("10.0.0.0/24", at(1), at(255)),
        ("10.0.0.0/24", at(1), Ipv4Addr::new(10, 0, 1, 8)),
        ("10.0.0.0/8", at(1), Ipv4Addr::new(10, 255, 0, 0)),
    ] {
        assert_eq!(
            refused(&|c| c.subnets = pool(cidr, first, last)),
            DhcpServerError::BadPool(0)
        );
    }
    let reservation = |address, hardware| -> &'static [DhcpReservation<'static>] {
        Box::leak(Box::new([DhcpReservation {
            identifier: None,
            hardware,
            address,
            host_name: None,
        }]))
    };
    let station = Some(DhcpHardware::ethernet(mac(1)));
    for (address, hardware) in [(at(5), None), (SERVER, station), (NONE, station)] {
        assert_eq!(
            refused(&|c| c.reservations = reservation(address, hardware)),
            DhcpServerError::BadReservation(0)
        );
    }
    assert_eq!(
        refused(&|c| c.shortest_lease = Duration::from_secs(100_000)),
        DhcpServerError::BadTimes
    );
    assert_eq!(
        refused(&|c| c.lease_time = Duration::ZERO),
        DhcpServerError::BadTimes
    );
}

proptest! {
    /// Whatever clients say: no address is two clients' at a time, a reply's address is of a pool, and what a client was given is
    /// refused to others as long as it runs.
    #[test]
    fn no_address_is_two_clients(
        slots in 0usize..8,
        authoritative: bool,
        steps in prop::collection::vec((0u8..8, 1u8..6, 99u8..105, 0u64..2_000, any::<bool>()), 0..150),
    ) {
        let mut config = DhcpServerConfig::new(SERVER, subnets());
        config.authoritative = authoritative;
        let mut machine = Machine::of(config, slots);
        // Who was told what, and until when.
        let mut told: BTreeMap<Ipv4Addr, (u8, Instant)> = BTreeMap::new();
        for (action, client, last, wait, other) in steps {
            let address = at(last);
            let mut says = match action {
                0 | 1 => Says::discover(client),
                2 | 3 => Says::select(client, address),
                4 => Says::reboot(client, address),
                5 => Says::renew(client, address),
                6 => Says::decline(client, address),
                _ => Says::release(client, address),
            };
            if other && action == 2 {
                says = Says::reboot(client, address).server(OTHER);
            }
            let reply = machine.hear(&says);
            if action >= 6 && told.get(&address).is_some_and(|(owner, _)| *owner == client) {
                told.remove(&address);
            }
            if let Some(reply) = reply {
                let address = reply.address();
                match reply.kind() {
                    DhcpMessageType::Nak => prop_assert_eq!(address, NONE),
                    kind => {
                        prop_assert!([at(100), at(101), at(103)].contains(&address));
                        if let Some((owner, until)) = told.get(&address) {
                            prop_assert!(*owner == client || *until <= machine.now, "{address} is another's");
                        }
                        if kind == DhcpMessageType::Ack {
                            told.retain(|_, (owner, _)| *owner != client);
                            told.insert(address, (client, machine.now + Duration::from_secs(3_600)));
                        }
                    }
                }
            }
            prop_assert!(machine.server.leases(machine.now, None).count() <= slots);
            machine.changes();
            machine.pass(wait);
        }
    }

    #[test]
    fn any_bytes_are_answered_or_not(mut bytes in prop::collection::vec(any::<u8>(), 0..600), kind in 0u8..9) {
        if bytes.len() > 250 {
            bytes[0] = 1;
            bytes[2] %= 17;
            bytes[24..28].fill(0);
            bytes[236..240].copy_from_slice(&[99, 130, 83, 99]);
            bytes[240..243].copy_from_slice(&[53, 1, kind]);
        }
        let mut machine = Machine::new();
        if let Some(reply) = machine.hear_bytes(&bytes, MESSAGE_LEN) {
            prop_assert_eq!(reply.packet().operation(), DhcpOperation::Reply);
        }
    }
}
