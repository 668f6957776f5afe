//! Random zones and questions, answered by the server and by a resolver that is as simple as can be: lists of records,
//! searched from end to end, by the steps of RFC 1034 §4.3.2.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;
use crate::name::Name;
use crate::zone_set::{ZoneHandle, ZoneSetBuilder};

type Records = Vec<(NameBuf, RecordType, Vec<u8>)>;

/// A zone: apex and records, the SOA among them.
#[derive(Clone, Debug)]
struct PlainZone {
    apex: NameBuf,
    records: Records,
}

/// What belongs in an answer; additional data apart.
#[derive(Default, Debug, PartialEq)]
struct Expected {
    rcode: Option<Rcode>,
    authoritative: bool,
    answer: BTreeSet<String>,
    authority: BTreeSet<String>,
    /// Glue that may not be missing.
    glue: BTreeSet<String>,
}

impl PlainZone {
    fn at(&self, name: &NameBuf) -> impl Iterator<Item = &(NameBuf, RecordType, Vec<u8>)> {
        self.records.iter().filter(move |record| record.0 == *name)
    }

    fn typed(&self, name: &NameBuf, wanted: RecordType) -> Records {
        self.at(name)
            .filter(|record| record.1 == wanted)
            .cloned()
            .collect()
    }

    /// Whether a record is at the name or below it.
    fn exists(&self, name: &NameBuf) -> bool {
        let below = |record: &&(NameBuf, RecordType, Vec<u8>)| {
            record.0.as_name().is_subdomain_of(name.as_name())
        };
        self.records.iter().any(|record| below(&record))
    }

    /// Whether the builder takes a DNAME at the name.
    fn may_redirect(&self, name: &NameBuf) -> bool {
        let below =
            |other: &NameBuf| other != name && other.as_name().is_subdomain_of(name.as_name());
        let delegates = *name != self.apex && !self.typed(name, RecordType::NS).is_empty();
        self.may_have(name, RecordType::DNAME)
            && !delegates
            && self.typed(name, RecordType::DNAME).is_empty()
            && !self.records.iter().any(|record| below(&record.0))
    }

    /// Whether no DNAME stands against this type at the name.
    fn may_have(&self, name: &NameBuf, record_type: RecordType) -> bool {
        let mut above = name.as_name().ancestors().skip(1).map(Name::to_owned);
        let delegates = record_type == RecordType::NS && *name != self.apex;
        let is_free = |name: &NameBuf| self.typed(name, RecordType::DNAME).is_empty();
        above.all(|above| is_free(&above)) && (!delegates || is_free(name))
    }

    /// The highest delegation point at or above the name.
    fn cut(&self, name: &NameBuf) -> Option<NameBuf> {
        let ancestors = name.as_name().ancestors().map(Name::to_owned);
        let below_apex = ancestors.filter(|a| a.as_name().len() > self.apex.as_name().len());
        let inside = below_apex.filter(|a| a.as_name().is_subdomain_of(self.apex.as_name()));
        inside
            .filter(|a| !self.typed(a, RecordType::NS).is_empty())
            .last()
    }
}

fn text(owner: &NameBuf, record: &(NameBuf, RecordType, Vec<u8>)) -> String {
    format!("{owner} {} {:?}", record.1, record.2).to_ascii_lowercase()
}

