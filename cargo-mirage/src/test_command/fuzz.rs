//! Fuzzing: each target over its checked-in corpus, then on its own for its share of the time.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::Mutex;
use std::thread;
use std::time::Duration;

use rustix::process::setpriority_process;

use super::{Context, Failure, Outcome, minutes, nightly};
use crate::error::Error;
use crate::process::{Finished, Log, Task};

/// What a target may take beyond its time, to start and to end.
const SLACK: Duration = Duration::from_secs(60);

/// An input that takes longer than this is a finding, in seconds.
const INPUT_LIMIT: u32 = 10;

/// How much fuzzing stands back behind other steps (nice(2)): a little more than these among each other, and little enough for
/// [`INPUT_LIMIT`].
const NICENESS: i32 = 10;

/// Memory that a target may take, in MiB.
const MEMORY_LIMIT: u32 = 2048;

/// How targets are built: as libFuzzer wants it, and under AddressSanitizer. `cargo fuzz`, which is for one target and whoever waits for
/// it, would build each with all that it doesn't call, and with everything that a debugger asks for.
const INSTRUMENTED: &[&str] = &[
    "-Zsanitizer=address",
    "--cfg=fuzzing",
    // What has been reached, how often, how deep, and what was compared with what.
    "-Cpasses=sancov-module",
    "-Cllvm-args=-sanitizer-coverage-level=4",
    "-Cllvm-args=-sanitizer-coverage-inline-8bit-counters",
    "-Cllvm-args=-sanitizer-coverage-pc-table",
    "-Cllvm-args=-sanitizer-coverage-stack-depth",
    "-Cllvm-args=-sanitizer-coverage-trace-compares",
    // A condition of two parts is two branches to reach.
    "-Cllvm-args=-simplifycfg-branch-fold-threshold=0",
    // Else nothing is inlined from one unit into another.
    "-Ccodegen-units=1",
];

/// What a target prints at its start that was built so.
const COUNTERS: &str = "inline 8-bit counters";

/// Builds all targets, runs each one's corpus, and fuzzes; as many targets at once as there are processors.
pub(super) fn run(context: &Context<'_>, log: &Log) -> Result<Outcome, Failure> {
    let toolchain = match nightly::toolchain() {
        Ok(toolchain) => toolchain,
        Err(reason) => return Outcome::skipped(reason),
    };
    let folder = context.workspace.root().join("fuzz");
    let targets = target_names(&folder)?;
    if targets.is_empty() {
        return Err(Failure("fuzz/Cargo.toml has no targets".into()));
    }
    let build = context.target("fuzz");
    let host = nightly::host()?;
    // An explicit target keeps the flags from build scripts and macros.
    let arguments = ["build", "--release", "--bins", "--target", &host];
    let mut command = nightly::cargo(context, &toolchain, &arguments);
    command
        .arg("--manifest-path")
        .arg(folder.join("Cargo.toml"))
        .arg("--target-dir")
        .arg(&build)
        .env("CARGO_ENCODED_RUSTFLAGS", INSTRUMENTED.join("\x1f"))
        .env_remove("RUSTFLAGS")
        // What a report names is functions and lines.
        .env("CARGO_PROFILE_RELEASE_DEBUG", "line-tables-only");
    context.must(command, minutes(30), log)?;

    let programs = build.join(&host).join("release");
    let workers = thread::available_parallelism()
        .map_or(1, usize::from)
        .clamp(1, targets.len());
    let share = share(context.fuzz_time, targets.len(), workers);
    let queue = Mutex::new(targets.iter());
    let results = Mutex::new(Vec::new());
    thread::scope(|scope| {
        for _ in 0..workers {
            scope.spawn(|| {
                // It has so long, however much it does meanwhile: others needn't wait for it.
                let _ = setpriority_process(None, NICENESS);
                loop {
                    let next = queue.lock().ok().and_then(|mut queue| queue.next());
                    let Some(name) = next else { return };
                    let result =
                        run_target(context, &folder, &programs.join(name), name, share, log);
                    if let Ok(mut results) = results.lock() {
                        results.push((name.clone(), result));
                    }
                }
            });
        }
    });
    let mut results = results
        .into_inner()
        .map_err(|_| Failure("a fuzzing thread panicked".into()))?;
    if results.len() != targets.len() {
        return Err(Failure(format!(
            "only {} of {} targets ran",
            results.len(),
            targets.len()
        )));
    }
    results.sort_by(|a, b| a.0.cmp(&b.0));
    let mut notes = vec![format!(
        "{} targets, {} s each, {workers} at once",
        targets.len(),
        share.as_secs()
    )];
    let mut failed = Vec::new();
    for (name, result) in results {
        match result {
            Ok(note) => notes.push(format!("{name}: {note}")),
            Err(Failure(reason)) => failed.push(format!("{name}: {reason}")),
        }
    }
    if failed.is_empty() {
        Outcome::passed(notes.join("\n"))
    } else {
        Err(Failure(failed.join("\n")))
    }
}

/// Each target's time, so that all together take `whole`.
fn share(whole: Duration, targets: usize, workers: usize) -> Duration {
    let rounds = targets.div_ceil(workers.max(1)).max(1);
    let seconds = whole.as_secs() / u64::try_from(rounds).unwrap_or(u64::MAX);
    Duration::from_secs(seconds.max(1))
}

