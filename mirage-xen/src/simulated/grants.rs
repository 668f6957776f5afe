//! How other domains reach the domain's memory: through entries that permit it, and not otherwise.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::sync::atomic::Ordering;

use super::memory::{Memory, Place};
use super::violations::{Violation, Violations};
use crate::abi::grant::{GrantEntry, GrantFlags};
use crate::abi::{DomainId, PAGE_SIZE};

/// Who has what mapped.
#[derive(Default)]
pub(super) struct Grants {
    pins: RefCell<BTreeMap<u32, Pins>>,
    /// Counts the domain's lives: a mapping of an earlier one is of memory that is gone.
    generation: Cell<u32>,
}

#[derive(Clone, Copy, Default)]
struct Pins {
    reading: u32,
    writing: u32,
    frame: u32,
}

/// A frame that another domain has mapped. It stays mapped until it is given to [`Grants::unmap`].
#[derive(Debug)]
pub(super) struct Mapping {
    reference: u32,
    writable: bool,
    generation: u32,
}

/// Xen refused: `GNTST_*`, one of the negative ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Refused;

/// The domain's memory and its grants, with the list of what it does wrong: what backends reach it through.
#[derive(Clone, Copy)]
pub(super) struct Reach<'a> {
    pub(super) grants: &'a Grants,
    pub(super) memory: &'a Memory,
    pub(super) violations: &'a Violations,
}

impl Grants {
    /// The domain is a new one: what was mapped belonged to the old.
    pub(super) fn reset(&self) {
        self.pins.borrow_mut().clear();
        self.generation.set(self.generation.get() + 1);
    }

    /// How many entries somebody has mapped.
    pub(super) fn mapped(&self) -> usize {
        self.pins.borrow().len()
    }
}

