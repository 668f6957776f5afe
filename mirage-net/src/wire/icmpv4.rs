//! ICMP for IPv4 (RFC 792, RFC 1191 for the next-hop MTU).

use core::fmt;

use zerocopy::network_endian::U16;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::WireError;

/// Bytes of an ICMP header.
pub const HEADER_LEN: usize = 8;

/// The ICMP header as it lies in memory; the last four bytes depend on the type.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct Header {
    kind: u8,
    code: u8,
    checksum: U16,
    high: U16,
    low: U16,
}

/// What an ICMP message says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Icmpv4Message {
    /// Type 8.
    EchoRequest {
        /// Aids in matching replies, like a port.
        identifier: u16,
        /// Aids in matching replies, one for each request.
        sequence: u16,
    },
    /// Type 0.
    EchoReply {
        /// As in the request.
        identifier: u16,
        /// As in the request.
        sequence: u16,
    },
    /// Type 3 with any code but 4.
    Unreachable(Unreachable),
    /// Type 3 code 4 (RFC 1191 §4).
    FragmentationNeeded {
        /// The size in bytes that the next hop takes; 0 from a router older than RFC 1191.
        next_hop_mtu: u16,
    },
    /// Type 4, deprecated: "a host MUST NOT react" (RFC 6633 §3).
    SourceQuench,
    /// Type 5; never obeyed: it re-routes by one unauthenticated packet.
    Redirect,
    /// Type 11.
    TimeExceeded(TimeExceeded),
    /// Type 12.
    ParameterProblem {
        /// Octet at which the trouble is.
        pointer: u8,
    },
    /// Any other type.
    Other {
        /// The type.
        kind: u8,
        /// The code.
        code: u8,
    },
}

/// Codes of Destination Unreachable (RFC 792, RFC 1122 §3.2.2.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Unreachable {
    /// 0
    Network,
    /// 1
    Host,
    /// 2
    Protocol,
    /// 3
    Port,
    /// 9, 10, 13: filtered on the way.
    Prohibited(u8),
    /// Any other.
    Other(u8),
}

impl Unreachable {
    /// The code's value.
    pub const fn code(self) -> u8 {
        match self {
            Unreachable::Network => 0,
            Unreachable::Host => 1,
            Unreachable::Protocol => 2,
            Unreachable::Port => 3,
            Unreachable::Prohibited(code) | Unreachable::Other(code) => code,
        }
    }

    const fn from_code(code: u8) -> Self {
        match code {
            0 => Unreachable::Network,
            1 => Unreachable::Host,
            2 => Unreachable::Protocol,
            3 => Unreachable::Port,
            9 | 10 | 13 => Unreachable::Prohibited(code),
            other => Unreachable::Other(other),
        }
    }
}

/// Codes of Time Exceeded (RFC 792).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum TimeExceeded {
    /// 0: the time to live ran out on the way.
    Transit,
    /// 1: a fragment was missing for too long.
    Reassembly,
    /// Any other.
    Other(u8),
}

impl Icmpv4Message {
    /// Whether this is an error message, about which no error may be sent (RFC 1122 §3.2.2).
    ///
    /// A type that nobody knows counts as one: silence is safe.
    pub const fn is_error(&self) -> bool {
        match self {
            Icmpv4Message::EchoRequest { .. } | Icmpv4Message::EchoReply { .. } => false,
            // Timestamp, Information and Address Mask are queries.
            Icmpv4Message::Other { kind, .. } => !matches!(*kind, 9 | 10 | 13..=18),
            _ => true,
        }
    }

    fn parts(&self) -> (u8, u8, u16, u16) {
        match *self {
            Icmpv4Message::EchoReply {
                identifier,
                sequence,
            } => (0, 0, identifier, sequence),
            Icmpv4Message::EchoRequest {
                identifier,
                sequence,
            } => (8, 0, identifier, sequence),
            Icmpv4Message::Unreachable(code) => (3, code.code(), 0, 0),
            Icmpv4Message::FragmentationNeeded { next_hop_mtu } => (3, 4, 0, next_hop_mtu),
            Icmpv4Message::SourceQuench => (4, 0, 0, 0),
            Icmpv4Message::Redirect => (5, 0, 0, 0),
            Icmpv4Message::TimeExceeded(code) => (
                11,
                match code {
                    TimeExceeded::Transit => 0,
                    TimeExceeded::Reassembly => 1,
                    TimeExceeded::Other(code) => code,
                },
                0,
                0,
            ),
            Icmpv4Message::ParameterProblem { pointer } => (12, 0, u16::from(pointer) << 8, 0),
            Icmpv4Message::Other { kind, code } => (kind, code, 0, 0),
        }
    }
}

impl fmt::Display for Icmpv4Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Icmpv4Message::EchoRequest {
                identifier,
                sequence,
            } => write!(f, "ICMP echo request {identifier} {sequence}"),
            Icmpv4Message::EchoReply {
                identifier,
                sequence,
            } => write!(f, "ICMP echo reply {identifier} {sequence}"),
            Icmpv4Message::Unreachable(code) => write!(f, "ICMP unreachable: {code:?}"),
            Icmpv4Message::FragmentationNeeded { next_hop_mtu } => {
                write!(f, "ICMP fragmentation needed, MTU {next_hop_mtu}")
            }
            Icmpv4Message::SourceQuench => f.write_str("ICMP source quench"),
            Icmpv4Message::Redirect => f.write_str("ICMP redirect"),
            Icmpv4Message::TimeExceeded(code) => write!(f, "ICMP time exceeded: {code:?}"),
            Icmpv4Message::ParameterProblem { pointer } => {
                write!(f, "ICMP parameter problem at {pointer}")
            }
            Icmpv4Message::Other { kind, code } => write!(f, "ICMP type {kind} code {code}"),
        }
    }
}

