//! The data of a record: each type's fields as [`RecordType::rdata_fields`] lists them, or RFC 3597's `\#`.

mod buffer;
mod encoded;
mod generic;
mod location;
mod mnemonics;
mod service_parameters;
mod sets;
mod words;

pub(crate) use buffer::DataBuffer;

use core::net::{Ipv4Addr, Ipv6Addr};
use core::str::FromStr;

use crate::name::Name;
use crate::record::{RdataField, RecordType, known_digest_length};

use super::error::{Fault, Found};
use super::lexer::{BadEscape, Lexer, Position, Text};
use super::parser::fault_at;
use super::{names, numbers};

use words::Words;

/// Reads the data of a record up to the end of its entry.
///
/// # Errors
/// A fault at the field that is wrong, is missing, or is one too many.
pub(crate) fn parse<'s>(
    record_type: RecordType,
    lexer: &mut Lexer<'s>,
    origin: Option<Name<'_>>,
    data: &mut DataBuffer<'_>,
) -> Result<(), Fault<'s>> {
    let mut words = Words::new(lexer);
    if let Ok(mark) = words.peek()?
        && generic::is_mark(&mark)
    {
        return generic::parse(record_type, &mut words, data);
    }
    let Some(fields) = record_type.rdata_fields() else {
        return Err(words.fault(generic::EXPECTED)?);
    };
    for &field in fields {
        let first = words.peek()?;
        let start = data.len();
        field_of(field, &mut words, origin, data)?;
        // Whatever the text was: what was made of it is what everybody else checks.
        let made = &data.written()[start..];
        if !matches!(field.split_from(made), Ok((_, []))) {
            return Err(fault_or_end(first, expected(field)));
        }
        if field == RdataField::Hexadecimal
            && let Some((length, known)) = known_digest_length(record_type, data.written())
            && length != known
        {
            let expected = "a digest as long as those of its algorithm are";
            return Err(fault_or_end(first, expected));
        }
    }
    words.finish()
}

fn fault_or_end<'s>(found: Result<Text<'s>, Position>, expected: &'static str) -> Fault<'s> {
    match found {
        Ok(text) => fault_at(&text, expected),
        Err(position) => Fault {
            position,
            expected,
            found: Found::EndOfLine,
        },
    }
}

/// What stands in the place of a field when it is right.
fn expected(field: RdataField) -> &'static str {
    match field {
        RdataField::CompressibleName
        | RdataField::Name
        | RdataField::WholeName
        | RdataField::CasedName
        | RdataField::Names => "a domain name",
        RdataField::U8 => "a number from 0 to 255",
        RdataField::U16 => "a number from 0 to 65535",
        RdataField::U32 => "a number from 0 to 4294967295",
        RdataField::Period => "a time: seconds up to 4294967295, or with units such as 1h30m",
        RdataField::Timestamp => {
            "a date and time as YYYYMMDDHHmmSS, up to 21060207062815, or seconds since 1970"
        }
        RdataField::Algorithm => "an algorithm: a number from 0 to 255, or a mnemonic",
        RdataField::Protocol => "a protocol: a number from 0 to 255, TCP or UDP",
        RdataField::TypeCode | RdataField::TypeBitmap => "a record type",
        RdataField::CertificateType => {
            "a certificate type: a number from 0 to 65535, or a mnemonic"
        }
        RdataField::Ipv4Address => "an IPv4 address",
        RdataField::Ipv6Address => "an IPv6 address",
        RdataField::Eui48 => "six octets in hexadecimal with hyphens between",
        RdataField::Eui64 => "eight octets in hexadecimal with hyphens between",
        RdataField::CharacterString | RdataField::CharacterStrings => {
            "a string of at most 255 octets"
        }
        RdataField::Tag => "a tag of letters and digits",
        RdataField::Text => "a string",
        RdataField::NonEmptyText => "a string that isn't empty",
        RdataField::Hexadecimal => "pairs of hexadecimal digits",
        RdataField::Base64 | RdataField::OptionalBase64 => "Base64",
        RdataField::Salt => "a salt of at most 255 octets in hexadecimal, or - for none",
        RdataField::HashedName => "a hash of 1 to 255 octets in Base32hex without padding",
        RdataField::ServiceBitmap => "a port from 0 to 65535, or the name of a service",
        RdataField::Location => location::EXPECTED,
        RdataField::AddressPrefixes => sets::PREFIX,
        RdataField::ServiceParameters => service_parameters::EXPECTED,
        RdataField::IpsecGateway => "a gateway type from 0 to 3",
        RdataField::HostIdentity => "an algorithm, a host identity tag and a key",
    }
}

