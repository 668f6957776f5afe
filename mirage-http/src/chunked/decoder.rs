//! Chunks, read.

use core::fmt;

use crate::scan::{hex_digit, is_blank, is_value};

/// Tells the data in a chunked body that comes in pieces, without moving it.
///
/// A pure state machine. Its input is what came and was not yet taken; [`next`](Self::next) says how many octets of it are of the
/// coding itself, and what lies behind them. Extensions are left out (RFC 9112 §7.1.1), and bounded.
///
/// ```
/// use mirage_http::chunked::{ChunkDecoder, ChunkStep};
///
/// let mut decoder = ChunkDecoder::new(1_024);
/// let mut rest = &b"3;x=y\r\nabc\r\n2\r\nde\r\n0\r\n\r\n"[..];
/// let mut data = Vec::new();
/// loop {
///     let (skip, step) = decoder.next(rest)?;
///     rest = &rest[skip..];
///     match step {
///         ChunkStep::Data(length) => {
///             data.extend_from_slice(&rest[..length]);
///             decoder.consume(length);
///             rest = &rest[length..];
///         }
///         ChunkStep::NeedInput => panic!("all of it is there"),
///         ChunkStep::Trailers => break,
///     }
/// }
/// assert_eq!((&data[..], rest), (&b"abcde"[..], &b"\r\n"[..]));
/// # Ok::<(), mirage_http::chunked::ChunkError>(())
/// ```
#[derive(Clone, Debug)]
pub struct ChunkDecoder {
    state: State,
    /// The size of the chunk, while it is being read; then what of its data is still to come.
    left: u64,
    /// Octets of extensions that may still come, in all chunks together.
    extensions: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// The digits of a size: so many were there.
    Size(u8),
    /// Blanks behind a size, which only an extension may follow.
    Blanks,
    Extension,
    SizeLineFeed,
    Data,
    DataReturn,
    DataLineFeed,
    Trailers,
}

/// What comes next in the input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChunkStep {
    /// So many octets of data, at least one. Those that the owner takes he tells to [`ChunkDecoder::consume`].
    Data(usize),
    /// Nothing yet.
    NeedInput,
    /// The trailers, or the empty line in their place: the data is complete.
    Trailers,
}

/// The most digits of a size: zeros before it count, too.
const MAX_DIGITS: u8 = 16;

impl ChunkDecoder {
    /// At the beginning of a body. `extensions` is how many octets all of its chunk extensions together may have.
    pub const fn new(extensions: u32) -> Self {
        Self {
            state: State::Size(0),
            left: 0,
            extensions,
        }
    }

    /// What comes next in `input`, behind the octets of the coding that are to be left out first: how many those are.
    ///
    /// # Errors
    ///
    /// [`ChunkError`]: where the body ends can't be told, and so the stream is read no further.
    pub fn next(&mut self, input: &[u8]) -> Result<(usize, ChunkStep), ChunkError> {
        let mut at = 0;
        loop {
            if self.state == State::Data {
                let there = input.len() - at;
                if self.left == 0 {
                    self.state = State::DataReturn;
                } else if there == 0 {
                    return Ok((at, ChunkStep::NeedInput));
                } else {
                    let length = usize::try_from(self.left).map_or(there, |left| left.min(there));
                    return Ok((at, ChunkStep::Data(length)));
                }
            }
            if self.state == State::Trailers {
                return Ok((at, ChunkStep::Trailers));
            }
            let Some(octet) = input.get(at) else {
                return Ok((at, ChunkStep::NeedInput));
            };
            self.coding(*octet)?;
            at += 1;
        }
    }

    /// Says that so many octets of the data were taken; more than there are count as all.
    pub fn consume(&mut self, length: usize) {
        if self.state == State::Data {
            self.left = self.left.saturating_sub(length as u64);
        }
    }

    /// Whether all data has come.
    pub fn is_complete(&self) -> bool {
        self.state == State::Trailers
    }

    /// An octet of the coding.
    fn coding(&mut self, octet: u8) -> Result<(), ChunkError> {
        self.state = match (self.state, octet) {
            (State::Size(digits), octet) if hex_digit(octet).is_some() => {
                // Sixteen digits are 64 bits: no more of them, no overflow.
                if digits >= MAX_DIGITS {
                    return Err(ChunkError::SizeOverflow);
                }
                let digit = hex_digit(octet).unwrap_or_default();
                self.left = self.left << 4 | u64::from(digit);
                State::Size(digits + 1)
            }
            (State::Size(0), _) => return Err(wrong(octet, ChunkError::Size)),
            (State::Size(_) | State::Extension, b'\r') => State::SizeLineFeed,
            (State::Size(_) | State::Blanks, b';') => State::Extension,
            (State::Size(_) | State::Blanks, octet) if is_blank(octet) => {
                self.count_extension()?;
                State::Blanks
            }
            (State::Size(_) | State::Blanks, _) => return Err(wrong(octet, ChunkError::Size)),
            (State::Extension, octet) if is_value(octet) => {
                self.count_extension()?;
                State::Extension
            }
            (State::Extension, _) => return Err(wrong(octet, ChunkError::Extension)),
            (State::SizeLineFeed, b'\n') if self.left == 0 => State::Trailers,
            (State::SizeLineFeed, b'\n') => State::Data,
            (State::DataReturn, b'\r') => State::DataLineFeed,
            (State::DataReturn, _) => return Err(wrong(octet, ChunkError::End)),
            (State::DataLineFeed, b'\n') => State::Size(0),
            (State::SizeLineFeed | State::DataLineFeed, _) => {
                return Err(ChunkError::BareCarriageReturn);
            }
            // `next` has no octet of the coding for these.
            (State::Data | State::Trailers, _) => self.state,
        };
        Ok(())
    }

    fn count_extension(&mut self) -> Result<(), ChunkError> {
        self.extensions = self
            .extensions
            .checked_sub(1)
            .ok_or(ChunkError::TooManyExtensions)?;
        Ok(())
    }
}

fn wrong(octet: u8, otherwise: ChunkError) -> ChunkError {
    match octet {
        b'\n' => ChunkError::BareLineFeed,
        _ => otherwise,
    }
}

/// Why it can't be told where a chunk ends: the sender's fault, or more than the owner takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ChunkError {
    /// A size without digits, with a sign or a prefix, or with another octet behind it than a line's end or an extension.
    Size,
    /// A size of more than sixteen digits.
    SizeOverflow,
    /// A control in an extension.
    Extension,
    /// More octets of extensions than the owner takes.
    TooManyExtensions,
    /// No line's end where a chunk's data should be over: more or less data than the size said.
    End,
    /// CR without LF.
    BareCarriageReturn,
    /// LF without CR.
    BareLineFeed,
}

impl fmt::Display for ChunkError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Size => "chunk size is no hexadecimal number",
            Self::SizeOverflow => "chunk size is too long",
            Self::Extension => "control in a chunk extension",
            Self::TooManyExtensions => "too many chunk extensions",
            Self::End => "no end of line behind a chunk's data",
            Self::BareCarriageReturn => "CR without LF in chunked coding",
            Self::BareLineFeed => "LF without CR in chunked coding",
        })
    }
}

impl core::error::Error for ChunkError {}
