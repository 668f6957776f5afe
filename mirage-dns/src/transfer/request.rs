//! What a secondary asks for.

use crate::difference::RecordBuf;
use crate::message::{
    Edns, Header, MessageBuilder, MessageError, MessageReader, Section, WriteError,
};
use crate::name::{Name, NameBuf};
use crate::record::{RecordClass, RecordType};

/// A request for a zone transfer.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TransferRequest {
    /// The message's ID.
    pub id: u16,
    /// The zone.
    pub apex: NameBuf,
    /// For an incremental transfer the serial of the version that the secondary has.
    pub serial: Option<u32>,
    /// What goes into the answer's OPT record; `None` for a request without one.
    pub edns: Option<Edns<'static>>,
}

impl TransferRequest {
    /// Reads a query for AXFR or IXFR of class IN; `None` if the message asks for something else.
    ///
    /// # Errors
    /// What is malformed. An IXFR must have the SOA record of the secondary's version in its authority section (RFC 1995 §3):
    /// [`MessageError::Truncated`] if there is none.
    pub fn parse(message: &MessageReader<'_>) -> Result<Option<Self>, MessageError> {
        let header = message.header();
        let Some(question) = message.questions().next().transpose()? else {
            return Ok(None);
        };
        let incremental = match question.record_type {
            RecordType::AXFR => false,
            RecordType::IXFR => true,
            _ => return Ok(None),
        };
        if question.class != RecordClass::IN || header.question_count != 1 {
            return Ok(None);
        }
        let serial = if incremental {
            Some(serial_of(message, question.name.as_name())?)
        } else {
            None
        };
        Ok(Some(Self {
            id: header.id,
            apex: question.name,
            serial,
            edns: message.edns()?.map(|edns| edns.to_be_answered()),
        }))
    }

    /// Writes the request into `buffer`; its length. `soa` is the record of the version that is there, which an incremental
    /// transfer names.
    ///
    /// # Errors
    /// [`WriteError::Full`]: 850 octets suffice.
    pub fn write(
        id: u16,
        apex: Name<'_>,
        soa: Option<&RecordBuf>,
        buffer: &mut [u8],
    ) -> Result<usize, WriteError> {
        let header = Header {
            id,
            ..Header::default()
        };
        let mut builder = MessageBuilder::new(buffer, header)?;
        let record_type = match soa {
            Some(_) => RecordType::IXFR,
            None => RecordType::AXFR,
        };
        builder.push_question(apex, record_type, RecordClass::IN)?;
        if let Some(soa) = soa {
            let (section, class) = (Section::Authority, RecordClass::IN);
            let (ttl, rdata) = (soa.ttl(), soa.rdata());
            builder.push_record(section, apex, RecordType::SOA, class, ttl, rdata)?;
        }
        Ok(builder.finish())
    }
}

/// The serial in the SOA record of the authority section.
fn serial_of(message: &MessageReader<'_>, apex: Name<'_>) -> Result<u32, MessageError> {
    for record in message.records() {
        let record = record?;
        if record.section != Section::Authority || record.record_type != RecordType::SOA {
            continue;
        }
        // RFC 1995 §3: it is that of the zone, and the only one. To expand the names of others is work that nobody asked for.
        if record.owner()?.as_name() != apex {
            break;
        }
        let mut buffer = [0; 2 * 255 + 20];
        let rdata = record.rdata(&mut buffer)?;
        let serial = crate::difference::soa_serial(RecordType::SOA, rdata);
        return serial.ok_or(MessageError::Truncated);
    }
    Err(MessageError::Truncated)
}
