//! The grant table, version 1: which domain may reach which of our pages.
//!
//! | type | what it is |
//! | --- | --- |
//! | [`GrantTable`] | the domain's table: gives out references |
//! | [`PoolGrants`] | a pool whose blocks have a reference each, for life |
//! | [`GrantLender`] | lends a pool's blocks to one domain: what [`PageMut::lend`] and [`Page::lend`] take |
//!
//! An entry takes effect when its flags are written, after its frame and its domain; it ends by a compare-and-swap, without a
//! hypercall, which fails while Xen has marked it as in use.
//!
//! What the other domain doesn't give back stays granted: the entry can't be ended before it does. The pool quarantines such a
//! block, and its reference is never used for anything else.
//!
//! # After a resume
//!
//! All entries are zero then, and the domains at the other ends may be others. [`GrantTable::restored`] makes every
//! lender *detached*: it lends nothing ([`LendError::Gone`]), and what it has lent nobody reaches. With
//! [`GrantLender::set_domain`], as soon as the new backend is known, everything that is lent and not ended is granted again,
//! with the same references. No entry names a domain of the place where the suspended one was.
//!
//! [`PageMut::lend`]: mirage_core::PageMut::lend
//! [`Page::lend`]: mirage_core::Page::lend
//! [`LendError::Gone`]: mirage_core::pool::LendError::Gone

mod lender;
mod pool;
#[cfg(test)]
mod tests;

use core::cell::Cell;
use core::fmt;
use core::ops::Range;
use core::sync::atomic::Ordering;

use crate::abi::grant::{ENTRIES_PER_FRAME, GrantEntry, GrantFlags, RESERVED_ENTRIES};
use crate::abi::{DomainId, GrantReference, XenError};
use crate::hypervisor::Hypervisor;

pub use lender::{GrantLender, MAXIMUM_STATIC_RANGES};
pub use pool::{BlockGrant, PoolGrants};

/// The domain's grant table. One for a domain, for the life of the program.
///
/// References are given out once, to a pool or a lender, and never returned: both live as long as the program.
pub struct GrantTable<H: Hypervisor> {
    hypervisor: &'static H,
    /// Those that are mapped.
    entries: Cell<&'static [GrantEntry]>,
    /// Entries that Xen allows.
    maximum: u32,
    /// The first reference that nobody has.
    next: Cell<u32>,
    /// How often the domain was resumed.
    generation: Cell<u32>,
}

impl<H: Hypervisor> GrantTable<H> {
    /// A table that has room for `references` of ours: a pool's blocks, and for each lender the pages of the pool's static
    /// ranges. The toolstack's come in addition. It grows where more are needed later, as far as Xen allows.
    ///
    /// # Errors
    ///
    /// [`GrantError::TooManyReferences`] where Xen allows the domain fewer (by default it allows 32 or 64 frames, of 512
    /// references each), and Xen's.
    pub fn new(hypervisor: &'static H, references: u32) -> Result<Self, GrantError> {
        let wanted = u64::from(references) + u64::from(RESERVED_ENTRIES);
        let maximum_frames = hypervisor.maximum_grant_frames()?;
        let maximum = u64::from(maximum_frames) * ENTRIES_PER_FRAME as u64;
        let too_many = GrantError::TooManyReferences {
            wanted: references,
            maximum: maximum.saturating_sub(u64::from(RESERVED_ENTRIES)),
        };
        if wanted > maximum {
            return Err(too_many);
        }
        let wanted = u32::try_from(wanted).map_err(|_| too_many)?;
        let entries = Self::map(hypervisor, wanted)?.ok_or(too_many)?;
        Ok(Self {
            hypervisor,
            entries: Cell::new(entries),
            maximum: u32::try_from(maximum).unwrap_or(u32::MAX),
            next: Cell::new(RESERVED_ENTRIES),
            generation: Cell::new(0),
        })
    }

