//! Zones that are changed are the zones that one would have built from the outcome.

use proptest::prelude::*;
use std::vec::Vec;

use super::*;
use crate::difference::RecordBuf;
use crate::name::NameBuf;
use crate::zone_set::OwnedZoneSet;

fn name(text: &str) -> NameBuf {
    NameBuf::from_text(text).unwrap()
}

fn soa(serial: u32) -> Vec<u8> {
    let mut rdata = name("ns.o").as_name().as_wire().to_vec();
    rdata.extend_from_slice(name("root.o").as_name().as_wire());
    for number in [serial, 2, 3, 4, 5] {
        rdata.extend(number.to_be_bytes());
    }
    rdata
}

/// A zone `o.` of this serial with addresses: owner, last octet, TTL.
fn zone(serial: u32, addresses: &[(&str, u8, u32)]) -> OwnedZoneSet {
    let mut builder = ZoneSetBuilder::new();
    let apex = name("o");
    let zone = builder.add_zone(apex.as_name()).unwrap();
    builder
        .add_record(zone, apex.as_name(), RecordType::SOA, 60, &soa(serial))
        .unwrap();
    for (owner, octet, ttl) in addresses {
        builder
            .add_record(
                zone,
                name(owner).as_name(),
                RecordType::A,
                *ttl,
                &[192, 0, 2, *octet],
            )
            .unwrap();
    }
    OwnedZoneSet::new(builder.build().unwrap()).unwrap()
}

fn records(set: &OwnedZoneSet) -> Vec<RecordBuf> {
    let zone = set.as_zone_set().zones().next().unwrap();
    let mut records: Vec<_> = zone.records().map(RecordBuf::from).collect();
    // The order inside an RRset is that of coming, which a difference does not keep.
    records.sort_by_key(|record| {
        let owner = sort_key(record.owner());
        (owner, record.record_type(), record.rdata().to_vec())
    });
    records
}

fn apply(set: &OwnedZoneSet, difference: &Difference) -> Result<OwnedZoneSet, BuildError> {
    let mut builder = ZoneSetBuilder::from_zone_set(&set.as_zone_set())?;
    let zone = builder.zone(difference.old_soa.owner()).unwrap();
    builder.apply(zone, difference)?;
    Ok(OwnedZoneSet::new(builder.build()?).unwrap())
}

fn between(old: &OwnedZoneSet, new: &OwnedZoneSet) -> Difference {
    let first = |set: &OwnedZoneSet| set.octets().to_vec();
    let (old, new) = (first(old), first(new));
    let old = ZoneSet::from_bytes(&old).unwrap();
    let new = ZoneSet::from_bytes(&new).unwrap();
    Difference::between(old.zones().next().unwrap(), new.zones().next().unwrap()).unwrap()
}

#[test]
fn set_that_is_taken_apart_and_built_again_is_the_same() {
    let set = zone(7, &[("a.o", 1, 60), ("B.c.o", 2, 61), ("b.c.o", 3, 61)]);
    let builder = ZoneSetBuilder::from_zone_set(&set.as_zone_set()).unwrap();
    assert_eq!(builder.build().unwrap(), set.octets());
}

#[test]
fn names_that_only_stood_above_others_go_with_the_last_of_them() {
    let old = zone(1, &[("a.b.c.o", 1, 60), ("d.c.o", 1, 60)]);
    let new = zone(2, &[("d.c.o", 1, 60)]);
    let after = apply(&old, &between(&old, &new)).unwrap();
    let has = |text: &str| after.as_zone_set().contains(name(text).as_name());
    assert!(has("c.o") && has("d.c.o"));
    assert!(!has("b.c.o") && !has("a.b.c.o"));
    assert_eq!(after.octets(), new.octets());
}

#[test]
fn difference_from_another_version_is_refused() {
    let (first, second, third) = (zone(1, &[]), zone(2, &[("a.o", 1, 60)]), zone(3, &[]));
    let error = apply(&first, &between(&second, &third)).unwrap_err();
    assert_eq!(error.kind(), BuildErrorKind::OtherVersion);
}

#[test]
fn removal_of_what_is_not_there_is_refused() {
    let (first, second) = (zone(1, &[("a.o", 1, 60)]), zone(2, &[]));
    let difference = between(&first, &second);
    let error = apply(&zone(1, &[("a.o", 2, 60)]), &difference).unwrap_err();
    assert_eq!(error.kind(), BuildErrorKind::NoSuchRecord);
}

#[test]
fn ttl_that_changes_is_a_removal_and_an_addition() {
    let (first, second) = (zone(1, &[("a.o", 1, 60)]), zone(2, &[("a.o", 1, 61)]));
    let difference = between(&first, &second);
    assert_eq!((difference.removed.len(), difference.added.len()), (1, 1));
    assert_eq!(
        apply(&first, &difference).unwrap().octets(),
        second.octets()
    );
}

#[test]
fn zone_without_records_is_not_there_and_keeps_its_place() {
    let set = zone(1, &[("a.o", 1, 60)]);
    let mut builder = ZoneSetBuilder::from_zone_set(&set.as_zone_set()).unwrap();
    let handle = builder.zone(name("o").as_name()).unwrap();
    builder.clear_zone(handle);
    let set = OwnedZoneSet::new(builder.build().unwrap()).unwrap();
    let zone = set.as_zone_set().zone_of(name("x.o").as_name()).unwrap();
    assert!(!zone.is_present());
    assert_eq!(
        (zone.soa(), zone.serial(), zone.record_count()),
        (None, 0, 0)
    );
}

#[test]
fn records_of_a_name_are_found_in_its_own_zone_whatever_its_case() {
    let set = zone(1, &[("a.o", 1, 60), ("a.b.o", 2, 60), ("z.o", 3, 60)]);
    let zone = set.as_zone_set().zones().next().unwrap();
    for record in zone.records() {
        let found = zone.rrset(record.owner, record.record_type);
        assert_eq!(found.collect::<Vec<_>>(), [record]);
    }
    assert_eq!(
        zone.rrset(name("A.B.O").as_name(), RecordType::A).count(),
        1
    );
    assert_eq!(zone.records_of(name("b.o").as_name()).unwrap().count(), 0);
    assert!(zone.records_of(name("c.o").as_name()).is_none());
    assert!(zone.records_of(name("p").as_name()).is_none());
}

proptest! {
    #[test]
    fn what_leads_from_one_version_to_another_makes_the_other(
        old in prop::collection::vec((0usize..6, 0u8..3, 60u32..62), 0..12),
        new in prop::collection::vec((0usize..6, 0u8..3, 60u32..62), 0..12),
    ) {
        const OWNERS: [&str; 6] = ["o", "a.o", "A.o", "a.b.o", "*.b.o", "x.a.b.o"];
        let addresses = |from: &[(usize, u8, u32)]| -> Vec<_> {
            from.iter().map(|&(owner, octet, ttl)| (OWNERS[owner], octet, ttl)).collect()
        };
        let (old, new) = (zone(1, &addresses(&old)), zone(2, &addresses(&new)));
        let difference = between(&old, &new);
        let after = apply(&old, &difference).unwrap();
        // The case of an owner is that of who came first: it is no part of a record.
        let folded = |set: &OwnedZoneSet| -> Vec<_> {
            records(set)
                .iter()
                .map(|r| (sort_key(r.owner()), r.record_type(), r.ttl(), r.rdata().to_vec()))
                .collect()
        };
        prop_assert_eq!(folded(&after), folded(&new));
        prop_assert_eq!((difference.old_serial(), difference.new_serial()), (1, 2));
    }
}
