//! dnsperf as a load at a steady rate, and when it was answered and when not.

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, ChildStderr, ChildStdout, Command, Stdio};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crate::Failure;

/// Questions a second.
pub(crate) const RATE: u32 = 200;

/// After how many seconds a question is lost.
const TIMEOUT: u64 = 1;

/// Questions that may wait for their answers: more than can be, so that none is held back while nobody answers.
const OUTSTANDING: u32 = 10 * RATE;

/// It is told to stop; this is for a run in which nobody does.
const LONGEST: u64 = 600;

/// What is asked, over and over.
const QUESTIONS: &str = "www.example.org A\nexample.org SOA\nnobody.example.org A\n";

/// dnsperf while it runs.
pub(crate) struct Dnsperf {
    child: Child,
    reading: JoinHandle<Result<Seen, Failure>>,
    complaints: JoinHandle<String>,
}

/// What it saw.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    /// When answers came.
    pub(crate) answered: Vec<Instant>,
    /// When the questions were sent that were not answered in time; as exact as dnsperf looks for them, a tenth of a second.
    pub(crate) lost: Vec<Instant>,
    /// Its own count of questions, of answers, of losses.
    totals: [Option<usize>; 3],
}

impl Dnsperf {
    /// Starts it; its questions are put into that file.
    pub(crate) fn start(server: SocketAddr, questions: &Path) -> Result<Self, Failure> {
        fs::write(questions, QUESTIONS)?;
        let mut child = Command::new("dnsperf")
            .args(["-f", "inet", "-T", "1", "-c", "1", "-v", "-S", "1"])
            .args(["-s", &server.ip().to_string()])
            .args(["-p", &server.port().to_string()])
            .args(["-Q", &RATE.to_string()])
            .args(["-q", &OUTSTANDING.to_string()])
            .args(["-t", &TIMEOUT.to_string()])
            .args(["-l", &LONGEST.to_string()])
            .arg("-d")
            .arg(questions)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|error| format!("dnsperf: {error}"))?;
        let (Some(out), Some(err)) = (child.stdout.take(), child.stderr.take()) else {
            return Err("dnsperf has no output".into());
        };
        Ok(Self {
            child,
            reading: thread::spawn(|| read(out)),
            complaints: thread::spawn(|| said(err)),
        })
    }

    /// Ends it, as Ctrl-C does.
    pub(crate) fn stop(mut self) -> Result<Seen, Failure> {
        let id = self.child.id().to_string();
        Command::new("kill").args(["-INT", &id]).status()?;
        let status = self.child.wait()?;
        let seen = self
            .reading
            .join()
            .map_err(|_| "dnsperf's reader panicked")??;
        let complaints = self.complaints.join().unwrap_or_default();
        if !status.success() {
            return Err(format!("dnsperf: {status}: {complaints}").into());
        }
        let [sent, completed, lost] = seen.totals;
        eprintln!("dnsperf: {sent:?} sent, {completed:?} answered, {lost:?} lost; {complaints}");
        if completed != Some(seen.answered.len()) || lost != Some(seen.lost.len()) {
            return Err(format!(
                "dnsperf counts {completed:?} answers and {lost:?} losses, and told {} and {}",
                seen.answered.len(),
                seen.lost.len()
            )
            .into());
        }
        Ok(seen)
    }
}

/// Its answers and losses, each at the time when it says so.
fn read(out: ChildStdout) -> Result<Seen, Failure> {
    let mut seen = Seen::default();
    for line in BufReader::new(out).lines() {
        seen.take(&line?, Instant::now())?;
    }
    Ok(seen)
}

/// The last line of its complaints.
fn said(err: ChildStderr) -> String {
    let lines = BufReader::new(err).lines().map_while(Result::ok);
    lines
        .filter(|line| !line.is_empty())
        .last()
        .unwrap_or_default()
}

impl Seen {
    fn take(&mut self, line: &str, now: Instant) -> Result<(), Failure> {
        const TOTALS: [&str; 3] = ["Queries sent:", "Queries completed:", "Queries lost:"];
        if let Some(rest) = line.strip_prefix("> ") {
            match rest.split(' ').next() {
                Some("T") => self.lost.push(now - Duration::from_secs(TIMEOUT)),
                Some("NOERROR" | "NXDOMAIN") => self.answered.push(now),
                // On its way when dnsperf was told to stop.
                Some("I") => {}
                _ => return Err(format!("dnsperf was answered so: {line}").into()),
            }
        }
        for (name, total) in TOTALS.into_iter().zip(&mut self.totals) {
            if let Some(rest) = line.trim_start().strip_prefix(name) {
                *total = rest
                    .split_whitespace()
                    .next()
                    .and_then(|word| word.parse().ok());
            }
        }
        Ok(())
    }

    /// Answers and losses of each second, from the first one to the last; `|` where the pause begins and ends.
    pub(crate) fn by_second(&self, (began, ended): (Instant, Instant)) -> String {
        let all = || self.answered.iter().chain(&self.lost);
        let (Some(&first), Some(&last)) = (all().min(), all().max()) else {
            return "nothing".into();
        };
        let mut text = String::new();
        let mut start = first;
        while start <= last {
            let end = start + Duration::from_secs(1);
            let within = |at: &&Instant| (start..end).contains(*at);
            let mark = |at: Instant| if (start..end).contains(&at) { " |" } else { "" };
            let (answered, lost) = (
                self.answered.iter().filter(within).count(),
                self.lost.iter().filter(within).count(),
            );
            text += &format!("{} {answered}/{lost}{}", mark(began), mark(ended));
            start = end;
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_dnsperf_says_is_read() {
        let mut seen = Seen::default();
        let now = Instant::now() + Duration::from_secs(10);
        for line in [
            "DNS Performance Testing Tool",
            "[Status] Sending queries (to 10.98.0.2:53)",
            "> NOERROR www.example.org A 0.000731",
            "> NXDOMAIN nobody.example.org A 0.000699",
            "1795705063.697423: 199.802000",
            "> T www.example.org A",
            "> I www.example.org A",
            "  Queries sent:         3",
            "  Queries completed:    2 (66.67%)",
            "  Queries lost:         1 (33.33%)",
        ] {
            seen.take(line, now).unwrap();
        }
        assert_eq!(seen.answered, [now; 2]);
        assert_eq!(seen.lost, [now - Duration::from_secs(1)]);
        assert_eq!(seen.totals, [Some(3), Some(2), Some(1)]);
        let (began, ended) = (seen.lost[0], now);
        assert_eq!(seen.by_second((began, ended)), " | 0/1 2/0 |");
        assert!(seen.take("> SERVFAIL www.example.org A 0.1", now).is_err());
    }
}
