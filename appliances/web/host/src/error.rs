//! What keeps the appliance from serving, and what to do about it.

use std::fmt;
use std::path::PathBuf;
use std::process::ExitCode;

use mirage_http::site_compiler::SiteError;

/// What keeps the appliance from serving.
#[derive(Debug)]
pub(crate) enum Failure {
    /// A file of the site is wrong.
    Site(SiteError),
    /// The site has a folder where the appliance shows itself.
    Shadowed(PathBuf),
    /// What any appliance may meet on a host.
    Host(appliance_host::Failure),
}

impl Failure {
    /// The exit status: 2 where the command line or the site is wrong, 1 where the system refused.
    pub(crate) fn status(&self) -> ExitCode {
        match self {
            Self::Site(_) | Self::Shadowed(_) => ExitCode::from(2),
            Self::Host(failure) => failure.status(),
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Site(error) => write!(f, "{error}\nthe site can't be served: correct this"),
            Self::Shadowed(folder) => write!(
                f,
                "{}: the appliance shows itself at /_mirage/, and nothing in there would be served: give the folder another name, or start \
                 with --no-live-page",
                folder.display()
            ),
            Self::Host(failure) => failure.fmt(f),
        }
    }
}

impl std::error::Error for Failure {}

impl<E: Into<appliance_host::Failure>> From<E> for Failure {
    fn from(error: E) -> Self {
        Self::Host(error.into())
    }
}
