//! RFC 2136 §3.4.2 and §3.6.

use super::*;

/// Done, and nothing changed.
fn ignored(world: &mut World, update: Wire) {
    let before = world.text();
    assert_eq!(
        world.update(core::slice::from_ref(&update)),
        Ok(None),
        "{update:?}"
    );
    assert_eq!(world.text(), before, "{update:?}");
}

fn changed(world: &mut World, updates: &[Wire]) -> Difference {
    world.update(updates).unwrap().expect("something changed")
}

/// The records of a difference as text, those removed with a minus.
fn lines(difference: &Difference) -> Vec<String> {
    let line = |sign: &str, record: &crate::difference::RecordBuf| {
        alloc::format!(
            "{sign}{} {} {} {:?}",
            record.owner(),
            record.ttl(),
            record.record_type(),
            record.rdata()
        )
    };
    let removed = difference.removed.iter().map(|record| line("-", record));
    let added = difference.added.iter().map(|record| line("+", record));
    removed.chain(added).collect()
}

#[test]
fn record_is_added_removed_and_the_serial_raised() {
    let mut world = World::new(ZONE);
    let new = "a.new.example.org";
    let difference = changed(&mut world, &[add(new, A, 60, ADDRESS)]);
    assert_eq!((difference.old_serial(), difference.new_serial()), (10, 11));
    assert_eq!(
        lines(&difference),
        ["+a.new.example.org. 60 A [192, 0, 2, 99]"]
    );
    let difference = changed(&mut world, &[remove("A.NEW.example.org", A, ADDRESS)]);
    assert_eq!((difference.old_serial(), difference.new_serial()), (11, 12));
    assert_eq!(
        lines(&difference),
        ["-a.new.example.org. 60 A [192, 0, 2, 99]"]
    );
    assert!(!world.has("a.new.example.org", A));
    assert_eq!(world.pending.counters().changed, 2);
}

#[test]
fn what_changes_nothing_does_not_raise_the_serial() {
    let mut world = World::new(ZONE);
    let mail = "mail.example.org";
    ignored(&mut world, add(mail, A, 3600, &[192, 0, 2, 25]));
    ignored(&mut world, remove(mail, A, ADDRESS));
    ignored(&mut world, remove(mail, RecordType::AAAA, &[0; 16]));
    ignored(&mut world, bare(mail, RecordType::AAAA, ANY));
    ignored(
        &mut world,
        bare("nothing.example.org", RecordType::ANY, ANY),
    );
    ignored(&mut world, bare("empty.example.org", RecordType::ANY, ANY));
    // There and back.
    let result = world.update(&[
        bare(mail, A, ANY),
        add(mail, A, 3600, &[192, 0, 2, 26]),
        add(mail, A, 3600, &[192, 0, 2, 25]),
    ]);
    assert_eq!(result, Ok(None));
    assert_eq!(world.update(&[]), Ok(None));
    assert_eq!(world.pending.counters().unchanged, 8);
}

#[test]
fn rrset_and_name_are_removed() {
    let mut world = World::new(ZONE);
    let mail = "mail.example.org";
    let difference = changed(&mut world, &[bare(mail, A, ANY)]);
    assert_eq!(difference.removed.len(), 2);
    assert!(!world.has(mail, A));
    let difference = changed(
        &mut world,
        &[bare("DEEP.below.empty.example.org", RecordType::ANY, ANY)],
    );
    assert_eq!(
        lines(&difference),
        ["-deep.below.empty.example.org. 3600 A [192, 0, 2, 1]"]
    );
    let zones = OwnedZoneSet::new(world.builder.build().unwrap()).unwrap();
    let empty = name("empty.example.org");
    assert!(
        !zones.as_zone_set().contains(empty.as_name()),
        "names above go with it"
    );
}

#[test]
fn soa_and_ns_of_the_apex_stay() {
    let mut world = World::new(ZONE);
    let apex = "example.org";
    ignored(&mut world, bare(apex, RecordType::SOA, ANY));
    ignored(&mut world, bare(apex, RecordType::NS, ANY));
    ignored(
        &mut world,
        remove(apex, RecordType::NS, b"\x02ns\x07example\x03org\0"),
    );
    let mut numbers = soa(10);
    let length = numbers.len();
    numbers[length - 4..].copy_from_slice(&300u32.to_be_bytes());
    ignored(&mut world, remove(apex, RecordType::SOA, &numbers));
    let difference = changed(&mut world, &[bare(apex, RecordType::ANY, ANY)]);
    assert_eq!(difference.removed.len(), 1, "MX alone");
    assert!(world.has(apex, RecordType::NS) && !world.has(apex, RecordType::MX));
    // Of two NS one may go, then not the other.
    let other = b"\x03ns2\x07example\x03org\0";
    changed(&mut world, &[add(apex, RecordType::NS, 3600, other)]);
    let both = [
        remove(apex, RecordType::NS, b"\x02ns\x07example\x03org\0"),
        remove(apex, RecordType::NS, other),
    ];
    let difference = changed(&mut world, &both);
    assert_eq!(difference.removed.len(), 1);
    assert!(world.has(apex, RecordType::NS));
}

