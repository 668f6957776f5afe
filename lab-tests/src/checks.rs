//! What the DNS appliance does: it answers, is saved, restored, migrated, shut down.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use cargo_mirage::lab::guest::Place;
use cargo_mirage::lab::{Lab, Reason};

use crate::dnsperf::{Dnsperf, RATE};
use crate::load::{Asked, Progress, ask};
use crate::{Failure, NAMES, READY, Tests, dom0, guest, reached, wait_for};

/// The guest's name.
const DNS: &str = "dns";

/// MiB.
const MEMORY: u32 = 16;

/// A question sent so long before xl was called, or after the first answer once it had ended, has nothing to do with it.
/// Neighbours are found again within a second, and a busy machine takes its time.
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
    let server = reached(lab, &place, NAMES);
    tests.test("dig_is_answered", || answers(server));
    tests.test_on_tap(lab, "dig_is_answered_over_tcp", || {
        for _ in 0..3 {
            over_tcp(server)?;
        }
        Ok(())
    });
    tests.test_on_tap(
        lab,
        "thousands_of_answers_over_tcp_come_in_frames_of_several_segments",
        || segmented(lab, server),
    );
    tests.test_on_tap(
        lab,
        "a_ping_is_answered_up_to_the_mtu_and_in_fragments",
        || pings(&place),
    );
    tests.test("a_cancelled_suspension_changes_nothing", || {
        moved(
            lab,
            server,
            Load::Ours,
            "the suspension was cancelled",
            |lab| {
                dom0(
                    lab,
                    &format!("xl save -c {DNS} /lab/{DNS}.save 2>&1 && rm /lab/{DNS}.save"),
                )
            },
        )
    });
    tests.test("saved_and_restored_it_answers_as_before_and_loses_nothing_else", || {
        moved(lab, server, Load::DnsperfToo, "resumed", |lab| {
            dom0(
                lab,
                &format!("xl save {DNS} /lab/{DNS}.save 2>&1 && xl restore /lab/{DNS}.save 2>&1 && rm /lab/{DNS}.save"),
            )
        })
    });
    tests.test(
        "migrated_under_load_it_loses_questions_during_the_pause_alone",
        || {
            moved(lab, server, Load::DnsperfToo, "resumed", |lab| {
                dom0(lab, &format!("xl migrate {DNS} localhost 2>&1"))
            })
        },
    );
    tests.test_on_tap(lab, "a_ping_is_answered_after_all_that", || pings(&place));
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

pub(crate) fn answers(server: SocketAddr) -> Result<(), Failure> {
    let (at, port) = (format!("@{}", server.ip()), server.port().to_string());
    let short = output("dig", &[&at, "-p", &port, "+short", "www.example.org"])?;
    if short != "192.0.2.80\n" {
        return Err(format!("www.example.org: {short:?}").into());
    }
    let missing = output("dig", &[&at, "-p", &port, "nobody.example.org"])?;
    if !missing.contains("status: NXDOMAIN") {
        return Err(missing.into());
    }
    Ok(())
}

/// One connection, and one with two questions.
fn over_tcp(server: SocketAddr) -> Result<(), Failure> {
    let at = format!("@{}", server.ip());
    let short = output("dig", &[&at, "+tcp", "+short", "www.example.org"])?;
    if short != "192.0.2.80\n" {
        return Err(format!("www.example.org: {short:?}").into());
    }
    let names = ["+tcp", "+keepopen", "www.example.org", "nobody.example.org"];
    let both = output("dig", &[&[at.as_str()], &names[..]].concat())?;
    let answered = both.matches("(TCP)").count();
    if answered != 2 || !both.contains("192.0.2.80") || !both.contains("status: NXDOMAIN") {
        return Err(both.into());
    }
    Ok(())
}

