use proptest::prelude::*;
use std::string::ToString;
use std::vec::Vec;

use super::reader::{read_name, read_name_counted};
use super::*;
use crate::name::{MAX_NAME_LENGTH, Name, NameBuf};
use crate::record::rdata_names;

fn name(text: &str) -> NameBuf {
    NameBuf::from_text(text).unwrap()
}

/// A header with these counts, then `rest`.
fn message(counts: [u16; 4], rest: &[u8]) -> Vec<u8> {
    let header = Header {
        id: 0x1234,
        question_count: counts[0],
        answer_count: counts[1],
        authority_count: counts[2],
        additional_count: counts[3],
        ..Header::default()
    };
    let mut octets = header.to_octets().to_vec();
    octets.extend_from_slice(rest);
    octets
}

/// The response of RFC 1034 §6.2.1: `SRI-NIC.ARPA A`, with two addresses.
const SRI_NIC: &[u8] = b"\x30\x39\x84\x00\0\x01\0\x02\0\0\0\0\
    \x07SRI-NIC\x04ARPA\0\0\x01\0\x01\
    \xc0\x0c\0\x01\0\x01\0\x01\x51\x80\0\x04\x1a\0\0\x49\
    \xc0\x0c\0\x01\0\x01\0\x01\x51\x80\0\x04\x0a\0\0\x33";

#[test]
fn example_of_rfc_1034_section_6_2_1_is_read() {
    let reader = MessageReader::new(SRI_NIC).unwrap();
    let header = reader.header();
    assert_eq!(header.id, 0x3039);
    assert_eq!(header.flags, Flags::QR | Flags::AA);
    assert_eq!(
        (header.opcode, header.rcode),
        (Opcode::QUERY, Rcode::NOERROR)
    );
    let question = reader.questions().next().unwrap().unwrap();
    assert_eq!(question.name.to_string(), "SRI-NIC.ARPA.");
    let records: Vec<_> = reader
        .section(Section::Answer)
        .map(Result::unwrap)
        .collect();
    assert_eq!(records.len(), 2);
    for (record, address) in records.iter().zip([[26, 0, 0, 73], [10, 0, 0, 51]]) {
        assert_eq!(record.owner().unwrap(), name("sri-nic.arpa"));
        assert_eq!(
            (record.record_type, record.class, record.ttl),
            (RecordType::A, RecordClass::IN, 86400)
        );
        assert_eq!(record.rdata(&mut [0; 4]).unwrap(), address);
    }
    assert_eq!(reader.end(), Ok(SRI_NIC.len()));
}

#[test]
fn example_of_rfc_1034_section_6_2_1_is_written() {
    let mut buffer = [0; 512];
    let header = Header {
        id: 0x3039,
        flags: Flags::QR | Flags::AA,
        ..Header::default()
    };
    let mut builder = MessageBuilder::new(&mut buffer, header).unwrap();
    let host = name("SRI-NIC.ARPA");
    builder
        .push_question(host.as_name(), RecordType::A, RecordClass::IN)
        .unwrap();
    for address in [[26, 0, 0, 73], [10, 0, 0, 51]] {
        let (section, class) = (Section::Answer, RecordClass::IN);
        builder
            .push_record(
                section,
                host.as_name(),
                RecordType::A,
                class,
                86400,
                &address,
            )
            .unwrap();
    }
    let length = builder.finish();
    assert_eq!(&buffer[..length], SRI_NIC);
}

#[test]
fn compression_of_rfc_1035_section_4_1_4_is_read() {
    // F.ISI.ARPA at 20, FOO.F.ISI.ARPA at 40, ARPA at 64, the root at 92.
    let mut octets = std::vec![0; 93];
    octets[20..32].copy_from_slice(b"\x01F\x03ISI\x04ARPA\0");
    octets[40..46].copy_from_slice(b"\x03FOO\xc0\x14");
    octets[64..66].copy_from_slice(b"\xc0\x1a");
    let read = |at| read_name(&octets, at).map(|(name, end)| (name.to_string(), end));
    assert_eq!(read(20), Ok(("F.ISI.ARPA.".into(), 32)));
    assert_eq!(read(40), Ok(("FOO.F.ISI.ARPA.".into(), 46)));
    assert_eq!(read(64), Ok(("ARPA.".into(), 66)));
    assert_eq!(read(92), Ok((".".into(), 93)));
}

