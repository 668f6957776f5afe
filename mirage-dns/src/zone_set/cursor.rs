//! A place among the records of a zone, to go on from later.

use super::{EncodedRecords, NodeIndex, RECORD_HEADER_LENGTH, Zone, ZoneRecord};
use crate::record::RecordType;

/// A place among the records of one zone of one image. It means nothing in another.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct RecordCursor {
    /// The node, counted from the apex.
    node: u32,
    /// The RRset among the node's.
    rrset: u32,
    /// Where the record begins in the RRset's octets.
    octet: u32,
}

impl<'a> Zone<'a> {
    /// The first record, if the zone has any.
    pub(crate) fn first_record(&self) -> Option<RecordCursor> {
        let start = RecordCursor {
            node: 0,
            rrset: 0,
            octet: 0,
        };
        self.settle(start)
    }

    /// The record at a place that this zone gave.
    pub(crate) fn record_at(&self, cursor: RecordCursor) -> Option<ZoneRecord<'a>> {
        let (index, octets, record_type, ttl) = self.rest(cursor)?;
        let record = EncodedRecords(octets).next()?;
        Some(ZoneRecord {
            owner: self.set.name(index),
            record_type,
            ttl,
            rdata: record.get(RECORD_HEADER_LENGTH..)?,
        })
    }

    /// The place of the record that comes next.
    pub(crate) fn record_after(&self, cursor: RecordCursor) -> Option<RecordCursor> {
        let (_, octets, _, _) = self.rest(cursor)?;
        let record = EncodedRecords(octets).next()?;
        self.settle(RecordCursor {
            octet: cursor.octet + record.len() as u32, // within an image, whose length is 32 bits
            ..cursor
        })
    }

    /// The first place at or behind `cursor` where there is a record.
    fn settle(&self, mut cursor: RecordCursor) -> Option<RecordCursor> {
        while (cursor.node as usize) < self.name_count() {
            if let Some((_, octets, _, _)) = self.rest(cursor) {
                if !octets.is_empty() {
                    return Some(cursor);
                }
                cursor.rrset += 1;
            } else {
                cursor.node += 1;
                cursor.rrset = 0;
            }
            cursor.octet = 0;
        }
        None
    }

    /// The octets of the cursor's RRset from the cursor on, with the node, type and TTL; `None` behind the node's last RRset.
    fn rest(&self, cursor: RecordCursor) -> Option<(NodeIndex, &'a [u8], RecordType, u32)> {
        let index = NodeIndex(self.entry().first_node.get().checked_add(cursor.node)?);
        let node = self.set.nodes.get(index.0 as usize)?;
        let rrset = self.set.rrsets_of(node).get(cursor.rrset as usize)?;
        let octets = self.set.encoded(rrset).get(cursor.octet as usize..)?;
        let record_type = RecordType(rrset.record_type.get());
        Some((index, octets, record_type, rrset.ttl.get()))
    }
}
