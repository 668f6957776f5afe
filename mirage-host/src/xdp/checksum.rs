//! Telling a checksum that its sender left to a device from one that is right or wrong.

use mirage_core::Checksum;

/// An Ethernet header (IEEE 802.3, clause 3.1.1).
const ETHERNET: usize = 14;

/// Whether a frame is UDP or TCP over IPv4 whose checksum field holds the pseudo-header's sum and nothing else: what Linux writes
/// there when the device is to complete it (`CHECKSUM_PARTIAL`). Of the frames with a right checksum one in 65,536 looks
/// the same.
#[inline]
pub(super) fn left_to_the_device(frame: &[u8]) -> Option<Checksum> {
    let header: &[u8; 20] = frame.get(ETHERNET..)?.first_chunk()?;
    let is_ipv4 = frame[12..14] == [8, 0] && header[0] >> 4 == 4;
    // More fragments, or not the first one (RFC 791 §3.1): no device completes a part.
    let is_fragment = (header[6] & 0x3f) | header[7] != 0;
    let offset = match header[9] {
        17 => 6,
        6 => 16,
        _ => return None,
    };
    if !is_ipv4 || is_fragment {
        return None;
    }
    let header_length = usize::from(header[0] & 0xf) * 4;
    let start = ETHERNET + header_length;
    let field: [u8; 2] = *frame.get(start + offset..)?.first_chunk()?;
    let total = u16::from_be_bytes([header[2], header[3]]);
    let length = usize::from(total).checked_sub(header_length)?;
    let word = |at: usize| u32::from(u16::from_be_bytes([header[at], header[at + 1]]));
    let mut sum = word(12) + word(14) + word(16) + word(18) + u32::from(header[9]) + length as u32;
    // Six terms of 16 bits: two foldings are enough.
    sum = (sum & 0xffff) + (sum >> 16);
    sum = (sum & 0xffff) + (sum >> 16);
    (u32::from(u16::from_be_bytes(field)) == sum).then_some(Checksum::Partial {
        // At most 14 + 60.
        start: start as u16,
        offset: offset as u16,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// UDP from 10.0.0.1 port 4660 to 10.0.0.2 port 53, `ab`. The pseudo-header's sum: 0x0a00 + 1 + 0x0a00 + 2 + 17 + 10.
    const FRAME: [u8; 44] = [
        2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 8, 0, // Ethernet
        0x45, 0, 0, 30, 0, 1, 0x40, 0, 64, 17, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2, // IPv4
        0x12, 0x34, 0, 53, 0, 10, 0x14, 0x1e, b'a', b'b', // UDP
    ];

    #[test]
    fn the_pseudo_header_s_sum_alone_is_known_and_nothing_else_is() {
        let partial = Checksum::Partial {
            start: 34,
            offset: 6,
        };
        assert_eq!(left_to_the_device(&FRAME), Some(partial));
        // A right checksum, an ARP frame, a fragment, another protocol, a length that can't be.
        for (at, byte) in [
            (40, 0x87),
            (13, 6),
            (20, 0x60),
            (21, 1),
            (23, 1),
            (17, 2),
            (14, 0x65),
        ] {
            let mut other = FRAME;
            other[at] = byte;
            assert_eq!(left_to_the_device(&other), None, "{at}: {byte}");
        }
        for cut in 0..42 {
            assert_eq!(left_to_the_device(&FRAME[..cut]), None);
        }
    }

    #[test]
    fn a_sum_that_carries_is_folded() {
        let mut frame = FRAME;
        frame[26..34].fill(0xff);
        // 4 × 0xffff + 17 + 10, folded: 0x1b.
        frame[40..42].copy_from_slice(&[0, 0x1b]);
        assert!(left_to_the_device(&frame).is_some());
    }
}
