//! nsupdate changes zones of ours, and whoever follows them follows.

use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, Output};
use std::thread;

use super::knot::Knot;
use super::nsd::Nsd;
use super::ours::Ours;
use super::peer::{SHA256, SHA512, TestKey, free_port, has_serial, serial, write};
use super::zones::{APEX, assert_agree, assert_becomes, records, version};
use crate::common::{client, counter, dig, eventually};

/// Runs nsupdate with a script on its way to this server: whether the server did it, and what nsupdate says.
pub(crate) fn nsupdate(
    folder: &Path,
    server: SocketAddr,
    key: Option<TestKey>,
    more: &[&str],
    script: &str,
) -> (bool, String) {
    // Several may run at once.
    static NUMBER: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
    let number = NUMBER.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    let whole = format!(
        "server {} {}\nzone {APEX}\n{script}",
        server.ip(),
        server.port()
    );
    let file = write(folder, &format!("script{number}"), &whole);
    let mut command = Command::new(client("nsupdate", "bind9-dnsutils"));
    // As often and as long as dig.
    command.args(["-t", "60", "-u", "20"]).args(more);
    if let Some(key) = key {
        command.args(["-y", &key.argument()]);
    }
    let Output {
        status,
        stdout,
        stderr,
    } = command.arg(&file).output().expect("nsupdate");
    let text = [stdout, stderr]
        .map(|octets| String::from_utf8_lossy(&octets).into_owned())
        .concat();
    (status.success(), text)
}

/// The same, of which nothing goes wrong.
fn update(folder: &Path, server: SocketAddr, script: &str) {
    let (done, said) = nsupdate(folder, server, Some(SHA256), &[], script);
    assert!(done, "{script}: {said}");
}

/// Ours with a zone of 50 hosts that who has a key may change.
pub(crate) fn ours(folder: &Path, at: SocketAddr, more: &[&str]) -> Ours {
    let file = folder.join("moving.zone");
    if !file.exists() {
        write(folder, "moving.zone", &version(1, 50));
    }
    let key = SHA256.file(folder);
    let rule = format!("127.0.0.1@{}", SHA256.name);
    let state = folder.join("state");
    let arguments = [
        "--zone",
        file.to_str().expect("UTF-8"),
        "--keys",
        &key,
        "--update",
        &rule,
        "--transfer",
        "127.0.0.1",
    ];
    let state = ["--state", state.to_str().expect("UTF-8")];
    Ours::start(folder, at, &[&arguments, &state[..], more].concat())
}

/// Updates that add, delete, and ask for what must and must not be there.
const SCRIPTS: &[&str] = &[
    "update add new 60 A 192.0.2.99\nupdate add new 60 A 192.0.2.98\nupdate add new 60 TXT \"a new one\"\nsend\n",
    "prereq yxdomain new.moving.example.\nprereq nxdomain other.moving.example.\nprereq yxrrset new.moving.example. A\n\
     prereq nxrrset new.moving.example. AAAA\nupdate delete new.moving.example. A 192.0.2.98\n\
     update add other.moving.example. 60 CNAME new.moving.example.\nsend\n",
    // The TTL of the whole set changes (RFC 2136 §3.4.2.2, RFC 2181 §5.2).
    "update add new.moving.example. 120 A 192.0.2.97\nsend\n",
    "update delete host1.moving.example.\nupdate delete host2.moving.example. A\nsend\n",
    // A CNAME beside other data is passed over, as is other data beside a CNAME.
    "update add host3.moving.example. 60 CNAME ns.moving.example.\nupdate add other.moving.example. 60 A 192.0.2.1\nsend\n",
    // The last NS and the SOA of the apex stay, whatever is deleted.
    "update delete moving.example. NS\nupdate delete moving.example.\nsend\n",
    "update add sub.moving.example. 60 NS ns.sub.moving.example.\nupdate add ns.sub.moving.example. 60 A 192.0.2.2\nsend\n",
    "update add *.wild.moving.example. 60 MX 10 mail.elsewhere.example.\nsend\n",
    "update add moving.example. 60 SOA ns.moving.example. root.moving.example. 100 3600 600 604800 30\nsend\n",
    "update add types.moving.example. 60 CAA 0 issue \"ca.example\"\n\
     update add types.moving.example. 60 SVCB 1 . alpn=h2 port=8443\n\
     update add types.moving.example. 60 TYPE65280 \\# 3 010203\nsend\n",
];

/// Names of scripts with their origin.
fn script(text: &str) -> String {
    text.replace("add new ", "add new.moving.example. ")
}

