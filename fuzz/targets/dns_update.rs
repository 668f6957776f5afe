//! Dynamic updates, one after the other: whatever is not refused can be built, the difference is what changed, the serial is
//! newer, and what is refused leaves no trace.

#![no_main]

use std::collections::HashSet;
use std::sync::OnceLock;

use libfuzzer_sys::fuzz_target;
use mirage_dns::difference::Difference;
use mirage_dns::master_file::{NoFiles, Source};
use mirage_dns::message::MessageReader;
use mirage_dns::serial::is_newer;
use mirage_dns::update::{PendingUpdates, UpdateError, UpdateLimits, UpdateRequest};
use mirage_dns::zone_compiler::ZoneCompiler;
use mirage_dns::zone_set::{OwnedZoneSet, ZoneRecord, ZoneSetBuilder};

const ZONE: &[u8] = b"$ORIGIN example.org.\n$TTL 1h\n@ SOA ns root 10 2h 30m 4w 5m\n@ NS ns\n@ MX 10 mail\nns A 192.0.2.53\nmail A \
192.0.2.25\nmail A 192.0.2.26\nalias CNAME www\na.b.c A 192.0.2.1\ncut NS ns.cut\nns.cut A 192.0.2.54\nmoved DNAME example.net.\n";

/// The header of an UPDATE without its counts, and a zone section.
const HEADER: [u8; 4] = [0, 7, 0x28, 0];
const ZONE_SECTION: &[u8] = b"\x07example\x03org\0\0\x06\0\x01";

fuzz_target!(|input: &[u8]| {
    let mut world = World::new();
    let mut rest = input;
    // Each: octets (255 at most), how many prerequisites, how many updates, the records. The zone's name is at C0 0C.
    while let Some(([length, prerequisites, updates], after)) = rest.split_first_chunk::<3>() {
        let (records, after) = after.split_at(after.len().min(usize::from(*length)));
        let counts = [0, 1, 0, *prerequisites, 0, *updates, 0, 0];
        world.update(&[&HEADER[..], &counts, ZONE_SECTION, records].concat());
        rest = after;
    }
    // The same octets as a message.
    world.update(input);
    world.build();
});

/// Compiled once.
fn zones() -> &'static OwnedZoneSet {
    static ZONES: OnceLock<OwnedZoneSet> = OnceLock::new();
    ZONES.get_or_init(|| {
        let mut compiler = ZoneCompiler::new();
        let (name, text) = ("zone", ZONE);
        compiler.add_zone(Source { name, text }, &NoFiles);
        OwnedZoneSet::new(compiler.finish().expect("a zone").image).expect("an image")
    })
}

/// A record: owner in small letters, type, TTL, data.
type Record = (Vec<u8>, u16, u32, Vec<u8>);

struct World {
    /// What the updates are applied to: it stays, and they wait.
    zones: &'static OwnedZoneSet,
    /// The records that the differences lead to, once there was one.
    records: Option<HashSet<Record>>,
    differences: Vec<Difference>,
    pending: PendingUpdates,
}

impl World {
    fn new() -> Self {
        let limits = UpdateLimits {
            octets: 20_000,
            ..UpdateLimits::default()
        };
        Self {
            zones: zones(),
            records: None,
            differences: Vec::new(),
            pending: PendingUpdates::new(limits),
        }
    }

    fn update(&mut self, octets: &[u8]) {
        let Ok(reader) = MessageReader::new(octets) else {
            return;
        };
        let Ok(request) = UpdateRequest::parse(&reader) else {
            return;
        };
        let before = (self.pending.version(), self.pending.octets());
        let result = request
            .zone(&self.zones.as_zone_set())
            .and_then(|zone| self.pending.apply(zone, &request));
        let after = (self.pending.version(), self.pending.octets());
        match result {
            Ok(Some(difference)) => {
                assert_eq!(after.0, before.0 + 1);
                assert!(after.1 <= 20_000);
                self.apply(difference);
            }
            Ok(None) => assert_eq!(after, before),
            Err(error) => {
                assert_eq!(after, before);
                assert_ne!(error, UpdateError::NoData);
            }
        }
    }

    fn apply(&mut self, difference: Difference) {
        assert!(is_newer(difference.new_serial(), difference.old_serial()));
        let records = self.records.get_or_insert_with(|| records_of(self.zones));
        let (old, new) = ([&difference.old_soa], [&difference.new_soa]);
        for record in old.into_iter().chain(&difference.removed) {
            assert!(
                records.remove(&folded(record.as_record())),
                "{record:?} was there"
            );
        }
        for record in new.into_iter().chain(&difference.added) {
            assert!(
                records.insert(folded(record.as_record())),
                "{record:?} was not there"
            );
        }
        self.differences.push(difference);
    }

    /// All that was done, built at once.
    fn build(self) {
        let Some(records) = self.records else { return };
        let set = self.zones.as_zone_set();
        let mut builder = ZoneSetBuilder::from_zone_set(&set).expect("it was compiled");
        let apex = set.zones().next().expect("a zone").apex();
        let zone = builder.zone(apex).expect("the zone");
        for difference in &self.differences {
            builder
                .apply(zone, difference)
                .expect("the difference fits");
        }
        let image = builder.build().expect("what is not refused can be built");
        let built = OwnedZoneSet::new(image).expect("an image");
        assert_eq!(records_of(&built), records);
    }
}

fn records_of(zones: &OwnedZoneSet) -> HashSet<Record> {
    let zone = zones.as_zone_set().zones().next().expect("a zone");
    zone.records().map(folded).collect()
}

fn folded(record: ZoneRecord<'_>) -> Record {
    let owner = record.owner.as_wire().to_ascii_lowercase();
    let (record_type, ttl) = (record.record_type.0, record.ttl);
    (owner, record_type, ttl, record.rdata.to_vec())
}
