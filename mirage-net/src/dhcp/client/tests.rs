use super::*;
use crate::wire::dhcp::{ClasslessRoute, DhcpRepr, DhcpWriter, write_classless_route};
use proptest::prelude::*;
use std::vec;
use std::vec::Vec;

use mirage_core::MacAddress;

const MAC: MacAddress = MacAddress([2, 0, 0, 0, 0, 7]);
const SERVER: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);
const OTHER: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 2);
const OURS: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 100);

/// A client, a clock that jumps, and what was sent.
struct Machine {
    client: DhcpClient,
    now: Instant,
}

/// A message that the client sent.
#[derive(Debug, Clone)]
struct Sent {
    at: Instant,
    to: DhcpTransmit,
    bytes: Vec<u8>,
}

impl Sent {
    fn packet(&self) -> DhcpPacket<'_> {
        DhcpPacket::new_checked(&self.bytes).unwrap()
    }

    fn kind(&self) -> DhcpMessageType {
        self.packet().message_type().unwrap()
    }
}

/// What a server says.
#[derive(Clone)]
struct Says {
    kind: DhcpMessageType,
    server: Option<Ipv4Addr>,
    address: Ipv4Addr,
    seconds: Option<u32>,
    options: Vec<(u8, Vec<u8>)>,
}

impl Says {
    fn new(kind: DhcpMessageType) -> Self {
        Says {
            kind,
            server: Some(SERVER),
            address: OURS,
            seconds: Some(3_600),
            options: vec![
                (option::SUBNET_MASK, vec![255, 255, 255, 0]),
                (option::ROUTER, vec![10, 0, 0, 1]),
            ],
        }
    }

    fn offer() -> Self {
        Self::new(DhcpMessageType::Offer)
    }

    fn ack() -> Self {
        Self::new(DhcpMessageType::Ack)
    }

    fn nak() -> Self {
        Says {
            address: Ipv4Addr::UNSPECIFIED,
            seconds: None,
            options: vec![],
            ..Self::new(DhcpMessageType::Nak)
        }
    }

    fn from(mut self, server: Ipv4Addr) -> Self {
        self.server = Some(server);
        self
    }

    fn of(mut self, address: Ipv4Addr) -> Self {
        self.address = address;
        self
    }

    fn lasting(mut self, seconds: u32) -> Self {
        self.seconds = Some(seconds);
        self
    }

    fn with(mut self, code: u8, value: &[u8]) -> Self {
        self.options.push((code, value.to_vec()));
        self
    }

    fn without(mut self, code: u8) -> Self {
        self.options.retain(|(other, _)| *other != code);
        self
    }

    fn bytes(&self, transaction: u32, mac: MacAddress) -> Vec<u8> {
        let repr = DhcpRepr {
            transaction,
            your_address: self.address,
            hardware: DhcpHardware::ethernet(mac),
            ..DhcpRepr::new(DhcpOperation::Reply)
        };
        let mut buffer = [0; 1_400];
        let mut writer = DhcpWriter::new(&mut buffer, &repr).unwrap();
        writer.message_type(self.kind).unwrap();
        if let Some(server) = self.server {
            writer.address(option::SERVER_IDENTIFIER, server).unwrap();
        }
        if let Some(seconds) = self.seconds {
            writer.u32(option::LEASE_TIME, seconds).unwrap();
        }
        for (code, value) in &self.options {
            writer.option(*code, value).unwrap();
        }
        let length = writer.finish();
        buffer[..length].to_vec()
    }
}

impl Machine {
    fn of(config: DhcpClientConfig, seed: u64) -> Self {
        let mut client = DhcpClient::with_random(config, Random::fixed(seed));
        assert_eq!((client.poll_timeout(), client.poll_event()), (None, None));
        client.start(Instant::ZERO);
        Machine {
            client,
            now: Instant::ZERO,
        }
    }

    fn new(seed: u64) -> Self {
        Self::of(DhcpClientConfig::new(MAC), seed)
    }

    /// What is sent now.
    fn sent(&mut self) -> Option<Sent> {
        let mut buffer = [0xaa; MESSAGE_LEN];
        let to = self.client.poll_transmit(&mut buffer)?;
        Some(Sent {
            at: self.now,
            to,
            bytes: buffer[..to.length].to_vec(),
        })
    }

    /// Jumps from deadline to deadline up to `until`; what is sent meanwhile.
    fn run_to(&mut self, until: Instant) -> Vec<Sent> {
        let mut sent = Vec::new();
        loop {
            sent.extend(self.sent());
            match self.client.poll_timeout() {
                Some(next) if next <= until => {
                    self.now = self.now.max(next);
                    self.client.handle_timeout(self.now);
                    assert!(
                        self.client.poll_timeout().is_none_or(|at| at > self.now),
                        "a deadline that stays: {:?}",
                        self.client
                    );
                }
                _ => {
                    self.now = until;
                    return sent;
                }
            }
        }
    }

    fn run(&mut self, time: Duration) -> Vec<Sent> {
        self.run_to(self.now + time)
    }

    /// Up to the next message.
    fn next(&mut self) -> Sent {
        loop {
            if let Some(sent) = self.sent() {
                return sent;
            }
            let next = self.client.poll_timeout().expect("a message to come");
            self.now = self.now.max(next);
            self.client.handle_timeout(self.now);
        }
    }

