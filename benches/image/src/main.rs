//! Bytes of each appliance's image, by crate and by section, beside what MirageOS published and a Linux guest.
//!
//! Results go to `benches/image/results/`: `image.json` and `image.svg`.

mod report;

use std::process::ExitCode;

use bench_common::machine::{self, Machine};
use bench_common::report::{Error, Results};
use bench_lab::arguments::Arguments;
use bench_lab::laboratory::{self, Progress};
use bench_lab::linux_guest::{LinuxGuest, Service};
use cargo_mirage::build_command::{self, Options};
use cargo_mirage::process::Log;
use cargo_mirage::workspace::Workspace;
use clap::Parser;

use crate::report::{DEFINITIONS, ImageRow, LinuxRow, Report};

/// Bytes of each appliance's image.
#[derive(Parser)]
#[command(version)]
struct CommandLine {
    #[command(flatten)]
    arguments: Arguments,
}

fn main() -> ExitCode {
    match run(&CommandLine::parse().arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench-image: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> Result<(), Error> {
    let output = arguments.output(env!("CARGO_MANIFEST_DIR"));
    if arguments.draw {
        return Report::read(&output)?.draw(&output);
    }
    let progress = Progress::default();
    let machine = Machine::before();
    let workspace = Workspace::find(None)?;
    let mut images = Vec::new();
    for name in workspace.appliances() {
        if workspace.xen_main(&name).is_err() {
            progress.say(format!("{name} has no main for Xen"));
            continue;
        }
        progress.say(format!("building the image of {name}"));
        let options = Options {
            again: arguments.quick,
            ..Options::default()
        };
        let product = build_command::build(&workspace, &name, options)?.into_product()?;
        images.push(ImageRow {
            appliance: name,
            seed: product.seed.to_string(),
            target: product.target.triple().to_owned(),
            headers_and_padding: product.report.headers_and_padding(),
            report: product.report,
        });
    }
    if images.is_empty() {
        return Err("no appliance has a main for Xen".into());
    }
    // The peer is fetched; a quick run shows that the rest works.
    let linux = if arguments.quick {
        None
    } else {
        Some(linux(arguments, &workspace, progress)?)
    };
    let report = Report {
        definitions: DEFINITIONS.map(str::to_owned).to_vec(),
        machine: machine.after(),
        rustc: machine::rustc_version(),
        goals: report::goals(&images),
        images,
        linux,
        published: report::published(),
    };
    report.write(&output)?;
    report.print();
    println!("results in {}", output.display());
    Ok(())
}

fn linux(
    arguments: &Arguments,
    workspace: &Workspace,
    progress: Progress,
) -> Result<LinuxRow, Error> {
    let log = Log::create(&laboratory::folder(workspace).join("image.log"))?;
    let guest = LinuxGuest::prepare(&arguments.source(), workspace, Service::Nsd, &log, |line| {
        progress.say(line)
    })?;
    Ok(LinuxRow {
        kernel_package: guest.kernel_version(),
        nsd_package: guest.version("nsd"),
        sizes: guest.sizes,
    })
}
