//! The one check of a whole image, after which look-ups index without looking.

use super::format::{
    ANCHORS, NONE, NameReference, NodeEntry, RECORD_HEADER_LENGTH, RrsetEntry, ZoneEntry,
};
use super::{
    EncodedRecords, ImageError, LookupStatistics, MAX_PROBES, MAX_TTL, NodeIndex, ZoneSet,
};
use crate::name::{MAX_LABELS, Name};
use crate::record::{RecordClass, RecordType, check_rdata, rdata_names};

/// Checks everything that [`ZoneSet`]'s documentation promises.
pub(super) fn validate(set: &ZoneSet<'_>) -> Result<(), ImageError> {
    // Order matters: each step relies on what the steps before it have shown.
    check_names(set)?;
    check_tiling(set)?;
    for index in 0..set.zones.len() {
        check_zone(set, index).ok_or(ImageError::Zone(index as u32))?;
    }
    for index in 0..set.nodes.len() {
        check_node(set, index).ok_or(ImageError::Node(index as u32))?;
    }
    check_index(set).ok_or(ImageError::Index)
}

/// Each node's name is one name, with no more labels than the header says, and its zone exists.
fn check_names(set: &ZoneSet<'_>) -> Result<(), ImageError> {
    for (index, node) in set.nodes.iter().enumerate() {
        let start = node.name.get() as usize;
        let name = start
            .checked_add(usize::from(node.name_length))
            .and_then(|end| set.octets.get(start..end))
            .and_then(|wire| Name::from_wire(wire).ok());
        let zone = set.zones.get(node.zone.get() as usize);
        if name.is_none() || zone.is_none() {
            return Err(ImageError::Node(index as u32));
        }
    }
    Ok(())
}

/// Zones own the nodes, nodes the RRsets and RRsets the references without gap or overlap, and each RRset's records are
/// well formed.
fn check_tiling(set: &ZoneSet<'_>) -> Result<(), ImageError> {
    let mut nodes = 0usize;
    for (index, zone) in set.zones.iter().enumerate() {
        let count = zone.node_count.get() as usize;
        if zone.first_node.get() as usize != nodes || count == 0 || set.nodes.len() - nodes < count
        {
            return Err(ImageError::Zone(index as u32));
        }
        nodes += count;
    }
    if nodes != set.nodes.len() {
        return Err(ImageError::Truncated);
    }
    let mut rrsets = 0usize;
    for (index, node) in set.nodes.iter().enumerate() {
        let count = usize::from(node.rrset_count.get());
        if node.first_rrset.get() as usize != rrsets || set.rrsets.len() - rrsets < count {
            return Err(ImageError::Node(index as u32));
        }
        rrsets += count;
    }
    if rrsets != set.rrsets.len() {
        return Err(ImageError::Truncated);
    }
    let mut references = 0usize;
    for (index, rrset) in set.rrsets.iter().enumerate() {
        let count = rrset.reference_count.get() as usize;
        let left = set.references.len() - references;
        if rrset.first_reference.get() as usize != references || left < count {
            return Err(ImageError::Rrset(index as u32));
        }
        references += count;
        check_records(set, rrset).ok_or(ImageError::Rrset(index as u32))?;
    }
    if references != set.references.len() {
        return Err(ImageError::Truncated);
    }
    Ok(())
}

/// The octets of an RRset are so many records, each with the header that the entry says and rdata as its type wants.
fn check_records(set: &ZoneSet<'_>, rrset: &RrsetEntry) -> Option<()> {
    let start = rrset.octets.get() as usize;
    let end = start.checked_add(rrset.length.get() as usize)?;
    let octets = set.octets.get(start..end)?;
    let record_type = RecordType(rrset.record_type.get());
    if record_type.is_meta() || rrset.ttl.get() > MAX_TTL {
        return None;
    }
    let mut header = [0xc0, 0x0c, 0, 0, 0, 0, 0, 0, 0, 0];
    header[2..4].copy_from_slice(&record_type.0.to_be_bytes());
    header[4..6].copy_from_slice(&RecordClass::IN.0.to_be_bytes());
    header[6..10].copy_from_slice(&rrset.ttl.get().to_be_bytes());

    let mut references = set.references_of(rrset).iter();
    let (mut count, mut length) = (0usize, 0usize);
    for record in EncodedRecords(octets) {
        count += 1;
        length += record.len();
        let rdata = &record[RECORD_HEADER_LENGTH..];
        if !record.starts_with(&header) || check_rdata(record_type, rdata).is_err() {
            return None;
        }
        for name in rdata_names(record_type, rdata) {
            if usize::from(references.next()?.length) != name.len() {
                return None;
            }
        }
    }
    let whole = length == octets.len()
        && count == usize::from(rrset.record_count.get())
        && count > 0
        && references.next().is_none();
    whole.then_some(())
}