    fn hear(&mut self, says: &Says) {
        let bytes = says.bytes(self.client.transaction, MAC);
        self.client.handle_message(self.now, &bytes);
    }

    fn events(&mut self) -> Vec<DhcpClientEvent> {
        std::iter::from_fn(|| self.client.poll_event()).collect()
    }

    /// Up to BOUND.
    fn bind(&mut self, ack: &Says) {
        self.next();
        self.hear(&Says {
            kind: DhcpMessageType::Offer,
            ..ack.clone()
        });
        let request = self.next();
        assert_eq!(request.kind(), DhcpMessageType::Request);
        self.hear(ack);
        assert_eq!(self.events(), [DhcpClientEvent::Acquired]);
        assert_eq!(self.client.state(), DhcpClientState::Checking);
        self.client.handle_address_acquired();
        assert_eq!(self.client.state(), DhcpClientState::Bound);
    }
}

fn seconds(time: Duration) -> f64 {
    time.as_secs_f64()
}

#[test]
fn hazard_no_exponential_back_off_and_jitter() {
    let mut fractions = Vec::new();
    for seed in 0..40 {
        let mut machine = Machine::new(seed);
        let sent = machine.run(Duration::from_secs(600));
        assert!(sent[0].at <= Instant::from_secs(1));
        fractions.push(sent[0].at.as_nanos());
        let expected = [4.0, 8.0, 16.0, 32.0, 64.0, 64.0, 64.0];
        for (pair, base) in sent.windows(2).zip(expected) {
            let gap = seconds(pair[1].at - pair[0].at);
            assert!((gap - base).abs() <= 1.0, "{gap} for {base}");
            fractions.push((pair[1].at - pair[0].at).as_nanos() as u64);
        }
        // One transaction, and honest seconds.
        for message in &sent {
            assert_eq!(message.kind(), DhcpMessageType::Discover);
            assert_eq!(
                message.packet().transaction(),
                sent[0].packet().transaction()
            );
            let elapsed = (message.at - sent[0].at).as_secs();
            assert_eq!(u64::from(message.packet().seconds()), elapsed);
            assert_eq!(message.to.source, Ipv4Addr::UNSPECIFIED);
            assert_eq!(message.to.destination, Ipv4Addr::BROADCAST);
        }
        assert!(sent.len() <= 14, "{}", sent.len());
    }
    fractions.sort_unstable();
    fractions.dedup();
    assert!(
        fractions.len() > 300,
        "jitter that is the same again and again"
    );
}

#[test]
fn a_client_says_what_rfc_2131_wants_it_to_say() {
    let mut config = DhcpClientConfig::new(MAC);
    config.host_name = Some("host".try_into().unwrap());
    config.vendor_class = Some("mirage".try_into().unwrap());
    config.identifier = Some(heapless::Vec::from_slice(&[0, 1, 2, 3]).unwrap());
    config.lease_time = Some(Duration::from_secs(7_200));
    config.broadcast = true;
    let mut machine = Machine::of(config, 1);
    let discover = machine.next();
    let packet = discover.packet();
    assert!(packet.broadcast());
    assert_eq!(packet.hardware(), DhcpHardware::ethernet(MAC));
    assert_eq!(packet.client_address(), Ipv4Addr::UNSPECIFIED);
    assert_eq!(packet.u16(option::MAX_MESSAGE_SIZE), Some(576));
    assert_eq!(packet.u32(option::LEASE_TIME), Some(7_200));
    assert_eq!(packet.address(option::SERVER_IDENTIFIER), None);
    assert_eq!(packet.address(option::REQUESTED_ADDRESS), None);
    let text = |code| packet.option(code).unwrap().contiguous().unwrap().to_vec();
    assert_eq!(text(option::HOST_NAME), b"host");
    assert_eq!(text(option::VENDOR_CLASS), b"mirage");
    assert_eq!(text(option::CLIENT_IDENTIFIER), [0, 1, 2, 3]);
    // Routes before routers (RFC 3442), the mask among them.
    let list = text(option::PARAMETER_LIST);
    let place = |code| list.iter().position(|other| *other == code).unwrap();
    assert!(place(option::CLASSLESS_ROUTES) < place(option::ROUTER));
    assert!(place(option::SUBNET_MASK) < place(option::ROUTER));
    assert_eq!(discover.bytes.len(), 300);

    machine.run(Duration::from_secs(3));
    machine.hear(&Says::offer());
    let request = machine.next();
    let packet = request.packet();
    assert_eq!(request.kind(), DhcpMessageType::Request);
    assert_eq!(packet.transaction(), discover.packet().transaction());
    assert_eq!(packet.seconds(), discover.packet().seconds(), "§3.1 (3)");
    assert_eq!(packet.client_address(), Ipv4Addr::UNSPECIFIED);
    assert_eq!(packet.address(option::SERVER_IDENTIFIER), Some(SERVER));
    assert_eq!(packet.address(option::REQUESTED_ADDRESS), Some(OURS));
    assert_eq!(request.to.destination, Ipv4Addr::BROADCAST);
    assert_eq!(request.to.source, Ipv4Addr::UNSPECIFIED);
}

