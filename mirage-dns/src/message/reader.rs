//! Reads a message where it lies.

use byteorder::{BigEndian, ByteOrder};

use super::{Edns, HEADER_LENGTH, Header, MessageError, Question, Section};
use crate::name::{MAX_LABELS, NameBuf, NameError};
use crate::record::{RdataError, RecordClass, RecordType};

/// A received message.
///
/// Holding one proves that there is a header, and nothing about what follows it.
#[derive(Clone, Copy, Debug)]
pub struct MessageReader<'a> {
    octets: &'a [u8],
    header: Header,
}

impl<'a> MessageReader<'a> {
    /// A reader of `octets`, which are one message without TCP's length before it.
    ///
    /// # Errors
    /// [`MessageError::TooShort`].
    pub fn new(octets: &'a [u8]) -> Result<Self, MessageError> {
        let header = octets.first_chunk().ok_or(MessageError::TooShort)?;
        Ok(Self {
            octets,
            header: Header::from_octets(header),
        })
    }

    /// The header. Its counts are promises.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// The whole message.
    pub fn octets(&self) -> &'a [u8] {
        self.octets
    }

    /// The entries of the question section. The iteration ends after an error.
    pub fn questions(&self) -> Questions<'a> {
        Questions {
            octets: self.octets,
            at: HEADER_LENGTH,
            left: self.header.question_count,
        }
    }

    /// Where the question section ends.
    ///
    /// # Errors
    /// What is wrong with the section.
    pub fn questions_end(&self) -> Result<usize, MessageError> {
        // A promise of 65,535 ends at the first that is not kept.
        (0..self.header.question_count)
            .try_fold(HEADER_LENGTH, |at, _| skip_question(self.octets, at))
    }

    /// The records of all sections in their order. The iteration ends after an error; one in the question section is
    /// the first item.
    pub fn records(&self) -> Records<'a> {
        Records {
            octets: self.octets,
            at: self.questions_end(),
            section: Section::Answer,
            left: [
                self.header.answer_count,
                self.header.authority_count,
                self.header.additional_count,
            ],
        }
    }

    /// The records of one section. The iteration ends after an error.
    pub fn section(
        &self,
        section: Section,
    ) -> impl Iterator<Item = Result<Record<'a>, MessageError>> + use<'a> {
        self.records().filter(move |record| {
            record
                .as_ref()
                .map_or(true, |record| record.section == section)
        })
    }

    /// The OPT record, if there is one; all sections are walked for it.
    ///
    /// # Errors
    /// [`MessageError::Opt`] for a misplaced, repeated or malformed one (RFC 6891 §6.1.1), or what is wrong with the
    /// sections.
    pub fn edns(&self) -> Result<Option<Edns<'a>>, MessageError> {
        let mut edns = None;
        for record in self.records() {
            let record = record?;
            if record.record_type != RecordType::OPT {
                continue;
            }
            if record.section != Section::Additional || edns.is_some() {
                return Err(MessageError::Opt);
            }
            edns = Some(Edns::from_record(&record)?);
        }
        Ok(edns)
    }

    /// Where the last record that the counts promise ends; what lies behind it is no part of the message.
    ///
    /// # Errors
    /// What is wrong with the sections.
    pub fn end(&self) -> Result<usize, MessageError> {
        let mut records = self.records();
        for record in &mut records {
            record?;
        }
        records.at
    }
}

/// The entries of a question section; see [`MessageReader::questions`].
#[derive(Clone, Debug)]
pub struct Questions<'a> {
    octets: &'a [u8],
    at: usize,
    left: u16,
}

impl Questions<'_> {
    fn read(&mut self) -> Result<Question, MessageError> {
        let (name, at) = read_name(self.octets, self.at)?;
        let fixed = fixed_octets(self.octets, at, 4)?;
        self.at = at + 4;
        Ok(Question {
            name,
            record_type: RecordType(BigEndian::read_u16(&fixed[0..2])),
            class: RecordClass(BigEndian::read_u16(&fixed[2..4])),
        })
    }
}

