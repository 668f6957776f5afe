//! OPT records of what is not a query, and limits of what is answered.

use super::*;
use crate::message::work::counted;

/// A request with OPT records of these versions, all with DO.
fn with_edns(request: &[u8], versions: &[u8]) -> Vec<u8> {
    let mut request = request.to_vec();
    for version in versions {
        request.extend([0, 0, 41, 4, 208, 0, *version, 0x80, 0, 0, 0]);
        request[11] += 1;
    }
    request
}

#[test]
fn requests_that_change_or_fetch_zones_have_one_opt_record_of_version_0_or_are_not_done() {
    let transfer = {
        let mut request = [0; 512];
        let apex = name("o");
        let length = TransferRequest::write(7, apex.as_name(), None, &mut request).unwrap();
        request[..length].to_vec()
    };
    let notice = {
        let mut request = [0; 512];
        let set = zones(2, "");
        let soa = RecordBuf::from(set.as_zone_set().zones().next().unwrap().soa().unwrap());
        let apex = name("o");
        let length = Notify::write(7, apex.as_name(), &soa, &mut request).unwrap();
        request[..length].to_vec()
    };
    let mut world = World::new();
    let config = ZoneConfig {
        update: anybody(None),
        ..primary(None, &[])
    };
    world.add(zones(1, ""), config);
    world.add(zones(1, ""), secondary(None, &[0]));
    for (to, request) in [(0, transfer), (1, notice), (0, addition("new.o", 7))] {
        for (versions, rcode) in [
            (&[1][..], Rcode::BADVERS),
            (&[0, 0], Rcode::FORMERR),
            (&[0, 1], Rcode::FORMERR),
        ] {
            let request = with_edns(&request, versions);
            let answers = world.ask(0, address(to), Transport::Tcp, &request);
            let [answer] = &answers[..] else {
                panic!("one answer was expected: {answers:?}");
            };
            let reader = MessageReader::new(answer).unwrap();
            let edns = reader.edns().unwrap();
            let edns = edns.expect("an OPT record");
            let high = edns.extended_rcode;
            let found = u16::from(high) << 4 | reader.header().rcode.0;
            assert_eq!(Rcode(found), rcode, "{request:?}");
            assert_eq!(edns.version, 0);
            assert!(edns.dnssec_ok || rcode == Rcode::FORMERR);
        }
    }
    assert!(world.log.is_empty(), "{:?}", world.log);
    assert_eq!(world.hosts[1].counters().notices_heard, 0);
    world.settle();
    assert_eq!(world.hosts[0].counters().versions, 0);
}

#[test]
fn first_message_of_a_transfer_alone_has_the_opt_record_that_was_asked_with() {
    let filling: String = (0..2_000).map(|n| format!("m{n} A 192.0.2.1\n")).collect();
    let mut world = World::new();
    world.add(zones(1, &filling), primary(None, &[]));
    let mut request = [0; 512];
    let apex = name("o");
    let length = TransferRequest::write(7, apex.as_name(), None, &mut request).unwrap();
    for versions in [&[][..], &[0]] {
        let request = with_edns(&request[..length], versions);
        let messages = world.ask(0, address(0), Transport::Tcp, &request);
        assert!(messages.len() > 1);
        for (index, message) in messages.iter().enumerate() {
            let reader = MessageReader::new(message).unwrap();
            assert_eq!(reader.end(), Ok(message.len()));
            let edns = reader.edns().unwrap();
            assert_eq!(edns.is_some(), index == 0 && !versions.is_empty());
            assert!(edns.is_none_or(|edns| edns.dnssec_ok));
        }
    }
}

