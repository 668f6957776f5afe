//! A pool whose blocks can be granted.

use core::cell::Cell;
use core::fmt;

use mirage_core::Pool;
use mirage_core::pool::BlockId;

use super::lender::GrantLender;
use super::{GrantError, GrantTable, references};
use crate::abi::{DomainId, GrantReference, PAGE_SIZE};
use crate::hypervisor::Hypervisor;

/// What is known of one block's entry. Eight bytes.
#[derive(Debug)]
pub struct BlockGrant {
    pub(super) frame: u32,
    /// Lendings for reading that were not ended.
    pub(super) readings: Cell<u16>,
    /// Lent for writing.
    pub(super) writing: Cell<bool>,
    /// Of the lender that it is lent by.
    pub(super) lender: Cell<u8>,
}

impl BlockGrant {
    /// Of a block that is still to get a reference.
    pub const fn new() -> Self {
        Self {
            frame: 0,
            readings: Cell::new(0),
            writing: Cell::new(false),
            lender: Cell::new(0),
        }
    }

    pub(super) fn is_lent(&self) -> bool {
        self.writing.get() || self.readings.get() != 0
    }
}

impl Default for BlockGrant {
    fn default() -> Self {
        Self::new()
    }
}

/// A pool whose blocks are pages and have a grant reference each, for life.
pub struct PoolGrants<H: Hypervisor> {
    pub(super) table: &'static GrantTable<H>,
    pub(super) pool: &'static Pool,
    /// Of block zero; the others' follow.
    pub(super) first: u32,
    pub(super) blocks: &'static [BlockGrant],
    /// How many lenders there are.
    lenders: Cell<u8>,
}

impl<H: Hypervisor> GrantTable<H> {
    /// Gives each block of a pool its reference. `blocks` has a place for each block at least.
    ///
    /// The blocks are pages: a grant is of a whole page, and a smaller block's neighbours would be granted with it.
    ///
    /// # Errors
    ///
    /// [`GrantError::BlockSize`], [`GrantError::Memory`], [`GrantError::Full`], [`GrantError::NotRam`],
    /// [`GrantError::FrameOutOfRange`].
    pub fn pool(
        &'static self,
        pool: &'static Pool,
        blocks: &'static mut [BlockGrant],
    ) -> Result<PoolGrants<H>, GrantError> {
        if pool.block_size() != PAGE_SIZE {
            return Err(GrantError::BlockSize(pool.block_size()));
        }
        let blocks = blocks.get_mut(..pool.blocks()).ok_or(GrantError::Memory)?;
        for (index, grant) in blocks.iter_mut().enumerate() {
            let block = pool.block(index).ok_or(GrantError::Memory)?;
            *grant = BlockGrant {
                frame: self.frame(block.address())?,
                ..BlockGrant::new()
            };
        }
        Ok(PoolGrants {
            table: self,
            pool,
            first: self.allocate(blocks.len())?,
            blocks,
            lenders: Cell::new(0),
        })
    }

    /// As [`pool`](Self::pool), with memory from the global allocator that is never given back.
    ///
    /// # Errors
    ///
    /// As of [`pool`](Self::pool).
    #[cfg(any(feature = "alloc", test))]
    pub fn leak_pool(
        &'static self,
        pool: &'static Pool,
    ) -> Result<&'static PoolGrants<H>, GrantError> {
        use alloc::boxed::Box;
        use alloc::vec::Vec;

        let mut blocks = Vec::new();
        blocks
            .try_reserve_exact(pool.blocks())
            .map_err(|_| GrantError::Memory)?;
        blocks.resize_with(pool.blocks(), BlockGrant::new);
        let grants = self.pool(pool, blocks.leak())?;
        Ok(Box::leak(Box::new(grants)))
    }
}

impl<H: Hypervisor> PoolGrants<H> {
    /// The pool.
    pub fn pool(&self) -> &'static Pool {
        self.pool
    }

    /// References that nobody has yet, of all that Xen allows: so many pages of static ranges can be lent, each lender's for itself.
    pub fn available(&self) -> usize {
        self.table.available()
    }

    /// The block's reference, which is what the other domain is told. Whether it may reach the block now is the
    /// business of its lender. `None` of another pool's block.
    #[inline]
    pub fn reference(&self, block: BlockId) -> Option<GrantReference> {
        self.number(block).map(GrantReference)
    }

    /// A lender of the pool's blocks to `domain`, for the life of the program. The pages of the static ranges that the
    /// pool has now are granted to that domain at once, for reading, with references of this lender's own.
    ///
    /// # Errors
    ///
    /// [`GrantError::TooManyLenders`] after 255 of them, [`GrantError::TooManyStaticRanges`], [`GrantError::NoDomain`];
    /// [`GrantError::Full`], [`GrantError::NotRam`] and [`GrantError::FrameOutOfRange`] for the static ranges' pages.
    pub fn lender(&'static self, domain: DomainId) -> Result<GrantLender<H>, GrantError> {
        let number = self.lenders.get();
        let more = number.checked_add(1).ok_or(GrantError::TooManyLenders)?;
        let lender = GrantLender::new(self, number, domain)?;
        self.lenders.set(more);
        Ok(lender)
    }

    /// As [`lender`](Self::lender), with memory from the global allocator that is never given back.
    ///
    /// # Errors
    ///
    /// As of [`lender`](Self::lender).
    #[cfg(any(feature = "alloc", test))]
    pub fn leak_lender(
        &'static self,
        domain: DomainId,
    ) -> Result<&'static GrantLender<H>, GrantError> {
        let lender = self.lender(domain)?;
        Ok(alloc::boxed::Box::leak(alloc::boxed::Box::new(lender)))
    }

    /// The number of the block's entry. `None` of another pool's block.
    #[inline]
    pub(super) fn number(&self, block: BlockId) -> Option<u32> {
        // A pool has at most as many blocks as a `u32` counts, and each has its place behind `first`.
        core::ptr::eq(block.pool(), self.pool).then(|| self.first + block.index() as u32)
    }

    /// The entries that a lender has lent, and what is known of them.
    pub(super) fn lent_by(&self, lender: u8) -> impl Iterator<Item = (u32, &'static BlockGrant)> {
        references(self.first, self.blocks.len())
            .zip(self.blocks)
            .filter(move |(_, block)| block.is_lent() && block.lender.get() == lender)
    }
}

impl<H: Hypervisor> fmt::Debug for PoolGrants<H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PoolGrants")
            .field("references", &references(self.first, self.blocks.len()))
            .field("lenders", &self.lenders.get())
            .finish()
    }
}
