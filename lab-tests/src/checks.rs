//! What the DNS appliance does: it answers, is saved, restored, migrated, shut down.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use cargo_mirage::lab::guest::Place;
use cargo_mirage::lab::{Lab, Reason};

use crate::load::{Asked, ask};
use crate::{Failure, READY, Tests, dom0, guest, wait_for};

/// The guest's name.
const DNS: &str = "dns";

/// MiB.
const MEMORY: u32 = 16;

/// A question sent so long before xl was called, or after it had ended, has nothing to do with it. Neighbours are found again
/// within a second, and a busy machine takes its time.
const MARGIN: Duration = Duration::from_secs(3);

/// How long the appliance is asked after it was moved.
const AFTERWARDS: Duration = Duration::from_secs(5);

/// All of them, in order.
pub(crate) fn run(lab: &Lab, tests: &Tests, image: &Path) {
    let mut place = None;
    let started = tests.test(
        "the_dns_appliance_starts_with_16_mib_and_at_most_15_round_trips",
        || {
            place = Some(start(lab, image)?);
            Ok(())
        },
    );
    let Some(place) = place.filter(|_| started) else {
        return;
    };
    tests.test("dig_is_answered", || answers(&place));
    tests.test("a_ping_is_answered_up_to_the_mtu_and_in_fragments", || {
        pings(&place)
    });
    tests.test("a_cancelled_suspension_changes_nothing", || {
        moved(lab, &place, "the suspension was cancelled", |lab| {
            dom0(
                lab,
                &format!("xl save -c {DNS} /lab/{DNS}.save 2>&1 && rm /lab/{DNS}.save"),
            )
        })
    });
    tests.test("saved_and_restored_it_answers_as_before_and_loses_nothing_else", || {
        moved(lab, &place, "resumed", |lab| {
            dom0(
                lab,
                &format!("xl save {DNS} /lab/{DNS}.save 2>&1 && xl restore /lab/{DNS}.save 2>&1 && rm /lab/{DNS}.save"),
            )
        })
    });
    tests.test(
        "migrated_under_load_it_loses_questions_during_the_pause_alone",
        || {
            moved(lab, &place, "resumed", |lab| {
                dom0(
                    lab,
                    &format!("xl migrate -s '' {DNS} 'exec xl migrate-receive' 2>&1"),
                )
            })
        },
    );
    tests.test("a_ping_is_answered_after_all_that", || pings(&place));
    tests.test(
        "without_randomness_it_says_so_and_with_a_seed_it_starts",
        || without_randomness(lab, image),
    );
    tests.test(
        "xl_shutdown_ends_it_cleanly_and_it_tells_its_counters",
        || shut_down(lab),
    );
}

fn start(lab: &Lab, image: &Path) -> Result<Place, Failure> {
    let place = lab.create(&guest(DNS, image, MEMORY)?)?;
    lab.wait_until_ready(DNS, READY)?;
    let said = lab.record().tail(DNS, 20);
    let trips = said
        .iter()
        .find_map(|line| line.strip_prefix("mirage: network up in "))
        .and_then(|rest| {
            rest.split(", ")
                .nth(1)?
                .split(' ')
                .next()?
                .parse::<u64>()
                .ok()
        });
    match trips {
        Some(1..=15) => Ok(place),
        other => Err(format!("round trips: {other:?}; it said {said:?}").into()),
    }
}

