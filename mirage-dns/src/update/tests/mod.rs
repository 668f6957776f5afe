//! Tests of dynamic updates: each rule on its own, then many at random against a model.

use alloc::string::{String, ToString};
use alloc::vec::Vec;

use super::*;
use crate::difference::Difference;
use crate::master_file::{NoFiles, Source};
use crate::message::{Header, MessageReader};
use crate::name::NameBuf;
use crate::record::{Opcode, RecordClass, RecordType};
use crate::zone_compiler::ZoneCompiler;
use crate::zone_set::{OwnedZoneSet, ZoneSetBuilder};

mod changes;
mod model;
mod prerequisites;
mod refusals;

const ZONE: &str = "\
$ORIGIN example.org.
$TTL 1h
@ SOA ns root 10 2h 30m 4w 5m
@ NS ns
@ MX 10 mail
ns A 192.0.2.53
mail A 192.0.2.25
mail A 192.0.2.26
Www 300 TXT \"web\"
alias CNAME www
deep.below.empty A 192.0.2.1
cut NS ns.cut
ns.cut A 192.0.2.54
moved DNAME example.net.
";

fn name(text: &str) -> NameBuf {
    NameBuf::from_text(text).unwrap()
}

fn compile(text: &str) -> OwnedZoneSet {
    let mut compiler = ZoneCompiler::new();
    let text = text.as_bytes();
    let name = "zone";
    compiler.add_zone(Source { name, text }, &NoFiles);
    OwnedZoneSet::new(compiler.finish().unwrap().image).unwrap()
}

/// A record of a message; its data is not looked at.
#[derive(Clone, Debug)]
struct Wire {
    owner: NameBuf,
    record_type: RecordType,
    class: RecordClass,
    ttl: u32,
    rdata: Vec<u8>,
}

fn wire(owner: &str, record_type: RecordType, class: RecordClass, ttl: u32, rdata: &[u8]) -> Wire {
    Wire {
        owner: name(owner),
        record_type,
        class,
        ttl,
        rdata: rdata.to_vec(),
    }
}

fn add(owner: &str, record_type: RecordType, ttl: u32, rdata: &[u8]) -> Wire {
    wire(owner, record_type, RecordClass::IN, ttl, rdata)
}

/// Without data and TTL, of this class.
fn bare(owner: &str, record_type: RecordType, class: RecordClass) -> Wire {
    wire(owner, record_type, class, 0, &[])
}

fn remove(owner: &str, record_type: RecordType, rdata: &[u8]) -> Wire {
    wire(owner, record_type, RecordClass::NONE, 0, rdata)
}

const ANY: RecordClass = RecordClass::ANY;
const NONE: RecordClass = RecordClass::NONE;

fn message(prerequisites: &[Wire], updates: &[Wire]) -> Vec<u8> {
    let header = Header {
        id: 7,
        opcode: Opcode::UPDATE,
        question_count: 1,
        answer_count: prerequisites.len() as u16,
        authority_count: updates.len() as u16,
        ..Header::default()
    };
    let mut octets = header.to_octets().to_vec();
    octets.extend_from_slice(name("example.org").as_name().as_wire());
    octets.extend([0, 6, 0, 1]);
    for record in prerequisites.iter().chain(updates) {
        octets.extend_from_slice(record.owner.as_name().as_wire());
        octets.extend(record.record_type.0.to_be_bytes());
        octets.extend(record.class.0.to_be_bytes());
        octets.extend(record.ttl.to_be_bytes());
        octets.extend((record.rdata.len() as u16).to_be_bytes());
        octets.extend_from_slice(&record.rdata);
    }
    octets
}

/// What becomes of a zone: the updates that wait, and the image that is built from what they gave.
struct World {
    zones: OwnedZoneSet,
    builder: ZoneSetBuilder,
    pending: PendingUpdates,
}

impl World {
    fn new(text: &str) -> Self {
        Self::with_limits(text, UpdateLimits::default())
    }

    fn with_limits(text: &str, limits: UpdateLimits) -> Self {
        let zones = compile(text);
        let builder = ZoneSetBuilder::from_zone_set(&zones.as_zone_set()).unwrap();
        Self {
            zones,
            builder,
            pending: PendingUpdates::new(limits),
        }
    }

    /// One update, on the image that is there and what waits; its difference goes into the next image.
    fn send(&mut self, octets: &[u8]) -> Result<Option<Difference>, UpdateError> {
        let reader = MessageReader::new(octets).unwrap();
        let request = UpdateRequest::parse(&reader)?;
        let zones = self.zones.as_zone_set();
        let (version, waiting) = (self.pending.version(), self.pending.octets());
        let result = self.pending.apply(request.zone(&zones)?, &request);
        match &result {
            Ok(Some(difference)) => {
                let zone = self.builder.zone(request.apex()).unwrap();
                self.builder.apply(zone, difference).unwrap();
                assert!(crate::serial::is_newer(
                    difference.new_serial(),
                    difference.old_serial()
                ));
                self.builder.build().unwrap();
                assert_eq!(self.pending.version(), version + 1);
            }
            Ok(None) | Err(_) => {
                let after = (self.pending.version(), self.pending.octets());
                assert_eq!(after, (version, waiting), "nothing half done");
            }
        }
        result
    }

    fn update(&mut self, updates: &[Wire]) -> Result<Option<Difference>, UpdateError> {
        self.send(&message(&[], updates))
    }

    fn require(&mut self, prerequisites: &[Wire]) -> Result<Option<Difference>, UpdateError> {
        self.send(&message(prerequisites, &[]))
    }

    /// Builds the next image, and takes it.
    fn build(&mut self) {
        self.zones = OwnedZoneSet::new(self.builder.build().unwrap()).unwrap();
        self.pending.forget(self.pending.version());
        assert!(self.pending.is_empty());
        assert_eq!(self.pending.octets(), 0);
    }

    /// The zone as it will be, record by record as text, owners in small letters.
    fn text(&self) -> Vec<String> {
        let image = self.builder.build().unwrap();
        let zones = OwnedZoneSet::new(image).unwrap();
        let zone = zones
            .as_zone_set()
            .zone_at(name("example.org").as_name())
            .unwrap();
        let line = |record: crate::zone_set::ZoneRecord<'_>| {
            alloc::format!(
                "{} {} {} {:?}",
                record.owner.to_string().to_lowercase(),
                record.ttl,
                record.record_type,
                record.rdata
            )
        };
        let mut lines: Vec<String> = zone.records().map(line).collect();
        lines.sort();
        lines
    }

    fn has(&self, owner: &str, record_type: RecordType) -> bool {
        let start = name(owner).to_string();
        let words = alloc::format!(" {record_type} ");
        self.text()
            .iter()
            .any(|line| line.starts_with(&start) && line.contains(&words))
    }
}

const A: RecordType = RecordType::A;
const ADDRESS: &[u8] = &[192, 0, 2, 99];

fn soa(serial: u32) -> Vec<u8> {
    let mut rdata = b"\x02ns\x07example\x03org\0\x04root\x07example\x03org\0".to_vec();
    for number in [serial, 7200, 1800, 2_419_200, 600] {
        rdata.extend(number.to_be_bytes());
    }
    rdata
}
