//! The state that each block has, and the numbers that keep the pool honest.

use core::cell::Cell;
use core::fmt;
use core::ptr::NonNull;

use super::Pool;

/// The account of the pool's general part.
pub(super) const GENERAL: u8 = 0;
/// The end of the free list.
pub(super) const NONE: u32 = u32::MAX;
/// A count that reached this stays there: its block is never given out again. 2³² - 1 handles need a program that forgets
/// them in a loop; wrapping to zero would free the block below all of them.
pub(super) const SATURATED: u32 = u32::MAX;

/// What the pool knows of one block. Sixteen bytes.
#[derive(Debug)]
pub(super) struct BlockState {
    /// Handles of any kind: [`PageMut`](super::PageMut), [`Page`](super::Page), [`Lent`](super::Lent),
    /// [`LentMut`](super::LentMut). Zero: on the free list.
    pub(super) handles: Cell<u32>,
    /// Those of them that may write (a `LentMut` among them).
    pub(super) unique: Cell<u32>,
    /// The next free block; [`NONE`] at the end.
    pub(super) next: Cell<u32>,
    /// Which account the block is charged to while it is in use.
    pub(super) account: Cell<u8>,
    /// Another agent may still reach the bytes, and nobody waits for it any more.
    pub(super) quarantined: Cell<bool>,
}

impl BlockState {
    pub(super) const fn new() -> Self {
        Self {
            handles: Cell::new(0),
            unique: Cell::new(0),
            // The list is made with the pool. Zeros, so that storage in a `static` takes no room in the image.
            next: Cell::new(0),
            account: Cell::new(GENERAL),
            quarantined: Cell::new(false),
        }
    }
}

/// How many pages an account has to give, and how many of its pages are in use.
#[derive(Debug)]
pub(super) struct Account {
    pub(super) free: Cell<u32>,
    pub(super) used: Cell<u32>,
    /// A [`Reserve`](super::Reserve) stands for it. Pages of an account that is not open return to the general part.
    pub(super) open: Cell<bool>,
}

impl Account {
    pub(super) const fn new() -> Self {
        Self {
            free: Cell::new(0),
            used: Cell::new(0),
            open: Cell::new(false),
        }
    }
}

/// A block of a pool: its number, and where it lies.
///
/// The name of a block, not a handle: holding one neither keeps the block in use nor gives access to its bytes.
#[derive(Clone, Copy)]
pub struct BlockId {
    pub(super) pool: &'static Pool,
    pub(super) index: u32,
}

impl BlockId {
    /// The pool.
    pub fn pool(self) -> &'static Pool {
        self.pool
    }

    /// The block's number, less than [`Pool::blocks`].
    pub fn index(self) -> usize {
        self.index as usize
    }

    /// Where the block's [`block_size`](Pool::block_size) bytes begin.
    ///
    /// The pointer has the provenance of the whole region. Reading through it is sound only while nobody may write the
    /// block, writing only while it is lent writable (by the lender's peer) or while the caller owns all its handles.
    pub fn address(self) -> NonNull<u8> {
        self.pool.block_address(self.index)
    }
}

impl PartialEq for BlockId {
    fn eq(&self, other: &Self) -> bool {
        core::ptr::eq(self.pool, other.pool) && self.index == other.index
    }
}

impl Eq for BlockId {}

impl fmt::Debug for BlockId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "BlockId({})", self.index)
    }
}
