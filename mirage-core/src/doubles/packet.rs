//! A frame's bytes on their way.

use alloc::vec::Vec;

use crate::frame::{Checksum, Frame, FrameMetadata, Segment, Segmentation, SegmentationKind};
use crate::pool::Reserve;

/// Where IP begins: behind an Ethernet header (IEEE 802.3, 3.1.1).
const IP: usize = 14;
/// Flags of TCP (RFC 9293, 3.1).
const FIN: u8 = 1;
const SYN: u8 = 2;
const RST: u8 = 4;
const PSH: u8 = 8;
const URG: u8 = 32;
const CWR: u8 = 128;

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

    /// Cuts a frame with [`Segmentation`] into its segments, as a device does that was asked to, each with its own lengths,
    /// sequence number, identification, flags and complete checksums.
    ///
    /// The double is strict: `None` when the frame is not TCP over IPv4 without options that a device can't repeat, when a length
    /// in it is wrong, when the checksum isn't [`Checksum::Partial`] over the transport with the sum of the pseudo header of the
    /// whole frame in its field, or when it has SYN, RST, URG or CWR, of which only one segment could be right.
    pub fn cut(&self) -> Option<Vec<Packet>> {
        let Segmentation {
            size,
            kind: SegmentationKind::TcpV4,
            header_len,
        } = self.metadata.segmentation?
        else {
            return None;
        };
        let bytes = &self.bytes;
        let word = |at: usize| Some(u16::from_be_bytes(*bytes.get(at..)?.first_chunk()?));
        let ip_len = usize::from(bytes.get(IP)? & 15) * 4;
        let tcp = IP + ip_len;
        let headers = tcp + usize::from(bytes.get(tcp + 12)? >> 4) * 4;
        let right = word(12)? == 0x0800
            && bytes[IP] >> 4 == 4
            && ip_len >= 20
            && usize::from(word(IP + 2)?) == bytes.len() - IP
            && word(IP + 6)? & 0x3fff == 0
            && bytes[IP + 9] == 6
            && headers >= tcp + 20
            && headers < bytes.len()
            && [0, headers].contains(&usize::from(header_len))
            && size > 0
            && self.metadata.checksum
                == (Checksum::Partial {
                    start: tcp as u16,
                    offset: 16,
                })
            && bytes[tcp + 13] & (SYN | RST | URG | CWR) == 0;
        let mut pseudo = bytes[IP + 12..IP + 20].to_vec();
        pseudo.extend([0, 6]);
        let addresses = pseudo.clone();
        pseudo.extend(((bytes.len() - tcp) as u16).to_be_bytes());
        if !right || word(tcp + 16)? != !internet_checksum(&pseudo) {
            return None;
        }
        let payload = &bytes[headers..];
        let pieces = payload.chunks(usize::from(size));
        let last = pieces.len() - 1;
        let identification = word(IP + 4)?;
        let sequence = u32::from_be_bytes(*bytes.get(tcp + 4..)?.first_chunk()?);
        let cut = pieces.enumerate().map(|(index, piece)| {
            let mut bytes = bytes[..headers].to_vec();
            bytes.extend_from_slice(piece);
            let length = (bytes.len() - IP) as u16;
            bytes[IP + 2..IP + 4].copy_from_slice(&length.to_be_bytes());
            let identification = identification.wrapping_add(index as u16);
            bytes[IP + 4..IP + 6].copy_from_slice(&identification.to_be_bytes());
            bytes[IP + 10..IP + 12].fill(0);
            let sum = internet_checksum(&bytes[IP..tcp]);
            bytes[IP + 10..IP + 12].copy_from_slice(&sum.to_be_bytes());
            let sequence = sequence.wrapping_add((index * usize::from(size)) as u32);
            bytes[tcp + 4..tcp + 8].copy_from_slice(&sequence.to_be_bytes());
            if index < last {
                bytes[tcp + 13] &= !(FIN | PSH);
            }
            let mut pseudo = addresses.clone();
            pseudo.extend(((bytes.len() - tcp) as u16).to_be_bytes());
            bytes[tcp + 16..tcp + 18].copy_from_slice(&(!internet_checksum(&pseudo)).to_be_bytes());
            let mut packet = Packet {
                bytes,
                metadata: FrameMetadata {
                    checksum: self.metadata.checksum,
                    segmentation: None,
                },
            };
            packet.complete_checksum();
            packet
        });
        Some(cut.collect())
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

    /// A frame with 25 octets of payload, to be cut.
    fn uncut(flags: u8, size: u16) -> Packet {
        let mut bytes = alloc::vec![0; 14];
        bytes[12] = 8;
        bytes.extend([0x45, 0, 0, 65, 0x12, 0xff, 0x40, 0, 64, 6, 0, 0]);
        bytes.extend([10, 0, 0, 1, 10, 0, 0, 2]);
        bytes.extend([
            0, 80, 0, 81, 0xff, 0xff, 0xff, 0xfe, 0, 0, 0, 9, 0x50, flags,
        ]);
        bytes.extend([1, 0, 0, 0, 0, 0]);
        bytes.extend(0..25);
        let pseudo = [10, 0, 0, 1, 10, 0, 0, 2, 0, 6, 0, 45];
        bytes[50..52].copy_from_slice(&(!internet_checksum(&pseudo)).to_be_bytes());
        let checksum = Checksum::Partial {
            start: 34,
            offset: 16,
        };
        let segmentation = Some(Segmentation {
            size,
            kind: SegmentationKind::TcpV4,
            header_len: 54,
        });
        Packet {
            bytes,
            metadata: FrameMetadata {
                checksum,
                segmentation,
            },
        }
    }

    #[test]
    fn a_frame_is_cut_into_segments_that_are_whole() {
        let cut = uncut(FIN | PSH | 16, 10).cut().unwrap();
        let mut payload = Vec::<u8>::new();
        for (index, packet) in cut.iter().enumerate() {
            assert_eq!(packet.metadata, FrameMetadata::NONE);
            let bytes = &packet.bytes;
            assert_eq!(usize::from(bytes[17]), bytes.len() - 14);
            assert_eq!(internet_checksum(&bytes[14..34]), 0);
            let mut summed = alloc::vec![10, 0, 0, 1, 10, 0, 0, 2, 0, 6, 0];
            summed.push((bytes.len() - 34) as u8);
            summed.extend(&bytes[34..]);
            assert_eq!(internet_checksum(&summed), 0);
            let sequence = 0xffff_fffe_u32.wrapping_add(10 * index as u32);
            assert_eq!(bytes[38..42], sequence.to_be_bytes());
            assert_eq!(bytes[18..20], (0x12ff + index as u16).to_be_bytes());
            assert_eq!(bytes[47], if index == 2 { FIN | PSH | 16 } else { 16 });
            payload.extend(&bytes[54..]);
        }
        assert_eq!(cut.len(), 3);
        assert_eq!(payload, (0..25).collect::<Vec<u8>>());
    }

    #[test]
    fn what_a_device_could_not_cut_is_not_cut() {
        assert!(uncut(16, 0).cut().is_none());
        for flag in [SYN, RST, URG, CWR] {
            assert!(uncut(16 | flag, 10).cut().is_none());
        }
        // Ethertype, version, length, fragments, protocol, header length, the pseudo header's sum.
        for (byte, value) in [
            (12, 0x86),
            (14, 0x65),
            (17, 66),
            (20, 0x20),
            (23, 17),
            (46, 0xf0),
            (51, 0),
        ] {
            let mut packet = uncut(16, 10);
            packet.bytes[byte] = value;
            assert!(packet.cut().is_none(), "{byte}");
        }
        for cut in 0..14 + 20 + 20 {
            let mut packet = uncut(16, 10);
            packet.bytes.truncate(cut);
            assert!(packet.cut().is_none(), "{cut}");
        }
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
