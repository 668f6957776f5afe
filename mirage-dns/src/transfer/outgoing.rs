//! Writes the messages of a transfer.

use alloc::sync::Arc;
use alloc::vec::Vec;

use byteorder::{BigEndian, ByteOrder};

use super::TransferRequest;
use crate::difference::Difference;
use crate::journal::Journal;
use crate::message::{
    Edns, Flags, Header, MAX_MESSAGE_LENGTH, MessageBuilder, Section, WriteError,
};
use crate::name::{Name, NameBuf};
use crate::record::{RecordClass, RecordType};
use crate::serial::is_newer;
use crate::server::OptRecord;
use crate::zone_set::{OwnedZoneSet, RecordCursor, Zone, ZoneRecord};

/// Octets after which a message gets no further record: compression pointers reach no further.
const FULL_MESSAGE: usize = 16_384;

/// A transfer that goes out: the zone as it was when it was asked for, whatever happens to it meanwhile.
///
/// - Output: [`OutgoingTransfer::poll_message`], until it gives `None`.
#[derive(Clone, Debug)]
pub struct OutgoingTransfer {
    id: u16,
    apex: NameBuf,
    query_type: RecordType,
    /// What the first message has in its additional section; empty for nothing.
    opt: OptRecord,
    zones: Arc<OwnedZoneSet>,
    differences: Vec<Arc<Difference>>,
    next: Option<Place>,
    first_message: bool,
}

/// The next record that goes out.
#[derive(Clone, Copy, Debug)]
enum Place {
    /// The SOA of the current version, at the beginning.
    First,
    /// A record of the whole zone; its SOA among them is left out.
    Whole(RecordCursor),
    /// A record of a difference.
    Difference { number: usize, record: usize },
    /// The SOA of the current version, at the end.
    Last,
}

impl OutgoingTransfer {
    /// What answers `request`, from `zones` and the zone's journal: only the SOA when the secondary is up to date, differences
    /// where the journal reaches back to its version, else the whole zone. `None` if the set does not have that zone, or it is
    /// not there.
    pub fn new(
        request: &TransferRequest,
        zones: &Arc<OwnedZoneSet>,
        journal: &Journal,
    ) -> Option<Self> {
        Self::with_differences(request, zones, journal, usize::MAX)
    }

    /// The same for [`Self::write_datagram`]. What is too long for any message is not looked at to its end, as a datagram may
    /// have come from anybody, whatever its address says: it is left at the SOA.
    pub fn for_datagram(
        request: &TransferRequest,
        zones: &Arc<OwnedZoneSet>,
        journal: &Journal,
    ) -> Option<Self> {
        let mut transfer = Self::with_differences(request, zones, journal, MAX_MESSAGE_LENGTH)?;
        let zone = zones.as_zone_set().zone_at(request.apex.as_name())?;
        if transfer.differences.is_empty() && is_larger(zone, MAX_MESSAGE_LENGTH) {
            transfer.next = Some(Place::Last);
        }
        Some(transfer)
    }

    /// With the differences if they have so many octets at the most.
    fn with_differences(
        request: &TransferRequest,
        zones: &Arc<OwnedZoneSet>,
        journal: &Journal,
        most: usize,
    ) -> Option<Self> {
        let set = zones.as_zone_set();
        let zone = set.zone_at(request.apex.as_name())?;
        zone.soa()?;
        let mut transfer = Self {
            id: request.id,
            apex: request.apex.clone(),
            query_type: match request.serial {
                Some(_) => RecordType::IXFR,
                None => RecordType::AXFR,
            },
            opt: opt_record(request.edns),
            zones: zones.clone(),
            differences: Vec::new(),
            next: Some(Place::First),
            first_message: true,
        };
        if let Some(serial) = request.serial {
            if !is_newer(zone.serial(), serial) {
                transfer.next = Some(Place::Last);
            } else if let Some(octets) = octets_since(journal, serial, most)
                // RFC 1995 §3: as long as that is less than the zone.
                && is_larger(zone, octets)
            {
                let differences = journal.since(serial).into_iter().flatten();
                transfer.differences = differences.cloned().collect();
            }
        }
        Some(transfer)
    }

    /// The same with another OPT record, or with none.
    pub(crate) fn with_opt(self, opt: OptRecord) -> Self {
        Self { opt, ..self }
    }

