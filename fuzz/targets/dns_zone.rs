//! The master-file parser and the zone compiler on any text, split by a zero octet into a file and one that it includes;
//! an image that comes of it passes the check of images and holds what it was made of.

#![no_main]

use libfuzzer_sys::fuzz_target;
use mirage_dns::master_file::Source;
use mirage_dns::zone_compiler::ZoneCompiler;
use mirage_dns::zone_set::ZoneSet;

fuzz_target!(|text: &[u8]| {
    let mut parts = text.splitn(2, |octet| *octet == 0);
    let main = Source {
        name: "main",
        text: parts.next().unwrap_or_default(),
    };
    let files = [
        main,
        Source {
            name: "other",
            text: parts.next().unwrap_or_default(),
        },
    ];
    let mut compiler = ZoneCompiler::new();
    compiler.add_zone(main, &files);
    match compiler.finish() {
        Ok(compiled) => {
            let set = ZoneSet::from_bytes(&compiled.image).expect("a compiled image is one");
            assert_eq!(set.zones().len(), 1);
            for zone in set.zones() {
                let mut records = 0;
                for record in zone.records() {
                    assert!(set.contains(record.owner), "{} is not found", record.owner);
                    assert_eq!(
                        set.zone_of(record.owner).map(|zone| zone.apex()),
                        Some(zone.apex())
                    );
                    records += 1;
                }
                assert!(records > 0, "a zone has its SOA");
            }
        }
        Err(diagnostics) => {
            assert!(diagnostics.error_count() > 0);
            for diagnostic in diagnostics.iter() {
                assert!(!diagnostic.to_string().is_empty());
            }
        }
    }
});
