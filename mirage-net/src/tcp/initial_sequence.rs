//! Initial sequence numbers (RFC 6528), and where each four-tuple's timestamps begin (RFC 7323 §7.1).

use mirage_core::Instant;

use super::SequenceNumber;
use super::connection::options::TimestampClock;
use super::four_tuple::FourTuple;
use crate::random::{HashKey, Random};

/// Bytes that tell the purposes of one key apart.
const BEGINNING: u8 = 1;
const STEP: u8 = 2;

/// ISN = M + F(localip, localport, remoteip, remoteport, secretkey): a clock of four microseconds a tick, from
/// a point that is secret and different for each four-tuple (RFC 6528 §3). So the numbers of one
/// connection say nothing of another's, while those of one four-tuple go on.
pub(crate) struct InitialSequence {
    key: HashKey,
}

impl InitialSequence {
    pub(crate) fn new(random: &mut Random) -> Self {
        InitialSequence {
            key: HashKey::new(random),
        }
    }

    /// The number for a connection that begins now, and the clock of its timestamps: both halves of what one pseudo-random function
    /// gives, of which neither tells anything of the other.
    pub(crate) fn number_and_clock(
        &self,
        now: Instant,
        tuple: &FourTuple,
    ) -> (SequenceNumber, TimestampClock) {
        let beginning = self.beginning(tuple);
        let number = SequenceNumber::new(beginning as u32) + (now.as_micros() / 4) as u32;
        (number, clock(beginning))
    }

    /// `number`, or one for a connection that takes the place of an earlier one, of which segments up to `last` may still be on their
    /// way: behind all of them (RFC 9293 §3.6.1, MUST-13's exception; RFC 1122 §4.2.2.13).
    pub(crate) fn number_after(
        &self,
        now: Instant,
        tuple: &FourTuple,
        number: SequenceNumber,
        last: SequenceNumber,
    ) -> SequenceNumber {
        if number.is_after(last + 65_535) {
            return number;
        }
        let step = tuple.encoded(STEP, now.as_nanos(), |bytes| self.key.hash(bytes)) as u32;
        last + 65_536 + step % (1 << 20)
    }

    /// The clock of a four-tuple's timestamps.
    pub(crate) fn clock(&self, tuple: &FourTuple) -> TimestampClock {
        clock(self.beginning(tuple))
    }

    fn beginning(&self, tuple: &FourTuple) -> u64 {
        tuple.encoded(BEGINNING, 0, |bytes| self.key.hash(bytes))
    }
}

fn clock(beginning: u64) -> TimestampClock {
    TimestampClock {
        offset: (beginning >> 32) as u32,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tcp::four_tuple::tests::tuple;
    use std::collections::BTreeSet;

    fn numbers() -> InitialSequence {
        InitialSequence::new(&mut Random::fixed(3))
    }

    impl InitialSequence {
        fn number(&self, now: Instant, tuple: &FourTuple) -> SequenceNumber {
            self.number_and_clock(now, tuple).0
        }
    }

    /// RFC 6528 §3: one four-tuple's numbers go on with the clock.
    #[test]
    fn rfc6528_one_four_tuple_goes_on_with_the_clock() {
        let tuple = tuple(80, [10, 0, 0, 2], 4_000);
        let first = numbers().number(Instant::from_secs(1), &tuple);
        let second = numbers().number(Instant::from_secs(2), &tuple);
        assert_eq!(second.distance_from(first), 250_000);
    }

    /// "State of the generator recovered from two connections."
    #[test]
    fn two_connections_do_not_tell_of_a_third() {
        let mut distances = BTreeSet::new();
        let first = numbers().number(Instant::ZERO, &tuple(80, [10, 0, 0, 2], 1_000));
        for port in 1_001..1_200 {
            let next = numbers().number(Instant::ZERO, &tuple(80, [10, 0, 0, 2], port));
            distances.insert(next.distance_from(first) >> 16);
        }
        assert!(distances.len() > 190);
    }

    /// RFC 7323 §7.1: each four-tuple's timestamps begin somewhere else, and nowhere that its sequence numbers tell.
    #[test]
    fn rfc7323_7_1_timestamps_begin_elsewhere_for_each() {
        let mut offsets = BTreeSet::new();
        for port in 1_000..1_200 {
            let tuple = tuple(80, [10, 0, 0, 2], port);
            let (number, clock) = numbers().number_and_clock(Instant::ZERO, &tuple);
            assert_eq!(clock.offset, numbers().clock(&tuple).offset);
            offsets.insert(clock.offset >> 16);
            offsets.insert(clock.offset.wrapping_sub(number.get()) >> 16);
        }
        assert!(offsets.len() > 390, "{}", offsets.len());
    }

    #[test]
    fn rfc1122_4_2_2_13_a_successor_begins_behind_its_predecessor() {
        let tuple = tuple(80, [10, 0, 0, 2], 4_000);
        let usual = numbers().number(Instant::ZERO, &tuple);
        for ahead in [0u32, 1, 65_535, 65_536, 1 << 20, 1 << 30] {
            let last = usual + ahead;
            let number = numbers().number_after(Instant::ZERO, &tuple, usual, last);
            assert!(number.is_after(last));
        }
        let last = usual - 70_000;
        assert_eq!(
            numbers().number_after(Instant::ZERO, &tuple, usual, last),
            usual
        );
    }
}
