//! Key/value stores: files by another name.
//!
//! | item | what it is |
//! | --- | --- |
//! | [`Kv`] | a store that is read: values, parts of them, lists, digests |
//! | [`KvMut`] | one that is written, too: set, remove, rename, several at once; [`Guarantees`] says what a change endures |
//! | [`Key`] | a checked path: no empty, `.` or `..` segment ever reaches a store |
//! | [`Value`] | the bytes of a value, in one or more pieces |
//! | [`CompiledStore`] | the store that is compiled in: sorted entries, no copy, no allocation |
//!
//! Nothing here takes a buffer: a store gives handles of bytes that lie somewhere already, in the program's read-only
//! data (`&'static [u8]`) or in pages that a device has filled ([`Page`]). Large values are read in parts.

mod compiled;
mod key;
mod mutable;

use core::error::Error;
use core::fmt;
use core::ops::ControlFlow;
use core::time::Duration;

use crate::frame::Frame;
use crate::pool::Page;

pub use compiled::{CompiledEntry, CompiledStore, CompiledStoreError, CompiledStoreProblem};
pub use key::{Key, KeyError};
pub use mutable::{Atomicity, BatchError, Change, Durability, Guarantees, KvMut, KvMutError};

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

    /// Which of these suffixes, behind the last segment of a key that has a value, make keys that have values, too: for variants of a value.
    /// Keys are put together in `room`, of the longest one's length at least, where a store needs that; what it is too small for is not found.
    ///
    /// # Errors
    ///
    /// The store's.
    fn with_suffixes<const COUNT: usize>(
        &self,
        key: Key<'_>,
        suffixes: [&str; COUNT],
        room: &mut [u8],
    ) -> impl Future<Output = Result<[bool; COUNT], KvError<Self::Error>>> {
        async move {
            let mut there = [false; COUNT];
            for (there, suffix) in there.iter_mut().zip(suffixes) {
                if let Some(longer) = key.with_suffix(suffix, room) {
                    *there = self.exists(longer).await? == Some(EntryKind::Value);
                }
            }
            Ok(there)
        }
    }

    /// What the store says of the value beside its bytes, all at once. A store that finds all of it in one place looks there once.
    ///
    /// # Errors
    ///
    /// [`KvError::NotFound`], [`KvError::IsDictionary`], or the store's.
    fn metadata(
        &self,
        key: Key<'_>,
    ) -> impl Future<Output = Result<Metadata, KvError<Self::Error>>> {
        async move {
            Ok(Metadata {
                size: self.size(key).await?,
                digest: self.digest(key).await?,
                last_modified: self.last_modified(key).await?,
            })
        }
    }
}

/// What a store says of a value beside its bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Metadata {
    /// Bytes of the value: [`Kv::size`].
    pub size: u64,
    /// [`Kv::digest`].
    pub digest: Digest,
    /// Since the Unix epoch, where the store knows: [`Kv::last_modified`].
    pub last_modified: Option<Duration>,
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

    /// The bytes, if they lie in the program for as long as it runs, in one piece: they may be sent from there.
    fn as_static(&self) -> Option<&'static [u8]> {
        None
    }
}

impl Value for &'static [u8] {
    fn pieces(&self) -> impl Iterator<Item = &[u8]> {
        core::iter::once(*self)
    }

    fn as_static(&self) -> Option<&'static [u8]> {
        Some(self)
    }
}

