//! The file that is shipped.

use object::elf;

use super::{Image, ParseError, Segment};

/// Bytes of an ELF64 file's header, and of each program header after it.
const HEADER: usize = 64;
const PROGRAM_HEADER: usize = 56;

/// What segments are aligned to in the file, in bytes: enough for any value in them.
const ALIGNMENT: u64 = 16;

/// Where the header says where the program headers are and where section headers are (`e_phoff`, `e_shoff`), and how long
/// and how many those are (`e_shentsize`, `e_shnum`, `e_shstrndx`).
const E_PHOFF: core::ops::Range<usize> = 32..40;
const E_SHOFF: core::ops::Range<usize> = 40..48;
const E_SHENTSIZE_TO_SHSTRNDX: core::ops::Range<usize> = 58..64;

/// Where a program header says where its segment lies in the file, and how that is aligned (`p_offset`, `p_align`).
const P_OFFSET: core::ops::Range<usize> = 8..16;
const P_ALIGN: core::ops::Range<usize> = 48..56;

/// An image without what is not loaded, that is without sections' names and headers, symbols and debugging information; and
/// without what lies between segments so that a file could be mapped.
///
/// A loader needs program headers alone, and so does Xen's toolstack, which copies segments.
///
/// # Errors
///
/// [`ParseError`] if it is no image.
pub fn strip(file: &[u8]) -> Result<Vec<u8>, ParseError> {
    let image = Image::parse(file)?;
    let beyond = || ParseError::NotElf("a table points outside the file".into());
    let program_headers = file
        .get(E_PHOFF)
        .and_then(|bytes| Some(u64::from_le_bytes(bytes.try_into().ok()?)))
        .and_then(|offset| usize::try_from(offset).ok())
        .ok_or_else(beyond)?;

    let mut stripped = file.get(..HEADER).ok_or_else(beyond)?.to_vec();
    stripped[E_PHOFF].copy_from_slice(&(HEADER as u64).to_le_bytes());
    stripped[E_SHOFF].fill(0);
    stripped[E_SHENTSIZE_TO_SHSTRNDX].fill(0);
    let table_bytes = image.segments.len() * PROGRAM_HEADER;
    let table = file
        .get(program_headers..)
        .and_then(|rest| rest.get(..table_bytes));
    stripped.extend(table.ok_or_else(beyond)?);

    // What is loaded first: a note lies in it.
    let mut offsets = vec![0; image.segments.len()];
    let is_load = |segment: &Segment| segment.segment_type == elf::PT_LOAD.0;
    for loaded in [true, false] {
        for (index, segment) in image.segments.iter().enumerate() {
            if is_load(segment) != loaded || segment.file_bytes == 0 {
                continue;
            }
            let outer = image.segments.iter().zip(&offsets).find(|(outer, _)| {
                !loaded
                    && is_load(outer)
                    && segment.offset >= outer.offset
                    && segment.offset + segment.file_bytes <= outer.offset + outer.file_bytes
            });
            offsets[index] = match outer {
                Some((outer, offset)) => offset + (segment.offset - outer.offset),
                None => append(&mut stripped, file, segment).ok_or_else(beyond)?,
            };
        }
    }
    for (index, (segment, offset)) in image.segments.iter().zip(offsets).enumerate() {
        let header = &mut stripped[HEADER + index * PROGRAM_HEADER..];
        header[P_OFFSET].copy_from_slice(&offset.to_le_bytes());
        if is_load(segment) {
            header[P_ALIGN].copy_from_slice(&ALIGNMENT.to_le_bytes());
        }
    }
    Ok(stripped)
}

/// Adds a segment's bytes, and gives their offset. The format wants it to be the address's, modulo the alignment.
fn append(stripped: &mut Vec<u8>, file: &[u8], segment: &Segment) -> Option<u64> {
    let start = usize::try_from(segment.offset).ok()?;
    let bytes = file
        .get(start..)?
        .get(..usize::try_from(segment.file_bytes).ok()?)?;
    while stripped.len() as u64 % ALIGNMENT != segment.virtual_address % ALIGNMENT {
        stripped.push(0);
    }
    let offset = stripped.len() as u64;
    stripped.extend(bytes);
    Some(offset)
}

#[cfg(test)]
mod tests {
    use super::super::testing::Doctored;
    use super::*;

    fn bytes<'a>(file: &'a [u8], segment: &Segment) -> &'a [u8] {
        &file[segment.offset as usize..][..segment.file_bytes as usize]
    }

    #[test]
    fn all_that_is_loaded_is_kept_and_nothing_else() {
        let file = Doctored::good().file();
        let stripped = strip(&file).unwrap();
        let (before, after) = (
            Image::parse(&file).unwrap(),
            Image::parse(&stripped).unwrap(),
        );
        assert_eq!(
            (after.entry, after.pvh_entry),
            (before.entry, before.pvh_entry)
        );
        assert!(after.sections.is_empty() && after.symbols.is_empty());
        assert_eq!(after.segments.len(), before.segments.len());
        for (old, new) in before.segments.iter().zip(&after.segments) {
            assert_eq!(bytes(&stripped, new), bytes(&file, old));
            assert_eq!(new.offset % 16, new.virtual_address % 16);
            assert_eq!(
                &Segment {
                    offset: old.offset,
                    ..new.clone()
                },
                old
            );
        }
        // The note lies in a segment that is loaded, and is not there twice.
        let loaded: u64 = after.segments[..4]
            .iter()
            .map(|segment| segment.file_bytes)
            .sum();
        let least = 64 + 5 * 56 + loaded;
        assert!((least..least + 4 * 16).contains(&(stripped.len() as u64)));
        assert_eq!(strip(&stripped).unwrap(), stripped);
    }

    #[test]
    fn what_lies_between_segments_is_left_out() {
        let mut image = Doctored::good();
        let stripped = strip(&image.file()).unwrap();
        image.padding = 3000;
        assert!(image.file().len() > stripped.len() + 3000);
        assert_eq!(strip(&image.file()).unwrap(), stripped);
    }
}
