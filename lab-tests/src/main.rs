//! What appliances do on a real Xen, in one run of the lab: `cargo mirage test --only lab` calls it.
//!
//! It builds the images and fetches the packages, then does the rest in a network namespace of its own, where the lab's network
//! is nobody else's. What it prints is what a test program prints.
#![forbid(unsafe_code)]

mod checks;
mod dhcp;
mod dnsperf;
mod download;
mod emulator;
mod load;
mod page;
mod probes;
mod site;
mod web;

use std::env;
use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::sync::Mutex;
use std::thread;
use std::time::{Duration, Instant};

use cargo_mirage::build_command::{self, build};
use cargo_mirage::lab::guest::{Guest, Place};
use cargo_mirage::lab::network::{Port, Protocol};
use cargo_mirage::lab::{Lab, Options};
use cargo_mirage::workspace::Workspace;

/// The second part's first argument.
const INSIDE: &str = "--inside";

/// How long a guest may take until its network is up.
pub(crate) const READY: Duration = Duration::from_secs(60);

/// As many guests as there are at most, so that whichever of them serves names or pages is reached where there is no tap.
const GUESTS: usize = 32;

/// What the DNS appliance serves.
pub(crate) const NAMES: Port = Port {
    protocol: Protocol::Udp,
    number: 53,
};

/// What the web appliance serves.
pub(crate) const PAGES: Port = Port {
    protocol: Protocol::Tcp,
    number: 80,
};

/// How often everything is done at most, because of the emulator.
const ROUNDS: usize = 3;

/// Why a check did not pass, or could not be made.
pub(crate) type Failure = Box<dyn std::error::Error + Send + Sync>;

fn main() -> ExitCode {
    let mut arguments = env::args_os().skip(1);
    let inside = match arguments.next() {
        Some(word) if word == INSIDE => true,
        None => false,
        Some(word) => {
            eprintln!("lab-tests: {} is not known", word.display());
            return ExitCode::from(2);
        }
    };
    let result = Workspace::find(None)
        .map_err(Failure::from)
        .and_then(|workspace| {
            if inside {
                run(&workspace)
            } else {
                prepare(&workspace)
            }
        });
    match result {
        Ok(status) => status,
        Err(failure) => {
            eprintln!("lab-tests: {failure}");
            ExitCode::FAILURE
        }
    }
}

/// What needs the machine's own network; then the second part, in a network of its own where that can be made.
fn prepare(workspace: &Workspace) -> Result<ExitCode, Failure> {
    for appliance in ["dns", "memory-probe", "web"] {
        build(workspace, appliance, build_command::Options::default())?.into_product()?;
    }
    site::build_image(workspace)?;
    Lab::prepare(&options(workspace), |line| eprintln!("{line}"))?;
    let program = env::current_exe()?;
    let makes: [&[&str]; 2] = [&["--net"], &["--user", "--map-root-user", "--net"]];
    let make = makes.into_iter().find(|make| {
        let mut command = Command::new("unshare");
        command.args(*make).args(["ip", "link", "set", "lo", "up"]);
        command.output().is_ok_and(|output| output.status.success())
    });
    let mut command = match make {
        Some(make) => {
            let mut command = Command::new("unshare");
            command
                .args(make)
                .args(["sh", "-c", "ip link set lo up && exec \"$@\"", "sh"])
                .arg(program);
            command
        }
        None => Command::new(program),
    };
    let status = command.arg(INSIDE).status()?;
    Ok(match status.code() {
        Some(0) => ExitCode::SUCCESS,
        _ => ExitCode::FAILURE,
    })
}

fn options(workspace: &Workspace) -> Options {
    let mut options = Options::new(&workspace.target());
    // Randomness is the processor's; a guest that is to have none is denied it.
    options.cpu_features = "+rdrand,+rdseed".into();
    options.seeds = false;
    // Where there is no tap.
    options.ports = vec![vec![NAMES, PAGES]; GUESTS];
    options
}

fn image(workspace: &Workspace, appliance: &str) -> PathBuf {
    let file = format!("{appliance}.elf");
    workspace.target().join("appliances").join(file)
}

/// The checks, in a lab; all of them again in another one if any failed and the emulator had spoilt this one.
fn run(workspace: &Workspace) -> Result<ExitCode, Failure> {
    for number in 1.. {
        let (tests, log) = round(workspace)?;
        let log = fs::read(&log).map_err(|error| format!("{}: {error}", log.display()))?;
        let log = String::from_utf8_lossy(&log);
        let victims = emulator::victims(&log);
        if tests.all_passed() || victims.is_empty() || number == ROUNDS {
            return Ok(tests.summary());
        }
        tests.told();
        eprintln!(
            "QEMU gave the hypervisor's registers to a guest ({}), which then ended: this round is void, all is done again",
            victims.join(", ")
        );
    }
    Err("no round".into())
}

