//! What lends a pool's blocks to another domain.

use core::cell::Cell;
use core::fmt;
use core::ptr::NonNull;

use heapless::Vec;
use mirage_core::pool::{Access, BlockId, LendError, Lender, StaticSlice, StillInUse};

use super::{GrantError, PoolGrants, READ_ONLY, READ_WRITE, check, references};
use crate::abi::grant::GrantFlags;
use crate::abi::{DomainId, GrantReference, PAGE_SIZE};
use crate::hypervisor::Hypervisor;

/// Static ranges of a pool that a lender grants.
pub const MAXIMUM_STATIC_RANGES: usize = 16;

/// Lends the blocks of one pool to one domain, by their grant entries.
///
/// A block may be lent for reading several times at once by one lender. What one lender has lent, another can't
/// ([`LendError::Busy`]): a reference's entry names one domain.
pub struct GrantLender<H: Hypervisor> {
    grants: &'static PoolGrants<H>,
    number: u8,
    domain: Cell<DomainId>,
    /// That of the table when the domain was told. Another one: detached, the entries are zero.
    generation: Cell<u32>,
    statics: Vec<StaticGrant, MAXIMUM_STATIC_RANGES>,
}

/// The pages of a static range.
struct StaticGrant {
    bytes: &'static [u8],
    /// The first page's reference; the others' follow.
    first: u32,
}

impl<H: Hypervisor> GrantLender<H> {
    pub(super) fn new(
        grants: &'static PoolGrants<H>,
        number: u8,
        domain: DomainId,
    ) -> Result<Self, GrantError> {
        let domain = check(domain)?;
        let table = grants.table;
        let pages = grants.pool.static_ranges().map(page_count);
        let mut first = table.allocate(pages.sum())?;
        let mut statics = Vec::new();
        for bytes in grants.pool.static_ranges() {
            statics
                .push(StaticGrant { bytes, first })
                .map_err(|_| GrantError::TooManyStaticRanges)?;
            first += page_count(bytes) as u32;
        }
        let lender = Self {
            grants,
            number,
            domain: Cell::new(domain),
            generation: Cell::new(table.generation.get()),
            statics,
        };
        // Nothing is granted before all of it is known to be possible.
        for (_, address) in lender.static_pages() {
            table.frame(address)?;
        }
        lender.begin_all()?;
        Ok(lender)
    }

    /// The domain that it lends to; where it is detached, the one that it lent to.
    pub fn domain(&self) -> DomainId {
        self.domain.get()
    }

    /// Whether the domain wasn't resumed since the lender was told its domain. One that isn't attached lends nothing.
    pub fn is_attached(&self) -> bool {
        self.generation.get() == self.grants.table.generation.get()
    }

    /// Lends to `domain` from now on: the new backend after a resume, or after a reconnection. Everything that is lent and
    /// not ended is granted to it, with the same references, and to the old one no more.
    ///
    /// After a resume this takes blocks along that were quarantined before: they are still lent.
    ///
    /// # Errors
    ///
    /// [`GrantError::NoDomain`]; [`GrantError::StillInUse`] when the old domain still uses something. Nothing changes then.
    pub fn set_domain(&self, domain: DomainId) -> Result<(), GrantError> {
        let domain = check(domain)?;
        if self.is_attached() {
            if domain == self.domain.get() {
                return Ok(());
            }
            self.end_all()?;
        }
        let before = self.domain.replace(domain);
        let begun = self.begin_all();
        match begun {
            Ok(()) => self.generation.set(self.grants.table.generation.get()),
            Err(_) => self.domain.set(before),
        }
        begun
    }

    /// The reference of the page that holds a static slice's byte at `offset`, and where in the page it is.
    ///
    /// `None` where the slice ends before, and of ranges that are another pool's or were registered after the lender was made:
    /// those bytes have to be copied to be sent.
    #[inline]
    pub fn static_reference(
        &self,
        slice: &StaticSlice,
        offset: usize,
    ) -> Option<(GrantReference, u16)> {
        if !slice.is_of(self.grants.pool) {
            return None;
        }
        let range = self.statics.get(slice.range())?;
        let byte = core::ptr::from_ref(slice.bytes().get(offset)?).addr();
        let page = byte / PAGE_SIZE - range.bytes.as_ptr().addr() / PAGE_SIZE;
        // Both are less than a page's size, or than the number of the range's pages.
        let reference = GrantReference(range.first + page as u32);
        Some((reference, (byte % PAGE_SIZE) as u16))
    }

    /// Does something with everything that is lent and not ended, by reference, frame and flags, as long as it succeeds.
    fn try_each(
        &self,
        act: &mut dyn FnMut(u32, u32, GrantFlags) -> Result<(), GrantError>,
    ) -> Result<(), GrantError> {
        for (reference, address) in self.static_pages() {
            // `new` found that each has a frame, and an address keeps its frame.
            if let Ok(frame) = self.grants.table.frame(address) {
                act(reference, frame, READ_ONLY)?;
            }
        }
        for (reference, block) in self.grants.lent_by(self.number) {
            act(reference, block.frame, flags(block.writing.get()))?;
        }
        Ok(())
    }

    fn begin(&self, reference: u32, frame: u32, flags: GrantFlags) -> bool {
        let table = self.grants.table;
        table.begin(reference, frame, self.domain.get(), flags)
    }

