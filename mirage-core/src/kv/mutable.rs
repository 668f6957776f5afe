//! Stores that are written, too.

use core::error::Error;
use core::fmt;

use super::{Key, Kv, KvError};

/// A [`Kv`] that is written, by `&self`.
///
/// Every change is whole: whoever reads sees what a key had before or what it has after, and so does whoever opens the store
/// after a crash in the middle. What holds when a future is ready, and what of a batch, [`guarantees`](Self::guarantees)
/// says. Changes happen in the order in which their futures were first polled.
///
/// Dictionaries are there as long as something lies below them: they are not made, and not removed.
///
/// Dropping a future gives up waiting, not the change: that happens as a whole, or not at all.
pub trait KvMut: Kv {
    /// What this store promises.
    fn guarantees(&self) -> Guarantees;

    /// Gives a key a value, in place of what it has.
    ///
    /// # Errors
    ///
    /// [`KvMutError`]; the key has what it had. After an error of the store itself it may have the new value.
    fn set(
        &self,
        key: Key<'_>,
        value: &[u8],
    ) -> impl Future<Output = Result<(), KvMutError<Self::Error>>>;

    /// Takes a value away, and the dictionaries that it leaves empty.
    ///
    /// # Errors
    ///
    /// [`KvMutError`]; among them [`NotFound`](KvMutError::NotFound).
    fn remove(&self, key: Key<'_>) -> impl Future<Output = Result<(), KvMutError<Self::Error>>>;

    /// Gives a value another key, in place of what that has. Nobody sees both, or neither.
    ///
    /// # Errors
    ///
    /// [`KvMutError`]; among them [`NotFound`](KvMutError::NotFound) and, of a dictionary,
    /// [`IsDictionary`](KvMutError::IsDictionary).
    fn rename(
        &self,
        from: Key<'_>,
        to: Key<'_>,
    ) -> impl Future<Output = Result<(), KvMutError<Self::Error>>>;

    /// Makes several changes, in this order. A caller's mistake in any of them is found before the first is made: then none is.
    ///
    /// # Errors
    ///
    /// [`BatchError`]: which change is wrong, and why. After an error of the store itself
    /// [`atomicity`](Guarantees::atomicity) says what was made.
    fn batch(
        &self,
        changes: &[Change<'_>],
    ) -> impl Future<Output = Result<(), BatchError<Self::Error>>>;
}

/// One change of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change<'a> {
    /// As [`KvMut::set`].
    Set {
        /// The key.
        key: Key<'a>,
        /// Its value.
        value: &'a [u8],
    },
    /// As [`KvMut::remove`].
    Remove {
        /// The key.
        key: Key<'a>,
    },
    /// As [`KvMut::rename`].
    Rename {
        /// The key that the value has.
        from: Key<'a>,
        /// The key that it gets.
        to: Key<'a>,
    },
}

/// What a store promises of its changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Guarantees {
    /// What a change endures when its future is ready.
    pub durability: Durability,
    /// What becomes of a batch in the middle of which the machine stops.
    pub atomicity: Atomicity,
    /// Bytes of the largest value.
    pub largest_value: u64,
    /// Changes of the largest batch.
    pub largest_batch: usize,
}

/// What a change endures when its future is ready.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Durability {
    /// Nothing: it is gone with the store.
    Volatile,
    /// The end of this process or domain, however it ends; not that of the machine.
    Process,
    /// A power failure, as far as the medium keeps its word.
    Medium,
}

/// What becomes of a batch in the middle of which the machine stops.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Atomicity {
    /// Some number of its first changes was made, each of them whole.
    EachChange,
    /// All of it was made, or nothing.
    WholeBatch,
}

/// Why a change wasn't made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum KvMutError<E> {
    /// The caller's: nothing has this key.
    NotFound,
    /// The caller's: the key is a dictionary's, the root's among them; it has no value, and gets none.
    IsDictionary,
    /// The caller's: the key lies below another that has a value.
    BelowValue,
    /// The caller's: this store can't keep such a key (too long, or a name of its own).
    UnfitKey,
    /// The caller's: the value, or the batch, is larger than [`Guarantees`] says.
    TooLarge,
    /// The store's: it is full.
    Full,
    /// The store's.
    Store(E),
}

impl<E> KvMutError<E> {
    /// Whether it is the caller who is wrong. Else the store is, and the same change may succeed later.
    pub const fn is_callers(&self) -> bool {
        !matches!(self, Self::Full | Self::Store(_))
    }
}

impl<E: fmt::Display> fmt::Display for KvMutError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotFound => "no such key",
            Self::IsDictionary => "key is a dictionary's",
            Self::BelowValue => "key lies below another that has a value",
            Self::UnfitKey => "the store can't keep such a key",
            Self::TooLarge => "value or batch is larger than the store takes",
            Self::Full => "the store is full",
            Self::Store(error) => return error.fmt(f),
        })
    }
}

impl<E: Error> Error for KvMutError<E> {}

impl<E> From<KvError<E>> for KvMutError<E> {
    fn from(error: KvError<E>) -> Self {
        match error {
            KvError::NotFound => Self::NotFound,
            KvError::IsDictionary => Self::IsDictionary,
            KvError::IsValue => Self::BelowValue,
            KvError::TooLarge => Self::TooLarge,
            KvError::Store(error) => Self::Store(error),
        }
    }
}

/// Why a batch wasn't made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchError<E> {
    /// Which change was at fault, counted from zero; none if it is the batch as a whole.
    pub change: Option<usize>,
    /// What is wrong.
    pub error: KvMutError<E>,
}

impl<E: fmt::Display> fmt::Display for BatchError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.change {
            Some(change) => write!(f, "change {change}: {}", self.error),
            None => self.error.fmt(f),
        }
    }
}

impl<E: Error> Error for BatchError<E> {}

#[cfg(test)]
mod tests {
    use super::*;
    use core::convert::Infallible;

    #[test]
    fn an_error_says_whose_fault_it_is() {
        use KvMutError as K;
        for error in [
            K::NotFound,
            K::IsDictionary,
            K::BelowValue,
            K::UnfitKey,
            K::TooLarge,
        ] {
            assert!(K::<Infallible>::is_callers(&error));
        }
        assert!(!K::<Infallible>::Full.is_callers());
        assert!(!K::Store("broken").is_callers());
    }
}
