//! The unique, writable handle.

use core::fmt;
use core::mem::ManuallyDrop;
use core::ops::{Deref, DerefMut};
use core::slice;

use super::block::SATURATED;
use super::{BlockId, LendError, Lender, LentMut, Page, Pool};

/// A window of a block that this handle alone reaches.
///
/// The handle's *extent* is the part of the block that it owns; its *window* is the part of the extent that it
/// dereferences to. What lies before the window in the extent is headroom, what lies behind it tailroom. A page comes
/// from [`Pool::alloc`] with an empty window and the whole block as tailroom. Room that comes into the window holds
/// whatever was written there last.
///
/// ```
/// # use mirage_core::pool::{Pool, PoolStorage};
/// static STORAGE: PoolStorage<4, 2048> = PoolStorage::new();
/// let pool = STORAGE.init().unwrap();
/// let mut page = pool.alloc().unwrap();
/// page.reset(64).unwrap(); // room for headers
/// page.extend_from_slice(b"payload").unwrap();
/// page.prepend(2).unwrap().copy_from_slice(b"h:");
/// assert_eq!(&page[..], b"h:payload");
/// assert_eq!((page.headroom(), page.tailroom()), (62, 2048 - 71));
/// ```
pub struct PageMut {
    pool: &'static Pool,
    block: u32,
    /// The extent is `low..high`, the window `start..end`: `low <= start <= end <= high <= block_size`.
    low: u16,
    high: u16,
    start: u16,
    end: u16,
    /// Leaves values for the tag of an enumeration (`Segment`) in what would be padding.
    niche: Niche,
}

#[derive(Clone, Copy)]
#[repr(u8)]
enum Niche {
    Only,
}

const _: () = assert!(Pool::MAX_BLOCK_SIZE <= u16::MAX as usize);
#[cfg(target_pointer_width = "64")]
const _: () = assert!(size_of::<PageMut>() == 24);

impl PageMut {
    /// The only handle of a block: its extent is the block, its window `start..end`.
    #[inline]
    pub(super) fn whole(pool: &'static Pool, block: u32, start: u16, end: u16) -> Self {
        let high = pool.block_size() as u16;
        debug_assert!(start <= end && end <= high);
        Self {
            pool,
            block,
            low: 0,
            high,
            start,
            end,
            niche: Niche::Only,
        }
    }

    /// Gives the handle up without counting it down: (pool, block, window's start, window's end).
    #[inline]
    pub(super) fn into_parts(self) -> (&'static Pool, u32, u16, u16) {
        let this = ManuallyDrop::new(self);
        (this.pool, this.block, this.start, this.end)
    }

