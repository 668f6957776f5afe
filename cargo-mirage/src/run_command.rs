//! `cargo mirage run`: builds an appliance's main for this host, and becomes it.

use std::ffi::OsStr;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

use serde::Deserialize;

use crate::cli::RunArguments;
use crate::error::{Error, Fault};
use crate::process;
use crate::workspace::{self, Workspace};

/// Runs the subcommand. If the appliance can be started this does not return: the process becomes the appliance, so
/// that Ctrl-C, the terminal and the exit status are its own.
///
/// # Errors
///
/// [`Error::Unknown`] and [`Error::NoMain`] for the name, and those of [`build`].
pub fn run(workspace: &Workspace, arguments: &RunArguments) -> Result<ExitCode, Error> {
    let name = arguments.appliance.as_deref();
    let Some(appliance) = name.or(workspace.own_appliance()) else {
        return Ok(list(workspace));
    };
    let manifest = workspace.host_main(appliance)?;
    let program = match build(workspace, &manifest)? {
        Built::Program(program) => program,
        Built::Failed(status) => {
            eprintln!("error: the appliance `{appliance}` does not build; cargo says why above");
            return Ok(ExitCode::from(status));
        }
    };
    log::debug!("running {}", program.display());
    let mut command = Command::new(&program);
    command.args(&arguments.arguments);
    workspace::clean_environment(&mut command);
    // The current folder is the user's: relative paths in the arguments stay right.
    let source = command.exec();
    Err(Error::CannotStart {
        program: program.display().to_string(),
        source,
    })
}

/// What came of building a program.
#[derive(Debug)]
pub enum Built {
    /// It is there.
    Program(PathBuf),
    /// Cargo failed with this exit status, and said why on the standard error.
    Failed(u8),
}

#[derive(Deserialize)]
struct Message {
    reason: String,
    executable: Option<PathBuf>,
    target: Option<MessageTarget>,
}

#[derive(Deserialize)]
struct MessageTarget {
    name: String,
}

/// Builds a package's program, optimised. Cargo shows its progress on the standard error.
///
/// # Errors
///
/// [`Error::CannotStart`] without cargo, [`Error::Content`] if the package has no program.
pub fn build(workspace: &Workspace, manifest: &Path) -> Result<Built, Error> {
    let how = ["--release", "--bins", "--manifest-path"];
    let how = [&how.map(OsStr::new)[..], &[manifest.as_ref()]].concat();
    built(workspace, manifest, &how, &[])
}

/// The environment in which [`build`] takes least time: for what has to show that it works, not how fast. (An image is not built so.)
pub const QUICKLY: [(&str, &str); 3] = [
    ("CARGO_PROFILE_RELEASE_OPT_LEVEL", "0"),
    ("CARGO_PROFILE_RELEASE_DEBUG", "0"),
    ("CARGO_PROFILE_RELEASE_LTO", "off"),
];

/// As [`build`], in the environment of [`QUICKLY`].
///
/// # Errors
///
/// Those of [`build`].
pub fn build_quickly(workspace: &Workspace, manifest: &Path) -> Result<Built, Error> {
    let how = ["--release", "--bins", "--manifest-path"];
    let how = [&how.map(OsStr::new)[..], &[manifest.as_ref()]].concat();
    built(workspace, manifest, &how, &QUICKLY)
}

/// Builds the program of a member of the workspace as the tests are built, unoptimised and with all features of all members: where they
/// were, there is little left to do. Cargo shows its progress on the standard error.
///
/// # Errors
///
/// [`Error::CannotStart`] without cargo, [`Error::Content`] if the package has no program.
pub fn build_with_the_tests(workspace: &Workspace, manifest: &Path) -> Result<Built, Error> {
    let package = workspace.package(manifest)?;
    let programs = package.targets.iter().filter(|target| target.is("bin"));
    let programs = programs.flat_map(|program| ["--bin", &program.name]);
    let how = ["--workspace", "--all-features"]
        .into_iter()
        .chain(programs);
    let how: Vec<_> = how.map(OsStr::new).collect();
    built(workspace, manifest, &how, &[])
}

