//! What is wrong with a directory.

use std::io;

/// What is wrong with the directory of a store.
#[derive(Debug)]
#[non_exhaustive]
pub enum DirectoryError {
    /// The system refuses an operation: which, and why.
    System {
        /// What was to be done.
        operation: &'static str,
        /// The system's answer.
        error: io::Error,
    },
    /// Another process, or another store of this one, has the directory open.
    InUse,
    /// A batch that was interrupted can't be finished: its record is damaged. Whoever removes the file `.~journal` gives the batch
    /// up.
    DamagedJournal,
    /// The thread that makes changes is gone: it panicked, a fault in it.
    WorkerGone,
}

impl DirectoryError {
    pub(super) fn system(operation: &'static str) -> impl FnOnce(rustix::io::Errno) -> Self {
        move |error| Self::System {
            operation,
            error: error.into(),
        }
    }

    /// Whether the medium, or the user's part of it, has no room.
    pub(super) fn is_full(&self) -> bool {
        use rustix::io::Errno;
        let code = match self {
            Self::System { error, .. } => error.raw_os_error(),
            _ => None,
        };
        [Errno::NOSPC, Errno::DQUOT]
            .iter()
            .any(|errno| code == Some(errno.raw_os_error()))
    }
}

impl std::fmt::Display for DirectoryError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::System { operation, error } => write!(f, "can't {operation}: {error}"),
            Self::InUse => f.write_str("another process has the store's directory open"),
            Self::DamagedJournal => f.write_str(
                "the record of an interrupted batch (.~journal) is damaged; to give the batch up, remove it",
            ),
            Self::WorkerGone => f.write_str("the thread that makes changes is gone"),
        }
    }
}

impl std::error::Error for DirectoryError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::System { error, .. } => Some(error),
            _ => None,
        }
    }
}
