//! Grant table entries, version 1 (grant_table.h).

use core::sync::atomic::{AtomicU16, AtomicU32};

use bitflags::bitflags;

use super::PAGE_SIZE;

/// `GNTTAB_NR_RESERVED_ENTRIES`: the first entries are the toolstack's.
pub const RESERVED_ENTRIES: u32 = 8;
/// `GNTTAB_RESERVED_CONSOLE`: the entry of the console's ring, written by the toolstack.
pub const RESERVED_CONSOLE: u32 = 0;
/// `GNTTAB_RESERVED_XENSTORE`: the entry of xenstore's ring, written by the toolstack.
pub const RESERVED_XENSTORE: u32 = 1;

/// An entry of a grant table (`struct grant_entry_v1`): Xen reads it and writes its flags while the domain looks.
///
/// It takes effect when [`flags`](Self::flags) get their type, so they are written last (release), and ended by a
/// compare-and-swap that finds neither [`READING`](GrantFlags::READING) nor [`WRITING`](GrantFlags::WRITING).
///
/// Who has one can give another domain any frame: so the domain's own come from an unsafe method,
/// [`Hypervisor::grant_entries`](crate::Hypervisor::grant_entries).
#[derive(Debug)]
#[repr(C)]
pub struct GrantEntry {
    /// [`GrantFlags`].
    pub flags: AtomicU16,
    /// The domain that may reach the frame.
    pub domain: AtomicU16,
    /// The frame: a number below 2³².
    pub frame: AtomicU32,
}

const _: () = assert!(size_of::<GrantEntry>() == 8 && align_of::<GrantEntry>() == 4);

/// Entries in a frame of the table.
pub const ENTRIES_PER_FRAME: usize = PAGE_SIZE / size_of::<GrantEntry>();

bitflags! {
    /// `GTF_*`.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct GrantFlags: u16 {
        /// `GTF_permit_access`: the entry grants access to its frame.
        const PERMIT_ACCESS = 1;
        /// `GTF_readonly`: for reading only.
        const READ_ONLY = 1 << 2;
        /// `GTF_reading`: set by Xen while the frame is mapped or copied from.
        const READING = 1 << 3;
        /// `GTF_writing`: set by Xen while the frame is mapped for writing or copied to.
        const WRITING = 1 << 4;
    }
}
