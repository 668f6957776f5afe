//! What is kept over a restart, and when it is no longer good.

use std::path::Path;
use std::time::Duration;

use mirage_dns::record::Rcode;

use super::knot::Knot;
use super::nsd::Nsd;
use super::ours::Ours;
use super::peer::{SHA256, free_port, has_serial, serial, soa, write};
use super::zones::{
    APEX, assert_agree, assert_becomes, records, transfer, version, version_with_timers,
};
use crate::common::eventually;

/// A primary that gives differences and sends no notices.
fn primary(folder: &Path, at: std::net::SocketAddr, notify: Option<std::net::SocketAddr>) -> Knot {
    let file = folder.join("moving.zone").display().to_string();
    let notified = notify.map_or(String::new(), |_| "    notify: ours\n".to_owned());
    let remote = notify.map_or(String::new(), |ours| {
        format!(
            "remote:\n  - id: ours\n    address: 127.0.0.1@{}\n",
            ours.port()
        )
    });
    let sections = format!(
        "{remote}acl:\n  - id: all\n    address: 127.0.0.1\n    action: transfer\n\
         zone:\n  - domain: {APEX}\n    file: \"{file}\"\n    zonefile-load: difference\n    zonefile-sync: -1\n    acl: all\n{notified}"
    );
    Knot::start(folder, at, &[], &sections)
}

#[test]
fn secondary_whose_primary_is_gone_answers_after_a_restart() {
    let folder = tempfile::tempdir().expect("a folder");
    let folder = folder.path();
    let (knot_at, ours_at) = (free_port(), free_port());
    write(folder, "moving.zone", &version(1, 30));
    let knot = primary(folder, knot_at, Some(ours_at));
    let state = folder.join("state");
    let secondary = format!("{APEX}={knot_at}");
    let arguments = [
        "--secondary",
        &secondary,
        "--transfer",
        "127.0.0.1",
        "--state",
        state.to_str().expect("UTF-8"),
    ];
    let ours = Ours::start(folder, ours_at, &arguments);
    has_serial(ours_at, APEX, 1);
    for serial in 2..=3 {
        write(folder, "moving.zone", &version(serial, 30));
        knot.reload();
        has_serial(ours_at, APEX, serial);
    }
    let theirs = records(knot_at, APEX, None);
    drop(knot);
    drop(ours);
    // At once: nobody is asked before.
    let ours = Ours::start(folder, ours_at, &arguments);
    assert_eq!(serial(ours_at, APEX), Some(3));
    assert_becomes((ours_at, APEX, None), &theirs);
    // Those who fetch from us get what changed, as before.
    let shown = transfer(ours_at, &[APEX, "IXFR=1"], None);
    assert_eq!(shown.matches("SOA").count(), 6, "{shown}");

    // The primary is back, and further on.
    write(folder, "moving.zone", &version(4, 30));
    let knot = primary(folder, knot_at, Some(ours_at));
    has_serial(ours_at, APEX, 4);
    assert_agree((ours_at, APEX, None), (knot_at, APEX, None));
    drop((ours, knot));
}

