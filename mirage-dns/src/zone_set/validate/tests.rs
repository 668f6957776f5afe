//! Images of which one field was changed: each change is seen.

use std::vec::Vec;

use zerocopy::{FromBytes, IntoBytes};

use super::super::format::{Header, Slot};
use super::*;
use crate::master_file::{NoFiles, Source};
use crate::name::NameBuf;
use crate::zone_compiler::ZoneCompiler;

const ZONES: [&str; 2] = [
    "$ORIGIN example.\n$TTL 600\n@ SOA ns root 1 2 3 4 300\n@ NS ns\nns A 192.0.2.1\n\
     mx MX 1 mail\nmx MX 2 second.mail\nmail A 192.0.2.2\nsecond.mail A 192.0.2.3\n\
     pair PTR ns\npair PTR mail\n*.w A 192.0.2.4\nsub NS ns.sub\nns.sub A 192.0.2.5\nalias CNAME mx\nredirect DNAME mx\n",
    "$ORIGIN child.example.\n$TTL 600\n@ SOA ns root 1 2 3 4 300\n@ NS ns\nns A 192.0.2.6\n",
];

/// The tables of an image, to be changed.
struct Tables<'a> {
    header: &'a mut Header,
    zones: &'a mut [ZoneEntry],
    nodes: &'a mut [NodeEntry],
    rrsets: &'a mut [RrsetEntry],
    references: &'a mut [NameReference],
    slots: &'a mut [Slot],
    octets: &'a mut [u8],
}

impl<'a> Tables<'a> {
    fn of(image: &'a mut [u8]) -> Self {
        fn table<T: FromBytes + IntoBytes + zerocopy::KnownLayout>(
            octets: &mut [u8],
            count: zerocopy::little_endian::U32,
        ) -> (&mut [T], &mut [u8])
        where
            [T]: FromBytes + IntoBytes + zerocopy::KnownLayout<PointerMetadata = usize>,
        {
            match <[T]>::mut_from_prefix_with_elems(octets, count.get() as usize) {
                Ok(cut) => cut,
                Err(_) => panic!("the table is there"),
            }
        }
        let Ok((header, rest)) = Header::mut_from_prefix(image) else {
            panic!("the header is there");
        };
        let (zones, rest) = table(rest, header.zone_count);
        let (nodes, rest) = table(rest, header.node_count);
        let (rrsets, rest) = table(rest, header.rrset_count);
        let (references, rest) = table(rest, header.reference_count);
        let (slots, octets) = table(rest, header.slot_count);
        Self {
            header,
            zones,
            nodes,
            rrsets,
            references,
            slots,
            octets,
        }
    }

    /// The number of the node of a name.
    fn number(&self, text: &str) -> u32 {
        let name = NameBuf::from_text(text).unwrap();
        let found = self.nodes.iter().position(|node| {
            let start = node.name.get() as usize;
            let wire = &self.octets[start..start + usize::from(node.name_length)];
            wire.eq_ignore_ascii_case(name.as_name().as_wire())
        });
        found.unwrap_or_else(|| panic!("no {text}")) as u32
    }

    fn node(&mut self, text: &str) -> &mut NodeEntry {
        &mut self.nodes[self.number(text) as usize]
    }

    /// The first RRset of a name.
    fn rrset(&mut self, text: &str) -> &mut RrsetEntry {
        let first = self.node(text).first_rrset.get();
        &mut self.rrsets[first as usize]
    }

    /// One of the references of the first RRset of a name.
    fn reference(&mut self, text: &str, number: usize) -> &mut NameReference {
        let first = self.rrset(text).first_reference.get() as usize;
        &mut self.references[first + number]
    }
}

