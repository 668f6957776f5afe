//! The memory that a pool stands on.

use core::cell::UnsafeCell;
use core::mem::MaybeUninit;
use core::ptr::NonNull;
use core::sync::atomic::{AtomicBool, Ordering};

use super::block::{Account, BlockState};
use super::chain::ChainSlot;
use super::statics::StaticEntry;
use super::{Pool, PoolError};

/// What a pool of up to `BLOCKS` blocks knows of each, with room for `RESERVES` reserves (at most 255), `STATICS` static
/// ranges, the segments of `CHAINS` long frames, and the [`Pool`] itself.
///
/// Sixteen bytes a block and, on 64-bit machines, 448 a chain. A chain is taken by a [`Frame`](crate::Frame) of more than
/// [`INLINE_SEGMENTS`](crate::Frame::INLINE_SEGMENTS) segments while it has that many.
pub struct PoolMetadata<
    const BLOCKS: usize,
    const RESERVES: usize = 8,
    const STATICS: usize = 8,
    const CHAINS: usize = 8,
> {
    pool: MaybeUninit<Pool>,
    states: [BlockState; BLOCKS],
    /// The general part's account and the reserves' lie in a row.
    accounts: Accounts<RESERVES>,
    statics: [StaticEntry; STATICS],
    chains: [ChainSlot; CHAINS],
}

#[repr(C)]
struct Accounts<const RESERVES: usize> {
    general: Account,
    reserves: [Account; RESERVES],
}

// SAFETY: metadata that somebody owns are no pool's yet: a pool borrows them for 'static. So no `Pool` is in them, no chain has a
// segment, and what the cells hold is tied to no thread.
unsafe impl<const BLOCKS: usize, const RESERVES: usize, const STATICS: usize, const CHAINS: usize>
    Send for PoolMetadata<BLOCKS, RESERVES, STATICS, CHAINS>
{
}

/// The tables that a pool keeps.
pub(super) struct Tables<'a> {
    pub(super) states: &'a [BlockState],
    /// The general part's, then the reserves'.
    pub(super) accounts: &'a [Account],
    pub(super) statics: &'a [StaticEntry],
    pub(super) chains: &'a [ChainSlot],
}

impl<const BLOCKS: usize, const RESERVES: usize, const STATICS: usize, const CHAINS: usize>
    PoolMetadata<BLOCKS, RESERVES, STATICS, CHAINS>
{
    /// Metadata for a pool that is still to be made.
    pub const fn new() -> Self {
        const { assert!(RESERVES <= 255, "at most 255 reserves") };
        Self {
            pool: MaybeUninit::uninit(),
            states: [const { BlockState::new() }; BLOCKS],
            accounts: Accounts {
                general: Account::new(),
                reserves: [const { Account::new() }; RESERVES],
            },
            statics: [const { StaticEntry::new() }; STATICS],
            chains: [const { ChainSlot::new() }; CHAINS],
        }
    }

    pub(super) fn parts(&mut self) -> (&mut MaybeUninit<Pool>, Tables<'_>) {
        let accounts = NonNull::from(&self.accounts).cast::<Account>();
        // SAFETY: `Accounts` is `repr(C)` of one `Account` and an array of `RESERVES` of them: `RESERVES + 1` in a row,
        // without padding between. The pointer is of the whole field, shared for as long as `self` is borrowed, and the
        // other fields that are borrowed from `self` are disjoint.
        let accounts = unsafe { core::slice::from_raw_parts(accounts.as_ptr(), RESERVES + 1) };
        let tables = Tables {
            states: &self.states,
            accounts,
            statics: &self.statics,
            chains: &self.chains,
        };
        (&mut self.pool, tables)
    }
}

impl<const BLOCKS: usize, const RESERVES: usize, const STATICS: usize, const CHAINS: usize> Default
    for PoolMetadata<BLOCKS, RESERVES, STATICS, CHAINS>
{
    fn default() -> Self {
        Self::new()
    }
}

/// A pool's region and metadata in one `static`: `BLOCKS` blocks of `SIZE` bytes, zeroed.
///
/// ```
/// use mirage_core::pool::PoolStorage;
///
/// static STORAGE: PoolStorage<256, 2048> = PoolStorage::new();
///
/// let pool = STORAGE.init().unwrap();
/// assert_eq!(pool.free(), 256);
/// assert!(STORAGE.init().is_err()); // once
/// ```
pub struct PoolStorage<
    const BLOCKS: usize,
    const SIZE: usize,
    const RESERVES: usize = 8,
    const STATICS: usize = 8,
    const CHAINS: usize = 8,
> {
    taken: AtomicBool,
    region: UnsafeCell<Region<BLOCKS, SIZE>>,
    metadata: UnsafeCell<PoolMetadata<BLOCKS, RESERVES, STATICS, CHAINS>>,
}

