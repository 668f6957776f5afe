//! Formatting, lints and documentation.

use std::path::{Path, PathBuf};

use super::{Context, Failure, Outcome, minutes};
use crate::error::Error;
use crate::process::Log;

/// The manifests of all appliances' mains.
fn mains(context: &Context<'_>) -> Vec<PathBuf> {
    let mut manifests = context.workspace.host_mains();
    manifests.extend(context.workspace.xen_mains());
    manifests
}

/// `cargo fmt --check` in every workspace of the repository, and over the probes, which belong to none.
pub(super) fn fmt(context: &Context<'_>, log: &Log) -> Result<Outcome, Failure> {
    context.must(context.cargo(&["fmt", "--all", "--check"]), minutes(2), log)?;
    let mut manifests = mains(context);
    manifests.push(context.workspace.root().join("fuzz/Cargo.toml"));
    for manifest in &manifests {
        let mut command = context.cargo(&["fmt", "--check", "--manifest-path"]);
        command.arg(manifest);
        context.must(command, minutes(2), log)?;
    }
    let mut files = Vec::new();
    rust_files(&context.workspace.root().join("probes"), &mut files)?;
    let mut command = std::process::Command::new("rustfmt");
    command
        .args(["--check", "--edition", "2024"])
        .args(&files)
        .current_dir(context.workspace.root());
    context.must(command, minutes(2), log)?;
    Outcome::passed(format!(
        "{} workspaces and {} probe files",
        manifests.len() + 1,
        files.len()
    ))
}

/// Every lock file is as cargo would write it. Else the first build in a fresh checkout changes it under the user's hands.
pub(super) fn lock(context: &Context<'_>, log: &Log) -> Result<Outcome, Failure> {
    let root = context.workspace.root();
    let mut manifests = mains(context);
    manifests.extend([root.join("Cargo.toml"), root.join("fuzz/Cargo.toml")]);
    for manifest in &manifests {
        // The cheapest command that resolves the whole of it, without the network if everything is there.
        let mut command = context.cargo(&["tree", "--workspace", "--depth", "0", "--locked"]);
        command.arg("--manifest-path").arg(manifest);
        context.must(command, minutes(2), log)?;
    }
    Outcome::passed(format!("{} workspaces", manifests.len()))
}

fn rust_files(folder: &Path, files: &mut Vec<PathBuf>) -> Result<(), Error> {
    for entry in std::fs::read_dir(folder).map_err(Error::file("read", folder))? {
        let path = entry.map_err(Error::file("read", folder))?.path();
        if path.is_dir() {
            rust_files(&path, files)?;
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    files.sort();
    Ok(())
}

/// Clippy over everything with all features; then each crate without features, and with each one alone. (The probes are
/// checked where they are built, by `no-std`.)
pub(super) fn clippy(context: &Context<'_>, log: &Log) -> Result<Outcome, Failure> {
    let deny = ["--", "-D", "warnings"];
    let everything = ["clippy", "--workspace", "--all-targets", "--all-features"];
    let mut command = context.cargo(&everything);
    command.args(deny);
    context.must(command, minutes(15), log)?;
    let mut manifests = context.workspace.host_mains();
    manifests.push(context.workspace.root().join("fuzz/Cargo.toml"));
    for manifest in &manifests {
        let mut command = context.cargo(&["clippy", "--all-targets", "--all-features"]);
        command.arg("--manifest-path").arg(manifest).args(deny);
        // Nothing is linked here: libFuzzer, which is C++, needn't be there.
        command.env("CUSTOM_LIBFUZZER_PATH", context.target("none/libfuzzer.a"));
        context.must(command, minutes(15), log)?;
    }
    // An image has no tests: what runs them needs `std`.
    for manifest in context.workspace.xen_mains() {
        let mut command = context.cargo(&["clippy", "--all-features", "--manifest-path"]);
        command.arg(manifest).args(deny);
        context.must(command, minutes(15), log)?;
    }
    let mut combinations = 0;
    for package in context
        .workspace
        .members()?
        .iter()
        .filter(|package| !package.features.is_empty())
    {
        // None, then each alone.
        for feature in std::iter::once("").chain(package.named_features()) {
            let mut command = context.cargo(&[
                "clippy",
                "--package",
                &package.name,
                "--no-default-features",
            ]);
            if !feature.is_empty() {
                command.args(["--features", feature]);
            }
            command.args(deny);
            context.must(command, minutes(15), log)?;
            combinations += 1;
        }
    }
    Outcome::passed(format!(
        "everything, and {combinations} combinations of a crate and a feature"
    ))
}

/// The documentation, with warnings as errors. Each crate without features, where links from what does not need a feature to what does
/// lead nowhere, and only those may; then all with all features, as docs.rs is told to build it: that is what stays in `target/doc`
/// for a reader.
pub(super) fn doc(context: &Context<'_>, log: &Log) -> Result<Outcome, Failure> {
    let mut without = 0;
    for package in context
        .workspace
        .members()?
        .iter()
        .filter(|package| package.library().is_some() && !package.features.is_empty())
    {
        let mut command = context.cargo(&["doc", "--no-deps", "--no-default-features"]);
        command.args(["--package", &package.name]).env(
            "RUSTDOCFLAGS",
            "-Dwarnings -Arustdoc::broken_intra_doc_links",
        );
        context.must(command, minutes(15), log)?;
        without += 1;
    }
    let mut command = context.cargo(&["doc", "--workspace", "--no-deps", "--all-features"]);
    command.env("RUSTDOCFLAGS", "-Dwarnings");
    context.must(command, minutes(15), log)?;
    for manifest in mains(context) {
        let mut command = context.cargo(&["doc", "--no-deps", "--all-features", "--manifest-path"]);
        command.arg(manifest).env("RUSTDOCFLAGS", "-Dwarnings");
        context.must(command, minutes(15), log)?;
    }
    Outcome::passed(format!(
        "{without} crates without features, everything with all"
    ))
}
