//! The pull parser: directives, the fields before the data, and the state that lines share.

use crate::name::{Name, NameBuf};
use crate::record::{RecordClass, RecordType};
use crate::zone_set::MAX_TTL;

use super::MAX_INCLUDE_DEPTH;
use super::error::{Fault, Found, IncludeChain, ParseError};
use super::generate::Generate;
use super::lexer::{BadEscape, Lexer, Position, Text, Token};
use super::loader::{Loader, Source};
use super::record_data::{self, DataBuffer};
use super::{names, numbers};

/// How much may be included and generated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// How many files may be open at once below the outermost; at most [`MAX_INCLUDE_DEPTH`].
    pub include_depth: usize,
    /// How many `$INCLUDE`s may be followed in all.
    pub includes: u32,
    /// How many records one `$GENERATE` may make.
    pub generate: u32,
    /// How many records all `$GENERATE`s may make together.
    pub generated: u32,
}

impl Default for Limits {
    /// [`MAX_INCLUDE_DEPTH`] deep, 1,000 in all; 65,536 records of one `$GENERATE`, which are the addresses of an IPv4 /16,
    /// and 262,144 in all: some 50 MB of compiled zone, for which a line of 30 octets can ask.
    fn default() -> Self {
        Self {
            include_depth: MAX_INCLUDE_DEPTH,
            includes: 1_000,
            generate: 65_536,
            generated: 262_144,
        }
    }
}

/// A record as it stands in a master file.
#[derive(Debug, Clone, Copy)]
pub struct Record<'r, 's> {
    /// The owner, made absolute; its case is that of the file.
    pub owner: Name<'r>,
    /// The TTL in seconds, at most 2³¹ − 1 (RFC 2181 §8).
    pub ttl: u32,
    /// The class, stated or carried over; at first IN.
    pub class: RecordClass,
    /// The type.
    pub record_type: RecordType,
    /// The data in wire form, its names whole.
    pub data: &'r [u8],
    /// The name of the source in which it stands.
    pub file: &'s str,
    /// Where its first word is.
    pub position: Position,
}

/// Takes the records out of a source, one at a time.
///
/// Mutators: [`Parser::next_record`]. Nothing else changes it. It takes less than 6 KiB, as each file that may be
/// open keeps its origin and its last owner.
pub struct Parser<'s> {
    loader: &'s dyn Loader,
    limits: Limits,
    includes: u32,
    /// The source that is being read.
    level: Level<'s>,
    /// Those that include it, the outermost first, each behind its directive.
    outer: heapless::Vec<Level<'s>, MAX_INCLUDE_DEPTH>,
    /// The TTL of the last `$TTL`.
    default_ttl: Option<u32>,
    /// The TTL stated last.
    stated_ttl: Option<u32>,
    class: RecordClass,
    /// The `$GENERATE` that is being followed, and how many records all of them have made.
    generate: Option<Generate<'s>>,
    generated: u32,
    /// The number that stands for `$` in the record that was read last.
    number: Option<u32>,
}

/// A source and what it doesn't share with others.
struct Level<'s> {
    name: &'s str,
    lexer: Lexer<'s>,
    origin: Option<NameBuf>,
    /// The owner of the last record, if one may be left out.
    owner: Option<NameBuf>,
    /// In one of the outer levels: the line of its `$INCLUDE` that is being followed.
    included_at: u32,
}

impl<'s> Level<'s> {
    fn new(source: Source<'s>, origin: Option<NameBuf>) -> Self {
        Self {
            name: source.name,
            lexer: Lexer::new(source.text),
            origin,
            owner: None,
            included_at: 0,
        }
    }

    fn name(&self, text: &Text<'s>) -> Result<NameBuf, Fault<'s>> {
        names::parse(text, self.origin.as_ref().map(NameBuf::as_name))
    }
}

/// What an entry of the file was.
enum Entry {
    Record {
        /// Where its first word is.
        position: Position,
        ttl: Option<u32>,
        class: RecordClass,
        record_type: RecordType,
        /// How much of the buffer its data takes.
        length: usize,
    },
    /// A directive, or an empty line.
    Nothing,
    EndOfFile,
}

impl<'s> Parser<'s> {
    /// A parser of `source`, in which names must be absolute until a `$ORIGIN`, with the default [`Limits`].
    pub fn new(source: Source<'s>, loader: &'s dyn Loader) -> Self {
        Self {
            loader,
            limits: Limits::default(),
            includes: 0,
            level: Level::new(source, None),
            outer: heapless::Vec::new(),
            default_ttl: None,
            stated_ttl: None,
            class: RecordClass::IN,
            generate: None,
            generated: 0,
            number: None,
        }
    }