#[test]
fn pointer_at_itself_is_refused() {
    let octets = message([1, 0, 0, 0], b"\xc0\x0c\0\x01\0\x01");
    let error = Some(Err(MessageError::PointerNotBackwards));
    assert_eq!(
        MessageReader::new(&octets).unwrap().questions().next(),
        error
    );
}

#[test]
fn pointers_that_loop_are_refused() {
    // Two that point at each other, and a label whose pointer leads back to it.
    let octets = message([0; 4], b"\xc0\x0e\xc0\x0c\x01a\xc0\x10");
    for at in [12, 14, 16] {
        let result = read_name(&octets, at);
        assert_eq!(result, Err(MessageError::PointerNotBackwards), "{at}");
    }
}

#[test]
fn pointer_forwards_is_refused() {
    let octets = message([0; 4], b"\xc0\x0e\x01a\0");
    assert_eq!(
        read_name(&octets, 12),
        Err(MessageError::PointerNotBackwards)
    );
    let octets = message([0; 4], b"\x01a\xc0\x40");
    assert_eq!(
        read_name(&octets, 12),
        Err(MessageError::PointerNotBackwards)
    );
}

#[test]
fn pointer_into_the_header_is_refused() {
    for target in 0..12 {
        let octets = message([0; 4], &[0, 0xc0, target]);
        assert_eq!(
            read_name(&octets, 13),
            Err(MessageError::PointerNotBackwards)
        );
    }
}

#[test]
fn name_over_255_octets_by_pointers_is_refused() {
    // Each name is a label of 63 and a pointer to the one before.
    let mut octets = message([0; 4], b"\0");
    let mut previous = 12;
    let mut last = Ok(());
    for count in 1..=4 {
        let at = octets.len();
        octets.push(63);
        octets.extend([b'x'; 63]);
        octets.extend((0xc000 | previous as u16).to_be_bytes());
        previous = at;
        let result = read_name(&octets, at);
        last = result.map(|(name, _)| assert_eq!(name.as_name().len(), 64 * count + 1));
    }
    assert_eq!(last, Err(MessageError::Name(NameError::NameTooLong)));
}

#[test]
fn labels_over_63_octets_are_refused() {
    for length in 64..0xc0u8 {
        let mut octets = message([0; 4], &[length]);
        octets.extend([b'x'; 200]);
        octets.push(0);
        let error = MessageError::Name(NameError::ReservedLabelType);
        assert_eq!(read_name(&octets, 12), Err(error), "{length}");
    }
}

#[test]
fn counts_that_promise_more_than_the_message_holds_are_an_error_at_once() {
    let octets = message([u16::MAX; 4], b"\x01a\0\0\x01\0\x01");
    let reader = MessageReader::new(&octets).unwrap();
    assert_eq!(reader.questions().count(), 2);
    let questions: Vec<_> = reader.questions().collect();
    assert_eq!(questions[1], Err(MessageError::Truncated));
    assert_eq!(reader.records().count(), 1);
    assert_eq!(
        reader.records().next().unwrap().unwrap_err(),
        MessageError::Truncated
    );
    assert_eq!(reader.end(), Err(MessageError::Truncated));
    assert_eq!(reader.edns(), Err(MessageError::Truncated));

    let octets = message([0, 2, 0, 0], b"\0\0\x01\0\x01\0\0\0\0\0\0");
    let records: Vec<_> = MessageReader::new(&octets).unwrap().records().collect();
    assert_eq!(records.len(), 2);
    assert!(records[0].is_ok() && records[1].is_err());
}

