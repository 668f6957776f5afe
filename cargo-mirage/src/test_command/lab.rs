//! What needs a real Xen: the appliances in the lab, and the way of an author outside the checkout.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::suites::{self, Tally};
use super::{Context, Failure, Outcome, image_size, minutes, nightly};
use crate::debian;
use crate::error::Error;
use crate::process::{self, Log};

/// What is asked in the lab of whoever may not make a tap device: a port of the loopback address leads to the appliance.
const ASK_FORWARDED: &str = "test \"$DNS_IP\" = 127.0.0.1 && \
    dig +short +tries=5 -p \"$DNS_PORT_UDP_53\" \"@$DNS_IP\" www.example.org && echo \"asked by user $(id -u)\"";

/// The answer.
const ANSWER: &str = "192.0.2.80\n";

/// What the author's commands are called in.
const PROJECT: &str = "hello";

/// Why there can be no lab here; none, if there can.
pub(super) fn obstacle() -> Result<Option<String>, Failure> {
    let host = nightly::host()?;
    if host != "x86_64-unknown-linux-gnu" {
        return Ok(Some(format!(
            "the lab is for x86-64 Linux, and this is {host}"
        )));
    }
    if debian::find_program("apt-get").is_none() {
        return Ok(Some(
            "what the lab is made of is fetched by apt-get, and there is none".into(),
        ));
    }
    Ok(None)
}

/// Builds the program of [`run`] before other calls of cargo keep it waiting. What is wrong with it, the step says.
pub(super) fn build_ahead(context: &Context<'_>) -> Result<(), Error> {
    let log = Log::create(&context.target("mirage-test/lab-build.log"))?;
    let command = context.cargo(&["build", "--package", "lab-tests"]);
    let _ = context.run(command, minutes(15), &log);
    Ok(())
}

/// One run of the lab: package `lab-tests`; and what the images weigh that it has built.
pub(super) fn run(context: &Context<'_>, log: &Log) -> Result<Outcome, Failure> {
    if let Some(reason) = obstacle()? {
        return Outcome::skipped(reason);
    }
    let mut tally = Tally::default();
    let mut broken = Vec::new();
    let command = context.cargo(&["run", "--quiet", "--package", "lab-tests"]);
    suites::add(context, command, log, &mut tally, &mut broken)?;
    without_root(context, log, &mut tally, &mut broken)?;
    broken.extend(image_size::faults(&context.target("appliances")));
    tally.outcome(&broken)
}

/// `cargo mirage lab` by a user who has no right to make a tap device. Where we are root, that is somebody in a user namespace in
/// which nobody is anybody: the files are still ours, and no right is.
fn without_root(
    context: &Context<'_>,
    log: &Log,
    tally: &mut Tally,
    broken: &mut Vec<String>,
) -> Result<(), Failure> {
    const NAME: &str = "the lab of a user other than root";
    // A copy: a build of the steps before may have put another program in the place of this one, which still runs.
    let (this, tool) = (
        Path::new("/proc/self/exe"),
        context.target("mirage-test/cargo-mirage"),
    );
    std::fs::copy(this, &tool).map_err(Error::file("copy", this))?;
    let is_root = rustix::process::geteuid().is_root();
    let mut probe = Command::new("unshare");
    probe.args(["--user", "true"]);
    let becomes_nobody = is_root && probe.output().is_ok_and(|output| output.status.success());
    let mut command = if becomes_nobody {
        let mut command = Command::new("unshare");
        command.arg("--user").arg(tool);
        command
    } else {
        Command::new(tool)
    };
    // The image that the lab's other tests had: as `lab dns`, without building it once more.
    let image = context.target("appliances/dns.elf");
    command
        .args(["mirage", "lab"])
        .arg(format!("dns={}", image.display()));
    command.args(["--port", "dns=udp/53", "--exec", ASK_FORWARDED]);
    if is_root && !becomes_nobody {
        // What QEMU does is the same.
        command.arg("--user-network");
        tally.left_out.push(format!(
            "{NAME}: no right to make a user namespace; as root, with --user-network"
        ));
    }
    command.current_dir(context.workspace.root());
    let finished = context.run(command, minutes(5), log)?;
    let is_nobody = is_root && !becomes_nobody || !finished.output.contains("asked by user 0");
    if finished.success() && finished.output.contains(ANSWER) && is_nobody {
        tally.passed += 1;
    } else {
        broken.push(format!(
            "{NAME}: {}: {}",
            finished.how(),
            finished.output.trim()
        ));
    }
    Ok(())
}

