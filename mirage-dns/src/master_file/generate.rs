//! `$GENERATE`: a line that stands for many, as BIND's manual describes it ("The $GENERATE Directive").

use core::fmt::Write as _;

use super::error::{Fault, Found};
use super::lexer::{Lexer, Position, Text, Token};
use super::numbers;
use super::parser::{HEADER, fault_at, header_word};

/// The most octets of a template with its white space and comments, and of a line that is made of it.
pub(super) const MAX_LINE: usize = 2_048;

/// A line that was made of a template.
pub(super) type Line = heapless::Vec<u8, MAX_LINE>;

const RANGE: &str = "a range of numbers up to 2147483647, such as 1-254 or 0-255/2";
const TOO_LONG: &str = "a $GENERATE whose template and lines have at most 2048 octets each";
const MODIFIER: &str =
    "${offset,width,base} with a width up to 255 and a base of d, o, x, X, n or N";
const NUMBER: &str = "an offset with which each number is one from 0 to 4294967295";

/// A `$GENERATE` that is being followed.
#[derive(Debug, Clone)]
pub(super) struct Generate<'s> {
    /// Where its word is.
    pub(super) position: Position,
    /// Stands before the template's owner.
    template: Lexer<'s>,
    /// The template's data is one quoted string, in which the data stands.
    is_quoted: bool,
    range: Range,
}

/// The numbers that are still to come.
#[derive(Debug, Clone, Copy)]
struct Range {
    next: Option<u32>,
    stop: u32,
    step: u32,
}

impl<'s> Generate<'s> {
    /// Reads the directive from behind its word up to the end of its entry.
    pub(super) fn parse(word: &Text<'s>, lexer: &mut Lexer<'s>) -> Result<Self, Fault<'s>> {
        let text = lexer.text(RANGE)?;
        let range = range(&text).ok_or_else(|| fault_at(&text, RANGE))?;
        let template = lexer.clone();
        lexer.text("the name of an owner, with $ for the number")?;
        // A type follows that is no TTL and no class; what it is, the first line that is made says.
        while header_word(&lexer.text(HEADER)?).is_some() {}
        let (mut count, mut last_is_quoted) = (0, false);
        while let Ok(text) = lexer.text_or_end()? {
            count += 1;
            last_is_quoted = text.quoted;
        }
        // It is read again for each number.
        if lexer.offset() - template.offset() > MAX_LINE {
            return Err(fault_at(word, TOO_LONG));
        }
        Ok(Self {
            position: word.position,
            template,
            is_quoted: count == 1 && last_is_quoted,
            range,
        })
    }

    /// How many records are still to be made.
    pub(super) fn count(&self) -> u32 {
        let Range { next, stop, step } = self.range;
        next.map_or(0, |next| (stop - next) / step + 1)
    }

    /// The number of the next record.
    pub(super) fn next_number(&mut self) -> Option<u32> {
        let number = self.range.next?;
        let next = number.checked_add(self.range.step);
        self.range.next = next.filter(|&next| next <= self.range.stop);
        Some(number)
    }

    /// Makes the line for a number.
    pub(super) fn line(&self, number: u32) -> Result<Line, Fault<'s>> {
        let mut line = Line::new();
        let _ = self.write(number, &mut line, usize::MAX)?;
        Ok(line)
    }

    /// What is wrong with the line for a number, said of the template.
    pub(super) fn fault(&self, number: u32, column: u32, expected: &'static str) -> Fault<'s> {
        match self.write(number, &mut Line::new(), column as usize) {
            Ok(Ok(text)) => fault_at(&text, expected),
            Ok(Err(position)) => Fault {
                position,
                expected,
                found: Found::EndOfLine,
            },
            Err(fault) => fault,
        }
    }

    /// Writes words up to the one that reaches column `until`: that word, or where the template ends.
    fn write(
        &self,
        number: u32,
        line: &mut Line,
        until: usize,
    ) -> Result<Result<Text<'s>, Position>, Fault<'s>> {
        let mut lexer = self.template.clone();
        let mut has_type = false;
        let mut is_owner = true;
        loop {
            let text = match lexer.next()? {
                Token::Text(text) => text,
                Token::EndOfLine(position) | Token::EndOfFile(position) => {
                    return Ok(Err(position));
                }
                Token::Blank => continue,
            };
            if !is_owner {
                put(b" ", &text, line)?;
            }
            if is_owner || has_type {
                let quote: &[u8] = if text.quoted && !self.is_quoted {
                    b"\""
                } else {
                    b""
                };
                put(quote, &text, line)?;
                self.substitute(&text, number, line)?;
                put(quote, &text, line)?;
            } else {
                has_type = header_word(&text).is_none();
                put(text.raw, &text, line)?;
            }
            is_owner = false;
            if line.len() >= until {
                return Ok(Ok(text));
            }
        }
    }

    /// Writes a word with the number in it.
    fn substitute(&self, text: &Text<'s>, number: u32, line: &mut Line) -> Result<(), Fault<'s>> {
        let mut rest = text.raw;
        while let Some((&first, after)) = rest.split_first() {
            rest = match (first, after) {
                (b'$', [b'$', after @ ..]) => {
                    put(b"$", text, line)?;
                    after
                }
                (b'$', [b'{', after @ ..]) => {
                    let offset = text.raw.len() - rest.len();
                    let fault = |expected| Fault {
                        position: text.position_of(offset),
                        expected,
                        found: Found::Text(text.raw),
                    };
                    let end = after.iter().position(|&byte| byte == b'}');
                    let (inside, after) = after.split_at(end.ok_or_else(|| fault(MODIFIER))?);
                    let modifier = Modifier::parse(inside).ok_or_else(|| fault(MODIFIER))?;
                    let value = modifier.value(number).ok_or_else(|| fault(NUMBER))?;
                    modifier
                        .write(value, line)
                        .ok_or_else(|| fault_at(text, TOO_LONG))?;
                    &after[1..]
                }
                (b'$', after) => {
                    write!(line, "{number}").map_err(|_| fault_at(text, TOO_LONG))?;
                    after
                }
                // Data inside a string has its own strings, with these quotes.
                (b'\\', [b'"', after @ ..]) if self.is_quoted && text.quoted => {
                    put(b"\"", text, line)?;
                    after
                }
                // One that is escaped is no sign for the number, and a line feed would end the line.
                (b'\\', [escaped, after @ ..]) if *escaped != b'\n' => {
                    put(&[b'\\', *escaped], text, line)?;
                    after
                }
                (b'\n', after) => {
                    put(br"\010", text, line)?;
                    after
                }
                (other, after) => {
                    put(&[other], text, line)?;
                    after
                }
            };
        }
        Ok(())
    }
}

/// `start-stop` or `start-stop/step`.
fn range(text: &Text<'_>) -> Option<Range> {
    const MOST: u32 = i32::MAX as u32;
    if text.quoted {
        return None;
    }
    let minus = text.raw.iter().position(|&byte| byte == b'-')?;
    let (start, rest) = (&text.raw[..minus], &text.raw[minus + 1..]);
    let mut parts = rest.splitn(2, |&byte| byte == b'/');
    let start = numbers::decimal(start, MOST)?;
    let stop = numbers::decimal(parts.next()?, MOST).filter(|&stop| start <= stop)?;
    let step = parts
        .next()
        .map_or(Some(1), |step| numbers::decimal(step, MOST));
    Some(Range {
        next: Some(start),
        stop,
        step: step.filter(|&step| step > 0)?,
    })
}

fn put<'s>(octets: &[u8], text: &Text<'s>, line: &mut Line) -> Result<(), Fault<'s>> {
    let put = line.extend_from_slice(octets);
    put.map_err(|_| fault_at(text, TOO_LONG))
}