#[test]
fn offers_are_collected_and_the_best_is_taken() {
    let choose = |offers: &[Says], last: Option<Ipv4Addr>| {
        let mut machine = Machine::new(3);
        machine.next();
        machine.client.last_address = last;
        let first = machine.now;
        for offer in offers {
            machine.hear(offer);
            machine.run(Duration::from_millis(10));
        }
        let request = machine.next();
        assert_eq!(request.at, first + Duration::from_millis(500));
        request.packet().address(option::SERVER_IDENTIFIER)
    };
    let plain = Says::offer().without(option::ROUTER);
    let routed = Says::offer().from(OTHER);
    // The first of equals; one with a router before one without; the address that was asked for before both.
    assert_eq!(choose(&[Says::offer(), routed.clone()], None), Some(SERVER));
    assert_eq!(choose(&[plain.clone(), routed.clone()], None), Some(OTHER));
    let asked = Ipv4Addr::new(10, 0, 0, 55);
    let same = plain.clone().of(asked);
    assert_eq!(choose(&[routed, same], Some(asked)), Some(SERVER));

    let mut config = DhcpClientConfig::new(MAC);
    config.offer_wait = Duration::ZERO;
    let mut machine = Machine::of(config, 1);
    machine.next();
    machine.hear(&Says::offer());
    let at = machine.now;
    assert_eq!(
        (machine.next().at, machine.client.state()),
        (at, DhcpClientState::Requesting)
    );
}

#[test]
fn an_offer_that_comes_to_nothing_is_asked_for_four_times_then_another_servers_is_preferred() {
    let mut machine = Machine::new(4);
    machine.next();
    machine.hear(&Says::offer());
    let sent = machine.run(Duration::from_secs(66));
    let kinds: Vec<_> = sent.iter().map(Sent::kind).collect();
    let (request, discover) = (DhcpMessageType::Request, DhcpMessageType::Discover);
    assert_eq!(kinds[..5], [request, request, request, request, discover]);
    let minute = seconds(sent[4].at - sent[0].at);
    assert!((56.0..=64.0).contains(&minute), "{minute}");
    assert_ne!(
        sent[4].packet().transaction(),
        sent[0].packet().transaction()
    );
    // The same server is quicker, the other is tried.
    machine.hear(&Says::offer());
    machine.hear(&Says::offer().from(OTHER).without(option::ROUTER));
    let again = machine.next();
    assert_eq!(
        again.packet().address(option::SERVER_IDENTIFIER),
        Some(OTHER)
    );
}

#[test]
fn a_lease_is_believed_only_of_the_server_and_address_that_were_asked_for() {
    let mut machine = Machine::new(5);
    machine.next();
    machine.hear(&Says::offer());
    machine.next();
    machine.hear(&Says::ack().from(OTHER));
    machine.hear(&Says::ack().of(Ipv4Addr::new(10, 0, 0, 9)));
    machine.hear(&Says::nak().from(OTHER));
    let mut nameless = Says::nak();
    nameless.server = None;
    machine.hear(&nameless);
    let foreign = Says::ack().bytes(machine.client.transaction.wrapping_add(1), MAC);
    machine.client.handle_message(machine.now, &foreign);
    let foreign = Says::ack().bytes(machine.client.transaction, MacAddress([2, 0, 0, 0, 0, 8]));
    machine.client.handle_message(machine.now, &foreign);
    machine.hear(&Says::ack().with(option::CLIENT_IDENTIFIER, &[1, 2, 3]));
    machine.hear(&Says::offer());
    machine.client.handle_message(machine.now, &[1; 100]);
    let mut request = Says::ack().bytes(machine.client.transaction, MAC);
    request[0] = 1;
    machine.client.handle_message(machine.now, &request);
    assert_eq!(machine.client.state(), DhcpClientState::Requesting);
    assert_eq!(machine.events(), []);
    let counters = machine.client.counters();
    assert_eq!((counters.other_server, counters.bad_address), (2, 1));
    assert_eq!((counters.not_for_us, counters.unexpected), (3, 1));
    assert_eq!((counters.malformed, counters.not_a_reply), (1, 1));
    assert_eq!(counters.incomplete, 1);
    machine.hear(&Says::ack());
    assert_eq!(machine.events(), [DhcpClientEvent::Acquired]);
}

#[test]
fn leases_that_no_host_can_use_are_not_taken() {
    let bad = [
        Says::offer().of(Ipv4Addr::UNSPECIFIED),
        Says::offer().of(Ipv4Addr::BROADCAST),
        Says::offer().of(Ipv4Addr::new(127, 0, 0, 1)),
        Says::offer().of(Ipv4Addr::new(224, 0, 0, 1)),
        Says::offer().of(Ipv4Addr::new(10, 0, 0, 255)),
        Says::offer().of(Ipv4Addr::new(10, 0, 0, 0)),
        Says::offer().of(SERVER),
        Says::offer().lasting(0),
        Says::offer().lasting(9),
        Says::offer().from(Ipv4Addr::UNSPECIFIED),
        Says {
            seconds: None,
            ..Says::offer()
        },
        Says {
            server: None,
            ..Says::offer()
        },
    ];
    let mut machine = Machine::new(6);
    machine.next();
    for offer in &bad {
        machine.hear(offer);
    }
    assert!(machine.client.offer.is_none());
    let counters = machine.client.counters();
    assert_eq!((counters.bad_address, counters.too_short), (7, 2));
    assert_eq!((counters.incomplete, counters.offers), (3, 0));
}

