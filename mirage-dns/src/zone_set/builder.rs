//! Lays out a compiled zone set from records that somebody parsed (feature `alloc`).
//!
//! The builder refuses what the server could not answer for. What a careful author also wants to hear (a name server
//! without address, a TTL that differs inside an RRset) is the business of the zone checker that feeds it.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::error::Error;
use core::fmt;

use zerocopy::IntoBytes;
use zerocopy::little_endian::{U16, U32, U64};

use super::format::{
    ANCHORS, Header, MAGIC, NONE, NameReference, NodeEntry, RECORD_HEADER_LENGTH, RrsetEntry, Slot,
    VERSION, ZoneEntry,
};
use super::hash::hash_name;
use super::{MAX_PROBES, MAX_TTL, ZoneSet};
use crate::name::Name;
use crate::record::{RdataError, RecordClass, RecordType, check_rdata, rdata_fields, rdata_names};

/// Seeds that are tried before the index grows.
const SEEDS_PER_SIZE: u64 = 8;

/// Times that the index is doubled before the builder gives up.
const DOUBLINGS: u32 = 4;

/// Collects the records of some zones and makes an image of them.
///
/// 1. [`add_zone`](Self::add_zone) for each zone, in any order; a zone may lie inside another.
/// 2. [`add_record`](Self::add_record) for each record, in any order; the order inside an RRset is kept.
/// 3. [`build`](Self::build): the octets that [`ZoneSet::from_bytes`] takes. The same input gives the same octets.
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
    zones: Vec<DraftZone>,
    /// From the sort key of an apex to its zone.
    apexes: BTreeMap<SortKey, usize>,
}

/// A zone of a [`ZoneSetBuilder`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ZoneHandle(usize);

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
        });
        Ok(ZoneHandle(index))
    }

    /// Adds a record of class IN to a zone; `rdata` is uncompressed. A record that is there already is left out
    /// (RFC 2181 §5).
    ///
    /// When the TTLs inside an RRset differ, the lowest becomes that of all (RFC 2181 §5.2 wants them equal).
    ///
    /// # Errors
    /// [`BuildErrorKind::OutOfZone`], [`BuildErrorKind::MetaType`], [`BuildErrorKind::NotServed`],
    /// [`BuildErrorKind::TtlTooLarge`], [`BuildErrorKind::Rdata`] or [`BuildErrorKind::TooManyRecords`]; the record is then
    /// not added.
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
        // Served as plain data a DNAME would promise names that are answered with NXDOMAIN.
        if record_type == RecordType::DNAME {
            return fail(BuildErrorKind::NotServed);
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
            canonical: BTreeSet::new(),
        });
        if rrset.records.len() == usize::from(u16::MAX) {
            return fail(BuildErrorKind::TooManyRecords);
        }
        rrset.ttl = rrset.ttl.min(ttl);
        let canonical = canonical_rdata(record_type, rdata);
        if rrset.canonical.insert(canonical) {
            rrset.records.push(rdata.to_vec());
        }
        Ok(())
    }

    /// Lays out the image.
    ///
    /// # Errors
    /// [`BuildErrorKind::NoSoa`], [`BuildErrorKind::SeveralRecords`], [`BuildErrorKind::SoaBelowApex`],
    /// [`BuildErrorKind::AliasWithOtherData`], [`BuildErrorKind::TooLarge`] or [`BuildErrorKind::IndexTooCrowded`].
    pub fn build(&self) -> Result<Vec<u8>, BuildError> {
        for zone in &self.zones {
            zone.check()?;
        }
        Layout::new(self).run()
    }
}

/// The labels of a name from right to left without case, each ended by a zero: octets in this form sort canonically, and
/// an ancestor's are a prefix. The octets 0 and 1 inside a label become 1 1 and 1 2.
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
        if field.is_name() {
            canonical.extend(octets.iter().map(u8::to_ascii_lowercase));
        } else {
            canonical.extend_from_slice(octets);
        }
    }
    canonical
}

