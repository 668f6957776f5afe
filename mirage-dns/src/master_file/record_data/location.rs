//! Places on the Earth (RFC 1876 §3).

use crate::record::{DEGREE, MIDDLE, SPHEROID};

use super::super::error::Fault;
use super::super::lexer::Text;
use super::super::numbers;
use super::super::parser::fault_at;
use super::buffer::DataBuffer;
use super::words::Words;

pub(super) const EXPECTED: &str = "a place: latitude, longitude and altitude";
const LATITUDE: &str = "a latitude up to 90 degrees: degrees, minutes, seconds, and N or S";
const LONGITUDE: &str = "a longitude up to 180 degrees: degrees, minutes, seconds, and E or W";
const ALTITUDE: &str = "an altitude in metres, from -100000.00 to 42849672.95";
const SIZE: &str = "a length in metres, up to 90000000.00";

/// "d1 [m1 [s1]] {"N"|"S"} d2 [m2 [s2]] {"E"|"W"} alt["m"] [siz["m"] [hp["m"] [vp["m"]]]]"
pub(super) fn parse<'s>(
    words: &mut Words<'_, 's>,
    data: &mut DataBuffer<'_>,
) -> Result<(), Fault<'s>> {
    let start = data.len();
    let first = words.next(LATITUDE)?;
    // Version 0; a size of 1 m, precisions of 10,000 m and 10 m, "if omitted".
    data.put(&[0, 0x12, 0x16, 0x13], &first)?;
    let latitude = angle(first, words, 90, *b"NS", LATITUDE)?;
    data.put(&latitude.to_be_bytes(), &first)?;
    let second = words.next(LONGITUDE)?;
    let longitude = angle(second, words, 180, *b"EW", LONGITUDE)?;
    data.put(&longitude.to_be_bytes(), &second)?;
    let text = words.next(ALTITUDE)?;
    let altitude = altitude(&text).ok_or_else(|| fault_at(&text, ALTITUDE))?;
    data.put(&altitude.to_be_bytes(), &text)?;
    for at in 1..=3 {
        let Ok(text) = words.next_or_end()? else {
            break;
        };
        let length = metres(&text, text.raw).and_then(in_digits);
        data.written_mut()[start + at] = length.ok_or_else(|| fault_at(&text, SIZE))?;
    }
    Ok(())
}

/// Degrees, minutes and thousandths of seconds, the latter two if one likes, and a direction.
fn angle<'s>(
    first: Text<'s>,
    words: &mut Words<'_, 's>,
    most: u32,
    directions: [u8; 2],
    expected: &'static str,
) -> Result<u32, Fault<'s>> {
    let mut text = first;
    let mut off = 0u64;
    // Of each part: places behind the point, the first value that it can't have, and what one is worth.
    let parts = [
        (0, u64::from(most) + 1, u64::from(DEGREE)),
        (0, 60, 60_000),
        (3, 60_000, 1),
    ];
    for (index, (places, bound, worth)) in parts.into_iter().enumerate() {
        if index > 0
            && let Some(direction) = direction(&text, directions)
        {
            return signed(off, most, direction).ok_or_else(|| fault_at(&text, expected));
        }
        let value = if text.quoted {
            None
        } else {
            fixed_point(text.raw, places)
        };
        let value = value.filter(|&value| value < bound);
        off += value.ok_or_else(|| fault_at(&text, expected))? * worth;
        text = words.next(expected)?;
    }
    direction(&text, directions)
        .and_then(|direction| signed(off, most, direction))
        .ok_or_else(|| fault_at(&text, expected))
}

/// Whether a word is the first of two directions, if it is one of them.
fn direction(text: &Text<'_>, [positive, negative]: [u8; 2]) -> Option<bool> {
    match *text.raw {
        [letter] if text.quoted || !letter.is_ascii_alphabetic() => None,
        [letter] if letter.eq_ignore_ascii_case(&positive) => Some(true),
        [letter] if letter.eq_ignore_ascii_case(&negative) => Some(false),
        _ => None,
    }
}

fn signed(off: u64, most: u32, is_positive: bool) -> Option<u32> {
    let off = u32::try_from(off)
        .ok()
        .filter(|&off| off <= most * DEGREE)?;
    Some(if is_positive {
        MIDDLE + off
    } else {
        MIDDLE - off
    })
}

fn altitude(text: &Text<'_>) -> Option<u32> {
    let spheroid = u64::from(SPHEROID);
    let centimetres = match text.raw.strip_prefix(b"-") {
        Some(below) => spheroid.checked_sub(metres(text, below)?)?,
        None => spheroid + metres(text, text.raw)?,
    };
    u32::try_from(centimetres).ok()
}

/// Metres, with an m behind them or without, in centimetres.
fn metres(text: &Text<'_>, digits: &[u8]) -> Option<u64> {
    if text.quoted {
        return None;
    }
    let digits = digits
        .strip_suffix(b"m")
        .or(digits.strip_suffix(b"M"))
        .unwrap_or(digits);
    fixed_point(digits, 2)
}

/// A length in centimetres as a digit and a power of ten. What further digits say is lost, as in RFC 1876 §A.
fn in_digits(centimetres: u64) -> Option<u8> {
    let (mut digit, mut exponent) = (centimetres, 0);
    while digit > 9 {
        digit /= 10;
        exponent += 1;
    }
    // Both are at most 9.
    (exponent <= 9).then_some((digit << 4) as u8 | exponent)
}

/// A decimal number with at most so many digits behind its point, in units of the last of them.
fn fixed_point(text: &[u8], places: usize) -> Option<u64> {
    let mut parts = text.splitn(2, |&byte| byte == b'.');
    let mut value = u64::from(numbers::decimal(parts.next()?, u32::MAX)?);
    let fraction = parts.next().unwrap_or(b"0");
    if fraction.is_empty() || fraction.len() > places.max(1) {
        return None;
    }
    if places == 0 {
        return (!text.contains(&b'.')).then_some(value);
    }
    for place in 0..places {
        let digit = fraction.get(place).copied().unwrap_or(b'0');
        value = value * 10 + u64::from(digit.is_ascii_digit().then(|| digit - b'0')?);
    }
    Some(value)
}
