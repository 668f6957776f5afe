//! The I/O page pool: one region of equal blocks that runs from the ring to the application and back.
//!
//! | type | what it is |
//! | --- | --- |
//! | [`Pool`] | the region, its free list, its accounts |
//! | [`PageMut`] | the one handle that writes a window of a block, with headroom and tailroom; splits, doesn't clone |
//! | [`Page`] | a frozen window: read-only, cloned and sliced at will |
//! | [`Reserve`] | pages that one owner can take and no other |
//! | [`LentMut`], [`Lent`] | a block that another agent may write, or read, through a [`Lender`] |
//! | [`StaticRange`], [`StaticSlice`] | compiled-in bytes that are sent from where they lie |
//! | [`PoolStorage`], [`PoolMetadata`] | the memory that a pool stands on |
//!
//! # Accounting
//!
//! Every free block is promised to one account: the general part, or a [`Reserve`]. Nothing says *which* block; the free
//! list is common, and the sum of all accounts' free counts is its length. A block in use is *charged* to the account it
//! was taken from and counts as free there again when its last handle falls. [`PageMut::keep`] and [`Page::keep`] move
//! the charge to the general part: that is how a queue keeps a received page in exchange for one of the general part,
//! and a device's receive ring never runs dry for somebody else's queue.
//!
//! # Who may reach a block's bytes, and when
//!
//! The rules that make this module sound:
//!
//! 1. The extent of a [`PageMut`] (window, headroom, tailroom) overlaps no other handle's range.
//! 2. A [`Page`] only gives `&[u8]`. Nothing writes a byte in a `Page`'s window while a handle of the block other than
//!    that one exists; [`Page::try_unique`] needs it to be the only one.
//! 3. A block that is lent writable has exactly one handle, the [`LentMut`], which gives no reference to the bytes. They
//!    are reached again only after [`Lender::end`] said that nobody else reaches them.
//! 4. A block that is lent read-only has no `PageMut`, and can't get one, since each [`Lent`] counts as a handle.
//! 5. A lending that nobody ended keeps its handle's count for good: such a block is *quarantined*, never free again.
//! 6. A count of handles saturates; it never wraps to zero.
//!
//! 7. A frame of more than three segments owns a *chain*, a place for them in the metadata, alone: the number of a place
//!    is on the free list or in one such frame.
//!
//! All references to bytes are made from one raw pointer to the region, for exactly the window that is asked for: there
//! is never a reference to a whole block or to the region while handles exist.
//!
//! # Threads
//!
//! Pools are single-threaded: all state is in [`Cell`]s, [`Pool`] is neither `Send` nor `Sync`, and no handle is `Send`.
//!
//! ```compile_fail,E0277
//! fn send<T: Send>() {}
//! send::<mirage_core::pool::PageMut>();
//! ```
//! ```compile_fail,E0277
//! fn send<T: Send>() {}
//! send::<mirage_core::pool::Page>();
//! ```
//! ```compile_fail,E0277
//! fn send<T: Send>() {}
//! send::<&'static mirage_core::pool::Pool>();
//! ```
//! ```compile_fail,E0277
//! fn send<T: Send>() {}
//! send::<mirage_core::pool::Reserve>();
//! ```
//! ```compile_fail,E0277
//! fn send<T: Send>() {}
//! send::<mirage_core::pool::LentMut>();
//! ```
//! ```compile_fail,E0277
//! fn send<T: Send>() {}
//! send::<mirage_core::pool::Lent>();
//! ```
//! ```compile_fail,E0277
//! fn send<T: Send>() {}
//! send::<mirage_core::Frame>();
//! ```
//!
//! Nor does a writable handle clone:
//!
//! ```compile_fail,E0277
//! fn clone<T: Clone>() {}
//! clone::<mirage_core::pool::PageMut>();
//! ```

mod block;
mod chain;
mod lending;
mod page;
mod page_mut;
mod reserve;
mod statics;
mod storage;

