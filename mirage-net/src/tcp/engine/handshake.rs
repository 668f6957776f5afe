//! Segments for listeners: SYNs, the acknowledgements of ours, and cookies (RFC 9293 §3.10.7.2, and SYN-RECEIVED of §3.10.7.4).

use mirage_core::Instant;

use super::{Engine, PathMtu};
use crate::tcp::SequenceNumber;
use crate::tcp::config::ConnectionOptions;
use crate::tcp::connection::options::{self, Offer, Synchronise};
use crate::tcp::connection::{
    Connection, HalfOpen, Incoming, Opening, TcpState, announced_segment, ip_header_len,
};
use crate::tcp::four_tuple::FourTuple;
use crate::tcp::listen::{Cookie, ListenerHandle};
use crate::tcp::table::END;
use crate::wire::tcp::{TcpFlags, TcpOptions, TcpRepr, Timestamps};

impl Engine<'_> {
    /// A segment for no connection; its four-tuple comes with its hash. `after`: our numbers begin behind this one.
    pub(super) fn handle_for_listener(
        &mut self,
        now: Instant,
        (tuple, hash): (FourTuple, u32),
        incoming: &mut Incoming,
        after: Option<SequenceNumber>,
        path_mtu: PathMtu<'_>,
    ) {
        let flags = incoming.repr.flags;
        // "First, check for a RST."
        if flags.contains(TcpFlags::RST) {
            self.shared.counters.no_connection += 1;
            return;
        }
        let Some(listener) = self.listeners.find(tuple.local()) else {
            self.shared.counters.no_connection += 1;
            self.send_reset(now, tuple, &incoming.repr, incoming.payload.len());
            return;
        };
        // "Second, check for an ACK." It may bring a cookie back.
        if flags.contains(TcpFlags::ACK) {
            if !flags.contains(TcpFlags::SYN)
                && let Some(half_open) = self.read_cookie(now, tuple, &incoming.repr, listener)
            {
                self.take_cookie(now, &half_open, hash, listener, incoming, path_mtu);
                return;
            }
            self.shared.counters.no_connection += 1;
            self.send_reset(now, tuple, &incoming.repr, incoming.payload.len());
            return;
        }
        // "Third, check for a SYN."
        if flags.contains(TcpFlags::SYN) {
            self.handle_synchronise(now, (tuple, hash), &incoming.repr, listener, after);
            return;
        }
        // "Fourth, other data or control: drop the segment."
        self.shared.counters.without_acknowledgement += 1;
    }

    /// A SYN: what it carries beside comes again, when the connection is there.
    fn handle_synchronise(
        &mut self,
        now: Instant,
        (tuple, hash): (FourTuple, u32),
        repr: &TcpRepr,
        listener: ListenerHandle,
        after: Option<SequenceNumber>,
    ) {
        let Some(known) = self.listeners.get(listener) else {
            return;
        };
        if known.is_full() {
            self.shared.counters.backlog_full += 1;
            return;
        }
        let own = known.options.connection;
        let mut offer = Offer::of(repr, &self.shared.config);
        offer.congestion_notification &= own.congestion_notification;
        let (number, clock) = self.numbers.number_and_clock(now, &tuple);
        let mut half_open = HalfOpen {
            tuple,
            sequence: match after {
                Some(last) => self.numbers.number_after(now, &tuple, number, last),
                None => number,
            },
            offer,
            window: own.window().min(65_535) as u16,
            clock,
            repeated: false,
            sent_at: now,
        };
        if self.half_open.insert(now, hash, half_open, listener) {
            self.answer_synchronise(now, &half_open, listener);
            return;
        }
        // No room to remember: a number that remembers for us.
        half_open.sequence = self
            .cookies
            .make(now, &tuple, offer.sequence, offer.maximum_segment);
        self.shared.counters.cookies_sent += 1;
        let mut answer = self.synchronise(now, &half_open, &own);
        if let Some(timestamps) = &mut answer.timestamps {
            let cookie = Cookie {
                maximum_segment: offer.maximum_segment,
                window_scale: offer.window_scale,
                sack: offer.sack,
                congestion_notification: offer.congestion_notification,
            };
            timestamps.value = cookie.timestamp(timestamps.value);
        } else {
            // Without a timestamp to keep them in, what these say would be forgotten.
            answer.window_scale = None;
            answer.sack = false;
            answer.congestion_notification = false;
        }
        self.reply(tuple, answer.repr());
    }

    /// The SYN,ACK of a half-open connection. Where the queue is full it is as if the wire had lost it.
    pub(super) fn answer_synchronise(
        &mut self,
        now: Instant,
        half_open: &HalfOpen,
        listener: ListenerHandle,
    ) {
        let Some(known) = self.listeners.get(listener) else {
            return;
        };
        let repr = self
            .synchronise(now, half_open, &known.options.connection)
            .repr();
        self.reply(half_open.tuple, repr);
    }

    fn synchronise(
        &self,
        now: Instant,
        half_open: &HalfOpen,
        own: &ConnectionOptions,
    ) -> Synchronise {
        let offer = &half_open.offer;
        let ip_header = ip_header_len(half_open.tuple.local_address);
        Synchronise {
            tuple: half_open.tuple,
            sequence: half_open.sequence,
            acknowledges: Some(offer.sequence),
            window: half_open.window,
            maximum_segment: announced_segment(ip_header, self.interface_mtu),
            window_scale: offer.window_scale.map(|_| own.window_scale()),
            sack: offer.sack,
            timestamps: offer.timestamp.map(|recent| Timestamps {
                value: half_open.clock.value(now),
                echo: recent,
            }),
            congestion_notification: offer.congestion_notification,
        }
    }

    /// A segment for a half-open connection (RFC 9293 §3.10.7.4, SYN-RECEIVED after a passive OPEN).
    pub(super) fn handle_half_open(
        &mut self,
        now: Instant,
        index: usize,
        hash: u32,
        incoming: &mut Incoming,
        path_mtu: PathMtu<'_>,
    ) {
        let Some((half_open, listener)) = self.half_open.get(index) else {
            return;
        };
        let half_open = *half_open;
        let repr = &incoming.repr;
        let next = half_open.offer.sequence + 1;
        let flags = repr.flags;
        if flags.contains(TcpFlags::SYN)
            && !flags.intersects(TcpFlags::RST | TcpFlags::ACK)
            && repr.sequence == half_open.offer.sequence
        {
            // The same SYN again: it makes no second connection; our answer was lost, or is late.
            self.half_open.set_repeated(index);
            self.shared.counters.retransmitted += 1;
            self.answer_synchronise(now, &half_open, listener);
            return;
        }
        // First: the timestamp, and the sequence number.
        let old = match (half_open.offer.timestamp, repr.options.timestamps) {
            (Some(recent), Some(timestamps)) => options::is_before(timestamps.value, recent),
            (Some(_), None) => !flags.contains(TcpFlags::SYN),
            (None, _) => false,
        };
        let old = old && !flags.contains(TcpFlags::RST);
        let window = u32::from(half_open.window);
        let length = match flags.contains(TcpFlags::RST) {
            true => 0,
            false => incoming.length(),
        };
        let acceptable = repr.sequence.is_within(next, window)
            || (length > 0 && (repr.sequence + (length - 1)).is_within(next, window));
        if old || !acceptable {
            self.shared.counters.paws += u64::from(old);
            self.shared.counters.out_of_window += u64::from(!old);
            if !flags.contains(TcpFlags::RST) {
                self.challenge_half_open(now, index, &half_open);
            }
            return;
        }
        // Second: RST (RFC 5961 §3.2).
        if flags.contains(TcpFlags::RST) {
            if repr.sequence == next {
                self.shared.counters.half_open_dropped += 1;
                self.half_open.remove(index);
            } else {
                self.shared.counters.reset_inexact += 1;
                self.challenge_half_open(now, index, &half_open);
            }
            return;
        }
        // Fourth: SYN. "Return this connection to the LISTEN state"; the peer's next SYN finds it there.
        if flags.contains(TcpFlags::SYN) {
            self.shared.counters.syn_in_connection += 1;
            self.shared.counters.half_open_dropped += 1;
            self.half_open.remove(index);
            return;
        }
        // Fifth: ACK.
        if !flags.contains(TcpFlags::ACK) {
            self.shared.counters.without_acknowledgement += 1;
            return;
        }
        if repr.acknowledgement != half_open.sequence + 1 {
            self.shared.counters.acknowledges_unsent += 1;
            self.send_reset(now, half_open.tuple, repr, incoming.payload.len());
            return;
        }
        // Where there is no room for the connection the entry stays, and the peer's next segment tries again.
        if self.accept_half_open(now, &half_open, hash, listener, incoming, path_mtu) {
            self.half_open.remove(index);
        }
    }

    /// <SEQ=SND.NXT><ACK=RCV.NXT><CTL=ACK>, within the limit of challenges.
    fn challenge_half_open(&mut self, now: Instant, index: usize, half_open: &HalfOpen) {
        let limit = &self.shared.config.challenges;
        let may = self.half_open.challenge(now, index, limit);
        let tuple = half_open.tuple;
        let repr = TcpRepr {
            source_port: tuple.local_port,
            destination_port: tuple.remote_port,
            sequence: half_open.sequence + 1,
            acknowledgement: half_open.offer.sequence + 1,
            flags: TcpFlags::ACK,
            window: half_open.window,
            options: TcpOptions {
                timestamps: half_open.offer.timestamp.map(|recent| Timestamps {
                    value: half_open.clock.value(now),
                    echo: recent,
                }),
                ..TcpOptions::NONE
            },
            ..TcpRepr::default()
        };
        self.send_challenge(may, tuple, repr);
    }

    /// Makes a connection of a half-open one; the segment that acknowledges our SYN is its first. Says whether there was room.
    fn accept_half_open(
        &mut self,
        now: Instant,
        half_open: &HalfOpen,
        hash: u32,
        listener: ListenerHandle,
        incoming: &mut Incoming,
        path_mtu: PathMtu<'_>,
    ) -> bool {
        let tuple = half_open.tuple;
        let Some(known) = self.listeners.get(listener) else {
            return true;
        };
        if known.is_full() || self.free == END {
            self.shared.counters.accept_full += 1;
            return false;
        }
        let opening = Opening {
            tuple,
            options: known.options.connection,
            sequence: half_open.sequence,
            clock: half_open.clock,
            path_mtu: path_mtu(tuple.remote_address),
            interface_mtu: self.interface_mtu,
        };
        let congestion = opening.options.congestion.start();
        let cx = &mut self.shared.context(now);
        let connection = Connection::passive(cx, &opening, half_open, congestion);
        let Some(index) = self.place(connection, hash) else {
            self.shared.counters.table_full += 1;
            return false;
        };
        self.slots[index].waiting = true;
        self.handle_for_connection(now, index, tuple, incoming);
        let established = super::connection_ref(&self.slots, index).is_some_and(|connection| {
            !matches!(connection.state(), TcpState::Closed | TcpState::SynReceived)
        });
        if !established {
            // Its first segment ended it.
            self.release(index);
            return true;
        }
        self.shared.counters.passive_opens += 1;
        if let Some(known) = self.listeners.get_mut(listener) {
            known.waiting += 1;
            known.news = true;
            let before = core::mem::replace(&mut known.tail, index as u32);
            if before == END {
                known.head = index as u32;
            } else if let Some(before) = self.slots.get_mut(before as usize) {
                before.next_accept = index as u32;
            }
        }
        true
    }

    /// What an acknowledgement out of the blue remembers, if it brings back a cookie.
    fn read_cookie(
        &mut self,
        now: Instant,
        tuple: FourTuple,
        repr: &TcpRepr,
        listener: ListenerHandle,
    ) -> Option<HalfOpen> {
        let own = self.listeners.get(listener)?.options.connection;
        let clock = self.numbers.clock(&tuple);
        let (peer, sequence) = (repr.sequence - 1, repr.acknowledgement - 1);
        let timestamps = repr.options.timestamps;
        let echo = timestamps.map(|timestamps| timestamps.echo);
        let Some(cookie) = self.cookies.read(now, &tuple, peer, sequence, echo) else {
            self.shared.counters.cookies_bad += 1;
            return None;
        };
        Some(HalfOpen {
            tuple,
            sequence,
            offer: Offer {
                sequence: peer,
                window: repr.window,
                maximum_segment: cookie.maximum_segment.max(self.shared.config.least_segment),
                window_scale: cookie.window_scale,
                sack: cookie.sack,
                timestamp: timestamps.map(|timestamps| timestamps.value),
                congestion_notification: cookie.congestion_notification,
            },
            window: own.window().min(65_535) as u16,
            clock,
            // Nobody knows when it was sent.
            repeated: true,
            sent_at: now,
        })
    }

    fn take_cookie(
        &mut self,
        now: Instant,
        half_open: &HalfOpen,
        hash: u32,
        listener: ListenerHandle,
        incoming: &mut Incoming,
        path_mtu: PathMtu<'_>,
    ) {
        if self.accept_half_open(now, half_open, hash, listener, incoming, path_mtu) {
            self.shared.counters.cookies_taken += 1;
        }
    }
}