#[test]
fn refusals_to_an_address_that_anybody_may_write_are_limited_and_signed_requests_are_not() {
    use crate::server::{Extensions, RateBucket, RateLimiter, RateLimits};
    let limits = RateLimits {
        per_second: 5,
        slip: 0,
        ..RateLimits::default()
    };
    let mut buckets = [RateBucket::default(); 64];
    let limiter = RateLimiter::new(limits, [1; 16], &mut buckets, &[]);
    let extensions = Extensions::NONE.with_rate_limiter(&limiter);
    let server = Server::with_extensions(Limits::default(), extensions);
    let mut world = World::new();
    world.add(zones(1, ""), primary(Some("k.example"), &[]));
    let mut request = [0; 512];
    let length = TransferRequest::write(7, name("o").as_name(), None, &mut request).unwrap();
    let ask = |world: &mut World, transport, key: Option<&str>| {
        let mut request = request[..length].to_vec();
        if let Some(key) = key {
            let key = Key::from_text(key).unwrap();
            request.resize(1_024, 0);
            let (length, _) = sign_request(&key, &mut request, length, world.now.unix).unwrap();
            request.truncate(length);
        }
        let client = Client {
            address: address(9).ip(),
            transport,
            now: world.now.unix,
        };
        let mut out = [0; 1_232];
        let host = &mut world.hosts[0];
        let handled = host.handle_request(&server, &mut request, &client, world.now, &mut out);
        !matches!(handled, Handled::Ignored)
    };
    for (transport, key, expected) in [
        (Transport::Udp, None, 5),
        // Of a key that is not known, and so another code.
        (
            Transport::Udp,
            Some("hmac-sha256:unknown.example:d3Jvbmc="),
            5,
        ),
        (Transport::Udp, Some(KEY), 50),
        (Transport::Tcp, None, 50),
    ] {
        let answered = (0..50).filter(|_| ask(&mut world, transport, key)).count();
        assert_eq!(answered, expected, "{transport:?} {key:?}");
    }
    assert_eq!(world.hosts[0].counters().rate_limited, 90);
}

/// The options of an answer, and its code.
fn options_of(answer: &[u8]) -> (Rcode, Vec<(u16, Vec<u8>)>) {
    let reader = MessageReader::new(answer).unwrap();
    assert_eq!(reader.end(), Ok(answer.len()));
    let edns = reader.edns().unwrap().expect("an OPT record");
    let options = edns.options().map(|(code, data)| (code, data.to_vec()));
    let rcode = u16::from(edns.extended_rcode) << 4 | reader.header().rcode.0;
    (Rcode(rcode), options.collect())
}

/// A request with an OPT record that has a cookie and asks for NSID.
fn with_cookie(request: &[u8], cookie: &[u8]) -> Vec<u8> {
    let mut request = request.to_vec();
    let length = 4 + cookie.len() as u8;
    request.extend([0, 0, 41, 4, 208, 0, 0, 0, 0, 0, 4 + length]);
    request.extend([0, 3, 0, 0, 0, 10, 0, length - 4]);
    request.extend(cookie);
    request[11] += 1;
    request
}

#[test]
fn notices_updates_and_transfers_are_answered_with_cookies_and_nsid() {
    use crate::server::{Cookies, Extensions, RateBucket, RateLimiter, RateLimits};
    let cookies = Cookies::new([7; 16]);
    let limits = RateLimits {
        per_second: 1,
        slip: 0,
        ..RateLimits::default()
    };
    let mut buckets = [RateBucket::default(); 64];
    let limiter = RateLimiter::new(limits, [1; 16], &mut buckets, &[]);
    let extensions = Extensions::NONE
        .with_nsid(b"one")
        .unwrap()
        .with_cookies(&cookies)
        .with_rate_limiter(&limiter);
    let server = Server::with_extensions(Limits::default(), extensions);
    let mut world = World::new();
    let config = ZoneConfig {
        update: anybody(None),
        ..primary(None, &[])
    };
    world.add(zones(1, "a A 192.0.2.7"), config);
    let set = zones(2, "");
    let soa = RecordBuf::from(set.as_zone_set().zones().next().unwrap().soa().unwrap());
    let (apex, mut buffer) = (name("o"), [0; 512]);
    let length = TransferRequest::write(7, apex.as_name(), None, &mut buffer).unwrap();
    let whole = buffer[..length].to_vec();
    let length = TransferRequest::write(7, apex.as_name(), Some(&soa), &mut buffer).unwrap();
    let differences = buffer[..length].to_vec();
    let length = Notify::write(7, apex.as_name(), &soa, &mut buffer).unwrap();
    let notice = buffer[..length].to_vec();
    let mut ask = |transport, mut request: Vec<u8>| {
        let client = Client {
            address: address(9).ip(),
            transport,
            now: world.now.unix,
        };
        let (now, mut out) = (world.now, std::vec![0; 65_535]);
        let host = &mut world.hosts[0];
        match host.handle_request(&server, &mut request, &client, now, &mut out) {
            Handled::Ignored => return None,
            Handled::Answer(length) => out.truncate(length),
            Handled::Transfer(mut transfer) => {
                let length = transfer.poll_message(&mut out, now.unix).unwrap();
                out.truncate(length.unwrap());
            }
            Handled::Later(_) => {
                let Some(Task::Build(job)) = host.poll_task(now, &mut world.rng) else {
                    panic!("something to build");
                };
                drop(host.handle_built(job.run(), now));
                out = host.poll_reply().unwrap().octets;
            }
        }
        Some(options_of(&out))
    };
    let (udp, tcp) = (Transport::Udp, Transport::Tcp);
    let refused = Rcode::REFUSED;
    for (transport, request, rcode) in [
        (udp, &notice, Rcode::NOTAUTH),
        // It changes something, then nothing.
        (udp, &addition("b.o", 8), Rcode::NOERROR),
        (udp, &addition("a.o", 7), Rcode::NOERROR),
        (udp, &addition("a.p", 7), Rcode::NOTZONE),
        (udp, &whole, refused),
        (udp, &differences, Rcode::NOERROR),
        (tcp, &whole, Rcode::NOERROR),
        (tcp, &differences, Rcode::NOERROR),
    ] {
        let case = std::format!("{transport:?} {rcode} {request:?}");
        let first = ask(tcp, with_cookie(request, b"8 octets")).unwrap();
        let [(3, nsid), (10, cookie)] = &first.1[..] else {
            panic!("{case}: {first:?}");
        };
        assert_eq!((&nsid[..], cookie.len()), (&b"one"[..], 24), "{case}");
        assert_eq!(cookie[..8], *b"8 octets");
        // Who has a right one is not limited.
        for _ in 0..5 {
            let again = ask(transport, with_cookie(request, cookie)).expect(&case);
            assert_eq!(again.0, rcode, "{case}");
            assert_eq!(again.1[1], (10, cookie.clone()), "{case}");
        }
        // One of a wrong length (RFC 7873 §5.2.2).
        let bad = ask(tcp, with_cookie(request, b"seven o")).unwrap();
        assert_eq!(bad, (Rcode::FORMERR, Vec::new()), "{case}");
    }
    // Without a right cookie there is one a second.
    let answered = (0..5).filter(|_| ask(udp, with_cookie(&notice, b"8 octets")).is_some());
    assert_eq!(answered.count(), 1);
}

