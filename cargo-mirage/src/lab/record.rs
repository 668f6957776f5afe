//! All that a lab says: Xen, dom0, each guest, and the tool, in one log file, each line with its time and its source.

use std::collections::{BTreeMap, VecDeque};
use std::path::Path;
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::error::Error;
use crate::process::Log;

/// How many of each source's last lines are kept in memory, for reports.
const KEPT: usize = 40;

/// The longest line; what is longer is cut into several.
const MAXIMUM_LINE: usize = 4096;

/// The most that a log may hold, in bytes: a guest that says the same for ever must not fill the disk.
const MAXIMUM_LOG: u64 = 256 << 20;

/// How an appliance's line begins that says that its network is up.
pub const READY: &str = "mirage: ready";

/// The log of a lab, and the ends of what each source said.
#[derive(Debug)]
pub struct Record {
    log: Log,
    began: Instant,
    show: bool,
    sources: Mutex<BTreeMap<String, Source>>,
    /// Which guest a domain is.
    domains: Mutex<BTreeMap<u32, String>>,
    changed: Condvar,
    /// How much more the log may hold.
    room: Mutex<u64>,
}

/// How a line came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    /// Through the source's own console.
    Console,
    /// Printed by Xen, for a domain that asked it to.
    Xen,
}

#[derive(Debug, Default)]
struct Source {
    /// What came since the last line feed.
    partial: Vec<u8>,
    last: VecDeque<String>,
    /// Lines that came by one way alone so far: an appliance that reports a fault says the same by both.
    unpaired: VecDeque<(Way, String)>,
    ready: Option<Duration>,
    /// Whether its lines are shown on the terminal.
    shown: bool,
}

impl Record {
    /// An empty one. With `show` what guests say is shown on the standard error, too.
    ///
    /// # Errors
    ///
    /// [`Error::File`].
    pub fn create(path: &Path, show: bool) -> Result<Self, Error> {
        Ok(Self {
            log: Log::create(path)?,
            began: Instant::now(),
            show,
            sources: Mutex::default(),
            domains: Mutex::default(),
            changed: Condvar::new(),
            room: Mutex::new(MAXIMUM_LOG),
        })
    }

    /// The log file.
    pub fn log(&self) -> &Log {
        &self.log
    }

    /// Time since the lab began.
    pub fn elapsed(&self) -> Duration {
        self.began.elapsed()
    }

    /// Makes a source one of those that are shown.
    pub fn show(&self, source: &str) {
        self.with(source, |source| source.shown = true);
    }

    /// From now on, what Xen prints on behalf of that domain counts as said by that source.
    pub fn domain(&self, number: u32, source: &str) {
        let mut domains = self.domains.lock().unwrap_or_else(PoisonError::into_inner);
        domains.insert(number, source.to_owned());
    }

    /// A line that the machine printed on its serial port: Xen's or dom0's, or, after `(d1) `, one that domain 1 gave to
    /// Xen to print. What a domain says on its own console as well is shown and kept in [`Record::tail`] once.
    pub fn machine_line(&self, line: &str) {
        let line = printable(line.as_bytes());
        let guest = domain_line(&line).and_then(|(number, said)| {
            let domains = self.domains.lock().unwrap_or_else(PoisonError::into_inner);
            Some((domains.get(&number)?.clone(), said))
        });
        match guest {
            Some((source, said)) => {
                let now = self.elapsed();
                self.with(&source, |kept| {
                    self.keep(kept, &source, Way::Xen, said, now)
                });
            }
            None => self.line("xen", &line),
        }
    }

    /// A whole line.
    pub fn line(&self, source: &str, line: &str) {
        let now = self.elapsed();
        self.with(source, |kept| {
            self.keep(kept, source, Way::Console, line, now)
        });
    }

