//! Cuts a master file into tokens: words, quoted strings, ends of lines.
//!
//! RFC 1035 §5.1. The lexer takes care of what has no meaning of its own: spaces and tabs, comments, and
//! parentheses, inside which the end of a line is a space. Escapes stay in the token's text ([`Text::octets`] reads
//! them), so that a caller can tell `\.` from `.` and `\#` from `#`.
//!
//! Each byte of the source is looked at once; nothing is stored but positions.

use super::error::{Fault, Found};

/// A place in a source: both counted from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position {
    /// The line, counted from 1. A line ends with a line feed.
    pub line: u32,
    /// The column, counted from 1 in bytes (a tab is one, a UTF-8 sequence as many as it has bytes).
    pub column: u32,
}

impl Position {
    /// The same line, `bytes` further to the right.
    pub(crate) fn plus(self, bytes: usize) -> Self {
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
        Self {
            line: self.line,
            column: self.column.saturating_add(bytes),
        }
    }
}

/// A word or a quoted string, with its escapes still in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Text<'s> {
    /// The bytes as they stand in the source, without the quotes.
    pub(crate) raw: &'s [u8],
    /// Whether it stood in quotes.
    pub(crate) quoted: bool,
    /// Where its first byte is (of a quoted string: the quote).
    pub(crate) position: Position,
}

impl<'s> Text<'s> {
    /// Whether this is the unquoted word `word`, in any case.
    pub(crate) fn is_word(&self, word: &str) -> bool {
        !self.quoted && self.raw.eq_ignore_ascii_case(word.as_bytes())
    }

    /// The octets that the text stands for: `\DDD` and `\X` resolved.
    pub(crate) fn octets(&self) -> Octets<'s> {
        Octets {
            raw: self.raw,
            at: 0,
        }
    }

    /// Where the byte at `offset` of `raw` is; that of the whole token if it runs over more than one line.
    pub(crate) fn position_of(&self, offset: usize) -> Position {
        if self.raw.contains(&b'\n') {
            self.position
        } else {
            self.position.plus(offset + usize::from(self.quoted))
        }
    }
}

/// An octet of a text, resolved.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Octet {
    pub(crate) value: u8,
    /// Whether it was written with a backslash, so that it has no special meaning.
    pub(crate) escaped: bool,
    /// Where it starts in the raw text.
    pub(crate) offset: usize,
}

/// A backslash that isn't followed by what RFC 1035 §5.1 asks for, at this offset of the raw text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct BadEscape {
    pub(crate) offset: usize,
}

impl BadEscape {
    pub(crate) const EXPECTED: &'static str =
        "a character or three digits from 000 to 255 after the backslash";
}

/// Iterator over the octets of a [`Text`]; ends after an error.
#[derive(Debug, Clone)]
pub(crate) struct Octets<'s> {
    raw: &'s [u8],
    at: usize,
}

impl Iterator for Octets<'_> {
    type Item = Result<Octet, BadEscape>;

    fn next(&mut self) -> Option<Self::Item> {
        let offset = self.at;
        let first = *self.raw.get(offset)?;
        if first != b'\\' {
            self.at += 1;
            return Some(Ok(Octet {
                value: first,
                escaped: false,
                offset,
            }));
        }
        let value = match self.raw.get(offset + 1) {
            Some(b'0'..=b'9') => {
                self.at += 4;
                self.raw.get(offset + 1..offset + 4).and_then(decimal_octet)
            }
            Some(&other) => {
                self.at += 2;
                Some(other)
            }
            None => None,
        };
        match value {
            Some(value) => Some(Ok(Octet {
                value,
                escaped: true,
                offset,
            })),
            None => {
                self.at = self.raw.len();
                Some(Err(BadEscape { offset }))
            }
        }
    }
}

/// Three decimal digits as an octet.
fn decimal_octet(digits: &[u8]) -> Option<u8> {
    let mut value = 0u16;
    for digit in digits {
        if !digit.is_ascii_digit() {
            return None;
        }
        value = value * 10 + u16::from(digit - b'0');
    }
    u8::try_from(value).ok()
}

/// What the lexer found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Token<'s> {
    /// White space at the very start of a line, outside parentheses: the owner is left out.
    Blank,
    /// A word or a quoted string.
    Text(Text<'s>),
    /// The end of a line outside parentheses (also the end of a last line without a line feed).
    EndOfLine(Position),
    /// Nothing more.
    EndOfFile(Position),
}

