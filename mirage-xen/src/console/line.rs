//! Lines, and what may not be in them.

use core::fmt::{self, Write};

/// Where lines go, one at a time. The end of the line is the sink's business.
pub trait LineSink {
    /// Says a line. Control characters in it are escaped. Never waits; a line for which there is no room is dropped
    /// and counted.
    fn line(&self, line: fmt::Arguments<'_>);
}

/// Writes on, with control characters escaped: C0 with the line ends, DEL, and C1 (as `\n`, `\u{1b}`).
pub(super) struct Escape<'a>(pub(super) &'a mut dyn Write);

impl Write for Escape<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let mut rest = text;
        while let Some(index) = rest.find(char::is_control) {
            let (plain, tail) = rest.split_at(index);
            self.0.write_str(plain)?;
            let mut characters = tail.chars();
            match characters.next() {
                Some('\t') => self.0.write_str("\\t")?,
                Some('\r') => self.0.write_str("\\r")?,
                Some('\n') => self.0.write_str("\\n")?,
                Some(control) => write!(self.0, "\\u{{{:x}}}", u32::from(control))?,
                None => {}
            }
            rest = characters.as_str();
        }
        self.0.write_str(rest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::string::String;

    #[test]
    fn nothing_in_a_line_can_end_it_or_move_the_cursor() {
        let mut line = String::new();
        write!(Escape(&mut line), "a\r\nb\u{1b}[2J\u{7f}\u{9b}c\tü\0").unwrap();
        assert_eq!(line, r"a\r\nb\u{1b}[2J\u{7f}\u{9b}c\tü\u{0}");
    }
}