/// Reads one field.
fn field_of<'s>(
    field: RdataField,
    words: &mut Words<'_, 's>,
    origin: Option<Name<'_>>,
    data: &mut DataBuffer<'_>,
) -> Result<(), Fault<'s>> {
    match field {
        RdataField::Names => {
            while let Ok(text) = words.next_or_end()? {
                name(&text, origin, data)?;
            }
            Ok(())
        }
        RdataField::CharacterStrings => {
            character_string(&words.next(expected(field))?, data)?;
            while let Ok(text) = words.next_or_end()? {
                character_string(&text, data)?;
            }
            Ok(())
        }
        RdataField::Hexadecimal => encoded::hexadecimal(words, data),
        RdataField::Base64 | RdataField::OptionalBase64 => encoded::base64(words, data),
        RdataField::TypeBitmap => sets::types(words, data),
        RdataField::ServiceBitmap => sets::services(words, data),
        RdataField::AddressPrefixes => sets::prefixes(words, data),
        RdataField::Location => location::parse(words, data),
        RdataField::ServiceParameters => service_parameters::parse(words, data),
        RdataField::IpsecGateway => ipsec_gateway(words, origin, data),
        RdataField::HostIdentity => host_identity(words, data),
        _ => one_word(field, &words.next(expected(field))?, origin, data),
    }
}

/// A field that is one word or string.
fn one_word<'s>(
    field: RdataField,
    text: &Text<'s>,
    origin: Option<Name<'_>>,
    data: &mut DataBuffer<'_>,
) -> Result<(), Fault<'s>> {
    let wrong = || fault_at(text, expected(field));
    let word = if text.quoted { &b""[..] } else { text.raw };
    let number = |value: Option<u32>| value.map(u32::to_be_bytes).ok_or_else(wrong);
    match field {
        RdataField::CompressibleName
        | RdataField::Name
        | RdataField::WholeName
        | RdataField::CasedName => name(text, origin, data),
        RdataField::U8 => data.put(&number(numbers::decimal(word, u8::MAX.into()))?[3..], text),
        RdataField::U16 => data.put(&number(numbers::decimal(word, u16::MAX.into()))?[2..], text),
        RdataField::U32 => data.put(&number(numbers::decimal(word, u32::MAX))?, text),
        RdataField::Period => data.put(&number(numbers::time(word, u32::MAX))?, text),
        RdataField::Timestamp => data.put(&number(numbers::timestamp(word))?, text),
        RdataField::Algorithm => data.put(&number(mnemonics::algorithm(word))?[3..], text),
        RdataField::Protocol => data.put(&number(mnemonics::protocol(word))?[3..], text),
        RdataField::CertificateType => {
            data.put(&number(mnemonics::certificate_type(word))?[2..], text)
        }
        RdataField::TypeCode => {
            let code = record_type(word).ok_or_else(wrong)?;
            data.put(&code.0.to_be_bytes(), text)
        }
        RdataField::Ipv4Address => {
            let address = from_str::<Ipv4Addr>(word).ok_or_else(wrong)?;
            data.put(&address.octets(), text)
        }
        RdataField::Ipv6Address => {
            let address = from_str::<Ipv6Addr>(word).ok_or_else(wrong)?;
            data.put(&address.octets(), text)
        }
        RdataField::Eui48 | RdataField::Eui64 => encoded::hyphenated(text, data, wrong),
        RdataField::CharacterString => character_string(text, data),
        RdataField::Tag => {
            let length = u8::try_from(word.len()).map_err(|_| wrong())?;
            data.put(&[length], text)?;
            data.put(word, text)
        }
        RdataField::Text | RdataField::NonEmptyText => octets(text, data),
        RdataField::Salt if word == b"-" => data.put(&[0], text),
        RdataField::Salt => prefixed(text, data, wrong, |data| {
            encoded::hexadecimal_word(text, data, wrong)
        }),
        RdataField::HashedName => prefixed(text, data, wrong, |data| {
            encoded::base32hex_word(text, data, wrong)
        }),
        // Those of several words.
        _ => Err(wrong()),
    }
}

fn name<'s>(
    text: &Text<'s>,
    origin: Option<Name<'_>>,
    data: &mut DataBuffer<'_>,
) -> Result<(), Fault<'s>> {
    data.put(names::parse(text, origin)?.as_name().as_wire(), text)
}

fn record_type(word: &[u8]) -> Option<RecordType> {
    RecordType::from_mnemonic(core::str::from_utf8(word).ok()?)
}

