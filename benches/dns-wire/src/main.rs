//! DNS on the wire: ours by AF_XDP, on a tap and with sockets, beside NSD and Knot with sockets, and a null responder; each at the
//! other end of a pair of interfaces of its own, all of one kind, asked by dnsperf and kxdpgun in turns.
//!
//! Results go to `benches/dns-wire/results/`: `dns-wire.json` and `dns-wire.svg`.

mod generators;
mod measure;
mod network;
mod null_responder;
mod report;
mod servers;
mod zone;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::thread;
use std::time::Duration;

use bench_common::machine::{Machine, rustc_version};
use bench_common::report::{Error, Results};
use bench_common::rounds;
use cargo_mirage::run_command;
use cargo_mirage::workspace::Workspace;
use clap::{Parser, Subcommand};
use network_namespace::Namespace;

use crate::generators::{Generator, Generators, Load};
use crate::report::{DEFINITIONS, LoadRow, Report, Settings, Versions, published};
use crate::servers::{Peer, Programs, Server, debian_program};

/// DNS on the wire, against NSD and Knot.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    #[command(subcommand)]
    child: Option<Child>,
    /// Numbers of names in the zone, with commas between.
    #[arg(long, value_delimiter = ',', default_values_t = [100, 1_000, 10_000, 100_000])]
    sizes: Vec<usize>,
    /// The size at which steady loads are measured.
    #[arg(long, default_value_t = 10_000)]
    steady_size: usize,
    /// Queries a second that are offered as steady loads, with commas between.
    #[arg(long, value_delimiter = ',', default_values_t = [20_000, 40_000])]
    rates: Vec<u32>,
    /// How long a steady load lasts, in seconds.
    #[arg(long, default_value_t = 10)]
    steady_seconds: u32,
    /// How long as many queries are asked as are answered, in seconds.
    #[arg(long, default_value_t = 4)]
    saturation_seconds: u32,
    /// How many of them may wait for their answers at once (dnsperf).
    #[arg(long, default_value_t = 100)]
    outstanding: u32,
    /// Queries a second that kxdpgun offers to saturate, with commas between.
    #[arg(long, value_delimiter = ',', default_values_t = [100_000, 200_000, 400_000])]
    offers: Vec<u32>,
    /// How many queries there are in the generators' files, drawn at random.
    #[arg(long, default_value_t = 200_000)]
    queries: usize,
    /// Seed of the queries.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// How often each is measured, in turns; the medians are shown, all runs are in the JSON.
    #[arg(long, default_value_t = 5)]
    runs: usize,
    /// Only these, with commas between: null, xdp, xdp-memo, tap, sockets, nsd, nsd-offload, knot.
    #[arg(long, value_delimiter = ',', value_enum)]
    peers: Vec<Peer>,
    /// One short run at one size, to see that it works. The figures mean nothing.
    #[arg(long)]
    quick: bool,
    /// Measures the steady loads alone, with the settings of the results that are there, and puts them in the place of theirs.
    #[arg(long, conflicts_with = "quick")]
    steady: bool,
    /// Measures nothing: concludes and draws again, from the loads that are there.
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
    /// The null responder on an interface.
    NullResponder {
        /// Its name.
        interface: String,
    },
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let result = match &arguments.child {
        Some(Child::NullResponder { interface }) => null_responder::run(interface),
        None => run(arguments),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench-dns-wire: {error}");
            ExitCode::FAILURE
        }
    }
}