#[test]
fn nsupdate_is_seen_at_once_and_by_nsd_and_knot_and_after_a_kill() {
    let folders = [(); 3].map(|()| tempfile::tempdir().expect("a folder"));
    let [folder, nsd_folder, knot_folder] = folders.each_ref().map(|folder| folder.path());
    let (ours_at, nsd_at, knot_at) = (free_port(), free_port(), free_port());
    let notify = [nsd_at, knot_at].map(|at| at.to_string());
    let more = ["--notify", &notify[0], "--notify", &notify[1]];
    let server = ours(folder, ours_at, &more);
    let zone = format!(
        "zone:\n  name: {APEX}\n  zonefile: fetched.zone\n  request-xfr: 127.0.0.1@{} NOKEY\n  allow-notify: 127.0.0.1 NOKEY\n  \
         provide-xfr: 127.0.0.1 NOKEY\n",
        ours_at.port()
    );
    let _nsd = Nsd::start(nsd_folder, nsd_at, &[], &zone);
    let sections = format!(
        "remote:\n  - id: ours\n    address: 127.0.0.1@{}\n\
         acl:\n  - id: all\n    address: 127.0.0.1\n    action: [notify, transfer]\n\
         zone:\n  - domain: {APEX}\n    storage: \"{}\"\n    zonefile-sync: -1\n    master: ours\n    acl: all\n",
        ours_at.port(),
        knot_folder.display()
    );
    let knot = Knot::start(knot_folder, knot_at, &[], &sections);
    for at in [nsd_at, knot_at] {
        has_serial(at, APEX, 1);
    }
    for (number, address) in (1..=5).map(|number| (number, format!("192.0.2.{number}"))) {
        let name = format!("dynamic{number}.{APEX}");
        // Over UDP and over TCP.
        let way: &[&str] = if number % 2 == 0 { &["-v"] } else { &[] };
        let add = format!("update add {name}. 60 A {address}\nsend\n");
        let (done, said) = nsupdate(folder, ours_at, Some(SHA256), way, &add);
        assert!(done, "{said}");
        assert_eq!(dig(ours_at, &["+short", &name]), format!("{address}\n"));
        assert_eq!(serial(ours_at, APEX), Some(1 + number));
        for at in [nsd_at, knot_at] {
            has_serial(at, APEX, 1 + number);
            // NSD's processes of the version before answer for a while.
            let wanted = format!("{address}\n");
            eventually(&name, || {
                (dig(at, &["+short", &name]) == wanted).then_some(())
            });
        }
    }
    let before = records(ours_at, APEX, None);
    for at in [nsd_at, knot_at] {
        assert_becomes((at, APEX, None), &before);
    }
    knot.says("IXFR, incoming");
    assert!(
        server.times("what changed goes to") >= 10,
        "{}",
        server.log()
    );

    drop(server);
    let server = ours(folder, ours_at, &more);
    assert_becomes((ours_at, APEX, None), &before);
    update(
        folder,
        ours_at,
        "update delete dynamic1.moving.example.\nsend\n",
    );
    for at in [ours_at, nsd_at, knot_at] {
        has_serial(at, APEX, 7);
    }
    let (counted, _) = server.interrupt();
    assert!(counter(&counted, "transfers-incremental") >= 2, "{counted}");
}

#[test]
fn knot_and_ours_come_to_the_same_zone_by_the_same_scripts() {
    let folders = [(); 2].map(|()| tempfile::tempdir().expect("a folder"));
    let [folder, knot_folder] = folders.each_ref().map(|folder| folder.path());
    let (ours_at, knot_at) = (free_port(), free_port());
    let _ours = ours(folder, ours_at, &[]);
    let file = write(knot_folder, "moving.zone", &version(1, 50));
    let sections = format!(
        "acl:\n  - id: changes\n    address: 127.0.0.1\n    key: {}\n    action: update\n  \
         - id: all\n    address: 127.0.0.1\n    action: transfer\n\
         zone:\n  - domain: {APEX}\n    file: \"{file}\"\n    zonefile-sync: -1\n    acl: [changes, all]\n",
        SHA256.name
    );
    let _knot = Knot::start(knot_folder, knot_at, &[SHA256], &sections);
    for text in SCRIPTS {
        let text = script(text);
        for at in [ours_at, knot_at] {
            update(folder, at, &text);
        }
        println!("{text}");
        assert_agree((ours_at, APEX, None), (knot_at, APEX, None));
    }
    // What must be there is not, and what must not be is.
    for prerequisite in [
        "nxdomain host5.moving.example.",
        "yxdomain none.moving.example.",
        "nxrrset host5.moving.example. A",
        "yxrrset host5.moving.example. AAAA",
        "yxrrset host5.moving.example. A 192.0.2.1",
    ] {
        let text =
            format!("prereq {prerequisite}\nupdate add no.moving.example. 60 A 192.0.2.1\nsend\n");
        let [ours, knot] =
            [ours_at, knot_at].map(|at| nsupdate(folder, at, Some(SHA256), &[], &text));
        assert!(!ours.0 && !knot.0, "{prerequisite}");
        assert_eq!(ours.1, knot.1, "{prerequisite}");
    }
    assert_agree((ours_at, APEX, None), (knot_at, APEX, None));
}