    /// So many entries at least; none where there is no room for them.
    fn map(hypervisor: &'static H, wanted: u32) -> Result<Option<&'static [GrantEntry]>, XenError> {
        let frames = wanted.div_ceil(ENTRIES_PER_FRAME as u32);
        // SAFETY: `begin` and `end` alone write entries, those that `allocate` gave out, all of which lie behind the reserved ones.
        // `begin` writes such as are zero; `end` replaces exactly what `begin` wrote, without `READING` and `WRITING`. For a frame
        // that nothing refers to: `begin` is called by `GrantLender` alone, for blocks of a pool that are lent (see its
        // `Lender`) and, read-only, for the pages of static ranges, which nothing writes. Another table of the same domain
        // would do the same.
        let entries = unsafe { hypervisor.grant_entries(frames) }?;
        Ok((entries.len() >= wanted as usize).then_some(entries))
    }

    /// As [`new`](Self::new), for the life of the program.
    ///
    /// # Errors
    ///
    /// As of [`new`](Self::new).
    #[cfg(any(feature = "alloc", test))]
    pub fn leak(hypervisor: &'static H, references: u32) -> Result<&'static Self, GrantError> {
        let table = Self::new(hypervisor, references)?;
        Ok(alloc::boxed::Box::leak(alloc::boxed::Box::new(table)))
    }

    /// What the calls go to.
    pub fn hypervisor(&self) -> &'static H {
        self.hypervisor
    }

    /// References that nobody has yet, of those that are mapped.
    pub fn free(&self) -> usize {
        let mapped = self.entries.get().len();
        mapped.saturating_sub(self.next.get() as usize)
    }

    /// References that nobody has yet, of all that Xen allows.
    pub fn available(&self) -> usize {
        self.maximum.saturating_sub(self.next.get()) as usize
    }

    /// The domain was resumed, and [`Hypervisor::restore`] has succeeded: all entries are zero. Every lender is detached
    /// until it is told its [domain](GrantLender::set_domain).
    pub fn restored(&self) {
        self.generation.set(self.generation.get().wrapping_add(1));
    }

    /// The first of `count` references in a row.
    fn allocate(&self, count: usize) -> Result<u32, GrantError> {
        let first = self.next.get();
        let count = u32::try_from(count).map_err(|_| GrantError::Full)?;
        let next = first.checked_add(count).ok_or(GrantError::Full)?;
        if next as usize > self.entries.get().len() {
            if next > self.maximum {
                return Err(GrantError::Full);
            }
            let entries = Self::map(self.hypervisor, next)?;
            self.entries.set(entries.ok_or(GrantError::Full)?);
        }
        self.next.set(next);
        Ok(first)
    }

    /// Whether the entry is there and has ended, or was never begun.
    fn is_ended(&self, reference: u32) -> bool {
        let entry = self.entries.get().get(reference as usize);
        entry.is_some_and(|entry| entry.flags.load(Ordering::Relaxed) == 0)
    }

    /// Lets `domain` reach a frame, from now on. `false`, and nothing happens, where the entry has not ended: then
    /// another `GrantTable` of the same domain has begun it, and its peer may be in there.
    fn begin(&self, reference: u32, frame: u32, domain: DomainId, flags: GrantFlags) -> bool {
        if !self.is_ended(reference) {
            return false;
        }
        let Some(entry) = self.entries.get().get(reference as usize) else {
            return false;
        };
        entry.frame.store(frame, Ordering::Relaxed);
        entry.domain.store(domain.0, Ordering::Relaxed);
        // Release: Xen sees the two above, and the peer what the frame holds.
        entry.flags.store(flags.bits(), Ordering::Release);
        true
    }

    /// Ends an entry that was begun with these flags. `false`: it is in use, and goes on.
    fn end(&self, reference: u32, flags: GrantFlags) -> bool {
        let Some(entry) = self.entries.get().get(reference as usize) else {
            return false;
        };
        // Xen changes `READING` and `WRITING` alone. So flags that aren't ours exactly have one of them: there is nothing to
        // try again. Acquire: what the peer wrote before Xen took the marks away is visible.
        let ended =
            entry
                .flags
                .compare_exchange(flags.bits(), 0, Ordering::Acquire, Ordering::Relaxed);
        ended.is_ok()
    }

    /// The number of one of the domain's frames, as an entry holds it.
    fn frame(&self, address: core::ptr::NonNull<u8>) -> Result<u32, GrantError> {
        let frame = self.hypervisor.frame_number(address);
        let frame = frame.ok_or(GrantError::NotRam)?;
        u32::try_from(frame.0).map_err(|_| GrantError::FrameOutOfRange(frame.0))
    }
}

impl<H: Hypervisor> fmt::Debug for GrantTable<H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GrantTable")
            .field("entries", &self.entries.get().len())
            .field("free", &self.free())
            .field("generation", &self.generation.get())
            .finish()
    }
}

