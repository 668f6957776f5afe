//! What is malformed, and what is not done.

use super::*;

fn refused(world: &mut World, updates: &[Wire], refusal: Refusal) {
    let before = world.text();
    let result = world.update(updates);
    assert_eq!(result, Err(UpdateError::Refused(refusal)), "{updates:?}");
    assert_eq!(world.text(), before);
}

#[test]
fn zone_section_is_one_soa_of_a_zone_of_ours() {
    let mut world = World::new(ZONE);
    let good = message(&[], &[]);
    assert_eq!(world.send(&good), Ok(None));
    let at = good.len() - 4;
    for (index, octet, error) in [
        // No zone, two zones.
        (5, 0, UpdateError::Malformed),
        (5, 2, UpdateError::Malformed),
        // NS.
        (at + 1, 2, UpdateError::Malformed),
        // CHAOS.
        (at + 3, 3, UpdateError::NotAuthoritative),
        // fxample.org.
        (13, b'f', UpdateError::NotAuthoritative),
    ] {
        let mut octets = good.clone();
        octets[index] = octet;
        assert_eq!(world.send(&octets), Err(error), "{index}");
    }
    // A name of the zone is no zone.
    let mut octets = good[..12].to_vec();
    octets.extend_from_slice(name("www.example.org").as_name().as_wire());
    octets.extend([0, 6, 0, 1]);
    assert_eq!(world.send(&octets), Err(UpdateError::NotAuthoritative));
    for length in 12..good.len() {
        assert_eq!(world.send(&good[..length]), Err(UpdateError::Malformed));
    }
}

#[test]
fn message_that_ends_early_is_malformed() {
    let mut world = World::new(ZONE);
    let octets = message(
        &[bare("mail.example.org", A, ANY)],
        &[add("new.example.org", A, 60, ADDRESS)],
    );
    for length in 12..octets.len() {
        assert_eq!(world.send(&octets[..length]), Err(UpdateError::Malformed));
    }
    assert!(world.send(&octets).unwrap().is_some());
}

#[test]
fn zone_that_is_not_there() {
    let apex = name("example.org");
    let mut builder = ZoneSetBuilder::new();
    builder.add_absent_zone(apex.as_name()).unwrap();
    let zones = OwnedZoneSet::new(builder.build().unwrap()).unwrap();
    let octets = message(&[], &[]);
    let request = UpdateRequest::parse(&MessageReader::new(&octets).unwrap()).unwrap();
    let result = request.zone(&zones.as_zone_set());
    assert_eq!(result.unwrap_err(), UpdateError::NoData);
}

#[test]
fn zone_that_is_not_the_requests_is_not_changed() {
    let other = compile(
        "$ORIGIN example.net.\n@ 60 SOA ns root 1 2 3 4 5\n@ 60 NS ns\nns 60 A 192.0.2.1\n",
    );
    let octets = message(&[], &[add("new.example.org", A, 60, ADDRESS)]);
    let request = UpdateRequest::parse(&MessageReader::new(&octets).unwrap()).unwrap();
    let zone = other.as_zone_set().zones().next().unwrap();
    let mut pending = PendingUpdates::new(UpdateLimits::default());
    let result = pending.apply(zone, &request);
    assert_eq!(result, Err(UpdateError::NotAuthoritative));
    assert_eq!(pending.counters().no_zone, 1);
}

#[test]
fn malformed_updates_and_names_outside() {
    let mut world = World::new(ZONE);
    let mail = "mail.example.org";
    let opt = RecordType::OPT;
    for bad in [
        wire(mail, RecordType::ANY, RecordClass::IN, 60, &[]),
        wire(mail, RecordType::AXFR, RecordClass::IN, 60, &[]),
        wire(mail, RecordType::MAILB, RecordClass::IN, 60, &[]),
        wire(mail, opt, RecordClass::IN, 60, &[]),
        wire(mail, RecordType::TSIG, RecordClass::IN, 60, &[]),
        wire(mail, A, RecordClass::IN, 60, &[]),
        wire(mail, A, RecordClass::IN, 60, &[1, 2, 3, 4, 5]),
        wire(mail, A, ANY, 1, &[]),
        wire(mail, A, ANY, 0, ADDRESS),
        wire(mail, RecordType::AXFR, ANY, 0, &[]),
        wire(mail, opt, ANY, 0, &[]),
        wire(mail, RecordType::ANY, NONE, 0, &[]),
        wire(mail, A, NONE, 1, ADDRESS),
        wire(mail, A, NONE, 0, &[]),
        wire(mail, RecordType::AXFR, NONE, 0, &[]),
        wire(mail, A, RecordClass::CH, 0, ADDRESS),
        wire(mail, A, RecordClass(0), 0, ADDRESS),
    ] {
        let good = add("new.example.org", A, 60, ADDRESS);
        let before = world.text();
        let result = world.update(&[good, bad.clone()]);
        assert_eq!(result, Err(UpdateError::Malformed), "{bad:?}");
        assert_eq!(world.text(), before, "not even the first");
    }
    for outside in ["example.net", "org", "notexample.org", "."] {
        let good = add("new.example.org", A, 60, ADDRESS);
        let result = world.update(&[good, add(outside, A, 60, ADDRESS)]);
        assert_eq!(result, Err(UpdateError::NotInZone), "{outside}");
    }
    // The zone comes before the rest of a record, and the first record before the second (§3.4.1.3).
    let outside = wire("example.net", A, RecordClass::CH, 0, ADDRESS);
    let malformed = wire(mail, A, RecordClass::CH, 0, ADDRESS);
    let result = world.update(&[outside.clone(), malformed.clone()]);
    assert_eq!(result, Err(UpdateError::NotInZone));
    let result = world.update(&[malformed, outside]);
    assert_eq!(result, Err(UpdateError::Malformed));
}

