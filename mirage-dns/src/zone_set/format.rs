//! The layout of a compiled zone set: little-endian, alignment one, no pointers.
//!
//! ```text
//! Header
//! zones       Zone           × zone_count
//! nodes       Node           × node_count       zone by zone, canonical order inside a zone: a parent before its children
//! rrsets      Rrset          × rrset_count      node by node, ascending type inside a node
//! references  NameReference  × reference_count  RRset by RRset, in the order of the names in the rdata
//! slots       Slot           × slot_count       hash index over the nodes, a power of two
//! octets      u8             × octet_count      names, and records as they go on the wire
//! ```

use zerocopy::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// The first octets of an image.
pub(super) const MAGIC: [u8; 8] = *b"mirageZS";

/// The layout's version; a reader takes its own alone.
pub(super) const VERSION: u32 = 1;

/// An index that points to nothing.
pub(super) const NONE: u32 = u32::MAX;

/// Octets before the rdata of an encoded record: owner pointer, type, class, TTL, length.
pub(crate) const RECORD_HEADER_LENGTH: usize = 12;

/// What stands first.
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(super) struct Header {
    pub(super) magic: [u8; 8],
    pub(super) version: U32,
    /// Octets of the whole image.
    pub(super) length: U32,
    pub(super) seed: U64,
    pub(super) zone_count: U32,
    pub(super) node_count: U32,
    pub(super) rrset_count: U32,
    pub(super) reference_count: U32,
    pub(super) slot_count: U32,
    pub(super) octet_count: U32,
    /// The most slots that a look-up must see.
    pub(super) probes: U32,
    /// The most labels that an indexed name has.
    pub(super) deepest: U32,
}

/// One zone.
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(crate) struct ZoneEntry {
    /// Its nodes: the apex is the first.
    pub(crate) first_node: U32,
    pub(crate) node_count: U32,
    /// Where the zone that encloses it answers for DS at its apex: the node of that name, else the closest above; or
    /// NONE.
    pub(crate) parent_node: U32,
    /// The RRsets of the apex that every answer may need. Without a SOA, NONE, the zone is not there: it has one node, and
    /// that no RRsets.
    pub(crate) soa: U32,
    /// NONE where the zone has no NS.
    pub(crate) ns: U32,
    /// The lesser of the SOA's TTL and its MINIMUM (RFC 2308 §3).
    pub(crate) negative_ttl: U32,
}

/// One name in one zone, with records or only with names below it.
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(crate) struct NodeEntry {
    /// Where its name lies in the octets.
    pub(crate) name: U32,
    pub(crate) name_length: u8,
    pub(crate) flags: u8,
    pub(crate) rrset_count: U16,
    pub(crate) first_rrset: U32,
    pub(crate) zone: U32,
    /// The node one label up; NONE for the apex.
    pub(crate) parent: U32,
    /// The delegation point at or above it; NONE for authoritative data.
    pub(crate) cut: U32,
    /// The node of `*` directly below it; or NONE.
    pub(crate) wildcard: U32,
}

impl NodeEntry {
    /// The name is at or below the apex of a deeper zone of the set, which answers in its place: not in the index.
    pub(super) const SHADOWED: u8 = 1;
    /// The node has a CNAME.
    pub(super) const ALIAS: u8 = 2;
    /// The node has a DNAME, and so nothing below it.
    pub(super) const REDIRECTION: u8 = 4;

    /// Whether the node has a CNAME.
    pub(crate) const fn is_alias(&self) -> bool {
        self.flags & Self::ALIAS != 0
    }

    /// Whether the node has a DNAME: all names below it, of which the zone has none, are elsewhere.
    pub(crate) const fn is_redirection(&self) -> bool {
        self.flags & Self::REDIRECTION != 0
    }
}

/// The records of one name and one type.
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(crate) struct RrsetEntry {
    pub(crate) record_type: U16,
    pub(crate) record_count: U16,
    pub(crate) ttl: U32,
    /// Where its records lie in the octets, one after the other: C0 0C (the question's name), type, class, TTL,
    /// rdlength, rdata.
    pub(crate) octets: U32,
    pub(crate) length: U32,
    pub(crate) first_reference: U32,
    pub(crate) reference_count: U32,
}

/// One name in rdata, and how it is compressed.
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(crate) struct NameReference {
    /// Octets of the name.
    pub(crate) length: u8,
    /// Octets at its end that were written before; 0 for none, which it is for names that may not be compressed.
    pub(crate) shared: u8,
    /// Where: 0 for the owner (what is above the `*` of a wildcard), of which they are the end but for case; else one
    /// more than the number of an earlier name of this RRset, below [`ANCHORS`], of which they are the end exactly, and
    /// not of what it shares itself.
    pub(crate) anchor: U16,
    /// The node whose addresses go with it in the additional section; NONE if there are none, or the same name came
    /// before.
    pub(crate) target: U32,
}

/// How many names of an RRset later ones may be compressed against.
pub(crate) const ANCHORS: usize = 32;

/// One place of the hash index.
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(super) struct Slot {
    /// The upper half of the name's hash.
    pub(super) tag: U32,
    /// NONE for an empty one.
    pub(super) node: U32,
}

const _: () = assert!(size_of::<Header>() == 56);
const _: () = assert!(size_of::<ZoneEntry>() == 24);
const _: () = assert!(size_of::<NodeEntry>() == 28);
const _: () = assert!(size_of::<RrsetEntry>() == 24);
const _: () = assert!(size_of::<NameReference>() == 8);
const _: () = assert!(size_of::<Slot>() == 8);
