//! Conversations with other servers: primaries are asked, secondaries told.

use alloc::boxed::Box;
use alloc::sync::Arc;

use rand_core::CryptoRng;

use super::build::Change;
use super::{Authority, NotifyRequest, Now, SoaQuery, Task, ZoneState, ZoneTransfer};
use crate::difference::RecordBuf;
use crate::secondary::{Action, Outcome, Secondary};
use crate::transfer::Transferred;

impl<'k> Authority<'k> {
    /// What came of [`Task::QuerySoa`]: the primary's serial, or nothing.
    pub fn handle_soa(&mut self, query: &SoaQuery<'_>, serial: Option<u32>, now: Now) {
        self.verifier.count_answers(&query.answers());
        if let Some(secondary) = self.secondary(query.zone) {
            secondary.handle_soa(now.elapsed, serial);
        }
    }

    /// What came of [`Task::Transfer`]: the last message's result, or `None` where the connection failed or was no transfer.
    pub fn handle_transfer(
        &mut self,
        transfer: &ZoneTransfer<'_>,
        result: Option<Transferred>,
        now: Now,
    ) {
        self.verifier.count_answers(&transfer.answers());
        let place = transfer.zone;
        let change = match result {
            Some(Transferred::Whole(records)) => Change::Replace(Arc::new(records)),
            Some(Transferred::Differences(differences)) => {
                Change::Apply(differences.into_iter().map(Arc::new).collect())
            }
            Some(Transferred::UpToDate) => {
                if let Some(secondary) = self.secondary(place) {
                    secondary.handle_transfer(now.elapsed, Outcome::UpToDate);
                }
                return;
            }
            Some(Transferred::AskOverTcp) | None => {
                self.counters.transfers_failed += 1;
                if let Some(secondary) = self.secondary(place) {
                    secondary.handle_transfer(now.elapsed, Outcome::Failed);
                }
                return;
            }
        };
        let apex = transfer.apex().to_owned();
        let number = self.change(apex, change);
        if let Some(state) = self.states.get_mut(place) {
            state.installing = Some(number);
        }
    }

    /// What came of [`Task::Notify`]: whether the secondary has answered.
    pub fn handle_notified(&mut self, notice: &NotifyRequest<'_>, is_answered: bool) {
        self.verifier.count_answers(&notice.answers());
        self.notices = self.notices.saturating_sub(1);
        if is_answered && let Some(state) = self.states.get_mut(notice.zone) {
            let told = notice.notice;
            state.notifier.handle_answer(told.secondary, told.change);
        }
    }

    /// Whether another question, transfer or notice may begin.
    pub(super) fn may_converse(&self) -> bool {
        let is_asking = |state: &&ZoneState<'_>| {
            let secondary = state.secondary.as_ref();
            state.installing.is_none() && secondary.is_some_and(Secondary::is_busy)
        };
        let asking = self.states.iter().filter(is_asking).count();
        asking + self.notices < self.bounds.conversations
    }

    pub(super) fn ask_or_tell(
        &mut self,
        place: usize,
        now: Now,
        rng: &mut impl CryptoRng,
    ) -> Option<Task<'k>> {
        while let Some(action) = self.next_action(place, now) {
            self.clear_expired(place);
            if let Some(task) = self.ask_primary(place, action, now, rng) {
                return Some(task);
            }
            // It can't be written: as if nobody had answered.
            self.fail(place, action, now);
        }
        self.tell_secondary(place, now, rng)
    }

    pub(super) fn next_action(&mut self, place: usize, now: Now) -> Option<Action> {
        let secondary = self.secondary(place)?;
        secondary.poll_action(now.elapsed)
    }

    pub(super) fn ask_primary(
        &self,
        place: usize,
        action: Action,
        now: Now,
        rng: &mut impl CryptoRng,
    ) -> Option<Task<'k>> {
        let config = &self.states[place].config;
        let (Action::QuerySoa(primary)
        | Action::TransferDifferences(primary)
        | Action::TransferWhole(primary)) = action
        else {
            return None;
        };
        let peer = config.primaries.get(primary)?;
        let (server, key) = (peer.address, self.key(peer));
        let (apex, unix) = (config.apex.as_name(), now.unix);
        let id = rng.next_u32() as u16;
        if let Action::QuerySoa(_) = action {
            return SoaQuery::new(place, apex, server, key, id, unix).map(Task::QuerySoa);
        }
        let set = self.zones.as_zone_set();
        let soa = set.zone_at(apex).and_then(|zone| zone.soa());
        let soa = soa
            .filter(|_| matches!(action, Action::TransferDifferences(_)))
            .map(RecordBuf::from);
        let (soa, limits) = (soa.as_ref(), self.bounds.transfer);
        let transfer = ZoneTransfer::new(place, apex, server, key, id, soa, limits, unix)?;
        Some(Task::Transfer(Box::new(transfer)))
    }

    pub(super) fn tell_secondary(
        &mut self,
        place: usize,
        now: Now,
        rng: &mut impl CryptoRng,
    ) -> Option<Task<'k>> {
        loop {
            let notice = self.states[place].notifier.poll_notice(now.elapsed)?;
            let config = &self.states[place].config;
            let set = self.zones.as_zone_set();
            let soa = set
                .zone_at(config.apex.as_name())
                .and_then(|zone| zone.soa());
            let (Some(peer), Some(soa)) = (config.notify.get(notice.secondary), soa) else {
                continue;
            };
            let request = NotifyRequest::new(
                place,
                notice,
                config.apex.as_name(),
                peer.address,
                self.key(peer),
                rng.next_u32() as u16,
                &soa.into(),
                now.unix,
            );
            if let Some(request) = request {
                self.counters.notices_sent += 1;
                self.notices += 1;
                return Some(Task::Notify(request));
            }
        }
    }

    pub(super) fn fail(&mut self, place: usize, action: Action, now: Now) {
        if let Some(secondary) = self.secondary(place) {
            match action {
                Action::QuerySoa(_) => secondary.handle_soa(now.elapsed, None),
                _ => secondary.handle_transfer(now.elapsed, Outcome::Failed),
            }
        }
    }
}
