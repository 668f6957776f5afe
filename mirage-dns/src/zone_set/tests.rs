use std::format;
use std::string::ToString;
use std::vec::Vec;

use super::*;
use crate::name::NameBuf;
use crate::record::RecordType;

fn name(text: &str) -> NameBuf {
    NameBuf::from_text(text).unwrap()
}

fn soa() -> Vec<u8> {
    let mut rdata = name("ns.example").as_name().as_wire().to_vec();
    rdata.extend_from_slice(name("root.example").as_name().as_wire());
    for number in [7u32, 3600, 600, 86400, 300] {
        rdata.extend(number.to_be_bytes());
    }
    rdata
}

/// A builder with one zone `apex` that has a SOA, and a way to add to it.
struct Draft {
    builder: ZoneSetBuilder,
    zones: Vec<(NameBuf, ZoneHandle)>,
}

impl Draft {
    fn new(apexes: &[&str]) -> Self {
        let mut builder = ZoneSetBuilder::new();
        let mut zones = Vec::new();
        for apex in apexes {
            let apex = name(apex);
            let zone = builder.add_zone(apex.as_name()).unwrap();
            builder
                .add_record(zone, apex.as_name(), RecordType::SOA, 3600, &soa())
                .unwrap();
            zones.push((apex, zone));
        }
        Self { builder, zones }
    }

    fn add(
        &mut self,
        zone: usize,
        owner: &str,
        record_type: RecordType,
        rdata: &[u8],
    ) -> &mut Self {
        let zone = self.zones[zone].1;
        let owner = name(owner);
        self.builder
            .add_record(zone, owner.as_name(), record_type, 300, rdata)
            .unwrap();
        self
    }

    fn name_record(
        &mut self,
        zone: usize,
        owner: &str,
        record_type: RecordType,
        to: &str,
    ) -> &mut Self {
        let to = name(to);
        self.add(zone, owner, record_type, to.as_name().as_wire())
    }

    fn address(&mut self, zone: usize, owner: &str) -> &mut Self {
        self.add(zone, owner, RecordType::A, &[192, 0, 2, 1])
    }

    fn build(&self) -> Vec<u8> {
        self.builder.build().unwrap()
    }
}

fn small() -> Vec<u8> {
    Draft::new(&["example", "child.example"])
        .name_record(0, "example", RecordType::NS, "ns.example")
        .address(0, "ns.example")
        .address(0, "a.b.c.example")
        .address(0, "*.w.example")
        .name_record(0, "cut.example", RecordType::NS, "ns.cut.example")
        .address(0, "ns.cut.example")
        .name_record(0, "child.example", RecordType::NS, "ns.child.example")
        .address(0, "ns.child.example")
        .name_record(1, "child.example", RecordType::NS, "ns.child.example")
        .address(1, "ns.child.example")
        .name_record(1, "alias.child.example", RecordType::CNAME, "www.example")
        .build()
}

fn closest<'a>(set: &ZoneSet<'a>, text: &str) -> Option<(Name<'a>, bool)> {
    let mut statistics = LookupStatistics::default();
    let wanted = name(text);
    let found = set.closest_encloser(wanted.as_name(), &mut statistics)?;
    Some((set.name(found.node), found.exact))
}

#[test]
fn closest_enclosers_are_found_without_case() {
    let image = small();
    let set = ZoneSet::from_bytes(&image).unwrap();
    let closest = |text: &str| closest(&set, text).map(|(n, exact)| (n.to_string(), exact));
    assert_eq!(closest("NS.exAMPLE"), Some(("ns.example.".into(), true)));
    assert_eq!(
        closest("x.y.NS.example"),
        Some(("ns.example.".into(), false))
    );
    // An empty non-terminal is a name like any other.
    assert_eq!(closest("b.c.example"), Some(("b.c.example.".into(), true)));
    assert_eq!(closest("x.c.example"), Some(("c.example.".into(), false)));
    assert_eq!(closest("w.example"), Some(("w.example.".into(), true)));
    assert_eq!(closest("org"), None);
    assert_eq!(closest("."), None);
}

#[test]
fn nodes_know_cut_wildcard_and_zone() {
    let image = small();
    let set = ZoneSet::from_bytes(&image).unwrap();
    let node = |text: &str| {
        let mut statistics = LookupStatistics::default();
        let found = set.closest_encloser(name(text).as_name(), &mut statistics);
        set.node(found.unwrap().node)
    };
    let cut = |text: &str| NodeIndex::from_entry(node(text).cut).map(|c| set.name(c).to_string());
    assert_eq!(cut("cut.example"), Some("cut.example.".into()));
    assert_eq!(cut("deep.ns.cut.example"), Some("cut.example.".into()));
    assert_eq!(cut("example"), None);
    // The child answers for its own names, where its apex is no cut.
    assert_eq!(cut("ns.child.example"), None);
    assert_eq!(
        set.zone_of(name("ns.child.example").as_name())
            .unwrap()
            .apex(),
        name("child.example").as_name()
    );
    assert_eq!(set.zone_of(name("example").as_name()).unwrap().serial(), 7);
    assert!(set.zone_of(name("org").as_name()).is_none());
    let wildcard = NodeIndex::from_entry(node("w.example").wildcard).unwrap();
    assert_eq!(set.name(wildcard).to_string(), "*.w.example.");
    assert!(NodeIndex::from_entry(node("example").wildcard).is_none());
    // DS for the child is the parent's to answer.
    let child = set.zone(node("child.example").zone);
    let above = NodeIndex::from_entry(child.parent_node).unwrap();
    assert_eq!(set.name(above), name("child.example").as_name());
    assert_eq!(set.zone(set.node(above).zone).first_node.get(), 0);
}

