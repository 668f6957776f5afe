//! Clients of others fetch zones from ours.

use std::net::SocketAddr;

use super::ours::Ours;
use super::peer::{SHA256, SHA512, TestKey, free_port, has_serial, write};
use super::zones::{APEX, transfer, version};
use crate::common::{counter, dig, kdig, output};

/// Ours at version 3 of the zone, which was read twice again.
fn at_version_3(folder: &std::path::Path, more: &[&str]) -> Ours {
    let file = write(folder, "moving.zone", &version(1, HOSTS));
    let arguments = [&["--zone", &file][..], more].concat();
    let ours = Ours::start(folder, free_port(), &arguments);
    for serial in 2..=3 {
        write(folder, "moving.zone", &version(serial, HOSTS));
        ours.reload();
        has_serial(ours.address(), APEX, serial);
    }
    ours
}

/// The types of the records that dig printed, and the serials of the SOA records among them, in their order.
fn sequence(text: &str) -> (usize, Vec<u32>) {
    let records: Vec<Vec<&str>> = text
        .lines()
        .filter(|line| !line.starts_with(';') && !line.is_empty())
        .map(|line| line.split_whitespace().collect())
        .collect();
    let soas = records.iter().filter(|fields| fields[3] == "SOA");
    let serials = soas.map(|fields| fields[6].parse().expect("a serial"));
    (records.len(), serials.collect())
}

/// So many that the differences between a few versions are less than the whole zone, which else is given.
const HOSTS: u32 = 100;

/// Records of a version, the SOA once.
const RECORDS: usize = HOSTS as usize + 6;

/// Records that go, and that come, from a version to the next: the host, the version's TXT, the changed TTL, the MX.
const CHANGED: usize = 4;

#[test]
fn dig_kdig_and_drill_get_the_whole_zone() {
    let folder = tempfile::tempdir().expect("a folder");
    let ours = at_version_3(folder.path(), &["--transfer", "127.0.0.1"]);
    let at = ours.address();
    let whole = (RECORDS + 1, vec![3, 3]);
    assert_eq!(sequence(&transfer(at, &[APEX, "AXFR"], None)), whole);
    assert_eq!(
        sequence(&kdig(at, &["+tcp", "+noall", "+answer", APEX, "AXFR"])),
        whole
    );
    let shown = drill(at, &["-t", APEX, "AXFR"]);
    let records = shown
        .lines()
        .filter(|line| !line.starts_with(';') && !line.is_empty());
    assert_eq!(records.count(), RECORDS + 1, "{shown}");
    // A connection may be used further after a transfer.
    let twice = dig(
        at,
        &["+noall", "+answer", "+keepopen", APEX, "AXFR", APEX, "AXFR"],
    );
    assert_eq!(sequence(&twice), (2 * (RECORDS + 1), vec![3; 4]));
}

#[test]
fn dig_and_kdig_get_what_changed_over_tcp_and_over_udp() {
    let folder = tempfile::tempdir().expect("a folder");
    let ours = at_version_3(folder.path(), &["--transfer", "127.0.0.1"]);
    let at = ours.address();
    let ixfr = |serial: u32, transport: &str| {
        let record_type = format!("IXFR={serial}");
        let by_dig = transfer(at, &[transport, APEX, &record_type], None);
        let edns = "+bufsize=1232"; // dig's; without EDNS a datagram has 512
        let by_kdig = kdig(
            at,
            &[transport, edns, "+noall", "+answer", APEX, &record_type],
        );
        assert_eq!(sequence(&by_dig), sequence(&by_kdig), "{by_dig}\n{by_kdig}");
        sequence(&by_dig)
    };
    for transport in ["+tcp", "+notcp"] {
        // RFC 1995 §4: the new SOA, then old SOA, what goes, next SOA, what comes, for each version, and the new SOA again.
        assert_eq!(
            ixfr(1, transport),
            (2 + 2 * (2 + 2 * CHANGED), vec![3, 1, 2, 2, 3, 3])
        );
        assert_eq!(ixfr(2, transport), (2 + 2 + 2 * CHANGED, vec![3, 2, 3, 3]));
        // Who is up to date, or ahead, gets the SOA alone.
        assert_eq!(ixfr(3, transport), (1, vec![3]));
        assert_eq!(ixfr(4, transport), (1, vec![3]));
    }
    // What the journal does not reach back to is the whole zone; over UDP the SOA alone says that TCP is to be asked.
    assert_eq!(ixfr(4_000_000_000, "+tcp"), (RECORDS + 1, vec![3, 3]));
    let (counted, _) = ours.interrupt();
    assert!(
        counter(&counted, "transfers-incremental") >= 16,
        "{counted}"
    );
}

