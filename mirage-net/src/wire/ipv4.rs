//! IPv4 headers (RFC 791); options are skipped, never emitted.

use core::fmt;
use core::net::Ipv4Addr;

use zerocopy::network_endian::U16;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::WireError;
use super::checksum::{checksum, header_checksum};

/// Bytes of a header without options.
pub const HEADER_LEN: usize = 20;
/// Bytes of the longest header (IHL 15).
pub const MAX_HEADER_LEN: usize = 60;
/// Largest datagram (RFC 791 §3.1, Total Length).
pub const MAX_DATAGRAM_LEN: usize = 65_535;

const DONT_FRAGMENT: u16 = 0x4000;
const MORE_FRAGMENTS: u16 = 0x2000;
const OFFSET_MASK: u16 = 0x1fff;

/// The transport of a datagram.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum IpProtocol {
    /// 1, RFC 792.
    Icmp,
    /// 6, RFC 9293.
    Tcp,
    /// 17, RFC 768.
    Udp,
    /// Any other.
    Other(u8),
}

impl From<u8> for IpProtocol {
    fn from(value: u8) -> Self {
        match value {
            1 => IpProtocol::Icmp,
            6 => IpProtocol::Tcp,
            17 => IpProtocol::Udp,
            other => IpProtocol::Other(other),
        }
    }
}

impl From<IpProtocol> for u8 {
    fn from(value: IpProtocol) -> Self {
        match value {
            IpProtocol::Icmp => 1,
            IpProtocol::Tcp => 6,
            IpProtocol::Udp => 17,
            IpProtocol::Other(other) => other,
        }
    }
}

impl fmt::Display for IpProtocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            IpProtocol::Icmp => f.write_str("ICMP"),
            IpProtocol::Tcp => f.write_str("TCP"),
            IpProtocol::Udp => f.write_str("UDP"),
            IpProtocol::Other(other) => write!(f, "protocol {other}"),
        }
    }
}

/// A header without options as it lies in memory.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct Header {
    version_ihl: u8,
    type_of_service: u8,
    total_length: U16,
    identification: U16,
    flags_offset: U16,
    time_to_live: u8,
    protocol: u8,
    checksum: U16,
    source: [u8; 4],
    destination: [u8; 4],
}

/// A checked view of a datagram's header.
#[derive(Debug, Clone, Copy)]
pub struct Ipv4Packet<'a> {
    header: &'a Header,
    options: &'a [u8],
    payload: &'a [u8],
}

impl<'a> Ipv4Packet<'a> {
    /// A view of `first`, the segment that holds the header, of a packet of `available` bytes.
    ///
    /// Version, header length, total length and the header's checksum have been verified.
    /// Trailing bytes (Ethernet padding) are no error: see [`total_len`](Self::total_len).
    ///
    /// # Errors
    /// [`WireError::Truncated`] when the header or the datagram is not whole,
    /// [`WireError::Malformed`] for a wrong version or lengths that contradict each other,
    /// [`WireError::Checksum`].
    pub fn new_checked(first: &'a [u8], available: usize) -> Result<Self, WireError> {
        let packet = Self::new_quoted(first)?;
        if packet.total_len() > available {
            return Err(WireError::Truncated);
        }
        let header_len = HEADER_LEN + packet.options.len();
        let sum = match first.first_chunk::<HEADER_LEN>() {
            Some(header) if header_len == HEADER_LEN => header_checksum(header),
            _ => checksum(first.get(..header_len).ok_or(WireError::Checksum)?),
        };
        if sum != 0 {
            return Err(WireError::Checksum);
        }
        Ok(packet)
    }

    /// A view of a header quoted in an ICMP error: neither the checksum nor the presence of the
    /// payload is verified, for a router changes the one and cuts the other.
    ///
    /// # Errors
    /// As [`new_checked`](Self::new_checked), without those two.
    pub fn new_quoted(first: &'a [u8]) -> Result<Self, WireError> {
        let (header, rest) = Header::ref_from_prefix(first).map_err(|_| WireError::Truncated)?;
        if header.version_ihl >> 4 != 4 {
            return Err(WireError::Malformed);
        }
        let header_len = usize::from(header.version_ihl & 0x0f) * 4;
        let total_len = usize::from(header.total_length.get());
        let Some(options_len) = header_len.checked_sub(HEADER_LEN) else {
            return Err(WireError::Malformed);
        };
        if total_len < header_len {
            return Err(WireError::Malformed);
        }
        let (Some(options), Some(payload)) = (rest.get(..options_len), rest.get(options_len..))
        else {
            return Err(WireError::Truncated);
        };
        let payload = payload.get(..total_len - header_len).unwrap_or(payload);
        Ok(Ipv4Packet {
            header,
            options,
            payload,
        })
    }

