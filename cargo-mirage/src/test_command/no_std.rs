//! The proof that crates need no standard library: programs that link without one, and run.
//!
//! Building a library proves nothing on a target that has `std`: what it lacks is only missed when a program is linked. So
//! for each `no_std` library of the workspace a program is made that has a panic handler of its own, is linked with
//! neither C library nor start files, calls the crate as `probes/NAME.rs` says, and is run. Without features it has no
//! allocator either; then each feature that does not turn on `std` is taken alone, with one. The features are those that
//! cargo tells of: a new one is covered without a change here.
//!
//! Three more programs must *not* build: one over a crate that uses `std`, one over a crate that allocates without an
//! allocator, one that calls the C library. They show that the probes can fail.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::{Context, Failure, Outcome, minutes, nightly};
use crate::error::Error;
use crate::process::{Finished, Log};
use crate::workspace::Package;

/// How long a probe may run.
const RUN_LIMIT: Duration = Duration::from_secs(60);

/// How a program is linked with nothing beneath it; no warnings in what it is made of.
const LINK: &[&str] = &[
    "-Dwarnings",
    "-Crelocation-model=static",
    "-Clink-arg=-nostartfiles",
    "-Clink-arg=-nostdlib",
    "-Clink-arg=-static",
    "-Clink-arg=-no-pie",
];

/// A program that must not build, and what the compiler or linker must say of it.
struct Control {
    name: &'static str,
    library: &'static str,
    says: &'static [&'static str],
}

const CONTROLS: &[Control] = &[
    Control {
        name: "uses-std",
        library: "pub fn used() -> usize { std::env::args().count() }\n",
        says: &["panic_impl", "unwinding panics are not supported"],
    },
    Control {
        name: "uses-alloc",
        library: "#![no_std]\nextern crate alloc;\npub fn used() -> usize { alloc::vec![1u8; 3].len() }\n",
        says: &["no global memory allocator found"],
    },
    Control {
        name: "uses-libc",
        library: "#![no_std]\nunsafe extern \"C\" { safe fn getppid() -> i32; }\npub fn used() -> usize { getppid() as usize }\n",
        says: &[
            "undefined reference to `getppid'",
            "undefined symbol: getppid",
        ],
    },
];

/// Builds and runs all probes.
pub(super) fn run(context: &Context<'_>, log: &Log) -> Result<Outcome, Failure> {
    let host = nightly::host()?;
    if host != "x86_64-unknown-linux-gnu" {
        return Outcome::skipped(format!(
            "the probes' start and system calls are for x86-64 Linux, and this is {host}"
        ));
    }
    let folder = context.target("no-std");
    let mut told = Vec::new();
    let mut failed = Vec::new();
    for package in context.workspace.members()? {
        if !package.is_no_std()? {
            continue;
        }
        let body = context
            .workspace
            .root()
            .join("probes")
            .join(format!("{}.rs", package.name));
        if !body.is_file() {
            failed.push(format!(
                "{} is no_std and has no probe: write {}",
                package.name,
                body.display()
            ));
            continue;
        }
        let alone = package
            .named_features()
            .filter(|name| !package.turns_on(name, "std"))
            .map(Some);
        for feature in std::iter::once(None).chain(alone) {
            let name = match feature {
                None => package.name.clone(),
                Some(feature) => format!("{}+{feature}", package.name),
            };
            context.progress.set_message(name.clone());
            let probe = write_probe(context, &folder, &package, feature, &body)?;
            let built = build(context, &folder, &host, &probe, feature, log)?;
            if !built.success() {
                failed.push(format!("{name} does not link without std: {}", built.how()));
                continue;
            }
            // Without an allocator and with one; what other features add is the crates', which `clippy` checks.
            if feature.is_none_or(|name| name == "alloc") {
                check(context, &folder, &host, &probe, feature, log)?;
            }
            match run_probe(context, &folder, &host, &probe, log) {
                Ok(size) => told.push(format!("{name} ({} kB)", size.div_ceil(1000))),
                Err(Failure(reason)) => failed.push(format!("{name} links, but {reason}")),
            }
        }
    }
    for control in CONTROLS {
        let probe = write_control(context, &folder, control)?;
        let built = build(context, &folder, &host, &probe, None, log)?;
        if built.success() {
            return Err(Failure(format!(
                "the probe over a crate that {} builds: the probes prove nothing",
                control.name
            )));
        }
        if !control
            .says
            .iter()
            .any(|words| built.output.contains(words))
        {
            return Err(Failure(format!(
                "the probe `{}` fails for another reason than it should",
                control.name
            )));
        }
    }
    if !failed.is_empty() {
        return Err(Failure(failed.join("\n")));
    }
    Outcome::passed(format!(
        "{} programs linked and run: {}\n{} that must not link do not",
        told.len(),
        told.join(", "),
        CONTROLS.len()
    ))
}

