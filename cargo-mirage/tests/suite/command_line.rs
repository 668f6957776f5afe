//! The program from outside: arguments, errors and exit statuses.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use tempfile::TempDir;

/// The program as cargo calls it, in that folder.
fn mirage(folder: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_cargo-mirage"));
    command.arg("mirage").args(arguments).current_dir(folder);
    // One target folder must not be another's; and what we print must not depend on who calls.
    command
        .env_remove("CARGO_TARGET_DIR")
        .env_remove("RUST_LOG")
        .env_remove("RUSTFLAGS");
    command.output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn write(path: &Path, content: &str) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, content).unwrap();
}

/// A checkout with one appliance, whose host main says where it runs and what it got, and exits with status 7; and one
/// benchmark, which writes the results it is told to write.
fn checkout() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    write(
        &root.join("Cargo.toml"),
        "[workspace]\nresolver = \"3\"\nmembers = [\"benches/speed\"]\n",
    );
    write(
        &root.join("appliances/echo/Cargo.toml"),
        "[package]\nname = \"echo-appliance\"\ndescription = \"Says it again\"\n",
    );
    write(
        &root.join("appliances/echo/host/Cargo.toml"),
        "[package]\nname = \"echo-host\"\nedition = \"2024\"\n[workspace]\n",
    );
    write(
        &root.join("appliances/echo/host/src/main.rs"),
        r#"fn main() {
            let words: Vec<String> = std::env::args().skip(1).collect();
            println!("{:?} in {}", words, std::env::current_dir().unwrap().display());
            println!("{:?}", std::env::var("CARGO_PKG_NAME"));
            std::process::exit(7);
        }"#,
    );
    write(
        &root.join("benches/speed/Cargo.toml"),
        "[package]\nname = \"bench-speed\"\nedition = \"2024\"\ndescription = \"How fast\"\n",
    );
    write(
        &root.join("benches/speed/src/main.rs"),
        r#"fn main() {
            let words: Vec<String> = std::env::args().skip(1).collect();
            assert_eq!(words[0], "--output");
            let results = std::path::Path::new(&words[1]);
            let svg = "<svg><rect/><line/><text>t</text></svg>";
            std::fs::write(results.join("speed.json"), format!("{{\"quick\": {}, \"n\": 1}}", words.len() == 3)).unwrap();
            if words.len() == 3 { std::fs::write(results.join("speed.svg"), svg).unwrap(); }
        }"#,
    );
    folder
}

#[test]
fn outside_a_checkout_the_caller_is_told_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    for arguments in [&["run", "dns"][..], &["test"], &["bench", "threads"]] {
        let output = mirage(folder.path(), arguments);
        assert_eq!(output.status.code(), Some(1), "{arguments:?}");
        let error = text(&output.stderr);
        assert!(
            error.contains("not inside a checkout") && error.contains("--source DIR"),
            "{error}"
        );
        assert!(error.contains("the command line's"), "{error}");
    }
}