#[test]
fn zone_is_not_made_a_signed_one() {
    let mut world = World::new(ZONE);
    let key = [1, 1, 3, 13, 1, 2, 3, 4];
    let at_apex = add("example.org", RecordType::DNSKEY, 60, &key);
    refused(&mut world, core::slice::from_ref(&at_apex), Refusal::Signed);
    // Put in and taken out again it was never there; elsewhere it means nothing.
    let away = bare("example.org", RecordType::DNSKEY, ANY);
    assert_eq!(world.update(&[at_apex, away]), Ok(None));
    let elsewhere = add("www.example.org", RecordType::DNSKEY, 60, &key);
    assert!(world.update(&[elsewhere]).unwrap().is_some());
}

#[test]
fn nothing_lies_below_a_redirection() {
    let mut world = World::new(ZONE);
    let target = b"\x07example\x03com\0";
    let dname = |owner: &str| add(owner, RecordType::DNAME, 60, target);
    let below = Refusal::BelowRedirection;
    for owner in ["a.moved.example.org", "b.a.moved.example.org"] {
        refused(&mut world, &[add(owner, A, 60, ADDRESS)], below);
    }
    for owner in [
        "empty.example.org",
        "below.empty.example.org",
        "example.org",
    ] {
        refused(&mut world, &[dname(owner)], below);
    }
    refused(
        &mut world,
        &[
            dname("x.example.org"),
            add("a.x.example.org", A, 60, ADDRESS),
        ],
        below,
    );
    refused(
        &mut world,
        &[dname("x.example.org"), dname("a.x.example.org")],
        below,
    );
    // With what is below it gone it may stand there, in one update or in two.
    let gone = bare("deep.below.empty.example.org", RecordType::ANY, ANY);
    let both = [dname("empty.example.org"), gone];
    assert!(world.update(&both).unwrap().is_some());
    refused(
        &mut world,
        &[add("deep.below.empty.example.org", A, 60, ADDRESS)],
        below,
    );
    let away = bare("empty.example.org", RecordType::ANY, ANY);
    let again = add("deep.below.empty.example.org", A, 60, ADDRESS);
    assert!(world.update(&[away, again]).unwrap().is_some());
    refused(&mut world, &[dname("empty.example.org")], below);
    let gone = bare("deep.below.empty.example.org", RecordType::ANY, ANY);
    assert!(world.update(&[gone]).unwrap().is_some());
    assert!(
        world
            .update(&[dname("empty.example.org")])
            .unwrap()
            .is_some()
    );
}

#[test]
fn no_redirection_at_a_cut() {
    let mut world = World::new(ZONE);
    let target = b"\x07example\x03com\0";
    let server = b"\x02ns\x07example\x03com\0";
    let at_cut = Refusal::RedirectionAtCut;
    let moved = "moved.example.org";
    refused(
        &mut world,
        &[add(moved, RecordType::NS, 60, server)],
        at_cut,
    );
    let both = [
        add("new.example.org", RecordType::NS, 60, server),
        add("new.example.org", RecordType::DNAME, 60, target),
    ];
    refused(&mut world, &both, at_cut);
}

