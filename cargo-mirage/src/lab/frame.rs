//! The frames that pass between the tool and the agent in dom0, and between `cargo mirage lab --dom0` and the tool.
//!
//! A frame is a header line, `VERB COMMAND LENGTH` in decimal with a line feed, then LENGTH bytes. COMMAND is a number
//! that whoever asks has chosen; several commands may run at once.
//!
//! | verb | direction | what it carries |
//! | --- | --- | --- |
//! | `in` | to dom0 | bytes to be the command's input; sent before `run`, as often as needed |
//! | `run` | to dom0 | a script for `sh -c`; starts the command |
//! | `kill` | to dom0 | nothing; the command and all it started are killed |
//! | `hello` | from dom0 | the first frame: seconds of uptime |
//! | `out` | from dom0 | what the command wrote to its standard output, as it comes |
//! | `err` | from dom0 | what the command wrote to its standard error, as it comes |
//! | `end` | from dom0 | the command's exit status in decimal, 128 and the signal if one ended it; the last frame |

use std::io::{self, BufRead, Read, Write};

/// The most bytes that a frame may carry. Longer data goes in several frames.
pub const MAXIMUM_LENGTH: usize = 1 << 16;

/// The longest header line, in bytes.
const MAXIMUM_HEADER: u64 = 40;

/// What a frame is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verb {
    /// Input for a command that is to run.
    In,
    /// The command itself.
    Run,
    /// End it.
    Kill,
    /// The agent is there.
    Hello,
    /// Standard output.
    Out,
    /// Standard error.
    Err,
    /// It ended.
    End,
}

impl Verb {
    const ALL: [(Self, &'static str); 7] = [
        (Self::In, "in"),
        (Self::Run, "run"),
        (Self::Kill, "kill"),
        (Self::Hello, "hello"),
        (Self::Out, "out"),
        (Self::Err, "err"),
        (Self::End, "end"),
    ];

    fn from_word(word: &str) -> Option<Self> {
        let found = Self::ALL.iter().find(|(_, name)| *name == word);
        found.map(|(verb, _)| *verb)
    }

    fn word(self) -> &'static str {
        let found = Self::ALL.iter().find(|(verb, _)| *verb == self);
        found.map_or("", |(_, name)| name)
    }
}

/// One frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    /// What it is about.
    pub verb: Verb,
    /// Which command it belongs to.
    pub command: u32,
    /// What it carries, at most [`MAXIMUM_LENGTH`] bytes.
    pub payload: Vec<u8>,
}

impl Frame {
    /// Reads one; `None` if the stream ends before its first byte.
    ///
    /// # Errors
    ///
    /// [`io::ErrorKind::InvalidData`] for what is no frame, [`io::ErrorKind::UnexpectedEof`] for a part of one.
    pub fn read(reader: &mut impl BufRead) -> io::Result<Option<Self>> {
        let mut header = Vec::new();
        reader
            .by_ref()
            .take(MAXIMUM_HEADER)
            .read_until(b'\n', &mut header)?;
        if header.is_empty() {
            return Ok(None);
        }
        let (verb, command, length) = parse_header(&header).ok_or_else(|| {
            let text = String::from_utf8_lossy(&header).into_owned();
            io::Error::new(
                io::ErrorKind::InvalidData,
                format!("not the header of a frame: {text:?}"),
            )
        })?;
        let mut payload = vec![0; length];
        reader.read_exact(&mut payload)?;
        Ok(Some(Self {
            verb,
            command,
            payload,
        }))
    }
}

/// Writes a frame, or as many as `payload` needs; one that is empty needs one.
///
/// # Errors
///
/// Those of the writer.
pub fn write(writer: &mut impl Write, verb: Verb, command: u32, payload: &[u8]) -> io::Result<()> {
    let mut rest = payload;
    loop {
        let (part, after) = rest.split_at(rest.len().min(MAXIMUM_LENGTH));
        let mut bytes = format!("{} {command} {}\n", verb.word(), part.len()).into_bytes();
        bytes.extend_from_slice(part);
        writer.write_all(&bytes)?;
        rest = after;
        if rest.is_empty() {
            return writer.flush();
        }
    }
}

fn parse_header(header: &[u8]) -> Option<(Verb, u32, usize)> {
    let line = core::str::from_utf8(header).ok()?.strip_suffix('\n')?;
    let mut words = line.split(' ');
    let verb = Verb::from_word(words.next()?)?;
    let command = decimal(words.next()?)?.try_into().ok()?;
    let length: usize = decimal(words.next()?)?.try_into().ok()?;
    (words.next().is_none() && length <= MAXIMUM_LENGTH).then_some((verb, command, length))
}

/// `str::parse` would take a sign as well.
fn decimal(word: &str) -> Option<u64> {
    word.bytes()
        .all(|byte| byte.is_ascii_digit())
        .then(|| word.parse().ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_all(mut bytes: &[u8]) -> io::Result<Vec<Frame>> {
        let mut frames = Vec::new();
        while let Some(frame) = Frame::read(&mut bytes)? {
            frames.push(frame);
        }
        Ok(frames)
    }

    #[test]
    fn golden_bytes() {
        let mut bytes = Vec::new();
        write(&mut bytes, Verb::In, 7, b"a\0\n").unwrap();
        write(&mut bytes, Verb::Run, 7, b"cat").unwrap();
        write(&mut bytes, Verb::Kill, 4_294_967_295, b"").unwrap();
        assert_eq!(bytes, b"in 7 3\na\0\nrun 7 3\ncatkill 4294967295 0\n");
        let frames = read_all(&bytes).unwrap();
        assert_eq!(frames.len(), 3);
        assert_eq!(frames[0].payload, b"a\0\n");
        assert_eq!(frames[2].command, u32::MAX);
    }

    #[test]
    fn every_verb_survives() {
        for (verb, _) in Verb::ALL {
            let mut bytes = Vec::new();
            write(&mut bytes, verb, 1, b"x").unwrap();
            assert_eq!(read_all(&bytes).unwrap()[0].verb, verb);
        }
    }

    #[test]
    fn long_data_is_cut_into_frames() {
        let data: Vec<u8> = (0..150_000_u32).map(|n| n as u8).collect();
        let mut bytes = Vec::new();
        write(&mut bytes, Verb::In, 1, &data).unwrap();
        let frames = read_all(&bytes).unwrap();
        assert_eq!(frames.len(), 3);
        let joined: Vec<u8> = frames.into_iter().flat_map(|frame| frame.payload).collect();
        assert_eq!(joined, data);
    }

    #[test]
    fn what_is_no_frame_is_refused() {
        for bytes in [
            &b"fly 1 0\n"[..],
            b"out 1\n",
            b"out 1 2 3\n",
            b"out -1 0\n",
            b"out +1 0\n",
            b"out 1 \n",
            b"out 4294967296 0\n",
            b"out 1 65537\n",
            b"out 1 99999999999999999999999\n",
            b"out 1 0",
            b"\n",
            b"\xff\n",
            b"a very long line that never comes to an end and fills memory if let",
        ] {
            let error = read_all(bytes).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::InvalidData, "{bytes:?}");
        }
        let error = read_all(b"out 1 3\nab").unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
    }
}
