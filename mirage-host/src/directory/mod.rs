//! A key/value store in a directory of this machine: a file for each value.

mod disk;
mod error;
mod files;
mod journal;
mod keeper;
#[cfg(test)]
mod tests;
mod worker;

pub use error::DirectoryError;

use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use mirage_core::kv::{
    Atomicity, BatchError, Change, Digest, Durability, Entry, EntryKind, Guarantees, Key, Kv,
    KvError, KvMut, KvMutError,
};

use self::disk::Disk;
use self::files::{FileKind, Files, is_fit, is_reserved};
use self::keeper::Keeper;
use self::worker::{OwnedChange, Worker};

/// Bytes of the largest value, unless [`DirectoryStore::open_with`] says otherwise.
const LARGEST_VALUE: u64 = 64 << 20;
/// Changes of the largest batch.
const LARGEST_BATCH: usize = 4_096;

/// A key/value store in a directory: a file for each value, a directory for each dictionary.
///
/// # Safe against crashes
///
/// A value is written to a file of another name, which is flushed to the medium, then renamed, and then the directory is flushed:
/// when a future is ready the change endures a power failure, as far as the medium keeps its word, and a crash in the middle
/// leaves what was there before. A batch is written down first (`.~journal`), and made again when the store is opened after a crash
/// in the middle of it: all of it, or nothing. While it is made readers may see some of its changes before others.
///
/// # Keys
///
/// A key's segments are names of directories and a file, as they are. No key leads out of the directory: a
/// [`Key`] has no `..`, each segment is opened relative to the one above it, and symbolic links are not followed: they, sockets
/// and devices are as if they weren't there. Segments above 255 bytes, keys above 1,024, and segments that begin with `.~`, which are
/// the store's own, are refused. An empty directory is no dictionary.
///
/// # What it costs
///
/// A value is read at once, in the calling thread, as the system's cache has it. Changes are made in a thread of their own, one after
/// the other, for a flush takes milliseconds; the queue of those that wait has no bound but the number of tasks that wait for them.
/// One process at a time: the directory is locked.
#[derive(Debug)]
pub struct DirectoryStore {
    disk: Arc<Disk>,
    worker: Worker,
    largest_value: u64,
}

impl DirectoryStore {
    /// Opens a directory, which must be there, and finishes what a crash has left in the middle.
    ///
    /// # Errors
    ///
    /// [`DirectoryError`]: it is no directory of ours, another process has it open, or what a crash left can't be finished.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, DirectoryError> {
        Self::open_with(path, LARGEST_VALUE)
    }

    /// As [`open`](Self::open), with a bound for values, in bytes.
    ///
    /// # Errors
    ///
    /// As [`open`](Self::open).
    pub fn open_with(path: impl AsRef<Path>, largest_value: u64) -> Result<Self, DirectoryError> {
        let disk = Arc::new(Disk::open(path.as_ref())?);
        let keeper = Keeper::open(Arc::clone(&disk), largest_value)?;
        Ok(Self {
            disk,
            worker: Worker::start(keeper)?,
            largest_value,
        })
    }

    /// What a key stands for.
    fn kind(&self, key: Key<'_>) -> Result<EntryKind, KvError<DirectoryError>> {
        if key.is_root() {
            return Ok(EntryKind::Dictionary);
        }
        if !is_fit(key) {
            return Err(KvError::NotFound);
        }
        match self.disk.kind(key.as_str()).map_err(KvError::Store)? {
            Some(FileKind::File) => Ok(EntryKind::Value),
            Some(FileKind::Directory)
                if !self.disk.is_empty(key.as_str()).map_err(KvError::Store)? =>
            {
                Ok(EntryKind::Dictionary)
            }
            _ => Err(KvError::NotFound),
        }
    }

    fn value(&self, key: Key<'_>) -> Result<(), KvError<DirectoryError>> {
        match self.kind(key)? {
            EntryKind::Value => Ok(()),
            EntryKind::Dictionary => Err(KvError::IsDictionary),
        }
    }

    fn read(
        &self,
        key: Key<'_>,
        offset: u64,
        length: usize,
    ) -> Result<Vec<u8>, KvError<DirectoryError>> {
        self.value(key)?;
        match self.disk.read(key.as_str(), offset, length) {
            Ok(Some(bytes)) => Ok(bytes),
            // It went since the look.
            Ok(None) => Err(KvError::NotFound),
            Err(error) => Err(KvError::Store(error)),
        }
    }

    fn facts(&self, key: Key<'_>) -> Result<(u64, Option<Duration>), KvError<DirectoryError>> {
        self.value(key)?;
        let facts = self.disk.facts(key.as_str()).map_err(KvError::Store)?;
        facts.ok_or(KvError::NotFound)
    }

    async fn change(&self, changes: Vec<OwnedChange>) -> Result<(), BatchError<DirectoryError>> {
        self.worker.change(changes).await
    }

    async fn one(&self, change: OwnedChange) -> Result<(), KvMutError<DirectoryError>> {
        let done = self.change(vec![change]).await;
        done.map_err(|error| error.error)
    }
}