    /// Begins all entries, which have ended, or none.
    fn begin_all(&self) -> Result<(), GrantError> {
        let table = self.grants.table;
        self.try_each(&mut |reference, _, _| {
            if table.is_ended(reference) {
                Ok(())
            } else {
                Err(GrantError::StillInUse(GrantReference(reference)))
            }
        })?;
        self.try_each(&mut |reference, frame, flags| {
            self.begin(reference, frame, flags);
            Ok(())
        })
    }

    /// Ends all entries, or none.
    fn end_all(&self) -> Result<(), GrantError> {
        let mut ended = 0_usize;
        let result = self.try_each(&mut |reference, _, flags| {
            if !self.grants.table.end(reference, flags) {
                return Err(GrantError::StillInUse(GrantReference(reference)));
            }
            ended += 1;
            Ok(())
        });
        if let Err(error) = result {
            self.try_each(&mut |reference, frame, flags| {
                if let Some(left) = ended.checked_sub(1) {
                    ended = left;
                    self.begin(reference, frame, flags);
                }
                Ok(())
            })?;
            return Err(error);
        }
        Ok(())
    }

    /// The references of the static ranges' pages, with the address of a byte that is in the page and the range.
    fn static_pages(&self) -> impl Iterator<Item = (u32, NonNull<u8>)> {
        self.statics.iter().flat_map(|range| {
            let start = range.bytes.as_ptr().addr();
            references(range.first, page_count(range.bytes))
                .enumerate()
                .filter_map(move |(page, reference)| {
                    let page = (start / PAGE_SIZE + page) * PAGE_SIZE;
                    let byte = range.bytes.get(page.saturating_sub(start))?;
                    Some((reference, NonNull::from(byte)))
                })
        })
    }
}

// SAFETY: the other agent is the domain that `begin` names, and by `Hypervisor`'s contract it reaches a block only through
// an entry with that block's frame that permits it, from the write of the flags to the compare-and-swap that ends it.
//
// - Each block has one entry in `PoolGrants`, `first + index`, that is allocated to it alone in this table. An entry that has
//   not ended is never written, so a second table of the same domain can't take it away from under a lending. (A second
//   `PoolGrants` of the pool has other entries; whoever lends through those is a `Lender` of its own.)
// - Flags are written by `lend` alone, before it returns `Ok`, for a block that isn't lent by any lender of these
//   `PoolGrants`; and by `set_domain`, for what is lent and not ended, with the same access. So a peer writes only
//   between a `lend` with `Access::Write` and its `end`. A `lend` that fails writes nothing.
// - `end` of the last lending returns `Ok` only after the compare-and-swap found flags without `READING` and `WRITING`,
//   with acquire; or where it finds the entry zero, which it didn't leave so: then the domain was resumed since it was
//   written (`Hypervisor::restore`), and the old domain's peers reach nothing of the new one. Only `set_domain` writes
//   it again, and only if it is zero. An earlier `end` for reading returns `Ok` while the entry stands, which is for as often
//   as `lend` was called.
// - While an entry is not ended, the block's state says that it is lent, and by whom, so no other lender of these
//   `PoolGrants` writes it. (All on one thread: `Cell`s.)
// - No reference to the block's bytes is made: `frame` was looked up by its address.
unsafe impl<H: Hypervisor> Lender for GrantLender<H> {
    unsafe fn lend(&self, block: BlockId, access: Access) -> Result<(), LendError> {
        let reference = self.grants.number(block).ok_or(LendError::OtherPool)?;
        let state = self.grants.blocks.get(block.index());
        let state = state.ok_or(LendError::OtherPool)?;
        if !self.is_attached() {
            return Err(LendError::Gone);
        }
        let readings = state.readings.get();
        if state.is_lent() {
            if access == Access::Write || state.writing.get() || state.lender.get() != self.number {
                return Err(LendError::Busy);
            }
            let more = readings.checked_add(1).ok_or(LendError::Exhausted)?;
            state.readings.set(more);
            return Ok(());
        }
        let writing = access == Access::Write;
        if !self.begin(reference, state.frame, flags(writing)) {
            return Err(LendError::Busy);
        }
        state.writing.set(writing);
        state.readings.set(u16::from(!writing));
        state.lender.set(self.number);
        Ok(())
    }

    unsafe fn end(&self, block: BlockId, _: Access) -> Result<(), StillInUse> {
        let reference = self.grants.number(block).ok_or(StillInUse)?;
        let state = self.grants.blocks.get(block.index()).ok_or(StillInUse)?;
        let writing = state.writing.get();
        let readings = state.readings.get();
        if !writing && readings > 1 {
            state.readings.set(readings - 1);
            return Ok(());
        }
        let table = self.grants.table;
        let zeroed = !self.is_attached() && table.is_ended(reference);
        if !zeroed && !table.end(reference, flags(writing)) {
            return Err(StillInUse);
        }
        state.writing.set(false);
        state.readings.set(0);
        Ok(())
    }
}

impl<H: Hypervisor> fmt::Debug for GrantLender<H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GrantLender")
            .field("domain", &self.domain().0)
            .field("attached", &self.is_attached())
            .field("lent", &self.grants.lent_by(self.number).count())
            .finish()
    }
}

fn flags(writing: bool) -> GrantFlags {
    if writing { READ_WRITE } else { READ_ONLY }
}

/// Pages that hold a byte of these.
fn page_count(bytes: &[u8]) -> usize {
    if bytes.is_empty() {
        return 0;
    }
    let start = bytes.as_ptr().addr();
    (start % PAGE_SIZE + bytes.len()).div_ceil(PAGE_SIZE)
}
