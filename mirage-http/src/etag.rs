//! Entity tags (RFC 9110 §8.8.3).

use core::fmt;

/// An entity tag: opaque octets, compared as they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EntityTag<'a> {
    is_weak: bool,
    opaque: &'a [u8],
}

impl<'a> EntityTag<'a> {
    /// A strong tag of the octets that go between the quotes; `None` if one of them can't.
    pub fn strong(opaque: &'a [u8]) -> Option<Self> {
        opaque
            .iter()
            .all(|octet| is_tag_octet(*octet))
            .then_some(Self {
                is_weak: false,
                opaque,
            })
    }

    /// A weak tag of the octets that go between the quotes; `None` if one of them can't.
    pub fn weak(opaque: &'a [u8]) -> Option<Self> {
        Some(Self {
            is_weak: true,
            ..Self::strong(opaque)?
        })
    }

    /// Reads a tag with nothing around it.
    pub fn parse(text: &'a [u8]) -> Option<Self> {
        let (is_weak, quoted) = match text {
            [b'W', b'/', quoted @ ..] => (true, quoted),
            quoted => (false, quoted),
        };
        let [b'"', opaque @ .., b'"'] = quoted else {
            return None;
        };
        Some(Self {
            is_weak,
            ..Self::strong(opaque)?
        })
    }

    /// Whether it is weak: representations that are alike for all that matters may share it.
    pub fn is_weak(&self) -> bool {
        self.is_weak
    }

    /// The octets between the quotes.
    pub fn opaque(&self) -> &'a [u8] {
        self.opaque
    }

    /// The strong comparison (RFC 9110 §8.8.3.2): the same octets, and neither is weak.
    pub fn is_same(&self, other: &EntityTag<'_>) -> bool {
        !self.is_weak && !other.is_weak && self.opaque == other.opaque
    }

    /// The weak comparison: the same octets.
    pub fn is_like(&self, other: &EntityTag<'_>) -> bool {
        self.opaque == other.opaque
    }
}

impl fmt::Display for EntityTag<'_> {
    /// As it stands in a field; octets above 0x7f as U+FFFD, which only other people's tags have.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.is_weak { "W/\"" } else { "\"" })?;
        for chunk in self.opaque.utf8_chunks() {
            f.write_str(chunk.valid())?;
            if !chunk.invalid().is_empty() {
                f.write_str("\u{fffd}")?;
            }
        }
        f.write_str("\"")
    }
}

/// The tags of a list, `None` for each element that is none. A comma may stand in a tag, and a backslash escapes nothing
/// there, so this is no list as others are.
pub(crate) fn tags(value: &[u8]) -> impl Iterator<Item = Option<EntityTag<'_>>> {
    let mut rest = value;
    core::iter::from_fn(move || {
        while let [b' ' | b'\t' | b',', behind @ ..] = rest {
            rest = behind;
        }
        if rest.is_empty() {
            return None;
        }
        let start = if rest.starts_with(b"W/") { 2 } else { 0 };
        let end = match rest.get(start) {
            Some(b'"') => {
                let quoted = &rest[start + 1..];
                let length = quoted.iter().position(|octet| *octet == b'"');
                length.map_or(rest.len(), |length| start + 1 + length + 1)
            }
            _ => rest
                .iter()
                .position(|octet| *octet == b',')
                .unwrap_or(rest.len()),
        };
        let (element, behind) = rest.split_at(end);
        let is_over = matches!(behind.first(), None | Some(b' ' | b'\t' | b','));
        rest = behind;
        if !is_over {
            // Octets right behind a tag make none of it and of what follows.
            let end = behind.iter().position(|octet| *octet == b',');
            rest = &behind[end.unwrap_or(behind.len())..];
            return Some(None);
        }
        Some(EntityTag::parse(element))
    })
}

/// `etagc` (RFC 9110 §8.8.3): visible, no quotation mark, or obs-text.
fn is_tag_octet(octet: u8) -> bool {
    matches!(octet, 0x21 | 0x23..=0x7e | 0x80..)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::string::ToString;
    use std::vec::Vec;

    fn tag(text: &str) -> EntityTag<'_> {
        EntityTag::parse(text.as_bytes()).unwrap()
    }

    #[test]
    fn the_table_of_rfc_9110_section_8_8_3_2() {
        for (one, other, strong, weak) in [
            ("W/\"1\"", "W/\"1\"", false, true),
            ("W/\"1\"", "W/\"2\"", false, false),
            ("W/\"1\"", "\"1\"", false, true),
            ("\"1\"", "\"1\"", true, true),
        ] {
            let (one, other) = (tag(one), tag(other));
            assert_eq!((one.is_same(&other), one.is_like(&other)), (strong, weak));
        }
    }

    #[test]
    fn what_is_no_tag() {
        for text in [
            "", "1", "\"", "\"1", "1\"", "w/\"1\"", "W/", "W/ \"1\"", "\"a b\"", "\"a\"b\"",
            "\"\t\"",
        ] {
            assert_eq!(EntityTag::parse(text.as_bytes()), None, "{text}");
        }
        assert_eq!(EntityTag::strong(b"a\r\nb"), None);
        assert_eq!(tag("\"\"").opaque(), b"");
        assert_eq!(tag("W/\"a,\\b\"").to_string(), "W/\"a,\\b\"");
    }

    #[test]
    fn a_comma_or_backslash_in_a_tag_is_of_the_tag() {
        let list = |text: &'static str| -> Vec<_> {
            tags(text.as_bytes())
                .map(|tag| tag.map(|tag| tag.to_string()))
                .collect()
        };
        let some = |text: &str| Some(text.to_string());
        assert_eq!(
            list(r#""a,b" , W/"c\",,"d""#),
            [some("\"a,b\""), some("W/\"c\\\""), some("\"d\"")]
        );
        assert_eq!(list("\"a\"x, \"b\""), [None, some("\"b\"")]);
        assert_eq!(list("a, \"b"), [None, None]);
        assert!(list(" , ").is_empty());
    }
}
