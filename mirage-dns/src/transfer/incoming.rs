//! Takes the messages of a transfer.

use alloc::vec::Vec;
use core::error::Error;
use core::fmt;
use core::mem;

use crate::difference::{Difference, RecordBuf};
use crate::message::{Flags, MessageError, MessageReader, Section};
use crate::name::NameBuf;
use crate::record::{Opcode, Rcode, RecordClass, RecordType};
use crate::serial::is_newer;

/// How much one transfer may bring.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TransferLimits {
    /// Octets of all records, uncompressed.
    pub octets: usize,
    /// Messages.
    pub messages: u32,
}

impl Default for TransferLimits {
    /// 256 MiB, a million messages.
    fn default() -> Self {
        Self {
            octets: 256 << 20,
            messages: 1_000_000,
        }
    }
}

/// What a transfer came to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Transferred {
    /// The primary has nothing newer than the version that was named.
    UpToDate,
    /// The whole zone, its SOA record first and not at the end again.
    Whole(Vec<RecordBuf>),
    /// What leads from the version that was named to the primary's, step by step.
    Differences(Vec<Difference>),
    /// Over UDP: the primary has a newer version than fits. Ask over TCP.
    AskOverTcp,
}

/// A transfer that is coming in.
///
/// - Input: [`IncomingTransfer::handle_message`], each message as it came, signatures taken off.
/// - Output: what that returns.
///
/// Nothing of a transfer is to be used before its end has come: a stream that ends earlier brought nothing.
#[derive(Debug)]
pub struct IncomingTransfer {
    id: u16,
    apex: NameBuf,
    /// The serial that an incremental transfer names.
    serial: Option<u32>,
    datagram: bool,
    limits: TransferLimits,
    octets: usize,
    messages: u32,
    /// For the data of one record.
    buffer: Vec<u8>,
    state: State,
}

#[derive(Debug)]
enum State {
    /// Nothing has come.
    Start,
    /// The first record: the SOA of the primary's version.
    First(RecordBuf),
    /// The whole zone is coming; the first record is its SOA.
    Whole(Vec<RecordBuf>),
    /// Differences are coming. The last of them is not complete.
    Incremental {
        newest: RecordBuf,
        differences: Vec<Difference>,
        adding: bool,
    },
    /// It is complete, or has failed.
    Ended,
}

impl IncomingTransfer {
    /// Waits for the answer to a request over a stream: for an incremental transfer `serial` is that of the version that is
    /// there.
    pub fn new(id: u16, apex: NameBuf, serial: Option<u32>, limits: TransferLimits) -> Self {
        Self {
            id,
            apex,
            serial,
            datagram: false,
            limits,
            octets: 0,
            messages: 0,
            buffer: alloc::vec![0; usize::from(u16::MAX)],
            state: State::Start,
        }
    }

    /// The same over UDP, where the answer is one message and the primary may say that it does not fit (RFC 1995 §2).
    #[must_use]
    pub fn over_datagram(mut self) -> Self {
        self.datagram = true;
        self
    }

    /// Takes the next message: what the transfer came to, or `None` as long as more is to come.
    ///
    /// # Errors
    /// Why the transfer failed; it is over then, and a further message is [`TransferError::AfterEnd`].
    pub fn handle_message(&mut self, message: &[u8]) -> Result<Option<Transferred>, TransferError> {
        let result = self.take(message);
        if result.is_err() {
            self.state = State::Ended;
        }
        result
    }

    fn take(&mut self, message: &[u8]) -> Result<Option<Transferred>, TransferError> {
        if matches!(self.state, State::Ended) {
            return Err(TransferError::AfterEnd);
        }
        self.messages += 1;
        if self.messages > self.limits.messages {
            return Err(TransferError::TooLarge);
        }
        let reader = MessageReader::new(message).map_err(TransferError::Malformed)?;
        self.check_header(&reader)?;
        let mut end = None;
        let mut answers = 0u16;
        for record in reader.section(Section::Answer) {
            let record = record.map_err(TransferError::Malformed)?;
            if end.is_some() {
                return Err(TransferError::AfterEnd);
            }
            answers += 1;
            let owner = record.owner().map_err(TransferError::Malformed)?;
            let rdata = record.rdata(&mut self.buffer);
            let rdata = rdata.map_err(TransferError::Malformed)?;
            if record.class != RecordClass::IN || record.record_type.is_meta() {
                return Err(TransferError::NotZoneData);
            }
            // RFC 2181 §8: a TTL with its first bit set counts as zero.
            let ttl = if record.ttl >> 31 == 0 { record.ttl } else { 0 };
            let owner = owner.as_name();
            let record = RecordBuf::new(owner, record.record_type, ttl, rdata);
            end = self.record(record)?;
        }
        if answers == 0 {
            return Err(TransferError::Empty);
        }
        if end.is_none() {
            end = self.end_of_message()?;
        }
        if end.is_some() {
            self.state = State::Ended;
        }
        Ok(end)
    }

