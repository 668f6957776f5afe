//! The changes of one update (RFC 2136 §3.4), on copies of the names that it touches.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;

use super::node::{Node, OVERHEAD, Rrset};
use super::pending::{View, soa_of};
use super::request::{Action, Update};
use super::{Refusal, UpdateError, UpdateLimits, UpdateRequest};
use crate::difference::{RecordBuf, soa_serial};
use crate::name::Name;
use crate::record::RecordType;
use crate::serial;
use crate::zone_set::{SortKey, may_stand_beside_cname, sort_key};

/// Names with their records before and after.
pub(super) type Changed = BTreeMap<SortKey, (Node, Node)>;

/// An update that is being done.
pub(super) struct Changes<'a> {
    view: View<'a>,
    limits: UpdateLimits,
    /// The names that were touched.
    nodes: Changed,
    /// What was read and written: of each name once its records, then what was added.
    octets: usize,
}

impl<'a> Changes<'a> {
    pub(super) fn new(view: View<'a>, limits: UpdateLimits) -> Self {
        Self {
            view,
            limits,
            nodes: Changed::new(),
            octets: 0,
        }
    }

    /// Does all that a message wants, after all of it was looked through (§3.4.1).
    pub(super) fn apply(&mut self, request: &UpdateRequest<'_>) -> Result<(), UpdateError> {
        for update in request.updates() {
            update?;
        }
        for update in request.updates() {
            self.apply_one(&update?)?;
        }
        Ok(())
    }

    /// The names that are not as before, with the serial raised; `None` when there are none.
    pub(super) fn finish(mut self, old_soa: &RecordBuf) -> Result<Option<Changed>, UpdateError> {
        self.nodes.retain(|_, (before, after)| before != after);
        if self.nodes.is_empty() {
            return Ok(None);
        }
        self.check()?;
        self.raise_serial(old_soa)?;
        self.drop_old_digests()?;
        Ok(Some(self.nodes))
    }

    /// One update, as the pseudocode of §3.4.2.7 has it.
    fn apply_one(&mut self, update: &Update) -> Result<(), UpdateError> {
        let (owner, record_type) = (update.owner.as_name(), update.record_type);
        let at_apex = owner == self.view.apex();
        let written = match &update.action {
            Action::Add { rdata, .. } => 2 * rdata.len() + OVERHEAD,
            _ => 0,
        };
        let node = self.touch(owner, written)?;
        match &update.action {
            Action::Add { ttl, rdata } => {
                if may_be_added(node, record_type, rdata) {
                    let added = node.add(record_type, *ttl, rdata);
                    added.map_err(UpdateError::Refused)?;
                }
            }
            Action::RemoveName if at_apex => {
                node.retain(|kept| matches!(kept, RecordType::SOA | RecordType::NS));
            }
            Action::RemoveName => node.retain(|_| false),
            Action::RemoveRrset => match record_type {
                RecordType::SOA | RecordType::NS if at_apex => {}
                _ => node.retain(|kept| kept != record_type),
            },
            Action::RemoveRecord(rdata) => match record_type {
                RecordType::SOA => {}
                RecordType::NS if at_apex && node.rrset(RecordType::NS).is_some_and(is_single) => {}
                _ => node.remove(record_type, rdata),
            },
        }
        Ok(())
    }

    /// The records of a name as they are now.
    fn touch(&mut self, owner: Name<'_>, written: usize) -> Result<&mut Node, UpdateError> {
        let key = sort_key(owner);
        if !self.nodes.contains_key(&key) {
            let node = self.view.node(owner);
            self.octets += node.octets();
            self.nodes.insert(key.clone(), (node.clone(), node));
        }
        self.octets += written;
        match self.nodes.get_mut(&key) {
            Some((_, after)) if self.octets <= self.limits.octets => Ok(after),
            _ => Err(UpdateError::Refused(Refusal::TooManyOctets)),
        }
    }

