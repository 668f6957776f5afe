//! The Internet checksum (RFC 1071), incrementally and over several segments.

use core::net::IpAddr;

/// A running Internet checksum: the one's complement sum of 16-bit words (RFC 1071 §1).
///
/// Segments may have odd lengths: the sum goes on in the middle of a word, as if the bytes
/// were contiguous.
///
/// ```
/// use mirage_net::wire::Checksum;
/// let mut sum = Checksum::new();
/// sum.add_bytes(&[0x00, 0x01, 0xf2]);
/// sum.add_bytes(&[0x03, 0xf4, 0xf5, 0xf6, 0xf7]);
/// assert_eq!(sum.finish(), !0xddf2);
/// ```
#[derive(Debug, Clone, Copy, Default)]
pub struct Checksum {
    /// Sum of 16-bit words in the machine's own byte order (RFC 1071 §2 (B): the order does
    /// not matter until the end).
    sum: u64,
    /// An odd number of bytes was added so far.
    odd: bool,
}

impl Checksum {
    /// An empty sum.
    pub const fn new() -> Self {
        Checksum { sum: 0, odd: false }
    }

    /// Adds a segment of any length.
    #[inline]
    pub fn add_bytes(&mut self, bytes: &[u8]) {
        self.add_folded(sum_native(bytes));
        self.odd ^= bytes.len() % 2 == 1;
    }

    /// Adds the folded sum of whole words in the machine's byte order.
    #[inline]
    fn add_folded(&mut self, sum: u16) {
        self.sum += u64::from(if self.odd { sum.swap_bytes() } else { sum });
    }

    /// Adds one 16-bit word, given in the machine's terms.
    #[inline]
    pub fn add_u16(&mut self, word: u16) {
        self.add_folded(word.to_be());
    }

    /// Adds the pseudo header of a transport: RFC 9293 §3.1 for IPv4, RFC 8200 §8.1 for IPv6.
    ///
    /// `length` is that of the transport's header and payload. Addresses of different families
    /// are summed as they are; no packet can carry such a pair.
    pub fn add_pseudo_header(
        &mut self,
        source: IpAddr,
        destination: IpAddr,
        protocol: u8,
        length: u32,
    ) {
        let mut sum = u64::from(u16::from(protocol).to_be()) + u64::from(length.to_be());
        for address in [source, destination] {
            sum += match address {
                IpAddr::V4(address) => u64::from(u32::from_ne_bytes(address.octets())),
                IpAddr::V6(address) => u64::from(sum_native(&address.octets())),
            };
        }
        self.add_folded(fold(sum));
    }

    /// The one's complement sum, not complemented: what a device that completes a *partial*
    /// checksum expects in the checksum field.
    #[inline]
    pub fn sum(&self) -> u16 {
        u16::from_be(fold(self.sum))
    }

    /// The checksum to put in the field: the complement of the sum.
    ///
    /// Over data that include a correct checksum field it is zero.
    #[inline]
    pub fn finish(&self) -> u16 {
        !self.sum()
    }
}

/// The Internet checksum of one contiguous buffer.
#[inline]
pub fn checksum(bytes: &[u8]) -> u16 {
    let mut sum = Checksum::new();
    sum.add_bytes(bytes);
    sum.finish()
}

/// As [`checksum`], of a header of 20 bytes: a few additions, where the general one looks for what is long first.
#[inline]
pub(super) fn header_checksum(header: &[u8; 20]) -> u16 {
    let (words, _) = header.as_chunks::<4>();
    let words = words
        .iter()
        .map(|word| u64::from(u32::from_ne_bytes(*word)));
    !u16::from_be(fold(words.sum()))
}

/// The checksum after one 16-bit word of the data changed (RFC 1624 §3, equation 3).
#[inline]
pub fn update(checksum: u16, old: u16, new: u16) -> u16 {
    let sum = u32::from(!checksum) + u32::from(!old) + u32::from(new);
    let sum = (sum & 0xffff) + (sum >> 16);
    let sum = (sum & 0xffff) + (sum >> 16);
    !(sum as u16)
}

/// Folded sum of `bytes` as native-endian words; an odd last byte is padded with zero.
#[inline]
fn sum_native(bytes: &[u8]) -> u16 {
    // Each 8-byte word is added as two 32-bit halves into 64 bits, so that no carry is lost
    // for any slice that fits in an address space; four independent sums keep the units busy.
    let mut lanes = [0u64; 4];
    let mut blocks = bytes.chunks_exact(32);
    for block in blocks.by_ref() {
        for (lane, word) in lanes.iter_mut().zip(block.chunks_exact(8)) {
            let mut buffer = [0; 8];
            buffer.copy_from_slice(word);
            let word = u64::from_ne_bytes(buffer);
            *lane += (word & 0xffff_ffff) + (word >> 32);
        }
    }
    // Less than 2^33 of each, and less than 2^32 of each word behind the blocks: one fold for all.
    let mut sum: u64 = 0;
    for lane in lanes {
        sum += (lane & 0xffff_ffff) + (lane >> 32);
    }
    // Headers are no longer than this.
    let mut words = blocks.remainder().chunks_exact(4);
    for word in words.by_ref() {
        let mut buffer = [0; 4];
        buffer.copy_from_slice(word);
        sum += u64::from(u32::from_ne_bytes(buffer));
    }
    let mut last = [0; 4];
    for (to, from) in last.iter_mut().zip(words.remainder()) {
        *to = *from;
    }
    fold(sum + u64::from(u32::from_ne_bytes(last)))
}

