//! The hash of a name: without case, seeded, eight octets a step.
//!
//! It spreads well but is no cryptographic hash, and need not be one: the builder refuses a set in which any name lies
//! more than [`super::MAX_PROBES`] slots from its place, so neither a zone's content nor a query can make a look-up
//! long.

/// Odd, with no pattern in its bits: the fractional part of the golden ratio in 64 bits.
const MULTIPLIER: u64 = 0x9e37_79b9_7f4a_7c15;

/// Hashes a name's octets in wire form as if they had no capital letters.
pub(super) fn hash_name(seed: u64, wire: &[u8]) -> u64 {
    let mut state = mix(seed ^ wire.len() as u64);
    let mut chunks = wire.chunks_exact(8);
    for chunk in &mut chunks {
        let mut octets = [0; 8];
        octets.copy_from_slice(chunk);
        state = mix(state ^ fold(u64::from_le_bytes(octets)));
    }
    let mut last = 0;
    for &octet in chunks.remainder().iter().rev() {
        last = last << 8 | u64::from(octet);
    }
    mix(state ^ fold(last))
}

/// Turns the capital ASCII letters among eight octets to small ones, all at once.
const fn fold(octets: u64) -> u64 {
    const EACH: u64 = 0x0101_0101_0101_0101;
    let low_bits = octets & (0x7f * EACH);
    // Bit 7 of each octet of a sum says whether the octet reached the bound; 7-bit octets cannot carry into the next.
    let from_a = low_bits + (0x80 - b'A' as u64) * EACH;
    let past_z = low_bits + (0x7f - b'Z' as u64) * EACH;
    let ascii = !octets & (0x80 * EACH);
    let capital = ascii & (from_a ^ past_z);
    octets | capital >> 2
}

/// Multiplies to 128 bits and folds the halves together.
const fn mix(value: u64) -> u64 {
    let product = (value ^ MULTIPLIER.rotate_left(32)) as u128 * MULTIPLIER as u128;
    product as u64 ^ (product >> 64) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fold_turns_capitals_and_nothing_else() {
        for octet in 0..=255u8 {
            for place in 0..8 {
                let folded = fold(u64::from(octet) << (8 * place));
                let expected = u64::from(octet.to_ascii_lowercase()) << (8 * place);
                assert_eq!(folded, expected, "{octet:#x} at {place}");
            }
        }
        assert_eq!(
            fold(u64::from_le_bytes(*b"AZaz@[`{")),
            u64::from_le_bytes(*b"azaz@[`{")
        );
        assert_eq!(fold(u64::MAX), u64::MAX);
    }

    #[test]
    fn hash_ignores_case_and_minds_all_else() {
        let hash = |wire: &[u8]| hash_name(7, wire);
        assert_eq!(
            hash(b"\x03wWw\x07ExAmPlE\x03oRg\0"),
            hash(b"\x03www\x07example\x03org\0")
        );
        assert_ne!(hash(b"\x03www\0"), hash(b"\x03wwv\0"));
        assert_ne!(hash(b"\0"), hash(b"\0\0"));
        assert_ne!(hash_name(1, b"\x03www\0"), hash_name(2, b"\x03www\0"));
    }
}
