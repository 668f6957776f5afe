//! DHCP (RFC 2131) and its options (RFC 2132).
//!
//! A message is a fixed header of 236 bytes, a magic cookie, and options. [`DhcpPacket`] reads one: the options of the
//! options field, and of the fields `file` and `sname` where the message says that those hold options as well
//! (option 52, RFC 2132 §9.3). An option that comes in several parts is one value (RFC 3396): [`DhcpPacket::option`]
//! gives its bytes as if they lay in a row. [`DhcpWriter`] writes one, and does both where it must.
//!
//! ```
//! use mirage_net::wire::{DhcpMessageType, DhcpOperation, DhcpPacket, DhcpRepr, DhcpWriter, dhcp};
//!
//! let mut buffer = [0; 548];
//! let repr = DhcpRepr { transaction: 7, ..DhcpRepr::new(DhcpOperation::Request) };
//! let mut writer = DhcpWriter::new(&mut buffer, &repr).unwrap();
//! writer.message_type(DhcpMessageType::Discover).unwrap();
//! let length = writer.finish();
//!
//! let packet = DhcpPacket::new_checked(&buffer[..length]).unwrap();
//! assert_eq!(packet.message_type(), Some(DhcpMessageType::Discover));
//! assert_eq!(packet.u8(dhcp::option::MESSAGE_TYPE), Some(1));
//! assert!(packet.option(dhcp::option::ROUTER).is_none());
//! ```

mod options;
mod route;
#[cfg(test)]
mod tests;
mod writer;

pub use options::{DhcpOption, DhcpOptionBytes};
pub use route::{ClasslessRoute, ClasslessRoutes, write_classless_route};
pub use writer::{DhcpFull, DhcpWriter};

use core::fmt;
use core::net::Ipv4Addr;

use mirage_core::MacAddress;
use zerocopy::network_endian::{U16, U32};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::WireError;

/// The port that servers and relay agents listen to (RFC 2131 §4.1).
pub const SERVER_PORT: u16 = 67;
/// The port that clients listen to (RFC 2131 §4.1).
pub const CLIENT_PORT: u16 = 68;
/// Bytes of the header, magic cookie included: where the options begin.
pub const HEADER_LEN: usize = 240;
/// Bytes of the longest message that everyone takes: what fits into a datagram of 576 bytes (RFC 2131 §2).
pub const MESSAGE_LEN: usize = 576 - 20 - 8;
/// Bytes of the shortest message that is sent: that of BOOTP, below which some relay agents drop (RFC 1542 §2.1).
pub const SHORTEST_LEN: usize = 300;
/// "The first four octets of the 'options' field" (RFC 2131 §3).
pub const MAGIC_COOKIE: [u8; 4] = [99, 130, 83, 99];

/// Codes of options (RFC 2132 and the RFCs named).
pub mod option {
    /// Padding, without a length.
    pub const PAD: u8 = 0;
    /// Subnet Mask (§3.3).
    pub const SUBNET_MASK: u8 = 1;
    /// Router (§3.5).
    pub const ROUTER: u8 = 3;
    /// Domain Name Server (§3.8).
    pub const DOMAIN_NAME_SERVER: u8 = 6;
    /// Host Name (§3.14).
    pub const HOST_NAME: u8 = 12;
    /// Domain Name (§3.17).
    pub const DOMAIN_NAME: u8 = 15;
    /// Interface MTU (§5.1).
    pub const INTERFACE_MTU: u8 = 26;
    /// Broadcast Address (§5.3).
    pub const BROADCAST_ADDRESS: u8 = 28;
    /// Network Time Protocol Servers (§8.3).
    pub const NTP_SERVERS: u8 = 42;
    /// Requested IP Address (§9.1).
    pub const REQUESTED_ADDRESS: u8 = 50;
    /// IP Address Lease Time (§9.2).
    pub const LEASE_TIME: u8 = 51;
    /// Option Overload (§9.3).
    pub const OVERLOAD: u8 = 52;
    /// DHCP Message Type (§9.6).
    pub const MESSAGE_TYPE: u8 = 53;
    /// Server Identifier (§9.7).
    pub const SERVER_IDENTIFIER: u8 = 54;
    /// Parameter Request List (§9.8).
    pub const PARAMETER_LIST: u8 = 55;
    /// Message (§9.9).
    pub const MESSAGE: u8 = 56;
    /// Maximum DHCP Message Size (§9.10).
    pub const MAX_MESSAGE_SIZE: u8 = 57;
    /// Renewal (T1) Time Value (§9.11).
    pub const RENEWAL_TIME: u8 = 58;
    /// Rebinding (T2) Time Value (§9.12).
    pub const REBINDING_TIME: u8 = 59;
    /// Vendor class identifier (§9.13).
    pub const VENDOR_CLASS: u8 = 60;
    /// Client-identifier (§9.14).
    pub const CLIENT_IDENTIFIER: u8 = 61;
    /// Relay Agent Information (RFC 3046).
    pub const RELAY_AGENT: u8 = 82;
    /// Classless Static Route (RFC 3442).
    pub const CLASSLESS_ROUTES: u8 = 121;
    /// The end of a field's options, without a length.
    pub const END: u8 = 255;
}

