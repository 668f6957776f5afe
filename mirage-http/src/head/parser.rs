//! Heads from a stream, in one pass.

use super::HeadError;
use super::{RequestHead, ResponseHead, Version};
use crate::field::{FieldName, FieldSlot, Fields};
use crate::method::Method;
use crate::scan::{is_blank, target_run, token_run, value_run};
use crate::status::Status;

/// How large a head may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeadLimits {
    /// Octets in all, with the empty line at the end. No more than 65,535 count.
    pub head: usize,
    /// Octets of the request target.
    pub target: usize,
}

impl HeadLimits {
    /// 8 KiB, 4 KiB of them for the target. (RFC 9112 §3 recommends to take request lines of at least 8,000 octets from all
    /// the world; a single-purpose machine has short paths, and says what it takes.)
    pub const DEFAULT: Self = Self {
        head: 8_192,
        target: 4_096,
    };
}

impl Default for HeadLimits {
    fn default() -> Self {
        Self::DEFAULT
    }
}

/// What is read: each begins in its own way, and has fields then.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Request,
    Response,
    Trailers,
}

/// What comes next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// A start line, or one empty line before it.
    Start,
    /// LF of the empty line.
    StartLineFeed,
    Method,
    Target,
    RequestVersion,
    Status,
    Reason,
    ReasonLineFeed,
    /// A field, or the empty line.
    Line,
    Name,
    BeforeValue,
    Value,
    ValueLineFeed,
    EndLineFeed,
    /// The head is whole.
    Done,
}

/// Reads one head from octets that come in pieces, looking at each of them once.
///
/// The owner keeps what has come in one slice, and gives all of it each time, and the same slots; the parser remembers how
/// far it came. Whatever the pieces, the outcome is the same, errors included. Then it is made anew for the next head.
///
/// ```
/// use mirage_http::field::{FieldName, FieldSlot};
/// use mirage_http::head::{HeadLimits, HeadParser};
///
/// let octets = b"GET /a HTTP/1.1\r\nHost: example.org\r\n\r\nwhat follows";
/// let (mut parser, mut slots) = (HeadParser::request(), [FieldSlot::EMPTY; 16]);
/// let limits = HeadLimits::DEFAULT;
/// assert_eq!(parser.parse(&octets[..20], &mut slots, &limits), Ok(None));
/// assert_eq!(parser.parse(octets, &mut slots, &limits), Ok(Some(38)));
/// let head = parser.request_head(octets, &slots).unwrap();
/// assert_eq!((head.target(), head.fields().get(FieldName::Host)), ("/a", Some(&b"example.org"[..])));
/// ```
#[derive(Clone, Debug)]
pub struct HeadParser {
    kind: Kind,
    phase: Phase,
    /// The next octet to look at.
    at: usize,
    /// Where what is being read began: method, target, name or value.
    mark: usize,
    /// The field's name, while its value is being read.
    name_end: usize,
    name_start: usize,
    /// Where the start line's first part begins, and its end.
    first: (u16, u16),
    /// The start line's second part: target, or reason.
    second: (u16, u16),
    version: Version,
    status: u16,
    fields: u16,
    present: u64,
    repeated: u64,
}

impl HeadParser {
    /// For a request's head.
    pub const fn request() -> Self {
        Self::new(Kind::Request, Phase::Start)
    }

    /// For a response's head.
    pub const fn response() -> Self {
        Self::new(Kind::Response, Phase::Status)
    }

    /// For the trailers behind a chunked body: fields alone (RFC 9112 §7.1.2).
    pub const fn trailers() -> Self {
        Self::new(Kind::Trailers, Phase::Line)
    }

    const fn new(kind: Kind, phase: Phase) -> Self {
        Self {
            kind,
            phase,
            at: 0,
            mark: 0,
            name_end: 0,
            name_start: 0,
            first: (0, 0),
            second: (0, 0),
            version: Version::Http11,
            status: 0,
            fields: 0,
            present: 0,
            repeated: 0,
        }
    }

    /// Whether nothing of a head was there so far. (One empty line before it is nothing.)
    pub fn is_idle(&self) -> bool {
        matches!(self.phase, Phase::Start)
    }