#[test]
fn rdata_length_past_the_end_is_refused() {
    let octets = message(
        [0, 1, 0, 0],
        b"\0\0\x01\0\x01\0\0\0\0\0\x05\x01\x02\x03\x04",
    );
    let mut records = MessageReader::new(&octets).unwrap().records();
    assert_eq!(
        records.next().unwrap().unwrap_err(),
        MessageError::Truncated
    );
    assert!(records.next().is_none());
}

#[test]
fn name_in_rdata_may_not_run_past_the_rdata() {
    // NS with two octets of rdata whose name goes on in what follows.
    let octets = message([0, 1, 0, 0], b"\0\0\x02\0\x01\0\0\0\0\0\x02\x01a\0");
    let record = MessageReader::new(&octets)
        .unwrap()
        .records()
        .next()
        .unwrap()
        .unwrap();
    assert_eq!(record.rdata(&mut [0; 300]), Err(MessageError::Truncated));
}

#[test]
fn messages_of_64_kilobytes_of_pointers_are_bounded_work() {
    // Each pointer leads to the one before it: the longest chain that always goes backwards.
    let mut octets = message([u16::MAX, 0, 0, 0], b"\0");
    while octets.len() + 2 <= MAX_MESSAGE_LENGTH {
        let previous = match octets.len() {
            13 => 12,
            length => (length - 2).min(0x3fff & !1 | 1),
        };
        octets.extend((0xc000 | previous as u16).to_be_bytes());
    }
    let mut most = 0;
    for at in 12..octets.len() {
        let mut steps = 0;
        let _ = read_name_counted(&octets, at, &mut steps);
        most = most.max(steps);
    }
    assert!((100..=MAX_NAME_STEPS).contains(&most), "{most}");

    // Labels and pointers alternating are bounded by the length of a name.
    let mut octets = message([0; 4], b"\0");
    let mut previous = 12;
    let mut steps = 0;
    for _ in 0..200 {
        let at = octets.len() as u16;
        octets.extend(b"\x01a");
        octets.extend((0xc000u16 | previous).to_be_bytes());
        previous = at;
        steps = 0;
        let _ = read_name_counted(&octets, usize::from(at), &mut steps);
        assert!(steps <= MAX_NAME_STEPS);
    }
    assert!(steps > MAX_LABELS);
}

#[test]
fn edns_is_read_where_it_may_stand_alone() {
    let opt = b"\0\0\x29\x10\0\0\0\x80\0\0\x05\0\x03\0\x01x";
    let octets = message([0, 0, 0, 1], opt);
    let edns = MessageReader::new(&octets)
        .unwrap()
        .edns()
        .unwrap()
        .unwrap();
    assert_eq!(
        (edns.payload_size, edns.version, edns.dnssec_ok),
        (4096, 0, true)
    );
    assert_eq!(edns.options().collect::<Vec<_>>(), [(3, &b"x"[..])]);
    let small = Edns {
        payload_size: 1,
        ..edns
    };
    assert_eq!((small.payload_limit(), edns.payload_limit()), (512, 4096));

    let twice = [opt.as_slice(), opt].concat();
    let named = b"\x01a\0\0\x29\x10\0\0\0\0\0\0\0";
    let cut_option = b"\0\0\x29\x10\0\0\0\0\0\0\x04\0\x03\0\x01";
    let refused: [(_, &[u8]); 5] = [
        ([0, 0, 0, 2], &twice),
        ([0, 1, 0, 0], opt),
        ([0, 0, 1, 0], opt),
        ([0, 0, 0, 1], named),
        ([0, 0, 0, 1], cut_option),
    ];
    for (counts, rest) in refused {
        let octets = message(counts, rest);
        assert_eq!(
            MessageReader::new(&octets).unwrap().edns(),
            Err(MessageError::Opt)
        );
    }
}

