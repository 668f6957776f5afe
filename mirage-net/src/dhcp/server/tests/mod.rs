//! What a server says and does, with what clients say to it.

mod addresses;
mod answering;
mod leases;
mod properties;

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
