//! Slots of the network rings, the transmit ring's and the receive ring's (io/netif.h).
//!
//! All numbers are in the machine's own order, as on the ring: this is x86-64.

use bitflags::bitflags;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// `XEN_NETIF_NR_SLOTS_MIN`: slots with data that a frame may take, whatever the backend. Slots with extra information are
/// not counted.
pub const XEN_NETIF_NR_SLOTS_MIN: usize = 18;
/// `XEN_NETIF_MAX_TX_SIZE`: the most bytes of a frame to transmit.
pub const XEN_NETIF_MAX_TX_SIZE: usize = 0xffff;

/// `NETIF_RSP_OKAY`: transmitted.
pub const NETIF_RSP_OKAY: i16 = 0;
/// `NETIF_RSP_NULL`: the slot had extra information; the response's id means nothing. On the transmit ring alone.
pub const NETIF_RSP_NULL: i16 = 1;
/// `NETIF_RSP_ERROR`: the request made no sense to the backend.
pub const NETIF_RSP_ERROR: i16 = -1;
/// `NETIF_RSP_DROPPED`: the backend dropped the frame.
pub const NETIF_RSP_DROPPED: i16 = -2;

bitflags! {
    /// `NETTXF_*`.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct TransmitFlags: u16 {
        /// `NETTXF_csum_blank`: the transport's checksum field holds the pseudo-header's sum alone.
        const CSUM_BLANK = 1 << 0;
        /// `NETTXF_data_validated`: the transport's checksum was found right, or need not be looked at.
        const DATA_VALIDATED = 1 << 1;
        /// `NETTXF_more_data`: the frame goes on in a later request.
        const MORE_DATA = 1 << 2;
        /// `NETTXF_extra_info`: the next slot has extra information.
        const EXTRA_INFO = 1 << 3;
    }
}

bitflags! {
    /// `NETRXF_*`. The first two are not where [`TransmitFlags`] has them.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct ReceiveFlags: u16 {
        /// `NETRXF_data_validated`: the transport's checksum was found right, or need not be looked at.
        const DATA_VALIDATED = 1 << 0;
        /// `NETRXF_csum_blank`: the transport's checksum is not in the frame.
        const CSUM_BLANK = 1 << 1;
        /// `NETRXF_more_data`: the frame goes on in a later response.
        const MORE_DATA = 1 << 2;
        /// `NETRXF_extra_info`: the next slot has extra information.
        const EXTRA_INFO = 1 << 3;
        /// `NETRXF_gso_prefix`: an older form of segmentation. Nobody who wasn't asked for it sends it.
        const GSO_PREFIX = 1 << 4;
    }
}

/// `netif_tx_request_t`: a piece of a frame to transmit.
///
/// Of a frame in several pieces the first one's [`size`](Self::size) is the whole frame's.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct TransmitRequest {
    /// The grant reference of the page that the piece lies in (`gref`).
    pub reference: u32,
    /// Where it begins in the page, in bytes.
    pub offset: u16,
    /// [`TransmitFlags`].
    pub flags: u16,
    /// Echoed in the response.
    pub id: u16,
    /// Bytes of the frame in the first request, of the piece in others.
    pub size: u16,
}

/// `netif_tx_response_t`.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct TransmitResponse {
    /// The request's.
    pub id: u16,
    /// `NETIF_RSP_*`.
    pub status: i16,
}

/// `netif_rx_request_t`: a page to receive into.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct ReceiveRequest {
    /// Echoed in the response.
    pub id: u16,
    /// Zero.
    pub padding: u16,
    /// The grant reference of the page (`gref`).
    pub reference: u32,
}

/// `netif_rx_response_t`: a piece of a received frame.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct ReceiveResponse {
    /// The request's.
    pub id: u16,
    /// Where the piece begins in the page, in bytes.
    pub offset: u16,
    /// [`ReceiveFlags`].
    pub flags: u16,
    /// Bytes of the piece; below zero, `NETIF_RSP_*`.
    pub status: i16,
}

/// `netif_extra_info_t`: what lies in a slot in place of a request or a response. To be [read](Self::decode) and
/// [written](ExtraInfo::encode).
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct ExtraInfoSlot {
    /// `XEN_NETIF_EXTRA_TYPE_*`.
    pub kind: u8,
    /// `XEN_NETIF_EXTRA_FLAG_*`.
    pub flags: u8,
    /// By type.
    pub data: [u8; 6],
}

