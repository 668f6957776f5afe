//! `cargo mirage test`: sets itself up, runs every check of the repository, and says what passed.
//!
//! `--list` names the steps. Each writes all that it ran and all that was printed to a log file of its own,
//! `target/mirage-test/STEP.log`, whose end is shown where it fails. Nothing is left out in silence: a step, or a part of
//! one, that this machine can't run is listed with the reason. The last line is `N passed, N failed, N skipped`, in steps.

mod examples;
mod fuzz;
mod image_size;
mod lab;
mod nightly;
mod no_std;
mod package;
mod peers;
mod readme;
mod static_checks;
mod suites;

use std::env;
use std::ffi::OsString;
use std::io::IsTerminal;
use std::panic::resume_unwind;
use std::path::PathBuf;
use std::process::{Command, ExitCode};
use std::sync::OnceLock;
use std::thread;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};
use rustix::process::setpriority_process;

use crate::cli::TestArguments;
use crate::error::Error;
use crate::process::{self, Finished, Log, Task};
use crate::workspace::{self, Workspace};

/// How many lines of a failed step's log are shown.
const SHOWN: usize = 60;

/// How long to fuzz in all, and with `--quick`.
const FUZZ: Duration = Duration::from_secs(240);
const FUZZ_QUICK: Duration = Duration::from_secs(20);

/// Where proptest reads what its random numbers begin with.
const PROPTEST_SEED: &str = "PROPTEST_RNG_SEED";

/// The step that has the programs fetched which tests talk to.
const PROGRAMS: &str = "peers";

/// The step that takes longest in the emulated machine.
const LAB: &str = "lab";

/// One row of the list of steps.
struct Step {
    name: &'static str,
    about: &'static str,
    /// Whether `--quick` runs it.
    quick: bool,
    lane: Lane,
    run: fn(&Context<'_>, &Log) -> Result<Outcome, Failure>,
}

/// Which steps follow each other. The lanes run side by side where there is more than one processor: much of a step is a link, a
/// machine that is emulated, or a test that waits. On two processors a fourth lane makes all slower, and the emulated machine too slow.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Lane {
    /// What goes before all others: it is quick, or what others need.
    First,
    /// Images, programs for users, and the emulated machine. Cargo builds unoptimised programs for one call at a time: there is
    /// little for it to wait for here.
    Images,
    /// What builds unoptimised with the stable compiler into the target folder itself.
    Main,
    /// What has a target folder of its own.
    Beside,
}

impl Lane {
    /// How much its processes stand back behind others (nice(2)). The emulated machine's clock goes on while it isn't run: it is to
    /// have a processor when it needs one.
    const fn niceness(self) -> i32 {
        match self {
            Self::First | Self::Images => 0,
            Self::Main | Self::Beside => 5,
        }
    }
}