/// A checked view of an ICMP message's header.
#[derive(Debug, Clone, Copy)]
pub struct Icmpv4Packet<'a> {
    header: &'a Header,
    payload: &'a [u8],
}

impl<'a> Icmpv4Packet<'a> {
    /// A view of `first`, the segment that holds the header. The checksum covers all segments
    /// and is verified by who has them.
    ///
    /// # Errors
    /// [`WireError::Truncated`] when the header is not whole.
    pub fn new_checked(first: &'a [u8]) -> Result<Self, WireError> {
        let (header, payload) = Header::ref_from_prefix(first).map_err(|_| WireError::Truncated)?;
        Ok(Icmpv4Packet { header, payload })
    }

    /// The message.
    pub fn message(&self) -> Icmpv4Message {
        let high = self.header.high.get();
        let low = self.header.low.get();
        match (self.header.kind, self.header.code) {
            (0, 0) => Icmpv4Message::EchoReply {
                identifier: high,
                sequence: low,
            },
            (8, 0) => Icmpv4Message::EchoRequest {
                identifier: high,
                sequence: low,
            },
            (3, 4) => Icmpv4Message::FragmentationNeeded { next_hop_mtu: low },
            (3, code) => Icmpv4Message::Unreachable(Unreachable::from_code(code)),
            (4, _) => Icmpv4Message::SourceQuench,
            (5, _) => Icmpv4Message::Redirect,
            (11, 0) => Icmpv4Message::TimeExceeded(TimeExceeded::Transit),
            (11, 1) => Icmpv4Message::TimeExceeded(TimeExceeded::Reassembly),
            (11, code) => Icmpv4Message::TimeExceeded(TimeExceeded::Other(code)),
            (12, _) => Icmpv4Message::ParameterProblem {
                pointer: (high >> 8) as u8,
            },
            (kind, code) => Icmpv4Message::Other { kind, code },
        }
    }

    /// The checksum field.
    pub fn checksum(&self) -> u16 {
        self.header.checksum.get()
    }

    /// What follows the header in this segment: echo data, or the quoted datagram.
    pub fn payload(&self) -> &'a [u8] {
        self.payload
    }
}

impl fmt::Display for Icmpv4Packet<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.message().fmt(f)
    }
}

/// An ICMP header in the machine's terms.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Icmpv4Repr {
    /// The message.
    pub message: Icmpv4Message,
    /// The checksum field.
    pub checksum: u16,
}

impl Icmpv4Repr {
    /// The fields of a checked view.
    pub fn parse(packet: &Icmpv4Packet<'_>) -> Self {
        Icmpv4Repr {
            message: packet.message(),
            checksum: packet.checksum(),
        }
    }

    /// Writes the header.
    pub fn emit(&self, bytes: &mut [u8; HEADER_LEN]) {
        let (kind, code, high, low) = self.message.parts();
        let header = Header {
            kind,
            code,
            checksum: self.checksum.into(),
            high: high.into(),
            low: low.into(),
        };
        bytes.copy_from_slice(header.as_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::super::checksum::checksum;
    use super::*;
    use std::string::ToString;

    const ECHO: [u8; 12] = [
        8, 0, 0x8e, 0xfe, 0x12, 0x34, 0xab, 0xcd, 0xaa, 0x00, 0x00, 0xff,
    ];

    #[test]
    fn parses_the_fixture() {
        assert_eq!(checksum(&ECHO), 0);
        let packet = Icmpv4Packet::new_checked(&ECHO).unwrap();
        assert_eq!(
            packet.message(),
            Icmpv4Message::EchoRequest {
                identifier: 0x1234,
                sequence: 0xabcd
            }
        );
        assert_eq!(packet.payload(), &[0xaa, 0, 0, 0xff]);
        assert_eq!(packet.to_string(), "ICMP echo request 4660 43981");
    }

    #[test]
    fn emits_what_it_parsed_for_every_type_and_code() {
        for kind in 0..=255u8 {
            for code in 0..=255u8 {
                // Types whose rest is not represented are emitted with zeroes there.
                let bytes = match (kind, code) {
                    (0 | 8, 0) => [kind, code, 1, 2, 3, 4, 5, 6],
                    (3, 4) => [kind, code, 1, 2, 0, 0, 5, 6],
                    (4 | 5 | 12, _) => [kind, 0, 1, 2, 0, 0, 0, 0],
                    _ => [kind, code, 1, 2, 0, 0, 0, 0],
                };
                let packet = Icmpv4Packet::new_checked(&bytes).unwrap();
                let mut out = [0; HEADER_LEN];
                Icmpv4Repr::parse(&packet).emit(&mut out);
                assert_eq!(out, bytes);
            }
        }
    }

    #[test]
    fn unknown_types_count_as_errors_and_queries_do_not() {
        let message = |kind| {
            Icmpv4Packet::new_checked(&[kind, 0, 0, 0, 0, 0, 0, 0])
                .unwrap()
                .message()
        };
        for kind in [3, 4, 5, 11, 12, 40, 255] {
            assert!(message(kind).is_error());
        }
        for kind in [0, 8, 13, 14, 15, 16, 17, 18] {
            assert!(!message(kind).is_error());
        }
    }

    #[test]
    fn a_short_message_is_refused() {
        for length in 0..HEADER_LEN {
            assert!(Icmpv4Packet::new_checked(&ECHO[..length]).is_err());
        }
    }
}