/// The state of the lexer: where it is, and how many parentheses are open.
#[derive(Debug, Clone)]
pub(crate) struct Lexer<'s> {
    source: &'s [u8],
    at: usize,
    line: u32,
    line_start: usize,
    /// Open parentheses, and where the first of them is.
    depth: usize,
    opened: Position,
    /// Whether the entry that started last still lacks its [`Token::EndOfLine`].
    inside_line: bool,
}

impl<'s> Lexer<'s> {
    pub(crate) fn new(source: &'s [u8]) -> Self {
        // A byte order mark, as some editors put before UTF-8, is not part of the first word.
        let at = if source.starts_with(b"\xef\xbb\xbf") {
            3
        } else {
            0
        };
        Self {
            source,
            at,
            line: 1,
            line_start: at,
            depth: 0,
            opened: Position { line: 1, column: 1 },
            inside_line: false,
        }
    }

    /// A lexer of one line that was made, in which a byte order mark is none.
    pub(crate) fn over_line(line: &'s [u8]) -> Self {
        Self {
            at: 0,
            line_start: 0,
            ..Self::new(line)
        }
    }

    /// How many bytes of the source lie behind.
    pub(crate) fn offset(&self) -> usize {
        self.at
    }

    /// Where the next byte is.
    pub(crate) fn position(&self) -> Position {
        self.position_at(self.at)
    }

    fn position_at(&self, at: usize) -> Position {
        let column = at.saturating_sub(self.line_start).saturating_add(1);
        Position {
            line: self.line,
            column: u32::try_from(column).unwrap_or(u32::MAX),
        }
    }

    fn new_line(&mut self) {
        self.line = self.line.saturating_add(1);
        self.line_start = self.at;
    }

    /// The next token. After an error the lexer stands behind what was at fault, so that a caller may go on.
    pub(crate) fn next(&mut self) -> Result<Token<'s>, Fault<'s>> {
        if !self.inside_line && self.depth == 0 && matches!(self.peek(), Some(b' ' | b'\t')) {
            self.skip_spaces();
            self.inside_line = true;
            return Ok(Token::Blank);
        }
        loop {
            self.skip_spaces();
            let position = self.position();
            let Some(byte) = self.peek() else {
                return self.end_of_file(position);
            };
            match byte {
                b';' => self.skip_comment(),
                b'\n' => {
                    self.at += 1;
                    self.new_line();
                    if self.depth == 0 {
                        self.inside_line = false;
                        return Ok(Token::EndOfLine(position));
                    }
                }
                b'\r' => {
                    self.at += 1;
                    if self.peek() != Some(b'\n') {
                        // It is no white space, so an entry has begun: one that is skipped as a whole.
                        self.inside_line = true;
                        return Err(Fault {
                            position,
                            expected: "a line feed after the carriage return",
                            found: Found::Text(&self.source[self.at - 1..self.at]),
                        });
                    }
                }
                b'(' => {
                    self.at += 1;
                    self.inside_line = true;
                    if self.depth == 0 {
                        self.opened = position;
                    }
                    self.depth += 1;
                }
                b')' => {
                    self.at += 1;
                    self.inside_line = true;
                    let Some(depth) = self.depth.checked_sub(1) else {
                        return Err(Fault {
                            position,
                            expected: "an opening parenthesis before the closing one",
                            found: Found::Text(&self.source[self.at - 1..self.at]),
                        });
                    };
                    self.depth = depth;
                }
                b'"' => {
                    self.inside_line = true;
                    return self.quoted(position);
                }
                _ => {
                    self.inside_line = true;
                    return self.word(position);
                }
            }
        }
    }

    /// The next word or string of the entry; a fault at its end.
    pub(crate) fn text(&mut self, expected: &'static str) -> Result<Text<'s>, Fault<'s>> {
        match self.text_or_end()? {
            Ok(text) => Ok(text),
            Err(position) => Err(Fault {
                position,
                expected,
                found: Found::EndOfLine,
            }),
        }
    }

    /// The next word or string of the entry, or where the entry ends.
    pub(crate) fn text_or_end(&mut self) -> Result<Result<Text<'s>, Position>, Fault<'s>> {
        match self.next()? {
            Token::Text(text) => Ok(Ok(text)),
            Token::EndOfLine(position) | Token::EndOfFile(position) => Ok(Err(position)),
            // A blank begins an entry, so it is never inside one.
            Token::Blank => Ok(Err(self.position())),
        }
    }

