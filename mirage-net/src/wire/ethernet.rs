//! Ethernet II frames (IEEE 802.3, RFC 894).

use core::fmt;

use mirage_core::MacAddress;
use zerocopy::network_endian::U16;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::WireError;

/// Bytes of an Ethernet II header; no frame check sequence ever reaches us.
pub const HEADER_LEN: usize = 14;

/// The protocol of a frame's payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum EtherType {
    /// 0x0800, RFC 894.
    Ipv4,
    /// 0x0806, RFC 826.
    Arp,
    /// 0x86dd, RFC 2464.
    Ipv6,
    /// Any other value, IEEE 802.3 lengths and VLAN tags among them.
    Other(u16),
}

impl From<u16> for EtherType {
    fn from(value: u16) -> Self {
        match value {
            0x0800 => EtherType::Ipv4,
            0x0806 => EtherType::Arp,
            0x86dd => EtherType::Ipv6,
            other => EtherType::Other(other),
        }
    }
}

impl From<EtherType> for u16 {
    fn from(value: EtherType) -> Self {
        match value {
            EtherType::Ipv4 => 0x0800,
            EtherType::Arp => 0x0806,
            EtherType::Ipv6 => 0x86dd,
            EtherType::Other(other) => other,
        }
    }
}

impl fmt::Display for EtherType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            EtherType::Ipv4 => f.write_str("IPv4"),
            EtherType::Arp => f.write_str("ARP"),
            EtherType::Ipv6 => f.write_str("IPv6"),
            EtherType::Other(other) => write!(f, "0x{other:04x}"),
        }
    }
}

/// An Ethernet II header as it lies in memory.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct Header {
    destination: [u8; 6],
    source: [u8; 6],
    ethertype: U16,
}

/// A checked view of a frame.
#[derive(Debug, Clone, Copy)]
pub struct EthernetPacket<'a> {
    header: &'a Header,
    payload: &'a [u8],
}

impl<'a> EthernetPacket<'a> {
    /// A view of `bytes`, the frame's first segment.
    ///
    /// # Errors
    /// [`WireError::Truncated`] when the header isn't whole.
    pub fn new_checked(bytes: &'a [u8]) -> Result<Self, WireError> {
        let (header, payload) = Header::ref_from_prefix(bytes).map_err(|_| WireError::Truncated)?;
        Ok(EthernetPacket { header, payload })
    }

    /// The station or group that the frame is for.
    pub fn destination(&self) -> MacAddress {
        MacAddress(self.header.destination)
    }

    /// The station that sent it, as it says.
    pub fn source(&self) -> MacAddress {
        MacAddress(self.header.source)
    }

    /// The payload's protocol.
    pub fn ethertype(&self) -> EtherType {
        self.header.ethertype.get().into()
    }

    /// What follows the header in this segment, padding included.
    pub fn payload(&self) -> &'a [u8] {
        self.payload
    }
}

impl fmt::Display for EthernetPacket<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        EthernetRepr::parse(self).fmt(f)
    }
}

/// An Ethernet II header in the machine's terms.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EthernetRepr {
    /// Destination address.
    pub destination: MacAddress,
    /// Source address.
    pub source: MacAddress,
    /// The payload's protocol.
    pub ethertype: EtherType,
}

impl EthernetRepr {
    /// The header of a checked view.
    pub fn parse(packet: &EthernetPacket<'_>) -> Self {
        EthernetRepr {
            destination: packet.destination(),
            source: packet.source(),
            ethertype: packet.ethertype(),
        }
    }

    /// Writes the header.
    pub fn emit(&self, bytes: &mut [u8; HEADER_LEN]) {
        let header = Header {
            destination: self.destination.0,
            source: self.source.0,
            ethertype: u16::from(self.ethertype).into(),
        };
        bytes.copy_from_slice(header.as_bytes());
    }
}

impl fmt::Display for EthernetRepr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "Ethernet {} > {} {}",
            self.source, self.destination, self.ethertype
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::string::ToString;

    const FRAME: [u8; 18] = [
        0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x02, 0x00, 0x00, 0x00, 0x00, 0x01, 0x08, 0x06, 1, 2,
        3, 4,
    ];
    const REPR: EthernetRepr = EthernetRepr {
        destination: MacAddress([0xff; 6]),
        source: MacAddress([2, 0, 0, 0, 0, 1]),
        ethertype: EtherType::Arp,
    };

    #[test]
    fn parses_the_fixture() {
        let packet = EthernetPacket::new_checked(&FRAME).unwrap();
        assert_eq!(EthernetRepr::parse(&packet), REPR);
        assert_eq!(packet.payload(), &[1, 2, 3, 4]);
        assert_eq!(
            packet.to_string(),
            "Ethernet 02:00:00:00:00:01 > ff:ff:ff:ff:ff:ff ARP"
        );
    }

    #[test]
    fn emits_the_fixture() {
        let mut bytes = [0; HEADER_LEN];
        REPR.emit(&mut bytes);
        assert_eq!(bytes, FRAME[..HEADER_LEN]);
    }

    #[test]
    fn a_short_frame_is_refused() {
        for length in 0..HEADER_LEN {
            assert_eq!(
                EthernetPacket::new_checked(&FRAME[..length]).err(),
                Some(WireError::Truncated)
            );
        }
    }

    #[test]
    fn ethertypes_go_both_ways() {
        for value in 0..=u16::MAX {
            assert_eq!(u16::from(EtherType::from(value)), value);
        }
    }
}