    /// Header length with options, in bytes: 20 to 60.
    pub fn header_len(&self) -> usize {
        HEADER_LEN + self.options.len()
    }

    /// Total length of the datagram or fragment in bytes, header included.
    pub fn total_len(&self) -> usize {
        usize::from(self.header.total_length.get())
    }

    /// Length of the payload in bytes, whether or not all of it lies in this segment.
    pub fn payload_len(&self) -> usize {
        self.total_len() - self.header_len()
    }

    /// The octet that was Type of Service: DSCP in the high six bits (RFC 2474), ECN in the low two (RFC 3168).
    pub fn type_of_service(&self) -> u8 {
        self.header.type_of_service
    }

    /// Identification: what the fragments of a datagram have in common.
    pub fn identification(&self) -> u16 {
        self.header.identification.get()
    }

    /// The Don't Fragment flag.
    pub fn dont_fragment(&self) -> bool {
        self.header.flags_offset.get() & DONT_FRAGMENT != 0
    }

    /// The More Fragments flag.
    pub fn more_fragments(&self) -> bool {
        self.header.flags_offset.get() & MORE_FRAGMENTS != 0
    }

    /// Offset of this fragment's payload in the datagram's, in bytes (a multiple of 8).
    pub fn fragment_offset(&self) -> usize {
        usize::from(self.header.flags_offset.get() & OFFSET_MASK) * 8
    }

    /// Whether the datagram came in more than one piece.
    pub fn is_fragment(&self) -> bool {
        self.more_fragments() || self.fragment_offset() != 0
    }

    /// Time to live.
    pub fn time_to_live(&self) -> u8 {
        self.header.time_to_live
    }

    /// The payload's protocol.
    pub fn protocol(&self) -> IpProtocol {
        self.header.protocol.into()
    }

    /// Source address, as it says.
    pub fn source(&self) -> Ipv4Addr {
        Ipv4Addr::from(self.header.source)
    }

    /// Destination address.
    pub fn destination(&self) -> Ipv4Addr {
        Ipv4Addr::from(self.header.destination)
    }

    /// The options, uninterpreted.
    pub fn options(&self) -> &'a [u8] {
        self.options
    }

    /// The part of the payload that lies in this segment, without trailing bytes.
    pub fn payload(&self) -> &'a [u8] {
        self.payload
    }
}

impl fmt::Display for Ipv4Packet<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Ipv4Repr::parse(self).fmt(f)
    }
}

/// A header without options in the machine's terms.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ipv4Repr {
    /// Source address.
    pub source: Ipv4Addr,
    /// Destination address.
    pub destination: Ipv4Addr,
    /// The payload's protocol.
    pub protocol: IpProtocol,
    /// DSCP in the high six bits (RFC 2474), ECN in the low two (RFC 3168).
    pub type_of_service: u8,
    /// Bytes of payload; at most 65,515.
    pub payload_len: u16,
    /// Time to live.
    pub time_to_live: u8,
    /// Identification.
    pub identification: u16,
    /// Don't Fragment.
    pub dont_fragment: bool,
    /// More Fragments.
    pub more_fragments: bool,
    /// Offset in bytes; rounded down to a multiple of 8.
    pub fragment_offset: u16,
}

impl Ipv4Repr {
    /// The fields of a checked view; options are left out.
    pub fn parse(packet: &Ipv4Packet<'_>) -> Self {
        Ipv4Repr {
            source: packet.source(),
            destination: packet.destination(),
            protocol: packet.protocol(),
            type_of_service: packet.type_of_service(),
            payload_len: packet.payload_len() as u16,
            time_to_live: packet.time_to_live(),
            identification: packet.identification(),
            dont_fragment: packet.dont_fragment(),
            more_fragments: packet.more_fragments(),
            fragment_offset: packet.fragment_offset() as u16,
        }
    }