/// In this order in each lane, and in the summary: what fails fast comes first.
const STEPS: &[Step] = &[
    Step {
        name: "fmt",
        about: "rustfmt has nothing to change",
        quick: true,
        lane: Lane::First,
        run: static_checks::fmt,
    },
    Step {
        name: "lock",
        about: "every Cargo.lock is what its workspace depends on",
        quick: true,
        lane: Lane::First,
        run: static_checks::lock,
    },
    Step {
        name: PROGRAMS,
        about: "the programs that tests talk to are there, or are fetched",
        quick: true,
        lane: Lane::First,
        run: peers::fetch,
    },
    Step {
        name: "clippy",
        about: "no warnings: all targets, each crate without features and with each",
        quick: true,
        lane: Lane::Main,
        run: static_checks::clippy,
    },
    Step {
        name: "doc",
        about: "the documentation builds without warnings",
        quick: true,
        lane: Lane::Main,
        run: static_checks::doc,
    },
    Step {
        name: "no-std",
        about: "programs without std link and run on nothing, for each crate and feature",
        quick: true,
        lane: Lane::Images,
        run: no_std::run,
    },
    Step {
        name: "test",
        about: "all tests and documentation examples, with all features",
        quick: true,
        lane: Lane::Main,
        run: suites::all_features,
    },
    Step {
        name: "features",
        about: "the tests of each crate without features",
        quick: true,
        lane: Lane::Main,
        run: suites::without_features,
    },
    Step {
        name: "examples",
        about: "every example runs to its end",
        quick: true,
        lane: Lane::Main,
        run: examples::run,
    },
    Step {
        name: LAB,
        about: "the appliances on a real Xen: answers, suspension, migration, what memory forbids; what their images weigh",
        quick: false,
        lane: Lane::Images,
        run: lab::run,
    },
    Step {
        name: "readme",
        about: "the README's commands do what it says",
        quick: true,
        lane: Lane::Images,
        run: readme::run,
    },
    Step {
        name: "bench-images",
        about: "every benchmark of images and in the lab runs, small, and its results are whole",
        quick: false,
        lane: Lane::Images,
        run: examples::benches_of_images,
    },
    Step {
        name: "author",
        about: "an author outside the checkout installs the tool, makes an appliance, and runs it on a real Xen",
        quick: false,
        lane: Lane::Images,
        run: lab::author,
    },
    Step {
        name: "package",
        about: "every crate packages and builds from its package; the tool installs",
        quick: false,
        lane: Lane::Main,
        run: package::run,
    },
    Step {
        name: "bench",
        about: "every other benchmark runs, small, and its results are whole",
        quick: true,
        lane: Lane::Main,
        run: examples::benches,
    },
    Step {
        name: "loom",
        about: "every interleaving of what threads share",
        quick: false,
        lane: Lane::Beside,
        run: suites::loom,
    },
    Step {
        name: "sanitizer",
        about: "the tests of crates with unsafe code under AddressSanitizer",
        quick: false,
        lane: Lane::Beside,
        run: nightly::address_sanitizer,
    },
    Step {
        name: "miri",
        about: "the tests that meet most unsafe code under Miri",
        quick: false,
        lane: Lane::Beside,
        run: nightly::miri,
    },
    Step {
        name: "fuzz",
        about: "each fuzz target over its corpus, then on its own",
        quick: true,
        lane: Lane::Beside,
        run: fuzz::run,
    },
];

/// What a step came to when nothing failed.
enum Outcome {
    /// It passed.
    Passed {
        /// What it did, in figures.
        note: String,
        /// Parts that could not be run, each with its reason.
        left_out: Vec<String>,
    },
    /// It could not be run at all, for this reason.
    Skipped(String),
}

impl Outcome {
    fn passed(note: impl Into<String>) -> Result<Self, Failure> {
        Ok(Self::Passed {
            note: note.into(),
            left_out: Vec::new(),
        })
    }

    fn skipped(reason: impl Into<String>) -> Result<Self, Failure> {
        Ok(Self::Skipped(reason.into()))
    }
}

/// Why a step failed.
struct Failure(String);

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self(error.to_string())
    }
}

impl From<String> for Failure {
    fn from(reason: String) -> Self {
        Self(reason)
    }
}

/// What a step is given.
struct Context<'a> {
    workspace: &'a Workspace,
    fetch: bool,
    fuzz_time: Duration,
    progress: ProgressBar,
    /// The search path with what was fetched first.
    path: OnceLock<OsString>,
}

impl Context<'_> {
    /// A folder below the target folder, which may not exist yet.
    fn target(&self, name: &str) -> PathBuf {
        self.workspace.target().join(name)
    }

    /// Prepares a command: our search path, no colours, and none of what cargo told us about our own package.
    fn prepare(&self, command: &mut Command) {
        workspace::clean_environment(command);
        command
            .env("CARGO_TERM_COLOR", "never")
            .env("CARGO_TERM_PROGRESS_WHEN", "never");
        if let Some(path) = self.path.get() {
            command.env("PATH", path);
        }
        // In continuous integration property tests try the same cases each time, so that a failure is the change's; elsewhere
        // each run tries others. What they find is told with the input, and nothing is left in the checkout.
        if env::var_os("CI").is_some() {
            if env::var_os(PROPTEST_SEED).is_none() {
                command.env(PROPTEST_SEED, "2013");
            }
            command.env("PROPTEST_DISABLE_FAILURE_PERSISTENCE", "1");
        }
    }

    /// Runs a command to its end, whatever that is.
    fn run(&self, mut command: Command, limit: Duration, log: &Log) -> Result<Finished, Failure> {
        self.prepare(&mut command);
        Ok(Task::new(command, limit).run(log, |line| {
            self.progress.set_message(line.trim().to_owned())
        })?)
    }

    /// Runs a command that must succeed.
    fn must(&self, command: Command, limit: Duration, log: &Log) -> Result<Finished, Failure> {
        let line = process::command_line(&command);
        let finished = self.run(command, limit, log)?;
        if finished.success() {
            Ok(finished)
        } else {
            Err(Failure(format!("{line}: {}", finished.how())))
        }
    }

    /// A call of cargo with these arguments.
    fn cargo(&self, arguments: &[&str]) -> Command {
        let mut command = self.workspace.cargo();
        command.args(arguments);
        command
    }
}

