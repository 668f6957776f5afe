//! Xen's own accounting of processor time, and a domain's way from `xl create` to its first answer.
//!
//! xl and xentop tell a domain's processor time in tenths of a second or in seconds; Xen counts nanoseconds. A script in
//! dom0 (`meter.pl`) asks Xen itself, by `XEN_SYSCTL_getdomaininfolist`: `cpu_time` is the time for which the domain's
//! virtual processors were running on one of the machine's (xen/include/public/domctl.h).

use std::collections::BTreeMap;
use std::time::Duration;

use bench_common::report::Error;
use cargo_mirage::lab::Lab;
use cargo_mirage::lab::guest::Place;
use serde::{Deserialize, Serialize};

const SCRIPT: &str = include_str!("meter.pl");

/// How long the script may take besides what it is told to.
const MARGIN: Duration = Duration::from_secs(60);

/// Where it lies in dom0.
const PATH: &str = "/lab/meter.pl";

/// Processor time of all domains at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reading {
    /// When, in nanoseconds of dom0's monotonic clock.
    pub at_ns: u64,
    /// Nanoseconds of processor time by the number of the domain.
    pub cpu_ns: BTreeMap<u32, u64>,
}

/// What passed between two readings.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Interval {
    /// How long it was, in nanoseconds.
    pub window_ns: u64,
    /// Processor time that the domain took, in nanoseconds.
    pub cpu_ns: u64,
}

impl Interval {
    /// Processor time for each nanosecond that passed.
    pub fn share(self) -> f64 {
        self.cpu_ns as f64 / (self.window_ns as f64).max(1.0)
    }
}

impl Reading {
    /// What that domain took since an earlier reading.
    ///
    /// # Errors
    ///
    /// Says so if the domain was not there both times, or a count ran backwards.
    pub fn since(&self, earlier: &Self, domain: u32) -> Result<Interval, Error> {
        let cpu = |reading: &Self| reading.cpu_ns.get(&domain).copied();
        let (Some(before), Some(after)) = (cpu(earlier), cpu(self)) else {
            return Err(format!("domain {domain} was not there all the time").into());
        };
        let difference = |later: u64, earlier: u64| {
            later
                .checked_sub(earlier)
                .ok_or("Xen's accounting ran backwards")
        };
        Ok(Interval {
            window_ns: difference(self.at_ns, earlier.at_ns)?,
            cpu_ns: difference(after, before)?,
        })
    }
}

/// What was seen of a domain between `xl create` and its first answer. Times are nanoseconds since xl was called.
///
/// dom0 asks for an echo until there is one, then for an answer: each time after a hundredth of the time that the domain
/// has been running, and 5 ms at least. So much the times may be too long.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Boot {
    /// Its number, if there was one.
    pub domain: Option<u32>,
    /// xl came back.
    pub created_ns: Option<u64>,
    /// xl's exit status.
    pub status: Option<i32>,
    /// The toolstack let it run.
    pub unpaused_ns: Option<u64>,
    /// It answered an ICMP echo request: its network was up.
    pub network_ns: Option<u64>,
    /// The processor time that it had taken then.
    pub network_cpu_ns: Option<u64>,
    /// It answered a DNS query.
    pub answer_ns: Option<u64>,
    /// The processor time that it had taken then.
    pub answer_cpu_ns: Option<u64>,
    /// Pages of memory that it had then, of 4 KiB.
    pub pages: Option<u64>,
    /// It ended without having answered.
    pub ended_ns: Option<u64>,
    /// Why it ended: Xen's `SHUTDOWN_*` (xen/include/public/sched.h).
    pub reason: Option<u32>,
    /// How many of the queries were answered that were asked after the first answer, one after the other.
    pub answers: u32,
}

/// How a domain is to be watched.
#[derive(Clone, Copy, Debug)]
pub struct Watch {
    /// Where it will be.
    pub place: Place,
    /// How long it may take from the call of xl to its first answer.
    pub limit: Duration,
    /// How many more queries it is asked then.
    pub queries: u32,
}

