//! Processor time: the machine's, and a process's with its children.

use std::fs;
use std::time::Instant;

use bench_common::processes::process_time;
use bench_common::report::Error;

/// A moment, and how much processor time had been taken by then.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reading {
    at: Instant,
    /// Time in which no processor had anything to do, in seconds, of all of them.
    idle: f64,
    /// Time that the host took away, in seconds.
    stolen: f64,
    /// What the server's processes took, in seconds.
    server: f64,
    /// What the client's took, in seconds.
    client: f64,
}

impl Reading {
    /// Now, of the processes with those numbers and all of their descendants.
    pub(crate) fn now(server: u32, client: u32) -> Result<Self, Error> {
        let at = Instant::now();
        let text = read("/proc/stat")?;
        let (idle, stolen) = parse_stat(&text)?;
        Ok(Self {
            at,
            idle,
            stolen,
            server: process_time(server)?,
            client: process_time(client)?,
        })
    }

    /// What was taken since an earlier reading.
    pub(crate) fn since(&self, earlier: &Self, processors: usize) -> Taken {
        let seconds = self.at.duration_since(earlier.at).as_secs_f64();
        let stolen = self.stolen - earlier.stolen;
        Taken {
            seconds,
            busy: (seconds * processors as f64 - (self.idle - earlier.idle) - stolen).max(0.0),
            stolen,
            server: self.server - earlier.server,
            client: self.client - earlier.client,
        }
    }
}

/// Processor time within a window; all in seconds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Taken {
    /// The window.
    pub(crate) seconds: f64,
    /// All processors: whatever is not idle.
    pub(crate) busy: f64,
    /// All processors: what the host took away.
    pub(crate) stolen: f64,
    /// The server's processes.
    pub(crate) server: f64,
    /// The client's.
    pub(crate) client: f64,
}

/// Idle time (waiting for disks included) and stolen time of all processors, in seconds. The kernel tells idle time as it was, not by
/// samples, where it stops the tick of an idle processor.
fn parse_stat(text: &str) -> Result<(f64, f64), Error> {
    let line = text.lines().next().unwrap_or_default();
    let fields: Vec<u64> = line
        .split_whitespace()
        .skip(1)
        .filter_map(|field| field.parse().ok())
        .collect();
    match fields[..] {
        [_, _, _, idle, wait, _, _, stolen, ..] => {
            let ticks = ticks_a_second();
            Ok(((idle + wait) as f64 / ticks, stolen as f64 / ticks))
        }
        _ => Err("/proc/stat does not begin with the sum of all processors".into()),
    }
}

fn ticks_a_second() -> f64 {
    // SAFETY: sysconf(3) takes a number and touches no memory of ours.
    let ticks = unsafe { libc::sysconf(libc::_SC_CLK_TCK) };
    if ticks > 0 { ticks as f64 } else { 100.0 }
}

fn read(path: &str) -> Result<String, Error> {
    fs::read_to_string(path).map_err(|error| format!("{path}: {error}").into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn idle_and_stolen_time_are_read() {
        let text = "cpu  100 0 50 1000 20 3 4 70 0 0\ncpu0 1 2 3\n";
        let (idle, stolen) = parse_stat(text).unwrap();
        let ticks = ticks_a_second();
        assert!((idle * ticks - 1_020.0).abs() < 1e-6 && (stolen * ticks - 70.0).abs() < 1e-6);
        assert!(parse_stat("").is_err());
    }

    #[test]
    fn what_this_process_runs_is_seen() {
        let before = Reading::now(std::process::id(), std::process::id()).unwrap();
        let mut sum = 0u64;
        while before.at.elapsed().as_millis() < 50 {
            sum = std::hint::black_box(sum + 1);
        }
        let after = Reading::now(std::process::id(), std::process::id()).unwrap();
        let taken = after.since(&before, 2);
        assert!(
            taken.server > 0.0 && taken.client > 0.0 && taken.seconds >= 0.05,
            "{taken:?}"
        );
    }
}