/// How a step ended, for the summary.
enum Verdict {
    Passed { note: String, left_out: Vec<String> },
    Failed(String),
    Skipped(String),
}

struct Row {
    name: &'static str,
    took: Duration,
    verdict: Verdict,
}

/// Runs the subcommand; the exit status is 0 if no step failed.
///
/// # Errors
///
/// [`Error::Unknown`] for a step that does not exist, [`Error::File`] if no log can be written.
pub fn run(workspace: &Workspace, arguments: &TestArguments) -> Result<ExitCode, Error> {
    if arguments.list {
        list();
        return Ok(ExitCode::SUCCESS);
    }
    for name in &arguments.only {
        if !STEPS.iter().any(|step| step.name == name) {
            let known = STEPS.iter().map(|step| step.name.to_owned()).collect();
            return Err(Error::Unknown {
                kind: "step",
                name: name.clone(),
                known,
            });
        }
    }
    process::pass_signals_on()?;
    let context = Context {
        workspace,
        fetch: arguments.fetch,
        fuzz_time: arguments.fuzz_seconds.map_or(
            if arguments.quick { FUZZ_QUICK } else { FUZZ },
            Duration::from_secs,
        ),
        progress: progress_bar(),
        path: OnceLock::new(),
    };
    let begun = Instant::now();
    let rows = run_lanes(&context, arguments)?;
    context.progress.finish_and_clear();
    Ok(summary(&rows, begun.elapsed()))
}

/// Runs what is wanted, and gives what came of it in the order of the list.
fn run_lanes(context: &Context<'_>, arguments: &TestArguments) -> Result<Vec<Row>, Error> {
    let steps = |lane: Lane| {
        let steps = STEPS.iter().filter(move |step| step.lane == lane);
        steps.filter(|step| is_wanted(arguments, step))
    };
    let mut rows = run_all(context, steps(Lane::First), arguments)?;
    let mut lanes = vec![Lane::Images, Lane::Main, Lane::Beside];
    lanes.retain(|lane| steps(*lane).next().is_some());
    let processors = thread::available_parallelism().map_or(1, usize::from);
    if lanes.len() == 1 || processors == 1 {
        for lane in lanes {
            rows.extend(run_all(context, steps(lane), arguments)?);
        }
    } else {
        if !arguments.quick && steps(Lane::Images).any(|step| step.name == LAB) {
            lab::build_ahead(context)?;
        }
        thread::scope(|scope| {
            let begin = |lane: Lane| {
                scope.spawn(move || {
                    // Of this thread, and of all that it starts.
                    let _ = setpriority_process(None, lane.niceness());
                    run_all(context, steps(lane), arguments)
                })
            };
            let lanes: Vec<_> = lanes.into_iter().map(begin).collect();
            for lane in lanes {
                match lane.join() {
                    Ok(of_lane) => rows.extend(of_lane?),
                    Err(panic) => resume_unwind(panic),
                }
            }
            Ok::<_, Error>(())
        })?;
    }
    rows.sort_by_key(|row| STEPS.iter().position(|step| step.name == row.name));
    Ok(rows)
}

/// Whether a step is run, or listed as left out.
fn is_wanted(arguments: &TestArguments, step: &Step) -> bool {
    let chosen = arguments.only.is_empty() || arguments.only.iter().any(|name| name == step.name);
    // The programs are needed by whatever is chosen.
    chosen || step.name == PROGRAMS
}

fn run_all<'s>(
    context: &Context<'_>,
    steps: impl Iterator<Item = &'s Step>,
    arguments: &TestArguments,
) -> Result<Vec<Row>, Error> {
    steps
        .map(|step| run_or_skip(context, step, arguments))
        .collect()
}

