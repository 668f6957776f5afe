//! Lays out a compiled zone set from records that somebody parsed (feature `alloc`).
//!
//! The builder refuses what the server could not answer for. What a careful author also wants to hear (a name server
//! without address, a TTL that differs inside an RRset) is the business of the zone checker that feeds it.

use alloc::collections::BTreeMap;
use alloc::collections::btree_map::Entry;
use alloc::vec::Vec;

use super::MAX_TTL;
use super::build_error::{BuildError, BuildErrorKind};
use super::layout::Layout;
use crate::name::Name;
use crate::record::{RecordType, check_rdata, rdata_fields};

/// Collects the records of some zones and makes an image of them.
///
/// 1. [`add_zone`](Self::add_zone) for each zone, in any order; a zone may lie inside another.
/// 2. [`add_record`](Self::add_record) for each record, in any order; the order inside an RRset is kept.
/// 3. [`build`](Self::build): the octets that [`ZoneSet::from_bytes`](super::ZoneSet::from_bytes) takes. The same input gives the same octets.
///
/// ```
/// # use mirage_dns::name::NameBuf;
/// # use mirage_dns::record::RecordType;
/// use mirage_dns::zone_set::{ZoneSet, ZoneSetBuilder};
///
/// let apex = NameBuf::from_text("example.org")?;
/// let mut builder = ZoneSetBuilder::new();
/// let zone = builder.add_zone(apex.as_name())?;
/// let soa = b"\x02ns\x07example\x03org\0\x04root\x07example\x03org\0\0\0\0\x01\0\0\x0e\x10\0\0\x02\x58\0\x01\x51\x80\0\0\0\x3c";
/// builder.add_record(zone, apex.as_name(), RecordType::SOA, 3600, soa)?;
/// let image = builder.build()?;
/// assert_eq!(ZoneSet::from_bytes(&image)?.zones().count(), 1);
/// # Ok::<(), Box<dyn core::error::Error>>(())
/// ```
#[derive(Clone, Default, Debug)]
pub struct ZoneSetBuilder {
    pub(super) zones: Vec<DraftZone>,
    /// From the sort key of an apex to its zone.
    pub(super) apexes: BTreeMap<SortKey, usize>,
}

/// A zone of a [`ZoneSetBuilder`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ZoneHandle(pub(super) usize);

impl ZoneSetBuilder {
    /// One without zones.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a zone that has no records yet.
    ///
    /// # Errors
    /// [`BuildErrorKind::DuplicateZone`].
    pub fn add_zone(&mut self, apex: Name<'_>) -> Result<ZoneHandle, BuildError> {
        let key = sort_key(apex);
        if self.apexes.contains_key(&key) {
            return Err(BuildError::at(apex, None, BuildErrorKind::DuplicateZone));
        }
        let index = self.zones.len();
        let mut nodes = BTreeMap::new();
        nodes.insert(key.clone(), DraftNode::new(apex));
        self.apexes.insert(key, index);
        self.zones.push(DraftZone {
            apex: apex.as_wire().to_vec(),
            nodes,
            may_be_absent: false,
        });
        Ok(ZoneHandle(index))
    }

    /// Adds a record of class IN to a zone; `rdata` is uncompressed. A record that is there already is left out
    /// (RFC 2181 §5).
    ///
    /// When the TTLs inside an RRset differ, the lowest becomes that of all (RFC 2181 §5.2 wants them equal).
    ///
    /// # Errors
    /// [`BuildErrorKind::OutOfZone`], [`BuildErrorKind::MetaType`], [`BuildErrorKind::TtlTooLarge`],
    /// [`BuildErrorKind::Rdata`] or [`BuildErrorKind::TooManyRecords`]; the record is
    /// then not added.
    ///
    /// # Panics
    /// When `zone` comes from another builder that has more zones.
    pub fn add_record(
        &mut self,
        zone: ZoneHandle,
        owner: Name<'_>,
        record_type: RecordType,
        ttl: u32,
        rdata: &[u8],
    ) -> Result<(), BuildError> {
        let fail = |kind| Err(BuildError::at(owner, Some(record_type), kind));
        let zone = &mut self.zones[zone.0];
        if !owner.is_subdomain_of(zone.apex()) {
            return fail(BuildErrorKind::OutOfZone);
        }
        if record_type.is_meta() {
            return fail(BuildErrorKind::MetaType);
        }
        if ttl > MAX_TTL {
            return fail(BuildErrorKind::TtlTooLarge);
        }
        if let Err(error) = check_rdata(record_type, rdata) {
            return fail(BuildErrorKind::Rdata(error));
        }
        let node = zone.node_with_ancestors(owner);
        let rrset = node.rrsets.entry(record_type).or_insert(DraftRrset {
            ttl,
            records: Vec::new(),
            places: BTreeMap::new(),
        });
        if rrset.len() == usize::from(u16::MAX) {
            return fail(BuildErrorKind::TooManyRecords);
        }
        rrset.ttl = rrset.ttl.min(ttl);
        rrset.insert(record_type, rdata);
        Ok(())
    }

