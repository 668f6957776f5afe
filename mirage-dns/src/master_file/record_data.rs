//! The data of a record: each type's fields as [`RecordType::rdata_fields`] lists them, or RFC 3597's `\#`.

use core::net::{Ipv4Addr, Ipv6Addr};
use core::str::FromStr;

use crate::name::Name;
use crate::record::{RdataField, RecordType, check_rdata};

use super::error::{Fault, Found};
use super::lexer::{BadEscape, Lexer, Position, Text};
use super::parser::fault_at;
use super::{names, numbers};

/// The most octets that a record's data can have: its length is sent in 16 bits (RFC 1035 §3.2.1).
const MAX_DATA: usize = 65_535;

/// Data being written to the front of the caller's buffer.
pub(crate) struct DataBuffer<'b> {
    buffer: &'b mut [u8],
    length: usize,
}

/// The buffer is full.
struct Full;

impl<'b> DataBuffer<'b> {
    pub(crate) fn new(buffer: &'b mut [u8]) -> Self {
        let length = buffer.len().min(MAX_DATA);
        Self {
            buffer: &mut buffer[..length],
            length: 0,
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.length
    }

    fn written(&self) -> &[u8] {
        &self.buffer[..self.length]
    }

    fn push(&mut self, octets: &[u8]) -> Result<(), Full> {
        let end = self.length + octets.len();
        self.buffer
            .get_mut(self.length..end)
            .ok_or(Full)?
            .copy_from_slice(octets);
        self.length = end;
        Ok(())
    }
}

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
    let Some(fields) = record_type.rdata_fields() else {
        let text = lexer.text(GENERIC)?;
        if !is_generic(&text) {
            return Err(fault_at(&text, GENERIC));
        }
        return generic(record_type, &text, lexer, data);
    };
    let mut first = true;
    for &field in fields {
        let text = lexer.text(expected(field))?;
        if first && is_generic(&text) {
            return generic(record_type, &text, lexer, data);
        }
        first = false;
        parse_field(field, &text, lexer, origin, data)?;
        if field == RdataField::CharacterStrings {
            // It has read up to the end of the entry.
            return Ok(());
        }
    }
    lexer.end_of_entry()
}

const GENERIC: &str = r"\# and the length of the data, as this type has no other form here";

/// What stands in the place of a field when it is right.
fn expected(field: RdataField) -> &'static str {
    match field {
        RdataField::CompressibleName | RdataField::Name => "a domain name",
        RdataField::U8 => "a number from 0 to 255",
        RdataField::U16 => "a number from 0 to 65535",
        RdataField::U32 => "a number from 0 to 4294967295",
        RdataField::Period => "a time: seconds up to 4294967295, or with units such as 1h30m",
        RdataField::Ipv4Address => "an IPv4 address",
        RdataField::Ipv6Address => "an IPv6 address",
        RdataField::CharacterString | RdataField::CharacterStrings => {
            "a string of at most 255 octets"
        }
    }
}

fn parse_field<'s>(
    field: RdataField,
    text: &Text<'s>,
    lexer: &mut Lexer<'s>,
    origin: Option<Name<'_>>,
    data: &mut DataBuffer<'_>,
) -> Result<(), Fault<'s>> {
    let wrong = || fault_at(text, expected(field));
    let word = if text.quoted { &b""[..] } else { text.raw };
    let pushed = match field {
        RdataField::CompressibleName | RdataField::Name => {
            data.push(names::parse(text, origin)?.as_name().as_wire())
        }
        RdataField::U8 => {
            let value = numbers::decimal(word, u8::MAX.into()).ok_or_else(wrong)?;
            data.push(&value.to_be_bytes()[3..])
        }
        RdataField::U16 => {
            let value = numbers::decimal(word, u16::MAX.into()).ok_or_else(wrong)?;
            data.push(&value.to_be_bytes()[2..])
        }
        RdataField::U32 => {
            let value = numbers::decimal(word, u32::MAX).ok_or_else(wrong)?;
            data.push(&value.to_be_bytes())
        }
        RdataField::Period => {
            let value = numbers::time(word, u32::MAX).ok_or_else(wrong)?;
            data.push(&value.to_be_bytes())
        }
        RdataField::Ipv4Address => {
            data.push(&from_str::<Ipv4Addr>(word).ok_or_else(wrong)?.octets())
        }
        RdataField::Ipv6Address => {
            data.push(&from_str::<Ipv6Addr>(word).ok_or_else(wrong)?.octets())
        }
        RdataField::CharacterString => character_string(text, data)?,
        RdataField::CharacterStrings => {
            let mut pushed = character_string(text, data)?;
            while let Ok(next) = lexer.text_or_end()? {
                if pushed.is_err() {
                    break;
                }
                pushed = character_string(&next, data)?;
            }
            pushed
        }
    };
    pushed.map_err(|Full| full(text, data))
}

