//! Examples and benchmarks, run.

use std::path::Path;
use std::time::Duration;

use super::{Context, Failure, Outcome, minutes};
use crate::error::Error;
use crate::process::Log;

/// An example is short: it ends by itself.
const EXAMPLE_LIMIT: Duration = Duration::from_secs(60);

/// Builds every example in one call and runs each, in the checkout's folder.
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
            command.args(["--example", &example.name, "--"]);
            command.args(documented_arguments(&example.src_path, &example.name)?);
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

/// The arguments of an example: those of the first call of it in its documentation, `cargo run … --example NAME -- …`.
fn documented_arguments(source: &Path, name: &str) -> Result<Vec<String>, Failure> {
    let text = std::fs::read_to_string(source).map_err(Error::file("read", source))?;
    Ok(arguments_in(&text, name))
}

fn arguments_in(text: &str, name: &str) -> Vec<String> {
    let call = format!("--example {name} -- ");
    let documentation = text.lines().filter_map(|line| line.strip_prefix("//!"));
    let found = documentation
        .filter_map(|line| line.split_once(&call))
        .map(|(_, arguments)| arguments)
        .next();
    let arguments = found
        .and_then(|arguments| arguments.split(['`', '#']).next())
        .unwrap_or_default();
    arguments.split_whitespace().map(str::to_owned).collect()
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_are_those_that_the_documentation_shows() {
        let text = "//! Does it.\n//!\n//!     cargo run --features std --example it -- a.zone -v  # so\nfn main() {}\n";
        assert_eq!(arguments_in(text, "it"), ["a.zone", "-v"]);
        assert!(arguments_in("//! `cargo run --example it`\n", "it").is_empty());
        assert!(arguments_in("// cargo run --example it -- x\n", "it").is_empty());
    }
}