const _: () = {
    use core::mem::{align_of, offset_of, size_of};
    assert!(size_of::<TransmitRequest>() == 12 && align_of::<TransmitRequest>() == 4);
    assert!(offset_of!(TransmitRequest, offset) == 4);
    assert!(offset_of!(TransmitRequest, flags) == 6);
    assert!(offset_of!(TransmitRequest, id) == 8);
    assert!(offset_of!(TransmitRequest, size) == 10);
    assert!(size_of::<TransmitResponse>() == 4);
    assert!(offset_of!(TransmitResponse, status) == 2);
    assert!(size_of::<ReceiveRequest>() == 8 && align_of::<ReceiveRequest>() == 4);
    assert!(offset_of!(ReceiveRequest, reference) == 4);
    assert!(size_of::<ReceiveResponse>() == 8);
    assert!(offset_of!(ReceiveResponse, offset) == 2);
    assert!(offset_of!(ReceiveResponse, flags) == 4);
    assert!(offset_of!(ReceiveResponse, status) == 6);
    assert!(size_of::<ExtraInfoSlot>() == 8);
    assert!(offset_of!(ExtraInfoSlot, data) == 2);
    // What one end writes with the machine's order the other reads with it.
    assert!(cfg!(target_endian = "little"));
};

/// `XEN_NETIF_EXTRA_TYPE_GSO`.
const XEN_NETIF_EXTRA_TYPE_GSO: u8 = 1;
/// `XEN_NETIF_EXTRA_TYPE_MCAST_ADD`.
const XEN_NETIF_EXTRA_TYPE_MCAST_ADD: u8 = 2;
/// `XEN_NETIF_EXTRA_TYPE_MCAST_DEL`.
const XEN_NETIF_EXTRA_TYPE_MCAST_DEL: u8 = 3;
/// `XEN_NETIF_EXTRA_TYPE_HASH`.
const XEN_NETIF_EXTRA_TYPE_HASH: u8 = 4;
/// `XEN_NETIF_EXTRA_TYPE_MAX`: types are below.
pub const XEN_NETIF_EXTRA_TYPE_MAX: u8 = 5;
/// `XEN_NETIF_EXTRA_FLAG_MORE`: the next slot has extra information, too.
pub const XEN_NETIF_EXTRA_FLAG_MORE: u8 = 1;

/// Extra information on a frame, by type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExtraInfo {
    /// `XEN_NETIF_EXTRA_TYPE_GSO`: the frame stands for several segments.
    Segmentation {
        /// Bytes of payload in each segment: the MSS.
        size: u16,
        /// What is cut.
        kind: SegmentationType,
        /// `XEN_NETIF_GSO_FEAT_*`: none is defined.
        features: u16,
    },
    /// `XEN_NETIF_EXTRA_TYPE_MCAST_ADD`: frames to this multicast address are wanted.
    MulticastAdd([u8; 6]),
    /// `XEN_NETIF_EXTRA_TYPE_MCAST_DEL`: they are not any more.
    MulticastDelete([u8; 6]),
    /// `XEN_NETIF_EXTRA_TYPE_HASH`: a hash of the frame's addresses.
    Hash {
        /// `_XEN_NETIF_CTRL_HASH_TYPE_*`: what it is computed of.
        kind: u8,
        /// `XEN_NETIF_CTRL_HASH_ALGORITHM_*`.
        algorithm: u8,
        /// The hash.
        value: u32,
    },
    /// A type that these headers don't have.
    Unknown(u8),
}

/// `XEN_NETIF_GSO_TYPE_*`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SegmentationType {
    /// `XEN_NETIF_GSO_TYPE_NONE`.
    None,
    /// `XEN_NETIF_GSO_TYPE_TCPV4`.
    TcpV4,
    /// `XEN_NETIF_GSO_TYPE_TCPV6`.
    TcpV6,
    /// One that these headers don't have.
    Unknown(u8),
}

impl SegmentationType {
    const fn from_number(number: u8) -> Self {
        match number {
            0 => Self::None,
            1 => Self::TcpV4,
            2 => Self::TcpV6,
            other => Self::Unknown(other),
        }
    }

    const fn number(self) -> u8 {
        match self {
            Self::None => 0,
            Self::TcpV4 => 1,
            Self::TcpV6 => 2,
            Self::Unknown(other) => other,
        }
    }
}

