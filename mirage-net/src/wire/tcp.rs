//! TCP headers and options (RFC 9293 §3.1, RFC 7323, RFC 2018, RFC 3168).

use core::fmt;
use core::net::IpAddr;
use core::ops::Deref;

use bitflags::bitflags;
use mirage_core::Frame;
use zerocopy::network_endian::{U16, U32};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::{Checksum, WireError};
use crate::tcp::SequenceNumber;

/// Bytes of a header without options.
pub const HEADER_LEN: usize = 20;
/// Bytes of the longest header (Data Offset 15).
pub const MAX_HEADER_LEN: usize = 60;
/// Bytes of options that the longest header has.
pub const MAX_OPTIONS_LEN: usize = MAX_HEADER_LEN - HEADER_LEN;
/// Offset of the checksum in the header.
pub const CHECKSUM_OFFSET: usize = 16;
/// The largest window scale (RFC 7323 §2.3); a larger one is taken for this.
pub const MAX_WINDOW_SCALE: u8 = 14;
/// The MSS of an IPv4 peer that states none (RFC 9293 §3.7.1, MUST-15).
pub const DEFAULT_MAXIMUM_SEGMENT_SIZE: u16 = 536;
/// Bytes that timestamps take of each segment, with the padding that aligns them (RFC 7323 appendix A).
pub const TIMESTAMPS_LEN: usize = 12;

/// IANA's number of the protocol, in the pseudo header.
const PROTOCOL: u8 = 6;

bitflags! {
    /// The control bits (RFC 9293 §3.1).
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
    pub struct TcpFlags: u8 {
        /// No more data from the sender.
        const FIN = 0x01;
        /// Synchronise sequence numbers.
        const SYN = 0x02;
        /// Reset the connection.
        const RST = 0x04;
        /// Push.
        const PSH = 0x08;
        /// The acknowledgement field counts.
        const ACK = 0x10;
        /// The urgent pointer counts.
        const URG = 0x20;
        /// ECN-Echo (RFC 3168 §6.1).
        const ECE = 0x40;
        /// Congestion Window Reduced (RFC 3168 §6.1).
        const CWR = 0x80;
    }
}

impl fmt::Display for TcpFlags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_empty() {
            return f.write_str("no flags");
        }
        for (number, (name, _)) in self.iter_names().enumerate() {
            if number > 0 {
                f.write_str(" ")?;
            }
            f.write_str(name)?;
        }
        Ok(())
    }
}

/// A header without options as it lies in memory.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct Header {
    source_port: U16,
    destination_port: U16,
    sequence: U32,
    acknowledgement: U32,
    /// Data Offset in 32-bit words, and four reserved bits.
    data_offset: u8,
    flags: u8,
    window: U16,
    checksum: U16,
    urgent: U16,
}

/// A checked view of a segment's header.
#[derive(Debug, Clone, Copy)]
pub struct TcpPacket<'a> {
    header: &'a Header,
    options: &'a [u8],
}

impl<'a> TcpPacket<'a> {
    /// A view of `first`, the part of an IP payload of `available` bytes that lies in one piece: it must hold the whole
    /// header with its options. The checksum is not looked at: it covers all segments and a pseudo header.
    ///
    /// # Errors
    /// [`WireError::Truncated`] when the header is not whole, [`WireError::Malformed`] for a data offset below 5.
    #[inline]
    pub fn new_checked(first: &'a [u8], available: usize) -> Result<Self, WireError> {
        let (header, rest) = Header::ref_from_prefix(first).map_err(|_| WireError::Truncated)?;
        let header_len = usize::from(header.data_offset >> 4) * 4;
        let Some(options_len) = header_len.checked_sub(HEADER_LEN) else {
            return Err(WireError::Malformed);
        };
        let Some(options) = rest.get(..options_len) else {
            return Err(WireError::Truncated);
        };
        if header_len > available {
            return Err(WireError::Truncated);
        }
        Ok(TcpPacket { header, options })
    }

    /// Source port.
    pub fn source_port(&self) -> u16 {
        self.header.source_port.get()
    }

