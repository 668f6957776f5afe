//! A transfer from a hostile primary: whatever comes of it can be looked at, and built or refused; a failed one stays failed.
//! And differences as they are kept: what is read is what was written.

#![no_main]

use std::sync::Arc;

use libfuzzer_sys::fuzz_target;
use mirage_dns::difference::Difference;
use mirage_dns::journal::Journal;
use mirage_dns::name::{Name, NameBuf};
use mirage_dns::record::RecordType;
use mirage_dns::transfer::{
    IncomingTransfer, OutgoingTransfer, TransferError, TransferLimits, TransferRequest, Transferred,
};
use mirage_dns::zone_set::{OwnedZoneSet, ZoneSetBuilder};

const ID: u16 = 7;
const LIMITS: TransferLimits = TransferLimits {
    octets: 1 << 16,
    messages: 64,
};

/// A root question of type AXFR or IXFR; the records' names can point to its name.
const QUESTION: &[u8] = b"\x01o\0";

fuzz_target!(|input: &[u8]| {
    kept(input);
    let Some((&kind, mut rest)) = input.split_first() else {
        return;
    };
    let serial = (kind & 1 != 0).then_some(u32::from(kind >> 2));
    let mut transfer = IncomingTransfer::new(ID, apex(), serial, LIMITS);
    if kind & 2 != 0 {
        transfer = transfer.over_datagram();
    }
    let mut failed = false;
    // Each message: octets, how many records, the records.
    while let Some(([length, answers], after)) = rest.split_first_chunk::<2>() {
        let (records, after) = after.split_at(after.len().min(usize::from(*length)));
        rest = after;
        let record_type = if serial.is_some() { 251 } else { 252 };
        let header = [0, ID as u8, 0x84, 0, 0, 1, 0, *answers, 0, 0, 0, 0];
        let message = [&header[..], QUESTION, &[0, record_type, 0, 1], records].concat();
        let result = transfer.handle_message(&message);
        assert!(!failed || result == Err(TransferError::AfterEnd));
        match result {
            Ok(None) => {}
            Ok(Some(transferred)) => {
                look_at(transferred, serial);
                failed = true;
            }
            Err(_) => failed = true,
        }
    }
    let _ = transfer.handle_message(input);
});

fn apex() -> NameBuf {
    let (name, _) = Name::split_from(QUESTION).expect("a name");
    name.to_owned()
}

fn kept(input: &[u8]) {
    if let Some(difference) = Difference::decode(input) {
        let mut octets = Vec::new();
        difference.encode(&mut octets);
        assert_eq!(octets, input);
    }
}

fn look_at(transferred: Transferred, serial: Option<u32>) {
    match transferred {
        Transferred::UpToDate | Transferred::AskOverTcp => {}
        Transferred::Whole(records) => {
            assert_eq!(records[0].record_type(), RecordType::SOA);
            let mut builder = ZoneSetBuilder::new();
            let zone = builder.add_zone(apex().as_name()).expect("a new zone");
            for record in &records {
                let (owner, ttl) = (record.owner(), record.ttl());
                let added =
                    builder.add_record(zone, owner, record.record_type(), ttl, record.rdata());
                if added.is_err() {
                    return;
                }
            }
            if let Ok(image) = builder.build() {
                send(OwnedZoneSet::new(image).expect("what was built is an image"));
            }
        }
        Transferred::Differences(differences) => {
            assert_eq!(Some(differences[0].old_serial()), serial);
            for pair in differences.windows(2) {
                assert_eq!(pair[0].new_serial(), pair[1].old_serial());
            }
            for difference in differences {
                let mut octets = Vec::new();
                difference.encode(&mut octets);
                // What comes over the wire may have what a zone may not.
                if let Some(same) = Difference::decode(&octets) {
                    assert_eq!(same, difference);
                }
            }
        }
    }
}

/// What was built goes out and comes in again.
fn send(zones: OwnedZoneSet) {
    let request = TransferRequest {
        id: ID,
        apex: apex(),
        serial: None,
        edns: None,
    };
    let zones = Arc::new(zones);
    let transfer = OutgoingTransfer::new(&request, &zones, &Journal::new(0));
    let mut transfer = transfer.expect("the zone is there");
    let limits = TransferLimits::default();
    let mut incoming = IncomingTransfer::new(ID, apex(), None, limits);
    let mut out = vec![0; 65_535];
    let mut came = None;
    while let Some(length) = transfer.poll_message(&mut out).expect("it fits") {
        assert!(came.is_none());
        came = incoming.handle_message(&out[..length]).expect("our own");
    }
    let Some(Transferred::Whole(records)) = came else {
        panic!("no whole zone");
    };
    let set = zones.as_zone_set();
    let zone = set.zones().next().expect("the zone");
    assert_eq!(records.len(), zone.record_count());
}
