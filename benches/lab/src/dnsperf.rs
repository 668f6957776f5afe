//! Load from the host, by dnsperf, and what became of it.

use core::net::{IpAddr, SocketAddr};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use bench_common::report::Error;
use cargo_mirage::debian;
use cargo_mirage::lab::packages::Packages;
use cargo_mirage::process::{Log, Task};
use serde::{Deserialize, Serialize};

/// How a load is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Load {
    /// Queries a second at most; without, as many as are answered.
    pub queries_per_second: Option<u32>,
    /// For how long.
    pub seconds: u32,
    /// From how many addresses of the client, which are ports here.
    pub clients: u32,
    /// How many queries may wait for their answers at once.
    pub outstanding: u32,
    /// After how many seconds a query without an answer is lost.
    pub timeout_seconds: u32,
}

/// What came of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Outcome {
    /// Queries that were sent.
    pub sent: u64,
    /// Those that were answered in time.
    pub completed: u64,
    /// Those that were not.
    pub lost: u64,
    /// Answers by their code.
    pub codes: BTreeMap<String, u64>,
    /// How long it took.
    pub seconds: f64,
    /// Answers a second.
    pub queries_per_second: f64,
    /// From a query to its answer, in microseconds.
    pub latency_average_us: f64,
    /// The longest that was answered in time.
    pub latency_maximum_us: f64,
}

/// dnsperf, installed or unpacked.
#[derive(Debug)]
pub struct Dnsperf<'a> {
    packages: &'a Packages,
    queries: PathBuf,
    version: RefCell<String>,
}

impl<'a> Dnsperf<'a> {
    /// One that asks the queries in that file; the program is in those packages, unless it is installed.
    pub fn new(packages: &'a Packages, queries: &Path) -> Self {
        Self {
            packages,
            queries: queries.to_path_buf(),
            version: RefCell::default(),
        }
    }

    fn command(&self) -> Result<Command, Error> {
        match debian::find_program("dnsperf") {
            Some(program) => Ok(Command::new(program)),
            None => Ok(self.packages.command(&self.packages.program("dnsperf")?)?),
        }
    }

    /// What it said of its version when it last ran; empty before.
    pub fn version(&self) -> String {
        self.version.borrow().clone()
    }

    /// Makes a load on a server.
    ///
    /// # Errors
    ///
    /// dnsperf's own words if it fails; says so if it was answered with anything but success and "no such name".
    pub fn run(&self, server: SocketAddr, load: Load, log: &Log) -> Result<Outcome, Error> {
        let mut command = self.command()?;
        let family = match server.ip() {
            IpAddr::V4(_) => "inet",
            IpAddr::V6(_) => "inet6",
        };
        command
            .args(["-f", family, "-T", "1", "-s"])
            .arg(server.ip().to_string())
            .arg("-p")
            .arg(server.port().to_string())
            .arg("-d")
            .arg(&self.queries)
            .args(["-l", &load.seconds.to_string()])
            .args(["-c", &load.clients.to_string()])
            .args(["-q", &load.outstanding.to_string()])
            .args(["-t", &load.timeout_seconds.to_string()]);
        if let Some(rate) = load.queries_per_second {
            command.args(["-Q", &rate.to_string()]);
        }
        let limit = load.seconds + load.timeout_seconds + 60;
        let finished = Task::new(command, Duration::from_secs(limit.into())).run(log, |_| {})?;
        if !finished.success() {
            let end: Vec<&str> = finished.output.lines().rev().take(5).collect();
            return Err(format!("dnsperf: {}: {}", finished.how(), end.join(" / ")).into());
        }
        let mut lines = finished.output.lines();
        if let Some(version) = lines.find_map(|line| line.strip_prefix("Version ")) {
            version.clone_into(&mut self.version.borrow_mut());
        }
        let outcome = parse(&finished.output)?;
        if let Some(code) = outcome
            .codes
            .keys()
            .find(|code| !["NOERROR", "NXDOMAIN"].contains(&code.as_str()))
        {
            return Err(format!("{server} answered queries with {code}").into());
        }
        Ok(outcome)
    }
}

