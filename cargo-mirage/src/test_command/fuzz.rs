//! Fuzzing: each target over its checked-in corpus, then on its own for its share of the time.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;
use std::thread;
use std::time::Duration;

use rustix::process::setpriority_process;

use super::{Context, Failure, Outcome, minutes, nightly};
use crate::debian;
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

/// Builds all targets, runs each one's corpus, and fuzzes; as many targets at once as there are processors.
pub(super) fn run(context: &Context<'_>, log: &Log) -> Result<Outcome, Failure> {
    let toolchain = match nightly::toolchain() {
        Ok(toolchain) => toolchain,
        Err(reason) => return Outcome::skipped(reason),
    };
    let folder = context.workspace.root().join("fuzz");
    let cargo_fuzz = cargo_fuzz(context, log)?;
    let targets = target_names(&folder)?;
    if targets.is_empty() {
        return Err(Failure("fuzz/Cargo.toml has no targets".into()));
    }
    let build = context.target("fuzz");
    // It is called as cargo calls it, for it may be in our own folder and not on PATH.
    let mut command = nightly::tool(context, &toolchain, &cargo_fuzz);
    command
        .args(["fuzz", "build", "--fuzz-dir"])
        .arg(&folder)
        .arg("--target-dir")
        .arg(&build);
    context.must(command, minutes(15), log)?;

    let programs = build.join(nightly::host()?).join("release");
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
    check(name, fuzz(context, once, minutes(5), log)?)?;
    let mut on = Command::new(program);
    on.args(&base)
        .arg(format!("-max_total_time={}", time.as_secs()))
        .arg(&found)
        .arg(&seeds);
    let finished = fuzz(context, on, time + SLACK, log)?;
    let runs = statistic(&finished.output, "stat::number_of_executed_units:");
    check(name, finished)?;
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
fn check(name: &str, finished: Finished) -> Result<(), Failure> {
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
        Some(path) => format!("{said}\n  to repeat it: cargo +nightly fuzz run {name} {path}"),
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

/// cargo-fuzz: the one on PATH, else our own in the target folder, else it is installed there.
fn cargo_fuzz(context: &Context<'_>, log: &Log) -> Result<PathBuf, Failure> {
    if let Some(path) = debian::find_program("cargo-fuzz") {
        return Ok(path);
    }
    let tools = context.target("tools");
    let path = tools.join("bin/cargo-fuzz");
    if !path.is_file() {
        let mut command = context.cargo(&["install", "cargo-fuzz", "--locked", "--root"]);
        command
            .arg(&tools)
            .arg("--target-dir")
            .arg(context.target("tools-build"));
        context.must(command, minutes(15), log)?;
    }
    Ok(path)
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