    /// Bytes as they come; they make lines with what came before and comes after.
    pub fn bytes(&self, source: &str, bytes: &[u8]) {
        let now = self.elapsed();
        self.with(source, |kept| {
            kept.partial.extend_from_slice(bytes);
            while let Some((line, rest)) = next_line(&kept.partial) {
                kept.partial = rest;
                self.keep(kept, source, Way::Console, &line, now);
            }
        });
    }

    /// The last lines of a source, the one that has not ended included.
    pub fn tail(&self, source: &str, lines: usize) -> Vec<String> {
        self.with(source, |source| {
            let mut all: Vec<String> = source.last.iter().cloned().collect();
            if !source.partial.is_empty() {
                all.push(printable(&source.partial));
            }
            let from = all.len().saturating_sub(lines);
            all.split_off(from)
        })
    }

    /// When a source said that it was ready, if it has.
    pub fn ready(&self, source: &str) -> Option<Duration> {
        self.with(source, |source| source.ready)
    }

    /// Waits until any source says anything, at most that long.
    pub fn wait(&self, limit: Duration) {
        let sources = self.sources.lock().unwrap_or_else(PoisonError::into_inner);
        drop(self.changed.wait_timeout(sources, limit));
    }

    fn write(&self, line: &str) {
        let mut room = self.room.lock().unwrap_or_else(PoisonError::into_inner);
        let length = line.len() as u64 + 1;
        if *room == 0 {
            return;
        }
        if *room < length {
            *room = 0;
            self.log.line("the log is full: what follows is left out");
            return;
        }
        *room -= length;
        self.log.line(line);
    }

    fn with<T>(&self, source: &str, change: impl FnOnce(&mut Source) -> T) -> T {
        let mut sources = self.sources.lock().unwrap_or_else(PoisonError::into_inner);
        let result = change(sources.entry(source.to_owned()).or_default());
        self.changed.notify_all();
        result
    }

    fn keep(&self, kept: &mut Source, source: &str, way: Way, line: &str, now: Duration) {
        self.write(&format!("[{:8.3}] {source:8}| {line}", now.as_secs_f64()));
        if kept.is_second(way, line) {
            return;
        }
        if self.show && kept.shown {
            eprintln!("{source}| {line}");
        }
        if kept.ready.is_none() && line.starts_with(READY) {
            kept.ready = Some(now);
        }
        if kept.last.len() == KEPT {
            kept.last.pop_front();
        }
        kept.last.push_back(line.to_owned());
    }
}

impl Source {
    /// Whether that line came by the other way before; each of those counts once.
    fn is_second(&mut self, way: Way, line: &str) -> bool {
        let twin = self
            .unpaired
            .iter()
            .position(|(other, said)| *other != way && said == line);
        if let Some(at) = twin {
            self.unpaired.remove(at);
            return true;
        }
        if self.unpaired.len() == KEPT {
            self.unpaired.pop_front();
        }
        self.unpaired.push_back((way, line.to_owned()));
        false
    }
}

/// The domain's number and what it said, in a line of Xen's such as `(d1) hello`, which may have `(XEN) ` before it.
fn domain_line(line: &str) -> Option<(u32, &str)> {
    let line = line.strip_prefix("(XEN) ").unwrap_or(line);
    let (number, said) = line.strip_prefix("(d")?.split_once(") ")?;
    // `(d1v0) ` is Xen speaking about the domain.
    let plain = number.bytes().all(|byte| byte.is_ascii_digit());
    Some((number.parse().ok().filter(|_| plain)?, said))
}

/// The first line of what came, for people, and what follows it; `None` if it has not ended yet.
fn next_line(bytes: &[u8]) -> Option<(String, Vec<u8>)> {
    let end = bytes.iter().position(|byte| *byte == b'\n');
    match end {
        Some(end) if end <= MAXIMUM_LINE => {
            Some((printable(&bytes[..end]), bytes[end + 1..].to_vec()))
        }
        _ if bytes.len() > MAXIMUM_LINE => Some((
            printable(&bytes[..MAXIMUM_LINE]),
            bytes[MAXIMUM_LINE..].to_vec(),
        )),
        _ => None,
    }
}