#[cfg(test)]
mod hazards;
#[cfg(test)]
mod model;

use core::cell::Cell;
use core::fmt;
use core::ptr::NonNull;

use block::{Account, BlockState, GENERAL, NONE, SATURATED};

pub(crate) use chain::Chain;

pub use block::BlockId;
pub use lending::{Access, LendError, Lender, Lent, LentMut, StillInUse};
pub use page::Page;
pub use page_mut::{NoRoom, PageMut};
pub use reserve::Reserve;
pub use statics::{StaticRange, StaticSlice};
pub use storage::{PoolMetadata, PoolStorage};

use chain::ChainSlot;
use statics::StaticEntry;
use storage::Tables;

use crate::frame::Segment;

/// A contiguous region of blocks of one size, with the accounts that say who may take how many.
///
/// Made once, for the life of the program: [`PoolStorage::init`] for a `static`, [`Pool::new`] for memory that the
/// platform hands in, `Pool::leak` with the feature `alloc`.
pub struct Pool {
    /// Of the whole region: the one pointer that all others come from.
    base: NonNull<u8>,
    states: &'static [BlockState],
    accounts: &'static [Account],
    statics: &'static [StaticEntry],
    chains: &'static [ChainSlot],
    /// Block size as a power of two.
    shift: u32,
    scrub: Cell<bool>,
    free_head: Cell<u32>,
    chain_head: Cell<u32>,
    counters: Tally,
}

impl Pool {
    /// The smallest block: 64 bytes.
    pub const MIN_BLOCK_SIZE: usize = 64;
    /// The largest block: 32 KiB.
    pub const MAX_BLOCK_SIZE: usize = 32_768;
    /// What a region is aligned to where blocks are of this size or larger; smaller blocks ask for their own size. So no
    /// block of up to a page crosses a page's boundary.
    pub const PAGE_SIZE: usize = 4_096;

