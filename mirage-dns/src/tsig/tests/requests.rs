//! What a server makes of requests.

use super::*;

/// The offset of the TSIG record's owner in a signed request.
fn start(request: &[u8]) -> usize {
    record::Tsig::find(request).ok().flatten().unwrap().start
}

/// `request` signed, with a MAC cut to `length` octets.
fn with_cut_mac(key: &Key, request: &[u8], now: u64, length: usize) -> Vec<u8> {
    let (mut octets, _) = signed(key, request, now);
    let rdlength = start(&octets) + key.name().len() + 8;
    let full = key.algorithm().mac_length();
    let mac = octets.len() - 6 - full;
    octets.drain(mac + length..mac + full);
    octets[mac - 2..mac].copy_from_slice(&(length as u16).to_be_bytes());
    let whole = u16::from_be_bytes([octets[rdlength], octets[rdlength + 1]]);
    let cut = whole - (full - length) as u16;
    octets[rdlength..rdlength + 2].copy_from_slice(&cut.to_be_bytes());
    octets
}

#[test]
fn what_is_not_signed_is_left_as_it_is() {
    let keys = keys();
    let unsigned = Ok((query(7), Vec::new()));
    assert_eq!(verify(&keys, &query(7), NOW), unsigned);
    for short in [&b""[..], &[0; 11]] {
        assert_eq!(verify(&keys, short, NOW), Ok((short.to_vec(), Vec::new())));
    }
    // The server will find out that it cannot be read.
    let (request, _) = signed(&keys[0], &query(7), NOW);
    for length in 0..request.len() {
        let cut = request[..length].to_vec();
        assert_eq!(verify(&keys, &cut, NOW), Ok((cut.clone(), Vec::new())));
    }
}

#[test]
fn a_response_is_no_request_however_it_is_signed() {
    let keys = keys();
    let (response, _) = signed(&keys[0], &answer(7, 1), NOW);
    let unsigned = Ok((response.clone(), Vec::new()));
    assert_eq!(verify(&keys, &response, NOW), unsigned);
}

#[test]
fn signed_request_is_given_on_as_it_was_before() {
    let keys = keys();
    for key in &keys {
        let (request, _) = signed(key, &query(7), NOW);
        assert!(request.len() - query(7).len() <= key.record_length());
        let (plain, whose) = verify(&keys, &request, NOW).unwrap();
        assert_eq!(plain, query(7));
        assert_eq!(whose, key.name().as_wire());
    }
}

#[test]
fn record_in_any_other_place_or_form_is_formerr() {
    let keys = keys();
    let (request, _) = signed(&keys[0], &query(7), NOW);
    let record = start(&request);
    let malformed = |octets: &[u8]| {
        assert_eq!(verify(&keys, octets, NOW), Err(Reason::Malformed));
        let reply = reply(&keys, octets, NOW);
        assert_eq!(reply.len(), 12, "the header alone");
        assert_eq!(rcode(&reply), Rcode::FORMERR);
        assert_eq!(reply[..2], octets[..2]);
    };
    // Twice.
    let mut twice = [&request[..], &request[record..]].concat();
    twice[11] = 2;
    malformed(&twice);
    // Before another record.
    let mut first = [&request[..], b"\0\0\x29\x02\0\0\0\0\0\0\0"].concat();
    first[11] = 2;
    malformed(&first);
    // In the answer section, in the authority section.
    for count in [7, 9] {
        let mut moved = request.clone();
        (moved[count], moved[11]) = (1, 0);
        malformed(&moved);
    }
    // Octets behind it, which no digest covers.
    malformed(&[&request[..], b"\0"].concat());
    // Another class or TTL.
    let fixed = record + keys[0].name().len();
    for (at, octet) in [(fixed + 3, 1), (fixed + 4, 0x80), (fixed + 7, 1)] {
        let mut changed = request.clone();
        changed[at] = octet;
        malformed(&changed);
    }
    // Rdata that is cut anywhere, or has octets left over.
    let owner = keys[0].name().as_wire();
    let rdata = &request[fixed + 10..];
    for length in 0..rdata.len() {
        malformed(&with_record(&query(7), owner, 255, 0, &rdata[..length]));
    }
    malformed(&with_record(
        &query(7),
        owner,
        255,
        0,
        &[rdata, b"\0"].concat(),
    ));
    // The algorithm's name as a pointer (RFC 3597 §4).
    malformed(&with_record(
        &query(7),
        owner,
        255,
        0,
        &[b"\xc0\x0c", &rdata[13..]].concat(),
    ));
    // An owner that is a pointer to itself.
    let at = query(7).len() as u8;
    malformed(&with_record(&query(7), &[0xc0, at], 255, 0, rdata));
}

