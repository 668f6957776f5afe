//! A page of 1 kB on a real Xen: the web appliance as a PVH guest, beside nginx on Linux as a PV guest, asked by wrk from the host,
//! both in one run of one lab.
//!
//! Results go to `benches/web-xen/results/`: `web-xen.json` and `web-xen.svg`.

use core::net::SocketAddr;
use std::ffi::OsStr;
use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Command, ExitCode};
use std::time::Duration;

use bench_common::report::{Error, Results};
use bench_common::wrk;
use bench_lab::arguments::Arguments;
use bench_lab::comparison::{Counted, Report, Settings, Subject};
use bench_lab::laboratory::{Prepared, Progress, folder};
use bench_lab::linux_guest::{LinuxGuest, Service};
use bench_lab::pair::{Pair, Side};
use cargo_mirage::build_command::Options;
use cargo_mirage::debian;
use cargo_mirage::lab::packages::Packages;
use cargo_mirage::process::{Log, Task};
use cargo_mirage::workspace::Workspace;
use clap::Parser;
use serde::{Deserialize, Serialize};

/// A page of 1 kB, against nginx.
#[derive(Parser)]
#[command(version)]
struct CommandLine {
    #[command(flatten)]
    arguments: Arguments,
    /// How long each load lasts, in seconds.
    #[arg(long, default_value_t = 20)]
    seconds: u32,
    /// Connections at a time.
    #[arg(long, default_value_t = 16)]
    connections: usize,
    /// How long nobody asks, to see what the guests take then, in seconds.
    #[arg(long, default_value_t = 10)]
    idle_seconds: u32,
    /// Memory of either guest, in MiB.
    #[arg(long, default_value_t = 256)]
    memory: u32,
}

/// What is compared.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Web;

impl Subject for Web {
    const NAME: &'static str = "web-xen";
    const TITLE: &'static str = "A page of 1 kB, through netfront";
    const UNIT: &'static str = "request";
    const DEFINITIONS: &'static [&'static str] = &[
        "loads: wrk on the host asks one guest for a page of 1,024 octets, as often as it is answered; over connections that are kept, and over one for each request.",
        "linux: Debian's nginx with one worker, no log, sendfile, and its files kept open; nothing else in the guest. No response is compressed.",
        "errors: connections that failed, and responses that were none, by wrk's count.",
    ];
    const RATE: Option<f64> = None;
    const TIME: Option<f64> = Some(0.2);

    fn name_of(side: Side) -> &'static str {
        match side {
            Side::Mirage => "mirage web (PVH)",
            Side::Linux => "Linux with nginx (PV)",
        }
    }

    fn note(settings: &Settings) -> String {
        let connections = settings.connections.unwrap_or_default();
        format!("wrk with one thread and {connections} connections at a time")
    }
}

/// In the order of [`Settings::loads`]: whether connections are kept.
const LOADS: [(&str, bool); 2] = [
    ("connections kept", true),
    ("a connection for each request", false),
];

/// The port of HTTP.
const PORT: u16 = 80;

/// Octets of the page.
const LENGTH: usize = 1_024;

