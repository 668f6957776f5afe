//! Makes a zone set out of another: zones changed, replaced, taken away.

use alloc::collections::btree_map::Entry;

use super::build_error::{BuildError, BuildErrorKind};
use super::builder::{ZoneHandle, ZoneSetBuilder, sort_key};
use super::{Zone, ZoneSet};
use crate::difference::Difference;
use crate::name::Name;
use crate::record::RecordType;

impl ZoneSetBuilder {
    /// One that has the zones and records of a set; to build it unchanged gives an equal set.
    ///
    /// # Errors
    /// None that a set which was checked could cause, except what [`Self::add_record`] refuses and an image made by another
    /// version took.
    pub fn from_zone_set(set: &ZoneSet<'_>) -> Result<Self, BuildError> {
        let mut builder = Self::new();
        for zone in set.zones() {
            builder.copy_zone(zone)?;
        }
        Ok(builder)
    }

    /// Adds a zone with all its records, or one that is not there.
    ///
    /// # Errors
    /// As [`Self::add_zone`] and [`Self::add_record`].
    pub fn copy_zone(&mut self, zone: Zone<'_>) -> Result<ZoneHandle, BuildError> {
        let handle = self.add_zone(zone.apex())?;
        self.zones[handle.0].may_be_absent = !zone.is_present();
        for record in zone.records() {
            let (owner, ttl) = (record.owner, record.ttl);
            self.add_record(handle, owner, record.record_type, ttl, record.rdata)?;
        }
        Ok(handle)
    }

    /// The zone with this name.
    pub fn zone(&self, apex: Name<'_>) -> Option<ZoneHandle> {
        self.apexes.get(&sort_key(apex)).copied().map(ZoneHandle)
    }

    /// Adds a zone that is not there: its names are answered with SERVFAIL until it has records.
    ///
    /// # Errors
    /// [`BuildErrorKind::DuplicateZone`].
    pub fn add_absent_zone(&mut self, apex: Name<'_>) -> Result<ZoneHandle, BuildError> {
        let handle = self.add_zone(apex)?;
        self.zones[handle.0].may_be_absent = true;
        Ok(handle)
    }

    /// Takes all records out of a zone: unless others are added, it is one that is not there.
    ///
    /// # Panics
    /// When `zone` comes from another builder that has more zones.
    pub fn clear_zone(&mut self, zone: ZoneHandle) {
        let zone = &mut self.zones[zone.0];
        zone.may_be_absent = true;
        let apex = sort_key(zone.apex());
        zone.nodes.retain(|key, _| *key == apex);
        for node in zone.nodes.values_mut() {
            node.rrsets.clear();
        }
    }

    /// Takes a record out of a zone; names without case, whatever its TTL is. Names above it that have nothing else below
    /// them go with it.
    ///
    /// # Errors
    /// [`BuildErrorKind::NoSuchRecord`].
    ///
    /// # Panics
    /// When `zone` comes from another builder that has more zones.
    pub fn remove_record(
        &mut self,
        zone: ZoneHandle,
        owner: Name<'_>,
        record_type: RecordType,
        rdata: &[u8],
    ) -> Result<(), BuildError> {
        let missing = || {
            let kind = BuildErrorKind::NoSuchRecord;
            BuildError::at(owner, Some(record_type), kind)
        };
        let draft = &mut self.zones[zone.0];
        let node = draft.nodes.get_mut(&sort_key(owner)).ok_or_else(missing)?;
        let Entry::Occupied(mut rrset) = node.rrsets.entry(record_type) else {
            return Err(missing());
        };
        if !rrset.get_mut().remove(record_type, rdata) {
            return Err(missing());
        }
        if rrset.get().len() == 0 {
            rrset.remove();
        }
        draft.remove_if_empty(owner);
        Ok(())
    }

    /// Brings a zone from one version to the next.
    ///
    /// # Errors
    /// [`BuildErrorKind::OtherVersion`] when the zone's SOA record is not the difference's old one,
    /// [`BuildErrorKind::NoSuchRecord`] when it removes what is not there, or as [`Self::add_record`]. The builder is then to be
    /// thrown away: part of it may be done.
    ///
    /// # Panics
    /// When `zone` comes from another builder that has more zones.
    pub fn apply(&mut self, zone: ZoneHandle, difference: &Difference) -> Result<(), BuildError> {
        let (old, new) = (&difference.old_soa, &difference.new_soa);
        let apex = self.zones[zone.0].apex.clone();
        let apex = Name::from_checked(&apex);
        let other_version = || {
            let kind = BuildErrorKind::OtherVersion;
            BuildError::at(apex, Some(RecordType::SOA), kind)
        };
        let soas = [old, new];
        if !soas
            .iter()
            .all(|soa| soa.record_type() == RecordType::SOA && soa.owner() == apex)
        {
            return Err(other_version());
        }
        let removed = self.remove_record(zone, apex, RecordType::SOA, old.rdata());
        removed.map_err(|_| other_version())?;
        for record in &difference.removed {
            let (owner, record_type) = (record.owner(), record.record_type());
            self.remove_record(zone, owner, record_type, record.rdata())?;
        }
        self.add_record(zone, apex, RecordType::SOA, new.ttl(), new.rdata())?;
        for record in &difference.added {
            let (owner, ttl) = (record.owner(), record.ttl());
            self.add_record(zone, owner, record.record_type(), ttl, record.rdata())?;
        }
        Ok(())
    }
}

impl super::builder::DraftZone {
    /// Takes away the node of a name that has no records and nothing below it, and those above it likewise; not the apex.
    fn remove_if_empty(&mut self, owner: Name<'_>) {
        for name in owner.ancestors() {
            let key = sort_key(name);
            let empty = self
                .nodes
                .get(&key)
                .is_some_and(|node| node.rrsets.is_empty());
            // What is below a name comes right behind it.
            let below = (
                core::ops::Bound::Excluded(&key),
                core::ops::Bound::Unbounded,
            );
            let next = self.nodes.range::<super::SortKey, _>(below).next();
            let has_names_below = next.is_some_and(|(next, _)| next.starts_with(&key));
            if name.len() <= self.apex.len() || !empty || has_names_below {
                return;
            }
            self.nodes.remove(&key);
        }
    }
}

#[cfg(test)]
mod tests;
