//! Writes the corpora that are checked in: small real inputs for each target, from which the fuzzer goes on.
//!
//! `cargo run --manifest-path fuzz/Cargo.toml --example seeds`, in the repository's root. The same code writes the same
//! files: what it writes over is unchanged.

use std::fs;
use std::io;
use std::net::Ipv4Addr;
use std::path::Path;

use mirage_core::MacAddress;
use mirage_dns::master_file::{NoFiles, Source};
use mirage_dns::message::{Edns, Flags, Header, MessageBuilder, Section};
use mirage_dns::name::NameBuf;
use mirage_dns::record::{Opcode, RecordClass, RecordType};
use mirage_dns::tsig::{Key, sign_request};
use mirage_dns::zone_compiler::ZoneCompiler;
use mirage_net::wire::dhcp::{DhcpHardware, DhcpMessageType, DhcpOperation, DhcpRepr, DhcpWriter};
use mirage_net::wire::{
    ArpOperation, ArpRepr, EtherType, EthernetRepr, IpProtocol, Ipv4Repr, SackBlock, SackBlocks,
    TcpFlags, TcpOptions, TcpRepr, Timestamps, UdpRepr, arp, checksum, ethernet, ipv4, tcp, udp,
};
use mirage_xen::abi::start_info::{MEMORY_TYPE_RAM, ModuleEntry, START_MAGIC, StartInfo};

