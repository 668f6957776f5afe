//! DNS: messages, framing, keys, updates, transfers, zones.

use std::io;

use mirage_dns::master_file::{NoFiles, Source};
use mirage_dns::message::{Edns, Flags, Header, MessageBuilder, Section};
use mirage_dns::name::NameBuf;
use mirage_dns::record::{Opcode, RecordClass, RecordType};
use mirage_dns::tsig::{Key, sign_request};
use mirage_dns::zone_compiler::ZoneCompiler;

use crate::{Corpora, as_list};

pub fn write(corpora: &Corpora) -> io::Result<()> {
    for (name, octets) in queries() {
        corpora.write("dns_message", &name, &octets)?;
        corpora.write("dns_server", &name, &octets)?;
    }
    for (name, octets) in streams() {
        corpora.write("dns_framing", name, &octets)?;
    }
    for (name, octets) in responses() {
        corpora.write("dns_message", name, &octets)?;
    }
    for (name, octets) in signed() {
        corpora.write("dns_tsig", &name, &octets)?;
    }
    for (name, line) in TYPES_IN_TEXT {
        let zone =
            format!("$ORIGIN t.\n$TTL 60\n@ SOA a b 1 2 3 4 5\n@ NS a\na A 192.0.2.1\nx {line}\n");
        corpora.write("dns_zone", &format!("type-{name}"), zone.as_bytes())?;
    }
    for (name, octets) in updates() {
        corpora.write("dns_update", name, &octets)?;
    }
    for (name, octets) in transfers() {
        corpora.write("dns_transfer", name, &octets)?;
    }
    for (name, octets) in requests_to_an_authority() {
        corpora.write("dns_authority", name, &octets)?;
    }
    for (name, text) in ZONES {
        corpora.write("dns_zone", name, text.as_bytes())?;
        let mut compiler = ZoneCompiler::new();
        compiler.add_zone(
            Source {
                name,
                text: text.as_bytes(),
            },
            &NoFiles,
        );
        if let Ok(compiled) = compiler.finish() {
            corpora.write("dns_zone_image", name, &compiled.image)?;
        }
    }
    Ok(())
}

/// Questions as clients ask them, with EDNS and without.
pub fn queries() -> Vec<(String, Vec<u8>)> {
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
pub fn responses() -> Vec<(&'static str, Vec<u8>)> {
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

/// Master files, right and wrong.
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
