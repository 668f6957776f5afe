//! The rules that an image keeps.

use core::fmt;

use object::elf;

use super::{Image, Section, Segment};

/// Where each image is loaded, in bytes from the beginning of the guest's memory: 1 MiB, which is above all that firmware
/// and Xen's own start structures may use.
pub const PHYSICAL_ADDRESS: u64 = 0x10_0000;

/// The granularity of memory protection, in bytes.
const PAGE: u64 = 4096;

/// A rule that an image broke.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Violation {
    /// It is not linked at a fixed address.
    NotFixed,
    /// Nothing of it is loaded.
    Empty,
    /// It asks for what no appliance has: an interpreter, dynamic linking, thread-local storage.
    Unsupported {
        /// The program header's type.
        what: &'static str,
    },
    /// Relocations are left for a run time that does none.
    Relocations {
        /// The section that holds them.
        section: String,
    },
    /// There is no PVH entry note.
    NoEntryNote,
    /// The note's entry is not executable code of the image, or not the file's entry.
    Entry {
        /// The physical address that the note has.
        note: u64,
        /// The address that the file has.
        header: u64,
    },
    /// A segment is writable and executable.
    WritableAndExecutable {
        /// Which.
        segment: Box<SegmentName>,
    },
    /// A section lies in a segment with the wrong rights.
    Rights {
        /// The section's name.
        section: String,
        /// What it is.
        kind: &'static str,
        /// What the segment allows and should not.
        allows: &'static str,
        /// The segment.
        segment: Box<SegmentName>,
    },
    /// A section that is loaded lies in no segment.
    NotLoaded {
        /// The section's name.
        section: String,
    },
    /// Two segments with different rights share a page.
    SharedPage {
        /// The lower one.
        lower: Box<SegmentName>,
        /// The higher one.
        higher: Box<SegmentName>,
    },
    /// The image does not begin at [`PHYSICAL_ADDRESS`].
    PhysicalAddress {
        /// Its lowest segment.
        segment: Box<SegmentName>,
    },
    /// A segment is linked neither at the base that was asked for nor, as code that runs before there are page tables is, at
    /// its physical address.
    VirtualAddress {
        /// Which.
        segment: Box<SegmentName>,
        /// The virtual address that it should have.
        expected: u64,
    },
}

/// A segment, as messages name it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SegmentName {
    /// Its number in the file's table.
    pub index: usize,
    /// Its rights, as `r-x`.
    pub rights: String,
    /// Its virtual address.
    pub virtual_address: u64,
    /// Its physical address.
    pub physical_address: u64,
    /// The sections that it holds.
    pub sections: Vec<String>,
}

impl fmt::Display for SegmentName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "segment {} ({}, virtual {:#x}, physical {:#x}",
            self.index, self.rights, self.virtual_address, self.physical_address
        )?;
        if !self.sections.is_empty() {
            write!(f, ": {}", self.sections.join(" "))?;
        }
        f.write_str(")")
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotFixed => f.write_str("it is not linked at a fixed address (not ET_EXEC)"),
            Self::Empty => f.write_str("it has no segment to load"),
            Self::Unsupported { what } => write!(
                f,
                "it has a {what} segment, which nothing serves in an appliance"
            ),
            Self::Relocations { section } => {
                write!(
                    f,
                    "section {section} holds relocations, which nothing applies at run time"
                )
            }
            Self::NoEntryNote => f.write_str("it has no PVH entry note (XEN_ELFNOTE_PHYS32_ENTRY)"),
            Self::Entry { note, header } => write!(
                f,
                "its PVH entry note says {note:#x} and its header {header:#x}; both must be the physical address of code \
                 in an executable segment"
            ),
            Self::WritableAndExecutable { segment } => {
                write!(f, "{segment} is writable and executable")
            }
            Self::Rights {
                section,
                kind,
                allows,
                segment,
            } => {
                write!(
                    f,
                    "{segment} is {allows}, and holds {kind}: section {section}"
                )
            }
            Self::NotLoaded { section } => write!(f, "section {section} lies in no segment"),
            Self::SharedPage { lower, higher } => {
                write!(f, "{lower} and {higher} share a page or overlap")
            }
            Self::PhysicalAddress { segment } => {
                write!(
                    f,
                    "{segment} is the lowest, and does not begin at {PHYSICAL_ADDRESS:#x}"
                )
            }
            Self::VirtualAddress { segment, expected } => {
                write!(f, "{segment} should have the virtual address {expected:#x}")
            }
        }
    }
}

impl core::error::Error for Violation {}

impl Image {
    /// Checks that the image may be booted: it has a PVH entry; no segment is writable and executable; code is not writable,
    /// constants neither that nor executable; it is loaded at [`PHYSICAL_ADDRESS`] and linked at the virtual base; and
    /// nothing is left to be done at run time.
    ///
    /// Code that runs before there are page tables is linked at its physical address. That segment holds what such code needs
    /// besides itself, too.
    ///
    /// # Errors
    ///
    /// The first rule that is broken.
    pub fn check(&self, virtual_base: u64) -> Result<(), Violation> {
        if !self.fixed {
            return Err(Violation::NotFixed);
        }
        self.check_nothing_left()?;
        self.check_addresses(virtual_base)?;
        self.check_never_both()?;
        self.check_pages(Segment::virtual_start)?;
        self.check_pages(Segment::physical_start)?;
        self.check_sections()?;
        self.check_entry()
    }

    /// What is loaded, with each one's number in the table.
    fn loaded(&self) -> impl Iterator<Item = (usize, &Segment)> {
        let segments = self.segments.iter().enumerate();
        segments.filter(|(_, segment)| {
            segment.segment_type == elf::PT_LOAD.0 && segment.memory_bytes > 0
        })
    }