fn built(
    workspace: &Workspace,
    manifest: &Path,
    how: &[&OsStr],
    environment: &[(&str, &str)],
) -> Result<Built, Error> {
    let mut command = workspace.cargo();
    command
        .args(["build", "--message-format", "json-render-diagnostics"])
        .args(how)
        .envs(environment.iter().copied())
        .stdin(Stdio::null())
        .stderr(Stdio::inherit());
    // A call that has nothing to do is silent; one that compiles says so.
    let output = command.output().map_err(|source| Error::CannotStart {
        program: "cargo".into(),
        source,
    })?;
    if !output.status.success() {
        return Ok(Built::Failed(process::exit_code(output.status)));
    }
    let package = workspace.package(manifest)?.name;
    program_in(&String::from_utf8_lossy(&output.stdout), &package)
        .map(Built::Program)
        .ok_or_else(|| Error::Content {
            path: manifest.to_path_buf(),
            problem: "the package has no program to run".into(),
        })
}

/// The program among cargo's messages: the one that is called like the package, else the first.
pub(crate) fn program_in(messages: &str, package: &str) -> Option<PathBuf> {
    let mut first = None;
    for line in messages.lines() {
        let Ok(message) = serde_json::from_str::<Message>(line) else {
            continue;
        };
        let (true, Some(executable)) = (message.reason == "compiler-artifact", message.executable)
        else {
            continue;
        };
        if message.target.is_some_and(|target| target.name == package) {
            return Some(executable);
        }
        first.get_or_insert(executable);
    }
    first
}

fn list(workspace: &Workspace) -> ExitCode {
    let names = workspace.appliances();
    if names.is_empty() {
        println!("This checkout has no appliances.");
        return ExitCode::SUCCESS;
    }
    println!("Appliances; `cargo mirage run NAME --help` says what each takes:");
    for name in names {
        let manifest = workspace
            .root()
            .join("appliances")
            .join(&name)
            .join("Cargo.toml");
        let description = description(&manifest).unwrap_or_default();
        println!("  {name:12} {description}");
    }
    ExitCode::SUCCESS
}

/// The description in a manifest; cargo would take a moment to tell it.
pub(crate) fn description(manifest: &Path) -> Option<String> {
    let text = std::fs::read_to_string(manifest).ok()?;
    let value = text
        .lines()
        .find_map(|line| line.strip_prefix("description = "))?;
    Some(value.trim().trim_matches('"').to_owned())
}

/// Runs a prepared command in our own process group, with our terminal, and gives its exit status.
///
/// # Errors
///
/// [`Error::CannotStart`].
pub(crate) fn status_of(mut command: Command) -> Result<u8, Error> {
    let program = command.get_program().to_string_lossy().into_owned();
    let status = command
        .status()
        .map_err(|source| Error::CannotStart { program, source })?;
    Ok(process::exit_code(status))
}

impl Built {
    /// The program, or an error for callers to whom a failed build is one.
    ///
    /// # Errors
    ///
    /// [`Error::ProgramFailed`].
    pub fn into_program(self) -> Result<PathBuf, Error> {
        match self {
            Self::Program(program) => Ok(program),
            Self::Failed(status) => Err(Error::ProgramFailed {
                command: "cargo build".into(),
                status: format!("exit status: {status}"),
                output: String::new(),
                fault: Fault::Project,
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_program_called_like_the_package_is_run() {
        let messages = concat!(
            r#"{"reason":"compiler-artifact","target":{"name":"log"},"executable":null}"#,
            "\n",
            r#"{"reason":"compiler-artifact","target":{"name":"aaa"},"executable":"/t/aaa"}"#,
            "\nnot json\n",
            r#"{"reason":"compiler-artifact","target":{"name":"dns-host"},"executable":"/t/dns-host"}"#,
            "\n",
            r#"{"reason":"build-finished","success":true}"#
        );
        assert_eq!(program_in(messages, "dns-host"), Some("/t/dns-host".into()));
        assert_eq!(program_in(messages, "other"), Some("/t/aaa".into()));
        assert_eq!(program_in("", "dns-host"), None);
    }

    #[test]
    fn description_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let manifest = folder.path().join("Cargo.toml");
        std::fs::write(
            &manifest,
            "[package]\nname = \"a\"\ndescription = \"A thing\"\n",
        )
        .unwrap();
        assert_eq!(description(&manifest).as_deref(), Some("A thing"));
        assert_eq!(description(&folder.path().join("none")), None);
    }
}
