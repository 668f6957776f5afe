//! `cargo mirage lab`: runs appliances on a real Xen until they end, Ctrl-C, or the end of a command.

mod guests;
mod session;

use std::env;
use std::io::{self, IsTerminal, Read, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

use crate::cli::LabArguments;
use crate::error::Error;
use crate::lab::channel::Event;
use crate::lab::guest::Guest;
use crate::lab::packages::{self, Source};
use crate::lab::{Lab, Options, control, run_folder};
use crate::process;
use crate::workspace::Workspace;

use guests::{Guests, guests};
use session::{Known, Session};

/// The variable that names the control socket of the lab that runs.
const MIRAGE_LAB: &str = "MIRAGE_LAB";

/// Runs the subcommand.
///
/// # Errors
///
/// [`Error::Lab`] if the lab does not come up, or an appliance crashes while nobody's command runs; and those of its
/// parts.
pub fn run(
    workspace: Result<Workspace, Error>,
    arguments: &LabArguments,
) -> Result<ExitCode, Error> {
    if arguments.list_packages {
        for name in packages::DOM0
            .iter()
            .chain(packages::QEMU)
            .chain(packages::NETWORK)
        {
            println!("{name}");
        }
        return Ok(ExitCode::SUCCESS);
    }
    if let Some(command) = &arguments.dom0 {
        return in_dom0(workspace, command);
    }
    let workspace = workspace?;
    let guests = match guests(&workspace, arguments)? {
        Guests::Built(guests) => guests,
        Guests::Failed(status) => return Ok(ExitCode::from(status)),
    };
    let signals = process::watch_signals()?;
    let mut options = Options::new(&workspace.target());
    options.refresh = arguments.refresh;
    options.memory = arguments.machine_memory;
    options.cpu_features.clone_from(&arguments.cpu_features);
    options.subnet = arguments.network;
    options.user_network = arguments.user_network;
    options.ports = guests.iter().map(|guest| guest.ports.clone()).collect();
    options.snapshot = !arguments.cold;
    options.seeds = !arguments.no_seed;
    options.show_consoles = arguments.console;
    if let Some(folder) = &arguments.packages {
        options.source = Source::Folder(folder.clone());
    }
    // What guests say would be written over a bar.
    let progress = if arguments.console {
        ProgressBar::hidden()
    } else {
        progress_bar()
    };
    let started = start(&options, &guests, arguments, &progress);
    progress.finish_and_clear();
    let session = started?;
    signals.take();
    let status = match &arguments.exec {
        Some(command) => session.execute(command, &signals)?,
        None => session.wait(&signals)?,
    };
    Ok(ExitCode::from(status))
}

/// Runs a command in the dom0 of a lab that runs.
fn in_dom0(workspace: Result<Workspace, Error>, command: &str) -> Result<ExitCode, Error> {
    let socket = match env::var_os(MIRAGE_LAB) {
        Some(path) => PathBuf::from(path),
        None => {
            let target = workspace?.target();
            let mut running = run_folder::running(&target.join("lab"));
            match (running.pop(), running.len()) {
                (Some(socket), 0) => socket,
                (None, _) => {
                    return Err(Error::Arguments {
                        reason: format!(
                            "no lab runs below {}: start one with `cargo mirage lab APPLIANCE`",
                            target.display()
                        ),
                    });
                }
                (Some(last), _) => {
                    running.push(last);
                    let names: Vec<String> = running
                        .iter()
                        .map(|path| path.display().to_string())
                        .collect();
                    return Err(Error::Arguments {
                        reason: format!(
                            "several labs run: say which by {MIRAGE_LAB}={}",
                            names.join(" or ")
                        ),
                    });
                }
            }
        }
    };
    let mut input = Vec::new();
    if !io::stdin().is_terminal() {
        let path = Path::new("the standard input");
        io::stdin()
            .read_to_end(&mut input)
            .map_err(Error::file("read", path))?;
    }
    let status = control::ask(&socket, command, &input, |event| match event {
        Event::Out(bytes) => {
            let mut out = io::stdout().lock();
            out.write_all(bytes)?;
            out.flush()
        }
        Event::Err(bytes) => io::stderr().lock().write_all(bytes),
        Event::End(_) => Ok(()),
    })?;
    Ok(ExitCode::from(status))
}

fn wrong(reason: String) -> Error {
    Error::Arguments { reason }
}

/// Starts the lab and its guests.
fn start(
    options: &Options,
    guests: &[Guest],
    arguments: &LabArguments,
    progress: &ProgressBar,
) -> Result<Session, Error> {
    let say = |line: &str| {
        log::info!("{line}");
        progress.set_message(line.trim().to_owned());
    };
    let lab = Lab::start(options, say)?;
    let mut session = Session {
        lab,
        guests: Vec::new(),
    };
    for guest in guests {
        say(&format!("creating {}", guest.name));
        let place = session.lab.create(guest)?;
        session.guests.push(Known::new(guest, place));
    }
    if arguments.exec.is_some() && !arguments.no_wait {
        for guest in guests {
            say(&format!("waiting for {} to be ready", guest.name));
            let limit = Duration::from_secs(arguments.ready_within);
            session.lab.wait_until_ready(&guest.name, limit)?;
        }
    }
    Ok(session)
}

fn progress_bar() -> ProgressBar {
    if !io::stderr().is_terminal() || env::var_os("CI").is_some() {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::new_spinner();
    if let Ok(style) = ProgressStyle::with_template("{spinner} {elapsed:>4}  {wide_msg}") {
        bar.set_style(style);
    }
    bar.enable_steady_tick(Duration::from_millis(120));
    bar
}
