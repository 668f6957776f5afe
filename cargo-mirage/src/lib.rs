//! The tool of the Mirage library operating system: run, test and measure appliances.
//!
//! It is used as `cargo mirage …`. Inside the repository that is an alias which runs this crate from source; elsewhere
//! `cargo install cargo-mirage` puts the program where cargo finds it.
//!
//! | command | what it does | module |
//! | --- | --- | --- |
//! | `cargo mirage new NAME` | writes an appliance of the author's own, outside a checkout | [`new_command`] |
//! | `cargo mirage run APPLIANCE …` | builds the appliance's host main and becomes it | [`run_command`] |
//! | `cargo mirage build APPLIANCE …` | builds the appliance's image for Xen, checks it, and says what its bytes are | [`build_command`] |
//! | `cargo mirage lab APPLIANCE …` | runs appliances on a real Xen, in a machine that QEMU emulates | [`lab`] |
//! | `cargo mirage test` | sets itself up, runs every check, says what passed | [`test_command`] |
//! | `cargo mirage bench NAME …` | runs a benchmark beside its peer, writes JSON and SVG | [`bench_command`] |
//!
//! The modules below them are for other tools as well:
//!
//! | type | what it is |
//! | --- | --- |
//! | [`workspace::Workspace`] | a checkout: its appliances, benchmarks and published crates; or an author's own appliance |
//! | [`build_command::image`] | an image's ELF file: whether it may be booted, and its bytes by section and crate |
//! | [`process::Task`] | a child process with a time limit, a log, and no survivors |
//! | [`lab::Lab`] | a lab: a real Xen with a dom0 and guests, in a machine that QEMU emulates |
//! | [`debian::Cache`] | Debian packages, unpacked in a folder, installed nowhere |
//! | [`error::Error`] | what went wrong, and whose fault it was |

#![forbid(unsafe_code)]

#[cfg(not(unix))]
compile_error!("cargo-mirage runs on Unix systems: appliances run as processes there, or on Xen");

pub mod bench_command;
pub mod build_command;
pub mod cli;
pub mod debian;
pub mod error;
pub mod lab;
pub mod new_command;
pub mod process;
pub mod run_command;
pub mod test_command;
pub mod workspace;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::Parser;

use crate::cli::{Arguments, Command};
use crate::error::Error;

/// Runs the tool with a command line, program name first, and gives the exit status for the process.
///
/// The status of a program that was run on the user's behalf is passed on; an error of our own is 1, an unusable command
/// line 2 (as clap has it).
pub fn main(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let arguments = cli::without_subcommand_name(arguments);
    let arguments = match Arguments::try_parse_from(arguments) {
        Ok(arguments) => arguments,
        Err(refusal) => {
            // `--help` and `--version` come this way too, with status 0. A closed pipe is no reason to say more.
            let _ = refusal.print();
            return ExitCode::from(u8::try_from(refusal.exit_code()).unwrap_or(2));
        }
    };
    let filter = if arguments.verbose { "debug" } else { "warn" };
    env_logger::Builder::from_env(env_logger::Env::default().default_filter_or(filter)).init();
    match run(&arguments) {
        Ok(status) => status,
        Err(error) => {
            eprintln!("error: {error}");
            eprintln!("  whose fault: {}", error.fault());
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> Result<ExitCode, Error> {
    let source = arguments.source.as_deref();
    let workspace = workspace::Workspace::find(source);
    match &arguments.command {
        // What it makes is outside of any checkout.
        Command::New(new) => new_command::run(source, new),
        Command::Run(run) => run_command::run(&workspace?, run),
        Command::Build(build) => build_command::run(&workspace?, build),
        // A command in a lab that runs needs no checkout.
        Command::Lab(lab) => lab::command::run(workspace, lab),
        Command::Test(test) => {
            let workspace = workspace?;
            workspace.must_be_checkout("test")?;
            test_command::run(&workspace, test)
        }
        Command::Bench(bench) => {
            let workspace = workspace?;
            workspace.must_be_checkout("bench")?;
            bench_command::run(&workspace, bench)
        }
    }
}