/// Reads the statistics that dnsperf prints at its end.
///
/// # Errors
///
/// Names the line that is missing or is not what it should be.
pub fn parse(text: &str) -> Result<Outcome, Error> {
    let field = |name: &str| -> Result<&str, Error> {
        text.lines()
            .find_map(|line| line.trim().strip_prefix(name)?.strip_prefix(':'))
            .map(str::trim)
            .ok_or_else(|| format!("dnsperf printed no `{name}`").into())
    };
    let number = |name: &str| -> Result<f64, Error> {
        let text = field(name)?;
        let word = text.split_whitespace().next().unwrap_or_default();
        word.parse()
            .map_err(|_| format!("dnsperf printed as `{name}`: {text}").into())
    };
    let count = |name: &str| number(name).map(|value| value as u64);
    let mut codes = BTreeMap::new();
    for entry in field("Response codes")?.split(", ") {
        let mut words = entry.split_whitespace();
        if let (Some(code), Some(count)) = (words.next(), words.next()) {
            let count = count
                .parse()
                .map_err(|_| format!("dnsperf printed as a code: {entry}"))?;
            codes.insert(code.to_owned(), count);
        }
    }
    let latency = field("Average Latency (s)")?;
    let maximum = latency
        .rsplit_once("max ")
        .and_then(|(_, rest)| rest.trim_end_matches(')').parse::<f64>().ok())
        .ok_or_else(|| format!("dnsperf printed as latency: {latency}"))?;
    Ok(Outcome {
        sent: count("Queries sent")?,
        completed: count("Queries completed")?,
        lost: count("Queries lost")?,
        codes,
        seconds: number("Run time (s)")?,
        queries_per_second: number("Queries per second")?,
        latency_average_us: number("Average Latency (s)")? * 1e6,
        latency_maximum_us: maximum * 1e6,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As 2.10 prints it.
    const PRINTED: &str = "\
DNS Performance Testing Tool
Version 2.10.0

[Status] Command line: dnsperf -s 10.98.0.3 -d queries -l 8
[Timeout] Query timed out: msg id 85
[Status] Testing complete (time limit)

Statistics:

  Queries sent:         11952
  Queries completed:    11951 (99.99%)
  Queries lost:         1 (0.01%)

  Response codes:       NOERROR 8964 (75.01%), NXDOMAIN 2987 (24.99%)
  Average packet size:  request 33, response 86
  Run time (s):         8.000156
  Queries per second:   1493.845871

  Average Latency (s):  0.033387 (min 0.004010, max 0.093812)
  Latency StdDev (s):   0.004000
";

    #[test]
    fn what_dnsperf_prints_is_read() {
        let outcome = parse(PRINTED).unwrap();
        assert_eq!(
            (outcome.sent, outcome.completed, outcome.lost),
            (11_952, 11_951, 1)
        );
        assert_eq!(outcome.codes["NXDOMAIN"], 2987);
        assert_eq!(outcome.queries_per_second, 1_493.845_871);
        assert!((outcome.latency_average_us - 33_387.0).abs() < 0.5);
        assert!((outcome.latency_maximum_us - 93_812.0).abs() < 0.5);
    }

    #[test]
    fn a_server_that_answers_nothing_has_no_codes() {
        let silent = PRINTED
            .replace("NOERROR 8964 (75.01%), NXDOMAIN 2987 (24.99%)", "")
            .replace("11951 (99.99%)", "0 (0.00%)");
        let outcome = parse(&silent).unwrap();
        assert!(outcome.codes.is_empty());
        assert_eq!(outcome.completed, 0);
    }

    #[test]
    fn a_line_that_is_missing_is_named() {
        for name in [
            "Queries lost",
            "Response codes",
            "Run time (s)",
            "Average Latency (s)",
        ] {
            let without: String = PRINTED
                .lines()
                .filter(|line| !line.contains(name))
                .map(|line| format!("{line}\n"))
                .collect();
            let error = parse(&without).unwrap_err().to_string();
            assert!(error.contains(name), "{error}");
        }
        assert!(parse("").is_err());
    }
}
