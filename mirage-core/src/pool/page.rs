//! The frozen, shared handle.

use core::fmt;
use core::mem::ManuallyDrop;
use core::ops::{Bound, Deref, RangeBounds};
use core::slice;

use super::{BlockId, LendError, Lender, Lent, NoRoom, PageMut, Pool};

/// A read-only window of a block; clones count, and the block returns to the pool when its last handle falls.
///
/// ```
/// # use mirage_core::pool::{Pool, PoolStorage};
/// # static STORAGE: PoolStorage<4, 2048> = PoolStorage::new();
/// # let pool = STORAGE.init().unwrap();
/// let mut page = pool.alloc().unwrap();
/// page.extend_from_slice(b"headerpayload").unwrap();
/// let page = page.freeze();
/// let payload = page.slice(6..).unwrap();
/// assert_eq!(&payload[..], b"payload");
/// drop(page);
/// let writable = payload.try_unique().unwrap(); // the last handle
/// assert_eq!(writable.headroom(), 6);
/// ```
pub struct Page {
    pool: &'static Pool,
    block: u32,
    /// The window `start..end`: `start <= end <= block_size`.
    start: u16,
    end: u16,
}

#[cfg(target_pointer_width = "64")]
const _: () = assert!(size_of::<Page>() == 16);

impl Page {
    /// A handle that the block's state counts already.
    #[inline]
    pub(super) fn from_counted(pool: &'static Pool, block: u32, start: u16, end: u16) -> Self {
        Self {
            pool,
            block,
            start,
            end,
        }
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

    /// Whether no other handle of the block exists (a lending is one).
    #[inline]
    pub fn is_sole(&self) -> bool {
        self.pool.state(self.block).handles.get() == 1
    }

    /// Another handle, of a part of the window. `None` when the range isn't in it.
    #[inline]
    pub fn slice(&self, range: impl RangeBounds<usize>) -> Option<Self> {
        let (from, to) = resolve(range, self.window_len())?;
        let mut slice = self.clone();
        // Both are at most the window's length, hence fit.
        (slice.start, slice.end) = (self.start + from as u16, self.start + to as u16);
        Some(slice)
    }

    /// Makes the window at most `len` bytes long.
    #[inline]
    pub fn truncate(&mut self, len: usize) {
        if len < self.window_len() {
            self.end = self.start + len as u16;
        }
    }

    /// Cuts `count` bytes off the window's front.
    ///
    /// # Errors
    ///
    /// [`NoRoom`] when the window is shorter; nothing changes.
    #[inline]
    pub fn advance(&mut self, count: usize) -> Result<(), NoRoom> {
        if count > self.window_len() {
            return Err(NoRoom);
        }
        self.start += count as u16;
        Ok(())
    }

    /// The writable handle, if this is the block's last: the window stays, the rest of the block is its head- and
    /// tailroom.
    ///
    /// # Errors
    ///
    /// The page itself, when other handles or lendings of the block exist.
    #[inline]
    pub fn try_unique(self) -> Result<PageMut, Self> {
        if !self.is_sole() {
            return Err(self);
        }
        let this = ManuallyDrop::new(self);
        this.pool.state(this.block).unique.set(1);
        Ok(PageMut::whole(this.pool, this.block, this.start, this.end))
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

    /// Lends the whole block for reading. It may be read, and lent again, meanwhile.
    ///
    /// # Errors
    ///
    /// [`LendError::Writable`] when a handle that may write the block exists, or what the lender says.
    #[inline]
    pub fn lend(&self, lender: &'static dyn Lender) -> Result<Lent, LendError> {
        Lent::begin(self, lender)
    }

    #[inline]
    pub(super) fn unique_handles(&self) -> u32 {
        self.pool.state(self.block).unique.get()
    }
}

impl Clone for Page {
    #[inline]
    fn clone(&self) -> Self {
        self.pool.retain(self.block);
        Self {
            pool: self.pool,
            block: self.block,
            start: self.start,
            end: self.end,
        }
    }
}

impl Deref for Page {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        let len = usize::from(self.end - self.start);
        // SAFETY: `start..end` lies in the block (the window is only ever narrowed, from a `PageMut`'s), the block in the
        // region, whose bytes are initialised and live for 'static. A frozen window overlaps no `PageMut`'s extent, none
        // can be made of the block while this handle counts, and the block isn't lent writable, since that takes its only
        // handle: so nobody writes these bytes while the reference, which borrows this handle, lives.
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

impl AsRef<[u8]> for Page {
    fn as_ref(&self) -> &[u8] {
        self
    }
}

impl Drop for Page {
    #[inline]
    fn drop(&mut self) {
        self.pool.release(self.block);
    }
}

impl fmt::Debug for Page {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Page({}: {}..{})", self.block, self.start, self.end)
    }
}

/// `range` as (start, end), if it is in `0..len`.
#[inline]
pub(super) fn resolve(range: impl RangeBounds<usize>, len: usize) -> Option<(usize, usize)> {
    let from = match range.start_bound() {
        Bound::Included(&from) => from,
        Bound::Excluded(&before) => before.checked_add(1)?,
        Bound::Unbounded => 0,
    };
    let to = match range.end_bound() {
        Bound::Included(&last) => last.checked_add(1)?,
        Bound::Excluded(&to) => to,
        Bound::Unbounded => len,
    };
    (from <= to && to <= len).then_some((from, to))
}
