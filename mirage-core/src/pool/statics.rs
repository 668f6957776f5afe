//! Compiled-in bytes that frames are sent from.

use core::cell::Cell;
use core::fmt;
use core::ops::{Deref, RangeBounds};
use core::ptr::NonNull;
use core::slice;

use super::page::resolve;
use super::{NoRoom, PoolError};
use crate::frame::Segment;

/// A place in the pool's table of static ranges.
#[derive(Debug)]
pub(super) struct StaticEntry(Cell<Option<&'static [u8]>>);

impl StaticEntry {
    pub(super) const fn new() -> Self {
        Self(Cell::new(None))
    }

    pub(super) fn get(&self) -> Option<&'static [u8]> {
        self.0.get()
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
    bytes: &'static [u8],
    index: u16,
}

impl StaticRange {
    pub(super) fn register(table: &[StaticEntry], bytes: &'static [u8]) -> Result<Self, PoolError> {
        if u32::try_from(bytes.len()).is_err() {
            return Err(PoolError::StaticTooLong);
        }
        let place = table
            .iter()
            .enumerate()
            .find(|(_, place)| place.get().is_none());
        let (index, place) = place.ok_or(PoolError::OutOfStaticRanges)?;
        let index = u16::try_from(index).map_err(|_| PoolError::OutOfStaticRanges)?;
        place.0.set(Some(bytes));
        Ok(Self { bytes, index })
    }

    pub(super) fn find(table: &[StaticEntry], bytes: &'static [u8]) -> Option<Segment> {
        let wanted = bytes.as_ptr_range();
        let holds = |entry: &StaticEntry| {
            let range = entry.get().map(<[u8]>::as_ptr_range);
            range.is_some_and(|range| range.start <= wanted.start && wanted.end <= range.end)
        };
        let index = u16::try_from(table.iter().position(holds)?).ok()?;
        Some(Segment::Static(StaticSlice::new(bytes, index)?))
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
        Some(Segment::Static(StaticSlice::new(
            &self.bytes[from..to],
            self.index,
        )?))
    }
}

/// A part of a [`StaticRange`]: read-only for the life of the program, so it clones freely and no page stands behind it.
#[derive(Clone)]
pub struct StaticSlice {
    start: NonNull<u8>,
    len: u32,
    range: u16,
}

#[cfg(target_pointer_width = "64")]
const _: () = assert!(size_of::<StaticSlice>() == 16);

impl StaticSlice {
    fn new(bytes: &'static [u8], range: u16) -> Option<Self> {
        Some(Self {
            start: NonNull::from(bytes).cast(),
            len: u32::try_from(bytes.len()).ok()?,
            range,
        })
    }

    /// The number of its range in [`Pool::static_ranges`](super::Pool::static_ranges).
    #[inline]
    pub fn range(&self) -> usize {
        usize::from(self.range)
    }

    /// The bytes.
    #[inline]
    pub fn bytes(&self) -> &'static [u8] {
        // SAFETY: `start` and `len` are those of a `&'static [u8]`, or of a part of it: every method only narrows.
        unsafe { slice::from_raw_parts(self.start.as_ptr(), self.len as usize) }
    }

    /// Makes it at most `len` bytes long.
    #[inline]
    pub fn truncate(&mut self, len: usize) {
        if len < self.len() {
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
        let rest = self.bytes().get(count..).ok_or(NoRoom)?;
        (self.start, self.len) = (NonNull::from(rest).cast(), rest.len() as u32);
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
        write!(f, "StaticSlice({}: {} bytes)", self.range, self.len)
    }
}
