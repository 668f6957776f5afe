//! Makes changes so that a crash at any point leaves them whole.

use std::cell::RefCell;
use std::collections::BTreeSet;

use mirage_core::kv::{BatchError, Key, KvMutError};

use super::DirectoryError;
use super::files::{FileKind, Files, above, is_fit, join, parent};
use super::journal::{self, Outcome};
use super::worker::OwnedChange;

/// The record of a batch that is being made.
const JOURNAL: &str = ".~journal";
/// A file that has no name of its own yet.
const NEW: &str = ".~new";

type Failure = KvMutError<DirectoryError>;

/// The one who makes changes.
#[derive(Debug)]
pub(super) struct Keeper<F> {
    files: F,
    largest_value: u64,
    /// A batch is written down, and not known to be made.
    unfinished: bool,
    /// Directories that were made, and that a crash may still take back.
    unsure: RefCell<BTreeSet<String>>,
}

impl<F: Files> Keeper<F> {
    /// Finishes what a crash has left in the middle.
    pub(super) fn open(files: F, largest_value: u64) -> Result<Self, DirectoryError> {
        let mut keeper = Self {
            files,
            largest_value,
            unfinished: true,
            unsure: RefCell::default(),
        };
        for (name, kind) in keeper.files.list("")? {
            if kind == FileKind::File && name == NEW {
                keeper.files.remove_file(&name)?;
            }
        }
        keeper.finish()?;
        keeper.sweep("")?;
        Ok(keeper)
    }

    /// Removes directories that a crash left empty, and has all others on the medium: what is seen now may be what a process left
    /// behind that ended before it had flushed it. Says whether `path` is empty.
    fn sweep(&self, path: &str) -> Result<bool, DirectoryError> {
        let mut empty = true;
        for (name, kind) in self.files.list(path)? {
            let below = join(path, &name);
            if kind != FileKind::Directory || !self.sweep(&below)? {
                empty = false;
            } else {
                self.files.remove_directory(&below)?;
            }
        }
        if !empty || path.is_empty() {
            self.files.sync_directory(path)?;
        }
        Ok(empty)
    }

    /// Makes the batch that is written down, if there is one.
    fn finish(&mut self) -> Result<(), DirectoryError> {
        if !self.unfinished {
            return Ok(());
        }
        // A journal is as long as what it holds: no bound but its own.
        if let Some(bytes) = self.files.read(JOURNAL, 0, usize::MAX)? {
            let outcome = journal::from_bytes(&bytes).ok_or(DirectoryError::DamagedJournal)?;
            self.make(&outcome)?;
            self.files.remove_file(JOURNAL)?;
            self.files.sync_directory("")?;
        }
        self.unfinished = false;
        Ok(())
    }

    /// Makes changes: one as it is, several as a batch.
    pub(super) fn change(
        &mut self,
        changes: &[OwnedChange],
    ) -> Result<(), BatchError<DirectoryError>> {
        let as_whole = |error| BatchError {
            change: None,
            error: store(error),
        };
        self.finish().map_err(as_whole)?;
        let mut outcome = Outcome::new();
        if let [OwnedChange::Rename { from, to }] = changes
            && is_apart(from, to)
        {
            let checked = self.may_move(&mut outcome, from, to);
            checked.map_err(|error| BatchError {
                change: Some(0),
                error,
            })?;
            return self.move_file(from, to).map_err(as_whole);
        }
        for (at, change) in changes.iter().enumerate() {
            self.plan(&mut outcome, change)
                .map_err(|error| BatchError {
                    change: Some(at),
                    error,
                })?;
        }
        self.commit(&outcome).map_err(as_whole)
    }

    fn commit(&mut self, outcome: &Outcome) -> Result<(), DirectoryError> {
        if outcome.len() <= 1 {
            return self.make(outcome);
        }
        // Once it is written down it is made: now, before the next change, or after a crash.
        self.unfinished = true;
        self.write(JOURNAL, &journal::to_bytes(outcome))?;
        self.finish()
    }

    fn may_move(&self, outcome: &mut Outcome, from: &str, to: &str) -> Result<(), Failure> {
        self.has_value(outcome, from)?;
        outcome.insert(from.to_owned(), None);
        self.may_have_a_value(outcome, to)
    }

    /// The file itself gets the other name: its content need not be written again.
    fn move_file(&self, from: &str, to: &str) -> Result<(), DirectoryError> {
        self.make_way(to)?;
        self.files.rename(from, to)?;
        self.files.sync_directory(parent(to))?;
        self.files.sync_directory(parent(from))?;
        self.prune(from)
    }

    /// What keys have after a change, if it is right.
    fn plan(&self, outcome: &mut Outcome, change: &OwnedChange) -> Result<(), Failure> {
        match change {
            OwnedChange::Set { key, value } => {
                if self.is_too_large(value) {
                    return Err(KvMutError::TooLarge);
                }
                self.may_have_a_value(outcome, key)?;
                outcome.insert(key.clone(), Some(value.clone()));
            }
            OwnedChange::Remove { key } => {
                self.has_value(outcome, key)?;
                outcome.insert(key.clone(), None);
            }
            OwnedChange::Rename { from, to } => {
                self.has_value(outcome, from)?;
                let value = match outcome.insert(from.clone(), None) {
                    Some(planned) => planned,
                    None => {
                        let most = usize::try_from(self.largest_value).unwrap_or(usize::MAX);
                        let read = self.files.read(from, 0, most.saturating_add(1));
                        read.map_err(store)?
                    }
                };
                if value.as_ref().is_some_and(|value| self.is_too_large(value)) {
                    return Err(KvMutError::TooLarge);
                }
                self.may_have_a_value(outcome, to)?;
                outcome.insert(to.clone(), Some(value.ok_or(KvMutError::NotFound)?));
            }
        }
        Ok(())
    }