#[test]
fn a_wrong_source_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let output = mirage(folder.path(), &["--source", "nowhere", "run"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(
        text(&output.stderr).contains("--source nowhere"),
        "{}",
        text(&output.stderr)
    );
}

#[test]
fn help_and_version_are_no_errors() {
    let folder = tempfile::tempdir().unwrap();
    for arguments in [
        &["--help"][..],
        &["--version"],
        &["run", "--help"],
        &["help", "test"],
    ] {
        let output = mirage(folder.path(), arguments);
        assert_eq!(output.status.code(), Some(0), "{arguments:?}");
        assert!(text(&output.stdout).contains("mirage"));
    }
    assert_eq!(mirage(folder.path(), &["fly"]).status.code(), Some(2));
}

#[test]
fn without_a_name_what_there_is_is_listed() {
    let folder = checkout();
    let output = mirage(folder.path(), &["run"]);
    assert_eq!(output.status.code(), Some(0));
    assert!(
        text(&output.stdout).contains("echo") && text(&output.stdout).contains("Says it again")
    );
    let output = mirage(folder.path(), &["bench"]);
    assert!(text(&output.stdout).contains("speed") && text(&output.stdout).contains("How fast"));
    let output = mirage(folder.path(), &["test", "--list"]);
    assert_eq!(output.status.code(), Some(0));
    assert!(text(&output.stdout).contains("clippy"));
}

#[test]
fn unknown_names_are_answered_with_the_known() {
    let folder = checkout();
    for (arguments, known) in [
        (&["run", "ecoh"][..], "there are: echo"),
        (&["bench", "seped"], "there are: speed"),
        (&["test", "--only", "clipy"], "clippy"),
    ] {
        let output = mirage(folder.path(), arguments);
        assert_eq!(output.status.code(), Some(1));
        assert!(
            text(&output.stderr).contains(known),
            "{}",
            text(&output.stderr)
        );
    }
}

#[test]
fn an_appliance_runs_in_the_users_folder_with_its_arguments_and_its_status_is_ours() {
    let folder = checkout();
    let elsewhere = tempfile::tempdir().unwrap();
    let source = folder.path().to_str().unwrap();
    let arguments = [
        "--source",
        source,
        "run",
        "echo",
        "--zone",
        "my.zone",
        "--ip",
        "10.0.0.2/24",
        "--help",
    ];
    let output = mirage(elsewhere.path(), &arguments);
    assert_eq!(output.status.code(), Some(7), "{}", text(&output.stderr));
    let said = text(&output.stdout);
    let here = elsewhere.path().canonicalize().unwrap();
    let expected = format!(
        r#"["--zone", "my.zone", "--ip", "10.0.0.2/24", "--help"] in {}"#,
        here.display()
    );
    assert!(said.contains(&expected), "{said}");
    // What cargo told the tool of its own package is not the appliance's.
    assert!(said.contains("Err(NotPresent)"), "{said}");
    // From below the checkout's folder, without --source.
    let output = mirage(&folder.path().join("benches/speed"), &["run", "echo"]);
    assert_eq!(output.status.code(), Some(7));
}

#[test]
fn an_appliance_that_does_not_build_is_an_error_with_cargos_words() {
    let folder = checkout();
    write(
        &folder.path().join("appliances/echo/host/src/main.rs"),
        "fn main() { nothing() }",
    );
    let output = mirage(folder.path(), &["run", "echo"]);
    assert_eq!(output.status.code(), Some(101));
    let error = text(&output.stderr);
    assert!(
        error.contains("cannot find function") && error.contains("does not build"),
        "{error}"
    );
}

#[test]
fn a_benchmark_writes_where_it_is_told_and_its_results_are_checked() {
    let folder = checkout();
    let results = tempfile::tempdir().unwrap();
    let output = mirage(
        folder.path(),
        &[
            "bench",
            "speed",
            "--quick",
            "--output",
            results.path().to_str().unwrap(),
        ],
    );
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    assert!(results.path().join("speed/speed.json").is_file());
    assert!(text(&output.stdout).contains("speed.svg"));
    // Without --quick this one writes no figure, which must not pass; and it writes into its own folder.
    let output = mirage(folder.path(), &["bench", "speed"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(
        text(&output.stderr).contains("no *.svg"),
        "{}",
        text(&output.stderr)
    );
    assert!(
        folder
            .path()
            .join("benches/speed/results/speed.json")
            .is_file()
    );
}

#[test]
fn what_no_lab_can_be_made_of_is_said_before_anything_is_fetched() {
    let folder = checkout();
    write(&folder.path().join("a.elf"), "");
    for (arguments, said) in [
        (&["lab"][..], "which appliance?"),
        (&["lab", "ecoh"], "there are: echo"),
        (&["lab", "none.elf"], "there is no file none.elf"),
        (
            &["lab", "x=a.elf", "x=a.elf"],
            "two appliances are called `x`",
        ),
        (&["lab", "X=a.elf"], "can't be a guest's name"),
        (
            &["lab", "a.elf", "--memory", "b=4"],
            "no appliance of this lab has that name",
        ),
        (&["lab", "a.elf", "--memory", "0"], "not a number of MiB"),
        (
            &["lab", "a.elf", "--append", "log=debug"],
            "no appliance of this lab has that name",
        ),
        (
            &["lab", "a.elf", "--port", "a=53"],
            "not a port, for example udp/53",
        ),
        (&["lab", "--dom0", "xl list"], "no lab runs below"),
    ] {
        let output = mirage(folder.path(), arguments);
        assert_eq!(output.status.code(), Some(1), "{arguments:?}");
        let error = text(&output.stderr);
        assert!(error.contains(said), "{arguments:?}: {error}");
    }
    assert!(!folder.path().join("target/lab").exists());
}

#[test]
fn a_folder_without_packages_is_refused() {
    let folder = checkout();
    write(&folder.path().join("a.elf"), "");
    let output = mirage(folder.path(), &["lab", "a.elf", "--packages", "benches"]);
    assert_eq!(output.status.code(), Some(1));
    let error = text(&output.stderr);
    assert!(error.contains("benches: no .deb files there"), "{error}");
}
