//! The check of zone images on any octets, and look-ups in what passes it.

#![no_main]

use libfuzzer_sys::fuzz_target;
use mirage_dns::zone_set::ZoneSet;

fuzz_target!(|octets: &[u8]| {
    // The tables of an image are read in place: any alignment must do.
    let Ok(set) = ZoneSet::from_bytes(octets) else {
        return;
    };
    for zone in set.zones() {
        assert!(set.contains(zone.apex()));
        let _ = (zone.serial(), zone.name_count());
        for record in zone.records() {
            // Another zone may answer for it, and may lack the name: glue in the zone above.
            let answering = set.zone_of(record.owner).expect("one of the zones");
            assert!(answering.apex().len() >= zone.apex().len());
            assert!(answering.apex() != zone.apex() || set.contains(record.owner));
            for ancestor in record.owner.ancestors() {
                let _ = set.zone_of(ancestor);
            }
        }
    }
});