    fn check_nothing_left(&self) -> Result<(), Violation> {
        for segment in &self.segments {
            let what = match elf::ProgramType(segment.segment_type) {
                elf::PT_INTERP => "PT_INTERP",
                elf::PT_DYNAMIC => "PT_DYNAMIC",
                elf::PT_TLS => "PT_TLS",
                _ => continue,
            };
            return Err(Violation::Unsupported { what });
        }
        let relocations = [elf::SHT_REL.0, elf::SHT_RELA.0, elf::SHT_RELR.0];
        let holds_some =
            |section: &&Section| relocations.contains(&section.section_type) && section.bytes > 0;
        match self.sections.iter().find(holds_some) {
            Some(section) => Err(Violation::Relocations {
                section: section.name.clone(),
            }),
            None => Ok(()),
        }
    }

    fn check_addresses(&self, virtual_base: u64) -> Result<(), Violation> {
        let lowest = self
            .loaded()
            .min_by_key(|(_, segment)| segment.physical_address);
        let (index, segment) = lowest.ok_or(Violation::Empty)?;
        if segment.physical_address != PHYSICAL_ADDRESS {
            return Err(Violation::PhysicalAddress {
                segment: self.name(index, segment),
            });
        }
        let linked = || self.loaded().filter(|(_, segment)| !is_early(segment));
        // All of it lies as it is loaded, from the base on.
        let first = linked().map(|(_, segment)| segment.physical_address).min();
        for (index, segment) in linked() {
            let expected = segment
                .physical_address
                .wrapping_sub(first.unwrap_or(0))
                .wrapping_add(virtual_base);
            if segment.virtual_address != expected {
                return Err(Violation::VirtualAddress {
                    segment: self.name(index, segment),
                    expected,
                });
            }
        }
        Ok(())
    }

    fn check_never_both(&self) -> Result<(), Violation> {
        for (index, segment) in self.loaded() {
            if segment.writable && segment.executable {
                return Err(Violation::WritableAndExecutable {
                    segment: self.name(index, segment),
                });
            }
        }
        Ok(())
    }

    fn check_sections(&self) -> Result<(), Violation> {
        let loaded_sections = self
            .sections
            .iter()
            .filter(|section| section.loaded && section.bytes > 0);
        for section in loaded_sections {
            let last = section.address.saturating_add(section.bytes - 1);
            let segment = self.loaded().find(|(_, segment)| {
                segment.holds(Segment::virtual_start, section.address)
                    && segment.holds(Segment::virtual_start, last)
            });
            let Some((index, segment)) = segment else {
                return Err(Violation::NotLoaded {
                    section: section.name.clone(),
                });
            };
            let (kind, allows) = match (section.executable, section.writable) {
                (true, _) if segment.writable => ("code", "writable"),
                (false, false) if segment.writable => ("constants", "writable"),
                (false, false) if segment.executable && !is_early(segment) => {
                    ("constants", "executable")
                }
                (false, true) if segment.executable => ("data", "executable"),
                _ => continue,
            };
            return Err(Violation::Rights {
                section: section.name.clone(),
                kind,
                allows,
                segment: self.name(index, segment),
            });
        }
        Ok(())
    }

    /// Rights are given by page: those with different ones must not share any. `of` says which addresses are meant.
    fn check_pages(&self, of: fn(&Segment) -> u64) -> Result<(), Violation> {
        let mut segments: Vec<(usize, &Segment)> = self.loaded().collect();
        segments.sort_by_key(|(_, segment)| of(segment));
        for pair in segments.windows(2) {
            let ((lower_index, lower), (higher_index, higher)) = (pair[0], pair[1]);
            let same_rights = rights(lower) == rights(higher);
            let end = of(lower).saturating_add(lower.memory_bytes);
            let first_free = if same_rights {
                Some(end)
            } else {
                end.checked_next_multiple_of(PAGE)
            };
            if first_free.is_none_or(|first| of(higher) < first) {
                return Err(Violation::SharedPage {
                    lower: self.name(lower_index, lower),
                    higher: self.name(higher_index, higher),
                });
            }
        }
        Ok(())
    }

    fn check_entry(&self) -> Result<(), Violation> {
        let note = self.pvh_entry.ok_or(Violation::NoEntryNote)?;
        let is_code = self
            .loaded()
            .any(|(_, segment)| segment.executable && segment.holds(Segment::physical_start, note));
        if !is_code || note != self.entry {
            return Err(Violation::Entry {
                note,
                header: self.entry,
            });
        }
        Ok(())
    }

    fn name(&self, index: usize, segment: &Segment) -> Box<SegmentName> {
        let inside = self.sections.iter().filter(|section| {
            section.loaded && segment.holds(Segment::virtual_start, section.address)
        });
        Box::new(SegmentName {
            index,
            rights: rights(segment),
            virtual_address: segment.virtual_address,
            physical_address: segment.physical_address,
            sections: inside.map(|section| section.name.clone()).collect(),
        })
    }
}

/// Whether it is for the time before there are page tables.
fn is_early(segment: &Segment) -> bool {
    segment.virtual_address == segment.physical_address
}

fn rights(segment: &Segment) -> String {
    let letter = |has: bool, letter| if has { letter } else { '-' };
    [
        letter(segment.readable, 'r'),
        letter(segment.writable, 'w'),
        letter(segment.executable, 'x'),
    ]
    .iter()
    .collect()
}

#[cfg(test)]
mod tests;