    /// Writes the header and its checksum.
    ///
    /// A payload beyond 65,515 bytes can't be stated; the length then saturates at 65,535.
    pub fn emit(&self, bytes: &mut [u8; HEADER_LEN]) {
        let mut flags_offset = self.fragment_offset / 8;
        if self.dont_fragment {
            flags_offset |= DONT_FRAGMENT;
        }
        if self.more_fragments {
            flags_offset |= MORE_FRAGMENTS;
        }
        let mut header = Header {
            version_ihl: 0x45,
            type_of_service: self.type_of_service,
            total_length: self.payload_len.saturating_add(HEADER_LEN as u16).into(),
            identification: self.identification.into(),
            flags_offset: flags_offset.into(),
            time_to_live: self.time_to_live,
            protocol: self.protocol.into(),
            checksum: 0.into(),
            source: self.source.octets(),
            destination: self.destination.octets(),
        };
        header.checksum = header_checksum(zerocopy::transmute_ref!(&header)).into();
        *bytes = zerocopy::transmute!(header);
    }
}

impl fmt::Display for Ipv4Repr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "IPv4 {} > {} {} {} bytes, TTL {}",
            self.source, self.destination, self.protocol, self.payload_len, self.time_to_live
        )?;
        if self.more_fragments || self.fragment_offset != 0 {
            write!(
                f,
                ", fragment of {} at {}",
                self.identification, self.fragment_offset
            )?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::string::ToString;
    use std::vec::Vec;

    /// The header of RFC 1071-style worked examples: 172.16.10.99 to 172.16.10.12.
    const HEADER: [u8; HEADER_LEN] = [
        0x45, 0x00, 0x00, 0x3c, 0x1c, 0x46, 0x40, 0x00, 0x40, 0x06, 0xb1, 0xe6, 0xac, 0x10, 0x0a,
        0x63, 0xac, 0x10, 0x0a, 0x0c,
    ];
    const REPR: Ipv4Repr = Ipv4Repr {
        source: Ipv4Addr::new(172, 16, 10, 99),
        destination: Ipv4Addr::new(172, 16, 10, 12),
        protocol: IpProtocol::Tcp,
        type_of_service: 0,
        payload_len: 40,
        time_to_live: 64,
        identification: 0x1c46,
        dont_fragment: true,
        more_fragments: false,
        fragment_offset: 0,
    };

    fn datagram() -> Vec<u8> {
        let mut bytes = HEADER.to_vec();
        bytes.resize(60, 0xaa);
        bytes
    }

    #[test]
    fn parses_the_fixture_and_cuts_trailing_bytes() {
        let mut bytes = datagram();
        bytes.extend_from_slice(&[0; 6]);
        let packet = Ipv4Packet::new_checked(&bytes, bytes.len()).unwrap();
        assert_eq!(Ipv4Repr::parse(&packet), REPR);
        assert_eq!(packet.payload(), &[0xaa; 40]);
        assert_eq!(
            packet.to_string(),
            "IPv4 172.16.10.99 > 172.16.10.12 TCP 40 bytes, TTL 64"
        );
    }

    #[test]
    fn emits_the_fixture() {
        let mut bytes = [0; HEADER_LEN];
        REPR.emit(&mut bytes);
        assert_eq!(bytes, HEADER);
    }

    #[test]
    fn options_are_skipped() {
        let mut bytes = datagram();
        bytes[0] = 0x47;
        bytes[20..28].copy_from_slice(&[1; 8]);
        bytes[10..12].fill(0);
        let sum = checksum(&bytes[..28]).to_be_bytes();
        bytes[10..12].copy_from_slice(&sum);
        let packet = Ipv4Packet::new_checked(&bytes, 60).unwrap();
        assert_eq!(packet.header_len(), 28);
        assert_eq!(packet.options(), &[1; 8]);
        assert_eq!(packet.payload_len(), 32);
    }

    #[test]
    fn receive_checksums_are_verified() {
        for bit in 0..160 {
            let mut bytes = datagram();
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert!(Ipv4Packet::new_checked(&bytes, 60).is_err(), "bit {bit}");
        }
    }

    #[test]
    fn lengths_that_contradict_are_refused() {
        let bytes = datagram();
        assert_eq!(
            Ipv4Packet::new_checked(&bytes, 59).err(),
            Some(WireError::Truncated)
        );
        assert_eq!(
            Ipv4Packet::new_checked(&bytes[..19], 60).err(),
            Some(WireError::Truncated)
        );
        for (at, value) in [(0, 0x44), (0, 0x65), (3, 19)] {
            let mut bytes = datagram();
            bytes[at] = value;
            assert_eq!(
                Ipv4Packet::new_checked(&bytes, 60).err(),
                Some(WireError::Malformed)
            );
        }
    }
}
