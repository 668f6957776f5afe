//! Making the next version of the zones, apart from the server that answers from the current one.

use alloc::sync::Arc;
use alloc::vec::Vec;

use crate::difference::{Difference, RecordBuf};
use crate::name::NameBuf;
use crate::zone_set::{BuildError, OwnedZoneSet, ZoneSet, ZoneSetBuilder};

/// What becomes of one zone.
#[derive(Clone, Debug)]
pub(super) enum Change {
    /// These differences, one after the other.
    Apply(Vec<Arc<Difference>>),
    /// These records instead of all others: an AXFR.
    Replace(Arc<Vec<RecordBuf>>),
    /// The zone of this name as another set has it: a file that was read again.
    ReplaceFrom(Arc<OwnedZoneSet>),
    /// It is there no longer.
    Clear,
}

/// A change of one zone.
#[derive(Clone, Debug)]
pub(super) struct ZoneChange {
    pub(super) apex: NameBuf,
    pub(super) change: Change,
    /// The authority's number for it.
    pub(super) number: u64,
}

/// The making of the next version of the zones: work in proportion to all of them, to be done where it keeps nobody waiting,
/// such as in another thread. Meanwhile the server answers from the current version.
#[derive(Clone, Debug)]
pub struct BuildJob {
    base: Arc<OwnedZoneSet>,
    changes: Vec<ZoneChange>,
}

impl BuildJob {
    pub(super) fn new(base: Arc<OwnedZoneSet>, changes: Vec<ZoneChange>) -> Self {
        Self { base, changes }
    }

    /// The version that it begins with.
    pub fn base(&self) -> &Arc<OwnedZoneSet> {
        &self.base
    }

    /// What comes of it where it cannot be done: the version that is there stays, and every change has failed. To be had
    /// before it is tried, and without what the changes bring: who waits for a thread that does it keeps no copy of that.
    pub fn abandoned(&self) -> Built {
        let changes = self.changes.iter().map(|change| BuiltChange {
            result: Err(BuildError::not_stored(change.apex.as_name())),
            apex: change.apex.clone(),
            number: change.number,
            octets: Vec::new(),
        });
        Built {
            zones: self.base.clone(),
            changes: changes.collect(),
            attempts: 0,
        }
    }

    /// Does it. A change that cannot be made (differences that do not fit, records that are no zone) fails alone: to find it among
    /// others takes no more than twice as many attempts as halving them does.
    pub fn run(self) -> Built {
        let mut built = Built {
            zones: self.base,
            changes: Vec::with_capacity(self.changes.len()),
            attempts: 0,
        };
        make(&mut built, &self.changes);
        built
    }
}

/// Makes changes on what is built: all at once, or where that fails one half and then the other.
fn make(built: &mut Built, changes: &[ZoneChange]) {
    if changes.is_empty() {
        return;
    }
    built.attempts += 1;
    match (attempt(&built.zones, changes), changes) {
        (Ok((zones, done)), _) => {
            built.zones = zones;
            built.changes.extend(done);
        }
        (Err(error), [change]) => built.changes.push(BuiltChange {
            apex: change.apex.clone(),
            number: change.number,
            result: Err(error),
            octets: Vec::new(),
        }),
        (Err(_), _) => {
            let (first, second) = changes.split_at(changes.len() / 2);
            make(built, first);
            make(built, second);
        }
    }
}

fn attempt(
    base: &OwnedZoneSet,
    changes: &[ZoneChange],
) -> Result<(Arc<OwnedZoneSet>, Vec<BuiltChange>), BuildError> {
    let base = base.as_zone_set();
    let mut builder = ZoneSetBuilder::from_zone_set(&base)?;
    for ZoneChange { apex, change, .. } in changes {
        apply(&mut builder, apex, change)?;
    }
    let zones = OwnedZoneSet::new(builder.build()?).map_err(BuildError::from)?;
    let after = zones.as_zone_set();
    let changes = changes
        .iter()
        .map(|change| {
            let differences = differences(&base, &after, change);
            BuiltChange {
                apex: change.apex.clone(),
                number: change.number,
                octets: differences.iter().map(|one| one.wire_length()).collect(),
                result: Ok(differences),
            }
        })
        .collect();
    Ok((Arc::new(zones), changes))
}

