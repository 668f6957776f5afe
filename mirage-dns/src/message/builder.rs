//! Writes a message.

use core::error::Error;
use core::fmt;

use byteorder::{BigEndian, ByteOrder};
use heapless::Vec;

use super::{Edns, HEADER_LENGTH, Header, MAX_MESSAGE_LENGTH, Section};
use crate::name::Name;
use crate::record::{RdataError, RdataField, RecordClass, RecordType, check_rdata, rdata_fields};

/// The most places of earlier names that compression remembers. Later names are compressed against these alone.
const REMEMBERED_NAMES: usize = 64;

/// The first offset that a compression pointer cannot hold (RFC 1035 §4.1.4).
const POINTER_LIMIT: usize = 0x4000;

/// Writes a message into a buffer: header, questions, then the records section by section.
///
/// Names are compressed in owners, and in rdata where RFC 3597 §4 allows it, only against equal octets: a name is read
/// back with the case it had. An entry that does not fit is left out whole and the message stays as it was.
#[derive(Debug)]
pub struct MessageBuilder<'b> {
    buffer: &'b mut [u8],
    length: usize,
    header: Header,
    section: Option<Section>,
    /// Where labels begin that a pointer may lead to.
    places: Vec<u16, REMEMBERED_NAMES>,
}

impl<'b> MessageBuilder<'b> {
    /// Begins a message of at most `buffer`'s length, and never more than 65,535 octets; the counts of `header` are
    /// replaced.
    ///
    /// # Errors
    /// [`WriteError::Full`] when not even the header fits.
    pub fn new(buffer: &'b mut [u8], header: Header) -> Result<Self, WriteError> {
        if buffer.len() < HEADER_LENGTH {
            return Err(WriteError::Full);
        }
        let limit = buffer.len().min(MAX_MESSAGE_LENGTH);
        Ok(Self {
            buffer: &mut buffer[..limit],
            length: HEADER_LENGTH,
            header: Header {
                question_count: 0,
                answer_count: 0,
                authority_count: 0,
                additional_count: 0,
                ..header
            },
            section: None,
            places: Vec::new(),
        })
    }

    /// The header, to change its flags and code; the counts are the builder's.
    pub fn header_mut(&mut self) -> &mut Header {
        &mut self.header
    }

    /// Octets written so far.
    pub fn written(&self) -> usize {
        self.length
    }

    /// Adds an entry to the question section.
    ///
    /// # Errors
    /// [`WriteError::Full`], or [`WriteError::Order`] after a record.
    pub fn push_question(
        &mut self,
        name: Name<'_>,
        record_type: RecordType,
        class: RecordClass,
    ) -> Result<(), WriteError> {
        if self.section.is_some() {
            return Err(WriteError::Order);
        }
        let count = self.header.question_count.checked_add(1);
        let count = count.ok_or(WriteError::Full)?;
        self.whole(|entry| {
            entry.name(name)?;
            entry.u16(record_type.0)?;
            entry.u16(class.0)
        })?;
        self.header.question_count = count;
        Ok(())
    }

    /// Adds a record; `rdata` is uncompressed.
    ///
    /// # Errors
    /// [`WriteError::Full`]; [`WriteError::Order`] when a later section has begun; [`WriteError::Rdata`].
    pub fn push_record(
        &mut self,
        section: Section,
        owner: Name<'_>,
        record_type: RecordType,
        class: RecordClass,
        ttl: u32,
        rdata: &[u8],
    ) -> Result<(), WriteError> {
        check_rdata(record_type, rdata).map_err(WriteError::Rdata)?;
        self.record(section, |entry| {
            entry.name(owner)?;
            entry.u16(record_type.0)?;
            entry.u16(class.0)?;
            entry.octets(&ttl.to_be_bytes())?;
            let length_at = entry.length;
            entry.u16(0)?;
            entry.rdata(record_type, rdata)?;
            // Compression only shortens what was at most 65,535 octets.
            let length = (entry.length - length_at - 2) as u16;
            BigEndian::write_u16(&mut entry.buffer[length_at..length_at + 2], length);
            Ok(())
        })
    }

    /// Adds the OPT record, to the additional section.
    ///
    /// # Errors
    /// [`WriteError::Full`].
    pub fn push_edns(&mut self, edns: &Edns<'_>) -> Result<(), WriteError> {
        if edns.options.len() > usize::from(u16::MAX) {
            return Err(WriteError::Full);
        }
        self.record(Section::Additional, |entry| {
            entry.octets(&edns.fixed_octets())?;
            entry.octets(edns.options)
        })
    }