fn resolve(zones: &[PlainZone], question: &NameBuf, wanted: RecordType) -> Expected {
    let mut expected = Expected::default();
    let mut name = question.clone();
    let mut seen: Vec<NameBuf> = Vec::new();
    loop {
        let first = seen.is_empty();
        let enclosing = zones
            .iter()
            .filter(|z| name.as_name().is_subdomain_of(z.apex.as_name()));
        let mut enclosing: Vec<&PlainZone> = enclosing.collect();
        enclosing.sort_by_key(|zone| zone.apex.as_name().len());
        let Some(mut zone) = enclosing.pop() else {
            expected.rcode = Some(if first {
                Rcode::REFUSED
            } else {
                Rcode::NOERROR
            });
            return expected;
        };
        let mut known = zone.exists(&name);
        if wanted == RecordType::DS
            && name == zone.apex
            && let Some(above) = enclosing.pop()
        {
            zone = above;
            // The name exists, if only in the other zone.
            known = true;
        }
        let cut = zone.cut(&name);
        if let Some(cut) = cut.filter(|cut| wanted != RecordType::DS || *cut != name) {
            expected.rcode = Some(Rcode::NOERROR);
            for record in zone.typed(&cut, RecordType::NS) {
                expected.authority.insert(text(&cut, &record));
                let target = Name::from_wire(&record.2).unwrap().to_owned();
                if target.as_name().is_subdomain_of(cut.as_name()) {
                    for address in zone.typed(&target, RecordType::A) {
                        expected.glue.insert(text(&target, &address));
                    }
                }
            }
            return expected;
        }
        if first {
            expected.authoritative = true;
        }
        // RFC 6672: the zone has no names below a DNAME.
        let above = name.as_name().ancestors().skip(1).map(Name::to_owned);
        let mut inside = above.filter(|a| a.as_name().is_subdomain_of(zone.apex.as_name()));
        let redirection = inside.find_map(|a| zone.typed(&a, RecordType::DNAME).pop());
        if let Some(dname) = redirection {
            expected.rcode = Some(Rcode::NOERROR);
            expected.answer.insert(text(&dname.0, &dname));
            let mut target = NameBuf::new();
            let labels = name.as_name().label_count() - dname.0.as_name().label_count();
            for label in name.as_name().labels().take(labels) {
                target.push_label(label).unwrap();
            }
            let pushed = target.push_name(Name::from_wire(&dname.2).unwrap());
            pushed.expect("names of a few letters");
            let rdata = target.as_name().as_wire().to_vec();
            let alias = (name.clone(), RecordType::CNAME, rdata);
            expected.answer.insert(text(&name, &alias));
            seen.push(name);
            name = target;
            if wanted == RecordType::CNAME || seen.contains(&name) || seen.len() > MAX_ALIASES {
                return expected;
            }
            continue;
        }
        let source = if known {
            Some(name.clone())
        } else {
            let mut ancestors = name.as_name().ancestors().skip(1).map(Name::to_owned);
            let encloser = ancestors.find(|ancestor| zone.exists(ancestor)).unwrap();
            let mut wildcard = NameBuf::from_text("*").unwrap();
            wildcard.push_name(encloser.as_name()).unwrap();
            zone.exists(&wildcard).then_some(wildcard)
        };
        let Some(source) = source else {
            expected.rcode = Some(Rcode::NXDOMAIN);
            expected.authority.insert(text(
                &zone.apex,
                &zone.typed(&zone.apex, RecordType::SOA)[0],
            ));
            return expected;
        };
        expected.rcode = Some(Rcode::NOERROR);
        let found = zone.typed(&source, wanted);
        if !found.is_empty() {
            expected
                .answer
                .extend(found.iter().map(|record| text(&name, record)));
            return expected;
        }
        let Some(alias) = zone.typed(&source, RecordType::CNAME).pop() else {
            expected.authority.insert(text(
                &zone.apex,
                &zone.typed(&zone.apex, RecordType::SOA)[0],
            ));
            return expected;
        };
        expected.answer.insert(text(&name, &alias));
        seen.push(name);
        name = Name::from_wire(&alias.2).unwrap().to_owned();
        if seen.contains(&name) || seen.len() > MAX_ALIASES {
            return expected;
        }
    }
}

/// Names of few labels under `z.`, so that they meet; their case varies.
fn any_name() -> impl Strategy<Value = NameBuf> {
    let label = prop::sample::select(std::vec!["a", "b", "A", "*", "ns", "c"]);
    prop::collection::vec(label, 0..4).prop_map(|labels| {
        let mut name = NameBuf::new();
        for label in labels {
            name.push_label(label.as_bytes()).unwrap();
        }
        name.push_label(b"z").unwrap();
        name
    })
}

