//! ChaCha20 as a generator: the key stream of a key that is used for nothing else.
//!
//! A crate's would be seven times as large: it computes four blocks at a time, in three ways. What is drawn here is a few keys.

use core::convert::Infallible;

use rand_core::{TryCryptoRng, TryRng};

/// A key.
pub(super) type Key = [u8; 32];

/// Bytes of a block.
const BLOCK: usize = 64;
/// "expand 32-byte k" (RFC 8439 §2.3).
const CONSTANTS: [u32; 4] = [0x6170_7865, 0x3320_646e, 0x7962_2d32, 0x6b20_6574];
/// Ten times these (RFC 8439 §2.3.1): first the columns, then the diagonals.
const QUARTER_ROUNDS: [[usize; 4]; 8] = [
    [0, 4, 8, 12],
    [1, 5, 9, 13],
    [2, 6, 10, 14],
    [3, 7, 11, 15],
    [0, 5, 10, 15],
    [1, 6, 11, 12],
    [2, 7, 8, 13],
    [3, 4, 9, 14],
];

/// The key stream, from its beginning; the nonce is zero, the counter has 64 bits as in the original cipher.
pub(super) struct ChaCha20 {
    key: Key,
    /// The number of the next block.
    next: u64,
    block: [u8; BLOCK],
    /// Bytes of the block that were drawn.
    drawn: usize,
}

impl ChaCha20 {
    #[inline(never)]
    pub(super) fn new(key: Key) -> Self {
        Self {
            key,
            next: 0,
            block: [0; BLOCK],
            drawn: BLOCK,
        }
    }

    #[inline(never)]
    pub(super) fn fill(&mut self, destination: &mut [u8]) {
        for byte in destination {
            if self.drawn >= BLOCK {
                self.block = block(&self.key, self.next);
                self.next = self.next.wrapping_add(1);
                self.drawn = 0;
            }
            *byte = self.block[self.drawn];
            self.drawn += 1;
        }
    }
}

/// A block of the key stream (RFC 8439 §2.3).
fn block(key: &Key, counter: u64) -> [u8; BLOCK] {
    let mut start = [0; 16];
    start[..4].copy_from_slice(&CONSTANTS);
    for (word, bytes) in start[4..].iter_mut().zip(key.as_chunks().0) {
        *word = u32::from_le_bytes(*bytes);
    }
    start[12] = counter as u32;
    start[13] = (counter >> 32) as u32;
    let mut state = start;
    for _ in 0..10 {
        for [a, b, c, d] in QUARTER_ROUNDS {
            for (x, y, z, bits) in [(a, b, d, 16), (c, d, b, 12), (a, b, d, 8), (c, d, b, 7)] {
                state[x] = state[x].wrapping_add(state[y]);
                state[z] = (state[z] ^ state[x]).rotate_left(bits);
            }
        }
    }
    let mut block = [0; BLOCK];
    for ((bytes, word), first) in block.as_chunks_mut().0.iter_mut().zip(state).zip(start) {
        *bytes = word.wrapping_add(first).to_le_bytes();
    }
    block
}

impl TryRng for ChaCha20 {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        let mut bytes = [0; 4];
        self.fill(&mut bytes);
        Ok(u32::from_le_bytes(bytes))
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        let mut bytes = [0; 8];
        self.fill(&mut bytes);
        Ok(u64::from_le_bytes(bytes))
    }

    fn try_fill_bytes(&mut self, destination: &mut [u8]) -> Result<(), Infallible> {
        self.fill(destination);
        Ok(())
    }
}

impl TryCryptoRng for ChaCha20 {}

#[cfg(test)]
mod tests {
    use super::*;
    use rand_chacha::ChaCha20Rng;
    use rand_core::{Rng, SeedableRng};

    #[test]
    fn the_key_stream_is_that_of_rfc_8439() {
        // Appendix A.1, test vectors 1 and 2: a key of zeroes, blocks 0 and 1.
        let mut drawn = [0; 2 * BLOCK];
        ChaCha20::new([0; 32]).fill(&mut drawn);
        assert_eq!(
            drawn[..16],
            [
                0x76, 0xb8, 0xe0, 0xad, 0xa0, 0xf1, 0x3d, 0x90, 0x40, 0x5d, 0x6a, 0xe5, 0x53, 0x86,
                0xbd, 0x28
            ]
        );
        assert_eq!(
            drawn[BLOCK..][..16],
            [
                0x9f, 0x07, 0xe7, 0xbe, 0x55, 0x51, 0x38, 0x7a, 0x98, 0xba, 0x97, 0x7c, 0x73, 0x2d,
                0x08, 0x0d
            ]
        );
    }

    proptest::proptest! {
        #[test]
        fn the_key_stream_is_that_of_another_implementation(key: Key, pieces in proptest::collection::vec(0_usize..200, 1..8)) {
            let mut ours = ChaCha20::new(key);
            let mut theirs = [0; 1_400];
            ChaCha20Rng::from_seed(key).fill_bytes(&mut theirs);
            let mut rest = &theirs[..];
            for piece in pieces {
                let mut drawn = std::vec![0; piece];
                ours.fill(&mut drawn);
                let expected;
                (expected, rest) = rest.split_at(piece);
                proptest::prop_assert_eq!(&drawn[..], expected);
            }
        }
    }
}
