//! Random updates against a model: a map of RRsets that the pseudocode of RFC 2136 §3.2.5, §3.4.1.3 and §3.4.2.7 is done
//! on, and the builder, which says what can be served.

use alloc::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;
use crate::record::Rcode;
use crate::zone_set::{canonical_rdata, may_stand_beside_cname, sort_key};

/// By name (as a sort key) and type: the name, the TTL, and the records by what makes them equal.
type Rrsets = BTreeMap<(Vec<u8>, RecordType), (NameBuf, u32, BTreeMap<Vec<u8>, Vec<u8>>)>;

#[derive(Clone, Default)]
struct Model {
    rrsets: Rrsets,
}

impl Model {
    fn of(zones: &OwnedZoneSet) -> Self {
        let mut model = Self::default();
        for record in zones.as_zone_set().zones().next().unwrap().records() {
            let owner = record.owner.to_owned();
            model.put(&owner, record.record_type, record.ttl, record.rdata);
        }
        model
    }

    fn key(owner: &NameBuf, record_type: RecordType) -> (Vec<u8>, RecordType) {
        (sort_key(owner.as_name()), record_type)
    }

    fn put(&mut self, owner: &NameBuf, record_type: RecordType, ttl: u32, rdata: &[u8]) {
        let rrset = self.rrsets.entry(Self::key(owner, record_type));
        let mut owner = owner.clone();
        owner.make_lowercase();
        let (_, old, records) = rrset.or_insert((owner, ttl, BTreeMap::new()));
        *old = ttl;
        records.insert(canonical_rdata(record_type, rdata), rdata.to_vec());
    }

    fn has(&self, owner: &NameBuf, record_type: RecordType) -> bool {
        self.rrsets.contains_key(&Self::key(owner, record_type))
    }

    fn types(&self, owner: &NameBuf) -> Vec<RecordType> {
        let owner = sort_key(owner.as_name());
        let keys = self.rrsets.keys().filter(|(name, _)| *name == owner);
        keys.map(|(_, record_type)| *record_type).collect()
    }

    /// §3.2.5.
    fn require(&self, prerequisites: &[Wire]) -> Result<(), Rcode> {
        let apex = name("example.org");
        let mut temporary: BTreeMap<_, BTreeSet<Vec<u8>>> = BTreeMap::new();
        for record in prerequisites {
            if record.ttl != 0 {
                return Err(Rcode::FORMERR);
            }
            if !record.owner.as_name().is_subdomain_of(apex.as_name()) {
                return Err(Rcode::NOTZONE);
            }
            let in_use = !self.types(&record.owner).is_empty();
            let is_there = self.has(&record.owner, record.record_type);
            let is_any = record.record_type == RecordType::ANY;
            match record.class {
                RecordClass::ANY | RecordClass::NONE if !record.rdata.is_empty() => {
                    return Err(Rcode::FORMERR);
                }
                RecordClass::ANY if is_any && !in_use => return Err(Rcode::NXDOMAIN),
                RecordClass::ANY if !is_any && !is_there => return Err(Rcode::NXRRSET),
                RecordClass::NONE if is_any && in_use => return Err(Rcode::YXDOMAIN),
                RecordClass::NONE if !is_any && is_there => return Err(Rcode::YXRRSET),
                RecordClass::IN => {
                    let key = Self::key(&record.owner, record.record_type);
                    let canonical = canonical_rdata(record.record_type, &record.rdata);
                    temporary.entry(key).or_default().insert(canonical);
                }
                RecordClass::ANY | RecordClass::NONE => {}
                _ => return Err(Rcode::FORMERR),
            }
        }
        for (key, wanted) in temporary {
            let records = self.rrsets.get(&key).map(|(_, _, records)| records);
            if !records.is_some_and(|records| records.keys().eq(wanted.iter())) {
                return Err(Rcode::NXRRSET);
            }
        }
        Ok(())
    }

    /// §3.4.1.3, then §3.4.2.7.
    fn update(&mut self, updates: &[Wire]) -> Result<(), Rcode> {
        let apex = name("example.org");
        for record in updates {
            if !record.owner.as_name().is_subdomain_of(apex.as_name()) {
                return Err(Rcode::NOTZONE);
            }
            let is_any = record.record_type == RecordType::ANY;
            let is_good = match record.class {
                RecordClass::IN => !is_any,
                RecordClass::ANY => record.ttl == 0 && record.rdata.is_empty(),
                RecordClass::NONE => record.ttl == 0 && !is_any,
                _ => false,
            };
            if !is_good {
                return Err(Rcode::FORMERR);
            }
        }
        for record in updates {
            self.update_one(record, &apex);
        }
        Ok(())
    }

