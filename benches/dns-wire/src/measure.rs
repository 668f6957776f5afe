//! Processor time: the machine's, and a process's with its children.

use std::time::Instant;

use bench_common::processes::{idle_and_stolen_time, process_time};
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
        let (idle, stolen) = idle_and_stolen_time()?;
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

#[cfg(test)]
mod tests {
    use super::*;

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
