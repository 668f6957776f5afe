//! What one side writes the other takes; and what a hostile primary may write.

use alloc::sync::Arc;
use std::vec::Vec;

use super::*;
use crate::difference::{Difference, RecordBuf};
use crate::journal::Journal;
use crate::message::{Flags, Header, MessageBuilder, MessageReader, Section};
use crate::name::NameBuf;
use crate::record::{Rcode, RecordClass, RecordType};
use crate::zone_set::{OwnedZoneSet, ZoneSetBuilder};

const ID: u16 = 0x1234;

fn name(text: &str) -> NameBuf {
    NameBuf::from_text(text).unwrap()
}

fn record(owner: &str, record_type: RecordType, rdata: &[u8]) -> RecordBuf {
    RecordBuf::new(name(owner).as_name(), record_type, 60, rdata)
}

fn soa(serial: u32) -> RecordBuf {
    let mut rdata = name("ns.o").as_name().as_wire().to_vec();
    rdata.extend_from_slice(name("root.o").as_name().as_wire());
    for number in [serial, 2, 3, 4, 5] {
        rdata.extend(number.to_be_bytes());
    }
    record("o", RecordType::SOA, &rdata)
}

fn address(owner: &str, octet: u8) -> RecordBuf {
    record(owner, RecordType::A, &[192, 0, 2, octet])
}

/// A zone `o.` of these records.
fn zone(records: &[RecordBuf]) -> Arc<OwnedZoneSet> {
    let mut builder = ZoneSetBuilder::new();
    let zone = builder.add_zone(name("o").as_name()).unwrap();
    for record in records {
        let (owner, ttl) = (record.owner(), record.ttl());
        builder
            .add_record(zone, owner, record.record_type(), ttl, record.rdata())
            .unwrap();
    }
    Arc::new(OwnedZoneSet::new(builder.build().unwrap()).unwrap())
}

fn request(serial: Option<u32>) -> TransferRequest {
    TransferRequest {
        id: ID,
        apex: name("o"),
        serial,
        edns: None,
    }
}

fn messages(mut transfer: OutgoingTransfer) -> Vec<Vec<u8>> {
    let mut out = std::vec![0; 65_535];
    let mut messages = Vec::new();
    while let Some(length) = transfer.poll_message(&mut out).unwrap() {
        messages.push(out[..length].to_vec());
    }
    messages
}

fn take(serial: Option<u32>, messages: &[Vec<u8>]) -> Result<Option<Transferred>, TransferError> {
    let mut incoming = IncomingTransfer::new(ID, name("o"), serial, TransferLimits::default());
    for (index, message) in messages.iter().enumerate() {
        let result = incoming.handle_message(message)?;
        if result.is_some() {
            assert_eq!(index + 1, messages.len(), "messages behind the end");
            return Ok(result);
        }
    }
    Ok(None)
}

/// A message of a transfer, as a primary would write it.
fn message(query_type: RecordType, header: Header, records: &[RecordBuf]) -> Vec<u8> {
    let mut out = std::vec![0; 65_535];
    let mut builder = MessageBuilder::new(&mut out, header).unwrap();
    builder
        .push_question(name("o").as_name(), query_type, RecordClass::IN)
        .unwrap();
    for record in records {
        let (section, class) = (Section::Answer, RecordClass::IN);
        let (owner, ttl) = (record.owner(), record.ttl());
        builder
            .push_record(
                section,
                owner,
                record.record_type(),
                class,
                ttl,
                record.rdata(),
            )
            .unwrap();
    }
    let length = builder.finish();
    out.truncate(length);
    out
}

fn header() -> Header {
    Header {
        id: ID,
        flags: Flags::QR | Flags::AA,
        ..Header::default()
    }
}

fn axfr(records: &[RecordBuf]) -> Vec<u8> {
    message(RecordType::AXFR, header(), records)
}

fn ixfr(records: &[RecordBuf]) -> Vec<u8> {
    message(RecordType::IXFR, header(), records)
}

