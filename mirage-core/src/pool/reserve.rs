//! Pages that one owner can take, and no other.

use super::block::{Account, GENERAL};
use super::{PageMut, Pool, PoolError, add};

/// An account of a pool: `free` pages that only its owner takes, and those in use that will be its again.
///
/// A device owns one for what it posts to receive, so that no queue can starve it, and one for what must be sent in any
/// case. Dropped, it gives its free pages to the general part; those in use follow when they return.
///
/// ```
/// # use mirage_core::pool::{Pool, PoolStorage};
/// # static STORAGE: PoolStorage<4, 2048> = PoolStorage::new();
/// # let pool = STORAGE.init().unwrap();
/// let ring = pool.reserve(3).unwrap();
/// let received = ring.alloc().unwrap();
/// assert_eq!((pool.free(), ring.free()), (1, 2));
/// let queued = received.keep().unwrap(); // exchanged for the general part's last
/// assert_eq!((pool.free(), ring.free()), (0, 3));
/// drop(queued);
/// assert_eq!((pool.free(), ring.free()), (1, 3));
/// ```
#[derive(Debug)]
pub struct Reserve {
    pool: &'static Pool,
    account: u8,
}

impl Reserve {
    pub(super) fn open(pool: &'static Pool, pages: usize) -> Result<Self, PoolError> {
        let place = pool
            .accounts
            .iter()
            .enumerate()
            .skip(1)
            .find(|(_, place)| !place.open.get() && place.used.get() == 0);
        let account = place
            .and_then(|(index, _)| u8::try_from(index).ok())
            .ok_or(PoolError::OutOfReserves)?;
        let reserve = Self { pool, account };
        reserve.grow(pages)?;
        reserve.account().open.set(true);
        Ok(reserve)
    }

    /// A page of the reserve: the window is empty, without headroom, the tailroom is the block. It returns to the reserve
    /// when its last handle falls, unless somebody [kept](PageMut::keep) it.
    ///
    /// `None` when the reserve has none left.
    #[inline]
    pub fn alloc(&self) -> Option<PageMut> {
        let page = self.pool.take(self.account);
        if page.is_none() {
            add(&self.pool.counters.reserve_exhausted);
        }
        page
    }

    /// Pages that [`alloc`](Self::alloc) can give.
    #[inline]
    pub fn free(&self) -> usize {
        self.account().free.get() as usize
    }

    /// Pages in use that will return to the reserve.
    #[inline]
    pub fn in_use(&self) -> usize {
        self.account().used.get() as usize
    }

    /// The pool.
    #[inline]
    pub fn pool(&self) -> &'static Pool {
        self.pool
    }

    /// Takes `pages` more from the general part.
    ///
    /// # Errors
    ///
    /// [`PoolError::OutOfPages`] when that has fewer free; nothing changes.
    pub fn grow(&self, pages: usize) -> Result<(), PoolError> {
        shift(self.pool.account(GENERAL), self.account(), pages)
    }

    /// Gives `pages` free ones to the general part.
    ///
    /// # Errors
    ///
    /// [`PoolError::OutOfPages`] when the reserve has fewer free; nothing changes.
    pub fn shrink(&self, pages: usize) -> Result<(), PoolError> {
        shift(self.account(), self.pool.account(GENERAL), pages)
    }

    #[inline]
    fn account(&self) -> &'static Account {
        self.pool.account(self.account)
    }
}

impl Drop for Reserve {
    fn drop(&mut self) {
        let account = self.account();
        let general = self.pool.account(GENERAL);
        account.open.set(false);
        general
            .free
            .set(general.free.get() + account.free.replace(0));
    }
}

/// Moves `pages` free pages from one account to another.
fn shift(from: &Account, to: &Account, pages: usize) -> Result<(), PoolError> {
    let pages = u32::try_from(pages).map_err(|_| PoolError::OutOfPages)?;
    let rest = from
        .free
        .get()
        .checked_sub(pages)
        .ok_or(PoolError::OutOfPages)?;
    from.free.set(rest);
    to.free.set(to.free.get() + pages);
    Ok(())
}
