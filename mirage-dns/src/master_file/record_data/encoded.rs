//! Octets in hexadecimal, Base64 and Base32hex (RFC 4648 §8, §4, §7).

use crate::record::RdataField;

use super::super::error::{Fault, Found};
use super::super::lexer::Text;
use super::super::numbers;
use super::super::parser::fault_at;
use super::buffer::DataBuffer;
use super::expected;
use super::words::Words;

/// Why a digit was not taken.
enum Stop {
    /// It can't stand here.
    Wrong,
    /// There is no room for the octet that it ends.
    Full,
}

/// Digits of hexadecimal.
#[derive(Default)]
struct Hexadecimal {
    high: Option<u8>,
}

impl Hexadecimal {
    /// Takes a digit; an octet with each second one.
    fn take(&mut self, digit: u8) -> Option<Option<u8>> {
        let value = numbers::hexadecimal(digit)?;
        match self.high.take() {
            Some(high) => Some(Some(high | value)),
            None => {
                self.high = Some(value << 4);
                Some(None)
            }
        }
    }

    /// Whether nothing is missing.
    fn is_whole(&self) -> bool {
        self.high.is_none()
    }
}

/// Digits of Base64.
#[derive(Default)]
struct Base64 {
    bits: u32,
    digits: usize,
    padding: usize,
    /// Padding has ended it.
    ended: bool,
}

impl Base64 {
    /// Takes a digit or padding. What is padded away must be zero, as RFC 4648 §3.5 lets one ask.
    fn take<'s>(
        &mut self,
        digit: u8,
        data: &mut DataBuffer<'_>,
        text: &Text<'s>,
    ) -> Result<(), Stop> {
        let value = match digit {
            b'A'..=b'Z' => digit - b'A',
            b'a'..=b'z' => digit - b'a' + 26,
            b'0'..=b'9' => digit - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            b'=' if self.digits >= 2 => {
                self.padding += 1;
                0
            }
            _ => return Err(Stop::Wrong),
        };
        if self.ended || (self.padding > 0 && digit != b'=') {
            return Err(Stop::Wrong);
        }
        self.bits = self.bits << 6 | u32::from(value);
        self.digits += 1;
        if self.digits < 4 {
            return Ok(());
        }
        let octets = self.bits.to_be_bytes();
        let (whole, rest) = octets[1..].split_at(3 - self.padding);
        if rest.iter().any(|&octet| octet != 0) {
            return Err(Stop::Wrong);
        }
        self.ended = self.padding > 0;
        (self.bits, self.digits) = (0, 0);
        data.put(whole, text).map_err(|_| Stop::Full)
    }

    /// Whether nothing is missing.
    fn is_whole(&self) -> bool {
        self.digits == 0
    }
}

/// Pairs of digits up to the end of the entry, which spaces may tear apart.
pub(super) fn hexadecimal<'s>(
    words: &mut Words<'_, 's>,
    data: &mut DataBuffer<'_>,
) -> Result<(), Fault<'s>> {
    let mut decoder = Hexadecimal::default();
    up_to_end(
        words,
        RdataField::Hexadecimal,
        |digit, text| match decoder.take(digit) {
            Some(Some(octet)) => data.put(&[octet], text).map_err(Some),
            Some(None) => Ok(()),
            None => Err(None),
        },
    )?;
    match decoder.is_whole() {
        true => Ok(()),
        false => Err(words.fault(expected(RdataField::Hexadecimal))?),
    }
}

/// Base64 up to the end of the entry.
pub(super) fn base64<'s>(
    words: &mut Words<'_, 's>,
    data: &mut DataBuffer<'_>,
) -> Result<(), Fault<'s>> {
    let mut decoder = Base64::default();
    up_to_end(words, RdataField::Base64, |digit, text| {
        decoder.take(digit, data, text).map_err(|stop| match stop {
            Stop::Wrong => None,
            Stop::Full => Some(data.full(text)),
        })
    })?;
    match decoder.is_whole() {
        true => Ok(()),
        false => Err(words.fault(expected(RdataField::Base64))?),
    }
}

