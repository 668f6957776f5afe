//! Sets of record types (RFC 4034 §4.1.2): windows of 256 types, each a number, a length and a bitmap.

use super::RecordType;

/// The octets of a window with its number and length, and what follows it.
pub(crate) fn split_window(bitmap: &[u8]) -> Option<(&[u8], &[u8])> {
    let &length = bitmap.get(1)?;
    bitmap.split_at_checked(2 + usize::from(length))
}

/// "Blocks are present in the NSEC RR RDATA in increasing numerical order", "blocks with no types present MUST NOT be
/// included", "trailing zero octets in the bitmap MUST be omitted", and a length is "from 1 to 32".
pub(super) fn is_valid(bitmap: &[u8]) -> bool {
    let mut rest = bitmap;
    let mut least = 0;
    while !rest.is_empty() {
        let Some((window, after)) = split_window(rest) else {
            return false;
        };
        let number = u16::from(window[0]);
        let octets = &window[2..];
        if number < least || octets.len() > 32 || octets.last().is_none_or(|&last| last == 0) {
            return false;
        }
        least = number + 1;
        rest = after;
    }
    true
}

/// The types of a valid set in ascending order.
pub(super) fn types(bitmap: &[u8]) -> impl Iterator<Item = RecordType> {
    let mut rest = bitmap;
    let windows = core::iter::from_fn(move || {
        let (window, after) = split_window(rest)?;
        rest = after;
        Some(window)
    });
    windows.flat_map(|window| {
        let bits = (0..8 * (window.len() - 2)).filter(|bit| is_set(&window[2..], *bit));
        bits.map(|bit| RecordType(u16::from(window[0]) << 8 | bit as u16)) // below 256
    })
}

/// Whether a bit is set; the first is the highest of the first octet.
pub(super) fn is_set(octets: &[u8], bit: usize) -> bool {
    let octet = octets.get(bit / 8);
    octet.is_some_and(|octet| octet & 0x80 >> (bit % 8) != 0)
}
