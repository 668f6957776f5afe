//! The other domain.

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::cell::{Cell, RefCell};
use core::fmt;

use crate::pool::{Access, BlockId, LendError, Lender, Pool, StillInUse};

/// A lender that plays the other domain: it reads and writes blocks of one pool by their numbers, as a backend does with
/// its mappings, and is stopped and counted wherever it has no right to.
///
/// ```
/// use mirage_core::Pool;
/// use mirage_core::doubles::{CheckedLender, Violation};
///
/// let pool = Pool::leak(4, 2048).unwrap();
/// let peer = CheckedLender::leak(pool, 4);
/// let lent = pool.alloc().unwrap().lend(peer).unwrap();
/// let block = lent.block().index();
/// peer.write(block, 0, b"received").unwrap();
/// let mut page = lent.reclaim().unwrap();
/// page.set_len(8).unwrap();
/// assert_eq!(&page[..], b"received");
/// assert_eq!(peer.write(block, 0, b"too late"), Err(Violation::NotLent));
/// ```
pub struct CheckedLender {
    pool: &'static Pool,
    entries: RefCell<Vec<Entry>>,
    /// The most blocks that can be lent at a time.
    capacity: usize,
    lent: Cell<usize>,
    refusal: Cell<Option<LendError>>,
    violations: Cell<u64>,
}

#[derive(Clone, Copy, Default)]
struct Entry {
    readings: u32,
    writing: bool,
    held: bool,
}

impl Entry {
    fn is_lent(&self) -> bool {
        self.readings > 0 || self.writing
    }
}

impl CheckedLender {
    /// A lender for blocks of `pool`, that lends at most `capacity` at a time.
    pub fn new(pool: &'static Pool, capacity: usize) -> Self {
        Self {
            pool,
            entries: RefCell::new(alloc::vec![Entry::default(); pool.blocks()]),
            capacity,
            lent: Cell::new(0),
            refusal: Cell::new(None),
            violations: Cell::new(0),
        }
    }

