//! NSD and Knot fetch zones from ours.

use super::knot::Knot;
use super::nsd::Nsd;
use super::ours::Ours;
use super::peer::{SHA256, SHA512, TestKey, free_port, has_serial, write};
use super::zones::{APEX, assert_agree, version};
use crate::common::counter;

/// Reads three more versions from the zone file, and waits for each until the secondary has it, too.
fn next_versions(
    folder: &std::path::Path,
    ours: &Ours,
    secondary: std::net::SocketAddr,
    key: Option<TestKey>,
) {
    for serial in 2..=4 {
        write(folder, "moving.zone", &version(serial, 30));
        ours.reload();
        // A notice brings it: the refresh interval is an hour.
        has_serial(secondary, APEX, serial);
        assert_agree((ours.address(), APEX, key), (secondary, APEX, None));
    }
}

fn start(
    folder: &std::path::Path,
    ours_at: std::net::SocketAddr,
    secondary: std::net::SocketAddr,
    key: Option<TestKey>,
) -> Ours {
    let file = write(folder, "moving.zone", &version(1, 30));
    let of = key.map_or(String::new(), |key| format!("@{}", key.name));
    let (transfer, notify) = (format!("127.0.0.1{of}"), format!("{secondary}{of}"));
    let mut arguments = vec![
        "--zone",
        &file,
        "--transfer",
        &transfer,
        "--notify",
        &notify,
    ];
    let file = key.map(|key| key.file(folder));
    arguments.extend(file.iter().flat_map(|file| ["--keys", file]));
    Ours::start(folder, ours_at, &arguments)
}

fn nsd_follows(request: &str, key: Option<TestKey>) {
    let folder = tempfile::tempdir().expect("a folder");
    let folder = folder.path();
    let (nsd_at, ours_at) = (free_port(), free_port());
    let ours = start(folder, ours_at, nsd_at, key);
    let key_name = key.map_or("NOKEY", |key| key.name);
    let zone = format!(
        "zone:\n  name: {APEX}\n  zonefile: fetched.zone\n  request-xfr: {request}127.0.0.1@{} {key_name}\n  \
         allow-notify: 127.0.0.1 {key_name}\n  provide-xfr: 127.0.0.1 NOKEY\n",
        ours_at.port()
    );
    let keys: Vec<TestKey> = key.into_iter().collect();
    let nsd = Nsd::start(folder, nsd_at, &keys, &zone);
    has_serial(nsd_at, APEX, 1);
    next_versions(folder, &ours, nsd_at, key);
    let (log, (counted, _)) = (nsd.log(), ours.interrupt());
    let incremental = counter(&counted, "transfers-incremental");
    match request {
        "AXFR " => assert_eq!(incremental, 0, "{counted}{log}"),
        _ => assert!(incremental >= 3, "{counted}{log}"),
    }
    assert!(counter(&counted, "notices-sent") >= 3, "{counted}");
    assert!(!log.contains("refused"), "{log}");
    if key.is_some() {
        assert!(log.contains("TSIG verified with key"), "{log}");
    }
}

#[test]
fn nsd_that_asks_for_whole_zones_alone_follows() {
    nsd_follows("AXFR ", Some(SHA512));
}

#[test]
fn nsd_that_asks_for_differences_follows() {
    nsd_follows("", None);
}

#[test]
fn nsd_that_asks_for_differences_follows_with_signatures() {
    nsd_follows("", Some(SHA256));
}

#[test]
fn nsd_that_asks_for_differences_over_udp_follows_with_signatures() {
    nsd_follows("UDP ", Some(SHA256));
}

fn knot_follows(key: Option<TestKey>) {
    let folder = tempfile::tempdir().expect("a folder");
    let folder = folder.path();
    let (knot_at, ours_at) = (free_port(), free_port());
    let ours = start(folder, ours_at, knot_at, key);
    let signed = key.map_or(String::new(), |key| format!("    key: {}\n", key.name));
    let sections = format!(
        "remote:\n  - id: ours\n    address: 127.0.0.1@{}\n{signed}\
         acl:\n  - id: notices\n    address: 127.0.0.1\n    action: notify\n{signed}  \
         - id: all\n    address: 127.0.0.1\n    action: transfer\n\
         zone:\n  - domain: {APEX}\n    file: fetched.zone\n    storage: \"{}\"\n    zonefile-sync: -1\n    \
         master: ours\n    acl: [notices, all]\n",
        ours_at.port(),
        folder.display()
    );
    let keys: Vec<TestKey> = key.into_iter().collect();
    let knot = Knot::start(folder, knot_at, &keys, &sections);
    has_serial(knot_at, APEX, 1);
    next_versions(folder, &ours, knot_at, key);
    knot.says("IXFR, incoming");
    let (counted, _) = ours.interrupt();
    assert!(counter(&counted, "transfers-incremental") >= 3, "{counted}");
    // Knot's first, and those that we compared.
    assert_eq!(counter(&counted, "transfers-whole"), 4, "{counted}");
}

#[test]
fn knot_follows_by_differences() {
    knot_follows(None);
}

#[test]
fn knot_follows_by_differences_with_signatures() {
    knot_follows(Some(SHA512));
}
