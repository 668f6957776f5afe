//! What keeps the appliance from serving, and what to do about it.

use std::fmt;
use std::path::PathBuf;
use std::process::ExitCode;

use mirage_dns::zone_compiler::Diagnostics;

/// What keeps the appliance from serving.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The zones are wrong, each with file, line and column.
    Zones(Diagnostics),
    /// The image of the zones does not pass its check: our fault.
    Image(mirage_dns::zone_set::ImageError),
    /// What any appliance may meet on a host.
    Host(appliance_host::Failure),
    /// The command line asks for what can't be.
    Arguments(String),
    /// A file of keys can't be read, or is none.
    Keys(PathBuf, String),
    /// What is kept of the zones can't be used.
    State(PathBuf, String),
}

impl Failure {
    /// The exit status: 2 where the command line or a zone is wrong, 1 where the system refused.
    pub(crate) fn status(&self) -> ExitCode {
        match self {
            Self::Zones(_) | Self::Arguments(_) | Self::Keys(..) => ExitCode::from(2),
            Self::Host(failure) => failure.status(),
            _ => ExitCode::FAILURE,
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            // One line for each, as a compiler's; an editor can jump there.
            Self::Zones(diagnostics) => {
                write!(
                    f,
                    "{diagnostics}the zones can't be served: correct what is said above"
                )
            }
            Self::Image(error) => write!(f, "the compiled zones can't be read: {error}"),
            Self::Host(failure) => failure.fmt(f),
            Self::Arguments(reason) => f.write_str(reason),
            Self::Keys(path, reason) => {
                write!(
                    f,
                    "the keys can't be read from {}: {reason}",
                    path.display()
                )
            }
            Self::State(path, reason) => {
                write!(f, "the zones can't be kept in {}: {reason}", path.display())
            }
        }
    }
}

impl std::error::Error for Failure {}

impl<E: Into<appliance_host::Failure>> From<E> for Failure {
    fn from(error: E) -> Self {
        Self::Host(error.into())
    }
}