#[test]
fn who_may_not_change_the_zone_changes_nothing() {
    let folder = tempfile::tempdir().expect("a folder");
    let folder = folder.path();
    let at = free_port();
    let file = SHA512.file(folder);
    let elsewhere = format!("192.0.2.0/24@{}", SHA512.name);
    let server = ours(folder, at, &["--keys", &file, "--update", &elsewhere]);
    let before = records(at, APEX, None);
    let wrong = TestKey {
        secret: SHA512.secret,
        ..SHA256
    };
    let unknown = TestKey {
        name: "unknown.key.example",
        ..SHA256
    };
    let add = "update add no.moving.example. 60 A 192.0.2.1\nsend\n";
    for way in [&[][..], &["-v"]] {
        for (key, says) in [
            (None, "REFUSED"),
            // A key that is known, from another address.
            (Some(SHA512), "REFUSED"),
            (Some(wrong), "BADSIG"),
            (Some(unknown), "BADKEY"),
        ] {
            let (done, said) = nsupdate(folder, at, key, way, add);
            assert!(!done && said.contains(says), "{key:?} {way:?}: {said}");
        }
        // What is outside of the zone.
        let text = "update add no.elsewhere.example. 60 A 192.0.2.1\nsend\n";
        let (done, said) = nsupdate(folder, at, Some(SHA256), way, text);
        assert!(!done && said.contains("NOTZONE"), "{said}");
    }
    assert_becomes((at, APEX, None), &before);
    // Both are told, once in a while.
    for why in ["its signature does not count: BADSIG", "who asks may not"] {
        server.says(&format!(
            "UPDATE for {APEX}. from 127.0.0.1 was turned away: {why}"
        ));
    }
    let (counted, _) = server.interrupt();
    for (name, least) in [
        ("updates-refused", 4),
        ("signatures-bad", 2),
        ("signatures-bad-key", 2),
    ] {
        assert!(counter(&counted, name) >= least, "{name}: {counted}");
    }
}

#[test]
fn update_that_was_answered_outlasts_the_kill_of_the_process() {
    let folder = tempfile::tempdir().expect("a folder");
    let folder = folder.path();
    let at = free_port();
    let mut server = ours(folder, at, &[]);
    for round in 0..8 {
        // One is answered; another one may be, or not, when the process is killed.
        update(
            folder,
            at,
            &format!("update add done{round}.moving.example. 60 A 192.0.2.1\nsend\n"),
        );
        let (text, folder_of) = (
            format!("update add perhaps{round}.moving.example. 60 A 192.0.2.2\nsend\n"),
            folder.to_path_buf(),
        );
        let perhaps =
            thread::spawn(move || nsupdate(&folder_of, at, Some(SHA256), &["-r", "0"], &text).0);
        thread::sleep(std::time::Duration::from_millis(round * 5));
        drop(server);
        // It asks again, for ever so long: the server that comes may answer it.
        server = ours(folder, at, &[]);
        let answered = perhaps.join().expect("nsupdate");
        let kept = records(at, APEX, None);
        let has = |name: &str| {
            kept.iter()
                .any(|line| line.starts_with(&format!("{name}{round}.")))
        };
        assert!(has("done"), "{round}: {kept:#?}");
        assert!(has("perhaps") || !answered, "{round}: {kept:#?}");
        for earlier in 0..round {
            assert!(
                kept.iter()
                    .any(|line| line.starts_with(&format!("done{earlier}.")))
            );
        }
    }
}

#[test]
fn updates_of_many_at_once_are_all_done() {
    let folder = tempfile::tempdir().expect("a folder");
    let folder = folder.path();
    let at = free_port();
    let _server = ours(folder, at, &[]);
    let clients: Vec<_> = (0..6)
        .map(|client| {
            let folder = folder.to_path_buf();
            thread::spawn(move || {
                for number in 0..10 {
                    let name = format!("c{client}n{number}.moving.example");
                    update(
                        &folder,
                        at,
                        &format!("update add {name}. 60 A 192.0.2.{number}\nsend\n"),
                    );
                    // Each sees its own at once.
                    assert_eq!(dig(at, &["+short", &name]), format!("192.0.2.{number}\n"));
                }
            })
        })
        .collect();
    for client in clients {
        client.join().expect("all done");
    }
    assert_eq!(serial(at, APEX), Some(61));
    assert_eq!(records(at, APEX, None).len(), 50 + 6 + 60);
}