/// The script in the dom0 of a lab.
#[derive(Clone, Copy, Debug)]
pub struct Meter<'a> {
    lab: &'a Lab,
}

impl<'a> Meter<'a> {
    /// Puts the script there.
    ///
    /// # Errors
    ///
    /// Those of the lab.
    pub fn install(lab: &'a Lab) -> Result<Self, Error> {
        lab.put(PATH, SCRIPT.as_bytes())?;
        Ok(Self { lab })
    }

    /// Reads the processor time of all domains.
    ///
    /// # Errors
    ///
    /// Those of the lab, and the script's own words.
    pub fn read(&self) -> Result<Reading, Error> {
        parse_reading(&self.run("read", MARGIN)?)
    }

    /// Runs a command that makes a domain, and watches it until it answers, ends, or its time is over.
    ///
    /// # Errors
    ///
    /// Those of the lab, and the script's own words. A domain that does not come up is no error: see [`Boot`].
    pub fn boot(&self, watch: Watch, command: &str) -> Result<Boot, Error> {
        let arguments = format!(
            "boot {} {} {} {} {command}",
            watch.place.address,
            watch.place.mac(),
            watch.limit.as_secs(),
            watch.queries
        );
        // Each query is asked three times, and waited for a second.
        let limit = watch.limit + Duration::from_secs(3 * u64::from(watch.queries)) + MARGIN;
        parse_boot(&self.run(&arguments, limit)?)
    }

    fn run(&self, arguments: &str, limit: Duration) -> Result<String, Error> {
        let script = format!("perl {PATH} {arguments}");
        let output = self.lab.dom0_within(&script, b"", limit)?;
        if output.status != 0 {
            let said = String::from_utf8_lossy(&output.err);
            return Err(format!("the meter in dom0 failed: {}", said.trim()).into());
        }
        Ok(output.text())
    }
}

fn parse_reading(text: &str) -> Result<Reading, Error> {
    let unexpected = || format!("not what the meter prints: {text:?}");
    let mut reading = Reading {
        at_ns: 0,
        cpu_ns: BTreeMap::new(),
    };
    for line in text.lines() {
        let words: Vec<&str> = line.split(' ').collect();
        match words[..] {
            ["at", at] => reading.at_ns = at.parse()?,
            ["domain", domain, "cpu", cpu, "pages", _] => {
                reading.cpu_ns.insert(domain.parse()?, cpu.parse()?);
            }
            _ => return Err(unexpected().into()),
        }
    }
    if reading.at_ns == 0 || !reading.cpu_ns.contains_key(&0) {
        return Err(unexpected().into());
    }
    Ok(reading)
}

fn parse_boot(text: &str) -> Result<Boot, Error> {
    let mut boot = Boot::default();
    for line in text.lines() {
        let words: Vec<&str> = line.split(' ').collect();
        match words[..] {
            ["domain", number] => boot.domain = Some(number.parse()?),
            ["created", at] => boot.created_ns = Some(at.parse()?),
            ["status", status] => boot.status = Some(status.parse()?),
            ["unpaused", at, "cpu", _] => boot.unpaused_ns = Some(at.parse()?),
            ["network", at, "cpu", cpu] => {
                boot.network_ns = Some(at.parse()?);
                boot.network_cpu_ns = Some(cpu.parse()?);
            }
            ["answer", at, "cpu", cpu] => {
                boot.answer_ns = Some(at.parse()?);
                boot.answer_cpu_ns = Some(cpu.parse()?);
            }
            ["pages", pages] => boot.pages = Some(pages.parse()?),
            ["ended", at] | ["ended", at, "cpu", _] => boot.ended_ns = Some(at.parse()?),
            ["reason", reason] => boot.reason = Some(reason.parse()?),
            ["answers", answers] => boot.answers = answers.parse()?,
            _ => return Err(format!("not what the meter prints: {line:?}").into()),
        }
    }
    Ok(boot)
}