    /// Puts an OPT record behind what there is that was encoded before.
    #[cfg(feature = "alloc")]
    pub(crate) fn push_opt(&mut self, record: &[u8]) -> Result<(), WriteError> {
        self.record(Section::Additional, |entry| entry.octets(record))
    }

    /// Writes the header; the message's length.
    pub fn finish(self) -> usize {
        self.buffer[..HEADER_LENGTH].copy_from_slice(&self.header.to_octets());
        self.length
    }

    fn record(
        &mut self,
        section: Section,
        write: impl FnOnce(&mut Self) -> Result<(), WriteError>,
    ) -> Result<(), WriteError> {
        if self.section > Some(section) {
            return Err(WriteError::Order);
        }
        let count = match section {
            Section::Answer => self.header.answer_count,
            Section::Authority => self.header.authority_count,
            Section::Additional => self.header.additional_count,
        };
        let count = count.checked_add(1).ok_or(WriteError::Full)?;
        self.whole(write)?;
        match section {
            Section::Answer => self.header.answer_count = count,
            Section::Authority => self.header.authority_count = count,
            Section::Additional => self.header.additional_count = count,
        }
        self.section = Some(section);
        Ok(())
    }

    /// Writes all of an entry or nothing.
    fn whole(
        &mut self,
        write: impl FnOnce(&mut Self) -> Result<(), WriteError>,
    ) -> Result<(), WriteError> {
        let (length, places) = (self.length, self.places.len());
        let result = write(self);
        if result.is_err() {
            self.length = length;
            self.places.truncate(places);
        }
        result
    }

    fn octets(&mut self, octets: &[u8]) -> Result<(), WriteError> {
        let end = self.length + octets.len();
        let room = self.buffer.get_mut(self.length..end);
        room.ok_or(WriteError::Full)?.copy_from_slice(octets);
        self.length = end;
        Ok(())
    }

    fn u16(&mut self, value: u16) -> Result<(), WriteError> {
        self.octets(&value.to_be_bytes())
    }

    fn rdata(&mut self, record_type: RecordType, rdata: &[u8]) -> Result<(), WriteError> {
        if !record_type.has_compressible_names() {
            return self.octets(rdata);
        }
        for (field, octets) in rdata_fields(record_type, rdata) {
            match (field, Name::from_wire(octets)) {
                (RdataField::CompressibleName, Ok(name)) => self.name(name)?,
                _ => self.octets(octets)?,
            }
        }
        Ok(())
    }

    /// Writes a name: labels up to the longest end of it that was written before, then a pointer to that.
    fn name(&mut self, name: Name<'_>) -> Result<(), WriteError> {
        // This name's own places are not complete names yet.
        let known = self.places.len();
        for suffix in name.ancestors() {
            if suffix.is_root() {
                break;
            }
            if let Some(place) = self.place_of(suffix, known) {
                return self.u16(0xc000 | place);
            }
            // When the table is full the name still serves itself, only later ones cannot use it.
            if self.length < POINTER_LIMIT {
                let _ = self.places.push(self.length as u16); // below 0x4000
            }
            let label = usize::from(suffix.as_wire()[0]) + 1;
            self.octets(&suffix.as_wire()[..label])?;
        }
        self.octets(&[0])
    }

    /// Where exactly these octets were written as the end of a name, among the first `known` places.
    fn place_of(&self, name: Name<'_>, known: usize) -> Option<u16> {
        let is_at = |start: u16| {
            let mut at = usize::from(start);
            for label in name.labels() {
                // Pointers here are the builder's own, each to an earlier place: the way ends.
                while self.buffer[at] >= 0xc0 {
                    at = usize::from(BigEndian::read_u16(&self.buffer[at..at + 2]) & 0x3fff);
                }
                let end = at + 1 + usize::from(self.buffer[at]);
                if self.buffer[at + 1..end] != *label {
                    return false;
                }
                at = end;
            }
            while self.buffer[at] >= 0xc0 {
                at = usize::from(BigEndian::read_u16(&self.buffer[at..at + 2]) & 0x3fff);
            }
            self.buffer[at] == 0
        };
        let mut places = self.places.iter().take(known).copied();
        places.find(|place| is_at(*place))
    }
}

/// Why something was not written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum WriteError {
    /// It does not fit.
    Full,
    /// Its section comes before one that has begun.
    Order,
    /// The rdata is not what the type wants.
    Rdata(RdataError),
}

impl fmt::Display for WriteError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Full => "the message is full",
            Self::Order => "the section comes before one that has begun",
            Self::Rdata(error) => return error.fmt(f),
        })
    }
}

impl Error for WriteError {}