impl ExtraInfoSlot {
    /// What the slot says, and whether the next slot has extra information, too.
    pub const fn decode(self) -> (ExtraInfo, bool) {
        let [a, b, c, d, e, f] = self.data;
        let info = match self.kind {
            XEN_NETIF_EXTRA_TYPE_GSO => ExtraInfo::Segmentation {
                size: u16::from_le_bytes([a, b]),
                kind: SegmentationType::from_number(c),
                features: u16::from_le_bytes([e, f]),
            },
            XEN_NETIF_EXTRA_TYPE_MCAST_ADD => ExtraInfo::MulticastAdd(self.data),
            XEN_NETIF_EXTRA_TYPE_MCAST_DEL => ExtraInfo::MulticastDelete(self.data),
            XEN_NETIF_EXTRA_TYPE_HASH => ExtraInfo::Hash {
                kind: a,
                algorithm: b,
                value: u32::from_le_bytes([c, d, e, f]),
            },
            other => ExtraInfo::Unknown(other),
        };
        (info, self.flags & XEN_NETIF_EXTRA_FLAG_MORE != 0)
    }
}

impl ExtraInfo {
    /// The slot that says this; `more`: the next slot has extra information, too.
    pub const fn encode(self, more: bool) -> ExtraInfoSlot {
        let (kind, data) = match self {
            Self::Segmentation {
                size,
                kind,
                features,
            } => {
                let ([a, b], [e, f]) = (size.to_le_bytes(), features.to_le_bytes());
                let data = [a, b, kind.number(), 0, e, f];
                (XEN_NETIF_EXTRA_TYPE_GSO, data)
            }
            Self::MulticastAdd(address) => (XEN_NETIF_EXTRA_TYPE_MCAST_ADD, address),
            Self::MulticastDelete(address) => (XEN_NETIF_EXTRA_TYPE_MCAST_DEL, address),
            Self::Hash {
                kind,
                algorithm,
                value,
            } => {
                let [a, b, c, d] = value.to_le_bytes();
                let data = [kind, algorithm, a, b, c, d];
                (XEN_NETIF_EXTRA_TYPE_HASH, data)
            }
            Self::Unknown(kind) => (kind, [0; 6]),
        };
        let flags = if more { XEN_NETIF_EXTRA_FLAG_MORE } else { 0 };
        ExtraInfoSlot { kind, flags, data }
    }
}

impl ExtraInfoSlot {
    /// The slot as it lies on the transmit ring, whose slots are longer.
    pub fn into_request(self) -> TransmitRequest {
        let Self { kind, flags, data } = self;
        let [a, b, c, d, e, f] = data;
        zerocopy::transmute!([kind, flags, a, b, c, d, e, f, 0, 0, 0, 0])
    }

    /// What lies in a slot of the transmit ring, read as extra information.
    pub fn from_request(request: TransmitRequest) -> Self {
        let bytes: [u8; 12] = zerocopy::transmute!(request);
        let [kind, flags, a, b, c, d, e, f, ..] = bytes;
        Self {
            kind,
            flags,
            data: [a, b, c, d, e, f],
        }
    }

    /// What lies in a slot of the receive ring, read as extra information.
    pub fn from_response(response: ReceiveResponse) -> Self {
        zerocopy::transmute!(response)
    }