#[test]
fn updates_reloads_and_transfers_at_once_end_in_the_same_zone() {
    let folders = [(); 3].map(|()| tempfile::tempdir().expect("a folder"));
    let [folder, nsd_folder, knot_folder] = folders.each_ref().map(|folder| folder.path());
    let (ours_at, nsd_at, knot_at) = (free_port(), free_port(), free_port());
    let notify = [nsd_at, knot_at].map(|at| at.to_string());
    let other = |serial: u32| version(serial, 2_000).replace(APEX, "other.example");
    let file = write(folder, "other.zone", &other(1));
    let more = [
        "--notify", &notify[0], "--notify", &notify[1], "--zone", &file,
    ];
    let server = ours(folder, ours_at, &more);
    let apexes = [APEX, "other.example"];
    let zone = |apex: &str| {
        format!(
            "zone:\n  name: {apex}\n  zonefile: {apex}.zone\n  request-xfr: 127.0.0.1@{} NOKEY\n  \
             allow-notify: 127.0.0.1 NOKEY\n  provide-xfr: 127.0.0.1 NOKEY\n",
            ours_at.port()
        )
    };
    let _nsd = Nsd::start(nsd_folder, nsd_at, &[], &apexes.map(zone).concat());
    let zone = |apex: &str| {
        format!(
            "  - domain: {apex}\n    storage: \"{}\"\n    zonefile-sync: -1\n    master: ours\n    acl: all\n",
            knot_folder.display()
        )
    };
    let sections = format!(
        "remote:\n  - id: ours\n    address: 127.0.0.1@{}\n\
         acl:\n  - id: all\n    address: 127.0.0.1\n    action: [notify, transfer]\nzone:\n{}",
        ours_at.port(),
        apexes.map(zone).concat()
    );
    let _knot = Knot::start(knot_folder, knot_at, &[], &sections);

    let clients: Vec<_> = (0..3)
        .map(|client| {
            let folder = folder.to_path_buf();
            thread::spawn(move || {
                for number in 0..8 {
                    let name = format!("c{client}n{number}.{APEX}.");
                    update(
                        &folder,
                        ours_at,
                        &format!("update add {name} 60 A 192.0.2.{number}\nsend\n"),
                    );
                    if number % 2 == 1 {
                        update(&folder, ours_at, &format!("update delete {name}\nsend\n"));
                    }
                }
            })
        })
        .collect();
    for serial in 2..=5 {
        write(folder, "other.zone", &other(serial));
        server.reload();
        // Whatever is under way: a transfer is of one version.
        let zone = records(ours_at, "other.example", None);
        assert_eq!(zone.len(), 2_000 + 6);
        has_serial(ours_at, "other.example", serial);
    }
    for client in clients {
        client.join().expect("all done");
    }
    let updates = 3 * (8 + 4);
    assert_eq!(serial(ours_at, APEX), Some(1 + updates));
    for (apex, last) in [(APEX, 1 + updates), ("other.example", 5)] {
        let zone = records(ours_at, apex, None);
        for at in [nsd_at, knot_at] {
            has_serial(at, apex, last);
            assert_becomes((at, apex, None), &zone);
        }
    }
}

#[test]
fn zone_file_that_is_read_again_counts_if_it_is_newer_than_the_updates() {
    let folder = tempfile::tempdir().expect("a folder");
    let folder = folder.path();
    let at = free_port();
    let server = ours(folder, at, &[]);
    for number in 1..=3 {
        update(
            folder,
            at,
            &format!("update add dynamic{number}.moving.example. 60 A 192.0.2.1\nsend\n"),
        );
    }
    let updated = records(at, APEX, None);
    write(folder, "moving.zone", &version(4, 50));
    server.reload();
    server.says("is not newer than 4");
    assert_becomes((at, APEX, None), &updated);
    write(folder, "moving.zone", &version(5, 50));
    server.reload();
    has_serial(at, APEX, 5);
    assert_eq!(records(at, APEX, None).len(), 50 + 6);
    update(
        folder,
        at,
        "update add dynamic4.moving.example. 60 A 192.0.2.1\nsend\n",
    );
    let updated = records(at, APEX, None);
    drop(server);
    let _server = ours(folder, at, &[]);
    assert_becomes((at, APEX, None), &updated);
}