/// The flags of an entry that lets a peer read and write.
const READ_WRITE: GrantFlags = GrantFlags::PERMIT_ACCESS;
/// The flags of an entry that lets a peer read.
const READ_ONLY: GrantFlags = GrantFlags::PERMIT_ACCESS.union(GrantFlags::READ_ONLY);

/// References in a row.
fn references(first: u32, count: usize) -> Range<u32> {
    // They were allocated, so they are in range.
    first..first.saturating_add(u32::try_from(count).unwrap_or(0))
}

/// A domain that can be granted something.
fn check(domain: DomainId) -> Result<DomainId, GrantError> {
    if domain < DomainId::FIRST_RESERVED {
        Ok(domain)
    } else {
        Err(GrantError::NoDomain(domain))
    }
}

/// Why something can't be granted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum GrantError {
    /// The caller's configuration: more than Xen allows this domain (`max_grant_frames` in the domain's configuration).
    TooManyReferences {
        /// References asked for.
        wanted: u32,
        /// References that there can be, without the reserved ones.
        maximum: u64,
    },
    /// The caller's configuration: the table was made with room for fewer references.
    Full,
    /// The caller's configuration: the pool's blocks are not pages, but of this size.
    BlockSize(usize),
    /// The caller's configuration: less memory than the pool has blocks.
    Memory,
    /// The caller's configuration: as many lenders as can be.
    TooManyLenders,
    /// The caller's configuration: more than [`MAXIMUM_STATIC_RANGES`] of the pool.
    TooManyStaticRanges,
    /// The caller's: memory that is not the domain's RAM.
    NotRam,
    /// The toolstack's configuration: memory at a frame number that an entry of version 1 can't hold (16 TiB or higher).
    FrameOutOfRange(u64),
    /// Whoever named it: no domain can have this number.
    NoDomain(DomainId),
    /// The peer's: it has not given back everything that is granted to it. (The caller's, where it made two tables.)
    StillInUse(GrantReference),
    /// Xen refused.
    Xen(XenError),
}

impl From<XenError> for GrantError {
    fn from(error: XenError) -> Self {
        Self::Xen(error)
    }
}

impl fmt::Display for GrantError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooManyReferences { wanted, maximum } => {
                write!(f, "{wanted} grant references wanted, Xen allows {maximum}")
            }
            Self::Full => f.write_str("the grant table was made with fewer references"),
            Self::BlockSize(size) => {
                write!(
                    f,
                    "a block of {size} bytes is no page, and can't be granted alone"
                )
            }
            Self::Memory => f.write_str("less memory for grants than the pool has blocks"),
            Self::TooManyLenders => f.write_str("too many lenders of one pool"),
            Self::TooManyStaticRanges => {
                write!(
                    f,
                    "the pool has more than {MAXIMUM_STATIC_RANGES} static ranges"
                )
            }
            Self::NotRam => f.write_str("memory to be granted is not this domain's"),
            Self::FrameOutOfRange(frame) => {
                write!(f, "frame {frame:#x} is too high for a grant of version 1")
            }
            Self::NoDomain(domain) => write!(f, "there can be no {domain}"),
            Self::StillInUse(reference) => {
                write!(f, "the peer still uses grant reference {}", reference.0)
            }
            Self::Xen(error) => write!(f, "Xen refused the grant table: {error}"),
        }
    }
}

impl core::error::Error for GrantError {}
