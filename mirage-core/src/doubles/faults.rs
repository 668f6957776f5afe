//! What can happen to a frame on its way.

use alloc::collections::BTreeMap;
use core::time::Duration;

use super::packet::Packet;
use super::rng::SplitMix64;
use crate::time::Instant;

/// How likely something is.
///
/// ```
/// use mirage_core::doubles::Chance;
///
/// assert_eq!(Chance::percent(20), Chance::per_million(200_000));
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Chance(u32);

impl Chance {
    /// Never.
    pub const NEVER: Self = Self(0);
    /// Each time.
    pub const ALWAYS: Self = Self(1_000_000);

    /// So many times in a million; at most always.
    pub const fn per_million(times: u32) -> Self {
        if times > 1_000_000 {
            Self::ALWAYS
        } else {
            Self(times)
        }
    }

    /// So many times in a hundred; at most always.
    pub const fn percent(times: u32) -> Self {
        Self::per_million(times.saturating_mul(10_000))
    }

    /// Whether it happens this time.
    pub fn happens(self, rng: &mut SplitMix64) -> bool {
        rng.below(1_000_000) < u64::from(self.0)
    }
}

/// What happens to frames on their way. Each is drawn for each frame, independently; the default is a perfect wire.
///
/// ```
/// use core::time::Duration;
/// use mirage_core::doubles::{Chance, Faults};
///
/// let bad = Faults {
///     loss: Chance::percent(10),
///     reordering: Chance::percent(5),
///     delay: Duration::from_millis(20),
///     ..Faults::NONE
/// };
/// # let _ = bad;
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Faults {
    /// The frame vanishes.
    pub loss: Chance,
    /// The frame arrives twice.
    pub duplication: Chance,
    /// The frame is overtaken: it takes [`reordering_delay`](Self::reordering_delay) longer than the others.
    pub reordering: Chance,
    /// Bits of the frame are flipped: [`flipped_bits`](Self::flipped_bits) of them.
    pub corruption: Chance,
    /// The frame loses some or all of its bytes at the end.
    pub truncation: Chance,
    /// The frame gains up to [`trailing_bytes`](Self::trailing_bytes) random bytes at the end.
    pub trailing: Chance,
    /// How long every frame takes.
    pub delay: Duration,
    /// Up to how much longer a frame takes, drawn for each. Jitter alone doesn't reorder: no frame overtakes.
    pub jitter: Duration,
    /// How much longer a reordered frame takes.
    pub reordering_delay: Duration,
    /// How many bits of a corrupted frame are flipped, at places drawn anew for each. With one, the Internet checksum
    /// notices it wherever it covers the place.
    pub flipped_bits: u8,
    /// The most bytes that are put behind a frame.
    pub trailing_bytes: u16,
}

impl Faults {
    /// A perfect wire without delay.
    pub const NONE: Self = Self {
        loss: Chance::NEVER,
        duplication: Chance::NEVER,
        reordering: Chance::NEVER,
        corruption: Chance::NEVER,
        truncation: Chance::NEVER,
        trailing: Chance::NEVER,
        delay: Duration::ZERO,
        jitter: Duration::ZERO,
        reordering_delay: Duration::from_millis(1),
        flipped_bits: 1,
        trailing_bytes: 46,
    };
}

impl Default for Faults {
    fn default() -> Self {
        Self::NONE
    }
}

/// How many frames had what happen to them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct FaultCounters {
    /// Frames that came to the line.
    pub entered: u64,
    /// Frames that left it at its end, duplicates among them.
    pub left: u64,
    /// Lost by [`Faults::loss`].
    pub lost: u64,
    /// Copies made by [`Faults::duplication`].
    pub duplicated: u64,
    /// Held back by [`Faults::reordering`].
    pub reordered: u64,
    /// With bits flipped.
    pub corrupted: u64,
    /// Cut short.
    pub truncated: u64,
    /// With bytes added.
    pub trailing: u64,
    /// Dropped since as many as the line holds were on their way.
    pub overflowed: u64,
}

/// A line with faults: a bounded queue in the order of arrival.
#[derive(Debug)]
pub(super) struct Line {
    pub(super) faults: Faults,
    pub(super) counters: FaultCounters,
    rng: SplitMix64,
    capacity: usize,
    on_their_way: BTreeMap<(Instant, u64), Arrival>,
    sequence: u64,
    /// When the latest frame that kept its place arrives.
    latest: Instant,
}

