//! Blocks that another agent reaches: a Xen domain through a grant, a device through DMA.

use core::fmt;
use core::mem::ManuallyDrop;

use super::{BlockId, Page, PageMut, add};

/// What gives blocks to another agent and takes them back: a grant table with the domain at the other end.
///
/// The lender keeps whatever the other agent needs to find a block: on Xen each block has its own grant reference, whose
/// entry is written by [`lend`](Self::lend) and ended by [`end`](Self::end) with a compare-and-swap. A block that is lent
/// for reading can be lent again while it is; the lender counts. The methods may be called for blocks of more than one
/// pool: a lender that serves one looks at [`BlockId::pool`].
///
/// # Safety
///
/// An implementation promises, for each block:
///
/// - The other agent writes the block's bytes only between a `lend` with [`Access::Write`] that returned `Ok` and the `end`
///   that returns `Ok` for it, and reads them only while the block is lent either way. After a `lend` that
///   returned an error it doesn't reach the block through this call.
/// - When `end` returns `Ok`, and has done so as often as `lend` for this block and access, no other agent reaches the bytes
///   any more, and all that it wrote is visible to this thread (an acquire at least).
/// - Neither method makes a reference to the block's bytes.
///
/// A method that panics breaks nothing: the block is quarantined.
///
/// The methods are the pool's to call. Else a program without `unsafe` could have bytes written that it refers to:
///
/// ```compile_fail,E0133
/// # use mirage_core::pool::{Access, Lender, PageMut};
/// fn lend(page: &PageMut, lender: &dyn Lender) {
///     let _ = lender.lend(page.block(), Access::Write);
/// }
/// ```
pub unsafe trait Lender {
    /// Gives the block to the other agent.
    ///
    /// # Errors
    ///
    /// Why it can't; the pool takes the block back as it was.
    ///
    /// # Safety
    ///
    /// Until the lending ends: to be written, nothing here refers to the block's bytes; to be read, nothing here writes
    /// them.
    unsafe fn lend(&self, block: BlockId, access: Access) -> Result<(), LendError>;

    /// Takes the block back, once.
    ///
    /// # Errors
    ///
    /// [`StillInUse`] when the other agent still reaches the bytes; the lending goes on and may be ended later.
    ///
    /// # Safety
    ///
    /// A `lend` of this block with this access returned `Ok`, and has not been ended.
    unsafe fn end(&self, block: BlockId, access: Access) -> Result<(), StillInUse>;
}

/// What the other agent may do with a block's bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Read them.
    Read,
    /// Read and write them.
    Write,
}

/// Why a block was not lent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum LendError {
    /// The caller's: the block has handles besides the one that was to be lent for writing.
    Shared,
    /// The caller's: a handle that may write exists of a block that was to be lent for reading.
    Writable,
    /// The caller's: the lender doesn't serve blocks of this pool.
    OtherPool,
    /// The lender has no room for another lending (a grant table that is full).
    Exhausted,
    /// The lender gave the block to somebody else already.
    Busy,
    /// The other agent is gone.
    Gone,
}

impl fmt::Display for LendError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Shared => "block to be lent for writing has other handles",
            Self::Writable => "block to be lent for reading has a writable handle",
            Self::OtherPool => "lender does not serve this pool",
            Self::Exhausted => "lender has no room for another lending",
            Self::Busy => "block is lent to somebody else",
            Self::Gone => "the other agent is gone",
        })
    }
}

impl core::error::Error for LendError {}

/// The other agent still reaches a block that was to be taken back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StillInUse;

impl fmt::Display for StillInUse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the other agent still reaches the block")
    }
}

impl core::error::Error for StillInUse {}

/// A block that another agent may write. Gives no reference to its bytes: they may change at any time.
///
/// Dropped, it puts the block out of use for good, for who knows what still writes it; end it with
/// [`reclaim`](Self::reclaim).
#[must_use = "dropping a lent block puts it out of use for good"]
pub struct LentMut {
    /// Not to be dereferenced, nor dropped: a handle that only counts.
    page: ManuallyDrop<PageMut>,
    lender: &'static dyn Lender,
}

impl LentMut {
    #[inline]
    pub(super) fn begin(
        mut page: PageMut,
        lender: &'static dyn Lender,
    ) -> Result<Self, (PageMut, LendError)> {
        let pool = page.pool();
        if !page.widen() {
            add(&pool.counters.lend_refused);
            return Err((page, LendError::Shared));
        }
        // From here on a panic of the lender drops `lent`, which is never used again.
        let lent = Self {
            page: ManuallyDrop::new(page),
            lender,
        };
        // SAFETY: `widen` found that the page is the block's only handle, and `lent` has it now, which gives no reference to
        // the bytes, and counts until `end` returned `Ok` (for ever, if it is dropped before).
        match unsafe { lender.lend(lent.block(), Access::Write) } {
            Ok(()) => {
                add(&pool.counters.lent);
                Ok(lent)
            }
            Err(error) => {
                add(&pool.counters.lend_refused);
                Err((lent.into_page(), error))
            }
        }
    }