#[test]
fn transfers_that_go_out_are_so_many_at_once() {
    let mut world = World::new();
    let configs = alloc::vec![primary(None, &[])];
    let bounds = Bounds {
        transfers: 2,
        ..Bounds::default()
    };
    let (now, mut out) = (world.now, std::vec![0; 65_535]);
    let host = Authority::new(zones(1, ""), configs, keys(), bounds, now, &mut world.rng);
    let mut host = host.unwrap();
    let length = TransferRequest::write(7, name("o").as_name(), None, &mut out).unwrap();
    let request = out[..length].to_vec();
    let server = Server::new(Limits::default());
    let mut ask = || {
        let client = Client {
            address: address(9).ip(),
            transport: Transport::Tcp,
            now: now.unix,
        };
        match host.handle_request(&server, &mut request.clone(), &client, now, &mut out) {
            Handled::Transfer(transfer) => Ok(transfer),
            Handled::Answer(length) => Err(rcode(&[out[..length].to_vec()])),
            other => panic!("{other:?}"),
        }
    };
    let (first, second) = (ask().unwrap(), ask().unwrap());
    assert_eq!(ask().unwrap_err(), Rcode::SERVFAIL);
    drop(first);
    let third = ask().unwrap();
    assert_eq!(ask().unwrap_err(), Rcode::SERVFAIL);
    drop((second, third));
    assert!(ask().is_ok());
    let counters = host.counters();
    assert_eq!(
        (counters.transfers_put_off, counters.transfers_refused),
        (2, 2)
    );
    assert_eq!(counters.whole_transfers_out, 4);
    let told = host.poll_rejection().unwrap();
    assert_eq!(told.why, Why::TooManyTransfers);
}

#[test]
fn requests_that_are_turned_away_are_told_one_of_a_kind_in_ten_seconds() {
    let mut world = World::new();
    world.add(zones(1, ""), updatable("k.example"));
    world.add(no_zones(), secondary(Some("k.example"), &[0]));
    let wrong = "hmac-sha256:k.example:d3Jvbmc=";
    let notice = {
        let set = zones(9, "");
        let soa = RecordBuf::from(set.as_zone_set().zones().next().unwrap().soa().unwrap());
        let mut request = std::vec![0; 1_024];
        let length = Notify::write(5, name("o").as_name(), &soa, &mut request).unwrap();
        let key = Key::from_text(wrong).unwrap();
        let mut signed = request.clone();
        let (whole, _) = sign_request(&key, &mut signed, length, world.now.unix).unwrap();
        signed.truncate(whole);
        (request[..length].to_vec(), signed)
    };
    for _ in 0..3 {
        world.ask(0, address(1), Transport::Udp, &notice.0);
        world.ask(0, address(1), Transport::Udp, &notice.1);
        world.update(&addition("new.o", 7), Some(OTHER_KEY));
    }
    fn told(world: &mut World, host: usize) -> Vec<String> {
        let host = &mut world.hosts[host];
        core::iter::from_fn(|| host.poll_rejection())
            .map(|rejection| rejection.to_string())
            .collect()
    }
    assert_eq!(
        told(&mut world, 1),
        [
            "NOTIFY for o. from 10.0.0.0 was turned away: its signature does not count: BADSIG",
            "NOTIFY for o. from 10.0.0.0 was turned away: it is not from a primary, signed as agreed",
        ]
    );
    assert_eq!(
        told(&mut world, 0),
        ["UPDATE for o. from 10.0.0.9 was turned away: who asks may not"]
    );
    world.now.elapsed += Duration::from_secs(10);
    world.ask(0, address(1), Transport::Udp, &notice.0);
    assert_eq!(
        told(&mut world, 1),
        [
            "NOTIFY for o. from 10.0.0.0 was turned away: it is not from a primary, signed as agreed (so were 2 before)"
        ]
    );
    assert!(told(&mut world, 1).is_empty());
}

