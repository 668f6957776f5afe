//! ARP for IPv4 over Ethernet (RFC 826).

use core::fmt;
use core::net::Ipv4Addr;

use mirage_core::MacAddress;
use zerocopy::network_endian::U16;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::WireError;

/// Bytes of an ARP packet for IPv4 over Ethernet.
pub const PACKET_LEN: usize = 28;

/// ar$hrd: Ethernet (RFC 826, "Packet format").
const HARDWARE_ETHERNET: u16 = 1;
/// ar$pro: the EtherType of IPv4.
const PROTOCOL_IPV4: u16 = 0x0800;

/// What an ARP packet asks or says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ArpOperation {
    /// ares_op$REQUEST.
    Request,
    /// ares_op$REPLY.
    Reply,
}

/// An ARP packet as it lies in memory.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct Header {
    hardware_type: U16,
    protocol_type: U16,
    hardware_length: u8,
    protocol_length: u8,
    operation: U16,
    sender_hardware: [u8; 6],
    sender_protocol: [u8; 4],
    target_hardware: [u8; 6],
    target_protocol: [u8; 4],
}

/// A checked view of an ARP packet: Ethernet, IPv4, request or reply.
#[derive(Debug, Clone, Copy)]
pub struct ArpPacket<'a> {
    header: &'a Header,
    operation: ArpOperation,
}

impl<'a> ArpPacket<'a> {
    /// A view of `bytes`; padding after the packet is ignored.
    ///
    /// # Errors
    /// [`WireError::Truncated`] when the packet isn't whole, [`WireError::Unsupported`] when
    /// it is not about IPv4 over Ethernet or neither asks nor answers.
    pub fn new_checked(bytes: &'a [u8]) -> Result<Self, WireError> {
        let (header, _) = Header::ref_from_prefix(bytes).map_err(|_| WireError::Truncated)?;
        if header.hardware_type.get() != HARDWARE_ETHERNET
            || header.protocol_type.get() != PROTOCOL_IPV4
            || header.hardware_length != 6
            || header.protocol_length != 4
        {
            return Err(WireError::Unsupported);
        }
        let operation = match header.operation.get() {
            1 => ArpOperation::Request,
            2 => ArpOperation::Reply,
            _ => return Err(WireError::Unsupported),
        };
        Ok(ArpPacket { header, operation })
    }

    /// Request or reply.
    pub fn operation(&self) -> ArpOperation {
        self.operation
    }

    /// ar$sha.
    pub fn sender_hardware(&self) -> MacAddress {
        MacAddress(self.header.sender_hardware)
    }

    /// ar$spa.
    pub fn sender_protocol(&self) -> Ipv4Addr {
        Ipv4Addr::from(self.header.sender_protocol)
    }

    /// ar$tha; meaningless in a request.
    pub fn target_hardware(&self) -> MacAddress {
        MacAddress(self.header.target_hardware)
    }

    /// ar$tpa.
    pub fn target_protocol(&self) -> Ipv4Addr {
        Ipv4Addr::from(self.header.target_protocol)
    }
}

impl fmt::Display for ArpPacket<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        ArpRepr::parse(self).fmt(f)
    }
}

/// An ARP packet in the machine's terms.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ArpRepr {
    /// Request or reply.
    pub operation: ArpOperation,
    /// The sender's hardware address.
    pub sender_hardware: MacAddress,
    /// The sender's protocol address; unspecified in a probe (RFC 5227 §1.1).
    pub sender_protocol: Ipv4Addr,
    /// The target's hardware address; zero in a request (RFC 5227 §2.1.1).
    pub target_hardware: MacAddress,
    /// The protocol address that is asked for or told.
    pub target_protocol: Ipv4Addr,
}

impl ArpRepr {
    /// The fields of a checked view.
    pub fn parse(packet: &ArpPacket<'_>) -> Self {
        ArpRepr {
            operation: packet.operation(),
            sender_hardware: packet.sender_hardware(),
            sender_protocol: packet.sender_protocol(),
            target_hardware: packet.target_hardware(),
            target_protocol: packet.target_protocol(),
        }
    }

    /// Writes the packet.
    pub fn emit(&self, bytes: &mut [u8; PACKET_LEN]) {
        let header = Header {
            hardware_type: HARDWARE_ETHERNET.into(),
            protocol_type: PROTOCOL_IPV4.into(),
            hardware_length: 6,
            protocol_length: 4,
            operation: match self.operation {
                ArpOperation::Request => 1,
                ArpOperation::Reply => 2,
            }
            .into(),
            sender_hardware: self.sender_hardware.0,
            sender_protocol: self.sender_protocol.octets(),
            target_hardware: self.target_hardware.0,
            target_protocol: self.target_protocol.octets(),
        };
        bytes.copy_from_slice(header.as_bytes());
    }
}

impl fmt::Display for ArpRepr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.operation {
            ArpOperation::Request => write!(
                f,
                "ARP who has {}? tell {} ({})",
                self.target_protocol, self.sender_protocol, self.sender_hardware
            ),
            ArpOperation::Reply => write!(
                f,
                "ARP {} is at {}",
                self.sender_protocol, self.sender_hardware
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::string::ToString;

    const PACKET: [u8; PACKET_LEN] = [
        0x00, 0x01, 0x08, 0x00, 0x06, 0x04, 0x00, 0x01, 0x02, 0x00, 0x00, 0x00, 0x00, 0x01, 10, 0,
        0, 1, 0, 0, 0, 0, 0, 0, 10, 0, 0, 2,
    ];
    const REPR: ArpRepr = ArpRepr {
        operation: ArpOperation::Request,
        sender_hardware: MacAddress([2, 0, 0, 0, 0, 1]),
        sender_protocol: Ipv4Addr::new(10, 0, 0, 1),
        target_hardware: MacAddress([0; 6]),
        target_protocol: Ipv4Addr::new(10, 0, 0, 2),
    };

    #[test]
    fn parses_the_fixture() {
        let packet = ArpPacket::new_checked(&PACKET).unwrap();
        assert_eq!(ArpRepr::parse(&packet), REPR);
        assert_eq!(
            packet.to_string(),
            "ARP who has 10.0.0.2? tell 10.0.0.1 (02:00:00:00:00:01)"
        );
    }

    #[test]
    fn emits_the_fixture() {
        let mut bytes = [0; PACKET_LEN];
        REPR.emit(&mut bytes);
        assert_eq!(bytes, PACKET);
    }

    #[test]
    fn other_kinds_and_short_packets_are_refused() {
        for length in 0..PACKET_LEN {
            assert_eq!(
                ArpPacket::new_checked(&PACKET[..length]).err(),
                Some(WireError::Truncated)
            );
        }
        for at in 0..8 {
            let mut bytes = PACKET;
            bytes[at] ^= 0x40;
            assert_eq!(
                ArpPacket::new_checked(&bytes).err(),
                Some(WireError::Unsupported)
            );
        }
    }
}
