//! Domain names as master files write them: relative to an origin, with escapes.

use crate::name::{MAX_LABEL_LENGTH, Name, NameBuf, NameError};

use super::error::{Fault, Found};
use super::lexer::{BadEscape, Text};

/// What a relative name without an origin should have been.
pub(super) const NO_ORIGIN: &str = "an absolute name (ending in a dot), as there is no origin";

/// Reads `text` as a name. One without a final dot is relative to `origin`; `@` is `origin` itself (RFC 1035 §5.1).
///
/// # Errors
/// A fault at the label or the escape that is wrong.
pub(crate) fn parse<'s>(text: &Text<'s>, origin: Option<Name<'_>>) -> Result<NameBuf, Fault<'s>> {
    let fault = |offset: usize, expected| Fault {
        position: text.position_of(offset),
        expected,
        found: Found::Text(text.raw),
    };
    let origin = || origin.ok_or_else(|| fault(0, NO_ORIGIN));
    if text.quoted {
        return Err(fault(0, "a domain name, without quotes"));
    }
    match text.raw {
        b"@" => return Ok(origin()?.to_owned()),
        b"." => return Ok(NameBuf::new()),
        _ => {}
    }

    let mut name = NameBuf::new();
    let mut label = heapless::Vec::<u8, MAX_LABEL_LENGTH>::new();
    let mut label_at = 0;
    for octet in text.octets() {
        let octet = octet.map_err(|bad| fault(bad.offset, BadEscape::EXPECTED))?;
        if octet.value == b'.' && !octet.escaped {
            name.push_label(&label)
                .map_err(|error| fault(label_at, expected(error)))?;
            label.clear();
            label_at = octet.offset + 1;
        } else {
            label
                .push(octet.value)
                .map_err(|_| fault(label_at, expected(NameError::LabelTooLong)))?;
        }
    }
    // If the last character was a dot, it ended the last label: the name is absolute.
    if label_at < text.raw.len() {
        name.push_label(&label)
            .map_err(|error| fault(label_at, expected(error)))?;
        name.push_name(origin()?)
            .map_err(|error| fault(0, expected(error)))?;
    }
    Ok(name)
}

fn expected(error: NameError) -> &'static str {
    match error {
        NameError::EmptyLabel => "a label that isn't empty",
        NameError::LabelTooLong => "a label of at most 63 octets",
        NameError::NameTooLong => "a name of at most 255 octets in wire form",
        NameError::BadEscape => BadEscape::EXPECTED,
        _ => "a domain name",
    }
}

#[cfg(test)]
mod tests {
    use super::super::lexer::Position;
    use super::*;
    use std::string::{String, ToString as _};

    const START: Position = Position { line: 3, column: 5 };

    fn read(raw: &str, origin: Option<&str>) -> Result<String, (u32, &'static str)> {
        let text = Text {
            raw: raw.as_bytes(),
            quoted: false,
            position: START,
        };
        let origin = origin.map(|origin| NameBuf::from_text(origin).unwrap());
        parse(&text, origin.as_ref().map(NameBuf::as_name))
            .map(|name| name.to_string())
            .map_err(|fault| (fault.position.column, fault.expected))
    }

    #[test]
    fn relative_absolute_origin_and_root() {
        let origin = Some("example.org");
        assert_eq!(read("www", origin).unwrap(), "www.example.org.");
        assert_eq!(read("www.a", origin).unwrap(), "www.a.example.org.");
        assert_eq!(read("www.", origin).unwrap(), "www.");
        assert_eq!(read("@", origin).unwrap(), "example.org.");
        assert_eq!(read(".", origin).unwrap(), ".");
        assert_eq!(read("www", Some(".")).unwrap(), "www.");
        assert_eq!(read("www.", None).unwrap(), "www.");
    }

    #[test]
    fn escapes_take_the_meaning_from_dots_and_the_at_sign() {
        let origin = Some("o");
        assert_eq!(read(r"a\.b", origin).unwrap(), r"a\.b.o.");
        assert_eq!(read(r"a\.b.", origin).unwrap(), r"a\.b.");
        assert_eq!(read(r"a\.", origin).unwrap(), r"a\..o.");
        assert_eq!(read(r"a\046b.", origin).unwrap(), r"a\.b.");
        assert_eq!(read(r"\@", origin).unwrap(), r"\@.o.");
        assert_eq!(read(r"\000\255.", origin).unwrap(), r"\000\255.");
    }

    #[test]
    fn a_name_without_an_origin_must_be_absolute() {
        for relative in ["www", "@"] {
            assert_eq!(read(relative, None).unwrap_err().1, NO_ORIGIN);
        }
    }

    #[test]
    fn faults_point_at_the_label() {
        let origin = Some("o");
        assert_eq!(read("a..b", origin), Err((7, "a label that isn't empty")));
        assert_eq!(read("..", origin), Err((5, "a label that isn't empty")));
        assert_eq!(read(".a", origin), Err((5, "a label that isn't empty")));
        assert_eq!(read(r"ab\300", origin), Err((7, BadEscape::EXPECTED)));
        let long = "x".repeat(64);
        assert_eq!(
            read(&std::format!("ab.{long}.c"), origin),
            Err((8, "a label of at most 63 octets"))
        );
        assert!(read(&long[1..], origin).is_ok());
    }

    #[test]
    fn name_over_255_octets_is_refused_with_the_origin_counted() {
        // Four labels of 62 octets are 252 octets, and the root 253.
        let text = std::format!("{0}.{0}.{0}.{0}", "x".repeat(62));
        assert!(read(&text, Some(".")).is_ok());
        assert_eq!(
            read(&text, Some("oo")),
            Err((5, "a name of at most 255 octets in wire form"))
        );
        assert!(read(&std::format!("{text}.o."), None).is_ok());
        assert_eq!(
            read(&std::format!("{text}.oo."), None),
            Err((257, "a name of at most 255 octets in wire form"))
        );
    }

    #[test]
    fn quoted_names_are_refused() {
        let text = Text {
            raw: b"www",
            quoted: true,
            position: START,
        };
        assert!(parse(&text, Some(Name::ROOT)).is_err());
    }
}