/// What is said of an image after `change`.
#[track_caller]
fn refused(change: impl FnOnce(&mut Tables<'_>)) -> ImageError {
    let mut compiler = ZoneCompiler::new();
    for text in ZONES {
        let text = text.as_bytes();
        compiler.add_zone(Source { name: "test", text }, &NoFiles);
    }
    let mut image: Vec<u8> = match compiler.finish() {
        Ok(compiled) => compiled.image,
        Err(errors) => panic!("{errors}"),
    };
    assert!(ZoneSet::from_bytes(&image).is_ok());
    change(&mut Tables::of(&mut image));
    match ZoneSet::from_bytes(&image) {
        Ok(_) => panic!("the change was not seen"),
        Err(error) => error,
    }
}

#[track_caller]
fn node_is_refused(text: &str, change: impl FnOnce(&mut Tables<'_>)) {
    let mut number = 0;
    let error = refused(|tables| {
        number = tables.number(text);
        change(tables);
    });
    assert_eq!(error, ImageError::Node(number), "{text}");
}

#[test]
fn wildcards_that_are_none_or_left_out_are_refused() {
    node_is_refused("example", |t| {
        t.node("example").wildcard = t.number("mx.example").into()
    });
    node_is_refused("example", |t| {
        t.node("example").wildcard = t.number("*.w.example").into()
    });
    node_is_refused("*.w.example", |t| {
        t.node("w.example").wildcard = NONE.into()
    });
}

#[test]
fn cuts_that_are_not_where_ns_is_are_refused() {
    node_is_refused("sub.example", |t| t.node("sub.example").cut = NONE.into());
    node_is_refused("ns.sub.example", |t| {
        t.node("ns.sub.example").cut = NONE.into()
    });
    node_is_refused("mx.example", |t| {
        t.node("mx.example").cut = t.number("mx.example").into()
    });
    node_is_refused("example", |t| {
        t.node("example").cut = t.number("example").into()
    });
}

#[test]
fn nodes_out_of_place_are_refused() {
    node_is_refused("mx.example", |t| {
        t.node("mx.example").parent = t.number("w.example").into()
    });
    node_is_refused("mx.example", |t| t.node("mx.example").parent = NONE.into());
    node_is_refused("mx.example", |t| {
        t.node("mx.example").parent = 0xffff.into()
    });
    node_is_refused("mx.example", |t| t.node("mx.example").zone = 7.into());
    node_is_refused("mx.example", |t| t.node("mx.example").name_length += 1);
    node_is_refused("mx.example", |t| {
        t.node("mx.example").name = u32::MAX.into()
    });
    node_is_refused("mx.example", |t| {
        t.node("mx.example").flags = NodeEntry::ALIAS
    });
    node_is_refused("alias.example", |t| t.node("alias.example").flags = 0);
    node_is_refused("alias.example", |t| t.node("alias.example").flags |= 0x80);
}

#[test]
fn redirections_that_are_none_or_have_something_below_them_are_refused() {
    node_is_refused("redirect.example", |t| t.node("redirect.example").flags = 0);
    node_is_refused("mx.example", |t| {
        t.node("mx.example").flags = NodeEntry::REDIRECTION
    });
    // The record's type and the flag of a name that has others below it: seen at the first of these.
    let mut below = 0;
    let error = refused(|t| {
        below = t.number("ns.sub.example");
        t.node("sub.example").flags = NodeEntry::REDIRECTION;
        t.node("sub.example").cut = NONE.into();
        t.node("ns.sub.example").cut = NONE.into();
        let rrset = t.rrset("sub.example");
        rrset.record_type = RecordType::DNAME.0.into();
        let at = rrset.octets.get() as usize + 2;
        t.octets[at..at + 2].copy_from_slice(&RecordType::DNAME.0.to_be_bytes());
        t.reference("sub.example", 0).shared = 0;
    });
    assert_eq!(error, ImageError::Node(below));
}

#[test]
fn zone_that_is_not_below_its_parent_is_refused() {
    let child = ImageError::Zone(1);
    let parent =
        |node: fn(&Tables<'_>) -> u32| refused(|t| t.zones[1].parent_node = node(t).into());
    assert_eq!(parent(|t| t.zones[1].first_node.get()), child);
    assert_eq!(parent(|t| t.number("mx.example")), child);
    assert_eq!(parent(|_| 0xffff), child);
}

#[test]
fn soa_and_negative_ttl_of_another_zone_are_refused() {
    let first = ImageError::Zone(0);
    assert_eq!(refused(|t| t.zones[0].negative_ttl = 301.into()), first);
    assert_eq!(refused(|t| t.zones[0].soa = t.zones[1].soa), first);
    assert_eq!(refused(|t| t.zones[0].soa = NONE.into()), first);
    assert_eq!(refused(|t| t.zones[0].ns = NONE.into()), first);
}

#[test]
fn compression_against_what_is_not_there_is_refused() {
    // `second.mail` ends with `mail`, written before it; what `mail` shares with the owner is not there to point to.
    let second = |change: fn(&mut NameReference)| {
        node_is_refused("mx.example", |t| change(t.reference("mx.example", 1)));
    };
    let mut seen = (0, 0);
    node_is_refused("mx.example", |t| {
        let reference = t.reference("mx.example", 1);
        seen = (reference.shared, reference.anchor.get());
        reference.shared = 9;
    });
    assert_eq!(seen, (14, 1));
    second(|reference| reference.shared = 1);
    second(|reference| reference.shared = 13);
    second(|reference| reference.anchor = 0.into());
    second(|reference| reference.anchor = 2.into());
    second(|reference| reference.anchor = u16::MAX.into());
    let length = refused(|t| t.reference("mx.example", 1).length += 1);
    assert!(matches!(length, ImageError::Rrset(_)));
}

#[test]
fn additional_addresses_of_another_name_are_refused() {
    node_is_refused("mx.example", |t| {
        t.reference("mx.example", 0).target = t.number("ns.example").into();
    });
    node_is_refused("mx.example", |t| {
        t.reference("mx.example", 0).target = 0xffff.into()
    });
}

#[test]
fn two_aliases_at_one_name_are_refused() {
    node_is_refused("pair.example", |t| {
        t.node("pair.example").flags = NodeEntry::ALIAS;
        let rrset = t.rrset("pair.example");
        rrset.record_type = RecordType::CNAME.0.into();
        let (mut at, count) = (rrset.octets.get() as usize, rrset.record_count.get());
        for _ in 0..count {
            let header = &mut t.octets[at..at + RECORD_HEADER_LENGTH];
            assert_eq!(header[2..4], RecordType::PTR.0.to_be_bytes());
            header[2..4].copy_from_slice(&RecordType::CNAME.0.to_be_bytes());
            at += RECORD_HEADER_LENGTH + usize::from(u16::from_be_bytes([header[10], header[11]]));
        }
    });
}

#[test]
fn index_that_does_not_lead_to_the_names_is_refused() {
    let index = ImageError::Index;
    assert_eq!(
        refused(|t| t.header.probes = (MAX_PROBES + 1).into()),
        index
    );
    assert_eq!(refused(|t| t.header.probes = 0.into()), index);
    assert_eq!(refused(|t| t.header.deepest = 128.into()), index);
    assert_eq!(refused(|t| t.header.deepest = 1.into()), index);
    assert_eq!(refused(|t| t.header.seed = 99.into()), index);
    let taken = |t: &Tables<'_>| t.slots.iter().position(|s| s.node.get() != NONE).unwrap();
    assert_eq!(refused(|t| t.slots[taken(t)].node = NONE.into()), index);
    assert_eq!(refused(|t| t.slots[taken(t)].node = 0xffff.into()), index);
    assert_eq!(refused(|t| t.slots[taken(t)].tag = 0.into()), index);
    let empty = |t: &Tables<'_>| t.slots.iter().position(|s| s.node.get() == NONE).unwrap();
    assert_eq!(refused(|t| t.slots[empty(t)].node = 0.into()), index);
}

#[test]
fn records_that_are_not_what_their_entry_says_are_refused() {
    for error in [
        refused(|t| t.rrset("ns.example").ttl = 5.into()),
        refused(|t| t.rrset("ns.example").record_count = 2.into()),
        refused(|t| t.rrset("ns.example").record_type = RecordType::TXT.0.into()),
        refused(|t| t.rrset("ns.example").length = 15.into()),
        refused(|t| t.rrset("ns.example").octets = u32::MAX.into()),
    ] {
        assert!(matches!(error, ImageError::Rrset(_)), "{error}");
    }
}
