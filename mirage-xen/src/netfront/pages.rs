//! How pages are lent to the backend, and what it is told of them.

use mirage_core::Pool;
use mirage_core::pool::{BlockId, Lender, StaticSlice};

use crate::abi::GrantReference;
use crate::grant_table::{GrantLender, PoolGrants};
use crate::hypervisor::Hypervisor;

/// What lends a pool's pages, and has a reference for each.
pub(super) trait Pages {
    /// The pool.
    fn pool(&self) -> &'static Pool;

    /// What [`PageMut::lend`](mirage_core::PageMut::lend) takes.
    fn lender(&self) -> &'static dyn Lender;

    /// What the backend is told of a block. `None` of another pool's block.
    fn reference(&self, block: BlockId) -> Option<GrantReference>;

    /// What the backend is told of the page that holds a read-only slice's byte at `offset`, and where in the page it is.
    fn static_reference(&self, slice: &StaticSlice, offset: usize)
    -> Option<(GrantReference, u16)>;
}

/// A pool's pages, lent by grants.
#[derive(Debug)]
pub(super) struct GrantedPages<H: Hypervisor> {
    pub(super) grants: &'static PoolGrants<H>,
    pub(super) lender: &'static GrantLender<H>,
}

impl<H: Hypervisor> Pages for GrantedPages<H> {
    fn pool(&self) -> &'static Pool {
        self.grants.pool()
    }

    fn lender(&self) -> &'static dyn Lender {
        self.lender
    }

    fn reference(&self, block: BlockId) -> Option<GrantReference> {
        self.grants.reference(block)
    }

    fn static_reference(
        &self,
        slice: &StaticSlice,
        offset: usize,
    ) -> Option<(GrantReference, u16)> {
        self.lender.static_reference(slice, offset)
    }
}