    /// Lays out the image.
    ///
    /// # Errors
    /// [`BuildErrorKind::NoSoa`], [`BuildErrorKind::SeveralRecords`], [`BuildErrorKind::SoaBelowApex`],
    /// [`BuildErrorKind::Signed`], [`BuildErrorKind::AliasWithOtherData`], [`BuildErrorKind::RedirectionAtCut`], [`BuildErrorKind::BelowRedirection`],
    /// [`BuildErrorKind::TooLarge`] or [`BuildErrorKind::IndexTooCrowded`].
    pub fn build(&self) -> Result<Vec<u8>, BuildError> {
        for zone in &self.zones {
            zone.check()?;
        }
        Layout::new(self).run()
    }
}

/// The labels of a name from right to left without case, each ended by a zero: octets in this form sort canonically,
/// and an ancestor's are a prefix. The octets 0 and 1 inside a label become 1 1 and 1 2.
pub(crate) type SortKey = Vec<u8>;

pub(crate) fn sort_key(name: Name<'_>) -> SortKey {
    let labels: Vec<&[u8]> = name.labels().collect();
    let mut key = Vec::with_capacity(name.len());
    for label in labels.iter().rev() {
        for octet in *label {
            match octet.to_ascii_lowercase() {
                small @ (0 | 1) => key.extend([1, small + 1]),
                other => key.push(other),
            }
        }
        key.push(0);
    }
    key
}

/// The rdata with the case of its names folded: what equality of records is about (RFC 2181 §5, RFC 4034 §6.2).
pub(crate) fn canonical_rdata(record_type: RecordType, rdata: &[u8]) -> Vec<u8> {
    if record_type.rdata_fields().is_none() {
        return rdata.to_vec();
    }
    let mut canonical = Vec::with_capacity(rdata.len());
    for (field, octets) in rdata_fields(record_type, rdata) {
        if field.is_case_folded() {
            canonical.extend(octets.iter().map(u8::to_ascii_lowercase));
        } else {
            canonical.extend_from_slice(octets);
        }
    }
    canonical
}

#[derive(Clone, Debug)]
pub(super) struct DraftZone {
    pub(super) apex: Vec<u8>,
    pub(super) nodes: BTreeMap<SortKey, DraftNode>,
    /// Whether a zone without records is meant, and not a mistake.
    pub(super) may_be_absent: bool,
}

