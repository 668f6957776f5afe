//! Requests that dig 9.18 and kdig 3.2 signed, and what Knot DNS 3.2 answered, octet by octet.

use super::*;

/// One request and its answer.
struct Exchange {
    /// When, in seconds since 1970.
    time: u64,
    request: &'static str,
    answer: &'static str,
}

/// `dig -y hmac-sha256:sha256.example:… example.org SOA`.
const DIG_SHA256: Exchange = Exchange {
    time: 1_795_716_084,
    request: "\
        aa6401200001000000000002076578616d706c65036f7267000006000100002904d00000000000000673686132353607\
        6578616d706c650000fa00ff00000000003d0b686d61632d7368613235360000006b0873f4012c0020675e3deb0b4e55\
        4fc6851e9ca834ab7d9ff2c0c47d84093a74b134f8019d37f3aa6400000000",
    answer: "\
        aa6485000001000100000002076578616d706c65036f72670000060001c00c0006000100000e100020026e73c00c0472\
        6f6f74c00c0000000100001c20000007080024ea000000012c00002904d000000000000006736861323536076578616d\
        706c650000fa00ff00000000003d0b686d61632d7368613235360000006b0873f4012c0020b290148718f2dae117381a\
        b27d5ef7d0201f26ff300f95529c49ebafb19d121aaa6400000000",
};

/// The same with hmac-sha384.
const DIG_SHA384: Exchange = Exchange {
    time: 1_795_716_084,
    request: "\
        a8d001200001000000000002076578616d706c65036f7267000006000100002904d00000000000000673686133383407\
        6578616d706c650000fa00ff00000000004d0b686d61632d7368613338340000006b0873f4012c0030b1be0dbf4a78b0\
        e929eb70870f0e3455887b0e4532bc20aae9112c94b0a9660ef7b426fe9ca863f7358765e9f1da1adea8d000000000",
    answer: "\
        a8d085000001000100000002076578616d706c65036f72670000060001c00c0006000100000e100020026e73c00c0472\
        6f6f74c00c0000000100001c20000007080024ea000000012c00002904d000000000000006736861333834076578616d\
        706c650000fa00ff00000000004d0b686d61632d7368613338340000006b0873f4012c00303d0126104bf96aeaa0476d\
        e3d9c52c1e9cb1d84f9a4ef4c16e0b1fafced1be761cbe048b9dc9b67aa18677cdc012fc86a8d000000000",
};

/// The same with hmac-sha512.
const DIG_SHA512: Exchange = Exchange {
    time: 1_795_716_084,
    request: "\
        e90b01200001000000000002076578616d706c65036f7267000006000100002904d00000000000000673686135313207\
        6578616d706c650000fa00ff00000000005d0b686d61632d7368613531320000006b0873f4012c00406a348ad88ba83c\
        0e8e6f4d787de4064599ebf17e587369f580fddffd717ba2613a3b5bbea8c0a702bbad852e6298fa4c4a75c363da99e9\
        40521c8d3bead0461de90b00000000",
    answer: "\
        e90b85000001000100000002076578616d706c65036f72670000060001c00c0006000100000e100020026e73c00c0472\
        6f6f74c00c0000000100001c20000007080024ea000000012c00002904d000000000000006736861353132076578616d\
        706c650000fa00ff00000000005d0b686d61632d7368613531320000006b0873f4012c00401d120bde5ae6e57b4a1e63\
        59a35dae7056da2b52d744786e688e9268c07d1120589ed19d648a98b1e830375f462dcad53c55db2400158569d4219d\
        53d7bd542de90b00000000",
};

/// `kdig -y hmac-sha256:sha256.example:… example.org NS`.
const KDIG_SHA256: Exchange = Exchange {
    time: 1_795_716_084,
    request: "\
        f7cb01200001000000000001076578616d706c65036f7267000002000106736861323536076578616d706c650000fa00\
        ff00000000003d0b686d61632d7368613235360000006b0873f4012c002009a6a33019a425a7c64eaa5f1c6af2d89115\
        af6349fe6f8a99db73437f06158ff7cb00000000",
    answer: "\
        f7cb85000001000100000002076578616d706c65036f72670000020001c00c0002000100000e100005026e73c00cc029\
        0001000100000e100004c000023506736861323536076578616d706c650000fa00ff00000000003d0b686d61632d7368\
        613235360000006b0873f4012c0020831857544794676a9f2685b3fa0f28a7e07c20d314a30d4ba1cad02b728f8059f7\
        cb00000000",
};

/// A key that the server does not know.
const BAD_KEY: Exchange = Exchange {
    time: 1_795_716_084,
    request: "\
        447e01200001000000000002076578616d706c65036f7267000006000100002904d0000000000000056f746865720765\
        78616d706c650000fa00ff00000000003d0b686d61632d7368613235360000006b0873f4012c00207b16b6d342d7c1ab\
        a918b96aff6402dffb6ddedf069efefc85c05b4951e4b6f8447e00000000",
    answer: "\
        447e81090001000000000002076578616d706c65036f7267000006000100002904d0000000000000056f746865720765\
        78616d706c650000fa00ff00000000001d0b686d61632d7368613235360000006b0873f4012c0000447e00110000",
};

