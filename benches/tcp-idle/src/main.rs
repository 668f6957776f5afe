//! Idle connections by the hundred thousand: how many bytes each has, and what one more segment costs with all of them there, against
//! ten.
//!
//! Results go to `benches/tcp-idle/results/`: `tcp-idle.json` and `tcp-idle.svg`.

mod allocated;
mod callgrind;
mod report;
mod tap;
mod world;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use bench_common::machine::{self, Machine};
use bench_common::report::{Error, Results};
use bench_common::rounds::alternate;
use bench_common::statistics::{Spread, median};
use clap::{Parser, Subcommand};

use crate::report::{DEFINITIONS, Memory, Report, Row};
use crate::world::{BATCH, World};

/// Idle connections.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    #[command(subcommand)]
    child: Option<Child>,
    /// How many connections there are, with commas between: the first is what the others are compared with.
    #[arg(long, value_delimiter = ',', default_values_t = [10, 1_000, 100_000])]
    connections: Vec<usize>,
    /// How often each is measured; the medians are shown, all are in the JSON.
    #[arg(long, default_value_t = 9)]
    rounds: usize,
    /// Batches of ten segments in each round.
    #[arg(long, default_value_t = 2_000)]
    batches: usize,
    /// Does not count instructions, for which valgrind is needed.
    #[arg(long)]
    no_callgrind: bool,
    /// How many connections there are over a tap, with commas between.
    #[arg(long, value_delimiter = ',', default_values_t = [10, 10_000])]
    tap_connections: Vec<usize>,
    /// Questions in each round over a tap.
    #[arg(long, default_value_t = 5_000)]
    questions: usize,
    /// Does not measure over a tap, for which it has to be root.
    #[arg(long)]
    no_tap: bool,
    /// Few connections, one short round: to see that it works. The figures mean nothing.
    #[arg(long)]
    quick: bool,
    /// Measures nothing: draws the figure again, from the results that are there.
    #[arg(long)]
    draw: bool,
    /// Where the results go.
    #[arg(long, default_value_os_t = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/results")))]
    output: PathBuf,
}

/// What this program does when it is run by itself.
#[derive(Subcommand)]
#[command(hide = true)]
enum Child {
    /// Answers requests, for valgrind to count.
    Count(callgrind::Count),
    /// Asks over a tap, in a network of its own.
    Tap(tap::Measure),
    /// Answers there.
    Guest(tap::guest::Guest),
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let result = match &arguments.child {
        Some(Child::Count(count)) => count.run(),
        Some(Child::Tap(measure)) => measure.run(),
        Some(Child::Guest(guest)) => guest.run(),
        None => run(arguments),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench-tcp-idle: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(mut arguments: Arguments) -> Result<(), Error> {
    if arguments.draw {
        return Report::read(&arguments.output)?.draw(&arguments.output);
    }
    if arguments.quick {
        arguments.connections = vec![10, 1_000];
        arguments.rounds = 1;
        arguments.batches = arguments.batches.min(50);
        arguments.tap_connections = vec![10, 300];
        arguments.questions = arguments.questions.min(300);
    }
    let machine = Machine::before();
    let (mut rows, mut memory) = (Vec::new(), Vec::new());
    for keep_alive in [false, true] {
        let mut worlds = Vec::new();
        for &connections in &arguments.connections {
            let world = World::new(connections, keep_alive)?;
            if !keep_alive {
                memory.push(Memory {
                    connections,
                    allocated: world.server_bytes(),
                    pages: world.server_pages(),
                });
            }
            worlds.push(world);
        }
        let mut found = vec![Vec::new(); worlds.len()];
        let places: Vec<usize> = (0..worlds.len()).collect();
        for (_, place) in alternate(arguments.rounds, &places) {
            found[place].push(time(&mut worlds[place], arguments.batches)?);
        }
        drop(worlds);
        for (&connections, runs) in arguments.connections.iter().zip(found) {
            let instructions = if arguments.no_callgrind {
                None
            } else {
                Some(callgrind::count(connections, keep_alive)?)
            };
            rows.push(Row {
                connections,
                keep_alive,
                nanoseconds: Spread::of(runs.iter().copied()).ok_or("no rounds")?,
                runs,
                instructions,
            });
        }
    }
    let tap = if arguments.no_tap {
        Vec::new()
    } else {
        tap::measure(
            &arguments.tap_connections,
            arguments.rounds,
            arguments.questions,
        )?
    };
    let mut report = Report {
        definitions: DEFINITIONS.map(str::to_owned).to_vec(),
        machine: machine.after(),
        rustc: machine::rustc_version(),
        memory,
        rows,
        bytes_each: None,
        tap,
        tap_bytes_each: None,
        goals: Vec::new(),
    };
    report.conclude();
    report.write(&arguments.output)?;
    report.print();
    println!("results in {}", arguments.output.display());
    Ok(())
}

/// Nanoseconds a segment: the median of the batches, so that what else runs on the machine takes nothing of it.
fn time(world: &mut World, batches: usize) -> Result<f64, Error> {
    let mut found = Vec::with_capacity(batches);
    for _ in 0..batches {
        world.ask()?;
        let start = Instant::now();
        world.answer();
        found.push(start.elapsed().as_nanos() as f64 / BATCH as f64);
        world.finish()?;
    }
    Ok(median(found))
}
