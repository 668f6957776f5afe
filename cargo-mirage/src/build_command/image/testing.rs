//! An ELF file made to order, for tests.

use super::PHYSICAL_ADDRESS;

/// The virtual base of [`Doctored::good`].
pub(crate) const BASE: u64 = 0x200_0000_0000;

/// What goes into the file; each field may be made wrong.
#[derive(Debug, Clone)]
pub(crate) struct Doctored {
    pub(crate) file_type: u16,
    pub(crate) entry: u64,
    pub(crate) note_type: u32,
    pub(crate) note_entry: u64,
    pub(crate) segments: Vec<DoctoredSegment>,
    pub(crate) sections: Vec<DoctoredSection>,
    pub(crate) symbols: Vec<DoctoredSymbol>,
    /// Bytes in the file before each segment.
    pub(crate) padding: usize,
}

#[derive(Debug, Clone)]
pub(crate) struct DoctoredSegment {
    pub(crate) segment_type: u32,
    pub(crate) flags: u32,
    pub(crate) virtual_address: u64,
    pub(crate) physical_address: u64,
    pub(crate) memory_bytes: u64,
    content: Content,
}

#[derive(Debug, Clone)]
enum Content {
    Bytes(Vec<u8>),
    /// Xen's note, with the entry that the file is given, and these.
    NoteAnd(Vec<u8>),
    /// The note in that segment.
    NoteIn(usize),
}

#[derive(Debug, Clone)]
pub(crate) struct DoctoredSection {
    name: &'static str,
    pub(crate) section_type: u32,
    pub(crate) flags: u64,
    pub(crate) address: u64,
    bytes: u64,
}

#[derive(Debug, Clone)]
pub(crate) struct DoctoredSymbol {
    pub(crate) name: &'static str,
    pub(crate) address: u64,
    pub(crate) bytes: u64,
}

impl Doctored {
    /// An image that keeps every rule: early code, text, constants, data with some of it zero, and Xen's note.
    pub(crate) fn good() -> Self {
        let segment = |flags, page: u64, early: bool, content: Vec<u8>, more: u64| {
            let physical_address = PHYSICAL_ADDRESS + page * 0x1000;
            DoctoredSegment {
                segment_type: 1,
                flags,
                virtual_address: if early {
                    physical_address
                } else {
                    BASE + (page - 1) * 0x1000
                },
                physical_address,
                memory_bytes: content.len() as u64 + more,
                content: Content::Bytes(content),
            }
        };
        let section = |name, section_type, flags, address, bytes| DoctoredSection {
            name,
            section_type,
            flags,
            address,
            bytes,
        };
        let symbol = |name, address, bytes| DoctoredSymbol {
            name,
            address,
            bytes,
        };
        let mut constants = segment(4, 2, false, vec![1; 100], 0);
        constants.content = Content::NoteAnd(vec![1; 76]);
        let mut note = segment(4, 2, false, vec![0; 24], 0);
        note.segment_type = 4;
        note.content = Content::NoteIn(2);
        Self {
            file_type: 2,
            entry: PHYSICAL_ADDRESS,
            note_type: 18,
            note_entry: PHYSICAL_ADDRESS,
            segments: vec![
                segment(5, 0, true, vec![0xf4; 64], 0),
                segment(5, 1, false, vec![0x90; 300], 0),
                constants,
                segment(6, 3, false, vec![2; 40], 4000),
                note,
            ],
            sections: vec![
                section(".boot", 1, 6, PHYSICAL_ADDRESS, 64),
                section(".text", 1, 6, BASE, 300),
                section(".rodata", 1, 2, BASE + 0x1000, 100),
                section(".data", 1, 3, BASE + 0x2000, 40),
                section(".bss", 8, 3, BASE + 0x2028, 4000),
                section(".debug_info", 1, 0, 0, 10),
            ],
            symbols: vec![
                symbol("_RNvCsfQFEIFy1OKh_9appliance4main", BASE, 200),
                symbol("memcpy", BASE + 0xd0, 50),
                symbol("_RNvCsfQFEIFy1OKh_9appliance5ZONES", BASE + 0x1000, 60),
                symbol("_ZN4core3fmt5write17h0123456789abcdefE", BASE, 200),
                symbol("_RNvCsfQFEIFy1OKh_9appliance4HEAP", BASE + 0x2028, 3000),
            ],
            padding: 0,
        }
    }