#[test]
fn owner_of_the_record_may_be_compressed() {
    let keys = [key("example.org", Algorithm::HmacSha256)];
    let (request, _) = signed(&keys[0], &query(7), NOW);
    let rdata = &request[start(&request) + keys[0].name().len() + 10..];
    let compressed = with_record(&query(7), b"\xc0\x0c", 255, 0, rdata);
    assert_eq!(verify(&keys, &compressed, NOW).unwrap().0, query(7));
}

#[test]
fn key_comes_before_mac_mac_before_time_and_time_before_truncation() {
    let keys = keys();
    let late = NOW + 301;
    // Everything is wrong.
    let unknown = key("sha256.other", Algorithm::HmacSha256);
    let mut request = with_cut_mac(&unknown, &query(7), NOW, 16);
    *request.last_mut().unwrap() = 0;
    request[2] ^= 2;
    assert_eq!(verify(&keys, &request, late), Err(Reason::BadKey));
    // The key is known.
    let mut request = with_cut_mac(&keys[0], &query(7), NOW, 16);
    request[2] ^= 2;
    assert_eq!(verify(&keys, &request, late), Err(Reason::BadSignature));
    // The MAC is right.
    request[2] ^= 2;
    assert_eq!(verify(&keys, &request, late), Err(Reason::BadTime));
    // The time is right.
    assert_eq!(verify(&keys, &request, NOW), Err(Reason::BadTruncation));
}

#[test]
fn algorithm_that_is_not_the_keys_is_a_bad_key() {
    let keys = keys();
    let same_name = key("sha256.example", Algorithm::HmacSha512);
    let (request, _) = signed(&same_name, &query(7), NOW);
    assert_eq!(verify(&keys, &request, NOW), Err(Reason::BadKey));
    // HMAC-MD5 and SHA-1 are refused under whatever name.
    for algorithm in ["hmac-md5.sig-alg.reg.int", "hmac-sha1"] {
        let algorithm = name(algorithm);
        let rest = [&[0; 8][..], &[0, 16], &[1; 16], &[0; 6]].concat();
        let rdata = [algorithm.as_name().as_wire(), &rest].concat();
        let owner = keys[0].name();
        let request = with_record(&query(7), owner.as_wire(), 255, 0, &rdata);
        assert_eq!(verify(&keys, &request, NOW), Err(Reason::BadKey));
        // The reply names the algorithm that was asked for.
        let reply = reply(&keys, &request, NOW);
        let tsig = record::Tsig::find(&reply).ok().flatten().unwrap();
        assert_eq!(tsig.algorithm, algorithm.as_name());
        assert_eq!(tsig.variables.error, TsigError::BADKEY);
    }
}

#[test]
fn replies_to_bad_keys_and_bad_macs_are_not_signed() {
    let keys = keys();
    let unknown = key("other.example", Algorithm::HmacSha256);
    let other_secret = Key::new(keys[0].name(), Algorithm::HmacSha256, b"another secret").unwrap();
    for (signer, error) in [
        (&unknown, TsigError::BADKEY),
        (&other_secret, TsigError::BADSIG),
    ] {
        let (request, pending) = signed(signer, &query(7), NOW);
        let mut reply = reply(&keys, &request, NOW);
        let tsig = record::Tsig::find(&reply).ok().flatten().unwrap();
        assert_eq!((tsig.mac.len(), tsig.variables.error), (0, error));
        assert_eq!(tsig.original_id, 7);
        assert_eq!(tsig.key_name.as_name(), signer.name());
        assert_eq!(rcode(&reply), Rcode::NOTAUTH);
        let question = MessageReader::new(&reply).unwrap().questions().next();
        assert_eq!(question.unwrap().unwrap().name, name("example.org"));
        let error = AnswerError::Alleged(error);
        assert_eq!(pending.verify_answer(&mut reply, NOW), Err(error));
        assert!(!error.is_from_server());
        assert!(reply.len() <= request.len());
    }
}

