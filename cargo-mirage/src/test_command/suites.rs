//! The test suites: everything with all features, each crate without, and the model checker.

use std::ffi::OsStr;
use std::fs;
use std::panic::resume_unwind;
use std::process::Command;
use std::thread;
use std::time::Duration;

use super::{Context, Failure, Outcome, minutes};
use crate::error::Error;
use crate::process::{self, Finished, Log};

/// How many lines of a failed test's output are told; the log has all.
const SAID: usize = 15;

/// What a run of test programs came to.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Tally {
    pub(super) passed: u64,
    pub(super) failed: u64,
    /// Tests that were not run, with their reason where they gave one.
    pub(super) ignored: Vec<String>,
    /// Those that failed, each with the first lines of what it said.
    pub(super) failures: Vec<String>,
    /// What tests said they left out: what follows `SKIPPED: `.
    pub(super) left_out: Vec<String>,
}

impl Tally {
    /// Reads what `cargo test` printed.
    pub(super) fn of(output: &str) -> Self {
        let mut tally = Self::default();
        for line in output.lines() {
            if let Some(counts) = line.strip_prefix("test result: ") {
                tally.passed += count_before(counts, " passed");
                tally.failed += count_before(counts, " failed");
            } else if let Some(test) = line.strip_prefix("test ") {
                if let Some((name, reason)) = test.split_once(" ... ignored") {
                    tally.ignored.push(format!("{name}{reason}"));
                } else if let Some((name, _)) = test.split_once(" ... FAILED") {
                    tally
                        .failures
                        .push(name.to_owned() + &said_by(name, output));
                }
            }
            // Our tests write this to the standard error themselves, so it may come after another test's name.
            if let Some((_, what)) = line.split_once("SKIPPED: ") {
                tally.left_out.push(what.to_owned());
            }
        }
        tally
    }

    fn add(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.ignored.extend(other.ignored);
        self.failures.extend(other.failures);
        self.left_out.extend(other.left_out);
    }

    /// What a step says of it. Running no test at all is a failure: a filter or a feature that drifted.
    pub(super) fn outcome(mut self, broken: &[String]) -> Result<Outcome, Failure> {
        if self.failed > 0 || !broken.is_empty() {
            let mut reason = format!("{} tests failed, {} passed", self.failed, self.passed);
            for line in self.failures.iter().chain(broken) {
                reason.push('\n');
                reason.push_str(line);
            }
            return Err(Failure(reason));
        }
        if self.passed == 0 {
            return Err(Failure("no test was run".into()));
        }
        self.left_out
            .extend(self.ignored.into_iter().map(|name| format!("test {name}")));
        self.left_out.sort();
        self.left_out.dedup();
        Ok(Outcome::Passed {
            note: format!("{} tests", self.passed),
            left_out: self.left_out,
        })
    }
}

/// The first lines of what a failed test said, as the harness repeats it.
fn said_by(name: &str, output: &str) -> String {
    let head = format!("---- {name} stdout ----");
    let mut said = String::new();
    for line in output
        .lines()
        .skip_while(|line| *line != head)
        .skip(1)
        .take(SAID)
    {
        if line.starts_with("---- ") || line == "failures:" {
            break;
        }
        if !line.is_empty() {
            said.push_str("\n    ");
            said.push_str(line);
        }
    }
    said
}

/// How many tests a filter left out, of what `cargo test` printed.
pub(super) fn filtered_out(output: &str) -> u64 {
    let results = output
        .lines()
        .filter_map(|line| line.strip_prefix("test result: "));
    results
        .map(|counts| count_before(counts, " filtered out"))
        .sum()
}

fn count_before(text: &str, word: &str) -> u64 {
    let Some((before, _)) = text.split_once(word) else {
        return 0;
    };
    before
        .rsplit(|c: char| !c.is_ascii_digit())
        .next()
        .and_then(|digits| digits.parse().ok())
        .unwrap_or(0)
}

/// Runs one `cargo test` and adds up what it printed; a call that fails without a failed test (it does not build) is
/// added to `broken`.
pub(super) fn add(
    context: &Context<'_>,
    command: Command,
    log: &Log,
    tally: &mut Tally,
    broken: &mut Vec<String>,
) -> Result<Finished, Failure> {
    add_within(context, command, minutes(20), log, tally, broken)
}

/// As [`add`], within that time.
pub(super) fn add_within(
    context: &Context<'_>,
    command: Command,
    limit: Duration,
    log: &Log,
    tally: &mut Tally,
    broken: &mut Vec<String>,
) -> Result<Finished, Failure> {
    let line = process::command_line(&command);
    let finished = context.run(command, limit, log)?;
    let one = Tally::of(&finished.output);
    if !finished.success() && one.failed == 0 {
        broken.push(format!("{line}: {}", finished.how()));
    }
    tally.add(one);
    Ok(finished)
}

/// All tests of all workspaces with all features, documentation examples included. Built one after the other, then run side by side:
/// many of them wait, for a peer, or for a time to pass.
pub(super) fn all_features(context: &Context<'_>, log: &Log) -> Result<Outcome, Failure> {
    let mut tally = Tally::default();
    let mut broken = Vec::new();
    let call = |selection: &[&OsStr], more: &[&str]| {
        let mut command = context.cargo(&["test", "--all-features"]);
        command.args(selection).args(more);
        command
    };
    let workspace = ["--workspace".as_ref()];
    let mains = context.workspace.host_mains();
    let mains: Vec<[&OsStr; 2]> = mains
        .iter()
        .map(|manifest| ["--manifest-path".as_ref(), manifest.as_ref()])
        .collect();
    for selection in std::iter::once(&workspace[..]).chain(mains.iter().map(|main| &main[..])) {
        let command = call(selection, &["--no-run"]);
        add(context, command, log, &mut tally, &mut broken)?;
    }
    if broken.is_empty() {
        let show = ["--no-fail-fast", "--", "--show-output"];
        // What a call of cargo without a choice runs.
        let parts: [&[&str]; 3] = [&["--test", "*"], &["--lib", "--bins"], &["--doc"]];
        let of_workspace = parts.map(|part| call(&workspace, &[part, &show].concat()));
        let of_mains = mains.iter().map(|main| call(main, &show));
        let calls = of_workspace.into_iter().chain(of_mains).collect();
        add_side_by_side(context, calls, log, &mut tally, &mut broken)?;
    }
    tally.outcome(&broken)
}