    /// RFC 5936 §2.2.1: what the header and the question of each message must be.
    fn check_header(&self, reader: &MessageReader<'_>) -> Result<(), TransferError> {
        let header = reader.header();
        let flags = header.flags;
        if !flags.contains(Flags::QR) || header.opcode != Opcode::QUERY {
            return Err(TransferError::NotAResponse);
        }
        if header.id != self.id {
            return Err(TransferError::OtherId);
        }
        if header.rcode != Rcode::NOERROR {
            return Err(TransferError::Refused(header.rcode));
        }
        if flags.contains(Flags::TC) && !self.datagram {
            return Err(TransferError::Truncated);
        }
        let question = reader.questions().next().transpose();
        let question = question.map_err(TransferError::Malformed)?;
        let wanted = match self.serial {
            Some(_) => RecordType::IXFR,
            None => RecordType::AXFR,
        };
        match question {
            // The messages after the first may leave it out.
            None if !matches!(self.state, State::Start) => Ok(()),
            // Some primaries leave it out of the first, too: the ID on our own connection tells enough.
            None => Ok(()),
            Some(question)
                if header.question_count == 1
                    && question.name == self.apex
                    && question.class == RecordClass::IN
                    && question.record_type == wanted =>
            {
                Ok(())
            }
            Some(_) => Err(TransferError::OtherQuestion),
        }
    }

    fn record(&mut self, record: RecordBuf) -> Result<Option<Transferred>, TransferError> {
        self.octets = self.octets.saturating_add(record.wire_length());
        if self.octets > self.limits.octets {
            return Err(TransferError::TooLarge);
        }
        let apex = self.apex.as_name();
        let is_soa = record.record_type() == RecordType::SOA;
        if is_soa && record.owner() != apex {
            return Err(TransferError::NotZoneData);
        }
        let outside = !record.owner().is_subdomain_of(apex);
        match mem::replace(&mut self.state, State::Ended) {
            State::Start => {
                if !is_soa {
                    return Err(TransferError::NoSoaFirst);
                }
                self.state = State::First(record);
                Ok(None)
            }
            State::First(first) => self.second(first, record, is_soa, outside),
            State::Whole(mut records) => {
                if is_soa {
                    return self.end_of_whole(records, &record);
                }
                if !outside {
                    records.push(record);
                }
                self.state = State::Whole(records);
                Ok(None)
            }
            State::Incremental {
                newest,
                differences,
                adding,
            } if is_soa => self.soa_between(newest, differences, adding, record),
            State::Incremental {
                newest,
                mut differences,
                adding,
            } => {
                if let Some(last) = differences.last_mut().filter(|_| !outside) {
                    let half = if adding {
                        &mut last.added
                    } else {
                        &mut last.removed
                    };
                    half.push(record);
                }
                self.state = State::Incremental {
                    newest,
                    differences,
                    adding,
                };
                Ok(None)
            }
            State::Ended => Err(TransferError::AfterEnd),
        }
    }

    /// RFC 1995 §4: the second record tells whether differences come, or the whole zone.
    fn second(
        &mut self,
        first: RecordBuf,
        record: RecordBuf,
        is_soa: bool,
        outside: bool,
    ) -> Result<Option<Transferred>, TransferError> {
        if is_soa && self.serial.is_some() && record.serial() == self.serial {
            self.state = State::Incremental {
                newest: first.clone(),
                differences: alloc::vec![Difference {
                    old_soa: record,
                    removed: Vec::new(),
                    new_soa: first,
                    added: Vec::new(),
                }],
                adding: false,
            };
            return Ok(None);
        }
        let mut records = alloc::vec![first];
        if is_soa {
            return self.end_of_whole(records, &record);
        }
        if !outside {
            records.push(record);
        }
        self.state = State::Whole(records);
        Ok(None)
    }