/// A packet, and whether its bytes are those that were sent.
#[derive(Debug)]
pub(super) struct Arrival {
    pub(super) packet: Packet,
    pub(super) intact: bool,
}

impl Line {
    pub(super) fn new(faults: Faults, capacity: usize, rng: SplitMix64) -> Self {
        Self {
            faults,
            counters: FaultCounters::default(),
            rng,
            capacity,
            on_their_way: BTreeMap::new(),
            sequence: 0,
            latest: Instant::ZERO,
        }
    }

    /// A packet comes to the line at `now`.
    pub(super) fn enter(&mut self, now: Instant, packet: Packet) {
        self.counters.entered += 1;
        let faults = self.faults;
        if faults.loss.happens(&mut self.rng) {
            self.counters.lost += 1;
            return;
        }
        if faults.duplication.happens(&mut self.rng) {
            self.counters.duplicated += 1;
            self.send(now, packet.clone());
        }
        self.send(now, packet);
    }

    /// The next packet that has arrived by `now`.
    pub(super) fn leave(&mut self, now: Instant) -> Option<Arrival> {
        let first = self.on_their_way.first_entry()?;
        if first.key().0 > now {
            return None;
        }
        self.counters.left += 1;
        Some(first.remove())
    }

    /// When the next packet arrives.
    pub(super) fn next_arrival(&self) -> Option<Instant> {
        self.on_their_way
            .first_key_value()
            .map(|(&(due, _), _)| due)
    }

    pub(super) fn is_full(&self) -> bool {
        self.on_their_way.len() >= self.capacity
    }

    fn send(&mut self, now: Instant, packet: Packet) {
        if self.is_full() {
            self.counters.overflowed += 1;
            return;
        }
        let mut arrival = Arrival {
            packet,
            intact: true,
        };
        self.damage(&mut arrival);
        let jitter = u64::try_from(self.faults.jitter.as_nanos()).unwrap_or(u64::MAX);
        let jitter = Duration::from_nanos(self.rng.below(jitter.saturating_add(1)));
        let mut due = now
            .saturating_add(self.faults.delay)
            .saturating_add(jitter)
            .max(self.latest);
        if self.faults.reordering.happens(&mut self.rng) {
            self.counters.reordered += 1;
            due = due.saturating_add(self.faults.reordering_delay);
        } else {
            self.latest = due;
        }
        self.sequence += 1;
        self.on_their_way.insert((due, self.sequence), arrival);
    }

