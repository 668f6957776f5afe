//! A frame's bytes on their way.

use alloc::vec::Vec;

use crate::frame::{Checksum, Frame, FrameMetadata, Segment};
use crate::pool::Reserve;

/// A frame outside any page, so that a wire holds no buffers of either side.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Packet {
    /// The frame, without its frame check sequence.
    pub bytes: Vec<u8>,
    /// What is said of it.
    pub metadata: FrameMetadata,
}

impl Packet {
    /// A frame's copy.
    pub fn of(frame: &Frame) -> Self {
        let mut bytes = Vec::with_capacity(frame.len());
        for segment in frame.segments() {
            bytes.extend_from_slice(segment);
        }
        Self {
            bytes,
            metadata: frame.metadata,
        }
    }

    /// Fills in a partial checksum: the sum of everything from `start` on, the pseudo-header's being in the field already
    /// (virtio 1.2, 5.1.6.2). Nothing, where the field isn't in the frame.
    pub fn complete_checksum(&mut self) {
        if let Checksum::Partial { start, offset } = self.metadata.checksum {
            let (start, offset) = (usize::from(start), usize::from(offset));
            let Some(covered) = self.bytes.get_mut(start..) else {
                return;
            };
            let sum = internet_checksum(covered);
            let Some(field) = covered.get_mut(offset..offset + 2) else {
                return;
            };
            // An all-zero UDP checksum stands for none (RFC 768); for TCP both zeros mean the same.
            field.copy_from_slice(&if sum == 0 { 0xffff } else { sum }.to_be_bytes());
        }
        self.metadata.checksum = Checksum::Unverified;
    }

    /// The frame, in pages of `reserve` with `headroom` before the first bytes, each segment at most `segment_len` long.
    /// `None` when the reserve has too few pages, or the frame is in more segments than one may have.
    pub fn into_frame(
        self,
        reserve: &Reserve,
        headroom: usize,
        segment_len: usize,
    ) -> Option<Frame> {
        let mut frame = Frame::new();
        let mut rest = &self.bytes[..];
        loop {
            let mut page = reserve.alloc()?;
            // A headroom that leaves no room is the configuration's fault.
            page.reset(headroom.min(page.capacity() - 1)).ok()?;
            let (now, later) =
                rest.split_at(rest.len().min(segment_len.max(1)).min(page.tailroom()));
            page.extend_from_slice(now).ok()?;
            frame.push(Segment::Unique(page)).ok()?;
            rest = later;
            if rest.is_empty() {
                break;
            }
        }
        frame.metadata = self.metadata;
        Some(frame)
    }
}

/// The Internet checksum (RFC 1071): the complement of the ones' complement sum of all 16-bit words.
fn internet_checksum(bytes: &[u8]) -> u16 {
    let mut words = bytes.chunks_exact(2);
    let mut sum: u64 = words
        .by_ref()
        .map(|word| u64::from(u16::from_be_bytes([word[0], word[1]])))
        .sum();
    if let [last] = words.remainder() {
        sum += u64::from(*last) << 8;
    }
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checksum_of_rfc_1071_section_3() {
        assert_eq!(
            internet_checksum(&[0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7]),
            !0xddf2
        );
        assert_eq!(internet_checksum(&[0xff]), !0xff00);
    }

    #[test]
    fn a_partial_checksum_outside_the_frame_is_left_alone() {
        for (start, offset) in [(9, 0), (u16::MAX, u16::MAX), (6, 1), (0, u16::MAX)] {
            let metadata = FrameMetadata {
                checksum: Checksum::Partial { start, offset },
                segmentation: None,
            };
            let mut packet = Packet {
                bytes: alloc::vec![1; 8],
                metadata,
            };
            packet.complete_checksum();
            assert_eq!(packet.bytes, [1; 8]);
        }
    }
}