/// A generated package.
struct Probe {
    name: String,
    folder: PathBuf,
}

fn write_probe(
    context: &Context<'_>,
    folder: &Path,
    package: &Package,
    feature: Option<&str>,
    body: &Path,
) -> Result<Probe, Failure> {
    let name = format!(
        "probe-{}{}",
        package.name,
        feature.map(|f| format!("-with-{f}")).unwrap_or_default()
    );
    // The body sees every feature under the crate's own name for it.
    let mut features = String::from("[features]\n");
    for name in package.named_features() {
        features.push_str(&format!("{name} = [\"{}/{name}\"]\n", package.name));
    }
    let dependencies = format!(
        "{} = {{ path = {}, default-features = false }}\n{}",
        package.name,
        toml_string(package.folder()),
        extra_dependencies(context, body)?
    );
    write_package(
        context,
        folder,
        &name,
        &dependencies,
        &features,
        feature.is_some(),
        body,
    )
}

/// What a probe's body needs beside the crate: lines of its head that begin with `//@ `, as in a manifest; `ROOT` is the
/// checkout's folder.
fn extra_dependencies(context: &Context<'_>, body: &Path) -> Result<String, Failure> {
    let text = fs::read_to_string(body).map_err(Error::file("read", body))?;
    let root = context.workspace.root().display().to_string();
    let lines = text.lines().filter_map(|line| line.strip_prefix("//@ "));
    Ok(lines
        .map(|line| line.replace("ROOT", &root) + "\n")
        .collect())
}

fn write_control(
    context: &Context<'_>,
    folder: &Path,
    control: &Control,
) -> Result<Probe, Failure> {
    let library = folder.join("controls").join(control.name);
    let source = library.join("src/lib.rs");
    write(&source, control.library)?;
    write(
        &library.join("Cargo.toml"),
        &format!(
            "[package]\nname = \"{}\"\nversion = \"0.0.0\"\nedition = \"2024\"\n\n[workspace]\n",
            control.name
        ),
    )?;
    let body = folder.join("controls").join(format!("{}.rs", control.name));
    write(
        &body,
        &format!(
            "pub fn run() -> bool {{ {}::used() > 0 }}\n",
            control.name.replace('-', "_")
        ),
    )?;
    let dependencies = format!(
        "{} = {{ path = {} }}\n",
        control.name,
        toml_string(&library)
    );
    write_package(
        context,
        folder,
        &format!("probe-{}", control.name),
        &dependencies,
        "",
        false,
        &body,
    )
}

