//! Tasks that sleep: what they take to make, and how late they wake, against tokio and a loop that reads the clock.
//!
//! Each measurement is a process of its own, started by this one, so that none inherits another's heap; the engines
//! take turns. Results go to `benches/threads/results/`: `threads.json` and two figures.

mod engines;
mod memory;
mod report;
mod statistics;

use std::borrow::Cow;
use std::error::Error;
use std::path::PathBuf;
use std::process::{Command, ExitCode};

use bench_common::machine::{self, Machine};
use clap::{Parser, Subcommand, ValueEnum};
use serde::de::DeserializeOwned;

use crate::engines::{Creation, Engine};
use crate::memory::Pages;
use crate::report::{
    CREATORS, CreationRow, DEFINITIONS, PAGES, Report, Settings, Skipped, Versions, VirtualRow,
    WAKERS, WakeRow, published,
};
use crate::statistics::Lateness;

/// Tasks that sleep, against tokio.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    #[command(subcommand)]
    child: Option<Child>,
    /// Numbers of tasks to make, with commas between.
    #[arg(long, value_delimiter = ',', default_values_t = [1_000_000, 5_000_000, 10_000_000, 15_000_000, 20_000_000])]
    sizes: Vec<usize>,
    /// Number of tasks whose wake-ups are measured; 0 for none.
    #[arg(long, default_value_t = 1_000_000)]
    wakes: usize,
    /// How often each is measured; the medians are shown, all are in the JSON.
    #[arg(long, default_value_t = 3)]
    runs: usize,
    /// Seed of the sleeps.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Few tasks, one run: to see that it works. The figures mean nothing.
    #[arg(long)]
    quick: bool,
    /// Measures nothing: draws the figures again, from the results that are there.
    #[arg(long)]
    draw: bool,
    /// Where the results go.
    #[arg(long, default_value_os_t = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/results")))]
    output: PathBuf,
}

/// One measurement, in a process of its own; prints JSON.
#[derive(Subcommand, Clone, Copy)]
#[command(hide = true)]
enum Child {
    /// Makes tasks.
    Create {
        engine: Engine,
        tasks: usize,
        pages: Pages,
    },
    /// Measures wake-ups.
    Wake {
        engine: Engine,
        tasks: usize,
        seed: u64,
    },
    /// Measures wake-ups in virtual time.
    Virtual { tasks: usize, seed: u64 },
}

