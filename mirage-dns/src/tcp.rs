//! Messages on a stream: two octets of length before each (RFC 1035 §4.2.2, RFC 7766 §8).
//!
//! | item | what it is |
//! |------|------------|
//! | [`FrameReader`] | puts messages together from whatever pieces the stream gives |
//! | [`FrameError`] | why a stream cannot go on |
//! | [`length_prefix`] | what to write before a message |
//!
//! A pure state machine on the caller's buffer, which bounds what a stream may hold. It has
//! - inputs: [`FrameReader::handle`], or [`FrameReader::space`] and [`FrameReader::handle_received`] without a copy;
//! - outputs: [`FrameReader::message`], then [`FrameReader::consume`];
//! - a getter: [`FrameReader::is_between_messages`], which tells a clean end of the stream from a cut message.
//!
//! ```
//! use mirage_dns::tcp::FrameReader;
//!
//! let mut buffer = [0; 512];
//! let mut frames = FrameReader::new(&mut buffer);
//! for octet in [0, 3, b'a', b'b', b'c'] {
//!     assert_eq!(frames.message(), Ok(None));
//!     assert_eq!(frames.handle(&[octet]), 1);
//! }
//! assert_eq!(frames.message(), Ok(Some(&b"abc"[..])));
//! frames.consume();
//! assert!(frames.is_between_messages());
//! ```

use core::error::Error;
use core::fmt;

/// Octets of the length before each message.
pub const LENGTH_PREFIX: usize = 2;

/// The octets that go before a message of this length; `None` above 65,535.
pub fn length_prefix(message_length: usize) -> Option<[u8; LENGTH_PREFIX]> {
    u16::try_from(message_length).ok().map(u16::to_be_bytes)
}

/// Puts the messages of a stream together.
///
/// The buffer holds the message that is coming in and what came behind it. Messages that are longer than the buffer end
/// the stream: a server that wants no request above 512 octets gives 514. Several messages may wait in it (RFC 7766
/// §6.2.1.1); while one does, the owner takes no more from the stream than there is space, so a fast sender is slowed
/// down by TCP.
#[derive(Debug)]
pub struct FrameReader<'b> {
    buffer: &'b mut [u8],
    /// Where the next message's length begins.
    start: usize,
    /// The end of what was received.
    end: usize,
}

impl<'b> FrameReader<'b> {
    /// One that has received nothing. The longest message that it takes is two octets shorter than `buffer`.
    pub fn new(buffer: &'b mut [u8]) -> Self {
        Self {
            buffer,
            start: 0,
            end: 0,
        }
    }

    /// Where to put what is received next. Empty when the buffer is full: then a message is there, or an error.
    pub fn space(&mut self) -> &mut [u8] {
        if self.start > 0 {
            self.buffer.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
        }
        &mut self.buffer[self.end..]
    }

    /// Says that the first `length` octets of [`Self::space`] were filled; more than there were count as all.
    pub fn handle_received(&mut self, length: usize) {
        self.end = self.end.saturating_add(length).min(self.buffer.len());
    }

    /// Copies as many of `octets` as there is space for; how many that was.
    pub fn handle(&mut self, octets: &[u8]) -> usize {
        let space = self.space();
        let length = octets.len().min(space.len());
        space[..length].copy_from_slice(&octets[..length]);
        self.handle_received(length);
        length
    }

    /// The next message, once it is whole. It stays until [`Self::consume`].
    ///
    /// # Errors
    /// [`FrameError`]: the stream cannot be read on, and the owner closes it.
    pub fn message(&self) -> Result<Option<&[u8]>, FrameError> {
        let received = &self.buffer[self.start..self.end];
        let Some((prefix, rest)) = received.split_first_chunk::<LENGTH_PREFIX>() else {
            // Not even a length fits into a buffer of one octet.
            return match self.buffer.len() {
                0..LENGTH_PREFIX => Err(FrameError::TooLong(0)),
                _ => Ok(None),
            };
        };
        let length = u16::from_be_bytes(*prefix);
        if length == 0 {
            return Err(FrameError::Empty);
        }
        if LENGTH_PREFIX + usize::from(length) > self.buffer.len() {
            return Err(FrameError::TooLong(length));
        }
        Ok(rest.get(..usize::from(length)))
    }

    /// Lets go of the message that [`Self::message`] gave. Without one, nothing happens.
    pub fn consume(&mut self) {
        if let Ok(Some(message)) = self.message() {
            self.start += LENGTH_PREFIX + message.len();
        }
    }

    /// Whether nothing of a next message has come: the stream may end here.
    pub fn is_between_messages(&self) -> bool {
        self.start == self.end
    }
}