    fn end_of_whole(
        &mut self,
        records: Vec<RecordBuf>,
        soa: &RecordBuf,
    ) -> Result<Option<Transferred>, TransferError> {
        if records.first().is_some_and(|first| first.is_same_as(soa)) {
            Ok(Some(Transferred::Whole(records)))
        } else {
            Err(TransferError::OtherSoaAtEnd)
        }
    }

    /// A SOA among differences: the second of a pair, the first of the next one, or the end.
    fn soa_between(
        &mut self,
        newest: RecordBuf,
        mut differences: Vec<Difference>,
        adding: bool,
        soa: RecordBuf,
    ) -> Result<Option<Transferred>, TransferError> {
        let Some(last) = differences.last_mut() else {
            return Err(TransferError::AfterEnd);
        };
        let mut adding = adding;
        if !adding {
            if !is_newer(soa.serial().unwrap_or(0), last.old_serial()) {
                return Err(TransferError::SerialsOutOfOrder);
            }
            last.new_soa = soa;
            adding = true;
        } else if soa.serial() == newest.serial()
            && last.new_serial() == newest.serial().unwrap_or(0)
        {
            return Ok(Some(Transferred::Differences(differences)));
        } else {
            if soa.serial() != Some(last.new_serial()) {
                return Err(TransferError::SerialsOutOfOrder);
            }
            differences.push(Difference {
                old_soa: soa,
                removed: Vec::new(),
                new_soa: newest.clone(),
                added: Vec::new(),
            });
            adding = false;
        }
        self.state = State::Incremental {
            newest,
            differences,
            adding,
        };
        Ok(None)
    }

    /// What a message that ends behind the first SOA means (RFC 1995 §2, §4).
    fn end_of_message(&mut self) -> Result<Option<Transferred>, TransferError> {
        if let (State::First(first), Some(ours)) = (&self.state, self.serial) {
            if !is_newer(first.serial().unwrap_or(0), ours) {
                return Ok(Some(Transferred::UpToDate));
            }
            if self.datagram {
                return Ok(Some(Transferred::AskOverTcp));
            }
        }
        if self.datagram {
            // More than one message there can't be.
            return Ok(Some(Transferred::AskOverTcp));
        }
        Ok(None)
    }
}

/// Why a transfer failed: the primary's fault in all cases but [`TransferError::TooLarge`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum TransferError {
    /// A message cannot be read.
    Malformed(MessageError),
    /// A message is no response to a query.
    NotAResponse,
    /// A message has another ID.
    OtherId,
    /// A message repeats another question.
    OtherQuestion,
    /// The primary refused, with this code. To an incremental request FORMERR, NOTIMP or REFUSED may mean that it gives whole
    /// zones alone.
    Refused(Rcode),
    /// A message on a stream says that it is truncated.
    Truncated,
    /// A message without records.
    Empty,
    /// The first record is not the zone's SOA.
    NoSoaFirst,
    /// A record that no zone has: another class, a meta type, a SOA that is not at the apex.
    NotZoneData,
    /// The SOA at the end is not the one at the beginning: the zone changed while it was sent.
    OtherSoaAtEnd,
    /// The differences do not lead from the version that was named to the primary's, one after the other.
    SerialsOutOfOrder,
    /// Records behind the end.
    AfterEnd,
    /// More than the limits allow.
    TooLarge,
}

impl fmt::Display for TransferError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Malformed(error) => return write!(f, "a malformed message: {error}"),
            Self::NotAResponse => "a message is no response to a query",
            Self::OtherId => "a message has another ID",
            Self::OtherQuestion => "a message has another question",
            Self::Refused(rcode) => return write!(f, "the primary answers {rcode}"),
            Self::Truncated => "a message on a stream says that it is truncated",
            Self::Empty => "a message without records",
            Self::NoSoaFirst => "the first record is not the zone's SOA",
            Self::NotZoneData => "a record that no zone has",
            Self::OtherSoaAtEnd => "the SOA at the end is another than at the beginning",
            Self::SerialsOutOfOrder => "the differences do not follow each other",
            Self::AfterEnd => "records behind the end",
            Self::TooLarge => "more than the limits allow",
        })
    }
}

impl Error for TransferError {}
