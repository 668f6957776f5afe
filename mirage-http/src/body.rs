//! Bodies: read from a stream, and what is sent as one.
//!
//! | item | what it is |
//! | --- | --- |
//! | [`BodyReader`] | tells the content in a body that comes in pieces, however it is delimited |
//! | [`BodyStep`], [`BodyError`] | what comes next, or why there is no next |
//! | [`Content`] | octets to send, borrowed from where they lie |

use core::fmt;

use crate::chunked::{ChunkDecoder, ChunkError, ChunkStep};
use crate::field::FieldSlot;
use crate::framing::Framing;
use crate::head::{HeadError, HeadLimits, HeadParser};
use crate::status::Status;

/// How large a body may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BodyLimits {
    /// Octets of content.
    pub content: u64,
    /// Octets of all chunk extensions together.
    pub chunk_extensions: u32,
    /// Octets of the trailers, with the empty line at their end. No more than 65,535 count.
    pub trailers: usize,
}

impl BodyLimits {
    /// 1 MiB of content, 4 KiB of extensions, 4 KiB of trailers.
    pub const DEFAULT: Self = Self {
        content: 1 << 20,
        chunk_extensions: 4_096,
        trailers: 4_096,
    };
}

impl Default for BodyLimits {
    fn default() -> Self {
        Self::DEFAULT
    }
}

/// Tells the content in a body that comes in pieces, without moving it.
///
/// A pure state machine. Its input is what came of the stream and was not yet taken: [`next`](Self::next) says what is in it. The owner
/// lets go of what was skipped and of the content that he took, and gives the rest again, with what came behind it.
#[derive(Clone, Debug)]
pub struct BodyReader {
    state: State,
    limits: BodyLimits,
    /// Octets of content that were taken.
    taken: u64,
}

#[derive(Clone, Debug)]
enum State {
    Length(u64),
    Chunks(ChunkDecoder),
    Trailers(HeadParser),
    UntilClose,
    Complete,
}

/// What comes next in the input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodyStep {
    /// So many octets of content, at least one. Those that the owner takes he tells to [`BodyReader::consume`].
    Content(usize),
    /// Nothing yet: read more, and give it behind what is left.
    NeedInput,
    /// Trailers of so many octets: [`BodyReader::trailers`] reads them. Then the body is complete.
    Trailers(usize),
    /// Nothing any more: what lies behind is another message's.
    Complete,
}

impl BodyReader {
    /// For the body that a head says.
    ///
    /// # Errors
    ///
    /// [`BodyError::TooLarge`], where the head says so already.
    pub fn new(framing: Framing, limits: &BodyLimits) -> Result<Self, BodyError> {
        let state = match framing {
            Framing::None => State::Complete,
            Framing::Length(length) if length > limits.content => return Err(BodyError::TooLarge),
            Framing::Length(length) => State::Length(length),
            Framing::Chunked => State::Chunks(ChunkDecoder::new(limits.chunk_extensions)),
            Framing::UntilClose => State::UntilClose,
        };
        Ok(Self {
            state,
            limits: *limits,
            taken: 0,
        })
    }

    /// For no body.
    pub const fn complete() -> Self {
        Self {
            state: State::Complete,
            limits: BodyLimits::DEFAULT,
            taken: 0,
        }
    }