/// Questions on one connection, all at once: netfront's segmentation offload. The backend counts a frame as one, however many
/// segments it stands for.
fn segmented(lab: &Lab, server: SocketAddr) -> Result<(), Failure> {
    const QUESTIONS: u16 = 3_000;
    let before = frames_of(lab)?;
    let mut stream = TcpStream::connect_timeout(&server, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let mut writer = stream.try_clone()?;
    let asking = thread::spawn(move || {
        let questions: Vec<u8> = (0..QUESTIONS).flat_map(question).collect();
        writer.write_all(&questions)
    });
    for id in 0..QUESTIONS {
        let mut length = [0; 2];
        stream.read_exact(&mut length)?;
        let mut answer = vec![0; u16::from_be_bytes(length).into()];
        stream.read_exact(&mut answer)?;
        // The question's identifier, a response without an error, one answer.
        let right = answer.len() > 12
            && answer[..2] == id.to_be_bytes()
            && answer[2] & 0x80 != 0
            && answer[3] & 0xf == 0
            && answer[6..8] == [0, 1];
        if !right {
            return Err(format!("question {id}: {answer:02x?}").into());
        }
    }
    asking.join().map_err(|_| "the asking thread panicked")??;
    let (frames, bytes) = frames_of(lab)?;
    let (frames, bytes) = (frames - before.0, bytes - before.1);
    if bytes <= frames * 1_514 {
        return Err(format!("{frames} frames of {bytes} bytes in all").into());
    }
    Ok(())
}

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// A question for www.example.org's address, as it goes over TCP (RFC 1035, 4.2.2).
fn question(id: u16) -> Vec<u8> {
    let [high, low] = id.to_be_bytes();
    let mut message = vec![high, low, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    message.extend(b"\x03www\x07example\x03org\x00\x00\x01\x00\x01");
    let length = message.len() as u16;
    [&length.to_be_bytes()[..], &message].concat()
}

/// Frames that the backend had from the appliance, and their bytes.
fn frames_of(lab: &Lab) -> Result<(u64, u64), Failure> {
    let script =
        format!("cd /sys/class/net/vif$(xl domid {DNS}).0/statistics && cat rx_packets rx_bytes");
    let said = dom0(lab, &script)?;
    let mut numbers = said.split_whitespace().map(str::parse::<u64>);
    match (numbers.next(), numbers.next()) {
        (Some(Ok(frames)), Some(Ok(bytes))) => Ok((frames, bytes)),
        _ => Err(format!("the backend's counters: {said:?}").into()),
    }
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

/// Who asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Load {
    /// [`ask`], which looks at each answer.
    Ours,
    /// That, and dnsperf beside it.
    DnsperfToo,
}

/// Has xl do something with the domain while it is asked: nothing is lost before or after.
fn moved(
    lab: &Lab,
    server: SocketAddr,
    load: Load,
    says: &str,
    act: impl FnOnce(&Lab) -> Result<String, Failure>,
) -> Result<(), Failure> {
    let progress = Progress::default();
    let said_before = count(lab, says);
    let dnsperf = match load {
        Load::Ours => None,
        Load::DnsperfToo => {
            let questions = lab.record().log().path().with_file_name("questions");
            Some(Dnsperf::start(server, &questions)?)
        }
    };
    let (asked, acted, span, answered_again) = thread::scope(|scope| {
        let asking = scope.spawn(|| ask(server, &progress));
        thread::sleep(Duration::from_secs(1));
        let began = Instant::now();
        let acted = act(lab);
        let ended = Instant::now();
        // How long that takes is the machine's affair; what is lost after it is ours.
        let answered_again = wait_for("an answer after xl ended", READY, || {
            Ok(progress.answered() > Some(ended))
        })
        .map(|()| Instant::now());
        thread::sleep(MARGIN + AFTERWARDS);
        progress.stop();
        let asked = asking
            .join()
            .unwrap_or_else(|_| Err("the load panicked".into()));
        (asked, acted, (began, ended), answered_again)
    });
    let seen = dnsperf.map(Dnsperf::stop).transpose();
    acted?;
    let (asked, seen, answered_again) = (asked?, seen?, answered_again?);
    let after = answered_again + MARGIN;
    wait_for(says, READY, || Ok(count(lab, says) > said_before))?;
    let lost: Vec<&Asked> = asked.iter().filter(|asked| !asked.answered).collect();
    let is_outside = |at: Instant| at + MARGIN < span.0 || at > after;
    let outside = lost.iter().filter(|lost| is_outside(lost.at)).count();
    let later = asked
        .iter()
        .filter(|asked| asked.at > after && asked.answered)
        .count();
    eprintln!(
        "{} of {} questions lost while xl worked for {:.1} s; answered again {:.1} s later",
        lost.len(),
        asked.len(),
        (span.1 - span.0).as_secs_f64(),
        (answered_again - span.1).as_secs_f64()
    );
    if outside > 0 || later == 0 {
        return Err(format!(
            "{outside} questions lost before or after, {later} answered afterwards"
        )
        .into());
    }
    if let Some(seen) = seen {
        let outside = seen.lost.iter().filter(|at| is_outside(**at)).count();
        let before = seen.answered.iter().filter(|at| **at < span.0).count();
        let later = seen.answered.iter().filter(|at| **at > after).count();
        let rows = seen.by_second(span);
        eprintln!(
            "dnsperf, {RATE} questions a second; answered/lost in each second, xl at work between the bars:{rows}"
        );
        // Half of what is asked in the second before and in the seconds after: that the load was one.
        let enough = RATE as usize / 2;
        if outside > 0 || before < enough || later < enough * AFTERWARDS.as_secs() as usize {
            return Err(format!(
                "dnsperf: {outside} questions lost before or after, {before} answered before, {later} afterwards:{rows}"
            )
            .into());
        }
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
    answers(reached(lab, &place, NAMES))?;
    // It takes the seed away: nobody else is to have it.
    let left = lab.dom0(
        "xenstore-exists /local/domain/$(xl domid seed)/data/mirage-seed",
        b"",
    )?;
    // Where no xl waits for its end, as after a cancelled suspension, the lab hears of it all the same.
    dom0(
        lab,
        "for file in $(grep -l 'guests/see[d]/' /proc/[0-9]*/cmdline); do \
         process=${file#/proc/}; kill ${process%/cmdline}; done && xl shutdown seed 2>&1",
    )?;
    wait_for("the end of the domain", READY, || {
        Ok(lab.ended("seed").is_some())
    })?;
    dom0(lab, "xl destroy seed")?;
    if left.status == 0 {
        return Err("the seed is still in xenstore".into());
    }
    match lab.ended("seed") {
        Some(Reason::Poweroff) => Ok(()),
        other => Err(format!("it ended otherwise: {other:?}").into()),
    }
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