/// A message of 64 kB with so many SOA records in one section, whose every name is a pointer to one of 126 labels below `o.`; the
/// question has that name, or `o.` itself.
fn pointers(
    opcode: Opcode,
    asked: RecordType,
    section: usize,
    is_apex_asked: bool,
) -> (Vec<u8>, u16) {
    let mut octets = std::vec![0; 12];
    octets[2] = opcode.0 << 3;
    octets[5] = 1;
    let long = [b"\x01a".repeat(125), b"\x01o\0".to_vec()].concat();
    let fixed = [asked.0.to_be_bytes(), [0, 1]].concat();
    let (long_at, mut owner) = match is_apex_asked {
        false => {
            octets.extend([&long[..], &fixed].concat());
            (12, std::vec![0xc0, 12])
        }
        true => {
            octets.extend([b"\x01o\0", &fixed[..]].concat());
            (octets.len() as u8, long)
        }
    };
    let mut count = 0u16;
    while octets.len() + owner.len() + 34 <= MAX_MESSAGE_LENGTH {
        octets.extend(&owner);
        octets.extend([0, 6, 0, 1, 0, 0, 0, 60, 0, 24]);
        octets.extend([0xc0, long_at, 0xc0, long_at]);
        octets.extend([0; 20]);
        owner = std::vec![0xc0, long_at];
        count += 1;
    }
    octets[6 + 2 * section..][..2].copy_from_slice(&count.to_be_bytes());
    (octets, count)
}

#[test]
fn pointers_in_64_kilobytes_are_not_followed_for_who_may_not_and_boundedly_for_who_may() {
    let mut world = World::new();
    let config = ZoneConfig {
        update: anybody(None),
        primaries: Vec::new(),
        ..primary(None, &[])
    };
    world.add(zones(1, ""), config);
    world.add(no_zones(), secondary(None, &[0]));
    world.settle();
    let types = [RecordType::SOA, RecordType::IXFR, RecordType::AXFR];
    for (host, from) in [(0, 1), (0, 99), (1, 0), (1, 99)] {
        for opcode in [Opcode::QUERY, Opcode::NOTIFY, Opcode::UPDATE] {
            for (asked, section, is_apex_asked) in types
                .into_iter()
                .flat_map(|asked| (0..3).map(move |section| (asked, section)))
                .flat_map(|(asked, section)| [(asked, section, false), (asked, section, true)])
            {
                let (message, count) = pointers(opcode, asked, section, is_apex_asked);
                // Of 192.0.2.0/24 nobody may do anything.
                let address = match from {
                    99 => [192, 0, 2, 1].into(),
                    from => address(from).ip(),
                };
                let client = Client {
                    address,
                    transport: Transport::Tcp,
                    now: world.now.unix,
                };
                let (mut request, mut out) = (message.clone(), std::vec![0; 65_535]);
                let (_, steps) = counted(|| {
                    let (server, now) = (&world.server, world.now);
                    world.hosts[host].handle_request(server, &mut request, &client, now, &mut out)
                });
                let may_update = opcode == Opcode::UPDATE && host == 0 && from != 99;
                let bound = match may_update {
                    // Its records are read, three times: three names each, of 126 labels, a pointer and the root.
                    true => u64::from(count) * 3 * 3 * 128,
                    // Its records are skipped, a few times: one step each.
                    false => 8 * u64::from(count),
                };
                let case = (host, from, opcode, asked, section, is_apex_asked);
                assert!(steps <= bound, "{case:?}: {steps} steps, {bound} at most");
            }
        }
    }
}
