//! DNS answers in memory, octets in and octets out: `mirage-dns` with and without its memo, against the crate `domain`.
//!
//! Results go to `benches/dns/results/`: `dns.json` and `dns.svg`.

mod callgrind;
mod questions;
mod report;
mod same;
mod systems;

use std::hint::black_box;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use bench_common::machine::{self, Machine};
use bench_common::report::{Error, Results};
use bench_common::rounds::alternate;
use bench_common::statistics::Spread;
use clap::{Parser, Subcommand};
use mirage_dns::master_file::{NoFiles, Source};
use mirage_dns::server::MemoSlot;
use mirage_dns::zone_compiler::ZoneCompiler;
use rustix::time::{ClockId, clock_gettime};

use crate::questions::{Mix, Questions, questions, zone};
use crate::report::{DEFINITIONS, Instructions, Report, Row};
use crate::systems::{Answering, Domain, MEMO_SLOTS, Mirage, MirageMemo, System};

/// DNS answers in memory.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    #[command(subcommand)]
    child: Option<Child>,
    /// Names that the zones have, hundreds of them, with commas between.
    #[arg(long, value_delimiter = ',', default_values_t = [100, 1_000, 10_000, 100_000])]
    sizes: Vec<u32>,
    /// How many different questions are asked, in turn.
    #[arg(long, default_value_t = 50_000)]
    questions: u32,
    /// How often each is measured; the medians are shown, all are in the JSON.
    #[arg(long, default_value_t = 9)]
    rounds: usize,
    /// For how long each asks at the least, in milliseconds.
    #[arg(long, default_value_t = 300)]
    milliseconds: u64,
    /// Seed of the questions.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Does not count instructions, for which valgrind is needed.
    #[arg(long)]
    no_callgrind: bool,
    /// Small zones, one short round: to see that it works. The figures mean nothing.
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
    /// Answers questions from files, for valgrind to count.
    Count(callgrind::Count),
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let result = match &arguments.child {
        Some(Child::Count(count)) => count.run(),
        None => run(arguments),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench-dns: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(mut arguments: Arguments) -> Result<(), Error> {
    if arguments.draw {
        return Report::read(&arguments.output)?.draw(&arguments.output);
    }
    if arguments.quick {
        arguments.sizes = vec![100, 1_000];
        arguments.questions = arguments.questions.min(2_000);
        arguments.rounds = 1;
        arguments.milliseconds = arguments.milliseconds.min(20);
    }
    if arguments.sizes.iter().any(|size| *size < 100) {
        return Err("a zone has a hundred names at least".into());
    }
    let machine = Machine::before();
    let mut rows = Vec::new();
    let mut instructions = Vec::new();
    for &names in &arguments.sizes {
        let text = zone(names);
        let image = compile(&text)?;
        for mix in Mix::ALL {
            let asked = questions(names, mix, arguments.questions, arguments.seed)?;
            same::check(&text, &image, &asked)?;
            rows.extend(measure(&arguments, names, mix, &text, &image, &asked)?);
            if !arguments.no_callgrind {
                for system in [System::Mirage, System::MirageMemo] {
                    instructions.push(Instructions {
                        system,
                        names,
                        mix: mix.name().to_owned(),
                        per_answer: callgrind::count(system, &image, &asked)?,
                    });
                }
            }
        }
    }
    let mut report = Report {
        definitions: DEFINITIONS.map(str::to_owned).to_vec(),
        machine: machine.after(),
        rustc: machine::rustc_version(),
        domain: machine::locked_version("domain"),
        seed: arguments.seed,
        questions: arguments.questions,
        rows,
        instructions,
        ratios: Vec::new(),
        goals: Vec::new(),
    };
    report.conclude();
    report.write(&arguments.output)?;
    report.print();
    println!("results in {}", arguments.output.display());
    Ok(())
}

fn compile(text: &str) -> Result<Vec<u8>, Error> {
    let mut compiler = ZoneCompiler::new();
    let source = Source {
        name: "zone",
        text: text.as_bytes(),
    };
    compiler.add_zone(source, &NoFiles);
    let compiled = compiler.finish();
    Ok(compiled.map_err(|errors| errors.to_string())?.image)
}

/// All rounds over one zone and one list of questions; a row for each system.
fn measure(
    arguments: &Arguments,
    names: u32,
    mix: Mix,
    text: &str,
    image: &[u8],
    asked: &Questions,
) -> Result<Vec<Row>, Error> {
    let mut slots = vec![MemoSlot::EMPTY; MEMO_SLOTS];
    let mut mirage = Mirage::new(image)?;
    let mut memo = MirageMemo::new(image, &mut slots)?;
    let mut domain = Domain::new(text)?;
    let mut found: Vec<Vec<f64>> = vec![Vec::new(); System::ALL.len()];
    let at_least = Duration::from_millis(arguments.milliseconds);
    for (_, system) in alternate(arguments.rounds, &System::ALL) {
        let nanoseconds = match system {
            System::Mirage => time(&mut mirage, asked, at_least),
            System::MirageMemo => time(&mut memo, asked, at_least),
            System::Domain => time(&mut domain, asked, at_least),
        };
        found[system as usize].push(nanoseconds);
    }
    let mut rows = Vec::new();
    for (system, runs) in System::ALL.into_iter().zip(found) {
        let nanoseconds = Spread::of(runs.iter().copied()).ok_or("no rounds")?;
        rows.push(Row {
            system,
            names,
            mix: mix.name().to_owned(),
            nanoseconds,
            runs,
        });
    }
    Ok(rows)
}

/// Nanoseconds an answer, over all questions as often as it takes; they were asked once before.
fn time(system: &mut impl Answering, asked: &Questions, at_least: Duration) -> f64 {
    pass(system, asked);
    let start = processor_time();
    let mut passes = 0u32;
    loop {
        pass(system, asked);
        passes += 1;
        let elapsed = processor_time() - start;
        if elapsed >= at_least {
            return elapsed.as_nanos() as f64 / f64::from(passes) / asked.len() as f64;
        }
    }
}

/// What this thread has had of a processor: what else runs takes nothing of it.
fn processor_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    // Neither is negative.
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

/// Answers each question once.
#[inline(never)]
pub(crate) fn pass(system: &mut impl Answering, asked: &Questions) {
    let mut out = [0; 1232];
    for request in asked.iter() {
        let length = system.answer(black_box(request), &mut out);
        black_box(&out[..length]);
    }
}
