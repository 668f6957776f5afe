//! The file that is shipped.

use super::{Image, ParseError};

/// Bytes of an ELF64 file's header.
const HEADER: usize = 64;

/// Where the header says where the section headers are (`e_shoff`), and how long and how many they are
/// (`e_shentsize`, `e_shnum`, `e_shstrndx`).
const E_SHOFF: core::ops::Range<usize> = 40..48;
const E_SHENTSIZE_TO_SHSTRNDX: core::ops::Range<usize> = 58..64;

/// An image without what is not loaded: sections' names and headers, symbols, debugging information.
///
/// A loader needs program headers alone, and so does Xen's toolstack. The linker puts what is loaded first, so that the rest
/// is cut off.
///
/// # Errors
///
/// [`ParseError`] if it is no image.
pub fn strip(file: &[u8]) -> Result<Vec<u8>, ParseError> {
    let image = Image::parse(file)?;
    let ends = image
        .segments
        .iter()
        .filter(|segment| segment.file_bytes > 0)
        .filter_map(|segment| usize::try_from(segment.offset + segment.file_bytes).ok());
    let end = ends.max().unwrap_or(0).max(HEADER);
    let mut stripped = file.to_vec();
    stripped.truncate(end);
    stripped[E_SHOFF].fill(0);
    stripped[E_SHENTSIZE_TO_SHSTRNDX].fill(0);
    let all_is_left = Image::parse(&stripped).is_ok_and(|left| left.segments == image.segments);
    if !all_is_left {
        return Err(ParseError::NotElf(
            "its program headers lie behind what is loaded".into(),
        ));
    }
    Ok(stripped)
}

#[cfg(test)]
mod tests {
    use super::super::testing::Doctored;
    use super::*;

    #[test]
    fn all_that_is_loaded_is_kept_and_nothing_else() {
        let file = Doctored::good().file();
        let stripped = strip(&file).unwrap();
        let (before, after) = (
            Image::parse(&file).unwrap(),
            Image::parse(&stripped).unwrap(),
        );
        assert_eq!(after.segments, before.segments);
        assert_eq!(
            (after.entry, after.pvh_entry),
            (before.entry, before.pvh_entry)
        );
        assert!(after.sections.is_empty() && after.symbols.is_empty());
        for segment in &after.segments {
            let range = segment.offset as usize..(segment.offset + segment.file_bytes) as usize;
            assert_eq!(stripped[range.clone()], file[range]);
        }
        let loaded: u64 = after
            .segments
            .iter()
            .map(|segment| segment.file_bytes)
            .sum();
        assert_eq!(stripped.len() as u64, 64 + 5 * 56 + loaded);
        assert_eq!(strip(&stripped).unwrap(), stripped);
    }
}
