//! Replies that have no records of a zone, and a first look at requests.

use crate::message::{Flags, HEADER_LENGTH, Header, MessageBuilder, MessageReader};
use crate::name::Name;
use crate::record::{Opcode, Rcode, RecordType};
use crate::server::Opt;

/// Whether a request is an unsigned query for something else than a transfer; see
/// [`Authority::is_plain`](super::Authority::is_plain).
pub(super) fn is_plain(request: &[u8]) -> bool {
    let Some(header) = request.first_chunk::<HEADER_LENGTH>() else {
        return true;
    };
    let header = Header::from_octets(header);
    if header.flags.contains(Flags::QR) {
        return true;
    }
    if header.opcode != Opcode::QUERY || header.question_count != 1 {
        return false;
    }
    let Ok((_, rest)) = Name::split_from(&request[HEADER_LENGTH..]) else {
        return true;
    };
    let Some((fixed, rest)) = rest.split_first_chunk::<4>() else {
        return true;
    };
    let record_type = RecordType(u16::from_be_bytes([fixed[0], fixed[1]]));
    if matches!(record_type, RecordType::AXFR | RecordType::IXFR) {
        return false;
    }
    // A signature is a record behind all others; the only record of most queries is OPT.
    let records = [
        header.answer_count,
        header.authority_count,
        header.additional_count,
    ];
    match (records, rest) {
        ([_, _, 0], _) => true,
        ([0, 0, 1], [0, high, low, ..]) => {
            RecordType(u16::from_be_bytes([*high, *low])) == RecordType::OPT
        }
        _ => false,
    }
}

/// Writes a reply with nothing but the request's question, or what stands in its place, and OPT; the length.
pub(super) fn write(
    request: &[u8],
    rcode: Rcode,
    flags: Flags,
    opt: &Opt,
    out: &mut [u8],
) -> Option<usize> {
    let reader = MessageReader::new(request).ok()?;
    let asked = reader.header();
    let header = Header {
        id: asked.id,
        flags: Flags::QR | flags | asked.flags & Flags::RD,
        opcode: asked.opcode,
        rcode: Rcode(rcode.0 & 0xf),
        ..Header::default()
    };
    let mut builder = MessageBuilder::new(out, header).ok()?;
    if let Some(Ok(question)) = reader.questions().next()
        && asked.question_count == 1
    {
        let name = question.name.as_name();
        builder
            .push_question(name, question.record_type, question.class)
            .ok()?;
    }
    let record = opt.record(rcode);
    if !record.is_empty() {
        builder.push_opt(&record).ok()?;
    }
    Some(builder.finish())
}

/// Writes another response code into the header of a message that was written before.
pub(super) fn set_rcode(message: &mut [u8], rcode: Rcode) {
    if let Some(octet) = message.get_mut(3) {
        // Of the code four bits are here.
        *octet = *octet & 0xf0 | rcode.0 as u8 & 0xf;
    }
}
