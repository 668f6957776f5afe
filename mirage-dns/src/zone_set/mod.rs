//! Compiled zones: one flat image that is checked once and then answered from.
//!
//! | type | what it is |
//! |------|------------|
//! | [`ZoneSet`] | an image that was checked: what a server answers from |
//! | [`Zone`], [`ZoneRecord`] | a look at what is in it |
//! | [`LookupStatistics`] | what look-ups cost |
//! | [`ImageError`] | why octets are not an image |
//! | `ZoneSetBuilder` | makes an image from records, or from another image (feature `alloc`) |
//! | `OwnedZoneSet` | an image that was checked, with its octets (feature `alloc`) |
//!
//! An image is position-independent and little-endian, has no alignment, and is compiled into an appliance with
//! `include_bytes!` or loaded at boot. [`ZoneSet::from_bytes`] reads all of it once; afterwards a look-up cannot fail.
//!
//! # What a look-up costs
//!
//! A hash index over the owner names gives the node of a name with at most [`MAX_PROBES`] slots seen; the builder
//! refuses a set that needs more. From the question's name upwards, the first name that is found is the closest
//! encloser, and its node knows the zone, the delegation point above it and the wildcard below it. So a question costs
//! at most one probe sequence for each of its labels, and no name longer than the deepest of the set is looked for:
//! nothing depends on how many names the zones have, and neither who writes a zone nor who asks can make it more.

use core::error::Error;
use core::fmt;

use zerocopy::little_endian::U32;
use zerocopy::{FromBytes, Immutable, KnownLayout, Unaligned};

use crate::name::Name;
use crate::record::{Rdata, RecordType};
pub(crate) use format::{
    ANCHORS, NameReference, NodeEntry, RECORD_HEADER_LENGTH, RrsetEntry, ZoneEntry,
};
use format::{Header, NONE, Slot};
use hash::hash_name;

#[cfg(feature = "alloc")]
mod build_error;
#[cfg(feature = "alloc")]
mod builder;
#[cfg(feature = "alloc")]
mod cursor;
#[cfg(feature = "alloc")]
mod edit;
mod format;
mod hash;
#[cfg(feature = "alloc")]
mod index;
#[cfg(feature = "alloc")]
mod layout;
#[cfg(feature = "alloc")]
mod owned;
mod validate;

#[cfg(feature = "alloc")]
pub use build_error::{BuildError, BuildErrorKind};
#[cfg(feature = "alloc")]
pub(crate) use builder::{SortKey, canonical_rdata, may_stand_beside_cname, sort_key};
#[cfg(feature = "alloc")]
pub use builder::{ZoneHandle, ZoneSetBuilder};
#[cfg(feature = "alloc")]
pub(crate) use cursor::RecordCursor;
#[cfg(feature = "alloc")]
pub use owned::OwnedZoneSet;

/// The most slots of the index that one look-up sees.
pub const MAX_PROBES: u32 = 16;

/// The largest TTL, 2³¹ − 1 seconds (RFC 2181 §8).
pub const MAX_TTL: u32 = 0x7fff_ffff;

/// A compiled zone set that was checked.
///
/// Holding one proves that every offset and count in the image lies within it, that every name and every known type's
/// rdata is well formed, and that the tree of names, the cuts and the index agree with each other.
#[derive(Clone, Copy)]
pub struct ZoneSet<'a> {
    seed: u64,
    /// The most slots that a look-up must see, at most [`MAX_PROBES`].
    probes: u32,
    /// The most labels of a name in the index.
    deepest: usize,
    zones: &'a [ZoneEntry],
    nodes: &'a [NodeEntry],
    rrsets: &'a [RrsetEntry],
    references: &'a [NameReference],
    slots: &'a [Slot],
    octets: &'a [u8],
}

