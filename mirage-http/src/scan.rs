//! Octets by class, and how far a run of them goes.
//!
//! Long runs (targets, field values) are looked through eight octets at a time. In each word the least significant octet
//! that is hit is exact: a subtraction borrows only from those above it.

const ONES: u64 = 0x0101_0101_0101_0101;
const HIGH_BITS: u64 = 0x8080_8080_8080_8080;

/// How many octets from the beginning on may stand in a field value: none is a control (RFC 9110 §5.5: field-vchar, SP).
/// HTAB is a control here: whoever allows it goes on behind it.
#[inline]
pub(crate) fn value_run(octets: &[u8]) -> usize {
    run(octets, |word| below(word, 0x20) | equal(word, 0x7f))
}

/// How many octets from the beginning on may stand in a request target: visible US-ASCII, no `#` (RFC 9112 §3.2: a target
/// has no fragment).
#[inline]
pub(crate) fn target_run(octets: &[u8]) -> usize {
    run(octets, |word| {
        below(word, 0x21) | equal(word, 0x7f) | equal(word, b'#') | (word & HIGH_BITS)
    })
}

/// How many octets from the beginning on are of a token (RFC 9110 §5.6.2).
#[inline]
pub(crate) fn token_run(octets: &[u8]) -> usize {
    octets
        .iter()
        .position(|octet| !is_token(*octet))
        .unwrap_or(octets.len())
}

/// Whether all octets are of a token, and there are some.
pub(crate) const fn is_whole_token(octets: &[u8]) -> bool {
    let mut at = 0;
    while at < octets.len() {
        if !is_token(octets[at]) {
            return false;
        }
        at += 1;
    }
    !octets.is_empty()
}

/// Whether an octet is one of a token (`tchar`, RFC 9110 §5.6.2).
#[inline]
pub(crate) const fn is_token(octet: u8) -> bool {
    TOKEN[octet as usize]
}

/// Whether an octet may stand in a field value: SP, HTAB, visible, or obs-text (RFC 9110 §5.5).
#[inline]
pub(crate) const fn is_value(octet: u8) -> bool {
    octet >= 0x20 && octet != 0x7f || octet == b'\t'
}

/// SP or HTAB, which is all that OWS is made of (RFC 9110 §5.6.3).
#[inline]
pub(crate) const fn is_blank(octet: u8) -> bool {
    matches!(octet, b' ' | b'\t')
}

/// Without SP and HTAB at either end.
pub(crate) fn trim(mut octets: &[u8]) -> &[u8] {
    while let [first, rest @ ..] = octets
        && is_blank(*first)
    {
        octets = rest;
    }
    while let [rest @ .., last] = octets
        && is_blank(*last)
    {
        octets = rest;
    }
    octets
}

/// A decimal number: digits alone, no sign, no blank, no more than fits.
pub(crate) fn decimal(octets: &[u8]) -> Option<u64> {
    if octets.is_empty() {
        return None;
    }
    let mut value = 0u64;
    for octet in octets {
        let digit = octet.wrapping_sub(b'0');
        if digit > 9 {
            return None;
        }
        value = value.checked_mul(10)?.checked_add(u64::from(digit))?;
    }
    Some(value)
}

/// What an octet is as a hexadecimal digit.
pub(crate) const fn hex_digit(octet: u8) -> Option<u8> {
    match octet {
        b'0'..=b'9' => Some(octet - b'0'),
        b'a'..=b'f' => Some(octet - b'a' + 10),
        b'A'..=b'F' => Some(octet - b'A' + 10),
        _ => None,
    }
}

/// Writes a number in decimal at the end of `room`, and says where it begins.
pub(crate) fn write_decimal(mut number: u64, room: &mut [u8; 20]) -> usize {
    let mut at = room.len();
    loop {
        at -= 1;
        room[at] = b'0' + (number % 10) as u8;
        number /= 10;
        // A 64-bit number has at most 20 digits.
        if number == 0 || at == 0 {
            return at;
        }
    }
}

