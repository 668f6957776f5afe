//! A sender and a receiver, a path between them, and a clock that jumps from event to event.

use std::boxed::Box;
use std::collections::BTreeMap;
use std::vec::Vec;

use super::*;
use crate::tcp::send_queue::Transmission;
use crate::tcp::testing::table;
use crate::tcp::{ReceiveLimits, ReceiveQueue, Refused};
use crate::wire::tcp::SackBlocks;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

pub(super) const SEGMENT: u32 = 1_448;
pub(super) const FIRST: SequenceNumber = SequenceNumber::new(u32::MAX - 100_000);
/// The stream repeats itself after so many octets.
const PERIOD: usize = 64 * 1_024;

/// What becomes of a segment on its way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    Arrives,
    IsLost,
    /// It arrives later by this.
    IsLate(Duration),
    /// It arrives, and once more.
    Twice,
}

/// What becomes of each segment, counted from 0.
type SegmentFate = Box<dyn FnMut(usize, &Sent) -> Fate>;

/// A segment that was sent, as the tests see it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Sent {
    pub(super) at: Instant,
    /// From the first octet of the stream on.
    pub(super) offset: u32,
    pub(super) octets: u32,
    pub(super) fin: bool,
    pub(super) again: bool,
}

enum Event {
    Segment {
        sequence: SequenceNumber,
        payload: Frame,
        fin: bool,
        timestamp: Instant,
    },
    Acknowledgement {
        to: SequenceNumber,
        window: u32,
        sack: SackBlocks,
        echo: Instant,
        duplicate: bool,
        congested: bool,
    },
    /// The receiver's delayed acknowledgement.
    Delayed,
}

pub(super) struct Path {
    pub(super) now: Instant,
    pub(super) table: SegmentTable<'static>,
    pub(super) sender: Sender,
    pub(super) receiver: ReceiveQueue,
    pub(super) sent: Vec<Sent>,
    pub(super) outcomes: Vec<AcknowledgementOutcome>,
    pub(super) timeouts: Vec<LossTimeout>,
    /// One way.
    pub(super) delay: Duration,
    /// Octets a second, of a link with a queue of so many octets before it; none is infinitely fast.
    pub(super) bottleneck: Option<(u64, u64)>,
    pub(super) window: u32,
    pub(super) timestamps: bool,
    pub(super) delayed_acknowledgements: bool,
    /// What becomes of each segment, and of each acknowledgement, counted from 0.
    pub(super) fate: SegmentFate,
    pub(super) acknowledgement_fate: Box<dyn FnMut(usize) -> Fate>,
    /// Acknowledgements from this one on, up to that, echo a congestion mark.
    pub(super) marks: core::ops::Range<usize>,
    /// The application gives so much more.
    pub(super) supply: u64,
    pub(super) received: u64,
    pub(super) finish: bool,
    pool: &'static Pool,
    source: mirage_core::pool::StaticRange,
    given: u64,
    events: BTreeMap<(Instant, u64), Event>,
    number: u64,
    acknowledgements: usize,
    link_free: Instant,
    owed: u32,
    recent: Instant,
    last_acknowledged: SequenceNumber,
    last_window: u32,
}

impl Path {
    pub(super) fn new(round_trip: Duration) -> Self {
        let pool = Pool::leak(4, 2_048).unwrap();
        let bytes: Vec<u8> = (0..PERIOD).map(|at| (at ^ (at >> 8)) as u8).collect();
        let mut sender = Sender::new(
            FIRST,
            SEGMENT,
            AnyCongestion::default(),
            RoundTripConfig::DEFAULT,
        );
        sender.set_sack(true);
        Path {
            now: Instant::from_secs(1),
            table: table(8_192),
            sender,
            receiver: ReceiveQueue::new(FIRST),
            sent: Vec::new(),
            outcomes: Vec::new(),
            timeouts: Vec::new(),
            delay: round_trip / 2,
            bottleneck: None,
            window: 1 << 20,
            timestamps: true,
            delayed_acknowledgements: true,
            fate: Box::new(|_, _| Fate::Arrives),
            acknowledgement_fate: Box::new(|_| Fate::Arrives),
            marks: 0..0,
            supply: 0,
            received: 0,
            finish: false,
            pool,
            source: pool.register_static(bytes.leak()).unwrap(),
            given: 0,
            events: BTreeMap::new(),
            number: 0,
            acknowledgements: 0,
            link_free: Instant::ZERO,
            owed: 0,
            recent: Instant::ZERO,
            last_acknowledged: FIRST,
            last_window: 1 << 20,
        }
    }