/// Versions 1 to 3 of a zone, with the journal that leads to the last.
fn versions() -> (Arc<OwnedZoneSet>, Journal, Vec<Difference>) {
    let filling: Vec<_> = (0..50)
        .map(|n| address(&std::format!("n{n}.o"), n))
        .collect();
    let differences = std::vec![
        Difference {
            old_soa: soa(1),
            removed: std::vec![address("a.o", 1)],
            new_soa: soa(2),
            added: std::vec![address("a.o", 2), address("b.o", 2)],
        },
        Difference {
            old_soa: soa(2),
            removed: Vec::new(),
            new_soa: soa(3),
            added: std::vec![address("c.o", 3)],
        },
    ];
    let mut journal = Journal::new(100_000);
    for difference in &differences {
        journal.push(Arc::new(difference.clone()));
    }
    let mut records = std::vec![
        soa(3),
        address("a.o", 2),
        address("b.o", 2),
        address("c.o", 3)
    ];
    records.extend(filling);
    (zone(&records), journal, differences)
}

#[test]
fn whole_zone_arrives_as_it_was_in_as_many_messages_as_it_takes() {
    let mut records = std::vec![soa(7)];
    for number in 0..3_000u32 {
        let owner = std::format!("n{number}.o");
        records.push(record(
            &owner,
            RecordType::TXT,
            &[&[40][..], &[b'x'; 40]].concat(),
        ));
    }
    // The longest data that there is still gets into a message of its own.
    records.push(record("z.o", RecordType(65_280), &std::vec![7; 65_400]));
    let zones = zone(&records);
    let transfer = OutgoingTransfer::new(&request(None), &zones, &Journal::new(0)).unwrap();
    let messages = messages(transfer);
    assert!(messages.len() > 5, "{}", messages.len());
    let Some(Transferred::Whole(mut came)) = take(None, &messages).unwrap() else {
        panic!("no whole zone");
    };
    assert_eq!(came[0], soa(7));
    let key = |r: &RecordBuf| (r.record_type(), r.owner().to_owned());
    came.sort_by_key(key);
    records.sort_by_key(key);
    assert_eq!(came, records);
}

#[test]
fn zone_of_a_soa_alone_is_two_records() {
    let zones = zone(&[soa(7)]);
    for serial in [None, Some(6)] {
        let transfer = OutgoingTransfer::new(&request(serial), &zones, &Journal::new(0)).unwrap();
        let came = take(serial, &messages(transfer)).unwrap();
        assert_eq!(came, Some(Transferred::Whole(std::vec![soa(7)])));
    }
}

#[test]
fn differences_come_from_where_the_secondary_is() {
    let (zones, journal, differences) = versions();
    for (serial, expected) in [(1, &differences[..]), (2, &differences[1..])] {
        let transfer = OutgoingTransfer::new(&request(Some(serial)), &zones, &journal).unwrap();
        assert!(transfer.is_incremental());
        let came = take(Some(serial), &messages(transfer)).unwrap();
        assert_eq!(came, Some(Transferred::Differences(expected.to_vec())));
    }
}

#[test]
fn secondary_from_before_the_journal_gets_the_whole_zone() {
    let (zones, journal, _) = versions();
    let transfer = OutgoingTransfer::new(&request(Some(0)), &zones, &journal).unwrap();
    let came = take(Some(0), &messages(transfer)).unwrap();
    assert!(matches!(came, Some(Transferred::Whole(records)) if records.len() == 54));
}

#[test]
fn differences_that_are_no_shorter_than_the_zone_are_not_sent() {
    let (_, journal, _) = versions();
    let zones = zone(&[soa(3), address("a.o", 2)]);
    let transfer = OutgoingTransfer::new(&request(Some(1)), &zones, &journal).unwrap();
    assert!(!transfer.is_incremental());
}

#[test]
fn secondary_that_is_up_to_date_or_ahead_gets_the_soa_alone() {
    let (zones, journal, _) = versions();
    for serial in [3, 4] {
        let transfer = OutgoingTransfer::new(&request(Some(serial)), &zones, &journal).unwrap();
        let messages = messages(transfer);
        assert_eq!(messages.len(), 1);
        let came = take(Some(serial), &messages).unwrap();
        assert_eq!(came, Some(Transferred::UpToDate));
    }
}

