//! Read-only key/value stores: files by another name.
//!
//! | item | what it is |
//! | --- | --- |
//! | [`Kv`] | a store that is read: values, parts of them, lists, digests |
//! | [`Key`] | a checked path: no empty, `.` or `..` segment ever reaches a store |
//! | [`Value`] | the bytes of a value, in one or more pieces |
//! | [`CompiledStore`] | the store that is compiled in: sorted entries, no copy, no allocation |
//!
//! Nothing here takes a buffer: a store gives handles of bytes that lie somewhere already, in the program's read-only
//! data (`&'static [u8]`) or in pages that a device has filled ([`Page`]). Large values are read in parts.

mod compiled;
mod key;

use core::error::Error;
use core::fmt;
use core::ops::ControlFlow;
use core::time::Duration;

use crate::frame::Frame;
use crate::pool::Page;

pub use compiled::{CompiledEntry, CompiledStore, CompiledStoreError, CompiledStoreProblem};
pub use key::{Key, KeyError};

/// A store of values under [`Key`]s, read-only, by `&self`: any number of reads may be on their way.
///
/// A key that is the beginning of others, up to a `/`, is a *dictionary*; it has no value. Keys with values are not
/// dictionaries. The root is one, even of an empty store.
///
/// The futures are not `Send`. Dropping one gives the read up; what it had asked of a device ends by itself.
pub trait Kv {
    /// What is wrong with the store itself: a device's error, a broken file system.
    type Error: Error;
    /// What holds a value's bytes.
    type Value: Value;

    /// The value, whole: for what is known to be small. How much a store gives at once is its own bound.
    ///
    /// # Errors
    ///
    /// [`KvError::NotFound`], [`KvError::IsDictionary`], [`KvError::TooLarge`], or the store's.
    fn get(&self, key: Key<'_>) -> impl Future<Output = Result<Self::Value, KvError<Self::Error>>>;

    /// Up to `length` bytes of the value from `offset` on. Fewer than the value has left only when the store gives no more
    /// at once; none at its end and behind.
    ///
    /// # Errors
    ///
    /// [`KvError::NotFound`], [`KvError::IsDictionary`], or the store's.
    fn get_partial(
        &self,
        key: Key<'_>,
        offset: u64,
        length: usize,
    ) -> impl Future<Output = Result<Self::Value, KvError<Self::Error>>>;

    /// Bytes of the value.
    ///
    /// # Errors
    ///
    /// [`KvError::NotFound`], [`KvError::IsDictionary`], or the store's.
    fn size(&self, key: Key<'_>) -> impl Future<Output = Result<u64, KvError<Self::Error>>>;

    /// What is there, if anything.
    ///
    /// # Errors
    ///
    /// The store's.
    fn exists(
        &self,
        key: Key<'_>,
    ) -> impl Future<Output = Result<Option<EntryKind>, KvError<Self::Error>>>;

    /// Shows the names right below a dictionary to `visit`, each once, until that breaks. In no particular order.
    ///
    /// # Errors
    ///
    /// [`KvError::NotFound`], [`KvError::IsValue`], or the store's.
    fn list(
        &self,
        key: Key<'_>,
        visit: impl FnMut(Entry<'_>) -> ControlFlow<()>,
    ) -> impl Future<Output = Result<(), KvError<Self::Error>>>;

    /// A digest of the value: another one when the value is another. For caches (an entity tag), not for authentication.
    ///
    /// # Errors
    ///
    /// [`KvError::NotFound`], [`KvError::IsDictionary`], or the store's.
    fn digest(&self, key: Key<'_>) -> impl Future<Output = Result<Digest, KvError<Self::Error>>>;

    /// When the value was last changed, since the Unix epoch; `None` where the store doesn't know.
    ///
    /// # Errors
    ///
    /// [`KvError::NotFound`], [`KvError::IsDictionary`], or the store's.
    fn last_modified(
        &self,
        key: Key<'_>,
    ) -> impl Future<Output = Result<Option<Duration>, KvError<Self::Error>>>;
}

/// The bytes of a value, or of a part of one: a row of pieces.
pub trait Value {
    /// The pieces, in order. None of them need be empty or full.
    fn pieces(&self) -> impl Iterator<Item = &[u8]>;

    /// Bytes in all.
    fn len(&self) -> usize {
        self.pieces().map(<[u8]>::len).sum()
    }

    /// Whether there are none.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The bytes, if they lie in one piece (none at all are one).
    fn contiguous(&self) -> Option<&[u8]> {
        let mut pieces = self.pieces();
        let first = pieces.next().unwrap_or_default();
        pieces.next().is_none().then_some(first)
    }
}

impl Value for &'static [u8] {
    fn pieces(&self) -> impl Iterator<Item = &[u8]> {
        core::iter::once(*self)
    }
}

impl Value for Page {
    fn pieces(&self) -> impl Iterator<Item = &[u8]> {
        core::iter::once(&self[..])
    }
}

impl Value for Frame {
    fn pieces(&self) -> impl Iterator<Item = &[u8]> {
        self.segments().iter().map(|segment| &segment[..])
    }
}

/// A name right below a dictionary.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry<'a> {
    /// The last segment of its key.
    pub name: &'a str,
    /// What it is.
    pub kind: EntryKind,
}

/// What a key stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EntryKind {
    /// Bytes.
    Value,
    /// Further keys.
    Dictionary,
}

/// A digest of a value, made the store's way: comparable with others of the same store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Digest {
    bytes: [u8; Self::MAX_LEN],
    len: u8,
}

impl Digest {
    /// The longest: SHA-256's 32 bytes.
    pub const MAX_LEN: usize = 32;

    /// A digest of these bytes; `None` above [`MAX_LEN`](Self::MAX_LEN).
    pub const fn new(digest: &[u8]) -> Option<Self> {
        if digest.len() > Self::MAX_LEN {
            return None;
        }
        let mut bytes = [0; Self::MAX_LEN];
        let mut at = 0;
        while at < digest.len() {
            bytes[at] = digest[at];
            at += 1;
        }
        Some(Self {
            bytes,
            len: digest.len() as u8,
        })
    }

    /// The bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len)]
    }
}

impl fmt::Display for Digest {
    /// In hexadecimal.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.as_bytes()
            .iter()
            .try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// Why a store doesn't give what was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum KvError<E> {
    /// The caller's: nothing has this key.
    NotFound,
    /// The caller's: a value was asked for, the key is a dictionary's.
    IsDictionary,
    /// The caller's: a dictionary was asked for, the key has a value.
    IsValue,
    /// The caller's: the value is more than the store gives at once; to be read in parts.
    TooLarge,
    /// The store's.
    Store(E),
}

impl<E: fmt::Display> fmt::Display for KvError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotFound => f.write_str("no such key"),
            Self::IsDictionary => f.write_str("key is a dictionary's"),
            Self::IsValue => f.write_str("key has a value, it is no dictionary's"),
            Self::TooLarge => f.write_str("value is too large to be read at once"),
            Self::Store(error) => error.fmt(f),
        }
    }
}

impl<E: Error> Error for KvError<E> {}
