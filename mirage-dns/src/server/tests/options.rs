//! EDNS options: NSID, cookies, TCP keep-alive; and answers that are one too many.

use super::*;
use crate::network::Network;

fn image() -> Vec<u8> {
    compile(&["$TTL 60
        example. SOA ns.example. root.example. 1 2 3 4 5
        example. NS ns.example.org.
        www.example. A 192.0.2.1
        www.example. A 192.0.2.2
        *.wild.example. A 192.0.2.3
        alias.example. CNAME www.example.
        sub.example. NS ns.sub.example.
        ns.sub.example. A 192.0.2.4"])
}

const SECRET: [u8; SERVER_SECRET_LENGTH] = *b"a secret of ours";
const COOKIE: u16 = 10;
const OWN: &[u8] = b"client's";

/// Options, encoded.
fn encode(options: &[(u16, &[u8])]) -> Vec<u8> {
    let mut octets = Vec::new();
    for (code, data) in options {
        octets.extend(code.to_be_bytes());
        octets.extend((data.len() as u16).to_be_bytes());
        octets.extend_from_slice(data);
    }
    octets
}

/// A question with an OPT record that has these options.
fn question(asked: &str, options: &[(u16, &[u8])]) -> Vec<u8> {
    let options: &'static [u8] = encode(options).leak();
    let mut ask = Ask::new(asked);
    ask.edns = Some(Edns {
        options,
        ..Edns::with_payload_size(1232)
    });
    let mut buffer = std::vec![0; 65_535];
    let mut builder = MessageBuilder::new(&mut buffer, ask.header).unwrap();
    let (name, record_type) = (ask.name.as_name(), ask.record_type);
    builder.push_question(name, record_type, ask.class).unwrap();
    builder.push_edns(&ask.edns.unwrap()).unwrap();
    let length = builder.finish();
    buffer.truncate(length);
    buffer
}

fn ask_with(
    extensions: &Extensions<'_>,
    transport: Transport,
    request: &[u8],
) -> Result<Reply, Ignored> {
    let image = image();
    let zones = ZoneSet::from_bytes(&image).unwrap();
    let mut out = [0xaa; 2048];
    let client = client(transport);
    let limits = Limits::default();
    let answer = respond_with(&zones, &limits, extensions, request, &client, &mut out)?;
    assert!(out[answer.length..].iter().all(|octet| *octet == 0xaa));
    Ok(Reply::read(&out[..answer.length], answer))
}

/// The options of an answer.
fn options_of(reply: &Reply) -> Vec<(u16, Vec<u8>)> {
    let edns = reply.reader().edns().unwrap().expect("an OPT record");
    edns.options()
        .map(|(code, data)| (code, data.to_vec()))
        .collect()
}

#[test]
fn nsid_is_given_to_those_who_ask_for_it_alone() {
    let extensions = Extensions::NONE.with_nsid(b"ns1.example").unwrap();
    let nsid = (3, b"ns1.example".to_vec());
    for transport in [Transport::Udp, Transport::Tcp] {
        let asked = question("www.example. A", &[(3, b"")]);
        let reply = ask_with(&extensions, transport, &asked).unwrap();
        assert_eq!(options_of(&reply), std::slice::from_ref(&nsid));
        assert_eq!(reply.sections[0].len(), 2);
        let not_asked = question("www.example. A", &[(4, b"")]);
        assert_eq!(
            options_of(&ask_with(&extensions, transport, &not_asked).unwrap()),
            []
        );
    }
    let asked = question("www.example. A", &[(3, b"")]);
    let none = ask_with(&Extensions::NONE, Transport::Udp, &asked).unwrap();
    assert_eq!(options_of(&none), []);
    // With errors as well.
    let outside = question("example.org. A", &[(3, b"what is this")]);
    let refused = ask_with(&extensions, Transport::Udp, &outside).unwrap();
    assert_eq!(
        (options_of(&refused), refused.status),
        (std::vec![nsid], "REFUSED".into())
    );
    assert!(Extensions::NONE.with_nsid(&[0; MAX_NSID_LENGTH]).is_some());
    assert!(
        Extensions::NONE
            .with_nsid(&[0; MAX_NSID_LENGTH + 1])
            .is_none()
    );
}

#[test]
fn keepalive_is_for_tcp_and_takes_no_value() {
    let extensions = Extensions::NONE.with_tcp_keepalive(100);
    let asked = question("www.example. A", &[(11, b"")]);
    let reply = ask_with(&extensions, Transport::Tcp, &asked).unwrap();
    assert_eq!(options_of(&reply), [(11, [0, 100].to_vec())]);
    let reply = ask_with(&extensions, Transport::Udp, &asked).unwrap();
    assert_eq!(options_of(&reply), []);
    let with_value = question("www.example. A", &[(11, &[0, 100])]);
    let reply = ask_with(&extensions, Transport::Tcp, &with_value).unwrap();
    // Header, question and OPT (RFC 6891 §7).
    assert_eq!((reply.status.as_str(), reply.octets.len()), ("FORMERR", 40));
    let reply = ask_with(&extensions, Transport::Udp, &with_value).unwrap();
    assert_eq!(
        (options_of(&reply), reply.sections[0].len()),
        (Vec::new(), 2)
    );
}

#[test]
fn unknown_options_and_padding_are_ignored() {
    let padding = [0; 300];
    let options: [(u16, &[u8]); 4] = [
        (12, &padding),
        (65_001, b"x"),
        (8, b"\0\x01\x18\0\xc0\0\x02"),
        (0, b""),
    ];
    let reply = ask_with(
        &Extensions::NONE,
        Transport::Udp,
        &question("www.example. A", &options),
    );
    let reply = reply.unwrap();
    assert_eq!(
        (options_of(&reply), reply.sections[0].len()),
        (Vec::new(), 2)
    );
    assert_eq!(reply.answer.steps, 5);
}

#[test]
fn cookie_of_a_wrong_length_is_a_format_error_whether_the_server_has_secrets_or_not() {
    let cookies = Cookies::new(SECRET);
    for extensions in [Extensions::NONE, Extensions::NONE.with_cookies(&cookies)] {
        for length in 0..50 {
            let cookie = std::vec![7; length];
            let asked = question("www.example. A", &[(COOKIE, &cookie)]);
            let reply = ask_with(&extensions, Transport::Udp, &asked).unwrap();
            let well_formed = matches!(length, 8 | 16..=40);
            let expected = if well_formed { "NOERROR aa" } else { "FORMERR" };
            assert_eq!(reply.status, expected, "{length}");
        }
    }
}

#[test]
fn client_gets_a_server_cookie_and_is_known_by_it() {
    let cookies = Cookies::new(SECRET);
    let extensions = Extensions::NONE.with_cookies(&cookies);
    let first = ask_with(
        &extensions,
        Transport::Udp,
        &question("www.example. A", &[(COOKIE, OWN)]),
    );
    let first = first.unwrap();
    assert_eq!(first.answer.cookie, CookieState::Client);
    let [(COOKIE, cookie)] = &options_of(&first)[..] else {
        panic!("one cookie: {first:?}");
    };
    assert_eq!((&cookie[..8], cookie.len()), (OWN, 24));
    let again = question("www.example. A", &[(COOKIE, cookie)]);
    for transport in [Transport::Udp, Transport::Tcp] {
        let reply = ask_with(&extensions, transport, &again).unwrap();
        assert_eq!(reply.answer.cookie, CookieState::Right);
        assert_eq!(options_of(&reply), [(COOKIE, cookie.clone())]);
    }
    // A wrong one is answered, with a right one.
    let mut wrong = cookie.clone();
    wrong[20] ^= 1;
    let reply = ask_with(
        &extensions,
        Transport::Udp,
        &question("www.example. A", &[(COOKIE, &wrong)]),
    );
    let reply = reply.unwrap();
    assert_eq!(reply.answer.cookie, CookieState::Wrong);
    assert_eq!(
        (reply.sections[0].len(), options_of(&reply)),
        (2, std::vec![(COOKIE, cookie.clone())])
    );
    // Of several the first counts; of none nothing is said.
    let several = question("www.example. A", &[(COOKIE, cookie), (COOKIE, b"bad")]);
    let reply = ask_with(&extensions, Transport::Udp, &several).unwrap();
    assert_eq!(reply.answer.cookie, CookieState::Right);
    let none = ask_with(
        &extensions,
        Transport::Udp,
        &question("www.example. A", &[]),
    )
    .unwrap();
    assert_eq!(
        (none.answer.cookie, options_of(&none)),
        (CookieState::None, Vec::new())
    );
    let off = ask_with(&Extensions::NONE, Transport::Udp, &again).unwrap();
    assert_eq!(
        (off.answer.cookie, options_of(&off)),
        (CookieState::None, Vec::new())
    );
}

#[test]
fn message_without_question_asks_for_a_cookie_or_after_one() {
    let cookies = Cookies::new(SECRET);
    let extensions = Extensions::NONE.with_cookies(&cookies);
    let without_question = |options: &[(u16, &[u8])]| {
        let mut octets = question(". A", options);
        octets.drain(12..17);
        octets[5] = 0;
        octets
    };
    let ask = |options: &[(u16, &[u8])]| {
        ask_with(&extensions, Transport::Udp, &without_question(options)).unwrap()
    };
    let first = ask(&[(COOKIE, OWN)]);
    assert_eq!(first.status, "NOERROR");
    let cookie = options_of(&first)[0].1.clone();
    assert_eq!(ask(&[(COOKIE, &cookie)]).status, "NOERROR");
    let wrong = ask(&[(COOKIE, &[7; 24])]);
    assert_eq!(wrong.status, "BADCOOKIE");
    assert_eq!(options_of(&wrong)[0].1.len(), 24);
    assert_eq!(ask(&[(3, b"")]).status, "FORMERR");
    assert_eq!(ask(&[(COOKIE, b"short")]).status, "FORMERR");
    let request = without_question(&[(COOKIE, OWN)]);
    let off = ask_with(&Extensions::NONE, Transport::Udp, &request).unwrap();
    assert_eq!(off.status, "FORMERR");
}

#[test]
fn options_of_the_answer_have_their_place_in_it() {
    let cookies = Cookies::new(SECRET);
    let nsid = [b'n'; MAX_NSID_LENGTH];
    let all = Extensions::NONE
        .with_cookies(&cookies)
        .with_tcp_keepalive(5);
    let all = all.with_nsid(&nsid).unwrap();
    let image = image();
    let zones = ZoneSet::from_bytes(&image).unwrap();
    let request = question("www.example. A", &[(3, b""), (COOKIE, OWN), (11, b"")]);
    let limits = Limits::default();
    let mut whole = None;
    for room in 0..500 {
        let mut out = std::vec![0xaa; room];
        let client = client(Transport::Tcp);
        match respond_with(&zones, &limits, &all, &request, &client, &mut out) {
            Ok(answer) => {
                let reply = Reply::read(&out[..answer.length], answer);
                assert_eq!(options_of(&reply).len(), 3);
                assert_eq!(
                    answer.flags.contains(Flags::TC),
                    reply.sections[0].is_empty()
                );
                whole = Some(reply);
            }
            Err(error) => {
                assert_eq!(error, Ignored::NoRoom);
                assert!(whole.is_none() && room < MIN_BUFFER_LENGTH);
            }
        }
    }
    assert_eq!(whole.unwrap().sections[0].len(), 2);
}

#[test]
fn opt_of_sixteen_thousand_options_is_read_once() {
    let none: &[(u16, &[u8])] = &[(65_001, b"")];
    let options = none.repeat(16_370);
    let reply = ask_with(
        &Extensions::NONE,
        Transport::Tcp,
        &question("www.example. A", &options),
    );
    let reply = reply.unwrap();
    assert_eq!(reply.sections[0].len(), 2);
    assert_eq!(reply.answer.steps, 1 + 16_370);
}

#[test]
fn message_of_64_kilobytes_of_records_that_are_pointers_is_walked_once() {
    // Owners that are pointers to themselves or to each other: skipped, never followed.
    let mut octets = Ask::new("www.example. A").octets();
    while octets.len() + 12 < 65_535 {
        let here = 0xc000 | (octets.len() & 0x3fff) as u16;
        octets.extend(here.to_be_bytes());
        octets.extend(b"\0\x01\0\x01\0\0\0\0\0\0");
    }
    let count = (octets.len() - 29) / 12;
    octets[10..12].copy_from_slice(&(count as u16).to_be_bytes());
    let reply = ask_with(&Extensions::NONE, Transport::Tcp, &octets).unwrap();
    assert_eq!(reply.status, "NOERROR aa");
    assert_eq!(reply.answer.steps as usize, count);
    // Ten times as many are promised: as many are looked at as are there, and one more.
    octets[10..12].copy_from_slice(&u16::MAX.to_be_bytes());
    let reply = ask_with(&Extensions::NONE, Transport::Tcp, &octets).unwrap();
    assert_eq!(reply.status, "FORMERR");
    assert_eq!(reply.answer.steps as usize, count + 1);
}

#[test]
fn records_that_are_promised_and_not_there_cost_one_look() {
    for section in [8, 10] {
        let mut octets = Ask::new("www.example. IXFR").octets();
        octets[section..section + 2].copy_from_slice(&u16::MAX.to_be_bytes());
        let reply = ask_with(&Extensions::NONE, Transport::Tcp, &octets).unwrap();
        assert_eq!((reply.status.as_str(), reply.answer.steps), ("FORMERR", 1));
    }
}

#[test]
fn option_that_claims_more_than_is_there_is_a_format_error() {
    for claimed in [1u16, 4, 0x7fff, 0xffff] {
        let mut octets = question("www.example. A", &[(COOKIE, OWN), (3, b"")]);
        let end = octets.len();
        octets[end - 2..].copy_from_slice(&claimed.to_be_bytes());
        let reply = ask_with(&Extensions::NONE, Transport::Udp, &octets).unwrap();
        assert_eq!((reply.status.as_str(), reply.octets.len()), ("FORMERR", 40));
    }
}

/// A server with a rate limiter, asked by one client; how many answers are whole, short and none.
struct Limited<'a> {
    server: Server<'a>,
    zones: ZoneSet<'a>,
}

impl Limited<'_> {
    fn ask(&self, request: &[u8], from: &str, transport: Transport) -> Option<Vec<u8>> {
        let client = Client {
            address: from.parse().unwrap(),
            ..client(transport)
        };
        let mut out = [0; 1232];
        let length = self
            .server
            .answer(&self.zones, request, &client, &mut out)?;
        Some(out[..length].to_vec())
    }

    /// Asks thirty times; how many answers there were with content, without, and none.
    fn flood(&self, mut request: impl FnMut(usize) -> Vec<u8>, from: &str) -> [usize; 3] {
        let mut seen = [0; 3];
        for number in 0..30 {
            let reply = self.ask(&request(number), from, Transport::Udp);
            seen[match &reply {
                None => 2,
                Some(octets) => {
                    let reader = MessageReader::new(octets).unwrap();
                    assert_eq!(reader.end(), Ok(octets.len()));
                    let header = reader.header();
                    let short = header.answer_count + header.authority_count == 0;
                    usize::from(short && header.rcode != Rcode::REFUSED)
                }
            }] += 1;
        }
        seen
    }
}

