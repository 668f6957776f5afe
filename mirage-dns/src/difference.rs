//! What changed between two versions of a zone (feature `alloc`).
//!
//! | type | what it is |
//! |------|------------|
//! | [`RecordBuf`] | a record that owns its octets |
//! | [`Difference`] | what was taken out and what was put in, from one serial to another |
//!
//! A dynamic update, a zone that was read again and an incremental transfer each give a difference; a
//! journal keeps them for secondaries that ask for what they missed (RFC 1995).

use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use crate::name::Name;
use crate::record::{RecordClass, RecordType, check_rdata};
use crate::zone_set::{MAX_TTL, SortKey, Zone, ZoneRecord, canonical_rdata, sort_key};

/// A record of class IN that owns its octets.
///
/// Equality is that of the octets: names are compared with their case. Two records that only differ so are the same to
/// the DNS; [`RecordBuf::is_same_as`] tells.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct RecordBuf {
    owner: Box<[u8]>,
    record_type: RecordType,
    ttl: u32,
    rdata: Box<[u8]>,
}

impl RecordBuf {
    /// A record with these octets; `rdata` is uncompressed. What the type demands of it is checked by whoever builds a
    /// zone from it.
    pub fn new(owner: Name<'_>, record_type: RecordType, ttl: u32, rdata: &[u8]) -> Self {
        Self {
            owner: owner.as_wire().into(),
            record_type,
            ttl,
            rdata: rdata.into(),
        }
    }

    /// The name that it belongs to.
    pub fn owner(&self) -> Name<'_> {
        Name::from_checked(&self.owner)
    }

    /// Its type.
    pub fn record_type(&self) -> RecordType {
        self.record_type
    }

    /// Its time to live, in seconds.
    pub fn ttl(&self) -> u32 {
        self.ttl
    }

    /// Its data, uncompressed.
    pub fn rdata(&self) -> &[u8] {
        &self.rdata
    }

    /// The record as a zone's iterator would give it.
    pub fn as_record(&self) -> ZoneRecord<'_> {
        ZoneRecord {
            owner: self.owner(),
            record_type: self.record_type,
            ttl: self.ttl,
            rdata: &self.rdata,
        }
    }

    /// Whether it is the same record but for the TTL and the case of names (RFC 2181 §5).
    pub fn is_same_as(&self, other: &Self) -> bool {
        self.record_type == other.record_type
            && self.owner() == other.owner()
            && canonical_rdata(self.record_type, &self.rdata)
                == canonical_rdata(other.record_type, &other.rdata)
    }

    /// Octets that it takes uncompressed in a message.
    pub fn wire_length(&self) -> usize {
        self.owner.len() + 10 + self.rdata.len()
    }

    /// The serial number, if it is a SOA record whose numbers are there.
    pub(crate) fn serial(&self) -> Option<u32> {
        soa_serial(self.record_type, &self.rdata)
    }
}

impl From<ZoneRecord<'_>> for RecordBuf {
    fn from(record: ZoneRecord<'_>) -> Self {
        Self::new(record.owner, record.record_type, record.ttl, record.rdata)
    }
}

/// The serial number in a SOA record's data (RFC 1035 §3.3.13): the first of the five numbers at its end.
pub(crate) fn soa_serial(record_type: RecordType, rdata: &[u8]) -> Option<u32> {
    if record_type != RecordType::SOA {
        return None;
    }
    let numbers: &[u8; 20] = rdata.last_chunk()?;
    let [a, b, c, d, ..] = *numbers;
    Some(u32::from_be_bytes([a, b, c, d]))
}

/// What leads from one version of a zone to another.
///
/// The SOA records stand apart, as in an incremental transfer (RFC 1995 §4): neither is among what was removed or
/// added. Record by record a removal comes before an addition: a record whose TTL changes is in both.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Difference {
    /// The SOA record of the version before.
    pub old_soa: RecordBuf,
    /// The records that the version before has and the one after has not.
    pub removed: Vec<RecordBuf>,
    /// The SOA record of the version after.
    pub new_soa: RecordBuf,
    /// The records that only the version after has.
    pub added: Vec<RecordBuf>,
}

