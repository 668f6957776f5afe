//! The store that is compiled in.

use core::convert::Infallible;
use core::fmt;
use core::ops::ControlFlow;
use core::time::Duration;

use super::{Digest, Entry, EntryKind, Key, KeyError, Kv, KvError, Metadata};

/// A value that is compiled in, and its key.
#[derive(Clone, Copy, Debug)]
pub struct CompiledEntry {
    key: &'static str,
    value: &'static [u8],
    digest: Option<Digest>,
    last_modified: Option<Duration>,
}

impl CompiledEntry {
    /// A value under a key, which is written without `/` at either end.
    pub const fn new(key: &'static str, value: &'static [u8]) -> Self {
        Self {
            key,
            value,
            digest: None,
            last_modified: None,
        }
    }

    /// Its key.
    pub const fn key(&self) -> &'static str {
        self.key
    }

    fn digest(&self) -> Digest {
        self.digest.unwrap_or_else(|| fnv1a(self.value))
    }

    /// With a digest that a build script made. Without one it is computed when it is asked for.
    pub const fn with_digest(self, digest: Digest) -> Self {
        Self {
            digest: Some(digest),
            ..self
        }
    }

    /// With the time when the value was last changed, since the Unix epoch.
    pub const fn with_last_modified(self, last_modified: Duration) -> Self {
        Self {
            last_modified: Some(last_modified),
            ..self
        }
    }
}

/// A store of values that are compiled in: sorted by key, found by binary search, given as they lie, without a copy.
///
/// ```
/// use mirage_core::kv::{CompiledEntry, CompiledStore, Key};
///
/// // Checked when it is compiled: sorted, and every key in order.
/// static SITE: CompiledStore = CompiledStore::new_const(&[
///     CompiledEntry::new("css/site.css", b"h1 { color: teal }"),
///     CompiledEntry::new("index.html", b"<h1>It works</h1>"),
/// ]);
///
/// assert_eq!(SITE.value(Key::new("/index.html").unwrap()), Some(&b"<h1>It works</h1>"[..]));
/// ```
///
/// What is not sorted doesn't compile:
///
/// ```compile_fail,E0080
/// # use mirage_core::kv::{CompiledEntry, CompiledStore};
/// static SITE: CompiledStore =
///     CompiledStore::new_const(&[CompiledEntry::new("b", b""), CompiledEntry::new("a", b"")]);
/// ```
#[derive(Clone, Copy, Debug)]
pub struct CompiledStore {
    entries: &'static [CompiledEntry],
}

impl CompiledStore {
    /// A store of these entries, which are sorted by key, byte by byte.
    ///
    /// # Errors
    ///
    /// Which entry is wrong, and why.
    pub const fn new(entries: &'static [CompiledEntry]) -> Result<Self, CompiledStoreError> {
        let mut at = 0;
        while at < entries.len() {
            let key = entries[at].key;
            match Key::new(key) {
                Ok(checked) if checked.as_str().len() == key.len() && !checked.is_root() => {}
                Ok(_) => {
                    return Err(CompiledStoreError {
                        entry: at,
                        problem: CompiledStoreProblem::Key(KeyError::Empty),
                    });
                }
                Err(error) => {
                    return Err(CompiledStoreError {
                        entry: at,
                        problem: CompiledStoreProblem::Key(error),
                    });
                }
            }
            if at > 0 && !is_less(entries[at - 1].key.as_bytes(), key.as_bytes()) {
                return Err(CompiledStoreError {
                    entry: at,
                    problem: CompiledStoreProblem::Unsorted,
                });
            }
            at += 1;
        }
        // Sorted: an entry below a value's key may still have others between the two ("a", "a.b", "a/c").
        let mut at = 0;
        while at < entries.len() {
            let key = entries[at].key.as_bytes();
            let mut end = 1;
            while end < key.len() {
                if key[end] == b'/' && has_value(entries, key, end) {
                    return Err(CompiledStoreError {
                        entry: at,
                        problem: CompiledStoreProblem::BelowValue,
                    });
                }
                end += 1;
            }
            at += 1;
        }
        Ok(Self { entries })
    }

