//! Decimal numbers, TTLs with units, and hexadecimal digits.

use crate::record::{days_of_month, days_of_year};
use crate::zone_set::MAX_TTL;

use super::lexer::Text;

/// A decimal number of digits alone, at most `maximum`.
pub(crate) fn decimal(digits: &[u8], maximum: u32) -> Option<u32> {
    if digits.is_empty() {
        return None;
    }
    let mut value = 0u32;
    for digit in digits {
        if !digit.is_ascii_digit() {
            return None;
        }
        value = value
            .checked_mul(10)?
            .checked_add(u32::from(digit - b'0'))?;
    }
    (value <= maximum).then_some(value)
}

/// A time in seconds, at most `maximum`: a number alone, or numbers with a unit each (`1h30m`; w, d, h, m and s in
/// either case, each at most as often as one likes, as BIND takes them).
pub(crate) fn time(text: &[u8], maximum: u32) -> Option<u32> {
    if text.last()?.is_ascii_digit() {
        return decimal(text, maximum);
    }
    let mut total = 0u32;
    let mut rest = text;
    while !rest.is_empty() {
        let digits = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
        let count = decimal(&rest[..digits], u32::MAX)?;
        let seconds = match rest.get(digits)?.to_ascii_lowercase() {
            b'w' => 604_800,
            b'd' => 86_400,
            b'h' => 3_600,
            b'm' => 60,
            b's' => 1,
            _ => return None,
        };
        total = total.checked_add(count.checked_mul(seconds)?)?;
        rest = &rest[digits + 1..];
    }
    (total <= maximum).then_some(total)
}

/// A [`time`] that isn't in quotes.
pub(crate) fn ttl(text: &Text<'_>) -> Option<u32> {
    if text.quoted {
        return None;
    }
    time(text.raw, MAX_TTL)
}

/// Seconds since 1970, as such (at most ten digits) or as YYYYMMDDHHmmSS (fourteen digits, RFC 4034 §3.2).
///
/// The RFC has both in serial arithmetic; dates that 32 bits don't reach without it, after 2106-02-07 06:28:15, are no
/// times here.
pub(crate) fn timestamp(text: &[u8]) -> Option<u32> {
    let Ok(&text) = <&[u8; 14]>::try_from(text) else {
        return Some(text)
            .filter(|text| text.len() <= 10)
            .and_then(|text| decimal(text, u32::MAX));
    };
    let part = |at: usize, length: usize, least: u32, most: u32| {
        decimal(&text[at..at + length], most).filter(|&value| value >= least)
    };
    let year = part(0, 4, 1970, 2106)?;
    let month = part(4, 2, 1, 12)?;
    let day = part(6, 2, 1, days_of_month(year, month))?;
    let (hour, minute, second) = (part(8, 2, 0, 23)?, part(10, 2, 0, 59)?, part(12, 2, 0, 59)?);
    let days = (1970..year).map(days_of_year).sum::<u32>()
        + (1..month)
            .map(|month| days_of_month(year, month))
            .sum::<u32>()
        + day
        - 1;
    let time = 3_600 * hour + 60 * minute + second;
    days.checked_mul(86_400)?.checked_add(time)
}

/// The value of a hexadecimal digit of either case.
pub(crate) fn hexadecimal(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        b'A'..=b'F' => Some(digit - b'A' + 10),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decimals_have_bounds_and_only_digits() {
        assert_eq!(decimal(b"0", 9), Some(0));
        assert_eq!(decimal(b"0065535", 65_535), Some(65_535));
        assert_eq!(decimal(b"65536", 65_535), None);
        assert_eq!(decimal(b"4294967295", u32::MAX), Some(u32::MAX));
        assert_eq!(decimal(b"4294967296", u32::MAX), None);
        assert_eq!(decimal(b"99999999999999999999", u32::MAX), None);
        for bad in [&b""[..], b"+1", b"-1", b"1 ", b"0x1", b"1h"] {
            assert_eq!(decimal(bad, u32::MAX), None, "{bad:?}");
        }
    }

    #[test]
    fn times_take_units_as_bind_does() {
        assert_eq!(time(b"3600", MAX_TTL), Some(3_600));
        assert_eq!(time(b"1h30m", MAX_TTL), Some(5_400));
        assert_eq!(
            time(b"1W2D3H4M5S", MAX_TTL),
            Some(604_800 + 172_800 + 10_800 + 240 + 5)
        );
        assert_eq!(time(b"30m1h", MAX_TTL), Some(5_400));
        assert_eq!(time(b"0s", MAX_TTL), Some(0));
        assert_eq!(time(b"2147483647", MAX_TTL), Some(MAX_TTL));
        for bad in [
            &b""[..],
            b"h",
            b"1h30",
            b"1y",
            b"1hh",
            b"2147483648",
            b"9999999w",
            b"1h2147483647s",
            b"-1",
        ] {
            assert_eq!(time(bad, MAX_TTL), None, "{bad:?}");
        }
    }
}