    /// What comes next in `input`, behind octets that are to be left out first: how many those are.
    ///
    /// # Errors
    ///
    /// [`BodyError`]: the stream is read no further.
    pub fn next(
        &mut self,
        input: &[u8],
        slots: &mut [FieldSlot],
    ) -> Result<(usize, BodyStep), BodyError> {
        let mut skip = 0;
        if let State::Chunks(chunks) = &mut self.state {
            let (skipped, step) = chunks.next(input)?;
            skip = skipped;
            match step {
                ChunkStep::Data(length) => return self.content(skip, length),
                ChunkStep::NeedInput => return Ok((skip, BodyStep::NeedInput)),
                ChunkStep::Trailers => self.state = State::Trailers(HeadParser::trailers()),
            }
        }
        let input = input.get(skip..).unwrap_or_default();
        if input.is_empty() && !self.is_complete() {
            return Ok((skip, BodyStep::NeedInput));
        }
        match &mut self.state {
            State::Trailers(parser) => {
                // The usual case: none, and the empty line is there.
                if input.starts_with(b"\r\n") {
                    self.state = State::Complete;
                    return Ok((skip + 2, BodyStep::Complete));
                }
                let limits = HeadLimits {
                    head: self.limits.trailers,
                    target: 0,
                };
                match parser.parse(input, slots, &limits) {
                    Ok(None) => Ok((skip, BodyStep::NeedInput)),
                    // The empty line came in two pieces.
                    Ok(Some(2)) => {
                        self.state = State::Complete;
                        Ok((skip + 2, BodyStep::Complete))
                    }
                    Ok(Some(length)) => Ok((skip, BodyStep::Trailers(length))),
                    Err(error) => Err(BodyError::Trailers(error)),
                }
            }
            State::Length(left) => {
                let length =
                    usize::try_from(*left).map_or(input.len(), |left| left.min(input.len()));
                Ok((skip, BodyStep::Content(length)))
            }
            State::UntilClose => {
                let length = input.len();
                self.content(skip, length)
            }
            State::Chunks(_) | State::Complete => Ok((skip, BodyStep::Complete)),
        }
    }

    /// Content of a length that no head has said.
    fn content(&self, skip: usize, length: usize) -> Result<(usize, BodyStep), BodyError> {
        // How large it is must not depend on how much came at once.
        let left = self.limits.content - self.taken.min(self.limits.content);
        if left == 0 {
            return Err(BodyError::TooLarge);
        }
        let length = usize::try_from(left).map_or(length, |left| left.min(length));
        Ok((skip, BodyStep::Content(length)))
    }

    /// Says that so many octets of content were taken, or that the trailers were, which are all that is left then. More than
    /// there are count as all.
    pub fn consume(&mut self, length: usize) {
        match &mut self.state {
            State::Length(left) => {
                *left = left.saturating_sub(length as u64);
                if *left == 0 {
                    self.state = State::Complete;
                }
            }
            State::Chunks(chunks) => chunks.consume(length),
            State::Trailers(_) => {
                self.state = State::Complete;
                return;
            }
            State::UntilClose => {}
            State::Complete => return,
        }
        self.taken = self.taken.saturating_add(length as u64);
    }

    /// The trailers, between [`BodyStep::Trailers`] and [`consume`](Self::consume), from the same input and slots. They are what a
    /// sender says behind the content: nothing of framing, routing or authority is to be believed of them (RFC 9110 §6.5.1).
    pub fn trailers<'a>(
        &self,
        input: &'a [u8],
        slots: &'a [FieldSlot],
    ) -> Option<crate::field::Fields<'a>> {
        match &self.state {
            State::Trailers(parser) => parser.fields(input, slots),
            _ => None,
        }
    }

    /// Says that the stream has ended.
    ///
    /// # Errors
    ///
    /// [`BodyError::Truncated`], unless the body may end so, or has ended before.
    pub fn handle_end(&mut self) -> Result<(), BodyError> {
        match self.state {
            State::Complete => Ok(()),
            State::UntilClose => {
                self.state = State::Complete;
                Ok(())
            }
            _ => Err(BodyError::Truncated),
        }
    }

    /// Whether nothing more comes.
    pub fn is_complete(&self) -> bool {
        matches!(self.state, State::Complete)
    }

    /// Octets of content that were taken.
    pub fn taken(&self) -> u64 {
        self.taken
    }

    /// Octets of content that are still to come, where that is known.
    pub fn left(&self) -> Option<u64> {
        match self.state {
            State::Length(left) => Some(left),
            State::Complete => Some(0),
            _ => None,
        }
    }
}

/// Why a body can't be read on: the sender's fault, or more than the owner takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum BodyError {
    /// The chunked coding is wrong.
    Chunk(ChunkError),
    /// The trailers are wrong.
    Trailers(HeadError),
    /// More content than the owner takes.
    TooLarge,
    /// The stream ended before the body did (RFC 9112 §8).
    Truncated,
}

impl BodyError {
    /// What to answer to a request with such a body.
    pub const fn status(self) -> Status {
        match self {
            Self::TooLarge => Status::CONTENT_TOO_LARGE,
            Self::Trailers(error) => error.status(),
            _ => Status::BAD_REQUEST,
        }
    }
}