/// Gives each digit of all words that are left to `take`, which says what is wrong with it, if not that it is no digit.
fn up_to_end<'s>(
    words: &mut Words<'_, 's>,
    field: RdataField,
    mut take: impl FnMut(u8, &Text<'s>) -> Result<(), Option<Fault<'s>>>,
) -> Result<(), Fault<'s>> {
    while let Ok(text) = words.next_or_end()? {
        if text.quoted {
            return Err(fault_at(&text, expected(field)));
        }
        for (offset, &digit) in text.raw.iter().enumerate() {
            take(digit, &text).map_err(|fault| {
                fault.unwrap_or(Fault {
                    position: text.position_of(offset),
                    expected: expected(field),
                    found: Found::Text(text.raw),
                })
            })?;
        }
    }
    Ok(())
}

/// One word of pairs of digits, at least one.
pub(super) fn hexadecimal_word<'s>(
    text: &Text<'s>,
    data: &mut DataBuffer<'_>,
    wrong: impl Fn() -> Fault<'s>,
) -> Result<(), Fault<'s>> {
    let mut decoder = Hexadecimal::default();
    if text.quoted {
        return Err(wrong());
    }
    for &digit in text.raw {
        if let Some(octet) = decoder.take(digit).ok_or_else(&wrong)? {
            data.put(&[octet], text)?;
        }
    }
    decoder.is_whole().then_some(()).ok_or_else(wrong)
}

/// One word of Base64; a string will do.
pub(super) fn base64_word<'s>(
    text: &Text<'s>,
    data: &mut DataBuffer<'_>,
    wrong: impl Fn() -> Fault<'s>,
) -> Result<(), Fault<'s>> {
    let mut decoder = Base64::default();
    for &digit in text.raw {
        decoder.take(digit, data, text).map_err(|stop| match stop {
            Stop::Wrong => wrong(),
            Stop::Full => data.full(text),
        })?;
    }
    decoder.is_whole().then_some(()).ok_or_else(wrong)
}

/// One word of Base32hex without padding; what it has beyond whole octets must be zero, and less than a digit.
pub(super) fn base32hex_word<'s>(
    text: &Text<'s>,
    data: &mut DataBuffer<'_>,
    wrong: impl Fn() -> Fault<'s>,
) -> Result<(), Fault<'s>> {
    if text.quoted {
        return Err(wrong());
    }
    let (mut bits, mut count) = (0u32, 0);
    for &digit in text.raw {
        let value = match digit.to_ascii_lowercase() {
            digit @ b'0'..=b'9' => digit - b'0',
            digit @ b'a'..=b'v' => digit - b'a' + 10,
            _ => return Err(wrong()),
        };
        bits = bits << 5 | u32::from(value);
        count += 5;
        if count >= 8 {
            count -= 8;
            data.put(&[(bits >> count) as u8], text)?;
            bits &= (1 << count) - 1;
        }
    }
    (bits == 0 && count < 5).then_some(()).ok_or_else(wrong)
}

/// Octets of two digits each, with hyphens between.
pub(super) fn hyphenated<'s>(
    text: &Text<'s>,
    data: &mut DataBuffer<'_>,
    wrong: impl Fn() -> Fault<'s>,
) -> Result<(), Fault<'s>> {
    if text.quoted {
        return Err(wrong());
    }
    for digits in text.raw.split(|&byte| byte == b'-') {
        let &[high, low] = digits else {
            return Err(wrong());
        };
        let octet = numbers::hexadecimal(high).zip(numbers::hexadecimal(low));
        let (high, low) = octet.ok_or_else(&wrong)?;
        data.put(&[high << 4 | low], text)?;
    }
    Ok(())
}
