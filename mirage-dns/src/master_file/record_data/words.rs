//! The words of one entry, from the first of the data to the last.

use super::super::error::{Fault, Found};
use super::super::lexer::{Lexer, Position, Text};
use super::fault_or_end;

/// A lexer that doesn't pass the end of the entry, and can look one word ahead.
pub(super) struct Words<'l, 's> {
    lexer: &'l mut Lexer<'s>,
    /// The word that was looked at, or where the entry ends.
    ahead: Option<Result<Text<'s>, Position>>,
}

impl<'l, 's> Words<'l, 's> {
    pub(super) fn new(lexer: &'l mut Lexer<'s>) -> Self {
        Self { lexer, ahead: None }
    }

    /// The word that comes next, or where the entry ends.
    pub(super) fn peek(&mut self) -> Result<Result<Text<'s>, Position>, Fault<'s>> {
        match self.ahead {
            Some(ahead) => Ok(ahead),
            None => Ok(*self.ahead.insert(self.lexer.text_or_end()?)),
        }
    }

    /// The next word, or where the entry ends, as often as it is asked for.
    pub(super) fn next_or_end(&mut self) -> Result<Result<Text<'s>, Position>, Fault<'s>> {
        let next = self.peek()?;
        if next.is_ok() {
            self.ahead = None;
        }
        Ok(next)
    }

    /// The next word; a fault at the end of the entry.
    pub(super) fn next(&mut self, expected: &'static str) -> Result<Text<'s>, Fault<'s>> {
        self.next_or_end()?.map_err(|position| Fault {
            position,
            expected,
            found: Found::EndOfLine,
        })
    }

    /// The fault that the next word, or the end of the entry, is.
    pub(super) fn fault(&mut self, expected: &'static str) -> Result<Fault<'s>, Fault<'s>> {
        Ok(fault_or_end(self.peek()?, expected))
    }

    /// Asks for the end of the entry.
    pub(super) fn finish(mut self) -> Result<(), Fault<'s>> {
        match self.peek()? {
            Ok(_) => Err(self.fault("the end of the entry")?),
            Err(_) => Ok(()),
        }
    }
}