#[test]
fn options_become_a_lease_and_what_is_malformed_is_left_out() {
    let mut machine = Machine::new(7);
    let mut routes = Vec::new();
    for last in 0..10u8 {
        let mut room = [0; 9];
        let route = ClasslessRoute {
            network: Ipv4Addr::new(172, 16, last, 0),
            prefix_len: 24,
            gateway: Ipv4Addr::new(10, 0, 0, 5),
        };
        let length = write_classless_route(&route, &mut room).unwrap();
        routes.extend(&room[..length]);
    }
    let ack = Says::ack()
        .with(
            option::DOMAIN_NAME_SERVER,
            &[10, 0, 0, 3, 0, 0, 0, 0, 255, 255, 255, 255, 10, 0, 0, 4],
        )
        .with(option::NTP_SERVERS, &[10, 0, 0, 3, 1])
        .with(option::DOMAIN_NAME, b"example.org\0")
        .with(option::HOST_NAME, b"rm -rf /")
        .with(option::INTERFACE_MTU, &[0x05, 0x78])
        .with(option::CLASSLESS_ROUTES, &routes);
    machine.bind(&ack);
    let lease = machine.client.lease().unwrap();
    assert_eq!(
        (lease.address, lease.prefix_len, lease.server),
        (OURS, 24, SERVER)
    );
    assert_eq!(lease.duration, Some(Duration::from_secs(3_600)));
    assert_eq!(
        lease.parameters.resolvers[..],
        [Ipv4Addr::new(10, 0, 0, 3), Ipv4Addr::new(10, 0, 0, 4)]
    );
    assert!(
        lease.parameters.ntp_servers.is_empty(),
        "no multiple of four"
    );
    assert_eq!(
        std::format!("{lease}"),
        "10.0.0.100/24 from 10.0.0.1 for 3600 s"
    );
    assert_eq!(lease.parameters.domain.as_deref(), Some("example.org"));
    assert_eq!(
        (lease.parameters.host_name.as_deref(), lease.parameters.mtu),
        (None, Some(1_400))
    );
    // RFC 3442: the router doesn't count where there are routes.
    assert_eq!(
        (
            lease.parameters.classless_routes.len(),
            lease.parameters.clipped
        ),
        (8, true)
    );
    assert_eq!(lease.parameters.routes().count(), 8);
    assert!(
        lease
            .parameters
            .routes()
            .all(|route| route.destination.prefix_len() == 24)
    );

    let mut machine = Machine::new(7);
    let ack = Says::ack()
        .without(option::SUBNET_MASK)
        .with(option::SUBNET_MASK, &[255, 0, 255, 0])
        .with(option::INTERFACE_MTU, &[0, 67])
        .with(option::CLASSLESS_ROUTES, &[33, 1, 2, 3, 4, 5]);
    machine.bind(&ack);
    let lease = machine.client.lease().unwrap();
    // No mask: the address's class. Routes that are malformed anywhere: the router.
    assert_eq!((lease.prefix_len, lease.parameters.mtu), (8, None));
    assert_eq!(
        std::format!("{lease}"),
        "10.0.0.100/8 from 10.0.0.1 for 3600 s, gateway 10.0.0.1"
    );
    let route = lease.parameters.routes().next().unwrap();
    assert_eq!(
        (route.destination.prefix_len(), route.gateway),
        (0, Some(SERVER.into()))
    );
}

#[test]
fn hazard_no_t1_t2_renew_and_rebind() {
    for seed in 0..20 {
        let mut machine = Machine::new(seed);
        machine.bind(&Says::ack().lasting(4_000));
        // The lease began when the request was sent.
        let began = machine.client.asked;
        let sent = machine.run(Duration::from_secs(4_000));
        let renews: Vec<_> = sent.iter().filter(|s| s.to.destination == SERVER).collect();
        let rebinds: Vec<_> = sent
            .iter()
            .filter(|s| {
                s.to.destination == Ipv4Addr::BROADCAST && s.kind() == DhcpMessageType::Request
            })
            .collect();
        let t1 = seconds(renews[0].at - began);
        assert!((1_875.0..=2_000.0).contains(&t1), "{t1}");
        let t2 = seconds(rebinds[0].at - began);
        assert!((3_437.0..=3_500.0).contains(&t2), "{t2}");
        for message in renews.iter().chain(&rebinds) {
            let packet = message.packet();
            assert_eq!(packet.client_address(), OURS);
            assert_eq!(packet.address(option::SERVER_IDENTIFIER), None);
            assert_eq!(packet.address(option::REQUESTED_ADDRESS), None);
            assert!(!packet.broadcast());
            assert_eq!(message.to.source, OURS);
        }
        // Half of what is left, but not below a minute.
        for (messages, end) in [(&renews, t2), (&rebinds, 4_000.0)] {
            for pair in messages.windows(2) {
                let (one, two) = (seconds(pair[0].at - began), seconds(pair[1].at - began));
                let expected = ((end - one) / 2.0).max(60.0);
                assert!((two - one - expected).abs() < 0.001, "{one} {two}");
            }
        }
        assert!(renews.len() >= 4 && rebinds.len() >= 3);
        // At the end the address is lost, at once, and a new one is looked for: the same, if it is still there.
        let discover = sent.last().unwrap();
        assert_eq!(discover.kind(), DhcpMessageType::Discover);
        assert_eq!(discover.at, began + Duration::from_secs(4_000));
        assert_eq!(
            discover.packet().address(option::REQUESTED_ADDRESS),
            Some(OURS)
        );
        assert_eq!(machine.events(), [DhcpClientEvent::Lost(DhcpLoss::Expired)]);
        assert!(machine.client.lease().is_none());
    }
}