fn from_str<T: FromStr>(word: &[u8]) -> Option<T> {
    core::str::from_utf8(word).ok()?.parse().ok()
}

/// The octets of `text` behind their count.
fn character_string<'s>(
    text: &Text<'s>,
    data: &mut DataBuffer<'_>,
) -> Result<Result<(), Full>, Fault<'s>> {
    let start = data.length;
    let mut count = 0u8;
    let mut pushed = data.push(&[0]);
    for octet in text.octets() {
        let octet = octet.map_err(|bad| bad_escape(text, bad))?;
        count = count
            .checked_add(1)
            .ok_or_else(|| fault_at(text, expected(RdataField::CharacterString)))?;
        if pushed.is_ok() {
            pushed = data.push(&[octet.value]);
        }
    }
    if pushed.is_ok() {
        data.buffer[start] = count;
    }
    Ok(pushed)
}

fn is_generic(text: &Text<'_>) -> bool {
    !text.quoted && text.raw == br"\#"
}

/// RFC 3597 §5: `\#`, "an unsigned decimal integer specifying the RDATA length in octets", and that many octets as
/// "zero or more words of hexadecimal data".
fn generic<'s>(
    record_type: RecordType,
    mark: &Text<'s>,
    lexer: &mut Lexer<'s>,
    data: &mut DataBuffer<'_>,
) -> Result<(), Fault<'s>> {
    const LENGTH: &str = "the length of the data in octets, from 0 to 65535";
    const DIGITS: &str = "pairs of hexadecimal digits, as many as the length says";
    let text = lexer.text(LENGTH)?;
    let length = Some(text.raw)
        .filter(|_| !text.quoted)
        .and_then(|digits| numbers::decimal(digits, MAX_DATA as u32))
        .ok_or_else(|| fault_at(&text, LENGTH))? as usize;
    if length > data.buffer.len() {
        return Err(full(&text, data));
    }
    // A pair of digits may be torn apart by a space: RFC 3597 asks for an even number only in all.
    let mut high = None;
    let end: Position = loop {
        let word = match lexer.text_or_end()? {
            Ok(word) => word,
            Err(end) => break end,
        };
        if word.quoted {
            return Err(fault_at(&word, DIGITS));
        }
        for (offset, &digit) in word.raw.iter().enumerate() {
            let value = numbers::hexadecimal(digit)
                .filter(|_| data.length < length)
                .ok_or(Fault {
                    position: word.position_of(offset),
                    expected: DIGITS,
                    found: Found::Text(word.raw),
                })?;
            match high.take() {
                None => high = Some(value << 4),
                Some(high) => {
                    data.buffer[data.length] = high | value;
                    data.length += 1;
                }
            }
        }
    };
    if data.length < length || high.is_some() {
        return Err(Fault {
            position: end,
            expected: DIGITS,
            found: Found::EndOfLine,
        });
    }
    // The generic form may be used for a known type too; its data is still that of the type.
    check_rdata(record_type, data.written())
        .map_err(|_| fault_at(mark, "data in the form that this type prescribes"))
}

fn full<'s>(text: &Text<'s>, data: &DataBuffer<'_>) -> Fault<'s> {
    fault_at(
        text,
        if data.buffer.len() < MAX_DATA {
            "a record whose data fits into the buffer that was given"
        } else {
            "a record whose data has at most 65535 octets"
        },
    )
}

fn bad_escape<'s>(text: &Text<'s>, bad: BadEscape) -> Fault<'s> {
    Fault {
        position: text.position_of(bad.offset),
        expected: BadEscape::EXPECTED,
        found: Found::Text(text.raw),
    }
}
