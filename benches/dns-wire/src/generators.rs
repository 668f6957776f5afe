//! Who asks: dnsperf and kxdpgun.

use std::fmt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use bench_common::report::Error;
use bench_lab::dnsperf::parse as parse_dnsperf;
use serde::{Deserialize, Serialize};

use crate::measure::{Reading, Taken};
use crate::network::Pair;
use crate::servers::debian_program;

/// What asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Generator {
    /// dnsperf, with sockets.
    Dnsperf,
    /// kxdpgun, by AF_XDP.
    Kxdpgun,
}

impl fmt::Display for Generator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Dnsperf => "dnsperf",
            Self::Kxdpgun => "kxdpgun",
        })
    }
}

/// A load, and for how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Load {
    pub(crate) generator: Generator,
    /// Queries a second that are offered; nothing: as many as are answered (dnsperf).
    pub(crate) queries_per_second: Option<u32>,
    pub(crate) seconds: u32,
    /// Queries that may wait for their answers at once (dnsperf).
    pub(crate) outstanding: u32,
}

/// What came of it.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Outcome {
    pub(crate) sent: u64,
    /// Answered in time.
    pub(crate) answered: u64,
    /// Answers a second.
    pub(crate) queries_per_second: f64,
    /// From query to answer, in microseconds; kxdpgun doesn't tell.
    pub(crate) latency_average_us: Option<f64>,
    pub(crate) latency_maximum_us: Option<f64>,
}

/// The programs that ask.
pub(crate) struct Generators {
    dnsperf: PathBuf,
    kxdpgun: PathBuf,
}

/// How long a generator runs before the window in which processor time is measured, and after it: its own beginning (it reads its
/// queries) and end are outside.
const BEFORE: Duration = Duration::from_millis(1_500);
const AFTER: Duration = Duration::from_millis(500);

impl Generators {
    pub(crate) fn find() -> Result<Self, Error> {
        Ok(Self {
            dnsperf: debian_program("dnsperf", "dnsperf")?,
            kxdpgun: debian_program("kxdpgun", "knot-dnsutils")?,
        })
    }

    /// What they call themselves.
    pub(crate) fn versions(&self) -> (String, String) {
        let first = |program: &Path, argument: &str, prefix: &str| {
            let output = Command::new(program).arg(argument).output();
            let text = output.map_or_else(
                |_| String::new(),
                |output| {
                    String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned()
                },
            );
            let line = text
                .lines()
                .find(|line| line.contains(prefix))
                .unwrap_or_default();
            line.trim().to_owned()
        };
        (
            first(&self.dnsperf, "-h", "Version"),
            first(&self.kxdpgun, "-V", "kxdpgun"),
        )
    }

    /// Makes a load on a pair's server, whose process is `server`, and gives what came of it, and what it took.
    pub(crate) fn run(
        &self,
        load: Load,
        pair: Pair,
        queries: &Path,
        server: u32,
        processors: usize,
    ) -> Result<(Outcome, Taken), Error> {
        let command = match load.generator {
            Generator::Dnsperf => self.dnsperf(load, pair, queries),
            Generator::Kxdpgun => self.kxdpgun(load, pair, queries),
        };
        let child = Running::start(command)?;
        thread::sleep(BEFORE);
        let before = Reading::now(server, child.process())?;
        let window = Duration::from_secs(load.seconds.into()).saturating_sub(BEFORE + AFTER);
        thread::sleep(window.max(AFTER));
        let after = Reading::now(server, child.process())?;
        let text = child.finish()?;
        let outcome = match load.generator {
            Generator::Dnsperf => {
                let outcome = parse_dnsperf(&text)?;
                Outcome {
                    sent: outcome.sent,
                    answered: outcome.completed,
                    queries_per_second: outcome.queries_per_second,
                    latency_average_us: Some(outcome.latency_average_us),
                    latency_maximum_us: Some(outcome.latency_maximum_us),
                }
            }
            Generator::Kxdpgun => parse_kxdpgun(&text)?,
        };
        if outcome.answered == 0 {
            return Err(format!("{} answered nothing:\n{text}", pair.server()).into());
        }
        Ok((outcome, after.since(&before, processors)))
    }

