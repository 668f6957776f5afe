//! Codecs of the wire: headers as types that carry the proof of their checks.
//!
//! The contract of every codec here: a view (`EthernetPacket`, `Ipv4Packet`, …) exists only
//! when its `new_checked` has passed, and then no accessor panics, whatever the bytes are: each
//! header is a fixed-size structure of network-endian integers, and each variable part is a slice
//! that was cut once. A representation (`EthernetRepr`, …) is the header in the machine's own
//! terms; its `emit` writes into an array of exactly the header's size (TCP's, of the largest
//! header's), so it can't fail either.
//!
//! | Module | View | Representation | Source |
//! |---|---|---|---|
//! | [`ethernet`] | [`EthernetPacket`] | [`EthernetRepr`] | IEEE 802.3, RFC 894 |
//! | [`arp`] | [`ArpPacket`] | [`ArpRepr`] | RFC 826 |
//! | [`ipv4`] | [`Ipv4Packet`] | [`Ipv4Repr`] | RFC 791 |
//! | [`icmpv4`] | [`Icmpv4Packet`] | [`Icmpv4Repr`] | RFC 792, RFC 1191 |
//! | [`udp`] | [`UdpPacket`] | [`UdpRepr`] | RFC 768 |
//! | [`tcp`] | [`TcpPacket`] | [`TcpRepr`] | RFC 9293, RFC 7323, RFC 2018, RFC 3168 |
//! | [`dhcp`] | [`DhcpPacket`] | [`DhcpRepr`], [`DhcpWriter`] | RFC 2131, RFC 2132, RFC 3396 |
//! | [`checksum`] | | [`Checksum`] | RFC 1071, RFC 1624 |
//!
//! A packet may lie in several segments. A view therefore borrows the first segment (which must
//! hold the header) and is told how many bytes there are in all.

pub mod arp;
pub mod checksum;
pub mod dhcp;
pub mod ethernet;
pub mod icmpv4;
pub mod ipv4;
pub mod tcp;
pub mod udp;

pub use arp::{ArpOperation, ArpPacket, ArpRepr};
pub use checksum::Checksum;
pub use dhcp::{DhcpMessageType, DhcpOperation, DhcpPacket, DhcpRepr, DhcpWriter};
pub use ethernet::{EtherType, EthernetPacket, EthernetRepr};
pub use icmpv4::{Icmpv4Message, Icmpv4Packet, Icmpv4Repr};
pub use ipv4::{IpProtocol, Ipv4Packet, Ipv4Repr};
pub use tcp::{
    SackBlock, SackBlocks, TcpFlags, TcpOptions, TcpPacket, TcpQuote, TcpRepr, Timestamps,
};
pub use udp::{UdpPacket, UdpRepr};

use core::fmt;

/// Why bytes are not a valid header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum WireError {
    /// The buffer ends before the header, or before the length that the header states.
    Truncated,
    /// A field has a value that its specification forbids (version, header length, …).
    Malformed,
    /// A valid header of a kind that this codec does not speak (hardware type, …).
    Unsupported,
    /// The header's own checksum is wrong.
    Checksum,
}

impl fmt::Display for WireError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            WireError::Truncated => "the packet is shorter than its header says",
            WireError::Malformed => "a field of the header has a forbidden value",
            WireError::Unsupported => "the header is of a kind that is not implemented",
            WireError::Checksum => "the header's checksum is wrong",
        })
    }
}

impl core::error::Error for WireError {}