/// The secret is another one.
const BAD_SIGNATURE: Exchange = Exchange {
    time: 1_795_716_084,
    request: "\
        251101200001000000000002076578616d706c65036f7267000006000100002904d00000000000000673686132353607\
        6578616d706c650000fa00ff00000000003d0b686d61632d7368613235360000006b0873f4012c0020da223f81e0251c\
        c6cacfb8dcf3e75201526b97fc82c193af182bc7fe8d4da812251100000000",
    answer: "\
        251181090001000000000002076578616d706c65036f7267000006000100002904d00000000000000673686132353607\
        6578616d706c650000fa00ff00000000001d0b686d61632d7368613235360000006b0873f4012c0000251100100000",
};

/// Signed in 2001, by `dig +fuzztime=1000000000`.
const BAD_TIME: Exchange = Exchange {
    time: 1_795_716_084,
    request: "\
        2d3201200001000000000002076578616d706c65036f7267000006000100002904d00000000000000673686132353607\
        6578616d706c650000fa00ff00000000003d0b686d61632d7368613235360000003b9aca00012c00202828e38257a296\
        d0c1002272653ffbe72a6fa5896884dfb9efab0447e5b7e08d2d3200000000",
    answer: "\
        2d3281090001000000000002076578616d706c65036f7267000006000100002904d00000000000000673686132353607\
        6578616d706c650000fa00ff0000000000430b686d61632d7368613235360000003b9aca00012c00200e9e33eb11ea50\
        71c5c60ce4b840b81292dce678ef9c0ec9cbdc04bc78edd97b2d320012000600006b0873f4",
};

/// What verifies the answer to a request that another program signed.
fn pending<'k>(key: &'k Key, request: &[u8]) -> SignedRequest<'k> {
    let tsig = record::Tsig::find(request).ok().flatten().unwrap();
    client::SignedRequest::new(key, tsig.mac.copied())
}

#[test]
fn requests_of_dig_and_kdig_are_verified_and_the_answers_of_knot() {
    let keys = keys();
    for (exchange, owner) in [
        (DIG_SHA256, "sha256.example"),
        (DIG_SHA384, "sha384.example"),
        (DIG_SHA512, "sha512.example"),
        (KDIG_SHA256, "sha256.example"),
    ] {
        let (request, mut answer) = (from_hex(exchange.request), from_hex(exchange.answer));
        let (plain, whose) = verify(&keys, &request, exchange.time).unwrap();
        assert_eq!(whose, name(owner).as_name().as_wire());
        let reader = MessageReader::new(&plain).unwrap();
        assert_eq!(reader.end(), Ok(plain.len()));
        assert!(reader.edns().is_ok());

        let key = KeyRing::new(&keys)
            .find_by_name(name(owner).as_name())
            .unwrap();
        let signed = pending(key, &request);
        let length = signed.verify_answer(&mut answer, exchange.time).unwrap();
        let reader = MessageReader::new(&answer[..length]).unwrap();
        assert_eq!(reader.end(), Ok(length));
        assert_eq!(reader.header().answer_count, 1);
    }
}

#[test]
fn our_signature_over_the_same_octets_is_that_of_dig_and_of_knot() {
    let keys = keys();
    for (exchange, key) in [
        (DIG_SHA256, &keys[0]),
        (DIG_SHA384, &keys[1]),
        (DIG_SHA512, &keys[2]),
    ] {
        let (request, answer) = (from_hex(exchange.request), from_hex(exchange.answer));
        let (plain, _) = verify(&keys, &request, exchange.time).unwrap();
        assert_eq!(signed(key, &plain, exchange.time).0, request);

        let verifier = RequestVerifier::new(KeyRing::new(&keys));
        let verified = verifier
            .verify(&mut request.clone(), exchange.time)
            .unwrap()
            .unwrap();
        let mut ours = answer.clone();
        let length = pending(key, &request)
            .verify_answer(&mut ours, exchange.time)
            .unwrap();
        ours[length..].fill(0);
        let done = verified.sign(&mut ours, length, exchange.time).unwrap();
        assert_eq!(
            done,
            Signed {
                length: answer.len(),
                truncated: false
            }
        );
        assert_eq!(ours, answer);
    }
}

#[test]
fn errors_of_knot_are_ours_and_ours_are_understood() {
    let keys = keys();
    for (exchange, reason) in [
        (BAD_KEY, Reason::BadKey),
        (BAD_SIGNATURE, Reason::BadSignature),
        (BAD_TIME, Reason::BadTime),
    ] {
        let request = from_hex(exchange.request);
        assert_eq!(verify(&keys, &request, exchange.time), Err(reason));
        let ours = reply(&keys, &request, exchange.time);
        let theirs = from_hex(exchange.answer);
        // The client knows the other key.
        let other = key("other.example", Algorithm::HmacSha256);
        let signer = if reason == Reason::BadKey {
            &other
        } else {
            &keys[0]
        };
        // dig took the time from its option for the answer, too.
        let now = if reason == Reason::BadTime {
            1_000_000_000
        } else {
            exchange.time
        };
        let wanted = match reason {
            Reason::BadKey => AnswerError::Alleged(TsigError::BADKEY),
            Reason::BadSignature => AnswerError::Alleged(TsigError::BADSIG),
            _ => AnswerError::ServerTime(exchange.time),
        };
        for mut answer in [ours, theirs] {
            assert_eq!(rcode(&answer), Rcode::NOTAUTH);
            let result = pending(signer, &request).verify_answer(&mut answer, now);
            assert_eq!(result, Err(wanted), "{reason:?}");
        }
    }
}
