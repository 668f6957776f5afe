//! A keyed generator: unpredictable numbers and hashes from one secret.

use core::net::IpAddr;

use rand_core::CryptoRng;

/// SipHash-2-4 (Aumasson and Bernstein, 2012) under a secret key, and a counter in it.
///
/// A pseudo-random function serves every purpose of the stack: identifications and ports that
/// an outsider can't predict, jitter, and hashes whose collisions nobody can choose. The key
/// comes from the caller's generator once, and again after a restore, for an image that was
/// restored twice must not repeat its numbers.
pub(crate) struct Random {
    key: [u64; 2],
    counter: u64,
}

impl Random {
    pub(crate) fn new(rng: &mut (impl CryptoRng + ?Sized)) -> Self {
        Random {
            key: [rng.next_u64(), rng.next_u64()],
            counter: rng.next_u64(),
        }
    }

    /// The next random number.
    pub(crate) fn next_u64(&mut self) -> u64 {
        self.counter = self.counter.wrapping_add(1);
        // A domain byte of its own keeps the stream apart from every keyed hash.
        let [a, b, c, d, e, f, g, h] = self.counter.to_le_bytes();
        siphash(self.key, &[a, b, c, d, e, f, g, h, 0xff])
    }

    /// A number below `bound`, which is not zero; the bias is below `bound`/2⁶⁴.
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        ((u128::from(self.next_u64()) * u128::from(bound)) >> 64) as u64
    }

    /// A keyed hash of what tells one flow of datagrams from another.
    pub(crate) fn flow_hash(&self, source: IpAddr, destination: IpAddr, protocol: u8) -> u64 {
        let mut bytes = [0u8; 33];
        let mut length = 0;
        for address in [source, destination] {
            match address {
                IpAddr::V4(address) => {
                    bytes[length..length + 4].copy_from_slice(&address.octets());
                    length += 4;
                }
                IpAddr::V6(address) => {
                    bytes[length..length + 16].copy_from_slice(&address.octets());
                    length += 16;
                }
            }
        }
        bytes[length] = protocol;
        siphash(self.key, &bytes[..length + 1])
    }
}

/// A key of its own for hashes that must stay what they are when the generator is
/// [reseeded](crate::Stack::reseed): those that a table is ordered by.
#[derive(Clone, Copy)]
pub(crate) struct HashKey([u64; 2]);

impl HashKey {
    /// A key drawn from a generator.
    pub(crate) fn new(random: &mut Random) -> Self {
        HashKey([random.next_u64(), random.next_u64()])
    }

    /// The keyed hash of `bytes`.
    #[inline]
    pub(crate) fn hash(&self, bytes: &[u8]) -> u64 {
        siphash(self.0, bytes)
    }

    /// SipHash-1-3 of words, the last of which says in its highest byte how many bytes they are of: where something is in a table.
    ///
    /// That nobody can choose what falls into one chain takes no more than that: what the function gives is never seen, and collisions are
    /// hardly measured. It is what the hash tables of Rust's own library have. What *is* seen (sequence numbers, cookies, ports,
    /// identifications) is [`hash`](Self::hash)'s, which has twice the rounds.
    pub(crate) fn place(&self, words: &[u64]) -> u32 {
        let mut v = initial(self.0);
        for word in words {
            v[3] ^= word;
            rounds(&mut v, 1);
            v[0] ^= word;
        }
        v[2] ^= 0xff;
        rounds(&mut v, 3);
        ((v[0] ^ v[1] ^ v[2] ^ v[3]) >> 32) as u32
    }
}

/// SipHash's state under a key.
#[inline(always)]
fn initial(key: [u64; 2]) -> [u64; 4] {
    [
        key[0] ^ 0x736f_6d65_7073_6575,
        key[1] ^ 0x646f_7261_6e64_6f6d,
        key[0] ^ 0x6c79_6765_6e65_7261,
        key[1] ^ 0x7465_6462_7974_6573,
    ]
}