    /// Reads on in `octets`: all that came since the head began. How long the head is, once it is whole.
    ///
    /// # Errors
    ///
    /// [`HeadError`]: where the head ends can't be told, and so the stream is read no further.
    pub fn parse(
        &mut self,
        octets: &[u8],
        slots: &mut [FieldSlot],
        limits: &HeadLimits,
    ) -> Result<Option<usize>, HeadError> {
        let most = limits.head.min(usize::from(u16::MAX));
        // What lies beyond is not looked at: an error there isn't told where the limit would have been.
        let seen = &octets[..octets.len().min(most)];
        while self.phase != Phase::Done {
            if !self.step(seen, slots, limits)? {
                if seen.len() < most {
                    return Ok(None);
                }
                return Err(match self.phase {
                    Phase::Target => HeadError::TargetTooLong,
                    _ => HeadError::TooLarge,
                });
            }
        }
        Ok(Some(self.at))
    }

    /// One phase more. Whether there was enough for it.
    #[inline]
    fn step(
        &mut self,
        octets: &[u8],
        slots: &mut [FieldSlot],
        limits: &HeadLimits,
    ) -> Result<bool, HeadError> {
        let rest = octets.get(self.at..).unwrap_or_default();
        match self.phase {
            Phase::Start => {
                // A server ignores one empty line before a request line (RFC 9112 §2.2).
                match rest.first() {
                    None => return Ok(false),
                    Some(b'\r') if self.at == 0 => {
                        self.at = 1;
                        self.phase = Phase::StartLineFeed;
                    }
                    Some(_) => {
                        self.mark = self.at;
                        self.phase = Phase::Method;
                    }
                }
            }
            Phase::StartLineFeed => {
                if !self.line_feed(rest)? {
                    return Ok(false);
                }
                self.phase = Phase::Start;
            }
            Phase::Method => {
                let length = self.at - self.mark + token_run(rest);
                self.at = (self.mark + length).min(self.mark + Method::MAX_LENGTH + 1);
                if length > Method::MAX_LENGTH {
                    return Err(HeadError::MethodTooLong);
                }
                match octets.get(self.at) {
                    None => return Ok(false),
                    Some(b' ') if length > 0 => {}
                    Some(_) => return Err(HeadError::Method),
                }
                self.first = (self.mark as u16, self.at as u16);
                self.at += 1;
                self.mark = self.at;
                self.phase = Phase::Target;
            }
            Phase::Target => {
                self.at += target_run(rest);
                if self.at - self.mark > limits.target {
                    return Err(HeadError::TargetTooLong);
                }
                match octets.get(self.at) {
                    None => return Ok(false),
                    Some(b' ') if self.at > self.mark => {}
                    // "GET /" and the line's end is HTTP/0.9.
                    Some(b'\r') if self.at > self.mark => return Err(HeadError::Version),
                    Some(_) => return Err(HeadError::Target),
                }
                self.second = (self.mark as u16, self.at as u16);
                self.at += 1;
                self.phase = Phase::RequestVersion;
            }
            Phase::RequestVersion => {
                let Some(version) = version(rest, b"\r\n")? else {
                    return Ok(false);
                };
                self.version = version;
                self.at += VERSION_LENGTH + 2;
                self.phase = Phase::Line;
            }
            Phase::Status => {
                let Some(version) = version(rest, b" ")? else {
                    return Ok(false);
                };
                let code = rest.get(VERSION_LENGTH + 1..).unwrap_or_default();
                if let Some(wrong) = code
                    .iter()
                    .take(3)
                    .position(|octet| !octet.is_ascii_digit())
                {
                    return Err(line_error(code[wrong], HeadError::StatusLine));
                }
                let [a, b, c, after, ..] = *code else {
                    return Ok(false);
                };
                // The SP is there even when no reason follows (RFC 9112 §4); some leave it out.
                if after != b' ' && after != b'\r' {
                    return Err(line_error(after, HeadError::StatusLine));
                }
                let digit = |octet: u8| u16::from(octet - b'0');
                let code = digit(a) * 100 + digit(b) * 10 + digit(c);
                if Status::new(code).is_none() {
                    return Err(HeadError::StatusLine);
                }
                self.version = version;
                self.status = code;
                self.at += VERSION_LENGTH + 4 + usize::from(after == b' ');
                self.mark = self.at;
                self.phase = Phase::Reason;
            }
            Phase::Reason => {
                self.at += value_run(rest);
                match octets.get(self.at) {
                    None => return Ok(false),
                    Some(b'\t') => self.at += 1,
                    Some(b'\r') => {
                        self.second = (self.mark as u16, self.at as u16);
                        self.at += 1;
                        self.phase = Phase::ReasonLineFeed;
                    }
                    Some(other) => return Err(line_error(*other, HeadError::StatusLine)),
                }
            }
            Phase::ReasonLineFeed => {
                if !self.line_feed(rest)? {
                    return Ok(false);
                }
                self.phase = Phase::Line;
            }
            Phase::Line => match rest.first() {
                None => return Ok(false),
                Some(b'\r') => {
                    self.at += 1;
                    self.phase = Phase::EndLineFeed;
                }
                Some(b' ' | b'\t') if self.fields == 0 => return Err(HeadError::BlankBeforeFields),
                Some(b' ' | b'\t') => return Err(HeadError::FoldedLine),
                Some(_) => {
                    self.name_start = self.at;
                    self.phase = Phase::Name;
                }
            },
            Phase::Name => {
                let length = self.at - self.name_start + token_run(rest);
                self.at = self.name_start + length.min(usize::from(u8::MAX) + 1);
                if length > usize::from(u8::MAX) {
                    return Err(HeadError::FieldNameTooLong);
                }
                match octets.get(self.at) {
                    None => return Ok(false),
                    Some(b':') if length > 0 => {}
                    Some(b' ' | b'\t') => return Err(HeadError::BlankBeforeColon),
                    Some(other) => return Err(line_error(*other, HeadError::FieldName)),
                }
                if usize::from(self.fields) >= slots.len() {
                    return Err(HeadError::TooManyFields);
                }
                self.name_end = self.at;
                self.at += 1;
                self.phase = Phase::BeforeValue;
            }
            Phase::BeforeValue => {
                let blanks = rest.iter().take_while(|octet| is_blank(**octet)).count();
                self.at += blanks;
                if blanks == rest.len() {
                    return Ok(false);
                }
                self.mark = self.at;
                self.phase = Phase::Value;
            }
            Phase::Value => {
                self.at += value_run(rest);
                match octets.get(self.at) {
                    None => return Ok(false),
                    Some(b'\t') => self.at += 1,
                    Some(b'\r') => {
                        self.add_field(octets, slots);
                        self.at += 1;
                        self.phase = Phase::ValueLineFeed;
                    }
                    Some(other) => return Err(line_error(*other, HeadError::FieldValue)),
                }
            }
            Phase::ValueLineFeed => {
                if !self.line_feed(rest)? {
                    return Ok(false);
                }
                self.phase = Phase::Line;
            }
            Phase::EndLineFeed => {
                if !self.line_feed(rest)? {
                    return Ok(false);
                }
                self.phase = Phase::Done;
            }
            Phase::Done => {}
        }
        Ok(true)
    }

