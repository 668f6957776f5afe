//! What was changed in a zone and is not built into its image yet.

use alloc::collections::BTreeMap;
use alloc::collections::btree_map::Entry;
use alloc::vec::Vec;
use core::fmt;

use super::changes::Changes;
use super::node::{Node, Rrset};
use super::prerequisites::check_prerequisites;
use super::{Counters, Refusal, UpdateError, UpdateLimits, UpdateRequest};
use crate::difference::{Difference, RecordBuf};
use crate::name::Name;
use crate::record::RecordType;
use crate::zone_set::{SortKey, Zone, sort_key};

/// The updates of one zone that are decided and not in its image yet, so that the next ones see them.
///
/// - Input: [`Self::apply`].
/// - Mutators: [`Self::forget`], [`Self::clear`].
/// - Getters: [`Self::version`], [`Self::is_empty`], [`Self::octets`], [`Self::counters`].
pub struct PendingUpdates {
    limits: UpdateLimits,
    /// The names that were changed, with all their records as they are now.
    nodes: BTreeMap<SortKey, PendingNode>,
    octets: usize,
    version: u64,
    counters: Counters,
}

struct PendingNode {
    node: Node,
    /// The last change of it.
    version: u64,
}

impl PendingUpdates {
    /// None yet.
    pub fn new(limits: UpdateLimits) -> Self {
        Self {
            limits,
            nodes: BTreeMap::new(),
            octets: 0,
            version: 0,
            counters: Counters::ZERO,
        }
    }

    /// Does an update, or nothing of it: the prerequisites are tested against the zone as the updates before left it, then
    /// the zone is changed as the message says, and its serial raised (RFC 2136 §3.2, §3.4, §3.6).
    ///
    /// `zone` is the zone in the image that is there; it must be the one that [`UpdateRequest::zone`] found. What comes
    /// out leads from the zone as it was before this update; `None` when the update changes nothing, and is done.
    ///
    /// The work is linear in the message and in the records of the names that it touches, which
    /// [`UpdateLimits`] bounds, but for a logarithm.
    ///
    /// # Errors
    /// [`UpdateError`]; everything is then as before.
    pub fn apply(
        &mut self,
        zone: Zone<'_>,
        request: &UpdateRequest<'_>,
    ) -> Result<Option<Difference>, UpdateError> {
        let result = self.try_apply(zone, request);
        self.counters.count(&result);
        result
    }

    /// How many updates changed something so far.
    pub fn version(&self) -> u64 {
        self.version
    }

    /// Says that the zone that is given to [`Self::apply`] from now on has the changes up to this
    /// [version](Self::version).
    pub fn forget(&mut self, version: u64) {
        let octets = &mut self.octets;
        self.nodes.retain(|_, pending| {
            let is_kept = pending.version > version;
            if !is_kept {
                *octets -= pending.node.octets();
            }
            is_kept
        });
    }

    /// Says that the zone was replaced, or that the updates can't be built: what waited is gone.
    pub fn clear(&mut self) {
        self.nodes.clear();
        self.octets = 0;
    }

    /// The serial that the zone has with what waits; `None` if nothing does.
    pub(crate) fn serial(&self, apex: Name<'_>) -> Option<u32> {
        let pending = self.nodes.get(&sort_key(apex))?;
        soa_of(&pending.node)?.serial()
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.nodes.is_empty()
    }

    /// Octets that wait, as [`UpdateLimits::octets`] counts them.
    pub fn octets(&self) -> usize {
        self.octets
    }

    /// What became of the updates so far.
    pub fn counters(&self) -> Counters {
        self.counters
    }

