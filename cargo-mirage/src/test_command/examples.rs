//! Examples and benchmarks, run.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use super::{Context, Failure, Outcome, lab, minutes};
use crate::error::Error;
use crate::process::Log;

/// An example is short and ends by itself; but it is unoptimised here, and the machine may be busy.
const EXAMPLE_LIMIT: Duration = Duration::from_secs(180);

/// Builds all examples in one call, and runs each with the arguments of its documentation in the checkout's folder.
/// Unoptimised, also where the documentation says otherwise: that is a second build of everything for the sake of speed.
pub(super) fn run(context: &Context<'_>, log: &Log) -> Result<Outcome, Failure> {
    // The same features as the tests', so that what those built is used.
    context.must(
        context.cargo(&["build", "--workspace", "--examples", "--all-features"]),
        minutes(15),
        log,
    )?;
    let mut names = Vec::new();
    let mut seen = BTreeSet::new();
    let mut failed = Vec::new();
    for package in context.workspace.members()? {
        for example in package.targets.iter().filter(|target| target.is("example")) {
            let name = format!("{}/{}", package.name, example.name);
            if !seen.insert(example.name.clone()) {
                failed.push(format!("{name}: another crate's example has this name"));
                continue;
            }
            let text = std::fs::read_to_string(&example.src_path)
                .map_err(Error::file("read", &example.src_path))?;
            let mut command = Command::new(context.target("debug/examples").join(&example.name));
            command
                .args(documented_arguments(
                    &text,
                    &example.name,
                    &context.target(""),
                ))
                .current_dir(context.workspace.root());
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

/// The arguments in the first call of an example in its documentation: `cargo run … --example NAME [-- …]`. A file that
/// it names below `target` is below the target folder that is in use.
fn documented_arguments(text: &str, name: &str, target: &Path) -> Vec<OsString> {
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
        return Vec::new();
    };
    let arguments = words.iter().skip_while(|word| *word != "--").skip(1);
    arguments
        .map(|word| match word.strip_prefix("target/") {
            Some(below) => target.join(below).into(),
            None => word.into(),
        })
        .collect()
}

/// Runs every benchmark that needs no image as a user does, small; the subcommand itself checks that the results are whole. Those that make
/// network namespaces are left out where we are not root.
pub(super) fn benches(context: &Context<'_>, log: &Log) -> Result<Outcome, Failure> {
    let (mut names, mut left_out) = (Vec::new(), Vec::new());
    // Those of which a part can't run.
    let mut hindered: Vec<String> = Vec::new();
    for (name, text) in manifests(context)? {
        if builds_images(&text) {
            continue;
        }
        if needs(&text, "root") && !rustix::process::geteuid().is_root() {
            left_out.push(format!("{name}: it makes network namespaces, as root"));
            hindered.extend(part_of(&text).map(str::to_owned));
        } else if part_of(&text).is_none() {
            names.push(name);
        }
        // Else the one that it is a part of runs it.
    }
    for name in names.extract_if(.., |name| hindered.contains(name)) {
        left_out.push(format!("{name}: a part of it can't run"));
    }
    run_benches(context, &names, left_out, log)
}

/// The same of those that build images, one after the other, for all that do have the same folders; those that measure in the lab are left
/// out where there can be none.
pub(super) fn benches_of_images(context: &Context<'_>, log: &Log) -> Result<Outcome, Failure> {
    let obstacle = lab::obstacle()?;
    let (mut names, mut left_out) = (Vec::new(), Vec::new());
    for (name, text) in manifests(context)? {
        match &obstacle {
            Some(reason) if needs(&text, "lab") => left_out.push(format!("{name}: {reason}")),
            _ if builds_images(&text) => names.push(name),
            _ => {}
        }
    }
    run_benches(context, &names, left_out, log)
}

/// Whether a benchmark builds images, to measure them or what runs in the lab.
fn builds_images(manifest: &str) -> bool {
    needs(manifest, "images") || needs(manifest, "lab")
}

/// Every benchmark, with its manifest's text.
fn manifests(context: &Context<'_>) -> Result<Vec<(String, String)>, Failure> {
    let mut manifests = Vec::new();
    for name in context.workspace.benches() {
        let path = context.workspace.bench(&name)?;
        let text = fs::read_to_string(&path).map_err(Error::file("read", &path))?;
        manifests.push((name, text));
    }
    Ok(manifests)
}

fn run_benches(
    context: &Context<'_>,
    names: &[String],
    left_out: Vec<String>,
    log: &Log,
) -> Result<Outcome, Failure> {
    for name in names {
        let mut command = context.cargo(&["mirage", "bench", name, "--quick", "--output"]);
        command.arg(context.target("bench-smoke"));
        context.must(command, minutes(15), log)?;
    }
    if names.is_empty() && left_out.is_empty() {
        return Err(Failure("there is no benchmark".into()));
    }
    Ok(Outcome::Passed {
        note: names.join(", "),
        left_out,
    })
}

/// Whether a benchmark's manifest says `WHAT = true` in `[package.metadata.mirage]`.
fn needs(manifest: &str, what: &str) -> bool {
    metadata(manifest, what) == Some("true")
}

/// The benchmark that one is a part of, as its manifest says.
fn part_of(manifest: &str) -> Option<&str> {
    metadata(manifest, "part-of")
}

/// What a benchmark's manifest says of `key` in `[package.metadata.mirage]`, without quotes.
fn metadata<'m>(manifest: &'m str, key: &str) -> Option<&'m str> {
    let lines = manifest.lines().map(str::trim);
    let mut lines = lines.skip_while(|line| *line != "[package.metadata.mirage]");
    lines.next()?;
    let mut lines = lines.take_while(|line| !line.starts_with('['));
    let value = lines.find_map(|line| line.strip_prefix(key)?.trim_start().strip_prefix('='))?;
    Some(value.trim().trim_matches('"'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_example_is_called_as_its_documentation_shows() {
        let call = |text| documented_arguments(text, "it", Path::new("/t"));
        let text = "//! Does it.\n//!\n//!     cargo run --features std --example it -- a.zone target/x -v  # so\nfn main() {}\n";
        assert_eq!(call(text), ["a.zone", "/t/x", "-v"]);
        assert!(documented_arguments(text, "other", Path::new("/t")).is_empty());
        for without in [
            "//! cargo run --release -p x --example it [COUNT]\n",
            "//! `cargo run --example it`\n",
            "// cargo run --release --example it -- x\n",
        ] {
            assert!(call(without).is_empty(), "{without}");
        }
    }

    #[test]
    fn only_a_benchmark_that_says_so_needs_the_lab() {
        let with = |table: &str| {
            format!("[package]\nname = \"x\"\n\n{table}\n\n[lints]\nworkspace = true\n")
        };
        assert!(needs(&with("[package.metadata.mirage]\nlab = true"), "lab"));
        let part = with("[package.metadata.mirage]\npart-of = \"dns\"\nroot = true");
        assert_eq!(part_of(&part), Some("dns"));
        assert!(!builds_images(&part));
        for what in ["lab", "images"] {
            let table = format!("[package.metadata.mirage]\n{what} = true");
            assert!(builds_images(&with(&table)), "{what}");
        }
        assert!(needs(&part, "root") && !needs(&part, "lab"));
        for without in [
            "",
            "[package.metadata.mirage]\nlab = false",
            "[package.metadata.mirage]\nroot = true",
            "[package.metadata.mirage]\n[other]\nlab = true",
            "[package.metadata.other]\nlab = true",
        ] {
            assert!(!needs(&with(without), "lab"), "{without}");
        }
    }
}