    fn update_one(&mut self, record: &Wire, apex: &NameBuf) {
        let (owner, record_type) = (&record.owner, record.record_type);
        let key = Self::key(owner, record_type);
        match record.class {
            RecordClass::IN => {
                if record_type == RecordType::CNAME {
                    if self
                        .types(owner)
                        .into_iter()
                        .any(|t| !may_stand_beside_cname(t))
                    {
                        return;
                    }
                } else if self.has(owner, RecordType::CNAME) && !may_stand_beside_cname(record_type)
                {
                    return;
                }
                if record_type == RecordType::SOA {
                    let Some(old) = self.serial_of(owner) else {
                        return;
                    };
                    let new = serial(&record.rdata);
                    if new == old || new.wrapping_sub(old) >= 1 << 31 {
                        return;
                    }
                }
                if matches!(
                    record_type,
                    RecordType::SOA | RecordType::CNAME | RecordType::DNAME
                ) && let Some((_, _, records)) = self.rrsets.get_mut(&key)
                {
                    records.clear();
                }
                self.put(owner, record_type, record.ttl, &record.rdata);
            }
            RecordClass::ANY if record_type == RecordType::ANY => {
                for record_type in self.types(owner) {
                    let is_kept = matches!(record_type, RecordType::SOA | RecordType::NS);
                    if !(owner == apex && is_kept) {
                        self.rrsets.remove(&Self::key(owner, record_type));
                    }
                }
            }
            RecordClass::ANY => {
                let is_kept = matches!(record_type, RecordType::SOA | RecordType::NS);
                if !(owner == apex && is_kept) {
                    self.rrsets.remove(&key);
                }
            }
            _ => {
                let Some((_, _, records)) = self.rrsets.get_mut(&key) else {
                    return;
                };
                let is_last = record_type == RecordType::NS && owner == apex && records.len() == 1;
                if record_type == RecordType::SOA || is_last {
                    return;
                }
                records.remove(&canonical_rdata(record_type, &record.rdata));
                if records.is_empty() {
                    self.rrsets.remove(&key);
                }
            }
        }
    }

    fn serial_of(&self, owner: &NameBuf) -> Option<u32> {
        let (_, _, records) = self.rrsets.get(&Self::key(owner, RecordType::SOA))?;
        records.values().next().map(|rdata| serial(rdata))
    }

    /// The next version after `before`, if it can be built: what changed has another serial.
    fn build(mut self, before: &Self) -> Result<Self, Rcode> {
        if self.rrsets == before.rrsets {
            return Ok(self);
        }
        let apex = name("example.org");
        let old = before.serial_of(&apex).unwrap();
        if self.serial_of(&apex) == Some(old) {
            let (_, ttl, records) = &self.rrsets[&Self::key(&apex, RecordType::SOA)];
            let (ttl, mut rdata) = (*ttl, records.values().next().unwrap().clone());
            let at = rdata.len() - 20;
            let next = if old == u32::MAX { 1 } else { old + 1 };
            rdata[at..at + 4].copy_from_slice(&next.to_be_bytes());
            self.rrsets.remove(&Self::key(&apex, RecordType::SOA));
            self.put(&apex, RecordType::SOA, ttl, &rdata);
        }
        let mut builder = ZoneSetBuilder::new();
        let zone = builder.add_zone(apex.as_name()).unwrap();
        for ((_, record_type), (owner, ttl, records)) in &self.rrsets {
            for rdata in records.values() {
                builder
                    .add_record(zone, owner.as_name(), *record_type, *ttl, rdata)
                    .unwrap();
            }
        }
        match builder.build() {
            Ok(_) => Ok(self),
            Err(_) => Err(Rcode::REFUSED),
        }
    }

    fn text(&self) -> Vec<String> {
        let mut lines = Vec::new();
        for ((_, record_type), (owner, ttl, records)) in &self.rrsets {
            for rdata in records.values() {
                lines.push(alloc::format!("{owner} {ttl} {record_type} {rdata:?}"));
            }
        }
        lines.sort();
        lines
    }
}

fn serial(soa: &[u8]) -> u32 {
    u32::from_be_bytes(soa[soa.len() - 20..][..4].try_into().unwrap())
}

const NAMES: &[&str] = &[
    "example.org",
    "mail.example.org",
    "MAIL.example.org",
    "www.example.org",
    "alias.example.org",
    "cut.example.org",
    "ns.cut.example.org",
    "moved.example.org",
    "a.moved.example.org",
    "empty.example.org",
    "below.empty.example.org",
    "deep.below.empty.example.org",
    "new.example.org",
    "*.new.example.org",
];