impl Iterator for Questions<'_> {
    type Item = Result<Question, MessageError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.left = self.left.checked_sub(1)?;
        let question = self.read();
        if question.is_err() {
            self.left = 0;
        }
        Some(question)
    }
}

/// The records of a message; see [`MessageReader::records`].
#[derive(Clone, Debug)]
pub struct Records<'a> {
    octets: &'a [u8],
    /// Where the next record begins, or why there is none.
    at: Result<usize, MessageError>,
    section: Section,
    /// What the sections still promise.
    left: [u16; 3],
}

impl<'a> Records<'a> {
    fn read(&mut self, owner: usize) -> Result<Record<'a>, MessageError> {
        let fixed_at = skip_name(self.octets, owner)?;
        let fixed = fixed_octets(self.octets, fixed_at, 10)?;
        let start = fixed_at + 10;
        let end = start + usize::from(BigEndian::read_u16(&fixed[8..10]));
        if end > self.octets.len() {
            return Err(MessageError::Truncated);
        }
        self.at = Ok(end);
        Ok(Record {
            section: self.section,
            record_type: RecordType(BigEndian::read_u16(&fixed[0..2])),
            class: RecordClass(BigEndian::read_u16(&fixed[2..4])),
            ttl: BigEndian::read_u32(&fixed[4..8]),
            octets: self.octets,
            owner,
            rdata: (start, end),
        })
    }
}

impl<'a> Iterator for Records<'a> {
    type Item = Result<Record<'a>, MessageError>;

    fn next(&mut self) -> Option<Self::Item> {
        let at = match self.at {
            Ok(at) => at,
            Err(error) => {
                // An error in the question section; those of records take all promises back.
                let first = self.left != [0; 3];
                self.left = [0; 3];
                return first.then_some(Err(error));
            }
        };
        while self.left[self.section as usize] == 0 {
            self.section = match self.section {
                Section::Answer => Section::Authority,
                Section::Authority => Section::Additional,
                Section::Additional => return None,
            };
        }
        self.left[self.section as usize] -= 1;
        let record = self.read(at);
        if let Err(error) = record {
            self.at = Err(error);
            self.left = [0; 3];
        }
        Some(record)
    }
}

/// One record where it lies in a message. Its length is within the message; names in it are not checked before they are
/// asked for.
#[derive(Clone, Copy, Debug)]
pub struct Record<'a> {
    /// Where it stands.
    pub section: Section,
    /// Its type.
    pub record_type: RecordType,
    /// Its class; for OPT the sender's payload size.
    pub class: RecordClass,
    /// Its time to live in seconds; for OPT flags.
    pub ttl: u32,
    octets: &'a [u8],
    owner: usize,
    rdata: (usize, usize),
}

impl<'a> Record<'a> {
    /// The name that it belongs to, decompressed.
    ///
    /// # Errors
    /// What is wrong with the name.
    pub fn owner(&self) -> Result<NameBuf, MessageError> {
        read_name(self.octets, self.owner).map(|(name, _)| name)
    }

    /// Where it begins in its message.
    pub fn offset(&self) -> usize {
        self.owner
    }

    /// Whether the owner is the root, written without a pointer.
    pub fn owner_is_root(&self) -> bool {
        self.octets.get(self.owner) == Some(&0)
    }

