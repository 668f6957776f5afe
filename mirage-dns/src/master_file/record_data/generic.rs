//! RFC 3597 §5: `\#`, "an unsigned decimal integer specifying the RDATA length in octets", and that many octets as "zero or
//! more words of hexadecimal data".

use crate::record::{RecordType, check_rdata};

use super::super::error::{Fault, Found};
use super::super::lexer::{Position, Text};
use super::super::numbers;
use super::super::parser::fault_at;
use super::buffer::{DataBuffer, MAX_DATA};
use super::words::Words;

pub(super) const EXPECTED: &str =
    r"\# and the length of the data, as this type has no other form here";
const LENGTH: &str = "the length of the data in octets, from 0 to 65535";
const DIGITS: &str = "pairs of hexadecimal digits, as many as the length says";

/// Whether a text begins data in this form.
pub(super) fn is_mark(text: &Text<'_>) -> bool {
    !text.quoted && text.raw == br"\#"
}

pub(super) fn parse<'s>(
    record_type: RecordType,
    words: &mut Words<'_, 's>,
    data: &mut DataBuffer<'_>,
) -> Result<(), Fault<'s>> {
    let mark = words.next(EXPECTED)?;
    let text = words.next(LENGTH)?;
    let length = Some(text.raw)
        .filter(|_| !text.quoted)
        .and_then(|digits| numbers::decimal(digits, MAX_DATA as u32))
        .ok_or_else(|| fault_at(&text, LENGTH))? as usize;
    if length > data.capacity() {
        return Err(data.full(&text));
    }
    // A pair of digits may be torn apart by a space: RFC 3597 asks for an even number only in all.
    let mut high = None;
    let end: Position = loop {
        let word = match words.next_or_end()? {
            Ok(word) => word,
            Err(end) => break end,
        };
        if word.quoted {
            return Err(fault_at(&word, DIGITS));
        }
        for (offset, &digit) in word.raw.iter().enumerate() {
            let value = numbers::hexadecimal(digit)
                .filter(|_| data.len() < length)
                .ok_or(Fault {
                    position: word.position_of(offset),
                    expected: DIGITS,
                    found: Found::Text(word.raw),
                })?;
            match high.take() {
                None => high = Some(value << 4),
                Some(high) => data.put(&[high | value], &word)?,
            }
        }
    };
    if data.len() < length || high.is_some() {
        return Err(Fault {
            position: end,
            expected: DIGITS,
            found: Found::EndOfLine,
        });
    }
    // The generic form may be used for a known type too; its data is still that of the type.
    check_rdata(record_type, data.written())
        .map_err(|_| fault_at(&mark, "data in the form that this type prescribes"))
}
