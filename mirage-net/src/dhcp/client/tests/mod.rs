//! What a client says and does, with what servers say to it.

mod acquiring;
mod properties;
mod renewing;
mod returning;

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