impl<'a> ZoneSet<'a> {
    /// A set without zones, which answers every query with REFUSED.
    pub const EMPTY: ZoneSet<'static> = ZoneSet {
        seed: 0,
        probes: 0,
        deepest: 0,
        zones: &[],
        nodes: &[],
        rrsets: &[],
        references: &[],
        slots: &[],
        octets: &[],
    };

    /// Checks an image, from its first octet to its last, in time linear in its length.
    ///
    /// # Errors
    /// The first thing that is wrong. The check covers what look-ups rely on; that the records are what an author wrote
    /// is for whoever hands over the image to know.
    // Apart from its caller: see "What an image weighs" in CONTRIBUTING.md.
    #[inline(never)]
    pub fn from_bytes(image: &'a [u8]) -> Result<Self, ImageError> {
        let set = Self::split(image)?;
        validate::validate(&set)?;
        Ok(set)
    }

    /// Cuts an image into its tables.
    fn split(image: &'a [u8]) -> Result<Self, ImageError> {
        let (header, rest) = Header::read_from_prefix(image).map_err(|_| ImageError::Truncated)?;
        if header.magic != format::MAGIC {
            return Err(ImageError::NotAnImage);
        }
        if header.version.get() != format::VERSION {
            return Err(ImageError::Version(header.version.get()));
        }
        if header.length.get() as usize != image.len() {
            return Err(ImageError::Truncated);
        }
        let (zones, rest) = table(rest, header.zone_count)?;
        let (nodes, rest) = table(rest, header.node_count)?;
        let (rrsets, rest) = table(rest, header.rrset_count)?;
        let (references, rest) = table(rest, header.reference_count)?;
        let (slots, octets) = table(rest, header.slot_count)?;
        if octets.len() != header.octet_count.get() as usize {
            return Err(ImageError::Truncated);
        }
        Ok(Self {
            seed: header.seed.get(),
            probes: header.probes.get(),
            deepest: header.deepest.get() as usize,
            zones,
            nodes,
            rrsets,
            references,
            slots,
            octets,
        })
    }

    /// The zones, in the order in which they were added.
    pub fn zones(&self) -> impl ExactSizeIterator<Item = Zone<'a>> + use<'a> {
        let set = *self;
        (0..set.zones.len()).map(move |index| Zone { set, index })
    }

    /// The zone with exactly this name.
    pub fn zone_at(&self, apex: Name<'_>) -> Option<Zone<'a>> {
        let zone = self.zone_of(apex)?;
        (zone.apex() == apex).then_some(zone)
    }

    /// The zone that a name belongs to: of those whose apex is the name or above it, the deepest.
    pub fn zone_of(&self, name: Name<'_>) -> Option<Zone<'a>> {
        let found = self.closest_encloser(name, &mut LookupStatistics::default())?;
        Some(Zone {
            set: *self,
            index: self.node(found.node).zone.get() as usize,
        })
    }

    /// Whether a zone of the set has this very name, be it only because there are names below it.
    pub fn contains(&self, name: Name<'_>) -> bool {
        self.closest_encloser(name, &mut LookupStatistics::default())
            .is_some_and(|found| found.exact)
    }

    /// How many names the set has, those without records included.
    pub fn name_count(&self) -> usize {
        self.nodes.len()
    }

    /// Finds the deepest name of the set that is `name` or above it; `None` outside all zones.
    pub(crate) fn closest_encloser(
        &self,
        name: Name<'_>,
        statistics: &mut LookupStatistics,
    ) -> Option<Found> {
        // Nothing that has more labels than the deepest name of the set can be found.
        let surplus = name.label_count().saturating_sub(self.deepest);
        for ancestor in name.ancestors().skip(surplus) {
            if let Some(node) = self.find(ancestor, statistics) {
                return Some(Found {
                    node,
                    exact: ancestor.len() == name.len(),
                });
            }
        }
        None
    }

    /// The node of exactly this name, in the zone that answers for it.
    fn find(&self, name: Name<'_>, statistics: &mut LookupStatistics) -> Option<NodeIndex> {
        statistics.names += 1;
        let hash = hash_name(self.seed, name.as_wire());
        let tag = (hash >> 32) as u32;
        let mask = self.slots.len().wrapping_sub(1);
        let mut at = hash as usize & mask;
        for _ in 0..self.probes {
            let slot = self.slots.get(at)?;
            statistics.probes += 1;
            let node = slot.node.get();
            if node == NONE {
                return None;
            }
            if slot.tag.get() == tag && self.name(NodeIndex(node)) == name {
                return Some(NodeIndex(node));
            }
            at = (at + 1) & mask;
        }
        None
    }

    pub(crate) fn node(&self, index: NodeIndex) -> &'a NodeEntry {
        &self.nodes[index.0 as usize]
    }

    pub(crate) fn name(&self, index: NodeIndex) -> Name<'a> {
        let node = self.node(index);
        let start = node.name.get() as usize;
        Name::from_checked(&self.octets[start..start + usize::from(node.name_length)])
    }

    pub(crate) fn zone(&self, index: U32) -> &'a ZoneEntry {
        &self.zones[index.get() as usize]
    }

    pub(crate) fn rrset(&self, index: U32) -> Option<&'a RrsetEntry> {
        self.rrsets.get(index.get() as usize)
    }

    /// All RRsets of a node, by ascending type.
    pub(crate) fn rrsets_of(&self, node: &NodeEntry) -> &'a [RrsetEntry] {
        let start = node.first_rrset.get() as usize;
        &self.rrsets[start..start + usize::from(node.rrset_count.get())]
    }

    pub(crate) fn rrset_of(&self, node: &NodeEntry, wanted: RecordType) -> Option<&'a RrsetEntry> {
        let own = self.rrsets_of(node);
        let at = own
            .binary_search_by_key(&wanted.0, |rrset| rrset.record_type.get())
            .ok()?;
        Some(&own[at])
    }

    /// The records of an RRset as they go on the wire, owner pointers to the question included.
    pub(crate) fn encoded(&self, rrset: &RrsetEntry) -> &'a [u8] {
        let start = rrset.octets.get() as usize;
        &self.octets[start..start + rrset.length.get() as usize]
    }

    /// What is known of the names in an RRset's rdata, in their order.
    pub(crate) fn references_of(&self, rrset: &RrsetEntry) -> &'a [NameReference] {
        let start = rrset.first_reference.get() as usize;
        &self.references[start..start + rrset.reference_count.get() as usize]
    }

    fn records_of(&self, index: NodeIndex) -> impl Iterator<Item = ZoneRecord<'a>> + use<'a> {
        let set = *self;
        let owner = set.name(index);
        let rrsets = set.rrsets_of(set.node(index)).iter();
        rrsets.flat_map(move |rrset| set.records_in(owner, rrset))
    }

    /// The records of one RRset.
    fn records_in(
        &self,
        owner: Name<'a>,
        rrset: &RrsetEntry,
    ) -> impl Iterator<Item = ZoneRecord<'a>> + use<'a> {
        let record_type = RecordType(rrset.record_type.get());
        let ttl = rrset.ttl.get();
        EncodedRecords(self.encoded(rrset)).map(move |record| ZoneRecord {
            owner,
            record_type,
            ttl,
            rdata: &record[RECORD_HEADER_LENGTH..],
        })
    }
}

