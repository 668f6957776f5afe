//! Reads a request as far as an authoritative server needs it.

use byteorder::{BigEndian, ByteOrder};

use super::options::RequestOptions;
use super::{Answer, Ignored, Transport, is_implemented};
use crate::message::{
    Edns, Flags, HEADER_LENGTH, Header, MIN_PAYLOAD_SIZE, MessageReader, Section,
};
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
    /// The OPT record; of one that could not be read what an answer needs to have one, too.
    pub(super) edns: Option<Edns<'a>>,
    /// Its options, unless one is malformed.
    pub(super) options: RequestOptions<'a>,
    /// A query whose question section is empty, and OPT in order.
    pub(super) has_no_question: bool,
    /// Records and options that were looked at.
    pub(super) steps: u32,
    /// Whether the question is to be answered from the zones, or with which code at once.
    pub(super) verdict: Result<(), Rcode>,
}

impl<'a> Request<'a> {
    #[inline]
    pub(super) fn parse(octets: &'a [u8], transport: Transport) -> Result<Self, Ignored> {
        let header = octets.first_chunk().ok_or(Ignored::TooShort)?;
        let header = Header::from_octets(header);
        if header.flags.contains(Flags::QR) {
            return Err(Ignored::Response);
        }
        let mut request = Self {
            header,
            question: None,
            edns: None,
            options: RequestOptions::default(),
            has_no_question: false,
            steps: 0,
            verdict: Err(Rcode::FORMERR),
        };
        if !is_implemented(header.opcode) {
            request.verdict = Err(Rcode::NOTIMP);
            // RFC 6891 §6.1.1: where the request has an OPT record the answer has one, if the form is that of other messages.
            if header.additional_count != 0 && request.walk(octets, transport).is_none() {
                request.options = RequestOptions::default();
            }
            return Ok(request);
        }
        let question = match header.question_count {
            0 => None,
            1 => match Question::parse(octets) {
                Some(question) => Some(question),
                None => return Ok(request),
            },
            _ => return Ok(request),
        };
        request.question = question;
        let may_have_authority = question.is_some_and(|q| q.record_type == RecordType::IXFR);
        if header.answer_count != 0 || (header.authority_count != 0 && !may_have_authority) {
            return Ok(request);
        }
        if header.authority_count | header.additional_count != 0
            && request.read_edns(octets, transport).is_none()
        {
            request.options = RequestOptions::default();
            return Ok(request);
        }
        request.verdict = match (request.edns, question) {
            (Some(edns), _) if edns.version != 0 => Err(Rcode::BADVERS),
            (_, Some(_)) => Ok(()),
            (_, None) => {
                request.has_no_question = true;
                Err(Rcode::FORMERR)
            }
        };
        Ok(request)
    }

    /// Walks over all records for OPT, and reads its options; `None` when something is malformed or misplaced (RFC 6891
    /// §6.1.1).
    #[inline]
    fn read_edns(&mut self, octets: &'a [u8], transport: Transport) -> Option<()> {
        let records = HEADER_LENGTH + self.question.map_or(0, |question| question.octets.len());
        let lone = (self.header.authority_count, self.header.additional_count) == (0, 1);
        if lone && let Some(edns) = plain_opt(octets.get(records..)?) {
            self.steps = 1;
            self.edns = Some(edns);
            return Some(());
        }
        self.walk(octets, transport)
    }

    #[inline(never)]
    fn walk(&mut self, octets: &'a [u8], transport: Transport) -> Option<()> {
        let reader = MessageReader::new(octets).ok()?;
        for record in reader.records() {
            self.steps += 1;
            let record = record.ok()?;
            if record.record_type != RecordType::OPT {
                continue;
            }
            if record.section != Section::Additional || self.edns.is_some() {
                return None;
            }
            // RFC 6891 §7: to one that is malformed there is an OPT record in the answer, too.
            self.edns = Some(Edns::with_payload_size(MIN_PAYLOAD_SIZE));
            let edns = Edns::from_record(&record).ok()?;
            self.edns = Some(edns);
            // What options mean in another version nobody knows.
            if edns.version == 0 && !edns.options.is_empty() {
                self.options = RequestOptions::parse(&edns, transport, &mut self.steps)?;
            }
        }
        Some(())
    }

    /// The header of an answer, without its counts.
    pub(super) fn reply_header(&self, answer: &Answer) -> Header {
        Header {
            id: self.header.id,
            flags: answer.flags,
            opcode: self.header.opcode,
            rcode: answer.rcode,
            ..Header::default()
        }
    }
}

/// The OPT record without options that stands first, as most queries have it.
fn plain_opt(octets: &[u8]) -> Option<Edns<'static>> {
    let opt: &[u8; Edns::RECORD_LENGTH] = octets.first_chunk()?;
    let is_plain = opt[..3] == [0, 0, RecordType::OPT.0 as u8] && opt[9..] == [0, 0];
    is_plain.then(|| Edns {
        extended_rcode: opt[5],
        version: opt[6],
        dnssec_ok: opt[7] & 0x80 != 0,
        ..Edns::with_payload_size(BigEndian::read_u16(&opt[3..5]))
    })
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
