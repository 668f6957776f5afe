//! TCP over a deterministic link, in virtual time: this project's stack and smoltcp, in the simulation that smoltcp tests itself by.
//!
//! Results go to `benches/tcp-sim/results/`: `tcp-sim.json` and `tcp-sim.svg`.

mod link;
mod machine;
mod mirage;
mod report;
mod simulation;
mod smoltcp_machine;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use bench_common::machine as host;
use bench_common::report::{Error, Results};
use bench_common::statistics::Spread;
use clap::Parser;
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

use crate::link::Bottleneck;
use crate::report::{
    BUFFERS, Cell, DEFINITIONS, FLOWS, LOSSES, Link, Many, PUBLISHED, Reference, Report, Response,
    RoundTrips,
};
use crate::simulation::{Case, End, FlowCase, Outcome, System, run};

/// The link's round-trip time.
const ROUND_TRIP: Duration = Duration::from_millis(100);
/// Octets a second of the bottleneck: 100 Mbit/s.
const RATE: u64 = 12_500_000;
/// Octets of the queue before it: half of what is under way in a round trip.
const QUEUE: usize = 625_000;

/// TCP over a deterministic link, in virtual time.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    /// Octets of each transfer over a link that loses.
    #[arg(long, default_value_t = 10 << 20)]
    octets: u64,
    /// How many seeds each is measured with; the medians are shown, all are in the JSON.
    #[arg(long, default_value_t = 9)]
    seeds: u64,
    /// The same, of what many segments are simulated for: the response to a loss of 0.1 %, and flows that share a bottleneck.
    #[arg(long, default_value_t = 3)]
    long_seeds: u64,
    /// Simulated seconds of those.
    #[arg(long, default_value_t = 60)]
    seconds: u64,
    /// Few cells, one seed, short transfers: to see that it works. The figures mean nothing.
    #[arg(long)]
    quick: bool,
    /// Simulates nothing: draws the figure again, from the results that are there.
    #[arg(long)]
    draw: bool,
    /// Where the results go.
    #[arg(long, default_value_os_t = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/results")))]
    output: PathBuf,
}

fn main() -> ExitCode {
    match simulate(Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench-tcp-sim: {error}");
            ExitCode::FAILURE
        }
    }
}

fn simulate(mut arguments: Arguments) -> Result<(), Error> {
    if arguments.draw {
        return Report::read(&arguments.output)?.draw(&arguments.output);
    }
    let (mut buffers, mut losses, mut flows) = (BUFFERS.to_vec(), LOSSES.to_vec(), FLOWS.to_vec());
    if arguments.quick {
        buffers.truncate(1);
        losses = vec![0.0, 1.0];
        flows.truncate(1);
        arguments.octets = arguments.octets.min(1 << 20);
        arguments.seeds = 1;
        arguments.long_seeds = 1;
        arguments.seconds = arguments.seconds.min(3);
    }
    if arguments.seeds == 0 || arguments.long_seeds == 0 || arguments.seconds == 0 {
        return Err("there is at least one seed, and one second".into());
    }
    let mut cells = Vec::new();
    for &kib in &buffers {
        for &loss in &losses {
            for system in System::LOSSY {
                cells.push(cell(&arguments, system, kib, loss)?);
            }
        }
    }
    let mut responses = Vec::new();
    let mut links = Vec::new();
    for system in System::LOSSY {
        responses.push(response(&arguments, system)?);
        links.push(link(&arguments, system)?);
    }
    let mut many = Vec::new();
    for &count in &flows {
        for round_trips in [RoundTrips::Equal, RoundTrips::Spread] {
            for system in System::MANY {
                many.push(share(&arguments, system, count, round_trips)?);
            }
        }
    }
    let mut report = Report {
        definitions: DEFINITIONS.map(str::to_owned).to_vec(),
        rustc: host::rustc_version(),
        smoltcp: host::locked_version("smoltcp"),
        octets: arguments.octets,
        seconds: arguments.seconds,
        references: references(&losses)?,
        cells,
        responses,
        links,
        many,
        goals: Vec::new(),
    };
    report.conclude();
    report.write(&arguments.output)?;
    report.print();
    println!("results in {}", arguments.output.display());
    Ok(())
}

/// One flow over a link that only loses.
fn lossy(kib: usize, loss_percent: f64, seed: u64, end: End) -> Case {
    Case {
        buffer: kib * 1024,
        round_trip: ROUND_TRIP,
        loss: loss_percent / 100.0,
        bottleneck: Bottleneck::NONE,
        // Two wires, a seed each.
        seed: 2 * seed,
        flows: vec![FlowCase::PLAIN],
        end,
    }
}

