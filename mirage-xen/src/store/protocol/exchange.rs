//! A message that waits to be sent, or for its reply; and the places that it may come from.

/// Requests that can be outstanding at a time, at most: the small ones' places. There is one more, for large ones.
pub(in crate::store) const MAXIMUM_REQUESTS: usize = 127;
/// Watches, at most.
pub(in crate::store) const MAXIMUM_WATCHES: usize = 64;
/// Transactions that can be open at a time, at most.
pub(in crate::store) const MAXIMUM_TRANSACTIONS: usize = 64;

/// Places of all kinds.
pub(super) const PLACES: usize = 256;
const FIRST_WATCH: u8 = 128;
const FIRST_TRANSACTION: u8 = 192;

/// Who a message is from. Each has one message outstanding at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    Request(usize),
    Watch(usize),
    Transaction(usize),
}

impl Place {
    /// The low byte of the ids of its messages.
    pub(super) fn code(self) -> u8 {
        // Indices are below the bounds above: the storage sees to it.
        match self {
            Self::Request(index) => index as u8,
            Self::Watch(index) => FIRST_WATCH + index as u8,
            Self::Transaction(index) => FIRST_TRANSACTION + index as u8,
        }
    }

    pub(super) fn from_code(code: u8) -> Self {
        match code {
            ..FIRST_WATCH => Self::Request(code.into()),
            FIRST_WATCH..FIRST_TRANSACTION => Self::Watch((code - FIRST_WATCH).into()),
            FIRST_TRANSACTION.. => Self::Transaction((code - FIRST_TRANSACTION).into()),
        }
    }
}

/// How far a message is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Stage {
    /// There is none.
    #[default]
    Idle,
    /// In the queue; xenstored has seen nothing of it.
    Queued,
    /// Xenstored may have seen a part of it: the rest must follow.
    Sending,
    /// Xenstored may have answered.
    Sent,
}

/// A message of a place's, of which one is outstanding at a time.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Exchange {
    pub(super) stage: Stage,
    /// The last id that it had; zero before the first.
    pub(super) id: u32,
    /// How many replies came one after the other before this was sent, each to a request sent after the one before,
    /// and one.
    pub(super) depth: u64,
}

impl Exchange {
    /// Before the first message.
    pub(super) const NONE: Self = Self {
        stage: Stage::Idle,
        id: 0,
        depth: 0,
    };

    /// Whether xenstored may know of it, and did not answer.
    pub(super) fn is_in_flight(self) -> bool {
        matches!(self.stage, Stage::Sending | Stage::Sent)
    }
}

/// The ids: a number of 24 bits that grows with each message, and the place. Unique among what is outstanding, and
/// for the 16 million messages after it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sequence(u32);

impl Sequence {
    const MASK: u32 = 0x00FF_FFFF;

    pub(super) const fn new() -> Self {
        Self(0)
    }

    /// The next id of a place. Never zero, which is the id of watch events.
    pub(super) fn next(&mut self, place: Place) -> u32 {
        self.0 = (self.0 + 1) & Self::MASK;
        if self.0 == 0 {
            self.0 = 1;
        }
        self.0 << 8 | u32::from(place.code())
    }

    /// The place that an id is of.
    pub(super) fn place(id: u32) -> Place {
        Place::from_code(id as u8)
    }

    /// How many ids ago this one was given.
    pub(super) fn age(self, id: u32) -> u32 {
        self.0.wrapping_sub(id >> 8) & Self::MASK
    }
}

/// A set of places.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct PlaceSet([u64; PLACES / 64]);

impl PlaceSet {
    pub(super) const fn new() -> Self {
        Self([0; PLACES / 64])
    }

    pub(super) fn insert(&mut self, place: Place) {
        let code = place.code();
        self.0[usize::from(code / 64)] |= 1 << (code % 64);
    }

    /// Takes one out.
    pub(super) fn pop(&mut self) -> Option<Place> {
        let (number, word) = (0_u8..).zip(&mut self.0).find(|(_, word)| **word != 0)?;
        let bit = word.trailing_zeros() as u8;
        *word &= *word - 1;
        Some(Place::from_code(number * 64 + bit))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_and_places_go_both_ways() {
        for code in 0..=u8::MAX {
            assert_eq!(Place::from_code(code).code(), code);
        }
    }

    #[test]
    fn ids_are_never_zero_and_wrap() {
        let mut sequence = Sequence(Sequence::MASK - 1);
        let place = Place::Request(0);
        let last = sequence.next(place);
        assert_eq!(last, 0xFFFF_FF00);
        assert_eq!(sequence.next(place), 0x0000_0100);
        // Zero was skipped.
        assert_eq!(sequence.age(last), 2);
        assert_eq!(sequence.next(Place::Watch(3)), 0x0000_0283);
        assert_eq!(Sequence::place(0x0000_0283), Place::Watch(3));
    }

    #[test]
    fn a_set_gives_back_what_it_was_given() {
        let mut set = PlaceSet::new();
        for code in [255, 0, 63, 64, 200] {
            set.insert(Place::from_code(code));
            set.insert(Place::from_code(code));
        }
        let popped = core::iter::from_fn(|| set.pop()).map(Place::code);
        assert!(popped.eq([0, 63, 64, 200, 255]));
    }
}