    /// As [`new`](Self::new), for a `const` or `static`: what is wrong ends the compilation.
    ///
    /// # Panics
    ///
    /// When the entries are not sorted, or a key is wrong.
    pub const fn new_const(entries: &'static [CompiledEntry]) -> Self {
        match Self::new(entries) {
            Ok(store) => store,
            Err(CompiledStoreError {
                problem: CompiledStoreProblem::Key(_),
                ..
            }) => panic!("an entry's key is no key"),
            Err(CompiledStoreError {
                problem: CompiledStoreProblem::Unsorted,
                ..
            }) => panic!("entries are not sorted"),
            Err(CompiledStoreError {
                problem: CompiledStoreProblem::BelowValue,
                ..
            }) => {
                panic!("an entry's key lies below another that has a value")
            }
        }
    }

    /// The value, at once.
    pub fn value(&self, key: Key<'_>) -> Option<&'static [u8]> {
        self.find(key).ok().map(|entry| entry.value)
    }

    /// The keys with values, sorted.
    pub fn keys(&self) -> impl ExactSizeIterator<Item = &'static str> + Clone {
        self.entries.iter().map(|entry| entry.key)
    }

    fn find(&self, key: Key<'_>) -> Result<&'static CompiledEntry, KvError<Infallible>> {
        match self
            .entries
            .binary_search_by(|entry| entry.key.cmp(key.as_str()))
        {
            Ok(at) => Ok(&self.entries[at]),
            Err(at) => Err(match self.is_dictionary(key, at) {
                true => KvError::IsDictionary,
                false => KvError::NotFound,
            }),
        }
    }

    /// Whether there are entries below a key, which itself would be at this place.
    fn is_dictionary(&self, key: Key<'_>, at: usize) -> bool {
        // Those that begin with the key lie in a row from there on: mostly there is none.
        let next = self.entries.get(at);
        let begins = next.is_some_and(|entry| entry.key.starts_with(key.as_str()));
        key.is_root() || (begins && !self.below(key).is_empty())
    }

    /// The entries whose keys begin with `key` and a `/`: they lie in a row.
    fn below(&self, key: Key<'_>) -> &'static [CompiledEntry] {
        if key.is_root() {
            return self.entries;
        }
        let key = key.as_str();
        let rest = |entry: &CompiledEntry| entry.key.as_bytes().get(key.len()).copied();
        // Of the keys that begin with `key`, by their next byte.
        let order = |entry: &CompiledEntry| {
            let head = entry
                .key
                .as_bytes()
                .get(..key.len())
                .unwrap_or(entry.key.as_bytes());
            head.cmp(key.as_bytes()).then(rest(entry).cmp(&Some(b'/')))
        };
        let from = self.entries.partition_point(|entry| order(entry).is_lt());
        let to = self.entries.partition_point(|entry| order(entry).is_le());
        &self.entries[from..to]
    }
}

impl Kv for CompiledStore {
    type Error = Infallible;
    type Value = &'static [u8];

    async fn get(&self, key: Key<'_>) -> Result<&'static [u8], KvError<Infallible>> {
        Ok(self.find(key)?.value)
    }

    async fn get_partial(
        &self,
        key: Key<'_>,
        offset: u64,
        length: usize,
    ) -> Result<&'static [u8], KvError<Infallible>> {
        let value = self.find(key)?.value;
        let rest = usize::try_from(offset)
            .ok()
            .and_then(|offset| value.get(offset..))
            .unwrap_or_default();
        Ok(&rest[..rest.len().min(length)])
    }

    async fn size(&self, key: Key<'_>) -> Result<u64, KvError<Infallible>> {
        Ok(self.find(key)?.value.len() as u64)
    }

    async fn exists(&self, key: Key<'_>) -> Result<Option<EntryKind>, KvError<Infallible>> {
        match self.find(key) {
            Ok(_) => Ok(Some(EntryKind::Value)),
            Err(KvError::IsDictionary) => Ok(Some(EntryKind::Dictionary)),
            Err(_) => Ok(None),
        }
    }

    async fn list(
        &self,
        key: Key<'_>,
        mut visit: impl FnMut(Entry<'_>) -> ControlFlow<()>,
    ) -> Result<(), KvError<Infallible>> {
        match self.find(key) {
            Ok(_) => return Err(KvError::IsValue),
            Err(KvError::IsDictionary) => {}
            Err(error) => return Err(error),
        }
        let skip = if key.is_root() {
            0
        } else {
            key.as_str().len() + 1
        };
        let mut last = None;
        for entry in self.below(key) {
            let rest = &entry.key[skip..];
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

    /// What the entry was given, or the value's 128-bit FNV-1a hash (draft-eastlake-fnv).
    async fn digest(&self, key: Key<'_>) -> Result<Digest, KvError<Infallible>> {
        Ok(self.find(key)?.digest())
    }

    async fn last_modified(&self, key: Key<'_>) -> Result<Option<Duration>, KvError<Infallible>> {
        Ok(self.find(key)?.last_modified)
    }

    async fn with_suffixes<const COUNT: usize>(
        &self,
        key: Key<'_>,
        suffixes: [&str; COUNT],
        _: &mut [u8],
    ) -> Result<[bool; COUNT], KvError<Infallible>> {
        let key = key.as_str();
        let from = self.entries.partition_point(|entry| entry.key <= key);
        let behind = &self.entries[from..];
        // Keys that begin with this one lie in a row from here on: mostly there is none.
        if !behind.first().is_some_and(|next| next.key.starts_with(key)) {
            return Ok([false; COUNT]);
        }
        Ok(suffixes.map(|suffix| {
            let order = |entry: &CompiledEntry| {
                let (head, rest) = entry
                    .key
                    .as_bytes()
                    .split_at_checked(key.len())
                    .unwrap_or((entry.key.as_bytes(), b""));
                let (key, suffix) = (key.as_bytes(), suffix.as_bytes());
                head.cmp(key).then_with(|| rest.cmp(suffix))
            };
            behind.binary_search_by(order).is_ok()
        }))
    }

    async fn metadata(&self, key: Key<'_>) -> Result<Metadata, KvError<Infallible>> {
        let entry = self.find(key)?;
        Ok(Metadata {
            size: entry.value.len() as u64,
            digest: entry.digest(),
            last_modified: entry.last_modified,
        })
    }
}

/// An entry of a compiled-in store that is wrong: the author's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CompiledStoreError {
    /// Which, counted from zero.
    pub entry: usize,
    /// What is wrong.
    pub problem: CompiledStoreProblem,
}

/// What is wrong with an entry of a compiled-in store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum CompiledStoreProblem {
    /// Its key is none, or has a `/` at the beginning.
    Key(KeyError),
    /// Its key isn't greater than the one before.
    Unsorted,
    /// Its key lies below another that has a value.
    BelowValue,
}

impl fmt::Display for CompiledStoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "entry {}: ", self.entry)?;
        match self.problem {
            CompiledStoreProblem::Key(error) => error.fmt(f),
            CompiledStoreProblem::Unsorted => f.write_str("key is not greater than the one before"),
            CompiledStoreProblem::BelowValue => {
                f.write_str("key lies below another that has a value")
            }
        }
    }
}