/// Folds carries into 16 bits (RFC 1071 §2 (A)): the carry of each addition is added to its sum, which can't carry again.
#[inline]
fn fold(sum: u64) -> u16 {
    let (sum, carry) = (sum as u32).overflowing_add((sum >> 32) as u32);
    let sum = sum + u32::from(carry);
    let (sum, carry) = (sum as u16).overflowing_add((sum >> 16) as u16);
    sum + u16::from(carry)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::vec::Vec;

    /// The example of RFC 1071 §3.
    #[test]
    fn rfc1071_example() {
        let bytes = [0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7];
        assert_eq!(checksum(&bytes), !0xddf2);
    }

    /// The worked example of RFC 1624 §4.
    #[test]
    fn rfc1624_example() {
        assert_eq!(update(0xdd2f, 0x5555, 0x3285), 0x0000);
    }

    fn reference(bytes: &[u8]) -> u16 {
        let mut sum: u32 = 0;
        for pair in bytes.chunks(2) {
            sum += u32::from(pair[0]) << 8 | u32::from(*pair.get(1).unwrap_or(&0));
            sum = (sum & 0xffff) + (sum >> 16);
        }
        !(sum as u16)
    }

    proptest! {
        #[test]
        fn equals_the_definition(bytes in proptest::collection::vec(any::<u8>(), 0..2000)) {
            prop_assert_eq!(checksum(&bytes), reference(&bytes));
            if let Some(header) = bytes.first_chunk() {
                prop_assert_eq!(header_checksum(header), checksum(header));
            }
        }

        #[test]
        fn segments_of_odd_length_sum_as_one_buffer(
            parts in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..70), 0..8)
        ) {
            let mut sum = Checksum::new();
            for part in &parts {
                sum.add_bytes(part);
            }
            let whole: Vec<u8> = parts.concat();
            prop_assert_eq!(sum.finish(), reference(&whole));
        }

        #[test]
        fn an_update_equals_a_recomputation(
            mut bytes in proptest::collection::vec(any::<u8>(), 40), at in 0usize..20, new: u16
        ) {
            // All-zero data has two representations of zero; real headers never are.
            bytes[39] |= 1;
            let before = checksum(&bytes);
            let old = u16::from_be_bytes([bytes[at * 2], bytes[at * 2 + 1]]);
            prop_assume!(at * 2 != 38);
            bytes[at * 2..at * 2 + 2].copy_from_slice(&new.to_be_bytes());
            prop_assert_eq!(update(before, old, new), checksum(&bytes));
        }
    }

    /// RFC 9293 §3.1 and RFC 8200 §8.1, octet by octet, also where the sum is in the middle of a word.
    #[test]
    fn a_pseudo_header_sums_as_its_octets() {
        use core::net::{Ipv4Addr, Ipv6Addr};

        let v4 = [
            IpAddr::from(Ipv4Addr::new(192, 0, 2, 255)),
            IpAddr::from(Ipv4Addr::new(255, 254, 253, 1)),
        ];
        let v6 = [1, 0xffff].map(|word| IpAddr::from(Ipv6Addr::new(word, 2, 3, 4, 5, 6, 7, word)));
        for [source, destination] in [v4, v6] {
            for (protocol, length) in [(6, 20), (17, 65_535), (255, u32::MAX)] {
                for before in [&[][..], &[0xab], &[1, 2, 3]] {
                    let mut octets = before.to_vec();
                    for address in [source, destination] {
                        match address {
                            IpAddr::V4(address) => octets.extend(address.octets()),
                            IpAddr::V6(address) => octets.extend(address.octets()),
                        }
                    }
                    octets.extend([0, protocol]);
                    octets.extend(length.to_be_bytes());
                    let mut sum = Checksum::new();
                    sum.add_bytes(before);
                    sum.add_pseudo_header(source, destination, protocol, length);
                    assert_eq!(sum.finish(), reference(&octets));
                }
            }
        }
    }

    #[test]
    fn all_ones_do_not_lose_carries() {
        let bytes = std::vec![0xff; 65_536];
        assert_eq!(checksum(&bytes), 0);
    }
}