/// Bytes that are written to beforehand for each task, and that a task is expected to take at most: more than it took when
/// this was written.
const fn bytes_per_task(engine: Engine) -> usize {
    match engine {
        Engine::Mirage | Engine::MirageStart => 220,
        Engine::Tokio => 520,
        Engine::ClockLoop => 0,
    }
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let result = match arguments.child {
        Some(child) => run_child(child),
        None => run(arguments),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench-threads: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(mut arguments: Arguments) -> Result<(), Box<dyn Error>> {
    if arguments.draw {
        return Report::read(&arguments.output)?.draw(&arguments.output);
    }
    if arguments.quick {
        arguments.sizes = vec![10_000, 20_000];
        arguments.wakes = arguments.wakes.min(10_000);
        arguments.runs = 1;
    }
    if arguments.sizes.contains(&0) {
        return Err("a size is at least 1".into());
    }
    let machine = Machine::before();
    let mut creations = Vec::new();
    let mut skipped = Vec::new();
    for &tasks in &arguments.sizes {
        for engine in CREATORS {
            if let Some(reason) = too_large(engine, tasks) {
                skipped.push(Skipped {
                    engine,
                    tasks,
                    reason,
                });
            }
        }
        let is_skipped = |engine| {
            let mut rows = skipped.iter();
            rows.any(|row: &Skipped| row.engine == engine && row.tasks == tasks)
        };
        for run in 0..arguments.runs {
            for pages in PAGES {
                for engine in CREATORS {
                    if is_skipped(engine) {
                        continue;
                    }
                    let creation: Creation = child(Child::Create {
                        engine,
                        tasks,
                        pages,
                    })?;
                    creations.push(CreationRow {
                        engine,
                        tasks,
                        pages,
                        run,
                        creation,
                    });
                }
            }
        }
    }
    let mut wakes = Vec::new();
    let mut virtual_time = None;
    if arguments.wakes > 0 {
        for run in 0..arguments.runs {
            for engine in WAKERS {
                let (tasks, seed) = (arguments.wakes, arguments.seed);
                let lateness: Lateness = child(Child::Wake {
                    engine,
                    tasks,
                    seed,
                })?;
                wakes.push(WakeRow {
                    engine,
                    run,
                    seed,
                    lateness,
                });
            }
        }
        let (max_late_ns, tasks): (u64, usize) = child(Child::Virtual {
            tasks: arguments.wakes,
            seed: arguments.seed,
        })?;
        virtual_time = Some(VirtualRow { tasks, max_late_ns });
    }
    let report = Report {
        definitions: DEFINITIONS.map(Cow::Borrowed).to_vec(),
        machine: machine.after(),
        versions: Versions {
            bench_threads: Cow::Borrowed(env!("CARGO_PKG_VERSION")),
            tokio: machine::locked_version("tokio"),
            rustc: machine::rustc_version(),
        },
        settings: Settings {
            sizes: arguments.sizes,
            runs: arguments.runs,
            seed: arguments.seed,
            spin_ns: u64::try_from(engines::SPIN.as_nanos())?,
            wakes: arguments.wakes,
            touched_bytes_per_task: CREATORS.map(|engine| (engine, bytes_per_task(engine))),
            large_pages: machine::read("/sys/kernel/mm/transparent_hugepage/enabled"),
        },
        creations,
        skipped,
        wakes,
        virtual_time,
        published: published().into(),
    };
    report.write(&arguments.output)?;
    report.print();
    println!("results in {}", arguments.output.display());
    Ok(())
}

/// Why so many tasks can't be made in this machine's memory.
fn too_large(engine: Engine, tasks: usize) -> Option<String> {
    let needed = tasks.saturating_mul(bytes_per_task(engine));
    let available = machine::available_bytes();
    // Where the kernel doesn't tell, try.
    (available != 0 && needed > available / 20 * 19).then(|| {
        format!("{tasks} tasks may take {needed} bytes of memory and {available} are available")
    })
}

/// A value's name on the command line.
fn value(value: impl ValueEnum) -> String {
    value
        .to_possible_value()
        .map_or_else(String::new, |value| value.get_name().to_owned())
}

/// Runs one measurement in a process of its own.
fn child<T: DeserializeOwned>(child: Child) -> Result<T, Box<dyn Error>> {
    let mut command = Command::new(std::env::current_exe()?);
    match child {
        Child::Create {
            engine,
            tasks,
            pages,
        } => command
            .arg("create")
            .arg(value(engine))
            .arg(tasks.to_string())
            .arg(value(pages)),
        Child::Wake {
            engine,
            tasks,
            seed,
        } => command
            .arg("wake")
            .arg(value(engine))
            .arg(tasks.to_string())
            .arg(seed.to_string()),
        Child::Virtual { tasks, seed } => command
            .arg("virtual")
            .arg(tasks.to_string())
            .arg(seed.to_string()),
    };
    let output = command.stderr(std::process::Stdio::inherit()).output()?;
    if !output.status.success() {
        return Err(format!("{command:?} failed: {}", output.status).into());
    }
    Ok(serde_json::from_slice(&output.stdout)?)
}

fn run_child(child: Child) -> Result<(), Box<dyn Error>> {
    let json = match child {
        Child::Create {
            engine: Engine::ClockLoop,
            ..
        } => return Err("the clock loop makes no tasks".into()),
        Child::Create {
            engine,
            tasks,
            pages,
        } => {
            memory::prepare(pages, tasks.saturating_mul(bytes_per_task(engine)));
            serde_json::to_string(&engines::create(engine, tasks))?
        }
        Child::Wake {
            engine,
            tasks,
            seed,
        } => {
            memory::prepare(Pages::Touched, tasks.saturating_mul(bytes_per_task(engine)));
            serde_json::to_string(&Lateness::of(engines::wake(engine, tasks, seed)))?
        }
        Child::Virtual { tasks, seed } => {
            let (late, woken) = engines::wake_virtual(tasks, seed);
            if (late, woken) != (0, tasks) {
                return Err(format!(
                    "in virtual time, {woken} of {tasks} tasks woke, up to {late} ns late"
                )
                .into());
            }
            serde_json::to_string(&(late, woken))?
        }
    };
    println!("{json}");
    Ok(())
}
