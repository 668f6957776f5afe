//! Reading an ELF file into plain values.

use core::fmt;

use object::LittleEndian;
use object::elf;
use object::read::elf::{FileHeader, ProgramHeader, SectionHeader, Sym};

use super::{Image, Section, Segment, Symbol};

/// The owner of Xen's notes.
const XEN: &[u8] = b"Xen";

/// The note that holds the physical address of a PVH guest's entry (xen/include/public/elfnote.h).
const XEN_ELFNOTE_PHYS32_ENTRY: u32 = 18;

/// Why a file is no image of an appliance at all.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum ParseError {
    /// It is no ELF64 file, or a table of it is not whole.
    NotElf(String),
    /// It is of another machine, or not little-endian.
    OtherMachine,
}

impl fmt::Display for ParseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotElf(problem) => write!(f, "not an ELF64 file that is whole: {problem}"),
            Self::OtherMachine => f.write_str("not for x86-64"),
        }
    }
}

impl core::error::Error for ParseError {}

impl From<object::read::Error> for ParseError {
    fn from(error: object::read::Error) -> Self {
        Self::NotElf(error.to_string())
    }
}

impl Image {
    /// Reads an ELF file. Nothing is judged here but that the tables can be read.
    ///
    /// # Errors
    ///
    /// [`ParseError`] if it is not an ELF64 file for x86-64, or a table points outside the file.
    pub fn parse(file: &[u8]) -> Result<Self, ParseError> {
        let header = elf::FileHeader64::<LittleEndian>::parse(file)?;
        let endian = LittleEndian;
        if !header.is_little_endian() || header.e_machine(endian) != elf::EM_X86_64 {
            return Err(ParseError::OtherMachine);
        }
        let mut pvh_entry = None;
        let mut segments = Vec::new();
        for program_header in header.program_headers(endian, file)? {
            // The bytes must be in the file, whatever they are.
            program_header
                .data(endian, file)
                .map_err(|()| ParseError::NotElf("a segment points outside the file".into()))?;
            if let Some(mut notes) = program_header.notes(endian, file)? {
                while let Some(note) = notes.next()? {
                    if note.name() == XEN && note.n_type(endian).0 == XEN_ELFNOTE_PHYS32_ENTRY {
                        pvh_entry = pvh_entry.or(number(note.desc()));
                    }
                }
            }
            let flags = program_header.p_flags(endian).0;
            segments.push(Segment {
                segment_type: program_header.p_type(endian).0,
                readable: flags & elf::PF_R.0 != 0,
                writable: flags & elf::PF_W.0 != 0,
                executable: flags & elf::PF_X.0 != 0,
                offset: program_header.p_offset(endian),
                virtual_address: program_header.p_vaddr(endian),
                physical_address: program_header.p_paddr(endian),
                file_bytes: program_header.p_filesz(endian),
                memory_bytes: program_header.p_memsz(endian),
            });
        }
        let table = header.sections(endian, file)?;
        let mut sections = Vec::new();
        for section in table
            .iter()
            .filter(|section| section.sh_type(endian) != elf::SHT_NULL)
        {
            let flags = section.sh_flags(endian).0;
            sections.push(Section {
                name: text(table.section_name(endian, section)?),
                section_type: section.sh_type(endian).0,
                loaded: flags & elf::SHF_ALLOC.0 != 0,
                writable: flags & elf::SHF_WRITE.0 != 0,
                executable: flags & elf::SHF_EXECINSTR.0 != 0,
                address: section.sh_addr(endian),
                bytes: section.sh_size(endian),
            });
        }
        let symbol_table = table.symbols(endian, file, elf::SHT_SYMTAB)?;
        let mut symbols = Vec::new();
        for symbol in symbol_table.iter() {
            let of_code_or_data = matches!(symbol.st_type(), elf::STT_FUNC | elf::STT_OBJECT);
            if of_code_or_data && symbol.st_size(endian) > 0 {
                symbols.push(Symbol {
                    name: text(symbol_table.symbol_name(endian, symbol)?),
                    address: symbol.st_value(endian),
                    bytes: symbol.st_size(endian),
                });
            }
        }
        Ok(Self {
            fixed: header.e_type(endian) == elf::ET_EXEC,
            entry: header.e_entry(endian),
            segments,
            sections,
            symbols,
            pvh_entry,
            file_bytes: file.len() as u64,
        })
    }
}

/// A note's number, which has 32 or 64 bits.
fn number(bytes: &[u8]) -> Option<u64> {
    match *bytes {
        [a, b, c, d] => Some(u32::from_le_bytes([a, b, c, d]).into()),
        [a, b, c, d, e, f, g, h] => Some(u64::from_le_bytes([a, b, c, d, e, f, g, h])),
        _ => None,
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::super::testing::Doctored;
    use super::*;

    #[test]
    fn what_is_no_image_is_refused() {
        for file in [&b""[..], b"\x7fELF", &[0; 4096]] {
            assert!(matches!(Image::parse(file), Err(ParseError::NotElf(_))));
        }
        let mut other = Doctored::good().file();
        // e_machine of AArch64.
        other[18] = 183;
        assert_eq!(Image::parse(&other), Err(ParseError::OtherMachine));
    }

    #[test]
    fn a_file_that_was_cut_short_is_refused_at_every_length() {
        let file = Doctored::good().file();
        assert!(Image::parse(&file).is_ok());
        for length in 0..file.len() {
            assert!(Image::parse(&file[..length]).is_err(), "{length}");
        }
    }

    #[test]
    fn the_entry_of_the_note_has_either_width() {
        assert_eq!(number(&[1, 2, 0, 0]), Some(0x201));
        assert_eq!(number(&[1, 2, 0, 0, 0, 0, 0, 0]), Some(0x201));
        assert_eq!(number(&[1, 2, 0]), None);
    }
}