    /// Destination port.
    pub fn destination_port(&self) -> u16 {
        self.header.destination_port.get()
    }

    /// Sequence number of the first octet of data, or of the SYN.
    pub fn sequence(&self) -> SequenceNumber {
        SequenceNumber::new(self.header.sequence.get())
    }

    /// The next sequence number that the sender expects; means something with [`TcpFlags::ACK`] alone.
    pub fn acknowledgement(&self) -> SequenceNumber {
        SequenceNumber::new(self.header.acknowledgement.get())
    }

    /// Header length with options, in bytes: 20 to 60.
    pub fn header_len(&self) -> usize {
        HEADER_LEN + self.options.len()
    }

    /// The control bits.
    pub fn flags(&self) -> TcpFlags {
        TcpFlags::from_bits_retain(self.header.flags)
    }

    /// The window as the field has it: not scaled.
    pub fn window(&self) -> u16 {
        self.header.window.get()
    }

    /// The checksum.
    pub fn checksum(&self) -> u16 {
        self.header.checksum.get()
    }

    /// The urgent pointer; means something with [`TcpFlags::URG`] alone.
    pub fn urgent(&self) -> u16 {
        self.header.urgent.get()
    }

    /// The options, one by one.
    pub fn options(&self) -> TcpOptionIter<'a> {
        TcpOptionIter { rest: self.options }
    }
}

impl fmt::Display for TcpPacket<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        TcpRepr::parse(self).fmt(f)
    }
}

/// What an ICMP error quotes of a segment: the first eight octets at least (RFC 792), which is enough to find the
/// connection and to see whether the sequence number is one that it sent (RFC 5927 §4.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TcpQuote {
    /// Source port.
    pub source_port: u16,
    /// Destination port.
    pub destination_port: u16,
    /// Sequence number.
    pub sequence: SequenceNumber,
}

impl TcpQuote {
    /// The fields of a quoted header.
    ///
    /// # Errors
    /// [`WireError::Truncated`] when fewer than 8 bytes are quoted.
    pub fn new(quoted: &[u8]) -> Result<Self, WireError> {
        #[derive(FromBytes, KnownLayout, Immutable, Unaligned)]
        #[repr(C)]
        struct Start {
            source_port: U16,
            destination_port: U16,
            sequence: U32,
        }
        let (start, _) = Start::ref_from_prefix(quoted).map_err(|_| WireError::Truncated)?;
        Ok(TcpQuote {
            source_port: start.source_port.get(),
            destination_port: start.destination_port.get(),
            sequence: SequenceNumber::new(start.sequence.get()),
        })
    }
}

/// One option of a header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum TcpOption<'a> {
    /// Kind 2 (RFC 9293 §3.2): the largest payload that the sender takes.
    MaximumSegmentSize(u16),
    /// Kind 3 (RFC 7323 §2.2): the shift, as sent.
    WindowScale(u8),
    /// Kind 4 (RFC 2018 §2).
    SackPermitted,
    /// Kind 5 (RFC 2018 §3).
    Sack(SackBlocks),
    /// Kind 8 (RFC 7323 §3.2).
    Timestamps(Timestamps),
    /// Another kind, or one of the above with a length that isn't its own: to be ignored (RFC 9293 §3.1, MUST-6).
    Other(u8, &'a [u8]),
}

/// The options of a header: ends at the End of Option List, and where a length is impossible (RFC 9293 §3.1, MUST-7).
#[derive(Debug, Clone)]
pub struct TcpOptionIter<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for TcpOptionIter<'a> {
    type Item = TcpOption<'a>;

    fn next(&mut self) -> Option<TcpOption<'a>> {
        loop {
            let (&kind, rest) = self.rest.split_first()?;
            match kind {
                END_OF_LIST => {
                    self.rest = &[];
                    return None;
                }
                NO_OPERATION => self.rest = rest,
                _ => {
                    let length = usize::from(*rest.first().unwrap_or(&0));
                    let (Some(body), Some(behind)) =
                        (self.rest.get(2..length), self.rest.get(length..))
                    else {
                        self.rest = &[];
                        return None;
                    };
                    self.rest = behind;
                    return Some(option(kind, body));
                }
            }
        }
    }
}