#[test]
fn only_rdata_of_rfc_1035_is_compressed() {
    let mut buffer = [0; 512];
    let mut builder = MessageBuilder::new(&mut buffer, Header::default()).unwrap();
    let host = name("a.example");
    let mut srv = std::vec![0; 6];
    srv.extend_from_slice(host.as_name().as_wire());
    let (section, class) = (Section::Answer, RecordClass::IN);
    let ns = host.as_name().as_wire();
    builder
        .push_record(section, host.as_name(), RecordType::NS, class, 0, ns)
        .unwrap();
    builder
        .push_record(section, host.as_name(), RecordType::SRV, class, 0, &srv)
        .unwrap();
    let length = builder.finish();
    let reader = MessageReader::new(&buffer[..length]).unwrap();
    let lengths: Vec<_> = reader
        .records()
        .map(|r| r.unwrap().raw_rdata().len())
        .collect();
    assert_eq!(lengths, [2, 6 + ns.len()]);
    for record in reader.records() {
        let mut room = [0; 300];
        let record = record.unwrap();
        let rdata = record.rdata(&mut room).unwrap();
        assert_eq!(
            rdata_names(record.record_type, rdata).next(),
            Some(host.as_name())
        );
    }
}

#[test]
fn name_that_repeats_its_own_labels_is_written_right() {
    // The octets that follow in the buffer must not be taken for part of the name.
    let mut buffer = [0; 64];
    let mut builder = MessageBuilder::new(&mut buffer, Header::default()).unwrap();
    let host = name("a.a.a");
    builder
        .push_question(host.as_name(), RecordType::A, RecordClass::IN)
        .unwrap();
    let length = builder.finish();
    assert_eq!(&buffer[12..length], b"\x01a\x01a\x01a\0\0\x01\0\x01");
}

#[test]
fn entry_that_does_not_fit_is_left_out_whole() {
    let mut buffer = [0; 12 + 13 + 10];
    let mut builder = MessageBuilder::new(&mut buffer, Header::default()).unwrap();
    let host = name("example");
    builder
        .push_question(host.as_name(), RecordType::A, RecordClass::IN)
        .unwrap();
    let full = Err(WriteError::Full);
    let (section, class) = (Section::Answer, RecordClass::IN);
    let rdata = [192, 0, 2, 1];
    assert_eq!(
        builder.push_record(section, host.as_name(), RecordType::A, class, 0, &rdata),
        full
    );
    assert_eq!(builder.push_edns(&Edns::with_payload_size(1232)), full);
    assert_eq!(builder.written(), 25);
    let length = builder.finish();
    let reader = MessageReader::new(&buffer[..length]).unwrap();
    assert_eq!(reader.header().answer_count, 0);
    assert_eq!(reader.end(), Ok(25));
    assert!(MessageBuilder::new(&mut [0; 11], Header::default()).is_err());
}

#[test]
fn sections_are_written_in_order() {
    let mut buffer = [0; 512];
    let mut builder = MessageBuilder::new(&mut buffer, Header::default()).unwrap();
    let push = |builder: &mut MessageBuilder<'_>, section| {
        builder.push_record(
            section,
            Name::ROOT,
            RecordType::A,
            RecordClass::IN,
            0,
            &[0; 4],
        )
    };
    assert_eq!(push(&mut builder, Section::Authority), Ok(()));
    assert_eq!(push(&mut builder, Section::Answer), Err(WriteError::Order));
    let late = builder.push_question(Name::ROOT, RecordType::A, RecordClass::IN);
    assert_eq!(late, Err(WriteError::Order));
}

#[test]
fn header_keeps_every_bit() {
    for octets in [[0xff; 12], [0; 12], [0xa5; 12], [0x5a; 12]] {
        assert_eq!(Header::from_octets(&octets).to_octets(), octets);
    }
}

fn any_name() -> impl Strategy<Value = NameBuf> {
    // Few and short labels, so that names share ends; now and then any octets.
    let label = prop_oneof![
        8 => prop::sample::select(std::vec![b"a".to_vec(), b"A".to_vec(), b"bc".to_vec(), b"*".to_vec()]),
        1 => prop::collection::vec(any::<u8>(), 1..=63),
    ];
    prop::collection::vec(label, 0..6).prop_map(|labels| {
        let mut name = NameBuf::new();
        for label in labels {
            if name.as_name().len() + label.len() < MAX_NAME_LENGTH {
                name.push_label(&label).unwrap();
            }
        }
        name
    })
}