    /// The zone's name.
    pub fn apex(&self) -> Name<'_> {
        self.apex.as_name()
    }

    /// Whether it consists of differences, or of the SOA alone.
    pub fn is_incremental(&self) -> bool {
        !self.differences.is_empty() || matches!(self.next, Some(Place::Last))
    }

    /// Writes the next message into `out`; its length, or `None` when all were written.
    ///
    /// # Errors
    /// [`WriteError::Full`] when `out` cannot hold the next record alone: 65,535 octets hold any that a message can.
    pub fn poll_message(&mut self, out: &mut [u8]) -> Result<Option<usize>, WriteError> {
        if self.next.is_none() {
            return Ok(None);
        }
        let zones = self.zones.clone();
        let zones = zones.as_zone_set();
        let Some(zone) = zones.zone_at(self.apex.as_name()) else {
            return Ok(None);
        };
        let header = Header {
            id: self.id,
            flags: Flags::QR | Flags::AA,
            ..Header::default()
        };
        // RFC 6891 §6.1.1, RFC 5936 §2.2.5: the first message has an OPT record where the request has one.
        let opt = match self.first_message {
            true => core::mem::take(&mut self.opt),
            false => OptRecord::new(),
        };
        let room = out
            .len()
            .min(MAX_MESSAGE_LENGTH)
            .checked_sub(opt.len())
            .ok_or(WriteError::Full)?;
        let mut builder = MessageBuilder::new(&mut out[..room], header)?;
        // RFC 5936 §2.2.2: the first message repeats the question, further ones may leave it out.
        if self.first_message {
            builder.push_question(self.apex.as_name(), self.query_type, RecordClass::IN)?;
        }
        let mut records = 0;
        while let Some(place) = self.next {
            let pushed = match self.record(zone, place) {
                None => Ok(()),
                Some(record) => {
                    let (section, class) = (Section::Answer, RecordClass::IN);
                    let (record_type, ttl) = (record.record_type, record.ttl);
                    records += 1;
                    builder.push_record(
                        section,
                        record.owner,
                        record_type,
                        class,
                        ttl,
                        record.rdata,
                    )
                }
            };
            match pushed {
                Ok(()) => self.next = self.after(zone, place),
                Err(WriteError::Full) if records > 1 => break,
                Err(error) => return Err(error),
            }
            if builder.written() >= FULL_MESSAGE {
                break;
            }
        }
        self.first_message = false;
        let length = builder.finish();
        match opt.is_empty() {
            true => Ok(Some(length)),
            false => append_opt(out, length, &opt).map(Some),
        }
    }

    /// The same over UDP (RFC 1995 §2): all of it in one message, or the SOA of the current version alone, which tells the
    /// secondary to ask over TCP.
    ///
    /// # Errors
    /// [`WriteError::Full`] when `out` cannot even hold that.
    pub fn write_datagram(mut self, out: &mut [u8]) -> Result<usize, WriteError> {
        let soa_alone = Self {
            next: Some(Place::Last),
            ..self.clone()
        };
        match self.poll_message(out) {
            Ok(Some(length)) if self.next.is_none() => Ok(length),
            _ => {
                let mut soa_alone = soa_alone;
                let length = soa_alone.poll_message(out)?;
                length.ok_or(WriteError::Full)
            }
        }
    }

    /// The record at a place; `None` for one that is left out.
    fn record<'r>(&'r self, zone: Zone<'r>, place: Place) -> Option<ZoneRecord<'r>> {
        match place {
            Place::First | Place::Last => zone.soa(),
            Place::Whole(cursor) => {
                let record = zone.record_at(cursor)?;
                (record.record_type != RecordType::SOA).then_some(record)
            }
            Place::Difference { number, record } => {
                let difference = self.differences.get(number)?;
                let (removed, added) = (&difference.removed, &difference.added);
                let record = match record.checked_sub(1 + removed.len()) {
                    None if record == 0 => &difference.old_soa,
                    None => removed.get(record - 1)?,
                    Some(0) => &difference.new_soa,
                    Some(added_before) => added.get(added_before - 1)?,
                };
                Some(record.as_record())
            }
        }
    }

    fn after(&self, zone: Zone<'_>, place: Place) -> Option<Place> {
        match place {
            Place::First if self.differences.is_empty() => {
                Some(zone.first_record().map_or(Place::Last, Place::Whole))
            }
            Place::First => Some(Place::Difference {
                number: 0,
                record: 0,
            }),
            Place::Whole(cursor) => {
                let next = zone.record_after(cursor);
                Some(next.map_or(Place::Last, Place::Whole))
            }
            Place::Difference { number, record } => {
                let difference = self.differences.get(number)?;
                let count = 2 + difference.removed.len() + difference.added.len();
                let (number, record) = if record + 1 < count {
                    (number, record + 1)
                } else {
                    (number + 1, 0)
                };
                if number < self.differences.len() {
                    Some(Place::Difference { number, record })
                } else {
                    Some(Place::Last)
                }
            }
            Place::Last => None,
        }
    }
}

/// The record of an answer; empty for none.
fn opt_record(edns: Option<Edns<'static>>) -> OptRecord {
    let mut record = OptRecord::new();
    if let Some(edns) = edns {
        // It holds more than that.
        let _ = record.extend_from_slice(&edns.fixed_octets());
    }
    record
}

/// Puts an OPT record behind all else; the new length. The room was left free.
fn append_opt(out: &mut [u8], length: usize, opt: &[u8]) -> Result<usize, WriteError> {
    let end = length + opt.len();
    let room = out.get_mut(length..end).ok_or(WriteError::Full)?;
    room.copy_from_slice(opt);
    BigEndian::write_u16(&mut out[10..12], 1); // the additional section had nothing
    Ok(end)
}

/// How many octets the differences since a serial have, if they are known and not more than so many.
fn octets_since(journal: &Journal, serial: u32, most: usize) -> Option<usize> {
    let mut octets = 0usize;
    for record in journal
        .since(serial)?
        .flat_map(|difference| difference.records())
    {
        octets = octets.saturating_add(record.wire_length());
        if octets > most {
            return None;
        }
    }
    Some(octets)
}

/// Whether the records of a zone take more than so many octets uncompressed; no more of them are looked at than that takes.
fn is_larger(zone: Zone<'_>, octets: usize) -> bool {
    let mut left = octets;
    for record in zone.records() {
        let length = record.owner.len() + 10 + record.rdata.len();
        match left.checked_sub(length) {
            Some(rest) => left = rest,
            None => return true,
        }
    }
    false
}