/// The table of `count` entries at the start of `octets`, and what follows it.
fn table<T>(octets: &[u8], count: U32) -> Result<(&[T], &[u8]), ImageError>
where
    T: FromBytes + Immutable + KnownLayout + Unaligned,
{
    <[T]>::ref_from_prefix_with_elems(octets, count.get() as usize)
        .map_err(|_| ImageError::Truncated)
}

impl fmt::Debug for ZoneSet<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.zones()).finish()
    }
}

/// The number of a node that exists.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct NodeIndex(u32);

impl NodeIndex {
    /// What a field holds that points to no node.
    pub(crate) const NONE: u32 = NONE;

    /// The first node of a zone.
    pub(crate) const fn apex_of(zone: &ZoneEntry) -> Self {
        Self(zone.first_node.get())
    }

    /// What an entry's field points to, if to anything.
    pub(crate) fn from_entry(index: U32) -> Option<Self> {
        match index.get() {
            NONE => None,
            node => Some(Self(node)),
        }
    }
}

/// What a look-up found.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Found {
    pub(crate) node: NodeIndex,
    /// Whether it is the name itself.
    pub(crate) exact: bool,
}

/// The encoded records of one RRset, one by one.
#[derive(Clone)]
pub(crate) struct EncodedRecords<'a>(pub(crate) &'a [u8]);