impl Boot {
    /// Why it did not answer, for people; `None` if it did, and went on answering.
    pub fn failure(&self, watch: Watch) -> Option<String> {
        if self.answer_ns.is_some() {
            let answers = self.answers;
            return (answers < watch.queries)
                .then(|| format!("{answers} of {} further queries answered", watch.queries));
        }
        let reason = match (self.status, self.ended_ns, self.reason) {
            (Some(status), _, _) if status != 0 => {
                format!("xl could not create it (status {status})")
            }
            (_, Some(_), Some(3)) => "crashed".to_owned(),
            (_, Some(_), Some(reason)) => format!("shut down with reason {reason}"),
            (_, Some(_), None) => "destroyed".to_owned(),
            _ => format!("no answer after {} s", watch.limit.as_secs()),
        };
        Some(reason)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use cargo_mirage::lab::network::Subnet;

    fn watch() -> Watch {
        Watch {
            place: Place::new(Subnet::of_lab(0), 0).unwrap(),
            limit: Duration::from_secs(60),
            queries: 20,
        }
    }

    #[test]
    fn processor_time_is_the_difference_of_two_readings() {
        let before = parse_reading(
            "at 1000000000\ndomain 0 cpu 500 pages 1\ndomain 3 cpu 7000000 pages 16384",
        )
        .unwrap();
        let after = parse_reading(
            "at 3000000000\ndomain 0 cpu 900 pages 1\ndomain 3 cpu 207000000 pages 16384",
        )
        .unwrap();
        let interval = after.since(&before, 3).unwrap();
        assert_eq!(interval.window_ns, 2_000_000_000);
        assert_eq!(interval.cpu_ns, 200_000_000);
        assert_eq!(interval.share(), 0.1);
        // A domain that is not there, and readings the wrong way round.
        assert!(after.since(&before, 4).is_err());
        assert!(before.since(&after, 3).is_err());
    }

    #[test]
    fn other_text_is_no_reading() {
        for text in [
            "",
            "at 5",
            "domain 0 cpu 1 pages 1",
            "at 5\ndomain 0 cpu x pages 1",
            "at 5\ndomain 0 cpu 1 pages 1\nmeter: no",
        ] {
            assert!(parse_reading(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn a_boot_is_read() {
        let boot = parse_boot(
            "domain 4\nunpaused 2900000000 cpu 0\nnetwork 3000000000 cpu 40000000\ncreated 3050000000\nstatus 0\n\
             answer 3100000000 cpu 45000000\npages 1024\nanswers 20",
        )
        .unwrap();
        assert_eq!(boot.domain, Some(4));
        assert_eq!(boot.network_cpu_ns, Some(40_000_000));
        assert_eq!(
            (boot.answer_ns, boot.pages),
            (Some(3_100_000_000), Some(1024))
        );
        assert_eq!(boot.failure(watch()), None);
        assert!(parse_boot("meter: what is `x`?").is_err());
    }

    #[test]
    fn each_way_to_fail_is_told() {
        for (text, said) in [
            ("created 5\nstatus 3\nanswers 0", "status 3"),
            (
                "domain 1\nunpaused 5 cpu 0\nended 9 cpu 8\nreason 3\nanswers 0",
                "crashed",
            ),
            ("domain 1\nended 9\nanswers 0", "destroyed"),
            (
                "domain 1\nunpaused 5 cpu 0\ncreated 6\nstatus 0\nanswers 0",
                "after 60 s",
            ),
            (
                "domain 1\nanswer 5 cpu 1\ncreated 6\nstatus 0\nanswers 19",
                "19 of 20",
            ),
        ] {
            let failure = parse_boot(text).unwrap().failure(watch()).unwrap();
            assert!(failure.contains(said), "{failure}");
        }
    }

    /// The script's syntax, and that it names what it does not know, where there is a perl.
    #[test]
    fn the_script_compiles() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("meter.pl");
        std::fs::write(&path, SCRIPT).unwrap();
        let Ok(output) = std::process::Command::new("perl")
            .arg("-c")
            .arg(&path)
            .output()
        else {
            println!("SKIPPED: the_script_compiles: `perl` is not on PATH");
            return;
        };
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
    }
}