/// The apex, its SOA and NS, and the node in the zone above.
fn check_zone(set: &ZoneSet<'_>, index: usize) -> Option<()> {
    let zone: &ZoneEntry = &set.zones[index];
    let apex_index = NodeIndex(zone.first_node.get());
    let apex = set.node(apex_index);
    let at_apex = |wanted: RecordType| {
        let own = set.rrsets_of(apex);
        let at = own.iter().position(|r| r.record_type.get() == wanted.0);
        at.map_or(NONE, |at| apex.first_rrset.get() + at as u32)
    };
    if zone.soa.get() == NONE {
        let absent = zone.node_count.get() == 1
            && apex.rrset_count.get() == 0
            && zone.ns.get() == NONE
            && zone.negative_ttl.get() == 0
            && apex.parent.get() == NONE;
        return if absent {
            check_zone_above(set, zone, apex_index)
        } else {
            None
        };
    }
    let soa = set.rrset(zone.soa)?;
    // RFC 2308 §3: the MINIMUM is the last of the SOA's fields.
    let minimum = set
        .encoded(soa)
        .last_chunk()
        .copied()
        .map(u32::from_be_bytes)?;
    let negative_ttl = soa.ttl.get().min(minimum);
    let consistent = zone.soa.get() == at_apex(RecordType::SOA)
        && zone.ns.get() == at_apex(RecordType::NS)
        && soa.record_count.get() == 1
        && zone.negative_ttl.get() == negative_ttl
        && apex.parent.get() == NONE;
    if !consistent {
        return None;
    }
    check_zone_above(set, zone, apex_index)
}

/// The node in the zone above.
fn check_zone_above(set: &ZoneSet<'_>, zone: &ZoneEntry, apex_index: NodeIndex) -> Option<()> {
    if let Some(parent) = NodeIndex::from_entry(zone.parent_node) {
        let node = set.nodes.get(parent.0 as usize)?;
        let above = set.zone(node.zone);
        let above_apex = set.name(NodeIndex(above.first_node.get()));
        let name = set.name(apex_index);
        // A zone that is truly above: no two zones can point at each other.
        if above_apex.len() >= name.len() || !name.is_subdomain_of(set.name(parent)) {
            return None;
        }
    }
    Some(())
}

