//! Compiles the site, and the page that shows the appliance alive, into the appliance.
//!
//! `MIRAGE_WEB_SITE` names the folder of the site, relative to this package's; without it, `site`. A site that can't be compiled ends
//! the build with its file, and why.

use std::path::{Path, PathBuf};
use std::{env, process};

use mirage_http::build::compile_site;
use mirage_http::site_compiler::SiteCompiler;

/// `pub(crate)` for the test that runs it.
pub(crate) fn main() {
    println!("cargo::rerun-if-env-changed=MIRAGE_WEB_SITE");
    let site = match env::var_os("MIRAGE_WEB_SITE") {
        Some(folder) if !folder.is_empty() => PathBuf::from(folder),
        _ => PathBuf::from("site"),
    };
    let out = env::var_os("OUT_DIR").expect("Cargo tells a build script where to write");
    // For browsers, without TLS: see `SiteCompiler::with_brotli`.
    let live = SiteCompiler::new()
        .with_prefix("_mirage/")
        .with_brotli(false);
    for (compiler, folder, source) in [
        (SiteCompiler::new(), site.as_path(), "site.rs"),
        (live, Path::new("live"), "live.rs"),
    ] {
        let source = Path::new(&out).join(source);
        if let Err(error) = compile_site(compiler, folder, &source) {
            eprintln!("{error}");
            process::exit(1);
        }
    }
}