/// Text without what would move a terminal's cursor.
fn printable(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let text = text.trim_end_matches('\r');
    text.chars()
        .map(|c| {
            if c.is_control() && c != '\t' {
                '\u{fffd}'
            } else {
                c
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record() -> (tempfile::TempDir, Record) {
        let folder = tempfile::tempdir().unwrap();
        let record = Record::create(&folder.path().join("lab.log"), false).unwrap();
        (folder, record)
    }

    #[test]
    fn bytes_make_lines_however_they_are_cut() {
        let (_folder, record) = record();
        record.bytes("a", b"one\r\nt");
        record.bytes("b", b"other\n");
        record.bytes("a", b"wo\nthr");
        assert_eq!(record.tail("a", 9), ["one", "two", "thr"]);
        assert_eq!(record.tail("a", 2), ["two", "thr"]);
        let text = std::fs::read_to_string(record.log().path()).unwrap();
        let lines: Vec<&str> = text
            .lines()
            .map(|line| line.split_once("] ").unwrap().1)
            .collect();
        assert_eq!(lines, ["a       | one", "b       | other", "a       | two"]);
    }

    #[test]
    fn memory_is_bounded_whatever_a_guest_says() {
        let (_folder, record) = record();
        record.bytes("a", &vec![b'x'; 10 * MAXIMUM_LINE]);
        for n in 0..10 * KEPT {
            record.line("a", &n.to_string());
        }
        let tail = record.tail("a", usize::MAX);
        assert!(tail.len() <= KEPT + 1);
        assert!(tail.iter().all(|line| line.len() <= MAXIMUM_LINE));
    }

    #[test]
    fn a_guest_can_not_move_the_cursor() {
        let (_folder, record) = record();
        record.bytes("a", b"\x1b[2J\xff\ttab\n");
        assert_eq!(record.tail("a", 1), ["\u{fffd}[2J\u{fffd}\ttab"]);
    }

    #[test]
    fn what_a_domain_gives_to_xen_is_its_own() {
        let (_folder, record) = record();
        record.domain(1, "dns");
        for line in [
            "(d1) one",
            "(XEN) (d1) two",
            "(d2) other",
            "(d1v0) about it",
            "(d+1) x",
            "(XEN) xen\x1b",
        ] {
            record.machine_line(line);
        }
        assert_eq!(record.tail("dns", 9), ["one", "two"]);
        assert_eq!(record.tail("xen", 9).len(), 4);
    }

    #[test]
    fn what_is_said_by_both_ways_is_told_once() {
        let (_folder, record) = record();
        record.domain(1, "dns");
        record.machine_line("(d1) fault");
        record.bytes("dns", b"before\nfault\nalone\nalone\n");
        record.machine_line("(d1) alone");
        assert_eq!(record.tail("dns", 9), ["fault", "before", "alone", "alone"]);
        // The log has all of it.
        let text = std::fs::read_to_string(record.log().path()).unwrap();
        assert_eq!(text.lines().count(), 6);
    }

    #[test]
    fn a_log_that_is_full_says_so_once() {
        let (_folder, record) = record();
        *record.room.lock().unwrap() = 60;
        for line in ["one", "two", "three", "four"] {
            record.line("a", line);
        }
        let text = std::fs::read_to_string(record.log().path()).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 3, "{text}");
        assert!(
            lines[1].ends_with("two") && lines[2].contains("full"),
            "{text}"
        );
        assert_eq!(record.tail("a", 9).len(), 4);
    }

    #[test]
    fn ready_is_the_beginning_of_a_line() {
        let (_folder, record) = record();
        record.bytes("a", b"not mirage: ready\nmirage: rea");
        assert_eq!(record.ready("a"), None);
        record.bytes("a", b"dy 10.98.0.2\n");
        assert!(record.ready("a").is_some());
        assert_eq!(record.ready("b"), None);
    }
}