#[test]
fn reply_to_a_bad_time_is_signed_and_has_our_time() {
    let keys = keys();
    for (late, is_bad) in [(300, false), (301, true)] {
        for now in [NOW + late, NOW - late] {
            let (request, pending) = signed(&keys[0], &query(7), NOW);
            assert_eq!(verify(&keys, &request, now).is_err(), is_bad);
            if is_bad {
                let mut reply = reply(&keys, &request, now);
                assert_eq!(rcode(&reply), Rcode::NOTAUTH);
                // The client's clock still shows what it showed.
                let result = pending.verify_answer(&mut reply, NOW);
                assert_eq!(result, Err(AnswerError::ServerTime(now)));
                reply[3] ^= 1;
                let result = pending.verify_answer(&mut reply, NOW);
                assert_eq!(result, Err(AnswerError::BadSignature));
            }
        }
    }
}

#[test]
fn times_have_48_bits_and_do_not_wrap() {
    let keys = keys();
    let last = (1 << 48) - 1;
    for now in [0, 299, last, last - 300, u64::MAX] {
        let (request, _) = signed(&keys[0], &query(7), now);
        assert!(verify(&keys, &request, now).is_ok(), "{now}");
        let other = if now < 1000 { last } else { 0 };
        assert_eq!(verify(&keys, &request, other), Err(Reason::BadTime));
    }
}

#[test]
fn macs_that_were_cut_are_refused_by_policy_or_as_malformed() {
    let keys = keys();
    for key in &keys {
        let full = key.algorithm().mac_length();
        for length in 1..full {
            let request = with_cut_mac(key, &query(7), NOW, length);
            let least = (full / 2).max(10);
            let wanted = match length < least {
                true => Reason::Malformed,
                false => Reason::BadTruncation,
            };
            assert_eq!(verify(&keys, &request, NOW), Err(wanted), "{length}");
        }
        // None at all is what an error reply has; no request.
        let none = with_cut_mac(key, &query(7), NOW, 0);
        assert_eq!(verify(&keys, &none, NOW), Err(Reason::Malformed));
        let cut = with_cut_mac(key, &query(7), NOW, full - 1);
        let mac = record::Tsig::find(&cut).ok().flatten().unwrap().mac;
        let pending = client::SignedRequest::new(key, mac.copied());
        let mut reply = reply(&keys, &cut, NOW);
        assert_eq!(
            pending.verify_answer(&mut reply, NOW),
            Err(AnswerError::Rejected(TsigError::BADTRUNC))
        );
    }
    // One that is longer than the hash.
    let (request, _) = signed(&keys[0], &query(7), NOW);
    let rdata = &request[start(&request) + keys[0].name().len() + 10..];
    let before_mac = keys[0].algorithm().name().len() + 10;
    let mut longer = [&rdata[..before_mac], &[0], &rdata[before_mac..]].concat();
    longer[before_mac - 1] = 33;
    let owner = keys[0].name().as_wire();
    let longer = with_record(&query(7), owner, 255, 0, &longer);
    assert_eq!(verify(&keys, &longer, NOW), Err(Reason::Malformed));
}