/// Ten a second, every fourth beyond them with TC.
fn with_limited(cookies: Option<&Cookies>, exempt: &[Network], test: impl FnOnce(Limited<'_>)) {
    let limits = RateLimits {
        per_second: 10,
        slip: 4,
        ..RateLimits::default()
    };
    let mut table = std::vec![RateBucket::default(); 512];
    let limiter = RateLimiter::new(limits, [9; 16], &mut table, exempt);
    let mut extensions = Extensions::NONE.with_rate_limiter(&limiter);
    if let Some(cookies) = cookies {
        extensions = extensions.with_cookies(cookies);
    }
    let image = image();
    test(Limited {
        server: Server::with_extensions(Limits::default(), extensions),
        zones: ZoneSet::from_bytes(&image).unwrap(),
    });
}

const LIMITED: [usize; 3] = [10, 5, 15];

#[test]
fn same_answer_to_one_network_is_limited_and_counted() {
    with_limited(None, &[], |limited| {
        let www = Ask::new("www.example. A").octets();
        assert_eq!(limited.flood(|_| www.clone(), "192.0.2.1"), LIMITED);
        // A neighbour in the same network; one in another.
        assert!(limited.ask(&www, "192.0.2.2", Transport::Udp).is_none());
        assert!(limited.ask(&www, "192.0.3.2", Transport::Udp).is_some());
        let counters = limited.server.counters();
        assert_eq!((counters.ignored_rate_limited, counters.limited), (16, 5));
        assert_eq!((counters.noerror, counters.truncated), (10 + 5 + 1, 5));
        assert_eq!(counters.udp, 32);
        // Over TCP the address is the client's own.
        assert!(limited.ask(&www, "192.0.2.1", Transport::Tcp).is_some());
    });
}

#[test]
fn answers_without_content_repeat_the_question_and_say_tc() {
    with_limited(None, &[], |limited| {
        let www = Ask::new("www.example. A").edns(1232).octets();
        let replies = (0..30).filter_map(|_| limited.ask(&www, "192.0.2.1", Transport::Udp));
        let short = replies.last().unwrap();
        let reader = MessageReader::new(&short).unwrap();
        assert_eq!(reader.header().flags, Flags::QR | Flags::TC);
        assert_eq!(reader.header().id, 0xbeef);
        assert_eq!(short[12..29], www[12..29]);
        assert!(reader.edns().unwrap().is_some());
        assert!(short.len() <= www.len());
    });
}

#[test]
fn names_that_one_answer_is_made_for_count_together() {
    let unique =
        |below: &'static str| move |number| Ask::new(&format!("n{number}{below}")).octets();
    for below in [
        ".example. A",
        ".wild.example. A",
        ".sub.example. A",
        ".example.org. A",
    ] {
        with_limited(None, &[], |limited| {
            let seen = limited.flood(unique(below), "192.0.2.1");
            assert_eq!(seen, LIMITED, "{below}");
        });
    }
}

#[test]
fn different_names_do_not_count_together() {
    with_limited(None, &[], |limited| {
        for asked in [
            "www.example. A",
            "alias.example. A",
            "example. NS",
            "no.example. A",
        ] {
            let octets = Ask::new(asked).octets();
            assert_eq!(
                limited.flood(|_| octets.clone(), "192.0.2.1"),
                LIMITED,
                "{asked}"
            );
        }
    });
}

#[test]
fn right_cookie_is_never_limited_and_a_client_with_another_is_told_badcookie() {
    let cookies = Cookies::new(SECRET);
    with_limited(Some(&cookies), &[], |limited| {
        let first = question("www.example. A", &[(COOKIE, OWN)]);
        let replies = (0..14).filter_map(|_| limited.ask(&first, "192.0.2.1", Transport::Udp));
        let last = replies.last().unwrap();
        let reader = MessageReader::new(&last).unwrap();
        let edns = reader.edns().unwrap().unwrap();
        let rcode = u16::from(edns.extended_rcode) << 4 | reader.header().rcode.0;
        assert_eq!(Rcode(rcode), Rcode::BADCOOKIE);
        assert_eq!(reader.header().flags, Flags::QR);
        assert_eq!(last[12..29], first[12..29]);
        let (_, cookie) = edns.options().next().unwrap();
        let known = question("www.example. A", &[(COOKIE, cookie)]);
        assert_eq!(limited.flood(|_| known.clone(), "192.0.2.1"), [30, 0, 0]);
        // The cookie is good for its address alone.
        limited.flood(|_| first.clone(), "192.0.2.9");
        assert!(limited.ask(&known, "192.0.2.9", Transport::Udp).is_none());
        let counters = limited.server.counters();
        assert_eq!(
            (counters.badcookie, counters.cookies_right),
            (counters.limited, 30)
        );
    });
}

#[test]
fn exempt_networks_are_answered_whatever_they_ask() {
    let exempt: [Network; 1] = ["192.0.2.0/24".parse().unwrap()];
    with_limited(None, &exempt, |limited| {
        let www = Ask::new("www.example. A").octets();
        assert_eq!(limited.flood(|_| www.clone(), "192.0.2.1"), [30, 0, 0]);
    });
}
