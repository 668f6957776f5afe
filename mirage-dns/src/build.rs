//! For build scripts: a bad zone is a build error with its file, line and column (feature `std`).
//!
//! ```no_run
//! // build.rs of an appliance
//! use mirage_dns::zone_compiler::ZoneFile;
//! use std::{env, fs, path::Path};
//!
//! fn main() {
//!     let zones = [ZoneFile::new("zones/example.org.zone")];
//!     let image = mirage_dns::build::compile_zones(&zones).unwrap_or_else(|errors| {
//!         eprint!("{errors}");
//!         std::process::exit(1)
//!     });
//!     let out = Path::new(&env::var_os("OUT_DIR").unwrap()).join("zones.image");
//!     fs::write(out, image).unwrap();
//! }
//! ```

use std::println;
use std::vec::Vec;

use crate::zone_compiler::{Diagnostics, ZoneFile, compile_files};

/// How many octets all files of a zone set together may have in a build.
const MAX_BYTES: u64 = 1 << 30;

/// Compiles the zones in the files `zones` (one zone a file) and tells Cargo which files the build depends on.
///
/// Prints `cargo::rerun-if-changed` for each file and each file that one includes, and `cargo::warning` for each
/// warning, so it belongs in a build script; elsewhere, [`compile_files`] prints nothing. Relative paths are relative
/// to the directory of the package, where Cargo runs build scripts.
///
/// # Errors
/// All diagnostics, if one is an error; its Display has a line for each, such as
/// `zones/example.org.zone:12:18: error: expected an IPv4 address, found "10.0.0.256"`.
pub fn compile_zones(zones: &[ZoneFile]) -> Result<Vec<u8>, Diagnostics> {
    let compiled = compile_files(zones, MAX_BYTES);
    // Those that could not be read count, too: they may come.
    let given = zones.iter().map(ZoneFile::path);
    let unread = given.filter(|path| !compiled.files.iter().any(|file| file == path));
    for file in compiled.files.iter().map(AsRef::as_ref).chain(unread) {
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

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::string::ToString as _;

    #[test]
    fn bad_zone_is_an_error_with_file_line_and_column() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a.zone");
        let head = "$ORIGIN a.\n$TTL 5\n@ SOA ns root 1 2 3 4 5\n@ NS ns\n";
        fs::write(&path, std::format!("{head}ns A 10.0.0.256\n")).unwrap();
        let errors = compile_zones(&[ZoneFile::new(&path)]).unwrap_err();
        assert_eq!(
            errors.to_string(),
            std::format!(
                "{}:5:6: error: expected an IPv4 address, found \"10.0.0.256\"\n",
                path.display()
            )
        );
        fs::write(&path, std::format!("{head}ns A 10.0.0.1\n")).unwrap();
        let image = compile_zones(&[ZoneFile::new(&path)]).unwrap();
        assert!(crate::zone_set::ZoneSet::from_bytes(&image).is_ok());
    }
}
