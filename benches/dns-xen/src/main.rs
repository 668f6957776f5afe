//! Processor time a DNS query, on a real Xen: the DNS appliance as a PVH guest, beside NSD on Linux as a PV guest, asked by
//! dnsperf from the host, both in one run of one lab.
//!
//! Results go to `benches/dns-xen/results/`: `dns-xen.json` and `dns-xen.svg`.

mod report;

use core::net::{Ipv4Addr, SocketAddr};
use std::process::ExitCode;
use std::thread;
use std::time::Duration;

use bench_common::machine::Machine;
use bench_common::report::{Error, Results};
use bench_common::rounds;
use bench_lab::arguments::Arguments;
use bench_lab::dnsperf::{Dnsperf, Load, Outcome};
use bench_lab::echo::Echo;
use bench_lab::laboratory::{Installed, Prepared, Progress, System, Versions, folder};
use bench_lab::linux_guest::{LinuxGuest, Service};
use bench_lab::meter::{Interval, Meter};
use bench_lab::queries;
use cargo_mirage::lab::Lab;
use cargo_mirage::lab::guest::Guest;
use cargo_mirage::lab::network::{Port, Protocol};
use cargo_mirage::process::Log;
use clap::Parser;

use crate::report::{ClientRow, DEFINITIONS, IdleRow, LoadKind, LoadRow, Report, Settings};

/// Processor time a DNS query.
#[derive(Parser)]
#[command(version)]
struct CommandLine {
    #[command(flatten)]
    arguments: Arguments,
    /// Queries a second, as a steady load.
    #[arg(long, default_value_t = 500)]
    rate: u32,
    /// How long the steady load lasts, in seconds.
    #[arg(long, default_value_t = 60)]
    steady_seconds: u32,
    /// How long as many queries are asked as are answered, in seconds.
    #[arg(long, default_value_t = 20)]
    saturation_seconds: u32,
    /// How many of them may wait for their answers at once.
    #[arg(long, default_value_t = 50)]
    outstanding: u32,
    /// How long nobody asks, to see what the guests take then, in seconds.
    #[arg(long, default_value_t = 10)]
    idle_seconds: u32,
    /// Memory of either guest, in MiB.
    #[arg(long, default_value_t = 256)]
    memory: u32,
}

/// The guests, in the order of their places.
const SYSTEMS: [System; 2] = [System::Mirage, System::LinuxNsd];

/// How long a guest may take to its first answer.
const BOOT_LIMIT: Duration = Duration::from_secs(240);

/// The ports that dnsperf asks from.
const CLIENTS: u32 = 4;

/// After how many seconds a query is lost.
const TIMEOUT: u32 = 5;

fn main() -> ExitCode {
    match run(CommandLine::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench-dns-xen: {error}");
            ExitCode::FAILURE
        }
    }
}

fn settings(command_line: &CommandLine, seed: String) -> Settings {
    let quick = command_line.arguments.quick;
    let seconds = |seconds: u32| if quick { seconds.min(3) } else { seconds };
    let load = |queries_per_second, duration| Load {
        queries_per_second,
        seconds: seconds(duration),
        clients: CLIENTS,
        outstanding: command_line.outstanding,
        timeout_seconds: TIMEOUT,
    };
    Settings {
        runs: command_line.arguments.runs(),
        steady: load(Some(command_line.rate), command_line.steady_seconds),
        saturation: load(None, command_line.saturation_seconds),
        idle_seconds: seconds(command_line.idle_seconds),
        memory_mib: command_line.memory,
        queries: queries::EXAMPLE_ORG.lines().map(str::to_owned).collect(),
        seed,
    }
}