    /// The same with an origin to begin with.
    #[must_use]
    pub fn with_origin(mut self, origin: Name<'_>) -> Self {
        self.level.origin = Some(origin.to_owned());
        self
    }

    /// The same with other limits.
    #[must_use]
    pub fn with_limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// The next record, its data written to the start of `buffer`; `None` at the end of the outermost source.
    ///
    /// 65,535 octets of buffer take every record; with fewer, a record whose data is longer is an error.
    ///
    /// # Errors
    /// The first thing wrong with the next entry. The call after it goes on behind that entry, so that all errors of a
    /// file can be had at once; the number of errors is at most that of its lines.
    #[allow(clippy::result_large_err)] // it holds the include chain, as nothing can be allocated
    pub fn next_record<'r>(
        &'r mut self,
        buffer: &'r mut [u8],
    ) -> Result<Option<Record<'r, 's>>, ParseError<'s>> {
        loop {
            match self.entry(buffer) {
                Ok(Entry::Nothing) => {}
                Ok(Entry::EndOfFile) => match self.outer.pop() {
                    Some(level) => self.level = level,
                    None => return Ok(None),
                },
                Ok(Entry::Record {
                    position,
                    ttl,
                    class,
                    record_type,
                    length,
                }) => {
                    let data = &buffer[..length];
                    let ttl = match self.time_to_live(ttl, record_type, data, position) {
                        Ok(ttl) => ttl,
                        Err(fault) => return Err(self.last_error(fault)),
                    };
                    // `entry` has set the owner.
                    return Ok(self.level.owner.as_ref().map(|owner| Record {
                        owner: owner.as_name(),
                        ttl,
                        class,
                        record_type,
                        data,
                        file: self.level.name,
                        position,
                    }));
                }
                Err(fault) => {
                    self.level.lexer.skip_entry();
                    return Err(self.last_error(fault));
                }
            }
        }
    }

    /// Reads one entry; a record's data to the start of `buffer`.
    fn entry(&mut self, buffer: &mut [u8]) -> Result<Entry, Fault<'s>> {
        self.number = None;
        if self.generate.is_some() {
            return self.generated_record(buffer);
        }
        match self.level.lexer.next()? {
            Token::EndOfFile(_) => Ok(Entry::EndOfFile),
            Token::EndOfLine(_) => Ok(Entry::Nothing),
            Token::Text(text) if !text.quoted && text.raw.starts_with(b"$") => {
                self.directive(&text)?;
                Ok(Entry::Nothing)
            }
            Token::Text(owner) => {
                // Until this owner is known, there is none that the next line could leave out.
                self.level.owner = None;
                self.level.owner = Some(self.level.name(&owner)?);
                let next = self.level.lexer.text(HEADER)?;
                self.record(owner.position, next, buffer)
            }
            Token::Blank => match self.level.lexer.next()? {
                Token::Text(text) if self.level.owner.is_some() => {
                    self.record(text.position, text, buffer)
                }
                Token::Text(text) => Err(fault_at(
                    &text,
                    "an owner name at the start of the line, as no record before gives one",
                )),
                _ => Ok(Entry::Nothing),
            },
        }
    }

    /// Reads a record from behind its owner, where `text` is the first word.
    fn record(
        &mut self,
        position: Position,
        text: Text<'s>,
        buffer: &mut [u8],
    ) -> Result<Entry, Fault<'s>> {
        let level = &mut self.level;
        let header = Header::parse(text, &mut level.lexer)?;
        if let Some(class) = header.class {
            self.class = class;
        }
        if header.ttl.is_some() {
            self.stated_ttl = header.ttl;
        }
        let mut data = DataBuffer::new(buffer);
        let origin = level.origin.as_ref().map(NameBuf::as_name);
        record_data::parse(header.record_type, &mut level.lexer, origin, &mut data)?;
        Ok(Entry::Record {
            position,
            ttl: header.ttl,
            class: self.class,
            record_type: header.record_type,
            length: data.len(),
        })
    }

    /// Makes the next record of the `$GENERATE` that is being followed. What its line states holds for itself alone.
    #[inline(never)]
    fn generated_record(&mut self, buffer: &mut [u8]) -> Result<Entry, Fault<'s>> {
        // A name that was made is none that the next line could leave out.
        self.level.owner = None;
        let Some(generate) = &mut self.generate else {
            return Ok(Entry::Nothing);
        };
        let Some(number) = generate.next_number() else {
            self.generate = None;
            return Ok(Entry::Nothing);
        };
        self.number = Some(number);
        let line = generate.line(number)?;
        let origin = self.level.origin.as_ref().map(NameBuf::as_name);
        match generated(&line, origin, buffer) {
            Ok((owner, header, length)) => {
                self.level.owner = Some(owner);
                Ok(Entry::Record {
                    position: generate.position,
                    ttl: header.ttl,
                    class: header.class.unwrap_or(self.class),
                    record_type: header.record_type,
                    length,
                })
            }
            Err(fault) => Err(generate.fault(number, fault.position.column, fault.expected)),
        }
    }

    /// The TTL of a record: stated, of `$TTL` (RFC 2308 §4), stated last, or of the SOA record itself.
    fn time_to_live(
        &mut self,
        stated: Option<u32>,
        record_type: RecordType,
        data: &[u8],
        position: Position,
    ) -> Result<u32, Fault<'s>> {
        if let Some(ttl) = stated.or(self.default_ttl).or(self.stated_ttl) {
            return Ok(ttl);
        }
        let minimum = data
            .last_chunk()
            .map(|minimum| u32::from_be_bytes(*minimum))
            .filter(|&minimum| record_type == RecordType::SOA && minimum <= MAX_TTL);
        if minimum.is_some() {
            self.stated_ttl = minimum;
        }
        minimum.ok_or(Fault {
            position,
            expected: "a TTL, as there is no $TTL and no record before states one",
            found: Found::Nothing,
        })
    }

    fn directive(&mut self, word: &Text<'s>) -> Result<(), Fault<'s>> {
        if word.is_word("$ORIGIN") {
            let text = self.level.lexer.text("a domain name")?;
            let origin = self.level.name(&text)?;
            self.level.lexer.end_of_entry()?;
            self.level.origin = Some(origin);
            Ok(())
        } else if word.is_word("$TTL") {
            let text = self.level.lexer.text(TTL)?;
            let ttl = numbers::ttl(&text).ok_or_else(|| fault_at(&text, TTL))?;
            self.level.lexer.end_of_entry()?;
            self.default_ttl = Some(ttl);
            Ok(())
        } else if word.is_word("$INCLUDE") {
            self.include(word)
        } else if word.is_word("$GENERATE") {
            self.generate(word)
        } else {
            Err(fault_at(word, "$ORIGIN, $TTL, $INCLUDE or $GENERATE"))
        }
    }

    /// "$GENERATE range owner [ttl] [class] type rdata"
    fn generate(&mut self, word: &Text<'s>) -> Result<(), Fault<'s>> {
        let generate = Generate::parse(word, &mut self.level.lexer)?;
        let count = generate.count();
        if count > self.limits.generate {
            return Err(fault_at(word, "a $GENERATE that makes fewer records"));
        }
        let generated = self.generated.checked_add(count);
        self.generated = generated
            .filter(|&generated| generated <= self.limits.generated)
            .ok_or_else(|| fault_at(word, "no more $GENERATEs that make as many records"))?;
        self.generate = Some(generate);
        Ok(())
    }

    /// "$INCLUDE <file-name> [<domain-name>]"
    fn include(&mut self, word: &Text<'s>) -> Result<(), Fault<'s>> {
        let file = self.level.lexer.text("the name of a file")?;
        let origin = match self.level.lexer.next()? {
            Token::Text(text) => {
                let origin = self.level.name(&text)?;
                self.level.lexer.end_of_entry()?;
                Some(origin)
            }
            _ => self.level.origin.clone(),
        };
        let mut name = heapless::Vec::<u8, MAX_FILE_NAME>::new();
        for octet in file.octets() {
            let octet = octet.map_err(|bad| Fault {
                position: file.position_of(bad.offset),
                expected: BadEscape::EXPECTED,
                found: Found::Text(file.raw),
            })?;
            name.push(octet.value)
                .map_err(|_| fault_at(&file, "the name of a file of at most 1,024 octets"))?;
        }
        let name = core::str::from_utf8(&name)
            .map_err(|_| fault_at(&file, "the name of a file in UTF-8"))?;
        let depth = self.limits.include_depth.min(MAX_INCLUDE_DEPTH);
        if self.outer.len() >= depth {
            return Err(fault_at(word, "no more files one inside another"));
        }
        if self.includes >= self.limits.includes {
            return Err(fault_at(word, "no more $INCLUDEs"));
        }
        let source = self
            .loader
            .load(self.level.name, name)
            .map_err(|error| fault_at(&file, error.expected()))?;
        if source.name == self.level.name || self.outer.iter().any(|l| l.name == source.name) {
            return Err(fault_at(
                &file,
                "a file that isn't being read already (it would include itself for ever)",
            ));
        }
        self.includes += 1;
        let mut level = Level::new(source, origin);
        // The directive "inserts the named file into the current file" (RFC 1035 §5.1), so its first line may leave out
        // the owner that was stated before it.
        level.owner = self.level.owner.clone();
        core::mem::swap(&mut self.level, &mut level);
        level.included_at = word.position.line;
        // There is room: the depth was checked above.
        let _ = self.outer.push(level);
        Ok(())
    }

    /// The only error of an entry; one error of a `$GENERATE` is enough, too.
    fn last_error(&mut self, fault: Fault<'s>) -> ParseError<'s> {
        self.generate = None;
        self.error(fault)
    }

    /// The fault with its file and the chain of directives that led there.
    fn error(&self, fault: Fault<'s>) -> ParseError<'s> {
        let mut includes = IncludeChain::default();
        for level in self.outer.iter().rev() {
            includes.push(level.name, level.included_at);
        }
        ParseError {
            file: self.level.name,
            line: fault.position.line,
            column: fault.position.column,
            expected: fault.expected,
            found: fault.found,
            number: self.number,
            includes,
        }
    }
}

/// What stands between a record's owner and its data.
struct Header {
    ttl: Option<u32>,
    class: Option<RecordClass>,
    record_type: RecordType,
}

impl Header {
    /// "[<TTL>] [<class>] <type> <RDATA>" or "[<class>] [<TTL>] <type> <RDATA>" (RFC 1035 §5.1), where `text` is the first
    /// word.
    fn parse<'t>(mut text: Text<'t>, lexer: &mut Lexer<'t>) -> Result<Self, Fault<'t>> {
        let (mut ttl, mut class) = (None, None);
        let record_type = loop {
            match header_word(&text) {
                Some(HeaderWord::Ttl(seconds)) if ttl.is_none() => ttl = Some(seconds),
                Some(HeaderWord::Class(stated)) if class.is_none() => class = Some(stated),
                _ => {
                    let word = if text.quoted { &b""[..] } else { text.raw };
                    let word = core::str::from_utf8(word).ok();
                    let record_type = word.and_then(RecordType::from_mnemonic);
                    break record_type
                        .ok_or_else(|| fault_at(&text, header_expected(ttl, class)))?;
                }
            }
            text = lexer.text(header_expected(ttl, class))?;
        };
        if record_type.is_meta() {
            return Err(fault_at(
                &text,
                "the type of a record, not one of questions or messages (RFC 6895)",
            ));
        }
        Ok(Self {
            ttl,
            class,
            record_type,
        })
    }
}

/// A word before the type.
pub(super) enum HeaderWord {
    Ttl(u32),
    Class(RecordClass),
}

/// The TTL or class that a word is.
pub(super) fn header_word(text: &Text<'_>) -> Option<HeaderWord> {
    if let Some(seconds) = numbers::ttl(text) {
        return Some(HeaderWord::Ttl(seconds));
    }
    let word = core::str::from_utf8(text.raw)
        .ok()
        .filter(|_| !text.quoted)?;
    let class = RecordClass::from_mnemonic(word).filter(|stated| may_be_stated(*stated))?;
    Some(HeaderWord::Class(class))
}

/// The record of a line that was made: its owner, its header, and how much of the buffer its data takes.
fn generated<'t>(
    line: &'t [u8],
    origin: Option<Name<'_>>,
    buffer: &mut [u8],
) -> Result<(NameBuf, Header, usize), Fault<'t>> {
    let mut lexer = Lexer::over_line(line);
    let owner = names::parse(&lexer.text("the name of an owner")?, origin)?;
    let first = lexer.text(HEADER)?;
    let header = Header::parse(first, &mut lexer)?;
    let mut data = DataBuffer::new(buffer);
    record_data::parse(header.record_type, &mut lexer, origin, &mut data)?;
    Ok((owner, header, data.len()))
}

pub(super) const HEADER: &str = "a TTL, a class or a record type";
const TTL: &str = "a TTL: seconds up to 2147483647, or with units such as 1h30m";
/// The longest file name that an `$INCLUDE` may have.
const MAX_FILE_NAME: usize = 1_024;

fn header_expected(ttl: Option<u32>, class: Option<RecordClass>) -> &'static str {
    match (ttl, class) {
        (None, None) => HEADER,
        (None, Some(_)) => "a TTL or a record type",
        (Some(_), None) => "a class or a record type",
        (Some(_), Some(_)) => "a record type",
    }
}

/// Classes of records, not of questions and updates (RFC 6895 §3.2); 0 is reserved.
fn may_be_stated(class: RecordClass) -> bool {
    !matches!(class.0, 0 | 254 | 255)
}

pub(super) fn fault_at<'s>(text: &Text<'s>, expected: &'static str) -> Fault<'s> {
    Fault {
        position: text.position,
        expected,
        found: Found::Text(text.raw),
    }
}