fn main() -> ExitCode {
    match run(&CommandLine::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench-web-xen: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(command_line: &CommandLine) -> Result<(), Error> {
    let arguments = &command_line.arguments;
    let output = arguments.output(env!("CARGO_MANIFEST_DIR"));
    if arguments.draw {
        return Report::<Web>::read(&output)?.draw(&output);
    }
    let progress = Progress::default();
    let workspace = Workspace::find(None)?;
    let page = page();
    let site = site(&workspace, &page)?;
    let options = Options {
        variables: &[("MIRAGE_WEB_SITE", site.as_ref() as &OsStr)],
        file_name: Some("web-of-1-kb"),
        again: arguments.quick,
        ..Options::default()
    };
    let prepared = Prepared::with_image(workspace, "web", options, progress)?;
    let log = prepared.log("web-xen")?;
    let linux = LinuxGuest::prepare(
        &arguments.source(),
        &prepared.workspace,
        Service::Nginx(page.as_bytes()),
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
        loads: LOADS.map(|(name, _)| name.to_owned()).to_vec(),
        connections: Some(command_line.connections),
    };
    let wrk = Wrk {
        packages: linux.packages(),
        connections: command_line.connections,
        seconds: settings.seconds,
        log: &log,
    };
    let pair = Pair {
        prepared: &prepared,
        linux: &linux,
        ports: &[PORT],
        packages: &["nginx", "wrk"],
    };
    let report: Report<Web> =
        pair.measure(arguments, settings, &log, progress, |ports, load| {
            let server = ports.at(PORT)?;
            answers(server, &page)?;
            wrk.ask(server, LOADS.get(load).is_some_and(|(_, kept)| *kept))
        })?;
    report.write(&output)?;
    report.print();
    println!("results in {}", output.display());
    Ok(())
}

/// The page.
fn page() -> String {
    let (head, tail) = ("<!DOCTYPE html><title>1 kB</title><p>", "</p>\n");
    let dots = ".".repeat(LENGTH - head.len() - tail.len());
    format!("{head}{dots}{tail}")
}

/// A site that is this page.
fn site(workspace: &Workspace, page: &str) -> Result<PathBuf, Error> {
    let site = folder(workspace).join("site-of-1-kb");
    fs::create_dir_all(&site).map_err(|error| format!("{}: {error}", site.display()))?;
    let path = site.join("index.html");
    // Cargo goes by its time.
    if !fs::read(&path).is_ok_and(|found| found == page.as_bytes()) {
        fs::write(&path, page).map_err(|error| format!("{}: {error}", path.display()))?;
    }
    Ok(site)
}

/// Asks once, and looks at the answer.
fn answers(server: SocketAddr, page: &str) -> Result<(), Error> {
    let limit = Duration::from_secs(30);
    let mut stream = TcpStream::connect_timeout(&server, limit)?;
    stream.set_read_timeout(Some(limit))?;
    stream.write_all(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    if answer.starts_with("HTTP/1.1 200 ") && answer.ends_with(&format!("\r\n\r\n{page}")) {
        Ok(())
    } else {
        Err(format!("{server} answers otherwise:\n{answer}").into())
    }
}

/// The client.
struct Wrk<'a> {
    packages: &'a Packages,
    connections: usize,
    seconds: u32,
    log: &'a Log,
}

impl Wrk<'_> {
    fn ask(&self, server: SocketAddr, kept: bool) -> Result<Counted, Error> {
        let mut command = match debian::find_program("wrk") {
            Some(program) => Command::new(program),
            None => self.packages.command(&self.packages.program("wrk")?)?,
        };
        let seconds = self.seconds;
        command
            .args(["--threads", "1", "--timeout", "10s"])
            .args(["--connections", &self.connections.to_string()])
            .args(["--duration", &format!("{seconds}s")]);
        if !kept {
            command.args(["--header", "Connection: close"]);
        }
        command.arg(format!("http://{server}/"));
        let limit = Duration::from_secs(u64::from(seconds) + 60);
        let finished = Task::new(command, limit).run(self.log, |_| {})?;
        if !finished.success() {
            let said = finished.output.trim();
            return Err(format!("wrk: {}: {said}", finished.how()).into());
        }
        let summary = wrk::parse(&finished.output)?;
        Ok(Counted {
            count: summary.requests as f64,
            seconds: summary.requests as f64 / summary.per_second,
            errors: summary.errors,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_has_1_kb() {
        assert_eq!(page().len(), LENGTH);
    }

    /// What is published in the repository is what this program writes.
    #[test]
    fn published_results_are_whole() {
        let folder = env!("CARGO_MANIFEST_DIR");
        let Some(results) = bench_common::report::published::<Report<Web>>(folder) else {
            return;
        };
        let runs = results.settings.runs;
        assert!(results.figures.iter().all(|row| row.guest_us.runs == runs));
    }
}