    fn damage(&mut self, arrival: &mut Arrival) {
        let (faults, rng, counters) = (self.faults, &mut self.rng, &mut self.counters);
        let corrupted = faults.corruption.happens(rng);
        let truncated = faults.truncation.happens(rng);
        let trailing = faults.trailing.happens(rng);
        if !(corrupted || truncated || trailing) {
            return;
        }
        arrival.intact = false;
        // What is damaged went over a wire: the device that put it there had completed the checksum.
        arrival.packet.complete_checksum();
        let bytes = &mut arrival.packet.bytes;
        if corrupted && !bytes.is_empty() {
            counters.corrupted += 1;
            for _ in 0..faults.flipped_bits {
                let bit = rng.below(bytes.len() as u64 * 8) as usize;
                bytes[bit / 8] ^= 1 << (bit % 8);
            }
        }
        if truncated {
            counters.truncated += 1;
            bytes.truncate(rng.below(bytes.len() as u64) as usize);
        }
        if trailing {
            counters.trailing += 1;
            for _ in 0..=rng.below(u64::from(faults.trailing_bytes.max(1))) {
                bytes.push(rng.next() as u8);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;
    use crate::frame::FrameMetadata;
    use std::vec::Vec;

    fn packet(number: u32) -> Packet {
        let mut bytes = std::vec![0xaa; 60];
        bytes[..4].copy_from_slice(&number.to_be_bytes());
        Packet {
            bytes,
            metadata: FrameMetadata::NONE,
        }
    }

    fn run(faults: Faults, count: u32, seed: u64) -> (Vec<(Instant, Vec<u8>)>, FaultCounters) {
        let mut line = Line::new(faults, usize::MAX, SplitMix64::new(seed));
        for number in 0..count {
            line.enter(Instant::from_micros(u64::from(number) * 10), packet(number));
        }
        let mut out = Vec::new();
        while let Some(at) = line.next_arrival() {
            assert!(
                at == Instant::ZERO
                    || line
                        .leave(at.saturating_sub(Duration::from_nanos(1)))
                        .is_none()
            );
            out.push((at, line.leave(at).unwrap().packet.bytes));
        }
        let FaultCounters {
            entered,
            left,
            lost,
            duplicated,
            overflowed,
            ..
        } = line.counters;
        assert_eq!(
            entered + duplicated,
            left + lost + overflowed,
            "a frame vanished"
        );
        (out, line.counters)
    }

    #[test]
    fn a_perfect_wire_changes_nothing() {
        let (out, counters) = run(Faults::NONE, 100, 1);
        assert_eq!(out.len(), 100);
        for (number, (at, bytes)) in (0..).zip(out) {
            assert_eq!(at, Instant::from_micros(u64::from(number) * 10));
            assert_eq!(bytes, packet(number).bytes);
        }
        assert_eq!(
            counters,
            FaultCounters {
                entered: 100,
                left: 100,
                ..FaultCounters::default()
            }
        );
    }

    #[test]
    fn each_fault_happens_as_often_as_asked_and_is_counted() {
        let chance = Chance::percent(20);
        let near = |count: u64| (1_800..2_200).contains(&count);
        let (out, counters) = run(
            Faults {
                loss: chance,
                ..Faults::NONE
            },
            10_000,
            1,
        );
        assert!(near(counters.lost) && out.len() as u64 == 10_000 - counters.lost);
        let (out, counters) = run(
            Faults {
                duplication: chance,
                ..Faults::NONE
            },
            10_000,
            2,
        );
        assert!(near(counters.duplicated) && out.len() as u64 == 10_000 + counters.duplicated);
        let (out, counters) = run(
            Faults {
                corruption: chance,
                ..Faults::NONE
            },
            10_000,
            3,
        );
        let flipped = |bytes: &[u8], number: u32| -> u32 {
            bytes
                .iter()
                .zip(packet(number).bytes)
                .map(|(a, b)| (a ^ b).count_ones())
                .sum()
        };
        let flips: u32 = (0..)
            .zip(&out)
            .map(|(number, (_, bytes))| flipped(bytes, number))
            .sum();
        assert!(near(counters.corrupted) && u64::from(flips) == counters.corrupted);
        let (out, counters) = run(
            Faults {
                truncation: chance,
                ..Faults::NONE
            },
            10_000,
            4,
        );
        let short = out.iter().filter(|(_, bytes)| bytes.len() < 60).count() as u64;
        assert!(near(counters.truncated) && short == counters.truncated);
        let (out, counters) = run(
            Faults {
                trailing: chance,
                ..Faults::NONE
            },
            10_000,
            5,
        );
        let long = out
            .iter()
            .filter(|(_, bytes)| (61..=106).contains(&bytes.len()))
            .count() as u64;
        assert!(near(counters.trailing) && long == counters.trailing);
        let (out, counters) = run(
            Faults {
                reordering: chance,
                ..Faults::NONE
            },
            10_000,
            6,
        );
        let late = (0..10_000).filter(|&number| {
            out.iter().any(|(at, bytes)| {
                *bytes == packet(number).bytes && *at > Instant::from_micros(u64::from(number) * 10)
            })
        });
        assert!(near(counters.reordered));
        assert_eq!(late.take(10).count(), 10);
    }

    #[test]
    fn jitter_alone_never_reorders() {
        let faults = Faults {
            delay: Duration::from_millis(3),
            jitter: Duration::from_millis(5),
            ..Faults::NONE
        };
        let (out, _) = run(faults, 1_000, 9);
        for (number, (at, bytes)) in (0..).zip(&out) {
            assert_eq!(*bytes, packet(number).bytes);
            assert!(*at >= Instant::from_micros(u64::from(number) * 10) + Duration::from_millis(3));
        }
        assert!(out.is_sorted_by_key(|(at, _)| *at));
    }

    #[test]
    fn the_same_seed_gives_the_same_run() {
        let chance = Chance::percent(30);
        let faults = Faults {
            loss: chance,
            duplication: chance,
            reordering: chance,
            corruption: chance,
            truncation: chance,
            trailing: chance,
            jitter: Duration::from_millis(1),
            ..Faults::NONE
        };
        assert_eq!(run(faults, 500, 42), run(faults, 500, 42));
        assert_ne!(run(faults, 500, 42), run(faults, 500, 43));
    }

    #[test]
    fn a_full_line_drops_and_counts() {
        let mut line = Line::new(Faults::NONE, 2, SplitMix64::new(0));
        for number in 0..5 {
            line.enter(Instant::ZERO, packet(number));
        }
        assert_eq!(line.counters.overflowed, 3);
    }
}