fn run_or_skip(
    context: &Context<'_>,
    step: &Step,
    arguments: &TestArguments,
) -> Result<Row, Error> {
    let row = if arguments.quick && !step.quick && arguments.only.is_empty() {
        let reason = "takes minutes; left out by --quick".into();
        Row {
            name: step.name,
            took: Duration::ZERO,
            verdict: Verdict::Skipped(reason),
        }
    } else {
        run_step(context, step)?
    };
    report(context, &row);
    Ok(row)
}

fn run_step(context: &Context<'_>, step: &Step) -> Result<Row, Error> {
    let log = Log::create(
        &context
            .target("mirage-test")
            .join(format!("{}.log", step.name)),
    )?;
    context.progress.set_prefix(step.name);
    context.progress.set_message(step.about);
    if context.progress.is_hidden() {
        println!("        {:10} {}", step.name, step.about);
    }
    let begun = Instant::now();
    let result = (step.run)(context, &log);
    let took = begun.elapsed();
    let verdict = match result {
        Ok(Outcome::Passed { note, left_out }) => Verdict::Passed { note, left_out },
        Ok(Outcome::Skipped(reason)) => Verdict::Skipped(reason),
        Err(Failure(reason)) => {
            context.progress.suspend(|| show_end(&log));
            Verdict::Failed(reason)
        }
    };
    Ok(Row {
        name: step.name,
        took,
        verdict,
    })
}

fn show_end(log: &Log) {
    let text = std::fs::read(log.path()).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let lines: Vec<&str> = text.lines().collect();
    for line in &lines[lines.len().saturating_sub(SHOWN)..] {
        println!("      | {line}");
    }
    println!("      the whole of it: {}", log.path().display());
}

fn report(context: &Context<'_>, row: &Row) {
    context.progress.suspend(|| print_row(row, true));
}

/// The summary leaves out the further lines of what passed.
fn print_row(row: &Row, whole: bool) {
    let (word, text, left_out): (_, &str, &[String]) = match &row.verdict {
        Verdict::Passed { note, left_out } => ("ok", note, left_out),
        Verdict::Failed(reason) => ("FAILED", reason, &[]),
        Verdict::Skipped(reason) => ("skipped", reason, &[]),
    };
    let mut lines = text.lines();
    println!(
        "{word:7} {:10} {:6.1} s  {}",
        row.name,
        row.took.as_secs_f64(),
        lines.next().unwrap_or("")
    );
    if whole || matches!(row.verdict, Verdict::Failed(_)) {
        for line in lines {
            println!("        {line}");
        }
    }
    for part in left_out {
        println!("        left out: {part}");
    }
}

fn summary(rows: &[Row], took: Duration) -> ExitCode {
    println!();
    println!("Summary, {:.0} s in all:", took.as_secs_f64());
    for row in rows {
        print_row(row, false);
    }
    let count =
        |wanted: fn(&Verdict) -> bool| rows.iter().filter(|row| wanted(&row.verdict)).count();
    let passed = count(|verdict| matches!(verdict, Verdict::Passed { .. }));
    let failed = count(|verdict| matches!(verdict, Verdict::Failed(_)));
    let skipped = count(|verdict| matches!(verdict, Verdict::Skipped(_)));
    println!("{passed} passed, {failed} failed, {skipped} skipped");
    if failed == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

fn list() {
    for step in STEPS {
        let quick = if step.quick {
            ""
        } else {
            " (not with --quick)"
        };
        println!("{:10} {}{quick}", step.name, step.about);
    }
}

fn progress_bar() -> ProgressBar {
    if !std::io::stderr().is_terminal() || env::var_os("CI").is_some() {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::new_spinner();
    if let Ok(style) =
        ProgressStyle::with_template("{spinner} {prefix:10} {elapsed:>4}  {wide_msg}")
    {
        bar.set_style(style);
    }
    bar.enable_steady_tick(Duration::from_millis(120));
    bar
}

/// Minutes, for limits.
const fn minutes(n: u64) -> Duration {
    Duration::from_secs(60 * n)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_have_different_names() {
        for (index, step) in STEPS.iter().enumerate() {
            assert!(
                STEPS[..index].iter().all(|other| other.name != step.name),
                "{}",
                step.name
            );
        }
    }

    #[test]
    fn programs_are_fetched_before_what_runs_beside() {
        let programs = STEPS.iter().find(|step| step.name == PROGRAMS);
        assert!(programs.is_some_and(|step| step.lane == Lane::First && step.quick));
    }
}
