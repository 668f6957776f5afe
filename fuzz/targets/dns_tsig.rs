//! TSIG: any octets as a signed request, as an answer and as a key file; and what we sign ourselves is verified, unless a bit
//! of it was flipped.

#![no_main]

use std::sync::OnceLock;

use libfuzzer_sys::fuzz_target;
use mirage_dns::message::{Flags, MessageReader};
use mirage_dns::tsig::{Algorithm, Key, KeyFile, KeyRing, RequestVerifier, sign_request};

const NOW: u64 = 1_700_000_000;

fuzz_target!(|input: &[u8]| {
    if let Ok(text) = core::str::from_utf8(input) {
        let _ = (KeyFile::new(text).count(), Key::from_text(text));
    }
    // Which bit is flipped, then the message.
    let Some((control, message)) = input.split_first_chunk::<3>() else {
        return;
    };
    let bit = usize::from(u16::from_be_bytes([control[0], control[1]]));
    let keys = keys();
    as_it_came(keys, message);
    signed(keys, usize::from(control[2]) % keys.len(), message, bit);
});

/// Made once: each is a hash that was keyed.
fn keys() -> &'static [Key] {
    static KEYS: OnceLock<Vec<Key>> = OnceLock::new();
    let texts = [
        "hmac-sha256:a.example:c2VjcmV0",
        "hmac-sha384:b.example:c2VjcmV0",
        "hmac-sha512:.:c2VjcmV0",
    ];
    let key = |text: &&str| Key::from_text(text).expect("a key");
    KEYS.get_or_init(|| texts.iter().map(key).collect())
}

/// The corpus has messages that these keys signed.
fn as_it_came(keys: &[Key], message: &[u8]) {
    let verifier = RequestVerifier::new(KeyRing::new(keys));
    let mut octets = message.to_vec();
    let mut reply = [0; 1024];
    match verifier.verify(&mut octets, NOW) {
        Ok(None) => assert_eq!(octets, message),
        Ok(Some(verified)) => {
            assert!(verified.length() < message.len());
            let length = verified.length();
            let taken = MessageReader::new(&octets[..length]).expect("a header");
            assert_eq!(taken.end(), Ok(length), "the rest is whole");
            octets.resize(length + verified.record_length(), 0);
            verified
                .sign(&mut octets, length, NOW)
                .expect("there is room");
        }
        Err(rejected) => {
            assert_eq!(octets, message);
            let length = rejected
                .write_reply(message, NOW, &mut reply)
                .expect("there is room");
            let reply = MessageReader::new(&reply[..length]).expect("a header");
            assert_eq!(reply.end(), Ok(length));
        }
    }
    let mut octets = message.to_vec();
    let (mut request, mut length) = ([0; 512], 12);
    let signed;
    (length, signed) = sign_request(&keys[0], &mut request, length, NOW).expect("there is room");
    assert!(length > 12);
    assert!(
        signed.verify_answer(&mut octets, NOW).is_err(),
        "nobody else knows this request"
    );
    let mut stream = signed.stream();
    assert!(stream.verify(&mut octets, NOW).is_err());
    assert_eq!(octets, message);
}

fn signed(keys: &[Key], number: usize, message: &[u8], bit: usize) {
    let key = &keys[number];
    // What is signed is a message that is whole, and nothing else; without a signature before.
    let is_whole = MessageReader::new(message).is_ok_and(|reader| {
        let is_signed = reader
            .records()
            .flatten()
            .any(|record| record.record_type.0 == 250);
        let is_request = !reader.header().flags.contains(Flags::QR);
        reader.end() == Ok(message.len()) && is_request && !is_signed
    });
    let mut buffer = message.to_vec();
    buffer.resize(message.len() + key.record_length(), 0);
    let Ok((length, _)) = sign_request(key, &mut buffer, message.len(), NOW) else {
        return;
    };
    buffer.truncate(length);
    if !is_whole {
        return;
    }
    let verifier = RequestVerifier::new(KeyRing::new(keys));
    let mut octets = buffer.clone();
    let verified = verifier
        .verify(&mut octets, NOW)
        .expect("our signature")
        .expect("a signature");
    assert_eq!(&octets[..verified.length()], message);

    // The ID is not covered, nor the case of names in the record.
    let bit = 16 + bit % ((buffer.len() - 2) * 8);
    let octet = bit / 8;
    let is_letter = bit % 8 == 5 && buffer[octet].is_ascii_alphabetic();
    let names = key.name().len() + 10 + Algorithm::HmacSha256.name().len();
    if is_letter && (message.len()..message.len() + names).contains(&octet) {
        return;
    }
    buffer[octet] ^= 1 << (bit % 8);
    assert!(
        !matches!(verifier.verify(&mut buffer, NOW), Ok(Some(_))),
        "bit {bit} was flipped"
    );
}