/// A few names, most of them of the zone, that lie below each other.
fn owners() -> impl Strategy<Value = NameBuf> {
    prop_oneof![
        100 => proptest::sample::select(NAMES).prop_map(name),
        1 => Just(name("example.net")),
    ]
}

const TARGETS: &[&[u8]] = &[
    b"\x02ns\x07example\x03org\0",
    b"\x02NS\x07example\x03org\0",
    b"\x03ns2\x07example\x03com\0",
];

/// A type with data that fits it, of which there are few.
fn data() -> impl Strategy<Value = (RecordType, Vec<u8>)> {
    let target = proptest::sample::select(TARGETS);
    let name_type = proptest::sample::select(
        &[
            RecordType::NS,
            RecordType::CNAME,
            RecordType::DNAME,
            RecordType::PTR,
        ][..],
    );
    prop_oneof![
        4 => (25u8..29).prop_map(|last| (A, [192, 0, 2, last].to_vec())),
        4 => (name_type, target).prop_map(|(record_type, rdata)| (record_type, rdata.to_vec())),
        1 => (0u32..40).prop_map(|serial| (RecordType::SOA, soa(serial))),
        1 => proptest::sample::select(&[9, 11, 0x8000_0009, u32::MAX][..])
            .prop_map(|serial| (RecordType::SOA, soa(serial))),
        1 => (0u8..2).prop_map(|octet| (RecordType::KEY, [0, 0, 3, 8, octet].to_vec())),
        1 => (0u8..2).prop_map(|octet| (RecordType::DNSKEY, [1, 1, 3, 8, octet].to_vec())),
        1 => (0u8..2).prop_map(|octet| (RecordType(731), [octet].to_vec())),
    ]
}

fn updates() -> impl Strategy<Value = Wire> {
    let class = prop_oneof![
        10 => Just(RecordClass::IN),
        4 => Just(ANY),
        6 => Just(NONE),
        1 => Just(RecordClass::CH),
    ];
    let ttl = proptest::sample::select(&[0, 60, 3600][..]);
    let odd = prop::bool::weighted(0.02);
    let whole_name = prop::bool::weighted(0.3);
    (owners(), data(), class, ttl, odd, whole_name).prop_map(
        |(owner, (record_type, rdata), class, ttl, odd, whole_name)| Wire {
            owner,
            record_type: match class {
                RecordClass::ANY if whole_name => RecordType::ANY,
                _ => record_type,
            },
            class,
            ttl: if class == RecordClass::IN || odd {
                ttl
            } else {
                0
            },
            rdata: if class == ANY { Vec::new() } else { rdata },
        },
    )
}

fn prerequisites() -> impl Strategy<Value = Wire> {
    let class = proptest::sample::select(&[RecordClass::IN, ANY, NONE][..]);
    let odd = prop::bool::weighted(0.02);
    (owners(), data(), class, odd, any::<bool>()).prop_map(
        |(owner, (record_type, rdata), class, odd, whole_name)| Wire {
            owner,
            record_type: match class {
                RecordClass::IN => record_type,
                _ if whole_name => RecordType::ANY,
                _ => record_type,
            },
            class,
            ttl: u32::from(odd),
            rdata: match class {
                RecordClass::IN => rdata,
                _ => Vec::new(),
            },
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]

    #[test]
    fn updates_do_what_the_pseudocode_says(
        steps in prop::collection::vec(
            (
                prop_oneof![
                    3 => Just(Vec::new()),
                    1 => prop::collection::vec(prerequisites(), 1..3),
                ],
                prop::collection::vec(updates(), 0..6),
                prop::bool::weighted(0.2),
            ),
            1..20,
        ),
    ) {
        let mut world = World::new(ZONE);
        let mut model = Model::of(&world.zones);
        for (prerequisites, updates, build) in steps {
            let mut next = model.clone();
            let wanted = model
                .require(&prerequisites)
                .and_then(|()| next.update(&updates))
                .and_then(|()| next.build(&model));
            let result = world.send(&message(&prerequisites, &updates));
            let rcode = result.as_ref().map(|_| ()).map_err(|error| error.rcode());
            prop_assert_eq!(rcode, wanted.as_ref().map(|_| ()).map_err(|rcode| *rcode));
            if let Ok(next) = wanted {
                let is_changed = next.text() != model.text();
                prop_assert_eq!(result.unwrap().is_some(), is_changed);
                model = next;
            }
            prop_assert_eq!(world.text(), model.text());
            if build {
                world.build();
            }
        }
    }
}
