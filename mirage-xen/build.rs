//! Puts the link script where the linker finds it, and says whether an image is being built.

use std::path::PathBuf;
use std::{env, fs};

fn main() {
    println!("cargo::rerun-if-changed=link.ld");
    println!("cargo::rustc-check-cfg=cfg(mirage_image)");
    let directory = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets OUT_DIR"));
    fs::copy("link.ld", directory.join("mirage-xen.ld")).expect("the link script can be copied");
    println!("cargo::rustc-link-search={}", directory.display());
    // An image has no operating system. Built for a host's target, the recipe passes `--cfg mirage_image`.
    if env::var("CARGO_CFG_TARGET_OS").is_ok_and(|system| system == "none") {
        println!("cargo::rustc-cfg=mirage_image");
    }
}