fn settings(arguments: Arguments) -> Settings {
    let quick = arguments.quick;
    let seconds = |seconds: u32| if quick { 1 } else { seconds };
    let (sizes, steady_size) = if quick {
        (vec![100], 100)
    } else {
        (arguments.sizes, arguments.steady_size)
    };
    Settings {
        runs: if quick { 1 } else { arguments.runs.max(1) },
        sizes,
        steady_size,
        rates: arguments.rates,
        offers: if quick {
            vec![100_000]
        } else {
            arguments.offers
        },
        steady_seconds: seconds(arguments.steady_seconds),
        saturation_seconds: seconds(arguments.saturation_seconds),
        outstanding: arguments.outstanding,
        queries: arguments.queries,
        seed: arguments.seed,
        peers: if arguments.peers.is_empty() {
            Peer::ALL.to_vec()
        } else {
            arguments.peers
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
    let (output, quick) = (arguments.output.clone(), arguments.quick);
    let earlier = match arguments.steady {
        true => Some(Report::read(&output)?),
        false => None,
    };
    let settings = match &earlier {
        Some(earlier) => earlier.settings.clone(),
        None => settings(arguments),
    };
    let workspace = Workspace::find(Some(Path::new(concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../.."
    ))))?;
    let manifest = workspace.host_main("dns")?;
    let mirage = match quick {
        true => run_command::build_quickly(&workspace, &manifest)?,
        false => run_command::build(&workspace, &manifest)?,
    };
    let programs = Programs {
        this: std::env::current_exe()?,
        mirage: mirage.into_program()?,
        nsd: debian_program("nsd", "nsd")?,
        knot: debian_program("knotd", "knot")?,
    };
    let generators = Generators::find()?;
    let versions = versions(&programs, &generators);
    let machine = Machine::before();
    // From here on this thread, and what it starts, is the clients' network.
    network::enter()?;
    let mut bench = Bench {
        namespace: Namespace::new()?,
        folder: tempfile::tempdir()?,
        programs,
        generators,
        report: Report {
            definitions: DEFINITIONS.map(str::to_owned).to_vec(),
            versions,
            machine,
            steady_machine: None,
            settings,
            published: published(),
            loads: Vec::new(),
            figures: Vec::new(),
            goals: Vec::new(),
        },
    };
    let mut sizes = match &earlier {
        Some(_) => Vec::new(),
        None => bench.report.settings.sizes.clone(),
    };
    if !sizes.contains(&bench.report.settings.steady_size) {
        sizes.push(bench.report.settings.steady_size);
    }
    for names in sizes {
        bench.size(names, earlier.is_none())?;
    }
    let mut report = bench.report;
    report.machine = report.machine.after();
    if let Some(earlier) = earlier {
        report = earlier.with_steady_of(report)?;
    }
    report.conclude();
    report.write(&output)?;
    report.print();
    println!("results in {}", output.display());
    Ok(())
}

fn versions(programs: &Programs, generators: &Generators) -> Versions {
    let said = |program: &Path, argument: &str| {
        let output = Command::new(program).arg(argument).output();
        let output = output.map(|output| [output.stdout, output.stderr].concat());
        let text = String::from_utf8_lossy(&output.unwrap_or_default()).into_owned();
        text.lines().next().unwrap_or_default().trim().to_owned()
    };
    let (dnsperf, kxdpgun) = generators.versions();
    Versions {
        mirage: env!("CARGO_PKG_VERSION").into(),
        rustc: rustc_version(),
        nsd: said(&programs.nsd, "-v"),
        knot: said(&programs.knot, "-V"),
        dnsperf,
        kxdpgun,
    }
}

/// How often a load is made again during which the host took much away.
const REPETITIONS: u32 = 4;
/// And after how long: what disturbs it may be over.
const PAUSE: Duration = Duration::from_secs(5);

struct Bench {
    namespace: Namespace,
    /// The servers' files.
    folder: tempfile::TempDir,
    programs: Programs,
    generators: Generators,
    report: Report,
}

impl Bench {
    /// Everything at one size of the zone, or the steady loads alone.
    fn size(&mut self, names: usize, saturation: bool) -> Result<(), Error> {
        let settings = self.report.settings.clone();
        let folder = self.folder.path().join(names.to_string());
        fs::create_dir_all(&folder)?;
        let (zone, queries) = (folder.join("zone"), folder.join("queries"));
        fs::write(&zone, zone::master_file(names))?;
        fs::write(
            &queries,
            zone::queries(names, settings.queries, settings.seed),
        )?;
        eprintln!("zone of {names} names: starting the servers");
        let mut servers = Vec::new();
        for &peer in &settings.peers {
            let own = folder.join(format!("{peer:?}"));
            servers.push(Server::start(
                peer,
                &self.programs,
                &zone,
                &own,
                &self.namespace,
            )?);
        }
        for (run, index) in
            rounds::alternate(settings.runs, &(0..servers.len()).collect::<Vec<_>>())
        {
            let Some(server) = servers.get(index) else {
                continue;
            };
            for load in loads(&settings, names, saturation) {
                self.load(run, server, names, load, &queries)?;
            }
        }
        Ok(())
    }

    fn load(
        &mut self,
        run: usize,
        server: &Server,
        names: usize,
        load: Load,
        queries: &Path,
    ) -> Result<(), Error> {
        let processors = self.report.machine.processors;
        let pair = server.peer.pair();
        let mut repeated = 0;
        loop {
            let (outcome, taken) =
                self.generators
                    .run(load, pair, queries, server.process(), processors)?;
            let row = LoadRow {
                peer: server.peer,
                names,
                run,
                load,
                outcome,
                window_seconds: taken.seconds,
                busy_seconds: taken.busy,
                stolen_seconds: taken.stolen,
                server_seconds: taken.server,
                client_seconds: taken.client,
                repeated,
            };
            eprintln!("round {}: {names} names, {row}", run + 1);
            if repeated == REPETITIONS || !row.is_disturbed(processors) {
                self.report.loads.push(row);
                return Ok(());
            }
            eprintln!("the host took {:.1} s away: again", row.stolen_seconds);
            repeated += 1;
            thread::sleep(PAUSE);
        }
    }
}

/// All that a server is asked at one size, in order; with or without saturation.
fn loads(settings: &Settings, names: usize, saturation: bool) -> Vec<Load> {
    let mut loads = Vec::new();
    let load = |generator, queries_per_second, seconds| Load {
        generator,
        queries_per_second,
        seconds,
        outstanding: settings.outstanding,
    };
    if names == settings.steady_size {
        for &rate in &settings.rates {
            loads.push(load(
                Generator::Dnsperf,
                Some(rate),
                settings.steady_seconds,
            ));
        }
    }
    if saturation && settings.sizes.contains(&names) {
        loads.push(load(Generator::Dnsperf, None, settings.saturation_seconds));
        for &offer in &settings.offers {
            let seconds = settings.saturation_seconds;
            loads.push(load(Generator::Kxdpgun, Some(offer), seconds));
        }
    }
    loads
}
