//! For build scripts: a site is compiled in, or the build says which of its files is wrong (feature `std`).
//!
//! ```no_run
//! // build.rs of an appliance
//! use std::{env, path::Path, process};
//! use mirage_http::site_compiler::SiteCompiler;
//!
//! fn main() {
//!     let out = Path::new(&env::var_os("OUT_DIR").unwrap()).join("site.rs");
//!     let compiler = SiteCompiler::new();
//!     if let Err(error) = mirage_http::build::compile_site(compiler, Path::new("site"), &out) {
//!         eprintln!("{error}");
//!         process::exit(1);
//!     }
//! }
//! ```
//!
//! and in the appliance:
//!
//! ```ignore
//! static SITE: CompiledStore = include!(concat!(env!("OUT_DIR"), "/site.rs"));
//! ```

use std::path::Path;
use std::println;

use crate::site_compiler::{ModificationTimes, Site, SiteCompiler, SiteError};

/// Compiles the site in `folder`, writes it to the file `source` and one beside it for its octets, and tells Cargo which files the
/// build depends on. The source is an expression of type [`CompiledStore`](mirage_core::kv::CompiledStore). Relative paths are relative to the directory of the package, where Cargo runs build scripts.
///
/// With `SOURCE_DATE_EPOCH` no file is said to be younger than that; so a build is the same wherever it is made.
///
/// # Errors
///
/// Which file is wrong, and why.
pub fn compile_site(
    compiler: SiteCompiler<'_>,
    folder: &Path,
    source: &Path,
) -> Result<Site, SiteError> {
    println!("cargo::rerun-if-env-changed=SOURCE_DATE_EPOCH");
    // All below it, too; what isn't there may come.
    println!("cargo::rerun-if-changed={}", folder.display());
    let times = ModificationTimes::from_environment()?;
    let site = compiler.with_times(times).compile(folder)?;
    for name in site.left_out() {
        println!(
            "cargo::warning={}: not part of the site, for its name begins with a dot",
            name.display()
        );
    }
    site.write_source(source)?;
    Ok(site)
}