    /// Losses of both directions, at random but always the same.
    pub(super) fn lose(&mut self, per_mille: u32, seed: u64) {
        let mut data = ChaCha8Rng::seed_from_u64(seed);
        let mut back = ChaCha8Rng::seed_from_u64(seed + 1);
        let fate = move |rng: &mut ChaCha8Rng| {
            if rng.next_u32() % 1_000 < per_mille {
                Fate::IsLost
            } else {
                Fate::Arrives
            }
        };
        self.fate = Box::new(move |_, _| fate(&mut data));
        self.acknowledgement_fate = Box::new(move |_| fate(&mut back));
    }

    /// The segments with these numbers are lost, counted from 0, those that are sent again included.
    pub(super) fn lose_these(&mut self, numbers: &'static [usize]) {
        self.fate = Box::new(move |number, _| {
            if numbers.contains(&number) {
                Fate::IsLost
            } else {
                Fate::Arrives
            }
        });
    }

    fn schedule(&mut self, at: Instant, event: Event) {
        self.number += 1;
        self.events.insert((at, self.number), event);
    }

    /// Octets that arrived in order, a second.
    pub(super) fn goodput(&self, since: Instant) -> f64 {
        self.received as f64 / (self.now - since).as_secs_f64()
    }

    /// Lets everything happen up to `end`, or until nothing happens any more.
    pub(super) fn run(&mut self, end: Instant) {
        loop {
            self.feed();
            self.transmit();
            let event = self.events.first_key_value().map(|((at, _), _)| *at);
            let next = match (event, self.sender.poll_timeout()) {
                (Some(event), Some(timeout)) => event.min(timeout),
                (Some(at), None) | (None, Some(at)) => at,
                (None, None) => return,
            };
            if next > end {
                self.now = end;
                return;
            }
            self.now = self.now.max(next);
            if event == Some(next) {
                let (_, event) = self.events.pop_first().unwrap();
                self.handle(event);
            } else {
                let room = self.room();
                let fired = self.sender.handle_timeout(self.now, &mut self.table, room);
                assert_ne!(fired, LossTimeout::None, "a deadline that is none");
                self.timeouts.push(fired);
            }
        }
    }

    pub(super) fn run_for(&mut self, duration: Duration) {
        self.run(self.now + duration);
    }

    /// Until all is acknowledged, at most a day: without timestamps a time-out stays backed off while all is sent again (Karn).
    pub(super) fn run_to_the_end(&mut self) {
        self.run_for(Duration::from_secs(86_400));
        assert_eq!(self.supply, 0);
        assert_eq!(
            self.sender.queue().outstanding(),
            0,
            "something is outstanding"
        );
        assert!(!self.sender.queue().has_unsent());
        assert_eq!(self.sender.poll_timeout(), None);
        let in_order = self.receiver.next().distance_from(FIRST);
        assert_eq!(in_order, self.sender.queue().end().distance_from(FIRST));
        assert_eq!(self.table.free(), self.table.capacity());
    }

    /// The application fills the queue: a window and some more.
    fn feed(&mut self) {
        while self.supply > 0 && self.sender.queue().octets() < self.window + 64 * SEGMENT {
            let start = (self.given % PERIOD as u64) as usize;
            let count = (PERIOD - start).min(4_096).min(self.supply as usize);
            let segment = self.source.slice(start..start + count).unwrap();
            if self
                .sender
                .queue_mut()
                .push(&mut self.table, segment)
                .is_err()
            {
                break;
            }
            self.given += count as u64;
            self.supply -= count as u64;
        }
        if self.supply == 0 && self.finish {
            self.sender.queue_mut().finish();
        }
    }

    /// What the peer's window has room for.
    fn room(&self) -> u32 {
        let edge = self.last_acknowledged + self.last_window;
        let next = self.sender.queue().next();
        if next.is_before(edge) {
            edge.distance_from(next)
        } else {
            0
        }
    }

    fn transmit(&mut self) {
        loop {
            let mut frame = Frame::new();
            let Some(sent) = self
                .sender
                .retransmit(self.now, &mut self.table, SEGMENT, &mut frame)
            else {
                break;
            };
            self.leave(sent, frame);
        }
        loop {
            let room = self.room();
            let due = self.sender.queue().unsent_octets().min(SEGMENT);
            let fits = due.min(room).min(self.sender.allowance(self.now));
            // Whole segments alone, as the avoidance of silly windows has it; or the last.
            if fits < due {
                break;
            }
            let mut frame = Frame::new();
            let Some(sent) =
                self.sender
                    .transmit(self.now, &mut self.table, fits, room, &mut frame)
            else {
                break;
            };
            self.leave(sent, frame);
        }
    }

