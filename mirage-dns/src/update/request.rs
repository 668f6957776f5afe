//! An UPDATE message as far as it can be read without a zone.

use alloc::vec::Vec;

use super::{Refusal, UpdateError, UpdateLimits};
use crate::message::{MessageError, MessageReader, Record, Section};
use crate::name::{Name, NameBuf};
use crate::record::{RdataError, RecordClass, RecordType};
use crate::zone_set::{MAX_TTL, Zone, ZoneSet};

/// An UPDATE message (RFC 2136 §2).
///
/// Holding one proves that the zone section is right and that all sections can be walked to their end.
#[derive(Clone, Debug)]
pub struct UpdateRequest<'m> {
    message: MessageReader<'m>,
    apex: NameBuf,
    class: RecordClass,
}

impl<'m> UpdateRequest<'m> {
    /// Reads a message, of which the caller knows that it is a request with the opcode UPDATE, and from which it took the
    /// signature.
    ///
    /// # Errors
    /// [`UpdateError::Malformed`]: not one zone, a type that is not SOA (§3.1.1), or sections that end early.
    pub fn parse(message: &MessageReader<'m>) -> Result<Self, UpdateError> {
        let zone = message.questions().next();
        let zone = zone.and_then(Result::ok).ok_or(UpdateError::Malformed)?;
        let is_whole = message.end().is_ok();
        if message.header().question_count != 1 || zone.record_type != RecordType::SOA || !is_whole
        {
            return Err(UpdateError::Malformed);
        }
        Ok(Self {
            message: *message,
            apex: zone.name,
            class: zone.class,
        })
    }

    /// The name of the zone.
    pub fn apex(&self) -> Name<'_> {
        self.apex.as_name()
    }

    /// The zone in a set.
    ///
    /// # Errors
    /// [`UpdateError::NotAuthoritative`] for a name that is no zone of the set, or a class that is not IN (§3.1.1);
    /// [`UpdateError::NoData`].
    pub fn zone<'z>(&self, zones: &ZoneSet<'z>) -> Result<Zone<'z>, UpdateError> {
        let zone = match self.class {
            RecordClass::IN => zones.zone_at(self.apex()),
            _ => None,
        };
        let zone = zone.ok_or(UpdateError::NotAuthoritative)?;
        match zone.is_present() {
            true => Ok(zone),
            false => Err(UpdateError::NoData),
        }
    }

    /// Fails where there are more records than the limits allow.
    pub(super) fn check_count(&self, limits: &UpdateLimits) -> Result<(), UpdateError> {
        let header = self.message.header();
        let records = usize::from(header.answer_count) + usize::from(header.authority_count);
        match records <= limits.records {
            true => Ok(()),
            false => Err(UpdateError::Refused(Refusal::TooManyRecords)),
        }
    }

    /// The prerequisites, one by one as they are (§2.4). The iteration ends after an error.
    pub(super) fn prerequisites(
        &self,
    ) -> impl Iterator<Item = Result<Prerequisite, UpdateError>> + use<'_, 'm> {
        let records = self.message.section(Section::Answer);
        records.map(|record| {
            let record = record.map_err(|_| UpdateError::Malformed)?;
            let owner = record.owner().map_err(|_| UpdateError::Malformed)?;
            // The order of §3.2.5.
            if record.ttl != 0 {
                return Err(UpdateError::Malformed);
            }
            if !owner.as_name().is_subdomain_of(self.apex()) {
                return Err(UpdateError::NotInZone);
            }
            let is_any = record.record_type == RecordType::ANY;
            let is_empty = record.raw_rdata().is_empty();
            let test = match record.class {
                RecordClass::ANY if is_empty && is_any => Test::NameInUse,
                RecordClass::ANY if is_empty => Test::Rrset,
                RecordClass::NONE if is_empty && is_any => Test::NameNotInUse,
                RecordClass::NONE if is_empty => Test::NoRrset,
                RecordClass::IN => Test::Record(rdata(&record)?),
                _ => return Err(UpdateError::Malformed),
            };
            Ok(Prerequisite {
                owner,
                record_type: record.record_type,
                test,
            })
        })
    }

    /// The updates, one by one as they are (§2.5); the checks are those of the prescan (§3.4.1). The iteration ends after
    /// an error.
    pub(super) fn updates(
        &self,
    ) -> impl Iterator<Item = Result<Update, UpdateError>> + use<'_, 'm> {
        let records = self.message.section(Section::Authority);
        records.map(|record| {
            let record = record.map_err(|_| UpdateError::Malformed)?;
            let owner = record.owner().map_err(|_| UpdateError::Malformed)?;
            if !owner.as_name().is_subdomain_of(self.apex()) {
                return Err(UpdateError::NotInZone);
            }
            let record_type = record.record_type;
            let is_any = record_type == RecordType::ANY && record.class == RecordClass::ANY;
            if record_type.is_meta() && !is_any {
                return Err(UpdateError::Malformed);
            }
            let is_plain = record.ttl == 0;
            let is_empty = record.raw_rdata().is_empty();
            let action = match record.class {
                RecordClass::IN => Action::Add {
                    // RFC 2181 §8.
                    ttl: if record.ttl > MAX_TTL { 0 } else { record.ttl },
                    rdata: rdata(&record)?,
                },
                RecordClass::ANY if is_plain && is_empty && is_any => Action::RemoveName,
                RecordClass::ANY if is_plain && is_empty => Action::RemoveRrset,
                RecordClass::NONE if is_plain => Action::RemoveRecord(rdata(&record)?),
                _ => return Err(UpdateError::Malformed),
            };
            Ok(Update {
                owner,
                record_type,
                action,
            })
        })
    }
}

/// What must be so.
pub(super) struct Prerequisite {
    pub(super) owner: NameBuf,
    pub(super) record_type: RecordType,
    pub(super) test: Test,
}

/// The five kinds of §2.4.
pub(super) enum Test {
    NameInUse,
    NameNotInUse,
    Rrset,
    NoRrset,
    /// This and the others of its name and type are the RRset.
    Record(Vec<u8>),
}

/// What is to be done.
pub(super) struct Update {
    pub(super) owner: NameBuf,
    pub(super) record_type: RecordType,
    pub(super) action: Action,
}

/// The four kinds of §2.5.
pub(super) enum Action {
    Add { ttl: u32, rdata: Vec<u8> },
    RemoveRrset,
    RemoveName,
    RemoveRecord(Vec<u8>),
}

/// The data of a record, checked and uncompressed.
fn rdata(record: &Record<'_>) -> Result<Vec<u8>, UpdateError> {
    let mut buffer = alloc::vec![0; record.raw_rdata().len()];
    loop {
        let room = buffer.len();
        match record.rdata(&mut buffer).map(<[u8]>::len) {
            Ok(length) => {
                buffer.truncate(length);
                return Ok(buffer);
            }
            // Compressed names need more.
            Err(MessageError::Rdata(RdataError::TooLong)) if room < usize::from(u16::MAX) => {
                buffer.resize((2 * room + 512).min(usize::from(u16::MAX)), 0);
            }
            Err(_) => return Err(UpdateError::Malformed),
        }
    }
}