/// As [`add`], all at once. What each prints is in the log as a whole.
fn add_side_by_side(
    context: &Context<'_>,
    calls: Vec<Command>,
    log: &Log,
    tally: &mut Tally,
    broken: &mut Vec<String>,
) -> Result<(), Failure> {
    let one = |number: usize, command: Command| {
        let path = log.path().with_extension(format!("{number}.log"));
        let own = Log::create(&path)?;
        let (mut tally, mut broken) = (Tally::default(), Vec::new());
        let finished = add(context, command, &own, &mut tally, &mut broken);
        let said = fs::read(&path).map_err(Error::file("read", &path))?;
        log.line(String::from_utf8_lossy(&said).trim_end());
        fs::remove_file(&path).map_err(Error::file("remove", &path))?;
        finished.map(|_| (tally, broken))
    };
    thread::scope(|scope| {
        let begin = |(number, command)| scope.spawn(move || one(number, command));
        let running: Vec<_> = calls.into_iter().enumerate().map(begin).collect();
        for call in running {
            let (its_tally, its_broken) = match call.join() {
                Ok(done) => done?,
                Err(panic) => resume_unwind(panic),
            };
            tally.add(its_tally);
            broken.extend(its_broken);
        }
        Ok(())
    })
}

/// The tests of each crate that has features, with none of them.
pub(super) fn without_features(context: &Context<'_>, log: &Log) -> Result<Outcome, Failure> {
    let mut tally = Tally::default();
    let mut broken = Vec::new();
    let packages = context.workspace.members()?;
    for package in packages
        .iter()
        .filter(|package| package.named_features().next().is_some())
    {
        let command = context.cargo(&[
            "test",
            "--package",
            &package.name,
            "--no-default-features",
            "--no-fail-fast",
            "--lib",
            "--tests",
        ]);
        add(context, command, log, &mut tally, &mut broken)?;
    }
    tally.outcome(&broken)
}

/// The tests that loom drives through every interleaving: of each crate that depends on it, the unit tests with `loom` in
/// their path, and the test programs with `loom` in their name. They have a target folder of their own: their flag changes
/// every crate.
pub(super) fn loom(context: &Context<'_>, log: &Log) -> Result<Outcome, Failure> {
    let mut tally = Tally::default();
    let mut broken = Vec::new();
    for package in context.workspace.members()? {
        let manifest = std::fs::read_to_string(&package.manifest_path)
            .map_err(Error::file("read", &package.manifest_path))?;
        if !manifest.contains("cfg(loom)") {
            continue;
        }
        let programs = package
            .targets
            .iter()
            .filter(|target| target.is("test") && target.name.contains("loom"));
        let calls = std::iter::once(vec!["--lib", "loom"])
            .chain(programs.map(|target| vec!["--test", &target.name]));
        for call in calls {
            let mut command = context.cargo(&[
                "test",
                "--release",
                "--package",
                &package.name,
                "--all-features",
            ]);
            command
                .arg("--target-dir")
                .arg(context.target("loom"))
                .args(call);
            command
                .env("RUSTFLAGS", "--cfg loom")
                .env("CARGO_PROFILE_RELEASE_DEBUG", "0");
            add(context, command, log, &mut tally, &mut broken)?;
        }
    }
    tally.outcome(&broken)
}

#[cfg(test)]
mod tests {
    use super::*;

    const OUTPUT: &str = "\
running 3 tests
test a::b ... ok
test tap::reads ... ignored, needs root
test c ... FAILED
test d ... SKIPPED: d: kdig is not there
ok
---- e stdout ----
SKIPPED: e: no right to make a network namespace
failures:

---- c stdout ----
it broke

failures:
    c

test result: FAILED. 12 passed; 1 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.00s
   Doc-tests mirage_core
test result: ok. 3 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.00s
";

    #[test]
    fn all_test_programs_are_added_up() {
        let tally = Tally::of(OUTPUT);
        assert_eq!((tally.passed, tally.failed), (15, 1));
        assert_eq!(tally.failures, ["c\n    it broke"]);
        assert_eq!(tally.ignored, ["tap::reads, needs root"]);
        assert_eq!(
            tally.left_out,
            [
                "d: kdig is not there",
                "e: no right to make a network namespace"
            ]
        );
    }

    #[test]
    fn a_failed_test_or_a_broken_build_fails_the_step() {
        assert!(Tally::of(OUTPUT).outcome(&[]).is_err());
        let passed = Tally {
            passed: 1,
            ..Tally::default()
        };
        assert!(passed.outcome(&["cargo test".into()]).is_err());
    }

    #[test]
    fn no_test_at_all_fails_the_step() {
        assert!(Tally::of("").outcome(&[]).is_err());
    }

    #[test]
    fn what_was_not_run_is_told() {
        let text =
            "test x ... ignored, needs root\ntest result: ok. 2 passed; 0 failed; 1 ignored;";
        let Ok(Outcome::Passed { left_out, .. }) = Tally::of(text).outcome(&[]) else {
            panic!("did not pass");
        };
        assert_eq!(left_out, ["test x, needs root"]);
    }
}