impl<'a> Iterator for EncodedRecords<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let length = self.0.get(RECORD_HEADER_LENGTH - 2..RECORD_HEADER_LENGTH)?;
        let length = RECORD_HEADER_LENGTH + usize::from(u16::from_be_bytes([length[0], length[1]]));
        let (record, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(record)
    }
}

/// What look-ups cost.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct LookupStatistics {
    /// Names that were looked for.
    pub names: u32,
    /// Slots of the index that were seen.
    pub probes: u32,
}

/// One zone of a [`ZoneSet`].
#[derive(Clone, Copy)]
pub struct Zone<'a> {
    set: ZoneSet<'a>,
    index: usize,
}

impl<'a> Zone<'a> {
    fn entry(&self) -> &'a ZoneEntry {
        &self.set.zones[self.index]
    }

    /// The name of the zone.
    pub fn apex(&self) -> Name<'a> {
        self.set.name(NodeIndex(self.entry().first_node.get()))
    }

    /// Whether the zone is there. One that is not has no records, and its names are answered with SERVFAIL: a secondary zone
    /// before its first transfer, or that has expired.
    pub fn is_present(&self) -> bool {
        self.set.rrset(self.entry().soa).is_some()
    }

    /// The SOA record; `None` when the zone is not there.
    pub fn soa(&self) -> Option<ZoneRecord<'a>> {
        let soa = self.set.rrset(self.entry().soa)?;
        let record = EncodedRecords(self.set.encoded(soa)).next()?;
        Some(ZoneRecord {
            owner: self.apex(),
            record_type: RecordType::SOA,
            ttl: soa.ttl.get(),
            rdata: record.get(RECORD_HEADER_LENGTH..)?,
        })
    }

    /// The records of one type that a name of the zone has; glue is among them.
    pub fn rrset(
        &self,
        owner: Name<'_>,
        record_type: RecordType,
    ) -> impl Iterator<Item = ZoneRecord<'a>> + use<'a> {
        let set = self.set;
        let node = self.node(owner);
        let found = node.and_then(|node| set.rrset_of(set.node(node), record_type).zip(Some(node)));
        let records = found.map(|(rrset, node)| set.records_in(set.name(node), rrset));
        records.into_iter().flatten()
    }

    /// All records of a name of the zone; glue is among them. `None` where the zone does not have that name, not even as
    /// one above others.
    pub fn records_of(
        &self,
        owner: Name<'_>,
    ) -> Option<impl Iterator<Item = ZoneRecord<'a>> + use<'a>> {
        self.node(owner).map(|node| self.set.records_of(node))
    }

    /// The names below one that have records, in canonical order.
    #[cfg(feature = "alloc")]
    pub(crate) fn owners_below<'n>(
        &self,
        name: Name<'n>,
    ) -> impl Iterator<Item = Name<'a>> + use<'a, 'n> {
        let set = self.set;
        let end = self.entry().first_node.get() + self.entry().node_count.get();
        // What is below a name comes right behind it.
        let first = self.node(name).map_or(end, |node| node.0 + 1);
        (first..end)
            .map(NodeIndex)
            .take_while(move |node| set.name(*node).is_subdomain_of(name))
            .filter(move |node| !set.rrsets_of(set.node(*node)).is_empty())
            .map(move |node| set.name(node))
    }

    /// The node of a name in this very zone, be it shadowed by a deeper one of the set or not.
    fn node(&self, name: Name<'_>) -> Option<NodeIndex> {
        let first = self.entry().first_node.get();
        let nodes = self.set.nodes.get(first as usize..)?;
        let nodes = nodes.get(..self.name_count())?;
        // They stand in canonical order, which a name's `Ord` is.
        let name_of = |index: usize| self.set.name(NodeIndex(first + index as u32));
        let (mut low, mut high) = (0, nodes.len());
        while low < high {
            let middle = low + (high - low) / 2;
            match name_of(middle).cmp(&name) {
                core::cmp::Ordering::Less => low = middle + 1,
                core::cmp::Ordering::Equal => return Some(NodeIndex(first + middle as u32)),
                core::cmp::Ordering::Greater => high = middle,
            }
        }
        None
    }

    /// The SOA's serial number (RFC 1982); 0 when the zone is not there.
    pub fn serial(&self) -> u32 {
        let soa = self.set.rrset(self.entry().soa);
        let octets = soa.map_or(&[][..], |soa| self.set.encoded(soa));
        // The five numbers stand at the end; the serial is the first of them.
        let numbers = octets.last_chunk::<20>();
        numbers.map_or(0, |n| u32::from_be_bytes([n[0], n[1], n[2], n[3]]))
    }

    /// How many names the zone has, those without records included.
    pub fn name_count(&self) -> usize {
        self.entry().node_count.get() as usize
    }

    /// How many [records](Self::records) the zone has.
    pub fn record_count(&self) -> usize {
        let first = self.entry().first_node.get();
        let mut count = 0;
        for node in first..first + self.entry().node_count.get() {
            for rrset in self.set.rrsets_of(self.set.node(NodeIndex(node))) {
                count += usize::from(rrset.record_count.get());
            }
        }
        count
    }

    /// All records, in canonical order of their owners; glue is among them.
    pub fn records(&self) -> impl Iterator<Item = ZoneRecord<'a>> + use<'a> {
        let set = self.set;
        let first = self.entry().first_node.get();
        (first..first + self.entry().node_count.get())
            .flat_map(move |node| set.records_of(NodeIndex(node)))
    }
}