impl Reach<'_> {
    fn refuse(self, violation: Violation) -> Refused {
        self.violations.add(violation);
        Refused
    }

    /// Maps the frame of a grant for `domain` (`GNTTABOP_map_grant_ref`): sets the entry's flags as Xen does, so that the
    /// grant can't be ended.
    ///
    /// # Errors
    ///
    /// Where the entry doesn't permit it: that backends are told such a reference is the domain's fault, and counted.
    pub(super) fn map(
        self,
        domain: DomainId,
        reference: u32,
        writable: bool,
    ) -> Result<Mapping, Refused> {
        self.pin(domain, reference, writable)
            .map_err(|violation| self.refuse(violation))
    }

    /// As [`map`](Self::map), by a backend that may have no right to any more: that is no fault of the domain's.
    pub(super) fn try_map(
        self,
        domain: DomainId,
        reference: u32,
        writable: bool,
    ) -> Result<Mapping, Refused> {
        self.pin(domain, reference, writable).map_err(|_| Refused)
    }

    fn pin(self, domain: DomainId, reference: u32, writable: bool) -> Result<Mapping, Violation> {
        let entry = self.entry(reference)?;
        let denied = Violation::GrantNotPermitted { reference, domain };
        let pin = if writable {
            GrantFlags::READING | GrantFlags::WRITING
        } else {
            GrantFlags::READING
        };
        let flags = entry
            .flags
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |flags| {
                let flags = GrantFlags::from_bits_truncate(flags);
                let permitted = flags.contains(GrantFlags::PERMIT_ACCESS)
                    && entry.domain.load(Ordering::SeqCst) == domain.0;
                (permitted && !(writable && flags.contains(GrantFlags::READ_ONLY)))
                    .then(|| (flags | pin).bits())
            });
        match flags {
            Ok(_) => {}
            Err(flags)
                if GrantFlags::from_bits_truncate(flags)
                    .contains(GrantFlags::PERMIT_ACCESS | GrantFlags::READ_ONLY)
                    && entry.domain.load(Ordering::SeqCst) == domain.0 =>
            {
                return Err(Violation::GrantReadOnly(reference));
            }
            Err(_) => return Err(denied),
        }
        let frame = entry.frame.load(Ordering::SeqCst);
        {
            let mut pins = self.grants.pins.borrow_mut();
            let pins = pins.entry(reference).or_default();
            pins.reading += 1;
            pins.writing += u32::from(writable);
            // Xen looks at the frame when the first mapping is made, and keeps it for those that follow.
            if pins.reading == 1 {
                pins.frame = frame;
            }
        }
        let mapping = Mapping {
            reference,
            writable,
            generation: self.grants.generation.get(),
        };
        if self.memory.is_frame(frame) {
            Ok(mapping)
        } else {
            Err(self.unpin(mapping, frame))
        }
    }

    fn unpin(self, mapping: Mapping, frame: u32) -> Violation {
        let reference = mapping.reference;
        self.unmap(mapping);
        Violation::GrantFrame { reference, frame }
    }

    /// Unmaps it; clears the entry's flags when nobody else has it mapped.
    pub(super) fn unmap(self, mapping: Mapping) {
        if mapping.generation != self.grants.generation.get() {
            return;
        }
        let mut all = self.grants.pins.borrow_mut();
        let Some(pins) = all.get_mut(&mapping.reference) else {
            return;
        };
        pins.reading -= 1;
        pins.writing -= u32::from(mapping.writable);
        let Ok(entry) = self.entry(mapping.reference) else {
            return;
        };
        if pins.writing == 0 {
            entry
                .flags
                .fetch_and(!GrantFlags::WRITING.bits(), Ordering::SeqCst);
        }
        if pins.reading == 0 {
            entry
                .flags
                .fetch_and(!GrantFlags::READING.bits(), Ordering::SeqCst);
            all.remove(&mapping.reference);
        }
    }

    /// Whether the memory behind a mapping is still there.
    pub(super) fn is_current(self, mapping: &Mapping) -> bool {
        mapping.generation == self.grants.generation.get()
    }

    /// Copies out of a mapped frame.
    pub(super) fn read(
        self,
        mapping: &Mapping,
        offset: usize,
        to: &mut [u8],
    ) -> Result<(), Refused> {
        match self.place(mapping, offset, to.len())? {
            Place::Constant(bytes) => to.copy_from_slice(bytes),
            // SAFETY: `place` found as many bytes of a pool's block there, which are initialised. The mapping pins the
            // grant's entry, whose end the domain's lender awaits before it refers to the bytes for writing, so they are
            // frozen or only reached raw. `to` is borrowed mutably, so it is none of them.
            Place::Block(at) => unsafe {
                at.as_ptr()
                    .copy_to_nonoverlapping(to.as_mut_ptr(), to.len());
            },
        }
        Ok(())
    }

    /// As [`read`](Self::read), of whatever is there: that some of it isn't the domain's is no fault.
    pub(super) fn try_read(
        self,
        mapping: &Mapping,
        offset: usize,
        to: &mut [u8],
    ) -> Result<(), Refused> {
        let pins = self.grants.pins.borrow().get(&mapping.reference).copied();
        let frame = pins.ok_or(Refused)?.frame;
        if self.memory.bytes(frame, offset, to.len()).is_none() {
            return Err(Refused);
        }
        self.read(mapping, offset, to)
    }

    /// Copies into a mapped frame.
    pub(super) fn write(
        self,
        mapping: &Mapping,
        offset: usize,
        from: &[u8],
    ) -> Result<(), Refused> {
        let reference = mapping.reference;
        if !mapping.writable {
            return Err(self.refuse(Violation::GrantReadOnly(reference)));
        }
        match self.place(mapping, offset, from.len())? {
            Place::Constant(_) => Err(self.refuse(Violation::GrantReadOnly(reference))),
            Place::Block(at) => {
                // SAFETY: as in `read`; the mapping is for writing, which the entry permitted: the block is lent for it,
                // so no reference to its bytes exists, and `from` is none of them.
                unsafe {
                    at.as_ptr()
                        .copy_from_nonoverlapping(from.as_ptr(), from.len());
                }
                Ok(())
            }
        }
    }

    /// Reads bytes through a grant (`GNTTABOP_copy`): mapped, read, unmapped.
    pub(super) fn copy_from(
        self,
        domain: DomainId,
        reference: u32,
        offset: usize,
        to: &mut [u8],
    ) -> Result<(), Refused> {
        let mapping = self.map(domain, reference, false)?;
        let result = self.read(&mapping, offset, to);
        self.unmap(mapping);
        result
    }

    /// Writes bytes through a grant.
    pub(super) fn copy_to(
        self,
        domain: DomainId,
        reference: u32,
        offset: usize,
        from: &[u8],
    ) -> Result<(), Refused> {
        let mapping = self.map(domain, reference, true)?;
        let result = self.write(&mapping, offset, from);
        self.unmap(mapping);
        result
    }

    fn entry(self, reference: u32) -> Result<&'static GrantEntry, Violation> {
        let entries = self.memory.all_entries();
        entries
            .get(reference as usize)
            .ok_or(Violation::GrantReference(reference))
    }

    fn place(self, mapping: &Mapping, offset: usize, length: usize) -> Result<Place, Refused> {
        if !self.is_current(mapping) {
            return Err(Refused);
        }
        let reference = mapping.reference;
        if offset > PAGE_SIZE || length > PAGE_SIZE - offset {
            return Err(self.refuse(Violation::BeyondPage {
                reference,
                offset,
                length,
            }));
        }
        let pins = self.grants.pins.borrow().get(&reference).copied();
        let frame = pins.ok_or(Refused)?.frame;
        self.memory
            .bytes(frame, offset, length)
            .ok_or_else(|| self.refuse(Violation::GrantFrame { reference, frame }))
    }
}