/// `op`: who speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DhcpOperation {
    /// BOOTREQUEST: a client.
    Request,
    /// BOOTREPLY: a server.
    Reply,
}

/// Option 53: what a message is (RFC 2132 §9.6).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DhcpMessageType {
    /// A client looks for servers.
    Discover,
    /// A server's answer to that.
    Offer,
    /// A client asks for what was offered, or for what it had.
    Request,
    /// The address is in use, says a client.
    Decline,
    /// A server gives the address.
    Ack,
    /// A server refuses it.
    Nak,
    /// A client gives the address back.
    Release,
    /// A client asks for options alone.
    Inform,
}

impl DhcpMessageType {
    /// The number on the wire.
    pub const fn to_u8(self) -> u8 {
        match self {
            DhcpMessageType::Discover => 1,
            DhcpMessageType::Offer => 2,
            DhcpMessageType::Request => 3,
            DhcpMessageType::Decline => 4,
            DhcpMessageType::Ack => 5,
            DhcpMessageType::Nak => 6,
            DhcpMessageType::Release => 7,
            DhcpMessageType::Inform => 8,
        }
    }

    /// The type of a number; none for those that this crate doesn't speak (RFC 4388, 6926 …).
    pub const fn from_u8(number: u8) -> Option<Self> {
        Some(match number {
            1 => DhcpMessageType::Discover,
            2 => DhcpMessageType::Offer,
            3 => DhcpMessageType::Request,
            4 => DhcpMessageType::Decline,
            5 => DhcpMessageType::Ack,
            6 => DhcpMessageType::Nak,
            7 => DhcpMessageType::Release,
            8 => DhcpMessageType::Inform,
            _ => return None,
        })
    }
}

impl fmt::Display for DhcpMessageType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            DhcpMessageType::Discover => "DHCPDISCOVER",
            DhcpMessageType::Offer => "DHCPOFFER",
            DhcpMessageType::Request => "DHCPREQUEST",
            DhcpMessageType::Decline => "DHCPDECLINE",
            DhcpMessageType::Ack => "DHCPACK",
            DhcpMessageType::Nak => "DHCPNAK",
            DhcpMessageType::Release => "DHCPRELEASE",
            DhcpMessageType::Inform => "DHCPINFORM",
        })
    }
}

/// `htype`, `hlen` and `chaddr`: a client's hardware address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct DhcpHardware {
    kind: u8,
    length: u8,
    bytes: [u8; 16],
}

impl DhcpHardware {
    /// `htype` of Ethernet (RFC 1700's ARP section).
    pub const ETHERNET: u8 = 1;

    /// An Ethernet address.
    pub const fn ethernet(mac: MacAddress) -> Self {
        let [a, b, c, d, e, f] = mac.0;
        DhcpHardware {
            kind: Self::ETHERNET,
            length: 6,
            bytes: [a, b, c, d, e, f, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
        }
    }

    /// An address of any kind; none above 16 bytes.
    pub fn new(kind: u8, address: &[u8]) -> Option<Self> {
        let mut bytes = [0; 16];
        bytes.get_mut(..address.len())?.copy_from_slice(address);
        Some(DhcpHardware {
            kind,
            length: address.len() as u8,
            bytes,
        })
    }

    /// `htype`: 1 for Ethernet.
    pub const fn kind(&self) -> u8 {
        self.kind
    }

    /// The address: at most 16 bytes, none at all for hardware whose addresses are longer (RFC 4390).
    pub fn as_bytes(&self) -> &[u8] {
        self.bytes
            .get(..usize::from(self.length))
            .unwrap_or(&self.bytes)
    }

    /// The address, if it is Ethernet's and one station's.
    pub fn mac(&self) -> Option<MacAddress> {
        if self.kind != Self::ETHERNET || self.length != 6 {
            return None;
        }
        let mac = MacAddress(*self.bytes.first_chunk()?);
        mac.is_unicast().then_some(mac)
    }
}

impl fmt::Display for DhcpHardware {
    /// The kind, unless it is Ethernet, and the address in hexadecimal.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.kind != Self::ETHERNET {
            write!(f, "{}/", self.kind)?;
        }
        for (index, byte) in self.as_bytes().iter().enumerate() {
            let colon = if index == 0 { "" } else { ":" };
            write!(f, "{colon}{byte:02x}")?;
        }
        Ok(())
    }
}