#[test]
fn the_last_ns_below_the_apex_may_go() {
    let mut world = World::new(ZONE);
    let server = b"\x02ns\x03cut\x07example\x03org\0";
    changed(
        &mut world,
        &[remove("cut.example.org", RecordType::NS, server)],
    );
    assert!(!world.has("cut.example.org", RecordType::NS));
    // Glue is data of the zone.
    changed(&mut world, &[add("ns.cut.example.org", A, 60, ADDRESS)]);
}

#[test]
fn alias_stands_alone() {
    let mut world = World::new(ZONE);
    let target = b"\x03new\x07example\x03org\0";
    ignored(
        &mut world,
        add("mail.example.org", RecordType::CNAME, 60, target),
    );
    ignored(
        &mut world,
        add("example.org", RecordType::CNAME, 60, target),
    );
    ignored(&mut world, add("alias.example.org", A, 60, ADDRESS));
    ignored(
        &mut world,
        add("alias.example.org", RecordType::DNAME, 60, target),
    );
    ignored(
        &mut world,
        add("moved.example.org", RecordType::CNAME, 60, target),
    );
    // Another target takes the place of the first.
    let difference = changed(
        &mut world,
        &[add("alias.example.org", RecordType::CNAME, 60, target)],
    );
    assert_eq!((difference.removed.len(), difference.added.len()), (1, 1));
    // What DNSSEC has beside it may stand there.
    let key = add("alias.example.org", RecordType::KEY, 60, &[0, 0, 3, 8, 1]);
    changed(&mut world, &[key]);
    changed(
        &mut world,
        &[
            bare("alias.example.org", RecordType::CNAME, ANY),
            add("alias.example.org", A, 60, ADDRESS),
        ],
    );
    // And a CNAME beside a KEY.
    changed(
        &mut world,
        &[
            bare("alias.example.org", A, ANY),
            add("alias.example.org", RecordType::CNAME, 60, target),
        ],
    );
}

#[test]
fn redirection_is_replaced() {
    let mut world = World::new(ZONE);
    let target = b"\x07example\x03com\0";
    let difference = changed(
        &mut world,
        &[add("moved.example.org", RecordType::DNAME, 60, target)],
    );
    assert_eq!((difference.removed.len(), difference.added.len()), (1, 1));
}

#[test]
fn soa_is_replaced_by_a_newer_one_alone() {
    let mut world = World::new(ZONE);
    let apex = "example.org";
    for old in [10, 9, 0, 10 + (1 << 31)] {
        ignored(&mut world, add(apex, RecordType::SOA, 60, &soa(old)));
    }
    ignored(
        &mut world,
        add("www.example.org", RecordType::SOA, 60, &soa(99)),
    );
    let difference = changed(&mut world, &[add(apex, RecordType::SOA, 60, &soa(99))]);
    assert_eq!((difference.old_serial(), difference.new_serial()), (10, 99));
    assert!(difference.is_empty(), "the SOA stands apart");
    assert_eq!(difference.new_soa.ttl(), 60);
    // With another change its serial is the one that was given.
    let both = [
        add("new.example.org", A, 60, ADDRESS),
        add(apex, RecordType::SOA, 60, &soa(200)),
        add(apex, RecordType::SOA, 60, &soa(150)),
    ];
    let difference = changed(&mut world, &both);
    assert_eq!(
        (difference.old_serial(), difference.new_serial()),
        (99, 200)
    );
    // Serials wrap.
    let far = 200 + ((1 << 31) - 1);
    changed(&mut world, &[add(apex, RecordType::SOA, 60, &soa(far))]);
    changed(
        &mut world,
        &[add(apex, RecordType::SOA, 60, &soa(u32::MAX))],
    );
    let difference = changed(&mut world, &[remove("new.example.org", A, ADDRESS)]);
    assert_eq!(difference.new_serial(), 1, "0 is left out");
}

#[test]
fn ttl_of_an_added_record_is_that_of_all() {
    let mut world = World::new(ZONE);
    let mail = "mail.example.org";
    let difference = changed(&mut world, &[add(mail, A, 60, ADDRESS)]);
    assert_eq!((difference.removed.len(), difference.added.len()), (2, 3));
    assert!(difference.added.iter().all(|record| record.ttl() == 60));
    // One that is there, with another TTL; above what a TTL may be it is 0 (RFC 2181 §8).
    let difference = changed(&mut world, &[add(mail, A, 0x8000_0000, ADDRESS)]);
    assert!(difference.added.iter().all(|record| record.ttl() == 0));
    assert_eq!(difference.added.len(), 3);
    world.build();
    changed(&mut world, &[add(mail, A, 0x7fff_ffff, ADDRESS)]);
}

#[test]
fn case_of_names_in_data_changes_and_that_of_owners_stays() {
    let mut world = World::new(ZONE);
    let mx = b"\0\x0a\x04MAIL\x07example\x03org\0";
    let difference = changed(&mut world, &[add("EXAMPLE.org", RecordType::MX, 3600, mx)]);
    assert_eq!((difference.removed.len(), difference.added.len()), (1, 1));
    assert_eq!(difference.added[0].rdata(), mx);
    assert_eq!(difference.added[0].owner().to_string(), "example.org.");
    let difference = changed(&mut world, &[add("WWW.example.org", A, 60, ADDRESS)]);
    assert_eq!(difference.added[0].owner().to_string(), "Www.example.org.");
}

