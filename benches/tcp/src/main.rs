//! TCP over a tap against Linux's: ours, with everything verified and with offloads, beside smoltcp; each a process of its own on a
//! tap of its own, in turns.
//!
//! Results go to `benches/tcp/results/`: `tcp.json` and `tcp.svg`.

mod guest;
mod load;
mod mirage;
mod network;
mod peer;
mod report;
mod smoltcp;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use bench_common::machine::{Machine, locked_version, rustc_version};
use bench_common::report::{Error, Results};
use bench_common::rounds;
use clap::{Parser, Subcommand};

use crate::guest::{Guest, GuestArguments, Stack};
use crate::load::Load;
use crate::report::{DEFINITIONS, Report, Row, Settings, Versions};

/// TCP over a tap, against smoltcp.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    #[command(subcommand)]
    child: Option<Child>,
    /// How long each load lasts, in seconds.
    #[arg(long, default_value_t = 3.0)]
    seconds: f64,
    /// How long it runs before that, in seconds.
    #[arg(long, default_value_t = 0.5)]
    warm_up: f64,
    /// Octets of each direction's buffer of a connection.
    #[arg(long, default_value_t = 262_144)]
    buffer: u32,
    /// How often each is measured, in turns; the medians are shown, all runs are in the JSON.
    #[arg(long, default_value_t = 5)]
    runs: usize,
    /// Only these, with commas between.
    #[arg(long, value_delimiter = ',', value_enum)]
    stacks: Vec<Stack>,
    /// Only the loads whose name has one of these in it, with commas between.
    #[arg(long, value_delimiter = ',')]
    loads: Vec<String>,
    /// One short run, to see that it works. The figures mean nothing.
    #[arg(long)]
    quick: bool,
    /// Measures nothing: concludes and draws again, from what is there.
    #[arg(long)]
    draw: bool,
    /// Where the results go.
    #[arg(long, default_value_os_t = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/results")))]
    output: PathBuf,
}

/// What this program is beside the benchmark.
#[derive(Subcommand)]
#[command(hide = true)]
enum Child {
    /// A stack on a tap, with what is asked of it.
    Guest(GuestArguments),
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let result = match &arguments.child {
        Some(Child::Guest(guest)) => guest::run(guest),
        None => run(arguments),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench-tcp: {error}");
            ExitCode::FAILURE
        }
    }
}

fn settings(arguments: &Arguments) -> Settings {
    let quick = arguments.quick;
    Settings {
        runs: if quick { 1 } else { arguments.runs.max(1) },
        seconds: if quick { 0.1 } else { arguments.seconds },
        warm_up: if quick { 0.05 } else { arguments.warm_up },
        buffer: arguments.buffer,
        stacks: if arguments.stacks.is_empty() {
            Stack::ALL.to_vec()
        } else {
            arguments.stacks.clone()
        },
    }
}

fn run(arguments: Arguments) -> Result<(), Error> {
    if arguments.draw {
        let mut report = Report::read(&arguments.output)?;
        report.conclude();
        report.write(&arguments.output)?;
        report.print();
        return Ok(());
    }
    let settings = settings(&arguments);
    let mut report = Report {
        definitions: DEFINITIONS.map(str::to_owned).to_vec(),
        machine: Machine::before(),
        versions: Versions {
            mirage: env!("CARGO_PKG_VERSION").into(),
            smoltcp: locked_version("smoltcp"),
            rustc: rustc_version(),
        },
        settings,
        rows: Vec::new(),
        figures: Vec::new(),
        goals: Vec::new(),
    };
    // From here on this thread, and what it starts, is in a network of its own.
    network::enter()?;
    let settings = report.settings.clone();
    let mut guests = Vec::new();
    for (number, &stack) in (0..).zip(&settings.stacks) {
        guests.push(Guest::start(stack, number, settings.buffer)?);
    }
    let is_wanted = |load: &Load| {
        let name = load.to_string();
        arguments.loads.is_empty() || arguments.loads.iter().any(|part| name.contains(part))
    };
    let order: Vec<usize> = (0..guests.len()).collect();
    for (run, index) in rounds::alternate(settings.runs, &order) {
        let Some(guest) = guests.get_mut(index) else {
            continue;
        };
        for load in Load::ALL.into_iter().filter(is_wanted) {
            let outcome = peer::measure(
                guest,
                load,
                Duration::from_secs_f64(settings.warm_up),
                Duration::from_secs_f64(settings.seconds),
            )
            .map_err(|error| format!("{}, {load}: {error}", guest.stack().name()))?;
            let row = Row {
                stack: guest.stack(),
                load,
                run,
                outcome,
            };
            eprintln!("round {}: {row}", run + 1);
            report.rows.push(row);
        }
    }
    drop(guests);
    report.machine = report.machine.after();
    report.conclude();
    report.write(&arguments.output)?;
    report.print();
    println!("results in {}", arguments.output.display());
    Ok(())
}