fn any_record() -> impl Strategy<Value = (NameBuf, RecordType, Vec<u8>)> {
    let target = prop_oneof![5 => any_name(), 1 => Just(NameBuf::from_text("out.side").unwrap())];
    let types = prop::sample::select(std::vec![
        RecordType::A,
        RecordType::A,
        RecordType::NS,
        RecordType::CNAME,
        RecordType::DNAME,
        RecordType::MX,
        RecordType::DS,
        RecordType(731),
    ]);
    (any_name(), types, target, any::<u8>()).prop_map(|(owner, record_type, target, octet)| {
        let name = target.as_name().as_wire();
        let rdata = match record_type {
            RecordType::A => std::vec![192, 0, 2, octet],
            RecordType::MX => [&[0, octet], name].concat(),
            RecordType::NS | RecordType::CNAME | RecordType::DNAME => name.to_vec(),
            _ => std::vec![octet; 5],
        };
        (owner, record_type, rdata)
    })
}

/// One to three zones, `z.` and perhaps some inside it, with records that the builder takes.
fn any_zones() -> impl Strategy<Value = Vec<PlainZone>> {
    let apexes = prop::collection::vec(any_name(), 0..3);
    (
        apexes,
        prop::collection::vec((any::<u8>(), any_record()), 0..25),
    )
        .prop_map(|(mut apexes, records)| {
            apexes.push(NameBuf::from_text("z").unwrap());
            apexes.sort();
            apexes.dedup();
            let zone = |apex: NameBuf| PlainZone {
                records: std::vec![(apex.clone(), RecordType::SOA, soa(&apex))],
                apex,
            };
            let mut zones: Vec<PlainZone> = apexes.into_iter().map(zone).collect();
            for (place, record) in records {
                let index = usize::from(place) % zones.len();
                let zone = &mut zones[index];
                let alone = match record.1 {
                    RecordType::CNAME => zone.at(&record.0).next().is_none(),
                    _ => zone.at(&record.0).all(|other| other.1 != RecordType::CNAME),
                };
                // The builder takes records that differ in the case of names alone as one.
                let repeated = zone
                    .at(&record.0)
                    .any(|other| other.1 == record.1 && other.2.eq_ignore_ascii_case(&record.2));
                let may_stand = match record.1 {
                    RecordType::DNAME => zone.may_redirect(&record.0),
                    other => zone.may_have(&record.0, other),
                };
                if alone
                    && !repeated
                    && may_stand
                    && record.0.as_name().is_subdomain_of(zone.apex.as_name())
                {
                    zone.records.push(record);
                }
            }
            zones
        })
}

fn soa(apex: &NameBuf) -> Vec<u8> {
    [apex.as_name().as_wire(), apex.as_name().as_wire(), &[0; 20]].concat()
}

fn build(zones: &[PlainZone]) -> Vec<u8> {
    let mut builder = ZoneSetBuilder::new();
    let handles: Vec<ZoneHandle> = zones
        .iter()
        .map(|zone| builder.add_zone(zone.apex.as_name()).unwrap())
        .collect();
    for (zone, handle) in zones.iter().zip(handles) {
        for (owner, record_type, rdata) in &zone.records {
            builder
                .add_record(handle, owner.as_name(), *record_type, 60, rdata)
                .unwrap();
        }
    }
    builder.build().unwrap()
}

/// A section as a set of texts that the reference makes too.
fn set(reply: &Reply, section: Section) -> BTreeSet<String> {
    let records = reply.reader().section(section).map(Result::unwrap);
    let records = records.filter(|record| record.record_type != RecordType::OPT);
    records
        .map(|record| {
            let mut room = [0; 600];
            let rdata = record.rdata(&mut room).unwrap().to_vec();
            let owner = record.owner().unwrap();
            text(&owner, &(owner.clone(), record.record_type, rdata))
        })
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn random_questions_are_answered_as_a_naive_resolver_does(
        zones in any_zones(),
        questions in prop::collection::vec((any_name(), 0usize..7), 1..20),
    ) {
        let image = build(&zones);
        let set_of_zones = ZoneSet::from_bytes(&image).unwrap();
        for (name, wanted) in questions {
            let wanted = [
                RecordType::A, RecordType::NS, RecordType::MX, RecordType::DS, RecordType::CNAME,
                RecordType(731), RecordType::DNAME,
            ][wanted];
            let expected = resolve(&zones, &name, wanted);
            let ask = Ask { name: name.clone(), record_type: wanted, ..Ask::new(". A").tcp() };
            let reply = ask.of_zones(&set_of_zones);
            let found = Expected {
                rcode: Some(reply.answer.rcode),
                authoritative: reply.answer.flags.contains(Flags::AA),
                answer: set(&reply, Section::Answer),
                authority: set(&reply, Section::Authority),
                glue: expected.glue.clone(),
            };
            prop_assert_eq!(&found, &expected, "{} {} {:?}", name, wanted, reply);
            let additional = set(&reply, Section::Additional);
            prop_assert!(additional.is_superset(&expected.glue), "{:?} {:?}", additional, expected.glue);
            // At any size the sections are a part of that, and TC says so.
            let small = Ask { transport: Transport::Udp, ..ask };
            let reply = small.of_zones(&set_of_zones);
            prop_assert!(reply.octets.len() <= 512);
            prop_assert!(set(&reply, Section::Answer).is_subset(&expected.answer));
            if !reply.answer.flags.contains(Flags::TC) {
                prop_assert_eq!(set(&reply, Section::Answer), expected.answer);
                prop_assert_eq!(set(&reply, Section::Authority), expected.authority);
                prop_assert!(set(&reply, Section::Additional).is_superset(&expected.glue));
            }
        }
    }
}