const END_OF_LIST: u8 = 0;
const NO_OPERATION: u8 = 1;
const MAXIMUM_SEGMENT_SIZE: u8 = 2;
const WINDOW_SCALE: u8 = 3;
const SACK_PERMITTED: u8 = 4;
const SACK: u8 = 5;
const TIMESTAMPS: u8 = 8;

fn option(kind: u8, body: &[u8]) -> TcpOption<'_> {
    match (kind, body) {
        (MAXIMUM_SEGMENT_SIZE, &[a, b]) => {
            TcpOption::MaximumSegmentSize(u16::from_be_bytes([a, b]))
        }
        (WINDOW_SCALE, &[shift]) => TcpOption::WindowScale(shift),
        (SACK_PERMITTED, &[]) => TcpOption::SackPermitted,
        (SACK, edges) if matches!(edges.len(), 8 | 16 | 24 | 32) => {
            let mut blocks = SackBlocks::default();
            for edges in edges.chunks_exact(8) {
                blocks.push(SackBlock {
                    left: SequenceNumber::new(word(edges, 0)),
                    right: SequenceNumber::new(word(edges, 4)),
                });
            }
            TcpOption::Sack(blocks)
        }
        (TIMESTAMPS, body) if body.len() == 8 => TcpOption::Timestamps(Timestamps {
            value: word(body, 0),
            echo: word(body, 4),
        }),
        _ => TcpOption::Other(kind, body),
    }
}

/// The four octets at `offset`, where there are as many.
#[inline]
fn word(bytes: &[u8], offset: usize) -> u32 {
    let word = bytes.get(offset..).and_then(|bytes| bytes.first_chunk());
    u32::from_be_bytes(*word.unwrap_or(&[0; 4]))
}

/// Octets that a receiver has, out of order (RFC 2018 §3); or had already (RFC 2883).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SackBlock {
    /// The first of them.
    pub left: SequenceNumber,
    /// The one behind the last of them.
    pub right: SequenceNumber,
}

/// Up to four SACK blocks, which is what the options have room for.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub struct SackBlocks {
    blocks: [SackBlock; SackBlocks::MAX],
    count: u8,
}

impl SackBlocks {
    /// The most blocks that a header has room for; three beside timestamps.
    pub const MAX: usize = 4;

    /// None.
    pub const EMPTY: Self = SackBlocks {
        blocks: [SackBlock {
            left: SequenceNumber::new(0),
            right: SequenceNumber::new(0),
        }; SackBlocks::MAX],
        count: 0,
    };

    /// Adds a block; says whether there was room.
    pub fn push(&mut self, block: SackBlock) -> bool {
        let place = self.blocks.get_mut(usize::from(self.count));
        let has_room = place.is_some();
        if let Some(place) = place {
            *place = block;
            self.count += 1;
        }
        has_room
    }

    /// Takes all blocks away.
    pub fn clear(&mut self) {
        self.count = 0;
    }
}

impl Deref for SackBlocks {
    type Target = [SackBlock];

    fn deref(&self) -> &[SackBlock] {
        self.blocks.get(..usize::from(self.count)).unwrap_or(&[])
    }
}

impl fmt::Debug for SackBlocks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

/// The two values of the timestamps option (RFC 7323 §3.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Timestamps {
    /// TSval: the sender's clock.
    pub value: u32,
    /// TSecr: a value of the receiver's clock, come back. Means something with [`TcpFlags::ACK`] alone.
    pub echo: u32,
}

/// The options that this stack speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct TcpOptions {
    /// The largest payload that the sender takes, in bytes; with SYN alone.
    pub maximum_segment_size: Option<u16>,
    /// The shift of the windows that the sender will state, at most [`MAX_WINDOW_SCALE`]; with SYN alone.
    pub window_scale: Option<u8>,
    /// The sender understands SACK; with SYN alone.
    pub sack_permitted: bool,
    /// What the sender has received out of order.
    pub sack: SackBlocks,
    /// Timestamps.
    pub timestamps: Option<Timestamps>,
}

