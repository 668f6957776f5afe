//! The master-file parser and the zone compiler on any text, split by a zero octet into a file and one that it includes;
//! each record that is read is read again from its text; an image that comes of it passes the check of images and holds what
//! it was made of.

#![no_main]

use libfuzzer_sys::fuzz_target;
use mirage_dns::master_file::{Limits, NoFiles, Parser, Record, Source};
use mirage_dns::record::{Rdata, check_rdata};
use mirage_dns::zone_compiler::ZoneCompiler;
use mirage_dns::zone_set::ZoneSet;

/// So few that no input takes long: a `$GENERATE` of a few octets makes as many records as it may.
const LIMITS: Limits = Limits {
    include_depth: 3,
    includes: 20,
    generate: 20,
    generated: 50,
};

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
    let mut parser = Parser::new(main, &files).with_limits(LIMITS);
    let mut data = vec![0; 65_535];
    let mut again = vec![0; 65_535];
    loop {
        match parser.next_record(&mut data) {
            Ok(Some(record)) => read_again(&record, &mut again),
            Ok(None) => break,
            Err(error) => assert!(!error.to_string().is_empty()),
        }
    }
    let mut compiler = ZoneCompiler::new().with_limits(LIMITS);
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

/// A record's text is read as the same record, which has the same text.
fn read_again(record: &Record<'_, '_>, buffer: &mut [u8]) {
    let rdata = |octets| Rdata {
        record_type: record.record_type,
        octets,
    };
    assert_eq!(check_rdata(record.record_type, record.data), Ok(()));
    let data = rdata(record.data).to_string();
    let line = format!(
        "{} {} {} {} {data}\n",
        record.owner, record.ttl, record.class, record.record_type
    );
    let source = Source {
        name: "line",
        text: line.as_bytes(),
    };
    let mut parser = Parser::new(source, &NoFiles);
    match parser.next_record(buffer) {
        Ok(Some(again)) => {
            assert_eq!(again.owner.as_wire(), record.owner.as_wire(), "{line}");
            assert_eq!(
                (again.ttl, again.class),
                (record.ttl, record.class),
                "{line}"
            );
            assert_eq!(again.record_type, record.record_type, "{line}");
            assert_eq!(again.data, record.data, "{line}");
            assert_eq!(rdata(again.data).to_string(), data);
        }
        Ok(None) => panic!("no record: {line}"),
        Err(error) => panic!("{line}{error}"),
    }
    assert!(parser.next_record(buffer).is_ok_and(|end| end.is_none()));
}