#[repr(C, align(4096))]
struct Region<const BLOCKS: usize, const SIZE: usize>([[u8; SIZE]; BLOCKS]);

const _: () = assert!(align_of::<Region<1, 64>>() == Pool::PAGE_SIZE);

// SAFETY: what the cells hold is given out once (`taken`), as a `&'static Pool` that can't leave the thread that got it.
// That thread may be another one than the one that made the storage: nothing in it is tied to a thread before.
unsafe impl<
    const BLOCKS: usize,
    const SIZE: usize,
    const RESERVES: usize,
    const STATICS: usize,
    const CHAINS: usize,
> Sync for PoolStorage<BLOCKS, SIZE, RESERVES, STATICS, CHAINS>
{
}

impl<
    const BLOCKS: usize,
    const SIZE: usize,
    const RESERVES: usize,
    const STATICS: usize,
    const CHAINS: usize,
> PoolStorage<BLOCKS, SIZE, RESERVES, STATICS, CHAINS>
{
    /// Zeroed storage; in a `static` it takes no room in the image.
    pub const fn new() -> Self {
        Self {
            taken: AtomicBool::new(false),
            region: UnsafeCell::new(Region([[0; SIZE]; BLOCKS])),
            metadata: UnsafeCell::new(PoolMetadata::new()),
        }
    }

    /// Makes the pool. The thread that calls is the pool's.
    ///
    /// # Errors
    ///
    /// [`PoolError::AlreadyInitialised`] from the second call on, and what [`Pool::new`] says of `SIZE` and `BLOCKS`.
    pub fn init(&'static self) -> Result<&'static Pool, PoolError> {
        if self.taken.swap(true, Ordering::Relaxed) {
            return Err(PoolError::AlreadyInitialised);
        }
        // SAFETY: `taken` was false and never becomes so again: this is the only time that the cell's content is borrowed.
        let metadata = unsafe { &mut *self.metadata.get() };
        let base = NonNull::from(&self.region).cast::<u8>();
        let (place, tables) = metadata.parts();
        // SAFETY: `base` is of the region's cell, of `BLOCKS * SIZE` initialised bytes in `repr(C)` arrays that live for
        // 'static; they are private, and reached from here alone, once.
        let pool = unsafe { Pool::from_region(base, BLOCKS * SIZE, SIZE, tables) }?;
        Ok(place.write(pool))
    }
}

impl<
    const BLOCKS: usize,
    const SIZE: usize,
    const RESERVES: usize,
    const STATICS: usize,
    const CHAINS: usize,
> Default for PoolStorage<BLOCKS, SIZE, RESERVES, STATICS, CHAINS>
{
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(any(feature = "alloc", test))]
pub(super) fn leak(blocks: usize, block_size: usize) -> Result<&'static Pool, PoolError> {
    use alloc::boxed::Box;
    use core::alloc::Layout;

    const RESERVES: usize = 16;
    const STATICS: usize = 16;
    const MOST_CHAINS: usize = 256;

    super::check_block_size(block_size)?;
    let length = blocks
        .checked_mul(block_size)
        .ok_or(PoolError::RegionLength)?;
    if blocks == 0 || blocks >= super::block::NONE as usize {
        return Err(PoolError::RegionLength);
    }
    let layout =
        Layout::from_size_align(length, Pool::PAGE_SIZE).map_err(|_| PoolError::RegionLength)?;
    let mut states = alloc::vec::Vec::new();
    states
        .try_reserve_exact(blocks)
        .map_err(|_| PoolError::OutOfMemory)?;
    states.resize_with(blocks, BlockState::new);
    // SAFETY: the layout isn't empty: there is at least one block of at least 64 bytes.
    let base = NonNull::new(unsafe { alloc::alloc::alloc_zeroed(layout) })
        .ok_or(PoolError::OutOfMemory)?;
    let accounts: Box<[Account]> = core::iter::repeat_with(Account::new)
        .take(RESERVES + 1)
        .collect();
    let statics: Box<[StaticEntry]> = core::iter::repeat_with(StaticEntry::new)
        .take(STATICS)
        .collect();
    let chains: Box<[ChainSlot]> = core::iter::repeat_with(ChainSlot::new)
        .take(blocks.div_ceil(4).min(MOST_CHAINS))
        .collect();
    let tables = Tables {
        states: states.leak(),
        accounts: Box::leak(accounts),
        statics: Box::leak(statics),
        chains: Box::leak(chains),
    };
    // SAFETY: `base` is of `length` zeroed bytes that were allocated just now, are never freed and that nothing else knows.
    let pool = unsafe { Pool::from_region(base, length, block_size, tables) }?;
    Ok(Box::leak(Box::new(pool)))
}
