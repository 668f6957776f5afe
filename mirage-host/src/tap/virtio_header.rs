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
    /// `gso_type`, without interpretation: 0 is none.
    pub(super) segmentation: u8,
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
        Self {
            checksum,
            segmentation: bytes[1],
        }
    }

    /// The bytes of a header for a frame that is not segmented by the device.
    pub(super) const fn emit(checksum: ChecksumState) -> [u8; LENGTH] {
        let mut bytes = [0; LENGTH];
        bytes[1] = VIRTIO_NET_HDR_GSO_NONE;
        match checksum {
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
        let bytes = VirtioHeader::emit(ChecksumState::Needed {
            start: 34,
            offset: 6,
        });
        assert_eq!(bytes, [1, 0, 0, 0, 0, 0, 34, 0, 6, 0]);
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
            let header = VirtioHeader::parse(&VirtioHeader::emit(checksum));
            assert_eq!(header.checksum, checksum);
            assert_eq!(header.segmentation, VIRTIO_NET_HDR_GSO_NONE);
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
