//! Examples and benchmarks, run.

use std::time::Duration;

use super::{Context, Failure, Outcome, minutes};
use crate::error::Error;
use crate::process::Log;

/// An example is short: it ends by itself.
const EXAMPLE_LIMIT: Duration = Duration::from_secs(60);

/// Builds each example and runs it as its documentation says, in the checkout's folder.
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
            let text = std::fs::read_to_string(&example.src_path)
                .map_err(Error::file("read", &example.src_path))?;
            let call = documented_call(&text, &example.name);
            let which = [
                "--all-features",
                "--package",
                &package.name,
                "--example",
                &example.name,
            ];
            let profile = call.release.then_some("--release");
            // Building it has a limit of its own.
            let mut build = context.cargo(&["build", "--quiet"]);
            build.args(which).args(profile);
            context.must(build, minutes(10), log)?;
            let mut command = context.cargo(&["run", "--quiet"]);
            command
                .args(which)
                .args(profile)
                .arg("--")
                .args(&call.arguments);
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

/// How an example is called.
#[derive(Debug, Default, PartialEq, Eq)]
struct Call {
    /// Optimised.
    release: bool,
    arguments: Vec<String>,
}

/// The first call of an example in its documentation: `cargo run [--release] … --example NAME [-- …]`. Without one it is
/// run without arguments.
fn documented_call(text: &str, name: &str) -> Call {
    let words = |line: &str| -> Vec<String> {
        let end = line.find(['`', '#']).unwrap_or(line.len());
        line[..end].split_whitespace().map(str::to_owned).collect()
    };
    let documentation = text.lines().filter_map(|line| line.strip_prefix("//!"));
    let mut calls =
        documentation.filter_map(|line| line.split_once("cargo run ").map(|(_, rest)| words(rest)));
    let Some(words) = calls.find(|words| {
        words
            .windows(2)
            .any(|pair| pair[0] == "--example" && pair[1] == name)
    }) else {
        return Call::default();
    };
    let (options, arguments) = match words.iter().position(|word| word == "--") {
        Some(at) => (&words[..at], words[at + 1..].to_vec()),
        None => (&words[..], Vec::new()),
    };
    Call {
        release: options.iter().any(|word| word == "--release"),
        arguments,
    }
}

/// Runs every benchmark as a user does, small; the subcommand itself checks that the results are whole.
pub(super) fn benches(context: &Context<'_>, log: &Log) -> Result<Outcome, Failure> {
    let names = context.workspace.benches();
    for name in &names {
        let mut command = context.cargo(&["mirage", "bench", name, "--quick", "--output"]);
        command.arg(context.target("bench-smoke"));
        context.must(command, minutes(10), log)?;
    }
    Outcome::passed(names.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_example_is_called_as_its_documentation_shows() {
        let text = "//! Does it.\n//!\n//!     cargo run --features std --example it -- a.zone -v  # so\nfn main() {}\n";
        let call = documented_call(text, "it");
        assert_eq!(
            (call.release, call.arguments),
            (false, vec!["a.zone".to_owned(), "-v".to_owned()])
        );
        let text = "//! cargo run --release -p x --example it [COUNT]\n";
        assert_eq!(
            documented_call(text, "it"),
            Call {
                release: true,
                arguments: Vec::new()
            }
        );
        assert_eq!(
            documented_call("//! `cargo run --example it`\n", "it"),
            Call::default()
        );
        assert_eq!(
            documented_call("// cargo run --release --example it -- x\n", "it"),
            Call::default()
        );
        assert_eq!(documented_call(text, "other"), Call::default());
    }
}
