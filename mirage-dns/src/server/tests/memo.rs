//! A server with a memo gives what one without gives, octet for octet.

use proptest::prelude::*;

use super::*;

const ZONES: [&str; 2] = [
    "$TTL 60
    example. SOA ns.example. root.example. 1 2 3 4 5
    example. NS ns.example.
    ns.example. A 192.0.2.1
    www.example. A 192.0.2.2
    alias.example. CNAME www.example.
    *.wild.example. TXT wild
    dn.example. DNAME wild.example.
    sub.example. NS ns.sub.example.
    ns.sub.example. A 192.0.2.3
    big.example. TXT aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\
aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa
    big.example. TXT bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb\
bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb
    big.example. TXT cccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccc",
    "$TTL 60
    example. SOA ns.example. root.example. 2 2 3 4 5
    example. NS ns.example.
    ns.example. A 192.0.2.1
    www.example. A 198.51.100.2
    alias.example. TXT changed",
];

fn images() -> [Vec<u8>; 2] {
    ZONES.map(|text| compile(&[&text.replace("\n    ", "\n        ")]))
}

/// A request that is mostly plain, and now and then is not.
fn any_request() -> impl Strategy<Value = (Vec<u8>, Transport, usize)> {
    let names = prop::sample::select(std::vec![
        "www.example",
        "WWW.example",
        "alias.example",
        "no.example",
        "x.wild.example",
        "x.dn.example",
        "a.sub.example",
        "big.example",
        "example",
        "elsewhere",
        ".",
    ]);
    let types = prop::sample::select(std::vec!["A", "TXT", "SOA", "ANY", "NS", "DS"]);
    let size = prop::option::of(prop::sample::select(std::vec![0u16, 512, 700, 1232, 4096]));
    let change = prop::option::weighted(0.3, (0usize..60, any::<u8>()));
    let room = prop::sample::select(std::vec![30usize, 60, 512, 600, 2000]);
    (
        names,
        types,
        any::<u16>(),
        size,
        any::<[bool; 5]>(),
        change,
        room,
    )
        .prop_map(
            |(
                name,
                record_type,
                id,
                size,
                [rd, dnssec_ok, tcp, options, any_class],
                change,
                room,
            )| {
                let mut ask = Ask::new(&format!("{name} {record_type}"));
                ask.header.id = id;
                if rd {
                    ask.header.flags |= Flags::RD;
                }
                if any_class && id % 8 == 0 {
                    ask.class = RecordClass::ANY;
                }
                ask.edns = size.map(|size| Edns {
                    dnssec_ok,
                    options: if options && id % 4 == 0 {
                        &[0, 3, 0, 0]
                    } else {
                        &[]
                    },
                    ..Edns::with_payload_size(size)
                });
                let mut octets = ask.octets();
                if let Some((place, octet)) = change {
                    let place = place % octets.len();
                    octets[place] = octet;
                }
                let transport = if tcp { Transport::Tcp } else { Transport::Udp };
                (octets, transport, room)
            },
        )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn memo_gives_octet_for_octet_what_the_server_gives(
        requests in prop::collection::vec((any_request(), prop::bool::weighted(0.1)), 1..80),
        slots in 0usize..8,
    ) {
        let images = images();
        let sets = [0, 1].map(|index| ZoneSet::from_bytes(&images[index]).unwrap());
        let nsid = Extensions::NONE.with_nsid(b"here").unwrap();
        let with = Server::with_extensions(Limits::default(), nsid);
        let without = Server::with_extensions(Limits::default(), nsid);
        let mut slots = std::vec![MemoSlot::EMPTY; slots];
        let mut memo = Memo::new(&mut slots);
        let mut generation = 0u64;
        for ((octets, transport, room), changes) in requests {
            generation += u64::from(changes);
            let zones = &sets[generation as usize % 2];
            let client = client(transport);
            let (mut ours, mut expected) = (std::vec![0xaa; room], std::vec![0xaa; room]);
            let length = memo.answer(&with, zones, generation, &octets, &client, &mut ours);
            let wanted = without.answer(zones, &octets, &client, &mut expected);
            prop_assert_eq!(length, wanted);
            if let Some(length) = length {
                prop_assert_eq!(&ours[..length], &expected[..length]);
            }
            prop_assert_eq!(with.counters(), without.counters());
        }
    }
}