fn output(program: &str, arguments: &[&str]) -> Result<String, Failure> {
    let output = Command::new(program)
        .args(arguments)
        .output()
        .map_err(|error| format!("{program}: {error}"))?;
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

fn answers(place: &Place) -> Result<(), Failure> {
    let at = format!("@{}", place.address);
    let short = output("dig", &[&at, "+short", "www.example.org"])?;
    if short != "192.0.2.80\n" {
        return Err(format!("www.example.org: {short:?}").into());
    }
    let missing = output("dig", &[&at, "nobody.example.org"])?;
    if !missing.contains("status: NXDOMAIN") {
        return Err(missing.into());
    }
    Ok(())
}

fn pings(place: &Place) -> Result<(), Failure> {
    let address = place.address.to_string();
    // 28 bytes are headers: up to the MTU, one beyond it, many fragments, the longest datagram.
    for size in ["0", "56", "1472", "1473", "8000", "65507"] {
        let text = output(
            "ping",
            &["-c", "2", "-i", "0.2", "-W", "20", "-s", size, &address],
        )?;
        if !text.contains(" 0% packet loss") {
            return Err(format!("{size} bytes: {text}").into());
        }
    }
    Ok(())
}

/// Has xl do something with the domain while it is asked: nothing is lost before or after.
fn moved(
    lab: &Lab,
    place: &Place,
    says: &str,
    act: impl FnOnce(&Lab) -> Result<String, Failure>,
) -> Result<(), Failure> {
    let server = SocketAddr::from((place.address, 53));
    let stop = AtomicBool::new(false);
    let said_before = count(lab, says);
    let (asked, acted, span) = thread::scope(|scope| {
        let asking = scope.spawn(|| ask(server, &stop));
        thread::sleep(Duration::from_secs(1));
        let began = Instant::now();
        let acted = act(lab);
        let ended = Instant::now();
        thread::sleep(MARGIN + AFTERWARDS);
        stop.store(true, Ordering::Relaxed);
        let asked = asking
            .join()
            .unwrap_or_else(|_| Err("the load panicked".into()));
        (asked, acted, (began, ended))
    });
    acted?;
    let asked = asked?;
    wait_for(says, READY, || Ok(count(lab, says) > said_before))?;
    let lost: Vec<&Asked> = asked.iter().filter(|asked| !asked.answered).collect();
    let outside = lost
        .iter()
        .filter(|lost| lost.at + MARGIN < span.0 || lost.at > span.1 + MARGIN)
        .count();
    let later = asked
        .iter()
        .filter(|asked| asked.at > span.1 + MARGIN && asked.answered)
        .count();
    eprintln!(
        "{} of {} questions lost while xl worked for {:.1} s",
        lost.len(),
        asked.len(),
        (span.1 - span.0).as_secs_f64()
    );
    if outside > 0 || later == 0 {
        return Err(format!(
            "{outside} questions lost before or after, {later} answered afterwards"
        )
        .into());
    }
    Ok(())
}

/// How often the appliance has said so, among its last lines.
fn count(lab: &Lab, says: &str) -> usize {
    let tail = lab.record().tail(DNS, 200);
    tail.iter().filter(|line| line.ends_with(says)).count()
}

fn without_randomness(lab: &Lab, image: &Path) -> Result<(), Failure> {
    let hidden = "cpuid=\"host,rdrand=0,rdseed=0\"".to_owned();
    let mut poor = guest("no-seed", image, MEMORY)?;
    poor.configuration.push(hidden.clone());
    lab.create(&poor)?;
    wait_for("the end of the domain", READY, || {
        Ok(lab.ended("no-seed").is_some())
    })?;
    let said = lab.record().tail("no-seed", 20).join("\n");
    let _ = dom0(lab, "xl destroy no-seed");
    if !said.contains("no randomness") || lab.ended("no-seed") != Some(Reason::Crash) {
        return Err(said.into());
    }
    let mut seeded = guest("seed", image, MEMORY)?;
    seeded.configuration.push(hidden);
    seeded.seed = Some("0123456789abcdef".repeat(4));
    let place = lab.create(&seeded)?;
    lab.wait_until_ready("seed", READY)?;
    answers(&place)?;
    // It takes the seed away: nobody else is to have it.
    let left = lab.dom0(
        "xenstore-exists /local/domain/$(xl domid seed)/data/mirage-seed",
        b"",
    )?;
    dom0(lab, "xl destroy seed")?;
    if left.status == 0 {
        return Err("the seed is still in xenstore".into());
    }
    Ok(())
}

fn shut_down(lab: &Lab) -> Result<(), Failure> {
    dom0(lab, &format!("xl shutdown -w {DNS} 2>&1"))?;
    wait_for("the end of the domain", READY, || {
        Ok(lab.ended(DNS).is_some())
    })?;
    let said = lab.record().tail(DNS, 20);
    let counted = said
        .iter()
        .any(|line| line.starts_with("udp-queries") && !line.ends_with(" 0"));
    match lab.ended(DNS) {
        Some(Reason::Poweroff) if counted => Ok(()),
        other => Err(format!("{other:?}; it said {said:?}").into()),
    }
}
