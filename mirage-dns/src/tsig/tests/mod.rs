//! Tests of TSIG, with messages that other programs signed (`exchanges`) and with our own.

use std::vec::Vec;

use super::*;
use crate::message::{Flags, Header, MessageBuilder, MessageReader, Section};
use crate::name::NameBuf;
use crate::record::{Opcode, Rcode, RecordClass, RecordType};

mod answers;
mod exchanges;
mod properties;
mod requests;
mod streams;
mod text;

/// What the keys of all algorithms are made of.
const SECRET: &[u8] = b"secret of this example, 32 octets";

const NOW: u64 = 1_700_000_000;

fn name(text: &str) -> NameBuf {
    NameBuf::from_text(text).unwrap()
}

fn key(owner: &str, algorithm: Algorithm) -> Key {
    Key::new(name(owner).as_name(), algorithm, SECRET).unwrap()
}

/// A key `sha256.example` and so on for each algorithm.
fn keys() -> Vec<Key> {
    let owners = ["sha256.example", "sha384.example", "sha512.example"];
    let all = owners.into_iter().zip(Algorithm::ALL);
    all.map(|(owner, algorithm)| key(owner, algorithm))
        .collect()
}

/// A query for example.org SOA.
fn query(id: u16) -> Vec<u8> {
    let header = Header {
        id,
        flags: Flags::RD,
        ..Header::default()
    };
    message(header, 0)
}

/// An answer to it with so many records.
fn answer(id: u16, records: u8) -> Vec<u8> {
    let header = Header {
        id,
        flags: Flags::QR | Flags::AA,
        ..Header::default()
    };
    message(header, records)
}

fn message(header: Header, records: u8) -> Vec<u8> {
    let apex = name("example.org");
    let mut buffer = [0; 1024];
    let mut builder = MessageBuilder::new(&mut buffer, header).unwrap();
    builder
        .push_question(apex.as_name(), RecordType::SOA, RecordClass::IN)
        .unwrap();
    for number in 0..records {
        let (owner, rdata) = (apex.as_name(), [192, 0, 2, number]);
        builder
            .push_record(
                Section::Answer,
                owner,
                RecordType::A,
                RecordClass::IN,
                60,
                &rdata,
            )
            .unwrap();
    }
    let length = builder.finish();
    buffer[..length].to_vec()
}

/// A signed request and what verifies its answer.
fn signed<'k>(key: &'k Key, request: &[u8], now: u64) -> (Vec<u8>, SignedRequest<'k>) {
    let mut buffer = request.to_vec();
    buffer.resize(request.len() + key.record_length(), 0);
    let (length, pending) = sign_request(key, &mut buffer, request.len(), now).unwrap();
    buffer.truncate(length);
    (buffer, pending)
}

/// What a server with [`keys`] makes of a request.
fn verify(keys: &[Key], request: &[u8], now: u64) -> Result<(Vec<u8>, Vec<u8>), Reason> {
    let verifier = RequestVerifier::new(KeyRing::new(keys));
    let mut octets = request.to_vec();
    match verifier.verify(&mut octets, now) {
        Ok(Some(verified)) => {
            octets.truncate(verified.length());
            Ok((octets, verified.key().name().as_wire().to_vec()))
        }
        Ok(None) => {
            assert_eq!(octets, request, "what is not signed is left as it is");
            Ok((octets, Vec::new()))
        }
        Err(rejected) => {
            assert_eq!(octets, request, "what is rejected is left as it is");
            Err(rejected.reason())
        }
    }
}

/// The reply to a request that is rejected.
fn reply(keys: &[Key], request: &[u8], now: u64) -> Vec<u8> {
    let verifier = RequestVerifier::new(KeyRing::new(keys));
    let mut octets = request.to_vec();
    let rejected = verifier.verify(&mut octets, now).unwrap_err();
    let mut buffer = [0; 512];
    let length = rejected.write_reply(request, now, &mut buffer).unwrap();
    buffer[..length].to_vec()
}

fn rcode(message: &[u8]) -> Rcode {
    MessageReader::new(message).unwrap().header().rcode
}

/// Adds a TSIG record with this rdata, class and TTL by hand.
fn with_record(message: &[u8], owner: &[u8], class: u16, ttl: u32, rdata: &[u8]) -> Vec<u8> {
    let mut octets = message.to_vec();
    octets.extend_from_slice(owner);
    octets.extend(250u16.to_be_bytes());
    octets.extend(class.to_be_bytes());
    octets.extend(ttl.to_be_bytes());
    octets.extend((rdata.len() as u16).to_be_bytes());
    octets.extend_from_slice(rdata);
    octets[11] += 1;
    octets
}

fn from_hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.bytes().filter(u8::is_ascii_hexdigit).collect();
    let pair = |pair: &[u8]| u8::from_str_radix(core::str::from_utf8(pair).unwrap(), 16).unwrap();
    digits.chunks(2).map(pair).collect()
}

#[test]
fn keys_do_not_show_their_secrets() {
    let key = key("a.example", Algorithm::HmacSha256);
    let shown = std::format!("{key:?}");
    assert_eq!(
        shown,
        "Key { name: NameBuf(a.example.), algorithm: HmacSha256, .. }"
    );
    let ring = [key];
    assert!(!std::format!("{:?}", KeyRing::new(&ring)).contains("115"));
    assert_eq!(
        Key::new(name("a").as_name(), Algorithm::HmacSha256, b"").unwrap_err(),
        KeyError::EmptySecret
    );
}

#[test]
fn keys_are_found_by_name_without_case_and_algorithm() {
    let keys = [
        key("A.Example", Algorithm::HmacSha256),
        key("a.example", Algorithm::HmacSha512),
    ];
    let ring = KeyRing::new(&keys);
    let find = |owner: &str, algorithm| {
        let found = ring.find(name(owner).as_name(), algorithm);
        found.map(Key::algorithm)
    };
    for algorithm in [Algorithm::HmacSha256, Algorithm::HmacSha512] {
        assert_eq!(find("a.eXample", algorithm), Some(algorithm));
    }
    assert_eq!(find("a.example", Algorithm::HmacSha384), None);
    assert_eq!(find("b.example", Algorithm::HmacSha256), None);
    let first = ring.find_by_name(name("a.example").as_name()).unwrap();
    assert_eq!(first.algorithm(), Algorithm::HmacSha256);
}

#[test]
fn algorithms_that_are_broken_or_optional_are_not_there() {
    for text in [
        "hmac-md5.sig-alg.reg.int",
        "hmac-sha1",
        "hmac-sha224",
        "hmac-sha256-128",
    ] {
        assert_eq!(Algorithm::from_name(name(text).as_name()), None, "{text}");
        assert_eq!(Algorithm::from_mnemonic(text), None, "{text}");
    }
    for algorithm in Algorithm::ALL {
        let owner = name(&std::format!("{algorithm}").to_uppercase());
        assert_eq!(Algorithm::from_name(owner.as_name()), Some(algorithm));
        assert_eq!(algorithm.name(), owner.as_name());
        assert_eq!(
            Algorithm::from_mnemonic(&std::format!("{algorithm}.")),
            Some(algorithm)
        );
    }
}