impl TcpOptions {
    /// None.
    pub const NONE: Self = TcpOptions {
        maximum_segment_size: None,
        window_scale: None,
        sack_permitted: false,
        sack: SackBlocks::EMPTY,
        timestamps: None,
    };

    /// The options of a view. Of an option that comes twice the last one counts.
    pub fn parse(packet: &TcpPacket<'_>) -> Self {
        let mut options = Self::NONE;
        // What nearly every segment of a connection has, in the order that RFC 7323 appendix A recommends.
        if let [NO_OPERATION, NO_OPERATION, TIMESTAMPS, 10, values @ ..] = packet.options
            && values.len() == 8
        {
            options.timestamps = Some(Timestamps {
                value: word(values, 0),
                echo: word(values, 4),
            });
            return options;
        }
        for option in packet.options() {
            match option {
                TcpOption::MaximumSegmentSize(size) => options.maximum_segment_size = Some(size),
                TcpOption::WindowScale(shift) => {
                    options.window_scale = Some(shift.min(MAX_WINDOW_SCALE))
                }
                TcpOption::SackPermitted => options.sack_permitted = true,
                TcpOption::Sack(blocks) => options.sack = blocks,
                TcpOption::Timestamps(timestamps) => options.timestamps = Some(timestamps),
                TcpOption::Other(..) => {}
            }
        }
        options
    }

    /// Bytes that they take in a header, padding included: a multiple of 4, at most [`MAX_OPTIONS_LEN`].
    pub fn len(&self) -> usize {
        self.fixed_len() + Self::sack_len(self.sack_that_fits())
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    #[inline(always)]
    fn fixed_len(&self) -> usize {
        // SACK-permitted takes the place of the padding of the timestamps.
        let paired = match (self.sack_permitted, self.timestamps) {
            (false, None) => 0,
            (true, None) => 4,
            (_, Some(_)) => TIMESTAMPS_LEN,
        };
        let size = if self.maximum_segment_size.is_some() {
            4
        } else {
            0
        };
        let scale = if self.window_scale.is_some() { 4 } else { 0 };
        size + paired + scale
    }

    fn sack_len(blocks: usize) -> usize {
        if blocks == 0 { 0 } else { 4 + 8 * blocks }
    }

    /// How many of the SACK blocks there is room for.
    #[inline(always)]
    fn sack_that_fits(&self) -> usize {
        let room = MAX_OPTIONS_LEN - self.fixed_len();
        self.sack.len().min(room.saturating_sub(4) / 8)
    }

    /// Writes them, and says how many bytes they are.
    fn emit(&self, bytes: &mut [u8; MAX_OPTIONS_LEN]) -> usize {
        let mut writer = Writer { bytes, length: 0 };
        if let Some(size) = self.maximum_segment_size {
            let [high, low] = size.to_be_bytes();
            writer.put([MAXIMUM_SEGMENT_SIZE, 4, high, low]);
        }
        match (self.sack_permitted, self.timestamps) {
            (true, Some(_)) => writer.put([SACK_PERMITTED, 2]),
            (true, None) => writer.put([NO_OPERATION, NO_OPERATION, SACK_PERMITTED, 2]),
            (false, Some(_)) => writer.put([NO_OPERATION, NO_OPERATION]),
            (false, None) => {}
        }
        if let Some(Timestamps { value, echo }) = self.timestamps {
            writer.put([TIMESTAMPS, 10]);
            writer.put(value.to_be_bytes());
            writer.put(echo.to_be_bytes());
        }
        if let Some(shift) = self.window_scale {
            writer.put([NO_OPERATION, WINDOW_SCALE, 3, shift]);
        }
        let blocks = self.sack_that_fits();
        if blocks > 0 {
            writer.put([NO_OPERATION, NO_OPERATION, SACK, 2 + 8 * blocks as u8]);
            for block in self.sack.iter().take(blocks) {
                writer.put(block.left.get().to_be_bytes());
                writer.put(block.right.get().to_be_bytes());
            }
        }
        writer.length
    }
}

/// Appends to an array; what doesn't fit is left out.
struct Writer<'a> {
    bytes: &'a mut [u8; MAX_OPTIONS_LEN],
    length: usize,
}