fn main() -> io::Result<()> {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus");
    let write = |target: &str, name: &str, content: &[u8]| {
        let folder = corpus.join(target);
        fs::create_dir_all(&folder)?;
        fs::write(folder.join(name), content)
    };
    for (name, octets) in queries() {
        write("dns_message", &name, &octets)?;
        write("dns_server", &name, &octets)?;
    }
    for (name, bytes) in packets() {
        write("net_wire", name, &bytes)?;
    }
    for (name, bytes) in segments() {
        write("net_wire", name, &bytes)?;
    }
    for (name, bytes) in TCP_QUEUES {
        write("net_tcp", name, bytes)?;
    }
    // The two targets that take frames have different addresses.
    let (one, two) = (Ipv4Addr::new(10, 0, 0, 1), Ipv4Addr::new(10, 0, 0, 2));
    for (name, frames) in conversations(two, one) {
        write("net_ingress", name, &as_actions(&frames))?;
    }
    for (name, frames) in conversations(one, two) {
        write("net_frames", name, &as_flagged(&frames, 0))?;
        // Each in small segments, half a second after the last, and what is queued is transmitted.
        write(
            "net_frames",
            &format!("{name}-slowly"),
            &as_flagged(&frames, 4 | 8 | 128),
        )?;
    }
    for (name, steps) in netfront() {
        write("xen_netfront", name, &steps)?;
    }
    for (name, steps) in store() {
        write("xen_store", name, &steps)?;
    }
    for (name, bytes) in start_infos() {
        write("xen_start", name, &bytes)?;
    }
    for (name, octets) in streams() {
        write("dns_framing", name, &octets)?;
    }
    for (name, octets) in responses() {
        write("dns_message", name, &octets)?;
    }
    for (name, octets) in signed() {
        write("dns_tsig", &name, &octets)?;
    }
    for (name, line) in TYPES_IN_TEXT {
        let zone =
            format!("$ORIGIN t.\n$TTL 60\n@ SOA a b 1 2 3 4 5\n@ NS a\na A 192.0.2.1\nx {line}\n");
        write("dns_zone", &format!("type-{name}"), zone.as_bytes())?;
    }
    for (name, octets) in updates() {
        write("dns_update", name, &octets)?;
    }
    for (name, octets) in transfers() {
        write("dns_transfer", name, &octets)?;
    }
    for (name, octets) in requests_to_an_authority() {
        write("dns_authority", name, &octets)?;
    }
    for (name, text) in ZONES {
        write("dns_zone", name, text.as_bytes())?;
        let mut compiler = ZoneCompiler::new();
        compiler.add_zone(
            Source {
                name,
                text: text.as_bytes(),
            },
            &NoFiles,
        );
        if let Ok(compiled) = compiler.finish() {
            write("dns_zone_image", name, &compiled.image)?;
        }
    }
    for (name, octets) in POOL {
        write("pool", name, octets)?;
    }
    for (name, octets) in dhcp_messages() {
        write("dhcp_message", name, &octets)?;
    }
    for (name, octets) in dhcp_conversations() {
        let (target, name) = name;
        write(target, name, &octets)?;
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

const TYPES: &[RecordType] = &[
    RecordType::A,
    RecordType::NS,
    RecordType::SOA,
    RecordType::MX,
    RecordType::TXT,
    RecordType::AAAA,
    RecordType(255),
];

/// Requests that the keys of the target signed, a bit and a key before each; and a key file.
fn signed() -> Vec<(String, Vec<u8>)> {
    let mut seeds = Vec::new();
    let keys = [
        "hmac-sha256:a.example:c2VjcmV0",
        "hmac-sha384:b.example:c2VjcmV0",
        "hmac-sha512:.:c2VjcmV0",
    ];
    for (number, text) in keys.into_iter().enumerate() {
        let key = Key::from_text(text).expect("a key");
        for (name, query) in queries().into_iter().take(4) {
            let control = [0, 40, number as u8];
            seeds.push((
                format!("{name}-plain-{number}"),
                [&control[..], &query].concat(),
            ));
            let mut message = query.clone();
            message.resize(query.len() + key.record_length(), 0);
            // The second is late for the target's clock.
            let now = 1_700_000_000 + 400 * (seeds.len() as u64 & 2);
            let signed = sign_request(&key, &mut message, query.len(), now);
            message.truncate(signed.expect("there is room").0);
            seeds.push((
                format!("{name}-{number}"),
                [&control[..], &message].concat(),
            ));
        }
    }
    let file = "// two\nkey \"a.example\" {\n\talgorithm hmac-sha256;\n\tsecret \"c2VjcmV0\";\n};\nkey b { secret c2Vj; };";
    seeds.push(("key-file".into(), file.into()));
    seeds.push(("key".into(), "hmac-sha384:a.example:c2VjcmV0".into()));
    seeds
}

/// Updates as the target reads them: each with its length, how many prerequisites and how many updates.
fn updates() -> Vec<(&'static str, Vec<u8>)> {
    let record = |labels: &str, record_type: u16, class: u16, ttl: u32, rdata: &[u8]| {
        let mut octets = Vec::new();
        for label in labels.split_terminator('.') {
            octets.push(label.len() as u8);
            octets.extend(label.bytes());
        }
        // The zone's name.
        octets.extend([0xc0, 0x0c]);
        octets.extend(record_type.to_be_bytes());
        octets.extend(class.to_be_bytes());
        octets.extend(ttl.to_be_bytes());
        octets.extend((rdata.len() as u16).to_be_bytes());
        octets.extend_from_slice(rdata);
        octets
    };
    let update = |prerequisites: &[Vec<u8>], updates: &[Vec<u8>]| {
        let records = [prerequisites.concat(), updates.concat()].concat();
        let counts = [records.len(), prerequisites.len(), updates.len()].map(|count| count as u8);
        [&counts[..], &records].concat()
    };
    const ANY: u16 = 255;
    const NONE: u16 = 254;
    let (cname, mx, soa, dname) = (5, 15, 6, 39);
    let address = [192, 0, 2, 9];
    let numbers = [0, 0, 0, 50, 0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 3, 0, 0, 0, 4];
    let newer = [&b"\xc0\x0c\xc0\x0c"[..], &numbers].concat();
    let add = update(&[], &[record("new.", 1, 1, 60, &address)]);
    let all = [
        update(
            &[
                record("mail.", ANY, ANY, 0, &[]),
                record("none.", ANY, NONE, 0, &[]),
                record("alias.", cname, ANY, 0, &[]),
                record("mail.", 28, NONE, 0, &[]),
                record("ns.", 1, 1, 0, &[192, 0, 2, 53]),
            ],
            &[record("new.", 1, 1, 60, &address)],
        ),
        update(
            &[],
            &[
                record("new.", 1, NONE, 0, &address),
                record("mail.", 1, ANY, 0, &[]),
                record("", ANY, ANY, 0, &[]),
            ],
        ),
        update(
            &[],
            &[
                record("", mx, 1, 60, b"\0\x05\x04mail\xc0\x0c"),
                record("", soa, 1, 60, &newer),
                record("alias.", cname, 1, 60, b"\xc0\x0c"),
            ],
        ),
    ]
    .concat();
    let redirections = [
        update(
            &[],
            &[
                record("a.b.c.", ANY, ANY, 0, &[]),
                record("c.", dname, 1, 60, b"\0"),
            ],
        ),
        update(&[], &[record("a.b.c.", 1, 1, 60, &address)]),
        update(&[], &[record("moved.", 2, 1, 60, b"\0")]),
        update(&[], &[record("", 48, 1, 60, &[1, 1, 3, 13, 1])]),
    ]
    .concat();
    let malformed = [
        update(&[], &[record("new.", ANY, 1, 60, &[])]),
        update(&[record("mail.", 1, ANY, 1, &[])], &[]),
        update(&[], &[record("new.", 1, 3, 60, &address)]),
    ]
    .concat();
    vec![
        ("add", add),
        ("all", all),
        ("redirections", redirections),
        ("malformed", malformed),
    ]
}

/// A record of the zone `o.`, whose name is at C0 0C, with the type's number.
fn zone_record(labels: &[u8], record_type: u8, rdata: &[u8]) -> Vec<u8> {
    let mut octets = labels.to_vec();
    octets.extend([
        0xc0,
        0x0c,
        0,
        record_type,
        0,
        1,
        0,
        0,
        0,
        60,
        0,
        rdata.len() as u8,
    ]);
    octets.extend_from_slice(rdata);
    octets
}

fn zone_soa(serial: u8) -> Vec<u8> {
    let mut rdata = b"\xc0\x0c\xc0\x0c".to_vec();
    for number in [serial, 2, 3, 4, 5] {
        rdata.extend([0, 0, 0, number]);
    }
    zone_record(&[], 6, &rdata)
}

/// Transfers as `dns_transfer` takes them: what was asked for, then messages of one record count and their octets.
fn transfers() -> Vec<(&'static str, Vec<u8>)> {
    let message = |records: &[Vec<u8>]| {
        let octets = records.concat();
        [&[octets.len() as u8, records.len() as u8][..], &octets].concat()
    };
    let (a, b) = (
        zone_record(b"\x01a", 1, &[192, 0, 2, 1]),
        zone_record(b"\x01b", 16, b"\x01x"),
    );
    let soa = zone_soa;
    let whole = [message(&[soa(9), a.clone()]), message(&[b.clone(), soa(9)])].concat();
    let steps = [
        message(&[soa(9), soa(3), a.clone()]),
        message(&[soa(5), b.clone(), soa(5), soa(9), a.clone(), soa(9)]),
    ]
    .concat();
    // The second bit is a datagram, the others the serial that is there.
    let asked = |bits: u8, messages: &[u8]| [&[bits], messages].concat();
    let mut kept = vec![0, 0, 0, 0, 0, 0, 0, 0];
    for serial in [1, 2] {
        kept.extend(b"\x01o\0\0\x06\0\x01\0\0\0\x3c\0\x16\0\0");
        for number in [serial, 2, 3, 4, 5] {
            kept.extend([0, 0, 0, number]);
        }
    }
    vec![
        ("whole", asked(0, &whole)),
        ("whole-to-incremental", asked(1 | 3 << 2, &whole)),
        ("differences", asked(1 | 3 << 2, &steps)),
        ("up-to-date", asked(1 | 9 << 2, &message(&[soa(9)]))),
        ("datagram", asked(3 | 3 << 2, &message(&[soa(9)]))),
        (
            "out-of-order",
            asked(1 | 3 << 2, &message(&[soa(9), soa(3), soa(2)])),
        ),
        ("kept", kept),
    ]
}

/// Requests as `dns_authority` takes them: how each comes, its length, its octets.
fn requests_to_an_authority() -> Vec<(&'static str, Vec<u8>)> {
    const SIGNED: u8 = 1;
    const STREAM: u8 = 2;
    const WORK: u8 = 0x80;
    let request = |way: u8, opcode: u8, zone: &[u8], record_type: u8, authority: &[Vec<u8>]| {
        let mut octets = vec![
            0,
            7,
            opcode << 3,
            0,
            0,
            1,
            0,
            0,
            0,
            authority.len() as u8,
            0,
            0,
        ];
        octets.extend_from_slice(zone);
        octets.extend([0, record_type, 0, 1]);
        octets.extend(authority.concat());
        [&[way, octets.len() as u8][..], &octets].concat()
    };
    let (o, s) = (b"\x01o\0", b"\x01s\0");
    let (query, notify, update) = (0, 4, 5);
    let add = zone_record(b"\x03new", 1, &[192, 0, 2, 9]);
    let mut transfers = request(SIGNED | STREAM, query, o, 252, &[]);
    transfers.extend(request(STREAM, query, o, 251, &[zone_soa(0)]));
    transfers.extend(request(0, query, o, 251, &[zone_soa(0)]));
    let mut updates = request(SIGNED, update, o, 6, std::slice::from_ref(&add));
    updates.extend(request(WORK, update, o, 6, &[add]));
    updates.extend(request(STREAM | WORK, query, o, 251, &[zone_soa(1)]));
    let mut notices = request(1, notify, s, 6, &[]);
    notices.extend(request(WORK | 4 | 15 << 3, notify, s, 6, &[]));
    notices.extend(request(0, query, s, 1, &[]));
    vec![
        ("transfers", transfers),
        ("updates", updates),
        ("notices", notices),
    ]
}

/// Segments of TCP, with the options that each kind has.
fn segments() -> Vec<(&'static str, Vec<u8>)> {
    let timestamps = Some(Timestamps { value: 7, echo: 5 });
    let mut sack = SackBlocks::EMPTY;
    for left in [1_000u32, 3_000, 5_000] {
        sack.push(SackBlock {
            left: left.into(),
            right: (left + 500).into(),
        });
    }
    let syn = TcpOptions {
        maximum_segment_size: Some(1_460),
        window_scale: Some(7),
        sack_permitted: true,
        timestamps,
        ..TcpOptions::NONE
    };
    let data = TcpOptions {
        timestamps,
        ..TcpOptions::NONE
    };
    let acknowledgement = TcpOptions { sack, ..data };
    let segment = |flags, options| {
        let repr = TcpRepr {
            source_port: 4_000,
            destination_port: 80,
            flags,
            window: 1_000,
            options,
            ..TcpRepr::default()
        };
        let mut bytes = [0; tcp::MAX_HEADER_LEN];
        let length = repr.emit(&mut bytes);
        [&bytes[..length], b"GET / HTTP/1.1"].concat()
    };
    vec![
        ("tcp-syn", segment(TcpFlags::SYN, syn)),
        ("tcp-data", segment(TcpFlags::ACK | TcpFlags::PSH, data)),
        ("tcp-sack", segment(TcpFlags::ACK, acknowledgement)),
        ("tcp-fin", segment(TcpFlags::ACK | TcpFlags::FIN, data)),
        ("tcp-reset", segment(TcpFlags::RST, TcpOptions::NONE)),
    ]
}

/// Calls of the queues of a connection, as the target reads them.
const TCP_QUEUES: &[(&str, &[u8])] = &[
    // Pushed, sent, acknowledged.
    (
        "sent",
        &[1, 0, 100, 0, 100, 3, 200, 200, 0x46, 100, 0, 0x46, 200, 1],
    ),
    // Three segments, of which the second and the third are reported, the first sent again after a while.
    (
        "lost",
        &[
            1, 0, 90, 0, 90, 0, 90, 3, 90, 200, 3, 90, 200, 3, 90, 200, 9, 25, 200, 0x56, 0, 30,
            200, 1, 9, 40, 200, 5, 90, 0x46, 255, 1,
        ],
    ),
    // Written, timed out, sent again; with Reno, without SACK.
    (
        "timed-out",
        &[
            2, 2, 255, 3, 200, 200, 9, 255, 200, 9, 255, 200, 5, 200, 15, 0, 3, 200, 200,
        ],
    ),
    // Received out of order, reported, filled, read.
    (
        "received",
        &[
            0x21, 10, 100, 50, 200, 10, 200, 50, 200, 14, 3, 10, 0, 100, 200, 10, 0, 60, 200, 14,
            3, 13, 255, 0xfa, 10, 10, 200,
        ],
    ),
];

/// A packet of each kind, as the codecs write it; each begins with its own header, as the target reads it.
fn packets() -> Vec<(&'static str, Vec<u8>)> {
    let (us, other) = (
        MacAddress([2, 0, 0, 0, 0, 1]),
        MacAddress([2, 0, 0, 0, 0, 2]),
    );
    let (ours, others) = (Ipv4Addr::new(10, 0, 0, 2), Ipv4Addr::new(10, 0, 0, 1));
    let mut arp = [0; arp::PACKET_LEN];
    ArpRepr {
        operation: ArpOperation::Request,
        sender_hardware: other,
        sender_protocol: others,
        target_hardware: MacAddress([0; 6]),
        target_protocol: ours,
    }
    .emit(&mut arp);
    let payload = *b"0123456789abcdef";
    let mut udp = [0; udp::HEADER_LEN];
    UdpRepr {
        source_port: 4000,
        destination_port: 53,
        payload_len: 16,
        checksum: 0,
    }
    .emit(&mut udp);
    let udp = [&udp[..], &payload].concat();
    let ip = |more_fragments: bool, fragment_offset: u16| {
        let mut header = [0; ipv4::HEADER_LEN];
        Ipv4Repr {
            source: others,
            destination: ours,
            protocol: IpProtocol::Udp,
            payload_len: udp.len() as u16,
            type_of_service: 0,
            time_to_live: 64,
            identification: 7,
            dont_fragment: false,
            more_fragments,
            fragment_offset,
        }
        .emit(&mut header);
        [&header[..], &udp].concat()
    };
    let mut ethernet = [0; ethernet::HEADER_LEN];
    EthernetRepr {
        destination: us,
        source: other,
        ethertype: EtherType::Ipv4,
    }
    .emit(&mut ethernet);
    let echo = [&[8, 0, 0x44, 0xe1, 0, 1, 0, 1], &payload[..]].concat();
    let unreachable = [&[3, 4, 0, 0, 0, 0, 5, 0], &ip(false, 0)[..28]].concat();
    vec![
        ("arp", arp.to_vec()),
        ("ethernet", [&ethernet[..], &ip(false, 0)].concat()),
        ("ipv4", ip(false, 0)),
        ("ipv4-first-fragment", ip(true, 0)),
        ("ipv4-last-fragment", ip(false, 1480)),
        ("udp", udp.clone()),
        ("echo", echo),
        ("unreachable", unreachable),
    ]
}

/// What stations say to each other, as whole frames with right checksums: `ours` is the target's address.
fn conversations(ours: Ipv4Addr, other: Ipv4Addr) -> Vec<(&'static str, Vec<Vec<u8>>)> {
    let question = queries().swap_remove(0).1;
    let answer = responses().swap_remove(0).1;
    let ip = |protocol, payload: &[u8]| ip_frame(other, ours, protocol, payload, None);
    let echo = |length: usize| icmp(8, 0, [0, 1, 0, 1], &pattern(length));
    let port_unreachable = {
        let quoted = ip_packet(
            ours,
            other,
            IpProtocol::Udp,
            &udp(ours, other, 7, 9, b"x"),
            None,
        );
        icmp(3, 3, [0; 4], &quoted)
    };
    let too_big = {
        let quoted = ip_packet(
            ours,
            other,
            IpProtocol::Udp,
            &udp(ours, other, 7, 9, b"x"),
            None,
        );
        icmp(3, 4, [0, 0, 2, 64], &quoted)
    };
    let fragments = |payload: &[u8], protocol| -> Vec<Vec<u8>> {
        let pieces: Vec<&[u8]> = payload.chunks(480).collect();
        let last = pieces.len() - 1;
        let frame = |(index, piece): (usize, &&[u8])| {
            let fragment = Some((index as u16 * 480, index < last));
            ip_frame(other, ours, protocol, piece, fragment)
        };
        pieces.iter().enumerate().map(frame).collect()
    };
    let large = fragments(&udp(other, ours, 4000, 53, &pattern(1400)), IpProtocol::Udp);
    let reordered = large.iter().rev().cloned().collect();
    let overlapping = large
        .iter()
        .flat_map(|frame| [frame.clone(), frame.clone()])
        .collect();
    let ask = arp_frame(ArpOperation::Request, other, ours);
    let tell = arp_frame(ArpOperation::Reply, other, ours);
    let query = ip(IpProtocol::Udp, &udp(other, ours, 4000, 53, &question));
    vec![
        (
            "arp",
            vec![
                ask.clone(),
                tell.clone(),
                arp_frame(ArpOperation::Request, ours, ours),
            ],
        ),
        ("dns", vec![ask.clone(), query.clone(), query.clone(), tell]),
        (
            "dns-answer",
            vec![ip(IpProtocol::Udp, &udp(other, ours, 53, 7, &answer))],
        ),
        (
            "echo",
            vec![
                ask,
                ip(IpProtocol::Icmp, &echo(0)),
                ip(IpProtocol::Icmp, &echo(56)),
            ],
        ),
        ("echo-fragments", fragments(&echo(1100), IpProtocol::Icmp)),
        ("udp-fragments", large),
        ("udp-fragments-reordered", reordered),
        ("udp-fragments-twice", overlapping),
        (
            "errors",
            vec![
                ip(IpProtocol::Icmp, &port_unreachable),
                ip(IpProtocol::Icmp, &too_big),
            ],
        ),
        (
            "closed-port",
            vec![query, ip(IpProtocol::Udp, &udp(other, ours, 4000, 9, b"x"))],
        ),
    ]
}

fn pattern(length: usize) -> Vec<u8> {
    (0..length).map(|index| index as u8).collect()
}

fn ethernet_frame(ethertype: EtherType, payload: &[u8]) -> Vec<u8> {
    let mut header = [0; ethernet::HEADER_LEN];
    EthernetRepr {
        destination: MacAddress([2, 0, 0, 0, 0, 1]),
        source: MacAddress([2, 0, 0, 0, 0, 2]),
        ethertype,
    }
    .emit(&mut header);
    [&header[..], payload].concat()
}

fn arp_frame(operation: ArpOperation, sender: Ipv4Addr, target: Ipv4Addr) -> Vec<u8> {
    let mut packet = [0; arp::PACKET_LEN];
    ArpRepr {
        operation,
        sender_hardware: MacAddress([2, 0, 0, 0, 0, 2]),
        sender_protocol: sender,
        target_hardware: MacAddress([0; 6]),
        target_protocol: target,
    }
    .emit(&mut packet);
    ethernet_frame(EtherType::Arp, &packet)
}

/// `fragment` is the offset in octets, and whether more follow.
fn ip_packet(
    source: Ipv4Addr,
    destination: Ipv4Addr,
    protocol: IpProtocol,
    payload: &[u8],
    fragment: Option<(u16, bool)>,
) -> Vec<u8> {
    let mut header = [0; ipv4::HEADER_LEN];
    Ipv4Repr {
        source,
        destination,
        protocol,
        payload_len: payload.len() as u16,
        type_of_service: 0,
        time_to_live: 64,
        identification: 7,
        dont_fragment: false,
        more_fragments: fragment.is_some_and(|(_, more)| more),
        fragment_offset: fragment.map_or(0, |(offset, _)| offset),
    }
    .emit(&mut header);
    [&header[..], payload].concat()
}

fn ip_frame(
    source: Ipv4Addr,
    destination: Ipv4Addr,
    protocol: IpProtocol,
    payload: &[u8],
    fragment: Option<(u16, bool)>,
) -> Vec<u8> {
    let packet = ip_packet(source, destination, protocol, payload, fragment);
    ethernet_frame(EtherType::Ipv4, &packet)
}

fn udp(
    source: Ipv4Addr,
    destination: Ipv4Addr,
    source_port: u16,
    destination_port: u16,
    payload: &[u8],
) -> Vec<u8> {
    let mut header = [0; udp::HEADER_LEN];
    UdpRepr {
        source_port,
        destination_port,
        payload_len: payload.len() as u16,
        checksum: 0,
    }
    .emit(&mut header);
    let mut datagram = [&header[..], payload].concat();
    let length = (datagram.len() as u16).to_be_bytes();
    // The pseudo-header (RFC 768).
    let sum = checksum::checksum(
        &[
            &source.octets()[..],
            &destination.octets(),
            &[0, 17],
            &length,
            &datagram,
        ]
        .concat(),
    );
    datagram[6..8].copy_from_slice(&sum.to_be_bytes());
    datagram
}

fn icmp(kind: u8, code: u8, rest: [u8; 4], payload: &[u8]) -> Vec<u8> {
    let mut message = [&[kind, code, 0, 0], &rest[..], payload].concat();
    let sum = checksum::checksum(&message);
    message[2..4].copy_from_slice(&sum.to_be_bytes());
    message
}

/// As `mirage_net::fuzzing` takes frames: flags, length, bytes.
fn as_flagged(frames: &[Vec<u8>], flags: u8) -> Vec<u8> {
    let mut octets = Vec::new();
    for frame in frames {
        octets.push(flags);
        octets.extend_from_slice(&(frame.len() as u16).to_be_bytes());
        octets.extend_from_slice(frame);
    }
    octets
}

/// As `arbitrary` reads a list of octets: before each one an odd one, and one that is even at the end.
fn as_list(octets: &[u8]) -> Vec<u8> {
    let mut list: Vec<u8> = octets.iter().flat_map(|octet| [1, *octet]).collect();
    list.push(0);
    list
}

/// As `net_ingress` takes its actions, of which the first is a frame of any bytes.
fn as_actions(frames: &[Vec<u8>]) -> Vec<u8> {
    let mut octets = Vec::new();
    for frame in frames {
        octets.extend_from_slice(&[1, 0, 0, 0, 0]);
        octets.extend_from_slice(&as_list(frame));
    }
    octets.push(0);
    octets
}

/// Messages in a stream, as `dns_framing` takes them: the buffer's size, sizes of pieces, the messages, what comes after.
fn streams() -> Vec<(&'static str, Vec<u8>)> {
    let questions: Vec<Vec<u8>> = queries()
        .into_iter()
        .take(3)
        .map(|(_, octets)| octets)
        .collect();
    let answers: Vec<Vec<u8>> = responses().into_iter().map(|(_, octets)| octets).collect();
    let stream = |capacity: u16, pieces: &[u8], messages: &[Vec<u8>], tail: &[u8]| {
        let mut octets = capacity.to_le_bytes().to_vec();
        octets.extend_from_slice(&as_list(pieces));
        for message in messages {
            octets.push(1);
            octets.extend_from_slice(&as_list(message));
        }
        octets.push(0);
        octets.extend_from_slice(&as_list(tail));
        octets
    };
    vec![
        ("questions", stream(512, &[255], &questions, &[])),
        (
            "questions-octet-by-octet",
            stream(512, &[1], &questions, &[]),
        ),
        (
            "answers-cut-anywhere",
            stream(512, &[3, 1, 40, 7], &answers, &[]),
        ),
        ("answers-too-large", stream(40, &[20], &answers, &[])),
        (
            "cut-off",
            stream(512, &[9], &questions[..1], &[0, 40, 1, 2]),
        ),
    ]
}

/// Questions as clients ask them, with EDNS and without.
fn queries() -> Vec<(String, Vec<u8>)> {
    let mut seeds = Vec::new();
    for (index, record_type) in TYPES.iter().enumerate() {
        for text in [
            "www.example.org",
            "ExAmPlE.oRg",
            "a.b.wild.example.org",
            ".",
        ] {
            let header = Header {
                id: 0x1234,
                flags: Flags::RD,
                ..Header::default()
            };
            let edns = (index % 2 == 0).then_some(Edns::with_payload_size(1232));
            let octets = message(header, text, *record_type, edns, &[]);
            seeds.push((
                format!("query-{}-{}", record_type.0, text.trim_matches('.')),
                octets,
            ));
        }
    }
    for opcode in [Opcode(1), Opcode(2), Opcode(4), Opcode(5)] {
        let header = Header {
            id: 1,
            opcode,
            ..Header::default()
        };
        seeds.push((
            format!("opcode-{}", opcode.0),
            message(header, "example.org", RecordType::SOA, None, &[]),
        ));
    }
    let options: [(&str, &[u8]); 6] = [
        ("cookie", b"\0\x0a\0\x08client's"),
        (
            "both-cookies",
            b"\0\x0a\0\x18client's\x01\0\0\0\0\0\0\0a server",
        ),
        ("nsid-keepalive", b"\0\x03\0\0\0\x0b\0\0"),
        ("padding", b"\0\x0c\0\x06\0\0\0\0\0\0"),
        ("wrong-cookie", b"\0\x0a\0\x03abc"),
        ("wrong-keepalive", b"\0\x0b\0\x02\0\x64"),
    ];
    for (title, options) in options {
        let header = Header {
            id: 2,
            ..Header::default()
        };
        let edns = Edns {
            options,
            ..Edns::with_payload_size(1232)
        };
        let octets = message(header, "www.example.org", RecordType::A, Some(edns), &[]);
        seeds.push((format!("option-{title}"), octets));
    }
    for text in [
        "x.dn.redirect.test",
        "x.loop.redirect.test",
        "x.grow.redirect.test",
    ] {
        let octets = message(Header::default(), text, RecordType::A, None, &[]);
        seeds.push((format!("redirect-{text}"), octets));
    }
    seeds
}

/// Answers with compressed names in owners and data.
fn responses() -> Vec<(&'static str, Vec<u8>)> {
    let header = Header {
        id: 9,
        flags: Flags::QR | Flags::AA,
        ..Header::default()
    };
    let target = name("mail.example.org");
    let mut mx = vec![0, 10];
    mx.extend_from_slice(target.as_name().as_wire());
    let soa = [
        name("ns1.example.org").as_name().as_wire(),
        name("hostmaster.example.org").as_name().as_wire(),
        &[
            0, 0, 0, 1, 0, 0, 14, 16, 0, 0, 3, 132, 0, 9, 58, 128, 0, 0, 1, 44,
        ],
    ]
    .concat();
    let records = [
        (
            Section::Answer,
            "example.org",
            RecordType::MX,
            mx.as_slice(),
        ),
        (
            Section::Authority,
            "example.org",
            RecordType::SOA,
            soa.as_slice(),
        ),
        (
            Section::Additional,
            "mail.example.org",
            RecordType::A,
            &[192, 0, 2, 1],
        ),
        (
            Section::Additional,
            "mail.example.org",
            RecordType(65280),
            b"unknown",
        ),
    ];
    let whole = message(
        header,
        "example.org",
        RecordType::MX,
        Some(Edns::with_payload_size(4096)),
        &records,
    );
    let cut = whole[..whole.len() / 2].to_vec();
    // A pointer to itself, where the first answer's owner is.
    let mut looping = whole.clone();
    let at = 12 + name("example.org").as_name().as_wire().len() + 4;
    looping[at..at + 2].copy_from_slice(&[0xc0, at as u8]);
    vec![
        ("response", whole),
        ("response-cut", cut),
        ("response-loop", looping),
    ]
}

fn message(
    header: Header,
    question: &str,
    record_type: RecordType,
    edns: Option<Edns<'_>>,
    records: &[(Section, &str, RecordType, &[u8])],
) -> Vec<u8> {
    let mut buffer = vec![0; 4096];
    let mut builder = MessageBuilder::new(&mut buffer, header).expect("room for a header");
    builder
        .push_question(name(question).as_name(), record_type, RecordClass::IN)
        .expect("room");
    for (section, owner, record_type, rdata) in records {
        builder
            .push_record(
                *section,
                name(owner).as_name(),
                *record_type,
                RecordClass::IN,
                300,
                rdata,
            )
            .expect("room, and well-formed data");
    }
    if let Some(edns) = edns {
        builder.push_edns(&edns).expect("room");
    }
    let length = builder.finish();
    buffer.truncate(length);
    buffer
}

fn name(text: &str) -> NameBuf {
    NameBuf::from_text(text).expect("a name")
}

/// Steps of `mirage_xen::netfront::fuzzing`: a byte that says what happens, and what that takes.
fn netfront() -> Vec<(&'static str, Vec<u8>)> {
    // A piece of a received frame: flags, length, 64 bytes.
    let piece = |flags: u8, length: u8| [&[0, flags, 0, length, 0][..], &[1; 64]].concat();
    vec![
        ("received", [piece(0, 60), vec![3, 5]].concat()),
        (
            "in-pieces",
            [piece(4, 60), piece(0, 60), vec![3, 5]].concat(),
        ),
        ("hoarded", [piece(0, 60), vec![3]].concat().repeat(20)),
        ("sent", vec![6, 0, 15, 0, 8, 10]),
        ("many-pieces", vec![6, 19, 1, 8, 10, 6, 17, 4, 8, 10]),
        (
            "never-asked",
            vec![2, 9, 0, 0, 0, 0, 0, 60, 0, 3, 9, 200, 1, 0, 0, 10],
        ),
        ("index", vec![11, 255, 255, 255, 255, 11, 0, 0, 33, 0]),
    ]
}

/// Steps of `mirage_xen::fuzzing::store`: a byte that says what happens, and what that takes.
fn store() -> Vec<(&'static str, Vec<u8>)> {
    let ask = [&[0, 0, 4][..], b"a/b\0", &[9, 99]].concat();
    let reply = [&[11, 0, 0, 3][..], b"OK\0", &[15]].concat();
    let watch = [&[4, 4][..], b"data", &[9, 99]].concat();
    let event = [&[13, 1, 0, 6][..], b"data/x", &[15]].concat();
    let begun = [&[6, 9, 99, 11, 0, 0, 2][..], b"2\0"].concat();
    let header = [10, 16, 2, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 1, 16, 0, 0, 1];
    vec![
        ("answered", [&ask[..], &reply].concat()),
        (
            "refused",
            [&ask[..], &[11, 0, 210, 7], b"ENOENT\0", &[15]].concat(),
        ),
        ("given-up", [&ask[..], &[8, 1], &reply].concat()),
        ("twice", [&ask[..], &ask, &reply, &reply].concat()),
        (
            "watched",
            [&watch[..], &event, &reply, &event, &[5, 9, 99], &reply].concat(),
        ),
        (
            "committed",
            [&begun[..], &ask, &reply, &[7, 0, 9, 99], &reply].concat(),
        ),
        (
            "resumed",
            [&begun[..], &watch, &ask, &[14, 0, 9, 99], &reply].concat(),
        ),
        ("quiet", [&ask[..], &[14, 2, 15], &reply, &[14, 7]].concat()),
        (
            "too-long",
            [&ask[..], &header, &[14, 1, 9, 99], &reply].concat(),
        ),
    ]
}

/// Master files, right and wrong.
/// A record of each type that text has more of than names and numbers.
const TYPES_IN_TEXT: &[(&str, &str)] = &[
    ("wks", "WKS 10.0.0.1 TCP smtp 53"),
    ("rp", "RP a.b TXT"),
    ("afsdb", "AFSDB 1 a"),
    ("px", "PX 50 a b"),
    ("loc", "LOC 42 21 43.952 N 71 5 6.344 W -24m 1m 200m 5m"),
    (
        "sig",
        "SIG A 5 3 86400 20300322173103 1045762263 2642 t. oJB1W6WN",
    ),
    ("key", "KEY 256 3 RSASHA1 AQPSKmyn"),
    ("naptr", "NAPTR 100 50 \"s\" \"http+N2L+N2C+N2R\" \"\" www"),
    ("cert", "CERT PKIX 1 RSASHA1 MxFcby9k"),
    ("dname", "DNAME a"),
    ("apl", "APL 1:192.168.32.0/21 !2:2001:db8::/32"),
    (
        "ds",
        "DS 60485 5 1 2BB183AF5F22588179A53B0A98631FAD1A292118",
    ),
    (
        "sshfp",
        "SSHFP 2 1 123456789abcdef67890123456789abcdef67890",
    ),
    ("ipseckey", "IPSECKEY 10 3 2 a AQNRU3mG"),
    (
        "rrsig",
        "RRSIG A 5 3 86400 20300322173103 20030220173103 2642 t. oJB1W6WN",
    ),
    ("nsec", "NSEC a A MX RRSIG NSEC TYPE1234"),
    ("dnskey", "DNSKEY 256 3 5 AQPSKmyn"),
    (
        "dhcid",
        "DHCID AAIBY2/AuCccgoJbsaxcQc9TUapptP69l OjxfNuVAA2kjEA=",
    ),
    (
        "nsec3",
        "NSEC3 1 1 12 aabbccdd 2t7b4g4vsa5smi47k61mv5bv1a22bojr MX DNSKEY NS SOA",
    ),
    ("nsec3param", "NSEC3PARAM 1 0 0 -"),
    ("tlsa", "TLSA 3 1 1 d2abde24 0d7cd3ee"),
    ("hip", "HIP 2 200100107B1A74DF AwEAAbdx a b"),
    ("cds", "CDS 0 0 0 00"),
    ("cdnskey", "CDNSKEY 0 3 0 AA=="),
    ("openpgpkey", "OPENPGPKEY mQINBFit"),
    ("csync", "CSYNC 66 3 A NS AAAA"),
    ("zonemd", "ZONEMD 1 1 240 e2d523f654b9422a96c5a8f44607bbee"),
    (
        "svcb",
        "SVCB 16 a ( port=53 alpn=\"f\\\\\\\\oo\\\\,bar,h2\" mandatory=port,alpn key667=\"q\\210\" ipv4hint=192.0.2.1 )",
    ),
    (
        "https",
        "HTTPS 1 . ech=AEP+DQA/ ipv6hint=2001:db8::1 alpn=h3 no-default-alpn dohpath=/q{?dns} ohttp",
    ),
    ("spf", "SPF \"v=spf1 -all\""),
    ("eui48", "EUI48 00-00-5e-00-53-2a"),
    ("eui64", "EUI64 00-00-5e-ef-10-00-00-2a"),
    ("uri", "URI 10 1 \"ftp://ftp1.example.com/public\""),
    ("caa", "CAA 0 issue \"ca1.example.net\""),
];

const ZONES: &[(&str, &str)] = &[
    (
        "generate",
        "$ORIGIN t.\n$TTL 60\n@ SOA a b 1 2 3 4 5\n@ NS a\na A 192.0.2.1\n$GENERATE 1-9/4 h${0,3,d} A 192.0.2.$\n\
         $GENERATE 16-17 ${0,7,n} PTR h${1,2,x}.\\$.$$\n$GENERATE 1-2 m$ MX \"$ a\"\n",
    ),
    (
        "plain",
        "$ORIGIN example.org.\n$TTL 1h\n@ SOA ns1 hostmaster ( 1 1h 15m 1w 5m )\n NS ns1\nns1 A 192.0.2.53\nwww A 192.0.2.1\n\
         \t AAAA 2001:db8::1\n@ MX 10 mail\nmail A 192.0.2.25\n",
    ),
    (
        "cuts-and-wildcards",
        "$ORIGIN example.org.\n@ 3600 IN SOA ns1 h 1 2 3 4 5\n@ 3600 NS ns1\nns1 3600 A 192.0.2.53\n*.wild 60 TXT \"any\" \"thing\"\n\
         sub 60 NS ns.sub\nns.sub 60 A 192.0.2.54\nalias 60 CNAME www\nwww 60 A 192.0.2.1\n",
    ),
    (
        "types",
        "$ORIGIN t.\n$TTL 60\n@ SOA a b 1 2 3 4 5\n@ NS a\na A 192.0.2.1\n_s._tcp SRV 0 5 5060 a\nx TYPE65280 \\# 3 abcdef\n\
         p PTR a\nq TXT \\# 3 026869\n",
    ),
    (
        "escapes",
        "$ORIGIN example.org.\n$TTL 60\n@ SOA a\\.b c\\046d ( 1 ; serial\n 2 3 4 5 )\n@ NS ns\nns A 192.0.2.1\n\
         \"q\" TXT \"a\\\"b\\000\" c\\;d\n",
    ),
    (
        "includes",
        "$ORIGIN example.org.\n$TTL 60\n@ SOA a b 1 2 3 4 5\n@ NS a\n$INCLUDE other sub\n\0a A 192.0.2.1\n$INCLUDE main\n",
    ),
    (
        "wrong",
        "$ORIGIN example.org\n@ SOA ( a\n$TTL -1\nx A 300.1.1.1\ny A\n) z\n\"open\n",
    ),
];

/// The shape of operation sequences is the fuzzer's own; these only give it bytes to begin with.
const POOL: &[(&str, &[u8])] = &[
    ("zeroes", &[0; 96]),
    (
        "counting",
        &[
            0, 40, 80, 120, 160, 200, 240, 24, 64, 104, 144, 184, 224, 8, 48, 88, 128, 168, 208,
            248, 32, 72, 112, 152, 192, 232, 16, 56, 96, 136, 176, 216, 1, 41, 81, 121, 161, 201,
            241, 25, 65, 105, 145, 185, 225, 9, 49, 89, 129, 169, 209, 249,
        ],
    ),
];

/// What Xen's toolstack leaves a PVH domain, as it lies at 0x135000: the header, a command line, modules, the memory map.
fn start_infos() -> Vec<(&'static str, Vec<u8>)> {
    const BASE: u64 = 0x13_5000;
    const SPECIAL: (u64, u64, u32) = (0xFEFF_8000, 0x8000, 2);
    const ACPI: (u64, u64, u32) = (0xFC00_0000, 0x9000, 4);
    let start_info = |command_line: &str, modules: &[(u64, u64)], map: &[(u64, u64, u32)]| {
        let header = size_of::<StartInfo>() as u64;
        let line = (command_line.len() as u64 + 1).next_multiple_of(8);
        let list = (modules.len() * size_of::<ModuleEntry>()) as u64;
        let mut bytes = Vec::new();
        // Magic number, version, flags, number of modules.
        for word in [START_MAGIC, 1, 0, modules.len() as u32] {
            bytes.extend(word.to_le_bytes());
        }
        // The list of modules, the command line, ACPI's root pointer, the memory map and its number of entries.
        let (line_at, list_at) = (BASE + header, BASE + header + line);
        for word in [list_at, line_at, 0, list_at + list, map.len() as u64] {
            bytes.extend(word.to_le_bytes());
        }
        bytes.extend(command_line.bytes());
        bytes.resize((header + line) as usize, 0);
        for (address, size) in modules {
            for word in [*address, *size, 0, 0] {
                bytes.extend(word.to_le_bytes());
            }
        }
        for (address, size, kind) in map {
            for word in [*address, *size, u64::from(*kind)] {
                bytes.extend(word.to_le_bytes());
            }
        }
        bytes
    };
    let ram = |size: u64| (0, size, MEMORY_TYPE_RAM);
    vec![
        ("small", start_info("", &[], &[ram(4 << 20), SPECIAL, ACPI])),
        (
            "module",
            start_info(
                "ip=10.0.0.2/24 log=info",
                &[(0x13_6000, 0x1234)],
                &[ram(64 << 20), SPECIAL, ACPI],
            ),
        ),
        (
            "large",
            start_info(
                "a",
                &[],
                &[
                    ram(0xFC00_0000),
                    SPECIAL,
                    ACPI,
                    (1 << 32, 4 << 30, MEMORY_TYPE_RAM),
                ],
            ),
        ),
    ]
}
