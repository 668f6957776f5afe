//! RFC 2136 §3.2.

use super::*;

#[test]
fn name_that_is_in_use_or_not() {
    let mut world = World::new(ZONE);
    for (owner, is_in_use) in [
        ("mail.example.org", true),
        ("MAIL.Example.org", true),
        ("example.org", true),
        ("nothing.example.org", false),
        // Empty non-terminals own nothing (§2.4.4, §2.4.5).
        ("empty.example.org", false),
        ("below.empty.example.org", false),
    ] {
        let in_use = world.require(&[bare(owner, RecordType::ANY, ANY)]);
        let not_in_use = world.require(&[bare(owner, RecordType::ANY, NONE)]);
        let wanted = match is_in_use {
            true => (Ok(None), Err(UpdateError::NameInUse)),
            false => (Err(UpdateError::NameNotInUse), Ok(None)),
        };
        assert_eq!((in_use, not_in_use), wanted, "{owner}");
    }
}

#[test]
fn rrset_that_is_there_or_not() {
    let mut world = World::new(ZONE);
    for (owner, record_type, is_there) in [
        ("mail.example.org", A, true),
        ("mail.example.org", RecordType::AAAA, false),
        ("nothing.example.org", A, false),
        ("example.org", RecordType::SOA, true),
        // A wildcard or an alias makes no RRset.
        ("alias.example.org", A, false),
    ] {
        let there = world.require(&[bare(owner, record_type, ANY)]);
        let not_there = world.require(&[bare(owner, record_type, NONE)]);
        let wanted = match is_there {
            true => (Ok(None), Err(UpdateError::Rrset)),
            false => (Err(UpdateError::NoRrset), Ok(None)),
        };
        assert_eq!((there, not_there), wanted, "{owner} {record_type}");
    }
}

#[test]
fn rrset_of_these_records_and_no_others() {
    let mut world = World::new(ZONE);
    let record = |last: u8| add("mail.example.org", A, 0, &[192, 0, 2, last]);
    // In any order, one of them twice, names without case.
    for good in [
        &[record(25), record(26)][..],
        &[record(26), record(25)],
        &[record(26), record(25), record(26)],
        &[add(
            "example.org",
            RecordType::MX,
            0,
            b"\0\x0a\x04MAIL\x07example\x03ORG\0",
        )],
        &[add("WWW.example.org", RecordType::TXT, 0, b"\x03web")],
    ] {
        assert_eq!(world.require(good), Ok(None), "{good:?}");
    }
    for bad in [
        &[record(25)][..],
        &[record(25), record(26), record(27)],
        &[record(25), record(27)],
        // Character strings have a case.
        &[add("www.example.org", RecordType::TXT, 0, b"\x03Web")],
        &[add("nothing.example.org", A, 0, ADDRESS)],
        &[add("mail.example.org", RecordType::AAAA, 0, &[0; 16])],
    ] {
        assert_eq!(world.require(bad), Err(UpdateError::NoRrset), "{bad:?}");
    }
}

#[test]
fn prerequisites_see_the_updates_before_them() {
    let mut world = World::new(ZONE);
    let new = "new.example.org";
    assert!(world.update(&[add(new, A, 60, ADDRESS)]).unwrap().is_some());
    let mail = bare("mail.example.org", RecordType::ANY, ANY);
    assert!(world.update(&[mail]).unwrap().is_some());
    for _ in 0..2 {
        let there = [
            bare(new, RecordType::ANY, ANY),
            add(new, A, 0, ADDRESS),
            bare("mail.example.org", RecordType::ANY, NONE),
            add("example.org", RecordType::SOA, 0, &{
                let mut soa = soa(12);
                let length = soa.len();
                soa[length - 4..].copy_from_slice(&300u32.to_be_bytes());
                soa
            }),
        ];
        assert_eq!(world.require(&there), Ok(None));
        world.build();
    }
}

#[test]
fn malformed_prerequisites() {
    let mut world = World::new(ZONE);
    let mail = "mail.example.org";
    for bad in [
        // A TTL.
        wire(mail, A, ANY, 1, &[]),
        wire(mail, A, NONE, 1, &[]),
        wire(mail, A, RecordClass::IN, 1, ADDRESS),
        // Data.
        wire(mail, A, ANY, 0, ADDRESS),
        wire(mail, A, NONE, 0, ADDRESS),
        // Data that is none.
        wire(mail, A, RecordClass::IN, 0, &[1, 2, 3]),
        // Another class.
        wire(mail, A, RecordClass::CH, 0, &[]),
        wire(mail, A, RecordClass(0), 0, ADDRESS),
    ] {
        let result = world.require(core::slice::from_ref(&bad));
        assert_eq!(result, Err(UpdateError::Malformed), "{bad:?}");
    }
    let outside = bare("mail.example.net", A, ANY);
    assert_eq!(world.require(&[outside]), Err(UpdateError::NotInZone));
    // The TTL comes first, then the zone, then the rest (§3.2.5).
    let both = wire("mail.example.net", A, ANY, 1, &[]);
    assert_eq!(world.require(&[both]), Err(UpdateError::Malformed));
    let both = wire("mail.example.net", A, ANY, 0, ADDRESS);
    assert_eq!(world.require(&[both]), Err(UpdateError::NotInZone));
}

#[test]
fn the_first_that_is_not_met_is_told_and_whole_rrsets_are_last() {
    let mut world = World::new(ZONE);
    let fails = [
        add("mail.example.org", A, 0, ADDRESS),
        bare("nothing.example.org", RecordType::ANY, ANY),
        bare("mail.example.org", RecordType::ANY, NONE),
    ];
    assert_eq!(world.require(&fails), Err(UpdateError::NameNotInUse));
    assert_eq!(world.require(&fails[..1]), Err(UpdateError::NoRrset));
    assert_eq!(world.require(&fails[2..]), Err(UpdateError::NameInUse));
    // Before the updates are looked at (§3.2 comes before §3.4).
    let update = wire("mail.example.org", A, RecordClass::CH, 0, &[]);
    let octets = message(&fails[2..], core::slice::from_ref(&update));
    assert_eq!(world.send(&octets), Err(UpdateError::NameInUse));
    assert_eq!(world.update(&[update]), Err(UpdateError::Malformed));
}

#[test]
fn nothing_is_done_when_a_prerequisite_is_not_met() {
    let mut world = World::new(ZONE);
    let before = world.text();
    let octets = message(
        &[bare("mail.example.org", RecordType::ANY, NONE)],
        &[add("new.example.org", A, 60, ADDRESS)],
    );
    assert_eq!(world.send(&octets), Err(UpdateError::NameInUse));
    assert_eq!(world.text(), before);
    let octets = message(
        &[bare("mail.example.org", RecordType::ANY, ANY)],
        &[add("new.example.org", A, 60, ADDRESS)],
    );
    assert!(world.send(&octets).unwrap().is_some());
    assert!(world.has("new.example.org", A));
}
