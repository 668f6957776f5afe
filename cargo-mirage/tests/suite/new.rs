//! `cargo mirage new` from outside, and what it writes: its test passes, it is formatted, compiles without a warning, and runs.

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::net::UdpSocket;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

/// The checkout that this is a part of; none where the crate's package is tested alone, which has nothing to depend on.
fn checkout() -> Option<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()?
        .canonicalize()
        .ok()?;
    root.join("mirage-core/Cargo.toml")
        .is_file()
        .then_some(root)
}

fn target() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join("new")
}

/// A program in that folder, without what cargo told us of our own package. All build into one folder, so that a second run
/// has little to do.
fn program(name: &str, folder: &Path) -> Command {
    let mut command = Command::new(name);
    command.current_dir(folder).stdin(Stdio::null());
    for (variable, _) in std::env::vars_os() {
        let text = variable.to_string_lossy();
        if text.starts_with("CARGO_PKG_") || text.starts_with("CARGO_MANIFEST_") {
            command.env_remove(&variable);
        }
    }
    command
        .env_remove("RUSTFLAGS")
        .env_remove("RUST_LOG")
        // What counts is that it compiles and runs, not how fast.
        .env("CARGO_PROFILE_RELEASE_OPT_LEVEL", "0")
        .env("CARGO_PROFILE_RELEASE_DEBUG", "0")
        .env("CARGO_PROFILE_RELEASE_LTO", "off")
        .env("CARGO_TARGET_DIR", target());
    command
}

fn mirage(folder: &Path, arguments: &[&str]) -> Output {
    let mut command = program(env!("CARGO_BIN_EXE_cargo-mirage"), folder);
    command.arg("mirage").args(arguments).output().unwrap()
}

/// Runs what must succeed, and gives what it said.
fn must(mut command: Command) -> String {
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}\n{said}");
    said.into_owned()
}

fn warnings_in(said: &str) -> String {
    let warnings = said.lines().filter(|line| line.starts_with("warning"));
    warnings.collect::<Vec<_>>().join("\n")
}

/// A process that is asked to end when the test does.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn names_and_folders_that_can_not_be_are_refused_and_nothing_is_written() {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("taken")).unwrap();
    fs::write(folder.path().join("file"), "").unwrap();
    for (name, reason) in [
        ("Hello", "no name of a crate"),
        ("a/b", "change into the folder"),
        ("async", "keyword"),
        ("mirage-net", "made of"),
        ("taken", "there already"),
        ("file", "there already"),
    ] {
        let output = mirage(folder.path(), &["new", name]);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "{name}: {said}");
        assert!(
            said.contains(reason) && said.contains("the command line's"),
            "{name}: {said}"
        );
    }
    let output = mirage(folder.path(), &["new", "fine", "--source", "file"]);
    assert!(String::from_utf8_lossy(&output.stderr).contains("--source file"));
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2);
}

#[test]
fn what_is_written_passes_its_test_and_answers() {
    let Some(checkout) = checkout() else {
        println!(
            "SKIPPED: what_is_written_passes_its_test_and_answers: there is no checkout around this package"
        );
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    // Built in this checkout, the tool needs no --source to find it.
    let output = mirage(folder.path(), &["new", "my-echo"]);
    let said = String::from_utf8_lossy(&output.stdout).into_owned()
        + &String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success() && said.contains("cargo mirage run"),
        "{said}"
    );
    assert!(said.contains(checkout.to_str().unwrap()), "{said}");
    let root = folder.path().join("my-echo");
    for workspace in [root.clone(), root.join("host"), root.join("xen")] {
        // The versions that the checkout was tested with.
        fs::copy(checkout.join("Cargo.lock"), workspace.join("Cargo.lock")).unwrap();
        let mut fmt = program("cargo", &workspace);
        fmt.args(["fmt", "--check"]);
        must(fmt);
    }
    let mut test = program("cargo", &root);
    test.args(["test", "--release"]);
    assert_eq!(warnings_in(&must(test)), "");

    // In the folder, and below it, no name is needed; on this host it answers.
    let mut command = program(env!("CARGO_BIN_EXE_cargo-mirage"), &root.join("src"));
    command.args(["mirage", "run", "my-echo", "--listen", "127.0.0.1:0"]);
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut running = Running(command.spawn().unwrap());
    let mut said = String::new();
    let mut output = BufReader::new(running.0.stdout.take().unwrap());
    output.read_line(&mut said).unwrap();
    let address = said
        .strip_prefix("serving on ")
        .and_then(|rest| rest.strip_suffix(", UDP\n"));
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket
        .set_read_timeout(Some(Duration::from_secs(20)))
        .unwrap();
    socket
        .send_to(b"hello", address.unwrap_or_else(|| panic!("{said}")))
        .unwrap();
    let mut answer = [0; 16];
    assert_eq!(socket.recv(&mut answer).unwrap(), 5);
    assert_eq!(&answer[..5], b"hello");

    // Ended, it says what it counted; and it was built without a warning.
    let id = rustix::process::Pid::from_child(&running.0);
    rustix::process::kill_process(id, rustix::process::Signal::INT).unwrap();
    assert!(running.0.wait().unwrap().success());
    let mut rest = String::new();
    output.read_to_string(&mut rest).unwrap();
    assert!(rest.contains("answered: 1"), "{rest}");
    let mut errors = String::new();
    let mut stream = running.0.stderr.take().unwrap();
    stream.read_to_string(&mut errors).unwrap();
    assert_eq!(warnings_in(&errors), "");

    // Its image keeps the rules; that it boots, the lab shows.
    let output = mirage(&root.join("xen"), &["build"]);
    let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    assert_eq!(warnings_in(&said), "");
    assert!(target().join("appliances/my-echo.elf").is_file(), "{said}");
    assert!(
        said.contains("mirage_net") && said.contains("my_echo"),
        "{said}"
    );

    // It is an appliance, and no checkout.
    let output = mirage(&root, &["test", "--list"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("is for a checkout"));
}
