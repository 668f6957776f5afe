//! The build script: which zones it compiles in, and that a wrong one ends the build.

#[path = "../build.rs"]
mod script;

use std::env;
use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use mirage_dns::zone_set::ZoneSet;

/// Says to [`as_cargo_runs_it`] that it is to be the script.
const BE_THE_SCRIPT: &str = "DNS_APPLIANCE_TEST_IS_BUILD_SCRIPT";

const WITHOUT_ORIGIN: &str = "$TTL 60\n@ SOA ns root 1 2 3 4 5\n@ NS ns\nns A 192.0.2.1\n";

/// Not a test in itself: this program, started by the others below, is here the build script.
#[test]
fn as_cargo_runs_it() {
    if env::var_os(BE_THE_SCRIPT).is_some() {
        script::main();
    }
}

fn build(zones: Option<&str>, out: &Path) -> Output {
    let mut command = Command::new(env::current_exe().expect("this program"));
    command
        .args(["--exact", "as_cargo_runs_it", "--nocapture"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .env(BE_THE_SCRIPT, "1")
        .env("OUT_DIR", out)
        .env_remove("MIRAGE_DNS_ZONES")
        .envs(zones.map(|zones| ("MIRAGE_DNS_ZONES", zones)));
    command.output().expect("the script runs")
}

/// The apexes of the image that was written.
fn apexes(out: &Path) -> Vec<String> {
    let image = fs::read(out.join("zones.image")).expect("an image");
    let set = ZoneSet::from_bytes(&image).expect("a valid image");
    set.zones().map(|zone| zone.apex().to_string()).collect()
}

#[test]
fn a_wrong_zone_ends_the_build_with_file_line_and_column() {
    let out = tempfile::tempdir().expect("a folder");
    let zone = out.path().join("a.zone");
    fs::write(&zone, format!("{WITHOUT_ORIGIN}www A 10.0.0.256\n")).expect("a file");
    for (zones, said) in [
        (
            format!("example.net={}", zone.display()),
            ":5:7: error: expected an IPv4 address, found \"10.0.0.256\"",
        ),
        (
            zone.display().to_string(),
            ":2:1: error: expected an absolute name (ending in a dot), found \"@\": no $ORIGIN stands before it",
        ),
    ] {
        let output = build(Some(&zones), out.path());
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success(), "{zones}");
        let expected = format!("{}{said}", zone.display());
        assert!(error.contains(&expected), "{error}");
        assert!(!out.path().join("zones.image").exists());
    }
}

#[test]
fn what_is_no_zone_file_ends_the_build() {
    let out = tempfile::tempdir().expect("a folder");
    let output = build(Some("zones/example.org.zone:./a=b.zone"), out.path());
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success());
    assert!(error.contains("MIRAGE_DNS_ZONES: \"./a\""), "{error}");
}

#[test]
fn the_zones_that_the_environment_names_are_compiled_in() {
    let out = tempfile::tempdir().expect("a folder");
    let zone = out.path().join("a.zone");
    fs::write(&zone, WITHOUT_ORIGIN).expect("a file");
    let zones = format!("example.net={0}:example.com={0}:", zone.display());
    let output = build(Some(&zones), out.path());
    assert!(output.status.success(), "{output:?}");
    assert_eq!(apexes(out.path()), ["example.net.", "example.com."]);
    // A change of the file or of the variable builds it anew.
    let said = String::from_utf8_lossy(&output.stdout);
    let changed = format!("cargo::rerun-if-changed={}\n", zone.display());
    assert!(said.contains(&changed), "{said}");
    assert!(said.contains("cargo::rerun-if-env-changed=MIRAGE_DNS_ZONES\n"));

    for nothing in [None, Some("")] {
        assert!(build(nothing, out.path()).status.success());
        assert_eq!(apexes(out.path()), ["example.org."]);
    }
}
