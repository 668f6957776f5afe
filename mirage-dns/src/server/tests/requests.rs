//! Requests that are not plain questions.

use std::sync::OnceLock;

use proptest::prelude::*;

use super::*;

fn zone() -> &'static [u8] {
    static IMAGE: OnceLock<Vec<u8>> = OnceLock::new();
    IMAGE.get_or_init(|| {
        compile(&["$TTL 60
        example. SOA ns.example. root.example. 1 2 3 4 5
        example. NS ns.example.org.
        www.example. A 192.0.2.1"])
    })
}

/// Asks with octets as they are.
fn ask_octets(octets: &[u8]) -> Result<Reply, Ignored> {
    let image = zone();
    let zones = ZoneSet::from_bytes(image).unwrap();
    let mut out = [0; 1232];
    let answer = respond(
        &zones,
        &Limits::default(),
        octets,
        &client(Transport::Udp),
        &mut out,
    )?;
    Ok(Reply::read(&out[..answer.length], answer))
}

/// `www.example. A` with this changed.
fn changed(change: impl FnOnce(&mut Vec<u8>)) -> Result<Reply, Ignored> {
    let mut octets = Ask::new("www.example. A").octets();
    change(&mut octets);
    ask_octets(&octets)
}

/// The answer is a header alone, with this status.
#[track_caller]
fn is_bare(reply: Result<Reply, Ignored>, status: &str) {
    let reply = reply.unwrap();
    reply.is(status, &[], &[], &[]);
    assert_eq!(reply.octets.len(), 12);
    assert_eq!(reply.octets[..2], [0xbe, 0xef]);
}

/// RFC 6891 §7: where something is wrong with an OPT record the answer has header, question and OPT.
fn has_opt_alone(reply: Result<Reply, Ignored>, status: &str) {
    let reply = reply.unwrap();
    let question = changed(|_| {}).unwrap().octets[12..29].to_vec();
    assert_eq!((reply.status.as_str(), reply.octets.len()), (status, 40));
    assert_eq!(reply.octets[..2], [0xbe, 0xef]);
    assert_eq!(reply.octets[12..29], question);
    let reader = MessageReader::new(&reply.octets).unwrap();
    let edns = reader.edns().unwrap().unwrap();
    assert_eq!((edns.version, edns.options), (0, &[][..]));
}

const WWW: &str = "www.example. 60 A 192.0.2.1";

#[test]
fn responses_are_not_answered() {
    assert_eq!(
        changed(|octets| octets[2] |= 0x80).unwrap_err(),
        Ignored::Response
    );
    // Not even malformed ones.
    assert_eq!(ask_octets(&[0xff; 12]).unwrap_err(), Ignored::Response);
}

#[test]
fn less_than_a_header_is_not_answered() {
    for length in 0..12 {
        assert_eq!(
            ask_octets(&[0; 12][..length]).unwrap_err(),
            Ignored::TooShort
        );
    }
}

#[test]
fn every_other_opcode_is_not_implemented_and_repeated() {
    for opcode in 1..16 {
        let reply = changed(|octets| octets[2] |= opcode << 3);
        assert_eq!(
            reply.as_ref().unwrap().reader().header().opcode,
            Opcode(opcode)
        );
        is_bare(reply, "NOTIMP");
    }
}

#[test]
fn opt_goes_with_not_implemented_where_the_request_has_it() {
    for opcode in 1..16 {
        let asked = |change: fn(&mut Vec<u8>)| {
            let mut octets = Ask::new("www.example. A").edns(4_096).octets();
            octets[2] |= opcode << 3;
            change(&mut octets);
            ask_octets(&octets)
        };
        // No question, for what that is nobody knows.
        let has_opt = |reply: Result<Reply, Ignored>| {
            let reply = reply.unwrap();
            let length = 12 + Edns::RECORD_LENGTH;
            assert_eq!((&*reply.status, reply.octets.len()), ("NOTIMP", length));
            assert!(reply.reader().edns().unwrap().is_some());
        };
        has_opt(asked(|_| {}));
        // RFC 6891 §7: also where it is malformed, as far as it can be found.
        has_opt(asked(|octets| {
            octets.splice(29..29, *b"\x01a").for_each(drop);
        }));
        // What has another form is not guessed at.
        is_bare(asked(|octets| octets.truncate(20)), "NOTIMP");
        is_bare(asked(|octets| octets[6] = 1), "NOTIMP");
    }
}

#[test]
fn number_of_questions_other_than_one_is_a_format_error() {
    for count in [0, 2, 0xffff_u16] {
        is_bare(
            changed(|octets| octets[4..6].copy_from_slice(&count.to_be_bytes())),
            "FORMERR",
        );
    }
}

#[test]
fn question_that_cannot_be_read_is_a_format_error() {
    let whole = Ask::new("www.example. A").octets();
    for length in 12..whole.len() {
        is_bare(changed(|octets| octets.truncate(length)), "FORMERR");
    }
    // A compressed one: there is nothing before it; reserved label types.
    for label in [0xc0, 0x40, 0x80] {
        is_bare(changed(|octets| octets[12] = label), "FORMERR");
    }
}

#[test]
fn name_over_255_octets_is_a_format_error() {
    let mut octets = Ask::new(". A").octets();
    octets.splice(
        12..13,
        [b"\x3f".as_slice(), &[b'x'; 63]]
            .concat()
            .repeat(4)
            .into_iter()
            .chain([0]),
    );
    is_bare(ask_octets(&octets), "FORMERR");
}

#[test]
fn records_in_other_sections_are_a_format_error() {
    let record = b"\0\0\x01\0\x01\0\0\0\0\0\x04\x01\x02\x03\x04";
    for count in [7, 9] {
        let with_record = |octets: &mut Vec<u8>| {
            octets[count] = 1;
            octets.extend_from_slice(record);
        };
        is_bare(changed(with_record), "FORMERR");
    }
    // One that is not OPT is of no matter in the additional section.
    let reply = changed(|octets| {
        octets[11] = 1;
        octets.extend_from_slice(record);
    });
    reply.unwrap().is("NOERROR aa", &[WWW], &[], &[]);
}

#[test]
fn counts_that_promise_more_than_the_message_holds_are_a_format_error() {
    is_bare(changed(|octets| octets[11] = 1), "FORMERR");
    is_bare(changed(|octets| octets[10..12].fill(0xff)), "FORMERR");
}

#[test]
fn truncation_bit_of_a_request_is_ignored() {
    let reply = changed(|octets| octets[2] |= 2);
    reply.unwrap().is("NOERROR aa", &[WWW], &[], &[]);
}

#[test]
fn octets_after_the_message_are_ignored() {
    changed(|octets| octets.extend([0xff; 40]))
        .unwrap()
        .is("NOERROR aa", &[WWW], &[], &[]);
}

#[test]
fn only_rd_is_repeated_of_the_flags() {
    let reply = changed(|octets| {
        octets[2] |= 0x05; // AA, RD
        octets[3] = 0xff; // RA, Z, AD, CD and a response code
    });
    let reply = reply.unwrap();
    reply.is("NOERROR aa rd", &[WWW], &[], &[]);
    assert_eq!(reply.octets[2..4], [0x85, 0x00]);
}

#[test]
fn classes_other_than_in_are_refused_and_any_is_not_authoritative() {
    let with_class = |class| {
        let mut ask = Ask::new("www.example. A");
        ask.class = RecordClass(class);
        ask.of(zone())
    };
    with_class(1).is("NOERROR aa", &[WWW], &[], &[]);
    with_class(255).is("NOERROR", &[WWW], &[], &[]);
    for class in [0, 2, 3, 4, 254, 0xffff] {
        let reply = with_class(class);
        reply.is("REFUSED", &[], &[], &[]);
        assert_eq!(reply.reader().questions().count(), 1);
    }
}

#[test]
fn transfers_are_refused_and_other_meta_types_have_no_data() {
    for question in ["example. AXFR", "example. IXFR", "www.example. AXFR"] {
        ask(zone(), question).is("REFUSED", &[], &[], &[]);
        Ask::new(question)
            .tcp()
            .of(zone())
            .is("REFUSED", &[], &[], &[]);
    }
    // IXFR comes with the client's SOA (RFC 1995 §3).
    let mut octets = Ask::new("example. IXFR").octets();
    octets[9] = 1;
    octets.extend_from_slice(b"\xc0\x0c\0\x06\0\x01\0\0\0\0\0\x16\0\0");
    octets.extend([0; 20]);
    assert_eq!(ask_octets(&octets).unwrap().status, "REFUSED");
    for meta in ["OPT", "TSIG", "TKEY", "MAILA", "MAILB", "TYPE0"] {
        assert_eq!(
            ask(zone(), &format!("www.example. {meta}")).status,
            "NOERROR aa",
            "{meta}"
        );
    }
}

#[test]
fn opt_is_answered_with_opt_and_nothing_else() {
    assert!(
        ask(zone(), "www.example. A")
            .reader()
            .edns()
            .unwrap()
            .is_none()
    );
    let reply = Ask::new("www.example. A").edns(4000).of(zone());
    let edns = reply.reader().edns().unwrap().unwrap();
    assert_eq!(edns, Edns::with_payload_size(1232));
    // Also when the answer is a refusal or there is no such name.
    for question in ["example.org. A", "no.example. A", "example. AXFR"] {
        assert!(
            Ask::new(question)
                .edns(512)
                .of(zone())
                .reader()
                .edns()
                .unwrap()
                .is_some()
        );
    }
}

#[test]
fn dnssec_ok_is_repeated_and_unknown_options_and_flags_are_not() {
    let mut octets = Ask::new("www.example. A").octets();
    octets[11] = 1;
    octets.extend_from_slice(b"\0\0\x29\x02\0\0\0\xff\xff\0\x06\xff\xfe\0\x02hi");
    let reply = ask_octets(&octets).unwrap();
    let edns = reply.reader().edns().unwrap().unwrap();
    assert!(edns.dnssec_ok && edns.options.is_empty());
    let opt = &reply.octets[reply.octets.len() - 11..];
    assert_eq!(opt, b"\0\0\x29\x04\xd0\0\0\x80\0\0\0");
}

#[test]
fn edns_versions_above_0_are_bad() {
    let mut ask = Ask::new("www.example. A").edns(1232);
    ask.edns.as_mut().unwrap().version = 1;
    let reply = ask.of(zone());
    reply.is("BADVERS", &[], &[], &[]);
    assert_eq!(reply.reader().edns().unwrap().unwrap().version, 0);
    assert_eq!(reply.reader().questions().count(), 1);
}

#[test]
fn opt_twice_misplaced_or_malformed_is_a_format_error() {
    let opt = b"\0\0\x29\x02\0\0\0\0\0\0\0";
    let twice = |octets: &mut Vec<u8>| {
        octets[11] = 2;
        octets.extend_from_slice(opt);
        octets.extend_from_slice(opt);
    };
    has_opt_alone(changed(twice), "FORMERR");
    let named = |octets: &mut Vec<u8>| {
        octets[11] = 1;
        octets.extend_from_slice(b"\x01a");
        octets.extend_from_slice(opt);
    };
    has_opt_alone(changed(named), "FORMERR");
    let short_option = |octets: &mut Vec<u8>| {
        octets[11] = 1;
        octets.extend_from_slice(b"\0\0\x29\x02\0\0\0\0\0\0\x03\0\x0a\0");
    };
    has_opt_alone(changed(short_option), "FORMERR");
}

#[test]
fn request_of_64_kilobytes_of_pointers_is_refused_with_bounded_work() {
    // Records whose owners are pointers are skipped, never followed; the question may not have one.
    let mut octets = Ask::new("www.example. A").octets();
    octets[10..12].fill(0xff);
    while octets.len() + 12 < 65_535 {
        octets.extend_from_slice(b"\xc0\x0c\0\x01\0\x01\0\0\0\0\0\0");
    }
    is_bare(ask_octets(&octets), "FORMERR");
    let count = (octets.len() - 29) / 12;
    octets[10..12].copy_from_slice(&(count as u16).to_be_bytes());
    assert_eq!(ask_octets(&octets).unwrap().answer.lookups.names, 1);
}

#[test]
fn each_request_is_counted_once_by_transport_and_outcome() {
    let image = zone();
    let zones = ZoneSet::from_bytes(image).unwrap();
    let server = Server::new(Limits::default());
    let mut out = [0; 512];
    let mut send =
        |octets: &[u8], transport| server.answer(&zones, octets, &client(transport), &mut out);
    let www = Ask::new("www.example. A").octets();
    assert!(send(&www, Transport::Udp).is_some());
    assert!(send(&www, Transport::Tcp).is_some());
    assert!(send(&Ask::new("no.example. A").octets(), Transport::Udp).is_some());
    assert!(send(&Ask::new("example.org. A").octets(), Transport::Udp).is_some());
    assert!(send(&www[..20], Transport::Udp).is_some());
    assert!(send(&www[..5], Transport::Udp).is_none());
    assert!(send(&[0xff; 12], Transport::Udp).is_none());
    let mut status = www.clone();
    status[2] |= 2 << 3;
    assert!(send(&status, Transport::Udp).is_some());
    let expected = Counters {
        udp: 7,
        tcp: 1,
        noerror: 2,
        nxdomain: 1,
        refused: 1,
        formerr: 1,
        notimp: 1,
        ignored_too_short: 1,
        ignored_response: 1,
        ..Counters::default()
    };
    assert_eq!(server.counters(), expected);
}

proptest! {
    #[test]
    fn any_octets_are_answered_or_ignored_without_panic(
        octets in prop::collection::vec(any::<u8>(), 0..300),
        room in 0usize..700,
        tcp in any::<bool>(),
    ) {
        check_any(&octets, room, tcp);
    }

    #[test]
    fn changed_requests_are_answered_or_ignored_without_panic(
        changes in prop::collection::vec((0usize..60, any::<u8>()), 0..6),
        edns in any::<bool>(),
        room in 0usize..700,
    ) {
        let mut ask = Ask::new("www.example. A");
        if edns {
            ask = ask.edns(700);
        }
        let mut octets = ask.octets();
        for (place, octet) in changes {
            let place = place % octets.len();
            octets[place] = octet;
        }
        check_any(&octets, room, false);
    }
}

/// Whatever comes, an answer is well formed, has the request's ID, and is never larger than it may be.
fn check_any(octets: &[u8], room: usize, tcp: bool) {
    let image = zone();
    let zones = ZoneSet::from_bytes(image).unwrap();
    let mut out = std::vec![0xaa; room];
    let transport = if tcp { Transport::Tcp } else { Transport::Udp };
    if let Ok(answer) = respond(
        &zones,
        &Limits::default(),
        octets,
        &client(transport),
        &mut out,
    ) {
        assert!(answer.length <= room);
        assert!(tcp || answer.length <= 1232);
        let reply = Reply::read(&out[..answer.length], answer);
        assert_eq!(reply.octets[..2], octets[..2]);
    }
}