#[test]
fn zone_that_is_not_there_is_not_transferred() {
    let mut builder = ZoneSetBuilder::new();
    builder.add_absent_zone(name("o").as_name()).unwrap();
    let zones = Arc::new(OwnedZoneSet::new(builder.build().unwrap()).unwrap());
    assert!(OutgoingTransfer::new(&request(None), &zones, &Journal::new(0)).is_none());
    // Nor a name inside of a zone that is.
    let inside = TransferRequest {
        apex: name("a.o"),
        ..request(None)
    };
    let zones = zone(&[soa(1), address("a.o", 1)]);
    assert!(OutgoingTransfer::new(&inside, &zones, &Journal::new(0)).is_none());
}

#[test]
fn datagram_holds_all_differences_or_sends_the_secondary_to_tcp() {
    let (zones, journal, differences) = versions();
    let take = |room: usize| {
        let transfer = OutgoingTransfer::new(&request(Some(1)), &zones, &journal).unwrap();
        let mut out = std::vec![0; room];
        let length = transfer.write_datagram(&mut out).unwrap();
        IncomingTransfer::new(ID, name("o"), Some(1), TransferLimits::default())
            .over_datagram()
            .handle_message(&out[..length])
    };
    assert_eq!(take(512), Ok(Some(Transferred::Differences(differences))));
    assert_eq!(take(150), Ok(Some(Transferred::AskOverTcp)));
}

#[test]
fn request_is_read_as_it_was_written() {
    let mut buffer = [0; 512];
    for soa in [None, Some(soa(77))] {
        let apex = name("o");
        let length = TransferRequest::write(ID, apex.as_name(), soa.as_ref(), &mut buffer).unwrap();
        let reader = MessageReader::new(&buffer[..length]).unwrap();
        let expected = request(soa.map(|_| 77));
        assert_eq!(TransferRequest::parse(&reader), Ok(Some(expected)));
    }
}

#[test]
fn incremental_request_without_its_soa_is_malformed() {
    let octets = message(RecordType::IXFR, Header::default(), &[]);
    let reader = MessageReader::new(&octets).unwrap();
    assert!(TransferRequest::parse(&reader).is_err());
    let octets = message(RecordType::A, Header::default(), &[]);
    let reader = MessageReader::new(&octets).unwrap();
    assert_eq!(TransferRequest::parse(&reader), Ok(None));
}

#[test]
fn stream_that_ends_early_brought_nothing() {
    assert_eq!(take(None, &[axfr(&[soa(1), address("a.o", 1)])]), Ok(None));
    assert_eq!(take(Some(1), &[ixfr(&[soa(3), soa(1), soa(3)])]), Ok(None));
}

#[test]
fn what_no_transfer_is_fails_and_says_why() {
    use TransferError as E;
    let a = || address("a.o", 1);
    let with = |change: fn(&mut Header)| {
        let mut header = header();
        change(&mut header);
        message(RecordType::AXFR, header, &[soa(1), a(), soa(1)])
    };
    let cases = [
        (with(|h| h.id = 1), E::OtherId),
        (with(|h| h.flags.remove(Flags::QR)), E::NotAResponse),
        (with(|h| h.flags.insert(Flags::TC)), E::Truncated),
        (
            with(|h| h.rcode = Rcode::REFUSED),
            E::Refused(Rcode::REFUSED),
        ),
        (ixfr(&[soa(1), a(), soa(1)]), E::OtherQuestion),
        (axfr(&[]), E::Empty),
        (axfr(&[a(), soa(1)]), E::NoSoaFirst),
        (axfr(&[soa(1), a(), soa(2)]), E::OtherSoaAtEnd),
        (axfr(&[soa(1), a(), soa(1), a()]), E::AfterEnd),
        (
            axfr(&[soa(1), record("a.o", RecordType::SOA, soa(1).rdata())]),
            E::NotZoneData,
        ),
    ];
    for (message, error) in cases {
        assert_eq!(take(None, &[message]), Err(error));
    }
}