/// All of them; and where the lab's log is.
fn round(workspace: &Workspace) -> Result<(Tests, PathBuf), Failure> {
    let began = Instant::now();
    let lab = Lab::start(&options(workspace), |line| eprintln!("{line}"))?;
    let log = lab.record().log().path().to_path_buf();
    eprintln!(
        "the lab is there after {:.1} s; its log: {}",
        began.elapsed().as_secs_f64(),
        log.display()
    );
    let tests = Tests::default();
    let (dns, probe) = (image(workspace, "dns"), image(workspace, "memory-probe"));
    // Guests don't disturb each other: that is what Xen is for.
    thread::scope(|scope| {
        scope.spawn(|| probes::run(&lab, &tests, &probe));
        scope.spawn(|| dhcp::run(&lab, &tests, &dns));
        checks::run(&lab, &tests, &dns);
        page::run(&lab, &tests, &image(workspace, "web"));
        web::run(&lab, &tests, &image(workspace, site::IMAGE));
    });
    drop(lab);
    eprintln!("{:.1} s in all", began.elapsed().as_secs_f64());
    Ok((tests, log))
}

/// What passed and what failed. It is told at the end: what an emulator did to a guest is no result.
#[derive(Debug, Default)]
pub(crate) struct Tests {
    results: Mutex<Vec<(String, Result<(), String>)>>,
}

impl Tests {
    /// Makes a check, and keeps its result.
    pub(crate) fn test(&self, name: &str, check: impl FnOnce() -> Result<(), Failure>) -> bool {
        let began = Instant::now();
        let result = check().map_err(|failure| failure.to_string());
        let word = if result.is_ok() { "" } else { "failed after " };
        eprintln!("{name}: {word}{:.1} s", began.elapsed().as_secs_f64());
        let passed = result.is_ok();
        if let Ok(mut results) = self.results.lock() {
            results.push((name.to_owned(), result));
        }
        passed
    }

    /// Makes the check where there is a tap device, and says what isn't checked where there is none.
    pub(crate) fn test_on_tap(
        &self,
        lab: &Lab,
        name: &str,
        check: impl FnOnce() -> Result<(), Failure>,
    ) {
        if lab.has_tap() {
            self.test(name, check);
        } else {
            println!(
                "SKIPPED: {name}: without the right to make a tap device, QEMU forwards UDP to the guests, and no ping"
            );
        }
    }

    fn results(&self) -> Vec<(String, Result<(), String>)> {
        let results = self.results.lock().map(|results| results.clone());
        results.unwrap_or_default()
    }

    fn all_passed(&self) -> bool {
        self.results().iter().all(|(_, result)| result.is_ok())
    }

    /// Tells what failed, where it is not a result.
    fn told(&self) {
        for (name, result) in self.results() {
            if let Err(failure) = result {
                eprintln!("{name}: {failure}");
            }
        }
    }

    fn summary(&self) -> ExitCode {
        let results = self.results();
        for (name, result) in &results {
            match result {
                Ok(()) => println!("test {name} ... ok"),
                Err(failure) => {
                    println!("test {name} ... FAILED\n---- {name} stdout ----\n{failure}\n");
                }
            }
        }
        let failed = results.iter().filter(|(_, result)| result.is_err()).count();
        let passed = results.len() - failed;
        let word = if failed == 0 { "ok" } else { "FAILED" };
        println!("test result: {word}. {passed} passed; {failed} failed; 0 ignored");
        if failed == 0 {
            ExitCode::SUCCESS
        } else {
            ExitCode::FAILURE
        }
    }
}

/// A guest with little memory.
pub(crate) fn guest(name: &str, image: &Path, memory: u32) -> Result<Guest, Failure> {
    let mut guest = Guest::new(name, image.to_path_buf())?;
    guest.memory = memory;
    Ok(guest)
}

/// Where a guest is asked: its own address, or the port that leads to it where there is no tap.
pub(crate) fn reached(lab: &Lab, place: &Place, port: Port) -> SocketAddr {
    let mut forwards = lab.forwards().iter();
    match forwards.find(|forward| forward.address == place.address && forward.port == port) {
        Some(forward) => (Ipv4Addr::LOCALHOST, forward.local).into(),
        None => (place.address, port.number).into(),
    }
}

/// Waits until something is so.
pub(crate) fn wait_for(
    what: &str,
    limit: Duration,
    mut is_so: impl FnMut() -> Result<bool, Failure>,
) -> Result<(), Failure> {
    let began = Instant::now();
    while !is_so()? {
        if began.elapsed() > limit {
            return Err(format!("{what}: not after {} s", limit.as_secs()).into());
        }
        thread::sleep(Duration::from_millis(50));
    }
    Ok(())
}

/// Runs a script in dom0, which must succeed; gives its output.
pub(crate) fn dom0(lab: &Lab, script: &str) -> Result<String, Failure> {
    let output = lab.dom0(script, b"")?;
    if output.status == 0 {
        return Ok(output.text());
    }
    let said = String::from_utf8_lossy(&output.err).into_owned();
    Err(format!(
        "dom0: `{script}` ended with status {}: {}{said}",
        output.status,
        output.text()
    )
    .into())
}
