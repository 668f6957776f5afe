//! Compiles the zones into the image that the appliance is linked with.
//!
//! `MIRAGE_DNS_ZONES` names the master files, separated by colons, each as `[ORIGIN=]FILE`, relative to this package's
//! directory; without it, `zones/example.org.zone`. A zone that is wrong ends the build with its file, line and column.

use std::fmt::Display;
use std::path::Path;
use std::{env, fs, process};

use mirage_dns::zone_compiler::ZoneFile;

/// `pub(crate)` for the test that runs it.
pub(crate) fn main() {
    println!("cargo::rerun-if-env-changed=MIRAGE_DNS_ZONES");
    let zones: Vec<ZoneFile> = match env::var_os("MIRAGE_DNS_ZONES") {
        Some(list) if !list.is_empty() => env::split_paths(&list)
            .filter(|part| !part.as_os_str().is_empty())
            .map(|part| {
                ZoneFile::parse(part.as_os_str())
                    .unwrap_or_else(|error| fail(format_args!("MIRAGE_DNS_ZONES: {error}")))
            })
            .collect(),
        _ => vec![ZoneFile::new("zones/example.org.zone")],
    };
    let image = mirage_dns::build::compile_zones(&zones).unwrap_or_else(|errors| fail(errors));
    let out = env::var_os("OUT_DIR").expect("Cargo tells a build script where to write");
    fs::write(Path::new(&out).join("zones.image"), image).expect("the image can be written");
}

fn fail(reason: impl Display) -> ! {
    eprintln!("{reason}");
    process::exit(1)
}
