//! Checks zones as an appliance's build does, and says what is in them.
//!
//!     cargo run --features std --example check_zone -- appliances/dns/zones/example.org.zone
//!
//! With `--print` before the files it writes all records, one a line, as other programs read them.

use std::process::ExitCode;
use std::time::Instant;

use mirage_dns::zone_compiler::{ZoneFile, compile_files};
use mirage_dns::zone_set::ZoneSet;

fn main() -> ExitCode {
    let mut arguments = std::env::args_os().skip(1).peekable();
    let prints = arguments.next_if(|first| first == "--print").is_some();
    let files: Vec<ZoneFile> = match arguments.map(|text| ZoneFile::parse(&text)).collect() {
        Ok(files) => files,
        Err(error) => {
            eprintln!("{error}");
            return ExitCode::FAILURE;
        }
    };
    if files.is_empty() {
        eprintln!("usage: check_zone [--print] [ORIGIN=]FILE…");
        return ExitCode::FAILURE;
    }
    let start = Instant::now();
    let compiled = match compile_files(&files, 1 << 30).result {
        Ok(compiled) => compiled,
        Err(errors) => {
            eprint!("{errors}");
            return ExitCode::FAILURE;
        }
    };
    let compiling = start.elapsed();
    eprint!("{}", compiled.warnings);
    let start = Instant::now();
    let set = match ZoneSet::from_bytes(&compiled.image) {
        Ok(set) => set,
        Err(error) => {
            eprintln!("{error}");
            return ExitCode::FAILURE;
        }
    };
    let reading = start.elapsed();
    if prints {
        for record in set.zones().flat_map(|zone| zone.records()) {
            println!("{record}");
        }
        return ExitCode::SUCCESS;
    }
    for zone in set.zones() {
        println!("{}: {} records", zone.apex(), zone.records().count());
    }
    println!(
        "{} octets, compiled in {compiling:.1?}, read back in {reading:.1?}",
        compiled.image.len()
    );
    ExitCode::SUCCESS
}