impl DraftZone {
    pub(super) fn apex(&self) -> Name<'_> {
        Name::from_checked(&self.apex)
    }

    /// The node of a name, made with all nodes between it and the apex where they are missing.
    fn node_with_ancestors(&mut self, owner: Name<'_>) -> &mut DraftNode {
        let apex_length = self.apex.len();
        for ancestor in owner.ancestors().skip(1) {
            if ancestor.len() < apex_length {
                break;
            }
            let key = sort_key(ancestor);
            if self.nodes.contains_key(&key) {
                break;
            }
            self.nodes.insert(key, DraftNode::new(ancestor));
        }
        let node = self.nodes.entry(sort_key(owner));
        node.or_insert_with(|| DraftNode::new(owner))
    }

    fn check(&self) -> Result<(), BuildError> {
        if self.may_be_absent && self.nodes.values().all(|node| node.rrsets.is_empty()) {
            return Ok(());
        }
        let apex = self.apex();
        let apex_key = sort_key(apex);
        let at_apex = |node: &DraftNode| node.name() == apex;
        match self.nodes.get(&apex_key) {
            // Signed answers are wanted of such a zone, and validating resolvers refuse others.
            Some(node) if node.rrsets.contains_key(&RecordType::DNSKEY) => {
                let key = Some(RecordType::DNSKEY);
                return Err(BuildError::at(apex, key, BuildErrorKind::Signed));
            }
            Some(node) if node.rrsets.contains_key(&RecordType::SOA) => {}
            _ => {
                let soa = Some(RecordType::SOA);
                return Err(BuildError::at(apex, soa, BuildErrorKind::NoSoa));
            }
        }
        // What lies below a name follows it directly.
        let mut redirection: Option<&SortKey> = None;
        for (key, node) in &self.nodes {
            let fail =
                |record_type, kind| Err(BuildError::at(node.name(), Some(record_type), kind));
            for single in [RecordType::SOA, RecordType::CNAME, RecordType::DNAME] {
                let rrset = node.rrsets.get(&single);
                if rrset.is_some_and(|rrset| rrset.len() > 1) {
                    return fail(single, BuildErrorKind::SeveralRecords);
                }
            }
            // RFC 6672 §2.4: a server may refuse such a zone, as NSD and Knot do.
            if redirection.is_some_and(|above| key.starts_with(above)) {
                let name = node.name();
                return Err(BuildError::at(name, None, BuildErrorKind::BelowRedirection));
            }
            if node.rrsets.contains_key(&RecordType::DNAME) {
                redirection = Some(key);
                // RFC 6672 §2.3: a delegation would hide it.
                if node.rrsets.contains_key(&RecordType::NS) && !at_apex(node) {
                    return fail(RecordType::DNAME, BuildErrorKind::RedirectionAtCut);
                }
            }
            if node.rrsets.contains_key(&RecordType::SOA) && !at_apex(node) {
                return fail(RecordType::SOA, BuildErrorKind::SoaBelowApex);
            }
            if node.rrsets.contains_key(&RecordType::CNAME) {
                let beside = node.rrsets.keys().find(|t| !may_stand_beside_cname(**t));
                if let Some(&other) = beside {
                    return fail(other, BuildErrorKind::AliasWithOtherData);
                }
            }
        }
        Ok(())
    }
}

/// RFC 1034 §3.6.2, RFC 4034 §3 and §4, RFC 2535's successors: nothing else stands beside a CNAME.
pub(crate) const fn may_stand_beside_cname(record_type: RecordType) -> bool {
    matches!(
        record_type,
        RecordType::CNAME
            | RecordType::RRSIG
            | RecordType::NSEC
            | RecordType::KEY
            | RecordType::SIG
    )
}

#[derive(Clone, Debug)]
pub(super) struct DraftNode {
    pub(super) name: Vec<u8>,
    pub(super) rrsets: BTreeMap<RecordType, DraftRrset>,
}

impl DraftNode {
    fn new(name: Name<'_>) -> Self {
        Self {
            name: name.as_wire().to_vec(),
            rrsets: BTreeMap::new(),
        }
    }

    pub(super) fn name(&self) -> Name<'_> {
        Name::from_checked(&self.name)
    }

    pub(super) fn has_addresses(&self) -> bool {
        [RecordType::A, RecordType::AAAA]
            .iter()
            .any(|address| self.rrsets.contains_key(address))
    }
}

#[derive(Clone, Debug)]
pub(super) struct DraftRrset {
    pub(super) ttl: u32,
    /// In the order of their coming; `None` where one was taken out.
    records: Vec<Option<Vec<u8>>>,
    /// Where the record with this canonical data is.
    places: BTreeMap<Vec<u8>, usize>,
}

impl DraftRrset {
    pub(super) fn len(&self) -> usize {
        self.places.len()
    }

    pub(super) fn records(&self) -> impl Iterator<Item = &Vec<u8>> {
        self.records.iter().flatten()
    }

    /// Adds a record, unless it is there.
    fn insert(&mut self, record_type: RecordType, rdata: &[u8]) {
        if let Entry::Vacant(place) = self.places.entry(canonical_rdata(record_type, rdata)) {
            place.insert(self.records.len());
            self.records.push(Some(rdata.to_vec()));
        }
    }

    /// Takes a record out; whether it was there.
    pub(super) fn remove(&mut self, record_type: RecordType, rdata: &[u8]) -> bool {
        let place = self.places.remove(&canonical_rdata(record_type, rdata));
        let record = place.and_then(|place| self.records.get_mut(place));
        record.and_then(Option::take).is_some()
    }
}