impl Kv for DirectoryStore {
    type Error = DirectoryError;
    type Value = Vec<u8>;

    async fn get(&self, key: Key<'_>) -> Result<Vec<u8>, KvError<DirectoryError>> {
        let (size, _) = self.facts(key)?;
        if size > self.largest_value {
            return Err(KvError::TooLarge);
        }
        self.read(
            key,
            0,
            usize::try_from(size).map_err(|_| KvError::TooLarge)?,
        )
    }

    async fn get_partial(
        &self,
        key: Key<'_>,
        offset: u64,
        length: usize,
    ) -> Result<Vec<u8>, KvError<DirectoryError>> {
        // At most as much as a value may have: a caller's "all of it" must not ask for all memory.
        let most = usize::try_from(self.largest_value).unwrap_or(usize::MAX);
        self.read(key, offset, length.min(most))
    }

    async fn size(&self, key: Key<'_>) -> Result<u64, KvError<DirectoryError>> {
        Ok(self.facts(key)?.0)
    }

    async fn exists(&self, key: Key<'_>) -> Result<Option<EntryKind>, KvError<DirectoryError>> {
        match self.kind(key) {
            Ok(kind) => Ok(Some(kind)),
            Err(KvError::NotFound) => Ok(None),
            Err(error) => Err(error),
        }
    }

    async fn list(
        &self,
        key: Key<'_>,
        mut visit: impl FnMut(Entry<'_>) -> ControlFlow<()>,
    ) -> Result<(), KvError<DirectoryError>> {
        if self.kind(key)? == EntryKind::Value {
            return Err(KvError::IsValue);
        }
        for (name, kind) in self.disk.list(key.as_str()).map_err(KvError::Store)? {
            let kind = match kind {
                FileKind::File => EntryKind::Value,
                FileKind::Directory => {
                    let path = files::join(key.as_str(), &name);
                    if self.disk.is_empty(&path).map_err(KvError::Store)? {
                        continue;
                    }
                    EntryKind::Dictionary
                }
                FileKind::Other => continue,
            };
            let name = &name[..];
            if !is_reserved(name) && visit(Entry { name, kind }).is_break() {
                break;
            }
        }
        Ok(())
    }

    /// The value's 128-bit FNV-1a hash.
    async fn digest(&self, key: Key<'_>) -> Result<Digest, KvError<DirectoryError>> {
        Ok(Digest::hash(&self.get(key).await?))
    }

    async fn last_modified(
        &self,
        key: Key<'_>,
    ) -> Result<Option<Duration>, KvError<DirectoryError>> {
        Ok(self.facts(key)?.1)
    }
}

impl KvMut for DirectoryStore {
    fn guarantees(&self) -> Guarantees {
        Guarantees {
            durability: Durability::Medium,
            atomicity: Atomicity::WholeBatch,
            largest_value: self.largest_value,
            largest_batch: LARGEST_BATCH,
        }
    }

    async fn set(&self, key: Key<'_>, value: &[u8]) -> Result<(), KvMutError<DirectoryError>> {
        self.one(OwnedChange::from(&Change::Set { key, value }))
            .await
    }

    async fn remove(&self, key: Key<'_>) -> Result<(), KvMutError<DirectoryError>> {
        self.one(OwnedChange::from(&Change::Remove { key })).await
    }

    async fn rename(&self, from: Key<'_>, to: Key<'_>) -> Result<(), KvMutError<DirectoryError>> {
        self.one(OwnedChange::from(&Change::Rename { from, to }))
            .await
    }

    async fn batch(&self, changes: &[Change<'_>]) -> Result<(), BatchError<DirectoryError>> {
        if changes.len() > LARGEST_BATCH {
            return Err(BatchError {
                change: None,
                error: KvMutError::TooLarge,
            });
        }
        self.change(changes.iter().map(OwnedChange::from).collect())
            .await
    }
}