    /// A pool over `region`, which is cut into blocks of `block_size` bytes.
    ///
    /// `block_size` is a power of two from [`MIN_BLOCK_SIZE`](Self::MIN_BLOCK_SIZE) to
    /// [`MAX_BLOCK_SIZE`](Self::MAX_BLOCK_SIZE); the region's length is a multiple of it, at most `BLOCKS` times, and its
    /// address a multiple of `block_size` or of [`PAGE_SIZE`](Self::PAGE_SIZE), whichever is less.
    /// The region's bytes are left as they are.
    ///
    /// # Errors
    ///
    /// [`PoolError::BlockSize`], [`PoolError::RegionLength`], [`PoolError::Unaligned`].
    pub fn new<
        const BLOCKS: usize,
        const RESERVES: usize,
        const STATICS: usize,
        const CHAINS: usize,
    >(
        region: &'static mut [u8],
        metadata: &'static mut PoolMetadata<BLOCKS, RESERVES, STATICS, CHAINS>,
        block_size: usize,
    ) -> Result<&'static Self, PoolError> {
        let (place, tables) = metadata.parts();
        let length = region.len();
        // From here on the region is reached through this pointer alone.
        let base = NonNull::from(region).cast::<u8>();
        // SAFETY: `base` is of `length` initialised bytes that were borrowed mutably for 'static and moved in here.
        let pool = unsafe { Self::from_region(base, length, block_size, tables) }?;
        Ok(place.write(pool))
    }

    /// A pool whose memory comes from the global allocator and is never given back: zeroed, with room for 16 reserves,
    /// 16 static ranges, and a quarter as many long frames as blocks, at most 256 (a long frame has four segments at least).
    ///
    /// # Errors
    ///
    /// [`PoolError::BlockSize`], [`PoolError::RegionLength`] (no blocks, or more than a `u32` counts),
    /// [`PoolError::OutOfMemory`].
    #[cfg(any(feature = "alloc", test))]
    pub fn leak(blocks: usize, block_size: usize) -> Result<&'static Self, PoolError> {
        storage::leak(blocks, block_size)
    }

    /// # Safety
    ///
    /// `base` points to `length` initialised bytes that nothing else reaches for the rest of the program.
    unsafe fn from_region(
        base: NonNull<u8>,
        length: usize,
        block_size: usize,
        tables: Tables<'static>,
    ) -> Result<Self, PoolError> {
        let Tables {
            states,
            accounts,
            statics,
            chains,
        } = tables;
        check_block_size(block_size)?;
        let blocks = length / block_size;
        if blocks == 0
            || blocks > states.len()
            || !length.is_multiple_of(block_size)
            || blocks >= NONE as usize
        {
            return Err(PoolError::RegionLength);
        }
        if !base
            .addr()
            .get()
            .is_multiple_of(block_size.min(Self::PAGE_SIZE))
        {
            return Err(PoolError::Unaligned);
        }
        let states = &states[..blocks];
        for (state, next) in states.iter().zip(1..) {
            state
                .next
                .set(if next as usize == blocks { NONE } else { next });
        }
        // `PoolMetadata` and `leak` make one account more than there are reserves.
        let general = accounts.first().ok_or(PoolError::OutOfReserves)?;
        general.free.set(blocks as u32);
        general.open.set(true);
        Ok(Self {
            base,
            states,
            accounts,
            statics,
            chains,
            shift: block_size.trailing_zeros(),
            scrub: Cell::new(false),
            free_head: Cell::new(0),
            chain_head: Cell::new(ChainSlot::link(chains)),
            counters: Tally::default(),
        })
    }

    /// A page of the general part: the window is empty, without headroom, the tailroom is the block. Its bytes are what
    /// the last user left (zeros with [`set_scrub`](Self::set_scrub)).
    ///
    /// `None` when the general part has none left.
    #[inline]
    pub fn alloc(&'static self) -> Option<PageMut> {
        let page = self.take(GENERAL);
        if page.is_none() {
            add(&self.counters.exhausted);
        }
        page
    }

    /// Takes `pages` free pages from the general part into a reserve of their own.
    ///
    /// # Errors
    ///
    /// [`PoolError::OutOfPages`] when the general part has fewer, [`PoolError::OutOfReserves`] when all of the
    /// metadata's places for reserves are taken (the place of a dropped reserve is free once its last page returned).
    pub fn reserve(&'static self, pages: usize) -> Result<Reserve, PoolError> {
        Reserve::open(self, pages)
    }

    /// Registers read-only bytes that frames may be sent from. A device that lends pages (a grant table) finds them in
    /// [`static_ranges`](Self::static_ranges) and prepares them once.
    ///
    /// Where a peer is given whole pages (Xen), it sees what else lies in the first and the last page of the range:
    /// read-only data of this program.
    ///
    /// # Errors
    ///
    /// [`PoolError::OutOfStaticRanges`] when the table is full, [`PoolError::StaticTooLong`] from 4 GiB on.
    pub fn register_static(&'static self, bytes: &'static [u8]) -> Result<StaticRange, PoolError> {
        StaticRange::register(self, self.statics, bytes)
    }

    /// The registered read-only ranges, in the order of their [`StaticRange::index`].
    pub fn static_ranges(&self) -> impl Iterator<Item = &'static [u8]> + '_ {
        self.statics.iter().map_while(StaticEntry::get)
    }

    /// A frame's segment of read-only bytes that lie in a registered range: a compiled-in store's value, where all of the
    /// program's read-only data was registered. `None` where no range holds them.
    pub fn static_segment(&self, bytes: &'static [u8]) -> Option<Segment> {
        StaticRange::find(self.statics, bytes)
    }

    /// Whether a block is filled with zeros when it returns (off at first).
    ///
    /// A grant is a whole page: what an earlier frame left in a block is shown to the peer that a later one is lent to.
    /// With a peer that mustn't see it, this is the remedy that nobody can forget; [`PageMut::scrub`] is the cheaper one.
    pub fn set_scrub(&self, scrub: bool) {
        self.scrub.set(scrub);
    }

    /// Bytes of a block.
    #[inline]
    pub fn block_size(&self) -> usize {
        1 << self.shift
    }

    /// How many blocks the region has.
    #[inline]
    pub fn blocks(&self) -> usize {
        self.states.len()
    }

    /// Where the region begins. The pointer has the provenance of the whole region; see [`BlockId::address`].
    #[inline]
    pub fn base(&self) -> NonNull<u8> {
        self.base
    }

    /// The block with this number, or `None` where there are fewer.
    pub fn block(&'static self, index: usize) -> Option<BlockId> {
        (index < self.states.len()).then_some(BlockId {
            pool: self,
            index: index as u32,
        })
    }

    /// Free pages of the general part.
    #[inline]
    pub fn free(&self) -> usize {
        self.account(GENERAL).free.get() as usize
    }

    /// Pages of the general part, free or in use: what no reserve has, whoever holds it.
    #[inline]
    pub fn general(&self) -> usize {
        let account = self.account(GENERAL);
        (account.free.get() + account.used.get()) as usize
    }

    /// Whether a frame of more than [`INLINE_SEGMENTS`](crate::Frame::INLINE_SEGMENTS) segments may be made now: one of the
    /// places that the pool's metadata have for them is free.
    #[inline]
    pub fn has_chain(&self) -> bool {
        (self.chain_head.get() as usize) < self.chains.len()
    }

    /// Free pages of all accounts: what the free list holds.
    pub fn free_in_all(&self) -> usize {
        self.accounts
            .iter()
            .map(|account| account.free.get() as usize)
            .sum()
    }

    /// What happened so far.
    pub fn counters(&self) -> PoolCounters {
        self.counters.read()
    }

    #[inline]
    fn state(&self, block: u32) -> &'static BlockState {
        debug_assert!((block as usize) < self.states.len());
        let states: &'static [BlockState] = self.states;
        // SAFETY: every `block` comes from the free list or from a handle, so it is less than `blocks`: the list is made
        // by `from_region` of exactly these numbers, and numbers enter it again only from handles of this pool.
        unsafe { states.get_unchecked(block as usize) }
    }

    #[inline(always)]
    fn account(&self, index: u8) -> &'static Account {
        let accounts: &'static [Account] = self.accounts;
        &accounts[index as usize]
    }

    #[inline]
    fn block_address(&self, block: u32) -> NonNull<u8> {
        debug_assert!((block as usize) < self.states.len());
        // SAFETY: `block` is less than `blocks` (as in `state`), so the offset stays in the region, which is one
        // allocation of less than `isize::MAX` bytes.
        unsafe { self.base.add((block as usize) << self.shift) }
    }

    /// A page charged to `account`, if that has one.
    #[inline]
    fn take(&'static self, account: u8) -> Option<PageMut> {
        let from = self.account(account);
        let free = from.free.get();
        let block = self.free_head.get();
        // The free counts add up to the length of the list: where one isn't zero the list isn't empty.
        debug_assert!(free == 0 || block != NONE);
        if free == 0 || block == NONE {
            return None;
        }
        let state = self.state(block);
        debug_assert!(state.handles.get() == 0 && state.unique.get() == 0);
        from.free.set(free - 1);
        from.used.set(from.used.get() + 1);
        self.free_head.set(state.next.get());
        state.handles.set(1);
        state.unique.set(1);
        state.account.set(account);
        add(&self.counters.taken);
        Some(PageMut::whole(self, block, 0, 0))
    }

    /// One more handle of a block that has one. Saturates.
    #[inline]
    fn retain(&self, block: u32) {
        let handles = &self.state(block).handles;
        match handles.get().saturating_add(1) {
            SATURATED => self.saturate(block),
            more => handles.set(more),
        }
    }

    #[cold]
    fn saturate(&self, block: u32) {
        let handles = &self.state(block).handles;
        if handles.get() != SATURATED {
            handles.set(SATURATED);
            add(&self.counters.saturated);
        }
    }

    /// One handle of `block` less; the last one returns it.
    #[inline(always)]
    fn release(&self, block: u32) {
        let handles = &self.state(block).handles;
        match handles.get() {
            1 => self.put_back(block),
            SATURATED => {}
            count => {
                debug_assert!(count != 0);
                handles.set(count.wrapping_sub(1));
            }
        }
    }

    /// As [`release`](Self::release), of a handle that may write.
    #[inline]
    fn release_unique(&self, block: u32) {
        self.no_longer_unique(block);
        self.release(block);
    }

    /// A handle that could write can't any more.
    #[inline]
    fn no_longer_unique(&self, block: u32) {
        let unique = &self.state(block).unique;
        debug_assert!(unique.get() != 0);
        // At most as many as `handles`, which refuses to split before this could saturate.
        unique.set(unique.get().wrapping_sub(1));
    }

    fn put_back(&self, block: u32) {
        let state = self.state(block);
        debug_assert!(state.unique.get() == 0 && !state.quarantined.get());
        if self.scrub.get() {
            // SAFETY: the last handle of the block falls, so nothing refers to its `block_size` bytes, and it is not lent.
            unsafe { self.block_address(block).write_bytes(0, self.block_size()) };
        }
        state.handles.set(0);
        let account = self.account(state.account.get());
        account.used.set(account.used.get().wrapping_sub(1));
        let to = if account.open.get() {
            account
        } else {
            self.account(GENERAL)
        };
        to.free.set(to.free.get() + 1);
        state.next.set(self.free_head.replace(block));
    }

    /// Moves the charge of a block in use to the general part, in exchange for one of its free pages. `false` when there
    /// is none.
    #[inline]
    fn keep(&self, block: u32) -> bool {
        self.state(block).account.get() == GENERAL || self.exchange(block)
    }

    fn exchange(&self, block: u32) -> bool {
        let state = self.state(block);
        let (from, general) = (self.account(state.account.get()), self.account(GENERAL));
        if from.open.get() {
            let Some(free) = general.free.get().checked_sub(1) else {
                add(&self.counters.keep_refused);
                return false;
            };
            general.free.set(free);
            from.free.set(from.free.get() + 1);
        }
        // A page of a reserve that is no more returns to the general part in any case: nothing to exchange.
        from.used.set(from.used.get().wrapping_sub(1));
        general.used.set(general.used.get() + 1);
        state.account.set(GENERAL);
        add(&self.counters.kept);
        true
    }

    /// Puts a block out of use for good: the handle that is given up here keeps its count. The block is no page of any
    /// account any more.
    fn quarantine(&self, block: u32) {
        let state = self.state(block);
        if !state.quarantined.replace(true) {
            let account = self.account(state.account.get());
            account.used.set(account.used.get().wrapping_sub(1));
            // A later `keep` of a frozen window of it finds nothing to move.
            state.account.set(GENERAL);
            add(&self.counters.quarantined);
        }
    }
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool")
            .field("base", &self.base)
            .field("blocks", &self.blocks())
            .field("block_size", &self.block_size())
            .field("free", &self.free())
            .field("free_in_all", &self.free_in_all())
            .field("counters", &self.counters())
            .finish()
    }
}

