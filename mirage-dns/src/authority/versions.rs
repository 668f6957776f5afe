//! Versions of zones: what changes, what is built, what follows from it.

use alloc::sync::Arc;
use alloc::vec::Vec;

use super::build::{Change, ZoneChange};
use super::{Authority, Built, Leftovers, Now, Reload};
use crate::difference::Difference;
use crate::name::NameBuf;
use crate::secondary::{Outcome, Secondary, SoaTimers};
use crate::serial::is_newer;
use crate::zone_set::{OwnedZoneSet, sort_key};

impl<'k> Authority<'k> {
    /// Zones were read again: those that are ours and differ take the place of the current ones; those that are fetched from
    /// primaries stay. Nothing is seen of it before [`Task::Build`](super::Task::Build) is done.
    pub fn reload(&mut self, reload: Reload) {
        for apex in reload.changed {
            let serial_of = |zones: &OwnedZoneSet| {
                let zone = zones.as_zone_set().zone_at(apex.as_name());
                zone.map_or(0, |zone| zone.serial())
            };
            let (read, current) = (serial_of(&reload.zones), serial_of(&self.zones));
            let place = self.places.get(&sort_key(apex.as_name())).copied();
            if let Some(state) = place.and_then(|place| self.states.get_mut(place)) {
                // What updates did counts, be it built or not.
                let current = state.pending.serial(apex.as_name()).unwrap_or(current);
                let is_newer = is_newer(read, current);
                // The file of a zone that is updated has not what the updates did: it counts when its author says so.
                let is_updated = !state.config.update.0.is_empty();
                if state.secondary.is_some() || (is_updated && !is_newer) {
                    continue;
                }
                state.replacing = true;
            }
            self.change(apex, Change::ReplaceFrom(reload.zones.clone()));
        }
    }

    /// [`Task::Build`](super::Task::Build) is done: from now on answers are from this version. What it has no more use for is
    /// given back, as to drop it here could keep queries waiting.
    pub fn handle_built(&mut self, built: Built, now: Now) -> Leftovers {
        let mut gone = Vec::new();
        self.building = false;
        if !Arc::ptr_eq(&built.zones, &self.zones) {
            self.generation += 1;
            self.zones = built.zones;
        }
        for change in built.changes {
            let Some(&place) = self.places.get(&sort_key(change.apex.as_name())) else {
                gone.extend(change.result.into_iter().flatten());
                continue;
            };
            let installed = self.states[place].installing == Some(change.number);
            if installed {
                self.states[place].installing = None;
            }
            self.states[place].replacing &= self.is_replacing(&change.apex);
            let done = change.result.is_ok();
            let outcome = match change.result {
                Ok(differences) => {
                    let measured = differences.into_iter().zip(change.octets);
                    self.version_changed(place, measured, now, &mut gone)
                }
                Err(_) => {
                    self.counters.changes_failed += 1;
                    Outcome::Failed
                }
            };
            self.answer_updates(place, change.number, done, now);
            if installed && let Some(secondary) = self.secondary(place) {
                secondary.handle_transfer(now.elapsed, outcome);
                if !secondary.is_expired() {
                    // It expired while it was built, and is current again.
                    self.changes.retain(|other| {
                        other.apex != change.apex || !matches!(other.change, Change::Clear)
                    });
                }
            }
        }
        Leftovers(gone)
    }

    /// Whether a zone that was read again still waits to be built.
    pub(super) fn is_replacing(&self, apex: &NameBuf) -> bool {
        self.changes
            .iter()
            .any(|change| matches!(change.change, Change::ReplaceFrom(_)) && change.apex == *apex)
    }

    /// A zone is at another version, to which these differences lead.
    pub(super) fn version_changed(
        &mut self,
        place: usize,
        differences: impl ExactSizeIterator<Item = (Arc<Difference>, usize)>,
        now: Now,
        gone: &mut Vec<Arc<Difference>>,
    ) -> Outcome {
        let state = &mut self.states[place];
        let set = self.zones.as_zone_set();
        let soa = set
            .zone_at(state.config.apex.as_name())
            .and_then(|zone| zone.soa());
        if differences.len() == 0 {
            state.journal.clear_into(gone);
        }
        for (difference, octets) in differences {
            state.journal.push_measured(difference, octets, gone);
        }
        match soa.and_then(|soa| SoaTimers::from_rdata(soa.rdata)) {
            Some(timers) => {
                state.notifier.handle_change(now.elapsed);
                self.counters.versions += 1;
                Outcome::Installed(timers)
            }
            None => Outcome::Failed,
        }
    }

    /// Has a zone go that expired and could not be taken away then.
    pub(super) fn clear_expired(&mut self, place: usize) {
        let state = &self.states[place];
        let is_expired = state.secondary.as_ref().is_some_and(Secondary::is_expired);
        let apex = &state.config.apex;
        let set = self.zones.as_zone_set();
        let zone = set.zone_at(apex.as_name());
        let is_asked_for = self
            .changes
            .iter()
            .any(|change| matches!(change.change, Change::Clear) && change.apex == *apex);
        if is_expired
            && zone.is_some_and(|zone| zone.is_present())
            && !is_asked_for
            && !self.building
        {
            self.change(apex.clone(), Change::Clear);
        }
    }

    /// Asks for a change, and gives the number under which its outcome will be told.
    pub(super) fn change(&mut self, apex: NameBuf, change: Change) -> u64 {
        let number = self.next_number;
        self.next_number += 1;
        self.changes.push(ZoneChange {
            apex,
            change,
            number,
        });
        number
    }
}
