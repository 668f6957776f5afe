//! Lays out an image from checked drafts of zones.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;

use zerocopy::IntoBytes;
use zerocopy::little_endian::{U16, U32, U64};

use super::build_error::{BuildError, number, too_large};
use super::builder::{DraftNode, DraftRrset, DraftZone, ZoneSetBuilder, sort_key};
use super::format::{
    ANCHORS, Header, MAGIC, NONE, NameReference, NodeEntry, RECORD_HEADER_LENGTH, RrsetEntry,
    VERSION, ZoneEntry,
};
use super::index::Index;
use super::{MAX_TTL, ZoneSet};
use crate::name::Name;
use crate::record::{RecordClass, RecordType, rdata_names};

/// The image while it is laid out.
pub(super) struct Layout<'a> {
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
    pub(super) fn new(builder: &'a ZoneSetBuilder) -> Self {
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

    pub(super) fn run(mut self) -> Result<Vec<u8>, BuildError> {
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
        // Without a SOA the zone is not there: the check before has seen that it has nothing else either.
        let negative_ttl = self.rrsets.get(soa as usize).map_or(0, |soa| {
            let end = (soa.octets.get() + soa.length.get()) as usize;
            let minimum = self.octets[..end].last_chunk::<4>().copied();
            let minimum = u32::from_be_bytes(minimum.unwrap_or_default());
            soa.ttl.get().min(minimum).min(MAX_TTL)
        });
        let entry = ZoneEntry {
            first_node: U32::new(number(first_node)?),
            node_count: U32::new(number(zone.nodes.len())?),
            parent_node: U32::new(self.parent_node(zone.apex())),
            soa: U32::new(soa),
            ns: U32::new(ns),
            negative_ttl: U32::new(negative_ttl),
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
        if node.rrsets.contains_key(&RecordType::DNAME) {
            flags |= NodeEntry::REDIRECTION;
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
        for rdata in rrset.records() {
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
            record_count: U16::new(rrset.len() as u16), // checked when they were added
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