    fn dnsperf(&self, load: Load, pair: Pair, queries: &Path) -> Command {
        let mut command = Command::new(&self.dnsperf);
        command
            .args(["-f", "inet", "-T", "1", "-c", "4", "-t", "2", "-s"])
            .arg(pair.server())
            .arg("-d")
            .arg(queries)
            .args(["-l", &load.seconds.to_string()])
            .args(["-q", &load.outstanding.to_string()]);
        if let Some(rate) = load.queries_per_second {
            command.args(["-Q", &rate.to_string()]);
        }
        command
    }

    fn kxdpgun(&self, load: Load, pair: Pair, queries: &Path) -> Command {
        let mut command = Command::new(&self.kxdpgun);
        let rate = load.queries_per_second.unwrap_or(1_000_000);
        command
            .args(["-t", &load.seconds.to_string()])
            .args(["-Q", &rate.to_string()])
            .args(["-I", &pair.client_interface()])
            .args(["-l", &pair.client()])
            .arg("-i")
            .arg(queries)
            .arg(pair.server());
        command
    }
}

/// A generator that runs; ended when it is dropped.
struct Running(Option<Child>);

impl Running {
    fn start(mut command: Command) -> Result<Self, Error> {
        let child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn();
        child.map(|child| Self(Some(child))).map_err(|error| {
            let program = command.get_program().display();
            format!("{program}: {error}").into()
        })
    }

    fn process(&self) -> u32 {
        // It is there until `finish` takes it.
        self.0.as_ref().map_or(0, Child::id)
    }

    /// Waits for its end, and gives what it said. A few lines: the pipes hold them.
    fn finish(mut self) -> Result<String, Error> {
        let child = self.0.take().ok_or("it has ended")?;
        let output = child.wait_with_output()?;
        let said = String::from_utf8_lossy(&output.stderr);
        let text = String::from_utf8_lossy(&output.stdout).into_owned() + &said;
        if !output.status.success() {
            return Err(format!("the generator ended with {}:\n{text}", output.status).into());
        }
        Ok(text)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(child) = &mut self.0 {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// Reads what kxdpgun prints at its end.
fn parse_kxdpgun(text: &str) -> Result<Outcome, Error> {
    let field = |name: &str| -> Result<(u64, f64), Error> {
        let wrong = || format!("kxdpgun printed no `{name}`:\n{text}");
        let line = text
            .lines()
            .find_map(|line| line.trim().strip_prefix(name)?.strip_prefix(':'))
            .ok_or_else(wrong)?;
        let mut words = line.split_whitespace();
        let count = words
            .next()
            .and_then(|word| word.parse().ok())
            .ok_or_else(wrong)?;
        let rate = words
            .next()
            .and_then(|word| word.trim_start_matches('(').parse().ok())
            .ok_or_else(wrong)?;
        Ok((count, rate))
    };
    let (sent, _) = field("total queries")?;
    let (answered, queries_per_second) = field("total replies")?;
    Ok(Outcome {
        sent,
        answered,
        queries_per_second,
        latency_average_us: None,
        latency_maximum_us: None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As 3.2.6 prints it.
    const PRINTED: &str = "\
using interface client1, XDP threads 1, UDP, native mode
thread#00: sent 300000, received 220456
total queries:     300000 (100000 pps)
total replies:     220456 (73485 pps) (73%)
average DNS reply size: 52 B
average Ethernet reply rate: 55404712 bps (55.40 Mbps)
responded NOERROR:   220456
duration: 3 s
";

    #[test]
    fn what_kxdpgun_prints_is_read() {
        let outcome = parse_kxdpgun(PRINTED).unwrap();
        assert_eq!((outcome.sent, outcome.answered), (300_000, 220_456));
        assert!((outcome.queries_per_second - 73_485.0).abs() < 1e-9);
        for name in ["total queries", "total replies"] {
            let error = parse_kxdpgun(&PRINTED.replace(name, "other")).unwrap_err();
            assert!(error.to_string().contains(name), "{error}");
        }
    }
}