#[test]
fn a_renewal_begins_when_it_was_asked_for() {
    let mut machine = Machine::new(8);
    machine.bind(&Says::ack());
    let renew = machine.next();
    assert_eq!(machine.client.state(), DhcpClientState::Renewing);
    machine.run(Duration::from_secs(7));
    machine.hear(&Says::ack());
    assert_eq!(machine.client.state(), DhcpClientState::Bound);
    assert_eq!(
        machine.client.expires(),
        Some(renew.at + Duration::from_secs(3_600))
    );
    assert_eq!(
        machine.events(),
        [DhcpClientEvent::Renewed { changed: false }]
    );
    // An answer that comes twice is none to a question that is over.
    machine.hear(&Says::ack());
    assert_eq!(machine.events(), []);
    // The other router is news; a server that another's failed.
    machine.next();
    machine.hear(
        &Says::ack()
            .from(OTHER)
            .without(option::ROUTER)
            .with(option::ROUTER, &[10, 0, 0, 2]),
    );
    assert_eq!(
        machine.events(),
        [DhcpClientEvent::Renewed { changed: true }]
    );
    assert_eq!(machine.next().to.destination, OTHER);
}

#[test]
fn the_servers_times_are_taken_if_they_make_sense() {
    for (t1, t2, sensible) in [
        (100, 200, true),
        (0, 200, false),
        (200, 200, false),
        (300, 200, false),
        (100, 3_600, false),
    ] {
        let mut machine = Machine::new(9);
        let time = |seconds: u32| seconds.to_be_bytes();
        machine.bind(
            &Says::ack()
                .with(option::RENEWAL_TIME, &time(t1))
                .with(option::REBINDING_TIME, &time(t2)),
        );
        let began = machine.client.asked;
        let renew = machine.next().at - began;
        assert_eq!(renew == Duration::from_secs(100), sensible, "{t1} {t2}");
        assert!(sensible || renew > Duration::from_secs(1_600));
    }
}

/// RFC 2132 §9.11, §9.12: either may be there without the other.
#[test]
fn rfc2131_4_4_5_a_server_may_say_one_of_the_times_alone() {
    let bound = |says: Says| {
        let mut machine = Machine::new(9);
        machine.bind(&says);
        let began = machine.client.asked;
        let held = machine.client.held.clone().unwrap();
        (
            (held.renew - began).as_secs(),
            (held.rebind - began).as_secs(),
        )
    };
    let time = |seconds: u32| seconds.to_be_bytes();
    let (renew, rebind) = bound(Says::ack().with(option::RENEWAL_TIME, &time(300)));
    assert_eq!(renew, 300);
    assert!((3_000..=3_150).contains(&rebind), "{rebind}");
    let (renew, rebind) = bound(Says::ack().with(option::REBINDING_TIME, &time(2_000)));
    assert!((1_600..=1_800).contains(&renew), "{renew}");
    assert_eq!(rebind, 2_000);
    // Behind the other, or behind the end.
    for (code, wrong) in [
        (option::RENEWAL_TIME, 0),
        (option::RENEWAL_TIME, 3_300),
        (option::REBINDING_TIME, 1_000),
        (option::REBINDING_TIME, 3_600),
        (option::REBINDING_TIME, u32::MAX),
    ] {
        let (renew, rebind) = bound(Says::ack().with(code, &time(wrong)));
        assert!((1_600..=1_800).contains(&renew), "{code} {wrong}: {renew}");
        assert!(
            (3_000..=3_150).contains(&rebind),
            "{code} {wrong}: {rebind}"
        );
    }
}

#[test]
fn a_lease_for_ever_is_never_renewed() {
    let mut machine = Machine::new(10);
    machine.bind(&Says::ack().lasting(u32::MAX));
    assert_eq!(
        (machine.client.poll_timeout(), machine.client.expires()),
        (None, None)
    );
    let century = Duration::from_secs(100 * 365 * 86_400);
    assert!(machine.run(century).is_empty());
    assert_eq!(machine.client.state(), DhcpClientState::Bound);
}

