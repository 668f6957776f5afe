//! Ours fetches zones from NSD and Knot.

use super::knot::Knot;
use super::nsd::Nsd;
use super::ours::Ours;
use super::peer::{SHA256, SHA512, TestKey, free_port, has_serial, write};
use super::zones::{APEX, assert_agree, version};

/// How a primary gives what changed.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Gives {
    Differences,
    WholeZones,
}

fn of(key: Option<TestKey>) -> String {
    key.map_or(String::new(), |key| format!("@{}", key.name))
}

fn nsd_is_followed(gives: Gives, key: Option<TestKey>) {
    let folder = tempfile::tempdir().expect("a folder");
    let folder = folder.path();
    let (nsd_at, ours_at) = (free_port(), free_port());
    // NSD signs the first message of a transfer, the last, and each 96th.
    let hosts = if key.is_some() { 5_000 } else { 30 };
    write(folder, "moving.zone", &version(1, hosts));
    let ixfr = match gives {
        Gives::Differences => "  store-ixfr: yes\n  create-ixfr: yes\n",
        Gives::WholeZones => "",
    };
    let key_name = key.map_or("NOKEY", |key| key.name);
    let zone = format!(
        "zone:\n  name: {APEX}\n  zonefile: moving.zone\n{ixfr}  provide-xfr: 127.0.0.1 {key_name}\n  \
         notify: 127.0.0.1@{} {key_name}\n",
        ours_at.port()
    );
    let keys: Vec<TestKey> = key.into_iter().collect();
    let nsd = Nsd::start(folder, nsd_at, &keys, &zone);

    let secondary = format!("{APEX}={nsd_at}{}", of(key));
    let mut arguments = vec!["--secondary", &secondary, "--transfer", "127.0.0.1"];
    let file = key.map(|key| key.file(folder));
    arguments.extend(file.iter().flat_map(|file| ["--keys", file]));
    let ours = Ours::start(folder, ours_at, &arguments);
    has_serial(ours_at, APEX, 1);
    assert_agree((ours_at, APEX, None), (nsd_at, APEX, key));

    // Nothing but a notice brings the next versions: the refresh interval is an hour.
    for serial in 2..=4 {
        write(folder, "moving.zone", &version(serial, hosts));
        nsd.reload();
        has_serial(ours_at, APEX, serial);
        assert_agree((ours_at, APEX, None), (nsd_at, APEX, key));
    }
    let (whole, differences) = match gives {
        Gives::Differences => (1, 3),
        Gives::WholeZones => (4, 0),
    };
    assert_eq!(
        ours.times("the whole zone came from"),
        whole,
        "{}",
        ours.log()
    );
    assert_eq!(
        ours.times("what changed came from"),
        differences,
        "{}",
        ours.log()
    );
}

#[test]
fn nsd_that_gives_whole_zones_alone_is_followed() {
    nsd_is_followed(Gives::WholeZones, None);
}

#[test]
fn nsd_that_gives_whole_zones_alone_is_followed_with_signatures() {
    nsd_is_followed(Gives::WholeZones, Some(SHA256));
}

#[test]
fn nsd_that_gives_differences_is_followed() {
    nsd_is_followed(Gives::Differences, None);
}

#[test]
fn nsd_that_gives_differences_is_followed_with_signatures() {
    nsd_is_followed(Gives::Differences, Some(SHA512));
}

fn knot_is_followed(gives: Gives, key: Option<TestKey>) {
    let folder = tempfile::tempdir().expect("a folder");
    let folder = folder.path();
    let (knot_at, ours_at) = (free_port(), free_port());
    let file = write(folder, "moving.zone", &version(1, 30));
    let signed = key.map_or(String::new(), |key| format!("    key: {}\n", key.name));
    let ixfr = match gives {
        Gives::Differences => "    zonefile-load: difference\n",
        Gives::WholeZones => "    zonefile-load: whole\n    journal-content: none\n",
    };
    let sections = format!(
        "remote:\n  - id: ours\n    address: 127.0.0.1@{}\n{signed}\
         acl:\n  - id: ours\n    address: 127.0.0.1\n    action: transfer\n{signed}\
         zone:\n  - domain: {APEX}\n    file: \"{file}\"\n    zonefile-sync: -1\n{ixfr}    acl: ours\n    notify: ours\n",
        ours_at.port()
    );
    let keys: Vec<TestKey> = key.into_iter().collect();
    let knot = Knot::start(folder, knot_at, &keys, &sections);

    let secondary = format!("{APEX}={knot_at}{}", of(key));
    let mut arguments = vec!["--secondary", &secondary, "--transfer", "127.0.0.1"];
    let file = key.map(|key| key.file(folder));
    arguments.extend(file.iter().flat_map(|file| ["--keys", file]));
    let ours = Ours::start(folder, ours_at, &arguments);
    has_serial(ours_at, APEX, 1);
    assert_agree((ours_at, APEX, None), (knot_at, APEX, key));

    for serial in 2..=4 {
        write(folder, "moving.zone", &version(serial, 30));
        knot.reload();
        has_serial(ours_at, APEX, serial);
        assert_agree((ours_at, APEX, None), (knot_at, APEX, key));
    }
    let (whole, differences) = match gives {
        Gives::Differences => (1, 3),
        Gives::WholeZones => (4, 0),
    };
    assert_eq!(
        ours.times("the whole zone came from"),
        whole,
        "{}",
        ours.log()
    );
    assert_eq!(
        ours.times("what changed came from"),
        differences,
        "{}",
        ours.log()
    );
}

#[test]
fn knot_that_gives_whole_zones_alone_is_followed_with_signatures() {
    knot_is_followed(Gives::WholeZones, Some(SHA512));
}

#[test]
fn knot_that_gives_differences_is_followed() {
    knot_is_followed(Gives::Differences, None);
}

#[test]
fn knot_that_gives_differences_is_followed_with_signatures() {
    knot_is_followed(Gives::Differences, Some(SHA256));
}
