//! What is wrong with a master file, and where.

use core::fmt::{self, Write as _};

use super::lexer::Position;

/// The first thing that is wrong with an entry of a master file.
///
/// Displays as `example.zone:12:18: expected an IPv4 address, found "10.0.0.256"`, followed by the chain of
/// `$INCLUDE`s that led there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParseError<'s> {
    /// The name of the source, as its [`Loader`](super::Loader) or the caller gave it.
    pub file: &'s str,
    /// The line, from 1.
    pub line: u32,
    /// The column, from 1, in bytes (a tab is one).
    pub column: u32,
    /// What should have stood there, with its article: `an IPv4 address`.
    pub expected: &'static str,
    /// What stood there.
    pub found: Found<'s>,
    /// In a `$GENERATE`, the number that `$` stands for where it goes wrong.
    pub number: Option<u32>,
    /// The `$INCLUDE`s that led to `file`, the innermost first.
    pub includes: IncludeChain<'s>,
}

/// Files and lines of the `$INCLUDE` directives that led to a place, the innermost first.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct IncludeChain<'s>(heapless::Vec<(&'s str, u32), { super::MAX_INCLUDE_DEPTH }>);

/// What stood where something else was expected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Found<'s> {
    /// This text, as it stands in the source.
    Text(&'s [u8]),
    /// The end of the line (or of the entry, behind parentheses).
    EndOfLine,
    /// The end of the file.
    EndOfFile,
    /// Nothing that could be shown, such as a value left out.
    Nothing,
}

impl ParseError<'_> {
    /// What is wrong, without the place.
    pub(crate) fn problem(&self) -> impl fmt::Display {
        struct Problem<'e, 's>(&'e ParseError<'s>);
        impl fmt::Display for Problem<'_, '_> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                let ParseError {
                    expected, found, ..
                } = self.0;
                write!(f, "expected {expected}, found {found}")?;
                if let Some(number) = self.0.number {
                    write!(f, ", where $ is {number}")?;
                }
                write!(f, "{}", self.0.includes)
            }
        }
        Problem(self)
    }

    /// Whether it is a relative name where there is no origin: the file states none, and
    /// [`Parser::with_origin`](super::Parser::with_origin) gave none.
    pub fn is_without_origin(&self) -> bool {
        self.expected == super::names::NO_ORIGIN
    }
}

impl<'s> IncludeChain<'s> {
    /// Adds the next outer directive; one too many is left out (the parser's depth bound keeps that from happening).
    pub(crate) fn push(&mut self, file: &'s str, line: u32) {
        let _ = self.0.push((file, line));
    }

    /// The file and line of each directive, the innermost first.
    pub fn iter(&self) -> impl Iterator<Item = (&'s str, u32)> + '_ {
        self.0.iter().copied()
    }

    /// Whether the place is in the outermost file.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Display for IncludeChain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (file, line) in self.iter() {
            write!(f, ", included from {file}:{line}")?;
        }
        Ok(())
    }
}

/// The longest text that an error shows, in bytes; of a longer one the beginning.
const SHOWN: usize = 64;

impl fmt::Display for Found<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Found::Text(text) => {
                f.write_char('"')?;
                let shown = &text[..text.len().min(SHOWN)];
                for chunk in shown.utf8_chunks() {
                    for character in chunk.valid().chars() {
                        if character.is_control() {
                            write!(f, "{}", character.escape_default())?;
                        } else {
                            f.write_char(character)?;
                        }
                    }
                    for byte in chunk.invalid() {
                        write!(f, "\\{byte:03}")?;
                    }
                }
                f.write_str(if shown.len() < text.len() {
                    "…\""
                } else {
                    "\""
                })
            }
            Found::EndOfLine => f.write_str("the end of the line"),
            Found::EndOfFile => f.write_str("the end of the file"),
            Found::Nothing => f.write_str("nothing"),
        }
    }
}

impl fmt::Display for ParseError<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}:{}:{}: {}",
            self.file,
            self.line,
            self.column,
            self.problem()
        )
    }
}

impl core::error::Error for ParseError<'_> {}

/// A fault without its file: what the parser's parts hand up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Fault<'s> {
    pub(crate) position: Position,
    pub(crate) expected: &'static str,
    pub(crate) found: Found<'s>,
}

#[cfg(test)]
mod tests {
    use super::*;
    extern crate std;
    use std::string::ToString;

    #[test]
    fn display_is_file_line_column_expected_found() {
        let mut error = ParseError {
            file: "example.zone",
            line: 12,
            column: 18,
            expected: "an IPv4 address",
            found: Found::Text(b"10.0.0.256"),
            number: None,
            includes: IncludeChain::default(),
        };
        assert_eq!(
            error.to_string(),
            "example.zone:12:18: expected an IPv4 address, found \"10.0.0.256\""
        );
        error.includes.push("a.zone", 3);
        error.includes.push("b.zone", 7);
        error.found = Found::EndOfLine;
        assert_eq!(
            error.to_string(),
            "example.zone:12:18: expected an IPv4 address, found the end of the line, included from a.zone:3, \
             included from b.zone:7"
        );
    }

    #[test]
    fn what_was_found_is_shown_without_control_characters_and_not_at_length() {
        assert_eq!(
            Found::Text(b"a\x1b[2J\xff\xc3\xa9").to_string(),
            "\"a\\u{1b}[2J\\255\u{e9}\""
        );
        let long = [b'x'; 1000];
        let shown = Found::Text(&long).to_string();
        assert_eq!(shown, std::format!("\"{}…\"", "x".repeat(SHOWN)));
    }
}