impl From<ChunkError> for BodyError {
    fn from(error: ChunkError) -> Self {
        Self::Chunk(error)
    }
}

impl fmt::Display for BodyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Chunk(error) => error.fmt(f),
            Self::Trailers(error) => write!(f, "trailers: {error}"),
            Self::TooLarge => f.write_str("body is too large"),
            Self::Truncated => f.write_str("stream ended within a body"),
        }
    }
}

impl core::error::Error for BodyError {}

/// Octets to send, borrowed from where they lie.
///
/// What is [`Static`](Self::Static) lies in the program for as long as it runs: a stream that can send such octets without a copy, as
/// a stack over an I/O page pool can, knows from the variant that it may. Pages are sent by an owner that drives
/// [`ServerConnection`](crate::server::ServerConnection) itself: the machine only counts octets, and never needs to see them.
#[derive(Clone, Copy, Debug)]
pub enum Content<'a> {
    /// Of the program itself.
    Static(&'static [u8]),
    /// Of the caller.
    Borrowed(&'a [u8]),
    /// Pieces of the caller, in order.
    Pieces(&'a [&'a [u8]]),
}

impl<'a> Content<'a> {
    /// None.
    pub const EMPTY: Self = Self::Static(b"");

    /// Octets in all.
    pub fn len(&self) -> usize {
        self.pieces().map(<[u8]>::len).sum()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The pieces, in order.
    pub fn pieces(&self) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        let (one, many): (&'a [u8], &'a [&'a [u8]]) = match *self {
            Self::Static(octets) => (octets, &[]),
            Self::Borrowed(octets) => (octets, &[]),
            Self::Pieces(pieces) => (&[], pieces),
        };
        core::iter::once(one)
            .chain(many.iter().copied())
            .filter(|piece| !piece.is_empty())
    }
}

impl Default for Content<'_> {
    fn default() -> Self {
        Self::EMPTY
    }
}

impl<'a> From<&'a [u8]> for Content<'a> {
    fn from(octets: &'a [u8]) -> Self {
        Self::Borrowed(octets)
    }
}