    /// Takes the LF that must be next. Whether it was there.
    #[inline]
    fn line_feed(&mut self, rest: &[u8]) -> Result<bool, HeadError> {
        match rest.first() {
            None => Ok(false),
            Some(b'\n') => {
                self.at += 1;
                Ok(true)
            }
            Some(_) => Err(HeadError::BareCarriageReturn),
        }
    }

    /// Remembers the field whose value ends here.
    #[inline]
    fn add_field(&mut self, octets: &[u8], slots: &mut [FieldSlot]) {
        let name = self.name_start..self.name_end;
        let value = octets.get(self.mark..self.at).unwrap_or_default();
        let blanks = value.iter().rev().take_while(|octet| is_blank(**octet));
        let value = self.mark..self.at - blanks.count();
        let known = octets.get(name.clone()).and_then(FieldName::of);
        if let Some(known) = known {
            self.repeated |= self.present & known.bit();
            self.present |= known.bit();
        }
        // There is one: it was seen when the name ended. (Were it another slice, the field would be left out.)
        if let Some(slot) = slots.get_mut(usize::from(self.fields)) {
            *slot = FieldSlot::new(name, value, known);
            self.fields += 1;
        }
    }

    /// The request's head, once it is whole, from the same octets and slots.
    pub fn request_head<'a>(
        &self,
        octets: &'a [u8],
        slots: &'a [FieldSlot],
    ) -> Option<RequestHead<'a>> {
        if self.kind != Kind::Request {
            return None;
        }
        let fields = self.fields(octets, slots)?;
        let method = Method::of_token(text(octets, self.first));
        let target = text(octets, self.second);
        Some(RequestHead::new(method, target, self.version, fields))
    }

    /// The response's head, once it is whole, from the same octets and slots.
    pub fn response_head<'a>(
        &self,
        octets: &'a [u8],
        slots: &'a [FieldSlot],
    ) -> Option<ResponseHead<'a>> {
        if self.kind != Kind::Response {
            return None;
        }
        let fields = self.fields(octets, slots)?;
        let (start, end) = (usize::from(self.second.0), usize::from(self.second.1));
        let reason = octets.get(start..end)?;
        let status = Status::new(self.status)?;
        Some(ResponseHead::new(status, reason, self.version, fields))
    }

    /// The fields, once all are there, from the same octets and slots.
    pub fn fields<'a>(&self, octets: &'a [u8], slots: &'a [FieldSlot]) -> Option<Fields<'a>> {
        if self.phase != Phase::Done {
            return None;
        }
        let slots = slots.get(..usize::from(self.fields))?;
        Some(Fields::new(octets, slots, self.present, self.repeated))
    }
}