/// What stands between the braces of `${offset,width,base}`; width and base may be left out.
struct Modifier {
    offset: i64,
    width: usize,
    base: u8,
}

impl Modifier {
    fn parse(inside: &[u8]) -> Option<Self> {
        let mut parts = inside.splitn(3, |&byte| byte == b',');
        let offset = parts.next()?;
        let (is_negative, digits) = match offset {
            [b'-', digits @ ..] => (true, digits),
            [b'+', digits @ ..] => (false, digits),
            digits => (false, digits),
        };
        let offset = i64::from(numbers::decimal(digits, u32::MAX)?);
        let width = parts
            .next()
            .map_or(Some(0), |width| numbers::decimal(width, u8::MAX.into()))?;
        let base = match parts.next() {
            None => b'd',
            Some(&[base @ (b'd' | b'o' | b'x' | b'X' | b'n' | b'N')]) => base,
            Some(_) => return None,
        };
        Some(Self {
            offset: if is_negative { -offset } else { offset },
            width: width as usize, // at most 255
            base,
        })
    }

    fn value(&self, number: u32) -> Option<u32> {
        u32::try_from(i64::from(number) + self.offset).ok()
    }

    /// Writes a value with zeroes before it up to the width. In bases n and N it is written from its last hexadecimal digit
    /// to its first, with dots between, and the width counts the dots.
    fn write(&self, mut value: u32, line: &mut Line) -> Option<()> {
        let width = self.width;
        match self.base {
            b'd' => write!(line, "{value:0width$}").ok(),
            b'o' => write!(line, "{value:0width$o}").ok(),
            b'x' => write!(line, "{value:0width$x}").ok(),
            b'X' => write!(line, "{value:0width$X}").ok(),
            base => {
                let mut left = width;
                loop {
                    let digit = value & 15;
                    match base {
                        b'n' => write!(line, "{digit:x}").ok()?,
                        _ => write!(line, "{digit:X}").ok()?,
                    }
                    value >>= 4;
                    left = left.saturating_sub(1);
                    if value == 0 && left == 0 {
                        return Some(());
                    }
                    line.push(b'.').ok()?;
                    left = left.saturating_sub(1);
                    if value == 0 && left == 0 {
                        return Some(());
                    }
                }
            }
        }
    }
}