fn check_block_size(block_size: usize) -> Result<(), PoolError> {
    let in_range = (Pool::MIN_BLOCK_SIZE..=Pool::MAX_BLOCK_SIZE).contains(&block_size);
    if in_range && block_size.is_power_of_two() {
        Ok(())
    } else {
        Err(PoolError::BlockSize)
    }
}

/// Why a pool can't be made, or can't give what was asked. Always the caller's configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum PoolError {
    /// The block size is not a power of two from [`Pool::MIN_BLOCK_SIZE`] to [`Pool::MAX_BLOCK_SIZE`].
    BlockSize,
    /// The region has no block, isn't a multiple of the block size, or has more blocks than the metadata.
    RegionLength,
    /// The region isn't aligned to its block size or to a page.
    Unaligned,
    /// The storage was made a pool before.
    AlreadyInitialised,
    /// The allocator has no memory.
    OutOfMemory,
    /// The general part has fewer free pages than the reserve asked for.
    OutOfPages,
    /// All places for reserves are taken.
    OutOfReserves,
    /// All places for static ranges are taken.
    OutOfStaticRanges,
    /// A static range of 4 GiB or more.
    StaticTooLong,
}

impl fmt::Display for PoolError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::BlockSize => "block size is not a power of two from 64 to 32768",
            Self::RegionLength => "region has no block, a part of one, or more than its metadata",
            Self::Unaligned => "region is not aligned to its block size or to a page",
            Self::AlreadyInitialised => "storage is a pool already",
            Self::OutOfMemory => "allocator has no memory for the pool",
            Self::OutOfPages => "general part has too few free pages for the reserve",
            Self::OutOfReserves => "no place for another reserve",
            Self::OutOfStaticRanges => "no place for another static range",
            Self::StaticTooLong => "static range of 4 GiB or more",
        })
    }
}

