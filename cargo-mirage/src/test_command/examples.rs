//! Examples and benchmarks, run.

use std::time::Duration;

use super::{Context, Failure, Outcome, minutes};
use crate::process::Log;

/// An example is short: it ends by itself.
const EXAMPLE_LIMIT: Duration = Duration::from_secs(60);

/// Builds every example in one call and runs each.
pub(super) fn run(context: &Context<'_>, log: &Log) -> Result<Outcome, Failure> {
    context.must(
        context.cargo(&["build", "--workspace", "--examples", "--all-features"]),
        minutes(10),
        log,
    )?;
    let mut names = Vec::new();
    let mut failed = Vec::new();
    for package in context.workspace.members()? {
        for example in package.targets.iter().filter(|target| target.is("example")) {
            let name = format!("{}/{}", package.name, example.name);
            let mut command = context.cargo(&[
                "run",
                "--quiet",
                "--all-features",
                "--package",
                &package.name,
            ]);
            command.args(["--example", &example.name]);
            let finished = context.run(command, EXAMPLE_LIMIT, log)?;
            if !finished.success() {
                failed.push(format!("{name}: {}", finished.how()));
            }
            names.push(name);
        }
    }
    if names.is_empty() {
        return Err(Failure("there is no example".into()));
    }
    if !failed.is_empty() {
        return Err(Failure(failed.join("\n")));
    }
    Outcome::passed(names.join(", "))
}

/// Runs every benchmark as a user does, small; the subcommand itself checks that the results are whole.
pub(super) fn benches(context: &Context<'_>, log: &Log) -> Result<Outcome, Failure> {
    let names = context.workspace.benches();
    for name in &names {
        let mut command = context.cargo(&["mirage", "bench", name, "--quick", "--results"]);
        command.arg(context.target("bench-smoke"));
        context.must(command, minutes(10), log)?;
    }
    Outcome::passed(names.join(", "))
}
