//! Replies that have no records of a zone, and a first look at requests.

use crate::message::{
    Edns, Flags, HEADER_LENGTH, Header, MIN_PAYLOAD_SIZE, MessageBuilder, MessageError,
    MessageReader,
};
use crate::name::Name;
use crate::record::{Opcode, Rcode, RecordType};
use crate::server::Limits;

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

/// Writes a reply with nothing but the request's question, or what stands in its place; the length.
pub(super) fn write(request: &[u8], rcode: Rcode, flags: Flags, out: &mut [u8]) -> Option<usize> {
    let reader = MessageReader::new(request).ok()?;
    let asked = reader.header();
    let header = Header {
        id: asked.id,
        flags: Flags::QR | flags | asked.flags & Flags::RD,
        opcode: asked.opcode,
        rcode,
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
    // RFC 6891 §7: an answer has an OPT record also where the request's is malformed, or there are two.
    let asked = match reader.edns() {
        Err(MessageError::Opt) => Some(Edns::with_payload_size(MIN_PAYLOAD_SIZE)),
        edns => edns.ok().flatten(),
    };
    if let Some(asked) = asked {
        let edns = Edns {
            extended_rcode: (rcode.0 >> 4) as u8,
            ..asked.to_be_answered()
        };
        builder.push_edns(&edns).ok()?;
    }
    Some(builder.finish())
}

/// What is wrong with the OPT records of a request (RFC 6891 §6.1.1, §6.1.3).
pub(super) fn check_edns(reader: &MessageReader<'_>) -> Result<(), Rcode> {
    match reader.edns() {
        Ok(Some(edns)) if edns.version != 0 => Err(Rcode::BADVERS),
        Ok(_) => Ok(()),
        Err(_) => Err(Rcode::FORMERR),
    }
}

/// How long an answer over UDP may be: what the request's EDNS and our limits allow.
pub(super) fn datagram_limit(request: &[u8], limits: &Limits) -> usize {
    let edns = MessageReader::new(request).and_then(|reader| reader.edns());
    match edns {
        Ok(Some(edns)) => edns
            .payload_limit()
            .min(limits.udp_payload_size.max(512).into()),
        _ => 512,
    }
}

/// Writes another response code into the header of a message that was written before.
pub(super) fn set_rcode(message: &mut [u8], rcode: Rcode) {
    if let Some(octet) = message.get_mut(3) {
        // Of the code four bits are here.
        *octet = *octet & 0xf0 | rcode.0 as u8 & 0xf;
    }
}
