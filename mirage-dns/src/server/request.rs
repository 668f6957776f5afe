//! Reads a request as far as an authoritative server needs it.

use byteorder::{BigEndian, ByteOrder};

use super::{Ignored, is_implemented};
use crate::message::{Edns, Flags, HEADER_LENGTH, Header, MessageReader};
use crate::name::Name;
use crate::record::{Rcode, RecordClass, RecordType};

/// What a request asks.
#[derive(Clone, Copy)]
pub(super) struct Question<'a> {
    pub(super) name: Name<'a>,
    pub(super) record_type: RecordType,
    pub(super) class: RecordClass,
    /// All of it, to be repeated.
    pub(super) octets: &'a [u8],
}

/// A request that deserves an answer.
pub(super) struct Request<'a> {
    pub(super) header: Header,
    /// The question, if it could be read.
    pub(super) question: Option<Question<'a>>,
    /// The OPT record, if it could be read.
    pub(super) edns: Option<Edns<'a>>,
    /// What to answer from the zones, or with which code at once.
    pub(super) verdict: Result<Question<'a>, Rcode>,
}

impl<'a> Request<'a> {
    pub(super) fn parse(octets: &'a [u8]) -> Result<Self, Ignored> {
        let reader = MessageReader::new(octets).map_err(|_| Ignored::TooShort)?;
        let header = *reader.header();
        if header.flags.contains(Flags::QR) {
            return Err(Ignored::Response);
        }
        let mut request = Self {
            header,
            question: None,
            edns: None,
            verdict: Err(Rcode::FORMERR),
        };
        if !is_implemented(header.opcode) {
            request.verdict = Err(Rcode::NOTIMP);
            return Ok(request);
        }
        if header.question_count != 1 {
            return Ok(request);
        }
        let Some(question) = Question::parse(octets) else {
            return Ok(request);
        };
        request.question = Some(question);
        let may_have_authority = question.record_type == RecordType::IXFR;
        if header.answer_count != 0 || (header.authority_count != 0 && !may_have_authority) {
            return Ok(request);
        }
        if header.authority_count | header.additional_count != 0 {
            let Ok(edns) = reader.edns() else {
                return Ok(request);
            };
            request.edns = edns;
        }
        request.verdict = match request.edns {
            Some(edns) if edns.version != 0 => Err(Rcode::BADVERS),
            _ => Ok(question),
        };
        Ok(request)
    }
}

impl<'a> Question<'a> {
    /// Reads the first question. There is no name before it that a pointer could lead to, so it has none.
    fn parse(message: &'a [u8]) -> Option<Self> {
        let section = message.get(HEADER_LENGTH..)?;
        let (name, rest) = Name::split_from(section).ok()?;
        let fixed: &[u8; 4] = rest.first_chunk()?;
        Some(Self {
            name,
            record_type: RecordType(BigEndian::read_u16(&fixed[0..2])),
            class: RecordClass(BigEndian::read_u16(&fixed[2..4])),
            octets: &section[..name.len() + 4],
        })
    }
}