/// The header as it lies in memory (RFC 2131 §2, figure 1).
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct Header {
    op: u8,
    htype: u8,
    hlen: u8,
    hops: u8,
    xid: U32,
    secs: U16,
    flags: U16,
    ciaddr: [u8; 4],
    yiaddr: [u8; 4],
    siaddr: [u8; 4],
    giaddr: [u8; 4],
    chaddr: [u8; 16],
    sname: [u8; 64],
    file: [u8; 128],
    cookie: [u8; 4],
}

const _: () = assert!(size_of::<Header>() == HEADER_LEN);

/// `flags`: the leftmost bit is BROADCAST, "the remaining bits of the flags field are reserved" (RFC 2131 §2).
const BROADCAST: u16 = 0x8000;

/// A checked view of a message: of its header, and of all fields that hold options.
#[derive(Debug, Clone, Copy)]
pub struct DhcpPacket<'a> {
    header: &'a Header,
    /// The options field, and, if they hold options, `file` and `sname`: in the order in which an option's parts are
    /// put together (RFC 3396 §5).
    fields: [&'a [u8]; 3],
}

impl<'a> DhcpPacket<'a> {
    /// A view of a UDP payload.
    ///
    /// # Errors
    /// [`WireError::Truncated`] when the header is not whole, or an option ends behind its field;
    /// [`WireError::Unsupported`] without the magic cookie (BOOTP); [`WireError::Malformed`] for an `op` that is neither
    /// request nor reply, an `hlen` above 16, or an option 52 whose value is not 1, 2 or 3. A field of options that has no
    /// End is taken, for there are such senders.
    pub fn new_checked(bytes: &'a [u8]) -> Result<Self, WireError> {
        let (header, options) = Header::ref_from_prefix(bytes).map_err(|_| WireError::Truncated)?;
        if header.cookie != MAGIC_COOKIE {
            return Err(WireError::Unsupported);
        }
        if !matches!(header.op, 1 | 2) || header.hlen > 16 {
            return Err(WireError::Malformed);
        }
        let mut packet = DhcpPacket {
            header,
            fields: [options, &[], &[]],
        };
        if !options::is_whole(options) {
            return Err(WireError::Truncated);
        }
        if packet.option(option::OVERLOAD).is_some() {
            match packet.u8(option::OVERLOAD) {
                Some(1) => packet.fields[1] = &header.file,
                Some(2) => packet.fields[2] = &header.sname,
                Some(3) => packet.fields = [options, &header.file, &header.sname],
                _ => return Err(WireError::Malformed),
            }
        }
        if !packet.fields[1..]
            .iter()
            .all(|field| options::is_whole(field))
        {
            return Err(WireError::Truncated);
        }
        Ok(packet)
    }

    /// Who speaks.
    pub fn operation(&self) -> DhcpOperation {
        match self.header.op {
            1 => DhcpOperation::Request,
            _ => DhcpOperation::Reply,
        }
    }

    /// `hops`: relay agents that it came through, as they say.
    pub fn hops(&self) -> u8 {
        self.header.hops
    }

    /// `xid`: the number of the exchange.
    pub fn transaction(&self) -> u32 {
        self.header.xid.get()
    }

    /// `secs`: seconds since the client began.
    pub fn seconds(&self) -> u16 {
        self.header.secs.get()
    }

    /// The flag BROADCAST: the client can't receive unicast datagrams before it is configured.
    pub fn broadcast(&self) -> bool {
        self.header.flags.get() & BROADCAST != 0
    }

    /// `ciaddr`: the client's address, where it has one that it can answer ARP for; else unspecified.
    pub fn client_address(&self) -> Ipv4Addr {
        self.header.ciaddr.into()
    }

    /// `yiaddr`: "your" address.
    pub fn your_address(&self) -> Ipv4Addr {
        self.header.yiaddr.into()
    }

    /// `siaddr`: the next server of a bootstrap.
    pub fn next_server(&self) -> Ipv4Addr {
        self.header.siaddr.into()
    }

    /// `giaddr`: the relay agent's address; unspecified without one.
    pub fn relay_address(&self) -> Ipv4Addr {
        self.header.giaddr.into()
    }

    /// The client's hardware address.
    pub fn hardware(&self) -> DhcpHardware {
        let mut bytes = [0; 16];
        let length = usize::from(self.header.hlen).min(16);
        bytes[..length].copy_from_slice(&self.header.chaddr[..length]);
        DhcpHardware {
            kind: self.header.htype,
            length: length as u8,
            bytes,
        }
    }

    /// The type of the message; none without option 53, or for a type that this crate doesn't speak.
    pub fn message_type(&self) -> Option<DhcpMessageType> {
        DhcpMessageType::from_u8(self.u8(option::MESSAGE_TYPE)?)
    }