    /// The pool that the page is of.
    #[inline]
    pub fn pool(&self) -> &'static Pool {
        self.pool
    }

    /// The block that the window is in.
    #[inline]
    pub fn block(&self) -> BlockId {
        BlockId {
            pool: self.pool,
            index: self.block,
        }
    }

    /// Where the window begins in its block, in bytes.
    #[inline]
    pub fn offset(&self) -> usize {
        usize::from(self.start)
    }

    /// Bytes of the extent: headroom, window and tailroom.
    #[inline]
    pub fn capacity(&self) -> usize {
        usize::from(self.high - self.low)
    }

    /// Bytes before the window that [`prepend`](Self::prepend) can take.
    #[inline]
    pub fn headroom(&self) -> usize {
        usize::from(self.start - self.low)
    }

    /// Bytes behind the window that [`append`](Self::append) can take.
    #[inline]
    pub fn tailroom(&self) -> usize {
        usize::from(self.high - self.end)
    }

    /// Whether no other handle of the block exists.
    #[inline]
    pub fn is_sole(&self) -> bool {
        self.pool.state(self.block).handles.get() == 1
    }

    /// Empties the window and puts it behind `headroom` bytes of the extent.
    ///
    /// # Errors
    ///
    /// [`NoRoom`] when the extent is shorter; nothing changes.
    #[inline]
    pub fn reset(&mut self, headroom: usize) -> Result<(), NoRoom> {
        let headroom = within(headroom, self.capacity())?;
        self.start = self.low + headroom;
        self.end = self.start;
        Ok(())
    }

    /// Makes the window the whole extent.
    #[inline]
    pub fn expand(&mut self) {
        (self.start, self.end) = (self.low, self.high);
    }

    /// Makes the window `len` bytes long; it stays where it begins.
    ///
    /// # Errors
    ///
    /// [`NoRoom`] when that is more than the window and the tailroom; nothing changes.
    #[inline]
    pub fn set_len(&mut self, len: usize) -> Result<(), NoRoom> {
        self.end = self.start + within(len, usize::from(self.high - self.start))?;
        Ok(())
    }

    /// Makes the window at most `len` bytes long; what it loses becomes tailroom.
    #[inline]
    pub fn truncate(&mut self, len: usize) {
        // Longer than the window: nothing to cut.
        if let Ok(len) = within(len, self.window_len()) {
            self.end = self.start + len;
        }
    }

    /// Cuts `count` bytes off the window's front; they become headroom.
    ///
    /// # Errors
    ///
    /// [`NoRoom`] when the window is shorter; nothing changes.
    #[inline]
    pub fn advance(&mut self, count: usize) -> Result<(), NoRoom> {
        self.start += within(count, self.window_len())?;
        Ok(())
    }

    /// Takes `count` bytes of headroom into the window, and gives them to be written. `None`, and nothing changes, when
    /// there is less headroom.
    #[inline(always)]
    pub fn prepend(&mut self, count: usize) -> Option<&mut [u8]> {
        self.start -= within(count, self.headroom()).ok()?;
        Some(&mut self[..count])
    }

    /// Takes `count` bytes of tailroom into the window, and gives them to be written. `None`, and nothing changes, when
    /// there is less tailroom.
    #[inline(always)]
    pub fn append(&mut self, count: usize) -> Option<&mut [u8]> {
        let old = self.window_len();
        self.end += within(count, self.tailroom()).ok()?;
        Some(&mut self[old..])
    }

    /// Appends a copy of `bytes`.
    ///
    /// # Errors
    ///
    /// [`NoRoom`] when there is less tailroom; nothing changes.
    #[inline]
    pub fn extend_from_slice(&mut self, bytes: &[u8]) -> Result<(), NoRoom> {
        self.append(bytes.len())
            .ok_or(NoRoom)?
            .copy_from_slice(bytes);
        Ok(())
    }

    /// Fills the head- and tailroom with zeros, so that a peer that is lent the whole block sees nothing that an earlier
    /// frame left there.
    pub fn scrub(&mut self) {
        let (start, end) = (self.start, self.end);
        (self.start, self.end) = (self.low, start);
        self.fill(0);
        (self.start, self.end) = (end, self.high);
        self.fill(0);
        (self.start, self.end) = (start, end);
    }

    /// Makes the whole block the extent, if no other handle of it exists; the window stays. What other handles owned
    /// before they fell becomes head- and tailroom. Says whether it did.
    #[inline]
    pub fn widen(&mut self) -> bool {
        let sole = self.is_sole();
        if sole {
            (self.low, self.high) = (0, self.pool.block_size() as u16);
        }
        sole
    }

    /// Cuts the window at `mid`, counted from its beginning, into two handles with disjoint extents: the first keeps the
    /// headroom, the second the tailroom.
    ///
    /// # Errors
    ///
    /// The page itself, when the window is shorter than `mid`, or the block has 2³² - 2 handles.
    #[inline]
    pub fn split_at(mut self, mid: usize) -> Result<(Self, Self), Self> {
        let Ok(mid) = within(mid, self.window_len()) else {
            return Err(self);
        };
        let state = self.pool.state(self.block);
        if state.handles.get() >= SATURATED - 1 {
            return Err(self);
        }
        state.handles.set(state.handles.get() + 1);
        state.unique.set(state.unique.get() + 1);
        let cut = self.start + mid;
        let Self {
            pool,
            block,
            high,
            end,
            niche,
            ..
        } = self;
        let back = Self {
            pool,
            block,
            low: cut,
            high,
            start: cut,
            end,
            niche,
        };
        (self.high, self.end) = (cut, cut);
        Ok((self, back))
    }

    /// Joins the handle of the bytes that follow to this one: the other's extent begins where this one's ends, and the
    /// windows touch, or one of them is empty. The opposite of [`split_at`](Self::split_at).
    ///
    /// # Errors
    ///
    /// Both pages, unchanged, when they don't lie so.
    #[inline]
    pub fn join(mut self, next: Self) -> Result<Self, (Self, Self)> {
        let adjacent = core::ptr::eq(self.pool, next.pool)
            && self.block == next.block
            && self.high == next.low;
        let window = match (self.is_empty(), next.is_empty()) {
            (false, true) => (self.start, self.end),
            (true, false) => (next.start, next.end),
            _ if self.end == next.start => (self.start, next.end),
            // Both empty, apart: the first one's place.
            (true, true) => (self.start, self.end),
            (false, false) => return Err((self, next)),
        };
        if !adjacent {
            return Err((self, next));
        }
        self.high = next.high;
        (self.start, self.end) = window;
        // `next` is counted down, its extent is this handle's now.
        drop(next);
        Ok(self)
    }

    /// Gives up writing: a read-only handle of the window, which clones. The head- and tailroom are out of reach until
    /// [`Page::try_unique`].
    #[inline]
    pub fn freeze(self) -> Page {
        let (pool, block, start, end) = self.into_parts();
        pool.no_longer_unique(block);
        Page::from_counted(pool, block, start, end)
    }

    /// What [`freeze`](Self::freeze) gives, for a caller that has this handle in a place and drops it at once: while both
    /// exist, neither's bytes are looked at.
    #[inline]
    pub(crate) fn frozen(&mut self) -> Page {
        self.pool.retain(self.block);
        Page::from_counted(self.pool, self.block, self.start, self.end)
    }

    /// Charges the page to the pool's general part, in exchange for one of its free pages: what a queue does before it
    /// holds on to a page of a device's reserve. Does nothing to a page that is charged to it already. All windows of a
    /// block are charged together.
    ///
    /// # Errors
    ///
    /// The page itself, when the general part has none free. To be dropped and counted by the caller, so that the
    /// reserve has it back.
    #[inline]
    pub fn keep(self) -> Result<Self, Self> {
        if self.try_keep() { Ok(self) } else { Err(self) }
    }

    /// How many bytes the window has.
    #[inline(always)]
    pub(crate) fn window_len(&self) -> usize {
        usize::from(self.end - self.start)
    }

    /// As [`keep`](Self::keep), in place; says whether the page is charged to the general part.
    #[inline]
    pub(crate) fn try_keep(&self) -> bool {
        self.pool.keep(self.block)
    }

    /// Lends the whole block for writing. Until it is reclaimed nobody here reaches its bytes.
    ///
    /// # Errors
    ///
    /// The page itself, and [`LendError::Shared`] when the block has other handles, or what the lender says.
    #[inline]
    pub fn lend(self, lender: &'static dyn Lender) -> Result<LentMut, (Self, LendError)> {
        LentMut::begin(self, lender)
    }
}