    /// The rdata as it was received; names in it may be compressed.
    pub fn raw_rdata(&self) -> &'a [u8] {
        &self.octets[self.rdata.0..self.rdata.1]
    }

    /// Writes the rdata into `buffer` with its names whole, and checks it against the type's table. An unknown type's
    /// is copied.
    ///
    /// # Errors
    /// [`MessageError::Rdata`], with [`RdataError::TooLong`] when `buffer` is too small, or what is wrong with a name.
    pub fn rdata<'b>(&self, buffer: &'b mut [u8]) -> Result<&'b [u8], MessageError> {
        let message = &self.octets[..self.rdata.1];
        let mut at = self.rdata.0;
        let mut written = 0;
        let mut put = |octets: &[u8]| {
            let room = buffer.get_mut(written..written + octets.len());
            room.ok_or(MessageError::Rdata(RdataError::TooLong))?
                .copy_from_slice(octets);
            written += octets.len();
            Ok::<(), MessageError>(())
        };
        match self.record_type.rdata_fields() {
            None => put(self.raw_rdata())?,
            Some(fields) => {
                for field in fields {
                    if field.may_be_compressed() {
                        let (name, after) = read_name(message, at)?;
                        put(name.as_name().as_wire())?;
                        at = after;
                    } else {
                        let rest = message.get(at..).unwrap_or(&[]);
                        let (octets, _) = field.split_from(rest).map_err(MessageError::Rdata)?;
                        put(octets)?;
                        at += octets.len();
                    }
                }
                if at != self.rdata.1 {
                    return Err(MessageError::Rdata(RdataError::TrailingOctets));
                }
            }
        }
        Ok(&buffer[..written])
    }
}

/// Reads the name at `at`, following compression pointers (RFC 1035 §4.1.4); the name and where its octets end.
pub(super) fn read_name(message: &[u8], at: usize) -> Result<(NameBuf, usize), MessageError> {
    read_name_counted(message, at, &mut 0)
}

/// [`read_name`], adding to `steps` one for each label and pointer that is looked at: at most
/// [`super::MAX_NAME_STEPS`].
pub(super) fn read_name_counted(
    message: &[u8],
    start: usize,
    steps: &mut usize,
) -> Result<(NameBuf, usize), MessageError> {
    let mut name = NameBuf::new();
    let mut at = start;
    // Where the run of labels that is being read began: a pointer must go before it.
    let mut run = start;
    let mut end = None;
    let mut pointers = 0;
    loop {
        *steps += 1;
        #[cfg(test)]
        super::work::count();
        let &length = message.get(at).ok_or(MessageError::Truncated)?;
        match length {
            0 => return Ok((name, end.unwrap_or(at + 1))),
            1..=63 => {
                let label = message.get(at + 1..at + 1 + usize::from(length));
                let label = label.ok_or(MessageError::Truncated)?;
                name.push_label(label).map_err(MessageError::Name)?;
                at += 1 + usize::from(length);
            }
            0xc0.. => {
                let &low = message.get(at + 1).ok_or(MessageError::Truncated)?;
                let target = usize::from(length & 0x3f) << 8 | usize::from(low);
                if target >= run || target < HEADER_LENGTH {
                    return Err(MessageError::PointerNotBackwards);
                }
                pointers += 1;
                if pointers > MAX_LABELS {
                    return Err(MessageError::TooManyPointers);
                }
                end = end.or(Some(at + 2));
                (at, run) = (target, target);
            }
            _ => return Err(MessageError::Name(NameError::ReservedLabelType)),
        }
    }
}

/// Where the octets of the name at `at` end; its pointer, if any, is not followed.
fn skip_name(message: &[u8], start: usize) -> Result<usize, MessageError> {
    let mut at = start;
    loop {
        #[cfg(test)]
        super::work::count();
        let &length = message.get(at).ok_or(MessageError::Truncated)?;
        match length {
            0 => return Ok(at + 1),
            1..=63 => at += 1 + usize::from(length),
            0xc0.. if at + 1 < message.len() => return Ok(at + 2),
            0xc0.. => return Err(MessageError::Truncated),
            _ => return Err(MessageError::Name(NameError::ReservedLabelType)),
        }
        if at - start >= crate::name::MAX_NAME_LENGTH {
            return Err(MessageError::Name(NameError::NameTooLong));
        }
    }
}

fn skip_question(message: &[u8], at: usize) -> Result<usize, MessageError> {
    let at = skip_name(message, at)?;
    fixed_octets(message, at, 4)?;
    Ok(at + 4)
}

fn fixed_octets(message: &[u8], at: usize, length: usize) -> Result<&[u8], MessageError> {
    message.get(at..at + length).ok_or(MessageError::Truncated)
}