/// What an author outside the checkout does: installs the tool, and makes, builds and runs an appliance of his own.
pub(super) fn author(context: &Context<'_>, log: &Log) -> Result<Outcome, Failure> {
    if let Some(reason) = obstacle()? {
        return Outcome::skipped(reason);
    }
    let root = context.target("author-install");
    let tool = install(context, &root, log)?;
    let folder = tempfile_folder(context)?;
    let project = folder.join(PROJECT);
    let call = |arguments: &[&str], place: &Path| {
        let mut command = Command::new(&tool);
        command.arg("mirage").args(arguments).current_dir(place);
        command
    };
    context.must(call(&["new", PROJECT], &folder), minutes(2), log)?;
    context.must(call(&["build"], &project), minutes(10), log)?;
    let mut tests = context.cargo(&["test", "--quiet"]);
    tests.current_dir(&project);
    context.must(tests, minutes(10), log)?;
    // The packages are there already, where the step before has run; they are the same for every project.
    share_packages(context, &project)?;
    let command = call(&["lab", "--exec", "ping -c 3 -W 5 \"$HELLO_IP\""], &project);
    let finished = context.must(command, minutes(8), log)?;
    if !finished.output.contains(" 0% packet loss") {
        return Err(Failure(format!(
            "the author's appliance does not answer a ping: {}",
            finished.output
        )));
    }
    fs::remove_dir_all(&folder).map_err(Error::file("remove", &folder))?;
    Outcome::passed("install, new, build, its tests, lab")
}

/// Installs the tool as the README says, and gives the program. Unoptimised, it is what the tests have built already.
fn install(context: &Context<'_>, root: &Path, log: &Log) -> Result<PathBuf, Failure> {
    let mut command = context.cargo(&["install", "--debug", "--locked", "--force", "--path"]);
    command
        .arg(context.workspace.root().join("cargo-mirage"))
        .arg("--root")
        .arg(root)
        .arg("--target-dir")
        .arg(context.target(""));
    let line = process::command_line(&command);
    context.must(command, minutes(15), log)?;
    let tool = root.join("bin/cargo-mirage");
    if tool.is_file() {
        Ok(tool)
    } else {
        Err(Failure(format!("{line} made no {}", tool.display())))
    }
}

/// An empty folder that is in no checkout.
fn tempfile_folder(context: &Context<'_>) -> Result<PathBuf, Failure> {
    let name = format!("mirage-author-{}", std::process::id());
    let folder = std::env::temp_dir().join(name);
    context.progress.set_message(folder.display().to_string());
    if folder.exists() {
        fs::remove_dir_all(&folder).map_err(Error::file("remove", &folder))?;
    }
    fs::create_dir_all(&folder).map_err(Error::file("make", &folder))?;
    Ok(folder)
}

/// Lets the project's lab begin with the packages that the checkout's has fetched: links to its files.
fn share_packages(context: &Context<'_>, project: &Path) -> Result<(), Failure> {
    let from = context.target("lab/packages");
    if !from.is_dir() {
        return Ok(());
    }
    let to = project.join("target/lab");
    fs::create_dir_all(&to).map_err(Error::file("make", &to))?;
    let mut copy = Command::new("cp");
    copy.arg("-al")
        .arg(&from)
        .arg(to.join(OsStr::new("packages")));
    // A link can't cross file systems; the packages are fetched again then.
    let linked = copy.output().is_ok_and(|output| output.status.success());
    if !linked {
        let _ = fs::remove_dir_all(to.join("packages"));
    }
    Ok(())
}