    fn leave(&mut self, transmission: Transmission, frame: Frame) {
        assert_eq!(frame.len(), transmission.octets as usize);
        assert!(transmission.octets <= SEGMENT);
        let sent = Sent {
            at: self.now,
            offset: transmission.sequence.distance_from(FIRST),
            octets: transmission.octets,
            fin: transmission.fin,
            again: transmission.retransmission,
        };
        let number = self.sent.len();
        self.sent.push(sent);
        let mut at = self.now;
        if let Some((rate, queue)) = self.bottleneck {
            let wait = self.link_free.saturating_duration_since(self.now);
            let queued = wait.as_nanos() as u64 * rate / 1_000_000_000;
            let octets = u64::from(sent.octets) + 52;
            if queued + octets > queue {
                return;
            }
            self.link_free =
                self.link_free.max(self.now) + Duration::from_nanos(octets * 1_000_000_000 / rate);
            at = self.link_free;
        }
        let at = at + self.delay;
        let again = match (self.fate)(number, &sent) {
            Fate::IsLost => return,
            Fate::Arrives => Vec::from([at]),
            Fate::IsLate(late) => Vec::from([at + late]),
            Fate::Twice => Vec::from([at, at]),
        };
        for at in again {
            let mut payload = Frame::new();
            for segment in frame.segments() {
                payload.push(segment.share().unwrap()).unwrap();
            }
            self.schedule(
                at,
                Event::Segment {
                    sequence: transmission.sequence,
                    payload,
                    fin: transmission.fin,
                    timestamp: sent.at,
                },
            );
        }
    }

    fn handle(&mut self, event: Event) {
        match event {
            Event::Segment {
                sequence,
                payload,
                fin,
                timestamp,
            } => self.receive(sequence, payload, fin, timestamp),
            Event::Delayed => {
                if self.owed > 0 {
                    self.acknowledge(false);
                }
            }
            Event::Acknowledgement {
                to,
                window,
                sack,
                echo,
                duplicate,
                congested,
            } => {
                if to.is_before(self.sender.queue().unacknowledged()) {
                    return;
                }
                let duplicate =
                    duplicate && to == self.last_acknowledged && window == self.last_window;
                self.last_acknowledged = to;
                self.last_window = window;
                let outcome = self.sender.handle_acknowledgement(
                    self.now,
                    &mut self.table,
                    &Acknowledgement {
                        acknowledgement: to,
                        window,
                        sack: &sack,
                        timestamp_echo: self.timestamps.then_some(echo),
                        duplicate,
                        ecn_echo: congested,
                    },
                );
                self.outcomes.push(outcome);
            }
        }
    }

    fn receive(&mut self, sequence: SequenceNumber, payload: Frame, fin: bool, timestamp: Instant) {
        // RFC 7323 §4.3, (2): of the segment that the last acknowledgement waits for.
        if sequence.is_at_or_before(self.receiver.next()) && timestamp > self.recent {
            self.recent = timestamp;
        }
        let arrival = self.receiver.handle_segment(
            &mut self.table,
            self.pool,
            &ReceiveLimits { pages: 1 << 20 },
            self.window,
            sequence,
            payload,
            fin,
        );
        // After the first slow start a queue that overflows may leave more gaps than are kept.
        assert!(matches!(
            arrival.refused,
            None | Some(Refused::TooManyRanges)
        ));
        self.read();
        self.owed += 1;
        if arrival.acknowledge_now
            || arrival.fin
            || self.owed >= 2
            || !self.delayed_acknowledgements
        {
            self.acknowledge(arrival.advanced == 0);
        } else {
            self.schedule(self.now + Duration::from_millis(40), Event::Delayed);
        }
    }

    /// The application reads, and compares.
    fn read(&mut self) {
        while let Some(segment) = self.receiver.receive(&mut self.table) {
            // No piece was given that crosses the period.
            let at = (self.received % PERIOD as u64) as usize;
            let expected = &self.source.bytes()[at..at + segment.len()];
            assert!(segment[..] == *expected, "at {}", self.received);
            self.received += segment.len() as u64;
        }
    }

    fn acknowledge(&mut self, duplicate: bool) {
        self.owed = 0;
        let number = self.acknowledgements;
        self.acknowledgements += 1;
        let late = match (self.acknowledgement_fate)(number) {
            Fate::IsLost => return,
            Fate::IsLate(late) => late,
            Fate::Arrives | Fate::Twice => Duration::ZERO,
        };
        let sack = self.receiver.sack_blocks(&self.table, 3);
        let event = Event::Acknowledgement {
            to: self.receiver.next(),
            window: self.window,
            sack,
            // To a tick of a millisecond.
            echo: Instant::from_millis(self.recent.as_millis()),
            duplicate,
            congested: self.marks.contains(&number),
        };
        self.schedule(self.now + self.delay + late, event);
    }
}
