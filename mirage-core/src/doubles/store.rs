//! A key/value store in memory.

use alloc::borrow::ToOwned;
use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::vec::Vec;
use core::cell::{Cell, RefCell};
use core::fmt;
use core::ops::{Bound, ControlFlow};
use core::time::Duration;

use crate::kv::{
    Atomicity, BatchError, Change, Digest, Durability, Entry, EntryKind, Guarantees, Key, Kv,
    KvError, KvMut, KvMutError,
};

/// A key/value store in memory, whose writes can be made to fail.
///
/// ```
/// # use core::pin::pin;
/// # use core::task::{Context, Poll, Waker};
/// use mirage_core::doubles::MemoryStore;
/// use mirage_core::kv::{Key, Kv, KvMut};
///
/// # async fn f() {
/// let store = MemoryStore::new();
/// let key = Key::new("leases/10.0.0.7").unwrap();
/// store.set(key, b"of a client").await.unwrap();
/// assert_eq!(store.get(key).await.unwrap(), b"of a client");
///
/// store.fail_after(0); // the disk is broken now
/// assert!(store.remove(key).await.is_err());
/// # }
/// # assert_eq!(pin!(f()).poll(&mut Context::from_waker(Waker::noop())), Poll::Ready(()));
/// ```
#[derive(Debug, Default)]
pub struct MemoryStore {
    values: RefCell<BTreeMap<String, Vec<u8>>>,
    /// Writes that succeed before all others fail.
    left: Cell<Option<u64>>,
    writes: Cell<u64>,
}

/// The failure that [`MemoryStore::fail_after`] has asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InjectedFailure;

impl fmt::Display for InjectedFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the store fails, as it was told to")
    }
}

impl core::error::Error for InjectedFailure {}

type Failure = KvMutError<InjectedFailure>;

impl MemoryStore {
    /// An empty store.
    pub const fn new() -> Self {
        Self {
            values: RefCell::new(BTreeMap::new()),
            left: Cell::new(None),
            writes: Cell::new(0),
        }
    }

    /// After so many further writes all fail, until [`mend`](Self::mend).
    pub fn fail_after(&self, writes: u64) {
        self.left.set(Some(writes));
    }

    /// No write fails any more.
    pub fn mend(&self) {
        self.left.set(None);
    }

    /// Writes that were made; a batch is one.
    pub fn writes(&self) -> u64 {
        self.writes.get()
    }

    /// Makes changes to a copy, which takes the place of what there was when all of them are right.
    fn apply(&self, changes: &[Change<'_>]) -> Result<(), BatchError<InjectedFailure>> {
        let mut values = self.values.borrow().clone();
        for (at, change) in changes.iter().enumerate() {
            make(&mut values, change).map_err(|error| BatchError {
                change: Some(at),
                error,
            })?;
        }
        match self.left.get() {
            Some(0) => {
                return Err(BatchError {
                    change: None,
                    error: KvMutError::Store(InjectedFailure),
                });
            }
            left => self.left.set(left.map(|left| left - 1)),
        }
        self.writes.set(self.writes.get() + 1);
        *self.values.borrow_mut() = values;
        Ok(())
    }

    fn one(&self, change: Change<'_>) -> Result<(), Failure> {
        self.apply(&[change]).map_err(|error| error.error)
    }
}

fn make(values: &mut BTreeMap<String, Vec<u8>>, change: &Change<'_>) -> Result<(), Failure> {
    match *change {
        Change::Set { key, value } => {
            may_have_a_value(values, key)?;
            values.insert(key.as_str().to_owned(), value.to_owned());
        }
        Change::Remove { key } => {
            values.remove(key.as_str()).ok_or(absent(values, key))?;
        }
        Change::Rename { from, to } => {
            let value = values.remove(from.as_str()).ok_or(absent(values, from))?;
            may_have_a_value(values, to)?;
            values.insert(to.as_str().to_owned(), value);
        }
    }
    Ok(())
}

fn absent(values: &BTreeMap<String, Vec<u8>>, key: Key<'_>) -> Failure {
    if is_dictionary(values, key) {
        KvMutError::IsDictionary
    } else {
        KvMutError::NotFound
    }
}

fn is_dictionary(values: &BTreeMap<String, Vec<u8>>, key: Key<'_>) -> bool {
    key.is_root() || below(values, key).next().is_some()
}

/// The keys below a dictionary, without it and the `/`, and their values.
fn below<'v>(values: &'v BTreeMap<String, Vec<u8>>, key: Key<'_>) -> impl Iterator<Item = &'v str> {
    let mut prefix = key.as_str().to_owned();
    if !key.is_root() {
        prefix.push('/');
    }
    let from = (Bound::Included(prefix.clone()), Bound::Unbounded);
    values
        .range(from)
        .map_while(move |(key, _)| key.strip_prefix(&prefix))
}

fn may_have_a_value(values: &BTreeMap<String, Vec<u8>>, key: Key<'_>) -> Result<(), Failure> {
    if is_dictionary(values, key) {
        return Err(KvMutError::IsDictionary);
    }
    let path = key.as_str();
    let mut above = path.match_indices('/').map(|(at, _)| &path[..at]);
    if above.any(|above| values.contains_key(above)) {
        return Err(KvMutError::BelowValue);
    }
    Ok(())
}

impl Kv for MemoryStore {
    type Error = InjectedFailure;
    type Value = Vec<u8>;