#[test]
fn differences_that_do_not_lead_on_are_refused() {
    use TransferError::SerialsOutOfOrder;
    for serials in [&[9, 1, 1][..], &[9, 1, 3, 2], &[9, 1, 0], &[9, 1, 3, 3, 2]] {
        let records: Vec<_> = serials.iter().map(|serial| soa(*serial)).collect();
        assert_eq!(
            take(Some(1), &[ixfr(&records)]),
            Err(SerialsOutOfOrder),
            "{serials:?}"
        );
    }
}

#[test]
fn transfer_that_failed_stays_failed() {
    let mut incoming = IncomingTransfer::new(ID, name("o"), None, TransferLimits::default());
    assert!(
        incoming
            .handle_message(&axfr(&[address("a.o", 1)]))
            .is_err()
    );
    let whole = axfr(&[soa(1), soa(1)]);
    assert_eq!(
        incoming.handle_message(&whole),
        Err(TransferError::AfterEnd)
    );
}

#[test]
fn transfer_that_grows_without_end_is_cut_off() {
    let limits = TransferLimits {
        octets: 1_000,
        messages: 4,
    };
    let mut incoming = IncomingTransfer::new(ID, name("o"), None, limits);
    assert_eq!(incoming.handle_message(&axfr(&[soa(1)])), Ok(None));
    let many: Vec<_> = (0..100).map(|n| address("a.o", n)).collect();
    assert_eq!(
        incoming.handle_message(&axfr(&many)),
        Err(TransferError::TooLarge)
    );
    let mut incoming = IncomingTransfer::new(ID, name("o"), None, limits);
    assert_eq!(incoming.handle_message(&axfr(&[soa(1)])), Ok(None));
    for _ in 0..3 {
        assert_eq!(
            incoming.handle_message(&axfr(&[address("a.o", 1)])),
            Ok(None)
        );
    }
    let more = axfr(&[address("a.o", 1)]);
    assert_eq!(incoming.handle_message(&more), Err(TransferError::TooLarge));
}

#[test]
fn records_outside_the_zone_are_left_out() {
    let whole = axfr(&[soa(1), address("a.p", 1), address("a.o", 2), soa(1)]);
    let came = take(None, &[whole]).unwrap();
    let expected = std::vec![soa(1), address("a.o", 2)];
    assert_eq!(came, Some(Transferred::Whole(expected)));
}

#[test]
fn what_is_too_long_for_a_datagram_is_left_at_the_soa() {
    let addresses =
        |count: u16| (0..count).map(|number| address(&std::format!("n{number}.o"), number as u8));
    let whole = |serial, count| {
        let records: Vec<_> = core::iter::once(soa(serial))
            .chain(addresses(count))
            .collect();
        zone(&records)
    };
    // How many addresses the zone has, and how many of them came with the last version.
    for (count, added, records) in [(40, 3, Some(7)), (20, 20, Some(22)), (9_000, 4_000, None)] {
        let mut journal = Journal::new(1 << 20);
        journal.push(Arc::new(Difference {
            old_soa: soa(1),
            removed: Vec::new(),
            new_soa: soa(2),
            added: addresses(added).collect(),
        }));
        let zones = whole(2, count);
        let mut out = std::vec![0; 1_232];
        let transfer = OutgoingTransfer::for_datagram(&request(Some(1)), &zones, &journal).unwrap();
        let is_soa_alone = records.is_none();
        let length = transfer.write_datagram(&mut out).unwrap();
        let header = *MessageReader::new(&out[..length]).unwrap().header();
        assert_eq!(
            usize::from(header.answer_count),
            records.unwrap_or(1),
            "{count}"
        );
        // It is what would have been found by looking at all of it.
        let transfer = OutgoingTransfer::new(&request(Some(1)), &zones, &journal).unwrap();
        let mut other = std::vec![0; 1_232];
        assert_eq!(transfer.write_datagram(&mut other), Ok(length));
        assert_eq!(out[..length], other[..length]);
        let looked_at = OutgoingTransfer::for_datagram(&request(Some(1)), &zones, &journal);
        assert_eq!(
            looked_at.unwrap().is_incremental(),
            is_soa_alone || added == 3
        );
    }
}
