//! The Internet checksum, for frames that a backend doesn't complete.

use mirage_core::Frame;

/// Where UDP has its checksum: there zero stands for none (RFC 768).
const UDP_OFFSET: u16 = 6;

/// What completes a partial checksum: the complement of the sum over the frame from `start` on, with what is in the
/// checksum's place (RFC 1071).
pub(super) fn complete(frame: &Frame, start: u16, offset: u16) -> u16 {
    let mut skip = usize::from(start);
    let mut sum: u64 = 0;
    // Whether the next byte is a word's second.
    let mut odd = false;
    for segment in frame.segments() {
        let bytes = segment.get(skip..).unwrap_or_default();
        skip = skip.saturating_sub(segment.len());
        for byte in bytes {
            let byte = u64::from(*byte);
            sum += if odd { byte } else { byte << 8 };
            odd = !odd;
        }
    }
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    match !(sum as u16) {
        0 if offset == UDP_OFFSET => 0xffff,
        checksum => checksum,
    }
}

#[cfg(test)]
mod tests {
    use mirage_core::Pool;

    use super::*;

    fn frame(parts: &[&[u8]]) -> Frame {
        let pool = Pool::leak(8, 4096).unwrap();
        let mut frame = Frame::new();
        for part in parts {
            let mut page = pool.alloc().unwrap();
            page.extend_from_slice(part).unwrap();
            frame.push(page).unwrap();
        }
        frame
    }

    #[test]
    fn the_rfcs_example_however_it_is_cut() {
        // RFC 1071, 3: the sum of these is 0xddf2.
        let bytes = [0xff, 0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7];
        for cut in 1..bytes.len() {
            let (a, b) = bytes.split_at(cut);
            assert_eq!(complete(&frame(&[a, b]), 1, 16), !0xddf2, "{cut}");
        }
        assert_eq!(complete(&frame(&[&bytes, &[0]]), 1, 16), !0xddf2);
    }

    #[test]
    fn a_sum_of_zero_is_not_no_checksum_to_udp() {
        let zero = frame(&[&[0xff, 0xff]]);
        assert_eq!(complete(&zero, 0, 6), 0xffff);
        assert_eq!(complete(&zero, 0, 16), 0);
    }
}
