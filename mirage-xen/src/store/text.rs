//! Strings of xenstore's, looked at with bounds.

/// A decimal number: one to twenty digits and nothing else, below 2⁶⁴. A NUL at the end is not one of them.
///
/// ```
/// use mirage_xen::store::parse_decimal;
///
/// assert_eq!(parse_decimal(b"18446744073709551615"), Some(u64::MAX));
/// for text in [&b""[..], b"-1", b"+1", b" 1", b"1 ", b"1\n", b"0x1", b"18446744073709551616"] {
///     assert_eq!(parse_decimal(text), None);
/// }
/// ```
pub fn parse_decimal(text: &[u8]) -> Option<u64> {
    if text.is_empty() || text.len() > 20 {
        return None;
    }
    text.iter().try_fold(0_u64, |value, byte| {
        let digit = byte.is_ascii_digit().then(|| byte - b'0')?;
        value.checked_mul(10)?.checked_add(digit.into())
    })
}

/// A number as decimal digits, for a key's value.
///
/// ```
/// use mirage_xen::store::Decimal;
///
/// assert_eq!(Decimal::new(1_024).as_bytes(), b"1024");
/// assert_eq!(Decimal::new(0).as_str(), "0");
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Decimal {
    digits: [u8; 20],
    start: usize,
}

impl Decimal {
    /// The digits of a number.
    pub const fn new(mut value: u64) -> Self {
        let mut digits = [b'0'; 20];
        let mut start = 20;
        loop {
            start -= 1;
            digits[start] = b'0' + (value % 10) as u8;
            value /= 10;
            if value == 0 {
                return Self { digits, start };
            }
        }
    }

    /// As bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.digits[self.start..]
    }

    /// As text.
    pub fn as_str(&self) -> &str {
        core::str::from_utf8(self.as_bytes()).unwrap_or_default()
    }
}

/// A string that is the whole payload, as most replies are: one NUL at its end, none inside.
pub(super) fn single_string(payload: &[u8]) -> Option<&[u8]> {
    let text = payload.strip_suffix(b"\0")?;
    (!text.contains(&0)).then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::string::ToString;

    proptest! {
        #[test]
        fn numbers_go_both_ways(value: u64) {
            let decimal = Decimal::new(value);
            prop_assert_eq!(decimal.as_str(), value.to_string());
            prop_assert_eq!(parse_decimal(decimal.as_bytes()), Some(value));
        }

        #[test]
        fn only_digits_are_a_number(text in proptest::collection::vec(any::<u8>(), 0..24)) {
            let digits = !text.is_empty() && text.len() <= 20 && text.iter().all(u8::is_ascii_digit);
            let expected = core::str::from_utf8(&text).ok().filter(|_| digits).and_then(|text| text.parse().ok());
            prop_assert_eq!(parse_decimal(&text), expected);
        }
    }

    #[test]
    fn a_string_has_one_nul_at_its_end() {
        assert_eq!(single_string(b"T\0"), Some(&b"T"[..]));
        assert_eq!(single_string(b"\0"), Some(&b""[..]));
        assert_eq!(single_string(b"T"), None);
        assert_eq!(single_string(b"T\0F\0"), None);
        assert_eq!(single_string(b""), None);
    }
}