    fn is_too_large(&self, value: &[u8]) -> bool {
        value.len() as u64 > self.largest_value
    }

    fn has_value(&self, outcome: &Outcome, key: &str) -> Result<(), Failure> {
        let Ok(checked) = Key::new(key) else {
            return Err(KvMutError::NotFound);
        };
        match outcome.get(key) {
            Some(Some(_)) => return Ok(()),
            Some(None) => {}
            None if checked.is_root() => return Err(KvMutError::IsDictionary),
            None if !is_fit(checked) => return Err(KvMutError::NotFound),
            None => {
                if self.files.kind(key).map_err(store)? == Some(FileKind::File) {
                    return Ok(());
                }
            }
        }
        if self.has_values_below(outcome, key)? {
            Err(KvMutError::IsDictionary)
        } else {
            Err(KvMutError::NotFound)
        }
    }

    fn may_have_a_value(&self, outcome: &Outcome, key: &str) -> Result<(), Failure> {
        match Key::new(key) {
            Ok(checked) if checked.is_root() => return Err(KvMutError::IsDictionary),
            Ok(checked) if is_fit(checked) => {}
            _ => return Err(KvMutError::UnfitKey),
        }
        for above in above(key) {
            let is_value = match outcome.get(above) {
                Some(planned) => planned.is_some(),
                None => match self.files.kind(above).map_err(store)? {
                    Some(FileKind::File) => true,
                    Some(FileKind::Directory) | None => false,
                    // Something that isn't ours is in the way.
                    Some(FileKind::Other) => return Err(KvMutError::UnfitKey),
                },
            };
            if is_value {
                return Err(KvMutError::BelowValue);
            }
        }
        if !outcome.contains_key(key)
            && self.files.kind(key).map_err(store)? == Some(FileKind::Other)
        {
            return Err(KvMutError::UnfitKey);
        }
        if self.has_values_below(outcome, key)? {
            return Err(KvMutError::IsDictionary);
        }
        Ok(())
    }

    /// Whether there are values below a key, after what is planned.
    fn has_values_below(&self, outcome: &Outcome, key: &str) -> Result<bool, Failure> {
        let prefix = join(key, "");
        let planned =
            |(key, value): (&String, &Option<Vec<u8>>)| value.is_some() && key.starts_with(&prefix);
        if outcome.iter().any(planned) {
            return Ok(true);
        }
        if self.files.kind(key).map_err(store)? != Some(FileKind::Directory) {
            return Ok(false);
        }
        self.has_unplanned_below(outcome, key).map_err(store)
    }

    /// Whether the directory has anything that the plan doesn't take away: a file that isn't ours counts, too.
    fn has_unplanned_below(&self, outcome: &Outcome, path: &str) -> Result<bool, DirectoryError> {
        for (name, kind) in self.files.list(path)? {
            let below = join(path, &name);
            let stays = match kind {
                FileKind::Directory => self.has_unplanned_below(outcome, &below)?,
                FileKind::File => outcome.get(&below) != Some(&None),
                FileKind::Other => true,
            };
            if stays {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Makes it so; what was made before, by a run that a crash has ended, is made again.
    fn make(&self, outcome: &Outcome) -> Result<(), DirectoryError> {
        let mut changed = BTreeSet::new();
        // What goes makes room for what comes: a value where a dictionary was, and the other way round.
        for (path, _) in outcome.iter().filter(|(_, value)| value.is_none()) {
            if self.files.kind(path)? == Some(FileKind::File) {
                self.files.remove_file(path)?;
                changed.insert(parent(path));
            }
        }
        for directory in changed {
            self.files.sync_directory(directory)?;
        }
        for (path, _) in outcome.iter().filter(|(_, value)| value.is_none()) {
            self.prune(path)?;
        }
        for (path, value) in outcome {
            if let Some(value) = value {
                self.make_way(path)?;
                self.write(path, value)?;
            }
        }
        Ok(())
    }

    /// Has the directories above a path be there, also after a crash; and an empty one in its place not.
    fn make_way(&self, path: &str) -> Result<(), DirectoryError> {
        for directory in above(path) {
            let is_there = self.files.kind(directory)? == Some(FileKind::Directory);
            if is_there && !self.unsure.borrow().contains(directory) {
                continue;
            }
            self.unsure.borrow_mut().insert(directory.to_owned());
            self.files.make_directory(directory)?;
            self.files.sync_directory(parent(directory))?;
            self.unsure.borrow_mut().remove(directory);
        }
        if self.files.kind(path)? == Some(FileKind::Directory) {
            self.sweep(path)?;
            self.files.remove_directory(path)?;
        }
        Ok(())
    }

    /// Content first, then the name: whoever looks sees the old value or the new one.
    fn write(&self, path: &str, value: &[u8]) -> Result<(), DirectoryError> {
        self.files.create(NEW, value)?;
        self.files.rename(NEW, path)?;
        self.files.sync_directory(parent(path))
    }

    /// Removes the directories above a path that it has left empty.
    fn prune(&self, path: &str) -> Result<(), DirectoryError> {
        for directory in above(path).rev() {
            if !self.files.remove_directory(directory)? {
                break;
            }
        }
        Ok(())
    }

    #[cfg(test)]
    pub(super) fn files(&self) -> &F {
        &self.files
    }
}

/// Whether neither of two keys lies below the other, or is it.
fn is_apart(one: &str, other: &str) -> bool {
    one != other && !one.starts_with(&join(other, "")) && !other.starts_with(&join(one, ""))
}

fn store(error: DirectoryError) -> Failure {
    if error.is_full() {
        KvMutError::Full
    } else {
        KvMutError::Store(error)
    }
}
