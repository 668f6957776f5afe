//! Saved states of a machine in which dom0 has just come up: the next lab begins there, within a second.
//!
//! A state fits one machine alone: the same packages, QEMU, processor and kind of network. All of that is in its stamp. It
//! holds nothing of a guest, and no address: what differs from lab to lab is set up afterwards.

use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};

use crate::error::Error;

/// How many states are kept; each is about 130 MB.
const KEPT: usize = 4;

/// The name of the link to a state in a lab's folder, where QEMU runs.
pub const LINK: &str = "state";

/// The name under which QEMU writes one there.
pub const NEW: &str = "state.new";

/// Where the state of one machine is, or would be.
#[derive(Debug, Clone)]
pub struct Snapshot {
    folder: PathBuf,
    stamp: String,
}

impl Snapshot {
    /// The place for the machine that the stamp describes.
    pub fn new(home: &Path, stamp: String) -> Self {
        // Two stamps with one hash take each other's place, which the stamp itself shows.
        let mut hasher = DefaultHasher::new();
        stamp.hash(&mut hasher);
        Self {
            folder: home
                .join("snapshots")
                .join(format!("{:016x}", hasher.finish())),
            stamp,
        }
    }

    /// The state file, if there is one for this machine.
    pub fn state(&self) -> Option<PathBuf> {
        let stamp = fs::read_to_string(self.folder.join("stamp")).ok()?;
        let state = self.folder.join("state");
        (stamp == self.stamp && state.is_file()).then_some(state)
    }

    /// What the machine had printed until its state was saved.
    pub fn printed(&self) -> String {
        fs::read_to_string(self.folder.join("printed")).unwrap_or_default()
    }

    /// Takes a state over from a lab's folder, and removes the oldest of others.
    ///
    /// # Errors
    ///
    /// [`Error::File`].
    pub fn keep(&self, state: &Path, printed: &str) -> Result<(), Error> {
        fs::create_dir_all(&self.folder).map_err(Error::file("make", &self.folder))?;
        let write = |name: &str, text: &str| {
            let path = self.folder.join(name);
            fs::write(&path, text).map_err(Error::file("write", &path))
        };
        // The stamp goes first and comes last: without it there is no state.
        self.forget_stamp();
        write("printed", printed)?;
        let path = self.folder.join("state");
        fs::rename(state, &path).map_err(Error::file("write", &path))?;
        write("stamp", &self.stamp)?;
        self.remove_others();
        Ok(())
    }

    /// Removes the state: it could not be used.
    pub fn forget(&self) {
        self.forget_stamp();
        let _ = fs::remove_dir_all(&self.folder);
    }

    fn forget_stamp(&self) {
        // If it can't be removed, writing it says so.
        let _ = fs::remove_file(self.folder.join("stamp"));
    }

    fn remove_others(&self) {
        let Some(home) = self.folder.parent() else {
            return;
        };
        let mut others: Vec<_> = fs::read_dir(home)
            .into_iter()
            .flatten()
            .flatten()
            .map(|entry| entry.path())
            .filter(|path| *path != self.folder)
            .map(|path| (age(&path), path))
            .collect();
        others.sort();
        for (_, path) in others.iter().rev().skip(KEPT - 1) {
            // A lab that is being started from it has it open already, or begins without one.
            let _ = fs::remove_dir_all(path);
        }
    }
}

/// When it was saved; what is not whole is the oldest.
fn age(folder: &Path) -> Option<std::time::SystemTime> {
    fs::metadata(folder.join("stamp")).ok()?.modified().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn save(home: &Path, stamp: &str) -> Snapshot {
        let state = home.join("new");
        fs::write(&state, stamp).unwrap();
        let snapshot = Snapshot::new(home, stamp.into());
        snapshot.keep(&state, "printed\n").unwrap();
        snapshot
    }

    #[test]
    fn a_state_is_of_one_machine_alone() {
        let home = tempfile::tempdir().unwrap();
        let one = save(home.path(), "one");
        assert_eq!(fs::read_to_string(one.state().unwrap()).unwrap(), "one");
        assert_eq!(one.printed(), "printed\n");
        assert_eq!(Snapshot::new(home.path(), "two".into()).state(), None);
        // The same folder, as if the hashes were the same.
        fs::write(one.folder.join("stamp"), "other").unwrap();
        assert_eq!(one.state(), None);
    }

    #[test]
    fn one_that_could_not_be_used_is_gone() {
        let home = tempfile::tempdir().unwrap();
        let one = save(home.path(), "one");
        one.forget();
        assert_eq!(one.state(), None);
    }

    #[test]
    fn a_few_are_kept_and_the_newest_among_them() {
        let home = tempfile::tempdir().unwrap();
        for n in 0..3 * KEPT {
            assert!(save(home.path(), &n.to_string()).state().is_some());
        }
        let left = fs::read_dir(home.path().join("snapshots")).unwrap().count();
        assert_eq!(left, KEPT);
    }
}
