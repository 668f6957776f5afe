//! A network namespace of one's own, for the tests and benchmarks here: interfaces with any name and any address, that nobody
//! else has, and that go with the thread or the process that made them, however that ends.
//!
//! Linux counts a network namespace to a thread (`network_namespaces(7)`): what a thread that entered one starts, threads and
//! programs, is in it, too; the process's other threads stay where they were.

use std::fs::File;
use std::io;
use std::panic::resume_unwind;
use std::process::Command;
use std::sync::mpsc::{self, Sender};
use std::thread;

use nix::sched::{CloneFlags, unshare};
use nix::unistd::gettid;

/// Where a process opens a tap device.
const TUN: &str = "/dev/net/tun";

/// Gives the calling thread a network namespace of its own. All that is in it is a loopback interface, which is down.
///
/// # Errors
///
/// The system's: as a rule that the thread has no right to (`CAP_SYS_ADMIN`).
pub fn enter() -> io::Result<()> {
    Ok(unshare(CloneFlags::CLONE_NEWNET)?)
}

/// Runs `test` in a thread with a network namespace of its own; or prints that `name` is skipped, and why: there is no right to make
/// one, or `missing`, which is asked in it, says what else is needed and not there.
///
/// # Panics
///
/// With `test`.
pub fn run_test(
    name: &str,
    missing: impl FnOnce() -> Option<String> + Send + 'static,
    test: impl FnOnce() + Send + 'static,
) {
    let thread = thread::spawn(move || {
        if let Err(error) = enter() {
            return Some(format!("no right to make a network namespace ({error})"));
        }
        let missing = missing();
        if missing.is_none() {
            test();
        }
        missing
    });
    match thread.join() {
        Ok(None) => {}
        // The harness shows it with `--show-output`, and `cargo mirage test` lists it.
        Ok(Some(reason)) => eprintln!("SKIPPED: {name}: {reason}"),
        Err(panic) => resume_unwind(panic),
    }
}

/// What a test over a tap lacks on this machine, for [`run_test`].
#[must_use]
pub fn what_a_tap_lacks() -> Option<String> {
    let device = File::options().read(true).write(true).open(TUN);
    device.err().map(|error| format!("{TUN}: {error}"))
}

/// A network namespace beside that of the caller: a thread that lives in it, and does there what it is told. It goes when this is
/// dropped, and what was started in it has ended.
#[derive(Debug)]
pub struct Namespace {
    jobs: Sender<Box<dyn FnOnce() + Send>>,
    thread: i32,
}

impl Namespace {
    /// A new one, whose loopback interface is up.
    ///
    /// # Errors
    ///
    /// The system's, or those of [`ip`].
    pub fn new() -> io::Result<Self> {
        let (jobs, todo) = mpsc::channel::<Box<dyn FnOnce() + Send>>();
        let (said, hear) = mpsc::channel();
        thread::spawn(move || {
            let made = enter().and_then(|()| ip(&["link", "set", "lo", "up"]));
            let _ = said.send(made.map(|()| gettid().as_raw()));
            for job in todo {
                job();
            }
        });
        let thread = hear.recv().map_err(|_| ended())??;
        Ok(Self { jobs, thread })
    }

    /// The thread in it, by which `ip link set … netns` knows it.
    #[must_use]
    pub const fn thread(&self) -> i32 {
        self.thread
    }

    /// Runs `job` in it, and gives what that gives. What it starts is in the namespace, too.
    ///
    /// # Errors
    ///
    /// An earlier job panicked, or this one does.
    pub fn run<R: Send + 'static>(
        &self,
        job: impl FnOnce() -> R + Send + 'static,
    ) -> io::Result<R> {
        let (say, hear) = mpsc::channel();
        let job = Box::new(move || {
            let _ = say.send(job());
        });
        self.jobs.send(job).map_err(|_| ended())?;
        hear.recv().map_err(|_| ended())
    }
}

fn ended() -> io::Error {
    io::Error::other("the network namespace's thread has ended")
}

/// Calls `ip` of iproute2 in the calling thread's network namespace; it has to succeed.
///
/// # Errors
///
/// It is not there, with Debian's package that has it; or what it said.
pub fn ip(arguments: &[&str]) -> io::Result<()> {
    let output = Command::new("ip").args(arguments).output();
    let output = output.map_err(|error| {
        io::Error::new(
            error.kind(),
            format!("ip (Debian's package iproute2): {error}"),
        )
    })?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(io::Error::other(format!(
        "ip {}: {}",
        arguments.join(" "),
        said.trim()
    )))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;

    /// The interfaces of the calling thread's network namespace.
    fn interfaces() -> Vec<String> {
        let text = fs::read_to_string("/proc/thread-self/net/dev").expect("the interfaces");
        let lines = text.lines().skip(2);
        let names = lines.filter_map(|line| line.split(':').next());
        names.map(|name| name.trim().to_owned()).collect()
    }

    #[test]
    fn a_test_has_a_network_of_its_own() {
        static RAN: AtomicBool = AtomicBool::new(false);
        run_test(
            "a_test_has_a_network_of_its_own",
            || None,
            || {
                ip(&[
                    "link", "add", "ours", "type", "veth", "peer", "name", "others",
                ])
                .expect("any name is free");
                let mut names = interfaces();
                names.retain(|name| name == "lo" || name == "ours");
                assert_eq!(names.len(), 2);
                RAN.store(true, Ordering::Relaxed);
            },
        );
        assert!(
            !interfaces().contains(&"ours".into()),
            "this thread stayed where it was"
        );
        if enter().is_ok() {
            assert!(RAN.load(Ordering::Relaxed));
        }
    }

    #[test]
    fn what_is_missing_keeps_a_test_from_running() {
        run_test(
            "not a test",
            || Some("a reason".into()),
            || panic!("this was to be left out"),
        );
    }

    #[test]
    #[should_panic(expected = "the test's own")]
    fn a_test_that_fails_fails_its_caller() {
        if enter().is_err() {
            panic!("no right, so that nothing runs: the test's own");
        }
        run_test("a test", || None, || panic!("the test's own"));
    }

    #[test]
    fn a_namespace_beside_ours_is_told_what_to_do() {
        let Ok(beside) = Namespace::new() else {
            eprintln!(
                "SKIPPED: a_namespace_beside_ours_is_told_what_to_do: no right to make a network namespace"
            );
            return;
        };
        beside
            .run(|| {
                ip(&[
                    "link", "add", "theirs", "type", "veth", "peer", "name", "others",
                ])
            })
            .expect("alive")
            .expect("made");
        assert!(
            beside
                .run(interfaces)
                .expect("alive")
                .contains(&"theirs".into())
        );
        assert!(!interfaces().contains(&"theirs".into()));
        let error = beside
            .run(|| ip(&["link", "set", "none", "up"]))
            .expect("alive");
        let error = error.expect_err("there is no such interface").to_string();
        assert!(error.starts_with("ip link set none up: "), "{error}");
    }

    #[test]
    fn a_job_that_panics_is_an_error_of_its_caller() {
        if let Ok(beside) = Namespace::new() {
            beside
                .run(|| panic!("on purpose"))
                .expect_err("it panicked");
            beside.run(|| ()).expect_err("its thread has ended");
        }
    }
}
