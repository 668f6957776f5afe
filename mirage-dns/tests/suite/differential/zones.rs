//! The zones that both servers serve: some written by hand, and random ones.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use mirage_dns::name::{Name, NameBuf};
use mirage_dns::record::{RecordType, rdata_names};
use mirage_dns::zone_compiler;
use mirage_dns::zone_set::ZoneSet;

use super::random::Random;
use super::response::Record;

/// A zone in a file.
#[derive(Debug, Clone)]
pub(crate) struct ZoneFile {
    pub(crate) apex: String,
    pub(crate) path: PathBuf,
}

/// Where the zones are that were written by hand.
pub(crate) fn by_hand() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/zones")
}

/// All zones: those by hand and `random` others, written to `directory`; and their compiled image.
///
/// # Panics
/// When a zone isn't clean: then the generator or the checker is wrong.
pub(crate) fn prepare(
    directory: &Path,
    random: &mut Random,
    count: usize,
) -> (Vec<ZoneFile>, Vec<u8>) {
    let by_hand = by_hand();
    let mut zones: Vec<ZoneFile> = [
        "rich.example",
        "child.rich.example",
        "layout.example",
        "types.example",
    ]
    .map(|apex| ZoneFile {
        apex: apex.to_owned(),
        path: by_hand.join(format!("{apex}.zone")),
    })
    .into();
    for index in 0..count {
        let apex = format!("r{index}.test");
        let mut draft = Draft::new(&apex, random);
        // Every other one has two children and a grandchild.
        if index % 2 == 0 {
            let mut child = Draft::new(&format!("a.{apex}"), random);
            let grandchild = Draft::new(&format!("b.{}", child.apex), random);
            let other_child = Draft::new(&format!("b.b.{apex}"), random);
            child.delegate(&grandchild.apex);
            draft.delegate(&child.apex);
            draft.delegate(&other_child.apex);
            for mut draft in [child, grandchild, other_child] {
                draft.redirect(random);
                zones.push(write(directory, &draft.apex, &draft.text()));
            }
        }
        draft.redirect(random);
        zones.push(write(directory, &apex, &draft.text()));
    }
    let files = zones
        .iter()
        .map(|zone| zone_compiler::ZoneFile::new(&zone.path));
    let compiled = zone_compiler::compile_files(&files.collect::<Vec<_>>(), 1 << 24).result;
    let compiled = compiled.unwrap_or_else(|errors| panic!("the zones have errors:\n{errors}"));
    (zones, compiled.image)
}

/// The zones of a set as files in `directory`, in RFC 3597's form for unknown types: for an oracle whose reader of master files
/// does not know all of what stands in the others.
pub(crate) fn plainly(directory: &Path, set: &ZoneSet<'_>) -> Vec<ZoneFile> {
    let files = set.zones().enumerate().map(|(index, zone)| {
        let mut text = String::new();
        for record in zone.records() {
            let _ = write!(
                text,
                "{} {} TYPE{} \\# {} ",
                record.owner,
                record.ttl,
                record.record_type.0,
                record.rdata.len()
            );
            for octet in record.rdata {
                let _ = write!(text, "{octet:02x}");
            }
            text.push('\n');
        }
        let path = directory.join(format!("plain{index}.zone"));
        fs::write(&path, text).expect("a file in the temporary directory");
        ZoneFile {
            apex: zone.apex().to_string(),
            path,
        }
    });
    files.collect()
}

fn write(directory: &Path, apex: &str, text: &str) -> ZoneFile {
    let path = directory.join(format!("{apex}.zone"));
    fs::write(&path, text).expect("a file in the temporary directory");
    ZoneFile {
        apex: apex.to_owned(),
        path,
    }
}

/// A random zone in the making: for each owner, as text, the data of each type.
struct Draft {
    apex: String,
    owners: BTreeMap<String, BTreeMap<&'static str, BTreeSet<String>>>,
}

/// Few labels, so that names meet: children, siblings, wildcards, names below wildcards and below cuts.
const LABELS: [&str; 7] = ["a", "b", "c", "A", "*", "x\\.y", "\\000z"];

impl Draft {
    fn new(apex: &str, random: &mut Random) -> Self {
        let mut draft = Self {
            apex: apex.to_owned(),
            owners: BTreeMap::new(),
        };
        draft.add(apex, "NS", format!("ns.{apex}."));
        draft.add(apex, "NS", "ns.elsewhere.".to_owned());
        draft.add(&format!("ns.{apex}"), "A", "192.0.2.53".to_owned());
        for _ in 0..random.below(60) + 5 {
            let owner = draft.name(random, false);
            // An alias stands alone; names that differ in case alone are the same.
            let key = owner.to_ascii_lowercase();
            if random.one_in(6) {
                if !draft.owners.contains_key(&key) {
                    let target = draft.name(random, true);
                    draft.add(&key, "CNAME", target + ".");
                }
                continue;
            }
            for _ in 0..random.below(3) + 1 {
                let is_alias = |types: &BTreeMap<_, _>| types.contains_key("CNAME");
                if draft.owners.get(&key).is_some_and(is_alias) {
                    break;
                }
                draft.random_data(&key, random);
            }
        }
        draft
    }

    fn add(&mut self, owner: &str, record_type: &'static str, data: String) {
        let types = self.owners.entry(owner.to_ascii_lowercase()).or_default();
        types.entry(record_type).or_default().insert(data);
    }

    /// A delegation that takes the place of what was there and below: NSD has one tree of names for all its zones, so
    /// that a name that the parent hides exists in the child as well, without records.
    fn delegate(&mut self, owner: &str) {
        let below = format!(".{owner}");
        self.owners
            .retain(|name, _| name != owner && !name.ends_with(&below));
        self.add(owner, "NS", format!("ns.{owner}."));
        self.add(owner, "NS", format!("ns.{}.", self.apex));
        self.add(&format!("ns.{owner}"), "A", "192.0.2.99".to_owned());
    }