fn run(command_line: CommandLine) -> Result<(), Error> {
    let arguments = &command_line.arguments;
    let output = arguments.output(env!("CARGO_MANIFEST_DIR"));
    if arguments.draw {
        return Report::read(&output)?.draw(&output);
    }
    let progress = Progress::default();
    let prepared = Prepared::new(arguments, progress)?;
    let log = prepared.log("dns-xen")?;
    let linux = LinuxGuest::prepare(
        &arguments.source(),
        &prepared.workspace,
        Service::Nsd,
        &log,
        |line| progress.say(line),
    )?;
    let queries = folder(&prepared.workspace).join("queries");
    std::fs::write(&queries, queries::EXAMPLE_ORG)
        .map_err(|error| format!("{}: {error}", queries.display()))?;
    let dnsperf = Dnsperf::new(linux.packages(), &queries);
    let settings = settings(&command_line, prepared.image.seed.to_string());

    let machine = Machine::before();
    let port = Port {
        protocol: Protocol::Udp,
        number: 53,
    };
    let lab = prepared.start(arguments, vec![vec![port]; SYSTEMS.len()], progress)?;
    let meter = Meter::install(&lab)?;
    let mut guests = Vec::new();
    for (index, system) in SYSTEMS.into_iter().enumerate() {
        progress.say(format!("starting {}", system.name()));
        let name = system.guest_name();
        let guest = match system {
            System::Mirage => Guest::new(name, prepared.image.elf.clone())?,
            System::LinuxNsd => linux.guest(name, settings.memory_mib)?,
        };
        let installed = Installed::new(&lab, meter, guest, index)?;
        let watch = installed.watch(BOOT_LIMIT, 20);
        let run = installed.must_boot(settings.memory_mib, watch, true)?;
        let domain = run.boot.domain.ok_or("a guest without a domain")?;
        guests.push(Running {
            system,
            domain,
            server: server(&lab, installed.place().address)?,
        });
    }
    let mut bench = Bench {
        meter,
        dnsperf: &dnsperf,
        log: &log,
        progress,
        report: Report {
            definitions: DEFINITIONS.map(str::to_owned).to_vec(),
            versions: Versions::of(&lab, Some(&linux), &log)?,
            machine,
            settings,
            has_tap: lab.has_tap(),
            idle: Vec::new(),
            loads: Vec::new(),
            client: Vec::new(),
            figures: Vec::new(),
            goals: Vec::new(),
        },
    };
    bench.measure(&guests)?;
    let mut report = bench.report;
    report.versions.dnsperf = dnsperf.version();
    drop(lab);
    report.machine = report.machine.after();
    report.conclude();
    report.write(&output)?;
    report.print();
    println!("results in {}", output.display());
    Ok(())
}

/// Where a guest's port 53 is reached from the host.
fn server(lab: &Lab, address: Ipv4Addr) -> Result<SocketAddr, Error> {
    if lab.has_tap() {
        return Ok(SocketAddr::from((address, 53)));
    }
    let mut forwards = lab.forwards().iter();
    let forward = forwards
        .find(|forward| forward.address == address)
        .ok_or("the lab forwards no port to a guest")?;
    Ok(SocketAddr::from((Ipv4Addr::LOCALHOST, forward.local)))
}

/// A guest that answers.
#[derive(Clone, Copy)]
struct Running {
    system: System,
    domain: u32,
    server: SocketAddr,
}

struct Bench<'a> {
    meter: Meter<'a>,
    dnsperf: &'a Dnsperf<'a>,
    log: &'a Log,
    progress: Progress,
    report: Report,
}

impl Bench<'_> {
    fn measure(&mut self, guests: &[Running]) -> Result<(), Error> {
        let runs = self.report.settings.runs;
        let mut last = None;
        for (run, guest) in rounds::alternate(runs, guests) {
            if last != Some(run) {
                last = Some(run);
                self.say(run, "nobody asks");
                self.idle(run, guests)?;
                self.say(run, "the client alone");
                self.client(run)?;
            }
            for kind in [LoadKind::Steady, LoadKind::Saturation] {
                self.say(run, &format!("{}, {}", guest.system.name(), kind.name()));
                self.load(run, guest, kind)?;
            }
        }
        Ok(())
    }

    fn say(&self, run: usize, what: &str) {
        let runs = self.report.settings.runs;
        self.progress
            .say(format!("round {} of {runs}: {what}", run + 1));
    }

    /// What the guests take while nobody asks.
    fn idle(&mut self, run: usize, guests: &[Running]) -> Result<(), Error> {
        let before = self.meter.read()?;
        thread::sleep(Duration::from_secs(
            self.report.settings.idle_seconds.into(),
        ));
        let after = self.meter.read()?;
        for guest in guests {
            self.report.idle.push(IdleRow {
                system: guest.system,
                run,
                interval: after.since(&before, guest.domain)?,
            });
        }
        Ok(())
    }

    fn load(&mut self, run: usize, guest: Running, kind: LoadKind) -> Result<(), Error> {
        let load = match kind {
            LoadKind::Steady => self.report.settings.steady,
            LoadKind::Saturation => self.report.settings.saturation,
        };
        let before = self.meter.read()?;
        let outcome = self.dnsperf.run(guest.server, load, self.log)?;
        let after = self.meter.read()?;
        let took = |domain| -> Result<Interval, Error> { after.since(&before, domain) };
        self.report.loads.push(LoadRow {
            system: guest.system,
            run,
            kind,
            outcome: answered(outcome, guest.server)?,
            guest: took(guest.domain)?,
            dom0: took(0)?,
        });
        Ok(())
    }

    /// What comes of the same load if this host sends each query back: what the client can do.
    fn client(&mut self, run: usize) -> Result<(), Error> {
        let echo = Echo::start()?;
        let load = self.report.settings.saturation;
        let outcome = self.dnsperf.run(echo.address(), load, self.log)?;
        self.report.client.push(ClientRow {
            run,
            outcome: answered(outcome, echo.address())?,
        });
        Ok(())
    }
}

fn answered(outcome: Outcome, server: SocketAddr) -> Result<Outcome, Error> {
    if outcome.completed == 0 {
        return Err(format!("{server} answered none of {} queries", outcome.sent).into());
    }
    Ok(outcome)
}
