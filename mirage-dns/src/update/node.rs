//! The records of one name, to be changed.

use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use super::Refusal;
use crate::difference::RecordBuf;
use crate::name::Name;
use crate::record::RecordType;
use crate::zone_set::{Zone, ZoneRecord, canonical_rdata};

/// What each record counts beside its octets: the maps that hold it.
pub(super) const OVERHEAD: usize = 64;

/// All records of one name.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Node {
    owner: Box<[u8]>,
    rrsets: BTreeMap<RecordType, Rrset>,
}

/// The records of one name and one type; never none.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Rrset {
    pub(super) ttl: u32,
    /// From the data with names in small letters, which is what equality is about, to the data.
    records: BTreeMap<Vec<u8>, Box<[u8]>>,
}

impl Node {
    /// The records that a zone has for a name.
    pub(super) fn of_zone(zone: Zone<'_>, owner: Name<'_>) -> Self {
        let mut node = Self {
            owner: owner.as_wire().into(),
            rrsets: BTreeMap::new(),
        };
        for record in zone.records_of(owner).into_iter().flatten() {
            // The case of a name is that of the zone.
            if *node.owner != *record.owner.as_wire() {
                node.owner = record.owner.as_wire().into();
            }
            let rrset = node.rrset_or_new(record.record_type, record.ttl);
            let canonical = canonical_rdata(record.record_type, record.rdata);
            rrset.records.insert(canonical, record.rdata.into());
        }
        node
    }

    pub(super) fn owner(&self) -> Name<'_> {
        Name::from_checked(&self.owner)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.rrsets.is_empty()
    }

    pub(super) fn has(&self, record_type: RecordType) -> bool {
        self.rrsets.contains_key(&record_type)
    }

    /// The types that there are.
    pub(super) fn types(&self) -> impl Iterator<Item = RecordType> {
        self.rrsets.keys().copied()
    }

    pub(super) fn rrset(&self, record_type: RecordType) -> Option<&Rrset> {
        self.rrsets.get(&record_type)
    }

    /// Puts a record in. One that is the same but for case takes the place of the old one, as does each of a type of
    /// which there is one; the TTL becomes that of all.
    pub(super) fn add(
        &mut self,
        record_type: RecordType,
        ttl: u32,
        rdata: &[u8],
    ) -> Result<(), Refusal> {
        let rrset = self.rrset_or_new(record_type, ttl);
        rrset.ttl = ttl;
        match record_type {
            RecordType::SOA | RecordType::CNAME | RecordType::DNAME => rrset.records.clear(),
            // One for each address and protocol, which are the first octets (RFC 1035 §3.4.2, RFC 2136 §1.1).
            RecordType::WKS => {
                let same = rdata.get(..5).unwrap_or(rdata);
                rrset.records.retain(|other, _| !other.starts_with(same));
            }
            _ => {}
        }
        let canonical = canonical_rdata(record_type, rdata);
        rrset.records.insert(canonical, rdata.into());
        match rrset.records.len() <= usize::from(u16::MAX) {
            true => Ok(()),
            false => Err(Refusal::RrsetTooLarge),
        }
    }

    /// Takes a record out, if it is there.
    pub(super) fn remove(&mut self, record_type: RecordType, rdata: &[u8]) {
        let Some(rrset) = self.rrsets.get_mut(&record_type) else {
            return;
        };
        rrset.records.remove(&canonical_rdata(record_type, rdata));
        if rrset.records.is_empty() {
            self.rrsets.remove(&record_type);
        }
    }

    /// Takes out all records whose type is not to be kept.
    pub(super) fn retain(&mut self, keep: impl Fn(RecordType) -> bool) {
        self.rrsets.retain(|record_type, _| keep(*record_type));
    }

    /// Octets as [`super::UpdateLimits::octets`] counts them.
    pub(super) fn octets(&self) -> usize {
        let records = self
            .rrsets
            .values()
            .flat_map(|rrset| rrset.records.values());
        let records: usize = records.map(|rdata| 2 * rdata.len() + OVERHEAD).sum();
        self.owner.len() + OVERHEAD + records
    }

    /// The records that this node has and `other` has not, or with another TTL or case; not SOA, which stands apart.
    pub(super) fn records_missing_in<'a>(
        &'a self,
        other: &'a Self,
    ) -> impl Iterator<Item = RecordBuf> + use<'a> {
        let rrsets = self.rrsets.iter();
        let rrsets = rrsets.filter(|(record_type, _)| **record_type != RecordType::SOA);
        rrsets.flat_map(move |(&record_type, rrset)| {
            let others = other.rrset(record_type);
            let others = others.filter(|others| others.ttl == rrset.ttl);
            let missing = rrset.records.iter().filter(move |(canonical, rdata)| {
                others.and_then(|others| others.records.get(*canonical)) != Some(*rdata)
            });
            missing
                .map(move |(_, rdata)| RecordBuf::new(self.owner(), record_type, rrset.ttl, rdata))
        })
    }

    fn rrset_or_new(&mut self, record_type: RecordType, ttl: u32) -> &mut Rrset {
        self.rrsets.entry(record_type).or_insert(Rrset {
            ttl,
            records: BTreeMap::new(),
        })
    }
}

impl Rrset {
    /// The records of an RRset of a zone; `None` when there are none.
    pub(super) fn of_zone<'z>(records: impl Iterator<Item = ZoneRecord<'z>>) -> Option<Self> {
        let mut rrset = None;
        for record in records {
            let rrset = rrset.get_or_insert(Self {
                ttl: record.ttl,
                records: BTreeMap::new(),
            });
            let canonical = canonical_rdata(record.record_type, record.rdata);
            rrset.records.insert(canonical, record.rdata.into());
        }
        rrset
    }

    /// How many records there are.
    pub(super) fn len(&self) -> usize {
        self.records.len()
    }

    /// The data of each record.
    pub(super) fn records(&self) -> impl Iterator<Item = &[u8]> {
        self.records.values().map(|rdata| &**rdata)
    }

    /// Whether a record is there, names without case.
    pub(super) fn contains(&self, canonical: &[u8]) -> bool {
        self.records.contains_key(canonical)
    }
}