#[test]
fn an_address_that_another_station_has_is_declined_and_the_pause_grows() {
    let mut machine = Machine::new(11);
    let mut pauses = Vec::new();
    for _ in 0..8 {
        machine.next();
        machine.hear(&Says::offer());
        machine.next();
        machine.hear(&Says::ack());
        assert_eq!(machine.events(), [DhcpClientEvent::Acquired]);
        assert!(!machine.client.is_configured());
        let conflict = machine.now;
        machine.client.handle_address_conflict(conflict);
        let decline = machine.next();
        assert_eq!(
            (decline.at, decline.kind()),
            (conflict, DhcpMessageType::Decline)
        );
        let packet = decline.packet();
        assert_eq!(packet.address(option::REQUESTED_ADDRESS), Some(OURS));
        assert_eq!(packet.address(option::SERVER_IDENTIFIER), Some(SERVER));
        assert_eq!(packet.client_address(), Ipv4Addr::UNSPECIFIED);
        assert!(packet.option(option::PARAMETER_LIST).is_none());
        assert_eq!(decline.to.destination, Ipv4Addr::BROADCAST);
        assert_eq!(decline.to.source, Ipv4Addr::UNSPECIFIED);
        assert_eq!(
            machine.events(),
            [DhcpClientEvent::Lost(DhcpLoss::Conflict)]
        );
        assert!(machine.client.lease().is_none());
        pauses.push((machine.client.poll_timeout().unwrap() - conflict).as_secs());
        // Nothing of that address again.
        assert_eq!(machine.client.last_address, None);
    }
    assert_eq!(pauses, [10, 20, 40, 80, 160, 320, 320, 320]);
    // One that holds ends the row.
    machine.bind(&Says::ack());
    machine.client.handle_address_conflict(machine.now);
    let next = machine.client.poll_timeout().unwrap();
    assert_eq!(next, machine.now + Duration::from_secs(10));
}

#[test]
fn a_refusal_ends_the_lease_and_begins_anew_without_ping_pong() {
    // While it is renewed: only of the server that has it.
    let mut machine = Machine::new(12);
    machine.bind(&Says::ack());
    machine.next();
    machine.hear(&Says::nak().from(OTHER));
    assert_eq!(machine.client.state(), DhcpClientState::Renewing);
    machine.hear(&Says::nak());
    assert_eq!(machine.events(), [DhcpClientEvent::Lost(DhcpLoss::Refused)]);
    let discover = machine.next();
    assert_eq!(discover.packet().address(option::REQUESTED_ADDRESS), None);
    // While any server is asked: of any.
    let mut machine = Machine::new(13);
    machine.bind(&Says::ack());
    while machine.client.state() != DhcpClientState::Rebinding {
        machine.next();
    }
    machine.hear(&Says::nak().from(OTHER));
    assert_eq!(machine.events(), [DhcpClientEvent::Lost(DhcpLoss::Refused)]);
    // A server that offers and refuses, again and again.
    let mut machine = Machine::new(14);
    let mut times = Vec::new();
    for _ in 0..8 {
        times.push(machine.next().at);
        machine.hear(&Says::offer());
        machine.next();
        machine.hear(&Says::nak());
        assert_eq!(machine.events(), []);
    }
    let gaps: Vec<_> = times
        .windows(2)
        .map(|pair| (pair[1] - pair[0]).as_secs())
        .collect();
    assert_eq!(gaps[0], 0);
    for (gap, base) in gaps[1..].iter().zip([4u64, 8, 16, 32, 64, 64]) {
        assert!(gap.abs_diff(base) <= 1, "{gaps:?}");
    }
}

#[test]
fn an_earlier_address_is_asked_for_first() {
    let mut config = DhcpClientConfig::new(MAC);
    config.last_address = Some(OURS);
    let mut machine = Machine::of(config.clone(), 15);
    assert_eq!(machine.client.state(), DhcpClientState::InitReboot);
    let request = machine.next();
    let packet = request.packet();
    assert_eq!(request.kind(), DhcpMessageType::Request);
    assert_eq!(packet.address(option::REQUESTED_ADDRESS), Some(OURS));
    assert_eq!(packet.address(option::SERVER_IDENTIFIER), None, "§4.3.2");
    assert_eq!(packet.client_address(), Ipv4Addr::UNSPECIFIED);
    assert_eq!(request.to.destination, Ipv4Addr::BROADCAST);
    machine.hear(&Says::ack().of(Ipv4Addr::new(10, 0, 0, 9)));
    assert_eq!(machine.client.state(), DhcpClientState::Rebooting);
    machine.hear(&Says::ack().from(OTHER));
    assert_eq!(machine.events(), [DhcpClientEvent::Acquired]);

    // Refused: another, at once.
    let mut machine = Machine::of(config.clone(), 16);
    machine.next();
    let refused = machine.now;
    machine.hear(&Says::nak().from(OTHER));
    let discover = machine.next();
    assert_eq!(
        (discover.at, discover.kind()),
        (refused, DhcpMessageType::Discover)
    );
    assert_eq!(discover.packet().address(option::REQUESTED_ADDRESS), None);

    // Nobody answers: two questions, then another, or the same.
    let mut machine = Machine::of(config, 17);
    let sent = machine.run(Duration::from_secs(15));
    let kinds: Vec<_> = sent.iter().map(Sent::kind).collect();
    let (request, discover) = (DhcpMessageType::Request, DhcpMessageType::Discover);
    assert_eq!(kinds, [request, request, discover]);
    assert_eq!(
        sent[2].packet().address(option::REQUESTED_ADDRESS),
        Some(OURS)
    );
}