impl Difference {
    /// What leads from one zone to another; the records in canonical order of their owners.
    ///
    /// `None` where one of them has no SOA record: it is not there.
    pub fn between(old: Zone<'_>, new: Zone<'_>) -> Option<Self> {
        let old_soa = RecordBuf::from(old.soa()?);
        let new_soa = RecordBuf::from(new.soa()?);
        let mut missing: BTreeMap<Identity, RecordBuf> = BTreeMap::new();
        for record in old.records() {
            if record.record_type != RecordType::SOA {
                missing.insert(Identity::of(&record), record.into());
            }
        }
        let mut added = Vec::new();
        let mut removed = Vec::new();
        for record in new.records() {
            if record.record_type == RecordType::SOA {
                continue;
            }
            match missing.remove(&Identity::of(&record)) {
                Some(same) if same.ttl == record.ttl => {}
                Some(other) => {
                    removed.push(other);
                    added.push(record.into());
                }
                None => added.push(record.into()),
            }
        }
        removed.extend(missing.into_values());
        Some(Self {
            old_soa,
            removed,
            new_soa,
            added,
        })
    }

    /// The serial number of the version before.
    pub fn old_serial(&self) -> u32 {
        self.old_soa.serial().unwrap_or(0)
    }

    /// The serial number of the version after.
    pub fn new_serial(&self) -> u32 {
        self.new_soa.serial().unwrap_or(0)
    }

    /// Whether no record but the SOA changed.
    pub fn is_empty(&self) -> bool {
        self.removed.is_empty() && self.added.is_empty()
    }

    /// The records as an incremental transfer has them: old SOA, removed, new SOA, added (RFC 1995 §4).
    pub fn records(&self) -> impl Iterator<Item = &RecordBuf> {
        core::iter::once(&self.old_soa)
            .chain(&self.removed)
            .chain(core::iter::once(&self.new_soa))
            .chain(&self.added)
    }

    /// Appends the difference to `octets`, in the form that [`Difference::decode`] reads: how many records were removed and
    /// added, in 32 bits each, then all records as [`Difference::records`] gives them, each as in a message and uncompressed.
    pub fn encode(&self, octets: &mut Vec<u8>) {
        for records in [&self.removed, &self.added] {
            // Nothing that fits into memory and an image has more.
            octets.extend((records.len() as u32).to_be_bytes());
        }
        for record in self.records() {
            octets.extend_from_slice(&record.owner);
            octets.extend(record.record_type.0.to_be_bytes());
            octets.extend(RecordClass::IN.0.to_be_bytes());
            octets.extend(record.ttl.to_be_bytes());
            octets.extend((record.rdata.len() as u16).to_be_bytes());
            octets.extend_from_slice(&record.rdata);
        }
    }

    /// Reads what [`Difference::encode`] wrote; `None` for everything else. The records are well formed, and the SOA records
    /// are some; whether it fits a zone is found out when it is applied.
    pub fn decode(octets: &[u8]) -> Option<Self> {
        let mut reader = Reader(octets);
        let removed = reader.u32()?;
        let added = reader.u32()?;
        let difference = Self {
            old_soa: reader.soa()?,
            removed: reader.records(removed)?,
            new_soa: reader.soa()?,
            added: reader.records(added)?,
        };
        reader.0.is_empty().then_some(difference)
    }

    /// Octets that its records take uncompressed in messages.
    pub fn wire_length(&self) -> usize {
        self.records().map(RecordBuf::wire_length).sum()
    }
}

/// Octets of [`Difference::encode`].
struct Reader<'a>(&'a [u8]);