impl Writer<'_> {
    #[inline]
    fn put<const N: usize>(&mut self, part: [u8; N]) {
        if let Some(room) = self.bytes.get_mut(self.length..self.length + N) {
            room.copy_from_slice(&part);
            self.length += N;
        }
    }
}

/// A segment's header in the machine's terms.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct TcpRepr {
    /// Source port.
    pub source_port: u16,
    /// Destination port.
    pub destination_port: u16,
    /// Sequence number of the first octet of data, or of the SYN.
    pub sequence: SequenceNumber,
    /// The next sequence number that the sender expects, where [`TcpFlags::ACK`] is set.
    pub acknowledgement: SequenceNumber,
    /// The control bits.
    pub flags: TcpFlags,
    /// The window as the field has it: not scaled.
    pub window: u16,
    /// The field's value: a checksum, or a partial sum for the device.
    pub checksum: u16,
    /// The urgent pointer.
    pub urgent: u16,
    /// The options.
    pub options: TcpOptions,
}

impl TcpRepr {
    /// The fields of a checked view. Options of other kinds are left out.
    #[inline]
    pub fn parse(packet: &TcpPacket<'_>) -> Self {
        TcpRepr {
            source_port: packet.source_port(),
            destination_port: packet.destination_port(),
            sequence: packet.sequence(),
            acknowledgement: packet.acknowledgement(),
            flags: packet.flags(),
            window: packet.window(),
            checksum: packet.checksum(),
            urgent: packet.urgent(),
            options: TcpOptions::parse(packet),
        }
    }

    /// Bytes of the header, options and padding included: a multiple of 4, from 20 to 60.
    pub fn header_len(&self) -> usize {
        HEADER_LEN + self.options.len()
    }

    /// Writes the header, and says how many bytes of the array it is: [`header_len`](Self::header_len).
    ///
    /// SACK blocks that find no room beside the other options are left out, the last ones first.
    pub fn emit(&self, bytes: &mut [u8; MAX_HEADER_LEN]) -> usize {
        let mut options = [END_OF_LIST; MAX_OPTIONS_LEN];
        let length = HEADER_LEN + self.options.emit(&mut options);
        let header = Header {
            source_port: self.source_port.into(),
            destination_port: self.destination_port.into(),
            sequence: self.sequence.get().into(),
            acknowledgement: self.acknowledgement.get().into(),
            data_offset: ((length / 4) << 4) as u8,
            flags: self.flags.bits(),
            window: self.window.into(),
            checksum: self.checksum.into(),
            urgent: self.urgent.into(),
        };
        let (first, rest) = bytes.split_at_mut(HEADER_LEN);
        first.copy_from_slice(header.as_bytes());
        rest.copy_from_slice(&options);
        length
    }
}

impl fmt::Display for TcpRepr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "TCP {} > {} {} seq {}",
            self.source_port, self.destination_port, self.flags, self.sequence
        )?;
        if self.flags.contains(TcpFlags::ACK) {
            write!(f, " ack {}", self.acknowledgement)?;
        }
        write!(f, " win {}", self.window)
    }
}

/// The checksum of a segment (RFC 9293 §3.1): what belongs into the field of a `header` where that is zero; zero when it
/// is verified over a header with the right one.
///
/// `header` is the header alone, `payload` what follows. A payload is never longer than an IP packet.
pub fn segment_checksum(
    source: IpAddr,
    destination: IpAddr,
    header: &[u8],
    payload: &Frame,
) -> u16 {
    let mut sum = Checksum::new();
    let length = header.len().saturating_add(payload.len());
    sum.add_pseudo_header(source, destination, PROTOCOL, length as u32);
    sum.add_bytes(header);
    for segment in payload.segments() {
        sum.add_bytes(segment);
    }
    sum.finish()
}

#[cfg(test)]
mod tests;