/// SipHash-2-4 of `bytes`.
fn siphash(key: [u64; 2], bytes: &[u8]) -> u64 {
    let mut v = initial(key);
    let mut words = bytes.chunks_exact(8);
    for word in words.by_ref() {
        let mut buffer = [0; 8];
        buffer.copy_from_slice(word);
        let word = u64::from_le_bytes(buffer);
        v[3] ^= word;
        rounds(&mut v, 2);
        v[0] ^= word;
    }
    let mut last = [0; 8];
    last[..words.remainder().len()].copy_from_slice(words.remainder());
    last[7] = bytes.len() as u8;
    let last = u64::from_le_bytes(last);
    v[3] ^= last;
    rounds(&mut v, 2);
    v[0] ^= last;
    v[2] ^= 0xff;
    rounds(&mut v, 4);
    v[0] ^ v[1] ^ v[2] ^ v[3]
}

/// SipHash's rounds. Not inlined, and with the state in registers: this is once in the image, and called three times a hash.
#[inline(never)]
fn rounds(state: &mut [u64; 4], count: u32) {
    let [mut a, mut b, mut c, mut d] = *state;
    for _ in 0..count {
        a = a.wrapping_add(b);
        b = b.rotate_left(13) ^ a;
        a = a.rotate_left(32);
        c = c.wrapping_add(d);
        d = d.rotate_left(16) ^ c;
        a = a.wrapping_add(d);
        d = d.rotate_left(21) ^ a;
        c = c.wrapping_add(b);
        b = b.rotate_left(17) ^ c;
        c = c.rotate_left(32);
    }
    *state = [a, b, c, d];
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use std::vec::Vec;

    impl Random {
        /// A generator with a fixed key.
        pub(crate) fn fixed(seed: u64) -> Self {
            Random {
                key: [seed, !seed],
                counter: 0,
            }
        }
    }

    /// The vectors of the paper's appendix A: key 00 01 … 0f, input 00 01 … of each length.
    #[test]
    fn siphash_vectors() {
        let key = [0x0706_0504_0302_0100, 0x0f0e_0d0c_0b0a_0908];
        let input: Vec<u8> = (0..15).collect();
        assert_eq!(siphash(key, &[]), 0x726f_db47_dd0e_0e31);
        assert_eq!(siphash(key, &input[..1]), 0x74f8_39c5_93dc_67fd);
        assert_eq!(siphash(key, &input[..8]), 0x93f5_f579_9a93_2462);
        assert_eq!(siphash(key, &input), 0xa129_ca61_49be_45e5);
    }

    /// With the same key and inputs, of 0, 7, 8, 12, 15, 16 and 23 bytes; computed from the paper's definition, with one round a word and
    /// three at the end.
    #[test]
    fn places_are_siphash_1_3() {
        let key = HashKey([0x0706_0504_0302_0100, 0x0f0e_0d0c_0b0a_0908]);
        let (first, second) = (0x0706_0504_0302_0100, 0x0f0e_0d0c_0b0a_0908);
        let vectors: [(&[u64], u64); 7] = [
            (&[0], 0xabac_0158_050f_c4dc),
            (&[0x0706_0504_0302_0100], 0xd392_7d98_9bb1_1140),
            (&[first, 8 << 56], 0x3690_9511_8d29_9a8e),
            (&[first, 0x0c00_0000_0b0a_0908], 0x78a3_84b1_57b4_d9a2),
            (&[first, 0x0f0e_0d0c_0b0a_0908], 0xd320_d86d_2a51_9956),
            (&[first, second, 16 << 56], 0xcc4f_dd1a_7d90_8b66),
            (
                &[first, second, 0x1716_1514_1312_1110],
                0x525a_0e7f_dae6_c123,
            ),
        ];
        for (words, expected) in vectors {
            assert_eq!(u64::from(key.place(words)), expected >> 32, "{words:x?}");
        }
    }

    #[test]
    fn below_stays_below_and_reaches_every_value() {
        let mut random = Random::fixed(7);
        let mut seen = [false; 10];
        for _ in 0..1000 {
            seen[random.below(10) as usize] = true;
        }
        assert_eq!(seen, [true; 10]);
    }
}
