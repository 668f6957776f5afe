//! Lists in values (RFC 9110 §5.6.1).

use crate::scan::trim;

/// The elements of a comma-separated list, without blanks around them. Empty ones are left out (RFC 9110 §5.6.1.2); a comma in a
/// quoted string separates nothing (§5.6.4).
///
/// ```
/// let value = br#"a, "b, \"c", ,d;q=0.5"#;
/// let elements: Vec<&[u8]> = mirage_http::field::elements(value).collect();
/// assert_eq!(elements, [&b"a"[..], br#""b, \"c""#, b"d;q=0.5"]);
/// ```
pub fn elements(value: &[u8]) -> Elements<'_> {
    Elements { rest: value }
}

/// The elements of a list, from [`elements`].
#[derive(Clone, Copy, Debug)]
pub struct Elements<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for Elements<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        while !self.rest.is_empty() {
            let end = end_of_part(self.rest, b',');
            let (element, rest) = self.rest.split_at(end);
            self.rest = rest.get(1..).unwrap_or_default();
            let element = trim(element);
            if !element.is_empty() {
                return Some(element);
            }
        }
        None
    }
}

/// Where the first `separator` outside a quoted string is, or the end.
pub(crate) fn end_of_part(octets: &[u8], separator: u8) -> usize {
    let (mut quoted, mut escaped) = (false, false);
    octets
        .iter()
        .position(|octet| {
            if escaped {
                escaped = false;
                return false;
            }
            match octet {
                b'"' => quoted = !quoted,
                b'\\' if quoted => escaped = true,
                octet if *octet == separator => return !quoted,
                _ => {}
            }
            false
        })
        .unwrap_or(octets.len())
}

/// An element's weight: `;q=` and up to three decimals (RFC 9110 §12.4.2), in thousandths; 1,000 without one. With the rest
/// before it, without blanks. `None` where the weight is none.
pub(crate) fn weight(element: &[u8]) -> Option<(&[u8], u16)> {
    let end = end_of_part(element, b';');
    let (value, mut rest) = element.split_at(end);
    let mut weight = 1_000;
    while let Some(parameters) = rest.get(1..) {
        let end = end_of_part(parameters, b';');
        let (parameter, next) = parameters.split_at(end);
        if let [b'q' | b'Q', b'=', number @ ..] = trim(parameter) {
            weight = quality(number)?;
        }
        rest = next;
    }
    Some((trim(value), weight))
}

fn quality(number: &[u8]) -> Option<u16> {
    let (whole, decimals) = match number {
        [whole @ (b'0' | b'1')] => (*whole, &b""[..]),
        [whole @ (b'0' | b'1'), b'.', decimals @ ..] => (*whole, decimals),
        _ => return None,
    };
    if decimals.len() > 3 {
        return None;
    }
    let mut value = u16::from(whole - b'0');
    for place in 0..3 {
        let digit = decimals
            .get(place)
            .copied()
            .unwrap_or(b'0')
            .wrapping_sub(b'0');
        if digit > 9 {
            return None;
        }
        value = value * 10 + u16::from(digit);
    }
    (value <= 1_000).then_some(value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec::Vec;

    fn list(value: &str) -> Vec<&str> {
        elements(value.as_bytes())
            .map(|element| core::str::from_utf8(element).unwrap())
            .collect()
    }

    #[test]
    fn empty_elements_are_left_out() {
        assert_eq!(list(", a ,\t,b,"), ["a", "b"]);
        assert!(list(" , ,").is_empty());
        assert!(list("").is_empty());
    }

    #[test]
    fn a_comma_in_quotes_separates_nothing() {
        assert_eq!(list(r#""a,b", c"#), [r#""a,b""#, "c"]);
        assert_eq!(list(r#""a\",b", c"#), [r#""a\",b""#, "c"]);
        assert_eq!(list(r#""a, b"#), [r#""a, b"#], "a string that does not end");
        assert_eq!(list(r#"a\, b"#), [r"a\", "b"], "no escape outside quotes");
    }

    #[test]
    fn weights_have_up_to_three_decimals() {
        let weighed = |text: &'static str| weight(text.as_bytes());
        assert_eq!(weighed("gzip"), Some((&b"gzip"[..], 1_000)));
        assert_eq!(weighed("gzip;q=0.5"), Some((&b"gzip"[..], 500)));
        assert_eq!(weighed("gzip ; Q=0.125"), Some((&b"gzip"[..], 125)));
        assert_eq!(weighed("a;x=\";q=0\";q=0"), Some((&b"a"[..], 0)));
        assert_eq!(weighed("a;q=1."), Some((&b"a"[..], 1_000)));
        assert_eq!(weighed("a;q=1.000"), Some((&b"a"[..], 1_000)));
        for bad in [
            "a;q=",
            "a;q=2",
            "a;q=1.001",
            "a;q=0.1234",
            "a;q=-1",
            "a;q=.5",
            "a;q=0.x",
        ] {
            assert_eq!(weighed(bad), None, "{bad}");
        }
    }
}