impl Deref for PageMut {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        let len = usize::from(self.end - self.start);
        // SAFETY: `start..end` lies in the block (invariant of the fields, kept by every setter with checked bounds), the
        // block in the region, whose bytes are initialised and live for 'static. The window is in this handle's extent,
        // which overlaps no other handle's range, and the block isn't lent writable while a `PageMut` of it exists: so
        // nobody writes these bytes while the reference, which borrows this handle, lives.
        unsafe {
            slice::from_raw_parts(
                self.pool
                    .block_address(self.block)
                    .as_ptr()
                    .add(usize::from(self.start)),
                len,
            )
        }
    }
}

impl DerefMut for PageMut {
    #[inline]
    fn deref_mut(&mut self) -> &mut [u8] {
        let len = usize::from(self.end - self.start);
        // SAFETY: as in `deref`; and since the extent overlaps no other handle's range and `self` is borrowed mutably, no
        // other reference to these bytes exists. The pointer comes from the region's, never from another reference, and
        // covers the window alone, so that it invalidates none of another window of the block.
        unsafe {
            slice::from_raw_parts_mut(
                self.pool
                    .block_address(self.block)
                    .as_ptr()
                    .add(usize::from(self.start)),
                len,
            )
        }
    }
}

impl AsRef<[u8]> for PageMut {
    fn as_ref(&self) -> &[u8] {
        self
    }
}

impl AsMut<[u8]> for PageMut {
    fn as_mut(&mut self) -> &mut [u8] {
        self
    }
}

impl Drop for PageMut {
    #[inline]
    fn drop(&mut self) {
        self.pool.release_unique(self.block);
    }
}

impl fmt::Debug for PageMut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "PageMut({}: {}..{} in {}..{})",
            self.block, self.start, self.end, self.low, self.high
        )
    }
}

/// A number of bytes that was asked for isn't there: less window, headroom or tailroom.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoRoom;

impl fmt::Display for NoRoom {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the page has less room than asked for")
    }
}

impl core::error::Error for NoRoom {}

/// `count` as an offset, if it is at most `limit` (which is at most a block's size).
#[inline]
fn within(count: usize, limit: usize) -> Result<u16, NoRoom> {
    // No arithmetic on `count` before this: nothing to overflow.
    if count <= limit {
        Ok(count as u16)
    } else {
        Err(NoRoom)
    }
}