    /// The bytes of the file. A name of each section and symbol ends its table, so that a file cut short anywhere is not whole.
    pub(crate) fn file(&self) -> Vec<u8> {
        let mut content = Vec::new();
        let content_at = 64 + 56 * self.segments.len() as u64;
        let mut file = Vec::new();
        let mut headers = Vec::new();
        let mut offsets: Vec<u64> = Vec::new();
        for segment in &self.segments {
            let (offset, bytes) = match &segment.content {
                Content::Bytes(bytes) => (None, bytes.clone()),
                Content::NoteAnd(bytes) => (None, [self.note(), bytes.clone()].concat()),
                Content::NoteIn(index) => (offsets.get(*index), self.note()),
            };
            let offset = offset.copied().unwrap_or_else(|| {
                content.extend(vec![0xee; self.padding]);
                let offset = content_at + content.len() as u64;
                content.extend(&bytes);
                offset
            });
            offsets.push(offset);
            for word in [segment.segment_type, segment.flags] {
                headers.extend(word.to_le_bytes());
            }
            for word in [
                offset,
                segment.virtual_address,
                segment.physical_address,
                bytes.len() as u64,
                segment.memory_bytes,
                4,
            ] {
                headers.extend(word.to_le_bytes());
            }
        }
        let strings_at = content_at + content.len() as u64;
        let mut strings = vec![0];
        let mut add = |name: &str| {
            let at = strings.len() as u32;
            strings.extend(name.bytes());
            strings.push(0);
            at
        };
        let mut table = vec![0; 64];
        let (mut symbols, mut section_headers) = (vec![0; 24], Vec::new());
        for symbol in &self.symbols {
            symbols.extend(add(symbol.name).to_le_bytes());
            // STT_OBJECT, or for text STT_FUNC, in section 1.
            symbols.extend([if symbol.address < BASE + 0x1000 { 2 } else { 1 }, 0, 1, 0]);
            symbols.extend(symbol.address.to_le_bytes());
            symbols.extend(symbol.bytes.to_le_bytes());
        }
        for section in &self.sections {
            let file_bytes = if section.section_type == 8 {
                0
            } else {
                section.bytes
            };
            section_headers.push((
                add(section.name),
                section.section_type,
                section.flags,
                section.address,
                content_at,
                file_bytes.max(section.bytes),
                0_u32,
                0_u64,
            ));
        }
        let count = self.sections.len() as u32;
        let (symbol_name, string_name) = (add(".symtab"), add(".strtab"));
        let symbols_at = strings_at + strings.len() as u64;
        section_headers.push((
            symbol_name,
            2,
            0,
            0,
            symbols_at,
            symbols.len() as u64,
            count + 2,
            24,
        ));
        section_headers.push((string_name, 3, 0, 0, strings_at, strings.len() as u64, 0, 0));
        for (name, section_type, flags, address, offset, bytes, link, entry_bytes) in
            section_headers
        {
            table.extend(name.to_le_bytes());
            table.extend(section_type.to_le_bytes());
            for word in [flags, address, offset, bytes] {
                table.extend(word.to_le_bytes());
            }
            table.extend(link.to_le_bytes());
            table.extend(0_u32.to_le_bytes());
            table.extend(1_u64.to_le_bytes());
            table.extend(entry_bytes.to_le_bytes());
        }
        file.extend([0x7f, b'E', b'L', b'F', 2, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        file.extend(self.file_type.to_le_bytes());
        file.extend(62_u16.to_le_bytes());
        file.extend(1_u32.to_le_bytes());
        file.extend(self.entry.to_le_bytes());
        file.extend(64_u64.to_le_bytes());
        file.extend((symbols_at + symbols.len() as u64).to_le_bytes());
        file.extend(0_u32.to_le_bytes());
        for half in [
            64,
            56,
            self.segments.len() as u16,
            64,
            count as u16 + 3,
            count as u16 + 2,
        ] {
            file.extend(half.to_le_bytes());
        }
        for part in [&headers, &content, &strings, &symbols, &table] {
            file.extend(part);
        }
        file
    }

    fn note(&self) -> Vec<u8> {
        let mut note = Vec::new();
        for word in [4, 8, self.note_type] {
            note.extend(u32::to_le_bytes(word));
        }
        note.extend(b"Xen\0");
        note.extend(self.note_entry.to_le_bytes());
        note
    }
}
