//! Dynamic updates: decided at once, answered when they are seen.

use alloc::sync::Arc;

use super::build::Change;
use super::{Authority, Now, Reply, Ticket, WaitingUpdate, Why, reply};
use crate::message::{Flags, MessageReader};
use crate::record::Rcode;
use crate::server::{Client, Opt};
use crate::tsig::{MAX_RECORD_LENGTH, Verified};
use crate::update::UpdateRequest;
use crate::zone_set::sort_key;

impl<'k> Authority<'k> {
    /// Does an update on what the ones before it left, and has it built (RFC 2136 §3).
    pub(super) fn update(
        &mut self,
        reader: &MessageReader<'_>,
        opt: &Opt,
        client: &Client,
        verified: Option<&Verified<'k>>,
        now: Now,
    ) -> Result<Decided, Rcode> {
        opt.verdict()?;
        let request = UpdateRequest::parse(reader).map_err(|error| error.rcode())?;
        let apex = request.apex().to_owned();
        let key = verified.map(|verified| verified.key().name());
        let place = self.places.get(&sort_key(apex.as_name())).copied();
        let state = place.and_then(|place| self.states.get_mut(place));
        if state
            .as_ref()
            .is_some_and(|state| state.secondary.is_some())
        {
            return Err(Rcode::NOTIMP);
        }
        // Who may not change anything is told nothing of what there is.
        let state = state.filter(|state| state.config.update.allows(client.address, key));
        let Some(state) = state else {
            self.turn_away(reader.octets(), client, Why::NotAllowed, now);
            return Err(Rcode::REFUSED);
        };
        let zones = self.zones.as_zone_set();
        let zone = request.zone(&zones).map_err(|error| error.rcode())?;
        if state.waiting.len() >= self.bounds.updates || state.replacing {
            return Err(Rcode::SERVFAIL);
        }
        let decided = state.pending.apply(zone, &request);
        let difference = decided.map_err(|error| error.rcode())?;
        let (change, version) = match (difference, state.waiting.back()) {
            (Some(difference), _) => {
                let version = state.pending.version();
                let change = Change::Apply(alloc::vec![Arc::new(difference)]);
                (self.change(apex, change), version)
            }
            // It rests on what the ones before it do: it is answered when they are.
            (None, Some(last)) => (last.change, last.version),
            (None, None) => return Ok(Decided::Nothing),
        };
        let mut reply = alloc::vec![0; 512 + MAX_RECORD_LENGTH];
        let flags = Flags::empty();
        let written = reply::write(reader.octets(), Rcode::NOERROR, flags, opt, &mut reply);
        reply.truncate(written.ok_or(Rcode::SERVFAIL)?);
        let ticket = Ticket(self.next_ticket);
        self.next_ticket += 1;
        if let Some(state) = place.and_then(|place| self.states.get_mut(place)) {
            state.waiting.push_back(WaitingUpdate {
                ticket,
                change,
                version,
                reply,
                verified: verified.cloned(),
            });
        }
        Ok(Decided::Later(ticket))
    }

    /// The next answer that was announced with [`Handled::Later`](super::Handled::Later), if there is one.
    pub fn poll_reply(&mut self) -> Option<Reply> {
        self.replies.pop_front()
    }

    /// Answers the updates of a zone up to one that waits for this change.
    pub(super) fn answer_updates(&mut self, place: usize, change: u64, done: bool, now: Now) {
        let state = &mut self.states[place];
        while let Some(waiting) = state.waiting.front()
            && (!done || waiting.change <= change)
        {
            let Some(mut waiting) = state.waiting.pop_front() else {
                return;
            };
            if done {
                state.pending.forget(waiting.version);
                self.counters.updates_done += 1;
            } else {
                reply::set_rcode(&mut waiting.reply, Rcode::SERVFAIL);
                self.counters.updates_failed += 1;
            }
            let mut octets = waiting.reply;
            if let Some(verified) = waiting.verified {
                let length = octets.len();
                octets.resize(length + verified.record_length(), 0);
                match verified.sign(&mut octets, length, now.unix) {
                    Ok(signed) => octets.truncate(signed.length),
                    // There is room, and the message is ours.
                    Err(_) => continue,
                }
            }
            self.replies.push_back(Reply {
                ticket: waiting.ticket,
                octets,
            });
        }
        if !done {
            // Whatever else was decided rests on what was not done.
            state.pending.clear();
            let apex = state.config.apex.as_name();
            self.changes.retain(|change| {
                change.apex.as_name() != apex || !matches!(change.change, Change::Apply(_))
            });
        }
    }
}

/// What becomes of an update.
pub(super) enum Decided {
    /// It changes nothing.
    Nothing,
    Later(Ticket),
}
