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
use mirage_dns::zone_compiler::ZoneCompiler;
use mirage_net::wire::{
    ArpOperation, ArpRepr, EtherType, EthernetRepr, IpProtocol, Ipv4Repr, UdpRepr, arp, ethernet,
    ipv4, udp,
};

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
        // As `mirage_net::fuzzing` takes frames: flags, length, bytes. Twice: as it is, and with all repairs.
        let mut frames = Vec::new();
        for flags in [0, 0x87] {
            frames.extend_from_slice(&[flags, (bytes.len() >> 8) as u8, bytes.len() as u8]);
            frames.extend_from_slice(&bytes);
        }
        write("net_frames", name, &frames)?;
    }
    for (name, octets) in responses() {
        write("dns_message", name, &octets)?;
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
    Ok(())
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

/// Master files, right and wrong.
const ZONES: &[(&str, &str)] = &[
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