#[derive(Clone, Debug)]
struct DraftZone {
    apex: Vec<u8>,
    nodes: BTreeMap<SortKey, DraftNode>,
}

impl DraftZone {
    fn apex(&self) -> Name<'_> {
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
        let apex = self.apex();
        let apex_key = sort_key(apex);
        let at_apex = |node: &DraftNode| node.name() == apex;
        match self.nodes.get(&apex_key) {
            Some(node) if node.rrsets.contains_key(&RecordType::SOA) => {}
            _ => {
                let soa = Some(RecordType::SOA);
                return Err(BuildError::at(apex, soa, BuildErrorKind::NoSoa));
            }
        }
        for node in self.nodes.values() {
            let fail =
                |record_type, kind| Err(BuildError::at(node.name(), Some(record_type), kind));
            for single in [RecordType::SOA, RecordType::CNAME] {
                let rrset = node.rrsets.get(&single);
                if rrset.is_some_and(|rrset| rrset.records.len() > 1) {
                    return fail(single, BuildErrorKind::SeveralRecords);
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
const fn may_stand_beside_cname(record_type: RecordType) -> bool {
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
struct DraftNode {
    name: Vec<u8>,
    rrsets: BTreeMap<RecordType, DraftRrset>,
}

impl DraftNode {
    fn new(name: Name<'_>) -> Self {
        Self {
            name: name.as_wire().to_vec(),
            rrsets: BTreeMap::new(),
        }
    }

    fn name(&self) -> Name<'_> {
        Name::from_checked(&self.name)
    }

    fn has_addresses(&self) -> bool {
        [RecordType::A, RecordType::AAAA]
            .iter()
            .any(|address| self.rrsets.contains_key(address))
    }
}

#[derive(Clone, Debug)]
struct DraftRrset {
    ttl: u32,
    /// In the order of their coming.
    records: Vec<Vec<u8>>,
    canonical: BTreeSet<Vec<u8>>,
}

/// The image while it is laid out.
struct Layout<'a> {
    builder: &'a ZoneSetBuilder,
    /// For each zone, from sort key to node.
    indices: Vec<BTreeMap<&'a [u8], u32>>,
    zones: Vec<ZoneEntry>,
    nodes: Vec<NodeEntry>,
    rrsets: Vec<RrsetEntry>,
    references: Vec<NameReference>,
    octets: Vec<u8>,
}

impl<'a> Layout<'a> {
    fn new(builder: &'a ZoneSetBuilder) -> Self {
        Self {
            builder,
            indices: Vec::new(),
            zones: Vec::new(),
            nodes: Vec::new(),
            rrsets: Vec::new(),
            references: Vec::new(),
            octets: Vec::new(),
        }
    }

    fn run(mut self) -> Result<Vec<u8>, BuildError> {
        let mut first = 0u32;
        for zone in &self.builder.zones {
            let count = number(zone.nodes.len())?;
            let keys = zone.nodes.keys().map(Vec::as_slice);
            self.indices.push(keys.zip(first..).collect());
            first = first.checked_add(count).ok_or_else(too_large)?;
        }
        for (index, zone) in self.builder.zones.iter().enumerate() {
            self.add_zone(index, zone)?;
        }
        let index = Index::new(&self.nodes, &self.octets)?;
        self.finish(&index)
    }

    fn add_zone(&mut self, index: usize, zone: &DraftZone) -> Result<(), BuildError> {
        let first_node = self.nodes.len();
        for (key, node) in &zone.nodes {
            self.add_node(index, zone, key, node)?;
        }
        let apex = self.nodes[first_node];
        let rrset_of = |wanted: RecordType| {
            let start = apex.first_rrset.get() as usize;
            let own = &self.rrsets[start..start + usize::from(apex.rrset_count.get())];
            let found = own.iter().position(|r| r.record_type.get() == wanted.0);
            found.map_or(NONE, |position| (start + position) as u32)
        };
        let (soa, ns) = (rrset_of(RecordType::SOA), rrset_of(RecordType::NS));
        let soa_entry = &self.rrsets[soa as usize];
        let end = (soa_entry.octets.get() + soa_entry.length.get()) as usize;
        let minimum = self.octets[..end].last_chunk::<4>().copied();
        let minimum = u32::from_be_bytes(minimum.unwrap_or_default());
        let entry = ZoneEntry {
            first_node: U32::new(number(first_node)?),
            node_count: U32::new(number(zone.nodes.len())?),
            parent_node: U32::new(self.parent_node(zone.apex())),
            soa: U32::new(soa),
            ns: U32::new(ns),
            negative_ttl: U32::new(soa_entry.ttl.get().min(minimum).min(MAX_TTL)),
        };
        self.zones.push(entry);
        Ok(())
    }

    /// Where the next zone above `apex` would answer for a name at `apex`.
    fn parent_node(&self, apex: Name<'_>) -> u32 {
        let above = || apex.ancestors().skip(1).map(sort_key);
        let enclosing = above().find_map(|key| self.builder.apexes.get(&key));
        let Some(&zone) = enclosing else {
            return NONE;
        };
        let exact = core::iter::once(sort_key(apex));
        let node = exact
            .chain(above())
            .find_map(|key| self.indices[zone].get(key.as_slice()).copied());
        node.unwrap_or(NONE)
    }

    fn add_node(
        &mut self,
        zone_index: usize,
        zone: &DraftZone,
        key: &[u8],
        node: &DraftNode,
    ) -> Result<(), BuildError> {
        let this = number(self.nodes.len())?;
        let name = node.name();
        let is_apex = name.len() == zone.apex.len();
        let parent = match name.parent() {
            Some(parent) if !is_apex => self.indices[zone_index][sort_key(parent).as_slice()],
            _ => NONE,
        };
        // A parent is laid out before its children, so its cut is known.
        let inherited = self.nodes.get(parent as usize).map(|p| p.cut.get());
        let cut = match inherited {
            Some(cut) if cut != NONE => cut,
            Some(_) if node.rrsets.contains_key(&RecordType::NS) => this,
            _ => NONE,
        };
        let mut wildcard_key = key.to_vec();
        wildcard_key.extend(b"*\0");
        let wildcard = self.indices[zone_index].get(wildcard_key.as_slice());
        let mut flags = 0;
        if self.is_shadowed(zone, name) {
            flags |= NodeEntry::SHADOWED;
        }
        if node.rrsets.contains_key(&RecordType::CNAME) {
            flags |= NodeEntry::ALIAS;
        }
        let entry = NodeEntry {
            name: U32::new(number(self.octets.len())?),
            name_length: name.len() as u8, // at most 255
            flags,
            rrset_count: U16::new(u16::try_from(node.rrsets.len()).map_err(|_| too_large())?),
            first_rrset: U32::new(number(self.rrsets.len())?),
            zone: U32::new(number(zone_index)?),
            parent: U32::new(parent),
            cut: U32::new(cut),
            wildcard: U32::new(wildcard.copied().unwrap_or(NONE)),
        };
        self.octets.extend_from_slice(name.as_wire());
        self.nodes.push(entry);
        for (&record_type, rrset) in &node.rrsets {
            self.add_rrset(zone_index, zone, name, record_type, rrset)?;
        }
        Ok(())
    }

    /// Whether a deeper zone of the set answers for `name` in place of `zone`.
    fn is_shadowed(&self, zone: &DraftZone, name: Name<'_>) -> bool {
        self.builder.apexes.len() > 1
            && name
                .ancestors()
                .take_while(|ancestor| ancestor.len() > zone.apex.len())
                .any(|ancestor| self.builder.apexes.contains_key(&sort_key(ancestor)))
    }

    fn add_rrset(
        &mut self,
        zone_index: usize,
        zone: &DraftZone,
        owner: Name<'_>,
        record_type: RecordType,
        rrset: &DraftRrset,
    ) -> Result<(), BuildError> {
        let start = self.octets.len();
        let first_reference = self.references.len();
        let mut targets = BTreeSet::new();
        let mut anchors = Anchors::new(owner);
        for rdata in &rrset.records {
            self.octets.reserve(RECORD_HEADER_LENGTH + rdata.len());
            self.octets.extend([0xc0, 0x0c]);
            self.octets.extend(record_type.0.to_be_bytes());
            self.octets.extend(RecordClass::IN.0.to_be_bytes());
            self.octets.extend(rrset.ttl.to_be_bytes());
            self.octets.extend((rdata.len() as u16).to_be_bytes()); // checked when it was added
            self.octets.extend_from_slice(rdata);
            for name in rdata_names(record_type, rdata) {
                let (shared, anchor) = match record_type.has_compressible_names() {
                    true => anchors.share(name),
                    false => (0, 0),
                };
                let target = self.address_node(zone_index, zone, record_type, name);
                let repeated = target != NONE && !targets.insert(target);
                self.references.push(NameReference {
                    length: name.len() as u8, // at most 255
                    shared,
                    anchor: U16::new(anchor),
                    target: U32::new(if repeated { NONE } else { target }),
                });
            }
        }
        let reference_count = self.references.len() - first_reference;
        self.rrsets.push(RrsetEntry {
            record_type: U16::new(record_type.0),
            record_count: U16::new(rrset.records.len() as u16), // checked when they were added
            ttl: U32::new(rrset.ttl),
            octets: U32::new(number(start)?),
            length: U32::new(number(self.octets.len() - start)?),
            first_reference: U32::new(number(first_reference)?),
            reference_count: U32::new(number(reference_count)?),
        });
        Ok(())
    }

    /// The node of this zone whose addresses go with `name` in the rdata of a type that asks for them.
    fn address_node(
        &self,
        zone_index: usize,
        zone: &DraftZone,
        record_type: RecordType,
        name: Name<'_>,
    ) -> u32 {
        let wanted = match record_type {
            // The glue of this zone's own delegations, be they to zones that the set has too.
            RecordType::NS => true,
            RecordType::MX | RecordType::SRV => !self.is_shadowed(zone, name),
            _ => false,
        };
        if !wanted || !name.is_subdomain_of(zone.apex()) {
            return NONE;
        }
        let key = sort_key(name);
        let Some(node) = zone.nodes.get(&key).filter(|node| node.has_addresses()) else {
            return NONE;
        };
        // Addresses below a cut are glue, which goes with NS alone (RFC 2181 §5.4.1).
        let below_cut = || {
            node.name()
                .ancestors()
                .take_while(|ancestor| ancestor.len() > zone.apex.len())
                .filter_map(|ancestor| zone.nodes.get(&sort_key(ancestor)))
                .any(|node| node.rrsets.contains_key(&RecordType::NS))
        };
        if record_type != RecordType::NS && below_cut() {
            return NONE;
        }
        self.indices[zone_index][key.as_slice()]
    }

    fn finish(self, index: &Index) -> Result<Vec<u8>, BuildError> {
        let mut image = Vec::new();
        let header = |length: u32| -> Result<Header, BuildError> {
            Ok(Header {
                magic: MAGIC,
                version: U32::new(VERSION),
                length: U32::new(length),
                seed: U64::new(index.seed),
                zone_count: U32::new(number(self.zones.len())?),
                node_count: U32::new(number(self.nodes.len())?),
                rrset_count: U32::new(number(self.rrsets.len())?),
                reference_count: U32::new(number(self.references.len())?),
                slot_count: U32::new(number(index.slots.len())?),
                octet_count: U32::new(number(self.octets.len())?),
                probes: U32::new(index.probes),
                deepest: U32::new(index.deepest),
            })
        };
        image.extend_from_slice(header(0)?.as_bytes());
        image.extend_from_slice(self.zones.as_bytes());
        image.extend_from_slice(self.nodes.as_bytes());
        image.extend_from_slice(self.rrsets.as_bytes());
        image.extend_from_slice(self.references.as_bytes());
        image.extend_from_slice(index.slots.as_bytes());
        image.extend_from_slice(&self.octets);
        let complete = header(number(image.len())?)?;
        image[..size_of::<Header>()].copy_from_slice(complete.as_bytes());
        debug_assert!(ZoneSet::from_bytes(&image).is_ok());
        Ok(image)
    }
}

/// What the names of one RRset may be compressed against.
struct Anchors<'a> {
    /// The owner, or what is above the `*` of a wildcard: a name that the message has in any case.
    owner: Name<'a>,
    /// Names of the RRset, and how many octets of each are a pointer.
    names: Vec<(Name<'a>, usize)>,
}

impl<'a> Anchors<'a> {
    fn new(owner: Name<'a>) -> Self {
        let owner = match owner.parent() {
            Some(parent) if owner.is_wildcard() => parent,
            _ => owner,
        };
        Self {
            owner,
            names: Vec::new(),
        }
    }

    /// The longest end of `name` that a pointer can stand for, and where it is: an entry's `shared` and `anchor`.
    fn share(&mut self, name: Name<'a>) -> (u8, u16) {
        let mut best = (0, 0);
        // The root alone is shorter than a pointer to it.
        let ends = || name.ancestors().take_while(|end| !end.is_root());
        if let Some(end) = ends().find(|end| self.owner.is_subdomain_of(*end)) {
            best = (end.len(), 0);
        }
        for (anchor, &(other, pointer)) in (1u16..).zip(&self.names) {
            let same = |end: &Name<'_>| other.ancestors().any(|o| o.as_wire() == end.as_wire());
            if let Some(end) = ends().find(same)
                && end.len() > best.0.max(pointer)
            {
                best = (end.len(), anchor);
            }
        }
        if self.names.len() < ANCHORS {
            self.names.push((name, best.0));
        }
        (best.0 as u8, best.1) // at most 255
    }
}

/// The hash index: open addressing where a name that is far from its place takes the slot of one that is nearer.
struct Index {
    seed: u64,
    probes: u32,
    deepest: u32,
    slots: Vec<Slot>,
}

impl Index {
    fn new(nodes: &[NodeEntry], octets: &[u8]) -> Result<Self, BuildError> {
        let names = || {
            let indexed = (0u32..).zip(nodes);
            let indexed = indexed.filter(|(_, node)| node.flags & NodeEntry::SHADOWED == 0);
            indexed.map(|(index, node)| {
                let start = node.name.get() as usize;
                let wire = &octets[start..start + usize::from(node.name_length)];
                (index, Name::from_checked(wire))
            })
        };
        let deepest = names().map(|(_, name)| name.label_count()).max();
        let smallest = (names().count().max(1) * 2).next_power_of_two();
        for doubling in 0..=DOUBLINGS {
            let slot_count = smallest << doubling;
            number(slot_count)?;
            for attempt in 0..SEEDS_PER_SIZE {
                let seed = u64::from(doubling) * SEEDS_PER_SIZE + attempt;
                let placed = place(slot_count, seed, names());
                if let Some((slots, probes)) = placed {
                    return Ok(Self {
                        seed,
                        probes,
                        deepest: deepest.unwrap_or(0) as u32, // at most 127
                        slots,
                    });
                }
            }
        }
        let kind = BuildErrorKind::IndexTooCrowded;
        Err(BuildError::at(Name::ROOT, None, kind))
    }
}

/// Puts each name in a slot at most [`MAX_PROBES`] from its own; the slots, and the most that a look-up must see.
fn place<'a>(
    slot_count: usize,
    seed: u64,
    names: impl Iterator<Item = (u32, Name<'a>)>,
) -> Option<(Vec<Slot>, u32)> {
    const EMPTY: Slot = Slot {
        tag: U32::new(0),
        node: U32::new(NONE),
    };
    let mask = slot_count - 1;
    let mut slots = alloc::vec![EMPTY; slot_count];
    let mut distances = alloc::vec![0u32; slot_count];
    let mut probes = 1;
    for (node, name) in names {
        let hash = hash_name(seed, name.as_wire());
        let mut slot = Slot {
            tag: U32::new((hash >> 32) as u32),
            node: U32::new(node),
        };
        let mut at = hash as usize & mask;
        let mut distance = 0;
        loop {
            if distance >= MAX_PROBES {
                return None;
            }
            probes = probes.max(distance + 1);
            if slots[at].node.get() == NONE {
                slots[at] = slot;
                distances[at] = distance;
                break;
            }
            if distances[at] < distance {
                core::mem::swap(&mut slots[at], &mut slot);
                core::mem::swap(&mut distances[at], &mut distance);
            }
            at = (at + 1) & mask;
            distance += 1;
        }
    }
    Some((slots, probes))
}

/// Why records do not make a zone set.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct BuildError {
    owner: String,
    record_type: Option<RecordType>,
    kind: BuildErrorKind,
}

impl BuildError {
    fn at(owner: Name<'_>, record_type: Option<RecordType>, kind: BuildErrorKind) -> Self {
        Self {
            owner: owner.to_string(),
            record_type,
            kind,
        }
    }

    /// The name that it is about, in text.
    pub fn owner(&self) -> &str {
        &self.owner
    }

    /// The type that it is about.
    pub fn record_type(&self) -> Option<RecordType> {
        self.record_type
    }

    /// What is wrong.
    pub fn kind(&self) -> BuildErrorKind {
        self.kind
    }
}

impl fmt::Display for BuildError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.owner)?;
        if let Some(record_type) = self.record_type {
            write!(f, " {record_type}")?;
        }
        write!(f, ": {}", self.kind)
    }
}

