//! From `xl create` to the first answer, on a real Xen: the DNS appliance as a PVH guest, beside Linux with NSD as a PV
//! guest, both in one run of one lab.
//!
//! Results go to `benches/boot/results/`: `boot.json` and `boot.svg`.

mod report;
mod search;

use std::process::ExitCode;
use std::time::Duration;

use bench_common::machine::Machine;
use bench_common::report::{Error, Results};
use bench_common::rounds;
use bench_lab::arguments::Arguments;
use bench_lab::console;
use bench_lab::laboratory::{Installed, Prepared, Progress, Run, System, Versions};
use bench_lab::linux_guest::{LinuxGuest, Service};
use bench_lab::meter::Meter;
use cargo_mirage::lab::guest::Guest;
use clap::Parser;

use crate::report::{BootRow, DEFINITIONS, Report, SearchRow, Settings, Skipped};

/// From `xl create` to the first answer.
#[derive(Parser)]
#[command(version)]
struct CommandLine {
    #[command(flatten)]
    arguments: Arguments,
    /// Memory of the guests in MiB, with commas between; the least that works is searched besides.
    #[arg(long, value_delimiter = ',', default_values_t = [64, 256, 1024])]
    sizes: Vec<u32>,
}

/// In which the least memory is searched: from nothing to so many MiB, in steps of so many.
const fn range(system: System) -> (u32, u32) {
    match system {
        System::Mirage => (64, 1),
        System::LinuxNsd => (256, 16),
    }
}

/// How long a guest may take to its first answer. One that is this slow counts as one that doesn't work.
const fn limit(system: System) -> Duration {
    match system {
        System::Mirage => Duration::from_secs(30),
        System::LinuxNsd => Duration::from_secs(180),
    }
}

/// How many queries a guest is asked after its first answer: one that answers only once does not work.
const QUERIES: u32 = 20;

fn main() -> ExitCode {
    match run(&CommandLine::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench-boot: {error}");
            ExitCode::FAILURE
        }
    }
}

/// The guests in the lab. A quick run has no peer.
struct Guests<'a> {
    mirage: Installed<'a>,
    linux: Option<Installed<'a>>,
}

impl Guests<'_> {
    fn of(&self, system: System) -> Option<&Installed<'_>> {
        match system {
            System::Mirage => Some(&self.mirage),
            System::LinuxNsd => self.linux.as_ref(),
        }
    }

    fn systems(&self) -> impl Iterator<Item = System> {
        let all = [System::Mirage, System::LinuxNsd].into_iter();
        all.filter(|system| self.of(*system).is_some())
    }
}

fn run(command_line: &CommandLine) -> Result<(), Error> {
    let arguments = &command_line.arguments;
    let output = arguments.output(env!("CARGO_MANIFEST_DIR"));
    if arguments.draw {
        return Report::read(&output)?.draw(&output);
    }
    if command_line.sizes.contains(&0) {
        return Err("a guest has at least 1 MiB".into());
    }
    let progress = Progress::default();
    let prepared = Prepared::new(arguments, progress)?;
    let log = prepared.log("boot")?;
    let linux = if arguments.quick {
        None
    } else {
        Some(LinuxGuest::prepare(
            &arguments.source(),
            &prepared.workspace,
            Service::Nsd,
            &log,
            |line| progress.say(line),
        )?)
    };
    let machine = Machine::before();
    let lab = prepared.start(arguments, Vec::new(), progress)?;
    progress.say("putting the guests into dom0");
    let meter = Meter::install(&lab)?;
    let guest = Guest::new(System::Mirage.guest_name(), prepared.image.elf.clone())?;
    let guests = Guests {
        mirage: Installed::new(&lab, meter, guest, 0)?,
        linux: match &linux {
            Some(linux) => {
                let guest = linux.guest(System::LinuxNsd.guest_name(), 0)?;
                Some(Installed::new(&lab, meter, guest, 1)?)
            }
            None => None,
        },
    };
    let mut report = Report {
        definitions: DEFINITIONS.map(str::to_owned).to_vec(),
        versions: Versions::of(&lab, linux.as_ref(), &log)?,
        settings: Settings {
            runs: arguments.runs(),
            sizes_mib: command_line.sizes.clone(),
            queries_after_the_first: QUERIES,
            seed: prepared.image.seed.to_string(),
        },
        machine,
        searches: Vec::new(),
        skipped: Vec::new(),
        boots: Vec::new(),
        figures: Vec::new(),
        goals: Vec::new(),
        published: report::published(),
    };
    if arguments.quick {
        let memory = command_line.sizes.first().copied().unwrap_or(64);
        report.settings.sizes_mib = vec![memory];
        report
            .boots
            .push(boot(&guests.mirage, System::Mirage, memory, 0, progress)?);
    } else {
        search(&guests, &mut report, progress)?;
        measure(&guests, &mut report, progress)?;
    }
    drop(lab);
    report.machine = report.machine.after();
    report.conclude();
    report.write(&output)?;
    report.print();
    println!("results in {}", output.display());
    Ok(())
}

/// Searches the least memory that works, of each system.
fn search(guests: &Guests<'_>, report: &mut Report, progress: Progress) -> Result<(), Error> {
    for system in guests.systems() {
        let Some(installed) = guests.of(system) else {
            continue;
        };
        let (most, step) = range(system);
        let found = search::least(most, step, |memory| {
            let watch = installed.watch(limit(system), QUERIES);
            let run = installed.boot(memory, watch, false)?;
            let failure = run.boot.failure(watch);
            let said = failure.as_deref().unwrap_or("works");
            progress.say(format!("{} with {memory} MiB: {said}", system.name()));
            Ok(failure)
        })?;
        report.searches.push(SearchRow {
            system,
            step_mib: step,
            least_mib: found.least,
            tried: found.tried,
        });
    }
    Ok(())
}

/// Boots all, in turns.
fn measure(guests: &Guests<'_>, report: &mut Report, progress: Progress) -> Result<(), Error> {
    let mut all = Vec::new();
    for row in &report.searches {
        all.push((row.system, row.least_mib));
    }
    for &memory in &report.settings.sizes_mib {
        for row in &report.searches {
            if memory < row.least_mib {
                report.skipped.push(Skipped {
                    system: row.system,
                    memory_mib: memory,
                    reason: row.reason(memory),
                });
            } else if memory > row.least_mib {
                all.push((row.system, memory));
            }
        }
    }
    let turns = rounds::alternate(report.settings.runs, &all);
    let count = turns.len();
    for (index, (run, (system, memory))) in turns.into_iter().enumerate() {
        progress.say(format!(
            "boot {} of {count}: {} with {memory} MiB",
            index + 1,
            system.name()
        ));
        if let Some(installed) = guests.of(system) {
            report
                .boots
                .push(boot(installed, system, memory, run, progress)?);
        }
    }
    Ok(())
}

fn boot(
    installed: &Installed<'_>,
    system: System,
    memory: u32,
    run: usize,
    progress: Progress,
) -> Result<BootRow, Error> {
    let watch = installed.watch(limit(system), QUERIES);
    let Run { boot, console } = installed.must_boot(memory, watch, false)?;
    let said = console::network_up(&console);
    let network_up_us = match system {
        System::Mirage => said.map(|said| said.microseconds),
        System::LinuxNsd => console::linux_network_up(&console),
    };
    if network_up_us.is_none() {
        progress.say(format!(
            "{} has not said when its network was up",
            system.name()
        ));
    }
    Ok(BootRow {
        system,
        memory_mib: memory,
        run,
        network_up_us,
        xenstore_round_trips: said.map(|said| said.round_trips),
        boot,
    })
}
