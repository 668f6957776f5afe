//! Compiled-in bytes that frames are sent from.

use core::cell::Cell;
use core::fmt;
use core::ops::{Deref, RangeBounds};

use super::page::resolve;
use super::{NoRoom, Pool, PoolError};
use crate::frame::Segment;

/// A place in the pool's table of static ranges. What was registered stays.
#[derive(Debug)]
pub(super) struct StaticEntry(Cell<Option<Registered>>);

#[derive(Clone, Copy, Debug)]
struct Registered {
    bytes: &'static [u8],
    pool: &'static Pool,
    index: u16,
}

impl StaticEntry {
    pub(super) const fn new() -> Self {
        Self(Cell::new(None))
    }

    pub(super) fn get(&self) -> Option<&'static [u8]> {
        Some(self.0.get()?.bytes)
    }
}

/// A registered read-only range: compiled-in pages, a zone.
///
/// ```
/// # use mirage_core::pool::{Pool, PoolStorage};
/// # static STORAGE: PoolStorage<4, 2048> = PoolStorage::new();
/// # let pool = STORAGE.init().unwrap();
/// let page = pool.register_static(b"<h1>It works</h1>").unwrap();
/// let segment = page.slice(4..12).unwrap();
/// assert_eq!(&segment[..], b"It works");
/// ```
#[derive(Clone, Copy, Debug)]
pub struct StaticRange {
    entry: &'static StaticEntry,
    bytes: &'static [u8],
    index: u16,
}

impl StaticRange {
    pub(super) fn register(
        pool: &'static Pool,
        table: &'static [StaticEntry],
        bytes: &'static [u8],
    ) -> Result<Self, PoolError> {
        if u32::try_from(bytes.len()).is_err() {
            return Err(PoolError::StaticTooLong);
        }
        let place = table
            .iter()
            .enumerate()
            .find(|(_, place)| place.get().is_none());
        let (index, entry) = place.ok_or(PoolError::OutOfStaticRanges)?;
        let index = u16::try_from(index).map_err(|_| PoolError::OutOfStaticRanges)?;
        entry.0.set(Some(Registered { bytes, pool, index }));
        Ok(Self {
            entry,
            bytes,
            index,
        })
    }

    pub(super) fn find(table: &'static [StaticEntry], bytes: &'static [u8]) -> Option<Segment> {
        let wanted = bytes.as_ptr_range();
        let holds = |entry: &'static StaticEntry| {
            let range = entry.get()?.as_ptr_range();
            let inside = range.start <= wanted.start && wanted.end <= range.end;
            inside.then(|| (entry, wanted.start.addr() - range.start.addr()))
        };
        let (entry, start) = table.iter().find_map(holds)?;
        StaticSlice::segment(entry, start, bytes.len())
    }

    /// The range's number in [`Pool::static_ranges`](super::Pool::static_ranges).
    pub fn index(&self) -> usize {
        usize::from(self.index)
    }

    /// The bytes.
    pub fn bytes(&self) -> &'static [u8] {
        self.bytes
    }

    /// A frame's segment of a part of the range. `None` when `range` isn't in it.
    pub fn slice(&self, range: impl RangeBounds<usize>) -> Option<Segment> {
        let (from, to) = resolve(range, self.bytes.len())?;
        StaticSlice::segment(self.entry, from, to - from)
    }
}

/// A part of a [`StaticRange`]: read-only for the life of the program, so it clones freely and no page stands behind it.
#[derive(Clone)]
pub struct StaticSlice {
    entry: &'static StaticEntry,
    /// `start..start + len` lies in the entry's bytes, whose length fits.
    start: u32,
    len: u32,
}

#[cfg(target_pointer_width = "64")]
const _: () = assert!(size_of::<StaticSlice>() == 16);

impl StaticSlice {
    fn segment(entry: &'static StaticEntry, start: usize, len: usize) -> Option<Segment> {
        Some(Segment::Static(Self {
            entry,
            start: u32::try_from(start).ok()?,
            len: u32::try_from(len).ok()?,
        }))
    }

    /// The number of its range in [`Pool::static_ranges`](super::Pool::static_ranges).
    #[inline]
    pub fn range(&self) -> usize {
        self.entry
            .0
            .get()
            .map_or(0, |entry| usize::from(entry.index))
    }

    /// Whether its range is registered with this pool: what a device that serves one pool's ranges looks at, before it
    /// believes [`range`](Self::range).
    #[inline]
    pub fn is_of(&self, pool: &Pool) -> bool {
        self.pool().is_some_and(|own| core::ptr::eq(own, pool))
    }

    /// The pool that its range is registered with.
    #[inline]
    pub(crate) fn pool(&self) -> Option<&'static Pool> {
        Some(self.entry.0.get()?.pool)
    }

    /// The bytes.
    #[inline]
    pub fn bytes(&self) -> &'static [u8] {
        let all = self.entry.get().unwrap_or_default();
        let from = all.get(self.start as usize..).unwrap_or_default();
        from.get(..self.len as usize).unwrap_or_default()
    }

    /// How many bytes it is of.
    #[inline(always)]
    pub(crate) fn window_len(&self) -> usize {
        self.len as usize
    }

    /// Makes it at most `len` bytes long.
    #[inline]
    pub fn truncate(&mut self, len: usize) {
        if len < self.window_len() {
            self.len = len as u32;
        }
    }

    /// Cuts `count` bytes off the front.
    ///
    /// # Errors
    ///
    /// [`NoRoom`] when it is shorter; nothing changes.
    #[inline]
    pub fn advance(&mut self, count: usize) -> Result<(), NoRoom> {
        if count > self.window_len() {
            return Err(NoRoom);
        }
        // At most `len`: fits, and `start + len` stays.
        self.start += count as u32;
        self.len -= count as u32;
        Ok(())
    }
}

impl Deref for StaticSlice {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        self.bytes()
    }
}

impl fmt::Debug for StaticSlice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "StaticSlice({}: {} bytes)", self.range(), self.len)
    }
}