/// What smoltcp's repository has, and what this simulation makes of it.
fn references(losses: &[f64]) -> Result<Vec<Reference>, Error> {
    let mut references = Vec::new();
    for (loss_percent, published) in PUBLISHED {
        if !losses.contains(&loss_percent) {
            continue;
        }
        let case = lossy(32, loss_percent, 0, End::Octets(10 << 20));
        references.push(Reference {
            loss_percent,
            published,
            here: run(System::SmoltcpNone, &case)?.goodput(),
        });
    }
    Ok(references)
}

fn cell(
    arguments: &Arguments,
    system: System,
    kib: usize,
    loss_percent: f64,
) -> Result<Cell, Error> {
    let mut runs = Vec::new();
    for seed in 0..arguments.seeds {
        let case = lossy(kib, loss_percent, seed, End::Octets(arguments.octets));
        runs.push(run(system, &case)?.goodput());
    }
    Ok(Cell {
        system,
        kib,
        loss_percent,
        goodput: Spread::of(runs.iter().copied()).ok_or("no seeds")?,
        runs,
    })
}

/// In the long run, with buffers that don't matter and a loss of 0.1 %.
fn response(arguments: &Arguments, system: System) -> Result<Response, Error> {
    let mut runs = Vec::new();
    // Ten times as long as the others: a loss is rare here.
    let seconds = 10 * arguments.seconds;
    let end = End::Time(
        Duration::from_secs(seconds / 10),
        Duration::from_secs(seconds + seconds / 10),
    );
    for seed in 0..arguments.long_seeds {
        runs.push(run(system, &lossy(1_024, 0.1, seed, end))?.goodput());
    }
    Ok(Response {
        system,
        goodput: Spread::of(runs.iter().copied()).ok_or("no seeds")?,
        runs,
    })
}

/// One flow, no loss but that of the queue. Nothing is random.
fn link(arguments: &Arguments, system: System) -> Result<Link, Error> {
    let case = Case {
        // More than what is under way in a round trip and in the queue.
        buffer: 4 << 20,
        round_trip: ROUND_TRIP,
        loss: 0.0,
        bottleneck: Bottleneck::new(Some(RATE), QUEUE, None),
        seed: 0,
        flows: vec![FlowCase::PLAIN],
        end: End::Time(Duration::ZERO, Duration::from_secs(arguments.seconds)),
    };
    let outcome = run(system, &case)?;
    Ok(Link {
        system,
        goodput: outcome.goodput(),
        dropped_percent: 100.0 * outcome.dropped,
    })
}

/// Flows that share a bottleneck, begun within a second, counted once they have met for a third of the time.
fn share(
    arguments: &Arguments,
    system: System,
    count: usize,
    round_trips: RoundTrips,
) -> Result<Many, Error> {
    let mut outcomes: Vec<Outcome> = Vec::new();
    for seed in 0..arguments.long_seeds {
        let mut rng = ChaCha20Rng::seed_from_u64(seed);
        let mut random = || f64::from(rng.next_u32()) / f64::from(u32::MAX);
        let flows = (0..count).map(|_| FlowCase {
            start: Duration::from_secs_f64(random()),
            stretch: match round_trips {
                RoundTrips::Equal => 1.0,
                RoundTrips::Spread => 0.5 + random(),
            },
        });
        let mark_above = (system == System::MirageEcn).then_some(QUEUE / 5);
        let first = arguments.seconds / 3;
        let case = Case {
            buffer: 1 << 20,
            round_trip: ROUND_TRIP,
            loss: 0.0,
            bottleneck: Bottleneck::new(Some(RATE), QUEUE, mark_above),
            seed: 0,
            flows: flows.collect(),
            end: End::Time(
                Duration::from_secs(first),
                Duration::from_secs(first + arguments.seconds),
            ),
        };
        outcomes.push(run(system, &case)?);
    }
    let spread = |of: fn(&Outcome) -> f64| {
        Spread::of(outcomes.iter().map(of)).ok_or_else(|| Error::from("no seeds"))
    };
    Ok(Many {
        system,
        flows: count,
        round_trips,
        fairness: spread(Outcome::fairness)?,
        goodput: spread(Outcome::goodput)?,
        dropped_percent: spread(|outcome| 100.0 * outcome.dropped)?,
        marked_percent: spread(|outcome| 100.0 * outcome.marked)?,
    })
}