#[test]
fn a_link_that_comes_up_again_has_the_lease_asked_for_and_used_meanwhile() {
    let mut machine = Machine::new(18);
    machine.bind(&Says::ack());
    machine.run(Duration::from_secs(100));
    let expires = machine.client.expires();
    machine.client.handle_link(machine.now, false);
    machine.client.handle_link(machine.now, true);
    machine.client.handle_timeout(machine.now);
    let request = machine.next();
    assert_eq!(
        request.packet().address(option::REQUESTED_ADDRESS),
        Some(OURS)
    );
    assert_eq!(request.packet().address(option::SERVER_IDENTIFIER), None);
    assert!(machine.client.is_configured());
    // Nobody answers: on with the rest of the lease.
    machine.run(Duration::from_secs(20));
    assert_eq!(machine.client.state(), DhcpClientState::Bound);
    assert_eq!(
        (machine.events(), machine.client.expires()),
        (vec![], expires)
    );
    // The old network: on with more.
    machine.client.handle_link(machine.now, true);
    let asked = machine.next().at;
    machine.hear(&Says::ack());
    assert_eq!(
        machine.events(),
        [DhcpClientEvent::Renewed { changed: false }]
    );
    assert_eq!(machine.client.state(), DhcpClientState::Bound);
    assert_eq!(
        machine.client.expires(),
        Some(asked + Duration::from_secs(3_600))
    );
    // Another network.
    machine.client.handle_link(machine.now, true);
    machine.next();
    machine.hear(&Says::nak().from(OTHER));
    assert_eq!(machine.events(), [DhcpClientEvent::Lost(DhcpLoss::Refused)]);
    assert_eq!(machine.next().kind(), DhcpMessageType::Discover);
}

#[test]
fn a_machine_that_was_suspended_has_its_lease_verified_and_less_of_it_left() {
    let mut machine = Machine::new(18);
    machine.bind(&Says::ack());
    machine.run(Duration::from_secs(100));
    let expires = machine.client.expires().unwrap();
    // The clock of the machine stood still for ten minutes.
    let away = Duration::from_secs(600);
    machine.client.handle_resume(machine.now, Some(away));
    assert_eq!(machine.client.expires(), Some(expires - away));
    assert!(machine.client.is_configured());
    machine.client.handle_timeout(machine.now);
    let request = machine.next();
    assert_eq!(request.kind(), DhcpMessageType::Request);
    let packet = request.packet();
    assert_eq!(packet.address(option::REQUESTED_ADDRESS), Some(OURS));
    assert!(packet.client_address().is_unspecified());
    // Nobody answers: used until its end, which comes earlier.
    machine.run(Duration::from_secs(3_600 - 600 - 100 - 1));
    assert!(machine.client.is_configured());
    machine.run(Duration::from_secs(2));
    assert_eq!(machine.events(), [DhcpClientEvent::Lost(DhcpLoss::Expired)]);
    // Away for longer than any lease, by a clock that may be wrong; and a lease for ever.
    for (ack, away, lost) in [
        (Says::ack(), Duration::from_secs(3_600), true),
        (Says::ack(), Duration::MAX, true),
        (Says::ack(), Duration::ZERO, false),
        (Says::ack().lasting(u32::MAX), Duration::MAX, false),
    ] {
        let mut machine = Machine::new(18);
        machine.bind(&ack);
        machine.run(Duration::from_secs(20));
        machine.client.handle_resume(machine.now, Some(away));
        assert_eq!(machine.client.lease().is_none(), lost);
        let request = machine.next();
        assert_eq!(
            request.packet().address(option::REQUESTED_ADDRESS),
            Some(OURS)
        );
    }
}

#[test]
fn that_nobody_answers_is_told_once_and_again_after_an_offer() {
    let mut machine = Machine::new(20);
    machine.client.start(machine.now);
    machine.run(Duration::from_secs(8));
    assert_eq!(machine.events(), []);
    let sent = machine.run(Duration::from_secs(600)).len();
    assert!(sent > 9, "it goes on asking: {sent}");
    assert_eq!(machine.events(), [DhcpClientEvent::Unanswered]);
    machine.run(Duration::from_secs(600));
    assert_eq!(machine.events(), []);
    machine.next();
    machine.hear(&Says::offer());
    // The offer comes to nothing, and then nobody answers again.
    machine.run(Duration::from_secs(600));
    assert_eq!(machine.events(), [DhcpClientEvent::Unanswered]);
    machine.next();
    machine.hear(&Says::offer());
    machine.next();
    machine.hear(&Says::ack());
    assert_eq!(machine.events(), [DhcpClientEvent::Acquired]);
}

