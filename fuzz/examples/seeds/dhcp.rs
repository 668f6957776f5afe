//! DHCP: messages, and conversations of a client and of a server.

use std::io;

use mirage_core::MacAddress;
use mirage_net::wire::dhcp::{DhcpHardware, DhcpMessageType, DhcpOperation, DhcpRepr, DhcpWriter};

use crate::Corpora;

pub fn write(corpora: &Corpora) -> io::Result<()> {
    for (name, octets) in dhcp_messages() {
        corpora.write("dhcp_message", name, &octets)?;
    }
    for (name, octets) in dhcp_conversations() {
        let (target, name) = name;
        corpora.write(target, name, &octets)?;
    }
    Ok(())
}

/// A message of this type with these options.
fn dhcp(reply: bool, kind: DhcpMessageType, yours: [u8; 4], options: &[(u8, &[u8])]) -> Vec<u8> {
    let repr = DhcpRepr {
        transaction: 0x1234_5678,
        your_address: yours.into(),
        hardware: DhcpHardware::ethernet(MacAddress([2, 0, 0, 0, 0, 7])),
        ..DhcpRepr::new(if reply {
            DhcpOperation::Reply
        } else {
            DhcpOperation::Request
        })
    };
    let mut buffer = [0; 548];
    let mut writer = DhcpWriter::new(&mut buffer, &repr).expect("room for the header");
    writer.allow_overload();
    writer.message_type(kind).expect("room");
    for (code, value) in options {
        writer.option(*code, value).expect("room");
    }
    let length = writer.finish();
    buffer[..length].to_vec()
}

const DHCP_LEASE: &[(u8, &[u8])] = &[
    (54, &[10, 0, 0, 1]),
    (51, &[0, 0, 14, 16]),
    (1, &[255, 255, 255, 0]),
    (3, &[10, 0, 0, 1]),
    (6, &[10, 0, 0, 3, 10, 0, 0, 4]),
    (15, b"example.org"),
    (26, &[5, 120]),
    (58, &[0, 0, 7, 8]),
    (59, &[0, 0, 12, 78]),
];

fn dhcp_messages() -> Vec<(&'static str, Vec<u8>)> {
    let long = [9; 200];
    let mut parts = dhcp(true, DhcpMessageType::Offer, [10, 0, 0, 100], DHCP_LEASE);
    let end = parts.iter().rposition(|byte| *byte == 255).expect("an End");
    parts.splice(end.., [12, 2, b'a', b'b', 0, 12, 1, b'c', 255]);
    vec![
        (
            "offer",
            dhcp(true, DhcpMessageType::Offer, [10, 0, 0, 100], DHCP_LEASE),
        ),
        ("in-parts", parts),
        (
            "overloaded",
            dhcp(
                true,
                DhcpMessageType::Ack,
                [10, 0, 0, 100],
                &[
                    (82, &long),
                    (61, &[1; 64]),
                    (15, &[b'd'; 100]),
                    (12, &[b'h'; 50]),
                ],
            ),
        ),
        (
            "routes",
            dhcp(
                true,
                DhcpMessageType::Ack,
                [10, 0, 0, 100],
                &[(
                    121,
                    &[
                        0, 10, 0, 0, 1, 24, 192, 0, 2, 10, 0, 0, 2, 25, 10, 229, 0, 128, 0, 0, 0, 0,
                    ],
                )],
            ),
        ),
        (
            "discover",
            dhcp(
                false,
                DhcpMessageType::Discover,
                [0; 4],
                &[(55, &[1, 121, 3, 6, 15, 26])],
            ),
        ),
    ]
}

/// As `dhcp_client` and `dhcp_server` take their actions.
fn dhcp_conversations() -> Vec<((&'static str, &'static str), Vec<u8>)> {
    let message = |action: u8, message: &[u8]| {
        let mut message = message.to_vec();
        if message.len() % 2 == 1 {
            message.push(0);
        }
        let mut bytes = vec![action, (message.len() / 2) as u8];
        bytes.extend(message);
        bytes
    };
    let ours = [10, 0, 0, 100];
    let reply = |kind| message(0, &dhcp(true, kind, ours, DHCP_LEASE));
    let (offer, ack) = (reply(DhcpMessageType::Offer), reply(DhcpMessageType::Ack));
    let nak = message(
        0,
        &dhcp(true, DhcpMessageType::Nak, [0; 4], &[(54, &[10, 0, 0, 1])]),
    );
    let bound = [&[5, 2, 60][..], &offer, &[2, 50], &ack, &[4, 0]].concat();
    let asks = |kind, options: &[(u8, &[u8])]| message(0, &dhcp(false, kind, [0; 4], options));
    let discover = asks(DhcpMessageType::Discover, &[]);
    let select = asks(
        DhcpMessageType::Request,
        &[(54, &[10, 0, 0, 1]), (50, &ours)],
    );
    let reboot = asks(DhcpMessageType::Request, &[(50, &ours), (61, b"\0r")]);
    let decline = asks(
        DhcpMessageType::Decline,
        &[(54, &[10, 0, 0, 1]), (50, &ours)],
    );
    let relayed = asks(
        DhcpMessageType::Discover,
        &[(82, &[1, 2, 3, 4]), (57, &[2, 64])],
    );
    vec![
        (
            ("dhcp_client", "silence"),
            vec![1, 2, 60, 3, 1, 3, 1, 3, 9, 3, 90],
        ),
        (("dhcp_client", "bound"), bound.clone()),
        (
            ("dhcp_client", "renewed"),
            [&bound[..], &[3, 19], &ack, &[3, 255, 3, 255]].concat(),
        ),
        (
            ("dhcp_client", "refused"),
            [&bound[..], &[3, 19], &nak, &[2, 60], &offer].concat(),
        ),
        (
            ("dhcp_client", "conflict"),
            [&bound[..], &[5, 0, 3, 1], &offer].concat(),
        ),
        (
            ("dhcp_client", "link"),
            [&bound[..], &[6, 1, 6, 0], &ack, &[7, 0, 9, 0]].concat(),
        ),
        (
            ("dhcp_client", "reboot"),
            [&[2, 2, 60][..], &ack, &[2, 60, 8, 0, 9, 0]].concat(),
        ),
        (
            ("dhcp_server", "lease"),
            [&[12][..], &discover, &select, &[3, 100], &select].concat(),
        ),
        (
            ("dhcp_server", "reboot"),
            [&[13][..], &reboot, &[4, 90], &reboot, &[5, 0]].concat(),
        ),
        (
            ("dhcp_server", "decline"),
            [&[28][..], &discover, &select, &decline, &discover, &[5, 0]].concat(),
        ),
        (
            ("dhcp_server", "relayed"),
            [&[6][..], &relayed, &relayed].concat(),
        ),
    ]
}
