//! `cargo package` of the whole workspace in one call.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};

use super::{Context, Failure, Outcome, minutes};
use crate::error::Error;
use crate::process::{self, Log, Task};
use crate::run_command::QUICKLY;
use crate::workspace::Package;

/// What a package may contain beside its sources; anything else is a stray file.
const EXPECTED: &[&str] = &[
    // For whoever links an image with the crate.
    "link.ld",
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
        let problems = problems_in(
            &listed_files(&listed.output),
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
    let home = own_cargo_home(context)?;
    let build = context.target("package-build");
    forget_earlier_packages(&home, &build, &members, log)?;
    // What is not committed is packaged too: while one works on a change, its package is what matters.
    let mut command = context.cargo(&["package", "--workspace", "--allow-dirty"]);
    // What is not published can't be found by what depends on it, once both are packages.
    for member in members.iter().filter(|member| !member.is_published()) {
        command.args(["--exclude", &member.name]);
    }
    command
        .arg("--target-dir")
        .arg(&build)
        .env("CARGO_HOME", &home)
        // What is not used from here may be used from elsewhere.
        .env("CARGO_CACHE_AUTO_CLEAN_FREQUENCY", "never")
        .env("CARGO_PROFILE_DEV_DEBUG", "0");
    let finished = context.must(command, minutes(15), log)?;
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
    install_and_run(context, log)?;
    Outcome::passed(format!(
        "{} packages; the tool, installed, runs from outside the checkout",
        members.len()
    ))
}

/// The files in what `cargo package --list` printed: what it says itself begins with a blank, as that it waits for another call of cargo, or
/// with "warning".
fn listed_files(output: &str) -> Vec<&str> {
    let is_said = |line: &&str| line.starts_with(' ') || line.starts_with("warning");
    output.lines().filter(|line| !is_said(line)).collect()
}

/// Installs the tool below the target folder and calls it as cargo's subcommand from a folder that is in no checkout.
fn install_and_run(context: &Context<'_>, log: &Log) -> Result<(), Failure> {
    let root = context.target("package-install");
    // Unoptimised, it is what the tests have built already.
    let mut command = context.cargo(&["install", "--debug", "--locked", "--force", "--path"]);
    command
        .arg(context.workspace.root().join("cargo-mirage"))
        .arg("--root")
        .arg(&root)
        .arg("--target-dir")
        .arg(context.target(""));
    context.must(command, minutes(15), log)?;
    let mut command = context.cargo(&["mirage", "run", "--source"]);
    command
        .arg(context.workspace.root())
        .args(["dns", "--help"])
        .current_dir(env::temp_dir());
    context.prepare(&mut command);
    let path = env::var_os("PATH").unwrap_or_default();
    let folders = std::iter::once(root.join("bin")).chain(env::split_paths(&path));
    let path = env::join_paths(folders).map_err(|error| error.to_string())?;
    command.env("PATH", path).envs(QUICKLY);
    let line = process::command_line(&command);
    let finished = Task::new(command, minutes(15)).run(log, |_| {})?;
    if !finished.success() || !finished.output.contains("--zone") {
        return Err(Failure(format!("{line}: {}", finished.how())));
    }
    Ok(())
}

/// A `CARGO_HOME` in the target folder that shares with the real one what was downloaded, and the locks on it; what cargo
/// unpacks is its own.
///
/// Cargo takes a version of a package for immutable, also in the registry that it makes for siblings in the same call, and
/// unpacks it once. In the real one it would go on to build against the siblings of the first run ever.
fn own_cargo_home(context: &Context<'_>) -> Result<PathBuf, Error> {
    let home = context.target("package-home");
    let real = env::var_os("CARGO_HOME")
        .map(PathBuf::from)
        .or_else(|| Some(env::home_dir()?.join(".cargo")))
        // A relative one is relative to where we were called.
        .and_then(|real| std::path::absolute(real).ok());
    fs::create_dir_all(home.join("registry")).map_err(Error::file("make", &home))?;
    let Some(real) = real else { return Ok(home) };
    for folder in ["registry/index", "registry/cache", "git"] {
        let to = real.join(folder);
        fs::create_dir_all(&to).map_err(Error::file("make", &to))?;
        link(&to, &home.join(folder))?;
    }
    // Settings may name a mirror or a linker.
    for file in [
        "config.toml",
        "config",
        ".package-cache",
        ".package-cache-mutate",
    ] {
        link(&real.join(file), &home.join(file))?;
    }
    Ok(home)
}

/// Makes a symbolic link that may be there from an earlier run; to what is not there yet, too.
fn link(to: &Path, at: &Path) -> Result<(), Error> {
    if fs::read_link(at).is_ok_and(|old| old == to) {
        return Ok(());
    }
    if at.symlink_metadata().is_ok() {
        fs::remove_file(at).map_err(Error::file("remove", at))?;
    }
    std::os::unix::fs::symlink(to, at).map_err(Error::file("make", at))
}

/// Removes what cargo unpacked and built of our packages in an earlier run. The folder of a registry that was made for
/// siblings has no host in its name: it begins with `-`.
fn forget_earlier_packages(
    home: &Path,
    build: &Path,
    members: &[Package],
    log: &Log,
) -> Result<(), Error> {
    let unpacked = entries(&home.join("registry/src"))
        .into_iter()
        .filter(|(_, name)| name.starts_with('-'));
    let built = entries(&build.join("debug/.fingerprint"))
        .into_iter()
        .filter(|(_, name)| is_of(members, name));
    for (path, _) in unpacked.chain(built) {
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
    fn what_cargo_says_itself_is_no_file() {
        let output = "    Blocking waiting for file lock on package cache\nCargo.toml\nwarning: no license\nsrc/lib.rs\n";
        assert_eq!(listed_files(output), ["Cargo.toml", "src/lib.rs"]);
    }

    #[test]
    fn a_link_is_made_once_and_follows_what_it_is_to() {
        let folder = tempfile::tempdir().unwrap();
        let at = folder.path().join("at");
        for to in ["a", "a", "b"].map(|name| folder.path().join(name)) {
            link(&to, &at).unwrap();
            assert_eq!(fs::read_link(&at).unwrap(), to);
        }
    }

    #[test]
    fn a_member_is_told_from_one_with_a_longer_name() {
        let member: Package = serde_json::from_str(
            r#"{"name":"mirage","manifest_path":"/x","features":{},"publish":null,"targets":[]}"#,
        )
        .unwrap();
        let members = [member];
        assert!(is_of(&members, "mirage-0.1.0"));
        assert!(is_of(&members, "mirage-9f0a"));
        assert!(!is_of(&members, "mirage-core-0.1.0"));
    }

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