#[test]
fn a_lease_that_is_given_back_is_asked_for_again_later() {
    let mut machine = Machine::new(19);
    machine.bind(&Says::ack());
    machine.client.release(machine.now);
    let release = machine.next();
    let packet = release.packet();
    assert_eq!(release.kind(), DhcpMessageType::Release);
    assert_eq!((release.to.source, release.to.destination), (OURS, SERVER));
    assert_eq!(packet.client_address(), OURS);
    assert_eq!(packet.address(option::SERVER_IDENTIFIER), Some(SERVER));
    assert_eq!(packet.address(option::REQUESTED_ADDRESS), None);
    assert_eq!(
        machine.events(),
        [DhcpClientEvent::Lost(DhcpLoss::Released)]
    );
    assert_eq!(machine.client.state(), DhcpClientState::Stopped);
    assert!(machine.run(Duration::from_secs(100_000)).is_empty());
    machine.client.start(machine.now);
    assert_eq!(
        machine.next().packet().address(option::REQUESTED_ADDRESS),
        Some(OURS)
    );
    // Without a lease there is nothing to give back.
    machine.client.release(machine.now);
    assert!(machine.sent().is_none());
    assert_eq!(machine.events(), []);
}

#[test]
fn a_clock_that_jumps_over_a_whole_lease_loses_it_once() {
    let mut machine = Machine::new(20);
    machine.bind(&Says::ack());
    machine.now += Duration::from_secs(10_000_000);
    machine.client.handle_timeout(machine.now);
    assert_eq!(machine.events(), [DhcpClientEvent::Lost(DhcpLoss::Expired)]);
    assert_eq!(machine.next().kind(), DhcpMessageType::Discover);
}

#[test]
fn an_answer_that_comes_after_its_lease_is_over_is_none() {
    let mut machine = Machine::new(21);
    machine.next();
    machine.hear(&Says::offer().lasting(20));
    machine.next();
    machine.now += Duration::from_secs(30);
    let bytes = Says::ack()
        .lasting(20)
        .bytes(machine.client.transaction, MAC);
    machine.client.handle_message(machine.now, &bytes);
    assert_eq!(
        (machine.events(), machine.client.counters().too_short),
        (vec![], 1)
    );
}

#[test]
fn the_largest_configuration_fits_into_every_message() {
    let mut config = DhcpClientConfig::new(MAC);
    config.identifier = Some(heapless::Vec::from_slice(&[9; 64]).unwrap());
    config.host_name = Some("h".repeat(63).as_str().try_into().unwrap());
    config.vendor_class = Some("v".repeat(63).as_str().try_into().unwrap());
    config.lease_time = Some(Duration::MAX);
    let mut buffer = [0; MESSAGE_LEN];
    let (address, server) = (OURS, SERVER);
    for due in [
        Due::Discover { hint: Some(OURS) },
        Due::Select { address, server },
        Due::Reboot { address },
        Due::Renew { address, server },
        Due::Rebind { address },
        Due::Decline { address, server },
        Due::Release { address, server },
    ] {
        due.write(&config, 1, 2, &mut buffer).unwrap();
    }
}

proptest! {
    /// Whatever comes, whenever: no panic, no deadline that stays in the past, an event for each lease's beginning and end, and
    /// never more than a few messages in a second.
    #[test]
    fn any_history_keeps_its_promises(
        seed: u64,
        check: bool,
        steps in prop::collection::vec((0u8..14, any::<u32>(), 0u64..2_000), 1..120),
    ) {
        let mut config = DhcpClientConfig::new(MAC);
        config.check = check;
        let mut machine = Machine::of(config, seed);
        let mut leased = false;
        let mut sent = 0;
        let began = machine.now;
        let most = 4 * steps.len() as u64 + 10;
        for (action, value, wait) in steps {
            let seconds = [9, 10, 60, 3_600, u32::MAX, value][value as usize % 6];
            match action {
                0 => machine.hear(&Says::offer().lasting(seconds)),
                1 => machine.hear(&Says::offer().from(OTHER).lasting(seconds)),
                2 | 3 => machine.hear(&Says::ack().lasting(seconds)),
                4 => machine.hear(&Says::nak()),
                5 => machine.client.handle_address_acquired(),
                6 => machine.client.handle_address_conflict(machine.now),
                7 => machine.client.handle_link(machine.now, value % 2 == 0),
                8 => machine.client.release(machine.now),
                9 => machine.client.stop(),
                10 => machine.client.start(machine.now),
                11 => machine.client.handle_timeout(machine.now),
                12 => {
                    let away = (value % 3 != 0).then(|| Duration::from_secs(u64::from(value) % 9_000));
                    machine.client.handle_resume(machine.now, away);
                }
                _ => {}
            }
            sent += machine.run(Duration::from_millis(wait * wait)).len();
            for event in machine.events() {
                match event {
                    DhcpClientEvent::Acquired => leased = true,
                    DhcpClientEvent::Renewed { .. } => prop_assert!(leased),
                    DhcpClientEvent::Lost(_) => leased = false,
                    DhcpClientEvent::Unanswered => prop_assert!(!leased),
                }
            }
            prop_assert_eq!(leased, machine.client.lease().is_some());
            if machine.client.state() == DhcpClientState::Stopped {
                prop_assert_eq!(machine.client.poll_timeout(), None);
            }
        }
        // One message in three seconds, and a few for each thing that came from outside.
        let most = (machine.now - began).as_secs() / 3 + most;
        prop_assert!((sent as u64) < most, "{} messages", sent);
    }

    #[test]
    fn any_bytes_are_no_lease(seed: u64, bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        let mut machine = Machine::new(seed);
        machine.next();
        machine.client.handle_message(machine.now, &bytes);
        prop_assert!(machine.client.lease().is_none());
    }
}