    /// The block, all of whose bytes the other agent may reach.
    #[inline]
    pub fn block(&self) -> BlockId {
        self.page.block()
    }

    /// Where the page's window begins in its block, in bytes.
    #[inline]
    pub fn offset(&self) -> usize {
        self.page.offset()
    }

    /// Bytes from the window's beginning to the block's end: how much the other agent may be told to write.
    #[inline]
    pub fn room(&self) -> usize {
        self.page.capacity() - self.page.headroom()
    }

    /// Takes the block back, with the window that the page had. How many bytes the other agent wrote is its allegation:
    /// [`PageMut::set_len`] checks it.
    ///
    /// # Errors
    ///
    /// The lending itself, when the other agent still reaches the bytes.
    #[inline]
    pub fn reclaim(self) -> Result<PageMut, Self> {
        let counters = &self.page.pool().counters;
        // SAFETY: a `LentMut` is only made of a `lend` for writing that returned `Ok`, and is consumed when that is ended.
        match unsafe { self.lender.end(self.block(), Access::Write) } {
            Ok(()) => {
                add(&counters.ended);
                Ok(self.into_page())
            }
            Err(StillInUse) => {
                add(&counters.still_in_use);
                Err(self)
            }
        }
    }

    /// Gives the block up: it is out of use for good, and counted.
    pub fn quarantine(self) {
        drop(self);
    }

    #[inline]
    fn into_page(self) -> PageMut {
        let mut this = ManuallyDrop::new(self);
        // SAFETY: `this` is neither dropped nor used again, so the page is taken out once.
        unsafe { ManuallyDrop::take(&mut this.page) }
    }
}

impl Drop for LentMut {
    fn drop(&mut self) {
        self.page.pool().quarantine(self.block().index);
    }
}

impl fmt::Debug for LentMut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "LentMut({})", self.block().index())
    }
}

/// A lending of a block that another agent may read. The block is frozen until the last of them ended.
///
/// Dropped, it puts the block out of use for good, for who knows what still reads it; end it with [`end`](Self::end).
#[must_use = "dropping a lending puts its block out of use for good"]
pub struct Lent {
    /// Not to be dropped: its count stays until the lending ends.
    page: ManuallyDrop<Page>,
    lender: &'static dyn Lender,
}

impl Lent {
    #[inline]
    pub(super) fn begin(page: &Page, lender: &'static dyn Lender) -> Result<Self, LendError> {
        let pool = page.pool();
        if page.unique_handles() != 0 {
            add(&pool.counters.lend_refused);
            return Err(LendError::Writable);
        }
        // From here on a panic of the lender drops `lent`, and the block is never written again.
        let lent = Self {
            page: ManuallyDrop::new(page.clone()),
            lender,
        };
        // SAFETY: no handle that may write the block exists, and none is made while `lent` counts: until `end` returned `Ok`
        // (for ever, if it is dropped before).
        match unsafe { lender.lend(page.block(), Access::Read) } {
            Ok(()) => {
                add(&pool.counters.lent);
                Ok(lent)
            }
            Err(error) => {
                add(&pool.counters.lend_refused);
                drop(lent.into_page());
                Err(error)
            }
        }
    }

    /// The page that was lent, which may be read, cloned and lent again meanwhile.
    #[inline]
    pub fn page(&self) -> &Page {
        &self.page
    }

    /// The block, all of whose bytes the other agent may read.
    #[inline]
    pub fn block(&self) -> BlockId {
        self.page.block()
    }

    /// Ends this lending, and gives the page.
    ///
    /// # Errors
    ///
    /// The lending itself, when the other agent still reaches the bytes.
    #[inline]
    pub fn end(self) -> Result<Page, Self> {
        let counters = &self.page.pool().counters;
        // SAFETY: a `Lent` is only made of a `lend` for reading that returned `Ok`, and is consumed when that is ended.
        match unsafe { self.lender.end(self.block(), Access::Read) } {
            Ok(()) => {
                add(&counters.ended);
                Ok(self.into_page())
            }
            Err(StillInUse) => {
                add(&counters.still_in_use);
                Err(self)
            }
        }
    }

    /// Gives the block up: it is out of use for good as soon as its other handles fell, and counted.
    pub fn quarantine(self) {
        drop(self);
    }

    #[inline]
    fn into_page(self) -> Page {
        let mut this = ManuallyDrop::new(self);
        // SAFETY: `this` is neither dropped nor used again, so the page is taken out once.
        unsafe { ManuallyDrop::take(&mut this.page) }
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        self.page.pool().quarantine(self.block().index);
    }
}

impl fmt::Debug for Lent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Lent({:?})", self.page())
    }
}
