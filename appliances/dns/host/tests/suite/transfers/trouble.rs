//! Primaries that fail, go back, or give what can't be served; serials that come round; a medium that takes nothing.

use std::fs;
use std::net::UdpSocket;

use mirage_dns::record::Rcode;

use super::knot::Knot;
use super::nsd::Nsd;
use super::ours::Ours;
use super::peer::{SHA256, SHA512, free_port, has_serial, serial, soa, write};
use super::updates::nsupdate;
use super::zones::{APEX, assert_agree, assert_becomes, records, version};
use crate::common::{dig, eventually};

/// A small zone with any serial.
fn small(serial: u32) -> String {
    format!(
        "$ORIGIN {APEX}.\n$TTL 60\n@ SOA ns root {serial} 1h 10m 1w 60\n@ NS ns\nns A 192.0.2.53\nversion TXT \"{serial}\"\n"
    )
}

#[test]
fn primary_of_loopback_is_asked_from_the_address_at_which_we_listen() {
    let folder = tempfile::tempdir().expect("a folder");
    let folder = folder.path();
    write(folder, "moving.zone", &small(1));
    let file = folder.join("moving.zone");
    let file = file.to_str().expect("UTF-8");
    let primary = UdpSocket::bind("127.0.0.1:0").expect("a socket");
    primary
        .set_read_timeout(Some(crate::common::LONG))
        .expect("a timeout");
    let listen = std::net::SocketAddr::from(([127, 0, 0, 2], free_port().port()));
    let address = primary.local_addr().expect("an address");
    let secondary = format!("{APEX}={address}");
    // What it has it asks about before anything is fetched.
    let arguments = ["--zone", file, "--secondary", &secondary];
    let _ours = Ours::start(folder, listen, &arguments);
    let (_, from) = primary.recv_from(&mut [0; 512]).expect("a question");
    assert_eq!(from.ip(), listen.ip());
}

#[test]
fn other_primary_is_asked_where_the_first_is_gone() {
    let folder = tempfile::tempdir().expect("a folder");
    let folder = folder.path();
    let (dead, nsd_at, ours_at) = (free_port(), free_port(), free_port());
    write(folder, "moving.zone", &version(1, 30));
    let zone = format!(
        "zone:\n  name: {APEX}\n  zonefile: moving.zone\n  store-ixfr: yes\n  create-ixfr: yes\n  provide-xfr: 127.0.0.1 {0}\n  \
         notify: 127.0.0.1@{1} {0}\n",
        SHA512.name,
        ours_at.port()
    );
    let nsd = Nsd::start(folder, nsd_at, &[SHA512], &zone);
    let keys = [SHA256.file(folder), SHA512.file(folder)];
    // One key for each primary tells whose notice it is.
    let primaries = [
        format!("{APEX}={dead}@{}", SHA256.name),
        format!("{APEX}={nsd_at}@{}", SHA512.name),
    ];
    let ours = Ours::start(
        folder,
        ours_at,
        &[
            "--secondary",
            &primaries[0],
            "--secondary",
            &primaries[1],
            "--keys",
            &keys[0],
            "--keys",
            &keys[1],
            "--transfer",
            "127.0.0.1",
        ],
    );
    has_serial(ours_at, APEX, 1);
    write(folder, "moving.zone", &version(2, 30));
    nsd.reload();
    has_serial(ours_at, APEX, 2);
    assert_agree((ours_at, APEX, None), (nsd_at, APEX, Some(SHA512)));
    assert!(
        ours.times(&format!("not transferred from {dead}")) >= 1,
        "{}",
        ours.log()
    );
}

#[test]
fn serial_that_comes_round_is_followed_down_a_chain() {
    let folder = tempfile::tempdir().expect("a folder");
    let folder = folder.path();
    let (knot_at, ours_at, nsd_at) = (free_port(), free_port(), free_port());
    let file = write(folder, "moving.zone", &small(u32::MAX - 1));
    let sections = format!(
        "remote:\n  - id: ours\n    address: 127.0.0.1@{}\nacl:\n  - id: all\n    address: 127.0.0.1\n    action: transfer\n\
         zone:\n  - domain: {APEX}\n    file: \"{file}\"\n    zonefile-load: difference\n    zonefile-sync: -1\n    acl: all\n    \
         notify: ours\n",
        ours_at.port()
    );
    let knot = Knot::start(folder, knot_at, &[], &sections);
    let (secondary, notify) = (format!("{APEX}={knot_at}"), nsd_at.to_string());
    let state = folder.join("state");
    let arguments = [
        "--secondary",
        &secondary,
        "--transfer",
        "127.0.0.1",
        "--notify",
        &notify,
        "--state",
        state.to_str().expect("UTF-8"),
    ];
    let ours = Ours::start(folder, ours_at, &arguments);
    let zone = format!(
        "zone:\n  name: {APEX}\n  zonefile: fetched.zone\n  request-xfr: 127.0.0.1@{} NOKEY\n  allow-notify: 127.0.0.1 NOKEY\n  \
         provide-xfr: 127.0.0.1 NOKEY\n",
        ours_at.port()
    );
    let _nsd = Nsd::start(folder, nsd_at, &[], &zone);
    // RFC 1982: each is newer than the one before it.
    for next in [u32::MAX - 1, u32::MAX, 3, 0x7fff_ffff, 0xf000_0000, 1] {
        write(folder, "moving.zone", &small(next));
        knot.reload();
        has_serial(nsd_at, APEX, next);
        let theirs = records(knot_at, APEX, None);
        assert_becomes((ours_at, APEX, None), &theirs);
        assert_becomes((nsd_at, APEX, None), &theirs);
    }
    // What was kept comes round, too.
    let before = records(ours_at, APEX, None);
    drop((ours, knot));
    let _ours = Ours::start(folder, ours_at, &arguments);
    assert_becomes((ours_at, APEX, None), &before);
}

