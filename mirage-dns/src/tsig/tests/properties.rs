//! What holds for all messages.

use proptest::prelude::*;

use super::*;

/// The octets of the names in a TSIG record, whose letters may change their case: the digest has them in small letters
/// (RFC 8945 §4.3.3).
fn is_case_of_a_name(message: &[u8], bit: usize) -> bool {
    let tsig = record::Tsig::find(message).ok().flatten().unwrap();
    let owner = tsig.start..tsig.start + tsig.key_name.as_name().len();
    let algorithm = owner.end + 10..owner.end + 10 + tsig.algorithm.len();
    let octet = bit / 8;
    bit % 8 == 5
        && (owner.contains(&octet) || algorithm.contains(&octet))
        && message[octet].is_ascii_alphabetic()
}

#[test]
fn any_flipped_bit_is_noticed() {
    let keys = keys();
    let (request, pending) = signed(&keys[1], &query(7), NOW);
    let verifier = RequestVerifier::new(KeyRing::new(&keys));
    let verified = verifier.verify(&mut request.clone(), NOW).unwrap().unwrap();
    let mut whole = [0; 512];
    let plain = answer(7, 2);
    whole[..plain.len()].copy_from_slice(&plain);
    let length = verified.sign(&mut whole, plain.len(), NOW).unwrap().length;
    // The ID is not covered.
    for bit in 16..request.len() * 8 {
        let mut flipped = request.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        let mut octets = flipped.clone();
        let result = verifier.verify(&mut octets, NOW);
        let is_verified = matches!(result, Ok(Some(_)));
        assert_eq!(is_verified, is_case_of_a_name(&request, bit), "bit {bit}");
    }
    for bit in 16..length * 8 {
        let mut flipped = whole[..length].to_vec();
        flipped[bit / 8] ^= 1 << (bit % 8);
        let is_verified = pending.verify_answer(&mut flipped, NOW).is_ok();
        let is_case = is_case_of_a_name(&whole[..length], bit);
        assert_eq!(is_verified, is_case, "bit {bit}");
    }
}

proptest! {
    #[test]
    fn what_was_signed_is_verified(
        id: u16,
        records in 0u8..40,
        number in 0usize..3,
        secret in prop::collection::vec(any::<u8>(), 1..200),
        now in 0u64..1 << 48,
        late in -300i64..=300,
    ) {
        let owner = name("some.key.example");
        let key = Key::new(owner.as_name(), Algorithm::ALL[number], &secret).unwrap();
        let keys = [key];
        let (mut request, pending) = signed(&keys[0], &query(id), now);
        let there = now.saturating_add_signed(late);
        let verifier = RequestVerifier::new(KeyRing::new(&keys));
        let verified = verifier.verify(&mut request, there).unwrap().unwrap();
        prop_assert_eq!(&request[..verified.length()], query(id));

        let plain = answer(id, records);
        let mut whole = plain.clone();
        whole.resize(plain.len() + verified.record_length(), 0);
        let done = verified.sign(&mut whole, plain.len(), there).unwrap();
        prop_assert!(!done.truncated);
        let length = pending.verify_answer(&mut whole[..done.length], now).unwrap();
        prop_assert_eq!(&whole[..length], plain);
    }

    #[test]
    fn no_octets_are_verified_by_chance_and_none_panic(
        mut octets in prop::collection::vec(any::<u8>(), 0..300),
        text in "[ -~\n]{0,80}",
    ) {
        let keys = keys();
        let verifier = RequestVerifier::new(KeyRing::new(&keys));
        let before = octets.clone();
        match verifier.verify(&mut octets, NOW) {
            Ok(verified) => prop_assert!(verified.is_none()),
            Err(rejected) => {
                let _ = rejected.write_reply(&before, NOW, &mut [0; 512]);
            }
        }
        prop_assert_eq!(octets, before);
        let _ = KeyFile::new(&text).count();
        let _ = Key::from_text(&text);
    }
}