#[inline]
fn run(octets: &[u8], hits: impl Fn(u64) -> u64) -> usize {
    let (words, rest) = octets.as_chunks::<8>();
    for (number, word) in words.iter().enumerate() {
        let hit = hits(u64::from_le_bytes(*word));
        if hit != 0 {
            return number * 8 + first(hit);
        }
    }
    // What is missing of the last word is an octet that stops every run.
    let mut last = [0; 8];
    last[..rest.len()].copy_from_slice(rest);
    let hit = hits(u64::from_le_bytes(last));
    words.len() * 8 + first(hit).min(rest.len())
}

/// The number of the least significant octet whose high bit is set; 8 if none is.
#[inline]
fn first(hit: u64) -> usize {
    hit.trailing_zeros() as usize / 8
}

/// The high bits of octets below `bound`, which is at most 0x80.
#[inline]
fn below(word: u64, bound: u8) -> u64 {
    word.wrapping_sub(ONES * u64::from(bound)) & !word & HIGH_BITS
}

/// The high bits of octets that are `octet`.
#[inline]
fn equal(word: u64, octet: u8) -> u64 {
    below(word ^ (ONES * u64::from(octet)), 1)
}

const TOKEN: [bool; 256] = {
    let mut table = [false; 256];
    let mut octet = 0;
    while octet < 256 {
        table[octet] = matches!(
            octet as u8,
            b'!' | b'#'
                | b'$'
                | b'%'
                | b'&'
                | b'\''
                | b'*'
                | b'+'
                | b'-'
                | b'.'
                | b'^'
                | b'_'
                | b'`'
                | b'|'
                | b'~'
                | b'0'..=b'9'
                | b'a'..=b'z'
                | b'A'..=b'Z'
        );
        octet += 1;
    }
    table
};

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn slowly(octets: &[u8], goes_on: impl Fn(u8) -> bool) -> usize {
        octets
            .iter()
            .position(|octet| !goes_on(*octet))
            .unwrap_or(octets.len())
    }

    fn is_target(octet: u8) -> bool {
        (0x21..0x7f).contains(&octet) && octet != b'#'
    }

    #[test]
    fn every_octet_at_every_place_of_a_word_is_told() {
        for length in 0..20 {
            for at in 0..length {
                for octet in 0..=255 {
                    let mut octets = [b'a'; 20];
                    octets[at] = octet;
                    let octets = &octets[..length];
                    let value = slowly(octets, |octet| is_value(octet) && octet != b'\t');
                    assert_eq!(value_run(octets), value, "{octets:?}");
                    assert_eq!(target_run(octets), slowly(octets, is_target), "{octets:?}");
                }
            }
        }
    }

    proptest! {
        #[test]
        fn words_say_what_octets_say(octets in prop::collection::vec(any::<u8>(), 0..64)) {
            let value = slowly(&octets, |octet| is_value(octet) && octet != b'\t');
            prop_assert_eq!(value_run(&octets), value);
            prop_assert_eq!(target_run(&octets), slowly(&octets, is_target));
            prop_assert_eq!(token_run(&octets), slowly(&octets, is_token));
        }

        #[test]
        fn decimals_are_read_as_they_are_written(number: u64) {
            let mut room = [0; 20];
            let at = write_decimal(number, &mut room);
            prop_assert_eq!(decimal(&room[at..]), Some(number));
            prop_assert!(number == 0 || room[at] != b'0');
        }
    }

    #[test]
    fn decimals_have_no_sign_no_blank_and_no_overflow() {
        for text in [
            "",
            "+1",
            "-1",
            " 1",
            "1 ",
            "1,1",
            "0x1",
            "1e3",
            "1_0",
            "18446744073709551616",
            "99999999999999999999999",
        ] {
            assert_eq!(decimal(text.as_bytes()), None, "{text}");
        }
        assert_eq!(decimal(b"18446744073709551615"), Some(u64::MAX));
    }

    #[test]
    fn blanks_at_the_ends_are_taken_off() {
        assert_eq!(trim(b" \ta \t b\t "), b"a \t b");
        assert_eq!(trim(b" \t "), b"");
    }
}