#[test]
fn well_known_services_are_one_for_each_address_and_protocol() {
    let mut world = World::new(ZONE);
    let services = |protocol, map: &[u8]| {
        let rdata = [&[192, 0, 2, 1, protocol], map].concat();
        add("www.example.org", RecordType::WKS, 60, &rdata)
    };
    changed(&mut world, &[services(6, &[1]), services(17, &[1])]);
    let difference = changed(&mut world, &[services(6, &[1, 2])]);
    assert_eq!((difference.removed.len(), difference.added.len()), (1, 1));
}

#[test]
fn unknown_types_are_octets() {
    let mut world = World::new(ZONE);
    let odd = RecordType(731);
    changed(
        &mut world,
        &[add("odd.example.org", odd, 60, b"\xc0\x0cAny")],
    );
    ignored(&mut world, remove("odd.example.org", odd, b"\xc0\x0cany"));
    changed(
        &mut world,
        &[remove("odd.example.org", odd, b"\xc0\x0cAny")],
    );
}

#[test]
fn names_in_data_may_be_compressed() {
    let mut world = World::new(ZONE);
    let mut octets = message(
        &[],
        &[add("example.org", RecordType::NS, 3600, b"\x03ns2\xc0\x0c")],
    );
    let difference = world.send(&octets).unwrap().unwrap();
    assert_eq!(difference.added[0].rdata(), b"\x03ns2\x07example\x03org\0");
    // A pointer that leads nowhere.
    let last = octets.len() - 1;
    octets[last] = 0xff;
    assert_eq!(world.send(&octets), Err(UpdateError::Malformed));
}

#[test]
fn updates_wait_until_they_are_built() {
    let mut world = World::new(ZONE);
    changed(&mut world, &[add("one.example.org", A, 60, ADDRESS)]);
    let built = world.pending.version();
    let image = world.builder.build().unwrap();
    // While the image was built another one came.
    changed(&mut world, &[add("two.example.org", A, 60, ADDRESS)]);
    world.zones = OwnedZoneSet::new(image).unwrap();
    world.pending.forget(built);
    assert!(!world.pending.is_empty());
    for owner in ["one.example.org", "two.example.org"] {
        ignored(&mut world, add(owner, A, 60, ADDRESS));
    }
    let difference = changed(&mut world, &[add("three.example.org", A, 60, ADDRESS)]);
    assert_eq!(difference.old_serial(), 12);
    world.pending.clear();
    assert_eq!(
        (world.pending.is_empty(), world.pending.octets()),
        (true, 0)
    );
}

/// Of this serial, scheme SIMPLE, SHA-384.
fn digest(serial: u32, octet: u8) -> Vec<u8> {
    let mut rdata = serial.to_be_bytes().to_vec();
    rdata.extend([1, 1]);
    rdata.extend([octet; 48]);
    rdata
}

#[test]
fn digest_of_the_zone_as_it_was_goes_with_the_first_update() {
    let zonemd = RecordType::ZONEMD;
    let hex = "aa".repeat(48);
    let mut world = World::new(&alloc::format!("{ZONE}@ ZONEMD 10 1 1 {hex}\n"));
    assert!(world.has("example.org", zonemd));
    // What changes nothing leaves it.
    ignored(
        &mut world,
        add("mail.example.org", A, 3600, &[192, 0, 2, 25]),
    );
    assert!(world.has("example.org", zonemd));
    let difference = changed(&mut world, &[add("new.example.org", A, 60, ADDRESS)]);
    assert!(!world.has("example.org", zonemd));
    let removed: Vec<_> = difference.removed.iter().map(|r| r.record_type()).collect();
    assert_eq!(removed, [zonemd]);
    // One for another version does not come in, one for the version that the update makes does, and goes with the next.
    let apex = "example.org";
    let old = add(apex, zonemd, 60, &digest(11, 1));
    changed(&mut world, &[old, add("a.example.org", A, 60, ADDRESS)]);
    assert!(!world.has(apex, zonemd));
    let right = add(apex, zonemd, 60, &digest(20, 2));
    let to_20 = add(apex, RecordType::SOA, 60, &soa(20));
    changed(&mut world, &[to_20, right]);
    assert!(world.has(apex, zonemd));
    changed(&mut world, &[add("b.example.org", A, 60, ADDRESS)]);
    assert!(!world.has(apex, zonemd));
}

#[test]
fn digest_for_another_version_alone_changes_the_serial_and_nothing_else() {
    let mut world = World::new(ZONE);
    let digest = add("example.org", RecordType::ZONEMD, 60, &digest(10, 1));
    let difference = changed(&mut world, &[digest]);
    assert_eq!((difference.old_serial(), difference.new_serial()), (10, 11));
    assert!(difference.removed.is_empty() && difference.added.is_empty());
}