fn any_rdata() -> impl Strategy<Value = (RecordType, Vec<u8>)> {
    let wire = |name: NameBuf| name.as_name().as_wire().to_vec();
    prop_oneof![
        any::<[u8; 4]>().prop_map(|a| (RecordType::A, a.to_vec())),
        any::<[u8; 16]>().prop_map(|a| (RecordType::AAAA, a.to_vec())),
        any_name().prop_map(move |n| (RecordType::NS, wire(n))),
        (any::<[u8; 2]>(), any_name())
            .prop_map(move |(p, n)| (RecordType::MX, [p.to_vec(), wire(n)].concat())),
        (any::<[u8; 6]>(), any_name())
            .prop_map(move |(p, n)| (RecordType::SRV, [p.to_vec(), wire(n)].concat())),
        (any_name(), any_name(), any::<[u8; 20]>())
            .prop_map(move |(m, r, n)| (RecordType::SOA, [wire(m), wire(r), n.to_vec()].concat())),
        prop::collection::vec(any::<u8>(), 0..80).prop_map(|o| (RecordType(731), o)),
    ]
}

proptest! {
    #[test]
    fn reader_never_panics(octets in prop::collection::vec(any::<u8>(), 0..600)) {
        exercise(&octets);
    }

    #[test]
    fn reader_never_panics_on_plausible_messages(
        counts in prop::array::uniform4(0u16..4),
        rest in prop::collection::vec(
            prop_oneof![Just(0u8), Just(1), Just(0xc0), Just(0x0c), Just(41), any::<u8>()], 0..200),
    ) {
        exercise(&message(counts, &rest));
    }

    #[test]
    fn what_was_written_is_read_back(
        question in any_name(),
        records in prop::collection::vec((any_name(), any_rdata(), any::<u32>()), 0..40),
        size in 200usize..4000,
    ) {
        let mut buffer = std::vec![0xaa; size];
        let mut builder = MessageBuilder::new(&mut buffer, Header::default()).unwrap();
        prop_assume!(builder.push_question(question.as_name(), RecordType::A, RecordClass::IN).is_ok());
        let mut written = Vec::new();
        for (owner, (record_type, rdata), ttl) in &records {
            let (section, class) = (Section::Answer, RecordClass::IN);
            if builder.push_record(section, owner.as_name(), *record_type, class, *ttl, rdata).is_ok() {
                written.push((owner, record_type, rdata, ttl));
            }
        }
        let length = builder.finish();
        let reader = MessageReader::new(&buffer[..length]).unwrap();
        let read_question = reader.questions().next().unwrap().unwrap();
        prop_assert_eq!(read_question.name.as_name().as_wire(), question.as_name().as_wire());
        let read: Vec<_> = reader.records().map(Result::unwrap).collect();
        prop_assert_eq!(read.len(), written.len());
        for (record, (owner, record_type, rdata, ttl)) in read.iter().zip(written) {
            let mut room = [0; 1000];
            let read_owner = record.owner().unwrap();
            prop_assert_eq!(read_owner.as_name().as_wire(), owner.as_name().as_wire());
            prop_assert_eq!((&record.record_type, &record.ttl), (record_type, ttl));
            prop_assert_eq!(record.rdata(&mut room).unwrap(), rdata);
        }
        prop_assert_eq!(reader.end(), Ok(length));
    }
}

/// Calls everything that a reader offers.
fn exercise(octets: &[u8]) {
    let Ok(reader) = MessageReader::new(octets) else {
        return;
    };
    let mut room = [0; 1024];
    for question in reader.questions().flatten() {
        assert!(question.name.as_name().len() <= MAX_NAME_LENGTH);
    }
    for record in reader.records().flatten() {
        let _ = record.owner();
        let _ = record.rdata(&mut room);
        let _ = Edns::from_record(&record);
    }
    let _ = reader.edns();
    if let Ok(end) = reader.end() {
        assert!(end <= octets.len());
    }
}
