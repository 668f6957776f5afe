//! Types, classes and codes; the table of fields, and rdata that is checked against it.

use super::*;
use crate::message::{MessageError, MessageReader};
use crate::name::NameError;
use std::string::ToString;
use std::vec::Vec;

#[test]
fn mnemonics_and_numbers_of_rfc_3597_both_ways() {
    assert_eq!(RecordType::from_mnemonic("aaaa"), Some(RecordType::AAAA));
    assert_eq!(RecordType::from_mnemonic("TYPE28"), Some(RecordType::AAAA));
    assert_eq!(
        RecordType::from_mnemonic("type65535"),
        Some(RecordType(65535))
    );
    for bad in [
        "TYPE65536",
        "TYPE",
        "TYPE+1",
        "TYPE-1",
        "TYPE 1",
        "TYP1",
        "nonsense",
        "",
    ] {
        assert_eq!(RecordType::from_mnemonic(bad), None, "{bad:?}");
    }
    assert_eq!(RecordType(731).to_string(), "TYPE731");
    assert_eq!(RecordType::MX.to_string(), "MX");
    assert_eq!(RecordClass::from_mnemonic("class32"), Some(RecordClass(32)));
    assert_eq!(RecordClass::from_mnemonic("in"), Some(RecordClass::IN));
    assert_eq!(RecordClass(32).to_string(), "CLASS32");
    assert_eq!(Rcode::NXDOMAIN.to_string(), "NXDOMAIN");
    assert_eq!(Opcode(9).to_string(), "OPCODE9");
}

#[test]
fn meta_types_are_in_no_zone() {
    for meta in [
        RecordType(0),
        RecordType::OPT,
        RecordType::TSIG,
        RecordType::ANY,
    ] {
        assert!(meta.is_meta(), "{meta}");
    }
    for data in [
        RecordType::A,
        RecordType::CAA,
        RecordType(127),
        RecordType(256),
    ] {
        assert!(!data.is_meta(), "{data}");
    }
}

#[test]
fn compressible_names_are_in_the_types_of_rfc_1035_alone() {
    for number in 0..=u16::MAX {
        let record_type = RecordType(number);
        let fields = record_type.rdata_fields().unwrap_or(&[]);
        let compressible = fields.contains(&RdataField::CompressibleName);
        assert_eq!(
            compressible,
            record_type.has_compressible_names(),
            "{record_type}"
        );
        assert!(!compressible || number <= 16, "{record_type}");
    }
}

#[test]
fn fields_that_take_all_that_is_left_are_the_last() {
    for number in 0..=u16::MAX {
        let fields = RecordType(number).rdata_fields().unwrap_or(&[]);
        if let Some((_, before)) = fields.split_last() {
            assert!(!before.iter().any(|field| field.is_last()), "{number}");
        }
    }
}

#[test]
fn rdata_is_checked_against_its_table() {
    let check = |t, rdata: &[u8]| check_rdata(t, rdata);
    assert_eq!(check(RecordType::A, &[192, 0, 2, 1]), Ok(()));
    assert_eq!(
        check(RecordType::A, &[192, 0, 2]),
        Err(RdataError::TooShort)
    );
    assert_eq!(
        check(RecordType::A, &[192, 0, 2, 1, 0]),
        Err(RdataError::TrailingOctets)
    );
    assert_eq!(check(RecordType::MX, b"\0\x0a\x04mail\0"), Ok(()));
    assert_eq!(
        check(RecordType::MX, b"\0\x0a\xc0\x0c"),
        Err(RdataError::Name(NameError::CompressionPointer))
    );
    assert_eq!(check(RecordType::TXT, b"\x02hi\0\x01x"), Ok(()));
    assert_eq!(
        check(RecordType::TXT, b"\x02hi\x02x"),
        Err(RdataError::TooShort)
    );
    assert_eq!(check(RecordType::TXT, b""), Err(RdataError::TooShort));
    assert_eq!(check(RecordType(731), b"\xc0\x0canything"), Ok(()));
}