    /// As [`new`](Self::new), for the life of the program, as the pool's handles want it.
    pub fn leak(pool: &'static Pool, capacity: usize) -> &'static Self {
        Box::leak(Box::new(Self::new(pool, capacity)))
    }

    /// The other domain copies bytes out of a block.
    ///
    /// # Errors
    ///
    /// What stopped it; counted.
    pub fn read(&self, block: usize, offset: usize, to: &mut [u8]) -> Result<(), Violation> {
        let (block, _) = self.check(block, offset, to.len())?;
        // SAFETY: `check` found `offset..offset + len` in the block, and the block lent to this lender. While it is, the
        // pool writes none of its bytes: lent for reading it is frozen, lent for writing nobody has a reference. `to` is
        // borrowed mutably, so it is none of the block's windows.
        unsafe {
            block
                .address()
                .as_ptr()
                .add(offset)
                .copy_to_nonoverlapping(to.as_mut_ptr(), to.len())
        };
        Ok(())
    }

    /// The other domain copies bytes into a block.
    ///
    /// # Errors
    ///
    /// What stopped it; counted.
    pub fn write(&self, block: usize, offset: usize, from: &[u8]) -> Result<(), Violation> {
        let (block, entry) = self.check(block, offset, from.len())?;
        if !entry.writing {
            return Err(self.violation(Violation::ReadOnly));
        }
        // SAFETY: `check` found `offset..offset + len` in the block, which is lent for writing: its only handle is a
        // `LentMut`, so no reference to its bytes exists, and `from` is none of its windows.
        unsafe {
            block
                .address()
                .as_ptr()
                .add(offset)
                .copy_from_nonoverlapping(from.as_ptr(), from.len())
        };
        Ok(())
    }

    /// The other domain holds on to a block, or lets it go: a lending that it holds on to can't be ended. It may hold on
    /// only to what is lent.
    ///
    /// # Errors
    ///
    /// [`Violation::NotLent`]; counted.
    pub fn hold(&self, block: usize, hold: bool) -> Result<(), Violation> {
        self.check(block, 0, 0)?;
        self.entries.borrow_mut()[block].held = hold;
        Ok(())
    }

    /// Refuses all lendings from now on, for this reason; `None`: no more.
    pub fn refuse(&self, reason: Option<LendError>) {
        self.refusal.set(reason);
    }

    /// How many blocks are lent, either way.
    pub fn lent(&self) -> usize {
        self.lent.get()
    }

    /// Whether this block is lent, and for what.
    pub fn access(&self, block: usize) -> Option<Access> {
        let entry = *self.entries.borrow().get(block)?;
        entry.is_lent().then_some(if entry.writing {
            Access::Write
        } else {
            Access::Read
        })
    }

    /// How often the other domain was stopped.
    pub fn violations(&self) -> u64 {
        self.violations.get()
    }

    fn check(
        &self,
        block: usize,
        offset: usize,
        len: usize,
    ) -> Result<(BlockId, Entry), Violation> {
        let entry = self
            .entries
            .borrow()
            .get(block)
            .copied()
            .unwrap_or_default();
        match self.pool.block(block) {
            Some(id) if entry.is_lent() => {
                let end = offset
                    .checked_add(len)
                    .ok_or_else(|| self.violation(Violation::OutOfBounds))?;
                if end > self.pool.block_size() {
                    Err(self.violation(Violation::OutOfBounds))
                } else {
                    Ok((id, entry))
                }
            }
            _ => Err(self.violation(Violation::NotLent)),
        }
    }

    fn violation(&self, violation: Violation) -> Violation {
        self.violations.set(self.violations.get() + 1);
        violation
    }
}

// SAFETY: the "other agent" is whoever calls `read` and `write`. They reach a block only while its entry says that it is
// lent, and write only while it is lent for writing; entries are made by `lend` alone, before it returns `Ok`, and taken
// away by `end` before that does. All on one thread (`!Sync`), so what was written is visible. No references are made.
unsafe impl Lender for CheckedLender {
    unsafe fn lend(&self, block: BlockId, access: Access) -> Result<(), LendError> {
        if !core::ptr::eq(block.pool(), self.pool) {
            return Err(LendError::OtherPool);
        }
        if let Some(reason) = self.refusal.get() {
            return Err(reason);
        }
        let entry = &mut self.entries.borrow_mut()[block.index()];
        let was_lent = entry.is_lent();
        if !was_lent && self.lent.get() >= self.capacity {
            return Err(LendError::Exhausted);
        }
        match access {
            Access::Write if was_lent => return Err(LendError::Busy),
            Access::Read if entry.writing => return Err(LendError::Busy),
            Access::Write => entry.writing = true,
            Access::Read => {
                entry.readings = entry.readings.checked_add(1).ok_or(LendError::Exhausted)?
            }
        }
        if !was_lent {
            self.lent.set(self.lent.get() + 1);
        }
        Ok(())
    }

    unsafe fn end(&self, block: BlockId, access: Access) -> Result<(), StillInUse> {
        let entry = &mut self.entries.borrow_mut()[block.index()];
        if entry.held {
            return Err(StillInUse);
        }
        let was_lent = entry.is_lent();
        match access {
            Access::Write => entry.writing = false,
            Access::Read => entry.readings = entry.readings.saturating_sub(1),
        }
        if was_lent && !entry.is_lent() {
            self.lent.set(self.lent.get() - 1);
        }
        Ok(())
    }
}

impl fmt::Debug for CheckedLender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CheckedLender")
            .field("lent", &self.lent())
            .field("violations", &self.violations())
            .finish()
    }
}

/// What the other domain tried without a right to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Violation {
    /// To reach a block that isn't lent to it, or that doesn't exist.
    NotLent,
    /// To write a block that is lent for reading.
    ReadOnly,
    /// To reach bytes behind the block's end.
    OutOfBounds,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotLent => "block is not lent",
            Self::ReadOnly => "block is lent for reading only",
            Self::OutOfBounds => "bytes behind the end of the block",
        })
    }
}

impl core::error::Error for Violation {}