#[test]
fn reply_has_an_opt_record_where_the_request_has_one() {
    let keys = keys();
    let mut asked = query(7);
    // A payload size of 4,096 octets, and DO.
    asked.extend(b"\0\0\x29\x10\0\0\0\x80\0\0\0");
    asked[11] = 1;
    let unknown = key("other.example", Algorithm::HmacSha256);
    for (signer, now) in [(&keys[0], NOW + 301), (&unknown, NOW)] {
        let (request, _) = signed(signer, &asked, NOW);
        let with = reply(&keys, &request, now);
        let reader = MessageReader::new(&with).unwrap();
        let edns = reader.edns().unwrap().unwrap();
        assert_eq!((edns.payload_size, edns.dnssec_ok), (512, true));
        assert_eq!(reader.end(), Ok(with.len()));
        assert!(record::Tsig::find(&with).ok().flatten().is_some());
        let (request, _) = signed(signer, &query(7), NOW);
        assert_eq!(reply(&keys, &request, now).len() + 11, with.len());
    }
}

#[test]
fn forwarder_may_change_the_id() {
    let keys = keys();
    let (mut request, _) = signed(&keys[0], &query(7), NOW);
    request[1] = 99;
    let (plain, _) = verify(&keys, &request, NOW).unwrap();
    assert_eq!(
        plain[..2],
        [0, 99],
        "the answer goes under the ID that came"
    );
    assert_eq!(plain[2..], query(7)[2..]);
}

#[test]
fn each_reason_has_a_counter() {
    let keys = keys();
    let verifier = RequestVerifier::new(KeyRing::new(&keys));
    let (good, _) = signed(&keys[0], &query(7), NOW);
    let (unknown, _) = signed(&key("other.example", Algorithm::HmacSha256), &query(7), NOW).clone();
    let mut changed = good.clone();
    changed[3] ^= 1;
    let late = signed(&keys[0], &query(7), NOW - 301).0;
    let cut = with_cut_mac(&keys[0], &query(7), NOW, 16);
    let trailing = [&good[..], &[0]].concat();
    let requests = [query(7), good, trailing, unknown, changed, late, cut];
    for (number, request) in requests.iter().enumerate() {
        for _ in 0..=number {
            let _ = verifier.verify(&mut request.clone(), NOW);
        }
    }
    let wanted = Counters {
        unsigned: 1,
        verified: 2,
        malformed: 3,
        bad_key: 4,
        bad_signature: 5,
        bad_time: 6,
        bad_truncation: 7,
        ..Counters::ZERO
    };
    assert_eq!(verifier.counters(), wanted);
}

#[test]
fn reply_needs_room_and_the_request_that_was_rejected() {
    let keys = keys();
    let (request, _) = signed(&keys[0], &query(7), NOW - 301);
    let verifier = RequestVerifier::new(KeyRing::new(&keys));
    let rejected = verifier.verify(&mut request.clone(), NOW).unwrap_err();
    assert_eq!(rejected.key().unwrap().name(), keys[0].name());
    let whole = reply(&keys, &request, NOW).len();
    for room in 0..whole {
        let result = rejected.write_reply(&request, NOW, &mut std::vec![0; room]);
        assert_eq!(result, Err(SignError::NoRoom), "{room}");
    }
    let mut room = std::vec![0; whole];
    assert_eq!(rejected.write_reply(&request, NOW, &mut room), Ok(whole));
    for other in [&query(7)[..], b"", &[0; 12]] {
        let result = rejected.write_reply(other, NOW, &mut [0; 512]);
        assert_eq!(result, Err(SignError::NoMessage));
    }
    // Questions that are not one, or not there whole, are not repeated.
    for update in [0u8, 2] {
        let mut header = Header {
            opcode: Opcode::UPDATE,
            ..Header::default()
        }
        .to_octets()
        .to_vec();
        header[5] = update;
        header.extend(b"\0\0\x06\0\x01".repeat(usize::from(update)));
        let (request, _) = signed(&keys[0], &header, 0);
        let reply = reply(&keys, &request, NOW);
        let reader = MessageReader::new(&reply).unwrap();
        assert_eq!(reader.header().question_count, 0);
        assert_eq!(reader.header().opcode, Opcode::UPDATE);
        assert_eq!(reader.end(), Ok(reply.len()));
    }
}