#[test]
fn names_of_rdata_are_found() {
    let rdata = b"\x02ns\0\x04root\0\0\0\0\x01\0\0\0\x02\0\0\0\x03\0\0\0\x04\0\0\0\x05";
    assert_eq!(check_rdata(RecordType::SOA, rdata), Ok(()));
    let names: Vec<_> = rdata_names(RecordType::SOA, rdata)
        .map(|n| n.to_string())
        .collect();
    assert_eq!(names, ["ns.", "root."]);
    assert_eq!(rdata_fields(RecordType::SOA, rdata).count(), 7);
    assert_eq!(rdata_names(RecordType(731), b"\x02ns\0").count(), 0);
}

/// What a reader makes of rdata in a message whose question is `example.`, to which 0xc00c points.
fn received(record_type: RecordType, rdata: &[u8]) -> Result<Vec<u8>, MessageError> {
    let mut message = b"\0\0\x84\0\0\x01\0\x01\0\0\0\0\x07example\0\0\xff\0\x01\xc0\x0c".to_vec();
    message.extend(record_type.0.to_be_bytes());
    message.extend([0, 1, 0, 0, 0, 60]);
    message.extend((rdata.len() as u16).to_be_bytes());
    message.extend(rdata);
    let mut room = [0; 512];
    let record = MessageReader::new(&message)?.records().next().unwrap()?;
    record.rdata(&mut room).map(<[u8]>::to_vec)
}

#[test]
fn names_are_decompressed_where_rfc_3597_section_4_says_so() {
    let whole = b"\x07example\0";
    let signature = b"\0\x01\x05\x03\0\0\0\0\0\0\0\0\0\0\0\0\0\0";
    let taken: [(RecordType, &[u8], usize, &[u8]); 8] = [
        (RecordType::RP, b"", 2, b""),
        (RecordType::AFSDB, b"\0\x01", 1, b""),
        (RecordType::RT, b"\0\x01", 1, b""),
        (RecordType::SIG, signature, 1, b"x"),
        (RecordType::PX, b"\0\x01", 2, b""),
        (RecordType::NAPTR, b"\0\x01\0\x02\x01s\0\x02re", 1, b""),
        (RecordType::SRV, b"\0\0\0\0\0\x35", 1, b""),
        (RecordType::KX, b"\0\x01", 1, b""),
    ];
    let put = |before: &[u8], name: &[u8], names, after: &[u8]| {
        [before, &name.repeat(names), after].concat()
    };
    for (record_type, before, names, after) in taken {
        let compressed = put(before, b"\xc0\x0c", names, after);
        let expected = put(before, whole, names, after);
        assert_eq!(
            received(record_type, &compressed),
            Ok(expected.clone()),
            "{record_type}"
        );
        assert_eq!(
            received(record_type, &expected),
            Ok(expected),
            "{record_type}"
        );
        assert!(!record_type.has_compressible_names());
    }
    let refused: [(RecordType, &[u8], &[u8]); 5] = [
        (RecordType::DNAME, b"", b""),
        (RecordType::RRSIG, signature, b"x"),
        (RecordType::NSEC, b"", b"\0\x01\x40"),
        (RecordType::SVCB, b"\0\x01", b""),
        (RecordType::IPSECKEY, b"\x0a\x03\x02", b"key"),
    ];
    for (record_type, before, after) in refused {
        let expected = put(before, whole, 1, after);
        assert_eq!(
            received(record_type, &expected),
            Ok(expected),
            "{record_type}"
        );
        let compressed = put(before, b"\xc0\x0c", 1, after);
        let error = Err(MessageError::Rdata(RdataError::Name(
            NameError::CompressionPointer,
        )));
        assert_eq!(received(record_type, &compressed), error, "{record_type}");
    }
}

#[test]
fn case_of_names_is_folded_where_the_canonical_form_does() {
    for (record_type, is_folded) in [
        (RecordType::MX, true),
        (RecordType::SRV, true),
        (RecordType::DNAME, true),
        (RecordType::RRSIG, true),
        (RecordType::NSEC, false),
        (RecordType::SVCB, false),
    ] {
        let names = record_type
            .rdata_fields()
            .unwrap()
            .iter()
            .filter(|field| field.is_name());
        assert!(
            names
                .clone()
                .all(|field| field.is_case_folded() == is_folded),
            "{record_type}"
        );
        assert_eq!(names.count(), 1);
    }
}