fn write_package(
    context: &Context<'_>,
    folder: &Path,
    name: &str,
    dependencies: &str,
    features: &str,
    allocator: bool,
    body: &Path,
) -> Result<Probe, Failure> {
    let root = context.workspace.root();
    let probe = Probe {
        name: name.to_owned(),
        folder: folder.join(name),
    };
    let runtime_features = if allocator {
        ", features = [\"allocator\"]"
    } else {
        ""
    };
    write(
        &probe.folder.join("Cargo.toml"),
        &format!(
            "[package]\nname = \"{name}\"\nversion = \"0.0.0\"\nedition = \"2024\"\n\n[workspace]\n\n{features}\n\
             [dependencies]\n{dependencies}probe-runtime = {{ path = {}{runtime_features} }}\n\n\
             [profile.release]\npanic = \"abort\"\nopt-level = 2\ndebug = 0\nstrip = true\n",
            toml_string(&root.join("probes/runtime"))
        ),
    )?;
    write(
        &probe.folder.join("src/main.rs"),
        &format!(
            "#![no_std]\n#![no_main]\n#[path = {:?}]\nmod body;\nprobe_runtime::entry!(body::run);\n",
            body
        ),
    )?;
    // The same versions as everywhere else.
    let lock = probe.folder.join("Cargo.lock");
    let whole = root.join("Cargo.lock");
    fs::copy(&whole, &lock).map_err(Error::file("copy", &whole))?;
    Ok(probe)
}

fn write(path: &Path, text: &str) -> Result<(), Failure> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).map_err(Error::file("make", folder))?;
    }
    // Cargo looks at times: what did not change is left alone.
    if fs::read_to_string(path).is_ok_and(|old| old == text) {
        return Ok(());
    }
    fs::write(path, text).map_err(Error::file("write", path))?;
    Ok(())
}

/// A path as a TOML string; the rules for escapes are those of JSON.
fn toml_string(path: &Path) -> String {
    serde_json::Value::String(path.display().to_string()).to_string()
}

fn build(
    context: &Context<'_>,
    folder: &Path,
    host: &str,
    probe: &Probe,
    feature: Option<&str>,
    log: &Log,
) -> Result<Finished, Failure> {
    // An explicit target keeps the flags from build scripts and macros, and their features from ours.
    let mut command = context.cargo(&["build", "--release", "--target", host, "--manifest-path"]);
    set_up(&mut command, folder, probe, feature);
    context.run(command, minutes(10), log)
}

/// Clippy over a probe, and what it is made of. (What is linked without `std` is in no workspace.)
fn check(
    context: &Context<'_>,
    folder: &Path,
    host: &str,
    probe: &Probe,
    feature: Option<&str>,
    log: &Log,
) -> Result<(), Failure> {
    let mut command = context.cargo(&["clippy", "--release", "--target", host, "--manifest-path"]);
    set_up(&mut command, folder, probe, feature);
    command.args(["--", "-Dwarnings"]);
    context.must(command, minutes(10), log)?;
    Ok(())
}

fn set_up(
    command: &mut std::process::Command,
    folder: &Path,
    probe: &Probe,
    feature: Option<&str>,
) {
    command
        .arg(probe.folder.join("Cargo.toml"))
        .arg("--target-dir")
        .arg(folder.join("build"));
    if let Some(feature) = feature {
        command.args(["--features", feature]);
    }
    command
        .env("CARGO_ENCODED_RUSTFLAGS", LINK.join("\x1f"))
        .env_remove("RUSTFLAGS");
}

fn run_probe(
    context: &Context<'_>,
    folder: &Path,
    host: &str,
    probe: &Probe,
    log: &Log,
) -> Result<u64, Failure> {
    let program = folder
        .join("build")
        .join(host)
        .join("release")
        .join(&probe.name);
    let finished = context.run(std::process::Command::new(&program), RUN_LIMIT, log)?;
    if !finished.success() {
        return Err(Failure(format!(
            "does not run: {} {}",
            finished.how(),
            finished.output.trim()
        )));
    }
    let metadata = program.metadata().map_err(Error::file("read", &program))?;
    Ok(metadata.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_quoted_for_a_manifest() {
        assert_eq!(toml_string(Path::new(r#"/a "b"\c"#)), r#""/a \"b\"\\c""#);
    }

    #[test]
    fn what_did_not_change_is_not_written() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a/b");
        assert!(write(&path, "x").is_ok());
        let before = path.metadata().unwrap().modified().unwrap();
        assert!(write(&path, "x").is_ok());
        assert_eq!(path.metadata().unwrap().modified().unwrap(), before);
    }
}