    async fn get(&self, key: Key<'_>) -> Result<Vec<u8>, KvError<InjectedFailure>> {
        self.get_partial(key, 0, usize::MAX).await
    }

    async fn get_partial(
        &self,
        key: Key<'_>,
        offset: u64,
        length: usize,
    ) -> Result<Vec<u8>, KvError<InjectedFailure>> {
        let values = self.values.borrow();
        match values.get(key.as_str()) {
            Some(value) => {
                let rest = usize::try_from(offset)
                    .ok()
                    .and_then(|offset| value.get(offset..))
                    .unwrap_or_default();
                Ok(rest[..rest.len().min(length)].to_owned())
            }
            None if is_dictionary(&values, key) => Err(KvError::IsDictionary),
            None => Err(KvError::NotFound),
        }
    }

    async fn size(&self, key: Key<'_>) -> Result<u64, KvError<InjectedFailure>> {
        Ok(self.get(key).await?.len() as u64)
    }

    async fn exists(&self, key: Key<'_>) -> Result<Option<EntryKind>, KvError<InjectedFailure>> {
        let values = self.values.borrow();
        Ok(if values.contains_key(key.as_str()) {
            Some(EntryKind::Value)
        } else {
            is_dictionary(&values, key).then_some(EntryKind::Dictionary)
        })
    }

    async fn list(
        &self,
        key: Key<'_>,
        mut visit: impl FnMut(Entry<'_>) -> ControlFlow<()>,
    ) -> Result<(), KvError<InjectedFailure>> {
        let values = self.values.borrow();
        if values.contains_key(key.as_str()) {
            return Err(KvError::IsValue);
        }
        if !is_dictionary(&values, key) {
            return Err(KvError::NotFound);
        }
        let mut last = None;
        for rest in below(&values, key) {
            let entry = match rest.split_once('/') {
                Some((name, _)) => Entry {
                    name,
                    kind: EntryKind::Dictionary,
                },
                None => Entry {
                    name: rest,
                    kind: EntryKind::Value,
                },
            };
            // Those below one dictionary lie in a row.
            if last.replace(entry) != Some(entry) && visit(entry).is_break() {
                break;
            }
        }
        Ok(())
    }

    async fn digest(&self, key: Key<'_>) -> Result<Digest, KvError<InjectedFailure>> {
        Ok(Digest::hash(&self.get(key).await?))
    }

    async fn last_modified(
        &self,
        key: Key<'_>,
    ) -> Result<Option<Duration>, KvError<InjectedFailure>> {
        self.size(key).await?;
        Ok(None)
    }
}

impl KvMut for MemoryStore {
    fn guarantees(&self) -> Guarantees {
        Guarantees {
            durability: Durability::Volatile,
            atomicity: Atomicity::WholeBatch,
            largest_value: u64::MAX,
            largest_batch: usize::MAX,
        }
    }

    async fn set(&self, key: Key<'_>, value: &[u8]) -> Result<(), Failure> {
        self.one(Change::Set { key, value })
    }

    async fn remove(&self, key: Key<'_>) -> Result<(), Failure> {
        self.one(Change::Remove { key })
    }

    async fn rename(&self, from: Key<'_>, to: Key<'_>) -> Result<(), Failure> {
        self.one(Change::Rename { from, to })
    }

    async fn batch(&self, changes: &[Change<'_>]) -> Result<(), BatchError<InjectedFailure>> {
        self.apply(changes)
    }
}