fn run_target(
    context: &Context<'_>,
    folder: &Path,
    program: &Path,
    name: &str,
    time: Duration,
    log: &Log,
) -> Result<String, Failure> {
    let seeds = folder.join("corpus").join(name);
    let count = fs::read_dir(&seeds).map_or(0, Iterator::count);
    if count == 0 {
        return Err(Failure(format!(
            "no corpus in fuzz/corpus/{name}; see fuzz/README.md for how to make it"
        )));
    }
    // What the fuzzer finds of interest is kept between runs, apart from what is checked in.
    let found = context.target("fuzz-corpus").join(name);
    let artifacts = folder.join("artifacts").join(name);
    for folder in [&found, &artifacts] {
        fs::create_dir_all(folder).map_err(Error::file("make", folder))?;
    }
    let mut base = vec![
        format!("-artifact_prefix={}/", artifacts.display()),
        format!("-timeout={INPUT_LIMIT}"),
        format!("-rss_limit_mb={MEMORY_LIMIT}"),
        "-print_final_stats=1".to_owned(),
    ];
    let dictionary = folder.join("dictionaries").join(format!("{name}.dict"));
    if dictionary.is_file() {
        base.push(format!("-dict={}", dictionary.display()));
    }
    // First the checked-in corpus alone: what was found once must never come back.
    let mut once = Command::new(program);
    once.args(&base).arg("-runs=0").arg(&seeds);
    let finished = fuzz(context, once, minutes(5), log)?;
    // Without them it finds what chance finds, and says so in passing only.
    let instrumented = finished.output.contains(COUNTERS);
    check(program, finished)?;
    if !instrumented {
        return Err(Failure("it was built without counters of coverage".into()));
    }
    let mut on = Command::new(program);
    on.args(&base)
        .arg(format!("-max_total_time={}", time.as_secs()))
        .arg(&found)
        .arg(&seeds);
    let finished = fuzz(context, on, time + SLACK, log)?;
    let runs = statistic(&finished.output, "stat::number_of_executed_units:");
    check(program, finished)?;
    Ok(format!(
        "{count} seeds, then {} runs",
        runs.unwrap_or_else(|| "?".into())
    ))
}

fn fuzz(
    context: &Context<'_>,
    mut command: Command,
    limit: Duration,
    log: &Log,
) -> Result<Finished, Failure> {
    context.prepare(&mut command);
    // The targets' pools live as long as the process.
    command
        .env("ASAN_OPTIONS", "detect_leaks=0")
        .current_dir(context.workspace.root());
    Ok(Task::new(command, limit).run(log, |line| {
        if line.starts_with('#') {
            context.progress.set_message(line.to_owned());
        }
    })?)
}

/// A finding is told with the command that repeats it.
fn check(program: &Path, finished: Finished) -> Result<(), Failure> {
    if finished.success() {
        return Ok(());
    }
    let artifact = finished.output.lines().find_map(|line| {
        line.split_once("Test unit written to ")
            .map(|(_, path)| path.trim().to_owned())
    });
    let mut lines = finished
        .output
        .lines()
        .skip_while(|line| !line.contains("panicked at") && !line.contains("ERROR: "));
    let said = match (lines.next(), lines.next()) {
        (Some(first), Some(second)) => format!("{first}\n  {second}"),
        (Some(only), None) => only.to_owned(),
        (None, _) => "nothing of note was printed".to_owned(),
    };
    Err(Failure(match artifact {
        Some(path) => format!("{said}\n  to repeat it: {} {path}", program.display()),
        None => format!("{}: {said}", finished.how()),
    }))
}

fn statistic(output: &str, name: &str) -> Option<String> {
    let line = output
        .lines()
        .rev()
        .find_map(|line| line.strip_prefix(name))?;
    Some(line.trim().to_owned())
}

/// The targets that the manifest declares: the names of its `[[bin]]` sections.
fn target_names(folder: &Path) -> Result<Vec<String>, Failure> {
    let manifest = folder.join("Cargo.toml");
    let text = fs::read_to_string(&manifest).map_err(Error::file("read", &manifest))?;
    Ok(names_of_bins(&text))
}

fn names_of_bins(manifest: &str) -> Vec<String> {
    let mut names = Vec::new();
    let mut in_bin = false;
    for line in manifest.lines().map(str::trim) {
        if line.starts_with('[') {
            in_bin = line == "[[bin]]";
        } else if in_bin && let Some(name) = line.strip_prefix("name = ") {
            names.push(name.trim_matches('"').to_owned());
        }
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_are_the_manifests_programs() {
        let manifest = "[package]\nname = \"fuzz\"\n[[bin]]\nname = \"a\"\npath = \"x\"\n[dependencies]\n[[bin]]\nname = \"b\"\n";
        assert_eq!(names_of_bins(manifest), ["a", "b"]);
    }

    #[test]
    fn shares_add_up_to_the_whole() {
        assert_eq!(
            share(Duration::from_secs(240), 8, 2),
            Duration::from_secs(60)
        );
        assert_eq!(
            share(Duration::from_secs(240), 7, 2),
            Duration::from_secs(60)
        );
        assert_eq!(share(Duration::from_secs(2), 8, 2), Duration::from_secs(1));
        assert_eq!(
            share(Duration::from_secs(240), 1, 1),
            Duration::from_secs(240)
        );
    }

    #[test]
    fn a_statistic_is_the_last_of_its_name() {
        let output = "stat::number_of_executed_units: 1\nx\nstat::number_of_executed_units: 77\n";
        assert_eq!(
            statistic(output, "stat::number_of_executed_units:").as_deref(),
            Some("77")
        );
        assert_eq!(statistic("", "stat::x:"), None);
    }
}