/// A memo of some places before a server of the first zone.
fn with_memo(test: impl FnOnce(&mut dyn FnMut(&Ask, u64) -> Vec<u8>, &dyn Fn() -> u64)) {
    let images = images();
    let sets = [0, 1].map(|index| ZoneSet::from_bytes(&images[index]).unwrap());
    let server = Server::new(Limits::default());
    let mut slots = std::vec![MemoSlot::EMPTY; 64];
    let memo = core::cell::RefCell::new(Memo::new(&mut slots));
    let mut ask = |ask: &Ask, generation: u64| {
        let mut out = [0; 1232];
        let zones = &sets[generation as usize % 2];
        let client = client(ask.transport);
        let (octets, mut memo) = (ask.octets(), memo.borrow_mut());
        let length = memo.answer(&server, zones, generation, &octets, &client, &mut out);
        out[..length.unwrap()].to_vec()
    };
    test(&mut ask, &|| memo.borrow().hits());
}

#[test]
fn what_is_asked_again_is_known_and_has_its_own_id() {
    with_memo(|ask, hits| {
        let mut www = Ask::new("www.example A").edns(1232);
        let first = ask(&www, 0);
        www.header.id = 0x1234;
        let second = ask(&www, 0);
        assert_eq!(hits(), 1);
        assert_eq!(second[..2], [0x12, 0x34]);
        assert_eq!(first[2..], second[2..]);
    });
}

#[test]
fn rd_edns_do_size_transport_and_case_each_have_their_own_answer() {
    with_memo(|ask, hits| {
        let plain = Ask::new("www.example A");
        let mut rd = plain.clone();
        rd.header.flags |= Flags::RD;
        let mut wants_dnssec = plain.clone().edns(1232);
        wants_dnssec.edns.as_mut().unwrap().dnssec_ok = true;
        let all = [
            plain.clone(),
            rd,
            plain.clone().edns(1232),
            plain.clone().edns(700),
            wants_dnssec,
            plain.clone().tcp(),
            Ask::new("wwW.example A"),
            Ask::new("www.example TXT"),
        ];
        let first: Vec<_> = all.iter().map(|question| ask(question, 0)).collect();
        assert_eq!(hits(), 0);
        for (question, first) in all.iter().zip(&first) {
            assert_eq!(ask(question, 0), *first);
        }
        // Two may have one place.
        assert!(hits() >= 5, "{}", hits());
    });
}

#[test]
fn answer_from_zones_of_another_generation_is_not_given() {
    with_memo(|ask, hits| {
        let www = Ask::new("www.example A");
        let first = ask(&www, 0);
        let changed = ask(&www, 1);
        assert!(first.ends_with(&[192, 0, 2, 2]) && changed.ends_with(&[198, 51, 100, 2]));
        assert_eq!((ask(&www, 2), hits()), (first, 0));
    });
}

#[test]
fn what_is_too_long_or_has_options_is_answered_and_not_kept() {
    with_memo(|ask, hits| {
        let big = Ask::new("big.example TXT").edns(1232);
        let mut options = Ask::new("www.example A").edns(1232);
        options.edns.as_mut().unwrap().options = &[0, 9, 0, 0];
        for question in [&big, &options, &big, &options] {
            assert!(ask(question, 0).len() > 12);
        }
        assert_eq!(hits(), 0);
    });
}

#[test]
fn limited_answers_are_counted_each_time() {
    let image = &images()[0];
    let zones = ZoneSet::from_bytes(image).unwrap();
    let limits = RateLimits {
        per_second: 3,
        slip: 0,
        ..RateLimits::default()
    };
    let mut table = std::vec![RateBucket::default(); 8];
    let limiter = RateLimiter::new(limits, [1; 16], &mut table, &[]);
    let server = Server::with_extensions(
        Limits::default(),
        Extensions::NONE.with_rate_limiter(&limiter),
    );
    let mut slots = std::vec![MemoSlot::EMPTY; 8];
    let mut memo = Memo::new(&mut slots);
    let request = Ask::new("www.example A").octets();
    let client = client(Transport::Udp);
    let answered = (0..9).filter(|_| {
        let mut out = [0; 512];
        memo.answer(&server, &zones, 0, &request, &client, &mut out)
            .is_some()
    });
    assert_eq!(answered.count(), 3);
}
