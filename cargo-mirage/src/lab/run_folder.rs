//! The folders of single labs: `lab/1`, `lab/2` …, each with its log and, while it runs, its control socket.

use std::fs;
use std::io;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use crate::error::Error;
use crate::lab::{control, machine, snapshot};

/// How many folders of labs that have ended are kept.
const KEPT: usize = 16;

/// The name of the control socket in a folder.
const CONTROL: &str = "control";

/// The folder of one lab.
#[derive(Debug)]
pub struct RunFolder {
    path: PathBuf,
}

impl RunFolder {
    /// Makes the next one, and removes the oldest of those whose labs have ended.
    ///
    /// # Errors
    ///
    /// [`Error::File`].
    pub fn create(home: &Path) -> Result<Self, Error> {
        fs::create_dir_all(home).map_err(Error::file("make", home))?;
        let mut numbers = numbers(home);
        let mut next = numbers.last().map_or(1, |last| last + 1);
        let path = loop {
            let path = home.join(next.to_string());
            match fs::create_dir(&path) {
                Ok(()) => break path,
                // Another lab starts just now.
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => next += 1,
                Err(error) => return Err(Error::file("make", &path)(error)),
            }
        };
        numbers.truncate(numbers.len().saturating_sub(KEPT));
        for number in numbers {
            let old = home.join(number.to_string());
            if !is_alive(&old) {
                // It may be another user's; the log of this lab is what counts.
                let _ = fs::remove_dir_all(&old);
            }
        }
        Ok(Self { path })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The lab's log.
    pub fn log(&self) -> PathBuf {
        self.path.join("lab.log")
    }

    /// The lab's control socket.
    pub fn control(&self) -> PathBuf {
        self.path.join(CONTROL)
    }
}

impl Drop for RunFolder {
    fn drop(&mut self) {
        // Only the log is of use from now on.
        for name in [
            CONTROL,
            machine::DOM0_SOCKET,
            machine::MONITOR_SOCKET,
            snapshot::LINK,
            snapshot::NEW,
            "kernel",
            "initramfs",
        ] {
            let _ = fs::remove_file(self.path.join(name));
        }
    }
}

/// The control sockets of the labs that run now.
pub fn running(home: &Path) -> Vec<PathBuf> {
    let folders = numbers(home)
        .into_iter()
        .map(|number| home.join(number.to_string()));
    folders
        .filter(|folder| is_alive(folder))
        .map(|folder| folder.join(CONTROL))
        .collect()
}

fn is_alive(folder: &Path) -> bool {
    control::short(&folder.join(CONTROL), "connect to", |path| {
        UnixStream::connect(path)
    })
    .is_ok()
}

fn numbers(home: &Path) -> Vec<u64> {
    let entries = fs::read_dir(home).into_iter().flatten().flatten();
    let mut numbers: Vec<u64> = entries
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .collect();
    numbers.sort_unstable();
    numbers
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixListener;

    #[test]
    fn folders_count_up_and_the_oldest_that_has_ended_goes() {
        let home = tempfile::tempdir().unwrap();
        let first = RunFolder::create(home.path()).unwrap();
        let control = first.control();
        let _listener = UnixListener::bind(&control).unwrap();
        for _ in 0..KEPT + 3 {
            fs::write(RunFolder::create(home.path()).unwrap().log(), "log").unwrap();
        }
        let left = numbers(home.path());
        // The one that runs, those that are kept, and the newest.
        assert_eq!(left.len(), KEPT + 2, "{left:?}");
        assert_eq!(left[0], 1);
        assert_eq!(running(home.path()), [control]);
        // A folder keeps its log when its lab has ended.
        assert!(
            home.path()
                .join(left[5].to_string())
                .join("lab.log")
                .is_file()
        );
    }
}
