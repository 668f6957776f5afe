//! What a client makes of answers, and how a server signs them.

use super::*;

/// The proof of a request for the keys' first, and what verifies its answer.
fn exchange<'k>(keys: &'k [Key]) -> (Verified<'k>, SignedRequest<'k>) {
    let (mut request, pending) = signed(&keys[0], &query(7), NOW);
    let verifier = RequestVerifier::new(KeyRing::new(keys));
    let verified = verifier.verify(&mut request, NOW).unwrap().unwrap();
    (verified, pending)
}

/// `answer` signed, in a buffer with so much room.
fn sign(
    verified: &Verified<'_>,
    answer: &[u8],
    room: usize,
    now: u64,
) -> Result<Vec<u8>, SignError> {
    let mut buffer = answer.to_vec();
    buffer.resize(room, 0);
    let done = verified.sign(&mut buffer, answer.len(), now)?;
    assert_eq!(
        done.truncated,
        MessageReader::new(&buffer)
            .unwrap()
            .header()
            .flags
            .contains(Flags::TC)
    );
    buffer.truncate(done.length);
    Ok(buffer)
}

#[test]
fn answer_is_verified_and_given_on_as_it_was_before() {
    let keys = keys();
    let (verified, pending) = exchange(&keys);
    let plain = answer(7, 3);
    let mut whole = sign(&verified, &plain, 512, NOW).unwrap();
    assert!(whole.len() <= plain.len() + verified.record_length());
    let length = pending.verify_answer(&mut whole, NOW).unwrap();
    assert_eq!(whole[..length], plain);
}

#[test]
fn answer_to_another_request_is_not_taken() {
    let keys = keys();
    let (verified, _) = exchange(&keys);
    let (_, other) = signed(&keys[0], &query(8), NOW);
    let mut whole = sign(&verified, &answer(8, 1), 512, NOW).unwrap();
    let result = other.verify_answer(&mut whole, NOW);
    assert_eq!(result, Err(AnswerError::BadSignature));
    // Nor is a request that comes back.
    let (mut request, pending) = signed(&keys[0], &query(7), NOW);
    let result = pending.verify_answer(&mut request, NOW);
    assert_eq!(result, Err(AnswerError::BadSignature));
}

#[test]
fn answer_without_room_for_its_signature_becomes_tc() {
    let keys = keys();
    let (verified, pending) = exchange(&keys);
    let plain = answer(7, 20);
    // An additional record's six octets are for the server's time alone.
    let whole = plain.len() + verified.record_length() - 6;
    let least = query(7).len() + verified.record_length() - 6;
    for room in plain.len()..whole {
        let mut cut = sign(&verified, &plain, room, NOW).unwrap();
        assert_eq!(cut.len(), least);
        let length = pending.verify_answer(&mut cut, NOW).unwrap();
        let reader = MessageReader::new(&cut[..length]).unwrap();
        let header = *reader.header();
        assert_eq!(header.flags, Flags::QR | Flags::AA | Flags::TC);
        assert_eq!((header.question_count, header.answer_count), (1, 0));
        assert_eq!(header.additional_count, 0);
        assert_eq!(reader.end(), Ok(length));
    }
    let mut signed = sign(&verified, &plain, whole, NOW).unwrap();
    assert_eq!(signed.len(), whole);
    assert_eq!(pending.verify_answer(&mut signed, NOW), Ok(plain.len()));
}

#[test]
fn error_code_is_gone_from_an_answer_that_becomes_tc() {
    let keys = keys();
    let (verified, _) = exchange(&keys);
    let mut plain = answer(7, 20);
    plain[3] = 3;
    let cut = sign(&verified, &plain, plain.len(), NOW).unwrap();
    assert_eq!(rcode(&cut), Rcode::NOERROR);
}

#[test]
fn what_cannot_be_signed_is_said() {
    let keys = keys();
    let (verified, _) = exchange(&keys);
    let plain = answer(7, 0);
    let least = plain.len() + verified.record_length() - 6;
    assert!(sign(&verified, &plain, least, NOW).is_ok());
    for room in plain.len()..least {
        assert_eq!(sign(&verified, &plain, room, NOW), Err(SignError::NoRoom));
    }
    let mut buffer = [0; 600];
    for (room, length) in [(600, 11), (600, 601), (0, 0)] {
        let result = verified.sign(&mut buffer[..room], length, NOW);
        assert_eq!(result, Err(SignError::NoMessage));
        let result = sign_request(&keys[0], &mut buffer[..room], length, NOW);
        assert_eq!(result.unwrap_err(), SignError::NoMessage);
    }
    // There can be no 65,536th additional record, and no message above 65,535 octets.
    let mut full = answer(7, 0);
    let length = full.len();
    full[10..12].fill(0xff);
    full.resize(65_535, 0);
    let result = sign_request(&keys[0], &mut full, length, NOW);
    assert_eq!(result.unwrap_err(), SignError::NoRoom);
    let mut long = answer(7, 0);
    long.resize(70_000, 0);
    let result = sign_request(&keys[0], &mut long, 65_500, NOW);
    assert_eq!(result.unwrap_err(), SignError::NoRoom);
    assert_eq!(long[11], 0, "the message is as it was");
}