    /// An option's value, whole; none if the message hasn't got it.
    pub fn option(&self, code: u8) -> Option<DhcpOption<'a>> {
        DhcpOption::find(self.fields, code)
    }

    /// The value of an option of one byte; none if it has another length.
    pub fn u8(&self, code: u8) -> Option<u8> {
        self.array(code).map(u8::from_be_bytes)
    }

    /// The value of an option of two bytes.
    pub fn u16(&self, code: u8) -> Option<u16> {
        self.array(code).map(u16::from_be_bytes)
    }

    /// The value of an option of four bytes.
    pub fn u32(&self, code: u8) -> Option<u32> {
        self.array(code).map(u32::from_be_bytes)
    }

    /// The value of an option that is one address.
    pub fn address(&self, code: u8) -> Option<Ipv4Addr> {
        self.array::<4>(code).map(Ipv4Addr::from)
    }

    /// The addresses of an option that is a list of them; none at all if its length is no multiple of 4.
    pub fn addresses(&self, code: u8) -> impl Iterator<Item = Ipv4Addr> + use<'a> {
        let option = self.option(code).filter(|option| option.len() % 4 == 0);
        let mut bytes = option.map(|option| option.bytes());
        core::iter::from_fn(move || {
            let bytes = bytes.as_mut()?;
            Some(Ipv4Addr::new(
                bytes.next()?,
                bytes.next()?,
                bytes.next()?,
                bytes.next()?,
            ))
        })
    }

    fn array<const LENGTH: usize>(&self, code: u8) -> Option<[u8; LENGTH]> {
        let option = self.option(code)?;
        if option.len() != LENGTH {
            return None;
        }
        let mut array = [0; LENGTH];
        option.copy_to(&mut array)?;
        Some(array)
    }
}

impl fmt::Display for DhcpPacket<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.message_type() {
            Some(kind) => kind.fmt(f)?,
            None => f.write_str("DHCP")?,
        }
        write!(f, " {:#010x} {}", self.transaction(), self.hardware())?;
        if !self.your_address().is_unspecified() {
            write!(f, " {}", self.your_address())?;
        }
        Ok(())
    }
}

/// A header in the machine's terms. `sname` and `file` are empty, unless options are written into them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DhcpRepr {
    /// Who speaks.
    pub operation: DhcpOperation,
    /// `hops`.
    pub hops: u8,
    /// `xid`.
    pub transaction: u32,
    /// `secs`.
    pub seconds: u16,
    /// The flag BROADCAST.
    pub broadcast: bool,
    /// `ciaddr`.
    pub client_address: Ipv4Addr,
    /// `yiaddr`.
    pub your_address: Ipv4Addr,
    /// `siaddr`.
    pub next_server: Ipv4Addr,
    /// `giaddr`.
    pub relay_address: Ipv4Addr,
    /// `htype`, `hlen`, `chaddr`.
    pub hardware: DhcpHardware,
}

impl DhcpRepr {
    /// All fields zero.
    pub const fn new(operation: DhcpOperation) -> Self {
        DhcpRepr {
            operation,
            hops: 0,
            transaction: 0,
            seconds: 0,
            broadcast: false,
            client_address: Ipv4Addr::UNSPECIFIED,
            your_address: Ipv4Addr::UNSPECIFIED,
            next_server: Ipv4Addr::UNSPECIFIED,
            relay_address: Ipv4Addr::UNSPECIFIED,
            hardware: DhcpHardware {
                kind: 0,
                length: 0,
                bytes: [0; 16],
            },
        }
    }

    /// The fields of a checked view.
    pub fn parse(packet: &DhcpPacket<'_>) -> Self {
        DhcpRepr {
            operation: packet.operation(),
            hops: packet.hops(),
            transaction: packet.transaction(),
            seconds: packet.seconds(),
            broadcast: packet.broadcast(),
            client_address: packet.client_address(),
            your_address: packet.your_address(),
            next_server: packet.next_server(),
            relay_address: packet.relay_address(),
            hardware: packet.hardware(),
        }
    }

    /// Writes the header, magic cookie included.
    pub fn emit(&self, bytes: &mut [u8; HEADER_LEN]) {
        let header = Header {
            op: match self.operation {
                DhcpOperation::Request => 1,
                DhcpOperation::Reply => 2,
            },
            htype: self.hardware.kind,
            hlen: self.hardware.length,
            hops: self.hops,
            xid: self.transaction.into(),
            secs: self.seconds.into(),
            flags: if self.broadcast { BROADCAST } else { 0 }.into(),
            ciaddr: self.client_address.octets(),
            yiaddr: self.your_address.octets(),
            siaddr: self.next_server.octets(),
            giaddr: self.relay_address.octets(),
            chaddr: self.hardware.bytes,
            sname: [0; 64],
            file: [0; 128],
            cookie: MAGIC_COOKIE,
        };
        bytes.copy_from_slice(header.as_bytes());
    }
}
