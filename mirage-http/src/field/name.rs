//! The names of the fields that this crate, or most services, look for.

use core::fmt;

macro_rules! field_names {
    ($($name:ident $text:literal $document:literal,)*) => {
        /// The name of a field that is often looked for: told once, when the head is read.
        ///
        /// Names are compared without case (RFC 9110 §5.1); [`as_str`](Self::as_str) gives them in lower case.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[repr(u8)]
        #[non_exhaustive]
        pub enum FieldName {
            $(#[doc = concat!("`", $text, "` (", $document, ")")] $name,)*
        }

        const NAMES: &[FieldName] = &[$(FieldName::$name,)*];

        impl FieldName {
            /// The name in lower case.
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$name => $text,)*
                }
            }
        }
    };
}

field_names! {
    Accept "accept" "RFC 9110 §12.5.1",
    AcceptEncoding "accept-encoding" "RFC 9110 §12.5.3",
    AcceptLanguage "accept-language" "RFC 9110 §12.5.4",
    AcceptRanges "accept-ranges" "RFC 9110 §14.3",
    Age "age" "RFC 9111 §5.1",
    Allow "allow" "RFC 9110 §10.2.1",
    Authorization "authorization" "RFC 9110 §11.6.2",
    CacheControl "cache-control" "RFC 9111 §5.2",
    Connection "connection" "RFC 9110 §7.6.1",
    ContentEncoding "content-encoding" "RFC 9110 §8.4",
    ContentLength "content-length" "RFC 9110 §8.6",
    ContentLocation "content-location" "RFC 9110 §8.7",
    ContentRange "content-range" "RFC 9110 §14.4",
    ContentType "content-type" "RFC 9110 §8.3",
    Cookie "cookie" "RFC 6265 §4.2",
    Date "date" "RFC 9110 §6.6.1",
    Etag "etag" "RFC 9110 §8.8.3",
    Expect "expect" "RFC 9110 §10.1.1",
    Expires "expires" "RFC 9111 §5.3",
    Forwarded "forwarded" "RFC 7239",
    Host "host" "RFC 9110 §7.2",
    IfMatch "if-match" "RFC 9110 §13.1.1",
    IfModifiedSince "if-modified-since" "RFC 9110 §13.1.3",
    IfNoneMatch "if-none-match" "RFC 9110 §13.1.2",
    IfRange "if-range" "RFC 9110 §13.1.5",
    IfUnmodifiedSince "if-unmodified-since" "RFC 9110 §13.1.4",
    KeepAlive "keep-alive" "RFC 9112 §C.2.2",
    LastEventId "last-event-id" "HTML, server-sent events",
    LastModified "last-modified" "RFC 9110 §8.8.2",
    Location "location" "RFC 9110 §10.2.2",
    MaxForwards "max-forwards" "RFC 9110 §7.6.2",
    Origin "origin" "RFC 6454 §7",
    Range "range" "RFC 9110 §14.2",
    Referer "referer" "RFC 9110 §10.1.3",
    RetryAfter "retry-after" "RFC 9110 §10.2.3",
    Server "server" "RFC 9110 §10.2.4",
    SetCookie "set-cookie" "RFC 6265 §4.1",
    Te "te" "RFC 9110 §10.1.4",
    Trailer "trailer" "RFC 9110 §6.6.2",
    TransferEncoding "transfer-encoding" "RFC 9112 §6.1",
    Upgrade "upgrade" "RFC 9110 §7.8",
    UserAgent "user-agent" "RFC 9110 §10.1.5",
    Vary "vary" "RFC 9110 §12.5.5",
    Via "via" "RFC 9110 §7.6.3",
    WwwAuthenticate "www-authenticate" "RFC 9110 §11.6.1",
}

// A set of them is a word.
const _: () = assert!(NAMES.len() < 64);

