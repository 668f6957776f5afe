//! Whom a segment is for (RFC 9293 §3.10.7).

use mirage_core::Instant;

use super::{Engine, PathMtu, connection};
use crate::tcp::connection::{Answer, Incoming};
use crate::tcp::four_tuple::FourTuple;
use crate::tcp::listen::Listener;
use crate::tcp::time_wait::InTimeWait;
use crate::tcp::{SequenceNumber, TcpState};
use crate::wire::tcp::{TcpFlags, TcpRepr};

impl Engine<'_> {
    /// A segment whose checksum is right, between unicast addresses and ports other than 0 (input). Borrowed, not moved; what it is then
    /// means nothing.
    pub(crate) fn handle_segment(
        &mut self,
        now: Instant,
        tuple: FourTuple,
        incoming: &mut Incoming,
        path_mtu: PathMtu<'_>,
    ) {
        let mut found = self.find_last(&tuple);
        let mut hash = 0;
        if found.is_none() {
            hash = self.hash(&tuple);
            found = self.find_hashed(hash, &tuple);
        }
        if let Some(index) = found {
            self.last = index;
            self.handle_for_connection(now, index, tuple, incoming);
            return;
        }
        let mut after = None;
        if let Some(index) = self.time_waits.find(hash, &tuple) {
            match self.handle_in_time_wait(now, index, tuple, incoming) {
                Some(last) => after = Some(last),
                None => return,
            }
        }
        if let Some(index) = self.half_open.find(hash, &tuple) {
            self.handle_half_open(now, index, hash, incoming, path_mtu);
            return;
        }
        self.handle_for_listener(now, (tuple, hash), incoming, after, path_mtu);
    }

    /// Gives a segment to a connection.
    pub(super) fn handle_for_connection(
        &mut self,
        now: Instant,
        index: usize,
        tuple: FourTuple,
        incoming: &mut Incoming,
    ) {
        let octets = incoming.payload.len();
        let cx = &mut self.shared.context(now);
        let Some(connection) = connection(&mut self.slots, index) else {
            return;
        };
        let answer = connection.handle_segment(cx, incoming);
        self.urgent |= connection.is_urgent();
        self.pressing |= connection.is_pressing();
        if answer == Answer::Reset {
            // What it refers to, the acknowledgement, nobody has changed.
            self.send_reset(now, tuple, &incoming.repr, octets);
        }
        self.touched(now, index);
    }

    /// What is left of a connection answers; a number means that a SYN takes its place, whose answer begins behind it.
    fn handle_in_time_wait(
        &mut self,
        now: Instant,
        index: usize,
        tuple: FourTuple,
        incoming: &Incoming,
    ) -> Option<SequenceNumber> {
        let repr = &incoming.repr;
        // Only a listener can take the SYN; without one TIME-WAIT goes on, and while its backlog is full.
        let listener = self.listeners.find(tuple.local());
        let listener = listener.and_then(|handle| self.listeners.get(handle));
        let listens = listener.is_some();
        // A cookie's number need not be behind that of the old connection (RFC 1122 §4.2.2.13): only timestamps keep its segments
        // apart then.
        let needs_cookie = self.half_open.is_full() && repr.options.timestamps.is_none();
        let is_full = listener.is_some_and(Listener::is_full) || needs_cookie;
        if repr.flags.contains(TcpFlags::RST) {
            self.shared.counters.reset_in_time_wait += 1;
        }
        if repr.flags.contains(TcpFlags::SYN) && !listens {
            self.challenge_in_time_wait(now, index);
            return None;
        }
        if repr.flags & (TcpFlags::SYN | TcpFlags::ACK | TcpFlags::RST) == TcpFlags::SYN && is_full
        {
            self.shared.counters.backlog_full += 1;
            return None;
        }
        let answer = self
            .time_waits
            .handle_segment(now, index, repr, incoming.payload.len());
        match answer {
            InTimeWait::Nothing => {}
            InTimeWait::Acknowledge => {
                if let Some(entry) = self.time_waits.get(index) {
                    let (tuple, repr) = (entry.tuple, entry.acknowledgement(now));
                    self.reply(tuple, repr);
                }
            }
            InTimeWait::Challenge => self.challenge_in_time_wait(now, index),
            InTimeWait::Reopen(last) => {
                self.shared.counters.time_waits_reused += 1;
                return Some(last);
            }
        }
        None
    }

    fn challenge_in_time_wait(&mut self, now: Instant, index: usize) {
        let limit = &self.shared.config.challenges;
        let may = self.time_waits.challenge(now, index, limit);
        if let Some(entry) = self.time_waits.get(index) {
            let (tuple, repr) = (entry.tuple, entry.acknowledgement(now));
            self.send_challenge(may, tuple, repr);
        }
    }

    /// A challenge of what is no connection yet, or none any more, if its limit lets it go.
    pub(super) fn send_challenge(&mut self, may: bool, tuple: FourTuple, repr: TcpRepr) {
        if may && self.reply(tuple, repr) {
            self.shared.counters.challenges_sent += 1;
        } else {
            self.shared.counters.challenges_limited += 1;
        }
    }

    /// A reset for a segment, within the limit. None for a reset.
    pub(super) fn send_reset(
        &mut self,
        now: Instant,
        tuple: FourTuple,
        repr: &TcpRepr,
        octets: usize,
    ) {
        let Some(reset) = Answer::reset(repr, octets) else {
            return;
        };
        if self.resets.take(now) && self.reply(tuple, reset) {
            self.shared.counters.resets_sent += 1;
        } else {
            self.shared.counters.resets_limited += 1;
        }
    }

    /// ICMP Unreachable quotes a segment of ours (input). Says whether it is believed.
    pub(crate) fn handle_unreachable(
        &mut self,
        now: Instant,
        tuple: &FourTuple,
        sequence: SequenceNumber,
        code: u8,
    ) -> bool {
        let Some(index) = self.find(tuple) else {
            return false;
        };
        let cx = &mut self.shared.context(now);
        let believed = connection(&mut self.slots, index)
            .is_some_and(|connection| connection.handle_unreachable(cx, sequence, code));
        self.touched(now, index);
        believed
    }

    /// ICMP Fragmentation Needed quotes a segment of ours, and the path takes `mtu` bytes (input). Says whether it is believed.
    pub(crate) fn handle_path_mtu(
        &mut self,
        now: Instant,
        tuple: &FourTuple,
        sequence: SequenceNumber,
        mtu: u16,
    ) -> bool {
        let Some(index) = self.find(tuple) else {
            return false;
        };
        let cx = &mut self.shared.context(now);
        let believed = connection(&mut self.slots, index)
            .is_some_and(|connection| connection.handle_path_mtu(cx, sequence, mtu));
        self.touched(now, index);
        believed
    }

    /// Whether a segment of ours with this number is in flight: an ICMP error that quotes another is a forgery (RFC 5927 §4.1).
    pub(crate) fn is_in_flight(&self, tuple: &FourTuple, sequence: SequenceNumber) -> bool {
        self.find(tuple)
            .and_then(|index| super::connection_ref(&self.slots, index))
            .is_some_and(|connection| {
                connection.state() != TcpState::Closed && connection.is_in_flight(sequence)
            })
    }
}
