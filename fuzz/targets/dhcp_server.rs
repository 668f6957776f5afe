//! A DHCP server among clients that say anything, with a store that fails: no panic, every reply is a message that fits, no address is
//! two clients' at a time, the table keeps its bound, and every change is given to the store.
//!
//! The input is a row of actions: a byte that says which, a byte of its argument, and for messages so many bytes.

#![no_main]

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::time::Duration;

use libfuzzer_sys::fuzz_target;
use mirage_core::{Instant, MacAddress};
use mirage_net::wire::dhcp::{
    DhcpHardware, DhcpMessageType, DhcpOperation, DhcpPacket, MESSAGE_LEN, option,
};
use mirage_net::{
    DhcpLeaseKind, DhcpLeaseSlot, DhcpProbeSlot, DhcpRecord, DhcpReservation, DhcpServer,
    DhcpServerConfig, DhcpSubnet,
};

const SERVER: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);
const SLOTS: usize = 6;

fuzz_target!(|input: &[u8]| {
    let Some((flags, mut rest)) = input.split_first() else {
        return;
    };
    let at = |last| Ipv4Addr::new(10, 0, 0, last);
    let subnets = [
        DhcpSubnet {
            routers: &[SERVER],
            domain: Some("example.org"),
            ..DhcpSubnet::new("10.0.0.0/24".parse().expect("a network"), at(100), at(107))
        },
        DhcpSubnet::new(
            "10.9.0.0/16".parse().expect("a network"),
            Ipv4Addr::new(10, 9, 0, 10),
            Ipv4Addr::new(10, 9, 1, 10),
        ),
    ];
    let reservations = [DhcpReservation {
        identifier: Some(b"\0r"),
        hardware: Some(DhcpHardware::ethernet(MacAddress([2, 0, 0, 0, 0, 3]))),
        address: at(103),
        host_name: Some("three"),
    }];
    let mut config = DhcpServerConfig::new(SERVER, &subnets);
    config.reservations = &reservations;
    config.authoritative = flags & 1 != 0;
    config.link_unicast = flags & 2 != 0;
    let mut slots = [const { DhcpLeaseSlot::EMPTY }; SLOTS];
    let mut probes = [const { DhcpProbeSlot::EMPTY }; 2];
    let probes = if flags & 32 != 0 {
        &mut probes[..]
    } else {
        &mut []
    };
    let mut server = DhcpServer::new(config, &mut slots[..])
        .expect("a sound configuration")
        .with_probes(probes);
    let mut now = Instant::from_secs(1_000);
    let mut store: BTreeMap<Ipv4Addr, [u8; DhcpRecord::LEN]> = BTreeMap::new();
    while let [action, argument, after @ ..] = rest {
        rest = after;
        let wall = (flags & 4 != 0).then(|| Duration::from_secs(1_700_000_000 + now.as_secs()));
        match action % 6 {
            0..=2 => {
                let (message, after) = rest.split_at(rest.len().min(usize::from(*argument) * 2));
                rest = after;
                let mut message = message.to_vec();
                if action % 6 != 2 && message.len() >= 243 {
                    message[..4].copy_from_slice(&[1, 1, 6, 0]);
                    // A handful of stations; no relay agent, or one of two networks.
                    message[28..33].copy_from_slice(&[2, 0, 0, 0, 0]);
                    message[33] %= 8;
                    let relay = message[24] % 3;
                    let relays = [[0; 4], [10, 9, 0, 1], [192, 0, 2, 1]];
                    message[24..28].copy_from_slice(&relays[usize::from(relay)]);
                    message[236..240].copy_from_slice(&[99, 130, 83, 99]);
                    message[240..242].copy_from_slice(&[53, 1]);
                }
                let before: Vec<_> = server.leases(now, wall).collect();
                let mut buffer = [0; MESSAGE_LEN];
                let room = if flags & 8 != 0 { MESSAGE_LEN } else { 300 };
                let reply = server.handle_message(now, &message, &mut buffer[..room]);
                let saved = flags & 16 == 0 || argument % 4 != 0;
                while let Some(record) = server.poll_change(now, wall) {
                    if saved {
                        store.insert(record.address, record.to_bytes());
                    } else {
                        server.not_saved(record.address);
                        break;
                    }
                }
                if let Some(reply) = reply {
                    assert!(reply.length <= room);
                    let request = DhcpPacket::new_checked(&message).expect("it was answered");
                    let said = DhcpPacket::new_checked(&buffer[..reply.length]).expect("a message");
                    assert_eq!(said.operation(), DhcpOperation::Reply);
                    assert_eq!(said.transaction(), request.transaction());
                    assert_eq!(said.address(option::SERVER_IDENTIFIER), Some(SERVER));
                    let given = said.your_address();
                    if said.message_type() == Some(DhcpMessageType::Ack) && !given.is_unspecified()
                    {
                        // What another station had and has, is its own.
                        let other = before.iter().find(|lease| {
                            lease.address == given
                                && lease.kind == DhcpLeaseKind::Bound
                                && lease.hardware != request.hardware()
                                && lease.identifier().is_none()
                        });
                        let runs = |lease: &DhcpRecord| match (lease.expires, wall) {
                            (Some(expires), Some(wall)) => expires > wall.as_secs() + 1,
                            _ => false,
                        };
                        assert!(!other.is_some_and(runs), "{given} is another's");
                    }
                }
            }
            3 => now += Duration::from_secs(u64::from(*argument)),
            4 => now += Duration::from_secs(u64::from(*argument) * 61),
            _ => {
                // A restart.
                let mut slots = [const { DhcpLeaseSlot::EMPTY }; SLOTS];
                let mut again = DhcpServer::new(config, &mut slots[..]).expect("as before");
                for bytes in store.values() {
                    let record = DhcpRecord::from_bytes(bytes).expect("a whole record");
                    assert_ne!(record.kind, DhcpLeaseKind::Offered);
                    again.restore(now, wall, &record);
                }
                assert!(again.leases(now, wall).count() <= SLOTS);
            }
        }
        // Some of what is looked at before it is offered is in use; messages that waited are answered.
        while let Some(address) = server.poll_probe() {
            assert!(!address.is_unspecified());
            if address.octets()[3] % 3 == 0 {
                server.handle_address_in_use(now, address);
            }
        }
        let mut buffer = [0; MESSAGE_LEN];
        let mut replies = 0;
        while let Some(reply) = server.poll_reply(now, &mut buffer) {
            let said = DhcpPacket::new_checked(&buffer[..reply.length]).expect("a message");
            assert_eq!(said.message_type(), Some(DhcpMessageType::Offer));
            replies += 1;
        }
        assert!(replies <= 2);
        assert!(server.poll_timeout().is_none_or(|at| at > now));
        let leases: Vec<_> = server.leases(now, wall).collect();
        assert!(leases.len() <= SLOTS);
        assert!(leases.is_sorted_by(|one, other| one.address < other.address));
    }
});
