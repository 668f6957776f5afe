//! The `cargo-mirage` program; everything is in the library.
#![forbid(unsafe_code)]

use std::process::ExitCode;

fn main() -> ExitCode {
    cargo_mirage::main(std::env::args_os())
}