/// Where a node stands in its zone, and the names in its records.
fn check_node(set: &ZoneSet<'_>, index: usize) -> Option<()> {
    let node = &set.nodes[index];
    let zone_index = node.zone.get();
    let zone = set.zone(node.zone);
    let this = NodeIndex(index as u32);
    let name = set.name(this);
    let apex = NodeIndex(zone.first_node.get());
    let in_zone = |other: NodeIndex| {
        let other = set.nodes.get(other.0 as usize)?;
        (other.zone.get() == zone_index).then_some(other)
    };

    let number = index as u32;
    let after_first = number.checked_sub(zone.first_node.get())?;
    if after_first >= zone.node_count.get() || (this != apex && set.name(apex) == name) {
        return None;
    }
    let mut inherited_cut = NONE;
    match NodeIndex::from_entry(node.parent) {
        Some(parent) => {
            // A parent comes before its children: the way up ends.
            let above = in_zone(parent).filter(|_| parent.0 < number)?;
            if Some(set.name(parent)) != name.parent() {
                return None;
            }
            inherited_cut = above.cut.get();
            if above.is_redirection() {
                return None;
            }
        }
        None if this == apex => {}
        None => return None,
    }
    let has = |wanted: RecordType| set.rrset_of(node, wanted).is_some();
    let cut = match inherited_cut {
        NONE if this != apex && has(RecordType::NS) => number,
        inherited => inherited,
    };
    if node.cut.get() != cut {
        return None;
    }
    if let Some(wildcard) = NodeIndex::from_entry(node.wildcard) {
        in_zone(wildcard)?;
        let below = set.name(wildcard);
        if !below.is_wildcard() || below.parent() != Some(name) {
            return None;
        }
    }
    if name.is_wildcard()
        && let Some(parent) = NodeIndex::from_entry(node.parent)
        && set.node(parent).wildcard.get() != number
    {
        return None;
    }
    let own = set.rrsets_of(node);
    let ascending = own.is_sorted_by(|a, b| a.record_type.get() < b.record_type.get());
    let alias = node.flags & NodeEntry::ALIAS != 0;
    let redirection = node.is_redirection();
    let all_flags = NodeEntry::ALIAS | NodeEntry::SHADOWED | NodeEntry::REDIRECTION;
    let known_flags = node.flags & !all_flags == 0;
    if !ascending
        || alias != has(RecordType::CNAME)
        || redirection != has(RecordType::DNAME)
        || !known_flags
    {
        return None;
    }
    for rrset in own {
        let record_type = RecordType(rrset.record_type.get());
        let single = matches!(record_type, RecordType::CNAME | RecordType::DNAME);
        if single && rrset.record_count.get() != 1 {
            return None;
        }
        let anchor = match name.parent() {
            Some(parent) if name.is_wildcard() => parent,
            _ => name,
        };
        let mut earlier: heapless::Vec<(Name<'_>, usize), ANCHORS> = heapless::Vec::new();
        let mut references = set.references_of(rrset).iter();
        for record in EncodedRecords(set.encoded(rrset)) {
            for name in rdata_names(record_type, &record[RECORD_HEADER_LENGTH..]) {
                let reference = references.next()?;
                check_compression(record_type, anchor, &earlier, name, reference)?;
                if let Some(target) = NodeIndex::from_entry(reference.target) {
                    in_zone(target)?;
                    if set.name(target) != name {
                        return None;
                    }
                }
                // When it is full, later names cannot refer to more.
                let _ = earlier.push((name, usize::from(reference.shared)));
            }
        }
    }
    Some(())
}

/// The end of a name that a pointer stands for is where the entry says.
fn check_compression(
    record_type: RecordType,
    owner: Name<'_>,
    earlier: &[(Name<'_>, usize)],
    name: Name<'_>,
    reference: &NameReference,
) -> Option<()> {
    let shared = usize::from(reference.shared);
    if shared == 0 {
        return Some(());
    }
    if !record_type.has_compressible_names() {
        return None;
    }
    let end = name.ancestors().find(|end| end.len() == shared)?;
    let there = match usize::from(reference.anchor.get()).checked_sub(1) {
        None => owner.is_subdomain_of(end),
        Some(number) => {
            let (other, pointer) = *earlier.get(number)?;
            let mut ends = other.ancestors();
            shared > pointer && ends.any(|other| other.as_wire() == end.as_wire())
        }
    };
    there.then_some(())
}

/// Every name that is not shadowed is found, and nothing else is in the index.
fn check_index(set: &ZoneSet<'_>) -> Option<()> {
    if set.deepest > MAX_LABELS || set.probes > MAX_PROBES {
        return None;
    }
    if set.slots.is_empty() {
        return set.nodes.is_empty().then_some(());
    }
    if !set.slots.len().is_power_of_two() {
        return None;
    }
    let mut occupied = 0usize;
    for slot in set.slots {
        match NodeIndex::from_entry(slot.node) {
            Some(node) if (node.0 as usize) < set.nodes.len() => occupied += 1,
            Some(_) => return None,
            None => {}
        }
    }
    let mut indexed = 0usize;
    for (index, node) in set.nodes.iter().enumerate() {
        let this = NodeIndex(index as u32);
        let name = set.name(this);
        let shadowed = node.flags & NodeEntry::SHADOWED != 0;
        if shadowed != is_shadowed(set, node, name) {
            return None;
        }
        if shadowed {
            continue;
        }
        indexed += 1;
        let found = set.find(name, &mut LookupStatistics::default());
        if name.label_count() > set.deepest || found != Some(this) {
            return None;
        }
    }
    (occupied == indexed).then_some(())
}

/// Whether the set has a zone whose apex is `name` or above it, and below the apex of the node's own zone.
fn is_shadowed(set: &ZoneSet<'_>, node: &NodeEntry, name: Name<'_>) -> bool {
    if set.zones.len() < 2 {
        return false;
    }
    let own_apex = set.name(NodeIndex::apex_of(set.zone(node.zone)));
    let below_own = name
        .ancestors()
        .take_while(|above| above.len() > own_apex.len());
    below_own
        .filter_map(|above| set.find(above, &mut LookupStatistics::default()))
        .any(|found| set.node(found).parent.get() == NONE)
}

#[cfg(all(test, feature = "alloc"))]
mod tests;