impl Error for BuildError {}

/// What is wrong with the records of a zone set.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum BuildErrorKind {
    /// A zone of that name was added before.
    DuplicateZone,
    /// The owner does not lie in the zone.
    OutOfZone,
    /// A type for questions or single messages, which no zone holds.
    MetaType,
    /// A type that needs more of a server than this one does yet.
    NotServed,
    /// A TTL above 2³¹ − 1 (RFC 2181 §8).
    TtlTooLarge,
    /// The rdata is not what the type wants.
    Rdata(RdataError),
    /// More than 65,535 records in one RRset.
    TooManyRecords,
    /// The apex has no SOA.
    NoSoa,
    /// Several records of a type of which a name has one at most.
    SeveralRecords,
    /// A SOA that is not at the apex.
    SoaBelowApex,
    /// Something beside a CNAME (RFC 1034 §3.6.2).
    AliasWithOtherData,
    /// The image would pass 4 GiB, or a name has more than 65,535 types.
    TooLarge,
    /// No seed that was tried spreads the names over the index: not to be met unless names were made to collide.
    IndexTooCrowded,
}

impl fmt::Display for BuildErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::DuplicateZone => "the zone was added twice",
            Self::OutOfZone => "the owner is not in the zone",
            Self::MetaType => "no zone holds a record of this type",
            Self::NotServed => "this server does not serve this type yet",
            Self::TtlTooLarge => "the TTL is above 2147483647",
            Self::Rdata(error) => return error.fmt(f),
            Self::TooManyRecords => "the RRset has more than 65,535 records",
            Self::NoSoa => "the zone has no SOA at its apex",
            Self::SeveralRecords => "a name has one record of this type at most",
            Self::SoaBelowApex => "a SOA belongs at the apex of the zone alone",
            Self::AliasWithOtherData => "no other data may stand beside a CNAME",
            Self::TooLarge => "the image would be too large",
            Self::IndexTooCrowded => "the names collide in the index under every seed",
        })
    }
}

/// A count or offset as the image holds it.
fn number(value: usize) -> Result<u32, BuildError> {
    u32::try_from(value)
        .ok()
        .filter(|&number| number != NONE)
        .ok_or_else(too_large)
}

fn too_large() -> BuildError {
    BuildError::at(Name::ROOT, None, BuildErrorKind::TooLarge)
}