#[test]
fn records_come_back_in_canonical_order_of_owners() {
    let image = small();
    let set = ZoneSet::from_bytes(&image).unwrap();
    let parent = set.zones().next().unwrap();
    let owners: Vec<_> = parent.records().map(|r| r.owner.to_string()).collect();
    let expected = [
        "example.",
        "example.",
        "a.b.c.example.",
        "child.example.",
        "ns.child.example.",
        "cut.example.",
        "ns.cut.example.",
        "ns.example.",
        "*.w.example.",
    ];
    assert_eq!(owners, expected);
    assert_eq!(parent.records().nth(1).unwrap().rdata, soa());
    assert_eq!(set.zones().len(), 2);
}

#[test]
fn truncated_images_are_refused() {
    let image = small();
    for length in 0..image.len() {
        assert!(ZoneSet::from_bytes(&image[..length]).is_err(), "{length}");
    }
    let mut longer = image.clone();
    longer.push(0);
    assert_eq!(
        ZoneSet::from_bytes(&longer).unwrap_err(),
        ImageError::Truncated
    );
    assert_eq!(
        ZoneSet::from_bytes(&[0; 64]).unwrap_err(),
        ImageError::NotAnImage
    );
}

#[test]
fn counts_that_promise_more_than_the_image_holds_are_refused() {
    let image = small();
    // The counts follow magic, version, length and seed.
    for field in 6..14 {
        for value in [u32::MAX, u32::MAX / 2, 1 << 16, 0] {
            let mut changed = image.clone();
            changed[4 * field..][..4].copy_from_slice(&value.to_le_bytes());
            if changed != image {
                let result = ZoneSet::from_bytes(&changed);
                assert!(result.is_err(), "field {field} = {value}: {result:?}");
            }
        }
    }
}

#[test]
fn names_in_the_index_are_found_with_bounded_probes_at_any_size() {
    let mut most = Vec::new();
    for count in [10, 1000, 20_000] {
        let mut draft = Draft::new(&["example"]);
        for index in 0..count {
            draft.address(0, &format!("host{index}.example"));
        }
        let image = draft.build();
        let set = ZoneSet::from_bytes(&image).unwrap();
        assert!(set.probes <= MAX_PROBES);
        let mut statistics = LookupStatistics::default();
        for index in 0..count {
            let host = name(&format!("HOST{index}.example"));
            let found = set
                .closest_encloser(host.as_name(), &mut statistics)
                .unwrap();
            assert!(found.exact);
        }
        assert_eq!(statistics.names, count);
        most.push(f64::from(statistics.probes) / f64::from(count));
    }
    assert!(most.iter().all(|mean| *mean < 2.0), "{most:?}");
}

#[test]
fn a_name_of_127_labels_costs_no_more_than_the_deepest_name_has_labels() {
    let image = small();
    let set = ZoneSet::from_bytes(&image).unwrap();
    let mut deep = NameBuf::new();
    for _ in 0..123 {
        deep.push_label(b"a").unwrap();
    }
    deep.push_name(name("example").as_name()).unwrap();
    let mut statistics = LookupStatistics::default();
    let found = set
        .closest_encloser(deep.as_name(), &mut statistics)
        .unwrap();
    assert_eq!(set.name(found.node), name("example").as_name());
    // The deepest name has four labels.
    assert_eq!(statistics.names, 4);
    assert!(statistics.probes <= 4 * MAX_PROBES);
}

#[test]
fn flags_that_hide_names_are_refused() {
    let image = small();
    let set = ZoneSet::from_bytes(&image).unwrap();
    let nodes = 56 + 24 * set.zones.len();
    for index in 0..set.nodes.len() {
        let mut changed = image.clone();
        changed[nodes + 28 * index + 5] ^= NodeEntry::SHADOWED;
        assert!(ZoneSet::from_bytes(&changed).is_err(), "{index}");
    }
}

#[test]
fn same_records_give_the_same_octets() {
    assert_eq!(small(), small());
}

