//! UDP (RFC 768).

use core::fmt;

use zerocopy::network_endian::U16;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::WireError;

/// Bytes of a UDP header.
pub const HEADER_LEN: usize = 8;
/// Offset of the checksum in the header.
pub const CHECKSUM_OFFSET: usize = 6;

/// A UDP header as it lies in memory.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct Header {
    source_port: U16,
    destination_port: U16,
    length: U16,
    checksum: U16,
}

/// A checked view of a datagram's header.
#[derive(Debug, Clone, Copy)]
pub struct UdpPacket<'a> {
    header: &'a Header,
}

impl<'a> UdpPacket<'a> {
    /// A view of `first`, the segment that holds the header, of an IP payload of `available`
    /// bytes. The checksum is not looked at: it covers all segments and a pseudo header.
    ///
    /// # Errors
    /// [`WireError::Truncated`] when the header is not whole or the length exceeds what there
    /// is, [`WireError::Malformed`] for a length below 8.
    pub fn new_checked(first: &'a [u8], available: usize) -> Result<Self, WireError> {
        let (header, _) = Header::ref_from_prefix(first).map_err(|_| WireError::Truncated)?;
        let packet = UdpPacket { header };
        if packet.len() < HEADER_LEN {
            return Err(WireError::Malformed);
        }
        if packet.len() > available {
            return Err(WireError::Truncated);
        }
        Ok(packet)
    }

    /// A view of the header as an ICMP error quotes it, where the payload need not be there.
    ///
    /// # Errors
    /// [`WireError::Truncated`] when fewer than 8 bytes are quoted.
    pub fn new_quoted(first: &'a [u8]) -> Result<Self, WireError> {
        let (header, _) = Header::ref_from_prefix(first).map_err(|_| WireError::Truncated)?;
        Ok(UdpPacket { header })
    }

    /// Source port; 0 when the sender wants no answer.
    pub fn source_port(&self) -> u16 {
        self.header.source_port.get()
    }

    /// Destination port.
    pub fn destination_port(&self) -> u16 {
        self.header.destination_port.get()
    }

    /// Length of header and payload in bytes, at least 8.
    #[allow(clippy::len_without_is_empty)]
    pub fn len(&self) -> usize {
        usize::from(self.header.length.get())
    }

    /// Length of the payload in bytes.
    pub fn payload_len(&self) -> usize {
        self.len().saturating_sub(HEADER_LEN)
    }

    /// The checksum; 0 says that the sender made none.
    pub fn checksum(&self) -> u16 {
        self.header.checksum.get()
    }
}

impl fmt::Display for UdpPacket<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        UdpRepr::parse(self).fmt(f)
    }
}

/// A UDP header in the machine's terms.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UdpRepr {
    /// Source port.
    pub source_port: u16,
    /// Destination port.
    pub destination_port: u16,
    /// Bytes of payload; at most 65,507 over IPv4.
    pub payload_len: u16,
    /// The field's value: a checksum, a partial sum for the device, or 0 for none.
    pub checksum: u16,
}

impl UdpRepr {
    /// The fields of a checked view.
    pub fn parse(packet: &UdpPacket<'_>) -> Self {
        UdpRepr {
            source_port: packet.source_port(),
            destination_port: packet.destination_port(),
            payload_len: packet.payload_len() as u16,
            checksum: packet.checksum(),
        }
    }

    /// Writes the header.
    pub fn emit(&self, bytes: &mut [u8; HEADER_LEN]) {
        let header = Header {
            source_port: self.source_port.into(),
            destination_port: self.destination_port.into(),
            length: self.payload_len.saturating_add(HEADER_LEN as u16).into(),
            checksum: self.checksum.into(),
        };
        bytes.copy_from_slice(header.as_bytes());
    }
}

impl fmt::Display for UdpRepr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "UDP {} > {} {} bytes",
            self.source_port, self.destination_port, self.payload_len
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::string::ToString;

    const PACKET: [u8; 12] = [
        0xbf, 0x00, 0x00, 0x35, 0x00, 0x0c, 0x12, 0x4d, 0xaa, 0x00, 0x00, 0xff,
    ];
    const REPR: UdpRepr = UdpRepr {
        source_port: 48_896,
        destination_port: 53,
        payload_len: 4,
        checksum: 0x124d,
    };

    #[test]
    fn parses_the_fixture() {
        let packet = UdpPacket::new_checked(&PACKET, 12).unwrap();
        assert_eq!(UdpRepr::parse(&packet), REPR);
        assert_eq!(packet.to_string(), "UDP 48896 > 53 4 bytes");
    }

    #[test]
    fn emits_the_fixture() {
        let mut bytes = [0; HEADER_LEN];
        REPR.emit(&mut bytes);
        assert_eq!(bytes, PACKET[..HEADER_LEN]);
    }

    #[test]
    fn lengths_that_contradict_are_refused() {
        assert!(UdpPacket::new_checked(&PACKET[..7], 12).is_err());
        assert!(UdpPacket::new_checked(&PACKET, 11).is_err());
        for length in 0..8 {
            let mut bytes = PACKET;
            bytes[5] = length;
            assert_eq!(
                UdpPacket::new_checked(&bytes, 12).err(),
                Some(WireError::Malformed)
            );
        }
    }
}