impl fmt::Debug for Zone<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Zone")
            .field("apex", &self.apex())
            .field("serial", &self.serial())
            .field("names", &self.name_count())
            .finish()
    }
}

/// A record of a zone, of class IN.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ZoneRecord<'a> {
    /// The name that it belongs to.
    pub owner: Name<'a>,
    /// Its type.
    pub record_type: RecordType,
    /// Its time to live, in seconds.
    pub ttl: u32,
    /// Its data, uncompressed.
    pub rdata: &'a [u8],
}

impl fmt::Display for ZoneRecord<'_> {
    /// A line of a master file (RFC 1035 §5.1), its names absolute.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rdata = Rdata {
            record_type: self.record_type,
            octets: self.rdata,
        };
        write!(
            f,
            "{} {} IN {} {rdata}",
            self.owner, self.ttl, self.record_type
        )
    }
}

/// Why octets are not an image of a zone set.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum ImageError {
    /// They do not begin as an image does.
    NotAnImage,
    /// Another version of the layout, made by another version of this crate.
    Version(u32),
    /// The length is not what the header says.
    Truncated,
    /// The entry of a zone, by its number.
    Zone(u32),
    /// The entry of a name, by its number.
    Node(u32),
    /// The entry of an RRset, by its number.
    Rrset(u32),
    /// The index does not lead to the names.
    Index,
}

impl fmt::Display for ImageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotAnImage => f.write_str("not a compiled zone set"),
            Self::Version(version) => write!(
                f,
                "a compiled zone set of version {version}; this reader takes {}",
                format::VERSION
            ),
            Self::Truncated => f.write_str("the length is not what the header says"),
            Self::Zone(index) => write!(f, "the entry of zone {index} is not consistent"),
            Self::Node(index) => write!(f, "the entry of name {index} is not consistent"),
            Self::Rrset(index) => write!(f, "the entry of RRset {index} is not consistent"),
            Self::Index => f.write_str("the index does not lead to the names"),
        }
    }
}

impl Error for ImageError {}

#[cfg(all(test, feature = "alloc"))]
mod tests;
