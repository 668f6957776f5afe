//! For build scripts: a bad zone is a build error with its file, line and column (feature `std`).
//!
//! ```no_run
//! // build.rs of an appliance
//! use std::{env, fs, path::Path};
//!
//! fn main() {
//!     let image = mirage_dns::build::compile_zones(&["zones/example.org.zone"]).unwrap_or_else(|errors| {
//!         eprint!("{errors}");
//!         std::process::exit(1)
//!     });
//!     let out = Path::new(&env::var_os("OUT_DIR").unwrap()).join("zones.image");
//!     fs::write(out, image).unwrap();
//! }
//! ```

use std::path::Path;
use std::println;
use std::vec::Vec;

use crate::zone_compiler::{Diagnostics, compile_files};

/// How many octets all files of a zone set together may have in a build.
const MAX_BYTES: u64 = 1 << 30;

/// Compiles the zones in the files at `paths` (one zone a file) and tells Cargo which files the build depends on.
///
/// Prints `cargo::rerun-if-changed` for each file and each file that one includes, and `cargo::warning` for each warning,
/// so it belongs in a build script; elsewhere, [`compile_files`] prints nothing. Relative paths are relative to the
/// directory of the package, where Cargo runs build scripts.
///
/// # Errors
/// All diagnostics, if one is an error; its Display has a line for each, such as
/// `zones/example.org.zone:12:18: error: expected an IPv4 address, found "10.0.0.256"`.
pub fn compile_zones<P: AsRef<Path>>(paths: &[P]) -> Result<Vec<u8>, Diagnostics> {
    let compiled = compile_files(paths, MAX_BYTES);
    for path in paths {
        println!("cargo::rerun-if-changed={}", path.as_ref().display());
    }
    for file in &compiled.files {
        println!("cargo::rerun-if-changed={}", file.display());
    }
    let compiled = compiled.result?;
    for warning in compiled.warnings.iter() {
        println!("cargo::warning={warning}");
    }
    if compiled.warnings.omitted() > 0 {
        println!("cargo::warning=and {} more", compiled.warnings.omitted());
    }
    Ok(compiled.image)
}