/// Octets of `HTTP/1.1`.
const VERSION_LENGTH: usize = 8;

/// The version at the beginning of `rest`, and behind it `end`; `None` while too little is there.
#[inline]
fn version(rest: &[u8], end: &[u8]) -> Result<Option<Version>, HeadError> {
    if let [b'H', b'T', b'T', b'P', b'/', b'1', b'.', b'1', after @ ..] = rest
        && after.starts_with(end)
    {
        return Ok(Some(Version::Http11));
    }
    version_octet_by_octet(rest, end)
}

/// As [`version`], with what is wrong in the order of the octets: the same however few there are.
#[cold]
fn version_octet_by_octet(rest: &[u8], end: &[u8]) -> Result<Option<Version>, HeadError> {
    let expected = b"HTTP/#.#".iter().chain(end);
    let mut digits = [0; 2];
    for (place, expected) in expected.enumerate() {
        let Some(octet) = rest.get(place) else {
            return Ok(None);
        };
        match expected {
            b'#' if octet.is_ascii_digit() => digits[usize::from(place == 7)] = octet - b'0',
            b'#' => return Err(line_error(*octet, HeadError::Version)),
            b'\n' if octet != expected => return Err(HeadError::BareCarriageReturn),
            _ if octet == expected => {}
            _ => return Err(line_error(*octet, HeadError::Version)),
        }
    }
    match digits {
        [1, 0] => Ok(Some(Version::Http10)),
        // A higher minor version is read as the highest that is known (RFC 9110 §2.5).
        [1, _] => Ok(Some(Version::Http11)),
        _ => Err(HeadError::UnsupportedVersion),
    }
}

/// What is wrong when this octet stands where a line isn't at its end.
#[cold]
fn line_error(octet: u8, otherwise: HeadError) -> HeadError {
    match octet {
        b'\n' => HeadError::BareLineFeed,
        _ => otherwise,
    }
}

/// A part of the head that is known to be ASCII.
#[inline]
fn text(octets: &[u8], (start, end): (u16, u16)) -> &str {
    let part = octets.get(usize::from(start)..usize::from(end));
    core::str::from_utf8(part.unwrap_or_default()).unwrap_or_default()
}