#[test]
fn bounds_of_records_and_octets() {
    let limits = UpdateLimits {
        records: 3,
        octets: 2_000,
    };
    let mut world = World::with_limits(ZONE, limits);
    let number = |number: u8| add("new.example.org", A, 60, &[192, 0, 2, number]);
    let four: Vec<Wire> = (0..4).map(number).collect();
    refused(&mut world, &four, Refusal::TooManyRecords);
    let mixed = message(&[bare("mail.example.org", A, ANY)], &four[..3]);
    let result = world.send(&mixed);
    assert_eq!(result, Err(UpdateError::Refused(Refusal::TooManyRecords)));
    assert!(world.update(&four[..3]).unwrap().is_some());
    assert!(world.pending.octets() > 300);
    // Text of 1,000 octets counts twice.
    let text = [&[250][..], &[b'x'; 250]].concat().repeat(4);
    let long = |owner: &str| add(owner, RecordType::TXT, 60, &text);
    refused(&mut world, &[long("a.example.org")], Refusal::TooManyOctets);
    let mut rest = long("a.example.org");
    rest.rdata.truncate(251 * 2);
    assert!(
        world
            .update(core::slice::from_ref(&rest))
            .unwrap()
            .is_some()
    );
    // What waits has its bound, which what is built leaves.
    rest.owner = name("b.example.org");
    refused(
        &mut world,
        core::slice::from_ref(&rest),
        Refusal::TooManyOctets,
    );
    let prerequisite = message(
        &[add("www.example.org", RecordType::TXT, 0, &text.repeat(2))],
        &[],
    );
    let result = world.send(&prerequisite);
    assert_eq!(result, Err(UpdateError::Refused(Refusal::TooManyOctets)));
    world.build();
    assert!(world.update(&[rest]).unwrap().is_some());
    assert_eq!(world.pending.counters().refused, 5);
}

#[test]
fn rrset_has_65535_records_at_most() {
    let apex = name("example.org");
    let (owner, record_type) = (name("many.example.org"), RecordType(731));
    let mut builder = ZoneSetBuilder::new();
    let zone = builder.add_zone(apex.as_name()).unwrap();
    builder
        .add_record(zone, apex.as_name(), RecordType::SOA, 60, &soa(1))
        .unwrap();
    for number in 0..65_535u32 {
        builder
            .add_record(
                zone,
                owner.as_name(),
                record_type,
                60,
                &number.to_be_bytes(),
            )
            .unwrap();
    }
    let zones = OwnedZoneSet::new(builder.build().unwrap()).unwrap();
    let mut world = World {
        zones,
        builder,
        pending: PendingUpdates::new(UpdateLimits::default()),
    };
    let one_more = add("many.example.org", record_type, 60, b"x");
    let result = world.update(core::slice::from_ref(&one_more));
    assert_eq!(result, Err(UpdateError::Refused(Refusal::RrsetTooLarge)));
    let one_less = remove("many.example.org", record_type, &[0; 4]);
    assert!(world.update(&[one_less, one_more]).unwrap().is_some());
}

#[test]
fn errors_have_the_codes_of_rfc_2136() {
    use crate::record::Rcode;
    for (error, rcode) in [
        (UpdateError::Malformed, Rcode::FORMERR),
        (UpdateError::NotInZone, Rcode::NOTZONE),
        (UpdateError::NotAuthoritative, Rcode::NOTAUTH),
        (UpdateError::NoData, Rcode::SERVFAIL),
        (UpdateError::NameNotInUse, Rcode::NXDOMAIN),
        (UpdateError::NameInUse, Rcode::YXDOMAIN),
        (UpdateError::NoRrset, Rcode::NXRRSET),
        (UpdateError::Rrset, Rcode::YXRRSET),
        (UpdateError::Refused(Refusal::Signed), Rcode::REFUSED),
    ] {
        assert_eq!(error.rcode(), rcode, "{error}");
    }
}

#[test]
fn each_outcome_has_a_counter() {
    let mut world = World::new(ZONE);
    let mail = "mail.example.org";
    let _ = world.update(&[add("a.example.org", A, 60, ADDRESS)]);
    let _ = world.update(&[]);
    let _ = world.update(&[add(mail, RecordType::ANY, 60, &[])]);
    let _ = world.update(&[add("example.net", A, 60, ADDRESS)]);
    for (test, class) in [(RecordType::ANY, NONE), (A, NONE), (RecordType::AAAA, ANY)] {
        let _ = world.require(&[bare(mail, test, class)]);
    }
    let _ = world.require(&[bare("nothing.example.org", RecordType::ANY, ANY)]);
    let _ = world.update(&[add("a.moved.example.org", A, 60, ADDRESS)]);
    let wanted = Counters {
        changed: 1,
        unchanged: 1,
        malformed: 1,
        not_in_zone: 1,
        no_zone: 0,
        prerequisite: 4,
        refused: 1,
    };
    assert_eq!(world.pending.counters(), wanted);
}