#[test]
fn what_the_server_could_not_answer_for_is_refused() {
    use BuildErrorKind as Kind;
    let kind = |draft: &Draft| draft.builder.build().unwrap_err().kind();

    let mut builder = ZoneSetBuilder::new();
    let apex = name("example");
    let zone = builder.add_zone(apex.as_name()).unwrap();
    assert_eq!(builder.build().unwrap_err().kind(), Kind::NoSoa);
    assert_eq!(
        builder
            .add_zone(name("EXAMPLE").as_name())
            .unwrap_err()
            .kind(),
        Kind::DuplicateZone
    );
    let mut refuse = |owner: &str, record_type, ttl, rdata: &[u8]| {
        builder
            .add_record(zone, name(owner).as_name(), record_type, ttl, rdata)
            .unwrap_err()
            .kind()
    };
    assert_eq!(
        refuse("example.org", RecordType::A, 1, &[1, 2, 3, 4]),
        Kind::OutOfZone
    );
    assert_eq!(refuse("example", RecordType::ANY, 1, &[]), Kind::MetaType);
    assert_eq!(
        refuse("example", RecordType::A, 1 << 31, &[1, 2, 3, 4]),
        Kind::TtlTooLarge
    );
    let short = Kind::Rdata(crate::record::RdataError::TooShort);
    assert_eq!(refuse("example", RecordType::A, 1, &[1, 2, 3]), short);

    let mut alias = Draft::new(&["example"]);
    alias.name_record(0, "a.example", RecordType::CNAME, "b.example");
    alias.address(0, "a.example");
    assert_eq!(kind(&alias), Kind::AliasWithOtherData);
    let mut two = Draft::new(&["example"]);
    two.name_record(0, "a.example", RecordType::CNAME, "b.example");
    two.name_record(0, "a.example", RecordType::CNAME, "c.example");
    assert_eq!(kind(&two), Kind::SeveralRecords);
    let mut two = Draft::new(&["example"]);
    two.name_record(0, "a.example", RecordType::DNAME, "b.example");
    two.name_record(0, "a.example", RecordType::DNAME, "c.example");
    assert_eq!(kind(&two), Kind::SeveralRecords);
    let mut both = Draft::new(&["example"]);
    both.name_record(0, "a.example", RecordType::DNAME, "b.example");
    both.name_record(0, "a.example", RecordType::CNAME, "b.example");
    assert_eq!(kind(&both), Kind::AliasWithOtherData);
    let mut cut = Draft::new(&["example"]);
    cut.name_record(0, "a.example", RecordType::DNAME, "b.example");
    cut.name_record(0, "a.example", RecordType::NS, "b.example");
    assert_eq!(kind(&cut), Kind::RedirectionAtCut);
    for dname in ["example", "a.example", "b.a.example"] {
        let mut hidden = Draft::new(&["example"]);
        hidden.name_record(0, dname, RecordType::DNAME, "else.where");
        hidden.address(0, "x.c.b.a.example");
        assert_eq!(kind(&hidden), Kind::BelowRedirection);
    }
    let key = b"\x01\0\x03\x08key";
    let mut signed = Draft::new(&["example"]);
    signed.add(0, "example", RecordType::DNSKEY, key);
    assert_eq!(kind(&signed), Kind::Signed);
    let mut elsewhere = Draft::new(&["example"]);
    elsewhere.add(0, "a.example", RecordType::DNSKEY, key);
    assert!(elsewhere.builder.build().is_ok());
    let mut below = Draft::new(&["example"]);
    below.add(0, "a.example", RecordType::SOA, &soa());
    assert_eq!(kind(&below), Kind::SoaBelowApex);
}

#[test]
fn records_given_twice_count_once_and_the_lowest_ttl_is_that_of_all() {
    let mut draft = Draft::new(&["example"]);
    draft.name_record(0, "example", RecordType::NS, "ns.example");
    draft.name_record(0, "EXAMPLE", RecordType::NS, "NS.example");
    draft.name_record(0, "example", RecordType::NS, "a.example");
    let apex = name("example");
    let ns = name("third.example");
    let zone = draft.zones[0].1;
    draft
        .builder
        .add_record(
            zone,
            apex.as_name(),
            RecordType::NS,
            60,
            ns.as_name().as_wire(),
        )
        .unwrap();
    let image = draft.build();
    let set = ZoneSet::from_bytes(&image).unwrap();
    let records: Vec<_> = set.zones().next().unwrap().records().collect();
    let ns: Vec<_> = records
        .iter()
        .filter(|r| r.record_type == RecordType::NS)
        .collect();
    assert_eq!(ns.len(), 3);
    assert!(ns.iter().all(|r| r.ttl == 60));
    assert_eq!(ns[0].rdata, b"\x02ns\x07example\0");
}

#[test]
fn empty_set_has_nothing() {
    let image = ZoneSetBuilder::new().build().unwrap();
    let set = ZoneSet::from_bytes(&image).unwrap();
    assert_eq!(set.zones().len(), 0);
    assert!(closest(&set, "example").is_none());
    assert!(closest(&ZoneSet::EMPTY, "example").is_none());
}

#[test]
fn root_zone_encloses_everything() {
    let mut draft = Draft::new(&["."]);
    draft.name_record(0, "org", RecordType::NS, "ns.org");
    let image = draft.build();
    let set = ZoneSet::from_bytes(&image).unwrap();
    assert_eq!(closest(&set, "a.b"), Some((Name::ROOT, false)));
    assert_eq!(closest(&set, "."), Some((Name::ROOT, true)));
    assert_eq!(closest(&set, "x.org").unwrap().0.to_string(), "org.");
}