fn apply(builder: &mut ZoneSetBuilder, apex: &NameBuf, change: &Change) -> Result<(), BuildError> {
    let zone = match builder.zone(apex.as_name()) {
        Some(zone) => zone,
        None => builder.add_absent_zone(apex.as_name())?,
    };
    match change {
        Change::Apply(differences) => {
            for difference in differences {
                builder.apply(zone, difference)?;
            }
        }
        Change::Replace(records) => {
            builder.clear_zone(zone);
            for record in records.iter() {
                let (owner, ttl) = (record.owner(), record.ttl());
                builder.add_record(zone, owner, record.record_type(), ttl, record.rdata())?;
            }
        }
        Change::ReplaceFrom(other) => {
            builder.clear_zone(zone);
            let other = other.as_zone_set();
            let records = other.zone_at(apex.as_name()).into_iter();
            for record in records.flat_map(|zone| zone.records()) {
                let (owner, ttl) = (record.owner, record.ttl);
                builder.add_record(zone, owner, record.record_type, ttl, record.rdata)?;
            }
        }
        Change::Clear => builder.clear_zone(zone),
    }
    Ok(())
}

/// What leads from the zone before to the zone after; nothing where one of them is not there.
fn differences(
    base: &ZoneSet<'_>,
    after: &ZoneSet<'_>,
    change: &ZoneChange,
) -> Vec<Arc<Difference>> {
    if let Change::Apply(differences) = &change.change {
        return differences.clone();
    }
    let apex = change.apex.as_name();
    let between = base
        .zone_at(apex)
        .zip(after.zone_at(apex))
        .and_then(|(before, after)| Difference::between(before, after));
    between.map(Arc::new).into_iter().collect()
}

/// The next version of the zones.
#[derive(Debug)]
pub struct Built {
    pub(super) zones: Arc<OwnedZoneSet>,
    pub(super) changes: Vec<BuiltChange>,
    /// How often zones were laid out for it, in vain or not.
    pub(super) attempts: u32,
}

impl Built {
    /// All zones, those that did not change included.
    pub fn zones(&self) -> &Arc<OwnedZoneSet> {
        &self.zones
    }

    /// What became of each change, in the order in which they were asked for.
    pub fn changes(&self) -> &[BuiltChange] {
        &self.changes
    }

    /// Takes a change back: it could not be stored, say, and must not be seen. Nothing of this version is used then, and all
    /// its changes fail.
    pub fn discard(&mut self, base: &Arc<OwnedZoneSet>) {
        self.zones = base.clone();
        for change in &mut self.changes {
            change.result = Err(BuildError::not_stored(change.apex.as_name()));
        }
    }
}

/// Changes that nobody needs any more: to free them is work in proportion to them, to be done where it keeps nobody waiting.
#[derive(Debug, Default)]
pub struct Leftovers(pub(super) Vec<Arc<Difference>>);

impl Leftovers {
    /// How many records they have.
    pub fn record_count(&self) -> usize {
        let each = self.0.iter().map(|one| one.removed.len() + one.added.len());
        each.sum()
    }
}

/// Zones that were read again, compared with those that are there: work in proportion to all of them, to be done where it
/// keeps nobody waiting.
#[derive(Debug)]
pub struct Reload {
    pub(super) zones: Arc<OwnedZoneSet>,
    pub(super) changed: Vec<NameBuf>,
}

impl Reload {
    /// Compares zones that were read again with the current ones.
    pub fn new(zones: OwnedZoneSet, current: &OwnedZoneSet) -> Self {
        let current = current.as_zone_set();
        let changed = zones
            .as_zone_set()
            .zones()
            .filter(|zone| {
                let ours = current.zone_at(zone.apex());
                ours.is_some_and(|ours| !ours.records().eq(zone.records()))
            })
            .map(|zone| zone.apex().to_owned())
            .collect();
        Self {
            zones: Arc::new(zones),
            changed,
        }
    }

    /// The zones that differ.
    pub fn changed(&self) -> &[NameBuf] {
        &self.changed
    }
}

/// What became of the change of one zone.
#[derive(Debug)]
pub struct BuiltChange {
    pub(super) apex: NameBuf,
    pub(super) number: u64,
    pub(super) result: Result<Vec<Arc<Difference>>, BuildError>,
    /// Of each difference.
    pub(super) octets: Vec<usize>,
}

impl BuiltChange {
    /// The zone.
    pub fn apex(&self) -> &NameBuf {
        &self.apex
    }

    /// What leads from the version before to this one, if both are there.
    ///
    /// # Errors
    /// Why the change was not made.
    pub fn differences(&self) -> Result<&[Arc<Difference>], &BuildError> {
        self.result.as_deref()
    }
}