impl core::error::Error for CompiledStoreError {}

/// Byte by byte, as `Ord` for `str`, which isn't `const`.
const fn is_less(a: &[u8], b: &[u8]) -> bool {
    let mut at = 0;
    while at < a.len() && at < b.len() {
        if a[at] != b[at] {
            return a[at] < b[at];
        }
        at += 1;
    }
    a.len() < b.len()
}

/// Whether `key[..end]` is the key of an entry: a binary search that is `const`.
const fn has_value(entries: &[CompiledEntry], key: &[u8], end: usize) -> bool {
    let (prefix, _) = key.split_at(end);
    let (mut low, mut high) = (0, entries.len());
    while low < high {
        let middle = low + (high - low) / 2;
        let other = entries[middle].key.as_bytes();
        if is_less(other, prefix) {
            low = middle + 1;
        } else if is_less(prefix, other) {
            high = middle;
        } else {
            return true;
        }
    }
    false
}

pub(super) fn fnv1a(bytes: &[u8]) -> Digest {
    const OFFSET_BASIS: u128 = 0x6c62_272e_07bb_0142_62b8_2175_6295_c58d;
    const PRIME: u128 = 0x0000_0000_0100_0000_0000_0000_0000_013b;
    let hash = bytes.iter().fold(OFFSET_BASIS, |hash, &byte| {
        (hash ^ u128::from(byte)).wrapping_mul(PRIME)
    });
    let mut digest = [0; Digest::MAX_LEN];
    digest[..16].copy_from_slice(&hash.to_be_bytes());
    Digest {
        bytes: digest,
        len: 16,
    }
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;
    use crate::kv::Value;
    use core::pin::pin;
    use core::task::{Context, Poll, Waker};
    use std::string::{String, ToString};
    use std::vec::Vec;

    static STORE: CompiledStore = CompiledStore::new_const(&[
        CompiledEntry::new("a.txt", b"between"),
        CompiledEntry::new("a/b/c", b"deep"),
        CompiledEntry::new("a/b/d", b"deeper"),
        CompiledEntry::new("a/e", b"").with_last_modified(Duration::from_secs(5)),
        CompiledEntry::new("a0", b"behind the slash"),
        CompiledEntry::new("z", b"0123456789"),
    ]);

    fn now<T>(future: impl Future<Output = T>) -> T {
        match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(output) => output,
            Poll::Pending => panic!("a compiled-in store never waits"),
        }
    }

    fn key(path: &str) -> Key<'_> {
        Key::new(path).unwrap()
    }

    fn list(path: &str) -> Result<Vec<(String, EntryKind)>, KvError<Infallible>> {
        let mut entries = Vec::new();
        now(STORE.list(key(path), |entry| {
            entries.push((entry.name.to_string(), entry.kind));
            ControlFlow::Continue(())
        }))?;
        Ok(entries)
    }

    #[test]
    fn values_are_found_where_they_lie() {
        for entry in STORE.entries {
            let value = now(STORE.get(key(entry.key))).unwrap();
            assert!(core::ptr::eq(value, entry.value));
            assert_eq!(value.contiguous(), Some(entry.value));
            assert_eq!(
                now(STORE.size(key(entry.key))),
                Ok(entry.value.len() as u64)
            );
        }
        assert_eq!(now(STORE.get(key("a"))), Err(KvError::IsDictionary));
        assert_eq!(now(STORE.get(key(""))), Err(KvError::IsDictionary));
        for path in ["a/b/cc", "a/b/", "0", "zz", "a/b/c/d"]
            .into_iter()
            .filter_map(|path| Key::new(path).ok())
        {
            assert_eq!(now(STORE.get(path)), Err(KvError::NotFound));
            assert_eq!(now(STORE.exists(path)), Ok(None));
        }
    }

    #[test]
    fn all_that_is_known_of_a_value_is_known_at_once() {
        for path in STORE
            .keys()
            .chain(["", "a", "a/b", "a/", "0", "zz", "a.", "a.txt0", "z0"])
        {
            let Ok(key) = Key::new(path) else {
                continue;
            };
            let one_by_one = now(STORE.size(key)).map(|size| Metadata {
                size,
                digest: now(STORE.digest(key)).unwrap(),
                last_modified: now(STORE.last_modified(key)).unwrap(),
            });
            assert_eq!(now(STORE.metadata(key)), one_by_one, "{path}");
            // A dictionary is one by what lies below it, wherever that lies.
            let prefix = if path.is_empty() {
                String::new()
            } else {
                path.to_string() + "/"
            };
            let has_value = STORE.keys().any(|key| key == path);
            let has_below = STORE.keys().any(|key| key.starts_with(&prefix));
            let kind = match (has_value, has_below) {
                (true, _) => Some(EntryKind::Value),
                (false, true) => Some(EntryKind::Dictionary),
                (false, false) => None,
            };
            assert_eq!(now(STORE.exists(key)), Ok(kind), "{path}");
        }
    }

    #[test]
    fn variants_are_found_wherever_they_lie_among_the_keys() {
        static VARIANTS: CompiledStore = CompiledStore::new_const(&[
            CompiledEntry::new("a", b""),
            CompiledEntry::new("a-", b""),
            CompiledEntry::new("a.", b""),
            CompiledEntry::new("a.br", b""),
            CompiledEntry::new("a.br.gz", b""),
            CompiledEntry::new("a.c", b""),
            CompiledEntry::new("a.gz/b", b""),
            CompiledEntry::new("aa", b""),
            CompiledEntry::new("aa.gz", b""),
            CompiledEntry::new("b", b""),
            CompiledEntry::new("z.gz", b""),
        ]);
        let mut room = [0; 32];
        for store in [&STORE, &VARIANTS] {
            for path in store.keys().chain(["0", "aaa", "zz"]) {
                let suffixes = [".br", ".gz", ".", "", "a", "/b"];
                let found = now(store.with_suffixes(key(path), suffixes, &mut []));
                let expected = suffixes.map(|suffix| {
                    let longer = path.to_string() + suffix;
                    !suffix.is_empty() && store.keys().any(|key| key == longer)
                });
                assert_eq!(found, Ok(expected), "{path}");
                // As a store says it that looks at one key after the other; an empty suffix is the key itself.
                for (suffix, expected) in core::iter::zip(suffixes, expected) {
                    let longer = key(path).with_suffix(suffix, &mut room).unwrap();
                    let is_value = now(store.exists(longer)) == Ok(Some(EntryKind::Value));
                    assert!(suffix.is_empty() || is_value == expected, "{path}{suffix}");
                }
            }
        }
    }

    #[test]
    fn parts_end_where_the_value_ends() {
        let part = |offset, length| now(STORE.get_partial(key("z"), offset, length)).unwrap();
        assert_eq!(part(0, 3), b"012");
        assert_eq!(part(8, usize::MAX), b"89");
        assert_eq!(part(10, 1), b"");
        assert_eq!(part(u64::MAX, usize::MAX), b"");
    }

    #[test]
    fn lists_show_each_name_once() {
        use EntryKind::{Dictionary, Value};
        let names = |entries: &[(&str, EntryKind)]| -> Vec<(String, EntryKind)> {
            entries
                .iter()
                .map(|(name, kind)| (name.to_string(), *kind))
                .collect()
        };
        let root = [
            ("a.txt", Value),
            ("a", Dictionary),
            ("a0", Value),
            ("z", Value),
        ];
        assert_eq!(list("").unwrap(), names(&root));
        assert_eq!(
            list("a").unwrap(),
            names(&[("b", Dictionary), ("e", Value)])
        );
        assert_eq!(list("a/b").unwrap(), names(&[("c", Value), ("d", Value)]));
        assert_eq!(list("z"), Err(KvError::IsValue));
        assert_eq!(list("b"), Err(KvError::NotFound));
        let mut seen = 0;
        now(STORE.list(Key::ROOT, |_| {
            seen += 1;
            ControlFlow::Break(())
        }))
        .unwrap();
        assert_eq!(seen, 1);
    }

    #[test]
    fn digests_differ_when_values_do() {
        let digest = |path| now(STORE.digest(key(path))).unwrap();
        // FNV-1a of nothing is its offset basis.
        assert_eq!(
            digest("a/e").to_string(),
            "6c62272e07bb014262b821756295c58d"
        );
        assert_ne!(digest("a/b/c"), digest("a/b/d"));
        assert_eq!(fnv1a(b"a").to_string(), "d228cb696f1a8caf78912b704e4a8964");
        let given = Digest::new(b"given").unwrap();
        static GIVEN: &[CompiledEntry] =
            &[
                CompiledEntry::new("k", b"v").with_digest(match Digest::new(b"given") {
                    Some(digest) => digest,
                    None => panic!(),
                }),
            ];
        assert_eq!(
            now(CompiledStore::new(GIVEN).unwrap().digest(key("k"))),
            Ok(given)
        );
        assert_eq!(Digest::new(&[0; 33]), None);
        assert_eq!(
            now(STORE.last_modified(key("a/e"))),
            Ok(Some(Duration::from_secs(5)))
        );
    }

    #[test]
    fn what_is_wrong_is_refused_with_its_place() {
        fn problem(keys: &[&'static str]) -> Option<(usize, CompiledStoreProblem)> {
            let entries: Vec<CompiledEntry> = keys
                .iter()
                .map(|key| CompiledEntry::new(key, b""))
                .collect();
            CompiledStore::new(entries.leak())
                .err()
                .map(|error| (error.entry, error.problem))
        }
        assert_eq!(problem(&[]), None);
        assert_eq!(
            problem(&["a", "a"]),
            Some((1, CompiledStoreProblem::Unsorted))
        );
        assert_eq!(
            problem(&["a", "c", "b"]),
            Some((2, CompiledStoreProblem::Unsorted))
        );
        assert_eq!(
            problem(&["a", "a.b", "a/c"]),
            Some((2, CompiledStoreProblem::BelowValue))
        );
        assert_eq!(
            problem(&["/a"]),
            Some((0, CompiledStoreProblem::Key(KeyError::Empty)))
        );
        assert_eq!(
            problem(&[""]),
            Some((0, CompiledStoreProblem::Key(KeyError::Empty)))
        );
        assert_eq!(
            problem(&["a", "b/../c"]),
            Some((1, CompiledStoreProblem::Key(KeyError::Dots)))
        );
    }
}