/// A secondary with a zone of so many hosts, of which some change from each version to the next, is killed after each was
/// announced, a little later each time. Gives what is in its folder then.
fn killed_again_and_again(
    hosts: u32,
    change: u32,
    rounds: u32,
    later: Duration,
) -> tempfile::TempDir {
    let temporary = tempfile::tempdir().expect("a folder");
    let folder = temporary.path();
    let (knot_at, ours_at) = (free_port(), free_port());
    write(folder, "moving.zone", &version(1, hosts));
    let knot = primary(folder, knot_at, Some(ours_at));
    let state = folder.join("state");
    let secondary = format!("{APEX}={knot_at}");
    let arguments = [
        "--secondary",
        &secondary,
        "--transfer",
        "127.0.0.1",
        "--state",
        state.to_str().expect("UTF-8"),
    ];
    let mut ours = Ours::start(folder, ours_at, &arguments);
    has_serial(ours_at, APEX, 1);
    let mut seen = 1;
    for round in 0..rounds {
        let next = 1 + (1 + round) * change;
        write(folder, "moving.zone", &version(next, hosts));
        knot.reload();
        // Whatever it is at by then.
        std::thread::sleep(later * round);
        seen = serial(ours_at, APEX).map_or(seen, |serial| serial.max(seen));
        drop(ours);
        ours = Ours::start(folder, ours_at, &arguments);
        // What was seen was kept, and what is kept is one version, whole.
        let kept = records(ours_at, APEX, None);
        let version_kept = kept.iter().find_map(|line| {
            let text = line.strip_prefix("version.moving.example. 3600 in txt \"")?;
            text.strip_suffix('"')?.parse::<u32>().ok()
        });
        let version_kept = version_kept.expect("a version");
        assert!(
            (seen..=next).contains(&version_kept),
            "{version_kept}, {seen}, {next}"
        );
        let serial_kept = kept
            .iter()
            .any(|line| line.contains(&format!(" soa ns.{APEX}. root.{APEX}. {version_kept} ")));
        assert!(serial_kept, "{version_kept}");
        assert_eq!(kept.len(), hosts as usize + 6);
        let (first, after) = (
            format!("host{version_kept}."),
            format!("host{}.", version_kept + hosts),
        );
        assert!(
            kept.iter().any(|line| line.starts_with(&first))
                && !kept.iter().any(|line| line.starts_with(&after))
        );
        has_serial(ours_at, APEX, next);
        seen = next;
    }
    assert_agree((ours_at, APEX, None), (knot_at, APEX, None));
    drop(ours);
    temporary
}

#[test]
fn what_is_kept_is_whole_however_the_process_ends() {
    killed_again_and_again(300, 1, 10, Duration::from_millis(4));
}

#[test]
fn what_is_kept_is_whole_when_the_whole_zone_takes_the_place_of_its_journal() {
    // Each version differs from the one before by more than half a mebibyte, and the journal may have four.
    let folder = killed_again_and_again(10_000, 10_000, 8, Duration::from_millis(60));
    let whole = std::fs::read_to_string(folder.path().join(format!("state/{APEX}.zone")));
    let whole = whole.expect("the whole zone");
    // Not the one that it began with.
    assert!(!whole.contains("host1.moving"), "{}", &whole[..200]);
}

#[test]
fn zone_expires_without_its_primary_and_comes_back_with_it() {
    let folder = tempfile::tempdir().expect("a folder");
    let folder = folder.path();
    let (nsd_at, ours_at) = (free_port(), free_port());
    write(folder, "moving.zone", &version_with_timers(1, 5, "1 1 3"));
    let zone = format!(
        "zone:\n  name: {APEX}\n  zonefile: moving.zone\n  provide-xfr: 127.0.0.1 {0}\n  notify: 127.0.0.1@{1} {0}\n",
        SHA256.name,
        ours_at.port()
    );
    let nsd = Nsd::start(folder, nsd_at, &[SHA256], &zone);
    let (state, key) = (folder.join("state"), SHA256.file(folder));
    let secondary = format!("{APEX}={nsd_at}@{}", SHA256.name);
    let arguments = [
        "--secondary",
        &secondary,
        "--keys",
        &key,
        "--state",
        state.to_str().expect("UTF-8"),
    ];
    let ours = Ours::start(folder, ours_at, &arguments);
    has_serial(ours_at, APEX, 1);
    drop(nsd);
    let expired = Some((Rcode::SERVFAIL, None));
    eventually("SERVFAIL", || (soa(ours_at, APEX) == expired).then_some(()));
    // Nor is it good after a restart.
    drop(ours);
    let ours = Ours::start(folder, ours_at, &arguments);
    eventually("SERVFAIL", || (soa(ours_at, APEX) == expired).then_some(()));
    let nsd = Nsd::start(folder, nsd_at, &[SHA256], &zone);
    has_serial(ours_at, APEX, 1);
    drop((ours, nsd));
}