#[test]
fn what_changed_and_is_too_long_for_a_datagram_is_asked_for_over_tcp() {
    let folder = tempfile::tempdir().expect("a folder");
    let ours = at_version_3(folder.path(), &["--transfer", "127.0.0.1"]);
    let at = ours.address();
    write(folder.path(), "moving.zone", &version(43, HOSTS));
    ours.reload();
    has_serial(at, APEX, 43);
    // RFC 1995 §2: the SOA alone.
    let shown = transfer(at, &["+notcp", APEX, "IXFR=3"], None);
    assert_eq!(sequence(&shown), (1, vec![43]), "{shown}");
    let (count, serials) = sequence(&transfer(at, &["+tcp", APEX, "IXFR=3"], None));
    assert_eq!(serials, [43, 3, 43, 43]);
    assert!((80..RECORDS).contains(&count), "{count}");
    // What would be more than the whole zone is the whole zone.
    write(folder.path(), "moving.zone", &version(1_000, HOSTS));
    ours.reload();
    has_serial(at, APEX, 1_000);
    let shown = transfer(at, &["+tcp", APEX, "IXFR=43"], None);
    assert_eq!(sequence(&shown), (RECORDS + 1, vec![1_000, 1_000]));
}

#[test]
fn who_may_not_fetch_is_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let folder = folder.path();
    let keys = [SHA256.file(folder), SHA512.file(folder)];
    let rules = [
        "192.0.2.0/24".to_owned(),
        format!("127.0.0.1@{}", SHA256.name),
    ];
    let more = [
        "--transfer",
        &rules[0],
        "--transfer",
        &rules[1],
        "--keys",
        &keys[0],
        "--keys",
        &keys[1],
    ];
    let ours = at_version_3(folder, &more);
    let at = ours.address();
    let asked = |record_type: &str, key: Option<TestKey>| {
        let argument = key.map(|key| key.argument());
        let mut arguments = vec!["+noall", "+answer", "+comments", APEX, record_type];
        arguments.extend(argument.iter().flat_map(|argument| ["-y", argument]));
        dig(at, &arguments)
    };
    for record_type in ["AXFR", "IXFR=1"] {
        let with_key = asked(record_type, Some(SHA256));
        assert!(
            with_key.matches("SOA").count() >= 2 && !with_key.contains("could not be validated"),
            "{with_key}"
        );
        // No key, one that this zone does not let in, one whose secret is another, one that nobody knows.
        let wrong = TestKey {
            secret: SHA512.secret,
            ..SHA256
        };
        let unknown = TestKey {
            name: "unknown.key.example",
            ..SHA256
        };
        for key in [None, Some(SHA512), Some(wrong), Some(unknown)] {
            let shown = asked(record_type, key);
            assert!(shown.contains("Transfer failed"), "{key:?}: {shown}");
            assert!(!shown.contains("host3"), "{key:?}: {shown}");
        }
    }
    // kdig and drill sign, too.
    let argument = SHA256.argument();
    let by_kdig = kdig(
        at,
        &["+tcp", "+noall", "+answer", "-y", &argument, APEX, "AXFR"],
    );
    assert_eq!(sequence(&by_kdig), (RECORDS + 1, vec![3, 3]));
    let argument = format!("{}:{}:{}", SHA256.name, SHA256.secret, SHA256.algorithm);
    let by_drill = drill(at, &["-t", "-y", &argument, APEX, "AXFR"]);
    assert!(
        by_drill.matches("host").count() >= HOSTS as usize,
        "{by_drill}"
    );
    // kdig shows the code.
    let refused = |more: &[&str]| kdig_fails(at, &[&["+tcp", APEX, "AXFR"], more].concat());
    assert!(refused(&[]).contains("REFUSED"), "{}", refused(&[]));
    let (counted, _) = ours.interrupt();
    for (name, least) in [
        ("transfers-refused", 4),
        ("signatures-bad", 2),
        ("signatures-bad-key", 2),
    ] {
        assert!(counter(&counted, name) >= least, "{name}: {counted}");
    }
}

#[test]
fn axfr_over_udp_and_of_zones_that_are_not_ours_is_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let ours = at_version_3(folder.path(), &["--transfer", "127.0.0.1"]);
    let at = ours.address();
    let shown = kdig_fails(at, &["+notcp", APEX, "AXFR"]);
    assert!(shown.contains("REFUSED"), "{shown}");
    for name in ["other.example", "host3.moving.example"] {
        let shown = kdig_fails(at, &["+tcp", name, "AXFR"]);
        assert!(shown.contains("REFUSED"), "{shown}");
    }
}

/// What kdig says where it may fail.
fn kdig_fails(at: SocketAddr, arguments: &[&str]) -> String {
    let (server, port) = (format!("@{}", at.ip()), at.port().to_string());
    let all = [
        &[&server, "-p", &port, "+time=20", "+retry=0"][..],
        arguments,
    ]
    .concat();
    let output = output("kdig", "knot-dnsutils", &all);
    [output.stdout, output.stderr]
        .map(|octets| String::from_utf8_lossy(&octets).into_owned())
        .concat()
}

fn drill(at: SocketAddr, arguments: &[&str]) -> String {
    let (server, port) = (format!("@{}", at.ip()), at.port().to_string());
    let all = [&["-p", &port][..], arguments, &[&server]].concat();
    let output = output("drill", "ldnsutils", &all);
    String::from_utf8_lossy(&output.stdout).into_owned()
}