/// Why a stream of messages cannot be read on: the sender's fault, or its wish for more than the owner gives.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum FrameError {
    /// A message of length zero, which no one has a use for: it has not even an ID to answer to.
    Empty,
    /// A message of this length, longer than the buffer.
    TooLong(u16),
}

impl fmt::Display for FrameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => f.write_str("a message of length zero"),
            Self::TooLong(length) => write!(f, "a message of {length} octets is too long"),
        }
    }
}

impl Error for FrameError {}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::vec::Vec;

    /// All messages of a stream that comes in pieces, or what ended it.
    fn read_all<'p>(
        room: usize,
        pieces: impl Iterator<Item = &'p [u8]>,
    ) -> Result<Vec<Vec<u8>>, FrameError> {
        let mut buffer = std::vec![0; room];
        let mut frames = FrameReader::new(&mut buffer);
        let mut messages = Vec::new();
        for mut piece in pieces {
            while !piece.is_empty() {
                let taken = frames.handle(piece);
                piece = &piece[taken..];
                while let Some(message) = frames.message()? {
                    messages.push(message.to_vec());
                    frames.consume();
                }
                assert!(taken > 0, "neither space nor a message");
            }
        }
        Ok(messages)
    }

    #[test]
    fn segments_of_one_octet_make_messages() {
        let stream = b"\0\x03abc\0\x01d\x01\0";
        let mut long = stream.to_vec();
        long.extend([b'x'; 256]);
        let messages = read_all(300, long.chunks(1)).unwrap();
        assert_eq!(
            messages,
            [b"abc".to_vec(), b"d".to_vec(), [b'x'; 256].to_vec()]
        );
    }

    #[test]
    fn several_messages_in_one_segment_come_one_by_one() {
        let messages = read_all(64, [&b"\0\x01a\0\x02bc\0\x01"[..], b"d"].into_iter()).unwrap();
        assert_eq!(messages, [b"a".to_vec(), b"bc".to_vec(), b"d".to_vec()]);
    }

    #[test]
    fn message_of_length_zero_ends_the_stream() {
        assert_eq!(
            read_all(64, [&b"\0\0"[..]].into_iter()),
            Err(FrameError::Empty)
        );
    }

    #[test]
    fn message_longer_than_the_buffer_ends_the_stream_at_its_length() {
        assert_eq!(
            read_all(64, [&b"\0\x3f"[..]].into_iter()),
            Err(FrameError::TooLong(63))
        );
        let fits = [b"\0\x3e".as_slice(), &[b'x'; 62]].concat();
        assert_eq!(read_all(64, fits.chunks(7)).unwrap().len(), 1);
        for room in 0..2 {
            assert!(FrameReader::new(&mut std::vec![0; room]).message().is_err());
        }
        assert_eq!(
            read_all(2, [&b"\0\x01a"[..]].into_iter()),
            Err(FrameError::TooLong(1))
        );
    }

    #[test]
    fn sender_that_is_not_read_from_is_slowed_down_not_stored() {
        let mut buffer = [0; 8];
        let mut frames = FrameReader::new(&mut buffer);
        assert_eq!(frames.handle(b"\0\x02ab\0\x02cd\0\x02ef"), 8);
        assert!(frames.space().is_empty());
        assert_eq!(frames.message(), Ok(Some(&b"ab"[..])));
        frames.consume();
        assert_eq!(frames.handle(b"\0\x02ef"), 4);
        assert_eq!(frames.message(), Ok(Some(&b"cd"[..])));
    }

    #[test]
    fn end_inside_a_message_is_told_from_a_clean_one() {
        let mut buffer = [0; 8];
        let mut frames = FrameReader::new(&mut buffer);
        assert!(frames.is_between_messages());
        frames.handle(b"\0");
        assert!(!frames.is_between_messages());
        frames.handle(b"\x01");
        frames.handle(b"a");
        frames.consume();
        assert!(frames.is_between_messages());
        frames.consume();
        assert!(frames.is_between_messages());
    }

    #[test]
    fn lengths_are_written_up_to_65535() {
        assert_eq!(length_prefix(0x1234), Some([0x12, 0x34]));
        assert_eq!(length_prefix(65_535), Some([0xff, 0xff]));
        assert_eq!(length_prefix(65_536), None);
    }

    proptest! {
        #[test]
        fn messages_come_out_as_they_went_in(
            messages in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..60), 0..10),
            piece in 1usize..80,
        ) {
            let mut stream = Vec::new();
            for message in &messages {
                stream.extend(length_prefix(message.len()).unwrap());
                stream.extend_from_slice(message);
            }
            prop_assert_eq!(read_all(62, stream.chunks(piece)), Ok(messages));
        }
    }
}