#[test]
fn primary_that_goes_back_is_not_followed_until_it_is_ahead() {
    let folder = tempfile::tempdir().expect("a folder");
    let folder = folder.path();
    let (nsd_at, ours_at) = (free_port(), free_port());
    // It is asked every two seconds.
    let often = |serial| small(serial).replace("1h 10m", "2 2");
    write(folder, "moving.zone", &often(5));
    let zone = format!(
        "zone:\n  name: {APEX}\n  zonefile: moving.zone\n  provide-xfr: 127.0.0.1 NOKEY\n  notify: 127.0.0.1@{} NOKEY\n",
        ours_at.port()
    );
    let nsd = Nsd::start(folder, nsd_at, &[], &zone);
    let secondary = format!("{APEX}={nsd_at}");
    let ours = Ours::start(
        folder,
        ours_at,
        &["--secondary", &secondary, "--transfer", "127.0.0.1", "-v"],
    );
    has_serial(ours_at, APEX, 5);
    write(folder, "moving.zone", &often(3));
    nsd.reload();
    has_serial(nsd_at, APEX, 3);
    // Ours has asked, and heard it, and stays where it is.
    ours.says("has serial 3");
    assert_eq!(serial(ours_at, APEX), Some(5));
    write(folder, "moving.zone", &often(6));
    nsd.reload();
    eventually("serial 6", || {
        let serial = serial(ours_at, APEX);
        assert!(matches!(serial, Some(5 | 6)), "{serial:?}");
        (serial == Some(6)).then_some(())
    });
    assert_agree((ours_at, APEX, None), (nsd_at, APEX, None));
}

#[test]
fn signed_zone_is_not_served_and_the_log_says_why() {
    let folder = tempfile::tempdir().expect("a folder");
    let folder = folder.path();
    let (nsd_at, ours_at) = (free_port(), free_port());
    write(
        folder,
        "moving.zone",
        &(small(1) + "@ DNSKEY 257 3 8 AwEAAaetidLzsKWUt4swWR8yu0wPHPiUi8LU\n"),
    );
    let zone = format!(
        "zone:\n  name: {APEX}\n  zonefile: moving.zone\n  provide-xfr: 127.0.0.1 NOKEY\n  notify: 127.0.0.1@{} NOKEY\n",
        ours_at.port()
    );
    let nsd = Nsd::start(folder, nsd_at, &[], &zone);
    let secondary = format!("{APEX}={nsd_at}");
    let ours = Ours::start(
        folder,
        ours_at,
        &["--secondary", &secondary, "--transfer", "127.0.0.1"],
    );
    ours.says("DNSKEY");
    assert_eq!(soa(ours_at, APEX), Some((Rcode::SERVFAIL, None)));
    write(folder, "moving.zone", &small(2));
    nsd.reload();
    has_serial(ours_at, APEX, 2);
}

#[test]
fn everything_goes_over_ipv6_as_well() {
    if UdpSocket::bind("[::1]:0").is_err() {
        eprintln!("SKIPPED: everything_goes_over_ipv6_as_well: no IPv6 on this system");
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let folder = folder.path();
    let [primary, secondary] = [free_port(), free_port()].map(|mut address| {
        address.set_ip("::1".parse().expect("an address"));
        address
    });
    let file = write(folder, "moving.zone", &version(1, 30));
    let key = SHA256.file(folder);
    let (rule, notify) = (
        format!("::1@{}", SHA256.name),
        format!("{secondary}@{}", SHA256.name),
    );
    let first = Ours::start(
        folder,
        primary,
        &[
            "--zone",
            &file,
            "--keys",
            &key,
            "--transfer",
            &rule,
            "--notify",
            &notify,
        ],
    );
    let of = format!("{APEX}={primary}@{}", SHA256.name);
    let _second = Ours::start(
        folder,
        secondary,
        &["--secondary", &of, "--keys", &key, "--transfer", "::1"],
    );
    for serial in 1..=3 {
        write(folder, "moving.zone", &version(serial, 30));
        first.reload();
        has_serial(secondary, APEX, serial);
        assert_agree((secondary, APEX, None), (primary, APEX, Some(SHA256)));
    }
    assert_eq!(first.times("what changed goes to"), 2, "{}", first.log());
}

#[test]
fn update_that_cannot_be_stored_is_not_done() {
    let folder = tempfile::tempdir().expect("a folder");
    let folder = folder.path();
    let at = free_port();
    let server = super::updates::ours(folder, at, &[]);
    // Nobody can write to a folder as to a file, whatever his rights.
    let journal = folder.join("state").join(format!("{APEX}.journal"));
    fs::create_dir(&journal).expect("a folder in the place of the journal");
    let add = |name: &str| format!("update add {name}.{APEX}. 60 A 192.0.2.1\nsend\n");
    let (done, said) = nsupdate(folder, at, Some(SHA256), &[], &add("lost"));
    assert!(!done && said.contains("SERVFAIL"), "{said}");
    server.says("can't be kept");
    assert_eq!(dig(at, &["+short", &format!("lost.{APEX}")]), "");
    assert_eq!(serial(at, APEX), Some(1));
    fs::remove_dir(&journal).expect("the folder");
    let (done, said) = nsupdate(folder, at, Some(SHA256), &[], &add("kept"));
    assert!(done, "{said}");
    assert_eq!(serial(at, APEX), Some(2));
    let before = records(at, APEX, None);
    drop(server);
    let _server = super::updates::ours(folder, at, &[]);
    assert_becomes((at, APEX, None), &before);
}
