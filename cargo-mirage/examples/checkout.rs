//! What is in a checkout: its appliances, its benchmarks, and which of its crates need no standard library.
//!
//! `cargo run --example checkout [DIR]`; without a folder, the checkout around the current one.

use std::path::PathBuf;

use cargo_mirage::error::Error;
use cargo_mirage::workspace::Workspace;

fn main() -> Result<(), Error> {
    let source = std::env::args_os().nth(1).map(PathBuf::from);
    let workspace = Workspace::find(source.as_deref())?;
    println!("appliances: {}", workspace.appliances().join(", "));
    println!("benchmarks: {}", workspace.benches().join(", "));
    for package in workspace.members()? {
        let kind = if package.is_no_std()? {
            "no_std"
        } else {
            "std"
        };
        let features: Vec<&str> = package.named_features().collect();
        println!(
            "{:16} {kind:7} features: {}",
            package.name,
            features.join(", ")
        );
    }
    Ok(())
}
