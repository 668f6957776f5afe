//! The build script: which site it compiles in, and that a wrong one ends the build.

#[path = "../build.rs"]
mod script;

use std::env;
use std::fs;
use std::path::Path;
use std::process::{Command, Output};

/// Says to [`as_cargo_runs_it`] that it is to be the script.
const BE_THE_SCRIPT: &str = "WEB_APPLIANCE_TEST_IS_BUILD_SCRIPT";

/// Not a test in itself: this program, started by the others below, is here the build script.
#[test]
fn as_cargo_runs_it() {
    if env::var_os(BE_THE_SCRIPT).is_some() {
        script::main();
    }
}

fn build(site: Option<&Path>, out: &Path) -> Output {
    let mut command = Command::new(env::current_exe().expect("this program"));
    command
        .args(["--exact", "as_cargo_runs_it", "--nocapture"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .env(BE_THE_SCRIPT, "1")
        .env("OUT_DIR", out)
        .env_remove("MIRAGE_WEB_SITE")
        .env_remove("SOURCE_DATE_EPOCH")
        .envs(site.map(|site| ("MIRAGE_WEB_SITE", site)));
    command.output().expect("the script runs")
}

#[test]
fn a_wrong_site_ends_the_build_with_its_file_and_why() {
    let out = tempfile::tempdir().expect("a folder");
    let site = tempfile::tempdir().expect("a folder");
    let none = site.path().join("none");
    for (folder, said) in [
        (site.path(), "there is no index.html in it"),
        (&none, "No such file or directory"),
    ] {
        let output = build(Some(folder), out.path());
        assert!(!output.status.success());
        let error = String::from_utf8_lossy(&output.stderr);
        let expected = format!("{}: {said}", folder.display());
        assert!(error.contains(&expected), "{error}");
        assert!(!out.path().join("site.rs").exists());
    }
}

#[test]
fn the_site_that_the_environment_names_is_compiled_in() {
    let out = tempfile::tempdir().expect("a folder");
    let site = tempfile::tempdir().expect("a folder");
    fs::write(site.path().join("index.html"), "mine").expect("a file");
    fs::write(site.path().join(".secret"), "hidden").expect("a file");
    let output = build(Some(site.path()), out.path());
    assert!(output.status.success(), "{output:?}");
    let source = || fs::read_to_string(out.path().join("site.rs")).expect("source");
    assert!(source().contains("\"index.html\"") && !source().contains("secret"));
    // A change of a file or of the variable builds it anew; what is left out is told.
    let said = String::from_utf8_lossy(&output.stdout);
    let folder = site.path().display();
    assert!(
        said.contains(&format!("cargo::rerun-if-changed={folder}\n")),
        "{said}"
    );
    assert!(said.contains("cargo::rerun-if-env-changed=MIRAGE_WEB_SITE\n"));
    assert!(
        said.contains(&format!("cargo::warning={folder}/.secret: ")),
        "{said}"
    );
    // Without it the appliance's own.
    assert!(build(None, out.path()).status.success());
    assert!(source().contains("\"css/site.css.br\""));
}