    /// Asks for the end of the entry.
    pub(crate) fn end_of_entry(&mut self) -> Result<(), Fault<'s>> {
        match self.text_or_end()? {
            Ok(text) => Err(Fault {
                position: text.position,
                expected: "the end of the entry",
                found: Found::Text(text.raw),
            }),
            Err(_) => Ok(()),
        }
    }

    /// Goes behind the entry that has begun, if one has.
    pub(crate) fn skip_entry(&mut self) {
        while self.inside_line || self.depth > 0 {
            // Each fault leaves the lexer further on, or the parentheses closed.
            let _ = self.next();
        }
    }

    fn peek(&self) -> Option<u8> {
        self.source.get(self.at).copied()
    }

    fn skip_spaces(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t')) {
            self.at += 1;
        }
    }

    fn skip_comment(&mut self) {
        while self.peek().is_some_and(|byte| byte != b'\n') {
            self.at += 1;
        }
    }

    fn end_of_file(&mut self, position: Position) -> Result<Token<'s>, Fault<'s>> {
        if self.depth > 0 {
            self.depth = 0;
            return Err(Fault {
                position: self.opened,
                expected: "a closing parenthesis for this one",
                found: Found::EndOfFile,
            });
        }
        if self.inside_line {
            self.inside_line = false;
            return Ok(Token::EndOfLine(position));
        }
        Ok(Token::EndOfFile(position))
    }

    fn word(&mut self, position: Position) -> Result<Token<'s>, Fault<'s>> {
        let start = self.at;
        while let Some(byte) = self.peek() {
            match byte {
                b' ' | b'\t' | b'\r' | b'\n' | b';' | b'(' | b')' | b'"' => break,
                b'\\' => {
                    self.at += 1;
                    match self.peek() {
                        None | Some(b'\r' | b'\n') => {
                            return Err(Fault {
                                position: self.position_at(self.at - 1),
                                expected: BadEscape::EXPECTED,
                                found: Found::Text(&self.source[self.at - 1..self.at]),
                            });
                        }
                        Some(_) => self.at += 1,
                    }
                }
                _ => self.at += 1,
            }
        }
        Ok(Token::Text(Text {
            raw: &self.source[start..self.at],
            quoted: false,
            position,
        }))
    }

    /// "Inside a " delimited string any character can occur, except for a " itself, which must be quoted using \"
    /// (RFC 1035 §5.1): so a line feed can, too.
    fn quoted(&mut self, position: Position) -> Result<Token<'s>, Fault<'s>> {
        self.at += 1;
        let start = self.at;
        while let Some(byte) = self.peek() {
            self.at += 1;
            match byte {
                b'"' => {
                    return Ok(Token::Text(Text {
                        raw: &self.source[start..self.at - 1],
                        quoted: true,
                        position,
                    }));
                }
                b'\\' if self.peek().is_some_and(|next| next != b'\n') => self.at += 1,
                b'\n' => self.new_line(),
                _ => {}
            }
        }
        Err(Fault {
            position,
            expected: "a closing quote for this one",
            found: Found::EndOfFile,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    extern crate std;
    use std::vec::Vec;

    /// All tokens as text: words as they are, quoted ones in quotes, `_` for a blank, `$` for the end of a line.
    fn cut(source: &str) -> Vec<std::string::String> {
        let mut lexer = Lexer::new(source.as_bytes());
        let mut all = Vec::new();
        loop {
            match lexer.next().expect("no lexical error") {
                Token::Blank => all.push("_".into()),
                Token::Text(text) => {
                    let raw = std::str::from_utf8(text.raw).unwrap();
                    all.push(if text.quoted {
                        std::format!("\"{raw}\"")
                    } else {
                        raw.into()
                    });
                }
                Token::EndOfLine(_) => all.push("$".into()),
                Token::EndOfFile(_) => return all,
            }
        }
    }

    fn first_error(source: &str) -> (Position, &'static str) {
        let mut lexer = Lexer::new(source.as_bytes());
        loop {
            match lexer.next() {
                Ok(Token::EndOfFile(_)) => panic!("no error in {source:?}"),
                Ok(_) => {}
                Err(error) => return (error.position, error.expected),
            }
        }
    }

    fn at(line: u32, column: u32) -> Position {
        Position { line, column }
    }

    #[test]
    fn words_blanks_and_comments() {
        assert_eq!(
            cut("a b\tc ; d e\n  f\n\t;\n;\n\n"),
            ["a", "b", "c", "$", "_", "f", "$", "_", "$", "$", "$"]
        );
    }

    #[test]
    fn crlf_ends_a_line_like_lf() {
        assert_eq!(cut("a\r\n b\r\n"), ["a", "$", "_", "b", "$"]);
        assert_eq!(cut("a ; c\r\nb\r\n"), ["a", "$", "b", "$"]);
    }

    #[test]
    fn last_line_without_line_feed_ends_all_the_same() {
        assert_eq!(cut("a"), ["a", "$"]);
        assert_eq!(cut("a ;x"), ["a", "$"]);
        assert_eq!(cut(" "), ["_", "$"]);
        assert!(cut("").is_empty());
    }

    #[test]
    fn parentheses_make_one_line_of_many() {
        assert_eq!(
            cut("a (b ; x\n c\n\n)d( e )\nf"),
            ["a", "b", "c", "d", "e", "$", "f", "$"]
        );
        assert_eq!(cut("a ((b)\nc)\nd"), ["a", "b", "c", "$", "d", "$"]);
        assert_eq!(cut("(\n a )\n b"), ["a", "$", "_", "b", "$"]);
    }

    #[test]
    fn quotes_hold_spaces_comments_and_parentheses() {
        assert_eq!(
            cut(r#"a "b ; (c" "" "d\"e\\" f"g"h"#),
            [
                "a",
                r#""b ; (c""#,
                r#""""#,
                r#""d\"e\\""#,
                "f",
                r#""g""#,
                "h",
                "$"
            ]
        );
        assert_eq!(cut("\"a\nb\" c\nd"), ["\"a\nb\"", "c", "$", "d", "$"]);
    }

    #[test]
    fn escaped_specials_do_not_end_a_word() {
        assert_eq!(
            cut(r#"a\ b\;c\(d\)e\"f\\ g"#),
            [r#"a\ b\;c\(d\)e\"f\\"#, "g", "$"]
        );
    }

    #[test]
    fn positions_count_lines_and_bytes_from_one() {
        let mut lexer = Lexer::new("a  b\n\u{e9} c (\n d".as_bytes());
        let mut found = Vec::new();
        while let Ok(token) = lexer.next() {
            match token {
                Token::Text(text) => found.push(text.position),
                Token::EndOfFile(_) => break,
                _ => {}
            }
        }
        assert_eq!(found, [at(1, 1), at(1, 4), at(2, 1), at(2, 4), at(3, 2)]);
    }

    #[test]
    fn positions_after_a_string_of_two_lines() {
        let mut lexer = Lexer::new(b"\"a\nb\" c");
        lexer.next().unwrap();
        let Ok(Token::Text(c)) = lexer.next() else {
            panic!("no word")
        };
        assert_eq!((c.raw, c.position), (&b"c"[..], at(2, 4)));
    }

    #[test]
    fn faults_say_where_they_are() {
        assert_eq!(
            first_error("a\n (b\n c"),
            (at(2, 2), "a closing parenthesis for this one")
        );
        assert_eq!(first_error("a )").0, at(1, 3));
        assert_eq!(
            first_error("a \"b\nc"),
            (at(1, 3), "a closing quote for this one")
        );
        assert_eq!(first_error("ab\\").0, at(1, 3));
        assert_eq!(first_error("ab\\\nc").0, at(1, 3));
        assert_eq!(first_error("a\rb").0, at(1, 2));
    }

    #[test]
    fn a_byte_order_mark_is_skipped() {
        assert_eq!(cut("\u{feff}a b"), ["a", "b", "$"]);
    }

    fn octets(raw: &str) -> Result<Vec<u8>, usize> {
        let text = Text {
            raw: raw.as_bytes(),
            quoted: false,
            position: at(1, 1),
        };
        text.octets()
            .map(|octet| octet.map(|octet| octet.value).map_err(|bad| bad.offset))
            .collect()
    }

    #[test]
    fn escapes_are_resolved_once() {
        assert_eq!(octets(r"a\.b\\\065\000\255").unwrap(), b"a.b\\A\x00\xff");
        assert_eq!(octets(r"\\065").unwrap(), b"\\065");
    }

    #[test]
    fn escapes_out_of_range_are_faults() {
        assert_eq!(octets(r"ab\256"), Err(2));
        assert_eq!(octets(r"ab\25"), Err(2));
        assert_eq!(octets(r"ab\2x5"), Err(2));
        assert_eq!(octets("\\"), Err(0));
    }
}