fn from_str<T: FromStr>(word: &[u8]) -> Option<T> {
    core::str::from_utf8(word).ok()?.parse().ok()
}

/// The octets that a text stands for.
fn octets<'s>(text: &Text<'s>, data: &mut DataBuffer<'_>) -> Result<(), Fault<'s>> {
    // Most texts stand for themselves.
    if !text.raw.contains(&b'\\') {
        return data.put(text.raw, text);
    }
    for octet in text.octets() {
        let octet = octet.map_err(|bad| bad_escape(text, bad))?;
        data.put(&[octet.value], text)?;
    }
    Ok(())
}

/// The octets of `text` behind their count.
fn character_string<'s>(text: &Text<'s>, data: &mut DataBuffer<'_>) -> Result<(), Fault<'s>> {
    let wrong = || fault_at(text, expected(RdataField::CharacterString));
    prefixed(text, data, wrong, |data| octets(text, data))
}

/// What `write` writes, behind its count in an octet.
fn prefixed<'s>(
    text: &Text<'s>,
    data: &mut DataBuffer<'_>,
    too_long: impl Fn() -> Fault<'s>,
    write: impl FnOnce(&mut DataBuffer<'_>) -> Result<(), Fault<'s>>,
) -> Result<(), Fault<'s>> {
    let start = data.len();
    data.put(&[0], text)?;
    write(data)?;
    let count = data.len() - start - 1;
    data.written_mut()[start] = u8::try_from(count).map_err(|_| too_long())?;
    Ok(())
}

/// RFC 4025 §3.1: gateway type, algorithm, gateway.
fn ipsec_gateway<'s>(
    words: &mut Words<'_, 's>,
    origin: Option<Name<'_>>,
    data: &mut DataBuffer<'_>,
) -> Result<(), Fault<'s>> {
    const NONE: &str = "a dot, as there is no gateway";
    let kind = words.next(expected(RdataField::IpsecGateway))?;
    let start = data.len();
    one_word(RdataField::U8, &kind, origin, data)?;
    let number = data.written()[start];
    one_word(
        RdataField::U8,
        &words.next(expected(RdataField::U8))?,
        origin,
        data,
    )?;
    let field = match number {
        0 => {
            let dot = words.next(NONE)?;
            let is_dot = !dot.quoted && dot.raw == b".";
            return is_dot.then_some(()).ok_or_else(|| fault_at(&dot, NONE));
        }
        1 => RdataField::Ipv4Address,
        2 => RdataField::Ipv6Address,
        3 => RdataField::WholeName,
        _ => return Err(fault_at(&kind, expected(RdataField::IpsecGateway))),
    };
    one_word(field, &words.next(expected(field))?, origin, data)
}

/// RFC 8005 §6: algorithm, tag in hexadecimal, key in Base64 without white space.
fn host_identity<'s>(
    words: &mut Words<'_, 's>,
    data: &mut DataBuffer<'_>,
) -> Result<(), Fault<'s>> {
    const TAG: &str = "a host identity tag of at most 255 octets in hexadecimal";
    const KEY: &str = "a key of at most 65535 octets in Base64, without white space";
    let algorithm = words.next(expected(RdataField::Algorithm))?;
    let start = data.len();
    data.put(&[0; 4], &algorithm)?;
    let number = Some(algorithm.raw)
        .filter(|_| !algorithm.quoted)
        .and_then(mnemonics::algorithm)
        .ok_or_else(|| fault_at(&algorithm, expected(RdataField::Algorithm)))?;
    let tag = words.next(TAG)?;
    encoded::hexadecimal_word(&tag, data, || fault_at(&tag, TAG))?;
    let tag_length = data.len() - start - 4;
    let key = words.next(KEY)?;
    encoded::base64_word(&key, data, || fault_at(&key, KEY))?;
    let key_length = data.len() - start - 4 - tag_length;
    let header = &mut data.written_mut()[start..start + 4];
    header[0] = u8::try_from(tag_length).map_err(|_| fault_at(&tag, TAG))?;
    header[1] = number as u8; // at most 255
    let key_length = u16::try_from(key_length).map_err(|_| fault_at(&key, KEY))?;
    header[2..].copy_from_slice(&key_length.to_be_bytes());
    Ok(())
}

fn bad_escape<'s>(text: &Text<'s>, bad: BadEscape) -> Fault<'s> {
    Fault {
        position: text.position_of(bad.offset),
        expected: BadEscape::EXPECTED,
        found: Found::Text(text.raw),
    }
}