impl FieldName {
    /// Which it is, if it is one of these.
    #[inline]
    pub fn of(name: &[u8]) -> Option<Self> {
        let (first, last) = (name.first()?, name.last()?);
        let mut place = place(name.len(), *first, *last);
        loop {
            let number = TABLE[place];
            let known = *NAMES.get(usize::from(number.checked_sub(1)?))?;
            if is_same(known.as_str().as_bytes(), name) {
                return Some(known);
            }
            // It ends: a quarter of the table is taken.
            place = (place + 1) % PLACES;
        }
    }

    /// Its bit in a set.
    pub(crate) const fn bit(self) -> u64 {
        1 << self as u8
    }
}

/// Whether `name` is `known`, which is in small letters, in letters of either kind: eight octets at a time.
fn is_same(known: &[u8], name: &[u8]) -> bool {
    /// Of each octet the bit that is all that a letter differs by from its capital.
    const CASE: u64 = 0x2020_2020_2020_2020;
    if known.len() != name.len() {
        return false;
    }
    let (known_words, known_rest) = known.as_chunks::<8>();
    let (words, rest) = name.as_chunks::<8>();
    let mut other = 0;
    for (known, word) in known_words.iter().zip(words) {
        let known = u64::from_ne_bytes(*known);
        // Of what a name has, letters alone are 0x40 and more.
        other |= (known ^ u64::from_ne_bytes(*word)) & !((known >> 1) & CASE);
    }
    for (known, octet) in known_rest.iter().zip(rest) {
        other |= u64::from((known ^ octet) & !((known >> 1) & CASE as u8));
    }
    other == 0
}

impl fmt::Display for FieldName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

const PLACES: usize = 256;

/// The names by length and the letters at both ends: a number in `NAMES` plus one, or 0 where a search ends.
static TABLE: [u8; PLACES] = {
    let mut table = [0; PLACES];
    let mut number = 0;
    while number < NAMES.len() {
        let name = NAMES[number].as_str().as_bytes();
        let mut at = place(name.len(), name[0], name[name.len() - 1]);
        while table[at] != 0 {
            at = (at + 1) % PLACES;
        }
        table[at] = number as u8 + 1;
        number += 1;
    }
    table
};

#[inline]
const fn place(length: usize, first: u8, last: u8) -> usize {
    // Bit 5 is the case of a letter.
    let (first, last) = ((first | 0x20) as usize, (last | 0x20) as usize);
    (length * 31 + first * 7 + last * 3) % PLACES
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_name_is_found_in_any_case() {
        for (number, name) in NAMES.iter().enumerate() {
            assert_eq!(usize::from(*name as u8), number);
            let text = name.as_str();
            assert_eq!(FieldName::of(text.as_bytes()), Some(*name));
            assert_eq!(
                FieldName::of(text.to_ascii_uppercase().as_bytes()),
                Some(*name)
            );
            for other in [&text[1..], &text[..text.len() - 1]] {
                assert_ne!(FieldName::of(other.as_bytes()), Some(*name));
            }
        }
        for other in [
            "",
            "x",
            "hosts",
            "content_length",
            "transfer-encodinG ",
            "cookie2",
        ] {
            assert_eq!(FieldName::of(other.as_bytes()), None, "{other}");
        }
    }

    /// A carriage return is a hyphen but for the bit of a letter's case.
    #[test]
    fn with_any_other_octet_in_any_place_it_is_no_longer_the_name() {
        for name in NAMES {
            let known = name.as_str().as_bytes();
            for place in 0..known.len() {
                for octet in 0..=255 {
                    let mut other = known.to_vec();
                    other[place] = octet;
                    let same = known.eq_ignore_ascii_case(&other);
                    assert_eq!(is_same(known, &other), same, "{other:?}");
                }
            }
        }
    }

    #[test]
    fn a_search_is_short() {
        let longest = TABLE
            .split(|number| *number == 0)
            .map(<[u8]>::len)
            .max()
            .unwrap();
        assert!(longest <= 8, "{longest}");
    }
}
