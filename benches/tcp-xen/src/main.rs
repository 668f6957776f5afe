//! Bulk TCP through netfront on a real Xen: our stack in a PVH guest, beside Linux as a PV guest; the other end is the host's TCP, both
//! in one run of one lab.
//!
//! Results go to `benches/tcp-xen/results/`: `tcp-xen.json` and `tcp-xen.svg`.

mod load;

use std::env;
use std::process::ExitCode;
use std::time::Duration;

use bench_common::report::{Error, Results};
use bench_lab::arguments::Arguments;
use bench_lab::comparison::{Report, Settings, Subject};
use bench_lab::laboratory::{Prepared, Progress};
use bench_lab::linux_guest::{LinuxGuest, Service};
use bench_lab::pair::{Pair, Side};
use cargo_mirage::build_command::Options;
use cargo_mirage::workspace::Workspace;
use clap::Parser;
use serde::{Deserialize, Serialize};
use tcp_probe::{SINK, SOURCE};

use crate::load::Load;

/// Bulk TCP through netfront, against Linux as a guest.
#[derive(Parser)]
#[command(version)]
struct CommandLine {
    #[command(flatten)]
    arguments: Arguments,
    /// How long each load lasts, in seconds.
    #[arg(long, default_value_t = 15)]
    seconds: u32,
    /// How long nothing is transferred, to see what the guests take then, in seconds.
    #[arg(long, default_value_t = 10)]
    idle_seconds: u32,
    /// Memory of either guest, in MiB.
    #[arg(long, default_value_t = 256)]
    memory: u32,
}

/// What is compared.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Tcp;

impl Subject for Tcp {
    const NAME: &'static str = "tcp-xen";
    const TITLE: &'static str = "Bulk TCP through netfront";
    const UNIT: &'static str = "MiB";
    const DEFINITIONS: &'static [&'static str] = &[
        "loads: in: the host sends for so long, and until the guest has taken all; out: the guest sends, and the host receives for so long, what is under way at the end left out; over so many connections at once.",
        "mirage: tcp-probe, which gives pages back as they come and sends pages as they are. linux: tcp-peer, which reads 128 KiB at a time and sends by sendfile(2). Either guest has its device's offloads.",
    ];
    const RATE: Option<f64> = Some(1.0);
    const TIME: Option<f64> = None;

    fn name_of(side: Side) -> &'static str {
        match side {
            Side::Mirage => "mirage tcp-probe (PVH)",
            Side::Linux => "Linux (PV)",
        }
    }

    fn note(settings: &Settings) -> String {
        format!(
            "{} MiB of memory each; netfront with its offloads",
            settings.memory_mib
        )
    }
}

fn main() -> ExitCode {
    match run(&CommandLine::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench-tcp-xen: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(command_line: &CommandLine) -> Result<(), Error> {
    let arguments = &command_line.arguments;
    let output = arguments.output(env!("CARGO_MANIFEST_DIR"));
    if arguments.draw {
        return Report::<Tcp>::read(&output)?.draw(&output);
    }
    let progress = Progress::default();
    let workspace = Workspace::find(None)?;
    let options = Options {
        again: arguments.quick,
        ..Options::default()
    };
    let prepared = Prepared::with_image(workspace, "tcp-probe", options, progress)?;
    let log = prepared.log("tcp-xen")?;
    // Built with this program, and beside it.
    let peer = env::current_exe()?.with_file_name("tcp-peer");
    let linux = LinuxGuest::prepare(
        &arguments.source(),
        &prepared.workspace,
        Service::Program(&peer),
        &log,
        |line| progress.say(line),
    )?;
    let seconds = |seconds: u32| match arguments.quick {
        true => seconds.min(2),
        false => seconds,
    };
    let settings = Settings {
        runs: arguments.runs(),
        seconds: seconds(command_line.seconds),
        idle_seconds: seconds(command_line.idle_seconds),
        memory_mib: command_line.memory,
        loads: Load::ALL.map(|load| load.to_string()).to_vec(),
        connections: None,
    };
    let duration = Duration::from_secs(settings.seconds.into());
    let pair = Pair {
        prepared: &prepared,
        linux: &linux,
        ports: &[SINK, SOURCE],
        packages: &[],
    };
    let report: Report<Tcp> =
        pair.measure(arguments, settings, &log, progress, |ports, load| {
            let load = Load::ALL.get(load).ok_or("no such load")?;
            let port = if load.sends { SINK } else { SOURCE };
            load.transfer(ports.at(port)?, duration)
        })?;
    report.write(&output)?;
    report.print();
    println!("results in {}", output.display());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is published in the repository is what this program writes.
    #[test]
    fn published_results_are_whole() {
        let folder = env!("CARGO_MANIFEST_DIR");
        let Some(results) = bench_common::report::published::<Report<Tcp>>(folder) else {
            return;
        };
        let runs = results.settings.runs;
        assert!(results.figures.iter().all(|row| row.guest_us.runs == runs));
    }
}
