//! What the host's target lacks in an image: the memory functions that the compiler calls, and two names of unwinding.
//!
//! Its source is part of the tool. It is compiled once for each version of the source and the compiler, by the compiler alone:
//! the image's dependencies don't know of it.

use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::process::Stdio;

use super::toolchain::{Target, Toolchain};
use crate::error::{Error, Fault};

/// The source, as two modules.
const MEMORY: &str = include_str!("runtime/memory.rs");
const UNWINDING: &str = include_str!("runtime/unwinding.rs");

/// How it is compiled. Each function gets a section of its own, so that the linker leaves out what nothing calls.
const FLAGS: &[&str] = &[
    "--edition=2024",
    "--crate-type=lib",
    "--crate-name=mirage_runtime",
    "--emit=obj",
    "-Copt-level=3",
    "-Ccodegen-units=1",
    "-Cpanic=abort",
    "-Crelocation-model=pic",
    "-Cforce-unwind-tables=no",
    "-Dwarnings",
];

/// The path of the object file with what an image lacks for the host's target, in `folder`; compiles it if it is not there.
///
/// # Errors
///
/// [`Error::ProgramFailed`] if the compiler refuses it, [`Error::File`] if it can't be written.
pub fn object(toolchain: &Toolchain, folder: &Path) -> Result<PathBuf, Error> {
    let source = format!(
        "#![no_std]\n#![no_builtins]\n\nmod memory {{\n{MEMORY}}}\n\nmod unwinding {{\n{UNWINDING}}}\n"
    );
    let mut hasher = DefaultHasher::new();
    (&source, FLAGS, toolchain.version()).hash(&mut hasher);
    let name = format!("runtime-{:016x}", hasher.finish());
    let object = folder.join(&name).with_extension("o");
    if object.is_file() {
        return Ok(object);
    }
    fs::create_dir_all(folder).map_err(Error::file("make", folder))?;
    // Another call may do the same: what is complete is moved to its place.
    let scratch = tempfile::tempdir_in(folder).map_err(Error::file("make", folder))?;
    let (source_file, new) = (
        scratch.path().join("runtime.rs"),
        scratch.path().join("runtime.o"),
    );
    fs::write(&source_file, source).map_err(Error::file("write", &source_file))?;
    let mut command = toolchain.rustc();
    command
        .args(FLAGS)
        .args(["--target", Target::Host.triple(), "-o"]);
    command.arg(&new).arg(&source_file).stdin(Stdio::null());
    let output = command.output().map_err(|source| Error::CannotStart {
        program: "rustc".into(),
        source,
    })?;
    if !output.status.success() {
        return Err(Error::ProgramFailed {
            command: "rustc (the runtime's memory functions)".into(),
            status: output.status.to_string(),
            output: String::from_utf8_lossy(&output.stderr).trim().into(),
            fault: Fault::Machine,
        });
    }
    fs::rename(&new, &object).map_err(Error::file("write", &object))?;
    Ok(object)
}