proptest! {
    #[test]
    fn damaged_images_of_random_zones_are_refused_or_answered_from_without_panic(
        zones in any_zones(),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
        question in any_name(),
        tcp in any::<bool>(),
    ) {
        let mut image = build(&zones);
        for (place, octet) in changes {
            let place = place.index(image.len());
            image[place] = octet;
        }
        if let Ok(zones) = ZoneSet::from_bytes(&image) {
            for record_type in ["A", "NS", "MX", "DS", "CNAME", "DNAME", "SOA", "ANY"] {
                let record_type = RecordType::from_mnemonic(record_type).unwrap();
                let transport = if tcp { Transport::Tcp } else { Transport::Udp };
                let ask = Ask { name: question.clone(), record_type, transport, ..Ask::new(". A") };
                // Reading the reply checks that it is well formed to its end.
                ask.of_zones(&zones);
            }
        }
    }
}

#[test]
fn damaged_images_are_refused_or_answered_from_without_panic() {
    let apex = NameBuf::from_text("z").unwrap();
    let wire = |text: &str| {
        NameBuf::from_text(text)
            .unwrap()
            .as_name()
            .as_wire()
            .to_vec()
    };
    let name = |text: &str| NameBuf::from_text(text).unwrap();
    let zones = [PlainZone {
        records: std::vec![
            (apex.clone(), RecordType::SOA, soa(&apex)),
            (apex.clone(), RecordType::NS, wire("ns.a.z")),
            (name("a.z"), RecordType::NS, wire("ns.a.z")),
            (name("a.z"), RecordType::NS, wire("ns2.a.z")),
            (name("ns.a.z"), RecordType::A, std::vec![192, 0, 2, 1]),
            (
                name("*.z"),
                RecordType::MX,
                [&[0, 1], &wire("b.z")[..]].concat()
            ),
            (name("b.z"), RecordType::CNAME, wire("c.z")),
        ],
        apex,
    }];
    let image = build(&zones);
    let questions = [
        "z. NS", "x.a.z. A", "q.z. MX", "b.z. A", "Z. SOA", "b.z. MX",
    ]
    .map(Ask::new);
    let mut taken = 0;
    for place in 0..image.len() {
        for change in [1u8, 2, 0x40, 0x80, 0xff] {
            let mut damaged = image.clone();
            damaged[place] ^= change;
            let Ok(zones) = ZoneSet::from_bytes(&damaged) else {
                continue;
            };
            taken += 1;
            for ask in &questions {
                let mut out = [0; 512];
                let limits = Limits::default();
                let answer = respond(
                    &zones,
                    &limits,
                    &ask.octets(),
                    &client(Transport::Udp),
                    &mut out,
                );
                let answer = answer.unwrap();
                let reader = MessageReader::new(&out[..answer.length]).unwrap();
                assert_eq!(reader.end(), Ok(answer.length));
                for record in reader.records() {
                    let record = record.unwrap();
                    record.owner().unwrap();
                    record.rdata(&mut [0; 600]).unwrap();
                }
            }
        }
    }
    // Addresses and numbers can be changed without being noticed; little else.
    assert!(
        taken < 5 * image.len() / 3,
        "{taken} of {}",
        5 * image.len()
    );
}