impl Reader<'_> {
    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (array, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*array)
    }

    fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_be_bytes)
    }

    fn u16(&mut self) -> Option<u16> {
        self.array().map(u16::from_be_bytes)
    }

    fn record(&mut self) -> Option<RecordBuf> {
        let (owner, rest) = Name::split_from(self.0).ok()?;
        self.0 = rest;
        let record_type = RecordType(self.u16()?);
        let class = RecordClass(self.u16()?);
        let ttl = self.u32()?;
        let length = self.u16()?;
        let (rdata, rest) = self.0.split_at_checked(length.into())?;
        self.0 = rest;
        let is_zone_data = class == RecordClass::IN && !record_type.is_meta() && ttl <= MAX_TTL;
        if !is_zone_data || check_rdata(record_type, rdata).is_err() {
            return None;
        }
        Some(RecordBuf::new(owner, record_type, ttl, rdata))
    }

    fn records(&mut self, count: u32) -> Option<Vec<RecordBuf>> {
        // Not more than there can be is asked of the allocator, whatever the count says.
        let least = self.0.len() / 11;
        let mut records = Vec::with_capacity(least.min(count as usize));
        for _ in 0..count {
            let record = self.record()?;
            if record.record_type == RecordType::SOA {
                return None;
            }
            records.push(record);
        }
        Some(records)
    }

    fn soa(&mut self) -> Option<RecordBuf> {
        let record = self.record()?;
        record.serial().is_some().then_some(record)
    }
}

/// What makes a record itself: owner and names without case, type, data; not the TTL.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Identity {
    owner: SortKey,
    record_type: RecordType,
    rdata: Vec<u8>,
}

impl Identity {
    fn of(record: &ZoneRecord<'_>) -> Self {
        Self {
            owner: sort_key(record.owner),
            record_type: record.record_type,
            rdata: canonical_rdata(record.record_type, record.rdata),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::name::NameBuf;

    fn name(text: &str) -> NameBuf {
        NameBuf::from_text(text).unwrap()
    }

    fn soa(serial: u32) -> RecordBuf {
        let mut rdata = std::vec![0, 0];
        for number in [serial, 2, 3, 4, 5] {
            rdata.extend(number.to_be_bytes());
        }
        RecordBuf::new(name("o").as_name(), RecordType::SOA, 60, &rdata)
    }

    fn difference() -> Difference {
        let record = |owner, record_type, rdata: &[u8]| {
            RecordBuf::new(name(owner).as_name(), record_type, 60, rdata)
        };
        Difference {
            old_soa: soa(1),
            removed: std::vec![record("a.o", RecordType::A, &[192, 0, 2, 1])],
            new_soa: soa(2),
            added: std::vec![
                record("B.o", RecordType::TXT, b"\x01x"),
                record("b.o", RecordType(65_280), &[]),
            ],
        }
    }

    #[test]
    fn difference_is_read_as_it_was_written() {
        let mut octets = Vec::new();
        difference().encode(&mut octets);
        assert_eq!(Difference::decode(&octets), Some(difference()));
    }

    #[test]
    fn what_was_cut_or_changed_is_no_difference_or_another() {
        let mut octets = Vec::new();
        difference().encode(&mut octets);
        for end in 0..octets.len() {
            assert_eq!(Difference::decode(&octets[..end]), None, "{end}");
        }
        octets.push(0);
        assert_eq!(Difference::decode(&octets), None);
        octets.pop();
        for at in 0..octets.len() {
            for bit in 0..8 {
                let mut other = octets.clone();
                other[at] ^= 1 << bit;
                assert_ne!(Difference::decode(&other), Some(difference()), "{at}");
            }
        }
    }

    #[test]
    fn count_that_lies_asks_for_no_memory() {
        let mut octets = Vec::new();
        difference().encode(&mut octets);
        octets[0..4].fill(0xff);
        assert_eq!(Difference::decode(&octets), None);
    }

    #[test]
    fn soa_among_the_records_is_refused() {
        let mut difference = difference();
        difference.added.push(soa(3));
        let mut octets = Vec::new();
        difference.encode(&mut octets);
        assert_eq!(Difference::decode(&octets), None);
    }
}
