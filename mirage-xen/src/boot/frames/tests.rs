use std::collections::BTreeSet;
use std::vec::Vec;

use proptest::prelude::*;

use super::*;

fn frames(start: u64, end: u64) -> FrameRange {
    FrameRange::new(FrameNumber(start), FrameNumber(end))
}

#[test]
fn partial_pages_are_touched_but_not_within() {
    assert_eq!(FrameRange::touched(0x1FFF, 0x2001), frames(1, 3));
    assert_eq!(FrameRange::within(0x1FFF, 0x2001), frames(2, 2));
    assert_eq!(
        FrameRange::within(0x1001, 0x1FFF),
        FrameRange::new(FrameNumber(2), FrameNumber(0))
    );
    assert!(FrameRange::touched(0x1800, 0x1800).contains(FrameNumber(1)));
    assert!(FrameRange::touched(0x1000, 0x1000).is_empty());
    assert_eq!(FrameRange::touched(u64::MAX, u64::MAX).count(), 1);
}

#[test]
fn one_range_too_many_is_an_error() {
    let mut ranges = Ranges::new();
    for number in 0..MAXIMUM_RANGES as u64 {
        ranges.insert(frames(number * 4, number * 4 + 2)).unwrap();
    }
    assert_eq!(ranges.insert(frames(1000, 1001)), Err(TooManyRanges));
    // One that fills a gap makes two into one.
    ranges.insert(frames(2, 4)).unwrap();
    assert_eq!(ranges.iter().next(), Some(frames(0, 6)));
    // Cutting one into two needs room for another.
    ranges.remove(frames(2, 3)).unwrap();
    assert_eq!(ranges.remove(frames(4, 5)), Err(TooManyRanges));
}

proptest! {
    #[test]
    fn ranges_agree_with_a_set(
        steps in prop::collection::vec((any::<bool>(), 0_u64..60, 0_u64..12), 0..14)
    ) {
        let mut ranges = Ranges::new();
        let mut set = BTreeSet::new();
        for (insert, start, count) in steps {
            let range = frames(start, start + count);
            let result = if insert { ranges.insert(range) } else { ranges.remove(range) };
            if result.is_err() {
                return Ok(());
            }
            for frame in start..start + count {
                if insert {
                    set.insert(frame);
                } else {
                    set.remove(&frame);
                }
            }
        }
        let listed: Vec<_> = ranges.iter().flat_map(|range| range.iter().map(|frame| frame.0)).collect();
        prop_assert_eq!(listed, set.iter().copied().collect::<Vec<_>>());
        prop_assert_eq!(ranges.count(), set.len() as u64);
        let list: Vec<_> = ranges.iter().collect();
        prop_assert!(list.windows(2).all(|pair| pair[0].end().0 < pair[1].start().0));
    }

    #[test]
    fn what_is_left_without_another_range_and_what_they_share_is_all(
        (start, count, other, other_count) in (0_u64..40, 0_u64..20, 0_u64..40, 0_u64..20)
    ) {
        let range = frames(start, start + count);
        let other = frames(other, other + other_count);
        let rest = range.without(other);
        let total: u64 = rest.iter().map(|part| part.count()).sum();
        prop_assert_eq!(total + range.intersection(other).count(), range.count());
        prop_assert!(rest.iter().all(|part| !part.overlaps(other)));
    }
}