    /// Whether the zone can be built and served: what [`crate::zone_set::ZoneSetBuilder`] would refuse and the rules above
    /// do not keep out.
    fn check(&self) -> Result<(), UpdateError> {
        let apex = self.view.apex();
        // Names that are no redirections, nor are those above them. There are no more than the message has labels.
        let mut clear = BTreeSet::new();
        for (key, (_, after)) in &self.nodes {
            let owner = after.owner();
            let refused = |refusal| Err(UpdateError::Refused(refusal));
            if owner == apex && after.has(RecordType::DNSKEY) {
                return refused(Refusal::Signed);
            }
            if after.has(RecordType::DNAME) {
                if owner != apex && after.has(RecordType::NS) {
                    return refused(Refusal::RedirectionAtCut);
                }
                let below = self.nodes.range(key.clone()..);
                let mut below = below.take_while(|(other, _)| other.starts_with(key));
                let has_changed =
                    below.any(|(other, (_, after))| other != key && !after.is_empty());
                if has_changed || self.view.has_names_below(owner, &self.nodes) {
                    return refused(Refusal::BelowRedirection);
                }
            }
            if after.is_empty() {
                continue;
            }
            for above in owner.ancestors().skip(1) {
                if above.len() < apex.len() || !clear.insert(sort_key(above)) {
                    break;
                }
                if self.has(above, RecordType::DNAME) {
                    return refused(Refusal::BelowRedirection);
                }
            }
        }
        Ok(())
    }

    fn has(&self, owner: Name<'_>, record_type: RecordType) -> bool {
        match self.nodes.get(&sort_key(owner)) {
            Some((_, after)) => after.has(record_type),
            None => self.view.has(owner, Some(record_type)),
        }
    }

    /// §3.6: what changed has another serial.
    fn raise_serial(&mut self, old_soa: &RecordBuf) -> Result<(), UpdateError> {
        let node = self.touch(self.view.apex(), 0)?;
        let soa = soa_of(node).ok_or(UpdateError::NoData)?;
        let old = old_soa.serial().ok_or(UpdateError::NoData)?;
        if soa.serial() != Some(old) {
            return Ok(());
        }
        let mut rdata = soa.rdata().to_vec();
        // The serial is the first of the five numbers at the end (RFC 1035 §3.3.13).
        let numbers = rdata.last_chunk_mut::<20>().ok_or(UpdateError::NoData)?;
        numbers[..4].copy_from_slice(&serial::next(old).to_be_bytes());
        let raised = node.add(RecordType::SOA, soa.ttl(), &rdata);
        raised.map_err(UpdateError::Refused)
    }

    /// A digest of the zone as it was goes: RFC 8976 §4 has no zone verified by one whose serial is not that of the SOA, and who
    /// verifies what it is sent would refuse the zone. One that the update brought for this serial stays.
    fn drop_old_digests(&mut self) -> Result<(), UpdateError> {
        let node = self.touch(self.view.apex(), 0)?;
        let serial = soa_of(node).and_then(|soa| soa.serial());
        let digests = node.rrset(RecordType::ZONEMD);
        let old: Vec<Vec<u8>> = digests
            .into_iter()
            .flat_map(|digests| digests.records())
            .filter(|rdata| digest_serial(rdata) != serial)
            .map(<[u8]>::to_vec)
            .collect();
        for rdata in &old {
            node.remove(RecordType::ZONEMD, rdata);
        }
        Ok(())
    }
}

/// The serial of a ZONEMD record: its first four octets (RFC 8976 §2.2.1).
fn digest_serial(rdata: &[u8]) -> Option<u32> {
    rdata
        .first_chunk()
        .map(|serial| u32::from_be_bytes(*serial))
}

/// Whether a record may be added to what a name has (§3.4.2.2); if not, it is left out.
fn may_be_added(node: &Node, record_type: RecordType, rdata: &[u8]) -> bool {
    match record_type {
        RecordType::CNAME => node.types().all(may_stand_beside_cname),
        RecordType::SOA => {
            let old = soa_of(node).and_then(|soa| soa.serial());
            let new = soa_serial(record_type, rdata);
            // No SOA but at the apex, and none that goes back.
            old.zip(new)
                .is_some_and(|(old, new)| serial::is_newer(new, old))
        }
        _ => may_stand_beside_cname(record_type) || !node.has(RecordType::CNAME),
    }
}

fn is_single(rrset: &Rrset) -> bool {
    rrset.len() == 1
}
