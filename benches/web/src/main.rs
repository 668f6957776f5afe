//! A page of 1 kB: requests and connections a second, and the server's processor time for each, against nginx.
//!
//! Results go to `benches/web/results/`: `web.json` and `web.svg`.

mod report;
mod servers;
mod wrk;

use std::env;
use std::fs;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, ExitCode};
use std::time::Duration;

use bench_common::machine::Machine;
use bench_common::report::{Error, Results};
use bench_common::rounds::alternate;
use cargo_mirage::run_command;
use cargo_mirage::workspace::Workspace;
use clap::Parser;

use crate::report::{Report, Run, Settings};
use crate::servers::{PAGE, Programs, Server, System};
use crate::wrk::Load;

/// Says that the network namespace is there.
const INSIDE: &str = "MIRAGE_BENCH_WEB_INSIDE";

/// Requests and connections a second, against nginx.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    /// How often each is measured; the medians are shown, all are in the JSON.
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// For how long each is asked, in seconds.
    #[arg(long, default_value_t = 8)]
    seconds: u64,
    /// Connections at a time.
    #[arg(long, default_value_t = 64)]
    connections: usize,
    /// One short round: to see that it works. The figures mean nothing.
    #[arg(long)]
    quick: bool,
    /// Measures nothing: draws the figure again, from the results that are there.
    #[arg(long)]
    draw: bool,
    /// Where the results go.
    #[arg(long, default_value_os_t = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/results")))]
    output: PathBuf,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match run(arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench-web: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(mut arguments: Arguments) -> Result<(), Error> {
    if arguments.draw {
        return Report::read(&arguments.output)?.draw(&arguments.output);
    }
    let workspace = Workspace::find(None)?;
    // Outside of the namespace, where what is missing can be fetched.
    let manifest = workspace.host_main("web")?;
    let mirage = match arguments.quick {
        true => run_command::build_quickly(&workspace, &manifest)?,
        false => run_command::build(&workspace, &manifest)?,
    };
    let mirage = mirage.into_program()?;
    if env::var_os(INSIDE).is_none() {
        return Err(enter());
    }
    if arguments.quick {
        (arguments.rounds, arguments.seconds) = (1, 1);
    }
    let machine = Machine::before();
    let folder = tempfile::tempdir()?;
    let site = folder.path().join("site");
    fs::create_dir(&site)?;
    fs::write(site.join("index.html"), PAGE.as_bytes())?;
    let programs = Programs::find(mirage)?;
    let window = Duration::from_secs(arguments.seconds);
    let mut runs = Vec::new();
    for load in Load::ALL {
        for (_, system) in alternate(arguments.rounds, &System::ALL) {
            let server = Server::start(
                system,
                &programs,
                &site,
                folder.path(),
                arguments.connections,
            )?;
            // Warm, and known to answer.
            wrk::ask(
                &programs.wrk,
                &server,
                load,
                arguments.connections,
                Duration::from_secs(1),
            )?;
            let asked = wrk::ask(&programs.wrk, &server, load, arguments.connections, window)?;
            println!(
                "{} {}: {:.0}/s",
                system.name(),
                load.name(),
                asked.per_second
            );
            runs.push(Run {
                system,
                load,
                asked,
            });
        }
    }
    let mut report = Report {
        settings: Settings {
            rounds: arguments.rounds,
            seconds: arguments.seconds,
            connections: arguments.connections,
        },
        machine: machine.after(),
        versions: programs.versions()?,
        runs,
        rows: Vec::new(),
        goals: Vec::new(),
    };
    report.conclude();
    report.write(&arguments.output)?;
    report.print();
    println!("results in {}", arguments.output.display());
    Ok(())
}

/// Becomes this program again, in a network namespace of its own. Gives why it can't.
fn enter() -> Error {
    // Ports of closed connections are not free for a minute: as many as there are, and used again where that is safe.
    const PREPARE: &str = "ip link set lo up && \
        echo 1024 65535 > /proc/sys/net/ipv4/ip_local_port_range && \
        echo 1 > /proc/sys/net/ipv4/tcp_tw_reuse && exec \"$@\"";
    let program = match env::current_exe() {
        Ok(program) => program,
        Err(error) => return error.into(),
    };
    let mut command = Command::new("unshare");
    command
        .args(["--net", "sh", "-c", PREPARE, "sh"])
        .arg(program)
        .args(env::args_os().skip(1))
        .env(INSIDE, "1");
    command.exec().into()
}
