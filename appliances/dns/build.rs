//! Compiles the zones into the image that the appliance is linked with.
//!
//! `MIRAGE_DNS_ZONES` names the master files, separated by colons, relative to this package's directory; without it,
//! `zones/example.org.zone`. A zone that is wrong ends the build with its file, line and column.

use std::path::{Path, PathBuf};
use std::{env, fs, process};

fn main() {
    println!("cargo::rerun-if-env-changed=MIRAGE_DNS_ZONES");
    let zones: Vec<PathBuf> = match env::var_os("MIRAGE_DNS_ZONES") {
        Some(list) if !list.is_empty() => env::split_paths(&list)
            .filter(|path| !path.as_os_str().is_empty())
            .collect(),
        _ => vec![PathBuf::from("zones/example.org.zone")],
    };
    let image = mirage_dns::build::compile_zones(&zones).unwrap_or_else(|errors| {
        eprintln!("{errors}");
        process::exit(1)
    });
    let out = env::var_os("OUT_DIR").expect("Cargo tells a build script where to write");
    fs::write(Path::new(&out).join("zones.image"), image).expect("the image can be written");
}
