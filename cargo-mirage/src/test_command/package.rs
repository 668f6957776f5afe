//! `cargo package` of the whole workspace in one call.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};

use super::{Context, Failure, Outcome, minutes};
use crate::error::Error;
use crate::process::Log;
use crate::workspace::Package;

/// What a package may contain beside its sources; anything else is a stray file.
const EXPECTED: &[&str] = &[
    ".cargo_vcs_info.json",
    "CHANGELOG.md",
    "Cargo.lock",
    "Cargo.toml",
    "Cargo.toml.orig",
    "LICENSE",
    "README.md",
    "build.rs",
];

/// What each published package must contain.
const REQUIRED: &[&str] = &["CHANGELOG.md", "LICENSE", "README.md"];

/// Where the other files of a package lie.
const FOLDERS: &[&str] = &["src/", "examples/", "tests/", "zones/", "fixtures/"];

/// Packages and builds every crate, and looks at what the packages hold.
pub(super) fn run(context: &Context<'_>, log: &Log) -> Result<Outcome, Failure> {
    let members = context.workspace.members()?;
    for package in members.iter().filter(|package| package.is_published()) {
        let arguments = [
            "package",
            "--list",
            "--allow-dirty",
            "--package",
            &package.name,
        ];
        let listed = context.must(context.cargo(&arguments), minutes(2), log)?;
        let files: Vec<&str> = listed
            .output
            .lines()
            .filter(|line| !line.starts_with("warning"))
            .collect();
        let problems = problems_in(
            &files,
            package.targets.iter().any(|target| target.is("example")),
        );
        if !problems.is_empty() {
            return Err(Failure(format!(
                "the package of {}: {}",
                package.name,
                problems.join("; ")
            )));
        }
    }
    forget_earlier_packages(context, &members, log)?;
    // What is not committed is packaged too: while one works on a change, its package is what matters.
    let finished = context.must(
        context.cargo(&["package", "--workspace", "--allow-dirty"]),
        minutes(10),
        log,
    )?;
    let warnings = warnings_about_published(&finished.output, &|name| {
        members
            .iter()
            .any(|package| package.name == name && package.is_published())
    });
    if !warnings.is_empty() {
        return Err(Failure(format!(
            "cargo package warns: {}",
            warnings.join("; ")
        )));
    }
    Outcome::passed(format!("{} packages", members.len()))
}

/// Removes what cargo unpacked and built of our packages in an earlier run.
///
/// Cargo takes a version of a package for immutable, also in the registry that it makes for siblings (whose folder's name has no host:
/// it begins with `-`); it would build against the siblings of the earlier run.
fn forget_earlier_packages(
    context: &Context<'_>,
    members: &[Package],
    log: &Log,
) -> Result<(), Error> {
    let home = env::var_os("CARGO_HOME")
        .map(PathBuf::from)
        .or_else(|| Some(env::home_dir()?.join(".cargo")));
    let sources = home.map(|home| home.join("registry/src"));
    let registries = sources
        .iter()
        .flat_map(|folder| entries(folder))
        .filter(|(_, name)| name.starts_with('-'));
    let mut stale: Vec<PathBuf> = registries
        .flat_map(|(path, _)| entries(&path))
        .filter(|(_, name)| is_of(members, name))
        .map(|(path, _)| path)
        .collect();
    if stale.is_empty() {
        return Ok(());
    }
    let built = context.target("debug").join(".fingerprint");
    stale.extend(
        entries(&built)
            .into_iter()
            .filter(|(_, name)| is_of(members, name))
            .map(|(path, _)| path),
    );
    for path in stale {
        log.line(&format!("removing {}", path.display()));
        fs::remove_dir_all(&path).map_err(Error::file("remove", &path))?;
    }
    Ok(())
}

fn entries(folder: &Path) -> Vec<(PathBuf, String)> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries
        .map(|entry| {
            (
                entry.path(),
                entry.file_name().to_string_lossy().into_owned(),
            )
        })
        .collect()
}

/// Whether a folder's name is a member's and a version or hash.
fn is_of(members: &[Package], name: &str) -> bool {
    name.rsplit_once('-')
        .is_some_and(|(package, _)| members.iter().any(|member| member.name == package))
}

fn problems_in(files: &[&str], has_example: bool) -> Vec<String> {
    let mut problems = Vec::new();
    for file in files {
        let expected =
            EXPECTED.contains(file) || FOLDERS.iter().any(|folder| file.starts_with(folder));
        if !expected {
            problems.push(format!("stray file {file}"));
        }
    }
    for file in REQUIRED {
        if !files.contains(file) {
            problems.push(format!("no {file}"));
        }
    }
    if !has_example {
        problems.push("no example".into());
    }
    problems
}

/// The warnings that precede a published package's `Packaging` line. (Cargo wants a home page of those that are never
/// published, too.)
fn warnings_about_published(output: &str, is_published: &dyn Fn(&str) -> bool) -> Vec<String> {
    let mut told = Vec::new();
    let mut pending: Vec<String> = Vec::new();
    for line in output.lines() {
        if let Some(warning) = line.strip_prefix("warning: ") {
            pending.push(warning.to_owned());
        } else if let Some(name) = line.trim_start().strip_prefix("Packaging ") {
            let name = name.split_whitespace().next().unwrap_or_default();
            if is_published(name) {
                told.append(&mut pending);
            }
            pending.clear();
        }
    }
    // Those after the last package are of the builds.
    told.append(&mut pending);
    told
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stray_and_missing_files_are_named() {
        let files = [
            "Cargo.toml",
            "LICENSE",
            "README.md",
            "src/lib.rs",
            "notes.txt",
        ];
        assert_eq!(
            problems_in(&files, true),
            ["stray file notes.txt", "no CHANGELOG.md"]
        );
        assert_eq!(
            problems_in(&["CHANGELOG.md", "LICENSE", "README.md"], false),
            ["no example"]
        );
    }

    #[test]
    fn only_warnings_about_published_packages_count() {
        let output = "\
warning: manifest has no homepage
   Packaging bench-threads v0.1.0 (/x)
warning: manifest has no description
   Packaging mirage-core v0.1.0 (/x)
warning: unused import
";
        let told = warnings_about_published(output, &|name| name == "mirage-core");
        assert_eq!(told, ["manifest has no description", "unused import"]);
    }
}