#[test]
fn what_is_wrong_with_an_answer_is_told_apart() {
    let keys = keys();
    let (verified, pending) = exchange(&keys);
    let good = sign(&verified, &answer(7, 1), 512, NOW).unwrap();
    let mut counters = Counters::ZERO;
    let mut check = |mut octets: Vec<u8>, now, error| {
        let before = octets.clone();
        let result = pending.verify_answer(&mut octets, now);
        assert_eq!(result, Err(error));
        assert_eq!(octets, before, "left as it is");
        counters.count_answer(&result);
    };
    check(answer(7, 1), NOW, AnswerError::Unsigned);
    check(Vec::new(), NOW, AnswerError::Unsigned);
    check([&good[..], &[0]].concat(), NOW, AnswerError::Malformed);
    let (other, _) = signed(&keys[1], &answer(7, 1), NOW);
    check(other, NOW, AnswerError::OtherKey);
    let same_name = key("sha256.example", Algorithm::HmacSha384);
    check(
        signed(&same_name, &answer(7, 1), NOW).0,
        NOW,
        AnswerError::OtherKey,
    );
    let mut changed = good.clone();
    changed[3] ^= 1;
    check(changed, NOW, AnswerError::BadSignature);
    check(good.clone(), NOW + 301, AnswerError::BadTime);
    // An answer without MAC is an error's, or none.
    let names = (keys[0].name(), keys[0].algorithm().name());
    for (code, error, wanted) in [
        (
            9,
            TsigError::BADKEY,
            AnswerError::Alleged(TsigError::BADKEY),
        ),
        (0, TsigError::BADKEY, AnswerError::Unsigned),
        (9, TsigError::NOERROR, AnswerError::Unsigned),
    ] {
        let mut bare = answer(7, 1);
        let length = bare.len();
        bare[3] = code;
        bare.resize(512, 0);
        let variables = record::Variables {
            error,
            ..record::Variables::at(NOW)
        };
        let length =
            record::append(&mut bare, length, names, &variables, &mac::Mac::EMPTY, 7).unwrap();
        bare.truncate(length);
        check(bare, NOW, wanted);
    }
    let mut good = good;
    counters.count_answer(&pending.verify_answer(&mut good, NOW));
    let wanted = Counters {
        answers_unsigned: 4,
        answers_malformed: 1,
        answers_other_key: 2,
        answers_bad_signature: 1,
        answers_bad_time: 1,
        answers_rejected: 1,
        answers_verified: 1,
        ..Counters::ZERO
    };
    assert_eq!(counters, wanted);
}

#[test]
fn errors_say_whether_the_server_sent_them() {
    for error in [
        AnswerError::Unsigned,
        AnswerError::Malformed,
        AnswerError::OtherKey,
        AnswerError::BadSignature,
        AnswerError::Alleged(TsigError::BADSIG),
    ] {
        assert!(!error.is_from_server(), "{error}");
    }
    for error in [
        AnswerError::BadTime,
        AnswerError::BadTruncation,
        AnswerError::ServerTime(NOW),
        AnswerError::Rejected(TsigError::BADTRUNC),
    ] {
        assert!(error.is_from_server(), "{error}");
    }
}

#[test]
fn no_record_is_longer_than_what_is_left_free_for_it() {
    let long = [
        "x".repeat(63),
        "y".repeat(63),
        "z".repeat(63),
        "w".repeat(61),
    ]
    .join(".");
    assert_eq!(name(&long).as_name().len(), 255);
    for algorithm in Algorithm::ALL {
        for owner in [".", "a.example", &long] {
            let key = key(owner, algorithm);
            assert!(key.record_length() <= MAX_RECORD_LENGTH);
            let (request, _) = signed(&key, &query(7), NOW - 301);
            assert!(request.len() - query(7).len() <= key.record_length());
            let keys = [key];
            let reply = reply(&keys, &request, NOW);
            assert_eq!(reply.len() - query(7).len(), keys[0].record_length());
        }
    }
    let longest = key(&long, Algorithm::HmacSha512);
    assert_eq!(longest.record_length(), MAX_RECORD_LENGTH);
}