impl<'a> From<&'a str> for Content<'a> {
    fn from(text: &'a str) -> Self {
        Self::Borrowed(text.as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::field::FieldName;
    use std::string::{String, ToString};
    use std::vec::Vec;

    const LIMITS: BodyLimits = BodyLimits {
        content: 10,
        chunk_extensions: 8,
        trailers: 40,
    };

    /// Content, a trailer's value, and what is left behind the body.
    type Outcome = Result<(String, Option<String>, String), BodyError>;

    fn read(framing: Framing, stream: &str, piece: usize) -> Outcome {
        let mut reader = BodyReader::new(framing, &LIMITS)?;
        let mut slots = [FieldSlot::EMPTY; 2];
        let (mut content, mut trailer, mut input) = (Vec::new(), None, Vec::new());
        let mut pieces = stream.as_bytes().chunks(piece.max(1));
        loop {
            let (skip, step) = reader.next(&input, &mut slots)?;
            input.drain(..skip);
            match step {
                BodyStep::Content(length) => {
                    content.extend(input.drain(..length));
                    reader.consume(length);
                }
                BodyStep::NeedInput => match pieces.next() {
                    Some(piece) => input.extend_from_slice(piece),
                    None => reader.handle_end()?,
                },
                BodyStep::Trailers(length) => {
                    let fields = reader.trailers(&input, &slots).unwrap();
                    let value = fields.get(FieldName::Etag);
                    trailer = value.map(|value| String::from_utf8(value.to_vec()).unwrap());
                    input.drain(..length);
                    reader.consume(length);
                }
                BodyStep::Complete => break,
            }
        }
        assert!(reader.is_complete());
        pieces.for_each(|piece| input.extend_from_slice(piece));
        let text = |octets: Vec<u8>| String::from_utf8(octets).unwrap();
        assert_eq!(reader.taken(), content.len() as u64);
        Ok((text(content), trailer, text(input)))
    }

    fn each_way(framing: Framing, stream: &str) -> Outcome {
        let whole = read(framing, stream, stream.len());
        for piece in [1, 2, 3, 7] {
            assert_eq!(read(framing, stream, piece), whole, "pieces of {piece}");
        }
        whole
    }

    fn body(content: &str, trailer: Option<&str>, rest: &str) -> Outcome {
        Ok((
            content.to_string(),
            trailer.map(str::to_string),
            rest.to_string(),
        ))
    }

    #[test]
    fn what_lies_behind_a_body_is_left() {
        assert_eq!(each_way(Framing::None, "GET"), body("", None, "GET"));
        assert_eq!(
            each_way(Framing::Length(3), "abcGET"),
            body("abc", None, "GET")
        );
        assert_eq!(
            each_way(Framing::Chunked, "3\r\nabc\r\n0\r\n\r\nGET"),
            body("abc", None, "GET")
        );
        assert_eq!(
            each_way(
                Framing::Chunked,
                "3\r\nabc\r\n0\r\nETag: \"x\"\r\nA: b\r\n\r\nGET"
            ),
            body("abc", Some("\"x\""), "GET")
        );
        assert_eq!(
            each_way(Framing::UntilClose, "abcGET"),
            body("abcGET", None, "")
        );
    }

    #[test]
    fn a_body_that_the_stream_ends_within_is_truncated() {
        for (framing, stream) in [
            (Framing::Length(4), "abc"),
            (Framing::Chunked, "4\r\nabc"),
            (Framing::Chunked, "3\r\nabc\r\n0\r\n"),
            (Framing::Chunked, "3\r\nabc\r\n0\r\nA: b\r\n"),
            (Framing::Chunked, ""),
        ] {
            assert_eq!(
                each_way(framing, stream),
                Err(BodyError::Truncated),
                "{stream:?}"
            );
        }
    }

    #[test]
    fn a_body_larger_than_the_limit_is_refused_however_it_is_delimited() {
        assert_eq!(read(Framing::Length(11), "", 1), Err(BodyError::TooLarge));
        assert!(each_way(Framing::Length(10), "0123456789").is_ok());
        assert!(each_way(Framing::Chunked, "a\r\n0123456789\r\n0\r\n\r\n").is_ok());
        for stream in [
            "b\r\n01234567890\r\n0\r\n\r\n",
            "5\r\n01234\r\n5\r\n56789\r\n1\r\n0\r\n",
        ] {
            assert_eq!(each_way(Framing::Chunked, stream), Err(BodyError::TooLarge));
        }
        assert!(each_way(Framing::UntilClose, "0123456789").is_ok());
        assert_eq!(
            each_way(Framing::UntilClose, "01234567890"),
            Err(BodyError::TooLarge)
        );
    }

    #[test]
    fn trailers_are_bounded_and_checked() {
        let wrong = |trailers: &str| {
            let stream = std::format!("0\r\n{trailers}");
            match each_way(Framing::Chunked, &stream) {
                Err(BodyError::Trailers(error)) => error,
                other => panic!("{trailers:?}: {other:?}"),
            }
        };
        assert_eq!(
            wrong("a: b\r\nc: d\r\ne: f\r\n\r\n"),
            HeadError::TooManyFields
        );
        assert_eq!(
            wrong(&std::format!("a: {}\r\n\r\n", "b".repeat(40))),
            HeadError::TooLarge
        );
        assert_eq!(wrong("a : b\r\n\r\n"), HeadError::BlankBeforeColon);
        assert_eq!(wrong("a: b\r\n c\r\n\r\n"), HeadError::FoldedLine);
        assert_eq!(wrong("a: b\n\r\n"), HeadError::BareLineFeed);
        assert_eq!(wrong("\rX"), HeadError::BareCarriageReturn);
        assert_eq!(wrong("GET / HTTP/1.1\r\n\r\n"), HeadError::BlankBeforeColon);
    }

    #[test]
    fn pieces_of_content_are_those_that_are_not_empty() {
        let pieces: [&[u8]; 4] = [b"ab", b"", b"c", b""];
        let content = Content::Pieces(&pieces);
        assert_eq!(content.pieces().collect::<Vec<_>>(), [&b"ab"[..], b"c"]);
        assert_eq!(content.len(), 3);
        assert!(Content::EMPTY.is_empty() && Content::EMPTY.pieces().next().is_none());
        assert_eq!(Content::from("ab").len(), 2);
    }
}