#[cfg(any(feature = "alloc", test))]
impl Value for alloc::vec::Vec<u8> {
    fn pieces(&self) -> impl Iterator<Item = &[u8]> {
        core::iter::once(&self[..])
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

    /// The 128-bit FNV-1a hash of a value (RFC 9923).
    pub fn hash(value: &[u8]) -> Self {
        compiled::fnv1a(value)
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

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;
    use crate::pool::{Pool, Reserve};
    use core::cell::{Cell, RefCell};
    use core::pin::pin;
    use core::task::{Context, Poll, Waker};
    use std::vec::Vec;

    const SECTOR: usize = 64;

    /// A store as on a block device: sectors that come into pages, one after the other, some time later.
    struct Paged {
        data: &'static [u8],
        pages: Reserve,
        /// Sectors that the device has still to bring.
        asked: RefCell<Vec<Waker>>,
        brought: Cell<usize>,
    }

    #[derive(Debug, PartialEq)]
    struct NoPage;

    impl fmt::Display for NoPage {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("no page")
        }
    }

    impl Error for NoPage {}

    impl Paged {
        async fn sector(&self, number: usize) -> Result<Page, KvError<NoPage>> {
            let mut page = self.pages.alloc().ok_or(KvError::Store(NoPage))?;
            let due = self.brought.get() + 1;
            core::future::poll_fn(|cx| {
                if self.brought.get() >= due {
                    return Poll::Ready(());
                }
                self.asked.borrow_mut().push(cx.waker().clone());
                Poll::Pending
            })
            .await;
            let end = self.data.len().min((number + 1) * SECTOR);
            page.extend_from_slice(&self.data[number * SECTOR..end])
                .map_err(|_| KvError::TooLarge)?;
            Ok(page.freeze())
        }

        fn bring(&self) {
            self.brought.set(self.brought.get() + 1);
            self.asked.take().into_iter().for_each(Waker::wake);
        }

        fn only(key: Key<'_>) -> Result<(), KvError<NoPage>> {
            match key.as_str() {
                "file" => Ok(()),
                "" => Err(KvError::IsDictionary),
                _ => Err(KvError::NotFound),
            }
        }
    }

    impl Kv for Paged {
        type Error = NoPage;
        type Value = Frame;

        async fn get(&self, key: Key<'_>) -> Result<Frame, KvError<NoPage>> {
            if self.data.len() > Frame::MAX_SEGMENTS * SECTOR {
                return Err(KvError::TooLarge);
            }
            self.get_partial(key, 0, usize::MAX).await
        }

        async fn get_partial(
            &self,
            key: Key<'_>,
            offset: u64,
            length: usize,
        ) -> Result<Frame, KvError<NoPage>> {
            Self::only(key)?;
            let offset = usize::try_from(offset)
                .unwrap_or(usize::MAX)
                .min(self.data.len());
            let end = offset.saturating_add(length).min(self.data.len());
            let mut frame = Frame::new();
            let first = offset / SECTOR;
            for number in first..end.div_ceil(SECTOR).max(first) {
                if frame.push(self.sector(number).await?).is_err() {
                    break;
                }
            }
            if frame.advance(offset % SECTOR).is_ok() {
                frame.truncate(end - offset);
            }
            Ok(frame)
        }

        async fn size(&self, key: Key<'_>) -> Result<u64, KvError<NoPage>> {
            Self::only(key)?;
            Ok(self.data.len() as u64)
        }

        async fn exists(&self, key: Key<'_>) -> Result<Option<EntryKind>, KvError<NoPage>> {
            Ok(match Self::only(key) {
                Ok(()) => Some(EntryKind::Value),
                Err(KvError::IsDictionary) => Some(EntryKind::Dictionary),
                Err(_) => None,
            })
        }

        async fn list(
            &self,
            key: Key<'_>,
            mut visit: impl FnMut(Entry<'_>) -> ControlFlow<()>,
        ) -> Result<(), KvError<NoPage>> {
            match Self::only(key) {
                Ok(()) => Err(KvError::IsValue),
                Err(KvError::IsDictionary) => {
                    let _ = visit(Entry {
                        name: "file",
                        kind: EntryKind::Value,
                    });
                    Ok(())
                }
                Err(error) => Err(error),
            }
        }

        async fn digest(&self, key: Key<'_>) -> Result<Digest, KvError<NoPage>> {
            Self::only(key)?;
            Digest::new(&self.data.len().to_be_bytes()).ok_or(KvError::TooLarge)
        }

        async fn last_modified(&self, key: Key<'_>) -> Result<Option<Duration>, KvError<NoPage>> {
            Self::only(key)?;
            Ok(None)
        }
    }

    /// A service that knows no store: copies a value out, part by part.
    async fn read_all<K: Kv>(
        store: &K,
        key: Key<'_>,
        part: usize,
    ) -> Result<Vec<u8>, KvError<K::Error>> {
        let size = store.size(key).await?;
        let mut bytes = Vec::new();
        while (bytes.len() as u64) < size {
            let value = store.get_partial(key, bytes.len() as u64, part).await?;
            assert!(!value.is_empty() && value.len() <= part);
            value
                .pieces()
                .for_each(|piece| bytes.extend_from_slice(piece));
        }
        Ok(bytes)
    }

    static DATA: [u8; 1_000] = {
        let mut data = [0; 1_000];
        let mut at = 0;
        while at < data.len() {
            data[at] = (at * 7) as u8;
            at += 1;
        }
        data
    };

    #[test]
    fn one_service_reads_from_pages_of_a_device_and_from_the_program() {
        let pool = Pool::leak(20, SECTOR).unwrap();
        let pages = pool.reserve(18).unwrap();
        let paged = Paged {
            data: &DATA,
            pages,
            asked: RefCell::default(),
            brought: Cell::new(0),
        };
        static COMPILED: CompiledStore =
            CompiledStore::new_const(&[CompiledEntry::new("file", &DATA)]);
        let file = Key::new("file").unwrap();
        let cx = &mut Context::from_waker(Waker::noop());
        for part in [1, 63, 64, 100, 999, 5_000] {
            let mut reading = pin!(read_all(&paged, file, part));
            let bytes = loop {
                match reading.as_mut().poll(cx) {
                    Poll::Ready(bytes) => break bytes,
                    Poll::Pending => paged.bring(),
                }
            };
            assert_eq!(bytes.as_deref(), Ok(&DATA[..]));
            let compiled = pin!(read_all(&COMPILED, file, part)).poll(cx);
            assert_eq!(compiled.map(Result::unwrap), Poll::Ready(DATA.to_vec()));
        }
        assert_eq!(paged.pages.free(), 18);
    }

    /// A store that says it bit by bit says it at once, too.
    #[test]
    fn what_is_known_of_a_value_of_a_device_is_known_at_once() {
        let pool = Pool::leak(20, SECTOR).unwrap();
        let paged = Paged {
            data: &DATA,
            pages: pool.reserve(2).unwrap(),
            asked: RefCell::default(),
            brought: Cell::new(0),
        };
        let cx = &mut Context::from_waker(Waker::noop());
        let expected = Metadata {
            size: 1_000,
            digest: Digest::new(&1_000_usize.to_be_bytes()).unwrap(),
            last_modified: None,
        };
        let (file, mut room) = (Key::new("fi").unwrap(), [0; 8]);
        let variants = pin!(paged.with_suffixes(file, ["le", ".gz"], &mut room)).poll(cx);
        assert_eq!(variants, Poll::Ready(Ok([true, false])));
        let variants = pin!(paged.with_suffixes(file, ["le"], &mut room[..3])).poll(cx);
        assert_eq!(variants, Poll::Ready(Ok([false])), "no room");
        let mut ask = |path| pin!(paged.metadata(Key::new(path).unwrap())).poll(cx);
        assert_eq!(ask("file"), Poll::Ready(Ok(expected)));
        assert_eq!(ask("none"), Poll::Ready(Err(KvError::NotFound)));
        assert_eq!(ask(""), Poll::Ready(Err(KvError::IsDictionary)));
    }

    #[test]
    fn a_read_that_is_given_up_gives_its_pages_back() {
        let pool = Pool::leak(20, SECTOR).unwrap();
        let pages = pool.reserve(2).unwrap();
        let paged = Paged {
            data: &DATA,
            pages,
            asked: RefCell::default(),
            brought: Cell::new(0),
        };
        let file = Key::new("file").unwrap();
        let cx = &mut Context::from_waker(Waker::noop());
        let mut reading = std::boxed::Box::pin(paged.get_partial(file, 0, 100));
        assert!(reading.as_mut().poll(cx).is_pending());
        paged.bring();
        assert!(reading.as_mut().poll(cx).is_pending());
        assert_eq!(paged.pages.free(), 0);
        drop(reading);
        assert_eq!(paged.pages.free(), 2);
    }

    #[test]
    fn a_value_in_pieces_is_not_contiguous() {
        let pool = Pool::leak(2, SECTOR).unwrap();
        let page = || {
            let mut page = pool.alloc().unwrap();
            page.extend_from_slice(b"ab").unwrap();
            page
        };
        let mut frame = Frame::from(page());
        assert_eq!(Value::contiguous(&frame), Some(&b"ab"[..]));
        frame.push(page()).unwrap();
        assert_eq!((Value::contiguous(&frame), Value::len(&frame)), (None, 4));
        assert_eq!(Value::contiguous(&Frame::new()), Some(&b""[..]));
    }
}
