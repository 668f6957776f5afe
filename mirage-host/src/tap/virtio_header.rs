//! `struct virtio_net_hdr`: what goes before each frame on a tap with `IFF_VNET_HDR`.
//!
//! Source: Virtual I/O Device (VIRTIO) 1.2, section 5.1.6, in its legacy form (without `num_buffers`), and
//! linux/virtio_net.h. The integers are in the machine's byte order, as a tap has them unless `TUNSETVNETLE` or
//! `TUNSETVNETBE` asked for another.

/// Length of the header in bytes.
pub(super) const LENGTH: usize = 10;

/// The checksum from `checksum_start` to the end is to be computed and stored (VIRTIO 1.2, 5.1.6.2).
const VIRTIO_NET_HDR_F_NEEDS_CSUM: u8 = 1;
/// The device has verified the checksum (VIRTIO 1.2, 5.1.6.4).
const VIRTIO_NET_HDR_F_DATA_VALID: u8 = 2;
/// Not a segmentation offload frame.
const VIRTIO_NET_HDR_GSO_NONE: u8 = 0;
/// Several segments of TCP over IPv4 (VIRTIO 1.2, 5.1.6).
const VIRTIO_NET_HDR_GSO_TCPV4: u8 = 1;

/// What a header says of its frame's checksum.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ChecksumState {
    /// Nothing: whoever reads it has to verify.
    Unknown,
    /// Verified by the device.
    Valid,
    /// Not yet computed: from `start`, to be stored `offset` bytes after it. The checksum field holds the sum of the
    /// pseudo-header.
    Needed { start: u16, offset: u16 },
}

/// A header, taken apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct VirtioHeader {
    pub(super) checksum: ChecksumState,
    pub(super) segmentation: SegmentationState,
}

/// What a header says of segmentation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SegmentationState {
    /// The frame is one segment.
    None,
    /// Several of TCP over IPv4.
    TcpV4 {
        /// `gso_size`: octets of payload in each but the last.
        size: u16,
        /// `hdr_len`: bytes of all headers, or a hint at it.
        header_len: u16,
    },
    /// Of a kind that was not asked for.
    Other,
}

impl VirtioHeader {
    pub(super) const fn parse(bytes: &[u8; LENGTH]) -> Self {
        let flags = bytes[0];
        let checksum = if flags & VIRTIO_NET_HDR_F_NEEDS_CSUM != 0 {
            ChecksumState::Needed {
                start: u16::from_ne_bytes([bytes[6], bytes[7]]),
                offset: u16::from_ne_bytes([bytes[8], bytes[9]]),
            }
        } else if flags & VIRTIO_NET_HDR_F_DATA_VALID != 0 {
            ChecksumState::Valid
        } else {
            ChecksumState::Unknown
        };
        let segmentation = match bytes[1] {
            VIRTIO_NET_HDR_GSO_NONE => SegmentationState::None,
            VIRTIO_NET_HDR_GSO_TCPV4 => SegmentationState::TcpV4 {
                size: u16::from_ne_bytes([bytes[4], bytes[5]]),
                header_len: u16::from_ne_bytes([bytes[2], bytes[3]]),
            },
            _ => SegmentationState::Other,
        };
        Self {
            checksum,
            segmentation,
        }
    }

    /// The bytes of a header.
    pub(super) const fn emit(self) -> [u8; LENGTH] {
        let mut bytes = [0; LENGTH];
        bytes[1] = VIRTIO_NET_HDR_GSO_NONE;
        if let SegmentationState::TcpV4 { size, header_len } = self.segmentation {
            bytes[1] = VIRTIO_NET_HDR_GSO_TCPV4;
            let header_len = header_len.to_ne_bytes();
            let size = size.to_ne_bytes();
            bytes[2] = header_len[0];
            bytes[3] = header_len[1];
            bytes[4] = size[0];
            bytes[5] = size[1];
        }
        match self.checksum {
            ChecksumState::Unknown => {}
            ChecksumState::Valid => bytes[0] = VIRTIO_NET_HDR_F_DATA_VALID,
            ChecksumState::Needed { start, offset } => {
                bytes[0] = VIRTIO_NET_HDR_F_NEEDS_CSUM;
                let start = start.to_ne_bytes();
                let offset = offset.to_ne_bytes();
                bytes[6] = start[0];
                bytes[7] = start[1];
                bytes[8] = offset[0];
                bytes[9] = offset[1];
            }
        }
        bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg(target_endian = "little")]
    fn golden_bytes_of_a_udp_frame_that_needs_its_checksum() {
        // 14 bytes of Ethernet and 20 of IPv4; UDP's checksum is 6 bytes into its header.
        let header = VirtioHeader {
            checksum: ChecksumState::Needed {
                start: 34,
                offset: 6,
            },
            segmentation: SegmentationState::None,
        };
        assert_eq!(header.emit(), [1, 0, 0, 0, 0, 0, 34, 0, 6, 0]);
    }

    #[test]
    #[cfg(target_endian = "little")]
    fn golden_bytes_of_a_tcp_frame_to_be_cut() {
        // 14 bytes of Ethernet, 20 of IPv4 and 32 of TCP; segments of 1,448.
        let header = VirtioHeader {
            checksum: ChecksumState::Needed {
                start: 34,
                offset: 16,
            },
            segmentation: SegmentationState::TcpV4 {
                size: 1_448,
                header_len: 66,
            },
        };
        assert_eq!(header.emit(), [1, 1, 66, 0, 0xa8, 5, 34, 0, 16, 0]);
        assert_eq!(VirtioHeader::parse(&header.emit()), header);
    }

    #[test]
    fn other_kinds_of_segmentation_are_told_apart() {
        // UDP fragments, TCP over IPv6, UDP segments, ECN, and what nobody has defined.
        for kind in [3, 4, 5, 0x81, 0xff] {
            let header = VirtioHeader::parse(&[1, kind, 0, 0, 0, 0, 0, 0, 0, 0]);
            assert_eq!(header.segmentation, SegmentationState::Other);
        }
    }

    #[test]
    fn what_is_emitted_is_parsed() {
        for checksum in [
            ChecksumState::Unknown,
            ChecksumState::Valid,
            ChecksumState::Needed {
                start: 34,
                offset: 16,
            },
        ] {
            let header = VirtioHeader {
                checksum,
                segmentation: SegmentationState::None,
            };
            assert_eq!(VirtioHeader::parse(&header.emit()), header);
        }
    }

    #[test]
    fn needed_wins_over_valid() {
        let header = VirtioHeader::parse(&[3, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(
            header.checksum,
            ChecksumState::Needed {
                start: 0,
                offset: 0
            }
        );
    }
}
