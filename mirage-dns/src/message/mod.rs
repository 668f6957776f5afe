//! The wire format of messages (RFC 1035 §4): a zero-copy reader and a builder with name compression.
//!
//! | type | what it is |
//! |------|------------|
//! | [`MessageReader`] | a received message; iterates over questions and records without copying |
//! | [`Record`] | one record where it lies; decompresses its owner and rdata when asked |
//! | [`MessageBuilder`] | writes a message into a buffer, sections in order, names compressed |
//! | [`Header`], [`Flags`], [`Section`], [`Question`] | the parts |
//! | [`Edns`] | the OPT record (RFC 6891) |
//! | [`MessageError`] | what is wrong with a received message: always the sender's fault |
//!
//! # What a hostile message costs
//!
//! Iterating is linear in the message's length whatever the counts promise, because names are skipped, not followed. A
//! name is decompressed only when asked for, in at most [`MAX_NAME_STEPS`] steps: each pointer must point before the
//! label that led to it, so a name cannot loop, and no more pointers are followed than a name can have labels.
//!
//! ```
//! use mirage_dns::message::{Flags, Header, MessageBuilder, MessageReader};
//! use mirage_dns::name::NameBuf;
//! use mirage_dns::record::{RecordClass, RecordType};
//!
//! let mut buffer = [0; 512];
//! let name = NameBuf::from_text("www.example.org")?;
//! let header = Header { id: 7, flags: Flags::RD, ..Header::default() };
//! let mut builder = MessageBuilder::new(&mut buffer, header)?;
//! builder.push_question(name.as_name(), RecordType::A, RecordClass::IN)?;
//! let length = builder.finish();
//!
//! let reader = MessageReader::new(&buffer[..length])?;
//! let question = reader.questions().next().unwrap()?;
//! assert_eq!((question.name, question.record_type), (name, RecordType::A));
//! # Ok::<(), Box<dyn core::error::Error>>(())
//! ```

use core::error::Error;
use core::fmt;

use bitflags::bitflags;
use byteorder::{BigEndian, ByteOrder};

use crate::name::{MAX_LABELS, NameBuf, NameError};
use crate::record::{Opcode, Rcode, RdataError, RecordClass, RecordType};

mod builder;
mod edns;
mod reader;
#[cfg(test)]
mod tests;
#[cfg(test)]
pub(crate) mod work;

pub use builder::{MessageBuilder, WriteError};
pub use edns::{Edns, EdnsOptions, MIN_PAYLOAD_SIZE};
pub use reader::{MessageReader, Questions, Record, Records};

/// Octets of the header (RFC 1035 §4.1.1).
pub const HEADER_LENGTH: usize = 12;

/// The most octets of a message: TCP's length field has 16 bits (RFC 1035 §4.2.2).
pub const MAX_MESSAGE_LENGTH: usize = 65_535;

/// The most labels that are looked at and pointers that are followed to read one name.
pub const MAX_NAME_STEPS: usize = 2 * MAX_LABELS + 1;

/// The first octets of a message (RFC 1035 §4.1.1).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Header {
    /// Chosen by the one who asks, repeated by the one who answers.
    pub id: u16,
    /// The single bits.
    pub flags: Flags,
    /// What is asked for.
    pub opcode: Opcode,
    /// The four bits of the response code that the header holds; [`Edns`] has eight more.
    pub rcode: Rcode,
    /// How many entries the question section promises.
    pub question_count: u16,
    /// How many records the answer section promises.
    pub answer_count: u16,
    /// How many records the authority section promises.
    pub authority_count: u16,
    /// How many records the additional section promises.
    pub additional_count: u16,
}

impl Header {
    /// Reads a header.
    pub fn from_octets(octets: &[u8; HEADER_LENGTH]) -> Self {
        let bits = BigEndian::read_u16(&octets[2..4]);
        Self {
            id: BigEndian::read_u16(&octets[0..2]),
            flags: Flags::from_bits_truncate(bits),
            opcode: Opcode((bits >> 11 & 0xf) as u8),
            rcode: Rcode(bits & 0xf),
            question_count: BigEndian::read_u16(&octets[4..6]),
            answer_count: BigEndian::read_u16(&octets[6..8]),
            authority_count: BigEndian::read_u16(&octets[8..10]),
            additional_count: BigEndian::read_u16(&octets[10..12]),
        }
    }

    /// The header's octets. Of opcode and response code the low four bits count.
    pub fn to_octets(self) -> [u8; HEADER_LENGTH] {
        let mut octets = [0; HEADER_LENGTH];
        let bits = self.flags.bits() | u16::from(self.opcode.0 & 0xf) << 11 | self.rcode.0 & 0xf;
        let words = [
            self.id,
            bits,
            self.question_count,
            self.answer_count,
            self.authority_count,
            self.additional_count,
        ];
        BigEndian::write_u16_into(&words, &mut octets);
        octets
    }
}

impl Default for Header {
    /// A query with nothing set and nothing in it.
    fn default() -> Self {
        Self {
            id: 0,
            flags: Flags::empty(),
            opcode: Opcode::QUERY,
            rcode: Rcode::NOERROR,
            question_count: 0,
            answer_count: 0,
            authority_count: 0,
            additional_count: 0,
        }
    }
}

bitflags! {
    /// The single bits of the header, where they lie in its second word (RFC 1035 §4.1.1, RFC 4035 §3.2).
    #[derive(Clone, Copy, PartialEq, Eq, Debug)]
    pub struct Flags: u16 {
        /// A response.
        const QR = 1 << 15;
        /// An authoritative answer.
        const AA = 1 << 10;
        /// Truncated.
        const TC = 1 << 9;
        /// Recursion desired.
        const RD = 1 << 8;
        /// Recursion available.
        const RA = 1 << 7;
        /// Reserved.
        const Z = 1 << 6;
        /// Authentic data.
        const AD = 1 << 5;
        /// Checking disabled.
        const CD = 1 << 4;
    }
}

/// One entry of the question section.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Question {
    /// The name that is asked about; equality ignores its case.
    pub name: NameBuf,
    /// The type that is asked for.
    pub record_type: RecordType,
    /// The class that is asked for.
    pub class: RecordClass,
}

/// Where a record stands.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Section {
    /// What was asked for.
    Answer,
    /// Who knows, or that there is nothing.
    Authority,
    /// What may help.
    Additional,
}

/// What is wrong with a received message.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum MessageError {
    /// Less than a header.
    TooShort,
    /// The message ends inside an entry, or before one that the counts promise.
    Truncated,
    /// A name is none.
    Name(NameError),
    /// A compression pointer that does not point to an earlier name: forwards, at itself, into the header.
    PointerNotBackwards,
    /// More pointers in one name than a name can have labels.
    TooManyPointers,
    /// The rdata is not what the type's table says.
    Rdata(RdataError),
    /// An OPT record outside the additional section, a second one, one whose owner is not the root, or options that do
    /// not fill it.
    Opt,
}

impl fmt::Display for MessageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::TooShort => "the message is shorter than a header",
            Self::Truncated => "the message ends before what it promises",
            Self::Name(error) => return error.fmt(f),
            Self::PointerNotBackwards => "a compression pointer does not point backwards",
            Self::TooManyPointers => "a name has too many compression pointers",
            Self::Rdata(error) => return error.fmt(f),
            Self::Opt => "the OPT record is misplaced, repeated or malformed",
        })
    }
}

impl Error for MessageError {}
