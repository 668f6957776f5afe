//! What went wrong, and whose fault it was.

use core::fmt;
use std::io;
use std::path::{Path, PathBuf};

use crate::workspace::Platform;

/// Whose turn it is to change something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The command line, or where it was given.
    Caller,
    /// This machine: a program that is missing, a right that is not there, a full disk.
    Machine,
    /// The project in the checkout: it does not build, or a file of it is not what it should be.
    Project,
    /// What is reached over the network.
    Network,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Caller => "the command line's",
            Self::Machine => "this machine's",
            Self::Project => "the project's, or of what was changed in it",
            Self::Network => "the network's, or of what is reached over it",
        })
    }
}

/// Every way in which the tool itself fails.
///
/// A program that it runs for the user and that fails is no error of the tool: its exit status is passed on.
#[derive(Debug)]
#[non_exhaustive]
pub enum Error {
    /// No folder from here upwards is a checkout.
    NotInCheckout {
        /// Where the search began.
        from: PathBuf,
    },
    /// The folder of `--source` is not a checkout.
    NotACheckout {
        /// That folder.
        path: PathBuf,
    },
    /// No appliance, benchmark or step has that name.
    Unknown {
        /// What was asked for: "appliance", "benchmark" or "step".
        kind: &'static str,
        /// The name that was given.
        name: String,
        /// The names there are.
        known: Vec<String>,
    },
    /// An argument of the command line can't be used.
    Argument {
        /// What is wrong with it.
        problem: String,
    },
    /// An author's own appliance is not enough for it.
    NeedsCheckout {
        /// The subcommand.
        what: &'static str,
        /// The appliance's folder.
        root: PathBuf,
    },
    /// The command line asks for what can't be.
    Arguments {
        /// What is wrong with it.
        reason: String,
    },
    /// The appliance has no main for a platform.
    NoMain {
        /// Its name.
        appliance: String,
        /// The platform.
        platform: Platform,
        /// Where the main was looked for.
        path: PathBuf,
    },
    /// A program could not be started.
    CannotStart {
        /// The program.
        program: String,
        /// What the system said.
        source: io::Error,
    },
    /// A program that prepares something failed.
    ProgramFailed {
        /// The command line.
        command: String,
        /// How it ended.
        status: String,
        /// The end of what it printed.
        output: String,
        /// Whose fault that is taken to be.
        fault: Fault,
    },
    /// What a program printed was not what it is documented to print.
    UnexpectedOutput {
        /// The command line.
        command: String,
        /// What was expected.
        expected: &'static str,
    },
    /// A file could not be read, written, made or removed.
    File {
        /// What was tried: "read", "write" …
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A file of the project is not what it should be.
    Content {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// A lab did not come up, or an appliance in it failed.
    Lab {
        /// What happened.
        reason: String,
        /// The end of what was printed by whoever failed.
        tail: Vec<String>,
        /// The file with everything that Xen, dom0 and the guests printed.
        log: PathBuf,
        /// Whose fault that is taken to be.
        fault: Fault,
    },
    /// This machine can't do it.
    Unsupported {
        /// What is missing, and what to do.
        reason: String,
    },
}

impl Error {
    /// Whose fault it was.
    pub fn fault(&self) -> Fault {
        match self {
            Self::NotInCheckout { .. }
            | Self::NotACheckout { .. }
            | Self::Argument { .. }
            | Self::NeedsCheckout { .. }
            | Self::Unknown { .. }
            | Self::Arguments { .. } => Fault::Caller,
            Self::NoMain { .. } | Self::Content { .. } => Fault::Project,
            Self::ProgramFailed { fault, .. } | Self::Lab { fault, .. } => *fault,
            Self::CannotStart { .. }
            | Self::UnexpectedOutput { .. }
            | Self::File { .. }
            | Self::Unsupported { .. } => Fault::Machine,
        }
    }

    /// For `map_err`: a file operation failed.
    pub fn file(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_path_buf();
        move |source| Self::File {
            action,
            path,
            source,
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotInCheckout { from } => write!(
                f,
                "{} is not inside a checkout of Mirage (a folder with a Cargo.toml and a folder `appliances`), nor inside an \
                 appliance of your own: change into one, name a checkout with --source DIR, or make an appliance with \
                 `cargo mirage new NAME`",
                from.display()
            ),
            Self::NotACheckout { path } => write!(
                f,
                "--source {}: not a checkout of Mirage (a folder with a Cargo.toml and a folder `appliances`)",
                path.display()
            ),
            Self::Argument { problem } => f.write_str(problem),
            Self::NeedsCheckout { what, root } => write!(
                f,
                "`{what}` is for a checkout of Mirage, and {} is an appliance of its own: change into a checkout, or name \
                 one with --source DIR",
                root.display()
            ),
            Self::Unknown { kind, name, known } if known.is_empty() => {
                write!(f, "no {kind} is called `{name}`; this checkout has none")
            }
            Self::Unknown { kind, name, known } => {
                write!(
                    f,
                    "no {kind} is called `{name}`; there are: {}",
                    known.join(", ")
                )
            }
            Self::NoMain {
                appliance,
                platform,
                path,
            } => {
                let platform = match platform {
                    Platform::Host => "a host",
                    Platform::Xen => "Xen",
                };
                write!(
                    f,
                    "the appliance `{appliance}` has no main for {platform}: {} does not exist",
                    path.display()
                )
            }
            Self::CannotStart { program, source } => {
                write!(f, "`{program}` could not be started: {source}")
            }
            Self::ProgramFailed {
                command,
                status,
                output,
                ..
            } => {
                write!(f, "`{command}` failed ({status})")?;
                for line in output.lines() {
                    write!(f, "\n  | {line}")?;
                }
                Ok(())
            }
            Self::UnexpectedOutput { command, expected } => {
                write!(f, "`{command}` did not print {expected}")
            }
            Self::File {
                action,
                path,
                source,
            } => write!(f, "could not {action} {}: {source}", path.display()),
            Self::Content { path, problem } => write!(f, "{}: {problem}", path.display()),
            Self::Lab {
                reason, tail, log, ..
            } => {
                f.write_str(reason)?;
                for line in tail {
                    write!(f, "\n  | {line}")?;
                }
                write!(f, "\n  the whole of it: {}", log.display())
            }
            Self::Arguments { reason } | Self::Unsupported { reason } => f.write_str(reason),
        }
    }
}

impl core::error::Error for Error {
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        match self {
            Self::CannotStart { source, .. } | Self::File { source, .. } => Some(source),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_name_is_the_callers_and_lists_what_there_is() {
        let error = Error::Unknown {
            kind: "appliance",
            name: "dsn".into(),
            known: vec!["dns".into(), "web".into()],
        };
        assert_eq!(error.fault(), Fault::Caller);
        assert_eq!(
            error.to_string(),
            "no appliance is called `dsn`; there are: dns, web"
        );
    }

    #[test]
    fn a_failed_program_shows_the_end_of_its_output() {
        let error = Error::ProgramFailed {
            command: "apt-get update".into(),
            status: "exit status: 100".into(),
            output: "E: one\nE: two".into(),
            fault: Fault::Network,
        };
        assert_eq!(
            error.to_string(),
            "`apt-get update` failed (exit status: 100)\n  | E: one\n  | E: two"
        );
        assert_eq!(error.fault(), Fault::Network);
    }
}