    /// Some DNAMEs, each in the place of what was below it; neither above a delegation nor below one, as NSD takes what
    /// another zone has there for names of this one.
    fn redirect(&mut self, random: &mut Random) {
        for _ in 0..random.below(4) {
            let owner = self.name(random, false).to_ascii_lowercase();
            let below = format!(".{owner}");
            let at_or_below = |name: &str| name == owner || name.ends_with(&below);
            let mut others = self.owners.iter();
            let stands_against = others.any(|(name, types)| {
                let above = owner.ends_with(&format!(".{name}"))
                    && ["DNAME", "NS"].iter().any(|t| types.contains_key(t))
                    && *name != self.apex;
                let here = *name == owner && types.contains_key("CNAME");
                above || here || (at_or_below(name) && types.contains_key("NS"))
            });
            // At a wildcard it means little (RFC 4592 §4.4), and Knot gives it another owner than NSD.
            if stands_against || owner.starts_with("*.") || owner == self.apex {
                continue;
            }
            self.owners.retain(|name, _| !name.ends_with(&below));
            let target = self.name(random, true) + ".";
            self.owners
                .entry(owner.clone())
                .or_default()
                .remove("DNAME");
            self.add(&owner, "DNAME", target);
        }
    }

    /// A name in the zone, or now and then (if it may be) elsewhere; without the last dot.
    fn name(&self, random: &mut Random, elsewhere: bool) -> String {
        if elsewhere && random.one_in(4) {
            let apexes = [
                "r0.test",
                "a.r0.test",
                "r1.test",
                "rich.example",
                "elsewhere",
            ];
            return format!("{}.{}", random.pick::<&str>(&LABELS), random.pick(&apexes));
        }
        let mut name = String::new();
        for _ in 0..random.below(4) + 1 {
            name += random.pick::<&str>(&LABELS);
            name.push('.');
        }
        name + &self.apex
    }

    fn random_data(&mut self, owner: &str, random: &mut Random) {
        let target = |draft: &Self, random: &mut Random| draft.name(random, true) + ".";
        let (record_type, data) = match random.below(12) {
            0..=2 => ("A", format!("192.0.2.{}", random.below(256))),
            3 => ("AAAA", format!("2001:db8::{:x}", random.below(65_536))),
            4 => (
                "MX",
                format!("{} {}", random.below(3), target(self, random)),
            ),
            5 => ("TXT", format!("\"{}\"", "t".repeat(random.below(200)))),
            6 => (
                "SRV",
                format!("0 0 {} {}", random.below(9), target(self, random)),
            ),
            7 => ("PTR", target(self, random)),
            8 => ("TYPE65280", format!("\\# 2 {:04x}", random.below(65_536))),
            9 => ("DS", format!("\\# 5 {:010x}", random.below(65_536))),
            _ if owner.starts_with("*.") || owner == self.apex => ("HINFO", "cpu os".to_owned()),
            _ => {
                // A delegation, with glue more often than not.
                let server = match random.below(3) {
                    0 => format!("ns.{owner}"),
                    1 => format!("a.ns.{owner}"),
                    _ => self.name(random, true),
                };
                let alias = self
                    .owners
                    .get(&server)
                    .is_some_and(|t| t.contains_key("CNAME"));
                if server.ends_with(owner) && !alias && !random.one_in(3) {
                    self.add(&server, "A", format!("203.0.113.{}", random.below(256)));
                    if random.one_in(2) {
                        let address = format!("2001:db8:9::{:x}", random.below(65_536));
                        self.add(&server, "AAAA", address);
                    }
                }
                ("NS", server + ".")
            }
        };
        self.add(owner, record_type, data);
    }

    fn text(&self) -> String {
        let apex = &self.apex;
        let mut text =
            format!("$ORIGIN {apex}.\n$TTL 300\n@ SOA ns.{apex}. root.{apex}. 1 2 3 4 60\n");
        for (owner, types) in &self.owners {
            for (record_type, all) in types {
                for data in all {
                    text += &format!("{owner}. {record_type} {data}\n");
                }
            }
        }
        text
    }
}

/// A name that is in the zones, and the types that it has.
#[derive(Debug, Clone)]
pub(crate) struct Owner {
    pub(crate) name: NameBuf,
    pub(crate) types: Vec<RecordType>,
}

/// What both servers serve.
pub(crate) struct Served<'a> {
    pub(crate) set: ZoneSet<'a>,
    /// All records of all zones.
    pub(crate) records: BTreeSet<Record>,
    pub(crate) owners: Vec<Owner>,
    /// All names in the records' data.
    pub(crate) targets: Vec<NameBuf>,
}

impl<'a> Served<'a> {
    pub(crate) fn new(set: ZoneSet<'a>) -> Self {
        let mut owners: BTreeMap<NameBuf, BTreeSet<RecordType>> = BTreeMap::new();
        let mut targets = BTreeSet::new();
        let mut records = BTreeSet::new();
        for record in set.zones().flat_map(|zone| zone.records()) {
            let types = owners.entry(record.owner.to_owned()).or_default();
            types.insert(record.record_type);
            let names = rdata_names(record.record_type, record.rdata);
            targets.extend(names.map(Name::to_owned));
            records.insert(Record::from(&record));
        }
        let owners = owners.into_iter().map(|(name, types)| Owner {
            name,
            types: types.into_iter().collect(),
        });
        Self {
            set,
            records,
            owners: owners.collect(),
            targets: targets.into_iter().collect(),
        }
    }
}
