//! Rings, grants and xenstore's client under a peer that does what the input says: for fuzz targets and property tests.
//!
//! What a target needs for its life (memory that a peer reaches is never given back) is made once: [`RingPlace`],
//! [`GrantPlace`].

mod grants;
mod rings;

pub use grants::GrantPlace;
pub use rings::RingPlace;

#[cfg(all(feature = "boot", target_arch = "x86_64"))]
pub use crate::boot::fuzzing::start;
pub use crate::store::fuzzing::store;

/// Bytes of the input, from its beginning.
pub(crate) struct Input<'a>(pub(crate) &'a [u8]);

impl<'a> Input<'a> {
    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (taken, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*taken)
    }

    pub(crate) fn byte(&mut self) -> Option<u8> {
        self.take::<1>().map(|[byte]| byte)
    }

    /// A length below or at `most`, and as many bytes, or what is left.
    pub(crate) fn bytes(&mut self, most: usize) -> Option<&'a [u8]> {
        let length = usize::from(self.byte()?) % (most + 1);
        let (taken, rest) = self.0.split_at(length.min(self.0.len()));
        self.0 = rest;
        Some(taken)
    }

    fn number(&mut self) -> Option<u32> {
        self.take().map(u32::from_be_bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::thread_local;

    thread_local! {
        static RINGS: RingPlace = RingPlace::new();
        static GRANTS: GrantPlace = GrantPlace::new();
    }

    proptest! {
        #[test]
        fn a_hostile_back_end_gets_errors_alone(
            input in proptest::collection::vec(any::<u8>(), 0..1_500)
        ) {
            RINGS.with(|place| place.front(&input));
        }

        #[test]
        fn a_hostile_front_end_gets_errors_alone(
            input in proptest::collection::vec(any::<u8>(), 0..1_500)
        ) {
            RINGS.with(|place| place.back(&input));
        }

        #[test]
        fn others_reach_what_is_lent_and_nothing_else(
            input in proptest::collection::vec(any::<u8>(), 0..200)
        ) {
            GRANTS.with(|place| place.run(&input));
        }
    }
}