    /// The slot as it lies on the receive ring.
    pub fn into_response(self) -> ReceiveResponse {
        zerocopy::transmute!(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_in_the_wrong_place_is_seen_in_a_transmit_request() {
        let request = TransmitRequest {
            reference: 0x0403_0201,
            offset: 0x0605,
            flags: (TransmitFlags::CSUM_BLANK | TransmitFlags::MORE_DATA).bits(),
            id: 0x0a09,
            size: 0x0c0b,
        };
        let golden = [1, 2, 3, 4, 5, 6, 5, 0, 9, 10, 11, 12];
        assert_eq!(request.as_bytes(), golden);
        assert_eq!(TransmitRequest::read_from_bytes(&golden), Ok(request));
    }

    #[test]
    fn a_field_in_the_wrong_place_is_seen_in_a_transmit_response() {
        let golden = [0x34, 0x12, 0xfe, 0xff];
        let response = TransmitResponse {
            id: 0x1234,
            status: NETIF_RSP_DROPPED,
        };
        assert_eq!(response.as_bytes(), golden);
        assert_eq!(TransmitResponse::read_from_bytes(&golden), Ok(response));
    }

    #[test]
    fn a_field_in_the_wrong_place_is_seen_in_a_receive_request() {
        let golden = [0x34, 0x12, 0, 0, 0x78, 0x56, 0xcd, 0xab];
        let request = ReceiveRequest {
            id: 0x1234,
            padding: 0,
            reference: 0xabcd_5678,
        };
        assert_eq!(request.as_bytes(), golden);
        assert_eq!(ReceiveRequest::read_from_bytes(&golden), Ok(request));
    }

    #[test]
    fn a_field_in_the_wrong_place_is_seen_in_a_receive_response() {
        let golden = [0x34, 0x12, 0x02, 0x01, 0x05, 0, 0xea, 0x05];
        let response = ReceiveResponse {
            id: 0x1234,
            offset: 0x0102,
            flags: (ReceiveFlags::DATA_VALIDATED | ReceiveFlags::MORE_DATA).bits(),
            status: 1_514,
        };
        assert_eq!(response.as_bytes(), golden);
        assert_eq!(ReceiveResponse::read_from_bytes(&golden), Ok(response));
    }

    #[test]
    fn flags_have_the_headers_numbers_in_either_direction() {
        assert_eq!(TransmitFlags::CSUM_BLANK.bits(), 1);
        assert_eq!(TransmitFlags::DATA_VALIDATED.bits(), 2);
        assert_eq!(TransmitFlags::MORE_DATA.bits(), 4);
        assert_eq!(TransmitFlags::EXTRA_INFO.bits(), 8);
        assert_eq!(ReceiveFlags::DATA_VALIDATED.bits(), 1);
        assert_eq!(ReceiveFlags::CSUM_BLANK.bits(), 2);
        assert_eq!(ReceiveFlags::MORE_DATA.bits(), 4);
        assert_eq!(ReceiveFlags::EXTRA_INFO.bits(), 8);
        assert_eq!(ReceiveFlags::GSO_PREFIX.bits(), 16);
    }

    const SEGMENTED: ExtraInfo = ExtraInfo::Segmentation {
        size: 1_448,
        kind: SegmentationType::TcpV6,
        features: 0x0201,
    };

    #[test]
    fn extra_information_has_its_fields_where_the_header_has_them() {
        for (info, more, golden) in [
            (SEGMENTED, true, [1, 1, 0xa8, 0x05, 2, 0, 1, 2]),
            (
                ExtraInfo::MulticastAdd([1, 0, 0x5e, 0, 0, 5]),
                false,
                [2, 0, 1, 0, 0x5e, 0, 0, 5],
            ),
            (
                ExtraInfo::MulticastDelete([1, 0, 0x5e, 0, 0, 5]),
                false,
                [3, 0, 1, 0, 0x5e, 0, 0, 5],
            ),
            (
                ExtraInfo::Hash {
                    kind: 1,
                    algorithm: 2,
                    value: 0x0605_0403,
                },
                true,
                [4, 1, 1, 2, 3, 4, 5, 6],
            ),
            (ExtraInfo::Unknown(9), true, [9, 1, 0, 0, 0, 0, 0, 0]),
        ] {
            let slot = info.encode(more);
            assert_eq!(slot.as_bytes(), golden);
            assert_eq!(slot.decode(), (info, more));
        }
    }

    #[test]
    fn extra_information_lies_at_the_beginning_of_either_rings_slot() {
        let slot = SEGMENTED.encode(false);
        let request = slot.into_request();
        assert_eq!(
            request.as_bytes(),
            [1, 0, 0xa8, 0x05, 2, 0, 1, 2, 0, 0, 0, 0]
        );
        assert_eq!(ExtraInfoSlot::from_request(request), slot);
        let response = slot.into_response();
        assert_eq!(response.as_bytes(), slot.as_bytes());
        assert_eq!(ExtraInfoSlot::from_response(response), slot);
    }

    #[test]
    fn unknown_flags_and_types_are_not_an_end_of_the_list() {
        let slot = ExtraInfoSlot {
            kind: 1,
            flags: 0xfe,
            data: [0, 0, 7, 0, 0, 0],
        };
        let (info, more) = slot.decode();
        assert!(!more);
        let kind = SegmentationType::Unknown(7);
        assert!(matches!(info, ExtraInfo::Segmentation { kind: of, .. } if of == kind));
    }
}
