//! A response taken apart, with everything that has no meaning taken out: order, compression, and the case of names.

use std::collections::BTreeSet;

use mirage_dns::message::{MessageError, MessageReader, Section};
use mirage_dns::record::{RecordType, check_rdata, rdata_fields};
use mirage_dns::zone_set::ZoneRecord;

/// A record without the case of its names.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Record {
    pub(crate) owner: mirage_dns::name::NameBuf,
    pub(crate) record_type: u16,
    pub(crate) class: u16,
    pub(crate) ttl: u32,
    pub(crate) data: Vec<u8>,
}

impl From<&ZoneRecord<'_>> for Record {
    fn from(record: &ZoneRecord<'_>) -> Self {
        let mut owner = record.owner.to_owned();
        owner.make_lowercase();
        Self {
            owner,
            record_type: record.record_type.0,
            class: 1,
            ttl: record.ttl,
            data: lower_case(record.record_type, record.rdata),
        }
    }
}

/// A response.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Response {
    pub(crate) length: usize,
    pub(crate) flags: u16,
    /// With the bits of EDNS.
    pub(crate) rcode: u16,
    /// The octets of the question section.
    pub(crate) question: Vec<u8>,
    pub(crate) answer: BTreeSet<Record>,
    pub(crate) authority: BTreeSet<Record>,
    pub(crate) additional: BTreeSet<Record>,
    /// Version and flags of the OPT record.
    pub(crate) edns: Option<(u8, u16)>,
    /// Whether a record is there twice.
    pub(crate) repeats: bool,
}

impl Response {
    pub(crate) const AA: u16 = 0x0400;
    pub(crate) const TC: u16 = 0x0200;

    pub(crate) fn parse(octets: &[u8]) -> Result<Self, MessageError> {
        let message = MessageReader::new(octets)?;
        if message.end()? != octets.len() {
            return Err(MessageError::Truncated);
        }
        let header = u16::from_be_bytes([octets[2], octets[3]]);
        let mut at = mirage_dns::message::HEADER_LENGTH;
        // Names of questions are not compressed.
        for question in message.questions() {
            at += question?.name.as_name().len() + 4;
        }
        let mut response = Self {
            length: octets.len(),
            flags: header & 0xfff0,
            rcode: header & 0xf,
            question: octets[mirage_dns::message::HEADER_LENGTH..at].to_vec(),
            answer: BTreeSet::new(),
            authority: BTreeSet::new(),
            additional: BTreeSet::new(),
            edns: None,
            repeats: false,
        };
        let mut buffer = vec![0; 65_535];
        for record in message.records() {
            let record = record?;
            if record.record_type == RecordType::OPT {
                // Its TTL holds the upper bits of the response code, the version and the flags (RFC 6891 §6.1.3).
                response.rcode |= (record.ttl >> 24) as u16 * 16;
                response.edns = Some(((record.ttl >> 16) as u8, record.ttl as u16));
                continue;
            }
            let data = record.rdata(&mut buffer)?;
            check_rdata(record.record_type, data).map_err(MessageError::Rdata)?;
            let mut owner = record.owner()?;
            owner.make_lowercase();
            let entry = Record {
                owner,
                record_type: record.record_type.0,
                class: record.class.0,
                ttl: record.ttl,
                data: lower_case(record.record_type, data),
            };
            let section = match record.section {
                Section::Answer => &mut response.answer,
                Section::Authority => &mut response.authority,
                Section::Additional => &mut response.additional,
            };
            response.repeats |= !section.insert(entry);
        }
        Ok(response)
    }

    /// Whether this is the error `rcode` without any record.
    pub(crate) fn is_bare(&self, rcode: u16) -> bool {
        self.rcode == rcode
            && self.answer.is_empty()
            && self.authority.is_empty()
            && self.additional.is_empty()
    }

    pub(crate) fn has(&self, flag: u16) -> bool {
        self.flags & flag != 0
    }
}

fn lower_case(record_type: RecordType, data: &[u8]) -> Vec<u8> {
    if record_type.rdata_fields().is_none() {
        return data.to_vec();
    }
    rdata_fields(record_type, data)
        .flat_map(|(field, octets)| {
            if field.is_name() {
                octets.to_ascii_lowercase()
            } else {
                octets.to_vec()
            }
        })
        .collect()
}
