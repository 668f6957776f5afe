//! The line that is being typed.

use core::fmt;

/// Why a line that was typed can't be had. The typist's fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum LineError {
    /// It is longer than the room for it.
    TooLong,
    /// It isn't UTF-8.
    NotText,
}

impl fmt::Display for LineError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::TooLong => "the line is too long",
            Self::NotText => "the line is no text",
        })
    }
}

impl core::error::Error for LineError {}

/// A line as far as it was typed.
pub(super) struct InputLine<'m> {
    bytes: &'m mut [u8],
    length: usize,
    /// There was more than fits.
    overlong: bool,
    /// The last byte was a carriage return, which ended a line: a line feed behind it belongs to it.
    returned: bool,
}

/// What a byte did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Typed {
    /// The line goes on.
    More,
    /// A line of that length is there.
    Line(usize),
    /// A line ended that can't be had.
    Wrong(LineError),
}

impl<'m> InputLine<'m> {
    pub(super) fn new(bytes: &'m mut [u8]) -> Self {
        Self {
            bytes,
            length: 0,
            overlong: false,
            returned: false,
        }
    }

    pub(super) fn push(&mut self, byte: u8) -> Typed {
        let returned = core::mem::replace(&mut self.returned, byte == b'\r');
        match byte {
            b'\n' if returned => Typed::More,
            b'\r' | b'\n' => {
                let length = core::mem::take(&mut self.length);
                if core::mem::take(&mut self.overlong) {
                    Typed::Wrong(LineError::TooLong)
                } else {
                    Typed::Line(length)
                }
            }
            // Backspace, delete: the last character, with all of its bytes.
            0x08 | 0x7F => {
                while self.length != 0 {
                    self.length -= 1;
                    if self.bytes[self.length] & 0xC0 != 0x80 {
                        break;
                    }
                }
                Typed::More
            }
            0x00..0x20 => Typed::More,
            _ => {
                match self.bytes.get_mut(self.length) {
                    Some(place) => {
                        *place = byte;
                        self.length += 1;
                    }
                    None => self.overlong = true,
                }
                Typed::More
            }
        }
    }

    /// The line that ended last, before anything else is pushed.
    pub(super) fn take(&mut self, length: usize) -> &[u8] {
        self.bytes.get(..length).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;
    use std::string::String;

    fn lines(typed: &[u8]) -> Vec<Result<String, LineError>> {
        let mut bytes = [0; 8];
        let mut line = InputLine::new(&mut bytes);
        let mut lines = Vec::new();
        for byte in typed {
            match line.push(*byte) {
                Typed::More => {}
                Typed::Line(length) => {
                    lines.push(Ok(String::from_utf8_lossy(line.take(length)).into_owned()));
                }
                Typed::Wrong(error) => lines.push(Err(error)),
            }
        }
        lines
    }

    #[test]
    fn each_kind_of_line_end_ends_one_line() {
        let expected = ["a", "b", "", "c"].map(|line| Ok(line.into()));
        assert_eq!(lines(b"a\rb\n\nc\r\nd"), expected);
    }

    #[test]
    fn a_line_that_is_too_long_is_dropped_whole() {
        let expected = [Err(LineError::TooLong), Ok("ok".into())];
        assert_eq!(lines(b"123456789\nok\n"), expected);
        assert_eq!(lines(b"12345678\n"), [Ok("12345678".into())]);
    }

    #[test]
    fn characters_are_taken_back_whole() {
        assert_eq!(
            lines("aü\u{8}b\u{7f}\u{7f}\u{7f}c\n".as_bytes()),
            [Ok("c".into())]
        );
        assert_eq!(lines(b"a\x01\x1B[A\n"), [Ok("a[A".into())]);
    }
}
