//! The machine that was measured on, and the versions of what was measured.

use std::fs;
use std::process::Command;

use serde::{Deserialize, Serialize};

/// A machine, and how busy it was.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Machine {
    /// What the processor calls itself.
    pub processor: String,
    /// How many this process may use.
    pub processors: usize,
    /// Memory that was available before, in bytes; 0 where the kernel does not tell.
    pub memory_bytes_available: usize,
    /// The kernel's release.
    pub kernel: String,
    /// Of one, five and fifteen minutes, before and after: other load disturbs.
    pub load_before: String,
    /// As before.
    pub load_after: String,
}

impl Machine {
    /// This machine, before anything is measured.
    pub fn before() -> Self {
        Self {
            processor: processor(),
            processors: std::thread::available_parallelism().map_or(0, usize::from),
            memory_bytes_available: available_bytes(),
            kernel: read("/proc/sys/kernel/osrelease"),
            load_before: load(),
            load_after: String::new(),
        }
    }

    /// Notes the load once all has been measured.
    #[must_use]
    pub fn after(mut self) -> Self {
        self.load_after = load();
        self
    }
}

/// The memory that is available without swapping, in bytes; 0 where the kernel does not tell.
pub fn available_bytes() -> usize {
    read("/proc/meminfo")
        .lines()
        .find_map(|line| line.strip_prefix("MemAvailable:"))
        .and_then(|rest| rest.trim().split(' ').next()?.parse::<usize>().ok())
        .map_or(0, |kib| kib * 1024)
}

/// The version of a package that the benchmarks were built with; empty outside of the checkout, which has the lock file.
pub fn locked_version(package: &str) -> String {
    let lock = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../../Cargo.lock"));
    version_in(&lock.unwrap_or_default(), package)
}

fn version_in(lock: &str, package: &str) -> String {
    let name = format!("name = \"{package}\"");
    let mut lines = lock.lines().skip_while(|line| *line != name);
    lines
        .nth(1)
        .and_then(|line| line.split('"').nth(1))
        .unwrap_or_default()
        .to_owned()
}

/// The version of the compiler that is called `rustc` here; empty where there is none.
pub fn rustc_version() -> String {
    let output = Command::new("rustc").arg("--version").output();
    output.map_or_else(
        |_| String::new(),
        |output| String::from_utf8_lossy(&output.stdout).trim().to_owned(),
    )
}

/// A file's text without white space at the ends; empty if it can't be read.
pub fn read(file: &str) -> String {
    fs::read_to_string(file).map_or_else(|_| String::new(), |text| text.trim().to_owned())
}

fn load() -> String {
    let text = read("/proc/loadavg");
    text.split_whitespace()
        .take(3)
        .collect::<Vec<_>>()
        .join(" ")
}

fn processor() -> String {
    let text = read("/proc/cpuinfo");
    text.lines()
        .find_map(|line| line.strip_prefix("model name")?.split_once(':'))
        .map_or_else(String::new, |(_, name)| name.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lock_file_tells_versions() {
        let lock = "[[package]]\nname = \"tokio-util\"\nversion = \"0.7.1\"\n\n\
                    [[package]]\nname = \"tokio\"\nversion = \"1.54.1\"\n";
        assert_eq!(version_in(lock, "tokio"), "1.54.1");
        assert_eq!(version_in(lock, "absent"), "");
        assert_eq!(version_in("name = \"cut\"", "cut"), "");
    }

    #[test]
    fn the_load_is_noted_before_and_after() {
        let machine = Machine::before();
        assert_eq!(machine.load_after, "");
        let kept = machine.clone();
        let after = machine.after();
        assert_eq!(after.load_before, kept.load_before);
        // Where the kernel tells it at all, it tells three.
        assert!(after.load_after.is_empty() || after.load_after.split(' ').count() == 3);
    }
}