    fn try_apply(
        &mut self,
        zone: Zone<'_>,
        request: &UpdateRequest<'_>,
    ) -> Result<Option<Difference>, UpdateError> {
        // The caller gave another zone than the request names.
        if zone.apex() != request.apex() {
            return Err(UpdateError::NotAuthoritative);
        }
        request.check_count(&self.limits)?;
        let view = View {
            zone,
            nodes: &self.nodes,
        };
        let old_soa = view.soa().ok_or(UpdateError::NoData)?;
        check_prerequisites(request, &view, &self.limits)?;
        let mut changes = Changes::new(view, self.limits);
        changes.apply(request)?;
        let Some(changed) = changes.finish(&old_soa)? else {
            return Ok(None);
        };

        // Nothing can fail any more, but what waits has its bound too.
        let mut octets = self.octets;
        for (key, (_, after)) in &changed {
            let before = self.nodes.get(key).map_or(0, |node| node.node.octets());
            octets = octets - before + after.octets();
        }
        if octets > self.limits.octets {
            return Err(UpdateError::Refused(Refusal::TooManyOctets));
        }
        let new_soa = changed.get(&sort_key(zone.apex()));
        let new_soa = new_soa.and_then(|(_, apex)| soa_of(apex));
        let mut difference = Difference {
            new_soa: new_soa.unwrap_or_else(|| old_soa.clone()),
            old_soa,
            removed: Vec::new(),
            added: Vec::new(),
        };
        self.version += 1;
        self.octets = octets;
        for (key, (before, after)) in changed {
            difference.removed.extend(before.records_missing_in(&after));
            difference.added.extend(after.records_missing_in(&before));
            let pending = PendingNode {
                node: after,
                version: self.version,
            };
            match self.nodes.entry(key) {
                Entry::Occupied(mut entry) => {
                    entry.insert(pending);
                }
                Entry::Vacant(entry) => {
                    entry.insert(pending);
                }
            }
        }
        Ok(Some(difference))
    }
}

impl fmt::Debug for PendingUpdates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PendingUpdates")
            .field("names", &self.nodes.len())
            .field("octets", &self.octets)
            .field("version", &self.version)
            .finish_non_exhaustive()
    }
}

/// A zone as the updates before left it: its image, with the changed names in front.
#[derive(Clone, Copy)]
pub(super) struct View<'a> {
    zone: Zone<'a>,
    nodes: &'a BTreeMap<SortKey, PendingNode>,
}

impl<'a> View<'a> {
    pub(super) fn apex(&self) -> Name<'a> {
        self.zone.apex()
    }

    /// All records of a name.
    pub(super) fn node(&self, owner: Name<'_>) -> Node {
        match self.nodes.get(&sort_key(owner)) {
            Some(pending) => pending.node.clone(),
            None => Node::of_zone(self.zone, owner),
        }
    }

    /// The records of a name that have this type.
    pub(super) fn rrset(&self, owner: Name<'_>, record_type: RecordType) -> Option<Rrset> {
        match self.nodes.get(&sort_key(owner)) {
            Some(pending) => pending.node.rrset(record_type).cloned(),
            None => Rrset::of_zone(self.zone.rrset(owner, record_type)),
        }
    }

    /// Whether a name has records; of this type, if one is given.
    pub(super) fn has(&self, owner: Name<'_>, record_type: Option<RecordType>) -> bool {
        if let Some(pending) = self.nodes.get(&sort_key(owner)) {
            return match record_type {
                Some(record_type) => pending.node.has(record_type),
                None => !pending.node.is_empty(),
            };
        }
        match record_type {
            Some(record_type) => self.zone.rrset(owner, record_type).next().is_some(),
            None => {
                let mut records = self.zone.records_of(owner).into_iter().flatten();
                records.next().is_some()
            }
        }
    }

    /// The names below one that have records, those of `but` left out: in the image, then of what waits.
    pub(super) fn has_names_below<T>(&self, name: Name<'_>, but: &BTreeMap<SortKey, T>) -> bool {
        let above = sort_key(name);
        let in_image = self.zone.owners_below(name).any(|owner| {
            let key = sort_key(owner);
            !but.contains_key(&key) && !self.nodes.contains_key(&key)
        });
        let mut waiting = self.nodes.range(above.clone()..);
        in_image
            || waiting
                .by_ref()
                .take_while(|(key, _)| key.starts_with(&above))
                .any(|(key, pending)| {
                    *key != above && !pending.node.is_empty() && !but.contains_key(key)
                })
    }

    fn soa(&self) -> Option<RecordBuf> {
        soa_of(&self.node(self.apex()))
    }
}

/// The SOA record of a name.
pub(super) fn soa_of(node: &Node) -> Option<RecordBuf> {
    let rrset = node.rrset(RecordType::SOA)?;
    let rdata = rrset.records().next()?;
    Some(RecordBuf::new(
        node.owner(),
        RecordType::SOA,
        rrset.ttl,
        rdata,
    ))
}