impl core::error::Error for PoolError {}

/// What happened in a pool since it was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct PoolCounters {
    /// Pages given out, by the general part and by reserves.
    pub taken: u64,
    /// Times that the general part had none.
    pub exhausted: u64,
    /// Times that a reserve had none.
    pub reserve_exhausted: u64,
    /// Pages whose charge moved to the general part.
    pub kept: u64,
    /// Times that the general part had no page to exchange for one that was to be kept.
    pub keep_refused: u64,
    /// Lendings begun, for writing and for reading.
    pub lent: u64,
    /// Lendings that the pool or the lender refused.
    pub lend_refused: u64,
    /// Lendings ended.
    pub ended: u64,
    /// Times that a lending's end was asked for while it was still in use.
    pub still_in_use: u64,
    /// Times that a frame didn't get a fourth segment, since there was no room for another long frame.
    pub chains_exhausted: u64,
    /// Blocks put out of use for good, since another agent may still reach them.
    pub quarantined: u64,
    /// Blocks put out of use for good, since nobody knows any more how many handles they have.
    pub saturated: u64,
}

#[derive(Default)]
struct Tally {
    taken: Cell<u64>,
    exhausted: Cell<u64>,
    reserve_exhausted: Cell<u64>,
    kept: Cell<u64>,
    keep_refused: Cell<u64>,
    lent: Cell<u64>,
    lend_refused: Cell<u64>,
    ended: Cell<u64>,
    still_in_use: Cell<u64>,
    chains_exhausted: Cell<u64>,
    quarantined: Cell<u64>,
    saturated: Cell<u64>,
}

impl Tally {
    fn read(&self) -> PoolCounters {
        PoolCounters {
            taken: self.taken.get(),
            exhausted: self.exhausted.get(),
            reserve_exhausted: self.reserve_exhausted.get(),
            kept: self.kept.get(),
            keep_refused: self.keep_refused.get(),
            lent: self.lent.get(),
            lend_refused: self.lend_refused.get(),
            ended: self.ended.get(),
            still_in_use: self.still_in_use.get(),
            chains_exhausted: self.chains_exhausted.get(),
            quarantined: self.quarantined.get(),
            saturated: self.saturated.get(),
        }
    }
}

#[inline]
fn add(counter: &Cell<u64>) {
    counter.set(counter.get().wrapping_add(1));
}
