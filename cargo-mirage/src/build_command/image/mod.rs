//! An appliance's image: what its ELF says, whether that is safe to boot, and what its bytes are.
//!
//! | item | what it is |
//! | --- | --- |
//! | [`Image::parse`] | an ELF64 file of x86-64, read once: segments, sections, symbols, Xen's notes |
//! | [`Image::check`] | the rules that an image keeps, each with a [`Violation`] that names the segment |
//! | [`Report`] | bytes by section and by crate, and the largest symbols; serialises to JSON |
//! | [`strip`] | the file that is shipped: what is loaded, and the headers that say where to |
//!
//! ```
//! use cargo_mirage::build_command::image::{Image, ParseError};
//!
//! assert!(matches!(Image::parse(b"\x7fELF"), Err(ParseError::NotElf(_))));
//! ```

mod check;
mod crates;
mod parse;
mod report;
mod strip;
#[cfg(test)]
pub(crate) mod testing;

pub use check::{PHYSICAL_ADDRESS, Violation};
pub use crates::crate_of;
pub use parse::ParseError;
pub use report::{CrateBytes, Kind, Report, SectionBytes, SymbolBytes};
pub use strip::strip;

/// What an image's ELF file says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Image {
    /// Whether it is linked at a fixed address (`ET_EXEC`).
    pub fixed: bool,
    /// `e_entry`.
    pub entry: u64,
    /// The program headers, in the file's order.
    pub segments: Vec<Segment>,
    /// The section headers, in the file's order; none if it was stripped of them.
    pub sections: Vec<Section>,
    /// Functions and objects of the symbol table; none if it was stripped.
    pub symbols: Vec<Symbol>,
    /// The physical address of `XEN_ELFNOTE_PHYS32_ENTRY` (xen/include/public/elfnote.h), if there is such a note.
    pub pvh_entry: Option<u64>,
    /// How long the file is, in bytes.
    pub file_bytes: u64,
}

/// A program header.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Segment {
    /// `p_type`: one of the `PT_` constants.
    pub segment_type: u32,
    /// Whether its pages may be read (`PF_R`).
    pub readable: bool,
    /// Whether its pages may be written (`PF_W`).
    pub writable: bool,
    /// Whether its pages may be executed (`PF_X`).
    pub executable: bool,
    /// Where it lies in the file, in bytes.
    pub offset: u64,
    /// The virtual address that it is linked for.
    pub virtual_address: u64,
    /// The physical address that it is loaded at.
    pub physical_address: u64,
    /// How many bytes of it are in the file.
    pub file_bytes: u64,
    /// How many bytes of memory it takes; what is not in the file is zero.
    pub memory_bytes: u64,
}

/// A section header.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Section {
    /// Its name.
    pub name: String,
    /// `sh_type`: one of the `SHT_` constants.
    pub section_type: u32,
    /// Whether it is part of what is loaded (`SHF_ALLOC`).
    pub loaded: bool,
    /// `SHF_WRITE`.
    pub writable: bool,
    /// `SHF_EXECINSTR`.
    pub executable: bool,
    /// Where it lies in memory.
    pub address: u64,
    /// How long it is, in bytes.
    pub bytes: u64,
}

/// A function or an object of the symbol table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Symbol {
    /// Its name, as the file has it.
    pub name: String,
    /// Where it lies.
    pub address: u64,
    /// How long it is, in bytes.
    pub bytes: u64,
}

impl Segment {
    /// Whether the address, virtual or physical as `of` says, lies in it.
    fn holds(&self, of: fn(&Self) -> u64, address: u64) -> bool {
        address
            .checked_sub(of(self))
            .is_some_and(|offset| offset < self.memory_bytes)
    }

    fn virtual_start(&self) -> u64 {
        self.virtual_address
    }

    fn physical_start(&self) -> u64 {
        self.physical_address
    }
}
