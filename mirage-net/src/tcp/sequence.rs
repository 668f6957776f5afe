//! Sequence numbers (RFC 9293 §3.4): a circle of 2³², where "before" is a matter of the shorter way.

use core::fmt;
use core::ops::{Add, AddAssign, Sub};

/// A sequence number: arithmetic is modulo 2³², comparison by the sign of the difference.
///
/// There is no `Ord`, since "before" is not transitive on a circle: it means what it says only for
/// numbers less than 2³¹ apart, which the window of a connection (at most 2³⁰, RFC 7323 §2.3) ensures.
/// Of two numbers exactly 2³¹ apart each is before the other, and none is after.
///
/// ```
/// use mirage_net::tcp::SequenceNumber;
/// let last = SequenceNumber::new(u32::MAX);
/// assert!(last.is_before(last + 1));
/// assert_eq!((last + 3).distance_from(last), 3);
/// assert!((last + 3).is_within(last, 4) && !(last + 4).is_within(last, 4));
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct SequenceNumber(u32);

impl SequenceNumber {
    /// The number as it is in a header.
    pub const fn new(value: u32) -> Self {
        SequenceNumber(value)
    }

    /// The number as it is in a header.
    pub const fn get(self) -> u32 {
        self.0
    }

    /// Whether it is before `other`.
    #[inline]
    pub const fn is_before(self, other: Self) -> bool {
        (self.0.wrapping_sub(other.0) as i32) < 0
    }

    /// Whether it is `other` or before.
    #[inline]
    pub const fn is_at_or_before(self, other: Self) -> bool {
        self.0 == other.0 || self.is_before(other)
    }

    /// Whether it is behind `other`.
    #[inline]
    pub const fn is_after(self, other: Self) -> bool {
        !self.is_at_or_before(other)
    }

    /// Whether it is `other` or behind.
    #[inline]
    pub const fn is_at_or_after(self, other: Self) -> bool {
        !self.is_before(other)
    }

    /// How far it is from `earlier` on, modulo 2³²: a large number when it is before that.
    #[inline]
    pub const fn distance_from(self, earlier: Self) -> u32 {
        self.0.wrapping_sub(earlier.0)
    }

    /// Whether it is one of the `length` numbers from `left` on.
    #[inline]
    pub const fn is_within(self, left: Self, length: u32) -> bool {
        self.0.wrapping_sub(left.0) < length
    }

    /// The later one of two.
    #[inline]
    pub const fn latest(self, other: Self) -> Self {
        if self.is_before(other) { other } else { self }
    }

    /// The earlier one of two.
    #[inline]
    pub const fn earliest(self, other: Self) -> Self {
        if other.is_before(self) { other } else { self }
    }
}

impl From<u32> for SequenceNumber {
    fn from(value: u32) -> Self {
        SequenceNumber(value)
    }
}

impl Add<u32> for SequenceNumber {
    type Output = Self;

    #[inline]
    fn add(self, octets: u32) -> Self {
        SequenceNumber(self.0.wrapping_add(octets))
    }
}

impl AddAssign<u32> for SequenceNumber {
    #[inline]
    fn add_assign(&mut self, octets: u32) {
        *self = *self + octets;
    }
}

impl Sub<u32> for SequenceNumber {
    type Output = Self;

    #[inline]
    fn sub(self, octets: u32) -> Self {
        SequenceNumber(self.0.wrapping_sub(octets))
    }
}

impl fmt::Display for SequenceNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for SequenceNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Numbers near the places where signed, unsigned and saturating arithmetic go apart.
    fn edge() -> impl Strategy<Value = u32> {
        const PLACES: [u32; 5] = [0, 1 << 31, u32::MAX, u32::MAX / 2, 1 << 16];
        (proptest::sample::select(&PLACES[..]), 0u32..5, any::<u32>()).prop_map(
            |(place, offset, other)| match other % 4 {
                0 => other,
                1 => place.wrapping_sub(offset),
                _ => place.wrapping_add(offset),
            },
        )
    }

    proptest! {
        #[test]
        fn rfc9293_3_4_order_is_that_of_the_shorter_way(start in edge(), step in 1u32..0x7fff_ffff) {
            let (a, b) = (SequenceNumber::new(start), SequenceNumber::new(start) + step);
            prop_assert!(a.is_before(b) && a.is_at_or_before(b) && !a.is_after(b) && !a.is_at_or_after(b));
            prop_assert!(b.is_after(a) && b.is_at_or_after(a) && !b.is_before(a) && !b.is_at_or_before(a));
            prop_assert_eq!((a.latest(b), b.latest(a)), (b, b));
            prop_assert_eq!((a.earliest(b), b.earliest(a)), (a, a));
            prop_assert_eq!(b.distance_from(a), step);
            prop_assert_eq!(b - step, a);
        }

        #[test]
        fn a_window_holds_exactly_its_length(left in edge(), length in edge(), offset in edge()) {
            let left = SequenceNumber::new(left);
            prop_assert_eq!((left + offset).is_within(left, length), offset < length);
            prop_assert!(!(left + length).is_within(left, length));
            prop_assert_eq!(left.is_within(left, length), length > 0);
        }

        #[test]
        fn a_number_is_itself(value in edge()) {
            let number = SequenceNumber::new(value);
            prop_assert!(number.is_at_or_before(number) && number.is_at_or_after(number));
            prop_assert!(!number.is_before(number) && !number.is_after(number));
            prop_assert_eq!(number.get(), value);
        }
    }

    #[test]
    fn half_the_circle_apart_nothing_is_after() {
        let (a, b) = (SequenceNumber::new(5), SequenceNumber::new(5 + (1 << 31)));
        assert!(a.is_before(b) && b.is_before(a) && !a.is_after(b) && !b.is_after(a));
    }
}
